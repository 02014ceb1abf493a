/* Attention of the student, forward and backward: student_layers.h says what.
 *
 * A piece of work is one sequence and one key/value head with the query heads that share it, so that dK and dV have one
 * order of summation. Queries go QUERIES at a time against all keys up to the last of them:
 *   P = softmax(scale Q K^T),  O = P V
 *   dP = dO V^T,  dS = P (dP - rowsum(P dP)) scale,  dQ = dS K,  dK = dS^T Q,  dV = P^T dO
 * dK and dV are summed turned round, [d][keys], in panels of keys; P is computed again instead of being kept. */
#include <string.h>

#include "base/threads.h"
#include "models/adapt/student_layers.h"
#include "models/adapt/student_math.h"
#include "models/adapt/student_panels.h"

enum { QUERIES = 64 };

static size_t whole_panels(size_t n) { return panels_in(n) * PANEL; }

size_t attention_scratch_reals(size_t length, size_t head_dim) {
    size_t keys = whole_panels(length), d = whole_panels(head_dim);
    return 4 * keys * d /* K and V in panels of keys and of features */ + 2 * QUERIES * keys /* P, dP */ +
           2 * keys * d /* dK, dV */ + 2 * QUERIES * d /* Q and dO turned round */ + QUERIES * PANEL + PANEL * d;
}

struct attention_job {
    const struct attention *a;
    const real *q, *k, *v, *d_out;
    real *out, *dq, *dk, *dv, *scratch;
    size_t each;
};

/* What one piece of work has in its scratch. */
struct attention_parts {
    real *key_rows, *value_columns, *value_rows, *key_columns;
    real *P, *dP, *dK, *dV, *Q_turned, *dO_turned, *packed, *tile;
    size_t keys; /* in whole panels */
};

static struct attention_parts parts_of(const struct attention_job *j, int worker) {
    size_t keys = whole_panels(j->a->length), d = whole_panels(j->a->head_dim);
    real *at = j->scratch + (size_t)worker * j->each;
    struct attention_parts p = {.keys = keys};
    p.key_rows = at;
    p.value_columns = p.key_rows + keys * d;
    p.value_rows = p.value_columns + keys * d;
    p.key_columns = p.value_rows + keys * d;
    p.P = p.key_columns + keys * d;
    p.dP = p.P + QUERIES * keys;
    p.dK = p.dP + QUERIES * keys;
    p.dV = p.dK + keys * d;
    p.Q_turned = p.dV + keys * d;
    p.dO_turned = p.Q_turned + QUERIES * d;
    p.packed = p.dO_turned + QUERIES * d;
    p.tile = p.packed + QUERIES * PANEL;
    return p;
}

/* x [length][d] at rows of ld, in panels of PANEL rows: [panels][d][PANEL] */
static void pack_rows(const struct attention *a, const real *x, real *out) {
    for (size_t s = 0; s < a->length; s += PANEL) {
        panel_of_rows(a->compute, x + s * a->ld, a->ld, smaller(PANEL, a->length - s), a->head_dim,
                      out + s * a->head_dim);
    }
}

/* The same in panels of PANEL features: [panels][keys][PANEL] */
static void pack_columns(const struct attention *a, const real *x, size_t keys, real *out) {
    for (size_t f = 0; f < a->head_dim; f += PANEL) {
        panel_of_columns(a->compute, x + f, a->ld, smaller(PANEL, a->head_dim - f), a->length, out + f * keys);
    }
}

/* out [n][keys] = x [n][d] times the rows in panels, up to key `end` */
static void times_rows(const struct attention *a, const real *panels, const real *x, size_t ld, size_t n, size_t end,
                       real *out, size_t keys) {
    panels_multiply(a->compute, panels, PANEL * a->head_dim, panels_in(end), a->head_dim, x, ld, n, out, keys, PANEL,
                    PANEL);
}

/* out [n][d] = x [n][keys] times the columns in panels, keys [0, end) */
static void times_columns(const struct attention *a, const real *panels, const real *x, size_t keys, size_t n,
                          size_t end, real *out, size_t ld) {
    size_t count = panels_in(a->head_dim), lanes = a->head_dim - (count - 1) * PANEL;
    panels_multiply(a->compute, panels, PANEL * keys, count, end, x, keys, n, out, ld, PANEL, lanes);
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

/* P of queries [t, t + n) of a head; returns how many keys have columns in it. */
static size_t probabilities(const struct attention *a, const struct attention_parts *p, const real *q, size_t t,
                            size_t n) {
    size_t end = whole_panels(t + n);
    times_rows(a, p->key_rows, q + t * a->ld, a->ld, n, end, p->P, p->keys);
    for (size_t i = 0; i < n; i++) {
        softmax_row(a, t + i, end, p->P + i * p->keys);
    }
    return t + n;
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
    for (size_t i = begin; i < end; i++) {
        struct piece at = piece_of(a, i);
        pack_rows(a, j->k + at.token * a->ld + at.kv * a->head_dim, p.key_rows);
        pack_columns(a, j->v + at.token * a->ld + at.kv * a->head_dim, p.keys, p.value_columns);
        for (size_t h = at.kv * at.heads; h < (at.kv + 1) * at.heads; h++) {
            const real *q = j->q + at.token * a->ld + h * a->head_dim;
            for (size_t t = 0; t < a->length; t += QUERIES) {
                size_t n = smaller(QUERIES, a->length - t), ld = a->heads * a->head_dim;
                size_t keys = probabilities(a, &p, q, t, n);
                times_columns(a, p.value_columns, p.P, p.keys, n, keys,
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

/* sums [d][keys] += turned [d][n] times x [n][keys] */
static void add_turned(const struct attention *a, const struct attention_parts *p, const real *x, size_t n, size_t end,
                       const real *turned, real *sums) {
    for (size_t s = 0; s < end; s += PANEL) {
        panel_of_columns(a->compute, x + s, p->keys, PANEL, n, p->packed);
        panel_multiply(a->compute, p->packed, n, turned, QUERIES, a->head_dim, p->tile, PANEL, PANEL);
        for (size_t f = 0; f < a->head_dim; f++) {
            for (size_t lane = 0; lane < PANEL; lane++) {
                sums[f * p->keys + s + lane] += p->tile[f * PANEL + lane];
            }
        }
    }
}

/* Queries [t, t + n) of one head; q, d_out, dq point at its first token. */
static void query_gradients(const struct attention *a, const struct attention_parts *p, const real *q,
                            const real *d_out, real *dq, size_t t, size_t n) {
    size_t ld = a->heads * a->head_dim, keys = probabilities(a, p, q, t, n), end = whole_panels(keys);
    times_rows(a, p->value_rows, d_out + t * ld, ld, n, end, p->dP, p->keys);
    through_softmax(a, p, n, end);
    times_columns(a, p->key_columns, p->dP, p->keys, n, keys, dq + t * a->ld, a->ld);
    transpose(q + t * a->ld, a->ld, n, a->head_dim, p->Q_turned, QUERIES);
    transpose(d_out + t * ld, ld, n, a->head_dim, p->dO_turned, QUERIES);
    add_turned(a, p, p->dP, n, end, p->Q_turned, p->dK);
    add_turned(a, p, p->P, n, end, p->dO_turned, p->dV);
}

static void backward_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct attention_job *j = context;
    const struct attention *a = j->a;
    struct attention_parts p = parts_of(j, worker);
    size_t d = a->head_dim, ld = a->heads * d;
    for (size_t i = begin; i < end; i++) {
        struct piece at = piece_of(a, i);
        const real *k = j->k + at.token * a->ld + at.kv * d, *v = j->v + at.token * a->ld + at.kv * d;
        pack_rows(a, k, p.key_rows);
        pack_rows(a, v, p.value_rows);
        pack_columns(a, k, p.keys, p.key_columns);
        memset(p.dK, 0, 2 * p.keys * whole_panels(d) * sizeof *p.dK);
        for (size_t h = at.kv * at.heads; h < (at.kv + 1) * at.heads; h++) {
            for (size_t t = 0; t < a->length; t += QUERIES) {
                query_gradients(a, &p, j->q + at.token * a->ld + h * d, j->d_out + at.token * ld + h * d,
                                j->dq + at.token * a->ld + h * d, t, smaller(QUERIES, a->length - t));
            }
        }
        transpose(p.dK, p.keys, d, a->length, j->dk + at.token * a->ld + at.kv * d, a->ld);
        transpose(p.dV, p.keys, d, a->length, j->dv + at.token * a->ld + at.kv * d, a->ld);
    }
}

void attention_backward(const struct attention *a, const real *q, const real *k, const real *v, const real *d_out,
                        real *dq, real *dk, real *dv, real *scratch, size_t each) {
    struct attention_job job = {a, q, k, v, d_out, NULL, dq, dk, dv, scratch, each};
    parallel_for(a->sequences * a->kv_heads, 1, 0, backward_pieces, &job);
}
