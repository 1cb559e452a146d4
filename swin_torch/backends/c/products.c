/* Matrix products in float32:
 *
 *     out = given + bias + left right, or GELU of it
 *
 * left (rows, depth) and right (depth, columns) may be transposed in memory; given and out are (rows, columns), row
 * after row; bias is (columns).
 *
 * A panel is WIDE columns of right, as many as two vectors hold.  A tile is up to ROWS rows of out in one panel: its
 * sums stay in registers.  Order of the loops: PANELS panels at a time; of these DEEP rows of right at a time, which
 * are copied row after row to memory that stays in the cache; tiles; the panels of a tile.  Threads divide the rows
 * or the panels (parallel.h).
 */
#include "gelu.h"
#include "parallel.h"
#include "vectors.h"

#if defined(__AVX512F__) || defined(__aarch64__)
#define HAS_32_REGISTERS
#endif

enum {
#if defined(HAS_32_REGISTERS)
    ROWS = 12, /* ROWS times two vectors of sums fit 32 registers */
#else
    ROWS = 6, /* they fit 16 registers */
#endif
    VECTORS = 2,
    WIDE = VECTORS * LANES,
    PANELS = 4, /* panels packed at a time */
    DEEP = 512  /* rows of right packed at a time, at most */
};

/* The arguments of a call; products.py fills in the same fields in the same order. */
struct product {
    int64_t rows, columns, depth;
    const float *left, *right;
    int64_t row_step, column_step; /* of left, from a row or column to the next; one of them is 1 */
    int64_t right_row_step, right_column_step; /* of right; one of them is 1 */
    const float *given, *bias;     /* given may be out; either may be null */
    float *out;
    int64_t gelu, streamed;        /* apply GELU; store past the cache, where out is aligned for that */
};

#define UNROLL _Pragma("GCC unroll 12") /* before the compiler decides what is kept in registers */

INLINE int64_t min_of(int64_t x, int64_t y) { return x < y ? x : y; }

/* Packs up to LANES columns of right into half a panel, (depth, WIDE), with zeros for missing columns.  Where the
 * elements of a column are consecutive, LANES rows of LANES columns are transposed at a time. */
INLINE void pack_columns(const float *right, int64_t column_step, int64_t row_step, int64_t depth, int64_t columns,
                         float *packed) {
    int64_t k = 0;
    for (; row_step == 1 && columns >= LANES && k + LANES <= depth; k += LANES) {
        vec block[LANES];
        for (int j = 0; j < LANES; j++) {
            block[j] = load(right + j * column_step + k);
            __builtin_prefetch(right + j * column_step + k + 2 * LANES);
        }
        transpose(block);
        for (int i = 0; i < LANES; i++) store(packed + (k + i) * WIDE, block[i]);
    }
    for (; k < depth; k++)
        for (int j = 0; j < LANES; j++) packed[k * WIDE + j] = j < columns ? right[j * column_step + k * row_step] : 0;
}

/* Packs the rows from to until of the panels low to high: (high - low, until - from, WIDE), zeros beyond the last
 * column. */
static void pack_panels(const struct product *p, int64_t low, int64_t high, int64_t from, int64_t until,
                        float *packed) {
    const int64_t depth = until - from, whole = min_of(high, p->columns / WIDE);
    const float *right = p->right + from * p->right_row_step;
    if (p->right_column_step == 1)
        for (int64_t k = 0; k < depth; k++) /* row by row: the rows of one panel lie far apart */
            for (int64_t at = low; at < whole; at++)
                memcpy(packed + ((at - low) * depth + k) * WIDE, right + k * p->right_row_step + at * WIDE,
                       WIDE * sizeof(float));
    for (int64_t at = p->right_column_step == 1 ? whole : low; at < high; at++)
        for (int64_t column = at * WIDE; column < (at + 1) * WIDE; column += LANES) {
            float *to = packed + (at - low) * depth * WIDE + column % WIDE;
            pack_columns(right + column * p->right_column_step, p->right_column_step, p->right_row_step, depth,
                         p->columns - column, to);
        }
}

/* One tile: rows of out in one panel, for `depth` rows of right. */
struct tile {
    const float *left, *packed, *given, *bias;
    float *out;
    int64_t row_step, column_step, depth, stride; /* of left; stride is from a row of given or out to the next */
    int streamed;
};

INLINE void multiply_tile(const int R, const struct tile *tile) {
    const float *rows[(ROWS + 2) / 3]; /* a pointer for three rows: one a row would take too many registers */
    const float *packed = tile->packed;
    const int64_t row_step = tile->row_step, column_step = tile->column_step, stride = tile->stride;
    vec sums[ROWS][VECTORS];
    UNROLL for (int r = 0; r < R; r += 3) rows[r / 3] = tile->left + r * row_step;
    UNROLL for (int v = 0; v < VECTORS; v++) {
        const vec bias = tile->bias ? load(tile->bias + v * LANES) : broadcast(0);
        UNROLL for (int r = 0; r < R; r++) sums[r][v] = bias;
    }
    const float *given = tile->given;
    if (given)
        UNROLL for (int r = 0; r < R; r++)
            for (int j = 0; j < WIDE; j += 16) __builtin_prefetch(given + r * stride + j);
    for (int64_t k = tile->depth; k > 0; k--) {
        vec column[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) {
            column[v] = load(packed + v * LANES);
            KEEP_IN_REGISTER(column[v]);
        }
        UNROLL for (int r = 0; r < R; r++) {
            const vec row = broadcast(rows[r / 3][r % 3 * row_step]);
            UNROLL for (int v = 0; v < VECTORS; v++) sums[r][v] += row * column[v];
        }
        UNROLL for (int r = 0; r < R; r += 3) {
            rows[r / 3] += column_step;
            HIDE_ORIGIN(rows[r / 3]);
        }
        packed += WIDE;
    }
    if (given) /* added last: next to a large number every term of the sum would be rounded to its precision */
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < VECTORS; v++) sums[r][v] += load(given + r * stride + v * LANES);
    float *out = tile->out;
    if (tile->streamed)
        UNROLL for (int r = 0; r < R; r++, out += stride)
            UNROLL for (int v = 0; v < VECTORS; v++) store_past_cache(out + v * LANES, sums[r][v]);
    else
        UNROLL for (int r = 0; r < R; r++, out += stride)
            UNROLL for (int v = 0; v < VECTORS; v++) store(out + v * LANES, sums[r][v]);
}

#define DEFINE_FOR_ROWS(R) \
    NOINLINE multiply_##R(const struct tile *tile) { multiply_tile(R, tile); }
DEFINE_FOR_ROWS(1)
DEFINE_FOR_ROWS(2)
DEFINE_FOR_ROWS(3)
DEFINE_FOR_ROWS(4)
DEFINE_FOR_ROWS(5)
DEFINE_FOR_ROWS(6)
#if defined(HAS_32_REGISTERS)
DEFINE_FOR_ROWS(7)
DEFINE_FOR_ROWS(8)
DEFINE_FOR_ROWS(9)
DEFINE_FOR_ROWS(10)
DEFINE_FOR_ROWS(11)
DEFINE_FOR_ROWS(12)
#define MORE_ROWS multiply_7, multiply_8, multiply_9, multiply_10, multiply_11, multiply_12
#else
#define MORE_ROWS
#endif
/* The function that computes a tile of so many rows. */
static void (*const multiply_rows[])(const struct tile *) = {
    0, multiply_1, multiply_2, multiply_3, multiply_4, multiply_5, multiply_6, MORE_ROWS};

INLINE void copy_rows(const float *from, int64_t row_step, int rows, int64_t columns, float *to, int64_t to_step) {
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++) to[r * to_step + j] = from[r * row_step + j];
}

/* Computes a tile of the last panel, which has fewer than WIDE columns, in rows of WIDE that are copied to out. */
NOINLINE multiply_last_columns(const struct tile *tile, int rows, int64_t columns) {
    float whole[ROWS * WIDE] = {0}, bias[WIDE] = {0};
    if (tile->given) copy_rows(tile->given, tile->stride, rows, columns, whole, WIDE);
    if (tile->bias) copy_rows(tile->bias, 0, 1, columns, bias, 0);
    struct tile other = *tile;
    other.given = other.out = whole, other.bias = bias, other.stride = WIDE, other.streamed = 0;
    multiply_rows[rows](&other);
    copy_rows(whole, WIDE, rows, columns, tile->out, tile->stride);
}

/* Computes the rows row to below of out in the panel that begins at `column`, for the rows from to until of right.
 * Steps after the first add to out. */
INLINE void compute_tile(const struct product *p, int64_t row, int64_t below, int64_t column, int64_t from,
                         int64_t until, const float *packed) {
    const int64_t at = row * p->columns + column, columns = min_of(WIDE, p->columns - column);
    struct tile tile = {p->left + row * p->row_step + from * p->column_step, packed, 0, 0, p->out + at,
                        p->row_step, p->column_step, until - from, p->columns, 0};
    if (from)
        tile.given = tile.out;
    else
        tile.given = p->given ? p->given + at : 0, tile.bias = p->bias ? p->bias + column : 0;
    tile.streamed =
        p->streamed && until == p->depth && (uintptr_t)tile.out % (4 * LANES) == 0 && p->columns % LANES == 0;
    if (columns == WIDE)
        multiply_rows[below - row](&tile);
    else
        multiply_last_columns(&tile, below - row, columns);
    if (p->gelu && until == p->depth)
        for (int64_t r = 0; r < below - row; r++)
            gelu_row(tile.out + r * p->columns, tile.out + r * p->columns, columns);
}

/* Computes the rows first to last of out in the panels low to high, for the rows from to until of right.  The tiles
 * have about the same height. */
static void compute_panels_of_step(const struct product *p, int64_t first, int64_t last, int64_t low, int64_t high,
                                   int64_t from, int64_t until) {
    THREAD_LOCAL packed[PANELS * DEEP * WIDE];
    const int64_t tiles = (last - first + ROWS - 1) / ROWS, size = (until - from) * WIDE;
    pack_panels(p, low, high, from, until, packed);
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t row = first + (last - first) * t / tiles, below = first + (last - first) * (t + 1) / tiles;
        for (int64_t at = low; at < high; at++)
            compute_tile(p, row, below, at * WIDE, from, until, packed + (at - low) * size);
    }
}

/* Computes the rows first to last of out in the panels low to high. */
static void compute_panels(const struct product *p, int64_t first, int64_t last, int64_t low, int64_t high) {
    const int64_t steps = (p->depth + DEEP - 1) / DEEP;
    for (; low < high; low += PANELS)
        for (int64_t step = 0; step < steps; step++)
            compute_panels_of_step(p, first, last, low, min_of(low + PANELS, high), p->depth * step / steps,
                                   p->depth * (step + 1) / steps);
    if (p->streamed) FENCE;
}

/* Computes out.  Threads divide the rows, or the panels: count is the number of rows, or of panels. */
void multiply_by_rows(const struct product *p, PARTS) {
    FOR_EACH_PART(compute_panels(p, first, last, 0, (p->columns + WIDE - 1) / WIDE))
}

void multiply_by_columns(const struct product *p, PARTS) { FOR_EACH_PART(compute_panels(p, 0, p->rows, first, last)) }

/* Returns how many columns a panel has. */
int64_t panel_width(void) { return WIDE; }
