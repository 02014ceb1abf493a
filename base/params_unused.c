/* Keys that no table knows, and what was probably meant (see params.h).
 *
 * A misspelt key is looked for among its brothers first: "tile.adc.bit" is near "tile.adc.bits", not near
 * another path that shares most letters. A key whose unit is missing or another one is told so.
 */
#include <stdio.h>
#include <string.h>

#include "base/params_text.h"

enum { PATH_BYTES = 33 * 130 }; /* 32 levels of the longest keys */

/* All keys that the tables know, in full. */
struct known { const char **keys; size_t count; const char *const *skip; struct arena *arena; };

static enum status collect(struct known *k, const struct param_table *const *tables, const char *const *prefixes,
                           size_t count, struct error *e) {
    size_t total = 0;
    for (size_t t = 0; t < count; t++) {
        total += tables[t]->count;
    }
    for (size_t i = 0; k->skip[i]; i++) {
        total++;
    }
    k->keys = arena_alloc(k->arena, total, sizeof *k->keys);
    bool complete = k->keys != NULL;
    for (size_t t = 0; complete && t < count; t++) {
        for (size_t i = 0; complete && i < tables[t]->count; i++) {
            k->keys[k->count] = arena_printf(k->arena, "%s%s", prefixes[t], tables[t]->rows[i].key);
            complete = k->keys[k->count++] != NULL;
        }
    }
    for (size_t i = 0; complete && k->skip[i]; i++) {
        k->keys[k->count++] = k->skip[i];
    }
    return complete ? OK : error_set(e, ERR_RUN, "out of memory");
}

static bool is_known(const struct known *k, const char *path) {
    for (size_t i = 0; i < k->count; i++) {
        if (strcmp(k->keys[i], path) == 0) {
            return true;
        }
    }
    return false;
}

static bool leads_to_known(const struct known *k, const char *path) {
    size_t length = strlen(path);
    for (size_t i = 0; i < k->count; i++) {
        if (strncmp(k->keys[i], path, length) == 0 && k->keys[i][length] == '.') {
            return true;
        }
    }
    return false;
}

static bool is_unit(const char *text) {
    double factor;
    return unit_factor(text, &factor);
}

/* Bytes of `key` before "_UNIT"; 0: it ends with no unit. */
static size_t stem_length(const char *key) {
    const char *last = strrchr(key, '.');
    for (const char *at = strchr(last ? last : key, '_'); at; at = strchr(at + 1, '_')) {
        if (is_unit(at + 1)) {
            return (size_t)(at - key);
        }
    }
    return 0;
}

/* The known key that is `path` but for its unit. */
static const char *same_but_unit(const struct known *k, const char *path) {
    size_t own_stem = stem_length(path);
    size_t stem = own_stem ? own_stem : strlen(path);
    for (size_t i = 0; i < k->count; i++) {
        if (stem_length(k->keys[i]) == stem && strncmp(k->keys[i], path, stem) == 0) {
            return k->keys[i];
        }
    }
    return NULL;
}

/* The names that may stand beside the last part of `path`, each once. */
static const char **brothers(const struct known *k, const char *path, size_t parent, size_t *count) {
    const char **names = arena_alloc(k->arena, k->count, sizeof *names);
    *count = 0;
    for (size_t i = 0; names && i < k->count; i++) {
        if (strncmp(k->keys[i], path, parent) != 0) {
            continue;
        }
        const char *rest = k->keys[i] + parent;
        const char *name = arena_strndup(k->arena, rest, strcspn(rest, "."));
        bool seen = !name;
        for (size_t j = 0; !seen && j < *count; j++) {
            seen = strcmp(names[j], name) == 0;
        }
        if (!seen) {
            names[(*count)++] = name;
        }
    }
    return names;
}

/* A key of the same name in another place. */
static const char *same_name_elsewhere(const struct known *k, const char *name) {
    for (size_t i = 0; i < k->count; i++) {
        const char *last = strrchr(k->keys[i], '.');
        if (strcmp(last ? last + 1 : k->keys[i], name) == 0) {
            return k->keys[i];
        }
    }
    return NULL;
}

/* "unknown key (nearest: ...)" or "unknown key (allowed: ...)" */
static void explain(const struct known *k, const char *path, char *out, size_t room) {
    const char *last = strrchr(path, '.');
    size_t parent = last ? (size_t)(last + 1 - path) : 0, count;
    const char *unit = same_but_unit(k, path), *elsewhere = same_name_elsewhere(k, path + parent);
    if (unit) {
        snprintf(out, room, "unknown key: the unit is part of the key (nearest: %s)", unit);
        return;
    }
    const char **names = brothers(k, path, parent, &count);
    const char *near = names ? nearest_name(path + parent, names, count) : NULL;
    if (near || elsewhere) {
        snprintf(out, room, "unknown key (nearest: %.*s%s)", near ? (int)parent : 0, path, near ? near : elsewhere);
        return;
    }
    size_t used = (size_t)snprintf(out, room, "unknown key (allowed: ");
    for (size_t i = 0; names && i < count && used + 160 < room; i++) {
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "", names[i]);
    }
    snprintf(out + used, room - used, ")");
}

/* `path` holds the key of `map` with a dot behind it, or nothing; length bytes. */
static enum status check_map(const struct known *k, const struct config_node *map, char *path, size_t length,
                             struct error *e) {
    for (size_t i = 0; i < config_count(map); i++) {
        const struct config_node *node = config_at(map, i);
        int added = snprintf(path + length, PATH_BYTES - length, "%s", config_key_at(map, i));
        size_t end = length + (size_t)added;
        if (is_known(k, path)) {
            continue;
        }
        bool leads = leads_to_known(k, path);
        if (config_kind(node) == CONFIG_MAP && leads && end + 2 < PATH_BYTES) {
            memcpy(path + end, ".", 2);
            TRY(check_map(k, node, path, end + 1, e));
            continue;
        }
        char where[512], value[VALUE_BYTES], why[700] = "not a map (allowed: a map of keys and values)";
        if (!leads) {
            explain(k, path, why, sizeof why);
        }
        return error_set(e, ERR_USAGE, "%s: %s = %s: %s", config_where(node, where, sizeof where), path,
                         param_value_text(node, value), why);
    }
    return OK;
}

enum status params_check_unused(const struct param_table *const *tables, const char *const *prefixes, size_t count,
                                const struct config_node *root, const char *const *skip, struct error *e) {
    static const char *const nothing[] = {NULL};
    struct known k = {.skip = skip ? skip : nothing, .arena = arena_create()};
    char path[PATH_BYTES] = "";
    enum status status = k.arena ? collect(&k, tables, prefixes, count, e) : error_set(e, ERR_RUN, "out of memory");
    if (status == OK && config_kind(root) == CONFIG_MAP) {
        status = check_map(&k, root, path, 0, e);
    }
    arena_destroy(k.arena);
    return status;
}
