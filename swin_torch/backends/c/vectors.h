/* Vectors of float32, as wide as the processor's registers: gcc's and clang's, on any processor. */
#pragma once
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
#define APART static __attribute__((noinline)) void
#define SCRATCH static _Thread_local __attribute__((aligned(64))) float

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+x"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif

/* The compiler is not to know what a pointer was computed from. */
#define SEPARATE(pointer) __asm__("" : "+r"(pointer))

INLINE vec all(float x) { return x - (vec){0}; }

INLINE vec load(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(float *p, vec x) { memcpy(p, &x, sizeof x); }

/* To memory at a multiple of a vector's size, past the cache: what is there is not read first. */
#if LANES == 16
INLINE void store_past_cache(float *p, vec x) { _mm512_stream_ps(p, (__m512)x); }
#define FENCE _mm_sfence()
#elif LANES == 8
INLINE void store_past_cache(float *p, vec x) { _mm256_stream_ps(p, (__m256)x); }
#define FENCE _mm_sfence()
#else
INLINE void store_past_cache(float *p, vec x) { store(p, x); }
#define FENCE
#endif

INLINE vec where(ivec which, vec x, vec y) { return (vec)(((ivec)x & which) | ((ivec)y & ~which)); }

/* x > y ? x : y: y where one is NaN. */
#if LANES == 16
INLINE vec maximum(vec x, vec y) { return (vec)_mm512_max_ps((__m512)x, (__m512)y); }
#elif LANES == 8
INLINE vec maximum(vec x, vec y) { return (vec)_mm256_max_ps((__m256)x, (__m256)y); }
#else
INLINE vec maximum(vec x, vec y) { return where(x > y, x, y); }
#endif

/* To the nearest integer, for |x| < 2^22. */
INLINE vec nearest(vec x) {
    const vec shifter = all(12582912.0f); /* 1.5 2^23: what is added to it is rounded */
    return (x + shifter) - shifter;
}

/* p 2^n for an integer n, and 0 where x <= least; NaN stays. */
INLINE vec times_power(vec p, vec n, vec x, float least) {
#if LANES == 16
    const __mmask16 more = _mm512_cmp_ps_mask((__m512)x, (__m512)all(least), _CMP_NLE_UQ);
    return (vec)_mm512_maskz_scalef_ps(more, (__m512)p, (__m512)n);
#else
    const vec power = (vec)(((ivec)(n + all(12582912.0f)) - 0x4b400000 + 127) << 23);
    return (vec)((ivec)(p * power) & ~(ivec)(x <= all(least)));
#endif
}

/* e^x for x <= 0: 2^n e^r with |r| <= ln 2 / 2, e^r by a polynomial that is 4e-9 of it off at most; 0 below the
 * smallest normal number. */
INLINE vec exponential(vec x) {
    const vec n = nearest(x * all(1.44269504f)), r = (x - n * all(0.693359375f)) - n * all(-2.12194440e-4f);
    vec p = all(0.0013814320554956794f);
    p = p * r + all(0.00836885068565607f);
    p = p * r + all(0.041668400168418884f);
    p = p * r + all(0.1666651964187622f);
    p = p * r + all(0.4999999403953552f);
    p = p * r + all(1.0f);
    p = p * r + all(1.0f);
    return times_power(p, n, x, -87.0f);
}

#if defined(__clang__)
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (ivec){__VA_ARGS__})
#endif

/* Lanes come in fours; a shuffle is said for each of them. */
#define FOUR(q) 4 * (q), 4 * (q) + 1, 4 * (q) + 2, 4 * (q) + 3
#define BY_TWO(q) 4 * (q) + 2, 4 * (q) + 3, 4 * (q), 4 * (q) + 1
#define BY_ONE(q) 4 * (q) + 1, 4 * (q), 4 * (q) + 3, 4 * (q) + 2
#if LANES == 16
#define IN_FOURS(said) said(0), said(1), said(2), said(3)
#define ACROSS_FOURS(combine)                                            \
    x = combine(x, SHUFFLE(x, x, FOUR(2), FOUR(3), FOUR(0), FOUR(1))); \
    x = combine(x, SHUFFLE(x, x, FOUR(1), FOUR(0), FOUR(3), FOUR(2)));
#elif LANES == 8
#define IN_FOURS(said) said(0), said(1)
#define ACROSS_FOURS(combine) x = combine(x, SHUFFLE(x, x, FOUR(1), FOUR(0)));
#else
#define IN_FOURS(said) said(0)
#define ACROSS_FOURS(combine)
#endif

/* The sum of all lanes, and the largest, in every lane. */
#define ACROSS(combine)                                 \
    ACROSS_FOURS(combine)                               \
    x = combine(x, SHUFFLE(x, x, IN_FOURS(BY_TWO))); \
    return combine(x, SHUFFLE(x, x, IN_FOURS(BY_ONE)));

INLINE vec plus(vec x, vec y) { return x + y; }
INLINE vec sum_in_all(vec x) { ACROSS(plus) }
INLINE vec largest_in_all(vec x) { ACROSS(maximum) }

#define LOWER(q) 4 * (q), 4 * (q) + LANES, 4 * (q) + 1, 4 * (q) + 1 + LANES
#define UPPER(q) 4 * (q) + 2, 4 * (q) + 2 + LANES, 4 * (q) + 3, 4 * (q) + 3 + LANES
#define FIRSTS(q) 4 * (q), 4 * (q) + 1, 4 * (q) + LANES, 4 * (q) + 1 + LANES
#define SECONDS(q) 4 * (q) + 2, 4 * (q) + 3, 4 * (q) + 2 + LANES, 4 * (q) + 3 + LANES
#define EVEN(x, y) SHUFFLE(x, y, FOUR(0), FOUR(2), FOUR(4), FOUR(6))
#define ODD(x, y) SHUFFLE(x, y, FOUR(1), FOUR(3), FOUR(5), FOUR(7))

/* Rows of LANES numbers become columns: within fours of rows and lanes, and then whole fours. */
INLINE void transpose(vec r[LANES]) {
    vec s[LANES], t[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = SHUFFLE(r[i], r[i + 1], IN_FOURS(LOWER));
        t[i + 1] = SHUFFLE(r[i], r[i + 1], IN_FOURS(UPPER));
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            s[i + 2 * j] = SHUFFLE(t[i + j], t[i + j + 2], IN_FOURS(FIRSTS));
            s[i + 2 * j + 1] = SHUFFLE(t[i + j], t[i + j + 2], IN_FOURS(SECONDS));
        }
    for (int i = 0; i < 4; i++) {
#if LANES == 16
        const vec even = EVEN(s[i], s[i + 4]), odd = ODD(s[i], s[i + 4]);
        const vec other_even = EVEN(s[i + 8], s[i + 12]), other_odd = ODD(s[i + 8], s[i + 12]);
        r[i] = EVEN(even, other_even), r[i + 4] = EVEN(odd, other_odd);
        r[i + 8] = ODD(even, other_even), r[i + 12] = ODD(odd, other_odd);
#elif LANES == 8
        r[i] = SHUFFLE(s[i], s[i + 4], FOUR(0), FOUR(2)), r[i + 4] = SHUFFLE(s[i], s[i + 4], FOUR(1), FOUR(3));
#else
        r[i] = s[i];
#endif
    }
}
