/* Checkpoints of PyTorch (pytorch_model.bin, since torch 1.6): tensors as views of storages.
 *
 *   NAME/data.pkl      which tensors there are: torch_pickle.c
 *   NAME/data/KEY      a storage: its numbers, in the order of NAME/byteorder ("little"; older files have none)
 *   NAME/version       and others: not read
 *
 * A view (offset, sizes, strides) whose elements lie one behind the other is used where it lies in the mapped file, any
 * other is copied. Several tensors may share a storage (a tied head). Views with more elements than their storage are
 * refused, and so are copies that together are larger than the file: memory is never a multiple of it.
 * 64-bit integers, bytes and truth values are checked and left out, as in safetensors.
 */
#include "models/torch_parts.h"

struct reader {
    const struct span *span;
    struct tensor_list *list;
    struct zip zip;
    size_t file;
    uint64_t copied; /* bytes so far */
};

static const struct {
    const char *name;
    uint64_t bytes;
    enum tensor_type type; /* of the first three */
} types[TORCH_TYPES] = {
    [TORCH_F32] = {"float32", 4, TENSOR_F32}, [TORCH_F16] = {"float16", 2, TENSOR_F16},
    [TORCH_BF16] = {"bfloat16", 2, TENSOR_BF16}, [TORCH_I32] = {"int32", 4, 0},
    [TORCH_I64] = {"int64", 8, 0}, [TORCH_U8] = {"uint8", 1, 0}, [TORCH_BOOL] = {"bool", 1, 0},
};

static enum status wrong(const struct reader *r, const struct torch_tensor *t, const char *what, struct error *e) {
    return error_set(e, ERR_RUN, "%s: tensor %.200s: %s", r->span->name, t->name, what);
}

/* The entry of the storage, which must have the size that the pickle says. */
static enum status find_storage(const struct reader *r, const struct torch_tensor *t, const struct zip_entry **out,
                                struct error *e) {
    char *name = arena_printf(r->list->arena, "data/%s", t->storage);
    if (!name) {
        return wrong(r, t, "out of memory", e);
    }
    *out = zip_find(&r->zip, name);
    if (!*out) {
        return error_set(e, ERR_RUN, "%s: tensor %.200s: its storage %.200s is not in the file", r->span->name, t->name,
                         name);
    }
    uint64_t element = types[t->type].bytes;
    if (t->elements > UINT64_MAX / element || t->elements * element != (*out)->bytes) {
        return error_set(e, ERR_RUN, "%s: tensor %.200s: storage %.200s: %llu bytes, but %llu elements of %s",
                         r->span->name, t->name, name, (unsigned long long)(*out)->bytes,
                         (unsigned long long)t->elements, types[t->type].name);
    }
    return OK;
}

/* Elements of the view; the last one must lie in the storage. */
static enum status check_view(const struct reader *r, const struct torch_tensor *t, uint64_t *elements,
                              struct error *e) {
    uint64_t last = t->offset;
    *elements = 1;
    for (int i = 0; i < t->rank; i++) {
        uint64_t size = t->shape[i], reach;
        if (__builtin_mul_overflow(*elements, size, elements)) {
            return wrong(r, t, "the product of the sizes overflows", e);
        }
        if (size > 0 && (__builtin_mul_overflow(size - 1, t->stride[i], &reach) ||
                         __builtin_add_overflow(last, reach, &last))) {
            return wrong(r, t, "a stride overflows", e);
        }
    }
    if (*elements > t->elements || t->offset > t->elements || (*elements > 0 && last >= t->elements)) {
        return error_set(e, ERR_RUN,
                         "%s: tensor %.200s: %llu elements up to number %llu of a storage of %llu (allowed: inside of "
                         "it, and not more than it has)",
                         r->span->name, t->name, (unsigned long long)*elements, (unsigned long long)last,
                         (unsigned long long)t->elements);
    }
    return OK;
}

static bool is_contiguous(const struct torch_tensor *t) {
    uint64_t expected = 1;
    for (int i = t->rank; i-- > 0;) {
        if (t->shape[i] != 1 && t->stride[i] != expected) {
            return false;
        }
        expected *= t->shape[i];
    }
    return true;
}

/* The elements in the order of the indices, last index fastest. */
static void gather(const struct torch_tensor *t, const uint8_t *storage, uint64_t elements, uint8_t *out) {
    uint64_t index[4] = {0}, from = t->offset;
    size_t size = (size_t)types[t->type].bytes;
    for (uint64_t n = 0; n < elements; n++) {
        memcpy(out + n * size, storage + from * size, size);
        for (int i = t->rank; i-- > 0;) {
            from += t->stride[i];
            if (++index[i] < t->shape[i]) {
                break;
            }
            from -= t->stride[i] * t->shape[i];
            index[i] = 0;
        }
    }
}

static enum status place(struct reader *r, const struct torch_tensor *t, const struct zip_entry *storage,
                         uint64_t elements, const uint8_t **out, struct error *e) {
    uint64_t size = types[t->type].bytes, bytes = elements * size;
    if (elements == 0 || is_contiguous(t)) {
        *out = storage->data + t->offset * size;
        return OK;
    }
    if (bytes > r->span->bytes - r->copied) {
        return wrong(r, t, "views that must be copied are together larger than the file: refused", e);
    }
    r->copied += bytes;
    uint8_t *copy = arena_alloc(r->list->arena, (size_t)bytes, 1);
    if (!copy) {
        return wrong(r, t, "out of memory", e);
    }
    gather(t, storage->data, elements, copy);
    *out = copy;
    return OK;
}

static enum status read_tensor(struct reader *r, const struct torch_tensor *t, struct error *e) {
    const struct zip_entry *storage = NULL;
    const uint8_t *data = NULL;
    uint64_t elements = 0;
    TRY(find_storage(r, t, &storage, e));
    TRY(check_view(r, t, &elements, e));
    struct extent x = {.name = t->name, .file = r->file};
    if (t->type > TORCH_I32) {
        tensor_list_add(r->list, NULL, &x);
        return OK;
    }
    TRY(place(r, t, storage, elements, &data, e));
    if (t->type == TORCH_I32) {
        tensor_list_add_integers(r->list, &(struct integers){t->name, t->rank, elements, data}, &x);
        return OK;
    }
    struct tensor made = {.name = t->name, .type = types[t->type].type, .rank = t->rank, .data = data,
                          .bytes = elements * types[t->type].bytes};
    memcpy(made.shape, t->shape, sizeof made.shape);
    tensor_list_add(r->list, &made, &x);
    return OK;
}

static enum status check_byte_order(const struct reader *r, struct error *e) {
    const struct zip_entry *order = zip_find(&r->zip, "byteorder");
    if (order && (order->bytes != 6 || memcmp(order->data, "little", 6) != 0)) {
        return error_set(e, ERR_RUN, "%s: byteorder: not supported (allowed: little)", r->span->name);
    }
    return OK;
}

static enum status read_all(struct reader *r, struct error *e) {
    struct torch_list tensors = {0};
    TRY(zip_read(r->span, r->list->arena, &r->zip, e));
    TRY(check_byte_order(r, e));
    const struct zip_entry *pickle = zip_find(&r->zip, "data.pkl");
    char *where = arena_printf(r->list->arena, "%s: data.pkl", r->span->name);
    if (!pickle || !where) {
        return error_set(e, ERR_RUN, "%s: no data.pkl in it: not a checkpoint that torch.save wrote", r->span->name);
    }
    TRY(torch_pickle_read(pickle->data, (size_t)pickle->bytes, where, r->list->arena, &tensors, e));
    TRY(tensor_list_reserve(r->list, tensors.count, r->span->name, e));
    for (size_t i = 0; i < tensors.count; i++) {
        TRY(read_tensor(r, &tensors.at[i], e));
    }
    return OK;
}

enum status torch_read(const struct span *s, size_t file, struct tensor_list *l, struct error *e) {
    struct reader r = {.span = s, .list = l, .file = file};
    if (s->bytes >= 2 && s->data[0] == 0x80 && s->data[1] == 2) {
        return error_set(e, ERR_RUN,
                         "%s: offset 0: the format of torch before 1.6 (allowed: ZIP files, which a later "
                         "torch.save writes)",
                         s->name);
    }
    return read_all(&r, e);
}
