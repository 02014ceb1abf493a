/* Private to sim/: a chip file as one plain tree (see chip_load.c), and the folders of the catalogue. */
#ifndef MHO_SIM_CHIP_LOAD_H
#define MHO_SIM_CHIP_LOAD_H

#include "base/config.h"
#include "sim/sim.h"

/* Chip `name` with its parts filled in and the overrides applied; arena-owned. */
enum status chip_tree(struct arena *a, const char *name, const char *const *sets, size_t set_count,
                      struct config_node **out, struct error *e);

/* configs/FOLDER/NAME.yaml, or the folder itself with name = NULL; arena-owned. */
enum status config_catalogue_path(struct arena *a, const char *folder, const char *name, char **path, struct error *e);
/* Names of the .yaml files in configs/FOLDER, sorted, NULL-terminated; read once, borrowed for the life of the
 * process. */
enum status config_catalogue(const char *folder, const char *const **names, size_t *count, struct error *e);

#endif
