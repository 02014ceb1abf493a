/* The worked example of docs/timing.md: 512 x 512 on four tiles and a mesh of 2 x 2, every nanosecond and
 * femtojoule. */
#include "tests/run_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "sim/run.h"

enum { N = 512, T = 2 };

static enum status all_ones(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)context, (void)first, (void)e;
    for (size_t i = 0; i < (size_t)count * N; i++) {
        rows[i] = 1;
    }
    return OK;
}

static const char *const keys[] = {
    "effects=off",          "tiles_per_chip=4",       "clocks.tile_GHz=1",
    "network.topology=mesh", "network.columns=2",     "network.rows=2",
    "network.hub=0",        "network.flit_bits=64",   "network.hop_cycles=2",
    "network.hop_energy_J_per_bit=1e-13",             "network.router_static_W=1e-3",
    "network.router_area_um2=1e4",
};

/* Stages in the order of the chain, two tokens each: start and result, ns. */
static const int64_t starts[] = {0, 12, 12, 24, 18, 82, 86, 219, 219, 352},
                     results[] = {12, 24, 18, 30, 86, 150, 219, 352, 351, 484},
                     released[] = {12, 24, 18, 30, 82, 146, 219, 352, 347, 480};
enum { EVENTS = sizeof starts / sizeof starts[0] };

static void check_times(const struct run *r) {
    int64_t parts[64] = {0};
    assert_int_equal(engine_logged(r->engine), EVENTS);
    for (size_t i = 0; i < EVENTS; i++) {
        struct engine_event v = engine_event(r->engine, i);
        assert_int_equal(v.start, starts[i]);
        assert_int_equal(v.start + v.latency, results[i]);
        assert_int_equal(v.start + v.hold, released[i]);
    }
    assert_in_range(engine_resources(r->engine), 1, 64);
    assert_int_equal(engine_critical_path(r->engine, parts).total, 484);
    assert_int_equal(engine_critical_path(r->engine, NULL).clock, 0); /* one clock: nothing waits for an edge */
    assert_near(run_class(r, CLASS_TILES).critical_s * 1e9, 266, 1e-9);
    assert_near(run_class(r, CLASS_NETWORK).critical_s * 1e9, 200, 1e-9);
    assert_near(run_class(r, CLASS_VECTOR).critical_s * 1e9, 12, 1e-9);
    assert_near(run_class(r, CLASS_BUFFER).critical_s * 1e9, 6, 1e-9);
}

/* In fJ; the array within the 16 bits of a stored conductance. */
static void check_joules(const struct run *r) {
    struct ledger_view v = run_ledger(r);
    assert_near(v.energy_J[PART_VECTOR] * 1e15, 4096000, 1e-3);
    assert_near(v.energy_J[PART_BUFFER] * 1e15, 4915200, 1e-3);
    assert_near(v.energy_J[PART_NETWORK] * 1e15, 4915200, 1e-3);
    assert_near(v.energy_J[PART_DAC] * 1e15, 12288000, 1e-3);
    assert_near(v.energy_J[PART_ARRAY] * 1e15, 55132029, 55132029 * 1e-4);
    assert_near(v.energy_J[PART_ADC] * 1e15, 68669440, 1e-3);
    assert_near(v.energy_J[PART_DIGITAL_POST] * 1e15, 12288000, 1e-3);
    assert_near(v.energy_J[PART_STATIC] * 1e15, 14253800, 1e-3);
    assert_int_equal(v.count[PART_NETWORK], T * 24576);
    assert_near(v.total_J * 1e15, 176557669, 55132029 * 1e-4);
    assert_near(run_power(r).mean_W * 1e3, 364.8, 0.05);
}

static double phase(const json_t *setup, size_t i, const char *key) {
    return json_number_value(json_object_get(json_array_get(json_object_get(setup, "phases"), i), key));
}

/* Programming comes before the first token, and ends when calibration begins. */
static void check_setup(const struct run *r, const struct machine *m) {
    json_t *report = run_report_json(r);
    const json_t *setup = json_object_get(report, "setup");
    struct machine_programming p = machine_programming(m);
    struct machine_calibration c = machine_calibration(m);
    assert_true(p.seconds > 0 && p.joules > 0);
    assert_near(phase(setup, 0, "time_s"), p.seconds, 0);
    assert_near(phase(setup, 0, "energy_J"), p.joules, 0);
    assert_true(phase(setup, 1, "energy_J") == 0 && phase(setup, 1, "time_s") == 0); /* no refresh is due */
    assert_near(phase(setup, 2, "energy_J"), c.joules, 0);
    assert_near(phase(setup, 0, "start_s") + p.seconds, phase(setup, 2, "start_s"), 1e-12 * p.seconds);
    assert_near(phase(setup, 2, "start_s") + c.seconds, 0, 1e-12 * p.seconds);
    const json_t *all = json_array_get(json_object_get(setup, "rows"), 5);
    assert_string_equal(json_string_value(json_object_get(all, "phase")), "run and set-up");
    assert_near(json_number_value(json_object_get(all, "energy_J")), p.joules + c.joules + run_ledger(r).total_J,
                1e-12 * p.joules);
    assert_near(json_number_value(json_object_get(setup, "with_run_J")), p.joules + c.joules + run_ledger(r).total_J,
                1e-12 * p.joules);
    assert_near(json_number_value(json_object_get(setup, "tokens_until_as_much_energy")) * run_ledger(r).total_J / T,
                p.joules + c.joules, 1e-12 * p.joules);
    json_decref(report);
}

static void worked_example(void **state) {
    (void)state;
    static const struct matrix_source one = {
        .name = "w", .layer = 0, .role = MATRIX_Q, .inputs = N, .outputs = N, .read_rows = all_ones};
    static float x[T * N], y[T * N];
    struct chip *c = load("pcm256", keys, sizeof keys / sizeof keys[0]);
    struct placement *p = NULL;
    struct machine *m = NULL;
    struct run *r = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, &one, 1, &p, &e), OK);
    assert_int_equal(machine_create(c, p, &one, 1, &(struct machine_options){0, 0}, &m, &e), OK);
    assert_int_equal(run_create(m, T, &r, &e), OK);
    for (int i = 0; i < T * N; i++) {
        x[i] = 1;
    }
    run_begin_step(r, T);
    assert_int_equal(run_multiply(r, 0, x, T, y, &e), OK);
    assert_near(run_end_step(r) * 1e9, 484, 1e-9);
    assert_near(y[0], N, 1e-3);
    check_times(r);
    check_joules(r);
    check_setup(r, m);
    run_destroy(r);
    machine_destroy(m);
    placement_destroy(p);
    chip_destroy(c);
}

static void page_has_the_example(void **state) {
    (void)state;
    static const char *const numbers[] = {
        "12 to 18", "18 to 86 (held to 82)", "82 to 150", "86 to 219", "219 to 352", "held to 347", "352 to 484",
        "**484 ns**", "24,576", "4,096,000", "4,915,200", "12,288,000", "55,132,029", "68,669,440", "14,253,800",
        "176,557,669", "**364.8 mW**"};
    page_holds("docs/timing.md", numbers, sizeof numbers / sizeof numbers[0]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(worked_example),
    cmocka_unit_test(page_has_the_example),
};
const struct test_suite suite_timing = {"timing", tests, sizeof tests / sizeof tests[0]};
