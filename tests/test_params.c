/* Parameter tables, units, durations, nearest names: values, messages word for word, round trips. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/params.h"
#include "tests/suite.h"

static struct error err;
static struct arena *arena;

static int setup(void **state) {
    (void)state;
    arena = arena_create();
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    arena_destroy(arena);
    return 0;
}

struct sample {
    int rows, mode;
    double g_max_S, ratio;
    bool drift;
    const char *name;
    struct constant energy_J, area_m2;
    struct param_numbers levels_S;
};

static const char *const modes[] = {"per_token", "static", NULL};

static const struct param rows[] = {
    {"rows", PARAM_INT, "", 1, 4096, NULL, "inputs of a tile", offsetof(struct sample, rows), NULL},
    {"dac.mode", PARAM_CHOICE, "", 0, 0, "per_token", "input range", offsetof(struct sample, mode), modes},
    {"cell.g_max_uS", PARAM_NUMBER, "uS", 0.001, 1000, "25", "largest conductance", offsetof(struct sample, g_max_S),
     NULL},
    {"ratio", PARAM_NUMBER, "", -(double)INFINITY, (double)INFINITY, "1", "any factor", offsetof(struct sample, ratio),
     NULL},
    {"drift", PARAM_BOOL, "", 0, 0, "on", "switch", offsetof(struct sample, drift), NULL},
    {"name", PARAM_TEXT, "", 0, 0, "", "what it is called", offsetof(struct sample, name), NULL},
    {"adc.energy_pJ", PARAM_CONSTANT, "pJ", 0, 1e6,
     "{value: 1.6, kind: published, source: paper2023, spread: [0.8, 2]}", "per conversion",
     offsetof(struct sample, energy_J), NULL},
    {"adc.area_um2", PARAM_CONSTANT, "um2", 0, 1e9, "{value: 100, kind: measured, source: layout}", "per converter",
     offsetof(struct sample, area_m2), NULL},
    {"cell.levels_uS", PARAM_NUMBERS, "uS", 0, 1000,
     "{value: [0, 12.5, 25], kind: measured, source: array 3}", "target conductances",
     offsetof(struct sample, levels_S), NULL},
};
static const struct param_table table = PARAM_TABLE("sample", rows);

static struct config_node *parse(const char *text) {
    struct config_node *n;
    if (config_parse(arena, text, strlen(text), "c.yaml", &n, &err) != OK) {
        fail_msg("%s", err.message);
    }
    return n;
}

static struct sample read_sample(const struct config_node *n) {
    struct sample s;
    memset(&s, 0xa5, sizeof s);
    if (params_read(&table, n, "tile.", arena, &s, &err) != OK) {
        fail_msg("%s", err.message);
    }
    return s;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void values_become_si(void **state) {
    (void)state;
    struct sample s =
        read_sample(parse("rows: 256\ndac: {mode: static}\n"
                          "cell: {g_max_uS: 30, levels_uS: {value: [1, 2.5], kind: fitted, source: my array}}\n"
                          "ratio: -1e3\ndrift: no\nname: \"null\"\n"
                          "adc: {energy_pJ: {value: 2.5, kind: assumed, source: guess, spread: [0.5, 3]}}\n"));
    assert_int_equal(s.rows, 256);
    assert_int_equal(s.mode, 1);
    assert_true(s.g_max_S == 30 * 1e-6);
    assert_true(s.ratio == -1000);
    assert_false(s.drift);
    assert_string_equal(s.name, "null");
    assert_true(s.energy_J.value == 2.5 * 1e-12);
    assert_int_equal(s.energy_J.kind, CONSTANT_ASSUMED);
    assert_string_equal(s.energy_J.source, "guess");
    assert_true(s.energy_J.spread_low == 0.5 && s.energy_J.spread_high == 3);
    assert_int_equal(s.levels_S.count, 2);
    assert_true(s.levels_S.values[1] == 2.5 * 1e-6);
}

static void defaults(void **state) {
    (void)state;
    struct sample s = read_sample(parse("{rows: 1}"));
    assert_int_equal(s.mode, 0);
    assert_true(s.g_max_S == 25 * 1e-6);
    assert_true(s.drift);
    assert_string_equal(s.name, "");
    assert_true(s.energy_J.value == 1.6 * 1e-12);
    assert_int_equal(s.energy_J.kind, CONSTANT_PUBLISHED);
    assert_true(s.energy_J.spread_low == 0.8 && s.energy_J.spread_high == 2);
    assert_true(s.area_m2.value == 100 * 1e-12);
    assert_true(s.area_m2.spread_low == 1 && s.area_m2.spread_high == 1);
    assert_int_equal(s.levels_S.count, 3);
}

static void range_ends_are_inside(void **state) {
    (void)state;
    assert_int_equal(read_sample(parse("{rows: 1}")).rows, 1);
    assert_int_equal(read_sample(parse("{rows: 4096}")).rows, 4096);
    assert_true(read_sample(parse("{rows: 1, cell: {g_max_uS: 1000}}")).g_max_S == 1000 * 1e-6);
    assert_true(read_sample(parse("{rows: 1, cell: {g_max_uS: 1e-3}}")).g_max_S == 0.001 * 1e-6);
}

#define LIST_FORM                                                                                                      \
    "{value: [NUMBER, ...], kind: measured|published|fitted|assumed, source: TEXT, spread: [LOW, HIGH]}, values"
#define CONSTANT_FORM "{value: NUMBER, kind: measured|published|fitted|assumed, source: TEXT, spread: [LOW, HIGH]}"
#define SOURCE_FORM "a key of the file's sources, or text that says where the value is from"
#define SPREAD_FORM "[LOW, HIGH], factors on the value with 0 < LOW <= 1 <= HIGH"
#define KIND_FORM "measured, published, fitted, assumed"

static const char *const refusals[][2] = {
    {"{}", "c.yaml:1: tile.rows: required key is missing (allowed: a whole number from 1 to 4096)"},
    {"[1]", "c.yaml:1: tile = [...]: not a map (allowed: a map of keys and values)"},
    {"rows: 0", "c.yaml:1: tile.rows = 0: out of range (allowed: a whole number from 1 to 4096)"},
    {"rows: 4097", "c.yaml:1: tile.rows = 4097: out of range (allowed: a whole number from 1 to 4096)"},
    {"rows: 99999999999", "c.yaml:1: tile.rows = 99999999999: out of range (allowed: a whole number from 1 to 4096)"},
    {"rows: 99999999999999999999",
     "c.yaml:1: tile.rows = 99999999999999999999: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"rows: 1.5", "c.yaml:1: tile.rows = 1.5: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"rows: 1e2", "c.yaml:1: tile.rows = 1e2: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"rows:", "c.yaml:1: tile.rows = null: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"rows: [1]", "c.yaml:1: tile.rows = [...]: not a whole number (allowed: a whole number from 1 to 4096)"},
    {"rows: 1\ndac:\n  mode: statik",
     "c.yaml:3: tile.dac.mode = statik: not a choice, nearest is static (allowed: per_token, static)"},
    {"rows: 1\ndac: {mode: 3}", "c.yaml:2: tile.dac.mode = 3: not a choice (allowed: per_token, static)"},
    {"rows: 1\ndac: 8", "c.yaml:2: tile.dac = 8: not a map (allowed: a map of keys and values)"},
    {"rows: 1\ncell: {g_max_uS: 0}",
     "c.yaml:2: tile.cell.g_max_uS = 0: out of range (allowed: a number from 0.001 to 1000 uS)"},
    {"rows: 1\ncell: {g_max_uS: 1000.1}",
     "c.yaml:2: tile.cell.g_max_uS = 1000.1: out of range (allowed: a number from 0.001 to 1000 uS)"},
    {"rows: 1\ncell: {g_max_uS: 25 uS}", "c.yaml:2: tile.cell.g_max_uS = 25 uS: the unit is part of the key, not of "
                                         "the value (allowed: a number from 0.001 to 1000 uS)"},
    {"rows: 1\ncell: {g_max_uS: 25x}",
     "c.yaml:2: tile.cell.g_max_uS = 25x: not a number (allowed: a number from 0.001 to 1000 uS)"},
    {"rows: 1\ncell: {g_max_uS: nan}",
     "c.yaml:2: tile.cell.g_max_uS = nan: not a number (allowed: a number from 0.001 to 1000 uS)"},
    {"rows: 1\nratio: inf", "c.yaml:2: tile.ratio = inf: not a number (allowed: a number)"},
    {"rows: 1\nratio: 1e999", "c.yaml:2: tile.ratio = 1e999: not a number (allowed: a number)"},
    {"rows: 1\nratio: 0x10", "c.yaml:2: tile.ratio = 0x10: not a number (allowed: a number)"},
    {"rows: 1\nratio: ''", "c.yaml:2: tile.ratio = \"\": not a number (allowed: a number)"},
    {"rows: 1\ndrift: maybe", "c.yaml:2: tile.drift = maybe: not a switch (allowed: on, off, true, false, yes, no)"},
    {"rows: 1\nname:", "c.yaml:2: tile.name = null: not text (allowed: text)"},
    {"rows: 1\nname: {a: 1}", "c.yaml:2: tile.name = {...}: not text (allowed: text)"},
    {"rows: 1\ncell: {levels_uS: 3}",
     "c.yaml:2: tile.cell.levels_uS = 3: not a list with its source (allowed: " LIST_FORM " from 0 to 1000 uS)"},
    {"rows: 1\ncell: {levels_uS: [3]}",
     "c.yaml:2: tile.cell.levels_uS = [...]: coefficients are never a bare list (allowed: " LIST_FORM
     " from 0 to 1000 uS)"},
    {"rows: 1\ncell: {levels_uS: {value: 3, kind: fitted, source: x}}",
     "c.yaml:2: tile.cell.levels_uS = 3: its value is not a list (allowed: " LIST_FORM " from 0 to 1000 uS)"},
    {"rows: 1\ncell: {levels_uS: {value: [3], source: x}}",
     "c.yaml:2: tile.cell.levels_uS: kind is missing (allowed: measured, published, fitted, assumed)"},
    {"rows: 1\ncell:\n  levels_uS:\n    kind: fitted\n    source: x\n    value:\n    - 3\n    - -1",
     "c.yaml:8: tile.cell.levels_uS.value[1] = -1: out of range (allowed: a number from 0 to 1000 uS)"},
    {"rows: 1\nadc: {energy_pJ: 1.6}",
     "c.yaml:2: tile.adc.energy_pJ = 1.6: a physical constant is never a bare number (allowed: " CONSTANT_FORM
     ", value from 0 to 1000000 pJ)"},
    {"rows: 1\nadc: {energy_pJ: x}",
     "c.yaml:2: tile.adc.energy_pJ = x: not a physical constant (allowed: " CONSTANT_FORM
     ", value from 0 to 1000000 pJ)"},
    {"rows: 1\nadc: {energy_pJ: {kind: measured, source: x}}",
     "c.yaml:2: tile.adc.energy_pJ: value is missing (allowed: a number in the unit of the key)"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, source: x}}",
     "c.yaml:2: tile.adc.energy_pJ: kind is missing (allowed: " KIND_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: guessed, source: x}}",
     "c.yaml:2: tile.adc.energy_pJ.kind = guessed: not a kind of constant (allowed: " KIND_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: measured}}",
     "c.yaml:2: tile.adc.energy_pJ: source is missing (allowed: " SOURCE_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: measured, source: ''}}",
     "c.yaml:2: tile.adc.energy_pJ.source = \"\": empty (allowed: " SOURCE_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: -1, kind: measured, source: x}}",
     "c.yaml:2: tile.adc.energy_pJ.value = -1: out of range (allowed: a number from 0 to 1000000 pJ)"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: assumed, source: x}}",
     "c.yaml:2: tile.adc.energy_pJ: the spread of an assumed constant is missing (allowed: " SPREAD_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: assumed, source: x, spread: 2}}",
     "c.yaml:2: tile.adc.energy_pJ.spread = 2: not two numbers (allowed: " SPREAD_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: assumed, source: x, spread: [2, 3]}}",
     "c.yaml:2: tile.adc.energy_pJ.spread = [...]: the value does not lie between its p10 and p90 (allowed: "
     SPREAD_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: assumed, source: x, spread: [0, 3]}}",
     "c.yaml:2: tile.adc.energy_pJ.spread = [...]: a p10 of zero (allowed: " SPREAD_FORM ")"},
    {"rows: 1\nadc: {energy_pJ: {value: 1, kind: measured, source: x, unit: J}}",
     "c.yaml:2: tile.adc.energy_pJ.unit = J: unknown key (allowed: value, kind, source, spread)"},
};

static void refusals_word_for_word(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct sample s;
        assert_int_equal(params_read(&table, parse(refusals[i][0]), "tile.", arena, &s, &err), ERR_USAGE);
        assert_string_equal(err.message, refusals[i][1]);
    }
    struct sample s;
    assert_int_equal(params_read(&table, NULL, "", arena, &s, &err), ERR_USAGE);
    assert_string_equal(err.message, "rows: required key is missing (allowed: a whole number from 1 to 4096)");
}

static void overrides_are_named(void **state) {
    (void)state;
    struct config_node *n = parse("{rows: 1}");
    struct sample s;
    assert_int_equal(config_set(arena, n, "cell.g_max_uS=-3", 2, &err), OK);
    assert_int_equal(params_read(&table, n, "tile.", arena, &s, &err), ERR_USAGE);
    assert_string_equal(err.message,
                        "--set 2: tile.cell.g_max_uS = -3: out of range (allowed: a number from 0.001 to 1000 uS)");
}

/* ---- unknown keys ----------------------------------------------------------------------------------- */

static enum status check_unused(const char *text) {
    static const struct param more[] = {{"clock_Hz", PARAM_NUMBER, "Hz", 0, 1e12, "1", "clock", 0, NULL}};
    static const struct param_table chip = PARAM_TABLE("chip", more);
    const struct param_table *const tables[] = {&chip, &table};
    static const char *const prefixes[] = {"", "tile."}, *const skip[] = {"sources", "tile.cell.model", NULL};
    return params_check_unused(tables, prefixes, 2, parse(text), skip, &err);
}

static void known_keys_pass(void **state) {
    (void)state;
    assert_int_equal(
        check_unused(
            "clock_Hz: 1\nsources: {any: thing, is: {fine: here}}\n"
            "tile: {rows: 1, dac: {mode: static}, cell: {model: x, g_max_uS: 1}, adc: {energy_pJ: {value: 1}}}\n"),
        OK);
    assert_int_equal(check_unused("{}"), OK);
}

static void unknown_keys_word_for_word(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"tile:\n  row: 3", "c.yaml:2: tile.row = 3: unknown key (nearest: tile.rows)"},
        {"tile:\n  dcell: {mode: x}", "c.yaml:2: tile.dcell = {...}: unknown key (nearest: tile.cell)"},
        {"tile:\n  cell:\n    g_max: 25",
         "c.yaml:3: tile.cell.g_max = 25: unknown key: the unit is part of the key (nearest: tile.cell.g_max_uS)"},
        {"tile:\n  cell:\n    g_max_S: 25",
         "c.yaml:3: tile.cell.g_max_S = 25: unknown key: the unit is part of the key (nearest: tile.cell.g_max_uS)"},
        {"clock: 25", "c.yaml:1: clock = 25: unknown key: the unit is part of the key (nearest: clock_Hz)"},
        {"source: {}", "c.yaml:1: source = {...}: unknown key (nearest: sources)"},
        {"rows: 3", "c.yaml:1: rows = 3: unknown key (nearest: tile.rows)"},
        {"tile: {colour: 3}",
         "c.yaml:1: tile.colour = 3: unknown key (allowed: rows, dac, cell, ratio, drift, name, adc)"},
        {"tile: 3", "c.yaml:1: tile = 3: not a map (allowed: a map of keys and values)"},
        {"tile: {dac: {mode: x, m: y}}", "c.yaml:1: tile.dac.m = y: unknown key (allowed: mode)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(check_unused(cases[i][0]), ERR_USAGE);
        assert_string_equal(err.message, cases[i][1]);
    }
}

/* ---- writing back ----------------------------------------------------------------------------------- */

static void assert_same_bits(double a, double b) { assert_memory_equal(&a, &b, sizeof a); }

static void assert_dump_reads_back(const struct sample *s) {
    struct config_node *map = config_new_map(arena, "made", 0);
    if (params_dump(&table, s, "tile.", arena, map, &err) != OK) {
        fail_msg("%s", err.message);
    }
    char *text = config_dump(map);
    struct sample back = read_sample(parse(text));
    assert_int_equal(back.rows, s->rows);
    assert_int_equal(back.mode, s->mode);
    assert_same_bits(back.g_max_S, s->g_max_S);
    assert_same_bits(back.ratio, s->ratio);
    assert_int_equal(back.drift, s->drift);
    assert_string_equal(back.name, s->name);
    assert_same_bits(back.energy_J.value, s->energy_J.value);
    assert_int_equal(back.energy_J.kind, s->energy_J.kind);
    assert_string_equal(back.energy_J.source, s->energy_J.source);
    assert_same_bits(back.energy_J.spread_low, s->energy_J.spread_low);
    assert_same_bits(back.energy_J.spread_high, s->energy_J.spread_high);
    assert_int_equal(back.levels_S.count, s->levels_S.count);
    assert_int_equal(back.levels_S.about.kind, s->levels_S.about.kind);
    assert_string_equal(back.levels_S.about.source, s->levels_S.about.source);
    for (size_t i = 0; i < s->levels_S.count; i++) {
        assert_same_bits(back.levels_S.values[i], s->levels_S.values[i]);
    }
    mem_free(text);
}

static void dumps_read_back(void **state) {
    (void)state;
    struct sample s = read_sample(parse("{rows: 7, name: ~x, drift: off}"));
    assert_dump_reads_back(&s);
    struct config_node *map = config_new_map(arena, "made", 0);
    assert_int_equal(params_dump(&table, &s, "", arena, map, &err), OK);
    char *text = config_dump(map);
    assert_string_equal(text, "rows: 7\n"
                              "dac: {mode: per_token}\n"
                              "cell:\n"
                              "  g_max_uS: 25\n"
                              "  levels_uS: {value: [0, 12.5, 25], kind: measured, source: array 3}\n"
                              "ratio: 1\n"
                              "drift: off\n"
                              "name: \"~x\"\n"
                              "adc:\n"
                              "  energy_pJ: {value: 1.6, kind: published, source: paper2023, spread: [0.8, 2]}\n"
                              "  area_um2: {value: 100, kind: measured, source: layout}\n");
    mem_free(text);
    s = read_sample(
        parse("{rows: 7, name: 'null', adc: {energy_pJ: {value: 0, kind: assumed, source: '12', spread: [1, 1]}}}"));
    assert_dump_reads_back(&s); /* an assumed constant keeps its spread though it is 1 */
}

static void awkward_numbers_read_back(void **state) {
    (void)state;
    static const char *const numbers[] = {"0.1",
                                          "0.3",
                                          "1e-3",
                                          "25.000000000000004",
                                          "3.3333333333333335",
                                          "999.99999999999989",
                                          "0.0010000000000000002",
                                          "17.7",
                                          "2.2250738585072014",
                                          "6.62607015",
                                          "123.45600000000002"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{rows: 1, ratio: %s, cell: {g_max_uS: %s, levels_uS: {value: [%s], kind: fitted, source: s}}, "
                 "adc: {energy_pJ: {value: %s, kind: fitted, source: x}}}",
                 numbers[i], numbers[i], numbers[i], numbers[i]);
        struct sample s = read_sample(parse(text));
        assert_dump_reads_back(&s);
    }
    static const char *const extremes[] = {"-0", "5e-324", "-1.7976931348623157e308", "2.2250738585072014e-308",
                                           "123456789012345678"};
    for (size_t i = 0; i < sizeof extremes / sizeof extremes[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{rows: 1, ratio: %s}", extremes[i]);
        struct sample s = read_sample(parse(text));
        assert_dump_reads_back(&s);
    }
}

/* Random numbers of the file times every kind of factor: what was read can always be written, in no more digits. */
static void every_product_has_a_text(void **state) {
    (void)state;
    static const double factors[] = {1, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 1e-18, 1e3, 1e9};
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        double number = (double)(random >> 11) / 9007199254740992.0 * (i % 3 ? 1e4 : 1), factor = factors[i % 9];
        char text[32];
        double back;
        assert_true(format_scaled(number * factor, factor, text));
        assert_true(parse_double(text, &back));
        assert_same_bits(back * factor, number * factor);
    }
}

static void what_cannot_be_written(void **state) {
    (void)state;
    struct config_node *map = config_new_map(arena, "made", 0);
    struct sample s = read_sample(parse("{rows: 1}"));
    s.ratio = (double)NAN;
    assert_int_equal(params_dump(&table, &s, "tile.", arena, map, &err), ERR_RUN);
    assert_string_equal(err.message, "tile.ratio: nan in SI units cannot be written as a decimal number of its unit");
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    size_t failures = 0;
    enum status status = ERR_RUN;
    for (size_t n = 1; status != OK; n++) {
        mem_fail_at(n);
        struct arena *a = arena_create();
        struct sample s;
        struct config_node *map = NULL;
        status = a ? config_parse(a, "{rows: 1}", 9, "c", &map, &err) : ERR_RUN;
        status = status == OK ? params_read(&table, map, "", a, &s, &err) : status;
        status = status == OK ? params_dump(&table, &s, "", a, map, &err) : status;
        const struct param_table *const tables[] = {&table};
        status = status == OK ? params_check_unused(tables, (const char *const[]){""}, 1, map, NULL, &err) : status;
        status = status == OK ? params_check_table(&table, &err) : status;
        mem_fail_at(0);
        assert_true(status == OK || status == ERR_RUN);
        failures += status != OK;
        arena_destroy(a);
    }
    assert_true(failures >= 4); /* arena, its chunk, the arenas of the two checks */
}

/* ---- help and the tables themselves ------------------------------------------------------------------ */

/* The whole table; free(). */
static char *printed(void (*print)(const struct param_table *t, const char *prefix, FILE *out), const char *prefix) {
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    print(&table, prefix, f);
    fclose(f);
    return text;
}

static void help_has_a_line_per_row(void **state) {
    (void)state;
    char *text = printed(params_help, "tile.");
    size_t lines = 0;
    for (const char *c = text; *c; c++) {
        lines += *c == '\n';
    }
    assert_int_equal(lines, table.count);
    assert_non_null(strstr(
        text, "  tile.rows                            int                1..4096        required; inputs of a tile; "
        "source: given by the chip file\n"));
    assert_non_null(strstr(
        text,
        "  tile.cell.g_max_uS                   number uS          0.001..1000    default 25; largest conductance; "
        "source: a setting\n"));
    assert_non_null(strstr(
        text,
        "  tile.dac.mode                        per_token|static                  default per_token; input range; "
        "source: a setting\n"));
    assert_non_null(strstr(
        text, "  tile.ratio                           number             ..             default 1; any factor; "
              "source: a setting\n"));
    free(text);
}

/* Of a default that is a constant its own; nothing is left blank. */
static void every_row_has_a_source(void **state) {
    (void)state;
    static const char *const expected[] = {"given by the chip file", "a setting", "a setting", "a setting", "a setting",
                                           "a setting", "published, spread [0.8, 2]: paper2023", "measured: layout",
                                           "measured: array 3"};
    char source[PARAM_SOURCE_BYTES];
    assert_int_equal(sizeof expected / sizeof expected[0], table.count);
    for (size_t i = 0; i < table.count; i++) {
        const struct param *row = &table.rows[i];
        param_source(row, source);
        assert_string_equal(source, expected[i]);
    }
    struct param row = {"r_ohm", PARAM_CONSTANT, "ohm", 0, 9, NULL, "x", 0, NULL};
    param_source(&row, source);
    assert_string_equal(source, "given by the chip file, with a source of its own");
    row.default_text = "{value: 1, kind: assumed, source: \"a, b\", spread: [1, 2]}";
    param_source(&row, source);
    assert_string_equal(source, "assumed, spread [1, 2]: a, b");
}

static void the_default_of_a_constant_is_its_value(void **state) {
    (void)state;
    char *text = printed(params_markdown, "");
    assert_non_null(strstr(text, "| `adc.energy_pJ` | constant pJ | 0..1000000 | 1.6 | per conversion | published, "
                                 "spread [0.8, 2]: paper2023 |\n"));
    assert_non_null(strstr(text, "| `cell.levels_uS` | numbers uS | 0..1000 | 0, 12.5, 25 | target conductances | "
                                 "measured: array 3 |\n"));
    assert_non_null(strstr(text, "| `rows` | int | 1..4096 | required | inputs of a tile | given by the chip file "
                                 "|\n"));
    assert_non_null(strstr(text, "| `name` | text |  | \"\" | what it is called | a setting |\n"));
    free(text);
}

static void the_sample_table_is_right(void **state) {
    (void)state;
    if (params_check_table(&table, &err) != OK) {
        fail_msg("%s", err.message);
    }
}

static void assert_bad_row(struct param row, const char *message) {
    struct param_table one = {"t", &row, 1};
    assert_int_equal(params_check_table(&one, &err), ERR_USAGE);
    assert_string_equal(err.message, message);
}

static void wrong_tables_are_found(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    assert_bad_row((struct param){"g_uS", PARAM_NUMBER, "S", 0, 1, "1", "x", 0, NULL},
                   "table t: g_uS: the unit is not the suffix of the key");
    assert_bad_row((struct param){"g", PARAM_NUMBER, "uS", 0, 1, "1", "x", 0, NULL},
                   "table t: g: the unit is not the suffix of the key");
    assert_bad_row((struct param){"a.g_uS", PARAM_NUMBER, "", 0, 1, "1", "x", 0, NULL},
                   "table t: a.g_uS: the unit is not the suffix of the key");
    assert_bad_row((struct param){"e_J_per_bit", PARAM_NUMBER, "bits", 0, 1, "1", "x", 0, NULL},
                   "table t: e_J_per_bit: the unit is not the suffix of the key");
    assert_bad_row((struct param){"g_yS", PARAM_NUMBER, "yS", 0, 1, "1", "x", 0, NULL}, "table t: g_yS: unknown unit");
    assert_bad_row((struct param){"g_s", PARAM_TEXT, "s", 0, 1, "1", "x", 0, NULL},
                   "table t: g_s: a unit on something that is not a number");
    assert_bad_row((struct param){"n", PARAM_INT, "", 2, 1, "1", "x", 0, NULL}, "table t: n: the range is empty");
    assert_bad_row((struct param){"n", PARAM_CHOICE, "", 0, 0, "1", "x", 0, none}, "table t: n: no choices");
    assert_bad_row((struct param){"n", PARAM_INT, "", 0, 1, "1", "", 0, NULL}, "table t: n: no help");
    assert_bad_row((struct param){"n", PARAM_INT, "", 0, 1, "2", "x", 0, NULL},
                   "table t: (default): n = 2: out of range (allowed: a whole number from 0 to 1)");
    assert_bad_row(
        (struct param){"n_J", PARAM_CONSTANT, "J", 0, 1, "{value: 1, kind: assumed, source: x}", "x", 0, NULL},
        "table t: (default):1: n_J: the spread of an assumed constant is missing (allowed: " SPREAD_FORM ")");
    struct param twice[] = {rows[0], rows[0]}, inside[] = {rows[0], rows[0]};
    inside[1].key = "rows.more";
    struct param_table t = {"t", twice, 2}, u = {"t", inside, 2};
    assert_int_equal(params_check_table(&t, &err), ERR_USAGE);
    assert_string_equal(err.message, "table t: rows: collides with rows");
    assert_int_equal(params_check_table(&u, &err), ERR_USAGE);
    assert_string_equal(err.message, "table t: rows.more: collides with rows");
}

/* ---- numbers, units, durations, names ---------------------------------------------------------------- */

static void numbers(void **state) {
    (void)state;
    static const char *const good[] = {"0",     "-0",   "1",    "+1",     "1.",    ".5",
                                       "1.5e3", "1E+3", "1e-3", "0e-999", "00012", "5e-324"};
    static const double values[] = {0, 0, 1, 1, 1, 0.5, 1500, 1000, 0.001, 0, 12, 5e-324};
    static const char *const bad[] = {"",    " 1",  "1 ",  "1e",    "e5",     ".",      "+",     "--1",  "1,5",
                                      "0x1", "inf", "nan", "1e999", "-1e999", "1e-999", "1.2.3", "1_000"};
    double value;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(parse_double(good[i], &value));
        assert_true(value == values[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        value = 7;
        assert_false(parse_double(bad[i], &value));
        assert_true(value == 7);
    }
    assert_int_equal(number_length("1e3s"), 3);
    assert_int_equal(number_length("1es"), 1);
    assert_int_equal(number_length("-.5.5"), 3);
}

static void whole_numbers(void **state) {
    (void)state;
    int64_t i;
    uint64_t u;
    assert_true(parse_int64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(parse_int64("+9223372036854775807", &i) && i == INT64_MAX);
    assert_false(parse_int64("9223372036854775808", &i));
    assert_true(parse_uint64("18446744073709551615", &u) && u == UINT64_MAX);
    static const char *const bad[] = {"", "-", "1.0", " 1", "1 ", "0x1", "1e3", "-+1"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        assert_false(parse_int64(bad[k], &i));
        assert_false(parse_uint64(bad[k], &u));
    }
    assert_false(parse_uint64("18446744073709551616", &u));
    assert_false(parse_uint64("-1", &u));
}

static void shortest_texts(void **state) {
    (void)state;
    static const struct { double value; const char *text;
    } cases[] = {
        {0, "0"},
        {0.1, "0.1"},
        {1e-5, "1e-5"},
        {-1e-5, "-1e-5"},
        {1.6e-12, "1.6e-12"},
        {1e10, "1e10"},
        {100, "100"},
        {1e7, "1e7"},
        {9999999, "9999999"},
        {1e100, "1e100"},
        {0.1 + 0.2, "0.30000000000000004"},
        {256, "256"},
        {1.0 / 3, "0.3333333333333333"},
    };
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        format_double(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
        double back;
        assert_true(parse_double(text, &back));
        assert_same_bits(back, cases[i].value);
    }
    format_double((double)INFINITY, text);
    assert_string_equal(text, "null");
}

static void the_locale_does_not_matter(void **state) {
    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "de_DE.utf8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        skip_because("no locale with a decimal comma is installed");
    }
    double value = 0;
    char text[32];
    bool parsed = parse_double("1.5", &value);
    format_double(2.5, text);
    setlocale(LC_ALL, "C");
    assert_true(parsed && value == 1.5);
    assert_string_equal(text, "2.5");
}

static void unit_factors(void **state) {
    (void)state;
    static const struct { const char *unit; double factor;
    } cases[] = {
        {"S", 1},
        {"uS", 1e-6},
        {"nS", 1e-9},
        {"s", 1},
        {"ns", 1e-9},
        {"ps", 1e-12},
        {"V", 1},
        {"mV", 1e-3},
        {"uA", 1e-6},
        {"J", 1},
        {"pJ", 1e-12},
        {"fJ", 1e-15},
        {"aJ", 1e-18},
        {"mW", 1e-3},
        {"ohm", 1},
        {"kohm", 1e3},
        {"fF", 1e-15},
        {"Hz", 1},
        {"MHz", 1e6},
        {"GHz", 1e9},
        {"mm2", 1e-6},
        {"um2", 1e-12},
        {"nm2", 1e-18},
        {"bits", 1},
        {"Bps", 1},
        {"GBps", 1e9},
        {"J_per_bit", 1},
        {"pJ_per_bit", 1e-12},
        {"um2_per_bit", 1e-12},
        {"K", 1},
    };
    double factor;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(unit_factor(cases[i].unit, &factor));
        assert_true(factor == cases[i].factor);
    }
    assert_false(unit_factor("", &factor));
    assert_false(unit_factor("US", &factor));
    assert_false(unit_factor("parsec", &factor));
}

static void durations(void **state) {
    (void)state;
    static const struct { const char *text; double seconds;
    } good[] = {
        {"0", 0},         {"20s", 20},         {"5min", 300},    {"1h", 3600},   {"1d", 86400},
        {"30d", 2592000}, {"1month", 2592000}, {"1y", 31536000}, {"3e4", 30000}, {"1e3s", 1000},
        {"1.5h", 5400},   {"86400", 86400},    {"-0", 0},
    };
    static const char *const bad[] = {"",   "s",   "1m",  "1 h", "1hh",   "1h30min",
                                      "1e", "nan", "inf", "h1",  "1e999", "0x1s"};
    double seconds;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(parse_duration_s(good[i].text, &seconds, &err), OK);
        assert_true(seconds == good[i].seconds && !signbit(seconds));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char expected[256];
        snprintf(expected, sizeof expected,
                 "%s: not a time (allowed: a number with s, min, h, d, month = 30 d or y = 365 d, such as 20s, 1h, 0)",
                 bad[i]);
        assert_int_equal(parse_duration_s(bad[i], &seconds, &err), ERR_USAGE);
        assert_string_equal(err.message, expected);
    }
    assert_int_equal(parse_duration_s("-1h", &seconds, &err), ERR_USAGE);
    assert_string_equal(err.message, "-1h: a time cannot be negative (allowed: 0 or more)");
    assert_int_equal(parse_duration_s("1e308y", &seconds, &err), ERR_USAGE);
    assert_string_equal(err.message, "1e308y: the time is too long for a number (allowed: up to 1.8e308 s)");
}

static void nearest_names(void **state) {
    (void)state;
    static const char *const names[] = {"run", "eval", "map", "chip", "device", "tokenize", "bench", "perplexity"};
    static const char *const cases[][2] = {
        {"runn", "run"},
        {"rnu", "run"},
        {"evla", "eval"},
        {"chp", "chip"},
        {"devices", "device"},
        {"tokenise", "tokenize"},
        {"perplexty", "perplexity"},
        {"preplexiyt", "perplexity"},
        {"eval", "eval"},
        {"perplexing", "perplexity"},
        {"xyzzy", NULL},
        {"zz", NULL},
        {"q", NULL},
        {"", NULL},
        {"tokens", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *near = nearest_name(cases[i][0], names, 8);
        if (!cases[i][1]) {
            assert_null(near);
        } else {
            assert_non_null(near);
            assert_string_equal(near, cases[i][1]);
        }
    }
    char word[500];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = 0;
    assert_null(nearest_name(word, names, 8));
    assert_null(nearest_name("run", names, 0));
    assert_null(nearest_name("x", (const char *const[]){"ab"}, 1)); /* two edits, but nothing in common */
    assert_string_equal(nearest_name("x", (const char *const[]){"xb"}, 1), "xb");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(values_become_si),
    TEST(defaults),
    TEST(range_ends_are_inside),
    TEST(refusals_word_for_word),
    TEST(overrides_are_named),
    TEST(known_keys_pass),
    TEST(unknown_keys_word_for_word),
    TEST(dumps_read_back),
    TEST(awkward_numbers_read_back),
    TEST(every_product_has_a_text),
    TEST(what_cannot_be_written),
    TEST(every_allocation_may_fail),
    TEST(help_has_a_line_per_row),
    TEST(every_row_has_a_source),
    TEST(the_default_of_a_constant_is_its_value),
    TEST(the_sample_table_is_right),
    TEST(wrong_tables_are_found),
    TEST(numbers),
    TEST(whole_numbers),
    TEST(shortest_texts),
    TEST(the_locale_does_not_matter),
    TEST(unit_factors),
    TEST(durations),
    TEST(nearest_names),
};

const struct test_suite suite_params = {"params", tests, sizeof tests / sizeof tests[0]};
