/* (Shifted) window attention, float32, forward: softmax(scale q k^T + bias + mask) v.
 *
 * A window has N tokens and a head D channels; TOKENS and CHANNELS, up to which the vectors reach, are
 * constants of the compilation.  What is beyond the N-th key has a logit of -inf, and so no weight.  The
 * caller's threads share the windows out.  gcc and clang: vectors are theirs, on any processor.
 */
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

enum {
    KEYS = (TOKENS + LANES - 1) / LANES,       /* vectors of a row of logits */
    PARTS = (CHANNELS + LANES - 1) / LANES,    /* vectors of a head's channels */
    WIDE = KEYS * LANES,
    DEEP = PARTS * LANES,
    BLOCK = LANES == 16 ? 6 : 7,               /* vectors of logits of two queries that fit the registers */
    AT_ONCE = PARTS >= 6 ? 1 : PARTS >= 3 ? 2 : 4 /* queries whose outputs do */
};

static inline vec all(float x) { return x - (vec){0}; }

static inline vec load(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void store(float *p, vec x) { memcpy(p, &x, sizeof x); }

/* e^x for x <= 0: 2^n e^r with |r| <= ln 2 / 2, e^r by its series; 0 below the smallest normal number. */
static inline vec exponential(vec given) {
    const ivec seen = given > all(-87.0f), number = given == given;
    vec x = given;
    x = (vec)(((ivec)x & seen) | ((ivec)all(-87.0f) & ~seen));
    const vec shifter = all(12582912.0f); /* 1.5 2^23: adding it rounds to an integer */
    vec n = x * all(1.44269504f) + shifter;
    const ivec power = ((ivec)n - (ivec)shifter) << 23;
    n -= shifter;
    const vec r = (x - n * all(0.693359375f)) - n * all(-2.12194440e-4f);
    vec p = all(1.0f / 5040);
    p = p * r + all(1.0f / 720);
    p = p * r + all(1.0f / 120);
    p = p * r + all(1.0f / 24);
    p = p * r + all(1.0f / 6);
    p = p * r + all(0.5f);
    p = p * r + all(1.0f);
    p = p * r + all(1.0f);
    return (vec)(((((ivec)p + power) & seen) & number) | ((ivec)given & ~number)); /* NaN stays */
}

static inline float sum(vec x) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}

static inline float largest(vec x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* Two queries' logits against all keys; keys lie channel by channel. */
static inline void two_rows(int D, const float *q, const float *keys, const float *bias, const float *mask,
                            float *logits) {
    for (int first = 0; first < KEYS; first += BLOCK) {
        const int count = KEYS - first < BLOCK ? KEYS - first : BLOCK;
        vec a[BLOCK], b[BLOCK];
        for (int v = 0; v < count; v++) {
            const int key = (first + v) * LANES;
            a[v] = load(bias + key) + load(mask + key);
            b[v] = load(bias + WIDE + key) + load(mask + WIDE + key);
        }
        for (int d = 0; d < D; d++) {
            const vec one = all(q[d]), two = all(q[DEEP + d]);
            for (int v = 0; v < count; v++) {
                const vec key = load(keys + d * WIDE + (first + v) * LANES);
                a[v] += one * key;
                b[v] += two * key;
            }
        }
        for (int v = 0; v < count; v++) {
            store(logits + (first + v) * LANES, a[v]);
            store(logits + WIDE + (first + v) * LANES, b[v]);
        }
    }
}

/* A row of logits becomes weights that are not yet divided by their sum, which is given back. */
static inline float weights(float *row) {
    vec most = load(row);
    for (int v = 1; v < KEYS; v++) {
        const vec x = load(row + v * LANES);
        const ivec above = x > most;
        most = (vec)(((ivec)x & above) | ((ivec)most & ~above));
    }
    const vec top = all(largest(most));
    vec total = {0};
    for (int v = 0; v < KEYS; v++) {
        const vec e = exponential(load(row + v * LANES) - top);
        store(row + v * LANES, e);
        total += e;
    }
    return sum(total);
}

/* One head of one window.  rows: where each token's q, k and v start, channels apart. */
static void head(int N, int D, const float *const *rows, float *const *outs, const float *bias,
                 const float *mask, int64_t channels, float scale) {
    static _Thread_local __attribute__((aligned(64))) float q[WIDE * DEEP], keys[DEEP * WIDE];
    static _Thread_local __attribute__((aligned(64))) float values[WIDE * DEEP], logits[WIDE * WIDE];
    float sums[WIDE];
    for (int d = 0; d < D; d++) /* the last window may have been another size */
        for (int i = N; i < WIDE; i++) keys[d * WIDE + i] = 0;
    for (int i = N; i < WIDE && i < N + 4; i++) memset(q + i * DEEP, 0, DEEP * sizeof(float));
    for (int i = 0; i < N; i++) {
        for (int d = 0; d < D; d++) q[i * DEEP + d] = scale * rows[i][d];
        for (int d = 0; d < D; d++) keys[d * WIDE + i] = rows[i][channels + d];
        for (int d = 0; d < D; d++) values[i * DEEP + d] = rows[i][2 * channels + d];
        for (int d = D; d < DEEP; d++) values[i * DEEP + d] = 0;
    }
    for (int i = 0; i < N; i += 2)
        two_rows(D, q + i * DEEP, keys, bias + i * WIDE, mask + i * WIDE, logits + i * WIDE);
    for (int i = 0; i < N; i++) sums[i] = weights(logits + i * WIDE);
    for (int i = 0; i < N; i += AT_ONCE) {
        vec out[AT_ONCE][PARTS];
        memset(out, 0, sizeof out);
        for (int j = 0; j < N; j++)
            for (int r = 0; r < AT_ONCE; r++) {
                const vec weight = all(logits[(i + r) * WIDE + j]);
                for (int p = 0; p < PARTS; p++) out[r][p] += weight * load(values + j * DEEP + p * LANES);
            }
        for (int r = 0; r < AT_ONCE && i + r < N; r++) {
            float whole[DEEP];
            const vec factor = all(1.0f / sums[i + r]);
            for (int p = 0; p < PARTS; p++) store(whole + p * LANES, out[r][p] * factor);
            if (outs[i + r]) memcpy(outs[i + r], whole, D * sizeof(float));
        }
    }
}

/* Windows first to last of the batch, N <= TOKENS, D <= CHANNELS.
 * places: each token's place in its image, -1 for padding; classes: which mask a window has;
 * bias: (heads, WIDE, WIDE); masks: (classes, WIDE, WIDE), -inf beyond the N-th key. */
void attend(int64_t N, int64_t D, const float *qkv, const float *pad, float *out, const int64_t *places, const int64_t *classes,
            const float *bias, const float *masks, int64_t area, int64_t windows, int64_t heads, float scale,
            int64_t first, int64_t last) {
    const int64_t channels = heads * D;
    for (int64_t w = first; w < last; w++) {
        const int64_t image = w / windows, window = w % windows;
        const float *rows[TOKENS];
        float *outs[TOKENS];
        for (int64_t h = 0; h < heads; h++) {
            for (int i = 0; i < N; i++) {
                const int64_t place = places[window * N + i];
                rows[i] = (place < 0 ? pad : qkv + (image * area + place) * 3 * channels) + h * D;
                outs[i] = place < 0 ? 0 : out + (image * area + place) * channels + h * D;
            }
            head(N, D, rows, outs, bias + h * WIDE * WIDE, masks + classes[window] * WIDE * WIDE, channels, scale);
        }
    }
}

int64_t wide(void) { return WIDE; }
