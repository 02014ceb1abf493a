/* Joules, seconds and square millimetres: by hand, conserved, and at the published points. The worked example of
 * docs/costs.md. */
#include "tests/run_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/quantity.h"
#include "sim/report.h"
#include "sim/uncertainty.h"

static struct bench make(const char *name, const char *const *sets, size_t count, const struct matrix_source *m,
                         size_t matrices, uint32_t tokens) {
    return run_of(load(name, sets, count), m, matrices, tokens);
}

static int64_t event_end(const struct engine *g, size_t i) {
    struct engine_event v = engine_event(g, i);
    return v.start + v.hold;
}

/* The record of a multiply in which every cell has 10 uS and every input half of full scale. */
static struct multiply_record half_scale(const struct placement *p, size_t matrix, uint32_t tokens) {
    struct placement_matrix m = placement_matrix_at(p, matrix);
    return (struct multiply_record){.matrix = matrix,
                                    .tokens = tokens,
                                    .array_S_sum = 0.5 * 10e-6 * m.inputs * m.outputs * tokens,
                                    .dac_conversions = (uint64_t)m.inputs * m.column_blocks * tokens,
                                    .adc_conversions = (uint64_t)m.outputs * m.row_blocks * tokens,
                                    .adc_results = (uint64_t)m.outputs * m.row_blocks * tokens,
                                    .adc_saturated = 1};
}

/* One step in the manner of a transformer. */
static double step(struct bench *b, uint32_t tokens, uint32_t position) {
    struct run *r = b->run;
    run_begin_step(r, tokens);
    run_digital(r, &(struct digital_record){.op = OP_EMBED, .layer = -1, .tokens = tokens, .elements = 300});
    for (int layer = 0; layer < 2; layer++) {
        struct multiply_record records[3];
        for (size_t i = 0; i < 3; i++) {
            records[i] = half_scale(b->placement, (size_t)layer * 3 + i, tokens);
        }
        run_digital(r, &(struct digital_record){.op = OP_NORM, .layer = layer, .tokens = tokens, .elements = 300});
        run_fork(r);
        run_record_multiply(r, &records[0]);
        run_record_multiply(r, &records[1]);
        run_join(r);
        run_digital(r, &(struct digital_record){.op = OP_ROPE, .layer = layer, .tokens = tokens, .elements = 400});
        run_digital(r, &(struct digital_record){.op = OP_ATTENTION,
                                                .layer = layer,
                                                .tokens = tokens,
                                                .first_position = position,
                                                .window = 6,
                                                .heads = 6,
                                                .kv_heads = 2,
                                                .head_dim = 50});
        run_digital(r,
                    &(struct digital_record){.op = OP_MATMUL, .layer = layer, .tokens = tokens, .elements = 300 * 700});
        run_record_multiply(r, &records[2]);
        run_digital(r, &(struct digital_record){.op = OP_RESIDUAL, .layer = layer, .tokens = tokens, .elements = 300});
    }
    struct multiply_record head = half_scale(b->placement, 6, tokens);
    run_record_multiply(r, &head);
    run_digital(r, &(struct digital_record){.op = OP_SAMPLE, .layer = -1, .tokens = tokens, .elements = 1000});
    return run_end_step(r);
}

/* ---- conservation ------------------------------------------------------------------------------ */

static const char *const links[] = {
    "tiles_per_chip=4",         "network.topology=mesh",          "network.columns=2",
    "network.rows=2",           "network.flit_bits=64",           "network.hop_energy_J_per_bit=1e-13",
    "network.router_static_W=0", "network.router_area_um2=1e4",   "chip_link.bandwidth_GBps=32",
    "chip_link.latency_ns=20",  "chip_link.energy_J_per_bit=1e-12", "chip_link.area_um2=1e6",
    "chip_link.static_W=0",
};
enum { LINKS = sizeof links / sizeof links[0] };

/* With links and without. */
static void energy_is_conserved_with(bool with_links) {
    struct bench b = make("pcm256", with_links ? links : NULL, with_links ? LINKS : 0, model, MATRICES, 8);
    step(&b, 8, 0);
    step(&b, 1, 8);
    struct ledger_view v = run_ledger(b.run);
    double components_J = 0, layers_J = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        bool unused = c == PART_SAMPLING || c == PART_DRAM || c == PART_MAINTENANCE ||
                      c == PART_PACKAGE_LINK || (!with_links && (c == PART_NETWORK || c == PART_CHIP_LINK));
        assert_true(unused ? v.energy_J[c] == 0 : v.energy_J[c] > 0); /* this step used every other one */
        components_J += v.energy_J[c];
    }
    for (size_t row = 0; row < v.layers; row++) {
        layers_J += run_layer_energy_J(b.run, row);
    }
    assert_int_equal(v.layers, 3);
    assert_near(components_J / v.total_J, 1, 1e-12); /* sums of some dozen doubles */
    assert_near(layers_J / v.total_J, 1, 1e-12);
    if (!with_links) { /* equal layers, but not equally many links */
        assert_near(run_layer_energy_J(b.run, 0) / run_layer_energy_J(b.run, 1), 1, 1e-12);
    }
    drop(&b);
}

static void energy_is_conserved(void **state) {
    (void)state;
    energy_is_conserved_with(false);
    energy_is_conserved_with(true);
}

static void time_is_conserved_with(bool with_links) {
    struct bench b = make("pcm256", with_links ? links : NULL, with_links ? LINKS : 0, model, MATRICES, 8);
    double first_s = step(&b, 8, 0), second_s = step(&b, 1, 8), critical_s = 0;
    assert_true(second_s > first_s && first_s > 0);
    assert_near(run_step_start_s(b.run), first_s, 1e-15); /* a step starts when the one before has ended */
    for (int c = 0; c < CLASS_COUNT; c++) {
        struct class_view one = run_class(b.run, (enum resource_class)c);
        bool there = c != CLASS_DRAM && c != CLASS_PACKAGE_LINK &&
                         (with_links || (c != CLASS_NETWORK && c != CLASS_CHIP_LINK));
        assert_true(there == (one.busy_s > 0));
        assert_true(!there || one.busiest > 0);
        assert_true(one.busiest <= 1 && one.busiest * second_s <= one.busy_s * (1 + 1e-12));
        critical_s += one.critical_s;
    }
    assert_near(critical_s / second_s, 1, 1e-12);
    assert_near(run_ledger(b.run).makespan_s, second_s, 0);
    double tokens_alone_s = 0; /* eight tokens together are faster than one by one, slower than one */
    struct bench alone = make("pcm256", NULL, 0, model, MATRICES, 8);
    for (uint32_t t = 0; t < 8; t++) {
        tokens_alone_s = step(&alone, 1, t);
    }
    assert_true(first_s < tokens_alone_s);
    assert_true(first_s > second_s - first_s);
    drop(&alone);
    drop(&b);
}

static void time_is_conserved(void **state) {
    (void)state;
    time_is_conserved_with(false);
    time_is_conserved_with(true);
}

static void reset_gives_the_same_again(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 4);
    step(&b, 4, 0);
    struct ledger_view first = run_ledger(b.run);
    run_reset(b.run);
    assert_true(run_ledger(b.run).total_J == 0);
    step(&b, 4, 0);
    struct ledger_view second = run_ledger(b.run);
    assert_true(first.total_J == second.total_J && first.makespan_s == second.makespan_s && first.macs == second.macs);
    drop(&b);
}

/* ---- counts by hand ---------------------------------------------------------------------------- */

static void counts_by_hand(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 8);
    const uint64_t T = 3, first = 5, layers = 2;
    step(&b, (uint32_t)T, (uint32_t)first);
    struct ledger_view v = run_ledger(b.run);
    /* blocks of 256 x 256: q 2 x 2, k 2 x 1, down 3 x 2, head 2 x 4 */
    assert_int_equal(v.mvm, T * (layers * (4 + 2 + 6) + 8));
    assert_int_equal(v.macs, T * (layers * (300 * 300 + 300 * 100 + 700 * 300) + 300 * 1000));
    assert_int_equal(v.count[PART_DAC], T * (layers * (300 * 2 + 300 * 1 + 700 * 2) + 300 * 4));
    assert_int_equal(v.count[PART_ADC], T * (layers * (300 * 2 + 100 * 2 + 300 * 3) + 1000 * 2));
    assert_int_equal(v.count[PART_DIGITAL_POST], v.count[PART_ADC]);
    assert_int_equal(v.saturated_adc, layers * 3 + 1);
    assert_int_equal(v.results_adc, v.count[PART_ADC]);
    /* Inputs: 2 operations each (range and scaling), 300 once for q and k together. Norm 4, RoPE 3, residual 1,
     * embed 1, sample 1. */
    assert_int_equal(v.count[PART_VECTOR],
                     T * (layers * (2 * 300 + 2 * 700 + 4 * 300 + 3 * 400 + 300) + 2 * 300 + 300 + 1000));
    /* Positions 5, 6, 7 with a window of 6: 6 keys each. QK^T and PV: 2 x keys x 6 heads x 50. */
    assert_int_equal(v.count[PART_ATTENTION], layers * T * 6 * 2 * 6 * 50);
    /* Keys and values of 2 x 50, 8 bits: 6 read and 1 written per token. */
    assert_int_equal(v.count[PART_KV_MEMORY], layers * T * (6 + 1) * 2 * 2 * 50 * 8);
    assert_int_equal(v.count[PART_DIGITAL_MATMUL], layers * T * 300 * 700);
    /* 16 bits per value moved; 8 bits per weight of the digital matrix, once. */
    uint64_t values = layers * (600 + 400 + 1000 + 2 * 300 + 2 * 400 + 2 * 300 + 3 * 300) + 1300 + 300 + 1000;
    assert_int_equal(v.count[PART_BUFFER], 16 * T * values + layers * 300 * 700 * 8);
    drop(&b);
}

static void static_ranges_need_no_search(void **state) {
    (void)state;
    const char *const set[] = {"tile.dac.range=static"};
    struct bench per_token = make("pcm256", NULL, 0, model, MATRICES, 1),
                 fixed = make("pcm256", set, 1, model, MATRICES, 1);
    step(&per_token, 1, 0);
    step(&fixed, 1, 0);
    uint64_t inputs = 2 * (300 + 700) + 300;
    assert_int_equal(run_ledger(per_token.run).count[PART_VECTOR] - run_ledger(fixed.run).count[PART_VECTOR], inputs);
    drop(&per_token);
    drop(&fixed);
}

static void shared_converters_take_rounds(void **state) {
    (void)state;
    const char *const set[] = {"tile.adc.share=8"};
    struct bench own = make("pcm256", NULL, 0, model, MATRICES, 1), shared = make("pcm256", set, 1, model, MATRICES, 1);
    step(&own, 1, 0);
    step(&shared, 1, 0);
    double tiles_s = run_class(own.run, CLASS_TILES).busy_s, shared_s = run_class(shared.run, CLASS_TILES).busy_s;
    assert_near(shared_s - tiles_s, MATRICES * 7 * 76.5e-9, 1e-15); /* 7 more rounds of 76.5 ns per multiply */
    struct area_view a = placement_area(own.chip, own.placement), s = placement_area(shared.chip, shared.placement);
    assert_near(a.part_mm2[PART_ADC] / s.part_mm2[PART_ADC], 8, 1e-12);
    drop(&own);
    drop(&shared);
}

/* q and k start from the same codes and share the buffer in turns; what follows the join waits for the later one. ps:
 * codes 600 operations: 3 + 8 cycles. Buffer: q 1,200 bytes 2,344 + 2,000, k 800 bytes 1,563 + 2,000. Tiles 132,900. */
static void fork_runs_together_and_joins(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 1);
    static const int64_t start_ps[6] = {0, 11000, 15344, 15344, 18907, 151807};
    struct multiply_record q = half_scale(b.placement, 0, 1), k = half_scale(b.placement, 1, 1);
    run_begin_step(b.run, 1);
    run_fork(b.run);
    run_record_multiply(b.run, &q);
    run_record_multiply(b.run, &k);
    run_join(b.run);
    run_digital(b.run, &(struct digital_record){.op = OP_NORM, .layer = 0, .tokens = 1, .elements = 300});
    run_end_step(b.run);
    assert_int_equal(engine_logged(b.run->engine), 7);
    for (size_t i = 0; i < 6; i++) { /* codes, buffer and tiles of q, buffer and tiles of k, buffer of the norm */
        assert_int_equal(engine_event(b.run->engine, i).start, start_ps[i]);
    }
    drop(&b);
}

/* 210,000 weights of 8 bits come once, with the first token: 410,156 + 2,000 ps; 210,000 MACs: 206 + 16 cycles
 * per token. */
static void digital_weights_come_once_per_step(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 2);
    run_begin_step(b.run, 2);
    run_digital(b.run, &(struct digital_record){.op = OP_MATMUL, .layer = 0, .tokens = 2, .elements = 210000});
    assert_near(run_end_step(b.run) * 1e12, 412156 + 2 * 222000, 1e-3);
    assert_int_equal(event_end(b.run->engine, 0), 412156);
    assert_int_equal(event_end(b.run->engine, 1), 412156);
    drop(&b);
}

/* ---- published points -------------------------------------------------------------------------- */

/* Spare lines have cells, and rows a DAC: 16 rows and 32 physical columns, that is 16 of two legs, on 256 x 256. One of
 * the two directions alone, too. They are there when the effect faults is off. */
static void spares_have_an_area(void **state) {
    (void)state;
    static const char *const sets[][3] = {{"tile.faults.spare_rows=16", "effects.faults=on", NULL},
                                          {"tile.faults.spare_columns=32", "effects.faults=on", NULL},
                                          {"tile.faults.spare_rows=16", "tile.faults.spare_columns=32", NULL},
                                          {"tile.faults.spare_rows=16", "effects.faults=off", NULL}};
    static const double rows[] = {272, 256, 272, 272}, columns[] = {256, 272, 272, 256};
    struct bench plain = make("pcm256", NULL, 0, model, MATRICES, 1);
    struct area_view a = placement_area(plain.chip, plain.placement);
    for (size_t k = 0; k < 4; k++) {
        struct bench b = make("pcm256", sets[k], 2, model, MATRICES, 1);
        struct area_view v = placement_area(b.chip, b.placement);
        assert_near(v.part_mm2[PART_ARRAY] / a.part_mm2[PART_ARRAY], rows[k] * columns[k] / (256 * 256), 1e-12);
        assert_near(v.part_mm2[PART_DAC] / a.part_mm2[PART_DAC], rows[k] / 256, 1e-12);
        assert_near(v.part_mm2[PART_ADC] / a.part_mm2[PART_ADC], 1, 1e-12);
        assert_near(v.total_mm2 - a.total_mm2,
                    v.part_mm2[PART_ARRAY] - a.part_mm2[PART_ARRAY] + v.part_mm2[PART_DAC] - a.part_mm2[PART_DAC],
                    1e-9);
        drop(&b);
    }
    drop(&plain);
}

/* Full-scale data: the 256 x 256 MVM of pcm256 takes 132.9 ns and 13.43 nJ, a core 0.63 mm2. The energy of the ADC
 * and the area of the post-processing were fitted to these points, so this tests the arithmetic and the file, not
 * the model. */
static void published_points_of_pcm256(void **state) {
    (void)state;
    static const struct matrix_source one = {
        .name = "w", .layer = 0, .role = MATRIX_Q, .inputs = 256, .outputs = 256, .read_rows = no_rows};
    struct bench b = make("pcm256", NULL, 0, &one, 1, 1);
    run_begin_step(b.run, 1);
    struct multiply_record r = {.matrix = 0,
                                .tokens = 1,
                                .array_S_sum = 65536 * (0.5 * 20.7e-6 + 0.066e-6) * 0.5,
                                .dac_conversions = 256,
                                .adc_conversions = 256};
    run_record_multiply(b.run, &r);
    run_end_step(b.run);
    struct ledger_view v = run_ledger(b.run);
    const struct tile_spec *t = &chip_spec_of(b.chip)->tile;
    double mvm_J = v.energy_J[PART_DAC] + v.energy_J[PART_ARRAY] + v.energy_J[PART_ADC] +
                   v.energy_J[PART_DIGITAL_POST] + t->static_W.value * t->mvm_s.value;
    assert_near(mvm_J * 1e9, 13.43, 0.01); /* nJ; rounding of the published numbers */
    assert_near(run_class(b.run, CLASS_TILES).busy_s * 1e9, 132.9, 1e-9);
    struct area_view a = placement_area(b.chip, b.placement);
    double core_mm2 =
        (a.part_mm2[PART_DAC] + a.part_mm2[PART_ARRAY] + a.part_mm2[PART_ADC] + a.part_mm2[PART_DIGITAL_POST]) / 64;
    assert_near(core_mm2, 0.63, 0.005);
    drop(&b);
}

/* ---- the worked example of docs/costs.md ------------------------------------------------------- */

static enum status all_ones(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)context, (void)first, (void)e;
    for (size_t i = 0; i < (size_t)count * 512; i++) {
        rows[i] = 1;
    }
    return OK;
}

static void worked_example(void **state) {
    (void)state;
    static const struct matrix_source one = {
        .name = "w", .layer = 0, .role = MATRIX_Q, .inputs = 512, .outputs = 512, .read_rows = all_ones};
    static float x[2 * 512], y[2 * 512];
    const char *const sets[] = {"effects=off"};
    struct chip *c = load("pcm256", sets, 1);
    struct placement *p = NULL;
    struct machine *m = NULL;
    struct run *r = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, &one, 1, &p, &e), OK);
    assert_int_equal(machine_create(c, p, &one, 1, &(struct machine_options){0, 0}, &m, &e), OK);
    assert_int_equal(run_create(m, 2, &r, &e), OK);
    for (int i = 0; i < 2 * 512; i++) {
        x[i] = 1;
    }
    run_begin_step(r, 2);
    assert_int_equal(run_multiply(r, 0, x, 2, y, &e), OK);
    double end_s = run_end_step(r);
    assert_near(y[0], 512, 1e-3);
    assert_int_equal(placement_total(p).tiles, 4);
    /* time, in picoseconds: exact */
    static const int64_t start_ps[6] = {0, 12000, 12000, 24000, 18000, 150900},
                         end_ps[6] = {12000, 24000, 18000, 30000, 150900, 283800};
    assert_int_equal(engine_logged(r->engine), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(engine_event(r->engine, i).start, start_ps[i]);
        assert_int_equal(event_end(r->engine, i), end_ps[i]);
    }
    assert_near(end_s, 283.8e-9, 1e-18);
    /* energy, in femtojoules: two tokens; the array within the 16 bits of a stored conductance */
    struct ledger_view v = run_ledger(r);
    assert_near(v.energy_J[PART_VECTOR] * 1e15, 4096000, 1e-3);
    assert_near(v.energy_J[PART_BUFFER] * 1e15, 4915200, 1e-3);
    assert_near(v.energy_J[PART_DAC] * 1e15, 12288000, 1e-3);
    assert_near(v.energy_J[PART_ARRAY] * 1e15, 55132029, 55132029 * 1e-4);
    assert_near(v.energy_J[PART_ADC] * 1e15, 68669440, 1e-3);
    assert_near(v.energy_J[PART_DIGITAL_POST] * 1e15, 12288000, 1e-3);
    assert_near(v.energy_J[PART_STATIC] * 1e15, 12331110, 1e-3);
    run_destroy(r);
    machine_destroy(m);
    placement_destroy(p);
    chip_destroy(c);
}

/* Every number of the example stands in the page. */
static void page_has_the_example(void **state) {
    (void)state;
    static const char *const numbers[] = {"12.0",       "6.0",        "150.9",      "283.8",
                                          "4,096,000",  "4,915,200",  "12,288,000", "55,132,029",
                                          "68,669,440", "12,331,110", "169,719,779"};
    page_holds("docs/costs.md", numbers, sizeof numbers / sizeof numbers[0]);
}

/* ---- unknown is not zero ----------------------------------------------------------------------- */

static void chip_without_costs_reports_null(void **state) {
    (void)state;
    struct bench b = make("ideal", NULL, 0, model, MATRICES, 4);
    assert_true(isnan(step(&b, 4, 0)));
    struct ledger_view v = run_ledger(b.run);
    assert_true(isnan(v.total_J) && isnan(v.energy_J[PART_ADC]) && isnan(v.makespan_s) &&
                isnan(run_layer_energy_J(b.run, 0)));
    assert_true(isnan(placement_area(b.chip, b.placement).total_mm2));
    assert_true(v.macs > 0 && v.count[PART_ADC] > 0); /* counts are known */
    json_t *json = run_report_json(b.run);
    json_t *energy = json_object_get(json, "energy"), *area = json_object_get(json, "area");
    assert_true(json_is_null(json_object_get(energy, "total_J")) &&
                json_is_null(json_object_get(energy, "per_token_J")));
    assert_true(json_is_null(json_array_get(json_object_get(energy, "by_layer"), 0)));
    assert_true(json_is_null(json_object_get(area, "total_mm2")));
    assert_true(json_is_integer(json_object_get(json_object_get(json, "mapping"), "tiles")));
    const json_t *counts = json_object_get(json, "counts");
    /* bits per value: unknown */
    assert_true(json_is_null(json_object_get(json_object_get(counts, "kv_memory"), "count")));
    assert_true(json_is_integer(json_object_get(json_object_get(counts, "adc"), "count")));
    json_decref(json);
    drop(&b);
}

static void json_has_the_keys_and_sums(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 4);
    step(&b, 4, 0);
    struct ledger_view v = run_ledger(b.run);
    json_t *json = run_report_json(b.run), *energy = json_object_get(json, "energy"),
           *parts = json_object_get(energy, "by_component"), *value;
    double parts_J = 0, layers_J = 0;
    const char *key;
    size_t i;
    json_object_foreach(parts, key, value) { parts_J += json_real_value(value); }
    json_array_foreach(json_object_get(energy, "by_layer"), i, value) { layers_J += json_real_value(value); }
    assert_int_equal(json_object_size(parts), PART_COUNT - 1); /* no maintenance fell due */
    assert_near(parts_J / v.total_J, 1, 1e-12);
    assert_near(layers_J / v.total_J, 1, 1e-12);
    assert_near(json_real_value(json_object_get(energy, "per_token_J")) * 4 / v.total_J, 1, 1e-12);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "mapping"), "tiles")), 2 * 12 + 8);
    assert_true(json_array_size(json_object_get(json, "not_modelled")) > 3);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "conventions"), "operations_per_mac")),
                     2);
    json_decref(json);
    drop(&b);
}

static void flags_of(const char *sets, const struct matrix_source *m, size_t matrices, struct flags *out) {
    char text[256];
    const char *list[8];
    size_t count = 0;
    snprintf(text, sizeof text, "%s", sets);
    for (char *save = NULL, *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
        list[count++] = one;
    }
    struct bench b = make("pcm256", list, count, m, matrices, 4);
    if (matrices == MATRICES) {
        step(&b, 4, 0);
    }
    report_flags(b.run, out);
    drop(&b);
}

static void absurd_numbers_are_flagged(void **state) {
    (void)state;
    static const struct {
        const char *sets, *flag, *second;
    } cases[] = {
        {"tile.adc.energy_J=1e-6", "pJ per MAC in the tiles, outside 0.001 to 100 pJ", NULL},
        {"kv.capacity_KiB=1", "KV cache of 0.00153 MiB, no room for 0.000549 MiB, no dram to spill to", NULL},
        {"kv.capacity_KiB=1 kv.value_bits=64",
         "no room for a single token of a layer in the KV memory (1 KiB per chip), no dram to spill to", NULL},
        {"tile.adc.bits=6", "ADC of 6 bits, but its energy is that of 8 bits, and so are its times", NULL},
        {"kv.capacity_KiB=64", NULL, NULL},
        {"tile.rows=256", NULL, NULL}, /* as in the file */
        {"tile.rows=512", "tiles of 512 x 256, but tile.mvm_ns = 132.9 is that of 256 x 256: not rescaled", NULL},
        {"tile.columns=128", "tiles of 256 x 128, but tile.mvm_ns = 132.9 is that of 256 x 256: not rescaled", NULL},
        {"tile.rows=512 tile.mvm_ns=150", NULL, NULL},
        {"tile.mvm_rows=128", "is that of 128 x 256", NULL},
        {"tile.rows=512 tile.mvm_ns=150 tile.mvm_rows=256", "tile.mvm_ns = 150 is that of 256 x 256", NULL},
        {"tile.adc.share=4", NULL, NULL}, /* rounds of conversion are counted */
    };
    struct flags flags;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        flags_of(cases[i].sets, model, MATRICES, &flags);
        if (flags.count != (size_t)((cases[i].flag != NULL) + (cases[i].second != NULL)) ||
            (cases[i].flag && !strstr(flags.text[0], cases[i].flag)) ||
            (cases[i].second && !strstr(flags.text[1], cases[i].second))) {
            fail_msg("%s: %zu flags, first '%s'", cases[i].sets, (size_t)flags.count, flags.count ? flags.text[0] : "");
        }
    }
}

/* 157 x 157 tiles. */
static void crowds_of_chips_are_flagged(void **state) {
    (void)state;
    static const struct matrix_source large = {.name = "q", .layer = 0, .role = MATRIX_Q, .inputs = 40000,
                                               .outputs = 40000};
    struct flags flags;
    flags_of("tiles_per_chip=24", &large, 1, &flags);
    assert_int_equal(flags.count, 1);
    assert_string_equal(flags.text[0], "1028 chips, more than 1000: is the model meant for this chip?");
    flags_of("tiles_per_chip=25", &large, 1, &flags);
    assert_int_equal(flags.count, 0);
}

/* Refreshes and readouts whose time comes while a run lasts that has neither machine nor activity, so that their costs
 * are not known, are not in its numbers: it says how many. */
static void upkeep_that_falls_due_is_told(void **state) {
    (void)state;
    static const struct {
        const char *key;
        double share; /* period / length of the run */
        int due;
    } cases[] = {{"tile.refresh_period_s", 0.4, 2}, {"tile.compensation_period_s", 0.3, 3},
                 {"tile.refresh_period_s", 1.01, 0}};
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 4);
    double length_s = step(&b, 4, 0);
    drop(&b);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char set[96], expected[FLAG_BYTES];
        const char *const sets[] = {set};
        struct flags flags;
        snprintf(set, sizeof set, "%s=%.9g", cases[i].key, cases[i].share * length_s);
        snprintf(expected, sizeof expected,
                 "%d refreshes, readouts or corrections fall due in the time of the run, but are not in it",
                 cases[i].due);
        b = make("pcm256", sets, 1, model, MATRICES, 4);
        assert_near(step(&b, 4, 0), length_s, 0);
        report_flags(b.run, &flags);
        assert_int_equal(flags.count, cases[i].due > 0);
        assert_true(flags.count == 0 || strcmp(flags.text[0], expected) == 0);
        drop(&b);
    }
}

/* ---- uncertainty ------------------------------------------------------------------------------- */

static void quantiles_follow_the_spreads(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 4);
    struct uncertainty u, again;
    const struct uncertain_quantity *q = &u.of[UNCERTAIN_ENERGY];
    step(&b, 4, 0);
    run_uncertainty(b.run, &u);
    run_uncertainty(b.run, &again);
    assert_true(q->p10 < q->p50 && q->p50 < q->p90 && memcmp(&u, &again, sizeof u) == 0);
    drop(&b);
    /* One dear component with spread [0.5, 2] and everything else negligible: its own quantiles. */
    const char *const one[] = {"tile.adc.energy_J={value: 1e-7, kind: assumed, source: for a test, spread: [0.5, 2]}"};
    b = make("pcm256", one, 1, model, MATRICES, 4);
    step(&b, 4, 0);
    double token_J = run_ledger(b.run).total_J / 4;
    run_uncertainty(b.run, &u);
    assert_near(q->p10 / token_J, 0.5,
                0.05); /* 1,000 draws: a standard error of 0.05 in the logarithm's quantile, x 0.5 / 2 */
    assert_near(q->p50 / token_J, 1, 0.1);
    assert_near(q->p90 / token_J, 2, 0.2);
    drop(&b);
}

/* With clocks that do not fit, part of the critical path is waiting for edges: it has a row of its own, and everything
 * adds up, over classes, resources and layers, over the run and over every step. */
static void waiting_for_clocks_is_a_class(void **state) {
    (void)state;
    const char *const sets[] = {"clocks.tile_GHz=0.05", "clocks.memory_GHz=0.1"};
    struct bench b = make("pcm256", sets, 2, model, MATRICES, 4);
    const char *name;
    json_t *one;
    size_t i;
    step(&b, 4, 0);
    step(&b, 1, 4);
    json_t *report = run_report_json(b.run), *time = json_object_get(report, "time"), *steps, *classes;
    double sum = 0, makespan = json_number_value(json_object_get(time, "makespan_s"));
    classes = json_object_get(time, "resources");
    json_object_foreach(classes, name, one) {
        sum += json_number_value(json_object_get(one, "critical_path_s"));
    }
    assert_near(sum, makespan, 1e-12 * makespan);
    one = json_object_get(json_object_get(classes, "clock_edges"), "critical_path_s");
    assert_true(json_number_value(one) > 0.001 * makespan);
    sum = json_number_value(json_object_get(time, "waiting_for_clocks_s"));
    assert_near(sum, json_number_value(one), 0);
    json_array_foreach(json_object_get(time, "by_layer"), i, one) { sum += json_number_value(one); }
    assert_near(sum, makespan, 1e-12 * makespan);
    sum = 0;
    json_array_foreach(json_object_get(json_object_get(time, "by_resource"), "rows"), i, one) {
        sum += json_number_value(json_object_get(one, "critical_path_s"));
    }
    assert_near(sum, makespan, 1e-12 * makespan);
    steps = json_object_get(report, "steps");
    for (i = 0; i < 2; i++) {
        double length = json_number_value(json_array_get(json_object_get(steps, "end_s"), i)) -
                        json_number_value(json_array_get(json_object_get(steps, "start_s"), i));
        sum = 0;
        json_object_foreach(json_object_get(steps, "critical_path_s"), name, one) {
            sum += json_number_value(json_array_get(one, i));
        }
        assert_near(sum, length, 1e-9 * makespan);
    }
    json_decref(report);
    drop(&b);
    b = make("pcm256", NULL, 0, model, MATRICES, 4);
    step(&b, 4, 0);
    report = run_report_json(b.run);
    assert_null(json_object_get(json_object_get(json_object_get(report, "time"), "resources"), "clock_edges"));
    json_decref(report);
    drop(&b);
}

/* ---- the screen, and the token loop ------------------------------------------------------------ */

/* One chip with costs and everything that is told of it, one without, one with flags, a digital side path. */
static void report_fits_a_screen(void **state) {
    (void)state;
    const char *const sets[] = {"tile.adc.energy_J=1e-6", "kv.capacity_KiB=1", "placement.digital_channels=2",
                                "network=noc_mesh_45nm", "network.columns=8", "network.rows=8"};
    static const struct {
        const char *chip;
        int first, count, flags;
        const char *says;
    } cases[] = {
        {"pcm256", 0, 0, 0, "constants are assumed"},
        {"ideal", 0, 0, 0, "unknown, not zero"},
        {"pcm256", 0, 2, 2, "\n! "},
        {"afm", 2, 1, 0, "\nside path: "},
        {"pcm256", 3, 3, 0, "\nbound by "},
    };
    static const int widths[] = {60, 80, 120};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b = make(cases[i].chip, sets + cases[i].first, (size_t)cases[i].count, model, MATRICES, 4);
        step(&b, 4, 0);
        step(&b, 1, 4);
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
            char *text = NULL;
            size_t bytes = 0, lines = 0;
            FILE *f = open_memstream(&text, &bytes);
            run_report_print(b.run, widths[w], f);
            fclose(f);
            for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
                if (end - line > widths[w]) {
                    fail_msg("%td columns of %d: %.*s", end - line, widths[w], (int)(end - line), line);
                }
                assert_true(end == line || end[-1] != ' ');
            }
            assert_true(lines >= 3);
            if (widths[w] >= 80 && lines > (size_t)(25 + 2 * cases[i].flags)) {
                fail_msg("%s: %zu lines at %d columns\n%s", cases[i].chip, lines, widths[w], text);
            }
            assert_null(strstr(text, " nan")); /* never a nan on the screen */
            assert_non_null(strstr(text, cases[i].says));
            free(text);
        }
        drop(&b);
    }
}

/* A spread that only goes up lifts the median above the constants as stated; one that goes both ways does not. */
static void lopsided_spread_is_named(void **state) {
    (void)state;
    static const char *const spreads[] = {"[1, 4]", "[0.25, 1]", "[0.5, 2]"};
    static const char *const says[] = {"tile.adc.energy_J x1 to x4\n", "tile.adc.energy_J x0.25 to x1\n", NULL};
    for (size_t i = 0; i < 3; i++) {
        char set[160], expected[160], *text = NULL;
        const char *const sets[] = {set};
        size_t bytes = 0;
        snprintf(set, sizeof set, "tile.adc.energy_J={value: 1e-7, kind: assumed, source: for a test, spread: %s}",
                 spreads[i]);
        struct bench b = make("pcm256", sets, 1, model, MATRICES, 4);
        step(&b, 4, 0);
        char token[QUANTITY_BYTES];
        snprintf(expected, sizeof expected, "\nas stated: %s; lopsided spread, %s",
                 quantity(run_ledger(b.run).total_J / 4, "J", token), says[i] ? says[i] : "");
        FILE *f = open_memstream(&text, &bytes);
        run_report_print(b.run, 80, f);
        fclose(f);
        assert_true(says[i] ? strstr(text, expected) != NULL : strstr(text, "lopsided") == NULL);
        free(text);
        drop(&b);
    }
}

static void steps_do_not_allocate(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 8);
    mem_guard_arm();
    step(&b, 8, 0);
    step(&b, 1, 8);
    assert_int_equal(mem_guard_disarm(), 0);
    drop(&b);
}

static void overfull_step_is_told(void **state) {
    (void)state;
    struct bench b = make("pcm256", NULL, 0, model, MATRICES, 1);
    struct flags flags;
    run_begin_step(b.run, 1);
    for (int i = 0; i < 1000; i++) {
        run_digital(b.run, &(struct digital_record){.op = OP_NORM, .layer = 0, .tokens = 1, .elements = 1});
    }
    report_flags(b.run, &flags);
    assert_string_equal(flags.text[flags.count - 1],
                        "time is incomplete: run: this step has more operations than the run was made for");
    run_end_step(b.run);
    run_begin_step(b.run, 1); /* the next step has room again */
    report_flags(b.run, &flags);
    assert_true(flags.count == 0 || !strstr(flags.text[flags.count - 1], "incomplete"));
    run_end_step(b.run);
    run_begin_step(b.run, 2);
    report_flags(b.run, &flags);
    assert_string_equal(flags.text[flags.count - 1],
                        "time is incomplete: run: a step of 2 tokens (allowed: up to 1)");
    drop(&b);
}

/* Every allocation of placement and run fails in turn: an error each time, and no leak (the leak sanitizer looks). */
static void survives_lack_of_memory(void **state) {
    (void)state;
    struct chip *c = load("pcm256", NULL, 0);
    enum status status = ERR_RUN;
    size_t n = 1;
    for (; n < 100 && status != OK; n++) {
        struct placement *p = NULL;
        struct run *r = NULL;
        struct error e = {OK, ""};
        mem_fail_at(n);
        status = placement_create(c, model, MATRICES, &p, &e);
        if (status == OK) {
            status = run_create_costs(c, p, 4, &r, &e);
        }
        mem_fail_at(0);
        assert_true(status == OK || (r == NULL && strstr(e.message, "out of memory")));
        run_destroy(r);
        placement_destroy(p);
    }
    assert_true(status == OK && n > 10);
    chip_destroy(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(spares_have_an_area),
    cmocka_unit_test(energy_is_conserved),
    cmocka_unit_test(time_is_conserved),
    cmocka_unit_test(reset_gives_the_same_again),
    cmocka_unit_test(counts_by_hand),
    cmocka_unit_test(static_ranges_need_no_search),
    cmocka_unit_test(shared_converters_take_rounds),
    cmocka_unit_test(published_points_of_pcm256),
    cmocka_unit_test(worked_example),
    cmocka_unit_test(page_has_the_example),
    cmocka_unit_test(chip_without_costs_reports_null),
    cmocka_unit_test(json_has_the_keys_and_sums),
    cmocka_unit_test(absurd_numbers_are_flagged),
    cmocka_unit_test(crowds_of_chips_are_flagged),
    cmocka_unit_test(upkeep_that_falls_due_is_told),
    cmocka_unit_test(quantiles_follow_the_spreads),
    cmocka_unit_test(waiting_for_clocks_is_a_class),
    cmocka_unit_test(report_fits_a_screen),
    cmocka_unit_test(lopsided_spread_is_named),
    cmocka_unit_test(steps_do_not_allocate),
    cmocka_unit_test(overfull_step_is_told),
    cmocka_unit_test(survives_lack_of_memory),
    cmocka_unit_test(fork_runs_together_and_joins),
    cmocka_unit_test(digital_weights_come_once_per_step),
};

const struct test_suite suite_ledger = {"ledger", tests, sizeof tests / sizeof tests[0]};
