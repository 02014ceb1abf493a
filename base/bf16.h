/* Products of matrices with operands in bf16 (bfloat16: the upper half of a single, 8 bits of precision) and sums in
 * single precision, for training. Both operands come in single precision and are rounded to the nearest, ties to even;
 * a product of two of them is exact in single precision.
 *
 *   y[t][lane] = sum_k panel[k][lane] x[t][k],   |error| <= k eps sum|panel x| over the rounded operands, eps = 2^-24
 *
 * Two sets, each with a layout of panels of its own, in k x PANEL floats:
 *   rounded       for every machine: rounds, and multiplies with the kernels in use (base/kernels.h); with the
 *                 reference kernels it is the reference
 *   avx512_bf16   instruction vdpbf16ps, two products per lane and step. It takes subnormals for 0, as operands and as
 *                 sums: at most 2^-126 per product and sum more
 * Single-threaded. A sum has one order, whatever `tokens` and `lanes` are; the two sets round otherwise. */
#ifndef MHO_BASE_BF16_H
#define MHO_BASE_BF16_H

#include <stddef.h>

struct bf16_kernels {
    const char *name;
    /* panel[k][lane] = w[lane][k], rows `ld` apart, lanes <= PANEL; the missing ones are 0. */
    void (*pack_rows)(const float *w, size_t ld, size_t lanes, size_t k, float *panel);
    /* panel[k][lane] = w[k][lane] */
    void (*pack_columns)(const float *w, size_t ld, size_t lanes, size_t k, float *panel);
    /* y[t*ldy + lane], t < tokens, lane < lanes; k may be less than what was packed. */
    void (*gemm_panel)(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y, size_t ldy,
                       size_t lanes);
};

/* The set for this CPU and the kernels in use: avx512_bf16 beside those of AVX-512, else rounded. */
const struct bf16_kernels *bf16_kernels(void);
/* NULL: this CPU or build lacks it. */
const struct bf16_kernels *bf16_kernels_named(const char *name);

#endif
