/* See sort.h. The order of equal numbers cannot be seen, so any sort gives the same result. */
#include "base/sort.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void sort_doubles(double *x, size_t n) {
    if (n > 0) { /* qsort must not be given NULL */
        qsort(x, n, sizeof *x, compare_doubles);
    }
}

void sort_floats(float *x, size_t n) {
    if (n > 0) {
        qsort(x, n, sizeof *x, compare_floats);
    }
}
