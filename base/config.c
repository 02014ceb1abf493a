/* Configuration trees from YAML (see config.h): the tree, the loader with its includes, overrides.
 *
 * libyaml delivers events; a recursive reader builds nodes in the caller's arena. Only the part of YAML
 * that a configuration needs is taken: one document of maps, lists and scalars. Anchors, aliases, tags
 * and keys that are not plain words are refused, so a small file can never unfold into a large tree.
 * What bounds a hostile file: 16 MiB, 32 levels and 16384 values, all counted over a file and its includes.
 *
 * The line of a value is that of its key, since that is what a person looks for.
 */
#include "base/config.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>
#include <yaml.h>

#include "base/config_node.h"
#include "base/io.h"
#include "base/params.h"

enum { MAX_DEPTH = 32, MAX_BYTES = 16 << 20, MAX_VALUES = 16384, MAX_KEY_BYTES = 128, MAX_INCLUDES = 32 };

/* ---- the tree --------------------------------------------------------------------------------------- */

static uint32_t key_hash(const char *key) {
    uint32_t h = 2166136261u; /* FNV-1a, 32 bits */
    for (; *key; key++) {
        h = (h ^ (unsigned char)*key) * 16777619u;
    }
    return h;
}

static struct config_node *new_node(struct arena *a, enum config_kind kind, const char *file, int line) {
    struct config_node *n = arena_alloc(a, 1, sizeof *n);
    if (n) {
        n->kind = kind;
        n->file = file;
        n->line = line;
    }
    return n;
}

static bool null_text(const char *text) {
    return strcmp(text, "null") == 0 || strcmp(text, "~") == 0 || strcmp(text, "Null") == 0 ||
           strcmp(text, "NULL") == 0;
}

struct config_node *config_new_map(struct arena *a, const char *file, int line) {
    const char *copy = arena_strdup(a, file);
    return copy ? new_node(a, CONFIG_MAP, copy, line) : NULL;
}

struct config_node *config_new_list(struct arena *a, const char *file, int line) {
    const char *copy = arena_strdup(a, file);
    return copy ? new_node(a, CONFIG_LIST, copy, line) : NULL;
}

struct config_node *config_new_scalar(struct arena *a, const char *text, const char *file, int line) {
    const char *copy = arena_strdup(a, file);
    struct config_node *n = copy ? new_node(a, CONFIG_SCALAR, copy, line) : NULL;
    if (n) {
        n->text = arena_strdup(a, text);
        n->quoted = !*text || null_text(text);
    }
    return n && n->text ? n : NULL;
}

enum config_kind config_kind(const struct config_node *n) { return n->kind; }

const char *config_file(const struct config_node *n) { return n->file; }

int config_line(const struct config_node *n) { return n->line; }

const char *config_where(const struct config_node *n, char *buffer, size_t bytes) {
    /* An override has no lines; its number counts the options. */
    bool option = n->line > 0 && strcmp(n->file, CONFIG_OVERRIDE) == 0;
    if (n->line > 0) {
        snprintf(buffer, bytes, option ? "%s %d" : "%s:%d", n->file, n->line);
    } else {
        snprintf(buffer, bytes, "%s", n->file);
    }
    return buffer;
}

const char *config_text(const struct config_node *n) { return n->kind == CONFIG_SCALAR ? n->text : NULL; }

bool config_is_null(const struct config_node *n) {
    return n->kind == CONFIG_SCALAR && !n->quoted && null_text(n->text);
}

size_t config_count(const struct config_node *n) { return n->count; }

const char *config_key_at(const struct config_node *map, size_t i) { return map->keys[i]; }

struct config_node *config_at(const struct config_node *n, size_t i) { return n->items[i]; }

/* Index of `key`, or the count. */
static size_t key_index(const struct config_node *map, const char *key) {
    uint32_t hash = key_hash(key);
    for (size_t i = 0; i < map->count; i++) {
        if (map->hashes[i] == hash && strcmp(map->keys[i], key) == 0) {
            return i;
        }
    }
    return map->count;
}

struct config_node *config_get(const struct config_node *map, const char *key) {
    if (!map || map->kind != CONFIG_MAP) {
        return NULL;
    }
    size_t i = key_index(map, key);
    return i < map->count ? map->items[i] : NULL;
}

/* Copies the part of a dotted key before the next dot into `part`. Returns what follows the dot, or NULL at
 * the last part. False in *fits when the part is longer than any key. */
static const char *next_part(const char *dotted, char part[MAX_KEY_BYTES + 1], bool *fits) {
    size_t length = strcspn(dotted, ".");
    *fits = length <= MAX_KEY_BYTES;
    size_t kept = *fits ? length : MAX_KEY_BYTES;
    memcpy(part, dotted, kept);
    part[kept] = 0;
    return dotted[length] == '.' ? dotted + length + 1 : NULL;
}

struct config_node *config_find(const struct config_node *map, const char *dotted) {
    struct config_node *found = NULL;
    while (dotted) {
        char part[MAX_KEY_BYTES + 1];
        bool fits;
        dotted = next_part(dotted, part, &fits);
        found = fits ? config_get(map, part) : NULL;
        if (!found) {
            return NULL;
        }
        map = found;
    }
    return found;
}

static enum status out_of_memory(struct error *e, const char *where) {
    return error_set(e, ERR_RUN, "%s: out of memory", where);
}

static bool make_room(struct arena *a, struct config_node *n) {
    if (n->count < n->capacity) {
        return true;
    }
    size_t capacity = n->capacity ? 2 * n->capacity : 4;
    struct config_node **items = arena_alloc(a, capacity, sizeof *items);
    const char **keys = arena_alloc(a, n->kind == CONFIG_MAP ? capacity : 0, sizeof *keys);
    uint32_t *hashes = arena_alloc(a, n->kind == CONFIG_MAP ? capacity : 0, sizeof *hashes);
    if (!items || !keys || !hashes) {
        return false;
    }
    if (n->count) {
        memcpy(items, n->items, n->count * sizeof *items);
    }
    if (n->count && n->kind == CONFIG_MAP) {
        memcpy(keys, n->keys, n->count * sizeof *keys);
        memcpy(hashes, n->hashes, n->count * sizeof *hashes);
    }
    n->items = items;
    n->keys = keys;
    n->hashes = hashes;
    n->capacity = capacity;
    return true;
}

enum status config_append(struct arena *a, struct config_node *list, struct config_node *value, struct error *e) {
    if (!make_room(a, list)) {
        return out_of_memory(e, list->file);
    }
    list->items[list->count++] = value;
    return OK;
}

/* Adds a key that is known to be new. */
static enum status add_key(struct arena *a, struct config_node *map, const char *key, struct config_node *value,
                           struct error *e) {
    const char *copy = arena_strdup(a, key);
    if (!copy || !make_room(a, map)) {
        return out_of_memory(e, map->file);
    }
    map->keys[map->count] = copy;
    map->hashes[map->count] = key_hash(copy);
    map->items[map->count++] = value;
    return OK;
}

enum status config_put(struct arena *a, struct config_node *map, const char *key, struct config_node *value,
                       struct error *e) {
    if (map->kind != CONFIG_MAP) {
        return error_set(e, ERR_USAGE, "%s:%d: %s: its parent is not a map", map->file, map->line, key);
    }
    size_t i = key_index(map, key);
    if (i < map->count) {
        map->items[i] = value;
        return OK;
    }
    return add_key(a, map, key, value, e);
}

static struct config_node *copy_tree(struct arena *a, const struct config_node *n) {
    struct config_node *copy = new_node(a, n->kind, n->file, n->line);
    if (!copy) {
        return NULL;
    }
    copy->text = n->text; /* never changed in place: may be shared */
    copy->quoted = n->quoted;
    for (size_t i = 0; i < n->count; i++) {
        struct config_node *item = copy_tree(a, n->items[i]);
        if (!item || !make_room(a, copy)) {
            return NULL;
        }
        if (n->kind == CONFIG_MAP) {
            copy->keys[i] = n->keys[i];
            copy->hashes[i] = n->hashes[i];
        }
        copy->items[copy->count++] = item;
    }
    return copy;
}

enum status config_merge(struct arena *a, struct config_node *base, const struct config_node *over, struct error *e) {
    if (base->kind != CONFIG_MAP || over->kind != CONFIG_MAP) {
        char where[512];
        return error_set(e, ERR_USAGE, "%s: only a map can override a map (allowed: a map of keys)",
                         config_where(over, where, sizeof where));
    }
    for (size_t i = 0; i < over->count; i++) {
        struct config_node *mine = config_get(base, over->keys[i]);
        const struct config_node *theirs = over->items[i];
        bool constant = config_get(theirs, "value") != NULL;
        if (mine && mine->kind == CONFIG_MAP && theirs->kind == CONFIG_MAP && !constant) {
            TRY(config_merge(a, mine, theirs, e));
            continue;
        }
        struct config_node *copy = copy_tree(a, theirs);
        if (!copy) {
            return out_of_memory(e, theirs->file);
        }
        TRY(config_put(a, base, over->keys[i], copy, e));
    }
    return OK;
}

/* ---- reading events --------------------------------------------------------------------------------- */

/* What a file and its includes share. */
struct budget { size_t bytes, values; };

struct reader {
    struct arena *arena;
    struct budget *budget;
    const struct reader *includer; /* NULL for the outermost file */
    const char *file;              /* arena-owned; as messages and nodes call it */
    const char *assignment;        /* an override: the whole of it, for messages; NULL for a text */
    int fixed_line;                /* an override: its number, the line of every node */
    char real[PATH_MAX];           /* to see cycles; empty when the text is not a file */
    int include_line;              /* in the includer */
    int includes_deep;
    const char *text;
    size_t bytes;
    yaml_parser_t parser;
    struct error *error;
};

static enum status load_file(const struct reader *includer, int include_line, struct arena *a, struct budget *budget,
                             const char *path, int depth, struct config_node **out, struct error *e);

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static enum status fail_at(const struct reader *r, int line, const char *format, ...) {
    va_list args;
    char message[ERROR_MESSAGE_BYTES];
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (r->assignment) {
        return error_set(r->error, ERR_USAGE, "%s %d: %s: %s", r->file, r->fixed_line, r->assignment, message);
    }
    return error_set(r->error, ERR_USAGE, "%s:%d: %s", r->file, line, message);
}

static int line_of(const struct reader *r, const yaml_event_t *event) {
    return r->assignment ? r->fixed_line : (int)event->start_mark.line + 1;
}

static int lines_before(const struct reader *r, size_t offset) {
    int lines = 0;
    for (size_t i = 0; i < offset && i < r->bytes; i++) {
        lines += r->text[i] == '\n';
    }
    return lines;
}

static enum status next_event(struct reader *r, yaml_event_t *event) {
    if (yaml_parser_parse(&r->parser, event)) {
        return OK;
    }
    if (r->parser.error == YAML_MEMORY_ERROR) {
        return out_of_memory(r->error, r->file);
    }
    const char *problem = r->parser.problem ? r->parser.problem : "cannot be read";
    /* A character that YAML forbids is reported by its offset only. */
    bool reading = r->parser.error == YAML_READER_ERROR;
    int line = (reading ? lines_before(r, r->parser.problem_offset) : (int)r->parser.problem_mark.line) + 1;
    if (r->parser.context) {
        return fail_at(r, line, "not valid YAML: %s (%s)", problem, r->parser.context);
    }
    return fail_at(r, line, "not valid YAML: %s", problem);
}

static enum status refuse_extras(struct reader *r, const yaml_event_t *event, int depth) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return fail_at(r, line_of(r, event), "*%s: aliases are not supported (allowed: write the value out)",
                       (const char *)event->data.alias.anchor);
    case YAML_SCALAR_EVENT: anchor = event->data.scalar.anchor; tag = event->data.scalar.tag; break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    default: break;
    }
    if (anchor) {
        return fail_at(r, line_of(r, event), "&%s: anchors are not supported (allowed: write the value out)",
                       (const char *)anchor);
    }
    if (tag) {
        return fail_at(r, line_of(r, event), "%s: tags are not supported (allowed: plain values)", (const char *)tag);
    }
    if (depth > MAX_DEPTH) {
        return fail_at(r, line_of(r, event), "nested too deeply (allowed: %d levels)", MAX_DEPTH);
    }
    if (r->budget->values++ >= MAX_VALUES) {
        return fail_at(r, line_of(r, event), "too many values (allowed: %d)", MAX_VALUES);
    }
    return OK;
}

static enum status read_node(struct reader *r, const yaml_event_t *event, int depth, struct config_node **out);

static enum status read_scalar(struct reader *r, const yaml_event_t *event, struct config_node **out) {
    const char *text = (const char *)event->data.scalar.value;
    size_t bytes = event->data.scalar.length;
    if (memchr(text, 0, bytes)) {
        return fail_at(r, line_of(r, event), "text with a zero byte (allowed: text)");
    }
    struct config_node *n = new_node(r->arena, CONFIG_SCALAR, r->file, line_of(r, event));
    if (!n) {
        return out_of_memory(r->error, r->file);
    }
    n->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    bool absent = bytes == 0 && !n->quoted; /* "key:" is a null, written out so that there is one spelling less */
    n->text = absent ? arena_strdup(r->arena, "null") : arena_strndup(r->arena, text, bytes);
    *out = n;
    return n->text ? OK : out_of_memory(r->error, r->file);
}

static enum status check_key(struct reader *r, const yaml_event_t *event, const struct config_node *map) {
    if (event->type != YAML_SCALAR_EVENT) {
        return fail_at(r, line_of(r, event), "a key is not a word (allowed: KEY: VALUE)");
    }
    const char *key = (const char *)event->data.scalar.value;
    size_t bytes = event->data.scalar.length;
    if (bytes == 0) {
        return fail_at(r, line_of(r, event), "empty key (allowed: KEY: VALUE)");
    }
    if (bytes > MAX_KEY_BYTES || memchr(key, 0, bytes)) {
        return fail_at(r, line_of(r, event), "%.40s...: key too long (allowed: %d bytes)", key, MAX_KEY_BYTES);
    }
    const struct config_node *earlier = config_get(map, key);
    if (earlier) {
        return fail_at(r, line_of(r, event), "%s: duplicate key (allowed: once; first on line %d)", key, earlier->line);
    }
    return OK;
}

/* One `key: value`; `key` is the key's event. */
static enum status read_entry(struct reader *r, const yaml_event_t *key, int depth, struct config_node *map) {
    TRY(refuse_extras(r, key, depth));
    TRY(check_key(r, key, map));
    yaml_event_t value;
    TRY(next_event(r, &value));
    struct config_node *node = NULL;
    enum status status = read_node(r, &value, depth + 1, &node);
    yaml_event_delete(&value);
    if (status == OK) {
        node->line = line_of(r, key);
        status = add_key(r->arena, map, (const char *)key->data.scalar.value, node, r->error);
    }
    return status;
}

/* `file` relative to the folder of `from`, in the arena. */
static const char *beside(struct arena *a, const char *from, const char *file) {
    const char *slash = strrchr(from, '/');
    if (file[0] == '/' || !slash) {
        return arena_strdup(a, file);
    }
    return arena_printf(a, "%.*s/%s", (int)(slash - from), from, file);
}

static enum status include_one(struct reader *r, const struct config_node *name, int depth, struct config_node *into) {
    if (name->kind != CONFIG_SCALAR || config_is_null(name) || !*name->text) {
        return fail_at(r, name->line, "include: not a file name (allowed: FILE or [FILE, ...])");
    }
    const char *path = beside(r->arena, r->file, name->text);
    if (!path) {
        return out_of_memory(r->error, r->file);
    }
    struct config_node *tree;
    enum status status = load_file(r, name->line, r->arena, r->budget, path, depth, &tree, r->error);
    if (status == ERR_USAGE && !file_exists(path)) {
        return fail_at(r, name->line, "include = %s: %s (allowed: a file, seen from the folder of this one)",
                       name->text, is_directory(path) ? "is a folder" : "no such file");
    }
    TRY(status);
    return config_merge(r->arena, into, tree, r->error);
}

/* Replaces a map that has the key `include` by the files that it names, overridden by its own keys. */
static enum status expand_includes(struct reader *r, struct config_node **map, int depth) {
    const struct config_node *include = config_get(*map, "include");
    if (!include) {
        return OK;
    }
    struct config_node *result = new_node(r->arena, CONFIG_MAP, r->file, (*map)->line);
    struct config_node *own = new_node(r->arena, CONFIG_MAP, r->file, (*map)->line);
    if (!result || !own) {
        return out_of_memory(r->error, r->file);
    }
    if (include->kind == CONFIG_LIST) {
        for (size_t i = 0; i < include->count; i++) {
            TRY(include_one(r, include->items[i], depth, result));
        }
    } else {
        TRY(include_one(r, include, depth, result));
    }
    for (size_t i = 0; i < (*map)->count; i++) {
        if ((*map)->items[i] != include) {
            TRY(add_key(r->arena, own, (*map)->keys[i], (*map)->items[i], r->error));
        }
    }
    TRY(config_merge(r->arena, result, own, r->error));
    *map = result;
    return OK;
}

static enum status read_collection(struct reader *r, const yaml_event_t *start, int depth, struct config_node **out) {
    bool is_map = start->type == YAML_MAPPING_START_EVENT;
    struct config_node *n = new_node(r->arena, is_map ? CONFIG_MAP : CONFIG_LIST, r->file, line_of(r, start));
    if (!n) {
        return out_of_memory(r->error, r->file);
    }
    for (;;) {
        yaml_event_t event;
        TRY(next_event(r, &event));
        enum status status = OK;
        bool end = event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        if (!end && is_map) {
            status = read_entry(r, &event, depth, n);
        } else if (!end) {
            struct config_node *item = NULL;
            status = read_node(r, &event, depth + 1, &item);
            status = status == OK ? config_append(r->arena, n, item, r->error) : status;
        }
        yaml_event_delete(&event);
        TRY(status);
        if (end) {
            break;
        }
    }
    *out = n;
    return is_map ? expand_includes(r, out, depth) : OK;
}

static enum status read_node(struct reader *r, const yaml_event_t *event, int depth, struct config_node **out) {
    TRY(refuse_extras(r, event, depth));
    return event->type == YAML_SCALAR_EVENT ? read_scalar(r, event, out) : read_collection(r, event, depth, out);
}

/* Reads events until the first one that is not the start of the stream or of a document. */
static enum status first_event(struct reader *r, yaml_event_t *event) {
    for (;;) {
        TRY(next_event(r, event));
        if (event->type != YAML_STREAM_START_EVENT && event->type != YAML_DOCUMENT_START_EVENT) {
            return OK;
        }
        yaml_event_delete(event);
    }
}

static enum status expect_end(struct reader *r) {
    for (;;) {
        yaml_event_t event;
        TRY(next_event(r, &event));
        yaml_event_type_t type = event.type;
        int line = line_of(r, &event);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) {
            return OK;
        }
        if (type == YAML_DOCUMENT_START_EVENT) {
            return fail_at(r, line, "a second document starts here (allowed: one per file)");
        }
    }
}

static enum status read_document(struct reader *r, int depth, struct config_node **out) {
    yaml_event_t event;
    TRY(first_event(r, &event));
    enum status status;
    if (event.type == YAML_STREAM_END_EVENT) {
        status = fail_at(r, 1, "empty (allowed: a map of keys and values)");
    } else {
        status = read_node(r, &event, depth, out);
    }
    yaml_event_delete(&event);
    return status == OK ? expect_end(r) : status;
}

static enum status check_utf8(const struct reader *r, const char *text, size_t bytes) {
    int line = 1;
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &point);
        if (length < 1) {
            return fail_at(r, line, "not UTF-8: byte 0x%02x (allowed: UTF-8)", (unsigned)(unsigned char)text[at]);
        }
        line += text[at] == '\n';
        at += (size_t)length;
    }
    return OK;
}

static enum status read_text(struct reader *r, const char *text, size_t bytes, int depth, struct config_node **out) {
    *out = NULL;
    r->text = text;
    r->bytes = bytes;
    r->budget->bytes += bytes;
    if (r->budget->bytes > MAX_BYTES) {
        return fail_at(r, 1, "too large (allowed: %d MiB with all includes)", MAX_BYTES >> 20);
    }
    TRY(check_utf8(r, text, bytes));
    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark, as some editors write it */
        text += 3;
        bytes -= 3;
    }
    if (!yaml_parser_initialize(&r->parser)) {
        return out_of_memory(r->error, r->file);
    }
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, bytes);
    enum status status = read_document(r, depth, out);
    yaml_parser_delete(&r->parser);
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------ */

static enum status check_cycle(const struct reader *r) {
    for (const struct reader *up = r->includer; up; up = up->includer) {
        if (r->real[0] && strcmp(up->real, r->real) == 0) {
            return fail_at(r->includer, r->include_line, "include: %s includes itself (allowed: other files)", r->file);
        }
    }
    if (r->includes_deep > MAX_INCLUDES) {
        return fail_at(r->includer, r->include_line, "include: nested too deeply (allowed: %d files)", MAX_INCLUDES);
    }
    return OK;
}

static enum status load_file(const struct reader *includer, int include_line, struct arena *a, struct budget *budget,
                             const char *path, int depth, struct config_node **out, struct error *e) {
    struct reader r = {.arena = a, .budget = budget, .includer = includer, .error = e};
    r.include_line = include_line;
    r.includes_deep = includer ? includer->includes_deep + 1 : 0;
    r.file = arena_strdup(a, path);
    if (!r.file) {
        return out_of_memory(e, path);
    }
    if (!realpath(path, r.real)) {
        r.real[0] = 0;
    }
    TRY(check_cycle(&r));
    char *text;
    size_t bytes;
    if (read_file(path, MAX_BYTES, &text, &bytes, e) != OK) {
        if (e) {
            e->status = ERR_USAGE; /* a wrong name is a mistake in the command or in the including file */
        }
        return ERR_USAGE;
    }
    enum status status = read_text(&r, text, bytes, depth, out);
    mem_free(text);
    if (status == OK && (*out)->kind != CONFIG_MAP) {
        status = fail_at(&r, (*out)->line, "the file is not a map (allowed: keys and values)");
    }
    return status;
}

bool config_is_path(const char *word) {
    return strchr(word, '/') || text_ends_with(word, ".yaml") || text_ends_with(word, ".yml") ||
           text_ends_with(word, ".json");
}

enum status config_load(struct arena *a, const char *path, struct config_node **out, struct error *e) {
    struct budget budget = {0, 0};
    *out = NULL;
    return load_file(NULL, 0, a, &budget, path, 1, out, e);
}

enum status config_parse(struct arena *a, const char *text, size_t bytes, const char *name, struct config_node **out,
                         struct error *e) {
    struct budget budget = {0, 0};
    struct reader r = {.arena = a, .budget = &budget, .error = e};
    *out = NULL;
    r.file = arena_strdup(a, name);
    if (!r.file) {
        return out_of_memory(e, name);
    }
    return read_text(&r, text, bytes, 1, out);
}

/* ---- overrides -------------------------------------------------------------------------------------- */

static enum status fail_set(struct error *e, int ordinal, const char *assignment, const char *why) {
    return error_set(e, ERR_USAGE, CONFIG_OVERRIDE " %d: %s: %s", ordinal, assignment, why);
}

/* The map that holds the last part of `dotted`, made on the way where absent. */
static enum status reach_parent(struct arena *a, struct config_node **map, const char *dotted, const char *assignment,
                                int ordinal, char part[MAX_KEY_BYTES + 1], int *depth, struct error *e) {
    const char *rest = dotted;
    for (*depth = 1;; ++*depth) {
        bool fits;
        const char *start = rest;
        rest = next_part(rest, part, &fits);
        if (!fits || !part[0] || *depth >= MAX_DEPTH) {
            return fail_set(e, ordinal, assignment, "not a key (allowed: words joined by dots, as in tile.adc.bits=6)");
        }
        if (!rest) {
            return OK;
        }
        struct config_node *next = config_get(*map, part);
        if (!next) {
            next = config_new_map(a, CONFIG_OVERRIDE, ordinal);
            if (!next) {
                return out_of_memory(e, CONFIG_OVERRIDE);
            }
            TRY(config_put(a, *map, part, next, e));
        } else if (next->kind != CONFIG_MAP) {
            char where[512], why[1024];
            int upto = (int)(start - dotted) + (int)strlen(part);
            const char *what = next->kind == CONFIG_LIST ? "a list" : next->text;
            snprintf(why, sizeof why, "%.*s is %s (%s), not a map (allowed: keys inside maps)", upto, dotted, what,
                     config_where(next, where, sizeof where));
            return fail_set(e, ordinal, assignment, why);
        }
        *map = next;
    }
}

enum status config_set(struct arena *a, struct config_node *root, const char *assignment, int ordinal,
                       struct error *e) {
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment) {
        return fail_set(e, ordinal, assignment, "not an assignment (allowed: KEY=VALUE, as in tile.adc.bits=6)");
    }
    if (!equals[1 + strspn(equals + 1, " \t")]) {
        return fail_set(e, ordinal, assignment, "the value is missing (allowed: KEY=VALUE; \"\" for empty text)");
    }
    if (root->kind != CONFIG_MAP) {
        return fail_set(e, ordinal, assignment, "the configuration is not a map");
    }
    const char *dotted = arena_strndup(a, assignment, (size_t)(equals - assignment));
    if (!dotted) {
        return out_of_memory(e, CONFIG_OVERRIDE);
    }
    struct config_node *value;
    struct budget budget = {0, 0};
    struct reader r = {.arena = a,
                       .budget = &budget,
                       .error = e,
                       .file = CONFIG_OVERRIDE,
                       .assignment = assignment,
                       .fixed_line = ordinal};
    TRY(read_text(&r, equals + 1, strlen(equals + 1), 1, &value));
    char part[MAX_KEY_BYTES + 1];
    int depth;
    struct config_node *parent = root;
    TRY(reach_parent(a, &parent, dotted, assignment, ordinal, part, &depth, e));
    return config_put(a, parent, part, value, e);
}
