/* Inside of folding: the planes of one array and the terms of the series (see wires_fold.c). */
#ifndef MHO_DEVICES_WIRES_FOLD_H
#define MHO_DEVICES_WIRES_FOLD_H

#include "devices/wires_ladder.h"

/* "row planes" are [columns][rows] as the caller's, "column planes" [rows][columns]. */
struct fold {
    size_t rows, columns, cells;
    struct lines row, column;
    struct ladder row_ladder, column_ladder;
    const float *g;  /* row plane */
    float *gT;       /* column plane */
    float *a, *tT;   /* attenuation (row plane), transfer (column plane) */
    float *x, *xT;   /* a field on its way */
    float *work;     /* CORRECTION_PLANES more planes */
    double *vectors; /* FOLD_VECTORS x (rows + columns) */
    double full_S;   /* largest column current with every row at 1 V, as well as it is known */
};

enum { CORRECTION_PLANES = 6, FOLD_VECTORS = 12 };

/* Terms of the series for one field. Forward: x holds row potentials (row plane); out[columns] receives the currents
 * that leave the columns, x the potentials that these cause in the rows. Backward, the same from the outputs: xT holds
 * column potentials (column plane), out[rows] the currents that leave the rows. */
void fold_forward(struct fold *f, double *out);
void fold_backward(struct fold *f, double *out);

/* The first term of the series, as a matrix. */
void fold_product(const struct fold *f, float *effective);

/* Corrected folding, until the estimate is below the tolerance or nothing is left to correct; r->estimated_error tells.
 */
void fold_correct(struct fold *f, double tolerance, float *effective, struct fold_result *r);

#endif
