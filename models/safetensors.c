/* safetensors: a JSON header that says where each tensor lies, then the bytes.
 *
 *   | 8 bytes: n, little endian | n bytes: JSON object | data ... |
 *
 *   {"NAME": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, ...}
 *
 *   begin and end count from the first byte after the header. "__metadata__" is not a tensor.
 *
 * Everything is checked before a tensor is handed out: length of the header, type, product of the shape, place
 * inside the file, size, overlap. Gaps are allowed. Data need not be aligned: readers load bytewise.
 * 32-bit integers are kept apart from the tensors of numbers. Other integers and truth values (position ids, masks of
 * old exporters) are checked and then left out.
 *
 * Source of the format: https://github.com/huggingface/safetensors, README "Format".
 */
#include <string.h>

#include "models/files.h"

enum { LENGTH_BYTES = 8, HEADER_LIMIT = 100 << 20 };

enum use { NUMBERS, INTEGERS, LEFT_OUT };

struct dtype {
    const char *name;
    uint64_t bytes;
    enum use use;
    enum tensor_type type; /* of numbers */
};

static const struct dtype dtypes[] = {
    {"F32", 4, NUMBERS, TENSOR_F32}, {"F16", 2, NUMBERS, TENSOR_F16}, {"BF16", 2, NUMBERS, TENSOR_BF16},
    {"I32", 4, INTEGERS, 0},         {"I64", 8, LEFT_OUT, 0},         {"U8", 1, LEFT_OUT, 0},
    {"BOOL", 1, LEFT_OUT, 0},
};

/* Where we are, for messages and checks. */
struct entry {
    const struct span *span;
    const char *name;
    const json_t *value;
    uint64_t data_begin; /* of the file: offsets count from here */
};

static enum status wrong(const struct entry *n, struct error *e, const char *what) {
    return error_set(e, ERR_RUN, "%s: tensor %.200s: %s", n->span->name, n->name, what);
}

static enum status read_dtype(const struct entry *n, const struct dtype **out, struct error *e) {
    const char *text = json_string_value(json_object_get(n->value, "dtype"));
    if (!text) {
        return wrong(n, e, "dtype: missing or not a text (allowed: F32, F16, BF16)");
    }
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *out = &dtypes[i];
            return OK;
        }
    }
    return error_set(
        e, ERR_RUN,
        "%s: tensor %.200s: dtype %.40s is not known (allowed: F32, F16, BF16, I32; I64, U8 and BOOL are left out)",
        n->span->name, n->name, text);
}

/* false: missing, not an integer, or negative */
static bool get_size(const json_t *value, uint64_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static enum status read_shape(const struct entry *n, struct tensor *t, uint64_t *elements, struct error *e) {
    const json_t *shape = json_object_get(n->value, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > 4) {
        return wrong(n, e, "shape: not a list of at most 4 sizes");
    }
    t->rank = (int)json_array_size(shape);
    *elements = 1;
    for (int i = 0; i < t->rank; i++) {
        if (!get_size(json_array_get(shape, (size_t)i), &t->shape[i])) {
            return wrong(n, e, "shape: a size is not an integer >= 0");
        }
        if (t->shape[i] != 0 && *elements > UINT64_MAX / 8 / t->shape[i]) {
            return wrong(n, e, "shape: the product of the sizes overflows");
        }
        *elements *= t->shape[i];
    }
    return OK;
}

static enum status read_place(const struct entry *n, uint64_t size, struct extent *x, struct error *e) {
    const json_t *offsets = json_object_get(n->value, "data_offsets");
    uint64_t begin, end, room = n->span->bytes - n->data_begin;
    if (json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end)) {
        return wrong(n, e, "data_offsets: not a list of two integers >= 0");
    }
    if (begin > end || end > room) {
        return error_set(
            e, ERR_RUN,
            "%s: tensor %.200s: data_offsets [%llu, %llu]: not inside the data of the file (allowed: begin <= end "
            "<= %llu); cut short?",
            n->span->name, n->name, (unsigned long long)begin, (unsigned long long)end, (unsigned long long)room);
    }
    if (end - begin != size) {
        return error_set(e, ERR_RUN,
                         "%s: tensor %.200s: data_offsets [%llu, %llu] hold %llu bytes, shape and dtype need %llu",
                         n->span->name, n->name, (unsigned long long)begin, (unsigned long long)end,
                         (unsigned long long)(end - begin), (unsigned long long)size);
    }
    x->begin = n->data_begin + begin;
    x->end = n->data_begin + end;
    return OK;
}

static enum status read_entry(const struct entry *n, size_t file, struct tensor_list *l, struct error *e) {
    const struct dtype *d = NULL;
    struct tensor t = {.name = arena_strdup(l->arena, n->name)};
    struct extent x = {.name = t.name, .file = file};
    uint64_t elements = 0;
    if (!t.name) {
        return wrong(n, e, "out of memory");
    }
    if (!json_is_object(n->value)) {
        return wrong(n, e, "not an object with dtype, shape and data_offsets");
    }
    TRY(read_dtype(n, &d, e));
    TRY(read_shape(n, &t, &elements, e));
    TRY(read_place(n, elements * d->bytes, &x, e));
    t.type = d->type;
    t.data = n->span->data + x.begin;
    t.bytes = x.end - x.begin;
    if (d->use == INTEGERS) {
        tensor_list_add_integers(l, &(struct integers){t.name, t.rank, elements, t.data}, &x);
    } else {
        tensor_list_add(l, d->use == NUMBERS ? &t : NULL, &x);
    }
    return OK;
}

static enum status check_length(const struct span *s, uint64_t *header_bytes, struct error *e) {
    if (s->bytes < LENGTH_BYTES) {
        return error_set(e, ERR_RUN, "%s: offset 0: the file has %zu bytes: too short for a safetensors header",
                         s->name, s->bytes);
    }
    *header_bytes = load_u64(s->data);
    uint64_t room = s->bytes - LENGTH_BYTES;
    if (*header_bytes > HEADER_LIMIT || *header_bytes > room) {
        return error_set(
            e, ERR_RUN,
            "%s: offset 0: header of %llu bytes: too long (allowed: up to %llu); cut short, or not safetensors?",
            s->name, (unsigned long long)*header_bytes,
            (unsigned long long)(room < HEADER_LIMIT ? room : HEADER_LIMIT));
    }
    return OK;
}

static enum status read_header(const struct span *s, uint64_t header_bytes, json_t **out, struct error *e) {
    char where[512];
    snprintf(where, sizeof where, "%s: header", s->name);
    TRY(json_parse_checked((const char *)s->data + LENGTH_BYTES, (size_t)header_bytes, where, out, e));
    if (!json_is_object(*out)) {
        json_decref(*out);
        return error_set(e, ERR_RUN, "%s: header: not a JSON object", s->name);
    }
    return OK;
}

enum status safetensors_metadata(const struct span *s, json_t **out, struct error *e) {
    uint64_t header_bytes = 0;
    json_t *header = NULL;
    *out = NULL;
    TRY(check_length(s, &header_bytes, e));
    TRY(read_header(s, header_bytes, &header, e));
    *out = json_incref(json_object_get(header, "__metadata__"));
    json_decref(header);
    return OK;
}

static enum status read_entries(const struct span *s, json_t *header, uint64_t data_begin, size_t file,
                                struct tensor_list *l, struct error *e) {
    size_t first = l->extents_count;
    TRY(tensor_list_reserve(l, json_object_size(header), s->name, e));
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        if (strcmp(name, "__metadata__") != 0) {
            const struct entry n = {s, name, value, data_begin};
            TRY(read_entry(&n, file, l, e));
        }
    }
    return tensor_list_check_overlap(l, first, s->name, e);
}

enum status safetensors_read(const struct span *s, size_t file, struct tensor_list *l, struct error *e) {
    uint64_t header_bytes = 0;
    json_t *header = NULL;
    TRY(check_length(s, &header_bytes, e));
    TRY(read_header(s, header_bytes, &header, e));
    enum status status = read_entries(s, header, LENGTH_BYTES + header_bytes, file, l, e);
    json_decref(header);
    return status;
}
