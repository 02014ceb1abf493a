/* Tokenizers from small GGUF files, and hostile files: each is refused with a message, nothing crashes or is lost. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/mutate.h"
#include "tests/tokenizer_fixture.h"

/* ---- small GGUF vocabularies ----------------------------------------------------------------- */

/* A file with metadata only, written key by key. */
struct gguf_text { uint8_t data[8192]; size_t used; uint64_t keys; };

static void put_bytes(struct gguf_text *g, const void *bytes, size_t count) {
    assert_in_range(g->used + count, 0, sizeof g->data);
    memcpy(g->data + g->used, bytes, count);
    g->used += count;
}
static void put_u32(struct gguf_text *g, uint32_t v) {
    put_bytes(g, &v, 4);
} /* little-endian machines, as the format */
static void put_u64(struct gguf_text *g, uint64_t v) { put_bytes(g, &v, 8); }
static void put_string(struct gguf_text *g, const char *text) {
    put_u64(g, strlen(text));
    put_bytes(g, text, strlen(text));
}
static void put_key(struct gguf_text *g, const char *key, uint32_t type) {
    put_string(g, key);
    put_u32(g, type);
    g->keys++;
}
static void key_text(struct gguf_text *g, const char *key, const char *text) {
    put_key(g, key, 8);
    put_string(g, text);
}
static void key_u32(struct gguf_text *g, const char *key, uint32_t v) {
    put_key(g, key, 4);
    put_u32(g, v);
}
static void key_texts(struct gguf_text *g, const char *key, const char *const *texts, size_t count) {
    put_key(g, key, 9);
    put_u32(g, 8);
    put_u64(g, count);
    for (size_t i = 0; i < count; i++) {
        put_string(g, texts[i]);
    }
}
static void key_floats(struct gguf_text *g, const char *key, const float *v, size_t count) {
    put_key(g, key, 9);
    put_u32(g, 6);
    put_u64(g, count);
    put_bytes(g, v, count * sizeof *v);
}

static void gguf_begin(struct gguf_text *g) {
    *g = (struct gguf_text){0};
    put_bytes(g, "GGUF\3\0\0\0", 8);
    put_u64(g, 0);
    put_u64(g, 0); /* number of keys, at byte 16: filled in at the end */
    key_text(g, "general.architecture", "llama");
}

static enum status gguf_end(struct gguf_text *g, struct tokenizer **t, struct error *e) {
    char path[1200];
    memcpy(g->data + 16, &g->keys, 8);
    snprintf(path, sizeof path, "%s/vocabulary.gguf", scratch_directory());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(g->data, 1, g->used, f), g->used);
    assert_int_equal(fclose(f), 0);
    *t = NULL;
    return tokenizer_open_path(path, t, e);
}

static const char *const spm_tokens[] = {"<unk>", "<s>", "</s>", "<0x41>", "\xe2\x96\x81", "a",
                                         "b",     "ab",  "ba",   "\xe2\x96\x81\x61", "<u>"};
static const float spm_types[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4};
enum { SPM_TOKENS = sizeof spm_tokens / sizeof spm_tokens[0] };

/* Scores decide: "ba" before "ab" before U+2581 + "a". */
static void spm_begin(struct gguf_text *g, float score_of_ab) {
    const float scores[] = {0, 0, 0, 0, -9, -9, -9, score_of_ab, -2, -4, 0};
    gguf_begin(g);
    key_text(g, "tokenizer.ggml.model", "llama");
    key_texts(g, "tokenizer.ggml.tokens", spm_tokens, SPM_TOKENS);
    key_floats(g, "tokenizer.ggml.scores", scores, SPM_TOKENS);
}

static void sentencepiece_gguf(void **state) {
    (void)state;
    struct gguf_text g;
    struct tokenizer *t;
    struct error e = {0};
    spm_begin(&g, -3);
    key_floats(&g, "tokenizer.ggml.token_type", spm_types, SPM_TOKENS);
    key_u32(&g, "tokenizer.ggml.bos_token_id", 1);
    key_u32(&g, "tokenizer.ggml.eos_token_id", 2);
    key_u32(&g, "tokenizer.ggml.unknown_token_id", 0);
    if (gguf_end(&g, &t, &e) != OK) {
        fail_msg("%s", e.message);
    }
    EXPECT(t, "ab", true, true, 1, 4, 7);          /* a joins b, the better pair, not the space */
    EXPECT(t, "aba", false, true, 9, 8);           /* "ba" first, then the space takes the a that is left */
    EXPECT(t, "Ax", false, true, 4, 3, 0);         /* a byte token, an unknown character */
    EXPECT(t, "<s>a", false, true, 1, 9);
    EXPECT(t, "<s>", false, false, 4, 0, 0, 0);    /* as text: no control token comes out of it */
    EXPECT(t, "<u>", false, false, 10);            /* user defined: found always */
    assert_true(tokenizer_is_end(t, 2));
    expect_round_trip(t, "ab a", 4);
    tokenizer_close(t);
}

static void expect_gguf_error(struct gguf_text *g, const char *words) {
    struct tokenizer *t;
    struct error e = {0};
    assert_int_equal(gguf_end(g, &t, &e), ERR_RUN);
    assert_null(t);
    if (!strstr(e.message, words)) {
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
    }
}

static void bad_gguf(void **state) {
    (void)state;
    static const char *const tokens[] = {"a", "b", "a"}, *const merges[] = {"a b"}, *const lonely[] = {"a"};
    struct gguf_text g;
    gguf_begin(&g);
    expect_gguf_error(&g, "tokenizer.ggml.model: \"\" is not known (known: gpt2, llama)");
    gguf_begin(&g);
    key_text(&g, "tokenizer.ggml.model", "bert");
    expect_gguf_error(&g, "\"bert\" is not known");
    gguf_begin(&g);
    key_text(&g, "tokenizer.ggml.model", "gpt2");
    expect_gguf_error(&g, "tokenizer.ggml.pre: missing");
    key_text(&g, "tokenizer.ggml.pre", "gpt-9");
    expect_gguf_error(&g, "\"gpt-9\" is not known (known: default, gpt-2");
    const struct { const char *const *tokens; size_t count; const char *const *merges; const char *words; } rows[] = {
        {tokens, 3, merges, "token \"a\": stands twice, as id 0 and 2"},
        {tokens, 2, merges, "\"a\" + \"b\" is not in the vocabulary"},
        {tokens, 2, lonely, "merge 0 is not a pair"},
        {tokens, 0, merges, "0 tokens"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gguf_begin(&g);
        key_text(&g, "tokenizer.ggml.model", "gpt2");
        key_text(&g, "tokenizer.ggml.pre", "gpt-2");
        key_texts(&g, "tokenizer.ggml.tokens", rows[i].tokens, rows[i].count);
        key_texts(&g, "tokenizer.ggml.merges", rows[i].merges, 1);
        expect_gguf_error(&g, rows[i].words);
    }
    spm_begin(&g, -3);
    expect_gguf_error(&g, "bos_token_id: missing");
    key_u32(&g, "tokenizer.ggml.bos_token_id", SPM_TOKENS);
    expect_gguf_error(&g, "bos_token_id: id 11 (allowed: 0 to 10)");
    spm_begin(&g, (float)NAN);
    expect_gguf_error(&g, "the score of token 7 is not a finite number");
    spm_begin(&g, -3);
    key_floats(&g, "tokenizer.ggml.token_type", (const float[]){1, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1}, SPM_TOKENS);
    expect_gguf_error(&g, "token_type: 7 for token 1 (allowed: 1 to 6)");
    spm_begin(&g, -3);
    key_floats(&g, "tokenizer.ggml.token_type", spm_types, 3);
    expect_gguf_error(&g, "3 entries for 11 tokens");
}

/* ---- bad input ------------------------------------------------------------------------------- */

static void expect_error(const char *json, size_t bytes, const char *words) {
    struct tokenizer *t = (struct tokenizer *)1;
    struct error e = {0};
    assert_int_equal(tokenizer_open_path(write_tokenizer(json, bytes), &t, &e), ERR_RUN);
    assert_null(t);
    if (!strstr(e.message, words) || !strstr(e.message, "tokenizer.json")) {
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
    }
}

#define BPE(vocab, merges) "\"model\": {\"type\": \"BPE\", \"vocab\": {" vocab "}, \"merges\": [" merges "]}"

static void bad_files(void **state) {
    (void)state;
    static const struct { const char *json, *words;
    } rows[] = {
        {"{", "JSON"},
        {"{}", "model: type: \"(none)\" is not known (known: BPE)"},
        {"{\"model\": {\"type\": \"Unigram\"}}", "\"Unigram\" is not known"},
        {"{\"model\": {\"type\": \"WordPiece\"}}", "\"WordPiece\" is not known"},
        {"{" BPE("", "") "}", "model.vocab"},
        {"{" BPE("\"a\": 1, \"b\": 1", "") "}", "id 1: used by two tokens"},
        {"{" BPE("\"a\": 1, \"a\": 2", "") "}", "duplicate"},
        {"{" BPE("\"a\": -1", "") "}", "id -1 (allowed: 0 to"},
        {"{" BPE("\"a\": 2147483648", "") "}", "id 2147483648 (allowed: 0 to"},
        {"{" BPE("\"a\": 1e3", "") "}", "not an integer"},
        {"{" BPE("\"a\": 0, \"b\": 1", "\"a c\"") "}", "merge 0: piece \"c\" is not in the vocabulary"},
        {"{" BPE("\"a\": 0, \"b\": 1", "\"a b\"") "}", "merge 0: \"a\" + \"b\" is not in the vocabulary"},
        {"{" BPE("\"a\": 0", "\"a\"") "}", "merge 0: not a pair"},
        {"{" BPE("\"a\": 0", "[\"a\"]") "}", "merge 0: not a pair"},
        {"{" BPE("\"a\": 0", "7") "}", "merge 0: not a pair"},
        {"{" BPE("\"a\": 0", "") ", \"normalizer\": {\"type\": \"Precompiled\"}}",
         "normalizer: \"Precompiled\" is not known (known: NFC"},
        {"{" BPE("\"a\": 0", "") ", \"normalizer\": {}}", "normalizer"},
        {"{" BPE("\"a\": 0", "") ", \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}}",
         "pre_tokenizer: \"BertPreTokenizer\""},
        {"{" BPE("\"a\": 0", "") ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a\"}, "
                                 "\"behavior\": \"Isolated\"}}",
         "regular expression"},
        {"{" BPE(
             "\"a\": 0",
             "") ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Lost\"}}",
         "\"Lost\" is not known"},
        {"{" BPE("\"a\": 0", "") ", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
                                 "\"ByteLevel\"}, {\"type\": \"Digits\"}]}}",
         "behind ByteLevel"},
        {"{" BPE("\"a\": 0", "") ", \"decoder\": {\"type\": \"CTC\"}}", "decoder: \"CTC\" is not known"},
        {"{" BPE("\"a\": 0", "") ", \"decoder\": {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}}",
         "Strip in front of Fuse"},
        {"{" BPE("\"a\": 0", "") ", \"post_processor\": {\"type\": \"BertProcessing\"}}",
         "post_processor: \"BertProcessing\""},
        {"{" BPE("\"a\": 0", "") ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
                                 "[{\"SpecialToken\": {\"id\": \"x\"}}], \"special_tokens\": {\"x\": {\"ids\": [5]}}}}",
         "id 5 is not in the vocabulary"},
        {"{" BPE("\"a\": 0", "") ", \"added_tokens\": [{\"id\": 4194304, \"content\": \"x\"}]}",
         "id 4194304 (allowed: 0 to 4194303)"},
        {"{" BPE("\"a\": 0", "") ", \"added_tokens\": [{\"id\": 1, \"content\": \"a\"}]}",
         "id 1, but 0 in the vocabulary"},
        {"{" BPE("\"a\": 0", "") ", \"added_tokens\": [{\"id\": 0, \"content\": \"x\"}]}", "used by two tokens"},
        {"{" BPE("\"a\": 0",
                 "") ", \"added_tokens\": [{\"id\": 0, \"content\": \"a\"}, {\"id\": 0, \"content\": \"a\"}]}",
         "stands twice"},
        {"{" BPE("\"a\": 0", "") ", \"added_tokens\": [{\"id\": 0, \"content\": \"a\", \"special\": 1}]}", "special"},
        {"{\"model\": {\"type\": \"BPE\", \"unk_token\": \"u\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "unk_token: \"u\""},
        {"{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "end_of_word_suffix: not supported"},
        {"{\"model\": {\"type\": \"BPE\", \"dropout\": 0.1, \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "dropout: not supported"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_error(rows[i].json, strlen(rows[i].json), rows[i].words);
    }
    static const char not_utf8[] = "{" BPE("\"\xff\": 0", "") "}";
    expect_error(not_utf8, sizeof not_utf8 - 1, "JSON");
    expect_error("[[[[", 4, "JSON");
}

static void bad_texts(void **state) {
    (void)state;
    struct token_list l = {0};
    struct error e = {0};
    struct tokenizer *t = open_text("{" BPE("\"a\": 0, \"c\": 7", "") "}");
    assert_int_equal(tokenizer_encode(t, "ab", 2, false, true, &l, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "no token for the bytes 62"));
    char *text;
    size_t bytes;
    static const int32_t bad[] = {-1, 3, 8, INT32_MAX, INT32_MIN}; /* 3 is a hole */
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(tokenizer_decode(t, &bad[i], 1, false, &text, &bytes, &e), ERR_USAGE);
        assert_non_null(strstr(e.message, "is not in the vocabulary"));
        const char *piece;
        tokenizer_piece(t, bad[i], &piece, &bytes);
        assert_int_equal(bytes, 0);
        assert_false(tokenizer_is_special(t, bad[i]) || tokenizer_is_end(t, bad[i]));
    }
    token_list_clear(&l);
    tokenizer_close(t);
}

/* A pattern that would backtrack for 2^40 steps ends in an error. */
static void catastrophic_pattern(void **state) {
    (void)state;
    struct tokenizer *t =
        open_text("{" BPE("\"a\": 0", "") ", \"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\","
                                          "\"pattern\": {\"Regex\": \"(?:a|a)+$\"}}}");
    struct token_list l = {0};
    struct error e = {0};
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    assert_int_equal(tokenizer_encode(t, text, strlen(text), false, true, &l, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "match limit"));
    token_list_clear(&l);
    tokenizer_close(t);
}

/* Damaged files: an error with a message, or a tokenizer that encodes and decodes without harm. */
static void mutated_json(void **state) {
    (void)state;
    char *texts[2] = {byte_level_json(), mem_strdup(sentencepiece_json)};
    for (int which = 0; which < 2; which++) {
        struct mutation m;
        mutation_init(&m, texts[which], strlen(texts[which]), SIZE_MAX);
        for (uint64_t seed = 0; seed < 1500; seed++) {
            mutation_next(&m, seed);
            struct tokenizer *t;
            struct error e = {0};
            struct token_list l = {0};
            const char *path = write_tokenizer((const char *)m.data, m.bytes);
            if (tokenizer_open_path(path, &t, &e) != OK) {
                assert_true(e.message[0]);
                continue;
            }
            char *text;
            size_t bytes;
            if (tokenizer_encode(t, "abc <x> ab\xff <y> A\xc3\xa4", 18, true, true, &l, &e) == OK) {
                assert_int_equal(tokenizer_decode(t, l.ids, l.count, true, &text, &bytes, &e), OK);
                mem_free(text);
            }
            token_list_clear(&l);
            tokenizer_close(t);
        }
        mutation_free(&m);
        mem_free(texts[which]);
    }
}

static void mutated_gguf(void **state) {
    (void)state;
    struct gguf_text good;
    spm_begin(&good, -3);
    key_floats(&good, "tokenizer.ggml.token_type", spm_types, SPM_TOKENS);
    key_u32(&good, "tokenizer.ggml.bos_token_id", 1);
    memcpy(good.data + 16, &good.keys, 8);
    struct mutation m;
    mutation_init(&m, good.data, good.used, SIZE_MAX);
    for (uint64_t seed = 0; seed < 700; seed++) {
        struct gguf_text bad = {0};
        struct tokenizer *t;
        struct error e = {0};
        struct token_list l = {0};
        mutation_next(&m, seed);
        put_bytes(&bad, m.data, m.bytes);
        if (bad.used >= 24) {
            memcpy(&bad.keys, bad.data + 16, 8);
        }
        if (gguf_end(&bad, &t, &e) != OK) {
            assert_true(e.message[0]);
            continue;
        }
        if (tokenizer_encode(t, "ab <u> A", 8, true, true, &l, &e) == OK) {
            char *text;
            size_t bytes;
            assert_int_equal(tokenizer_decode(t, l.ids, l.count, true, &text, &bytes, &e), OK);
            mem_free(text);
        }
        token_list_clear(&l);
        tokenizer_close(t);
    }
    mutation_free(&m);
}

/* Every allocation of loading and encoding fails once: an error, no leak, no crash. */
static void allocations_fail(void **state) {
    (void)state;
    char *json = mem_strdup(sentencepiece_json);
    const char *path = write_tokenizer(json, strlen(json));
    mem_free(json);
    for (size_t n = 1;; n++) {
        struct tokenizer *t = NULL;
        struct token_list l = {0};
        struct error e = {0};
        mem_fail_at(n);
        enum status s = tokenizer_open_path(path, &t, &e);
        if (s == OK) {
            s = tokenizer_encode(t, "ab a", 4, true, true, &l, &e);
        }
        mem_fail_at(0);
        token_list_clear(&l);
        tokenizer_close(t);
        if (s == OK) {
            assert_in_range(n, 10, 10000);
            return;
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bad_files),
    cmocka_unit_test(bad_texts),
    cmocka_unit_test(catastrophic_pattern),
    cmocka_unit_test(sentencepiece_gguf),
    cmocka_unit_test(bad_gguf),
    cmocka_unit_test(mutated_json),
    cmocka_unit_test(mutated_gguf),
    cmocka_unit_test(allocations_fail),
};
const struct test_suite suite_tokenizer_hostile = {"tokenizer_hostile", tests, sizeof tests / sizeof tests[0]};
