/* See svg.h. The page: title, legend, plot area with ticks, axis labels; coordinates in pixels, y downwards. */
#include "base/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEFT = 78,
    RIGHT = 24,
    TITLE_Y = 24,
    LEGEND_Y = 46,
    LEGEND_STEP = 18,
    BOTTOM = 54,
    BAR_ROOM = 92,
    ROW_STEP = 22,
    NAMES_MOST = 330, /* pixels that names of rows may take */
    TICKS_MOST = 40
};
enum { SHADES = 24 };

/* Okabe and Ito's palette, which colour-blind readers can tell apart. */
static const char *const colours[SVG_COLOURS] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#444444"};

struct frame {
    FILE *out;
    double left, top, width, height;     /* of the plot area */
    double x_low, x_high, y_low, y_high; /* transformed: log10 on a logarithmic axis */
    bool x_log, y_log;
    bool rows; /* y counts named rows */
};

void svg_add(struct svg_chart *c, struct svg_series s) {
    if (c->count < SVG_SERIES_MOST) {
        c->series[c->count] = s;
    }
    c->count++;
}

/* ---- scales ----------------------------------------------------------------------------------------- */

/* Position on an axis; NAN where there is none. */
static double scaled(double v, bool logarithmic) {
    if (!logarithmic) {
        return isfinite(v) ? v : (double)NAN;
    }
    return isfinite(v) && v > 0 ? log10(v) : (double)NAN;
}

static double x_pixel(const struct frame *f, double v) {
    return f->left + (scaled(v, f->x_log) - f->x_low) / (f->x_high - f->x_low) * f->width;
}

static double y_pixel(const struct frame *f, double v) {
    return f->top + f->height - (scaled(v, f->y_log) - f->y_low) / (f->y_high - f->y_low) * f->height;
}

struct extent {
    double low, high;
};

static void widen(struct extent *r, double v, bool logarithmic) {
    double s = scaled(v, logarithmic);
    if (isfinite(s)) {
        r->low = s < r->low ? s : r->low;
        r->high = s > r->high ? s : r->high;
    }
}

static double narrowest_step(const double *x, size_t n) {
    double step = HUGE_VAL;
    for (size_t i = 1; i < n; i++) {
        double d = fabs(x[i] - x[i - 1]);
        step = d > 0 && d < step ? d : step;
    }
    return isfinite(step) ? step : 1;
}

static double spread_of(const struct svg_series *s, size_t i) {
    return s->error && isfinite(s->error[i]) ? s->error[i] : 0;
}

static void widen_x(struct extent *r, const struct svg_series *s, bool logarithmic) {
    if (s->kind == SVG_MAP) {
        widen(r, 0, false);
        widen(r, (double)s->columns, false);
        return;
    }
    double half = s->kind == SVG_BARS ? narrowest_step(s->x, s->n) / 2 : 0;
    for (size_t i = 0; i < s->n; i++) {
        widen(r, s->x[i] - half, logarithmic);
        widen(r, s->x[i] + half, logarithmic);
    }
}

static void widen_y(struct extent *r, const struct svg_series *s, bool logarithmic) {
    if (s->kind == SVG_MAP) {
        widen(r, 0, false);
        widen(r, (double)s->rows, false);
        return;
    }
    if (s->kind == SVG_BARS) {
        widen(r, 0, logarithmic);
    }
    for (size_t i = 0; i < s->n; i++) {
        widen(r, s->y[i] - spread_of(s, i), logarithmic);
        widen(r, s->y[i] + spread_of(s, i), logarithmic);
        if (s->kind == SVG_BAND) {
            widen(r, s->high[i], logarithmic);
        }
    }
}

/* As widen_x, where errors lie along x. */
static void widen_along(struct extent *r, const struct svg_series *s, bool logarithmic) {
    for (size_t i = 0; i < s->n; i++) {
        widen(r, s->x[i] - spread_of(s, i), logarithmic);
        widen(r, s->x[i] + spread_of(s, i), logarithmic);
    }
}

/* Limits of an axis: as given, or those of the data with a little room. */
static enum status limits(const struct svg_chart *c, const struct svg_axis *a,
                          void (*measure)(struct extent *, const struct svg_series *, bool), bool vertical,
                          struct extent *out, struct error *e) {
    if (a->low < a->high) {
        *out = (struct extent){scaled(a->low, a->logarithmic), scaled(a->high, a->logarithmic)};
        if (!isfinite(out->low) || !isfinite(out->high)) {
            return error_set(e, ERR_RUN, "chart '%s': axis '%s': %g to %g is no range", c->title, a->label, a->low,
                             a->high);
        }
        return OK;
    }
    struct extent r = {HUGE_VAL, -HUGE_VAL};
    bool map = false;
    for (size_t i = 0; i < c->count; i++) {
        measure(&r, &c->series[i], a->logarithmic);
        map = map || c->series[i].kind == SVG_MAP;
    }
    if (!(r.low <= r.high)) {
        return error_set(e, ERR_RUN, "chart '%s': axis '%s': no value that can be drawn", c->title, a->label);
    }
    double room = r.high > r.low ? (r.high - r.low) * (map        ? 0
                                                       : vertical ? 0.06
                                                                  : 0.02)
                                 : fmax(fabs(r.high) * 0.1, a->logarithmic ? 0.5 : 1e-12);
    *out = (struct extent){r.low - room, r.high + room};
    return OK;
}

/* ---- text ------------------------------------------------------------------------------------------- */

static void put_text(FILE *out, const char *text) {
    for (; *text; text++) {
        unsigned char ch = (unsigned char)*text;
        switch (ch) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(ch < 0x20 ? ' ' : ch, out);
        }
    }
}

static const double LETTER = 7.2; /* width of a letter of 13 pixels, about */

static double text_width(const char *text) { return LETTER * (double)strlen(text); }

static void label_at(const struct frame *f, double x, double y, const char *anchor, const char *extra,
                     const char *text) {
    fprintf(f->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, extra);
    put_text(f->out, text);
    fputs("</text>\n", f->out);
}

/* ---- ticks ------------------------------------------------------------------------------------------ */

/* 1, 2 or 5 times a power of ten, about a `parts`-th of `span`. */
static double nice_step(double span, int parts) {
    double rough = span / parts, power = pow(10, floor(log10(rough)));
    double lead = rough / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

struct tick {
    double at; /* value on the axis, not transformed */
    char text[32];
};

static size_t linear_ticks(double low, double high, int parts, struct tick out[TICKS_MOST]) {
    double step = nice_step(high - low, parts);
    size_t n = 0;
    for (double k = ceil(low / step - 1e-9); n < TICKS_MOST && k * step <= high + 1e-9 * step; k += 1) {
        out[n].at = fabs(k) < 0.5 ? 0 : k * step;
        snprintf(out[n].text, sizeof out[n].text, "%.6g", out[n].at);
        n++;
    }
    return n;
}

static void decade_text(double exponent, char out[32]) {
    if (exponent >= -3 && exponent <= 3) {
        snprintf(out, 32, "%g", pow(10, exponent));
    } else {
        snprintf(out, 32, "1e%d", (int)exponent);
    }
}

static size_t log_ticks(double low, double high, struct tick out[TICKS_MOST]) {
    double stride = ceil((high - low) / 9);
    size_t n = 0;
    if (high - low < 2) { /* few decades: 1, 2, 5 of each */
        static const double leads[] = {1, 2, 5};
        for (double d = floor(low); d <= high; d += 1) {
            for (size_t k = 0; k < 3 && n < TICKS_MOST; k++) {
                double at = leads[k] * pow(10, d);
                if (log10(at) >= low - 1e-9 && log10(at) <= high + 1e-9) {
                    out[n].at = at;
                    snprintf(out[n].text, sizeof out[n].text, "%.6g", at);
                    n++;
                }
            }
        }
        return n;
    }
    for (double d = ceil(low - 1e-9); d <= high + 1e-9 && n < TICKS_MOST; d += stride) {
        out[n].at = pow(10, d);
        decade_text(d, out[n].text);
        n++;
    }
    return n;
}

static void draw_x_axis(const struct frame *f, const char *label) {
    struct tick ticks[TICKS_MOST];
    size_t n = f->x_log ? log_ticks(f->x_low, f->x_high, ticks) : linear_ticks(f->x_low, f->x_high, 8, ticks);
    double bottom = f->top + f->height;
    for (size_t i = 0; i < n; i++) {
        double x = x_pixel(f, ticks[i].at);
        fprintf(f->out, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#dddddd\"/>\n", x, f->top, bottom);
        label_at(f, x, bottom + 17, "middle", "", ticks[i].text);
    }
    label_at(f, f->left + f->width / 2, bottom + 40, "middle", "", label);
}

static void draw_y_axis(const struct frame *f, const char *label) {
    struct tick ticks[TICKS_MOST];
    size_t n = f->y_log ? log_ticks(f->y_low, f->y_high, ticks) : linear_ticks(f->y_low, f->y_high, 6, ticks);
    for (size_t i = 0; i < n; i++) {
        double y = y_pixel(f, ticks[i].at);
        fprintf(f->out, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#dddddd\"/>\n", f->left, y, f->left + f->width);
        label_at(f, f->left - 8, y + 4, "end", "", ticks[i].text);
    }
    char turn[96];
    double middle = f->top + f->height / 2;
    snprintf(turn, sizeof turn, " transform=\"rotate(-90 18 %.1f)\"", middle);
    label_at(f, 18, middle, "middle", turn, label);
}

/* A name that is too wide ends in three dots. */
static void draw_rows(const struct frame *f, const struct svg_chart *c) {
    size_t most = (size_t)((f->left - 16) / LETTER);
    for (size_t i = 0; i < c->row_count; i++) {
        double y = y_pixel(f, (double)i);
        char name[128];
        snprintf(name, sizeof name, strlen(c->rows[i]) > most ? "%.*s..." : "%.*s",
                 (int)(strlen(c->rows[i]) > most ? most - 3 : most), c->rows[i]);
        fprintf(f->out, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#dddddd\"/>\n", f->left, y, f->left + f->width);
        label_at(f, f->left - 8, y + 4, "end", "", name);
    }
}

/* ---- series ----------------------------------------------------------------------------------------- */

static bool drawable(const struct frame *f, double x, double y) {
    return isfinite(scaled(x, f->x_log)) && isfinite(scaled(y, f->y_log));
}

/* A far point would overflow the number format; the frame's clip hides it anyway. */
static double kept(double pixel) { return pixel < -1e5 ? -1e5 : pixel > 1e5 ? 1e5 : pixel; }

static void draw_line(const struct frame *f, const struct svg_series *s) {
    bool pen = false;
    fputs("<path d=\"", f->out);
    for (size_t i = 0; i < s->n; i++) {
        if (!drawable(f, s->x[i], s->y[i])) {
            pen = false;
            continue;
        }
        double x = kept(x_pixel(f, s->x[i])), y = kept(y_pixel(f, s->y[i]));
        if (pen && s->kind == SVG_STEPS) {
            fprintf(f->out, "H%.1fV%.1f", x, y);
        } else {
            fprintf(f->out, "%c%.1f %.1f", pen ? 'L' : 'M', x, y);
        }
        pen = true;
    }
    fprintf(f->out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"%s/>\n", colours[s->colour],
            s->dashed ? " stroke-dasharray=\"6 4\"" : "");
}

/* The bar of a point's error: along y, or along x where y counts rows. */
static void draw_error(const struct frame *f, const struct svg_series *s, size_t i) {
    double spread = s->error ? s->error[i] : (double)NAN, across = f->rows ? spread : 0, up = f->rows ? 0 : spread;
    double x[2] = {s->x[i] - across, s->x[i] + across}, y[2] = {s->y[i] - up, s->y[i] + up};
    if (drawable(f, x[0], y[0]) && drawable(f, x[1], y[1])) {
        fprintf(f->out, "<path d=\"M%.1f %.1f%c%.1f\" stroke=\"%s\"/>\n", kept(x_pixel(f, x[0])),
                kept(y_pixel(f, y[0])), f->rows ? 'H' : 'V', kept(f->rows ? x_pixel(f, x[1]) : y_pixel(f, y[1])),
                colours[s->colour]);
    }
}

static void draw_points(const struct frame *f, const struct svg_series *s) {
    for (size_t i = 0; i < s->n; i++) {
        if (!drawable(f, s->x[i], s->y[i])) {
            continue;
        }
        double x = kept(x_pixel(f, s->x[i])), y = kept(y_pixel(f, s->y[i]));
        draw_error(f, s, i);
        fprintf(f->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\"/>\n", x, y, s->n > 200 ? "1.6" : "3",
                colours[s->colour]);
        if (s->texts) {
            bool inside = x + 12 + text_width(s->texts[i]) < f->left + f->width;
            label_at(f, inside ? x + 6 : x - 6, y - 5, inside ? "start" : "end", " font-size=\"11\"", s->texts[i]);
        }
    }
}

static void draw_band(const struct frame *f, const struct svg_series *s) {
    char command = 'M';
    fputs("<path d=\"", f->out);
    for (size_t i = 0; i < 2 * s->n; i++) {
        size_t k = i < s->n ? i : 2 * s->n - 1 - i;
        double y = i < s->n ? s->y[k] : s->high[k];
        if (drawable(f, s->x[k], y)) {
            fprintf(f->out, "%c%.1f %.1f", command, kept(x_pixel(f, s->x[k])), kept(y_pixel(f, y)));
            command = 'L';
        }
    }
    fprintf(f->out, "Z\" fill=\"%s\" fill-opacity=\"0.2\" stroke=\"none\"/>\n", colours[s->colour]);
}

static void draw_bars(const struct frame *f, const struct svg_series *s) {
    double half = narrowest_step(s->x, s->n) / 2;
    for (size_t i = 0; i < s->n; i++) {
        if (drawable(f, s->x[i] - half, s->y[i]) && drawable(f, s->x[i] + half, 0)) {
            double left = kept(x_pixel(f, s->x[i] - half)), right = kept(x_pixel(f, s->x[i] + half));
            double a = kept(y_pixel(f, s->y[i])), b = kept(y_pixel(f, 0));
            fprintf(f->out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" fill-opacity=\"0.55\"/>\n",
                    left, a < b ? a : b, right - left, fabs(a - b), colours[s->colour]);
        }
    }
}

/* White over blue to black: lightness falls evenly, so that it reads in grey, too. */
static void shade(int k, char out[8]) {
    double t = (double)k / (SHADES - 1);
    int red = (int)lround(255 * (1 - t) * (1 - 0.55 * t)), green = (int)lround(255 * (1 - 0.85 * t));
    int blue = (int)lround(255 * (1 - 0.45 * t));
    snprintf(out, 8, "#%02x%02x%02x", (unsigned)red, (unsigned)green, (unsigned)blue);
}

static struct extent map_extent(const struct svg_series *s) {
    struct extent r = {HUGE_VAL, -HUGE_VAL};
    for (size_t i = 0; i < s->n; i++) {
        widen(&r, s->y[i], false);
    }
    r.high = r.high > r.low ? r.high : r.low + 1;
    return r;
}

static int shade_of(struct extent r, double v) {
    return isfinite(v) ? (int)fmin(SHADES - 1, (v - r.low) / (r.high - r.low) * SHADES) : -1;
}

static void draw_map(const struct frame *f, const struct svg_series *s) {
    struct extent r = map_extent(s);
    char colour[8];
    fputs("<g shape-rendering=\"crispEdges\">\n", f->out);
    for (size_t i = 0; i < s->rows; i++) {
        for (size_t j = 0, end; j < s->columns; j = end) { /* neighbours of one shade are one rectangle */
            int k = shade_of(r, s->y[i * s->columns + j]);
            for (end = j + 1; end < s->columns && shade_of(r, s->y[i * s->columns + end]) == k; end++) {}
            if (k < 0) {
                continue;
            }
            shade(k, colour);
            double top = f->top + f->height * (double)i / (double)s->rows;
            double bottom = f->top + f->height * (double)(i + 1) / (double)s->rows;
            fprintf(f->out, "<path d=\"M%.1f %.1fH%.1fV%.1fH%.1fZ\" fill=\"%s\"/>\n", x_pixel(f, (double)j), top,
                    x_pixel(f, (double)end), bottom, x_pixel(f, (double)j), colour);
        }
    }
    fputs("</g>\n", f->out);
}

/* The bar at the right that says which shade is which value. */
static void draw_colour_bar(const struct frame *f, const struct svg_series *s) {
    struct extent r = map_extent(s);
    struct frame bar = *f;
    bar.left = f->left + f->width + 16;
    bar.width = 14;
    bar.y_low = r.low;
    bar.y_high = r.high;
    bar.y_log = false;
    char colour[8];
    for (int k = 0; k < SHADES; k++) {
        shade(k, colour);
        fprintf(f->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", bar.left,
                f->top + f->height * (SHADES - 1 - k) / SHADES, bar.width, f->height / SHADES + 0.5, colour);
    }
    struct tick ticks[TICKS_MOST];
    size_t n = linear_ticks(r.low, r.high, 6, ticks);
    for (size_t i = 0; i < n; i++) {
        label_at(&bar, bar.left + bar.width + 5, y_pixel(&bar, ticks[i].at) + 4, "start", "", ticks[i].text);
    }
    label_at(&bar, bar.left + bar.width + 50, f->top - 8, "end", "", s->label ? s->label : "");
}

static void draw_series(const struct frame *f, const struct svg_series *s) {
    switch (s->kind) {
    case SVG_LINE:
    case SVG_STEPS:
        draw_line(f, s);
        break;
    case SVG_POINTS:
        draw_points(f, s);
        break;
    case SVG_BAND:
        draw_band(f, s);
        break;
    case SVG_BARS:
        draw_bars(f, s);
        break;
    case SVG_MAP:
        draw_map(f, s);
        break;
    }
}

/* ---- legend ----------------------------------------------------------------------------------------- */

static bool in_legend(const struct svg_series *s) { return s->label && s->kind != SVG_MAP; }

static void draw_key(const struct frame *f, const struct svg_series *s, double x, double y) {
    if (s->kind == SVG_BAND || s->kind == SVG_BARS) {
        fprintf(f->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"22\" height=\"10\" fill=\"%s\" fill-opacity=\"%s\"/>\n", x,
                y - 9, colours[s->colour], s->kind == SVG_BAND ? "0.2" : "0.55");
    } else if (s->kind == SVG_POINTS) {
        fprintf(f->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x + 11, y - 4, colours[s->colour]);
    } else {
        fprintf(f->out, "<path d=\"M%.1f %.1fh22\" stroke=\"%s\" stroke-width=\"1.8\"%s/>\n", x, y - 4,
                colours[s->colour], s->dashed ? " stroke-dasharray=\"6 4\"" : "");
    }
    label_at(f, x + 28, y, "start", "", s->label);
}

/* Lays the legend out in lines; draws it where `f` is given. Returns the number of lines. */
static int lay_legend(const struct svg_chart *c, const struct frame *f) {
    double x = LEFT;
    int line = 0;
    bool any = false;
    for (size_t i = 0; i < c->count; i++) {
        const struct svg_series *s = &c->series[i];
        if (!in_legend(s)) {
            continue;
        }
        double width = 28 + text_width(s->label) + 16;
        if (any && x + width > SVG_WIDTH - RIGHT + 16) {
            x = LEFT;
            line++;
        }
        if (f) {
            draw_key(f, s, x, LEGEND_Y + LEGEND_STEP * line);
        }
        x += width;
        any = true;
    }
    return any ? line + 1 : 0;
}

/* ---- the document ------------------------------------------------------------------------------------ */

static enum status check_series(const struct svg_chart *c, struct error *e) {
    if (c->rows && !c->row_count) {
        return error_set(e, ERR_RUN, "chart '%s': no rows", c->title);
    }
    if (c->count == 0 || c->count > SVG_SERIES_MOST) {
        return error_set(e, ERR_RUN, "chart '%s': %zu series (allowed: 1 to %d)", c->title, c->count, SVG_SERIES_MOST);
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct svg_series *s = &c->series[i];
        bool whole = s->kind == SVG_MAP ? s->rows && s->columns && s->n / s->rows == s->columns && s->n % s->rows == 0
                                        : s->x != NULL;
        if (!s->n || !s->y || !whole || (s->kind == SVG_BAND && !s->high) || s->colour < 0 ||
            s->colour >= SVG_COLOURS) {
            return error_set(e, ERR_RUN, "chart '%s': series %zu is not complete", c->title, i);
        }
    }
    return OK;
}

/* Where the plot area begins, below title and legend. */
static double plot_top(const struct svg_chart *c) {
    return LEGEND_Y - 8 + LEGEND_STEP * lay_legend(c, NULL) + (c->series[0].kind == SVG_MAP ? 16 : 0);
}

static double plot_left(const struct svg_chart *c) {
    double left = LEFT;
    for (size_t i = 0; i < c->row_count; i++) {
        left = fmax(left, fmin(text_width(c->rows[i]) + 16, NAMES_MOST));
    }
    return left;
}

static double chart_height(const struct svg_chart *c) {
    return c->rows ? ceil(plot_top(c)) + (double)(ROW_STEP * c->row_count) + BOTTOM : SVG_HEIGHT;
}

static enum status lay_out(const struct svg_chart *c, FILE *out, struct frame *f, struct error *e) {
    struct extent x = {0, 1}, y = {-0.5, (double)c->row_count - 0.5};
    TRY(limits(c, &c->x, c->rows ? widen_along : widen_x, c->rows != NULL, &x, e));
    if (!c->rows) {
        TRY(limits(c, &c->y, widen_y, true, &y, e));
    }
    bool map = c->series[0].kind == SVG_MAP;
    double top = plot_top(c), left = plot_left(c);
    *f = (struct frame){.out = out,
                        .left = left,
                        .top = top,
                        .width = SVG_WIDTH - left - (map ? BAR_ROOM : RIGHT),
                        .height = chart_height(c) - top - BOTTOM,
                        .rows = c->rows != NULL,
                        .x_low = x.low,
                        .x_high = x.high,
                        .y_low = y.low,
                        .y_high = y.high,
                        .x_log = c->x.logarithmic,
                        .y_log = c->y.logarithmic};
    if (map || c->rows) { /* row 0 at the top */
        f->y_low = y.high;
        f->y_high = y.low;
    }
    return OK;
}

static void draw_axes(const struct svg_chart *c, const struct frame *f, bool map) {
    draw_x_axis(f, c->x.label);
    if (c->rows) {
        draw_rows(f, c);
        return;
    }
    if (!map) {
        draw_y_axis(f, c->y.label);
        return;
    }
    struct tick ticks[TICKS_MOST];
    size_t n = linear_ticks(f->y_high, f->y_low, 6, ticks);
    for (size_t i = 0; i < n; i++) {
        if (ticks[i].at == floor(ticks[i].at)) { /* rows are counted */
            label_at(f, f->left - 8, y_pixel(f, ticks[i].at) + 4, "end", "", ticks[i].text);
        }
    }
    char turn[96];
    double middle = f->top + f->height / 2;
    snprintf(turn, sizeof turn, " transform=\"rotate(-90 18 %.1f)\"", middle);
    label_at(f, 18, middle, "middle", turn, c->y.label);
}

/* One chart, its upper left corner at the origin. `number` keeps the names of clip paths apart. */
static enum status write_chart(const struct svg_chart *c, size_t number, FILE *out, struct error *e) {
    struct frame f;
    TRY(lay_out(c, out, &f, e));
    bool map = c->series[0].kind == SVG_MAP;
    label_at(&f, LEFT, TITLE_Y, "start", " font-size=\"15\" font-weight=\"bold\"", c->title);
    lay_legend(c, &f);
    fprintf(out, "<clipPath id=\"plot%zu\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/></clipPath>\n",
            number, f.left, f.top, f.width, f.height);
    draw_axes(c, &f, map);
    fprintf(out, "<g clip-path=\"url(#plot%zu)\">\n", number);
    for (size_t i = 0; i < c->count; i++) {
        draw_series(&f, &c->series[i]);
    }
    fputs("</g>\n", out);
    fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#222222\"/>\n",
            f.left, f.top, f.width, f.height);
    if (map) {
        draw_colour_bar(&f, &c->series[0]);
    }
    return OK;
}

enum status svg_write(const struct svg_chart *charts, size_t count, FILE *out, struct error *e) {
    for (size_t i = 0; i < count; i++) {
        TRY(check_series(&charts[i], e));
    }
    double height = 0, top = 0;
    for (size_t i = 0; i < count; i++) {
        height += chart_height(&charts[i]);
    }
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" viewBox=\"0 0 %d %.0f\" "
            "font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" font-size=\"13\" fill=\"#222222\">\n",
            SVG_WIDTH, height, SVG_WIDTH, height);
    fprintf(out, "<rect width=\"%d\" height=\"%.0f\" fill=\"#ffffff\"/>\n", SVG_WIDTH, height);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "<g transform=\"translate(0 %.0f)\">\n", top);
        top += chart_height(&charts[i]);
        TRY(write_chart(&charts[i], i, out, e));
        fputs("</g>\n", out);
    }
    fputs("</svg>\n", out);
    return OK;
}

/* ---- comparing --------------------------------------------------------------------------------------- */

bool svg_same(const char *a, const char *b, double tolerance) {
    while (*a && *b) {
        char *a_end, *b_end;
        bool digit = (*a >= '0' && *a <= '9') || *a == '-';
        double x = digit ? strtod(a, &a_end) : 0, y = digit ? strtod(b, &b_end) : 0;
        if (digit && a_end != a && b_end != b) {
            if (!(fabs(x - y) <= tolerance)) {
                return false;
            }
            a = a_end;
            b = b_end;
        } else if (*a++ != *b++) {
            return false;
        }
    }
    return *a == *b;
}
