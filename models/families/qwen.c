/* Qwen2 (biases on q, k, v) and Qwen3 (no biases unless attention_bias, RMS norm on every head of q and k before RoPE).
 * With use_sliding_window the layers from max_window_layers on see a window. GGUF rows are not permuted.
 */
#include "models/shape.h"

static const char *const silu[] = {"silu", NULL};

static const struct tensor_names names_qwen3_json = {
    .embedding = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head", .layers = "model.layers",
    .attention_norm = "input_layernorm", .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj",
    .o = "self_attn.o_proj", .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm",
    .mlp_norm = "post_attention_layernorm", .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj",
};
static const struct tensor_names names_qwen3_gguf = {
    .embedding = "token_embd", .final_norm = "output_norm", .head = "output", .layers = "blk",
    .attention_norm = "attn_norm", .q = "attn_q", .k = "attn_k", .v = "attn_v", .o = "attn_output",
    .q_norm = "attn_q_norm", .k_norm = "attn_k_norm",
    .mlp_norm = "ffn_norm", .gate = "ffn_gate", .up = "ffn_up", .down = "ffn_down",
};

static enum status qwen_windows(const struct keys *k, struct shape *s, struct error *e) {
    bool found, sliding = false;
    uint32_t window = 0, first = 0;
    TRY(key_flag(k, (struct key){"use_sliding_window", NULL}, &sliding, &found, e));
    if (sliding) {
        TRY(key_count(k, (struct key){"sliding_window", NULL}, 1, LIMIT_CONTEXT, &window, NULL, e));
        TRY(key_count(k, (struct key){"max_window_layers", NULL}, 0, UINT32_MAX, &first, NULL, e));
    }
    return set_windows(k, s, window, WINDOW_FROM_LAYER, first, e);
}

static enum status qwen2_read(const struct keys *k, struct shape *s, struct error *e) {
    TRY(read_llama_like(k, s, e));
    TRY(check_text(k, (struct key){"hidden_act", NULL}, silu, e));
    s->qkv_bias = true;
    return qwen_windows(k, s, e);
}

static enum status qwen3_read(const struct keys *k, struct shape *s, struct error *e) {
    bool found;
    TRY(read_llama_like(k, s, e));
    s->names = k->gguf ? &names_qwen3_gguf : &names_qwen3_json;
    TRY(check_text(k, (struct key){"hidden_act", NULL}, silu, e));
    TRY(key_flag(k, (struct key){"attention_bias", NULL}, &s->qkv_bias, &found, e));
    s->o_bias = s->qkv_bias;
    return qwen_windows(k, s, e);
}

const struct family family_qwen2 = {"qwen2", "qwen2", qwen2_read, &names_llama_json, &names_llama_gguf, false, 0.0};
const struct family family_qwen3 = {"qwen3", "qwen3", qwen3_read, &names_qwen3_json, &names_qwen3_gguf, false, 0.0};
