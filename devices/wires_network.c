/* The exact network: sparse nodal analysis of one array.
 *
 * Unknowns and equations: devices/wires_internal.h. The matrix L + D is symmetric and positive definite (every wire
 * node is joined to an outside by resistances), so it is factorised once by CHOLMOD (Chen, Davis, Hager, Rajamanickam,
 * ACM TOMS 35, 2008), simplicial: plain loops in a fixed order, no BLAS, so the bits do not depend on threads. Each
 * solution is refined with residuals taken branch by branch. For a few solutions lines are solved in turns instead
 * (wires_sweeps.c), by the same residuals.
 *
 * Currents are sums of cell currents g (V + u_row - u_column), never differences of node voltages over a small wire
 * resistance. By reciprocity the current that 1 V behind column j drives into the input of row i is the effective
 * conductance E[j][i]: one solve gives a whole column.
 *
 * CHOLMOD brings its own memory; everything else goes through base/memory.h.
 */
#include <math.h>
#include <string.h>
#include <suitesparse/cholmod.h>

#include "base/memory.h"
#include "devices/wires_internal.h"

struct network {
    struct lines row, column;
    size_t unknowns, row_unknowns;
    double *g_S;  /* [columns][rows] */
    bool *driven; /* [rows] */
    double *work; /* 3 x unknowns: solution, residual, step; then columns x rows cell currents */
    cholmod_common common;
    cholmod_sparse *matrix;
    cholmod_factor *factor;
    cholmod_dense *step, *y, *e; /* kept between solves */
    struct sweeps *sweeps;       /* NULL: factorised */
};

/* ---- nodes -------------------------------------------------------------------------------------------------- */

static const size_t OUTSIDE = SIZE_MAX;
enum { PASSES_MAX = 12, SWEEPS_MAX = 60 };
static const double REFINED = 1e-14, SWEPT = 1e-12; /* change of the last pass, over the largest drop */

static size_t row_node(const struct network *n, size_t row, size_t column) {
    return lines_ideal(&n->row) ? OUTSIDE : row * n->row.nodes + lines_node(&n->row, column);
}

static size_t column_node(const struct network *n, size_t row, size_t column) {
    return lines_ideal(&n->column) ? OUTSIDE : n->row_unknowns + column * n->column.nodes + lines_node(&n->column, row);
}

static double at(const double *u, size_t node) { return node == OUTSIDE ? 0 : u[node]; }

size_t network_unknowns(const struct network *n) { return n->unknowns; }

double network_row_u(const struct network *n, const double *u, size_t row, size_t column) {
    return at(u, row_node(n, row, column));
}

double network_column_u(const struct network *n, const double *u, size_t row, size_t column) {
    return at(u, column_node(n, row, column));
}

/* ---- wires: every branch once ----------------------------------------------------------------------------------- */

typedef void branch_visitor(void *context, size_t a, size_t b, double siemens); /* b may be OUTSIDE */

static void visit_lines(const struct lines *l, size_t base, const bool *connected, branch_visitor *visit,
                        void *context) {
    for (size_t line = 0; !lines_ideal(l) && line < l->count; line++) {
        size_t first = base + line * l->nodes;
        for (size_t k = 0; k + 1 < l->nodes; k++) {
            visit(context, first + k, first + k + 1, 1 / l->step_ohm);
        }
        if (lines_at_first(l, line) && (!connected || connected[line])) {
            visit(context, first, OUTSIDE, 1 / l->port_ohm);
        }
        if (lines_at_last(l, line) && (!connected || connected[line])) {
            visit(context, first + l->nodes - 1, OUTSIDE, 1 / l->port_ohm);
        }
    }
}

static void visit_wires(const struct network *n, branch_visitor *visit, void *context) {
    visit_lines(&n->row, 0, n->driven, visit, context);
    visit_lines(&n->column, n->row_unknowns, NULL, visit, context);
}

/* ---- matrix --------------------------------------------------------------------------------------------------- */

struct entries {
    double *diagonal; /* [unknowns] */
    cholmod_triplet *t;
};

static void put(cholmod_triplet *t, size_t row, size_t column, double value) {
    ((int *)t->i)[t->nnz] = (int)row;
    ((int *)t->j)[t->nnz] = (int)column;
    ((double *)t->x)[t->nnz++] = value;
}

static void add_branch(void *context, size_t a, size_t b, double siemens) {
    struct entries *m = context;
    if (a != OUTSIDE) {
        m->diagonal[a] += siemens;
    }
    if (b != OUTSIDE) {
        m->diagonal[b] += siemens;
    }
    if (a != OUTSIDE && b != OUTSIDE) {
        put(m->t, a > b ? a : b, a > b ? b : a, -siemens);
    }
}

static enum status out_of_memory(struct error *e) { return error_set(e, ERR_RUN, "wires: out of memory"); }

/* Lower triangle of L + D. Cells of 0 S keep their place, so that the pattern never changes. */
static cholmod_sparse *assemble(struct network *n, const double *cell_S) {
    size_t cells = n->row.count * n->column.count, most = n->unknowns * 2 + cells;
    struct entries m = {mem_alloc(n->unknowns, sizeof(double)),
                        cholmod_allocate_triplet(n->unknowns, n->unknowns, most, -1, CHOLMOD_REAL, &n->common)};
    cholmod_sparse *a = NULL;
    if (m.diagonal && m.t) {
        visit_wires(n, add_branch, &m);
        for (size_t j = 0; j < n->column.count; j++) {
            for (size_t i = 0; i < n->row.count; i++) {
                add_branch(&m, row_node(n, i, j), column_node(n, i, j), cell_S[j * n->row.count + i]);
            }
        }
        for (size_t k = 0; k < n->unknowns; k++) {
            put(m.t, k, k, m.diagonal[k]);
        }
        a = cholmod_triplet_to_sparse(m.t, most, &n->common);
    }
    cholmod_free_triplet(&m.t, &n->common);
    mem_free(m.diagonal);
    return a;
}

/* Marks the nodes next to a source. */
static void mark_port(void *context, size_t a, size_t b, double siemens) {
    int *last = context;
    (void)siemens;
    if (b == OUTSIDE) {
        last[a] = 1;
    }
}

/* Eliminates the nodes next to the sources last: what is left of the factors there is the array as the sources see it.
 * Costs no more than an order without that wish: 7.3 against 7.7 million entries for 256 x 512 cells. NULL: out of
 * memory. */
static cholmod_factor *analyse(struct network *n) {
    int *last = mem_alloc(2 * n->unknowns, sizeof *last), *order = last ? last + n->unknowns : NULL;
    cholmod_factor *factor = NULL;
    if (last) {
        visit_lines(&n->row, 0, NULL, mark_port, last);
        if (cholmod_camd(n->matrix, NULL, 0, last, order, &n->common)) {
            factor = cholmod_analyze_p(n->matrix, order, NULL, 0, &n->common);
        }
    }
    mem_free(last);
    return factor;
}

enum status network_factorise(struct network *n, const double *cell_S, struct error *e) {
    if (n->unknowns == 0) {
        return OK;
    }
    cholmod_free_sparse(&n->matrix, &n->common);
    n->matrix = assemble(n, cell_S);
    if (!n->matrix) {
        return out_of_memory(e);
    }
    if (!n->factor) {
        n->factor = analyse(n);
    }
    if (!n->factor || !cholmod_factorize(n->matrix, n->factor, &n->common) || n->common.status < CHOLMOD_OK) {
        return out_of_memory(e);
    }
    if (n->common.status == CHOLMOD_NOT_POSDEF || n->factor->minor < n->unknowns) {
        return error_set(e, ERR_RUN,
                         "wires: the network has a node whose voltage nothing fixes (allowed: every floating "
                         "row has a cell that conducts)");
    }
    return OK;
}

/* ---- create --------------------------------------------------------------------------------------------------- */

static enum status check_cells(size_t rows, size_t columns, const double *g_S, struct error *e) {
    for (size_t k = 0; k < rows * columns; k++) {
        if (!(g_S[k] >= 0 && g_S[k] <= 1e6)) {
            return error_set(e, ERR_USAGE, "wires: cell in row %zu, column %zu: %g S (allowed: 0 to 1e6)", k % rows,
                             k / rows, g_S[k]);
        }
    }
    return OK;
}

/* A floating row without a conducting cell carries no current whatever its potential: any fixed one is exact. */
static bool hangs_on_cells(const struct network *n, size_t row) {
    for (size_t j = 0; j < n->column.count; j++) {
        if (n->g_S[j * n->row.count + row] > 0) {
            return true;
        }
    }
    return false;
}

static enum status fill_pattern(struct network *n, const double *g_S, const bool *driven, struct error *e) {
    size_t rows = n->row.count, columns = n->column.count;
    n->row_unknowns = lines_ideal(&n->row) ? 0 : rows * n->row.nodes;
    n->unknowns = n->row_unknowns + (lines_ideal(&n->column) ? 0 : columns * n->column.nodes);
    n->g_S = mem_alloc(rows * columns, sizeof *n->g_S);
    n->driven = mem_alloc(rows, sizeof *n->driven);
    n->work = mem_alloc(3 * n->unknowns + rows * columns, sizeof *n->work);
    if (!n->g_S || !n->driven || !n->work) {
        return out_of_memory(e);
    }
    memcpy(n->g_S, g_S, rows * columns * sizeof *g_S);
    for (size_t i = 0; i < rows; i++) {
        n->driven[i] = !driven || driven[i] || !hangs_on_cells(n, i);
        if (!n->driven[i] && lines_ideal(&n->row)) {
            return error_set(e, ERR_USAGE,
                             "wires: row %zu floats behind a driver of 0 ohm (allowed: input_ohm or row_ohm "
                             "above 0 where rows float)",
                             i);
        }
    }
    return OK;
}

enum status network_pattern(const struct wires *w, size_t rows, size_t columns, const double *g_S, const bool *driven,
                            struct network **out, struct error *e) {
    *out = NULL;
    TRY(wires_check_array("wires", w, rows, columns, e));
    TRY(check_cells(rows, columns, g_S, e));
    struct network *n = mem_alloc(1, sizeof *n);
    if (!n) {
        return out_of_memory(e);
    }
    n->row = wires_rows(w, rows, columns);
    n->column = wires_columns(w, rows, columns);
    cholmod_start(&n->common);
    n->common.supernodal = CHOLMOD_SIMPLICIAL;
    n->common.print = 0;
    /* The other ordering, METIS, draws from random numbers that all threads share. It is no faster here. */
    n->common.nmethods = 1;
    n->common.method[0].ordering = CHOLMOD_GIVEN; /* CAMD */
    n->common.postorder = false;
    enum status s = fill_pattern(n, g_S, driven, e);
    if (s != OK) {
        network_destroy(n);
        return s;
    }
    *out = n;
    return OK;
}

enum status network_create(const struct wires *w, size_t rows, size_t columns, const double *g_S, struct network **out,
                           struct error *e) {
    TRY(network_pattern(w, rows, columns, g_S, NULL, out, e));
    enum status s = network_factorise(*out, g_S, e);
    if (s != OK) {
        network_destroy(*out);
        *out = NULL;
    }
    return s;
}

enum status network_create_for_few(const struct wires *w, size_t rows, size_t columns, const double *g_S,
                                   struct network **out, struct error *e) {
    TRY(network_pattern(w, rows, columns, g_S, NULL, out, e));
    (*out)->sweeps = sweeps_create(&(*out)->row, &(*out)->column, (*out)->g_S);
    if (!(*out)->sweeps) {
        network_destroy(*out);
        *out = NULL;
        return out_of_memory(e);
    }
    return OK;
}

void network_destroy(struct network *n) {
    if (!n) {
        return;
    }
    sweeps_destroy(n->sweeps);
    cholmod_free_dense(&n->step, &n->common);
    cholmod_free_dense(&n->y, &n->common);
    cholmod_free_dense(&n->e, &n->common);
    cholmod_free_factor(&n->factor, &n->common);
    cholmod_free_sparse(&n->matrix, &n->common);
    cholmod_finish(&n->common);
    mem_free(n->g_S);
    mem_free(n->driven);
    mem_free(n->work);
    mem_free(n);
}

/* ---- solve ---------------------------------------------------------------------------------------------------- */

struct flow {
    const double *u;
    double *out_A;
};

static void add_flow(void *context, size_t a, size_t b, double siemens) {
    struct flow *f = context;
    double ampere = siemens * (f->u[a] - at(f->u, b));
    f->out_A[a] += ampere;
    if (b != OUTSIDE) {
        f->out_A[b] -= ampere;
    }
}

void network_residual(const struct network *n, const double *u, const double *cell_A, double *residual) {
    memset(residual, 0, n->unknowns * sizeof *residual);
    visit_wires(n, add_flow, &(struct flow){u, residual});
    for (size_t j = 0; j < n->column.count; j++) {
        for (size_t i = 0; i < n->row.count; i++) {
            double ampere = cell_A[j * n->row.count + i];
            size_t a = row_node(n, i, j), b = column_node(n, i, j);
            if (a != OUTSIDE) {
                residual[a] += ampere;
            }
            if (b != OUTSIDE) {
                residual[b] -= ampere;
            }
        }
    }
}

enum status network_newton_step(struct network *n, const double *residual, double *step, struct error *e) {
    if (n->unknowns == 0) {
        return OK;
    }
    cholmod_dense right = {
        .nrow = n->unknowns, .ncol = 1, .nzmax = n->unknowns, .d = n->unknowns, .xtype = CHOLMOD_REAL};
    for (size_t k = 0; k < n->unknowns; k++) {
        step[k] = -residual[k];
    }
    right.x = step;
    if (!cholmod_solve2(CHOLMOD_A, n->factor, &right, NULL, &n->step, NULL, &n->y, &n->e, &n->common)) {
        return out_of_memory(e);
    }
    memcpy(step, n->step->x, n->unknowns * sizeof *step);
    return OK;
}

/* Cell currents at u with these voltages outside the lines (NULL: 0 everywhere). */
static void cell_currents(const struct network *n, const double *row_V, const double *column_V, const double *u,
                          double *cell_A) {
    for (size_t j = 0; j < n->column.count; j++) {
        for (size_t i = 0; i < n->row.count; i++) {
            size_t k = j * n->row.count + i;
            double volts = (row_V ? row_V[i] : 0) - (column_V ? column_V[j] : 0);
            cell_A[k] = n->g_S[k] * (volts + at(u, row_node(n, i, j)) - at(u, column_node(n, i, j)));
        }
    }
}

/* One pass towards the solution for voltages outside: u and cell currents; change: its largest, over the largest u. */
static enum status improve(struct network *n, const double *row_V, const double *column_V, double *change,
                           struct error *e) {
    double *u = n->work, *residual = u + n->unknowns, *step = residual + n->unknowns, *cell_A = step + n->unknowns;
    double most = 0, size = 0;
    network_residual(n, u, cell_A, residual);
    if (n->sweeps) {
        sweeps_step(n->sweeps, residual, step);
    } else {
        TRY(network_newton_step(n, residual, step, e));
    }
    for (size_t k = 0; k < n->unknowns; k++) {
        u[k] += step[k];
        most = fmax(most, fabs(step[k]));
        size = fmax(size, fabs(u[k]));
    }
    cell_currents(n, row_V, column_V, u, cell_A);
    *change = most > 0 ? most / size : 0;
    return OK;
}

/* u and cell currents for voltages outside. */
static enum status solve(struct network *n, const double *row_V, const double *column_V, struct error *e) {
    double *u = n->work, change = 1;
    memset(u, 0, n->unknowns * sizeof *u);
    cell_currents(n, row_V, column_V, u, u + 3 * n->unknowns);
    for (int pass = 0; n->sweeps && change > SWEPT; pass++) {
        if (pass == SWEEPS_MAX) { /* the wires are too strong for it */
            sweeps_destroy(n->sweeps);
            n->sweeps = NULL;
            TRY(network_factorise(n, n->g_S, e));
        } else {
            TRY(improve(n, row_V, column_V, &change, e));
        }
    }
    for (int pass = 0; !n->sweeps && change > REFINED; pass++) {
        if (pass == PASSES_MAX) {
            return error_set(e, ERR_RUN,
                             "wires: the network is too stiff for doubles: solutions still change by %.1e (allowed: "
                             "terminals at most about 1e12 times the resistance of the wires)",
                             change);
        }
        TRY(improve(n, row_V, column_V, &change, e));
    }
    return OK;
}

enum status network_solve(struct network *n, const double *input_V, double *out_A, double *power_W, double *row_V,
                          double *column_V, struct error *e) {
    size_t rows = n->row.count, columns = n->column.count;
    for (size_t i = 0; i < rows; i++) {
        if (!isfinite(input_V[i])) {
            return error_set(e, ERR_USAGE, "wires: input %zu is %g V (allowed: finite numbers)", i, input_V[i]);
        }
    }
    TRY(solve(n, input_V, NULL, e));
    const double *u = n->work, *cell_A = u + 3 * n->unknowns;
    double power = 0;
    for (size_t j = 0; j < columns; j++) {
        double sum = 0;
        for (size_t i = 0; i < rows; i++) {
            sum += cell_A[j * rows + i];
            power += input_V[i] * cell_A[j * rows + i];
            if (row_V) {
                row_V[i * columns + j] = input_V[i] + network_row_u(n, u, i, j);
            }
            if (column_V) {
                column_V[i * columns + j] = network_column_u(n, u, i, j);
            }
        }
        out_A[j] = sum;
    }
    if (power_W) {
        *power_W = power;
    }
    return OK;
}

enum status network_column(struct network *n, size_t column, double *effective_S, struct error *e) {
    size_t rows = n->row.count, columns = n->column.count;
    if (column >= columns) {
        return error_set(e, ERR_USAGE, "wires: column %zu of an array of %zu columns", column, columns);
    }
    double *volts = mem_alloc(columns, sizeof *volts);
    if (!volts) {
        return out_of_memory(e);
    }
    volts[column] = -1; /* drives current towards the inputs */
    enum status s = solve(n, NULL, volts, e);
    mem_free(volts);
    TRY(s);
    const double *cell_A = n->work + 3 * n->unknowns;
    for (size_t i = 0; i < rows; i++) {
        effective_S[i] = 0;
        for (size_t j = 0; j < columns; j++) {
            effective_S[i] += cell_A[j * rows + i];
        }
    }
    return OK;
}

/* ---- from outside to outside ------------------------------------------------------------------------------------ */

/* The last `count` unknowns of x = (L D L')^-1 x with the factors L D L'; x is 0 before `first`. What lies between is
 * left eliminated. */
static void solve_last(const cholmod_factor *f, size_t first, size_t count, double *x) {
    const int *start = f->p, *length = f->nz, *index = f->i;
    const double *value = f->x;
    int last = (int)(f->n - count);
    for (int j = (int)first; j < (int)f->n; j++) {
        for (int k = start[j] + 1; x[j] != 0 && k < start[j] + length[j]; k++) {
            x[index[k]] -= value[k] * x[j];
        }
    }
    for (int j = (int)f->n - 1; j >= last; j--) {
        x[j] /= value[start[j]];
        for (int k = start[j] + 1; k < start[j] + length[j]; k++) {
            x[j] -= value[k] * x[index[k]];
        }
    }
}

/* Number of nodes next to a source, if the factors end with them; 0: not. is_port [unknowns], zero before. */
static size_t last_ports(const struct network *n, int *is_port) {
    size_t count = 0;
    const int *order = n->factor->Perm;
    visit_lines(&n->row, 0, NULL, mark_port, is_port);
    for (size_t k = 0; k < n->unknowns; k++) {
        count += (size_t)is_port[k];
    }
    for (size_t k = n->unknowns - count; k < n->unknowns; k++) {
        if (!is_port[order[k]]) {
            return 0;
        }
    }
    return n->factor->is_ll || n->factor->is_super ? 0 : count;
}

/* Conductance between a node next to an outside and that outside: twice that of a port where one node has both ends. */
static double port_S(const struct lines *l) { return (l->ends == ENDS_BOTH && l->nodes == 1 ? 2 : 1) / l->port_ohm; }

/* What reaches the inputs from 1 V behind a column, without what lies between: G into the column's ports, G v out of
 * the rows'. All terms are positive. x [unknowns], row_S [rows]. */
static void column_of_ports(const struct network *n, size_t ports, const int *place, size_t column, double *x,
                            double *row_S) {
    const struct lines *l = &n->column;
    const int *node = n->factor->Perm;
    size_t first = n->unknowns, base = n->row_unknowns + column * l->nodes;
    size_t at_ends[] = {base, base + l->nodes - 1};
    bool open[] = {lines_at_first(l, column), lines_at_last(l, column)};
    memset(x, 0, n->unknowns * sizeof *x);
    memset(row_S, 0, n->row.count * sizeof *row_S);
    for (int end = 0; end < 2; end++) {
        if (open[end]) {
            size_t k = (size_t)place[at_ends[end]];
            x[k] = port_S(l);
            first = k < first ? k : first;
        }
    }
    solve_last(n->factor, first, ports, x);
    for (size_t k = n->unknowns - ports; k < n->unknowns; k++) {
        row_S[(size_t)node[k] / n->row.nodes] += port_S(&n->row) * x[k];
    }
}

/* False: lines without ports, factors that do not end with them, or no room. */
static bool columns_from_factors(const struct network *n, size_t first, size_t count, float *effective_S) {
    if (lines_ideal(&n->row) || lines_ideal(&n->column)) {
        return false;
    }
    int *place = mem_alloc(n->unknowns, sizeof *place);
    double *x = mem_alloc(n->unknowns + n->row.count, sizeof *x), *row_S = x ? x + n->unknowns : NULL;
    size_t ports = place && x ? last_ports(n, place) : 0;
    for (size_t k = 0; ports > 0 && k < n->unknowns; k++) {
        place[((const int *)n->factor->Perm)[k]] = (int)k;
    }
    for (size_t k = 0; ports > 0 && k < count; k++) {
        column_of_ports(n, ports, place, first + k, x, row_S);
        for (size_t i = 0; i < n->row.count; i++) {
            effective_S[k * n->row.count + i] = (float)row_S[i];
        }
    }
    mem_free(place);
    mem_free(x);
    return ports > 0;
}

/* Right side for 1 V behind a column and 0 V behind everything else: the currents of its cells, into `b` (zero before).
 */
static void drive_column(const struct network *n, size_t column, double *b) {
    for (size_t i = 0; i < n->row.count; i++) {
        double ampere = n->g_S[column * n->row.count + i];
        size_t from = column_node(n, i, column), to = row_node(n, i, column);
        if (from != OUTSIDE) {
            b[from] -= ampere;
        }
        if (to != OUTSIDE) {
            b[to] += ampere;
        }
    }
}

/* What reaches the input of every row at u. */
static void gather_rows(const struct network *n, size_t column, const double *u, float *effective_S) {
    for (size_t i = 0; i < n->row.count; i++) {
        double sum = n->g_S[column * n->row.count + i];
        for (size_t j = 0; j < n->column.count; j++) {
            sum += n->g_S[j * n->row.count + i] * (at(u, column_node(n, i, j)) - at(u, row_node(n, i, j)));
        }
        effective_S[i] = (float)sum;
    }
}

enum status network_columns(struct network *n, size_t first, size_t count, float *effective_S, struct error *e) {
    if (columns_from_factors(n, first, count, effective_S)) {
        return OK;
    }
    cholmod_dense *b = cholmod_zeros(n->unknowns, count, CHOLMOD_REAL, &n->common);
    if (!b) {
        return out_of_memory(e);
    }
    for (size_t k = 0; k < count; k++) {
        drive_column(n, first + k, (double *)b->x + k * n->unknowns);
    }
    bool solved =
        n->unknowns == 0 || cholmod_solve2(CHOLMOD_A, n->factor, b, NULL, &n->step, NULL, &n->y, &n->e, &n->common);
    for (size_t k = 0; solved && k < count; k++) {
        const double *u = n->unknowns > 0 ? (double *)n->step->x + k * n->unknowns : NULL;
        gather_rows(n, first + k, u, effective_S + k * n->row.count);
    }
    cholmod_free_dense(&b, &n->common);
    return solved ? OK : out_of_memory(e);
}

/* Right side for 1 V behind a row and 0 V behind everything else, into `b` (zero before). */
static void drive_row(const struct network *n, size_t row, double *b) {
    for (size_t j = 0; j < n->column.count; j++) {
        double ampere = n->g_S[j * n->row.count + row];
        size_t from = row_node(n, row, j), to = column_node(n, row, j);
        if (from != OUTSIDE) {
            b[from] -= ampere;
        }
        if (to != OUTSIDE) {
            b[to] += ampere;
        }
    }
}

/* What every source delivers at u with 1 V behind `row`. */
static void gather_sources(const struct network *n, size_t row, const double *u, double *source_S) {
    for (size_t i = 0; i < n->row.count; i++) {
        source_S[i] = 0;
    }
    for (size_t j = 0; j < n->column.count; j++) {
        for (size_t i = 0; i < n->row.count; i++) {
            double volts = (i == row ? 1 : 0) + at(u, row_node(n, i, j)) - at(u, column_node(n, i, j));
            source_S[i] += n->g_S[j * n->row.count + i] * volts;
        }
    }
}

/* One right side after the other, refined. */
static enum status refined_sources(struct network *n, double *source_S, struct error *e) {
    size_t rows = n->row.count;
    double *volts = mem_alloc(rows, sizeof *volts);
    enum status s = volts ? OK : out_of_memory(e);
    for (size_t k = 0; s == OK && k < rows; k++) {
        volts[k] = 1;
        s = solve(n, volts, NULL, e);
        volts[k] = 0;
        gather_sources(n, k, n->work, source_S + k * rows);
    }
    mem_free(volts);
    return s;
}

/* ---- what the sources see -------------------------------------------------------------------------------------- */

/* i_r = sum over the ports p of row r of G (V_r - v_p), v = (L D L')^-1 G V at the ports. x [unknowns] */
static void sources_of_ports(const struct network *n, size_t count, double *x, double *source_S) {
    const int *node = n->factor->Perm;
    double G = port_S(&n->row);
    size_t first = n->unknowns - count;
    memset(source_S, 0, n->row.count * n->row.count * sizeof *source_S);
    for (size_t q = first; q < n->unknowns; q++) {
        size_t from = (size_t)node[q] / n->row.nodes;
        memset(x + first, 0, count * sizeof *x);
        x[q] = G;
        solve_last(n->factor, q, count, x);
        source_S[from * n->row.count + from] += G;
        for (size_t p = first; p < n->unknowns; p++) {
            source_S[(size_t)node[p] / n->row.nodes * n->row.count + from] -= G * x[p];
        }
    }
}

/* Differences of voltages over a port: no port may be tiny against the cells of its row. */
static bool ports_carry(const struct network *n) {
    double largest_S = 0;
    for (size_t i = 0; i < n->row.count; i++) {
        double sum_S = 0;
        for (size_t j = 0; j < n->column.count; j++) {
            sum_S += n->g_S[j * n->row.count + i];
        }
        largest_S = fmax(largest_S, sum_S);
    }
    return !lines_ideal(&n->row) && largest_S * n->row.port_ohm > 1e-5;
}

/* False: the factors do not end with the ports, or no room. */
static bool sources_from_factors(const struct network *n, double *source_S) {
    int *is_port = mem_alloc(n->unknowns, sizeof *is_port);
    size_t count = is_port ? last_ports(n, is_port) : 0;
    double *x = mem_alloc(n->unknowns, sizeof *x);
    bool found = x && count > 0;
    if (found) {
        sources_of_ports(n, count, x, source_S);
    }
    mem_free(x);
    mem_free(is_port);
    return found;
}

enum status network_source_matrix(struct network *n, double *source_S, struct error *e) {
    enum { AT_ONCE = 16 };
    size_t rows = n->row.count;
    bool solved = true;
    if (lines_stiff(&n->row) || lines_stiff(&n->column)) {
        return refined_sources(n, source_S, e);
    }
    if (ports_carry(n) && sources_from_factors(n, source_S)) {
        return OK;
    }
    for (size_t first = 0; solved && first < rows; first += AT_ONCE) {
        size_t count = rows - first < AT_ONCE ? rows - first : AT_ONCE;
        cholmod_dense *b = cholmod_zeros(n->unknowns, count, CHOLMOD_REAL, &n->common);
        for (size_t k = 0; b && k < count; k++) {
            drive_row(n, first + k, (double *)b->x + k * n->unknowns);
        }
        solved = b && (n->unknowns == 0 ||
                       cholmod_solve2(CHOLMOD_A, n->factor, b, NULL, &n->step, NULL, &n->y, &n->e, &n->common));
        for (size_t k = 0; solved && k < count; k++) {
            const double *u = n->unknowns > 0 ? (double *)n->step->x + k * n->unknowns : NULL;
            gather_sources(n, first + k, u, source_S + (first + k) * rows);
        }
        cholmod_free_dense(&b, &n->common);
    }
    return solved ? OK : out_of_memory(e);
}
