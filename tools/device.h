/* Private to tools/device*.c. */
#ifndef MHO_TOOLS_DEVICE_H
#define MHO_TOOLS_DEVICE_H

#include "base/config.h"
#include "tools/options.h"

/* The tree of a part: a name of configs/parts, or a path. */
enum status device_part(const char *name, struct arena *a, struct config_node **out, struct error *e);

/* mho device fit DATA.csv --out PART.yaml */
enum status device_fit(const struct options *o, struct error *e);

#endif
