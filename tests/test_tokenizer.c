/* Tokenizers: ids against the golden files and the vocabularies of the shared folder, round trips, streaming, hostile
 * files.
 *
 * Goldens: the Hugging Face tokenizers library on the same files (golden/README.md); the .out files beside the GGUF
 * vocabularies come from llama.cpp. Ids are compared exactly. The small vocabularies below need no shared folder: what
 * their texts must become is worked out by hand.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "models/tokenizer_parts.h"
#include "tests/mutate.h"
#include "tests/suite.h"

/* ---- helpers --------------------------------------------------------------------------------------------- */

static struct tokenizer *open_tokenizer(const char *path) {
    struct tokenizer *t = NULL;
    struct error e = {0};
    if (tokenizer_open_path(path, &t, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return t;
}

static struct token_list encode(const struct tokenizer *t, const char *text, size_t bytes, bool add_special) {
    struct token_list l = {0};
    struct error e = {0};
    if (tokenizer_encode(t, text, bytes, add_special, true, &l, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return l;
}

static void expect_ids(const struct tokenizer *t, const char *text, bool add_special, const json_t *ids) {
    struct token_list l = encode(t, text, strlen(text), add_special);
    for (size_t i = 0; i < l.count || i < json_array_size(ids); i++) {
        long long expected = json_integer_value(json_array_get(ids, i)), found = i < l.count ? l.ids[i] : -1;
        if (expected != found || i >= json_array_size(ids)) {
            fail_msg("\"%s\": id %zu is %lld, expected %lld", text, i, found, expected);
        }
    }
    token_list_clear(&l);
}

static void expect_round_trip(const struct tokenizer *t, const char *text, size_t bytes) {
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

/* ---- goldens ----------------------------------------------------------------------------------------------- */

static size_t check_cases(const struct tokenizer *t, const json_t *golden, const char *list) {
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(golden, list), i, row) {
        const char *text = json_string_value(json_object_get(row, "text"));
        expect_ids(t, text, false, json_object_get(row, "ids_without_special"));
        if (json_object_get(row, "ids_with_special")) {
            expect_ids(t, text, true, json_object_get(row, "ids_with_special"));
        }
        expect_round_trip(t, text, strlen(text));
    }
    return json_array_size(json_object_get(golden, list));
}

static void check_golden_with(const char *golden, struct tokenizer *t) {
    json_t *root;
    struct error e;
    assert_int_equal(json_load_checked(golden_path(golden), 1 << 24, &root, &e), OK);
    assert_in_range(check_cases(t, root, "tokenizer_cases"), 4, 100);
    check_cases(t, root, "cases");
    const json_t *chat = json_object_get(root, "chat");
    if (chat && !json_is_null(chat)) {
        expect_ids(t, json_string_value(json_object_get(chat, "text")), false, json_object_get(chat, "ids"));
    }
    tokenizer_close(t);
    json_decref(root);
}

static void check_golden(const char *golden, const char *model) {
    golden_path(golden);
    check_golden_with(golden, open_tokenizer(shared_path(model)));
}

static void golden_stories15m(void **state) { (void)state; check_golden("real/stories15M.json", "models/stories15M"); }
static void golden_stories260k(void **state) {
    (void)state;
    check_golden("real/stories260K.json", "models/stories260K");
}
static void golden_minimind2(void **state) {
    (void)state;
    check_golden("real/minimind2-small.json", "models/minimind2-small");
}

static void golden_smollm2(void **state) {
    (void)state;
    check_golden("real/smollm2-135m-instruct-q4_1.json",
                 "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    check_golden("real/smollm2-135m-instruct-q4_1.json", "tokenizers/smollm");
}

static void golden_tiny(void **state) {
    (void)state;
    check_golden_with("gguf/llama3-tiny-mixed.json", open_tokenizer(golden_path("gguf/llama3-tiny-mixed.gguf")));
    check_golden_with("gguf/llama3-tiny-mixed.json",
                      open_tokenizer(golden_path("gguf/llama3-tiny-mixed.tokenizer.json")));
    check_golden_with("gguf/qwen2-tiny-f16.json", open_tokenizer(golden_path("gguf/qwen2-tiny-f16.gguf")));
    check_golden_with("gguf/qwen2-tiny-f16.json", open_tokenizer(golden_path("gguf/qwen2-tiny-f16.tokenizer.json")));
}

/* One line of the .out file against one case of the .inp file. */
static void expect_line(const struct tokenizer *t, const char *text, size_t bytes, char *line) {
    struct token_list l = encode(t, text, bytes, false);
    size_t i = 0;
    for (char *word = strtok(line, " \r"); word; word = strtok(NULL, " \r"), i++) {
        assert_in_range(i + 1, 1, l.count);
        assert_int_equal(l.ids[i], atoi(word));
    }
    assert_int_equal(i, l.count);
    token_list_clear(&l);
}

static int check_lines(const struct tokenizer *t, const char *vocabulary) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char name[128], *in, *out;
    size_t in_bytes, out_bytes;
    struct error e;
    snprintf(name, sizeof name, "tokenizers/ggml-vocab-%s.gguf.inp", vocabulary);
    assert_int_equal(read_file(shared_path(name), 1 << 20, &in, &in_bytes, &e), OK);
    snprintf(name, sizeof name, "tokenizers/ggml-vocab-%s.gguf.out", vocabulary);
    assert_int_equal(read_file(shared_path(name), 1 << 20, &out, &out_bytes, &e), OK);
    int cases = 0;
    char *line = out;
    for (char *text = in; text && *line; cases++) {
        char *end = strstr(text, mark), *line_end = line + strcspn(line, "\n");
        char *next = *line_end ? line_end + 1 : line_end;
        *line_end = 0;
        expect_line(t, text, end ? (size_t)(end - text) : strlen(text), line);
        line = next;
        text = end ? end + strlen(mark) : NULL;
    }
    mem_free(in);
    mem_free(out);
    return cases;
}

/* The GGUF vocabulary and, where there is one, the tokenizer.json of the same model. */
static void check_vocabulary(const char *vocabulary, const char *folder) {
    char name[128];
    snprintf(name, sizeof name, "tokenizers/ggml-vocab-%s.gguf", vocabulary);
    struct tokenizer *t = open_tokenizer(shared_path(name));
    assert_int_equal(check_lines(t, vocabulary), 46);
    tokenizer_close(t);
    if (folder) {
        t = open_tokenizer(shared_path(folder));
        assert_int_equal(check_lines(t, vocabulary), 46);
        tokenizer_close(t);
    }
}

static void vocabulary_gpt2(void **state) { (void)state; check_vocabulary("gpt-2", "tokenizers/gpt2"); }
static void vocabulary_llama_bpe(void **state) { (void)state; check_vocabulary("llama-bpe", "tokenizers/llama3"); }
static void vocabulary_qwen2(void **state) { (void)state; check_vocabulary("qwen2", "tokenizers/qwen2"); }
static void vocabulary_llama_spm(void **state) { (void)state; check_vocabulary("llama-spm", NULL); }
static void vocabulary_phi3(void **state) { (void)state; check_vocabulary("phi-3", NULL); }

/* ---- small vocabularies of our own ----------------------------------------------------------- */

static const char *write_text(const char *text, size_t bytes) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch_directory());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    return path;
}

static struct tokenizer *open_text(const char *text) { return open_tokenizer(write_text(text, strlen(text))); }

/* Byte-level: ids 0 to 255 are the bytes, 256 "ab", 257 "abc", 258 a control token, 259 one that swallows space, 260
 * one for whole words. */
static char *byte_level_json(void) {
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

static struct tokenizer *open_byte_level(void) {
    char *text = byte_level_json();
    struct tokenizer *t = open_text(text);
    mem_free(text);
    return t;
}

static void expect_list(const struct tokenizer *t, const char *text, bool add, bool parse, const int32_t *ids,
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

static void byte_level(void **state) {
    (void)state;
    struct tokenizer *t = open_byte_level();
    EXPECT(t, "abcab", false, true, 257, 256);
    EXPECT(t, "a b", false, true, 'a', ' ', 'b');            /* a merge does not cross a word */
    EXPECT(t, "ab", true, true, 258, 256, 258);              /* begin and end */
    EXPECT(t, "<x>", false, true, 258);
    EXPECT(t, "<x>", false, false, '<', 'x', '>');           /* parse_special off: text */
    EXPECT(t, "a  <y>\n b", false, true, 'a', 259, 'b');     /* takes the white space around it along */
    EXPECT(t, "a <y>", false, false, 'a', 259);              /* no control token: found all the same */
    EXPECT(t, "cab ", false, true, 260, ' ');
    EXPECT(t, "cabs", false, true, 'c', 256, 's');           /* not a word of its own */
    EXPECT(t, "", true, true, 258, 258);
    assert_int_equal(tokenizer_size(t), 261);
    assert_int_equal(tokenizer_bos(t), 258);
    assert_true(tokenizer_adds_bos(t));
    assert_true(tokenizer_is_special(t, 258));
    assert_false(tokenizer_is_special(t, 259));
    assert_int_equal(tokenizer_find(t, "<y>"), 259);
    assert_int_equal(tokenizer_find(t, "nothing"), -1);
    tokenizer_close(t);
}

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

static void sentencepiece(void **state) {
    (void)state;
    struct tokenizer *t = open_text(sentencepiece_json);
    EXPECT(t, "ab a", false, true, 7, 6, 7);
    EXPECT(t, "bab", false, true, 4, 6, 8);
    EXPECT(t, "\xc3\xa4", false, true, 4, 2, 3);     /* byte tokens */
    EXPECT(t, "xyb", false, true, 4, 0, 6);          /* unknown characters, fused */
    EXPECT(t, "<s>b", false, true, 9, 6);            /* written as U+2581<s> after normalisation */
    EXPECT(t, "b<s>", false, true, 4, 6, 0);         /* so it is not found inside a text (the library does the same) */
    EXPECT(t, "A\xc3" "b", false, true, 4, 1, 2, 6); /* an invalid byte; no second space behind it */
    expect_round_trip(t, "A\xc3" "b a ", 6);
    char *text;
    size_t bytes;
    struct error e;
    assert_int_equal(tokenizer_decode(t, (const int32_t[]){9, 7, 4, 6}, 4, true, &text, &bytes, &e), OK);
    assert_string_equal(text, "a b");
    mem_free(text);
    struct token_stream fresh = {0}, going_on = {.started = true};
    char out[16];
    assert_int_equal(tokenizer_stream(t, &fresh, 7, true, out, sizeof out),
                     1); /* "a": the space in front is not the text's */
    assert_int_equal(tokenizer_stream(t, &fresh, 7, true, out, sizeof out), 2);    /* " a" */
    assert_int_equal(tokenizer_stream(t, &going_on, 7, true, out, sizeof out), 2);
    assert_int_equal(tokenizer_stream(t, &going_on, 9, true, out, sizeof out), 0); /* control token */
    tokenizer_close(t);
}

/* One step in front of the words each: text in, text out, over the byte-level vocabulary. */
static void normalisers(void **state) {
    (void)state;
    static const struct { const char *step, *in, *out;
    } rows[] = {
        {"{\"type\": \"NFC\"}", "e\xcc\x81", "\xc3\xa9"},
        {"{\"type\": \"NFD\"}", "\xc3\xa9", "e\xcc\x81"},
        {"{\"type\": \"NFKC\"}", "\xef\xac\x81", "fi"},
        {"{\"type\": \"NFKD\"}", "\xc2\xbd",
         "1\xe2\x81\x84"
         "2"},
        {"{\"type\": \"Lowercase\"}", "A\xc3\x84\xc4\xb0", "a\xc3\xa4i\xcc\x87"},
        {"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\": \"StripAccents\"}]}", "\xc3\xa9t",
         "et"},
        {"{\"type\": \"Prepend\", \"prepend\": \"> \"}", "x", "> x"},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \"_\"}", "a \n b", "a_b"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"a.\"}, \"content\": \"\"}", "aba.", "ab"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = byte_level_json(), *all = mem_alloc(1, 20000);
        sprintf(all, "{\"normalizer\": %s, %s", rows[i].step, text + 1);
        struct tokenizer *t = open_text(all);
        struct token_list l = encode(t, rows[i].in, strlen(rows[i].in), false);
        char *back;
        size_t bytes;
        struct error e;
        assert_int_equal(tokenizer_decode(t, l.ids, l.count, false, &back, &bytes, &e), OK);
        assert_string_equal(back, rows[i].out);
        mem_free(back);
        token_list_clear(&l);
        tokenizer_close(t);
        mem_free(all);
        mem_free(text);
    }
}

/* Words of "it's 12\xc2\xa0x  y" by several pre-tokenisers, joined with |. */
static void pretokenisers(void **state) {
    (void)state;
    static const struct { const char *step, *in, *words;
    } rows[] = {
        {"{\"type\": \"ByteLevel\", \"add_prefix_space\": false}", "it's 12  x", "it|'s| 12| | x"},
        {"{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", "it", " it"},
        {"{\"type\": \"Digits\", \"individual_digits\": true}", "a12b", "a|1|2|b"},
        {"{\"type\": \"Digits\", \"individual_digits\": false}", "a12b", "a|12|b"},
        {"{\"type\": \"Punctuation\"}", "a,.b", "a|,|.|b"},
        {"{\"type\": \"Whitespace\"}", "a,. b", "a|,.|b"},
        {"{\"type\": \"WhitespaceSplit\"}", " a,  b", "a,|b"},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"Removed\"}", "a--b", "a|b"},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"Isolated\"}", "a--b", "a|-|-|b"},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"MergedWithPrevious\"}", "a--b",
         "a-|-|b"},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"MergedWithNext\"}", "a--b", "a|-|-b"},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"Contiguous\"}", "a--b", "a|--|b"},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-z]+\"}, \"behavior\": \"Removed\", \"invert\": true}",
         "a1b", "a|b"},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\"}, \"behavior\": \"Isolated\"}", "ab", "a|b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"first\"}", "a b", "_a|_b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"never\", \"split\": false}", "a b",
         "a_b"},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\s\"}, \"behavior\": \"Removed\"}",
         "a\xe1\xa0\x8e"
         "b\xe2\x80\x83"
         "c",
         "a\xe1\xa0\x8e"
         "b|c"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1024], found[256] = "";
        snprintf(json, sizeof json,
                 "{\"pre_tokenizer\": %s, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
                 rows[i].step);
        struct tokenizer *t = open_text(json);
        struct scratch s;
        struct error e;
        const char *text;
        const struct range_list *words;
        assert_int_equal(scratch_open(&s, &e), OK);
        assert_int_equal(pretokenise(t, &s, rows[i].in, strlen(rows[i].in), true, true, &text, &words, &e), OK);
        for (size_t k = 0; k < words->count; k++) {
            strcat(found, k ? "|" : "");
            strncat(found, text + words->at[k].start, words->at[k].end - words->at[k].start);
        }
        assert_string_equal(found, rows[i].words);
        scratch_close(&s);
        tokenizer_close(t);
    }
}

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

/* ---- properties ------------------------------------------------------------------------------ */

/* Random text: ASCII, white space, characters of all planes; with `invalid`, random bytes too. U+2581 comes back as a
 * space and is left out. */
static size_t random_text(uint64_t stream, bool invalid, char *out) {
    size_t used = 0, characters = (size_t)(random_uniform(1, random_stream(RANDOM_TEST, stream), 0) * 60);
    for (size_t i = 1; i <= characters; i++) {
        double kind = random_uniform(1, random_stream(RANDOM_TEST, stream), 2 * i);
        double u = random_uniform(1, random_stream(RANDOM_TEST, stream), 2 * i + 1);
        unsigned point = kind < 0.4   ? 32 + (unsigned)(u * 95)
                         : kind < 0.5 ? (unsigned)(u * 33)
                         : kind < 0.7 ? 0xa0 + (unsigned)(u * 0x2f00)
                                      : 0x3000 + (unsigned)(u * 0x10d000);
        if (invalid && kind > 0.8) {
            out[used++] = (char)(unsigned)(u * 256);
        } else if (point < 0x80) {
            out[used++] = (char)point;
        } else if (point < 0x800) {
            out[used++] = (char)(0xc0 | point >> 6);
            out[used++] = (char)(0x80 | (point & 63));
        } else if (point < 0x10000 && point != 0x2581 && (point < 0xd800 || point > 0xdfff)) {
            out[used++] = (char)(0xe0 | point >> 12);
            out[used++] = (char)(0x80 | (point >> 6 & 63));
            out[used++] = (char)(0x80 | (point & 63));
        } else if (point >= 0x10000) {
            out[used++] = (char)(0xf0 | point >> 18);
            out[used++] = (char)(0x80 | (point >> 12 & 63));
            out[used++] = (char)(0x80 | (point >> 6 & 63));
            out[used++] = (char)(0x80 | (point & 63));
        }
    }
    return used;
}

static void check_round_trips(struct tokenizer *t) {
    char text[512];
    for (uint64_t i = 0; i < 600; i++) {
        size_t bytes = random_text(i, i & 1, text);
        expect_round_trip(t, text, bytes);
    }
    expect_round_trip(t, "a\0b\0", 4);
    expect_round_trip(t, "\xff\xfe\xc0\x80\xed\xa0\x80 x", 9); /* never in UTF-8, overlong, surrogate */
    tokenizer_close(t);
}

static void round_trip_bytes(void **state) { (void)state; check_round_trips(open_byte_level()); }
static void round_trip_bundled(void **state) {
    (void)state;
    check_round_trips(open_tokenizer("models/stories"));
}
static void round_trip_gpt2(void **state) {
    (void)state;
    check_round_trips(open_tokenizer(shared_path("tokenizers/ggml-vocab-gpt-2.gguf")));
}
static void round_trip_spm(void **state) {
    (void)state;
    check_round_trips(open_tokenizer(shared_path("tokenizers/ggml-vocab-llama-spm.gguf")));
}
static void round_trip_stories(void **state) {
    (void)state;
    check_round_trips(open_tokenizer(shared_path("models/stories15M")));
}

/* Streaming gives the same text, and every portion but the last holds whole characters. */
static void streaming(void **state) {
    (void)state;
    struct tokenizer *t = open_tokenizer(shared_path("models/stories15M"));
    static const char text[] = "Hello \xf0\x9f\x98\x80 w\xc3\xb6rld \xe4\xbd\xa0";
    struct token_list l = encode(t, text, strlen(text), true);
    struct token_stream s = {0};
    char out[256], portion[128];
    size_t used = 0, room = tokenizer_longest_piece(t) + 4;
    assert_in_range(room, 5, sizeof portion);
    for (size_t i = 0; i < l.count; i++) {
        size_t count = tokenizer_stream(t, &s, l.ids[i], true, portion, room), at = 0;
        while (at < count) {
            size_t length = utf8_length(portion + at, count - at);
            assert_in_range(length, 1, 4);
            at += length;
        }
        memcpy(out + used, portion, count);
        used += count;
    }
    assert_int_equal(used, strlen(text));
    assert_memory_equal(out, text, used);
    int32_t lead = tokenizer_find(t, "<0xF0>");
    assert_int_equal(tokenizer_stream(t, &s, lead, true, portion, room), 0);
    assert_int_equal(tokenizer_stream(t, &s, tokenizer_find(t, "a"), true, portion, room),
                     2); /* the unfinished byte goes first */
    assert_int_equal(tokenizer_stream(t, &s, lead, true, portion, room), 0);
    assert_int_equal(tokenizer_stream_end(&s, portion, room), 1);
    token_list_clear(&l);
    tokenizer_close(t);
}

static void ends_and_config(void **state) {
    (void)state;
    struct tokenizer *t = open_tokenizer(shared_path("models/minimind2-small"));
    assert_int_equal(tokenizer_bos(t), 1);
    assert_false(tokenizer_adds_bos(t));
    assert_true(tokenizer_is_end(t, 2));
    assert_true(tokenizer_is_end(t, 0));
    assert_false(tokenizer_is_end(t, 1));
    assert_false(tokenizer_is_end(t, 100));
    assert_non_null(tokenizer_chat_template(t));
    tokenizer_close(t);
}

/* Time grows with n log n: a million equal bytes in one word take well under the minute that n^2 would. */
static void long_word(void **state) {
    (void)state;
    enum { BYTES = 1000000 };
    struct tokenizer *t = open_byte_level();
    char *text = mem_alloc(1, BYTES);
    memset(text, 'a', BYTES);
    for (size_t i = 1; i < BYTES; i += 2) {
        text[i] = 'b';
    }
    struct token_list l = encode(t, text, BYTES, false);
    assert_int_equal(l.count, BYTES / 2);
    token_list_clear(&l);
    mem_free(text);
    tokenizer_close(t);
}

/* ---- bad input ------------------------------------------------------------------------------- */

static void expect_error(const char *json, size_t bytes, const char *words) {
    struct tokenizer *t = (struct tokenizer *)1;
    struct error e = {0};
    assert_int_equal(tokenizer_open_path(write_text(json, bytes), &t, &e), ERR_RUN);
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
            const char *path = write_text((const char *)m.data, m.bytes);
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
    const char *path = write_text(json, strlen(json));
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
    cmocka_unit_test(golden_stories15m),
    cmocka_unit_test(golden_stories260k),
    cmocka_unit_test(golden_minimind2),
    cmocka_unit_test(golden_smollm2),
    cmocka_unit_test(golden_tiny),
    cmocka_unit_test(vocabulary_gpt2),
    cmocka_unit_test(vocabulary_llama_bpe),
    cmocka_unit_test(vocabulary_qwen2),
    cmocka_unit_test(vocabulary_llama_spm),
    cmocka_unit_test(vocabulary_phi3),
    cmocka_unit_test(byte_level),
    cmocka_unit_test(sentencepiece),
    cmocka_unit_test(normalisers),
    cmocka_unit_test(pretokenisers),
    cmocka_unit_test(round_trip_bytes),
    cmocka_unit_test(round_trip_bundled),
    cmocka_unit_test(round_trip_gpt2),
    cmocka_unit_test(round_trip_spm),
    cmocka_unit_test(round_trip_stories),
    cmocka_unit_test(streaming),
    cmocka_unit_test(ends_and_config),
    cmocka_unit_test(long_word),
    cmocka_unit_test(bad_files),
    cmocka_unit_test(bad_texts),
    cmocka_unit_test(catastrophic_pattern),
    cmocka_unit_test(sentencepiece_gguf),
    cmocka_unit_test(bad_gguf),
    cmocka_unit_test(mutated_json),
    cmocka_unit_test(mutated_gguf),
    cmocka_unit_test(allocations_fail),
};
const struct test_suite suite_tokenizer = {"tokenizer", tests, sizeof tests / sizeof tests[0]};
