/* Wires: what all solvers of the network share, and how long a column takes to settle.
 *
 * Settling: a column is an RC line. With the rows held at their voltages, its node potentials obey C dv/dt = -(L + D) v
 * + currents; L: wires with their terminals, D: cells, C: farad_per_cell on each cell, load_farad at the end(s) of the
 * line before output_ohm. Every time constant is an eigenvalue of (L + D)^-1 C, a matrix without negative entries, so
 * the largest is at most its largest row sum: tau = max_k sum_l [(L + D)^-1]_kl C_l. That is Elmore's delay of the far
 * end (Elmore, J. Appl. Phys. 19, 1948): without cells c (r m (m+1) / 2 + m R) + C_load R for m cells, wire r per cell
 * and terminal R, where the last segment counts with the terminal. Exponential settling to half an LSB of b bits: tau
 * ln(2^(b+1)).
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

double wires_settling_s(const struct wires *w, size_t rows, const double *column_g_S, double farad_per_cell,
                        double load_farad, int bits) {
    struct lines l = wires_columns(w, rows, 1);
    if (lines_ideal(&l)) {
        return 0;
    }
    /* Norton equivalents from the first cell on: node k sees conductance y and, for C as currents, current q. Back
     * substitution needs them again, so they are run through twice: forward to the last node, then the same recurrence
     * from the other end; a node's potential is what both sides feed it over what both sides load it. */
    bool first = lines_at_first(&l, 0), last = lines_at_last(&l, 0);
    double load = load_farad / (first && last ? 2 : 1), tau_s = 0;
    for (size_t k = 0; k < rows; k++) {
        double side_S[2], side_F[2];
        for (int end = 0; end < 2; end++) {
            double y = (end ? last : first) ? 1 / l.port_ohm : 0,
                   q = (end ? last : first) ? load * w->output_ohm / l.port_ohm : 0;
            size_t from = end ? rows - 1 : 0;
            for (size_t i = from; i != k; i = end ? i - 1 : i + 1) {
                y += column_g_S ? column_g_S[i] : 0;
                q += farad_per_cell;
                size_t next = end ? i - 1 : i + 1;
                double ohm = lines_node(&l, i) == lines_node(&l, next) ? 0 : l.step_ohm;
                q /= 1 + ohm * y;
                y /= 1 + ohm * y;
            }
            side_S[end] = y;
            side_F[end] = q;
        }
        double y = side_S[0] + side_S[1] + (column_g_S ? column_g_S[k] : 0);
        tau_s = fmax(tau_s, (side_F[0] + side_F[1] + farad_per_cell) / y);
    }
    return tau_s * (bits + 1) * log(2.0);
}
