/* Private to models/: tensors in files. Two readers (Hugging Face folder with safetensors, GGUF) give
 * the same view: named, typed, shaped, memory-mapped, every offset, shape and type checked before use.
 */
#ifndef MHO_MODELS_WEIGHTS_H
#define MHO_MODELS_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"

enum tensor_type {
    TENSOR_F32, TENSOR_F16, TENSOR_BF16,
    TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0,
    TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K,
    TENSOR_IQ4_NL, TENSOR_IQ4_XS, TENSOR_IQ2_XXS, TENSOR_IQ2_XS, TENSOR_IQ3_XXS, TENSOR_IQ3_S,
    TENSOR_TYPES
};
const char *tensor_type_name(enum tensor_type t);
size_t tensor_block_elements(enum tensor_type t); /* 1, 32 or 256 */
size_t tensor_block_bytes(enum tensor_type t);
/* elements must be a multiple of the block; exact to 1 ulp of the format's definition in fp32 */
void tensor_dequantise(enum tensor_type t, const void *blocks, size_t elements, float *out);

struct tensor {
    const char *name;
    enum tensor_type type;
    int rank;             /* 0 to 4; models ask for 1 and 2 */
    uint64_t shape[4];    /* outermost first: [rows][columns] for a matrix; GGUF's reversed order is undone */
    const void *data;     /* in the mapped file; need not be aligned: read through the calls below */
    uint64_t bytes;
};

/* A list of 32-bit integers. */
struct integers {
    const char *name;
    int rank;             /* lists that a model uses have rank 1 */
    uint64_t count;
    const void *data;     /* in the mapped file; need not be aligned */
};

struct gguf;    /* metadata of a GGUF file */
struct weights;

/* path: a folder with config.json (+ *.safetensors [+ index]) or a .gguf file. A GGUF file with no tensors (vocabulary
 * only) opens fine. */
enum status weights_open(const char *path, struct weights **out, struct error *e);
/* The description alone, no tensors: a folder with config.json (weights in it are left alone), such a file itself
 * whatever its name is, or a GGUF file. */
enum status weights_open_shapes(const char *path, struct weights **out, struct error *e);
void weights_close(struct weights *w);
const char *weights_path(const struct weights *w);
bool weights_is_gguf(const struct weights *w);
const json_t *weights_config(const struct weights *w);     /* parsed config.json; NULL for GGUF */
const char *weights_config_path(const struct weights *w);  /* "DIR/config.json"; NULL for GGUF */
/* Line of a key in that file, at the top or inside a map at the top; 0: not there. */
int weights_config_line(const struct weights *w, const char *map, const char *key);
/* The map "__metadata__" of a folder's first safetensors file; NULL where there is none. Borrowed, never changed. */
json_t *weights_metadata(const struct weights *w);
const struct gguf *weights_gguf(const struct weights *w);  /* NULL for a folder */
size_t weights_count(const struct weights *w);
const struct tensor *weights_at(const struct weights *w, size_t i);
const struct tensor *weights_find(const struct weights *w, const char *name); /* NULL if absent; O(log n) */
/* Tensors of 32-bit integers, which are not among those above. */
size_t weights_integers_count(const struct weights *w);
const struct integers *weights_integers_at(const struct weights *w, size_t i);
const struct integers *weights_find_integers(const struct weights *w, const char *name); /* NULL if absent; O(log n) */
/* Rows [first, first+count) as fp32: row = shape[1] x ... elements of a matrix; a vector or a scalar is one row (0,
 * 1). */
void tensor_rows_f32(const struct tensor *t, uint64_t first, uint64_t count, float *out);
/* NaN or infinity anywhere: error with tensor name and element index. Called once per tensor that is used. */
enum status tensor_check_finite(const struct tensor *t, struct error *e);

/* JSON files with clear errors (file:line:column), nesting limit, duplicate keys refused. */
enum status json_load_checked(const char *path, size_t limit_bytes, json_t **out, struct error *e);
/* The same with every number read as a real one: tokenizer_config.json holds integers beyond 64 bits. */
enum status json_load_numbers_as_real(const char *path, size_t limit_bytes, json_t **out, struct error *e);

/* GGUF metadata. Keys are checked unique; types checked by the getters: a wrong type is an error that
 * names key, found and expected type. `found` may be NULL when the key is required. */
enum status gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, bool *found,
                         struct error *e); /* any integer type, not negative */
enum status gguf_get_f64(const struct gguf *g, const char *key, double *out, bool *found,
                         struct error *e); /* f32, f64 or integer */
enum status gguf_get_bool(const struct gguf *g, const char *key, bool *out, bool *found, struct error *e);
enum status gguf_get_text(const struct gguf *g, const char *key, const char **text, size_t *bytes, bool *found,
                          struct error *e); /* not terminated */
/* Arrays: count and elements. Strings are not terminated. */
enum status gguf_get_text_array(const struct gguf *g, const char *key, size_t *count, bool *found, struct error *e);
void gguf_text_at(const struct gguf *g, const char *key, size_t i, const char **text, size_t *bytes); /* O(1) */
enum status gguf_get_numbers(const struct gguf *g, const char *key, double **out, size_t *count, bool *found,
                             struct error *e); /* mem_free */

#endif
