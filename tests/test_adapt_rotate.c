/* Rotation: logits stay, large channels go, what cannot be rotated is refused. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/internal.h"
#include "tests/logits.h"

/* Row r of a matrix, relative to the row before the rotation: |a - b| / |b|. */
static double change(const struct model *a, const struct model *b, int matrix) {
    size_t n = b->matrices[matrix].inputs;
    float *x = mem_alloc(2 * n, sizeof *x);
    double off = 0, all = 0;
    matrix_rows(&a->matrices[matrix], 3, 1, x);
    matrix_rows(&b->matrices[matrix], 3, 1, x + n);
    for (size_t i = 0; i < n; i++) {
        off += (x[i] - x[n + i]) * (x[i] - x[n + i]);
        all += x[n + i] * x[n + i];
    }
    mem_free(x);
    return sqrt(off / all);
}

/* Largest difference of the logits, in units of the largest: 1e-4 as the rounding of fp32 through all layers. */
static void logits_stay(void **state) {
    (void)state;
    static const char *const models[] = {"llama3-tiny", "llama-untied-tiny", "qwen2-tiny", "phi3-tiny"};
    static const char *const parts[] = {"residual", "value", "all"};
    for (size_t i = 0; i < 4 * 3; i++) {
        char path[256];
        struct error e = {0};
        snprintf(path, sizeof path, "models/%s", models[i / 3]);
        struct model *m = open_model(golden_path(path)), *turned = open_model(golden_path(path));
        size_t n = m->shape.vocabulary;
        float *x = mem_alloc(2 * n, sizeof *x);
        double worst = 0, largest = 0;
        must(model_rotate(turned, parts[i % 3], &e), &e);
        logits_of(m, x);
        logits_of(turned, x + n);
        for (size_t k = 0; k < n; k++) {
            worst = fmax(worst, fabs(x[k] - x[n + k]));
            largest = fmax(largest, fabs(x[k]));
        }
        if (!(worst < 1e-4 * largest)) {
            fail_msg("%s, %s: logits differ by %g of %g", models[i / 3], parts[i % 3], worst, largest);
        }
        int gate = m->layers[0].gate != NO_MATRIX ? m->layers[0].gate : m->layers[0].gate_up;
        assert_true((change(turned, m, gate) > 0.5) == (i % 3 != 1)); /* and something was done */
        assert_true(change(turned, m, m->layers[0].o) > 0.5);
        mem_free(x);
        model_close(turned);
        model_close(m);
    }
}

/* A large channel of the residual stream is spread over all: a row of the embedding with 1 in one place and 0 else
 * has numbers of at most 2 / sqrt(D) after it. */
static void spreads(void **state) {
    (void)state;
    struct error e = {0};
    struct model *m = open_model(shared_path("models/stories260K"));
    size_t D = m->shape.hidden;
    float *row = mem_alloc(D, sizeof *row);
    struct tensor own = *m->embedding;
    float *table = mem_alloc((size_t)m->shape.vocabulary * D, sizeof *table);
    tensor_rows_f32(m->embedding, 0, m->shape.vocabulary, table);
    memset(table + 5 * D, 0, D * sizeof *table);
    table[5 * D + 9] = 1;
    own.data = table;
    own.type = TENSOR_F32;
    m->embedding = &own;
    must(model_rotate(m, "residual", &e), &e);
    tensor_rows_f32(m->embedding, 5, 1, row);
    double length = 0;
    for (size_t i = 0; i < D; i++) {
        assert_true(fabs(row[i]) <= 2 / sqrt(D));
        length += row[i] * row[i];
    }
    assert_near(length, 1, 1e-5);
    mem_free(row);
    mem_free(table);
    model_close(m);
}

static void refused(void **state) {
    (void)state;
    static const struct { const char *model, *parts, *expected; } cases[] = {
        {"models/gemma2-tiny", "all", "cannot be rotated (allowed: RMS norms before blocks"},
        {"models/gpt2-tiny", "all", "cannot be rotated"},
        {"models/llama3-tiny", "heads", "--rotate heads: unknown (allowed: residual, value, all)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error e = {0};
        struct model *m = open_model(golden_path(cases[i].model));
        assert_int_equal(model_rotate(m, cases[i].parts, &e), ERR_USAGE);
        assert_non_null(strstr(e.message, cases[i].expected));
        model_close(m);
    }
    struct error e = {0};
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    const float range = 1;
    m->sources[0].input_range = &range;
    assert_int_equal(model_rotate(m, "all", &e), ERR_USAGE);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(logits_stay),
    cmocka_unit_test(spreads),
    cmocka_unit_test(refused),
};
const struct test_suite suite_adapt_rotate = {"adapt_rotate", tests, sizeof tests / sizeof tests[0]};
