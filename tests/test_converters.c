/* Converter circuits against their closed forms, and the SAR against CrossSim (golden/crosssim.json).
 *
 * Statistics have fixed seeds; a mean or a standard deviation may differ from its formula by 4 standard errors. Where a
 * threshold is checked on both sides, NEAR full scales lie between: single-precision inputs and states carry 1e-7.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "tests/converter_fixture.h"

#define NEAR 1e-6

/* ---- making converters ---------------------------------------------------------------------------------------- */

/* Every circuit without errors; NULL behind the last one. */
enum { PERFECT = 9 };
static const struct adc *perfect(size_t i, int bits) {
    switch (i) {
    case 0:
        return ADC(bits, IDEAL);
    case 1:
        return ADC(bits, RAMP, 0.0, 0.0, 0.0, "round");
    case 2:
        return ADC(bits, RAMP, 0.0, 0.0, 0.0, "truncate");
    case 3:
        return ADC(bits, SAR, "off", 0.0, 400.0, 0.0, 0.0);
    case 4:
        return ADC(bits, SAR, "on", 0.0, 400.0, 0.0, 0.0);
    case 5:
        return ADC(bits, STAGES, "pipeline", 0.0, 400.0, 0.0, 0.0);
    case 6:
        return ADC(bits, STAGES, "cyclic", 0.0, 400.0, 0.0, 0.0);
    case 7:
        return ADC(bits, FLASH, 0.0, 0.0, 0.0);
    default:
        return ADC(bits, TABLE, ideal_csv(bits), 0.8, 0.0);
    }
}

/* ---- thresholds ------------------------------------------------------------------------------------------------ */

/* Voltage between codes k - 1 and k of circuit i without errors. */
static double ideal_threshold(size_t i, int bits, int32_t k) {
    const double limit = ldexp(1, bits - 1) - 1;
    return i < 2 ? (k - 0.5) / limit : i == 2 ? (k > 0 ? k : k - 1) / limit : k * ldexp(1, 1 - bits);
}

/* 8 bits: all 254 or 255 thresholds of every circuit, the code above on one side and the code below on the other. */
static void thresholds_are_where_they_belong(void **state) {
    (void)state;
    enum { BITS = 8 };
    for (size_t i = 0; i < PERFECT; i++) {
        const struct adc *c = perfect(i, BITS);
        float s[MOST_STATES];
        make_state(c, 5, s);
        assert_int_equal(highest(c), 127);
        assert_int_equal(lowest(c), i < 3 ? -127 : -128);
        for (int32_t k = lowest(c) + 1; k <= highest(c); k++) {
            const double t = ideal_threshold(i, BITS, k);
            assert_int_equal(code_of(c, s, t + NEAR), k);
            assert_int_equal(code_of(c, s, t - NEAR), k - 1);
        }
        assert_int_equal(code_of(c, s, 3), highest(c));
        assert_int_equal(code_of(c, s, -3), lowest(c));
    }
}

/* The same at other widths, all thresholds up to 8 bits, then every 2^(N-5)th and its neighbours. */
static void thresholds_at_other_widths(void **state) {
    (void)state;
    static const int widths[] = {2, 3, 4, 5, 6, 7, 8, 11, 14};
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        for (size_t i = 0; i < PERFECT && (i < 7 || widths[w] <= 8); i++) { /* flash: at most 8 bits; table with it */
            const struct adc *c = perfect(i, widths[w]);
            float s[MOST_STATES];
            make_state(c, 5, s);
            for (int32_t k = lowest(c) + 1; k <= highest(c); k++) {
                const double t = ideal_threshold(i, widths[w], k);
                if (widths[w] <= 8 || (k + 1) % (1 << (widths[w] - 5)) < 3) {
                    assert_int_equal(code_of(c, s, t + NEAR), k);
                    assert_int_equal(code_of(c, s, t - NEAR), k - 1);
                }
            }
        }
    }
}

/* Any voltage, ties included: the codes of converter_code. */
static void ideal_is_converter_code(void **state) {
    (void)state;
    const struct adc *c = adc_text(6, IDEAL);
    const struct converter plain = converter_make(6);
    assert_true(adc_is_ideal(c) && adc_state_count(c) == 0 && adc_noise_sd(c) == 0);
    for (int i = -80; i <= 80; i++) {
        const float v = (float)(i / 62.0);
        assert_int_equal(code_of(c, NULL, v), converter_code(plain, v, 1, NULL));
    }
    const struct adc *none = NULL;
    struct error e = {OK, ""};
    assert_int_equal(adc_create(NULL, "adc.circuit.", 8, arena, &none, &e), OK); /* no map: ideal */
    assert_true(adc_is_ideal(none));
}

/* Uniform inputs over the whole range: mean square of value - v is step^2/12 (2 %; standard error 0.25 %), its mean 0.
 * The truncating counter is wrong by up to a whole step towards zero: step^2/3. */
static void quantisation_error_is_a_twelfth(void **state) {
    (void)state;
    enum { N = 1 << 17 };
    static float v[N];
    static int32_t codes[N];
    for (size_t n = 0; n < N; n++) {
        v[n] = (float)(2 * random_uniform(7, random_stream(RANDOM_TEST, 20), n) - 1);
    }
    for (size_t i = 0; i < PERFECT; i++) {
        const struct adc *c = perfect(i, 8);
        float s[MOST_STATES];
        double step, shift, sum = 0, square = 0;
        make_state(c, 1, s);
        adc_model_of(c)->convert(adc_params(c), 8, s, 0, v, NULL, codes, N);
        adc_model_of(c)->value(adc_params(c), 8, &step, &shift);
        for (size_t n = 0; n < N; n++) {
            const double error = (codes[n] + shift) * step - v[n];
            sum += error;
            square += error * error;
        }
        const double expected = step * step / (i == 2 ? 3 : 12);
        assert_near(square / N, expected, 0.02 * expected);
        assert_near(sum / N, 0, 4 * sqrt(expected / N));
    }
}

/* ---- the test bench --------------------------------------------------------------------------------------------- */

static void bench_sees_perfect_circuits(void **state) {
    (void)state;
    double t[255], inl[255], dnl[254];
    for (size_t i = 0; i < PERFECT; i++) {
        const struct adc *c = perfect(i, 8);
        struct adc_linearity summary;
        struct error e = {OK, ""};
        assert_int_equal(adc_measure(c, 11, 3, 2, t, inl, dnl, &summary, &e), OK);
        const int32_t n = highest(c) - lowest(c);
        for (int32_t k = 0; k < n; k++) {
            assert_near(t[k], ideal_threshold(i, 8, lowest(c) + 1 + k), NEAR);
        }
        assert_int_equal(summary.missing_codes, 0);
        if (i == 2) { /* code 0 of the truncating counter has two steps; the line through the ends is bent by that */
            const double line = 254.0 / 253;
            assert_near(dnl[126], 2 / line - 1, 1e-3);
            assert_near(summary.dnl_max_lsb, 2 / line - 1, 1e-3);
        } else {
            assert_near(summary.inl_max_lsb, 0, 1e-3); /* 255 steps of 2^-7 with transitions known to 1e-7 */
            assert_near(summary.dnl_max_lsb, 0, 1e-3);
        }
        assert_int_equal(adc_measure(c, 11, 3, 2, NULL, NULL, NULL, NULL, &e), OK);
    }
}

/* Codes that are not there, and one threshold off by 0.4 LSB. */
static void bench_finds_missing_codes(void **state) {
    (void)state;
    const struct adc *c = ADC(3, TABLE, write_csv("code,inl_lsb\n-3,0\n-2,1\n-1,0\n0,0.4\n1,0\n2,1\n3,0\n"), 1.0, 0.0);
    double t[7], inl[7], dnl[6];
    struct adc_linearity summary;
    struct error e = {OK, ""};
    assert_int_equal(adc_measure(c, 0, 0, 0, t, inl, dnl, &summary, &e), OK);
    assert_int_equal(summary.missing_codes, 2); /* -2 and 2: their thresholds are those of the next codes */
    static const double expected[] = {0, 1, 0, 0.4, 0, 1, 0}, widths[] = {1, -1, 0.4, -0.4, 1, -1};
    for (size_t k = 0; k < 7; k++) {
        assert_near(inl[k], expected[k], 1e-5);
        assert_near(t[k], ((double)k - 3 + expected[k]) / 4, NEAR);
    }
    for (size_t k = 0; k < 6; k++) {
        assert_near(dnl[k], widths[k], 1e-5);
    }
    assert_near(summary.inl_max_lsb, 1, 1e-5);
    assert_near(summary.dnl_max_lsb, 1, 1e-5);
}

/* ---- statistics of instances ----------------------------------------------------------------- */

struct sample {
    double sum, square;
    size_t n;
};

static void sample_add(struct sample *s, double x) {
    s->sum += x;
    s->square += x * x;
    s->n++;
}

/* Gaussian: standard errors sd / sqrt(n) of the mean and sd / sqrt(2 n) of the sd. `slack` is added for what the
 * formula leaves out. */
static void assert_sample(const struct sample *s, double mean, double sd, double slack) {
    const double n = (double)s->n, m = s->sum / n;
    assert_near(m, mean, 4 * sd / sqrt(n) + slack);
    assert_near(sqrt(s->square / n - m * m), sd, 4 * sd / sqrt(2 * n) + slack);
}

/* Voltage where a code >= k first appears, between low and high. */
static double transition(const struct adc *c, const float *state, int32_t k, double low, double high) {
    while (high - low > 1e-7) {
        const double middle = 0.5 * (low + high);
        *(code_of(c, state, middle) >= k ? &high : &low) = middle;
    }
    return high;
}

static void ramp_has_gain_and_offset(void **state) {
    (void)state;
    enum { N = 4000 };
    const struct adc *c = ADC(8, RAMP, 0.02, 1.5, 0.0, "round"), *ideal = adc_text(8, IDEAL);
    struct sample gains = {0, 0, 0}, offsets = {0, 0, 0}, products = {0, 0, 0};
    for (uint64_t i = 0; i < N; i++) {
        float s[2], gain, offset;
        make_state(c, i, s);
        assert_true(adc_model_of(c)->linear(adc_params(c), s, &gain, &offset));
        sample_add(&gains, gain);
        sample_add(&offsets, offset * 127);
        sample_add(&products, (gain - 1) / 0.02 * offset * 127 / 1.5);
        if (i % 400 == 0) { /* what the closed form says of a transition; linear means the ideal converter behind it */
            for (int32_t k = -100; k <= 100; k += 25) {
                const double t = ((k - 0.5) / 127 - (double)offset) / (double)gain;
                assert_int_equal(code_of(c, s, t + NEAR), k);
                assert_int_equal(code_of(c, s, t - NEAR), k - 1);
                assert_int_equal(code_of(ideal, NULL, gain * t + offset + NEAR), k);
            }
            struct adc_linearity summary;
            struct error e = {OK, ""};
            assert_int_equal(adc_measure(c, 11, 3 << 8 | DRAW_ADC, i, NULL, NULL, NULL, &summary, &e), OK);
            assert_near(summary.inl_max_lsb, 0, 1e-3);
            assert_int_equal(summary.missing_codes, 0);
        }
    }
    assert_sample(&gains, 1, 0.02, 0);
    assert_sample(&offsets, 0, 1.5, 0);
    assert_near(products.sum / N, 0, 4 / sqrt(N)); /* gain and offset know nothing of each other */
    const struct adc *counter = ADC(8, RAMP, 0.02, 1.5, 0.0, "truncate");
    float s[2], gain, offset;
    make_state(counter, 0, s);
    assert_false(adc_model_of(counter)->linear(adc_params(counter), s, &gain, &offset));
}

/* DNL where bit n takes over from all lower ones: sd = sigma sqrt(2^(n+1) - 1) LSB, above and below 0. */
static void sar_steps_at_major_codes(void **state) {
    (void)state;
    enum { N = 3000, BITS = 8 };
    const double sigma = 0.01;
    const struct adc *c = ADC(BITS, SAR, "off", sigma, 400.0, 0.0, 0.0);
    struct sample dnl[2][BITS - 1] = {{{0, 0, 0}}};
    for (uint64_t i = 0; i < N; i++) {
        float s[MOST_STATES];
        make_state(c, i, s);
        for (int n = 0; n < BITS - 1; n++) {
            const double at = ldexp(1, n) / 128, room = 0.04;
            const double up = transition(c, s, 1 << n, at - room, at + room);
            const double below =
                n ? transition(c, s, (1 << n) - 1, at - room, at + room) : transition(c, s, 0, -room, room);
            sample_add(&dnl[0][n], (up - below) * 128 - 1);
            const double down = transition(c, s, -(1 << n), -at - room, -at + room);
            const double above = n ? transition(c, s, 1 - (1 << n), -at - room, -at + room) : below;
            sample_add(&dnl[1][n], (above - down) * 128 - 1);
        }
    }
    for (int n = 1; n < BITS - 1; n++) {
        /* slack: the array's own gain, of sd sigma / sqrt(128), stretches the widths too */
        const double sd = sigma * sqrt(ldexp(2, n) - 1);
        assert_sample(&dnl[0][n], 0, sd, 0.01 * sd);
        assert_sample(&dnl[1][n], 0, sd, 0.01 * sd);
    }
}

static float number_at(const json_t *list, size_t i) { return (float)json_number_value(json_array_get(list, i)); }

/* Every code of CrossSim's converters. Their codes start at 0. */
static void sar_gives_the_codes_of_crosssim(void **state) {
    (void)state;
    json_error_t error;
    json_t *doc = json_load_file(golden_path("crosssim.json"), 0, &error), *cases = json_object_get(doc, "sar");
    size_t compared = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *s = json_array_get(cases, i), *cap = json_object_get(s, "cap_z"),
                     *codes = json_object_get(s, "codes");
        const int bits = (int)json_integer_value(json_object_get(s, "bits"));
        float z[16], instance[MOST_STATES];
        for (size_t k = 0; k < json_array_size(cap); k++) {
            z[k] = number_at(cap, k);
        }
        const struct adc *c = ADC(bits, SAR, json_is_true(json_object_get(s, "split")) ? "on" : "off",
                                  json_number_value(json_object_get(s, "sigma_capacitor")),
                                  json_number_value(json_object_get(s, "gain_db")),
                                  json_number_value(json_object_get(s, "sigma_comparator")), 0.0);
        sar_state(adc_params(c), bits, z, (float)json_number_value(json_object_get(s, "comparator_z")), instance);
        for (size_t k = 0; k < json_array_size(codes); k++, compared++) {
            const double v = fmin(fmax(-1.0031 + 0.010037 * (double)k, -1), 1);
            assert_int_equal(code_of(c, instance, v) + (1 << (bits - 1)), json_integer_value(json_array_get(codes, k)));
        }
    }
    json_decref(doc);
    assert_int_equal(compared, 12 * 201);
}

/* The taps of a ladder are a bridge: sd of tap k in LSB = sigma sqrt(k (n - k) / n); comparators add their own
 * variance. */
static void flash_ladder_is_a_bridge(void **state) {
    (void)state;
    enum { N = 4000, BITS = 6, TAPS = 1 << BITS };
    const double sigma = 0.02, offset = 0.003;
    const struct adc *ladder = ADC(BITS, FLASH, sigma, 0.0, 0.0), *both = ADC(BITS, FLASH, sigma, offset, 0.0);
    struct sample tap[TAPS] = {{0, 0, 0}}, middle = {0, 0, 0}, dnl = {0, 0, 0};
    for (uint64_t i = 0; i < N; i++) {
        float s[MOST_STATES];
        make_state(ladder, i, s);
        for (int k = 1; k < TAPS; k++) {
            sample_add(&tap[k], ((double)s[k - 1] + 1) * TAPS / 2 - k);
        }
        sample_add(&dnl, ((double)s[20] - (double)s[19]) * TAPS / 2 - 1);
        make_state(both, i, s);
        sample_add(&middle, (double)s[TAPS / 2 - 1] * TAPS / 2);
    }
    for (int k = 1; k < TAPS; k++) {
        assert_sample(&tap[k], 0, sigma * sqrt(k * (TAPS - k) / (double)TAPS), 0);
    }
    assert_sample(&dnl, 0, sigma * sqrt(1 - 1.0 / TAPS), 0);
    const double own = offset * TAPS / 2;
    assert_sample(&middle, 0, sqrt(sigma * sigma * TAPS / 4 + own * own), 0);
}

/* ---- stages ------------------------------------------------------------------------------------------------------ */

enum { STAGE_BITS = 14 };

/* Jump of the decoded voltage at +1/4 (where = 1) or -1/4, in LSB. */
static double jump(const struct adc *c, const float *state, int where) {
    /* the threshold itself: the code changes by the jump within 2e-7 */
    return code_of(c, state, where * 0.25 + 1e-7) - code_of(c, state, where * 0.25 - 1e-7);
}

/* Amplifier gain A: (1/2 - G/4) 2^13 LSB are missing at +-1/4, both circuits. Slack: whole codes on both sides, and the
 * second order: what the residue lacks to 1/2, loss / 2, is handed through up to six stages that lose again. */
static void finite_gain_loses_codes(void **state) {
    (void)state;
    for (int gain_dB = 44; gain_dB <= 60; gain_dB += 8) {
        for (int kind = 0; kind < 2; kind++) {
            const struct adc *c = ADC(STAGE_BITS, STAGES, kind ? "cyclic" : "pipeline", 0.0, (double)gain_dB, 0.0, 0.0);
            const double amplifier = pow(10, gain_dB / 20.0), slope = 2 / (1 + 2 / amplifier);
            float s[MOST_STATES];
            make_state(c, 0, s);
            const double loss = 1 - slope / 2, expected = loss / 2 * 8192, slack = 1 + 3 * loss * loss * 8192;
            assert_near(jump(c, s, 1), expected, slack);
            assert_near(jump(c, s, -1), expected, slack);
            assert_true(expected > 4 * slack);
        }
    }
    const struct adc *coarse = ADC(8, STAGES, "pipeline", 0.0, 30.0, 0.0, 0.0);
    struct adc_linearity summary;
    struct error e = {OK, ""};
    assert_int_equal(adc_measure(coarse, 0, 0, 0, NULL, NULL, NULL, &summary, &e), OK);
    assert_true(summary.missing_codes >= 2 && summary.missing_codes < 30); /* loss / 2 x 128 = 3.8 LSB at +-1/4 alone */
}

/* Capacitor mismatch: sd of the jump sigma sqrt(2) sqrt(1/4 + 1/16) (pipeline), sigma sqrt(2) / 4 (cyclic). */
static void mismatch_makes_jumps(void **state) {
    (void)state;
    enum { N = 3000 };
    const double sigma = 0.003;
    for (int kind = 0; kind < 2; kind++) {
        const struct adc *c = ADC(STAGE_BITS, STAGES, kind ? "cyclic" : "pipeline", sigma, 400.0, 0.0, 0.0);
        struct sample jumps = {0, 0, 0};
        for (uint64_t i = 0; i < N; i++) {
            float s[MOST_STATES];
            make_state(c, i, s);
            sample_add(&jumps, jump(c, s, 1));
        }
        const double expected = 8192 * sigma * sqrt(2) * (kind ? 0.25 : sqrt(0.3125));
        assert_sample(&jumps, 0, expected, 0.02 * expected); /* whole codes add 1/6 LSB^2, squares of sigma 0.5 % */
    }
}

/* What the half bit is for: comparators off by up to a fifth of full scale move no threshold but by the last
 * comparator's share. */
static void redundancy_forgives_comparators(void **state) {
    (void)state;
    enum { BITS = 8 };
    const struct adc *c = ADC(BITS, STAGES, "pipeline", 0.0, 400.0, 0.05, 0.0);
    for (uint64_t i = 0; i < 20; i++) {
        double t[255];
        float s[MOST_STATES];
        struct error e = {OK, ""};
        make_state(c, i, s);
        assert_true(fabs(s[2] + 0.25) > 1e-4 && fabs(s[3] - 0.25) > 1e-4); /* it is off */
        const double last = (double)s[4 * (BITS - 1)];
        assert_int_equal(adc_measure(c, 11, 3 << 8 | DRAW_ADC, i, t, NULL, NULL, NULL, &e), OK);
        for (int k = 0; k < 255; k++) {
            assert_near(t[k], (k - 127 + last) / 128, NEAR);
        }
    }
}

/* What an offset of the comparator does by theory. SAR: one comparator decides every bit, so every threshold moves by
 * the offset. Cyclic: the two comparators of the stage are forgiven; the last one sees 2^(N-1) times the input, so
 * every threshold moves by the 2^(N-1)th part of its offset. NEAR: as for thresholds; sd within 4 standard errors. */
static void comparator_offsets_move_thresholds(void **state) {
    (void)state;
    enum { N = 2000 };
    const double offset = 0.03;
    static const int32_t codes[] = {-127, -64, -1, 0, 1, 33, 64, 127};
    for (int kind = 0; kind < 2; kind++) {
        const struct adc *c = kind ? ADC(8, STAGES, "cyclic", 0.0, 400.0, offset, 0.0)
                                   : ADC(8, SAR, "off", 0.0, 400.0, offset, 0.0);
        const double sd = kind ? offset / 128 : offset;
        struct sample moved = {0, 0, 0};
        for (uint64_t i = 0; i < N; i++) {
            float s[MOST_STATES];
            make_state(c, i, s);
            const double move = transition(c, s, 0, -0.25, 0.25);
            sample_add(&moved, move);
            for (size_t k = 0; i < 50 && k < sizeof codes / sizeof codes[0]; k++) {
                const double t = codes[k] / 128.0 + move;
                assert_int_equal(code_of(c, s, t + NEAR), codes[k]);
                assert_int_equal(code_of(c, s, t - NEAR), codes[k] - 1);
            }
        }
        assert_sample(&moved, 0, sd, 0);
    }
}

/* ---- noise ------------------------------------------------------------------------------------------------------- */

/* At one sd above a threshold 84.1 % of the codes are above; and the codes of one voltage spread by the noise and the
 * quantisation: sqrt(sd^2 + 1/12) LSB. */
static void thermal_noise_has_its_sd(void **state) {
    (void)state;
    enum { N = 20000 };
    static float v[N], z[N];
    static int32_t codes[N];
    const double noise = 4;
    const char *const texts[] = {
        arena_printf(arena, RAMP, 0.0, 0.0, noise, "round"),
        arena_printf(arena, SAR, "off", 0.0, 400.0, 0.0, noise),
        arena_printf(arena, STAGES, "pipeline", 0.0, 400.0, 0.0, noise),
        arena_printf(arena, STAGES, "cyclic", 0.0, 400.0, 0.0, noise),
        arena_printf(arena, FLASH, 0.0, 0.0, noise),
        arena_printf(arena, TABLE, ideal_csv(8), 0.8, noise),
    };
    random_gaussian_fill(3, random_stream(RANDOM_TEST, 21), 0, z, N);
    for (size_t i = 0; i < 6; i++) {
        const struct adc *c = adc_text(8, texts[i]);
        const struct adc_model *m = adc_model_of(c);
        float s[MOST_STATES];
        double step, shift;
        make_state(c, 0, s);
        m->value(adc_params(c), 8, &step, &shift);
        assert_near(adc_noise_sd(c), noise * step, 1e-12);
        const double threshold = ideal_threshold(i ? 3 : 0, 8, 17);
        struct sample all = {0, 0, 0};
        size_t above = 0;
        for (size_t n = 0; n < N; n++) {
            v[n] = (float)(threshold + noise * step);
        }
        m->convert(adc_params(c), 8, s, 0, v, z, codes, N);
        for (size_t n = 0; n < N; n++) {
            above += codes[n] >= 17;
            sample_add(&all, codes[n]);
        }
        const double share = 0.841345;
        assert_near((double)above / N, share, 4 * sqrt(share * (1 - share) / N));
        assert_sample(&all, 17 + noise - 0.5, sqrt(noise * noise + 1.0 / 12), 0);
        m->convert(adc_params(c), 8, s, 0, v, NULL, codes, N); /* no numbers, no noise */
        assert_int_equal(codes[0], codes[N - 1]);
        assert_int_equal(codes[0], 20);
    }
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void bad_tables_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *csv, *message;
    } cases[] = {
        {"code,threshold_V\n1,-0.5\n2,\n3,0.5\n", ":3:2: "},
        {"code,threshold_V\n1,-0.5\n2,nan\n3,0.5\n", ":3:2: "},
        {"code,threshold_V\n1,-0.5\n3,0\n2,0.5\n", ":3:1: code 3 where 2 is next (allowed: every code once, rising)"},
        {"code,threshold_V\n1,-0.5\n1,0\n2,0.5\n", ":3:1: code 1 where 2 is next"},
        {"code,threshold_V\n2,-0.5\n3,0\n4,0.5\n", ":2:1: first code 2 (allowed: 1 or -1)"},
        {"code,threshold_V\n1,-0.5\n2,0\n", ": 2 rows (allowed: 3, one per code of 2 bits but the lowest)"},
        {"code,threshold_V\n1,-0.5\n2,0.6\n3,0.5\n",
         ":4:2: 0.5: threshold below the one before (allowed: rising or equal)"},
        {"code,threshold_V\n1,-0.5\n2,0\n3,1e9\n", ":4:2: threshold of 1e+09 full scales (allowed: -1000 to 1000)"},
        {"code,inl_lsb\n-1,0\n0,2\n1,0.5\n", ":4:2: 0.5: threshold below the one before"},
        {"code,volts\n-1,0\n0,2\n1,0.5\n", "inl_lsb"},
        {"threshold_V\n0\n", "code"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct adc *c = NULL;
        struct error e = {OK, ""};
        const char *text = arena_printf(arena, TABLE, write_csv(cases[i].csv), 1.0, 0.0);
        assert_int_not_equal(adc_create(map_of(text), "adc.circuit.", 2, arena, &c, &e), OK);
        if (!strstr(e.message, cases[i].message) || !strstr(e.message, "table.csv")) {
            fail_msg("%s: not in: %s", cases[i].message, e.message);
        }
    }
    const struct adc *c = NULL;
    struct error e = {OK, ""};
    const char *text = arena_printf(arena, TABLE, "no/such.csv", 1.0, 0.0);
    assert_int_not_equal(adc_create(map_of(text), "adc.circuit.", 2, arena, &c, &e), OK);
    assert_non_null(strstr(e.message, "no/such.csv"));
}

/* ---- input converters ------------------------------------------------------------------------ */

enum { MOST_LEVELS = 1 << 13 };

static void levels_of(const struct dac *d, uint64_t instance, float *level) {
    dac_model_of(d)->levels(dac_params(d), dac_bits(d), 11, 3 << 8 | DRAW_DAC, instance, level);
}

static void perfect_inputs_are_equal_steps(void **state) {
    (void)state;
    static float level[MOST_LEVELS];
    for (int bits = 2; bits <= 12; bits += 5) {
        const int limit = converter_make(bits).limit;
        const struct dac *const all[] = {
            dac_text(bits, IDEAL),
            DAC(bits, "{model: r_2r, mismatch: " K ", noise_LSB: " K "}", 0.0, 0.0),
            DAC(bits, "{model: c_2c, mismatch: " K ", parasitic: " K ", noise_LSB: " K "}", 0.0, 0.0, 0.0),
            DAC(bits, "{model: pulse_width, jitter_LSB: " K "}", 0.5),
        };
        for (size_t i = 0; i < 4; i++) {
            levels_of(all[i], 4, level);
            for (int k = 0; k <= limit; k++) {
                assert_near(level[k], (double)k / limit, 1e-7); /* single precision */
            }
            assert_true(dac_is_ideal(all[i]) == (i == 0) && dac_model_of(all[i])->pulse == (i == 3));
            assert_near(dac_noise_sd(all[i]), i == 3 ? 0.5 / limit : 0, 1e-12);
        }
    }
}

/* The ladder's node equations, written down as a full matrix and eliminated: an independent solution. Admittances leg,
 * series[i] between nodes i - 1 and i, end at node 0, p at every node; code k. Returns the voltage of the last node. */
static double full_network(int nodes, const double *leg, const double *series, double end, double p, int code) {
    double m[8][9] = {{0}};
    for (int i = 0; i < nodes; i++) {
        m[i][i] = leg[i] + p + (i ? series[i] : end) + (i + 1 < nodes ? series[i + 1] : 0);
        m[i][nodes] = code >> i & 1 ? leg[i] : 0;
        if (i) {
            m[i][i - 1] = m[i - 1][i] = -series[i];
        }
    }
    for (int i = 0; i < nodes; i++) {
        for (int r = i + 1; r < nodes; r++) {
            const double f = m[r][i] / m[i][i];
            for (int k = i; k <= nodes; k++) {
                m[r][k] -= f * m[i][k];
            }
        }
    }
    return m[nodes - 1][nodes] / m[nodes - 1][nodes - 1];
}

/* Levels of mismatched ladders and of one with parasitics are those of the full network; draws as the header says. */
static void ladders_are_their_networks(void **state) {
    (void)state;
    enum { BITS = 8, NODES = BITS - 1 };
    static float level[MOST_LEVELS];
    const double sigma = 0.05, parasitic = 0.1;
    const struct dac *r = DAC(BITS, "{model: r_2r, mismatch: " K ", noise_LSB: " K "}", sigma, 0.0);
    const struct dac *c =
        DAC(BITS, "{model: c_2c, mismatch: " K ", parasitic: " K ", noise_LSB: " K "}", sigma, parasitic, 0.0);
    for (uint64_t instance = 0; instance < 4; instance++) {
        float z[2 * NODES];
        double leg[NODES], series[NODES] = {0};
        converter_draws(11, 3 << 8 | DRAW_DAC, instance, z, 2 * NODES);
        for (int i = 0; i < NODES; i++) {
            leg[i] = 1 / (1 + sigma / sqrt(2) * z[i]);
            series[i] = i ? 2 / (1 + sigma * z[NODES + i - 1]) : 0;
        }
        levels_of(r, instance, level);
        for (int k = 0; k < 128; k++) {
            const double v = full_network(NODES, leg, series, 1 / (1 + sigma / sqrt(2) * z[2 * NODES - 1]), 0, k);
            assert_near(level[k], v * 128 / 127, 2e-7);
        }
        for (int i = 0; i < NODES; i++) {
            leg[i] = 1 + sigma * z[i];
            series[i] = i ? 2 * (1 + sigma / sqrt(2) * z[NODES + i - 1]) : 0;
        }
        levels_of(c, instance, level);
        for (int k = 0; k < 128; k++) {
            const double v = full_network(NODES, leg, series, 1 + sigma * z[2 * NODES - 1], parasitic, k);
            assert_near(level[k], v * 128 / 127, 2e-7);
        }
    }
}

/* sd of the top bit's weight. With b the relative variance of what lies below the top node, b = sigma^2 / 4 + (sigma^2
 * / 2
 * + b) / 16 (R-2R: the series R, and the leg and the rest in parallel), so b = 0.3 sigma^2, and the weight 1/2 moves by
 * 1/4 of each deviation: sd = sigma sqrt(0.8) / 4. C-2C: b = sigma^2 / 8 + (sigma^2 + b) / 16 = 0.2 sigma^2, sd = sigma
 * sqrt(1.2) / 4. */
static void ladders_have_the_spread_of_their_top_bit(void **state) {
    (void)state;
    enum { N = 4000 };
    static float level[MOST_LEVELS];
    const double sigma = 0.01;
    const struct dac *const d[2] = {
        DAC(8, "{model: r_2r, mismatch: " K ", noise_LSB: " K "}", sigma, 0.0),
        DAC(8, "{model: c_2c, mismatch: " K ", parasitic: " K ", noise_LSB: " K "}", sigma, 0.0, 0.0)};
    for (size_t kind = 0; kind < 2; kind++) {
        struct sample top = {0, 0, 0};
        for (uint64_t i = 0; i < N; i++) {
            levels_of(d[kind], i, level);
            sample_add(&top, level[64] * 127 / 128.0);
        }
        const double sd = sigma * sqrt(kind ? 1.2 : 0.8) / 4;
        assert_sample(&top, 0.5, sd, 0.01 * sd);
    }
}

/* ---- instances ------------------------------------------------------------------------------- */

/* A function of seed, where and instance, and of nothing else. */
static void instances_are_drawn_once(void **state) {
    (void)state;
    const struct adc *const all[] = {ADC(8, RAMP, 0.02, 1.5, 0.0, "round"), ADC(8, SAR, "on", 0.01, 80.0, 0.01, 0.0),
                                     ADC(8, STAGES, "pipeline", 0.01, 60.0, 0.01, 0.0),
                                     ADC(8, STAGES, "cyclic", 0.01, 60.0, 0.01, 0.0), ADC(8, FLASH, 0.01, 0.001, 0.0)};
    for (size_t i = 0; i < 5; i++) {
        const struct adc_model *m = adc_model_of(all[i]);
        const size_t n = adc_state_count(all[i]);
        float a[MOST_STATES], b[MOST_STATES];
        m->make(adc_params(all[i]), 8, 1, 2, 3, a);
        m->make(adc_params(all[i]), 8, 1, 2, 3, b);
        assert_memory_equal(a, b, n * sizeof *a);
        for (uint64_t other = 0; other < 3; other++) {
            m->make(adc_params(all[i]), 8, other == 0 ? 2 : 1, other == 1 ? 3 : 2, other == 2 ? 4 : 3, b);
            assert_memory_not_equal(a, b, n * sizeof *a);
        }
    }
}

/* Neighbouring instances in one call, any number of them: the codes of each alone. */
static void rows_of_instances_are_instances(void **state) {
    (void)state;
    enum { N = 37 };
    const struct adc *const all[] = {adc_text(8, IDEAL),
                                     ADC(8, RAMP, 0.02, 1.5, 0.5, "round"),
                                     ADC(8, SAR, "on", 0.01, 60.0, 0.01, 0.5),
                                     ADC(8, STAGES, "pipeline", 0.01, 60.0, 0.01, 0.5),
                                     ADC(8, STAGES, "cyclic", 0.01, 60.0, 0.01, 0.5),
                                     ADC(8, FLASH, 0.01, 0.001, 0.5),
                                     ADC(8, TABLE, ideal_csv(8), 0.8, 0.5)};
    static float states[N * MOST_STATES];
    float v[N], z[N];
    for (size_t i = 0; i < 7; i++) {
        const struct adc_model *m = adc_model_of(all[i]);
        const size_t stride = adc_state_count(all[i]);
        for (size_t n = 0; n < N; n++) {
            v[n] = (float)(2.2 * random_uniform(9, random_stream(RANDOM_TEST, 22), n) - 1.1);
            z[n] = random_gaussian(9, random_stream(RANDOM_TEST, 23), n);
            make_state(all[i], n, states + n * stride);
        }
        for (size_t count = 0; count <= N; count += 1 + count / 4) {
            int32_t codes[N + 1], alone;
            memset(codes, 0x55, sizeof codes);
            m->convert(adc_params(all[i]), 8, states, stride, v, z, codes, count);
            for (size_t n = 0; n < count; n++) {
                m->convert(adc_params(all[i]), 8, states + n * stride, 0, v + n, z + n, &alone, 1);
                assert_int_equal(codes[n], alone);
            }
            assert_int_equal(codes[count], 0x55555555);
        }
    }
}

/* Exactly at a threshold: the lower code, on both sides of 0. Not the split array, whose weights are no powers of two.
 */
static void ties_go_down(void **state) {
    (void)state;
    for (size_t i = 3; i < PERFECT; i++) {
        const struct adc *c = perfect(i, 8);
        float s[MOST_STATES];
        make_state(c, 0, s);
        for (int32_t k = -96; i != 4 && k <= 96; k += 32) {
            assert_int_equal(code_of(c, s, ideal_threshold(i, 8, k)), k - 1);
        }
    }
}

static const struct CMUnitTest tests[] = {
    TEST(thresholds_are_where_they_belong),
    TEST(thresholds_at_other_widths),
    TEST(ideal_is_converter_code),
    TEST(quantisation_error_is_a_twelfth),
    TEST(bench_sees_perfect_circuits),
    TEST(bench_finds_missing_codes),
    TEST(ramp_has_gain_and_offset),
    TEST(sar_steps_at_major_codes),
    TEST(sar_gives_the_codes_of_crosssim),
    TEST(flash_ladder_is_a_bridge),
    TEST(finite_gain_loses_codes),
    TEST(mismatch_makes_jumps),
    TEST(redundancy_forgives_comparators),
    TEST(comparator_offsets_move_thresholds),
    TEST(thermal_noise_has_its_sd),
    TEST(bad_tables_are_refused),
    TEST(perfect_inputs_are_equal_steps),
    TEST(ladders_are_their_networks),
    TEST(ladders_have_the_spread_of_their_top_bit),
    TEST(instances_are_drawn_once),
    TEST(rows_of_instances_are_instances),
    TEST(ties_go_down),
};

const struct test_suite suite_converters = {"converters", tests, sizeof tests / sizeof tests[0]};
