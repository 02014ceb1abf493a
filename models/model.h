/* Language models: the only header of models/ that tools/ include.
 *
 * model (immutable: file, shape, tokenizer) -> session (mutable: KV cache, position) -> logits -> sampler.
 * With a run of a machine, matrices that the machine holds are multiplied there; the rest is the fp32
 * digital reference.
 */
#ifndef MHO_MODELS_MODEL_H
#define MHO_MODELS_MODEL_H

#include "models/adapt/adapt.h"
#include "models/tokenizer.h"
#include "sim/sim.h"
#include "models/choice.h"
#include "models/serving.h"
#include "models/write.h"

struct model;
/* A file or folder as it stands, or a bundled name ("stories") as the path of its folder; mem_free. An unknown name is
 * an error that lists the bundled ones. (bundled.c) */
enum status model_resolve(const char *name, char **path, struct error *e);
/* A folder or GGUF file, or a bundled name ("stories"). */
enum status model_open(const char *path, struct model **out, struct error *e);
/* The shape alone, for costs without values: a folder with config.json, a config.json, a GGUF file or a bundled name.
 * Weights are neither needed nor read; no tokenizer. Only sessions without values work on it. */
enum status model_open_shapes(const char *path, struct model **out, struct error *e);
void model_close(struct model *m);
/* From now on every matrix, head included, has its rows rounded to `bits` bits (2 to 8; quantise_row() in write.h), as
 * a baseline; the embedding stays. Before anything is made of the model. */
enum status model_quantise(struct model *m, int bits, struct error *e);
int model_quantised_bits(const struct model *m); /* 0: as in the file */

struct model_shape {
    const char *family; /* "llama", "phi3", ... */
    uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, context;
    bool tied_head;
    uint64_t parameters;
    const char *path;
};
const struct model_shape *model_shape(const struct model *m);
/* How many of a sequence's positions a layer keeps keys and values of: all, or the last ones where it has a window. */
uint64_t model_kv_positions(const struct model *m, uint32_t layer, uint64_t positions);
/* NULL when the model has no tokenizer (golden test models): then only ids work. */
const struct tokenizer *model_tokenizer(const struct model *m);
int32_t model_bos(const struct model *m); /* tokenizer's, else config's; -1 none */
bool model_is_end(const struct model *m, int32_t id); /* eos ids of config and tokenizer */

/* Every linear layer, output head included, in the order of the forward pass: what placement_create and machine_create
 * take. Borrowed. */
const struct matrix_source *model_matrices(const struct model *m, size_t *count);
/* Whether any of them brings something for a chip: a side path, ranges, scales, devices. */
bool model_is_for_chip(const struct model *m);

struct session;
struct session_options {
    uint32_t context;     /* positions in the KV cache; 0 = min(model context, 4096) */
    uint32_t max_batch;   /* largest number of tokens in one forward call; 0 = 128 (longer inputs are cut) */
    struct run *run;      /* analog machine; NULL = digital. Borrowed. */
    bool keep_hidden;     /* record hidden states of the last forward call */
    uint32_t sequences;   /* 0: one. Else so many, each with `context` positions of its own, one token of each at a time
                             (session_decode); digital, max_batch does not count */
    bool sixteen_bits;    /* with `sequences`, to draw text quickly: linear layers as products of 16-bit codes
                             (linear_codes.c, which says what it changes), KV cache in fp16 */
    uint32_t likeliest;   /* with sixteen_bits: only so many logits of each token are wanted, at most the vocabulary;
                             0: all */
    bool shapes;          /* no values: steps are noted in the run, nothing is computed (session_advance) */
};
/* All memory is allocated here. Prepares the digital form of the weights that it will multiply digitally (fp32 for
 * quantised types). */
enum status session_create(const struct model *m, const struct session_options *o, struct session **out,
                           struct error *e);
void session_destroy(struct session *s);
void session_rewind(struct session *s, uint32_t position); /* keep the first `position` positions */
uint32_t session_position(const struct session *s);
/* Bytes of weights that one decoded token reads in this session's digital multiplies (as held in memory; head
 * included). */
uint64_t session_weight_bytes(const struct session *s);

enum logits_wanted { LOGITS_NONE, LOGITS_LAST, LOGITS_ALL };
/* Runs ids through the model after the current position. *logits: [vocabulary] or [count][vocabulary] (LOGITS_ALL needs
 * count <= max_batch), owned by the session, valid until the next call. Errors: context full, id outside the
 * vocabulary, NaN out of a tile. */
enum status session_forward(struct session *s, const int32_t *ids, uint32_t count, enum logits_wanted wanted,
                            const float **logits, struct error *e);
/* A session without values: notes in its run what the forward pass of `count` more tokens does; cuts at max_batch like
 * session_forward. */
enum status session_advance(struct session *s, uint32_t count, enum logits_wanted wanted, struct error *e);
/* A session without values: goes on after `position` tokens (at most its context), as if they had been run. */
void session_seek(struct session *s, uint32_t position);
/* ---- many sequences (batch.c) ------------------------------------------------------------------ */

/* The next token of one sequence of a session with many. */
struct decode_token { uint32_t sequence; int32_t id; };
/* Appends one token to each of `count` sequences (1 to `sequences`, none twice) and runs them at once. *logits
 * [count][vocabulary] as for session_forward. What a sequence gets does not depend on which others are with it, on its
 * number or on the number of threads, to the bit. Errors as for session_forward: every sequence keeps its length. */
enum status session_decode(struct session *s, const struct decode_token *tokens, uint32_t count, const float **logits,
                           struct error *e);
struct candidate { float logit; int32_t id; };
/* session_decode of a session with `likeliest`: *found [count][likeliest], in no order, the ids with the largest
 * logits; of equal ones the lower. The same bits as among all logits. */
enum status session_decode_likeliest(struct session *s, const struct decode_token *tokens, uint32_t count,
                                     const struct candidate **found, struct error *e);
/* Forgets a sequence: its next token stands at position 0. */
void session_restart(struct session *s, uint32_t sequence);

/* keep_hidden: row 0 = after the embedding, row l+1 = after layer l, row layers+1 = after the final norm; each
 * [count][hidden] of the last call. */
const float *session_hidden(const struct session *s, uint32_t row);

/* temperature 0 = greedy; top_k 0, top_p 1, min_p 0, penalty 1 = off */
struct sampler_options {
    double temperature;
    int top_k;
    double top_p, min_p, repetition_penalty;
    uint64_t seed;
};
struct sampler;
enum status sampler_create(const struct sampler_options *o, size_t vocabulary, struct sampler **out, struct error *e);
void sampler_destroy(struct sampler *s);
/* `position` keys the random draw. Does not allocate. `recent`: ids so far (prompt included), for the repetition
 * penalty. */
int32_t sampler_next(struct sampler *s, const float *logits, uint64_t position, const int32_t *recent,
                     size_t recent_count);

/* sampler_next among the `count` likeliest ids alone, in any order: the same id where these hold the top_k that are not
 * forbidden. No penalty. */
int32_t sampler_next_among(struct sampler *s, const struct candidate *found, size_t count, uint64_t position);
/* Further draws belong to this request: a stream of random numbers of its own (0 at the start). */
void sampler_set_request(struct sampler *s, uint64_t request);
/* Ids that are never chosen from now on; those outside the vocabulary are left out. Borrowed. NULL, 0: none. */
void sampler_forbid(struct sampler *s, const int32_t *ids, size_t count);

/* log p of `id` and, optionally, the entropy-free pieces needed for KL: double log-softmax. */
double log_probability(const float *logits, size_t vocabulary, int32_t id);
double kl_divergence(const float *logits_p, const float *logits_q, size_t vocabulary); /* KL(p || q), nats */

/* ---- evaluation (eval.c) ---------------------------------------------------------------------- */

struct perplexity_options { uint32_t window; bool bos; uint64_t limit_bytes; };
struct perplexity_result { uint64_t tokens, bytes; double nll_nats, perplexity, bits_per_byte; };
/* nll_nats = mean per predicted token. Design section 6 says which tokens. */
enum status eval_perplexity(struct session *s, const struct model *m, const char *text, size_t bytes,
                            const struct perplexity_options *o, struct perplexity_result *out, struct error *e);
/* The same window by window. Windows do not depend on one another; a text without one is an error. */
struct perplexity_text;
enum status perplexity_open(const struct model *m, const char *text, size_t bytes, const struct perplexity_options *o,
                            struct perplexity_text **out, struct error *e);
void perplexity_close(struct perplexity_text *t); /* NULL is fine */
size_t perplexity_windows(const struct perplexity_text *t);
uint64_t perplexity_bytes(const struct perplexity_text *t); /* of the part that is used */
/* *sum_log_p: sum of ln p of the *tokens that window k predicts. Needs a session of at least `window` positions. */
enum status perplexity_window(struct session *s, const struct perplexity_text *t, size_t k, double *sum_log_p,
                              uint32_t *tokens, struct error *e);
struct perplexity_result perplexity_result(double sum_log_p, uint64_t tokens, uint64_t bytes);

/* Tokens of the bundled text that calibrates, DATA/configs/calibration/text.txt, without special ones; fewer than
 * `least` are an error. ids: token_list_clear. */
enum status model_text_ids(const struct model *m, size_t least, struct token_list *ids, struct error *e);

/* A machine programmed with the model and calibrated on the bundled text if the chip asks for it. */
enum status model_program(const struct model *m, const struct chip *c, const struct machine_options *o,
                          struct placement **placement, struct machine **machine, struct error *e);
/* The part of it that does not depend on the seed, for many machines: the side paths, which take a pass of the digital
 * model where the chip asks for channels, and the placement. Model and chip must outlive the plan, the plan its
 * machines. */
struct program_plan;
enum status program_plan_create(const struct model *m, const struct chip *c, struct program_plan **out,
                                struct error *e);
void program_plan_destroy(struct program_plan *p); /* NULL is fine */
const struct placement *program_plan_placement(const struct program_plan *p);
enum status program_plan_machine(const struct program_plan *p, const struct machine_options *o, struct machine **out,
                                 struct error *e);

#endif
