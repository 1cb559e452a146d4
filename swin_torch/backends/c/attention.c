/* (Shifted) window attention: softmax(scale q k^T + bias + mask) v, and its gradients, computed in float32.
 *
 * A window has N tokens and a head D channels.  What is beyond the N-th key has a bias of -inf, and so no
 * weight.  The caller's threads share the windows out.
 */
#include "numbers.h"
#include "sharing.h"
#include "tiles.h"

/* What a call is about. */
struct call {
    int64_t tokens, channels, heads; /* of a window, of a head; and how many heads */
    int64_t area, windows;           /* tokens and windows of an image */
    const number *qkv, *pad;         /* that of padding */
    const int64_t *places, *classes; /* each token's place in its image, -1 for padding; each window's mask */
    const float *bias, *masks;       /* (heads, WIDE, WIDE), -inf beyond the last key; (classes, WIDE, WIDE) */
    float scale;
};

/* One head of one window: rows of its tokens' qkv in the batch, null for padding. */
struct head {
    const struct call *call;
    int64_t from;       /* the head's first channel */
    int64_t row[TOKENS]; /* of the batch, -1 for padding */
    const float *bias, *mask;
};

INLINE int64_t width_of(const struct call *call) { return call->heads * call->channels; }

INLINE void copy_of(const int D, const number *row, float factor, float *packed) {
    for (int d = 0; d < D; d++) packed[d] = factor * widened(row[d]);
    for (int d = D; d < DEEP; d++) packed[d] = 0;
}

/* Thirds of qkv, the first of them times a factor: tokens one after the other, zeros beyond the last. */
static void pack(const struct head *head, float factor, float *q, float *k, float *v) {
    const struct call *call = head->call;
    const int N = call->tokens, D = call->channels, unused = (HIGH - N) * DEEP * sizeof(float);
    const int64_t width = width_of(call);
    for (int i = 0; i < N; i++) {
        const number *row = (head->row[i] < 0 ? call->pad : call->qkv + head->row[i] * 3 * width) + head->from;
        if (D == DEEP) {
            copy_of(DEEP, row, factor, q + i * DEEP);
            copy_of(DEEP, row + width, 1, k + i * DEEP);
            copy_of(DEEP, row + 2 * width, 1, v + i * DEEP);
        } else {
            copy_of(D, row, factor, q + i * DEEP);
            copy_of(D, row + width, 1, k + i * DEEP);
            copy_of(D, row + 2 * width, 1, v + i * DEEP);
        }
    }
    memset(q + N * DEEP, 0, unused);
    memset(k + N * DEEP, 0, unused);
    memset(v + N * DEEP, 0, unused);
}

/* Asks for some tokens of the head that comes next: packing would wait for each of its lines. */
INLINE void ask_for(const struct head *next, int first, int rows, const number *tensor, int thirds) {
    const int64_t width = width_of(next->call);
    for (int i = first; i < first + rows; i++)
        if (next->row[i] >= 0)
            for (int third = 0; third < thirds; third++)
                for (int d = 0; d < DEEP; d += 64 / (int)sizeof(number))
                    __builtin_prefetch(tensor + (next->row[i] * thirds + third) * width + next->from + d, 0, 2);
}

/* Packed tokens become channels of WIDE tokens. */
static void turn(const float *packed, float *turned) {
    for (int v = 0; v < KEYS; v++)
        for (int p = 0; p < PARTS; p++) {
            vec block[LANES];
            for (int r = 0; r < LANES; r++) block[r] = load(packed + (v * LANES + r) * DEEP + p * LANES);
            transpose(block);
            for (int r = 0; r < LANES; r++) store(turned + (p * LANES + r) * WIDE + v * LANES, block[r]);
        }
}

/* Scaled queries, keys and values, and the keys channel by channel. */
static void unpack(const struct head *head, float *q, float *k, float *v, float *keys) {
    pack(head, head->call->scale, q, k, v);
    turn(k, keys);
}

/* The weights of a tile of queries, each row still to be multiplied by its factor. */
INLINE void weights(const struct head *head, int first, int rows, const float *q, const float *keys, float *w,
                    float *factors) {
    SCRATCH masked[ROWS * WIDE];
    const float *bias = head->bias + first * WIDE;
    if (head->mask) {
        for (int at = 0; at < ROWS * WIDE; at += LANES)
            store(masked + at, load(bias + at) + load(head->mask + first * WIDE + at));
        bias = masked;
    }
    logits_of(rows, head->call->channels, q + first * DEEP, keys, bias, w);
    weights_of(rows, w, factors);
}

INLINE void put(number *to, const float *from, int D, float factor) {
    if (D == DEEP)
        for (int p = 0; p < PARTS; p++) store_numbers(to + p * LANES, load(from + p * LANES) * all(factor));
    else
        for (int d = 0; d < D; d++) to[d] = narrowed(from[d] * factor);
}

static void forward(const struct head *head, const struct head *next, number *out) {
    SCRATCH q[HIGH * DEEP], k[HIGH * DEEP], v[HIGH * DEEP], keys[DEEP * WIDE];
    SCRATCH w[ROWS * WIDE], attended[ROWS * DEEP];
    float factors[ROWS];
    const int N = head->call->tokens, D = head->call->channels;
    unpack(head, q, k, v, keys);
    for (int t = 0; t < tiles_of(N); t++) {
        const int i = start_of(N, t), rows = start_of(N, t + 1) - i;
        ask_for(next, i, rows, next->call->qkv, 3);
        weights(head, i, rows, q, keys, w, factors);
        along_rows(rows, N, w, v, attended);
        for (int r = 0; r < rows; r++)
            if (head->row[i + r] >= 0)
                put(out + head->row[i + r] * width_of(head->call) + head->from, attended + r * DEEP, D, factors[r]);
    }
}

/* The gradients of its qkv, put in place, and of the bias and the padding, added to what is there. */
static void backward(const struct head *head, const struct head *next, const number *gradient, number *of_qkv,
                     float *of_bias, float *of_pad) {
    SCRATCH q[HIGH * DEEP], k[HIGH * DEEP], v[HIGH * DEEP], g[HIGH * DEEP], keys[DEEP * WIDE], values[DEEP * WIDE];
    SCRATCH w[HIGH * WIDE], of_w[HIGH * WIDE], part[3][ROWS * DEEP];
    float factors[ROWS];
    const int N = head->call->tokens, D = head->call->channels;
    const int64_t width = width_of(head->call);
    unpack(head, q, k, v, keys);
    memset(g, 0, sizeof g);
    for (int i = 0; i < N; i++)
        if (head->row[i] >= 0) copy_of(D, gradient + head->row[i] * width + head->from, 1, g + i * DEEP);
    turn(v, values);
    for (int t = 0; t < tiles_of(N); t++) {
        const int i = start_of(N, t), rows = start_of(N, t + 1) - i;
        ask_for(next, i, rows, next->call->qkv, 3);
        ask_for(next, i, rows, gradient, 1);
        weights(head, i, rows, q, keys, w + i * WIDE, factors);
        logits_of(rows, D, g + i * DEEP, values, 0, of_w + i * WIDE);
        for (int r = i; r < i + rows; r++) {
            vec both = all(0);
            for (int at = r * WIDE; at < (r + 1) * WIDE; at += LANES) {
                const vec weight = load(w + at) * all(factors[r - i]);
                store(w + at, weight);
                both += weight * load(of_w + at);
            }
            both = sum_in_all(both);
            for (int at = r * WIDE; at < (r + 1) * WIDE; at += LANES) {
                const vec of_logit = load(w + at) * (load(of_w + at) - both);
                store(of_w + at, of_logit); /* of the logits from here on */
                store(of_bias + at, load(of_bias + at) + of_logit);
            }
        }
    }
    for (int t = 0; t < tiles_of(N); t++) {
        const int i = start_of(N, t), rows = start_of(N, t + 1) - i;
        along_rows(rows, N, of_w + i * WIDE, k, part[0]);
        along_columns(rows, N, of_w + i, q, part[1]); /* q is scaled */
        along_columns(rows, N, w + i, g, part[2]);
        for (int r = 0; r < rows; r++)
            for (int third = 0; third < 3; third++) {
                const float *found = part[third] + r * DEEP, factor = third ? 1 : head->call->scale;
                const int64_t row = head->row[i + r], offset = third * width + head->from;
                if (row >= 0)
                    put(of_qkv + row * 3 * width + offset, found, D, factor);
                else
                    for (int d = 0; d < D; d++) of_pad[offset + d] += factor * found[d];
            }
    }
}

/* A head of a window of the batch. */
static void find(const struct call *call, int64_t window, int64_t h, struct head *head) {
    const int64_t image = window / call->windows, own = window % call->windows;
    head->call = call;
    head->from = h * call->channels;
    head->bias = call->bias + h * WIDE * WIDE;
    head->mask = call->classes[own] < 0 ? 0 : call->masks + call->classes[own] * WIDE * WIDE;
    for (int i = 0; i < call->tokens; i++) {
        const int64_t place = call->places[own * call->tokens + i];
        head->row[i] = place < 0 ? -1 : image * call->area + place;
    }
}

/* Each head of the windows first to last of the batch, and the one that comes next, the last its own. */
#define FOR_EACH_HEAD(work)                                                                          \
    struct head heads[2];                                                                            \
    const int64_t end = last * call->heads;                                                          \
    if (first < last) find(call, first, 0, heads);                                                   \
    for (int64_t at = first * call->heads, turn = 0; at < end; at++, turn ^= 1) {                    \
        const struct head *head = heads + turn, *next = at + 1 < end ? heads + !turn : head;         \
        if (at + 1 < end) find(call, (at + 1) / call->heads, (at + 1) % call->heads, heads + !turn); \
        work;                                                                                        \
    }

static void attend_in(const struct call *call, number *out, int64_t first, int64_t last) {
    FOR_EACH_HEAD(forward(head, next, out))
}

static void differentiate_in(const struct call *call, const number *gradient, number *of_qkv, float *of_bias,
                             float *of_pad, int64_t first, int64_t last) {
    FOR_EACH_HEAD(backward(head, next, gradient, of_qkv, of_bias + at % call->heads * WIDE * WIDE, of_pad))
}

void attend(const struct call *call, number *out, PARTS_OF_NUMBER) { SHARE(attend_in(call, out, first, last)) }

/* of_bias: (parts, heads, WIDE, WIDE) and of_pad: (parts, 3 C). */
void differentiate(const struct call *call, const number *gradient, number *of_qkv, float *of_bias, float *of_pad,
                   PARTS_OF_NUMBER) {
    SHARE(differentiate_in(call, gradient, of_qkv, of_bias + part * call->heads * WIDE * WIDE,
                           of_pad + part * 3 * width_of(call), first, last))
}

/* (heads, WIDE, WIDE) from a table (rows, heads): its row of each pair of tokens is in index (tokens, tokens).
 * Beyond the last key -inf; beyond the last query, and in as many rows as spare() after all, 0: read and not used. */
void spread(const float *table, const int64_t *index, float *bias, int64_t heads, int64_t tokens) {
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < WIDE; i++) {
            float *row = bias + (h * WIDE + i) * WIDE;
            const int64_t keys = i < tokens ? tokens : 0;
            for (int64_t j = 0; j < keys; j++) row[j] = table[index[i * tokens + j] * heads + h];
            for (int64_t j = keys; j < WIDE; j++) row[j] = keys ? -__builtin_inff() : 0;
        }
    memset(bias + heads * WIDE * WIDE, 0, ROWS * WIDE * sizeof(float));
}

int64_t spare(void) { return ROWS; }

/* The other way round: to a table of zeros the gradients of each part's bias, (parts, heads, WIDE, WIDE). */
void gather(const float *of_bias, const int64_t *index, float *of_table, int64_t parts, int64_t heads, int64_t tokens) {
    for (int64_t at = 0; at < parts * heads; at++)
        for (int64_t i = 0; i < tokens; i++)
            for (int64_t j = 0; j < tokens; j++)
                of_table[index[i * tokens + j] * heads + at % heads] += of_bias[(at * WIDE + i) * WIDE + j];
}

int64_t wide(void) { return WIDE; }
