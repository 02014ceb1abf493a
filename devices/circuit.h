/* Private to devices/: what the maps {model: NAME, ...} of converter circuits have in common, input and output. */
#ifndef MHO_DEVICES_CIRCUIT_H
#define MHO_DEVICES_CIRCUIT_H

#include "base/params.h"

/* The node that names the model: borrowed from the map; NULL without a map. Error: the map does not name one. `prefix`:
 * of the keys, "tile.adc.circuit.". */
enum status circuit_name(const struct config_node *map, const char *prefix, const struct config_node **name,
                         struct error *e);
/* Says where the unknown name stands, in front of the error; returns the error's status. */
enum status circuit_refused(const struct config_node *name, const char *prefix, struct error *e);
/* The effective circuit into the map: its name, then its parameters. Nodes are owned by the arena. Error: out of
 * memory. */
enum status circuit_dump(const char *name, const struct param_table *table, const void *params, struct arena *a,
                         struct config_node *map, struct error *e);

#endif
