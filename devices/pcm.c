/* See pcm.h. Loops are plain C that compilers vectorise; every result depends on the device's own numbers only. */
#include "devices/pcm.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/vector_math.h"

/* Below this r the fits see ln r of this value (the published model clips at the same place). */
#define SMALLEST_R 1e-7f

struct pcm_curve pcm_curve_make(double split, const struct param_numbers *log_branch,
                                const struct param_numbers *polynomial) {
    const double *b = log_branch->values;
    struct pcm_curve c = {
        polynomial ? (float)split : INFINITY, (float)b[0], (float)b[1], (float)b[2], (float)b[3], {0}};
    if (polynomial) {
        fit_coefficients(polynomial, 1.0, c.polynomial);
    }
    return c;
}

/* `c` by value: the loops below keep it in registers and owe no store to it. */
static inline float curve_at(const struct pcm_curve c, float r) {
    float low = c.slope * vector_log(r > SMALLEST_R ? r : SMALLEST_R) + c.offset;
    low = low < c.low ? c.low : low;
    low = low > c.high ? c.high : low;
    float high = fit_polynomial(c.polynomial, r);
    return r < c.split ? low : high;
}

void pcm_exponents(const struct pcm_curve *mean, const struct pcm_curve *sd, double g_max_S, const struct cell_draws *d,
                   const float *target_S, float *nu, size_t n) {
    struct pcm_curve mu = *mean, spread = *sd;
    float per_g_max = (float)(1.0 / g_max_S);
    random_gaussian_fill(d->seed, random_stream(RANDOM_DRIFT, d->where), d->first, nu, n);
    for (size_t i = 0; i < n; i++) {
        float r = target_S[i] * per_g_max;
        nu[i] = fabsf(curve_at(mu, r) + curve_at(spread, r) * nu[i]);
    }
}

void pcm_drift(const struct pcm_curve *mean, const struct pcm_curve *sd, double g_max_S, double t0_s,
               const struct cell_draws *d, const float *target_S, const float *programmed_S, double age_s,
               float *drifted_S, size_t n) {
    if (!(age_s > 0)) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    pcm_exponents(mean, sd, g_max_S, d, target_S, drifted_S, n);
    fit_power_law(drifted_S, t0_s, age_s, programmed_S, drifted_S, n);
}

void pcm_curve_values(const struct pcm_curve *c, double g_max_S, const float *g_S, float *out, size_t n) {
    struct pcm_curve curve = *c;
    float per_g_max = (float)(1.0 / g_max_S);
    for (size_t i = 0; i < n; i++) {
        out[i] = curve_at(curve, g_S[i] * per_g_max);
    }
}
