/* More devices per weight for single matrices: what it does to the noise of a tile and of the student, what it costs,
 * what is refused, and which matrices fit gives them to.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_linear.h"
#include "models/internal.h"
#include "sim/chip_costs.h"
#include "sim/run.h"
#include "tests/golden.h"
#include "tests/machine_fixture.h"

static struct fixture *open_devices(const char *chip, const char *sets, uint32_t outputs, uint32_t inputs, float *w,
                                    uint32_t devices) {
    struct matrix_source source = {.inputs = inputs, .outputs = outputs, .devices = devices};
    struct fixture *f = NULL;
    struct error e = {0};
    if (fixture_source(chip, sets, &source, w, 60, &f, &e) != OK) {
        fail_msg("%s %s: %s", chip, sets, e.message);
    }
    return f;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

enum { SIDE = 128 };

/* Variance of effective weights around 0.4, of columns whose largest weight is 1. */
static double variance_of(const char *chip, uint32_t devices) {
    float *w = mem_alloc((size_t)SIDE * SIDE, sizeof *w);
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) {
        w[i] = i % SIDE == 0 ? 1 : 0.4f;
    }
    struct fixture *f = open_devices(chip, "effects=off effects.programming_noise=on tile.rows=128 tile.columns=128",
                                     SIDE, SIDE, w, devices);
    double sum = 0, squares = 0, n = SIDE * (SIDE - 1);
    for (uint32_t o = 0; o < SIDE; o++) {
        for (uint32_t i = 1; i < SIDE; i++) {
            double off = (double)weight_at(f, o, i) - 0.4;
            sum += off;
            squares += off * off;
        }
    }
    fixture_close(f);
    return squares / n - sum / n * (sum / n);
}

/* Errors of n devices average out: 1 / n, within 4 standard errors of a ratio of two variances of 16,256 errors each
 * (4.4 %; measured: 1.9 % at most). Two cells, one a signed pair, one single devices. */
static void variance_falls_as_one_over_n(void **state) {
    (void)state;
    static const char *const chips[] = {"afm", "pcm256"};
    static const uint32_t devices[] = {2, 3, 8};
    const double error = 4 * sqrt(2 * 2.0 / (SIDE * (SIDE - 1)));
    for (size_t c = 0; c < sizeof chips / sizeof chips[0]; c++) {
        double one = variance_of(chips[c], 0);
        assert_true(one > 0);
        for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
            double ratio = variance_of(chips[c], devices[i]) * devices[i] / one;
            if (!(fabs(ratio - 1) < error)) {
                fail_msg("%s, %u devices: variance x devices is %g of that of one", chips[c], devices[i], ratio);
            }
        }
    }
}

/* A matrix with its own number of devices is the same, bit by bit, as one on a chip with that number: all ways of
 * programming, reading and adding. */
static void the_same_as_a_chip_with_that_number(void **state) {
    (void)state;
    enum { O = 37, I = 70, T = 5 };
    static const struct { const char *chip, *sets; } cases[] = {
        {"afm", "tile.rows=32 tile.columns=16"},
        {"pcm256", "tile.rows=32 tile.columns=16"},
        {"pcm256", "tile.rows=32 tile.columns=16 tile.encoding=offset_column tile.slices=2 tile.slice_bits=3"},
        {"pcm256_wires", "tile.rows=32 tile.columns=16"},
        {"pcm256", "tile.rows=32 tile.columns=16 effects.faults=on tile.faults.stuck_g_min=0.02"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char sets[400];
        snprintf(sets, sizeof sets, "%s tile.devices=3", cases[c].sets);
        struct fixture *own = open_devices(cases[c].chip, cases[c].sets, O, I, NULL, 3),
                       *chip = open_devices(cases[c].chip, sets, O, I, NULL, 0),
                       *one = open_devices(cases[c].chip, cases[c].sets, O, I, NULL, 0);
        float *x = gaussians(T * I, 3);
        calibrate(own, x, T);
        calibrate(chip, x, T);
        calibrate(one, x, T);
        float *a = multiply(own, x, T), *b = multiply(chip, x, T), *other = multiply(one, x, T);
        assert_memory_equal(a, b, O * T * sizeof *a);
        assert_memory_not_equal(a, other, O * T * sizeof *a);
        mem_free(a);
        mem_free(b);
        mem_free(other);
        mem_free(x);
        fixture_close(own);
        fixture_close(chip);
        fixture_close(one);
    }
}

/* The same weights and noise numbers with 4 devices: half the noise of the student. */
static void students_noise_falls_as_the_root(void **state) {
    (void)state;
    enum { I = 24, O = 20 };
    struct error e;
    struct chip *c;
    struct analog_rule rule;
    static real noisy[2][O * I];
    static float weights[O * I], numbers[I + PANEL];
    static real largest[O], limit[O], block;
    const uint32_t begin[2] = {0, I};
    must(chip_load("afm", NULL, 0, &c, &e), &e);
    must(student_rule_of_chip(c, &rule, &e), &e);
    rule.noise = TRAIN_NOISE_CELL;
    rule.clip = TRAIN_CLIP_NONE;
    random_gaussian_fill(1, random_stream(RANDOM_TEST, 5), 0, weights, O * I);
    for (size_t k = 0; k < 2; k++) {
        struct analog_layer l = {.rule = &rule, .inputs = I, .outputs = O, .blocks = 1, .begin = begin,
                                 .weight = weights, .noisy = noisy[k], .largest = largest, .limit = limit,
                                 .block_largest = &block, .cell_noise = (float)sqrt(chip_noise_share(c, k ? 4 : 0))};
        const struct analog_pass pass = {.mode = STUDENT_NOISY, .key = 3};
        analog_measure_weights(&l);
        analog_make_weights(&l, &pass, 0, O, numbers);
    }
    for (size_t i = 0; i < O * I; i++) { /* rounding of sums: 1e-6 of weights of size 1 */
        assert_near(noisy[1][i] - weights[i], (noisy[0][i] - weights[i]) / 2, 1e-6);
    }
    chip_destroy(c);
}

/* ---- costs ------------------------------------------------------------------------------------------------------- */

/* 3 devices instead of 1: the current of the cells, their area, and writes are three times as much; tiles and
 * conversions stay. 300 x 40 weights are 3 x 2 tiles of 128 x 32 cells; the chip has 64 of them. */
static void costs_by_hand(void **state) {
    (void)state;
    enum { O = 40, I = 300, T = 2, TILES = 6, CHIP_TILES = 64 };
    const char *sets = "effects=off tile.rows=128 tile.columns=32";
    struct fixture *one = open_devices("afm", sets, O, I, NULL, 0), *three = open_devices("afm", sets, O, I, NULL, 3);
    float *x = gaussians(T * I, 3);
    mem_free(multiply(one, x, T));
    mem_free(multiply(three, x, T));
    assert_near(three->record.array_S_sum / one->record.array_S_sum, 3, 1e-5); /* sums in single precision */
    assert_int_equal(three->record.adc_conversions, one->record.adc_conversions);
    struct placement_total t = placement_total(three->placement);
    assert_near(t.more_arrays, 2 * TILES, 1e-12);
    assert_int_equal(t.tiles, TILES);
    assert_int_equal(placement_matrix_at(three->placement, 0).devices, 3);
    struct area_view a = placement_area(one->chip, one->placement), b = placement_area(one->chip, three->placement);
    assert_near(b.part_mm2[PART_ARRAY] / a.part_mm2[PART_ARRAY], 1 + 2.0 * TILES / CHIP_TILES, 1e-12);
    assert_near(b.total_mm2 - a.total_mm2, b.part_mm2[PART_ARRAY] - a.part_mm2[PART_ARRAY], 1e-9);
    mem_free(x);
    fixture_close(one);
    fixture_close(three);
}

/* Writes, their time and energy: of a cell that says what they take. */
static void writes_are_counted(void **state) {
    (void)state;
    const char *sets = "effects=off tile.rows=32 tile.columns=32";
    struct fixture *one = open_devices("pcm256", sets, 20, 30, NULL, 0),
                   *three = open_devices("pcm256", sets, 20, 30, NULL, 3);
    struct machine_programming p = machine_programming(one->machine), q = machine_programming(three->machine);
    assert_int_equal(q.devices, 3 * p.devices);
    assert_int_equal(q.pulses, 3 * p.pulses);
    assert_true(p.joules > 0 && p.seconds > 0);
    assert_near(q.joules / p.joules, 3, 1e-12);
    assert_near(q.seconds / p.seconds, 3, 1e-12);
    fixture_close(one);
    fixture_close(three);
}

/* Where the energy of the array is given per MVM it grows with the cells. */
static void given_energy_of_the_array(void **state) {
    (void)state;
    double array_J[2];
    struct error e;
    for (uint32_t k = 0; k < 2; k++) {
        struct chip *c;
        struct placement *p;
        struct run *r;
        struct matrix_source source = {.name = "layers.0.q", .role = MATRIX_Q, .inputs = 100, .outputs = 50,
                                       .devices = k ? 4 : 0};
        must(chip_load("isaac", NULL, 0, &c, &e), &e);
        must(placement_create(c, &source, 1, &p, &e), &e);
        must(run_create_costs(c, p, 1, &r, &e), &e);
        run_begin_step(r, 1);
        run_record_multiply(r, &(struct multiply_record){.matrix = 0, .tokens = 1, .adc_conversions = 1,
                                                         .dac_conversions = 1, .array_S_sum = 1e-6});
        run_end_step(r);
        array_J[k] = run_ledger(r).energy_J[PART_ARRAY];
        run_destroy(r);
        placement_destroy(p);
        chip_destroy(c);
    }
    assert_near(array_J[1] / array_J[0], 4, 1e-12);
}

static void nine_devices_are_refused(void **state) {
    (void)state;
    struct matrix_source source = {.inputs = 10, .outputs = 10, .devices = 9};
    struct fixture *f;
    struct error e;
    assert_int_equal(fixture_source("afm", "", &source, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "9 devices per weight (allowed: 1 to 8"));
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

enum { CASE_MATRICES = 4 };

static double noise_of(const struct fit_candidate *c, const uint32_t *devices, uint32_t own) {
    double sum = 0;
    for (size_t i = 0; i < CASE_MATRICES; i++) {
        sum += c[i].noise * own / devices[i];
    }
    return sum;
}

/* All numbers of devices of all matrices. */
static double best_by_trying(const struct fit_candidate *c, uint32_t own, double arrays) {
    double least = INFINITY;
    uint32_t d[CASE_MATRICES];
    for (d[0] = own; d[0] <= 8; d[0]++) {
        for (d[1] = own; d[1] <= 8; d[1]++) {
            for (d[2] = own; d[2] <= 8; d[2]++) {
                for (d[3] = own; d[3] <= 8; d[3]++) {
                    double used = 0;
                    for (size_t i = 0; i < CASE_MATRICES; i++) {
                        used += c[i].arrays * (d[i] - own) / own;
                    }
                    least = used <= arrays * (1 + 1e-9) ? fmin(least, noise_of(c, d, own)) : least;
                }
            }
        }
    }
    return least;
}

/* The most that one device more would save. */
static double next_step(const struct fit_candidate *c, uint32_t own) {
    double most = 0;
    for (size_t i = 0; i < CASE_MATRICES; i++) {
        double n = c[i].devices;
        most = fmax(most, n < 8 ? c[i].noise * own * (1 / n - 1 / (n + 1)) : 0);
    }
    return most;
}

/* Tiles of equal number: as good as the best of all choices. Of different number: worse by at most one step, the first
 * that did not fit (with a part of it the choice would be the best of all). */
static void greedy_against_all_choices(void **state) {
    (void)state;
    for (uint32_t own = 1; own <= 2; own++) {
        for (size_t round = 0; round < 24; round++) {
            struct fit_candidate c[CASE_MATRICES];
            bool equal = round % 2 == 0;
            double arrays = 1 + (double)(round % 7) * 2, used;
            for (size_t i = 0; i < CASE_MATRICES; i++) {
                c[i] = (struct fit_candidate){(double)uniform(70 + round, i) + 0.01,
                                              equal ? 2 : 1 + floor(3 * (double)uniform(170 + round, i)), own};
            }
            used = fit_choose_devices(c, CASE_MATRICES, own, arrays);
            uint32_t chosen[CASE_MATRICES];
            double by_hand = 0;
            for (size_t i = 0; i < CASE_MATRICES; i++) {
                chosen[i] = c[i].devices;
                by_hand += c[i].arrays * (chosen[i] - own) / own;
            }
            double mine = noise_of(c, chosen, own), least = best_by_trying(c, own, arrays);
            assert_near(used, by_hand, 1e-9);
            assert_true(used <= arrays * (1 + 1e-9));
            if (!(mine <= least + 1e-9 + (equal ? 0 : next_step(c, own)))) {
                fail_msg("own %u, round %zu: %g, the best %g", own, round, mine, least);
            }
        }
    }
}

/* With 4 devices the noise of weights that are written as they are is a fourth. */
static void reconstruction_knows_the_devices(void **state) {
    (void)state;
    enum { I = 12, O = 3 };
    struct error e;
    struct chip *c;
    float square[I * I] = {0}, w[O * I], scales[O];
    double before[2][O], after[2][O];
    must(chip_load("afm", NULL, 0, &c, &e), &e);
    for (uint32_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < I; i++) {
            square[i * I + i] = 1 + (float)i;
        }
        for (size_t i = 0; i < O * I; i++) {
            w[i] = uniform(9, i) - 0.5f;
        }
        struct fit_layer l = {.inputs = I, .outputs = O, .devices = k ? 4 : 0, .square = square, .weights = w,
                              .scales = scales, .before = before[k], .after = after[k]};
        must(fit_reconstruct_layer(c, &l, &e), &e);
    }
    for (size_t o = 0; o < O; o++) {
        assert_near(before[1][o] / before[0][o], 0.25, 1e-6);
        assert_true(after[1][o] < after[0][o]);
    }
    chip_destroy(c);
}

/* fit writes the numbers, the folder brings them back, and the placement takes no more cells than were asked for. */
static void folder_with_devices(void **state) {
    (void)state;
    char path[1200], *err;
    snprintf(path, sizeof path, "%s/fitted", scratch_directory());
    const char *const args[] = {"adapt", "fit", "--model", shared_path("models/stories260K"), "--chip", "afm",
                                "--tokens", "128", "--window", "16", "--digital", "0", "--ranges", "off",
                                "--reconstruct", "off", "--redundancy", "0.3", "--threads", "1", "--out", path,
                                "--quiet", NULL};
    if (run_mho(args, 60, NULL, &err) != 0) {
        fail_msg("adapt fit: %s", err);
    }
    mem_free(err);
    struct model *m = open_model(path);
    struct error e;
    struct chip *c;
    struct placement *p;
    bool more = false;
    must(chip_load("afm", NULL, 0, &c, &e), &e);
    must(placement_create(c, m->sources, m->matrix_count, &p, &e), &e);
    struct placement_total t = placement_total(p);
    for (size_t i = 0; i < m->matrix_count; i++) {
        assert_true(m->sources[i].devices <= DEVICES_MOST);
        more = more || m->sources[i].devices > 1;
    }
    assert_true(more);
    assert_true(t.more_arrays > 0.25 * (double)t.tiles && t.more_arrays <= 0.3 * (double)t.tiles + 1e-9);
    placement_destroy(p);
    chip_destroy(c);
    model_close(m);
}

/* More devices that do not help on the noisy chip are not taken, and that is said. One window of 8 tokens is left for
 * the trials, and this seed's noise on it prefers the chip's own number, by 0.1 nats: far more than what another kernel
 * changes. */
static void what_does_not_help_is_not_taken(void **state) {
    (void)state;
    char path[1200], said[80], *text;
    snprintf(path, sizeof path, "%s/fitted", scratch_directory());
    const char *args[] = {"adapt", "fit", "--json", "--model", shared_path("models/stories260K"), "--chip", "afm",
                          "--tokens", "64", "--window", "8", "--digital", "0", "--reconstruct", "off",
                          "--redundancy", "0.1", "--seed", "10", "--threads", "1", "--out", path, NULL};
    json_t *j = mho_json(args), *step = json_object_get(json_object_get(j, "expected"), "redundancy");
    double with = json_number_value(json_object_get(j, "trial_nats"));
    double without = json_number_value(json_object_get(j, "own_devices_nats"));
    assert_true(without > 0 && without < with);
    assert_true(json_is_false(json_object_get(step, "taken")));
    assert_true(json_number_value(json_object_get(step, "after_nats")) <
                json_number_value(json_object_get(step, "before_nats")));
    assert_true(json_number_value(json_object_get(j, "more_cells")) == 0);
    assert_true(json_is_null(json_object_get(j, "matrices_with_devices")));
    args[2] = "--quiet";
    assert_int_equal(run_mho(args, 60, &text, NULL), 0);
    snprintf(said, sizeof said, "%.4f nats per token with it, %.4f without", with, without);
    if (!strstr(text, "not taken") || !strstr(text, said)) {
        fail_msg("\"%s\" is missing: %s", said, text);
    }
    struct model *m = open_model(path);
    for (size_t i = 0; i < m->matrix_count; i++) {
        assert_int_equal(m->sources[i].devices, 0);
    }
    mem_free(text);
    json_decref(j);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(variance_falls_as_one_over_n),
    cmocka_unit_test(the_same_as_a_chip_with_that_number),
    cmocka_unit_test(students_noise_falls_as_the_root),
    cmocka_unit_test(costs_by_hand),
    cmocka_unit_test(writes_are_counted),
    cmocka_unit_test(given_energy_of_the_array),
    cmocka_unit_test(nine_devices_are_refused),
    cmocka_unit_test(greedy_against_all_choices),
    cmocka_unit_test(reconstruction_knows_the_devices),
    cmocka_unit_test(folder_with_devices),
    cmocka_unit_test(what_does_not_help_is_not_taken),
};
const struct test_suite suite_redundancy = {"redundancy", tests, sizeof tests / sizeof tests[0]};
