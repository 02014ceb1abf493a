/* A cell from tables of measured statistics: what `mho device fit` writes, or what a laboratory types in.
 *
 * The grid g_k = target_uS (ascending, 2 to 64 points, from g_min to g_max or beyond) carries, at every point, the
 * statistics of devices programmed to it. Between the points they are linear, or the natural cubic spline; a standard
 * deviation that a spline would take below 0 is 0. With xi standard normal numbers, each from its own stream:
 *   programming  g_prog = max(0, m(g_T) + s(g_T) xi),      m = programmed_mean_uS, s = programmed_sd_uS
 *   drift        g_d = g_prog ((age + t0) / t0)^-nu,       nu = drift_mean(g_T) + drift_sd(g_T) xi, of either sign
 *   read         sd = |g_d| q(g_T) f(age) / f(0),          q = read_noise: relative sd of one read at age 0
 *                f(age) = sqrt(ln((age + t0 + t_read) / (2 t_read))): 1/f noise; t_read_s = 0: f = 1, no growth
 * q is looked up at the target, not at the programmed value: the tables are of devices sorted by target.
 *
 * The mean and sd of programmed conductances that were limited at 0 are not those of the normal curve below them: near
 * g = 0 the table should hold those of the normal curve.
 * Validity: that of the data. Not modelled: shapes other than the normal; correlation of drift and programming error.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/fits.h"
#include "devices/models.h"

struct measured {
    struct constant g_max_S, g_min_S, t0_s, t_read_s;
    double max_age_s;
    int levels, interpolation;
    struct param_numbers target_S, programmed_mean_S, programmed_sd_S, drift_mean, drift_sd, read_noise;
};

enum { INTERPOLATE_LINEAR, INTERPOLATE_CUBIC };
static const char *const interpolations[] = {"linear", "cubic", NULL};

#define AT(member) offsetof(struct measured, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-6, 1e6, NULL, "largest target conductance", AT(g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "smallest target conductance", AT(g_min_S), NULL},
    {"levels", PARAM_INT, "", 0, 65536, "0", "distinct targets, equally spaced; 0: any", AT(levels), NULL},
    {"t0_s", PARAM_CONSTANT, "s", 1e-6, 1e6, NULL, "drift counts from this time after the write", AT(t0_s), NULL},
    {"t_read_s", PARAM_CONSTANT, "s", 0, 1e3, NULL, "read pulse of the read-noise data; 0: no growth with age",
     AT(t_read_s), NULL},
    {"max_age_s", PARAM_NUMBER, "s", 0, 1e12, "3.1536e9",
     "longest age that is allowed (100 years: the power law has no end of its own)", AT(max_age_s), NULL},
    {"interpolation", PARAM_CHOICE, "", 0, 0, "linear", "between the points of the grid", AT(interpolation),
     interpolations},
    {"target_uS", PARAM_NUMBERS, "uS", 0, 1e6, NULL, "the grid: target conductances, ascending", AT(target_S), NULL},
    {"programmed_mean_uS", PARAM_NUMBERS, "uS", -1e6, 1e6, NULL, "mean after programming, at each point",
     AT(programmed_mean_S), NULL},
    {"programmed_sd_uS", PARAM_NUMBERS, "uS", 0, 1e6, NULL, "standard deviation after programming, at each point",
     AT(programmed_sd_S), NULL},
    {"drift_mean", PARAM_NUMBERS, "", -10, 10, NULL, "mean drift exponent, at each point", AT(drift_mean), NULL},
    {"drift_sd", PARAM_NUMBERS, "", 0, 10, NULL, "standard deviation of the drift exponent over devices",
     AT(drift_sd), NULL},
    {"read_noise", PARAM_NUMBERS, "", 0, 10, NULL, "relative standard deviation of one read at age 0, at each point",
     AT(read_noise), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct measured *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value,
                                .g_min_S = p->g_min_S.value,
                                .t0_s = p->t0_s.value,
                                .max_age_s = p->max_age_s,
                                .read_s = p->t_read_s.value,
                                .levels = p->levels};
}

enum { RUN = 256 };

static struct fit_curve curve_of(const struct measured *p, const struct param_numbers *y) {
    return fit_curve_make(&p->target_S, y, p->interpolation == INTERPOLATE_CUBIC);
}

/* out[i] = mean(g_T) + max(0, sd(g_T)) out[i] */
static void draw(const struct measured *p, const struct param_numbers *mean, const struct param_numbers *sd,
                 const float *target_S, float *out, size_t n) {
    struct fit_curve mean_curve = curve_of(p, mean), sd_curve = curve_of(p, sd);
    for (size_t done = 0; done < n; done += RUN) {
        float m[RUN], s[RUN];
        size_t now = n - done < RUN ? n - done : RUN;
        fit_curve_values(&mean_curve, target_S + done, m, now);
        fit_curve_values(&sd_curve, target_S + done, s, now);
        for (size_t i = 0; i < now; i++) {
            out[done + i] = m[i] + (s[i] > 0.0f ? s[i] : 0.0f) * out[done + i];
        }
    }
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct measured *p = params;
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    draw(p, &p->programmed_mean_S, &p->programmed_sd_S, target_S, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        programmed_S[i] = programmed_S[i] > 0.0f ? programmed_S[i] : 0.0f;
    }
}

static void drift_exponent(const void *params, const struct cell_draws *d, const float *target_S, float *nu, size_t n) {
    const struct measured *p = params;
    random_gaussian_fill(d->seed, random_stream(RANDOM_DRIFT, d->where), d->first, nu, n);
    draw(p, &p->drift_mean, &p->drift_sd, target_S, nu, n);
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    const struct measured *p = params;
    if (!(age_s > 0)) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    drift_exponent(params, d, target_S, drifted_S, n);
    fit_power_law(drifted_S, p->t0_s.value, age_s, programmed_S, drifted_S, n);
}

static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)programmed_S;
    const struct measured *p = params;
    double t0_s = p->t0_s.value, t_read_s = p->t_read_s.value;
    float growth =
        t_read_s > 0 ? (float)(fit_one_over_f(age_s, t0_s, t_read_s) / fit_one_over_f(0, t0_s, t_read_s)) : 1.0f;
    struct fit_curve relative = curve_of(p, &p->read_noise);
    fit_curve_values(&relative, target_S, sd_S, n);
    for (size_t i = 0; i < n; i++) {
        sd_S[i] = fabsf(drifted_S[i]) * (sd_S[i] > 0.0f ? sd_S[i] : 0.0f) * growth;
    }
}

/* A rounding of the conversion to siemens may part two numbers that are equal in the file. */
#define ROUNDING 1e-9

static enum status check_grid(const struct measured *p, struct error *e) {
    const double *g = p->target_S.values;
    TRY(fit_check_count("target_uS", &p->target_S, 2, FIT_GRID_MOST, e));
    TRY(fit_check_ascending("target_uS", &p->target_S, "uS", e));
    double first_S = g[0], last_S = g[p->target_S.count - 1];
    if (first_S > p->g_min_S.value * (1 + ROUNDING) || last_S < p->g_max_S.value * (1 - ROUNDING)) {
        return error_set(e, ERR_USAGE,
                         "target_uS goes from %g to %g uS, but g_min_uS to g_max_uS is %g to %g (allowed: a grid that "
                         "covers the window: nothing is extrapolated)",
                         1e6 * first_S, 1e6 * last_S, 1e6 * p->g_min_S.value, 1e6 * p->g_max_S.value);
    }
    return OK;
}

static enum status check(const void *params, struct error *e) {
    const struct measured *p = params;
    TRY(fit_check_window(&p->g_min_S, &p->g_max_S, e));
    TRY(check_grid(p, e));
    TRY(fit_check_table("programmed_mean_uS", &p->programmed_mean_S, "target_uS", &p->target_S, e));
    TRY(fit_check_table("programmed_sd_uS", &p->programmed_sd_S, "target_uS", &p->target_S, e));
    TRY(fit_check_table("drift_mean", &p->drift_mean, "target_uS", &p->target_S, e));
    TRY(fit_check_table("drift_sd", &p->drift_sd, "target_uS", &p->target_S, e));
    TRY(fit_check_table("read_noise", &p->read_noise, "target_uS", &p->target_S, e));
    TRY(fit_check_levels(p->levels, e));
    if (p->t_read_s.value > 0 && !(p->t_read_s.value < p->t0_s.value)) {
        return error_set(e, ERR_USAGE, "t_read_s = %g is not below t0_s = %g (allowed: shorter than t0, or 0)",
                         p->t_read_s.value, p->t0_s.value);
    }
    return OK;
}

const struct cell_model cell_measured = {
    .name = "measured",
    .about = "tables of measured statistics over a grid of target conductances",
    .source = "the part file; mho device fit writes one from laboratory data",
    .status = "validated against the tables of its part and, for the part in configs/parts, against pcm_like",
    .params = PARAM_TABLE("cell measured", rows),
    .params_bytes = sizeof(struct measured),
    .common = common,
    .program = program,
    .check = check,
    .drift = drift,
    .drift_exponent = drift_exponent,
    .read_sd = read_sd,
};
