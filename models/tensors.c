/* The list of tensors that the file readers fill, and the checks that hold for every format (files.h):
 * sizes without overflow, no two tensors over the same bytes.
 */
#include <stdlib.h>

#include "models/files.h"

enum status tensor_list_reserve(struct tensor_list *l, size_t more, const char *where, struct error *e) {
    size_t needed = l->extents_count + more;
    if (needed <= l->capacity) {
        return OK;
    }
    size_t t = sizeof *l->tensors, n = sizeof *l->integers, x = sizeof *l->extents;
    bool fits = needed >= more && needed <= SIZE_MAX / t && needed <= SIZE_MAX / n && needed <= SIZE_MAX / x;
    struct tensor *tensors = fits ? mem_resize(l->tensors, l->count * t, needed * t) : NULL;
    if (tensors) {
        l->tensors = tensors;
    }
    struct integers *integers = tensors ? mem_resize(l->integers, l->integers_count * n, needed * n) : NULL;
    if (integers) {
        l->integers = integers;
    }
    struct extent *extents = integers ? mem_resize(l->extents, l->extents_count * x, needed * x) : NULL;
    if (!extents) {
        return error_set(e, ERR_RUN, "%s: out of memory for %zu tensors", where, needed);
    }
    l->extents = extents;
    l->capacity = needed;
    return OK;
}

void tensor_list_add(struct tensor_list *l, const struct tensor *t, const struct extent *x) {
    if (t) {
        l->tensors[l->count++] = *t;
    }
    l->extents[l->extents_count++] = *x;
}

void tensor_list_add_integers(struct tensor_list *l, const struct integers *n, const struct extent *x) {
    l->integers[l->integers_count++] = *n;
    l->extents[l->extents_count++] = *x;
}

void tensor_list_clear(struct tensor_list *l) {
    mem_free(l->extents);
    mem_free(l->integers);
    mem_free(l->tensors);
}

static int compare_place(const void *a, const void *b) {
    const struct extent *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

enum status tensor_list_check_overlap(struct tensor_list *l, size_t first, const char *where, struct error *e) {
    size_t count = l->extents_count - first;
    if (count < 2) {
        return OK;
    }
    struct extent *x = l->extents + first;
    qsort(x, count, sizeof *x, compare_place);
    for (size_t i = 1; i < count; i++) {
        if (x[i].begin < x[i - 1].end) {
            return error_set(
                e, ERR_RUN,
                "%s: tensor %.200s: bytes %llu to %llu of the file overlap those of tensor %.200s (%llu to %llu)",
                where, x[i].name, (unsigned long long)x[i].begin, (unsigned long long)x[i].end, x[i - 1].name,
                (unsigned long long)x[i - 1].begin, (unsigned long long)x[i - 1].end);
        }
    }
    return OK;
}

bool tensor_size(const struct tensor *t, uint64_t *elements, uint64_t *bytes) {
    uint64_t product = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] != 0 && product > UINT64_MAX / t->shape[i]) {
            return false;
        }
        product *= t->shape[i];
    }
    uint64_t blocks = product / tensor_block_elements(t->type);
    *elements = product;
    *bytes = blocks * tensor_block_bytes(t->type);
    return blocks <= UINT64_MAX / tensor_block_bytes(t->type);
}
