/* Sorted names (files.h): sorting costs n log n comparisons whatever the names are, finding log n. */
#include <stdlib.h>
#include <string.h>

#include "models/files.h"

static int compare_text(const struct name *a, const struct name *b) {
    size_t shorter = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = memcmp(a->text, b->text, shorter);
    return order != 0 ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int compare_name(const void *a, const void *b) {
    const struct name *x = a, *y = b;
    int order = compare_text(x, y);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

void names_sort(struct name *names, size_t count) {
    if (count > 1) {
        qsort(names, count, sizeof *names, compare_name);
    }
}

const struct name *names_duplicate(const struct name *sorted, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (compare_text(&sorted[i - 1], &sorted[i]) == 0) {
            return &sorted[i];
        }
    }
    return NULL;
}

const struct name *names_find(const struct name *sorted, size_t count, const char *text, size_t bytes) {
    const struct name wanted = {text, bytes, 0};
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(&sorted[middle], &wanted);
        if (order == 0) {
            return &sorted[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
