/* Wires: what all solvers of the network share, and how long a column takes to settle.
 *
 * Settling: a column is an RC line. With the rows held at their voltages, its node potentials obey C dv/dt = -(L + D) v
 * + currents; L: wires with their terminals, D: cells, C: farad_per_cell on each cell, load_farad at the end(s) of the
 * line before output_ohm. Every time constant is an eigenvalue of (L + D)^-1 C, a matrix without negative entries, so
 * the largest is at most its largest row sum: tau = max_k sum_l [(L + D)^-1]_kl C_l. That is Elmore's delay of the far
 * end (Elmore, J. Appl. Phys. 19, 1948): without cells c (r m (m+1) / 2 + m R) + C_load R for m cells, wire r per cell
 * and terminal R, where the last segment counts with the terminal. Exponential settling to half an LSB of b bits: tau
 * ln(2^(b+1)). The sums are O(m^2): for reports, not for every token.
 */
#include <math.h>

#include "devices/wires_internal.h"

/* Lines index 2 x cells nodes with int inside CHOLMOD; far above any array that is built. */
enum { CELLS_MAX = 1 << 26 };

static size_t nodes_of(size_t cells, size_t segment, double step_ohm) {
    return step_ohm <= 0 ? 1 : (cells + segment - 1) / segment;
}

struct lines wires_rows(const struct wires *w, size_t rows, size_t columns) {
    static const enum line_ends ends[] = {
        [WIRES_LEFT] = ENDS_FIRST, [WIRES_RIGHT] = ENDS_LAST, [WIRES_BOTH_SIDES] = ENDS_BOTH};
    double step_ohm = w->segment * w->row_ohm;
    struct lines l = {.count = rows, .cells = columns, .segment = (size_t)w->segment, .step_ohm = step_ohm};
    l.nodes = nodes_of(columns, l.segment, step_ohm);
    l.port_ohm = step_ohm + w->input_ohm;
    l.ends = ends[w->input_end];
    return l;
}

struct lines wires_columns(const struct wires *w, size_t rows, size_t columns) {
    static const enum line_ends ends[] = {[WIRES_BOTTOM] = ENDS_LAST,
                                          [WIRES_TOP] = ENDS_FIRST,
                                          [WIRES_ALTERNATE] = ENDS_ALTERNATE,
                                          [WIRES_BOTH_ENDS] = ENDS_BOTH};
    double step_ohm = w->segment * w->column_ohm;
    struct lines l = {.count = columns, .cells = rows, .segment = (size_t)w->segment, .step_ohm = step_ohm};
    l.nodes = nodes_of(rows, l.segment, step_ohm);
    l.port_ohm = step_ohm + w->output_ohm;
    l.ends = ends[w->output_end];
    return l;
}

enum status wires_check(const struct wires *w, struct error *e) {
    const struct {
        const char *name;
        double ohm;
    } resistances[] = {{"row_ohm", w->row_ohm},
                       {"column_ohm", w->column_ohm},
                       {"input_ohm", w->input_ohm},
                       {"output_ohm", w->output_ohm}};
    for (size_t i = 0; i < sizeof resistances / sizeof resistances[0]; i++) {
        double ohm = resistances[i].ohm;
        /* The lower limit keeps conductances within what doubles can add up beside those of the cells. */
        if (!(ohm >= 0 && ohm <= 1e9) || (ohm > 0 && ohm < 1e-6)) {
            return error_set(e, ERR_USAGE, "wires: %s = %g (allowed: 0, or 1e-6 to 1e9 ohm)", resistances[i].name, ohm);
        }
    }
    if (w->input_end < WIRES_LEFT || w->input_end > WIRES_BOTH_SIDES) {
        return error_set(e, ERR_USAGE, "wires: input end %d (allowed: left, right, both)", w->input_end);
    }
    if (w->output_end < WIRES_BOTTOM || w->output_end > WIRES_BOTH_ENDS) {
        return error_set(e, ERR_USAGE, "wires: output end %d (allowed: bottom, top, alternate, both)", w->output_end);
    }
    if (w->segment < 1 || w->segment > CELLS_MAX) {
        return error_set(e, ERR_USAGE, "wires: segment = %d cells (allowed: 1 to %d)", w->segment, CELLS_MAX);
    }
    return OK;
}

enum status wires_check_array(const char *where, const struct wires *w, size_t rows, size_t columns, struct error *e) {
    if (rows == 0 || columns == 0 || rows > CELLS_MAX / columns) {
        return error_set(e, ERR_USAGE, "%s: array of %zu x %zu cells (allowed: at least 1 x 1, at most %d cells)",
                         where, rows, columns, CELLS_MAX);
    }
    return wires_check(w, e);
}

/* What one side of a line looks like from a node: a conductance, and the capacitances behind it as a current. */
struct side {
    double siemens, farad;
};

/* The side of the first (or last) cell, seen from cell `to`, whose own conductance and capacitance are not in it. */
static struct side side_of(const struct lines *l, bool from_last, size_t to, const double *g_S, double farad_per_cell,
                           double end_farad) {
    bool port = from_last ? lines_at_last(l, 0) : lines_at_first(l, 0);
    struct side s = {port ? 1 / l->port_ohm : 0, port ? end_farad : 0};
    for (size_t i = from_last ? l->cells - 1 : 0; i != to;) {
        size_t next = from_last ? i - 1 : i + 1;
        s.siemens += g_S ? g_S[i] : 0;
        s.farad += farad_per_cell;
        if (lines_node(l, i) != lines_node(l, next)) {
            double passes = 1 / (1 + l->step_ohm * s.siemens);
            s.siemens *= passes;
            s.farad *= passes;
        }
        i = next;
    }
    return s;
}

double wires_settling_s(const struct wires *w, size_t rows, const double *column_g_S, double farad_per_cell,
                        double load_farad, int bits) {
    struct lines l = wires_columns(w, rows, 1);
    if (lines_ideal(&l)) {
        return 0;
    }
    /* The load sits between the last segment and the terminal: the line sees the part that the segment lets through. */
    double end_farad = load_farad / (l.ends == ENDS_BOTH ? 2 : 1) * w->output_ohm / l.port_ohm, tau_s = 0;
    for (size_t k = 0; k < rows; k++) {
        struct side first = side_of(&l, false, k, column_g_S, farad_per_cell, end_farad);
        struct side last = side_of(&l, true, k, column_g_S, farad_per_cell, end_farad);
        double siemens = first.siemens + last.siemens + (column_g_S ? column_g_S[k] : 0);
        tau_s = fmax(tau_s, (first.farad + last.farad + farad_per_cell) / siemens);
    }
    return tau_s * (bits + 1) * log(2.0);
}
