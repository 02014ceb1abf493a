/* From a chip file to one plain tree: finds files, applies --set, fills in parts.
 *
 * A chip file names parts (`adc: cco_8b`, or `adc: {part: cco_8b, bits: 6}`). Each becomes the map of
 * configs/parts/NAME.yaml with the chip's own keys on top, plus `name: NAME` so that the part stays visible; the
 * part's sources join those of the chip. What comes out has no parts, no includes and no lists of effects any more:
 * only keys of the tables and of the cell. Every node still knows its file and line.
 *
 * Order of overrides: those that replace a part, a whole group or all effects first; then parts are filled in; then
 * the rest, in the order given. So `--set tile.adc.bits=6 --set tile.adc=sar_8b` means the same both ways round.
 */
#include "sim/chip_load.h"

#include <string.h>

#include "base/io.h"

static const char *const slots[] = {"tile.cell", "tile.wires", "tile.dac", "tile.integrator", "tile.adc",
                                    "tile.post", "vector",     "attention", "matmul",         "kv",
                                    "buffer",    "dram",       "network",   "chip_link",      "package_link",
                                    "side_path"};
enum { SLOTS = sizeof slots / sizeof slots[0], KEY_BYTES = 256, WHERE_BYTES = 512 };

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "chip: out of memory"); }

enum status config_catalogue_path(struct arena *a, const char *folder, const char *name, char **path, struct error *e) {
    const char *data = data_directory();
    if (!data) {
        return error_set(
            e, ERR_RUN,
            "configs: folder not found: it lies beside the program's build folder or in the installed data folder");
    }
    *path = name ? arena_printf(a, "%s/configs/%s/%s.yaml", data, folder, name)
                 : arena_printf(a, "%s/configs/%s", data, folder);
    return *path ? OK : no_memory(e);
}

/* A copy of `map` (children shared) without the keys of `drop`; its own place is that of `origin`. */
static enum status copy_without(struct arena *a, const struct config_node *map, const struct config_node *origin,
                                const char *const *drop, struct config_node **out, struct error *e) {
    struct config_node *copy = config_new_map(a, config_file(origin), config_line(origin));
    if (!copy) {
        return no_memory(e);
    }
    for (size_t i = 0; i < config_count(map); i++) {
        const char *key = config_key_at(map, i);
        bool keep = true;
        for (const char *const *d = drop; *d; d++) {
            keep = keep && strcmp(*d, key) != 0;
        }
        if (keep) {
            TRY(config_put(a, copy, key, config_at(map, i), e));
        }
    }
    *out = copy;
    return OK;
}

/* ---- sources ----------------------------------------------------------------------------------- */

static enum status merge_sources(struct arena *a, struct config_node *root, const struct config_node *sources,
                                 struct error *e) {
    char where[WHERE_BYTES];
    if (config_kind(sources) != CONFIG_MAP) {
        return error_set(e, ERR_USAGE, "%s: sources: not a map (allowed: a map from short names to references)",
                         config_where(sources, where, sizeof where));
    }
    struct config_node *all = config_get(root, "sources");
    if (!all) {
        all = config_new_map(a, config_file(sources), config_line(sources));
        if (!all) {
            return no_memory(e);
        }
        TRY(config_put(a, root, "sources", all, e));
    }
    for (size_t i = 0; i < config_count(sources); i++) {
        const char *key = config_key_at(sources, i);
        struct config_node *text = config_at(sources, i);
        const struct config_node *known = config_get(all, key);
        if (!config_text(text)) {
            return error_set(e, ERR_USAGE, "%s: sources.%s: not text (allowed: one reference in words)",
                             config_where(text, where, sizeof where), key);
        }
        if (known && strcmp(config_text(known) ? config_text(known) : "", config_text(text)) != 0) {
            return error_set(e, ERR_USAGE,
                             "%s: sources.%s: has another text in %s:%d (allowed: the same, or another name)",
                             config_where(text, where, sizeof where), key, config_file(known), config_line(known));
        }
        TRY(config_put(a, all, key, text, e));
    }
    return OK;
}

/* ---- parts ------------------------------------------------------------------------------------- */

static enum status unknown_part(const struct config_node *at, const char *slot, const char *name, struct error *e) {
    char where[WHERE_BYTES];
    const char *const *names = NULL;
    size_t count = 0;
    TRY(config_catalogue("parts", &names, &count, e));
    const char *near = nearest_name(name, names, count);
    return error_set(
        e, ERR_USAGE,
        "%s: %s: no part '%s' in configs/parts%s%s (allowed: a name there, or a path that ends in .yaml or has a '/')",
        config_where(at, where, sizeof where), slot, name, near ? ": nearest is " : "", near ? near : "");
}

/* A part of one's own: on the command line relative to the working folder, in a file relative to that file, as
 * includes. */
static char *own_part_path(struct arena *a, const struct config_node *at, const char *name) {
    const char *file = config_file(at), *slash = strrchr(file, '/');
    if (name[0] == '/' || !slash || strcmp(file, CONFIG_OVERRIDE) == 0) {
        return arena_strdup(a, name);
    }
    return arena_printf(a, "%.*s/%s", (int)(slash - file), file, name);
}

/* The tree of a part file, checked to be a map. */
static enum status load_part(struct arena *a, const struct config_node *at, const char *slot, const char *name,
                             struct config_node **out, struct error *e) {
    char *path = NULL, where[WHERE_BYTES];
    if (name[0] == 0) {
        return error_set(e, ERR_USAGE, "%s: %s: empty (allowed: the name of a part in configs/parts, or a path)",
                         config_where(at, where, sizeof where), slot);
    }
    if (config_is_path(name)) {
        path = own_part_path(a, at, name);
        TRY(path ? OK : no_memory(e));
    } else {
        TRY(config_catalogue_path(a, "parts", name, &path, e));
        if (!file_exists(path)) {
            return unknown_part(at, slot, name, e);
        }
    }
    enum status loaded = config_load(a, path, out, e);
    if (loaded != OK) {
        return config_is_path(name) ? error_prefix(e, "%s: %s", config_where(at, where, sizeof where), slot) : loaded;
    }
    return OK;
}

/* The node that stands for a slot replaced by the part that it names; a map that names none stays. */
static enum status expand_node(struct arena *a, struct config_node *root, const char *slot, struct config_node **node,
                               struct error *e) {
    static const char *const own_drop[] = {"part", "include", NULL}, *const part_drop[] = {"sources", "include",
                                                                                           "about", NULL};
    struct config_node *own = NULL, *part = NULL;
    const struct config_node *named = config_kind(*node) == CONFIG_MAP ? config_get(*node, "part") : *node;
    if (!named) {
        return OK;
    }
    char where[WHERE_BYTES];
    const char *name = config_text(named);
    if (!name || config_is_null(named)) {
        return error_set(e, ERR_USAGE, "%s: %s: neither text nor a map (allowed: the name of a part, or a map of keys)",
                         config_where(named, where, sizeof where), slot);
    }
    TRY(load_part(a, named, slot, name, &part, e));
    if (config_get(part, "sources")) {
        TRY(merge_sources(a, root, config_get(part, "sources"), e));
    }
    struct config_node *full = NULL, *label = config_new_scalar(a, name, config_file(named), config_line(named));
    TRY(copy_without(a, part, config_kind(*node) == CONFIG_MAP ? *node : part, part_drop, &full, e));
    if (!label) {
        return no_memory(e);
    }
    TRY(config_put(a, full, "name", label, e));
    if (config_kind(*node) == CONFIG_MAP) {
        TRY(copy_without(a, *node, *node, own_drop, &own, e));
        TRY(config_merge(a, full, own, e));
    }
    *node = full;
    return OK;
}

static enum status expand_slot(struct arena *a, struct config_node *root, const char *slot, struct error *e) {
    const char *dot = strchr(slot, '.');
    struct config_node *parent = root;
    if (dot) {
        parent = config_get(root, "tile");
        if (!parent || config_kind(parent) != CONFIG_MAP) {
            return OK; /* params_read says what is missing */
        }
    }
    const char *key = dot ? dot + 1 : slot;
    struct config_node *node = config_get(parent, key);
    if (!node) {
        return OK;
    }
    TRY(expand_node(a, root, slot, &node, e));
    return config_put(a, parent, key, node, e);
}

/* ---- short forms ------------------------------------------------------------------------------- */

/* `effects: off` (or on) becomes a map with every effect off (or on). */
static enum status expand_effects(struct arena *a, struct config_node *root, struct error *e) {
    const struct config_node *effects = config_get(root, "effects");
    if (!effects || config_kind(effects) == CONFIG_MAP) {
        return OK;
    }
    char where[WHERE_BYTES];
    const char *text = config_text(effects);
    if (!text || (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)) {
        return error_set(e, ERR_USAGE, "%s: effects: no switch (allowed: on, off, or a map of effects)",
                         config_where(effects, where, sizeof where));
    }
    struct config_node *map = config_new_map(a, config_file(effects), config_line(effects));
    for (size_t i = 0; map && i < chip_effect_count(); i++) {
        struct config_node *state = config_new_scalar(a, text, config_file(effects), config_line(effects));
        if (!state) {
            return no_memory(e);
        }
        TRY(config_put(a, map, chip_effect_name(i), state, e));
    }
    return map ? config_put(a, root, "effects", map, e) : no_memory(e);
}

/* `analog: [q, k]` becomes "q,k". */
static enum status join_analog(struct arena *a, struct config_node *root, struct error *e) {
    const struct config_node *list = config_get(root, "analog");
    if (!list || config_kind(list) != CONFIG_LIST) {
        return OK;
    }
    char where[WHERE_BYTES];
    const char *joined = "";
    for (size_t i = 0; i < config_count(list); i++) {
        const char *role = config_text(config_at(list, i));
        if (!role) {
            return error_set(
                e, ERR_USAGE,
                "%s: analog: not a role (allowed: all, or a list of q k v o gate up down qkv gate_up head)",
                config_where(config_at(list, i), where, sizeof where));
        }
        joined = arena_printf(a, "%s%s%s", joined, i ? "," : "", role);
        if (!joined) {
            return no_memory(e);
        }
    }
    struct config_node *text = config_new_scalar(a, joined, config_file(list), config_line(list));
    return text ? config_put(a, root, "analog", text, e) : no_memory(e);
}

/* ---- overrides --------------------------------------------------------------------------------- */

/* Key of "key=value" in `key`; false when it is too long or there is no '='. */
static bool key_of(const char *assignment, char *key, size_t bytes) {
    const char *equals = strchr(assignment, '=');
    size_t n = equals ? (size_t)(equals - assignment) : 0;
    if (!equals || n >= bytes) {
        return false;
    }
    memcpy(key, assignment, n);
    key[n] = 0;
    return true;
}

/* Whether the override replaces a part, a group that holds parts, or all effects. */
static bool acts_first(const char *assignment) {
    char key[KEY_BYTES];
    if (!key_of(assignment, key, sizeof key)) {
        return false;
    }
    if (strcmp(key, "tile") == 0 || strcmp(key, "effects") == 0) {
        return true;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        size_t n = strlen(slots[i]);
        if (strncmp(key, slots[i], n) == 0 && (key[n] == 0 || strcmp(key + n, ".part") == 0)) {
            return true;
        }
    }
    return false;
}

static enum status apply_set(struct arena *a, struct config_node *root, const char *assignment, int ordinal,
                             struct error *e) {
    char key[KEY_BYTES];
    if (!key_of(assignment, key, sizeof key)) {
        return config_set(a, root, assignment, ordinal, e); /* says what is wrong */
    }
    if (strcmp(key, "include") == 0) {
        return error_set(e, ERR_USAGE,
                         "--set %d: include: cannot be set (allowed: in files; name the file as the chip)", ordinal);
    }
    return params_override(a, root, assignment, ordinal, e);
}

static enum status apply_sets(struct arena *a, struct config_node *root, const char *const *sets, size_t count,
                              bool first, struct error *e) {
    for (size_t i = 0; i < count; i++) {
        if (acts_first(sets[i]) == first) {
            TRY(apply_set(a, root, sets[i], (int)i + 1, e));
        }
    }
    return OK;
}

/* ---- what the times are for -------------------------------------------------------------------- */

/* tile.mvm_rows: unless it is given, the rows that the file has beside tile.mvm_ns. So a tile of other rows (--set)
 * that keeps the time of the file is found out, also when the effective configuration is run again. `over`: the
 * overrides are in; one of tile.mvm_ns is for the tile as it is now. */
static enum status note_side(struct arena *a, struct config_node *root, const char *side, const char *noted, bool over,
                             struct error *e) {
    struct config_node *tile = config_get(root, "tile");
    const struct config_node *time = tile && config_kind(tile) == CONFIG_MAP ? config_get(tile, "mvm_ns") : NULL,
                             *lines = time ? config_get(tile, side) : NULL,
                             *given = time ? config_get(tile, noted) : NULL;
    bool set = time && strcmp(config_file(time), CONFIG_OVERRIDE) == 0,
         given_set = given && strcmp(config_file(given), CONFIG_OVERRIDE) == 0;
    if (!time || !lines || !config_text(lines) || (over ? !set || given_set : given != NULL)) {
        return OK;
    }
    struct config_node *node = config_new_scalar(a, config_text(lines), config_file(lines), config_line(lines));
    return node ? config_put(a, tile, noted, node, e) : no_memory(e);
}

static enum status note_sides(struct arena *a, struct config_node *root, bool over, struct error *e) {
    TRY(note_side(a, root, "rows", "mvm_rows", over, e));
    return note_side(a, root, "columns", "mvm_columns", over, e);
}

/* ---- the tree ---------------------------------------------------------------------------------- */

static enum status load_root(struct arena *a, const char *name, struct config_node **root, struct error *e) {
    static const char *const drop[] = {"include", NULL};
    char *path = NULL;
    struct config_node *file = NULL;
    if (config_is_path(name)) {
        path = arena_strdup(a, name);
    } else {
        TRY(config_catalogue_path(a, "chips", name, &path, e));
        if (!file_exists(path)) {
            const char *const *names = NULL;
            size_t count = 0;
            TRY(config_catalogue("chips", &names, &count, e));
            const char *near = nearest_name(name, names, count);
            return error_set(e, ERR_USAGE,
                             "chip '%s': not in the catalogue%s%s (allowed: a name of `mho chip list`, or a path that "
                             "ends in .yaml or has "
                             "a '/')",
                             name, near ? ": nearest is " : "", near ? near : "");
        }
    }
    if (!path) {
        return no_memory(e);
    }
    TRY(config_load(a, path, &file, e));
    return copy_without(a, file, file, drop, root, e);
}

enum status chip_tree(struct arena *a, const char *name, const char *const *sets, size_t set_count,
                      struct config_node **out, struct error *e) {
    struct config_node *root = NULL;
    TRY(load_root(a, name, &root, e));
    TRY(apply_sets(a, root, sets, set_count, true, e));
    if (config_get(root, "sources")) {
        TRY(merge_sources(a, root, config_get(root, "sources"), e)); /* with itself: checks that it is a map of texts */
    }
    TRY(expand_effects(a, root, e));
    for (size_t i = 0; i < SLOTS; i++) {
        TRY(expand_slot(a, root, slots[i], e));
    }
    TRY(note_sides(a, root, false, e));
    TRY(apply_sets(a, root, sets, set_count, false, e));
    TRY(note_sides(a, root, true, e));
    TRY(join_analog(a, root, e));
    if (config_get(root, "sources")) {
        TRY(merge_sources(a, root, config_get(root, "sources"), e)); /* again: an override may have changed it */
    }
    *out = root;
    return OK;
}
