/* Power over time, gating, and what must be conserved whatever the chip has: joules over components, layers and time;
 * time of every resource; the bounds that no schedule can undercut.
 */
#include "tests/run_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "sim/chip_costs.h"

enum { TOKENS = 8 };

static struct bench make(const char *sets, const struct matrix_source *m, size_t matrices) {
    return run_of(load_sets("pcm256", sets), m, matrices, TOKENS);
}

/* Every cell has 10 uS, every input is half of full scale. */
static struct multiply_record half_scale(const struct placement *p, size_t matrix, uint32_t tokens) {
    struct placement_matrix m = placement_matrix_at(p, matrix);
    return (struct multiply_record){.matrix = matrix,
                                    .tokens = tokens,
                                    .array_S_sum = 0.5 * 10e-6 * m.inputs * m.outputs * tokens,
                                    .dac_conversions = (uint64_t)m.inputs * m.column_blocks * tokens,
                                    .adc_conversions = (uint64_t)m.outputs * m.row_blocks * tokens,
                                    .adc_results = (uint64_t)m.outputs * m.row_blocks * tokens};
}

static void multiply(struct bench *b, size_t matrix, uint32_t tokens) {
    struct multiply_record record = half_scale(b->placement, matrix, tokens);
    run_record_multiply(b->run, &record);
}

static void digital(struct bench *b, enum digital_op op, int layer, uint32_t tokens, uint64_t elements) {
    run_digital(b->run, &(struct digital_record){.op = op, .layer = layer, .tokens = tokens, .elements = elements});
}

/* One step in the manner of a transformer. */
static double step(struct bench *b, uint32_t tokens, uint32_t position) {
    run_begin_step(b->run, tokens);
    digital(b, OP_EMBED, -1, tokens, 300);
    for (int layer = 0; layer < 2; layer++) {
        digital(b, OP_NORM, layer, tokens, 300);
        run_fork(b->run);
        multiply(b, (size_t)layer * 3, tokens);
        multiply(b, (size_t)layer * 3 + 1, tokens);
        run_join(b->run);
        digital(b, OP_ROPE, layer, tokens, 400);
        run_digital(b->run, &(struct digital_record){.op = OP_ATTENTION,
                                                     .layer = layer,
                                                     .tokens = tokens,
                                                     .first_position = position,
                                                     .heads = 6,
                                                     .kv_heads = 2,
                                                     .head_dim = 50});
        digital(b, OP_MATMUL, layer, tokens, 300 * 700);
        multiply(b, (size_t)layer * 3 + 2, tokens);
        digital(b, OP_RESIDUAL, layer, tokens, 300);
    }
    multiply(b, 6, tokens);
    digital(b, OP_SAMPLE, -1, tokens, 1000);
    double end_s = run_end_step(b->run);
    assert_int_equal(b->run->trouble.status, OK);
    return end_s;
}

/* ---- what is conserved ------------------------------------------------------------------------------------- */

static const char *const chips[] = {
    "tiles_per_chip=64",
    "clocks.tile_GHz=0.5 clocks.memory_GHz=0.25",
    "vector.count=3 attention.count=2 tile.overlap=sample_hold",
    "gating.clock_share=0.6 gating.power_share=0.5 gating.wake_cycles=7 tile.overlap=sample_hold",
    "dram=lpddr4 kv.capacity_KiB=1 dram.embedding=on kv.refresh.power_W=0.1 kv.refresh.bandwidth_share=0.1",
    "tiles_per_chip=4 network.topology=mesh network.columns=2 network.rows=2 network.hop_energy_J_per_bit=1e-13 "
    "network.router_static_W=1e-3 network.router_area_um2=1e4 chip_link.bandwidth_GBps=32 chip_link.latency_ns=20 "
    "chip_link.energy_J_per_bit=1e-12 chip_link.area_um2=1e6 chip_link.static_W=0.01 power_window_us=0.05 "
    "dram=lpddr4 kv.capacity_KiB=1 dram.embedding=on clocks.network_GHz=2 clocks.memory_GHz=0.5 vector.count=2 "
    "gating.clock_share=0.6 gating.power_share=0.5 gating.wake_cycles=3",
    "tiles_per_chip=4 tile.tiers=2 placement.copies=q=2,k=2,down=3 network.topology=mesh network.columns=2 "
    "network.rows=2 network.hop_energy_J_per_bit=1e-13 network.router_static_W=1e-3 network.router_area_um2=1e4 "
    "chip_link.bandwidth_GBps=32 chip_link.latency_ns=20 chip_link.energy_J_per_bit=1e-12 chip_link.area_um2=1e6 "
    "chip_link.static_W=0.01 gating.power_share=0.5 gating.wake_cycles=3",
    ("tiles_per_chip=4 hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=1 hierarchy.clusters_per_chip=1 "
     "hierarchy.chips_per_package=2 chip_link=link_interposer package_link=link_hypertransport "
     "placement.copies=down=2"),
};
enum { CHIPS = sizeof chips / sizeof chips[0] };

static void joules_are_conserved(void **state) {
    (void)state;
    for (size_t i = 0; i < CHIPS; i++) {
        struct bench b = make(chips[i], model, MATRICES);
        double parts_J = 0, layers_J = 0, steps_J = 0;
        step(&b, TOKENS, 0);
        for (uint32_t t = 0; t < 5; t++) {
            step(&b, 1, TOKENS + t);
        }
        struct ledger_view v = run_ledger(b.run);
        for (int c = 0; c < PART_COUNT; c++) {
            parts_J += v.energy_J[c];
        }
        for (size_t row = 0; row < v.layers; row++) {
            layers_J += run_layer_energy_J(b.run, row);
        }
        for (size_t s = 0; s < run_step_count(b.run); s++) {
            steps_J += run_step_at(b.run, s).energy_J;
        }
        struct power_view p = run_power(b.run);
        assert_near(parts_J / v.total_J, 1, 1e-12); /* sums of some dozen doubles */
        assert_near(layers_J / v.total_J, 1, 1e-12);
        assert_near(steps_J / v.total_J, 1, 1e-12);
        assert_near(p.over_time_J / v.total_J, 1, 1e-9); /* of thousands of bins */
        assert_near(p.mean_W * v.makespan_s / v.total_J, 1, 1e-12);
        assert_true(p.peak_W >= p.mean_W && p.idle_W > 0 && p.idle_W < p.mean_W);
        for (int c = 0; c < PART_COUNT; c++) {
            assert_near(b.run->ledger.fresh_J[c], 0, 0); /* every joule has found its stage */
        }
        drop(&b);
    }
}

/* When the result of an event was there. */
static int64_t result_of(const struct engine *g, size_t event) {
    struct engine_event v = engine_event(g, event);
    return v.start + v.latency;
}

/* No event of the step starts before any of its inputs. Returns the longest path through these inputs, added up from
 * the durations alone; tasks come after what they wait for in the log. */
static int64_t check_inputs(const struct engine *g, int64_t begin) {
    int64_t *path = mem_alloc(engine_logged(g) + 1, sizeof *path), longest = 0; /* from `begin` to the result */
    assert_non_null(path);
    size_t inputs = engine_logged_inputs(g), at = 0;
    for (size_t k = 0; k < engine_logged(g); k++) {
        struct engine_event v = engine_event(g, k);
        int64_t from = 0;
        assert_true(v.start >= begin && v.hold >= 0 && v.latency >= 0);
        for (at = 0; at < inputs; at++) {
            struct engine_input in = engine_logged_input(g, at);
            if (k < in.first || k >= in.first + in.items) {
                continue;
            }
            size_t first = in.before + (in.how == AFTER_ITEM ? k - in.first : 0),
                   end = in.how == AFTER_ALL ? in.before + in.before_items : first + 1;
            assert_true(end <= in.first);
            for (size_t b = first; b < end; b++) {
                assert_true(v.start >= result_of(g, b));
                from = path[b] > from ? path[b] : from;
            }
        }
        path[k] = from + v.latency;
        longest = path[k] > longest ? path[k] : longest;
    }
    mem_free(path);
    return longest;
}

/* Time that the servers of a resource are held from `begin` to `end`, added up from one start or end of an event to the
 * next. Never more of them than there are; *idle: what is left of their time. */
static int64_t sweep(const struct engine *g, size_t resource, uint32_t servers, int64_t begin, int64_t end,
                     int64_t *idle) {
    int64_t busy = 0;
    *idle = 0;
    for (int64_t t = begin, next; t < end; t = next) {
        uint32_t held = 0;
        next = end;
        for (size_t k = 0; k < engine_logged(g); k++) {
            struct engine_event v = engine_event(g, k);
            int64_t over = v.start + v.hold;
            if (v.resource == resource) {
                held += v.start <= t && t < over;
                next = v.start > t && v.start < next ? v.start : next;
                next = over > t && over < next ? over : next;
            }
        }
        assert_true(held <= servers);
        busy += held * (next - t);
        *idle += (servers - held) * (next - t);
    }
    return busy;
}

/* All of it from the log of events and the dependencies that were asked for; what the engine says of itself must agree.
 */
static void check_step(const struct bench *b, int64_t begin, int64_t *busy) {
    const struct engine *g = b->run->engine;
    int64_t length = engine_end(g) - begin, last = begin;
    assert_int_equal(engine_not_logged(g), 0);
    assert_true(engine_logged_inputs(g) > engine_logged(g) / (2 * TOKENS));
    assert_true(length >= check_inputs(g, begin));
    for (size_t k = 0; k < engine_logged(g); k++) {
        struct engine_event v = engine_event(g, k);
        int64_t longer = v.hold > v.latency ? v.hold : v.latency;
        last = v.start + longer > last ? v.start + longer : last;
    }
    assert_true(last == engine_end(g));
    for (size_t i = 0; i < engine_resources(g); i++) {
        uint32_t servers = run_servers(b->run, i);
        int64_t idle, held = sweep(g, i, servers, begin, engine_end(g), &idle);
        assert_true(held + idle == servers * length && held <= servers * length);
        busy[i] += held;
        assert_true(engine_use(g, i).busy == busy[i]);
    }
    struct engine_bound bound = engine_bound(g);
    assert_true(length >= bound.path && length >= bound.work && bound.path > 0 && bound.work > 0);
}

static void time_is_conserved(void **state) {
    (void)state;
    for (size_t i = 0; i < CHIPS; i++) {
        struct bench b = make(chips[i], model, MATRICES);
        struct error e = {OK, ""};
        assert_int_equal(run_keep_inputs(b.run, &e), OK);
        const struct engine *g = b.run->engine;
        int64_t *busy = mem_alloc(engine_resources(g), sizeof *busy);
        assert_non_null(busy);
        for (uint32_t s = 0; s < 4; s++) {
            int64_t before = engine_end(g);
            step(&b, s ? 1 : TOKENS, s ? TOKENS + s : 0);
            check_step(&b, before, busy);
        }
        for (size_t k = 0; k < engine_resources(g); k++) {
            struct engine_use use = engine_use(g, k);
            struct run_resource seen = run_resource_at(b.run, k);
            assert_true(use.busy + use.idle == (int64_t)run_servers(b.run, k) * engine_end(g));
            assert_true(use.idle >= 0 && seen.utilisation >= 0 && seen.utilisation <= 1);
        }
        mem_free(busy);
        drop(&b);
    }
}

/* ---- groups ------------------------------------------------------------------------------------------------ */

/* Every tile a resource of its own says the same as groups, with tiers or copies and without: times, busy tile-seconds,
 * static energy of tiles that sleep. (With both, matrices of a stack may take a token to different copies; tile by tile
 * it keeps to one.) */
static void groups_say_what_tiles_say(void **state) {
    (void)state;
    static const char mesh[] =
        "tiles_per_chip=4 network.topology=mesh network.columns=2 network.rows=2 network.hop_energy_J_per_bit=1e-13 "
        "network.router_static_W=1e-3 network.router_area_um2=1e4";
    static const char mesh_and_tiers[] =
        "tile.tiers=3 tiles_per_chip=4 network.topology=mesh network.columns=2 network.rows=2 "
        "network.hop_energy_J_per_bit=1e-13 network.router_static_W=1e-3 network.router_area_um2=1e4 "
        "chip_link.bandwidth_GBps=32 chip_link.latency_ns=20 chip_link.energy_J_per_bit=1e-12 chip_link.area_um2=1e6 "
        "chip_link.static_W=0.01";
    static const char copies[] = "placement.copies=q=2,k=3,down=3 tile.overlap=sample_hold";
    static const char copies_and_mesh[] =
        "placement.copies=q=2,k=2,down=3 tiles_per_chip=4 network.topology=mesh network.columns=2 network.rows=2 "
        "network.hop_energy_J_per_bit=1e-13 network.router_static_W=1e-3 network.router_area_um2=1e4";
    static const char *const sets[] = {
        "tile.tiers=1",
        "tile.tiers=4",
        "tile.tiers=3 tile.overlap=sample_hold tiles_per_chip=5",
        "tile.tiers=4 gating.clock_share=0.5",
        "clocks.tile_GHz=0.5 tile.tiers=2 placement.strategy=balanced tiles_per_chip=7",
        mesh,
        mesh_and_tiers,
        copies,
        copies_and_mesh,
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct bench b = make(sets[i], model, MATRICES), own = make(sets[i], model, MATRICES);
        struct error e = {OK, ""};
        assert_int_equal(run_ungroup(own.run, &e), OK);
        for (uint32_t s = 0; s < 4; s++) {
            uint32_t tokens = s ? 1 : TOKENS, position = s ? TOKENS + s : 0;
            assert_near(step(&b, tokens, position), step(&own, tokens, position), 0);
        }
        double busy_s = 0;
        for (size_t m = 0; m < MATRICES; m++) {
            busy_s += run_resource_at(b.run, m).busy_s * placement_matrix_at(b.placement, m).tiles;
        }
        struct class_view tiles = run_class(own.run, CLASS_TILES);
        bool alone = strstr(sets[i], "tiers=1") || sets[i] == mesh || strstr(sets[i], "copies");
        if (alone) { /* else narrow matrices keep wide groups busy */
            assert_near(tiles.busy_s / busy_s, 1, 1e-12);
            assert_near(run_ledger(own.run).total_J / run_ledger(b.run).total_J, 1, 1e-12);
        }
        assert_true(tiles.busy_s <= busy_s * (1 + 1e-12));
        drop(&b);
        drop(&own);
    }
}

/* ---- gating ------------------------------------------------------------------------------------------------ */

/* One token: codes 12 ns, buffer 6 ns, tiles 132.9 ns = 150.9 ns. Of 64 tiles four work, of the units the vector unit;
 * k = 0.5 x 0.4. */
static void idle_parts_are_gated(void **state) {
    (void)state;
    struct bench b = make("gating.clock_share=0.5 gating.power_share=0.4", &square, 1), all = make("", &square, 1);
    run_begin_step(b.run, 1);
    multiply(&b, 0, 1);
    double T = run_end_step(b.run);
    run_begin_step(all.run, 1);
    multiply(&all, 0, 1);
    assert_near(run_end_step(all.run), T, 1e-18);
    const struct chip_spec *s = chip_spec_of(b.chip);
    double tile_W = tile_static_W(&s->tile), units_W = s->attention.static_W.value + s->matmul.static_W.value,
           saved_J = 0.8 * (tile_W * (64 * T - 4 * 132.9e-9) + s->vector.static_W.value * (T - 12e-9) + units_W * T);
    double with_J = run_ledger(b.run).energy_J[PART_STATIC], without_J = run_ledger(all.run).energy_J[PART_STATIC];
    assert_near(T, 150.9e-9, 1e-18);
    assert_near(without_J, ledger_static_W(&all.run->ledger) * T, 1e-24);
    assert_near((without_J - with_J) / saved_J, 1, 1e-9);
    assert_near(run_power(b.run).idle_W,
                run_power(all.run).idle_W - 0.8 * (64 * tile_W + s->vector.static_W.value + units_W), 1e-12);
    drop(&b);
    drop(&all);
}

/* Two tokens: the vector unit and the tiles wake up before their first. Codes 22 and 12, buffer 6, tiles 142.9 and
 * 132.9 ns; memories do not sleep. */
static void units_wake_up(void **state) {
    (void)state;
    struct bench b = make("gating.power_share=0.5 gating.wake_cycles=10", &square, 1);
    run_begin_step(b.run, 2);
    multiply(&b, 0, 2);
    assert_near(run_end_step(b.run) * 1e9, 22 + 6 + 142.9 + 132.9, 1e-9);
    assert_near(run_class(b.run, CLASS_VECTOR).busy_s * 1e9, 34, 1e-9);
    drop(&b);
    b = make("gating.power_share=0.5 gating.wake_cycles=10 tile.overlap=sample_hold", &square, 1);
    run_begin_step(b.run, 2); /* the first takes the tile for 137 ns, the second is done 132.9 later */
    multiply(&b, 0, 2);
    assert_near(run_end_step(b.run) * 1e9, 22 + 6 + 137 + 132.9, 1e-9);
    drop(&b);
    struct chip *c = NULL;
    struct error e = {OK, ""};
    assert_int_equal(chip_load("pcm256", (const char *[]){"gating.wake_cycles=3"}, 1, &c, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "--set 1: gating.wake_cycles: 3, but gating.power_share = 1 switches nothing off "
                                      "(allowed: 0, or a share below 1)"));
}

/* ---- power over time --------------------------------------------------------------------------------------- */

/* Power of one token at time t (ns), without what is idle: codes, buffer, tiles one after the other. */
static double power_at_W(const double *joules, double ns) {
    return ns < 0       ? 0
           : ns < 12    ? joules[0] / 12e-9
           : ns < 18    ? joules[1] / 6e-9
           : ns < 150.9 ? joules[2] / 132.9e-9
                        : 0;
}

/* The window of 16 ns moves in steps of 1 ns: compared with the mean of the power at 100 points of each ns. */
static void peak_is_that_of_the_window(void **state) {
    (void)state;
    static const char *const sets[] = {"power_window_us=0.016", "power_window_us=0.016 buffer.energy_J_per_bit=2e-12"};
    for (int i = 0; i < 2; i++) {
        struct bench b = make(sets[i], &square, 1);
        run_begin_step(b.run, 1);
        multiply(&b, 0, 1);
        run_end_step(b.run);
        struct ledger_view v = run_ledger(b.run);
        struct power_view p = run_power(b.run);
        double joules[3] = {v.energy_J[PART_VECTOR], v.energy_J[PART_BUFFER],
                            v.energy_J[PART_DAC] + v.energy_J[PART_ARRAY] + v.energy_J[PART_ADC] +
                                v.energy_J[PART_DIGITAL_POST]};
        double most_W = 0;
        for (int end = 1; end <= 151; end++) {
            double sum_W = 0;
            for (int k = 0; k < 1600; k++) {
                sum_W += power_at_W(joules, end - 16 + (k + 0.5) / 100) / 1600;
            }
            most_W = fmax(most_W, sum_W);
        }
        assert_near((p.peak_W - p.idle_W) / most_W, 1, 1e-9);
        assert_near(p.window_s, 16e-9, 1e-18);
        assert_near(p.peak_s * 1e9, i ? 28 : p.peak_s * 1e9, 1e-6); /* a dear buffer from 12 to 18, and tiles */
        drop(&b);
    }
}

/* A run that is shorter than its window has its mean as its peak; windows reach over the end of a step. */
static void windows_reach_over_steps(void **state) {
    (void)state;
    struct bench b = make("power_window_us=1", &square, 1);
    run_begin_step(b.run, 1);
    multiply(&b, 0, 1);
    double T = run_end_step(b.run);
    struct power_view one = run_power(b.run);
    assert_near(one.peak_W / one.mean_W, 1, 1e-12);
    assert_near(one.window_s, T, 1e-18);
    for (int i = 0; i < 19; i++) { /* twenty equal steps: a window sees 6.6 of them */
        run_begin_step(b.run, 1);
        multiply(&b, 0, 1);
        run_end_step(b.run);
    }
    struct power_view many = run_power(b.run);
    assert_near(many.mean_W / one.mean_W, 1, 1e-12);
    assert_near(many.window_s, 1e-6, 1e-15);
    double step_J = one.mean_W * T - one.idle_W * T;
    assert_true(many.peak_W - many.idle_W < 7 * step_J / 1e-6 && many.peak_W - many.idle_W > 6.5 * step_J / 1e-6);
    assert_near(many.over_time_J / run_ledger(b.run).total_J, 1, 1e-12);
    run_reset(b.run);
    assert_true(isnan(run_power(b.run).peak_W));
    drop(&b);
}

/* A step that would need too many bins is summed in wider ones; nothing is lost. */
static void long_steps_widen_the_window(void **state) {
    (void)state;
    struct bench b = make("power_window_us=0.001 buffer.bandwidth_GBps=0.001", &square, 1); /* steps of 2 ms */
    for (int i = 0; i < 3; i++) {
        run_begin_step(b.run, 1);
        multiply(&b, 0, 1);
        run_end_step(b.run);
    }
    struct power_view p = run_power(b.run);
    assert_true(p.window_s > 1e-9 && p.window_s < 1e-6);
    assert_near(p.over_time_J / run_ledger(b.run).total_J, 1, 1e-9);
    drop(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(groups_say_what_tiles_say),
    cmocka_unit_test(joules_are_conserved),        cmocka_unit_test(time_is_conserved),
    cmocka_unit_test(idle_parts_are_gated),        cmocka_unit_test(units_wake_up),
    cmocka_unit_test(peak_is_that_of_the_window),  cmocka_unit_test(windows_reach_over_steps),
    cmocka_unit_test(long_steps_widen_the_window),
};
const struct test_suite suite_power = {"power", tests, sizeof tests / sizeof tests[0]};
