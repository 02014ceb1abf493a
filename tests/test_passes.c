/* Input passes: codes are cut into digits and put together again; the general multiply around them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/threads.h"
#include "sim/passes.h"
#include "tests/machine_fixture.h"

static const char *const codings[] = {"tile.dac.coding=pulse_width", "tile.dac.coding=amplitude",
                                      "tile.dac.coding=bit_serial", "tile.dac.coding=split tile.dac.split_bits=3",
                                      "tile.dac.coding=split tile.dac.split_bits=5"};
static const char *const signs[] = {"tile.dac.sign=bipolar", "tile.dac.sign=two_phase"};
static const char *const sums[] = {"tile.dac.accumulate=digital", "tile.dac.accumulate=analog"};
enum { CODINGS = sizeof codings / sizeof codings[0] };

/* Every code of every plan, exactly; and sizes of the plans. */
static void digits_are_the_code(void **state) {
    (void)state;
    for (int bits = 2; bits <= 16; bits++) {
        for (int coding = CODING_AMPLITUDE; coding <= CODING_SPLIT; coding++) {
            for (int sign = SIGN_BIPOLAR; sign <= SIGN_TWOS_COMPLEMENT; sign++) {
                struct tile_spec t = {.dac = {.bits = bits,
                                              .coding = coding,
                                              .sign = sign,
                                              .split_bits = bits / 2,
                                              .accumulate = COMBINE_DIGITAL}};
                struct input_plan p;
                if ((coding == CODING_SPLIT && bits / 2 >= bits - 1) ||
                    (coding != CODING_BIT_SERIAL && sign == SIGN_TWOS_COMPLEMENT)) {
                    continue;
                }
                input_plan_make(&t, true, &p);
                int limit = (1 << (bits - 1)) - 1, digits = coding == CODING_BIT_SERIAL ? bits - 1
                                                            : coding == CODING_SPLIT    ? 2
                                                                                        : 1;
                assert_int_equal(p.passes, sign == SIGN_TWOS_COMPLEMENT ? digits + 1
                                                                       : digits * (sign == SIGN_TWO_PHASE ? 2 : 1));
                assert_int_equal(p.groups, p.passes);
                for (int q = -limit; q <= limit; q++) {
                    double sum = 0;
                    for (uint32_t i = 0; i < p.passes; i++) {
                        int d = input_digit(&p.pass[i], q);
                        assert_in_range(d + p.digit_limit, 0, 2 * p.digit_limit);
                        assert_true(sign == SIGN_BIPOLAR || d >= 0);
                        assert_near(p.pass[i].share, 1, 0);
                        sum += (double)p.group_gain[i] * d / p.digit_limit;
                    }
                    assert_near(sum, (double)q / limit, 1e-6); /* gains are single precision */
                }
            }
        }
    }
}

/* Bits whose charges are added in up to five groups: each group of all bits is full scale, the gains make the code. */
static void groups_are_full_scale(void **state) {
    (void)state;
    for (int groups = 1; groups <= 5; groups++) {
        for (int sign = SIGN_BIPOLAR; sign <= SIGN_TWOS_COMPLEMENT; sign++) {
            struct tile_spec t = {.dac = {.bits = 8,
                                          .coding = CODING_BIT_SERIAL,
                                          .sign = sign,
                                          .groups = groups,
                                          .bit_pulses = PULSES_WEIGHTED,
                                          .accumulate = COMBINE_ANALOG}};
            struct input_plan p;
            input_plan_make(&t, true, &p);
            assert_int_equal(p.groups, groups);
            for (int q = -127; q <= 127; q++) {
                double sum = 0;
                for (uint32_t g = 0; g < p.groups; g++) {
                    double part = 0;
                    for (uint32_t i = group_first(&p, g); i < group_end(&p, g); i++) {
                        part += (double)p.pass[i].share * input_digit(&p.pass[i], q);
                        assert_int_equal(p.pass[i].pulses,
                                         1 << (p.pass[i].shift - p.pass[group_first(&p, g)].shift));
                    }
                    assert_true(fabs(part) <= 1 + 1e-6);
                    bool sign_bit = p.pass[group_end(&p, g) - 1].negative; /* its negative end is the larger one */
                    assert_near(q == 127 && !sign_bit ? part : 1, 1, 1e-6); /* shares are single precision */
                    sum += (double)p.group_gain[g] * part;
                }
                assert_near(sum, q / 127.0, 1e-6);
            }
        }
    }
}

/* Without ADC and noise, every coding gives the product of the weights with the input codes: fp32 sums, 4e-6 of the sum
 * of |w x| (bits of one multiply are summed in up to 14 passes). */
static void passes_recompose(void **state) {
    (void)state;
    enum { K = 90, O = 50, T = 35 };
    float *x = gaussians(T * K, 2);
    for (int k = 0; k < CODINGS * 2 * 2; k++) {
        char sets[512];
        snprintf(sets, sizeof sets, "tile.rows=40 tile.columns=24 effects.dac=on %s %s %s", codings[k / 4],
                 signs[k / 2 % 2], sums[k % 2]);
        struct fixture *f = fixture_open("ideal", sets, O, K, NULL, 0);
        const struct array *a = f->machine->arrays[0];
        float *y = multiply(f, x, T);
        for (uint32_t t = 0; t < T; t++) {
            for (uint32_t o = 0; o < O; o++) {
                double sum = 0, sizes = 0;
                for (uint32_t b = 0; b < a->row_blocks; b++) {
                    double range = 0;
                    for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
                        range = fmax(range, fabs(x[t * K + i]));
                    }
                    for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
                        double p =
                            f->w[o * K + i] * converter_code(f->machine->dac, x[t * K + i], range, NULL) * range / 127;
                        sum += p;
                        sizes += fabs(p);
                    }
                }
                assert_near(y[t * O + o], sum, (f->machine->simple ? 0.51 / 32767 * 40 * 4 : 0) + 4e-6 * sizes);
            }
        }
        mem_free(y);
        fixture_close(f);
    }
    mem_free(x);
}

/* ---- general multiply against reference ---------------------------------------------------------------------- */

/* Largest difference in units of one output's scale: of full-scale weights and inputs in every row block. With an ADC
 * the paths may differ by a code where a result lies on an edge: such results are counted, each within `step` ADC
 * steps. */
static void compare(struct fixture *f, const char *chip, const char *sets, uint32_t tokens, double steps,
                    double noise) {
    const struct machine *m = f->machine;
    const struct array *a = m->arrays[0];
    uint32_t inputs = a->inputs, outputs = a->outputs;
    float *other = gaussians((size_t)40 * inputs, 3), *x = gaussians((size_t)tokens * inputs, 2);
    calibrate(f, other, 40);
    float *y = multiply(f, x, tokens);
    double *r = multiply_reference(f, x, tokens);
    size_t crossed = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t o = 0; o < outputs; o++) {
            double bound = 0, step = 0;
            for (uint32_t b = 0; b < a->row_blocks; b++) {
                double sum = 0, largest = 0, unit = 0;
                for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
                    sum += fabs(x[(size_t)t * inputs + i]);
                    largest = fmax(largest, fabs(x[(size_t)t * inputs + i]));
                }
                largest = fmax(largest, a->input_range ? a->input_range[b] : 0);
                for (uint32_t l = 0; l < a->lines; l++) {
                    double factor = fabs(m->plan.line_factor[l]) * a->compensation[(size_t)b * a->columns + o];
                    unit += factor;
                    step +=
                        factor * a->full_scale[((size_t)b * a->lines + l) * a->columns + o] / m->adc.limit * largest;
                }
                double w = a->weight_scale[(size_t)b * a->columns + o];
                bound += w * unit * (1e-5 * sum + noise * largest * sqrt(array_block_rows(a, b)));
                for (uint32_t i = 0; a->shared && i < m->plan.slices; i++) {
                    step += w * 2 * a->shared_full_scale[(size_t)b * a->column_blocks * m->plan.slices + i] /
                            m->adc.limit * largest;
                }
            }
            double off = fabs(y[(size_t)t * outputs + o] - r[(size_t)t * outputs + o]);
            bool adc = m->spec->effects.adc;
            if (!(off <= bound + (adc ? steps * step : 0))) {
                fail_msg("%s %s: token %u output %u: general %.9g, reference %.9g, off %.3g, bound %.3g + steps %.3g",
                         chip, sets, t, o, (double)y[(size_t)t * outputs + o], r[(size_t)t * outputs + o], off, bound,
                         adc ? steps * step : 0);
            }
            crossed += off > bound;
        }
    }
    if (crossed > (size_t)outputs * tokens / 10 + 1) {
        fail_msg("%s %s: %zu of %u results differ by more than their bound", chip, sets, crossed, outputs * tokens);
    }
    mem_free(r);
    mem_free(y);
    mem_free(x);
    mem_free(other);
}

#define WHITE "tile.cell.white_noise.relative=0.02 tile.cell.white_noise.absolute_uS=0.1 effects.read_noise=on"
#define SAR                                                                                                            \
    "tile.adc.circuit.model=sar tile.adc.circuit.split=off tile.adc.circuit.capacitor_mismatch=0.01 "                  \
    "tile.adc.circuit.gain_dB=60 tile.adc.circuit.comparator_offset=0.003 tile.adc.circuit.noise_LSB=0.4 "             \
    "effects.adc_errors=on"
#define RAMP                                                                                                           \
    "tile.adc.circuit.model=ramp tile.adc.circuit.gain_spread=0.03 tile.adc.circuit.offset_LSB=2 "                     \
    "tile.adc.circuit.noise_LSB=0.4 effects.adc_errors=on"
#define LADDER                                                                                                         \
    "tile.dac.coding=amplitude tile.dac.circuit.model=r_2r tile.dac.circuit.mismatch=0.02 "                            \
    "tile.dac.circuit.noise_LSB=0.3 effects.dac_errors=on"
#define PULSE "tile.dac.circuit.model=pulse_width tile.dac.circuit.jitter_LSB=0.3 effects.dac_errors=on"

#define ALL_PHENOMENA                                                                                                  \
    "tile.phenomena.input_noise=0.01 tile.phenomena.input_asymmetry=0.02 tile.phenomena.output_noise=0.05 "            \
    "tile.phenomena.output_noise_spread=0.1 tile.phenomena.output_asymmetry=0.03 tile.phenomena.weight_noise=0.01 "    \
    "tile.phenomena.ir_drop=1 tile.phenomena.ir_drop_g_ratio=1000 tile.phenomena.nonlinearity=0.1 "                    \
    "tile.phenomena.nonlinearity_spread=0.2 tile.phenomena.slope_calibration=0.5 "                                     \
    "tile.phenomena.voltage_offset_spread=0.03 tile.phenomena.series_resistance=0.01 "                                 \
    "tile.phenomena.weight_noise_type=pcm_read effects.wires=on effects.read_noise=on effects.dac_errors=on "          \
    "effects.adc_errors=on"

static const char *const general_sets[] = {
    "effects.dac=on tile.dac.sign=two_phase",
    "effects.dac=on effects.adc=on tile.dac.sign=two_phase",
    "effects.dac=on effects.adc=on tile.dac.coding=bit_serial",
    "effects.dac=on effects.adc=on tile.dac.coding=bit_serial tile.dac.accumulate=analog",
    "effects.dac=on effects.adc=on tile.dac.coding=bit_serial tile.dac.accumulate=analog tile.dac.groups=3",
    "effects.dac=on effects.adc=on tile.dac.coding=bit_serial tile.dac.sign=twos_complement " RAMP,
    "effects.dac=on effects.adc=on tile.dac.coding=bit_serial tile.dac.sign=twos_complement tile.dac.accumulate=analog "
    "tile.dac.groups=2 " WHITE,
    "effects.dac=on effects.adc=on tile.dac.coding=bit_serial tile.dac.accumulate=analog tile.dac.groups=2 "
    "tile.dac.sign=two_phase tile.legs=in_turns tile.encoding=differential_pair " WHITE,
    "effects.dac=on effects.adc=on tile.dac.coding=split tile.dac.sign=two_phase tile.dac.range=static",
    "effects.adc=on tile.dac.sign=two_phase tile.dac.accumulate=analog",
    "effects.dac=on effects.adc=on tile.legs=digital",
    "effects.dac=on effects.adc=on tile.slices=3 tile.significance=4",
    "effects.dac=on effects.adc=on tile.slices=2 tile.slice_bits=3 tile.legs=digital tile.adc.range=lambda",
    "effects.dac=on effects.adc=on tile.encoding=one_device",
    "effects.dac=on effects.adc=on tile.encoding=offset_column",
    "effects.dac=on tile.encoding=offset_column tile.slices=2 tile.dac.coding=split",
    "effects.dac=on effects.adc=on tile.encoding=reference_column tile.scale=per_tile",
    "effects.dac=on effects.adc=on tile.dac.bits=12 tile.adc.range=static tile.adc.full_scale=3",
    "effects.dac=on effects.adc=on tile.dac.range=static tile.dac.range_value=2.5 tile.adc.rule=quantile",
    "effects.dac=on effects.adc=on tile.dac.range=static tile.dac.static_rule=mean_square tile.adc.rule=mean_square",
    "effects.dac=on effects.adc=on tile.dac.bits=12 " WHITE,
    "effects.dac=on effects.adc=on tile.dac.sign=two_phase " WHITE,
    "effects.dac=on tile.dac.coding=bit_serial tile.dac.accumulate=analog tile.legs=digital " WHITE,
    "effects.dac=on effects.adc=on tile.adc.share=3 " SAR,
    "effects.dac=on effects.adc=on tile.adc.share=3 tile.dac.sign=two_phase " RAMP,
    "effects.adc=off tile.adc.range=lambda " RAMP,
    "effects.dac=on effects.adc=on tile.encoding=offset_column " RAMP,
    "effects.dac=on effects.adc=on " LADDER,
    "effects.dac=on effects.adc=on tile.dac.coding=split " PULSE,
    PULSE,
    ALL_PHENOMENA,
    "effects.dac=on effects.adc=on " ALL_PHENOMENA,
    "effects.dac=on effects.adc=on tile.dac.sign=two_phase tile.phenomena.read_asymmetry_spread=0.05 " ALL_PHENOMENA,
    "effects.dac=on tile.dac.sign=two_phase tile.dac.accumulate=analog " ALL_PHENOMENA
    " tile.phenomena.weight_noise_type=additive_constant",
    "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale=1.5 tile.management.bound=iterative",
    "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale=1.5 tile.management.noise=abs_max_np_sum",
    "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale=1.5 "
    "tile.management.bound=iterative_worst_case tile.management.test_negative=off " WHITE,
    "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale=5 tile.management.noise=average_abs_max",
    "effects.dac=on effects.adc=on tile.management.noise=constant tile.management.threshold=2",
};

/* Steps: an edge in every line, pass and row block at once would be all of them; circuits may jump by more than one
 * code where levels are missing. */
static void general_is_the_reference(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof general_sets / sizeof general_sets[0]; k++) {
        char sets[1000];
        snprintf(sets, sizeof sets, "tile.rows=40 tile.columns=24 %s", general_sets[k]);
        struct fixture *f = fixture_open("ideal", sets, 50, 90, NULL, 3600);
        compare(f, "ideal", sets, 35, 3, 0);
        fixture_close(f);
    }
}

/* ---- the support matrix --------------------------------------------------------------------------------------- */

enum { CIRCUITS_MOST = 16 };
struct supported {
    size_t ran[2];                                   /* refused, run */
    size_t adcs[CIRCUITS_MOST], dacs[CIRCUITS_MOST]; /* run, by circuit, in the order of their lists */
};

static void count_circuits(struct supported *s, const struct support_cell *c) {
    for (size_t i = 0; adc_models[i]; i++) {
        s->adcs[i] += strcmp(adc_models[i]->name, c->converter) == 0;
    }
    for (size_t i = 0; dac_models[i]; i++) {
        s->dacs[i] += strcmp(dac_models[i]->name, c->circuit) == 0;
    }
}

static enum status run_cell(void *context, const struct support_cell *c, struct error *e) {
    struct supported *supported = context;
    char label[256];
    snprintf(label, sizeof label, "%s %s %s %s %s %s %s", c->effect, c->encoding, c->coding, c->sign, c->accumulate,
             c->circuit, c->converter);
    supported->ran[c->chip != NULL]++;
    if (!c->chip) {
        assert_non_null(strstr(c->reason, ": "));
        assert_non_null(strstr(c->reason, "(allowed: "));
        return OK;
    }
    count_circuits(supported, c);
    struct fixture f = {.w = gaussians(12 * 20, 1)};
    f.source = (struct matrix_source){.name = "layers.3.q",
                                      .layer = 3,
                                      .role = MATRIX_Q,
                                      .inputs = 20,
                                      .outputs = 12,
                                      .read_rows = read_rows,
                                      .context = &f};
    for (int i = 0; i < 12 * 20; i++) {
        f.w[i] = fabsf(f.w[i]); /* unsigned weights are not negative */
    }
    TRY(placement_create(c->chip, &f.source, 1, &f.placement, e));
    if (machine_create(c->chip, f.placement, &f.source, 1, &(struct machine_options){.seed = 7, .age_s = 3600},
                       &f.machine, e) != OK) {
        fail_msg("%s: %s", label, e->message);
    }
    f.scratch = multiply_scratch_create(f.machine, MAX_TOKENS);
    compare(&f, "support", label, 3, 4, 0.003);
    multiply_scratch_destroy(f.scratch);
    machine_destroy(f.machine);
    placement_destroy(f.placement);
    mem_free(f.w);
    return OK;
}

/* Every combination that the program says it supports runs and is the reference; every other one has a reason. No
 * circuit is refused by all. */
static void what_is_supported_runs(void **state) {
    (void)state;
    struct supported supported = {0};
    struct error e = {0};
    if (chip_visit_support(run_cell, &supported, &e) != OK) {
        fail_msg("%s", e.message);
    }
    assert_true(supported.ran[1] >= 2500 && supported.ran[0] >= 200);
    for (size_t i = 0; adc_models[i]; i++) {
        assert_in_range(supported.adcs[i], 200, SIZE_MAX);
    }
    for (size_t i = 0; dac_models[i]; i++) {
        assert_in_range(supported.dacs[i], 8, SIZE_MAX);
    }
}

/* ---- noise of every read -------------------------------------------------------------------------------------- */

static float *noisy_story(int threads, const char *sets, const float *x, uint32_t tokens, uint32_t piece) {
    threads_set(threads);
    struct fixture *f = fixture_open("pcm256", sets, 150, 333, NULL, 3600);
    float *y = mem_alloc((size_t)tokens * 150, sizeof *y);
    struct error e = {0};
    for (uint32_t t = 0; t < tokens; t += piece) {
        uint32_t now = tokens - t < piece ? tokens - t : piece;
        assert_int_equal(machine_multiply(f->machine, 0, x + (size_t)t * 333, now, 100 + t, f->scratch,
                                          y + (size_t)t * 150, &f->record, &e),
                         OK);
    }
    fixture_close(f);
    return y;
}

/* Noise belongs to the number of the read: the same bytes for any threads and whether tokens come alone or together. */
static void noise_follows_the_read_number(void **state) {
    (void)state;
    enum { TOKENS = 40 };
    static const char *const machines[] = {
        "tile.rows=100 tile.columns=60 tile.adc.range=lambda " WHITE,
        "tile.rows=100 tile.columns=60 tile.adc.range=lambda tile.dac.sign=two_phase tile.adc.share=4 " WHITE " " RAMP
        " " PULSE,
        "tile.rows=100 tile.columns=60 tile.adc.range=lambda tile.dac.coding=bit_serial " WHITE,
    };
    float *x = gaussians(TOKENS * 333, 2);
    for (size_t k = 0; k < sizeof machines / sizeof machines[0]; k++) {
        float *y = noisy_story(1, machines[k], x, TOKENS, TOKENS);
        static const struct {
            int threads;
            uint32_t piece;
        } cuts[] = {{2, TOKENS}, {7, TOKENS}, {1, 1}, {3, 13}};
        for (int c = 0; c < 4; c++) {
            float *z = noisy_story(cuts[c].threads, machines[k], x, TOKENS, cuts[c].piece);
            assert_memory_equal(y, z, TOKENS * 150 * sizeof *y);
            mem_free(z);
        }
        mem_free(y);
    }
    threads_set(0);
    mem_free(x);
}

/* Variance of a result over reads of the same input = sum of x^2 variance (absolute noise only: 0.5 of 25 uS per
 * device, two devices). 4 standard errors of a variance of 64 x 200 samples: 4 sqrt(2 / 12800) = 5 %. Both multiplies;
 * switched off, the bytes of a cell without the group. */
static void white_noise_has_its_variance(void **state) {
    (void)state;
    enum { K = 64, O = 64, T = 50, ROUNDS = 4 };
    static const char *const paths[] = {"", "tile.dac.sign=two_phase"};
    float *x = mem_alloc(T * K, sizeof *x), *one = gaussians(K, 9);
    for (int t = 0; t < T; t++) {
        memcpy(x + t * K, one, K * sizeof *x);
    }
    for (int k = 0; k < 2; k++) {
        char sets[512];
        snprintf(sets, sizeof sets,
                 "tile.cell=pcm_like effects.dac=on effects.read_noise=off %s tile.cell.white_noise.relative=0 "
                 "tile.cell.white_noise.absolute_uS=0.5",
                 paths[k]);
        struct fixture *off = fixture_open("ideal", sets, O, K, NULL, 0);
        float *quiet = multiply(off, x, T);
        snprintf(sets, sizeof sets, "tile.cell=pcm_like effects.dac=on effects.read_noise=off %s", paths[k]);
        struct fixture *without = fixture_open("ideal", sets, O, K, NULL, 0);
        float *same = multiply(without, x, T);
        assert_memory_equal(quiet, same, T * O * sizeof *quiet);
        mem_free(same);
        fixture_close(without);
        snprintf(
            sets, sizeof sets,
            "tile.cell=pcm_like effects.dac=on effects.read_noise=on tile.cell.read_noise=[1e-9,0.65,0.001,0.2] %s "
            "tile.cell.white_noise.relative=0 tile.cell.white_noise.absolute_uS=0.5",
            paths[k]);
        struct fixture *f = fixture_open("ideal", sets, O, K, NULL, 0);
        double range = 0, squares = 0, sum = 0;
        for (int i = 0; i < K; i++) {
            range = fmax(range, fabs(one[i]));
        }
        for (int i = 0; i < K; i++) {
            double level = converter_code(f->machine->dac, one[i], range, NULL) * range / 127;
            squares += level * level;
        }
        for (int round = 0; round < ROUNDS; round++) {
            float y[T * O];
            struct error e = {0};
            assert_int_equal(machine_multiply(f->machine, 0, x, T, (uint64_t)round * T, f->scratch, y, &f->record, &e),
                             OK);
            for (int i = 0; i < T * O; i++) {
                double scale = f->machine->arrays[0]->weight_scale[i % O],
                       sd = 0.5 / 25 * sqrt(2) * scale * sqrt(squares), z = (y[i] - quiet[i]) / sd;
                sum += z * z;
            }
        }
        assert_near(sum / (T * O * ROUNDS), 1, 0.05);
        mem_free(quiet);
        fixture_close(off);
        fixture_close(f);
    }
    mem_free(one);
    mem_free(x);
}

/* Results with white noise less those without, of the multiply and of the reference: [tokens][outputs]. */
static void noise_of_both(const char *sets, uint32_t tokens, const float *x, uint32_t outputs, double *general,
                          double *reference) {
    memset(general, 0, (size_t)tokens * outputs * sizeof *general);
    memset(reference, 0, (size_t)tokens * outputs * sizeof *reference);
    for (int noisy = 0; noisy < 2; noisy++) {
        char keys[512];
        snprintf(keys, sizeof keys,
                 "effects.read_noise=%s tile.cell.white_noise.relative=0.1 "
                 "tile.cell.white_noise.absolute_uS=0 %s",
                 noisy ? "on" : "off", sets);
        struct fixture *f = fixture_open("ideal", keys, outputs, 256, NULL, 0);
        assert_true(noisy == (f->machine->arrays[0]->strips != NULL));
        results_less(f, x, tokens, general, reference);
        fixture_close(f);
    }
}

/* Noise that grows with conductance, on inputs of every kind: bytes of variances add up to what the reference adds up
 * in double, device by device, over the rows that both draw. Of the noise itself, off: at most 0.3 % rms over the
 * results (that is an sd: twice as much of the variance; found 0.05 to 0.2 %), the worst result 1.5 % of the rms
 * (found 1.3 %). */
static void noise_is_that_of_the_devices(void **state) {
    (void)state;
    enum { T = 12, O = 40 };
    static const char *const machines[] = {
        "effects.dac=on tile.dac.sign=two_phase",
        "effects.dac=on tile.dac.coding=bit_serial",
        "effects.dac=on tile.dac.coding=bit_serial tile.dac.sign=two_phase tile.dac.accumulate=analog",
        "effects.dac=on tile.dac.coding=split tile.dac.accumulate=analog",
        "effects.dac=on tile.slices=3 tile.significance=4 tile.dac.bits=12",
        "effects.dac=on tile.encoding=offset_column",
        "effects.dac=on effects.wires=on tile.dac.sign=two_phase tile.wires.row_ohm=2 "
        "tile.wires.column_ohm=2 tile.wires.input_ohm=100 tile.wires.output_ohm=100 tile.wires.column_fF=1",
        "effects.dac=on " LADDER,
    };
    float *x = gaussians(T * 256, 2);
    double general[T * O], reference[T * O];
    for (size_t k = 0; k < sizeof machines / sizeof machines[0]; k++) {
        noise_of_both(machines[k], T, x, O, general, reference);
        double squares = 0, off = 0, worst = 0;
        for (int i = 0; i < T * O; i++) {
            double one = general[i] - reference[i];
            squares += reference[i] * reference[i];
            off += one * one;
            worst = fmax(worst, fabs(one));
        }
        assert_true(squares > 0 && off <= 0.003 * 0.003 * squares);
        assert_true(worst <= 0.015 * sqrt(squares / (T * O)));
    }
    mem_free(x);
}

static void general_multiplies_allocate_nothing(void **state) {
    (void)state;
    struct fixture *f = fixture_open("pcm256", "tile.adc.range=lambda tile.dac.sign=two_phase " WHITE " " SAR " " PULSE,
                                     40, 600, NULL, 0);
    float *x = gaussians(10 * 600, 2), y[10 * 40];
    struct error e = {0};
    mem_guard_arm();
    enum status s = machine_multiply(f->machine, 0, x, 10, 0, f->scratch, y, &f->record, &e);
    assert_int_equal(mem_guard_disarm(), 0);
    assert_int_equal(s, OK);
    mem_free(x);
    fixture_close(f);
}

/* A running mean of inputs goes from token to token and from multiply to multiply, until a run is reset. */
static void running_means_are_forgotten(void **state) {
    (void)state;
    struct fixture *f = fixture_open("pcm256", "tile.management.noise=average_abs_max tile.adc.range=lambda", 10, 60,
                                     NULL, 0);
    float *x = gaussians(3 * 60, 2), *y[3];
    for (int k = 0; k < 3; k++) {
        if (k == 2) {
            multiply_scratch_reset(f->scratch);
        }
        y[k] = multiply(f, x, 3);
    }
    assert_true(memcmp(y[0], y[1], 3 * 10 * sizeof *y[0]) != 0);
    assert_memory_equal(y[0], y[2], 3 * 10 * sizeof *y[0]);
    for (int k = 0; k < 3; k++) {
        mem_free(y[k]);
    }
    mem_free(x);
    fixture_close(f);
}

/* Every allocation of a machine with everything around its tiles, of its scratch and of the fit of its correction fails
 * once: an error, no crash, no leak (sanitizers watch). */
static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    struct fixture *f = fixture_open("pcm256",
                                     "tile.rows=30 tile.adc.range=lambda tile.dac.sign=two_phase "
                                     "tile.encoding=offset_column tile.management.noise=average_abs_max "
                                     "tile.phenomena.output_noise=0.01 tile.correction=affine "
                                     "tile.correction_vectors=16 " WHITE " " SAR " " PULSE,
                                     10, 60, NULL, 0);
    struct error e = {0};
    size_t failures = 0;
    threads_set(1);
    for (enum status s = ERR_RUN; s != OK; failures++) {
        struct machine *m = NULL;
        mem_fail_at(failures + 1);
        s = machine_create(f->chip, f->placement, &f->source, 1, &(struct machine_options){0}, &m, &e);
        if (s == OK) {
            struct multiply_scratch *scratch = multiply_scratch_create(m, 10);
            s = scratch ? OK : error_set(&e, ERR_RUN, "out of memory");
            multiply_scratch_destroy(scratch);
        }
        mem_fail_at(0);
        machine_destroy(m);
        assert_true(s == OK || (s == ERR_RUN && strstr(e.message, "out of memory")));
        assert_true(failures < 200);
    }
    assert_in_range(failures, 50, 199); /* arrays, devices, converters, correction with its scratch, scratch */
    threads_set(0);
    fixture_close(f);
}

/* What cannot be together is refused with the key to change. */
static void contradictions_are_named(void **state) {
    (void)state;
    static const struct {
        const char *chip, *sets, *message;
    } cases[] = {
        {"pcm256", "tile.dac.coding=split tile.dac.split_bits=7", "tile.dac.split_bits: 7 of the 7 bits"},
        {"pcm256", "tile.cell=sram_capacitor", "tile.dac.coding: pulse_width drives times, but the charge"},
        {"pcm256", "tile.cell=sram_capacitor tile.dac.coding=split", "tile.dac.coding: split drives times"},
        {"pcm256", "tile.dac.sign=twos_complement", "tile.dac.sign: twos_complement, but"},
        {"pcm256", "tile.dac.groups=2", "tile.dac.groups: 2 conversions"},
        {"pcm256", "tile.dac.groups=2 tile.dac.coding=bit_serial", "tile.dac.groups: 2 conversions"},
        {"pcm256", "tile.dac.groups=8 tile.dac.coding=bit_serial tile.dac.accumulate=analog", "tile.dac.groups: 8"},
        {"pcm256", "tile.dac.bit_pulses=weighted", "tile.dac.bit_pulses: weighted"},
        {"pcm256", "tile.overlap=full", "tile.overlap: full: a multiply of 132.9 ns"},
        {"pcm256_wires", "tile.cell=sram_capacitor tile.dac.coding=amplitude tile.dac.circuit.model=ideal",
         "tile.wires: the cell sram_capacitor gives charges"},
        {"pcm256", "tile.dac.range_value=3", "tile.dac.range_value: 3 is given"},
        {"pcm256", "tile.dac.range=static tile.management.noise=abs_max", "tile.management.noise: it replaces"},
        {"ideal",
         "tile.cell.current.form=cubic tile.cell.current.reference_V=0.2 tile.cell.current.strength=0.1 effects=on",
         "effects.cell_nonlinearity: the current of the cell"},
        {"ideal", "tile.temperature_K=350 effects.temperature=on", "tile.temperature_K: 350 K, but this ideal"},
        {"pcm256", "tile.reads=5", "tile.reads: 5, but this pcm_hermes_2dev"},
        {"pcm256", "tile.phenomena.weight_noise=0.1", "tile.phenomena.weight_noise: 0.1, but weight_noise_type"},
        {"pcm256", "tile.phenomena.read_asymmetry_spread=0.1", "tile.phenomena.read_asymmetry_spread: 0.1, but both"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct fixture *f = NULL;
        struct error e = {0};
        assert_int_equal(fixture_try(cases[k].chip, cases[k].sets, 8, 8, NULL, 0, NULL, 0, &f, &e), ERR_USAGE);
        if (!strstr(e.message, cases[k].message)) {
            fail_msg("%s: %s", cases[k].sets, e.message);
        }
    }
}

/* ---- costs ------------------------------------------------------------------------------------------------------ */

/* pcm256: mvm 132.9 ns with a pulse of 127 ns. Counts by hand, 90 x 50 weights on tiles of 40 x 24: 3 row blocks, 3
 * column blocks; times by hand, in ns. */
static void passes_and_lines_are_counted(void **state) {
    (void)state;
    enum { K = 90, O = 50, T = 5 };
    static const struct {
        const char *sets;
        uint64_t passes, conversions; /* conversions of a row block and token */
        double time_ns, interval_ns; /* interval 0: as long */
    } cases[] = {
        {"", 1, O, 132.9, 0},
        {"tile.dac.coding=bit_serial tile.dac.accumulate=analog tile.dac.groups=2", 7, 2 * O, 2 * 5.9 + 7 * 127, 0},
        {"tile.dac.coding=bit_serial tile.dac.accumulate=analog tile.dac.groups=2 tile.dac.bit_pulses=weighted", 7,
         2 * O, 2 * 5.9 + (7 + 15) * 127, 0}, /* bits 0 to 2, bits 3 to 6 */
        {"tile.dac.coding=bit_serial tile.dac.sign=twos_complement", 8, 8 * O, 8 * 132.9, 0},
        {"tile.legs=in_turns tile.dac.sign=two_phase", 4, 4 * O, 4 * 132.9, 0},
        {"tile.overlap=sample_hold tile.adc.share=4", 1, O, 132.9 + 3 * 76.5, 5.9 + 3 * 76.5},
        {"tile.overlap=sample_hold tile.adc.share=2 tile.dac.coding=bit_serial", 7, 7 * O, 6 * 127 + 132.9 + 76.5,
         7 * 127},
        {"tile.overlap=full tile.mvm_ns=300 tile.adc.share=4", 1, O, 300 + 3 * 76.5, 4 * 76.5},
        {"tile.overlap=full tile.mvm_ns=900 tile.adc.share=4", 1, O, 900 + 3 * 76.5, 900 - 127 - 76.5},
        {"tile.dac.sign=two_phase", 2, 2 * O, 2 * 132.9, 0},
        {"tile.dac.sign=two_phase tile.dac.accumulate=analog", 2, O, 132.9 + 127, 0},
        {"tile.dac.coding=bit_serial", 7, 7 * O, 7 * 132.9, 0},
        {"tile.dac.coding=split tile.dac.split_bits=3", 2, 2 * O, 2 * (5.9 + 15), 0},
        {"tile.legs=digital tile.slices=2 tile.significance=3", 1, 4 * O, 132.9, 0},
        {"tile.cell=ideal tile.encoding=offset_column", 1, O + 3, 132.9, 0},
        {"tile.cell=ideal tile.encoding=reference_column", 1, O, 132.9, 0},
        {"tile.adc.share=4", 1, O, 132.9 + 3 * 76.5, 0},
    };
    float *x = gaussians(T * K, 2);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[512];
        snprintf(sets, sizeof sets, "tile.rows=40 tile.columns=24 tile.compensation=none %s", cases[k].sets);
        struct fixture *f = fixture_open("pcm256", sets, O, K, NULL, 0);
        calibrate(f, x, T);
        mem_free(multiply(f, x, T));
        assert_int_equal(f->record.dac_conversions, cases[k].passes * T * K * 3);
        assert_int_equal(f->record.adc_conversions, cases[k].conversions * T * 3);
        assert_near(tile_work_of(f->machine->spec).latency_s * 1e9, cases[k].time_ns, 1e-6);
        assert_near(tile_work_of(f->machine->spec).interval_s * 1e9,
                    cases[k].interval_ns > 0 ? cases[k].interval_ns : cases[k].time_ns, 1e-6);
        fixture_close(f);
    }
    mem_free(x);
}

/* An effect that is off takes an error away, not the hardware: what a multiply counts and draws without the effects dac
 * and adc is what it counts and draws with them. Inputs are whole codes, so that rounding changes nothing (1e-5: single
 * precision). */
static void effects_do_not_change_costs(void **state) {
    (void)state;
    static const char *const drives[] = {
        "tile.dac.coding=pulse_width",
        "tile.dac.coding=amplitude",
        "tile.dac.coding=bit_serial",
        "tile.dac.coding=bit_serial tile.dac.sign=two_phase",
        "tile.dac.coding=bit_serial tile.dac.accumulate=analog tile.legs=digital",
        "tile.dac.coding=split",
        "tile.dac.coding=split tile.dac.sign=two_phase tile.dac.split_bits=2",
        ("tile.dac.coding=bit_serial tile.cell.current.form=cubic tile.cell.current.reference_V=0.4 "
         "tile.cell.current.strength=1"),
    };
    float x[20];
    for (int i = 0; i < 20; i++) {
        x[i] = (float)(i == 0 ? 127 : (i * 37) % 255 - 127) / 127;
    }
    for (size_t k = 0; k < sizeof drives / sizeof drives[0]; k++) {
        struct multiply_record of[2];
        for (int off = 0; off < 2; off++) {
            char sets[400];
            snprintf(sets, sizeof sets, "%s tile.adc.range=lambda%s", drives[k],
                     off ? " effects.dac=off effects.adc=off" : "");
            struct fixture *f = fixture_open("pcm256", sets, 8, 20, NULL, 0);
            mem_free(multiply(f, x, 1));
            of[off] = f->record;
            fixture_close(f);
        }
        if (fabs(of[1].array_S_sum / of[0].array_S_sum - 1) > 1e-5) {
            fail_msg("%s: %g S with, %g S without the effects", drives[k], of[0].array_S_sum, of[1].array_S_sum);
        }
        assert_int_equal(of[0].dac_conversions, of[1].dac_conversions);
        assert_int_equal(of[0].adc_conversions, of[1].adc_conversions);
    }
}

/* Every repeat is a whole read: full scale 0.2 clips 1 and -1 of an identity until the inputs are divided by 8. */
static void repeats_are_counted(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal",
                                     "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale=0.2 "
                                     "tile.management.bound=iterative",
                                     16, 16, identity(16), 0);
    float x[2 * 16] = {1, -1};
    x[16] = 1;
    float *y = multiply(f, x, 2);
    assert_near(y[0], 1, 0.02); /* a step of the ADC is 0.2 x 8 / 127, of the DAC 8 / 127 */
    assert_near(y[1], -1, 0.02);
    assert_int_equal(f->record.adc_saturated, 0);
    assert_int_equal(f->record.repeated_blocks, 2 * 3);
    assert_int_equal(f->record.repeated_rounds, 2 * 3);
    assert_int_equal(f->record.adc_conversions, 2 * 16 * 4);
    assert_int_equal(f->record.dac_conversions, 2 * 16 * 4);
    mem_free(y);
    fixture_close(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(digits_are_the_code),
    cmocka_unit_test(groups_are_full_scale),
    cmocka_unit_test(passes_recompose),
    cmocka_unit_test(general_is_the_reference),
    cmocka_unit_test(passes_and_lines_are_counted),
    cmocka_unit_test(repeats_are_counted),
    cmocka_unit_test(effects_do_not_change_costs),
    cmocka_unit_test(what_is_supported_runs),
    cmocka_unit_test(noise_follows_the_read_number),
    cmocka_unit_test(white_noise_has_its_variance),
    cmocka_unit_test(noise_is_that_of_the_devices),
    cmocka_unit_test(general_multiplies_allocate_nothing),
    cmocka_unit_test(running_means_are_forgotten),
    cmocka_unit_test(running_out_of_memory_is_an_error),
    cmocka_unit_test(contradictions_are_named),
};
const struct test_suite suite_passes = {"passes", tests, sizeof tests / sizeof tests[0]};
