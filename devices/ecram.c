/* Electrochemical memory (ECRAM): ions move in and out of a channel, pulse by pulse, in nearly equal steps.
 *
 * Programming without verify, from g_min up in steps of (g_max - g_min) / states; x = g_T - g_min:
 *   g_prog = max(0, g_T + sd xi),   sd^2 = (device_step_sd x)^2 + cycle_step_sd^2 step x
 * The first term: the steps of a device are all larger or all smaller than nominal; the second: every pulse errs on its
 * own (x / step pulses, a random walk). levels = states + 1. Closed-loop writing is the group `programming`.
 *   read   sd = read_noise |g|, the same at every age
 * Step statistics: aihwkit's preset of the Li-ion ECRAM of Tang et al., IEDM 2018. No public data fix the conductances,
 * the noise and the retention: assumed.
 * Not modelled: steps that depend on the state and on the direction, loss of the state (group `retention`).
 */
#include <math.h>

#include "base/random.h"
#include "devices/fits.h"
#include "devices/models.h"

struct ecram {
    struct constant g_max_S, g_min_S, states, device_step_sd, cycle_step_sd, read_noise;
    double max_age_s;
};

#define AT(member) offsetof(struct ecram, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-6, 1e6, NULL, "largest target conductance", AT(g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "smallest target conductance", AT(g_min_S), NULL},
    {"states", PARAM_CONSTANT, "", 1, 65535, NULL, "pulses from g_min to g_max, a whole number", AT(states), NULL},
    {"device_step_sd", PARAM_CONSTANT, "", 0, 10, NULL, "sd of a device's mean step, per step", AT(device_step_sd),
     NULL},
    {"cycle_step_sd", PARAM_CONSTANT, "", 0, 10, NULL, "sd of one step of a device, per step", AT(cycle_step_sd),
     NULL},
    {"read_noise", PARAM_CONSTANT, "", 0, 1, NULL, "sd of one read, per conductance", AT(read_noise), NULL},
    {"max_age_s", PARAM_NUMBER, "s", 0, 1e12, "2592000",
     "longest age that is allowed (a month: retention is not known)", AT(max_age_s), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct ecram *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value,
                                .g_min_S = p->g_min_S.value,
                                .max_age_s = p->max_age_s,
                                .levels = (int)p->states.value + 1};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct ecram *p = params;
    double step_S = (p->g_max_S.value - p->g_min_S.value) / p->states.value;
    float device = (float)p->device_step_sd.value, low_S = (float)p->g_min_S.value;
    float walk_S = (float)(p->cycle_step_sd.value * p->cycle_step_sd.value * step_S);
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        float x_S = target_S[i] > low_S ? target_S[i] - low_S : 0.0f;
        float gain_S = device * x_S;
        float g_S = target_S[i] + sqrtf(gain_S * gain_S + walk_S * x_S) * programmed_S[i];
        programmed_S[i] = g_S > 0.0f ? g_S : 0.0f;
    }
}

static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)target_S;
    (void)programmed_S;
    (void)age_s;
    const struct ecram *p = params;
    float relative = (float)p->read_noise.value;
    for (size_t i = 0; i < n; i++) {
        sd_S[i] = relative * drifted_S[i];
    }
}

static enum status check(const void *params, struct error *e) {
    const struct ecram *p = params;
    double states = p->states.value;
    if (floor(states) < states) {
        return error_set(e, ERR_USAGE, "states = %g is not a whole number (allowed: 1, 2, ... 65535)", states);
    }
    return fit_check_window(&p->g_min_S, &p->g_max_S, e);
}

const struct cell_model cell_ecram = {
    .name = "ecram",
    .about = "electrochemical memory, written pulse by pulse without verify",
    .source = "Tang et al., IEDM 2018; step statistics of aihwkit EcRamPresetDevice",
    .status = "uncalibrated; tested against its formula",
    .params = PARAM_TABLE("cell ecram", rows),
    .params_bytes = sizeof(struct ecram),
    .common = common,
    .program = program,
    .check = check,
    .read_sd = read_sd,
};
