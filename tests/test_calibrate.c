/* Ranges of the converters: from the model, from lambda, from calibration; and what calibration refuses. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/sort.h"
#include "tests/machine_fixture.h"

static void unset_ranges_are_refused(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal", "effects.adc=on", 20, 60, NULL, 0);
    float *x = gaussians(60, 2), y[20];
    double d[20];
    struct error e = {0};
    assert_true(machine_needs_calibration(f->machine));
    assert_int_equal(machine_multiply(f->machine, 0, x, 1, 0, f->scratch, y, &f->record, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "layers.3.q: its converter ranges are not set"));
    assert_int_equal(machine_multiply_reference(f->machine, 0, x, 1, 0, NULL, d, &e), ERR_RUN);
    calibrate(f, x, 1);
    assert_false(machine_needs_calibration(f->machine));
    mem_free(multiply(f, x, 1)); /* with headroom, its own data never saturates */
    assert_int_equal(f->record.adc_saturated, 0);
    mem_free(x);
    fixture_close(f);
}

/* Largest |result| of a column and row block (30 inputs each) over T tokens, over the token's largest input, or over
 * `range`. */
static double largest_result(const struct fixture *f, const float *x, int tokens, uint32_t b, uint32_t o,
                             double range) {
    double largest = 0;
    uint32_t inputs = f->source.inputs;
    for (int t = 0; t < tokens; t++) {
        double sum = 0, own = 0;
        for (uint32_t i = 30 * b; i < 30 * b + 30; i++) {
            own = fmax(own, fabs(x[t * inputs + i]));
            sum += (double)f->w[o * inputs + i] * x[t * inputs + i];
        }
        largest = fmax(largest, fabs(sum) / (range > 0 ? range : own));
    }
    return largest;
}

static double column_max(const struct fixture *f, uint32_t b, uint32_t o) {
    double largest = 0;
    for (uint32_t i = 30 * b; i < 30 * b + 30; i++) {
        largest = fmax(largest, fabs(f->w[o * f->source.inputs + i]));
    }
    return largest;
}

/* Full scales against their definition: headroom 1.5 x the largest result; per token, static (dac off, so that the
 * results are exact), and one current for each tile of 10 columns. Single precision: 1e-5. */
static void calibrated_range_is_headroom_times_the_largest(void **state) {
    (void)state;
    enum { K = 60, O = 20, T = 30 };
    static const char *const modes[] = {"", "tile.dac.range=static", "tile.adc.granularity=per_tile"};
    float *x = gaussians(T * K, 2);
    for (int mode = 0; mode < 3; mode++) {
        char sets[256];
        snprintf(sets, sizeof sets, "effects.adc=on tile.rows=30 tile.columns=10 tile.adc.headroom=1.5 %s",
                 modes[mode]);
        struct fixture *f = fixture_open("ideal", sets, O, K, NULL, 0);
        calibrate(f, x, T);
        const struct array *a = f->machine->arrays[0];
        for (uint32_t b = 0; b < 2; b++) {
            for (uint32_t o = 0; o < O; o++) {
                double expected = 1.5 * largest_result(f, x, T, b, o, mode == 1 ? a->input_range[b] : 0);
                for (uint32_t other = o / 10 * 10; mode == 2 && other < o / 10 * 10 + 10; other++) {
                    expected = fmax(expected, 1.5 * largest_result(f, x, T, b, other, 0) / column_max(f, b, other) *
                                                  column_max(f, b, o));
                }
                assert_near(a->full_scale[b * a->columns + o], expected, 1e-5 * expected);
            }
        }
        fixture_close(f);
    }
    mem_free(x);
}

/* In the output head no range is below the median: a word that calibration never made likely is not clipped later. */
static void head_ranges_reach_the_median(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal", "effects.adc=on tile.rows=30 tile.adc.headroom=1.5", 20, 60, NULL, 0);
    f->machine->arrays[0]->source.role = MATRIX_HEAD;
    float *x = gaussians(30 * 60, 2);
    calibrate(f, x, 30);
    for (uint32_t b = 0; b < 2; b++) {
        double own[20], sorted[20];
        for (uint32_t o = 0; o < 20; o++) {
            own[o] = sorted[o] = 1.5 * largest_result(f, x, 30, b, o, 0);
        }
        sort_doubles(sorted, 20);
        assert_true(sorted[0] < 0.99 * sorted[10] &&
                    sorted[19] > 1.01 * sorted[10]); /* some are raised, some are not */
        for (uint32_t o = 0; o < 20; o++) {
            double expected = fmax(own[o], sorted[10]);
            assert_near(f->machine->arrays[0]->full_scale[b * 32 + o], expected, 1e-5 * expected);
        }
    }
    mem_free(x);
    fixture_close(f);
}

/* lambda x max|w|: of the column, of the tile where the tile has one scale and one range, of the column where each
 * column has its own scale. */
static void lambda_range_follows_scale_and_granularity(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        bool of_tile, scale_of_tile;
    } cases[] = {
        {"tile.scale=per_column tile.adc.granularity=per_column", false, false},
        {"tile.scale=per_column tile.adc.granularity=per_tile", false, false},
        {"tile.scale=per_tile tile.adc.granularity=per_column", false, true},
        {"tile.scale=per_tile tile.adc.granularity=per_tile", true, true},
    };
    for (int k = 0; k < 4; k++) {
        char sets[256];
        snprintf(sets, sizeof sets,
                 "effects.adc=on tile.rows=30 tile.columns=10 tile.adc.range=lambda tile.adc.lambda=3 %s",
                 cases[k].sets);
        struct fixture *f = fixture_open("ideal", sets, 20, 60, NULL, 0);
        const struct array *a = f->machine->arrays[0];
        for (uint32_t b = 0; b < 2; b++) {
            for (uint32_t o = 0; o < 20; o++) {
                double mine = column_max(f, b, o), of_tile = 0;
                for (uint32_t other = o / 10 * 10; other < o / 10 * 10 + 10; other++) {
                    of_tile = fmax(of_tile, column_max(f, b, other));
                }
                assert_near(a->weight_scale[b * a->columns + o], cases[k].scale_of_tile ? of_tile : mine, 0);
                assert_near(a->full_scale[b * a->columns + o], 3 * (cases[k].of_tile ? of_tile : mine), 1e-6);
            }
        }
        fixture_close(f);
    }
}

/* While open, results are those of the same drifted machine without an ADC (5e-7 of the sum: one more rounding). */
static void open_calibration_gives_results_without_adc(void **state) {
    (void)state;
    const float range = 2.5f;
    const char *base = "tile.cell=pcm_like tile.compensation=global tile.rows=30 tile.dac.range=static effects=on";
    char sets[256];
    snprintf(sets, sizeof sets, "%s effects.adc=off", base);
    struct fixture *without = fixture_ranges("ideal", sets, 20, 60, NULL, 86400, &range, 1);
    struct fixture *with = fixture_ranges("ideal", base, 20, 60, NULL, 86400, &range, 1);
    float *x = gaussians(3 * 60, 2), *y = multiply(without, x, 3);
    struct error e = {0};
    assert_int_equal(machine_calibration_begin(with->machine, &e), OK);
    float *z = multiply(with, x, 3);
    for (uint32_t i = 0; i < 3 * 20; i++) {
        double sizes;
        exact_product(with, x, i / 20, i % 20, &sizes);
        assert_near(z[i], y[i], 5e-7 * sizes);
    }
    mem_free(z);
    mem_free(y);
    mem_free(x);
    fixture_close(with);
    fixture_close(without);
}

/* Static ranges of inputs +-1 (all of size 1 but one of size 3 in the second block). */
static void static_ranges_follow_the_rule(void **state) {
    (void)state;
    enum { K = 8, T = 50 };
    static const struct {
        const char *rule;
        double expected[2], bound;
    } cases[] = {
        {"maximum", {1, 3}, 0},
        {"standard_deviations tile.dac.static_parameter=2",
         {2 * 1.00251, 2 * 1.02233},
         1e-4}, /* sqrt(200/199), sqrt((208 - 4/200) / 199) */
        {"quantile tile.dac.static_parameter=0.99",
         {1, 1.0219},
         1e-4}, /* the largest of a block limits; else the bin's upper edge 2^(1/32) */
    };
    float x[T * K];
    for (int i = 0; i < T * K; i++) {
        x[i] = i % 2 ? 1.0f : -1.0f;
    }
    x[5] = 3;
    for (int k = 0; k < 3; k++) {
        char sets[256];
        snprintf(sets, sizeof sets, "effects.dac=on tile.rows=4 tile.dac.range=static tile.dac.static_rule=%s",
                 cases[k].rule);
        struct fixture *f = fixture_open("ideal", sets, 3, K, NULL, 0);
        assert_true(machine_static_without_ranges(f->machine) && machine_needs_calibration(f->machine));
        calibrate(f, x, T);
        for (int b = 0; b < 2; b++) {
            assert_near(f->machine->arrays[0]->input_range[b], cases[k].expected[b], cases[k].bound + 1e-6);
        }
        fixture_close(f);
    }
}

static void ranges_of_the_model_win(void **state) {
    (void)state;
    const float ranges[] = {2, 5, 7};
    struct fixture *f = fixture_ranges("afm", "tile.rows=30", 20, 60, NULL, 0, ranges, 2);
    assert_false(machine_static_without_ranges(f->machine) || machine_needs_calibration(f->machine));
    assert_true(f->machine->arrays[0]->input_range[0] == 2 && f->machine->arrays[0]->input_range[1] == 5);
    fixture_close(f);
    struct error e = {0};
    assert_int_equal(fixture_try("afm", "tile.rows=30", 20, 60, NULL, 0, ranges, 3, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "brings 3 input ranges (allowed: 1, or 2"));
    const float bad = 0;
    assert_int_equal(fixture_try("afm", "", 20, 60, NULL, 0, &bad, 1, &f, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "input range 0 is 0"));
}

static void calibration_refuses_what_it_cannot_do(void **state) {
    (void)state;
    struct error e = {0};
    struct fixture *f = fixture_open("afm", "", 20, 60, NULL, 0);
    assert_int_equal(machine_calibration_finish(f->machine, &e), ERR_USAGE);
    assert_int_equal(machine_calibration_begin(f->machine, &e), OK);
    assert_int_equal(machine_calibration_begin(f->machine, &e), ERR_USAGE);
    assert_int_equal(machine_calibration_finish(f->machine, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "layers.3.q: no input reached it"));
    assert_int_equal(machine_calibration_begin(f->machine, &e), OK);
    float zeros[60] = {0};
    mem_free(multiply(f, zeros, 1));
    assert_int_equal(machine_calibration_finish(f->machine, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "row block 0, inputs 0 to 59"));
    assert_true(machine_needs_calibration(f->machine));
    fixture_close(f);
}

/* Zero weights, zero inputs, and a column that was silent in calibration: zeros, never NaN. */
static void zeros_stay_zeros(void **state) {
    (void)state;
    float *w = gaussians(20 * 60, 1);
    memset(w + 5 * 60, 0, 60 * sizeof *w);
    struct fixture *f = fixture_open("pcm256", "", 20, 60, w, 0);
    float *x = gaussians(3 * 60, 2);
    memset(x, 0, 60 * sizeof *x);
    x[60] = 1e-40f; /* below the smallest range, with the rest of its token */
    memset(x + 61, 0, 59 * sizeof *x);
    calibrate(f, x, 3);
    float *y = multiply(f, x, 3);
    for (int o = 0; o < 20; o++) {
        assert_true(y[o] == 0 && y[20 + o] == 0);
        assert_int_equal(y[40 + o] == 0, o == 5);
    }
    mem_free(y);
    mem_free(x);
    fixture_close(f);
}

/* A column that only ever gave 0 in calibration has range 0: later it reads 0, and counts as saturated when it should
 * not. */
static void silent_columns_saturate(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal", "effects.dac=on effects.adc=on", 16, 16, identity(16), 0);
    float x[16] = {1, 1, 1, 0, 1};
    calibrate(f, x, 1);
    x[3] = 1;
    float *y = multiply(f, x, 1);
    double *r = multiply_reference(f, x, 1);
    for (int o = 0; o < 16; o++) {
        assert_near(y[o], o != 3 && x[o] != 0, 0.01); /* one step of 1.2 / 127 */
        assert_near(r[o], o != 3 && x[o] != 0, 0.01);
    }
    assert_int_equal(f->record.adc_saturated, 1);
    mem_free(r);
    mem_free(y);
    fixture_close(f);
}

static void calibration_only_where_needed(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        bool needed;
    } rows[] = {{"tile.adc.range=calibrated", true},
                {"tile.adc.range=lambda", false},
                {"tile.adc.range=lambda tile.dac.range=static", true},
                {"effects=off", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture *f = fixture_open("pcm256", rows[i].sets, 8, 16, NULL, 0);
        assert_int_equal(machine_needs_calibration(f->machine), rows[i].needed);
        fixture_close(f);
    }
}

/* ---- rules ---------------------------------------------------------------------------------------------------- */

/* Mean square of clipping at `clip` and of rounding to steps of clip / limit (step^2 / 12 for every value), from the
 * values themselves. */
static double mean_square(const float *x, size_t n, double clip, int limit) {
    double sum = 0, step = clip / limit;
    for (size_t i = 0; i < n; i++) {
        double over = fmax(fabs(x[i]) - clip, 0);
        sum += over * over;
    }
    return sum / n + step * step / 12;
}

/* The clip point that the rule takes is as good as the best of a fine search, within the width of a bin; for coarse
 * steps it lies well inside the data (normal numbers, 3 bits: 2 to 3 sd), for fine ones near the largest. */
static void mean_square_rule_is_the_best_clip(void **state) {
    (void)state;
    enum { T = 50, K = 64 };
    float *x = gaussians(T * K, 5);
    static const int bits[] = {3, 4, 8, 12};
    for (int k = 0; k < 4; k++) {
        char sets[256];
        snprintf(sets, sizeof sets,
                 "effects.dac=on tile.rows=64 tile.dac.range=static tile.dac.static_rule=mean_square tile.dac.bits=%d",
                 bits[k]);
        struct fixture *f = fixture_open("ideal", sets, 3, K, NULL, 0);
        calibrate(f, x, T);
        double clip = f->machine->arrays[0]->input_range[0], best = INFINITY, largest = 0;
        int limit = f->machine->dac.limit;
        for (int i = 0; i < T * K; i++) {
            largest = fmax(largest, fabs(x[i]));
        }
        for (int i = 1; i <= 500; i++) {
            best = fmin(best, mean_square(x, T * K, largest * i / 500, limit));
        }
        double got = mean_square(x, T * K, clip, limit);
        if (!(got <= 1.02 * best && got >= 0.999 * best)) {
            fail_msg("%d bits: clip %g of %g: %g, best %g", bits[k], clip, largest, got, best);
        }
        assert_true(bits[k] > 3 || (clip > 1.8 && clip < 3.2));
        fixture_close(f);
    }
    mem_free(x);
}

/* Full scales by quantile: of the sorted |results| / range of a column (identity: the inputs themselves, without DAC),
 * at most one bin of 1/8 octave too large, never too small. */
static void adc_quantile_is_that_of_the_results(void **state) {
    (void)state;
    enum { N = 16, T = 60 };
    static const char *const granularities[] = {"per_column", "per_tile"};
    float *x = gaussians(T * N, 6);
    for (int tile = 0; tile < 2; tile++) {
        char sets[256];
        snprintf(sets, sizeof sets,
                 "effects.adc=on tile.dac.range=static tile.dac.range_value=2 tile.adc.rule=quantile "
                 "tile.adc.rule_parameter=0.9 tile.adc.headroom=1 tile.adc.granularity=%s",
                 granularities[tile]);
        struct fixture *f = fixture_open("ideal", sets, N, N, identity(N), 0);
        calibrate(f, x, T);
        for (int o = 0; o < N; o++) {
            double sorted[T * N];
            int n = 0;
            for (int i = 0; i < T * N; i++) {
                if (tile || i % N == o) {
                    sorted[n++] = fabs(x[i]) / 2;
                }
            }
            sort_doubles(sorted, n);
            double low = sorted[(int)ceil(0.9 * n) - 1], full = f->machine->arrays[0]->full_scale[o];
            assert_true(full >= low * (1 - 1e-6) && full <= low * 1.0906);
        }
        fixture_close(f);
    }
    mem_free(x);
}

/* The chip's own range wins over the model's; a static ADC range is that many weight scales. */
static void static_values_are_taken(void **state) {
    (void)state;
    const float range = 7;
    struct fixture *f = fixture_ranges("ideal",
                                       "effects.dac=on effects.adc=on tile.dac.range=static tile.dac.range_value=2.5 "
                                       "tile.adc.range=static tile.adc.full_scale=3 tile.rows=30",
                                       20, 60, NULL, 0, &range, 1);
    assert_false(machine_needs_calibration(f->machine));
    const struct array *a = f->machine->arrays[0];
    for (uint32_t b = 0; b < 2; b++) {
        assert_near(a->input_range[b], 2.5, 0);
        for (uint32_t o = 0; o < 20; o++) {
            assert_near(a->full_scale[b * a->columns + o], 3 * column_max(f, b, o), 1e-5);
        }
    }
    fixture_close(f);
}

/* ---- correction ------------------------------------------------------------------------------------------------- */

static double rms_error(struct fixture *f, const float *x, int tokens) {
    float *y = multiply(f, x, tokens);
    double sum = 0;
    for (int t = 0; t < tokens; t++) {
        for (uint32_t o = 0; o < f->source.outputs; o++) {
            double sizes, off = y[t * f->source.outputs + o] - exact_product(f, x, t, o, &sizes);
            sum += off * off;
        }
    }
    mem_free(y);
    return sqrt(sum / (tokens * f->source.outputs));
}

/* Converters with 5 % of gain and 20 of 2047 codes of offset; no noise, 12 bits: what the correction leaves is
 * rounding. The gain of a column undoes that of its converter (1e-3: rounding of 64 vectors). */
static void correction_undoes_gain_and_offset(void **state) {
    (void)state;
    enum { T = 20 };
    float *x = gaussians(T * 60, 2);
    double off[2];
    for (int on = 0; on < 2; on++) {
        char sets[512];
        snprintf(sets, sizeof sets,
                 "effects.adc=on effects.adc_errors=on tile.rows=30 tile.adc.bits=12 tile.adc.range=lambda "
                 "tile.adc.circuit.model=ramp tile.adc.circuit.gain_spread=0.05 tile.adc.circuit.offset_LSB=20 "
                 "tile.adc.circuit.noise_LSB=0 tile.correction=%s",
                 on ? "affine" : "none");
        struct fixture *f = fixture_open("ideal", sets, 20, 60, NULL, 0);
        const struct array *a = f->machine->arrays[0];
        off[on] = rms_error(f, x, T);
        for (uint32_t i = 0; on && i < 2 * a->columns; i++) {
            if (i % a->columns < 20) {
                assert_near(a->correction_gain[i] * a->adc_gain[i], 1, 1e-3);
            }
        }
        assert_int_equal(machine_calibration(f->machine).correction_mvms, on ? 64 * 2 : 0);
        fixture_close(f);
    }
    assert_true(off[1] < 0.05 * off[0]);
    mem_free(x);
}

enum { PAIR_INPUTS = 48, PAIR_OUTPUTS = 40 };

/* Squares of what the tile is off: [PAIR_OUTPUTS] summed over tokens, and per token, summed over outputs. */
static void squares(struct fixture *f, bool corrected, const float *x, uint32_t tokens, uint64_t first_read,
                    double *of_output, double *of_token) {
    float *y = mem_alloc((size_t)tokens * PAIR_OUTPUTS, sizeof *y), *gain = f->machine->arrays[0]->correction_gain;
    struct error e = {0};
    f->machine->arrays[0]->correction_gain = corrected ? gain : NULL;
    assert_int_equal(machine_multiply(f->machine, 0, x, tokens, first_read, f->scratch, y, &f->record, &e), OK);
    f->machine->arrays[0]->correction_gain = gain;
    memset(of_output, 0, PAIR_OUTPUTS * sizeof *of_output);
    memset(of_token, 0, tokens * sizeof *of_token);
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t o = 0; o < PAIR_OUTPUTS; o++) {
            double sizes, off = (double)y[t * PAIR_OUTPUTS + o] - exact_product(f, x, t, o, &sizes);
            of_output[o] += off * off;
            of_token[t] += off * off;
        }
    }
    mem_free(y);
}

#define NOISY                                                                                                          \
    "effects.dac=on effects.adc=on effects.adc_errors=on tile.adc.circuit.model=ramp "                                 \
    "tile.adc.circuit.gain_spread=0.005 tile.adc.circuit.offset_LSB=0.2 tile.adc.circuit.noise_LSB=2 "
#define CLIPPING "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale="

static const struct correction_case {
    const char *chip, *sets;
    uint32_t calibration; /* inputs that the ranges are calibrated on */
} correction_cases[] = {
    {"pcm256", "", 1},
    {"pcm256", "", 2},
    {"pcm256", "tile.correction_vectors=16", 2},
    {"pcm256", "tile.adc.headroom=0.5", 5},
    {"pcm256", "tile.adc.granularity=per_column tile.adc.headroom=1", 3},
    {"pcm256", "", 20},
    {"ideal", NOISY, 3},
    {"ideal", NOISY "tile.correction_vectors=16", 20},
    {"ideal", CLIPPING "2 tile.dac.range=static tile.dac.range_value=3", 0},
    {"ideal", CLIPPING "0.5", 0},
    {"ideal", CLIPPING "0.5 tile.encoding=offset_column", 0},
};

static struct fixture *open_case(const struct correction_case *k) {
    char sets[700];
    snprintf(sets, sizeof sets, "%s tile.correction=affine", k->sets);
    struct fixture *f = fixture_open(k->chip, sets, PAIR_OUTPUTS, PAIR_INPUTS, NULL, 0);
    float *x = gaussians(20 * PAIR_INPUTS, 2);
    calibrate(f, x, k->calibration);
    mem_free(x);
    return f;
}

/* On the vectors that it was fitted to, with the same noise, columns together get no worse (1e-5: single precision). */
static void correction_helps_its_own_vectors(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof correction_cases / sizeof correction_cases[0]; k++) {
        struct fixture *f = open_case(&correction_cases[k]);
        const struct array *a = f->machine->arrays[0];
        uint32_t n = (uint32_t)f->machine->spec->tile.correction_vectors;
        float *x = mem_alloc((size_t)n * PAIR_INPUTS, sizeof *x), range = a->input_range ? a->input_range[0] : 0;
        double off[2][PAIR_OUTPUTS], of_token[MAX_TOKENS];
        random_gaussian_fill(7, random_stream(RANDOM_CONVERTER, 0xE0), 0, x, (size_t)n * PAIR_INPUTS);
        for (size_t i = 0; i < (size_t)n * PAIR_INPUTS; i++) {
            x[i] *= (range > 0 ? range : 1) / 3;
            x[i] = range > 0 ? fmaxf(fminf(x[i], range), -range) : x[i];
        }
        for (int on = 0; on < 2; on++) {
            squares(f, on, x, n, 0x12345678901u, off[on], of_token);
        }
        double sum[2] = {0};
        for (uint32_t o = 0; o < PAIR_OUTPUTS; o++) {
            sum[0] += off[0][o];
            sum[1] += off[1][o];
        }
        if (!(sum[1] <= sum[0] * (1 + 1e-5))) {
            fail_msg("%s %s: %g with correction, %g without", correction_cases[k].chip, correction_cases[k].sets,
                     sum[1], sum[0]);
        }
        struct machine_calibration c = machine_calibration(f->machine);
        assert_int_equal(c.columns_corrected + c.columns_left, PAIR_OUTPUTS);
        assert_int_equal(c.test_results, n * PAIR_OUTPUTS);
        for (uint32_t o = 0; o < PAIR_OUTPUTS; o++) { /* a column that is left stays as it is, and is counted */
            c.columns_left -= a->correction_gain[o] >= 1 && a->correction_gain[o] <= 1 &&
                              a->correction_offset[o] >= 0 && a->correction_offset[o] <= 0;
        }
        assert_int_equal(c.columns_left, 0);
        mem_free(x);
        fixture_close(f);
    }
}

/* On 64 inputs that neither ranges nor fit have seen: the mean of the difference of the squares, with minus without
 * correction, is at most 3 of its standard errors above 0. */
static void correction_is_harmless_on_fresh_inputs(void **state) {
    (void)state;
    enum { T = 64 };
    float *fresh = gaussians(T * PAIR_INPUTS, 3);
    for (size_t k = 0; k < sizeof correction_cases / sizeof correction_cases[0]; k++) {
        struct fixture *f = open_case(&correction_cases[k]);
        double of_output[PAIR_OUTPUTS], off[2][T], mean = 0, square = 0, before = 0;
        for (int on = 0; on < 2; on++) {
            squares(f, on, fresh, T, 0, of_output, off[on]);
        }
        for (int t = 0; t < T; t++) {
            mean += (off[1][t] - off[0][t]) / T;
            square += (off[1][t] - off[0][t]) * (off[1][t] - off[0][t]) / T;
            before += off[0][t] / T;
        }
        double error = sqrt((square - mean * mean) / T);
        if (!(mean <= 3 * error)) {
            fail_msg("%s %s: squares %g without correction, %g more with it, standard error %g",
                     correction_cases[k].chip, correction_cases[k].sets, before, mean, error);
        }
        fixture_close(f);
    }
    mem_free(fresh);
}

/* 256 columns whose gains differ by a known spread, in noise. Each alone would know its gain within its standard error
 * s, whatever the spread. Columns that do not differ share what they know: their gains and offsets are off by a quarter
 * of s at most (s / 16 is the mean's, the rest the chance of the estimated spread). Where they differ by d, the best
 * is d s / (d^2 + s^2)^(1/2): 15 %, three standard errors of a root mean square over 256. */
static void columns_share_what_they_have_in_common(void **state) {
    (void)state;
    enum { COLUMNS = 256 };
    static const double spreads[3] = {0, 0.02, 0.2}; /* at 0.2 each has its own fit: that gives s */
    double gain[3] = {0}, offset[3] = {0};
    for (size_t k = 0; k < 3; k++) {
        char sets[600];
        snprintf(sets, sizeof sets,
                 "effects.adc=on effects.adc_errors=on tile.rows=60 tile.columns=256 tile.adc.bits=12 "
                 "tile.adc.range=lambda tile.adc.circuit.model=ramp tile.adc.circuit.offset_LSB=0 "
                 "tile.adc.circuit.noise_LSB=30 tile.correction=affine tile.adc.circuit.gain_spread=%g", spreads[k]);
        struct fixture *f = fixture_open("ideal", sets, COLUMNS, 60, NULL, 0);
        const struct array *a = f->machine->arrays[0];
        for (uint32_t o = 0; o < COLUMNS; o++) {
            double off = (double)a->correction_gain[o] * (a->adc_gain ? (double)a->adc_gain[o] : 1) - 1,
                   result = sqrt(60) / 3; /* of weights with sd 1, in units of the input range */
            gain[k] += off * off / COLUMNS;
            offset[k] += pow((double)a->correction_offset[o] / result, 2) / COLUMNS;
        }
        gain[k] = sqrt(gain[k]);
        offset[k] = sqrt(offset[k]);
        fixture_close(f);
    }
    double s = gain[2], d = spreads[1];
    print_message("# gains off by %.4f %.4f %.4f, offsets by %.4f\n", gain[0], gain[1], s, offset[0]);
    assert_true(s > 0.015 && s < 0.03);
    assert_true(gain[0] < s / 4 && offset[0] < s / 4);
    assert_near(gain[1], d * s / sqrt(d * d + s * s), 0.15 * gain[1]);
}

/* Nothing to learn from: every result is clipped, or there is no error at all. Too few vectors are refused. */
static void columns_without_a_fit_are_left(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal", CLIPPING "1e-4 tile.correction=affine", 20, 30, NULL, 0);
    struct machine_calibration c = machine_calibration(f->machine);
    assert_int_equal(c.columns_left, 20);
    assert_int_equal(c.columns_corrected, 0);
    assert_true(c.test_results_clipped > 0.99 * 20 * 64);
    fixture_close(f);
    f = fixture_open("ideal", "effects.dac=on effects.adc=on tile.adc.range=lambda tile.correction=affine", 20, 30,
                     NULL, 0);
    assert_true(machine_calibration(f->machine).test_results_clipped == 0);
    /* rounding alone: steps of 12 max|w| / 127, results of (30)^(1/2) / 3; of 64 vectors, 2 standard errors */
    double step = 12 * 2.5 / 127, tolerance = 2 * step / sqrt(12) / (sqrt(30) / 3) / sqrt(64);
    for (uint32_t i = 0; i < 20; i++) {
        assert_near(f->machine->arrays[0]->correction_gain[i], 1, tolerance);
    }
    /* dead columns in noise: their slope is chance, and the others do not learn from it */
    fixture_close(f);
    f = fixture_open("ideal", NOISY "effects.faults=on tile.faults.dead_columns=0.2 tile.correction=affine "
                     "tile.encoding=one_device tile.adc.range=lambda", 40, 30, NULL, 0);
    c = machine_calibration(f->machine);
    assert_true(c.columns_left > 0 && c.columns_left < 20);
    assert_int_equal(c.columns_left, machine_faults(f->machine).dead_columns);
    for (uint32_t i = 0; i < 40; i++) {
        assert_near(f->machine->arrays[0]->correction_gain[i], 1, 0.05);
    }
    fixture_close(f);
    struct error e = {0};
    static const char few[] = "tile.correction=affine tile.correction_vectors=15";
    assert_int_equal(fixture_try("ideal", few, 4, 4, NULL, 0, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.correction_vectors = 15: out of range (allowed: a whole number from 16"));
}

/* Devices that lose the same share: the gain undoes what drift took until the fit, (t / 20 s + 1)^0.1, and nothing
 * after it. Two tiles of 64 vectors each time. Single precision and 64 vectors of a sum: 1e-5. */
static void correction_follows_its_schedule(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double age_s, fit_s;
        uint64_t times;
    } cases[] = {
        {"", 0, 0, 1},
        {"", 5000, 0, 1},
        {"tile.correction_period_s=1000", 999, 0, 1},
        {"tile.correction_period_s=1000", 1000, 1000, 2},
        {"tile.correction_period_s=1000", 2999, 2000, 3},
        {"tile.refresh_period_s=1500", 3600, 0, 3},
        {"tile.refresh_period_s=1500 tile.correction_period_s=500", 4100, 1000, 9},
        {"tile.refresh_period_s=1500 tile.correction_period_s=400", 3500, 400, 10},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[512];
        snprintf(sets, sizeof sets,
                 "tile.cell=pcm_like effects.drift=on tile.cell.drift_mean=[0,0.1,0.1,0.1] "
                 "tile.cell.drift_sd=[0,0,0,0] tile.rows=30 tile.correction=affine %s",
                 cases[k].sets);
        struct fixture *f = fixture_open("ideal", sets, 20, 60, NULL, cases[k].age_s);
        const struct array *a = f->machine->arrays[0];
        for (uint32_t i = 0; i < 2 * a->columns; i++) {
            if (i % a->columns < 20) {
                assert_near(a->correction_gain[i], pow(cases[k].fit_s / 20 + 1, 0.1), 1e-5);
            }
        }
        assert_int_equal(machine_calibration(f->machine).corrections, cases[k].times);
        assert_int_equal(machine_calibration(f->machine).correction_mvms, cases[k].times * 64 * 2);
        fixture_close(f);
    }
}

/* Time and energy of every fit, with noisy converters and calibrated ranges; a period shorter than its 64 vectors of
 * 132.9 ns is refused. */
static void corrections_cost_each_time(void **state) {
    (void)state;
    static const char sets[] = "tile.rows=30 tile.columns=16 tile.correction=affine tile.compensation=none";
    char often[256];
    float *x = gaussians(20 * 60, 2);
    struct machine_calibration c[2];
    for (int i = 0; i < 2; i++) {
        snprintf(often, sizeof often, "%s tile.correction_period_s=%d", sets, i ? 1000 : 0);
        struct fixture *f = fixture_open("pcm256", often, 40, 60, NULL, 3600);
        calibrate(f, x, 20);
        c[i] = machine_calibration(f->machine);
        fixture_close(f);
    }
    mem_free(x);
    assert_near(c[0].seconds * 1e9, 64 * 132.9, 1e-3);
    assert_near(c[1].seconds * 1e9, 4 * 64 * 132.9, 1e-3);
    assert_true(c[1].joules > 3.5 * c[0].joules && c[1].joules < 4.1 * c[0].joules); /* less current after drift */
    struct fixture *f = NULL;
    struct error e = {0};
    snprintf(often, sizeof often, "%s tile.correction_period_s=8.5e-6", sets);
    assert_int_equal(fixture_try("pcm256", often, 4, 4, NULL, 0, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.correction_period_s: 8.5e-06 s, but 64 test vectors take 8.5056e-06 s"));
    snprintf(often, sizeof often, "%s tile.correction_period_s=8.6e-6", sets);
    fixture_close(fixture_open("pcm256", often, 4, 4, NULL, 0));
}

/* pcm256 on tiles of 30 x 16: readouts at programming and at an age; the same on a schedule; seconds by hand: every
 * input of a tile once. */
static void readouts_are_counted(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double age_s;
        uint64_t readouts;
    } cases[] = {
        {"tile.compensation=none", 3600, 0},
        {"", 0, 1},
        {"", 3600, 2},
        {"tile.compensation=exact_reference", 3600, 1},
        {"tile.compensation_period_s=1000", 3600, 4},
        {"tile.refresh_period_s=1500", 3600, 4},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[256];
        snprintf(sets, sizeof sets, "tile.rows=30 tile.columns=16 %s", cases[k].sets);
        struct fixture *f = fixture_open("pcm256", sets, 40, 60, NULL, cases[k].age_s);
        struct machine_calibration c = machine_calibration(f->machine);
        assert_int_equal(c.readout_mvms, cases[k].readouts * 60 * 3);
        assert_near(c.seconds * 1e9, cases[k].readouts * 30 * 132.9, 1e-3);
        assert_true(cases[k].readouts ? c.joules > 0 : c.joules == 0);
        fixture_close(f);
    }
}

/* Three copies of a matrix at the same time: three times the devices, pulses, readouts, test vectors and joules of one,
 * in the same seconds; the programming and the calibration after a refresh, too. */
static void copies_are_set_up_like_one(void **state) {
    (void)state;
    struct machine_calibration c[2];
    struct machine_programming p[2];
    for (int i = 0; i < 2; i++) {
        char sets[256];
        snprintf(sets, sizeof sets,
                 "tile.rows=30 tile.columns=16 tile.correction=affine tile.refresh_period_s=3000 placement.copies=q=%d",
                 i ? 3 : 1);
        struct fixture *f = fixture_open("pcm256", sets, 40, 60, NULL, 3600);
        float *x = gaussians(20 * 60, 2);
        calibrate(f, x, 20);
        mem_free(x);
        c[i] = machine_calibration(f->machine);
        p[i] = machine_programming(f->machine);
        fixture_close(f);
    }
    assert_int_equal(p[1].devices, 3 * p[0].devices);
    assert_int_equal(p[1].pulses, 3 * p[0].pulses);
    assert_near(p[1].joules, 3 * p[0].joules, 1e-12 * p[1].joules);
    assert_near(p[1].seconds, p[0].seconds, 0);
    assert_int_equal(c[0].readout_mvms, 3 * 60 * 3);
    assert_int_equal(c[1].readout_mvms, 3 * 3 * 60 * 3);
    assert_int_equal(c[0].correction_mvms, 2 * 64 * 2 * 3);
    assert_int_equal(c[1].correction_mvms, 3 * 2 * 64 * 2 * 3);
    assert_near(c[1].joules, 3 * c[0].joules, 1e-12 * c[1].joules);
    assert_near(c[1].seconds, c[0].seconds, 0);
    assert_true(c[0].joules > 0);
}

/* Capacitors: V^2 C of every cell that is on, once per readout, beside the conversions. 60 x 40 weights of 1, each one
 * capacitor of 1 fF; 60 x 30 inputs on 3 column blocks, 60 x 40 results. Single precision adds the cells: 1e-6. */
static void charge_readouts_cost_charge(void **state) {
    (void)state;
    float *w = mem_alloc(60 * 40, sizeof *w);
    for (size_t i = 0; i < 60 * 40; i++) {
        w[i] = 1;
    }
    struct fixture *f = fixture_open("pcm256",
                                     "tile.rows=30 tile.columns=16 tile.cell=sram_capacitor effects=off "
                                     "tile.dac.coding=amplitude tile.dac.energy_J=1e-18 tile.adc.energy_J=1e-18 "
                                     "tile.post.energy_J=1e-18",
                                     40, 60, w, 0);
    double volts = chip_spec_of(f->chip)->tile.read_voltage_V.value;
    double expected_J = volts * volts * 60 * 40 * 1e-15 + (60 * 30 * 3 + 2 * 60 * 40) * 1e-18;
    assert_near(machine_calibration(f->machine).joules / expected_J, 1, 1e-6);
    fixture_close(f);
}

/* A chip without costs knows no time and no energy, not even of nothing. */
static void calibration_without_costs_is_not_known(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal", "", 4, 4, NULL, 0);
    assert_true(isnan(machine_calibration(f->machine).seconds) && isnan(machine_calibration(f->machine).joules));
    fixture_close(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(charge_readouts_cost_charge),
    cmocka_unit_test(calibration_without_costs_is_not_known),
    cmocka_unit_test(mean_square_rule_is_the_best_clip),
    cmocka_unit_test(adc_quantile_is_that_of_the_results),
    cmocka_unit_test(static_values_are_taken),
    cmocka_unit_test(correction_undoes_gain_and_offset),
    cmocka_unit_test(correction_helps_its_own_vectors),
    cmocka_unit_test(correction_is_harmless_on_fresh_inputs),
    cmocka_unit_test(columns_share_what_they_have_in_common),
    cmocka_unit_test(columns_without_a_fit_are_left),
    cmocka_unit_test(correction_follows_its_schedule),
    cmocka_unit_test(corrections_cost_each_time),
    cmocka_unit_test(readouts_are_counted),
    cmocka_unit_test(copies_are_set_up_like_one),
    cmocka_unit_test(unset_ranges_are_refused),
    cmocka_unit_test(calibrated_range_is_headroom_times_the_largest),
    cmocka_unit_test(head_ranges_reach_the_median),
    cmocka_unit_test(lambda_range_follows_scale_and_granularity),
    cmocka_unit_test(open_calibration_gives_results_without_adc),
    cmocka_unit_test(static_ranges_follow_the_rule),
    cmocka_unit_test(ranges_of_the_model_win),
    cmocka_unit_test(calibration_refuses_what_it_cannot_do),
    cmocka_unit_test(zeros_stay_zeros),
    cmocka_unit_test(silent_columns_saturate),
    cmocka_unit_test(calibration_only_where_needed),
};
const struct test_suite suite_calibrate = {"calibrate", tests, sizeof tests / sizeof tests[0]};
