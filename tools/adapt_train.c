/* mho adapt train: trains a model for a chip. The work is done in models/adapt/train.c; here the recipe is put together
 * from a file and from options, which have the names of its keys, and the result is printed. */
#include <math.h>
#include <string.h>

#include "base/gemm.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/ranks.h"
#include "tools/command.h"

static const char *const names[] = {
    "model",        "chip", "set",      "out",      "data",      "recipe",      "teacher",     "resume", "from-scratch",
    "steps",        "tokens", "batch",  "length",   "accumulate", "split",      "lr",          "warmup", "schedule",
    "weight-decay", "beta", "temperature", "noise", "gamma",     "clip",        "clip-sds",    "clip-master",
    "weight-bits",  "kappa", "recompute", "checkpoint-every", "validate-every", "gemm", NULL};

/* ---- the recipe -------------------------------------------------------------------------------- */

/* "last_lr" -> "last-lr" */
static void option_of_key(const char *key, char out[64]) {
    snprintf(out, 64, "%s", key);
    for (char *at = out; *at; at++) {
        *at = *at == '_' ? '-' : *at;
    }
}

static enum status put_options(const struct options *o, struct arena *a, struct config_node *map, struct error *e) {
    for (size_t i = 0; i < train_recipe_table.count; i++) {
        const char *key = train_recipe_table.rows[i].key;
        char option[64], where[72];
        option_of_key(key, option);
        const char *text = option_text(o, option);
        if (!text) {
            continue;
        }
        snprintf(where, sizeof where, "--%s", option);
        struct config_node *value = config_new_scalar(a, text, arena_strdup(a, where), 0);
        TRY(value ? config_put(a, map, key, value, e) : error_set(e, ERR_RUN, "--%s: out of memory", option));
    }
    return OK;
}

static enum status read_recipe(const struct options *o, struct arena *a, struct train_recipe *out, struct error *e) {
    struct config_node *map = NULL;
    if (o->recipe) {
        TRY(config_load(a, o->recipe, &map, e));
    } else if (!(map = config_new_map(a, "recipe", 0))) {
        return error_set(e, ERR_RUN, "recipe: out of memory");
    }
    TRY(put_options(o, a, map, e));
    return train_recipe_read(map, a, out, e);
}

/* ---- the result -------------------------------------------------------------------------------- */

static enum status print_json(const struct options *o, const struct chip *c, const struct train_result *r,
                              struct error *e) {
    json_t *root = json_envelope("adapt train", o, c);
    json_put(root, "model", json_string(o->model));
    json_put(root, "folder", json_string(o->out));
    json_put(root, "steps", json_integer((json_int_t)r->steps));
    json_put(root, "tokens", json_integer((json_int_t)r->tokens));
    json_put(root, "skipped", json_integer((json_int_t)r->skipped));
    json_put(root, "loss", json_number(r->loss));
    json_put(root, "best_step", r->best_step ? json_integer((json_int_t)r->best_step) : json_null());
    json_put(root, "chip_nats_per_token", json_number(r->best_chip));
    json_put(root, "digital_nats_per_token", json_number(r->best_digital));
    json_put(root, "teacher_nats_per_token", json_number(r->teacher));
    json_put(root, "tokens_per_s", json_number(r->tokens_per_s));
    json_put(root, "gemm", json_string(gemm()->name));
    return json_finish(root, e);
}

static enum status print(const struct options *o, const struct chip *c, const struct train_result *r,
                         struct error *e) {
    if (ranks_own() != 0) {
        return OK;
    }
    if (o->json) {
        return print_json(o, c, r, e);
    }
    printf("%s: %llu steps, %llu tokens, last loss %.4f\n", o->out, (unsigned long long)r->steps,
           (unsigned long long)r->tokens, r->loss);
    if (r->skipped) {
        printf("%llu steps were not finite and were skipped\n", (unsigned long long)r->skipped);
    }
    if (r->best_step) {
        printf("best after step %llu, validation in nats per token: %.4f on the noisy chip, %.4f digital",
               (unsigned long long)r->best_step, r->best_chip, r->best_digital);
        printf(isfinite(r->teacher) ? "; the teacher has %.4f\n" : "\n", r->teacher);
    }
    return finish_output(e);
}

/* ---- the command ------------------------------------------------------------------------------- */

struct inputs {
    struct model *model, *teacher; /* teacher NULL: the model */
    struct chip *chip;
    struct data *data;
};

static enum status open_inputs(const struct options *o, const struct train_recipe *r, struct inputs *in,
                               struct error *e) {
    struct data_options d = {.length = (uint32_t)r->length, .split = r->split};
    TRY(open_model(o, &in->model, e));
    if (o->teacher) {
        TRY(model_open(o->teacher, &in->teacher, e));
    }
    TRY(open_chip(o, &in->chip, e));
    if (!in->chip && model_is_for_chip(in->model)) {
        notice("%s: side paths, ranges and scales for a chip are left out: --chip none trains without them", o->model);
    }
    return data_open(o->data.items, o->data.count, in->model, &d, &in->data, e);
}

static void close_inputs(struct inputs *in) {
    data_close(in->data);
    chip_destroy(in->chip);
    model_close(in->teacher);
    model_close(in->model);
}

static enum status train_with(const struct options *o, const struct train_recipe *r, struct error *e) {
    struct inputs in = {.model = NULL};
    struct train_result result;
    enum status s = ranks_agree(open_inputs(o, r, &in, e), e);
    if (s == OK) {
        struct train_options t = {.model = in.model, .teacher = in.teacher ? in.teacher : in.model, .chip = in.chip,
                                  .data = in.data, .recipe = r, .seed = o->seed, .out = o->out, .resume = o->resume,
                                  .library_named = o->gemm != NULL};
        s = adapt_train(&t, &result, e);
    }
    s = s == OK ? print(o, in.chip, &result, e) : s;
    close_inputs(&in);
    return s;
}

static enum status read_all(const struct options *o, struct arena *a, struct train_recipe *r, struct error *e) {
    if (!o->out || o->data.count == 0) {
        return error_set(e, ERR_USAGE, "adapt train: --%s is missing (needed: --out DIR --data FILE)",
                         o->out ? "data" : "out");
    }
    TRY(a ? read_recipe(o, a, r, e) : error_set(e, ERR_RUN, "adapt train: out of memory"));
    if (o->teacher && r->beta == 0) {
        return error_set(e, ERR_USAGE, "--teacher %s: not asked, beta is 0 (allowed: --beta above 0)", o->teacher);
    }
    return OK;
}

static enum status train(const struct options *o, struct error *e) {
    struct train_recipe r;
    TRY(ranks_join(e));
    if (ranks_own() != 0) {
        progress_set_quiet(true);
    }
    struct arena *a = arena_create();
    enum status s = ranks_agree(read_all(o, a, &r, e), e);
    s = s == OK ? train_with(o, &r, e) : s;
    arena_destroy(a);
    return s;
}

static const struct option_meaning own[] = {
    {"data", "data file of generate, or text, to train on; repeatable"},
    {"out", "folder for model, checkpoint, train.csv and report.html"},
    {"tokens", "tokens to train on; or --steps"},
    {"batch", "sequences at once, of all processes of mpirun together (default: 4)"},
    {"length", "tokens per sequence (default: as the data files have them, text 256)"},
    {"split", "share of text files that is kept for validation (default: 0.01)"},
    {"temperature", "of the distillation (default: 1)"},
    {NULL, NULL},
};

const struct adapt_word adapt_word_train = {
    "train", names, train, "train a model for a chip; all keys of --recipe: docs/adaptation.md", own,
    "examples:\n"
    "  mho adapt train --model stories --chip afm --data own.mhodata --tokens 1000000 --lr 1e-4 --out adapted\n"
    "  mho adapt train --model stories --chip afm --data own.mhodata --tokens 1000000 --lr 1e-4 --out adapted "
    "--resume\n"
    "  mpirun -n 4 mho adapt train --batch 16 --chip afm --data own.mhodata --tokens 1000000 --out adapted",
};
