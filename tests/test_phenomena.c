/* Phenomena and management of tiles against aihwkit's own outputs (golden aihwkit_tile.json): in a multiply composed
 * here in double precision from the functions of sim/phenomena.h, and replayed by whole chips; their random parts
 * against their moments.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "sim/phenomena.h"
#include "tests/golden.h"
#include "tests/machine_fixture.h"

enum { INPUTS = 40, OUTPUTS = 24, SAMPLES = 5, TILES = 9 };

/* aihwkit computes in float32: 1e-7 per operation, some 40 of them. */
#define GOLDEN_TOLERANCE 1e-5

/* ---- one case of the file ----------------------------------------------------------------------------- */

struct tile {
    uint32_t row, rows, column, columns;
    double w[OUTPUTS][INPUTS], scale[OUTPUTS]; /* of the tile's own rows and columns */
    struct phenomena_column k[OUTPUTS];
};

struct golden_case {
    const char *name;
    bool perfect, two_phase, digital_sum, torch;
    double input_step, output_step, bound, out_scale, input_range, drift;
    struct phenomena_spec p;
    struct management_spec m;
    double weight[OUTPUTS][INPUTS], x[SAMPLES][INPUTS], bias[OUTPUTS];
    struct tile tiles[TILES];
    size_t tile_count;
};

static double number(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static bool flag(const json_t *object, const char *key) {
    assert_true(json_is_boolean(json_object_get(object, key)));
    return json_is_true(json_object_get(object, key));
}

static int choice(const json_t *object, const char *key, const char *const *names) {
    const char *word = json_string_value(json_object_get(object, key));
    assert_non_null(word);
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], word) == 0) {
            return i;
        }
    }
    fail_msg("%s: %s", key, word);
    return -1;
}

static void numbers(const json_t *list, double *out, size_t n) {
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        out[i] = json_number_value(json_array_get(list, i));
    }
}

/* 1 / number of steps; 0: not quantised. As aihwkit keeps it, in float32: inputs that lie exactly between two codes
 * (every full-scale input of sample 3 when it is halved) are rounded by the last bit of it. */
static double resolution(double res) { return (double)(float)(res > 1 ? 1 / res : res > 0 ? res : 0); }

static void read_forward(const json_t *f, struct golden_case *c) {
    static const char *const noise[] = {"NONE", "ABS_MAX", "ABS_MAX_NP_SUM", "MAX", "CONSTANT", "AVERAGE_ABS_MAX",
                                        NULL};
    static const char *const bounds[] = {"NONE", "ITERATIVE", "ITERATIVE_WORST_CASE", NULL};
    static const char *const kinds[] = {"ONE_PASS", "POS_NEG_SEPARATE", "POS_NEG_SEPARATE_DIGITAL_SUM", NULL};
    int kind = choice(f, "mv_type", kinds);
    assert_true(number(f, "inp_bound") == 1);
    c->perfect = flag(f, "is_perfect");
    c->two_phase = kind > 0;
    c->digital_sum = kind == 2;
    c->input_step = resolution(number(f, "inp_res"));
    c->output_step = resolution(number(f, "out_res"));
    c->bound = number(f, "out_bound") > 0 ? number(f, "out_bound") : INFINITY;
    c->out_scale = number(f, "out_scale");
    c->p = (struct phenomena_spec){
        .input_asymmetry = number(f, "inp_asymmetry"),
        .output_asymmetry = number(f, "out_asymmetry"),
        .ir_drop = number(f, "ir_drop"),
        .ir_drop_g_ratio = number(f, "ir_drop_g_ratio"),
        .nonlinearity = number(f, "out_nonlinearity"),
        .slope_calibration = number(f, "slope_calibration"),
        .voltage_offset_spread = number(f, "v_offset_std"),
        .voltage_offset_w_min = number(f, "v_offset_w_min"),
        .series_resistance = number(f, "r_series"),
        .series_resistance_cap = 1e30,
    };
    c->m = (struct management_spec){
        .noise = choice(f, "noise_management", noise),
        .bound = choice(f, "bound_management", bounds),
        .threshold = number(f, "nm_thres"),
        .assumed_w_max = 0.6,
        .max_factor = number(f, "max_bm_factor"),
        .max_resolution = number(f, "max_bm_res"),
        .test_negative = flag(f, "bm_test_negative_bound"),
    };
}

static void read_columns(const json_t *j, const struct golden_case *c, struct tile *t) {
    double full_scale[OUTPUTS], given[OUTPUTS];
    for (uint32_t o = 0; o < t->columns; o++) {
        full_scale[o] = c->bound;
    }
    phenomena_columns(&c->p, 1, PHENOMENA_COLUMN, 0, full_scale, t->columns, t->k);
    const json_t *per_output = json_object_get(j, "per_output");
    const json_t *offset = json_object_get(per_output, "fwd.v_offset");
    const json_t *compression = json_object_get(per_output, "fwd.out_nonlinearity");
    for (uint32_t o = 0; o < t->columns; o++) {
        if (offset) {
            numbers(offset, given, OUTPUTS);
            t->k[o].voltage_offset = given[t->column + o];
        }
        if (compression) {
            numbers(compression, given, OUTPUTS);
            t->k[o].nonlinearity = given[t->column + o];
        }
    }
}

/* Tiles are listed by row blocks, the column blocks of each one after the other. */
static void read_tiles(const json_t *j, struct golden_case *c) {
    const json_t *list = json_object_get(j, "tiles"), *scales = json_object_get(j, "mapping_scales");
    uint32_t row = 0, column = 0;
    c->tile_count = json_array_size(list);
    assert_in_range(c->tile_count, 1, TILES);
    for (size_t i = 0; i < c->tile_count; i++) {
        struct tile *t = &c->tiles[i];
        const json_t *size = json_array_get(list, i), *scale = json_array_get(scales, i);
        t->row = row;
        t->rows = (uint32_t)number(size, "inp");
        t->column = column;
        t->columns = (uint32_t)number(size, "out");
        for (uint32_t o = 0; o < t->columns; o++) {
            size_t which = json_array_size(scale) > 1 ? o : 0;
            t->scale[o] = scale ? json_number_value(json_array_get(scale, which)) : 1;
            for (uint32_t k = 0; k < t->rows; k++) {
                t->w[o][k] = c->weight[column + o][row + k] / t->scale[o] * c->drift;
            }
        }
        read_columns(j, c, t);
        column = (column + t->columns) % OUTPUTS;
        row += column == 0 ? t->rows : 0;
    }
    assert_int_equal(row, INPUTS);
}

static void read_case(const json_t *root, const json_t *j, struct golden_case *c) {
    *c = (struct golden_case){.name = json_string_value(json_object_get(j, "name")), .drift = 1};
    const json_t *config = json_object_get(j, "config"), *range = json_object_get(config, "input_range");
    for (size_t o = 0; o < OUTPUTS; o++) {
        numbers(json_array_get(json_object_get(root, "weight"), o), c->weight[o], INPUTS);
    }
    for (size_t s = 0; s < SAMPLES; s++) {
        numbers(json_array_get(json_object_get(root, "input"), s), c->x[s], INPUTS);
    }
    if (flag(j, "bias")) {
        numbers(json_object_get(root, "bias"), c->bias, OUTPUTS);
    }
    if (json_object_get(j, "t_inference_s")) { /* its noise model: exponent 0.1, t0 = 20 s after programming */
        c->drift = pow((number(j, "t_inference_s") + 20) / 20, -0.1);
    }
    c->torch = strcmp(json_string_value(json_object_get(config, "rpu")), "TorchInferenceRPUConfig") == 0;
    c->input_range = range ? number(range, "init_value") : 0;
    read_forward(json_object_get(config, "forward"), c);
    read_tiles(j, c);
}

/* ---- the multiply, composed ------------------------------------------------------------------------------ */

/* To the nearest step (ties to even), then clipped. */
static double quantised(double v, double step) { return step > 0 ? rint(v * (1 / step)) * step : v; }

static double clipped(double v, double bound) { return fmax(-bound, fmin(bound, v)); }

/* One pass: x as driven -> results of the array. */
static void array_pass(const struct golden_case *c, const struct tile *t, const double *x, double *y) {
    for (uint32_t o = 0; o < t->columns; o++) {
        struct phenomena_sums s;
        phenomena_sums(t->w[o], x, t->rows, &s);
        y[o] += phenomena_array(&c->p, &t->k[o], &s, t->rows, 0);
    }
}

/* Whether the results y [n] of a tile (before clipping, after rounding) count as clipped, as aihwkit says it. The chips
 * differ where negative results do not count: they remember a positive one before a negative one. */
static bool counts_as_clipped(const struct management_spec *m, const double *y, const double *full_scale, size_t n) {
    bool clipped = false;
    for (size_t i = 0; i < n; i++) {
        if (y[i] > full_scale[i]) {
            clipped = true;
        } else if (y[i] < -full_scale[i]) {
            clipped = m->test_negative; /* off: also forgets a positive one before it, as aihwkit does */
        }
    }
    return clipped;
}

/* Results of the array -> ADC, added to y. Whether they count as clipped. */
static bool convert(const struct golden_case *c, const struct tile *t, const double *array, double *y) {
    double v[OUTPUTS], full_scale[OUTPUTS];
    for (uint32_t o = 0; o < t->columns; o++) {
        double step = isfinite(c->bound) ? 2 * c->output_step * c->bound : 0;
        v[o] = quantised(phenomena_output(&c->p, &t->k[o], array[o], 0), step);
        full_scale[o] = c->bound;
        y[o] += clipped(v[o], c->bound);
    }
    return counts_as_clipped(&c->m, v, full_scale, t->columns);
}

/* x [rows] in units of the input range -> y [columns]. */
static bool passes(const struct golden_case *c, const struct tile *t, const double *x, double *y) {
    double driven[INPUTS], phase[INPUTS], sum[OUTPUTS] = {0};
    memset(y, 0, OUTPUTS * sizeof *y);
    for (uint32_t i = 0; i < t->rows; i++) {
        driven[i] = clipped(quantised(x[i], 2 * c->input_step), 1);
    }
    phenomena_inputs(&c->p, driven, NULL, t->rows);
    if (!c->two_phase) {
        array_pass(c, t, driven, sum);
        return convert(c, t, sum, y);
    }
    bool clips = false;
    for (int sign = -1; sign <= 1; sign += 2) {
        for (uint32_t i = 0; i < t->rows; i++) {
            phase[i] = driven[i] * sign > 0 ? driven[i] : 0;
        }
        array_pass(c, t, phase, sum);
        if (c->digital_sum) {
            clips |= convert(c, t, sum, y);
            memset(sum, 0, sizeof sum);
        }
    }
    return c->digital_sum ? clips : convert(c, t, sum, y);
}

/* One tile on one sample with the factor and kind of scale of `l`: adds to y. Whether it clipped. */
static bool run_tile(const struct golden_case *c, const struct tile *t, const double *sample,
                     const struct management_loop *l, double *y) {
    double x[INPUTS], result[OUTPUTS], average = 0;
    double range = c->input_range > 0 ? c->input_range : 1;
    for (uint32_t i = 0; i < t->rows; i++) {
        double v = sample[t->row + i];
        x[i] = (c->input_range > 0 ? clipped(v, range) : v) / range;
    }
    struct management_spec m = c->m;
    m.noise = l->worst_case ? NOISE_ABS_MAX_NP_SUM : m.noise;
    double scale = management_scale(&m, x, t->rows, c->input_step, c->bound, &average) * l->factor;
    if (scale <= 0) {
        return false;
    }
    for (uint32_t i = 0; i < t->rows; i++) {
        x[i] /= scale;
    }
    bool clips = passes(c, t, x, result);
    for (uint32_t o = 0; o < t->columns; o++) {
        y[t->column + o] += result[o] * c->out_scale * scale * range * t->scale[o];
    }
    return clips;
}

/* aihwkit's torch tile repeats the whole batch until no sample clips, its C++ tile each sample. */
static void run_batch(const struct golden_case *c, size_t first, size_t count, double y[SAMPLES][OUTPUTS]) {
    memset(y, 0, sizeof(double[SAMPLES][OUTPUTS]));
    for (size_t i = 0; i < c->tile_count; i++) {
        struct management_loop l;
        double part[SAMPLES][OUTPUTS];
        bool clips;
        management_begin(&l);
        do {
            clips = false;
            memset(part, 0, sizeof part);
            for (size_t s = first; s < first + count; s++) {
                clips |= run_tile(c, &c->tiles[i], c->x[s], &l, part[s]);
            }
        } while (management_repeat(&c->m, c->input_step, clips, &l));
        for (size_t s = first; s < first + count; s++) {
            for (size_t o = 0; o < OUTPUTS; o++) {
                y[s][o] += part[s][o];
            }
        }
    }
}

static double digital(const struct golden_case *c, size_t s, size_t o) {
    double y = 0;
    for (size_t i = 0; i < INPUTS; i++) {
        y += c->weight[o][i] * c->x[s][i];
    }
    return y;
}

static double worst_error(const struct golden_case *c, double y[SAMPLES][OUTPUTS], const json_t *expected,
                          double gain) {
    double worst = 0;
    for (size_t s = 0; s < SAMPLES; s++) {
        double want[OUTPUTS], largest = 0;
        numbers(json_array_get(expected, s), want, OUTPUTS);
        for (size_t o = 0; o < OUTPUTS; o++) {
            largest = fmax(largest, fabs(want[o]));
        }
        for (size_t o = 0; o < OUTPUTS; o++) {
            double got = (c->perfect ? digital(c, s, o) : y[s][o] * gain) + c->bias[o];
            worst = fmax(worst, fabs(got - want[o]) / largest);
        }
    }
    return worst;
}

static void check_case(const json_t *root, const json_t *j, double *worst) {
    static struct golden_case c;
    double y[SAMPLES][OUTPUTS];
    read_case(root, j, &c);
    const json_t *alpha = json_object_get(j, "alpha"), *single = json_object_get(j, "output_single");
    double gain = 1;
    if (alpha && number(json_object_get(json_object_get(j, "config"), "forward"), "out_res") <= 0) {
        gain = json_number_value(json_array_get(alpha, 0)); /* what its drift compensation found */
    }
    for (size_t s = 0; s < SAMPLES && !c.torch; s++) {
        double one[SAMPLES][OUTPUTS];
        run_batch(&c, s, 1, one);
        memcpy(y[s], one[s], sizeof y[s]);
    }
    if (c.torch) {
        run_batch(&c, 0, SAMPLES, y);
    }
    double error = worst_error(&c, y, json_object_get(j, "output"), gain);
    if (single) {
        for (size_t s = 0; s < SAMPLES; s++) {
            double one[SAMPLES][OUTPUTS];
            run_batch(&c, s, 1, one);
            memcpy(y[s], one[s], sizeof y[s]);
        }
        error = fmax(error, worst_error(&c, y, single, gain));
    }
    if (!(error <= GOLDEN_TOLERANCE)) {
        fail_msg("%s: %.3g of the largest output (allowed: %g)", c.name, error, GOLDEN_TOLERANCE);
    }
    *worst = fmax(*worst, error);
}

static void golden_cases(void **state) {
    (void)state;
    json_t *root = load_json(golden_path("aihwkit_tile.json"));
    const json_t *cases = json_object_get(root, "cases");
    size_t done = 0;
    double worst = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *j = json_array_get(cases, i);
        if (strncmp(json_string_value(json_object_get(j, "name")), "irdropt", 7) !=
            0) { /* another engine: test_ladder.c */
            check_case(root, j, &worst);
            done++;
        }
    }
    assert_int_equal(done, 52);
    print_message("# %zu cases, worst difference %.2g of the largest output\n", done, worst);
    json_decref(root);
}

/* ---- the same cases as chips ------------------------------------------------------------------------------- */

static void add(char *sets, const char *format, ...) {
    va_list arguments;
    size_t used = strlen(sets);
    va_start(arguments, format);
    vsnprintf(sets + used, 1024 - used, format, arguments);
    va_end(arguments);
    assert_true(strlen(sets) < 1023);
}

static int bits_of(double step) { return (int)lround(log2(1 / step + 2)); }

/* A configuration of aihwkit as keys of a chip. */
static void chip_keys(const json_t *j, const struct golden_case *c, char *sets) {
    static const char *const noise[] = {"none", "abs_max", "abs_max_np_sum", "max", "constant"},
                             *const bound[] = {"none", "iterative", "iterative_worst_case"};
    const json_t *mapping = json_object_get(json_object_get(j, "config"), "mapping");
    const struct phenomena_spec *p = &c->p;
    double omega = number(mapping, "weight_scaling_omega"), most_in = number(mapping, "max_input_size"),
           most_out = number(mapping, "max_output_size");
    sets[0] = 0;
    add(sets,
        "effects.dac_errors=on effects.adc_errors=on effects.wires=on tile.adc.range=static tile.adc.full_scale=%.9g",
        (isfinite(c->bound) ? c->bound : 12) / (omega > 0 ? omega : 1));
    add(sets, " tile.scale=%s", flag(mapping, "weight_scaling_columnwise") ? "per_column" : "per_tile");
    if (!c->perfect && c->input_step > 0) {
        add(sets, " effects.dac=on tile.dac.bits=%d", bits_of(c->input_step));
    }
    if (!c->perfect && isfinite(c->bound) && c->output_step > 0) {
        add(sets, " effects.adc=on tile.adc.bits=%d", bits_of(c->output_step));
    }
    if (most_in > 0) {
        add(sets, " tile.rows=%g", most_in);
    }
    if (most_out > 0) {
        add(sets, " tile.columns=%g", most_out);
    }
    if (c->input_range > 0 || (c->m.noise == NOISE_NONE && !c->perfect)) {
        add(sets, " tile.dac.range=static tile.dac.range_value=%g", c->input_range > 0 ? c->input_range : 1);
    }
    add(sets, " tile.management.noise=%s tile.management.bound=%s tile.management.threshold=%g", noise[c->m.noise],
        bound[c->m.bound], c->m.threshold);
    add(sets, " tile.management.test_negative=%s", c->m.test_negative ? "on" : "off");
    if (c->two_phase) {
        add(sets, " tile.dac.sign=two_phase tile.dac.accumulate=%s", c->digital_sum ? "digital" : "analog");
    }
    if (p->ir_drop > 0) {
        add(sets, " tile.phenomena.ir_drop=%g tile.phenomena.ir_drop_g_ratio=%.9g", p->ir_drop, p->ir_drop_g_ratio);
    }
    if (p->input_asymmetry > 0) {
        add(sets, " tile.phenomena.input_asymmetry=%g tile.phenomena.output_asymmetry=%g", p->input_asymmetry,
            p->output_asymmetry);
    }
    if (p->nonlinearity > 0 || p->slope_calibration > 0) {
        add(sets, " tile.phenomena.nonlinearity=%g tile.phenomena.slope_calibration=%g", p->nonlinearity,
            p->slope_calibration);
    }
    if (p->voltage_offset_spread > 0 || p->series_resistance > 0) {
        add(sets, " tile.phenomena.voltage_offset_spread=%g tile.phenomena.voltage_offset_w_min=%g",
            p->voltage_offset_spread, p->voltage_offset_w_min);
        add(sets, " tile.phenomena.series_resistance=%g", p->series_resistance);
    }
    if (c->drift < 1) {
        add(sets, " effects.drift=on tile.cell=generic tile.cell.drift_sd.value=0 tile.compensation=%s",
            json_object_get(j, "alpha") && strstr(c->name, "compensation") ? "global" : "none");
    }
}

/* Offsets and compression that the case gives column by column. */
static void give_columns(const struct fixture *f, const struct golden_case *c) {
    struct phenomena_column *k = f->machine->arrays[0]->phenomena;
    for (uint32_t o = 0; k && o < OUTPUTS; o++) {
        k[o].voltage_offset = c->tiles[0].k[o].voltage_offset;
        k[o].nonlinearity = c->tiles[0].k[o].nonlinearity;
    }
}

/* Largest difference of one sample, relative to its largest output. */
static double sample_error(const struct golden_case *c, size_t s, const double *got, const double *want) {
    double error = 0, largest = 0, input = 0;
    for (size_t i = 0; i < INPUTS; i++) {
        input = fmax(input, fabs(c->x[s][i]));
    }
    /* A bound without steps (clipping alone) is not a converter here: clipped now. */
    double bound = c->output_step > 0 ? INFINITY : c->bound * input;
    for (size_t o = 0; o < OUTPUTS; o++) {
        error = fmax(error, fabs(clipped(got[o], bound) * c->out_scale + c->bias[o] - want[o]));
        largest = fmax(largest, fabs(want[o]));
    }
    return error / largest;
}

/* Of one result y [SAMPLES][OUTPUTS]. Counts samples where an input lies exactly between two codes (the largest one of
 * an input that was halved; many of sample 3): there the last bit of the step decides. aihwkit's float32 rounds one
 * way, exact steps the other, and either is right: the latter is the multiply above with exact steps. */
static double chip_error(const json_t *j, const struct golden_case *c, const double *y, size_t *edges) {
    const json_t *single = json_object_get(j, "output_single"), *output = json_object_get(j, "output");
    struct golden_case exact = *c;
    double worst = 0, other[SAMPLES][OUTPUTS];
    exact.input_step = c->input_step > 0 ? 0.5 / ((1 << (bits_of(c->input_step) - 1)) - 1) : 0;
    for (size_t s = 0; s < SAMPLES; s++) {
        double want[OUTPUTS];
        numbers(json_array_get(single ? single : output, s), want, OUTPUTS);
        double error = sample_error(c, s, y + s * OUTPUTS, want);
        if (error > GOLDEN_TOLERANCE) {
            run_batch(&exact, s, 1, other);
            error = sample_error(c, s, y + s * OUTPUTS, other[s]);
            ++*edges;
        }
        worst = fmax(worst, error);
    }
    return worst;
}

static void check_chip(const json_t *root, const json_t *j, double *worst, size_t *edges) {
    static struct golden_case c;
    char sets[1024];
    float *w = mem_alloc(OUTPUTS * INPUTS, sizeof *w), x[SAMPLES * INPUTS];
    read_case(root, j, &c);
    chip_keys(j, &c, sets);
    for (size_t i = 0; i < OUTPUTS * INPUTS; i++) {
        w[i] = (float)c.weight[i / INPUTS][i % INPUTS];
    }
    for (size_t i = 0; i < SAMPLES * INPUTS; i++) {
        x[i] = (float)c.x[i / INPUTS][i % INPUTS];
    }
    const json_t *age = json_object_get(j, "t_inference_s");
    struct fixture *f = fixture_open("ideal", sets, OUTPUTS, INPUTS, w, age ? json_number_value(age) : 0);
    give_columns(f, &c);
    double *reference = multiply_reference(f, x, SAMPLES), same[SAMPLES * OUTPUTS];
    float *fast = multiply(f, x, SAMPLES);
    for (size_t i = 0; i < SAMPLES * OUTPUTS; i++) {
        same[i] = (double)fast[i];
    }
    double error = fmax(chip_error(j, &c, reference, edges), chip_error(j, &c, same, edges));
    if (!(error <= GOLDEN_TOLERANCE)) {
        fail_msg("%s: %.3g of the largest output (allowed: %g) with %s", c.name, error, GOLDEN_TOLERANCE, sets);
    }
    *worst = fmax(*worst, error);
    mem_free(reference);
    mem_free(fast);
    fixture_close(f);
}

static void golden_chips(void **state) {
    (void)state;
    json_t *root = load_json(golden_path("aihwkit_tile.json"));
    const json_t *cases = json_object_get(root, "cases");
    size_t done = 0, edges = 0;
    double worst = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *j = json_array_get(cases, i);
        if (strncmp(json_string_value(json_object_get(j, "name")), "irdropt", 7) != 0) {
            check_chip(root, j, &worst, &edges);
            done++;
        }
    }
    assert_int_equal(done, 52);
    assert_true(edges < 20); /* of 520 */
    print_message("# %zu cases, worst difference %.2g of the largest output, %zu samples on a rounding edge\n", done,
                  worst, edges);
    json_decref(root);
}

/* ---- random parts ----------------------------------------------------------------------------------------- */

enum { DRAWS = 20000 };

/* Standard errors: mean sd / sqrt(N), standard deviation sd / sqrt(2 N); four of them. */
static void check_moments(const double *x, size_t n, double mean, double sd) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) {
        squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    }
    assert_near(sum / (double)n, mean, 4 * sd / sqrt((double)n));
    assert_near(sqrt(squares / (double)n), sd, 4 * sd / sqrt(2.0 * (double)n));
}

static void normal(uint64_t what, double *z, size_t n) {
    for (size_t i = 0; i < n; i++) {
        z[i] = (double)random_gaussian(3, random_stream(RANDOM_TEST, what), i);
    }
}

/* What a column keeps: every constant with its spread; the same again; others in other columns and chips. */
static void columns(void **state) {
    (void)state;
    const struct phenomena_spec p = {.output_noise = 0.06,
                                     .output_noise_spread = 0.1,
                                     .nonlinearity = 0.5,
                                     .nonlinearity_spread = 0.2,
                                     .slope_calibration = 0.5,
                                     .voltage_offset_spread = 0.02,
                                     .series_resistance = 0.01};
    static struct phenomena_column k[DRAWS], again[8];
    static double bound[DRAWS], v[DRAWS];
    double mean = 0;
    size_t zeros = 0;
    for (size_t i = 0; i < DRAWS; i++) {
        bound[i] = 12;
    }
    phenomena_columns(&p, 5, PHENOMENA_COLUMN, 0, bound, DRAWS, k);
    for (size_t i = 0; i < DRAWS; i++) {
        v[i] = k[i].noise_sd;
    }
    check_moments(v, DRAWS, 0.06, 0.006);
    for (size_t i = 0; i < DRAWS; i++) {
        v[i] = k[i].nonlinearity * 12;
        mean += v[i] / DRAWS;
    }
    check_moments(v, DRAWS, 0.5, 0.1);
    for (size_t i = 0; i < DRAWS;
         i++) { /* max(spread xi, 0): half are zero; mirrored, the rest is the Gaussian again */
        assert_true(k[i].voltage_offset >= 0);
        zeros += k[i].voltage_offset == 0;
        v[i] = i % 2 ? k[i].voltage_offset : -k[i].voltage_offset;
    }
    assert_near((double)zeros / DRAWS, 0.5, 4 * 0.5 / sqrt(DRAWS));
    check_moments(v, DRAWS, 0, 0.02 / sqrt(2));
    assert_near(k[7].slope, pow(1 + (mean + 0.01 * 12) * 0.5, 2), 1e-12); /* of the tile's mean, not of the column */
    phenomena_columns(&p, 5, PHENOMENA_COLUMN, 4, bound, 8, again);
    assert_true(again[0].noise_sd == k[4].noise_sd && again[0].voltage_offset == k[4].voltage_offset);
    phenomena_columns(&p, 6, PHENOMENA_COLUMN, 4, bound, 8, again);
    assert_true(again[0].noise_sd != k[4].noise_sd);
    bound[0] = (double)INFINITY; /* no bound: nothing that the compression could be a share of */
    phenomena_columns(&p, 5, PHENOMENA_COLUMN, 0, bound, 1, again);
    assert_true(again[0].nonlinearity == 0 && again[0].slope == 1);
}

/* The noise of the result is what independent noise of every weight does: both simulated, against the formula. */
static void weight_noise(void **state) {
    (void)state;
    enum { ROWS = 16 };
    const struct phenomena_column k = {.slope = 1};
    static double z[DRAWS], y[DRAWS], direct[DRAWS];
    double w[ROWS], x[ROWS];
    struct phenomena_sums s;
    for (int type = WEIGHT_NOISE_ADDITIVE; type <= WEIGHT_NOISE_PCM_READ; type++) {
        struct phenomena_spec p = {.weight_noise = 0.05, .weight_noise_type = type};
        double variance = 0;
        for (int i = 0; i < ROWS; i++) {
            w[i] = sin(i + 1), x[i] = cos(3 * i);
            variance += 0.05 * 0.05 * x[i] * x[i] * (type == WEIGHT_NOISE_PCM_READ ? fabs(w[i]) : 1);
        }
        phenomena_sums(w, x, ROWS, &s);
        normal((uint64_t)type, z, DRAWS);
        for (size_t n = 0; n < DRAWS; n++) {
            double per_weight[ROWS];
            y[n] = phenomena_array(&p, &k, &s, ROWS, z[n]);
            direct[n] = 0;
            for (int i = 0; i < ROWS; i++) {
                double xi =
                    (double)random_gaussian(4, random_stream(RANDOM_TEST, (uint64_t)type), n * ROWS + (size_t)i);
                per_weight[i] = w[i] + 0.05 * (type == WEIGHT_NOISE_PCM_READ ? sqrt(fabs(w[i])) : 1) * xi;
                direct[n] += per_weight[i] * x[i];
            }
        }
        check_moments(y, DRAWS, s.product, sqrt(variance));
        check_moments(direct, DRAWS, s.product, sqrt(variance));
    }
}

static void input_noise(void **state) {
    (void)state;
    const struct phenomena_spec p = {.input_noise = 0.01, .input_asymmetry = 0.2};
    static double z[DRAWS], x[DRAWS];
    normal(9, z, DRAWS);
    for (size_t i = 0; i < DRAWS; i++) {
        x[i] = 0.5;
    }
    phenomena_inputs(&p, x, z, DRAWS);
    check_moments(x, DRAWS, 0.5, 0.01);
    for (size_t i = 0; i < DRAWS; i++) {
        x[i] = -0.5;
    }
    phenomena_inputs(&p, x, z, DRAWS);
    check_moments(x, DRAWS, -0.4, 0.008); /* asymmetry after noise */
}

/* Every effect takes its own phenomena away and no others. */
static void switches(void **state) {
    (void)state;
    const struct phenomena_spec all = {.input_noise = 1,
                                       .input_asymmetry = 1,
                                       .output_noise = 1,
                                       .output_asymmetry = 1,
                                       .weight_noise = 1,
                                       .weight_noise_type = WEIGHT_NOISE_PCM_READ,
                                       .ir_drop = 1,
                                       .ir_drop_g_ratio = 1e5,
                                       .nonlinearity = 1,
                                       .voltage_offset_spread = 1,
                                       .series_resistance = 1,
                                       .read_asymmetry_spread = 1};
    const struct effects on = {.read_noise = true, .wires = true, .dac_errors = true, .adc_errors = true}, none = {0};
    struct phenomena_spec p = phenomena_active(&all, &on);
    assert_true(p.any && p.input_noise == 1 && p.weight_noise == 1 && p.ir_drop == 1 && p.series_resistance == 1);
    p = phenomena_active(&all, &none);
    assert_false(p.any);
    struct effects e = none;
    e.wires = true;
    p = phenomena_active(&all, &e);
    assert_true(p.any && p.ir_drop == 1 && p.input_noise == 0 && p.weight_noise == 0 && p.output_noise == 0);
    e = none;
    e.read_noise = true;
    p = phenomena_active(&all, &e);
    assert_true(p.any && p.weight_noise == 1 && p.ir_drop == 0 && p.input_asymmetry == 0 && p.nonlinearity == 0);
    e = none;
    e.dac_errors = true;
    p = phenomena_active(&all, &e);
    assert_true(p.any && p.input_noise == 1 && p.input_asymmetry == 1 && p.ir_drop == 0 &&
                p.voltage_offset_spread == 0);
    struct phenomena_spec noise_without_type = {.weight_noise = 1};
    assert_false(phenomena_active(&noise_without_type, &on).any);
}

/* What the golden cases do not reach: the running mean, thresholds, nothing to multiply, when repeats end, and that a
 * negative clip forgets a positive one where it does not count itself. */
static void management(void **state) {
    (void)state;
    struct management_spec m = {.noise = NOISE_AVERAGE_ABS_MAX,
                                .decay = 0.25,
                                .max_factor = 1000,
                                .max_resolution = 0.25,
                                .assumed_w_max = 0.6};
    const double x[] = {0.5, -2, 1}, negative[] = {-1, -2}, zero[] = {0, 0};
    double average = 0, step = 1.0 / 126;
    assert_near(management_scale(&m, x, 3, step, 12, &average), 0.5, 1e-15);
    assert_near(management_scale(&m, x, 3, step, 12, &average), 0.875, 1e-15);
    m.noise = NOISE_MAX;
    assert_near(management_scale(&m, x, 3, step, 12, &average), 1, 1e-15);
    assert_true(management_scale(&m, negative, 2, step, 12, &average) == 0);
    m.noise = NOISE_ABS_MAX;
    assert_true(management_scale(&m, zero, 2, step, 12, &average) == 0);
    m.noise = NOISE_ABS_MAX_NP_SUM; /* 2 x 0.6 / 0.1 = 12, coarser than max|x| = 2; a step allows 2 x 126 / 4 = 63 */
    assert_near(management_scale(&m, x, 3, step, 0.1, &average), 12, 1e-12);
    assert_near(management_scale(&m, x, 3, step, 0.001, &average), 63, 1e-12);
    struct management_loop l;
    management_begin(&l);
    assert_false(management_repeat(&m, step, true, &l)); /* BOUND_NONE */
    m.bound = BOUND_ITERATIVE;
    int rounds = 1;
    for (; management_repeat(&m, step, true, &l); rounds++) {}
    assert_int_equal(rounds, 5); /* 1, 2, 4, 8, 16 > 0.25 / (2 / 126) */
    assert_true(l.factor == 16);
    management_begin(&l);
    assert_false(management_repeat(&m, step, false, &l));
    m.bound = BOUND_ITERATIVE_WORST_CASE;
    assert_true(management_repeat(&m, step, true, &l) && l.worst_case && l.factor == 1);
    assert_true(management_repeat(&m, step, true, &l) && l.factor == 2);
    management_begin(&l);
    m.max_factor = 2;
    for (rounds = 1; management_repeat(&m, 0, true, &l); rounds++) {}
    assert_int_equal(rounds, 4); /* 1, worst case 1, 2, 4 > 2 */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden_cases), cmocka_unit_test(golden_chips), cmocka_unit_test(columns),
    cmocka_unit_test(weight_noise), cmocka_unit_test(input_noise),  cmocka_unit_test(switches),
    cmocka_unit_test(management),
};

const struct test_suite suite_phenomena = {"phenomena", tests, sizeof tests / sizeof tests[0]};
