/* Products of large dense matrices in single precision, for training and fitting, made by a library:
 *
 *   C [m][n] = op(A) op(B) + beta C,   op: as it lies, or turned; sums of k products
 *   |error| <= (k + 2) eps (|op(A)| |op(B)| + |beta C|),   eps = 2^-24
 *
 * Libraries:
 *   onednn     oneDNN (dnnl_sgemm), which writes its machine code for the processor it finds. Opened when it is first
 *              asked for: 40 MB that most commands never need
 *   openblas   OpenBLAS (cblas_sgemm). Releases before 0.3.22 take recent server processors for a Pentium 4
 *   plain      three loops in C, the reference
 * The emulation of chips, attention and the digital path of inference have kernels of their own (base/kernels.h).
 *
 * A product is made by the thread that asks for it alone, so that its bits depend on its shape and the library, never
 * on the number of threads: callers cut their work into pieces that do not depend on that number either. One thread
 * gets the same bits for the same product on the same processor every time (tests/test_gemm.c), wherever its operands
 * lie; between libraries, releases and processors bits differ. A row of C may have other last bits where m is another,
 * above all the last rows (with AVX2, of oneDNN and OpenBLAS alike): a caller whose rows must not depend on what lies
 * beside them fixes m. Zero times infinity or NaN may be left out where beta or a factor is 0. */
#ifndef MHO_BASE_GEMM_H
#define MHO_BASE_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Element (r, c) of op(X) is at[r * ld + c], turned: at[c * ld + r]. */
struct gemm_operand {
    const float *at;
    size_t ld;
    bool turned;
};

struct gemm {
    const char *name;
    const char *version; /* release, and what it takes the processor for: with another one bits may differ */
    /* C with rows of ldc. m, n, k > 0; beta 0: C need not be set. */
    void (*multiply)(size_t m, size_t n, size_t k, struct gemm_operand a, struct gemm_operand b, float beta, float *c,
                     size_t ldc);
};

/* The library in use: the fastest unless gemm_select named one. The fastest is measured once in a process, in some
 * 10 ms, libraries in turns: the first of the list above stands unless another is 1.25 times as fast, so that two runs
 * on a machine choose alike, as a rule: what goes on with the results of another run selects its library. Plain only
 * stands alone. */
const struct gemm *gemm(void);
/* name: of the list; NULL = the fastest. Returns 0, or -1 if this machine lacks it. Not while others multiply. */
int gemm_select(const char *name);
/* All that this machine has, in the order of the list: fills up to `max`, returns the count. */
size_t gemm_available(const struct gemm **out, size_t max);
/* ERR_RUN once a library could not make a product, for want of memory: C is not set then. For the loops over products,
 * before they keep what came out. */
enum status gemm_check(struct error *e);
/* Multiplications and additions per second of this thread's processor time, for a product as training makes them:
 * flops [count] of the libraries, which take turns, so that a busy moment is there for all of them. */
void gemm_measure(const struct gemm *const *all, size_t count, double *flops);

#endif
