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
enum { LABEL_ROOM = 80 };
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

/* "12 noise and converters", where a row has several ages with the age; the bare name where `room` is too small. */
static const char *point_label(const struct compare_table *t, size_t i, char *room, size_t bytes) {
    const struct compare_line *l = &t->lines[i];
    bool several = (i > 0 && t->lines[i - 1].row == l->row) || (i + 1 < t->count && t->lines[i + 1].row == l->row);
    int used = snprintf(room, bytes, "%zu %s", i + 1, l->row->name);
    if (several && used > 0 && (size_t)used < bytes) {
        used += snprintf(room + used, bytes - (size_t)used, ", %.6g s", l->age_s);
    }
    return used > 0 && (size_t)used < bytes ? room : l->row->name;
}

/* One point per line, nats (or accuracy where there is no text) with its standard deviation; each with its number and
 * name where they are few enough. */
static enum status write_svg(const struct compare_table *t, FILE *out, struct error *e) {
    bool text = shown(t, &columns[NATS]);
    const struct column *value = &columns[text ? NATS : ACC_NORM], *sds = &columns[text ? NATS_SD : ACC_NORM_SD];
    double *x = mem_alloc(3 * t->count, sizeof *x);
    if (!x) {
        return error_set(e, ERR_RUN, "compare.svg: out of memory");
    }
    double *y = x + t->count, *sd = y + t->count;
    struct svg_chart chart = {.title = t->title, .x = {"line of the table", false, 0, (double)t->count + 1},
                              .y = {text ? "nats per token" : "acc_norm", false, 0, 0}};
    for (size_t i = 0; i < t->count; i++) {
        double spread = value_of(&t->lines[i], sds);
        x[i] = (double)i + 1;
        y[i] = value_of(&t->lines[i], value);
        sd[i] = isfinite(spread) ? spread : 0;
    }
    bool named = t->count <= SVG_SERIES_MOST;
    char labels[SVG_SERIES_MOST][LABEL_ROOM];
    for (size_t i = 0; i < (named ? t->count : 1); i++) {
        const char *label = named ? point_label(t, i, labels[i], LABEL_ROOM) : NULL;
        svg_add(&chart, (struct svg_series){.kind = SVG_POINTS, .label = label,
                                            .x = x + i, .y = y + i, .error = sd + i, .n = named ? 1 : t->count,
                                            .colour = (int)(i % SVG_COLOURS)});
    }
    enum status s = svg_write(&chart, 1, out, e);
    mem_free(x);
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
