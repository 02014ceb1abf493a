/* Sorting numbers in place, smallest first. NaN may lie anywhere; n = 0 is fine, with NULL too. sort.c */
#ifndef MHO_BASE_SORT_H
#define MHO_BASE_SORT_H

#include <stddef.h>

void sort_doubles(double *x, size_t n);
void sort_floats(float *x, size_t n);

#endif
