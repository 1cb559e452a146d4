/* The type of a tensor's elements, and its conversion from and to float32.
 *
 * An element is float32 or, with BFLOAT16, bfloat16: the upper 16 bits of a float32.  All arithmetic is in float32.
 */
#pragma once
#include "vectors.h"

#if BFLOAT16

typedef uint16_t element;
typedef uint16_t half_words __attribute__((vector_size(2 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

/* Rounds x to the nearest bfloat16, ties to even, and stores it at p.  NaN stays NaN, even if all its bits are 1. */
INLINE void store_elements(element *p, vec x) {
    const words bits = (words)x, rounded = bits + 0x7fff + (bits >> 16 & 1);
    const words kept = (words)choose(x == x, (vec)rounded, (vec)(bits | 0x400000));
    const half_words upper = __builtin_convertvector(kept >> 16, half_words);
    memcpy(p, &upper, sizeof upper);
}

INLINE float to_float(element x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

INLINE element to_element(float x) {
    element rounded[LANES];
    store_elements(rounded, broadcast(x));
    return rounded[0];
}

#else

typedef float element;

INLINE void store_elements(element *p, vec x) { store(p, x); }
INLINE float to_float(element x) { return x; }
INLINE element to_element(float x) { return x; }

#endif
