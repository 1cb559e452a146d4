/* Loops over a row of C floats, vector by vector; C need not be a multiple of LANES. */
#include "vectors.h"

/* Loads n < LANES floats; the other lanes are 0. */
INLINE vec load_first(const float *p, int64_t n) {
    vec x = {0};
    memcpy(&x, p, n * sizeof(float));
    return x;
}

INLINE void store_first(float *p, int64_t n, vec x) { memcpy(p, &x, n * sizeof(float)); }

/* Runs the given statements for each vector of a row: `at` is its first element, n how many elements it has, LANES
 * or, at the row's end, fewer.  LOAD(p) and STORE(p, x) access these elements of the row p. */
#define FOR_EACH_VECTOR(C, ...)                 \
    {                                           \
        int64_t at = 0;                         \
        for (; at + LANES <= C; at += LANES) {  \
            const int64_t n = LANES;            \
            __VA_ARGS__                         \
        }                                       \
        if (at < C) {                           \
            const int64_t n = C - at;           \
            __VA_ARGS__                         \
        }                                       \
    }
#define LOAD(p) (n == LANES ? load((p) + at) : load_first((p) + at, n))
#define STORE(p, x) (n == LANES ? store((p) + at, x) : store_first((p) + at, n, x))
