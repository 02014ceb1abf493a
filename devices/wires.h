/* Wires of a crossbar: what row, column and terminal resistances do to the currents.
 *
 * The network (rows i = 0..m-1 are inputs, columns j = 0..n-1 are outputs; as in the golden values of badcrossbar):
 *   input_end left: source V[i] - input_ohm - row_ohm - W[i,0] - row_ohm - W[i,1] ... W[i,n-1], far end open
 *   cell G[i,j] between W[i,j] and B[i,j]
 *   output_end bottom: B[0,j] - column_ohm - B[1,j] ... B[m-1,j] - column_ohm - output_ohm - 0 V, near end open
 * One full segment lies before the first cell and one after the last. right, top mirror; both: driven (collected) at
 * both ends; alternate: even columns leave at the bottom, odd ones at the top. `segment` groups that many neighbouring
 * cells of a line, counted from cell 0, onto one wire node (1 = every cell has its own): the wire between groups, and
 * between a group and the outside, is segment x ohm. A resistance of 0 is exact: nodes are merged.
 *
 * The drivers always drive, so the map from input voltages to output currents is a matrix of effective conductances
 * E[j][i] (siemens): wires_fold computes it once, and a multiply costs nothing more.
 *   product     E = G x row attenuation x column transfer: two sweeps over tridiagonal lines, O(cells)
 *   corrected   + what the product leaves out: smooth, so its sums over even and odd lines nearly give it; if need be
 *               its largest part in full, O(rows x columns^2) (devices/wires_corrected.c)
 *   exact       sparse Cholesky (CHOLMOD, simplicial: same bits for any thread count); a column is what 1 V behind it
 *               drives into the inputs
 *   automatic   the cheapest whose estimated error is below the tolerance
 * Times of 256 x 256 cells on one core: 1, 10 to 50, 800 ms; exact grows as cells^1.5: 1024 x 2048 cells, 2 minutes.
 * Not modelled: capacitance and inductance of the lines during a pulse (settling time is an estimate), leakage between
 * lines, temperature of the wire.
 */
#ifndef MHO_DEVICES_WIRES_H
#define MHO_DEVICES_WIRES_H

#include <stdio.h>

#include "devices/device.h"

enum wires_input_end { WIRES_LEFT, WIRES_RIGHT, WIRES_BOTH_SIDES };
enum wires_output_end { WIRES_BOTTOM, WIRES_TOP, WIRES_ALTERNATE, WIRES_BOTH_ENDS };
enum wires_method { WIRES_AUTOMATIC, WIRES_PRODUCT, WIRES_CORRECTED, WIRES_EXACT };

struct wires {
    double row_ohm, column_ohm;   /* per cell pitch; 0 is allowed: an ideal line */
    double input_ohm, output_ohm; /* driver and terminal; virtual ground and terminal */
    int input_end, output_end;    /* enums above */
    int segment;                  /* >= 1 */
};
/* Refuses negative or not finite values and the like. Resistances: 0, or 1e-6 to 1e9 ohm. */
enum status wires_check(const struct wires *w, struct error *e);

/* Errors are the largest of any column current for any inputs between -1 and 1 times full voltage, over full scale: the
 * largest column current with every row at full voltage. */
struct fold_options {
    int method;       /* enum wires_method */
    double tolerance; /* automatic, corrected: of the estimated error, in (0, 1] */
};
struct fold_result {
    enum wires_method used; /* corrected falls back to product where there is nothing to correct, or no end of it */
    double estimated_error; /* automatic: above the tolerance only where that is below 1e-7, what floats hold */
    double loss;            /* 1 - sum E / sum G: size of the effect */
};
/* g_S, effective_S: [columns][rows] (column-major: one column's rows side by side, as the machine keeps them).
 * `scratch`: wires_fold_scratch_bytes(rows, columns) bytes, owned by the caller; nothing else is allocated except by
 * the exact method. Deterministic: fixed order of sums. Not finite or negative conductances are an error. Arrays may be
 * folded side by side, each with its own scratch. result NULL: not wanted; the product is then not estimated, which
 * saves most of its time. */
size_t wires_fold_scratch_bytes(size_t rows, size_t columns);
enum status wires_fold(const struct wires *w, size_t rows, size_t columns, const float *g_S,
                       const struct fold_options *o, void *scratch, float *effective_S, struct fold_result *result,
                       struct error *e);

/* input_S [rows]: current that each source delivers for 1 V behind it while all columns are held at 0 V, siemens. What
 * of it the columns do not collect, input_S[i] - sum over j of E[j][i], flows into the other rows where those are at
 * 0 V. g_S as checked by wires_fold; `scratch` as there. */
void wires_input_conductance(const struct wires *w, size_t rows, size_t columns, const float *g_S, void *scratch,
                             double *input_S);

/* Processor seconds of wires_fold on one core at about 2.5 GHz, within a factor of 2; automatic: at most. Also of
 * network_create: exact. */
double wires_fold_s(enum wires_method method, size_t rows, size_t columns);

/* ---- exact ---------------------------------------------------------------------------------------------- */

/* The factorised network of one array; g_S [columns][rows] in double. One thread at a time per network. */
struct network;
enum status network_create(const struct wires *w, size_t rows, size_t columns, const double *g_S, struct network **out,
                           struct error *e);
/* The same for a few solutions: lines are solved in turns until the last change is below 1e-12 of the largest drop; the
 * network is factorised after all where that takes more than 60 turns. */
enum status network_create_for_few(const struct wires *w, size_t rows, size_t columns, const double *g_S,
                                   struct network **out, struct error *e);
void network_destroy(struct network *n);
/* input_V[rows] -> out_A[columns]; power_W (may be NULL): what the sources deliver, wires included; node voltages (may
 * be NULL): row_V, column_V [rows][columns]. */
enum status network_solve(struct network *n, const double *input_V, double *out_A, double *power_W, double *row_V,
                          double *column_V, struct error *e);
/* One adjoint solve: effective conductance of column j for every row: E_j [rows]. */
enum status network_column(struct network *n, size_t column, double *effective_S, struct error *e);

/* source_S [rows][rows]: current that the source of row i delivers for 1 V behind row k and 0 V behind all others.
 * Symmetric; power of the sources = sum over i, k of V_i source_S V_k. */
enum status network_source_matrix(struct network *n, double *source_S, struct error *e);

/* Cells whose current is not proportional to their voltage, and inactive rows that float instead of being driven:
 * Newton on the same network. current(ctx, volts, g, &derivative) is the current of a cell of conductance g. The
 * derivative must not be negative. `driven` [rows] (NULL: all): false = the row floats; it needs a resistance above 0
 * to its driver, and a cell that conducts, else it counts as driven at 0 V, which is the same. Gives up with an error
 * after `iterations` (no silent result). */
struct network_problem {
    double (*current)(void *context, double volts, double g_S, double *derivative_S); /* NULL: linear */
    void *context;
    const bool *driven;
    int iterations;   /* 0: 50 */
    double tolerance; /* largest residual current relative to the largest source current; 0: 1e-12 */
};
enum status network_newton(const struct wires *w, size_t rows, size_t columns, const double *g_S,
                           const struct network_problem *p, const double *input_V, double *out_A, double *power_W,
                           int *iterations_used, struct error *e);

/* Netlist of the same network with the expected currents as comments, runnable by ngspice: prints one line
 * "out_J = value" per column in batch mode. */
enum status wires_write_spice(const struct wires *w, size_t rows, size_t columns, const double *g_S,
                              const double *input_V, const double *expected_A, const char *title, FILE *out,
                              struct error *e);

/* Settling of one column (column_g_S [rows]; NULL: no cells) to half an LSB of `bits`: distributed RC line of `rows`
 * segments (column_ohm, farad_per_cell) plus output_ohm with the load capacitance: Elmore time constant x
 * ln(2^(bits+1)). Seconds. */
double wires_settling_s(const struct wires *w, size_t rows, const double *column_g_S, double farad_per_cell,
                        double load_farad, int bits);

#endif
