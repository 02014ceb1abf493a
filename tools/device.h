/* Private to tools/device*.c. */
#ifndef MHO_TOOLS_DEVICE_H
#define MHO_TOOLS_DEVICE_H

#include "tools/options.h"

/* mho device fit DATA.csv --out PART.yaml */
enum status device_fit(const struct options *o, struct error *e);

#endif
