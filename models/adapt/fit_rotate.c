/* Rotation: orthogonal matrices folded into the weights, which change nothing of what a model computes and all of how
 * its numbers are spread over channels (QuaRot, arXiv 2404.00456). Static converters suffer from large channels.
 *
 * residual  The residual stream x [D] becomes Q^T x. The norms keep lengths; their gains g have to go first. With
 *             readers  (q, k, v, gate, up, head)   W -> W diag(g) Q,  g -> 1
 *             writers  (embedding, o, down)        W -> Q^T W, also their biases
 *           every y = W diag(g) norm(x) is what it was.
 * value     Values of key/value head h become R^T v. Attention takes means of them:
 *             rows of v: W_h -> R^T W_h (and biases);  columns of o that read a head of the group: W -> W R.
 *
 * Q^T = (H x C) S, x the Kronecker product. With n = 2^k m, m odd, H is the Hadamard matrix of 2^k / sqrt(2^k) and C
 * the orthonormal DCT of m (1 where n is a power of two); S are signs without a pattern, from the fractions of i^2
 * times the golden ratio. RMS norms only, no norms behind blocks, no learned positions. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/adapt/adapt.h"
#include "models/internal.h"

struct rotation {
    size_t count, odd; /* n, m */
    float *sign;       /* [n] */
    double *cosine;    /* [m][m] C */
    double *work;      /* [n + m] */
};

static bool rotation_create(struct rotation *r, size_t n) {
    size_t m = n;
    while (m % 2 == 0) {
        m /= 2;
    }
    *r = (struct rotation){n, m, mem_alloc(n, sizeof *r->sign), mem_alloc(m * m, sizeof *r->cosine),
                           mem_alloc(n + m, sizeof *r->work)};
    for (size_t i = 0; r->sign && i < n; i++) {
        double turns = (double)i * (double)i * (sqrt(5.0) - 1) / 2;
        r->sign[i] = turns - floor(turns) < 0.5 ? -1 : 1;
    }
    for (size_t i = 0; r->cosine && i < m * m; i++) {
        double row = (double)(i / m), column = (double)(i % m) + 0.5, size = (double)m;
        r->cosine[i] = sqrt((i < m ? 1 : 2) / size) * cos(acos(-1.0) / size * row * column);
    }
    return r->sign && r->cosine && r->work;
}

static void rotation_clear(struct rotation *r) {
    mem_free(r->sign);
    mem_free(r->cosine);
    mem_free(r->work);
}

/* v [n m] -> H v along the part of the index that is a power of two; stride m. */
static void hadamard(double *v, size_t n, size_t m) {
    for (size_t half = m; half < n; half *= 2) {
        for (size_t i = 0; i < n; i += 2 * half) {
            for (size_t k = i; k < i + half; k++) {
                double a = v[k], b = v[k + half];
                v[k] = (a + b) * sqrt(0.5);
                v[k + half] = (a - b) * sqrt(0.5);
            }
        }
    }
}

/* v -> Q^T v, its numbers `stride` apart. */
static void turn(const struct rotation *r, float *v, size_t stride) {
    double *w = r->work, *part = r->work + r->count;
    for (size_t i = 0; i < r->count; i++) {
        w[i] = (double)(r->sign[i] * v[i * stride]);
    }
    hadamard(w, r->count, r->odd);
    for (size_t i = 0; i < r->count; i += r->odd) {
        for (size_t row = 0; row < r->odd; row++) {
            part[row] = 0;
            for (size_t k = 0; k < r->odd; k++) {
                part[row] += r->cosine[row * r->odd + k] * w[i + k];
            }
        }
        for (size_t row = 0; row < r->odd; row++) {
            v[(i + row) * stride] = (float)part[row];
        }
    }
}

/* ---- weights of the model's own --------------------------------------------------------------------------- */

static float *values_of(const struct model *m, int i) {
    return i == NO_MATRIX ? NULL : (float *)(uintptr_t)m->matrices[i].tensor->data;
}

static bool own_tensor(struct model *m, const struct tensor *from, const char *name, const struct matrix *matrix,
                       const struct tensor **out) {
    size_t rows = matrix ? matrix->outputs : from->shape[0], columns = matrix ? matrix->inputs : from->shape[1];
    struct tensor *t = arena_alloc(m->arena, 1, sizeof *t);
    float *values = arena_alloc(m->arena, rows * columns, sizeof *values);
    if (!t || !values || !name) {
        return false;
    }
    if (matrix) {
        matrix_rows(matrix, 0, matrix->outputs, values);
    } else {
        tensor_rows_f32(from, 0, rows, values);
    }
    *t = (struct tensor){.name = name, .type = TENSOR_F32, .rank = 2, .shape = {rows, columns, 0, 0}, .data = values,
                         .bytes = rows * columns * sizeof *values};
    *out = t;
    return true;
}

static const float *own_vector(struct model *m, const float *from, size_t n, bool *failed) {
    float *own = from ? arena_alloc(m->arena, n, sizeof *own) : NULL;
    *failed = *failed || (from && !own);
    for (size_t i = 0; own && i < n; i++) {
        own[i] = from[i];
    }
    return own;
}

/* Every matrix, the embedding and the biases as fp32 that may be changed; a tied head becomes a matrix. */
static bool own_all(struct model *m) {
    bool failed = !own_tensor(m, m->embedding, m->embedding->name, NULL, &m->embedding);
    for (size_t i = 0; i < m->matrix_count && !failed; i++) {
        struct matrix *w = &m->matrices[i];
        bool tied = (int)i == m->head && m->shape.tied_head;
        const char *name = tied ? arena_printf(m->arena, "%s.weight", m->shape.names->head) : w->tensor->name;
        failed = !own_tensor(m, w->tensor, name, w, &w->tensor);
        w->transposed = false;
        w->bias = own_vector(m, w->bias, w->outputs, &failed);
    }
    m->shape.tied_head = m->view.tied_head = false;
    return !failed;
}

/* ---- residual stream ------------------------------------------------------------------------------------------ */

static void turn_reader(const struct rotation *r, const struct model *m, int i, const float *gain) {
    float *w = values_of(m, i);
    for (size_t o = 0; w && o < m->matrices[i].outputs; o++, w += r->count) {
        for (size_t k = 0; k < r->count; k++) {
            w[k] *= gain[k];
        }
        turn(r, w, 1);
    }
}

static void turn_writer(const struct rotation *r, const struct model *m, int i) {
    float *w = values_of(m, i);
    for (size_t k = 0; w && k < m->matrices[i].inputs; k++) {
        turn(r, w + k, m->matrices[i].inputs);
    }
    if (w && m->matrices[i].bias) {
        turn(r, (float *)(uintptr_t)m->matrices[i].bias, 1);
    }
}

/* A norm that only divides by the length. */
static bool forget_gain(struct model *m, struct norm *n) {
    bool failed = false;
    float *ones = (float *)(uintptr_t)own_vector(m, n->weight, m->shape.hidden, &failed);
    for (size_t i = 0; ones && i < m->shape.hidden; i++) {
        ones[i] = 1;
    }
    n->weight = ones;
    return !failed;
}

static bool turn_layer(const struct rotation *r, struct model *m, struct layer *l) {
    const int first[] = {l->q, l->k, l->v, l->qkv}, second[] = {l->gate, l->up, l->gate_up};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        turn_reader(r, m, first[i], l->attention_norm.weight);
    }
    for (size_t i = 0; i < sizeof second / sizeof second[0]; i++) {
        turn_reader(r, m, second[i], l->mlp_norm.weight);
    }
    turn_writer(r, m, l->o);
    turn_writer(r, m, l->down);
    return forget_gain(m, &l->attention_norm) && forget_gain(m, &l->mlp_norm);
}

static bool turn_residual(struct model *m) {
    struct rotation r;
    bool fine = rotation_create(&r, m->shape.hidden);
    float *embedding = (float *)(uintptr_t)m->embedding->data;
    for (size_t i = 0; fine && i < m->shape.vocabulary; i++) {
        turn(&r, embedding + i * r.count, 1);
    }
    for (size_t i = 0; fine && i < m->shape.layers; i++) {
        fine = turn_layer(&r, m, &m->layers[i]);
    }
    if (fine) {
        turn_reader(&r, m, m->head, m->final_norm.weight);
        fine = forget_gain(m, &m->final_norm);
    }
    rotation_clear(&r);
    return fine;
}

/* ---- values --------------------------------------------------------------------------------------------------- */

static bool turn_values(struct model *m) {
    const struct shape *s = &m->shape;
    struct rotation r;
    bool fine = rotation_create(&r, s->head_dim);
    for (size_t n = 0; fine && n < s->layers; n++) {
        const struct layer *l = &m->layers[n];
        int i = l->v != NO_MATRIX ? l->v : l->qkv;
        size_t first = l->v != NO_MATRIX ? 0 : (size_t)(s->heads + s->kv_heads) * s->head_dim, D = s->hidden;
        float *v = values_of(m, i), *bias = (float *)(uintptr_t)m->matrices[i].bias, *o = values_of(m, l->o);
        for (size_t h = 0; h < s->kv_heads; h++) {
            size_t row = first + h * s->head_dim;
            for (size_t k = 0; k < D; k++) {
                turn(&r, v + row * D + k, D);
            }
            if (bias) {
                turn(&r, bias + row, 1);
            }
        }
        for (size_t k = 0; k < D * s->heads; k++) {
            turn(&r, o + k * s->head_dim, 1);
        }
    }
    rotation_clear(&r);
    return fine;
}

/* ---- both ----------------------------------------------------------------------------------------------------- */

static enum status check(const struct model *m, struct error *e) {
    const struct layer *l = &m->layers[0];
    if (m->shape.norm != NORM_RMS || l->post_attention_norm.weight || l->post_mlp_norm.weight || m->positions) {
        return error_set(e, ERR_USAGE, "%s: cannot be rotated (allowed: RMS norms before blocks, rotary positions)",
                         m->view.path);
    }
    for (size_t i = 0; i < m->matrix_count; i++) {
        const struct matrix_source *s = &m->sources[i];
        if (s->side || s->input_range || s->weight_scale || s->adc_range) {
            return error_set(e, ERR_USAGE, "%s: cannot be rotated: what it brings for the chip is made for its weights",
                             m->view.path);
        }
    }
    return OK;
}

enum status model_rotate(struct model *m, const char *parts, struct error *e) {
    bool all = strcmp(parts, "all") == 0, residual = all || strcmp(parts, "residual") == 0;
    bool value = all || strcmp(parts, "value") == 0;
    if (!residual && !value) {
        return error_set(e, ERR_USAGE, "--rotate %s: unknown (allowed: residual, value, all)", parts);
    }
    TRY(check(m, e));
    bool fine = own_all(m) && (!residual || turn_residual(m)) && (!value || turn_values(m));
    return fine ? OK : error_set(e, ERR_RUN, "%s: out of memory", m->view.path);
}
