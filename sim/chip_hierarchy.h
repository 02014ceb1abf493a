/* Private to sim/: how the tiles of a chip are ordered, and what the keys of the hierarchy must agree on. */
#ifndef MHO_SIM_CHIP_HIERARCHY_H
#define MHO_SIM_CHIP_HIERARCHY_H

#include "sim/chip.h"

/* What contradicts, or is combined though it is not modelled: the key to change, with the reason in `why`; NULL where
 * all is well. Fills s->placement.copies_of from its text. */
const char *hierarchy_contradiction(struct chip_spec *s, char *why, size_t bytes);

#endif
