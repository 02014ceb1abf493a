/* The table of mho adapt compare as CSV, Markdown, picture and JSON. Empty cells: not known, or not asked for. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/svg.h"
#include "tools/compare.h"

/* Columns of numbers: how they are called and shown. */
struct column {
    const char *key, *title, *format;
    size_t offset;
    double factor; /* of what Markdown shows */
};
enum {
    AGE, NATS, NATS_SD, PERPLEXITY, RECOVERY, ACC, ACC_SD, ACC_NORM, ACC_NORM_SD, DIGITAL, JOULES, TPOT, AREA, COLUMNS
};
#define AT(member) offsetof(struct compare_line, member)
static const struct column columns[COLUMNS] = {
    [AGE] = {"age_s", "age (s)", "%.6g", AT(age_s), 1},
    [NATS] = {"nll_nats", "nats/token", "%.4f", AT(nats), 1},
    [NATS_SD] = {"nll_nats_sd", "sd", "%.4f", AT(nats_sd), 1},
    [PERPLEXITY] = {"perplexity", "perplexity", "%.3f", AT(perplexity), 1},
    [RECOVERY] = {"recovery", "recovered (%)", "%.1f", AT(recovery), 100},
    [ACC] = {"acc", "acc", "%.4f", AT(acc), 1},
    [ACC_SD] = {"acc_sd", "sd", "%.4f", AT(acc_sd), 1},
    [ACC_NORM] = {"acc_norm", "acc_norm", "%.4f", AT(acc_norm), 1},
    [ACC_NORM_SD] = {"acc_norm_sd", "sd", "%.4f", AT(acc_norm_sd), 1},
    [DIGITAL] = {"digital_share", "digital (%)", "%.2f", AT(digital_share), 100},
    [JOULES] = {"per_token_J", "uJ/token", "%.4g", AT(joules_per_token), 1e6},
    [TPOT] = {"tpot_s", "TPOT (us)", "%.4g", AT(tpot_s), 1e6},
    [AREA] = {"area_mm2", "mm2", "%.4g", AT(area_mm2), 1},
};

static double value_of(const struct compare_line *l, const struct column *c) {
    double value;
    memcpy(&value, (const char *)l + c->offset, sizeof value);
    return value;
}

/* A column that no line knows is left out. */
static bool shown(const struct compare_table *t, const struct column *c) {
    for (size_t i = 0; i < t->count; i++) {
        if (isfinite(value_of(&t->lines[i], c))) {
            return true;
        }
    }
    return false;
}

/* A name between double quotes, those inside doubled. */
static void write_quoted(const char *text, FILE *out) {
    fputc('"', out);
    for (; *text; text++) {
        fputs(*text == '"' ? "\"\"" : (char[]){*text, 0}, out);
    }
    fputc('"', out);
}

static void write_csv(const struct compare_table *t, FILE *out) {
    fprintf(out, "name,model,chip,quantise_bits,machines");
    for (size_t c = 0; c < COLUMNS; c++) {
        fprintf(out, ",%s", columns[c].key);
    }
    fprintf(out, "\n");
    for (size_t i = 0; i < t->count; i++) {
        const struct compare_line *l = &t->lines[i];
        const char *const texts[] = {l->row->name, l->row->model, l->row->chip};
        for (size_t k = 0; k < 3; k++) {
            write_quoted(texts[k], out);
            fputc(',', out);
        }
        fprintf(out, "%llu,%zu", (unsigned long long)l->row->quantise, l->machines);
        for (size_t c = 0; c < COLUMNS; c++) {
            double value = value_of(l, &columns[c]);
            fputc(',', out);
            if (isfinite(value)) {
                fprintf(out, "%.9g", value);
            }
        }
        fputc('\n', out);
    }
}

void compare_markdown(const struct compare_table *t, FILE *out) {
    fprintf(out, "# %s\n\n| | machines |", t->title);
    for (size_t c = 0; c < COLUMNS; c++) {
        if (shown(t, &columns[c])) {
            fprintf(out, " %s |", columns[c].title);
        }
    }
    fprintf(out, "\n| --- | ---: |");
    for (size_t c = 0; c < COLUMNS; c++) {
        fputs(shown(t, &columns[c]) ? " ---: |" : "", out);
    }
    for (size_t i = 0; i < t->count; i++) {
        const struct compare_line *l = &t->lines[i];
        fprintf(out, "\n| %s | %zu |", l->row->name, l->machines);
        for (size_t c = 0; c < COLUMNS; c++) {
            double value = value_of(l, &columns[c]);
            if (isfinite(value)) {
                char cell[32];
                snprintf(cell, sizeof cell, columns[c].format, columns[c].factor * value + 0.0); /* + 0.0: not -0 */
                fprintf(out, " %s |", cell);
            } else if (shown(t, &columns[c])) {
                fprintf(out, " |");
            }
        }
    }
    fprintf(out, "\n");
}

json_t *compare_json(const struct compare_table *t) {
    json_t *rows = json_array();
    for (size_t i = 0; i < t->count; i++) {
        const struct compare_line *l = &t->lines[i];
        json_t *o = json_object();
        json_put(o, "name", json_string(l->row->name));
        json_put(o, "model", json_string(l->row->model));
        json_put(o, "chip", json_string(l->row->chip));
        json_put(o, "quantise_bits", json_integer((json_int_t)l->row->quantise));
        json_put(o, "machines", json_integer((json_int_t)l->machines));
        for (size_t c = 0; c < COLUMNS; c++) {
            json_put(o, columns[c].key, json_number(value_of(l, &columns[c])));
        }
        json_array_append_new(rows, o);
    }
    return rows;
}

/* Room of the picture: one point per line of the table. */
struct points {
    double *row, *value, *sd, *microjoules;
    const char **names, **numbers;
};

/* "12 noise and converters", where a row has several ages with the age. NULL when out of memory. */
static const char *name_of(const struct compare_table *t, size_t i, struct arena *a) {
    const struct compare_line *l = &t->lines[i];
    bool several = (i > 0 && t->lines[i - 1].row == l->row) || (i + 1 < t->count && t->lines[i + 1].row == l->row);
    return several ? arena_printf(a, "%zu %s, %.6g s", i + 1, l->row->name, l->age_s)
                   : arena_printf(a, "%zu %s", i + 1, l->row->name);
}

/* False when out of memory. */
static bool points_create(const struct compare_table *t, bool text, struct arena *a, struct points *p) {
    double *numbers = arena_alloc(a, 4 * t->count, sizeof *numbers);
    const char **texts = arena_alloc(a, 2 * t->count, sizeof *texts);
    if (!numbers || !texts) {
        return false;
    }
    *p = (struct points){.row = numbers, .value = numbers + t->count, .sd = numbers + 2 * t->count,
                         .microjoules = numbers + 3 * t->count, .names = texts, .numbers = texts + t->count};
    for (size_t i = 0; i < t->count; i++) {
        const struct compare_line *l = &t->lines[i];
        double sd = value_of(l, &columns[text ? NATS_SD : ACC_NORM_SD]);
        p->row[i] = (double)i;
        p->value[i] = value_of(l, &columns[text ? NATS : ACC_NORM]);
        p->sd[i] = isfinite(sd) ? sd : 0;
        p->microjoules[i] = 1e6 * l->joules_per_token;
        p->names[i] = name_of(t, i, a);
        p->numbers[i] = arena_printf(a, "%zu", i + 1);
        if (!p->names[i] || !p->numbers[i]) {
            return false;
        }
    }
    return true;
}

/* One line per row of the table: nats (or accuracy where there is no text) with their standard deviation over
 * machines. Below it the same against the energy of a token, numbered, if two lines at least have one. */
static enum status draw(const struct compare_table *t, const struct points *p, bool text, FILE *out, struct error *e) {
    const char *quality = text ? "nats per token" : "acc_norm";
    struct svg_chart charts[2] = {
        {.title = t->title, .x = {quality, false, 0, 0}, .rows = p->names, .row_count = t->count},
        {.title = "quality and energy", .x = {"energy (uJ per token)", false, 0, 0}, .y = {quality, false, 0, 0}}};
    svg_add(&charts[0], (struct svg_series){.kind = SVG_POINTS, .x = p->value, .y = p->row, .error = p->sd,
                                            .n = t->count});
    svg_add(&charts[1], (struct svg_series){.kind = SVG_POINTS, .x = p->microjoules, .y = p->value, .error = p->sd,
                                            .texts = p->numbers, .n = t->count});
    size_t priced = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (isfinite(p->microjoules[i]) && isfinite(p->value[i])) {
            charts[1].x.high = fmax(charts[1].x.high, 1.05 * p->microjoules[i]);
            priced++;
        }
    }
    return svg_write(charts, priced > 1 ? 2 : 1, out, e);
}

static enum status write_svg(const struct compare_table *t, FILE *out, struct error *e) {
    struct arena *a = arena_create();
    struct points p;
    bool text = shown(t, &columns[NATS]);
    enum status s = a && points_create(t, text, a, &p) ? draw(t, &p, text, out, e)
                                                       : error_set(e, ERR_RUN, "compare.svg: out of memory");
    arena_destroy(a);
    return s;
}

static enum status write_file(const struct compare_table *t, const char *folder, const char *name,
                              enum status (*write)(const struct compare_table *t, FILE *out, struct error *e),
                              struct error *e) {
    struct output *o = NULL;
    char *path = path_join(folder, name);
    enum status s = path ? output_create(path, &o, e) : error_set(e, ERR_RUN, "%s: out of memory", folder);
    mem_free(path);
    TRY(s);
    s = write(t, output_stream(o), e);
    if (s != OK) {
        output_abort(o);
        return s;
    }
    return output_commit(o, e);
}

static enum status csv_file(const struct compare_table *t, FILE *out, struct error *e) {
    (void)e;
    write_csv(t, out);
    return OK;
}

static enum status markdown_file(const struct compare_table *t, FILE *out, struct error *e) {
    (void)e;
    compare_markdown(t, out);
    return OK;
}

enum status compare_write(const struct compare_table *t, const char *folder, struct error *e) {
    TRY(write_file(t, folder, "compare.csv", csv_file, e));
    TRY(write_file(t, folder, "compare.md", markdown_file, e));
    return write_file(t, folder, "compare.svg", write_svg, e);
}
