/* Corrections of the folded product.
 *
 * The rest of the series (wires_fold.c), C = E - E0, is a sum of non-negative terms in which every entry collects many
 * detours through the array, so it is smooth: rows of C are nearly multiples of one another. What is known of C cheaply
 * is what it does to a few fields: for inputs of 1 V on a class of rows its sum over these rows (forward), and for
 * outputs of 1 V on a class of columns its sum over these columns (backward). Classes are the even and the odd lines:
 * the two columns of a differential pair, and checkerboards, differ. In each of the four blocks, C is replaced by the
 * matrix of rank one with the same row and column sums:
 *   X[j][i] = c_p[j] r_q[i] / s_pq,   i in class p, j in class q,   s_pq = sum of c_p over class q
 * Two levels:
 *   E0 + X(C)                     some sweeps: a few milliseconds for 256 x 256
 *   E0 + E1 + X(C - E1)           E1, the next term of the series, in full:
 *     E1[j][i] = sum_i' sum_j' t g[i'j] P_i'[j j'] g[i'j'] Q_j'[i' i] g a[i j']
 *     P_i'[j j'] = U[max(j, j')] V[min(j, j')]: the inverse of a tridiagonal matrix. With A[j] = alpha[0] ...
 *     alpha[j-1] of the row's ladder and p the diagonal of P, U = p A, V = 1 / A. For each j' one sweep over the column
 *     j' with all j side by side: O(rows x columns^2).
 *
 * Estimate of the error. For inputs between -1 and 1 V the largest error of column j is sum_i |error[j][i]|. Fields of
 * random signs give true output currents; the squares of their differences to those of the folded matrix have the mean
 * sum_i error[j][i]^2, which tells the worst columns. AUDITS of these are solved by the series from their outputs (all
 * terms), which gives their error entry by entry. SAFETY is for the columns that were not picked.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/wires_fold.h"

enum { CLASSES = 2, SIGN_FIELDS = 4, AUDITS = 4, TERMS_MAX = 60, LANES = 64 };
static const double SAFETY = 1.25, ROUNDING = 1e-6; /* sums of a few hundred floats */

struct correction {
    struct fold *f;
    double tail_S;      /* largest current that the end of a series may leave out */
    double *out;        /* [rows or columns]: the current term */
    double *work;       /* [rows or columns] */
    double *column_sum; /* [columns] of E */
    double *column_first[CLASSES],
        *row_first[CLASSES];                          /* sums of E1 over a class of rows [columns], of columns [rows] */
    double *column_rest[CLASSES], *row_rest[CLASSES]; /* of C - E1 */
    double *truth[SIGN_FIELDS];                       /* outputs for the sign fields [columns] */
};

/* ---- fields ---------------------------------------------------------------------------------- */

static double largest(const double *x, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

static void add(double *sum, const double *x, double factor, size_t n) {
    for (size_t i = 0; i < n; i++) {
        sum[i] += factor * x[i];
    }
}

/* Runs the series for the field in x or xT. Its terms go into zeroth, first and rest (may be the same); the end is
 * taken as geometric. False if it does not end. */
static bool run_series(struct correction *c, void (*term)(struct fold *, double *), size_t outputs, double tail_S,
                       double *zeroth, double *first, double *rest) {
    double before = (double)INFINITY;
    for (int n = 0; n < TERMS_MAX; n++) {
        term(c->f, c->out);
        double now = largest(c->out, outputs), ratio = now / before;
        add(n == 0 ? zeroth : n == 1 ? first : rest, c->out, 1, outputs);
        if (n >= 2 && ratio < 1 && now * ratio / (1 - ratio) <= tail_S) {
            add(rest, c->out, ratio / (1 - ratio), outputs);
            return true;
        }
        if (n >= 1 && now == 0) {
            return true;
        }
        before = now;
    }
    return false;
}

/* Sums of E and of C over the classes; full scale and the loss from them. */
static bool measure_sums(struct correction *c, struct fold_result *r) {
    struct fold *f = c->f;
    for (size_t p = 0; p < CLASSES; p++) {
        for (size_t k = 0; k < f->cells; k++) {
            f->x[k] = k % f->rows % CLASSES == p ? f->a[k] : 0;
            f->xT[k] = 0;
        }
        if (!run_series(c, fold_forward, f->columns, c->tail_S, c->column_sum, c->column_first[p], c->column_rest[p])) {
            return false;
        }
        for (size_t k = 0; k < f->cells; k++) {
            f->xT[k] = k % f->columns % CLASSES == p ? f->tT[k] : 0;
        }
        if (!run_series(c, fold_backward, f->rows, c->tail_S, c->work, c->row_first[p], c->row_rest[p])) {
            return false;
        }
        add(c->column_sum, c->column_first[p], 1, f->columns);
        add(c->column_sum, c->column_rest[p], 1, f->columns);
    }
    double total = 0, ideal = 0;
    for (size_t k = 0; k < f->cells; k++) {
        ideal += (double)f->g[k];
    }
    for (size_t j = 0; j < f->columns; j++) {
        total += c->column_sum[j];
    }
    f->full_S = largest(c->column_sum, f->columns);
    r->loss = 1 - total / ideal;
    return true;
}

/* Sign of a row in a field, 1 or -1. */
static void draw_signs(size_t field, size_t rows, double *sign) {
    for (size_t i = 0; i < rows; i += 128) {
        uint32_t word[4];
        random_block(0, random_stream(RANDOM_WIRES, 0), (uint64_t)field << 32 | i / 128, word);
        for (size_t k = i; k < rows && k < i + 128; k++) {
            sign[k] = word[(k - i) / 32] >> (k % 32) & 1 ? 1 : -1;
        }
    }
}

static bool measure_signs(struct correction *c) {
    struct fold *f = c->f;
    for (size_t n = 0; n < SIGN_FIELDS; n++) {
        double *sign = c->work;
        draw_signs(n, f->rows, sign);
        for (size_t j = 0; j < f->columns; j++) {
            for (size_t i = 0; i < f->rows; i++) {
                f->x[j * f->rows + i] = f->a[j * f->rows + i] * (float)sign[i];
            }
        }
        if (!run_series(c, fold_forward, f->columns, c->tail_S / sqrt((double)f->rows), c->truth[n], c->truth[n],
                        c->truth[n])) {
            return false;
        }
    }
    return true;
}

/* ---- estimate ---------------------------------------------------------------------------------------------------- */

/* squares[columns]: of the differences to the true outputs, summed over the sign fields. */
static void compare_signs(struct correction *c, const float *effective, double *squares) {
    size_t rows = c->f->rows;
    memset(squares, 0, c->f->columns * sizeof *squares);
    for (size_t n = 0; n < SIGN_FIELDS; n++) {
        draw_signs(n, rows, c->out);
        for (size_t j = 0; j < c->f->columns; j++) {
            double mine = 0;
            for (size_t i = 0; i < rows; i++) {
                mine += (double)effective[j * rows + i] * c->out[i];
            }
            squares[j] += (mine - c->truth[n][j]) * (mine - c->truth[n][j]);
        }
    }
}

/* sum_i |error[column][i]|; infinite where the series does not end. */
static double audit(struct correction *c, const float *effective, size_t column, double *entries) {
    struct fold *f = c->f;
    memset(entries, 0, f->rows * sizeof *entries);
    for (size_t i = 0; i < f->rows; i++) {
        memset(f->xT + i * f->columns, 0, f->columns * sizeof *f->xT);
        f->xT[i * f->columns + column] = f->tT[i * f->columns + column];
    }
    if (!run_series(c, fold_backward, f->rows, c->tail_S / (double)f->rows, entries, entries, entries)) {
        return (double)INFINITY;
    }
    double error = 0;
    for (size_t i = 0; i < f->rows; i++) {
        error += fabs(entries[i] - (double)effective[column * f->rows + i]);
    }
    return error;
}

static double estimate(struct correction *c, const float *effective) {
    double *squares = c->work, *entries = squares + c->f->columns, worst = 0;
    compare_signs(c, effective, squares);
    for (size_t n = 0; n < AUDITS && n < c->f->columns; n++) {
        size_t pick = 0;
        for (size_t j = 1; j < c->f->columns; j++) {
            pick = squares[j] > squares[pick] ? j : pick;
        }
        squares[pick] = -1; /* not again */
        worst = fmax(worst, audit(c, effective, pick, entries));
    }
    return SAFETY * worst / c->f->full_S + ROUNDING;
}

/* ---- what is added --------------------------------------------------------------------------- */

/* effective += X for these sums. */
static void add_rank_one(const struct fold *f, double *const column[CLASSES], double *const row[CLASSES],
                         float *effective) {
    for (size_t p = 0; p < CLASSES; p++) {
        for (size_t q = 0; q < CLASSES; q++) {
            double s = 0;
            for (size_t j = q; j < f->columns; j += CLASSES) {
                s += column[p][j];
            }
            for (size_t j = q; s > 0 && j < f->columns; j += CLASSES) {
                double factor = column[p][j] / s;
                for (size_t i = p; i < f->rows; i += CLASSES) {
                    effective[j * f->rows + i] += (float)(factor * row[q][i]);
                }
            }
        }
    }
}

/* U and V (row planes) of the rows' Green's functions. False where attenuation leaves the range of floats. */
static bool green_factors(const struct fold *f, float *u, float *v) {
    size_t n = f->rows, last = f->columns - 1;
    const float *alpha = f->row_ladder.alpha;
    for (size_t i = 0; i < n; i++) {
        v[i] = 1;
    }
    for (size_t j = 0; j < last; j++) {
        for (size_t i = 0; i < n; i++) {
            v[(j + 1) * n + i] = v[j * n + i] / alpha[j * n + i];
        }
    }
    memcpy(u + last * n, alpha + last * n, n * sizeof *u);
    for (size_t j = last; j-- > 0;) {
        float ohm = ladder_step_ohm(&f->row, j);
        for (size_t i = 0; i < n; i++) {
            float a = alpha[j * n + i];
            u[j * n + i] = a * (u[(j + 1) * n + i] * a + ohm);
        }
    }
    float most = 0;
    for (size_t k = 0; k < f->cells; k++) {
        most = v[k] > most ? v[k] : most;
        u[k] /= v[k];
    }
    return most < 1e18F;
}

/* One column j' = `via` and the columns j in [first, first + width): its part of E1, sum over i' of its own sweep.
 * Planes are column planes with `stride` columns; near: V t g (for j <= j'), far: U t g. j_sweep: [rows][width]. */
struct detour {
    const float *near, *far, *alpha, *scale_near, *scale_far, *weight; /* the last four: [rows], of column j' */
    float *sweep, *sum;
    size_t rows, stride, first, width, via;
    const struct lines *column;
};

static void scaled(float *restrict out, const float *restrict in, float factor, size_t from, size_t to) {
    for (size_t l = from; l < to; l++) {
        out[l] = factor * in[l];
    }
}

static void detour_column(const struct detour *d) {
    size_t w = d->width, split = d->via < d->first ? 0 : d->via - d->first + 1;
    split = split < w ? split : w;
    for (size_t i = 0; i < d->rows; i++) {
        float *restrict here = d->sweep + i * w;
        scaled(here, d->near + i * d->stride + d->first, d->scale_near[i], 0, split);
        scaled(here, d->far + i * d->stride + d->first, d->scale_far[i], split, w);
        if (i > 0) {
            const float *restrict before = here - w, alpha = d->alpha[i - 1];
            for (size_t l = 0; l < w; l++) {
                here[l] += alpha * before[l];
            }
        }
    }
    float x[LANES] = {0};
    for (size_t i = d->rows; i-- > 0;) {
        const float *restrict here = d->sweep + i * w, alpha = d->alpha[i], weight = d->weight[i];
        float *restrict sum = d->sum + i * d->stride + d->first;
        float ohm = i + 1 < d->rows ? ladder_step_ohm(d->column, i) : 1; /* the last: x = J / Y, alpha = 1 / Y */
        for (size_t l = 0; l < w; l++) {
            x[l] = alpha * (x[l] + ohm * here[l]);
            sum[l] += weight * x[l];
        }
    }
}

/* effective += E1. */
static bool add_first_term(struct fold *f, float *effective) {
    size_t n = f->cells, rows = f->rows;
    float *u = f->work, *v = u + n, *uT = v + n, *vT = uT + n, *alpha = vT + n, *sum = alpha + n;
    if (!green_factors(f, u, v)) {
        return false;
    }
    plane_transpose(u, f->columns, rows, uT);
    plane_transpose(v, f->columns, rows, vT);
    plane_transpose(f->column_ladder.alpha, rows, f->columns, alpha);
    for (size_t k = 0; k < n; k++) {
        uT[k] *= f->tT[k] * f->gT[k];
        vT[k] *= f->tT[k] * f->gT[k];
        u[k] *= f->g[k];
        v[k] *= f->g[k];
        f->xT[k] = 0;
    }
    for (size_t k = 0; k < n; k++) {
        sum[k] = f->g[k] * f->a[k]; /* weights, row plane */
    }
    for (size_t first = 0; first < f->columns; first += LANES) {
        size_t width = f->columns - first < LANES ? f->columns - first : LANES;
        for (size_t via = 0; via < f->columns; via++) {
            detour_column(&(struct detour){.near = vT,
                                           .far = uT,
                                           .alpha = alpha + via * rows,
                                           .scale_near = u + via * rows,
                                           .scale_far = v + via * rows,
                                           .weight = sum + via * rows,
                                           .sweep = f->x,
                                           .sum = f->xT,
                                           .rows = rows,
                                           .stride = f->columns,
                                           .first = first,
                                           .width = width,
                                           .via = via,
                                           .column = &f->column});
        }
    }
    plane_transpose(f->xT, rows, f->columns, f->x);
    for (size_t k = 0; k < n; k++) {
        effective[k] += f->x[k];
    }
    return true;
}

/* ---- the two levels -------------------------------------------------------------------------- */

static void lay_out(struct correction *c, struct fold *f) {
    double *at = f->vectors;
    memset(at, 0, FOLD_VECTORS * (f->rows + f->columns) * sizeof *at);
    c->out = at;
    c->work = c->out + f->rows + f->columns;
    c->column_sum = c->work + f->rows + f->columns;
    at = c->column_sum + f->columns;
    for (size_t p = 0; p < CLASSES; p++) {
        c->column_first[p] = at;
        c->column_rest[p] = at + f->columns;
        c->row_first[p] = at + 2 * f->columns;
        c->row_rest[p] = c->row_first[p] + f->rows;
        at += 2 * (f->columns + f->rows);
    }
    for (size_t n = 0; n < SIGN_FIELDS; n++, at += f->columns) {
        c->truth[n] = at;
    }
}

void fold_correct(struct fold *f, double tolerance, float *effective, struct fold_result *r) {
    if (lines_ideal(&f->row) || lines_ideal(&f->column) || f->full_S <= 0) {
        return; /* there are no detours */
    }
    struct correction c = {.f = f, .tail_S = 0.02 * tolerance * f->full_S};
    lay_out(&c, f);
    if (!measure_sums(&c, r) || !measure_signs(&c)) {
        return;
    }
    r->used = WIRES_CORRECTED;
    double *columns[CLASSES], *rows[CLASSES];
    for (size_t p = 0; p < CLASSES; p++) { /* sums of C = of E1 and of the rest */
        columns[p] = c.column_first[p];
        rows[p] = c.row_first[p];
        add(columns[p], c.column_rest[p], 1, f->columns);
        add(rows[p], c.row_rest[p], 1, f->rows);
    }
    add_rank_one(f, columns, rows, effective);
    r->estimated_error = estimate(&c, effective);
    if (r->estimated_error <= tolerance) {
        return;
    }
    fold_product(f, effective);
    if (add_first_term(f, effective)) {
        add_rank_one(f, c.column_rest, c.row_rest, effective);
    }
    r->estimated_error = estimate(&c, effective);
}
