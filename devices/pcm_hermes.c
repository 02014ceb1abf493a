/* Phase-change devices of IBM's 14 nm 64-core chip (HERMES project chip): one or two devices per conductance.
 *
 * Le Gallo et al., "A 64-core mixed-signal in-memory compute chip based on phase-change memory for deep neural
 * network inference", Nature Electronics 2023, statistics as published with aihwkit (HermesNoiseModel with
 * num_devices 1 or 2; the two differ in their constants only). Equations as in pcm.h; mu, sd and Q are limited
 * logarithms below a split of r and polynomials above it; Q depends on r_prog = programmed / g_max.
 * Validity: 10.35 microsiemens (one device) or 20.7 (two), room temperature. With two, the devices of a conductance are
 * one conductance here: their programming is the measured one (most significant first), their drift is that of two
 * equal halves, which overstates drift a little.
 * Not modelled: see pcm.h.
 */
#include <math.h>

#include "devices/models.h"
#include "devices/pcm.h"

struct hermes {
    struct constant g_max_S, g_min_S, t0_s, t_read_s, programming_reference_S;
    double max_age_s;
    struct param_numbers programming_sd_S;
    struct constant drift_mean_split, drift_sd_split, read_noise_split; /* of r, without unit */
    struct param_numbers drift_mean_log, drift_mean_polynomial, drift_sd_log, drift_sd_polynomial, read_noise_log,
        read_noise_polynomial;
};

#define LOG_HELP "slope, offset, low, high below the split"
#define POLYNOMIAL_HELP "c0, c1, ... from the split on"
#define AT(member) offsetof(struct hermes, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-3, 1e6, NULL, "largest target conductance", AT(g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "smallest target conductance (RESET)", AT(g_min_S), NULL},
    {"t0_s", PARAM_CONSTANT, "s", 1e-6, 1e6, NULL, "drift counts from this time after the write", AT(t0_s), NULL},
    {"t_read_ns", PARAM_CONSTANT, "ns", 1e-3, 1e9, NULL, "read pulse of the read-noise data", AT(t_read_s), NULL},
    {"max_age_s", PARAM_NUMBER, "s", 0, 1e12, "3.1536e9",
     "longest age that is allowed (100 years: the power law has no end of its own)", AT(max_age_s), NULL},
    {"programming_reference_uS", PARAM_CONSTANT, "uS", 1e-3, 1e6, NULL, "g_max at which programming_sd_uS was fitted",
     AT(programming_reference_S), NULL},
    {"programming_sd_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "c0, c1, ... of sigma(r)",
     AT(programming_sd_S), NULL},
    {"drift_mean_split", PARAM_CONSTANT, "", 0, 1, NULL,
     "r at which the mean exponent changes from logarithm to polynomial", AT(drift_mean_split), NULL},
    {"drift_mean_log", PARAM_NUMBERS, "", -10, 10, NULL, "mean drift exponent: " LOG_HELP, AT(drift_mean_log), NULL},
    {"drift_mean_polynomial", PARAM_NUMBERS, "", -10, 10, NULL, "mean drift exponent: " POLYNOMIAL_HELP,
     AT(drift_mean_polynomial), NULL},
    {"drift_sd_split", PARAM_CONSTANT, "", 0, 1, NULL,
     "r at which the exponent's sd changes from logarithm to polynomial", AT(drift_sd_split), NULL},
    {"drift_sd_log", PARAM_NUMBERS, "", -10, 10, NULL, "sd of the drift exponent: " LOG_HELP, AT(drift_sd_log), NULL},
    {"drift_sd_polynomial", PARAM_NUMBERS, "", -10, 10, NULL, "sd of the drift exponent: " POLYNOMIAL_HELP,
     AT(drift_sd_polynomial), NULL},
    {"read_noise_split", PARAM_CONSTANT, "", 0, 1, NULL, "r at which Q changes from logarithm to polynomial",
     AT(read_noise_split), NULL},
    {"read_noise_log", PARAM_NUMBERS, "", -10, 10, NULL, "1/f coefficient Q: " LOG_HELP, AT(read_noise_log), NULL},
    {"read_noise_polynomial", PARAM_NUMBERS, "", -10, 10, NULL, "1/f coefficient Q: " POLYNOMIAL_HELP,
     AT(read_noise_polynomial), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct hermes *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value,
                                .g_min_S = p->g_min_S.value,
                                .t0_s = p->t0_s.value,
                                .max_age_s = p->max_age_s,
                                .read_s = p->t_read_s.value};
}

static struct pcm_curve mean_exponent(const struct hermes *p) {
    return pcm_curve_make(p->drift_mean_split.value, &p->drift_mean_log, &p->drift_mean_polynomial);
}

static struct pcm_curve sd_exponent(const struct hermes *p) {
    return pcm_curve_make(p->drift_sd_split.value, &p->drift_sd_log, &p->drift_sd_polynomial);
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct hermes *p = params;
    float sd_S[FIT_DEGREE + 1];
    fit_coefficients(&p->programming_sd_S, p->g_max_S.value / p->programming_reference_S.value, sd_S);
    fit_program(sd_S, p->g_max_S.value, d, target_S, programmed_S, n);
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    const struct hermes *p = params;
    struct pcm_curve mean = mean_exponent(p), sd = sd_exponent(p);
    pcm_drift(&mean, &sd, p->g_max_S.value, p->t0_s.value, d, target_S, programmed_S, age_s, drifted_S, n);
}

static void drift_exponent(const void *params, const struct cell_draws *d, const float *target_S, float *nu, size_t n) {
    const struct hermes *p = params;
    struct pcm_curve mean = mean_exponent(p), sd = sd_exponent(p);
    pcm_exponents(&mean, &sd, p->g_max_S.value, d, target_S, nu, n);
}

static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)target_S;
    const struct hermes *p = params;
    struct pcm_curve q = pcm_curve_make(p->read_noise_split.value, &p->read_noise_log, &p->read_noise_polynomial);
    float factor = (float)fit_one_over_f(age_s, p->t0_s.value, p->t_read_s.value);
    pcm_curve_values(&q, p->g_max_S.value, programmed_S, sd_S, n);
    for (size_t i = 0; i < n; i++) {
        sd_S[i] = fabsf(drifted_S[i]) * sd_S[i] * factor;
    }
}

static enum status check(const void *params, struct error *e) {
    const struct hermes *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    TRY(fit_check_count("programming_sd_uS", &p->programming_sd_S, 1, FIT_DEGREE + 1, e));
    TRY(fit_check_count("drift_mean_log", &p->drift_mean_log, 4, 4, e));
    TRY(fit_check_count("drift_mean_polynomial", &p->drift_mean_polynomial, 1, FIT_DEGREE + 1, e));
    TRY(fit_check_count("drift_sd_log", &p->drift_sd_log, 4, 4, e));
    TRY(fit_check_count("drift_sd_polynomial", &p->drift_sd_polynomial, 1, FIT_DEGREE + 1, e));
    TRY(fit_check_count("read_noise_log", &p->read_noise_log, 4, 4, e));
    return fit_check_count("read_noise_polynomial", &p->read_noise_polynomial, 1, FIT_DEGREE + 1, e);
}

#define HOOKS                                                                                                          \
    .params_bytes = sizeof(struct hermes), .common = common, .program = program, .check = check, .drift = drift,       \
    .drift_exponent = drift_exponent, .read_sd = read_sd

const struct cell_model cell_pcm_hermes_2dev = {
    .name = "pcm_hermes_2dev",
    .about = "phase-change memory of the 14 nm 64-core chip, two devices per conductance",
    .source = "Le Gallo et al., Nature Electronics 2023; aihwkit HermesNoiseModel",
    .status = "validated against aihwkit 1.2.0 (mean and sd, programmed and 0 s to 1 year)",
    .params = PARAM_TABLE("cell pcm_hermes_2dev", rows),
    HOOKS,
};

const struct cell_model cell_pcm_hermes_1dev = {
    .name = "pcm_hermes_1dev",
    .about = "phase-change memory of the 14 nm 64-core chip, one device per conductance",
    .source = "Le Gallo et al., Nature Electronics 2023; aihwkit HermesNoiseModel, num_devices 1",
    .status = "validated against aihwkit 1.2.0 (mean and sd, programmed and 0 s to 1 year)",
    .params = PARAM_TABLE("cell pcm_hermes_1dev", rows),
    HOOKS,
};
