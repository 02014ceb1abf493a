/* Private to sim/: the record of a multiply that was never computed.
 *
 * Conversions follow from shapes alone: inputs x passes x column blocks; outputs x lines x groups x row blocks and the
 * shared columns of every tile. The current of the array depends on data: array_S_sum = inputs x outputs x tokens x
 * mean conductance-weighted input per weight, by role, as measured on a model that fits (struct activity). Repeats of
 * the bound management are rounded to whole blocks. Not known without values, and left 0: clipped and saturated
 * conversions.
 */
#ifndef MHO_SIM_ACTIVITY_H
#define MHO_SIM_ACTIVITY_H

#include "sim/chip.h"
#include "sim/record.h"

struct multiply_record shape_record(const struct chip *c, const struct placement *p, const struct activity *a,
                                    size_t matrix, uint32_t tokens);

#endif
