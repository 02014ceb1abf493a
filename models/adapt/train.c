/* The loop of training: see train.h. Everything that a step does is a function of (seed, step, state): which sequences
 * it takes, which noise it draws. So a run that goes on from a checkpoint gives the bits of one that never stopped, and
 * so does one with another number of threads.
 *
 * Order of the data: epoch k is a permutation of the training sequences of its own (Fisher-Yates). Batch number
 * b = step x accumulate + its place in the step takes the next `batch` sequences, and is the key of its noise. Batches
 * of validation have keys that no step has, always the same ones, so that validations differ by the weights alone.
 *
 * Several ranks (base/ranks.h) share every batch: each takes some of its sequences, draws the noise of the whole, and
 * the gradients are added up before the step, which all ranks do alike. A run is the same for any number of ranks, but
 * for the rounding of that sum. Rank 0 alone writes and talks. */
#include <math.h>
#include <string.h>

#include "base/gemm.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/ranks.h"
#include "models/adapt/train_internal.h"

static const uint64_t VALIDATION_KEYS = UINT64_C(1) << 63;

/* ---- batches ----------------------------------------------------------------------------------- */

static void order_epoch(struct trainer *t, uint64_t epoch) {
    uint64_t count = data_count(t->o->data, DATA_TRAIN), stream = random_stream(RANDOM_DATA_ORDER, epoch);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t k = (uint64_t)(random_uniform(t->o->seed, stream, i) * (double)(i + 1));
        k = k < i ? k : i;
        t->order[i] = t->order[k];
        t->order[k] = i;
    }
    t->epoch = epoch;
}

static const int32_t *training_sequence(struct trainer *t, uint64_t number) {
    uint64_t count = data_count(t->o->data, DATA_TRAIN);
    if (t->epoch != number / count) {
        order_epoch(t, number / count);
    }
    return data_sequence(t->o->data, DATA_TRAIN, t->order[number % count]);
}

/* Ids of a sequence, and for each the one that follows; below 0: none to be learned. */
static void put_sequence(struct trainer *t, size_t place, const int32_t *ids) {
    int32_t *to = t->ids + place * t->length, *targets = t->targets + place * t->length;
    for (uint32_t i = 0; i < t->length; i++) {
        to[i] = data_id(ids[i]);
    }
    memcpy(targets, ids + 1, (t->length - 1) * sizeof *targets);
    targets[t->length - 1] = -1;
}

/* Sequences of a batch of `count` before those of rank r. */
static uint32_t before_rank(uint32_t count, int r) {
    return (uint32_t)((uint64_t)count * (uint64_t)r / (uint64_t)ranks_count());
}

static struct student_batch batch_of(const struct trainer *t, uint32_t sequences, uint64_t key) {
    return (struct student_batch){.ids = t->ids, .sequences = sequences, .length = t->length, .key = key};
}

/* ---- one step ---------------------------------------------------------------------------------- */

/* The loss of the student's logits, which become their gradient times scale. beta 0: the teacher is not asked. */
static void measure(struct trainer *t, const struct loss_rule *rule, uint32_t sequences, double scale,
                    struct loss *out) {
    distillation_loss(rule, rule->beta > 0 ? student_logits(t->teacher) : NULL, student_logits(t->student), t->targets,
                      (size_t)sequences * t->length, model_shape(t->o->model)->vocabulary, scale, t->loss_of, out);
}

/* Adds `share` of the gradients of this rank's part of a batch. *finite: whether all ranks' losses are. */
static enum status train_pass(struct trainer *t, const struct student_batch *b, double share, struct train_row *row,
                              bool *finite, struct error *e) {
    struct loss_rule rule = {t->r->temperature, t->r->beta};
    struct loss loss;
    TRY(student_forward(t->student, b, STUDENT_TRAIN, e));
    measure(t, &rule, b->sequences, share, &loss);
    double spoilt = (double)loss.not_finite;
    ranks_sum(&spoilt, 1);
    *finite = spoilt == 0;
    if (*finite) {
        student_backward(t->student);
    }
    row->loss += loss.total * share;
    row->divergence += loss.divergence * share;
    row->cross_entropy += loss.cross_entropy * share;
    return OK;
}

/* A gradient is g(e) = g(0) + H e + e T e / 2 + ..., e the noise of weights. Near the teacher H e, of which training
 * learns nothing, is by far the largest part; it cancels between e and -e. */
static enum status train_batch(struct trainer *t, uint64_t number, struct train_row *row, bool *finite,
                               struct error *e) {
    const struct train_recipe *r = t->r;
    uint32_t all = (uint32_t)r->batch, first = before_rank(all, ranks_own());
    uint32_t count = before_rank(all, ranks_own() + 1) - first;
    double share = (double)count / all / r->accumulate;
    int passes = r->mirror ? 2 : 1;
    for (uint32_t i = 0; i < count; i++) {
        put_sequence(t, i, training_sequence(t, number * all + first + i));
    }
    struct student_batch b = batch_of(t, count, number);
    if (t->teacher) {
        TRY(student_forward(t->teacher, &b, STUDENT_PLAIN, e));
    }
    for (int pass = 0; *finite && pass < passes; pass++) {
        b.mirrored = pass > 0;
        TRY(train_pass(t, &b, share / passes, row, finite, e));
    }
    return OK;
}

/* Losses and gradients of all ranks. */
static void add_ranks(struct trainer *t, struct train_row *row, bool finite) {
    double sums[3] = {row->loss, row->divergence, row->cross_entropy};
    ranks_sum(sums, 3);
    row->loss = sums[0];
    row->divergence = sums[1];
    row->cross_entropy = sums[2];
    for (size_t i = 0; finite && i < student_parameter_count(t->student); i++) {
        struct parameter p = student_parameter_at(t->student, i);
        ranks_sum_floats(p.gradient, p.count);
    }
}

/* A step whose numbers are not finite changes no weight. */
static void update(struct trainer *t, bool finite, struct train_row *row) {
    struct train_state *s = &t->state;
    row->norm = finite ? optimiser_gradient_norm(t->optimiser) : (double)NAN;
    if (isfinite(row->norm)) {
        optimiser_step(t->optimiser, row->learning_rate, row->norm);
        student_clip_weights(t->student);
        s->loss = row->loss;
    } else {
        row->loss = row->divergence = row->cross_entropy = row->norm = (double)NAN;
        s->skipped++;
    }
}

/* A loss that is not finite, or twice that of a model which gives all words the same probability. */
static double largest_sane_loss(const struct trainer *t) {
    double beta = t->r->beta, temperature = t->r->temperature;
    return 2 * (beta * temperature * temperature + 1 - beta) * log((double)model_shape(t->o->model)->vocabulary);
}

static bool is_lost(const struct trainer *t, double loss) { return !(loss <= largest_sane_loss(t)); }

static uint64_t lost_in_row(const struct trainer *t) {
    uint64_t first = t->state.steps;
    while (first > 0 && is_lost(t, t->rows[first - 1].loss)) {
        first--;
    }
    return t->state.steps - first;
}

static enum status check_loss(const struct trainer *t, struct error *e) {
    uint64_t lost = lost_in_row(t);
    if (lost == 0 || (lost < (uint64_t)t->r->patience && t->state.steps < t->steps)) {
        return OK;
    }
    return error_set(e, ERR_RUN, "train: step %llu: the run diverges: in %llu steps in a row loss or gradients were "
                     "not finite, or the loss above %.3g nats, twice that of guessing (learning rate %g; allowed: a "
                     "smaller --lr); earlier checkpoints are kept", (unsigned long long)t->state.steps,
                     (unsigned long long)lost, largest_sane_loss(t), t->rows[t->state.steps - 1].learning_rate);
}

static enum status step(struct trainer *t, struct error *e) {
    const struct train_recipe *r = t->r;
    uint64_t number = t->state.steps;
    struct train_row *row = &t->rows[number];
    double start_s = now_s();
    bool finite = true;
    *row = (struct train_row){.learning_rate = learning_rate_at(r, number, t->steps), .validation = (double)NAN,
                              .chip = (double)NAN, .digital = (double)NAN};
    student_clear_gradients(t->student);
    for (int i = 0; finite && i < r->accumulate; i++) {
        TRY(train_batch(t, number * (uint64_t)r->accumulate + (uint64_t)i, row, &finite, e));
    }
    add_ranks(t, row, finite);
    TRY(gemm_check(e));
    update(t, finite, row);
    double took_s = now_s() - start_s;
    t->speeds[number] = (double)t->tokens * r->accumulate / took_s;
    t->train_s += took_s;
    t->state.steps++;
    TRY(gemm_check(e)); /* of Muon */
    return check_loss(t, e);
}

/* ---- validation -------------------------------------------------------------------------------- */

/* Puts this rank's part of validation batch b in place; returns its sequences. */
static uint32_t put_validation(struct trainer *t, uint32_t b) {
    uint32_t batch = (uint32_t)t->r->batch, first = b * batch, rest = t->validation - first;
    uint32_t all = rest < batch ? rest : batch, own = before_rank(all, ranks_own());
    uint32_t count = before_rank(all, ranks_own() + 1) - own;
    for (uint32_t i = 0; i < count; i++) {
        put_sequence(t, i, data_sequence(t->o->data, DATA_VALIDATION, first + own + i));
    }
    return count;
}

static uint32_t validation_batches(const struct trainer *t) {
    uint32_t batch = (uint32_t)t->r->batch;
    return (t->validation + batch - 1) / batch;
}

/* Nats per token of the data, with a rule that asks for both parts of the loss where there is a teacher. */
static enum status validate_batch(struct trainer *t, uint32_t b, struct train_row *row, struct error *e) {
    const struct train_recipe *r = t->r;
    const struct loss_rule both = {r->temperature, t->teacher ? 0.5 : 0}, entropy = {1, 0};
    struct loss noisy, plain;
    uint32_t count = put_validation(t, b);
    struct student_batch batch = batch_of(t, count, VALIDATION_KEYS + b);
    double share = (double)count / t->validation;
    if (count == 0) {
        return OK;
    }
    if (t->teacher) {
        TRY(student_forward(t->teacher, &batch, STUDENT_PLAIN, e));
    }
    TRY(student_forward(t->student, &batch, STUDENT_NOISY, e));
    measure(t, &both, count, 1, &noisy);
    TRY(student_forward(t->student, &batch, STUDENT_PLAIN, e));
    measure(t, &entropy, count, 1, &plain);
    row->validation += share * (r->beta * noisy.divergence + (1 - r->beta) * noisy.cross_entropy);
    row->chip += share * noisy.cross_entropy;
    row->digital += share * plain.cross_entropy;
    return OK;
}

static enum status measure_teacher(struct trainer *t, struct error *e) {
    const struct loss_rule entropy = {1, 0};
    if (!t->teacher || t->validation == 0) {
        return OK;
    }
    t->teacher_nats = 0;
    for (uint32_t b = 0; b < validation_batches(t); b++) {
        struct loss loss;
        uint32_t count = put_validation(t, b);
        struct student_batch batch = batch_of(t, count, 0);
        if (count == 0) {
            continue;
        }
        TRY(student_forward(t->teacher, &batch, STUDENT_PLAIN, e));
        distillation_loss(&entropy, NULL, student_logits(t->teacher), t->targets, (size_t)count * t->length,
                          model_shape(t->o->teacher)->vocabulary, 1, t->loss_of, &loss);
        t->teacher_nats += loss.cross_entropy * count / t->validation;
    }
    ranks_sum(&t->teacher_nats, 1);
    return OK;
}

static void tell(const struct trainer *t, const struct train_row *row) {
    double per_step_s = (now_s() - t->started_s) / (double)(t->state.steps - t->first);
    char left[32] = "";
    if (t->state.steps < t->steps) {
        snprintf(left, sizeof left, ", %.1f min left", per_step_s * (double)(t->steps - t->state.steps) / 60);
    }
    notice("step %llu of %llu: loss %.4f, validation %.4f; nats per token on the chip %.4f, digital %.4f; rate %.3g, "
           "%.0f tokens/s%s", (unsigned long long)t->state.steps, (unsigned long long)t->steps, t->state.loss,
           row->validation, row->chip, row->digital, row->learning_rate, t->speeds[t->state.steps - 1], left);
}

static enum status measure_student(struct trainer *t, struct train_row *row, struct error *e) {
    row->validation = row->chip = row->digital = 0;
    for (uint32_t b = 0; b < validation_batches(t); b++) {
        TRY(validate_batch(t, b, row, e));
    }
    double sums[3] = {row->validation, row->chip, row->digital};
    ranks_sum(sums, 3);
    row->validation = sums[0];
    row->chip = sums[1];
    row->digital = sums[2];
    return OK;
}

/* On a terminal, after every step. */
static void show(const struct trainer *t, struct progress *p) {
    char label[128];
    uint64_t done = t->state.steps;
    snprintf(label, sizeof label, "step %llu of %llu  loss %.4f  rate %.2g  %.0f tokens/s", (unsigned long long)done,
             (unsigned long long)t->steps, t->state.loss, t->rows[done - 1].learning_rate, t->speeds[done - 1]);
    progress_label(p, label);
    progress_update(p, done);
}

/* The model with the least validation loss goes to the folder of the run; one that is lost never. */
static enum status validate(struct trainer *t, struct error *e) {
    struct train_row *row = &t->rows[t->state.steps - 1];
    TRY(measure_student(t, row, e));
    tell(t, row);
    if (!is_lost(t, row->validation) && (t->state.best_step == 0 || row->validation < t->state.best)) {
        t->state.best = row->validation;
        t->state.best_step = t->state.steps;
        TRY(trainer_write_model(t, t->o->out, e));
    }
    return trainer_write_log(t, e);
}

/* ---- the run ----------------------------------------------------------------------------------- */

static bool due(const struct trainer *t, uint64_t every) {
    return t->state.steps == t->steps || t->state.steps % every == 0;
}

static enum status stop(struct trainer *t, struct error *e) {
    TRY(trainer_save(t, e));
    return error_set(e, ERR_RUN, "interrupted: step %llu of %llu is kept, --resume goes on from there",
                     (unsigned long long)t->state.steps, (unsigned long long)t->steps);
}

/* Whether any rank was. */
static bool anyone_interrupted(void) {
    double count = interrupted();
    ranks_sum(&count, 1);
    return count > 0;
}

/* While the run may be lost, the checkpoint before stays. */
static enum status run_step(struct trainer *t, struct progress *p, struct error *e) {
    TRY(step(t, e));
    show(t, p);
    if (t->validation > 0 && due(t, t->validate_every)) {
        TRY(validate(t, e));
    }
    return due(t, t->checkpoint_every) && lost_in_row(t) == 0 ? trainer_save(t, e) : OK;
}

static enum status run(struct trainer *t, struct progress *p, struct error *e) {
    while (t->state.steps < t->steps) {
        TRY(ranks_agree(run_step(t, p, e), e));
        if (anyone_interrupted()) {
            return ranks_agree(stop(t, e), e);
        }
    }
    return OK;
}

/* The last model, where the best one is another. */
static enum status finish(struct trainer *t, struct error *e) {
    TRY(trainer_write_log(t, e));
    if (t->validation == 0) {
        return trainer_write_model(t, t->o->out, e);
    }
    if (t->state.best_step == t->steps) {
        return OK;
    }
    char *path = path_join(t->o->out, "last");
    enum status status = path ? trainer_write_model(t, path, e) : error_set(e, ERR_RUN, "train: out of memory");
    mem_free(path);
    return status;
}

static void summarise(const struct trainer *t, struct train_result *out) {
    const struct train_state *s = &t->state;
    uint64_t per_step = (uint64_t)t->tokens * (uint64_t)t->r->accumulate;
    const struct train_row *best = s->best_step ? &t->rows[s->best_step - 1] : NULL;
    *out = (struct train_result){.steps = s->steps,
                                 .tokens = s->steps * per_step,
                                 .skipped = s->skipped,
                                 .best_step = s->best_step,
                                 .loss = s->loss,
                                 .best_chip = best ? best->chip : (double)NAN,
                                 .best_digital = best ? best->digital : (double)NAN,
                                 .teacher = t->teacher_nats,
                                 .tokens_per_s = (double)((s->steps - t->first) * per_step) / t->train_s};
}

static enum status start(struct trainer *t, struct error *e) {
    if (t->o->resume) {
        return trainer_load(t, e);
    }
    if (trainer_has_checkpoint(t)) {
        return error_set(e, ERR_USAGE, "%s: there is a checkpoint of an earlier run (allowed: --resume goes on with "
                         "it; another folder; or remove it)", t->checkpoint_path);
    }
    return OK;
}

enum status adapt_train(const struct train_options *o, struct train_result *out, struct error *e) {
    struct trainer *t = NULL;
    enum status status = ranks_agree(trainer_create(o, &t, e), e);
    if (status == OK) {
        trainer_choose_products(t);
    }
    status = status == OK ? ranks_agree(trainer_compare(t, e), e) : status;
    status = status == OK ? ranks_agree(start(t, e), e) : status;
    status = status == OK ? ranks_agree(measure_teacher(t, e), e) : status;
    if (status == OK) {
        struct progress *p = progress_create("train", t->steps);
        t->first = t->state.steps;
        t->started_s = now_s();
        status = run(t, p, e);
        progress_destroy(p);
        status = status == OK ? ranks_agree(finish(t, e), e) : status;
        summarise(t, out);
    }
    trainer_destroy(t);
    return status;
}
