/* What the llama-like families share: tensor names, sizes, rotary scaling, sliding windows.
 *
 * Values that a config.json may leave out are those that the format itself defines: num_key_value_heads (= heads),
 * head_dim (= hidden / heads), rope_theta (10000), biases (none), windows (none), tie_word_embeddings (per family).
 */
#include <math.h>
#include <string.h>

#include "models/shape.h"

const struct tensor_names names_llama_json = {
    .embedding = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head", .layers = "model.layers",
    .attention_norm = "input_layernorm", .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj",
    .o = "self_attn.o_proj", .mlp_norm = "post_attention_layernorm", .gate = "mlp.gate_proj", .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};
const struct tensor_names names_llama_gguf = {
    .embedding = "token_embd", .final_norm = "output_norm", .head = "output", .layers = "blk",
    .attention_norm = "attn_norm", .q = "attn_q", .k = "attn_k", .v = "attn_v", .o = "attn_output",
    .mlp_norm = "ffn_norm", .gate = "ffn_gate", .up = "ffn_up", .down = "ffn_down",
};

bool has_tensor(const struct keys *k, const char *name) { return weights_find(k->weights, name) != NULL; }

enum status check_text(const struct keys *k, struct key name, const char *const *allowed, struct error *e) {
    const char *text = NULL;
    bool found;
    TRY(key_text(k, name, &text, k->gguf ? &found : NULL, e));
    char list[256] = "";
    for (size_t i = 0; text && allowed[i]; i++) {
        if (strcmp(text, allowed[i]) == 0) {
            return OK;
        }
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, allowed[i], sizeof list - strlen(list) - 1);
    }
    return text ? error_set(e, ERR_RUN, "%s: %s = %s: not supported (allowed: %s)", key_where(k, name.json), name.json,
                            text, list)
                : OK;
}

/* ---- windows --------------------------------------------------------------------------------- */

static enum status windows_from_types(const struct keys *k, struct shape *s, const json_t *types, uint32_t window,
                                      struct error *e) {
    if (!json_is_array(types) || json_array_size(types) != s->layers) {
        return error_set(e, ERR_RUN, "%s: layer_types: expected a list of %u names, one per layer",
                         key_where(k, "layer_types"), s->layers);
    }
    for (uint32_t l = 0; l < s->layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        bool sliding = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding && !(type && strcmp(type, "full_attention") == 0)) {
            return error_set(e, ERR_RUN,
                             "%s: layer_types[%u] = %s: not supported (allowed: full_attention, sliding_attention)",
                             key_where(k, "layer_types"), l, type ? type : "(not text)");
        }
        if (sliding && window == 0) {
            return error_set(e, ERR_RUN, "%s: layer_types[%u] = sliding_attention, but sliding_window is missing",
                             key_where(k, "layer_types"), l);
        }
        s->window[l] = sliding ? window : 0;
    }
    return OK;
}

enum status set_windows(const struct keys *k, struct shape *s, uint32_t window, enum window_rule rule,
                        uint32_t first_layer, struct error *e) {
    const json_t *types = k->config ? json_object_get(k->config, "layer_types") : NULL;
    if (types && !json_is_null(types)) {
        return windows_from_types(k, s, types, window, e);
    }
    for (uint32_t l = 0; l < s->layers; l++) {
        bool sliding = rule == WINDOW_EVERY_LAYER || (rule == WINDOW_FROM_LAYER && l >= first_layer) ||
                       (rule == WINDOW_EVEN_LAYERS && l % 2 == 0);
        s->window[l] = sliding ? window : 0;
    }
    return OK;
}

/* ---- rotary embedding ------------------------------------------------------------------------ */

static enum status new_divisors(const struct keys *k, const struct shape *s, float **out, struct error *e) {
    *out = arena_alloc(k->arena, s->rope.dims / 2, sizeof **out);
    return *out ? OK : error_set(e, ERR_RUN, "%s: out of memory", k->where);
}

static enum status linear_divisors(const struct keys *k, struct shape *s, struct error *e) {
    double factor = 1.0;
    TRY(key_number(k, (struct key){"factor", "rope.scaling.factor"}, 1e-3, 1e6, &factor, NULL, e));
    float *d;
    TRY(new_divisors(k, s, &d, e));
    for (uint32_t i = 0; i < s->rope.dims / 2; i++) {
        d[i] = (float)factor;
    }
    s->rope.divisors[0] = d;
    return OK;
}

/* Llama 3.1: wavelengths above original/low_freq_factor are slowed down by `factor`, those below
 * original/high_freq_factor stay, and between the two the frequencies (not the wavelengths) are interpolated. */
static enum status llama3_divisors(const struct keys *k, struct shape *s, struct error *e) {
    double factor, low, high;
    uint32_t original;
    TRY(key_number(k, (struct key){"factor", NULL}, 1e-3, 1e6, &factor, NULL, e));
    TRY(key_number(k, (struct key){"low_freq_factor", NULL}, 1e-3, 1e6, &low, NULL, e));
    TRY(key_number(k, (struct key){"high_freq_factor", NULL}, 1e-3, 1e6, &high, NULL, e));
    TRY(key_count(k, (struct key){"original_max_position_embeddings", NULL}, 1, LIMIT_CONTEXT, &original, NULL, e));
    if (high <= low) {
        return error_set(e, ERR_RUN, "%s: high_freq_factor = %g: must be above low_freq_factor = %g",
                         key_where(k, "high_freq_factor"), high, low);
    }
    float *d;
    TRY(new_divisors(k, s, &d, e));
    for (uint32_t i = 0; i < s->rope.dims / 2; i++) {
        double wavelength = 2.0 * 3.14159265358979323846 * pow(s->rope.theta, 2.0 * i / s->rope.dims);
        double smooth = (original / wavelength - low) / (high - low);
        smooth = smooth < 0.0 ? 0.0 : smooth > 1.0 ? 1.0 : smooth;
        d[i] = (float)(1.0 / ((1.0 - smooth) / factor + smooth));
    }
    s->rope.divisors[0] = d;
    return OK;
}

/* LongRoPE (Phi-3): cos and sin grow by sqrt(1 + ln(context / original) / ln(original)) unless the file says
 * otherwise. */
static enum status longrope_divisors(const struct keys *top, const struct keys *k, struct shape *s, struct error *e) {
    struct key name = {"original_max_position_embeddings", NULL};
    bool found;
    TRY(key_count(k, name, 2, LIMIT_CONTEXT, &s->rope.original_context, &found, e));
    if (!found) {
        TRY(key_count(top, name, 2, LIMIT_CONTEXT, &s->rope.original_context, NULL, e));
    }
    TRY(key_divisors(k, "short_factor", s->rope.dims / 2, &s->rope.divisors[0], e));
    TRY(key_divisors(k, "long_factor", s->rope.dims / 2, &s->rope.divisors[1], e));
    double stretch = (double)s->context / s->rope.original_context;
    if (stretch > 1.0) {
        s->rope.attention_factor = sqrt(1.0 + log(stretch) / log(s->rope.original_context));
    }
    return key_number(k, (struct key){"attention_factor", NULL}, 1e-3, 1e3, &s->rope.attention_factor, &found, e);
}

static enum status scaling_from_json(const struct keys *top, const struct keys *k, struct shape *s, struct error *e) {
    const char *type = "default";
    bool found;
    TRY(key_text(k, (struct key){"rope_type", NULL}, &type, &found, e));
    if (!found) {
        TRY(key_text(k, (struct key){"type", NULL}, &type, &found, e));
    }
    if (strcmp(type, "default") == 0) {
        return OK;
    }
    if (strcmp(type, "linear") == 0) {
        return linear_divisors(k, s, e);
    }
    if (strcmp(type, "llama3") == 0) {
        return llama3_divisors(k, s, e);
    }
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) {
        return longrope_divisors(top, k, s, e);
    }
    return error_set(e, ERR_RUN, "%s: rope_type = %s: not supported (allowed: default, linear, llama3, longrope)",
                     key_where(k, json_object_get(k->config, "rope_type") ? "rope_type" : "type"), type);
}

/* A vector of divisors among the tensors of a GGUF file; *out stays NULL when there is none. */
static enum status divisor_tensor(const struct keys *k, const struct shape *s, const char *name, const float **out,
                                  struct error *e) {
    const struct tensor *t = weights_find(k->weights, name);
    if (!t) {
        return OK;
    }
    if (t->rank != 1 || t->shape[0] != s->rope.dims / 2 || tensor_block_elements(t->type) != 1) {
        return error_set(e, ERR_RUN, "%s: tensor %s: found %llu elements of %s, expected %u plain numbers", k->where,
                         name, (unsigned long long)t->shape[0], tensor_type_name(t->type), s->rope.dims / 2);
    }
    TRY(tensor_check_finite(t, e));
    float *d;
    TRY(new_divisors(k, s, &d, e));
    tensor_rows_f32(t, 0, 1, d);
    for (uint32_t i = 0; i < s->rope.dims / 2; i++) {
        if (!(d[i] >= 1e-6f && d[i] <= 1e6f)) {
            return error_set(e, ERR_RUN, "%s: tensor %s[%u] = %g: not a usable factor (allowed: 1e-6 to 1e6)", k->where,
                             name, i, (double)d[i]);
        }
    }
    *out = d;
    return OK;
}

static enum status scaling_from_gguf(const struct keys *k, struct shape *s, struct error *e) {
    const char *type = "none";
    bool found;
    TRY(key_text(k, (struct key){NULL, "rope.scaling.type"}, &type, &found, e));
    if (strcmp(type, "linear") == 0) {
        TRY(linear_divisors(k, s, e));
    } else if (strcmp(type, "none") != 0 && strcmp(type, "longrope") != 0) {
        return error_set(e, ERR_RUN, "%s: rope.scaling.type = %s: not supported (allowed: none, linear, longrope)",
                         k->where, type);
    }
    TRY(divisor_tensor(k, s, "rope_freqs.weight", &s->rope.divisors[0], e));
    TRY(divisor_tensor(k, s, "rope_factors_short.weight", &s->rope.divisors[0], e));
    TRY(divisor_tensor(k, s, "rope_factors_long.weight", &s->rope.divisors[1], e));
    if (s->rope.divisors[1]) {
        TRY(key_count(k, (struct key){NULL, "rope.scaling.original_context_length"}, 2, LIMIT_CONTEXT,
                      &s->rope.original_context, NULL, e));
    }
    return key_number(k, (struct key){NULL, "rope.scaling.attn_factor"}, 1e-3, 1e3, &s->rope.attention_factor, &found,
                      e);
}

enum status read_rope(const struct keys *k, struct shape *s, struct error *e) {
    struct keys inner = *k;
    bool nested, scaled, found;
    double fraction = 1.0;
    s->rope = (struct rope){.on = true, .theta = 10000.0, .attention_factor = 1.0, .dims = s->head_dim};
    TRY(key_map(k, "rope_parameters", &inner, &nested, e)); /* transformers 5 puts everything there */
    TRY(key_number(&inner, (struct key){"rope_theta", "rope.freq_base"}, 1.0, 1e12, &s->rope.theta, &found, e));
    TRY(key_number(&inner, (struct key){"partial_rotary_factor", NULL}, 1e-3, 1.0, &fraction, &found, e));
    if (!found) {
        TRY(key_number(k, (struct key){"partial_rotary_factor", NULL}, 1e-3, 1.0, &fraction, &found, e));
    }
    s->rope.dims = (uint32_t)(fraction * s->head_dim);
    TRY(key_count(k, (struct key){NULL, "rope.dimension_count"}, 2, LIMIT_HEAD_DIM, &s->rope.dims, &found, e));
    if (s->rope.dims < 2 || s->rope.dims % 2 || s->rope.dims > s->head_dim) {
        return error_set(e, ERR_RUN, "%s: %u rotated features per head: must be even and at most head_dim = %u",
                         k->where, s->rope.dims, s->head_dim);
    }
    if (k->gguf) {
        return scaling_from_gguf(k, s, e);
    }
    if (nested) {
        return scaling_from_json(k, &inner, s, e);
    }
    TRY(key_map(k, "rope_scaling", &inner, &scaled, e));
    return scaled ? scaling_from_json(k, &inner, s, e) : OK;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static enum status read_head_dim(const struct keys *k, struct shape *s, struct error *e) {
    bool found;
    TRY(key_count(k, (struct key){"head_dim", "attention.key_length"}, 1, LIMIT_HEAD_DIM, &s->head_dim, &found, e));
    if (found) {
        return OK;
    }
    if (s->hidden % s->heads) {
        return error_set(e, ERR_RUN,
                         "%s: hidden size %u cannot be divided by %u heads, and head_dim is missing (allowed: a "
                         "multiple of %u, or head_dim)",
                         key_where(k, "hidden_size"), s->hidden, s->heads, s->heads);
    }
    s->head_dim = s->hidden / s->heads;
    return OK;
}

enum status read_llama_like(const struct keys *k, struct shape *s, struct error *e) {
    bool found;
    s->names = k->gguf ? &names_llama_gguf : &names_llama_json;
    TRY(key_count(k, (struct key){"num_hidden_layers", "block_count"}, 1, LIMIT_LAYERS, &s->layers, NULL, e));
    TRY(key_count(k, (struct key){"hidden_size", "embedding_length"}, 1, LIMIT_WIDTH, &s->hidden, NULL, e));
    TRY(key_count(k, (struct key){"num_attention_heads", "attention.head_count"}, 1, LIMIT_HEADS, &s->heads, NULL, e));
    s->kv_heads = s->heads;
    TRY(key_count(k, (struct key){"num_key_value_heads", "attention.head_count_kv"}, 1, LIMIT_HEADS, &s->kv_heads,
                  &found, e));
    TRY(read_head_dim(k, s, e));
    TRY(key_count(k, (struct key){"intermediate_size", "feed_forward_length"}, 1, LIMIT_WIDTH, &s->intermediate, NULL,
                  e));
    TRY(key_count(k, (struct key){"vocab_size", "vocab_size"}, 1, LIMIT_VOCABULARY, &s->vocabulary,
                  k->gguf ? &found : NULL, e));
    TRY(key_count(k, (struct key){"max_position_embeddings", "context_length"}, 1, LIMIT_CONTEXT, &s->context, NULL,
                  e));
    TRY(key_number(k, (struct key){"rms_norm_eps", "attention.layer_norm_rms_epsilon"}, 0.0, 1.0, &s->norm_eps, NULL,
                   e));
    TRY(key_flag(k, (struct key){"tie_word_embeddings", NULL}, &s->tied_head, &found, e));
    s->attention_scale = 1.0 / sqrt(s->head_dim);
    s->window = arena_alloc(k->arena, s->layers, sizeof *s->window);
    if (!s->window) {
        return error_set(e, ERR_RUN, "%s: out of memory", k->where);
    }
    return read_rope(k, s, e);
}
