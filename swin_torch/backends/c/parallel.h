/* Divides the rows, windows or panels of a call into parts, one for each thread.
 *
 * A call computes the parts `from` to `to` (excluded) of `parts`; part p has the items count p / parts to
 * count (p + 1) / parts.  With OpenMP one call computes all parts, in the threads that PyTorch uses too.  Without
 * OpenMP the caller starts threads, and each thread calls for one part (threads.py).
 */
#include <stdint.h>

#if defined(_OPENMP) && !defined(__clang__)
#define IN_PARALLEL _Pragma("omp parallel for schedule(static, 1) num_threads(to - from) if (to - from > 1)")
#else
#define IN_PARALLEL
#endif

#define PARTS int64_t count, int64_t parts, int64_t from, int64_t to /* the last parameters of such a function */

/* Runs `work` for each part.  `work` may use: part; first and last, the part's items, last excluded. */
#define FOR_EACH_PART(work)                                                                          \
    IN_PARALLEL                                                                                      \
    for (int64_t part = from; part < to; part++) {                                                   \
        const int64_t first = count * part / parts, last = count * (part + 1) / parts;               \
        work;                                                                                        \
    }

/* Returns whether one call computes all parts in parallel. */
int64_t has_openmp(void) {
#if defined(_OPENMP) && !defined(__clang__)
    return 1;
#else
    return 0;
#endif
}
