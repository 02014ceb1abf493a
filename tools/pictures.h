/* Private to tools/pictures*.c: the pictures of docs/physics.md. Each is drawn with the functions that the simulator
 * multiplies with, at fixed seeds, so that a picture that no longer fits the code is found by comparing.
 */
#ifndef MHO_TOOLS_PICTURES_H
#define MHO_TOOLS_PICTURES_H

#include "base/memory.h"
#include "base/svg.h"
#include "tools/command.h"

enum { PICTURE_PANELS = 2 };

struct picture {
    struct arena *arena; /* what the charts borrow lives here */
    struct svg_chart charts[PICTURE_PANELS];
    size_t count;
};

struct picture_source {
    const char *name; /* docs/pictures/NAME.svg; NULL ends a list */
    enum status (*draw)(struct picture *p, struct error *e);
};

extern const struct picture_source cell_pictures[], array_pictures[], tile_pictures[];

/* n numbers that live as long as the picture; NULL when out of memory. */
double *picture_numbers(struct picture *p, size_t n);
enum status picture_no_memory(struct error *e);
/* Appends a chart with these titles; the caller adds series. */
struct svg_chart *picture_chart(struct picture *p, const char *title, const char *x, bool x_log, const char *y,
                                bool y_log);
void picture_line(struct svg_chart *c, const char *label, const double *x, const double *y, size_t n, int colour);
void picture_points(struct svg_chart *c, const char *label, const double *x, const double *y, size_t n, int colour);
void picture_steps(struct svg_chart *c, const char *label, const double *x, const double *y, size_t n, int colour);

/* mho device pictures --out FOLDER */
enum status device_pictures(const struct options *o, struct error *e);

#endif
