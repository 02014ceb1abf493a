/* The progress line, remarks and the clock (see io.h).
 *
 * One line on stderr, only on a terminal: "label [####....]  42 %  ETA 1:05". It is cut to the width of
 * the terminal, so it never wraps; the bar, then the ETA, are left out when there is no room. The ETA
 * assumes that the rest goes at the mean pace so far. Called from one thread.
 */
#include "base/io.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

enum { LINE_BYTES = 512, BAR_COLUMNS = 20 };
static const double REDRAW_S = 0.1;

struct progress {
    char *label;
    uint64_t total;
    double start_s, drawn_s;
    bool visible;
};

static bool quiet;
static char said[ERROR_MESSAGE_BYTES]; /* the last remark */
static struct progress *on_screen; /* whose line stands on the terminal now; NULL: none */

double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_set_quiet(bool q) {
    quiet = q;
    said[0] = 0;
}

static size_t terminal_columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void clear_line(void) {
    if (on_screen) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        on_screen = NULL;
    }
}

struct progress *progress_create(const char *label, uint64_t total) {
    if (quiet || !isatty(STDERR_FILENO)) {
        return NULL;
    }
    struct progress *p = mem_alloc(1, sizeof *p);
    if (p) {
        p->label = mem_strdup(label);
        p->total = total;
        p->start_s = now_s();
    }
    if (p && !p->label) {
        mem_free(p);
        p = NULL;
    }
    return p;
}

/* "0:07", "12:34", "3:05:00" */
static void format_eta(char *out, size_t room, double seconds) {
    unsigned long s = seconds < 360000.0 ? (unsigned long)(seconds + 0.5) : 360000ul;
    if (s >= 3600) {
        snprintf(out, room, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(out, room, "%lu:%02lu", s / 60, s % 60);
    }
}

static void format_bar(char *out, double share) {
    for (int i = 0; i < BAR_COLUMNS; i++) {
        out[i] = (i + 0.5) / BAR_COLUMNS < share ? '#' : '.';
    }
    out[BAR_COLUMNS] = 0;
}

/* Bytes of the longest prefix of UTF-8 text that takes at most `columns` characters. */
static size_t cut_to_columns(const char *text, size_t columns) {
    size_t at = 0, seen = 0;
    for (; text[at]; at++) {
        if (((unsigned char)text[at] & 0xc0) != 0x80 && seen++ == columns) {
            break;
        }
    }
    return at;
}

static void format_line(const struct progress *p, uint64_t done, double now, size_t columns, char *line) {
    double share = p->total ? (done < p->total ? (double)done / (double)p->total : 1.0) : 0.0;
    double elapsed_s = now - p->start_s;
    char eta[32] = "", bar[BAR_COLUMNS + 1];
    if (share > 0) {
        char time_left[24];
        format_eta(time_left, sizeof time_left, elapsed_s * (1 - share) / share);
        snprintf(eta, sizeof eta, "  ETA %s", time_left);
    }
    format_bar(bar, share);
    /* Leave out what does not fit, the least useful first. The last column stays free: some terminals wrap there. */
    snprintf(line, LINE_BYTES, "%s [%s] %3.0f %%%s", p->label, bar, 100 * share, eta);
    if (line[cut_to_columns(line, columns - 1)]) {
        snprintf(line, LINE_BYTES, "%s %3.0f %%%s", p->label, 100 * share, eta);
    }
    if (line[cut_to_columns(line, columns - 1)]) {
        snprintf(line, LINE_BYTES, "%3.0f %% %s", 100 * share, p->label);
    }
    line[cut_to_columns(line, columns - 1)] = 0;
}

void progress_update(struct progress *p, uint64_t done) {
    if (!p) {
        return;
    }
    double now = now_s();
    if (p->visible && now - p->drawn_s < REDRAW_S) {
        return;
    }
    char line[LINE_BYTES];
    format_line(p, done, now, terminal_columns(), line);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    p->visible = true;
    p->drawn_s = now;
    on_screen = p;
}

void progress_label(struct progress *p, const char *label) {
    char *copy = p ? mem_strdup(label) : NULL;
    if (copy) {
        mem_free(p->label);
        p->label = copy;
    }
}

void progress_destroy(struct progress *p) {
    if (p) {
        if (on_screen == p) {
            clear_line();
        }
        mem_free(p->label);
        mem_free(p);
    }
}

void notice(const char *format, ...) {
    if (quiet) {
        return;
    }
    char raw[ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    struct error printable; /* the same escaping of control bytes as in error messages */
    error_set(&printable, OK, "%s", raw);
    if (strcmp(printable.message, said) == 0) {
        return;
    }
    memcpy(said, printable.message, sizeof said);
    clear_line();
    fprintf(stderr, "mho: %s\n", said);
}
