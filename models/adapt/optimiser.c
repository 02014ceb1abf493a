/* See optimiser.h. Parameters are cut into pieces of a fixed size, which threads share. */
#include "models/adapt/optimiser.h"

#include <math.h>

#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/muon.h"

enum { PIECE = 1 << 14, LANES = 8 };

struct slot {
    struct parameter p;
    bool muon;
    real *first, *second; /* Muon has no second moment: [1] */
    double decay, rate; /* rate: factor on the learning rate */
};

struct optimiser {
    const struct train_recipe *recipe;
    struct slot *slots;
    size_t count;
    double *sums;          /* [pieces of the largest parameter] */
    real *scratch;         /* of Muon: [threads][scratch_reals] */
    size_t scratch_reals;
    uint64_t steps;
};

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "optimiser: out of memory"); }

/* ---- the schedule ------------------------------------------------------------------------------ */

double learning_rate_at(const struct train_recipe *r, uint64_t step, uint64_t steps) {
    const double pi = 3.14159265358979323846;
    uint64_t warm = (uint64_t)llround(r->warmup * (double)steps);
    if (step < warm) {
        return r->lr * (double)(step + 1) / (double)warm;
    }
    double part = (double)(step - warm) / (double)(steps - warm);
    switch ((enum train_schedule)r->schedule) {
    case SCHEDULE_CONSTANT:
        return r->lr;
    case SCHEDULE_COSINE:
        return r->last_lr + (r->lr - r->last_lr) * 0.5 * (1 + cos(pi * part));
    case SCHEDULE_LINEAR:
        break;
    }
    return r->last_lr + (r->lr - r->last_lr) * (1 - part);
}

/* ---- creation ---------------------------------------------------------------------------------- */

static double decay_of(const struct train_recipe *r, enum parameter_group g) {
    switch (g) {
    case PARAMETER_NORM:
    case PARAMETER_BIAS:
        return r->vector_weight_decay;
    case PARAMETER_INPUT_RANGE:
    case PARAMETER_CLIP:
        return r->range_weight_decay;
    case PARAMETER_MATRIX:
    case PARAMETER_EMBEDDING:
        break;
    }
    return r->weight_decay;
}

static bool fill_slot(struct slot *s, struct parameter p, const struct train_recipe *r) {
    bool range = p.group == PARAMETER_INPUT_RANGE || p.group == PARAMETER_CLIP;
    *s = (struct slot){.p = p, .decay = decay_of(r, p.group), .rate = range ? r->range_lr : 1};
    s->muon = r->optimiser == OPTIMISER_MUON && p.group == PARAMETER_MATRIX;
    s->first = mem_alloc(p.count, sizeof *s->first);
    s->second = mem_alloc(s->muon ? 1 : p.count, sizeof *s->second);
    return s->first && s->second;
}

static size_t pieces_of(size_t count) { return (count + PIECE - 1) / PIECE; }

static bool make_scratch(struct optimiser *o) {
    for (size_t i = 0; i < o->count; i++) {
        const struct slot *s = &o->slots[i];
        size_t reals = s->muon ? muon_scratch_reals(s->p.rows, s->p.columns) : 0;
        o->scratch_reals = reals > o->scratch_reals ? reals : o->scratch_reals;
    }
    o->scratch = o->scratch_reals ? mem_alloc((size_t)threads_count(), o->scratch_reals * sizeof *o->scratch) : NULL;
    return o->scratch_reals == 0 || o->scratch;
}

static enum status fill(struct optimiser *o, const struct student *s, struct error *e) {
    size_t most = 0;
    o->slots = mem_alloc(student_parameter_count(s), sizeof *o->slots);
    for (; o->slots && o->count < student_parameter_count(s); o->count++) {
        struct parameter p = student_parameter_at(s, o->count);
        most = pieces_of(p.count) > most ? pieces_of(p.count) : most;
        if (!fill_slot(&o->slots[o->count], p, o->recipe)) {
            o->count++;
            return no_memory(e);
        }
    }
    o->sums = mem_alloc(most, sizeof *o->sums);
    return o->slots && o->sums && make_scratch(o) ? OK : no_memory(e);
}

enum status optimiser_create(const struct student *s, const struct train_recipe *r, struct optimiser **out,
                             struct error *e) {
    *out = NULL;
    struct optimiser *o = mem_alloc(1, sizeof *o);
    if (!o) {
        return no_memory(e);
    }
    o->recipe = r;
    enum status status = fill(o, s, e);
    if (status != OK) {
        optimiser_destroy(o);
        return status;
    }
    *out = o;
    return OK;
}

void optimiser_destroy(struct optimiser *o) {
    if (!o) {
        return;
    }
    for (size_t i = 0; i < o->count; i++) {
        mem_free(o->slots[i].first);
        mem_free(o->slots[i].second);
    }
    mem_free(o->slots);
    mem_free(o->sums);
    mem_free(o->scratch);
    mem_free(o);
}

uint64_t *optimiser_steps(struct optimiser *o) { return &o->steps; }

size_t optimiser_moments(struct optimiser *o, size_t i, real **first, real **second) {
    *first = o->slots[i].first;
    *second = o->slots[i].second;
    return o->slots[i].muon ? 1 : o->slots[i].p.count;
}

/* ---- the norm ---------------------------------------------------------------------------------- */

struct norm_job { const real *g; size_t count; double *sums; };

static double squares(const real *g, size_t n) {
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += (double)g[i + j] * (double)g[i + j];
        }
    }
    for (; i < n; i++) {
        lane[0] += (double)g[i] * (double)g[i];
    }
    for (size_t j = 0; j < LANES; j++) {
        sum += lane[j];
    }
    return sum;
}

static void norm_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct norm_job *j = context;
    (void)worker;
    for (size_t k = begin; k < end; k++) {
        size_t first = k * PIECE, rest = j->count - first;
        j->sums[k] = squares(j->g + first, rest < PIECE ? rest : PIECE);
    }
}

double optimiser_gradient_norm(struct optimiser *o) {
    double sum = 0;
    for (size_t i = 0; i < o->count; i++) {
        const struct parameter *p = &o->slots[i].p;
        struct norm_job job = {p->gradient, p->count, o->sums};
        parallel_for(pieces_of(p->count), 0, 0, norm_pieces, &job);
        for (size_t k = 0; k < pieces_of(p->count); k++) {
            sum += o->sums[k];
        }
    }
    return sqrt(sum);
}

/* ---- the step ---------------------------------------------------------------------------------- */

struct step_job {
    const struct slot *slot;
    real keep, scale, beta1, beta2, rate, inverse_root, epsilon;
};

/* The arrays are different ones, so that this becomes vector code. */
static void step_elements(const struct step_job *j, const real *restrict g, real *restrict w, real *restrict m,
                          real *restrict v, size_t n) {
    const struct step_job k = *j;
    for (size_t i = 0; i < n; i++) {
        real slope = g[i] * k.scale;
        m[i] = k.beta1 * m[i] + (1 - k.beta1) * slope;
        v[i] = k.beta2 * v[i] + (1 - k.beta2) * slope * slope;
        w[i] = w[i] * k.keep - k.rate * m[i] / (sqrtf(v[i]) * k.inverse_root + k.epsilon);
    }
}

static void step_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct step_job *j = context;
    const struct slot *s = j->slot;
    (void)worker;
    for (size_t k = begin; k < end; k++) {
        size_t first = k * PIECE, rest = s->p.count - first;
        step_elements(j, s->p.gradient + first, s->p.data + first, s->first + first, s->second + first,
                      rest < PIECE ? rest : PIECE);
    }
}

struct muon_job { const struct optimiser *o; double rate, scale; };

static void step_matrices(void *context, size_t begin, size_t end, int worker) {
    const struct muon_job *j = context;
    for (size_t i = begin; i < end; i++) {
        const struct slot *s = &j->o->slots[i];
        const struct muon_step step = {j->rate, 1 - j->rate * s->decay, j->scale};
        if (s->muon) {
            muon_update(&step, s->p.rows, s->p.columns, s->p.gradient, s->first, s->p.data,
                        j->o->scratch + (size_t)worker * j->o->scratch_reals);
        }
    }
}

void optimiser_step(struct optimiser *o, double learning_rate, double norm) {
    const struct train_recipe *r = o->recipe;
    double t = (double)++o->steps, scale = r->max_norm > 0 && norm > r->max_norm ? r->max_norm / norm : 1;
    struct muon_job matrices = {o, learning_rate, scale};
    if (o->scratch) {
        parallel_for(o->count, 1, 0, step_matrices, &matrices);
    }
    for (size_t i = 0; i < o->count; i++) {
        const struct slot *s = &o->slots[i];
        if (s->muon) {
            continue;
        }
        double rate = learning_rate * s->rate;
        struct step_job job = {.slot = s,
                               .keep = (real)(1 - rate * s->decay),
                               .scale = (real)scale,
                               .beta1 = (real)r->beta1,
                               .beta2 = (real)r->beta2,
                               .rate = (real)(rate / (1 - pow(r->beta1, t))),
                               .inverse_root = (real)(1 / sqrt(1 - pow(r->beta2, t))),
                               .epsilon = (real)r->epsilon};
        parallel_for(pieces_of(s->p.count), 0, 0, step_pieces, &job);
    }
}
