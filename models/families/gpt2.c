/* GPT-2: LayerNorm with bias, learned positions, biases everywhere, q, k, v in one matrix (c_attn), a plain MLP with
 * the tanh form of GELU. config.json has its own key names; safetensors store the matrices as Conv1D,
 * [inputs][outputs], under names with or without "transformer." in front. GGUF stores them the usual way round.
 */
#include <math.h>

#include "models/shape.h"

static const struct tensor_names names_json = {
    .optional_prefix = "transformer.",
    .embedding = "wte",
    .positions = "wpe",
    .final_norm = "ln_f",
    .head = "lm_head",
    .layers = "h",
    .attention_norm = "ln_1",
    .qkv = "attn.c_attn",
    .o = "attn.c_proj",
    .mlp_norm = "ln_2",
    .up = "mlp.c_fc",
    .down = "mlp.c_proj",
};
static const struct tensor_names names_gguf = {
    .embedding = "token_embd",
    .positions = "position_embd",
    .final_norm = "output_norm",
    .head = "output",
    .layers = "blk",
    .attention_norm = "attn_norm",
    .qkv = "attn_qkv",
    .o = "attn_output",
    .mlp_norm = "ffn_norm",
    .up = "ffn_up",
    .down = "ffn_down",
};

static enum status gpt2_sizes(const struct keys *k, struct shape *s, struct error *e) {
    bool found;
    TRY(key_count(k, (struct key){"n_layer", "block_count"}, 1, LIMIT_LAYERS, &s->layers, NULL, e));
    TRY(key_count(k, (struct key){"n_embd", "embedding_length"}, 1, LIMIT_WIDTH / 4, &s->hidden, NULL, e));
    TRY(key_count(k, (struct key){"n_head", "attention.head_count"}, 1, LIMIT_HEADS, &s->heads, NULL, e));
    if (s->hidden % s->heads) {
        return error_set(e, ERR_RUN, "%s: n_embd = %u cannot be divided by n_head = %u (allowed: a multiple of %u)",
                         key_where(k, "n_embd"), s->hidden, s->heads, s->heads);
    }
    s->kv_heads = s->heads;
    s->head_dim = s->hidden / s->heads;
    s->intermediate = 4 * s->hidden; /* what n_inner: null means */
    TRY(key_count(k, (struct key){"n_inner", "feed_forward_length"}, 1, LIMIT_WIDTH, &s->intermediate, &found, e));
    TRY(key_count(k, (struct key){"vocab_size", "vocab_size"}, 1, LIMIT_VOCABULARY, &s->vocabulary,
                  k->gguf ? &found : NULL, e));
    TRY(key_count(k, (struct key){"n_positions", "context_length"}, 1, LIMIT_CONTEXT, &s->context, NULL, e));
    return key_number(k, (struct key){"layer_norm_epsilon", "attention.layer_norm_epsilon"}, 0.0, 1.0, &s->norm_eps,
                      NULL, e);
}

/* A switch of the format that changes the arithmetic and that no released model uses. */
static enum status must_be(const struct keys *k, const char *name, bool expected, struct error *e) {
    bool found, value = expected;
    TRY(key_flag(k, (struct key){name, NULL}, &value, &found, e));
    if (value != expected) {
        return error_set(e, ERR_RUN, "%s: %s = %s: not supported (allowed: %s)", key_where(k, name), name,
                         value ? "true" : "false", expected ? "true" : "false");
    }
    return OK;
}

static enum status gpt2_read(const struct keys *k, struct shape *s, struct error *e) {
    static const char *const gelu[] = {"gelu_new", "gelu_pytorch_tanh", NULL};
    bool found;
    TRY(gpt2_sizes(k, s, e));
    TRY(check_text(k, (struct key){"activation_function", NULL}, gelu, e));
    TRY(must_be(k, "scale_attn_weights", true, e));
    TRY(must_be(k, "scale_attn_by_inverse_layer_idx", false, e));
    TRY(must_be(k, "add_cross_attention", false, e));
    s->tied_head = true; /* what the format means when it does not say */
    TRY(key_flag(k, (struct key){"tie_word_embeddings", NULL}, &s->tied_head, &found, e));
    s->names = k->gguf ? &names_gguf : &names_json;
    s->norm = NORM_LAYER;
    s->activation = ACTIVATION_GELU_TANH;
    s->qkv_bias = s->o_bias = s->mlp_bias = true;
    s->transposed = !k->gguf;
    s->attention_scale = 1.0 / sqrt(s->head_dim);
    s->window = arena_alloc(k->arena, s->layers, sizeof *s->window);
    return s->window ? OK : error_set(e, ERR_RUN, "%s: out of memory", k->where);
}

const struct family family_gpt2 = {"gpt2", "gpt2", gpt2_read, &names_json, &names_gguf, true, 0.0};
