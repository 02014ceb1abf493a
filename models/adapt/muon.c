/* See muon.h. X is kept with the shorter side n first, so that A is n x n. */
#include "models/adapt/muon.h"

#include <math.h>

#include "base/gemm.h"

static const double MOMENTUM = 0.95, STEP_RMS = 0.2, TINY = 1e-7;
enum { ITERATIONS = 5 };

/* x, product [n][m]; gram, polynomial [n][n] */
struct work { size_t n, m; real *x, *product, *gram, *polynomial; };

static size_t shorter(size_t a, size_t b) { return a < b ? a : b; }

size_t muon_scratch_reals(size_t rows, size_t columns) {
    size_t n = shorter(rows, columns), m = rows + columns - n;
    return 2 * n * m + 2 * n * n;
}

static struct work work_of(size_t rows, size_t columns, real *scratch) {
    struct work w = {.n = shorter(rows, columns)};
    w.m = rows + columns - w.n;
    w.x = scratch;
    w.product = w.x + w.n * w.m;
    w.gram = w.product + w.n * w.m;
    w.polynomial = w.gram + w.n * w.n;
    return w;
}

/* out = a a', a [n][k] */
static void square(const struct work *w, const real *a, size_t k, real *out) {
    gemm()->multiply(w->n, w->n, k, (struct gemm_operand){a, k, false}, (struct gemm_operand){a, k, true}, 0, out,
                     w->n);
}

static void normalise(const struct work *w) {
    double squares = 0;
    for (size_t i = 0; i < w->n * w->m; i++) {
        squares += (double)w->x[i] * (double)w->x[i];
    }
    real inverse = (real)(1 / (sqrt(squares) + TINY));
    for (size_t i = 0; i < w->n * w->m; i++) {
        w->x[i] *= inverse;
    }
}

static void iterate(const struct work *w) {
    const real a = 3.4445F, b = -4.7750F, c = 2.0315F;
    square(w, w->x, w->m, w->gram);
    square(w, w->gram, w->n, w->polynomial); /* A is its own transpose */
    for (size_t i = 0; i < w->n * w->n; i++) {
        w->polynomial[i] = b * w->gram[i] + c * w->polynomial[i];
    }
    gemm()->multiply(w->n, w->m, w->n, (struct gemm_operand){w->polynomial, w->n, false},
                     (struct gemm_operand){w->x, w->m, false}, 0, w->product, w->m);
    for (size_t i = 0; i < w->n * w->m; i++) {
        w->x[i] = a * w->x[i] + w->product[i];
    }
}

/* Place of element (r, c) of the matrix in X. */
static size_t place(const struct work *w, size_t rows, size_t r, size_t c) {
    return rows == w->n ? r * w->m + c : c * w->m + r;
}

void muon_update(const struct muon_step *step, size_t rows, size_t columns, const real *gradient, real *momentum,
                 real *weight, real *scratch) {
    struct work w = work_of(rows, columns, scratch);
    const real mu = (real)MOMENTUM, scale = (real)step->scale, keep = (real)step->keep;
    for (size_t i = 0; i < rows * columns; i++) {
        real slope = gradient[i] * scale;
        momentum[i] = mu * momentum[i] + slope;
        w.x[place(&w, rows, i / columns, i % columns)] = mu * momentum[i] + slope;
    }
    normalise(&w);
    for (int i = 0; i < ITERATIONS; i++) {
        iterate(&w);
    }
    real rate = (real)(step->rate * STEP_RMS * sqrt((double)w.m));
    for (size_t i = 0; i < rows * columns; i++) {
        weight[i] = weight[i] * keep - rate * w.x[place(&w, rows, i / columns, i % columns)];
    }
}
