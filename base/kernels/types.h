/* One loop for each type of weights: shared by the sets with vectors, which include it once, behind their own
 *   gemv_rows(type, rows, w, stride, k, x, y)      rows <= GEMV_ROWS rows of a matrix times x
 *   weigh_type(type, w, stride, rows, k, a, y)     see weigh_rows in base/kernels.h
 * Both are inlined with `type` and `rows` as constants, so that no loop asks for them. Arguments as in base/kernels.h.
 */
#ifndef MHO_BASE_KERNELS_TYPES_H
#define MHO_BASE_KERNELS_TYPES_H

INLINE void gemv_type(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *x,
                      float *y) {
    const size_t row_bytes = stride * bytes_of(type);
    const char *row = w;
    size_t o = 0;
    for (; o + GEMV_ROWS <= rows; o += GEMV_ROWS) {
        gemv_rows(type, GEMV_ROWS, row + o * row_bytes, stride, k, x, y + o);
    }
    for (; o < rows; o++) {
        gemv_rows(type, 1, row + o * row_bytes, stride, k, x, y + o);
    }
}

static void gemv(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *x, float *y) {
    switch (type) {
    case WEIGHT_F32: gemv_type(WEIGHT_F32, w, stride, rows, k, x, y); break;
    case WEIGHT_F16: gemv_type(WEIGHT_F16, w, stride, rows, k, x, y); break;
    case WEIGHT_BF16: gemv_type(WEIGHT_BF16, w, stride, rows, k, x, y); break;
    }
}

static void weigh_rows(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *a,
                       float *y) {
    switch (type) {
    case WEIGHT_F32: weigh_type(WEIGHT_F32, w, stride, rows, k, a, y); break;
    case WEIGHT_F16: weigh_type(WEIGHT_F16, w, stride, rows, k, a, y); break;
    case WEIGHT_BF16: weigh_type(WEIGHT_BF16, w, stride, rows, k, a, y); break;
    }
}

#endif
