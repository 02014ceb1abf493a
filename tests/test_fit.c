/* mho device fit: synthetic lab data from known truth give the truth back within 4 standard errors, and the standard
 * errors are small enough to mean something; the part that comes out does what the data did; data that cannot
 * determine the parameters are refused with a reason. Truth: the published formulas of pcm_like, devices by
 * cell_realise_ages.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "devices/lab.h"
#include "tests/suite.h"

enum { TARGETS = 6, TIMES = 6, DEVICES = 1500 };

static const double targets_uS[TARGETS] = {5, 9, 13, 17, 21, 25};
/* A tenfold apart: the slow noise of neighbours is nearly independent, as the estimator assumes. */
static const double times_s[TIMES] = {20, 200, 2000, 20000, 200000, 2000000};

static double sd_truth_uS(double r) { return 0.26348 + 1.9650 * r - 1.1731 * r * r; }
static double nu_truth(double r) { return fmin(0.1, fmax(0.049, -0.0155 * log(r) + 0.0244)); }
static double nu_sd_truth(double r) { return fmin(0.045, fmax(0.008, -0.0125 * log(r) - 0.0059)); }
static double q_truth(double r) { return 0.0088 / pow(r, 0.65); }

static const struct cell *load_cell(struct arena *a, const char *name) {
    char path[1200];
    struct error e;
    struct config_node *map = NULL;
    const struct cell *cell = NULL;
    snprintf(path, sizeof path, "%s/configs/parts/%s.yaml", data_directory(), name);
    if (config_load(a, path, &map, &e) != OK || cell_create(map, "", a, &cell, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return cell;
}

/* read_uS [target][time][device] of pcm_like; t0 of that cell is 20 s, so age = time - 20. */
static float *realise(void) {
    struct arena *a = arena_create();
    const struct cell *cell = load_cell(a, "pcm_like");
    const struct cell_conditions all = {.programming_noise = true, .drift = true, .read_noise = true};
    float *reads = mem_alloc((size_t)TARGETS * TIMES * DEVICES, sizeof *reads), target[DEVICES], *out[TIMES];
    double ages_s[TIMES];
    for (int i = 0; i < TARGETS; i++) {
        struct cell_draws d = {.seed = 4, .where = (uint64_t)i, .first = 0};
        for (int k = 0; k < DEVICES; k++) {
            target[k] = (float)(targets_uS[i] * 1e-6);
        }
        for (int t = 0; t < TIMES; t++) {
            out[t] = reads + ((size_t)i * TIMES + (size_t)t) * DEVICES;
            ages_s[t] = times_s[t] - 20;
        }
        cell_realise_ages(cell, &all, &d, target, ages_s, TIMES, out, NULL, DEVICES);
    }
    arena_destroy(a);
    return reads;
}

static double read_uS(const float *reads, int i, int t, int device) {
    return 1e6 * (double)reads[((size_t)i * TIMES + (size_t)t) * DEVICES + (size_t)device];
}

static const char *new_file(const char *name) {
    static char paths[4][1200];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_directory(), name);
    return path;
}

static const char *write_raw(const float *reads, bool with_devices) {
    const char *path = new_file("raw.csv");
    FILE *f = fopen(path, "w");
    fputs(with_devices ? "device,target_uS,time_s,g_uS\n" : "target_uS,time_s,g_uS\n", f);
    for (int i = 0; i < TARGETS; i++) {
        for (int device = 0; device < DEVICES; device++) {
            for (int t = 0; t < TIMES; t++) {
                if (with_devices) {
                    fprintf(f, "%d,", device);
                }
                fprintf(f, "%g,%g,%.7g\n", targets_uS[i], times_s[t] - 20, read_uS(reads, i, t, device));
            }
        }
    }
    fclose(f);
    return path;
}

static const char *write_summary(const float *reads, bool with_counts) {
    const char *path = new_file("summary.csv");
    FILE *f = fopen(path, "w");
    fprintf(f, "# means of %d devices\ntarget_uS,mean_uS,sd_uS,time_s%s\n", DEVICES, with_counts ? ",samples" : "");
    for (int i = 0; i < TARGETS; i++) {
        for (int t = 0; t < TIMES; t++) {
            double mean = 0, squares = 0;
            for (int device = 0; device < DEVICES; device++) {
                mean += read_uS(reads, i, t, device) / DEVICES;
            }
            for (int device = 0; device < DEVICES; device++) {
                squares += pow(read_uS(reads, i, t, device) - mean, 2);
            }
            fprintf(f, "%g,%.8g,%.8g,%g", targets_uS[i], mean, sqrt(squares / (DEVICES - 1)), times_s[t] - 20);
            fputs(with_counts ? ",1500\n" : "\n", f);
        }
    }
    fclose(f);
    return path;
}

static void fit_file(const char *path, const struct lab_options *o, struct arena *a, struct lab_result *r) {
    struct lab_data d;
    struct error e;
    if (lab_data_read(path, &d, &e) != OK) {
        fail_msg("%s", e.message);
    }
    enum status s = lab_fit(&d, o, a, r, &e);
    lab_data_free(&d);
    if (s != OK) {
        fail_msg("%s", e.message);
    }
}

/* Within 4 standard errors of the truth, and the standard error itself below `largest`. */
static void check_value(const char *what, double target_uS, struct lab_value v, double truth, double largest) {
    if (!(fabs(v.value - truth) <= 4 * v.error) || !(v.error <= largest)) {
        fail_msg("%s at %g uS: %g +- %g, truth %g (allowed: 4 standard errors, each at most %g)", what, target_uS,
                 v.value, v.error, truth, largest);
    }
}

static const struct lab_options everything = {LAB_POLYNOMIAL, true, true, 250e-9, 0};

static void devices_recover_the_truth(void **state) {
    (void)state;
    struct arena *a = arena_create();
    struct lab_result r;
    float *reads = realise();
    fit_file(write_raw(reads, true), &everything, a, &r);
    mem_free(reads);
    assert_int_equal(r.count, TARGETS);
    for (size_t i = 0; i < r.count; i++) {
        const struct lab_target *t = &r.targets[i];
        double g = targets_uS[i], rel = g / 25;
        check_value("mean", g, (struct lab_value){t->mean_S.value * 1e6, t->mean_S.error * 1e6}, g, 0.05);
        check_value("sd", g, (struct lab_value){t->sd_S.value * 1e6, t->sd_S.error * 1e6}, sd_truth_uS(rel), 0.05);
        check_value("drift exponent", g, t->nu, nu_truth(rel), 6e-4);
        check_value("sd of the exponent", g, t->nu_sd, nu_sd_truth(rel), 6e-4);
        /* 4 standard errors and 3 %: Q follows the programmed value of each device, which spreads by up to 13 %, and
         * the slow noise of reads a decade apart is not quite independent. */
        assert_near(t->q.value, q_truth(rel), 4 * t->q.error + 0.03 * q_truth(rel));
        assert_true(t->q.error < 0.015 * q_truth(rel));
        assert_near(t->mean_fit_S * 1e6, g, 0.1);
        assert_near(t->sd_fit_S * 1e6, sd_truth_uS(rel), 0.1);
    }
    assert_true(r.mean.quality.chi2_per_dof < 5);
    assert_int_equal(r.sd.terms, 3); /* the truth is a parabola */
    arena_destroy(a);
}

/* Without devices the errors of drift are too large by design: still small enough to be of use. */
static void moments_recover_the_truth(void **state) {
    (void)state;
    struct arena *a = arena_create();
    float *reads = realise();
    const char *files[] = {write_raw(reads, false), write_summary(reads, true)};
    struct lab_result r[2];
    for (int k = 0; k < 2; k++) {
        fit_file(files[k], &everything, a, &r[k]);
        for (size_t i = 0; i < r[k].count; i++) {
            const struct lab_target *t = &r[k].targets[i];
            double rel = targets_uS[i] / 25;
            check_value("drift exponent", targets_uS[i], t->nu, nu_truth(rel), 1.5e-3);
            check_value("sd of the exponent", targets_uS[i], t->nu_sd, nu_sd_truth(rel), 3e-3);
            check_value("read noise", targets_uS[i], t->q, q_truth(rel), 0.03);
        }
    }
    for (size_t i = 0; i < r[0].count; i++) { /* the same data, told in two ways: rounded to 7 and 8 digits */
        assert_near(r[0].targets[i].nu.value, r[1].targets[i].nu.value, 1e-5);
        assert_near(r[0].targets[i].sd_S.value, r[1].targets[i].sd_S.value, 1e-5 * r[0].targets[i].sd_S.value);
    }
    fit_file(write_summary(reads, false), &everything, a, &r[1]);
    assert_true(isnan(r[1].targets[0].mean_S.error)); /* without counts nobody knows */
    assert_true(isnan(r[1].mean.quality.chi2_per_dof));
    assert_near(r[1].targets[3].nu.value, nu_truth(targets_uS[3] / 25), 2e-3);
    mem_free(reads);
    arena_destroy(a);
}

/* Moments as the model gives them, without sampling error: every parameter comes back to the digits of the file. */
static void exact_moments_give_exact_parameters(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const char *path = new_file("exact.csv");
    FILE *f = fopen(path, "w");
    fputs("target_uS,mean_uS,sd_uS,time_s,samples\n", f);
    for (int i = 1; i <= 5; i++) {
        for (int t = 0; t < 5; t++) {
            double l = t * log(30), nu = 0.03 + 0.01 * i, s = 0.02, q = 0.01,
                   write = 0.05; /* relative error of the write */
            double f0 = log((1 + 250e-9) / 500e-9), variance = write * write + q * q * (f0 + l) + s * s * l * l;
            double mean = 4 * i * exp(-nu * l + s * s * l * l / 2);
            fprintf(f, "%d,%.15g,%.15g,%.15g,1000\n", 4 * i, mean, mean * sqrt(expm1(variance)), expm1(l));
        }
    }
    fclose(f);
    struct lab_result r;
    fit_file(path, &everything, a, &r); /* S is ln(rss) near 0: a sharp minimum, found to 1e-7 and the rounding */
    assert_near(r.t0_s, 1, 1e-4);
    fit_file(path, &(struct lab_options){LAB_POLYNOMIAL, true, true, 250e-9, 1}, a, &r);
    for (int i = 0; i < 5;
         i++) { /* 15 digits in the file; f0 + l stands for f^2, which differs by t_read / t = 2.5e-7 */
        assert_near(r.targets[i].nu.value, 0.04 + 0.01 * i, 1e-9);
        assert_near(r.targets[i].nu_sd.value, 0.02, 1e-8);
        assert_near(r.targets[i].q.value, 0.01, 1e-7);
        double g = 4.0 * (i + 1), lognormal = expm1(0.0025 + 1e-4 * log(1 / 500e-9));
        assert_near(r.targets[i].mean_S.value * 1e6, g, 1e-9);
        assert_near(r.targets[i].sd_S.value * 1e6, g * sqrt(lognormal - 1e-4 * log(1 / 500e-9)), 1e-6 * g);
    }
    assert_true(r.regression.largest < 1e-9);
    arena_destroy(a);
}

/* Devices at target 0 are limited at 0; the fit must give the normal distribution before the limit. */
static void limit_at_zero(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const char *path = new_file("limited.csv");
    FILE *f = fopen(path, "w");
    fputs("target_uS,time_s,g_uS\n", f);
    for (int i = 0; i < 4; i++) {
        for (uint64_t k = 0; k < 4000; k++) {
            double g = i * 0.4 + 0.5 * (double)random_gaussian(1, random_stream(RANDOM_TEST, (uint64_t)i), k);
            fprintf(f, "%g,1,%.6g\n", i * 0.4, g > 0 ? g : 0);
        }
    }
    fclose(f);
    struct lab_result r;
    fit_file(path, &(struct lab_options){LAB_POLYNOMIAL, false, false, 250e-9, 0}, a, &r);
    for (size_t i = 0; i < r.count;
         i++) { /* 4 sigma of 4000 devices: 0.032 for the mean, about twice where half is lost */
        assert_near(r.targets[i].mean_S.value * 1e6, 0.4 * (double)i, 0.05);
        assert_near(r.targets[i].sd_S.value * 1e6, 0.5, 0.05);
    }
    arena_destroy(a);
}

/* A mean that no polynomial of order 4 follows: the spline does. */
static void spline(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const char *path = new_file("bend.csv");
    FILE *f = fopen(path, "w");
    fputs("target_uS,mean_uS,sd_uS,time_s,samples\n", f);
    for (int i = 0; i <= 24; i++) {
        fprintf(f, "%d,%.9g,0.1,1,400\n", i, i + 2 * sin(i * 0.5) + 3);
    }
    fclose(f);
    struct lab_result r;
    struct lab_data d;
    struct error e;
    struct lab_options o = {LAB_POLYNOMIAL, false, false, 250e-9, 0};
    assert_int_equal(lab_data_read(path, &d, &e), OK);
    assert_int_equal(lab_fit(&d, &o, a, &r, &e), ERR_USAGE); /* no noise in the data: what is left is the shape */
    lab_data_free(&d);
    assert_non_null(strstr(e.message, "programmed mean over the target: the model does not follow the data"));
    assert_non_null(strstr(e.message, "--curve spline"));
    o.curve = LAB_SPLINE;
    fit_file(path, &o, a, &r);
    assert_true(r.mean.quality.rms < 0.05e-6);
    assert_int_equal(r.sd.terms, 4); /* a constant needs no more than the least */
    arena_destroy(a);
}

/* ---- the program ------------------------------------------------------------------------------------------ */

static json_t *stats(const char *cell) {
    char *out, *err;
    const char *args[] = {"device", "stats",     cell,    "--g",    "0.2,0.52,1", "--time",
                          "0,1d",   "--samples", "40000", "--json", NULL};
    int status = run_mho(args, 60, &out, &err);
    if (status != 0) {
        fail_msg("device stats %s: %s", cell, err);
    }
    json_t *root = json_loads(out, 0, NULL);
    mem_free(out);
    mem_free(err);
    return root;
}

static double number_of(json_t *row, const char *key) {
    json_t *v = json_object_get(row, key);
    if (!json_is_number(v)) {
        fail_msg("%s is missing", key);
    }
    return json_number_value(v);
}

/* Data of pcm_like -> part -> its devices do what pcm_like's do. */
static void round_trip(void **state) {
    (void)state;
    float *reads = realise();
    const char *data = write_raw(reads, true), *part = new_file("part.yaml"), *plot = new_file("fit.svg");
    mem_free(reads);
    char *out, *err, set[1300];
    int status = run_mho((const char *const[]){"device", "fit", data, "--out", part, "--plot", plot, "--json", NULL},
                         60, &out, &err);
    if (status != 0) {
        fail_msg("device fit: %s", err);
    }
    json_t *fit = json_loads(out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(fit, "targets")), TARGETS);
    assert_true(number_of(json_object_get(json_object_get(fit, "programmed_mean"), "residuals_uS"), "rms") < 0.1);
    json_decref(fit);
    mem_free(out);
    mem_free(err);

    json_t *fitted = stats(part), *truth = stats("pcm_like");
    for (size_t i = 0; i < 6; i++) {
        json_t *a = json_array_get(json_object_get(fitted, "rows"), i),
               *b = json_array_get(json_object_get(truth, "rows"), i);
        double sd = number_of(b, "g_programmed_sd_uS");
        /* 4 standard errors of 1500 devices and of 40000 draws: 0.105 sd for means, 0.074 sd for sds */
        assert_near(number_of(a, "g_programmed_mean_uS"), number_of(b, "g_programmed_mean_uS"), 0.11 * sd);
        assert_near(number_of(a, "g_programmed_sd_uS"), sd, 0.1 * sd);
        assert_near(number_of(a, "g_mean_uS"), number_of(b, "g_mean_uS"), 0.12 * sd);
        assert_near(number_of(a, "g_sd_uS"), number_of(b, "g_sd_uS"), 0.1 * number_of(b, "g_sd_uS"));
        assert_near(number_of(a, "drift_exponent_mean"), number_of(b, "drift_exponent_mean"), 2e-3);
        assert_near(number_of(a, "drift_exponent_sd"), number_of(b, "drift_exponent_sd"), 2e-3);
    }
    json_t *config = json_object_get(fitted, "config");
    assert_string_equal(json_string_value(json_object_get(config, "model")), "measured");
    const char *source = json_string_value(json_object_get(json_object_get(config, "programmed_sd_uS"), "source"));
    assert_non_null(strstr(source, "raw.csv (FNV-1a "));
    json_decref(fitted);
    json_decref(truth);

    snprintf(set, sizeof set, "tile.cell=%s", part);
    status = run_mho((const char *const[]){"chip", "check", "pcm256", "--set", set, NULL}, 60, &out, &err);
    if (status != 0) {
        fail_msg("--set %s: %s", set, err);
    }
    mem_free(out);
    mem_free(err);
    char *text;
    size_t bytes;
    assert_int_equal(read_file(plot, 1 << 20, &text, &bytes, NULL), OK);
    assert_non_null(strstr(text, "</svg>"));
    assert_non_null(strstr(text, "time after programming (s)"));
    mem_free(text);
}

/* ---- the time base of the program ---------------------------------------------------------------------------- */

enum { AGES = 4, OWN = 400 };
static const double ages_s[AGES] = {1, 60, 3600, 86400};
static const double own_t0_s = 20;

/* Reads of 5 targets: 2 % of programming error, exponents 0.05 +- 0.005, 0.2 % per read; sums for the means. */
static const char *write_own(const char *name, double shift_s, double mean_uS[5][AGES], double sd_uS[5][AGES]) {
    const char *path = new_file(name);
    FILE *f = fopen(path, "w");
    fputs("target_uS,time_s,g_uS,device\n", f);
    memset(mean_uS, 0, 5 * AGES * sizeof(double));
    memset(sd_uS, 0, 5 * AGES * sizeof(double));
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < OWN; k++) {
            uint64_t n = (uint64_t)(i * OWN + k);
            double write = (double)random_gaussian(3, random_stream(RANDOM_TEST, 1), n);
            double nu = 0.05 + 0.005 * (double)random_gaussian(3, random_stream(RANDOM_TEST, 2), n);
            for (int t = 0; t < AGES; t++) {
                double read = (double)random_gaussian(3, random_stream(RANDOM_TEST, 3), n * AGES + (uint64_t)t);
                double g = 5 * (i + 1) * (1 + 0.02 * write) * pow(1 + (ages_s[t] + shift_s) / own_t0_s, -nu);
                g *= 1 + 0.002 * read;
                fprintf(f, "%d,%g,%.9g,%d\n", 5 * (i + 1), ages_s[t] + shift_s, g, k);
                mean_uS[i][t] += g / OWN;
                sd_uS[i][t] += g * g / OWN;
            }
        }
    }
    fclose(f);
    for (int i = 0; i < 5 * AGES; i++) {
        sd_uS[i / AGES][i % AGES] = sqrt(sd_uS[i / AGES][i % AGES] - pow(mean_uS[i / AGES][i % AGES], 2));
    }
    return path;
}

/* Data at ages around t0 -> t0 and exponent come back, and so do the data from `device stats` at the same ages. */
static void ages_mean_the_same_everywhere(void **state) {
    (void)state;
    double mean_uS[5][AGES], sd_uS[5][AGES];
    const char *path = write_own("own.csv", 0, mean_uS, sd_uS), *part = new_file("own.yaml");
    char *out;
    assert_int_equal(
        run_mho((const char *const[]){"device", "fit", path, "--out", part, "--json", NULL}, 60, &out, NULL), 0);
    json_t *fit = json_loads(out, 0, NULL);
    mem_free(out);
    double error_s = number_of(fit, "t0_error_s");
    assert_near(number_of(fit, "t0_s"), own_t0_s, 4 * error_s);
    assert_true(error_s < 1);
    for (size_t i = 0; i < 5; i++) {
        json_t *nu = json_object_get(json_array_get(json_object_get(fit, "targets"), i), "drift_exponent_mean");
        assert_near(number_of(nu, "value"), 0.05, 4 * number_of(nu, "standard_error") + 4e-4); /* t0 is shared */
    }
    json_decref(fit);
    assert_int_equal(run_mho((const char *const[]){"device", "stats", part, "--g", "0.2,0.4,0.6,0.8,1", "--time",
                                                   "1,60,3600,86400", "--samples", "40000", "--json", NULL},
                             60, &out, NULL),
                     0);
    json_t *root = json_loads(out, 0, NULL), *rows = json_object_get(root, "rows");
    mem_free(out);
    for (size_t n = 0; n < 5 * AGES; n++) {
        double sd = sd_uS[n / AGES][n % AGES]; /* 400 devices in the data, 40000 in the statistics */
        json_t *row = json_array_get(rows, n);
        assert_near(number_of(row, "g_mean_uS"), mean_uS[n / AGES][n % AGES], 4 * sd * sqrt(1.0 / OWN + 1.0 / 40000));
        assert_near(number_of(row, "g_sd_uS"), sd, 4 * sd * sqrt(0.5 / OWN + 0.5 / 40000));
    }
    json_decref(root);
}

/* What the data cannot say is asked for, and a t0 that they contradict is refused; no part is written. */
static void time_bases_that_do_not_fit(void **state) {
    (void)state;
    double mean_uS[5][AGES], sd_uS[5][AGES];
    const char *late = write_own("late.csv", 1e7, mean_uS, sd_uS), *own = write_own("own.csv", 0, mean_uS, sd_uS);
    const char *part = new_file("never.yaml");
    char *err;
    assert_int_equal(run_mho((const char *const[]){"device", "fit", late, "--out", part, NULL}, 60, NULL, &err), 2);
    assert_non_null(strstr(err, "late.csv: the data do not determine t0"));
    assert_non_null(strstr(err, "allowed: --t0 SECONDS"));
    mem_free(err);
    assert_int_equal(
        run_mho((const char *const[]){"device", "fit", own, "--out", part, "--t0", "2000", NULL}, 60, NULL, &err), 2);
    assert_non_null(strstr(err, "own.csv: mean over time: the model does not follow the data: chi2 / dof"));
    assert_non_null(strstr(err, "is --t0 right"));
    mem_free(err);
    assert_false(file_exists(part));
}

struct refused {
    const char *text, *says[3];
};

#define RAW "target_uS,time_s,g_uS,device\n"
#define SUMMARY "target_uS,mean_uS,sd_uS,time_s,samples\n"

static void hostile_data(void **state) {
    (void)state;
    static const struct refused rows[] = {
        {"", {"data.csv"}},
        {RAW, {"data.csv", "no rows"}},
        {"target_uS,time_s\n1,1\n", {"data.csv", "columns", "allowed"}},
        {"target_uS,time_s,g_uS,colour\n1,1,1,1\n", {"columns", "allowed"}},
        {"target_uS,time_s,g_uS,mean_uS\n1,1,1,1\n", {"columns"}},
        {"target_uS,target_uS,time_s,g_uS\n1,1,1,1\n", {"target_uS"}},
        {"target_S,time_s,g_uS\n1,1,1\n", {"columns"}},
        {RAW "1,1,nan,1\n", {"data.csv:2:3", "nan"}},
        {RAW "1,1,inf,1\n", {"data.csv:2:3"}},
        {RAW "1,1,,1\n", {"data.csv:2:3"}},
        {RAW "1,1,2,1\n1,2\n", {"data.csv:3"}},
        {RAW "1,1,-2,1\n", {"data.csv:2:3", "conductance -2", "at least 0"}},
        {RAW "-1,1,2,1\n", {"data.csv:2:1", "target -1"}},
        {RAW "1,-1,2,1\n", {"data.csv:2:2", "time", "at least 0"}},
        {RAW "1,1,2,1.5\n", {"data.csv:2:4", "whole number"}},
        {RAW "1,10,2,7\n2,5,2,7\n1,5,2,7\n", {"data.csv:4:2", "device 7", "backwards"}},
        {"# lab\ntarget_uS,mean_uS,foo\n1,1,1\n", {"data.csv:2: header: ", "unknown", "(allowed: target_uS,"}},
        {RAW "1,10,2,7\n1,10,2,7\n", {"data.csv:3:2", "twice"}},
        {SUMMARY "1,1,0.1,1,100\n1,1,0.1,1,100\n", {"data.csv:3", "twice"}},
        {SUMMARY "1,1,0,1,100\n", {"data.csv:2:3", "standard deviation 0"}},
        {SUMMARY "1,1,0.1,1,1\n", {"data.csv:2:5", "samples 1"}},
        {SUMMARY "1,1,0.1,1,2.5\n", {"data.csv:2:5", "whole number"}},
        {SUMMARY "1,1,0.1,1,9\n1,1,0.1,9,9\n1,1,.1,99,9\n2,2,0.1,1,9\n", {"2 different targets", "allowed: 3"}},
        {SUMMARY "1,1,0.1,1,9\n2,2,0.1,1,9\n3,3,0.1,1,9\n", {"target 1 uS", "1 time", "drift"}},
        {SUMMARY "1,1,.1,1,9\n2,2,.1,1,9\n3,3,.1,1,9\n1,1,.1,9,9\n2,2,.1,9,9\n3,3,.1,9,9\n",
         {"2 times", "read noise apart"}},
        {SUMMARY
         "1,1,.1,20,9\n1,1,.1,2,9\n1,1,.1,3,9\n2,2,.1,1,9\n2,2,.1,2,9\n2,2,.1,3,9\n3,3,.1,1,9\n3,3,.1,2,9\n3,3,.1,3,9\n"
         "4,4,.1,11,9\n4,4,.1,20,9\n4,4,.1,30,9\n",
         {"target 4 uS", "first time"}},
        {"target_uS,time_s,g_uS\n1,1,1\n2,1,2\n3,1,3\n1,2,1\n2,2,2\n3,2,3\n", {"target 1 uS", "no scatter"}},
    };
    char data[1200], part[1200];
    snprintf(data, sizeof data, "%s/data.csv", scratch_directory());
    snprintf(part, sizeof part, "%s", new_file("never.yaml"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FILE *f = fopen(data, "w");
        fputs(rows[i].text, f);
        fclose(f);
        char *out, *err;
        int status = run_mho((const char *const[]){"device", "fit", data, "--out", part, NULL}, 60, &out, &err);
        if ((status != 1 && status != 2) || out[0] || strncmp(err, "mho: ", 5) != 0) {
            fail_msg("case %zu: status %d, %s%s", i, status, out, err);
        }
        for (size_t k = 0; k < 3 && rows[i].says[k]; k++) {
            if (!strstr(err, rows[i].says[k])) {
                fail_msg("case %zu: \"%s\" is not in: %s", i, rows[i].says[k], err);
            }
        }
        assert_false(file_exists(part));
        mem_free(out);
        mem_free(err);
    }
}

/* Two reads of a device: drift and read noise cannot be told apart, until the user leaves one out. */
static void what_is_left_out(void **state) {
    (void)state;
    const char *path = new_file("two.csv"), *part = new_file("two.yaml");
    FILE *f = fopen(path, "w");
    fputs(RAW, f);
    for (int target = 1; target <= 4; target++) {
        for (int device = 0; device < 20; device++) {
            double z = (double)random_gaussian(2, random_stream(RANDOM_TEST, 7), (uint64_t)(target * 100 + device));
            fprintf(f, "%d,1,%.6g,%d\n%d,100,%.6g,%d\n", target, target + 0.05 * z, device, target,
                    (target + 0.05 * z) * pow(100, -0.05 - 0.005 * z), device);
        }
    }
    fclose(f);
    char *out, *err;
    assert_int_equal(
        run_mho((const char *const[]){"device", "fit", path, "--out", part, "--t0", "1", NULL}, 60, &out, &err), 2);
    assert_non_null(strstr(err, "read noise from drift"));
    assert_non_null(strstr(err, "--without"));
    mem_free(out);
    mem_free(err);
    assert_int_equal(run_mho((const char *const[]){"device", "fit", path, "--out", part, "--t0", "1", "--without",
                                                   "read_noise", NULL},
                             60, &out, &err),
                     0);
    mem_free(out);
    mem_free(err);
    assert_int_equal(run_mho((const char *const[]){"device", "fit", path, "--out", part, "--without", "noise", NULL},
                             60, &out, &err),
                     2);
    assert_non_null(strstr(err, "allowed: drift, read_noise"));
    mem_free(out);
    mem_free(err);
}

/* Every allocation in turn fails: an error, no crash, no leak (the sanitizers look). */
static void out_of_memory_is_an_error(void **state) {
    (void)state;
    const char *path = new_file("small.csv");
    FILE *f = fopen(path, "w");
    fputs(SUMMARY, f);
    for (int i = 0; i < 12; i++) {
        fprintf(f, "%d,%g,0.1,%d,50\n", 1 + i % 4, (1 + i % 4) * (1 - 0.03 * (i / 4)), 1 + i / 4);
    }
    fclose(f);
    bool finished = false;
    for (size_t n = 1; !finished && n < 2000; n++) {
        struct arena *a = arena_create();
        struct lab_data d;
        struct lab_result r;
        struct config_node *part;
        struct error e;
        mem_fail_at(n);
        enum status s = lab_data_read(path, &d, &e);
        if (s == OK) {
            s = lab_fit(&d, &(struct lab_options){LAB_POLYNOMIAL, true, true, 250e-9, 1}, a, &r, &e);
            s = s == OK ? lab_part(&r, "test", a, &part, &e) : s;
            lab_data_free(&d);
        }
        mem_fail_at(0);
        finished = s == OK;
        if (!finished && s != ERR_RUN) {
            fail_msg("allocation %zu: %s", n, e.message);
        }
        arena_destroy(a);
    }
    assert_true(finished);
}

/* Options of device stats that the part cannot honour, and keys that it does not have. */
static void stats_refuse_what_a_part_does_not_model(void **state) {
    (void)state;
    static const struct {
        const char *args[8], *says;
    } rows[] = {
        {{"device", "stats", "pcm_joshi", "--reads", "5", NULL}, "group disturb"},
        {{"device", "stats", "ideal", "--kelvin", "350", NULL}, "group temperature"},
        {{"device", "stats", "pcm_like", "--kelvin", "1000", NULL}, "hold from 273 to 358 K (allowed: 273 to 358)"},
        {{"device", "stats", "pcm_like", "--set", "g_maxuS=3", NULL}, "g_max_uS"},
        {{"device", "stats", "pcm_like", "--set", "g_max_uS=-3", NULL}, "out of range"},
        {{"device", "stats", "/no/such.yaml", NULL}, "/no/such.yaml"},
        {{"device", "fit", "x.csv", NULL}, "--out"},
        {{"device", "fit", "--out", "x", NULL}, "the data"},
        {{"device", "fit", "x.csv", "--out", "y", "--curve", "cubic", NULL}, "polynomial, spline"},
        {{"device", "pictures", NULL}, "--out"},
        {{"chip", "params", "--json", "--markdown", NULL}, "one of them"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *out, *err;
        int status = run_mho(rows[i].args, 60, &out, &err);
        if (status != 2 || out[0] || !strstr(err, rows[i].says)) {
            fail_msg("case %zu: status %d, %s%s", i, status, out, err);
        }
        mem_free(out);
        mem_free(err);
    }
}

/* Nothing is written over what the same command reads or writes, whatever the path to it is called. */
static void files_are_kept_apart(void **state) {
    (void)state;
    static const char before[] = "target_uS,time_s,g_uS\n1,0,1\n";
    const char *data = new_file("kept.csv"), *link = new_file("link.csv"), *part = new_file("kept.yaml");
    FILE *f = fopen(data, "w");
    fputs(before, f);
    fclose(f);
    unlink(link);
    assert_int_equal(symlink(data, link), 0);
    const char *const commands[][8] = {
        {"device", "fit", data, "--out", data, NULL},
        {"device", "fit", data, "--out", link, NULL},
        {"device", "fit", data, "--out", part, "--plot", data, NULL},
        {"device", "fit", data, "--out", part, "--plot", part, NULL},
        {"tile", "--weights", data, "--inputs", "X.csv", "--spice", link, NULL},
        {"tile", "--weights", "W.csv", "--inputs", data, "--spice", data, NULL},
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char *err;
        assert_int_equal(run_mho(commands[i], 60, NULL, &err), 2);
        assert_non_null(strstr(err, "the same file as"));
        mem_free(err);
    }
    char *after;
    size_t bytes;
    struct error e;
    assert_int_equal(read_file(data, 1000, &after, &bytes, &e), OK);
    assert_string_equal(after, before);
    unlink(link);
    mem_free(after);
}

/* A million rows: read, sorted, fitted. The time is not asserted; it is about a second. */
static void a_million_rows(void **state) {
    (void)state;
    const char *path = new_file("million.csv");
    FILE *f = fopen(path, "w");
    fputs("target_uS,time_s,g_uS\n", f);
    for (unsigned i = 0; i < 1000000; i++) {
        unsigned target = 1 + i % 5, spread = i * 2654435761u >> 22; /* 0..1023 */
        fprintf(f, "%u,1,%u.%03u\n", target, target, spread < 1000 ? spread : 999);
    }
    fclose(f);
    struct arena *a = arena_create();
    struct lab_result r;
    fit_file(path, &(struct lab_options){LAB_POLYNOMIAL, false, false, 250e-9, 0}, a, &r);
    assert_int_equal(r.count, 5);
    assert_int_equal((long)r.samples, 1000000);
    assert_near(r.targets[2].mean_S.value * 1e6, 3.5, 0.02);
    assert_near(r.targets[2].sd_S.value * 1e6, 0.289, 0.01); /* 1 / sqrt(12), uniform */
    arena_destroy(a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(devices_recover_the_truth),
    cmocka_unit_test(moments_recover_the_truth),
    cmocka_unit_test(exact_moments_give_exact_parameters),
    cmocka_unit_test(limit_at_zero),
    cmocka_unit_test(spline),
    cmocka_unit_test(round_trip),
    cmocka_unit_test(ages_mean_the_same_everywhere),
    cmocka_unit_test(time_bases_that_do_not_fit),
    cmocka_unit_test(hostile_data),
    cmocka_unit_test(what_is_left_out),
    cmocka_unit_test(out_of_memory_is_an_error),
    cmocka_unit_test(stats_refuse_what_a_part_does_not_model),
    cmocka_unit_test(files_are_kept_apart),
    cmocka_unit_test(a_million_rows),
};
const struct test_suite suite_fit = {"fit", tests, sizeof tests / sizeof tests[0]};
