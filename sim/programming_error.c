/* What programming reached: the distribution of error = (programmed - target) / (g_max - g_min) of single devices,
 * right after the last pulse, before drift, read noise and faults.
 *
 * Sampled: of every matrix the devices of every k-th output (all inputs, slices, legs and parallel devices), k such
 * that at most about 2^14 devices per matrix are looked at; shared columns are left out. The devices are programmed a
 * second time for it: the same random numbers give the same conductances, and the loop over all devices keeps nothing.
 * One thread adds up a tile, tiles are merged in their order: the same bytes for any thread count.
 * By target: bin k of 10 holds |target| from g_min + k/10 to g_min + (k + 1)/10 of the span.
 * sd: with n - 1; NAN where there are fewer than two devices, mean NAN where there is none.
 */
#include "sim/programming_error.h"

#include <math.h>

uint32_t error_stride(uint32_t outputs, uint64_t devices_per_output) {
    uint64_t wanted = devices_per_output < ERROR_SAMPLES ? ERROR_SAMPLES / devices_per_output : 1;
    return (uint32_t)((outputs + wanted - 1) / wanted);
}

static size_t target_bin(double share) {
    return !(share > 0) ? 0 : share >= 1 ? ERROR_TARGET_BINS - 1 : (size_t)(share * ERROR_TARGET_BINS);
}

void error_sums_add(struct error_sums *s, const float *target_S, const float *programmed_S, size_t n, double g_min_S,
                    double span_S) {
    for (size_t i = 0; i < n; i++) {
        double error = ((double)programmed_S[i] - (double)target_S[i]) / span_S,
               place = (error + ERROR_LIMIT) / (2 * ERROR_LIMIT) * ERROR_BINS;
        size_t bin = target_bin((fabs((double)target_S[i]) - g_min_S) / span_S);
        s->target[bin].count++;
        s->target[bin].sum += error;
        s->target[bin].squares += error * error;
        if (!(place >= 0)) {
            s->below++;
        } else if (place >= ERROR_BINS) {
            s->above++;
        } else {
            s->histogram[(size_t)place]++;
        }
    }
}

void error_sums_merge(struct error_sums *all, const struct error_sums *one) {
    for (size_t i = 0; i < ERROR_TARGET_BINS; i++) {
        all->target[i].count += one->target[i].count;
        all->target[i].sum += one->target[i].sum;
        all->target[i].squares += one->target[i].squares;
    }
    for (size_t i = 0; i < ERROR_BINS; i++) {
        all->histogram[i] += one->histogram[i];
    }
    all->below += one->below;
    all->above += one->above;
}

static struct error_moments moments_of(uint64_t count, double sum, double squares) {
    double n = (double)count;
    return (struct error_moments){.count = count,
                                  .mean = count ? sum / n : (double)NAN,
                                  .sd = count > 1 ? sqrt(fmax(squares - sum * sum / n, 0) / (n - 1)) : (double)NAN};
}

struct programming_error error_sums_result(const struct error_sums *s) {
    struct programming_error out = {.below = s->below, .above = s->above};
    uint64_t count = 0;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < ERROR_TARGET_BINS; i++) {
        out.target[i] = moments_of(s->target[i].count, s->target[i].sum, s->target[i].squares);
        count += s->target[i].count;
        sum += s->target[i].sum;
        squares += s->target[i].squares;
    }
    for (size_t i = 0; i < ERROR_BINS; i++) {
        out.histogram[i] = s->histogram[i];
    }
    out.all = moments_of(count, sum, squares);
    return out;
}
