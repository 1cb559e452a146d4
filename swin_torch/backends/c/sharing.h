/* Work shared out between threads: where the compiler has OpenMP those of PyTorch, which uses the same library.
 *
 * A call does the parts from .. to of so many; without OpenMP threads of the caller's own each ask for one part.
 */
#include <stdint.h>

#if defined(_OPENMP) && !defined(__clang__)
#define TOGETHER _Pragma("omp parallel for schedule(static, 1) num_threads(to - from) if (to - from > 1)")
#else
#define TOGETHER
#endif

#define PARTS_OF_NUMBER int64_t number, int64_t parts, int64_t from, int64_t to

#define SHARE(work)                                                                                  \
    TOGETHER                                                                                         \
    for (int64_t part = from; part < to; part++) {                                                   \
        const int64_t first = number * part / parts, last = number * (part + 1) / parts;             \
        work;                                                                                        \
    }

/* Whether one call does all parts at once. */
int64_t together(void) {
#if defined(_OPENMP) && !defined(__clang__)
    return 1;
#else
    return 0;
#endif
}
