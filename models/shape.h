/* Private to models/: everything that a forward pass must know about a model, and how to read it.
 *
 * A family (families/NAME.c) fills `struct shape` from config.json or from the metadata of a GGUF file; from there on
 * no code asks which family it is. Symbols: L layers, D hidden, H heads, G kv_heads, d head_dim, F intermediate, V
 * vocabulary.
 *
 * One value has two names, its key in config.json and its key in GGUF metadata (there after "ARCHITECTURE."); struct
 * key holds both, so that a family's reader is written
 * once. */
#ifndef MHO_MODELS_SHAPE_H
#define MHO_MODELS_SHAPE_H

#include "base/memory.h"
#include "models/weights.h"

enum norm_kind { NORM_RMS, NORM_LAYER };
enum activation { ACTIVATION_SILU, ACTIVATION_GELU_TANH };

/* Rotary position embedding. Pair i of a head turns by the angle position * theta^(-2i/dims) / divisors[set][i]; every
 * scaling rule (linear, llama3, longrope, rope_freqs of GGUF) is a table of divisors. cos and sin are multiplied by
 * attention_factor. Set 1 is used as soon as a sequence is longer than original_context, set 0 below. */
struct rope {
    bool on;
    double theta;
    uint32_t dims;            /* rotated features of a head; the rest passes through */
    bool interleaved; /* pairs (2i, 2i+1), as the permuted rows of llama GGUF files need; else (i, i + dims/2) */
    double attention_factor;
    uint32_t original_context; /* 0: one set of divisors for every length */
    const float *divisors[2];  /* [dims/2] each, in the arena; NULL = ones */
};

/* Names of tensors, without ".weight" and ".bias"; those of a layer stand after "layers.N.". NULL: the family has
 * none. */
struct tensor_names {
    const char *optional_prefix; /* before every name in some files, absent in others; NULL: never */
    const char *embedding, *positions, *final_norm, *head;
    const char *layers;
    const char *attention_norm, *q, *k, *v, *qkv, *o, *q_norm, *k_norm, *post_attention_norm;
    const char *mlp_norm, *gate, *up, *gate_up, *down, *post_mlp_norm;
};

struct shape {
    const struct tensor_names *names;
    uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, context;
    enum norm_kind norm;
    double norm_eps;
    double norm_offset;        /* norms multiply by offset + weight (Gemma: 1) */
    enum activation activation;
    struct rope rope;
    bool qkv_bias, o_bias, mlp_bias;
    bool transposed;           /* matrices are stored [inputs][outputs] (Conv1D) */
    bool tied_head;
    double embedding_scale;    /* on the embedding */
    double attention_scale;    /* on q.k */
    double attention_cap, final_cap; /* cap * tanh(x / cap); 0 = none */
    uint32_t *window;          /* [layers]; keys that a query sees, itself included; 0 = all. In the arena. */
    int32_t bos;               /* -1: none */
    int32_t *ends;             /* end-of-text ids, in the arena */
    size_t end_count;
};

/* Where a family reads from. */
struct keys {
    const struct weights *weights;
    const char *where;         /* "DIR/config.json" or "FILE.gguf", for messages */
    const char *map;           /* of config.json: the map that these keys are in; NULL: the top */
    const json_t *config;      /* NULL for GGUF */
    const struct gguf *gguf;   /* NULL for a folder */
    const char *architecture;  /* GGUF: prefix of the keys */
    struct arena *arena;
};
struct key { const char *json, *gguf; }; /* NULL: this kind of file does not carry the value */

/* Getters. `found` NULL: the key is required, and a missing one is an error that names key and file. JSON null counts
 * as missing. A wrong type or a value outside [min, max] is an error. *out is left alone when the key is missing. */
enum status key_count(const struct keys *k, struct key name, uint32_t min, uint32_t max, uint32_t *out, bool *found,
                      struct error *e);
enum status key_number(const struct keys *k, struct key name, double min, double max, double *out, bool *found,
                       struct error *e);
enum status key_flag(const struct keys *k, struct key name, bool *out, bool *found, struct error *e);
enum status key_text(const struct keys *k, struct key name, const char **out, bool *found, struct error *e);
/* "DIR/config.json:12: rope_scaling" where line and map of a key are known; else `where`. In the arena. */
const char *key_where(const struct keys *k, const char *name);
/* A map inside config.json (never found in GGUF): `inner` reads its keys. */
enum status key_map(const struct keys *k, const char *name, struct keys *inner, bool *found, struct error *e);
/* A list of exactly `count` positive numbers, in the arena. JSON only. */
enum status key_divisors(const struct keys *k, const char *name, uint32_t count, const float **out, struct error *e);

enum {
    LIMIT_LAYERS = 1 << 12,
    LIMIT_HEADS = 1 << 12,
    LIMIT_HEAD_DIM = 1 << 12,
    LIMIT_WIDTH = 1 << 20,
    LIMIT_VOCABULARY = 1 << 24,
    LIMIT_CONTEXT = 1 << 28
};

struct family {
    const char *name;         /* model_type in config.json */
    const char *architecture; /* general.architecture in GGUF; NULL: not found there */
    enum status (*read)(const struct keys *k, struct shape *s, struct error *e);
    const struct tensor_names *json_names, *gguf_names; /* of the tensors in either kind of file */
    bool json_transposed;     /* in a folder the matrices of the layers are stored [inputs][outputs] */
    double json_norm_offset;  /* what the norms of a folder leave out of their weights (Gemma: 1) */
};
extern const struct family family_llama, family_mistral, family_phi3, family_qwen2, family_qwen3, family_gemma2,
    family_gpt2;
extern const struct family *const families[]; /* all of them; ends with NULL (families/registry.c) */

/* Recognises the family of the file and reads its shape; everything is checked. */
enum status shape_read(const struct weights *w, struct arena *a, const struct family **family, struct shape *out,
                       struct error *e);

/* ---- what families share (families/common.c) ----------------------------------------------- */

extern const struct tensor_names names_llama_json, names_llama_gguf;
/* Sizes and the rest that llama-like configurations have in common; RMS norms, SiLU, no biases, RoPE, full
 * attention. */
enum status read_llama_like(const struct keys *k, struct shape *s, struct error *e);
/* rope_theta, rope_scaling / rope_parameters; `k` may carry original_max_position_embeddings at its top level. */
enum status read_rope(const struct keys *k, struct shape *s, struct error *e);
enum window_rule { WINDOW_EVERY_LAYER, WINDOW_FROM_LAYER, WINDOW_EVEN_LAYERS };
/* Sets s->window: `window` on the layers of the rule, unless config.json lists layer_types. */
enum status set_windows(const struct keys *k, struct shape *s, uint32_t window, enum window_rule rule,
                        uint32_t first_layer, struct error *e);
/* config.json must say `allowed` for an activation (its key may be missing in GGUF). */
enum status check_text(const struct keys *k, struct key name, const char *const *allowed, struct error *e);
/* Whether the GGUF file has a tensor of this name: GGUF has no flags for biases. */
bool has_tensor(const struct keys *k, const char *name);

#endif
