/* The statistical PCM model of one million doped-GST mushroom cells (90 nm): Nandakumar et al., "Phase-change memory
 * models for deep learning training and inference", ICECS 2019; it is the default inference model of aihwkit
 * ("PCM-like").
 *
 * r = target / g_max. Equations as in pcm.h with
 *   sigma(r) = c0 + c1 r + c2 r^2 microsiemens, scaled by g_max / programming_reference
 *   mu(r), sd(r) of the drift exponent: clamp(slope ln r + offset, low, high)
 *   Q = min(q0 / max(r_prog^q1, floor), cap) with r_prog = programmed / g_max
 * Validity: 25 microsiemens, room temperature, ages up to about a day measured, a power law beyond.
 * Not modelled: see pcm.h; also the asymmetry of the distribution at the high end.
 */
#include <math.h>

#include "devices/models.h"
#include "devices/pcm.h"
#include "devices/vector_math.h"

struct pcm_like {
    struct constant g_max_S, g_min_S, t0_s, t_read_s, programming_reference_S;
    double max_age_s;
    struct param_numbers programming_sd_S, drift_mean, drift_sd, read_noise;
};

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-3, 1e6, NULL, "largest target conductance",
     offsetof(struct pcm_like, g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "smallest target conductance (RESET)",
     offsetof(struct pcm_like, g_min_S), NULL},
    {"t0_s", PARAM_CONSTANT, "s", 1e-6, 1e6, NULL, "drift counts from this time after the write",
     offsetof(struct pcm_like, t0_s), NULL},
    {"t_read_ns", PARAM_CONSTANT, "ns", 1e-3, 1e9, NULL, "read pulse of the read-noise data",
     offsetof(struct pcm_like, t_read_s), NULL},
    {"max_age_s", PARAM_NUMBER, "s", 0, 1e12, "3.1536e9",
     "longest age that is allowed (100 years: the power law has no end of its own)",
     offsetof(struct pcm_like, max_age_s), NULL},
    {"programming_reference_uS", PARAM_CONSTANT, "uS", 1e-3, 1e6, NULL, "g_max at which programming_sd_uS was fitted",
     offsetof(struct pcm_like, programming_reference_S), NULL},
    {"programming_sd_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "c0, c1, ... of sigma(r)",
     offsetof(struct pcm_like, programming_sd_S), NULL},
    {"drift_mean", PARAM_NUMBERS, "", -10, 10, NULL,
     "slope, offset, low, high of the mean drift exponent",
     offsetof(struct pcm_like, drift_mean), NULL},
    {"drift_sd", PARAM_NUMBERS, "", -10, 10, NULL,
     "slope, offset, low, high of its standard deviation",
     offsetof(struct pcm_like, drift_sd), NULL},
    {"read_noise", PARAM_NUMBERS, "", 1e-9, 10, NULL,
     "q0, q1, floor, cap of the 1/f coefficient Q", offsetof(struct pcm_like, read_noise),
     NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct pcm_like *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value,
                                .g_min_S = p->g_min_S.value,
                                .t0_s = p->t0_s.value,
                                .max_age_s = p->max_age_s,
                                .read_s = p->t_read_s.value};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct pcm_like *p = params;
    float sd_S[FIT_DEGREE + 1];
    fit_coefficients(&p->programming_sd_S, p->g_max_S.value / p->programming_reference_S.value, sd_S);
    fit_program(sd_S, p->g_max_S.value, d, target_S, programmed_S, n);
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    const struct pcm_like *p = params;
    struct pcm_curve mean = pcm_curve_make(1, &p->drift_mean, NULL), sd = pcm_curve_make(1, &p->drift_sd, NULL);
    pcm_drift(&mean, &sd, p->g_max_S.value, p->t0_s.value, d, target_S, programmed_S, age_s, drifted_S, n);
}

static void drift_exponent(const void *params, const struct cell_draws *d, const float *target_S, float *nu, size_t n) {
    const struct pcm_like *p = params;
    struct pcm_curve mean = pcm_curve_make(1, &p->drift_mean, NULL), sd = pcm_curve_make(1, &p->drift_sd, NULL);
    pcm_exponents(&mean, &sd, p->g_max_S.value, d, target_S, nu, n);
}

/* r^q1 as exp(q1 ln r). The clip of r at 1e-30 only keeps the logarithm finite: there `cap` rules. */
static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)target_S;
    const struct pcm_like *p = params;
    const double *q = p->read_noise.values;
    float q0 = (float)q[0], q1 = (float)q[1], floor_value = (float)q[2], cap = (float)q[3];
    float per_g_max = (float)(1.0 / p->g_max_S.value);
    float factor = (float)fit_one_over_f(age_s, p->t0_s.value, p->t_read_s.value);
    for (size_t i = 0; i < n; i++) {
        float r = programmed_S[i] * per_g_max;
        float power = vector_exp(q1 * vector_log(r > 1e-30f ? r : 1e-30f));
        float q_s = q0 / (power > floor_value ? power : floor_value);
        sd_S[i] = fabsf(drifted_S[i]) * (q_s < cap ? q_s : cap) * factor;
    }
}

static enum status check(const void *params, struct error *e) {
    const struct pcm_like *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    TRY(fit_check_count("programming_sd_uS", &p->programming_sd_S, 1, FIT_DEGREE + 1, e));
    TRY(fit_check_count("drift_mean", &p->drift_mean, 4, 4, e));
    TRY(fit_check_count("drift_sd", &p->drift_sd, 4, 4, e));
    return fit_check_count("read_noise", &p->read_noise, 4, 4, e);
}

const struct cell_model cell_pcm_like = {
    .name = "pcm_like",
    .about = "phase-change memory, statistics of 1M doped-GST devices (90 nm)",
    .source = "Nandakumar et al., ICECS 2019; aihwkit PCMLikeNoiseModel",
    .status = "validated against aihwkit 1.2.0 (mean and sd, programmed and 0 s to 1 year)",
    .params = PARAM_TABLE("cell pcm_like", rows),
    .params_bytes = sizeof(struct pcm_like),
    .common = common,
    .program = program,
    .check = check,
    .drift = drift,
    .drift_exponent = drift_exponent,
    .read_sd = read_sd,
};
