/* Preparations for the kernels mac_i16_noise and noise_sd (kernels.h): the variance of a weight as three small
 * integers per column, or kept, a byte for each weight; squares of inputs in 8 bits.
 *
 * What is wanted of a column is V = sum x^2 v, with v the variance of a weight. Kept are whole numbers v' = v / u and
 * s = x^2 / w, both rounded, whose sum of products is cheap, and what that leaves over of x^2 is not lost but meets the
 * mean variance of the column:
 *   V = u w sum(s v') + u mean(v') (sum x^2 - w sum s)
 * u is set by the column itself, so that equal inputs give the exact sum. What remains is the rounding of each v', at
 * most 1/254 of the largest in the column and of either sign, and of each x^2, at most 1/508 of the largest. It differs
 * from column to column and from input to input, and has mean 0. Measured with 256 Gaussian weights
 * (tests/test_kernels.c): rms of the error of V 0.3 % for Gaussian inputs; 3 % where one input is 20 sd large, which
 * leaves all others a few steps, and the variance is mostly proportional to c^2 (1 % where half of it is constant);
 * less again where it is larger, since then it decides alone. A constant variance has no error. Where the variance is
 * mostly a square and no code comes near 2^15 (large tiles, many bits of input), k2 has too few bits for 127 steps: 31
 * of them where the largest code is just above a power of two, so that each v' is off by up to four times as much.
 *
 * Where v is a constant and a square, v' is the upper 7 bits of c^2, cut off: v is b + u v', the line with the least
 * squared error, whose constant is multiplied by sum x^2 as it is:
 *   V = u w sum(s v') + u mean(v') (sum x^2 - w sum s) + b sum x^2
 * Steps are 1/64 to 1/127 of the largest, the error is about half a step and has mean 0 over the column; equal inputs
 * give the exact sum here too. 0.2 % rms as above. Not where rounding is clearly better: columns without a constant of
 * which most weights are 0, since those would get a part of b.
 *
 * Where variances are kept, for weights and inputs that are no codes (noise_sd), v' counts from the middle of the
 * column, m, so that it has all its steps for what differs, and w belongs to the token:
 *   V = m sum x^2 + u w sum(s v') + u mean(v') (sum x^2 - w sum s)
 * m is set so that equal inputs give the exact sum. Errors as above.
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/kernels.h"

enum {
    UNIT = 256,            /* of v' in the kernel's 16-bit words */
    SQUARE_UNIT = 1 << 23, /* what c^2 is counted in where v' is its upper bits: h(c, c) >> 8 */
    SQUARE_FROM = 23171    /* a column whose largest code is at least that has squares of 64 steps and more */
};

/* The largest value of k[0] + k[1] u + k[2] u^2 for 0 <= u <= end. */
static double largest_value(const double k[3], double end) {
    double largest = fmax(k[0], k[0] + (k[1] + k[2] * end) * end);
    const double top = k[2] < 0 ? -k[1] / (2 * k[2]) : -1;
    return top > 0 && top < end ? fmax(largest, k[0] + (k[1] + k[2] * top) * top) : largest;
}

/* Whether v' is c^2 / SQUARE_UNIT. */
static bool is_square(const int16_t *law) { return law[2 * PANEL] == INT16_MIN; }

static void choose_coefficients(const float variance[3], int max_code, bool squares, int16_t *law) {
    int scale_code = 1; /* so that the largest code comes near the end of 16 bits, and the integers keep their digits */
    while (2 * scale_code * max_code <= 32767 && scale_code < 1 << 14) {
        scale_code *= 2;
    }
    const double unit_code = 32768.0 / scale_code, k[3] = {(double)variance[0], (double)variance[1] * unit_code,
                                            (double)variance[2] * unit_code * unit_code};
    const double largest = largest_value(k, max_code / unit_code), slope = fmax(fabs(k[1]), fabs(k[2]));
    const double scale = largest > 0 ? fmin(VARIANCE_MOST * UNIT / largest, 32000 / fmax(slope, 1e-300)) : 0;
    const bool flat = (fabs(k[1]) + fabs(k[2])) * scale < UNIT / 2;
    const bool square = squares && !flat && k[0] >= 0 && k[1] == 0 && k[2] > 0 && max_code >= SQUARE_FROM;
    law[0] = (int16_t)(square ? 0 : lrint(k[0] * scale) + UNIT / 2); /* the shift that follows rounds */
    law[PANEL] = (int16_t)(flat ? 0 : lrint(k[1] * scale));
    law[2 * PANEL] = (int16_t)(square ? INT16_MIN : flat ? 0 : -lrint(k[2] * scale));
    law[3 * PANEL] = (int16_t)scale_code;
}

static int product_15(int a, int b) { return (a * b + (1 << 14)) >> 15; }

static int weight_variance(int code, const int16_t *law) {
    const int a = law[3 * PANEL] * abs(code);
    return (law[0] + product_15(law[PANEL], a) - product_15(law[2 * PANEL], product_15(a, a))) / UNIT;
}

static int shift_of(int limit) {
    int shift = 0;
    while ((((int64_t)limit * limit + (1 << shift >> 1)) >> shift) > SQUARE_MOST) {
        shift++;
    }
    return shift;
}

/* Of the line through the points (v', v) with the least squared error, v without its constant. */
struct line { double slope, error; /* error: sum over the weights of its square */ };

static struct line line_of(const float variance[3], const int16_t *weights, size_t n, const int16_t *law) {
    double sum = 0, sum_v = 0, squares = 0, squares_v = 0, products = 0;
    for (size_t i = 0; i < n; i++) {
        const double c = weights[i], v = (double)variance[2] * c * c, code = weight_variance(weights[i], law);
        sum += code;
        sum_v += v;
        squares += code * code;
        squares_v += v * v;
        products += code * v;
    }
    const double count = (double)n, spread = squares - sum * sum / count, shared = products - sum * sum_v / count;
    const double slope = spread > 0 ? shared / spread : (double)variance[2] * SQUARE_UNIT;
    return (struct line){slope, squares_v - sum_v * sum_v / count - slope * shared};
}

/* Whether squares cut off are about as good as rounded variances. They are not where most weights are 0 and there is no
 * constant, since the line does not go through 0. Rounding errs by 1/12 of a squared step in each weight, but in none
 * that is 0 exactly. */
static bool squares_do(const float variance[3], const int16_t *weights, size_t n, int max_code, double error) {
    const double top = max_code, step = ((double)variance[0] + (double)variance[2] * top * top) / VARIANCE_MOST;
    size_t rounded = 0;
    for (size_t i = 0; i < n; i++) {
        rounded += variance[0] > 0 || weights[i] != 0;
    }
    return error <= 2 * step * step / 12 * (double)rounded;
}

void read_noise_column(const float variance[3], const int16_t *weights, size_t n, int limit, int16_t *law,
                       float *factors) {
    int max_code = 0;
    double exact = 0;
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double a = abs(weights[i]);
        max_code = abs(weights[i]) > max_code ? abs(weights[i]) : max_code;
        exact += (double)variance[0] + ((double)variance[1] + (double)variance[2] * a) * a;
    }
    choose_coefficients(variance, max_code, true, law);
    const struct line line = is_square(law) ? line_of(variance, weights, n, law) : (struct line){0, 0};
    if (is_square(law) && !squares_do(variance, weights, n, max_code, line.error)) {
        choose_coefficients(variance, max_code, false, law);
    }
    for (size_t i = 0; i < n; i++) {
        sum += weight_variance(weights[i], law);
    }
    const bool square = is_square(law);
    const double unit = square ? line.slope : sum > 0 ? exact / (double)sum : 0;
    const double coded = unit * (double)sum;
    factors[0] = (float)ldexp(unit, shift_of(limit));
    factors[PANEL] = n > 0 ? (float)((square ? coded : exact) / (double)n) : 0.0f;
    factors[2 * PANEL] = square ? (float)((exact - coded) / (double)n) : 0.0f;
}

float variance_unit(const float *factors, int limit) { return ldexpf(factors[0], -shift_of(limit)); }

float law_misfit(const float *variance, double per_square, const int16_t *weights, size_t n, int limit,
                 const int16_t *law, const float *factors) {
    const double base = (double)factors[2 * PANEL], unit = (double)variance_unit(factors, limit);
    double sum = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)variance[i] * per_square, error = base + unit * weight_variance(weights[i], law) - v;
        sum += v;
        off += error * error;
    }
    return sum > 0 ? (float)(sqrt(off * (double)n) / sum) : 0.0f;
}

enum { SQUARE_RUN = 1024 }; /* inputs whose squares, each below 2^20, add up in 32 bits; a multiple of 4 */

struct square_sums square_codes(const int16_t *x, size_t n, int limit, uint8_t *squares) {
    const int32_t shift = shift_of(limit), half = (1 << shift) >> 1;
    int64_t all = 0, coded = 0;
    for (size_t begin = 0; begin < n; begin += SQUARE_RUN) {
        const size_t rows = n - begin < SQUARE_RUN ? n - begin : SQUARE_RUN;
        uint8_t codes[SQUARE_RUN];
        int32_t sum = 0, sum_of_codes = 0;
        for (size_t i = 0; i < rows; i++) { /* becomes vector code */
            const int32_t square = x[begin + i] * x[begin + i], code = (square + half) >> shift;
            codes[i] = (uint8_t)code;
            sum += square;
            sum_of_codes += code;
        }
        memset(codes + rows, 0, (4 - rows % 4) % 4);
        for (size_t i = 0; i < rows; i += 4) {
            const uint8_t four[4] = {codes[i], codes[i + 2], codes[i + 1], codes[i + 3]};
            memcpy(squares + begin + i, four, sizeof four);
        }
        all += sum;
        coded += sum_of_codes;
    }
    return (struct square_sums){(float)all, (float)(all - coded * (1 << shift))};
}

/* ---- variances and squares as bytes ----------------------------------------------------------------------------- */

static double mean_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i];
    }
    return n > 0 ? sum / (double)n : 0;
}

void pack_variances(const float *variance, size_t n, size_t lane, int8_t *panel, float *factors) {
    float least = n > 0 ? variance[0] : 0, largest = least;
    for (size_t i = 0; i < n; i++) {
        least = variance[i] < least ? variance[i] : least;
        largest = variance[i] > largest ? variance[i] : largest;
    }
    const double mean = mean_of(variance, n), half = ((double)largest - (double)least) / 2;
    const bool alike = !(2 * half >= (double)largest / (2 * VARIANCE_MOST));
    const double step = alike ? 0 : half / OFF_MOST, middle = alike ? mean : (double)least + half;
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const int8_t byte = alike ? 0 : (int8_t)lrint(((double)variance[i] - middle) / step);
        panel[variance_place(i, lane)] = byte;
        sum += byte;
    }
    const double rounded = n > 0 ? step * (double)sum / (double)n : 0;
    factors[lane] = (float)step;
    factors[PANEL + lane] = (float)(mean - rounded); /* the middle, but for the rounding of the bytes */
    factors[2 * PANEL + lane] = (float)rounded;
}

/* Sum of n numbers, n a multiple of 8: eight sums side by side become vector code. */
static float sum_of(const float *x, size_t n) {
    float sum[8] = {0};
    for (size_t i = 0; i < n; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sum[j] += x[i + j];
        }
    }
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static const float LEAST_SQUARE = 0x1p-100f; /* where all are below it, they have no bytes: 1 / unit stays finite */

struct byte_squares pack_squares(const float *squares, size_t n, uint8_t *bytes) {
    const float largest = kernels()->absmax_f32(squares, n);
    const float unit = largest > LEAST_SQUARE ? largest / SQUARE_MOST : 0;
    const float per_unit = unit > 0 ? 1 / unit : 0;
    float all = 0;
    int32_t coded = 0;
    for (size_t begin = 0; begin < n; begin += SQUARE_RUN) {
        const size_t rows = n - begin < SQUARE_RUN ? n - begin : SQUARE_RUN, eights = (rows + 7) / 8 * 8;
        float run[SQUARE_RUN] = {0};
        uint8_t codes[SQUARE_RUN];
        memcpy(run, squares + begin, rows * sizeof *run);
        for (size_t i = 0; i < eights; i++) { /* becomes vector code */
            const float exact = run[i] * per_unit + 0.5f;
            const int32_t code = (int32_t)(exact < SQUARE_MOST ? exact : (float)SQUARE_MOST); /* NaN: the largest */
            codes[i] = (uint8_t)code;
            coded += code;
        }
        for (size_t i = 0; i < eights; i += 4) {
            const uint8_t four[4] = {codes[i], codes[i + 2], codes[i + 1], codes[i + 3]};
            memcpy(bytes + begin + i, four, sizeof four);
        }
        all += sum_of(run, eights);
    }
    return (struct byte_squares){unit, all, all - unit * (float)coded};
}
