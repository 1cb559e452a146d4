/* Vectors of float32, as wide as the processor's registers: gcc's and clang's, on any processor. */
#include <stdint.h>
#include <string.h>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+x"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif

INLINE vec all(float x) { return x - (vec){0}; }

INLINE vec load(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(float *p, vec x) { memcpy(p, &x, sizeof x); }

INLINE vec where(ivec which, vec x, vec y) { return (vec)(((ivec)x & which) | ((ivec)y & ~which)); }

/* x > y ? x : y, and x < y ? x : y: y where one is NaN. */
#if LANES == 16
INLINE vec maximum(vec x, vec y) { return (vec)_mm512_max_ps((__m512)x, (__m512)y); }
INLINE vec minimum(vec x, vec y) { return (vec)_mm512_min_ps((__m512)x, (__m512)y); }
#elif LANES == 8
INLINE vec maximum(vec x, vec y) { return (vec)_mm256_max_ps((__m256)x, (__m256)y); }
INLINE vec minimum(vec x, vec y) { return (vec)_mm256_min_ps((__m256)x, (__m256)y); }
#else
INLINE vec maximum(vec x, vec y) { return where(x > y, x, y); }
INLINE vec minimum(vec x, vec y) { return where(x < y, x, y); }
#endif

/* e^x for x <= 0: 2^n e^r with |r| <= ln 2 / 2, e^r by its series; 0 below the smallest normal number.  NaN
 * stays, as it is not below: its r and the product are NaN. */
INLINE vec exponential(vec x) {
    const ivec below = x <= all(-87.0f);
    const vec shifter = all(12582912.0f); /* 1.5 2^23: adding it rounds to an integer */
    vec n = x * all(1.44269504f) + shifter;
    const vec power = (vec)(((ivec)n - (ivec)shifter + 127) << 23);
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
    return (vec)((ivec)(p * power) & ~below);
}

#if defined(__clang__)
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (ivec){__VA_ARGS__})
#endif

/* The sum of all lanes, and the largest, in every lane. */
#if LANES == 8
#define ACROSS(combine)                                   \
    x = combine(x, SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3)); \
    x = combine(x, SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5)); \
    return combine(x, SHUFFLE(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#else
#define ACROSS(combine)                                                         \
    vec found = all(x[0]);                                                      \
    for (int i = 1; i < LANES; i++) found = combine(found, all(x[i])); \
    return found;
#endif

INLINE vec plus(vec x, vec y) { return x + y; }
INLINE vec sum_in_all(vec x) { ACROSS(plus) }
INLINE vec largest_in_all(vec x) { ACROSS(maximum) }

/* Rows of LANES numbers become columns. */
INLINE void transpose(vec r[LANES]) {
#if LANES == 8
    vec s[8], t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = SHUFFLE(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        t[i + 1] = SHUFFLE(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            s[i + 2 * j] = SHUFFLE(t[i + j], t[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            s[i + 2 * j + 1] = SHUFFLE(t[i + j], t[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        r[i] = SHUFFLE(s[i], s[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = SHUFFLE(s[i], s[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#else
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < i; j++) {
            const float x = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = x;
        }
#endif
}
