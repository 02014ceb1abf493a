/* Rotary embedding: frequencies of the scaling rules against numbers worked out by hand.
 *
 *   angle(position p, pair i) = p * theta^(-2i/dims) / divisor_i
 *
 * llama3-tiny: theta 500000, 16 rotated features. The golden values of whole models cover the llama3 rule and longrope;
 * the linear rule divides every frequency by one factor, so that position f p of the scaled table is position p of the
 * plain one.
 * Tolerance 2e-6: angles up to 8 rad are rounded to fp32 (5e-7 at most), then cosine and sine to fp32 (6e-8).
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "models/internal.h"
#include "tests/golden.h"

enum { PAIRS = 8, POSITIONS = 33 };

/* llama3-tiny with another rope_scaling. */
static struct model *scaled_model(json_t *scaling) {
    char config[1200], link[1200];
    const char *source = golden_path("models/llama3-tiny"), *folder = scratch_directory();
    snprintf(config, sizeof config, "%s/config.json", source);
    json_t *map = load_json(config);
    json_object_set_new(map, "rope_scaling", scaling);
    snprintf(config, sizeof config, "%s/config.json", folder);
    assert_int_equal(json_dump_file(map, config, 0), 0);
    json_decref(map);
    snprintf(config, sizeof config, "%s/model.safetensors", source);
    snprintf(link, sizeof link, "%s/model.safetensors", folder);
    char *target = realpath(config, NULL);
    if (!target || symlink(target, link) != 0) {
        fail_msg("%s: %s", link, strerror(errno));
    }
    free(target);
    return open_model(folder);
}

static struct rope_table table_of(const struct model *m) {
    struct rope_table t;
    struct error e;
    assert_int_equal(m->shape.rope.dims, 2 * PAIRS);
    must(rope_table_create(&m->shape.rope, 0, POSITIONS, &t, &e), &e);
    return t;
}

static void linear_rule_divides_every_frequency(void **state) {
    (void)state;
    static const double quarter[PAIRS] = {/* 500000^(-i/8) / 4 */
        0.25, 0.0484806862, 0.00940150773, 0.00182316618, 0.000353553391, 6.85620439e-5, 1.32957397e-5, 2.57834634e-6};
    struct model *plain = scaled_model(json_null());
    struct model *linear = scaled_model(json_pack("{s:s, s:f}", "rope_type", "linear", "factor", 4.0));
    struct rope_table p = table_of(plain), l = table_of(linear);
    for (int at = 0; at < POSITIONS; at++) {
        for (int i = 0; i < PAIRS; i++) {
            assert_near(l.cosine[at * PAIRS + i], cos(at * quarter[i]), 2e-6);
            assert_near(l.sine[at * PAIRS + i], sin(at * quarter[i]), 2e-6);
        }
    }
    for (int at = 0; 4 * at < POSITIONS; at++) {
        for (int i = 0; i < PAIRS; i++) {
            assert_near(l.cosine[4 * at * PAIRS + i], p.cosine[at * PAIRS + i], 2e-6);
            assert_near(l.sine[4 * at * PAIRS + i], p.sine[at * PAIRS + i], 2e-6);
        }
    }
    rope_table_clear(&p);
    rope_table_clear(&l);
    model_close(plain);
    model_close(linear);
}

/* factor 32, low 1, high 4, original 128: wavelengths 2 pi 500000^(i/8). Pair 0 (6.28) is below 128/4 and stays; pair 1
 * (32.4) lies between: smooth = (128/32.4 - 1)/3, divisor = 1/((1 - smooth)/32 + smooth); the others (167 and more)
 * divide by 32. */
static void llama3_rule_by_hand(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    const float *d = m->shape.rope.divisors[0];
    assert_near(d[0], 1.0, 0);
    double smooth = (128 / 32.4005 - 1) / 3;
    assert_near(d[1], 1 / ((1 - smooth) / 32 + smooth), 1e-4);
    for (int i = 2; i < PAIRS; i++) {
        assert_near(d[i], 32.0, 0);
    }
    model_close(m);
}

/* The rule reaches the forward pass: at position 0 nothing turns, later the logits differ. */
static void scaling_changes_later_positions_only(void **state) {
    (void)state;
    static const int32_t ids[] = {5, 6, 7, 8};
    struct model *models[2] = {scaled_model(json_null()),
                               scaled_model(json_pack("{s:s, s:f}", "type", "linear", "factor", 4.0))};
    size_t V = model_shape(models[0])->vocabulary;
    struct session *s[2];
    const float *logits[2];
    for (int k = 0; k < 2; k++) {
        struct error e;
        s[k] = new_session(models[k], (struct session_options){.context = 8, .max_batch = 8});
        must(session_forward(s[k], ids, 4, LOGITS_ALL, &logits[k], &e), &e);
    }
    double moved = 0;
    for (size_t i = 0; i < V; i++) {
        moved = fmax(moved, fabs((double)logits[0][3 * V + i] - (double)logits[1][3 * V + i]));
    }
    assert_memory_equal(logits[0], logits[1], V * sizeof(float));
    assert_true(moved > 0.01);
    for (int k = 0; k < 2; k++) {
        session_destroy(s[k]);
        model_close(models[k]);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(linear_rule_divides_every_frequency),
    cmocka_unit_test(llama3_rule_by_hand),
    cmocka_unit_test(scaling_changes_later_positions_only),
};

const struct test_suite suite_rope = {"rope", tests, sizeof tests / sizeof tests[0]};
