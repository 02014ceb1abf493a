/* Every kernel set that this CPU can run, and buffers without room behind them. */
#ifndef MHO_TESTS_KERNEL_SETS_H
#define MHO_TESTS_KERNEL_SETS_H

#include <stdint.h>

#include "base/kernels.h"
#include "base/memory.h"

enum { MOST_SETS = 8 };

static const struct kernels *set[MOST_SETS];
static size_t sets;

static int find_sets(void **state) {
    (void)state;
    sets = kernels_available(set, MOST_SETS);
    return sets >= 1 ? 0 : -1;
}

/* n elements that end where the memory block ends (blocks are multiples of MEM_ALIGNMENT), so that they start at any
 * alignment and the sanitizer sees a read beyond the last one. Free with free_array. */
static void *end_of_block(size_t n, size_t size) {
    const size_t slack = (MEM_ALIGNMENT - n * size % MEM_ALIGNMENT) % MEM_ALIGNMENT;
    return (char *)mem_alloc(1, n * size + slack) + slack;
}

static void free_array(void *x) { mem_free((char *)x - (uintptr_t)x % MEM_ALIGNMENT); }

#endif
