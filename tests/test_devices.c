/* What every cell must keep, whatever its physics, single devices against their formulas, the vector arithmetic below,
 * and converters. The statistics of the cells: test_cells.c.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/random.h"
#include "devices/device.h"
#include "devices/history.h"
#include "devices/vector_math.h"
#include "tests/cell_fixture.h"
#include "tests/suite.h"

static const struct cell_conditions ALL = {.programming_noise = true, .drift = true, .read_noise = true};
static const struct cell_conditions NONE = {.programming_noise = false};

/* ---- arithmetic ----------------------------------------------------------------------------------- */

/* The bounds that vector_math.h states, over its ranges. */
static void logarithm_and_exponential(void **state) {
    (void)state;
    for (double l = -87; l <= 88; l += 0.00937) {
        float x = (float)exp(l);
        assert_near(vector_log(x), log((double)x), 2e-7 + 1.2e-7 * fabs(log((double)x)));
        float y = (float)l;
        assert_near(vector_exp(y) / exp((double)y), 1.0, 3e-7);
    }
    assert_true(vector_exp(0.0f) == 1.0f && vector_log(1.0f) == 0.0f);
    assert_true(vector_exp(-1000.0f) == vector_exp(-87.0f));
}

/* ---- single devices ------------------------------------------------------------------------------------ */

/* Every single device: ln g falls by nu per ln((age + t0) / t0), and age 0 is the identity. 1e-5: single precision of
 * g. */
static void drift_is_a_power_law_per_device(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const char *const cells[] = {"pcm_like", "pcm_hermes_1dev", "pcm_hermes_2dev", "generic", "measured"};
    for (size_t k = 0; k < sizeof cells / sizeof cells[0]; k++) {
        const struct cell *c = part(a, cells[k]);
        float target_S[500], fresh_S[500], old_S[500], nu[500];
        for (int i = 0; i < 500; i++) {
            target_S[i] = (float)(cell_common_of(c).g_max_S * i / 499);
        }
        struct cell_draws d = {3, 9, 1234};
        struct cell_conditions drifting = {.programming_noise = true, .drift = true},
                               still = {.programming_noise = true};
        cell_realise(c, &still, &d, target_S, 86400, fresh_S, 500);
        cell_realise(c, &drifting, &d, target_S, 0, old_S, 500);
        assert_memory_equal(fresh_S, old_S, sizeof fresh_S);
        cell_realise(c, &drifting, &d, target_S, 86400, old_S, 500);
        cell_model_of(c)->drift_exponent(cell_params(c), &d, target_S, nu, 500);
        double age_log = log((86400 + cell_common_of(c).t0_s) / cell_common_of(c).t0_s);
        for (int i = 0; i < 500; i++) {
            assert_near(old_S[i], fresh_S[i] * exp(-nu[i] * age_log), 1e-5 * fresh_S[i]);
        }
    }
    arena_destroy(a);
}

static double limited(double x, double low, double high) { return fmin(fmax(x, low), high); }

/* The fits of pcm_hermes_2dev change branch at r = .0945, .3055 and .16: just below and above each, exponent and read
 * noise of one device against the formulas in double. 1e-6 of nu and 1e-5 of the noise: single precision. */
static void hermes_changes_branch_at_its_splits(void **state) {
    (void)state;
    static const double at[] = {.0945 * .9999, .0945 * 1.0001, .3055 * .9999, .3055 * 1.0001,
                                .16 * .9999,   .16 * 1.0001,   1e-9,          1};
    struct arena *a = arena_create();
    const struct cell *c = part(a, "pcm_hermes_2dev");
    for (uint64_t k = 0; k < 8; k++) {
        double r = at[k], l = log(fmax(r, 1e-7));
        float target_S = (float)(r * 20.7e-6), nu, read_S;
        cell_model_of(c)->drift_exponent(cell_params(c), &(struct cell_draws){2, 3, k}, &target_S, &nu, 1);
        double mean = r < .0945 ? limited(-.0387 * l - .0182, .072, .13) : -.0436 * r * r - .0126 * r + .0736;
        double sd = r < .3055 ? limited(-.0117 * l - .0057, .0091, .04) : -.0118 * r * r + .0093 * r + .0073;
        assert_near(nu, fabs(mean + sd * random_gaussian(2, random_stream(RANDOM_DRIFT, 3), k)), 1e-6);
        cell_realise(c, &(struct cell_conditions){.read_noise = true}, &(struct cell_draws){2, 3, k}, &target_S, 60,
                     &read_S, 1);
        double q =
            r < .16 ? limited(-.0117 * l - .0069, .015, .04) : .0069 * r * r * r - .0280 * r * r + .0211 * r + .0123;
        float slow;
        struct history_moment moment = history_at(2, 360, 512e-9);
        history_state(&moment, &(struct cell_draws){2, 3, k}, &slow, 1);
        double noise = q * sqrt(log((360 + 512e-9) / (2 * 512e-9))) * slow;
        assert_near(read_S / target_S - 1, noise, 1e-5 * fabs(noise) + 2e-7);
    }
    arena_destroy(a);
}

/* Standard deviations of the published script at eleven points; golden values have five digits. */
static void afm_noise_has_the_published_sd(void **state) {
    (void)state;
    static const double golden[][2] = {{0.6001, 2.7129}, {10, 4.4795},   {20, 5.8125},   {50, 8.1747},
                                       {52.5, 8.3623},   {52.6, 8.3576}, {60, 8.4965},   {100, 8.4250},
                                       {120, 8.8661},    {140, 10.4141}, {160, 13.6609}, {180, 19.1984}};
    enum { SAMPLES = 1 << 16 };
    static float read_uS[SAMPLES];
    struct arena *a = arena_create();
    const struct cell *c = part(a, "pcm_afm");
    double units = 180 / (cell_common_of(c).g_max_S * 1e6);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            read_devices_uS(c, ALL, 20 + i, sign * golden[i][0] / units, 3600, read_uS, SAMPLES);
            struct moments m = moments_of(read_uS, SAMPLES);
            assert_near(m.mean * units, sign * golden[i][0], 4 * m.se_mean * units);
            assert_near(m.sd * units, golden[i][1], 4 * m.se_sd * units + 1e-4);
        }
    }
    arena_destroy(a);
}

/* Exactly 0 below 0.6 units, noisy from there; one device up to 52.5 units, two beyond: both sides of both edges, by
 * the noise of one and the same draw. 1e-4 units: single precision. */
static void afm_edges(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = part(a, "pcm_afm");
    double S_per_unit = cell_common_of(c).g_max_S / 180;
    double at[] = {0, 0.5999, -0.5999, 0.6001, -0.6001, 52.499, 52.501};
    float target_S[7], read_S[7];
    for (int i = 0; i < 7; i++) {
        target_S[i] = (float)(at[i] * S_per_unit);
        cell_realise(c, &ALL, &(struct cell_draws){1, 2, 3}, &target_S[i], 0, &read_S[i], 1);
    }
    double xi = random_gaussian(1, random_stream(RANDOM_PROGRAMMING, 2), 3);
    assert_true(read_S[0] == 0 && read_S[1] == 0 && read_S[2] == 0);
    assert_near(read_S[3] / S_per_unit, 0.6001 + 2.71293 * xi, 1e-4);
    assert_near(read_S[4] / S_per_unit, -0.6001 + 2.71293 * xi, 1e-4);
    assert_near(read_S[5] / S_per_unit,
                52.499 + xi * (2.5797410660159494 + 0.22419685954327148 * 52.499 -
                               0.00371581208142707 * pow(52.499, 2) + 2.939751381126213e-05 * pow(52.499, 3)),
                1e-4);
    assert_near(read_S[6] / S_per_unit,
                52.501 + xi * (2.110295720240385 + 0.2453487119885723 * 52.501 - 0.003054993405157235 * pow(52.501, 2) +
                               1.2329755395573392e-05 * pow(52.501, 3)),
                1e-4);
    arena_destroy(a);
}

/* ---- what every cell must keep ----------------------------------------------------------------------------- */

static void targets_of(const struct cell *c, float *target_S, int n) {
    struct cell_common k = cell_common_of(c);
    for (int i = 0; i < n; i++) {
        double low_S = k.pair_statistics ? -k.g_max_S : k.g_min_S;
        target_S[i] = (float)(low_S + (k.g_max_S - low_S) * i / (n - 1));
    }
}

/* Any cut of the work, and one call for several ages, give the same bytes. */
static void cutting_the_work_changes_nothing(void **state) {
    (void)state;
    enum { N = 1000 };
    struct arena *a = arena_create();
    for (const struct cell_model *const *m = cell_models; *m; m++) {
        const struct cell *c = part(a, (*m)->name);
        float target_S[N], whole_S[N], cut_S[N], fresh_S[N];
        targets_of(c, target_S, N);
        cell_realise(c, &ALL, &(struct cell_draws){8, 5, 77}, target_S, 3600, whole_S, N);
        for (size_t at = 0, step = 1; at < N; at += step, step = step % 300 + 37) {
            size_t n = N - at < step ? N - at : step;
            cell_realise(c, &ALL, &(struct cell_draws){8, 5, 77 + at}, target_S + at, 3600, cut_S + at, n);
        }
        assert_memory_equal(whole_S, cut_S, sizeof whole_S);
        float *both_S[] = {cut_S, fresh_S};
        cell_realise_ages(c, &ALL, &(struct cell_draws){8, 5, 77}, target_S, (double[]){3600, 0}, 2, both_S, NULL, N);
        assert_memory_equal(whole_S, cut_S, sizeof whole_S);
        cell_realise(c, &ALL, &(struct cell_draws){8, 5, 77}, target_S, 0, whole_S, N);
        assert_memory_equal(whole_S, fresh_S, sizeof whole_S);
    }
    arena_destroy(a);
}

static void every_kernel_gives_the_same_conductances(void **state) {
    (void)state;
    enum { N = 300 };
    const struct kernels *sets[8];
    size_t count = kernels_available(sets, 8);
    struct arena *a = arena_create();
    const struct cell *c = part(a, "pcm_like");
    float target_S[N], first_S[N], read_S[N];
    targets_of(c, target_S, N);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(kernels_select(sets[i]->name), 0);
        cell_realise(c, &ALL, &(struct cell_draws){1, 2, 1}, target_S, 86400, i ? read_S : first_S, N);
        assert_true(i == 0 || memcmp(first_S, read_S, sizeof read_S) == 0);
    }
    kernels_select(NULL);
    arena_destroy(a);
}

/* Every effect off: as read = target, bit for bit, at any age. Each effect on alone changes something. */
static void effects_switch_alone(void **state) {
    (void)state;
    enum { N = 100 };
    struct arena *a = arena_create();
    for (const struct cell_model *const *m = cell_models; *m; m++) {
        const struct cell *c = part(a, (*m)->name);
        float target_S[N], read_S[N];
        targets_of(c, target_S, N);
        struct cell_draws d = {4, 4, 0};
        cell_realise(c, &NONE, &d, target_S, 86400, read_S, N);
        assert_memory_equal(target_S, read_S, sizeof read_S);
        cell_realise(c, &(struct cell_conditions){.programming_noise = true}, &d, target_S, 86400, read_S, N);
        assert_int_equal(memcmp(target_S, read_S, sizeof read_S) != 0, strcmp((*m)->name, "ideal") != 0);
        cell_realise(c, &(struct cell_conditions){.drift = true}, &d, target_S, 86400, read_S, N);
        assert_int_equal(memcmp(target_S, read_S, sizeof read_S) != 0, (*m)->drift != NULL);
        cell_realise(c, &(struct cell_conditions){.read_noise = true}, &d, target_S, 86400, read_S, N);
        assert_int_equal(memcmp(target_S, read_S, sizeof read_S) != 0, (*m)->read_sd != NULL);
    }
    arena_destroy(a);
}

/* A dumped cell, read back, is the same cell. */
static void parts_survive_a_dump(void **state) {
    (void)state;
    enum { N = 200 };
    struct arena *a = arena_create();
    for (const struct cell_model *const *m = cell_models; *m; m++) {
        const struct cell *c = part(a, (*m)->name), *again = NULL;
        struct error e = {0};
        struct config_node *map = config_new_map(a, "dump", 0), *read_back = NULL;
        assert_int_equal(cell_dump(c, a, map, &e), OK);
        char *text = config_dump(map);
        if (config_parse(a, text, strlen(text), "dump", &read_back, &e) != OK ||
            cell_create(read_back, "", a, &again, &e) != OK) {
            fail_msg("%s\n%s", e.message, text);
        }
        mem_free(text);
        float target_S[N], one_S[N], two_S[N];
        targets_of(c, target_S, N);
        cell_realise(c, &ALL, &(struct cell_draws){1, 1, 1}, target_S, 60, one_S, N);
        cell_realise(again, &ALL, &(struct cell_draws){1, 1, 1}, target_S, 60, two_S, N);
        assert_memory_equal(one_S, two_S, sizeof one_S);
    }
    arena_destroy(a);
}

static void assert_refused(const char *yaml, const char *expected) {
    struct arena *a = arena_create();
    struct error e = {0};
    struct config_node *map = NULL;
    const struct cell *c = NULL;
    assert_int_equal(config_parse(a, yaml, strlen(yaml), "bad.yaml", &map, &e), OK);
    assert_int_equal(cell_create(map, "tile.cell.", a, &c, &e), ERR_USAGE);
    if (!strstr(e.message, expected)) {
        fail_msg("'%s' does not say '%s'", e.message, expected);
    }
    arena_destroy(a);
}

static void bad_parts_are_refused(void **state) {
    (void)state;
#define X(value) "{value: " value ", kind: published, source: x}"
#define G(max, min)                                                                                                    \
    "g_max_uS: {value: " max ", kind: published, source: x}\ng_min_uS: {value: " min ", kind: published, source: x}\n"
    assert_refused("g_max_uS: 3", "model: missing");
    assert_refused("[1, 2]", "bad.yaml:1: tile.cell: not a map (allowed: ");
    assert_refused("model: pcm_lik", "pcm_like");
    assert_refused("model: ideal\ng_max_uS: 25", "tile.cell.g_max_uS");
    assert_refused("model: ideal\n" G("1", "2"),
                   "g_min_uS = 2 is not below g_max_uS = 1 (allowed: g_min_uS < g_max_uS)");
    static const char five_coefficients[] =
        "model: pcm_afm\ng_max_uS: {value: 20, kind: published, source: x}\n"
        "g_max_units: " X("180") "\nzero_below_units: " X("0.6") "\ntwo_devices_above_units: " X("52.5")
        "\nsd_one_device: " X("[1, 2, 3, 4, 5]") "\nsd_two_devices: " X("[1]");
    assert_refused(five_coefficients, "sd_one_device has 5 numbers (allowed: 1 to 4)");
    static const char three_numbers[] =
        "model: pcm_like\n" G("25", "0")
        "t0_s: {value: 20, kind: published, source: x}\n"
        "t_read_ns: {value: 250, kind: published, source: x}\n"
        "programming_reference_uS: {value: 25, kind: published, source: x}\n"
        "programming_sd_uS: " X("[1]") "\ndrift_mean: " X("[1, 2, 3]") "\ndrift_sd: " X("[1, 2, 3, 4]")
        "\nread_noise: " X("[1, 1, 1, 1]");
    assert_refused(three_numbers, "drift_mean has 3 numbers");
#undef G
#undef X
}

/* ---- converters ---------------------------------------------------------------------------------------------- */

/* Both sides of every threshold, 1e-9 of a step away; on the threshold the even code. */
static void converter_thresholds(void **state) {
    (void)state;
    const double range = 3.7;
    for (int bits = 2; bits <= 10; bits++) {
        struct converter c = converter_make(bits);
        assert_int_equal(c.limit, (1 << (bits - 1)) - 1);
        for (int k = -c.limit; k < c.limit; k++) {
            double edge = (k + 0.5) * range / c.limit, little = 1e-9 * range / c.limit;
            bool clamped = true;
            assert_int_equal(converter_code(c, edge - little, range, &clamped), k);
            assert_false(clamped);
            assert_int_equal(converter_code(c, edge + little, range, &clamped), k + 1);
            assert_false(clamped);
            assert_int_equal(converter_code(c, k + 0.5, c.limit, NULL), k % 2 == 0 ? k : k + 1);
        }
        bool clamped = true;
        double last = (c.limit + 0.5) * range / c.limit;
        assert_int_equal(converter_code(c, last * (1 - 1e-9), range, &clamped), c.limit);
        assert_false(clamped);
        assert_int_equal(converter_code(c, last * (1 + 1e-9), range, &clamped), c.limit);
        assert_true(clamped);
        assert_int_equal(converter_code(c, -last * (1 + 1e-9), range, &clamped), -c.limit);
        assert_true(clamped);
    }
}

/* Facts on the paper, section 8: input 2 of range 2; results with lambda 12, 1 and 0.5. */
static void converter_has_the_papers_arithmetic(void **state) {
    (void)state;
    struct converter c = converter_make(8);
    const double x[] = {.5, -1, 2.5, .1}, q[] = {.5039370078740157, -1.0078740157480315, 2.0, .09448818897637795};
    for (int i = 0; i < 4; i++) {
        assert_near(converter_code(c, x[i], 2, NULL) * 2.0 / 127, q[i], 1e-12);
    }
    const double y[] = {.8566929133858268, -.42913385826771655}, w_max[] = {.3, 1};
    const double lambda[] = {12, 1, .5}, expected[][2] = {{.8503937007874015, -.3779527559055118},
                                                          {.6, -.4251968503937008},
                                                          {.3, -.4251968503937008}};
    for (int k = 0; k < 3; k++) {
        for (int o = 0; o < 2; o++) {
            double bound = lambda[k] * 2 * w_max[o];
            assert_near(converter_code(c, y[o], bound, NULL) * bound / 127, expected[k][o], 1e-12);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(logarithm_and_exponential),
    cmocka_unit_test(drift_is_a_power_law_per_device),
    cmocka_unit_test(hermes_changes_branch_at_its_splits),
    cmocka_unit_test(afm_noise_has_the_published_sd),
    cmocka_unit_test(afm_edges),
    cmocka_unit_test(cutting_the_work_changes_nothing),
    cmocka_unit_test(every_kernel_gives_the_same_conductances),
    cmocka_unit_test(effects_switch_alone),
    cmocka_unit_test(parts_survive_a_dump),
    cmocka_unit_test(bad_parts_are_refused),
    cmocka_unit_test(converter_thresholds),
    cmocka_unit_test(converter_has_the_papers_arithmetic),
};
const struct test_suite suite_devices = {"devices", tests, sizeof tests / sizeof tests[0]};
