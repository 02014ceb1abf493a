/* See csv.h. The text stays in one buffer; cells are cut, trimmed and unquoted in place, so a table costs its file and
 * one pointer per cell.
 */
#include "base/csv.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/params.h"

static const size_t LARGEST_FILE = (size_t)1 << 30;
enum { SHOWN_BYTES = 60 }; /* of a bad cell in a message */

struct csv {
    char *path, *text;
    size_t columns, records; /* records: header included */
    bool header;
    char **cells; /* [records][columns] */
    size_t cell_count, cell_room;
    size_t *lines; /* [records] line of the file, from 1 */
    size_t line_room;
};

void csv_destroy(struct csv *c) {
    if (c) {
        mem_free(c->path);
        mem_free(c->text);
        mem_free(c->cells);
        mem_free(c->lines);
        mem_free(c);
    }
}

static enum status out_of_memory(const struct csv *c, struct error *e) {
    return error_set(e, ERR_RUN, "%s: out of memory", c->path);
}

/* Makes room for one more element of `size` bytes in *block. */
static bool grow(void **block, size_t *room, size_t used, size_t size) {
    if (used < *room) {
        return true;
    }
    size_t more = *room ? 2 * *room : 256;
    if (more > SIZE_MAX / size) {
        return false;
    }
    void *grown = mem_resize(*block, *room * size, more * size);
    if (!grown) {
        return false;
    }
    *block = grown;
    *room = more;
    return true;
}

static enum status add_cell(struct csv *c, char *cell, struct error *e) {
    void *block = c->cells;
    bool ok = grow(&block, &c->cell_room, c->cell_count, sizeof *c->cells);
    c->cells = block;
    if (!ok) {
        return out_of_memory(c, e);
    }
    c->cells[c->cell_count++] = cell;
    return OK;
}

static bool is_blank(char b) { return b == ' ' || b == '\t'; }

/* Where the cell that begins at p (no blank) ends: at a comma or at the end of the line. NULL: its quotes do not close.
 */
static char *cell_end(char *p) {
    if (*p != '"') {
        return p + strcspn(p, ",");
    }
    for (p++; *p != '"' || p[1] == '"'; p++) {
        p += *p == '"';
        if (!*p) {
            return NULL;
        }
    }
    for (p++; is_blank(*p); p++) {}
    return *p == 0 || *p == ',' ? p : NULL;
}

/* [p, end) without blanks behind it and without quotes, terminated, in place. */
static char *cell_text(char *p, char *end) {
    while (end > p && is_blank(end[-1])) {
        end--;
    }
    *end = 0;
    if (*p != '"') {
        return p;
    }
    end[-1] = 0;
    char *to = p;
    for (char *from = p + 1; *from; from++) {
        from += *from == '"';
        *to++ = *from;
    }
    *to = 0;
    return p;
}

/* Cuts one line (terminated, without its newline) into cells. */
static enum status cut_line(struct csv *c, char *p, size_t line, struct error *e) {
    for (size_t column = 1;; column++) {
        while (is_blank(*p)) {
            p++;
        }
        char *end = cell_end(p);
        if (!end) {
            return error_set(e, ERR_RUN,
                             "%s:%zu:%zu: a cell in quotes does not end there (allowed: \"text\" on one line, "
                             "with \"\" for a quote inside)",
                             c->path, line, column);
        }
        bool last = *end == 0;
        TRY(add_cell(c, cell_text(p, end), e));
        if (last) {
            return OK;
        }
        p = end + 1;
    }
}

static enum status add_record(struct csv *c, char *p, size_t line, struct error *e) {
    void *block = c->lines;
    bool ok = grow(&block, &c->line_room, c->records, sizeof *c->lines);
    c->lines = block;
    if (!ok) {
        return out_of_memory(c, e);
    }
    size_t before = c->cell_count;
    TRY(cut_line(c, p, line, e));
    size_t cells = c->cell_count - before;
    if (c->records == 0) {
        c->columns = cells;
    } else if (cells != c->columns) {
        return error_set(e, ERR_RUN, "%s:%zu: %zu cells (allowed: %zu, as in line %zu)", c->path, line, cells,
                         c->columns, c->lines[0]);
    }
    c->lines[c->records++] = line;
    return OK;
}

/* Terminates the line at p; returns the next one, NULL after the last. */
static char *end_line(char *p) {
    char *newline = strchr(p, '\n');
    char *end = newline ? newline : p + strlen(p);
    *end = 0;
    if (end > p && end[-1] == '\r') {
        end[-1] = 0;
    }
    return newline ? newline + 1 : NULL;
}

static enum status cut_text(struct csv *c, size_t bytes, struct error *e) {
    static const char mark[] = "\xEF\xBB\xBF"; /* byte order mark */
    char *p = c->text;
    const char *zero = memchr(p, 0, bytes);
    if (zero) {
        return error_set(e, ERR_RUN, "%s: byte %zu: a NUL byte (allowed: text)", c->path, (size_t)(zero - p));
    }
    p += strncmp(p, mark, 3) == 0 ? 3 : 0;
    size_t blank = 0; /* first empty line */
    for (size_t line = 1; p; line++) {
        char *next = end_line(p);
        if (p[strspn(p, " \t")] == 0) {
            blank = blank ? blank : line;
        } else if (*p != '#') {
            if (blank) {
                return error_set(e, ERR_RUN, "%s:%zu: empty line (allowed: at the end only)", c->path, blank);
            }
            TRY(add_record(c, p, line, e));
        }
        p = next;
    }
    return OK;
}

static enum status check_records(const struct csv *c, struct error *e) {
    if (c->records > (c->header ? 1 : 0)) {
        return OK;
    }
    return error_set(e, ERR_RUN, "%s: no rows of data%s (allowed: at least one)", c->path,
                     c->records ? " after the header" : "");
}

static enum status check_names(const struct csv *c, struct error *e) {
    for (size_t i = 0; c->header && i < c->columns; i++) {
        size_t first = i;
        csv_find(c, c->cells[i], &first);
        if (!c->cells[i][0] || first != i) {
            const char *fault = c->cells[i][0] ? "there are two columns of the name " : "a column has no name";
            return error_set(e, ERR_RUN, "%s:%zu:%zu: header: %s%s (allowed: every name once)", c->path, c->lines[0],
                             i + 1, fault, c->cells[i]);
        }
    }
    return OK;
}

static enum status read_into(struct csv *c, struct error *e) {
    size_t bytes;
    TRY(read_file(c->path, LARGEST_FILE, &c->text, &bytes, e));
    TRY(cut_text(c, bytes, e));
    TRY(check_records(c, e));
    return check_names(c, e);
}

enum status csv_read(const char *path, enum csv_header header, struct csv **out, struct error *e) {
    *out = NULL;
    struct csv *c = mem_alloc(1, sizeof *c);
    if (!c || !(c->path = mem_strdup(path))) {
        mem_free(c);
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    c->header = header == CSV_HEADER;
    enum status s = read_into(c, e);
    if (s != OK) {
        csv_destroy(c);
        return s;
    }
    *out = c;
    return OK;
}

/* ---- what is in it ----------------------------------------------------------------------------------- */

size_t csv_rows(const struct csv *c) { return c->records - (c->header ? 1 : 0); }
size_t csv_columns(const struct csv *c) { return c->columns; }

bool csv_find(const struct csv *c, const char *name, size_t *column) {
    for (size_t i = 0; c->header && i < c->columns; i++) {
        if (strcmp(c->cells[i], name) == 0) {
            *column = i;
            return true;
        }
    }
    return false;
}

size_t csv_header_line(const struct csv *c) { return c->lines[0]; }

enum status csv_require(const struct csv *c, const char *name, size_t *column, struct error *e) {
    if (csv_find(c, name, column)) {
        return OK;
    }
    char names[512] = "";
    for (size_t i = 0; i < c->columns; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", c->cells[i]);
    }
    return error_set(e, ERR_RUN, "%s:%zu: header: there is no column %s (allowed: a header with it; this one has %s)",
                     c->path, c->lines[0], name, names);
}

static size_t record_of(const struct csv *c, size_t row) { return row + (c->header ? 1 : 0); }

const char *csv_text(const struct csv *c, size_t row, size_t column) {
    return c->cells[record_of(c, row) * c->columns + column];
}

enum status csv_error(const struct csv *c, size_t row, size_t column, struct error *e, const char *format, ...) {
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return error_set(e, ERR_RUN, "%s:%zu:%zu: %s", c->path, c->lines[record_of(c, row)], column + 1, message);
}

enum status csv_number(const struct csv *c, size_t row, size_t column, double *value, struct error *e) {
    const char *text = csv_text(c, row, column);
    if (parse_double(text, value)) {
        return OK;
    }
    if (!*text) {
        return csv_error(c, row, column, e, "the cell is empty (allowed: a number)");
    }
    return csv_error(c, row, column, e,
                     "%.*s: not a number (allowed: finite numbers, 0.5 or 1e-6, commas between them)", SHOWN_BYTES,
                     text);
}
