/* Private to sim/: devices and lines that do not work, and their repair by spare lines.
 *
 * From probabilities (tile.faults.*; function of (seed, RANDOM_FAULTS, matrix, tile, position)) and from a CSV map with
 * the columns tile,row,column,state: tile = number in placement order (machine_tile_number), row and column = position
 * on the physical array, empty = the whole line; state = g_min, g_max, random or dead. A stuck device keeps its
 * conductance for life, a dead row is not driven (its devices read as nothing), a dead column gives no current. Repair
 * (tile.faults.repair on): dead lines first, then the lines with the most stuck devices, are moved to spare lines as
 * long as there are any; spares have faults of their own. What is left acts.
 */
#ifndef MHO_SIM_FAULTS_H
#define MHO_SIM_FAULTS_H

#include "sim/chip.h"

struct fault_map; /* the CSV, parsed and sorted; immutable */
enum status fault_map_load(const char *path, struct fault_map **out, struct error *e);
void fault_map_destroy(struct fault_map *m); /* NULL is fine */

struct fault_count {
    uint64_t stuck, dead_rows, dead_columns;  /* before repair */
    uint64_t repaired_rows, repaired_columns; /* lines moved to spares */
    uint64_t stuck_left, dead_rows_left, dead_columns_left;
};

/* Where the tile is. physical_columns: columns of the array that are in use, shared ones included. */
struct fault_place {
    uint64_t seed, matrix, tile_in_matrix, tile_number;
    uint32_t rows, physical_columns;
};
/* Applies the faults of a tile after repair to one device of every crossing: g_S [physical_columns][rows] is changed in
 * place. device: 0 .. devices - 1 of the leg (each parallel device has its own faults; dead lines hit all).
 * `count` (may be NULL) is added to, once per tile: by device 0 for lines. */
enum status faults_apply(const struct chip_spec *s, const struct fault_map *map, const struct fault_place *at,
                         uint32_t device, float *g_S, struct fault_count *count, struct error *e);

#endif
