/* See student_panels.h. */
#include "models/adapt/student_panels.h"

#include <string.h>

#include "base/bf16.h"

#ifdef REAL_IS_DOUBLE
void panel_of_rows(enum compute compute, const real *w, size_t ld, size_t lanes, size_t k, real *panel) {
    (void)compute;
    for (size_t i = 0; i < k; i++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            panel[i * PANEL + lane] = lane < lanes ? w[lane * ld + i] : 0;
        }
    }
}

void panel_multiply(enum compute compute, const real *panel, size_t k, const real *x, size_t ldx, size_t rows, real *y,
                    size_t ldy, size_t lanes) {
    (void)compute;
    for (size_t r = 0; r < rows; r++) {
        real sum[PANEL] = {0};
        for (size_t i = 0; i < k; i++) {
            for (size_t lane = 0; lane < PANEL; lane++) {
                sum[lane] += panel[i * PANEL + lane] * x[r * ldx + i];
            }
        }
        memcpy(y + r * ldy, sum, lanes * sizeof *y);
    }
}
#else
void panel_of_rows(enum compute compute, const real *w, size_t ld, size_t lanes, size_t k, real *panel) {
    if (compute == COMPUTE_BF16) {
        bf16_kernels()->pack_rows(w, ld, lanes, k, panel);
    } else {
        kernels()->pack_panel_f32(WEIGHT_F32, w, ld, lanes, k, panel);
    }
}

void panel_multiply(enum compute compute, const real *panel, size_t k, const real *x, size_t ldx, size_t rows, real *y,
                    size_t ldy, size_t lanes) {
    if (compute == COMPUTE_BF16) {
        bf16_kernels()->gemm_panel(panel, k, x, ldx, rows, y, ldy, lanes);
    } else {
        kernels()->gemm_panel_f32(panel, k, x, ldx, rows, y, ldy, lanes);
    }
}
#endif

void panels_multiply(enum compute compute, const real *panels, size_t stride, size_t count, size_t k, const real *x,
                     size_t ldx, size_t rows, real *y, size_t ldy, size_t y_stride, size_t lanes) {
#ifndef REAL_IS_DOUBLE
    if (compute == COMPUTE_FP32) {
        kernels()->gemm_panels_f32(panels, stride, count, k, x, ldx, rows, y, ldy, y_stride, lanes);
        return;
    }
#endif
    for (size_t p = 0; p < count; p++) {
        panel_multiply(compute, panels + p * stride, k, x, ldx, rows, y + p * y_stride, ldy,
                       p + 1 < count ? PANEL : lanes);
    }
}

void panel_of_columns(enum compute compute, const real *w, size_t ld, size_t lanes, size_t k, real *panel) {
#ifndef REAL_IS_DOUBLE
    if (compute == COMPUTE_BF16) {
        bf16_kernels()->pack_columns(w, ld, lanes, k, panel);
        return;
    }
#endif
    (void)compute;
    for (size_t i = 0; i < k; i++) {
        memcpy(panel + i * PANEL, w + i * ld, lanes * sizeof *panel);
        memset(panel + i * PANEL + lanes, 0, (PANEL - lanes) * sizeof *panel);
    }
}

void transpose(const real *in, size_t ld_in, size_t rows, size_t columns, real *out, size_t ld_out) {
    enum { SIDE = 16 };
    for (size_t r = 0; r < rows; r += SIDE) {
        size_t height = smaller(SIDE, rows - r);
        for (size_t c = 0; c < columns; c++) {
            for (size_t i = 0; i < height; i++) {
                out[c * ld_out + r + i] = in[(r + i) * ld_in + c];
            }
        }
    }
}

real dot_product(const real *a, const real *b, size_t n) {
    real lane[PANEL] = {0}, sum = 0;
    size_t i = 0;
    for (; i + PANEL <= n; i += PANEL) {
        for (size_t j = 0; j < PANEL; j++) {
            lane[j] += a[i + j] * b[i + j];
        }
    }
    for (; i < n; i++) {
        lane[0] += a[i] * b[i];
    }
    for (size_t j = 0; j < PANEL; j++) {
        sum += lane[j];
    }
    return sum;
}

void add_scaled(real *y, real a, const real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}
