/* Private to sim/: current from row to row through the columns of an array with wires. Equations: between_rows.c. */
#ifndef MHO_SIM_BETWEEN_ROWS_H
#define MHO_SIM_BETWEEN_ROWS_H

#include <stdbool.h>
#include <stdint.h>

/* What pairs of rows add to the sum over the rows of row conductance x |level| (`squared`: x level^2), in the same
 * units: siemens x levels. One of codes and levels [n], the other NULL; `limit`: level of full scale. between_S [n]:
 * not negative. */
double between_rows_S(const int16_t *codes, const float *levels, const float *between_S, uint32_t n, double limit,
                      bool squared);

#endif
