/* Private to sim/: how far programmed devices are from their targets, as sums that tiles add up (programming_error.c).
 */
#ifndef MHO_SIM_PROGRAMMING_ERROR_H
#define MHO_SIM_PROGRAMMING_ERROR_H

#include "sim/sim.h"

/* Errors in units of the span g_max - g_min. Zeroed = empty. */
struct error_sums {
    struct {
        uint64_t count;
        double sum, squares;
    } target[ERROR_TARGET_BINS];
    uint64_t histogram[ERROR_BINS], below, above;
};

/* Outputs of a matrix between two whose devices are looked at, so that at most about ERROR_SAMPLES devices are. */
enum { ERROR_SAMPLES = 1 << 14 };
uint32_t error_stride(uint32_t outputs, uint64_t devices_per_output);

void error_sums_add(struct error_sums *s, const float *target_S, const float *programmed_S, size_t n, double g_min_S,
                    double span_S);
void error_sums_merge(struct error_sums *all, const struct error_sums *one);
struct programming_error error_sums_result(const struct error_sums *s);

#endif
