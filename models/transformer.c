/* The forward pass of a decoder, one step of T tokens, top to bottom:
 *
 *   x = embedding[ids] (+ positions)                                            [T][D]
 *   per layer:  x += post_norm(o(attention(rope(q), rope(k), v))),  q, k, v = W norm(x)
 *               x += post_norm(down(activation(gate) * up)),       gate, up = W norm(x)
 *   logits = head(final_norm(x)) for the tokens that want them                  [T][V]
 *
 * Linear layers go to the machine when it holds them (linear.c); every other operation is done here in fp32 and
 * recorded in the run as work of a digital unit. Which family the model is of does not matter any more: the shape says
 * what exists. A session without values leaves out the arithmetic and records the same operations. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "models/internal.h"
#include "models/vector_math.h"

enum { SMALL_WORK = 1 << 16 }; /* elements below which threads cost more than they bring */

/* body over the tokens of a step of `elements` elements. */
static void for_tokens(const struct session *s, uint32_t tokens, size_t elements, parallel_body *body, void *context) {
    if (s->values) {
        parallel_for(tokens, 0, elements > SMALL_WORK ? s->threads : 1, body, context);
    }
}

/* A place in a buffer; sessions without values have no buffers. */
static float *part(float *buffer, size_t floats) { return buffer ? buffer + floats : NULL; }

void record(struct session *s, enum digital_op op, int layer, uint32_t tokens, uint64_t elements) {
    if (s->run) {
        run_digital(s->run, &(struct digital_record){.op = op, .layer = layer, .tokens = tokens, .elements = elements});
    }
}

static void record_attention(struct session *s, uint32_t layer, uint32_t tokens) {
    if (s->run) {
        const struct shape *p = &s->model->shape;
        run_digital(s->run, &(struct digital_record){.op = OP_ATTENTION,
                                                     .layer = (int)layer,
                                                     .tokens = tokens,
                                                     .first_position = s->position,
                                                     .window = p->window[layer],
                                                     .heads = p->heads,
                                                     .kv_heads = p->kv_heads,
                                                     .head_dim = p->head_dim});
    }
}

static void fork_run(struct session *s) {
    if (s->run) {
        run_fork(s->run);
    }
}

static void join_run(struct session *s) {
    if (s->run) {
        run_join(s->run);
    }
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void embed_values(struct session *s, const int32_t *ids, uint32_t tokens) {
    const struct model *m = s->model;
    uint32_t D = m->shape.hidden;
    float scale = (float)m->shape.embedding_scale;
    for (uint32_t t = 0; t < tokens; t++) {
        float *x = s->x + (size_t)t * D;
        tensor_rows_f32(m->embedding, (uint64_t)ids[t], 1, x);
        for (uint32_t i = 0; i < D; i++) {
            x[i] *= scale;
        }
        if (m->positions) {
            tensor_rows_f32(m->positions, s->places[t].position, 1, s->block);
            vector_add(x, s->block, D);
        }
    }
}

static void embed(struct session *s, const int32_t *ids, uint32_t tokens) {
    if (s->values) {
        embed_values(s, ids, tokens);
    }
    record(s, OP_EMBED, -1, tokens, s->model->shape.hidden);
}

struct norm_job { const struct shape *shape; const struct norm *norm; const float *x; float *out; };

static void normalise_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct norm_job *j = context;
    const struct norm *n = j->norm;
    size_t D = j->shape->hidden;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        if (j->shape->norm == NORM_RMS) {
            vector_rms_norm(j->x + t * D, n->weight, D, j->shape->norm_eps, j->out + t * D);
        } else {
            vector_layer_norm(j->x + t * D, n->weight, n->bias, D, j->shape->norm_eps, j->out + t * D);
        }
    }
}

/* out [T][D] = norm of x [T][D]; out may be x. */
static void normalise(struct session *s, const struct norm *n, int layer, const float *x, uint32_t tokens, float *out) {
    size_t D = s->model->shape.hidden;
    struct norm_job job = {&s->model->shape, n, x, out};
    for_tokens(s, tokens, tokens * D, normalise_tokens, &job);
    record(s, OP_NORM, layer, tokens, D);
}

/* x += block, after the family's norm on the block if it has one. */
static void add_residual(struct session *s, const struct norm *post, int layer, uint32_t tokens) {
    if (post->weight) {
        normalise(s, post, layer, s->block, tokens, s->block);
    }
    if (s->values) {
        vector_add(s->x, s->block, (size_t)tokens * s->model->shape.hidden);
    }
    record(s, OP_RESIDUAL, layer, tokens, s->model->shape.hidden);
}

/* Per-head norm of q or k (Qwen3). */
static void normalise_heads(struct session *s, const struct norm *n, int layer, struct rows h, uint32_t heads,
                            uint32_t tokens) {
    const struct shape *p = &s->model->shape;
    if (!n->weight) {
        return;
    }
    for (uint32_t t = 0; s->values && t < tokens; t++) {
        for (uint32_t i = 0; i < heads; i++) {
            float *head = h.data + t * h.stride + (size_t)i * p->head_dim;
            vector_rms_norm(head, n->weight, p->head_dim, p->norm_eps, head);
        }
    }
    record(s, OP_NORM, layer, tokens, (uint64_t)heads * p->head_dim);
}

struct rope_job { const struct session *session; struct rows q, k; };

static void rotate_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct rope_job *j = context;
    const struct session *s = j->session;
    const struct shape *p = &s->model->shape;
    const struct rope_table *table = &s->rope[s->rope_set];
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        uint32_t position = s->places[t].position;
        for (uint32_t i = 0; i < p->heads; i++) {
            rope_apply(&p->rope, table, position, j->q.data + t * j->q.stride + (size_t)i * p->head_dim);
        }
        for (uint32_t i = 0; i < p->kv_heads; i++) {
            rope_apply(&p->rope, table, position, j->k.data + t * j->k.stride + (size_t)i * p->head_dim);
        }
    }
}

static void rotate(struct session *s, int layer, struct rows q, struct rows k, uint32_t tokens) {
    const struct shape *p = &s->model->shape;
    if (!p->rope.on) {
        return;
    }
    struct rope_job job = {s, q, k};
    for_tokens(s, tokens, tokens * q.stride, rotate_tokens, &job);
    record(s, OP_ROPE, layer, tokens, (uint64_t)(p->heads + p->kv_heads) * p->rope.dims);
}

/* q, k, v from one fused matrix, as slices of its output, or from three. */
static enum status project_qkv(struct session *s, const struct layer *l, uint32_t T, struct rows *q, struct rows *k,
                               struct rows *v, struct error *e) {
    const struct shape *p = &s->model->shape;
    size_t Q = (size_t)p->heads * p->head_dim, KV = (size_t)p->kv_heads * p->head_dim;
    if (l->qkv != NO_MATRIX) {
        *q = (struct rows){s->qkv, Q + 2 * KV};
        *k = (struct rows){part(s->qkv, Q), Q + 2 * KV};
        *v = (struct rows){part(s->qkv, Q + KV), Q + 2 * KV};
        return linear_apply(s, l->qkv, s->normed, T, s->qkv, e);
    }
    *q = (struct rows){s->qkv, Q};
    *k = (struct rows){part(s->qkv, T * Q), KV};
    *v = (struct rows){part(s->qkv, T * (Q + KV)), KV};
    fork_run(s);
    TRY(linear_multiply(s, l->q, s->normed, T, q->data, e));
    TRY(linear_multiply(s, l->k, s->normed, T, k->data, e));
    TRY(linear_multiply(s, l->v, s->normed, T, v->data, e));
    join_run(s);
    linear_add_bias(s, l->q, T, q->data);
    linear_add_bias(s, l->k, T, k->data);
    linear_add_bias(s, l->v, T, v->data);
    return OK;
}

static enum status attention_block(struct session *s, uint32_t layer, uint32_t T, struct error *e) {
    const struct layer *l = &s->model->layers[layer];
    const struct shape *p = &s->model->shape;
    struct rows q, k, v;
    normalise(s, &l->attention_norm, (int)layer, s->x, T, s->normed);
    TRY(project_qkv(s, l, T, &q, &k, &v, e));
    normalise_heads(s, &l->q_norm, (int)layer, q, p->heads, T);
    normalise_heads(s, &l->k_norm, (int)layer, k, p->kv_heads, T);
    rotate(s, (int)layer, q, k, T);
    if (s->values) {
        attention_store(s, layer, k, v, T);
        attention_apply(s, layer, q, T, s->attended);
    }
    record_attention(s, layer, T);
    TRY(linear_apply(s, l->o, s->attended, T, s->block, e));
    add_residual(s, &l->post_attention_norm, (int)layer, T);
    return OK;
}

struct activation_job { const struct shape *shape; struct rows gate, up; float *out; };

static void activate_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct activation_job *j = context;
    size_t F = j->shape->intermediate;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const float *u = j->up.data + t * j->up.stride;
        float *out = j->out + t * F;
        if (!j->gate.data) {
            vector_gelu(u, F, out);
        } else if (j->shape->activation == ACTIVATION_SILU) {
            vector_silu_product(j->gate.data + t * j->gate.stride, u, F, out);
        } else {
            vector_gelu_product(j->gate.data + t * j->gate.stride, u, F, out);
        }
    }
}

/* activated [T][F] = activation(gate) * up, or activation(up) where the family has no gate. */
static void activate(struct session *s, int layer, struct rows gate, struct rows up, uint32_t T) {
    size_t F = s->model->shape.intermediate;
    struct activation_job job = {&s->model->shape, gate, up, s->activated};
    for_tokens(s, T, T * F, activate_tokens, &job);
    record(s, OP_ACTIVATION, layer, T, F);
}

static enum status project_gate_up(struct session *s, const struct layer *l, uint32_t T, struct rows *gate,
                                   struct rows *up, struct error *e) {
    size_t F = s->model->shape.intermediate;
    if (l->gate_up != NO_MATRIX) {
        *gate = (struct rows){s->gate_up, 2 * F};
        *up = (struct rows){part(s->gate_up, F), 2 * F};
        return linear_apply(s, l->gate_up, s->normed, T, s->gate_up, e);
    }
    *up = (struct rows){s->gate_up, F};
    *gate = (struct rows){NULL, 0};
    if (l->gate == NO_MATRIX) {
        return linear_apply(s, l->up, s->normed, T, up->data, e);
    }
    *gate = (struct rows){part(s->gate_up, T * F), F};
    fork_run(s);
    TRY(linear_multiply(s, l->gate, s->normed, T, gate->data, e));
    TRY(linear_multiply(s, l->up, s->normed, T, up->data, e));
    join_run(s);
    linear_add_bias(s, l->gate, T, gate->data);
    linear_add_bias(s, l->up, T, up->data);
    return OK;
}

static enum status mlp_block(struct session *s, uint32_t layer, uint32_t T, struct error *e) {
    const struct layer *l = &s->model->layers[layer];
    struct rows gate, up;
    normalise(s, &l->mlp_norm, (int)layer, s->x, T, s->normed);
    TRY(project_gate_up(s, l, T, &gate, &up, e));
    activate(s, (int)layer, gate, up, T);
    TRY(linear_apply(s, l->down, s->activated, T, s->block, e));
    add_residual(s, &l->post_mlp_norm, (int)layer, T);
    return OK;
}

static void keep(struct session *s, uint32_t row, const float *x, uint32_t T) {
    if (s->keep_hidden) {
        size_t D = s->model->shape.hidden;
        memcpy(s->hidden + (size_t)row * s->max_batch * D, x, T * D * sizeof *x);
    }
}

static enum status not_finite(const struct session *s, uint32_t token, struct error *e) {
    return error_set(e, ERR_RUN, "%s: the logits at position %u are not finite: weights damaged, or too large for fp32",
                     s->model->view.path, s->places[token].position);
}

/* Weights that are finite can still overflow on the way; text from such logits would mean nothing. */
static enum status check_logits(const struct session *s, uint32_t first, uint32_t count, struct error *e) {
    size_t V = s->model->shape.vocabulary;
    for (uint32_t t = 0; t < count; t++) {
        const float *row = s->logits + t * V;
        size_t finite = 0;
        for (size_t i = 0; i < V; i++) {
            finite += fabsf(row[i]) <= FLT_MAX;
        }
        if (finite < V) {
            return not_finite(s, first + t, e);
        }
    }
    return OK;
}

/* Among the largest logits is one that is not finite if any is a NaN or too large. */
static enum status check_found(const struct session *s, uint32_t T, struct error *e) {
    for (uint32_t i = 0; i < T * s->likeliest; i++) {
        if (!(s->found[i].id >= 0 && fabsf(s->found[i].logit) <= FLT_MAX)) {
            return not_finite(s, i / s->likeliest, e);
        }
    }
    return OK;
}

/* head() where only the likeliest ids are wanted; no machine takes part. */
static enum status head_likeliest(struct session *s, uint32_t T, struct error *e) {
    float cap = (float)s->model->shape.final_cap;
    normalise(s, &s->model->final_norm, -1, s->x, T, s->normed);
    codes_likeliest(s, s->model->head, s->normed, T);
    TRY(check_found(s, T, e));
    for (uint32_t i = 0; cap > 0 && i < T * s->likeliest; i++) {
        vector_soft_cap(&s->found[i].logit, 1, cap);
    }
    return OK;
}

/* Final norm and output head, for the last token or for all. */
static enum status head(struct session *s, uint32_t T, enum logits_wanted wanted, struct error *e) {
    const struct shape *p = &s->model->shape;
    uint32_t count = wanted == LOGITS_ALL ? T : 1, first = T - count;
    normalise(s, &s->model->final_norm, -1, part(s->x, (size_t)first * p->hidden), count, s->normed);
    TRY(linear_apply(s, s->model->head, s->normed, count, s->logits, e));
    if (s->values) {
        TRY(check_logits(s, first, count, e));
    }
    if (p->final_cap > 0.0) {
        if (s->values) {
            vector_soft_cap(s->logits, (size_t)count * p->vocabulary, (float)p->final_cap);
        }
        record(s, OP_ACTIVATION, -1, count, p->vocabulary);
    }
    record(s, OP_SAMPLE, -1, count, p->vocabulary);
    return OK;
}

/* The kept row after the final norm is a probe for tests: no work of the machine, nothing is recorded. */
static void keep_final_norm(struct session *s, uint32_t T) {
    if (s->keep_hidden) {
        struct run *run = s->run;
        s->run = NULL;
        normalise(s, &s->model->final_norm, -1, s->x, T, s->block);
        s->run = run;
        keep(s, s->model->shape.layers + 1, s->block, T);
    }
}

enum status transformer_step(struct session *s, const int32_t *ids, uint32_t T, enum logits_wanted wanted,
                             struct error *e) {
    if (s->run) {
        run_begin_step(s->run, T);
    }
    embed(s, ids, T);
    keep(s, 0, s->x, T);
    for (uint32_t layer = 0; layer < s->model->shape.layers; layer++) {
        TRY(attention_block(s, layer, T, e));
        TRY(mlp_block(s, layer, T, e));
        keep(s, layer + 1, s->x, T);
    }
    keep_final_norm(s, T);
    if (wanted != LOGITS_NONE) {
        TRY(s->likeliest ? head_likeliest(s, T, e) : head(s, T, wanted, e));
    }
    if (s->run) {
        run_end_step(s->run);
    }
    return OK;
}
