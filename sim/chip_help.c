/* The keys of a chip file as help and as a page of documentation, both from the tables that read the file. */
#include <stdio.h>

#include "sim/chip.h"

enum { TITLE_BYTES = 128 };

/* `when` keeps the text of the answer. */
static struct chip_keys of_chip(const struct chip_table *t, char when[TITLE_BYTES]) {
    when[0] = 0;
    if (t->select_key) {
        snprintf(when, TITLE_BYTES, "where %s is %s", t->select_key, t->select_names[t->select]);
    }
    const char *source = t->source ? t->source : "";
    return (struct chip_keys){t->table.name, when, source, "", t->prefix, t->cost, t->optional, &t->table};
}

void chip_visit_keys(void (*visit)(void *ctx, const struct chip_keys *keys), void *ctx) {
    char title[TITLE_BYTES], prefix[TITLE_BYTES];
    for (size_t i = 0; i < chip_table_count; i++) {
        struct chip_keys k = of_chip(&chip_tables[i], title);
        visit(ctx, &k);
    }
    for (const struct cell_model *const *m = cell_models; *m; m++) {
        snprintf(title, sizeof title, "cell model %s", (*m)->name);
        struct chip_keys k = {title,        (*m)->about, (*m)->source, (*m)->status,
                              "tile.cell.", false,       false,        &(*m)->params};
        visit(ctx, &k);
    }
    for (size_t i = 0; cell_groups[i]; i++) {
        const struct cell_group *g = cell_groups[i];
        snprintf(prefix, sizeof prefix, "tile.cell.%s.", g->name);
        struct chip_keys k = {g->params.name, g->about, "", "", prefix, false, true, &g->params};
        visit(ctx, &k);
    }
    for (const struct dac_model *const *m = dac_models; *m; m++) {
        struct chip_keys k = {(*m)->params.name,   (*m)->about, (*m)->source, "",
                              "tile.dac.circuit.", false,       false,        &(*m)->params};
        visit(ctx, &k);
    }
    for (const struct adc_model *const *m = adc_models; *m; m++) {
        struct chip_keys k = {(*m)->params.name,   (*m)->about, (*m)->source, "",
                              "tile.adc.circuit.", false,       false,        &(*m)->params};
        visit(ctx, &k);
    }
}

/* ---- row by row --------------------------------------------------------------------------------------------- */

struct row_visit {
    void (*visit)(void *ctx, const char *table, const char *prefix, bool cost, const struct param *row);
    void *ctx;
};

static void visit_rows(void *context, const struct chip_keys *k) {
    const struct row_visit *v = context;
    for (size_t i = 0; i < k->table->count; i++) {
        v->visit(v->ctx, k->title, k->prefix, k->cost, &k->table->rows[i]);
    }
}

void chip_visit_params(void (*visit)(void *ctx, const char *table, const char *prefix, bool cost,
                                     const struct param *row),
                       void *ctx) {
    struct row_visit v = {visit, ctx};
    chip_visit_keys(visit_rows, &v);
}

/* ---- help and page -------------------------------------------------------------------------------------------- */

static const char *remark(const struct chip_keys *k) {
    return k->cost       ? "cost: required, or none of them with costs: none"
           : k->optional ? "may be left out as a whole"
                         : "";
}

static void print_help(void *out, const struct chip_keys *k) {
    const char *note = remark(k);
    fprintf(out, "%s%s%s%s%s%s\n", k->title, *note ? " (" : "", note, *note ? ")" : "", *k->about ? ": " : "",
            k->about);
    if (*k->source) {
        fprintf(out, "  source: %s\n", k->source);
    }
    params_help(k->table, k->prefix, out);
    fputc('\n', out);
}

void chip_params_help(FILE *out) { chip_visit_keys(print_help, out); }

static void print_section(void *out, const struct chip_keys *k) {
    const char *note = remark(k);
    fprintf(out, "## %s\n\n", k->title);
    if (*k->about) {
        fprintf(out, "%s.\n\n", k->about);
    }
    if (*note) {
        fprintf(out, "%s.\n\n", note);
    }
    if (*k->source) {
        fprintf(out, "Source: %s.\n\n", k->source);
    }
    if (*k->status) {
        fprintf(out, "Status: %s.\n\n", k->status);
    }
    params_markdown(k->table, k->prefix, out);
    fprintf(out, "%s", k->table->count ? "\n" : "No keys of its own.\n\n");
}

void chip_params_markdown(FILE *out) {
    fputs("# Every key of a chip file\n\n"
          "Written by `mho chip params --markdown` (`make docs`) from the tables that read the file; a test says when "
          "this\n"
          "page is out of date. Keys are what `--set` takes and what a chip file spells as nested maps. A number "
          "stands in\n"
          "the unit that its key ends with. A *constant* is never a bare number: `{value: 25, kind: published, source: "
          "paper,\n"
          "spread: [0.8, 1.2]}`, kind = measured, published, fitted or assumed, and an assumed one needs a spread "
          "(factors,\n"
          "p10 and p90); *numbers* are a constant whose value is a list. What a chip or part file gives has its source "
          "there;\n"
          "`mho chip check NAME` lists them. A *setting* is no physical quantity; its default is mho's choice, unless "
          "a source\n"
          "below the title of its group says otherwise.\n\n",
          out);
    chip_visit_keys(print_section, out);
}
