/* Chip files: what loads, what is refused and how that reads, and the effective configuration as a fixed point. */
#include "tests/chips.h"
#include "tests/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "sim/chip.h"
#include "tests/mutate.h"

static const char good[] = "chip: small\n" /* line 1 */
                           "about: a chip for tests\n"
                           "sources: {paper2020: 'A paper, 2020'}\n"
                           "tile:\n"
                           "  rows: 64\n"
                           "  columns: 32\n"
                           "  cell: {part: pcm_like, g_max_uS: {value: 25, kind: published, source: paper2020}}\n"
                           "  encoding: differential_pair\n"
                           "  dac: {bits: 8, energy_J: {value: 1e-12, kind: published, source: paper2020}, area_um2: "
                           "{value: 10, kind: measured, source: my own lab}}\n"
                           "  adc:\n" /* line 10 */
                           "    bits: 8\n"
                           "    share: 4\n"
                           "    energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}\n"
                           "    area_um2: {value: 100, kind: published, source: paper2020}\n"
                           "  post: {energy_J: {value: 3e-13, kind: published, source: paper2020}, area_um2: {value: "
                           "5, kind: published, source: paper2020}}\n"
                           "  read_voltage_V: {value: 0.2, kind: published, source: paper2020}\n"
                           "  pulse_ns: {value: 100, kind: published, source: paper2020}\n"
                           "  mvm_ns: {value: 150, kind: published, source: paper2020}\n"
                           "  conversion_ns: {value: 20, kind: published, source: paper2020}\n"
                           "  cell_area_um2: {value: 1, kind: published, source: paper2020}\n" /* line 20 */
                           "  static_W: {value: 1e-3, kind: assumed, source: a guess of mine, spread: [0.5, 2]}\n"
                           "effects: on\n"
                           "analog: [q, k, v, o]\n"
                           "tiles_per_chip: 16\n"
                           "clock_GHz: 2\n"
                           "vector: vector_fp16_14nm\n"
                           "attention: ita_22nm\n"
                           "matmul: mac_int8_14nm\n"
                           "kv: sram_kv_14nm\n"
                           "buffer: {part: sram_buffer_14nm, capacity_KiB: 64}\n"; /* line 30 */

/* `text` with the first `old` replaced, in a file of its own. */
static const char *write_chip(const char *text, const char *old, const char *replacement) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/chip.yaml", scratch_directory());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    const char *at = old ? strstr(text, old) : NULL;
    assert_true(!old || at);
    fprintf(f, "%.*s%s%s", at ? (int)(at - text) : (int)strlen(text), text, at ? replacement : "",
            at ? at + strlen(old) : "");
    fclose(f);
    return path;
}

/* ---- what loads -------------------------------------------------------------------------------- */

static void tables_are_right(void **state) {
    (void)state;
    for (size_t i = 0; i < chip_table_count; i++) {
        struct error e = {OK, ""};
        if (params_check_table(&chip_tables[i].table, &e) != OK) {
            fail_msg("%s: %s", chip_tables[i].table.name, e.message);
        }
    }
}

static void values_are_si(void **state) {
    (void)state;
    struct chip *c = load(write_chip(good, NULL, NULL), NULL, 0);
    const struct chip_spec *s = chip_spec_of(c);
    assert_string_equal(s->name, "small");
    assert_int_equal(s->tile.rows, 64);
    assert_int_equal(s->tile.adc.share, 4);
    assert_near(s->tile.pulse_s.value, 100e-9, 1e-22); /* 100 ns: the unit's factor once; a rounding or two */
    assert_near(s->tile.adc.area_m2.value, 100e-12, 1e-25);
    assert_true(s->clock_Hz == 2e9);
    assert_true(s->tile.adc.energy_J.spread_low == 0.5 && s->tile.adc.energy_J.spread_high == 2);
    assert_int_equal(s->tile.dac.energy_J.kind, CONSTANT_PUBLISHED);
    assert_int_equal(s->buffer.capacity_KiB, 64); /* own key over the part's 512 */
    assert_int_equal(s->buffer.value_bits, 16);   /* the part's */
    assert_string_equal(s->buffer.name, "sram_buffer_14nm");
    assert_true(s->replicate); /* default */
    assert_string_equal(s->analog, "q,k,v,o");
    assert_true(s->analog_role[MATRIX_Q] && s->analog_role[MATRIX_O] && !s->analog_role[MATRIX_UP] &&
                !s->analog_role[MATRIX_HEAD]);
    assert_true(s->analog_role[MATRIX_QKV] && !s->analog_role[MATRIX_GATE_UP]); /* fused q, k and v are q, k and v */
    chip_destroy(c);
}

static void count_sourced(void *ctx, const char *key, const char *unit, const struct constant *k) {
    double factor;
    assert_true(!unit[0] || unit_factor(unit, &factor)); /* coefficients of a fit may have none */
    assert_true(strlen(key) > strlen(unit) && strcmp(key + strlen(key) - strlen(unit), unit) == 0);
    assert_true(k->source[0] && k->spread_low > 0 && k->spread_high >= k->spread_low);
    ++*(size_t *)ctx;
}

static void catalogue_loads(void **state) {
    (void)state;
    const char *const *names = NULL;
    struct error e = {OK, ""};
    assert_int_equal(chip_catalogue(&names, &e), OK);
    size_t chips = 0;
    for (; names[chips]; chips++) {
        struct chip *c = load(names[chips], NULL, 0);
        size_t constants = 0;
        assert_string_equal(chip_name(c), names[chips]); /* the file is called as the chip */
        assert_true(chips == 0 || strcmp(names[chips - 1], names[chips]) < 0);
        chip_visit_constants(c, count_sourced, &constants);
        assert_true(constants >= (chip_has_costs(c) ? 30 : 1));
        chip_destroy(c);
    }
    assert_true(chips >= 3);
}

/* ---- overrides --------------------------------------------------------------------------------- */

static void parts_before_deeper_keys(void **state) {
    (void)state;
    const char *const sets[] = {"tile.adc.bits=6", "tile.cell.g_max_uS.value=20",
                                "tile.adc=cco_8b", "tile.cell=pcm_like",
                                "effects.dac=on",  "effects=off"};
    struct chip *c = load("pcm256", sets, 6);
    const struct chip_spec *s = chip_spec_of(c);
    assert_int_equal(s->tile.adc.bits, 6);
    assert_string_equal(s->tile.cell_model, "pcm_like");
    assert_near(cell_common_of(s->tile.cell).g_max_S, 20e-6, 1e-19); /* a rounding or two */
    assert_true(s->effects.dac && !s->effects.adc && !s->effects.drift && !s->effects.read_noise &&
                !s->effects.programming_noise);
    for (size_t i = 0; i < chip_effect_count(); i++) {
        assert_int_equal(chip_effect_on(c, i), strcmp(chip_effect_name(i), "dac") == 0);
    }
    chip_destroy(c);
}

static void part_alone_keeps_own_keys(void **state) {
    (void)state;
    const char *const sets[] = {"buffer.part=sram_kv_14nm"};
    struct chip *c = load(write_chip(good, NULL, NULL), sets, 1);
    const struct memory_spec *m = &chip_spec_of(c)->buffer;
    assert_string_equal(m->name, "sram_kv_14nm");
    assert_int_equal(m->value_bits, 8);    /* of the new part */
    assert_int_equal(m->capacity_KiB, 64); /* of the chip */
    chip_destroy(c);
}

static void number_on_the_command_line_is_an_assumption(void **state) {
    (void)state;
    const char *const sets[] = {"tile.adc.energy_J=1e-12", "attention.energy_J.value=2e-13", "vector.lanes=64"};
    struct chip *c = load("pcm256", sets, 3);
    const struct chip_spec *s = chip_spec_of(c);
    const struct constant *both[] = {&s->tile.adc.energy_J, &s->attention.energy_J};
    assert_true(both[0]->value == 1e-12 && both[1]->value == 2e-13);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(both[i]->kind, CONSTANT_ASSUMED); /* not published any more */
        assert_string_equal(both[i]->source, "set on the command line");
    }
    assert_int_equal(s->vector.lanes, 64);
    chip_destroy(c);
}

/* Also of a group that the chip file does not have. */
static void numbers_of_a_new_group(void **state) {
    (void)state;
    const char *const sets[] = {"tile.wires.row_ohm=0.35", "tile.wires.column_ohm=0.5", "tile.wires.input_ohm=10",
                                "tile.wires.output_ohm=0", "tile.wires.column_fF=0.5"};
    struct chip *c = load("pcm256", sets, 5);
    const struct wires_spec *w = &chip_spec_of(c)->tile.wires;
    assert_true(w->given && w->row_ohm.value == 0.35 && w->output_ohm.value == 0 && w->column_F.value == 0.5e-15);
    assert_int_equal(w->column_ohm.kind, CONSTANT_ASSUMED);
    assert_string_equal(w->column_ohm.source, "set on the command line");
    chip_destroy(c);
}

static void sets_change_the_hash(void **state) {
    (void)state;
    const char *const set[] = {"effects.drift=off"}, *const same[] = {"tile.adc.bits=8"};
    struct chip *a = load("pcm256", NULL, 0), *b = load("pcm256", set, 1), *c = load("pcm256", same, 1);
    assert_true(chip_hash(a) != chip_hash(b));
    assert_true(chip_hash(a) == chip_hash(c)); /* what it says counts, not how it was said */
    chip_destroy(a);
    chip_destroy(b);
    chip_destroy(c);
}

/* ---- effective configuration ------------------------------------------------------------------- */

/* Dumped as YAML and as JSON, the configuration gives the same text and the same hash when it is loaded again. */
static void assert_fixed_point(const char *name, const char *const *sets, size_t count) {
    char paths[2][4096];
    const char *folder = scratch_directory();
    snprintf(paths[0], sizeof paths[0], "%s/effective.yaml", folder);
    snprintf(paths[1], sizeof paths[1], "%s/effective.json", folder);
    struct chip *c = load(name, sets, count);
    char *text = config_dump(chip_config(c));
    json_t *json = chip_config_json(c);
    char *json_text = json_dumps(json, JSON_INDENT(2));
    write_text(paths[0], text);
    write_text(paths[1], json_text);
    for (int i = 0; i < 2; i++) {
        struct chip *again = load(paths[i], NULL, 0);
        char *text_again = config_dump(chip_config(again));
        assert_string_equal(text, text_again);
        assert_true(chip_hash(c) == chip_hash(again));
        mem_free(text_again);
        chip_destroy(again);
    }
    free(json_text);
    json_decref(json);
    mem_free(text);
    chip_destroy(c);
}

static void effective_configuration_is_a_fixed_point(void **state) {
    (void)state;
    const char *const *names = NULL;
    struct error e = {OK, ""};
    assert_int_equal(chip_catalogue(&names, &e), OK);
    for (size_t i = 0; names[i]; i++) {
        assert_fixed_point(names[i], NULL, 0);
    }
    const char *const several[] = {"tile.cell=pcm_like",
                                   "tile.adc.bits=5",
                                   "effects=off",
                                   "effects.adc=on",
                                   "tile.adc.energy_J=1.23456789012345e-12",
                                   "analog=[q, head]"};
    assert_fixed_point("pcm256", several, 6);
    const char *const odd[] = {"clock_GHz=0.3333333333333333", "about='1e3: \"quoted\" # and more'",
                               "sources.null='~'"};
    assert_fixed_point("pcm256", odd, 3);
    assert_fixed_point(write_chip(good, NULL, NULL), NULL, 0);
}

/* pcm256_wires is a copy: nothing but its name, what it says of itself and its wires may differ. */
static void the_chip_with_wires_is_pcm256(void **state) {
    (void)state;
    static const char *const own[] = {"chip", "about"};
    char *text[2];
    for (int i = 0; i < 2; i++) {
        struct chip *c = load(i ? "pcm256_wires" : "pcm256", NULL, 0);
        json_t *json = chip_config_json(c);
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(json_object_del(json, own[k]), 0);
        }
        assert_int_equal(json_object_del(json_object_get(json, "tile"), "wires"), i ? 0 : -1);
        text[i] = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
        json_decref(json);
        chip_destroy(c);
    }
    assert_string_equal(text[1], text[0]);
    free(text[0]);
    free(text[1]);
}

/* ---- bad chip files ---------------------------------------------------------------------------- */

struct bad {
    const char *old, *replacement, *message;
};

/* `text` with every `path` in it replaced, so that messages do not depend on where the test runs. */
static void replace_all(char *text, size_t bytes, const char *path, const char *by) {
    char out[4 * ERROR_MESSAGE_BYTES] = "";
    size_t used = 0;
    for (const char *p = text; *p && used + strlen(by) + 2 < sizeof out;) {
        bool here = strncmp(p, path, strlen(path)) == 0;
        used += (size_t)snprintf(out + used, sizeof out - used, "%.*s", here ? (int)strlen(by) : 1, here ? by : p);
        p += here ? strlen(path) : 1;
    }
    snprintf(text, bytes, "%s", out);
}

/* In the expected messages `chip.yaml` is the file and @ the folder that holds configs/. All say what is allowed, or
 * name the key that was meant; but the system's own words about a file, and the parser's about YAML. */
static void assert_message(size_t number, struct error *e, const char *path, const char *expected) {
    replace_all(e->message, sizeof e->message, path, "chip.yaml");
    replace_all(e->message, sizeof e->message, data_directory(), "@");
    if (strcmp(e->message, expected) != 0) {
        fail_msg("case %zu\n  said:     %s\n  expected: %s", number, e->message, expected);
    }
    if (!strstr(expected, "(allowed: ") && !strstr(expected, "(nearest: ") && !strstr(expected, "cannot open") &&
        !strstr(expected, "not valid YAML")) {
        fail_msg("case %zu: '%s' does not say what is allowed", number, expected);
    }
}

static const struct bad bad_files[] = {
    {"chip: small\n", "", "chip.yaml:1: chip: required key is missing (allowed: text)"},
    {"chip: small", "chip: 9lives",
     "chip.yaml:1: chip: '9lives' is not a name (allowed: letters, digits, '_', '-', '.'; a letter first)"},
    {"about: a chip for tests\n", "", "chip.yaml:1: about: required key is missing (allowed: text)"},
    {"  rows: 64", "  row: 64", "chip.yaml:5: tile.row = 64: unknown key (nearest: tile.rows)"},
    {"  rows: 64", "  rows: 0", "chip.yaml:5: tile.rows = 0: out of range (allowed: a whole number from 1 to 4096)"},
    {"  rows: 64", "  rows: 4097",
     "chip.yaml:5: tile.rows = 4097: out of range (allowed: a whole number from 1 to 4096)"},
    {"  rows: 64", "  rows: 64.5",
     "chip.yaml:5: tile.rows = 64.5: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"  rows: 64", "  rows: many",
     "chip.yaml:5: tile.rows = many: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"  rows: 64", "  rows: 64\n  rows: 32", "chip.yaml:6: rows: duplicate key (allowed: once; first on line 5)"},
    {"  columns: 32", "  columns: 30",
     "chip.yaml:12: tile.adc.share: 30 columns cannot be shared by converters of 4 columns each (allowed: divisors of "
     "tile.columns)"},
    {"{bits: 8, energy_J", "{bits: 1, energy_J",
     "chip.yaml:9: tile.dac.bits = 1: out of range (allowed: a whole number from 2 to 16 bits)"},
    {"    bits: 8\n", "    bits: 15\n",
     "chip.yaml:11: tile.adc.bits = 15: out of range (allowed: a whole number from 2 to 14 bits)"},
    {"  encoding: differential_pair", "  encoding: differential",
     "chip.yaml:8: tile.encoding = differential: not a choice (allowed: differential_pair, signed_unit, one_device, "
     "offset_column, reference_column, unsigned)"},
    {"  encoding: differential_pair", "  encoding: signed_unit",
     "chip.yaml:8: tile.encoding: signed_unit needs a cell with the statistics of a whole pair; pcm_like has single "
     "devices (allowed: differential_pair, one_device, offset_column, reference_column, unsigned)"},
    {"part: pcm_like, g_max_uS", "model: pcm_likes, g_max_uS",
     "chip.yaml:7: tile.cell.model: cell model 'pcm_likes' is unknown: did you mean 'pcm_like' (allowed: ideal, "
     "pcm_like, pcm_hermes_1dev, pcm_hermes_2dev, pcm_afm, pcm_joshi, reram_wan, reram_cmo, reram_milo, sonos, "
     "sram_capacitor, ecram, generic, measured)"},
    {"{part: pcm_like, ", "{",
     "chip.yaml:7: tile.cell: missing (allowed: the name of a part in configs/parts, or a map with the key model)"},
    {"cell: {part: pcm_like, g_max_uS: {value: 25, kind: published, source: paper2020}}", "cell: pcm_afm",
     "chip.yaml:8: tile.encoding: cell model pcm_afm describes a signed pair as a whole (allowed: signed_unit)"},
    {"cell: {part: pcm_like, g_max_uS: {value: 25, kind: published, source: paper2020}}", "cell: pcm_lke",
     "chip.yaml:7: tile.cell: no part 'pcm_lke' in configs/parts: nearest is pcm_like (allowed: a name there, or a "
     "path that ends "
     "in .yaml or has a '/')"},
    {"cell: {part: pcm_like, g_max_uS: {value: 25, kind: published, source: paper2020}}", "cell: /no/such/part.yaml",
     "chip.yaml:7: tile.cell: /no/such/part.yaml: cannot open: No such file or directory"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}", "energy_J: 2e-12",
     "chip.yaml:13: tile.adc.energy_J = 2e-12: a physical constant is never a bare number (allowed: {value: NUMBER, "
     "kind: measured|published|fitted|assumed, source: TEXT, spread: [LOW, HIGH]}, value from 1e-18 to 1e-6 J)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: 2e-12, source: paper2020}",
     "chip.yaml:13: tile.adc.energy_J: kind is missing (allowed: measured, published, fitted, assumed)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: 2e-12, kind: published}",
     "chip.yaml:13: tile.adc.energy_J: source is missing (allowed: a key of the file's sources, or text that says "
     "where the value is from)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: 2e-12, kind: guessed, source: paper2020}",
     "chip.yaml:13: tile.adc.energy_J.kind = guessed: not a kind of constant (allowed: measured, published, fitted, "
     "assumed)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: 2e-12, kind: published, source: paper2021}",
     "chip.yaml:13: tile.adc.energy_J.source: 'paper2021' is not a key of sources: nearest is paper2020 (allowed: such "
     "a key, or a reference in words)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: -2e-12, kind: published, source: paper2020}",
     "chip.yaml:13: tile.adc.energy_J.value = -2e-12: out of range (allowed: a number from 1e-18 to 1e-6 J)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: 0, kind: published, source: paper2020}",
     "chip.yaml:13: tile.adc.energy_J.value = 0: out of range (allowed: a number from 1e-18 to 1e-6 J)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_J: {value: nan, kind: published, source: paper2020}",
     "chip.yaml:13: tile.adc.energy_J.value = nan: not a number (allowed: a number from 1e-18 to 1e-6 J)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy: {value: 2e-12, kind: published, source: paper2020}",
     "chip.yaml:13: tile.adc.energy = {...}: unknown key: the unit is part of the key (nearest: tile.adc.energy_J)"},
    {"energy_J: {value: 2e-12, kind: published, source: paper2020, spread: [0.5, 2]}",
     "energy_pJ: {value: 2, kind: published, source: paper2020}",
     "chip.yaml:13: tile.adc.energy_pJ = {...}: unknown key: the unit is part of the key (nearest: tile.adc.energy_J)"},
    {", spread: [0.5, 2]}\neffects", "}\neffects",
     "chip.yaml:21: tile.static_W: the spread of an assumed constant is missing (allowed: [LOW, HIGH], factors on the "
     "value with 0 < LOW <= 1 <= HIGH)"},
    {"spread: [0.5, 2]}\n    area", "spread: [2, 0.5]}\n    area",
     "chip.yaml:13: tile.adc.energy_J.spread = [...]: p10 above p90 (allowed: [LOW, HIGH], factors on the value with 0 "
     "< LOW <= 1 <= HIGH)"},
    {"spread: [0.5, 2]}\n    area", "spread: [-1, 2]}\n    area",
     "chip.yaml:13: tile.adc.energy_J.spread = [...]: below zero (allowed: [LOW, HIGH], factors on the value with 0 "
     "< LOW <= 1 <= HIGH)"},
    {"  mvm_ns: {value: 150", "  mvm_ns: {value: 99",
     "chip.yaml:18: tile.mvm_ns: a multiply of 99 ns is shorter than its input pulse of 100 ns (allowed: at least "
     "tile.pulse_ns)"},
    {"  mvm_ns: {value: 150, kind: published, source: paper2020}\n", "",
     "chip.yaml:4: tile.mvm_ns: required key is missing (allowed: {value: NUMBER, kind: "
     "measured|published|fitted|assumed, source: TEXT, spread: [LOW, HIGH]}, value from 0.001 to 1000000 ns)"},
    {"    share: 4", "    share: 4\n    range: static\n    rule: quantile",
     "chip.yaml:14: tile.adc.rule: a statistic of calibration outputs, but tile.adc.range is static (allowed: maximum, "
     "or tile.adc.range = calibrated)"},
    {"  encoding: differential_pair", "  encoding: differential_pair\n  compensation_period_s: 60",
     "chip.yaml:9: tile.compensation_period_s: 60 s, but tile.compensation is none (allowed: 0, or tile.compensation = "
     "global, per_column, exact_reference)"},
    {"  encoding: differential_pair",
     "  encoding: differential_pair\n  phenomena: {ir_drop: 1}\n  wires:\n"
     "    row_ohm: {value: 1, kind: published, source: paper2020}\n"
     "    column_ohm: {value: 1, kind: published, source: paper2020}\n"
     "    input_ohm: {value: 1, kind: published, source: paper2020}\n"
     "    output_ohm: {value: 1, kind: published, source: paper2020}\n"
     "    column_fF: {value: 1, kind: published, source: paper2020}",
     "chip.yaml:9: tile.phenomena.ir_drop: 1, but tile.wires has the same losses already (allowed: 0, no "
     "tile.wires, or "
     "effects.wires=off)"},
    {"effects: on", "effects: some", "chip.yaml:22: effects: no switch (allowed: on, off, or a map of effects)"},
    {"effects: on", "effects: {heat: off}",
     "chip.yaml:22: effects.heat = off: unknown key (allowed: programming_noise, drift, read_noise, faults, wires, "
     "cell_nonlinearity, temperature, dac, dac_errors, adc, adc_errors)"},
    {"effects: on", "effects: {dac: perhaps}",
     "chip.yaml:22: effects.dac = perhaps: not a switch (allowed: on, off, true, false, yes, no)"},
    {"effects: on", "costs: none\neffects: on",
     "chip.yaml:16: tile.read_voltage_V: a cost key on a chip that declares costs: none (allowed: without the key, or "
     "costs: "
     "full and every cost)"},
    {"analog: [q, k, v, o]", "analog: [q, k, value]",
     "chip.yaml:23: analog: 'value' is not a role (allowed: all, or some of q k v o gate up down qkv gate_up head)"},
    {"analog: [q, k, v, o]", "analog: []",
     "chip.yaml:23: analog: names no role (allowed: all, or some of q k v o gate up down qkv gate_up head)"},
    {"analog: [q, k, v, o]", "analog: [{q: 1}]",
     "chip.yaml:23: analog: not a role (allowed: all, or a list of q k v o gate up down qkv gate_up head)"},
    {"cell: {part: pcm_like, g_max_uS: {value: 25, kind: published, source: paper2020}}",
     "cell: {part: pcm_like, g_max_mS: {value: 25, kind: published, source: paper2020}}",
     "chip.yaml:7: tile.cell.g_max_mS = {...}: unknown key: the unit is part of the key (nearest: tile.cell.g_max_uS)"},
    {"tiles_per_chip: 16\n", "",
     "chip.yaml:1: tiles_per_chip: required key is missing (allowed: a whole number from 1 to 1000000)"},
    {"tiles_per_chip: 16", "tiles_per_chip: -1",
     "chip.yaml:24: tiles_per_chip = -1: out of range (allowed: a whole number from 1 to 1000000)"},
    {"clock_GHz: 2", "clock_Hz: 2e9",
     "chip.yaml:25: clock_Hz = 2e9: unknown key: the unit is part of the key (nearest: clock_GHz)"},
    {"clock_GHz: 2", "clock_GHz: 2 GHz",
     "chip.yaml:25: clock_GHz = 2 GHz: the unit is part of the key, not of the value (allowed: a number from 0.001 to "
     "100 GHz)"},
    {"vector: vector_fp16_14nm", "vector: [1, 2]",
     "chip.yaml:26: vector: neither text nor a map (allowed: the name of a part, or a map of keys)"},
    {"vector: vector_fp16_14nm\n", "",
     "chip.yaml:1: vector: missing (allowed: a map of keys, or the name of a part in configs/parts)"},
    {"vector: vector_fp16_14nm", "vector: sram_kv_14nm",
     "@/configs/parts/sram_kv_14nm.yaml:4: vector.value_bits = 8: unknown key (nearest: kv.value_bits)"},
    {"capacity_KiB: 64", "capacity_kib: 64",
     "chip.yaml:30: buffer.capacity_kib = 64: unknown key (nearest: buffer.capacity_KiB)"},
    {"sources: {paper2020: 'A paper, 2020'}", "sources: [a, b]",
     "chip.yaml:3: sources: not a map (allowed: a map from short names to references)"},
    {"sources: {paper2020: 'A paper, 2020'}", "sources: {paper2020: 'A paper, 2020', ita2023: another}",
     "@/configs/parts/ita_22nm.yaml:4: sources.ita2023: has another text in chip.yaml:3 (allowed: the same, or another "
     "name)"},
    {"clock_GHz: 2", "clock_GHz: 2\nhierarchy: {tiles_per_core: 4, cores_per_cluster: 4}",
     "chip.yaml:26: hierarchy.clusters_per_chip: required key is missing (allowed: a whole number from 1 to "
     "1000000)"},
    {"clock_GHz: 2", "clock_GHz: 2\nhierarchy: {tiles_per_core: 4, cores_per_cluster: 0, clusters_per_chip: 1}",
     "chip.yaml:26: hierarchy.cores_per_cluster = 0: out of range (allowed: a whole number from 1 to 1000000)"},
    {"clock_GHz: 2", "clock_GHz: 2\nhierarchy: {tiles_per_core: 4, cores_per_cluster: 2, clusters_per_chip: 1}",
     "chip.yaml:26: hierarchy.clusters_per_chip: 1 clusters of 2 cores of 4 tiles are 8 tiles, but "
     "tiles_per_chip is 16 (allowed: levels whose product it is)"},
    {"clock_GHz: 2", "clock_GHz: 2\nhierarchy: {core: {cluster: core}}",
     "chip.yaml:26: hierarchy.core = {...}: unknown key (allowed: tiles_per_core, cores_per_cluster, "
     "clusters_per_chip, chips_per_package)"},
    {"clock_GHz: 2", "clock_GHz: 2\nhierarchy: &h {tiles_per_core: *h}",
     "chip.yaml:26: &h: anchors are not supported (allowed: write the value out)"},
    {"clock_GHz: 2", "clock_GHz: 2\nnetwork: {part: noc_mesh_45nm, columns: 3, rows: 4}",
     "chip.yaml:26: network.columns: a mesh of 3 x 4 does not hold 16 cores (allowed: at least as many)"},
    {"clock_GHz: 2", "clock_GHz: 2\nnetwork: {part: noc_mesh_45nm, columns: 4, rows: 0}",
     "chip.yaml:26: network.columns: a mesh of 4 x 0 does not hold 16 cores (allowed: at least as many)"},
    {"clock_GHz: 2", "clock_GHz: 2\nnetwork: {part: noc_mesh_45nm, columns: 4, rows: 4, hub: 16}",
     "chip.yaml:26: network.hub: node 16 is not there (allowed: -1 to 15)"},
    {"clock_GHz: 2", "clock_GHz: 2\nnetwork: {part: noc_mesh_45nm, columns: 4, rows: 4, tiles_per_core: 0}",
     "chip.yaml:26: network.tiles_per_core = 0: out of range (allowed: a whole number from 1 to 1000000)"},
    {"clock_GHz: 2", "clock_GHz: 2\nnetwork: {part: noc_mesh_45nm, topology: ring}",
     "chip.yaml:26: network.topology = ring: not a choice (allowed: none, bus, htree, mesh)"},
    {"clock_GHz: 2", "clock_GHz: 2\nchip_link: {part: link_hypertransport, bandwidth_GBps: {value: 0, kind: "
                     "published, source: paper2020}}",
     "chip.yaml:26: chip_link.bandwidth_GBps.value = 0: out of range (allowed: a number from 1e-6 to 1000000 "
     "GBps)"},
    {"  rows: 64", "  rows: 0",
     "chip.yaml:5: tile.rows = 0: out of range (allowed: a whole number from 1 to 4096)"},
    {"vector: vector_fp16_14nm", "vector: {part: vector_fp16_14nm, lanes: 0}",
     "chip.yaml:26: vector.lanes = 0: out of range (allowed: a whole number from 1 to 1000000)"},
    {"capacity_KiB: 64", "capacity_KiB: 0",
     "chip.yaml:30: buffer.capacity_KiB = 0: out of range (allowed: a whole number from 1 to 2147483647)"},
    {"tile:\n", "tiles:\n", "chip.yaml:1: tile: missing (allowed: a map of keys)"},
    {"  rows: 64", "\trows: 64",
     "chip.yaml:5: not valid YAML: found character that cannot start any token (while scanning for the next token)"},
    {"chip: small", "include: nothing.yaml\nchip: small",
     "chip.yaml:1: include = nothing.yaml: no such file (allowed: a file, seen from the folder of this one)"},
};

static void bad_files_are_explained(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
        const struct bad *b = &bad_files[i];
        const char *path = write_chip(good, b->old, b->replacement);
        struct chip *c = NULL;
        struct error e = {OK, ""};
        enum status status = chip_load(path, NULL, 0, &c, &e);
        assert_null(c);
        assert_int_equal(status, ERR_USAGE);
        assert_message(i, &e, path, b->message);
    }
}

static const struct bad bad_sets[] = {
    /* replacement: the override; chip pcm256 */
    {NULL, "tile.adc.bit=3", "--set 1: tile.adc.bit = 3: unknown key (nearest: tile.adc.bits)"},
    {NULL, "tile.adc=cco_9b",
     "--set 1: tile.adc: no part 'cco_9b' in configs/parts: nearest is cco_8b (allowed: a name there, or a path that "
     "ends in "
     ".yaml or has a '/')"},
    {NULL, "tile.rows.x=3",
     "--set 1: tile.rows.x=3: tile.rows is 256 (@/configs/chips/pcm256.yaml:25), not a map (allowed: keys inside "
     "maps)"},
    {NULL, "analog=kk",
     "--set 1: analog: 'kk' is not a role: nearest is k (allowed: all, or some of q k v o gate up down qkv gate_up "
     "head)"},
    {NULL, "tile.cell=pcm_afm",
     "@/configs/chips/pcm256.yaml:28: tile.encoding: cell model pcm_afm describes a signed pair as a whole (allowed: "
     "signed_unit)"},
    {NULL, "effects=maybe", "--set 1: effects: no switch (allowed: on, off, or a map of effects)"},
    {NULL, "tile.adc.share=3",
     "--set 1: tile.adc.share: 256 columns cannot be shared by converters of 3 columns each (allowed: divisors of "
     "tile.columns)"},
    {NULL, "clock_Hz=1e9", "--set 1: clock_Hz = 1e9: unknown key: the unit is part of the key (nearest: clock_GHz)"},
    {NULL, "chip=3", "--set 1: chip: '3' is not a name (allowed: letters, digits, '_', '-', '.'; a letter first)"},
    {NULL, "tile=3", "--set 1: tile: not a map (allowed: a map of keys)"},
    {NULL, "include=x.yaml", "--set 1: include: cannot be set (allowed: in files; name the file as the chip)"},
    {NULL, "rows", "--set 1: rows: not an assignment (allowed: KEY=VALUE, as in tile.adc.bits=6)"},
    {NULL, "=3", "--set 1: =3: not an assignment (allowed: KEY=VALUE, as in tile.adc.bits=6)"},
    {NULL, "tile.adc.energy_J.source=me",
     "--set 1: tile.adc.energy_J.source: 'me' is not a key of sources (allowed: such a key, or a reference in words)"},
    {NULL, "tile.pulse_ns=200",
     "@/configs/chips/pcm256.yaml:37: tile.mvm_ns: a multiply of 132.9 ns is shorter than its input pulse of 200 ns "
     "(allowed: at "
     "least tile.pulse_ns)"},
    {NULL, "tile.adc.energy_J=lots",
     "--set 1: tile.adc.energy_J.value = lots: not a number (allowed: a number from 1e-18 to 1e-6 J)"},
    {NULL, "tile.dac.static_parameter=0",
     "--set 1: tile.dac.static_parameter = 0: out of range (allowed: a number from 1e-6 to 1000)"},
    {NULL, "effects.heat=off",
     "--set 1: effects.heat = off: unknown key (allowed: programming_noise, drift, read_noise, faults, wires, "
     "cell_nonlinearity, temperature, dac, dac_errors, adc, adc_errors)"},
    {NULL, "tile.dac.split_bits=4",
     "--set 1: tile.dac.split_bits: 4, but tile.dac.coding is not split (allowed: 3, or tile.dac.coding = split)"},
    {"ideal", "tile.compensation_period_s=100",
     "--set 1: tile.compensation_period_s: 100 s, but tile.compensation is none (allowed: 0, or tile.compensation = "
     "global, per_column, exact_reference)"},
    {"ideal", "tile.correction_period_s=100",
     "--set 1: tile.correction_period_s: 100 s, but tile.correction is none (allowed: 0, or tile.correction = "
     "affine)"},
    {"afm", "tile.adc.rule=quantile",
     "--set 1: tile.adc.rule: a statistic of calibration outputs, but tile.adc.range is lambda (allowed: maximum, or "
     "tile.adc.range = calibrated)"},
    {"ideal", "tile.adc.energy_J=1e-12",
     "--set 1: tile.adc.energy_J: a cost key on a chip that declares costs: none (allowed: without the key, or costs: "
     "full "
     "and every cost)"},
    {"ideal", "vector=vector_fp16_14nm",
     "--set 1: vector.name: a cost key on a chip that declares costs: none (allowed: without the key, or costs: full "
     "and "
     "every cost)"},
    {"afm", "tile.encoding=differential_pair",
     "--set 1: tile.encoding: cell model pcm_afm describes a signed pair as a whole (allowed: signed_unit)"},
};

static void bad_overrides_are_explained(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_sets / sizeof bad_sets[0]; i++) {
        struct chip *c = NULL;
        struct error e = {OK, ""};
        assert_int_equal(chip_load(bad_sets[i].old ? bad_sets[i].old : "pcm256", &bad_sets[i].replacement, 1, &c, &e),
                         ERR_USAGE);
        assert_null(c);
        assert_message(i, &e, "(no file)", bad_sets[i].message);
    }
}

static void unknown_chip_gets_the_nearest(void **state) {
    (void)state;
    struct chip *c = NULL;
    struct error e = {OK, ""};
    assert_int_equal(chip_load("pcm265", NULL, 0, &c, &e), ERR_USAGE);
    assert_string_equal(e.message, "chip 'pcm265': not in the catalogue: nearest is pcm256 (allowed: a name of "
                                   "`mho chip list`, or a path that ends in .yaml or has a '/')");
    assert_int_equal(chip_load("./no/such/chip.yaml", NULL, 0, &c, &e), ERR_USAGE);
    assert_string_equal(e.message, "./no/such/chip.yaml: cannot open: No such file or directory");
}

/* Whatever bytes a chip file has: it loads, or a message says why not. Both sides must occur. */
static void survives_damaged_files(void **state) {
    (void)state;
    enum { COPIES = 2000 };
    struct mutation m;
    size_t loaded = 0;
    char path[4096];
    snprintf(path, sizeof path, "%s", write_chip("", NULL, NULL));
    mutation_init(&m, good, sizeof good - 1, sizeof good - 1);
    for (uint64_t seed = 0; seed < COPIES; seed++) {
        struct chip *c = NULL;
        struct error e = {OK, ""};
        mutation_next(&m, seed);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(m.data, 1, m.bytes, f);
        fclose(f);
        enum status status = chip_load(path, NULL, 0, &c, &e);
        assert_true(status == OK ? c != NULL : c == NULL && e.message[0] != 0);
        loaded += status == OK;
        chip_destroy(c);
    }
    mutation_free(&m);
    assert_true(loaded >= 1 && loaded < COPIES / 2); /* a flipped digit in a number still loads */
}

/* Every allocation in turn fails: an error each time, no leak (the leak sanitizer looks), nothing half made. */
static void survives_lack_of_memory(void **state) {
    (void)state;
    struct chip *c = NULL;
    enum status status = ERR_RUN;
    size_t n = 1;
    for (; n < 2000 && status != OK; n++) {
        struct error e = {OK, ""};
        mem_fail_at(n);
        status = chip_load("pcm256", NULL, 0, &c, &e);
        mem_fail_at(0);
        assert_true(status == OK || (c == NULL && e.message[0]));
    }
    assert_int_equal(status, OK);
    assert_true(n > 5);
    chip_destroy(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tables_are_right),
    cmocka_unit_test(values_are_si),
    cmocka_unit_test(catalogue_loads),
    cmocka_unit_test(parts_before_deeper_keys),
    cmocka_unit_test(part_alone_keeps_own_keys),
    cmocka_unit_test(number_on_the_command_line_is_an_assumption),
    cmocka_unit_test(numbers_of_a_new_group),
    cmocka_unit_test(sets_change_the_hash),
    cmocka_unit_test(effective_configuration_is_a_fixed_point),
    cmocka_unit_test(the_chip_with_wires_is_pcm256),
    cmocka_unit_test(bad_files_are_explained),
    cmocka_unit_test(bad_overrides_are_explained),
    cmocka_unit_test(unknown_chip_gets_the_nearest),
    cmocka_unit_test(survives_lack_of_memory),
    cmocka_unit_test(survives_damaged_files),
};

const struct test_suite suite_chip = {"chip", tests, sizeof tests / sizeof tests[0]};
