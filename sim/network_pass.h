/* Private to sim/: one pass of inputs through the wire network of one tile, where it cannot be folded into a matrix:
 * nonlinear cells see the voltage that the wires leave them, floating rows take the one that their cells give them.
 *
 * A pass drives row i at voltage u_i for the share of its time that the level l_i says:
 *   voltage-coded   u_i = l_i V all the time
 *   pulse-coded     u_i = sign(l_i) V during the first |l_i|; rows that have ended are at 0 V, or float
 * Mean current of a column: (1/T) integral I dt. Between two ends of pulses the voltages stand still: each such piece
 * is one solution by Newton (network_newton of devices/wires.h).
 */
#ifndef MHO_SIM_NETWORK_PASS_H
#define MHO_SIM_NETWORK_PASS_H

#include "devices/wires.h"

struct cell;

struct network_pass {
    struct wires wires;
    size_t rows, columns;
    const double *g_S;       /* [columns][rows] crossings */
    const struct cell *bent; /* cells whose current is not proportional to the voltage; NULL: linear */
    bool floating, pulses;
    double volts;         /* of full scale */
    double *row_V, *ends; /* [rows] room */
    bool *driven;         /* [rows] room */
    double *piece_A;      /* [columns] room */
};

/* level [rows] in units of full scale -> mean_A [columns]; mean_W (may be NULL): what the sources deliver, mean over
 * the pass. Adds to the counts. Errors: Ctrl-C; no solution; out of memory. */
enum status network_pass_read(const struct network_pass *n, const double *level, double *mean_A, double *mean_W,
                              uint32_t *solutions, uint32_t *iterations, struct error *e);

/* Sorted distinct ends of pulses, |level| > 0, into ends [rows]; how many. */
size_t network_pass_ends(const double *level, size_t rows, double *ends);

#endif
