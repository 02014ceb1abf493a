/* Charge-trap flash (SONOS, 40 nm) read below threshold: Agrawal et al., "Subthreshold operation of SONOS analog memory
 * to enable accurate low-power neural network inference", IEDM 2022, figures 10 and 11; fits as published with CrossSim
 * 3 (statistics of 128 thousand devices).
 *
 * The state is the drain current I at one drain voltage, in nanoamperes; g = I / read_V. With xi standard normal
 * numbers, t in days after programming:
 *   programming  I_prog = max(0, I_T + s_0(I_T) xi),        s_t(I) = A_t (1 - exp(-I / B_t))
 *   drift        mean I_t = I_T + P_t(I_T), P_t of degree 10; I = max(0, I_t + error of spread s_t(I_t))
 *   read         sd = A_n (1 - exp(-I / B_n))
 * A_t, B_t and the coefficients of P_t are given for t = 0 (P_0 = 0), 1, 2, 3, 4 and 5 days and linear in t between.
 * The source draws every age afresh. Here a device has one history: its error of programming stays and the spread that
 * ageing adds is a second draw per device (fit_grown_error), so the distribution at every age is the published one.
 * The source's read noise changes from read to read. Here it is drawn once per device for life, as slow noise is: the
 * group white_noise has no saturating law.
 * Validity: up to 1600 nA and 5 days; CrossSim extrapolates beyond 5 days, this model refuses. Above 1500 nA the
 * polynomials bend off: at 1600 nA the mean shift is -246 nA after 1 day and -98 after 2, where at 1400 it is -39 and
 * -46. A smaller g_max keeps clear of that edge.
 * Not modelled: temperature, the dependence of the current on gate and drain voltage.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/fits.h"
#include "devices/models.h"
#include "devices/vector_math.h"

enum { DAYS = 6, DRIFT_TERMS = 11 };

struct sonos {
    struct constant g_max_S, g_min_S, read_V, largest_A;
    struct param_numbers drift_A[DAYS - 1], spread_A[2], read_A;
};

#define NANOAMPERE 1e-9
#define DAY_S 86400.0
#define AT(member) offsetof(struct sonos, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-3, 1e3, NULL, "largest target conductance: its current / read_V",
     AT(g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e3, NULL, "smallest target conductance", AT(g_min_S), NULL},
    {"read_V", PARAM_CONSTANT, "V", 1e-3, 5, NULL, "drain voltage of the read, which makes currents of conductances",
     AT(read_V), NULL},
    {"largest_nA", PARAM_CONSTANT, "nA", 1, 1e6, NULL, "current up to which the fits hold", AT(largest_A), NULL},
    {"drift_1d_nA", PARAM_NUMBERS, "nA", -1e3, 1e3, NULL, "c0 ... c10 of the mean shift after 1 day, I in nA",
     AT(drift_A[0]), NULL},
    {"drift_2d_nA", PARAM_NUMBERS, "nA", -1e3, 1e3, NULL, "the same after 2 days", AT(drift_A[1]), NULL},
    {"drift_3d_nA", PARAM_NUMBERS, "nA", -1e3, 1e3, NULL, "the same after 3 days", AT(drift_A[2]), NULL},
    {"drift_4d_nA", PARAM_NUMBERS, "nA", -1e3, 1e3, NULL, "the same after 4 days", AT(drift_A[3]), NULL},
    {"drift_5d_nA", PARAM_NUMBERS, "nA", -1e3, 1e3, NULL, "the same after 5 days", AT(drift_A[4]), NULL},
    {"spread_nA", PARAM_NUMBERS, "nA", 0, 1e6, NULL, "A of the spread after 0, 1, 2, 3, 4 and 5 days",
     AT(spread_A[0]), NULL},
    {"spread_scale_nA", PARAM_NUMBERS, "nA", 1e-3, 1e6, NULL, "B of the spread, likewise", AT(spread_A[1]), NULL},
    {"read_noise_nA", PARAM_NUMBERS, "nA", 1e-9, 1e6, NULL, "A and B of the read noise", AT(read_A), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct sonos *p = params;
    *out = (struct cell_common){
        .g_max_S = p->g_max_S.value, .g_min_S = p->g_min_S.value, .max_age_s = (DAYS - 1) * DAY_S};
}

/* s(I) = A (1 - exp(-I / B)), currents in nA. */
struct spread {
    float a, per_b;
};

static inline float spread_at(struct spread s, float nanoampere) {
    float x = -nanoampere * s.per_b;
    return s.a - s.a * vector_exp(x < 0.0f ? x : 0.0f);
}

/* What holds at one age: polynomial of the shift and spread. */
struct state {
    double shift[DRIFT_TERMS];
    struct spread spread;
};

static struct state state_at(const struct sonos *p, double age_s) {
    struct state s = {{0}, {0, 0}};
    size_t day = age_s < (DAYS - 1) * DAY_S ? (size_t)(age_s / DAY_S) : DAYS - 2;
    double share[2], a = 0, b = 0;
    share[1] = age_s / DAY_S - (double)day;
    share[0] = 1 - share[1];
    for (size_t k = 0; k < 2; k++) {
        a += share[k] * p->spread_A[0].values[day + k] / NANOAMPERE;
        b += share[k] * p->spread_A[1].values[day + k] / NANOAMPERE;
        for (size_t i = 0; i < DRIFT_TERMS && day + k > 0; i++) {
            s.shift[i] += share[k] * p->drift_A[day + k - 1].values[i] / NANOAMPERE;
        }
    }
    s.spread = (struct spread){(float)a, (float)(1 / b)};
    return s;
}

/* In double: the terms of degree 10 cancel to a part in 1e5. */
static inline double shift_at(const double c[DRIFT_TERMS], double nanoampere) {
    double sum = c[DRIFT_TERMS - 1];
    for (size_t i = DRIFT_TERMS - 1; i-- > 0;) {
        sum = sum * nanoampere + c[i];
    }
    return sum;
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct sonos *p = params;
    struct spread fresh = state_at(p, 0).spread;
    float per_S = (float)(p->read_V.value / NANOAMPERE), to_S = (float)(NANOAMPERE / p->read_V.value);
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        float g_S = target_S[i] + spread_at(fresh, target_S[i] * per_S) * to_S * programmed_S[i];
        programmed_S[i] = g_S > 0.0f ? g_S : 0.0f;
    }
}

enum { RUN = 256 };

static void drift_run(const struct sonos *p, const struct cell_draws *d, const float *target_S,
                      const float *programmed_S, double age_s, float *drifted_S, size_t n) {
    struct state fresh = state_at(p, 0), now = state_at(p, age_s);
    float first[RUN], later[RUN];
    float per_S = (float)(p->read_V.value / NANOAMPERE), to_S = (float)(NANOAMPERE / p->read_V.value);
    fit_two_draws(d, first, later, n);
    for (size_t i = 0; i < n; i++) {
        float target = target_S[i] * per_S;
        float mean = (float)((double)target + shift_at(now.shift, (double)target));
        float current = mean + fit_grown_error(target, programmed_S[i] * per_S, spread_at(fresh.spread, target),
                                               spread_at(now.spread, mean), first[i], later[i]);
        drifted_S[i] = (current > 0.0f ? current : 0.0f) * to_S;
    }
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    if (!(age_s > 0)) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    for (size_t done = 0; done < n; done += RUN) {
        struct cell_draws here = {d->seed, d->where, d->first + done};
        drift_run(params, &here, target_S + done, programmed_S + done, age_s, drifted_S + done,
                  n - done < RUN ? n - done : RUN);
    }
}

static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)target_S;
    (void)programmed_S;
    (void)age_s;
    const struct sonos *p = params;
    struct spread noise = {(float)(p->read_A.values[0] / NANOAMPERE), (float)(NANOAMPERE / p->read_A.values[1])};
    float per_S = (float)(p->read_V.value / NANOAMPERE), to_S = (float)(NANOAMPERE / p->read_V.value);
    for (size_t i = 0; i < n; i++) {
        sd_S[i] = spread_at(noise, drifted_S[i] * per_S) * to_S;
    }
}

static enum status check(const void *params, struct error *e) {
    static const char *const drifts[] = {"drift_1d_nA", "drift_2d_nA", "drift_3d_nA", "drift_4d_nA", "drift_5d_nA"};
    const struct sonos *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    for (size_t i = 0; i < DAYS - 1; i++) {
        TRY(fit_check_count(drifts[i], &p->drift_A[i], DRIFT_TERMS, DRIFT_TERMS, e));
    }
    TRY(fit_check_count("spread_nA", &p->spread_A[0], DAYS, DAYS, e));
    TRY(fit_check_count("spread_scale_nA", &p->spread_A[1], DAYS, DAYS, e));
    TRY(fit_check_count("read_noise_nA", &p->read_A, 2, 2, e));
    double current_A = p->g_max_S.value * p->read_V.value;
    if (current_A > p->largest_A.value * (1 + 1e-9)) {
        return error_set(e, ERR_USAGE, "g_max_uS x read_V = %g nA is beyond largest_nA = %g (allowed: up to it)",
                         current_A / NANOAMPERE, p->largest_A.value / NANOAMPERE);
    }
    return OK;
}

const struct cell_model cell_sonos = {
    .name = "sonos",
    .about = "charge-trap flash, 40 nm, read below threshold",
    .source = "Agrawal et al., IEDM 2022, figures 10 and 11; fits of CrossSim 3",
    .status = "tested against the published formula; uncalibrated: no samples of the source, drain voltage assumed",
    .params = PARAM_TABLE("cell sonos", rows),
    .params_bytes = sizeof(struct sonos),
    .common = common,
    .program = program,
    .check = check,
    .drift = drift,
    .read_sd = read_sd,
};
