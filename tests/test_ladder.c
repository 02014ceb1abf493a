/* Columns of pairs on a resistive wire (sim/ladder.h): against aihwkit's own outputs (golden aihwkit_tile.json, cases
 * irdropt_*), as pure functions and replayed by chips; against the same circuit stepped through time; against nodal
 * analysis.
 *
 * The golden file is float32. With 64 segments its rounded voltages (6e-8 of 0.4 V against some 0.01 V that drive the
 * current, 64 times in a row) are worth 1.4e-5 of the largest output in one of its samples. So its cases are replayed
 * with tile.ladder.precision = single, and the closed form is held against the file at what that rounding is worth.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "sim/ladder.h"
#include "tests/golden.h"
#include "tests/machine_fixture.h"

enum { INPUTS = 40, OUTPUTS = 24, SAMPLES = 5, ROWS = 64, LIMIT = 127, SHIFT = 3 };

/* Of the largest output of a sample: the bound on every deterministic case of the file. */
#define GOLDEN_TOLERANCE 1e-5
/* The same operations in float32, in another order within a sum. */
#define GOLDEN_SINGLE 3e-6
/* What the parameter tile.ladder.precision says of double precision against the file, where there are 64 segments. */
#define GOLDEN_DOUBLE 2e-5

static const struct ladder_spec aihwkit = {.read_V = {.value = 0.2},
                                           .sense_offset_V = {.value = 0.0005},
                                           .oscillator_Hz = {.value = 6.24e9},
                                           .step_s = {.value = 1e-9},
                                           .adc = true};

/* ---- the golden file ---------------------------------------------------------------------------------------- */

struct golden {
    json_t *root;
    float weight[OUTPUTS][INPUTS], x[SAMPLES][INPUTS], plus_S[OUTPUTS][INPUTS], minus_S[OUTPUTS][INPUTS],
        plus_uS[OUTPUTS][INPUTS], minus_uS[OUTPUTS][INPUTS];
    int code[SAMPLES][INPUTS];
    double largest[SAMPLES];
};

struct ladder_case {
    const char *name;
    uint32_t segments; /* 0: wires off */
    bool counted, split;
};
static const struct ladder_case cases[] = {{"irdropt_one_pass_r0_noadc", 0, false, false},
                                           {"irdropt_one_pass_noadc", 64, false, false},
                                           {"irdropt_one_pass_seg8_noadc", 8, false, false},
                                           {"irdropt_one_pass_seg8", 8, true, false},
                                           {"irdropt_split_mode", 8, true, true}};
enum { CASES = sizeof cases / sizeof cases[0] };

static void floats(const json_t *list, float *out, size_t n) {
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)json_number_value(json_array_get(list, i));
    }
}

static void golden_read(struct golden *g) {
    memset(g, 0, sizeof *g);
    g->root = load_json(golden_path("aihwkit_tile.json"));
    for (size_t o = 0; o < OUTPUTS; o++) {
        floats(json_array_get(json_object_get(g->root, "weight"), o), g->weight[o], INPUTS);
        for (size_t i = 0; i < INPUTS; i++) { /* its largest weight is 1: 25 uS */
            g->plus_uS[o][i] = fmaxf(g->weight[o][i], 0) * 25.0f;
            g->minus_uS[o][i] = fmaxf(-g->weight[o][i], 0) * 25.0f;
            g->plus_S[o][i] = g->plus_uS[o][i] * 1e-6f;
            g->minus_S[o][i] = g->minus_uS[o][i] * 1e-6f;
        }
    }
    for (size_t s = 0; s < SAMPLES; s++) {
        floats(json_array_get(json_object_get(g->root, "input"), s), g->x[s], INPUTS);
        for (size_t i = 0; i < INPUTS; i++) {
            g->largest[s] = fmax(g->largest[s], fabs((double)g->x[s][i]));
        }
        for (size_t i = 0; i < INPUTS; i++) {
            g->code[s][i] = (int)lrint((double)g->x[s][i] / g->largest[s] * LIMIT);
        }
    }
}

/* The case's outputs, and that its file says what the table above says. */
static const json_t *golden_case(const struct golden *g, const struct ladder_case *c) {
    const json_t *list = json_object_get(g->root, "cases"), *found = NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        found = strcmp(json_string_value(json_object_get(j, "name")), c->name) == 0 ? j : found;
    }
    assert_non_null(found);
    const json_t *f = json_object_get(json_object_get(found, "config"), "forward");
    assert_near(json_number_value(json_object_get(f, "ir_drop_rs")), 0.15, 1e-12);
    assert_near(json_number_value(json_object_get(f, "ir_drop_v_read")), 0.4005, 1e-12);
    assert_near(json_number_value(json_object_get(f, "adc_frequency")), 6.24, 1e-12);
    assert_true((json_number_value(json_object_get(f, "ir_drop")) > 0) == (c->segments > 0));
    assert_true(c->segments == 0 || json_integer_value(json_object_get(f, "ir_drop_segments")) == (int)c->segments);
    assert_true(json_is_true(json_object_get(f, "adc_quantization")) == c->counted);
    assert_true((strcmp(json_string_value(json_object_get(f, "mv_type")), "SPLIT_MODE") == 0) == c->split);
    return json_object_get(found, "output");
}

/* Error of one sample, of its largest output. */
static double sample_error(const json_t *output, size_t s, const double *got) {
    float want[OUTPUTS];
    double largest = 0, error = 0;
    floats(json_array_get(output, s), want, OUTPUTS);
    for (size_t o = 0; o < OUTPUTS; o++) {
        largest = fmax(largest, fabs((double)want[o]));
        error = fmax(error, fabs(got[o] - (double)want[o]));
    }
    return error / largest;
}

/* Weights for a fixture, which frees them. */
static float *copy_of(const float *w, size_t n) {
    float *copy = mem_alloc(n, sizeof *copy);
    memcpy(copy, w, n * sizeof *copy);
    return copy;
}

/* ---- the same circuit stepped through time ------------------------------------------------------------------ */

/* A column of pairs: plus and minus are conductances. */
struct pairs {
    const float *plus_S, *minus_S;
    uint32_t used, column;
};

/* Current into the converter in uA, in one step. state[i]: 1, -1, 0 of row i. Rails 0.6, 0.2, 0.4 V. */
static double step_current(const struct ladder *l, const struct pairs *c, const int *state, double sense_V) {
    uint32_t length = l->rows / l->segments, first = ladder_position(l, c->used, 0);
    double wire = 1e-6 * l->cell_ohm * length, resistance = 0, v = 0;
    for (uint32_t s = 0; s < l->segments; s++) {
        double on = 0, off = 0, idle = 0;
        for (uint32_t p = s * length; p < (s + 1) * length; p++) {
            uint32_t place = c->column % 2 ? l->rows - 1 - p : p, i = place - first;
            if (place < first || i >= c->used) {
                continue;
            }
            double plus = (double)c->plus_S[i] * 1e6, minus = (double)c->minus_S[i] * 1e6;
            on += state[i] > 0 ? plus : state[i] < 0 ? minus : 0;
            off += state[i] > 0 ? minus : state[i] < 0 ? plus : 0;
            idle += state[i] == 0 ? plus + minus : 0;
        }
        double all = on + off + idle + 1e-12, r2 = 1 / all, here = (0.6 * on + 0.2 * off + 0.4 * idle) / all;
        double r1 = resistance + wire;
        resistance = s == 0 ? r2 : r1 * r2 / (r1 + r2);
        v = s == 0 ? here : (v / r1 + here / r2) * resistance;
    }
    return (v - sense_V) / (resistance + 0.5 * wire);
}

/* Charge in uA x steps: trapezoids with the first step twice, or the sum. */
static double stepped_charge(const struct ladder *l, const struct pairs *c, const int *digit, int most, bool sum) {
    double charge = 0, before = 0;
    int state[ROWS];
    for (int k = 0; k <= most; k++) {
        for (uint32_t i = 0; i < c->used; i++) {
            state[i] = abs(digit[i]) > k ? (digit[i] > 0 ? 1 : -1) : 0;
        }
        double now = step_current(l, c, state, 0.4005);
        charge += sum || k == 0 ? now : (now + before) / 2;
        before = now;
    }
    return charge;
}

/* The same in closed form. */
static double folded_charge(const struct ladder_spec *spec, const struct ladder *l, const float *plus_S,
                            const float *minus_S, const int *digit, uint32_t used, uint32_t column, int most) {
    double share[ROWS], sum_S = 0, output_S = ladder_fold(l, plus_S, minus_S, used, column, share);
    for (uint32_t i = 0; i < used; i++) {
        sum_S += share[i] * ((double)plus_S[i] - (double)minus_S[i]) * ladder_steps(spec, digit[i]);
    }
    return (sum_S - ladder_offset_S(spec, output_S) * ladder_duration(most)) * spec->read_V.value * 1e6;
}

/* ---- pure functions against the file ------------------------------------------------------------------------ */

static double counted(const struct ladder_case *c, double charge_uA) {
    double unit = aihwkit.read_V.value * 1e6;
    return c->counted ? ladder_counted(&aihwkit, charge_uA / unit) * unit : charge_uA;
}

/* The same by steps in float32. */
static double single_charge(const struct golden *g, const struct ladder *l, uint32_t o, const int *digit, int most) {
    float level[INPUTS];
    for (uint32_t i = 0; i < INPUTS; i++) {
        level[i] = (float)ladder_steps(&aihwkit, digit[i]);
    }
    struct ladder_pairs pairs = {g->plus_uS[o], g->minus_uS[o], level, INPUTS, o, most};
    return ladder_stepped(l, &aihwkit, &pairs) * aihwkit.read_V.value * 1e6;
}

static double pass_charge(const struct golden *g, const struct ladder_case *c, uint32_t o, const int *digit, int most,
                          bool single) {
    struct ladder l = {ROWS, c->segments, 0.15};
    double charge = single ? single_charge(g, &l, o, digit, most)
                           : folded_charge(&aihwkit, &l, g->plus_S[o], g->minus_S[o], digit, INPUTS, o, most);
    return counted(c, charge);
}

static double golden_result(const struct golden *g, const struct ladder_case *c, size_t s, uint32_t o, bool single) {
    int low[INPUTS], high[INPUTS], unit = 1 << SHIFT;
    double charge = 0;
    for (uint32_t i = 0; i < INPUTS; i++) {
        low[i] = c->split ? g->code[s][i] % unit : g->code[s][i];
        high[i] = g->code[s][i] / unit;
        charge += ((double)g->plus_S[o][i] - (double)g->minus_S[o][i]) * 1e6 * 0.2 * g->code[s][i];
    }
    if (c->segments > 0) {
        charge = pass_charge(g, c, o, low, c->split ? unit - 1 : LIMIT, single);
        charge += c->split ? unit * pass_charge(g, c, o, high, LIMIT / unit, single) : 0;
    }
    return charge / (25 * 0.2 * LIMIT) * g->largest[s];
}

/* Both precisions; single is the file's own. */
static void golden_functions(void **state) {
    (void)state;
    static struct golden g;
    golden_read(&g);
    for (size_t k = 0; k < CASES; k++) {
        const json_t *output = golden_case(&g, &cases[k]);
        double exact = 0, single = 0, y[OUTPUTS], steps[OUTPUTS];
        for (size_t s = 0; s < SAMPLES; s++) {
            for (uint32_t o = 0; o < OUTPUTS; o++) {
                y[o] = golden_result(&g, &cases[k], s, o, false);
                steps[o] = golden_result(&g, &cases[k], s, o, true);
            }
            exact = fmax(exact, sample_error(output, s, y));
            single = fmax(single, sample_error(output, s, steps));
        }
        print_message("# %s: %.2g of the largest output in double precision, %.2g in single\n", cases[k].name, exact,
                      single);
        assert_true(single <= GOLDEN_SINGLE);
        assert_true(exact <= (cases[k].segments == ROWS ? GOLDEN_DOUBLE : GOLDEN_TOLERANCE));
    }
    json_decref(g.root);
}

/* ---- chips against the file --------------------------------------------------------------------------------- */

#define LADDER                                                                                                         \
    " tile.ladder.cell_ohm=0.15 tile.ladder.read_V=0.2 tile.ladder.sense_offset_V=0.0005 tile.ladder.step_ns=1 "       \
    "tile.ladder.oscillator_GHz=6.24 "

/* Worst difference of one result y [SAMPLES][OUTPUTS] of a chip. */
static double chip_error(const json_t *output, const double *y) {
    double worst = 0;
    for (size_t s = 0; s < SAMPLES; s++) {
        worst = fmax(worst, sample_error(output, s, y + s * OUTPUTS));
    }
    return worst;
}

/* One case on a chip; precision: of tile.ladder. */
static void golden_chip(const struct golden *g, const struct ladder_case *c, const json_t *output,
                        const char *precision, double *reference_error, double *fast_error) {
    char sets[512];
    snprintf(sets, sizeof sets,
             "effects.dac=on effects.adc_errors=on tile.rows=64 tile.scale=per_tile "
             "tile.management.noise=abs_max" LADDER "effects.wires=%s tile.ladder.segments=%u tile.ladder.adc=%s "
             "tile.dac.coding=%s tile.ladder.precision=%s",
             c->segments ? "on" : "off", c->segments ? c->segments : 8, c->counted ? "on" : "off",
             c->split ? "split" : "pulse_width", precision);
    struct fixture *f = fixture_open("ideal", sets, OUTPUTS, INPUTS, copy_of(g->weight[0], OUTPUTS * INPUTS), 0);
    double *reference = multiply_reference(f, g->x[0], SAMPLES), same[SAMPLES * OUTPUTS];
    float *fast = multiply(f, g->x[0], SAMPLES);
    for (size_t i = 0; i < SAMPLES * OUTPUTS; i++) {
        same[i] = (double)fast[i];
    }
    *reference_error = chip_error(output, reference);
    *fast_error = chip_error(output, same);
    mem_free(reference);
    mem_free(fast);
    fixture_close(f);
}

/* All cases with precision single, through the fast multiply and the reference; double differs where the parameter
 * says so. */
static void golden_chips(void **state) {
    (void)state;
    static struct golden g;
    golden_read(&g);
    for (size_t k = 0; k < CASES; k++) {
        const struct ladder_case *c = &cases[k];
        const json_t *output = golden_case(&g, c);
        double reference, fast, closed, closed_fast;
        golden_chip(&g, c, output, "single", &reference, &fast);
        golden_chip(&g, c, output, "double", &closed, &closed_fast);
        print_message("# %s: reference %.2g, fast %.2g of the largest output; in double %.2g, %.2g\n", c->name,
                      reference, fast, closed, closed_fast);
        assert_true(reference <= GOLDEN_TOLERANCE && fast <= GOLDEN_TOLERANCE);
        double bound = c->segments == ROWS ? GOLDEN_DOUBLE : GOLDEN_TOLERANCE;
        assert_true(closed <= bound && closed_fast <= bound);
    }
    json_decref(g.root);
}

/* ---- closed form -------------------------------------------------------------------------------------------- */

static void random_column(uint32_t used, uint64_t which, float *plus_S, float *minus_S, int *digit) {
    for (uint32_t i = 0; i < used; i++) {
        size_t number = 3 * (which * ROWS + i);
        plus_S[i] = uniform(7, number) * 50e-6f;
        minus_S[i] = uniform(7, number + 1) * 50e-6f;
        digit[i] = (int)lrint(30 * (double)uniform(7, number + 2)) - 15;
    }
}

/* Steps in time and the closed form are the same sums: 1e-12 of the current that all devices could carry, and the 1e-12
 * uS from 0 V that aihwkit gives every segment. */
static void closed_form_is_the_steps(void **state) {
    (void)state;
    const struct ladder shapes[] = {{64, 64, 0.15}, {64, 8, 0.15}, {64, 1, 3}, {48, 16, 100}, {64, 32, 0}};
    const uint32_t used[] = {64, 37, 1};
    float plus_S[ROWS], minus_S[ROWS];
    int digit[ROWS];
    for (uint64_t n = 0; n < 60; n++) {
        struct ladder l = shapes[n % 5];
        uint32_t rows = used[n % 3] < l.rows ? used[n % 3] : l.rows, column = (uint32_t)(n / 5 % 2);
        random_column(rows, n, plus_S, minus_S, digit);
        for (int sum = 0; sum <= 1; sum++) {
            struct ladder_spec spec = aihwkit;
            struct pairs pairs = {plus_S, minus_S, rows, column};
            spec.sum = sum;
            double steps = stepped_charge(&l, &pairs, digit, 15, sum),
                   folded = folded_charge(&spec, &l, plus_S, minus_S, digit, rows, column, 15);
            assert_near(folded, steps, 1e-12 * 16 * (rows * 50 * 0.2 + l.segments * 0.4));
        }
    }
}

/* Kirchhoff's law at every node of the wire, one node per row: a tridiagonal system for the voltages against the idle
 * rail, solved by elimination from the converter's end; independent of parallel and series rules. */
static double nodal_current(const struct ladder *l, const float *plus_S, const float *minus_S, const int *state,
                            double sense_V) {
    double wire_S = 1 / l->cell_ohm, diagonal[ROWS], right[ROWS], out_S = 2 * wire_S;
    uint32_t n = l->rows;
    for (uint32_t i = 0; i < n; i++) {
        diagonal[i] = (double)plus_S[i] + (double)minus_S[i] + (i > 0 ? wire_S : 0) + (i + 1 < n ? wire_S : out_S);
        right[i] = state[i] * 0.2 * ((double)plus_S[i] - (double)minus_S[i]) + (i + 1 < n ? 0 : out_S * sense_V);
    }
    for (uint32_t i = n - 1; i > 0; i--) {
        diagonal[i - 1] -= wire_S * wire_S / diagonal[i];
        right[i - 1] += wire_S * right[i] / diagonal[i];
    }
    double v = right[0] / diagonal[0];
    for (uint32_t i = 1; i < n; i++) {
        v = (right[i] + wire_S * v) / diagonal[i];
    }
    return (v - sense_V) * out_S;
}

/* Of the current that all devices could carry: elimination loses digits where the wire conducts 1e5 times a device. */
static void segment_per_row_is_the_exact_network(void **state) {
    (void)state;
    float plus_S[ROWS], minus_S[ROWS];
    int digit[ROWS], sign[ROWS];
    double share[ROWS], worst = 0;
    for (uint64_t n = 0; n < 20; n++) {
        struct ladder l = {ROWS, ROWS, n % 2 ? 0.15 : 20};
        random_column(ROWS, n, plus_S, minus_S, digit);
        double current = 0, output_S = ladder_fold(&l, plus_S, minus_S, ROWS, 0, share);
        for (uint32_t i = 0; i < ROWS; i++) {
            sign[i] = (digit[i] > 0) - (digit[i] < 0);
            current += share[i] * sign[i] * 0.2 * ((double)plus_S[i] - (double)minus_S[i]);
        }
        double error = current - 0.0005 * output_S - nodal_current(&l, plus_S, minus_S, sign, 0.0005);
        worst = fmax(worst, fabs(error) / (ROWS * 50e-6 * 0.2));
    }
    print_message("# worst %.2g of the full current\n", worst);
    assert_true(worst <= 1e-9);
}

/* The last row of an even column and the first of an odd one lie nearest to the converter; a wire of any length ends in
 * 0. */
static void ends(void **state) {
    (void)state;
    float g_S[ROWS], none_S[ROWS] = {0};
    double share[ROWS];
    struct ladder l = {ROWS, ROWS, 10};
    for (int i = 0; i < ROWS; i++) {
        g_S[i] = 25e-6f;
    }
    ladder_fold(&l, g_S, none_S, ROWS, 0, share);
    assert_true(share[0] < share[ROWS - 1] && share[ROWS - 1] < 1);
    ladder_fold(&l, g_S, none_S, ROWS, 1, share);
    assert_true(share[0] > share[ROWS - 1]);
    double one_S = ladder_fold(&l, g_S, none_S, 1, 0, share); /* alone in the middle: half the wire in series */
    assert_near(one_S, 1 / (1 / 25e-6 + 10 * (ROWS - 1 - 31 + 0.5)), 1e-12);
    l.cell_ohm = 1e30;
    assert_true(ladder_fold(&l, g_S, none_S, ROWS, 0, share) < 1e-29 && share[0] == 0 && isfinite(share[ROWS - 1]));
    assert_true(ladder_fold(&l, none_S, none_S, ROWS, 0, share) == 0 && share[0] == 1);
}

/* Whole periods on both sides of a boundary, towards zero. One period of 6.24 GHz at 100 uA in 1 ns: 100 / 6.24 uA x
 * ns. */
static void counter(void **state) {
    (void)state;
    double period = 100 / 6.24 * 1e-6 / 0.2;
    for (int n = -3; n <= 3; n++) {
        int below = n > 0 ? n - 1 : n, above = n < 0 ? n + 1 : n;
        assert_near(ladder_counted(&aihwkit, (n + 1e-9) * period), above * period, 1e-15);
        assert_near(ladder_counted(&aihwkit, (n - 1e-9) * period), below * period, 1e-15);
    }
    assert_true(ladder_steps(&aihwkit, 0) == 0 && ladder_steps(&aihwkit, 7) == 7.5 &&
                ladder_steps(&aihwkit, -7) == -7.5);
}

/* ---- machines ----------------------------------------------------------------------------------------------- */

enum { IN = 45, OUT = 19, TOKENS_HERE = 6 };

static void random_matrix(float *w, float *x) {
    for (size_t i = 0; i < (size_t)IN * OUT; i++) {
        w[i] = random_gaussian(5, random_stream(RANDOM_TEST, 1), i);
    }
    for (size_t i = 0; i < (size_t)IN * TOKENS_HERE; i++) {
        x[i] = random_gaussian(5, random_stream(RANDOM_TEST, 2), i);
    }
}

/* Fast against reference, in parts of the sum of |w x|: single precision (1e-6), without the counter, whose edges a
 * last bit can cross; white noise, 0.4 % of the sum, has its variances in bytes and its sd 0.2 % off: 5e-5, six times
 * the rms that was found, 8e-6 (worst 3.3e-5). Several tiles, rows that leave an odd number of empty places, every
 * coding. */
static void fast_is_the_reference(void **state) {
    (void)state;
    static const char *const more[] = {
        "tile.dac.coding=pulse_width",
        "tile.dac.coding=split",
        "tile.dac.coding=bit_serial",
        "tile.dac.coding=split tile.dac.accumulate=analog",
        "tile.dac.sign=two_phase tile.ladder.sum=on",
        "effects.dac=off",
        "effects.read_noise=on tile.cell.white_noise.relative=0.02 tile.cell.white_noise.absolute_uS=0.1"};
    static float w[OUT * IN], x[TOKENS_HERE * IN];
    random_matrix(w, x);
    for (size_t k = 0; k < sizeof more / sizeof more[0]; k++) {
        char sets[1024];
        snprintf(sets, sizeof sets,
                 "tile.cell=generic effects.wires=on effects.dac=on effects.programming_noise=on tile.rows=32 "
                 "tile.columns=8 tile.ladder.segments=4 tile.ladder.adc=off" LADDER "%s",
                 more[k]);
        struct fixture *f = fixture_open("ideal", sets, OUT, IN, copy_of(w, OUT * IN), 0);
        double *reference = multiply_reference(f, x, TOKENS_HERE);
        float *fast = multiply(f, x, TOKENS_HERE);
        for (uint32_t t = 0; t < TOKENS_HERE; t++) {
            for (uint32_t o = 0; o < OUT; o++) {
                double sizes = 0;
                exact_product(f, x, t, o, &sizes);
                double bound = strstr(more[k], "white_noise") ? 5e-5 : 3e-6;
                assert_near((double)fast[t * OUT + o], reference[t * OUT + o], bound * sizes);
            }
        }
        mem_free(reference);
        mem_free(fast);
        fixture_close(f);
    }
}

/* Single precision: the fast multiply and the reference take the same steps (last bits of a sum apart), and both stay
 * near the closed form; several tiles, columns read at either end, noise of the devices. Few segments: little
 * rounding. */
static void single_is_near_double(void **state) {
    (void)state;
    static const char *const more[] = {"tile.dac.coding=pulse_width", "tile.dac.coding=split",
                                       "tile.dac.sign=two_phase tile.ladder.sum=on"};
    static float w[OUT * IN], x[TOKENS_HERE * IN];
    random_matrix(w, x);
    for (size_t k = 0; k < sizeof more / sizeof more[0]; k++) {
        float *fast[2];
        for (int single = 0; single <= 1; single++) {
            char sets[1024];
            snprintf(sets, sizeof sets,
                     "tile.cell=generic effects.wires=on effects.dac=on effects.programming_noise=on tile.rows=32 "
                     "tile.columns=7 tile.ladder.segments=4 tile.ladder.adc=off" LADDER
                     "tile.ladder.precision=%s %s", single ? "single" : "double", more[k]);
            struct fixture *f = fixture_open("ideal", sets, OUT, IN, copy_of(w, OUT * IN), 0);
            double *reference = multiply_reference(f, x, TOKENS_HERE);
            fast[single] = multiply(f, x, TOKENS_HERE);
            for (uint32_t t = 0; t < TOKENS_HERE; t++) {
                for (uint32_t o = 0; o < OUT; o++) {
                    size_t i = t * OUT + o;
                    double sizes = 0;
                    exact_product(f, x, t, o, &sizes);
                    assert_near((double)fast[single][i], reference[i], 1e-6 * sizes);
                    assert_near((double)fast[single][i], (double)fast[0][i], 2e-5 * sizes);
                }
            }
            mem_free(reference);
            fixture_close(f);
        }
        assert_memory_not_equal(fast[0], fast[1], OUT * TOKENS_HERE * sizeof *fast[0]);
        mem_free(fast[0]);
        mem_free(fast[1]);
    }
}

/* Without the effect a chip with a ladder is the chip without one, bit for bit; with it, it is not. */
static void switched_off(void **state) {
    (void)state;
    static float w[OUT * IN], x[TOKENS_HERE * IN];
    random_matrix(w, x);
    struct fixture *plain = fixture_open("ideal", "effects.dac=on", OUT, IN, copy_of(w, OUT * IN), 0),
                   *off = fixture_open("ideal", "effects.dac=on tile.ladder.segments=8" LADDER, OUT, IN,
                                       copy_of(w, OUT * IN), 0),
                   *on = fixture_open("ideal", "effects.dac=on effects.wires=on tile.ladder.segments=8" LADDER, OUT, IN,
                                      copy_of(w, OUT * IN), 0);
    float *a = multiply(plain, x, TOKENS_HERE), *b = multiply(off, x, TOKENS_HERE), *c = multiply(on, x, TOKENS_HERE);
    assert_memory_equal(a, b, OUT * TOKENS_HERE * sizeof *a);
    assert_memory_not_equal(a, c, OUT * TOKENS_HERE * sizeof *a);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    fixture_close(plain);
    fixture_close(off);
    fixture_close(on);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *sets, *message;
    } bad[] = {
        {"tile.wires.row_ohm=1 tile.wires.column_ohm=1 tile.wires.input_ohm=1 tile.wires.output_ohm=1 "
         "tile.wires.column_fF=1",
         "tile.ladder: tile.wires describes the same wires"},
        {"tile.encoding=offset_column", "tile.ladder: its columns are pairs"},
        {"tile.legs=digital", "tile.ladder: its columns are pairs"},
        {"tile.slices=2 tile.significance=4", "tile.ladder: its columns are pairs"},
        {"tile.dac.coding=amplitude", "tile.dac.coding: tile.ladder switches rails"},
        {"tile.dac.coding=split tile.dac.circuit.model=r_2r tile.dac.circuit.mismatch=0.01 "
         "tile.dac.circuit.noise_LSB=0",
         "tile.dac.circuit.model: tile.ladder switches rails"},
        {"tile.ladder.segments=7", "tile.ladder.segments: 512 rows"},
        {"tile.phenomena.ir_drop=1", "tile.phenomena: not together"},
        {"tile.ladder.precision=single", "tile.ladder.precision: single takes"},
        {"tile.ladder.precision=single effects.dac=on tile.dac.circuit.model=pulse_width "
         "tile.dac.circuit.jitter_LSB=0.1",
         "tile.ladder.precision: single takes"},
        {"tile.ladder.read_V=0", "tile.ladder.read_V"},
        {"tile.ladder.segment=8", "tile.ladder.segment = 8: unknown key"},
    };
    float w[1] = {1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char sets[512];
        struct fixture *f = NULL;
        struct error e;
        snprintf(sets, sizeof sets, "tile.ladder.segments=8" LADDER "%s", bad[i].sets);
        assert_int_equal(fixture_try("ideal", sets, 1, 1, copy_of(w, 1), 0, NULL, 0, &f, &e), ERR_USAGE);
        if (!strstr(e.message, bad[i].message)) {
            fail_msg("%s: %s", bad[i].sets, e.message);
        }
    }
}

#define SET(text) "--set", text

/* A report says that wires are not modelled, unless they are. */
static void report_knows(void **state) {
    (void)state;
    for (int on = 0; on <= 1; on++) {
        const char *const args[] = {"run",
                                    "--json",
                                    "--chip",
                                    "ideal",
                                    "--tokens",
                                    "1",
                                    "--prompt",
                                    "One day",
                                    SET("tile.ladder.cell_ohm=0.15"),
                                    SET("tile.ladder.read_V=0.2"),
                                    SET("tile.ladder.sense_offset_V=0.0005"),
                                    SET("tile.ladder.step_ns=1"),
                                    SET("tile.ladder.oscillator_GHz=6.24"),
                                    SET("tile.ladder.segments=8"),
                                    SET(on ? "effects.wires=on" : "effects.wires=off"),
                                    NULL};
        char *out = NULL, *err = NULL;
        assert_int_equal(run_mho(args, 60, &out, &err), 0);
        assert_non_null(strstr(out, "not_modelled"));
        assert_true((strstr(out, "wire resistance") == NULL) == on);
        mem_free(out);
        mem_free(err);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden_functions),
    cmocka_unit_test(golden_chips),
    cmocka_unit_test(closed_form_is_the_steps),
    cmocka_unit_test(segment_per_row_is_the_exact_network),
    cmocka_unit_test(ends),
    cmocka_unit_test(counter),
    cmocka_unit_test(fast_is_the_reference),
    cmocka_unit_test(single_is_near_double),
    cmocka_unit_test(switched_off),
    cmocka_unit_test(refused),
    cmocka_unit_test(report_knows),
};
const struct test_suite suite_ladder = {"ladder", tests, sizeof tests / sizeof tests[0]};
