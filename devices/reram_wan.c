/* ReRAM of the 48-core NeuRRAM chip: Wan et al., "A compute-in-memory chip based on resistive random-access memory",
 * Nature 2022, extended data figure 3; polynomials as published with aihwkit (ReRamWan2022NoiseModel).
 *
 * With r = g_T / g_max and xi standard normal numbers, at three ages of the same population
 *   g = max(0, g_T + sigma_age(r) xi),   sigma = c0 + c1 r + ... + c4 r^4 microsiemens: 1 s, 1 d, 2 d after programming
 * Between the three ages sigma is interpolated, linear in ln(age) (our choice: relaxation slows down with time; the
 * data have no point between). An age below 1 s is the state at 1 s, the first that was measured.
 * The source draws every age afresh. Here a device has one history: its error of programming stays and the spread that
 * ageing adds is a second draw per device (fit_grown_error), so the distribution at every age is the published one.
 *
 * sigma is in microsiemens for g_max = 40 and is not scaled: the fit as published. With another g_max the same sigma(r)
 * acts on another window, as aihwkit does with its default of 25 (a quirk there; not physics).
 * Validity: 40 microsiemens, up to 2 days. The cubic that CrossSim 3 fits to the 1 s data lies 7 to 43 % above this
 * curve from 5 to 39 uS. Read noise is not in the fits: the part has the white noise that aihwkit advises (group
 * white_noise).
 */
#include <math.h>
#include <string.h>

#include "devices/fits.h"
#include "devices/models.h"

struct wan {
    struct constant g_max_S, g_min_S;
    struct param_numbers sd_S[3];
};

static const double ages_s[] = {1, 86400, 172800}; /* 1 s, 1 d, 2 d */

#define AT(member) offsetof(struct wan, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-3, 1e6, NULL, "largest target conductance", AT(g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "smallest target conductance", AT(g_min_S), NULL},
    {"sd_1s_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "c0, c1, ... of sigma(r) 1 s after programming", AT(sd_S[0]),
     NULL},
    {"sd_1d_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "the same after 1 day", AT(sd_S[1]), NULL},
    {"sd_2d_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "the same after 2 days", AT(sd_S[2]), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct wan *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value, .g_min_S = p->g_min_S.value, .max_age_s = ages_s[2]};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct wan *p = params;
    float sd_S[FIT_DEGREE + 1];
    fit_coefficients(&p->sd_S[0], 1.0, sd_S);
    fit_program(sd_S, p->g_max_S.value, d, target_S, programmed_S, n);
}

/* Interpolated sigmas are interpolated coefficients. */
static void coefficients_at(const struct wan *p, double age_s, float out[FIT_DEGREE + 1]) {
    size_t k = age_s >= ages_s[1];
    double share = log(age_s / ages_s[k]) / log(ages_s[k + 1] / ages_s[k]);
    float after[FIT_DEGREE + 1];
    fit_coefficients(&p->sd_S[k], 1 - share, out);
    fit_coefficients(&p->sd_S[k + 1], share, after);
    for (size_t i = 0; i <= FIT_DEGREE; i++) {
        out[i] += after[i];
    }
}

enum { RUN = 256 };

static void drift_run(const struct wan *p, const struct cell_draws *d, const float *target_S,
                      const float *programmed_S, double age_s, float *drifted_S, size_t n) {
    float first_S[FIT_DEGREE + 1], now_S[FIT_DEGREE + 1], first[RUN], later[RUN];
    float per_g_max = (float)(1.0 / p->g_max_S.value);
    fit_coefficients(&p->sd_S[0], 1.0, first_S);
    coefficients_at(p, age_s, now_S);
    fit_two_draws(d, first, later, n);
    for (size_t i = 0; i < n; i++) {
        float r = target_S[i] * per_g_max;
        float sd_first_S = fit_polynomial(first_S, r), sd_now_S = fit_polynomial(now_S, r);
        float g_S = target_S[i] +
                    fit_grown_error(target_S[i], programmed_S[i], sd_first_S, sd_now_S, first[i], later[i]);
        drifted_S[i] = g_S > 0.0f ? g_S : 0.0f;
    }
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    if (!(age_s > ages_s[0])) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    for (size_t done = 0; done < n; done += RUN) {
        struct cell_draws here = {d->seed, d->where, d->first + done};
        drift_run(params, &here, target_S + done, programmed_S + done, age_s, drifted_S + done,
                  n - done < RUN ? n - done : RUN);
    }
}

static enum status check(const void *params, struct error *e) {
    const struct wan *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    double low = p->g_min_S.value / p->g_max_S.value;
    TRY(fit_check_spread("sd_1s_uS", &p->sd_S[0], low, 1, e));
    TRY(fit_check_spread("sd_1d_uS", &p->sd_S[1], low, 1, e));
    return fit_check_spread("sd_2d_uS", &p->sd_S[2], low, 1, e);
}

const struct cell_model cell_reram_wan = {
    .name = "reram_wan",
    .about = "ReRAM of the 48-core NeuRRAM chip: spread after 1 s, 1 day and 2 days, interpolated between",
    .source = "Wan et al., Nature 2022, extended data figure 3; aihwkit ReRamWan2022NoiseModel",
    .status = "validated against aihwkit 1.2.0 (mean and sd at 1 s, 1 d, 2 d; g_max 40 and 25)",
    .params = PARAM_TABLE("cell reram_wan", rows),
    .params_bytes = sizeof(struct wan),
    .common = common,
    .program = program,
    .check = check,
    .drift = drift,
};
