/* The digital side path: values against the reference, against tiles that hold zeros, and against the exact product;
 * ranges and scales of what remains; costs by hand; what the rule of a chip chooses. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/sort.h"
#include "base/threads.h"
#include "sim/report.h"
#include "sim/run.h"
#include "sim/side_path.h"
#include "sim/uncertainty.h"
#include "tests/golden.h"
#include "tests/machine_fixture.h"

/* ---- a matrix with a side path ----------------------------------------------------------------------------------- */

enum { OUTPUTS = 37, INPUTS = 70, TOKENS_MOST = 40, LISTED = 3 }; /* several panels and row blocks, none of them full */

static const uint32_t some_channels[] = {0, 5, 17, 68, 69};
enum { CHANNELS = sizeof some_channels / sizeof some_channels[0] };

/* Three weights of every output, but none of every fifth. */
struct lists {
    uint32_t begin[OUTPUTS + 1], inputs[OUTPUTS * LISTED];
    struct side_path side;
};

static struct lists *make_lists(bool channels, bool weights) {
    struct lists *l = mem_alloc(1, sizeof *l);
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        l->begin[o + 1] = l->begin[o];
        for (uint32_t i = 0; i < LISTED && o % 5 != 4; i++) {
            l->inputs[l->begin[o + 1]++] = 1 + (o % 4) + 20 * i; /* 1 to 4, 21 to 24, 41 to 44: no channels */
        }
    }
    l->side = (struct side_path){.channels = some_channels, .channel_count = channels ? CHANNELS : 0};
    if (weights) {
        l->side.weight_begin = l->begin;
        l->side.weight_inputs = l->inputs;
    }
    return l;
}

static struct fixture *open_side(const char *chip, const char *sets, const struct side_path *side, float *w) {
    struct matrix_source source = {.inputs = INPUTS, .outputs = OUTPUTS, .side = side};
    struct fixture *f = NULL;
    struct error e = {0};
    if (fixture_source(chip, sets, &source, w, 60, &f, &e) != OK) {
        fail_msg("%s %s: %s", chip, sets, e.message);
    }
    return f;
}

/* Positive, for encodings without a sign. */
static float *sizes_of(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] = fabsf(x[i]);
    }
    return x;
}

static bool is_digital(const struct side_path *s, uint32_t output, uint32_t input) {
    bool found = false;
    for (uint32_t i = 0; i < s->channel_count; i++) {
        found = found || s->channels[i] == input;
    }
    for (uint32_t i = s->weight_begin ? s->weight_begin[output] : 0; s->weight_begin && i < s->weight_begin[output + 1];
         i++) {
        found = found || s->weight_inputs[i] == input;
    }
    return found;
}

/* Every way of multiplying: codes and fp32 panels, lines, passes, shared columns, circuits, noise of reads, static and
 * dynamic ranges. */
static const struct {
    const char *chip, *sets;
    bool positive;
} machines[] = {
    {"ideal", "tile.rows=32 tile.columns=16", false},
    {"afm", "tile.rows=32 tile.columns=16 tile.dac.range=per_token", false},
    {"afm", "tile.rows=32 tile.columns=16 tile.dac.range_value=2", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=static tile.adc.full_scale=4", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.legs=digital tile.slices=2", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.encoding=offset_column", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.encoding=reference_column", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.encoding=one_device", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.encoding=unsigned", true},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.dac.coding=bit_serial", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.dac.sign=two_phase", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.scale=per_tile", false},
    {"pcm256_wires", "tile.rows=32 tile.columns=16 tile.adc.range=lambda", false},
    {"pcm256", "tile.rows=32 tile.columns=16 tile.adc.range=lambda tile.correction=affine", false},
};
enum { MACHINES = sizeof machines / sizeof machines[0] };

/* ---- values ------------------------------------------------------------------------------------------------------ */

static double digital_sum(const struct side_path *s, const float *w, const float *x, uint32_t o, double *sizes) {
    double sum = 0;
    *sizes = 0;
    for (uint32_t i = 0; i < INPUTS; i++) {
        double p = is_digital(s, o, i) ? (double)w[o * INPUTS + i] * (double)x[i] : 0;
        sum += p;
        *sizes += fabs(p);
    }
    return sum;
}

/* The tiles cannot tell a digital weight from one that is 0, nor a digital channel from an input that is 0: bit for
 * bit. What is added is the exact sum within fp32: 8 terms of 2^-24 each, and the last addition. */
static void tiles_see_zeros(const char *chip, const char *sets, bool positive, const struct side_path *side) {
    size_t n = (size_t)OUTPUTS * INPUTS;
    float *w = gaussians(n, 1), *bare_w = gaussians(n, 1), *x = gaussians((size_t)TOKENS_MOST * INPUTS, 2),
          *bare_x = gaussians((size_t)TOKENS_MOST * INPUTS, 2);
    w = positive ? sizes_of(w, n) : w;
    bare_w = positive ? sizes_of(bare_w, n) : bare_w;
    for (uint32_t i = 0; i < n; i++) {
        bare_w[i] = is_digital(side, i / INPUTS, i % INPUTS) ? 0 : bare_w[i];
    }
    for (uint32_t i = 0; i < TOKENS_MOST * side->channel_count; i++) {
        bare_x[i / side->channel_count * INPUTS + side->channels[i % side->channel_count]] = 0;
    }
    struct fixture *f = open_side(chip, sets, side, w), *bare = open_side(chip, sets, NULL, bare_w);
    float *y = multiply(f, x, TOKENS_MOST), *bare_y = multiply(bare, bare_x, TOKENS_MOST);
    for (uint32_t i = 0; i < TOKENS_MOST * OUTPUTS; i++) {
        double sizes, sum = digital_sum(side, w, x + i / OUTPUTS * INPUTS, i % OUTPUTS, &sizes);
        assert_near(y[i], bare_y[i] + sum, 6e-7 * (sizes + fabs((double)y[i])));
    }
    assert_true(f->record.array_S_sum == bare->record.array_S_sum);
    assert_int_equal(f->record.adc_conversions, bare->record.adc_conversions);
    uint64_t read = (uint64_t)INPUTS, driven = INPUTS - side->channel_count;
    assert_int_equal(f->record.dac_conversions * read, bare->record.dac_conversions * driven);
    assert_int_equal(f->record.dac_inputs * read, bare->record.dac_inputs * driven);
    mem_free(y);
    mem_free(bare_y);
    fixture_close(f);
    fixture_close(bare);
    mem_free(x);
    mem_free(bare_x);
}

static void side_path_is_added_to_what_tiles_give(void **state) {
    (void)state;
    for (size_t k = 0; k < MACHINES - 1; k++) { /* the correction of the bare tiles is fitted to other test vectors */
        for (int what = 1; what < 4; what++) { /* channels, weights, both */
            struct lists *l = make_lists(what & 1, what & 2);
            tiles_see_zeros(machines[k].chip, machines[k].sets, machines[k].positive, &l->side);
            mem_free(l);
        }
    }
}

/* Both paths differ as they do without a side path (multiply_reference.c): weight codes, which cost half a code of
 * 1/32767 of the column's largest weight times the sum of |x|, or one ADC step where that crosses a rounding edge. */
static void assert_like_reference(const struct fixture *f, const float *y, const double *r, const float *x,
                                  uint32_t tokens) {
    const struct array *a = f->machine->arrays[0];
    uint32_t steps = 0;
    for (uint32_t i = 0; i < tokens * OUTPUTS; i++) {
        uint32_t t = i / OUTPUTS, o = i % OUTPUTS;
        double sum_x = 0, step = 0, largest_x = 0;
        for (uint32_t k = 0; k < INPUTS; k++) {
            sum_x += fabs((double)x[t * INPUTS + k]);
            largest_x = fmax(largest_x, fabs((double)x[t * INPUTS + k]));
        }
        for (uint32_t b = 0; b < a->row_blocks; b++) {
            double range = a->input_range ? (double)a->input_range[b] : largest_x, full = 0;
            for (uint32_t line = 0; line < a->lines; line++) {
                full += fabs(f->machine->plan.line_factor[line]) *
                        (double)a->full_scale[((size_t)b * a->lines + line) * a->columns + o];
            }
            step += full * range / f->machine->adc.limit * f->machine->inputs.groups *
                    (double)a->compensation[(size_t)b * a->columns + o];
        }
        double codes = 6e-5 * 4 * sum_x + 1e-5;
        steps += fabs((double)y[i] - r[i]) > codes;
        assert_near(y[i], r[i], codes + (f->machine->spec->effects.adc ? 1.01 * step : 0));
    }
    assert_true(steps <= tokens * OUTPUTS / 20); /* rounding edges are rare: some 1 in 1,000 */
}

static void every_path_is_the_reference(void **state) {
    (void)state;
    const struct kernels *sets[8];
    const char *best = kernels()->name;
    size_t count = kernels_available(sets, 8);
    struct lists *l = make_lists(true, true);
    float *x = gaussians(5 * INPUTS, 3);
    for (size_t k = 0; k < MACHINES; k++) {
        float *w = gaussians((size_t)OUTPUTS * INPUTS, 1);
        w = machines[k].positive ? sizes_of(w, (size_t)OUTPUTS * INPUTS) : w;
        struct fixture *f = open_side(machines[k].chip, machines[k].sets, &l->side, w);
        double *r = multiply_reference(f, x, 5);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(kernels_select(sets[i]->name), 0);
            float *y = multiply(f, x, 5);
            assert_like_reference(f, y, r, x, 5);
            mem_free(y);
        }
        mem_free(r);
        fixture_close(f);
    }
    assert_int_equal(kernels_select(best), 0);
    mem_free(x);
    mem_free(l);
}

/* The same bits for one token and for forty, for one thread and for three, and no allocation. */
static void results_depend_on_neither_company_nor_threads(void **state) {
    (void)state;
    struct lists *l = make_lists(true, true);
    int before = threads_count();
    threads_set(3);
    struct fixture *f = open_side("afm", "tile.rows=32 tile.dac.range_value=2", &l->side, NULL);
    float *x = gaussians((size_t)TOKENS_MOST * INPUTS, 2);
    float *y = mem_alloc((size_t)TOKENS_MOST * OUTPUTS, sizeof *y), one[OUTPUTS];
    struct error e;
    mem_guard_arm();
    assert_int_equal(machine_multiply(f->machine, 0, x, TOKENS_MOST, 0, f->scratch, y, &f->record, &e), OK);
    assert_int_equal(mem_guard_disarm(), 0);
    threads_set(1);
    for (uint32_t t = 0; t < TOKENS_MOST; t++) {
        assert_int_equal(machine_multiply(f->machine, 0, x + t * INPUTS, 1, t, f->scratch, one, &f->record, &e), OK);
        assert_memory_equal(one, y + t * OUTPUTS, sizeof one);
    }
    threads_set(before);
    mem_free(x);
    mem_free(y);
    fixture_close(f);
    mem_free(l);
}

/* All inputs are channels, or all weights are listed: the exact product, whatever the hardware does; calibration finds
 * nothing to measure. fp32: 70 terms of 2^-24, half of them at most in one direction. */
static void everything_digital_is_the_exact_product(void **state) {
    (void)state;
    static const char *const chips[] = {"afm", "pcm256", "pcm256"};
    static const char *const sets[] = {"tile.rows=32 tile.dac.static_rule=standard_deviations", "tile.rows=32",
                                       "tile.encoding=offset_column tile.adc.rule=quantile"};
    uint32_t all[INPUTS], begin[OUTPUTS + 1], *inputs = mem_alloc((size_t)OUTPUTS * INPUTS, sizeof *inputs);
    for (uint32_t i = 0; i < OUTPUTS * INPUTS; i++) {
        inputs[i] = all[i % INPUTS] = i % INPUTS;
        begin[i / INPUTS] = i / INPUTS * INPUTS;
    }
    begin[OUTPUTS] = OUTPUTS * INPUTS;
    const struct side_path sides[] = {{.channels = all, .channel_count = INPUTS},
                                      {.weight_begin = begin, .weight_inputs = inputs}};
    float *x = gaussians(TOKENS_MOST * INPUTS, 2);
    for (size_t k = 0; k < 6; k++) {
        struct fixture *f = open_side(chips[k / 2], sets[k / 2], &sides[k % 2], NULL);
        calibrate(f, x, TOKENS_MOST);
        float *y = multiply(f, x, TOKENS_MOST);
        double *r = multiply_reference(f, x, TOKENS_MOST);
        for (uint32_t i = 0; i < TOKENS_MOST * OUTPUTS; i++) {
            double size, exact = exact_product(f, x, i / OUTPUTS, i % OUTPUTS, &size);
            assert_near(y[i], exact, 1e-6 * size);
            assert_near(r[i], exact, 1e-12 * size);
        }
        assert_int_equal(f->record.dac_conversions == 0, k % 2 == 0);
        mem_free(y);
        mem_free(r);
        fixture_close(f);
    }
    mem_free(x);
    mem_free(inputs);
}

static void nothing_digital_changes_no_bit(void **state) {
    (void)state;
    const uint32_t begin[OUTPUTS + 1] = {0};
    const struct side_path empty[] = {{.channel_count = 0}, {.weight_begin = begin}};
    float *x = gaussians(TOKENS_MOST * INPUTS, 2);
    struct fixture *plain = open_side("pcm256", "tile.adc.range=lambda", NULL, NULL);
    float *y = multiply(plain, x, TOKENS_MOST);
    for (int k = 0; k < 2; k++) {
        struct fixture *f = open_side("pcm256", "tile.adc.range=lambda", &empty[k], NULL);
        float *same = multiply(f, x, TOKENS_MOST);
        assert_memory_equal(y, same, TOKENS_MOST * OUTPUTS * sizeof *y);
        assert_int_equal(f->record.dac_conversions, plain->record.dac_conversions);
        mem_free(same);
        fixture_close(f);
    }
    mem_free(y);
    mem_free(x);
    fixture_close(plain);
}

/* ---- ranges and scales ------------------------------------------------------------------------------------------- */

/* An outlier in a channel leaves the static range alone; so do the zeros that stand there instead. */
static void ranges_are_those_of_what_is_driven(void **state) {
    (void)state;
    struct lists *l = make_lists(true, false);
    float *x = gaussians(TOKENS_MOST * INPUTS, 2);
    double sum = 0, squares = 0, n = 0, largest = 0;
    for (uint32_t i = 0; i < TOKENS_MOST * INPUTS; i++) {
        bool channel = is_digital(&l->side, 0, i % INPUTS);
        x[i] = channel ? 1000 : x[i];
        sum += channel ? 0 : (double)x[i];
        squares += channel ? 0 : (double)x[i] * (double)x[i];
        n += !channel;
        largest = channel ? largest : fmax(largest, fabs((double)x[i]));
    }
    double sd = sqrt((squares - sum * sum / n) / (n - 1));
    struct fixture *f = open_side(
        "afm", "tile.dac.static_rule=standard_deviations tile.dac.static_parameter=3", &l->side, NULL);
    calibrate(f, x, TOKENS_MOST);
    assert_near(f->machine->arrays[0]->input_range[0], 3 * sd, 1e-6 * sd); /* one float */
    fixture_close(f);
    f = open_side("afm", "tile.dac.static_rule=maximum", &l->side, NULL);
    calibrate(f, x, TOKENS_MOST);
    assert_near(f->machine->arrays[0]->input_range[0], largest, 0);
    mem_free(multiply(f, x, TOKENS_MOST));
    assert_int_equal(f->record.dac_clipped, 0);
    fixture_close(f);
    mem_free(x);
    mem_free(l);
}

static void scales_are_those_of_what_remains(void **state) {
    (void)state;
    struct lists *l = make_lists(true, true);
    struct fixture *f = open_side("afm", "tile.rows=32 tile.dac.range_value=2", &l->side, NULL);
    const struct array *a = f->machine->arrays[0];
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        for (uint32_t b = 0; b < a->row_blocks; b++) {
            float largest = 0;
            for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
                largest = is_digital(&l->side, o, i) ? largest : fmaxf(largest, fabsf(f->w[o * INPUTS + i]));
            }
            assert_true(a->weight_scale[b * a->columns + o] == largest);
            assert_true(a->full_scale[b * a->columns + o] == 12 * largest); /* lambda of the chip */
        }
    }
    fixture_close(f);
    mem_free(l);
}

/* ---- scales and ADC ranges that the model brings ----------------------------------------------------------------- */

/* Scale 0.5 clips 1 and -2; ADC range 0.4 saturates at 0.4 x input range 1. No noise. */
static void model_brings_scales_and_adc_ranges(void **state) {
    (void)state;
    const float w[] = {0.25f, 1, -2, 0.125f}, x[] = {1, 0.5f, 0.25f, 1}, scale[] = {0.5f, 0.25f}, adc[] = {0.4f, 10};
    const float range = 1;
    struct matrix_source source = {.inputs = 2, .outputs = 2, .input_range = &range, .input_range_count = 1,
                                   .weight_scale = scale, .scale_count = 2};
    struct error e;
    struct fixture *f = NULL;
    float *mine = mem_alloc(4, sizeof *mine);
    memcpy(mine, w, sizeof w);
    assert_int_equal(fixture_source("ideal", "effects=off tile.dac.range=static", &source, mine, 0, &f, &e), OK);
    float *y = multiply(f, x, 2);
    const double expected[] = {0.25 + 0.25, -0.25 + 0.0625, 0.0625 + 0.5, -0.0625 + 0.125};
    for (int i = 0; i < 4; i++) {
        assert_near(y[i], expected[i], 1e-6); /* conductances are fp32 */
    }
    mem_free(y);
    fixture_close(f);
    source.adc_range = adc;
    source.adc_range_count = 2;
    mine = mem_alloc(4, sizeof *mine);
    memcpy(mine, w, sizeof w);
    assert_int_equal(fixture_source("ideal", "effects=off effects.adc=on effects.dac=on tile.dac.range=static", &source,
                                    mine, 0, &f, &e), OK);
    assert_false(machine_needs_calibration(f->machine)); /* every range is there */
    y = multiply(f, x, 2);
    assert_near(y[0], 0.4, 1e-6);
    assert_near(y[1], -0.1875, 0.5 * 10 / 127 + 0.01); /* half a step of the ADC, and of the DAC */
    assert_int_equal(f->record.adc_saturated, 2);
    mem_free(y);
    fixture_close(f);
}

static void bad_scales_are_refused(void **state) {
    (void)state;
    const float good[] = {1, 1}, bad[] = {1, -1};
    const struct {
        const float *scale, *adc;
        size_t scale_count, adc_count;
        const char *sets, *says;
        enum status status;
    } cases[] = {
        {good, NULL, 1, 0, "effects=off", "brings 1 weight scales", ERR_USAGE},
        {bad, NULL, 2, 0, "effects=off", "weight scales: number 1 is -1", ERR_RUN},
        {NULL, bad, 0, 2, "effects=off", "ADC ranges: number 1 is -1", ERR_RUN},
        {NULL, good, 0, 3, "effects=off", "brings 3 ADC ranges", ERR_USAGE},
        {good, NULL, 2, 0, "effects=off tile.scale=per_tile", "tile.scale is per_tile", ERR_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct matrix_source source = {.inputs = 2, .outputs = 2, .weight_scale = cases[i].scale,
                                       .scale_count = cases[i].scale_count, .adc_range = cases[i].adc,
                                       .adc_range_count = cases[i].adc_count};
        struct error e;
        struct fixture *f;
        assert_int_equal(fixture_source("ideal", cases[i].sets, &source, NULL, 0, &f, &e), cases[i].status);
        assert_non_null(strstr(e.message, cases[i].says));
    }
}

/* ---- lists that cannot be ---------------------------------------------------------------------------------------- */

static void bad_lists_are_refused(void **state) {
    (void)state;
    static const struct {
        uint32_t channels[2], channel_count, begin[3], inputs[4];
        const char *says;
    } cases[] = {
        {{3, 1}, 2, {0, 0, 0}, {0}, "digital channel 1 of the list is input 1"},
        {{1, 1}, 2, {0, 0, 0}, {0}, "digital channel 1 of the list is input 1"},
        {{1, 4}, 2, {0, 0, 0}, {0}, "digital channel 1 of the list is input 4"},
        {{0}, 0, {0, 2, 2}, {2, 1}, "digital weight 1 of output 0 is that of input 1"},
        {{0}, 0, {0, 0, 2}, {2, 2}, "digital weight 1 of output 1 is that of input 2"},
        {{0}, 0, {0, 0, 1}, {4}, "digital weight 0 of output 1 is that of input 4"},
        {{0}, 0, {1, 1, 1}, {0}, "begins at 1"},
        {{0}, 0, {0, 2, 1}, {0, 1}, "begin at 2 and end at 1"},
        {{0}, 0, {0, 400, 400}, {0}, "begin at 0 and end at 400"},
        {{2}, 1, {0, 2, 2}, {1, 2}, "output 0, input 2: the input is a digital channel"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct side_path side = {cases[i].channels, cases[i].channel_count, cases[i].begin, cases[i].inputs};
        struct matrix_source source = {.inputs = 4, .outputs = 2, .side = &side};
        struct error e;
        struct fixture *f;
        assert_int_equal(fixture_source("ideal", "", &source, NULL, 0, &f, &e), ERR_RUN);
        if (!strstr(e.message, cases[i].says)) {
            fail_msg("case %zu: %s", i, e.message);
        }
    }
}

static void what_is_not_finite_is_refused(void **state) {
    (void)state;
    struct lists *l = make_lists(true, true);
    const uint32_t places[] = {17, 21}; /* a channel; a listed weight of output 0 */
    struct error e;
    struct fixture *f;
    for (int i = 0; i < 2; i++) {
        struct matrix_source source = {.inputs = INPUTS, .outputs = OUTPUTS, .side = &l->side};
        float *w = gaussians((size_t)OUTPUTS * INPUTS, 1);
        w[places[i]] = NAN;
        assert_int_equal(fixture_source("ideal", "", &source, w, 0, &f, &e), ERR_RUN);
        assert_non_null(strstr(e.message, "weight of output 0"));
    }
    f = open_side("ideal", "", &l->side, NULL);
    float *x = gaussians(2 * INPUTS, 2), y[2 * OUTPUTS];
    x[INPUTS + 17] = INFINITY;
    assert_int_equal(machine_multiply(f->machine, 0, x, 2, 0, f->scratch, y, &f->record, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "token 1"));
    mem_free(x);
    fixture_close(f);
    mem_free(l);
}

/* A chip that does not say what a side path takes; a rule, and nobody who follows it. */
static void what_nobody_can_count_is_refused(void **state) {
    (void)state;
    struct lists *l = make_lists(true, false);
    struct matrix_source source = {.inputs = INPUTS, .outputs = OUTPUTS, .side = &l->side};
    struct error e;
    struct fixture *f;
    assert_int_equal(fixture_source("isaac", "", &source, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "a group side_path"));
    source.side = NULL;
    assert_int_equal(fixture_source("afm", "placement.digital_channels=4", &source, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "none was chosen"));
    mem_free(l);
}

/* ---- costs ------------------------------------------------------------------------------------------------------- */

enum { WIDE = 300, HIGH = 100 };

struct bench {
    struct chip *chip;
    struct placement *placement;
    struct run *run;
};

static struct bench cost_bench(const struct side_path *side, uint32_t tokens) {
    struct bench b;
    struct error e;
    struct matrix_source source = {
        .name = "layers.0.q", .layer = 0, .role = MATRIX_Q, .inputs = WIDE, .outputs = HIGH, .side = side};
    must(chip_load("pcm256", NULL, 0, &b.chip, &e), &e);
    must(placement_create(b.chip, &source, 1, &b.placement, &e), &e);
    must(run_create_costs(b.chip, b.placement, tokens, &b.run, &e), &e);
    run_begin_step(b.run, tokens);
    run_record_multiply(b.run, &(struct multiply_record){.matrix = 0, .tokens = tokens, .adc_conversions = 1,
                                                         .dac_conversions = 1, .array_S_sum = 1e-6});
    run_end_step(b.run);
    return b;
}

static void drop(struct bench *b) {
    run_destroy(b->run);
    placement_destroy(b->placement);
    chip_destroy(b->chip);
}

/* 4 channels and 2 weights of every output of 300 x 100: 600 MACs per token. Stored: 600 x 16 bits of weights, 4 + 200
 * + 100 indices of 16 bits: 14,464 bits. */
static void costs_by_hand(void **state) {
    (void)state;
    const uint32_t channels[] = {1, 2, 3, 299};
    uint32_t begin[HIGH + 1], inputs[2 * HIGH];
    for (uint32_t o = 0; o <= HIGH; o++) {
        begin[o] = 2 * o;
        inputs[2 * (o % HIGH)] = 10;
        inputs[2 * (o % HIGH) + 1] = 20 + o % HIGH;
    }
    const struct side_path side = {channels, 4, begin, inputs};
    const uint64_t T = 3, macs = 600, stored_bits = 14464, results_bits = 2 * HIGH * 16;
    struct bench b = cost_bench(&side, (uint32_t)T), plain = cost_bench(NULL, (uint32_t)T);
    struct ledger_view v = run_ledger(b.run), p = run_ledger(plain.run);
    const struct chip_spec *s = chip_spec_of(b.chip);
    assert_int_equal(v.count[PART_DIGITAL_MATMUL], T * macs);
    assert_near(v.energy_J[PART_DIGITAL_MATMUL] / (T * macs * 2.0e-12), 1, 1e-12);
    assert_int_equal(v.count[PART_BUFFER] - p.count[PART_BUFFER], stored_bits + T * results_bits);
    assert_int_equal(v.count[PART_VECTOR] - p.count[PART_VECTOR], T * HIGH);
    assert_int_equal(p.macs, T * WIDE * HIGH);
    assert_int_equal(v.macs, T * (WIDE * HIGH - macs));
    struct placement_total t = placement_total(b.placement);
    assert_int_equal(t.side_macs, macs);
    assert_int_equal(t.side_bits, stored_bits);
    assert_near(t.digital_share, 600.0 / 30000, 1e-15);
    double side_mm2 = placement_area(b.chip, b.placement).total_mm2 - placement_area(b.chip, plain.placement).total_mm2;
    assert_near(side_mm2 / (14464 * 0.2e-6), 1, 1e-6); /* difference of hundreds of mm2 */
    double seconds = v.makespan_s, leak_W = 0.003 * 14464 / (512 * 8192.0);
    assert_near((ledger_static_W(&b.run->ledger) - ledger_static_W(&plain.run->ledger)) / leak_W, 1, 1e-3);
    /* Beside the tiles: 2 ns + bits / 512 GB/s, then ceil(2400 / 1024) + 16 cycles at 1 GHz, for each of three tokens,
     * is less than 132.9 ns. So only the addition is seen: ceil(100 / 256) + 8 cycles after the last token. */
    assert_near(seconds - p.makespan_s, 9e-9, 2e-12); /* whole picoseconds */
    assert_near(run_class(b.run, CLASS_MATMUL).busy_s, 3 * 19e-9, 1e-12);
    assert_near(run_class(b.run, CLASS_TILES).busy_s, run_class(plain.run, CLASS_TILES).busy_s, 0);
    assert_true(s->side_path.mac_lanes == 4);
    drop(&b);
    drop(&plain);
}

/* All 300 inputs are channels, one token: 488,000 bits of weights, indices and results at 512 GB/s after 2 ns, then
 * ceil(120,000 / 1024) + 16 = 134 cycles: longer than the tiles, which are waited for no more; 9 ns to add. */
static void long_side_path_is_waited_for(void **state) {
    (void)state;
    uint32_t channels[WIDE];
    for (uint32_t i = 0; i < WIDE; i++) {
        channels[i] = i;
    }
    const struct side_path side = {channels, WIDE, NULL, NULL};
    struct bench b = cost_bench(&side, 1), plain = cost_bench(NULL, 1);
    double side_s = 2e-9 + 488000 / 8 / 512e9 + 134e-9, tiles_s = run_class(plain.run, CLASS_TILES).busy_s;
    assert_true(side_s > tiles_s);
    assert_near(run_ledger(b.run).makespan_s - run_ledger(plain.run).makespan_s, side_s - tiles_s + 9e-9, 2e-12);
    drop(&b);
    drop(&plain);
}

/* Joules by component, by layer and over time are the same joules; the uncertainty starts from them. */
static void side_joules_are_conserved(void **state) {
    (void)state;
    const uint32_t channels[] = {0, 100};
    const struct side_path side = {channels, 2, NULL, NULL};
    struct bench b = cost_bench(&side, 4);
    struct ledger_view v = run_ledger(b.run);
    double parts_J = 0, layers_J = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        parts_J += v.energy_J[c];
    }
    for (size_t row = 0; row < v.layers; row++) {
        layers_J += run_layer_energy_J(b.run, row);
    }
    assert_near(parts_J / v.total_J, 1, 1e-12);
    assert_near(layers_J / v.total_J, 1, 1e-12);
    assert_near(run_power(b.run).over_time_J / v.total_J, 1, 1e-9); /* sums over bins of time */
    struct uncertainty *u = mem_alloc(1, sizeof *u);
    run_uncertainty(b.run, u);
    assert_near(u->of[UNCERTAIN_ENERGY].nominal / (v.total_J / 4), 1, 1e-9);
    assert_near(u->of[UNCERTAIN_AREA].nominal / placement_area(b.chip, b.placement).total_mm2, 1, 1e-12);
    bool counted = false;
    for (size_t i = 0; i < u->count; i++) {
        counted = counted || strcmp(u->constants[i].key, "side_path.energy_J") == 0;
    }
    assert_true(counted);
    mem_free(u);
    drop(&b);
}

/* ---- the rule of the chip ---------------------------------------------------------------------------------------- */

static struct side_path *chosen(const char *const *sets, size_t count, const struct matrix_source *m,
                                const float *largest, enum status expected, struct error *e) {
    struct chip *c;
    struct side_path *s = NULL;
    must(chip_load("afm", sets, count, &c, e), e);
    assert_int_equal(side_path_choose(c, m, largest, &s, e), expected);
    chip_destroy(c);
    return s;
}

/* Six inputs on tiles of three rows. Channels: the two largest, a tie goes to the first: 1 and 4. A share of 0.4 is
 * round(1.2) = 1 weight of each block, the largest |w| that is not in a channel. */
static void rule_by_hand(void **state) {
    (void)state;
    const float w[] = {1, 9, -2, 3, 8, 3, /* block 0: -2; block 1: the first 3 */
                       -5, 0, 5, 0, 7, -1}; /* block 0: -5, a tie; block 1: -1 */
    const float largest[] = {1, 6, 2, 3, 6, 6};
    static const char *const sets[] = {"tile.rows=3", "placement.digital_channels=2", "placement.digital_weights=0.4"};
    struct fixture f = {.w = (float *)(uintptr_t)w};
    f.source = (struct matrix_source){
        .name = "q", .role = MATRIX_Q, .inputs = 6, .outputs = 2, .read_rows = read_rows, .context = &f};
    struct error e;
    struct side_path *s = chosen(sets, 3, &f.source, largest, OK, &e);
    assert_int_equal(s->channel_count, 2);
    assert_memory_equal(s->channels, ((const uint32_t[]){1, 4}), 2 * sizeof *s->channels);
    assert_memory_equal(s->weight_begin, ((const uint32_t[]){0, 2, 4}), 3 * sizeof *s->weight_begin);
    assert_memory_equal(s->weight_inputs, ((const uint32_t[]){2, 3, 0, 5}), 4 * sizeof *s->weight_inputs);
    side_path_destroy(s);
    assert_null(chosen(sets, 1, &f.source, NULL, OK, &e)); /* nothing asked for */
    assert_null(chosen(sets, 2, &f.source, NULL, ERR_RUN, &e));
    assert_non_null(strstr(e.message, "input 0 is not known"));
    f.source.role = MATRIX_HEAD;
    static const char *const others[] = {"analog=q", "placement.digital_weights=0.5"};
    assert_null(chosen(others, 2, &f.source, NULL, OK, &e)); /* not on tiles */
}

/* What is listed is at least as large as what is not, in every column of a tile, and as many as asked for. */
static void listed_weights_are_the_largest(void **state) {
    (void)state;
    static const char *const sets[] = {"tile.rows=32", "placement.digital_weights=0.1"};
    struct fixture f = {.w = gaussians((size_t)OUTPUTS * INPUTS, 5)};
    f.source = (struct matrix_source){
        .name = "q", .role = MATRIX_Q, .inputs = INPUTS, .outputs = OUTPUTS, .read_rows = read_rows, .context = &f};
    struct error e;
    struct side_path *s = chosen(sets, 2, &f.source, NULL, OK, &e);
    const uint32_t begin[] = {0, 24, 47, 70}; /* 70 on tiles of 32: 24, 23, 23; two of each */
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        for (int b = 0; b < 3; b++) {
            float least = INFINITY, rest = 0;
            int count = 0;
            for (uint32_t i = begin[b]; i < begin[b + 1]; i++) {
                float size = fabsf(f.w[o * INPUTS + i]);
                bool digital = is_digital(s, o, i);
                least = digital ? fminf(least, size) : least;
                rest = digital ? rest : fmaxf(rest, size);
                count += digital;
            }
            assert_int_equal(count, 2);
            assert_true(least >= rest);
        }
    }
    side_path_destroy(s);
    mem_free(f.w);
}

static void selection_is_that_of_sorting(void **state) {
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        for (size_t k = 0; k < n; k++) {
            float x[40], sorted[40];
            for (size_t i = 0; i < n; i++) {
                x[i] = sorted[i] = floorf(8 * uniform(n, i * (k % 3))); /* many ties; all the same where k % 3 = 0 */
            }
            sort_floats(sorted, n);
            assert_true(select_float(x, n, k) == sorted[k]);
        }
    }
}

/* ---- a model ----------------------------------------------------------------------------------------------------- */

/* All weights digital: the digital model, on a chip with noise, drift and 8-bit converters. Some: not. */
static void model_follows_the_rule(void **state) {
    (void)state;
    static const struct {
        const char *weights;
        bool same;
    } cases[] = {{"placement.digital_weights=1", true}, {"placement.digital_weights=0.1", false}};
    for (size_t i = 0; i < 2; i++) {
        const char *const sets[] = {cases[i].weights, "placement.digital_channels=3", "calibration.tokens=16"};
        struct model *m = open_model("stories");
        struct chip *c;
        struct placement *p;
        struct machine *machine;
        struct run *run;
        struct error e;
        const int32_t ids[] = {1, 17, 33, 99, 250};
        const float *analog, *digital;
        double largest = 0;
        must(chip_load("afm", sets, 3, &c, &e), &e);
        must(model_program(m, c, &(struct machine_options){.seed = 1}, &p, &machine, &e), &e);
        must(run_create(machine, 8, &run, &e), &e);
        struct session *a = new_session(m, (struct session_options){.context = 8, .max_batch = 8, .run = run});
        struct session *d = new_session(m, (struct session_options){.context = 8, .max_batch = 8});
        must(session_forward(a, ids, 5, LOGITS_LAST, &analog, &e), &e);
        must(session_forward(d, ids, 5, LOGITS_LAST, &digital, &e), &e);
        for (uint32_t v = 0; v < model_shape(m)->vocabulary; v++) {
            largest = fmax(largest, fabs((double)analog[v] - (double)digital[v]));
        }
        assert_true((largest < 1e-4) == cases[i].same); /* the anchor's tolerance; logits are about 1 */
        assert_near(placement_total(p).digital_share, cases[i].same ? 1 : 0.13, cases[i].same ? 0 : 0.02);
        session_destroy(a);
        session_destroy(d);
        run_destroy(run);
        machine_destroy(machine);
        placement_destroy(p);
        chip_destroy(c);
        model_close(m);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(side_path_is_added_to_what_tiles_give),
    cmocka_unit_test(every_path_is_the_reference),
    cmocka_unit_test(results_depend_on_neither_company_nor_threads),
    cmocka_unit_test(everything_digital_is_the_exact_product),
    cmocka_unit_test(nothing_digital_changes_no_bit),
    cmocka_unit_test(ranges_are_those_of_what_is_driven),
    cmocka_unit_test(scales_are_those_of_what_remains),
    cmocka_unit_test(model_brings_scales_and_adc_ranges),
    cmocka_unit_test(bad_scales_are_refused),
    cmocka_unit_test(bad_lists_are_refused),
    cmocka_unit_test(what_is_not_finite_is_refused),
    cmocka_unit_test(what_nobody_can_count_is_refused),
    cmocka_unit_test(costs_by_hand),
    cmocka_unit_test(long_side_path_is_waited_for),
    cmocka_unit_test(side_joules_are_conserved),
    cmocka_unit_test(rule_by_hand),
    cmocka_unit_test(listed_weights_are_the_largest),
    cmocka_unit_test(selection_is_that_of_sorting),
    cmocka_unit_test(model_follows_the_rule),
};

const struct test_suite suite_side_path = {"side_path", tests, sizeof tests / sizeof tests[0]};
