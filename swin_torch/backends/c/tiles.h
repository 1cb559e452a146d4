/* Matrix products for one tile of rows, and the softmax of a tile of logits.
 *
 * A tile is ROWS consecutive rows, or ROWS - 1.  Its product with a matrix of four vectors a row keeps all sums in
 * registers: each row of the right matrix is loaded once for the whole tile, not once for every row of the tile.
 *
 * One kernel serves all windows of up to TOKENS tokens and all heads of up to CHANNELS channels; both are constants
 * of the compilation.  In memory rows have WIDE floats (logits) or DEEP floats (a token's channels of one head):
 * TOKENS and CHANNELS rounded up to whole vectors.
 */
#include "vectors.h"

enum {
    KEY_VECTORS = (TOKENS + LANES - 1) / LANES,       /* vectors of a row of logits, one logit a key */
    CHANNEL_VECTORS = (CHANNELS + LANES - 1) / LANES, /* vectors of a token's channels */
    WIDE = KEY_VECTORS * LANES,
    DEEP = CHANNEL_VECTORS * LANES,
#if defined(__AVX512F__) || defined(__aarch64__)
    ROWS = 6, /* ROWS times four vectors of sums fit 32 registers */
#else
    ROWS = 3, /* they fit 16 registers */
#endif
    HIGH = WIDE + ROWS /* rows of a matrix in memory: the last tile may read and write past the last token */
};

/* N rows are divided into count_tiles(N) tiles of ROWS or ROWS - 1 rows; tile t begins at row first_row(N, t). */
INLINE int count_tiles(int N) { return (N + ROWS - 1) / ROWS; }
INLINE int first_row(int N, int tile) { return N * tile / count_tiles(N); }

/* Computes the vectors first to first + V of R rows of product = given + left right; given may be null.
 *
 * left (R, n): element (r, i) at left[r * row_step + i * step].
 * right (n, vectors LANES), given and product (R, vectors LANES): row after row.
 * The loop over i is outside: R V sums stay in registers, and each element of left and right is loaded once. */
INLINE void multiply_block(const int R, const int V, const int vectors, int first, int n, const float *left,
                           int row_step, int step, const float *right, const float *given, float *product) {
    vec sums[ROWS][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
            const int at = (r * vectors + first + v) * LANES;
            sums[r][v] = given ? load(given + at) : broadcast(0);
        }
    for (int i = 0; i < n; i++) {
        vec row[ROWS];
        for (int r = 0; r < R; r++) row[r] = broadcast(left[r * row_step + i * step]);
        for (int v = 0; v < V; v++) {
            vec column = load(right + (i * vectors + first + v) * LANES);
            KEEP_IN_REGISTER(column); /* otherwise gcc loads it again for each row, and keeps sums in memory */
            for (int r = 0; r < R; r++) sums[r][v] += row[r] * column;
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) store(product + (r * vectors + first + v) * LANES, sums[r][v]);
}

/* Computes R whole rows of product = given + left right, four vectors at a time. */
INLINE void multiply_rows(const int R, const int vectors, int n, const float *left, int row_step, int step,
                          const float *right, const float *given, float *product) {
    int first = 0;
    for (; first + 4 <= vectors; first += 4)
        multiply_block(R, 4, vectors, first, n, left, row_step, step, right, given, product);
    if (vectors % 4 == 1) multiply_block(R, 1, vectors, first, n, left, row_step, step, right, given, product);
    if (vectors % 4 == 2) multiply_block(R, 2, vectors, first, n, left, row_step, step, right, given, product);
    if (vectors % 4 == 3) multiply_block(R, 3, vectors, first, n, left, row_step, step, right, given, product);
}

/* Computes a tile of product = given + left right.  A tile with fewer than ROWS - 1 rows is computed as one of
 * ROWS - 1: the memory behind it is there (HIGH), and what is written there is not used. */
INLINE void multiply_tile(int rows, const int vectors, int n, const float *left, int row_step, int step,
                          const float *right, const float *given, float *product) {
    if (rows == ROWS)
        multiply_rows(ROWS, vectors, n, left, row_step, step, right, given, product);
    else
        multiply_rows(ROWS - 1, vectors, n, left, row_step, step, right, given, product);
}

/* The three shapes of product that attention needs.  They are not inlined: the code around them would take registers
 * from the sums. */

/* product (rows, WIDE) = given + left right: left (rows, DEEP), right (n, WIDE) are a tile of tokens, and keys or
 * values channel by channel; n is D.  given (rows, WIDE) may be null. */
NOINLINE multiply_by_channels(int rows, int n, const float *left, const float *right, const float *given,
                              float *product) {
    if (given)
        multiply_tile(rows, KEY_VECTORS, n, left, DEEP, 1, right, given, product);
    else
        multiply_tile(rows, KEY_VECTORS, n, left, DEEP, 1, right, 0, product);
}

/* product (rows, DEEP) = left right: left (rows, WIDE), right (n, DEEP); n is N. */
NOINLINE multiply_by_tokens(int rows, int n, const float *left, const float *right, float *product) {
    multiply_tile(rows, CHANNEL_VECTORS, n, left, WIDE, 1, right, 0, product);
}

/* product (rows, DEEP) = left^T right: left (n, WIDE), of which `rows` columns are read, right (n, DEEP); n is N. */
NOINLINE multiply_transposed_by_tokens(int rows, int n, const float *left, const float *right, float *product) {
    multiply_tile(rows, CHANNEL_VECTORS, n, left, 1, WIDE, right, 0, product);
}

/* Turns a tile of logits (rows, WIDE) into exp(logit - largest of the row), in place, and writes one over each row's
 * sum to factors (rows): softmax is their product.  Each step is taken for all rows before the next, so that the
 * processor has independent rows to work on. */
INLINE void exponentiate_rows(int rows, float *w, float *factors) {
    vec most[ROWS], total[ROWS];
    for (int r = 0; r < rows; r++) {
        most[r] = load(w + r * WIDE);
        for (int v = 1; v < KEY_VECTORS; v++) most[r] = max_of(most[r], load(w + r * WIDE + v * LANES));
    }
    for (int r = 0; r < rows; r++) most[r] = max_lanes(most[r]);
    for (int r = 0; r < rows; r++) {
        total[r] = broadcast(0);
        for (int v = 0; v < KEY_VECTORS; v++) {
            const vec e = exp_of_negative(load(w + r * WIDE + v * LANES) - most[r]);
            store(w + r * WIDE + v * LANES, e);
            total[r] += e;
        }
    }
    for (int r = 0; r < rows; r++) factors[r] = 1 / sum_lanes(total[r])[0];
}
