/* Queries and keys of length 1, and their gradients, each in one pass over the tokens.
 *
 *     q' = factor q / max(|q|, 1e-12),  k' = k / max(|k|, 1e-12),  v' = v
 *
 * q' k' is the cosine of q and k, times the factor of their head.  Tensors of tokens have the shape (rows, 3, heads, D),
 * row after row, of float32 or bfloat16 (dtype.h).  Threads divide the rows (parallel.h).
 */
#include "dtype.h"
#include "parallel.h"
#include "rows.h"

#define SMALLEST 1e-24f /* the square of the smallest length */

/* Loads and stores n <= LANES elements of a row; the other lanes are 0. */
INLINE vec load_some(const element *p, int64_t n) {
#if BFLOAT16
    half_words upper = {0};
    memcpy(&upper, p, n == LANES ? sizeof upper : n * sizeof(element));
    return (vec)(__builtin_convertvector(upper, words) << 16);
#else
    return n == LANES ? load(p) : load_first(p, n);
#endif
}

INLINE void store_some(element *p, int64_t n, vec x) {
    element rounded[LANES];
    store_elements(n == LANES ? p : rounded, x);
    if (n < LANES) memcpy(p, rounded, n * sizeof(element));
}

#define GET(p) load_some((p) + at, n)
#define PUT(p, x) store_some((p) + at, n, x)

/* Returns the sum of x y over a vector of D numbers. */
INLINE float multiply_vectors(const element *x, const element *y, int64_t D) {
    vec sum = {0};
    FOR_EACH_VECTOR(D, sum += GET(x) * GET(y);)
    return sum_lanes(sum)[0];
}

static void turn_rows(const element *qkv, const float *factors, element *out, int64_t heads, int64_t D, int64_t first,
                      int64_t last) {
    const int64_t C = heads * D;
    for (int64_t row = first; row < last; row++) {
        const element *in = qkv + row * 3 * C;
        element *to = out + row * 3 * C;
        for (int64_t h = 0; h < 2 * heads; h++, in += D, to += D) {
            const float squares = multiply_vectors(in, in, D), factor = h < heads ? factors[h] : 1;
            const vec by = broadcast(factor / __builtin_sqrtf(squares > SMALLEST ? squares : SMALLEST));
            FOR_EACH_VECTOR(D, PUT(to, GET(in) * by);)
        }
        if (to != in) memcpy(to, in, C * sizeof(element));
    }
}

/* Turns the gradients of q' and k' into those of q and k in place, and adds those of the factors to d_factors.  With
 * u = q / |q| and g the gradient of q': d_q = factor (g - u (u g)) / |q|, d_factor += u g. */
static void turn_backward_rows(const element *qkv, const float *factors, element *d_qkv, double *d_factors, int64_t heads,
                               int64_t D, int64_t first, int64_t last) {
    const int64_t C = heads * D;
    for (int64_t row = first; row < last; row++) {
        const element *in = qkv + row * 3 * C;
        element *d = d_qkv + row * 3 * C;
        for (int64_t h = 0; h < 2 * heads; h++, in += D, d += D) {
            const float squares = multiply_vectors(in, in, D), along = multiply_vectors(in, d, D);
            const int is_short = !(squares > SMALLEST);
            const float inverse = 1 / __builtin_sqrtf(is_short ? SMALLEST : squares);
            const float factor = h < heads ? factors[h] : 1, back = is_short ? 0 : along * inverse * inverse;
            if (h < heads) d_factors[h] += along * inverse;
            FOR_EACH_VECTOR(D, PUT(d, (GET(d) - GET(in) * broadcast(back)) * broadcast(factor * inverse));)
        }
    }
}

/* Writes q', k' and v' to out, which may be qkv. */
void turn(const element *qkv, const float *factors, element *out, int64_t heads, int64_t D, PARTS) {
    FOR_EACH_PART(turn_rows(qkv, factors, out, heads, D, first, last))
}

/* d_factors (parts, heads): each part adds to its own. */
void turn_backward(const element *qkv, const float *factors, element *d_qkv, double *d_factors, int64_t heads, int64_t D,
                   PARTS) {
    FOR_EACH_PART(turn_backward_rows(qkv, factors, d_qkv, d_factors + part * heads, heads, D, first, last))
}
