/* See muon.h. X is kept with the shorter side n first, so that A is n x n. */
#include "models/adapt/muon.h"

#include <math.h>
#include <string.h>

#include "base/kernels.h"

static const double MOMENTUM = 0.95, STEP_RMS = 0.2, TINY = 1e-7;
enum { ITERATIONS = 5 };

/* x, product [n][m]; gram, polynomial [n][n]; panel [m][PANEL] */
struct work { size_t n, m; real *x, *product, *gram, *polynomial, *panel; };

static size_t shorter(size_t a, size_t b) { return a < b ? a : b; }

size_t muon_scratch_reals(size_t rows, size_t columns) {
    size_t n = shorter(rows, columns), m = rows + columns - n;
    return 2 * n * m + 2 * n * n + m * PANEL;
}

static struct work work_of(size_t rows, size_t columns, real *scratch) {
    struct work w = {.n = shorter(rows, columns)};
    w.m = rows + columns - w.n;
    w.x = scratch;
    w.product = w.x + w.n * w.m;
    w.gram = w.product + w.n * w.m;
    w.polynomial = w.gram + w.n * w.n;
    w.panel = w.polynomial + w.n * w.n;
    return w;
}

/* out = a b', a [n][k], b [n][k] */
static void multiply_transposed(const struct work *w, const real *a, const real *b, size_t k, real *out) {
    for (size_t o = 0; o < w->n; o += PANEL) {
        size_t lanes = shorter(PANEL, w->n - o);
        kernels()->pack_panel_f32(WEIGHT_F32, b + o * k, k, lanes, k, w->panel);
        kernels()->gemm_panel_f32(w->panel, k, a, k, w->n, out + o, w->n, lanes);
    }
}

/* out = a x, a [n][n], x [n][m] */
static void multiply(const struct work *w, const real *a, const real *x, real *out) {
    for (size_t o = 0; o < w->m; o += PANEL) {
        size_t lanes = shorter(PANEL, w->m - o);
        for (size_t i = 0; i < w->n; i++) {
            memcpy(w->panel + i * PANEL, x + i * w->m + o, lanes * sizeof *x);
            memset(w->panel + i * PANEL + lanes, 0, (PANEL - lanes) * sizeof *x);
        }
        kernels()->gemm_panel_f32(w->panel, w->n, a, w->n, w->n, out + o, w->m, lanes);
    }
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
    multiply_transposed(w, w->x, w->x, w->m, w->gram);
    multiply_transposed(w, w->gram, w->gram, w->n, w->polynomial); /* A is its own transpose */
    for (size_t i = 0; i < w->n * w->n; i++) {
        w->polynomial[i] = b * w->gram[i] + c * w->polynomial[i];
    }
    multiply(w, w->polynomial, w->x, w->product);
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
