/* Llama 1 to 3 and everything built like it (TinyLlama, SmolLM, MiniMind), and Mistral.
 *
 * GGUF files of the architecture "llama" (Mistral included) store the rows of q and k permuted within each head, so
 * that RoPE pairs lie side by side: row 2i+p there is row i + p*d/2 of the original. Turning neighbours instead of
 * halves gives the same q.k, so the rows stay as they are in the file. `rope_freqs.weight` holds the divisors of the
 * llama3
 * rule. */
#include "models/shape.h"

static const char *const silu[] = {"silu", NULL};

static enum status llama_read(const struct keys *k, struct shape *s, struct error *e) {
    bool found;
    TRY(read_llama_like(k, s, e));
    TRY(check_text(k, (struct key){"hidden_act", NULL}, silu, e));
    TRY(key_flag(k, (struct key){"attention_bias", NULL}, &s->qkv_bias, &found, e));
    TRY(key_flag(k, (struct key){"mlp_bias", NULL}, &s->mlp_bias, &found, e));
    s->o_bias = s->qkv_bias;
    if (k->gguf) {
        s->rope.interleaved = true;
        s->qkv_bias = has_tensor(k, "blk.0.attn_q.bias");
        s->o_bias = has_tensor(k, "blk.0.attn_output.bias");
        s->mlp_bias = has_tensor(k, "blk.0.ffn_up.bias");
    }
    uint32_t window = 0;
    return set_windows(k, s, window, WINDOW_EVERY_LAYER, 0, e);
}

/* sliding_window may be null (Mistral 0.2 and later). */
static enum status mistral_read(const struct keys *k, struct shape *s, struct error *e) {
    bool found;
    uint32_t window = 0;
    TRY(read_llama_like(k, s, e));
    TRY(check_text(k, (struct key){"hidden_act", NULL}, silu, e));
    TRY(key_count(k, (struct key){"sliding_window", NULL}, 1, LIMIT_CONTEXT, &window, &found, e));
    return set_windows(k, s, window, WINDOW_EVERY_LAYER, 0, e);
}

const struct family family_llama = {"llama", "llama", llama_read, &names_llama_json, &names_llama_gguf, false, 0.0};
const struct family family_mistral = {"mistral", NULL, mistral_read, &names_llama_json, &names_llama_gguf, false, 0.0};
