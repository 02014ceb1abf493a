/* The recipe of mho adapt compare: YAML.
 *
 *   title: what it is about
 *   recovery: {lost: ROW, whole: ROW}   recovery of a row = (nats of lost - its nats) / (nats of lost - nats of whole)
 *   rows:
 *     - name: off the shelf             and any of the keys below, which may also stand at the top, for all rows
 *       model: stories                  folder, file or bundled name
 *       chip: afm                       none: the digital model
 *       set: [tile.adc.bits=6]          overrides of the chip; those of the top come first
 *       quantise: 4                     weights rounded to nearest
 *       seed, seeds: 0, 10              machines seed, seed + 1, ...
 *       ages: [0, 1d, 1month]
 *       text, limit, window, bos        as for eval perplexity
 *       task, data, items, shots        as for eval choice (items: the first so many)
 *
 * Paths are relative to the working directory, as on the command line.
 */
#include <string.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/params.h"
#include "tools/compare.h"

static enum status wrong(const struct config_node *n, const char *key, const char *what, struct error *e) {
    char where[512];
    return error_set(e, ERR_USAGE, "%s: %s: %s", config_where(n, where, sizeof where), key, what);
}

static enum status take_text(const struct config_node *n, const char *key, const char **out, struct error *e) {
    if (!config_text(n) || !*config_text(n)) {
        return wrong(n, key, "not a text", e);
    }
    *out = config_text(n);
    return OK;
}

static enum status take_number(const struct config_node *n, const char *key, uint64_t least, uint64_t most,
                               uint64_t *out, struct error *e) {
    const char *text = config_text(n);
    if (!text || !parse_uint64(text, out) || *out < least || *out > most) {
        char what[96];
        snprintf(what, sizeof what, "not a whole number in range (allowed: %llu to %llu)", (unsigned long long)least,
                 (unsigned long long)most);
        return wrong(n, key, what, e);
    }
    return OK;
}

static enum status take_sets(const struct config_node *n, struct compare_row *row, struct error *e) {
    for (size_t i = 0; i < config_count(n); i++) {
        const char *text = config_text(config_at(n, i));
        if (config_kind(n) != CONFIG_LIST || !text || row->set_count == OPTION_LIST_MAX) {
            return wrong(n, "set", "not a list of key=value (allowed: at most 64 in all)", e);
        }
        row->sets[row->set_count++] = text;
    }
    return config_kind(n) == CONFIG_LIST ? OK : wrong(n, "set", "not a list of key=value", e);
}

static enum status take_ages(const struct config_node *n, struct compare_row *row, struct error *e) {
    if (config_kind(n) != CONFIG_LIST || config_count(n) == 0 || config_count(n) > COMPARE_AGES_MOST) {
        return wrong(n, "ages", "not a list of ages (allowed: 1 to 16, such as [0, 1d])", e);
    }
    row->age_count = config_count(n);
    for (size_t i = 0; i < row->age_count; i++) {
        const char *text = config_text(config_at(n, i));
        struct error why = {.status = OK};
        if (!text || parse_duration_s(text, &row->ages_s[i], &why) != OK) {
            return wrong(config_at(n, i), "ages", text ? why.message : "not an age", e);
        }
    }
    return OK;
}

/* A key of a row. *known: whether it is one. */
static enum status take_key(const struct config_node *n, const char *key, struct compare_row *row, bool *known,
                            struct error *e) {
    const struct { const char *key; const char **out; } texts[] = {
        {"model", &row->model}, {"chip", &row->chip}, {"text", &row->text},
        {"bos", &row->bos},     {"task", &row->task}, {"data", &row->data},
    };
    const struct { const char *key; uint64_t *out, least, most; } numbers[] = {
        {"quantise", &row->quantise, 2, 8},
        {"seed", &row->seed, 0, INT64_MAX / 2},
        {"seeds", &row->seeds, 1, 1000},
        {"limit", &row->limit, 1, (uint64_t)1 << 40},
        {"window", &row->window, 2, 1000000},
        {"items", &row->items, 1, (uint64_t)1 << 40},
        {"shots", &row->shots, 0, SHOTS_MOST},
    };
    *known = true;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(key, texts[i].key) == 0) {
            return take_text(n, key, texts[i].out, e);
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) == 0) {
            return take_number(n, key, numbers[i].least, numbers[i].most, numbers[i].out, e);
        }
    }
    if (strcmp(key, "set") == 0) {
        return take_sets(n, row, e);
    }
    if (strcmp(key, "ages") == 0) {
        return take_ages(n, row, e);
    }
    *known = false;
    return OK;
}

/* Keys of a map into *row; those in `others` (NULL-terminated) are left to the caller. */
static enum status take_keys(const struct config_node *map, const char *const *others, struct compare_row *row,
                             struct error *e) {
    for (size_t i = 0; i < config_count(map); i++) {
        const char *key = config_key_at(map, i);
        bool known, other = false;
        for (size_t k = 0; others[k]; k++) {
            other = other || strcmp(key, others[k]) == 0;
        }
        TRY(take_key(config_at(map, i), key, row, &known, e));
        if (!known && !other) {
            return wrong(config_at(map, i), key,
                         "unknown key (allowed: name, model, chip, set, quantise, seed, seeds, ages, text, limit, "
                         "window, bos, task, data, items, shots; at the top title, recovery, rows)", e);
        }
    }
    return OK;
}

static enum status check_row(const struct config_node *n, const struct compare_recipe *r, size_t i, struct error *e) {
    const struct compare_row *row = &r->rows[i];
    if (!row->text && !row->task) {
        return wrong(n, row->name, "nothing to measure (needed: text, or task and data; or --text FILE)", e);
    }
    if (row->task && !row->data) {
        return wrong(n, row->name, "task without data", e);
    }
    for (size_t k = 0; k < i; k++) {
        if (strcmp(r->rows[k].name, row->name) == 0) {
            return wrong(n, row->name, "a name that another row has", e);
        }
    }
    return OK;
}

static enum status take_rows(const struct config_node *list, const struct compare_row *defaults,
                             struct compare_recipe *r, struct error *e) {
    static const char *const others[] = {"name", NULL};
    r->rows = arena_alloc(r->arena, config_count(list), sizeof *r->rows);
    if (!r->rows) {
        return error_set(e, ERR_RUN, "%s: out of memory", r->path);
    }
    for (size_t i = 0; i < config_count(list); i++) {
        const struct config_node *n = config_at(list, i), *name = config_get(n, "name");
        r->rows[i] = *defaults;
        r->count = i + 1;
        if (!name) {
            return wrong(n, "rows", "a row without a name", e);
        }
        TRY(take_text(name, "name", &r->rows[i].name, e));
        TRY(take_keys(n, others, &r->rows[i], e));
        TRY(check_row(n, r, i, e));
    }
    return OK;
}

static enum status find_row(const struct config_node *pair, const char *key, const struct compare_recipe *r,
                            size_t *out, struct error *e) {
    const struct config_node *n = config_get(pair, key);
    const char *name = n ? config_text(n) : NULL;
    for (*out = 0; *out < r->count; ++*out) {
        if (name && strcmp(r->rows[*out].name, name) == 0) {
            return OK;
        }
    }
    return wrong(n ? n : pair, "recovery", "lost and whole must be names of rows", e);
}

static enum status read_tree(const struct config_node *root, const struct options *o, struct compare_recipe *r,
                             struct error *e) {
    static const char *const others[] = {"title", "recovery", "rows", NULL};
    struct compare_row defaults = {.model = "stories", .chip = "pcm256", .seeds = 1, .window = 256, .age_count = 1};
    const struct config_node *title = config_get(root, "title"), *rows = config_get(root, "rows"),
                             *recovery = config_get(root, "recovery");
    TRY(take_keys(root, others, &defaults, e));
    defaults.model = option_given(o, "model") ? o->model : defaults.model;
    defaults.text = o->text ? o->text : defaults.text;
    r->title = "comparison";
    if (title) {
        TRY(take_text(title, "title", &r->title, e));
    }
    if (!rows || config_kind(rows) != CONFIG_LIST || config_count(rows) == 0) {
        return wrong(rows ? rows : root, "rows", "no list of rows", e);
    }
    TRY(take_rows(rows, &defaults, r, e));
    r->lost = r->whole = r->count;
    if (recovery) {
        TRY(find_row(recovery, "lost", r, &r->lost, e));
        TRY(find_row(recovery, "whole", r, &r->whole, e));
    }
    return OK;
}

enum status compare_recipe_read(const char *path, const struct options *o, struct compare_recipe *out,
                                struct error *e) {
    struct config_node *root;
    *out = (struct compare_recipe){.path = path, .arena = arena_create()};
    if (!out->arena) {
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    TRY(config_load(out->arena, path, &root, e));
    return read_tree(root, o, out, e);
}

void compare_recipe_clear(struct compare_recipe *r) { arena_destroy(r->arena); }
