/* Private to devices/: what the phase-change models share.
 *
 * With r = target / g_max, xi standard normal numbers, each from its own stream:
 *   programming  g_prog = max(0, g_T + sigma(r) xi),  sigma a polynomial in r
 *   drift        g_d = g_prog ((age + t0) / t0)^-nu,  nu = |mu(r) + sd(r) xi|, one exponent per device for life
 *   read         sd = |g_d| Q sqrt(ln((t + t_read) / (2 t_read))),  t = age + t0: the 1/f noise between the shortest
 *                and the longest time that the pulse and the age admit
 * Temperature and retention (crystallisation): the groups of device.h. Not modelled: noise of the amorphous phase
 * beyond Q, saturation at g_max.
 */
#ifndef MHO_DEVICES_PCM_H
#define MHO_DEVICES_PCM_H

#include "devices/device.h"
#include "devices/fits.h"

/* A fitted function of r: for r < split a limited logarithm clamp(slope ln r + offset, low, high), else a
 * polynomial. */
struct pcm_curve {
    float split, slope, offset, low, high;
    float polynomial[FIT_DEGREE + 1];
};

/* log_branch = {slope, offset, low, high}; polynomial NULL where the logarithm alone holds, for every r. */
struct pcm_curve pcm_curve_make(double split, const struct param_numbers *log_branch,
                                const struct param_numbers *polynomial);

void pcm_exponents(const struct pcm_curve *mean, const struct pcm_curve *sd, double g_max_S, const struct cell_draws *d,
                   const float *target_S, float *nu, size_t n);
void pcm_drift(const struct pcm_curve *mean, const struct pcm_curve *sd, double g_max_S, double t0_s,
               const struct cell_draws *d, const float *target_S, const float *programmed_S, double age_s,
               float *drifted_S, size_t n);
/* out[i] = curve(g_S[i] / g_max) */
void pcm_curve_values(const struct pcm_curve *c, double g_max_S, const float *g_S, float *out, size_t n);
#endif
