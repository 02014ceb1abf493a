/* See student_layers.h. */
#include "models/adapt/student_layers.h"

#include <string.h>

#include "base/threads.h"
#include "models/adapt/student_math.h"
#include "models/adapt/student_products.h"

/* ---- RMS norm ---------------------------------------------------------------------------------- */

struct norm_job {
    struct vectors v;
    const real *x, *weight, *dy;
    double eps;
    size_t ld_y;
    bool set;
    real *y, *weight_gradient;
    double *sums;
};

static size_t place(const struct vectors *v, size_t r, size_t ld) {
    return r / v->heads * ld + r % v->heads * v->width;
}

static double sum_products(const real *a, const real *b, size_t n) {
    double lane[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            lane[j] += (double)a[i + j] * (double)b[i + j];
        }
    }
    for (; i < n; i++) {
        lane[0] += (double)a[i] * (double)b[i];
    }
    for (size_t j = 0; j < 8; j++) {
        sum += lane[j];
    }
    return sum;
}

static double norm_scale(const struct norm_job *j, const real *x) {
    return 1.0 / sqrt(sum_products(x, x, j->v.width) / (double)j->v.width + j->eps);
}

static void norm_rows(void *context, size_t begin, size_t end, int worker) {
    const struct norm_job *j = context;
    (void)worker;
    for (size_t r = begin; r < end; r++) {
        size_t at = place(&j->v, r, j->v.ld);
        real scale = (real)norm_scale(j, j->x + at);
        for (size_t i = 0; i < j->v.width; i++) {
            j->y[at + i] = j->x[at + i] * scale * j->weight[i];
        }
    }
}

void rms_norm_forward(struct vectors v, const real *x, const real *weight, double eps, real *y) {
    struct norm_job job = {.v = v, .x = x, .weight = weight, .eps = eps, .y = y};
    parallel_for(v.rows, 0, 0, norm_rows, &job);
}

static void norm_weight_columns(void *context, size_t begin, size_t end, int worker) {
    const struct norm_job *j = context;
    (void)worker;
    for (size_t r = 0; r < j->v.rows; r++) {
        const real *x = j->x + place(&j->v, r, j->v.ld), *dy = j->dy + place(&j->v, r, j->ld_y);
        real scale = (real)j->sums[r];
        for (size_t i = begin; i < end; i++) {
            j->weight_gradient[i] += dy[i] * (x[i] * scale);
        }
    }
}

static void norm_scales(void *context, size_t begin, size_t end, int worker) {
    const struct norm_job *j = context;
    (void)worker;
    for (size_t r = begin; r < end; r++) {
        j->sums[r] = norm_scale(j, j->x + place(&j->v, r, j->v.ld));
    }
}

static void norm_back_rows(void *context, size_t begin, size_t end, int worker) {
    const struct norm_job *j = context;
    (void)worker;
    for (size_t r = begin; r < end; r++) {
        const real *x = j->x + place(&j->v, r, j->v.ld), *dy = j->dy + place(&j->v, r, j->ld_y);
        real *dx = j->y + place(&j->v, r, j->ld_y), lane[PANEL] = {0};
        double s = j->sums[r], sum = 0;
        for (size_t i = 0; i < j->v.width; i++) {
            lane[i % PANEL] += j->weight[i] * dy[i] * x[i];
        }
        for (size_t i = 0; i < PANEL; i++) {
            sum += (double)lane[i];
        }
        real scale = (real)s, part = (real)(s * s * s / (double)j->v.width * sum);
        for (size_t i = 0; i < j->v.width; i++) {
            dx[i] = (j->set ? 0 : dx[i]) + (scale * j->weight[i] * dy[i] - x[i] * part);
        }
    }
}

void rms_norm_backward(struct vectors v, const real *x, const real *weight, double eps, const real *dy, size_t ld_y,
                       bool set, real *dx, real *weight_gradient, double *sums) {
    struct norm_job job = {v, x, weight, dy, eps, ld_y, set, dx, weight_gradient, sums};
    parallel_for(v.rows, 0, 0, norm_scales, &job);
    parallel_for(v.width, 0, 0, norm_weight_columns, &job);
    parallel_for(v.rows, 0, 0, norm_back_rows, &job);
}

/* ---- rotary positions -------------------------------------------------------------------------- */

struct rotary_job {
    const struct rope *rope;
    const struct rope_table *table;
    size_t length, heads, head_dim, ld;
    bool back;
    real *x;
};

static void rotary_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct rotary_job *j = context;
    size_t pairs = j->rope->dims / 2, step = j->rope->interleaved ? 2 : 1, partner = j->rope->interleaved ? 1 : pairs;
    real sign = j->back ? -1 : 1;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const float *cosine = j->table->cosine + t % j->length * pairs, *sine = j->table->sine + t % j->length * pairs;
        for (size_t h = 0; h < j->heads; h++) {
            real *head = j->x + t * j->ld + h * j->head_dim;
            for (size_t i = 0; i < pairs; i++) {
                real a = head[i * step], b = head[i * step + partner];
                real c = (real)cosine[i], s = sign * (real)sine[i];
                head[i * step] = a * c - b * s;
                head[i * step + partner] = b * c + a * s;
            }
        }
    }
}

void rotary_turn(const struct rope *r, const struct rope_table *t, size_t tokens, size_t length, size_t heads,
                 size_t head_dim, bool back, real *x, size_t ld) {
    struct rotary_job job = {r, t, length, heads, head_dim, ld, back, x};
    if (r->on) {
        parallel_for(tokens, 0, 0, rotary_tokens, &job);
    }
}

/* ---- SwiGLU ------------------------------------------------------------------------------------ */

struct swiglu_job { const real *gate_up, *dy; size_t F; real *out; };

static void swiglu_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct swiglu_job *j = context;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const real *gate = j->gate_up + t * 2 * j->F, *up = gate + j->F;
        for (size_t i = 0; i < j->F; i++) {
            j->out[t * j->F + i] = gate[i] / (1 + real_exp(-gate[i])) * up[i];
        }
    }
}

void swiglu_forward(const real *gate_up, size_t tokens, size_t F, real *out) {
    struct swiglu_job job = {gate_up, NULL, F, out};
    parallel_for(tokens, 0, 0, swiglu_tokens, &job);
}

/* silu'(g) = s (1 + g (1 - s)), s = 1 / (1 + exp(-g)) */
static void swiglu_back_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct swiglu_job *j = context;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const real *gate = j->gate_up + t * 2 * j->F, *up = gate + j->F, *dy = j->dy + t * j->F;
        real *d_gate = j->out + t * 2 * j->F, *d_up = d_gate + j->F;
        for (size_t i = 0; i < j->F; i++) {
            real s = 1 / (1 + real_exp(-gate[i]));
            d_gate[i] = dy[i] * up[i] * (s * (1 + gate[i] * (1 - s)));
            d_up[i] = dy[i] * (gate[i] * s);
        }
    }
}

void swiglu_backward(const real *gate_up, const real *dy, size_t tokens, size_t F, real *d_gate_up) {
    struct swiglu_job job = {gate_up, dy, F, d_gate_up};
    parallel_for(tokens, 0, 0, swiglu_back_tokens, &job);
}

/* ---- embedding --------------------------------------------------------------------------------- */

struct embedding_job { const int32_t *ids; const real *dx; size_t tokens, D; real *gradient; };

void embedding_forward(const real *table, const int32_t *ids, size_t tokens, size_t D, real *x) {
    for (size_t t = 0; t < tokens; t++) {
        memcpy(x + t * D, table + (size_t)ids[t] * D, D * sizeof *x);
    }
}

static void embedding_columns(void *context, size_t begin, size_t end, int worker) {
    const struct embedding_job *j = context;
    (void)worker;
    for (size_t t = 0; t < j->tokens; t++) {
        real *row = j->gradient + (size_t)j->ids[t] * j->D;
        for (size_t i = begin; i < end; i++) {
            row[i] += j->dx[t * j->D + i];
        }
    }
}

void embedding_backward(const int32_t *ids, const real *dx, size_t tokens, size_t D, real *table_gradient) {
    struct embedding_job job = {ids, dx, tokens, D, table_gradient};
    parallel_for(D, 0, 0, embedding_columns, &job);
}
