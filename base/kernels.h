/* Arithmetic kernels: one struct of function pointers per instruction set, chosen once at start.
 *
 * The plain reference (kernels/ref.c) stays for ever; every other set is tested against it. Integer
 * kernels give identical results everywhere. Floating kernels: fixed order of summation per kernel
 * (never dependent on threads or batch split), error bound against double stated at each member,
 * with eps = 2^-24, n = number of terms.
 *
 * Functions here are single-threaded; callers split work over outputs (panels), never over the
 * inner dimension, so results do not depend on the thread count.
 */
#ifndef MHO_BASE_KERNELS_H
#define MHO_BASE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { PANEL = 16 }; /* outputs side by side in packed matrices */

/* Limits of mac_i16_noise: READ_NOISE_MOST * SQUARE_MOST * READ_NOISE_RUN < 2^31. */
enum { READ_NOISE_MOST = 2047, SQUARE_MOST = 16384, READ_NOISE_RUN = 64 };

enum weight_type { WEIGHT_F32, WEIGHT_F16, WEIGHT_BF16 };

struct kernels {
    const char *name; /* "ref", "avx2", "avx512", "neon" */

    /* sum a[i]*b[i]; |error| <= (n/16 + 8) eps sum|a b| */
    float (*dot_f32)(const float *a, const float *b, size_t n);

    /* Decode. y[o] = sum_k W[o*stride + k] x[k], o < rows; W row-major in its stored type. Memory-bound.
     * Bound as dot_f32. y[o] does not depend on `rows`. */
    void (*gemv)(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *x, float *y);
    /* Prefill, packed. W: one panel of PANEL outputs, k-major: panel[k*PANEL + lane], fp32.
     * y[t*ldy + lane] = sum_k panel[k*PANEL+lane] * x[t*ldx + k], t < tokens, lane < lanes (<= PANEL).
     * |error| <= k eps sum|panel x|. An output does not depend on `tokens` and `lanes`. */
    void (*gemm_panel_f32)(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                           size_t ldy, size_t lanes);
    /* Converts `lanes` rows of stored type into a panel (missing lanes 0). */
    void (*pack_panel_f32)(enum weight_type type, const void *w, size_t stride, size_t lanes, size_t k, float *panel);

    /* Analog integer multiply. Panel of PANEL columns, rows in pairs (row index = tile input):
     *   panel[(r/2)*2*PANEL + lane*2 + (r&1)], int16, |w| <= 32767; odd row counts are zero-padded.
     * x: int16 codes, padded to even rows, |x| <= 2^15-1.
     * acc[t*PANEL + lane] = sum_r panel(r,lane) * x[t*ldx + r], exact in int32: the caller guarantees
     * rows * max|w| * max|x| < 2^31. */
    void (*mac_i16)(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens, int32_t *acc);
    /* mac_i16 for weights that are noisy from read to read: the same acc, and from the same pass the variance of each
     * column's noise, in units that the caller knows (read_noise_codes, square_codes).
     *   v(r,lane) = k0 + h(a, k1 + h(a, k2)),  a = |panel(r,lane)|,  h(a, b) = (a b + 2^14) >> 15,
     *               k_i = noise[i*PANEL + lane]: a weight's variance as a polynomial of a / 2^15
     *   variance[t*PANEL + lane] = sum_r v(r,lane) * squares[t*ldx + r]
     * Integers up to runs of READ_NOISE_RUN rows, those added as floats in rising order: identical in all kernels, and
     * not dependent on `tokens`. The caller guarantees v <= READ_NOISE_MOST, 0 <= squares <= SQUARE_MOST, and 0 for the
     * padding of an odd row count. Small negative sums can happen where v rounds to -1. */
    void (*mac_i16_noise)(const int16_t *panel, size_t rows, const int16_t *x, const int16_t *squares, size_t ldx,
                          size_t tokens, const int16_t noise[3 * PANEL], int32_t *acc, float *variance);

    /* max |x[i]|, 0 for n = 0; NaN anywhere gives NaN */
    float (*absmax_f32)(const float *x, size_t n);
    /* codes[i] = clamp(round_half_even(x[i] * inv_step), -limit, limit), limit <= 32767; returns how many were
     * clamped. NaN gives the code +limit and counts as clamped; who must not go on with NaN asks absmax_f32. */
    size_t (*quantise_i16)(const float *x, size_t n, float inv_step, int limit, int16_t *codes);

    /* out[i] = Gaussian number first+i of (seed, stream): see random.h; bit-identical in all kernels */
    void (*gaussian_fill)(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);
    /* out[16 i + j] = number j of block blocks[i] of the fast Gaussian numbers: see random.h; bit-identical too */
    void (*gaussian_blocks)(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out);
};

/* Coefficients for one column of mac_i16_noise, codes[0], codes[PANEL], codes[2*PANEL], of a weight's variance
 * variance[0] + variance[1] |c| + variance[2] c^2 >= 0 for codes |c| <= max_code <= 32767. Returns the unit: variance
 * of the column's dot product = unit x (unit of the squares) x sum. A weight's variance is rounded to 1/2046 of the
 * largest that the polynomial reaches (coarser where max_code < 2^13). All 0 where it is nowhere above 0.
 * base/read_noise.c */
float read_noise_codes(const float variance[3], int max_code, int16_t *codes);
/* squares[i] = x[i]^2 / unit, rounded; |x| <= limit. Returns the unit: 1 up to limit 128, else the power of two that
 * keeps squares within SQUARE_MOST. */
float square_codes(const int16_t *x, size_t n, int limit, int16_t *squares);

/* The set in use: best that the CPU supports unless kernels_select named one. */
const struct kernels *kernels(void);
/* name: "ref", "avx2", ... NULL = best. Returns 0, or -1 if this CPU or build lacks it. */
int kernels_select(const char *name);
/* All sets that this CPU can run, for tests and bench: fills up to `max`, returns the count. */
size_t kernels_available(const struct kernels **out, size_t max);

#endif
