/* Opens a model: files -> shape -> tensors -> tokenizer. See model.h; the parts are in shape.c, matrices.c. */
#include "models/internal.h"

#include "base/io.h"

static enum status open_tokenizer(struct model *m, struct error *e) {
    const struct gguf *g = weights_gguf(m->weights);
    bool there = false;
    if (g) {
        const char *text;
        size_t bytes;
        TRY(gguf_get_text(g, "tokenizer.ggml.model", &text, &bytes, &there, e));
    } else {
        char *path = path_join(weights_path(m->weights), "tokenizer.json");
        if (!path) {
            return error_set(e, ERR_RUN, "%s: out of memory", weights_path(m->weights));
        }
        there = file_exists(path);
        mem_free(path);
    }
    return there ? tokenizer_open(m->weights, &m->tokenizer, e) : OK;
}

static void fill_view(struct model *m) {
    const struct shape *s = &m->shape;
    struct model_shape *v = &m->view;
    v->family = m->family->name;
    v->layers = s->layers;
    v->hidden = s->hidden;
    v->heads = s->heads;
    v->kv_heads = s->kv_heads;
    v->head_dim = s->head_dim;
    v->intermediate = s->intermediate;
    v->vocabulary = s->vocabulary;
    v->context = s->context;
    v->tied_head = s->tied_head;
    v->path = weights_path(m->weights);
}

static enum status open_parts(struct model *m, const char *path, struct error *e) {
    TRY(m->shapes ? weights_open_shapes(path, &m->weights, e) : weights_open(path, &m->weights, e));
    TRY(shape_read(m->weights, m->arena, &m->family, &m->shape, e));
    if (!m->shapes && weights_count(m->weights) == 0) {
        return error_set(e, ERR_RUN, "%s: the file holds no tensors (allowed without them: --shapes-only)", path);
    }
    TRY(model_take_tensors(m, e));
    fill_view(m);
    return m->shapes ? OK : open_tokenizer(m, e);
}

static enum status open_as(const char *path, bool shapes, struct model **out, struct error *e) {
    char *found = NULL;
    TRY(model_resolve(path, &found, e));
    struct model *m = mem_alloc(1, sizeof *m);
    enum status status = OK;
    if (!m || !(m->arena = arena_create())) {
        status = error_set(e, ERR_RUN, "%s: out of memory", path);
    } else {
        m->shapes = shapes;
        status = open_parts(m, found, e);
    }
    mem_free(found);
    if (status != OK) {
        model_close(m);
        return status;
    }
    *out = m;
    return OK;
}

enum status model_open(const char *path, struct model **out, struct error *e) { return open_as(path, false, out, e); }

enum status model_open_shapes(const char *path, struct model **out, struct error *e) {
    return open_as(path, true, out, e);
}

void model_close(struct model *m) {
    if (m) {
        tokenizer_close(m->tokenizer);
        arena_destroy(m->arena);
        weights_close(m->weights);
        mem_free(m);
    }
}

enum status model_quantise(struct model *m, int bits, struct error *e) {
    if (bits < 2 || bits > 8) {
        return error_set(e, ERR_USAGE, "%s: weights of %d bits (allowed: 2 to 8)", m->view.path, bits);
    }
    for (size_t i = 0; i < m->matrix_count; i++) {
        m->matrices[i].quantise_bits = bits;
    }
    return OK;
}

int model_quantised_bits(const struct model *m) { return m->matrix_count ? m->matrices[0].quantise_bits : 0; }

const struct model_shape *model_shape(const struct model *m) { return &m->view; }

uint64_t model_kv_positions(const struct model *m, uint32_t layer, uint64_t positions) {
    uint32_t window = m->shape.window[layer];
    return window && window < positions ? window : positions;
}

const struct tokenizer *model_tokenizer(const struct model *m) { return m->tokenizer; }

int32_t model_bos(const struct model *m) {
    int32_t bos = m->tokenizer ? tokenizer_bos(m->tokenizer) : -1;
    return bos >= 0 ? bos : m->shape.bos;
}

bool model_is_end(const struct model *m, int32_t id) {
    for (size_t i = 0; i < m->shape.end_count; i++) {
        if (m->shape.ends[i] == id) {
            return true;
        }
    }
    return m->tokenizer && tokenizer_is_end(m->tokenizer, id);
}

bool model_is_for_chip(const struct model *m) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        const struct matrix_source *s = &m->sources[i];
        if (s->side || s->input_range || s->adc_range || s->weight_scale || s->devices) {
            return true;
        }
    }
    return false;
}

const struct matrix_source *model_matrices(const struct model *m, size_t *count) {
    *count = m->matrix_count;
    return m->sources;
}
