/* See circuit.h. */
#include "devices/circuit.h"

enum status circuit_name(const struct config_node *map, const char *prefix, const struct config_node **name,
                         struct error *e) {
    char where[512];
    *name = map ? config_get(map, "model") : NULL;
    if (map && (!*name || !config_text(*name))) {
        return error_set(e, ERR_USAGE, "%s: %smodel: missing (allowed: a circuit of `mho chip params`)",
                         config_where(map, where, sizeof where), prefix);
    }
    return OK;
}

enum status circuit_refused(const struct config_node *name, const char *prefix, struct error *e) {
    char where[512];
    return error_prefix(e, "%s: %smodel", config_where(name, where, sizeof where), prefix);
}

enum status circuit_dump(const char *name, const struct param_table *table, const void *params, struct arena *a,
                         struct config_node *map, struct error *e) {
    struct config_node *node = config_new_scalar(a, name, "(effective)", 0);
    if (!node) {
        return error_set(e, ERR_RUN, "circuit %s: out of memory", name);
    }
    TRY(config_put(a, map, "model", node, e));
    return params_dump(table, params, "", a, map, e);
}
