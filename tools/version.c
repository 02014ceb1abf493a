/* The version of the program; the commit comes from the build. */
#include "tools/command.h"

#ifndef MHO_COMMIT
#define MHO_COMMIT "unknown"
#endif

const char mho_version[] = "0.1.0";
const char mho_commit[] = MHO_COMMIT;
