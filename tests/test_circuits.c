/* The circuits of converters as the user meets them: names, parameters, keys of the chip file, `chip check`. What they
 * convert: test_converters.c.
 */
#include <jansson.h>

#include "sim/chip.h"
#include "tests/converter_fixture.h"

static void tables_and_names_are_right(void **state) {
    (void)state;
    struct error e = {OK, ""};
    for (size_t i = 0; adc_models[i]; i++) {
        assert_int_equal(params_check_table(&adc_models[i]->params, &e), OK);
        assert_ptr_equal(adc_model_find(adc_models[i]->name, &e), adc_models[i]);
        assert_true(adc_models[i]->about[0] && adc_models[i]->source[0]);
    }
    for (size_t i = 0; dac_models[i]; i++) {
        assert_int_equal(params_check_table(&dac_models[i]->params, &e), OK);
        assert_ptr_equal(dac_model_find(dac_models[i]->name, &e), dac_models[i]);
        assert_true(dac_models[i]->about[0] && dac_models[i]->source[0]);
    }
    assert_null(adc_model_find("flush", &e));
    assert_string_equal(e.message, "ADC circuit 'flush' is unknown: did you mean 'flash' (allowed: ideal, ramp, sar, "
                                   "pipeline, cyclic, flash, table)");
    assert_null(dac_model_find("r2r", &e));
    assert_string_equal(e.message, "DAC circuit 'r2r' is unknown: did you mean 'r_2r' (allowed: ideal, r_2r, c_2c, "
                                   "pulse_width)");
}

/* ---- in the chip file ------------------------------------------------------------------------ */

static void count_circuit(void *ctx, const char *key, const char *unit, const struct constant *k) {
    (void)unit;
    (void)k;
    *(size_t *)ctx += strstr(key, ".circuit.") != NULL;
}

/* Each circuit in pcm256: loads, shows up among the constants, and its effective configuration is a fixed point. */
static void circuits_load_and_dump(void **state) {
    (void)state;
    const struct {
        const char *set;
        size_t constants;
    } cases[] = {
        {"tile.adc.headroom=1.2", 0},
        {"tile.adc=sar_8b", 4},
        {"tile.adc=adc_table_8b", 1},
        {"tile.dac=r2r_8b", 2},
        {arena_printf(arena, "tile.adc.circuit=" RAMP, 0.02, 0.5, 0.25, "truncate"), 3},
        {arena_printf(arena, "tile.adc.circuit=" STAGES, "pipeline", 0.001, 60.0, 0.01, 0.5), 4},
        {arena_printf(arena, "tile.adc.circuit=" STAGES, "cyclic", 0.001, 60.0, 0.01, 0.5), 4},
        {arena_printf(arena, "tile.adc.circuit=" FLASH, 0.001, 0.002, 0.5), 3},
        {arena_printf(arena, "tile.adc.circuit=" TABLE, ideal_csv(8), 0.8, 0.5), 1},
        {arena_printf(arena, "tile.dac.circuit={model: pulse_width, jitter_LSB: " K "}", 0.3), 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chip *first = NULL, *second = NULL;
        struct error e = {OK, ""};
        if (chip_load("pcm256", &cases[i].set, 1, &first, &e) != OK) {
            fail_msg("%s: %s", cases[i].set, e.message);
        }
        size_t constants = 0;
        chip_visit_constants(first, count_circuit, &constants);
        assert_int_equal(constants, cases[i].constants);
        char *text = config_dump(chip_config(first)), path[4096];
        snprintf(path, sizeof path, "%s/effective.yaml", scratch_directory());
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
        if (chip_load(path, NULL, 0, &second, &e) != OK) {
            fail_msg("%s: %s", cases[i].set, e.message);
        }
        char *again = config_dump(chip_config(second));
        assert_string_equal(again, text);
        assert_true(chip_hash(first) == chip_hash(second));
        mem_free(text);
        mem_free(again);
        chip_destroy(first);
        chip_destroy(second);
    }
}

static void bad_circuits_are_refused(void **state) {
    (void)state;
    const struct {
        const char *sets[2], *message;
    } cases[] = {
        {{"tile.adc.bits=8", "tile.adc.circuit=sar"},
         "--set 2: tile.adc.circuit: its model is missing (allowed: a map with the key model)"},
        {{"tile.adc.bits=8", "tile.adc.circuit={split: on}"},
         "--set 2: tile.adc.circuit: its model is missing (allowed: a map with the key model)"},
        {{"tile.adc.bits=8", "tile.adc.circuit.model=sarr"},
         "--set 2: tile.adc.circuit.model: ADC circuit 'sarr' is unknown: did you mean 'sar' (allowed: "},
        {{"tile.dac.bits=8", "tile.dac.circuit.model=r_2"},
         "--set 2: tile.dac.circuit.model: DAC circuit 'r_2' is unknown: did you mean 'r_2r' (allowed: "},
        {{"tile.adc=sar_8b", "tile.adc.circuit.splt=on"},
         "--set 2: tile.adc.circuit.splt = on: unknown key (nearest: tile.adc.circuit.split)"},
        {{"tile.adc.bits=8", "tile.adc.circuit.split=on"},
         "tile.adc.circuit: its model is missing (allowed: a map with the key model)"},
        {{"tile.adc=sar_8b", "tile.adc.circuit.gain_dB=5"}, "tile.adc.circuit.gain_dB.value = 5: "},
        {{"tile.adc.bits=8", "tile.adc.circuit={model: sar}"},
         "tile.adc.circuit.capacitor_mismatch: required key is missing"},
        {{"tile.adc.bits=9", arena_printf(arena, "tile.adc.circuit=" FLASH, 0.0, 0.0, 0.0)},
         "--set 1: tile.adc.bits: 9 bits are too many for a flash converter (allowed: 2 to 8, or another circuit)"},
        {{"tile.dac=r2r_8b", "tile.dac.coding=pulse_width"},
         "tile.dac.circuit.model: r_2r drives voltages, coding pulse_width wants times (allowed: ideal, pulse_width)"},
        {{"tile.dac=r2r_8b", "tile.dac.coding=bit_serial"},
         "tile.dac.circuit.model: r_2r converts whole codes, coding bit_serial sends one bit at a time (allowed: "
         "ideal)"},
        {{arena_printf(arena, "tile.dac.circuit={model: pulse_width, jitter_LSB: " K "}", 0.3),
          "tile.dac.coding=amplitude"},
         "--set 1: tile.dac.circuit.model: pulse_width drives times, coding amplitude wants voltages (allowed: ideal, "
         "r_2r, c_2c)"},
        {{arena_printf(arena, "tile.dac.circuit={model: pulse_width, jitter_LSB: " K "}", 0.3),
          "tile.dac.coding=bit_serial"},
         "--set 1: tile.dac.circuit.model: pulse_width converts whole codes"},
        {{"tile.adc.share=1", "tile.adc.bits=30"}, "tile.adc.bits = 30: "},
        {{"tile.adc.share=1", "tile.adc.bits=0"}, "tile.adc.bits = 0: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chip *c = NULL;
        struct error e = {OK, ""};
        assert_int_equal(chip_load("pcm256", cases[i].sets, 2, &c, &e), ERR_USAGE);
        if (!strstr(e.message, cases[i].message)) {
            fail_msg("%s: not in: %s", cases[i].message, e.message);
        }
    }
}

static void count_table(void *ctx, const char *table, const char *prefix, bool cost, const struct param *row) {
    (void)cost;
    (void)row;
    *(size_t *)ctx += strcmp(table, "ADC circuit sar") == 0 && strcmp(prefix, "tile.adc.circuit.") == 0;
    *(size_t *)ctx += strcmp(table, "DAC circuit c_2c") == 0 && strcmp(prefix, "tile.dac.circuit.") == 0;
}

static void parameters_are_listed(void **state) {
    (void)state;
    size_t rows = 0;
    chip_visit_params(count_table, &rows);
    assert_int_equal(rows, 5 + 3);
}

/* `chip check` puts the converters on the test bench: 30 dB of gain in a pipeline lose codes, the ideal one loses none.
 */
static void chip_check_reports_missing_codes(void **state) {
    (void)state;
    const char *bad = arena_printf(arena, "tile.adc.circuit=" STAGES, "pipeline", 0.0, 30.0, 0.0, 0.0);
    for (int lossy = 0; lossy < 2; lossy++) {
        const char *const args[] = {"chip", "check", "pcm256", "--json", lossy ? "--set" : NULL, bad, NULL};
        char *out = NULL;
        json_error_t error;
        assert_int_equal(run_mho(args, 60, &out, NULL), 0);
        json_t *root = json_loads(out, 0, &error), *adc = json_object_get(root, "adc");
        mem_free(out);
        const json_int_t missing = json_integer_value(json_object_get(adc, "missing_codes_worst"));
        const double dnl = json_real_value(json_object_get(adc, "dnl_worst_lsb"));
        assert_string_equal(json_string_value(json_object_get(adc, "circuit")), lossy ? "pipeline" : "ideal");
        assert_int_equal(json_integer_value(json_object_get(adc, "bits")), 8);
        assert_true(lossy ? missing >= 2 && missing < 30 && dnl > 0.9 : missing == 0 && dnl < 1e-3);
        json_decref(root);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(tables_and_names_are_right),
    TEST(circuits_load_and_dump),
    TEST(bad_circuits_are_refused),
    TEST(parameters_are_listed),
    TEST(chip_check_reports_missing_codes),
};

const struct test_suite suite_circuits = {"circuits", tests, sizeof tests / sizeof tests[0]};
