/* JSON with clear errors, over Jansson: nesting limit, duplicate keys refused, file:line:column in messages.
 *
 * The nesting is measured before parsing: Jansson recurses (its own limit is 2048), and no model file needs
 * more than a few levels.
 */
#include "base/io.h"
#include "models/files.h"

/* Offset of the bracket that opens level JSON_DEPTH_LIMIT + 1; `bytes` if there is none. */
static size_t find_too_deep(const char *text, size_t bytes) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\'; /* the next byte is escaped */
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_LIMIT) {
                return i;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return bytes;
}

static void line_and_column(const char *text, size_t at, int *line, int *column) {
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < at; i++) {
        bool new_line = text[i] == '\n';
        *line += new_line;
        *column = new_line ? 1 : *column + 1;
    }
}

static enum status parse(const char *text, size_t bytes, size_t flags, const char *where, json_t **out,
                         struct error *e) {
    *out = NULL;
    size_t deep = find_too_deep(text, bytes);
    if (deep < bytes) {
        int line, column;
        line_and_column(text, deep, &line, &column);
        return error_set(e, ERR_RUN, "%s:%d:%d: JSON: nested too deep (allowed: %d levels)", where, line, column,
                         JSON_DEPTH_LIMIT);
    }
    json_error_t why;
    *out = json_loadb(text, bytes, flags | JSON_REJECT_DUPLICATES, &why);
    if (!*out) {
        return error_set(e, ERR_RUN, "%s:%d:%d: JSON: %s", where, why.line, why.column, why.text);
    }
    return OK;
}

/* The closing quote of the string that opens at `at`. */
static size_t string_end(const char *text, size_t bytes, size_t at) {
    for (at++; at < bytes && text[at] != '"'; at++) {
        at += text[at] == '\\';
    }
    return at;
}

static bool is_key(const char *text, size_t bytes, size_t end) {
    do {
        end++;
    } while (end < bytes && strchr(" \t\r\n", text[end]));
    return end < bytes && text[end] == ':';
}

int json_key_line(const char *text, size_t bytes, const char *map, const char *key) {
    const char *at_top = map ? map : key;
    int depth = 0, line = 1;
    bool inside = false; /* the map */
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        line += c == '\n';
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        if (c != '"') {
            continue;
        }
        size_t end = string_end(text, bytes, i), length = end - i - 1;
        const char *wanted = depth == 1 ? at_top : depth == 2 && inside ? key : NULL;
        if (wanted && is_key(text, bytes, end)) {
            bool same = strlen(wanted) == length && memcmp(text + i + 1, wanted, length) == 0;
            if (same && (depth == 2 || !map)) {
                return line;
            }
            inside = depth == 1 ? same : inside;
        }
        i = end;
    }
    return 0;
}

enum status json_parse_checked(const char *text, size_t bytes, const char *where, json_t **out, struct error *e) {
    return parse(text, bytes, 0, where, out, e);
}

static enum status load(const char *path, size_t limit_bytes, size_t flags, json_t **out, struct error *e) {
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    TRY(read_file(path, limit_bytes, &text, &bytes, e));
    enum status s = parse(text, bytes, flags, path, out, e);
    mem_free(text);
    return s;
}

enum status json_load_checked(const char *path, size_t limit_bytes, json_t **out, struct error *e) {
    return load(path, limit_bytes, 0, out, e);
}

enum status json_load_numbers_as_real(const char *path, size_t limit_bytes, json_t **out, struct error *e) {
    return load(path, limit_bytes, JSON_DECODE_INT_AS_REAL, out, e);
}
