/* Programming error of the phase-change memory of Joshi et al., "Accurate deep neural network inference using
 * computational phase-change memory", Nature Communications 11, 2473 (2020), figure 3b: conductances read 27 s after
 * iterative programming of doped-GST devices.
 *
 *   g_prog = max(0, g_T + sigma(g_T) xi),   sigma = c0 + c1 g + c2 g^2 microsiemens, g in microsiemens
 * The quadratic is the fit that CrossSim 3 publishes. It is a function of the conductance itself, so a smaller g_max
 * uses a part of it.
 * Validity: up to 25 microsiemens; CrossSim suggests 0.25 as the smallest. Not modelled: drift and read noise: the fit
 * has none, and the paper's own drift data do not determine them. A cell of this technology with both: pcm_like.
 */
#include "devices/fits.h"
#include "devices/models.h"

struct joshi {
    struct constant g_max_S, g_min_S;
    struct param_numbers programming_sd_S;
};

#define MICROSIEMENS 1e-6

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-3, 25, NULL, "largest target conductance", offsetof(struct joshi, g_max_S),
     NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 25, NULL, "smallest target conductance", offsetof(struct joshi, g_min_S),
     NULL},
    {"programming_sd_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "c0, c1, ... of sigma(g), g in uS",
     offsetof(struct joshi, programming_sd_S), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct joshi *p = params;
    *out = (struct cell_common){
        .g_max_S = p->g_max_S.value, .g_min_S = p->g_min_S.value, .max_age_s = (double)INFINITY};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct joshi *p = params;
    float sd_S[FIT_DEGREE + 1];
    fit_coefficients(&p->programming_sd_S, 1.0, sd_S);
    fit_program(sd_S, MICROSIEMENS, d, target_S, programmed_S, n);
}

static enum status check(const void *params, struct error *e) {
    const struct joshi *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    return fit_check_spread("programming_sd_uS", &p->programming_sd_S, p->g_min_S.value / MICROSIEMENS,
                            p->g_max_S.value / MICROSIEMENS, e);
}

const struct cell_model cell_pcm_joshi = {
    .name = "pcm_joshi",
    .about = "phase-change memory, programming error only (the source has no drift)",
    .source = "Joshi et al., Nature Communications 2020, figure 3b; fit of CrossSim 3",
    .status = "tested against the published formula; uncalibrated: no samples of the source, no drift, no read noise",
    .params = PARAM_TABLE("cell pcm_joshi", rows),
    .params_bytes = sizeof(struct joshi),
    .common = common,
    .program = program,
    .check = check,
};
