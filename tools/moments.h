/* Mean and standard deviation of numbers that come one after another (Welford: no sum of squares that cancels). */
#ifndef MHO_TOOLS_MOMENTS_H
#define MHO_TOOLS_MOMENTS_H

#include <math.h>
#include <stdint.h>

struct moments {
    uint64_t n;
    double mean, squares; /* squares: sum of squared deviations from the mean */
};

static inline void moments_add(struct moments *m, double value) {
    double delta = value - m->mean;
    m->n++;
    m->mean += delta / (double)m->n;
    m->squares += delta * (value - m->mean);
}

/* NaN for no numbers; the standard deviation for fewer than two. */
static inline double moments_mean(const struct moments *m) { return m->n ? m->mean : (double)NAN; }
/* Of a sample. */
static inline double moments_sd(const struct moments *m) {
    return m->n > 1 ? sqrt(m->squares / (double)(m->n - 1)) : (double)NAN;
}

#endif
