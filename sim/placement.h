/* Private to sim/: where the tiles of a placement lie. Tiles are numbered in the order of the matrices, chips in
 * the order of tiles. */
#ifndef MHO_SIM_PLACEMENT_H
#define MHO_SIM_PLACEMENT_H

#include "sim/sim.h"

/* Number of the first tile of a matrix; its blocks follow row block by row block. */
uint64_t placement_first_tile(const struct placement *p, size_t matrix);
/* Where it lies: stacks (tiles of a chip, of tile.tiers arrays each) are numbered chip after chip, of which
 * placement_stacks_per_chip are in use (on the last one perhaps fewer). Copies follow each other. */
uint64_t placement_first_stack(const struct placement *p, size_t matrix);
uint64_t placement_stacks_per_chip(const struct placement *p);
uint64_t placement_first_chip(const struct placement *p, size_t matrix);
/* The same of one of its copies. */
uint64_t placement_copy_stack(const struct placement *p, size_t matrix, uint32_t copy);
/* Which tile of its chip it is; below tiles_per_chip. */
uint32_t placement_slot(const struct placement *p, uint64_t stack);
/* Matrices that may have stacks in [first, end): [*from, *to). For rising `first`; both begin at 0 and never go
 * back. */
void placement_find(const struct placement *p, uint64_t first, uint64_t end, size_t *from, size_t *to);
/* The first of the matrices that share their stacks: one of them multiplies at a time. */
size_t placement_group(const struct placement *p, size_t matrix);
/* Number of model layers: largest layer + 1. */
size_t placement_layers(const struct placement *p);
/* Row of a layer in tables that have one more row for everything outside a layer (-1 and what is too large), last. */
size_t placement_layer_row(const struct placement *p, int layer);
/* Chip that holds the first analog tile of a layer; layers without one share the chips evenly. Outside a layer: the
 * last chip. */
uint64_t placement_home_chip(const struct placement *p, int layer);

#endif
