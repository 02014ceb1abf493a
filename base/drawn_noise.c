/* White noise whose variance is a sum over rows drawn by chance (kernel drawn_sd).
 *
 * A result has the noise z sqrt(V), V = sum_i x_i^2 v_i, with v_i the variance of weight i and z a Gaussian number.
 * Added up in full, V costs as much as the result itself. Here V is estimated anew for every read: of D draws each
 * falls on row i with probability p_i = x_i^2 / A, A = sum x^2, and with n_i draws on row i
 *   V' = A / D sum_i n_i v_i
 * Since the mean of n_i is D p_i, the mean of V' is V, and as z is independent of the draws, the noise z sqrt(V') has
 * mean 0 and exactly the variance V: nothing is lost but the shape of its distribution, which is Gaussian for each V'.
 * Draws are systematic (one number u moves a comb of D teeth along the sums of the p_i; W. G. Madow, On the theory of
 * systematic sampling, II, Annals of Mathematical Statistics 20, 1949): n_i is D p_i rounded up or down, so that large
 * inputs hardly vary, a single one not at all. What is left has at most the variance of independent draws on average
 * over the orders in which the rows may lie (one order may repeat with the comb: a single column and input had 2.6
 * times that),
 *   mean of var V' / V^2 <= s / D,     s = variance of the v_i / mean^2, weighted with p_i
 * and the noise has an excess kurtosis of 3 var V' / V^2, 0 for a Gaussian. tests/test_drawn.c measures both.
 * Where one input has most of the squares, the rounding of its weights' variances to bytes does not average out: with
 * an input of 20 sd among 256 Gaussian ones, variance as the square of the weight, V is off by 2 % rms (largest of 16
 * columns 4 to 6 %; without it 0.2 %, 0.4 to 0.5 %).
 *
 * Columns have v_i as base + step x byte; the draws do not touch base,
 *   V' = A (base + step / D x sum of the bytes drawn).
 * Bytes are kept (pack_drawn, for weights that are no codes, or whose codes do not say how noisy they are), or they
 * are what the law of base/read_noise.c makes of a code: then nothing is kept beside the weights. For few tokens the
 * rows are drawn from the weights, which the dot product has just read into the cache; for many the bytes of four
 * panels are laid out side by side first, a cache line per row (strip_of_codes). Both give the same sums.
 */
#include <math.h>

#include "base/kernels.h"

float variance_scatter(const float *variance, size_t rows) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < rows; i++) {
        sum += (double)variance[i];
        squares += (double)variance[i] * (double)variance[i];
    }
    const double count = (double)rows;
    return sum > 0 ? (float)fmax(squares * count / (sum * sum) - 1, 0) : 0.0f;
}

struct drawn_column pack_drawn(const float *variance, size_t rows, size_t column, uint8_t *strip) {
    double sum = 0, bytes = 0;
    float least = rows > 0 ? variance[0] : 0, largest = least;
    for (size_t i = 0; i < rows; i++) {
        least = variance[i] < least ? variance[i] : least;
        largest = variance[i] > largest ? variance[i] : largest;
        sum += (double)variance[i];
    }
    const double count = (double)rows, mean = rows > 0 ? sum / count : 0;
    const double step = ((double)largest - (double)least) / STEPS_MOST;
    if (!(step > 0) || !(mean > 0)) {
        return (struct drawn_column){(float)mean, 0};
    }
    for (size_t i = 0; i < rows; i++) {
        const long byte = lrint(((double)variance[i] - (double)least) / step);
        strip[strip_place(i, column)] = (uint8_t)byte;
        bytes += (double)byte;
    }
    return (struct drawn_column){(float)(mean - step * bytes / count), (float)step};
}
