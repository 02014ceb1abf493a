/* Model files that are wrong on purpose. Each is refused with ERR_RUN and a message that names the file, the tensor or
 * key, the offset or what is allowed. Files are built here, byte by byte; beside most borders the good side is tested.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "models/files.h"
#include "tests/files.h"

/* ---- building files ------------------------------------------------------------ */

enum { BLOB_LIMIT = 1 << 16 };
struct blob {
    uint8_t data[BLOB_LIMIT];
    size_t bytes;
};

static void put(struct blob *b, const void *data, size_t bytes) {
    assert_true(bytes <= BLOB_LIMIT - b->bytes);
    memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

static void put_u32(struct blob *b, uint32_t value) { put(b, &value, sizeof value); }

static void put_u64(struct blob *b, uint64_t value) { put(b, &value, sizeof value); }

static void put_zeros(struct blob *b, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        put(b, "", 1);
    }
}

static void put_text(struct blob *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static const char *in_folder(const char *folder, const char *file) {
    static char path[4][1200];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, 1200, "%s/%s", folder, file);
    return p;
}

static void write_in(const char *folder, const char *file, const char *text) {
    write_bytes(in_folder(folder, file), text, strlen(text));
}

/* Header of the text's own length, then zeros. */
static void put_safetensors(struct blob *b, const char *header, size_t data_bytes) {
    put_text(b, header);
    put_zeros(b, data_bytes);
}

static void write_safetensors(const char *folder, const char *file, const char *header, size_t data_bytes) {
    struct blob b = {.bytes = 0};
    put_safetensors(&b, header, data_bytes);
    write_bytes(in_folder(folder, file), b.data, b.bytes);
}

/* ---- expecting ------------------------------------------------------------ */

static void expect_refused(const char *path, const char *first, const char *second) {
    struct weights *w = NULL;
    struct error e = {0};
    enum status s = weights_open(path, &w, &e);
    if (s == OK) {
        weights_close(w);
        fail_msg("opened, but should say \"%s ... %s\"", first, second);
    }
    assert_int_equal(s, ERR_RUN);
    assert_int_equal(e.status, ERR_RUN);
    assert_null(w);
    const char *at = strstr(e.message, first);
    if (strncmp(e.message, path, strlen(path)) != 0 || !at || !strstr(at, second)) {
        fail_msg("message is \"%s\", should be \"%s...%s...%s\"", e.message, path, first, second);
    }
}

static struct weights *expect_opens(const char *path) {
    struct weights *w = NULL;
    struct error e = {0};
    if (weights_open(path, &w, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return w;
}

/* ---- safetensors: the header -------------------------------------------------------------------------------- */

#define ENTRY(name, dtype, shape, offsets)                                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t data_bytes;
    const char *first, *second; /* parts of the message, in this order; NULL: opens */
} headers[] = {
    {"{" ENTRY("a", "F32", "[2,3]", "[0,24]") "}", 24, NULL, NULL},
    {"{" ENTRY("a", "F32", "[2,3]", "[0,24]") "}", 23, "tensor a: data_offsets [0, 24]", "<= 23"},
    {"{" ENTRY("a", "F32", "[2,3]", "[4,28]") "}", 28, NULL, NULL}, /* a gap is fine */
    {"{" ENTRY("a", "F32", "[2,3]", "[0,20]") "}", 24, "tensor a: data_offsets [0, 20] hold 20 bytes", "need 24"},
    {"{" ENTRY("a", "F16", "[2,3]", "[0,24]") "}", 24, "tensor a: data_offsets [0, 24] hold 24 bytes", "need 12"},
    {"{" ENTRY("a", "F32", "[2,3]", "[24,0]") "}", 24, "tensor a: data_offsets [24, 0]", "begin <= end"},
    {"{" ENTRY("a", "F32", "[2,3]", "[-24,0]") "}", 24, "tensor a: data_offsets", "integers >= 0"},
    {"{" ENTRY("a", "F32", "[2,3]", "[0,24,48]") "}", 48, "tensor a: data_offsets", "two integers"},
    {"{" ENTRY("a", "F32", "[2,3]", "[0.0,24.0]") "}", 24, "tensor a: data_offsets", "integers"},
    {"{" ENTRY("a", "F32", "[2,3]", "\"all\"") "}", 24, "tensor a: data_offsets", "integers"},
    {"{" ENTRY("a", "F32", "[4]", "[9223372036854775792,9223372036854775807]") "}", 16, "tensor a: data_offsets",
     "<= 16"},
    {"{" ENTRY("a", "F32", "[99999999999999999999]", "[0,4]") "}", 4, "header:1:", "JSON"},
    {"{" ENTRY("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "tensor a: shape", "overflows"},
    {"{" ENTRY("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, "tensor a: shape", "overflows"}, /* x 4 bytes */
    {"{" ENTRY("a", "F32", "[-6]", "[0,24]") "}", 24, "tensor a: shape", ">= 0"},
    {"{" ENTRY("a", "F32", "[1,1,1,2,3]", "[0,24]") "}", 24, "tensor a: shape", "at most 4"},
    {"{" ENTRY("a", "F32", "6", "[0,24]") "}", 24, "tensor a: shape", "not a list"},
    {"{" ENTRY("a", "F32", "[]", "[0,4]") "}", 4, NULL, NULL}, /* a scalar */
    {"{" ENTRY("a", "F32", "[0,3]", "[0,0]") "}", 0, NULL, NULL},
    {"{" ENTRY("a", "F64", "[1]", "[0,8]") "}", 8, "tensor a: dtype F64 is not known", "F32, F16, BF16"},
    {"{" ENTRY("a", "F8_E4M3", "[1]", "[0,1]") "}", 1, "tensor a: dtype F8_E4M3", "allowed"},
    {"{" ENTRY("a", "I64", "[1]", "[0,8]") "}", 8, NULL, NULL}, /* left out */
    {"{" ENTRY("a", "I64", "[1]", "[0,8]") "}", 7, "tensor a: data_offsets", "<= 7"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a: dtype: missing", "allowed"},
    {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a: dtype: missing or not a text", ""},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor a: shape", "list"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor a: data_offsets", "list"},
    {"{\"a\":7}", 4, "tensor a: not an object", "dtype"},
    {"{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("a", "BF16", "[2]", "[0,4]") "}", 4, NULL, NULL},
    {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[2]", "[8,16]") "}", 16, NULL, NULL},
    {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[2]", "[7,15]") "}", 16, "tensor b",
     "overlap those of tensor a"},
    {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "I32", "[1]", "[4,8]") "}", 16, "tensor b",
     "overlap those of tensor a"},
    {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("a", "F32", "[2]", "[8,16]") "}", 16, "header:1:", "duplicate"},
    {"[]", 4, "header", "not a JSON object"},
    {"{\"a\":", 4, "header:1:", "JSON"},
    {"", 4, "header", "JSON"},
    {"{\"\xff\":1}", 4, "header:1:", "JSON"},
};

static const char *folder_with_config(void) {
    const char *folder = scratch_directory();
    write_in(folder, "config.json", "{\"model_type\": \"llama\"}");
    return folder;
}

static void safetensors_headers(void **state) {
    (void)state;
    const char *folder = folder_with_config();
    char kept[1024];
    snprintf(kept, sizeof kept, "%s", folder);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        write_safetensors(kept, "model.safetensors", headers[i].header, headers[i].data_bytes);
        if (headers[i].first) {
            struct weights *w = NULL;
            struct error e = {0};
            char file[1100];
            snprintf(file, sizeof file, "%s/model.safetensors: ", kept);
            enum status s = weights_open(kept, &w, &e);
            const char *at = s == OK ? NULL : strstr(e.message, headers[i].first);
            weights_close(w);
            if (s != ERR_RUN || strncmp(e.message, file, strlen(file)) != 0 || !at || !strstr(at, headers[i].second)) {
                fail_msg("%s + %zu bytes: status %d, message \"%s\"", headers[i].header, headers[i].data_bytes, (int)s,
                         e.message);
            }
        } else {
            weights_close(expect_opens(kept));
        }
    }
}

static void safetensors_length(void **state) {
    (void)state;
    const struct {
        uint64_t length;
        size_t rest;
        const char *part;
    } cases[] = {
        {1ull << 60, 100, "header of 1152921504606846976 bytes: too long (allowed: up to 100)"},
        {UINT64_MAX, 100, "too long"},
        {101, 100, "header of 101 bytes: too long (allowed: up to 100)"},
    };
    const char *folder = folder_with_config();
    for (size_t i = 0; i < 3; i++) {
        struct blob b = {.bytes = 0};
        put_u64(&b, cases[i].length);
        put_zeros(&b, cases[i].rest);
        write_bytes(in_folder(folder, "model.safetensors"), b.data, b.bytes);
        expect_refused(folder, "offset 0", cases[i].part);
    }
    write_in(folder, "model.safetensors", "seven b");
    expect_refused(folder, "offset 0: the file has 7 bytes", "too short");
    write_in(folder, "model.safetensors", "");
    expect_refused(folder, "model.safetensors", "empty");
}

/* 40 levels are too many, 30 are merely not a tensor. Also deep enough to exhaust a recursive parser. */
static void json_nesting(void **state) {
    (void)state;
    const char *folder = folder_with_config();
    static char text[60000];
    const struct {
        size_t levels;
        const char *part;
    } cases[] = {
        {30, "tensor a: not an object"}, {40, "nested too deep (allowed: 32 levels)"}, {29000, "nested too deep"}};
    for (size_t c = 0; c < 3; c++) {
        size_t n = cases[c].levels;
        snprintf(text, sizeof text, "{\"a\":");
        memset(text + 5, '[', n);
        memset(text + 5 + n, ']', n);
        memcpy(text + 5 + 2 * n, "}", 2);
        write_safetensors(folder, "model.safetensors", text, 0);
        expect_refused(folder, "model.safetensors", cases[c].part);
    }
}

/* ---- folders ------------------------------------------------------------ */

static void folders(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    expect_refused(folder, "no config.json", "GGUF");
    write_in(folder, "config.json", "[1, 2]");
    expect_refused(folder, "config.json", "not a JSON object");
    write_in(folder, "config.json", "{\"a\": 1,\n \"a\": 2}");
    expect_refused(folder, "config.json:2:", "duplicate");
    write_in(folder, "config.json", "{\"a\": 1,\n\n  oops}");
    expect_refused(folder, "config.json:3:", "JSON");
    write_in(folder, "config.json", "{}");
    expect_refused(folder, "no weights", "model.safetensors.index.json");
    mkdir(in_folder(folder, "model.safetensors"), 0755);
    expect_refused(folder, "no weights", "allowed: model.safetensors");
    expect_refused(in_folder(folder, "absent.gguf"), "cannot open", "");
    write_in(folder, "empty.gguf", "");
    expect_refused(in_folder(folder, "empty.gguf"), "empty", "");
}

static void index_with(const char *folder, const char *map) {
    char text[2048];
    snprintf(text, sizeof text, "{\"weight_map\": %s}", map);
    write_in(folder, "model.safetensors.index.json", text);
}

static void shards(void **state) {
    (void)state;
    const char *folder = folder_with_config();
    write_safetensors(folder, "one.safetensors",
                      "{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("mask", "BOOL", "[4]", "[8,12]") "}", 12);
    write_safetensors(folder, "two.safetensors", "{" ENTRY("b", "F32", "[2]", "[0,8]") "}", 8);
    write_safetensors(folder, "again.safetensors", "{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 8);
    index_with(folder, "{\"a\": \"one.safetensors\", \"b\": \"two.safetensors\", \"mask\": \"one.safetensors\"}");
    struct weights *w = expect_opens(folder);
    assert_int_equal(weights_count(w), 2);
    assert_null(weights_find(w, "mask"));
    weights_close(w);
    index_with(folder, "{\"a\": \"one.safetensors\", \"c\": \"two.safetensors\"}");
    expect_refused(folder, "tensor c: not in two.safetensors", "index");
    index_with(folder, "{\"a\": \"two.safetensors\", \"b\": \"one.safetensors\"}");
    expect_refused(folder, "tensor a: not in two.safetensors", "index");
    index_with(folder, "{\"a\": \"one.safetensors\", \"b\": \"three.safetensors\"}");
    expect_refused(folder, "three.safetensors", "cannot open");
    index_with(folder, "{\"a\": \"one.safetensors\", \"b\": \"again.safetensors\"}");
    expect_refused(folder, "tensor a: in two shards", "again.safetensors and one.safetensors");
    index_with(folder, "{\"a\": \"../one.safetensors\"}");
    expect_refused(folder, "weight_map: a: ../one.safetensors", "allowed: the name of a file in this folder");
    index_with(folder, "{\"a\": \"/etc/passwd\"}");
    expect_refused(folder, "weight_map: a", "allowed");
    index_with(folder, "{\"a\": 3}");
    expect_refused(folder, "weight_map: a: not a text", "allowed");
    index_with(folder, "{}");
    expect_refused(folder, "weight_map: missing, empty", "");
    write_in(folder, "model.safetensors.index.json", "{\"weights\": {}}");
    expect_refused(folder, "weight_map: missing", "");
}

/* ---- numbers that are none ------------------------------------------------------------ */

static void check_values(enum tensor_type t, const void *data, uint64_t bytes, const char *part) {
    struct tensor x = {.name = "blk.7.w", .type = t, .rank = 1, .data = data, .bytes = bytes};
    struct error e = {0};
    x.shape[0] = bytes / tensor_block_bytes(t) * tensor_block_elements(t);
    enum status s = tensor_check_finite(&x, &e);
    assert_int_equal(s, part ? ERR_RUN : OK);
    if (part && (!strstr(e.message, "tensor blk.7.w") || !strstr(e.message, part))) {
        fail_msg("message is \"%s\", should have \"%s\"", e.message, part);
    }
}

static void weights_not_finite(void **state) {
    (void)state;
    static uint32_t f32[10000];
    static uint16_t f16[10000];
    f32[9000] = 0x7f7fffff; /* largest finite */
    f16[9000] = 0x7bff;
    check_values(TENSOR_F32, f32, sizeof f32, NULL);
    check_values(TENSOR_F16, f16, sizeof f16, NULL);
    check_values(TENSOR_BF16, f16, sizeof f16, NULL);
    f32[9001] = 0x7fc00001;
    check_values(TENSOR_F32, f32, sizeof f32, "element 9001 (F32)");
    f32[0] = 0xff800000;
    check_values(TENSOR_F32, f32, sizeof f32, "element 0 (F32)");
    f16[9999] = 0xfc00; /* infinite as F16, a number as BF16 */
    check_values(TENSOR_F16, f16, sizeof f16, "element 9999 (F16)");
    check_values(TENSOR_BF16, f16, sizeof f16, NULL);
    f16[9998] = 0x7f81;
    check_values(TENSOR_BF16, f16, sizeof f16, "element 9998 (BF16)");
}

/* Every quantised type: all ones everywhere but in the scales is fine; a NaN in any scale of block 2 is not. */
static void scales_not_finite(void **state) {
    (void)state;
    static const struct {
        enum tensor_type type;
        size_t at[2];
    } scales[] = {
        {TENSOR_Q4_0, {0, 0}},    {TENSOR_Q4_1, {0, 2}},     {TENSOR_Q5_0, {0, 0}},     {TENSOR_Q5_1, {0, 2}},
        {TENSOR_Q8_0, {0, 0}},    {TENSOR_Q2_K, {80, 82}},   {TENSOR_Q3_K, {108, 108}}, {TENSOR_Q4_K, {0, 2}},
        {TENSOR_Q5_K, {0, 2}},    {TENSOR_Q6_K, {208, 208}}, {TENSOR_IQ4_NL, {0, 0}},   {TENSOR_IQ4_XS, {0, 0}},
        {TENSOR_IQ2_XXS, {0, 0}}, {TENSOR_IQ2_XS, {0, 0}},   {TENSOR_IQ3_XXS, {0, 0}},  {TENSOR_IQ3_S, {0, 0}},
    };
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        uint8_t blocks[4 * 256];
        size_t size = tensor_block_bytes(scales[i].type);
        for (int k = 0; k < 2; k++) {
            memset(blocks, 0xff, sizeof blocks);
            for (size_t b = 0; b < 4; b++) {
                memset(blocks + b * size + scales[i].at[0], 0, 2);
                memset(blocks + b * size + scales[i].at[1], 0, 2);
            }
            check_values(scales[i].type, blocks, 4 * size, NULL);
            blocks[2 * size + scales[i].at[k] + 1] = 0x7e; /* NaN */
            char part[64];
            snprintf(part, sizeof part, "element %zu (%s): a scale", 2 * tensor_block_elements(scales[i].type),
                     tensor_type_name(scales[i].type));
            check_values(scales[i].type, blocks, 4 * size, part);
        }
    }
}

/* ---- GGUF ------------------------------------------------------------ */

enum { U8 = 0, U32 = 4, I32 = 5, F32 = 6, BOOL = 7, TEXT = 8, ARRAY = 9 };

static void gguf_head(struct blob *b, uint32_t version, uint64_t tensors, uint64_t keys) {
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, keys);
}

static void gguf_u32(struct blob *b, const char *key, uint32_t value) {
    put_text(b, key);
    put_u32(b, U32);
    put_u32(b, value);
}

/* sizes innermost first, as in the file */
static void gguf_tensor(struct blob *b, const char *name, uint32_t rank, const uint64_t *sizes, uint32_t type,
                        uint64_t offset) {
    put_text(b, name);
    put_u32(b, rank);
    for (uint32_t i = 0; i < rank; i++) {
        put_u64(b, sizes[i]);
    }
    put_u32(b, type);
    put_u64(b, offset);
}

static void pad(struct blob *b, size_t alignment) { put_zeros(b, (alignment - b->bytes % alignment) % alignment); }

/* One tensor of this type and shape at this offset; `data` bytes follow. */
static void one_tensor(struct blob *b, uint32_t rank, uint64_t inner, uint64_t outer, uint32_t type, uint64_t offset,
                       size_t data) {
    const uint64_t sizes[9] = {inner, outer, 1, 1, 1, 1, 1, 1, 1};
    gguf_head(b, 3, 1, 0);
    gguf_tensor(b, "w", rank, sizes, type, offset);
    pad(b, 32);
    put_zeros(b, data);
}

static void two_tensors(struct blob *b, const char *second, uint64_t offset) {
    const uint64_t eight[1] = {8};
    gguf_head(b, 3, 2, 0);
    gguf_tensor(b, "w", 1, eight, 0, 0);
    gguf_tensor(b, second, 1, eight, 0, offset);
    pad(b, 32);
    put_zeros(b, 64);
}

static void array_head(struct blob *b, uint32_t element, uint64_t count) {
    put_text(b, "k");
    put_u32(b, ARRAY);
    put_u32(b, element);
    put_u64(b, count);
}

static void nested(struct blob *b, int levels) {
    gguf_head(b, 3, 0, 1);
    put_text(b, "k");
    put_u32(b, ARRAY);
    for (int i = 1; i < levels; i++) {
        put_u32(b, ARRAY);
        put_u64(b, 1);
    }
    put_u32(b, U8);
    put_u64(b, 0);
    put_zeros(b, 64);
}

static void good_v2(struct blob *b) {
    gguf_head(b, 2, 0, 1);
    gguf_u32(b, "k", 1);
}
static void good_v3(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "k", 1);
}
static void bad_magic(struct blob *b) {
    good_v3(b);
    b->data[3] = 'E';
}
static void version_1(struct blob *b) { gguf_head(b, 1, 0, 0); }
static void version_4(struct blob *b) { gguf_head(b, 4, 0, 0); }
static void big_endian(struct blob *b) { gguf_head(b, 0x03000000, 0, 0); }
static void many_tensors(struct blob *b) { gguf_head(b, 3, UINT64_MAX, 0); }
static void many_keys(struct blob *b) { gguf_head(b, 3, 0, 1ull << 60); }
static void a_tensor_more(struct blob *b) {
    gguf_head(b, 3, 2, 0);
    put_zeros(b, 57);
}
static void key_empty(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "", 1);
    put_zeros(b, 8);
}
static void key_huge(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_u64(b, 1ull << 62);
    put_zeros(b, 64);
}
static void key_past_end(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_u64(b, 100);
    put_zeros(b, 64);
}
static void key_zero_byte(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_u64(b, 3);
    put(b, "a\0b", 3);
    put_zeros(b, 64);
}
static void key_twice(struct blob *b) {
    gguf_head(b, 3, 0, 2);
    gguf_u32(b, "twin", 1);
    gguf_u32(b, "twin", 2);
}
static void value_type(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_text(b, "k");
    put_u32(b, 13);
    put_zeros(b, 8);
}
static void value_cut(struct blob *b) {
    good_v3(b);
    b->bytes -= 1;
}
static void text_huge(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_text(b, "k");
    put_u32(b, TEXT);
    put_u64(b, UINT64_MAX);
}
static void bool_2(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_text(b, "k");
    put_u32(b, BOOL);
    put(b, "\2", 1);
}
static void array_huge(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    array_head(b, F32, 1ull << 62);
    put_zeros(b, 8);
}
static void array_cut(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    array_head(b, F32, 3);
    put_zeros(b, 11);
}
static void array_type(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    array_head(b, 99, 1);
    put_zeros(b, 8);
}
static void texts_huge(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    array_head(b, TEXT, 1ull << 61);
    put_zeros(b, 8);
}
static void texts_cut(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    array_head(b, TEXT, 2);
    put_text(b, "one");
    put_u64(b, 4);
    put(b, "two", 3);
}
static void array_bool_2(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    array_head(b, BOOL, 2);
    put(b, "\1\2", 2);
}
static void nested_4(struct blob *b) { nested(b, 4); }
static void nested_5(struct blob *b) { nested(b, 5); }
static void align_0(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "general.alignment", 0);
}
static void align_4(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "general.alignment", 4);
}
static void align_24(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "general.alignment", 24);
}
static void align_text(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    put_text(b, "general.alignment");
    put_u32(b, TEXT);
    put_text(b, "32");
}
static void split_1(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "split.count", 1);
}
static void split_3(struct blob *b) {
    gguf_head(b, 3, 0, 1);
    gguf_u32(b, "split.count", 3);
}
static void good_tensor(struct blob *b) { one_tensor(b, 2, 32, 2, 2, 0, 36); }
static void good_rank_4(struct blob *b) { one_tensor(b, 4, 32, 2, 2, 0, 36); }
static void rank_0(struct blob *b) { one_tensor(b, 0, 0, 0, 0, 0, 64); }
static void rank_9(struct blob *b) { one_tensor(b, 9, 32, 2, 2, 0, 36); }
static void size_0(struct blob *b) { one_tensor(b, 2, 32, 0, 0, 0, 64); }
static void type_4(struct blob *b) { one_tensor(b, 1, 32, 1, 4, 0, 64); }
static void type_huge(struct blob *b) { one_tensor(b, 1, 32, 1, UINT32_MAX, 0, 64); }
static void row_of_33(struct blob *b) { one_tensor(b, 2, 33, 32, 2, 0, 1024); }
static void product(struct blob *b) { one_tensor(b, 2, 1ull << 33, 1ull << 33, 0, 0, 64); }
static void product_bytes(struct blob *b) { one_tensor(b, 1, 1ull << 62, 1, 0, 0, 64); }
static void offset_odd(struct blob *b) { one_tensor(b, 1, 4, 1, 0, 16, 64); }
static void offset_far(struct blob *b) { one_tensor(b, 1, 4, 1, 0, 1ull << 63, 64); }
static void offset_at_end(struct blob *b) { one_tensor(b, 1, 4, 1, 0, 64, 64); }
static void data_cut(struct blob *b) { one_tensor(b, 2, 32, 2, 2, 0, 35); }
static void no_data(struct blob *b) {
    one_tensor(b, 2, 32, 2, 2, 0, 36);
    b->bytes = 80;
}
static void two_good(struct blob *b) { two_tensors(b, "v", 32); }
static void two_named_alike(struct blob *b) { two_tensors(b, "w", 32); }
static void two_over_each_other(struct blob *b) { two_tensors(b, "v", 0); }
static void name_of_65(struct blob *b) {
    two_tensors(b, "12345678901234567890123456789012345678901234567890123456789012345", 32);
}
static void name_of_64(struct blob *b) {
    two_tensors(b, "1234567890123456789012345678901234567890123456789012345678901234", 32);
}

static const struct {
    const char *name;
    void (*build)(struct blob *b);
    const char *first, *second; /* NULL: opens */
} ggufs[] = {
    {"good_v2", good_v2, NULL, NULL},
    {"good_v3", good_v3, NULL, NULL},
    {"bad_magic", bad_magic, "offset 0: begins with bytes 47 47 55 45", "GGUF"},
    {"version_1", version_1, "offset 4: GGUF version 1", "allowed: 2 and 3"},
    {"version_4", version_4, "offset 4: GGUF version 4", "allowed: 2 and 3"},
    {"big_endian", big_endian, "offset 4: GGUF version 50331648: a big-endian file?", "little endian"},
    {"many_tensors", many_tensors, "offset 8: tensors: 18446744073709551615 do not fit", "allowed: up to 0"},
    {"many_keys", many_keys, "offset 16: keys: 1152921504606846976 do not fit", "allowed: up to 0"},
    {"a_tensor_more", a_tensor_more, "offset 8: tensors: 2 do not fit", "allowed: up to 1"},
    {"key_empty", key_empty, "offset 24: key of 0 bytes", "allowed: 1 to 65535"},
    {"key_huge", key_huge, "offset 24: key of 4611686018427387904 bytes", "allowed: 1 to 65535"},
    {"key_past_end", key_past_end, "offset 32: key of 100 bytes does not fit", "cut short?"},
    {"key_zero_byte", key_zero_byte, "offset 24: key with a zero byte", ""},
    {"key_twice", key_twice, "key twin: given twice", ""},
    {"value_type", value_type, "offset 33: key k: value type 13 is not known", "allowed: 0 to 12"},
    {"value_cut", value_cut, "key k: 1 x u32 do not fit", "cut short?"},
    {"text_huge", text_huge, "offset 37: key k: text of 18446744073709551615 bytes", "does not fit"},
    {"bool_2", bool_2, "offset 37: key k: 2 is not a truth value", "allowed: 0, 1"},
    {"array_huge", array_huge, "offset 41: elements of an array: 4611686018427387904 do not fit", ""},
    {"array_cut", array_cut, "offset 49: key k: 3 x f32 do not fit", "cut short?"},
    {"array_type", array_type, "offset 37: key k: value type 99 is not known", "allowed"},
    {"texts_huge", texts_huge, "offset 41: elements of an array: 2305843009213693952 do not fit", "allowed: up to 1"},
    {"texts_cut", texts_cut, "offset 60: key k: text of 4 bytes does not fit", ""},
    {"array_bool_2", array_bool_2, "offset 50: key k: 2 is not a truth value", ""},
    {"nested_4", nested_4, NULL, NULL},
    {"nested_5", nested_5, "key k: arrays nested too deep", "allowed: 4 levels"},
    {"align_0", align_0, "key general.alignment: 0", "allowed: a power of two"},
    {"align_4", align_4, "key general.alignment: 4", "from 8"},
    {"align_24", align_24, "key general.alignment: 24", "allowed: a power of two"},
    {"align_text", align_text, "key general.alignment: is text", "allowed: an integer"},
    {"split_1", split_1, NULL, NULL},
    {"split_3", split_3, "key split.count: one of 3 parts", "allowed: a model in one file"},
    {"good_tensor", good_tensor, NULL, NULL},
    {"good_rank_4", good_rank_4, NULL, NULL},
    {"rank_0", rank_0, "offset 33: tensor w: rank 0", "allowed: 1 to 4"},
    {"rank_9", rank_9, "offset 33: tensor w: rank 9", "allowed: 1 to 4"},
    {"size_0", size_0, "offset 45: tensor w: a size is 0", "allowed: 1 or more"},
    {"type_4", type_4, "tensor w: type 4 is not known", "Q4_0 (2), Q4_1 (3)"},
    {"type_huge", type_huge, "tensor w: type 4294967295 is not known", "IQ3_S (21)"},
    {"row_of_33", row_of_33, "tensor w: rows of 33 elements", "Q4_0: a multiple of 32"},
    {"product", product, "tensor w: the product of the sizes overflows", ""},
    {"product_bytes", product_bytes, "tensor w: the product of the sizes overflows", ""},
    {"offset_odd", offset_odd, "tensor w: data offset 16", "allowed: a multiple of 32"},
    {"offset_far", offset_far, "tensor w: 16 bytes at data offset 9223372036854775808", "allowed: inside 64 bytes"},
    {"offset_at_end", offset_at_end, "tensor w: 16 bytes at data offset 64", "allowed: inside 64 bytes"},
    {"data_cut", data_cut, "tensor w: 36 bytes at data offset 0", "allowed: inside 35 bytes"},
    {"no_data", no_data, "tensor w: 36 bytes at data offset 0", "allowed: inside 0 bytes"},
    {"two_good", two_good, NULL, NULL},
    {"two_named_alike", two_named_alike, "tensor w: named twice", ""},
    {"two_over_each_other", two_over_each_other, "overlap those of tensor", ""},
    {"name_of_65", name_of_65, "name of a tensor of 65 bytes", "allowed: 1 to 64"},
    {"name_of_64", name_of_64, NULL, NULL},
};

static void gguf_files(void **state) {
    (void)state;
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", scratch_directory());
    for (size_t i = 0; i < sizeof ggufs / sizeof ggufs[0]; i++) {
        struct blob b = {.bytes = 0};
        char file[64];
        ggufs[i].build(&b);
        snprintf(file, sizeof file, "%s.gguf", ggufs[i].name);
        const char *path = in_folder(folder, file);
        write_bytes(path, b.data, b.bytes);
        if (ggufs[i].first) {
            expect_refused(path, ggufs[i].first, ggufs[i].second);
        } else {
            weights_close(expect_opens(path));
        }
    }
}

/* The order of the sizes is turned: a file says 32, 2; the tensor has 2 rows of 32. */
static void gguf_shape_is_turned(void **state) {
    (void)state;
    struct blob b = {.bytes = 0};
    struct weights *w = NULL;
    struct error e = {0};
    good_tensor(&b);
    const struct span s = {"file", b.data, b.bytes};
    assert_int_equal(weights_open_memory(&s, &w, &e), OK);
    assert_int_equal(weights_at(w, 0)->shape[0], 2);
    assert_int_equal(weights_at(w, 0)->shape[1], 32);
    weights_close(w);
}

/* Every number type, at its borders, through both getters. as_u64: UINT64_MAX stands for "refused". */
static void gguf_numbers(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        size_t bytes;
        uint64_t bits, as_u64;
        double as_f64;
    } numbers[] = {
        {0, 1, 255, 255, 255},
        {1, 1, 127, 127, 127},
        {1, 1, 0xff, UINT64_MAX, -1},
        {2, 2, 65535, 65535, 65535},
        {3, 2, 0x8000, UINT64_MAX, -32768},
        {4, 4, 0xffffffff, 0xffffffff, 4294967295.0},
        {5, 4, 0x80000000, UINT64_MAX, -2147483648.0},
        {6, 4, 0xbfc00000, UINT64_MAX, -1.5},
        {10, 8, 1ull << 63, 1ull << 63, 9223372036854775808.0},
        {11, 8, UINT64_MAX - 1, UINT64_MAX, -2},
        {12, 8, 0x3ff8000000000000, UINT64_MAX, 1.5},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct blob b = {.bytes = 0};
        struct weights *w = NULL;
        struct error e = {0};
        uint64_t n = 0;
        double x = 0;
        gguf_head(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, numbers[i].type);
        put(&b, &numbers[i].bits, numbers[i].bytes);
        const struct span s = {"file", b.data, b.bytes};
        assert_int_equal(weights_open_memory(&s, &w, &e), OK);
        enum status got = gguf_get_u64(weights_gguf(w), "k", &n, NULL, &e);
        assert_int_equal(got, numbers[i].as_u64 == UINT64_MAX ? ERR_RUN : OK);
        assert_true(got != OK || n == numbers[i].as_u64);
        assert_int_equal(gguf_get_f64(weights_gguf(w), "k", &x, NULL, &e), OK);
        assert_true(x == numbers[i].as_f64);
        weights_close(w);
    }
}

static void gguf_number_not_finite(void **state) {
    (void)state;
    struct blob b = {.bytes = 0};
    struct weights *w = NULL;
    struct error e = {0};
    double x;
    gguf_head(&b, 3, 0, 1);
    put_text(&b, "rope");
    put_u32(&b, F32);
    put_u32(&b, 0x7fc00000);
    const struct span s = {"file", b.data, b.bytes};
    assert_int_equal(weights_open_memory(&s, &w, &e), OK);
    assert_int_equal(gguf_get_f64(weights_gguf(w), "rope", &x, NULL, &e), ERR_RUN);
    assert_string_equal(e.message, "file: key rope: infinite or not a number");
    weights_close(w);
}

/* ---- cut anywhere ------------------------------------------------------------ */

static void cut_everywhere(const struct blob *b) {
    for (size_t bytes = 0; bytes <= b->bytes; bytes++) {
        uint8_t *copy = mem_alloc(bytes + MEM_ALIGNMENT, 1);
        const struct span s = {"file", copy, bytes};
        struct weights *w = NULL;
        struct error e = {0};
        memcpy(copy, b->data, bytes);
        enum status status = weights_open_memory(&s, &w, &e);
        weights_close(w);
        mem_free(copy);
        if (status != (bytes == b->bytes ? OK : ERR_RUN) || (bytes < b->bytes && strncmp(e.message, "file:", 5) != 0)) {
            fail_msg("cut to %zu of %zu bytes: status %d, \"%s\"", bytes, b->bytes, (int)status, e.message);
        }
    }
}

static void truncated(void **state) {
    (void)state;
    const uint64_t sizes[2] = {32, 2};
    struct blob b = {.bytes = 0};
    gguf_head(&b, 3, 2, 5);
    gguf_u32(&b, "n", 7);
    put_text(&b, "name");
    put_u32(&b, TEXT);
    put_text(&b, "text");
    array_head(&b, TEXT, 2);
    put_text(&b, "one");
    put_text(&b, "two");
    put_text(&b, "numbers");
    put_u32(&b, ARRAY);
    put_u32(&b, I32);
    put_u64(&b, 3);
    put_zeros(&b, 12);
    gguf_u32(&b, "general.alignment", 64);
    gguf_tensor(&b, "w", 2, sizes, 0, 0);
    gguf_tensor(&b, "v", 2, sizes, 8, 256);
    pad(&b, 64);
    put_zeros(&b, 256 + 68);
    cut_everywhere(&b);
    b.bytes = 0;
    put_safetensors(&b, "{" ENTRY("a", "F32", "[2,3]", "[0,24]") "," ENTRY("b", "BF16", "[3]", "[24,30]") "}", 30);
    cut_everywhere(&b);
}

/* ---- JSON ------------------------------------------------------------ */

static void json_files(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in_folder(folder, "x.json");
    json_t *json = NULL;
    struct error e = {0};
    /* brackets in a text do not nest, also behind an escaped quote */
    write_in(folder, "x.json", "{\"a\": [1, {\"b\": \"[[\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}]}");
    assert_int_equal(json_load_checked(path, 100, &json, &e), OK);
    json_decref(json);
    assert_int_equal(json_load_checked(path, 20, &json, &e), ERR_RUN);
    assert_null(json);
    assert_non_null(strstr(e.message, "allowed: up to 20 bytes"));
    write_in(folder, "x.json", "{\"a\": {\"b\": 1,\n\"b\": 2}}");
    assert_int_equal(json_load_checked(path, 100, &json, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "x.json:2:"));
    write_in(folder, "x.json", "\n[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
    assert_int_equal(json_load_checked(path, 100, &json, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "x.json:2:33: JSON: nested too deep"));
    assert_int_equal(json_load_checked(folder, 100, &json, &e), ERR_RUN);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(safetensors_headers),
    cmocka_unit_test(safetensors_length),
    cmocka_unit_test(json_nesting),
    cmocka_unit_test(folders),
    cmocka_unit_test(shards),
    cmocka_unit_test(weights_not_finite),
    cmocka_unit_test(scales_not_finite),
    cmocka_unit_test(gguf_files),
    cmocka_unit_test(gguf_shape_is_turned),
    cmocka_unit_test(truncated),
    cmocka_unit_test(json_files),
    cmocka_unit_test(gguf_numbers),
    cmocka_unit_test(gguf_number_not_finite),
};
const struct test_suite suite_hostile_files = {"hostile_files", tests, sizeof tests / sizeof tests[0]};
