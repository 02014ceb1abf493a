/* Private to mho adapt compare: the recipe (compare_recipe.c), the rows of its table (adapt_compare.c) and the files
 * that it becomes (compare_table.c). */
#ifndef MHO_TOOLS_COMPARE_H
#define MHO_TOOLS_COMPARE_H

#include "tools/eval.h"

enum { COMPARE_AGES_MOST = 16 };

/* One row of a recipe, defaults of the recipe filled in. Texts live in the arena of the recipe; NULL: not given. */
struct compare_row {
    const char *name, *model, *chip; /* chip "none": digital */
    const char *sets[OPTION_LIST_MAX];
    size_t set_count;
    uint64_t quantise, seed, seeds;
    double ages_s[COMPARE_AGES_MOST];
    size_t age_count;
    const char *text, *bos;      /* nats per token of a text */
    uint64_t limit, window;
    const char *task, *data;     /* accuracy of a task */
    uint64_t items, shots;
};

struct compare_recipe {
    struct arena *arena;
    const char *path, *title;
    struct compare_row *rows;
    size_t count;
    size_t lost, whole; /* rows that recovery is measured between; `count`: none */
};
/* Reads a recipe. What the command line gives stands for what the recipe says at its top. Errors name file and line. */
enum status compare_recipe_read(const char *path, const struct options *o, struct compare_recipe *out,
                                struct error *e);
void compare_recipe_clear(struct compare_recipe *r);

/* One line of the table: a row at one age. NAN: not known, or not asked for. */
struct compare_line {
    const struct compare_row *row;
    size_t machines; /* 0: digital */
    double age_s;    /* NAN: digital */
    double nats, nats_sd, perplexity, recovery, acc, acc_sd, acc_norm, acc_norm_sd, digital_share, joules_per_token,
        tpot_s, area_mm2;
};
struct compare_table {
    const char *title;
    const struct compare_line *lines;
    size_t count;
};
/* compare.csv, compare.md and compare.svg in a folder; the same table on a stream; as JSON. */
enum status compare_write(const struct compare_table *t, const char *folder, struct error *e);
void compare_markdown(const struct compare_table *t, FILE *out);
json_t *compare_json(const struct compare_table *t);

#endif
