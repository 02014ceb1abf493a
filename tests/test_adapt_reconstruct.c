/* The reconstruction of mho adapt fit: second moments against the inputs by hand, the expected error against its
 * formula, what the best targets have in common, scales.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "models/adapt/fit.h"
#include "models/internal.h"
#include "tests/golden.h"

static float gaussian(uint64_t what, uint64_t i) { return random_gaussian(7, random_stream(RANDOM_TEST, what), i); }

static struct chip *afm(void) {
    struct chip *c;
    struct error e;
    assert_int_equal(chip_load("afm", NULL, 0, &c, &e), OK);
    return c;
}

/* ---- moments ----------------------------------------------------------------------------------------------- */

enum { LENGTH = 48, WINDOWS = 2 };

/* Inputs of the first q: the embedding after its norm. */
static void moments_by_hand(const struct model *m, const int32_t *ids, double *h) {
    size_t D = m->shape.hidden;
    float *x = mem_alloc(D, sizeof *x);
    for (size_t t = 0; t < LENGTH * WINDOWS; t++) {
        double square = 0;
        tensor_rows_f32(m->embedding, (uint64_t)ids[t], 1, x);
        for (size_t i = 0; i < D; i++) {
            square += x[i] * x[i] / D;
        }
        for (size_t i = 0; i < D; i++) {
            x[i] *= m->layers[0].attention_norm.weight[i] / sqrt(square + m->shape.norm_eps);
        }
        for (size_t i = 0; i < D * D; i++) {
            h[i] += (double)x[i / D] * x[i % D] / (LENGTH * WINDOWS);
        }
    }
    mem_free(x);
}

/* Within 1e-5 of the largest: fp32 sums of 96 numbers. */
static void moments(void **state) {
    (void)state;
    struct model *m = open_model(shared_path("models/stories260K"));
    struct chip *c = afm();
    struct fit_moments f;
    struct error e;
    int32_t ids[LENGTH * WINDOWS];
    for (size_t i = 0; i < LENGTH * WINDOWS; i++) {
        ids[i] = (int32_t)(i * i * 7 % m->shape.vocabulary);
    }
    assert_int_equal(fit_moments(m, c, ids, WINDOWS, LENGTH, &f, &e), OK);
    size_t D = m->shape.hidden;
    double *h = mem_alloc(D * D, sizeof *h), largest = 0;
    moments_by_hand(m, ids, h);
    const struct layer *l = &m->layers[0];
    for (size_t i = 0; i < D * D; i++) {
        largest = fmax(largest, fabs(h[i]));
    }
    for (size_t i = 0; i < D * D; i++) {
        assert_near(f.square[l->q][i], h[i], 1e-5 * largest);
    }
    assert_ptr_equal(f.square[l->q], f.square[l->v]);
    assert_ptr_equal(f.square[l->gate], f.square[l->up]);
    assert_ptr_not_equal(f.square[l->q], f.square[l->gate]);
    assert_ptr_not_equal(f.square[l->q], f.square[m->layers[1].q]);
    mem_free(h);
    fit_moments_destroy(&f);
    chip_destroy(c);
    model_close(m);
}

/* ---- one matrix -------------------------------------------------------------------------------------------- */

enum { I = 600, O = 24, BLOCKS = 2, BEGIN = 300, LISTED = 5, NODES = 257 };

struct problem {
    struct fit_layer layer;
    struct side_path side;
    uint32_t begin[O + 1], inputs[O * LISTED], channels[2];
    float *h, *w, *t, scales[BLOCKS * O], sd[NODES];
    double before[O], after[O];
};

/* H of inputs that have parts in common; channel 3 is large. Weights: Gaussian, output 1 with one of 12 sd. */
static void make(struct problem *p, const struct chip *c) {
    struct error e;
    *p = (struct problem){.channels = {3, 400}};
    p->h = mem_alloc(I * I, sizeof *p->h);
    p->w = mem_alloc(I * O, sizeof *p->w);
    p->t = mem_alloc(I * O, sizeof *p->t);
    for (size_t i = 0; i < I; i++) {
        for (size_t k = 0; k < I; k++) {
            float common = 0.3f + 0.5f * expf(-fabsf((float)i - (float)k) / 3);
            p->h[i * I + k] = i != k ? common : i == 3 ? 50 : 1 + 0.3f * (i % 5);
        }
    }
    for (size_t i = 0; i < I * O; i++) {
        p->w[i] = 0.02f * gaussian(1, i) * (i == I + 77 ? 12 / gaussian(1, i) : 1);
    }
    memcpy(p->t, p->w, I * O * sizeof *p->t);
    for (uint32_t o = 0; o < O; o++) {
        p->begin[o + 1] = (o + 1) * LISTED;
        for (uint32_t k = 0; k < LISTED; k++) {
            p->inputs[o * LISTED + k] = 10 + o + 100 * k;
        }
    }
    p->side = (struct side_path){p->channels, 2, p->begin, p->inputs};
    p->layer = (struct fit_layer){I, O, 0, p->h, &p->side, p->t, p->scales, p->before, p->after};
    assert_int_equal(chip_weight_noise(c, p->sd, NODES, &e), OK);
}

static void clear(struct problem *p) {
    mem_free(p->h);
    mem_free(p->w);
    mem_free(p->t);
}

static bool is_digital(uint32_t o, uint32_t i) {
    bool listed = i == 3 || i == 400;
    for (uint32_t k = 0; k < LISTED; k++) {
        listed = listed || i == 10 + o + 100 * k;
    }
    return listed;
}

/* (H (w - t))_i, the diagonal 1 + 0.01 times. */
static double gradient(const struct problem *p, uint32_t o, uint32_t i) {
    double sum = 0;
    for (size_t k = 0; k < I; k++) {
        sum += p->h[i * I + k] * (k == i ? 1.01 : 1) * (double)(p->w[o * I + k] - p->t[o * I + k]);
    }
    return sum;
}

static double sd_at(const struct problem *p, double size) {
    double at = fmin(size, 1) * (NODES - 1);
    size_t i = (size_t)fmin(at, NODES - 2);
    return p->sd[i] + (p->sd[i + 1] - p->sd[i]) * (at - (double)i);
}

/* The formula of fit_reconstruct.c. */
static double error_by_hand(const struct problem *p, uint32_t o) {
    double sum = 0;
    for (uint32_t i = 0; i < I; i++) {
        double m = p->scales[(i >= BEGIN) * O + o], t = p->t[o * I + i];
        double noise = is_digital(o, i) ? 0 : m * sd_at(p, fabs(t) / m);
        sum += (p->w[o * I + i] - t) * gradient(p, o, i) + noise * noise * p->h[i * I + i] * 1.01;
    }
    return sum;
}

/* What is claimed is what the formula gives (0.05 %: targets on a grid of 1024, single precision), less than before.
 * Targets keep within their scales. The gradient of a digital weight, which is free, is small beside that of the
 * others. */
static void targets(void **state) {
    (void)state;
    struct chip *c = afm();
    struct problem p;
    struct error e;
    double before = 0, after = 0, free_ones = 0, others = 0;
    make(&p, c);
    assert_int_equal(fit_reconstruct_layer(c, &p.layer, &e), OK);
    for (uint32_t o = 0; o < O; o++) {
        double hand = error_by_hand(&p, o);
        if (!(fabs(p.after[o] / hand - 1) < 5e-4)) {
            fail_msg("output %u: %g, by hand %g", o, p.after[o], hand);
        }
        assert_true(p.after[o] < p.before[o]);
        before += p.before[o];
        after += p.after[o];
        for (uint32_t i = 0; i < I; i++) {
            bool digital = is_digital(o, i);
            assert_true(digital || fabsf(p.t[o * I + i]) <= p.scales[(i >= BEGIN) * O + o] * 1.000001f);
            *(digital ? &free_ones : &others) = fmax(digital ? free_ones : others, fabs(gradient(&p, o, i)));
        }
    }
    assert_true(after < 0.88 * before); /* measured: 0.859 */
    assert_true(free_ones < 0.02 * others); /* measured: 0.0023 */
    clear(&p);
    chip_destroy(c);
}

/* With scales 1.2 times as large and the same targets every output is worse. */
static void scales(void **state) {
    (void)state;
    struct chip *c = afm();
    struct problem p;
    struct error e;
    make(&p, c);
    assert_int_equal(fit_reconstruct_layer(c, &p.layer, &e), OK);
    for (uint32_t o = 0; o < O; o++) {
        p.scales[o] *= 1.2f;
        p.scales[O + o] *= 1.2f;
        assert_true(error_by_hand(&p, o) > p.after[o]);
    }
    clear(&p);
    chip_destroy(c);
}

/* Each matrix is reconstructed for its own number of devices, whatever those before it have. */
static void devices_differ_from_matrix_to_matrix(void **state) {
    enum { FIRST = 3 };
    static const uint32_t devices[][FIRST] = {{2, 2, 2}, {0, 2, 2}, {0, 0, 2}};
    const char *const sets[] = {"analog=[q]"};
    struct model *m = open_model(shared_path("models/stories260K")), *copies[FIRST];
    struct chip *c;
    struct error e;
    int32_t ids[LENGTH * WINDOWS];
    (void)state;
    for (size_t i = 0; i < LENGTH * WINDOWS; i++) {
        ids[i] = (int32_t)(i * i * 7 % m->shape.vocabulary);
    }
    assert_int_equal(chip_load("afm", sets, 1, &c, &e), OK);
    for (size_t k = 0; k < FIRST; k++) {
        struct fit_statistics *f = fit_statistics_create(m, c);
        struct fit_gain gain;
        for (size_t i = 0; i < FIRST; i++) {
            f[m->layers[i].q].devices = devices[k][i];
        }
        assert_int_equal(fit_copy_create(m, c, &copies[k], &e), OK);
        assert_int_equal(fit_reconstruct(copies[k], c, ids, WINDOWS, LENGTH, NULL, f, &gain, &e), OK);
        fit_statistics_destroy(f, m->matrix_count);
    }
    for (size_t k = 0; k < FIRST; k++) {
        for (size_t i = 0; i < FIRST; i++) {
            size_t matrix = (size_t)m->layers[i].q, bytes = (size_t)m->shape.hidden * m->shape.hidden * sizeof(float);
            bool same = memcmp(fit_weights(copies[k], matrix), fit_weights(copies[0], matrix), bytes) == 0;
            assert_int_equal(same, devices[k][i] == devices[0][i]);
        }
    }
    for (size_t k = 0; k < FIRST; k++) {
        fit_copy_destroy(copies[k]);
    }
    chip_destroy(c);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(moments),
    cmocka_unit_test(targets),
    cmocka_unit_test(scales),
    cmocka_unit_test(devices_differ_from_matrix_to_matrix),
};
const struct test_suite suite_adapt_reconstruct = {"adapt_reconstruct", tests, sizeof tests / sizeof tests[0]};
