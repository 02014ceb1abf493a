/* What the hardware costs a trained model, through the program itself: bounds that a user relies on. Nats per token,
 * against the digital reference of the same run. Both sides are bounded: a chip that costs nothing is as wrong as one
 * that ruins.
 */
#include <stdio.h>

#include <jansson.h>

#include "base/memory.h"
#include "tests/suite.h"

#define SMOLLM2 "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"

/* Runs `mho eval perplexity` and returns analog minus digital; *digital gets the latter. */
static double cost_nats(const char *const *args, double *digital) {
    char *out, *err;
    int status = run_mho(args, 600, &out, &err);
    if (status != 0) {
        fail_msg("status %d: %s", status, err);
    }
    json_t *root = json_loads(out, 0, NULL);
    assert_non_null(root);
    *digital = json_number_value(json_object_get(json_object_get(root, "digital"), "nll_nats"));
    double analog = json_number_value(json_object_get(json_object_get(root, "analog"), "nll_nats_mean"));
    json_decref(root);
    mem_free(out);
    mem_free(err);
    return analog - *digital;
}

/* Automatic calibration: 8-bit inputs and outputs alone cost at most 0.08 nats (measured 0.034; a prototype of others
 * 0.04). Below 0.005 the converters would not be there. */
static void test_converters_alone(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip_because("four minutes under sanitizers");
#endif
    const char *args[] = {"eval",    "perplexity",
                          "--model", shared_path(SMOLLM2),
                          "--text",  shared_path("eval/wikitext-2/wiki.test.raw"),
                          "--limit", "20000",
                          "--set",   "effects.programming_noise=off",
                          "--set",   "effects.read_noise=off",
                          "--set",   "effects.drift=off",
                          "--json",  NULL};
    double digital, cost = cost_nats(args, &digital);
    assert_near(digital, 3.745, 0.002); /* agrees with the golden windows of this text */
    assert_true(cost > 0.005);
    assert_true(cost <= 0.08);
}

/* Programming noise alone on stories15M, windows without BOS: an independent prototype got perplexities of 4.7 to 5.0
 * (pcm_like), 5.0 to 5.3 (pcm_hermes_2dev) and 5.5 to 6.0 (afm) on nearly this text, where the digital model has 4.58.
 */
static void test_noise_alone(void **state) {
    (void)state;
    static const struct {
        const char *chip, *set;
        double low, high; /* nats: ln of the prototype's range over 4.58, a third wider on both sides */
    } rows[] = {
        {"pcm256", "tile.cell=pcm_like", 0.026 * 0.67, 0.088 * 1.33},
        {"pcm256", "tile.cell=pcm_hermes_2dev", 0.088 * 0.67, 0.146 * 1.33},
        {"afm", "tile.cell=pcm_afm", 0.183 * 0.67, 0.270 * 1.33},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *args[] = {"eval",    "perplexity",
                              "--model", shared_path("models/stories15M"),
                              "--text",  shared_path("eval/tinystories/stories_197K.txt"),
                              "--limit", "8000",
                              "--bos",   "off",
                              "--chip",  rows[i].chip,
                              "--set",   "effects=off",
                              "--set",   "effects.programming_noise=on",
                              "--set",   rows[i].set,
                              "--json",  NULL};
        double digital, cost = cost_nats(args, &digital);
        if (!(cost >= rows[i].low && cost <= rows[i].high)) {
            fail_msg("%s: %.4f nats, expected %.4f to %.4f", rows[i].set, cost, rows[i].low, rows[i].high);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_converters_alone),
    cmocka_unit_test(test_noise_alone),
};
const struct test_suite suite_quality = {"quality", tests, sizeof tests / sizeof tests[0]};
