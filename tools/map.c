/* mho map: which block of which matrix lies on which tiles; how many tiles and chips; how full they are. */
#include <stdio.h>

#include "tools/command.h"

static json_t *matrices_json(const struct placement *p) {
    json_t *array = json_array();
    for (size_t i = 0; i < placement_matrices(p); i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        json_t *row = json_object();
        json_put(row, "name", json_string(m.name));
        json_put(row, "layer", m.layer < 0 ? json_null() : json_integer(m.layer));
        json_put(row, "role", json_string(matrix_role_name(m.role)));
        json_put(row, "analog", json_boolean(m.analog));
        json_put(row, "rows", json_integer(m.inputs));
        json_put(row, "columns", json_integer(m.outputs));
        json_put(row, "row_blocks", m.analog ? json_integer(m.row_blocks) : json_null());
        json_put(row, "column_blocks", m.analog ? json_integer(m.column_blocks) : json_null());
        json_put(row, "tiles", json_integer(m.tiles));
        json_put(row, "utilisation", m.analog ? json_number(m.utilisation) : json_null());
        json_put(row, "digital_channels", json_integer(m.digital_channels));
        json_put(row, "listed_weights", json_integer((json_int_t)m.listed_weights));
        json_array_append_new(array, row);
    }
    return array;
}

static enum status map_json(const struct options *o, const struct chip *chip,
                            const struct placement *p, struct error *e) {
    struct placement_total t = placement_total(p);
    json_t *root = json_envelope("map", o, chip);
    json_put(root, "model", json_string(o->model));
    json_put(root, "tiles", json_integer((json_int_t)t.tiles));
    json_put(root, "chips", json_integer((json_int_t)t.chips));
    json_put(root, "utilisation", json_number(t.utilisation));
    json_put(root, "bit_hops_in_order", json_number(t.bit_hops_in_order)); /* null: not searched */
    json_put(root, "bit_hops", json_number(t.bit_hops));
    json_put(root, "cells", json_integer((json_int_t)t.cells));
    json_put(root, "cells_used", json_integer((json_int_t)t.cells_used));
    json_put(root, "analog_weights", json_integer((json_int_t)t.analog_weights));
    json_put(root, "digital_weights", json_integer((json_int_t)t.digital_weights));
    json_put(root, "side_path_macs", json_integer((json_int_t)t.side_macs));
    json_put(root, "digital_share", t.analog_weights ? json_number(t.digital_share) : json_null());
    json_put(root, "machine_bytes", json_integer((json_int_t)placement_machine_bytes(chip, p)));
    json_put(root, "matrices", matrices_json(p));
    return json_finish(root, e);
}

static void print_row(const struct placement_matrix *m) {
    if (m->analog) {
        printf("%-24s %7u x %-7u %4u x %-4u %7u %11.1f %%\n", m->name, m->inputs, m->outputs, m->row_blocks,
               m->column_blocks, m->tiles, 100 * m->utilisation);
    } else {
        printf("%-24s %7u x %-7u %11s %7s %13s\n", m->name, m->inputs, m->outputs, "digital", "-", "-");
    }
}

static enum status map_print(const struct model *model, const struct chip *chip, const struct placement *p,
                             struct error *e) {
    const struct model_shape *s = model_shape(model);
    printf("%s (%s, %llu parameters) on %s\n\n", s->path, s->family, (unsigned long long)s->parameters,
           chip_name(chip));
    printf("%-24s %17s %11s %7s %13s\n", "matrix", "rows x columns", "blocks", "tiles", "utilisation");
    for (size_t i = 0; i < placement_matrices(p); i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        print_row(&m);
    }
    struct placement_total t = placement_total(p);
    printf("\n%llu tiles on %llu chip%s, %.1f %% of the cells used; %llu weights analog, %llu digital; about %.1f MB "
           "of memory to emulate\n",
           (unsigned long long)t.tiles, (unsigned long long)t.chips, t.chips == 1 ? "" : "s", 100 * t.utilisation,
           (unsigned long long)t.analog_weights, (unsigned long long)t.digital_weights,
           (double)placement_machine_bytes(chip, p) / 1e6);
    placement_print_hops(&t, stdout);
    if (t.side_macs) {
        printf("side path: %.2f %% of the multiplications of the matrices on tiles stay digital\n",
               100 * t.digital_share);
    }
    return finish_output(e);
}

static enum status place(const struct options *o, struct model *model, struct chip *chip, struct error *e) {
    struct placement *p = NULL;
    size_t count;
    const struct matrix_source *sources = model_matrices(model, &count);
    enum status s = placement_create(chip, sources, count, &p, e);
    if (s == OK) {
        s = o->json ? map_json(o, chip, p, e) : map_print(model, chip, p, e);
    }
    placement_destroy(p);
    return s;
}

static enum status map_command(const struct options *o, struct error *e) {
    TRY(check_words(o, 0, e));
    struct chip *chip = NULL;
    struct model *model = NULL;
    enum status s = open_chip(o, &chip, e);
    if (s == OK && !chip) {
        s = error_set(e, ERR_USAGE, "--chip none: nothing to place (name a chip)");
    }
    if (s == OK) {
        s = model_open_shapes(o->model, &model, e);
    }
    if (s == OK) {
        s = place(o, model, chip, e);
    }
    model_close(model);
    chip_destroy(chip);
    return s;
}

static const char *const names[] = {"model", "chip", "set", NULL};

const struct command command_map = {
    "map", "", "place a model on tiles: how many, how full, on how many chips", names, map_command,
    "example:\n  mho map --model model.gguf --chip pcm256 --set tile.rows=512",
};
