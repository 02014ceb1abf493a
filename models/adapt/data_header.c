/* The header of a data file: written, read back with every number checked, compared. See data.h.
 *
 * Hashes are 64 bits wide, 8 bytes at a time: h = mix((h ^ word) * prime), prime that of FNV-1a, mix(x) = x ^ x >> 32.
 * They tell files apart that were mixed up. They do not resist somebody who wants two files to have the same one. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "models/adapt/data.h"
#include "models/files.h"
#include "models/internal.h"

static const char MAGIC[8] = {'m', 'h', 'o', 'd', 'a', 't', 'a', '\n'};
static const uint32_t BYTE_ORDER_MARK = 0x01020304, SWAPPED_MARK = 0x04030201, VERSION = 1;
enum { LIMIT_TOP_K = 1000000 };

/* ---- hashes ---------------------------------------------------------------------------------------------------- */

static uint64_t hash_word(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(1099511628211);
    return hash ^ hash >> 32;
}

uint64_t data_hash_bytes(uint64_t hash, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    size_t whole = count / sizeof(uint64_t) * sizeof(uint64_t);
    hash = hash_word(hash + UINT64_C(14695981039346656037), count);
    for (size_t i = 0; i < whole; i += sizeof(uint64_t)) {
        hash = hash_word(hash, load_u64(at + i));
    }
    uint64_t rest = 0;
    if (whole < count) {
        memcpy(&rest, at + whole, count - whole);
        hash = hash_word(hash, rest);
    }
    return hash;
}

uint64_t data_model_hash(const struct model *m) {
    uint64_t hash = 0;
    for (size_t i = 0; i < weights_count(m->weights); i++) {
        const struct tensor *t = weights_at(m->weights, i);
        hash = data_hash_bytes(hash, t->name, strlen(t->name));
        hash = hash_word(hash, (uint64_t)t->type);
        hash = data_hash_bytes(hash, t->data, (size_t)t->bytes);
    }
    return hash;
}

uint64_t data_tokenizer_hash(const struct model *m) {
    uint64_t hash = 0;
    for (size_t id = 0; m->tokenizer && id < tokenizer_size(m->tokenizer); id++) {
        const char *piece;
        size_t bytes;
        tokenizer_piece(m->tokenizer, (int32_t)id, &piece, &bytes);
        if (bytes > 0) { /* holes and padding at the end of a vocabulary mean nothing */
            hash = data_hash_bytes(hash_word(hash, id), piece, bytes);
        }
    }
    return hash;
}

/* ---- the keys -------------------------------------------------------------------------------------------------- */

enum field_type { HASH, COUNT, ID, SHARE, NAME };
struct field { const char *key; enum field_type type; size_t offset, bytes; double min, max; };

#define FIELD(key, type, min, max) \
    { #key, type, offsetof(struct data_header, key), sizeof(((struct data_header *)0)->key), min, max }

static const struct field fields[] = {
    FIELD(model_hash, HASH, 0, 0),
    FIELD(tokenizer_hash, HASH, 0, 0),
    FIELD(vocabulary, COUNT, 1, LIMIT_VOCABULARY),
    FIELD(length, COUNT, 2, LIMIT_CONTEXT),
    FIELD(start, COUNT, 0, LIMIT_VOCABULARY),
    FIELD(sequences, COUNT, 1, 0x1p48),
    FIELD(validation, COUNT, 0, 0x1p48),
    FIELD(first, COUNT, 0, 0x1p48),
    FIELD(count, COUNT, 1, 0x1p48),
    FIELD(split, SHARE, 0, 0.5),
    FIELD(seed, COUNT, 0, 0x1p63),
    FIELD(temperature, SHARE, 0, 1e6),
    FIELD(top_k, COUNT, 0, LIMIT_TOP_K),
    FIELD(kernels, NAME, 0, 0),
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

/* Whole numbers of 4 and of 8 bytes. */
static uint64_t get_count(const struct data_header *h, const struct field *f) {
    const char *at = (const char *)h + f->offset;
    return f->bytes == sizeof(uint32_t) ? load_u32(at) : load_u64(at);
}

static json_t *field_json(const struct data_header *h, const struct field *f) {
    const char *at = (const char *)h + f->offset;
    char hash[20];
    double share;
    switch (f->type) {
    case HASH:
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)load_u64(at));
        return json_string(hash);
    case SHARE:
        memcpy(&share, at, sizeof share);
        return json_real(share);
    case NAME:
        return json_string(at);
    default:
        return json_integer((json_int_t)get_count(h, f));
    }
}

static bool parse_hash(const json_t *value, uint64_t *out) {
    const char *text = json_string_value(value);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        return false;
    }
    *out = 0;
    for (; *text; text++) {
        *out = *out << 4 | (uint64_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    }
    return true;
}

static bool take_count(const json_t *value, const struct field *f, void *at) {
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || !((double)number >= f->min && (double)number <= f->max)) {
        return false;
    }
    uint32_t narrow = (uint32_t)number;
    uint64_t wide = (uint64_t)number;
    memcpy(at, f->bytes == sizeof narrow ? (void *)&narrow : (void *)&wide, f->bytes);
    return true;
}

static bool take_field(const json_t *value, const struct field *f, struct data_header *h) {
    void *at = (char *)h + f->offset;
    double share = json_number_value(value);
    switch (f->type) {
    case HASH:
        return parse_hash(value, at);
    case SHARE:
        memcpy(at, &share, sizeof share);
        return json_is_number(value) && share >= f->min && share <= f->max;
    case NAME:
        if (!json_is_string(value) || json_string_length(value) >= f->bytes) {
            return false;
        }
        memcpy(at, json_string_value(value), json_string_length(value) + 1);
        return true;
    default:
        return take_count(value, f, at);
    }
}

/* A value as JSON, for messages; cut where it is long. */
static const char *value_text(const json_t *value, char *out, size_t room) {
    size_t length = json_dumpb(value, out, room - 1, JSON_ENCODE_ANY);
    out[length < room - 1 ? length : room - 1] = 0;
    return out;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static char *header_text(const struct data_header *h) {
    json_t *root = json_object();
    for (size_t i = 0; i < FIELDS; i++) {
        json_object_set_new(root, fields[i].key, field_json(h, &fields[i]));
    }
    size_t bytes = json_dumpb(root, NULL, 0, JSON_COMPACT | JSON_REAL_PRECISION(17));
    char *text = mem_alloc(bytes + 1, 1);
    if (text) {
        json_dumpb(root, text, bytes, JSON_COMPACT | JSON_REAL_PRECISION(17));
    }
    json_decref(root);
    return text;
}

enum status data_header_write(const struct data_header *h, char **bytes, size_t *count, struct error *e) {
    char *text = header_text(h);
    size_t length = text ? strlen(text) : 0;
    *count = (DATA_PREFIX_BYTES + length + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    *bytes = text ? mem_alloc(*count, 1) : NULL;
    if (!*bytes) {
        mem_free(text);
        return error_set(e, ERR_RUN, "data: out of memory");
    }
    uint64_t header_bytes = *count - DATA_PREFIX_BYTES;
    memcpy(*bytes, MAGIC, 8);
    memcpy(*bytes + 8, &BYTE_ORDER_MARK, 4);
    memcpy(*bytes + 12, &VERSION, 4);
    memcpy(*bytes + 16, &header_bytes, 8);
    memset(*bytes + DATA_PREFIX_BYTES, ' ', (size_t)header_bytes);
    memcpy(*bytes + DATA_PREFIX_BYTES, text, length);
    mem_free(text);
    return OK;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

bool data_header_here(const uint8_t *bytes, size_t size) {
    return size >= sizeof MAGIC && memcmp(bytes, MAGIC, sizeof MAGIC) == 0;
}

static enum status check_prefix(const uint8_t *bytes, size_t size, const char *where, struct error *e) {
    if (!data_header_here(bytes, size)) {
        return error_set(e, ERR_RUN, "%s: not a data file: it does not begin with \"mhodata\"", where);
    }
    if (size < DATA_PREFIX_BYTES) {
        return error_set(e, ERR_RUN, "%s: cut off at byte %zu, in the first %d", where, size, DATA_PREFIX_BYTES);
    }
    if (load_u32(bytes + 8) == SWAPPED_MARK) {
        return error_set(e, ERR_RUN, "%s: byte 8: the numbers are big endian (allowed: little endian)", where);
    }
    if (load_u32(bytes + 8) != BYTE_ORDER_MARK) {
        return error_set(e, ERR_RUN, "%s: byte 8: 0x%08x is no byte order (allowed: 0x%08x)", where,
                         load_u32(bytes + 8), BYTE_ORDER_MARK);
    }
    if (load_u32(bytes + 12) != VERSION) {
        return error_set(e, ERR_RUN, "%s: byte 12: version %u of the format (allowed: %u)", where,
                         load_u32(bytes + 12), VERSION);
    }
    return OK;
}

static enum status read_fields(const json_t *root, const char *where, struct data_header *h, struct error *e) {
    for (size_t i = 0; i < FIELDS; i++) {
        const json_t *value = json_object_get(root, fields[i].key);
        if (!value) {
            return error_set(e, ERR_RUN, "%s: header: no key %s", where, fields[i].key);
        }
        if (!take_field(value, &fields[i], h)) {
            char text[64];
            return error_set(e, ERR_RUN, "%s: header: %s = %s is out of range or of another type", where,
                             fields[i].key, value_text(value, text, sizeof text));
        }
    }
    return OK;
}

static enum status check_relations(const struct data_header *h, uint64_t ids_bytes, const char *where,
                                   struct error *e) {
    if (h->first > h->sequences || h->count > h->sequences - h->first) {
        return error_set(e, ERR_RUN, "%s: header: sequences %llu and %llu more: the set has %llu", where,
                         (unsigned long long)h->first, (unsigned long long)h->count,
                         (unsigned long long)h->sequences);
    }
    if (h->validation >= h->sequences && h->validation > 0) {
        return error_set(e, ERR_RUN, "%s: header: validation = %llu: that is all of the set (allowed: below %llu)",
                         where, (unsigned long long)h->validation, (unsigned long long)h->sequences);
    }
    uint64_t sequence_bytes = (uint64_t)h->length * sizeof(int32_t);
    if (h->count > ids_bytes / sequence_bytes || h->count * sequence_bytes != ids_bytes) {
        return error_set(e, ERR_RUN, "%s: %llu bytes of ids; the header says %llu sequences of %u ids: cut off, or "
                         "something stands behind", where, (unsigned long long)ids_bytes,
                         (unsigned long long)h->count, h->length);
    }
    return OK;
}

enum status data_header_read(const uint8_t *bytes, size_t size, const char *where, struct data_header *h,
                             size_t *offset, struct error *e) {
    TRY(check_prefix(bytes, size, where, e));
    uint64_t header_bytes = load_u64(bytes + 16);
    if (header_bytes > DATA_HEADER_LIMIT || (header_bytes + DATA_PREFIX_BYTES) % DATA_ALIGNMENT) {
        return error_set(e, ERR_RUN, "%s: byte 16: a header of %llu bytes (allowed: up to %d, which end at a multiple "
                         "of %d)", where, (unsigned long long)header_bytes, DATA_HEADER_LIMIT, DATA_ALIGNMENT);
    }
    *offset = DATA_PREFIX_BYTES + (size_t)header_bytes;
    if (*offset > size) {
        return error_set(e, ERR_RUN, "%s: cut off at byte %zu, in the header", where, size);
    }
    json_t *root = NULL;
    TRY(json_parse_checked((const char *)bytes + DATA_PREFIX_BYTES, (size_t)header_bytes, where, &root, e));
    *h = (struct data_header){.start = 0};
    enum status status = read_fields(root, where, h, e);
    json_decref(root);
    return status == OK ? check_relations(h, size - *offset, where, e) : status;
}

/* ---- comparing ------------------------------------------------------------------------------------------------- */

void data_header_difference(const struct data_header *was, const struct data_header *now, char *out, size_t room) {
    out[0] = 0;
    for (size_t i = 0; i < FIELDS && !out[0]; i++) {
        json_t *before = field_json(was, &fields[i]), *after = field_json(now, &fields[i]);
        if (!json_equal(before, after)) {
            char a[64], b[64];
            snprintf(out, room, "%s %s, now %s", fields[i].key, value_text(before, a, sizeof a),
                     value_text(after, b, sizeof b));
        }
        json_decref(before);
        json_decref(after);
    }
}

uint64_t data_validation_count(uint64_t count, double share) {
    uint64_t wanted = (uint64_t)llround((double)count * share);
    wanted = wanted == 0 && share > 0 ? 1 : wanted;
    return wanted < count ? wanted : count - 1;
}
