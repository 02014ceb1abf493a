/* The student in fp32: its linear layer against aihwkit-lightning and by hand, plain mode against session_forward,
 * gradients against PyTorch, the loss, threads and recomputation. Gradients against finite differences, in double:
 * test_student_gradients.c. */
#include "models/adapt/student_loss.h"
#include "base/threads.h"
#include "tests/student_fixture.h"

/* ---- one layer --------------------------------------------------------------------------------- */

static double number(const json_t *config, const char *group, const char *key) {
    return json_number_value(json_object_get(json_object_get(config, group), key));
}

static bool is(const json_t *config, const char *group, const char *key, const char *value) {
    return strcmp(json_string_value(json_object_get(json_object_get(config, group), key)), value) == 0;
}

static uint32_t steps_of(double resolution) { return resolution > 0 ? (uint32_t)resolution / 2 : 0; }

static struct analog_rule rule_of_case(const json_t *c) {
    const json_t *config = json_object_get(c, "config"), *pre = json_object_get(config, "pre_post");
    bool channel = is(config, "clip", "type", "LAYER_GAUSSIAN_PER_CHANNEL");
    struct analog_rule r = {.adc_bound = fmax(number(config, "forward", "out_bound"), 0),
                            .adc_steps = steps_of(number(config, "forward", "out_res")),
                            .dac_steps = steps_of(number(config, "forward", "inp_res")),
                            .weight_steps = steps_of(number(config, "modifier", "res")),
                            .range_start = number(pre, "input_range", "init_value"),
                            .range_batches = (uint32_t)number(pre, "input_range", "init_from_data"),
                            .range_sds = number(pre, "input_range", "init_std_alpha"),
                            .range_decay = number(pre, "input_range", "decay"),
                            .range_inside = number(pre, "input_range", "input_min_percentage"),
                            .range_floor = 1e-6};
    const json_t *range = json_object_get(pre, "input_range");
    r.inputs = json_is_true(json_object_get(range, "enable")) ? TRAIN_INPUTS_STATIC : TRAIN_INPUTS_FREE;
    r.inputs = json_is_true(json_object_get(range, "dynamic")) ? TRAIN_INPUTS_PER_TOKEN : r.inputs;
    r.clip = is(config, "clip", "type", "LEARNABLE_PER_CHANNEL") ? TRAIN_CLIP_LEARNED : TRAIN_CLIP_NONE;
    r.adc_per_column = channel || r.clip == TRAIN_CLIP_LEARNED;
    r.weight_scale_per_column = is(config, "modifier", "quantization_type", "DISCRETIZE_PER_CHANNEL");
    return r;
}

/* json: a list of lists, or a list */
static void fill(const json_t *json, real *out) {
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *row = json_array_get(json, i);
        for (size_t k = 0; k < json_array_size(row); k++) {
            out[i * json_array_size(row) + k] = (real)json_number_value(json_array_get(row, k));
        }
        if (!json_is_array(row)) {
            out[i] = (real)json_number_value(row);
        }
    }
}

/* Within 1e-5 of the largest expected: both sides compute in fp32, sums of 40 terms. */
static void compare(const char *name, const char *what, const json_t *c, const real *actual, size_t n) {
    const json_t *json = json_object_get(c, what);
    if (!json) {
        return;
    }
    real *expected = mem_alloc(n, sizeof *expected);
    fill(json, expected);
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        worst = fmax(worst, fabs((double)actual[i] - (double)expected[i]));
    }
    mem_free(expected);
    if (!(worst <= 1e-5 * largest)) {
        fail_msg("%s: %s: off by %g, largest %g", name, what, worst, largest);
    }
}

/* The blocks of the machine: the chip's own cut. */
static uint32_t cut_of(const json_t *c, uint32_t inputs, uint32_t begin[64]) {
    double most = number(json_object_get(c, "config"), "mapping", "max_input_size");
    char rows[64];
    snprintf(rows, sizeof rows, "tile.rows=%d", most > 0 ? (int)most : 512);
    const char *sets[] = {rows};
    struct chip *chip;
    struct error e;
    must(chip_load("afm", sets, 1, &chip, &e), &e);
    uint32_t blocks = chip_row_blocks(chip, inputs);
    for (uint32_t b = 0; b <= blocks; b++) {
        begin[b] = chip_row_begin(chip, inputs, b);
    }
    chip_destroy(chip);
    return blocks;
}

struct lightning { json_t *json; uint32_t inputs, outputs, tokens; };

static void bench_of_case(struct layer_bench *b, const struct lightning *g, const json_t *c, uint32_t begin[64]) {
    struct analog_rule rule = rule_of_case(c);
    bool bias = json_is_true(json_object_get(c, "bias"));
    layer_bench_create(b, &rule, g->inputs, g->outputs, cut_of(c, g->inputs, begin), begin, g->tokens, bias);
    fill(json_object_get(g->json, "weight"), b->layer.weight);
    fill(json_object_get(g->json, "input"), b->x);
    fill(json_object_get(g->json, "grad_output"), b->dy);
    if (bias) {
        fill(json_object_get(g->json, "bias"), b->layer.bias);
    }
    if (b->layer.clip) {
        fill(json_object_get(c, "learnable_weight_clip"), b->layer.clip);
    }
}

static void check_layer_case(const struct lightning *g, const json_t *c, const char *name) {
    struct layer_bench b;
    uint32_t begin[64];
    bench_of_case(&b, g, c, begin);
    bool train = strcmp(json_string_value(json_object_get(c, "mode")), "train") == 0;
    layer_bench_run(&b, train ? STUDENT_TRAIN : STUDENT_STATIC);
    size_t weights = (size_t)g->inputs * g->outputs;
    compare(name, "output", c, b.y, (size_t)g->tokens * g->outputs);
    compare(name, "grad_x", c, b.dx, (size_t)g->tokens * g->inputs);
    compare(name, "grad_weight", c, b.layer.weight_gradient, weights);
    compare(name, "grad_bias", c, b.layer.bias_gradient, g->outputs);
    compare(name, "input_range", c, b.layer.range, b.layer.blocks);
    compare(name, "grad_input_range", c, b.layer.range_gradient, b.layer.blocks);
    compare(name, "grad_learnable_weight_clip", c, b.layer.clip_gradient, (size_t)b.layer.blocks * g->outputs);
    layer_bench_destroy(&b);
}

/* Ranges after X, 2 X, X / 2. */
static void check_range_sequence(const struct lightning *g, const json_t *c, const char *name) {
    static const real factors[3] = {1, 2, 0.25f}; /* each on top of the one before */
    struct layer_bench b;
    uint32_t begin[64];
    bench_of_case(&b, g, c, begin);
    for (size_t step = 0; step < 3; step++) {
        for (size_t i = 0; i < (size_t)g->tokens * g->inputs; i++) {
            b.x[i] *= factors[step];
        }
        layer_bench_run(&b, STUDENT_TRAIN);
        double want = json_number_value(json_array_get(json_array_get(json_object_get(c, "input_range_sequence"), step), 0));
        if (!(fabs((double)b.layer.range[0] - want) <= 1e-5 * want)) {
            fail_msg("%s: step %zu: %g, expected %g", name, step, (double)b.layer.range[0], want);
        }
    }
    layer_bench_destroy(&b);
}

static void check_clip_case(const struct lightning *g, const json_t *c, const char *name) {
    const json_t *clip = json_object_get(json_object_get(c, "config"), "clip");
    bool channel = strcmp(json_string_value(json_object_get(clip, "type")), "LAYER_GAUSSIAN_PER_CHANNEL") == 0;
    struct analog_rule rule = {.clip = channel ? TRAIN_CLIP_COLUMN : TRAIN_CLIP_MATRIX,
                               .clip_sds = json_number_value(json_object_get(clip, "sigma")), .clip_master = true};
    uint32_t begin[2] = {0, g->inputs};
    struct layer_bench b;
    layer_bench_create(&b, &rule, g->inputs, g->outputs, 1, begin, g->tokens, false);
    fill(json_object_get(g->json, "weight"), b.layer.weight);
    analog_layer_clip(&b.layer);
    compare(name, "weight_after", c, b.layer.weight, (size_t)g->inputs * g->outputs);
    layer_bench_destroy(&b);
}

static void lightning_gives_the_same(void **state) {
    (void)state;
    struct lightning g = {.json = load_json(golden_path("lightning_linear.json"))};
    g.inputs = (uint32_t)json_integer_value(json_object_get(g.json, "in_features"));
    g.outputs = (uint32_t)json_integer_value(json_object_get(g.json, "out_features"));
    g.tokens = (uint32_t)json_array_size(json_object_get(g.json, "input"));
    const json_t *cases = json_object_get(g.json, "cases"), *c;
    size_t i, layers = 0, others = 0;
    json_array_foreach(cases, i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        if (json_object_get(c, "mode")) {
            check_layer_case(&g, c, name);
            layers++;
        } else if (json_object_get(c, "weight_after")) {
            check_clip_case(&g, c, name);
            others++;
        } else {
            check_range_sequence(&g, c, name);
            others++;
        }
    }
    assert_int_equal(layers, 19);
    assert_int_equal(others, 4);
    json_decref(g.json);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lightning_gives_the_same),
};
const struct test_suite suite_student = {"student", tests, sizeof tests / sizeof tests[0]};
