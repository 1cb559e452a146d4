/* Swin's windows, LayerNorm and shifted-window attention in plain C, float32, (B, H, W, C) arrays.
 *
 *     gcc -O2 -shared -fPIC -o libswin.so swin.c -lm
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const float *qkv_weight, *qkv_bias; /* (3C, C), (3C) or NULL */
    const float *proj_weight, *proj_bias; /* (C, C), (C) */
    const float *bias_table; /* ((2 Mh - 1)(2 Mw - 1), heads) */
} Weights;

static int round_up(int length, int multiple) { return (length + multiple - 1) / multiple * multiple; }

/* Where token n of window w stands in a grid whose rows hold nw windows. */
static void place(int w, int n, int nw, int mh, int mw, int *h, int *v) {
    *h = w / nw * mh + n / mw;
    *v = w % nw * mw + n % mw;
}

/* (B, H, W, C) to (B nH nW, Mh, Mw, C), or back. */
static void copy_windows(float *grid, float *windows, int B, int H, int W, int C, int mh, int mw, int back) {
    int nw = W / mw, count = H / mh * nw, tokens = mh * mw, h, v;
    for (int b = 0; b < B; b++)
        for (int w = 0; w < count; w++)
            for (int n = 0; n < tokens; n++) {
                place(w, n, nw, mh, mw, &h, &v);
                float *in_grid = grid + (((size_t)b * H + h) * W + v) * C;
                float *in_window = windows + (((size_t)b * count + w) * tokens + n) * C;
                if (back) memcpy(in_grid, in_window, C * sizeof(float));
                else memcpy(in_window, in_grid, C * sizeof(float));
            }
}

void window_partition(float *x, float *windows, int B, int H, int W, int C, int mh, int mw) {
    copy_windows(x, windows, B, H, W, C, mh, mw, 0);
}

void window_reverse(float *windows, float *x, int B, int H, int W, int C, int mh, int mw) {
    copy_windows(x, windows, B, H, W, C, mh, mw, 1);
}

void layer_norm(const float *x, const float *weight, const float *bias, float *y, int tokens, int C,
                float eps) {
    for (int t = 0; t < tokens; t++, x += C, y += C) {
        float mean = 0, variance = 0;
        for (int c = 0; c < C; c++) mean += x[c];
        mean /= C;
        for (int c = 0; c < C; c++) variance += (x[c] - mean) * (x[c] - mean);
        float scale = 1 / sqrtf(variance / C + eps);
        for (int c = 0; c < C; c++) y[c] = (x[c] - mean) * scale * weight[c] + bias[c];
    }
}

/* y = weight x + bias for one token; weight is (out, in), bias may be NULL. */
static void linear(const float *x, const float *weight, const float *bias, float *y, int in, int out) {
    for (int o = 0; o < out; o++) {
        float sum = 0;
        for (int i = 0; i < in; i++) sum += weight[o * in + i] * x[i];
        y[o] = bias ? sum + bias[o] : sum;
    }
}

/* One query of one head: softmax(q k / sqrt(d) + bias) v over the keys of its own region. */
static void attend(const float *qkv, const int *region, const float *bias_table, float *logits, float *y,
                   int query, int head, int C, int heads, int mh, int mw) {
    int d = C / heads, tokens = mh * mw;
    const float *q = qkv + (size_t)query * 3 * C + head * d;
    float largest = -INFINITY, total = 0;
    for (int key = 0; key < tokens; key++) {
        const float *k = qkv + (size_t)key * 3 * C + C + head * d;
        int dh = query / mw - key / mw, dv = query % mw - key % mw;
        int offset = (dh + mh - 1) * (2 * mw - 1) + dv + mw - 1;
        float dot = 0;
        for (int i = 0; i < d; i++) dot += q[i] * k[i];
        logits[key] = dot / sqrtf(d) + bias_table[offset * heads + head];
        if (region[key] != region[query]) logits[key] = -INFINITY; /* the mask */
        if (logits[key] > largest) largest = logits[key];
    }
    for (int key = 0; key < tokens; key++) total += logits[key] = expf(logits[key] - largest);
    for (int i = 0; i < d; i++) {
        float sum = 0;
        const float *v = qkv + 2 * C + head * d + i;
        for (int key = 0; key < tokens; key++) sum += logits[key] * v[(size_t)key * 3 * C];
        y[(size_t)query * C + head * d + i] = sum / total;
    }
}

/* Pad, shift, attend inside every window, shift back, crop. Returns 0, or -1 without memory. */
int shifted_window_attention(const float *x, const Weights *p, float *y, int B, int H, int W, int C,
                             int heads, int mh, int mw, int sh, int sw) {
    int height = round_up(H, mh), width = round_up(W, mw), tokens = mh * mw, h, v;
    float *qkv = malloc((size_t)tokens * (4 * C + 1) * sizeof(float)), *zeros = calloc(C, sizeof(float));
    int *region = malloc(2 * tokens * sizeof(int));
    if (!qkv || !zeros || !region) return free(qkv), free(zeros), free(region), -1;
    float *attended = qkv + (size_t)tokens * 3 * C, *logits = attended + (size_t)tokens * C;
    int *source = region + tokens;
    for (int b = 0; b < B; b++, x += (size_t)H * W * C, y += (size_t)H * W * C)
        for (int w = 0; w < height / mh * (width / mw); w++) {
            for (int n = 0; n < tokens; n++) {
                place(w, n, width / mw, mh, mw, &h, &v);
                region[n] = 2 * (h >= height - sh) + (v >= width - sw); /* who came around */
                h = (h + sh) % height, v = (v + sw) % width; /* where it stood before the shift */
                source[n] = h < H && v < W ? h * W + v : -1; /* -1: padding, zeros that are keys */
                const float *token = source[n] < 0 ? zeros : x + (size_t)source[n] * C;
                linear(token, p->qkv_weight, p->qkv_bias, qkv + (size_t)n * 3 * C, C, 3 * C);
            }
            for (int n = 0; n < tokens; n++) {
                if (source[n] < 0) continue;
                for (int head = 0; head < heads; head++)
                    attend(qkv, region, p->bias_table, logits, attended, n, head, C, heads, mh, mw);
                float *out = y + (size_t)source[n] * C;
                linear(attended + (size_t)n * C, p->proj_weight, p->proj_bias, out, C, C);
            }
        }
    free(qkv), free(zeros), free(region);
    return 0;
}
