/* Private to sim/: counts of sizes in logarithmic bins, and the clip points that follow from them.
 *
 * Bin i of n holds sizes from edge(i) to edge(i + 1), edge(i) = 2^(lowest + i / per_octave); smaller ones are in bin 0,
 * larger ones in bin n - 1. Statistics take the upper edge of a bin, but never more than the largest size seen.
 */
#ifndef MHO_SIM_HISTOGRAM_H
#define MHO_SIM_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

struct histogram {
    const uint64_t *bins;
    size_t n;
    int per_octave, lowest;
    double largest; /* size seen */
};

size_t histogram_bin(size_t n, int per_octave, int lowest, float size);
/* Smallest upper edge that at least the share q of all sizes lie below. */
double histogram_quantile(const struct histogram *h, double q);
/* Clip point c with the smallest mean of max(size - c, 0)^2 + (c / limit)^2 / 12: clipping against steps of c / limit.
 */
double histogram_mean_square(const struct histogram *h, int limit);

#endif
