/* Sessions: memory, position, and the cutting of long inputs into steps. See model.h; the arithmetic is in
 * transformer.c.
 *
 * Everything is allocated by session_create; session_forward allocates nothing.
 *
 * LongRoPE models turn keys differently once a sequence is longer than they were first trained for. Cached keys (and
 * all that later layers made of them) then belong to the other rotation, so the whole prefix is run again with the new
 * one; a run of a machine pays for it like for any other
 * step. */
#include <string.h>

#include "base/threads.h"
#include "models/internal.h"

enum { DEFAULT_CONTEXT = 4096, DEFAULT_BATCH = 128 };

/* ---- creation -------------------------------------------------------------------------------- */

static enum status no_memory(const struct session *s, struct error *e) {
    return error_set(e, ERR_RUN, "session: out of memory (%u sequences of %u positions, %u tokens at once)",
                     s->sequences ? s->sequences : 1, s->context, s->max_batch);
}

static enum status check_options(const struct model *m, const struct session_options *o, struct error *e) {
    if (o->context > m->shape.context) {
        return error_set(e, ERR_USAGE,
                         "session: context of %u positions: the model was made for fewer (allowed: 1 to %u)",
                         o->context, m->shape.context);
    }
    if (m->shapes && !o->shapes) {
        return error_set(e, ERR_USAGE, "session: %s was opened without weights (allowed: sessions without values)",
                         m->view.path);
    }
    if ((o->sixteen_bits && !o->sequences) || (o->likeliest && !o->sixteen_bits) ||
        o->likeliest > m->shape.vocabulary) {
        return error_set(e, ERR_USAGE, "session: %u likeliest ids, 16 bits %s, %u sequences (allowed: 0 to %u ids with "
                         "16 bits, which need sequences)", o->likeliest, o->sixteen_bits ? "on" : "off", o->sequences,
                         m->shape.vocabulary);
    }
    return o->sequences ? batch_check_options(m, o, e) : OK;
}

static enum status prepare_matrices(struct session *s, struct error *e) {
    const struct model *m = s->model;
    s->linear = mem_alloc(m->matrix_count, sizeof *s->linear);
    if (!s->linear) {
        return no_memory(s, e);
    }
    for (size_t i = 0; i < m->matrix_count; i++) {
        s->linear[i].analog = s->run && run_is_analog(s->run, i);
        if (!s->linear[i].analog && s->values) {
            TRY(s->sixteen_bits ? codes_prepare(&s->linear[i], &m->matrices[i], e)
                         : linear_prepare(&s->linear[i], &m->matrices[i], s->sequences > 0, e));
        }
    }
    return OK;
}

static enum status create_cache(struct session *s, struct error *e) {
    const struct shape *p = &s->model->shape;
    size_t sequences = s->sequences ? s->sequences : 1;
    s->cache = mem_alloc(p->layers, sizeof *s->cache);
    s->history = mem_alloc(s->context > s->max_batch ? s->context : s->max_batch, sizeof *s->history);
    s->lengths = mem_alloc(s->sequences, sizeof *s->lengths);
    s->places = mem_alloc(s->max_batch, sizeof *s->places);
    if (!s->cache || !s->history || !s->lengths || !s->places) {
        return no_memory(s, e);
    }
    for (uint32_t l = 0; l < p->layers && s->sixteen_bits; l++) {
        s->cache[l].half_keys = mem_alloc(sequences, kv_half_count(p, s->context) * sizeof(uint16_t));
        s->cache[l].half_values = mem_alloc(sequences, kv_half_count(p, s->context) * sizeof(uint16_t));
        if (!s->cache[l].half_keys || !s->cache[l].half_values) {
            return no_memory(s, e);
        }
    }
    for (uint32_t l = 0; l < p->layers && !s->sixteen_bits; l++) {
        s->cache[l].keys = mem_alloc(sequences, kv_keys_floats(p, s->context) * sizeof(float));
        s->cache[l].values = mem_alloc(sequences, kv_values_floats(p, s->context) * sizeof(float));
        if (!s->cache[l].keys || !s->cache[l].values) {
            return no_memory(s, e);
        }
    }
    return OK;
}

static enum status create_rope(struct session *s, struct error *e) {
    const struct rope *r = &s->model->shape.rope;
    if (!r->on) {
        return OK;
    }
    TRY(rope_table_create(r, 0, s->context, &s->rope[0], e));
    return r->original_context && s->context > r->original_context ? rope_table_create(r, 1, s->context, &s->rope[1], e)
                                                                   : OK;
}

static size_t widest_input(const struct model *m) {
    size_t widest = 0;
    for (size_t i = 0; i < m->matrix_count; i++) {
        widest = m->matrices[i].inputs > widest ? m->matrices[i].inputs : widest;
    }
    return widest;
}

/* Places for the inputs of a product as codes. */
static enum status create_codes(struct session *s, struct error *e) {
    size_t widest = widest_input(s->model);
    s->codes = mem_alloc(s->max_batch, (widest + widest % 2) * sizeof *s->codes);
    s->code_steps = mem_alloc(s->max_batch, sizeof *s->code_steps);
    if (!s->codes || !s->code_steps) {
        return no_memory(s, e);
    }
    if (s->likeliest > 0) {
        size_t rows = (size_t)s->threads * s->max_batch;
        s->found = mem_alloc(rows, s->likeliest * sizeof *s->found);
        s->slices = mem_alloc(rows, codes_slice_floats() * sizeof *s->slices);
    }
    return s->likeliest == 0 || (s->found && s->slices) ? OK : no_memory(s, e);
}

static enum status create_buffers(struct session *s, struct error *e) {
    const struct shape *p = &s->model->shape;
    size_t T = s->max_batch, D = p->hidden, Q = (size_t)p->heads * p->head_dim, KV = (size_t)p->kv_heads * p->head_dim;
    size_t panel = widest_input(s->model) * PANEL, attention = attention_scratch_floats(p, s->context);
    s->scratch_floats = panel > attention ? panel : attention;
    const struct { float **buffer; size_t rows, width;
    } wanted[] = {
        {&s->x, T, D},
        {&s->normed, T, D},
        {&s->block, T, D},
        {&s->qkv, T, Q + 2 * KV},
        {&s->attended, T, Q},
        {&s->gate_up, T, 2 * (size_t)p->intermediate},
        {&s->activated, T, p->intermediate},
        {&s->logits, s->likeliest ? 0 : T, p->vocabulary},
        {&s->hidden, s->keep_hidden ? (p->layers + 2) * T : 0, D},
        {&s->scratch, (size_t)s->threads, s->scratch_floats},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (wanted[i].rows && !(*wanted[i].buffer = mem_alloc(wanted[i].rows, wanted[i].width * sizeof(float)))) {
            return no_memory(s, e);
        }
    }
    return s->sixteen_bits ? create_codes(s, e) : OK;
}

enum status session_create(const struct model *m, const struct session_options *o, struct session **out,
                           struct error *e) {
    TRY(check_options(m, o, e));
    struct session *s = mem_alloc(1, sizeof *s);
    if (!s) {
        return error_set(e, ERR_RUN, "session: out of memory");
    }
    uint32_t largest = m->shape.context < DEFAULT_CONTEXT ? m->shape.context : DEFAULT_CONTEXT;
    s->model = m;
    s->run = o->run;
    s->context = o->context ? o->context : largest;
    s->max_batch = o->max_batch ? o->max_batch : DEFAULT_BATCH;
    s->max_batch = s->max_batch < s->context ? s->max_batch : s->context;
    s->sequences = o->sequences;
    s->max_batch = s->sequences ? s->sequences : s->max_batch;
    s->keep_hidden = o->keep_hidden;
    s->sixteen_bits = o->sixteen_bits;
    s->likeliest = o->likeliest;
    s->threads = threads_count();
    enum status status;
    s->values = !o->shapes;
    TRY_GOTO(status, prepare_matrices(s, e), failed);
    if (s->values) {
        TRY_GOTO(status, create_cache(s, e), failed);
        TRY_GOTO(status, create_rope(s, e), failed);
        TRY_GOTO(status, create_buffers(s, e), failed);
    }
    *out = s;
    return OK;
failed:
    session_destroy(s);
    return status;
}

void session_destroy(struct session *s) {
    if (!s) {
        return;
    }
    float *const buffers[] = {s->x,       s->normed,    s->block,  s->qkv,    s->attended,
                              s->gate_up, s->activated, s->logits, s->hidden, s->scratch};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        mem_free(buffers[i]);
    }
    for (int set = 0; set < 2; set++) {
        rope_table_clear(&s->rope[set]);
    }
    for (uint32_t l = 0; s->cache && l < s->model->shape.layers; l++) {
        mem_free(s->cache[l].keys);
        mem_free(s->cache[l].values);
        mem_free(s->cache[l].half_keys);
        mem_free(s->cache[l].half_values);
    }
    for (size_t i = 0; s->linear && i < s->model->matrix_count; i++) {
        mem_free(s->linear[i].panels);
        mem_free(s->linear[i].codes);
        mem_free(s->linear[i].steps);
    }
    mem_free(s->codes);
    mem_free(s->code_steps);
    mem_free(s->found);
    mem_free(s->slices);
    mem_free(s->cache);
    mem_free(s->linear);
    mem_free(s->history);
    mem_free(s->lengths);
    mem_free(s->places);
    mem_free(s);
}

/* ---- running --------------------------------------------------------------------------------- */

void session_rewind(struct session *s, uint32_t position) {
    s->position = position < s->position ? position : s->position;
}

void session_seek(struct session *s, uint32_t position) {
    if (!s->values) {
        const struct rope *r = &s->model->shape.rope;
        s->position = position < s->context ? position : s->context;
        s->rope_set = r->original_context && s->position > r->original_context;
    }
}

uint32_t session_position(const struct session *s) { return s->position; }

uint64_t session_weight_bytes(const struct session *s) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct matrix *m = &s->model->matrices[i];
        bytes += s->linear[i].analog ? 0 : (uint64_t)m->outputs * m->inputs * linear_weight_bytes(&s->linear[i]);
    }
    return bytes;
}

static enum status check_call(const struct session *s, const int32_t *ids, uint32_t count, enum logits_wanted wanted,
                              struct error *e) {
    if (!s->values) {
        return error_set(e, ERR_USAGE, "session: it has no values (allowed: session_advance)");
    }
    if (s->sequences) {
        return error_set(e, ERR_USAGE, "session: it has %u sequences (allowed: session_decode)", s->sequences);
    }
    if (count == 0) {
        return error_set(e, ERR_USAGE, "session: no ids (allowed: at least 1)");
    }
    if (count > s->context - s->position) {
        return error_set(e, ERR_USAGE, "session: %u ids after position %u: the context is full (allowed: %u positions)",
                         count, s->position, s->context);
    }
    if ((wanted == LOGITS_ALL || s->keep_hidden) && count > s->max_batch) {
        return error_set(e, ERR_USAGE,
                         "session: %u ids at once with all logits or hidden states: too many (allowed: 1 to %u)", count,
                         s->max_batch);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= s->model->shape.vocabulary) {
            return error_set(e, ERR_USAGE, "session: id %d at index %u: not in the vocabulary (allowed: 0 to %u)",
                             ids[i], i, s->model->shape.vocabulary - 1);
        }
    }
    return OK;
}

/* Steps of at most max_batch tokens from s->position to `end`, ids from the history (none without values). */
static enum status run_to(struct session *s, uint32_t end, enum logits_wanted wanted, struct error *e) {
    while (s->position < end) {
        uint32_t left = end - s->position, count = left < s->max_batch ? left : s->max_batch;
        enum logits_wanted now = count == left ? wanted : LOGITS_NONE;
        for (uint32_t t = 0; s->values && t < count; t++) {
            s->places[t] = (struct token_place){0, s->position + t};
        }
        TRY(transformer_step(s, s->values ? s->history + s->position : NULL, count, now, e));
        s->position += count;
    }
    return OK;
}

/* Which divisors a sequence of this length uses; the cached prefix is run again when they change. */
static enum status choose_rope(struct session *s, uint32_t length, struct error *e) {
    const struct rope *r = &s->model->shape.rope;
    int set = r->original_context && length > r->original_context;
    if (set == s->rope_set) {
        return OK;
    }
    uint32_t cached = s->position;
    s->rope_set = set;
    s->position = 0;
    return run_to(s, cached, LOGITS_NONE, e);
}

enum status session_forward(struct session *s, const int32_t *ids, uint32_t count, enum logits_wanted wanted,
                            const float **logits, struct error *e) {
    TRY(check_call(s, ids, count, wanted, e));
    TRY(choose_rope(s, s->position + count, e));
    memcpy(s->history + s->position, ids, count * sizeof *ids);
    TRY(run_to(s, s->position + count, wanted, e));
    if (logits) {
        *logits = wanted == LOGITS_NONE ? NULL : s->logits;
    }
    return OK;
}

enum status session_advance(struct session *s, uint32_t count, enum logits_wanted wanted, struct error *e) {
    if (s->values) {
        return error_set(e, ERR_USAGE, "session: this one computes values (allowed: session_forward with ids)");
    }
    if (count == 0 || count > s->context - s->position) {
        return error_set(e, ERR_USAGE, "session: %u tokens after position %u (allowed: at least 1; %u positions)",
                         count, s->position, s->context);
    }
    TRY(choose_rope(s, s->position + count, e));
    return run_to(s, s->position + count, wanted, e);
}

const float *session_hidden(const struct session *s, uint32_t row) {
    return s->hidden + (size_t)row * s->max_batch * s->model->shape.hidden;
}
