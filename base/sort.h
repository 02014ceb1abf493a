/* Sorting numbers in place, smallest first. NaN may lie anywhere; n = 0 is fine, with NULL too. sort.c */
#ifndef MHO_BASE_SORT_H
#define MHO_BASE_SORT_H

#include <stddef.h>

void sort_doubles(double *x, size_t n);
void sort_floats(float *x, size_t n);
/* The number that sorting would put at place k < n; x is in another order afterwards. No NaN. About 3 n steps. */
float select_float(float *x, size_t n, size_t k);

#endif
