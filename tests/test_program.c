/* Programming of machines: wires behind the conductances, schedules of refresh and compensation, what it takes. */
#include "base/threads.h"
#include "tests/machine_fixture.h"

enum { N = 40 };

static const char wires_1_ohm[] = "tile.wires.row_ohm=1 tile.wires.column_ohm=1 tile.wires.input_ohm=2 "
                                  "tile.wires.output_ohm=3 tile.wires.column_fF=1";

static bool same_weights(const struct fixture *a, const struct fixture *b) {
    const struct array *x = a->machine->arrays[0], *y = b->machine->arrays[0];
    size_t n = (size_t)x->row_stride * x->columns;
    return x->weights ? memcmp(x->weights, y->weights, n * sizeof(float)) == 0
                      : memcmp(x->codes, y->codes, n * sizeof(int16_t)) == 0 &&
                            memcmp(x->code_scale, y->code_scale, x->columns * x->row_blocks * sizeof(float)) == 0;
}

/* ---- wires ------------------------------------------------------------------------------------------------- */

/* Effective weights are those of the exact network: method exact to fp32 (1e-6 of full scale), automatic to its
 * tolerance; off and without the group: bit-identical. */
static void wires_act_on_effective_weights(void **state) {
    (void)state;
    char sets[400];
    struct fixture *plain = fixture_open("ideal", "effects.wires=on tile.rows=40 tile.columns=40", N, N, NULL, 0), *f;
    snprintf(sets, sizeof sets, "effects.wires=off tile.rows=40 tile.columns=40 %s", wires_1_ohm);
    f = fixture_open("ideal", sets, N, N, NULL, 0);
    assert_true(same_weights(plain, f));
    assert_false(machine_wires(f->machine).act);
    fixture_close(f);
    for (int method = 0; method < 2; method++) {
        snprintf(sets, sizeof sets, "effects.wires=on tile.rows=40 tile.columns=40 %s tile.wires.method=%s",
                 wires_1_ohm, method ? "automatic" : "exact");
        f = fixture_open("ideal", sets, N, N, NULL, 0);
        struct wires w = machine_wires_of(f->machine);
        struct tile_conductances t;
        struct network *network = NULL;
        struct error e = {0};
        double g_S[2 * N * N], E[2][N], largest = 0, full_S = 0, span_S = f->machine->plan.span_S;
        assert_int_equal(machine_tile_conductances(f->machine, 0, 0, 0, &t, &e), OK);
        for (uint32_t i = 0; i < 2 * N * N; i++) {
            g_S[i] = t.crossing_S[i];
        }
        assert_int_equal(network_create(&w, N, 2 * N, g_S, &network, &e), OK);
        for (uint32_t o = 0; o < N; o++) {
            double off_S = 0, sum_S = 0, scale = f->machine->arrays[0]->weight_scale[o];
            for (uint32_t leg = 0; leg < 2; leg++) {
                assert_int_equal(network_column(network, 2 * o + leg, E[leg], &e), OK);
            }
            for (uint32_t i = 0; i < N; i++) {
                off_S += fabs(weight_at(f, o, i) * span_S / scale - (E[0][i] - E[1][i]));
                sum_S += E[0][i];
            }
            largest = fmax(largest, off_S);
            full_S = fmax(full_S, sum_S);
        }
        assert_true(largest <= (method ? 2e-3 : 1e-6) * full_S); /* two columns of 1e-3 each */
        struct machine_wires report = machine_wires(f->machine);
        assert_true(report.act && report.tiles == 1 && report.measured_tiles == 1);
        assert_true(report.measured_error <= (method ? 1e-3 : 1e-6));
        assert_true(report.mean_loss > 0.005 && report.mean_loss < 0.2);
        assert_true(report.settling_s > 0);
        assert_false(same_weights(plain, f));
        network_destroy(network);
        mem_free(t.crossing_S);
        mem_free(t.effective_S);
        fixture_close(f);
    }
    fixture_close(plain);
}

/* Energy of the array falls with what the wires take; the loss of full-scale current is the loss of row_S. */
static void wires_take_current(void **state) {
    (void)state;
    char sets[400];
    snprintf(sets, sizeof sets, "effects.wires=on tile.rows=40 tile.columns=40 %s", wires_1_ohm);
    struct fixture *plain = fixture_open("ideal", "tile.rows=40 tile.columns=40", N, N, NULL, 0),
                   *f = fixture_open("ideal", sets, N, N, NULL, 0);
    double before = 0, after = 0;
    for (uint32_t i = 0; i < N; i++) {
        before += plain->machine->arrays[0]->row_S[i];
        after += f->machine->arrays[0]->row_S[i];
    }
    assert_near(1 - after / before, machine_wires(f->machine).mean_loss, 1e-3);
    fixture_close(plain);
    fixture_close(f);
}

static void wires_of_pairs_as_a_whole(void **state) {
    (void)state;
    char sets[400];
    struct fixture *f = NULL;
    struct error e = {0};
    snprintf(sets, sizeof sets, "effects.wires=on %s", wires_1_ohm);
    assert_int_equal(fixture_try("afm", sets, 4, 4, NULL, 0, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.wires: cell model pcm_afm is a signed pair as a whole"));
}

/* Of 100 tiles one conducts much; its folding is the worst, and it is measured whatever the seed: the error is that of
 * the same tile alone. Three columns of each measured tile. */
static void worst_tile_is_measured(void **state) {
    (void)state;
    enum { TILE = 16, SIDE = 10, ALL = TILE * SIDE, AT = 7 };
    float *one = mem_alloc(TILE * TILE, sizeof *one), *many = mem_alloc(ALL * ALL, sizeof *many);
    for (size_t o = 0; o < ALL; o++) {
        for (size_t i = 0; i < ALL; i++) {
            bool full = o / TILE == AT && i / TILE == AT;
            many[o * ALL + i] = full || i % TILE == 0 ? 1 : 0.01f;
        }
    }
    for (size_t i = 0; i < TILE * TILE; i++) {
        one[i] = 1;
    }
    char sets[512];
    snprintf(sets, sizeof sets, "effects.wires=on tile.rows=16 tile.columns=16 tile.wires.method=product %s",
             wires_1_ohm);
    struct fixture *alone = fixture_open("ideal", sets, TILE, TILE, one, 0),
                   *f = fixture_open("ideal", sets, ALL, ALL, many, 0);
    struct machine_wires a = machine_wires(alone->machine), b = machine_wires(f->machine);
    assert_int_equal(a.measured_tiles, 1);
    assert_int_equal(b.measured_tiles, 3);
    assert_int_equal(b.measured_columns, 9);
    assert_true(a.measured_error > 0 && b.measured_error == a.measured_error);
    fixture_close(alone);
    fixture_close(f);
}

/* ---- schedules ------------------------------------------------------------------------------------------------ */

/* With refresh, the first programming is the one without; after a period the devices are as old as their last
 * programming, and drawn afresh. */
static void refresh_programs_again(void **state) {
    (void)state;
    struct fixture *plain = fixture_open("pcm256", "", N, N, NULL, 50), *first, *later, *even_later;
    first = fixture_open("pcm256", "tile.refresh_period_s=1000", N, N, NULL, 50);
    later = fixture_open("pcm256", "tile.refresh_period_s=1000", N, N, NULL, 1050);
    even_later = fixture_open("pcm256", "tile.refresh_period_s=1000", N, N, NULL, 2050);
    assert_true(same_weights(plain, first));
    assert_false(same_weights(first, later));
    assert_false(same_weights(later, even_later));
    assert_near(machine_age_since_programming_s(even_later->machine), 50, 1e-9);
    assert_int_equal(machine_programming(first->machine).programmings, 1);
    assert_int_equal(machine_programming(even_later->machine).programmings, 3);
    struct machine_programming a = machine_programming(first->machine), b = machine_programming(even_later->machine);
    if (isfinite(a.seconds)) { /* the same work three times over; verify reads of new draws differ by a little */
        assert_near(b.seconds / a.seconds, 3, 0.3);
        assert_near(b.joules / a.joules, 3, 0.3);
    }
    fixture_close(plain);
    fixture_close(first);
    fixture_close(later);
    fixture_close(even_later);
}

/* Between two measurements the factor is the one of the last; at a measurement it is that of the age itself. */
static void compensation_follows_its_schedule(void **state) {
    (void)state;
    struct fixture *at_2000 = fixture_open("pcm256", "", N, N, NULL, 2000),
                   *at_2999 = fixture_open("pcm256", "tile.compensation_period_s=1000", N, N, NULL, 2999),
                   *at_999 = fixture_open("pcm256", "tile.compensation_period_s=1000", N, N, NULL, 999);
    float expected = at_2000->machine->arrays[0]->compensation[0];
    assert_true(expected > 1);
    assert_true(at_2999->machine->arrays[0]->compensation[0] == expected);
    assert_true(at_999->machine->arrays[0]->compensation[0] == 1); /* none yet but the reference itself */
    fixture_close(at_2000);
    fixture_close(at_2999);
    fixture_close(at_999);
}

/* More periods than can be counted are refused, both sides: 1e9 and a few. */
static void periods_are_not_endless(void **state) {
    (void)state;
    static const char *const keys[] = {"tile.refresh_period_s", "tile.compensation_period_s"},
                             *const chips[] = {"ideal", "pcm256"}; /* an ideal cell takes no time that is known */
    for (size_t k = 0; k < 2; k++) {
        char sets[64], said[128];
        struct fixture *f = NULL;
        struct error e = {0};
        snprintf(sets, sizeof sets, "%s=1e-6", keys[k]);
        fixture_close(fixture_open(chips[k], sets, 4, 4, NULL, 1000));
        assert_int_equal(fixture_try(chips[k], sets, 4, 4, NULL, 1001, NULL, 0, &f, &e), ERR_USAGE);
        snprintf(said, sizeof said, "%s: 1e-06 s are over more than 1e+09 times at the age of 1001 s", keys[k]);
        assert_non_null(strstr(e.message, said));
    }
}

/* 32 x 32 weights are 2048 devices of 20 pulses and reads of 150 + 512 ns, one after the other: 27.1 ms. Both sides. */
static void refresh_is_not_faster_than_programming(void **state) {
    (void)state;
    struct fixture *f = fixture_open("pcm256", "tile.refresh_period_s=0.0272", 32, 32, NULL, 1);
    struct error e = {0};
    assert_near(machine_programming(f->machine).seconds / 37, 2048 * 20 * 662e-9, 1e-9); /* 1 + floor(1 / 0.0272) */
    fixture_close(f);
    assert_int_equal(fixture_try("pcm256", "tile.refresh_period_s=0.0271", 32, 32, NULL, 0, NULL, 0, &f, &e),
                     ERR_USAGE);
    assert_string_equal(e.message,
                        "tile.refresh_period_s: 0.0271 s, but programming a tile takes 0.0271155 s (allowed: 0 for "
                        "never, at least 0.0271155 s, or more devices at once by tile.program_parallel)");
    fixture_close(fixture_open("pcm256", "tile.refresh_period_s=0.0271 tile.program_parallel=2", 32, 32, NULL, 0));
}

/* Without noise, drift by one exponent for all: readout against the targets gives back exactly what drift took. */
static void exact_reference_knows_the_targets(void **state) {
    (void)state;
    static const char *const encodings[] = {"differential_pair", "one_device", "reference_column", "offset_column"};
    for (size_t k = 0; k < 4; k++) {
        char sets[400];
        snprintf(
            sets, sizeof sets,
            "tile.cell=pcm_like effects.drift=on tile.cell.drift_mean=[0,0.1,0.1,0.1] tile.cell.drift_sd=[0,0,0,0] "
            "tile.compensation=exact_reference tile.encoding=%s",
            encodings[k]);
        struct fixture *f = fixture_open("ideal", sets, N, N, NULL, 86400);
        assert_near(f->machine->arrays[0]->compensation[0], pow((86400 + 20) / 20.0, 0.1), 2e-5);
        fixture_close(f);
    }
}

/* ---- what programming takes ------------------------------------------------------------------------------------- */

/* Two devices per weight, one pulse each where nothing is verified; a part without costs says so by NAN. */
static void programming_is_counted(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal", "tile.devices=3 tile.rows=16 tile.columns=16", N, 30, NULL, 0);
    struct machine_programming p = machine_programming(f->machine);
    assert_int_equal(p.devices, 2 * 3 * N * 30);
    assert_int_equal(p.pulses, p.devices);
    assert_int_equal(p.failed, 0);
    assert_true(isnan(p.seconds) && isnan(p.joules) && isnan(p.endurance_used));
    fixture_close(f);
}

/* The cell's formula, per tenth of the range: normal, mean 0, sd 0.008 of the span, or in proportion to the target. The
 * lowest tenth is left out: conductances end at 0. 4 standard errors of a normal distribution, and for the proportional
 * one between the edges of its bin. */
static void errors_follow_the_formula(void **state) {
    (void)state;
    static const char *const laws[] = {"independent", "proportional"};
    for (int law = 0; law < 2; law++) {
        char sets[256];
        snprintf(sets, sizeof sets,
                 "tile.cell=generic effects.programming_noise=on tile.cell.programming_error=%s "
                 "tile.encoding=one_device effects.drift=on effects.read_noise=on tile.rows=50",
                 laws[law]);
        struct fixture *f = fixture_open("ideal", sets, 200, 100, NULL, 1e6);
        struct programming_error error = machine_programming(f->machine).error;
        assert_int_equal(error.all.count, 100 * 100); /* every second output: at most 2^14 devices of 20,000 */
        uint64_t count = error.below + error.above, in_bins = 0;
        for (size_t i = 0; i < ERROR_BINS; i++) {
            count += error.histogram[i];
        }
        assert_int_equal(count, error.all.count);
        for (int i = 0; i < ERROR_TARGET_BINS; i++) {
            const struct error_moments *m = &error.target[i];
            double n = (double)m->count, low = law ? 0.0008 * i : 0.008, high = law ? 0.0008 * (i + 1) : 0.008;
            in_bins += m->count;
            if (i > 0 && m->count > 30) {
                assert_true(fabs(m->mean) <= 4 * high / sqrt(n));
                assert_true(m->sd >= low * (1 - 4 / sqrt(2 * n)) && m->sd <= high * (1 + 4 / sqrt(2 * n)));
            }
        }
        assert_int_equal(in_bins, error.all.count);
        assert_true(error.target[5].count > 1000);
        fixture_close(f);
    }
}

static void errors_do_not_depend_on_threads(void **state) {
    (void)state;
    struct machine_programming p[2];
    int threads = threads_count();
    for (int i = 0; i < 2; i++) {
        threads_set(1 + 3 * i);
        struct fixture *f = fixture_open("pcm256", "tile.rows=16 tile.columns=16", 70, 90, NULL, 0);
        p[i] = machine_programming(f->machine);
        fixture_close(f);
    }
    threads_set(threads);
    assert_true(p[0].error.all.count > 1000);
    assert_memory_equal(&p[0].error, &p[1].error, sizeof p[0].error);
}

/* Tiles work side by side: four tiles take as long as one, and program_parallel divides the time. */
static void time_of_programming(void **state) {
    (void)state;
    struct fixture *one = fixture_open("pcm256", "tile.rows=32 tile.columns=32", 32, 32, NULL, 0),
                   *four = fixture_open("pcm256", "tile.rows=32 tile.columns=32", 64, 64, NULL, 0),
                   *rows =
                       fixture_open("pcm256", "tile.rows=32 tile.columns=32 tile.program_parallel=32", 32, 32, NULL, 0);
    struct machine_programming a = machine_programming(one->machine), b = machine_programming(four->machine),
                               c = machine_programming(rows->machine);
    const struct programming_costs *k = cell_programming_costs(one->machine->spec->tile.cell);
    assert_non_null(k);
    assert_near(a.seconds, a.pulses * k->pulse_s.value + a.verify_reads * k->verify_s.value, 1e-9 * a.seconds);
    assert_near(a.joules, a.pulses * k->pulse_J.value + a.verify_reads * k->verify_J.value, 1e-9 * a.joules);
    assert_near(b.seconds / a.seconds, 1, 0.05); /* the slowest of four */
    assert_near(b.joules / a.joules, 4, 0.1);
    assert_near(c.seconds, a.seconds / 32, 1e-9 * a.seconds);
    fixture_close(one);
    fixture_close(four);
    fixture_close(rows);
}

/* Temperature acts where the part has the group; off: bit-identical. */
static void temperature_acts_and_switches_off(void **state) {
    (void)state;
    struct fixture *cool = fixture_open("pcm256", "", N, N, NULL, 3600),
                   *off = fixture_open("pcm256", "tile.temperature_K=350 effects.temperature=off", N, N, NULL, 3600),
                   *warm = fixture_open("pcm256", "tile.temperature_K=350", N, N, NULL, 3600);
    assert_true(same_weights(cool, off));
    assert_false(same_weights(cool, warm));
    fixture_close(cool);
    fixture_close(off);
    fixture_close(warm);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wires_act_on_effective_weights),
    cmocka_unit_test(wires_take_current),
    cmocka_unit_test(wires_of_pairs_as_a_whole),
    cmocka_unit_test(worst_tile_is_measured),
    cmocka_unit_test(refresh_programs_again),
    cmocka_unit_test(compensation_follows_its_schedule),
    cmocka_unit_test(periods_are_not_endless),
    cmocka_unit_test(refresh_is_not_faster_than_programming),
    cmocka_unit_test(exact_reference_knows_the_targets),
    cmocka_unit_test(programming_is_counted),
    cmocka_unit_test(errors_follow_the_formula),
    cmocka_unit_test(errors_do_not_depend_on_threads),
    cmocka_unit_test(time_of_programming),
    cmocka_unit_test(temperature_acts_and_switches_off),
};
const struct test_suite suite_program = {"program", tests, sizeof tests / sizeof tests[0]};
