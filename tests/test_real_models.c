/* Trained models of the shared folder against transformers in fp32 (golden/real, golden/perplexity.json).
 *
 * Tolerances: log-probabilities 1e-3 nats (the golden values have 6 to 9 digits; fp32 sums over 30 layers differ by about
 * 1e-5); top-20 logits 1e-3; greedy ids identical unless the two best logits are closer than 1e-3.
 */
#include "tests/golden.h"

enum { IDS_MAX = 512 };

/* The digital form of SmolLM2 takes half a gigabyte and a second to make: its tests share one session. */
struct opened { struct model *model; struct session *session; json_t *golden; };

static struct opened open_real(const char *model, const char *golden_file) {
    struct opened o = {NULL, NULL, NULL};
    o.golden = load_json(golden_path(golden_file));
    o.model = open_model(shared_path(model));
    o.session = new_session(o.model, (struct session_options){.context = 256});
    return o;
}

static void close_real(struct opened *o) {
    session_destroy(o->session);
    model_close(o->model);
    json_decref(o->golden);
}

static void check_top20(const float *logits, const json_t *top) {
    assert_int_equal(json_array_size(top), 20);
    for (size_t i = 0; i < 20; i++) {
        const json_t *pair = json_array_get(top, i);
        assert_near(logits[json_integer_value(json_array_get(pair, 0))], json_number_value(json_array_get(pair, 1)), 1e-3);
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

/* Windows of 256 tokens of WikiText-2 by id, batched in two steps of 128, against the sums of the golden file. */
static void wikitext_window(void **state) {
    (void)state;
    json_t *g = load_json(golden_path("perplexity.json"));
    struct model *m = open_model(shared_path("models/minimind2-small"));
    struct session *s = new_session(m, (struct session_options){.context = 256});
    const json_t *expected = json_object_get(g, "first_window_next_logprob"), *first_ids = json_object_get(g, "first_ids");
    int32_t ids[IDS_MAX];
    float log_p[IDS_MAX];
    size_t V = model_shape(m)->vocabulary;
    uint32_t n = read_ids(first_ids, ids + 1, IDS_MAX - 1) + 1;
    const float *logits;
    struct error e;
    ids[0] = 1;
    must(session_forward(s, ids, n - 1, LOGITS_ALL, &logits, &e), &e);
    for (uint32_t t = 0; t + 1 < n; t++) {
        log_p[t] = (float)log_probability(logits + t * V, V, ids[t + 1]);
        assert_near(log_p[t], json_number_value(json_array_get(expected, t)), 1e-3);
    }
    session_destroy(s);
    model_close(m);
    json_decref(g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(stories260K), cmocka_unit_test(stories15M), cmocka_unit_test(minimind2), cmocka_unit_test(smollm2),
    cmocka_unit_test(wikitext_window),
};

const struct test_suite suite_real_models = {"real_models", tests, sizeof tests / sizeof tests[0]};
