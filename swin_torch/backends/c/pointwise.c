/* What lies between a block's products, in one pass each: LayerNorm, GELU and their gradients.
 *
 * Rows of C numbers, one after the other; out may be what it is computed from.
 */
#include "gelu.h"
#include "sharing.h"

static void gelu_rows(const float *x, float *out, int64_t C, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) gelu_in(x + row * C, out + row * C, C);
}

/* out = gelu(x), and gradient, which is that of out, becomes that of x. */
static void gelu_backward_rows(const float *x, float *out, float *gradient, int64_t C, int64_t first, int64_t last) {
    vec slope;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C;
        float *to = out + row * C, *of = gradient + row * C;
        FOR_EACH_VECTOR(C, {
            STORE(to, gelu_of(LOAD(in), &slope));
            STORE(of, LOAD(of) * slope);
        })
    }
}

/* The sum of (row - mean)^power, power 1 or 2: in four sums, of which none waits for another. */
INLINE vec total_of(const int power, const float *row, vec mean, int64_t C) {
    vec sums[4] = {{0}}, off;
    int64_t at = 0;
    for (; at + 4 * LANES <= C; at += 4 * LANES)
        for (int i = 0; i < 4; i++) {
            off = load(row + at + i * LANES) - mean;
            sums[i] += power == 2 ? off * off : off;
        }
    for (; at + LANES <= C; at += LANES) {
        off = load(row + at) - mean;
        sums[0] += power == 2 ? off * off : off;
    }
    float rest = 0;
    for (; at < C; at++) rest += power == 2 ? (row[at] - mean[0]) * (row[at] - mean[0]) : row[at] - mean[0];
    return sum_in_all((sums[0] + sums[1]) + (sums[2] + sums[3])) + all(rest);
}

/* The mean of a row in every lane, and one over its standard deviation. */
INLINE void moments_of(const float *row, float eps, int64_t C, vec *mean, vec *factor) {
    *mean = total_of(1, row, all(0), C) / all(C);
    *factor = all(1.0f / __builtin_sqrtf(total_of(2, row, *mean, C)[0] / C + eps));
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

/* of_x = added, or 0 if null, + the gradient through the norm, normed anew; added to what is there those of gain and shift. */
static void norm_backward_rows(const float *x, const float *of_normed, const float *gain, const float *added, float *of_x,
                   float *of_gain, float *of_shift, float eps, int64_t C, int64_t first, int64_t last) {
    vec mean, factor;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C, *of = of_normed + row * C;
        const float *more = added ? added + row * C : 0;
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
            const vec of_in = factor * (LOAD(of) * LOAD(gain) - along - unit * across);
            STORE(to, more ? LOAD(more) + of_in : of_in);
        })
    }
}

void gelu(const float *x, float *out, int64_t C, PARTS_OF_NUMBER) {
    SHARE(gelu_rows(x, out, C, first, last))
}

void gelu_backward(const float *x, float *out, float *gradient, int64_t C, PARTS_OF_NUMBER) {
    SHARE(gelu_backward_rows(x, out, gradient, C, first, last))
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
