/* Passes over a row of numbers, of any length. */
#include "vectors.h"

INLINE vec some(const float *p, int64_t n) {
    vec x = {0};
    memcpy(&x, p, n * sizeof(float));
    return x;
}

INLINE void store_some(float *p, int64_t n, vec x) { memcpy(p, &x, n * sizeof(float)); }

/* The rest is for each vector of a row, at its first number; LOAD and STORE mean a whole one, or at the end some. */
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
#define LOAD(p) (n == LANES ? load((p) + at) : some((p) + at, n))
#define STORE(p, x) (n == LANES ? store((p) + at, x) : store_some((p) + at, n, x))
