/* Sweeps along the wires of one family of lines, all lines at once, in single precision.
 *
 * With the other ends of its cells held at fixed potentials, a line is a tridiagonal system: (L + D) x = b. It is
 * solved by Norton equivalents from the first cell to the last and back; the loops run over the lines (side by side in
 * memory), so compilers vectorise them. A plane is [cells of a line][lines].
 *   forward   J[0] = b[0],  J[k+1] = b[k+1] + alpha[k] J[k]
 *   backward  x[N-1] = J[N-1] / Y[N-1],  x[k] = alpha[k] (x[k+1] + r[k] J[k])
 *   with      Y[k+1] = g[k+1] + ports + alpha[k] Y[k],  alpha[k] = 1 / (1 + r[k] Y[k])
 * r[k]: ohm between the nodes of cells k and k+1, 0 inside a segment. Every term is positive: no cancellation, and
 * lines without resistance need no special case but one: a line that is its own outside has x = 0.
 */
#ifndef MHO_DEVICES_WIRES_LADDER_H
#define MHO_DEVICES_WIRES_LADDER_H

#include "devices/wires_internal.h"

struct ladder {
    struct lines lines;
    float *alpha; /* [cells][lines]; the last row holds 1 / Y[N-1]. Owned by the caller */
};

/* Ohm between the nodes of cells `cell` and `cell` + 1. */
static inline float ladder_step_ohm(const struct lines *l, size_t cell) {
    return lines_node(l, cell) == lines_node(l, cell + 1) ? 0 : (float)l->step_ohm;
}

/* g: plane. */
void ladder_prepare(struct ladder *l, const struct lines *lines, const float *g, float *alpha);
/* b in x, solution out x: plane. */
void ladder_solve(const struct ladder *l, float *x);
/* out[b][a] = in[a][b], a < rows, b < columns. */
void plane_transpose(const float *in, size_t rows, size_t columns, float *out);

#endif
