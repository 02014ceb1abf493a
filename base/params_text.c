/* Parameter rows in words: for messages, --help and the check of the tables themselves (see params.h). */
#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "base/params_text.h"

const char *const constant_kind_names[5] = {"measured", "published", "fitted", "assumed", NULL};

const char *constant_kind_name(enum constant_kind k) { return constant_kind_names[k]; }

const char *param_unit(const struct param *row) { return row->unit ? row->unit : ""; }

bool param_has_range(const struct param *row) {
    return row->type == PARAM_INT || row->type == PARAM_NUMBER || row->type == PARAM_CONSTANT ||
           row->type == PARAM_NUMBERS;
}

/* " from 1 to 5 uS", " from 0", " up to 3", "" */
static void range_text(const struct param *row, char *out, size_t room) {
    char low[32], high[32];
    format_double(row->min, low);
    format_double(row->max, high);
    const char *gap = *param_unit(row) ? " " : "";
    if (isinf(row->min) && isinf(row->max)) {
        snprintf(out, room, "%s%s", *gap ? " in " : "", param_unit(row));
    } else if (isinf(row->max)) {
        snprintf(out, room, " from %s%s%s", low, gap, param_unit(row));
    } else if (isinf(row->min)) {
        snprintf(out, room, " up to %s%s%s", high, gap, param_unit(row));
    } else {
        snprintf(out, room, " from %s to %s%s%s", low, high, gap, param_unit(row));
    }
}

static void choices_text(const struct param *row, const char *separator, char *out, size_t room) {
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; row->choices[i] && used < room; i++) {
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? separator : "", row->choices[i]);
    }
}

#define LIST_FORM                                                                                                      \
    "{value: [NUMBER, ...], kind: measured|published|fitted|assumed, source: TEXT, spread: [LOW, HIGH]}, values"

void param_allowed(const struct param *row, char out[ALLOWED_BYTES]) {
    char range[128], choices[ALLOWED_BYTES - 16];
    range_text(row, range, sizeof range);
    switch (row->type) {
    case PARAM_INT: snprintf(out, ALLOWED_BYTES, "a whole number%s", range); return;
    case PARAM_NUMBER: snprintf(out, ALLOWED_BYTES, "a number%s", range); return;
    case PARAM_BOOL: snprintf(out, ALLOWED_BYTES, "on, off, true, false, yes, no"); return;
    case PARAM_TEXT: snprintf(out, ALLOWED_BYTES, "text"); return;
    case PARAM_NUMBERS: snprintf(out, ALLOWED_BYTES, LIST_FORM "%s", range); return;
    case PARAM_CONSTANT:
        snprintf(out, ALLOWED_BYTES,
                 "{value: NUMBER, kind: measured|published|fitted|assumed, source: TEXT, spread: [LOW, HIGH]}, value%s",
                 range);
        return;
    case PARAM_CHOICE:
        choices_text(row, ", ", choices, sizeof choices);
        snprintf(out, ALLOWED_BYTES, "%s", choices);
        return;
    }
}

const char *param_value_text(const struct config_node *n, char out[VALUE_BYTES]) {
    switch (config_kind(n)) {
    case CONFIG_MAP: return "{...}";
    case CONFIG_LIST: return "[...]";
    case CONFIG_SCALAR: break;
    }
    const char *text = config_text(n);
    snprintf(out, VALUE_BYTES, *text ? "%s" : "\"\"", text);
    if (strlen(text) >= VALUE_BYTES) {
        memcpy(out + VALUE_BYTES - 4, "...", 4);
    }
    return out;
}

bool number_with_unit(const char *text) {
    size_t length = number_length(text);
    double factor;
    return length > 0 && unit_factor(text + length + strspn(text + length, " "), &factor);
}

/* ---- help ------------------------------------------------------------------------------------------- */

const char *param_type_name(enum param_type t) {
    static const char *const words[] = {"int", "number", "on|off", "choice", "text", "constant", "numbers"};
    return words[t];
}

static void type_text(const struct param *row, char *out, size_t room) {
    if (row->type == PARAM_CHOICE) {
        choices_text(row, "|", out, room);
    } else {
        snprintf(out, room, "%s%s%s", param_type_name(row->type), *param_unit(row) ? " " : "", param_unit(row));
    }
}

static void help_range(const struct param *row, char *out, size_t room) {
    char low[32], high[32];
    out[0] = 0;
    if (param_has_range(row)) {
        format_double(row->min, low);
        format_double(row->max, high);
        snprintf(out, room, "%s..%s", isinf(row->min) ? "" : low, isinf(row->max) ? "" : high);
    }
}

static bool is_constant(const struct param *row) { return row->type == PARAM_CONSTANT || row->type == PARAM_NUMBERS; }

/* What stands behind `key` in the default of a constant, "{value: 1, kind: assumed, source: "a law", spread: [1, 2]}":
 * a word, a list, or text without its quotes. "" where the key is missing. */
static void part_of_default(const char *map, const char *key, char *out, size_t room) {
    char name[32];
    snprintf(name, sizeof name, "%s: ", key);
    const char *at = strstr(map, name), *ends = ",}";
    out[0] = 0;
    if (at) {
        at += strlen(name);
        size_t open = *at == '"' || *at == '[';
        ends = *at == '"' ? "\"" : *at == '[' ? "]" : ends;
        snprintf(out, room, "%.*s", (int)strcspn(at + open, ends), at + open);
    }
}

void param_source(const struct param *row, char out[PARAM_SOURCE_BYTES]) {
    char kind[32], source[PARAM_SOURCE_BYTES - 96], spread[48];
    if (!row->default_text) {
        snprintf(out, PARAM_SOURCE_BYTES, "given by the chip file%s",
                 is_constant(row) ? ", with a source of its own" : "");
    } else if (!is_constant(row)) {
        snprintf(out, PARAM_SOURCE_BYTES, "a setting");
    } else {
        part_of_default(row->default_text, "kind", kind, sizeof kind);
        part_of_default(row->default_text, "source", source, sizeof source);
        part_of_default(row->default_text, "spread", spread, sizeof spread);
        snprintf(out, PARAM_SOURCE_BYTES, "%s%s%s%s: %s", kind, *spread ? ", spread [" : "", spread,
                 *spread ? "]" : "", source);
    }
}

/* "required", the value of a constant, or the default as it stands. */
static void default_in_words(const struct param *row, char *out, size_t room) {
    if (row->default_text && is_constant(row)) {
        part_of_default(row->default_text, "value", out, room);
    } else {
        const char *text = row->default_text;
        snprintf(out, room, "%s", !text ? "required" : *text ? text : "\"\"");
    }
}

void params_help(const struct param_table *table, const char *prefix, FILE *out) {
    for (size_t i = 0; i < table->count; i++) {
        const struct param *row = &table->rows[i];
        char key[KEY_BYTES], type[ALLOWED_BYTES], range[80], value[VALUE_BYTES], source[PARAM_SOURCE_BYTES];
        snprintf(key, sizeof key, "%s%s", prefix, row->key);
        type_text(row, type, sizeof type);
        help_range(row, range, sizeof range);
        default_in_words(row, value, sizeof value);
        param_source(row, source);
        fprintf(out, "  %-36s %-18s %-14s %s%s; %s; source: %s\n", key, type, range,
                row->default_text ? "default " : "", value, row->help, source);
    }
}

/* A bar would end the cell of a Markdown table. */
static void put_cell(const char *text, FILE *out) {
    for (; *text; text++) {
        fputs(*text == '|' ? "\\" : "", out);
        fputc(*text, out);
    }
}

void params_markdown(const struct param_table *table, const char *prefix, FILE *out) {
    if (table->count == 0) {
        return;
    }
    fprintf(out, "| key | type, unit | allowed | default | meaning | source |\n"
                 "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < table->count; i++) {
        const struct param *row = &table->rows[i];
        char type[ALLOWED_BYTES], range[80], value[VALUE_BYTES], source[PARAM_SOURCE_BYTES];
        type_text(row, type, sizeof type);
        help_range(row, range, sizeof range);
        fprintf(out, "| `%s%s` | ", prefix, row->key);
        put_cell(row->type == PARAM_CHOICE ? "choice" : type, out);
        fputs(" | ", out);
        put_cell(row->type == PARAM_CHOICE ? type : range, out);
        default_in_words(row, value, sizeof value);
        param_source(row, source);
        fprintf(out, " | %s | ", value);
        put_cell(row->help, out);
        fputs(" | ", out);
        put_cell(source, out);
        fputs(" |\n", out);
    }
}

/* ---- is a table right? ------------------------------------------------------------------------------ */

/* The unit that a key ends with, or NULL. The longest wins: energy_J_per_bit. */
static const char *unit_of_key(const char *key) {
    const char *last = strrchr(key, '.');
    double factor;
    for (const char *at = last ? last + 1 : key; at; at = strchr(at, '_')) {
        at += *at == '_';
        if (unit_factor(at, &factor)) {
            return at;
        }
    }
    return NULL;
}

static const char *row_fault(const struct param *row) {
    double factor;
    const char *unit = param_unit(row), *suffix = unit_of_key(row->key);
    if (*unit && !unit_factor(unit, &factor)) {
        return "unknown unit";
    }
    if (*unit && !param_has_range(row)) {
        return "a unit on something that is not a number";
    }
    if (param_has_range(row) && strcmp(suffix ? suffix : "", unit) != 0) {
        return "the unit is not the suffix of the key";
    }
    if (param_has_range(row) && !(row->min <= row->max)) {
        return "the range is empty";
    }
    if (row->type == PARAM_CHOICE && (!row->choices || !row->choices[0])) {
        return "no choices";
    }
    return row->help && *row->help ? NULL : "no help";
}

/* Equal, or one is the map that holds the other. */
static bool keys_collide(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b), shorter = na < nb ? na : nb;
    const char *longer = na < nb ? b : a;
    return strncmp(a, b, shorter) == 0 && (longer[shorter] == 0 || longer[shorter] == '.');
}

static enum status check_default(const struct param *row, struct error *e) {
    alignas(16) unsigned char member[64] = {0};
    struct param alone = *row;
    alone.offset = 0;
    struct param_table table = {"", &alone, 1};
    struct arena *a = arena_create();
    enum status status = a ? params_read(&table, NULL, "", a, member, e) : error_set(e, ERR_RUN, "out of memory");
    arena_destroy(a);
    return status;
}

enum status params_check_table(const struct param_table *table, struct error *e) {
    for (size_t i = 0; i < table->count; i++) {
        const struct param *row = &table->rows[i];
        const char *fault = row_fault(row);
        if (fault) {
            return error_set(e, ERR_USAGE, "table %s: %s: %s", table->name, row->key, fault);
        }
        for (size_t j = 0; j < i; j++) {
            if (keys_collide(row->key, table->rows[j].key)) {
                return error_set(e, ERR_USAGE, "table %s: %s: collides with %s", table->name, row->key,
                                 table->rows[j].key);
            }
        }
        if (row->default_text && check_default(row, e) != OK) {
            return error_prefix(e, "table %s", table->name);
        }
    }
    return OK;
}
