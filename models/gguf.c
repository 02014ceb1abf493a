/* GGUF versions 2 and 3, little endian: metadata and tensors in one file.
 *
 *   | "GGUF" | version u32 | tensors u64 | keys u64 |
 *   | keys x:    name | type u32 | value                                                        |
 *   | tensors x: name | rank u32 | rank x size u64, innermost first | type u32 | offset u64      |
 *   | padding up to a multiple of general.alignment (32) | data, offsets count from here           |
 *   text:  bytes u64 | bytes          array: element type u32 | count u64 | elements
 *
 * Nothing of the file is trusted: every count is compared with the bytes that are left before memory is asked for,
 * every text and array is walked once, arrays nest at most GGUF_DEPTH_LIMIT deep, keys and tensors are unique,
 * tensors lie aligned inside the data and do not overlap. A table of offsets makes text arrays O(1).
 *
 * Not read: version 1 (32-bit counts), big-endian files, files split into several (split.count > 1).
 * Source of the format: https://github.com/ggml-org/ggml, docs/gguf.md.
 */
#include <math.h>
#include <string.h>

#include "models/files.h"

enum value_type { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64, VALUE_TYPES };

static const struct {
    const char *name;
    size_t bytes;
} value_types[VALUE_TYPES] = {
    {"u8", 1},   {"i8", 1},   {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"text", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

struct value {
    enum value_type type, element_type; /* the latter of arrays */
    uint64_t count;                     /* elements of an array, bytes of a text, else 1 */
    const uint8_t *data;                /* first element or byte, in the file */
    const uint64_t *texts;              /* array of texts: where in the file each begins */
};

struct gguf {
    const char *file; /* name, for messages */
    const uint8_t *base;
    struct value *values;
    struct name *keys; /* sorted; index into values */
    size_t count;
};

/* The smallest that the file can spend on each, so that counts can be checked before memory is asked for. */
enum {
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
    MIN_TEXT_BYTES = 8,
    MIN_ARRAY_BYTES = 12
};
enum { KEY_LIMIT = 65535, TENSOR_NAME_LIMIT = 64 }; /* of the format */
enum { DEFAULT_ALIGNMENT = 32 };

/* ---- walking through the file ------------------------------------------------------------ */

struct reader {
    const struct span *span;
    size_t at;
    struct arena *arena;
};

static size_t left(const struct reader *r) { return r->span->bytes - r->at; }

static enum status take(struct reader *r, uint64_t bytes, const char *what, const uint8_t **out, struct error *e) {
    *out = r->span->data + r->at;
    if (bytes > left(r)) {
        return error_set(e, ERR_RUN,
                         "%s: offset %zu: %s of %llu bytes does not fit into the file (%zu bytes); cut short?",
                         r->span->name, r->at, what, (unsigned long long)bytes, r->span->bytes);
    }
    r->at += (size_t)bytes;
    return OK;
}

static enum status take_u32(struct reader *r, const char *what, uint32_t *out, struct error *e) {
    const uint8_t *at;
    TRY(take(r, 4, what, &at, e));
    *out = load_u32(at);
    return OK;
}

static enum status take_u64(struct reader *r, const char *what, uint64_t *out, struct error *e) {
    const uint8_t *at;
    TRY(take(r, 8, what, &at, e));
    *out = load_u64(at);
    return OK;
}

/* A count of things that take at least `smallest` bytes each. */
static enum status take_count(struct reader *r, const char *what, size_t smallest, uint64_t *out, struct error *e) {
    size_t at = r->at;
    TRY(take_u64(r, what, out, e));
    if (*out > left(r) / smallest) {
        return error_set(e, ERR_RUN,
                         "%s: offset %zu: %s: %llu do not fit into the file (allowed: up to %zu); cut short?",
                         r->span->name, at, what, (unsigned long long)*out, left(r) / smallest);
    }
    return OK;
}

/* A name: 1 to `limit` bytes without 0, copied and terminated. */
static enum status take_name(struct reader *r, const char *what, size_t limit, char **out, struct error *e) {
    size_t at = r->at;
    uint64_t bytes;
    const uint8_t *text;
    TRY(take_u64(r, what, &bytes, e));
    if (bytes == 0 || bytes > limit) {
        return error_set(e, ERR_RUN, "%s: offset %zu: %s of %llu bytes (allowed: 1 to %zu)", r->span->name, at, what,
                         (unsigned long long)bytes, limit);
    }
    TRY(take(r, bytes, what, &text, e));
    if (memchr(text, 0, (size_t)bytes)) {
        return error_set(e, ERR_RUN, "%s: offset %zu: %s with a zero byte", r->span->name, at, what);
    }
    *out = arena_strndup(r->arena, (const char *)text, (size_t)bytes);
    return *out ? OK : error_set(e, ERR_RUN, "%s: out of memory", r->span->name);
}

/* ---- values ------------------------------------------------------------ */

static enum status take_type(struct reader *r, const char *key, enum value_type *out, struct error *e) {
    size_t at = r->at;
    uint32_t number;
    TRY(take_u32(r, "type of a value", &number, e));
    if (number >= VALUE_TYPES) {
        return error_set(e, ERR_RUN, "%s: offset %zu: key %.200s: value type %u is not known (allowed: 0 to %d)",
                         r->span->name, at, key, (unsigned)number, VALUE_TYPES - 1);
    }
    *out = (enum value_type)number;
    return OK;
}

static enum status take_text(struct reader *r, const char *key, const uint8_t **text, uint64_t *bytes,
                             struct error *e) {
    size_t at = r->at;
    TRY(take_u64(r, "length of a text", bytes, e));
    if (*bytes > left(r)) {
        return error_set(e, ERR_RUN,
                         "%s: offset %zu: key %.200s: text of %llu bytes does not fit into the file; cut short?",
                         r->span->name, at, key, (unsigned long long)*bytes);
    }
    return take(r, *bytes, "text", text, e);
}

static enum status check_bools(const struct reader *r, const char *key, const uint8_t *data, uint64_t count,
                               struct error *e) {
    for (uint64_t i = 0; i < count; i++) {
        if (data[i] > 1) {
            return error_set(e, ERR_RUN, "%s: offset %zu: key %.200s: %u is not a truth value (allowed: 0, 1)",
                             r->span->name, (size_t)(data - r->span->data + (ptrdiff_t)i), key, (unsigned)data[i]);
        }
    }
    return OK;
}

/* Numbers and truth values: `count` in a row. */
static enum status take_plain(struct reader *r, const char *key, struct value *v, enum value_type type,
                              struct error *e) {
    size_t size = value_types[type].bytes;
    if (v->count > left(r) / size) {
        return error_set(e, ERR_RUN, "%s: offset %zu: key %.200s: %llu x %s do not fit into the file; cut short?",
                         r->span->name, r->at, key, (unsigned long long)v->count, value_types[type].name);
    }
    TRY(take(r, v->count * size, "value", &v->data, e));
    return type == BOOL ? check_bools(r, key, v->data, v->count, e) : OK;
}

static enum status take_texts(struct reader *r, const char *key, struct value *v, bool keep, struct error *e) {
    uint64_t *begins = keep ? arena_alloc(r->arena, (size_t)v->count, sizeof *begins) : NULL;
    if (keep && !begins) {
        return error_set(e, ERR_RUN, "%s: key %.200s: out of memory for %llu texts", r->span->name, key,
                         (unsigned long long)v->count);
    }
    for (uint64_t i = 0; i < v->count; i++) {
        const uint8_t *text;
        uint64_t bytes;
        if (begins) {
            begins[i] = r->at;
        }
        TRY(take_text(r, key, &text, &bytes, e));
    }
    v->texts = begins;
    return OK;
}

static enum status take_array(struct reader *r, const char *key, struct value *v, int depth, struct error *e) {
    if (depth > GGUF_DEPTH_LIMIT) {
        return error_set(e, ERR_RUN, "%s: offset %zu: key %.200s: arrays nested too deep (allowed: %d levels)",
                         r->span->name, r->at, key, GGUF_DEPTH_LIMIT);
    }
    v->type = ARRAY;
    TRY(take_type(r, key, &v->element_type, e));
    size_t smallest = v->element_type == TEXT ? MIN_TEXT_BYTES : v->element_type == ARRAY ? MIN_ARRAY_BYTES : 1;
    TRY(take_count(r, "elements of an array", smallest, &v->count, e));
    if (v->element_type == TEXT) {
        return take_texts(r, key, v, depth == 1, e);
    }
    if (v->element_type != ARRAY) {
        return take_plain(r, key, v, v->element_type, e);
    }
    for (uint64_t i = 0; i < v->count; i++) { /* nothing asks for these: walked, not kept */
        struct value inner = {0};
        TRY(take_array(r, key, &inner, depth + 1, e));
    }
    return OK;
}

static enum status take_value(struct reader *r, const char *key, struct value *v, struct error *e) {
    TRY(take_type(r, key, &v->type, e));
    if (v->type == TEXT) {
        return take_text(r, key, &v->data, &v->count, e);
    }
    if (v->type == ARRAY) {
        return take_array(r, key, v, 1, e);
    }
    v->count = 1;
    return take_plain(r, key, v, v->type, e);
}

static enum status take_keys(struct reader *r, struct gguf *g, struct error *e) {
    g->values = arena_alloc(r->arena, g->count, sizeof *g->values);
    g->keys = arena_alloc(r->arena, g->count, sizeof *g->keys);
    if (!g->values || !g->keys) {
        return error_set(e, ERR_RUN, "%s: out of memory for %zu keys", r->span->name, g->count);
    }
    for (size_t i = 0; i < g->count; i++) {
        char *key;
        TRY(take_name(r, "key", KEY_LIMIT, &key, e));
        TRY(take_value(r, key, &g->values[i], e));
        g->keys[i] = (struct name){key, strlen(key), i};
    }
    names_sort(g->keys, g->count);
    const struct name *twice = names_duplicate(g->keys, g->count);
    return twice ? error_set(e, ERR_RUN, "%s: key %.200s: given twice", r->span->name, twice->text) : OK;
}

/* ---- tensors ------------------------------------------------------------ */

static enum status take_shape(struct reader *r, struct tensor *t, struct error *e) {
    size_t at = r->at;
    uint32_t rank;
    TRY(take_u32(r, "rank of a tensor", &rank, e));
    if (rank < 1 || rank > 4) {
        return error_set(e, ERR_RUN, "%s: offset %zu: tensor %s: rank %u (allowed: 1 to 4)", r->span->name, at, t->name,
                         (unsigned)rank);
    }
    t->rank = (int)rank;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t *size = &t->shape[rank - 1 - i];
        at = r->at;
        TRY(take_u64(r, "size of a tensor", size, e));
        if (*size == 0) {
            return error_set(e, ERR_RUN, "%s: offset %zu: tensor %s: a size is 0 (allowed: 1 or more)", r->span->name,
                             at, t->name);
        }
    }
    return OK;
}

static enum status take_tensor_type(struct reader *r, struct tensor *t, struct error *e) {
    size_t at = r->at;
    uint32_t number;
    TRY(take_u32(r, "type of a tensor", &number, e));
    if (!tensor_type_from_ggml(number, &t->type)) {
        char known[512];
        tensor_type_list(known, sizeof known);
        return error_set(e, ERR_RUN, "%s: offset %zu: tensor %s: type %u is not known (allowed: %s)", r->span->name, at,
                         t->name, (unsigned)number, known);
    }
    uint64_t columns = t->shape[t->rank - 1];
    if (columns % tensor_block_elements(t->type) != 0) {
        return error_set(e, ERR_RUN,
                         "%s: offset %zu: tensor %s: rows of %llu elements (allowed for %s: a multiple of %zu)",
                         r->span->name, at, t->name, (unsigned long long)columns, tensor_type_name(t->type),
                         tensor_block_elements(t->type));
    }
    uint64_t elements;
    if (!tensor_size(t, &elements, &t->bytes)) {
        return error_set(e, ERR_RUN, "%s: offset %zu: tensor %s: the product of the sizes overflows", r->span->name, at,
                         t->name);
    }
    return OK;
}

/* Without data: where the data begin is known only after the last tensor. x->begin is the offset as written. */
static enum status take_tensor(struct reader *r, uint64_t alignment, struct tensor *t, struct extent *x,
                               struct error *e) {
    char *name;
    TRY(take_name(r, "name of a tensor", TENSOR_NAME_LIMIT, &name, e));
    t->name = x->name = name;
    TRY(take_shape(r, t, e));
    TRY(take_tensor_type(r, t, e));
    size_t at = r->at;
    TRY(take_u64(r, "offset of a tensor", &x->begin, e));
    if (x->begin % alignment != 0) {
        return error_set(e, ERR_RUN, "%s: offset %zu: tensor %s: data offset %llu (allowed: a multiple of %llu)",
                         r->span->name, at, name, (unsigned long long)x->begin, (unsigned long long)alignment);
    }
    return OK;
}

/* `room`: bytes of data in the file. */
static enum status place_tensor(const struct span *s, uint64_t data_begin, uint64_t room, struct tensor *t,
                                struct extent *x, struct error *e) {
    if (x->begin > room || t->bytes > room - x->begin) {
        return error_set(
            e, ERR_RUN,
            "%s: tensor %s: %llu bytes at data offset %llu do not fit into the file (allowed: inside %llu bytes of "
            "data); cut short?",
            s->name, t->name, (unsigned long long)t->bytes, (unsigned long long)x->begin, (unsigned long long)room);
    }
    x->begin += data_begin;
    x->end = x->begin + t->bytes;
    t->data = s->data + x->begin;
    return OK;
}

static enum status take_tensors(struct reader *r, uint64_t count, uint64_t alignment, struct tensor_list *l,
                                struct error *e) {
    const struct span *s = r->span;
    size_t first = l->count, first_extent = l->extents_count;
    TRY(tensor_list_reserve(l, (size_t)count, s->name, e));
    for (uint64_t i = 0; i < count; i++) {
        struct tensor t = {0};
        struct extent x = {0};
        TRY(take_tensor(r, alignment, &t, &x, e));
        tensor_list_add(l, &t, &x);
    }
    uint64_t padding = (alignment - r->at % alignment) % alignment;
    uint64_t data_begin = r->at + padding, room = data_begin < s->bytes ? s->bytes - data_begin : 0;
    for (size_t i = 0; i < count; i++) {
        TRY(place_tensor(s, data_begin, room, &l->tensors[first + i], &l->extents[first_extent + i], e));
    }
    return tensor_list_check_overlap(l, first_extent, s->name, e);
}

/* ---- the file ------------------------------------------------------------ */

static enum status take_version(struct reader *r, struct error *e) {
    const uint8_t *magic;
    uint32_t version;
    TRY(take(r, 4, "magic", &magic, e));
    if (memcmp(magic, "GGUF", 4) != 0) {
        return error_set(e, ERR_RUN,
                         "%s: offset 0: begins with bytes %02x %02x %02x %02x: not a model (allowed: a GGUF file, or a "
                         "folder with config.json)",
                         r->span->name, magic[0], magic[1], magic[2], magic[3]);
    }
    TRY(take_u32(r, "version", &version, e));
    if (version == 2 || version == 3) {
        return OK;
    }
    const char *hint = version == 1 ? ": 32-bit counts" : (version & 0xffff) == 0 ? ": a big-endian file?" : "";
    return error_set(e, ERR_RUN, "%s: offset 4: GGUF version %u%s (allowed: 2 and 3, little endian)", r->span->name,
                     (unsigned)version, hint);
}

static enum status get_alignment(const struct gguf *g, uint64_t *alignment, struct error *e) {
    bool found;
    *alignment = DEFAULT_ALIGNMENT;
    TRY(gguf_get_u64(g, "general.alignment", alignment, &found, e));
    if (*alignment < 8 || *alignment > UINT32_MAX || (*alignment & (*alignment - 1)) != 0) {
        return error_set(e, ERR_RUN, "%s: key general.alignment: %llu (allowed: a power of two from 8 to 2147483648)",
                         g->file, (unsigned long long)*alignment);
    }
    return OK;
}

static enum status refuse_split(const struct gguf *g, struct error *e) {
    bool found;
    uint64_t parts = 1;
    TRY(gguf_get_u64(g, "split.count", &parts, &found, e));
    if (parts > 1) {
        return error_set(e, ERR_RUN,
                         "%s: key split.count: one of %llu parts of a model (allowed: a model in one file; "
                         "llama-gguf-split --merge joins them)",
                         g->file, (unsigned long long)parts);
    }
    return OK;
}

enum status gguf_read(const struct span *s, struct tensor_list *l, const struct gguf **out, struct error *e) {
    struct reader r = {s, 0, l->arena};
    uint64_t tensors, keys, alignment;
    TRY(take_version(&r, e));
    TRY(take_count(&r, "tensors", MIN_TENSOR_BYTES, &tensors, e));
    TRY(take_count(&r, "keys", MIN_KEY_BYTES, &keys, e));
    struct gguf *g = arena_alloc(l->arena, 1, sizeof *g);
    if (!g) {
        return error_set(e, ERR_RUN, "%s: out of memory", s->name);
    }
    *g = (struct gguf){.file = s->name, .base = s->data, .count = (size_t)keys};
    TRY(take_keys(&r, g, e));
    TRY(get_alignment(g, &alignment, e));
    TRY(refuse_split(g, e));
    TRY(take_tensors(&r, tensors, alignment, l, e));
    *out = g;
    return OK;
}

/* ---- reading the metadata ------------------------------------------------------------ */

/* The value of a key. Absent: *out = NULL and OK, or an error if the key is required. */
static enum status find_value(const struct gguf *g, const char *key, bool *found, const struct value **out,
                              struct error *e) {
    const struct name *n = names_find(g->keys, g->count, key, strlen(key));
    *out = n ? &g->values[n->index] : NULL;
    if (found) {
        *found = n != NULL;
    } else if (!n) {
        return error_set(e, ERR_RUN, "%s: key %s: missing", g->file, key);
    }
    return OK;
}

static enum status wrong_type(const struct gguf *g, const char *key, const struct value *v, const char *expected,
                              struct error *e) {
    const char *of = v->type == ARRAY ? " of " : "";
    const char *element = v->type == ARRAY ? value_types[v->element_type].name : "";
    return error_set(e, ERR_RUN, "%s: key %s: is %s%s%s (allowed: %s)", g->file, key, value_types[v->type].name, of,
                     element, expected);
}

static bool is_integer(enum value_type t) { return t <= I32 || t == U64 || t == I64; }

/* false: negative */
static bool load_unsigned(enum value_type t, const uint8_t *at, uint64_t *out) {
    int64_t value = 0;
    switch (t) {
    case U8: *out = *at; return true;
    case U16: *out = load_u16(at); return true;
    case U32: *out = load_u32(at); return true;
    case U64: *out = load_u64(at); return true;
    case I8: value = (int8_t)*at; break;
    case I16: value = (int16_t)load_u16(at); break;
    case I32: value = (int32_t)load_u32(at); break;
    default: value = (int64_t)load_u64(at); break;
    }
    *out = (uint64_t)value;
    return value >= 0;
}

static double load_number(enum value_type t, const uint8_t *at) {
    uint64_t bits;
    double value;
    if (t == F32) {
        return (double)float_of_bits(load_u32(at));
    }
    if (t == F64) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    if (t == BOOL) {
        return *at;
    }
    return load_unsigned(t, at, &bits) ? (double)bits : (double)(int64_t)bits;
}

enum status gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, bool *found, struct error *e) {
    const struct value *v;
    TRY(find_value(g, key, found, &v, e));
    if (!v) {
        return OK;
    }
    if (!is_integer(v->type)) {
        return wrong_type(g, key, v, "an integer", e);
    }
    uint64_t value;
    if (!load_unsigned(v->type, v->data, &value)) {
        return error_set(e, ERR_RUN, "%s: key %s: %lld is negative (allowed: 0 or more)", g->file, key,
                         (long long)(int64_t)value);
    }
    *out = value;
    return OK;
}

enum status gguf_get_f64(const struct gguf *g, const char *key, double *out, bool *found, struct error *e) {
    const struct value *v;
    TRY(find_value(g, key, found, &v, e));
    if (!v) {
        return OK;
    }
    if (!is_integer(v->type) && v->type != F32 && v->type != F64) {
        return wrong_type(g, key, v, "a number", e);
    }
    double value = load_number(v->type, v->data);
    if (!isfinite(value)) {
        return error_set(e, ERR_RUN, "%s: key %s: infinite or not a number", g->file, key);
    }
    *out = value;
    return OK;
}

enum status gguf_get_bool(const struct gguf *g, const char *key, bool *out, bool *found, struct error *e) {
    const struct value *v;
    TRY(find_value(g, key, found, &v, e));
    if (!v) {
        return OK;
    }
    if (v->type != BOOL) {
        return wrong_type(g, key, v, "bool", e);
    }
    *out = *v->data != 0;
    return OK;
}

enum status gguf_get_text(const struct gguf *g, const char *key, const char **text, size_t *bytes, bool *found,
                          struct error *e) {
    const struct value *v;
    TRY(find_value(g, key, found, &v, e));
    if (!v) {
        return OK;
    }
    if (v->type != TEXT) {
        return wrong_type(g, key, v, "text", e);
    }
    *text = (const char *)v->data;
    *bytes = (size_t)v->count;
    return OK;
}

enum status gguf_get_text_array(const struct gguf *g, const char *key, size_t *count, bool *found, struct error *e) {
    const struct value *v;
    TRY(find_value(g, key, found, &v, e));
    if (!v) {
        return OK;
    }
    if (v->type != ARRAY || v->element_type != TEXT) {
        return wrong_type(g, key, v, "array of text", e);
    }
    *count = (size_t)v->count;
    return OK;
}

void gguf_text_at(const struct gguf *g, const char *key, size_t i, const char **text, size_t *bytes) {
    const struct name *n = names_find(g->keys, g->count, key, strlen(key));
    const uint8_t *at = g->base + g->values[n->index].texts[i];
    *bytes = (size_t)load_u64(at);
    *text = (const char *)at + 8;
}

enum status gguf_get_numbers(const struct gguf *g, const char *key, double **out, size_t *count, bool *found,
                             struct error *e) {
    const struct value *v;
    TRY(find_value(g, key, found, &v, e));
    if (!v) {
        return OK;
    }
    enum value_type t = v->element_type;
    if (v->type != ARRAY || t == TEXT || t == ARRAY) {
        return wrong_type(g, key, v, "array of numbers", e);
    }
    double *numbers = mem_alloc((size_t)v->count, sizeof *numbers);
    if (!numbers) {
        return error_set(e, ERR_RUN, "%s: key %s: out of memory for %llu numbers", g->file, key,
                         (unsigned long long)v->count);
    }
    for (size_t i = 0; i < v->count; i++) {
        numbers[i] = load_number(t, v->data + i * value_types[t].bytes);
    }
    *out = numbers;
    *count = (size_t)v->count;
    return OK;
}
