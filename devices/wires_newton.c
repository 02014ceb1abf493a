/* Newton on the wire network: cells whose current is not proportional to their voltage, rows that float.
 *
 * Unknowns u as in wires_internal.h. Residual F(u) = wires(u) + cell currents I(v), v = V + u_row - u_column; its
 * Jacobian is the nodal matrix with dI/dv in place of the conductances, symmetric and positive definite where every
 * dI/dv >= 0, so each step is one Cholesky factorisation of the same pattern. The step is halved until the residual
 * falls (Armijo's condition with a small slope; Nocedal and Wright, Numerical Optimization, section 11.2). Done when
 * the largest residual current of a node is at most tolerance x the largest current of a source. The iteration limit is
 * an error, never a result.
 *
 * A linear network needs one step and serves as the check; floating rows are linear too.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "devices/wires_internal.h"

enum { DEFAULT_ITERATIONS = 50, HALVINGS = 40 };
static const double DEFAULT_TOLERANCE = 1e-12;

struct newton {
    const struct network_problem *p;
    struct network *n;
    size_t rows, columns;
    const double *g_S, *input_V;
    double *u, *trial, *step, *residual; /* [unknowns] */
    double *cell_A, *cell_S;             /* [columns][rows]: current and its derivative */
};

static enum status out_of_memory(struct error *e) { return error_set(e, ERR_RUN, "wires: out of memory"); }

/* Currents and derivatives at u; an error where the cell gives something that is no current. */
static enum status evaluate_cells(struct newton *t, const double *u, struct error *e) {
    for (size_t j = 0; j < t->columns; j++) {
        for (size_t i = 0; i < t->rows; i++) {
            size_t k = j * t->rows + i;
            bool driven = !t->p->driven || t->p->driven[i];
            double volts =
                (driven ? t->input_V[i] : 0) + network_row_u(t->n, u, i, j) - network_column_u(t->n, u, i, j);
            if (t->p->current) {
                t->cell_A[k] = t->p->current(t->p->context, volts, t->g_S[k], &t->cell_S[k]);
            } else {
                t->cell_A[k] = t->g_S[k] * volts;
                t->cell_S[k] = t->g_S[k];
            }
            if (!isfinite(t->cell_A[k]) || !isfinite(t->cell_S[k]) || t->cell_S[k] < 0) {
                return error_set(e, ERR_RUN,
                                 "wires: cell in row %zu, column %zu at %g V: current %g A, derivative %g S "
                                 "(allowed: finite, the derivative not negative)",
                                 i, j, volts, t->cell_A[k], t->cell_S[k]);
            }
        }
    }
    return OK;
}

static double largest(const double *x, size_t n) {
    double most = 0;
    for (size_t k = 0; k < n; k++) {
        most = fmax(most, fabs(x[k]));
    }
    return most;
}

static double largest_source_A(const struct newton *t) {
    double most = 0;
    for (size_t i = 0; i < t->rows; i++) {
        double sum = 0;
        for (size_t j = 0; j < t->columns; j++) {
            sum += t->cell_A[j * t->rows + i];
        }
        most = fmax(most, fabs(sum));
    }
    return most;
}

/* Residual at u and its largest entry. */
static enum status residual_at(struct newton *t, const double *u, double *norm, struct error *e) {
    TRY(evaluate_cells(t, u, e));
    network_residual(t->n, u, t->cell_A, t->residual);
    *norm = largest(t->residual, network_unknowns(t->n));
    return OK;
}

/* Moves u along step, as far as the residual falls. *norm: before and after. A step that no longer helps, because
 * rounding is all that is left, leaves u as it is and *moved false. */
static enum status line_search(struct newton *t, double *norm, bool *moved, struct error *e) {
    double fraction = 1;
    *moved = false;
    for (int h = 0; h < HALVINGS && !*moved; h++, fraction /= 2) {
        for (size_t k = 0; k < network_unknowns(t->n); k++) {
            t->trial[k] = t->u[k] + fraction * t->step[k];
        }
        struct error overflow;
        double after;
        if (residual_at(t, t->trial, &after, &overflow) == OK && after < (1 - 1e-4 * fraction) * *norm) {
            memcpy(t->u, t->trial, network_unknowns(t->n) * sizeof *t->u);
            *norm = after;
            *moved = true;
        }
    }
    return *moved ? OK : residual_at(t, t->u, norm, e);
}

static enum status iterate(struct newton *t, int *used, struct error *e) {
    int limit = t->p->iterations > 0 ? t->p->iterations : DEFAULT_ITERATIONS;
    double tolerance = t->p->tolerance > 0 ? t->p->tolerance : DEFAULT_TOLERANCE, norm;
    TRY(residual_at(t, t->u, &norm, e));
    for (*used = 0; norm > tolerance * largest_source_A(t); (*used)++) {
        bool moved = *used < limit;
        if (moved) {
            TRY(network_factorise(t->n, t->cell_S, e));
            TRY(network_newton_step(t->n, t->residual, t->step, e));
            TRY(line_search(t, &norm, &moved, e));
        }
        if (!moved) {
            return error_set(e, ERR_RUN,
                             "wires: Newton: residual %.3g of the largest source current after %d iterations "
                             "(allowed: %.3g)",
                             norm / largest_source_A(t), *used, tolerance);
        }
    }
    return OK;
}

static enum status check_inputs(size_t rows, const double *input_V, const bool *driven, struct error *e) {
    for (size_t i = 0; i < rows; i++) {
        if ((!driven || driven[i]) && !isfinite(input_V[i])) {
            return error_set(e, ERR_USAGE, "wires: input %zu is %g V (allowed: finite numbers)", i, input_V[i]);
        }
    }
    return OK;
}

static void results(const struct newton *t, double *out_A, double *power_W) {
    double power = 0;
    for (size_t j = 0; j < t->columns; j++) {
        out_A[j] = 0;
        for (size_t i = 0; i < t->rows; i++) {
            bool driven = !t->p->driven || t->p->driven[i];
            out_A[j] += t->cell_A[j * t->rows + i];
            power += driven ? t->input_V[i] * t->cell_A[j * t->rows + i] : 0;
        }
    }
    if (power_W) {
        *power_W = power;
    }
}

enum status network_newton(const struct wires *w, size_t rows, size_t columns, const double *g_S,
                           const struct network_problem *p, const double *input_V, double *out_A, double *power_W,
                           int *iterations_used, struct error *e) {
    struct newton t = {.p = p, .rows = rows, .columns = columns, .g_S = g_S, .input_V = input_V};
    TRY(network_pattern(w, rows, columns, g_S, p->driven, &t.n, e));
    size_t unknowns = network_unknowns(t.n), cells = rows * columns;
    double *memory = mem_alloc(4 * unknowns + 2 * cells, sizeof *memory);
    enum status s = memory ? check_inputs(rows, input_V, p->driven, e) : out_of_memory(e);
    int used = 0;
    if (s == OK) {
        t.u = memory;
        t.trial = t.u + unknowns;
        t.step = t.trial + unknowns;
        t.residual = t.step + unknowns;
        t.cell_A = t.residual + unknowns;
        t.cell_S = t.cell_A + cells;
        s = iterate(&t, &used, e);
    }
    if (s == OK) {
        results(&t, out_A, power_W);
    }
    if (iterations_used) {
        *iterations_used = used;
    }
    mem_free(memory);
    network_destroy(t.n);
    return s;
}
