/* Models against golden values: logits, log-probabilities, every layer's hidden state and greedy text of all families, from
 * safetensors and GGUF. Values come from transformers in fp32 (golden/generators), on the same stored weights.
 *
 * Tolerance: max |difference| <= 1e-4 x max(1, largest |expected value| of the array). The golden run itself is 4e-6 to 2e-5
 * away from one in double, so 1e-4 leaves room for another order of summation and none for a wrong formula.
 */
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
        compare("logits at position", position, logits + position * V, json_array_get(json_object_get(golden, "logits"), i));
    }
}

static void check_log_probabilities(const struct model *m, const json_t *golden, const int32_t *ids, uint32_t count, const float *logits) {
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
    compare("after the final norm", 0, session_hidden(s, model_shape(m)->layers + 1) + at * D, json_object_get(golden, "hidden_after_final_norm"));
}

/* With the KV cache, one token at a time; the golden run recomputed the whole sequence for each. */
static void check_greedy(struct session *s, const struct model *m, const json_t *greedy) {
    int32_t ids[IDS_MAX], expected[IDS_MAX];
    uint32_t n = read_ids(json_object_get(greedy, "prompt"), ids, IDS_MAX), wanted = read_ids(json_object_get(greedy, "continuation"), expected, IDS_MAX);
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
};

const struct test_suite suite_model = {"model", tests, sizeof tests / sizeof tests[0]};
