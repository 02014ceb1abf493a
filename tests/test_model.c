/* Models against golden values: logits, log-probabilities, every layer's hidden state and greedy text of all families,
 * from safetensors and GGUF. Values come from transformers in fp32 (golden/generators), on the same stored weights.
 *
 * Tolerance: max |difference| <= 1e-4 x max(1, largest |expected value| of the array). The golden run itself is 4e-6 to
 * 2e-5 away from one in double, so 1e-4 leaves room for another order of summation and none for a wrong formula.
 */
#include "base/threads.h"
#include "tests/golden.h"

enum { IDS_MAX = 128 };

static void compare(const char *what, size_t row, const float *actual, const json_t *expected) {
    double largest, worst = worst_difference(actual, expected, &largest);
    if (!(worst <= 1e-4 * largest)) {
        fail_msg("%s %zu: off by %.3g (allowed: %.3g)", what, row, worst, 1e-4 * largest);
    }
}

/* The model of a golden file: the folder it stands in, or the GGUF file that it names. */
static struct model *open_golden(const char *golden_file, const json_t *golden) {
    char path[1024];
    snprintf(path, sizeof path, "%s", golden_file);
    char *slash = strrchr(path, '/');
    *slash = 0;
    const char *file = json_string_value(json_object_get(golden, "file"));
    if (file) {
        *slash = '/';
        snprintf(slash + 1, sizeof path - (size_t)(slash + 1 - path), "%s", file);
    }
    return open_model(path);
}

static void check_logits(const struct model *m, const json_t *golden, const float *logits) {
    const json_t *at = json_object_get(golden, "logits_at");
    size_t V = model_shape(m)->vocabulary;
    for (size_t i = 0; i < json_array_size(at); i++) {
        size_t position = (size_t)json_integer_value(json_array_get(at, i));
        compare("logits at position", position, logits + position * V,
                json_array_get(json_object_get(golden, "logits"), i));
    }
}

static void check_log_probabilities(const struct model *m, const json_t *golden, const int32_t *ids, uint32_t count,
                                    const float *logits) {
    const json_t *expected = json_object_get(golden, "next_logprob");
    size_t V = model_shape(m)->vocabulary;
    assert_int_equal(json_array_size(expected), count - 1);
    float got[IDS_MAX];
    for (uint32_t t = 0; t + 1 < count; t++) {
        got[t] = (float)log_probability(logits + t * V, V, ids[t + 1]);
    }
    compare("log-probabilities", 0, got, expected);
}

static void check_hidden(const struct session *s, const struct model *m, const json_t *golden) {
    const json_t *hidden = json_object_get(golden, "hidden");
    size_t D = model_shape(m)->hidden, at = (size_t)json_integer_value(json_object_get(golden, "hidden_at"));
    assert_int_equal(json_array_size(hidden), model_shape(m)->layers + 1);
    for (size_t l = 0; l < json_array_size(hidden); l++) {
        compare("hidden state", l, session_hidden(s, (uint32_t)l) + at * D, json_array_get(hidden, l));
    }
    compare("after the final norm", 0, session_hidden(s, model_shape(m)->layers + 1) + at * D,
            json_object_get(golden, "hidden_after_final_norm"));
}

/* With the KV cache, one token at a time; the golden run recomputed the whole sequence for each. */
static void check_greedy(struct session *s, const struct model *m, const json_t *greedy) {
    int32_t ids[IDS_MAX], expected[IDS_MAX];
    uint32_t n = read_ids(json_object_get(greedy, "prompt"), ids, IDS_MAX),
             wanted = read_ids(json_object_get(greedy, "continuation"), expected, IDS_MAX);
    const float *logits;
    struct error e;
    session_rewind(s, 0);
    must(session_forward(s, ids, n, LOGITS_LAST, &logits, &e), &e);
    mem_guard_arm();
    for (uint32_t i = 0; i < wanted; i++) {
        double gap;
        int32_t next = greedy_id(logits, model_shape(m)->vocabulary, &gap);
        if (next != expected[i]) {
            fail_msg("greedy token %u: got %d, expected %d", i, next, expected[i]);
        }
        must(session_forward(s, &next, 1, LOGITS_LAST, &logits, &e), &e);
    }
    assert_int_equal(mem_guard_disarm(), 0); /* nothing was allocated in the token loop */
}

static void golden(void **state) {
    const char *file = golden_path(*state);
    json_t *g = load_json(file);
    struct model *m = open_golden(file, g);
    struct session *s = new_session(m, (struct session_options){.context = 64, .max_batch = 64, .keep_hidden = true});
    int32_t ids[IDS_MAX];
    uint32_t n = read_ids(json_object_get(g, "ids"), ids, IDS_MAX);
    const float *logits = NULL;
    struct error e;
    must(session_forward(s, ids, n, LOGITS_ALL, &logits, &e), &e);
    assert_int_equal(session_position(s), n);
    check_logits(m, g, logits);
    check_log_probabilities(m, g, ids, n, logits);
    check_hidden(s, m, g);
    check_greedy(s, m, json_object_get(g, "greedy"));
    session_destroy(s);
    model_close(m);
    json_decref(g);
}

/* ---- what must not matter --------------------------------------------------------------------- */

static const char *const every_model[] = {
    "models/llama3-tiny", "models/llama-untied-tiny", "models/phi3-tiny", "models/qwen2-tiny", "models/qwen3-tiny",
    "models/mistral-tiny", "models/gemma2-tiny", "models/gpt2-tiny", "gguf/llama3-tiny-mixed.gguf",
};
enum { MODELS = sizeof every_model / sizeof every_model[0], LENGTH = 37 };

static void some_ids(const struct model *m, int32_t *ids, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = (int32_t)((i * i * 7 + i * 13 + 1) % model_shape(m)->vocabulary);
    }
}

/* Logits of the last of LENGTH ids, given in steps of `step`, in a session of its own; mem_free. */
static float *last_logits(const struct model *m, uint32_t max_batch, uint32_t step) {
    size_t V = model_shape(m)->vocabulary;
    struct session *s = new_session(m, (struct session_options){.context = 48, .max_batch = max_batch});
    float *copy = mem_alloc(V, sizeof *copy);
    int32_t ids[LENGTH];
    const float *logits = NULL;
    struct error e;
    some_ids(m, ids, LENGTH);
    for (uint32_t at = 0; at < LENGTH; at += step) {
        uint32_t n = LENGTH - at < step ? LENGTH - at : step;
        must(session_forward(s, ids + at, n, LOGITS_LAST, &logits, &e), &e);
    }
    memcpy(copy, logits, V * sizeof *copy);
    session_destroy(s);
    return copy;
}

/* Another order of summation only: the tolerance of the golden values. */
static void assert_close(const float *a, const float *b, size_t n) {
    double largest = 1.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)b[i]));
    }
    for (size_t i = 0; i < n; i++) {
        assert_near(a[i], b[i], 1e-4 * largest);
    }
}

static void cutting_into_steps(void **state) {
    (void)state;
    static const uint32_t cuts[][2] = {{128, 1}, {128, 5}, {16, LENGTH}, {2, 20}}; /* max_batch, step */
    for (size_t i = 0; i < MODELS; i++) {
        struct model *m = open_model(golden_path(every_model[i]));
        float *whole = last_logits(m, 128, LENGTH);
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
            float *cut = last_logits(m, cuts[c][0], cuts[c][1]);
            assert_close(cut, whole, model_shape(m)->vocabulary);
            mem_free(cut);
        }
        mem_free(whole);
        model_close(m);
    }
}

/* Long enough that linear layers and attention share out their work. (Decode: test_real_models.c.) */
static void number_of_threads(void **state) {
    (void)state;
    enum { LONG = 700 };
    int before = threads_count();
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    size_t V = model_shape(m)->vocabulary;
    int32_t ids[LONG];
    float *one = mem_alloc(LONG * V, sizeof *one);
    some_ids(m, ids, LONG);
    static const int counts[] = {1, 2, 7};
    for (size_t i = 0; i < 3; i++) {
        const float *logits;
        struct error e;
        threads_set(counts[i]);
        struct session *s = new_session(m, (struct session_options){.context = LONG, .max_batch = LONG});
        must(session_forward(s, ids, LONG, LOGITS_ALL, &logits, &e), &e);
        if (i == 0) {
            memcpy(one, logits, LONG * V * sizeof *one);
        }
        assert_memory_equal(logits, one, LONG * V * sizeof *one);
        session_destroy(s);
    }
    threads_set(before);
    mem_free(one);
    model_close(m);
}

/* Going back and on again gives the bits of a fresh session: nothing of the forgotten continuation is left. */
static void rewinding(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        struct model *m = open_model(golden_path(every_model[i]));
        size_t V = model_shape(m)->vocabulary;
        struct session *s = new_session(m, (struct session_options){.context = 48}),
                       *fresh = new_session(m, (struct session_options){.context = 48});
        int32_t ids[48], other[48];
        const float *a, *b;
        struct error e;
        some_ids(m, ids, 48);
        for (int j = 0; j < 48; j++) {
            other[j] = (int32_t)((size_t)(ids[j] + 3) % V);
        }
        must(session_forward(s, ids, 9, LOGITS_LAST, &a, &e), &e);
        must(session_forward(s, other, 39, LOGITS_LAST, &a, &e), &e);
        session_rewind(s, 9);
        assert_int_equal(session_position(s), 9);
        session_rewind(s, 20); /* forwards is no rewinding */
        assert_int_equal(session_position(s), 9);
        must(session_forward(s, ids + 9, 11, LOGITS_LAST, &a, &e), &e);
        must(session_forward(fresh, ids, 9, LOGITS_LAST, &b, &e), &e);
        must(session_forward(fresh, ids + 9, 11, LOGITS_LAST, &b, &e), &e);
        assert_memory_equal(a, b, V * sizeof *a);
        session_destroy(s);
        session_destroy(fresh);
        model_close(m);
    }
}

/* A sequence that grows past original_max_position_embeddings (16) is the same as one that was long from the start, and
 * after going back below, the same as one that never was. */
static void longrope_crossing(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/phi3-longrope-tiny"));
    size_t V = model_shape(m)->vocabulary;
    json_t *g = load_json(golden_path("models/phi3-longrope-tiny/golden.json")),
           *g_short = load_json(golden_path("models/phi3-longrope-tiny/golden_short.json"));
    struct session *s = new_session(m, (struct session_options){.context = 64});
    int32_t ids[IDS_MAX];
    uint32_t n = read_ids(json_object_get(g, "ids"), ids, IDS_MAX);
    const float *logits;
    struct error e;
    for (uint32_t i = 0; i < n; i++) {
        must(session_forward(s, ids + i, 1, LOGITS_LAST, &logits, &e), &e);
    }
    assert_int_equal(session_position(s), n);
    compare("long after short, position", n - 1, logits, json_array_get(json_object_get(g, "logits"), 3));
    session_rewind(s, 15);
    must(session_forward(s, ids + 15, 1, LOGITS_LAST, &logits, &e), &e);
    compare("short after long, position", 15, logits, json_array_get(json_object_get(g_short, "logits"), 2));
    assert_int_equal(V, 192);
    session_destroy(s);
    model_close(m);
    json_decref(g);
    json_decref(g_short);
}

/* Matrices as the machine reads them: names, order, sizes, and rows whichever way round the file has them. */
static void matrices(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/gpt2-tiny"));
    size_t count;
    const struct matrix_source *a = model_matrices(m, &count);
    struct error e;
    float row[64], rows[3 * 64];
    assert_int_equal(count, 3 * 4 + 1);
    assert_string_equal(a[4].name, "layers.1.qkv");
    assert_string_equal(a[7].name, "layers.1.down");
    assert_string_equal(a[12].name, "head");
    assert_int_equal(a[4].outputs, 192);
    assert_int_equal(a[4].inputs, 64);
    assert_int_equal(a[12].layer, -1);
    must(a[4].read_rows(a[4].context, 70, 3, rows, &e), &e);
    must(a[4].read_rows(a[4].context, 72, 1, row, &e), &e);
    assert_memory_equal(row, rows + 2 * 64, sizeof row);
    assert_int_equal(a[4].read_rows(a[4].context, 191, 2, rows, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "attn.c_attn.weight"));
    model_close(m);
    m = open_model(golden_path("models/phi3-tiny"));
    a = model_matrices(m, &count);
    assert_int_equal(count, 3 * 4 + 1);
    assert_string_equal(a[2].name, "layers.0.gate_up");
    assert_int_equal(a[2].outputs, 256);
    assert_int_equal(a[0].role, MATRIX_QKV);
    model_close(m);
}

#define GOLDEN(name, file) {"golden_" name, golden, NULL, NULL, (void *)(uintptr_t)file}

static const struct CMUnitTest tests[] = {
    GOLDEN("llama3", "models/llama3-tiny/golden.json"),
    GOLDEN("llama_untied", "models/llama-untied-tiny/golden.json"),
    GOLDEN("phi3", "models/phi3-tiny/golden.json"),
    GOLDEN("phi3_longrope", "models/phi3-longrope-tiny/golden.json"),
    GOLDEN("phi3_longrope_short", "models/phi3-longrope-tiny/golden_short.json"),
    GOLDEN("qwen2", "models/qwen2-tiny/golden.json"),
    GOLDEN("qwen3", "models/qwen3-tiny/golden.json"),
    GOLDEN("mistral", "models/mistral-tiny/golden.json"),
    GOLDEN("gemma2", "models/gemma2-tiny/golden.json"),
    GOLDEN("gpt2", "models/gpt2-tiny/golden.json"),
    GOLDEN("gguf_llama_mixed", "gguf/llama3-tiny-mixed.json"),
    GOLDEN("gguf_qwen2", "gguf/qwen2-tiny-f16.json"),
    cmocka_unit_test(cutting_into_steps),
    cmocka_unit_test(number_of_threads),
    cmocka_unit_test(rewinding),
    cmocka_unit_test(longrope_crossing),
    cmocka_unit_test(matrices),
};

const struct test_suite suite_model = {"model", tests, sizeof tests / sizeof tests[0]};
