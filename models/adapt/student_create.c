/* Making a student: parameters with fp32 copies of the model's weights, the layers' links to them, buffers. */
#include <stdio.h>
#include <string.h>

#include "base/threads.h"
#include "models/adapt/student_internal.h"

enum { NAME_BYTES = 512 };

static enum status no_memory(struct error *e) {
    return error_set(e, ERR_RUN, "student: out of memory for parameters, gradients and buffers");
}

static void *take(struct student *s, size_t count, size_t size) {
    return arena_alloc(s->arena, count ? count : 1, size);
}

/* ---- the rule ---------------------------------------------------------------------------------- */

enum status student_rule_of_chip(const struct chip *c, struct analog_rule *out, struct error *e) {
    struct chip_training t;
    TRY(chip_training(c, &t, e));
    *out = (struct analog_rule){.inputs = t.inputs_per_token ? TRAIN_INPUTS_PER_TOKEN : TRAIN_INPUTS_STATIC,
                                .dac_steps = t.dac_steps,
                                .range_start = 3,
                                .range_batches = 500,
                                .range_sds = 18,
                                .range_decay = 0.01,
                                .range_inside = 0.95,
                                .range_floor = 1e-6,
                                .adc_bound = t.adc_steps ? t.adc_bound : 0,
                                .adc_per_column = true,
                                .adc_steps = t.adc_steps,
                                .noise = TRAIN_NOISE_COLUMN,
                                .noise_sd = 0.03,
                                .clip = TRAIN_CLIP_COLUMN,
                                .clip_sds = 2.5,
                                .weight_scale_per_column = true};
    if (!t.dac_steps && !t.adc_steps) {
        out->inputs = TRAIN_INPUTS_FREE;
    }
    return chip_weight_noise(c, out->noise_curve, NOISE_NODES, e);
}

/* ---- parameters -------------------------------------------------------------------------------- */

/* A parameter with room for its data; NULL: out of memory. */
static struct parameter *add_parameter(struct student *s, const char *name, size_t rows, size_t columns,
                                       enum parameter_group group) {
    struct parameter p = {.name = arena_strdup(s->arena, name),
                          .data = reals_of(s->arena, rows * columns),
                          .count = rows * columns,
                          .rows = (uint32_t)rows,
                          .columns = (uint32_t)columns,
                          .group = group};
    if (s->options.trained) {
        p.gradient = reals_of(s->arena, rows * columns);
    }
    if (s->parameter_count == s->parameter_room || !p.name || !p.data || (s->options.trained && !p.gradient)) {
        return NULL;
    }
    s->parameters[s->parameter_count] = p;
    return &s->parameters[s->parameter_count++];
}

static bool copy_vector(struct student *s, const char *name, const float *values, size_t n, enum parameter_group group,
                        real **data, real **gradient) {
    struct parameter *p = add_parameter(s, name, 1, n, group);
    if (!p) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        p->data[i] = (real)values[i];
    }
    *data = p->data;
    *gradient = p->gradient;
    return true;
}

/* Rows of a matrix of the model, or of its embedding. */
struct rows_job { const struct matrix *matrix; const struct tensor *tensor; real *out; size_t columns; float *rows; };

static void copy_rows(void *context, size_t begin, size_t end, int worker) {
    const struct rows_job *j = context;
    float *row = j->rows + (size_t)worker * j->columns;
    for (size_t r = begin; r < end; r++) {
        if (j->matrix) {
            matrix_rows(j->matrix, (uint32_t)r, 1, row);
        } else {
            tensor_rows_f32(j->tensor, r, 1, row);
        }
        for (size_t i = 0; i < j->columns; i++) {
            j->out[r * j->columns + i] = (real)row[i];
        }
    }
}

static bool copy_matrix(const struct matrix *m, const struct tensor *t, size_t rows, size_t columns, real *out) {
    float *scratch = mem_alloc((size_t)threads_count() * columns, sizeof *scratch);
    if (scratch) {
        struct rows_job job = {m, t, out, columns, scratch};
        parallel_for(rows, 0, 0, copy_rows, &job);
    }
    mem_free(scratch);
    return scratch != NULL;
}

/* "a.b.weight" -> "a.b" + ending */
static void sibling(const char *tensor, const char *ending, char out[NAME_BYTES]) {
    size_t n = strlen(tensor);
    n = n > 7 && strcmp(tensor + n - 7, ".weight") == 0 ? n - 7 : n;
    snprintf(out, NAME_BYTES, "%.*s%s", (int)n, tensor, ending);
}

/* What stands before every name in the file. */
static void prefix_of(const struct model *m, char out[NAME_BYTES]) {
    const char *at = strstr(m->embedding->name, m->shape.names->embedding);
    snprintf(out, NAME_BYTES, "%.*s", at ? (int)(at - m->embedding->name) : 0, m->embedding->name);
}

static bool take_norm(struct student *s, int layer, const char *stem, const struct norm *n, size_t width,
                      struct student_norm *out) {
    char prefix[NAME_BYTES], name[2 * NAME_BYTES];
    if (!n->weight) {
        return true;
    }
    prefix_of(s->model, prefix);
    if (layer < 0) {
        snprintf(name, sizeof name, "%s%s.weight", prefix, stem);
    } else {
        snprintf(name, sizeof name, "%s%s.%d.%s.weight", prefix, s->shape->names->layers, layer, stem);
    }
    return copy_vector(s, name, n->weight, width, PARAMETER_NORM, &out->weight, &out->gradient);
}

static bool take_embedding(struct student *s) {
    const struct tensor *t = s->model->embedding;
    size_t V = s->shape->vocabulary, D = s->shape->hidden;
    struct parameter *p = add_parameter(s, t->name, V, D, PARAMETER_EMBEDDING);
    if (!p || !copy_matrix(NULL, t, V, D, p->data)) {
        return false;
    }
    s->embedding = p->data;
    s->embedding_gradient = p->gradient;
    return true;
}

/* ---- matrices ---------------------------------------------------------------------------------- */

static const char *head_name(const struct student *s, char out[NAME_BYTES]) {
    snprintf(out, NAME_BYTES, "%s.weight", s->shape->names->head ? s->shape->names->head : "lm_head");
    return out;
}

/* Channels and listed weights of an output in one sorted list without repetition; returns how many. */
static uint32_t merge_output(const struct side_path *p, size_t o, uint32_t *out) {
    uint32_t c = 0, w = p->weight_begin ? p->weight_begin[o] : 0, end = p->weight_begin ? p->weight_begin[o + 1] : 0;
    uint32_t n = 0;
    while (c < p->channel_count || w < end) {
        uint32_t channel = c < p->channel_count ? p->channels[c] : UINT32_MAX;
        uint32_t weight = w < end ? p->weight_inputs[w] : UINT32_MAX, next = channel < weight ? channel : weight;
        c += channel == next;
        w += weight == next;
        if (out) {
            out[n] = next;
        }
        n++;
    }
    return n;
}

static bool take_side(struct student *s, struct analog_layer *l, const struct side_path *p) {
    if (!p || (!p->channel_count && !p->weight_begin)) {
        return true;
    }
    uint32_t *begin = take(s, (size_t)l->outputs + 1, sizeof *begin);
    uint8_t *digital = take(s, l->inputs, 1);
    if (!begin || !digital) {
        return false;
    }
    for (size_t o = 0; o < l->outputs; o++) {
        begin[o + 1] = begin[o] + merge_output(p, o, NULL);
    }
    uint32_t *inputs = take(s, begin[l->outputs], sizeof *inputs);
    for (size_t o = 0; inputs && o < l->outputs; o++) {
        merge_output(p, o, inputs + begin[o]);
    }
    for (uint32_t c = 0; c < p->channel_count; c++) {
        digital[p->channels[c]] = 1;
    }
    l->side_begin = begin;
    l->side_inputs = inputs;
    l->digital_input = p->channel_count ? digital : NULL;
    return inputs != NULL;
}

static bool cut(struct student *s, struct analog_layer *l, const struct chip *c) {
    l->blocks = chip_row_blocks(c, l->inputs);
    uint32_t *begin = take(s, l->blocks + 1, sizeof *begin);
    for (uint32_t b = 0; begin && b <= l->blocks; b++) {
        begin[b] = chip_row_begin(c, l->inputs, b);
    }
    l->begin = begin;
    return begin != NULL;
}

static enum status check_count(const struct student *s, const char *tensor, const char *what, size_t count,
                               size_t blocks, size_t wanted, struct error *e) {
    return count == wanted ? OK
                           : error_set(e, ERR_USAGE, "%s: %s: %zu %s (allowed: %zu, the chip has %zu row blocks)",
                                       s->model->view.path, tensor, count, what, wanted, blocks);
}

/* What the model brings was made for a chip with the same row blocks. */
static enum status check_counts(const struct student *s, const struct chip *c, struct error *e) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct matrix_source *m = &s->model->sources[i];
        size_t blocks = chip_row_blocks(c, m->inputs), columns = blocks * m->outputs;
        if (!chip_is_analog(c, m->role)) {
            continue;
        }
        if (m->input_range && m->input_range_count != 1) {
            TRY(check_count(s, m->name, "input ranges", m->input_range_count, blocks, blocks, e));
        }
        if (m->weight_scale) {
            TRY(check_count(s, m->name, "weight scales", m->scale_count, blocks, columns, e));
        }
        if (m->adc_range) {
            TRY(check_count(s, m->name, "ADC ranges", m->adc_range_count, blocks, columns, e));
        }
    }
    return OK;
}

/* Ranges: those of the model, or the rule's start until data has been seen. */
static bool take_ranges(struct student *s, struct analog_layer *l, const struct matrix_source *source,
                        const char *tensor) {
    char name[NAME_BYTES];
    sibling(tensor, ".input_range", name);
    struct parameter *p = add_parameter(s, name, 1, l->blocks, PARAMETER_INPUT_RANGE);
    if (!p) {
        return false;
    }
    l->range = p->data;
    l->range_gradient = p->gradient;
    l->range_batches = s->range_state + s->range_count;
    s->range_count += l->blocks;
    for (uint32_t b = 0; b < l->blocks; b++) {
        bool given = source->input_range && source->input_range_count;
        l->range[b] = given ? (real)source->input_range[source->input_range_count == 1 ? 0 : b]
                            : (real)s->rule.range_start;
        l->range_batches[b] = given ? s->rule.range_batches : 0;
    }
    return true;
}

static bool take_clips(struct student *s, struct analog_layer *l, const char *tensor) {
    if (s->rule.clip != TRAIN_CLIP_LEARNED) {
        return true;
    }
    char name[NAME_BYTES];
    sibling(tensor, ".learnable_weight_clip", name);
    struct parameter *p = add_parameter(s, name, l->blocks, l->outputs, PARAMETER_CLIP);
    for (size_t b = 0; p && b < l->blocks; b++) {
        for (size_t o = 0; o < l->outputs; o++) {
            p->data[b * l->outputs + o] = analog_largest_weight(l, o, b);
        }
    }
    l->clip = p ? p->data : NULL;
    l->clip_gradient = p ? p->gradient : NULL;
    return p != NULL;
}

/* Weight and bias of matrix i as parameters; the tied head is the embedding where it stays digital. */
static bool take_weights(struct student *s, size_t i, struct analog_layer *l, const char *tensor) {
    const struct matrix *m = &s->model->matrices[i];
    char name[NAME_BYTES];
    if ((int)i == s->model->head && s->shape->tied_head && !l->rule) {
        l->weight = s->embedding;
        l->weight_gradient = s->embedding_gradient;
        return true;
    }
    struct parameter *p = add_parameter(s, tensor, m->outputs, m->inputs, PARAMETER_MATRIX);
    if (!p || !copy_matrix(m, NULL, m->outputs, m->inputs, p->data)) {
        return false;
    }
    l->weight = p->data;
    l->weight_gradient = p->gradient;
    sibling(tensor, ".bias", name);
    return !m->bias || copy_vector(s, name, m->bias, m->outputs, PARAMETER_BIAS, &l->bias, &l->bias_gradient);
}

static bool take_matrix(struct student *s, size_t i, const struct chip *c) {
    const struct matrix *m = &s->model->matrices[i];
    const struct matrix_source *source = &s->model->sources[i];
    struct analog_layer *l = &s->matrices[i];
    char own[NAME_BYTES];
    bool untied = (int)i == s->model->head && s->shape->tied_head;
    const char *tensor = untied ? head_name(s, own) : m->tensor->name;
    *l = (struct analog_layer){.rule = c && chip_is_analog(c, source->role) ? &s->rule : NULL,
                               .inputs = m->inputs,
                               .outputs = m->outputs,
                               .blocks = 1,
                               .matrix = (uint32_t)i,
                               .seed = s->options.seed};
    if (l->rule) {
        l->cell_noise = (float)sqrt(chip_noise_share(c, source->devices));
        l->scale = source->weight_scale;
        l->adc_range = source->adc_range;
    }
    if (!take_weights(s, i, l, tensor)) {
        return false;
    }
    if (l->rule && !(cut(s, l, c) && take_side(s, l, source->side) && take_ranges(s, l, source, tensor) &&
                     take_clips(s, l, tensor))) {
        return false;
    }
    return analog_layer_buffers(l, s->arena, s->options.sequences, s->options.length);
}

static struct analog_layer *matrix_at(struct student *s, int i) { return i == NO_MATRIX ? NULL : &s->matrices[i]; }

static bool take_layer(struct student *s, size_t i) {
    const struct layer *from = &s->model->layers[i];
    const struct tensor_names *n = s->shape->names;
    struct student_layer *l = &s->layers[i];
    *l = (struct student_layer){.q = matrix_at(s, from->q), .k = matrix_at(s, from->k), .v = matrix_at(s, from->v),
                                .qkv = matrix_at(s, from->qkv), .o = matrix_at(s, from->o),
                                .gate = matrix_at(s, from->gate), .up = matrix_at(s, from->up),
                                .gate_up = matrix_at(s, from->gate_up), .down = matrix_at(s, from->down)};
    int number = (int)i;
    return take_norm(s, number, n->attention_norm, &from->attention_norm, s->shape->hidden, &l->attention_norm) &&
           take_norm(s, number, n->q_norm, &from->q_norm, s->shape->head_dim, &l->q_norm) &&
           take_norm(s, number, n->k_norm, &from->k_norm, s->shape->head_dim, &l->k_norm) &&
           take_norm(s, number, n->mlp_norm, &from->mlp_norm, s->shape->hidden, &l->mlp_norm);
}

static bool take_all(struct student *s, const struct chip *c) {
    const struct model *m = s->model;
    size_t blocks = 0;
    for (size_t i = 0; c && i < m->matrix_count; i++) {
        blocks += chip_row_blocks(c, m->matrices[i].inputs);
    }
    s->parameter_room = 4 * m->matrix_count + 4 * (size_t)s->shape->layers + 2;
    s->parameters = take(s, s->parameter_room, sizeof *s->parameters);
    s->matrices = take(s, m->matrix_count, sizeof *s->matrices);
    s->layers = take(s, s->shape->layers, sizeof *s->layers);
    s->range_state = take(s, blocks, sizeof *s->range_state);
    if (!s->parameters || !s->matrices || !s->layers || !s->range_state || !take_embedding(s)) {
        return false;
    }
    for (size_t i = 0; i < m->matrix_count; i++) {
        if (!take_matrix(s, i, c)) {
            return false;
        }
    }
    for (size_t i = 0; i < s->shape->layers; i++) {
        if (!take_layer(s, i)) {
            return false;
        }
    }
    s->head = &s->matrices[m->head];
    return take_norm(s, -1, s->shape->names->final_norm, &m->final_norm, s->shape->hidden, &s->final_norm);
}

/* ---- buffers ----------------------------------------------------------------------------------- */

static bool stash_buffers(struct student *s, struct layer_stash *st) {
    const struct shape *p = s->shape;
    size_t T = s->tokens, Q = (size_t)p->heads * p->head_dim, KV = (size_t)p->kv_heads * p->head_dim;
    st->normed = reals_of(s->arena, T * p->hidden);
    st->qkv = reals_of(s->arena, T * (Q + 2 * KV));
    st->attended = reals_of(s->arena, T * Q);
    st->middle = reals_of(s->arena, T * p->hidden);
    st->normed2 = reals_of(s->arena, T * p->hidden);
    st->gate_up = reals_of(s->arena, T * 2 * p->intermediate);
    st->activated = reals_of(s->arena, T * p->intermediate);
    st->raw = s->layers[0].q_norm.weight ? reals_of(s->arena, T * (Q + KV)) : NULL;
    return st->normed && st->qkv && st->attended && st->middle && st->normed2 && st->gate_up && st->activated &&
           (st->raw || !s->layers[0].q_norm.weight);
}

static bool forward_buffers(struct student *s) {
    const struct shape *p = s->shape;
    size_t T = s->tokens, kept = s->options.trained ? p->layers : 0;
    s->inputs = take(s, p->layers + 1, sizeof *s->inputs);
    s->stash = take(s, p->layers, sizeof *s->stash);
    s->ids = take(s, T, sizeof *s->ids);
    s->logits = reals_of(s->arena, T * p->vocabulary);
    s->normed = reals_of(s->arena, T * p->hidden);
    s->block = reals_of(s->arena, T * p->hidden);
    bool fine = s->inputs && s->stash && s->ids && s->logits && s->normed && s->block;
    for (size_t l = 0; fine && l <= p->layers; l++) {
        s->inputs[l] = l > kept ? s->inputs[l % 2] : reals_of(s->arena, T * p->hidden);
        s->inputs[l] = l == 1 && kept == 0 ? reals_of(s->arena, T * p->hidden) : s->inputs[l];
        fine = s->inputs[l] != NULL;
    }
    size_t stashes = s->options.trained && !s->options.recompute ? p->layers : 1;
    for (size_t l = 0; fine && l < stashes; l++) {
        fine = stash_buffers(s, &s->stash[l]);
    }
    return fine;
}

static bool backward_buffers(struct student *s) {
    const struct shape *p = s->shape;
    size_t T = s->tokens, Q = (size_t)p->heads * p->head_dim, KV = (size_t)p->kv_heads * p->head_dim;
    if (!s->options.trained) {
        return true;
    }
    s->d_x = reals_of(s->arena, T * p->hidden);
    s->d_normed = reals_of(s->arena, T * p->hidden);
    s->d_qkv = reals_of(s->arena, T * (Q + 2 * KV));
    s->d_attended = reals_of(s->arena, T * Q);
    s->d_gate_up = reals_of(s->arena, T * 2 * p->intermediate);
    s->d_activated = reals_of(s->arena, T * p->intermediate);
    s->sums = take(s, T * p->heads, sizeof *s->sums);
    return s->d_x && s->d_normed && s->d_qkv && s->d_attended && s->d_gate_up && s->d_activated && s->sums;
}

static bool work_buffers(struct student *s) {
    struct analog_work *w = &s->work;
    w->tokens = (uint32_t)s->tokens;
    w->compute = s->options.compute;
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct analog_layer *l = &s->matrices[i];
        w->inputs = l->inputs > w->inputs ? l->inputs : w->inputs;
        w->outputs = l->outputs > w->outputs ? l->outputs : w->outputs;
        w->blocks = l->blocks > w->blocks ? l->blocks : w->blocks;
    }
    return analog_work_buffers(w, s->arena, attention_scratch_reals(s->options.length));
}

/* ---- creation ---------------------------------------------------------------------------------- */

static enum status check_family(const struct model *m, struct error *e) {
    const struct shape *s = &m->shape;
    bool gated = m->layers[0].gate != NO_MATRIX || m->layers[0].gate_up != NO_MATRIX;
    if (s->norm != NORM_RMS || s->activation != ACTIVATION_SILU || !gated || m->positions || s->final_cap > 0 ||
        s->attention_cap > 0 || s->embedding_scale != 1 || s->norm_offset != 0 ||
         m->layers[0].post_attention_norm.weight || m->layers[0].post_mlp_norm.weight) {
        return error_set(e, ERR_USAGE, "%s: family %s cannot be trained (allowed: llama, mistral, qwen2, qwen3, phi3)",
                         m->view.path, m->family->name);
    }
    return OK;
}

static enum status check_options(const struct model *m, const struct student_options *o, struct error *e) {
    if (m->shapes) {
        return error_set(e, ERR_USAGE, "%s: opened without weights: a student needs them", m->view.path);
    }
    if (!o->sequences || !o->length || o->length > m->shape.context ||
        (uint64_t)o->sequences * o->length > (uint64_t)1 << 24) {
        return error_set(e, ERR_USAGE,
                         "%s: batches of %u sequences of %u tokens (allowed: lengths of 1 to %u, in all below 2^24)",
                         m->view.path, o->sequences, o->length, m->shape.context);
    }
    return check_family(m, e);
}

static enum status fill(struct student *s, const struct chip *c, struct error *e) {
    const struct rope *r = &s->shape->rope;
    if (c) {
        TRY(check_counts(s, c, e));
    }
    for (int set = 0; r->on && set < (r->original_context ? 2 : 1); set++) {
        TRY(rope_table_create(r, set, s->options.length, &s->rope[set], e));
    }
    return take_all(s, c) && forward_buffers(s) && backward_buffers(s) && work_buffers(s) ? OK : no_memory(e);
}

enum status student_create(const struct model *m, const struct chip *c, const struct analog_rule *rule,
                           const struct student_options *o, struct student **out, struct error *e) {
    *out = NULL;
    TRY(check_options(m, o, e));
    struct student *s = mem_alloc(1, sizeof *s);
    if (!s) {
        return no_memory(e);
    }
    s->arena = arena_create();
    s->model = m;
    s->shape = &m->shape;
    s->options = *o;
    s->tokens = (size_t)o->sequences * o->length;
    if (rule) {
        s->rule = *rule;
    }
    enum status status = s->arena ? fill(s, c, e) : no_memory(e);
    if (status != OK) {
        student_destroy(s);
        return status;
    }
    *out = s;
    return OK;
}

void student_destroy(struct student *s) {
    if (s) {
        rope_table_clear(&s->rope[0]);
        rope_table_clear(&s->rope[1]);
        arena_destroy(s->arena);
        mem_free(s);
    }
}

size_t student_parameter_count(const struct student *s) { return s->parameter_count; }

struct parameter student_parameter_at(const struct student *s, size_t i) { return s->parameters[i]; }

uint32_t *student_range_state(struct student *s, size_t *count) {
    *count = s->range_count;
    return s->range_state;
}
