/* GELU by the normal distribution itself, and its slope. */
#include "rows.h"

INLINE vec polynomial(const float *coefficients, int degree, vec x) {
    vec sum = all(coefficients[0]);
    for (int i = 1; i <= degree; i++) sum = sum * x + all(coefficients[i]);
    return sum;
}

/* The normal distribution's tail below b <= 0: 2 to a polynomial in b that is its logarithm, such that b times the
 * tail is 4e-9 off at most; 0 where that is below the smallest normal number.  NaN stays. */
INLINE vec tail(vec b) {
    static const float logarithm[] = {-1.588944975594586e-08f, -5.904555564484326e-07f, -8.674184755363967e-06f, -6.566321826539934e-05f, -0.00024845683947205544f, 5.740042252000421e-05f, 0.007012784946709871f, 0.052485283464193344f, -0.45920589566230774f, 1.1511061191558838f, -0.9999999403953552f};
    static const float power[] = {0.0001532082969788462f, 0.00133903871756047f, 0.009618529118597507f, 0.055503617972135544f, 0.24022647738456726f, 0.6931471824645996f, 1.0f};
    const vec x = polynomial(logarithm, 10, b), n = nearest(x);
    return times_power(polynomial(power, 6, x - n), n, b, -13.0f);
}

/* x Phi(x) = max(x, 0) - |x| tail(-|x|): small errors on either side; and, where asked for, its slope Phi(x) + x phi(x). */
INLINE vec gelu_of(vec x, vec *slope) {
    const vec b = maximum(all(-14), (vec)((ivec)x | INT32_MIN)), beyond = tail(b);
    if (slope) {
        const vec bell = all(0.3989422804f) * exponential(b * b * all(-0.5f));
        const vec low = beyond + b * bell; /* of -|x|: of |x| it is as much less than 1 */
        *slope = where(x > all(0), all(1) - low, low);
    }
    return maximum(all(0), x) + b * beyond;
}

/* A row of GELU; out may be x. */
INLINE void gelu_in(const float *x, float *out, int64_t C) {
    FOR_EACH_VECTOR(C, STORE(out, gelu_of(LOAD(x), 0));)
}
