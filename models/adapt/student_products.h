/* Private to models/adapt/: products of matrices, and small dense helpers.
 *
 *   C [m][n] = op(A) op(B) + beta C
 * One thread makes a product; its bits do not depend on how many threads there are, but those of a row may depend on m.
 * In fp32 they are the library's (base/gemm.h), in double plain loops. */
#ifndef MHO_MODELS_ADAPT_STUDENT_PRODUCTS_H
#define MHO_MODELS_ADAPT_STUDENT_PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/kernels.h"
#include "models/adapt/real.h"

static inline size_t panels_in(size_t n) { return (n + PANEL - 1) / PANEL; }
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Element (r, c) of op(X) is at[r * ld + c], turned: at[c * ld + r]. */
struct operand { const real *at; size_t ld; bool turned; };

/* As struct gemm says. */
void product(size_t m, size_t n, size_t k, struct operand a, struct operand b, real beta, real *c, size_t ldc);
/* out [rows][columns] = in rounded to bf16, to the nearest, ties to even; in place where they are the same. A product
 * of two such numbers is exact in fp32, so that a product of rounded operands is what hardware for bf16 with sums in
 * fp32 computes, in another order. */
void round_operand(const real *in, size_t ld_in, size_t rows, size_t columns, real *out, size_t ld_out);
/* out[c][r] = in[r][c] */
void transpose(const real *in, size_t ld_in, size_t rows, size_t columns, real *out, size_t ld_out);
/* Sum in sixteen fixed lanes. */
real dot_product(const real *a, const real *b, size_t n);
/* y += a x */
void add_scaled(real *y, real a, const real *x, size_t n);

#endif
