/* Tables of a report as CSV (RFC 4180: comma, double quotes where needed, a first line of names). Every column that
 * has a unit carries it in its name, as in report.json, from which all numbers are taken. Not known: an empty cell. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/report.h"

/* ---- cells --------------------------------------------------------------------------------------------- */

static void put_text(FILE *out, const char *text) {
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const char *p = text; *p; p++) {
        if (*p == '"') {
            fputc('"', out);
        }
        fputc(*p, out);
    }
    fputc('"', out);
}

static void put_value(FILE *out, const json_t *v) {
    if (json_is_string(v)) {
        put_text(out, json_string_value(v));
    } else if (json_is_integer(v)) {
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else if (json_is_real(v)) {
        fprintf(out, "%.17g", json_real_value(v));
    } else if (json_is_boolean(v)) {
        fputs(json_is_true(v) ? "yes" : "no", out);
    }
}

static void put_row(FILE *out, json_t *const *cells, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i) {
            fputc(',', out);
        }
        put_value(out, cells[i]);
    }
    fputc('\n', out);
}

/* ---- tables -------------------------------------------------------------------------------------------- */

static json_t *at(const json_t *root, const char *group, const char *key) {
    return json_object_get(json_object_get(root, group), key);
}

/* A row of `layer`, counted from 0; the last one of `rows` is everything outside the layers. */
static json_t *layer_name(size_t row, size_t rows) {
    return row + 1 == rows ? json_string("outside") : json_integer((json_int_t)row);
}

static void energy_table(const json_t *root, FILE *out) {
    json_t *rows = at(root, "energy", "by_layer_and_component"), *one, *value;
    size_t row;
    const char *component;
    fputs("layer,component,energy_J\n", out);
    json_array_foreach(rows, row, one) {
        json_t *layer = layer_name(row, json_array_size(rows));
        json_object_foreach(one, component, value) {
            json_t *name = json_string(component);
            put_row(out, (json_t *const[]){layer, name, value}, 3);
            json_decref(name);
        }
        json_decref(layer);
    }
}

static void area_table(const json_t *root, FILE *out) {
    const char *component;
    json_t *value;
    fputs("component,area_mm2\n", out);
    json_object_foreach(at(root, "area", "by_component"), component, value) {
        json_t *name = json_string(component);
        put_row(out, (json_t *const[]){name, value}, 2);
        json_decref(name);
    }
}

/* An array of objects: the keys named in `columns` (at most 16), as they are. */
static void object_table(const json_t *rows, const char *const *columns, size_t count, FILE *out) {
    json_t *one, *cells[16];
    size_t row;
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s%s", i ? "," : "", columns[i]);
    }
    fputc('\n', out);
    json_array_foreach(rows, row, one) {
        for (size_t i = 0; i < count; i++) {
            cells[i] = json_object_get(one, columns[i]);
        }
        put_row(out, cells, count);
    }
}

static void setup_table(const json_t *root, FILE *out) {
    static const char *const columns[] = {"phase", "start_s", "time_s", "energy_J"};
    object_table(at(root, "setup", "rows"), columns, sizeof columns / sizeof columns[0], out);
}

static void time_table(const json_t *root, FILE *out) {
    static const char *const columns[] = {"class", "matrix", "chip",            "events",
                                          "busy_s", "wait_s", "critical_path_s", "utilisation"};
    object_table(json_object_get(at(root, "time", "by_resource"), "rows"), columns, sizeof columns / sizeof columns[0],
                 out);
}

static void matrices_table(const json_t *root, FILE *out) {
    static const char *const columns[] = {"name",       "layer",         "inputs", "outputs",    "analog",
                                          "row_blocks", "column_blocks", "tiles",  "first_tile", "first_chip",
                                          "utilisation", "digital_channels", "listed_weights", "devices"};
    object_table(at(root, "mapping", "matrices"), columns, sizeof columns / sizeof columns[0], out);
}

/* The two ends of a spread as columns of their own. */
static void constants_table(const json_t *root, FILE *out) {
    json_t *one;
    size_t row;
    fputs("key,value,unit,kind,source,spread_low,spread_high\n", out);
    json_array_foreach(json_object_get(root, "constants"), row, one) {
        json_t *spread = json_object_get(one, "spread");
        json_t *const cells[] = {json_object_get(one, "key"),  json_object_get(one, "value"),
                                 json_object_get(one, "unit"), json_object_get(one, "kind"),
                                 json_object_get(one, "source"), json_array_get(spread, 0),
                                 json_array_get(spread, 1)};
        put_row(out, cells, sizeof cells / sizeof cells[0]);
    }
}

static void steps_table(const json_t *root, FILE *out) {
    static const char *const names[] = {"number", "request", "tokens",   "tokens_before",
                                        "start_s", "end_s",  "energy_J", "kv_bits"};
    enum { COLUMNS = sizeof names / sizeof names[0] };
    json_t *steps = json_object_get(root, "steps"), *cells[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++) {
        fprintf(out, "%s%s", i ? "," : "", names[i]);
    }
    fputc('\n', out);
    for (size_t row = 0; row < json_array_size(json_object_get(steps, names[0])); row++) {
        for (size_t i = 0; i < COLUMNS; i++) {
            cells[i] = json_array_get(json_object_get(steps, names[i]), row);
        }
        put_row(out, cells, COLUMNS);
    }
}

/* ---- list ---------------------------------------------------------------------------------------------- */

const struct report_table report_tables[] = {
    {"energy.csv", "steps", energy_table},       {"time.csv", "steps", time_table},
    {"area.csv", "steps", area_table},           {"steps.csv", "steps", steps_table},
    {"matrices.csv", "mapping", matrices_table}, {"constants.csv", "constants", constants_table},
    {"setup.csv", "setup", setup_table},
};
_Static_assert(sizeof report_tables / sizeof report_tables[0] == REPORT_TABLES, "all tables are in the list");
