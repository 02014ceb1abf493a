/* Models that are written: every family and both kinds of files, read back with the same values; parts replaced; what
 * stands in a folder already; a full disk.
 */
#include <unistd.h>

#include "base/io.h"
#include "base/random.h"
#include "models/write_parts.h"
#include "tests/golden.h"

enum { TOKENS = 24 };

/* FOLDER/name; one of four static buffers. */
static const char *inside(const char *folder, const char *name) {
    static char paths[4][1200];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_folder(const struct model *m, const struct model_changes *c, const char *path) {
    struct error e = {0};
    must(model_write_folder(m, c, path, &e), &e);
}

static void logits_of(const struct model *m, float *out) {
    struct session *s = new_session(m, (struct session_options){.context = TOKENS, .max_batch = TOKENS});
    int32_t ids[TOKENS];
    const float *logits = NULL;
    struct error e = {0};
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = (int32_t)((i * 37 + 11) % (int)model_shape(m)->vocabulary);
    }
    must(session_forward(s, ids, TOKENS, LOGITS_LAST, &logits, &e), &e);
    memcpy(out, logits, model_shape(m)->vocabulary * sizeof *out);
    session_destroy(s);
}

/* Largest difference of the logits of two models. */
static double difference(const struct model *a, const struct model *b) {
    size_t n = model_shape(a)->vocabulary;
    assert_int_equal(model_shape(b)->vocabulary, n);
    float *x = mem_alloc(n, sizeof *x), *y = mem_alloc(n, sizeof *y);
    double worst = 0.0;
    logits_of(a, x);
    logits_of(b, y);
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    }
    mem_free(x);
    mem_free(y);
    return worst;
}

/* ---- round trips -------------------------------------------------------------------------------- */

/* In fp32 nothing changes, so neither does a bit of the logits; but for rows that are put in another order, which
 * changes the order of the sums of q.k: 1e-5 is 20 times what was seen, and far below what a wrong row does (> 0.1). */
static void check_folder(const char *path, double tolerance) {
    struct model *m = open_model(golden_path(path));
    const char *out = scratch_directory();
    write_folder(m, &(struct model_changes){0}, out);
    struct model *back = open_model(out);
    assert_string_equal(model_shape(back)->family, model_shape(m)->family);
    assert_int_equal(model_shape(back)->tied_head, model_shape(m)->tied_head);
    assert_int_equal(model_shape(back)->parameters, model_shape(m)->parameters);
    assert_near(difference(m, back), 0.0, tolerance);
    model_close(back);
    model_close(m);
}

static void folders_of_every_family(void **state) {
    (void)state;
    static const char *const paths[] = {
        "models/gemma2-tiny", "models/gpt2-tiny", "models/llama-untied-tiny", "models/llama3-tiny",
        "models/mistral-tiny", "models/phi3-tiny", "models/phi3-longrope-tiny", "models/qwen2-tiny",
        "models/qwen3-tiny"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        check_folder(paths[i], 0.0);
    }
    check_folder("gguf/qwen2-tiny-f16.gguf", 0.0);
    check_folder("gguf/llama3-tiny-mixed.gguf", 1e-5);
}

/* ---- tokenizers --------------------------------------------------------------------------------- */

static void write_json(json_t *document, const char *path) {
    assert_non_null(document);
    assert_int_equal(json_dump_file(document, path, 0), 0);
    json_decref(document);
}

/* The same ids, with and without special tokens, and the same text back. */
static void expect_same(const struct tokenizer *a, const struct tokenizer *b, const char *text, size_t bytes) {
    struct error e = {0};
    for (int special = 0; special < 2; special++) {
        struct token_list x = {0}, y = {0};
        char *back = NULL, *expected = NULL;
        size_t back_bytes, expected_bytes;
        must(tokenizer_encode(a, text, bytes, special, true, &x, &e), &e);
        must(tokenizer_encode(b, text, bytes, special, true, &y, &e), &e);
        assert_int_equal(x.count, y.count);
        for (size_t i = 0; i < x.count; i++) {
            assert_int_equal(x.ids[i], y.ids[i]);
        }
        must(tokenizer_decode(a, x.ids, x.count, true, &expected, &expected_bytes, &e), &e);
        must(tokenizer_decode(b, y.ids, y.count, true, &back, &back_bytes, &e), &e);
        assert_int_equal(back_bytes, expected_bytes);
        assert_memory_equal(back, expected, back_bytes);
        mem_free(back);
        mem_free(expected);
        token_list_clear(&x);
        token_list_clear(&y);
    }
}

static void expect_same_tokens(const struct tokenizer *a, const struct tokenizer *b) {
    assert_int_equal(tokenizer_size(a), tokenizer_size(b));
    assert_int_equal(tokenizer_bos(a), tokenizer_bos(b));
    assert_int_equal(tokenizer_adds_bos(a), tokenizer_adds_bos(b));
    const char *x = tokenizer_chat_template(a), *y = tokenizer_chat_template(b);
    assert_true(x ? y && strcmp(x, y) == 0 : !y);
    for (int32_t id = 0; (size_t)id < tokenizer_size(a); id++) {
        const char *p, *q;
        size_t n, k;
        tokenizer_piece(a, id, &p, &n);
        tokenizer_piece(b, id, &q, &k);
        assert_int_equal(n, k);
        assert_memory_equal(p, q, n);
        assert_int_equal(tokenizer_is_special(a, id), tokenizer_is_special(b, id));
        assert_int_equal(tokenizer_is_end(a, id), tokenizer_is_end(b, id));
    }
}

/* The tokenizer of a GGUF file, and what comes back from the files written of it. */
struct pair {
    struct model model; /* no more of it than weights and tokenizer */
    struct tokenizer *back;
};

static struct pair open_pair(const char *gguf) {
    const char *folder = scratch_directory();
    struct pair p = {0};
    struct error e = {0};
    json_t *document = NULL;
    must(weights_open(gguf, &p.model.weights, &e), &e);
    must(tokenizer_open(p.model.weights, &p.model.tokenizer, &e), &e);
    must(tokenizer_make_json(&p.model, &document, &e), &e);
    write_json(document, inside(folder, "tokenizer.json"));
    must(tokenizer_make_config(&p.model, &document, &e), &e);
    write_json(document, inside(folder, "tokenizer_config.json"));
    must(tokenizer_open_path(folder, &p.back, &e), &e);
    expect_same_tokens(p.model.tokenizer, p.back);
    return p;
}

static void close_pair(struct pair *p) {
    tokenizer_close(p->back);
    tokenizer_close(p->model.tokenizer);
    weights_close(p->model.weights);
}

/* The vocabularies of llama.cpp with their 46 texts. test_tokenizer.c holds the originals against the goldens. */
static void check_vocabulary(const char *name) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[128], *texts;
    size_t bytes;
    int cases = 0;
    struct error e = {0};
    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf", name);
    struct pair p = open_pair(shared_path(path));
    strcat(path, ".inp");
    must(read_file(shared_path(path), 1 << 20, &texts, &bytes, &e), &e);
    for (char *text = texts, *end; (end = strstr(text, mark)); text = end + strlen(mark), cases++) {
        expect_same(p.model.tokenizer, p.back, text, (size_t)(end - text));
    }
    assert_int_equal(cases, 46);
    mem_free(texts);
    close_pair(&p);
}

static void vocabulary_smollm2(void **state) {
    (void)state;
    json_t *golden = load_json(golden_path("real/smollm2-135m-instruct-q4_1.json"));
    struct pair p = open_pair(shared_path("models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"));
    const json_t *cases = json_object_get(golden, "tokenizer_cases");
    assert_in_range(json_array_size(cases), 4, 100);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(cases, i), "text"));
        expect_same(p.model.tokenizer, p.back, text, strlen(text));
    }
    close_pair(&p);
    json_decref(golden);
}

static void vocabulary_gpt2(void **state) { (void)state; check_vocabulary("gpt-2"); }
static void vocabulary_llama_bpe(void **state) { (void)state; check_vocabulary("llama-bpe"); }
static void vocabulary_qwen2(void **state) { (void)state; check_vocabulary("qwen2"); }
static void vocabulary_llama_spm(void **state) { (void)state; check_vocabulary("llama-spm"); }
static void vocabulary_phi3(void **state) { (void)state; check_vocabulary("phi-3"); }

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(vocabulary_gpt2),
    cmocka_unit_test(vocabulary_llama_bpe),
    cmocka_unit_test(vocabulary_qwen2),
    cmocka_unit_test(vocabulary_llama_spm),
    cmocka_unit_test(vocabulary_phi3),
    cmocka_unit_test(vocabulary_smollm2),
    cmocka_unit_test(folders_of_every_family),
};
const struct test_suite suite_write = {"write", tests, sizeof tests / sizeof tests[0]};
