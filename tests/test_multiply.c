/* The analog multiply: fast path against the double-precision reference, both against theory and published numbers.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "tests/machine_fixture.h"

static const struct {
    uint32_t outputs, inputs, tokens;
    const char *tile;
} shapes[] = {
    {1, 1, 1, "tile.rows=1 tile.columns=1"},          {4, 3, 2, "tile.rows=1 tile.columns=1"},
    {5, 3, 1, "tile.rows=3 tile.columns=5"},          {40, 31, 5, "tile.rows=3 tile.columns=5"},
    {33, 17, 3, "tile.rows=17 tile.columns=33"},      {70, 70, 33, "tile.rows=17 tile.columns=33"},
    {100, 600, 65, "tile.rows=256 tile.columns=256"}, {600, 100, 1, "tile.rows=256 tile.columns=256"},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* ---- anchors ------------------------------------------------------------------------------------------- */

/* With every effect off only fp32 roundings remain: of targets, of weights, of inputs in units of the DAC, of sums.
 * Bound 2e-6 of the sum of |w x| (a handful of 2^-24 each, and n/16 in the sum); the issue asks for 1e-4 of the
 * result. */
static void all_effects_off_is_the_float_product(void **state) {
    (void)state;
    for (size_t k = 0; k < SHAPES; k++) {
        struct fixture *f = fixture_open("ideal", shapes[k].tile, shapes[k].outputs, shapes[k].inputs, NULL, 1e6);
        float *x = gaussians((size_t)shapes[k].tokens * shapes[k].inputs, 2), *y = multiply(f, x, shapes[k].tokens);
        double *r = multiply_reference(f, x, shapes[k].tokens);
        for (uint32_t t = 0; t < shapes[k].tokens; t++) {
            for (uint32_t o = 0; o < shapes[k].outputs; o++) {
                double sizes, exact = exact_product(f, x, t, o, &sizes);
                assert_near(y[t * shapes[k].outputs + o], exact, 2e-6 * sizes);
                assert_near(r[t * shapes[k].outputs + o], exact, 5e-7 * sizes); /* reference: conductances are fp32 */
            }
        }
        mem_free(r);
        mem_free(y);
        mem_free(x);
        fixture_close(f);
    }
}

/* The evaluation of the Analog Foundation Models (facts on the paper, section 8): input range 2, lambda 12, 1, 0.5.
 * Weights and conductances are single precision here, so 1e-6 where the facts have 16 digits (converter arithmetic
 * alone: 1e-12 in test_devices). The fast path has 16-bit weight codes: half a code of 1/32767 times the sum of |x|,
 * 3.6, without ADC; with it the same codes, but where the result lies on a rounding edge (lambda 0.5, output 1: 54.5
 * steps) it may take the next. */
static void papers_tile_arithmetic(void **state) {
    (void)state;
    const float w[] = {.1f, -.2f, .3f, .05f, 1, .5f, -.25f, .75f}, x[] = {.5f, -1, 2.5f, .1f}, range = 2;
    static const struct {
        const char *sets;
        double y[2], fast_bound[2];
        uint64_t saturated;
    } cases[] = {
        {"effects.adc=off", {.8566929133858268, -.42913385826771655}, {5.6e-5, 5.6e-5}, 0},
        {"effects.adc=on tile.adc.lambda=12", {.8503937007874015, -.3779527559055118}, {1e-6, 1e-6}, 0},
        {"effects.adc=on tile.adc.lambda=1", {.6, -.4251968503937008}, {1e-6, 1e-6}, 1},
        {"effects.adc=on tile.adc.lambda=0.5", {.3, -.4251968503937008}, {1e-6, 1.0 / 127 + 1e-6}, 1},
    };
    for (size_t k = 0; k < 4; k++) {
        char sets[256];
        snprintf(sets, sizeof sets, "effects.dac=on tile.dac.range=static tile.adc.range=lambda %s", cases[k].sets);
        float *mine = mem_alloc(8, sizeof *mine);
        memcpy(mine, w, sizeof w);
        struct fixture *f = fixture_ranges("ideal", sets, 2, 4, mine, 0, &range, 1);
        float *y = multiply(f, x, 1);
        double *r = multiply_reference(f, x, 1);
        for (int o = 0; o < 2; o++) {
            assert_near(r[o], cases[k].y[o], 1e-6);
            assert_near(y[o], cases[k].y[o], cases[k].fast_bound[o]);
        }
        assert_int_equal(f->record.adc_saturated, cases[k].saturated);
        assert_int_equal(f->record.dac_clipped, 1);
        mem_free(r);
        mem_free(y);
        fixture_close(f);
    }
}

/* ---- fast path against reference -------------------------------------------------------------------------- */

/* Worst case of the fast path without ADC: half a code of every weight, and single-precision sums (2e-6). */
static double fast_bound(const struct fixture *f, const float *x, uint32_t t, uint32_t o) {
    const struct array *a = f->machine->arrays[0];
    double bound = 0;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        size_t at = (size_t)b * a->columns + o;
        double inputs = 0, largest = 0;
        for (uint32_t i = 0; i < a->inputs; i++) {
            largest = fmax(largest, fabs(x[(size_t)t * a->inputs + i]));
        }
        double range = a->input_range ? a->input_range[b] : largest;
        for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
            inputs += fabs(x[(size_t)t * a->inputs + i]) + range / f->machine->dac.limit;
        }
        double per_input = (a->codes ? 0.51 * a->code_scale[at] : 0) + 4e-6 * 2 * a->column_max[at];
        bound += per_input * inputs * a->compensation[at];
    }
    return bound + 1e-30;
}

/* The sum of one ADC step in every row block. */
static double one_step(const struct fixture *f, const float *x, uint32_t t, uint32_t o) {
    const struct array *a = f->machine->arrays[0];
    double steps = 0, largest = 0;
    for (uint32_t i = 0; i < a->inputs; i++) {
        largest = fmax(largest, fabs(x[(size_t)t * a->inputs + i]));
    }
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        size_t at = (size_t)b * a->columns + o;
        steps += a->full_scale[at] / f->machine->adc.limit * (a->input_range ? a->input_range[b] : largest) *
                 a->compensation[at];
    }
    return steps;
}

/* With an ADC, at most 1 in 50 results (each a sum over row blocks) may have crossed a rounding edge; see
 * multiply_reference.c. */
static void compare_paths(const char *chip, const char *sets, uint32_t outputs, uint32_t inputs, uint32_t tokens,
                          double age_s) {
    struct fixture *f = fixture_open(chip, sets, outputs, inputs, NULL, age_s);
    float *other = gaussians((size_t)40 * inputs, 3), *x = gaussians((size_t)tokens * inputs, 2);
    calibrate(f, other, 40);
    float *y = multiply(f, x, tokens);
    double *r = multiply_reference(f, x, tokens);
    size_t crossed = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t o = 0; o < outputs; o++) {
            double off = fabs(y[(size_t)t * outputs + o] - r[(size_t)t * outputs + o]), bound = fast_bound(f, x, t, o);
            bool adc = f->machine->spec->effects.adc;
            if (!(off <= bound + (adc ? 1.001 * one_step(f, x, t, o) : 0))) {
                fail_msg("%s %s %ux%u: token %u output %u: fast %.9g, reference %.9g, bound %.3g", chip, sets, outputs,
                         inputs, t, o, (double)y[(size_t)t * outputs + o], r[(size_t)t * outputs + o], bound);
            }
            crossed += off > bound;
        }
    }
    if (crossed > (size_t)outputs * tokens / 50 + 1) {
        fail_msg("%s %s %ux%u: %zu of %u results differ by more than their bound", chip, sets, outputs, inputs, crossed,
                 outputs * tokens);
    }
    mem_free(r);
    mem_free(y);
    mem_free(x);
    mem_free(other);
    fixture_close(f);
}

static void fast_path_is_the_reference_for_every_shape(void **state) {
    (void)state;
    for (size_t k = 0; k < SHAPES; k++) {
        compare_paths("pcm256", shapes[k].tile, shapes[k].outputs, shapes[k].inputs, shapes[k].tokens, 3600);
        compare_paths("afm", shapes[k].tile, shapes[k].outputs, shapes[k].inputs, shapes[k].tokens, 0);
    }
}

static void fast_path_is_the_reference_for_every_switch(void **state) {
    (void)state;
    static const char *const sets[] = {
        "",
        "effects.dac=on",
        "effects.adc=on",
        "effects.dac=on effects.adc=on",
        "effects.dac=on effects.adc=on tile.split=fill",
        "effects.dac=on effects.adc=on tile.scale=per_tile",
        "effects.dac=on effects.adc=on tile.adc.granularity=per_tile",
        "effects.dac=on effects.adc=on tile.scale=per_tile tile.adc.granularity=per_tile",
        "effects.dac=on tile.dac.bits=12",
        "effects.dac=on tile.dac.bits=10 effects.adc=on tile.adc.bits=14",
        "effects.dac=on tile.dac.bits=2 effects.adc=on tile.adc.bits=4",
        "effects.dac=on effects.adc=on tile.dac.range=static",
        "effects.dac=on effects.adc=on tile.dac.range=static tile.adc.range=lambda",
        "effects.adc=on tile.dac.range=static",
        "effects.dac=on effects.adc=on tile.adc.range=lambda tile.adc.granularity=per_tile",
        "effects.dac=on tile.dac.range=static tile.dac.static_rule=standard_deviations tile.dac.static_parameter=2.5",
        "tile.cell=pcm_like effects.programming_noise=on",
        "tile.cell=pcm_like effects.drift=on",
        "tile.cell=pcm_like effects.read_noise=on",
        "tile.cell=pcm_like effects.drift=on tile.compensation=global",
        "tile.cell=pcm_like effects=on tile.compensation=per_column",
        "tile.cell=pcm_hermes_2dev effects=on tile.compensation=global tile.scale=per_tile",
        "tile.cell=pcm_afm tile.encoding=signed_unit effects=on",
    };
    for (size_t k = 0; k < sizeof sets / sizeof sets[0]; k++) {
        char all[512];
        snprintf(all, sizeof all, "tile.rows=40 tile.columns=24 %s", sets[k]);
        compare_paths("ideal", all, 50, 90, 6, 86400);
    }
}

/* Equal weights and inputs, 4096 rows, 10-bit inputs: full 16-bit codes would sum to 6.9e10. The weight codes must
 * give way, here to 1026 of a column's largest: half of one is 5e-4. */
static void largest_sums_fit_32_bits(void **state) {
    (void)state;
    enum { K = 4096, O = 17 };
    float *w = mem_alloc(K * O, sizeof *w), *x = mem_alloc(K, sizeof *x);
    for (int i = 0; i < K * O; i++) {
        w[i] = i / K % 2 ? -0.3f : 0.3f;
    }
    for (int i = 0; i < K; i++) {
        x[i] = 2;
    }
    struct fixture *f = fixture_open("ideal", "effects.dac=on tile.dac.bits=10 tile.rows=4096", O, K, w, 0);
    float *y = multiply(f, x, 1);
    for (int o = 0; o < O; o++) {
        assert_near(y[o], (o % 2 ? -0.6 : 0.6) * K, 5e-4 * 0.6 * K);
    }
    mem_free(y);
    mem_free(x);
    fixture_close(f);
}

/* ---- converters in the machine ------------------------------------------------------------------------------ */

/* Input range 127, so that codes are the inputs: k + 0.5 -+ 1e-3 is k, then k + 1, for every code; counts of clipped
 * and saturated ones. `dac` tests the DAC (ADC off), else the ADC (DAC off, lambda 1: full scale 127). */
static void thresholds_of(bool dac) {
    enum { N = 64 };
    const float range = 127;
    struct fixture *f =
        fixture_ranges("ideal",
                       dac ? "effects.dac=on tile.dac.range=static"
                           : "effects.adc=on tile.dac.range=static tile.adc.range=lambda tile.adc.lambda=1",
                       N, N, identity(N), 0, &range, 1);
    float x[4 * N], clip[N] = {0};
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 2 * N; i++) {
            float edge = (float)(half * 2 * N + i) - 127.5f;
            x[i] = edge - 1e-3f;
            x[2 * N + i] = edge + 1e-3f;
        }
        float *y = multiply(f, x, 4);
        uint64_t beyond = dac ? f->record.dac_clipped : f->record.adc_saturated;
        for (int i = 0; i < 2 * N; i++) {
            double below = fmax(half * 2 * N + i - 128, -127), above = fmin(half * 2 * N + i - 127, 127);
            assert_near(y[i], below, 2e-3); /* 16-bit codes of the weight 1: exact but for rounding */
            assert_near(y[2 * N + i], above, 2e-3);
        }
        assert_int_equal(beyond, 1); /* -127.501 in the first half, 127.501 in the second */
        mem_free(y);
    }
    clip[3] = 127.499f;
    clip[5] = 127.501f;
    clip[7] = -1e9f;
    float *y = multiply(f, clip, 1);
    assert_near(y[3], 127, 2e-3);
    assert_near(y[5], 127, 2e-3);
    assert_near(y[7], -127, 2e-3);
    assert_int_equal(dac ? f->record.dac_clipped : f->record.adc_saturated, 2);
    mem_free(y);
    fixture_close(f);
}

static void dac_and_adc_thresholds(void **state) {
    (void)state;
    thresholds_of(true);
    thresholds_of(false);
}

/* Uniform inputs through one converter: error variance step^2 / 12. 64 x 64 x 32 samples: its standard error is 0.25
 * %. */
static void quantisation_noise_is_a_twelfth(void **state) {
    (void)state;
    enum { N = 64, TOKENS = 64, ROUNDS = 32 };
    const float range = 1;
    for (int dac = 0; dac < 2; dac++) {
        struct fixture *f =
            fixture_ranges("ideal",
                           dac ? "effects.dac=on tile.dac.range=static"
                               : "effects.adc=on tile.dac.range=static tile.adc.range=lambda tile.adc.lambda=1",
                           N, N, identity(N), 0, &range, 1);
        float *x = mem_alloc(N * TOKENS, sizeof *x);
        double sum = 0;
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < N * TOKENS; i++) {
                x[i] = 2 * uniform(30, (size_t)round * N * TOKENS + i) - 1;
            }
            float *y = multiply(f, x, TOKENS);
            for (int i = 0; i < N * TOKENS; i++) {
                sum += (y[i] - x[i]) * (double)(y[i] - x[i]);
            }
            mem_free(y);
        }
        double step = 1.0 / 127, variance = sum / (N * TOKENS * ROUNDS);
        assert_near(variance / (step * step / 12), 1, 0.02);
        mem_free(x);
        fixture_close(f);
    }
}

/* ---- physics --------------------------------------------------------------------------------------------------- */

/* One exponent for all devices, no other noise: compensation restores the fresh result (1e-5: single precision), and
 * without it every result shrinks by (t/t0)^-nu. */
static void compensation_is_exact_for_one_exponent(void **state) {
    (void)state;
    const char *base = "tile.cell=pcm_like effects.drift=on tile.cell.drift_mean=[0,0.1,0.1,0.1] "
                       "tile.cell.drift_sd=[0,0,0,0] tile.rows=40 tile.columns=24";
    float *x = gaussians(90 * 4, 2);
    struct fixture *fresh = fixture_open("ideal", base, 50, 90, NULL, 0);
    float *expected = multiply(fresh, x, 4);
    static const char *const modes[] = {"none", "global", "per_column"};
    for (int mode = 0; mode < 3; mode++) {
        char sets[512];
        snprintf(sets, sizeof sets, "%s tile.compensation=%s", base, modes[mode]);
        struct fixture *old = fixture_open("ideal", sets, 50, 90, NULL, 86400);
        float *y = multiply(old, x, 4);
        double factor = mode == 0 ? pow((86400 + 20) / 20.0, -0.1) : 1;
        for (int i = 0; i < 4 * 50; i++) {
            assert_near(y[i], expected[i] * factor, 1e-5 * 90);
        }
        mem_free(y);
        fixture_close(old);
    }
    mem_free(expected);
    mem_free(x);
    fixture_close(fresh);
}

/* Root of the expected squared error of a multiply over the expected square of its result, for inputs that are
 * independent and of mean 0: norm of (weights as read - weights) / norm of the weights, read out by one-hot inputs,
 * which the DAC hands through exactly; its rounding of other inputs, half of them 0 and the others uniform in -1..1
 * (variance 1/6 in all), adds (1/127)^2 / 12 / 2 to the squares. */
static double expected_error(struct fixture *f, uint32_t n) {
    enum { BATCH = 64 };
    double off = 0, all = 0;
    for (uint32_t first = 0; first < n; first += BATCH) {
        float *x = mem_alloc((size_t)BATCH * n, sizeof *x);
        for (uint32_t t = 0; t < BATCH; t++) {
            x[(size_t)t * n + first + t] = 1;
        }
        float *y = multiply(f, x, BATCH);
        for (uint32_t t = 0; t < BATCH; t++) {
            for (uint32_t o = 0; o < n; o++) {
                double w = f->w[(size_t)o * n + first + t], d = y[(size_t)t * n + o] - w;
                off += d * d;
                all += w * w;
            }
        }
        mem_free(y);
        mem_free(x);
    }
    return sqrt(off / all + 1.0 / (127 * 127) / 12 / 2 * 6);
}

/* Error of a 512 x 512 multiply over time, device state (facts on tiles, 2.8: an independent implementation of the
 * published models). The same definition: weights uniform in -1..1, 30 % of them zero, each column scaled by its own
 * maximum; inputs uniform in -1..1, half of them zero; 8-bit DAC, no ADC; one compensation factor for the tile. 0.2
 * percentage points: the facts drew inputs (seed and number not given), which moves their numbers by about 0.1; here
 * the expectation over inputs is taken, and one array of 262144 weights leaves 0.02. */
static void error_of_a_multiply_over_time(void **state) {
    (void)state;
    enum { N = 512 };
    static const double ages_s[] = {0, 60, 3600, 86400, 2.592e6, 3.11e7};
    static const struct {
        const char *cell;
        double error[6], factor_year;
    } golden[] = {
        {"pcm_like", {8.15, 8.32, 9.52, 11.12, 13.23, 14.92}, 2.006},
        {"pcm_hermes_1dev", {16.11, 16.13, 17.17, 19.88, 24.01, 27.50}, 1.64},
        {"pcm_hermes_2dev", {10.08, 10.09, 11.16, 14.25, 18.81, 22.51}, 1.62},
    };
    for (size_t k = 0; k < sizeof golden / sizeof golden[0]; k++) {
        for (int t = 0; t < 6; t++) {
            float *w = mem_alloc(N * N, sizeof *w);
            for (int i = 0; i < N * N; i++) {
                w[i] = uniform(43, i) < 0.3f ? 0 : 2 * uniform(44, i) - 1;
            }
            char sets[256];
            snprintf(sets, sizeof sets, "tile.cell=%s effects=on effects.adc=off tile.compensation=global",
                     golden[k].cell);
            struct fixture *f = fixture_open("ideal", sets, N, N, w, ages_s[t]);
            double error = 100 * expected_error(f, N);
            if (!(fabs(error - golden[k].error[t]) <= 0.2)) {
                fail_msg("%s at %g s: error %.2f %%, facts %.2f %%", golden[k].cell, ages_s[t], error,
                         golden[k].error[t]);
            }
            if (t == 5) { /* two digits of the factor are given for two cells; one array moves it by 0.2 % */
                assert_near(f->machine->arrays[0]->compensation[0], golden[k].factor_year, 0.01);
            }
            fixture_close(f);
        }
    }
}

/* A zero weight has two noisy devices (the pair), so its column is not silent; the fresh zero device alone has mean
 * 0.1051 uS with sd 0.1538: the difference of two has sd 0.2175 uS. */
static void zero_weights_have_noise(void **state) {
    (void)state;
    enum { N = 256 };
    float *w = mem_alloc(N * N, sizeof *w);
    for (int o = 0; o < N; o++) {
        w[o * N] = 1; /* sets the scale: 1 = 25 uS */
    }
    struct fixture *f = fixture_open("ideal", "tile.cell=pcm_like effects.programming_noise=on", N, N, w, 0);
    float x[2 * N] = {0};
    x[7] = 1;
    x[N + 9] = 1;
    float *y = multiply(f, x, 2);
    double sum = 0;
    for (int i = 0; i < 2 * N; i++) {
        sum += y[i] * (double)y[i];
    }
    double sd_uS = 25 * sqrt(sum / (2 * N));
    assert_near(sd_uS, 0.1538 * sqrt(2),
                4 * 0.2175 * 1.2 / sqrt(2 * 2 * N)); /* 4 standard errors; 1.2: kurtosis above 3 */
    mem_free(y);
    fixture_close(f);
}

/* ---- invariance --------------------------------------------------------------------------------------------- */

static float *whole_story(int threads, const char *kernel, const char *chip, struct multiply_record *record,
                          const float *x, uint32_t tokens) {
    threads_set(threads);
    assert_int_equal(kernels_select(kernel), 0);
    struct fixture *f = fixture_open(chip, "tile.rows=100 tile.columns=60", 150, 333, NULL, 3600);
    calibrate(f, x, tokens);
    float *y = multiply(f, x, tokens);
    *record = f->record;
    fixture_close(f);
    return y;
}

static void same_bytes_for_any_threads_and_kernel(void **state) {
    (void)state;
    enum { TOKENS = 40 };
    static const char *const chips[] = {"pcm256", "afm"};
    const struct kernels *sets[8];
    size_t count = kernels_available(sets, 8);
    float *x = gaussians(TOKENS * 333, 2);
    for (size_t c = 0; c < 2; c++) {
        struct multiply_record first, again;
        float *y = whole_story(1, "ref", chips[c], &first, x, TOKENS);
        for (size_t k = 0; k < count; k++) {
            static const int threads[] = {1, 2, 7};
            for (int n = 0; n < 3; n++) {
                float *z = whole_story(threads[n], sets[k]->name, chips[c], &again, x, TOKENS);
                assert_memory_equal(y, z, TOKENS * 150 * sizeof *y);
                assert_true(first.array_S_sum == again.array_S_sum && first.adc_saturated == again.adc_saturated &&
                            first.dac_clipped == again.dac_clipped);
                mem_free(z);
            }
        }
        mem_free(y);
    }
    mem_free(x);
    threads_set(0);
    kernels_select(NULL);
}

/* A token's result does not depend on the tokens that travel with it. */
static void batches_do_not_mix(void **state) {
    (void)state;
    struct fixture *f = fixture_open("pcm256", "", 50, 300, NULL, 0);
    float *x = gaussians(MAX_TOKENS * 300, 2);
    calibrate(f, x, MAX_TOKENS);
    float *all = multiply(f, x, MAX_TOKENS);
    for (int t = 0; t < MAX_TOKENS; t += 23) {
        float *one = multiply(f, x + t * 300, 1);
        assert_memory_equal(one, all + t * 50, 50 * sizeof *one);
        mem_free(one);
    }
    mem_free(all);
    mem_free(x);
    fixture_close(f);
}

/* Without noise and converters the cut into tiles only moves roundings (2e-6 of the sum of |w x|). */
static void tile_size_does_not_matter_without_effects(void **state) {
    (void)state;
    float *x = gaussians(300 * 3, 2);
    struct fixture *one = fixture_open("ideal", "", 90, 300, NULL, 0);
    float *y = multiply(one, x, 3);
    static const char *const tiles[] = {"tile.rows=7 tile.columns=13",
                                        "tile.rows=64 tile.columns=64 tile.split=fill tile.scale=per_tile"};
    for (int k = 0; k < 2; k++) {
        struct fixture *cut = fixture_open("ideal", tiles[k], 90, 300, NULL, 0);
        float *z = multiply(cut, x, 3);
        for (uint32_t i = 0; i < 3 * 90; i++) {
            double sizes;
            exact_product(one, x, i / 90, i % 90, &sizes);
            assert_near(z[i], y[i], 2e-6 * sizes);
        }
        mem_free(z);
        fixture_close(cut);
    }
    mem_free(y);
    mem_free(x);
    fixture_close(one);
}

/* Each effect alone changes the result; off again it is the bytes of before. */
static void effects_act_alone(void **state) {
    (void)state;
    static const char *const effects[] = {"programming_noise", "drift", "read_noise", "dac", "adc"};
    float *x = gaussians(90 * 4, 2);
    struct fixture *off = fixture_open("ideal", "tile.cell=pcm_like tile.adc.range=lambda", 50, 90, NULL, 3600);
    float *y = multiply(off, x, 4);
    for (int k = 0; k < 5; k++) {
        char sets[256];
        snprintf(sets, sizeof sets, "tile.cell=pcm_like tile.adc.range=lambda effects.%s=on", effects[k]);
        struct fixture *on = fixture_open("ideal", sets, 50, 90, NULL, 3600);
        float *z = multiply(on, x, 4);
        assert_memory_not_equal(y, z, 4 * 50 * sizeof *y);
        mem_free(z);
        fixture_close(on);
        snprintf(sets, sizeof sets, "tile.cell=pcm_like tile.adc.range=lambda effects.%s=on effects.%s=off", effects[k],
                 effects[k]);
        struct fixture *again = fixture_open("ideal", sets, 50, 90, NULL, 3600);
        z = multiply(again, x, 4);
        assert_memory_equal(y, z, 4 * 50 * sizeof *y);
        mem_free(z);
        fixture_close(again);
    }
    mem_free(y);
    mem_free(x);
    fixture_close(off);
}

/* ---- record, errors, memory -------------------------------------------------------------------------------------- */

/* Ideal cells: conductance on an input = sum over outputs of |w| / max|w of the column| x g_max, exactly. */
static void record_counts_what_flows(void **state) {
    (void)state;
    enum { K = 50, O = 40, T = 3 };
    struct fixture *f = fixture_open(
        "ideal", "tile.rows=20 tile.columns=16 effects.dac=on effects.adc=on tile.adc.range=lambda", O, K, NULL, 0);
    float *x = gaussians(T * K, 2);
    mem_free(multiply(f, x, T));
    assert_int_equal(f->record.dac_conversions, T * K * 3);
    assert_int_equal(f->record.adc_conversions, T * O * 3);
    assert_int_equal(f->record.tokens, T);
    const struct array *a = f->machine->arrays[0];
    double expected_S = 0, g_max_S = cell_common_of(f->machine->spec->tile.cell).g_max_S;
    for (int t = 0; t < T; t++) {
        for (uint32_t b = 0; b < a->row_blocks; b++) {
            double range = 0;
            for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
                range = fmax(range, fabs(x[t * K + i]));
            }
            for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
                double size = abs(converter_code(f->machine->dac, x[t * K + i], range, NULL)) / 127.0;
                for (int o = 0; o < O; o++) {
                    double largest = 0;
                    for (uint32_t j = a->row_begin[b]; j < a->row_begin[b + 1]; j++) {
                        largest = fmax(largest, fabs(f->w[o * K + j]));
                    }
                    expected_S += size * fabs(f->w[o * K + i]) / largest * g_max_S;
                }
            }
        }
    }
    assert_near(f->record.array_S_sum / expected_S, 1, 1e-5); /* single precision within blocks */
    fixture_close(f);

    const float range = 1; /* clipped inputs count once for every column of tiles, each has its converters */
    f = fixture_ranges("ideal", "tile.columns=16 effects.dac=on tile.dac.range=static", O, K, NULL, 0, &range, 1);
    mem_free(multiply(f, x, T));
    uint64_t clipped = 0;
    for (int i = 0; i < T * K; i++) {
        clipped += fabs(x[i]) > 127.5 / 127;
    }
    assert_int_equal(f->record.dac_clipped, 3 * clipped);
    mem_free(x);
    fixture_close(f);
}

static void bad_numbers_are_named(void **state) {
    (void)state;
    struct error e = {0};
    struct fixture *f = NULL;
    for (int k = 0; k < 2; k++) {
        float *w = gaussians(40 * 60, 1);
        w[33 * 60 + 17] = k ? INFINITY : NAN;
        w[35 * 60 + 1] = NAN;
        assert_int_equal(fixture_try("pcm256", k ? "tile.scale=per_tile" : "", 40, 60, w, 0, NULL, 0, &f, &e), ERR_RUN);
        assert_non_null(strstr(e.message, "matrix layers.3.q: weight of output 33, input 17 is"));
    }
    assert_int_equal(fixture_try("pcm256", "", 40, 60, NULL, 1e30, NULL, 0, &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "age: 1e+30 s"));
    assert_int_equal(fixture_try("pcm256", "", 40, 60, NULL, -1, NULL, 0, &f, &e), ERR_USAGE);
    assert_int_equal(fixture_try("pcm256", "", 40, 60, NULL, NAN, NULL, 0, &f, &e), ERR_USAGE);
    f = fixture_open("ideal", "effects.dac=on", 40, 60, NULL, 0);
    float *x = gaussians(3 * 60, 2), y[3 * 40];
    x[60 + 9] = INFINITY;
    x[120] = NAN;
    threads_set(1); /* one thread sees both bad tokens and must name the first */
    assert_int_equal(machine_multiply(f->machine, 0, x, 3, 0, f->scratch, y, &f->record, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "layers.3.q: an input of token 1 is not finite"));
    assert_int_equal(machine_multiply(f->machine, 1, x, 3, 0, f->scratch, y, &f->record, &e), ERR_USAGE);
    assert_int_equal(machine_multiply(f->machine, 0, x, MAX_TOKENS + 1, 0, f->scratch, y, &f->record, &e), ERR_USAGE);
    threads_set(0);
    mem_free(x);
    fixture_close(f);
}

/* Every allocation of programming and calibration fails once: an error, no crash, no leak (sanitizers watch). */
static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    struct fixture *f = fixture_open("afm", "tile.rows=30", 40, 60, NULL, 0);
    struct error e = {0};
    struct machine *m = NULL;
    size_t failures = 0;
    threads_set(1);
    for (size_t n = 1; n < 100; n++) {
        mem_fail_at(n);
        enum status s = machine_create(f->chip, f->placement, &f->source, 1, &(struct machine_options){0}, &m, &e);
        if (s == OK) {
            s = machine_calibration_begin(m, &e);
            machine_destroy(m);
        }
        mem_fail_at(0);
        if (s == OK) {
            break;
        }
        assert_int_equal(s, ERR_RUN);
        assert_non_null(strstr(e.message, "out of memory"));
        failures++;
    }
    assert_in_range(failures, 10, 60);
    for (size_t n = 1; n <= 7; n++) {
        mem_fail_at(n);
        assert_null(multiply_scratch_create(f->machine, 10));
        mem_fail_at(0);
    }
    threads_set(0);
    fixture_close(f);
}

static void multiplies_allocate_nothing(void **state) {
    (void)state;
    struct fixture *f = fixture_open("pcm256", "", 40, 600, NULL, 0);
    float *x = gaussians(10 * 600, 2), y[10 * 40];
    struct error e = {0};
    calibrate(f, x, 10);
    mem_guard_arm();
    enum status s = machine_multiply(f->machine, 0, x, 10, 0, f->scratch, y, &f->record, &e);
    assert_int_equal(mem_guard_disarm(), 0);
    assert_int_equal(s, OK);
    mem_free(x);
    fixture_close(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_effects_off_is_the_float_product),
    cmocka_unit_test(papers_tile_arithmetic),
    cmocka_unit_test(fast_path_is_the_reference_for_every_shape),
    cmocka_unit_test(fast_path_is_the_reference_for_every_switch),
    cmocka_unit_test(largest_sums_fit_32_bits),
    cmocka_unit_test(dac_and_adc_thresholds),
    cmocka_unit_test(quantisation_noise_is_a_twelfth),
    cmocka_unit_test(compensation_is_exact_for_one_exponent),
    cmocka_unit_test(error_of_a_multiply_over_time),
    cmocka_unit_test(zero_weights_have_noise),
    cmocka_unit_test(same_bytes_for_any_threads_and_kernel),
    cmocka_unit_test(batches_do_not_mix),
    cmocka_unit_test(tile_size_does_not_matter_without_effects),
    cmocka_unit_test(effects_act_alone),
    cmocka_unit_test(record_counts_what_flows),
    cmocka_unit_test(bad_numbers_are_named),
    cmocka_unit_test(running_out_of_memory_is_an_error),
    cmocka_unit_test(multiplies_allocate_nothing),
};
const struct test_suite suite_multiply = {"multiply", tests, sizeof tests / sizeof tests[0]};
