/* Analog ReRAM with a conductive metal oxide over HfOx (IBM Zurich), one bidirectional device per weight: arXiv
 * 2502.04524, statistics as published with aihwkit (ReRamCMONoiseModel).
 *
 * g in microsiemens, xi standard normal numbers, each from its own stream, t = age in seconds:
 *   programming  g_prog = g_T + (c0 + c1 g_T) xi           one fit per acceptance range of the loop: 0.2 % or 2 %
 *   drift        g_d = g_prog + m ln t + (s1 ln t + s0) xi  independent of g; one xi per device for life
 *   read         sd = |K log10(g_d)| sqrt(ln((t + t_read) / (2 t_read)))
 *   limits       g within [g_min, g_max] after the read
 * Age 0 is the programmed value itself: no drift, no read noise, no limits. An age between 0 and 1 s is taken as 1 s,
 * where ln t = 0 and the fit begins. Without read noise the limits do not act: they belong to the source's read.
 * aihwkit's default acceptance range matches none of its keys and silently takes 0.2 %; here the part says which.
 * Validity: 9 to 88.2 microsiemens; the logarithm goes on without end. Not modelled: its saturation.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/fits.h"
#include "devices/models.h"
#include "devices/vector_math.h"

struct cmo {
    struct constant g_max_S, g_min_S, drift_mean_S, read_noise_S, t_read_s;
    double max_age_s;
    int acceptance;
    struct param_numbers programming_sd_S[2], drift_sd_S;
};

#define MICROSIEMENS 1e-6

static const char *const acceptances[] = {"0.2", "2", NULL};

#define AT(member) offsetof(struct cmo, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1, 1e6, NULL, "largest target conductance", AT(g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 1, 1e6, NULL, "smallest target conductance", AT(g_min_S), NULL},
    {"acceptance_percent", PARAM_CHOICE, "", 0, 0, NULL, "acceptance range of the programming loop, in percent",
     AT(acceptance), acceptances},
    {"programming_sd_accept02_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL,
     "c0, c1, ... of sigma(g), g in uS, with acceptance 0.2 %", AT(programming_sd_S[0]), NULL},
    {"programming_sd_accept2_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "the same with acceptance 2 %",
     AT(programming_sd_S[1]), NULL},
    {"drift_mean_uS", PARAM_CONSTANT, "uS", -100, 100, NULL, "m: mean shift per ln t", AT(drift_mean_S), NULL},
    {"drift_sd_uS", PARAM_NUMBERS, "uS", 0, 100, NULL, "s0, s1: standard deviation of the shift, s0 + s1 ln t",
     AT(drift_sd_S), NULL},
    {"read_noise_uS", PARAM_CONSTANT, "uS", 0, 100, NULL, "K: read noise per decade of g in uS", AT(read_noise_S),
     NULL},
    {"t_read_s", PARAM_CONSTANT, "s", 1e-12, 0.5, NULL, "read pulse of the read-noise data", AT(t_read_s), NULL},
    {"max_age_s", PARAM_NUMBER, "s", 1, 1e12, "3.1536e8",
     "longest age that is allowed (10 years: the logarithm has no end of its own)", AT(max_age_s), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct cmo *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value,
                                .g_min_S = p->g_min_S.value,
                                .max_age_s = p->max_age_s,
                                .read_s = p->t_read_s.value};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct cmo *p = params;
    float sd_S[FIT_DEGREE + 1];
    fit_coefficients(&p->programming_sd_S[p->acceptance], 1.0, sd_S);
    fit_program(sd_S, MICROSIEMENS, d, target_S, programmed_S, n);
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    (void)target_S;
    const struct cmo *p = params;
    if (!(age_s > 0)) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    double log_age = log(fmax(age_s, 1.0));
    float mean_S = (float)(p->drift_mean_S.value * log_age);
    float sd_S = (float)(p->drift_sd_S.values[0] + p->drift_sd_S.values[1] * log_age);
    random_gaussian_fill(d->seed, random_stream(RANDOM_DRIFT, d->where), d->first, drifted_S, n);
    for (size_t i = 0; i < n; i++) {
        drifted_S[i] = programmed_S[i] + mean_S + sd_S * drifted_S[i];
    }
}

static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)target_S;
    (void)programmed_S;
    const struct cmo *p = params;
    if (!(age_s > 0)) {
        memset(sd_S, 0, n * sizeof *sd_S);
        return;
    }
    const float smallest = 1e-6f; /* microsiemens; keeps the logarithm finite where the shift leaves nothing */
    double per_log = p->read_noise_S.value * fit_one_over_f(fmax(age_s, 1.0), 0, p->t_read_s.value) / log(10.0);
    float factor = (float)per_log, per_uS = (float)(1.0 / MICROSIEMENS);
    for (size_t i = 0; i < n; i++) {
        float g = drifted_S[i] * per_uS;
        sd_S[i] = fabsf(factor * vector_log(g > smallest ? g : smallest));
    }
}

static void read_clamp(const void *params, double age_s, float *g_S, size_t n) {
    const struct cmo *p = params;
    float low_S = (float)p->g_min_S.value, high_S = (float)p->g_max_S.value;
    for (size_t i = 0; age_s > 0 && i < n; i++) {
        g_S[i] = g_S[i] < low_S ? low_S : g_S[i];
        g_S[i] = g_S[i] > high_S ? high_S : g_S[i];
    }
}

static enum status check(const void *params, struct error *e) {
    const struct cmo *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    double low = p->g_min_S.value / MICROSIEMENS, high = p->g_max_S.value / MICROSIEMENS;
    TRY(fit_check_spread("programming_sd_accept02_uS", &p->programming_sd_S[0], low, high, e));
    TRY(fit_check_spread("programming_sd_accept2_uS", &p->programming_sd_S[1], low, high, e));
    return fit_check_count("drift_sd_uS", &p->drift_sd_S, 2, 2, e);
}

const struct cell_model cell_reram_cmo = {
    .name = "reram_cmo",
    .about = "analog ReRAM, conductive metal oxide over HfOx, one bidirectional device",
    .source = "arXiv 2502.04524; aihwkit ReRamCMONoiseModel",
    .status = "validated against aihwkit 1.2.0 (mean and sd, acceptance 0.2 % and 2 %, programmed and 0 s to 1 year)",
    .params = PARAM_TABLE("cell reram_cmo", rows),
    .params_bytes = sizeof(struct cmo),
    .common = common,
    .program = program,
    .check = check,
    .drift = drift,
    .read_sd = read_sd,
    .read_clamp = read_clamp,
};
