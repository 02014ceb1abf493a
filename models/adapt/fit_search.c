/* Ranges by measurement: the last step of mho adapt fit.
 *
 * What fit_ranges.c minimises is an estimate: it takes errors of different inputs as independent but for their means,
 * and the loss as quadratic. So three numbers are tried out on the noisy chip, on windows of the text that nothing
 * else was chosen on: a factor of all input ranges, one more for those of the head, a factor of all ADC limits. One
 * after the other each goes up by steps of sqrt(2) while the nats per token fall, or else down. Every trial has the
 * same windows and the same noise, so that differences are not chance of the chip; those of the text are, and a factor
 * that saves less than LEAST is not taken.
 *
 * Where a matrix has more devices per weight than the chip's own number, the best is measured without them, too. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_internal.h"
#include "models/adapt/student_loss.h"

enum { STEPS = 3 };
static const double LEAST = 5e-4; /* nats per token */

struct search {
    const struct model *model;
    struct fit_statistics *statistics;
    const struct sensitivity_text *text;
    struct student *student;
    int32_t *targets;  /* [length] */
    double *loss;      /* [length][2] */
    struct fit_trials *trials;
};

static void apply(const struct search *s, const double factor[FIT_FACTORS]) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        struct fit_statistics *f = &s->statistics[i];
        struct analog_layer *l = &s->student->matrices[i];
        double inputs = factor[FIT_INPUTS] * (s->model->sources[i].role == MATRIX_HEAD ? factor[FIT_HEAD] : 1);
        for (uint32_t k = 0; k < f->blocks * l->outputs; k++) {
            uint32_t b = k / l->outputs;
            double lambda = factor[FIT_OUTPUTS] * (double)f->limits[b] / (inputs * (double)f->ranges[b]);
            f->adc[k] = (float)(lambda * (double)f->largest[k]);
        }
        for (uint32_t b = 0; b < f->blocks; b++) {
            l->range[b] = (float)(inputs * (double)f->ranges[b]);
        }
    }
}

/* Mean nats per token over the windows. */
static enum status nats_of(const struct search *s, double *out, struct error *e) {
    const struct sensitivity_text *t = s->text;
    const struct loss_rule rule = {.temperature = 1};
    *out = 0;
    for (size_t w = 0; w < t->windows; w++) {
        struct student_batch batch = {.ids = t->ids + w * t->length, .sequences = 1, .length = t->length, .key = w};
        struct loss loss;
        TRY(student_forward(s->student, &batch, STUDENT_NOISY, e));
        memcpy(s->targets, batch.ids + 1, (t->length - 1) * sizeof *s->targets);
        s->targets[t->length - 1] = -1;
        distillation_loss(&rule, NULL, student_logits(s->student), s->targets, t->length, s->model->shape.vocabulary, 1,
                          s->loss, &loss);
        if (loss.not_finite) {
            return error_set(e, ERR_RUN, "adapt fit: logits that are not finite");
        }
        *out += loss.cross_entropy / (double)t->windows;
        TRY(check_interrupted(e));
    }
    return OK;
}

static enum status try_factors(struct search *s, const double factor[FIT_FACTORS], double *nats, struct error *e) {
    struct fit_trial *trial = &s->trials->at[s->trials->count++];
    apply(s, factor);
    TRY(nats_of(s, nats, e));
    memcpy(trial->factor, factor, sizeof trial->factor);
    trial->nats = *nats;
    return OK;
}

/* One factor up or down as long as it helps. */
static enum status walk(struct search *s, double factor[FIT_FACTORS], size_t which, double step, double *least,
                        struct error *e) {
    for (int k = 0; k < STEPS; k++) {
        double nats, before = factor[which];
        factor[which] *= step;
        TRY(try_factors(s, factor, &nats, e));
        if (!(nats < *least - LEAST)) {
            factor[which] = before;
            return OK;
        }
        *least = nats;
    }
    return OK;
}

static enum status search_factors(struct search *s, struct error *e) {
    double factor[FIT_FACTORS] = {1, 1, 1}, least;
    TRY(try_factors(s, factor, &least, e));
    for (size_t which = 0; which < FIT_FACTORS; which++) {
        TRY(walk(s, factor, which, sqrt(2), &least, e));
        if (factor[which] == 1) {
            TRY(walk(s, factor, which, sqrt(0.5), &least, e));
        }
    }
    apply(s, factor);
    memcpy(s->trials->best, factor, sizeof factor);
    s->trials->nats = least;
    return OK;
}

/* The same with the chip's own number of devices per weight. */
static enum status try_own_devices(struct search *s, struct error *e) {
    size_t count = s->model->matrix_count;
    for (size_t i = 0; i < count; i++) {
        s->student->matrices[i].cell_noise = 1;
    }
    return nats_of(s, &s->trials->own_devices_nats, e);
}

static bool more_devices(const struct search *s) {
    bool any = false;
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        any = any || s->statistics[i].devices > 0;
    }
    return any;
}

/* What was found becomes the ranges. */
static void keep(const struct search *s) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        for (uint32_t b = 0; b < s->statistics[i].blocks; b++) {
            s->statistics[i].ranges[b] = s->student->matrices[i].range[b];
            s->statistics[i].limits[b] *= (float)s->trials->best[FIT_OUTPUTS];
        }
    }
}

enum status fit_search(const struct model *m, const struct chip *c, struct side_path *const *sides,
                       const struct sensitivity_text *text, struct fit_statistics *f, struct fit_trials *out,
                       struct error *e) {
    const struct student_options options = {.sequences = 1, .length = text->length, .seed = text->seed};
    struct search s = {.model = m, .statistics = f, .text = text, .trials = out};
    struct analog_rule rule;
    *out = (struct fit_trials){0};
    TRY(student_rule_of_chip(c, &rule, e));
    rule.noise = TRAIN_NOISE_CELL;
    rule.clip = TRAIN_CLIP_NONE;
    struct matrix_source *sources = mem_alloc(m->matrix_count, sizeof *sources);
    s.targets = mem_alloc(text->length, sizeof *s.targets);
    s.loss = mem_alloc(text->length, 2 * sizeof *s.loss);
    enum status status = sources && s.targets && s.loss ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
    if (status == OK) {
        const struct model copy = fit_adapted(m, sides, f, sources);
        status = student_create(&copy, c, &rule, &options, &s.student, e);
        status = status == OK ? search_factors(&s, e) : status;
        status = status == OK && more_devices(&s) ? try_own_devices(&s, e) : status;
    }
    if (status == OK) {
        keep(&s);
    }
    student_destroy(s.student);
    mem_free(s.loss);
    mem_free(s.targets);
    mem_free(sources);
    return status;
}
