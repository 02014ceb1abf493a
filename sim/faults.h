/* Private to sim/: devices and lines that do not work, and their repair by spare lines.
 *
 * From probabilities (tile.faults.*; function of (seed, RANDOM_FAULTS, matrix, tile, position)) and from a CSV map with
 * the columns tile,row,column,state: tile = number in placement order (array_tile_number), row and column = position on
 * the physical array, empty = the whole line; state = g_min, g_max, random or dead. Lines in use come first, in the
 * order of tile_devices.c; spare row k is row tile.rows + k, spare column k stands after all columns that a full tile
 * has.
 * A stuck device keeps its conductance for life, also when the tile is programmed again; a dead device conducts
 * nothing, a dead row is not driven (its devices read as nothing), a dead column gives no current.
 * Repair (tile.faults.repair on): dead lines first, then the lines with the most stuck devices, are moved to spare
 * lines as long as there are any that are better; spares have faults of their own. Rows first, then columns with what
 * is left.
 */
#ifndef MHO_SIM_FAULTS_H
#define MHO_SIM_FAULTS_H

#include "sim/chip.h"

/* Lines of a full tile, without spares. */
struct fault_array {
    uint32_t rows, columns;
};

struct fault_map; /* the CSV, parsed and sorted; immutable */
/* `tiles`: how many there are. Messages name file, line and column. */
enum status fault_map_load(const struct chip_spec *s, struct fault_array full, uint64_t tiles, struct fault_map **out,
                           struct error *e);
void fault_map_destroy(struct fault_map *m); /* NULL is fine */

enum fault_state { FAULT_G_MIN, FAULT_G_MAX, FAULT_RANDOM, FAULT_DEAD };
#define FAULT_WHOLE_LINE UINT32_MAX
struct fault_entry {
    uint64_t tile;
    uint32_t row, column; /* or FAULT_WHOLE_LINE */
    enum fault_state state;
};
/* Entries of one tile. NULL map: none. */
const struct fault_entry *fault_map_entries(const struct fault_map *m, uint64_t tile, size_t *count);

struct fault_count {
    uint64_t stuck, dead_rows, dead_columns;  /* of the lines in use, before repair; stuck: devices, dead ones too */
    uint64_t repaired_rows, repaired_columns; /* lines moved to spares */
    uint64_t stuck_left, dead_rows_left, dead_columns_left;
    uint64_t lines_left; /* dead rows, and columns that are dead or have stuck devices on rows that are not dead */
};

void fault_count_add(const struct fault_count *one, struct fault_count *all);

/* Where the tile is. physical_columns: columns of the array that are in use, shared ones included. */
struct fault_place {
    uint64_t seed, matrix, tile_in_matrix, tile_number;
    uint32_t rows, physical_columns, devices;
    struct fault_array full;
    double g_min_S, g_max_S;
};

/* The faults of one tile; memory for tiles of any size, used again and again. */
struct tile_faults;
bool faults_act(const struct chip_spec *s, const struct fault_map *map);
struct tile_faults *tile_faults_create(void); /* NULL when out of memory */
void tile_faults_destroy(struct tile_faults *f); /* NULL is fine */
/* Draws, looks up and repairs. Adds to `count` where not NULL. */
enum status tile_faults_find(struct tile_faults *f, const struct chip_spec *s, const struct fault_map *map,
                             const struct fault_place *at, struct fault_count *count, struct error *e);
/* Every line in use that was moved to a spare, or that still has faults where it is now (a row: only if it is dead; a
 * column: dead, or with stuck devices): rows, then columns. */
struct fault_line {
    bool row, moved, dead;
    uint32_t line, spare; /* spare: number among the spares, if moved */
    uint64_t stuck;       /* devices, where it is now */
};
void tile_faults_visit(struct tile_faults *f, void (*visit)(void *ctx, const struct fault_line *line), void *ctx);
/* What acts after repair, on parallel device `device` of every crossing: g_S [physical_columns][rows]. */
void tile_faults_apply(const struct tile_faults *f, uint32_t device, float *g_S);

#endif
