/* Overrides of values that know where they come from (see params.h). */
#include <stdio.h>
#include <string.h>

#include "base/params_text.h"

static bool is_constant_map(const struct config_node *n) {
    return n && config_kind(n) == CONFIG_MAP && config_get(n, "value");
}

enum status params_override(struct arena *a, struct config_node *root, const char *assignment, int ordinal,
                            struct error *e) {
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(assignment, "="), assignment);
    static const char assumed[] = "{kind: assumed, source: set on the command line, spread: [1, 1]}";
    const struct config_node *before = config_find(root, key);
    bool whole = is_constant_map(before);
    char parent_key[KEY_BYTES];
    snprintf(parent_key, sizeof parent_key, "%s", key);
    if (text_ends_with(key, ".value")) {
        parent_key[strlen(key) - strlen(".value")] = 0;
    }
    struct config_node *constant = config_find(root, parent_key);
    bool member = !whole && text_ends_with(key, ".value") && is_constant_map(constant);
    TRY(config_set(a, root, assignment, ordinal, e)); /* says what is wrong with an assignment that is none */
    struct config_node *after = config_find(root, key), *provenance = NULL;
    if ((!whole && !member) || !after || config_kind(after) == CONFIG_MAP) {
        return OK;
    }
    TRY(config_parse(a, assumed, sizeof assumed - 1, "--set", &provenance, e));
    if (member) {
        return config_merge(a, constant, provenance, e);
    }
    TRY(config_put(a, provenance, "value", after, e));
    char *dot = strrchr(parent_key, '.');
    if (!dot) {
        return config_put(a, root, parent_key, provenance, e);
    }
    *dot = 0;
    return config_put(a, config_find(root, parent_key), dot + 1, provenance, e);
}
