/* mho device pictures: the pictures of docs/physics.md, one SVG file each (see pictures.h). */
#include "tools/pictures.h"

#include "base/io.h"
#include "tools/device.h"

double *picture_numbers(struct picture *p, size_t n) { return arena_alloc(p->arena, n, sizeof(double)); }

enum status picture_no_memory(struct error *e) { return error_set(e, ERR_RUN, "device pictures: out of memory"); }

struct svg_chart *picture_chart(struct picture *p, const char *title, const char *x, bool x_log, const char *y,
                                bool y_log) {
    struct svg_chart *c = &p->charts[p->count++];
    *c = (struct svg_chart){
        .title = title, .x = {.label = x, .logarithmic = x_log}, .y = {.label = y, .logarithmic = y_log}};
    return c;
}

static void add(struct svg_chart *c, enum svg_kind kind, const char *label, const double *x, const double *y, size_t n,
                int colour) {
    svg_add(c, (struct svg_series){.kind = kind, .label = label, .x = x, .y = y, .n = n, .colour = colour});
}

void picture_line(struct svg_chart *c, const char *label, const double *x, const double *y, size_t n, int colour) {
    add(c, SVG_LINE, label, x, y, n, colour);
}

void picture_points(struct svg_chart *c, const char *label, const double *x, const double *y, size_t n, int colour) {
    add(c, SVG_POINTS, label, x, y, n, colour);
}

void picture_steps(struct svg_chart *c, const char *label, const double *x, const double *y, size_t n, int colour) {
    add(c, SVG_STEPS, label, x, y, n, colour);
}

static enum status write_picture(const struct picture *p, const char *path, struct error *e) {
    struct output *out = NULL;
    TRY(output_create(path, &out, e));
    enum status s = svg_write(p->charts, p->count, output_stream(out), e);
    if (s != OK) {
        output_abort(out);
        return s;
    }
    return output_commit(out, e);
}

static enum status draw_picture(const struct picture_source *source, const char *folder, struct error *e) {
    struct picture p = {.arena = arena_create()};
    char *path = p.arena ? arena_printf(p.arena, "%s/%s.svg", folder, source->name) : NULL;
    enum status s = path ? source->draw(&p, e) : picture_no_memory(e);
    if (s == OK) {
        s = write_picture(&p, path, e);
    }
    if (s == OK) {
        printf("%s\n", path);
    }
    arena_destroy(p.arena);
    return s;
}

enum status device_pictures(const struct options *o, struct error *e) {
    static const char *const takes[] = {"out", NULL};
    static const struct picture_source *const lists[] = {cell_pictures, array_pictures, tile_pictures};
    TRY(options_only(o, takes, "device pictures", e));
    TRY(check_words(o, 1, e));
    if (!o->out) {
        return error_set(e, ERR_USAGE, "device pictures: needs --out, the folder to write to");
    }
    TRY(make_directory(o->out, e));
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (const struct picture_source *source = lists[i]; source->name; source++) {
            TRY(check_interrupted(e));
            if (draw_picture(source, o->out, e) != OK) {
                return error_prefix(e, "picture %s", source->name);
            }
        }
    }
    return finish_output(e);
}
