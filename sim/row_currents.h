/* Private to sim/: what the sources of an array deliver for one block of inputs. Equations: row_currents.c. */
#ifndef MHO_SIM_ROW_CURRENTS_H
#define MHO_SIM_ROW_CURRENTS_H

#include <stdbool.h>
#include <stdint.h>

/* Sum over n rows of conductance x |level| (`squared`: x level^2) with what flows from row to row: siemens x levels.
 * One of codes and levels [n], the other NULL; `limit`: level of full scale, |codes| <= limit. source_S [n]: what a
 * row delivers for 1 V alone; between_S [n]: the part of it that other rows take, not negative, or NULL: none. */
double row_currents_S(const int16_t *codes, const float *levels, const float *source_S, const float *between_S,
                      uint32_t n, double limit, bool squared);

#endif
