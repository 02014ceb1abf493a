/* Preparations for the kernel mac_i16_noise (kernels.h): the variance of a weight as three small integers per column,
 * and squares of inputs that fit into 15 bits.
 */
#include <math.h>

#include "base/kernels.h"

/* The largest value of k[0] + k[1] u + k[2] u^2 for 0 <= u <= end. */
static double largest_value(const double k[3], double end) {
    double largest = fmax(k[0], k[0] + (k[1] + k[2] * end) * end);
    const double top = k[2] < 0 ? -k[1] / (2 * k[2]) : -1;
    return top > 0 && top < end ? fmax(largest, k[0] + (k[1] + k[2] * top) * top) : largest;
}

float read_noise_codes(const float variance[3], int max_code, int16_t *codes) {
    const double unit_code = 32768, k[3] = {(double)variance[0], (double)variance[1] * unit_code,
                                            (double)variance[2] * unit_code * unit_code};
    const double largest = largest_value(k, max_code / unit_code), inner = fabs(k[1]) + fabs(k[2]);
    const double scale = largest > 0 ? fmin((READ_NOISE_MOST - 1) / largest, 32000 / fmax(inner, 1e-300)) : 0;
    for (int i = 0; i < 3; i++) {
        codes[i * PANEL] = (int16_t)lrint(k[i] * scale);
    }
    return scale > 0 ? (float)(1 / scale) : 0.0f;
}

float square_codes(const int16_t *x, size_t n, int limit, int16_t *squares) {
    int shift = 0;
    while (((int64_t)limit * limit) >> shift > SQUARE_MOST) {
        shift++;
    }
    const int32_t half = shift ? 1 << (shift - 1) : 0;
    for (size_t i = 0; i < n; i++) {
        squares[i] = (int16_t)((x[i] * x[i] + half) >> shift);
    }
    return ldexpf(1.0f, shift);
}
