/* config.json of a model that is written.
 *
 * From a folder: its own config.json, with what has changed (tied or not, the type of the weights). From a GGUF file:
 * made from the shape, in the keys that the family's reader and the transformers library ask for.
 *
 * Divisors of the rotary embedding, which a GGUF file holds as a table, become rope_scaling of the type "longrope" with
 * an attention factor of its own: its lists of factors are just such tables, one for short and one for long sequences.
 */
#include "models/write_parts.h"

static const char *type_name(enum tensor_type t) {
    return t == TENSOR_F16 ? "float16" : t == TENSOR_BF16 ? "bfloat16" : "float32";
}

/* Takes the value; a NULL one (out of memory) shows at the end. */
static void put(json_t *map, const char *key, json_t *value, bool *failed) {
    *failed |= json_object_set_new(map, key, value) != 0;
}

/* ---- from the shape ----------------------------------------------------------------------------- */

struct writer {
    json_t *map;
    bool failed;
};

static void put_count(struct writer *w, const char *key, uint64_t value) {
    put(w->map, key, json_integer((json_int_t)value), &w->failed);
}

static void put_number(struct writer *w, const char *key, double value) {
    put(w->map, key, json_real(value), &w->failed);
}

static void put_flag(struct writer *w, const char *key, bool value) {
    put(w->map, key, json_boolean(value), &w->failed);
}

static void put_text(struct writer *w, const char *key, const char *value) {
    put(w->map, key, json_string(value), &w->failed);
}

static json_t *factors(const float *divisors, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(list, json_real(divisors ? (double)divisors[i] : 1.0));
    }
    return list;
}

static void put_rope(struct writer *w, const struct shape *s) {
    const struct rope *r = &s->rope;
    put_number(w, "rope_theta", r->theta);
    if (r->dims != s->head_dim) {
        put_number(w, "partial_rotary_factor", (double)r->dims / s->head_dim);
    }
    if (!r->divisors[0] && !r->divisors[1]) {
        return;
    }
    uint32_t original = r->original_context ? r->original_context : s->context;
    struct writer inner = {.map = json_object()};
    put_text(&inner, "rope_type", "longrope");
    put_text(&inner, "type", "longrope");
    put(inner.map, "short_factor", factors(r->divisors[0], r->dims / 2), &inner.failed);
    put(inner.map, "long_factor", factors(r->divisors[1] ? r->divisors[1] : r->divisors[0], r->dims / 2),
        &inner.failed);
    put_number(&inner, "attention_factor", r->attention_factor);
    put_count(&inner, "original_max_position_embeddings", original);
    w->failed |= inner.failed;
    put_count(w, "original_max_position_embeddings", original);
    put(w->map, "rope_scaling", inner.map, &w->failed);
}

static void put_llama_like(struct writer *w, const struct shape *s) {
    put_count(w, "hidden_size", s->hidden);
    put_count(w, "intermediate_size", s->intermediate);
    put_count(w, "num_hidden_layers", s->layers);
    put_count(w, "num_attention_heads", s->heads);
    put_count(w, "num_key_value_heads", s->kv_heads);
    put_count(w, "head_dim", s->head_dim);
    put_count(w, "max_position_embeddings", s->context);
    put_number(w, "rms_norm_eps", s->norm_eps);
    put_text(w, s->activation == ACTIVATION_SILU ? "hidden_act" : "hidden_activation",
             s->activation == ACTIVATION_SILU ? "silu" : "gelu_pytorch_tanh");
    put_flag(w, "attention_bias", s->o_bias);
    put_rope(w, s);
}

static void put_gpt2(struct writer *w, const struct shape *s) {
    put_count(w, "n_embd", s->hidden);
    put_count(w, "n_inner", s->intermediate);
    put_count(w, "n_layer", s->layers);
    put_count(w, "n_head", s->heads);
    put_count(w, "n_positions", s->context);
    put_number(w, "layer_norm_epsilon", s->norm_eps);
    put_text(w, "activation_function", "gelu_new");
}

/* The window of the first layer that has one; 0: none has. */
static uint32_t window_of(const struct shape *s) {
    for (uint32_t l = 0; l < s->layers; l++) {
        if (s->window[l]) {
            return s->window[l];
        }
    }
    return 0;
}

/* What single families have beside: caps, windows. */
static void put_special(struct writer *w, const struct model *m) {
    const struct shape *s = &m->shape;
    uint32_t window = window_of(s);
    if (window) {
        put_count(w, "sliding_window", window);
    }
    if (s->mlp_bias && m->family->json_names->gate) {
        put_flag(w, "mlp_bias", true);
    }
    if (s->attention_cap > 0) {
        put_number(w, "attn_logit_softcapping", s->attention_cap);
    }
    if (s->final_cap > 0) {
        put_number(w, "final_logit_softcapping", s->final_cap);
    }
    if (m->family == &family_gemma2) {
        put_number(w, "query_pre_attn_scalar", 1.0 / (s->attention_scale * s->attention_scale));
    }
}

static const char *class_of(const struct family *f) {
    return f == &family_mistral ? "MistralForCausalLM"
           : f == &family_phi3  ? "Phi3ForCausalLM"
           : f == &family_qwen2 ? "Qwen2ForCausalLM"
           : f == &family_qwen3 ? "Qwen3ForCausalLM"
           : f == &family_gemma2 ? "Gemma2ForCausalLM"
           : f == &family_gpt2  ? "GPT2LMHeadModel"
                                : "LlamaForCausalLM";
}

static void put_ids(struct writer *w, const struct model *m) {
    json_t *ends = json_array();
    int32_t bos = model_bos(m);
    for (int32_t id = 0; (uint32_t)id < m->shape.vocabulary; id++) {
        if (model_is_end(m, id)) {
            json_array_append_new(ends, json_integer(id));
        }
    }
    if (bos >= 0) {
        put_count(w, "bos_token_id", (uint64_t)bos);
    }
    put(w->map, "eos_token_id", ends, &w->failed);
}

static enum status from_shape(const struct piece_list *l, json_t **out, struct error *e) {
    const struct model *m = l->model;
    struct writer w = {.map = json_object()};
    json_t *classes = json_array();
    json_array_append_new(classes, json_string(class_of(m->family)));
    put(w.map, "architectures", classes, &w.failed);
    put_text(&w, "model_type", m->family->name);
    put_count(&w, "vocab_size", m->shape.vocabulary);
    if (m->family == &family_gpt2) {
        put_gpt2(&w, &m->shape);
    } else {
        put_llama_like(&w, &m->shape);
    }
    put_special(&w, m);
    put_ids(&w, m);
    if (w.failed) {
        json_decref(w.map);
        return error_set(e, ERR_RUN, "config.json: out of memory");
    }
    *out = w.map;
    return OK;
}

/* ---- both --------------------------------------------------------------------------------------- */

enum status config_make(const struct piece_list *l, json_t **out, struct error *e) {
    const json_t *own = weights_config(l->model->weights);
    bool failed = false;
    if (own) {
        *out = json_deep_copy(own);
    } else {
        TRY(from_shape(l, out, e));
    }
    put(*out, "tie_word_embeddings", json_boolean(l->tied), &failed);
    put(*out, json_object_get(*out, "dtype") ? "dtype" : "torch_dtype", json_string(type_name(l->changes->type)),
        &failed);
    if (failed) {
        json_decref(*out);
        *out = NULL;
        return error_set(e, ERR_RUN, "config.json: out of memory");
    }
    return OK;
}
