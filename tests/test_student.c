/* The student in fp32: its linear layer against aihwkit-lightning and by hand, plain mode against session_forward,
 * gradients against PyTorch, the loss, threads and recomputation. Gradients against finite differences, in double:
 * test_student_gradients.c. */
#include "models/adapt/student_loss.h"
#include "base/gemm.h"
#include "base/random.h"
#include "base/threads.h"
#include "models/internal.h"
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

/* What block t gives output o of a token before the ADC, in steps of the ADC; *step: one of them as a result. */
static double steps_before_adc(const struct layer_bench *b, size_t token, size_t o, size_t t, double *step) {
    const struct analog_layer *l = &b->layer;
    bool ranged = l->rule->inputs == TRAIN_INPUTS_STATIC;
    double sum = 0, range = ranged ? (double)l->used_range[t] : l->rule->inputs == TRAIN_INPUTS_FREE ? 1
                                         : (double)b->work.token_range[t * b->work.tokens + token];
    for (size_t i = l->begin[t]; i < l->begin[t + 1]; i++) {
        sum += (double)l->used[o * l->inputs + i] * (double)b->work.quantised[token * l->inputs + i];
    }
    double m = (double)(l->rule->adc_per_column ? l->largest[t * l->outputs + o] : l->block_largest[t]);
    *step = l->rule->adc_bound * m * range / l->rule->adc_steps;
    return sum / *step;
}

/* Weights and inputs are whole codes where both are quantised, and then some results lie half way between two codes of
 * the ADC: which one it takes is up to the order of the sum. Those may differ by one step: they become what is
 * expected. Returns how many did. */
static size_t settle_ties(const json_t *c, struct layer_bench *b) {
    const struct analog_layer *l = &b->layer;
    size_t settled = 0;
    for (size_t i = 0; l->rule->weight_steps && l->rule->adc_steps && i < (size_t)b->tokens * l->outputs; i++) {
        size_t token = i / l->outputs, o = i % l->outputs;
        double expected = json_number_value(json_array_get(json_array_get(json_object_get(c, "output"), token), o));
        for (size_t t = 0; t < l->blocks; t++) {
            double step, at = steps_before_adc(b, token, o, t, &step), off = fabs((double)b->y[i] - expected);
            if (fabs(at - floor(at) - 0.5) < 1e-4 && fabs(off - step) < 1e-4 * step) {
                b->y[i] = (real)expected;
                settled++;
            }
        }
    }
    return settled;
}

static void check_layer_case(const struct lightning *g, const json_t *c, const char *name) {
    struct layer_bench b;
    uint32_t begin[64];
    bench_of_case(&b, g, c, begin);
    bool train = strcmp(json_string_value(json_object_get(c, "mode")), "train") == 0;
    layer_bench_run(&b, train ? STUDENT_TRAIN : STUDENT_STATIC);
    size_t weights = (size_t)g->inputs * g->outputs;
    assert_true(settle_ties(c, &b) <= g->tokens * g->outputs / 40); /* 1 in 84 lies half way */
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
        const json_t *ranges = json_object_get(c, "input_range_sequence");
        double want = json_number_value(json_array_get(json_array_get(ranges, step), 0));
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

/* The numbers of facts that can be checked by hand: a 2 x 4 layer, range 2, 8 bits. lambda 0.5: both outputs clip to
 * their bound, 1: the first. */
static void by_hand(void **state) {
    static const real x[4] = {0.5f, -1, 2.5f, 0.1f}, weight[8] = {0.1f, -0.2f, 0.3f, 0.05f, 1, 0.5f, -0.25f, 0.75f};
    static const struct { double lambda, y[2]; real dx2; } rows[] = {
        {0, {0.8566929133858268, -0.42913385826771655}, 0}, {12, {0.8503937007874015, -0.3779527559055118}, 0},
        {1, {0.6, -0.4251968503937008}, 0}};
    static const uint32_t begin[2] = {0, 4};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct analog_rule rule = {.inputs = TRAIN_INPUTS_STATIC, .dac_steps = 127, .range_start = 2,
                                   .range_floor = 1e-6, .adc_bound = rows[i].lambda, .adc_steps = 127,
                                   .adc_per_column = true, .range_decay = 0.5, .range_inside = 0.8};
        struct layer_bench b;
        layer_bench_create(&b, &rule, 4, 2, 1, begin, 1, false);
        memcpy(b.x, x, sizeof x);
        memcpy(b.layer.weight, weight, sizeof weight);
        b.dy[0] = -3;
        b.dy[1] = 1;
        layer_bench_run(&b, STUDENT_STATIC);
        assert_near(b.y[0], rows[i].y[0], 1e-6);
        assert_near(b.y[1], rows[i].y[1], 1e-6);
        /* dL/dx^ = W^T dy, straight through the rounding; with lambda 1 the first output passes none. */
        real first = rows[i].lambda == 1 ? 0 : -3;
        assert_near(b.dx[0], first * 0.1f + 1, 1e-6);
        assert_near(b.dx[1], first * -0.2f + 0.5f, 1e-6);
        assert_near(b.dx[2], 0, 0); /* beyond the range */
        /* A quarter of the inputs is outside: no decay. g = first 0.3 - 0.25 < 0 wants more. */
        assert_near(b.layer.range_gradient[0], 2 * (first * 0.3f - 0.25f), 1e-5);
        layer_bench_destroy(&b);
    }
}

/* Only gradients that want a larger |x| count at an end of the range; decay acts while enough is inside. */
static void range_rule_by_hand(void **state) {
    static const real x[6] = {3, 3, -3, -3, 0.5f, 2}, weight[6] = {-1, 2, 4, -8, 16, -32};
    static const uint32_t begin[2] = {0, 6};
    (void)state;
    for (int decay = 0; decay < 2; decay++) {
        struct analog_rule rule = {.inputs = TRAIN_INPUTS_STATIC, .range_start = 2, .range_floor = 1e-6,
                                   .range_decay = 0.25, .range_inside = decay ? 0.1 : 0.5};
        struct layer_bench b;
        layer_bench_create(&b, &rule, 6, 1, 1, begin, 1, false);
        memcpy(b.x, x, sizeof x);
        memcpy(b.layer.weight, weight, sizeof weight);
        b.dy[0] = 1;
        layer_bench_run(&b, STUDENT_STATIC);
        /* upper end: -1 of {-1, 2} and -32 (x = R counts, and keeps its gradient); lower end: 4 of {4, -8} */
        assert_near(b.layer.range_gradient[0], 2 * (-1 - 32 - 4) + decay * 0.25 * 2, 1e-5);
        static const real dx[6] = {0, 0, 0, 0, 16, -32};
        for (size_t i = 0; i < 6; i++) {
            assert_near(b.dx[i], dx[i], 0);
        }
        layer_bench_destroy(&b);
    }
}

/* ---- the side path ----------------------------------------------------------------------------- */

enum { SIDE_I = 40, SIDE_O = 20, SIDE_T = 5 };

static real spread(size_t i) { return (real)((double)((i * 2654435761u) % 1000) / 500.0 - 1.0); }

/* Against the definition: the tile computes with zeros where weights are digital, and a plain product is added. */
static void side_path_is_beside_the_tile(void **state) {
    static const uint32_t begin[3] = {0, 20, 40};
    uint32_t side_begin[SIDE_O + 1] = {0}, side_inputs[SIDE_O * SIDE_I];
    uint8_t digital[SIDE_I] = {0};
    (void)state;
    digital[3] = digital[25] = 1;
    for (size_t o = 0; o < SIDE_O; o++) {
        side_begin[o + 1] = side_begin[o];
        for (uint32_t i = 0; i < SIDE_I; i++) {
            if (digital[i] || (i + o) % 11 == 0) {
                side_inputs[side_begin[o + 1]++] = i;
            }
        }
    }
    struct analog_rule rule = {.inputs = TRAIN_INPUTS_STATIC, .dac_steps = 127, .range_start = 0.7, .range_floor = 1e-6,
                               .adc_bound = 2, .adc_steps = 127, .adc_per_column = true, .noise = TRAIN_NOISE_COLUMN,
                               .noise_sd = 0.05};
    struct layer_bench with, without;
    layer_bench_create(&with, &rule, SIDE_I, SIDE_O, 2, begin, SIDE_T, true);
    layer_bench_create(&without, &rule, SIDE_I, SIDE_O, 2, begin, SIDE_T, true);
    with.layer.side_begin = side_begin;
    with.layer.side_inputs = side_inputs;
    with.layer.digital_input = digital;
    real side[SIDE_O][SIDE_I] = {{0}};
    for (size_t o = 0; o < SIDE_O; o++) {
        for (size_t i = 0; i < SIDE_I; i++) {
            with.layer.weight[o * SIDE_I + i] = without.layer.weight[o * SIDE_I + i] = spread(o * SIDE_I + i);
        }
        for (uint32_t k = side_begin[o]; k < side_begin[o + 1]; k++) {
            size_t at = o * SIDE_I + side_inputs[k];
            with.layer.weight[at] *= 9; /* large: a digital weight must not set the column's scale */
            side[o][side_inputs[k]] = with.layer.weight[at];
            without.layer.weight[at] = 0;
        }
        with.layer.bias[o] = without.layer.bias[o] = spread(o + 17);
    }
    for (size_t i = 0; i < SIDE_T * SIDE_I; i++) {
        with.x[i] = spread(3 * i + 1);
        without.x[i] = digital[i % SIDE_I] ? 0 : with.x[i];
    }
    for (size_t i = 0; i < SIDE_T * SIDE_O; i++) {
        with.dy[i] = without.dy[i] = spread(5 * i + 2);
    }
    layer_bench_run(&with, STUDENT_STATIC);
    layer_bench_run(&without, STUDENT_STATIC);
    for (size_t t = 0; t < SIDE_T; t++) {
        for (size_t o = 0; o < SIDE_O; o++) {
            double want = without.y[t * SIDE_O + o];
            for (size_t i = 0; i < SIDE_I; i++) {
                want += (double)side[o][i] * with.x[t * SIDE_I + i];
            }
            assert_near(with.y[t * SIDE_O + o], want, 1e-4);
        }
        for (size_t i = 0; i < SIDE_I; i++) {
            double want = digital[i] ? 0 : without.dx[t * SIDE_I + i];
            for (size_t o = 0; o < SIDE_O; o++) {
                want += (double)side[o][i] * with.dy[t * SIDE_O + o];
            }
            assert_near(with.dx[t * SIDE_I + i], want, 1e-4);
        }
    }
    for (size_t o = 0; o < SIDE_O; o++) {
        for (size_t i = 0; i < SIDE_I; i++) {
            double want = 0;
            for (size_t t = 0; t < SIDE_T; t++) {
                want += (double)with.dy[t * SIDE_O + o] * with.x[t * SIDE_I + i];
            }
            want = side[o][i] != 0 ? want : without.layer.weight_gradient[o * SIDE_I + i];
            assert_near(with.layer.weight_gradient[o * SIDE_I + i], want, 1e-4);
        }
    }
    /* Which inputs are outside counts among those on the tile only. */
    assert_near(with.layer.range_gradient[0], without.layer.range_gradient[0], 1e-4);
    layer_bench_destroy(&with);
    layer_bench_destroy(&without);
}

/* ---- sequences --------------------------------------------------------------------------------- */

enum { LONE_I = 200, LONE_O = 210, LONE_T = 600 };

static const struct analog_rule lone_rule = {.inputs = TRAIN_INPUTS_PER_TOKEN, .dac_steps = 127, .adc_steps = 127,
                                             .adc_bound = 5, .adc_per_column = true, .noise = TRAIN_NOISE_COLUMN,
                                             .noise_sd = 0.02};

/* Tokens [first, first + tokens) of LONE_T, in sequences of that length, there and back: y and dx of them. */
static void run_sequences(const struct analog_rule *rule, uint32_t first, uint32_t tokens, uint32_t length, real *y,
                          real *dx) {
    static const uint32_t begin[3] = {0, 128, LONE_I};
    struct layer_bench b;
    layer_bench_create(&b, rule, LONE_I, LONE_O, 2, begin, tokens, true);
    b.length = length;
    random_gaussian_fill(1, random_stream(RANDOM_TEST, 1), 0, b.layer.weight, (size_t)LONE_I * LONE_O);
    random_gaussian_fill(1, random_stream(RANDOM_TEST, 2), first * LONE_I, b.x, (size_t)tokens * LONE_I);
    random_gaussian_fill(1, random_stream(RANDOM_TEST, 3), first * LONE_O, b.dy, (size_t)tokens * LONE_O);
    layer_bench_run(&b, rule->noise == TRAIN_NOISE_NONE ? STUDENT_PLAIN : STUDENT_NOISY);
    memcpy(y, b.y, (size_t)tokens * LONE_O * sizeof *y);
    memcpy(dx, b.dx, (size_t)tokens * LONE_I * sizeof *dx);
    layer_bench_destroy(&b);
}

/* For sequences shorter and longer than a chunk; with noise and converters, where half of the pieces have results
 * outside the ADC, and as plain products. */
static void assert_own_sequences(void) {
    static const uint32_t lengths[3] = {30, 120, 300};
    static real y[LONE_T * LONE_O], dx[LONE_T * LONE_I], own_y[LONE_T * LONE_O], own_dx[LONE_T * LONE_I];
    for (size_t k = 0; k < 6; k++) {
        struct analog_rule rule = lone_rule;
        uint32_t length = lengths[k / 2];
        rule.noise = k % 2 ? TRAIN_NOISE_NONE : rule.noise;
        run_sequences(&rule, 0, LONE_T, length, y, dx);
        for (uint32_t t = 0; t < LONE_T; t += length) {
            run_sequences(&rule, t, length, length, own_y + t * LONE_O, own_dx + t * LONE_I);
        }
        assert_memory_equal(y, own_y, sizeof y);
        assert_memory_equal(dx, own_dx, sizeof dx);
    }
}

/* y and dx of a sequence have the same bits alone and among others, whoever makes the products. */
static void a_sequence_is_its_own(void **state) {
    const struct gemm *all[8], *before = gemm();
    size_t count = gemm_available(all, 8);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(gemm_select(all[i]->name), 0);
        assert_own_sequences();
    }
    assert_int_equal(gemm_select(before->name), 0);
}

/* ---- weight noise ------------------------------------------------------------------------------ */

/* Fresh for every key, the same for the same key; mean 0 and the standard deviation of the rule (1e5 numbers: 5
 * standard errors), by the column's largest weight. */
static void noise_is_that_of_the_rule(void **state) {
    enum { I = 400, O = 256 };
    static const uint32_t begin[2] = {0, I};
    (void)state;
    struct analog_rule rule = {.inputs = TRAIN_INPUTS_FREE, .noise = TRAIN_NOISE_COLUMN, .noise_sd = 0.03};
    struct layer_bench b;
    layer_bench_create(&b, &rule, I, O, 1, begin, 1, false);
    for (size_t i = 0; i < (size_t)I * O; i++) {
        b.layer.weight[i] = spread(i) * (real)(1 + i / I);
    }
    layer_bench_run(&b, STUDENT_TRAIN);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < (size_t)I * O; i++) {
        double z = (double)(b.layer.noisy[i] - b.layer.weight[i]) / (0.03 * (double)b.layer.largest[i / I]);
        sum += z;
        squares += z * z;
    }
    double n = (double)I * O;
    assert_near(sum / n, 0, 5 / sqrt(n));
    assert_near(sqrt(squares / n), 1, 5 / sqrt(2 * n));
    real first = b.layer.noisy[77];
    layer_bench_run(&b, STUDENT_TRAIN);
    assert_true(b.layer.noisy[77] == first);
    struct analog_pass other = {.mode = STUDENT_NOISY, .key = 4, .tokens = 1, .length = 1};
    analog_layer_forward(&b.layer, &b.work, &other, b.x, b.y, O);
    assert_true(b.layer.noisy[77] != first);
    real second = b.layer.noisy[77] - b.layer.weight[77];
    other.mirrored = true;
    analog_layer_forward(&b.layer, &b.work, &other, b.x, b.y, O);
    assert_near(b.layer.noisy[77] - b.layer.weight[77], -second, 1e-6);
    layer_bench_destroy(&b);
}

/* The chip's cell: pcm_afm is 2.58/180 at (nearly) nothing, 4.7 % in the middle, 10.67 % at full scale (facts 2.1); the
 * curve is sampled, 3 % is four standard errors. */
static void noise_of_the_cell(void **state) {
    struct chip *c;
    struct error e;
    struct analog_rule r;
    (void)state;
    must(chip_load("afm", NULL, 0, &c, &e), &e);
    must(student_rule_of_chip(c, &r, &e), &e);
    assert_near(r.noise_curve[0], 0, 0);
    assert_near(r.noise_curve[(NOISE_NODES - 1) * 100 / 200], 0.0469, 0.03 * 0.0469);
    assert_near(r.noise_curve[NOISE_NODES - 1], 0.1067, 0.03 * 0.1067);
    assert_int_equal(r.dac_steps, 127);
    assert_int_equal(r.adc_steps, 127);
    assert_near(r.adc_bound, 12, 0);
    chip_destroy(c);
    const char *sets[] = {"tile.adc.range=calibrated"};
    must(chip_load("afm", sets, 1, &c, &e), &e);
    assert_int_equal(student_rule_of_chip(c, &r, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.adc.range"));
    chip_destroy(c);
}

/* A scale that the model brings: weights beyond it are clipped, noise is that of |w| / scale, in units of the scale. An
 * ADC range that it brings: b = R x range, not lambda R m. */
static void scales_of_the_model_count(void **state) {
    static const uint32_t begin[2] = {0, 2};
    static const float scale[1] = {0.5f}, adc_range[1] = {0.4f};
    (void)state;
    struct analog_rule rule = {.inputs = TRAIN_INPUTS_STATIC, .dac_steps = 127, .range_start = 1, .range_floor = 1e-6,
                               .adc_bound = 12, .adc_steps = 127, .adc_per_column = true, .noise = TRAIN_NOISE_COLUMN,
                               .noise_sd = 0.1};
    struct layer_bench own, given;
    layer_bench_create(&own, &rule, 2, 1, 1, begin, 1, false);
    layer_bench_create(&given, &rule, 2, 1, 1, begin, 1, false);
    own.layer.weight[0] = own.x[0] = given.x[0] = 1;
    given.layer.weight[0] = 1;
    own.layer.weight[1] = given.layer.weight[1] = 0.25f;
    given.layer.scale = scale;
    given.layer.adc_range = adc_range;
    layer_bench_run(&own, STUDENT_TRAIN);
    layer_bench_run(&given, STUDENT_TRAIN);
    for (size_t i = 0; i < 2; i++) {
        double clean = i == 0 ? 0.5 : 0.25, noise = own.layer.noisy[i] - own.layer.weight[i];
        assert_near(given.layer.noisy[i], clean + 0.5 * noise, 1e-6);
    }
    assert_near(given.layer.largest[0], 0.5, 0);
    layer_bench_run(&given, STUDENT_STATIC);
    assert_near(given.y[0], 0.4, 1e-6);
    layer_bench_destroy(&own);
    layer_bench_destroy(&given);
}

/* ---- the whole network ------------------------------------------------------------------------- */

static struct model *tiny(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "models/%s", name);
    return open_model(golden_path(path));
}

static void fill_ids(int32_t *ids, size_t n, size_t vocabulary) {
    for (size_t t = 0; t < n; t++) {
        ids[t] = (int32_t)((t * 37 + 11) % vocabulary);
    }
}

/* Both are fp32 with another order of sums: 1e-4 of the largest logit. */
static void plain_is_the_digital_model(void **state) {
    static const char *const names[] = {"llama3-tiny", "llama-untied-tiny", "mistral-tiny", "qwen2-tiny",
                                        "qwen3-tiny", "phi3-tiny", "phi3-longrope-tiny"};
    enum { S = 80 };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct model *m = tiny(names[i]);
        size_t V = model_shape(m)->vocabulary;
        int32_t ids[2 * S];
        const float *want;
        struct error e;
        struct student *s;
        fill_ids(ids, 2 * S, V);
        struct student_options o = {2, S, false, false, 1, COMPUTE_FP32};
        must(student_create(m, NULL, NULL, &o, &s, &e), &e);
        struct student_batch batch = {.ids = ids, .sequences = 2, .length = S};
        must(student_forward(s, &batch, STUDENT_PLAIN, &e), &e);
        struct session *session = new_session(m, (struct session_options){.context = S});
        for (size_t b = 0; b < 2; b++) {
            session_rewind(session, 0);
            must(session_forward(session, ids + b * S, S, LOGITS_ALL, &want, &e), &e);
            double worst = 0, largest = 0;
            for (size_t k = 0; k < S * V; k++) {
                worst = fmax(worst, fabs((double)want[k] - (double)student_logits(s)[b * S * V + k]));
                largest = fmax(largest, fabs((double)want[k]));
            }
            if (!(worst <= 1e-4 * largest)) {
                fail_msg("%s: logits off by %g, largest %g", names[i], worst, largest);
            }
        }
        session_destroy(session);
        student_destroy(s);
        model_close(m);
    }
}

static uint64_t fold(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ p[i]) * 1099511628211u;
    }
    return hash;
}

/* Two steps of training with everything on; a fingerprint of all gradients, ranges and logits. */
static uint64_t train(const char *name, int threads, bool recompute, enum compute compute) {
    enum { B = 3, S = 60 };
    struct model *m = tiny(name);
    size_t V = model_shape(m)->vocabulary;
    const char *sets[] = {"tile.rows=24"};
    int32_t ids[B * S];
    double loss_of[2 * B * S];
    struct chip *c;
    struct error e;
    struct analog_rule rule;
    struct student *s, *teacher;
    struct loss loss;
    uint64_t hash = 14695981039346656037u;
    threads_set(threads);
    must(chip_load("afm", sets, 1, &c, &e), &e);
    must(student_rule_of_chip(c, &rule, &e), &e);
    rule.noise = TRAIN_NOISE_CELL;
    rule.adc_bound = 2;
    rule.range_sds = 2;
    struct student_options o = {B, S, true, recompute, 11, compute};
    must(student_create(m, c, &rule, &o, &s, &e), &e);
    o.trained = false;
    must(student_create(m, NULL, NULL, &o, &teacher, &e), &e);
    fill_ids(ids, B * S, V);
    for (uint64_t step = 0; step < 2; step++) {
        struct student_batch b = {.ids = ids, .sequences = B, .length = S, .key = step};
        must(student_forward(teacher, &b, STUDENT_PLAIN, &e), &e);
        must(student_forward(s, &b, STUDENT_TRAIN, &e), &e);
        hash = fold(hash, student_logits(s), B * S * V * sizeof(float));
        distillation_loss(&(struct loss_rule){1, 1}, student_logits(teacher), student_logits(s), NULL, B * S, V, 1,
                          loss_of, &loss);
        student_backward(s);
        for (size_t i = 0; i < student_parameter_count(s); i++) {
            struct parameter p = student_parameter_at(s, i);
            for (size_t k = 0; k < p.count; k++) {
                p.data[k] -= 0.01f * p.gradient[k];
            }
            hash = fold(hash, p.gradient, p.count * sizeof *p.gradient);
        }
        student_clip_weights(s);
    }
    student_destroy(s);
    student_destroy(teacher);
    chip_destroy(c);
    model_close(m);
    threads_set(0);
    return hash;
}

static void same_bits_for_any_threads_and_recomputed(void **state) {
    (void)state;
    uint64_t one = train("qwen3-tiny", 1, false, COMPUTE_FP32), bf16 = train("qwen3-tiny", 1, false, COMPUTE_BF16);
    assert_true(one == train("qwen3-tiny", 2, false, COMPUTE_FP32));
    assert_true(one == train("qwen3-tiny", 7, false, COMPUTE_FP32));
    assert_true(one == train("qwen3-tiny", 2, true, COMPUTE_FP32));
    assert_true(train("phi3-tiny", 1, true, COMPUTE_FP32) == train("phi3-tiny", 7, false, COMPUTE_FP32));
    assert_true(one != bf16);
    assert_true(bf16 == train("qwen3-tiny", 2, true, COMPUTE_BF16));
    assert_true(bf16 == train("qwen3-tiny", 7, false, COMPUTE_BF16));
}

/* A digital student with gradients of the cross entropy of some ids. */
static struct student *with_gradients(const struct model *m, enum compute compute) {
    enum { B = 2, S = 8 };
    size_t V = model_shape(m)->vocabulary;
    struct student_options o = {B, S, true, false, 11, compute};
    int32_t ids[B * S], targets[B * S];
    double loss_of[2 * B * S];
    struct student *s;
    struct error e;
    struct loss loss;
    must(student_create(m, NULL, NULL, &o, &s, &e), &e);
    fill_ids(ids, B * S, V);
    for (size_t t = 0; t < B * S; t++) {
        targets[t] = (t + 1) % S ? ids[t + 1] : -1;
    }
    must(student_forward(s, &(struct student_batch){.ids = ids, .sequences = B, .length = S}, STUDENT_PLAIN, &e), &e);
    distillation_loss(&(struct loss_rule){1, 0}, NULL, student_logits(s), targets, B * S, V, 1, loss_of, &loss);
    student_backward(s);
    return s;
}

/* Operands are off by 2^-9 at most, 1.1e-3 rms, and products by sqrt(2) of that. A gradient has gone through some
 * twenty products, whose errors add up as squares: 7e-3 of its norm, which most have. Queries and keys lie behind the
 * differences of softmax, which cancel to a quarter of what is subtracted: 3.1e-2 at most. Operands of one bit less
 * would give twice that. */
static void gradients_in_bf16_are_near(void **state) {
    static const char *const names[] = {"qwen3-tiny", "phi3-tiny", "llama-untied-tiny"};
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        char path[64];
        snprintf(path, sizeof path, "models/%s", names[k]);
        struct model *m = open_model(golden_path(path));
        struct student *plain = with_gradients(m, COMPUTE_FP32), *bf16 = with_gradients(m, COMPUTE_BF16);
        for (size_t i = 0; i < student_parameter_count(plain); i++) {
            struct parameter a = student_parameter_at(plain, i), b = student_parameter_at(bf16, i);
            double square = 0, off = 0;
            for (size_t j = 0; j < a.count; j++) {
                square += (double)a.gradient[j] * a.gradient[j];
                off += pow((double)a.gradient[j] - b.gradient[j], 2);
            }
            double relative = sqrt(off / square);
            if (!(relative < 4.5e-2 && relative > 1e-3)) {
                fail_msg("%s: gradient of %s off by %g of its norm", names[k], a.name, relative);
            }
        }
        student_destroy(plain);
        student_destroy(bf16);
        model_close(m);
    }
}

/* ---- loss -------------------------------------------------------------------------------------- */

/* Two positions, three words, against the definition in double; fp32: 1e-6. */
static void loss_by_definition(void **state) {
    static const real teacher[6] = {1, 2, -1, 0.5f, 0, 3}, start[6] = {0, 1.5f, 0.25f, -1, 2, 1};
    static const int32_t targets[2] = {2, -1};
    static const struct loss_rule rule = {2.0, 0.75};
    (void)state;
    real z[6];
    double loss_of[4], divergence = 0, entropy = 0, want[6];
    memcpy(z, start, sizeof z);
    for (size_t t = 0; t < 2; t++) {
        double p[3], q[3], r[3], sum_p = 0, sum_q = 0, sum_r = 0;
        for (size_t v = 0; v < 3; v++) {
            sum_p += p[v] = exp((double)teacher[3 * t + v] / 2);
            sum_q += q[v] = exp((double)start[3 * t + v] / 2);
            sum_r += r[v] = exp((double)start[3 * t + v]);
        }
        for (size_t v = 0; v < 3; v++) {
            p[v] /= sum_p;
            q[v] /= sum_q;
            r[v] /= sum_r;
            divergence += 4.0 / 2 * p[v] * log(p[v] / q[v]);
            want[3 * t + v] = 0.75 * 2 / 2 * (q[v] - p[v]);
            want[3 * t + v] += t == 0 ? 0.25 * (r[v] - (v == 2)) : 0;
        }
        entropy += t == 0 ? -log(r[2]) : 0;
    }
    struct loss loss;
    distillation_loss(&rule, teacher, z, targets, 2, 3, 1, loss_of, &loss);
    assert_near(loss.divergence, divergence, 1e-6);
    assert_near(loss.cross_entropy, entropy, 1e-6);
    assert_near(loss.total, 0.75 * divergence + 0.25 * entropy, 1e-6);
    assert_int_equal(loss.not_finite, 0);
    for (size_t i = 0; i < 6; i++) {
        assert_near(z[i], want[i], 1e-6);
    }
}

/* A probability that underflows adds nothing; what is not finite is counted, on both sides. */
static void loss_at_its_limits(void **state) {
    real teacher[6] = {0, -500, 1, 0, 0, 0}, z[6] = {1, 300, -2, 0, NAN, 0};
    double loss_of[4];
    struct loss loss;
    static const struct loss_rule rule = {1.0, 1.0};
    (void)state;
    distillation_loss(&rule, teacher, z, NULL, 1, 3, 1, loss_of, &loss);
    assert_int_equal(loss.not_finite, 0);
    assert_true(isfinite(loss.total) && isfinite(z[0]) && isfinite(z[1]));
    z[0] = z[1] = z[2] = 0;
    distillation_loss(&rule, teacher, z, NULL, 2, 3, 1, loss_of, &loss);
    assert_int_equal(loss.not_finite, 1);
    z[4] = 0;
    teacher[0] = INFINITY;
    distillation_loss(&rule, teacher, z, NULL, 2, 3, 1, loss_of, &loss);
    assert_int_equal(loss.not_finite, 1);
}

/* ---- bad input --------------------------------------------------------------------------------- */

static void refuses(void **state) {
    struct student *s;
    struct error e;
    struct student_options o = {1, 4, false, false, 1, COMPUTE_FP32};
    (void)state;
    struct model *gemma = tiny("gemma2-tiny"), *m = tiny("llama3-tiny");
    assert_int_equal(student_create(gemma, NULL, NULL, &o, &s, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "cannot be trained"));
    must(student_create(m, NULL, NULL, &o, &s, &e), &e);
    int32_t ids[5] = {1, 2, 100000, 3, 4};
    struct student_batch b = {.ids = ids, .sequences = 1, .length = 4};
    assert_int_equal(student_forward(s, &b, STUDENT_PLAIN, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "id 100000 at position 2"));
    b.length = 5;
    assert_int_equal(student_forward(s, &b, STUDENT_PLAIN, &e), ERR_USAGE);
    student_destroy(s);
    o.length = 1u << 30;
    assert_int_equal(student_create(m, NULL, NULL, &o, &s, &e), ERR_USAGE);
    model_close(gemma);
    model_close(m);
}

/* Ranges and scales of a model that was made for a chip with other row blocks. */
static void counts_of_another_chip_are_refused(void **state) {
    static const float values[3] = {1, 1, 1};
    struct student_options o = {1, 4, false, false, 1, COMPUTE_FP32};
    struct analog_rule rule;
    struct student *s;
    struct error e;
    (void)state;
    struct model *m = tiny("llama3-tiny");
    struct matrix_source *source = &m->sources[0];
    struct chip *c;
    must(chip_load("afm", NULL, 0, &c, &e), &e);
    must(student_rule_of_chip(c, &rule, &e), &e);
    source->input_range = values;
    source->input_range_count = 3;
    assert_int_equal(student_create(m, c, &rule, &o, &s, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "3 input ranges (allowed: 1,"));
    source->input_range = NULL;
    source->weight_scale = values;
    source->scale_count = 3;
    assert_int_equal(student_create(m, c, &rule, &o, &s, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "3 weight scales"));
    source->weight_scale = NULL;
    model_close(m);
    chip_destroy(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lightning_gives_the_same),
    cmocka_unit_test(by_hand),
    cmocka_unit_test(range_rule_by_hand),
    cmocka_unit_test(side_path_is_beside_the_tile),
    cmocka_unit_test(a_sequence_is_its_own),
    cmocka_unit_test(noise_is_that_of_the_rule),
    cmocka_unit_test(noise_of_the_cell),
    cmocka_unit_test(scales_of_the_model_count),
    cmocka_unit_test(plain_is_the_digital_model),
    cmocka_unit_test(same_bits_for_any_threads_and_recomputed),
    cmocka_unit_test(gradients_in_bf16_are_near),
    cmocka_unit_test(loss_by_definition),
    cmocka_unit_test(loss_at_its_limits),
    cmocka_unit_test(refuses),
    cmocka_unit_test(counts_of_another_chip_are_refused),
};
const struct test_suite suite_student = {"student", tests, sizeof tests / sizeof tests[0]};
