/* Programming error of multilevel HfO2 ReRAM: Milo et al., "Optimized programming algorithms for multilevel RRAM in
 * hardware neural networks", IRPS 2021, figure 4, programming algorithm IGVVA-100 (incremental gate voltage with
 * verify).
 *
 *   g_prog = max(0, g_T + sigma(g_T) xi),   sigma = c0 + c1 g microsiemens, g in microsiemens
 * The line is the fit that CrossSim 3 publishes. sigma is a function of the conductance itself.
 * Current: cubic in the voltage (group `current`), more so at small conductances: CrossSim fits the cubic coefficient
 * to four states of figure 1 of the paper; relative to the linear one it is 0.15 / V^2 at 62.5 uS, 0.056 at 76 uS and
 * about 0 from 94 uS on. One factor for all states is kept here, that of 76 uS.
 * Validity: 50 to 225 microsiemens, up to 0.5 V. Not modelled: drift and read noise (not in the source), the quadratic
 * term of the current, its dependence on the state.
 */
#include "devices/fits.h"
#include "devices/models.h"

struct milo {
    struct constant g_max_S, g_min_S;
    struct param_numbers programming_sd_S;
};

#define MICROSIEMENS 1e-6

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 50, 225, NULL, "largest target conductance", offsetof(struct milo, g_max_S),
     NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 50, 225, NULL, "smallest target conductance", offsetof(struct milo, g_min_S),
     NULL},
    {"programming_sd_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "c0, c1, ... of sigma(g), g in uS",
     offsetof(struct milo, programming_sd_S), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct milo *p = params;
    *out = (struct cell_common){
        .g_max_S = p->g_max_S.value, .g_min_S = p->g_min_S.value, .max_age_s = (double)INFINITY};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct milo *p = params;
    float sd_S[FIT_DEGREE + 1];
    fit_coefficients(&p->programming_sd_S, 1.0, sd_S);
    fit_program(sd_S, MICROSIEMENS, d, target_S, programmed_S, n);
}

static enum status check(const void *params, struct error *e) {
    const struct milo *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    return fit_check_spread("programming_sd_uS", &p->programming_sd_S, p->g_min_S.value / MICROSIEMENS,
                            p->g_max_S.value / MICROSIEMENS, e);
}

const struct cell_model cell_reram_milo = {
    .name = "reram_milo",
    .about = "multilevel HfO2 ReRAM, programming error only",
    .source = "Milo et al., IRPS 2021, figure 4 (IGVVA-100); fit of CrossSim 3",
    .status = "tested against the published formula; uncalibrated: no samples of the source, no drift, no read noise",
    .params = PARAM_TABLE("cell reram_milo", rows),
    .params_bytes = sizeof(struct milo),
    .common = common,
    .program = program,
    .check = check,
};
