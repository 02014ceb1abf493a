/* The machine in time, against arithmetic: clock domains, tiles as pipelines, pools of units. Chip pcm256 unless a test
 * says otherwise: digital clock 1 GHz, vector unit 256 lanes and 8 cycles, buffer 512 GB/s and 2 ns, a multiply of a
 * tile 132.9 ns with a pulse of 127 ns.
 */
#include "tests/run_fixture.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "sim/passes.h"
#include "sim/placement.h"

enum { TOKENS_MOST = 64 };

/* A run of a chip with one matrix of 512 x 512, "key=value key=value". */
static struct bench make(const char *name, const char *sets) {
    return run_of(load_sets(name, sets), &square, 1, TOKENS_MOST);
}

/* One step: the matrix on so many tokens, each with so many further rounds. Its length, ns. */
static double multiply_ns(struct bench *b, uint32_t tokens, uint64_t rounds) {
    struct multiply_record record = {.matrix = 0, .tokens = tokens, .repeated_rounds = rounds * tokens};
    run_begin_step(b->run, tokens);
    run_record_multiply(b->run, &record);
    double end_s = run_end_step(b->run);
    assert_int_equal(b->run->trouble.status, OK);
    return (end_s - run_step_start_s(b->run)) * 1e9;
}

static void is_refused(const char *sets, const char *message) {
    char text[1024];
    const char *list[SETS_MOST];
    struct chip *c = NULL;
    struct error e = {OK, ""};
    snprintf(text, sizeof text, "%s", sets);
    size_t count = split_sets(text, list);
    assert_int_equal(chip_load("pcm256", list, count, &c, &e), ERR_USAGE);
    if (!strstr(e.message, message) || !strstr(e.message, "allowed:")) {
        fail_msg("%s: '%s' is not in '%s'", sets, message, e.message);
    }
}

/* ---- clocks ------------------------------------------------------------------------------------------------ */

/* Codes 12 cycles at 1 GHz, buffer 6 ns, tiles 132.9 ns; two tokens. By hand. */
static void durations_are_whole_cycles(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double ns;
    } cases[] = {
        {"tile.rows=256", 12 + 6 + 2 * 132.9},                         /* no clocks: nothing is rounded */
        {"clocks.tile_GHz=1", 12 + 6 + 2 * 133},                       /* 132.9 cycles */
        {"clocks.tile_GHz=2", 12 + 6 + 2 * 133},                       /* 265.8 cycles of 0.5 ns */
        {"clocks.tile_GHz=4", 12 + 6 + 2 * 133},                       /* 531.6 of 0.25 ns */
        {"clocks.tile_GHz=10", 12 + 6 + 2 * 132.9},                    /* 1,329 of 0.1 ns */
        {"clocks.tile_GHz=3", 12 + 6 + 2 * 133},                       /* 398.7 of 1/3 ns */
        {"clocks.tile_GHz=0.5", 12 + 6 + 2 * 134},                     /* 66.45 of 2 ns; starts at 18 */
        {"clocks.memory_GHz=0.25", 12 + 8 + 2 * 133},                  /* buffer: 1.5 cycles of 4 ns; starts at 12 */
        {"clocks.memory_GHz=0.2", 15 + 10 + 2 * 133},                  /* 1.2 of 5 ns; its edges are at 10 and 15 */
        {"clocks.memory_GHz=0.2 clocks.tile_GHz=0.5", 26 + 2 * 134},   /* tiles begin at 26, not at 25 */
        {"clocks.memory_GHz=0.5 clocks.tile_GHz=0.5", 12 + 6 + 2 * 134},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b = make("pcm256", cases[i].sets);
        assert_near(multiply_ns(&b, 2, 0), cases[i].ns, 1e-9);
        assert_int_equal(b.run->clocks.whole, i > 0);
        drop(&b);
    }
}

/* A step begins where the one before has ended; with another clock its first stage waits for an edge. */
static void steps_start_on_edges(void **state) {
    (void)state;
    struct bench b = make("pcm256", "clocks.tile_GHz=0.2");
    assert_near(multiply_ns(&b, 1, 0), 20 + 135, 1e-9); /* 18 -> edge at 20; 27 cycles of 5 ns */
    assert_near(multiply_ns(&b, 1, 0), 20 + 135, 1e-9); /* begins at 155 */
    drop(&b);
    b = make("pcm256", "clocks.memory_GHz=0.125 clocks.tile_GHz=0.25");
    assert_near(multiply_ns(&b, 1, 0), 24 + 136, 1e-9); /* codes 12 -> edge 16, one cycle of 8; 34 cycles of 4 */
    drop(&b);
}

static void odd_clocks_are_refused(void **state) {
    (void)state;
    is_refused("clocks.tile_GHz=0.7", "--set 1: clocks.tile_GHz: 0.7 GHz does not divide the fastest clock, 1 GHz");
    is_refused("clocks.tile_GHz=0.5 clocks.memory_GHz=1.5",
               "clock_GHz: 1 GHz does not divide the fastest clock, 1.5 GHz (allowed: the fastest divided by 1, 2, 3, "
               "..., such as 1.5 or 0.75 GHz)");
    is_refused("clocks.network_GHz=-1", "clocks.network_GHz");
}

/* ---- tiles ------------------------------------------------------------------------------------------------- */

/* A stream of N vectors: latency + (N - 1) interval, as long as codes and buffer are faster than the tiles. D = 127,
 * C = 5.9 (+ 3 x 76.5 with 4 columns per converter), L = 40, S = 10 ns. */
static void tiles_are_pipelines(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double interval, latency, converting;
    } cases[] = {
        {"tile.overlap=none", 50 + 132.9, 50 + 132.9, 76.5},
        {"tile.overlap=sample_hold", 40 + 127, 50 + 132.9, 76.5},                   /* max(L + D, C + S) */
        {"tile.overlap=sample_hold tile.adc.share=4", 5.9 + 229.5 + 10, 50 + 132.9 + 229.5, 235.4},
        {"tile.overlap=sample_hold tile.dac.sign=two_phase", 127 + 40 + 127, 50 + 127 + 132.9, 203.5},
        {"tile.overlap=full tile.mvm_ns=230", 127, 50 + 230, 76.5},                 /* M = 26.5, C' = 76.5 */
        {"tile.overlap=full tile.mvm_ns=230 tile.registers.load_ns=300", 300, 310 + 230, 76.5}, /* the port bounds */
        {"tile.overlap=full tile.mvm_ns=230 tile.registers.store_ns=200", 200, 240 + 230, 76.5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char sets[256];
        snprintf(sets, sizeof sets, "tile.registers.load_ns=40 tile.registers.store_ns=10 %s", cases[i].sets);
        struct bench b = make("pcm256", sets);
        struct tile_work w = tile_work_of(chip_spec_of(b.chip));
        assert_near(w.interval_s * 1e9, cases[i].interval, 1e-9);
        assert_near(w.latency_s * 1e9, cases[i].latency, 1e-9);
        assert_near(w.converting_s * 1e9, cases[i].converting, 1e-9);
        assert_near(multiply_ns(&b, 1, 0), 18 + cases[i].latency, 1e-3); /* a picosecond */
        assert_near(multiply_ns(&b, 9, 0), 18 + cases[i].latency + 8 * cases[i].interval, 1e-2); /* 9 of them */
        drop(&b);
    }
}

/* ---- pools ------------------------------------------------------------------------------------------------- */

/* Four tokens of a norm: the buffer hands one over every 4 ns (1,024 bytes and 2 ns), a unit takes 4 + 8 cycles.
 * One unit: 4 + 4 x 12. Two: at 4, 8, 16, 20. Three: at 4, 8, 12, 16; a fourth has nothing to do. */
static void pools_take_tokens_side_by_side(void **state) {
    (void)state;
    static const double ends[] = {52, 32, 28, 28};
    for (int count = 1; count <= 4; count++) {
        char set[64];
        snprintf(set, sizeof set, "vector.count=%d attention.count=3", count);
        struct bench b = make("pcm256", set);
        run_begin_step(b.run, 4);
        run_digital(b.run, &(struct digital_record){.op = OP_NORM, .layer = 0, .tokens = 4, .elements = 256});
        assert_near(run_end_step(b.run) * 1e9, ends[count - 1], 1e-9);
        struct class_view v = run_class(b.run, CLASS_VECTOR);
        assert_near(v.busy_s * 1e9, 48, 1e-9);
        assert_near(v.busiest, 48 / ends[count - 1] / count, 1e-12); /* of what the pool could have done */
        drop(&b);
    }
}

/* Area and static power of every unit of a pool. */
static void pools_have_area_and_power(void **state) {
    (void)state;
    struct bench one = make("pcm256", "tile.rows=256"),
                 more = make("pcm256", "vector.count=3 attention.count=2 matmul.count=5");
    const struct chip_spec *s = chip_spec_of(one.chip);
    struct area_view a = placement_area(one.chip, one.placement), b = placement_area(more.chip, more.placement);
    assert_near(b.part_mm2[PART_VECTOR] / a.part_mm2[PART_VECTOR], 3, 1e-12);
    assert_near(b.part_mm2[PART_ATTENTION] / a.part_mm2[PART_ATTENTION], 2, 1e-12);
    assert_near(b.part_mm2[PART_DIGITAL_MATMUL] / a.part_mm2[PART_DIGITAL_MATMUL], 5, 1e-12);
    double more_W = ledger_static_W(&more.run->ledger) - ledger_static_W(&one.run->ledger);
    assert_near(more_W, 2 * s->vector.static_W.value + s->attention.static_W.value + 4 * s->matmul.static_W.value,
                1e-12);
    drop(&one);
    drop(&more);
    is_refused("vector.count=0", "vector.count");
}

/* ---- stacks, copies, chips --------------------------------------------------------------------------------- */

/* Three matrices of 2 x 2, 2 x 2 and 1 x 1 tiles. */
static const struct matrix_source three[] = {
    {.name = "a", .layer = 0, .role = MATRIX_Q, .inputs = 512, .outputs = 512, .read_rows = no_rows},
    {.name = "b", .layer = 0, .role = MATRIX_K, .inputs = 512, .outputs = 512, .read_rows = no_rows},
    {.name = "c", .layer = 1, .role = MATRIX_DOWN, .inputs = 256, .outputs = 256, .read_rows = no_rows},
};

static struct bench make_three(const char *sets) {
    struct bench b = {.chip = load_sets("pcm256", sets)};
    struct error e = {OK, ""};
    if (placement_create(b.chip, three, 3, &b.placement, &e) != OK ||
        run_create_costs(b.chip, b.placement, TOKENS_MOST, &b.run, &e) != OK) {
        fail_msg("%s: %s", sets, e.message);
    }
    return b;
}

/* Matrices 0 and 1 from the same inputs; ns. */
static double fork_ns(struct bench *b, uint32_t tokens) {
    run_begin_step(b->run, tokens);
    run_fork(b->run);
    for (size_t m = 0; m < 2; m++) {
        run_record_multiply(b->run, &(struct multiply_record){.matrix = m, .tokens = tokens});
    }
    run_join(b->run);
    return (run_end_step(b->run) - run_step_start_s(b->run)) * 1e9;
}

/* Codes 12, buffer 6 for a and then 6 for b. Side by side the second ends at 24 + 132.9; on the same stacks its 132.9
 * come after those of the first. */
static void tiers_share_a_stack(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        uint64_t stacks;
        double fork_ns, array;
    } cases[] = {
        {"tile.tiers=1", 9, 24 + 132.9, 1},
        {"tile.tiers=2", 5, 18 + 2 * 132.9, 2}, /* a and b; c would be the third */
        {"tile.tiers=3", 4, 18 + 2 * 132.9, 3},
        {"tile.tiers=64", 4, 18 + 2 * 132.9, 64},
    };
    double area_mm2[2] = {0, 0};
    for (size_t i = 0; i < 4; i++) {
        struct bench b = make_three(cases[i].sets);
        struct area_view a = placement_area(b.chip, b.placement);
        area_mm2[0] = i ? area_mm2[0] : a.part_mm2[PART_ARRAY];
        area_mm2[1] = i ? area_mm2[1] : a.part_mm2[PART_ADC];
        assert_int_equal(placement_total(b.placement).stacks, cases[i].stacks);
        assert_int_equal(placement_total(b.placement).tiles, 9);
        assert_near(fork_ns(&b, 1), cases[i].fork_ns, 1e-9);
        assert_near(a.part_mm2[PART_ARRAY] / area_mm2[0], cases[i].array, 1e-12);
        assert_near(a.part_mm2[PART_ADC] / area_mm2[1], 1, 1e-12); /* shared */
        drop(&b);
    }
    is_refused("tile.tiers=0", "tile.tiers");
}

/* Tokens go to the copy that is free: they are there every 12 ns (codes), from 18 on. With k copies the tokens take
 * turns of 132.9; with 16 nobody waits. */
static void copies_take_turns(void **state) {
    (void)state;
    static const int copies[] = {1, 2, 4, 16};
    for (size_t i = 0; i < 4; i++) {
        char set[64];
        double free_ns[16] = {0}, end_ns = 0;
        snprintf(set, sizeof set, "placement.copies=q=%d", copies[i]);
        struct bench b = make("pcm256", set);
        for (int t = 0; t < 12; t++) {
            double *one = &free_ns[t % copies[i]], ready_ns = 18 + 12 * t;
            *one = (*one > ready_ns ? *one : ready_ns) + 132.9;
            end_ns = *one;
        }
        assert_near(multiply_ns(&b, 12, 0), end_ns, 1e-9);
        assert_int_equal(placement_total(b.placement).stacks, 4 * copies[i]);
        assert_int_equal(placement_total(b.placement).tiles, 4);
        assert_true(run_class(b.run, CLASS_TILES).busiest <= 1);
        drop(&b);
    }
    is_refused("placement.copies=q=0", "--set 1: placement.copies: 'q=0'");
    is_refused("placement.copies=queen=2", "placement.copies: 'queen=2'");
    is_refused("placement.copies=q=99999999999999999999", "placement.copies");
    is_refused("placement.copies=q=-1", "placement.copies");
}

/* 9 stacks on chips of 8: in order 8 and 1, balanced 5 and 4. b begins on stack 4. */
static void chips_can_be_balanced(void **state) {
    (void)state;
    struct bench full = make_three("tiles_per_chip=8"),
                 even = make_three("tiles_per_chip=8 placement.strategy=balanced");
    assert_int_equal(placement_total(full.placement).chips, 2);
    assert_int_equal(placement_total(even.placement).chips, 2);
    assert_int_equal(placement_stacks_per_chip(full.placement), 8);
    assert_int_equal(placement_stacks_per_chip(even.placement), 5);
    assert_int_equal(placement_first_chip(full.placement, 1), 0);
    assert_int_equal(placement_first_chip(even.placement, 2), 1);
    assert_int_equal(placement_home_chip(even.placement, 1), 1);
    drop(&full);
    drop(&even);
    struct bench three_chips = make_three("tiles_per_chip=4 placement.strategy=balanced"); /* 3 each */
    assert_int_equal(placement_first_chip(three_chips.placement, 1), 1);
    assert_int_equal(placement_first_chip(three_chips.placement, 2), 2);
    drop(&three_chips);
}

static void levels_multiply_up(void **state) {
    (void)state;
    struct chip *c = load_sets("pcm256", "hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=8 "
                                         "hierarchy.clusters_per_chip=2");
    chip_destroy(c);
    is_refused("hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=8 hierarchy.clusters_per_chip=3",
               "--set 3: hierarchy.clusters_per_chip: 3 clusters of 8 cores of 4 tiles are 96 tiles, but "
               "tiles_per_chip is 64");
    is_refused("hierarchy.tiles_per_core=0 hierarchy.cores_per_cluster=8 hierarchy.clusters_per_chip=2",
               "hierarchy.tiles_per_core");
    is_refused("hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=8 hierarchy.clusters_per_chip=2 "
               "network=noc_mesh_45nm network.topology=mesh network.columns=8 network.rows=8 network.tiles_per_core=1",
               "network.tiles_per_core: 1, but hierarchy.tiles_per_core is 4");
    struct chip *none = NULL;
    struct error e = {OK, ""};
    assert_int_equal(chip_load("pcm256", (const char *[]){"hierarchy.tiles_per_core=4"}, 1, &none, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "hierarchy.c")); /* the level that is missing */
    is_refused("hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=8 hierarchy.clusters_per_chip=2 "
               "hierarchy.chips_per_package=4",
               "--set 4: hierarchy.chips_per_package: 4, but the chip has no chip_link (allowed: both groups");
    is_refused("hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=8 hierarchy.clusters_per_chip=2 "
               "hierarchy.chips_per_package=4 chip_link=link_interposer",
               "hierarchy.chips_per_package: 4, but the chip has no package_link");
    is_refused("chip_link=link_interposer package_link=link_hypertransport",
               "package_link.bandwidth_GBps: given, but a package has one chip");
    c = load_sets("pcm256", "hierarchy.tiles_per_core=4 hierarchy.cores_per_cluster=8 hierarchy.clusters_per_chip=2 "
                            "hierarchy.chips_per_package=4 chip_link=link_interposer "
                            "package_link=link_hypertransport");
    chip_destroy(c);
}

/* ---- memories ---------------------------------------------------------------------------------------------- */

#define DRAM                                                                                                           \
    "dram=lpddr4 dram.bandwidth_GBps=16 dram.latency_ns=50 dram.burst_bytes=64 dram.energy_J_per_bit=5e-12 "           \
    "dram.idle_W=0.1 dram.refresh_W=0.02 "

/* One token that sees so many keys of 2 x 2 x 64 values of 8 bits = 2,048 bits. ns. */
static double attention_ns(struct bench *b, uint32_t keys) {
    run_begin_step(b->run, 1);
    run_digital(b->run, &(struct digital_record){.op = OP_ATTENTION,
                                                 .layer = 0,
                                                 .tokens = 1,
                                                 .first_position = keys - 1,
                                                 .heads = 4,
                                                 .kv_heads = 2,
                                                 .head_dim = 64});
    return (run_end_step(b->run) - run_step_start_s(b->run)) * 1e9;
}

/* A KV memory of 1 KiB holds 4 keys. Of 6, two are read from the DRAM and the new one is written there: 6,144 bits =
 * 12 bursts = 768 bytes at 16 GB/s and 50 ns, longer than all that happens beside it; before it 4 ns of the buffer. */
static void keys_spill_to_dram(void **state) {
    (void)state;
    struct bench b = make("pcm256", DRAM "kv.capacity_KiB=1"), free = make("pcm256", DRAM "kv.capacity_KiB=8"),
                 none = make("pcm256", "kv.capacity_KiB=1");
    double fits_ns = attention_ns(&free, 6), four_ns = attention_ns(&b, 4);
    assert_int_equal(run_ledger(b.run).count[PART_DRAM], 0);
    assert_true(four_ns <= fits_ns && fits_ns < 102);
    assert_near(attention_ns(&b, 6), 4 + 50 + 48, 1e-9);
    struct ledger_view v = run_ledger(b.run), all = run_ledger(free.run);
    assert_int_equal(v.count[PART_DRAM], 3 * 2048);
    assert_near(v.energy_J[PART_DRAM], 3 * 2048 * 5e-12, 1e-18);
    assert_int_equal(v.count[PART_KV_MEMORY], (4 + 1 + 4) * 2048); /* two tokens: 4 read, 1 written; 4 read */
    assert_int_equal(all.count[PART_KV_MEMORY], (6 + 1) * 2048);
    assert_int_equal(all.count[PART_DRAM], 0);
    assert_near(run_class(b.run, CLASS_DRAM).busy_s * 1e9, 98, 1e-9);
    assert_near(attention_ns(&none, 6), fits_ns, 1e-9); /* nowhere to go: as if they had room, and a flag */
    double more_W = ledger_static_W(&b.run->ledger) - ledger_static_W(&none.run->ledger);
    assert_near(more_W, 0.12, 1e-12);
    json_t *there = run_report_json(b.run), *absent = run_report_json(none.run);
    const char *flag = json_string_value(json_array_get(json_object_get(absent, "flags"), 0));
    assert_non_null(strstr(flag ? flag : "", "no dram to spill to"));
    assert_true(json_is_null(json_object_get(json_object_get(absent, "memory"), "spills_to")));
    assert_near(json_number_value(json_object_get(json_object_get(there, "memory"), "kv_beyond_room_bytes")), 512, 0);
    assert_true(json_is_null(json_object_get(
        json_object_get(json_object_get(absent, "energy"), "by_component"), "dram")));
    json_decref(there);
    json_decref(absent);
    drop(&b);
    drop(&free);
    drop(&none);
}

/* Two layers on one chip share its KV memory. */
static void layers_share_the_kv_memory(void **state) {
    (void)state;
    const struct matrix_source two[] = {
        {.name = "a", .layer = 0, .role = MATRIX_Q, .inputs = 64, .outputs = 64, .read_rows = no_rows},
        {.name = "b", .layer = 1, .role = MATRIX_Q, .inputs = 64, .outputs = 64, .read_rows = no_rows},
    };
    struct bench b = {.chip = load_sets("pcm256", DRAM "kv.capacity_KiB=1")};
    struct error e = {OK, ""};
    assert_int_equal(placement_create(b.chip, two, 2, &b.placement, &e), OK);
    assert_int_equal(run_create_costs(b.chip, b.placement, 1, &b.run, &e), OK);
    attention_ns(&b, 6);
    assert_int_equal(run_ledger(b.run).count[PART_DRAM], (4 + 1) * 2048); /* room for two */
    drop(&b);
}

/* Refresh takes a share of the bandwidth: 768 bytes at 12.8 GB/s. */
static void refresh_takes_bandwidth(void **state) {
    (void)state;
    struct bench b = make("pcm256", DRAM "kv.capacity_KiB=1 dram.refresh_bandwidth_share=0.2"),
                 half = make("pcm256", "kv.refresh.power_W=0.01 kv.refresh.bandwidth_share=0.5"),
                 whole = make("pcm256", "kv.refresh.power_W=0.01");
    assert_near(attention_ns(&b, 6), 4 + 50 + 60, 1e-9);
    attention_ns(&half, 600);
    attention_ns(&whole, 600);
    double latency_s = chip_spec_of(half.chip)->kv.latency_s.value;
    assert_near((run_class(half.run, CLASS_KV).busy_s - latency_s) /
                    (run_class(whole.run, CLASS_KV).busy_s - latency_s), 2, 1e-3); /* whole picoseconds of some ns */
    drop(&b);
    drop(&half);
    drop(&whole);
    is_refused("kv.refresh.power_W=0.01 kv.refresh.bandwidth_share=1", "kv.refresh.bandwidth_share");
}

/* A row of 300 numbers of 16 bits: 10 bursts, 640 bytes = 40 ns, and 50 ns; then buffer 3.172 ns and 10 cycles. */
static void embedding_rows_come_from_dram(void **state) {
    (void)state;
    static const char *const sets[] = {DRAM "dram.embedding=on", DRAM "dram.embedding=off"};
    for (int i = 0; i < 2; i++) {
        struct bench b = make("pcm256", sets[i]);
        run_begin_step(b.run, 1);
        run_digital(b.run, &(struct digital_record){.op = OP_EMBED, .layer = -1, .tokens = 1, .elements = 300});
        assert_near(run_end_step(b.run) * 1e9, (i ? 0 : 90) + 3.172 + 10, 1e-9);
        assert_int_equal(run_ledger(b.run).count[PART_DRAM], i ? 0 : 5120);
        drop(&b);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tiers_share_a_stack),
    cmocka_unit_test(copies_take_turns),
    cmocka_unit_test(chips_can_be_balanced),
    cmocka_unit_test(levels_multiply_up),
    cmocka_unit_test(keys_spill_to_dram),
    cmocka_unit_test(layers_share_the_kv_memory),
    cmocka_unit_test(refresh_takes_bandwidth),
    cmocka_unit_test(embedding_rows_come_from_dram),
    cmocka_unit_test(durations_are_whole_cycles),
    cmocka_unit_test(steps_start_on_edges),
    cmocka_unit_test(odd_clocks_are_refused),
    cmocka_unit_test(tiles_are_pipelines),
    cmocka_unit_test(pools_take_tokens_side_by_side),
    cmocka_unit_test(pools_have_area_and_power),
};
const struct test_suite suite_schedule = {"schedule", tests, sizeof tests / sizeof tests[0]};
