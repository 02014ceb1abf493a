/* Private to sim/: placement.strategy fewest_hops: which tile of its chip a stack takes, so that messages go fewer
 * hops.
 *
 * Traffic of a chip when every matrix on it multiplies once: inputs of a row block, one multicast from the hub to its
 * tiles; results of a column block, one reduction to the hub (without network.reduction one message per tile). A copy
 * of a matrix has 1 / copies of that. Sought is the order of the stacks with the least
 *   sum over messages of bits x links of its tree,
 * the bit hops that the ledger pays for. Which chip a stack lies on stays as it is in order.
 *
 * Search: threshold accepting (Dueck and Scheuer, J. Comput. Phys. 90, 1990). Two tiles of the chip change places, at
 * random (RANDOM_PLACEMENT, placement.seed); only the messages of the two are counted again; the change stays if it
 * costs less than a threshold, which falls from THRESHOLD of the mean message to 0. The best order seen is kept; the
 * order from which the search starts is the one of in_order, so that the result is never worse.
 * Bounded work: WORK steps over all chips together, divided evenly among chips that differ; chips that hold the same
 * blocks of equal matrices (layers of a transformer) are searched once.
 *
 * Not modelled: hops between chips, time on crowded links.
 */
#ifndef MHO_SIM_PLACEMENT_SEARCH_H
#define MHO_SIM_PLACEMENT_SEARCH_H

#include "sim/chip.h"

/* slot [stacks of the placement]: in, tile of its chip in order; out, as found. The sums are per token, over all chips.
 * The chip must have a network with links. ERR_RUN: out of memory. */
struct placement_hops { double in_order, found; };
enum status placement_search(const struct chip_spec *s, const struct placement *p, uint32_t *slot,
                             struct placement_hops *out, struct error *e);

#endif
