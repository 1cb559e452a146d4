/* Vectors of LANES float32, as wide as the processor's registers.
 *
 * gcc and clang compile their arithmetic for every processor; intrinsics are used where those do worse.
 */
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

/* THREAD_LOCAL declares an array of floats that each thread has once: large arrays do not belong on the stack. */
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline)) void
#define THREAD_LOCAL static _Thread_local __attribute__((aligned(64))) float

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

/* Makes the compiler hold x in a register here. */
#if defined(__x86_64__)
#define KEEP_IN_REGISTER(x) __asm__("" : "+x"(x))
#else
#define KEEP_IN_REGISTER(x) (void)(x)
#endif

/* Hides from the compiler what a pointer was computed from: otherwise it would recompute the pointer. */
#define HIDE_ORIGIN(pointer) __asm__("" : "+r"(pointer))

INLINE vec broadcast(float x) { return x - (vec){0}; }

INLINE vec load(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(float *p, vec x) { memcpy(p, &x, sizeof x); }

/* Stores x past the cache, without reading the memory first.  p must be a multiple of the vector's size. */
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

/* Returns x in the lanes where `which` is all ones, y where it is 0. */
INLINE vec choose(ivec which, vec x, vec y) { return (vec)(((ivec)x & which) | ((ivec)y & ~which)); }

/* Returns x > y ? x : y in each lane: y if one of them is NaN. */
#if LANES == 16
INLINE vec max_of(vec x, vec y) { return (vec)_mm512_max_ps((__m512)x, (__m512)y); }
#elif LANES == 8
INLINE vec max_of(vec x, vec y) { return (vec)_mm256_max_ps((__m256)x, (__m256)y); }
#else
INLINE vec max_of(vec x, vec y) { return choose(x > y, x, y); }
#endif

/* Returns the integer nearest to x, for |x| < 2^22. */
INLINE vec round_to_nearest(vec x) {
    const vec shifter = broadcast(12582912.0f); /* 1.5 2^23: floats of this size are integers */
    return (x + shifter) - shifter;
}

/* Returns p 2^n for integers n, but 0 where x <= least.  NaN stays NaN. */
INLINE vec scale_by_power(vec p, vec n, vec x, float least) {
#if LANES == 16
    const __mmask16 more = _mm512_cmp_ps_mask((__m512)x, (__m512)broadcast(least), _CMP_NLE_UQ);
    return (vec)_mm512_maskz_scalef_ps(more, (__m512)p, (__m512)n);
#else
    const vec power = (vec)(((ivec)(n + broadcast(12582912.0f)) - 0x4b400000 + 127) << 23);
    return (vec)((ivec)(p * power) & ~(ivec)(x <= broadcast(least)));
#endif
}

/* Returns e^x for x <= 0, 0 where that is below the smallest normal number.
 *
 * e^x = 2^n e^r with |r| <= ln 2 / 2.  A polynomial gives e^r with a relative error of at most 4e-9. */
INLINE vec exp_of_negative(vec x) {
    const vec n = round_to_nearest(x * broadcast(1.44269504f));
    const vec r = (x - n * broadcast(0.693359375f)) - n * broadcast(-2.12194440e-4f); /* ln 2 in two parts */
    vec p = broadcast(0.0013814320554956794f);
    p = p * r + broadcast(0.00836885068565607f);
    p = p * r + broadcast(0.041668400168418884f);
    p = p * r + broadcast(0.1666651964187622f);
    p = p * r + broadcast(0.4999999403953552f);
    p = p * r + broadcast(1.0f);
    p = p * r + broadcast(1.0f);
    return scale_by_power(p, n, x, -87.0f);
}

#if defined(__clang__)
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (ivec){__VA_ARGS__})
#endif

/* A shuffle's pattern is given for the q-th four lanes, and repeated for all fours. */
#define FOUR(q) 4 * (q), 4 * (q) + 1, 4 * (q) + 2, 4 * (q) + 3
#define BY_TWO(q) 4 * (q) + 2, 4 * (q) + 3, 4 * (q), 4 * (q) + 1
#define BY_ONE(q) 4 * (q) + 1, 4 * (q), 4 * (q) + 3, 4 * (q) + 2
#if LANES == 16
#define IN_FOURS(pattern) pattern(0), pattern(1), pattern(2), pattern(3)
#define ACROSS_FOURS(combine)                                            \
    x = combine(x, SHUFFLE(x, x, FOUR(2), FOUR(3), FOUR(0), FOUR(1))); \
    x = combine(x, SHUFFLE(x, x, FOUR(1), FOUR(0), FOUR(3), FOUR(2)));
#elif LANES == 8
#define IN_FOURS(pattern) pattern(0), pattern(1)
#define ACROSS_FOURS(combine) x = combine(x, SHUFFLE(x, x, FOUR(1), FOUR(0)));
#else
#define IN_FOURS(pattern) pattern(0)
#define ACROSS_FOURS(combine)
#endif

/* Combines all lanes of x in log2(LANES) steps; every lane of the result holds the sum, or the largest. */
#define ACROSS(combine)                                 \
    ACROSS_FOURS(combine)                               \
    x = combine(x, SHUFFLE(x, x, IN_FOURS(BY_TWO))); \
    return combine(x, SHUFFLE(x, x, IN_FOURS(BY_ONE)));

INLINE vec sum_of(vec x, vec y) { return x + y; }
INLINE vec sum_lanes(vec x) { ACROSS(sum_of) }
INLINE vec max_lanes(vec x) { ACROSS(max_of) }

#define LOWER(q) 4 * (q), 4 * (q) + LANES, 4 * (q) + 1, 4 * (q) + 1 + LANES
#define UPPER(q) 4 * (q) + 2, 4 * (q) + 2 + LANES, 4 * (q) + 3, 4 * (q) + 3 + LANES
#define FIRSTS(q) 4 * (q), 4 * (q) + 1, 4 * (q) + LANES, 4 * (q) + 1 + LANES
#define SECONDS(q) 4 * (q) + 2, 4 * (q) + 3, 4 * (q) + 2 + LANES, 4 * (q) + 3 + LANES
#define EVEN(x, y) SHUFFLE(x, y, FOUR(0), FOUR(2), FOUR(4), FOUR(6))
#define ODD(x, y) SHUFFLE(x, y, FOUR(1), FOUR(3), FOUR(5), FOUR(7))

/* Transposes a LANES x LANES matrix, row i in r[i]: first blocks of 4 x 4, then the blocks among themselves. */
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
