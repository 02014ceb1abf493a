/* Private to models/adapt/: products of matrices by panels of PANEL columns (base/kernels.h), and small dense helpers.
 *
 *   y[r][lane] = sum_k panel[k][lane] x[r][k],   r < rows, lane < lanes <= PANEL
 * One thread; an element's sum runs in one order, whatever `rows` and `lanes` are. In fp32 these are the kernels of the
 * machine, which reach the speed of OpenBLAS with its best kernels (OpenBLAS chooses its own when it is loaded, and on
 * processors newer than itself slow ones: 33 instead of 150 GFLOP/s); with COMPUTE_BF16 those of base/bf16.h, which lay
 * panels out their own way, in the same room; in double plain loops. */
#ifndef MHO_MODELS_ADAPT_STUDENT_PANELS_H
#define MHO_MODELS_ADAPT_STUDENT_PANELS_H

#include <stddef.h>

#include "base/kernels.h"
#include "models/adapt/real.h"

static inline size_t panels_in(size_t n) { return (n + PANEL - 1) / PANEL; }
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* panel[k][lane] = w[lane][k], w with rows of `ld`; lanes beyond are 0. Only for products with the same `compute`. */
void panel_of_rows(enum compute compute, const real *w, size_t ld, size_t lanes, size_t k, real *panel);
/* panel[k][lane] = w[k][lane] */
void panel_of_columns(enum compute compute, const real *w, size_t ld, size_t lanes, size_t k, real *panel);
/* k: at most what was packed. */
void panel_multiply(enum compute compute, const real *panel, size_t k, const real *x, size_t ldx, size_t rows, real *y,
                    size_t ldy, size_t lanes);
/* `count` panels, each `stride` after the one before, with results y_stride apart; only the last may have fewer lanes
 * than PANEL. The bits of one after the other. */
void panels_multiply(enum compute compute, const real *panels, size_t stride, size_t count, size_t k, const real *x,
                     size_t ldx, size_t rows, real *y, size_t ldy, size_t y_stride, size_t lanes);
/* out[c][r] = in[r][c] */
void transpose(const real *in, size_t ld_in, size_t rows, size_t columns, real *out, size_t ld_out);
/* Sum in sixteen fixed lanes. */
real dot_product(const real *a, const real *b, size_t n);
/* y += a x */
void add_scaled(real *y, real a, const real *x, size_t n);

#endif
