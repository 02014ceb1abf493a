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

static void swap_floats(float *a, float *b) {
    float kept = *a;
    *a = *b;
    *b = kept;
}

/* Quickselect by halves around the median of three: what is left of `low` is not larger than what is right of it. */
float select_float(float *x, size_t n, size_t k) {
    size_t begin = 0, end = n;
    while (end - begin > 2) {
        float a = x[begin], b = x[begin + (end - begin) / 2], c = x[end - 1];
        float pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        size_t low = begin, high = end;
        for (;;) {
            while (x[low] < pivot) {
                low++;
            }
            do {
                high--;
            } while (x[high] > pivot);
            if (low >= high) {
                break;
            }
            swap_floats(&x[low++], &x[high]);
        }
        if (k < low) {
            end = low;
        } else {
            begin = low;
        }
    }
    if (end - begin == 2 && x[begin] > x[begin + 1]) {
        swap_floats(&x[begin], &x[begin + 1]);
    }
    return x[k];
}
