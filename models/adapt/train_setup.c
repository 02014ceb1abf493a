/* Making a run of training: see train_internal.h. Weights drawn at random (--from-scratch): matrices and embeddings
 * Gaussian with sd 0.02, those that write to the residual stream 0.02 / sqrt(2 layers) (Radford et al., GPT-2, 2019),
 * norms 1, biases 0. Number i of parameter p is a function of the seed alone. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/ranks.h"
#include "models/adapt/train_internal.h"
#include "models/internal.h"

static const double INITIAL_SD = 0.02;
enum { PARTS_OF_A_RUN = 10, RANGE_BATCHES_MOST = 500 };

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "train: out of memory"); }

/* ---- checks ------------------------------------------------------------------------------------ */

static enum status check_teacher(const struct train_options *o, struct error *e) {
    const struct model_shape *s = model_shape(o->model), *t = model_shape(o->teacher);
    if (o->recipe->beta == 0 || o->teacher == o->model) {
        return OK;
    }
    if (s->vocabulary != t->vocabulary) {
        return error_set(e, ERR_USAGE, "%s: the teacher has %u words in its vocabulary, the student %u (allowed: a "
                         "teacher with the student's vocabulary)", t->path, t->vocabulary, s->vocabulary);
    }
    if (!o->model->tokenizer || !o->teacher->tokenizer) {
        notice("%s: without a tokenizer: taken to have that of %s", o->teacher->tokenizer ? s->path : t->path,
               o->teacher->tokenizer ? t->path : s->path);
        return OK;
    }
    if (data_tokenizer_hash(o->model) != data_tokenizer_hash(o->teacher)) {
        return error_set(e, ERR_USAGE, "%s: the teacher's tokenizer is not that of %s (allowed: the same)", t->path,
                         s->path);
    }
    return OK;
}

/* A run must find the model again that it began with. */
static enum status check_folder(const struct train_options *o, struct error *e) {
    const char *model = model_shape(o->model)->path, *teacher = model_shape(o->teacher)->path;
    if (same_file(o->out, model) || same_file(o->out, teacher)) {
        return error_set(e, ERR_USAGE, "%s: the folder of the model that is trained, or of its teacher (allowed: "
                         "another one)", o->out);
    }
    return model_folder_check(o->out, e);
}

static enum status check_ranks(const struct train_recipe *r, struct error *e) {
    if (r->batch < ranks_count()) {
        return error_set(e, ERR_USAGE,
                         "recipe: batch = %d: %d processes share a batch, each needs a sequence of it (allowed: "
                         "a batch of %d or more, fewer processes)", r->batch, ranks_count(), ranks_count());
    }
    return OK;
}

static enum status check_lengths(const struct train_options *o, struct error *e) {
    const struct model *models[2] = {o->model, o->recipe->beta > 0 ? o->teacher : o->model};
    uint32_t length = data_length(o->data);
    for (int i = 0; i < 2; i++) {
        const struct model_shape *s = model_shape(models[i]);
        if (length > s->context) {
            return error_set(e, ERR_USAGE, "%s: sequences of %u tokens, the model has %u positions (allowed: at most "
                             "these)", s->path, length, s->context);
        }
    }
    if (data_count(o->data, DATA_TRAIN) == 0) {
        return error_set(e, ERR_USAGE, "data: no sequence is left to train on (allowed: more data, or less of it for "
                         "validation)");
    }
    return OK;
}

/* A student that cannot differ from its teacher learns nothing. Without a chip nothing is rounded either. */
static enum status check_purpose(const struct train_options *o, struct error *e) {
    const struct train_recipe *r = o->recipe;
    if (!o->chip && r->weight_bits) {
        return error_set(e, ERR_USAGE, "recipe: weight_bits = %d: --chip none rounds no weights (allowed: 0; a chip, "
                         "whose effects may be off)", r->weight_bits);
    }
    bool same = o->teacher == o->model || data_model_hash(o->teacher) == data_model_hash(o->model);
    if (o->chip || r->from_scratch || r->beta < 1 || !same) {
        return OK;
    }
    return error_set(e, ERR_USAGE, "adapt train: --chip none, and the model is its own teacher: the loss is 0, nothing "
                     "is learned (allowed: a chip; another --teacher; --beta below 1; --from-scratch)");
}

/* ---- weights at random ------------------------------------------------------------------------- */

static double sd_of(const struct model *m, size_t matrix) {
    enum matrix_role role = m->sources[matrix].role;
    bool residual = role == MATRIX_O || role == MATRIX_DOWN;
    return INITIAL_SD / (residual ? sqrt(2.0 * m->shape.layers) : 1);
}

static void draw_weights(struct student *s, const struct model *m, uint64_t seed) {
    size_t matrix = 0;
    for (size_t i = 0; i < student_parameter_count(s); i++) {
        struct parameter p = student_parameter_at(s, i);
        double sd = p.group == PARAMETER_MATRIX      ? sd_of(m, matrix++)
                    : p.group == PARAMETER_EMBEDDING ? INITIAL_SD
                                                     : 0;
        if (sd > 0) {
            random_gaussian_fill(seed, random_stream(RANDOM_INITIAL, i), 0, p.data, p.count);
        }
        for (size_t k = 0; k < p.count; k++) {
            p.data[k] = sd > 0                              ? p.data[k] * (real)sd
                        : p.group == PARAMETER_NORM         ? 1
                        : p.group == PARAMETER_BIAS         ? 0
                                                            : p.data[k];
        }
    }
}

/* ---- creation ---------------------------------------------------------------------------------- */

static uint32_t range_batches(const struct trainer *t) {
    uint64_t all = t->steps * (uint64_t)t->r->accumulate, part = (all + PARTS_OF_A_RUN - 1) / PARTS_OF_A_RUN;
    return t->r->range_batches      ? (uint32_t)t->r->range_batches
           : part < RANGE_BATCHES_MOST ? (uint32_t)part
                                       : RANGE_BATCHES_MOST;
}

/* The decay of a range is added once per pass, and should count once per step. */
static enum status make_rule(struct trainer *t, struct error *e) {
    const struct train_recipe *r = t->r;
    if (!t->o->chip) {
        return OK;
    }
    TRY(student_rule_of_chip(t->o->chip, &t->rule, e));
    t->rule.noise = (enum train_noise)r->noise;
    t->rule.noise_sd = r->gamma;
    t->rule.clip = (enum train_clip)r->clip;
    t->rule.clip_sds = r->clip_sds;
    t->rule.clip_master = r->clip_master;
    t->rule.weight_steps = r->weight_bits ? (1u << (r->weight_bits - 1)) - 1 : 0;
    t->rule.range_sds = r->kappa;
    t->rule.range_batches = range_batches(t);
    t->rule.range_decay = r->range_decay / (r->accumulate * (r->mirror ? 2 : 1));
    t->rule.range_inside = r->range_inside;
    return OK;
}

static enum status set_length_of_run(struct trainer *t, struct error *e) {
    const struct train_recipe *r = t->r;
    t->length = data_length(t->o->data);
    t->tokens = (size_t)r->batch * t->length;
    double per_step = (double)t->tokens * r->accumulate;
    double steps = r->steps ? r->steps : ceil(r->tokens / per_step);
    if (steps > TRAIN_STEPS_MOST) {
        return error_set(e, ERR_USAGE, "recipe: tokens = %g take %.0f steps of %.0f (allowed: %d steps, larger "
                         "batches)", r->tokens, steps, per_step, TRAIN_STEPS_MOST);
    }
    t->steps = (uint64_t)steps;
    uint64_t part = (t->steps + PARTS_OF_A_RUN - 1) / PARTS_OF_A_RUN;
    t->checkpoint_every = r->checkpoint_every ? (uint64_t)r->checkpoint_every : part;
    t->validate_every = r->validate_every ? (uint64_t)r->validate_every : part;
    uint64_t kept = data_count(t->o->data, DATA_VALIDATION);
    t->validation = kept < (uint64_t)r->validation ? (uint32_t)kept : (uint32_t)r->validation;
    return OK;
}

/* What a model brings for a chip was made for its own weights, not for those at random. */
static enum status make_bare(struct trainer *t, struct error *e) {
    const struct model *m = t->o->model;
    if (!t->r->from_scratch) {
        return OK;
    }
    t->bare = mem_alloc(1, sizeof *t->bare + m->matrix_count * sizeof *m->sources);
    if (!t->bare) {
        return no_memory(e);
    }
    *t->bare = *m;
    t->bare->sources = (struct matrix_source *)(void *)(t->bare + 1);
    for (size_t i = 0; i < m->matrix_count; i++) {
        struct matrix_source s = m->sources[i];
        s.input_range = s.adc_range = s.weight_scale = NULL;
        s.side = NULL;
        s.input_range_count = s.devices = 0;
        s.adc_range_count = s.scale_count = 0;
        t->bare->sources[i] = s;
    }
    return OK;
}

static enum status make_students(struct trainer *t, struct error *e) {
    const struct train_options *o = t->o;
    uint32_t ranks = (uint32_t)ranks_count(), part = ((uint32_t)t->r->batch + ranks - 1) / ranks;
    struct student_options so = {.sequences = part, .length = t->length, .trained = true,
                                 .recompute = t->r->recompute, .seed = o->seed,
                                 .compute = (enum compute)t->r->compute};
    TRY(make_bare(t, e));
    TRY(student_create(t->bare ? t->bare : o->model, o->chip, &t->rule, &so, &t->student, e));
    if (t->r->from_scratch) {
        draw_weights(t->student, o->model, o->seed);
    }
    if (t->r->beta > 0) {
        struct student_options to = {.sequences = so.sequences, .length = so.length, .compute = so.compute};
        TRY(student_create(o->teacher, NULL, NULL, &to, &t->teacher, e));
    }
    return optimiser_create(t->student, t->r, &t->optimiser, e);
}

static enum status make_buffers(struct trainer *t, struct error *e) {
    t->ids = mem_alloc(t->tokens, sizeof *t->ids);
    t->targets = mem_alloc(t->tokens, sizeof *t->targets);
    t->loss_of = mem_alloc(t->tokens, 2 * sizeof *t->loss_of);
    t->order = mem_alloc(data_count(t->o->data, DATA_TRAIN), sizeof *t->order);
    t->rows = mem_alloc(t->steps, sizeof *t->rows);
    t->speeds = mem_alloc(t->steps, sizeof *t->speeds);
    t->checkpoint_path = path_join(t->o->out, "checkpoint.bin");
    bool fine = t->ids && t->targets && t->loss_of && t->order && t->rows && t->speeds && t->checkpoint_path;
    return fine ? OK : no_memory(e);
}

static enum status fill(struct trainer *t, struct error *e) {
    TRY(check_ranks(t->r, e));
    TRY(check_teacher(t->o, e));
    TRY(check_lengths(t->o, e));
    TRY(check_purpose(t->o, e));
    TRY(set_length_of_run(t, e));
    TRY(make_rule(t, e));
    TRY(make_buffers(t, e));
    if (ranks_own() == 0) {
        TRY(check_folder(t->o, e));
        TRY(make_directory(t->o->out, e));
    }
    return make_students(t, e);
}

enum status trainer_create(const struct train_options *o, struct trainer **out, struct error *e) {
    *out = NULL;
    struct trainer *t = mem_alloc(1, sizeof *t);
    if (!t) {
        return no_memory(e);
    }
    t->o = o;
    t->r = o->recipe;
    t->epoch = UINT64_MAX;
    t->state.best = t->state.loss = t->teacher_nats = (double)NAN;
    enum status status = fill(t, e);
    if (status != OK) {
        trainer_destroy(t);
        return status;
    }
    *out = t;
    return OK;
}

void trainer_destroy(struct trainer *t) {
    if (!t) {
        return;
    }
    optimiser_destroy(t->optimiser);
    student_destroy(t->student);
    student_destroy(t->teacher);
    mem_free(t->bare);
    mem_free(t->ids);
    mem_free(t->targets);
    mem_free(t->loss_of);
    mem_free(t->order);
    mem_free(t->rows);
    mem_free(t->speeds);
    mem_free(t->checkpoint_path);
    mem_free(t);
}
