/* Writes a model as one GGUF file (version 3; the layout is described in gguf.c), for ordinary digital hardware.
 *
 * Metadata: the shape under the keys of the family's architecture, and the tokenizer (write_vocabulary.c). Mistral is
 * the architecture "llama". Divisors of the rotary embedding become tensors, rope_freqs or rope_factors_long and
 * rope_factors_short.
 *
 * Left out: what belongs to a chip. Refused, since GGUF has no place for it: sliding windows of families other than
 * Phi-3 and Gemma 2, and a scale of q.k of its own.
 */
#include <math.h>

#include "base/io.h"
#include "models/tokenizer_parts.h"
#include "models/write_gguf.h"

enum { VERSION = 3, ALIGNMENT = 32 };
enum { TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_TEXT = 8, TYPE_ARRAY = 9 };

/* ---- metadata --------------------------------------------------------------------------------------- */

static void put(struct gguf_keys *k, const void *bytes, size_t count) {
    if (k->status == OK) {
        k->status = buffer_add(&k->bytes, bytes, count, k->error);
    }
}

static void put_u32(struct gguf_keys *k, uint32_t value) { put(k, &value, sizeof value); }

static void put_u64(struct gguf_keys *k, uint64_t value) { put(k, &value, sizeof value); }

static void put_text(struct gguf_keys *k, const char *text, size_t bytes) {
    put_u64(k, bytes);
    put(k, text, bytes);
}

static void put_key(struct gguf_keys *k, const char *key, uint32_t type) {
    put_text(k, key, strlen(key));
    put_u32(k, type);
    k->count++;
}

void gguf_put_text(struct gguf_keys *k, const char *key, const char *text, size_t bytes) {
    put_key(k, key, TYPE_TEXT);
    put_text(k, text, bytes);
}

void gguf_put_u32(struct gguf_keys *k, const char *key, uint32_t value) {
    put_key(k, key, TYPE_U32);
    put_u32(k, value);
}

void gguf_put_f32(struct gguf_keys *k, const char *key, float value) {
    put_key(k, key, TYPE_F32);
    put(k, &value, sizeof value);
}

void gguf_put_bool(struct gguf_keys *k, const char *key, bool value) {
    uint8_t byte = value;
    put_key(k, key, TYPE_BOOL);
    put(k, &byte, 1);
}

static void put_array(struct gguf_keys *k, const char *key, uint32_t type, size_t count) {
    put_key(k, key, TYPE_ARRAY);
    put_u32(k, type);
    put_u64(k, count);
}

void gguf_put_text_array(struct gguf_keys *k, const char *key, size_t count) { put_array(k, key, TYPE_TEXT, count); }

void gguf_put_element(struct gguf_keys *k, const char *text, size_t bytes) { put_text(k, text, bytes); }

void gguf_put_i32_array(struct gguf_keys *k, const char *key, const int32_t *values, size_t count) {
    put_array(k, key, TYPE_I32, count);
    put(k, values, count * sizeof *values);
}

void gguf_put_f32_array(struct gguf_keys *k, const char *key, const float *values, size_t count) {
    put_array(k, key, TYPE_F32, count);
    put(k, values, count * sizeof *values);
}

/* ---- the shape --------------------------------------------------------------------------------------- */

static const char *architecture_of(const struct family *f) {
    return f->architecture ? f->architecture : family_llama.architecture;
}

/* "ARCHITECTURE.name"; NULL shows as a status of the keys. */
static const char *own_key(struct gguf_keys *k, const struct piece_list *l, const char *name) {
    char *key = arena_printf(l->arena, "%s.%s", architecture_of(l->model->family), name);
    if (!key) {
        k->status = error_set(k->error, ERR_RUN, "GGUF: out of memory");
    }
    return key ? key : name;
}

static void put_count(struct gguf_keys *k, const struct piece_list *l, const char *name, uint32_t value) {
    gguf_put_u32(k, own_key(k, l, name), value);
}

static void put_number(struct gguf_keys *k, const struct piece_list *l, const char *name, double value) {
    gguf_put_f32(k, own_key(k, l, name), (float)value);
}

static uint32_t window_of(const struct shape *s) {
    uint32_t window = 0;
    for (uint32_t i = 0; i < s->layers; i++) {
        window = s->window[i] ? s->window[i] : window;
    }
    return window;
}

/* GGUF has no key for the scale of q.k of Gemma 2: readers take head_dim, or hidden / heads for 46 layers (27B). */
static enum status refuse_scale(const struct piece_list *l, struct error *e) {
    const struct shape *s = &l->model->shape;
    double scalar = s->layers == 46 && l->model->family == &family_gemma2 ? (double)s->hidden / s->heads : s->head_dim;
    return fabs(s->attention_scale * s->attention_scale * scalar - 1.0) > 1e-6
               ? error_set(e, ERR_RUN, "%s: query_pre_attn_scalar = %g has no place in a GGUF file (allowed: %g)",
                           weights_path(l->model->weights), 1.0 / (s->attention_scale * s->attention_scale), scalar)
               : OK;
}

static enum status refuse_windows(const struct piece_list *l, struct error *e) {
    const struct family *f = l->model->family;
    return window_of(&l->model->shape) && f != &family_phi3 && f != &family_gemma2
               ? error_set(e, ERR_RUN, "%s: a sliding window of the %s family has no place in a GGUF file",
                           weights_path(l->model->weights), f->name)
               : OK;
}

static void put_shape(struct gguf_keys *k, const struct piece_list *l) {
    const struct shape *s = &l->model->shape;
    put_count(k, l, "context_length", s->context);
    put_count(k, l, "embedding_length", s->hidden);
    put_count(k, l, "block_count", s->layers);
    put_count(k, l, "feed_forward_length", s->intermediate);
    put_count(k, l, "attention.head_count", s->heads);
    put_count(k, l, "attention.head_count_kv", s->kv_heads);
    put_count(k, l, "attention.key_length", s->head_dim);
    put_count(k, l, "attention.value_length", s->head_dim);
    put_count(k, l, "vocab_size", s->vocabulary);
    put_number(k, l, s->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
               s->norm_eps);
    if (window_of(s)) {
        put_count(k, l, "attention.sliding_window", window_of(s));
    }
    if (s->attention_cap > 0) {
        put_number(k, l, "attn_logit_softcapping", s->attention_cap);
    }
    if (s->final_cap > 0) {
        put_number(k, l, "final_logit_softcapping", s->final_cap);
    }
}

static enum status put_rope(struct gguf_keys *k, struct piece_list *l, struct error *e) {
    const struct rope *r = &l->model->shape.rope;
    if (!r->on) {
        return OK;
    }
    put_number(k, l, "rope.freq_base", r->theta);
    put_count(k, l, "rope.dimension_count", r->dims);
    if (r->attention_factor < 1.0 || r->attention_factor > 1.0) {
        put_number(k, l, "rope.scaling.attn_factor", r->attention_factor);
    }
    if (r->divisors[1]) {
        put_count(k, l, "rope.scaling.original_context_length", r->original_context);
        TRY(pieces_add_vector(l, "rope_factors_long.weight", r->divisors[1], r->dims / 2, e));
    }
    return r->divisors[0] ? pieces_add_vector(l, r->divisors[1] ? "rope_factors_short.weight" : "rope_freqs.weight",
                                              r->divisors[0], r->dims / 2, e)
                          : OK;
}

/* Number of the whole file's type, as llama.cpp shows it. */
static uint32_t file_type(enum tensor_type t) {
    return t == TENSOR_F32 ? 0 : t == TENSOR_F16 ? 1 : t == TENSOR_Q4_0 ? 2 : t == TENSOR_Q8_0 ? 7 : 32;
}

static enum status make_keys(struct gguf_keys *k, struct piece_list *l, struct error *e) {
    const char *architecture = architecture_of(l->model->family);
    TRY(refuse_windows(l, e));
    TRY(refuse_scale(l, e));
    gguf_put_text(k, "general.architecture", architecture, strlen(architecture));
    gguf_put_u32(k, "general.alignment", ALIGNMENT);
    gguf_put_u32(k, "general.file_type", file_type(l->changes->type));
    gguf_put_u32(k, "general.quantization_version", 2);
    put_shape(k, l);
    TRY(put_rope(k, l, e));
    if (l->model->tokenizer) {
        TRY(vocabulary_put(k, l, e));
    }
    return k->status;
}

/* ---- the file ----------------------------------------------------------------------------------------- */

static uint64_t padded(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static void write_padding(FILE *f, uint64_t bytes) {
    static const char zeros[ALIGNMENT];
    fwrite(zeros, 1, (size_t)(padded(bytes) - bytes), f);
}

/* Name, rank, sizes from the innermost, type, place. */
static void put_description(struct gguf_keys *k, const struct piece *p, uint64_t place) {
    put_text(k, p->name, strlen(p->name));
    put_u32(k, (uint32_t)p->rank);
    for (int i = p->rank; i-- > 0;) {
        put_u64(k, p->shape[i]);
    }
    put_u32(k, tensor_type_to_ggml(p->type));
    put_u64(k, place);
}

static enum status write_head(struct gguf_keys *k, const struct piece_list *l, FILE *f, struct error *e) {
    const uint32_t version = VERSION;
    const uint64_t counts[2] = {l->count, k->count};
    uint64_t place = 0;
    for (size_t i = 0; i < l->count; i++) {
        put_description(k, &l->at[i], place);
        place += padded(l->at[i].bytes);
    }
    fwrite("GGUF", 1, 4, f);
    fwrite(&version, sizeof version, 1, f);
    fwrite(counts, sizeof counts, 1, f);
    fwrite(k->bytes.data, 1, k->bytes.used, f);
    write_padding(f, 4 + sizeof version + sizeof counts + k->bytes.used);
    return k->status == OK ? OK : error_set(e, ERR_RUN, "GGUF: out of memory");
}

static enum status write_file(struct piece_list *l, FILE *f, struct error *e) {
    struct gguf_keys k = {.error = e};
    enum status status = make_keys(&k, l, e);
    if (status == OK) {
        status = write_head(&k, l, f, e);
    }
    mem_free(k.bytes.data);
    for (size_t i = 0; i < l->count && status == OK && !ferror(f); i++) {
        status = check_interrupted(e);
        if (status == OK) {
            status = piece_write(l, &l->at[i], f, e);
            write_padding(f, l->at[i].bytes);
        }
    }
    return status;
}

enum status model_write_gguf(const struct model *m, const struct model_changes *c, const char *path, struct error *e) {
    struct piece_list *l = NULL;
    struct output *o = NULL;
    TRY(pieces_create(m, c, FILE_GGUF, &l, e));
    enum status status = output_create(path, &o, e);
    if (status == OK) {
        status = write_file(l, output_stream(o), e);
        if (status == OK) {
            status = output_commit(o, e);
        } else {
            output_abort(o);
        }
    }
    pieces_destroy(l);
    return status;
}
