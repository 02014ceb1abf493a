/* The tensors of a model that is written: names, shapes, order and values; see write.h for the names of parts.
 *
 * The two kinds of files differ in names (family tables), in the way round that a matrix lies (GPT-2 folders: [inputs]
 * [outputs]), in what a norm leaves out, and in the order of rows: GGUF files of the architecture "llama" keep the two
 * features that RoPE turns together side by side, folders half a head apart. With d features of a head, p = 0, 1:
 *
 *   row h d + p d/2 + i of a folder = row h d + 2 i + p of such a GGUF file     (matrices q and k, biases, side paths)
 *
 * A matrix is read, changed and written a few rows at a time: writing needs no copy of the model.
 */
#include <stddef.h>

#include "models/write_parts.h"

enum { ROWS_AT_ONCE = 64 };

static enum status no_memory(const struct piece_list *l, struct error *e) {
    return error_set(e, ERR_RUN, "writing %s: out of memory", weights_path(l->model->weights));
}

/* ---- names ------------------------------------------------------------------------------------------ */

/* A kind of tensor, as a place in the tables of names of the families: the same for either kind of file. */
#define STEM(kind) offsetof(struct tensor_names, kind)

static const char *stem_of(const struct tensor_names *n, size_t stem) {
    const char *text;
    memcpy(&text, (const char *)n + stem, sizeof text);
    return text;
}

/* layer < 0: outside of the layers. ending: ".weight", ... Without the prefix that some files have. */
static const char *plain_name(const struct piece_list *l, const struct tensor_names *n, int layer, size_t stem,
                              const char *ending) {
    return layer < 0 ? arena_printf(l->arena, "%s%s", stem_of(n, stem), ending)
                     : arena_printf(l->arena, "%s.%d.%s%s", n->layers, layer, stem_of(n, stem), ending);
}

/* Where the family tables keep the name of a matrix. */
static const size_t stems[MATRIX_ROLES] = {
    [MATRIX_Q] = STEM(q), [MATRIX_K] = STEM(k), [MATRIX_V] = STEM(v), [MATRIX_O] = STEM(o),
    [MATRIX_GATE] = STEM(gate), [MATRIX_UP] = STEM(up), [MATRIX_DOWN] = STEM(down),
    [MATRIX_QKV] = STEM(qkv), [MATRIX_GATE_UP] = STEM(gate_up), [MATRIX_HEAD] = STEM(head),
};

static const struct tensor_names *names_of(const struct piece_list *l) {
    const struct family *f = l->model->family;
    return l->kind == FILE_GGUF ? f->gguf_names : f->json_names;
}

static const char *file_name(const struct piece_list *l, int layer, size_t stem, const char *ending) {
    const struct tensor_names *n = names_of(l);
    const char *name = plain_name(l, n, layer, stem, ending);
    return name && n->optional_prefix && stem != STEM(head) ? arena_printf(l->arena, "%s%s", n->optional_prefix, name)
                                                            : name;
}

/* ---- parts ------------------------------------------------------------------------------------------ */

/* The two names that a part may have: our own, and that of the tensor in the file that the model came from. */
struct part_name { const char *own, *file; };

/* own: a name without ending; ending: "" or ".weight" are the same for a part. */
static struct part_name part_name(const struct piece_list *l, const char *own, int layer, size_t stem,
                                  const char *ending) {
    const char *suffix = strcmp(ending, ".weight") == 0 ? "" : ending;
    return (struct part_name){arena_printf(l->arena, "%s%s", own, suffix),
                              plain_name(l, l->model->shape.names, layer, stem, ending)};
}

static bool is_named(const struct piece_list *l, const char *text, const struct part_name *n) {
    const char *prefix = l->model->shape.names->optional_prefix;
    size_t skipped = prefix && strncmp(text, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
    return strcmp(text, n->own) == 0 || strcmp(text + skipped, n->file) == 0;
}

enum { ANY_COUNT = 0 };

/* The part of this name, or NULL. A part of another size than `count` is an error. */
static enum status find_part(struct piece_list *l, struct part_name name, uint64_t count,
                             const struct model_part **out, struct error *e) {
    const struct model_changes *c = l->changes;
    *out = NULL;
    if (!name.own || !name.file) {
        return no_memory(l, e);
    }
    for (size_t i = 0; i < c->part_count; i++) {
        const struct model_part *part = &c->parts[i];
        if (!is_named(l, part->name, &name)) {
            continue;
        }
        if (*out) {
            return error_set(e, ERR_USAGE, "part %s: given twice", part->name);
        }
        if (count != ANY_COUNT ? part->count != count : part->count == 0) {
            return error_set(e, ERR_USAGE, "part %s: %zu values (allowed: %llu)", part->name, part->count,
                             (unsigned long long)(count ? count : 1));
        }
        l->used[i] = true;
        *out = part;
    }
    return OK;
}

static enum status check_parts_used(const struct piece_list *l, struct error *e) {
    for (size_t i = 0; i < l->changes->part_count; i++) {
        if (!l->used[i]) {
            return error_set(e, ERR_USAGE, "part %s: the model has none of that name", l->changes->parts[i].name);
        }
    }
    return OK;
}

/* ---- order of rows ------------------------------------------------------------------------------ */

static bool file_interleaves(const struct piece_list *l) {
    const char *name = l->model->family->name;
    return l->kind == FILE_GGUF && (strcmp(name, "llama") == 0 || strcmp(name, "mistral") == 0);
}

/* Whether the rows of this matrix stand in another order in the file than in the model. */
static bool reorders(const struct piece_list *l, size_t matrix) {
    enum matrix_role role = l->model->sources[matrix].role;
    return (role == MATRIX_Q || role == MATRIX_K) && l->model->shape.rope.interleaved != file_interleaves(l);
}

/* Row of the model that becomes row `row` of the file. */
static uint32_t row_of(const struct piece_list *l, size_t matrix, uint32_t row) {
    if (!reorders(l, matrix)) {
        return row;
    }
    uint32_t d = l->model->shape.head_dim, head = row / d, k = row % d;
    return head * d + (file_interleaves(l) ? k % 2 * (d / 2) + k / 2 : k % (d / 2) * 2 + k / (d / 2));
}

static enum status check_rotation(const struct piece_list *l, struct error *e) {
    const struct shape *s = &l->model->shape;
    if (s->rope.on && s->rope.interleaved != file_interleaves(l) && s->rope.dims != s->head_dim) {
        return error_set(e, ERR_RUN,
                         "writing %s: rotary embedding of %u of %u features of a head: cannot be put in the order of "
                         "the other kind of file",
                         weights_path(l->model->weights), s->rope.dims, s->head_dim);
    }
    return OK;
}

/* ---- the list ----------------------------------------------------------------------------------- */

static enum status add(struct piece_list *l, const struct piece *p, struct error *e) {
    if (l->count == l->capacity) {
        size_t more = l->capacity ? 2 * l->capacity : 64;
        struct piece *grown = mem_resize(l->at, l->count * sizeof *grown, more * sizeof *grown);
        if (!grown) {
            return no_memory(l, e);
        }
        l->at = grown;
        l->capacity = more;
    }
    struct piece *added = &l->at[l->count++];
    *added = *p;
    uint64_t elements = p->shape[0] * (p->rank == 2 ? p->shape[1] : 1);
    added->bytes = elements / tensor_block_elements(p->type) * tensor_block_bytes(p->type);
    return p->name ? OK : no_memory(l, e);
}

/* Blocks do not cross rows. */
static enum tensor_type type_for(enum tensor_type wanted, uint64_t columns) {
    return columns % tensor_block_elements(wanted) ? TENSOR_F16 : wanted;
}

enum status pieces_add_vector(struct piece_list *l, const char *name, const float *values, uint64_t count,
                              struct error *e) {
    return add(l, &(struct piece){.name = name, .rank = 1, .shape = {count, 0}, .source = PIECE_VECTOR,
                                  .values = values}, e);
}

static enum status add_integers(struct piece_list *l, const char *name, const uint32_t *integers, uint64_t count,
                                struct error *e) {
    return add(l, &(struct piece){.name = name, .rank = 1, .shape = {count, 0}, .source = PIECE_INTEGERS,
                                  .integers = integers}, e);
}

/* ---- norms and tables ------------------------------------------------------------------------------- */

/* One vector of a norm: the part of this name, or what the model has; without the offset that the file leaves out. */
static enum status add_norm_vector(struct piece_list *l, int layer, size_t stem, const char *own, const char *ending,
                                   const float *values, uint32_t width, double offset, struct error *e) {
    const struct model_part *part;
    TRY(find_part(l, part_name(l, own, layer, stem, ending), width, &part, e));
    float *written = arena_alloc(l->arena, width, sizeof *written);
    if (!written) {
        return no_memory(l, e);
    }
    for (uint32_t i = 0; i < width; i++) {
        written[i] = (part ? part->values : values)[i] - (float)offset;
    }
    return pieces_add_vector(l, file_name(l, layer, stem, ending), written, width, e);
}

static enum status add_norm(struct piece_list *l, int layer, size_t stem, const char *kind, const struct norm *n,
                            uint32_t width, struct error *e) {
    if (!n->weight) {
        return OK;
    }
    double offset = l->kind == FILE_FOLDER ? l->model->family->json_norm_offset : 0.0;
    const char *own = layer < 0 ? kind : arena_printf(l->arena, "layers.%d.%s", layer, kind);
    if (!own) {
        return no_memory(l, e);
    }
    TRY(add_norm_vector(l, layer, stem, own, ".weight", n->weight, width, offset, e));
    return n->bias ? add_norm_vector(l, layer, stem, own, ".bias", n->bias, width, 0.0, e) : OK;
}

static enum status add_table(struct piece_list *l, const char *own, size_t stem, const struct tensor *table,
                             enum tensor_type type, struct error *e) {
    struct piece p = {.rank = 2, .shape = {table->shape[0], table->shape[1]}, .source = PIECE_TABLE, .table = table};
    const struct model_part *part;
    TRY(find_part(l, part_name(l, own, -1, stem, ".weight"), table->shape[0] * table->shape[1], &part, e));
    p.values = part ? part->values : NULL;
    p.type = type_for(type, table->shape[1]);
    p.name = file_name(l, -1, stem, ".weight");
    return add(l, &p, e);
}

/* ---- matrices ---------------------------------------------------------------------------------------- */

static enum status add_bias(struct piece_list *l, size_t matrix, size_t stem, struct error *e) {
    const struct matrix *m = &l->model->matrices[matrix];
    const struct model_part *part;
    TRY(find_part(l, part_name(l, l->model->sources[matrix].name, m->layer, stem, ".bias"), m->outputs, &part, e));
    float *values = arena_alloc(l->arena, m->outputs, sizeof *values);
    if (!values) {
        return no_memory(l, e);
    }
    for (uint32_t o = 0; o < m->outputs; o++) {
        values[o] = (part ? part->values : m->bias)[row_of(l, matrix, o)];
    }
    return pieces_add_vector(l, file_name(l, m->layer, stem, ".bias"), values, m->outputs, e);
}

/* How many there are is the chip's to say. */
static enum status add_input_range(struct piece_list *l, size_t matrix, size_t stem, struct error *e) {
    const struct matrix_source *s = &l->model->sources[matrix];
    const float *values = l->changes->forget_chip ? NULL : s->input_range;
    const struct model_part *part;
    TRY(find_part(l, part_name(l, s->name, s->layer, stem, ".input_range"), ANY_COUNT, &part, e));
    values = part ? part->values : values;
    return values ? pieces_add_vector(l, file_name(l, s->layer, stem, ".input_range"), values,
                               part ? part->count : s->input_range_count, e)
                  : OK;
}

/* [row blocks][outputs] numbers, outputs in the order of the file. The number of row blocks is the chip's to say. */
static enum status add_scales(struct piece_list *l, size_t matrix, size_t stem, const char *ending,
                              const float *values, size_t count, struct error *e) {
    const struct matrix_source *s = &l->model->sources[matrix];
    const struct model_part *part;
    TRY(find_part(l, part_name(l, s->name, s->layer, stem, ending), ANY_COUNT, &part, e));
    values = part ? part->values : l->changes->forget_chip ? NULL : values;
    count = part ? part->count : count;
    if (!values) {
        return OK;
    }
    if (count % s->outputs != 0) {
        return error_set(e, ERR_USAGE, "part %s: %zu values (allowed: a multiple of %u)", part ? part->name : s->name,
                         count, s->outputs);
    }
    float *written = arena_alloc(l->arena, count, sizeof *written);
    if (!written) {
        return no_memory(l, e);
    }
    for (size_t i = 0; i < count; i++) {
        size_t o = i % s->outputs;
        written[i] = values[i - o + row_of(l, matrix, (uint32_t)o)];
    }
    return add(l, &(struct piece){.name = file_name(l, s->layer, stem, ending), .type = TENSOR_F32, .rank = 2,
                                  .shape = {count / s->outputs, s->outputs}, .source = PIECE_TABLE, .values = written},
               e);
}

/* The list of single weights, its outputs in the order of the file. */
static enum status order_weights(const struct piece_list *l, size_t matrix, const struct side_path *side,
                                 uint32_t **begin, uint32_t **inputs, struct error *e) {
    uint32_t outputs = l->model->matrices[matrix].outputs, used = 0;
    *begin = arena_alloc(l->arena, (size_t)outputs + 1, sizeof **begin);
    *inputs = arena_alloc(l->arena, side->weight_begin[outputs], sizeof **inputs);
    if (!*begin || !*inputs) {
        return no_memory(l, e);
    }
    for (uint32_t o = 0; o < outputs; o++) {
        uint32_t from = row_of(l, matrix, o), first = side->weight_begin[from];
        uint32_t count = side->weight_begin[from + 1] - first;
        (*begin)[o] = used;
        memcpy(*inputs + used, side->weight_inputs + first, count * sizeof **inputs);
        used += count;
    }
    (*begin)[outputs] = used;
    return OK;
}

static enum status add_side_path(struct piece_list *l, size_t matrix, int layer, size_t stem, struct error *e) {
    const struct model_changes *c = l->changes;
    const struct side_path *side = c->sides         ? c->sides[matrix]
                                   : c->forget_chip ? NULL
                                                    : l->model->sources[matrix].side;
    if (side && side->channel_count) {
        TRY(add_integers(l, file_name(l, layer, stem, ".digital_channels"), side->channels, side->channel_count, e));
    }
    if (!side || !side->weight_begin) {
        return OK;
    }
    uint32_t outputs = l->model->matrices[matrix].outputs, *begin, *inputs;
    TRY(order_weights(l, matrix, side, &begin, &inputs, e));
    TRY(add_integers(l, file_name(l, layer, stem, ".digital_weight_begin"), begin, (uint64_t)outputs + 1, e));
    return add_integers(l, file_name(l, layer, stem, ".digital_weight_inputs"), inputs, begin[outputs], e);
}

static enum status add_devices(struct piece_list *l, size_t matrix, int layer, size_t stem, struct error *e) {
    const struct model_changes *c = l->changes;
    const uint32_t *devices = c->devices ? &c->devices[matrix] : &l->model->sources[matrix].devices;
    bool told = *devices && (c->devices || !c->forget_chip);
    return told ? add_integers(l, file_name(l, layer, stem, ".devices"), devices, 1, e) : OK;
}

static enum status add_weights(struct piece_list *l, size_t matrix, int layer, size_t stem, struct error *e) {
    const struct matrix *m = &l->model->matrices[matrix];
    bool transposed = l->kind == FILE_FOLDER && l->model->family->json_transposed && layer >= 0;
    struct piece p = {.name = file_name(l, layer, stem, ".weight"), .rank = 2, .source = PIECE_MATRIX, .matrix = matrix,
                      .transposed = transposed,
                      .shape = {transposed ? m->inputs : m->outputs, transposed ? m->outputs : m->inputs}};
    p.type = type_for(l->changes->type, p.shape[1]);
    return add(l, &p, e);
}

static enum status add_matrix(struct piece_list *l, int index, struct error *e) {
    if (index == NO_MATRIX) {
        return OK;
    }
    size_t matrix = (size_t)index, stem = stems[l->model->sources[matrix].role];
    const struct matrix *m = &l->model->matrices[matrix];
    if (!(l->tied && index == l->model->head)) {
        TRY(add_weights(l, matrix, m->layer, stem, e));
    }
    if (m->bias) {
        TRY(add_bias(l, matrix, stem, e));
    }
    if (l->kind == FILE_GGUF) {
        return OK;
    }
    const struct matrix_source *s = &l->model->sources[matrix];
    TRY(add_input_range(l, matrix, stem, e));
    TRY(add_scales(l, matrix, stem, ".weight_scale", s->weight_scale, s->scale_count, e));
    TRY(add_scales(l, matrix, stem, ".adc_range", s->adc_range, s->adc_range_count, e));
    TRY(add_devices(l, matrix, m->layer, stem, e));
    return add_side_path(l, matrix, m->layer, stem, e);
}

static enum status add_layer(struct piece_list *l, uint32_t layer, struct error *e) {
    const struct shape *s = &l->model->shape;
    const struct layer *own = &l->model->layers[layer];
    int i = (int)layer;
    TRY(add_norm(l, i, STEM(attention_norm), "attention_norm", &own->attention_norm, s->hidden, e));
    TRY(add_matrix(l, own->q, e));
    TRY(add_matrix(l, own->k, e));
    TRY(add_matrix(l, own->v, e));
    TRY(add_matrix(l, own->qkv, e));
    TRY(add_norm(l, i, STEM(q_norm), "q_norm", &own->q_norm, s->head_dim, e));
    TRY(add_norm(l, i, STEM(k_norm), "k_norm", &own->k_norm, s->head_dim, e));
    TRY(add_matrix(l, own->o, e));
    TRY(add_norm(l, i, STEM(post_attention_norm), "post_attention_norm", &own->post_attention_norm, s->hidden, e));
    TRY(add_norm(l, i, STEM(mlp_norm), "mlp_norm", &own->mlp_norm, s->hidden, e));
    TRY(add_matrix(l, own->gate, e));
    TRY(add_matrix(l, own->up, e));
    TRY(add_matrix(l, own->gate_up, e));
    TRY(add_matrix(l, own->down, e));
    return add_norm(l, i, STEM(post_mlp_norm), "post_mlp_norm", &own->post_mlp_norm, s->hidden, e);
}

/* Four bits are too few for a table that is looked up and, tied, the head; positions are few and stay exact. */
static enum tensor_type table_type(const struct piece_list *l, bool positions) {
    if (l->kind == FILE_GGUF && positions) {
        return TENSOR_F32;
    }
    return l->changes->type == TENSOR_Q4_0 ? TENSOR_Q8_0 : l->changes->type;
}

static enum status add_all(struct piece_list *l, struct error *e) {
    const struct model *m = l->model;
    TRY(add_table(l, "embedding", STEM(embedding), m->embedding, table_type(l, false), e));
    if (m->positions) {
        TRY(add_table(l, "positions", STEM(positions), m->positions, table_type(l, true), e));
    }
    for (uint32_t layer = 0; layer < m->shape.layers; layer++) {
        TRY(add_layer(l, layer, e));
    }
    TRY(add_norm(l, -1, STEM(final_norm), "final_norm", &m->final_norm, m->shape.hidden, e));
    TRY(add_matrix(l, m->head, e));
    return check_parts_used(l, e);
}

/* ---- making it ---------------------------------------------------------------------------------- */

static enum status check_changes(const struct piece_list *l, struct error *e) {
    const struct model_changes *c = l->changes;
    bool plain = c->type == TENSOR_F32 || c->type == TENSOR_F16 || c->type == TENSOR_BF16;
    if (!plain && !(l->kind == FILE_GGUF && (c->type == TENSOR_Q8_0 || c->type == TENSOR_Q4_0))) {
        return error_set(e, ERR_USAGE, "type %s: cannot be written (allowed: F32, F16, BF16%s)",
                         tensor_type_name(c->type), l->kind == FILE_GGUF ? ", Q8_0, Q4_0" : "");
    }
    if (c->quantise_bits != 0 && (c->quantise_bits < 2 || c->quantise_bits > 8)) {
        return error_set(e, ERR_USAGE, "quantise: %d bits (allowed: 2 to 8)", c->quantise_bits);
    }
    if (l->model->shapes) {
        return error_set(e, ERR_USAGE, "%s: opened without weights: nothing to write", weights_path(l->model->weights));
    }
    return check_rotation(l, e);
}

static enum status find_weights(struct piece_list *l, struct error *e) {
    const struct model *m = l->model;
    for (size_t i = 0; i < m->matrix_count; i++) {
        const struct matrix_source *s = &m->sources[i];
        const struct model_part *part;
        TRY(find_part(l, part_name(l, s->name, s->layer, stems[s->role], ".weight"), (uint64_t)s->inputs * s->outputs,
                      &part, e));
        l->weights[i] = part ? part->values : NULL;
    }
    l->tied = m->shape.tied_head && !l->weights[m->head] && !l->changes->quantise_bits;
    return OK;
}

static enum status fill(struct piece_list *l, struct error *e) {
    TRY(check_changes(l, e));
    l->arena = arena_create();
    l->weights = l->arena ? arena_alloc(l->arena, l->model->matrix_count, sizeof *l->weights) : NULL;
    l->used = l->weights ? arena_alloc(l->arena, l->changes->part_count, sizeof *l->used) : NULL;
    if (!l->used) {
        return no_memory(l, e);
    }
    TRY(find_weights(l, e));
    return add_all(l, e);
}

enum status pieces_create(const struct model *m, const struct model_changes *c, enum file_kind kind,
                          struct piece_list **out, struct error *e) {
    struct piece_list *l = mem_alloc(1, sizeof *l);
    if (!l) {
        return error_set(e, ERR_RUN, "writing %s: out of memory", weights_path(m->weights));
    }
    l->model = m;
    l->changes = c;
    l->kind = kind;
    enum status status = fill(l, e);
    if (status != OK) {
        pieces_destroy(l);
        return status;
    }
    *out = l;
    return OK;
}

void pieces_destroy(struct piece_list *l) {
    if (l) {
        arena_destroy(l->arena);
        mem_free(l->at);
        mem_free(l);
    }
}

/* ---- values ------------------------------------------------------------------------------------- */

/* Rows [first, first + count) of a matrix, in the order of the file, as the written model has them. */
static void changed_rows(const struct piece_list *l, size_t matrix, uint32_t first, uint32_t count, float *out) {
    const struct matrix *m = &l->model->matrices[matrix];
    const float *replaced = l->weights[matrix];
    bool one_by_one = replaced || reorders(l, matrix);
    for (uint32_t i = 0; i < count && one_by_one; i++) {
        uint32_t row = row_of(l, matrix, first + i);
        float *to = out + (size_t)i * m->inputs;
        if (replaced) {
            memcpy(to, replaced + (size_t)row * m->inputs, m->inputs * sizeof *to);
        } else {
            matrix_rows(m, row, 1, to);
        }
    }
    if (!one_by_one) {
        matrix_rows(m, first, count, out);
    }
    for (uint32_t i = 0; i < count && l->changes->quantise_bits; i++) {
        quantise_row(out + (size_t)i * m->inputs, m->inputs, l->changes->quantise_bits);
    }
}

static void table_rows(const struct piece *p, uint32_t first, uint32_t count, float *out) {
    if (p->values) {
        memcpy(out, p->values + first * p->shape[1], count * p->shape[1] * sizeof *out);
    } else {
        tensor_rows_f32(p->table, first, count, out);
    }
}

/* A value that is finite in fp32 and not in the type of the file. */
static enum status check_range(const struct piece *p, const float *values, size_t count, struct error *e) {
    float limit = p->type == TENSOR_F16 || tensor_block_elements(p->type) > 1 ? 65504.0f : 3.3895e38f;
    for (size_t i = 0; i < count; i++) {
        if (!(values[i] <= limit && values[i] >= -limit)) {
            return error_set(e, ERR_RUN, "tensor %s: %g does not fit into %s (allowed: up to %g in size)", p->name,
                             (double)values[i], tensor_type_name(p->type), (double)limit);
        }
    }
    return OK;
}

/* `out`: room for the values in the type of the piece. A failed write shows when the file is closed. */
static enum status put_values(const struct piece *p, const float *values, size_t count, void *out, FILE *f,
                              struct error *e) {
    TRY(check_range(p, values, count, e));
    tensor_quantise(p->type, values, count, out);
    fwrite(out, tensor_block_bytes(p->type), count / tensor_block_elements(p->type), f);
    return OK;
}

static enum status put_rows(const struct piece_list *l, const struct piece *p, FILE *f, float *rows, void *out,
                            struct error *e) {
    for (uint64_t first = 0; first < p->shape[0]; first += ROWS_AT_ONCE) {
        uint32_t count = (uint32_t)(p->shape[0] - first < ROWS_AT_ONCE ? p->shape[0] - first : ROWS_AT_ONCE);
        if (p->source == PIECE_MATRIX) {
            changed_rows(l, p->matrix, (uint32_t)first, count, rows);
        } else {
            table_rows(p, (uint32_t)first, count, rows);
        }
        TRY(put_values(p, rows, count * p->shape[1], out, f, e));
    }
    return OK;
}

/* [inputs][outputs]: the whole matrix at once. */
static enum status put_transposed(const struct piece_list *l, const struct piece *p, FILE *f, float *rows, void *out,
                                  struct error *e) {
    size_t inputs = p->shape[0], outputs = p->shape[1];
    float *all = rows + outputs;
    changed_rows(l, p->matrix, 0, (uint32_t)outputs, all);
    for (size_t k = 0; k < inputs; k++) {
        for (size_t o = 0; o < outputs; o++) {
            rows[o] = all[o * inputs + k];
        }
        TRY(put_values(p, rows, outputs, out, f, e));
    }
    return OK;
}

enum status piece_write(const struct piece_list *l, const struct piece *p, FILE *f, struct error *e) {
    if (p->source == PIECE_INTEGERS) {
        fwrite(p->integers, sizeof *p->integers, (size_t)p->shape[0], f);
        return OK;
    }
    if (p->source == PIECE_VECTOR) {
        TRY(check_range(p, p->values, (size_t)p->shape[0], e));
        fwrite(p->values, sizeof *p->values, (size_t)p->shape[0], f);
        return OK;
    }
    size_t columns = (size_t)p->shape[1], rows_at_once = p->transposed ? p->shape[0] + 1 : ROWS_AT_ONCE;
    float *rows = mem_alloc(rows_at_once, columns * sizeof *rows);
    void *out = mem_alloc(ROWS_AT_ONCE, columns * sizeof *rows);
    enum status status = !rows || !out   ? no_memory(l, e)
                         : p->transposed ? put_transposed(l, p, f, rows, out, e)
                                       : put_rows(l, p, f, rows, out, e);
    mem_free(rows);
    mem_free(out);
    return status;
}
