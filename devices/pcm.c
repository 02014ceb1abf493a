/* See pcm.h. Loops are plain C that compilers vectorise; every result depends on the device's own numbers only. */
#include "devices/pcm.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/vector_math.h"

/* Below this r the fits see ln r of this value (the published model clips at the same place). */
#define SMALLEST_R 1e-7f

void pcm_coefficients(const struct param_numbers *c, double factor, float out[PCM_DEGREE + 1]) {
    for (size_t i = 0; i <= PCM_DEGREE; i++) {
        out[i] = i < c->count ? (float)(c->values[i] * factor) : 0.0f;
    }
}

struct pcm_curve pcm_curve_make(double split, const struct param_numbers *log_branch,
                                const struct param_numbers *polynomial) {
    const double *b = log_branch->values;
    struct pcm_curve c = {
        polynomial ? (float)split : INFINITY, (float)b[0], (float)b[1], (float)b[2], (float)b[3], {0}};
    if (polynomial) {
        pcm_coefficients(polynomial, 1.0, c.polynomial);
    }
    return c;
}

static inline float polynomial_at(const float c[PCM_DEGREE + 1], float r) {
    return c[0] + r * (c[1] + r * (c[2] + r * (c[3] + r * c[4])));
}

/* `c` by value: the loops below keep it in registers and owe no store to it. */
static inline float curve_at(const struct pcm_curve c, float r) {
    float low = c.slope * vector_log(r > SMALLEST_R ? r : SMALLEST_R) + c.offset;
    low = low < c.low ? c.low : low;
    low = low > c.high ? c.high : low;
    float high = polynomial_at(c.polynomial, r);
    return r < c.split ? low : high;
}

void pcm_program(const float sd_S[PCM_DEGREE + 1], double g_max_S, const struct cell_draws *d, const float *target_S,
                 float *programmed_S, size_t n) {
    float per_g_max = (float)(1.0 / g_max_S), c[PCM_DEGREE + 1];
    memcpy(c, sd_S, sizeof c);
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        float g_S = target_S[i] + polynomial_at(c, target_S[i] * per_g_max) * programmed_S[i];
        programmed_S[i] = g_S > 0.0f ? g_S : 0.0f;
    }
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
    float age_log = (float)log1p(age_s / t0_s); /* ln((age + t0) / t0) */
    if (!(age_s > 0)) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    pcm_exponents(mean, sd, g_max_S, d, target_S, drifted_S, n);
    for (size_t i = 0; i < n; i++) {
        drifted_S[i] = programmed_S[i] * vector_exp(-drifted_S[i] * age_log);
    }
}

void pcm_curve_values(const struct pcm_curve *c, double g_max_S, const float *g_S, float *out, size_t n) {
    struct pcm_curve curve = *c;
    float per_g_max = (float)(1.0 / g_max_S);
    for (size_t i = 0; i < n; i++) {
        out[i] = curve_at(curve, g_S[i] * per_g_max);
    }
}

double pcm_read_factor(double age_s, double t0_s, double t_read_s) {
    return sqrt(log((age_s + t0_s + t_read_s) / (2 * t_read_s)));
}

enum status pcm_check_count(const char *key, const struct param_numbers *list, size_t least, size_t most,
                            struct error *e) {
    if (list->count < least || list->count > most) {
        return error_set(e, ERR_USAGE, "%s has %zu numbers (allowed: %zu to %zu)", key, list->count, least, most);
    }
    return OK;
}

enum status pcm_check_window(const struct constant *g_min_S, const struct constant *g_max_S, struct error *e) {
    if (!(g_min_S->value < g_max_S->value)) {
        return error_set(e, ERR_USAGE, "g_min_uS = %g is not below g_max_uS = %g", 1e6 * g_min_S->value,
                         1e6 * g_max_S->value);
    }
    return OK;
}
