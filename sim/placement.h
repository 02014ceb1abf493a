/* Private to sim/: where the tiles of a placement lie. Tiles are numbered in the order of the matrices, chips in
 * the order of tiles. */
#ifndef MHO_SIM_PLACEMENT_H
#define MHO_SIM_PLACEMENT_H

#include "sim/sim.h"

/* Number of the first tile of a matrix; its blocks follow row block by row block. */
uint64_t placement_first_tile(const struct placement *p, size_t matrix);
/* Number of model layers: largest layer + 1. */
size_t placement_layers(const struct placement *p);
/* Row of a layer in tables that have one more row for everything outside a layer (-1 and what is too large), last. */
size_t placement_layer_row(const struct placement *p, int layer);
/* Chip that holds the first analog tile of a layer; layers without one share the chips evenly. Outside a layer: the
 * last chip. */
uint64_t placement_home_chip(const struct placement *p, int layer);

#endif
