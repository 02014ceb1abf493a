/* See student_products.h. */
#include "models/adapt/student_products.h"

#ifdef REAL_IS_DOUBLE
static real element(struct operand x, size_t r, size_t c) { return x.turned ? x.at[c * x.ld + r] : x.at[r * x.ld + c]; }

void product(size_t m, size_t n, size_t k, struct operand a, struct operand b, real beta, real *c, size_t ldc) {
    for (size_t r = 0; r < m; r++) {
        for (size_t o = 0; o < n; o++) {
            real sum = 0;
            for (size_t i = 0; i < k; i++) {
                sum += element(a, r, i) * element(b, i, o);
            }
            c[r * ldc + o] = beta != 0 ? sum + beta * c[r * ldc + o] : sum;
        }
    }
}

/* In double nothing is rounded (real.h). */
void round_operand(const real *in, size_t ld_in, size_t rows, size_t columns, real *out, size_t ld_out) {
    for (size_t i = 0; i < rows * columns; i++) {
        out[i / columns * ld_out + i % columns] = in[i / columns * ld_in + i % columns];
    }
}
#else
#include "base/gemm.h"
#include "base/half.h"

void product(size_t m, size_t n, size_t k, struct operand a, struct operand b, real beta, real *c, size_t ldc) {
    gemm()->multiply(m, n, k, (struct gemm_operand){a.at, a.ld, a.turned}, (struct gemm_operand){b.at, b.ld, b.turned},
                     beta, c, ldc);
}

void round_operand(const real *in, size_t ld_in, size_t rows, size_t columns, real *out, size_t ld_out) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            out[r * ld_out + c] = f32_of_bf16(bf16_of_f32(in[r * ld_in + c]));
        }
    }
}
#endif

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
