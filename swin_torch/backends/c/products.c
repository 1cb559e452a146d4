/* Products of matrices in float32, out = given + bias + left right, and GELU of it.
 *
 * As many columns of right as two vectors hold are laid out one row after the other; rows of left come a few at a
 * time, so that their sums stay in registers.
 */
#include "gelu.h"
#include "sharing.h"
#include "vectors.h"

#if defined(__AVX512F__) || defined(__aarch64__)
#define IN_32 /* registers */
#endif

enum {
#if defined(IN_32)
    ROWS = 12, /* whose sums, by two vectors, fit them */
#else
    ROWS = 6, /* the same of 16 registers */
#endif
    VECTORS = 2,
    WIDE = VECTORS * LANES,
    PANELS = 4, /* of WIDE columns, and */
    DEEP = 512  /* rows of right at a time, at most: they stay in the cache */
};

struct product {
    int64_t rows, columns, depth;
    const float *left, *right;
    int64_t apart, along; /* from one row of left to the next, from one column to the next: one of them is 1 */
    int64_t down, across; /* the same of right */
    const float *given, *bias; /* (rows, columns), which may be out, and (columns); either may be null */
    float *out;
    int64_t activated, streamed; /* GELU of it; past the cache, where it lies so that this can be */
};

#define UNROLLED _Pragma("GCC unroll 12") /* before the compiler decides what is in memory */

INLINE int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }

/* LANES columns of right, of which some may be missing: LANES rows at a time where each lies in memory on its own. */
INLINE void turn(const float *right, int64_t across, int64_t down, int64_t depth, int64_t columns, float *packed) {
    int64_t k = 0;
    for (; down == 1 && columns >= LANES && k + LANES <= depth; k += LANES) {
        vec block[LANES];
        for (int j = 0; j < LANES; j++) {
            block[j] = load(right + j * across + k);
            __builtin_prefetch(right + j * across + k + 2 * LANES);
        }
        transpose(block);
        for (int i = 0; i < LANES; i++) store(packed + (k + i) * WIDE, block[i]);
    }
    for (; k < depth; k++)
        for (int j = 0; j < LANES; j++) packed[k * WIDE + j] = j < columns ? right[j * across + k * down] : 0;
}

/* Rows from .. until of the panels low .. high, one panel after the other: zeros beyond the last column. */
static void pack(const struct product *p, int64_t low, int64_t high, int64_t from, int64_t until, float *packed) {
    const int64_t depth = until - from, whole = least(high, p->columns / WIDE);
    const float *right = p->right + from * p->down;
    if (p->across == 1)
        for (int64_t k = 0; k < depth; k++) /* row by row: those of a panel alone are far apart */
            for (int64_t at = low; at < whole; at++)
                memcpy(packed + ((at - low) * depth + k) * WIDE, right + k * p->down + at * WIDE, WIDE * sizeof(float));
    for (int64_t at = p->across == 1 ? whole : low; at < high; at++)
        for (int64_t column = at * WIDE; column < (at + 1) * WIDE; column += LANES) {
            float *to = packed + (at - low) * depth * WIDE + column % WIDE;
            turn(right + column * p->across, p->across, p->down, depth, p->columns - column, to);
        }
}

/* Some rows of a panel: stride is from one row of given and of out to the next. */
struct tile {
    const float *left, *packed, *given, *bias;
    float *out;
    int64_t apart, along, depth, stride;
    int streamed;
};

INLINE void tile_of(const int R, const struct tile *tile) {
    const float *rows[(ROWS + 2) / 3], *packed = tile->packed; /* three rows a pointer: there are too few for each */
    const int64_t apart = tile->apart, along = tile->along, stride = tile->stride;
    vec sums[ROWS][VECTORS];
    UNROLLED for (int r = 0; r < R; r += 3) rows[r / 3] = tile->left + r * apart;
    UNROLLED for (int v = 0; v < VECTORS; v++) {
        const vec bias = tile->bias ? load(tile->bias + v * LANES) : all(0);
        UNROLLED for (int r = 0; r < R; r++) sums[r][v] = bias;
    }
    const float *given = tile->given;
    if (given)
        UNROLLED for (int r = 0; r < R; r++)
            for (int j = 0; j < WIDE; j += 16) __builtin_prefetch(given + r * stride + j);
    for (int64_t k = tile->depth; k > 0; k--) {
        vec column[VECTORS];
        UNROLLED for (int v = 0; v < VECTORS; v++) {
            column[v] = load(packed + v * LANES);
            IN_REGISTER(column[v]);
        }
        UNROLLED for (int r = 0; r < R; r++) {
            const vec row = all(rows[r / 3][r % 3 * apart]);
            UNROLLED for (int v = 0; v < VECTORS; v++) sums[r][v] += row * column[v];
        }
        UNROLLED for (int r = 0; r < R; r += 3) {
            rows[r / 3] += along;
            SEPARATE(rows[r / 3]);
        }
        packed += WIDE;
    }
    if (given) /* last: beside a large number each term would be rounded as it is */
        UNROLLED for (int r = 0; r < R; r++)
            UNROLLED for (int v = 0; v < VECTORS; v++) sums[r][v] += load(given + r * stride + v * LANES);
    float *out = tile->out;
    if (tile->streamed)
        UNROLLED for (int r = 0; r < R; r++, out += stride)
            UNROLLED for (int v = 0; v < VECTORS; v++) store_past_cache(out + v * LANES, sums[r][v]);
    else
        UNROLLED for (int r = 0; r < R; r++, out += stride)
            UNROLLED for (int v = 0; v < VECTORS; v++) store(out + v * LANES, sums[r][v]);
}

#define OF_HEIGHT(R) \
    APART rows_##R(const struct tile *tile) { tile_of(R, tile); }
OF_HEIGHT(1)
OF_HEIGHT(2)
OF_HEIGHT(3)
OF_HEIGHT(4)
OF_HEIGHT(5)
OF_HEIGHT(6)
#if defined(IN_32)
OF_HEIGHT(7)
OF_HEIGHT(8)
OF_HEIGHT(9)
OF_HEIGHT(10)
OF_HEIGHT(11)
OF_HEIGHT(12)
#define HIGHER rows_7, rows_8, rows_9, rows_10, rows_11, rows_12
#else
#define HIGHER
#endif
static void (*const of_height[])(const struct tile *) = {0, rows_1, rows_2, rows_3, rows_4, rows_5, rows_6, HIGHER};

INLINE void copy(const float *from, int64_t apart, int rows, int64_t columns, float *to, int64_t apart_to) {
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++) to[r * apart_to + j] = from[r * apart + j];
}

/* The last columns, fewer than WIDE: by way of rows of WIDE. */
APART narrow(const struct tile *tile, int rows, int64_t columns) {
    float whole[ROWS * WIDE] = {0}, bias[WIDE] = {0};
    if (tile->given) copy(tile->given, tile->stride, rows, columns, whole, WIDE);
    if (tile->bias) copy(tile->bias, 0, 1, columns, bias, 0);
    struct tile other = *tile;
    other.given = other.out = whole, other.bias = bias, other.stride = WIDE, other.streamed = 0;
    of_height[rows](&other);
    copy(whole, WIDE, rows, columns, tile->out, tile->stride);
}

/* A tile of a panel: rows row to below, of right the rows from until. */
INLINE void compute(const struct product *p, int64_t row, int64_t below, int64_t column, int64_t from, int64_t until,
                    const float *packed) {
    const int64_t at = row * p->columns + column, columns = least(WIDE, p->columns - column);
    struct tile tile = {p->left + row * p->apart + from * p->along, packed, 0, 0, p->out + at,
                        p->apart, p->along, until - from, p->columns, 0};
    if (from)
        tile.given = tile.out;
    else
        tile.given = p->given ? p->given + at : 0, tile.bias = p->bias ? p->bias + column : 0;
    tile.streamed = p->streamed && until == p->depth && (uintptr_t)tile.out % (4 * LANES) == 0 && p->columns % LANES == 0;
    if (columns == WIDE)
        of_height[below - row](&tile);
    else
        narrow(&tile, below - row, columns);
    if (p->activated && until == p->depth)
        for (int64_t r = 0; r < below - row; r++)
            gelu_in(tile.out + r * p->columns, tile.out + r * p->columns, columns);
}

/* Rows first to last of the panels low to high, of right the rows from until: in tiles of about the same height,
 * which are multiplied by one panel after the other. */
static void some_panels(const struct product *p, int64_t first, int64_t last, int64_t low, int64_t high, int64_t from,
                        int64_t until) {
    SCRATCH packed[PANELS * DEEP * WIDE];
    const int64_t tiles = (last - first + ROWS - 1) / ROWS, size = (until - from) * WIDE;
    pack(p, low, high, from, until, packed);
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t row = first + (last - first) * t / tiles, below = first + (last - first) * (t + 1) / tiles;
        for (int64_t at = low; at < high; at++)
            compute(p, row, below, at * WIDE, from, until, packed + (at - low) * size);
    }
}

/* Rows first to last of the panels low to high. */
static void panels(const struct product *p, int64_t first, int64_t last, int64_t low, int64_t high) {
    const int64_t steps = (p->depth + DEEP - 1) / DEEP;
    for (; low < high; low += PANELS)
        for (int64_t step = 0; step < steps; step++)
            some_panels(p, first, last, low, least(low + PANELS, high), p->depth * step / steps,
                        p->depth * (step + 1) / steps);
    if (p->streamed) FENCE;
}

/* Threads share rows out, or columns: number is that of rows, or of panels of width(). */
void product_by_rows(const struct product *p, PARTS_OF_NUMBER) {
    SHARE(panels(p, first, last, 0, (p->columns + WIDE - 1) / WIDE))
}

void product_by_columns(const struct product *p, PARTS_OF_NUMBER) { SHARE(panels(p, 0, p->rows, first, last)) }

int64_t width(void) { return WIDE; }
