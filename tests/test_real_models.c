/* Trained models of the shared folder against transformers in fp32 (golden/real, golden/perplexity.json).
 *
 * Tolerances: log-probabilities 1e-3 nats (the golden values have 6 to 9 digits; fp32 sums over 30 layers differ by
 * about 1e-5); top-20 logits 1e-3; greedy ids identical unless the two best logits are closer than 1e-3.
 */
#include "base/io.h"
#include "base/threads.h"
#include "tests/golden.h"

enum { IDS_MAX = 512 };

/* One thread: on a machine that others use, waiting for a second one takes longer than it saves (decode_by_threads
 * covers more). */
struct opened { struct model *model; struct session *session; json_t *golden; int threads_before; };

static struct opened open_real(const char *model, const char *golden_file) {
    struct opened o = {NULL, NULL, NULL, threads_count()};
    threads_set(1);
    o.golden = load_json(golden_path(golden_file));
    o.model = open_model(shared_path(model));
    o.session = new_session(o.model, (struct session_options){.context = 256});
    return o;
}

static void close_real(struct opened *o) {
    threads_set(o->threads_before);
    session_destroy(o->session);
    model_close(o->model);
    json_decref(o->golden);
}

static void check_top20(const float *logits, const json_t *top) {
    assert_int_equal(json_array_size(top), 20);
    for (size_t i = 0; i < 20; i++) {
        const json_t *pair = json_array_get(top, i);
        assert_near(logits[json_integer_value(json_array_get(pair, 0))], json_number_value(json_array_get(pair, 1)),
                    1e-3);
    }
}

/* Continues after the prompt whose last logits are given. */
static void check_continuation(struct opened *o, const json_t *greedy, const float *logits) {
    int32_t expected[IDS_MAX];
    size_t V = model_shape(o->model)->vocabulary;
    uint32_t n = read_ids(json_object_get(greedy, "ids"), expected, IDS_MAX);
    struct error e;
    for (uint32_t i = 0; i < n; i++) {
        double gap;
        int32_t next = greedy_id(logits, V, &gap);
        if (next != expected[i]) {
            if (!(gap < 1e-3)) {
                fail_msg("greedy token %u: got %d, expected %d, gap %g", i, next, expected[i], gap);
            }
            return; /* a tie: from here on the texts may differ */
        }
        must(session_forward(o->session, &next, 1, LOGITS_LAST, &logits, &e), &e);
    }
}

static void check_case(struct opened *o, const json_t *c) {
    int32_t ids[IDS_MAX];
    float log_p[IDS_MAX];
    double largest;
    size_t V = model_shape(o->model)->vocabulary;
    uint32_t n = read_ids(json_object_get(c, "forward_ids"), ids, IDS_MAX);
    const float *logits;
    struct error e;
    session_rewind(o->session, 0);
    must(session_forward(o->session, ids, n, LOGITS_ALL, &logits, &e), &e);
    for (uint32_t t = 0; t + 1 < n; t++) {
        log_p[t] = (float)log_probability(logits + t * V, V, ids[t + 1]);
    }
    const json_t *expected = json_object_get(c, "next_logprob");
    assert_int_equal(json_array_size(expected), n - 1);
    assert_near(worst_difference(log_p, expected, &largest), 0.0, 1e-3);
    check_top20(logits + (n - 1) * V, json_object_get(c, "top20_last"));
    check_continuation(o, json_object_get(c, "greedy32"), logits + (n - 1) * V);
}

static void check_cases(const char *model, const char *golden_file) {
    struct opened o = open_real(model, golden_file);
    const json_t *cases = json_object_get(o.golden, "cases");
    assert_int_equal(json_array_size(cases), 3);
    for (size_t i = 0; i < 3; i++) {
        check_case(&o, json_array_get(cases, i));
    }
    close_real(&o);
}

static void stories260K(void **state) { (void)state; check_cases("models/stories260K", "real/stories260K.json"); }
static void stories15M(void **state) { (void)state; check_cases("models/stories15M", "real/stories15M.json"); }
static void minimind2(void **state) { (void)state; check_cases("models/minimind2-small", "real/minimind2-small.json"); }
static void smollm2(void **state) {
    (void)state;
    check_cases("models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf", "real/smollm2-135m-instruct-q4_1.json");
}

/* ---- perplexity ------------------------------------------------------------------------------- */

static struct perplexity_result perplexity(const char *model, const char *text_path, size_t bytes, uint32_t window,
                                           bool bos) {
    struct model *m = open_model(shared_path(model));
    struct session *s = new_session(m, (struct session_options){.context = window});
    struct perplexity_result r;
    struct error e;
    char *text = NULL;
    size_t count = 0;
    must(read_file(shared_path(text_path), 1 << 24, &text, &count, &e), &e);
    must(eval_perplexity(s, m, text, count,
                         &(struct perplexity_options){.window = window, .bos = bos, .limit_bytes = bytes}, &r, &e),
         &e);
    mem_free(text);
    session_destroy(s);
    model_close(m);
    return r;
}

static double sum_of(const json_t *list, size_t count) {
    double sum = 0.0;
    assert_true(json_array_size(list) >= count);
    for (size_t i = 0; i < count; i++) {
        sum += json_number_value(json_array_get(list, i));
    }
    return sum;
}

/* Bytes of the text that give exactly `tokens` ids without special tokens. */
static size_t bytes_of_tokens(const char *model, const char *text_path, size_t tokens) {
    struct model *m = open_model(shared_path(model));
    struct token_list ids = {NULL, 0, 0};
    struct error e;
    char *text = NULL;
    size_t bytes = 0, decoded;
    must(read_file(shared_path(text_path), 1 << 24, &text, &bytes, &e), &e);
    must(tokenizer_encode(model_tokenizer(m), text, bytes < 30000 ? bytes : 30000, false, false, &ids, &e), &e);
    mem_free(text);
    must(tokenizer_decode(model_tokenizer(m), ids.ids, tokens, false, &text, &decoded, &e), &e);
    mem_free(text);
    token_list_clear(&ids);
    model_close(m);
    return decoded;
}

/* The first windows of a text, cut where they end, against the sums of the golden file: 2e-5 nats per token for
 * fp32. */
static void check_windows(const char *model, const char *text, uint32_t window, bool bos, size_t windows,
                          const json_t *sums) {
    size_t ids = bos ? (size_t)(window - 1) * windows : window;
    struct perplexity_result r = perplexity(model, text, bytes_of_tokens(model, text, ids), window, bos);
    double expected = sum_of(sums, windows);
    assert_int_equal(r.tokens, (window - 1) * windows);
    assert_near(-r.nll_nats * (double)r.tokens, expected, 2e-5 * (double)r.tokens);
    assert_near(r.perplexity, exp(-expected / (double)r.tokens), 1e-4 * r.perplexity);
    assert_near(r.bits_per_byte, -expected / log(2.0) / (double)r.bytes, 1e-4 * r.bits_per_byte);
}

static const char tinystories[] = "eval/tinystories/stories_197K.txt", wikitext[] = "eval/wikitext-2/wiki.test.raw";

static void stories260K_windows(void **state) {
    (void)state;
    json_t *g = load_json(golden_path("real/stories260K.json"));
    check_windows("models/stories260K", tinystories, 256, true, 8,
                  json_object_get(json_object_get(g, "tinystories"), "sum_logprob"));
    json_decref(g);
}

static void stories15M_windows(void **state) {
    (void)state;
    json_t *g = load_json(golden_path("real/stories15M.json"));
    const json_t *sums = json_object_get(json_object_get(g, "tinystories"), "sum_logprob");
    check_windows("models/stories15M", tinystories, 256, true, 4, sums);
    json_decref(g);
}

static void minimind2_windows(void **state) {
    (void)state;
    json_t *g = load_json(golden_path("perplexity.json"));
    const char *model = "models/minimind2-small";
    check_windows(model, wikitext, 256, true, 2, json_object_get(g, "sum_logprob"));
    check_windows(model, wikitext, 512, true, 1, json_object_get(json_object_get(g, "window_512"), "sum_logprob"));
    json_t *without = json_pack("[O]", json_object_get(json_object_get(g, "first_window_without_bos"), "sum_logprob"));
    check_windows(model, wikitext, 256, false, 1, without);
    json_decref(without);
    json_decref(g);
}

/* Which tokens count: by numbers, on the smallest model. */
static void windows_are_counted(void **state) {
    (void)state;
    const char *model = "models/stories260K";
    size_t bytes = bytes_of_tokens(model, tinystories, 100);
    assert_int_equal(perplexity(model, tinystories, bytes, 256, true).tokens, 100);  /* one partial window */
    assert_int_equal(perplexity(model, tinystories, bytes, 256, false).tokens, 99);
    assert_int_equal(perplexity(model, tinystories, bytes, 31, true).tokens, 100);   /* 30 30 30 10 */
    assert_int_equal(perplexity(model, tinystories, bytes, 31, false).tokens,
                     99); /* 30 30 30 9: windows overlap by one id */
    assert_int_equal(perplexity(model, tinystories, bytes, 34, false).tokens,
                     99); /* 33 33 33: the last window ends exactly */
    assert_int_equal(perplexity(model, tinystories, bytes, 2, true).tokens, 100);
    assert_int_equal(perplexity(model, tinystories, bytes, 31, true).bytes, bytes);
}

static void perplexity_refuses(void **state) {
    (void)state;
    struct model *m = open_model(shared_path("models/stories260K"));
    struct session *s = new_session(m, (struct session_options){.context = 16});
    struct perplexity_result r;
    struct error e;
    assert_int_equal(eval_perplexity(s, m, "Once", 4, &(struct perplexity_options){.window = 17, .bos = true}, &r, &e),
                     ERR_USAGE);
    assert_non_null(strstr(e.message, "2 to 16"));
    assert_int_equal(eval_perplexity(s, m, "Once", 4, &(struct perplexity_options){.window = 1, .bos = true}, &r, &e),
                     ERR_USAGE);
    assert_int_equal(eval_perplexity(s, m, "", 0, &(struct perplexity_options){.window = 8, .bos = true}, &r, &e),
                     ERR_RUN);
    assert_non_null(strstr(e.message, "too short"));
    session_destroy(s);
    model_close(m);
}

/* Decode by threads: the head alone is large enough to be shared out. */
static void decode_by_threads(void **state) {
    (void)state;
    struct model *m = open_model(shared_path("models/stories15M"));
    size_t V = model_shape(m)->vocabulary;
    float *one = mem_alloc(V, sizeof *one);
    int before = threads_count();
    static const int counts[] = {1, 2, 7};
    for (size_t i = 0; i < 3; i++) {
        const int32_t ids[] = {1, 9038, 2501, 263, 931};
        const float *logits = NULL;
        struct error e;
        threads_set(counts[i]);
        struct session *s = new_session(m, (struct session_options){.context = 8});
        for (size_t t = 0; t < 5; t++) {
            must(session_forward(s, &ids[t], 1, LOGITS_LAST, &logits, &e), &e);
        }
        if (i == 0) {
            memcpy(one, logits, V * sizeof *one);
        }
        assert_memory_equal(logits, one, V * sizeof *one);
        session_destroy(s);
    }
    threads_set(before);
    mem_free(one);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(stories260K), cmocka_unit_test(stories15M), cmocka_unit_test(minimind2), cmocka_unit_test(smollm2),
    cmocka_unit_test(stories260K_windows), cmocka_unit_test(stories15M_windows), cmocka_unit_test(minimind2_windows),
    cmocka_unit_test(windows_are_counted),
    cmocka_unit_test(perplexity_refuses), cmocka_unit_test(decode_by_threads),
};

const struct test_suite suite_real_models = {"real_models", tests, sizeof tests / sizeof tests[0]};
