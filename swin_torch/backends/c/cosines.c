/* Queries and keys of length 1, and their gradients, each in one pass over the tokens.
 *
 *     q' = factor q / max(|q|, 1e-12),  k' = k / max(|k|, 1e-12),  v' = v
 *
 * q' k' is the cosine of q and k, times the factor of their head.  Tensors of tokens have the shape (rows, 3, heads, D),
 * row after row.  Threads divide the rows (parallel.h).
 */
#include "parallel.h"
#include "rows.h"

#define SMALLEST 1e-24f /* the square of the smallest length */

/* Returns the sum of x y over a vector of D numbers. */
INLINE float multiply_vectors(const float *x, const float *y, int64_t D) {
    vec sum = {0};
    FOR_EACH_VECTOR(D, sum += LOAD(x) * LOAD(y);)
    return sum_lanes(sum)[0];
}

static void turn_rows(const float *qkv, const float *factors, float *out, int64_t heads, int64_t D, int64_t first,
                      int64_t last) {
    const int64_t C = heads * D;
    for (int64_t row = first; row < last; row++) {
        const float *in = qkv + row * 3 * C;
        float *to = out + row * 3 * C;
        for (int64_t h = 0; h < 2 * heads; h++, in += D, to += D) {
            const float squares = multiply_vectors(in, in, D), factor = h < heads ? factors[h] : 1;
            const vec by = broadcast(factor / __builtin_sqrtf(squares > SMALLEST ? squares : SMALLEST));
            FOR_EACH_VECTOR(D, STORE(to, LOAD(in) * by);)
        }
        if (to != in) memcpy(to, in, C * sizeof(float));
    }
}

/* Turns the gradients of q' and k' into those of q and k in place, and adds those of the factors to d_factors.  With
 * u = q / |q| and g the gradient of q': d_q = factor (g - u (u g)) / |q|, d_factor += u g. */
static void turn_backward_rows(const float *qkv, const float *factors, float *d_qkv, double *d_factors, int64_t heads,
                               int64_t D, int64_t first, int64_t last) {
    const int64_t C = heads * D;
    for (int64_t row = first; row < last; row++) {
        const float *in = qkv + row * 3 * C;
        float *d = d_qkv + row * 3 * C;
        for (int64_t h = 0; h < 2 * heads; h++, in += D, d += D) {
            const float squares = multiply_vectors(in, in, D), along = multiply_vectors(in, d, D);
            const int is_short = !(squares > SMALLEST);
            const float inverse = 1 / __builtin_sqrtf(is_short ? SMALLEST : squares);
            const float factor = h < heads ? factors[h] : 1, back = is_short ? 0 : along * inverse * inverse;
            if (h < heads) d_factors[h] += along * inverse;
            FOR_EACH_VECTOR(D, STORE(d, (LOAD(d) - LOAD(in) * broadcast(back)) * broadcast(factor * inverse));)
        }
    }
}

/* Writes q', k' and v' to out, which may be qkv. */
void turn(const float *qkv, const float *factors, float *out, int64_t heads, int64_t D, PARTS) {
    FOR_EACH_PART(turn_rows(qkv, factors, out, heads, D, first, last))
}

/* d_factors (parts, heads): each part adds to its own. */
void turn_backward(const float *qkv, const float *factors, float *d_qkv, double *d_factors, int64_t heads, int64_t D,
                   PARTS) {
    FOR_EACH_PART(turn_backward_rows(qkv, factors, d_qkv, d_factors + part * heads, heads, D, first, last))
}
