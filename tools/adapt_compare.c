/* mho adapt compare: a table of models on chips, measured as a recipe says (compare_recipe.c), as CSV, Markdown and a
 * picture.
 *
 * For every row and age, over its machines: nats per token of a text, accuracy of a task, how much of a loss is
 * recovered, and what it costs: share of the multiplications that stay digital, joules and time per token, area.
 * Everything measured is kept in DIR/rows: a comparison that was cut off goes on where it stopped, and a row that was
 * added later is all that is measured then.
 *
 * Costs: the first machine of a row reads PROMPT_TOKENS tokens of the bundled text and then writes DECODED tokens, one
 * at a time; energy and time are those of the latter. Digital rows have none: no hardware is assumed for them.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/compare.h"

enum { PROMPT_TOKENS = 16, DECODED = 8, NAME_ROOM = 128, COSTS_LIMIT = 1 << 16, NATS = 0, ACC = 0, ACC_NORM = 1 };

struct comparison {
    const struct options *o;
    struct compare_recipe recipe;
    struct compare_line *lines;
    size_t count;
};

/* A row at work. */
struct row_job {
    const struct compare_row *row;
    const char *folder;
    struct model *model;
    struct chip *chip;
    struct compare_line *lines; /* [ages] of this row; one for a digital one */
    size_t line_count;
};

/* FOLDER/rows/NAME.kind, with nothing in the name that a file system could mind. mem_free; NULL: out of memory. */
static char *row_file(const struct row_job *j, const char *kind) {
    char name[NAME_ROOM + 32] = "rows/";
    size_t n = strlen(name);
    for (const char *c = j->row->name; *c && n < NAME_ROOM; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-';
        name[n++] = plain ? *c : '_';
    }
    snprintf(name + n, sizeof name - n, ".%08llx.%s",
             (unsigned long long)(data_hash_bytes(0, j->row->name, strlen(j->row->name)) & 0xffffffff), kind);
    return path_join(j->folder, name);
}

/* ---- quality ------------------------------------------------------------------------------------------- */

/* Mean and standard deviation of what a measure says on a line. */
static void take(const struct compare_line *l, const struct eval_results *r, int sum, double *mean, double *sd) {
    struct eval_summary s = eval_summarise(r, sum, l->age_s);
    *mean = l->machines ? s.mean : eval_mean(&r->at[0], r->units, sum);
    *sd = l->machines ? s.sd : (double)NAN;
}

static enum status run_measure(const struct row_job *j, const struct eval_measure *m, const char *kind,
                               struct eval_results *r, struct error *e) {
    const struct compare_row *row = j->row;
    const struct eval_machines machines = {row->seed, row->seeds, row->ages_s, row->age_count};
    char *path = row_file(j, kind);
    enum status s = path ? eval_run(m, j->model, j->chip, &machines, path, r, e)
                         : error_set(e, ERR_RUN, "%s: out of memory", row->name);
    mem_free(path);
    return s;
}

static enum status measure_text(const struct row_job *j, struct error *e) {
    const struct compare_row *row = j->row;
    const struct eval_text_options how = {row->text, row->limit, (uint32_t)row->window, row->bos};
    struct eval_text text = {.text = NULL};
    struct eval_results r = {NULL, 0, 0};
    enum status s = eval_text_open(j->model, &how, &text, e);
    if (s == OK) {
        s = run_measure(j, &text.measure, "text.jsonl", &r, e);
    }
    for (size_t i = 0; s == OK && i < j->line_count; i++) {
        struct compare_line *l = &j->lines[i];
        take(l, &r, NATS, &l->nats, &l->nats_sd);
        l->perplexity = exp(l->nats);
    }
    eval_results_clear(&r);
    eval_text_close(&text);
    return s;
}

static enum status measure_task(const struct row_job *j, struct error *e) {
    const struct compare_row *row = j->row;
    const struct eval_task_options how = {row->task, row->data, row->items, (uint32_t)row->shots, row->bos};
    struct eval_task task = {.set = NULL};
    struct eval_results r = {NULL, 0, 0};
    enum status s = eval_task_open(j->model, &how, &task, e);
    if (s == OK) {
        s = run_measure(j, &task.measure, "task.jsonl", &r, e);
    }
    for (size_t i = 0; s == OK && i < j->line_count; i++) {
        struct compare_line *l = &j->lines[i];
        take(l, &r, ACC, &l->acc, &l->acc_sd);
        take(l, &r, ACC_NORM, &l->acc_norm, &l->acc_norm_sd);
    }
    eval_results_clear(&r);
    eval_task_close(&task);
    return s;
}

/* ---- costs --------------------------------------------------------------------------------------------- */

static int32_t likeliest(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return (int32_t)best;
}

/* *before: the ledger after the prompt. */
static enum status decode(const struct row_job *j, struct run *run, const int32_t *prompt, struct ledger_view *before,
                          struct error *e) {
    struct session_options o = {.context = PROMPT_TOKENS + DECODED, .max_batch = PROMPT_TOKENS, .run = run};
    struct session *s = NULL;
    const float *logits = NULL;
    enum status status = session_create(j->model, &o, &s, e);
    if (status == OK) {
        status = session_forward(s, prompt, PROMPT_TOKENS, LOGITS_LAST, &logits, e);
        *before = run_ledger(run);
    }
    for (int i = 0; status == OK && i < DECODED; i++) {
        int32_t id = likeliest(logits, model_shape(j->model)->vocabulary);
        status = session_forward(s, &id, 1, LOGITS_LAST, &logits, e);
    }
    session_destroy(s);
    return status;
}

static enum status run_costs(const struct row_job *j, json_t *costs, struct error *e) {
    struct token_list ids = {NULL, 0, 0};
    struct analog a = {NULL, NULL, NULL};
    struct ledger_view before;
    enum status s = model_text_ids(j->model, PROMPT_TOKENS, &ids, e);
    if (s == OK) {
        s = analog_create(j->model, j->chip, j->row->seed, j->row->ages_s[0], PROMPT_TOKENS, &a, e);
    }
    if (s == OK) {
        s = decode(j, a.run, ids.ids, &before, e);
    }
    if (s == OK) {
        struct ledger_view after = run_ledger(a.run);
        json_put(costs, "digital_share", json_number(placement_total(a.placement).digital_share));
        json_put(costs, "per_token_J", json_number((after.total_J - before.total_J) / DECODED));
        json_put(costs, "tpot_s", json_number((after.makespan_s - before.makespan_s) / DECODED));
        json_put(costs, "area_mm2", json_number(placement_area(j->chip, a.placement).total_mm2));
    }
    analog_destroy(&a);
    token_list_clear(&ids);
    return s;
}

/* What costs depend on. */
static json_t *cost_settings(const struct row_job *j) {
    return json_pack("{s:I, s:I, s:I, s:I, s:f}", "model", (json_int_t)data_model_hash(j->model), "config_hash",
                     (json_int_t)chip_hash(j->chip), "quantise_bits", (json_int_t)j->row->quantise, "seed",
                     (json_int_t)j->row->seed, "age_s", j->row->ages_s[0]);
}

static enum status write_costs(const char *path, const json_t *costs, struct error *e) {
    struct output *o;
    TRY(output_create(path, &o, e));
    json_dumpf(costs, output_stream(o), JSON_STYLE);
    fputc('\n', output_stream(o));
    return output_commit(o, e);
}

/* Costs of an earlier run with the same settings; NULL: none. */
static json_t *earlier_costs(const char *path, const json_t *settings) {
    char *text = NULL;
    size_t bytes = 0;
    json_t *costs = NULL;
    if (file_exists(path) && read_file(path, COSTS_LIMIT, &text, &bytes, NULL) == OK) {
        costs = json_loadb(text, bytes, 0, NULL);
    }
    mem_free(text);
    if (costs && !json_equal(json_object_get(costs, "settings"), settings)) {
        json_decref(costs);
        costs = NULL;
    }
    return costs;
}

static double cost(const json_t *costs, const char *key) {
    const json_t *value = json_object_get(costs, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static enum status measure_costs(const struct row_job *j, struct error *e) {
    char *path = row_file(j, "costs.json");
    if (!path) {
        return error_set(e, ERR_RUN, "%s: out of memory", j->row->name);
    }
    json_t *settings = cost_settings(j), *costs = earlier_costs(path, settings);
    enum status s = OK;
    if (!costs) {
        costs = json_object();
        json_object_set(costs, "settings", settings);
        s = run_costs(j, costs, e);
        s = s == OK ? write_costs(path, costs, e) : s;
    }
    for (size_t i = 0; s == OK && i < j->line_count; i++) {
        j->lines[i].digital_share = cost(costs, "digital_share");
        j->lines[i].joules_per_token = cost(costs, "per_token_J");
        j->lines[i].tpot_s = cost(costs, "tpot_s");
        j->lines[i].area_mm2 = cost(costs, "area_mm2");
    }
    json_decref(costs);
    json_decref(settings);
    mem_free(path);
    return s;
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

static bool is_digital(const struct compare_row *row) { return strcmp(row->chip, "none") == 0; }

static enum status open_row(struct row_job *j, struct error *e) {
    const struct compare_row *row = j->row;
    if (is_digital(row) && row->set_count) {
        return error_set(e, ERR_USAGE, "set %s: chip none is the digital model, it has no keys", row->sets[0]);
    }
    if (!is_digital(row)) {
        TRY(chip_load(row->chip, row->sets, row->set_count, &j->chip, e));
    }
    for (size_t i = 0; j->chip && i < row->age_count; i++) {
        TRY(chip_check_age(j->chip, row->ages_s[i], e));
    }
    TRY(model_open(row->model, &j->model, e));
    return row->quantise ? model_quantise(j->model, (int)row->quantise, e) : OK;
}

static enum status measure_row(struct row_job *j, struct error *e) {
    enum status s = open_row(j, e);
    if (s == OK && j->row->text) {
        s = measure_text(j, e);
    }
    if (s == OK && j->row->task) {
        s = measure_task(j, e);
    }
    if (s == OK && j->chip) {
        s = measure_costs(j, e);
    }
    model_close(j->model);
    chip_destroy(j->chip);
    return s == OK ? OK : error_prefix(e, "row %s", j->row->name);
}

/* Lines of a row, not measured yet. */
static size_t add_lines(struct comparison *c, const struct compare_row *row) {
    size_t n = is_digital(row) ? 1 : row->age_count;
    double unknown = (double)NAN;
    for (size_t i = 0; i < n; i++) {
        c->lines[c->count++] = (struct compare_line){
            .row = row,
            .machines = is_digital(row) ? 0 : (size_t)row->seeds,
            .age_s = is_digital(row) ? unknown : row->ages_s[i],
            .nats = unknown, .nats_sd = unknown, .perplexity = unknown, .recovery = unknown,
            .acc = unknown, .acc_sd = unknown, .acc_norm = unknown, .acc_norm_sd = unknown,
            .digital_share = unknown, .joules_per_token = unknown, .tpot_s = unknown, .area_mm2 = unknown,
        };
    }
    return n;
}

static enum status measure_rows(struct comparison *c, struct error *e) {
    for (size_t i = 0; i < c->recipe.count; i++) {
        struct row_job j = {.row = &c->recipe.rows[i], .folder = c->o->out, .lines = &c->lines[c->count]};
        TRY(check_interrupted(e));
        notice("row %zu of %zu: %s", i + 1, c->recipe.count, j.row->name);
        j.line_count = add_lines(c, j.row);
        TRY(measure_row(&j, e));
    }
    return OK;
}

/* The line of a row at an age, else its first. */
static const struct compare_line *line_of(const struct comparison *c, size_t row, double age_s) {
    const struct compare_line *first = NULL;
    for (size_t i = 0; i < c->count; i++) {
        const struct compare_line *l = &c->lines[i];
        if (l->row == &c->recipe.rows[row]) {
            first = first ? first : l;
            if (!(l->age_s < age_s) && !(l->age_s > age_s)) {
                return l;
            }
        }
    }
    return first;
}

static void find_recoveries(struct comparison *c) {
    for (size_t i = 0; c->recipe.lost < c->recipe.count && i < c->count; i++) {
        struct compare_line *l = &c->lines[i];
        double lost = line_of(c, c->recipe.lost, l->age_s)->nats, whole = line_of(c, c->recipe.whole, l->age_s)->nats;
        l->recovery = (lost - l->nats) / (lost - whole);
    }
}

static enum status make_table(struct comparison *c, struct error *e) {
    char *rows = path_join(c->o->out, "rows");
    enum status s = rows ? make_directory(rows, e) : error_set(e, ERR_RUN, "%s: out of memory", c->o->out);
    mem_free(rows);
    TRY(s);
    c->lines = mem_alloc(c->recipe.count * COMPARE_AGES_MOST, sizeof *c->lines);
    if (!c->lines) {
        return error_set(e, ERR_RUN, "%s: out of memory", c->recipe.path);
    }
    TRY(measure_rows(c, e));
    find_recoveries(c);
    return OK;
}

static enum status report(const struct comparison *c, struct error *e) {
    const struct compare_table t = {c->recipe.title, c->lines, c->count};
    TRY(compare_write(&t, c->o->out, e));
    if (!c->o->json) {
        compare_markdown(&t, stdout);
        return finish_output(e);
    }
    json_t *root = json_envelope("adapt compare", c->o, NULL);
    json_put(root, "recipe", json_string(c->recipe.path));
    json_put(root, "title", json_string(c->recipe.title));
    json_put(root, "rows", compare_json(&t));
    return json_finish(root, e);
}

static enum status compare(const struct options *o, struct error *e) {
    struct comparison c = {.o = o};
    if (o->words.count < 2 || !o->out) {
        return error_set(e, ERR_USAGE, "adapt compare: %s is missing (usage: mho adapt compare RECIPE.yaml --out DIR)",
                         o->words.count < 2 ? "the recipe" : "--out");
    }
    enum status s = compare_recipe_read(o->words.items[1], o, &c.recipe, e);
    if (s == OK) {
        s = make_table(&c, e);
    }
    if (s == OK) {
        s = report(&c, e);
    }
    mem_free(c.lines);
    compare_recipe_clear(&c.recipe);
    return s;
}

static const char *const names[] = {"model", "text", "out", NULL};

static const struct option_meaning own[] = {
    {"out", "folder for the table as CSV, Markdown and picture"},
    {"text", "the text file that all rows are measured on"},
    {NULL, NULL},
};

const struct adapt_word adapt_word_compare = {
    "compare", names, compare, "measure a table of models on chips: mho adapt compare RECIPE.yaml", own,
    "example:\n"
    "  mho adapt compare configs/experiments/baselines.yaml --text held-out.txt --out baselines",
};
