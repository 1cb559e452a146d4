/* gelu(x) = x Phi(x) and its slope Phi(x) + x phi(x): Phi is the normal distribution, phi its density. */
#include "rows.h"

/* Evaluates a polynomial by Horner's rule, the highest coefficient first. */
INLINE vec evaluate_polynomial(const float *coefficients, int degree, vec x) {
    vec sum = broadcast(coefficients[0]);
    for (int i = 1; i <= degree; i++) sum = sum * x + broadcast(coefficients[i]);
    return sum;
}

/* Returns Phi(b) for b <= 0, the lower tail; 0 where that is below the smallest normal number.  NaN stays NaN.
 *
 * log2 Phi(b) is a polynomial in b, fitted such that the error of b Phi(b) is at most 4e-9. */
INLINE vec tail_of(vec b) {
    static const float logarithm[] = {
        -1.588944975594586e-08f, -5.904555564484326e-07f,  -8.674184755363967e-06f, -6.566321826539934e-05f,
        -0.00024845683947205544f, 5.740042252000421e-05f, 0.007012784946709871f,   0.052485283464193344f,
        -0.45920589566230774f,   1.1511061191558838f,     -0.9999999403953552f};
    static const float power[] = {
        0.0001532082969788462f, 0.00133903871756047f, 0.009618529118597507f, 0.055503617972135544f,
        0.24022647738456726f,   0.6931471824645996f,  1.0f};
    const vec x = evaluate_polynomial(logarithm, 10, b), n = round_to_nearest(x);
    return scale_by_power(evaluate_polynomial(power, 6, x - n), n, b, -13.0f);
}

/* Returns gelu(x) = max(x, 0) - |x| Phi(-|x|), which is accurate for either sign of x.  Writes gelu's slope to slope,
 * unless that is null. */
INLINE vec gelu_of(vec x, vec *slope) {
    const vec b = max_of(broadcast(-14), (vec)((ivec)x | INT32_MIN)), tail = tail_of(b);
    if (slope) {
        const vec bell = broadcast(0.3989422804f) * exp_of_negative(b * b * broadcast(-0.5f));
        const vec low = tail + b * bell; /* the slope at -|x|; at |x| it is 1 minus this */
        *slope = choose(x > broadcast(0), broadcast(1) - low, low);
    }
    return max_of(broadcast(0), x) + b * tail;
}

/* Writes gelu(x) to out for a row of C; out may be x. */
INLINE void gelu_row(const float *x, float *out, int64_t C) {
    FOR_EACH_VECTOR(C, STORE(out, gelu_of(LOAD(x), 0));)
}
