/* YAML out of configuration trees, and their hash (see config.h).
 *
 * Maps and lists that hold no further map and fit on a line are written in flow style, everything else
 * in block style. A scalar is written plain only when it consists of harmless characters; else in double
 * quotes. What was quoted stays quoted. So dump -> parse -> dump gives the same bytes.
 */
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "base/config_node.h"

enum { FLOW_COLUMNS = 100, INDENT = 2 };

/* Where the text goes: a growing buffer, a hash, or nowhere but a count. */
struct sink {
    bool keep, sorted;
    bool failed;
    char *text;
    size_t used, capacity;
    uint64_t hash;
};

static bool sink_grow(struct sink *s, size_t bytes) {
    if (s->capacity - s->used > bytes) {
        return true;
    }
    size_t capacity = 2 * (s->used + bytes) + 256;
    char *grown = mem_resize(s->text, s->used, capacity);
    if (!grown) {
        s->failed = true;
        return false;
    }
    s->text = grown;
    s->capacity = capacity;
    return true;
}

static void put(struct sink *s, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        s->hash = (s->hash ^ (unsigned char)text[i]) * 1099511628211ull; /* FNV-1a, 64 bits */
    }
    if (s->keep && !s->failed && sink_grow(s, bytes)) {
        memcpy(s->text + s->used, text, bytes);
    }
    s->used += bytes;
}

static void put_text(struct sink *s, const char *text) { put(s, text, strlen(text)); }

static bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Characters that mean nothing to YAML wherever they stand, after a first one that means nothing either. */
static bool plain_is_safe(const char *t) {
    if (strcmp(t, "~") == 0) {
        return true;
    }
    bool sign = t[0] == '-' || t[0] == '+' || t[0] == '.';
    if (!(is_alphanumeric(t[0]) || t[0] == '_' || t[0] == '/' || (sign && (is_alphanumeric(t[1]) || t[1] == '.')))) {
        return false;
    }
    if (strncmp(t, "...", 3) == 0) {
        return false; /* the end of a document */
    }
    for (size_t i = 1; t[i]; i++) {
        bool inner_space = t[i] == ' ' && t[i - 1] != ' ' && t[i + 1] != 0;
        if (!is_alphanumeric(t[i]) && !strchr("_./+-()=;%^*", t[i]) && !inner_space) {
            return false;
        }
    }
    return true;
}

/* Code points that YAML takes as they are inside quotes, without folding lines. */
static bool is_printable(utf8proc_int32_t c) {
    return c >= 0x20 && c != 0x7f && (c < 0x7f || c >= 0xa0) && c != 0x2028 && c != 0x2029 && c != 0xfeff &&
           c != 0xfffe && c != 0xffff;
}

static void put_quoted(struct sink *s, const char *text) {
    put_text(s, "\"");
    while (*text) {
        utf8proc_int32_t point;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &point);
        char escaped[16];
        if (length < 1) {
            length = 1;
            point = 0xfffd; /* text from outside a file may be broken; YAML cannot carry it */
        }
        if (point == '"' || point == '\\') {
            snprintf(escaped, sizeof escaped, "\\%c", (char)point);
            put_text(s, escaped);
        } else if (point == '\n') {
            put_text(s, "\\n");
        } else if (!is_printable(point) || (point == 0xfffd && (unsigned char)*text < 0xef)) {
            snprintf(escaped, sizeof escaped, "\\u%04X", (unsigned)point);
            put_text(s, escaped);
        } else {
            put(s, text, (size_t)length);
        }
        text += length;
    }
    put_text(s, "\"");
}

static void put_scalar(struct sink *s, const char *text, bool quoted) {
    if (quoted || !plain_is_safe(text)) {
        put_quoted(s, text);
    } else {
        put_text(s, text);
    }
}

/* Index of the entry that comes after `last` (NULL: the first) in the order of the keys. Quadratic over a
 * map, without memory; configurations are small. */
static size_t next_sorted(const struct config_node *n, const char *last) {
    size_t best = n->count;
    for (size_t i = 0; i < n->count; i++) {
        if ((!last || strcmp(n->keys[i], last) > 0) && (best == n->count || strcmp(n->keys[i], n->keys[best]) < 0)) {
            best = i;
        }
    }
    return best;
}

static size_t entry(const struct sink *s, const struct config_node *n, size_t i, const char **last) {
    if (!s->sorted || n->kind != CONFIG_MAP) {
        return i;
    }
    size_t at = next_sorted(n, *last);
    *last = n->keys[at];
    return at;
}

static void put_flow(struct sink *s, const struct config_node *n) {
    if (n->kind == CONFIG_SCALAR) {
        put_scalar(s, n->text, n->quoted);
        return;
    }
    const char *last = NULL;
    put_text(s, n->kind == CONFIG_MAP ? "{" : "[");
    for (size_t i = 0; i < n->count; i++) {
        size_t at = entry(s, n, i, &last);
        put_text(s, i ? ", " : "");
        if (n->kind == CONFIG_MAP) {
            put_scalar(s, n->keys[at], false);
            put_text(s, ": ");
        }
        put_flow(s, n->items[at]);
    }
    put_text(s, n->kind == CONFIG_MAP ? "}" : "]");
}

/* Flow style reads well for what has no maps inside and fits on a line. */
static bool wants_flow(const struct config_node *n) {
    if (n->kind == CONFIG_SCALAR || n->count == 0) {
        return true;
    }
    bool scalars_only = true;
    for (size_t i = 0; i < n->count; i++) {
        const struct config_node *item = n->items[i];
        scalars_only = scalars_only && item->kind == CONFIG_SCALAR;
        for (size_t j = 0; j < item->count; j++) {
            if (item->kind == CONFIG_MAP || item->items[j]->kind != CONFIG_SCALAR) {
                return false;
            }
        }
    }
    if (n->kind == CONFIG_LIST && scalars_only) {
        return true;
    }
    struct sink width = {0};
    put_flow(&width, n);
    return width.used <= FLOW_COLUMNS;
}

static void put_spaces(struct sink *s, int columns) {
    for (int i = 0; i < columns; i++) {
        put_text(s, " ");
    }
}

static void put_block(struct sink *s, const struct config_node *n, int indent) {
    const char *last = NULL;
    for (size_t i = 0; i < n->count; i++) {
        size_t at = entry(s, n, i, &last);
        const struct config_node *item = n->items[at];
        put_spaces(s, indent);
        if (n->kind == CONFIG_MAP) {
            put_scalar(s, n->keys[at], false);
        }
        put_text(s, n->kind == CONFIG_MAP ? ":" : "-");
        if (wants_flow(item)) {
            put_text(s, " ");
            put_flow(s, item);
            put_text(s, "\n");
        } else {
            put_text(s, "\n");
            put_block(s, item, indent + INDENT);
        }
    }
}

static void put_root(struct sink *s, const struct config_node *n) {
    if (n->kind == CONFIG_SCALAR || n->count == 0) {
        put_flow(s, n);
        put_text(s, "\n");
    } else {
        put_block(s, n, 0);
    }
}

char *config_dump(const struct config_node *n) {
    struct sink s = {.keep = true};
    put_root(&s, n);
    put(&s, "", 1); /* the terminating 0 */
    if (s.failed) {
        mem_free(s.text);
        return NULL;
    }
    return s.text;
}

uint64_t config_hash(const struct config_node *n) {
    struct sink s = {.sorted = true, .hash = 14695981039346656037ull};
    put_root(&s, n);
    return s.hash;
}
