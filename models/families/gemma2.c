/* Gemma 2: norms before and after both blocks that multiply by 1 + weight, embedding times sqrt(hidden), q.k scaled by
 * query_pre_attn_scalar^-1/2, scores and logits capped (cap * tanh(x / cap)), GeGLU with the tanh form of GELU, a
 * window on every even layer. transformers rounds sqrt(hidden) to the type that it computes in; here that is fp32.
 *
 * GGUF: the converter has added the 1 to the norm weights. query_pre_attn_scalar is not in the file: it is head_dim
 * except in the 27B model, which is known by its 46 layers and uses hidden /
 * heads. */
#include <math.h>

#include "models/shape.h"

static const struct tensor_names names_json = {
    .embedding = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head", .layers = "model.layers",
    .attention_norm = "input_layernorm", .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj",
    .o = "self_attn.o_proj", .post_attention_norm = "post_attention_layernorm",
    .mlp_norm = "pre_feedforward_layernorm", .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj",
    .post_mlp_norm = "post_feedforward_layernorm",
};
static const struct tensor_names names_gguf = {
    .embedding = "token_embd", .final_norm = "output_norm", .head = "output", .layers = "blk",
    .attention_norm = "attn_norm", .q = "attn_q", .k = "attn_k", .v = "attn_v", .o = "attn_output",
    .post_attention_norm = "post_attention_norm",
    .mlp_norm = "ffn_norm", .gate = "ffn_gate", .up = "ffn_up", .down = "ffn_down", .post_mlp_norm = "post_ffw_norm",
};

enum { LAYERS_OF_27B = 46 };

static enum status gemma2_read(const struct keys *k, struct shape *s, struct error *e) {
    static const char *const gelu[] = {"gelu_pytorch_tanh", NULL};
    bool found;
    uint32_t window = 0;
    s->tied_head = true; /* what the format means when it does not say */
    TRY(read_llama_like(k, s, e));
    s->names = k->gguf ? &names_gguf : &names_json;
    TRY(check_text(k, (struct key){"hidden_activation", NULL}, gelu, e));
    TRY(key_flag(k, (struct key){"attention_bias", NULL}, &s->qkv_bias, &found, e));
    s->o_bias = s->qkv_bias;
    s->activation = ACTIVATION_GELU_TANH;
    s->norm_offset = k->gguf ? 0.0 : 1.0;
    s->embedding_scale = (double)sqrtf((float)s->hidden);
    double scalar = s->layers == LAYERS_OF_27B ? (double)s->hidden / s->heads : s->head_dim;
    TRY(key_number(k, (struct key){"query_pre_attn_scalar", NULL}, 1e-3, 1e9, &scalar, k->gguf ? &found : NULL, e));
    s->attention_scale = 1.0 / sqrt(scalar);
    TRY(key_number(k, (struct key){"attn_logit_softcapping", "attn_logit_softcapping"}, 1e-3, 1e9, &s->attention_cap,
                   &found, e));
    TRY(key_number(k, (struct key){"final_logit_softcapping", "final_logit_softcapping"}, 1e-3, 1e9, &s->final_cap,
                   &found, e));
    TRY(key_count(k, (struct key){"sliding_window", "attention.sliding_window"}, 1, LIMIT_CONTEXT, &window, NULL, e));
    return set_windows(k, s, window, WINDOW_EVEN_LAYERS, 0, e);
}

const struct family family_gemma2 = {"gemma2", "gemma2", gemma2_read, &names_json, &names_gguf, false, 1.0};
