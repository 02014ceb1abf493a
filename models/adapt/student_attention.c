/* Attention of the student, forward and backward: student_layers.h says what.
 *
 * A piece of work is one sequence and one key/value head with the query heads that share it, so that dK and dV have one
 * order of summation. Queries go QUERIES at a time against all keys up to the last of them:
 *   P = softmax(scale Q K^T),  O = P V
 *   dP = dO V^T,  dS = P (dP - rowsum(P dP)) scale,  dQ = dS K,  dK = dS^T Q,  dV = P^T dO
 * P is computed again instead of being kept. */
#include <string.h>

#include "base/threads.h"
#include "models/adapt/student_layers.h"
#include "models/adapt/student_math.h"
#include "models/adapt/student_products.h"

enum { QUERIES = 64 };

static size_t whole_panels(size_t n) { return panels_in(n) * PANEL; }

/* P and dP, [QUERIES][keys] */
size_t attention_scratch_reals(size_t length) { return 2 * QUERIES * whole_panels(length); }

struct attention_job {
    const struct attention *a;
    const real *q, *k, *v, *d_out;
    real *out, *dq, *dk, *dv, *scratch;
    size_t each;
};

/* What one piece of work has in its scratch. */
struct attention_parts {
    real *P, *dP;
    size_t keys; /* in whole panels */
};

static struct attention_parts parts_of(const struct attention_job *j, int worker) {
    size_t keys = whole_panels(j->a->length);
    real *at = j->scratch + (size_t)worker * j->each;
    return (struct attention_parts){at, at + QUERIES * keys, keys};
}

/* Row of scores of query t, keys [0, end): softmax over the keys that it sees, 0 elsewhere. */
static void softmax_row(const struct attention *a, size_t t, size_t end, real *row) {
    size_t first = a->window && t + 1 > a->window ? t + 1 - a->window : 0;
    real top = row[first] * a->scale, lane[PANEL] = {0}, sum = 0;
    for (size_t i = first; i <= t; i++) {
        row[i] *= a->scale;
        top = row[i] > top ? row[i] : top;
    }
    for (size_t i = first; i <= t; i++) {
        row[i] = real_exp(row[i] - top);
    }
    for (size_t i = first; i <= t; i++) {
        lane[i % PANEL] += row[i];
    }
    for (size_t i = 0; i < PANEL; i++) {
        sum += lane[i];
    }
    real inverse = 1 / sum;
    for (size_t i = first; i <= t; i++) {
        row[i] *= inverse;
    }
    memset(row, 0, first * sizeof *row);
    memset(row + t + 1, 0, (end - t - 1) * sizeof *row);
}

/* P of queries [t, t + n) of a head; returns how many keys they see, the first ones. */
static size_t probabilities(const struct attention *a, const struct attention_parts *p, const real *q, const real *k,
                            size_t t, size_t n) {
    size_t end = t + n;
    product(n, end, a->head_dim, (struct operand){q + t * a->ld, a->ld, false}, (struct operand){k, a->ld, true}, 0,
            p->P, p->keys);
    for (size_t i = 0; i < n; i++) {
        softmax_row(a, t + i, end, p->P + i * p->keys);
    }
    return end;
}

/* The sequence and key/value head of piece number `piece`. */
struct piece { size_t token, kv, heads; };

static struct piece piece_of(const struct attention *a, size_t piece) {
    return (struct piece){piece / a->kv_heads * a->length, piece % a->kv_heads, a->heads / a->kv_heads};
}

static void forward_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct attention_job *j = context;
    const struct attention *a = j->a;
    struct attention_parts p = parts_of(j, worker);
    size_t ld = a->heads * a->head_dim;
    for (size_t i = begin; i < end; i++) {
        struct piece at = piece_of(a, i);
        size_t first = at.token * a->ld + at.kv * a->head_dim;
        for (size_t h = at.kv * at.heads; h < (at.kv + 1) * at.heads; h++) {
            const real *q = j->q + at.token * a->ld + h * a->head_dim;
            for (size_t t = 0; t < a->length; t += QUERIES) {
                size_t n = smaller(QUERIES, a->length - t), keys = probabilities(a, &p, q, j->k + first, t, n);
                product(n, a->head_dim, keys, (struct operand){p.P, p.keys, false},
                        (struct operand){j->v + first, a->ld, false}, 0,
                        j->out + (at.token + t) * ld + h * a->head_dim, ld);
            }
        }
    }
}

void attention_forward(const struct attention *a, const real *q, const real *k, const real *v, real *out, real *scratch,
                       size_t each) {
    struct attention_job job = {.a = a, .q = q, .k = k, .v = v, .out = out, .scratch = scratch, .each = each};
    parallel_for(a->sequences * a->kv_heads, 1, 0, forward_pieces, &job);
}

/* dP becomes dS. */
static void through_softmax(const struct attention *a, const struct attention_parts *p, size_t n, size_t keys) {
    for (size_t i = 0; i < n; i++) {
        const real *P = p->P + i * p->keys;
        real *dP = p->dP + i * p->keys, sum = dot_product(P, dP, keys);
        for (size_t s = 0; s < keys; s++) {
            dP[s] = P[s] * (dP[s] - sum) * a->scale;
        }
    }
}

/* One head of queries and its keys, each from the first token of the sequence on; dk and dv are added to. */
struct head { const real *q, *k, *v, *d_out; real *dq, *dk, *dv; };

/* Queries [t, t + n). */
static void query_gradients(const struct attention *a, const struct attention_parts *p, const struct head *h, size_t t,
                            size_t n) {
    size_t d = a->head_dim, ld = a->heads * d, keys = probabilities(a, p, h->q, h->k, t, n);
    const struct operand q = {h->q + t * a->ld, a->ld, false}, d_out = {h->d_out + t * ld, ld, false};
    product(n, keys, d, d_out, (struct operand){h->v, a->ld, true}, 0, p->dP, p->keys);
    product(keys, d, n, (struct operand){p->P, p->keys, true}, d_out, 1, h->dv, a->ld);
    through_softmax(a, p, n, keys);
    product(n, d, keys, (struct operand){p->dP, p->keys, false}, (struct operand){h->k, a->ld, false}, 0,
            h->dq + t * a->ld, a->ld);
    product(keys, d, n, (struct operand){p->dP, p->keys, true}, q, 1, h->dk, a->ld);
}

static void clear(real *rows, size_t count, size_t width, size_t ld) {
    for (size_t r = 0; r < count; r++) {
        memset(rows + r * ld, 0, width * sizeof *rows);
    }
}

static void backward_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct attention_job *j = context;
    const struct attention *a = j->a;
    struct attention_parts p = parts_of(j, worker);
    size_t d = a->head_dim, ld = a->heads * d;
    for (size_t i = begin; i < end; i++) {
        struct piece at = piece_of(a, i);
        size_t first = at.token * a->ld + at.kv * d;
        struct head head = {.k = j->k + first, .v = j->v + first, .dk = j->dk + first, .dv = j->dv + first};
        clear(head.dk, a->length, d, a->ld);
        clear(head.dv, a->length, d, a->ld);
        for (size_t h = at.kv * at.heads; h < (at.kv + 1) * at.heads; h++) {
            head.q = j->q + at.token * a->ld + h * d;
            head.dq = j->dq + at.token * a->ld + h * d;
            head.d_out = j->d_out + at.token * ld + h * d;
            for (size_t t = 0; t < a->length; t += QUERIES) {
                query_gradients(a, &p, &head, t, smaller(QUERIES, a->length - t));
            }
        }
    }
}

void attention_backward(const struct attention *a, const real *q, const real *k, const real *v, const real *d_out,
                        real *dq, real *dk, real *dv, real *scratch, size_t each) {
    struct attention_job job = {a, q, k, v, d_out, NULL, dq, dk, dv, scratch, each};
    parallel_for(a->sequences * a->kv_heads, 1, 0, backward_pieces, &job);
}
