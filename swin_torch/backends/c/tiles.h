/* Products of a few rows whose sums stay in registers, and the softmax of a row of logits.
 *
 * TOKENS and CHANNELS, up to which the vectors reach, are constants of the compilation.
 */
#include "vectors.h"

enum {
    KEYS = (TOKENS + LANES - 1) / LANES,    /* vectors of a row of logits */
    PARTS = (CHANNELS + LANES - 1) / LANES, /* vectors of a head's channels */
    WIDE = KEYS * LANES,
    DEEP = PARTS * LANES,
#if defined(__AVX512F__) || defined(__aarch64__)
    ROWS = 6, /* rows of a tile whose sums, by four vectors, fit 32 registers */
#else
    ROWS = 3, /* the same of 16 registers */
#endif
    HIGH = WIDE + ROWS /* rows up to which a tile may reach */
};

/* Tiles of N rows, of about the same height, and the first row of each. */
INLINE int tiles_of(int N) { return (N + ROWS - 1) / ROWS; }
INLINE int start_of(int N, int tile) { return N * tile / tiles_of(N); }

/* Vectors first to first + V of R rows: product = given + left right. */
INLINE void block_of(const int R, const int V, const int vectors, int first, int n, const float *left, int apart, int along,
                     const float *right, const float *given, float *product) {
    vec sums[ROWS][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
            const int at = (r * vectors + first + v) * LANES;
            sums[r][v] = given ? load(given + at) : all(0);
        }
    for (int i = 0; i < n; i++) {
        vec row[ROWS];
        for (int r = 0; r < R; r++) row[r] = all(left[r * apart + i * along]);
        for (int v = 0; v < V; v++) {
            vec column = load(right + (i * vectors + first + v) * LANES);
            IN_REGISTER(column); /* gcc would rather load it for each row, and keep sums in memory */
            for (int r = 0; r < R; r++) sums[r][v] += row[r] * column;
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) store(product + (r * vectors + first + v) * LANES, sums[r][v]);
}

/* R rows of a product = given + left right; given may be null.  left is n numbers along for each row apart; all
 * else has rows of so many vectors. */
INLINE void rows_of(const int R, const int vectors, int n, const float *left, int apart, int along, const float *right,
                    const float *given, float *product) {
    int first = 0;
    for (; first + 4 <= vectors; first += 4)
        block_of(R, 4, vectors, first, n, left, apart, along, right, given, product);
    if (vectors % 4 == 1) block_of(R, 1, vectors, first, n, left, apart, along, right, given, product);
    if (vectors % 4 == 2) block_of(R, 2, vectors, first, n, left, apart, along, right, given, product);
    if (vectors % 4 == 3) block_of(R, 3, vectors, first, n, left, apart, along, right, given, product);
}

/* A tile: ROWS rows or, if it has fewer, one less.  Rows that are not there are memory all the same. */
INLINE void product_of(int rows, const int vectors, int n, const float *left, int apart, int along, const float *right,
                       const float *given, float *product) {
    if (rows == ROWS)
        rows_of(ROWS, vectors, n, left, apart, along, right, given, product);
    else
        rows_of(ROWS - 1, vectors, n, left, apart, along, right, given, product);
}

/* Functions of their own: where these are inlined, what lies around them takes registers from the sums. */
APART logits_of(int rows, int n, const float *left, const float *right, const float *given, float *product) {
    if (given)
        product_of(rows, KEYS, n, left, DEEP, 1, right, given, product);
    else
        product_of(rows, KEYS, n, left, DEEP, 1, right, 0, product);
}

APART along_rows(int rows, int n, const float *left, const float *right, float *product) {
    product_of(rows, PARTS, n, left, WIDE, 1, right, 0, product);
}

APART along_columns(int rows, int n, const float *left, const float *right, float *product) {
    product_of(rows, PARTS, n, left, 1, WIDE, right, 0, product);
}

/* Rows of logits become weights that are still to be multiplied by their factors: step by step for all rows, so
 * that none waits for another. */
INLINE void weights_of(int rows, float *w, float *factors) {
    vec most[ROWS], total[ROWS];
    for (int r = 0; r < rows; r++) {
        most[r] = load(w + r * WIDE);
        for (int v = 1; v < KEYS; v++) most[r] = maximum(most[r], load(w + r * WIDE + v * LANES));
    }
    for (int r = 0; r < rows; r++) most[r] = largest_in_all(most[r]);
    for (int r = 0; r < rows; r++) {
        total[r] = all(0);
        for (int v = 0; v < KEYS; v++) {
            const vec e = exponential(load(w + r * WIDE + v * LANES) - most[r]);
            store(w + r * WIDE + v * LANES, e);
            total[r] += e;
        }
    }
    for (int r = 0; r < rows; r++) factors[r] = 1 / sum_in_all(total[r])[0];
}
