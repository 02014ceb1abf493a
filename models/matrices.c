/* Takes the tensors that a shape asks for and makes matrices and vectors of them: see internal.h.
 *
 * Presence, shape and finite values are checked before anything is used. A tensor of the file that the family does not
 * know is an error too: leaving out a bias or a norm would run, and be wrong without a word.
 */
#include <stdio.h>
#include <string.h>

#include "models/internal.h"

enum { MATRICES_PER_LAYER = 7, NAME_BYTES = 256 };

struct taker {
    struct model *model;
    const struct tensor_names *names;
    const char *prefix; /* before every name, or "" */
    bool *used;         /* [weights_count] */
    bool *used_integers; /* [weights_integers_count] */
    int layer;          /* being taken; -1 outside */
};

static enum status no_memory(const struct taker *t, struct error *e) {
    return error_set(e, ERR_RUN, "%s: out of memory", weights_path(t->model->weights));
}

static void full_name(const struct taker *t, const char *stem, const char *ending, char out[NAME_BYTES]) {
    const char *prefix = stem == t->names->head ? "" : t->prefix; /* the head stands outside of what it names */
    if (t->layer >= 0) {
        snprintf(out, NAME_BYTES, "%s%s.%d.%s%s", prefix, t->names->layers, t->layer, stem, ending);
    } else {
        snprintf(out, NAME_BYTES, "%s%s%s", prefix, stem, ending);
    }
}

static void mark_used(struct taker *t, const struct tensor *tensor) {
    for (size_t i = 0; i < weights_count(t->model->weights); i++) {
        if (weights_at(t->model->weights, i) == tensor) {
            t->used[i] = true;
            return;
        }
    }
}

static enum status wrong_shape(const struct taker *t, const struct tensor *tensor, int rank, uint64_t rows,
                               uint64_t columns, struct error *e) {
    char found[96] = "", expected[64];
    for (int i = 0; i < tensor->rank && i < 4; i++) {
        size_t at = strlen(found);
        snprintf(found + at, sizeof found - at, "%s%llu", i ? ", " : "", (unsigned long long)tensor->shape[i]);
    }
    if (rank == 2) {
        snprintf(expected, sizeof expected, "%llu, %llu", (unsigned long long)rows, (unsigned long long)columns);
    } else {
        snprintf(expected, sizeof expected, "%llu", (unsigned long long)rows);
    }
    return error_set(e, ERR_RUN, "%s: tensor %s: found shape [%s], expected [%s]", weights_path(t->model->weights),
                     tensor->name, found, expected);
}

/* A tensor that has a shape and no data. */
static enum status take_shape(struct taker *t, const char *name, int rank, uint64_t rows, uint64_t columns,
                              const struct tensor **out, struct error *e) {
    struct tensor *made = arena_alloc(t->model->arena, 1, sizeof *made);
    const char *own = arena_strdup(t->model->arena, name);
    if (!made || !own) {
        return no_memory(t, e);
    }
    *made = (struct tensor){.name = own, .type = TENSOR_F32, .rank = rank, .shape = {rows, columns, 0, 0}};
    t->model->view.parameters += rows * (rank == 2 ? columns : 1);
    *out = made;
    return OK;
}

/* rank 1: `rows` elements; rank 2: [rows][columns]. */
static enum status take(struct taker *t, const char *stem, const char *ending, int rank, uint64_t rows,
                        uint64_t columns, const struct tensor **out, struct error *e) {
    char name[NAME_BYTES];
    full_name(t, stem, ending, name);
    if (t->model->shapes) {
        return take_shape(t, name, rank, rows, columns, out, e);
    }
    const struct tensor *tensor = weights_find(t->model->weights, name);
    if (!tensor) {
        return error_set(e, ERR_RUN, "%s: tensor %s: missing (the %s family needs it)", weights_path(t->model->weights),
                         name, t->model->family->name);
    }
    if (tensor->rank != rank || tensor->shape[0] != rows || (rank == 2 && tensor->shape[1] != columns)) {
        return wrong_shape(t, tensor, rank, rows, columns, e);
    }
    TRY(tensor_check_finite(tensor, e));
    mark_used(t, tensor);
    t->model->view.parameters += rows * (rank == 2 ? columns : 1);
    *out = tensor;
    return OK;
}

static enum status take_vector(struct taker *t, const char *stem, const char *ending, uint32_t count, double offset,
                               const float **out, struct error *e) {
    const struct tensor *tensor;
    TRY(take(t, stem, ending, 1, count, 1, &tensor, e));
    float *values = arena_alloc(t->model->arena, count, sizeof *values);
    if (!values) {
        return no_memory(t, e);
    }
    if (tensor->data) {
        tensor_rows_f32(tensor, 0, 1, values);
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i] += (float)offset;
    }
    *out = values;
    return OK;
}

static enum status take_norm(struct taker *t, const char *stem, uint32_t width, struct norm *out, struct error *e) {
    if (!stem) {
        return OK;
    }
    TRY(take_vector(t, stem, ".weight", width, t->model->shape.norm_offset, &out->weight, e));
    return t->model->shape.norm == NORM_LAYER ? take_vector(t, stem, ".bias", width, 0.0, &out->bias, e) : OK;
}

static enum status read_source_rows(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    const struct matrix *m = context;
    if (first > m->outputs || count > m->outputs - first) {
        return error_set(e, ERR_RUN, "tensor %s: rows %u to %u: outside (allowed: below %u)", m->tensor->name, first,
                         first + count, m->outputs);
    }
    matrix_rows(m, first, count, rows);
    return OK;
}

/* A column slice of an [inputs][outputs] tensor; only types of one element per block are stored that way. */
static void transposed_rows(const struct matrix *m, uint32_t first, uint32_t count, float *rows) {
    enum { SLICE = 64 };
    float slice[SLICE];
    size_t element = tensor_block_bytes(m->tensor->type);
    for (uint32_t done = 0; done < count; done += SLICE) {
        uint32_t n = count - done < SLICE ? count - done : SLICE;
        for (uint32_t k = 0; k < m->inputs; k++) {
            size_t at = (size_t)k * m->outputs + first + done;
            tensor_dequantise(m->tensor->type, (const char *)m->tensor->data + at * element, n, slice);
            for (uint32_t i = 0; i < n; i++) {
                rows[(size_t)(done + i) * m->inputs + k] = slice[i];
            }
        }
    }
}

void matrix_rows(const struct matrix *m, uint32_t first, uint32_t count, float *rows) {
    if (m->transposed) {
        transposed_rows(m, first, count, rows);
    } else {
        tensor_rows_f32(m->tensor, first, count, rows);
    }
    for (uint32_t r = 0; m->quantise_bits && r < count; r++) {
        quantise_row(rows + (size_t)r * m->inputs, m->inputs, m->quantise_bits);
    }
}

/* Registers a matrix whose tensor is taken already. */
static enum status add_matrix(struct taker *t, const struct tensor *tensor, enum matrix_role role, uint32_t outputs,
                              uint32_t inputs, bool transposed, const float *bias, int *index, struct error *e) {
    struct model *m = t->model;
    const char *name = t->layer < 0 ? arena_strdup(m->arena, matrix_role_name(role))
                                    : arena_printf(m->arena, "layers.%d.%s", t->layer, matrix_role_name(role));
    if (!name) {
        return no_memory(t, e);
    }
    size_t i = m->matrix_count++;
    m->matrices[i] = (struct matrix){tensor, transposed, inputs, outputs, bias, t->layer, 0};
    m->sources[i] = (struct matrix_source){.name = name,
                                           .layer = t->layer,
                                           .role = role,
                                           .inputs = inputs,
                                           .outputs = outputs,
                                           .read_rows = read_source_rows,
                                           .context = &m->matrices[i]};
    *index = (int)i;
    return OK;
}

static enum status take_chip_tensors(struct taker *t, const char *stem, int index, struct error *e) {
    char name[NAME_BYTES];
    if (t->model->shapes || weights_is_gguf(t->model->weights)) {
        return OK;
    }
    full_name(t, stem, "", name);
    return model_take_chip_tensors(t->model, (size_t)index, name, t->used, t->used_integers, e);
}

static enum status take_matrix(struct taker *t, const char *stem, enum matrix_role role, uint64_t outputs,
                               uint32_t inputs, bool with_bias, int *index, struct error *e) {
    *index = NO_MATRIX;
    if (!stem) {
        return OK;
    }
    bool transposed = t->model->shape.transposed && t->layer >= 0;
    const struct tensor *tensor;
    TRY(take(t, stem, ".weight", 2, transposed ? inputs : outputs, transposed ? outputs : inputs, &tensor, e));
    if (transposed && tensor_block_elements(tensor->type) != 1) {
        return error_set(e, ERR_RUN, "%s: tensor %s: %s cannot be stored transposed (allowed: F32, F16, BF16)",
                         weights_path(t->model->weights), tensor->name, tensor_type_name(tensor->type));
    }
    const float *bias = NULL;
    if (with_bias) {
        TRY(take_vector(t, stem, ".bias", (uint32_t)outputs, 0.0, &bias, e));
    }
    TRY(add_matrix(t, tensor, role, (uint32_t)outputs, inputs, transposed, bias, index, e));
    return take_chip_tensors(t, stem, *index, e);
}

static enum status take_layer(struct taker *t, struct layer *l, struct error *e) {
    const struct shape *s = &t->model->shape;
    const struct tensor_names *n = t->names;
    uint32_t D = s->hidden, Q = s->heads * s->head_dim, KV = s->kv_heads * s->head_dim, F = s->intermediate;
    TRY(take_norm(t, n->attention_norm, D, &l->attention_norm, e));
    TRY(take_matrix(t, n->q, MATRIX_Q, Q, D, s->qkv_bias, &l->q, e));
    TRY(take_matrix(t, n->k, MATRIX_K, KV, D, s->qkv_bias, &l->k, e));
    TRY(take_matrix(t, n->v, MATRIX_V, KV, D, s->qkv_bias, &l->v, e));
    TRY(take_matrix(t, n->qkv, MATRIX_QKV, (uint64_t)Q + 2 * KV, D, s->qkv_bias, &l->qkv, e));
    TRY(take_norm(t, n->q_norm, s->head_dim, &l->q_norm, e));
    TRY(take_norm(t, n->k_norm, s->head_dim, &l->k_norm, e));
    TRY(take_matrix(t, n->o, MATRIX_O, D, Q, s->o_bias, &l->o, e));
    TRY(take_norm(t, n->post_attention_norm, D, &l->post_attention_norm, e));
    TRY(take_norm(t, n->mlp_norm, D, &l->mlp_norm, e));
    TRY(take_matrix(t, n->gate, MATRIX_GATE, F, D, s->mlp_bias, &l->gate, e));
    TRY(take_matrix(t, n->up, MATRIX_UP, F, D, s->mlp_bias, &l->up, e));
    TRY(take_matrix(t, n->gate_up, MATRIX_GATE_UP, 2 * (uint64_t)F, D, s->mlp_bias, &l->gate_up, e));
    TRY(take_matrix(t, n->down, MATRIX_DOWN, D, F, s->mlp_bias, &l->down, e));
    return take_norm(t, n->post_mlp_norm, D, &l->post_mlp_norm, e);
}

/* Adapted checkpoints hold a head of its own while config.json still says that it is the embedding. */
static bool has_other_head(const struct taker *t) {
    const struct tensor *embedding = t->model->embedding;
    char name[NAME_BYTES];
    full_name(t, t->names->head, ".weight", name);
    const struct tensor *head = weights_find(t->model->weights, name);
    return head && (head->type != embedding->type || head->bytes != embedding->bytes ||
                    memcmp(head->data, embedding->data, (size_t)head->bytes) != 0);
}

static enum status take_head(struct taker *t, struct error *e) {
    struct model *m = t->model;
    m->shape.tied_head = m->shape.tied_head && (m->shapes || !has_other_head(t));
    if (m->shape.tied_head) {
        TRY(add_matrix(t, m->embedding, MATRIX_HEAD, m->shape.vocabulary, m->shape.hidden, false, NULL, &m->head, e));
        return take_chip_tensors(t, t->names->head, m->head, e);
    }
    return take_matrix(t, t->names->head, MATRIX_HEAD, m->shape.vocabulary, m->shape.hidden, false, &m->head, e);
}

static enum status take_all(struct taker *t, struct error *e) {
    struct model *m = t->model;
    const struct shape *s = &m->shape;
    t->layer = -1;
    TRY(take(t, t->names->embedding, ".weight", 2, s->vocabulary, s->hidden, &m->embedding, e));
    if (t->names->positions) {
        TRY(take(t, t->names->positions, ".weight", 2, s->context, s->hidden, &m->positions, e));
    }
    for (uint32_t l = 0; l < s->layers; l++) {
        t->layer = (int)l;
        TRY(take_layer(t, &m->layers[l], e));
    }
    t->layer = -1;
    TRY(take_norm(t, t->names->final_norm, s->hidden, &m->final_norm, e));
    return take_head(t, e);
}

/* Tensors that files carry although they can be computed, or that the shape has read: rotary tables, causal masks, a
 * copy of a tied head. And what training of input ranges leaves behind (Analog Foundation Models): its counter and the
 * extremes that it saw. */
static bool may_be_left(const struct taker *t, const char *name) {
    static const char *const endings[] = {"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", "rope_freqs.weight",
                                          "rope_factors_short.weight", "rope_factors_long.weight",
                                          ".input_range_update_idx", ".x_min", ".x_max"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (text_ends_with(name, endings[i])) {
            return true;
        }
    }
    return t->model->shape.tied_head && strcmp(name, "lm_head.weight") == 0;
}

static enum status check_all_used(const struct taker *t, struct error *e) {
    const struct weights *w = t->model->weights;
    for (size_t i = 0; i < weights_count(w); i++) {
        if (!t->used[i] && !may_be_left(t, weights_at(w, i)->name)) {
            return error_set(e, ERR_RUN, "%s: tensor %s: the %s family as configured has no place for it",
                             weights_path(w), weights_at(w, i)->name, t->model->family->name);
        }
    }
    return OK;
}

/* Some files put a prefix before every name, some do not: the embedding tells. */
static const char *prefix_of(const struct model *m) {
    const struct tensor_names *n = m->shape.names;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s.weight", n->optional_prefix ? n->optional_prefix : "", n->embedding);
    return n->optional_prefix && weights_find(m->weights, name) ? n->optional_prefix : "";
}

enum status model_take_tensors(struct model *m, struct error *e) {
    struct taker t = {.model = m, .names = m->shape.names, .prefix = prefix_of(m)};
    size_t most = (size_t)m->shape.layers * MATRICES_PER_LAYER + 1;
    m->layers = arena_alloc(m->arena, m->shape.layers, sizeof *m->layers);
    m->matrices = arena_alloc(m->arena, most, sizeof *m->matrices);
    m->sources = arena_alloc(m->arena, most, sizeof *m->sources);
    t.used = mem_alloc(weights_count(m->weights), sizeof *t.used);
    t.used_integers = mem_alloc(weights_integers_count(m->weights), sizeof *t.used_integers);
    enum status status = OK;
    if (!m->layers || !m->matrices || !m->sources || !t.used || !t.used_integers) {
        status = no_memory(&t, e);
    } else {
        status = take_all(&t, e);
    }
    if (status == OK && !m->shapes) {
        status = check_all_used(&t, e);
    }
    if (status == OK && !m->shapes) {
        status = model_check_chip_tensors(m, t.used_integers, e);
    }
    mem_free(t.used);
    mem_free(t.used_integers);
    return status;
}
