/* A cell of no technology in particular: for sweeps of one property at a time, and for devices of which one knows a few
 * numbers only.
 *
 * With r = g / g_max, p = 0 (independent of the conductance), 1 (proportional) or -1 (inverse):
 *   programming  mean g_T, sd = programming_sd g_max r^p; normal, uniform (g_T +- sqrt 3 sd) or log-normal with that
 *                mean and sd; never below 0
 *   drift        nu = |drift_mean + drift_sd xi|, one per device for life
 *                power_law    g_d = g_prog ((age + t0) / t0)^-nu
 *                logarithmic  g_d = g_prog max(0, 1 - nu ln((age + t0) / t0))
 *   read         sd = read_sd g_max r_d^p f, normal; f = sqrt(ln((age + t0 + t_read) / (2 t_read))): 1/f noise of
 *                a read pulse t_read; t_read_s = 0: f = 1, the same at every age
 *   window       g_min = g_max / on_off_ratio (0: cells that are off conduct nothing); `levels` targets, equally spaced
 * An inverse error of a device at 0 is 0. The laws are those of CrossSim's generic devices (whose uniform magnitude is
 * the full width, sqrt 12 sd) and of aihwkit's state-independent noise model, whose constants the part carries.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/fits.h"
#include "devices/models.h"
#include "devices/vector_math.h"

struct generic {
    struct constant g_max_S, on_off_ratio, programming_sd, drift_mean, drift_sd, t0_s, read_sd, t_read_s;
    double max_age_s;
    int levels, distribution, programming_error, drift_law, read_error;
};

enum { NORMAL, UNIFORM, LOG_NORMAL };
enum { INDEPENDENT, PROPORTIONAL, INVERSE };
enum { NO_DRIFT, POWER_LAW, LOGARITHMIC };
static const char *const distributions[] = {"normal", "uniform", "log_normal", NULL};
static const char *const errors[] = {"independent", "proportional", "inverse", NULL};
static const char *const laws[] = {"none", "power_law", "logarithmic", NULL};

#define AT(member) offsetof(struct generic, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-6, 1e6, NULL, "largest target conductance", AT(g_max_S), NULL},
    {"on_off_ratio", PARAM_CONSTANT, "", 0, 1e15, NULL, "g_max / g_min; 0: g_min = 0", AT(on_off_ratio), NULL},
    {"levels", PARAM_INT, "", 0, 65536, NULL, "distinct targets, equally spaced; 0: any", AT(levels), NULL},
    {"programming_distribution", PARAM_CHOICE, "", 0, 0, NULL, "of the programmed conductance", AT(distribution),
     distributions},
    {"programming_error", PARAM_CHOICE, "", 0, 0, NULL, "how its sd depends on the target", AT(programming_error),
     errors},
    {"programming_sd", PARAM_CONSTANT, "", 0, 10, NULL, "sd at g_max, per g_max", AT(programming_sd), NULL},
    {"drift_law", PARAM_CHOICE, "", 0, 0, NULL, "how the conductance falls", AT(drift_law), laws},
    {"drift_mean", PARAM_CONSTANT, "", -10, 10, NULL, "mean of the drift exponent, or of the loss per ln t",
     AT(drift_mean), NULL},
    {"drift_sd", PARAM_CONSTANT, "", 0, 10, NULL, "its standard deviation over devices", AT(drift_sd), NULL},
    {"t0_s", PARAM_CONSTANT, "s", 1e-6, 1e6, NULL, "drift counts from this time after the write", AT(t0_s), NULL},
    {"read_error", PARAM_CHOICE, "", 0, 0, NULL, "how the sd of one read depends on the conductance", AT(read_error),
     errors},
    {"read_sd", PARAM_CONSTANT, "", 0, 10, NULL, "sd of one read at g_max, per g_max, before f", AT(read_sd), NULL},
    {"t_read_s", PARAM_CONSTANT, "s", 0, 1e3, NULL, "read pulse of the 1/f noise; 0: no growth with age", AT(t_read_s),
     NULL},
    {"max_age_s", PARAM_NUMBER, "s", 0, 1e12, "3.1536e9",
     "longest age that is allowed (100 years: the laws have no end of their own)", AT(max_age_s), NULL},
};

static double g_min_S(const struct generic *p) {
    return p->on_off_ratio.value > 0 ? p->g_max_S.value / p->on_off_ratio.value : 0;
}

static void common(const void *params, struct cell_common *out) {
    const struct generic *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value,
                                .g_min_S = g_min_S(p),
                                .t0_s = p->t0_s.value,
                                .max_age_s = p->max_age_s,
                                .read_s = p->t_read_s.value,
                                .levels = p->levels};
}

/* sd_S[i] = sd_at_max_S (g / g_max)^p of g >= 0. */
static void error_sd(int error, double sd_at_max_S, double g_max_S, const float *g_S, float *sd_S, size_t n) {
    float sd = (float)sd_at_max_S, relative = (float)(sd_at_max_S / g_max_S), product = (float)(sd_at_max_S * g_max_S);
    for (size_t i = 0; i < n; i++) {
        sd_S[i] = error == INDEPENDENT ? sd : error == PROPORTIONAL ? relative * g_S[i] : 0.0f;
    }
    for (size_t i = 0; error == INVERSE && i < n; i++) {
        sd_S[i] = g_S[i] > 0.0f ? product / g_S[i] : 0.0f;
    }
}

/* Numbers of mean 0 and variance 1. */
static void draw(int distribution, const struct cell_draws *d, float *xi, size_t n) {
    uint64_t stream = random_stream(RANDOM_PROGRAMMING, d->where);
    if (distribution != UNIFORM) {
        random_gaussian_fill(d->seed, stream, d->first, xi, n);
        return;
    }
    random_uniform_fill(d->seed, stream, d->first, xi, n);
    for (size_t i = 0; i < n; i++) {
        xi[i] = (xi[i] - 0.5f) * 3.46410162f; /* sqrt 12 */
    }
}

/* ln g is normal with variance s^2 = ln(1 + (sd / mean)^2) and mean ln(mean) - s^2 / 2. */
static float log_normal(float mean, float sd, float xi) {
    float ratio = sd / mean;
    float variance = vector_log(1.0f + ratio * ratio);
    return mean * vector_exp(sqrtf(variance > 0.0f ? variance : 0.0f) * xi - 0.5f * variance);
}

enum { RUN = 256 };

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct generic *p = params;
    double sd_at_max_S = p->programming_sd.value * p->g_max_S.value;
    draw(p->distribution, d, programmed_S, n);
    for (size_t done = 0; done < n; done += RUN) {
        float sd_S[RUN];
        size_t now = n - done < RUN ? n - done : RUN;
        error_sd(p->programming_error, sd_at_max_S, p->g_max_S.value, target_S + done, sd_S, now);
        for (size_t i = 0; i < now; i++) {
            float target = target_S[done + i], xi = programmed_S[done + i];
            float g_S = target + sd_S[i] * xi;
            if (p->distribution == LOG_NORMAL) {
                g_S = target > 0.0f ? log_normal(target, sd_S[i], xi) : 0.0f;
            }
            programmed_S[done + i] = g_S > 0.0f ? g_S : 0.0f;
        }
    }
}

static void drift_exponent(const void *params, const struct cell_draws *d, const float *target_S, float *nu, size_t n) {
    (void)target_S;
    const struct generic *p = params;
    bool drifts = p->drift_law != NO_DRIFT;
    float mean = drifts ? (float)p->drift_mean.value : 0.0f, sd = drifts ? (float)p->drift_sd.value : 0.0f;
    random_gaussian_fill(d->seed, random_stream(RANDOM_DRIFT, d->where), d->first, nu, n);
    for (size_t i = 0; i < n; i++) {
        nu[i] = fabsf(mean + sd * nu[i]);
    }
}

static void drift(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n) {
    const struct generic *p = params;
    if (!(age_s > 0) || p->drift_law == NO_DRIFT) {
        memcpy(drifted_S, programmed_S, n * sizeof *drifted_S);
        return;
    }
    drift_exponent(params, d, target_S, drifted_S, n);
    if (p->drift_law == POWER_LAW) {
        fit_power_law(drifted_S, p->t0_s.value, age_s, programmed_S, drifted_S, n);
        return;
    }
    float age_log = (float)log1p(age_s / p->t0_s.value);
    for (size_t i = 0; i < n; i++) {
        float kept = 1.0f - drifted_S[i] * age_log;
        drifted_S[i] = programmed_S[i] * (kept > 0.0f ? kept : 0.0f);
    }
}

static void read_sd(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n) {
    (void)target_S;
    (void)programmed_S;
    const struct generic *p = params;
    double t_read_s = p->t_read_s.value;
    double growth = t_read_s > 0 ? fit_one_over_f(age_s, p->t0_s.value, t_read_s) : 1;
    error_sd(p->read_error, p->read_sd.value * p->g_max_S.value * growth, p->g_max_S.value, drifted_S, sd_S, n);
}

static enum status check(const void *params, struct error *e) {
    const struct generic *p = params;
    double ratio = p->on_off_ratio.value;
    if (ratio > 0 && !(ratio > 1)) {
        return error_set(e, ERR_USAGE, "on_off_ratio = %g leaves no window (allowed: above 1, or 0 for g_min = 0)",
                         ratio);
    }
    bool inverse = p->programming_error == INVERSE || p->read_error == INVERSE;
    if (inverse && !(ratio > 0)) {
        return error_set(e, ERR_USAGE, "%s = inverse has no bound at on_off_ratio = 0 (allowed: on_off_ratio above 1)",
                         p->programming_error == INVERSE ? "programming_error" : "read_error");
    }
    if (p->t_read_s.value > 0 && !(p->t_read_s.value < p->t0_s.value)) {
        return error_set(e, ERR_USAGE, "t_read_s = %g is not below t0_s = %g (allowed: shorter than t0, or 0)",
                         p->t_read_s.value, p->t0_s.value);
    }
    return fit_check_levels(p->levels, e);
}

const struct cell_model cell_generic = {
    .name = "generic",
    .about = "no technology in particular: distribution, error law, drift law, levels and on/off ratio to choose",
    .source = "definition; laws of CrossSim's generic devices and of aihwkit StateIndependentNoiseModel",
    .status = "validated against aihwkit 1.2.0 (StateIndependentNoiseModel) and the formulas of its other laws",
    .params = PARAM_TABLE("cell generic", rows),
    .params_bytes = sizeof(struct generic),
    .common = common,
    .program = program,
    .check = check,
    .drift = drift,
    .drift_exponent = drift_exponent,
    .read_sd = read_sd,
};
