/* Charts as static SVG: one set of axes, with lines, points, bands and a map of colours; or named rows.
 *
 * For pictures of the documentation and plots of fits. A chart is plain data that the caller fills; nothing is
 * allocated, and arrays are borrowed until svg_write returns. The same chart gives the same text everywhere
 * (coordinates are rounded to a tenth of a pixel), so that a picture can be compared with a new one.
 * Values that are not finite, and values <= 0 on a logarithmic axis, leave a gap. Coordinates outside an axis that was
 * given limits are cut off at the frame.
 * Not covered: text that is typeset (only plain labels), more than one set of axes, interaction.
 */
#ifndef MHO_BASE_SVG_H
#define MHO_BASE_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

enum svg_kind {
    SVG_LINE,   /* x, y: joined in order */
    SVG_STEPS,  /* x, y: y holds from x[i] to x[i+1] */
    SVG_POINTS, /* x, y; error (may be NULL): bars of y +- error, in a chart with named rows of x +- error */
    SVG_BAND,   /* x, y, high: the area between y and high */
    SVG_BARS,   /* x, y: bars from 0 to y as wide as the smallest distance of two x */
    SVG_MAP,    /* y: values [rows][columns], row 0 at the top; the axes count columns and rows from 0 */
};

struct svg_series {
    enum svg_kind kind;
    const char *label; /* of the legend; NULL: not in it. SVG_MAP: of the colour bar */
    const double *x, *y, *high, *error;
    const char *const *texts; /* SVG_POINTS: one beside each point; NULL: none */
    size_t n;             /* SVG_MAP: rows x columns */
    size_t rows, columns; /* SVG_MAP */
    int colour;           /* 0..SVG_COLOURS - 1 */
    bool dashed;
};

struct svg_axis {
    const char *label; /* with the unit: "conductance (uS)" */
    bool logarithmic;
    double low, high; /* low >= high: from the data */
};

enum { SVG_SERIES_MOST = 16, SVG_COLOURS = 6, SVG_WIDTH = 720, SVG_HEIGHT = 440 };

struct svg_chart {
    const char *title;
    struct svg_axis x, y;
    const char *const *rows; /* NULL, or names of y = 0, 1, ... from the top, in place of an axis of numbers; the chart
                              * is as high as they need */
    size_t row_count;
    struct svg_series series[SVG_SERIES_MOST];
    size_t count;
};

/* Adds a series; more than SVG_SERIES_MOST are a mistake of the caller and are left out, which svg_write refuses. */
void svg_add(struct svg_chart *c, struct svg_series s);

/* The whole document, charts one below the other. Errors: nothing to draw, limits that are not finite or not
 * positive on a logarithmic axis, a map whose size does not fit, too many series. Errors of writing show at `out`,
 * as usual. */
enum status svg_write(const struct svg_chart *charts, size_t count, FILE *out, struct error *e);

/* Equal, but for numbers that differ by at most `tolerance` (another machine's rounding of the last digit). */
bool svg_same(const char *a, const char *b, double tolerance);

#endif
