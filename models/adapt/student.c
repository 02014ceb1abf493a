/* The student's forward and backward pass: see student.h. The same equations as models/transformer.c, which is the
 * reference for STUDENT_PLAIN.
 *
 * Backward of a layer, with dx the gradient of its output:
 *   MLP        d_activated = down'(dx);  d_gate_up = swiglu'(d_activated);  dx += norm'(gate'(..) + up'(..))
 *   attention  d_attended = o'(dx);  d_qkv = attention'(..), turned back, head norms;  dx += norm'(q' + k' + v') */
#include "models/adapt/student_internal.h"

#include <string.h>

#include "base/gemm.h"
#include "base/threads.h"

/* ---- forward ----------------------------------------------------------------------------------- */

static void multiply(struct student *s, struct analog_layer *m, const real *x, real *y, size_t ldy) {
    analog_layer_forward(m, &s->work, &s->pass, x, y, ldy);
}

static size_t width_of_q(const struct student *s) { return (size_t)s->shape->heads * s->shape->head_dim; }
static size_t width_of_k(const struct student *s) { return (size_t)s->shape->kv_heads * s->shape->head_dim; }
static size_t width_of_qkv(const struct student *s) { return width_of_q(s) + 2 * width_of_k(s); }

static struct vectors whole_rows(const struct student *s) {
    return (struct vectors){s->pass.tokens, s->shape->hidden, 1, s->shape->hidden};
}

static struct vectors heads_of(const struct student *s, size_t heads, size_t ld) {
    return (struct vectors){s->pass.tokens * heads, s->shape->head_dim, heads, ld};
}

static struct attention attention_of(const struct student *s, size_t layer) {
    const struct shape *p = s->shape;
    return (struct attention){.sequences = s->pass.tokens / s->pass.length,
                              .length = s->pass.length,
                              .heads = p->heads,
                              .kv_heads = p->kv_heads,
                              .head_dim = p->head_dim,
                              .window = p->window[layer],
                              .ld = width_of_qkv(s),
                              .scale = (real)p->attention_scale};
}

static void rotate(const struct student *s, real *qkv, bool back) {
    const struct shape *p = s->shape;
    int set = p->rope.original_context && s->pass.length > p->rope.original_context ? 1 : 0;
    rotary_turn(&p->rope, &s->rope[set], s->pass.tokens, s->pass.length, p->heads + p->kv_heads, p->head_dim, back, qkv,
                width_of_qkv(s));
}

static void project_qkv(struct student *s, const struct student_layer *l, const real *x, real *qkv) {
    size_t ld = width_of_qkv(s);
    if (l->qkv) {
        multiply(s, l->qkv, x, qkv, ld);
        return;
    }
    multiply(s, l->q, x, qkv, ld);
    multiply(s, l->k, x, qkv + width_of_q(s), ld);
    multiply(s, l->v, x, qkv + width_of_q(s) + width_of_k(s), ld);
}

/* Norms of the heads of q and k (Qwen3); what they were before is kept. */
static void normalise_heads(const struct student *s, const struct student_layer *l, struct layer_stash *st) {
    size_t ld = width_of_qkv(s), kept = width_of_q(s) + width_of_k(s), Q = width_of_q(s);
    if (!l->q_norm.weight) {
        return;
    }
    for (size_t t = 0; t < s->pass.tokens; t++) {
        memcpy(st->raw + t * kept, st->qkv + t * ld, kept * sizeof *st->raw);
    }
    rms_norm_forward(heads_of(s, s->shape->heads, ld), st->qkv, l->q_norm.weight, s->shape->norm_eps, st->qkv);
    rms_norm_forward(heads_of(s, s->shape->kv_heads, ld), st->qkv + Q, l->k_norm.weight, s->shape->norm_eps,
                     st->qkv + Q);
}

struct sum_job { const real *a, *b; real *out; size_t width; };

static void add_rows(void *context, size_t begin, size_t end, int worker) {
    const struct sum_job *j = context;
    (void)worker;
    for (size_t i = begin * j->width; i < end * j->width; i++) {
        j->out[i] = j->a[i] + j->b[i];
    }
}

/* out = a + b, [T][D] */
static void add(const struct student *s, const real *a, const real *b, real *out) {
    struct sum_job job = {a, b, out, s->shape->hidden};
    parallel_for(s->pass.tokens, 0, 0, add_rows, &job);
}

static void forward_layer(struct student *s, size_t layer, struct layer_stash *st, real *out) {
    const struct student_layer *l = &s->layers[layer];
    struct attention a = attention_of(s, layer);
    size_t Q = width_of_q(s), KV = width_of_k(s), F = s->shape->intermediate;
    const real *x = s->inputs[layer];
    rms_norm_forward(whole_rows(s), x, l->attention_norm.weight, s->shape->norm_eps, st->normed);
    project_qkv(s, l, st->normed, st->qkv);
    normalise_heads(s, l, st);
    rotate(s, st->qkv, false);
    attention_forward(&a, st->qkv, st->qkv + Q, st->qkv + Q + KV, st->attended, s->work.scratch,
                      s->work.scratch_reals);
    multiply(s, l->o, st->attended, s->block, s->shape->hidden);
    add(s, x, s->block, st->middle);

    rms_norm_forward(whole_rows(s), st->middle, l->mlp_norm.weight, s->shape->norm_eps, st->normed2);
    if (l->gate_up) {
        multiply(s, l->gate_up, st->normed2, st->gate_up, 2 * F);
    } else {
        multiply(s, l->gate, st->normed2, st->gate_up, 2 * F);
        multiply(s, l->up, st->normed2, st->gate_up + F, 2 * F);
    }
    swiglu_forward(st->gate_up, s->pass.tokens, F, st->activated);
    if (out) { /* else this is the pass again, and nobody needs the rest */
        multiply(s, l->down, st->activated, s->block, s->shape->hidden);
        add(s, st->middle, s->block, out);
    }
}

static enum status check_batch(const struct student *s, const struct student_batch *b, struct error *e) {
    if (!b->sequences || !b->length || b->sequences > s->options.sequences || b->length > s->options.length) {
        return error_set(e, ERR_USAGE, "student: a batch of %u x %u tokens (allowed: 1 x 1 to %u x %u)", b->sequences,
                         b->length, s->options.sequences, s->options.length);
    }
    for (size_t t = 0; t < (size_t)b->sequences * b->length; t++) {
        if (b->ids[t] < 0 || (uint32_t)b->ids[t] >= s->shape->vocabulary) {
            return error_set(e, ERR_RUN, "student: id %d at position %zu: outside the vocabulary (allowed: 0 to %u)",
                             b->ids[t], t, s->shape->vocabulary - 1);
        }
    }
    return OK;
}

enum status student_forward(struct student *s, const struct student_batch *b, enum student_mode mode, struct error *e) {
    TRY(check_batch(s, b, e));
    const struct shape *p = s->shape;
    s->pass = (struct analog_pass){.mode = mode, .key = b->key, .tokens = b->sequences * b->length,
                                   .length = b->length, .watch = s->watch, .mirrored = b->mirrored};
    memcpy(s->ids, b->ids, s->pass.tokens * sizeof *s->ids);
    embedding_forward(s->embedding, s->ids, s->pass.tokens, p->hidden, s->inputs[0]);
    for (size_t l = 0; l < p->layers; l++) {
        forward_layer(s, l, student_stash(s, l), s->inputs[l + 1]);
    }
    rms_norm_forward(whole_rows(s), s->inputs[p->layers], s->final_norm.weight, p->norm_eps, s->normed);
    if (s->watch && s->watch->no_logits) {
        s->watch->inputs(s->watch->context, s->head, s->normed, s->pass.tokens);
    } else {
        multiply(s, s->head, s->normed, s->logits, p->vocabulary);
    }
    return gemm_check(e);
}

real *student_logits(struct student *s) { return s->logits; }

/* ---- backward ---------------------------------------------------------------------------------- */

/* dx is set to what comes back through m. */
static void multiply_back(struct student *s, struct analog_layer *m, const real *x, const real *dy, size_t ldy,
                          real *dx) {
    memset(dx, 0, (size_t)s->pass.tokens * m->inputs * sizeof *dx);
    analog_layer_backward(m, &s->work, &s->pass, x, dy, ldy, dx);
}

/* The same added to dx. */
static void multiply_back_more(struct student *s, struct analog_layer *m, const real *x, const real *dy, size_t ldy,
                               real *dx) {
    analog_layer_backward(m, &s->work, &s->pass, x, dy, ldy, dx);
}

static void normalise_back(struct student *s, const struct student_norm *n, const real *x, const real *dy, real *dx) {
    rms_norm_backward(whole_rows(s), x, n->weight, s->shape->norm_eps, dy, s->shape->hidden, false, dx, n->gradient,
                      s->sums);
}

static void heads_back(struct student *s, const struct student_layer *l, const struct layer_stash *st, real *d_qkv) {
    size_t ld = width_of_qkv(s), kept = width_of_q(s) + width_of_k(s), Q = width_of_q(s);
    double eps = s->shape->norm_eps;
    if (!l->q_norm.weight) {
        return;
    }
    rms_norm_backward(heads_of(s, s->shape->heads, kept), st->raw, l->q_norm.weight, eps, d_qkv, ld, true, d_qkv,
                      l->q_norm.gradient, s->sums);
    rms_norm_backward(heads_of(s, s->shape->kv_heads, kept), st->raw + Q, l->k_norm.weight, eps, d_qkv + Q, ld, true,
                      d_qkv + Q, l->k_norm.gradient, s->sums);
}

static void attention_back(struct student *s, size_t layer, const struct layer_stash *st, real *dx) {
    const struct student_layer *l = &s->layers[layer];
    struct attention a = attention_of(s, layer);
    size_t Q = width_of_q(s), KV = width_of_k(s), ld = width_of_qkv(s);
    multiply_back(s, l->o, st->attended, dx, s->shape->hidden, s->d_attended);
    attention_backward(&a, st->qkv, st->qkv + Q, st->qkv + Q + KV, s->d_attended, s->d_qkv, s->d_qkv + Q,
                       s->d_qkv + Q + KV, s->work.scratch, s->work.scratch_reals);
    rotate(s, s->d_qkv, true);
    heads_back(s, l, st, s->d_qkv);
    if (l->qkv) {
        multiply_back(s, l->qkv, st->normed, s->d_qkv, ld, s->d_normed);
    } else {
        multiply_back(s, l->q, st->normed, s->d_qkv, ld, s->d_normed);
        multiply_back_more(s, l->k, st->normed, s->d_qkv + Q, ld, s->d_normed);
        multiply_back_more(s, l->v, st->normed, s->d_qkv + Q + KV, ld, s->d_normed);
    }
    normalise_back(s, &l->attention_norm, s->inputs[layer], s->d_normed, dx);
}

static void mlp_back(struct student *s, size_t layer, const struct layer_stash *st, real *dx) {
    const struct student_layer *l = &s->layers[layer];
    size_t F = s->shape->intermediate;
    multiply_back(s, l->down, st->activated, dx, s->shape->hidden, s->d_activated);
    swiglu_backward(st->gate_up, s->d_activated, s->pass.tokens, F, s->d_gate_up);
    if (l->gate_up) {
        multiply_back(s, l->gate_up, st->normed2, s->d_gate_up, 2 * F, s->d_normed);
    } else {
        multiply_back(s, l->gate, st->normed2, s->d_gate_up, 2 * F, s->d_normed);
        multiply_back_more(s, l->up, st->normed2, s->d_gate_up + F, 2 * F, s->d_normed);
    }
    normalise_back(s, &l->mlp_norm, st->middle, s->d_normed, dx);
}

void student_backward(struct student *s) {
    const struct shape *p = s->shape;
    size_t T = s->pass.tokens;
    multiply_back(s, s->head, s->normed, s->logits, p->vocabulary, s->d_normed);
    memset(s->d_x, 0, T * p->hidden * sizeof *s->d_x);
    normalise_back(s, &s->final_norm, s->inputs[p->layers], s->d_normed, s->d_x);
    s->pass.again = true;
    for (size_t l = p->layers; l-- > 0;) {
        struct layer_stash *st = student_stash(s, l);
        if (s->options.recompute) {
            forward_layer(s, l, st, NULL);
        }
        mlp_back(s, l, st, s->d_x);
        attention_back(s, l, st, s->d_x);
    }
    embedding_backward(s->ids, s->d_x, T, p->hidden, s->embedding_gradient);
}

void student_clear_gradients(struct student *s) {
    for (size_t i = 0; i < s->parameter_count; i++) {
        memset(s->parameters[i].gradient, 0, s->parameters[i].count * sizeof *s->parameters[i].gradient);
    }
}

void student_clip_weights(struct student *s) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        analog_layer_clip(&s->matrices[i]);
    }
}

const real *student_deployed(struct student *s, size_t i) {
    const struct analog_pass still = {.mode = STUDENT_STATIC};
    const real *data = s->parameters[i].data;
    for (size_t k = 0; k < s->model->matrix_count; k++) {
        struct analog_layer *l = &s->matrices[k];
        if (l->weight != data || !l->rule) {
            continue;
        }
        analog_measure_weights(l);
        analog_make_weights(l, &still, 0, l->outputs, NULL);
        for (size_t o = 0; l->side_begin && o < l->outputs; o++) {
            for (uint32_t n = l->side_begin[o]; n < l->side_begin[o + 1]; n++) {
                size_t at = o * l->inputs + l->side_inputs[n];
                l->noisy[at] = l->weight[at];
            }
        }
        return l->noisy;
    }
    return data;
}
