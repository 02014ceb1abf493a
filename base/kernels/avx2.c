/* Not in this build. */
#include "base/kernels/sets.h"

const struct kernels kernels_avx2 = {.name = NULL};
