/* Phi-3 and Phi-4: q, k, v in one matrix and gate, up in one matrix (rows in this order), sliding window, LongRoPE
 * (short or long divisors by the length of the whole sequence), rotation of a part of each head
 * (partial_rotary_factor). GGUF keeps the fused matrices: attn_qkv, and gate and up together under the name ffn_up.
 */
#include "models/shape.h"

static const struct tensor_names names_json = {
    .embedding = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head", .layers = "model.layers",
    .attention_norm = "input_layernorm", .qkv = "self_attn.qkv_proj", .o = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm", .gate_up = "mlp.gate_up_proj", .down = "mlp.down_proj",
};
static const struct tensor_names names_gguf = {
    .embedding = "token_embd", .final_norm = "output_norm", .head = "output", .layers = "blk",
    .attention_norm = "attn_norm", .qkv = "attn_qkv", .o = "attn_output",
    .mlp_norm = "ffn_norm", .gate_up = "ffn_up", .down = "ffn_down",
};

static enum status phi3_read(const struct keys *k, struct shape *s, struct error *e) {
    static const char *const silu[] = {"silu", NULL};
    bool found;
    uint32_t window = 0;
    TRY(read_llama_like(k, s, e));
    s->names = k->gguf ? &names_gguf : &names_json;
    TRY(check_text(k, (struct key){"hidden_act", NULL}, silu, e));
    /* GGUF writes 0 for "none". */
    TRY(key_count(k, (struct key){"sliding_window", "attention.sliding_window"}, k->gguf ? 0 : 1, LIMIT_CONTEXT,
                  &window, &found, e));
    return set_windows(k, s, window, WINDOW_EVERY_LAYER, 0, e);
}

const struct family family_phi3 = {"phi3", "phi3", phi3_read, &names_json, &names_gguf, false, 0.0};
