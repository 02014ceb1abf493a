/* One matrix on one machine, for tests: a chip of the catalogue with keys overridden, so that a test reads like a
 * command line; multiplies; calibration when the chip needs it; the exact product.
 */
#ifndef MHO_TESTS_MACHINE_FIXTURE_H
#define MHO_TESTS_MACHINE_FIXTURE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/random.h"
#include "sim/machine.h"
#include "tests/suite.h"

struct fixture {
    struct chip *chip;
    struct placement *placement;
    struct machine *machine;
    struct multiply_scratch *scratch;
    struct matrix_source source;
    float *w; /* [outputs][inputs] */
    struct multiply_record record;
};

enum { MAX_TOKENS = 70 };

static inline enum status read_rows(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)e;
    const struct fixture *f = context;
    memcpy(rows, f->w + (size_t)first * f->source.inputs, (size_t)count * f->source.inputs * sizeof *rows);
    return OK;
}

/* n Gaussian numbers of stream `what` of the tests. */
static inline float *gaussians(size_t n, uint64_t what) {
    float *x = mem_alloc(n, sizeof *x);
    random_gaussian_fill(1, random_stream(RANDOM_TEST, what), 0, x, n);
    return x;
}

/* Weights that hand inputs through. */
static inline float *identity(uint32_t n) {
    float *w = mem_alloc((size_t)n * n, sizeof *w);
    for (uint32_t i = 0; i < n; i++) {
        w[(size_t)i * n + i] = 1;
    }
    return w;
}

static inline float uniform(uint64_t what, size_t i) {
    return (float)random_uniform(1, random_stream(RANDOM_TEST, what), i);
}

static inline void fixture_close(struct fixture *f) {
    multiply_scratch_destroy(f->scratch);
    machine_destroy(f->machine);
    placement_destroy(f->placement);
    chip_destroy(f->chip);
    mem_free(f->w);
    mem_free(f);
}

/* `sets`: "key=value key=value ...". Weights are taken over (mem_free); NULL: Gaussian. source: sizes, and what the
 * model brings; the rest is filled in. */
static inline enum status fixture_source(const char *chip, const char *sets, const struct matrix_source *source,
                                         float *w, double age_s, struct fixture **out, struct error *e) {
    enum { SETS_MOST = 80 };
    char text[4096];
    const char *list[SETS_MOST];
    size_t count = 0;
    assert_in_range(snprintf(text, sizeof text, "%s", sets), 0, sizeof text - 1);
    for (char *save = NULL, *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
        assert_in_range(count, 0, SETS_MOST - 1);
        list[count++] = one;
    }
    struct fixture *f = mem_alloc(1, sizeof *f);
    f->w = w ? w : gaussians((size_t)source->outputs * source->inputs, 1);
    f->source = *source;
    f->source.name = "layers.3.q";
    f->source.layer = 3;
    f->source.role = MATRIX_Q;
    f->source.read_rows = read_rows;
    f->source.context = f;
    enum status s = chip_load(chip, list, count, &f->chip, e);
    if (s == OK) {
        s = placement_create(f->chip, &f->source, 1, &f->placement, e);
    }
    if (s == OK) {
        s = machine_create(f->chip, f->placement, &f->source, 1, &(struct machine_options){.seed = 7, .age_s = age_s},
                           &f->machine, e);
    }
    if (s == OK) {
        f->scratch = multiply_scratch_create(f->machine, MAX_TOKENS);
        assert_non_null(f->scratch);
        *out = f;
    } else {
        fixture_close(f);
    }
    return s;
}

static inline enum status fixture_try(const char *chip, const char *sets, uint32_t outputs, uint32_t inputs, float *w,
                                      double age_s, const float *ranges, uint32_t range_count, struct fixture **out,
                                      struct error *e) {
    struct matrix_source source = {
        .inputs = inputs, .outputs = outputs, .input_range = ranges, .input_range_count = range_count};
    return fixture_source(chip, sets, &source, w, age_s, out, e);
}

static inline struct fixture *fixture_ranges(const char *chip, const char *sets, uint32_t outputs, uint32_t inputs,
                                             float *w, double age_s, const float *ranges, uint32_t range_count) {
    struct fixture *f = NULL;
    struct error e = {0};
    if (fixture_try(chip, sets, outputs, inputs, w, age_s, ranges, range_count, &f, &e) != OK) {
        fail_msg("%s %s: %s", chip, sets, e.message);
    }
    return f;
}

static inline struct fixture *fixture_open(const char *chip, const char *sets, uint32_t outputs, uint32_t inputs,
                                           float *w, double age_s) {
    return fixture_ranges(chip, sets, outputs, inputs, w, age_s, NULL, 0);
}

static inline float *multiply(struct fixture *f, const float *x, uint32_t tokens) {
    float *y = mem_alloc((size_t)tokens * f->source.outputs, sizeof *y);
    struct error e = {0};
    if (machine_multiply(f->machine, 0, x, tokens, 0, f->scratch, y, &f->record, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return y;
}

static inline double *multiply_reference(const struct fixture *f, const float *x, uint32_t tokens) {
    double *y = mem_alloc((size_t)tokens * f->source.outputs, sizeof *y);
    struct error e = {0};
    if (machine_multiply_reference(f->machine, 0, x, tokens, 0, NULL, y, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return y;
}

/* Results of the fast multiply and of the reference, each less what stands there: called with zeros for a machine
 * without noise, then for one with it, it leaves the noise. */
static inline void results_less(struct fixture *f, const float *x, uint32_t tokens, double *fast, double *reference) {
    float *y = multiply(f, x, tokens);
    double *r = multiply_reference(f, x, tokens);
    for (size_t i = 0; i < (size_t)tokens * f->source.outputs; i++) {
        fast[i] = (double)y[i] - fast[i];
        reference[i] = r[i] - reference[i];
    }
    mem_free(y);
    mem_free(r);
}

/* Calibrates on x if the chip needs it. */
static inline void calibrate(struct fixture *f, const float *x, uint32_t tokens) {
    struct error e = {0};
    if (machine_needs_calibration(f->machine)) {
        assert_int_equal(machine_calibration_begin(f->machine, &e), OK);
        mem_free(multiply(f, x, tokens));
        if (machine_calibration_finish(f->machine, &e) != OK) {
            fail_msg("%s", e.message);
        }
    }
}

/* Effective weight of one line, one row block and fp32 panels. */
static inline float weight_at(const struct fixture *f, uint32_t o, uint32_t i) {
    const struct array *a = f->machine->arrays[0];
    return a->weights[((size_t)(o / PANEL) * a->row_stride + i) * PANEL + o % PANEL];
}

static inline double exact_product(const struct fixture *f, const float *x, uint32_t t, uint32_t o, double *sizes) {
    double sum = 0, all = 0;
    for (uint32_t i = 0; i < f->source.inputs; i++) {
        double p = (double)f->w[(size_t)o * f->source.inputs + i] * x[(size_t)t * f->source.inputs + i];
        sum += p;
        all += fabs(p);
    }
    *sizes = all;
    return sum;
}

#endif
