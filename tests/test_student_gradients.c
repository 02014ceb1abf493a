/* Gradients of the student against central finite differences, in double: the files of the student compiled with
 * REAL_IS_DOUBLE. Rounding is left out (no_rounding: its gradient is defined, not derived), limits of inputs and
 * outputs act, weight noise acts and is the same for every evaluation of one key.
 *
 * What the gradients treat as constant must stay so while a parameter moves: column maxima (only weights that are none
 * are moved) and input ranges (which have a rule of their own, tested apart). */
#define REAL_IS_DOUBLE
#include "models/adapt/student_loss.h"
#include "tests/student_fixture.h"

enum { SEQUENCES = 2, LENGTH = 7, TOKENS = SEQUENCES * LENGTH, VOCABULARY_MOST = 1024 };

static const struct loss_rule loss_rule = {2.0, 0.6};

struct pair {
    struct model *model;
    struct chip *chip;
    struct student *student, *teacher;
    int32_t ids[TOKENS], targets[TOKENS];
    double loss_of[2 * TOKENS];
    size_t vocabulary;
};

static void pair_create(struct pair *p, const char *name, const char *rows, bool recompute) {
    const char *sets[] = {rows};
    char path[128];
    struct error e;
    snprintf(path, sizeof path, "models/%s", name);
    p->model = open_model(golden_path(path));
    must(chip_load("afm", sets, 1, &p->chip, &e), &e);
    struct analog_rule rule;
    must(student_rule_of_chip(p->chip, &rule, &e), &e);
    rule.no_rounding = true;
    rule.range_batches = 0;
    rule.range_start = 1.5; /* a few inputs are beyond it */
    rule.adc_bound = 1.2;   /* and some outputs beyond this */
    rule.clip = TRAIN_CLIP_NONE;
    struct student_options o = {SEQUENCES, LENGTH, true, recompute, 5, COMPUTE_FP32};
    must(student_create(p->model, p->chip, &rule, &o, &p->student, &e), &e);
    o.trained = false;
    must(student_create(p->model, NULL, NULL, &o, &p->teacher, &e), &e);
    p->vocabulary = model_shape(p->model)->vocabulary;
    for (size_t t = 0; t < TOKENS; t++) {
        p->ids[t] = (int32_t)((t * 37 + 11) % p->vocabulary);
        p->targets[t] = (t + 1) % LENGTH ? (int32_t)(((t + 1) * 37 + 11) % p->vocabulary) : -1;
    }
    struct student_batch b = {.ids = p->ids, .sequences = SEQUENCES, .length = LENGTH, .key = 9};
    must(student_forward(p->teacher, &b, STUDENT_PLAIN, &e), &e);
}

static void pair_destroy(struct pair *p) {
    student_destroy(p->student);
    student_destroy(p->teacher);
    chip_destroy(p->chip);
    model_close(p->model);
}

static double loss_now(struct pair *p) {
    struct student_batch b = {.ids = p->ids, .sequences = SEQUENCES, .length = LENGTH, .key = 9};
    struct error e;
    struct loss loss;
    must(student_forward(p->student, &b, STUDENT_NOISY, &e), &e);
    distillation_loss(&loss_rule, student_logits(p->teacher), student_logits(p->student), p->targets, TOKENS,
                      p->vocabulary, 1.0, p->loss_of, &loss);
    assert_int_equal(loss.not_finite, 0);
    return loss.total;
}

static double difference(struct pair *p, double *value, double h) {
    double start = *value, above, below;
    *value = start + h;
    above = loss_now(p);
    *value = start - h;
    below = loss_now(p);
    *value = start;
    return (above - below) / (2 * h);
}

/* An element that is safe to move: of a few, the smallest weight with a gradient. */
static size_t element_of(const struct parameter *m, size_t try) {
    size_t best = try % m->count;
    for (size_t k = 0; k < 400; k++) {
        size_t i = (try * 7919 + k * 104729) % m->count; /* of the embedding most rows have no gradient */
        bool better = fabs(m->data[i]) < fabs(m->data[best]);
        best = m->gradient[i] != 0 && (m->gradient[best] == 0 || better) ? i : best;
    }
    return best;
}

/* Finite differences carry the rounding of the loss: 1e-15 / h, beside 1e-5 of the gradient (the bound of the issue). h
 * is small so that hardly any input or output crosses its limit on the way; the error in h^2 is far below. */
static void check_parameters(struct pair *p, const char *name) {
    static const double h = 1e-6;
    student_clear_gradients(p->student);
    loss_now(p);
    student_backward(p->student);
    size_t groups[PARAMETER_CLIP + 1] = {0};
    for (size_t i = 0; i < student_parameter_count(p->student); i++) {
        struct parameter m = student_parameter_at(p->student, i);
        bool all_layers = groups[m.group] < 12 || m.group == PARAMETER_EMBEDDING;
        if (m.group == PARAMETER_INPUT_RANGE || !all_layers) {
            continue;
        }
        groups[m.group]++;
        size_t at = element_of(&m, i);
        double analytic = m.gradient[at], numeric = difference(p, &m.data[at], h);
        double bound = 1e-5 * fmax(fabs(analytic), fabs(numeric)) + 2e-9;
        if (!(fabs(analytic - numeric) <= bound) || analytic == 0) {
            fail_msg("%s: %s[%zu]: gradient %.12g, finite difference %.12g", name, m.name, at, analytic, numeric);
        }
    }
    assert_true(groups[PARAMETER_MATRIX] >= 8 && groups[PARAMETER_NORM] >= 5 && groups[PARAMETER_EMBEDDING] == 1);
}

static void check_family(const char *name, const char *rows, bool recompute) {
    struct pair p;
    pair_create(&p, name, rows, recompute);
    check_parameters(&p, name);
    pair_destroy(&p);
}

static void llama_tied_and_scaled_rope(void **state) {
    (void)state;
    check_family("llama3-tiny", "tile.rows=512", false);
}
static void llama_in_row_blocks_recomputed(void **state) {
    (void)state;
    check_family("llama-untied-tiny", "tile.rows=24", true);
}
static void mistral_window(void **state) {
    (void)state;
    check_family("mistral-tiny", "tile.rows=512", false);
}
static void qwen2_biases(void **state) {
    (void)state;
    check_family("qwen2-tiny", "tile.rows=40", false);
}
static void qwen3_head_norms(void **state) {
    (void)state;
    check_family("qwen3-tiny", "tile.rows=512", false);
}
static void phi3_fused(void **state) {
    (void)state;
    check_family("phi3-tiny", "tile.rows=512", false);
}

/* ---- PyTorch ----------------------------------------------------------------------------------- */

/* Both sides in double, rounding on. PyTorch's rotary tables and ours differ by a rounding of fp32 here and there: the
 * bound of the issue, 1e-4 of the norm of a gradient; what is found is far below. */
static const struct parameter *find(struct student *s, const char *name, struct parameter *out) {
    for (size_t i = 0; i < student_parameter_count(s); i++) {
        *out = student_parameter_at(s, i);
        if (strcmp(out->name, name) == 0) {
            return out;
        }
    }
    fail_msg("the student has no parameter %s", name);
    return NULL;
}

static void check_gradient(const char *model, const struct parameter *p, const json_t *want) {
    double sum = 0, squares = 0, norm = json_number_value(json_object_get(want, "norm"));
    for (size_t i = 0; i < p->count; i++) {
        sum += p->gradient[i];
        squares += p->gradient[i] * p->gradient[i];
    }
    double bound = 1e-4 * norm + 1e-12, root = sqrt((double)p->count);
    bool fine = fabs(sqrt(squares) - norm) <= bound &&
                fabs(sum - json_number_value(json_object_get(want, "sum"))) <= bound * root;
    const json_t *at = json_object_get(want, "at"), *values = json_object_get(want, "values");
    for (size_t k = 0; k < json_array_size(at); k++) {
        size_t i = (size_t)json_integer_value(json_array_get(at, k));
        assert_true(i < p->count);
        fine = fine && fabs(p->gradient[i] - json_number_value(json_array_get(values, k))) <= bound;
    }
    if (!fine) {
        fail_msg("%s: %s: gradient of norm %.12g, sum %.12g: not those of PyTorch", model, p->name, sqrt(squares), sum);
    }
}

static void check_torch_case(const json_t *golden, const json_t *c) {
    const json_t *rule = json_object_get(golden, "rule"), *want;
    const char *model = json_string_value(json_object_get(c, "model")), *name;
    struct pair p;
    char rows[64];
    assert_int_equal(json_integer_value(json_object_get(golden, "length")), LENGTH);
    snprintf(rows, sizeof rows, "tile.rows=%d", (int)json_integer_value(json_object_get(rule, "tile_rows")));
    pair_create(&p, model, rows, false);
    struct analog_rule r;
    struct error e;
    must(student_rule_of_chip(p.chip, &r, &e), &e);
    r.range_batches = 0;
    r.range_start = json_number_value(json_object_get(rule, "range"));
    r.adc_bound = json_number_value(json_object_get(rule, "adc_bound"));
    r.clip = TRAIN_CLIP_NONE;
    r.noise = TRAIN_NOISE_NONE;
    student_destroy(p.student);
    struct student_options o = {SEQUENCES, LENGTH, true, false, 5, COMPUTE_FP32};
    must(student_create(p.model, p.chip, &r, &o, &p.student, &e), &e);
    assert_near(loss_now(&p), json_number_value(json_object_get(c, "loss")), 1e-6);
    student_backward(p.student);
    size_t checked = 0;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(c, "gradients"), name, want) {
        struct parameter m;
        check_gradient(model, find(p.student, name, &m), want);
        checked++;
    }
    assert_int_equal(checked, student_parameter_count(p.student));
    pair_destroy(&p);
}

static void pytorch_has_the_same_gradients(void **state) {
    (void)state;
    json_t *golden = load_json(golden_path("student_torch.json")), *c;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(golden, "cases")), 5);
    json_array_foreach(json_object_get(golden, "cases"), i, c) {
        check_torch_case(golden, c);
    }
    json_decref(golden);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(llama_tied_and_scaled_rope), cmocka_unit_test(llama_in_row_blocks_recomputed),
    cmocka_unit_test(mistral_window),             cmocka_unit_test(qwen2_biases),
    cmocka_unit_test(qwen3_head_norms),           cmocka_unit_test(phi3_fused),
    cmocka_unit_test(pytorch_has_the_same_gradients),
};
const struct test_suite suite_student_gradients = {"student_gradients", tests, sizeof tests / sizeof tests[0]};
