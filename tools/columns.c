/* See columns.h. Widths are those of utf8proc (two cells for wide characters); invalid bytes count as one cell and are
 * shown as '?'. */
#include "tools/columns.h"

#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <utf8proc.h>

int terminal_columns(void) {
    struct winsize size;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return 80;
}

/* Length in bytes of the character at `p` and its width in cells; false if it is not UTF-8. */
static bool character(const char *p, int *bytes, int *cells) {
    utf8proc_int32_t point;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p, -1, &point);
    if (n < 1) {
        *bytes = 1;
        *cells = 1;
        return false;
    }
    *bytes = (int)n;
    *cells = point < 0x20 || point == 0x7f ? 0 : utf8proc_charwidth(point);
    return true;
}

/* End of the line that starts at `p` and fits into `width` cells: breaks at a newline, else after the last space, else
 * anywhere. *next is where the next line starts. */
static const char *line_end(const char *p, int width, const char **next) {
    const char *space = NULL;
    int used = 0;
    for (const char *q = p;;) {
        if (*q == 0 || *q == '\n') {
            *next = *q ? q + 1 : q;
            return q;
        }
        int bytes, cells;
        character(q, &bytes, &cells);
        if (used + cells > width && q > p) {
            *next = space ? space + 1 : q;
            return space ? space : q;
        }
        if (*q == ' ') {
            space = q;
        }
        used += cells;
        q += bytes;
    }
}

/* Prints [p, end) and pads to `width` cells. */
static void print_cells(const char *p, const char *end, int width, FILE *out) {
    int used = 0;
    while (p < end) {
        int bytes, cells;
        if (!character(p, &bytes, &cells)) {
            fputc('?', out);
        } else if (cells > 0) {
            fwrite(p, 1, (size_t)bytes, out);
        }
        used += cells;
        p += bytes;
    }
    for (; used < width; used++) {
        fputc(' ', out);
    }
}

static void print_one(const char *title, const char *text, int width, FILE *out) {
    fprintf(out, "%s\n", title);
    for (const char *p = text; *p;) {
        const char *next;
        const char *end = line_end(p, width, &next);
        print_cells(p, end, 0, out);
        fputc('\n', out);
        p = next;
    }
}

void print_side_by_side(const char *left_title, const char *left, const char *right_title, const char *right,
                        int columns, FILE *out) {
    if (columns < 50) {
        print_one(left_title, left, columns, out);
        fputc('\n', out);
        print_one(right_title, right, columns, out);
        return;
    }
    int width = ((columns > 160 ? 160 : columns) - 3) / 2;
    fprintf(out, "%-*.*s | %.*s\n", width, width, left_title, width, right_title);
    for (const char *l = left, *r = right; *l || *r;) {
        const char *next_l, *next_r;
        const char *end_l = line_end(l, width, &next_l);
        const char *end_r = line_end(r, width, &next_r);
        print_cells(l, end_l, width, out);
        fputs(end_r > r ? " | " : " |", out);
        print_cells(r, end_r, 0, out);
        fputc('\n', out);
        l = next_l;
        r = next_r;
    }
}
