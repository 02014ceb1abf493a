/* The network without a factorisation: lines solved in turns.
 *
 * Unknowns and matrix: devices/wires_internal.h. Without the cells' coupling between the families every line is a
 * tridiagonal system, with the cells of the line to ground. One step solves all rows, then all columns with what the
 * rows' change drives into them (block Gauss-Seidel):
 *   (L + D)_r s_r = -residual_r,   (L + D)_c s_c = -residual_c + sum of g s_r over the cells of the node
 * The matrix is symmetric and positive definite, so the steps always lead to the solution; of the error, as much is
 * left each time as current finds its way back through a second cell: 0.1 where wires take some percent. Residuals are
 * those of the nodal equations, so nothing of the folding is used. For a few solutions of a large array this is far
 * cheaper than CHOLMOD's factors.
 */
#include "base/memory.h"
#include "devices/wires_internal.h"

struct sweeps {
    struct lines row, column;
    size_t row_unknowns, unknowns;
    const double *g_S; /* [columns][rows], the caller's */
    double *alpha;     /* [unknowns] as in wires_ladder.h, but line by line; the last node of a line holds 1 / Y */
};

/* Turns conductances to ground at the nodes of all lines into the factors of their ladders. */
static void prepare(const struct lines *l, double *alpha) {
    for (size_t line = 0; line < l->count; line++, alpha += l->nodes) {
        double siemens = lines_at_first(l, line) ? 1 / l->port_ohm : 0;
        for (size_t k = 0; k + 1 < l->nodes; k++) {
            siemens += alpha[k];
            alpha[k] = 1 / (1 + l->step_ohm * siemens);
            siemens *= alpha[k];
        }
        alpha[l->nodes - 1] = 1 / (alpha[l->nodes - 1] + siemens + (lines_at_last(l, line) ? 1 / l->port_ohm : 0));
    }
}

/* Currents in x, potentials out. */
static void solve_lines(const struct lines *l, const double *alpha, double *x) {
    size_t last = l->nodes - 1;
    for (size_t line = 0; line < l->count; line++, alpha += l->nodes, x += l->nodes) {
        for (size_t k = 0; k < last; k++) {
            x[k + 1] += alpha[k] * x[k];
        }
        x[last] *= alpha[last];
        for (size_t k = last; k-- > 0;) {
            x[k] = alpha[k] * (x[k + 1] + l->step_ohm * x[k]);
        }
    }
}

static size_t row_node(const struct sweeps *s, size_t i, size_t j) { return i * s->row.nodes + lines_node(&s->row, j); }

static size_t column_node(const struct sweeps *s, size_t i, size_t j) {
    return s->row_unknowns + j * s->column.nodes + lines_node(&s->column, i);
}

void sweeps_step(const struct sweeps *s, const double *residual, double *step) {
    bool rows = !lines_ideal(&s->row), columns = !lines_ideal(&s->column);
    for (size_t k = 0; k < s->unknowns; k++) {
        step[k] = -residual[k];
    }
    if (rows) {
        solve_lines(&s->row, s->alpha, step);
    }
    for (size_t j = 0; rows && columns && j < s->column.count; j++) {
        for (size_t i = 0; i < s->row.count; i++) {
            step[column_node(s, i, j)] += s->g_S[j * s->row.count + i] * step[row_node(s, i, j)];
        }
    }
    if (columns) {
        solve_lines(&s->column, s->alpha + s->row_unknowns, step + s->row_unknowns);
    }
}

void sweeps_destroy(struct sweeps *s) {
    if (s) {
        mem_free(s->alpha);
        mem_free(s);
    }
}

struct sweeps *sweeps_create(const struct lines *row, const struct lines *column, const double *g_S) {
    struct sweeps *s = mem_alloc(1, sizeof *s);
    if (!s) {
        return NULL;
    }
    bool rows = !lines_ideal(row), columns = !lines_ideal(column);
    *s = (struct sweeps){.row = *row, .column = *column, .g_S = g_S};
    s->row_unknowns = rows ? row->count * row->nodes : 0;
    s->unknowns = s->row_unknowns + (columns ? column->count * column->nodes : 0);
    s->alpha = mem_alloc(s->unknowns, sizeof *s->alpha);
    if (!s->alpha) {
        sweeps_destroy(s);
        return NULL;
    }
    for (size_t j = 0; j < column->count; j++) {
        for (size_t i = 0; i < row->count; i++) {
            double siemens = g_S[j * row->count + i];
            if (rows) {
                s->alpha[row_node(s, i, j)] += siemens;
            }
            if (columns) {
                s->alpha[column_node(s, i, j)] += siemens;
            }
        }
    }
    if (rows) {
        prepare(row, s->alpha);
    }
    if (columns) {
        prepare(column, s->alpha + s->row_unknowns);
    }
    return s;
}
