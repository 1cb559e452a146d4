/* (Shifted) window attention of a batch of images and its gradients, in float32.
 *
 * For each head of each window, with q, k, v of shape (N, D):
 *
 *     out = softmax(scale q k^T + bias + mask) v
 *
 * N is the number of tokens of a window, D the number of channels of a head, C = heads D.
 *
 * No window is cut out of the image, and nothing is rolled: `positions` says where each token of a window lies in
 * its image (-1 for padding), and results are written there.  swin_torch/geometry/plan.py computes the positions, and
 * draws the four classes of windows, which differ in their masks.
 *
 * Order of the loops: windows of the batch, divided between the threads (parallel.h); the heads of a window; tiles of
 * queries of a head (tiles.h).  A head's q, k and v are first copied to consecutive memory, where they stay in the
 * first-level cache; a tile's logits, softmax and output follow while its logits are still there.
 *
 * The logits of a row fill WIDE >= N floats.  Those beyond the N-th key have a bias of -inf, so their weight is 0.
 */
#include "dtype.h"
#include "parallel.h"
#include "tiles.h"

/* The arguments of a call; c/__init__.py fills in the same fields in the same order. */
struct call {
    int64_t tokens, channels, heads;    /* N, D, heads */
    int64_t area, windows;              /* tokens and windows of one image: H W, and how many windows */
    const element *qkv, *pad;           /* (B, H W, 3, heads, D); (3, heads, D), the qkv of every padded token */
    const int64_t *positions, *classes; /* (windows, N), into H W or -1; (windows), into masks or -1 for no mask */
    const float *bias, *masks;          /* (heads, WIDE, WIDE); (classes, WIDE, WIDE) */
    float scale;
};

/* One head of one window. */
struct head {
    const struct call *call;
    int64_t channel;             /* the head's first channel of C */
    int64_t row[TOKENS];         /* each token's row of qkv as (B H W, 3 C), -1 for padding */
    const float *bias, *mask;    /* (WIDE, WIDE) each; mask may be null */
};

INLINE int64_t count_channels(const struct call *call) { return call->heads * call->channels; } /* C */

/* Writes factor times a token's D channels to packed (DEEP), and zeros behind them. */
INLINE void copy_token(const int D, const element *row, float factor, float *packed) {
    for (int d = 0; d < D; d++) packed[d] = factor * to_float(row[d]);
    for (int d = D; d < DEEP; d++) packed[d] = 0;
}

/* Copies the head's q, times a factor, k and v to consecutive memory, (HIGH, DEEP) each: zeros beyond the N-th token.
 * The case D == DEEP is written out so that the compiler knows the length. */
static void pack(const struct head *head, float factor, float *q, float *k, float *v) {
    const struct call *call = head->call;
    const int N = call->tokens, D = call->channels, unused = (HIGH - N) * DEEP * sizeof(float);
    const int64_t C = count_channels(call);
    for (int i = 0; i < N; i++) {
        const element *row = (head->row[i] < 0 ? call->pad : call->qkv + head->row[i] * 3 * C) + head->channel;
        if (D == DEEP) {
            copy_token(DEEP, row, factor, q + i * DEEP);
            copy_token(DEEP, row + C, 1, k + i * DEEP);
            copy_token(DEEP, row + 2 * C, 1, v + i * DEEP);
        } else {
            copy_token(D, row, factor, q + i * DEEP);
            copy_token(D, row + C, 1, k + i * DEEP);
            copy_token(D, row + 2 * C, 1, v + i * DEEP);
        }
    }
    memset(q + N * DEEP, 0, unused);
    memset(k + N * DEEP, 0, unused);
    memset(v + N * DEEP, 0, unused);
}

/* Prefetches some tokens of the next head from a tensor (B H W, thirds, C), while this head is computed: tokens of a
 * window lie far apart, and `pack` would wait for each of their cache lines. */
INLINE void prefetch_tokens(const struct head *next, int first, int rows, const element *tensor, int thirds) {
    const int64_t C = count_channels(next->call);
    for (int i = first; i < first + rows; i++)
        if (next->row[i] >= 0)
            for (int third = 0; third < thirds; third++)
                for (int d = 0; d < DEEP; d += 64 / (int)sizeof(element))
                    __builtin_prefetch(tensor + (next->row[i] * thirds + third) * C + next->channel + d, 0, 2);
}

/* Transposes packed tokens (WIDE, DEEP) to (DEEP, WIDE). */
static void transpose_tokens(const float *packed, float *transposed) {
    for (int v = 0; v < KEY_VECTORS; v++)
        for (int p = 0; p < CHANNEL_VECTORS; p++) {
            vec block[LANES];
            for (int r = 0; r < LANES; r++) block[r] = load(packed + (v * LANES + r) * DEEP + p * LANES);
            transpose(block);
            for (int r = 0; r < LANES; r++) store(transposed + (p * LANES + r) * WIDE + v * LANES, block[r]);
        }
}

/* Packs scale q, k and v, (HIGH, DEEP) each, and k^T, (DEEP, WIDE). */
static void pack_scaled(const struct head *head, float *q, float *k, float *v, float *k_transposed) {
    pack(head, head->call->scale, q, k, v);
    transpose_tokens(k, k_transposed);
}

/* Computes the softmax of a tile of queries, first to first + rows: w (rows, WIDE), where row r is still to be
 * multiplied by factors[r].  q is scaled. */
INLINE void compute_weights(const struct head *head, int first, int rows, const float *q, const float *k_transposed,
                            float *w, float *factors) {
    THREAD_LOCAL masked[ROWS * WIDE];
    const float *bias = head->bias + first * WIDE;
    if (head->mask) {
        for (int at = 0; at < ROWS * WIDE; at += LANES)
            store(masked + at, load(bias + at) + load(head->mask + first * WIDE + at));
        bias = masked;
    }
    multiply_by_channels(rows, head->call->channels, q + first * DEEP, k_transposed, bias, w);
    exponentiate_rows(rows, w, factors);
}

/* Writes factor times D floats to a token's channels. */
INLINE void write_token(element *to, const float *from, int D, float factor) {
    if (D == DEEP)
        for (int p = 0; p < CHANNEL_VECTORS; p++)
            store_elements(to + p * LANES, load(from + p * LANES) * broadcast(factor));
    else
        for (int d = 0; d < D; d++) to[d] = to_element(from[d] * factor);
}

/* Writes the head's channels of out (B H W, C). */
static void forward_head(const struct head *head, const struct head *next, element *out) {
    THREAD_LOCAL q[HIGH * DEEP], k[HIGH * DEEP], v[HIGH * DEEP], k_transposed[DEEP * WIDE];
    THREAD_LOCAL w[ROWS * WIDE], attended[ROWS * DEEP];
    float factors[ROWS];
    const int N = head->call->tokens, D = head->call->channels;
    pack_scaled(head, q, k, v, k_transposed);
    for (int t = 0; t < count_tiles(N); t++) {
        const int i = first_row(N, t), rows = first_row(N, t + 1) - i;
        prefetch_tokens(next, i, rows, next->call->qkv, 3);
        compute_weights(head, i, rows, q, k_transposed, w, factors);
        multiply_by_tokens(rows, N, w, v, attended);
        for (int r = 0; r < rows; r++)
            if (head->row[i + r] >= 0)
                write_token(out + head->row[i + r] * count_channels(head->call) + head->channel, attended + r * DEEP, D,
                            factors[r]);
    }
}

/* Writes the head's channels of d_qkv (B H W, 3 C), and adds to d_bias (WIDE, WIDE) and d_pad (3 C).
 *
 * With w the softmax's output, l its input (the logits) and d_out (N, D):
 *
 *     d_w = d_out v^T,  d_l = w (d_w - sum over keys of w d_w),  d_bias += d_l,
 *     d_q = scale d_l k,  d_k = d_l^T (scale q),  d_v = w^T d_out.
 *
 * d_k and d_v are sums over all queries, so a first loop over the tiles computes w and d_l for the whole head, and a
 * second one the gradients.  d_out is 0 at padded tokens, whose output is cropped. */
static void backward_head(const struct head *head, const struct head *next, const element *d_out, element *d_qkv,
                          float *d_bias, float *d_pad) {
    THREAD_LOCAL q[HIGH * DEEP], k[HIGH * DEEP], v[HIGH * DEEP], d_o[HIGH * DEEP]; /* d_o is d_out, packed */
    THREAD_LOCAL k_transposed[DEEP * WIDE], v_transposed[DEEP * WIDE];
    THREAD_LOCAL w[HIGH * WIDE], d_w[HIGH * WIDE], d_tile[3][ROWS * DEEP]; /* d_w becomes d_l; d_q, d_k, d_v */
    float factors[ROWS];
    const int N = head->call->tokens, D = head->call->channels;
    const int64_t C = count_channels(head->call);
    pack_scaled(head, q, k, v, k_transposed);
    memset(d_o, 0, sizeof d_o);
    for (int i = 0; i < N; i++)
        if (head->row[i] >= 0) copy_token(D, d_out + head->row[i] * C + head->channel, 1, d_o + i * DEEP);
    transpose_tokens(v, v_transposed);
    for (int t = 0; t < count_tiles(N); t++) {
        const int i = first_row(N, t), rows = first_row(N, t + 1) - i;
        prefetch_tokens(next, i, rows, next->call->qkv, 3);
        prefetch_tokens(next, i, rows, d_out, 1);
        compute_weights(head, i, rows, q, k_transposed, w + i * WIDE, factors);
        multiply_by_channels(rows, D, d_o + i * DEEP, v_transposed, 0, d_w + i * WIDE);
        for (int r = i; r < i + rows; r++) {
            vec sum = broadcast(0); /* of w d_w over the keys */
            for (int at = r * WIDE; at < (r + 1) * WIDE; at += LANES) {
                const vec weight = load(w + at) * broadcast(factors[r - i]);
                store(w + at, weight);
                sum += weight * load(d_w + at);
            }
            sum = sum_lanes(sum);
            for (int at = r * WIDE; at < (r + 1) * WIDE; at += LANES) {
                const vec d_logit = load(w + at) * (load(d_w + at) - sum);
                store(d_w + at, d_logit);
                store(d_bias + at, load(d_bias + at) + d_logit);
            }
        }
    }
    for (int t = 0; t < count_tiles(N); t++) {
        const int i = first_row(N, t), rows = first_row(N, t + 1) - i;
        multiply_by_tokens(rows, N, d_w + i * WIDE, k, d_tile[0]);
        multiply_transposed_by_tokens(rows, N, d_w + i, q, d_tile[1]);
        multiply_transposed_by_tokens(rows, N, w + i, d_o, d_tile[2]);
        for (int r = 0; r < rows; r++)
            for (int third = 0; third < 3; third++) {
                const float *d_token = d_tile[third] + r * DEEP, factor = third ? 1 : head->call->scale;
                const int64_t row = head->row[i + r], offset = third * C + head->channel;
                if (row >= 0)
                    write_token(d_qkv + row * 3 * C + offset, d_token, D, factor);
                else
                    for (int d = 0; d < D; d++) d_pad[offset + d] += factor * d_token[d];
            }
    }
}

/* Fills in head h of a window of the batch. */
static void find_head(const struct call *call, int64_t window, int64_t h, struct head *head) {
    const int64_t image = window / call->windows, own = window % call->windows;
    head->call = call;
    head->channel = h * call->channels;
    head->bias = call->bias + h * WIDE * WIDE;
    head->mask = call->classes[own] < 0 ? 0 : call->masks + call->classes[own] * WIDE * WIDE;
    for (int i = 0; i < call->tokens; i++) {
        const int64_t position = call->positions[own * call->tokens + i];
        head->row[i] = position < 0 ? -1 : image * call->area + position;
    }
}

/* Runs `work` for each head of the windows first to last of the batch.  `work` may use: head; next, the head that
 * comes after it (the last one itself at the end), whose tokens it prefetches; at, which is window * heads + head. */
#define FOR_EACH_HEAD(work)                                                                               \
    struct head heads[2];                                                                                 \
    const int64_t end = last * call->heads;                                                               \
    if (first < last) find_head(call, first, 0, heads);                                                   \
    for (int64_t at = first * call->heads, turn = 0; at < end; at++, turn ^= 1) {                         \
        const struct head *head = heads + turn, *next = at + 1 < end ? heads + !turn : head;              \
        if (at + 1 < end) find_head(call, (at + 1) / call->heads, (at + 1) % call->heads, heads + !turn); \
        work;                                                                                             \
    }

static void forward_windows(const struct call *call, element *out, int64_t first, int64_t last) {
    FOR_EACH_HEAD(forward_head(head, next, out))
}

static void backward_windows(const struct call *call, const element *d_out, element *d_qkv, float *d_bias, float *d_pad,
                             int64_t first, int64_t last) {
    FOR_EACH_HEAD(backward_head(head, next, d_out, d_qkv, d_bias + at % call->heads * WIDE * WIDE, d_pad))
}

/* Writes out (B, H, W, C). */
void attend(const struct call *call, element *out, PARTS) { FOR_EACH_PART(forward_windows(call, out, first, last)) }

/* Writes d_qkv (B, H, W, 3 C) from d_out (B, H, W, C), and adds each part's share of the other gradients to its own
 * d_bias (parts, heads, WIDE, WIDE) and d_pad (parts, 3 C): the caller sums them in a fixed order. */
void attend_backward(const struct call *call, const element *d_out, element *d_qkv, float *d_bias, float *d_pad,
                     PARTS) {
    FOR_EACH_PART(backward_windows(call, d_out, d_qkv, d_bias + part * call->heads * WIDE * WIDE,
                                   d_pad + part * 3 * count_channels(call), first, last))
}

/* Writes bias (heads WIDE + ROWS, WIDE) from a table (rows, heads); index (N, N) holds each pair's row of the table.
 * Beyond the N-th key the bias is -inf.  Rows beyond the N-th query, and the ROWS rows at the end, are 0: a head's
 * last tile reads them, but its results for them are not used. */
void expand_bias(const float *table, const int64_t *index, float *bias, int64_t heads, int64_t tokens) {
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < WIDE; i++) {
            float *row = bias + (h * WIDE + i) * WIDE;
            const int64_t keys = i < tokens ? tokens : 0;
            for (int64_t j = 0; j < keys; j++) row[j] = table[index[i * tokens + j] * heads + h];
            for (int64_t j = keys; j < WIDE; j++) row[j] = keys ? -__builtin_inff() : 0;
        }
    memset(bias + heads * WIDE * WIDE, 0, ROWS * WIDE * sizeof(float));
}

/* Returns how many rows the last tile may read past the end of the bias and of the masks. */
int64_t rows_past_end(void) { return ROWS; }

/* Adds d_bias (parts, heads, WIDE, WIDE) to d_table (rows, heads): the gradient of `expand_bias`. */
void expand_bias_backward(const float *d_bias, const int64_t *index, float *d_table, int64_t parts, int64_t heads,
                          int64_t tokens) {
    for (int64_t at = 0; at < parts * heads; at++)
        for (int64_t i = 0; i < tokens; i++)
            for (int64_t j = 0; j < tokens; j++)
                d_table[index[i * tokens + j] * heads + at % heads] += d_bias[(at * WIDE + i) * WIDE + j];
}

/* Returns WIDE, the length of a row of bias and masks. */
int64_t row_length(void) { return WIDE; }
