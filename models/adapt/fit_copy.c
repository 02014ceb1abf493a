/* A model whose weights may be changed by the steps of `mho adapt fit`: every matrix on tiles is an fp32 tensor of its
 * own; all else is the original's. A head that is tied to the embedding becomes a matrix of its own. */
#include "base/memory.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

/* The weights of a matrix as the model has them, into a tensor of its own. */
static const struct tensor *own_tensor(struct model *copy, size_t i) {
    const struct matrix *m = &copy->matrices[i];
    struct tensor *t = arena_alloc(copy->arena, 1, sizeof *t);
    size_t count = (size_t)m->outputs * m->inputs;
    float *values = arena_alloc(copy->arena, count, sizeof *values);
    bool tied = (int)i == copy->head && copy->shape.tied_head;
    const char *name = tied ? arena_printf(copy->arena, "%s.weight", copy->shape.names->head) : m->tensor->name;
    if (!t || !values || !name) {
        return NULL;
    }
    matrix_rows(m, 0, m->outputs, values);
    *t = (struct tensor){.name = name, .type = TENSOR_F32, .rank = 2, .shape = {m->outputs, m->inputs, 0, 0},
                         .data = values, .bytes = count * sizeof *values};
    return t;
}

static bool copy_matrix(struct model *copy, size_t i) {
    const struct tensor *t = own_tensor(copy, i);
    struct matrix *m = &copy->matrices[i];
    if (t) {
        m->tensor = t;
        m->transposed = false;
        m->quantise_bits = 0;
        copy->shape.tied_head = copy->shape.tied_head && (int)i != copy->head;
    }
    return t != NULL;
}

static bool fill(struct model *copy, const struct model *m, const struct chip *c) {
    copy->matrices = arena_alloc(copy->arena, m->matrix_count, sizeof *copy->matrices);
    copy->sources = arena_alloc(copy->arena, m->matrix_count, sizeof *copy->sources);
    for (size_t i = 0; i < m->matrix_count; i++) {
        if (!copy->matrices || !copy->sources) {
            return false;
        }
        copy->matrices[i] = m->matrices[i];
        copy->sources[i] = m->sources[i];
        copy->sources[i].context = &copy->matrices[i];
        if (chip_is_analog(c, m->sources[i].role) && !copy_matrix(copy, i)) {
            return false;
        }
    }
    return true;
}

enum status fit_copy_create(const struct model *m, const struct chip *c, struct model **out, struct error *e) {
    struct arena *arena = arena_create();
    struct model *copy = arena ? arena_alloc(arena, 1, sizeof *copy) : NULL;
    if (copy) {
        *copy = *m;
        copy->arena = arena;
    }
    if (!copy || !fill(copy, m, c)) {
        arena_destroy(arena);
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    *out = copy;
    return OK;
}

void fit_copy_destroy(struct model *copy) {
    if (copy) {
        arena_destroy(copy->arena); /* and with it the copy */
    }
}

float *fit_weights(const struct model *copy, size_t matrix) {
    return (float *)(uintptr_t)copy->matrices[matrix].tensor->data;
}
