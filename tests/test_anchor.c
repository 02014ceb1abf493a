/* The anchor: with every effect off the machine is the digital float model, layer by layer. And what a forward pass
 * tells the machine: steps, forks and digital work are recorded for every operation.
 *
 * Tolerance: |difference| <= 1e-4 x max(1, largest value of the layer): another order of fp32 sums, nothing else.
 */
#include "base/threads.h"
#include "tests/golden.h"

enum { PROMPT = 20, DECODE = 3 };

static const char *const models[] = {
    "models/llama3-tiny", "models/llama-untied-tiny", "models/phi3-tiny", "models/qwen2-tiny", "models/qwen3-tiny",
    "models/mistral-tiny", "models/gemma2-tiny", "models/gpt2-tiny", "gguf/llama3-tiny-mixed.gguf",
};

/* A model on a chip. */
struct bench {
    struct model *model;
    struct chip *chip;
    struct placement *placement;
    struct machine *machine;
    struct run *run;
};

static struct bench put_on_chip(const char *model, const char *chip, const char *const *sets, size_t set_count) {
    struct bench b = {NULL, NULL, NULL, NULL, NULL};
    struct error e;
    b.model = open_model(model);
    must(chip_load(chip, sets, set_count, &b.chip, &e), &e);
    must(model_program(b.model, b.chip, &(struct machine_options){.seed = 1}, &b.placement, &b.machine, &e), &e);
    must(run_create(b.machine, 32, &b.run, &e), &e);
    return b;
}

static void take_down(struct bench *b) {
    run_destroy(b->run);
    machine_destroy(b->machine);
    placement_destroy(b->placement);
    chip_destroy(b->chip);
    model_close(b->model);
}

static void assert_layers_agree(const struct session *a, const struct session *d, const struct model *m,
                                uint32_t tokens) {
    const struct model_shape *shape = model_shape(m);
    for (uint32_t row = 0; row <= shape->layers + 1; row++) {
        const float *x = session_hidden(a, row), *y = session_hidden(d, row);
        double largest = 1.0;
        for (size_t i = 0; i < (size_t)tokens * shape->hidden; i++) {
            largest = fmax(largest, fabs((double)y[i]));
        }
        for (size_t i = 0; i < (size_t)tokens * shape->hidden; i++) {
            assert_near(x[i], y[i], 1e-4 * largest);
        }
    }
}

static void assert_logits_agree(const float *a, const float *d, size_t n) {
    double largest = 1.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)d[i]));
    }
    for (size_t i = 0; i < n; i++) {
        assert_near(a[i], d[i], 1e-4 * largest);
    }
}

static void ideal_chip_is_the_digital_model(void **state) {
    (void)state;
    int before = threads_count();
    threads_set(1); /* models of this size gain nothing from more */
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct bench b = put_on_chip(golden_path(models[i]), "ideal", NULL, 0);
        struct session_options o = {.context = 32, .max_batch = 32, .keep_hidden = true};
        struct session *digital = new_session(b.model, o);
        o.run = b.run;
        struct session *analog = new_session(b.model, o);
        const float *la, *ld;
        struct error e;
        int32_t ids[PROMPT];
        for (int t = 0; t < PROMPT; t++) {
            ids[t] = 1 + (t * 37) % 150;
        }
        must(session_forward(analog, ids, PROMPT, LOGITS_ALL, &la, &e), &e);
        must(session_forward(digital, ids, PROMPT, LOGITS_ALL, &ld, &e), &e);
        assert_layers_agree(analog, digital, b.model, PROMPT);
        assert_logits_agree(la, ld, (size_t)PROMPT * model_shape(b.model)->vocabulary);
        mem_guard_arm();
        for (int t = 0; t < DECODE; t++) {
            must(session_forward(analog, ids + t, 1, LOGITS_LAST, &la, &e), &e);
            must(session_forward(digital, ids + t, 1, LOGITS_LAST, &ld, &e), &e);
            assert_layers_agree(analog, digital, b.model, 1);
            assert_logits_agree(la, ld, model_shape(b.model)->vocabulary);
        }
        assert_int_equal(mem_guard_disarm(), 0);
        session_destroy(analog);
        session_destroy(digital);
        take_down(&b);
    }
    threads_set(before);
}

/* Only the head stays digital, or only the MLP is analog: the two kinds mix in one pass. */
static void parts_may_stay_digital(void **state) {
    (void)state;
    static const char *const rules[] = {"analog=q,k,v,o,gate,up,down", "analog=gate,up,down"};
    for (size_t i = 0; i < 2; i++) {
        struct bench b = put_on_chip(golden_path(models[0]), "ideal", &rules[i], 1);
        struct session *digital = new_session(b.model, (struct session_options){.context = 32});
        struct session *analog =
            new_session(b.model, (struct session_options){.context = 32, .max_batch = 32, .run = b.run});
        const int32_t ids[] = {1, 17, 33, 99, 250};
        const float *la, *ld;
        struct error e;
        must(session_forward(analog, ids, 5, LOGITS_LAST, &la, &e), &e);
        must(session_forward(digital, ids, 5, LOGITS_LAST, &ld, &e), &e);
        assert_logits_agree(la, ld, model_shape(b.model)->vocabulary);
        assert_true(session_weight_bytes(analog) > 0 && session_weight_bytes(analog) < session_weight_bytes(digital));
        session_destroy(analog);
        session_destroy(digital);
        take_down(&b);
    }
}

/* Multiplications of a step follow from the shape: every token through every layer, the wanted ones through the
 * head. */
static void work_is_counted(void **state) {
    (void)state;
    struct bench b = put_on_chip(golden_path("models/llama3-tiny"), "ideal", NULL, 0);
    struct session *s = new_session(b.model, (struct session_options){.context = 64, .max_batch = 8, .run = b.run});
    uint64_t layer = 64 * 128 + 2 * 64 * 32 + 128 * 64 + 3 * 64 * 160, head = 64 * 384;
    int32_t ids[20];
    const float *logits;
    struct error e;
    for (int i = 0; i < 20; i++) {
        ids[i] = i + 1;
    }
    must(session_forward(s, ids, 20, LOGITS_LAST, &logits, &e), &e); /* steps of 8, 8 and 4 */
    assert_int_equal(run_ledger(b.run).macs, 20 * 3 * layer + head);
    must(session_forward(s, ids, 4, LOGITS_ALL, &logits, &e), &e);
    assert_int_equal(run_ledger(b.run).macs, 24 * 3 * layer + 5 * head);
    must(session_forward(s, ids, 2, LOGITS_NONE, &logits, &e), &e);
    assert_null(logits);
    assert_int_equal(run_ledger(b.run).macs, 26 * 3 * layer + 5 * head);
    session_destroy(s);
    take_down(&b);
}

/* With multiplies that take far longer than anything else, a step takes as many of them as depend on each other: per
 * layer (q, k, v together), o, (gate, up together), down; then the head. 1 % is left for the digital units. */
static void independent_multiplies_overlap(void **state) {
    (void)state;
    const char *const slow[] = {"tile.mvm_ns=1e6"};
    struct bench b = put_on_chip(golden_path("gguf/llama3-tiny-mixed.gguf"), "pcm256", slow, 1);
    struct session *s = new_session(b.model, (struct session_options){.context = 32, .max_batch = 32, .run = b.run});
    const int32_t id = 1;
    const float *logits;
    struct error e;
    must(session_forward(s, &id, 1, LOGITS_LAST, &logits, &e), &e);
    assert_near(run_ledger(b.run).makespan_s, (3 * 4 + 1) * 1e-3, 0.01 * 13e-3);
    session_destroy(s);
    take_down(&b);
}

/* Programming the default chip needs a text, so a model without tokenizer is refused, and with one it is ready to
 * run. */
static void programming_calibrates(void **state) {
    (void)state;
    struct bench b = put_on_chip(golden_path("gguf/llama3-tiny-mixed.gguf"), "pcm256", NULL, 0);
    assert_false(machine_needs_calibration(b.machine));
    struct session *s = new_session(b.model, (struct session_options){.context = 32, .max_batch = 32, .run = b.run});
    const int32_t ids[] = {1, 40, 50};
    const float *logits;
    struct error e;
    must(session_forward(s, ids, 3, LOGITS_LAST, &logits, &e), &e);
    assert_true(isfinite(logits[0]));
    mem_guard_arm(); /* the token loop with every effect on allocates nothing */
    must(session_forward(s, ids, 1, LOGITS_LAST, &logits, &e), &e);
    must(session_forward(s, ids + 1, 1, LOGITS_LAST, &logits, &e), &e);
    assert_int_equal(mem_guard_disarm(), 0);
    session_destroy(s);
    take_down(&b);

    struct model *m = open_model(golden_path("models/llama3-tiny"));
    struct chip *c = NULL;
    struct placement *p = NULL;
    struct machine *machine = NULL;
    must(chip_load("pcm256", NULL, 0, &c, &e), &e);
    assert_int_equal(model_program(m, c, &(struct machine_options){.seed = 1}, &p, &machine, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "no tokenizer"));
    assert_null(p);
    assert_null(machine);
    chip_destroy(c);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ideal_chip_is_the_digital_model),
    cmocka_unit_test(parts_may_stay_digital),
    cmocka_unit_test(work_is_counted),
    cmocka_unit_test(independent_multiplies_overlap),
    cmocka_unit_test(programming_calibrates),
};

const struct test_suite suite_anchor = {"anchor", tests, sizeof tests / sizeof tests[0]};
