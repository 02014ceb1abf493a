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
    for (int bits = 2; bits <= 12; bits++) {
        for (int coding = CODING_AMPLITUDE; coding <= CODING_SPLIT; coding++) {
            for (int sign = SIGN_BIPOLAR; sign <= SIGN_TWO_PHASE; sign++) {
                struct tile_spec t = {.dac = {.bits = bits, .coding = coding, .sign = sign, .split_bits = bits / 2,
                                              .accumulate = COMBINE_DIGITAL}};
                struct input_plan p;
                if (coding == CODING_SPLIT && bits / 2 >= bits - 1) {
                    continue;
                }
                input_plan_make(&t, true, &p);
                int limit = (1 << (bits - 1)) - 1, digits = coding == CODING_BIT_SERIAL ? bits - 1
                                                            : coding == CODING_SPLIT    ? 2
                                                                                        : 1;
                assert_int_equal(p.passes, digits * (sign == SIGN_TWO_PHASE ? 2 : 1));
                assert_int_equal(p.groups, p.passes);
                for (int q = -limit; q <= limit; q++) {
                    double sum = 0;
                    for (uint32_t i = 0; i < p.passes; i++) {
                        int d = input_digit(&p.pass[i], q);
                        assert_in_range(d + p.digit_limit, 0, 2 * p.digit_limit);
                        assert_true(sign == SIGN_BIPOLAR || d >= 0);
                        sum += (double)p.pass[i].gain * d / p.digit_limit;
                    }
                    assert_near(sum, (double)q / limit, 1e-6); /* gains are single precision */
                }
            }
        }
    }
}

/* Without ADC and noise, every coding gives the product of the weights with the input codes: fp32 sums, 4e-6 of the sum of
 * |w x| (bits of one multiply are summed in up to 14 passes). */
static void passes_recompose(void **state) {
    (void)state;
    enum { K = 90, O = 50, T = 35 };
    float *x = gaussians(T * K, 2);
    for (int k = 0; k < CODINGS * 2 * 2; k++) {
        char sets[512];
        snprintf(sets, sizeof sets, "tile.rows=40 tile.columns=24 effects.dac=on %s %s %s", codings[k / 4], signs[k / 2 % 2],
                 sums[k % 2]);
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
                        double p = f->w[o * K + i] * converter_code(f->machine->dac, x[t * K + i], range, NULL) * range / 127;
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(digits_are_the_code),
    cmocka_unit_test(passes_recompose),
};
const struct test_suite suite_passes = {"passes", tests, sizeof tests / sizeof tests[0]};
