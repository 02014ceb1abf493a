/* Published numbers beside simulated ones: every file of the catalogue loads, its errors have not grown, quantities are
 * right by hand, the rules of honesty refuse what they should, and bad input is named.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/csv.h"
#include "base/io.h"
#include "base/memory.h"
#include "sim/measure.h"
#include "tests/chips.h"
#include "tests/mutate.h"
#include "tests/files.h"

/* ---- the catalogue ------------------------------------------------------------------------------------------------
 */

static struct validation *loaded(const char *name) {
    struct validation *v = NULL;
    struct error e = {OK, ""};
    if (validation_load(name, &v, &e) != OK || validation_run(v, &e) != OK) {
        fail_msg("%s: %s", name, e.message);
    }
    return v;
}

/* "neurram,energy_per_op,adc,tile.dac.bits=4 tile.adc.bits=6": what a point is known by. */
static void key_of_point(const struct validation *v, const struct validation_point *p, char *key, size_t bytes) {
    snprintf(key, bytes, "%s,%s,%s,", validation_chip(v), p->quantity, p->component);
    for (size_t i = 0; i < p->set_count; i++) {
        size_t used = strlen(key);
        snprintf(key + used, bytes - used, "%s%s", i ? " " : "", p->sets[i]);
    }
}

/* The line of the table that begins with `key`; its last cell is the error in percent. */
static bool stored_error(const char *table, const char *key, double *percent) {
    size_t n = strlen(key);
    for (const char *line = table; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, key, n) == 0 && line[n] == ',') {
            char cell[32];
            snprintf(cell, sizeof cell, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
            return parse_double(cell, percent);
        }
    }
    return false;
}

/* An error may shrink; it may grow by what the last printed digit of the table hides. */
static const double rounding_percent = 0.02;

static void errors_have_not_grown(void **state) {
    (void)state;
    const char *const *names;
    struct error e;
    char path[1300], key[512], *table;
    size_t bytes, lines = 0, points = 0;
    snprintf(path, sizeof path, "%s/tests/validation_errors.csv", data_directory());
    if (!file_exists(path)) {
        skip_because("tests/validation_errors.csv is not beside the program");
    }
    assert_int_equal(read_file(path, 1u << 20, &table, &bytes, &e), OK);
    for (const char *p = table; (p = strchr(p, '\n')); p++) {
        lines++;
    }
    assert_int_equal(validation_catalogue(&names, &e), OK);
    for (size_t i = 0; names[i]; i++) {
        struct validation *v = loaded(names[i]);
        for (size_t k = 0; k < validation_points(v); k++, points++) {
            struct validation_point p = validation_point_at(v, k);
            double before = (double)NAN;
            key_of_point(v, &p, key, sizeof key);
            if (!stored_error(table, key, &before)) {
                fail_msg("tests/validation_errors.csv: no line %s,%.2f", key, 100 * p.error);
            }
            if (!(fabs(100 * p.error) <= fabs(before) + rounding_percent)) {
                fail_msg("%s: the error was %.2f %%, now it is %.2f %%", key, before, 100 * p.error);
            }
        }
        validation_destroy(v);
    }
    assert_int_equal(points + 1, lines); /* every line but the head is a point */
    mem_free(table);
}

/* What was promised: 45 points, 25 of them predicted; within 10 % or explained. */
static void the_goal_is_met(void **state) {
    (void)state;
    const char *const *names;
    struct error e;
    struct validation_count all = {.points = 0};
    assert_int_equal(validation_catalogue(&names, &e), OK);
    for (size_t i = 0; names[i]; i++) {
        struct validation *v = loaded(names[i]);
        struct validation_count n = validation_count(v);
        assert_true(isfinite(n.worst));
        assert_true(n.constants <= n.fitted);
        all.points += n.points;
        all.predicted += n.predicted;
        for (size_t k = 0; k < validation_points(v); k++) {
            struct validation_point p = validation_point_at(v, k);
            if (fabs(p.error) > VALIDATION_GOAL && !p.why[0]) {
                fail_msg("%s: %s %s is off by %.1f %% and says no reason", names[i], p.quantity, p.component,
                         100 * p.error);
            }
            /* A fit that misses is none. One of them was fitted to another chip's total before. */
            assert_true(p.role != ROLE_FITTED || fabs(p.error) < 0.02);
        }
        validation_destroy(v);
    }
    assert_true(all.points >= 45);
    assert_true(all.predicted >= 25);
    char path[1300], counts[100], *readme;
    size_t bytes;
    snprintf(path, sizeof path, "%s/README.md", data_directory());
    snprintf(counts, sizeof counts, "%zu numbers, %zu of them predicted", all.points, all.predicted);
    if (file_exists(path)) { /* not beside an installed program */
        assert_int_equal(read_file(path, 1u << 20, &readme, &bytes, &e), OK);
        if (!strstr(readme, counts)) {
            fail_msg("README.md does not say \"%s\"", counts);
        }
        mem_free(readme);
    }
}

/* ---- by hand ------------------------------------------------------------------------------------------------------
 */

/* NeuRRAM, 6 bits out, 4 in, one phase: 3 passes, 1 + 2 + 4 pulses of 270 ns, one conversion of 6 x 404 ns. Per core
 * 128 inputs, 256 outputs. */
static void quantities_by_hand(void **state) {
    (void)state;
    const char *const sets[] = {"tile.dac.bits=4", "tile.adc.bits=6"};
    struct chip *c = load("neurram", sets, 2);
    struct workload w = {.tiles = 3, .vectors = 1000, .weights = FILL_UNIFORM, .inputs = FILL_UNIFORM};
    struct measurement m;
    struct error e;
    assert_int_equal(measure(c, &w, &m, &e), OK);
    uint32_t all = 1u << PART_DAC | 1u << PART_SAMPLING | 1u << PART_ADC;
    struct quantity_question q = {.boundary = all, .of = all, .operations_per_mac = 2, .divide = 1};
    double interval_ns = 7 * 270.0 + 6 * 404, operations = 2.0 * 128 * 256 * 3, dac_pJ = 128 * 3 * 3.795,
           sampling_pJ = 256 * (3 * 1.2 + 7 * 0.25), adc_pJ = 256 * 6 * 0.39, sum_pJ = dac_pJ + sampling_pJ + adc_pJ;
    const struct {
        const char *name;
        double value, tolerance; /* relative; the stream's first vector waits for vector unit and buffer */
    } cases[] = {
        {"throughput", operations / interval_ns / 1e3, 1e-3},
        {"efficiency", operations / 3 / sum_pJ, 1e-12},
        {"energy_per_mvm", sum_pJ, 1e-12},
        {"energy_per_op", sum_pJ * 1e3 / (operations / 3), 1e-12},
        {"energy_share", 100, 1e-12},
        {"power", 3 * sum_pJ / interval_ns, 1e-3},
        {"latency", interval_ns, 1e-12},
        {"area", 48 * (128 * 2000 + 256 * 700 + 256 * 400) * 1e-6, 1e-12},
        {"area_share", 100, 1e-12},
        {"density", operations / interval_ns / 1e3 / (48 * (128 * 2000 + 256 * 700 + 256 * 400) * 1e-6), 1e-3},
    };
    assert_int_equal(sizeof cases / sizeof cases[0], quantity_count);
    for (size_t i = 0; i < quantity_count; i++) {
        for (q.quantity = 0; strcmp(quantities[q.quantity].name, cases[i].name) != 0; q.quantity++) {}
        assert_near(quantity_value(&m, &q) / cases[i].value, 1, cases[i].tolerance);
    }
    q.of = 1u << PART_ARRAY; /* published per pass, whatever the data */
    q.quantity = 3;
    assert_string_equal(quantities[3].name, "energy_per_mvm");
    assert_near(quantity_value(&m, &q), 3 * 251.4, 1e-9);
    q.of = 1u << PART_ADC;
    q.quantity = 5;
    assert_string_equal(quantities[5].name, "energy_share");
    assert_near(quantity_value(&m, &q), 100 * adc_pJ / sum_pJ, 1e-10);
    q.quantity = 6;
    q.of = all;
    q.divide = 3;
    assert_near(quantity_value(&m, &q), sum_pJ / interval_ns, 1e-3 * sum_pJ / interval_ns);
    chip_destroy(c);
}

/* A supply at half its nominal voltage: a quarter of the energies of array, integrators and converters. */
static void published_energies_follow_the_supply(void **state) {
    (void)state;
    const char *const sets[] = {"supply.voltage_V=0.9", "supply.nominal_V=1.8"};
    static const int parts[] = {PART_DAC, PART_ARRAY, PART_SAMPLING, PART_ADC, PART_DIGITAL_POST};
    struct chip *whole = load("neurram", NULL, 0), *half = load("neurram", sets, 2);
    struct workload w = {.tiles = 1, .vectors = 10};
    struct measurement a, b;
    struct error e;
    assert_int_equal(measure(whole, &w, &a, &e), OK);
    assert_int_equal(measure(half, &w, &b, &e), OK);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_true(a.ledger.energy_J[parts[i]] > 0);
        assert_near(b.ledger.energy_J[parts[i]] / a.ledger.energy_J[parts[i]], 0.25, 1e-12);
    }
    chip_destroy(half);
    chip_destroy(whole);
}

/* ISAAC samples its columns: a vector follows the one before it by 16 passes of 128 conversions of 0.8333 ns, its own
 * way through the tile takes a read of 100 ns more. */
static void tiles_overlap_in_a_run(void **state) {
    (void)state;
    struct chip *c = load("isaac", NULL, 0);
    struct workload ten = {.tiles = 1, .vectors = 10}, thirty = {.tiles = 1, .vectors = 30};
    struct measurement a, b;
    struct error e;
    assert_int_equal(measure(c, &ten, &a, &e), OK);
    assert_int_equal(measure(c, &thirty, &b, &e), OK);
    double interval_ns = 16 * 128 * 0.8333;
    assert_near((b.ledger.makespan_s - a.ledger.makespan_s) * 1e9, 20 * interval_ns, 0.02); /* whole picoseconds */
    assert_near(a.latency_s * 1e9, 100 + interval_ns, 0.001);
    chip_destroy(c);
}

/* Static power counts for what the boundary names: the tiles alone, or the units beside them. */
static void static_follows_the_boundary(void **state) {
    (void)state;
    struct chip *c = load("hermes64_1phase", NULL, 0);
    struct workload w = {.vectors = 100};
    struct measurement m;
    struct error e;
    assert_int_equal(measure(c, &w, &m, &e), OK);
    struct quantity_question q = {.operations_per_mac = 2, .divide = 1};
    while (strcmp(quantities[q.quantity].name, "power") != 0) {
        q.quantity++;
    }
    q.of = q.boundary = 1u << PART_STATIC;
    assert_near(quantity_value(&m, &q), 64 * 0.3, 1e-9); /* 0.3 mW per tile */
    q.of = 1u << PART_STATIC | 1u << PART_ATTENTION;
    assert_near(quantity_value(&m, &q), 64 * 0.3 + 0.35, 1e-9); /* nothing used it */
    double all_J = 0;
    for (int part = 0; part < PART_COUNT; part++) {
        all_J += m.static_J[part];
    }
    assert_near(all_J / m.ledger.energy_J[PART_STATIC], 1, 1e-12);
    chip_destroy(c);
}

/* ---- rules and bad input ------------------------------------------------------------------------------------------
 */

#define HEAD                                                                                                           \
    "chip: hermes64_1phase\nabout: a test\nsources: {paper: \"a paper\"}\nboundary: [dac, array, adc]\n"               \
    "constants_from: hermes_core\n"
#define TIME                                                                                                           \
    "  - {quantity: throughput, unit: TOPS, published: 63.1, role: fitted, constants: tile.mvm_ns, source: paper}\n"
#define ENERGY                                                                                                         \
    "  - {quantity: efficiency, unit: TOPS/W, published: 9.76, role: fitted, constants: tile.adc.energy_J, "           \
    "source: paper}\n"
#define POINT(text) "  - {" text "}\n"
#define PREDICTED(quantity, unit) "quantity: " quantity ", unit: " unit ", published: 1, role: predicted, source: paper"

static void dishonest_files_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message; /* message: NULL where the file is good */
    } cases[] = {
        {HEAD "points:\n" TIME ENERGY, NULL},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2")), NULL},
        /* roles and constants */
        {HEAD "points:\n" TIME, ":6: points: no point names tile.adc.energy_J of chip hermes64_1phase"},
        {HEAD "points:\n" TIME ENERGY ENERGY, ":8: constants: tile.adc.energy_J is fitted more than once"},
        {HEAD "points:\n" TIME ENERGY POINT("quantity: area, unit: mm2, published: 1, role: fitted, source: paper"),
         ":9: constants: missing"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2") ", constants: tile.static_W"),
         ":9: constants: role is predicted"},
        {HEAD "points:\n" TIME ENERGY POINT(
             "quantity: area, unit: mm2, published: 1, role: fitted, constants: tile.static_W, source: paper"),
         "constants: tile.static_W of chip hermes64_1phase is assumed (allowed: kind fitted)"},
        {HEAD "points:\n" TIME ENERGY POINT(
             "quantity: area, unit: mm2, published: 1, role: fitted, constants: tile.nothing, source: paper"),
         "has no constant tile.nothing"},
        {HEAD "points:\n" POINT("quantity: throughput, unit: TOPS, published: 63.1, role: fitted, constants: "
                                "[tile.mvm_ns, tile.adc.energy_J], source: paper"),
         "2 constants fitted to 1 points"},
        {HEAD "points:\n" TIME ENERGY POINT("quantity: area, unit: mm2, published: 1, role: fitted, constants: "
                                            "tile.post.area_um2, source: paper"),
         "tile.post.area_um2 of chip hermes64_1phase is fitted here and in a file of constants_from"},
        /* what is new */
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("energy_per_mvm", "pJ")), ":9: role = predicted: follows from"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("power", "mW")), ":9: role = predicted: follows from"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("energy_per_mvm", "pJ") ", set: tile.rows=256"),
         ":9: role = predicted: follows from"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("energy_per_mvm", "pJ") ", set: tile.rows=128"), NULL},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("energy_per_mvm", "pJ") ", component: adc"), NULL},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("energy_per_mvm", "pJ") ", component: adc")
             POINT(PREDICTED("energy_share", "\"%\"") ", component: adc"),
         ":10: role = predicted: follows from"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("energy_share", "\"%\"") ", component: adc")
             POINT(PREDICTED("energy_share", "\"%\"") ", component: dac")
                 POINT(PREDICTED("energy_share", "\"%\"") ", component: array"),
         ":11: role = predicted: follows from"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2")) POINT(PREDICTED("density", "TOPS/mm2")),
         ":10: role = predicted: follows from"},
        /* settings */
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2") ", set: tile.dac.area_um2=3"),
         ":9: set: tile.dac.area_um2 is a physical constant"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2") ", set: tile.dac.bit=3"),
         ":9: set: --set 1: tile.dac.bit"},
        /* form */
        {"chip: hermes64_1phase\nabout: a test\nsources: [paper]\nboundary: [adc]\npoints:\n" TIME,
         ":3: sources: must be a map"},
        {HEAD, "points: missing"},
        {HEAD "points: []\n", ":6: points: missing"},
        {HEAD "points: [3]\n", ":6: points: must be a list of maps"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "um2")), ":9: unit = um2: area is in mm2"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("aera", "mm2")),
         "quantity = aera: not a choice, nearest is area"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2") ", component: acd"),
         ":9: component: 'acd' is not a component: nearest is adc"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2") ", component: {a: b}"),
         ":9: component: must be a list of texts"},
        {HEAD "points:\n" TIME ENERGY POINT(PREDICTED("area", "mm2") ", reason: none"),
         ":9: reason = none: unknown key"},
        {HEAD "points:\n" TIME ENERGY POINT("quantity: area, unit: mm2, published: 1, role: predicted, source: papper"),
         ":9: source: 'papper' is not a key of sources"},
        {HEAD "points:\n" TIME ENERGY POINT("quantity: area, unit: mm2, published: 0, role: predicted, source: paper"),
         ":9: published = 0: out of range"},
        {HEAD
         "points:\n" TIME ENERGY POINT("quantity: area, unit: mm2, published: nan, role: predicted, source: paper"),
         ":9: published = nan: not a number"},
        {"chip: hermes64_1phase\nabout: a test\npoints: []\n", ":1: boundary: missing"},
        {HEAD "workload: {vectors: 0}\npoints:\n" TIME ENERGY, ":6: workload.vectors = 0: out of range"},
        {"chip: hermes65\nabout: a test\nsources: {paper: \"a paper\"}\nboundary: [adc]\npoints:\n" TIME,
         ":1: chip: chip 'hermes65': not in the"},
        {"chip: hermes64_1phase\nabout: a test\nsources: {paper: \"a paper\"}\nboundary: [adc]\nconstants_from: "
         "nobody\n"
         "points:\n" TIME ENERGY,
         ":5: constants_from: nobody: no published numbers in configs/validation"},
    };
    char path[1300];
    snprintf(path, sizeof path, "%s/case.yaml", scratch_directory());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text(path, cases[i].text);
        struct validation *v = NULL;
        struct error e = {OK, ""};
        enum status s = validation_load(path, &v, &e);
        if (s != (cases[i].message ? ERR_USAGE : OK) || (cases[i].message && !strstr(e.message, cases[i].message))) {
            fail_msg("%s\n%s\nexpected: %s", cases[i].text, e.message, cases[i].message ? cases[i].message : "good");
        }
        assert_true((v != NULL) == (s == OK));
        validation_destroy(v);
    }
}

/* A fit that is another chip's belongs to it only with the same value. */
static void borrowed_fits_keep_their_value(void **state) {
    (void)state;
    static const char *const times[] = {"132.9", "140"};
    char folder[1100], chip[1200], path[1200], text[4096];
    snprintf(folder, sizeof folder, "%s", scratch_directory());
    snprintf(chip, sizeof chip, "%s/own.yaml", folder);
    snprintf(path, sizeof path, "%s/case.yaml", folder);
    snprintf(text, sizeof text,
             "chip: %s\nabout: a test\nboundary: [dac]\nconstants_from: [hermes64_1phase, hermes_core]\n"
             "points:\n  - {quantity: area, unit: mm2, published: 1, role: predicted, source: a paper}\n",
             chip);
    write_text(path, text);
    for (int i = 0; i < 2; i++) {
        struct validation *v = NULL;
        struct error e = {OK, ""};
        snprintf(text, sizeof text,
                 "include: %s/configs/chips/hermes64_1phase.yaml\nchip: own\n"
                 "tile: {mvm_ns: {value: %s, kind: fitted, source: legallo2023}}\n",
                 data_directory(), times[i]);
        write_text(chip, text);
        assert_int_equal(validation_load(path, &v, &e), i == 0 ? OK : ERR_USAGE);
        assert_true(i == 0 || strstr(e.message, "no point names tile.mvm_ns"));
        validation_destroy(v);
    }
}

/* Whatever bytes such a file has: it loads and runs, or a message says why not. Both sides must occur. */
static void damaged_files_are_survived(void **state) {
    (void)state;
    enum { COPIES = 400, RUNS = 8 };
    struct mutation m;
    struct error e;
    char path[1300], *good;
    size_t bytes, loaded = 0;
    snprintf(path, sizeof path, "%s/configs/validation/hermes_core.yaml", data_directory());
    assert_int_equal(read_file(path, 1u << 20, &good, &bytes, &e), OK);
    snprintf(path, sizeof path, "%s/case.yaml", scratch_directory());
    mutation_init(&m, good, bytes, bytes);
    for (uint64_t seed = 0; seed < COPIES; seed++) {
        struct validation *v = NULL;
        e = (struct error){OK, ""};
        mutation_next(&m, seed);
        FILE *f = fopen(path, "wb");
        fwrite(m.data, 1, m.bytes, f);
        fclose(f);
        enum status s = validation_load(path, &v, &e);
        assert_true(s == OK ? v != NULL : v == NULL && e.message[0] != 0);
        if (s == OK && loaded++ < RUNS) {
            s = validation_run(v, &e);
            assert_true(s == OK || e.message[0] != 0);
        }
        validation_destroy(v);
    }
    assert_in_range(loaded, 1, COPIES / 2); /* a flipped letter of the text still loads */
    mutation_free(&m);
    mem_free(good);
}

static void chips_without_costs_are_refused(void **state) {
    (void)state;
    const char *const not_q[] = {"analog=k"};
    struct chip *c = load("ideal", NULL, 0);
    struct workload w = {.vectors = 10};
    struct measurement m;
    struct error e;
    assert_int_equal(measure(c, &w, &m, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "costs: none"));
    chip_destroy(c);
    c = load("pcm256", not_q, 1);
    assert_int_equal(measure(c, &w, &m, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "role q"));
    chip_destroy(c);
}

static void lack_of_memory_is_an_error(void **state) {
    (void)state;
    size_t failures = 0;
    for (enum status s = ERR_RUN; s != OK; failures++) {
        struct validation *v = NULL;
        struct error e = {OK, ""};
        mem_fail_at(failures + 1);
        s = validation_load("hermes_core", &v, &e);
        s = s == OK ? validation_run(v, &e) : s;
        mem_fail_at(0);
        validation_destroy(v);
        assert_true(s == OK || e.message[0]);
        assert_true(failures < 5000);
    }
    assert_true(failures > 50);
}

/* ---- the command --------------------------------------------------------------------------------------------------
 */

static void command_writes_one_document(void **state) {
    (void)state;
    char *out;
    assert_int_equal(
        run_mho((const char *const[]){"validate", "hermes64_4phase", "hermes_core", "--json", NULL}, 20, &out, NULL),
        0);
    json_t *root = json_loads(out, 0, NULL);
    assert_non_null(root);
    json_t *points = json_object_get(root, "points"), *summary = json_object_get(root, "summary");
    assert_int_equal(json_array_size(points), 4);
    assert_int_equal(json_array_size(json_object_get(root, "derived")), 2);
    assert_int_equal(json_array_size(json_object_get(root, "chips")), 2);
    assert_int_equal(json_integer_value(json_object_get(summary, "points")), 4);
    assert_int_equal(json_integer_value(json_object_get(summary, "predicted")), 3);
    assert_int_equal(json_integer_value(json_object_get(summary, "within_10_percent")), 4);
    double worst = 0;
    for (size_t i = 0; i < json_array_size(points); i++) {
        static const char *const texts[] = {"chip", "quantity", "unit", "role", "source", "boundary"};
        const json_t *p = json_array_get(points, i);
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            assert_true(json_is_string(json_object_get(p, texts[k])));
        }
        double published = json_number_value(json_object_get(p, "published")),
               simulated = json_number_value(json_object_get(p, "simulated")),
               error = json_number_value(json_object_get(p, "error"));
        assert_near(error, simulated / published - 1, 1e-12);
        worst = fmax(worst, fabs(error));
        assert_int_equal(json_integer_value(json_object_get(p, "operations_per_mac")), 2);
        assert_int_equal(json_integer_value(json_object_get(p, "input_bits")), 8);
        assert_int_equal(json_integer_value(json_object_get(p, "output_bits")), 8);
        assert_string_equal(json_string_value(json_object_get(p, "boundary")),
                            "dac + array + adc + digital_post + static");
    }
    assert_near(json_number_value(json_object_get(summary, "worst")), worst, 1e-12);
    json_decref(root);
    mem_free(out);
}

/* Nowhere a TOPS without operations per MAC and bits, which are those of the point; no number without its boundary. */
static void conventions_stand_beside_numbers(void **state) {
    (void)state;
    char *out;
    json_t *root = mho_json((const char *const[]){"validate", "neurram", "--json", NULL});
    json_t *points = json_object_get(root, "points"), *first = json_array_get(points, 0), *one;
    size_t i;
    assert_int_equal(json_integer_value(json_object_get(first, "input_bits")), 2); /* tile.dac.bits=2 tile.adc.bits=3 */
    assert_int_equal(json_integer_value(json_object_get(first, "output_bits")), 3);
    json_array_foreach(points, i, one) {
        const char *component = json_string_value(json_object_get(one, "component"));
        assert_string_equal(json_string_value(json_object_get(one, "boundary")),
                            component ? component : "dac + array + sampling + adc + digital_post");
    }
    json_decref(root);
    for (int page = 0; page < 2; page++) {
        const char *const args[] = {"validate", "neurram", page ? "--markdown" : NULL, NULL};
        assert_int_equal(run_mho(args, 20, &out, NULL), 0);
        char *save = NULL;
        int said = 0;
        for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            bool row = strstr(line, " TOPS") && strstr(line, "wan2022") && strstr(line, " %");
            assert_true(!row || strstr(line, "bits)"));
            said += row && strstr(line, "(2 ops/MAC, 5 x 7 bits)") != NULL;
        }
        assert_int_equal(said, 2); /* throughput and efficiency */
        mem_free(out);
    }
}

static void command_names_what_is_missing(void **state) {
    (void)state;
    char *err;
    assert_int_equal(run_mho((const char *const[]){"validate", "neuram", NULL}, 20, NULL, &err), 2);
    assert_non_null(strstr(err, "nearest is neurram"));
    mem_free(err);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(errors_have_not_grown),
    cmocka_unit_test(the_goal_is_met),
    cmocka_unit_test(quantities_by_hand),
    cmocka_unit_test(static_follows_the_boundary),
    cmocka_unit_test(published_energies_follow_the_supply),
    cmocka_unit_test(tiles_overlap_in_a_run),
    cmocka_unit_test(borrowed_fits_keep_their_value),
    cmocka_unit_test(damaged_files_are_survived),
    cmocka_unit_test(dishonest_files_are_refused),
    cmocka_unit_test(chips_without_costs_are_refused),
    cmocka_unit_test(lack_of_memory_is_an_error),
    cmocka_unit_test(command_writes_one_document),
    cmocka_unit_test(conventions_stand_beside_numbers),
    cmocka_unit_test(command_names_what_is_missing),
};
const struct test_suite suite_validate = {"validate", tests, sizeof tests / sizeof tests[0]};
