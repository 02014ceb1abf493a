/* Messages about relations between keys: which key is to blame, and where it stands (see params.h). */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/params_text.h"

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '/'; }

/* Where `key` stands in `text` as a word of its own; NULL if nowhere. */
static const char *find_word(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *p = text; (p = strstr(p, key)); p++) {
        bool begins = p == text || !in_word(p[-1]);
        if (begins && !in_word(p[n])) {
            return p;
        }
    }
    return NULL;
}

/* What the user wrote for a key: of a constant, the value. */
static const struct config_node *value_of(const struct config_node *map, const char *key) {
    const struct config_node *node = config_find(map, key);
    const struct config_node *value = config_get(node, "value");
    return value ? value : node;
}

/* How likely the key at this node was changed last: --set comes after the file of the map, which comes after those that
 * the map was laid over (a part, an include). */
static int blame(const struct config_node *map, const struct config_node *node) {
    if (!node) {
        return 0;
    }
    bool same = strcmp(config_file(node), config_file(map)) == 0;
    return strcmp(config_file(node), CONFIG_OVERRIDE) == 0 ? 3 : same ? 2 : 1;
}

enum status params_relation(const struct param_table *table, const struct config_node *map, const char *prefix,
                            struct error *e) {
    const struct config_node *worst = NULL, *model = config_get(map, "model");
    const char *key = NULL, *place = NULL;
    char where[512];
    for (size_t i = 0; i < table->count; i++) {
        const char *word = find_word(e->message, table->rows[i].key);
        const struct config_node *node = value_of(map, table->rows[i].key);
        int more = word ? blame(map, node) - blame(map, worst) : -1;
        if (more > 0 || (more == 0 && place && word < place)) {
            worst = node;
            key = table->rows[i].key;
            place = word;
        }
    }
    if (!key) {
        return error_prefix(e, "%s: %.*s", config_where(model ? model : map, where, sizeof where),
                            (int)strlen(prefix) - (*prefix != 0), prefix);
    }
    const char *rest = place == e->message ? e->message + strlen(key) : NULL;
    if (rest && strncmp(rest, ": ", 2) != 0) { /* "KEY = ..." already begins with it */
        char message[ERROR_MESSAGE_BYTES];
        snprintf(message, sizeof message, "%s%s", prefix, e->message);
        return error_set(e, e->status, "%s: %s", config_where(worst, where, sizeof where), message);
    }
    char message[ERROR_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s", rest ? rest + 2 : e->message);
    return error_set(e, e->status, "%s: %s%s: %s", config_where(worst, where, sizeof where), prefix, key, message);
}
