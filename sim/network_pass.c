/* See network_pass.h. */
#include "sim/network_pass.h"

#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/sort.h"
#include "devices/device.h"

/* I = g V s(V); its derivative needs no more than what lets Newton converge. */
static double bent_current(void *context, double volts, double g_S, double *derivative_S) {
    const struct cell *cell = *(const struct cell *const *)context;
    double h = 1e-5 * (fabs(volts) + 1e-3);
    double above = (volts + h) * cell_current_factor(cell, volts + h);
    double below = (volts - h) * cell_current_factor(cell, volts - h);
    *derivative_S = g_S * (above - below) / (2 * h);
    return g_S * volts * cell_current_factor(cell, volts);
}

size_t network_pass_ends(const double *level, size_t rows, double *ends) {
    size_t used = 0, distinct = 0;
    for (size_t i = 0; i < rows; i++) {
        if (fabs(level[i]) > 0) {
            ends[used++] = fabs(level[i]);
        }
    }
    sort_doubles(ends, used);
    for (size_t i = 0; i < used; i++) {
        if (distinct == 0 || ends[i] > ends[distinct - 1]) {
            ends[distinct++] = ends[i];
        }
    }
    return distinct;
}

/* Rows at `when` (share of the pass). */
static void drive(const struct network_pass *n, const double *level, double when) {
    for (size_t i = 0; i < n->rows; i++) {
        double u = n->pulses ? (fabs(level[i]) > when ? copysign(1, level[i]) : 0) : level[i];
        n->row_V[i] = u * n->volts;
        n->driven[i] = fabs(u) > 0;
    }
}

enum status network_pass_read(const struct network_pass *n, const double *level, double *mean_A, double *mean_W,
                              uint32_t *solutions, uint32_t *iterations, struct error *e) {
    const struct cell *cell = n->bent;
    struct network_problem p = {
        .current = n->bent ? bent_current : NULL, .context = (void *)&cell, .driven = n->floating ? n->driven : NULL};
    double begin = 0, total_W = 0;
    size_t pieces = network_pass_ends(level, n->rows, n->ends);
    if (!n->pulses && pieces > 0) {
        n->ends[0] = 1;
        pieces = 1;
    }
    memset(mean_A, 0, n->columns * sizeof *mean_A);
    for (size_t piece = 0; piece < pieces; piece++) {
        double share = n->ends[piece] - begin, power_W = 0;
        int used = 0;
        TRY(check_interrupted(e));
        drive(n, level, begin);
        TRY(network_newton(&n->wires, n->rows, n->columns, n->g_S, &p, n->row_V, n->piece_A, &power_W, &used, e));
        *iterations += (uint32_t)used;
        ++*solutions;
        for (size_t j = 0; j < n->columns; j++) {
            mean_A[j] += n->piece_A[j] * share;
        }
        total_W += power_W * share;
        begin = n->ends[piece];
    }
    if (mean_W) {
        *mean_W = total_W;
    }
    return OK;
}
