/* What lies between a block's products, in one pass each: bias and GELU, and a residual sum and its LayerNorm.
 *
 * Rows of C numbers, one after the other; out may be what it is computed from.
 */
#include "vectors.h"

INLINE vec some(const float *p, int64_t n) {
    vec x = {0};
    memcpy(&x, p, n * sizeof(float));
    return x;
}

INLINE void store_some(float *p, int64_t n, vec x) { memcpy(p, &x, n * sizeof(float)); }

/* body for each vector of a row, at its first number; LOAD and STORE mean a whole one, or at the end some. */
#define FOR_EACH_VECTOR(C, body)                \
    {                                           \
        int64_t at = 0;                         \
        for (; at + LANES <= C; at += LANES) {  \
            const int64_t n = LANES;            \
            body                                \
        }                                       \
        if (at < C) {                           \
            const int64_t n = C - at;           \
            body                                \
        }                                       \
    }
#define LOAD(p) (n == LANES ? load((p) + at) : some((p) + at, n))
#define STORE(p, x) (n == LANES ? store((p) + at, x) : store_some((p) + at, n, x))

INLINE vec absolute(vec x) { return (vec)((ivec)x & 0x7fffffff); }

/* The normal distribution's tail beyond a >= 0: e^(-a^2 / 2) times a rational approximation of Mills' ratio over
 * sqrt(2 pi), 6e-9 off at most.  Where a > 14 it is 0; NaN stays. */
INLINE vec tail(vec a) {
    a = minimum(all(14), a);
    vec p = all(0.004077173303812742f), q = all(0.010219830088317394f);
    p = p * a + all(0.040369849652051926f);
    p = p * a + all(0.1824541985988617f);
    p = p * a + all(0.43724122643470764f);
    p = p * a + all(0.5f);
    q = q * a + all(0.10119902342557907f);
    q = q * a + all(0.4674088656902313f);
    q = q * a + all(1.1992599964141846f);
    q = q * a + all(1.6723674535751343f);
    q = q * a + all(1.0f);
    return exponential(a * a * all(-0.5f)) * p / q;
}

/* x Phi(x) = max(x, 0) - |x| tail(|x|): small errors on either side. */
INLINE vec gelu_of(vec x) {
    const vec a = absolute(x);
    return all(0.5f) * (x + a) - a * tail(a);
}

/* out = gelu(x + bias); bias may be null. */
void gelu(const float *x, const float *bias, float *out, int64_t C, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C;
        float *to = out + row * C;
        if (bias)
            FOR_EACH_VECTOR(C, STORE(to, gelu_of(LOAD(in) + LOAD(bias)));)
        else
            FOR_EACH_VECTOR(C, STORE(to, gelu_of(LOAD(in)));)
    }
}

/* y = x + branch + bias, normed = (y - mean) / sqrt(variance + eps) gain + shift; ahead is then added to y. */
void add_norm(const float *x, const float *branch, const float *bias, const float *gain, const float *shift,
              const float *ahead, float *y, float *normed, float eps, int64_t C, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const float *one = x + row * C, *other = branch + row * C;
        float *sum = y + row * C, *out = normed + row * C;
        vec total = {0}, squares = {0};
        FOR_EACH_VECTOR(C, {
            vec v = LOAD(one) + LOAD(other);
            if (bias) v += LOAD(bias);
            STORE(sum, v);
            total += v;
        })
        const vec mean = sum_in_all(total) / all(C);
        FOR_EACH_VECTOR(C, {
            vec v = LOAD(sum) - mean;
            if (n < LANES) {
                vec inside = {0};
                for (int64_t i = 0; i < n; i++) inside[i] = 1;
                v *= inside;
            }
            squares += v * v;
        })
        const float variance = sum_in_all(squares)[0] / C;
        const vec factor = all(1.0f / __builtin_sqrtf(variance + eps));
        FOR_EACH_VECTOR(C, {
            const vec v = LOAD(sum);
            STORE(out, (v - mean) * factor * LOAD(gain) + LOAD(shift));
            if (ahead) STORE(sum, v + LOAD(ahead));
        })
    }
}
