/* The statistics of every cell: against aihwkit's own noise models (golden/aihwkit_noise.json), and against the exact
 * distribution that the published equations give (mean, standard deviation and a Kolmogorov-Smirnov test).
 *
 * Bounds, at fixed seeds: a mean or standard deviation may differ by 4 standard errors (of both sides together); the
 * largest distance of the distributions by 1.95 / sqrt(n), which chance exceeds once in a thousand.
 */
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_interp.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_sort_float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "devices/device.h"
#include "devices/fits.h"
#include "tests/distributions.h"

enum { SAMPLES = 1 << 16 };

static const struct cell_conditions ALL = {.programming_noise = true, .drift = true, .read_noise = true};
static const struct cell_conditions PROGRAMMED = {.programming_noise = true};
static const struct cell_conditions DRIFTED = {.programming_noise = true, .drift = true};
static const struct cell_conditions FROM_TARGET = {.drift = true, .read_noise = true};

/* SAMPLES devices of one target as read at age_s, in microsiemens (static buffer). */
static float *devices_uS(const struct cell *c, struct cell_conditions effects, uint64_t seed, double target_uS,
                         double age_s) {
    static float read_uS[SAMPLES];
    read_devices_uS(c, effects, seed, target_uS, age_s, read_uS, SAMPLES);
    return read_uS;
}

/* ---- statistics against aihwkit --------------------------------------------------------------------- */

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    assert_non_null(v);
    return json_number_value(v);
}

/* Rounding: of the constants in single precision and of the golden file (7 digits). */
static void assert_moments(const char *what, double r, struct moments m, const json_t *golden) {
    double mean = number(golden, "mean"), sd = number(golden, "sd");
    double bound_mean = 4 * hypot(m.se_mean, number(golden, "se_mean")) + 2e-6 * fabs(mean);
    double bound_sd = 4 * hypot(m.se_sd, number(golden, "se_sd")) + 2e-6 * sd;
    if (!(fabs(m.mean - mean) <= bound_mean)) {
        fail_msg("%s r=%g mean %.7g, aihwkit %.7g, bound %.2g", what, r, m.mean, mean, bound_mean);
    }
    if (!(fabs(m.sd - sd) <= bound_sd)) {
        fail_msg("%s r=%g sd %.7g, aihwkit %.7g, bound %.2g", what, r, m.sd, sd, bound_sd);
    }
}

struct comparison {
    const char *cell, *golden;
    const char *overrides[2];
    size_t ages;
    bool forgets; /* aihwkit's g(t) does not depend on g_prog: nothing to compare from_target with */
};

static void compare_exponents(const struct cell *c, uint64_t seed, const json_t *row) {
    static float target_S[SAMPLES], nu[SAMPLES];
    for (size_t i = 0; i < SAMPLES; i++) {
        target_S[i] = (float)(number(row, "g_target_uS") * 1e-6);
    }
    cell_model_of(c)->drift_exponent(cell_params(c), &(struct cell_draws){seed, 1, 0}, target_S, nu, SAMPLES);
    assert_moments("nu", number(row, "r"), moments_of(nu, SAMPLES), json_object_get(row, "nu"));
}

static void compare_row(const struct cell *c, const struct comparison *x, uint64_t seed, const json_t *row) {
    double r = number(row, "r"), target_uS = number(row, "g_target_uS");
    assert_moments("programmed", r, moments_of(devices_uS(c, PROGRAMMED, seed, target_uS, 0), SAMPLES),
                   json_object_get(row, "prog"));
    assert_true((cell_model_of(c)->drift_exponent != NULL) == (json_object_get(row, "nu") != NULL));
    if (cell_model_of(c)->drift_exponent) {
        compare_exponents(c, seed, row);
    }
    const char *label;
    json_t *t;
    size_t ages = 0;
    json_object_foreach(json_object_get(row, "t"), label, t) {
        double age_s = number(t, "t_inference_s");
        assert_moments(label, r, moments_of(devices_uS(c, ALL, seed, target_uS, age_s), SAMPLES), t);
        if (!x->forgets) {
            assert_moments("from target", r, moments_of(devices_uS(c, FROM_TARGET, seed, target_uS, age_s), SAMPLES),
                           json_object_get(t, "from_target"));
        }
        ages++;
    }
    assert_int_equal(ages, x->ages);
}

static void compare_model(const struct comparison *x, uint64_t seed) {
    struct arena *a = arena_create();
    const struct cell *c = part_with(a, x->cell, x->overrides);
    json_t *file = json_load_file(golden_path("aihwkit_noise.json"), 0, NULL);
    assert_non_null(file);
    const json_t *models = json_object_get(file, "models");
    size_t compared = 0;
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i);
        if (strcmp(json_string_value(json_object_get(m, "name")), x->golden) == 0) {
            assert_near(cell_common_of(c).g_max_S * 1e6, number(m, "g_max_uS"), 1e-9);
            assert_near(cell_common_of(c).g_min_S * 1e6, number(m, "g_min_uS"), 1e-9);
            if (json_object_get(m, "t_0")) {
                assert_near(cell_common_of(c).t0_s, number(m, "t_0"), 0);
            }
            const json_t *rows = json_object_get(m, "rows");
            for (size_t k = 0; k < json_array_size(rows); k++, compared++) {
                compare_row(c, x, seed + k, json_array_get(rows, k));
            }
        }
    }
    assert_int_equal(compared, 8);
    json_decref(file);
    arena_destroy(a);
}

static void phase_change_is_aihwkits(void **state) {
    (void)state;
    compare_model(&(struct comparison){"pcm_like", "PCMLikeNoiseModel", {NULL}, 6, false}, 11);
    compare_model(&(struct comparison){"pcm_hermes_1dev", "HermesNoiseModel_1", {NULL}, 6, false}, 11);
    compare_model(&(struct comparison){"pcm_hermes_2dev", "HermesNoiseModel_2", {NULL}, 6, false}, 11);
}

static void generic_is_aihwkits_state_independent(void **state) {
    (void)state;
    compare_model(&(struct comparison){"generic", "StateIndependentNoiseModel", {NULL}, 6, false}, 11);
}

static void wan_is_aihwkits(void **state) {
    (void)state;
    compare_model(&(struct comparison){"reram_wan", "ReRamWan2022NoiseModel_gmax40", {NULL}, 3, true}, 11);
    compare_model(
        &(struct comparison){"reram_wan", "ReRamWan2022NoiseModel_gmax25", {"g_max_uS.value=25"}, 3, true}, 11);
}

static void cmo_is_aihwkits(void **state) {
    (void)state;
    compare_model(&(struct comparison){"reram_cmo", "ReRamCMONoiseModel_accept2", {NULL}, 7, false}, 11);
    compare_model(&(struct comparison){"reram_cmo_02", "ReRamCMONoiseModel_default", {NULL}, 7, false}, 11);
}

/* ---- exact distributions --------------------------------------------------------------------------------- */

static double limited(double x, double low, double high) { return fmin(fmax(x, low), high); }

/* c0 + c1 x + ... */
static double polynomial(const double *c, size_t count, double x) {
    double y = 0;
    while (count-- > 0) {
        y = y * x + c[count];
    }
    return y;
}

/* ---- power-law drift: the phase-change cells, generic, measured ------------------------------------------------ */

/* The equations of a cell with r = g / g_max, conductances in microsiemens. */
struct law {
    const char *cell;
    double g_max, t0_s, t_read_s;
    double (*sd)(double r);
    double (*exponent_mean)(double r);
    double (*exponent_sd)(double r);
    double (*q)(double r_target, double r_programmed); /* relative sd of one read per sqrt(ln(...)) */
};

static double pcm_sd(double r) { return polynomial((double[]){0.26348, 1.9650, -1.1731}, 3, r); }
static double pcm_mean(double r) { return limited(-0.0155 * log(fmax(r, 1e-7)) + 0.0244, 0.049, 0.1); }
static double pcm_exponent_sd(double r) { return limited(-0.0125 * log(fmax(r, 1e-7)) - 0.0059, 0.008, 0.045); }
static double pcm_q(double r_target, double r) {
    (void)r_target;
    return fmin(0.0088 / fmax(pow(r, 0.65), 1e-3), 0.2);
}

static double hermes_mean(double r) {
    return r < .0945 ? limited(-.0387 * log(fmax(r, 1e-7)) - .0182, .072, .13) : -.0436 * r * r - .0126 * r + .0736;
}
static double hermes1_sd(double r) {
    return polynomial((double[]){.15781817, 2.32443916, -2.16310839, .68841818}, 4, r);
}
static double hermes1_exponent_sd(double r) {
    return r < .3039 ? limited(-.0120 * log(fmax(r, 1e-7)) - .0023, .0124, .04) : -.0165 * r * r + .0116 * r + .0104;
}
static double hermes1_q(double r_target, double r) {
    (void)r_target;
    return r < .1591 ? limited(-.0078 * log(fmax(r, 1e-7)) + .0038, .0179, .04)
                     : .0664 * r * r * r - .1352 * r * r + .0768 * r + .0088;
}
static double hermes2_sd(double r) {
    return polynomial((double[]){.16603222, 4.71806468, -8.48101252, 4.68961419}, 4, r);
}
static double hermes2_exponent_sd(double r) {
    return r < .3055 ? limited(-.0117 * log(fmax(r, 1e-7)) - .0057, .0091, .04) : -.0118 * r * r + .0093 * r + .0073;
}
static double hermes2_q(double r_target, double r) {
    (void)r_target;
    return r < .16 ? limited(-.0117 * log(fmax(r, 1e-7)) - .0069, .015, .04)
                   : .0069 * r * r * r - .0280 * r * r + .0211 * r + .0123;
}

static double generic_sd(double r) {
    (void)r;
    return 0.2;
}
static double generic_mean(double r) {
    (void)r;
    return 0.1;
}
static double generic_exponent_sd(double r) {
    (void)r;
    return 0.05;
}
static double generic_q(double r_target, double r) {
    (void)r_target;
    (void)r;
    return 1 / 25.0;
}
/* The tables of part `measured` hold pcm_like's values at these targets; noise is looked up at the target. */
static double measured_q(double r_target, double r) {
    (void)r;
    return pcm_q(0, r_target);
}

static const struct law laws[] = {
    {"pcm_like", 25, 20, 250e-9, pcm_sd, pcm_mean, pcm_exponent_sd, pcm_q},
    {"pcm_hermes_1dev", 10.35, 200, 512e-9, hermes1_sd, hermes_mean, hermes1_exponent_sd, hermes1_q},
    {"pcm_hermes_2dev", 20.7, 300, 512e-9, hermes2_sd, hermes_mean, hermes2_exponent_sd, hermes2_q},
    {"generic", 25, 20, 250e-9, generic_sd, generic_mean, generic_exponent_sd, generic_q},
    {"measured", 25, 20, 250e-9, pcm_sd, pcm_mean, pcm_exponent_sd, measured_q},
};

static double exponent(const struct law *l, double r, double z) {
    return fabs(l->exponent_mean(r) + l->exponent_sd(r) * z);
}

static void mix_drifted(const struct law *l, double r, double age_s, struct mixture *m) {
    double age_log = log((age_s + l->t0_s) / l->t0_s);
    m->count = 0;
    for (int k = 0; k < FINE; k++) {
        double kept = exp(-exponent(l, r, node(k, FINE)) * age_log);
        mixture_add(m, node_weight(k, FINE), r * l->g_max * kept, l->sd(r) * kept);
    }
}

/* Devices that were meant to be off: half of them sit on the limit 0 and stay there, the others are half a normal
 * distribution, in steps of z fine enough for a read noise of a few per cent (midpoints). */
static void mix_read_of_zero(const struct law *l, double age_s, struct mixture *m) {
    enum { DEVICES = 176, EXPONENTS = 21 };
    double age_log = log((age_s + l->t0_s) / l->t0_s);
    double factor = sqrt(log((age_s + l->t0_s + l->t_read_s) / (2 * l->t_read_s)));
    m->count = 0;
    mixture_add(m, 0.5, 0, 0);
    for (int i = 0; i < DEVICES; i++) {
        double z = 6 * (i + 0.5) / DEVICES, programmed = l->sd(0) * z;
        for (int k = 0; k < EXPONENTS; k++) {
            double g = programmed * exp(-exponent(l, 0, node(k, EXPONENTS)) * age_log);
            double sd = g * l->q(0, programmed / l->g_max) * factor;
            mixture_add(m, 6.0 / DEVICES * gsl_ran_ugaussian_pdf(z) * node_weight(k, EXPONENTS), g, sd);
        }
    }
}

static void mix_read(const struct law *l, double r, double age_s, struct mixture *m) {
    double age_log = log((age_s + l->t0_s) / l->t0_s);
    double factor = sqrt(log((age_s + l->t0_s + l->t_read_s) / (2 * l->t_read_s)));
    m->count = 0;
    for (int i = 0; i < NODES; i++) {
        double programmed = fmax(0, r * l->g_max + l->sd(r) * node(i, NODES));
        for (int k = 0; k < NODES; k++) {
            double g = programmed * exp(-exponent(l, r, node(k, NODES)) * age_log);
            double sd = g * l->q(r, programmed / l->g_max) * factor;
            mixture_add(m, node_weight(i, NODES) * node_weight(k, NODES), g, sd);
        }
    }
}

/* Rounding of the tables of part `measured` (five digits) is far below 4 standard errors. */
static void power_law_cells_follow_their_equations(void **state) {
    (void)state;
    static struct mixture m;
    static const double at[] = {0, 0.1, 0.25, 0.75, 1}; /* points of the grid of `measured` */
    struct arena *a = arena_create();
    for (size_t i = 0; i < sizeof laws / sizeof laws[0]; i++) {
        const struct law *l = &laws[i];
        const struct cell *c = part(a, l->cell);
        for (size_t k = 0; k < sizeof at / sizeof at[0]; k++) {
            double r = at[k], target_uS = r * l->g_max;
            assert_normal(l->cell, c, PROGRAMMED, target_uS, 0, target_uS, l->sd(r));
            mix_drifted(l, r, 2592000, &m);
            struct reference drifted = reference_of(&m, 0, INFINITY);
            assert_follows(l->cell, c, DRIFTED, target_uS, 2592000, &drifted);
            if (r > 0) {
                mix_read(l, r, 86400, &m);
            } else {
                mix_read_of_zero(l, 86400, &m);
            }
            struct reference read = reference_of(&m, 0, INFINITY);
            assert_follows(l->cell, c, ALL, target_uS, 86400, &read);
        }
    }
    arena_destroy(a);
}

/* The table of an independent implementation of pcm_like (facts, 2.8), with its digits: mean and sd of the programmed
 * conductance in microsiemens and of the exponent, relative sd of a read after 0, 1 h, 1 d and 1 month. */
static void pcm_like_has_the_published_table(void **state) {
    (void)state;
    static const double ages_s[] = {0, 3600, 86400, 2592000};
    static const struct {
        double r, mean_uS, sd_uS, nu, nu_sd, read[4], digit; /* the last one of `read`: the table rounds twice */
    } rows[] = {{0, .1051, .1538, .1004, .0441, {.837, .953, 1.017, 1.082}, 1e-3},
                {.01, .279, .239, .0963, .0439, {.735, .837, .893, .950}, 1e-3},
                {.05, 1.250, .359, .0711, .0310, {.258, .294, .314, .334}, 1e-3},
                {.10, 2.500, .448, .0602, .0227, {.165, .187, .200, .213}, 1e-3},
                {.25, 6.250, .681, .0490, .0114, {.0907, .1032, .1102, .1172}, 1e-4},
                {.50, 12.50, .952, .0490, .0080, {.0578, .0658, .0702, .0747}, 1e-4},
                {.75, 18.75, 1.077, .0490, .0080, {.0444, .0506, .0540, .0574}, 1e-4},
                {1.0, 25.00, 1.056, .0490, .0080, {.0368, .0419, .0448, .0476}, 1e-4}};
    static float target_S[SAMPLES], nu[SAMPLES];
    struct arena *a = arena_create();
    const struct cell *c = part(a, "pcm_like");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct moments m = moments_of(devices_uS(c, PROGRAMMED, 40 + i, 25 * rows[i].r, 0), SAMPLES);
        assert_near(m.mean, rows[i].mean_uS, 4 * m.se_mean + 5e-4);
        assert_near(m.sd, rows[i].sd_uS, 4 * m.se_sd + 5e-4);
        for (size_t k = 0; k < SAMPLES; k++) {
            target_S[k] = (float)(rows[i].r * 25e-6);
        }
        cell_model_of(c)->drift_exponent(cell_params(c), &(struct cell_draws){40 + i, 1, 0}, target_S, nu, SAMPLES);
        m = moments_of(nu, SAMPLES);
        assert_near(m.mean, rows[i].nu, 4 * m.se_mean + 5e-5);
        assert_near(m.sd, rows[i].nu_sd, 4 * m.se_sd + 5e-5);
        for (size_t k = 0; k < 4; k++) {
            float one_S = 1e-6f, sd_S;
            cell_model_of(c)->read_sd(cell_params(c), target_S, target_S, &one_S, ages_s[k], &sd_S, 1);
            assert_near(sd_S / one_S, rows[i].read[k], rows[i].digit);
        }
    }
    arena_destroy(a);
}

/* ---- the other cells ----------------------------------------------------------------------------------------- */

/* The pair statistics of pcm_afm: signed, not limited; 180 units = g_max. And the perfect cell. */
static void afm_is_normal_and_ideal_exact(void **state) {
    (void)state;
    static struct mixture m;
    static const double one[] = {2.5797410660159494, 0.22419685954327148, -0.00371581208142707, 2.939751381126213e-05},
                        two[] = {2.110295720240385, 0.2453487119885723, -0.003054993405157235, 1.2329755395573392e-05},
                        at[] = {-180, -60, -20, -1, 1, 20, 60, 180};
    struct arena *a = arena_create();
    const struct cell *afm = part(a, "pcm_afm"), *ideal = part(a, "ideal");
    double unit_uS = cell_common_of(afm).g_max_S * 1e6 / 180;
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        m.count = 0;
        mixture_add(&m, 1, at[i] * unit_uS, polynomial(fabs(at[i]) > 52.5 ? two : one, 4, fabs(at[i])) * unit_uS);
        struct reference r = reference_of(&m, -INFINITY, INFINITY);
        assert_follows("afm", afm, ALL, at[i] * unit_uS, 3600, &r);
    }
    float target_S[64], read_S[64];
    for (int i = 0; i < 64; i++) {
        target_S[i] = 25e-6f * (float)i / 63;
    }
    cell_realise(ideal, &ALL, &(struct cell_draws){1, 2, 3}, target_S, 1e9, read_S, 64);
    assert_memory_equal(target_S, read_S, sizeof target_S);
    arena_destroy(a);
}

static void joshi_and_milo_follow_their_fits(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *joshi = part(a, "pcm_joshi"), *milo = part(a, "reram_milo");
    static const double joshi_uS[] = {0, 1, 12.5, 25}, milo_uS[] = {50, 137.5, 225};
    for (size_t k = 0; k < 4; k++) {
        double g = joshi_uS[k];
        assert_normal("joshi", joshi, ALL, g, 3600, g, -0.00178767 * g * g + 0.07585724 * g + 0.28638599);
    }
    for (size_t k = 0; k < 3; k++) {
        double g = milo_uS[k];
        assert_normal("milo", milo, ALL, g, 3600, g, -0.009107 * g + 4.782321);
    }
    arena_destroy(a);
}

static double wan_sd(double r, double age_s) {
    static const double c[3][5] = {{.348, 16.030, -43.853, 45.393, -16.815},
                                   {.701, 22.086, -50.773, 47.095, -16.458},
                                   {.782, 20.274, -43.507, 37.062, -11.934}};
    static const double ages_s[] = {1, 86400, 172800};
    int k = age_s > 86400;
    double share = (log(age_s) - log(ages_s[k])) / (log(ages_s[k + 1]) - log(ages_s[k]));
    return (1 - share) * polynomial(c[k], 5, r) + share * polynomial(c[k + 1], 5, r);
}

/* At the published ages and between; below 1 s as at 1 s. */
static void wan_follows_its_fits(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = part(a, "reram_wan");
    static const double ages_s[] = {1, 60, 3600, 86400, 129600, 172800}, target_uS[] = {0, 2, 20, 40};
    for (size_t k = 0; k < 4; k++) {
        double r = target_uS[k] / 40;
        assert_normal("wan", c, ALL, target_uS[k], 0, target_uS[k], wan_sd(r, 1));
        for (size_t i = 0; i < 6; i++) {
            assert_normal("wan", c, ALL, target_uS[k], ages_s[i], target_uS[k], wan_sd(r, ages_s[i]));
        }
    }
    assert_near(cell_common_of(c).max_age_s, 172800, 0);
    arena_destroy(a);
}

/* One history: the error after a day is that of programming plus a part of its own, so their correlation is the ratio
 * of the spreads. 4 standard errors of a correlation. */
static void errors_that_grow_keep_the_error_of_programming(void **state) {
    (void)state;
    static float fresh[DRAWS], old[DRAWS];
    struct arena *a = arena_create();
    const struct {
        const char *cell;
        double target_uS, ratio;
    } cases[] = {{"reram_wan", 20, 2.0229375 / 3.912375}, /* sigma at r = 0.5 after 1 s and after 1 d */
                 /* A (1 - exp(-I / B)) at 800 nA, then at 800 - 24.92 nA after a day */
                 {"sonos", 8, (19.88665 * (1 - exp(-800 / 176.3115))) / (25.59102 * (1 - exp(-775.08 / 186.85544)))}};
    for (size_t k = 0; k < 2; k++) {
        const struct cell *c = part(a, cases[k].cell);
        read_devices_uS(c, PROGRAMMED, 3, cases[k].target_uS, 0, fresh, DRAWS);
        read_devices_uS(c, DRIFTED, 3, cases[k].target_uS, 86400, old, DRAWS);
        struct moments f = moments_of(fresh, DRAWS), o = moments_of(old, DRAWS);
        double both = 0;
        for (size_t i = 0; i < DRAWS; i++) {
            both += (fresh[i] - f.mean) * (old[i] - o.mean);
        }
        double correlation = both / DRAWS / f.sd / o.sd;
        assert_near(correlation, cases[k].ratio, 4 * (1 - cases[k].ratio * cases[k].ratio) / sqrt(DRAWS));
        /* without programming noise only the growth is left */
        read_devices_uS(c, (struct cell_conditions){.drift = true}, 3, cases[k].target_uS, 86400, old, DRAWS);
        struct moments grown = moments_of(old, DRAWS);
        assert_near(grown.sd, o.sd * sqrt(1 - cases[k].ratio * cases[k].ratio), 4 * hypot(grown.se_sd, o.se_sd));
    }
    arena_destroy(a);
}

/* Limits act after the read noise and not at age 0; an age below 1 s is 1 s. */
static void cmo_follows_its_equations(void **state) {
    (void)state;
    static struct mixture m;
    static const double target_uS[] = {9, 40, 88.199997}, ages_s[] = {1, 3600, 31536000};
    struct arena *a = arena_create();
    for (int accept2 = 0; accept2 < 2; accept2++) {
        const struct cell *c = part(a, accept2 ? "reram_cmo" : "reram_cmo_02");
        for (size_t i = 0; i < 3; i++) {
            double g = target_uS[i], sd = accept2 ? .0112185391 + .01129027418 * g : .00081107 + .00106879 * g;
            assert_normal("cmo", c, PROGRAMMED, g, 0, g, sd);
            assert_normal("cmo", c, ALL, g, 0, g, sd);
            for (size_t k = 0; k < 3; k++) {
                double l = log(ages_s[k]), shift = -0.08900206 * l, wide = hypot(sd, 0.04201137 * l + 0.41183342);
                assert_normal("cmo", c, DRIFTED, g, ages_s[k], g + shift, wide);
                m.count = 0;
                for (int n = 0; n < FINE; n++) {
                    double drifted = g + shift + wide * node(n, FINE);
                    double read = .0277316483 * fabs(log10(drifted)) * sqrt(log((ages_s[k] + 1e-6) / 2e-6));
                    mixture_add(&m, node_weight(n, FINE), drifted, read);
                }
                struct reference r = reference_of(&m, 9, 88.199997);
                assert_follows("cmo", c, ALL, g, ages_s[k], &r);
            }
        }
        float target_S[100], half_S[100], one_S[100];
        for (int i = 0; i < 100; i++) {
            target_S[i] = 40e-6f;
        }
        cell_realise(c, &DRIFTED, &(struct cell_draws){1, 2, 3}, target_S, 0.5, half_S, 100);
        cell_realise(c, &DRIFTED, &(struct cell_draws){1, 2, 3}, target_S, 1, one_S, 100);
        assert_memory_equal(half_S, one_S, sizeof half_S);
    }
    arena_destroy(a);
}

/* The published tables after 1, 2, 3, 4 and 5 days: shift of the mean, A and B of the spread (those of age 0 first). */
static const double sonos_shift[5][11] = {
    {6.83650e-01, 6.51250e-03, -4.03163e-04, 3.37944e-06, -1.87435e-08, 5.88902e-11, -1.07685e-13, 1.17751e-16,
     -7.60016e-20, 2.67255e-23, -3.94954e-27},
    {6.60925e-01, 8.60627e-03, -1.72936e-04, 7.44096e-07, -5.94866e-09, 2.36734e-11, -4.83740e-14, 5.56072e-17,
     -3.65397e-20, 1.28405e-23, -1.87450e-27},
    {1.15821e00, 1.96116e-02, -4.70807e-04, 3.67510e-06, -2.08786e-08, 6.59752e-11, -1.19499e-13, 1.28435e-16,
     -8.11574e-20, 2.78802e-23, -4.02057e-27},
    {8.72216e-01, 1.70926e-02, -2.23370e-04, 1.57526e-06, -1.32779e-08, 5.08256e-11, -1.01251e-13, 1.14633e-16,
     -7.46124e-20, 2.60559e-23, -3.78724e-27},
    {1.15294e00, 1.03149e-02, -6.05199e-05, 1.76086e-08, -6.46690e-09, 3.39044e-11, -7.53872e-14, 8.98185e-17,
     -6.00346e-20, 2.12615e-23, -3.11099e-27}};
static const double sonos_spread[6][2] = {{19.88665, 176.3115},  {25.59102, 186.85544}, {28.72753, 193.56834},
                                          {31.04318, 198.90332}, {33.76214, 204.77023}, {34.57909, 207.34309}};

static double sonos_mean(double current, double days) {
    double sum = current;
    for (int k = 1; k <= 5; k++) {
        sum += fmax(0, 1 - fabs(days - k)) * polynomial(sonos_shift[k - 1], 11, current);
    }
    return sum;
}

static double saturating(double a, double b, double current) { return a * (1 - exp(-current / b)); }

static double sonos_sd(double current, double days) {
    double a = 0, b = 0;
    for (int k = 0; k <= 5; k++) {
        a += fmax(0, 1 - fabs(days - k)) * sonos_spread[k][0];
        b += fmax(0, 1 - fabs(days - k)) * sonos_spread[k][1];
    }
    return saturating(a, b, current);
}

/* Targets in nA (100 per uS at 0.1 V). At the tables' ages and between; linear in time. */
static void sonos_follows_its_fits(void **state) {
    (void)state;
    static struct mixture m;
    static const double target_uS[] = {0.1, 1, 8, 15}, days[] = {0.25, 1.5, 2, 3.75, 5};
    struct arena *a = arena_create();
    const struct cell *c = part(a, "sonos");
    for (size_t i = 0; i < 4; i++) {
        double current = target_uS[i] * 100, mean = 0, sd = 0;
        assert_normal("sonos", c, PROGRAMMED, target_uS[i], 0, target_uS[i], sonos_sd(current, 0) / 100);
        assert_normal("sonos", c, (struct cell_conditions){.read_noise = true}, target_uS[i], 0, target_uS[i],
                      saturating(12.58037, 215.36557, current) / 100);
        for (size_t k = 0; k < 5; k++) {
            mean = sonos_mean(current, days[k]);
            sd = sonos_sd(mean, days[k]);
            assert_normal("sonos", c, DRIFTED, target_uS[i], days[k] * 86400, mean / 100, sd / 100);
        }
        m.count = 0;
        for (int k = 0; k < FINE; k++) {
            double drifted = fmax(0, mean + sd * node(k, FINE));
            mixture_add(&m, node_weight(k, FINE), drifted / 100, saturating(12.58037, 215.36557, drifted) / 100);
        }
        struct reference r = reference_of(&m, 0, INFINITY);
        assert_follows("sonos", c, ALL, target_uS[i], 432000, &r);
    }
    arena_destroy(a);
}

/* Every coefficient, beyond what statistics resolve: single devices at seven currents and every half day, drift alone.
 * 3e-6: single precision of the result; at 1600 nA the terms of the polynomial are 1e5 times their sum. */
static void sonos_shifts_by_its_polynomials(void **state) {
    (void)state;
    static const double target_nA[] = {1, 10, 100, 400, 800, 1200, 1600};
    struct arena *a = arena_create();
    const struct cell *c = part(a, "sonos");
    for (uint64_t i = 0; i < 7; i++) {
        for (double days = 0.5; days <= 5; days += 0.5) {
            float target_S = (float)(target_nA[i] * 1e-8), drifted_S;
            double current = (double)target_S * 1e8, mean = sonos_mean(current, days), first = sonos_sd(current, 0);
            double added = sqrt(fmax(0, pow(sonos_sd(mean, days), 2) - first * first));
            cell_realise(c, &(struct cell_conditions){.drift = true}, &(struct cell_draws){1, 2, i}, &target_S,
                         days * 86400, &drifted_S, 1);
            double expected = mean + added * random_gaussian(1, random_stream(RANDOM_DRIFT, 2), i);
            assert_near(drifted_S * 1e8, expected, 3e-6 * (current + 10));
        }
    }
    arena_destroy(a);
}

static void sram_capacitors_mismatch(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = part(a, "sram_capacitor");
    struct cell_common k = cell_common_of(c);
    assert_true(k.charge && k.levels == 2 && k.g_min_S == 0);
    assert_near(k.g_max_S, 1e-6, 0);
    assert_normal("sram", c, ALL, 1, 3600, 1, 0.01 / sqrt(0.8));
    const struct cell *large = part_with(a, "sram_capacitor", (const char *const[]){"capacitor_um2.value=3.2", NULL});
    assert_normal("sram", large, ALL, 1, 3600, 1, 0.01 / sqrt(3.2)); /* four times the area, half the mismatch */
    float zero_S[64] = {0}, read_S[64];
    cell_realise(c, &ALL, &(struct cell_draws){1, 2, 3}, zero_S, 3600, read_S, 64);
    assert_memory_equal(zero_S, read_S, sizeof zero_S);
    arena_destroy(a);
}

static void ecram_steps_err_together_and_alone(void **state) {
    (void)state;
    static struct mixture m;
    static const double target_uS[] = {0.11, 0.2, 0.55, 1};
    struct arena *a = arena_create();
    const struct cell *c = part(a, "ecram");
    assert_int_equal(cell_common_of(c).levels, 1001);
    float low_S = 0.1e-6f, read_S;
    cell_realise(c, &PROGRAMMED, &(struct cell_draws){1, 2, 3}, &low_S, 0, &read_S, 1);
    assert_true(read_S == low_S); /* no pulse, no error */
    for (size_t i = 0; i < 4; i++) {
        double g = target_uS[i], x = g - 0.1, step = 0.9 / 1000;
        double sd = sqrt(pow(0.1 * x, 2) + pow(0.3 * step, 2) * (x / step));
        assert_normal("ecram", c, PROGRAMMED, g, 0, g, sd);
        m.count = 0;
        for (int k = 0; k < FINE; k++) {
            double factor = 1 + 0.005 * node(k, FINE);
            mixture_add(&m, node_weight(k, FINE), g * factor, sd * factor);
        }
        struct reference r = reference_of(&m, 0, INFINITY);
        assert_follows("ecram", c, ALL, g, 3600, &r);
    }
    arena_destroy(a);
}

/* ---- tables over a grid --------------------------------------------------------------------------------------- */

/* Between the points linear, or the natural cubic spline that GSL computes; beyond the ends constant. 1e-6 of the
 * values: single precision. */
static void curves_are_linear_or_natural_splines(void **state) {
    (void)state;
    enum { POINTS = 7 };
    const double x[POINTS] = {0, 0.5e-6, 1e-6, 3e-6, 7e-6, 12e-6, 25e-6};
    const double y[POINTS] = {0.3, 0.45, 0.4, 0.9, 0.2, 0.25, 1.1};
    const struct param_numbers gx = {.count = POINTS, .values = x}, gy = {.count = POINTS, .values = y};
    for (int cubic = 0; cubic < 2; cubic++) {
        struct fit_curve c = fit_curve_make(&gx, &gy, cubic);
        gsl_interp *spline = gsl_interp_alloc(cubic ? gsl_interp_cspline : gsl_interp_linear, POINTS);
        gsl_interp_init(spline, x, y, POINTS);
        for (int k = 0; k <= 500; k++) {
            float at = (float)(25e-6 * k / 500), value;
            fit_curve_values(&c, &at, &value, 1);
            assert_near(value, gsl_interp_eval(spline, x, y, fmin((double)at, 25e-6), NULL), 2e-6);
        }
        gsl_interp_free(spline);
        float ends[2];
        fit_curve_values(&c, (const float[]){1.0f, -1.0f}, ends, 2);
        assert_near(ends[0], 1.1, 2e-6);
        assert_near(ends[1], 0.3, 1e-7);
    }
}

/* Mean, spread, exponent and noise between two points of the grid; a pulse of 0 means no growth of the noise. */
static void measured_interpolates(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const char *const linear[] = {"drift_sd.value=[0,0,0,0,0,0,0,0,0,0,0,0]", "t_read_s.value=0", NULL};
    const struct cell *c = part_with(a, "measured", linear);
    double g = 15.625, kept = pow((86400 + 20) / 20.0, -0.049); /* half way from 12.5 to 18.75 */
    assert_normal("measured", c, PROGRAMMED, g, 0, g, 0.5 * (0.95271 + 1.07736));
    assert_normal("measured", c, (struct cell_conditions){.read_noise = true}, g, 86400, g,
                  g * 0.5 * (0.05777 + 0.04439));
    assert_normal("measured", c, DRIFTED, g, 86400, g * kept, kept * 0.5 * (0.95271 + 1.07736));
    const struct cell *cubic = part_with(a, "measured", (const char *const[]){"interpolation=cubic", NULL});
    /* the spline follows pcm_like's own parabola: 0.26348 + 1.965 r - 1.1731 r^2; 1e-3 of it: the natural end */
    struct moments m = moments_of(devices_uS(cubic, PROGRAMMED, 2, g, 0), SAMPLES);
    assert_near(m.sd, pcm_sd(g / 25), 4 * m.se_sd + 1e-3 * pcm_sd(g / 25));
    arena_destroy(a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(phase_change_is_aihwkits),
    cmocka_unit_test(generic_is_aihwkits_state_independent),
    cmocka_unit_test(wan_is_aihwkits),
    cmocka_unit_test(cmo_is_aihwkits),
    cmocka_unit_test(power_law_cells_follow_their_equations),
    cmocka_unit_test(pcm_like_has_the_published_table),
    cmocka_unit_test(afm_is_normal_and_ideal_exact),
    cmocka_unit_test(joshi_and_milo_follow_their_fits),
    cmocka_unit_test(wan_follows_its_fits),
    cmocka_unit_test(errors_that_grow_keep_the_error_of_programming),
    cmocka_unit_test(cmo_follows_its_equations),
    cmocka_unit_test(sonos_follows_its_fits),
    cmocka_unit_test(sonos_shifts_by_its_polynomials),
    cmocka_unit_test(sram_capacitors_mismatch),
    cmocka_unit_test(ecram_steps_err_together_and_alone),
    cmocka_unit_test(curves_are_linear_or_natural_splines),
    cmocka_unit_test(measured_interpolates),
};
const struct test_suite suite_cells = {"cells", tests, sizeof tests / sizeof tests[0]};
