/* The kernel sets of this folder, for base/kernels.c. A set whose name is NULL is not in this build
 * (another processor family). Whether the CPU can run a set is kernels.c's question. */
#ifndef MHO_BASE_KERNELS_SETS_H
#define MHO_BASE_KERNELS_SETS_H

#include "base/kernels.h"

extern const struct kernels kernels_ref, kernels_avx2, kernels_avx512;

#endif
