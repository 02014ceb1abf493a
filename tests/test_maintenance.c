/* Refresh, correction and readouts that fall due while a run lasts (sim/maintenance.h), against arithmetic by hand, and
 * what is conserved with them.
 *
 * Chip pcm256, one matrix of 256 x 256: a token takes 132.9 ns on the tile, after what a step without maintenance says
 * that its inputs take. A correction takes 64 test vectors x 132.9 ns = 8,505.6 ns.
 */
#include <math.h>
#include <string.h>

#include "sim/history.h"
#include "sim/report.h"
#include "tests/machine_fixture.h"
#include "tests/run_fixture.h"

#define PERIOD "tile.correction=affine tile.correction_period_s=10e-6"
#define TILE_NS 132.9
#define FIT_NS (64 * TILE_NS)

static const struct activity some = {.array_S_per_weight = {1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6},
                                     .source = "this test"};
static const struct matrix_source one = {
    .name = "a", .layer = 0, .role = MATRIX_Q, .inputs = 256, .outputs = 256, .read_rows = no_rows};

static struct bench shapes(const char *sets, const struct matrix_source *m, size_t count, uint32_t tokens) {
    struct bench b = {.chip = load_sets("pcm256", sets)};
    struct error e = {OK, ""};
    if (placement_create(b.chip, m, count, &b.placement, &e) != OK ||
        run_create_shapes(b.chip, b.placement, &some, tokens, &b.run, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return b;
}

static double step(struct run *r, size_t matrices, uint32_t tokens) {
    struct error e = {OK, ""};
    run_begin_step(r, tokens);
    for (size_t i = 0; i < matrices; i++) {
        if (run_multiply(r, i, NULL, tokens, NULL, &e) != OK) {
            fail_msg("%s", e.message);
        }
    }
    return 1e9 * run_end_step(r);
}

/* Before the tiles: what a step of one token takes without them. */
static double front_ns(void) {
    struct bench b = shapes("", &one, 1, 1);
    double ns = step(b.run, 1, 1) - TILE_NS;
    drop(&b);
    return ns;
}

/* ---- by hand ----------------------------------------------------------------------------------------------------- */

/* A step that begins at t takes its correction first if one has fallen due since the last. */
static void tokens_wait_for_a_correction(void **state) {
    (void)state;
    struct bench b = shapes(PERIOD, &one, 1, 1);
    double t_ns = 0, front = front_ns();
    uint64_t seen = 0;
    for (int i = 0; i < 300; i++) {
        uint64_t due = (uint64_t)floor(t_ns / 1e4);
        t_ns += (due > seen ? fmax(FIT_NS, front) : front) + TILE_NS;
        seen = due;
        double end_ns = step(b.run, 1, 1);
        assert_near(end_ns, t_ns, 1e-6); /* sums of doubles */
    }
    assert_true(seen > 3);
    struct ledger_view v = run_ledger(b.run);
    assert_int_equal(v.count[PART_MAINTENANCE], seen);
    assert_int_equal(b.run->maintenance.done[MAINTAIN_CORRECTION], seen);
    double once_J = b.run->maintenance.cost[MAINTAIN_CORRECTION].joules;
    assert_near(v.energy_J[PART_MAINTENANCE], (double)seen * once_J, 1e-18);
    assert_true(v.energy_J[PART_MAINTENANCE] > 0);
    run_reset(b.run); /* as created */
    assert_near(step(b.run, 1, 1), front + TILE_NS, 1e-6);
    assert_int_equal(run_ledger(b.run).count[PART_MAINTENANCE], 0);
    drop(&b);
}

/* Several that fall due during one step are done once. */
static void missed_ones_are_done_once(void **state) {
    (void)state;
    struct bench b = shapes(PERIOD, &one, 1, 300);
    double first_ns = step(b.run, 1, 300), front = front_ns();
    assert_true(first_ns > 3e4 && first_ns < 4.9e4); /* at least three moments */
    uint64_t due = (uint64_t)floor(first_ns / 1e4);
    assert_near(step(b.run, 1, 1), first_ns + fmax(FIT_NS, front) + TILE_NS, 1e-6);
    assert_int_equal(b.run->maintenance.due[MAINTAIN_CORRECTION], due);
    assert_int_equal(b.run->maintenance.done[MAINTAIN_CORRECTION], 1);
    drop(&b);
}

static double wait_ns(struct run *r, double at_s) {
    struct run_finished f;
    struct error e = {OK, ""};
    run_stream(r, 0, at_s);
    step(r, 1, 1);
    assert_int_equal(run_wait(r, &f, &e), OK);
    assert_false(f.idle);
    return 1e9 * f.end_s;
}

/* Nothing to do until 35.5 us: corrections at 10, 20 and 30 us, and the tile is busy with the last until 38.5056 us. */
static void time_without_work_is_used(void **state) {
    (void)state;
    struct bench b = shapes(PERIOD, &one, 1, 1);
    struct run_finished f;
    struct error e = {OK, ""};
    assert_int_equal(run_keep_events(b.run, 100, &e), OK);
    assert_int_equal(run_streams(b.run, 2, &e), OK);
    wait_ns(b.run, 0);
    assert_near(wait_ns(b.run, 35.5e-6), 3e4 + FIT_NS + TILE_NS, 1e-6);
    assert_near(wait_ns(b.run, 49e-6), 4.9e4 + front_ns() + TILE_NS, 1e-6); /* that of 40 us has ended */
    assert_int_equal(b.run->maintenance.done[MAINTAIN_CORRECTION], 4);
    assert_int_equal(run_wait(b.run, &f, &e), OK);
    assert_true(f.idle);
    static const double starts_ns[] = {1e4, 3e4, 4e4}, holds_ns[] = {2 * FIT_NS, FIT_NS, FIT_NS};
    size_t found = 0;
    for (size_t i = 0; i < run_event_count(b.run); i++) {
        struct run_event v = run_event_at(b.run, i);
        if (v.maintenance) {
            assert_string_equal(v.operation, "correction");
            assert_int_equal(v.layer, 0);
            assert_near(1e9 * v.start_s, starts_ns[found], 1e-6);
            assert_near(1e9 * v.hold_s, holds_ns[found], 1e-6);
            assert_true(isnan(v.convert_s)); /* no slice of the ADC */
            found++;
        }
    }
    assert_int_equal(found, 3);
    assert_near(1e9 * run_class(b.run, CLASS_TILES).busy_s, 4 * FIT_NS + 3 * TILE_NS, 1e-6);
    drop(&b);
}

/* Corrections begin anew after a refresh, which has one of its own: of refreshes every 3.5 s and corrections every 1 s,
 * 10 s see 2 and 2 x 3 + 3. */
static void a_refresh_begins_the_schedule_anew(void **state) {
    (void)state;
    struct bench b = shapes("tile.correction=affine tile.correction_period_s=1 tile.refresh_period_s=3.5", &one, 1, 1);
    struct error e = {OK, ""};
    assert_int_equal(run_streams(b.run, 1, &e), OK);
    wait_ns(b.run, 0);
    wait_ns(b.run, 10.2);
    const struct maintenance *m = &b.run->maintenance;
    assert_int_equal(m->done[MAINTAIN_REFRESH], 2);
    assert_int_equal(m->done[MAINTAIN_CORRECTION], 9);
    assert_int_equal(m->done[MAINTAIN_READOUT], 0);
    /* It programs, corrects, and reads the reference: 256 multiplies of one row each. */
    assert_true(m->cost[MAINTAIN_REFRESH].seconds > 0.1);
    assert_near(m->cost[MAINTAIN_READOUT].seconds * 1e9, 256 * TILE_NS, 1e-6);
    assert_true(m->cost[MAINTAIN_REFRESH].joules >
                m->cost[MAINTAIN_CORRECTION].joules + m->cost[MAINTAIN_READOUT].joules);
    struct bench none = shapes("tile.compensation=none tile.correction=affine tile.refresh_period_s=3.5", &one, 1, 1);
    step(none.run, 1, 1);
    const struct maintenance_cost *without = &none.run->maintenance.cost[MAINTAIN_REFRESH];
    assert_near((m->cost[MAINTAIN_REFRESH].joules - without->joules) / m->cost[MAINTAIN_READOUT].joules, 1, 1e-6);
    assert_near((m->cost[MAINTAIN_REFRESH].seconds - without->seconds) / m->cost[MAINTAIN_READOUT].seconds, 1, 1e-6);
    drop(&none);
    drop(&b);
}

/* ---- nothing falls due ------------------------------------------------------------------------------------------- */

static char *numbers_of(const struct run *r) {
    json_t *root = run_report_json(r);
    json_object_del(root, "chip"); /* says what the period is */
    char *text = json_dumps(root, JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

/* A period longer than the run leaves every byte as it is without one. */
static void longer_periods_change_nothing(void **state) {
    (void)state;
    char *text[2];
    for (int i = 0; i < 2; i++) {
        const char *sets = i ? "tile.refresh_period_s=100 tile.compensation_period_s=100" : "";
        struct bench b = shapes(sets, model, MATRICES, 8);
        step(b.run, MATRICES, 8);
        step(b.run, MATRICES, 1);
        text[i] = numbers_of(b.run);
        drop(&b);
    }
    assert_string_equal(text[0], text[1]);
    assert_null(strstr(text[0], "maintenance"));
    free(text[0]);
    free(text[1]);
}

/* ---- conservation ------------------------------------------------------------------------------------------------ */

static void check_sums(const struct run *r) {
    struct ledger_view v = run_ledger(r);
    double parts_J = 0, layers_J = 0, steps_J = 0, path_s = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        parts_J += v.energy_J[c];
    }
    for (size_t row = 0; row < v.layers; row++) {
        layers_J += run_layer_energy_J(r, row);
    }
    for (size_t s = 0; s < run_step_count(r); s++) {
        steps_J += run_step_at(r, s).energy_J;
    }
    struct run_path path = run_path(r);
    for (int c = 0; c < CLASS_COUNT; c++) {
        path_s += path.class_s[c];
    }
    double maintenance_J = 0;
    for (int k = 0; k < MAINTENANCE_KINDS; k++) {
        maintenance_J += (double)r->maintenance.done[k] * r->maintenance.cost[k].joules;
    }
    assert_true(maintenance_J > 0);
    assert_near(v.energy_J[PART_MAINTENANCE] / maintenance_J, 1, 1e-12); /* of all tiles of the machine */
    assert_near(parts_J / v.total_J, 1, 1e-12); /* sums of some dozen doubles */
    assert_near(layers_J / v.total_J, 1, 1e-12);
    assert_near(steps_J / v.total_J, 1, 1e-12);
    assert_near(run_power(r).over_time_J / v.total_J, 1, 1e-9); /* of thousands of bins */
    assert_near((path_s + path.clock_s + path.arrival_s) / v.makespan_s, 1, 1e-9);
    for (size_t i = 0; i < engine_resources(r->engine); i++) {
        struct engine_use u = engine_use(r->engine, i);
        assert_int_equal(u.busy + u.idle, (int64_t)run_servers(r, i) * engine_end(r->engine));
    }
}

static const char *const chips[] = {
    PERIOD,
    PERIOD " tile.compensation_period_s=40e-6",
    PERIOD " placement.copies=down=2 gating.clock_share=0.5 gating.power_share=0.4 gating.wake_cycles=5",
    PERIOD " clocks.tile_GHz=1 tile.tiers=2",
};

static void sums_hold(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof chips / sizeof chips[0]; i++) {
        struct bench b = shapes(chips[i], model, MATRICES, 40);
        struct error e = {OK, ""};
        assert_int_equal(run_keep_events(b.run, 50, &e), OK); /* fewer than there are */
        for (int k = 0; k < 12; k++) {
            step(b.run, MATRICES, k % 3 ? 1 : 40);
        }
        check_sums(b.run);
        drop(&b);
        b = shapes(chips[i], model, MATRICES, 40);
        assert_int_equal(run_streams(b.run, 1, &e), OK);
        struct run_finished f = {.idle = false};
        for (int k = 0; k < 12; k++) {
            run_stream(b.run, 0, k * 15e-6);
            step(b.run, MATRICES, k % 3 ? 1 : 40);
            assert_int_equal(run_wait(b.run, &f, &e), OK);
        }
        assert_int_equal(run_wait(b.run, &f, &e), OK);
        check_sums(b.run);
        drop(&b);
    }
}

/* Tiles one by one are as busy as the group that stands for them. */
static void groups_are_their_tiles(void **state) {
    (void)state;
    struct bench all = shapes(PERIOD, model, MATRICES, 40), each = shapes(PERIOD, model, MATRICES, 40);
    struct error e = {OK, ""};
    assert_int_equal(run_ungroup(each.run, &e), OK);
    for (int k = 0; k < 12; k++) {
        uint32_t tokens = k % 3 ? 1 : 40;
        assert_near(step(each.run, MATRICES, tokens), step(all.run, MATRICES, tokens), 0);
    }
    assert_near(run_ledger(each.run).total_J / run_ledger(all.run).total_J, 1, 1e-12);
    assert_true(run_ledger(all.run).count[PART_MAINTENANCE] > 0);
    drop(&all);
    drop(&each);
}

/* Every copy of a matrix is maintained: a layer has the energy of its weights, copies counted. */
static void energy_goes_by_weights(void **state) {
    (void)state;
    static const struct { const char *sets; double layer, all; uint64_t tiles; } rows[] = {
        {PERIOD, 330e3, 960e3, 32}, /* q 90, k 30, down 210 thousand in 4, 2, 6 tiles, twice; head 300 in 8 */
        {PERIOD " placement.copies=q=2,down=2", 630e3, 1560e3, 52}};
    double once_J[2];
    for (size_t i = 0; i < 2; i++) {
        struct bench b = shapes(rows[i].sets, model, MATRICES, 40);
        for (int k = 0; k < 4; k++) {
            step(b.run, MATRICES, 40);
        }
        uint64_t done = b.run->maintenance.done[MAINTAIN_CORRECTION];
        once_J[i] = b.run->maintenance.cost[MAINTAIN_CORRECTION].joules;
        assert_true(done > 0);
        assert_int_equal(run_ledger(b.run).count[PART_MAINTENANCE], done * rows[i].tiles);
        double all_J = (double)done * once_J[i];
        for (size_t layer = 0; layer < 3; layer++) {
            double share = layer < 2 ? rows[i].layer / rows[i].all : 300e3 / rows[i].all;
            assert_near(b.run->ledger.energy_J[layer][PART_MAINTENANCE] / all_J, share, 1e-12);
        }
        drop(&b);
    }
    assert_near(once_J[1] / once_J[0], rows[1].all / rows[0].all, 1e-12); /* the same tile stands for all */
}

/* ---- with values ------------------------------------------------------------------------------------------------- */

static void read_one(struct run *r, const float *x, float *y) {
    struct error e = {OK, ""};
    run_begin_step(r, 1);
    if (run_multiply(r, 0, x, 1, y, &e) != OK) {
        fail_msg("%s", e.message);
    }
    run_end_step(r);
}

static bool is_flagged(const struct run *r, const char *text) {
    struct flags flags;
    bool found = false;
    report_flags(r, &flags);
    for (size_t k = 0; k < flags.count; k++) {
        found = found || strstr(flags.text[k], text);
    }
    return found;
}

/* The costs are those of the machine; the last token is what it is in a run where nothing has fallen due, and the
 * report says so. */
static void values_stay(void **state) {
    (void)state;
    enum { N = 64, STEPS = 200 };
    static const char said[] = "values are those of the age at its beginning";
    float *x = gaussians(N, 3), y[2][N];
    struct fixture *f = fixture_open("pcm256", PERIOD, N, N, NULL, 50);
    struct run *r = NULL;
    struct error e = {OK, ""};
    calibrate(f, x, 1);
    assert_int_equal(run_create(f->machine, 1, &r, &e), OK);
    for (int k = 0; k < STEPS; k++) {
        read_one(r, x, y[0]);
    }
    uint64_t done = r->maintenance.done[MAINTAIN_CORRECTION];
    assert_true(done > 1 && is_flagged(r, said));
    assert_near(run_ledger(r).energy_J[PART_MAINTENANCE], (double)done * f->machine->correction_once.joules, 1e-18);
    struct machine_calibration c = machine_calibration(f->machine);
    double once_J = f->machine->correction_once.joules, readouts_J = 2 * f->machine->readout_once.joules;
    assert_near((once_J * (double)c.corrections + readouts_J) / c.joules, 1, 1e-9); /* readouts: reference and now */
    run_restart(r, STEPS - 1);
    read_one(r, x, y[1]);
    assert_true(r->maintenance.done[MAINTAIN_CORRECTION] == 0 && !is_flagged(r, said));
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    run_destroy(r);
    fixture_close(f);
    mem_free(x);
}

/* A machine that is 50 s old when the run begins: the first of corrections every 50.00001 s is due after 10 us. */
static void the_schedule_counts_from_programming(void **state) {
    (void)state;
    enum { N = 64, STEPS = 200 };
    float *x = gaussians(N, 3), y[N];
    static const char sets[] = "tile.correction=affine tile.correction_period_s=50.00001";
    struct fixture *f = fixture_open("pcm256", sets, N, N, NULL, 50);
    struct run *r = NULL;
    struct error e = {OK, ""};
    calibrate(f, x, 1);
    assert_int_equal(run_create(f->machine, 1, &r, &e), OK);
    for (int k = 0; k < STEPS; k++) {
        read_one(r, x, y);
    }
    assert_true(run_ledger(r).makespan_s > 2e-5);
    assert_int_equal(r->maintenance.done[MAINTAIN_CORRECTION], 1);
    run_destroy(r);
    fixture_close(f);
    mem_free(x);
}

/* ---- bad schedules ----------------------------------------------------------------------------------------------- */

static void readouts_need_their_time(void **state) {
    (void)state;
    struct bench b = shapes("tile.compensation_period_s=30e-6", &one, 1, 1); /* a readout: 34.0224 us */
    struct error e = {OK, ""};
    run_begin_step(b.run, 1);
    assert_int_equal(run_multiply(b.run, 0, NULL, 1, NULL, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.compensation_period_s: 3e-05 s, but a readout takes 3.40224e-05 s"));
    drop(&b);
}

static void refreshes_need_their_time(void **state) {
    (void)state;
    struct chip *c = load_sets("pcm256", "tile.refresh_period_s=0.01");
    struct placement *p;
    struct run *r;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, &one, 1, &p, &e), OK);
    assert_int_equal(run_create_shapes(c, p, &some, 1, &r, &e), ERR_USAGE);
    assert_null(r);
    assert_non_null(strstr(e.message, "tile.refresh_period_s: 0.01 s, but programming a tile takes"));
    placement_destroy(p);
    chip_destroy(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tokens_wait_for_a_correction), cmocka_unit_test(missed_ones_are_done_once),
    cmocka_unit_test(time_without_work_is_used),    cmocka_unit_test(a_refresh_begins_the_schedule_anew),
    cmocka_unit_test(longer_periods_change_nothing), cmocka_unit_test(sums_hold),
    cmocka_unit_test(groups_are_their_tiles),       cmocka_unit_test(energy_goes_by_weights),
    cmocka_unit_test(values_stay),                  cmocka_unit_test(the_schedule_counts_from_programming),
    cmocka_unit_test(readouts_need_their_time),     cmocka_unit_test(refreshes_need_their_time),
};
const struct test_suite suite_maintenance = {"maintenance", tests, sizeof tests / sizeof tests[0]};
