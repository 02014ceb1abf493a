/* Parameter tables: reading a configuration into a struct and writing it back (see params.h).
 *
 * SI value = number in the file x factor of the unit, one multiplication in double. params_dump looks for
 * the shortest decimal number that this multiplication takes to the same bits.
 */
#include "base/params.h"

#include <stdio.h>
#include <string.h>

#include "base/params_text.h"

/* One value on its way from the tree into the struct. */
struct reading {
    const struct param *row;
    char key[KEY_BYTES]; /* with the prefix */
    const struct config_node *node;
    struct arena *arena;
    struct error *error;
};

/* FILE:LINE: KEY = VALUE: why (allowed: ...) about `node`, which is the value or a part of it. */
static enum status refuse(const struct reading *r, const struct config_node *node, const char *key, const char *why,
                          const char *allowed) {
    char where[512], value[VALUE_BYTES];
    return error_set(r->error, ERR_USAGE, "%s: %s = %s: %s (allowed: %s)", config_where(node, where, sizeof where), key,
                     param_value_text(node, value), why, allowed);
}

static enum status refuse_row(const struct reading *r, const struct config_node *node, const char *why) {
    char allowed[ALLOWED_BYTES];
    param_allowed(r->row, allowed);
    return refuse(r, node, r->key, why, allowed);
}

static double row_factor(const struct param *row) {
    double factor = 1;
    if (*param_unit(row)) {
        unit_factor(row->unit, &factor); /* known: params_check_table */
    }
    return factor;
}

/* ---- one function per type -------------------------------------------------------------------------- */

static enum status read_int(const struct reading *r, int *out) {
    int64_t value;
    const char *text = config_text(r->node);
    if (!text || !parse_int64(text, &value)) {
        return refuse_row(r, r->node, "not a whole number");
    }
    if ((double)value < r->row->min || (double)value > r->row->max || value < INT32_MIN || value > INT32_MAX) {
        return refuse_row(r, r->node, "out of range");
    }
    *out = (int)value;
    return OK;
}

/* A number in the row's unit and range, turned into SI; `node` is the value or a part of it. */
static enum status read_number(const struct reading *r, const struct config_node *node, const char *key, double *out) {
    double value;
    char allowed[ALLOWED_BYTES];
    struct param plain = *r->row;
    plain.type = PARAM_NUMBER;
    param_allowed(&plain, allowed);
    const char *text = config_text(node);
    if (!text || !parse_double(text, &value)) {
        bool unit = text && number_with_unit(text);
        return refuse(r, node, key, unit ? "the unit is part of the key, not of the value" : "not a number", allowed);
    }
    if (!(value >= r->row->min && value <= r->row->max)) {
        return refuse(r, node, key, "out of range", allowed);
    }
    *out = value * row_factor(r->row);
    return OK;
}

static enum status read_bool(const struct reading *r, bool *out) {
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes"};
    const char *text = config_text(r->node);
    for (int i = 0; text && i < 6; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return OK;
        }
    }
    return refuse_row(r, r->node, "not a switch");
}

static enum status read_choice(const struct reading *r, int *out) {
    const char *text = config_text(r->node);
    size_t count = 0;
    for (; r->row->choices[count]; count++) {
        if (text && strcmp(text, r->row->choices[count]) == 0) {
            *out = (int)count;
            return OK;
        }
    }
    const char *near = text ? nearest_name(text, r->row->choices, count) : NULL;
    char why[VALUE_BYTES];
    snprintf(why, sizeof why, near ? "not a choice, nearest is %s" : "not a choice", near);
    return refuse_row(r, r->node, why);
}

static enum status read_text(const struct reading *r, const struct config_node *node, const char *key,
                             const char **out) {
    if (!config_text(node) || config_is_null(node)) {
        return refuse(r, node, key, "not text", "text");
    }
    *out = arena_strdup(r->arena, config_text(node));
    return *out ? OK : error_set(r->error, ERR_RUN, "%s: out of memory", key);
}

/* ---- constants -------------------------------------------------------------------------------------- */

#define KINDS "measured, published, fitted, assumed"

static enum status missing_part(const struct reading *r, const char *part, const char *allowed) {
    char where[512];
    return error_set(r->error, ERR_USAGE, "%s: %s: %s is missing (allowed: %s)",
                     config_where(r->node, where, sizeof where), r->key, part, allowed);
}

static enum status read_kind(const struct reading *r, const char *key, enum constant_kind *out) {
    const struct config_node *node = config_get(r->node, "kind");
    if (!node) {
        return missing_part(r, "kind", KINDS);
    }
    for (int k = 0; constant_kind_names[k]; k++) {
        if (config_text(node) && strcmp(config_text(node), constant_kind_names[k]) == 0) {
            *out = (enum constant_kind)k;
            return OK;
        }
    }
    return refuse(r, node, key, "not a kind of constant", KINDS);
}

static enum status read_spread(const struct reading *r, const char *key, struct constant *out) {
    static const char allowed[] = "[LOW, HIGH], factors on the value with 0 < LOW <= 1 <= HIGH";
    const struct config_node *node = config_get(r->node, "spread");
    out->spread_low = out->spread_high = 1;
    if (!node) {
        return out->kind == CONSTANT_ASSUMED ? missing_part(r, "the spread of an assumed constant", allowed) : OK;
    }
    double low, high;
    if (config_kind(node) != CONFIG_LIST || config_count(node) != 2 || !config_text(config_at(node, 0)) ||
        !config_text(config_at(node, 1)) || !parse_double(config_text(config_at(node, 0)), &low) ||
        !parse_double(config_text(config_at(node, 1)), &high)) {
        return refuse(r, node, key, "not two numbers", allowed);
    }
    const char *fault = low < 0 || high < 0   ? "below zero"
                        : low > high          ? "p10 above p90"
                        : !(low > 0)          ? "a p10 of zero"
                        : low > 1 || high < 1 ? "the value does not lie between its p10 and p90"
                                              : NULL;
    if (fault) {
        return refuse(r, node, key, fault, allowed);
    }
    out->spread_low = low;
    out->spread_high = high;
    return OK;
}

static enum status check_parts(const struct reading *r) {
    static const char *const parts[] = {"value", "kind", "source", "spread"};
    for (size_t i = 0; i < config_count(r->node); i++) {
        const char *name = config_key_at(r->node, i);
        const char *near = nearest_name(name, parts, 4);
        if (!near || strcmp(near, name) != 0) {
            char key[KEY_BYTES + 160];
            snprintf(key, sizeof key, "%s.%s", r->key, name);
            return refuse(r, config_at(r->node, i), key, "unknown key", "value, kind, source, spread");
        }
    }
    return OK;
}

/* What a constant must say beside its value; *value is the node of that. */
static enum status read_provenance(const struct reading *r, const char *value_allowed, const struct config_node **value,
                                   struct constant *out) {
    TRY(check_parts(r));
    char key[KEY_BYTES + 16];
    const struct config_node *source = config_get(r->node, "source");
    *value = config_get(r->node, "value");
    if (!*value) {
        return missing_part(r, "value", value_allowed);
    }
    snprintf(key, sizeof key, "%s.kind", r->key);
    TRY(read_kind(r, key, &out->kind));
    if (!source) {
        return missing_part(r, "source", "a key of the file's sources, or text that says where the value is from");
    }
    snprintf(key, sizeof key, "%s.source", r->key);
    TRY(read_text(r, source, key, &out->source));
    if (out->source[strspn(out->source, " \t")] == 0) {
        return refuse(r, source, key, "empty",
                      "a key of the file's sources, or text that says where the value is from");
    }
    snprintf(key, sizeof key, "%s.spread", r->key);
    return read_spread(r, key, out);
}

static enum status read_constant(const struct reading *r, struct constant *out) {
    if (config_kind(r->node) != CONFIG_MAP) {
        bool number = config_text(r->node) && number_length(config_text(r->node)) > 0;
        if (number && strcmp(config_file(r->node), CONFIG_OVERRIDE) == 0) { /* of a group that the file does not have */
            *out = (struct constant){
                .kind = CONSTANT_ASSUMED, .source = "set on the command line", .spread_low = 1, .spread_high = 1};
            return read_number(r, r->node, r->key, &out->value);
        }
        return refuse_row(r, r->node,
                          number ? "a physical constant is never a bare number" : "not a physical constant");
    }
    const struct config_node *value = NULL;
    TRY(read_provenance(r, "a number in the unit of the key", &value, out));
    char key[KEY_BYTES + 16];
    snprintf(key, sizeof key, "%s.value", r->key);
    return read_number(r, value, key, &out->value);
}

static enum status read_list(const struct reading *r, const struct config_node *list, struct param_numbers *out) {
    out->count = config_count(list);
    double *values = arena_alloc(r->arena, out->count, sizeof *values);
    if (!values) {
        return error_set(r->error, ERR_RUN, "%s: out of memory", r->key);
    }
    for (size_t i = 0; i < out->count; i++) {
        char key[KEY_BYTES + 32];
        snprintf(key, sizeof key, "%s.value[%zu]", r->key, i);
        TRY(read_number(r, config_at(list, i), key, &values[i]));
    }
    out->values = values;
    return OK;
}

static enum status read_numbers(const struct reading *r, struct param_numbers *out) {
    if (config_kind(r->node) != CONFIG_MAP) {
        return refuse_row(r, r->node,
                          config_kind(r->node) == CONFIG_LIST ? "coefficients are never a bare list"
                                                              : "not a list with its source");
    }
    const struct config_node *list = NULL;
    TRY(read_provenance(r, "a list of numbers in the unit of the key", &list, &out->about));
    if (config_kind(list) != CONFIG_LIST) {
        return refuse_row(r, list, "its value is not a list");
    }
    return read_list(r, list, out);
}

/* ---- tables ----------------------------------------------------------------------------------------- */

static enum status read_value(const struct reading *r, void *member) {
    switch (r->row->type) {
    case PARAM_INT: return read_int(r, member);
    case PARAM_NUMBER: return read_number(r, r->node, r->key, member);
    case PARAM_BOOL: return read_bool(r, member);
    case PARAM_CHOICE: return read_choice(r, member);
    case PARAM_TEXT: return read_text(r, r->node, r->key, member);
    case PARAM_CONSTANT: return read_constant(r, member);
    case PARAM_NUMBERS: return read_numbers(r, member);
    }
    return error_set(r->error, ERR_RUN, "%s: unknown type of parameter", r->key);
}

/* Finds the row's node below `map`; *holder is the innermost map on the way that exists. */
static enum status find_value(struct reading *r, const struct config_node *map, const char *prefix,
                              const struct config_node **holder) {
    const char *rest = r->row->key;
    r->node = NULL;
    *holder = map;
    while (*holder) {
        char part[KEY_BYTES];
        size_t length = strcspn(rest, ".");
        snprintf(part, sizeof part, "%.*s", (int)length, rest);
        const struct config_node *next = config_get(*holder, part);
        if (!rest[length] || !next) {
            r->node = rest[length] ? NULL : next;
            return OK;
        }
        if (config_kind(next) != CONFIG_MAP) {
            char key[KEY_BYTES];
            snprintf(key, sizeof key, "%s%.*s", prefix, (int)(rest + length - r->row->key), r->row->key);
            return refuse(r, next, key, "not a map", "a map of keys and values");
        }
        *holder = next;
        rest += length + 1;
    }
    return OK;
}

static enum status default_node(struct reading *r) {
    struct config_node *node;
    const char *text = r->row->default_text;
    if (r->row->type == PARAM_CONSTANT || r->row->type == PARAM_NUMBERS) {
        TRY(config_parse(r->arena, text, strlen(text), "(default)", &node, r->error));
    } else {
        node = config_new_scalar(r->arena, text, "(default)", 0);
    }
    r->node = node;
    return node ? OK : error_set(r->error, ERR_RUN, "%s: out of memory", r->key);
}

static enum status missing_row(const struct reading *r, const struct config_node *holder) {
    char allowed[ALLOWED_BYTES], where[512];
    param_allowed(r->row, allowed);
    if (!holder) {
        return error_set(r->error, ERR_USAGE, "%s: required key is missing (allowed: %s)", r->key, allowed);
    }
    return error_set(r->error, ERR_USAGE, "%s: %s: required key is missing (allowed: %s)",
                     config_where(holder, where, sizeof where), r->key, allowed);
}

enum status params_read(const struct param_table *table, const struct config_node *map, const char *prefix,
                        struct arena *a, void *out, struct error *e) {
    struct reading r = {.arena = a, .error = e};
    if (map && config_kind(map) != CONFIG_MAP) {
        snprintf(r.key, sizeof r.key, "%.*s", *prefix ? (int)strlen(prefix) - 1 : 0, prefix); /* without the dot */
        return refuse(&r, map, *r.key ? r.key : table->name, "not a map", "a map of keys and values");
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct config_node *holder;
        r.row = &table->rows[i];
        snprintf(r.key, sizeof r.key, "%s%s", prefix, r.row->key);
        TRY(find_value(&r, map, prefix, &holder));
        if (!r.node && !r.row->default_text) {
            return missing_row(&r, holder);
        }
        if (!r.node) {
            TRY(default_node(&r));
        }
        TRY(read_value(&r, (unsigned char *)out + r.row->offset));
    }
    return OK;
}

/* ---- writing back ----------------------------------------------------------------------------------- */

#define EFFECTIVE "(effective)"

struct writing {
    const struct param *row;
    char key[KEY_BYTES];
    struct arena *arena;
    struct error *error;
};

static enum status scalar(const struct writing *w, const char *text, struct config_node **out) {
    *out = config_new_scalar(w->arena, text, EFFECTIVE, 0);
    return *out ? OK : error_set(w->error, ERR_RUN, "%s: out of memory", w->key);
}

static enum status number(const struct writing *w, double value, double factor, struct config_node **out) {
    char text[32];
    if (!format_scaled(value, factor, text)) {
        return error_set(w->error, ERR_RUN, "%s: %.17g in SI units cannot be written as a decimal number of %s", w->key,
                         value, *param_unit(w->row) ? param_unit(w->row) : "its unit");
    }
    return scalar(w, text, out);
}

static enum status put_part(const struct writing *w, struct config_node *map, const char *name, const char *text) {
    struct config_node *node;
    TRY(scalar(w, text, &node));
    return config_put(w->arena, map, name, node, w->error);
}

static enum status list_of(const struct writing *w, const double *values, size_t count, double factor,
                           struct config_node **out) {
    *out = config_new_list(w->arena, EFFECTIVE, 0);
    if (!*out) {
        return error_set(w->error, ERR_RUN, "%s: out of memory", w->key);
    }
    for (size_t i = 0; i < count; i++) {
        struct config_node *item;
        TRY(number(w, values[i], factor, &item));
        TRY(config_append(w->arena, *out, item, w->error));
    }
    return OK;
}

/* {value, kind, source[, spread]} */
static enum status write_provenance(const struct writing *w, struct config_node *value, const struct constant *c,
                                    struct config_node **out) {
    struct config_node *spread;
    *out = config_new_map(w->arena, EFFECTIVE, 0);
    if (!*out) {
        return error_set(w->error, ERR_RUN, "%s: out of memory", w->key);
    }
    TRY(config_put(w->arena, *out, "value", value, w->error));
    TRY(put_part(w, *out, "kind", constant_kind_name(c->kind)));
    TRY(put_part(w, *out, "source", c->source));
    bool given = c->spread_low < 1 || c->spread_high > 1;
    if (!given && c->kind != CONSTANT_ASSUMED) {
        return OK;
    }
    TRY(list_of(w, (const double[]){c->spread_low, c->spread_high}, 2, 1, &spread));
    return config_put(w->arena, *out, "spread", spread, w->error);
}

static enum status write_constant(const struct writing *w, const struct constant *c, struct config_node **out) {
    struct config_node *value;
    TRY(number(w, c->value, row_factor(w->row), &value));
    return write_provenance(w, value, c, out);
}

static enum status write_numbers(const struct writing *w, const struct param_numbers *n, struct config_node **out) {
    struct config_node *list;
    TRY(list_of(w, n->values, n->count, row_factor(w->row), &list));
    return write_provenance(w, list, &n->about, out);
}

static enum status write_value(const struct writing *w, const void *member, struct config_node **out) {
    char text[32];
    switch (w->row->type) {
    case PARAM_INT: snprintf(text, sizeof text, "%d", *(const int *)member); return scalar(w, text, out);
    case PARAM_NUMBER: return number(w, *(const double *)member, row_factor(w->row), out);
    case PARAM_BOOL: return scalar(w, *(const bool *)member ? "on" : "off", out);
    case PARAM_CHOICE: return scalar(w, w->row->choices[*(const int *)member], out);
    case PARAM_TEXT: return scalar(w, *(const char *const *)member, out);
    case PARAM_CONSTANT: return write_constant(w, member, out);
    case PARAM_NUMBERS: return write_numbers(w, member, out);
    }
    return error_set(w->error, ERR_RUN, "%s: unknown type of parameter", w->key);
}

/* Puts `value` at the row's dotted key, with the maps on the way. */
static enum status put_at(const struct writing *w, struct config_node *map, struct config_node *value) {
    const char *rest = w->row->key;
    for (;;) {
        char part[KEY_BYTES];
        size_t length = strcspn(rest, ".");
        snprintf(part, sizeof part, "%.*s", (int)length, rest);
        if (!rest[length]) {
            return config_put(w->arena, map, part, value, w->error);
        }
        struct config_node *next = config_get(map, part);
        if (!next) {
            next = config_new_map(w->arena, EFFECTIVE, 0);
            if (!next) {
                return error_set(w->error, ERR_RUN, "%s: out of memory", w->key);
            }
            TRY(config_put(w->arena, map, part, next, w->error));
        }
        map = next;
        rest += length + 1;
    }
}

enum status params_dump(const struct param_table *table, const void *in, const char *prefix, struct arena *a,
                        struct config_node *map, struct error *e) {
    struct writing w = {.arena = a, .error = e};
    for (size_t i = 0; i < table->count; i++) {
        struct config_node *value;
        w.row = &table->rows[i];
        snprintf(w.key, sizeof w.key, "%s%s", prefix, w.row->key);
        TRY(write_value(&w, (const unsigned char *)in + w.row->offset, &value));
        TRY(put_at(&w, map, value));
    }
    return OK;
}
