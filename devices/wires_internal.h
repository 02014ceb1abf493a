/* What the solvers of the wire network share: the lines of an array, and which cell hangs on which node of its line.
 *
 * An array has two families of parallel lines, rows and columns. A line of `cells` cells has `nodes` wire nodes;
 * `segment` neighbouring cells (the last group may be smaller) hang on one. Between neighbouring nodes lies step_ohm,
 * between the end node and the outside port_ohm. Lines without resistance have no nodes of their own:
 *   step_ohm 0   the whole line is one node
 *   port_ohm 0   (then step_ohm is 0, too) the whole line is the outside: its voltage is given
 */
#ifndef MHO_DEVICES_WIRES_INTERNAL_H
#define MHO_DEVICES_WIRES_INTERNAL_H

#include "devices/wires.h"

/* Which ends of a line meet the outside. */
enum line_ends { ENDS_FIRST, ENDS_LAST, ENDS_BOTH, ENDS_ALTERNATE /* line 0, 2, ... last; line 1, 3, ... first */ };

struct lines {
    size_t count, cells; /* lines; cells on each */
    size_t segment, nodes;
    double step_ohm, port_ohm;
    enum line_ends ends;
};

struct lines wires_rows(const struct wires *w, size_t rows, size_t columns);
struct lines wires_columns(const struct wires *w, size_t rows, size_t columns);

static inline bool lines_ideal(const struct lines *l) { return l->port_ohm <= 0; }
static inline size_t lines_node(const struct lines *l, size_t cell) { return l->step_ohm <= 0 ? 0 : cell / l->segment; }
/* Factors alone lose digits where the terminal is far above the wires: 1e-16 x their ratio x about 30 was measured. */
static inline bool lines_stiff(const struct lines *l) { return l->step_ohm > 0 && l->port_ohm / l->step_ohm > 1e6; }
static inline bool lines_at_first(const struct lines *l, size_t line) {
    return l->ends == ENDS_FIRST || l->ends == ENDS_BOTH || (l->ends == ENDS_ALTERNATE && line % 2 == 1);
}
static inline bool lines_at_last(const struct lines *l, size_t line) {
    return l->ends == ENDS_LAST || l->ends == ENDS_BOTH || (l->ends == ENDS_ALTERNATE && line % 2 == 0);
}

/* Sizes and wires that the solvers can work on; `where` names the caller in the message. */
enum status wires_check_array(const char *where, const struct wires *w, size_t rows, size_t columns, struct error *e);

/* ---- the nodal matrix (wires_network.c) ------------------------------------------------------------------------
 *
 * Unknowns: the row nodes, line by line, then the column nodes. u is the difference between the potential of a node and
 * the voltage outside its line, so that small drops are not lost beside large voltages:
 *   (L + D) u = -I(0): L the wires with their ports, D the (differential) conductances of the cells between the two
 *   nodes, I(0) what the cells draw from the node while no wire drops anything. */
struct network;

/* Copies g_S and finds the pattern. driven [rows] or NULL: a row that is not driven hangs on its cells alone and its
 * outside voltage counts as 0. */
enum status network_pattern(const struct wires *w, size_t rows, size_t columns, const double *g_S, const bool *driven,
                            struct network **out, struct error *e);
/* cell_S [columns][rows]: conductances to put into D (>= 0). Numbers only; the pattern stays. */
enum status network_factorise(struct network *n, const double *cell_S, struct error *e);
size_t network_unknowns(const struct network *n);
/* u of both ends of a cell; 0 for a line that is its own outside. */
double network_row_u(const struct network *n, const double *u, size_t row, size_t column);
double network_column_u(const struct network *n, const double *u, size_t row, size_t column);
/* residual[unknowns] = what flows out of each node through wires and ports at u, plus the cell currents cell_A
 * [columns][rows] (row node to column node). */
void network_residual(const struct network *n, const double *u, const double *cell_A, double *residual);
/* u += (L + D)^-1 (-residual) by the last factors; `step` [unknowns] receives the change. */
enum status network_newton_step(struct network *n, const double *residual, double *step, struct error *e);

/* The same step without factors (wires_sweeps.c): rows, then columns, solved line by line. A part of the error stays.
 * NULL: out of memory. g_S is kept, not copied. */
struct sweeps;
struct sweeps *sweeps_create(const struct lines *row, const struct lines *column, const double *g_S);
void sweeps_destroy(struct sweeps *s);
void sweeps_step(const struct sweeps *s, const double *residual, double *step);

/* Effective conductances of `count` columns, [count][rows], in single precision: several at a time, not refined. */
enum status network_columns(struct network *n, size_t first, size_t count, float *effective_S, struct error *e);

#endif
