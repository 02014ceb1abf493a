/* What the tests of converters share: circuits as texts, and converters made from them. */
#ifndef MHO_TESTS_CONVERTER_FIXTURE_H
#define MHO_TESTS_CONVERTER_FIXTURE_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "devices/adc_models.h"
#include "devices/dac_models.h"
#include "tests/suite.h"

#define K "{value: %g, kind: assumed, source: of a test, spread: [1, 1]}"
#define IDEAL "{model: ideal}"
#define RAMP "{model: ramp, gain_spread: " K ", offset_LSB: " K ", noise_LSB: " K ", rounding: %s}"
#define SAR                                                                                                            \
    "{model: sar, split: %s, capacitor_mismatch: " K ", gain_dB: " K ", comparator_offset: " K ", noise_LSB: " K "}"
#define STAGES "{model: %s, capacitor_mismatch: " K ", gain_dB: " K ", comparator_offset: " K ", noise_LSB: " K "}"
#define FLASH "{model: flash, resistor_mismatch: " K ", comparator_offset: " K ", noise_LSB: " K "}"
#define TABLE "{model: table, file: '%s', full_scale_V: %g, noise_LSB: " K "}"

static struct arena *arena;

static inline int make_arena(void **state) {
    (void)state;
    arena = arena_create();
    return arena ? 0 : -1;
}

static inline int drop_arena(void **state) {
    (void)state;
    arena_destroy(arena);
    return 0;
}

static inline const struct config_node *map_of(const char *text) {
    struct config_node *map = NULL;
    struct error e = {OK, ""};
    if (config_parse(arena, text, strlen(text), "circuit", &map, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return map;
}

static inline const struct adc *adc_text(int bits, const char *text) {
    const struct adc *c = NULL;
    struct error e = {OK, ""};
    if (adc_create(map_of(text), "adc.circuit.", bits, arena, &c, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return c;
}

/* A converter from one of the texts above. */
#define ADC(bits, ...) adc_text(bits, arena_printf(arena, __VA_ARGS__))

static inline const struct dac *dac_text(int bits, const char *text) {
    const struct dac *d = NULL;
    struct error e = {OK, ""};
    if (dac_create(map_of(text), "dac.circuit.", bits, arena, &d, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return d;
}

#define DAC(bits, ...) dac_text(bits, arena_printf(arena, __VA_ARGS__))

enum { MOST_STATES = 256 };

static inline void make_state(const struct adc *c, uint64_t instance, float *state) {
    assert_true(adc_state_count(c) <= MOST_STATES);
    if (adc_state_count(c)) {
        adc_model_of(c)->make(adc_params(c), adc_bits(c), 11, 3 << 8 | DRAW_ADC, instance, state);
    }
}

static inline int32_t code_of(const struct adc *c, const float *state, double v) {
    const float x = (float)v;
    int32_t code;
    adc_model_of(c)->convert(adc_params(c), adc_bits(c), state, 0, &x, NULL, &code, 1);
    return code;
}

static inline int32_t lowest(const struct adc *c) { return adc_model_of(c)->lowest(adc_params(c), adc_bits(c)); }
static inline int32_t highest(const struct adc *c) { return adc_model_of(c)->highest(adc_params(c), adc_bits(c)); }

static inline const char *write_csv(const char *text) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/table.csv", scratch_directory());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* The ideal thresholds of the mid-rise convention as a measured table in volts, full scale 0.8 V. */
static inline const char *ideal_csv(int bits) {
    char text[8192] = "code,threshold_V\n";
    for (int k = 1; k < 1 << bits; k++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%d,%.9g\n", k, 0.8 * ldexp(k - (1 << (bits - 1)), 1 - bits));
    }
    return write_csv(text);
}

/* A test with an arena of its own. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_arena, drop_arena)

#endif
