/* What lies between a block's products, in one pass each: LayerNorm, a residual sum before it, bias and GELU, and
 * their gradients.
 *
 * Rows of C numbers, one after the other; out may be what it is computed from.
 */
#include "sharing.h"
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

INLINE vec absolute(vec x) { return (vec)((ivec)x & 0x7fffffff); }

/* e^(-a^2 / 2), and the normal distribution's tail beyond a >= 0: that times a rational approximation of Mills'
 * ratio over sqrt(2 pi), 6e-9 off at most.  Where a > 14 both are 0; NaN stays. */
INLINE vec tail(vec a, vec *bell) {
    a = minimum(all(14), a);
    *bell = exponential(a * a * all(-0.5f));
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
    return *bell * p / q;
}

/* x Phi(x) = max(x, 0) - |x| tail(|x|): small errors on either side; and its slope Phi(x) + x phi(x). */
INLINE vec gelu_of(vec x, vec *slope) {
    vec bell;
    const vec a = absolute(x), beyond = tail(a, &bell);
    *slope = where(x > all(0), all(1) - beyond, beyond) + x * bell * all(0.3989422804f);
    return all(0.5f) * (x + a) - a * beyond;
}

/* out = gelu(x + bias); bias may be null. */
static void gelu_rows(const float *x, const float *bias, float *out, int64_t C, int64_t first, int64_t last) {
    vec slope;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C;
        float *to = out + row * C;
        if (bias)
            FOR_EACH_VECTOR(C, STORE(to, gelu_of(LOAD(in) + LOAD(bias), &slope));)
        else
            FOR_EACH_VECTOR(C, STORE(to, gelu_of(LOAD(in), &slope));)
    }
}

/* out = gelu(x + bias), and gradient, which is that of out, becomes that of x. */
static void gelu_backward_rows(const float *x, const float *bias, float *out, float *gradient, int64_t C, int64_t first,
                   int64_t last) {
    vec slope;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C;
        float *to = out + row * C, *of = gradient + row * C;
        FOR_EACH_VECTOR(C, {
            STORE(to, gelu_of(LOAD(in) + LOAD(bias), &slope));
            STORE(of, LOAD(of) * slope);
        })
    }
}

/* The mean of a row in every lane, and one over its standard deviation. */
INLINE void moments_of(const float *row, float eps, int64_t C, vec *mean, vec *factor) {
    vec total = {0}, squares = {0};
    FOR_EACH_VECTOR(C, total += LOAD(row);)
    *mean = sum_in_all(total) / all(C);
    FOR_EACH_VECTOR(C, {
        vec v = LOAD(row) - *mean;
        if (n < LANES) {
            vec inside = {0};
            for (int64_t i = 0; i < n; i++) inside[i] = 1;
            v *= inside;
        }
        squares += v * v;
    })
    *factor = all(1.0f / __builtin_sqrtf(sum_in_all(squares)[0] / C + eps));
}

/* normed = (x - mean) / sqrt(variance + eps) gain + shift. */
static void norm_rows(const float *x, const float *gain, const float *shift, float *normed, float eps, int64_t C,
          int64_t first, int64_t last) {
    vec mean, factor;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C;
        float *out = normed + row * C;
        moments_of(in, eps, C, &mean, &factor);
        FOR_EACH_VECTOR(C, STORE(out, (LOAD(in) - mean) * factor * LOAD(gain) + LOAD(shift));)
    }
}

/* of_x = added + the gradient through the norm, normed anew; added to what is there those of gain and shift. */
static void norm_backward_rows(const float *x, const float *of_normed, const float *gain, const float *added, float *of_x,
                   float *of_gain, float *of_shift, float eps, int64_t C, int64_t first, int64_t last) {
    vec mean, factor;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C, *of = of_normed + row * C, *more = added + row * C;
        float *to = of_x + row * C;
        vec along = {0}, across = {0};
        moments_of(in, eps, C, &mean, &factor);
        FOR_EACH_VECTOR(C, {
            const vec g = LOAD(of), unit = (LOAD(in) - mean) * factor;
            STORE(of_gain, LOAD(of_gain) + g * unit);
            STORE(of_shift, LOAD(of_shift) + g);
            along += g * LOAD(gain);
            across += g * LOAD(gain) * unit;
        })
        along = sum_in_all(along) / all(C), across = sum_in_all(across) / all(C);
        FOR_EACH_VECTOR(C, {
            const vec unit = (LOAD(in) - mean) * factor;
            STORE(to, LOAD(more) + factor * (LOAD(of) * LOAD(gain) - along - unit * across));
        })
    }
}

/* y = x + branch + bias, normed = (y - mean) / sqrt(variance + eps) gain + shift; ahead is then added to y. */
static void add_norm_rows(const float *x, const float *branch, const float *bias, const float *gain, const float *shift,
              const float *ahead, float *y, float *normed, float eps, int64_t C, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const float *one = x + row * C, *other = branch + row * C;
        float *sum = y + row * C, *out = normed + row * C;
        FOR_EACH_VECTOR(C, {
            vec v = LOAD(one) + LOAD(other);
            if (bias) v += LOAD(bias);
            STORE(sum, v);
        })
        vec mean, factor;
        moments_of(sum, eps, C, &mean, &factor);
        FOR_EACH_VECTOR(C, {
            const vec v = LOAD(sum);
            STORE(out, (v - mean) * factor * LOAD(gain) + LOAD(shift));
            if (ahead) STORE(sum, v + LOAD(ahead));
        })
    }
}

void gelu(const float *x, const float *bias, float *out, int64_t C, PARTS_OF_NUMBER) {
    SHARE(gelu_rows(x, bias, out, C, first, last))
}

void gelu_backward(const float *x, const float *bias, float *out, float *gradient, int64_t C, PARTS_OF_NUMBER) {
    SHARE(gelu_backward_rows(x, bias, out, gradient, C, first, last))
}

void norm(const float *x, const float *gain, const float *shift, float *normed, float eps, int64_t C,
          PARTS_OF_NUMBER) {
    SHARE(norm_rows(x, gain, shift, normed, eps, C, first, last))
}

/* of_norm: (parts, 2, C). */
void norm_backward(const float *x, const float *of_normed, const float *gain, const float *added, float *of_x,
                   float *of_norm, float eps, int64_t C, PARTS_OF_NUMBER) {
    SHARE(norm_backward_rows(x, of_normed, gain, added, of_x, of_norm + 2 * part * C, of_norm + (2 * part + 1) * C,
                           eps, C, first, last))
}

void add_norm(const float *x, const float *branch, const float *bias, const float *gain, const float *shift,
              const float *ahead, float *y, float *normed, float eps, int64_t C, PARTS_OF_NUMBER) {
    SHARE(add_norm_rows(x, branch, bias, gain, shift, ahead, y, normed, eps, C, first, last))
}
