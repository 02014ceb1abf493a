/* mho adapt fit: what an error of a weight costs, against measured divergence; gradients of the head against its own
 * distribution; the flat share.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "models/adapt/fit.h"
#include "models/internal.h"
#include "tests/golden.h"

enum { WINDOWS = 24, LENGTH = 16, TOKENS = WINDOWS * LENGTH, DRAWS = 4 };

static double gaussian(uint64_t what, uint64_t i) {
    return (double)random_gaussian(9, random_stream(RANDOM_TEST, what), i);
}

/* ---- the flat share ---------------------------------------------------------------------------------------- */

enum { NUMBERS = 400 };

/* How well a and b, mixed with a flat share, foretell each other: mean logarithms, both ways. */
static double foretold(const double *a, const double *b, double share) {
    double sum_a = 0, sum_b = 0, from_a = 0, from_b = 0;
    for (size_t i = 0; i < NUMBERS; i++) {
        sum_a += a[i];
        sum_b += b[i];
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        from_a += b[i] / sum_b * log((1 - share) * a[i] / sum_a + share / NUMBERS);
        from_b += a[i] / sum_a * log((1 - share) * b[i] / sum_b + share / NUMBERS);
    }
    return from_a + from_b;
}

/* The share that fit_smooth mixes in; the total is checked. */
static double share_of(const double *a, const double *b) {
    double mixed[NUMBERS], all = 0, most = 0, now = 0;
    size_t top = 0;
    memcpy(mixed, a, sizeof mixed);
    fit_smooth(mixed, b, NUMBERS);
    for (size_t i = 0; i < NUMBERS; i++) {
        all += a[i] + b[i];
        now += mixed[i];
        top = a[i] + b[i] > most ? i : top;
        most = fmax(most, a[i] + b[i]);
    }
    assert_near(now / all, 1, 1e-12);
    return (most - mixed[top]) / (most - all / NUMBERS);
}

/* Halves that agree need none, halves that share nothing get nothing else, and between them the best of a fine grid is
 * not further off than the steps of the coarse one, which are up to 3. */
static void flat_share_is_the_one_that_foretells_best(void **state) {
    (void)state;
    double a[NUMBERS], b[NUMBERS], best = 0, most = -INFINITY;
    for (size_t i = 0; i < NUMBERS; i++) {
        a[i] = exp(2 * gaussian(1, i));
    }
    assert_true(share_of(a, a) < 0.002);
    for (size_t i = 0; i < NUMBERS; i++) {
        a[i] = i % 2 ? exp(gaussian(1, i)) : 0;
        b[i] = i % 2 ? 0 : exp(gaussian(1, i));
    }
    assert_near(share_of(a, b), 1, 1e-9);
    for (size_t i = 0; i < NUMBERS; i++) { /* a tenth of what one half has, the other lacks */
        a[i] = exp(gaussian(1, i) + 0.3 * gaussian(2, i)) * (i % 10 != 0);
        b[i] = exp(gaussian(1, i) + 0.3 * gaussian(3, i)) * (i % 10 != 1);
    }
    for (double share = 0.001; share < 1; share *= 1.02) {
        double now = foretold(a, b, share);
        best = now > most ? share : best;
        most = fmax(now, most);
    }
    double share = share_of(a, b);
    if (!(share > best / 2 && share < 2 * best && best > 0.01 && best < 0.9)) {
        fail_msg("share %g, the best %g", share, best);
    }
}

/* ---- against the model ------------------------------------------------------------------------------------- */

struct rig {
    struct model *model;
    struct chip *chip;
    struct fit_statistics *statistics;
    struct sensitivity *sensitivity;
    int32_t ids[TOKENS];
    float *logits; /* [TOKENS][V] */
    size_t vocabulary;
};

static void logits_of(const struct model *m, const int32_t *ids, float *out) {
    size_t V = model_shape(m)->vocabulary;
    struct session *s = new_session(m, (struct session_options){.context = LENGTH, .max_batch = LENGTH});
    for (size_t w = 0; w < WINDOWS; w++) {
        const float *logits;
        struct error e;
        session_rewind(s, 0);
        must(session_forward(s, ids + w * LENGTH, LENGTH, LOGITS_ALL, &logits, &e), &e);
        memcpy(out + w * LENGTH * V, logits, LENGTH * V * sizeof *out);
    }
    session_destroy(s);
}

static void rig_create(struct rig *g) {
    struct error e;
    *g = (struct rig){.model = open_model(golden_path("models/llama-untied-tiny"))};
    g->vocabulary = model_shape(g->model)->vocabulary;
    for (size_t i = 0; i < TOKENS; i++) {
        g->ids[i] = (int32_t)(i * i * 31 + i * 7) % (int32_t)g->vocabulary;
    }
    must(chip_load("afm", NULL, 0, &g->chip, &e), &e);
    g->statistics = fit_statistics_create(g->model, g->chip);
    const struct sensitivity_text text = {g->ids, WINDOWS, LENGTH, 3};
    must(fit_sensitivity(g->model, g->chip, &text, g->statistics, &g->sensitivity, &e), &e);
    g->logits = mem_alloc(TOKENS, g->vocabulary * sizeof *g->logits);
    logits_of(g->model, g->ids, g->logits);
}

static void rig_destroy(struct rig *g) {
    fit_statistics_destroy(g->statistics, g->model->matrix_count);
    chip_destroy(g->chip);
    mem_free(g->sensitivity);
    mem_free(g->logits);
    model_close(g->model);
}

/* Mean divergence per token where a matrix has Gaussian errors of the standard deviation `sd`. */
static double measured(const struct rig *g, size_t matrix, double sd, float *logits) {
    size_t count = (size_t)g->model->matrices[matrix].inputs * g->model->matrices[matrix].outputs, V = g->vocabulary;
    double sum = 0;
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        struct model *copy;
        struct error e;
        must(fit_copy_create(g->model, g->chip, &copy, &e), &e);
        float *w = fit_weights(copy, matrix);
        for (size_t i = 0; i < count; i++) {
            w[i] += (float)(sd * gaussian(10 + draw, matrix * 1000000 + i));
        }
        logits_of(copy, g->ids, logits);
        for (size_t t = 0; t < TOKENS; t++) {
            sum += kl_divergence(g->logits + t * V, logits + t * V, (uint32_t)V);
        }
        fit_copy_destroy(copy);
    }
    return sum / TOKENS / DRAWS;
}

static double predicted(const struct rig *g, size_t matrix, double sd) {
    const struct matrix *m = &g->model->matrices[matrix];
    const struct sensitivity *v = &g->sensitivity[matrix];
    double outputs = 0, inputs = 0;
    for (size_t o = 0; o < m->outputs; o++) {
        outputs += v->output[o];
    }
    for (size_t i = 0; i < m->inputs; i++) {
        inputs += v->input[i];
    }
    return outputs * inputs * sd * sd;
}

/* Of every matrix. The prediction rests on one drawn label per token, the measurement on DRAWS errors: 0.87 to 1.09 of
 * what was predicted. A half of the text that is left out, or counted twice, makes that 2 or 1/2. */
static void errors_cost_what_was_predicted(void **state) {
    (void)state;
    struct rig g;
    rig_create(&g);
    float *logits = mem_alloc(TOKENS, g.vocabulary * sizeof *logits);
    for (size_t i = 0; i < g.model->matrix_count; i++) {
        double sd = 0.02 / sqrt(predicted(&g, i, 1)); /* 0.0004 nats */
        double ratio = measured(&g, i, sd, logits) / predicted(&g, i, sd);
        if (!(ratio > 0.77 && ratio < 1.3)) {
            fail_msg("%s: %g of what was predicted", g.model->sources[i].name, ratio);
        }
    }
    mem_free(logits);
    rig_destroy(&g);
}

/* Of the sum over all tokens of |p - y|^2 = 1 - 2 p_y + sum of p^2. */
static double sd_of_squares(const struct rig *g) {
    double variance = 0;
    for (size_t t = 0; t < TOKENS; t++) {
        double square = 0, cube = 0;
        for (size_t o = 0; o < g->vocabulary; o++) {
            double p = exp(log_probability(g->logits + t * g->vocabulary, (uint32_t)g->vocabulary, (int32_t)o));
            square += p * p;
            cube += p * p * p;
        }
        variance += 4 * (cube - square * square);
    }
    return sqrt(variance);
}

/* Labels are drawn from the model: of the head, 2 result_o is E[(p_o - y_o)^2] = E[p_o (1 - p_o)]. Chi square of all
 * outputs, a degree of freedom each; its standard deviation is sqrt(2 V). Their sum, within 4 standard deviations. */
static void labels_are_drawn_from_the_model(void **state) {
    (void)state;
    struct rig g;
    rig_create(&g);
    size_t V = g.vocabulary;
    double chi = 0, all = 0, found = 0, total = 0, least = INFINITY;
    const struct sensitivity *head = &g.sensitivity[g.model->head];
    for (size_t o = 0; o < V; o++) {
        double mean = 0, variance = 0;
        for (size_t t = 0; t < TOKENS; t++) {
            double p = exp(log_probability(g.logits + t * V, (uint32_t)V, (int32_t)o)), q = 1 - p;
            mean += p * q;
            variance += p * q * (q - p) * (q - p); /* of (p - y)^2 */
        }
        double off = 2 * head->result[o] * TOKENS - mean;
        chi += off * off / variance;
        all += mean;
        found += 2 * head->result[o] * TOKENS;
        total += head->output[o];
        least = fmin(least, head->output[o]);
    }
    assert_near(found, all, 4 * sd_of_squares(&g));
    assert_true(least * (double)V > 0.03 * total); /* words that no label was drawn of */
    assert_near(chi, V, 4 * sqrt(2.0 * (double)V));
    rig_destroy(&g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(flat_share_is_the_one_that_foretells_best),
    cmocka_unit_test(errors_cost_what_was_predicted),
    cmocka_unit_test(labels_are_drawn_from_the_model),
};
const struct test_suite suite_adapt_sensitivity = {"adapt_sensitivity", tests, sizeof tests / sizeof tests[0]};
