/* Numbers as tensors hold them: float32 or, with BFLOAT16, its upper half, rounded to the nearest. */
#pragma once
#include "vectors.h"

#if BFLOAT16

typedef uint16_t number;
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));

/* Of two as near the even one; NaN stays, though its bits may be all ones. */
INLINE void store_numbers(number *p, vec x) {
    const bits own = (bits)x, nearest = own + 0x7fff + (own >> 16 & 1);
    const bits kept = (bits)where(x == x, (vec)nearest, (vec)(own | 0x400000));
    const halves upper = __builtin_convertvector(kept >> 16, halves);
    memcpy(p, &upper, sizeof upper);
}

INLINE float widened(number x) {
    const uint32_t own = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &own, sizeof wide);
    return wide;
}

INLINE number narrowed(float x) {
    number found[LANES];
    store_numbers(found, all(x));
    return found[0];
}

#else

typedef float number;

INLINE void store_numbers(number *p, vec x) { store(p, x); }
INLINE float widened(number x) { return x; }
INLINE number narrowed(float x) { return x; }

#endif
