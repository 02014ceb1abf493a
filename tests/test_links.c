/* Links on the timeline: multiplies whose every nanosecond can be written down.
 *
 * Chip pcm256 without effects, clock 1 GHz: codes of K inputs (2 K / 256 + 8) ns on the vector unit; buffer (K + O) x 2
 * bytes at 512 GB/s + 2 ns; tiles 132.9 ns.
 */
#include <string.h>

#include "sim/run.h"
#include "tests/golden.h"

enum { SETS_MOST = 24 };

static const char *const link_keys[] = {"chip_link.bandwidth_GBps=32", "chip_link.latency_ns=20",
                                        "chip_link.energy_J_per_bit=1e-12", "chip_link.area_um2=1e6",
                                        "chip_link.static_W=0.01"};
static const char *const mesh_keys[] = {"network.topology=mesh",
                                        "network.columns=2",
                                        "network.rows=2",
                                        "network.hub=0",
                                        "network.flit_bits=64",
                                        "network.hop_cycles=2",
                                        "network.hop_energy_J_per_bit=1e-13",
                                        "network.router_area_um2=50000",
                                        "network.router_static_W=1e-3"};

struct bench {
    struct chip *chip;
    struct placement *placement;
    struct run *run;
};

static struct bench make(const struct matrix_source *m, size_t matrices, uint32_t tokens, const char *const *keys,
                         size_t count, const char *tiles) {
    struct bench b;
    struct error e;
    const char *sets[SETS_MOST] = {"effects=off", tiles};
    for (size_t i = 0; i < count; i++) {
        sets[2 + i] = keys[i];
    }
    must(chip_load("pcm256", sets, count + 2, &b.chip, &e), &e);
    must(placement_create(b.chip, m, matrices, &b.placement, &e), &e);
    struct activity a = {.source = "this test"};
    must(run_create_shapes(b.chip, b.placement, &a, tokens, &b.run, &e), &e);
    return b;
}

static void clear(struct bench *b) {
    run_destroy(b->run);
    placement_destroy(b->placement);
    chip_destroy(b->chip);
}

static double multiply_ns(struct bench *b, uint32_t tokens) {
    struct error e;
    run_begin_step(b->run, tokens);
    must(run_multiply(b->run, 0, NULL, tokens, NULL, &e), &e);
    return run_end_step(b->run) * 1e9;
}

/* 512 x 256 on two chips of one tile: its block of inputs (256 bytes) and sums (512) cross the link. */
static void two_chips(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .inputs = 512, .outputs = 256};
    struct bench b = make(&m, 1, 1, link_keys, 5, "tiles_per_chip=1");
    double codes = 4 + 8, buffer = 1536.0 / 512 + 2, there = 256.0 / 32, back = 512.0 / 32;
    assert_near(multiply_ns(&b, 1), codes + buffer + (there + 20) + there + 132.9 + (back + 20) + back, 1e-6);
    struct ledger_view v = run_ledger(b.run);
    assert_int_equal(v.count[PART_CHIP_LINK], 256 * 8 + 256 * 16);
    assert_near(v.energy_J[PART_CHIP_LINK] / ((256 * 8 + 256 * 16) * 1e-12), 1, 1e-12);
    struct class_view links = run_class(b.run, CLASS_CHIP_LINK);
    assert_near(links.critical_s * 1e9, 2 * there + 2 * back + 40, 1e-6);
    assert_near(placement_area(b.chip, b.placement).part_mm2[PART_CHIP_LINK], 2, 1e-12);
    clear(&b);
}

/* A second token follows at the pace of the tiles: its transfers are hidden. */
static void tokens_stream_through_links(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .inputs = 512, .outputs = 256};
    struct bench b = make(&m, 1, 3, link_keys, 5, "tiles_per_chip=1");
    double one = multiply_ns(&b, 1);
    run_reset(b.run);
    assert_near(multiply_ns(&b, 3), one + 2 * 132.9, 1e-6);
    clear(&b);
}

/* 512 x 512 on the four nodes of a mesh, hub at node 0, X first.
 * Inputs: block 0 (256 x 8 bits = 32 flits) goes to nodes 0 and 1, block 1 to nodes 2 and 3; node 3 is reached over
 * node 1, so link 0-1 carries both, 64 flits. Farthest: 2 hops.
 * Results: 256 x 16 bits = 64 flits per column block; column 0 comes from nodes 0 and 2, column 1 from nodes 1 and 3;
 * node 3 goes over node 2, so link 2-0 carries both, 128.
 */
static void a_mesh(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .inputs = 512, .outputs = 512};
    struct bench b = make(&m, 1, 1, mesh_keys, 9, "tiles_per_chip=4");
    double codes = 4 + 8, buffer = 2048.0 / 512 + 2, there = 2 * 2 + 64, back = 2 * 2 + 128;
    assert_near(multiply_ns(&b, 1), codes + buffer + there + 132.9 + back, 1e-6);
    struct ledger_view v = run_ledger(b.run);
    /* inputs: block 0 over 0-1; block 1 over 0-2, 0-1, 1-3. Results: column 0 over 2-0; column 1 over 1-0, 3-2, 2-0. */
    uint64_t bit_hops = 2048 * (1 + 3) + 4096 * (1 + 3);
    assert_int_equal(v.count[PART_NETWORK], bit_hops);
    assert_near(v.energy_J[PART_NETWORK] / ((double)bit_hops * 1e-13), 1, 1e-12);
    assert_near(placement_area(b.chip, b.placement).part_mm2[PART_NETWORK], 4 * 0.05, 1e-12);
    clear(&b);
}

/* Two multiplies of one fork share the first link and wait for each other there; without links they would overlap. */
static void multiplies_wait_for_shared_links(void **state) {
    (void)state;
    const struct matrix_source m[2] = {{.name = "a", .layer = 0, .inputs = 256, .outputs = 512},
                                       {.name = "b", .layer = 0, .inputs = 256, .outputs = 512}};
    struct bench b = make(m, 2, 1, mesh_keys, 9, "tiles_per_chip=4");
    struct error e;
    run_begin_step(b.run, 1);
    run_fork(b.run);
    must(run_multiply(b.run, 0, NULL, 1, NULL, &e), &e);
    must(run_multiply(b.run, 1, NULL, 1, NULL, &e), &e);
    run_join(b.run);
    run_end_step(b.run);
    assert_true(run_class(b.run, CLASS_NETWORK).wait_s > 0);
    clear(&b);
}

/* 256 x 512 twice on the mesh: copy 0 on nodes 0 and 1, copy 1 on nodes 2 and 3.
 * Copy 0: inputs (32 flits) over 0-1; column 1 (64 flits) back over 1-0.
 * Copy 1: inputs over 0-2, 0-1 and 1-3, two hops; column 0 back over 2-0, column 1 over 3-2 and 2-0, which has
 * both.
 * Two tokens in one step: the second has copy 1, and waits for the link 0-1 until the flits of the first are over.
 */
static void tokens_take_turns_on_copies(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .role = MATRIX_Q, .inputs = 256, .outputs = 512};
    const char *keys[10];
    memcpy(keys, mesh_keys, sizeof mesh_keys);
    keys[9] = "placement.copies=q=2";
    struct bench b = make(&m, 1, 2, keys, 10, "tiles_per_chip=4");
    double before = 10 + 5, first = before + 34 + 132.9 + 66, second = before + 36 + 132.9 + 132;
    uint64_t hops[2] = {2048 + 4096, 3 * 2048 + 3 * 4096};
    assert_near(multiply_ns(&b, 1), first, 1e-6);
    assert_int_equal(run_ledger(b.run).count[PART_NETWORK], hops[0]);
    assert_near(multiply_ns(&b, 1), first + second, 1e-6);
    assert_int_equal(run_ledger(b.run).count[PART_NETWORK], hops[0] + hops[1]);
    run_reset(b.run);
    assert_near(multiply_ns(&b, 2), before + 32 + 36 + 132.9 + 132, 1e-6);
    assert_int_equal(run_ledger(b.run).count[PART_NETWORK], hops[0] + hops[1]);
    assert_near(run_ledger(b.run).energy_J[PART_NETWORK] / ((double)(hops[0] + hops[1]) * 1e-13), 1, 1e-12);
    clear(&b);
}

/* Two matrices on two tiers of the same nodes send what they would alone. Apart, the second is on nodes 2 and 3. */
static void tiers_share_a_node(void **state) {
    (void)state;
    const struct matrix_source m[2] = {{.name = "a", .layer = 0, .inputs = 256, .outputs = 512},
                                       {.name = "b", .layer = 0, .inputs = 256, .outputs = 512}};
    const char *keys[10];
    memcpy(keys, mesh_keys, sizeof mesh_keys);
    for (int tiers = 1; tiers <= 2; tiers++) {
        keys[9] = tiers == 1 ? "tile.tiers=1" : "tile.tiers=2";
        struct bench b = make(m, 2, 1, keys, 10, "tiles_per_chip=4");
        struct error e;
        run_begin_step(b.run, 1);
        must(run_multiply(b.run, 1, NULL, 1, NULL, &e), &e);
        double back = tiers == 1 ? 132 : 66, there = tiers == 1 ? 36 : 34;
        assert_near(run_end_step(b.run) * 1e9, 10 + 5 + there + 132.9 + back, 1e-6);
        assert_int_equal(run_ledger(b.run).count[PART_NETWORK], (tiers == 1 ? 3 : 1) * (2048 + 4096));
        clear(&b);
    }
}

/* 70 copies on chips of one tile: more branches than a stage can wait for. Copy 0 is at home. */
static void many_copies(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .role = MATRIX_Q, .inputs = 256, .outputs = 256};
    const char *keys[6];
    memcpy(keys, link_keys, sizeof link_keys);
    keys[5] = "placement.copies=q=70";
    struct bench b = make(&m, 1, 140, keys, 6, "tiles_per_chip=1");
    assert_true(multiply_ns(&b, 140) > 0);
    assert_int_equal(b.run->trouble.status, OK);
    assert_int_equal(run_ledger(b.run).count[PART_CHIP_LINK], 138 * (256 * 8 + 256 * 16));
    clear(&b);
}

/* Layers on different chips: activations cross once per change of chip, none at the beginning of a step. */
static void activations_change_chips(void **state) {
    (void)state;
    const struct matrix_source m[2] = {{.name = "a", .layer = 0, .inputs = 256, .outputs = 256},
                                       {.name = "b", .layer = 1, .inputs = 256, .outputs = 256}};
    struct bench b = make(m, 2, 1, link_keys, 5, "tiles_per_chip=1");
    struct error e;
    run_begin_step(b.run, 1);
    must(run_multiply(b.run, 0, NULL, 1, NULL, &e), &e);
    run_digital(b.run, &(struct digital_record){.op = OP_NORM, .layer = 0, .tokens = 1, .elements = 256});
    must(run_multiply(b.run, 1, NULL, 1, NULL, &e), &e);
    run_end_step(b.run);
    assert_int_equal(run_ledger(b.run).count[PART_CHIP_LINK], 256 * 16);
    clear(&b);
}

/* Two chips of one tile in a package. */
#define PACKAGES                                                                                                       \
    "hierarchy.tiles_per_core=1", "hierarchy.cores_per_cluster=1", "hierarchy.clusters_per_chip=1",                    \
        "hierarchy.chips_per_package=2", "package_link.bandwidth_GBps=8", "package_link.latency_ns=100",               \
        "package_link.energy_J_per_bit=5e-12", "package_link.area_um2=2e6", "package_link.static_W=0.02"
static const char *const package_keys[] = {"chip_link.bandwidth_GBps=32",      "chip_link.latency_ns=20",
                                           "chip_link.energy_J_per_bit=1e-12", "chip_link.area_um2=1e6",
                                           "chip_link.static_W=0.01",          PACKAGES};
enum { PACKAGE_KEYS = sizeof package_keys / sizeof package_keys[0] };

/* 512 x 512 on four chips, the home chip and one more in its package. Block 0 of the inputs (256 bytes) goes to chip 1
 * over chip links, block 1 to chips 2 and 3 over package links: out of the home chip both (512 bytes), into each its
 * own. Sums of 512 bytes come back the same ways, two of them over the package link of the home chip. */
static void two_packages(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .inputs = 512, .outputs = 512};
    struct bench b = make(&m, 1, 1, package_keys, PACKAGE_KEYS, "tiles_per_chip=1");
    double codes = 4 + 8, buffer = 2048.0 / 512 + 2, there = 512.0 / 8 + 100 + 256.0 / 8,
           back = 512.0 / 8 + 100 + 1024.0 / 8;
    assert_near(multiply_ns(&b, 1), codes + buffer + there + 132.9 + back, 1e-6);
    struct ledger_view v = run_ledger(b.run);
    assert_int_equal(v.count[PART_CHIP_LINK], 2048 + 4096);
    assert_int_equal(v.count[PART_PACKAGE_LINK], 2 * (2048 + 4096));
    assert_near(v.energy_J[PART_PACKAGE_LINK] / (2 * (2048 + 4096) * 5e-12), 1, 1e-12);
    assert_near(run_class(b.run, CLASS_PACKAGE_LINK).critical_s * 1e9, there + back, 1e-6);
    assert_near(run_class(b.run, CLASS_CHIP_LINK).busy_s * 1e9, 2 * (256.0 / 32 + 512.0 / 32), 1e-6);
    assert_near(placement_area(b.chip, b.placement).part_mm2[PART_PACKAGE_LINK], 4 * 2, 1e-12);
    clear(&b);
    struct bench one = make(&m, 1, 1, link_keys, 5, "tiles_per_chip=1"); /* one package: all over chip links */
    assert_near(multiply_ns(&one, 1), 12 + 6 + (16 + 20 + 8) + 132.9 + (16 + 20 + 48), 1e-6);
    assert_int_equal(run_ledger(one.run).count[PART_CHIP_LINK], 3 * (2048 + 4096));
    assert_int_equal(run_ledger(one.run).count[PART_PACKAGE_LINK], 0);
    clear(&one);
}

/* Layers on chips 0, 1 and 2: the second change leaves the package. */
static void activations_change_packages(void **state) {
    (void)state;
    const struct matrix_source m[3] = {{.name = "a", .layer = 0, .inputs = 256, .outputs = 256},
                                       {.name = "b", .layer = 1, .inputs = 256, .outputs = 256},
                                       {.name = "c", .layer = 2, .inputs = 256, .outputs = 256}};
    struct bench b = make(m, 3, 1, package_keys, PACKAGE_KEYS, "tiles_per_chip=1");
    struct error e;
    run_begin_step(b.run, 1);
    for (size_t i = 0; i < 3; i++) {
        must(run_multiply(b.run, i, NULL, 1, NULL, &e), &e);
    }
    double changes = (16 + 20 + 16) + (64 + 100 + 64); /* out and in: 512 bytes at 32 and at 8 GB/s */
    assert_near(run_end_step(b.run) * 1e9, 3 * (10 + 4 + 132.9) + changes, 1e-6);
    assert_int_equal(run_ledger(b.run).count[PART_CHIP_LINK], 256 * 16);
    assert_int_equal(run_ledger(b.run).count[PART_PACKAGE_LINK], 256 * 16);
    clear(&b);
}

/* A chip without links has neither their energy nor their time; its reports say null. */
static void no_links(void **state) {
    (void)state;
    const struct matrix_source m = {.name = "m", .layer = 0, .inputs = 512, .outputs = 256};
    struct bench b = make(&m, 1, 1, NULL, 0, "tiles_per_chip=1");
    assert_near(multiply_ns(&b, 1), 12 + 5 + 132.9, 1e-6);
    json_t *report = run_report_json(b.run), *energy = json_object_get(report, "energy"),
           *parts = json_object_get(energy, "by_component");
    assert_true(json_is_null(json_object_get(parts, "network")) && json_is_null(json_object_get(parts, "chip_link")));
    json_decref(report);
    clear(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_chips),
    cmocka_unit_test(tokens_stream_through_links),
    cmocka_unit_test(a_mesh),
    cmocka_unit_test(multiplies_wait_for_shared_links),
    cmocka_unit_test(tokens_take_turns_on_copies),
    cmocka_unit_test(tiers_share_a_node),
    cmocka_unit_test(many_copies),
    cmocka_unit_test(activations_change_chips),
    cmocka_unit_test(two_packages),
    cmocka_unit_test(activations_change_packages),
    cmocka_unit_test(no_links),
};

const struct test_suite suite_links = {"links", tests, sizeof tests / sizeof tests[0]};
