/* The files of a run of training: checkpoint, model folder, train.csv, report.html (train.h says what they are). */
#include <math.h>
#include <string.h>

#include "base/gemm.h"
#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/ranks.h"
#include "base/svg.h"
#include "models/adapt/checkpoint.h"
#include "models/adapt/train_internal.h"
#include "models/internal.h"

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "train: out of memory"); }

/* ---- the checkpoint ---------------------------------------------------------------------------- */

/* The effective recipe as a tree. */
static struct config_node *recipe_tree(const struct train_recipe *r, struct arena *a, struct error *e) {
    struct config_node *map = config_new_map(a, "recipe", 0);
    return map && params_dump(&train_recipe_table, r, "", a, map, e) == OK ? map : NULL;
}

static enum status recipe_hash(const struct train_recipe *r, uint64_t *hash, struct error *e) {
    struct arena *a = arena_create();
    struct config_node *map = a ? recipe_tree(r, a, e) : NULL;
    *hash = map ? config_hash(map) : 0;
    arena_destroy(a);
    return map ? OK : no_memory(e);
}

static uint64_t library_hash(const char *name) { return data_hash_bytes(0, name, strlen(name)); }

enum { LIBRARY_IDENTITY = 8 };

static enum status identify(const struct trainer *t, struct checkpoint_identity out[IDENTITIES], struct error *e) {
    const struct train_options *o = t->o;
    uint64_t recipe;
    bool bf16 = t->r->compute == COMPUTE_BF16;
    const char *name = kernels()->name, *compute = bf16 ? "bf16" : "fp32";
    const char *version = gemm()->version;
    TRY(recipe_hash(t->r, &recipe, e));
    const struct checkpoint_identity all[IDENTITIES] = {
        {bf16 ? "compute type than bf16" : "compute type than fp32",
         data_hash_bytes(0, compute, strlen(compute))},
        {"recipe", recipe},
        {"seed", o->seed},
        {"model", data_model_hash(o->model)},
        {"teacher", t->teacher ? data_model_hash(o->teacher) : 0},
        {"chip", o->chip ? chip_hash(o->chip) : 0},
        {"set of data", data_hash(o->data)},
        {"kernel, which rounds otherwise", data_hash_bytes(0, name, strlen(name))},
        [LIBRARY_IDENTITY] = {"library for products (--gemm), which rounds otherwise", library_hash(gemm()->name)},
        {"release of the library for products, or processor for it", data_hash_bytes(0, version, strlen(version))},
        {"length of a row", sizeof(struct train_row)},
    };
    memcpy(out, all, sizeof all);
    return OK;
}

/* All arrays of the run; mem_free(blocks). */
static enum status list_blocks(const struct trainer *t, struct checkpoint_block **blocks, size_t *count,
                               struct error *e) {
    size_t parameters = student_parameter_count(t->student), ranges;
    uint32_t *range_state = student_range_state(t->student, &ranges);
    struct checkpoint_block *b = mem_alloc(3 * parameters + 4, sizeof *b);
    *blocks = b;
    if (!b) {
        return no_memory(e);
    }
    *b++ = (struct checkpoint_block){(void *)&t->state, sizeof t->state};
    *b++ = (struct checkpoint_block){t->rows, t->steps * sizeof *t->rows};
    *b++ = (struct checkpoint_block){optimiser_steps(t->optimiser), sizeof(uint64_t)};
    *b++ = (struct checkpoint_block){range_state, ranges * sizeof *range_state};
    for (size_t i = 0; i < parameters; i++) {
        struct parameter p = student_parameter_at(t->student, i);
        real *first, *second;
        size_t seconds = optimiser_moments(t->optimiser, i, &first, &second);
        *b++ = (struct checkpoint_block){p.data, p.count * sizeof *p.data};
        *b++ = (struct checkpoint_block){first, p.count * sizeof *first};
        *b++ = (struct checkpoint_block){second, seconds * sizeof *second};
    }
    *count = (size_t)(b - *blocks);
    return OK;
}

static enum status with_checkpoint(const struct trainer *t,
                                   enum status (*act)(const char *path, const struct checkpoint *c, struct error *e),
                                   struct error *e) {
    struct checkpoint_identity identities[IDENTITIES];
    struct checkpoint_block *blocks;
    struct checkpoint c = {.identities = identities, .identity_count = IDENTITIES};
    TRY(identify(t, identities, e));
    TRY(list_blocks(t, &blocks, &c.block_count, e));
    c.blocks = blocks;
    enum status status = act(t->checkpoint_path, &c, e);
    mem_free(blocks);
    return status;
}

bool trainer_has_checkpoint(const struct trainer *t) { return ranks_own() == 0 && file_exists(t->checkpoint_path); }

/* Of this machine; NULL: it has none with that hash. */
static const struct gemm *library_with(uint64_t hash) {
    const struct gemm *all[8], *found = NULL;
    size_t count = gemm_available(all, sizeof all / sizeof all[0]);
    for (size_t i = 0; i < count && !found; i++) {
        found = library_hash(all[i]->name) == hash ? all[i] : NULL;
    }
    return found;
}

void trainer_choose_products(const struct trainer *t) {
    uint64_t wanted = library_hash(gemm()->name);
    if (t->o->resume && ranks_own() == 0) {
        uint64_t before = checkpoint_identity_at(t->checkpoint_path, LIBRARY_IDENTITY);
        wanted = library_with(before) ? before : wanted;
    }
    ranks_copy(&wanted, sizeof wanted);
    const struct gemm *library = t->o->library_named ? NULL : library_with(wanted);
    if (library) {
        gemm_select(library->name);
    }
}

enum status trainer_compare(const struct trainer *t, struct error *e) {
    struct checkpoint_identity own[IDENTITIES];
    TRY(identify(t, own, e));
    for (size_t i = 0; i < IDENTITIES; i++) {
        uint64_t first = own[i].hash;
        ranks_copy(&first, sizeof first);
        if (first != own[i].hash) {
            return error_set(e, ERR_USAGE, "train: another %s than that of process 0 (allowed: the same for all)",
                             own[i].what);
        }
    }
    return OK;
}

/* Rank 0 alone needs the file. */
static enum status read_for_all(const char *path, const struct checkpoint *c, struct error *e) {
    TRY(ranks_agree(ranks_own() == 0 ? checkpoint_read(path, c, e) : OK, e));
    for (size_t i = 0; i < c->block_count; i++) {
        ranks_copy(c->blocks[i].data, c->blocks[i].bytes);
    }
    return OK;
}

enum status trainer_load(struct trainer *t, struct error *e) { return with_checkpoint(t, read_for_all, e); }

enum status trainer_save(struct trainer *t, struct error *e) {
    if (ranks_own() == 0 && with_checkpoint(t, checkpoint_write, e) != OK) {
        return error_prefix(e, "checkpoint of step %llu (the one before is untouched)",
                            (unsigned long long)t->state.steps);
    }
    return OK;
}

/* ---- the model --------------------------------------------------------------------------------- */

static json_t *validation_json(const struct trainer *t) {
    json_t *out = json_object();
    const struct train_row *row = &t->rows[t->state.steps - 1];
    if (isfinite(row->validation)) {
        json_object_set_new(out, "loss", json_real(row->validation));
        json_object_set_new(out, "chip_nats_per_token", json_real(row->chip));
        json_object_set_new(out, "digital_nats_per_token", json_real(row->digital));
    }
    return out;
}

/* How the model was made; mem_free. The same for a run that was interrupted. */
static enum status describe(const struct trainer *t, char **text, struct error *e) {
    struct arena *a = arena_create();
    struct config_node *recipe = a ? recipe_tree(t->r, a, e) : NULL;
    json_t *root = json_object();
    json_object_set_new(root, "command", json_string("adapt train"));
    json_object_set_new(root, "recipe", recipe ? config_json(recipe) : json_null());
    json_object_set_new(root, "seed", json_integer((json_int_t)t->o->seed));
    json_object_set_new(root, "step", json_integer((json_int_t)t->state.steps));
    json_object_set_new(root, "tokens",
                        json_integer((json_int_t)(t->state.steps * t->tokens * (uint64_t)t->r->accumulate)));
    json_object_set_new(root, "validation", validation_json(t));
    if (!t->r->from_scratch) {
        json_object_set_new(root, "before", model_made_how(t->o->model));
    }
    size_t bytes = json_dumpb(root, NULL, 0, JSON_COMPACT | JSON_REAL_PRECISION(17));
    *text = recipe ? mem_alloc(bytes + 1, 1) : NULL;
    if (*text) {
        json_dumpb(root, *text, bytes, JSON_COMPACT | JSON_REAL_PRECISION(17));
    }
    json_decref(root);
    arena_destroy(a);
    return *text ? OK : no_memory(e);
}

/* Learned clips are in the weights already. */
static size_t list_parts(struct trainer *t, struct model_part *parts) {
    size_t count = 0;
    for (size_t i = 0; i < student_parameter_count(t->student); i++) {
        struct parameter p = student_parameter_at(t->student, i);
        if (p.group != PARAMETER_CLIP) {
            parts[count++] = (struct model_part){p.name, student_deployed(t->student, i), p.count};
        }
    }
    return count;
}

enum status trainer_write_model(struct trainer *t, const char *path, struct error *e) {
    if (ranks_own() != 0) {
        return OK;
    }
    struct model_changes c = {.type = TENSOR_F32, .chip = t->o->chip,
                              .forget_chip = t->r->from_scratch || !t->o->chip};
    struct model_part *parts = mem_alloc(student_parameter_count(t->student), sizeof *parts);
    char *text = NULL;
    enum status status = parts ? describe(t, &text, e) : no_memory(e);
    if (status == OK) {
        c.parts = parts;
        c.part_count = list_parts(t, parts);
        c.adapt = text;
        status = model_write_folder(t->o->model, &c, path, e);
    }
    mem_free(text);
    mem_free(parts);
    return status;
}

/* ---- train.csv --------------------------------------------------------------------------------- */

static const struct { const char *name; size_t offset; } columns[] = {
    {"loss", offsetof(struct train_row, loss)},
    {"divergence", offsetof(struct train_row, divergence)},
    {"cross_entropy", offsetof(struct train_row, cross_entropy)},
    {"gradient_norm", offsetof(struct train_row, norm)},
    {"learning_rate", offsetof(struct train_row, learning_rate)},
    {"validation_loss", offsetof(struct train_row, validation)},
    {"chip_nats_per_token", offsetof(struct train_row, chip)},
    {"digital_nats_per_token", offsetof(struct train_row, digital)},
};
enum { COLUMNS = sizeof columns / sizeof columns[0], LOSS = 0, RATE = 4, VALIDATION = 5, CHIP = 6, DIGITAL = 7 };

static double cell(const struct train_row *row, size_t column) {
    double value;
    memcpy(&value, (const char *)row + columns[column].offset, sizeof value);
    return value;
}

/* What is not known is an empty cell. */
static void write_cell(double value, FILE *f) {
    char text[32] = "";
    if (isfinite(value)) {
        format_double(value, text);
    }
    fprintf(f, ",%s", text);
}

static void write_csv(const struct trainer *t, FILE *f) {
    fputs("step,tokens", f);
    for (size_t c = 0; c < COLUMNS; c++) {
        fprintf(f, ",%s", columns[c].name);
    }
    fputs(",tokens_per_s\n", f);
    for (uint64_t i = 0; i < t->state.steps; i++) {
        fprintf(f, "%llu,%llu", (unsigned long long)(i + 1),
                (unsigned long long)((i + 1) * t->tokens * (uint64_t)t->r->accumulate));
        for (size_t c = 0; c < COLUMNS; c++) {
            write_cell(cell(&t->rows[i], c), f);
        }
        write_cell(t->speeds[i] > 0 ? t->speeds[i] : (double)NAN, f);
        fputc('\n', f);
    }
}

/* ---- report.html ------------------------------------------------------------------------------- */

struct curves { double *steps, *values; }; /* [steps], [COLUMNS][steps] */

/* Only what is known: a line goes from validation to validation. */
static struct svg_series curve(const struct trainer *t, const struct curves *all, size_t column, const char *label,
                               int colour) {
    double *x = all->steps + column * t->state.steps, *y = all->values + column * t->state.steps;
    size_t n = 0;
    for (uint64_t i = 0; i < t->state.steps; i++) {
        double value = cell(&t->rows[i], column);
        if (isfinite(value)) {
            x[n] = (double)(i + 1);
            y[n++] = value;
        }
    }
    return (struct svg_series){.kind = SVG_LINE, .label = label, .x = x, .y = y, .n = n, .colour = colour};
}

static void add_curve(struct svg_chart *chart, struct svg_series s) {
    if (s.n > 0) {
        svg_add(chart, s);
    }
}

static void write_facts(const struct trainer *t, FILE *f) {
    const struct train_state *s = &t->state;
    fprintf(f, "<p>%llu of %llu steps of %llu tokens; %llu were not finite and were skipped.</p>\n",
            (unsigned long long)s->steps, (unsigned long long)t->steps,
            (unsigned long long)(t->tokens * (uint64_t)t->r->accumulate), (unsigned long long)s->skipped);
    if (s->best_step) {
        const struct train_row *best = &t->rows[s->best_step - 1];
        fprintf(f, "<p>Best after step %llu: validation loss %.4f; %.4f nats per token on the noisy chip, %.4f digital",
                (unsigned long long)s->best_step, best->validation, best->chip, best->digital);
        if (isfinite(t->teacher_nats)) {
            fprintf(f, "; the teacher has %.4f", t->teacher_nats);
        }
        fputs(".</p>\n", f);
    }
}

static enum status write_page(const struct trainer *t, const struct curves *all, FILE *f, struct error *e) {
    struct svg_chart charts[3] = {{.title = "Loss", .x.label = "step", .y.label = "loss (nats)"}};
    size_t count = 1;
    add_curve(&charts[0], curve(t, all, LOSS, "training", 0));
    add_curve(&charts[0], curve(t, all, VALIDATION, "validation, noisy chip", 1));
    struct svg_series chip = curve(t, all, CHIP, "noisy chip", 1), digital = curve(t, all, DIGITAL, "digital", 2);
    if (chip.n > 0) {
        charts[count] = (struct svg_chart){.title = "Validation text", .x.label = "step",
                                           .y.label = "nats per token"};
        svg_add(&charts[count], chip);
        svg_add(&charts[count++], digital);
    }
    charts[count] = (struct svg_chart){.title = "Learning rate", .x.label = "step", .y.label = "learning rate"};
    svg_add(&charts[count++], curve(t, all, RATE, NULL, 3));
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mho adapt train</title>\n"
          "<style>body{font-family:Helvetica,Arial,sans-serif;max-width:46em;margin:2em auto;color:#222}"
          "svg{max-width:100%;height:auto}</style></head><body>\n<h1>Training</h1>\n", f);
    write_facts(t, f);
    bool any = charts[0].count > 0; /* every step may have been skipped */
    TRY(svg_write(charts + !any, count - !any, f, e));
    fputs("</body></html>\n", f);
    return OK;
}

static enum status write_report(const struct trainer *t, FILE *f, struct error *e) {
    struct curves all = {mem_alloc(t->state.steps, COLUMNS * sizeof(double)),
                         mem_alloc(t->state.steps, COLUMNS * sizeof(double))};
    enum status status = all.steps && all.values ? write_page(t, &all, f, e) : no_memory(e);
    mem_free(all.steps);
    mem_free(all.values);
    return status;
}

/* ---- both -------------------------------------------------------------------------------------- */

static enum status open_output(const struct trainer *t, const char *name, struct output **out, struct error *e) {
    char *path = path_join(t->o->out, name);
    enum status status = path ? output_create(path, out, e) : no_memory(e);
    mem_free(path);
    return status;
}

enum status trainer_write_log(const struct trainer *t, struct error *e) {
    struct output *o;
    if (ranks_own() != 0) {
        return OK;
    }
    TRY(open_output(t, "train.csv", &o, e));
    write_csv(t, output_stream(o));
    TRY(output_commit(o, e));
    TRY(open_output(t, "report.html", &o, e));
    enum status status = write_report(t, output_stream(o), e);
    if (status != OK) {
        output_abort(o);
        return status;
    }
    return output_commit(o, e);
}
