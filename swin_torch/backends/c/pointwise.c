/* LayerNorm, GELU and their gradients, each in one pass over the tokens.
 *
 *     norm:  out = given + (x - mean) / sqrt(variance + eps) gain + shift
 *     gelu:  out = x Phi(x)
 *
 * Tensors of tokens have the shape (rows, C), row after row; gain and shift have the shape (C).  The output may be the
 * tensor that it is computed from.  Threads divide the rows (parallel.h).
 */
#include "gelu.h"
#include "parallel.h"

static void gelu_rows(const float *x, float *out, int64_t C, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) gelu_row(x + row * C, out + row * C, C);
}

/* Writes gelu(x) to out and turns d_out into d_x in place. */
static void gelu_backward_rows(const float *x, float *out, float *d_out, int64_t C, int64_t first, int64_t last) {
    vec slope;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C;
        float *to = out + row * C, *d = d_out + row * C;
        FOR_EACH_VECTOR(C, {
            STORE(to, gelu_of(LOAD(in), &slope));
            STORE(d, LOAD(d) * slope);
        })
    }
}

/* Returns the sum of (row - mean)^power over a row, power 1 or 2, in every lane.  Four sums that do not depend on each
 * other hide the latency of the addition. */
INLINE vec sum_powers(const int power, const float *row, vec mean, int64_t C) {
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
    return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])) + broadcast(rest);
}

/* Computes the row's mean and 1 / sqrt(variance + eps), in every lane. */
INLINE void compute_moments(const float *row, float eps, int64_t C, vec *mean, vec *factor) {
    *mean = sum_powers(1, row, broadcast(0), C) / broadcast(C);
    *factor = broadcast(1.0f / __builtin_sqrtf(sum_powers(2, row, *mean, C)[0] / C + eps));
}

/* Writes given + norm(x); given may be null, or out. */
static void norm_rows(const float *x, const float *gain, const float *shift, const float *given, float *normed,
                      float eps, int64_t C, int64_t first, int64_t last) {
    vec mean, factor;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C, *more = given ? given + row * C : 0;
        float *out = normed + row * C;
        compute_moments(in, eps, C, &mean, &factor);
        if (more)
            FOR_EACH_VECTOR(C, STORE(out, LOAD(more) + ((LOAD(in) - mean) * factor * LOAD(gain) + LOAD(shift)));)
        else
            FOR_EACH_VECTOR(C, STORE(out, (LOAD(in) - mean) * factor * LOAD(gain) + LOAD(shift));)
    }
}

/* Writes d_x and adds to d_gain and d_shift; the normed rows are computed again.  With u = (x - mean) / deviation and
 * g = d_normed gain:
 *
 *     d_x = added + (g - mean(g) - u mean(g u)) / deviation,  d_gain += d_normed u,  d_shift += d_normed
 *
 * added (rows, C) is the gradient that reaches x on other ways, and may be null; d_x may be added or d_normed. */
static void norm_backward_rows(const float *x, const float *d_normed, const float *gain, const float *added,
                               float *d_x, float *d_gain, float *d_shift, float eps, int64_t C, int64_t first,
                               int64_t last) {
    vec mean, factor;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * C, *d = d_normed + row * C;
        const float *more = added ? added + row * C : 0;
        float *to = d_x + row * C;
        vec mean_g = {0}, mean_gu = {0}; /* sums first */
        compute_moments(in, eps, C, &mean, &factor);
        FOR_EACH_VECTOR(C, {
            const vec g = LOAD(d), unit = (LOAD(in) - mean) * factor;
            STORE(d_gain, LOAD(d_gain) + g * unit);
            STORE(d_shift, LOAD(d_shift) + g);
            mean_g += g * LOAD(gain);
            mean_gu += g * LOAD(gain) * unit;
        })
        mean_g = sum_lanes(mean_g) / broadcast(C), mean_gu = sum_lanes(mean_gu) / broadcast(C);
        FOR_EACH_VECTOR(C, {
            const vec unit = (LOAD(in) - mean) * factor;
            const vec d_in = factor * (LOAD(d) * LOAD(gain) - mean_g - unit * mean_gu);
            STORE(to, more ? LOAD(more) + d_in : d_in);
        })
    }
}

void gelu(const float *x, float *out, int64_t C, PARTS) {
    FOR_EACH_PART(gelu_rows(x, out, C, first, last))
}

void gelu_backward(const float *x, float *out, float *d_out, int64_t C, PARTS) {
    FOR_EACH_PART(gelu_backward_rows(x, out, d_out, C, first, last))
}

void norm(const float *x, const float *gain, const float *shift, const float *given, float *normed, float eps, int64_t C,
          PARTS) {
    FOR_EACH_PART(norm_rows(x, gain, shift, given, normed, eps, C, first, last))
}

/* d_norm (parts, 2, C): each part adds to its own d_gain and d_shift. */
void norm_backward(const float *x, const float *d_normed, const float *gain, const float *added, float *d_x,
                   float *d_norm, float eps, int64_t C, PARTS) {
    FOR_EACH_PART(norm_backward_rows(x, d_normed, gain, added, d_x, d_norm + 2 * part * C, d_norm + (2 * part + 1) * C,
                                     eps, C, first, last))
}
