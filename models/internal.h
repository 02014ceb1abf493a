/* Private to models/: what an open model and a session are made of.
 *
 * Symbols: T tokens of one forward step, D hidden, H heads, G kv_heads, d head_dim, F intermediate, V vocabulary.
 * A model is immutable: any number of sessions may share it. Matrices stay in the mapped file; vectors (norms, biases)
 * are copied to fp32 when the model is opened.
 */
#ifndef MHO_MODELS_INTERNAL_H
#define MHO_MODELS_INTERNAL_H

#include "base/kernels.h"
#include "models/model.h"
#include "models/shape.h"

/* A linear layer: y [outputs] = W [outputs][inputs] x [inputs] + bias. */
struct matrix {
    const struct tensor *tensor;
    bool transposed;         /* stored [inputs][outputs] */
    uint32_t inputs, outputs;
    const float *bias;       /* [outputs] or NULL */
    int layer;               /* -1: the head */
    int quantise_bits;       /* rows are rounded when they are read (quantise_row); 0: not */
};

/* weight NULL: no such norm; the offset of the family is added in already */
struct norm {
    const float *weight, *bias;
};

enum { NO_MATRIX = -1 };

struct layer {
    struct norm attention_norm, q_norm, k_norm, post_attention_norm, mlp_norm, post_mlp_norm;
    int q, k, v, qkv, o, gate, up, gate_up, down; /* indices of matrices, or NO_MATRIX */
};

struct model {
    struct weights *weights;
    bool shapes;                 /* opened without tensors: matrices have sizes and no data */
    struct tokenizer *tokenizer; /* NULL: none */
    struct arena *arena;         /* everything below lives there */
    const struct family *family;
    struct shape shape;
    struct model_shape view;     /* what model_shape() shows */
    struct layer *layers;
    struct norm final_norm;
    const struct tensor *embedding, *positions; /* positions NULL: none */
    int head;
    struct matrix *matrices;
    struct matrix_source *sources; /* parallel to matrices */
    size_t matrix_count;
};

/* matrices.c: finds every tensor that the shape asks for, checks type, shape and values, fills layers and matrices. */
enum status model_take_tensors(struct model *m, struct error *e);
/* chip_tensors.c: what a folder says of the chip for one matrix, whose tensors begin with `name` and a dot: input
 * ranges and what stays digital. Fills m->sources[matrix]; marks the tensors that it took, [weights_count] and
 * [weights_integers_count]. */
enum status model_take_chip_tensors(struct model *m, size_t matrix, const char *name, bool *used, bool *used_integers,
                                    struct error *e);
/* An integer tensor that is named like one of these and belongs to no matrix is an error. */
enum status model_check_chip_tensors(const struct model *m, const bool *used_integers, struct error *e);
/* Rows [first, first + count) of the matrix as fp32 [count][inputs], whichever way round it is stored. */
void matrix_rows(const struct matrix *m, uint32_t first, uint32_t count, float *rows);

struct session;

/* ---- linear.c ---------------------------------------------------------------------------------- */

/* The digital form of one matrix: in the mapped file as it is, or an fp32 copy of quantised and transposed ones. */
struct linear {
    bool analog;
    enum weight_type type;
    const void *weights;     /* [outputs][inputs] in the file */
    float *panels;           /* owned: [outputs / PANEL][inputs][PANEL]; NULL: read from the file */
    int16_t *codes;          /* owned: panels of mac_i16, in place of all others; NULL: none (linear_codes.c) */
    float *steps;            /* owned: [outputs], of the codes */
};
/* panels: as a copy in any case */
enum status linear_prepare(struct linear *l, const struct matrix *m, bool panels, struct error *e);
size_t linear_weight_bytes(const struct linear *l); /* of one weight as held */

/* ---- linear_codes.c ---------------------------------------------------------------------------- */

enum status codes_prepare(struct linear *l, const struct matrix *m, struct error *e);
/* y [tokens][outputs] = x [tokens][inputs] W, no bias; codes and steps of x go to the session. */
void codes_multiply(struct session *s, int matrix, const float *x, uint32_t tokens, float *y, int threads);
size_t codes_stride(const struct matrix *m); /* codes of one token */
/* The s->likeliest outputs of each token, bias included, into the first rows of s->found. */
void codes_likeliest(struct session *s, int matrix, const float *x, uint32_t tokens);
size_t codes_slice_floats(void); /* of one token and thread: s->slices */

/* ---- rope.c ------------------------------------------------------------------------------------ */

/* cos and sin of every position and pair: [positions][dims/2] each, times the attention factor. */
struct rope_table { float *cosine, *sine; };
enum status rope_table_create(const struct rope *r, int set, uint32_t positions, struct rope_table *out,
                              struct error *e);
void rope_table_clear(struct rope_table *t);
/* Turns one head in place. */
void rope_apply(const struct rope *r, const struct rope_table *t, uint32_t position, float *head);

/* ---- attention.c ------------------------------------------------------------------------------- */

/* Keys and values of one layer in the panel form that gemm_panel_f32 multiplies without packing:
 *   keys   [G][context/PANEL][d][PANEL]: one panel of PANEL positions, features inwards;
 *   values [G][d/PANEL][context][PANEL]: one panel of PANEL features, positions inwards. */
struct kv_cache {
    float *keys, *values;
    uint16_t *half_keys, *half_values; /* in place of these with 16 bits: fp16 [G][context][d] */
};
size_t kv_half_count(const struct shape *s, uint32_t context); /* of keys, and of values */
size_t kv_keys_floats(const struct shape *s, uint32_t context);
size_t kv_values_floats(const struct shape *s, uint32_t context);
/* Scratch of one thread in floats. */
size_t attention_scratch_floats(const struct shape *s, uint32_t context);

/* ---- session ----------------------------------------------------------------------------------- */

/* Where a token stands: its sequence (0 where there is one only) and its position there. */
struct token_place { uint32_t sequence, position; };

/* Who sees the inputs x [tokens][inputs] of every digital product, before it is made. */
struct watcher {
    void (*see)(void *context, int matrix, const float *x, uint32_t tokens);
    void *context;
};

struct session {
    const struct model *model;
    struct run *run;             /* NULL: digital */
    const struct watcher *watcher; /* NULL: nobody */
    uint32_t context, max_batch, position;
    uint32_t sequences;          /* 0: one, at `position`; else so many, of the lengths below (session_decode) */
    uint32_t *lengths;           /* [sequences] */
    struct token_place *places;        /* [max_batch] of the tokens of the step; NULL without values */
    bool keep_hidden;
    bool sixteen_bits;           /* see session_options */
    bool values;                 /* false: only the run is told what is done */
    int threads;
    int32_t *history;            /* [context] ids so far */
    int rope_set;                /* divisors that the cached keys were turned with */
    struct rope_table rope[2];
    struct linear *linear;       /* parallel to model->matrices */
    struct kv_cache *cache;      /* [layers]; sequence after sequence */
    /* Buffers of one step, row-major. */
    float *x, *normed;           /* [T][D]: residual stream; input of a block, then its output */
    float *block;                /* [T][D]: output of a block */
    float *qkv;                  /* [T][(H + 2G) d], or q, k and v one after the other */
    float *attended;             /* [T][H d] */
    float *gate_up;              /* [T][2 F], or up and gate one after the other */
    float *activated;            /* [T][F] */
    float *logits;               /* [T][V] */
    float *hidden;               /* [L + 2][T][D] when kept */
    float *scratch;              /* [threads][scratch_floats] */
    int16_t *codes;              /* [T][widest codes_stride]: inputs of a product, where it is one of codes */
    float *code_steps;           /* [T] */
    uint32_t likeliest;          /* ids wanted of each token; 0: all logits */
    struct candidate *found;     /* [threads][T][likeliest] */
    float *slices;               /* [threads][T][codes_slice_floats] */
    size_t scratch_floats;
};

/* One matrix as rows with a stride: a slice of a fused product or a buffer of its own. */
struct rows { float *data; size_t stride; };

/* y [T][O] = x [T][K] W + bias: on the machine when it holds the matrix, else digital. Records what it does in the
 * run. */
enum status linear_apply(struct session *s, int matrix, const float *x, uint32_t tokens, float *y, struct error *e);
/* Without the bias: between run_fork and run_join only products may stand. */
enum status linear_multiply(struct session *s, int matrix, const float *x, uint32_t tokens, float *y, struct error *e);
void linear_add_bias(struct session *s, int matrix, uint32_t tokens, float *y);
/* Appends keys and values of the step's tokens to the cache of the layer, then out [T][H d] = softmax(scale q k) v. */
void attention_store(struct session *s, uint32_t layer, struct rows k, struct rows v, uint32_t tokens);
void attention_apply(struct session *s, uint32_t layer, struct rows q, uint32_t tokens, float *out);
/* likelihood.c: log_p[t] = ln p of ids[t] under row t of logits [count][vocabulary]. */
void log_probabilities(const float *logits, size_t vocabulary, const int32_t *ids, size_t count, int threads,
                       double *log_p);
/* batch.c: whether a session may have many sequences. */
enum status batch_check_options(const struct model *m, const struct session_options *o, struct error *e);
/* transformer.c: work of a digital unit, noted in the run if there is one. */
void record(struct session *s, enum digital_op op, int layer, uint32_t tokens, uint64_t elements);
/* One step of at most max_batch tokens, which stand at s->places (without values: at s->position, which stays). Logits,
 * if wanted, are in s->logits. */
enum status transformer_step(struct session *s, const int32_t *ids, uint32_t tokens, enum logits_wanted wanted,
                             struct error *e);

#endif
