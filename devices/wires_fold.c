/* Folding: the wire network of one array as a matrix of effective conductances.
 *
 * With P the row lines solved while the columns are grounded, Q the column lines solved while the rows are grounded,
 * and D the cells, the network is a fixed point between the two families, and its map a series of non-negative terms:
 *   E = out Q D (1 + P D Q D + (P D Q D)^2 + ...) P in
 * Its first term is the product  E0[j][i] = g[i][j] x a[i][j] x t[i][j]:  a the potential of the row at the cell for 1
 * V at its input, t the part of a current into the column at the cell that reaches its output (by reciprocity: the
 * potential at the cell for 1 V at the output). What it leaves out is current that goes through a second cell of the
 * column back into another row and from there into a second column.
 *
 * Error of the product: E - E0 has no negative entry, so for inputs between -1 and 1 V the largest error of column j is
 * sum_i (E - E0)[j][i], the error with every row at 1 V. That is the rest of the series for one field: two terms are
 * computed, what follows is taken as geometric.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "devices/wires_fold.h"

enum { PRODUCT_PLANES = 7 };
static const double EXACT_ERROR = 1e-7; /* results are floats: half an ulp of every entry */
static const double ROUNDING = 2e-7;    /* of a product of three floats */
static const double GEOMETRIC = 1.05;   /* later terms fall off slower than the second from the first */

size_t wires_fold_scratch_bytes(size_t rows, size_t columns) {
    return FOLD_VECTORS * (rows + columns) * sizeof(double) +
           (PRODUCT_PLANES + CORRECTION_PLANES) * rows * columns * sizeof(float);
}

/* Measured at 256 x 256 to 1024 x 2048 cells: 1.9e-8 to 3.3e-8 per cell, 1.8e-9 to 3e-9 per row and pair of columns,
 * 3.3e-8 to 4.7e-8 per cell^1.5. */
double wires_fold_s(enum wires_method method, size_t rows, size_t columns) {
    double cells = (double)rows * (double)columns, product_s = 3e-8 * cells,
           corrected_s = product_s + 2.5e-9 * cells * (double)columns, exact_s = 4.5e-8 * pow(cells, 1.5);
    switch (method) {
    case WIRES_PRODUCT: return product_s;
    case WIRES_CORRECTED: return corrected_s;
    case WIRES_EXACT: return exact_s;
    case WIRES_AUTOMATIC: break;
    }
    return corrected_s + exact_s;
}

static enum status check_input(const struct wires *w, size_t rows, size_t columns, const float *g_S,
                               const struct fold_options *o, struct error *e) {
    TRY(wires_check_array("wires", w, rows, columns, e));
    if (o->method < WIRES_AUTOMATIC || o->method > WIRES_EXACT) {
        return error_set(e, ERR_USAGE, "wires: method %d (allowed: automatic, product, corrected, exact)", o->method);
    }
    if (!(o->tolerance > 0 && o->tolerance <= 1)) {
        return error_set(e, ERR_USAGE, "wires: tolerance = %g (allowed: above 0, at most 1)", o->tolerance);
    }
    for (size_t k = 0; k < rows * columns; k++) {
        if (!(g_S[k] >= 0 && g_S[k] <= 1e6F)) {
            return error_set(e, ERR_USAGE, "wires: cell in row %zu, column %zu: %g S (allowed: 0 to 1e6)", k % rows,
                             k / rows, (double)g_S[k]);
        }
    }
    return OK;
}

/* ---- product ----------------------------------------------------------------------------------------------------- */

/* a or t: 1 - drop, where the drop is the line's answer to the currents that its cells draw at full potential. */
static void attenuation(const struct ladder *l, const float *g, size_t cells, float *out) {
    memcpy(out, g, cells * sizeof *out);
    ladder_solve(l, out);
    for (size_t k = 0; k < cells; k++) {
        out[k] = 1 - out[k];
    }
}

static void prepare(struct fold *f, const struct wires *w, size_t rows, size_t columns, const float *g, void *memory) {
    size_t cells = rows * columns;
    *f = (struct fold){.rows = rows, .columns = columns, .cells = cells, .g = g, .vectors = memory};
    void *planes = f->vectors + FOLD_VECTORS * (rows + columns);
    float *scratch = planes;
    f->row = wires_rows(w, rows, columns);
    f->column = wires_columns(w, rows, columns);
    f->gT = scratch;
    f->a = scratch + cells;
    f->tT = scratch + 2 * cells;
    f->x = scratch + 3 * cells;
    f->xT = scratch + 4 * cells;
    f->work = scratch + PRODUCT_PLANES * cells;
    plane_transpose(g, columns, rows, f->gT);
    ladder_prepare(&f->row_ladder, &f->row, g, scratch + 5 * cells);
    ladder_prepare(&f->column_ladder, &f->column, f->gT, scratch + 6 * cells);
    attenuation(&f->row_ladder, g, cells, f->a);
    attenuation(&f->column_ladder, f->gT, cells, f->tT);
}

void fold_product(const struct fold *f, float *effective) {
    plane_transpose(f->tT, f->rows, f->columns, effective);
    for (size_t k = 0; k < f->cells; k++) {
        effective[k] = f->g[k] * f->a[k] * effective[k];
    }
}

/* ---- the series for one field ------------------------------------------------------------------------------------ */

static double sum_floats(const float *a, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) {
        s += (double)a[i];
    }
    return s;
}

/* field x= g; out = sum over the lines' cells of weight x field: in single precision, 1e-6 of the sum. */
static void collect(size_t cells, size_t lines, const float *g, const float *weight, float *field, double *out) {
    enum { BLOCK = 64 };
    for (size_t first = 0; first < lines; first += BLOCK) {
        size_t n = lines - first < BLOCK ? lines - first : BLOCK;
        float sum[BLOCK] = {0};
        for (size_t k = 0; k < cells; k++) {
            float *restrict x = field + k * lines + first;
            const float *restrict cell = g + k * lines + first, *restrict w = weight + k * lines + first;
            for (size_t i = 0; i < n; i++) {
                x[i] *= cell[i];
                sum[i] += w[i] * x[i];
            }
        }
        for (size_t i = 0; i < n; i++) {
            out[first + i] = (double)sum[i];
        }
    }
}

static void multiply(float *field, const float *g, size_t n) {
    for (size_t k = 0; k < n; k++) {
        field[k] *= g[k];
    }
}

void fold_forward(struct fold *f, double *out) {
    plane_transpose(f->x, f->columns, f->rows, f->xT);
    collect(f->rows, f->columns, f->gT, f->tT, f->xT, out);
    ladder_solve(&f->column_ladder, f->xT);
    multiply(f->xT, f->gT, f->cells);
    plane_transpose(f->xT, f->rows, f->columns, f->x);
    ladder_solve(&f->row_ladder, f->x);
}

void fold_backward(struct fold *f, double *out) {
    plane_transpose(f->xT, f->rows, f->columns, f->x);
    collect(f->columns, f->rows, f->g, f->a, f->x, out);
    ladder_solve(&f->row_ladder, f->x);
    multiply(f->x, f->g, f->cells);
    plane_transpose(f->x, f->columns, f->rows, f->xT);
    ladder_solve(&f->column_ladder, f->xT);
}

/* ---- error of the product
 * ---------------------------------------------------------------------------------------------- */

static void estimate_product(struct fold *f, struct fold_result *r) {
    double *out = f->vectors, *sum = out + f->columns;
    memset(sum, 0, f->columns * sizeof *sum);
    double largest[3] = {0, 0, 0}, total = 0, ideal = sum_floats(f->g, f->cells);
    memcpy(f->x, f->a, f->cells * sizeof *f->x);
    for (int n = 0; n < 3; n++) {
        fold_forward(f, out);
        for (size_t j = 0; j < f->columns; j++) {
            largest[n] = fmax(largest[n], out[j]);
            sum[j] += out[j];
        }
    }
    f->full_S = 0;
    for (size_t j = 0; j < f->columns; j++) {
        f->full_S = fmax(f->full_S, sum[j]);
        total += sum[j];
    }
    double ratio = largest[1] > 0 ? largest[2] / largest[1] : 0;
    double rest_S = ratio < 1 ? GEOMETRIC * largest[1] / (1 - ratio) : f->full_S;
    r->estimated_error = f->full_S > 0 ? rest_S / f->full_S + ROUNDING : 0;
    r->loss = ideal > 0 ? 1 - total / ideal : 0;
}

/* ---- exact
 * ------------------------------------------------------------------------------------------------------------ */

enum { COLUMNS_AT_ONCE = 16 };

/* Every column refined, one by one. */
static enum status refined_columns(struct network *n, size_t rows, size_t columns, double *work, float *effective,
                                   struct error *e) {
    for (size_t j = 0; j < columns; j++) {
        TRY(network_column(n, j, work, e));
        for (size_t i = 0; i < rows; i++) {
            effective[j * rows + i] = (float)work[i];
        }
    }
    return OK;
}

static enum status exact(const struct wires *w, size_t rows, size_t columns, const float *g, float *effective,
                         struct fold_result *r, struct error *e) {
    size_t cells = rows * columns;
    double *wide = mem_alloc(cells, sizeof *wide);
    if (!wide) {
        return error_set(e, ERR_RUN, "wires: out of memory");
    }
    for (size_t k = 0; k < cells; k++) {
        wide[k] = (double)g[k];
    }
    struct network *n = NULL;
    enum status s = network_create(w, rows, columns, wide, &n, e);
    struct lines row = wires_rows(w, rows, columns), column = wires_columns(w, rows, columns);
    bool refine = lines_stiff(&row) || lines_stiff(&column);
    if (s == OK && refine) {
        s = refined_columns(n, rows, columns, wide, effective, e);
    }
    for (size_t j = 0; s == OK && !refine && j < columns; j += COLUMNS_AT_ONCE) {
        size_t count = columns - j < COLUMNS_AT_ONCE ? columns - j : COLUMNS_AT_ONCE;
        s = network_columns(n, j, count, effective + j * rows, e);
    }
    network_destroy(n);
    mem_free(wide);
    if (s == OK) {
        double ideal = sum_floats(g, cells);
        *r = (struct fold_result){WIRES_EXACT, EXACT_ERROR, ideal > 0 ? 1 - sum_floats(effective, cells) / ideal : 0};
    }
    return s;
}

/* ---- input conductance ------------------------------------------------------------------------------------------- */

void wires_input_conductance(const struct wires *w, size_t rows, size_t columns, const float *g_S, void *scratch,
                             double *input_S) {
    struct lines row = wires_rows(w, rows, columns);
    struct ladder l;
    float *drop = scratch;
    ladder_prepare(&l, &row, g_S, drop + rows * columns);
    memcpy(drop, g_S, rows * columns * sizeof *drop);
    ladder_solve(&l, drop);
    memset(input_S, 0, rows * sizeof *input_S);
    for (size_t j = 0; j < columns; j++) {
        for (size_t i = 0; i < rows; i++) {
            input_S[i] += (double)(g_S[j * rows + i] * (1 - drop[j * rows + i]));
        }
    }
}

/* ---- choice
 * ------------------------------------------------------------------------------------------------------------ */

enum status wires_fold(const struct wires *w, size_t rows, size_t columns, const float *g_S,
                       const struct fold_options *o, void *scratch, float *effective_S, struct fold_result *result,
                       struct error *e) {
    TRY(check_input(w, rows, columns, g_S, o, e));
    struct fold_result unwanted = {.used = WIRES_PRODUCT};
    bool wanted = result || o->method != WIRES_PRODUCT;
    result = result ? result : &unwanted;
    if (o->method == WIRES_EXACT) {
        return exact(w, rows, columns, g_S, effective_S, result, e);
    }
    struct fold f;
    prepare(&f, w, rows, columns, g_S, scratch);
    fold_product(&f, effective_S);
    if (!wanted) {
        return OK;
    }
    *result = (struct fold_result){.used = WIRES_PRODUCT};
    estimate_product(&f, result);
    if (o->method == WIRES_PRODUCT || (o->method == WIRES_AUTOMATIC && result->estimated_error <= o->tolerance)) {
        return OK;
    }
    fold_correct(&f, o->tolerance, effective_S, result);
    if (o->method == WIRES_AUTOMATIC && result->estimated_error > o->tolerance) {
        return exact(w, rows, columns, g_S, effective_S, result, e);
    }
    return OK;
}
