/* Shared by the tests of the student: one linear layer with its buffers, in fp32 or in double (models/adapt/real.h). */
#ifndef MHO_TESTS_STUDENT_FIXTURE_H
#define MHO_TESTS_STUDENT_FIXTURE_H

#include "models/adapt/student_linear.h"
#include "tests/golden.h"

struct layer_bench {
    struct arena *arena;
    struct analog_rule rule;
    struct analog_layer layer;
    struct analog_work work;
    uint32_t tokens, length; /* of all sequences, of one: all tokens unless a test says otherwise */
    real *x, *y, *dy, *dx;
};

static inline real *zeros(struct layer_bench *b, size_t n) {
    real *p = reals_of(b->arena, n);
    assert_non_null(p);
    return p;
}

/* A layer cut into blocks at `begin` [blocks + 1]; everything 0. rule: copied. */
static inline void layer_bench_create(struct layer_bench *b, const struct analog_rule *rule, uint32_t inputs,
                                      uint32_t outputs, uint32_t blocks, const uint32_t *begin, uint32_t tokens,
                                      bool bias) {
    *b = (struct layer_bench){.arena = arena_create(), .rule = *rule, .tokens = tokens, .length = tokens};
    struct analog_layer *l = &b->layer;
    *l = (struct analog_layer){.rule = &b->rule, .inputs = inputs, .outputs = outputs, .blocks = blocks, .begin = begin,
                               .seed = 7};
    l->weight = zeros(b, inputs * outputs);
    l->weight_gradient = zeros(b, inputs * outputs);
    l->range = zeros(b, blocks);
    l->range_gradient = zeros(b, blocks);
    l->range_batches = arena_alloc(b->arena, blocks, sizeof *l->range_batches);
    if (bias) {
        l->bias = zeros(b, outputs);
        l->bias_gradient = zeros(b, outputs);
    }
    if (rule->clip == TRAIN_CLIP_LEARNED) {
        l->clip = zeros(b, blocks * outputs);
        l->clip_gradient = zeros(b, blocks * outputs);
    }
    for (uint32_t i = 0; i < blocks; i++) {
        l->range[i] = (real)rule->range_start;
    }
    assert_true(analog_layer_buffers(l, b->arena, tokens, 1)); /* enough for any length that they are cut into */
    b->work = (struct analog_work){.tokens = tokens, .inputs = inputs, .outputs = outputs, .blocks = blocks};
    assert_true(analog_work_buffers(&b->work, b->arena, 0));
    b->x = zeros(b, tokens * inputs);
    b->dx = zeros(b, tokens * inputs);
    b->y = zeros(b, tokens * outputs);
    b->dy = zeros(b, tokens * outputs);
}

static inline void layer_bench_destroy(struct layer_bench *b) { arena_destroy(b->arena); }

static inline void layer_bench_run(struct layer_bench *b, enum student_mode mode) {
    struct analog_pass pass = {.mode = mode, .key = 3, .tokens = b->tokens, .length = b->length};
    analog_layer_forward(&b->layer, &b->work, &pass, b->x, b->y, b->layer.outputs);
    analog_layer_backward(&b->layer, &b->work, &pass, b->x, b->dy, b->layer.outputs, b->dx);
}

#endif
