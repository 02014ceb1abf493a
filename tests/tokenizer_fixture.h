/* Shared by the tests of tokenizers: opening, encoding, and small vocabularies that need no shared folder. */
#ifndef MHO_TESTS_TOKENIZER_FIXTURE_H
#define MHO_TESTS_TOKENIZER_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "models/tokenizer_parts.h"
#include "tests/files.h"

static inline struct tokenizer *open_tokenizer(const char *path) {
    struct tokenizer *t = NULL;
    struct error e = {0};
    if (tokenizer_open_path(path, &t, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return t;
}

static inline struct token_list encode(const struct tokenizer *t, const char *text, size_t bytes, bool add_special) {
    struct token_list l = {0};
    struct error e = {0};
    if (tokenizer_encode(t, text, bytes, add_special, true, &l, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return l;
}

static inline void expect_round_trip(const struct tokenizer *t, const char *text, size_t bytes) {
    struct token_list l = encode(t, text, bytes, false);
    char *back;
    size_t count;
    struct error e;
    assert_int_equal(tokenizer_decode(t, l.ids, l.count, false, &back, &count, &e), OK);
    assert_int_equal(count, bytes);
    assert_memory_equal(back, text, bytes);
    mem_free(back);
    token_list_clear(&l);
}

static inline const char *write_tokenizer(const char *text, size_t bytes) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch_directory());
    write_bytes(path, text, bytes);
    return path;
}

static inline struct tokenizer *open_text(const char *text) {
    return open_tokenizer(write_tokenizer(text, strlen(text)));
}

/* Byte-level: ids 0 to 255 are the bytes, 256 "ab", 257 "abc", 258 a control token, 259 one that swallows space, 260
 * one for whole words. */
static inline char *byte_level_json(void) {
    char *text = mem_alloc(1, 16384);
    assert_non_null(text);
    size_t used = (size_t)sprintf(text, "{\"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int b = 0; b < 256; b++) {
        char c[3] = {0};
        byte_character((unsigned char)b, c);
        const char *escape = c[0] == '"' || c[0] == '\\' ? "\\" : "";
        used += (size_t)sprintf(text + used, "\"%s%s\": %d, ", escape, c, b);
    }
    sprintf(text + used, "\"ab\": 256, \"abc\": 257}, \"merges\": [\"a b\", [\"ab\", \"c\"]]},"
                         "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
                         "\"decoder\": {\"type\": \"ByteLevel\"},"
                         "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
                         "{\"id\": \"<x>\"}}, {\"Sequence\": {\"id\": \"A\"}},"
                         " {\"SpecialToken\": {\"id\": \"<x>\"}}], \"special_tokens\": {\"<x>\": {\"ids\": [258]}}},"
                         "\"added_tokens\": [{\"id\": 258, \"content\": \"<x>\", \"special\": true},"
                         " {\"id\": 259, \"content\": \"<y>\", \"lstrip\": true, \"rstrip\": true},"
                         " {\"id\": 260, \"content\": \"cab\", \"single_word\": true}]}");
    return text;
}

static inline struct tokenizer *open_byte_level(void) {
    char *text = byte_level_json();
    struct tokenizer *t = open_text(text);
    mem_free(text);
    return t;
}

static inline void expect_list(const struct tokenizer *t, const char *text, bool add, bool parse, const int32_t *ids,
                        size_t count) {
    struct token_list l = {0};
    struct error e = {0};
    assert_int_equal(tokenizer_encode(t, text, strlen(text), add, parse, &l, &e), OK);
    assert_int_equal(l.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(l.ids[i], ids[i]);
    }
    token_list_clear(&l);
}
#define EXPECT(t, text, add, parse, ...)                                                                               \
    expect_list(t, text, add, parse, (const int32_t[]){__VA_ARGS__},                                                   \
                sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static const char sentencepiece_json[] =
    "{\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"fuse_unk\": true, \"unk_token\": \"<unk>\", \"vocab\": "
    "{"
    "\"<unk>\": 0, \"<0x41>\": 1, \"<0xC3>\": 2, \"<0xA4>\": 3, \"\xe2\x96\x81\": 4, \"a\": 5, \"b\": 6, \"\xe2\x96\x81"
    "a\": 7, \"ab\": 8},"
    "\"merges\": [\"\xe2\x96\x81 a\", \"a b\"]}, \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": ["
    "{\"type\": \"Prepend\", \"prepend\": \"\xe2\x96\x81\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
    "\"content\": \"\xe2\x96\x81\"}]},"
    "\"added_tokens\": [{\"id\": 9, \"content\": \"<s>\", \"special\": true, \"normalized\": true}],"
    "\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": "
    "\"\xe2\x96\x81\"}, \"content\": \" \"},"
    "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, "
    "\"stop\": 0}]}}";

#endif
