/* Tokenizers: ids against the golden files and the vocabularies of the shared folder, round trips, streaming.
 * Hostile files: test_tokenizer_hostile.c.
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
#include "tests/tokenizer_fixture.h"

/* ---- helpers --------------------------------------------------------------------------------------------- */

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
};
const struct test_suite suite_tokenizer = {"tokenizer", tests, sizeof tests / sizeof tests[0]};
