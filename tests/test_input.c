/* Bad input as a user meets it: the message names the file, the line and the key that is to blame, and says what is
 * allowed; files of a million lines are refused before they are worked on.
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "tests/suite.h"

/* A file of this name; its path, valid for the next few calls. */
static const char *file_of(const char *name, const char *text) {
    static char paths[4][1200];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_directory(), name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void must_refuse(const char *const *args, int wanted, const char *says) {
    char *out = NULL, *err = NULL;
    int status = run_mho(args, 60, &out, &err);
    if (status != wanted || !strstr(err, says) || out[0]) {
        fail_msg("status %d (expected %d), says: %s(expected: %s)", status, wanted, err, says);
    }
    mem_free(out);
    mem_free(err);
}

static void refuse_chip(const char *first, const char *second, int status, const char *says) {
    const char *args[] = {"chip", "check", "pcm256", "--set", first, second ? "--set" : NULL, second, NULL};
    must_refuse(args, status, says);
}

static void check_chip(const char *first, const char *second, const char *says) { refuse_chip(first, second, 2, says); }

/* Relations between keys: the key that was changed is to blame, wherever the others stand. */
static void relations_name_the_key(void **state) {
    (void)state;
    char text[1500], set[1400], says[1500];
    check_chip("tile.cell.g_min_uS.value=30", NULL,
               "mho: --set 1: tile.cell.g_min_uS = 30 is not below g_max_uS = 20.7");
    check_chip("tile.cell=ecram", "tile.cell.g_max_uS=0.05",
               "mho: --set 2: tile.cell.g_max_uS: g_min_uS = 0.1 is not below g_max_uS = 0.05 (allowed: g_min_uS < ");
    check_chip("tile.cell.programming.published_pulses=2.5", NULL,
               "mho: --set 1: tile.cell.programming.published_pulses = 2.5 is not a whole number");
    check_chip("tile.cell=generic", "tile.cell.on_off_ratio=0.5",
               "mho: --set 2: tile.cell.on_off_ratio = 0.5 leaves no window");
    check_chip("tile.adc.bits=12",
               "tile.adc.circuit={model: flash, resistor_mismatch: 0, comparator_offset: 0, noise_LSB: 0}",
               "mho: --set 1: tile.adc.bits: 12 bits are too many for a flash converter (allowed: 2 to 8, ");

    snprintf(text, sizeof text,
             "include: %s/configs/parts/pcm_like.yaml\n"
             "g_min_uS: {value: 26, kind: assumed, source: test, spread: [1, 1]}\n",
             data_directory());
    const char *part = file_of("part.yaml", text);
    snprintf(set, sizeof set, "tile.cell=%s", part);
    snprintf(says, sizeof says, "mho: %s:2: tile.cell.g_min_uS = 26 is not below g_max_uS = 25", part);
    check_chip(set, NULL, says);
    must_refuse((const char *const[]){"device", "stats", part, NULL}, 2, ":2: g_min_uS = 26 is not below");

    snprintf(text, sizeof text,
             "include: %s/configs/chips/pcm256.yaml\n"
             "tile:\n"
             "  cell:\n"
             "    part: ecram\n"
             "    g_max_uS: {value: 0.05, kind: assumed, source: test, spread: [1, 1]}\n",
             data_directory());
    const char *chip = file_of("own.yaml", text);
    must_refuse((const char *const[]){"chip", "check", chip, NULL}, 2,
                "own.yaml:5: tile.cell.g_max_uS: g_min_uS = 0.1");

    snprintf(text, sizeof text,
             "include: %s/configs/chips/pcm256.yaml\n"
             "tile:\n"
             "  dac: {coding: bit_serial}\n"
             "  adc:\n"
             "    bits: 12\n"
             "    circuit: {model: flash, resistor_mismatch: {value: 0, kind: assumed, source: test, spread: [1, 1]},\n"
             "              comparator_offset: {value: 0, kind: assumed, source: test, spread: [1, 1]},\n"
             "              noise_LSB: {value: 0, kind: assumed, source: test, spread: [1, 1]}}\n",
             data_directory());
    chip = file_of("bits.yaml", text);
    must_refuse((const char *const[]){"chip", "check", chip, NULL}, 2,
                "bits.yaml:5: tile.adc.bits: 12 bits are too many for a flash converter (allowed: 2 to 8, ");
    must_refuse((const char *const[]){"chip", "check", chip, "--set", "tile.adc.bits=8", "--set",
                                      "tile.dac.circuit={model: pulse_width, jitter_LSB: 0.1}", NULL},
                2, "--set 2: tile.dac.circuit.model: pulse_width converts whole codes, coding bit_serial sends");
}

static void circuit_tables(void **state) {
    (void)state;
    char set[1500], says[1500];
    const char *bad = file_of("bad.csv", "code,inl_lsb\n1,0\n3,0\n2,0\n");
    snprintf(set, sizeof set, "tile.adc.circuit={model: table, file: %s, noise_LSB: 0}", bad);
    snprintf(says, sizeof says, "mho: --set 2: tile.adc.circuit.file: %s:3:1: code 3 where 2 is next", bad);
    refuse_chip("tile.adc.bits=2", set, 1, says); /* a file that is wrong, not the configuration */

    const char *million = file_of("million.csv", "code,inl_lsb\n");
    FILE *f = fopen(million, "ab");
    for (int i = 1; i <= 1000000; i++) {
        fprintf(f, "%d,0\n", i);
    }
    fclose(f);
    snprintf(set, sizeof set, "tile.adc.circuit={model: table, file: %s, noise_LSB: 0}", million);
    snprintf(says, sizeof says, "mho: --set 1: tile.adc.circuit.file: %s: 1000000 rows (allowed: 255", million);
    check_chip(set, NULL, says);
}

static void tile_files(void **state) {
    (void)state;
    const char *w = file_of("W.csv", "# two by two\n1,0.5\n0.25,-0.125\n"), *x = file_of("X.csv", "1,0\n");
    const char *const negative[] = {"tile", "--weights", w, "--inputs", x, "--set", "tile.encoding=unsigned", NULL};
    must_refuse(negative, 1, "W.csv:3:2: -0.125: negative (allowed: 0 and above with tile.encoding unsigned)");

    FILE *f = fopen(x, "wb");
    for (int i = 0; i < 65537; i++) {
        fputs("1,0\n", f);
    }
    fclose(f);
    const char *const many[] = {"tile", "--weights", w, "--inputs", x, "--json", NULL};
    must_refuse(many, 2,
                "X.csv: 65537 input vectors: every stage of each is kept in memory (allowed: at most 65536 lines");
}

#define FLOATING                                                                                                       \
    "--float-inactive", "--exact", "--set", "tile.wires.column_ohm=1", "--set", "tile.wires.output_ohm=1", "--set",    \
        "tile.wires.column_fF=1", "--set", "tile.wires.row_ohm=0", "--set"

/* Before anything is programmed or solved, and even where no input floats. */
static void floating_rows_need_a_driver(void **state) {
    (void)state;
    const char *w = file_of("W.csv", "1,0.5\n0.25,-0.125\n"), *x = file_of("X.csv", "1,1\n");
    const char *const stiff[] = {"tile", "--weights", w, "--inputs", x, FLOATING, "tile.wires.input_ohm=0", NULL};
    must_refuse(stiff, 2, "mho: --set 5: tile.wires.input_ohm = 0 ohm, and tile.wires.row_ohm = 0: a row behind 0 ohm");
    const char *const soft[] = {"tile", "--weights", w, "--inputs", x, FLOATING, "tile.wires.input_ohm=1", NULL};
    assert_int_equal(run_mho(soft, 60, NULL, NULL), 0);
}

static json_t *cell_named(json_t *cells, const char *name) {
    size_t i;
    json_t *one;
    json_array_foreach(cells, i, one) {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) {
            return one;
        }
    }
    fail_msg("no cell %s", name);
    return NULL;
}

/* Not bad input, but bad output: numbers as the part says them, and capacitances not as conductances. */
static void ranges_of_cells(void **state) {
    (void)state;
    char *out = NULL;
    assert_int_equal(run_mho((const char *const[]){"device", "list", "--json", NULL}, 60, &out, NULL), 0);
    json_t *root = json_loads(out, 0, NULL), *cells = json_object_get(root, "cells");
    json_t *pcm = cell_named(cells, "pcm_like"), *sram = cell_named(cells, "sram_capacitor");
    assert_true(json_number_value(json_object_get(pcm, "g_max_uS")) == 25);
    assert_true(json_number_value(json_object_get(pcm, "g_min_uS")) == 0);
    assert_true(json_is_null(json_object_get(pcm, "c_max_fF")));
    assert_true(json_is_null(json_object_get(sram, "g_max_uS")));
    assert_true(json_number_value(json_object_get(sram, "c_max_fF")) == 1);
    json_decref(root);
    mem_free(out);
    assert_int_equal(run_mho((const char *const[]){"device", "list", NULL}, 60, &out, NULL), 0);
    assert_non_null(strstr(out, "range 0 to 1 fF (capacitance)"));
    mem_free(out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(relations_name_the_key),      cmocka_unit_test(circuit_tables),  cmocka_unit_test(tile_files),
    cmocka_unit_test(floating_rows_need_a_driver), cmocka_unit_test(ranges_of_cells),
};
const struct test_suite suite_input = {"input", tests, sizeof tests / sizeof tests[0]};
