/* When a conversion counts as saturated, and of how many: one definition (adc_range of devices/adc.h), every circuit.
 *
 * Weights of 1, inputs in units of the ADC's full scale: what reaches a converter is the input.
 */
#include <math.h>
#include <stdio.h>

#include "tests/machine_fixture.h"

#define CHIP                                                                                                           \
    "effects.adc=on effects.adc_errors=on tile.adc.range=static tile.adc.full_scale=0.5 tile.dac.range=static "        \
    "tile.dac.range_value=2 tile.adc.share=1 "
#define C "tile.adc.circuit."

enum { BITS = 8, COLUMNS = 16, INPUTS = 60 };

/* Thresholds of a measured converter without errors, or 2 % too sensitive and shifted by 3 LSB. */
static const char *table_csv(bool errors) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s.csv", scratch_directory(), errors ? "bent" : "straight");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("code,threshold_V\n", f);
    for (int k = 1; k < 1 << BITS; k++) {
        double v = ldexp(k - (1 << (BITS - 1)), 1 - BITS);
        fprintf(f, "%d,%.9g\n", k, errors ? 0.98 * v + 3.0 / 128 : v);
    }
    fclose(f);
    return path;
}

static const struct {
    const char *keys, *first, *second; /* second: NULL for the table */
    double first_error, second_error;
} circuits[] = {
    {"ramp", "gain_spread", "offset_LSB", 0.1, 3},
    {"ramp " C "rounding=truncate", "gain_spread", "offset_LSB", 0.1, 3},
    {"sar " C "split=off " C "gain_dB=400", "capacitor_mismatch", "comparator_offset", 0.05, 0.03},
    {"sar " C "split=on " C "gain_dB=400", "capacitor_mismatch", "comparator_offset", 0.05, 0.03},
    {"pipeline " C "gain_dB=400", "capacitor_mismatch", "comparator_offset", 0.02, 0.03},
    {"cyclic " C "gain_dB=400", "capacitor_mismatch", "comparator_offset", 0.02, 0.03},
    {"flash", "resistor_mismatch", "comparator_offset", 0.1, 0.03},
    {"table " C "full_scale_V=1", "file", NULL, 0, 0},
};
enum { CIRCUITS = sizeof circuits / sizeof circuits[0] };

static struct fixture *open_circuit(size_t i, bool errors, double noise_LSB) {
    char sets[1000];
    size_t n = (size_t)snprintf(sets, sizeof sets, CHIP C "noise_LSB=%g " C "model=%s ", noise_LSB, circuits[i].keys);
    if (circuits[i].second) {
        snprintf(sets + n, sizeof sets - n, C "%s=%g " C "%s=%g", circuits[i].first,
                 errors ? circuits[i].first_error : 0, circuits[i].second, errors ? circuits[i].second_error : 0);
    } else {
        snprintf(sets + n, sizeof sets - n, C "file=%s", table_csv(errors));
    }
    float *w = mem_alloc(COLUMNS, sizeof *w);
    for (size_t k = 0; k < COLUMNS; k++) {
        w[k] = 1;
    }
    return fixture_open("ideal", sets, COLUMNS, 1, w, 0);
}

static uint64_t count(struct fixture *f, const float *x) {
    mem_free(multiply(f, x, INPUTS));
    assert_int_equal(f->record.adc_results, INPUTS * COLUMNS);
    return f->record.adc_saturated;
}

/* -1.475 to 1.475 in steps of 0.05; 20 of the 60 beyond 1. The ends of the range: 1, of ramps 1 + 1/254 (truncating:
 * 1 + 1/127). */
static void spread_inputs(float *x) {
    for (int k = 0; k < INPUTS; k++) {
        x[k] = 0.05f * ((float)k - 29.5f);
    }
}

static void circuits_without_errors_agree(void **state) {
    (void)state;
    float x[INPUTS];
    spread_inputs(x);
    struct fixture *plain = fixture_open("ideal", CHIP, 1, 1, identity(1), 0);
    mem_free(multiply(plain, x, INPUTS));
    assert_int_equal(plain->record.adc_saturated, 20);
    fixture_close(plain);
    for (size_t i = 0; i < CIRCUITS; i++) {
        struct fixture *f = open_circuit(i, false, 0);
        uint64_t n = count(f, x);
        if (n != 20 * COLUMNS) {
            fail_msg("%s: %d saturated, expected %d", circuits[i].keys, (int)n, 20 * COLUMNS);
        }
        fixture_close(f);
    }
}

/* Both ends of the range of column o, from its transitions; its step is their mean distance. */
static void measured_range(const struct fixture *f, uint64_t o, double *low, double *high) {
    const struct adc *c = f->machine->spec->tile.adc.circuit;
    double t[1 << BITS];
    struct error e;
    size_t n = (size_t)(adc_model_of(c)->highest(adc_params(c), BITS) - adc_model_of(c)->lowest(adc_params(c), BITS));
    assert_int_equal(adc_measure(c, f->machine->seed, DRAW_ADC, o, t, NULL, NULL, NULL, &e), OK);
    double step = (t[n - 1] - t[0]) / (double)(n - 1);
    *low = t[0] - step;
    *high = t[n - 1] + step;
}

/* The errors of the circuit move its range: of the same inputs other numbers saturate, for every circuit those beyond
 * its own ends. */
static void errors_move_the_range(void **state) {
    (void)state;
    float x[INPUTS];
    for (int k = 0; k < INPUTS; k++) { /* 0.85 to 1.14 on both sides */
        x[k] = (k % 2 ? -1 : 1) * (0.85f + 0.005f * (float)k);
    }
    for (size_t i = 0; i < CIRCUITS; i++) {
        struct fixture *f = open_circuit(i, true, 0);
        uint64_t n = count(f, x), expected = 0, nominal = 0;
        for (uint64_t o = 0; o < COLUMNS; o++) {
            double low, high;
            measured_range(f, o, &low, &high);
            for (int k = 0; k < INPUTS; k++) {
                expected += (double)x[k] >= high || (double)x[k] <= low;
                nominal += fabsf(x[k]) > 1;
            }
        }
        if (n != expected || expected == nominal) {
            fail_msg("%s: %d saturated, expected %d (without errors %d)", circuits[i].keys, (int)n, (int)expected,
                     (int)nominal);
        }
        fixture_close(f);
    }
}

/* Inputs half way through noise of 20 LSB: the end of the range is at most 1 LSB away, which is 2 % of the cases. 960
 * conversions; 4 standard deviations of a binomial number are 62. */
static void noise_reaches_the_quantiser(void **state) {
    (void)state;
    float x[INPUTS];
    for (int k = 0; k < INPUTS; k++) {
        x[k] = k % 2 ? -1 : 1;
    }
    for (size_t i = 0; i < CIRCUITS; i++) {
        struct fixture *f = open_circuit(i, false, 20);
        uint64_t n = count(f, x);
        if (fabs((double)n - 480) > 62 + 0.02 * 960) {
            fail_msg("%s: %d of 960 saturated, expected about half", circuits[i].keys, (int)n);
        }
        fixture_close(f);
    }
}

/* Conversions of shared columns count like all others. */
static void shared_columns_count(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal",
                                     "effects.dac=on effects.adc=on tile.encoding=offset_column tile.adc.range=static "
                                     "tile.adc.full_scale=0.01",
                                     16, 16, identity(16), 0);
    float x[16];
    for (int i = 0; i < 16; i++) {
        x[i] = 1;
    }
    mem_free(multiply(f, x, 1));
    assert_int_equal(f->record.adc_results, 16 + 1);
    assert_int_equal(f->record.adc_saturated, 16 + 1);
    fixture_close(f);
}

/* A read that is repeated is thrown away: it is paid for, but neither its clipping nor its conversions are in a rate.
 * Full scale 0.2, inputs divided by 2 once: 1 and -1 stay beyond. Inputs: clipped at 0.5 in the first read only. */
static void repeats_are_not_in_the_rate(void **state) {
    (void)state;
    struct fixture *f = fixture_open("ideal",
                                     "effects.dac=on effects.adc=on tile.adc.range=static tile.adc.full_scale=0.2 "
                                     "tile.dac.range=static tile.dac.range_value=0.5 tile.management.bound=iterative "
                                     "tile.management.max_factor=1",
                                     16, 16, identity(16), 0);
    float x[16] = {1, -1};
    mem_free(multiply(f, x, 1));
    assert_int_equal(f->record.repeated_blocks, 1);
    assert_int_equal(f->record.adc_saturated, 2);
    assert_int_equal(f->record.adc_results, 16);
    assert_int_equal(f->record.adc_conversions, 2 * 16);
    assert_int_equal(f->record.dac_clipped, 0);
    assert_int_equal(f->record.dac_inputs, 16);
    assert_int_equal(f->record.dac_conversions, 2 * 16);
    fixture_close(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(circuits_without_errors_agree), cmocka_unit_test(errors_move_the_range),
    cmocka_unit_test(noise_reaches_the_quantiser),   cmocka_unit_test(shared_columns_count),
    cmocka_unit_test(repeats_are_not_in_the_rate),
};
const struct test_suite suite_saturation = {"saturation", tests, sizeof tests / sizeof tests[0]};
