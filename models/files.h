/* Private to the file readers of models/ (weights.c, safetensors.c, gguf.c, names.c, json.c, dequant*.c) and
 * to their tests: what the readers share, and opening from memory.
 */
#ifndef MHO_MODELS_FILES_H
#define MHO_MODELS_FILES_H

#include <string.h>

#include "base/half.h"
#include "models/weights.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little endian and read in place: a big-endian host is not supported"
#endif

/* ---- loads from any address: the data of a file need not be aligned ------------------------------------ */

static inline uint16_t load_u16(const void *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t load_u32(const void *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t load_u64(const void *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline float load_half(const void *at) { return f32_of_f16(load_u16(at)); }

/* ---- names: sorted once, found by halving ------------------------------------------------------------
 * A sorted list instead of a hash table: a hostile file cannot choose names that collide. */

struct name {
    const char *text; /* need not be terminated */
    size_t bytes;
    size_t index; /* what it names; ties sort by it */
};
void names_sort(struct name *names, size_t count);
/* The second of two equal names in a sorted list; NULL if all differ. */
const struct name *names_duplicate(const struct name *sorted, size_t count);
const struct name *names_find(const struct name *sorted, size_t count, const char *text, size_t bytes);

/* ---- tensors ------------------------------------------------------------------------------------------ */

struct span {
    const char *name; /* stands for the file in messages; lives as long as the tensors */
    const uint8_t *data;
    size_t bytes;
};

/* Where a tensor lies. Also kept for integers and for tensors that are not loaded (masks), for the checks. */
struct extent {
    const char *name;
    size_t file;         /* number of the span, in the order of reading */
    uint64_t begin, end; /* bytes from the start of the file */
};

struct tensor_list {
    struct arena *arena; /* owns names */
    struct tensor *tensors;
    struct integers *integers;
    struct extent *extents;
    size_t count, integers_count, extents_count, capacity;
};
/* Room for `more` further tensors; `where` for the message when memory runs out. */
enum status tensor_list_reserve(struct tensor_list *l, size_t more, const char *where, struct error *e);
void tensor_list_clear(struct tensor_list *l); /* frees all but the arena */
/* Adds one with room reserved; t == NULL for a tensor that is not loaded. */
void tensor_list_add(struct tensor_list *l, const struct tensor *t, const struct extent *x);
void tensor_list_add_integers(struct tensor_list *l, const struct integers *n, const struct extent *x);
/* No two extents from `first` on, all of one file, may share a byte. Reorders them by place in the file. */
enum status tensor_list_check_overlap(struct tensor_list *l, size_t first, const char *where, struct error *e);
/* Product of the shape, and bytes of the tensor; false on overflow. */
bool tensor_size(const struct tensor *t, uint64_t *elements, uint64_t *bytes);

/* ---- formats ------------------------------------------------------------------------------------------ */

enum { JSON_DEPTH_LIMIT = 32, GGUF_DEPTH_LIMIT = 4 };

enum status json_parse_checked(const char *text, size_t bytes, const char *where, json_t **out, struct error *e);
/* Line on which valid JSON names a key: of the map at its top, or of the map `map` in that (NULL: at the top). 0: it
 * does not. */
int json_key_line(const char *text, size_t bytes, const char *map, const char *key);

/* The map "__metadata__" of a file, NULL if it has none; json_decref. */
enum status safetensors_metadata(const struct span *s, json_t **out, struct error *e);
/* Adds the tensors of one file to *l; they point into the span. `file` numbers the span. */
enum status safetensors_read(const struct span *s, size_t file, struct tensor_list *l, struct error *e);
/* Same for a checkpoint of PyTorch (torch_file.c); views that are not contiguous are copied into the arena. */
enum status torch_read(const struct span *s, size_t file, struct tensor_list *l, struct error *e);
/* Same, and the metadata: freed with the arena of the list, pointing into the span. */
enum status gguf_read(const struct span *s, struct tensor_list *l, const struct gguf **out, struct error *e);

/* false: no such type here. */
bool tensor_type_from_ggml(uint32_t number, enum tensor_type *out);
uint32_t tensor_type_to_ggml(enum tensor_type t);
/* "F32 (0), F16 (1), ..." */
void tensor_type_list(char *out, size_t bytes);

/* As weights_open, from bytes that the caller keeps until weights_close: one GGUF, safetensors or PyTorch file (then
 * weights_config is NULL). For tests, which open many thousands of damaged files. */
enum status weights_open_memory(const struct span *s, struct weights **out, struct error *e);

/* ---- blocks of the quantised types (dequant_k.c, dequant_iq.c) ------------------------------------------ */

void dequantise_q2_k(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_q3_k(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_q4_k(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_q5_k(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_q6_k(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_iq4_nl(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_iq4_xs(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_iq2_xxs(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_iq2_xs(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_iq3_xxs(const uint8_t *restrict block, size_t blocks, float *restrict out);
void dequantise_iq3_s(const uint8_t *restrict block, size_t blocks, float *restrict out);

/* Codebooks of the IQ types, packed: entry k holds its values as codes, first value in the lowest bits.
 * iq2: 8 codes of 2 bits, 0 1 2 = 8 25 43; iq3: 4 codes of 3 bits (values in dequant_iq.c). */
extern const uint16_t iq2_xxs_grid[256];
extern const uint16_t iq2_xs_grid[512];
extern const uint16_t iq3_xxs_grid[256];
extern const uint16_t iq3_s_grid[512];

#endif
