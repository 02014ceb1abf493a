/* Configuration keys of a model, from config.json or GGUF metadata: see shape.h. */
#include "models/shape.h"

#include <stdio.h>
#include <string.h>

/* The JSON value, or NULL when it is missing or null. */
static const json_t *json_value(const struct keys *k, struct key name) {
    const json_t *v = name.json ? json_object_get(k->config, name.json) : NULL;
    return v && !json_is_null(v) ? v : NULL;
}

/* The key as it stands in the GGUF file; NULL when this family has no such key there. */
static enum status gguf_key(const struct keys *k, struct key name, const char **full, struct error *e) {
    *full = name.gguf ? arena_printf(k->arena, "%s.%s", k->architecture, name.gguf) : NULL;
    return *full || !name.gguf ? OK : error_set(e, ERR_RUN, "%s: out of memory", k->where);
}

const char *key_where(const struct keys *k, const char *name) {
    int line = k->config ? weights_config_line(k->weights, k->map, name) : 0;
    const char *where = !line    ? NULL
                        : k->map ? arena_printf(k->arena, "%s:%d: %s", weights_config_path(k->weights), line, k->map)
                                 : arena_printf(k->arena, "%s:%d", weights_config_path(k->weights), line);
    return where ? where : k->where;
}

enum { FOUND_BYTES = 300 };

/* "a, b, c": what a map has, as far as there is room. */
static void list_keys(const json_t *map, char out[FOUND_BYTES]) {
    static const char more[] = ", ..";
    const char *key;
    json_t *value;
    size_t used = 0;
    out[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        size_t length = strlen(key);
        (void)value;
        if (used + strlen(", ") + length + sizeof more > FOUND_BYTES) {
            memcpy(out + used, more, sizeof more);
            return;
        }
        used += (size_t)snprintf(out + used, FOUND_BYTES - used, "%s%s", used ? ", " : "", key);
    }
}

static enum status missing(const struct keys *k, struct key name, bool *found, struct error *e) {
    char there[FOUND_BYTES];
    if (found) {
        *found = false;
        return OK;
    }
    if (k->gguf) {
        return error_set(e, ERR_RUN, "%s: %s.%s: the key is missing", k->where, k->architecture,
                         name.gguf ? name.gguf : name.json);
    }
    list_keys(k->config, there);
    return error_set(e, ERR_RUN, "%s: %s: the key is missing (found: %s)", k->where,
                     name.json ? name.json : name.gguf, there[0] ? there : "no key at all");
}

static enum status wrong_type(const struct keys *k, struct key name, const char *expected, const json_t *v,
                              struct error *e) {
    static const char *const kinds[] = {"a map", "a list", "text", "an integer", "a number", "true", "false", "null"};
    return error_set(e, ERR_RUN, "%s: %s: found %s, expected %s", key_where(k, name.json), name.json,
                     kinds[json_typeof(v)], expected);
}

static enum status here(bool *found) {
    if (found) {
        *found = true;
    }
    return OK;
}

static const char *shown_name(const struct keys *k, struct key name) { return k->gguf ? name.gguf : name.json; }

/* The four kinds of values, whichever file they come from. *there: whether the key is. */

static enum status find_count(const struct keys *k, struct key name, uint64_t *value, bool *there, struct error *e) {
    const char *full = NULL;
    if (k->gguf) {
        TRY(gguf_key(k, name, &full, e));
        return full ? gguf_get_u64(k->gguf, full, value, there, e) : OK;
    }
    const json_t *v = json_value(k, name);
    if (v && !json_is_integer(v)) {
        return wrong_type(k, name, "an integer", v, e);
    }
    *there = v != NULL;
    *value = v ? (uint64_t)json_integer_value(v) : 0;
    return OK;
}

static enum status find_number(const struct keys *k, struct key name, double *value, bool *there, struct error *e) {
    const char *full = NULL;
    if (k->gguf) {
        TRY(gguf_key(k, name, &full, e));
        return full ? gguf_get_f64(k->gguf, full, value, there, e) : OK;
    }
    const json_t *v = json_value(k, name);
    if (v && !json_is_number(v)) {
        return wrong_type(k, name, "a number", v, e);
    }
    *there = v != NULL;
    *value = json_number_value(v);
    return OK;
}

static enum status find_flag(const struct keys *k, struct key name, bool *value, bool *there, struct error *e) {
    const char *full = NULL;
    if (k->gguf) {
        TRY(gguf_key(k, name, &full, e));
        return full ? gguf_get_bool(k->gguf, full, value, there, e) : OK;
    }
    const json_t *v = json_value(k, name);
    if (v && !json_is_boolean(v)) {
        return wrong_type(k, name, "true or false", v, e);
    }
    *there = v != NULL;
    *value = v ? json_is_true(v) : *value;
    return OK;
}

static enum status find_text(const struct keys *k, struct key name, const char **value, bool *there, struct error *e) {
    const char *full = NULL, *text = NULL;
    size_t bytes = 0;
    if (!k->gguf) {
        const json_t *v = json_value(k, name);
        if (v && !json_is_string(v)) {
            return wrong_type(k, name, "text", v, e);
        }
        *there = v != NULL;
        *value = v ? json_string_value(v) : *value;
        return OK;
    }
    TRY(gguf_key(k, name, &full, e));
    if (full) {
        TRY(gguf_get_text(k->gguf, full, &text, &bytes, there, e));
    }
    *value = *there ? arena_strndup(k->arena, text, bytes) : *value;
    return !*there || *value ? OK : error_set(e, ERR_RUN, "%s: out of memory", k->where);
}

enum status key_count(const struct keys *k, struct key name, uint32_t min, uint32_t max, uint32_t *out, bool *found,
                      struct error *e) {
    uint64_t value = 0;
    bool there = false;
    TRY(find_count(k, name, &value, &there, e));
    if (!there) {
        return missing(k, name, found, e);
    }
    if (value < min || value > max) {
        bool negative = !k->gguf && value > INT64_MAX; /* JSON has signed integers */
        return error_set(e, ERR_RUN, "%s: %s = %s%llu: out of range (allowed: %u to %u)",
                         key_where(k, shown_name(k, name)), shown_name(k, name), negative ? "-" : "",
                         (unsigned long long)(negative ? 0 - value : value), min, max);
    }
    *out = (uint32_t)value;
    return here(found);
}

enum status key_number(const struct keys *k, struct key name, double min, double max, double *out, bool *found,
                       struct error *e) {
    double value = 0;
    bool there = false;
    TRY(find_number(k, name, &value, &there, e));
    if (!there) {
        return missing(k, name, found, e);
    }
    if (!(value >= min && value <= max)) {
        return error_set(e, ERR_RUN, "%s: %s = %g: out of range (allowed: %g to %g)",
                         key_where(k, shown_name(k, name)), shown_name(k, name), value, min, max);
    }
    *out = value;
    return here(found);
}

enum status key_flag(const struct keys *k, struct key name, bool *out, bool *found, struct error *e) {
    bool there = false;
    TRY(find_flag(k, name, out, &there, e));
    return there ? here(found) : missing(k, name, found, e);
}

enum status key_text(const struct keys *k, struct key name, const char **out, bool *found, struct error *e) {
    bool there = false;
    TRY(find_text(k, name, out, &there, e));
    return there ? here(found) : missing(k, name, found, e);
}

enum status key_map(const struct keys *k, const char *name, struct keys *inner, bool *found, struct error *e) {
    *found = false;
    const json_t *v = k->config ? json_value(k, (struct key){name, NULL}) : NULL;
    if (!v) {
        return OK;
    }
    if (!json_is_object(v)) {
        return wrong_type(k, (struct key){name, NULL}, "a map", v, e);
    }
    *inner = *k;
    inner->config = v;
    inner->map = name;
    inner->where = arena_printf(k->arena, "%s: %s", k->where, name);
    *found = true;
    return inner->where ? OK : error_set(e, ERR_RUN, "%s: out of memory", k->where);
}

enum status key_divisors(const struct keys *k, const char *name, uint32_t count, const float **out, struct error *e) {
    const json_t *v = json_value(k, (struct key){name, NULL});
    if (!v) {
        return missing(k, (struct key){name, NULL}, NULL, e);
    }
    if (!json_is_array(v)) {
        return wrong_type(k, (struct key){name, NULL}, "a list of numbers", v, e);
    }
    if (json_array_size(v) != count) {
        return error_set(e, ERR_RUN, "%s: %s: found %zu numbers, expected %u (one per rotated pair)",
                         key_where(k, name), name, json_array_size(v), count);
    }
    float *values = arena_alloc(k->arena, count, sizeof *values);
    if (!values) {
        return error_set(e, ERR_RUN, "%s: out of memory", k->where);
    }
    for (uint32_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(v, i);
        double number = json_number_value(item);
        if (!json_is_number(item) || !(number >= 1e-6 && number <= 1e6)) {
            return error_set(e, ERR_RUN, "%s: %s[%u]: not a usable factor (allowed: numbers from 1e-6 to 1e6)",
                             key_where(k, name), name, i);
        }
        values[i] = (float)number;
    }
    *out = values;
    return OK;
}
