/* The pickle in a checkpoint of PyTorch, read as data.
 *
 * A pickle is a program for a machine with a stack and a memo that can name any function of Python and call it. This
 * reader calls nothing. It knows the instructions below, of protocol 2, which torch.save writes, and these names:
 *
 *   collections.OrderedDict            makes a map
 *   torch.FloatStorage, ...            type of a storage (table `storages`)
 *   torch._utils._rebuild_tensor_v2    (storage, offset, sizes, strides, ...) makes a tensor: noted down
 *   torch._utils._rebuild_parameter    (tensor, ...) is the tensor
 *   aihwkit_lightning.*, aihwkit.*     settings of analog training in the metadata of the checkpoint: a value that
 *                                      nobody looks into. Whatever is done to it gives such a value again.
 *
 * Every other instruction and every other name is an error that says which. The result must be a map from texts to
 * tensors; what is attached to it (BUILD: `_metadata`) is dropped.
 *
 * Work and memory grow with the bytes of the pickle, whatever it says: values are shared, never copied, a place in the
 * memo needs an instruction, and nothing is walked recursively (a map may hold itself).
 *
 * Source of the instructions: CPython, Lib/pickletools.py; of the layout: PyTorch, torch/serialization.py.
 */
#include "models/torch_parts.h"

enum { PICKLE_LIMIT = 4 << 20, TEXT_LIMIT = 1 << 16 };

enum kind { NOTHING, BOOLEAN, INTEGER, TEXT, TUPLE, LIST, MAP, STORAGE_TYPE, STORAGE, TENSOR, FUNCTION, OPAQUE, MARK };
enum function { MAKE_MAP, MAKE_TENSOR, MAKE_PARAMETER };

struct value {
    enum kind kind;
    int64_t integer;       /* INTEGER, BOOLEAN; which FUNCTION; enum torch_type of STORAGE_TYPE and STORAGE */
    const char *text;      /* TEXT; key of a STORAGE */
    struct value **items;  /* TUPLE: [count] */
    size_t count;
    uint64_t elements;     /* STORAGE */
    struct pair *first, **end; /* MAP */
    struct torch_tensor *tensor;
};

struct pair {
    struct value *key, *value;
    struct pair *next;
};

struct machine_of_pickle {
    const uint8_t *data;
    size_t bytes, at, instruction; /* the latter: place of the instruction at hand, for messages */
    const char *where;
    struct arena *arena;
    struct value **stack;
    size_t depth, room;
    struct value **memo;
    size_t memo_room;
};

static enum status wrong(const struct machine_of_pickle *m, const char *what, struct error *e) {
    return error_set(e, ERR_RUN, "%s: offset %zu: pickle: %s", m->where, m->instruction, what);
}

static enum status no_memory(const struct machine_of_pickle *m, struct error *e) {
    return wrong(m, "out of memory", e);
}

/* ---- names that are known ----------------------------------------------------------------------- */

static const struct { const char *name; enum torch_type type; } storages[] = {
    {"torch FloatStorage", TORCH_F32},   {"torch HalfStorage", TORCH_F16}, {"torch BFloat16Storage", TORCH_BF16},
    {"torch IntStorage", TORCH_I32},     {"torch LongStorage", TORCH_I64}, {"torch ByteStorage", TORCH_U8},
    {"torch BoolStorage", TORCH_BOOL},
};
static const struct { const char *name; enum function function; } functions[] = {
    {"collections OrderedDict", MAKE_MAP},
    {"torch._utils _rebuild_tensor_v2", MAKE_TENSOR},
    {"torch._utils _rebuild_parameter", MAKE_PARAMETER},
};
static const char *const opaque_modules[] = {"aihwkit_lightning.", "aihwkit."};

/* "MODULE NAME" */
static enum status find_global(const struct machine_of_pickle *m, const char *name, struct value *out,
                               struct error *e) {
    for (size_t i = 0; i < sizeof storages / sizeof storages[0]; i++) {
        if (strcmp(name, storages[i].name) == 0) {
            *out = (struct value){.kind = STORAGE_TYPE, .integer = storages[i].type};
            return OK;
        }
    }
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (strcmp(name, functions[i].name) == 0) {
            *out = (struct value){.kind = FUNCTION, .integer = functions[i].function};
            return OK;
        }
    }
    for (size_t i = 0; i < sizeof opaque_modules / sizeof opaque_modules[0]; i++) {
        if (strncmp(name, opaque_modules[i], strlen(opaque_modules[i])) == 0) {
            *out = (struct value){.kind = OPAQUE};
            return OK;
        }
    }
    return error_set(e, ERR_RUN,
                     "%s: offset %zu: pickle: names %.200s, which is not among what a checkpoint needs: refused "
                     "(allowed: tensors of float32, float16, bfloat16, int32, int64, uint8, bool, in an OrderedDict)",
                     m->where, m->instruction, name);
}

/* ---- bytes -------------------------------------------------------------------------------------- */

static enum status take(struct machine_of_pickle *m, size_t bytes, const uint8_t **out, struct error *e) {
    if (bytes > m->bytes - m->at) {
        return wrong(m, "cut short", e);
    }
    *out = m->data + m->at;
    m->at += bytes;
    return OK;
}

/* Little endian, 1 to 8 bytes. */
static enum status take_number(struct machine_of_pickle *m, size_t bytes, uint64_t *out, struct error *e) {
    const uint8_t *p = NULL;
    TRY(take(m, bytes, &p, e));
    *out = 0;
    for (size_t i = bytes; i-- > 0;) {
        *out = *out << 8 | p[i];
    }
    return OK;
}

/* Up to the end of the line, without it. */
static enum status take_line(struct machine_of_pickle *m, const char **text, size_t *bytes, struct error *e) {
    const uint8_t *end = memchr(m->data + m->at, '\n', m->bytes - m->at);
    if (!end) {
        return wrong(m, "cut short", e);
    }
    *text = (const char *)m->data + m->at;
    *bytes = (size_t)(end - m->data) - m->at;
    m->at += *bytes + 1;
    return OK;
}

/* ---- stack and memo ----------------------------------------------------------------------------- */

static enum status grow_list(struct machine_of_pickle *m, struct value ***list, size_t *room, size_t wanted,
                             struct error *e) {
    if (wanted <= *room) {
        return OK;
    }
    size_t more = *room ? *room : 64;
    while (more < wanted) {
        more *= 2;
    }
    struct value **grown = mem_resize(*list, *room * sizeof *grown, more * sizeof *grown);
    if (!grown) {
        return no_memory(m, e);
    }
    memset(grown + *room, 0, (more - *room) * sizeof *grown);
    *list = grown;
    *room = more;
    return OK;
}

static enum status push(struct machine_of_pickle *m, struct value *v, struct error *e) {
    TRY(grow_list(m, &m->stack, &m->room, m->depth + 1, e));
    m->stack[m->depth++] = v;
    return OK;
}

static enum status push_new(struct machine_of_pickle *m, struct value v, struct error *e) {
    struct value *own = arena_alloc(m->arena, 1, sizeof *own);
    if (!own) {
        return no_memory(m, e);
    }
    *own = v;
    if (v.kind == MAP) {
        own->end = &own->first;
    }
    return push(m, own, e);
}

static enum status pop(struct machine_of_pickle *m, struct value **out, struct error *e) {
    if (m->depth == 0 || m->stack[m->depth - 1]->kind == MARK) {
        return wrong(m, "takes from an empty stack", e);
    }
    *out = m->stack[--m->depth];
    return OK;
}

/* What stands above the last mark; the mark goes too. The items stay valid until the next push. */
static enum status pop_to_mark(struct machine_of_pickle *m, struct value ***items, size_t *count, struct error *e) {
    size_t i = m->depth;
    while (i > 0 && m->stack[i - 1]->kind != MARK) {
        i--;
    }
    if (i == 0) {
        return wrong(m, "no mark on the stack", e);
    }
    *items = m->stack + i;
    *count = m->depth - i;
    m->depth = i - 1;
    return OK;
}

static enum status remember(struct machine_of_pickle *m, uint64_t place, struct error *e) {
    if (m->depth == 0 || m->stack[m->depth - 1]->kind == MARK) {
        return wrong(m, "takes from an empty stack", e);
    }
    if (place >= m->bytes) { /* each needs an instruction: a larger one is there to exhaust memory */
        return wrong(m, "place in the memo beyond the number of instructions", e);
    }
    TRY(grow_list(m, &m->memo, &m->memo_room, (size_t)place + 1, e));
    m->memo[place] = m->stack[m->depth - 1];
    return OK;
}

static enum status recall(struct machine_of_pickle *m, uint64_t place, struct error *e) {
    if (place >= m->memo_room || !m->memo[place]) {
        return wrong(m, "asks for a place in the memo that is empty", e);
    }
    return push(m, m->memo[place], e);
}

/* ---- values ------------------------------------------------------------------------------------- */

static enum status push_tuple(struct machine_of_pickle *m, struct value **items, size_t count, struct error *e) {
    struct value **own = arena_alloc(m->arena, count, sizeof *own);
    if (!own) {
        return no_memory(m, e);
    }
    if (count > 0) {
        memcpy(own, items, count * sizeof *own);
    }
    return push_new(m, (struct value){.kind = TUPLE, .items = own, .count = count}, e);
}

static enum status push_last(struct machine_of_pickle *m, size_t count, struct error *e) {
    struct value *items[3];
    for (size_t i = count; i-- > 0;) {
        TRY(pop(m, &items[i], e));
    }
    return push_tuple(m, items, count, e);
}

static enum status push_text(struct machine_of_pickle *m, struct error *e) {
    uint64_t bytes = 0;
    const uint8_t *p = NULL;
    TRY(take_number(m, 4, &bytes, e));
    TRY(take(m, (size_t)bytes, &p, e));
    if (bytes > TEXT_LIMIT) {
        return wrong(m, "a text of more than 65536 bytes", e);
    }
    char *text = memchr(p, 0, (size_t)bytes) ? NULL : arena_strndup(m->arena, (const char *)p, (size_t)bytes);
    return text ? push_new(m, (struct value){.kind = TEXT, .text = text}, e)
                : wrong(m, "a text with a zero byte, or out of memory", e);
}

static enum status push_integer(struct machine_of_pickle *m, size_t bytes, bool with_sign, struct error *e) {
    uint64_t bits = 0;
    TRY(take_number(m, bytes, &bits, e));
    int64_t value = with_sign ? (int64_t)(int32_t)(uint32_t)bits : (int64_t)bits;
    return push_new(m, (struct value){.kind = INTEGER, .integer = value}, e);
}

/* LONG1: a length, then two's complement. */
static enum status push_long(struct machine_of_pickle *m, struct error *e) {
    uint64_t bytes = 0, bits = 0;
    TRY(take_number(m, 1, &bytes, e));
    if (bytes > 8) {
        return wrong(m, "an integer of more than 64 bits", e);
    }
    TRY(take_number(m, (size_t)bytes, &bits, e));
    if (bytes > 0 && bytes < 8 && bits >> (8 * bytes - 1)) {
        bits |= UINT64_MAX << (8 * bytes);
    }
    return push_new(m, (struct value){.kind = INTEGER, .integer = (int64_t)bits}, e);
}

static enum status push_global(struct machine_of_pickle *m, struct error *e) {
    const char *module = NULL, *name = NULL;
    size_t module_bytes = 0, name_bytes = 0;
    struct value v = {0};
    TRY(take_line(m, &module, &module_bytes, e));
    TRY(take_line(m, &name, &name_bytes, e));
    if (module_bytes > TEXT_LIMIT || name_bytes > TEXT_LIMIT) {
        return wrong(m, "a name of more than 65536 bytes", e);
    }
    char *full = arena_printf(m->arena, "%.*s %.*s", (int)module_bytes, module, (int)name_bytes, name);
    if (!full) {
        return no_memory(m, e);
    }
    TRY(find_global(m, full, &v, e));
    return push_new(m, v, e);
}

/* ("storage", type, key, device, elements) */
static enum status push_storage(struct machine_of_pickle *m, struct error *e) {
    struct value *t = NULL;
    TRY(pop(m, &t, e));
    struct value **i = t->items;
    if (t->kind != TUPLE || t->count != 5 || i[0]->kind != TEXT || strcmp(i[0]->text, "storage") != 0 ||
        i[1]->kind != STORAGE_TYPE || i[2]->kind != TEXT || i[4]->kind != INTEGER || i[4]->integer < 0) {
        return wrong(m, "not a storage: (\"storage\", type, key, device, elements)", e);
    }
    return push_new(m, (struct value){.kind = STORAGE, .integer = i[1]->integer, .text = i[2]->text,
                                      .elements = (uint64_t)i[4]->integer}, e);
}

/* ---- calls -------------------------------------------------------------------------------------- */

static bool read_sizes(const struct value *v, uint64_t sizes[4], int *rank) {
    *rank = (int)v->count;
    for (size_t i = 0; v->kind == TUPLE && v->count <= 4 && i < v->count; i++) {
        if (v->items[i]->kind != INTEGER || v->items[i]->integer < 0) {
            return false;
        }
        sizes[i] = (uint64_t)v->items[i]->integer;
    }
    return v->kind == TUPLE && v->count <= 4;
}

/* (storage, offset, sizes, strides, requires_grad, hooks [, metadata]) */
static enum status make_tensor(struct machine_of_pickle *m, const struct value *args, struct error *e) {
    struct value **i = args->items;
    struct torch_tensor *t = arena_alloc(m->arena, 1, sizeof *t);
    int strides;
    if (!t) {
        return no_memory(m, e);
    }
    if (args->count < 6 || args->count > 7 || i[0]->kind != STORAGE || i[1]->kind != INTEGER || i[1]->integer < 0 ||
        !read_sizes(i[2], t->shape, &t->rank) || !read_sizes(i[3], t->stride, &strides) || strides != t->rank) {
        return wrong(m, "not a tensor: (storage, offset, sizes, strides, ...) with at most 4 sizes, none negative", e);
    }
    t->storage = i[0]->text;
    t->type = (enum torch_type)i[0]->integer;
    t->elements = i[0]->elements;
    t->offset = (uint64_t)i[1]->integer;
    return push_new(m, (struct value){.kind = TENSOR, .tensor = t}, e);
}

static enum status call(struct machine_of_pickle *m, struct error *e) {
    struct value *args = NULL, *callee = NULL;
    TRY(pop(m, &args, e));
    TRY(pop(m, &callee, e));
    if (callee->kind == OPAQUE) {
        return push(m, callee, e);
    }
    if (callee->kind != FUNCTION || args->kind != TUPLE) {
        return wrong(m, "calls what is no function", e);
    }
    switch ((enum function)callee->integer) {
    case MAKE_MAP:
        return args->count == 0 ? push_new(m, (struct value){.kind = MAP}, e)
                                : wrong(m, "OrderedDict with arguments (allowed: none)", e);
    case MAKE_TENSOR:
        return make_tensor(m, args, e);
    case MAKE_PARAMETER:
        break;
    }
    if (args->count == 0 || args->items[0]->kind != TENSOR) {
        return wrong(m, "a parameter that is no tensor", e);
    }
    return push(m, args->items[0], e);
}

/* NEWOBJ: an object of a class; only of one that nobody looks into. */
static enum status make_object(struct machine_of_pickle *m, struct error *e) {
    struct value *args = NULL, *class = NULL;
    TRY(pop(m, &args, e));
    TRY(pop(m, &class, e));
    return class->kind == OPAQUE ? push(m, class, e) : wrong(m, "makes an object of a class that is not known", e);
}

/* What is attached to a map or an opaque value is dropped. */
static enum status build(struct machine_of_pickle *m, struct error *e) {
    struct value *state = NULL;
    TRY(pop(m, &state, e));
    const struct value *target = m->depth ? m->stack[m->depth - 1] : NULL;
    return target && (target->kind == MAP || target->kind == OPAQUE) ? OK : wrong(m, "attaches to what is no map", e);
}

/* ---- maps and lists ----------------------------------------------------------------------------- */

static enum status put(struct machine_of_pickle *m, struct value *map, struct value *key, struct value *value,
                       struct error *e) {
    if (map->kind == OPAQUE) {
        return OK;
    }
    struct pair *p = arena_alloc(m->arena, 1, sizeof *p);
    if (!p) {
        return no_memory(m, e);
    }
    if (map->kind != MAP) {
        return wrong(m, "puts into what is no map", e);
    }
    *p = (struct pair){key, value, NULL};
    *map->end = p;
    map->end = &p->next;
    return OK;
}

static enum status put_one(struct machine_of_pickle *m, struct error *e) {
    struct value *key = NULL, *value = NULL;
    TRY(pop(m, &value, e));
    TRY(pop(m, &key, e));
    if (m->depth == 0) {
        return wrong(m, "takes from an empty stack", e);
    }
    return put(m, m->stack[m->depth - 1], key, value, e);
}

static enum status put_all(struct machine_of_pickle *m, struct error *e) {
    struct value **items = NULL;
    size_t count = 0;
    TRY(pop_to_mark(m, &items, &count, e));
    if (m->depth == 0 || count % 2) {
        return wrong(m, "a map, or one of its values, is missing", e);
    }
    for (size_t i = 0; i < count; i += 2) {
        TRY(put(m, m->stack[m->depth - 1], items[i], items[i + 1], e));
    }
    return OK;
}

/* Lists stand in the metadata only: what is put into them is dropped. */
static enum status append(struct machine_of_pickle *m, bool many, struct error *e) {
    struct value **items = NULL, *one = NULL;
    size_t count = 0;
    TRY(many ? pop_to_mark(m, &items, &count, e) : pop(m, &one, e));
    const struct value *target = m->depth ? m->stack[m->depth - 1] : NULL;
    return target && (target->kind == LIST || target->kind == OPAQUE) ? OK : wrong(m, "appends to what is no list", e);
}

/* ---- instructions ------------------------------------------------------------------------------- */

static enum status put_in_memo(struct machine_of_pickle *m, size_t bytes, struct error *e) {
    uint64_t place = 0;
    TRY(take_number(m, bytes, &place, e));
    return remember(m, place, e);
}

static enum status get_from_memo(struct machine_of_pickle *m, size_t bytes, struct error *e) {
    uint64_t place = 0;
    TRY(take_number(m, bytes, &place, e));
    return recall(m, place, e);
}

static enum status check_protocol(struct machine_of_pickle *m, struct error *e) {
    uint64_t protocol = 0;
    TRY(take_number(m, 1, &protocol, e));
    return m->instruction == 0 && protocol == 2 ? OK : wrong(m, "protocol (allowed: 2, at the start)", e);
}

static enum status skip_float(struct machine_of_pickle *m, struct error *e) {
    const uint8_t *p = NULL;
    TRY(take(m, 8, &p, e));
    return push_new(m, (struct value){.kind = OPAQUE}, e);
}

static enum status step(struct machine_of_pickle *m, uint8_t instruction, struct error *e) {
    switch (instruction) {
    case 0x80: return check_protocol(m, e);
    case '(': return push_new(m, (struct value){.kind = MARK}, e);
    case 'N': return push_new(m, (struct value){.kind = NOTHING}, e);
    case 0x88: case 0x89: return push_new(m, (struct value){.kind = BOOLEAN, .integer = instruction == 0x88}, e);
    case 'J': return push_integer(m, 4, true, e);
    case 'K': return push_integer(m, 1, false, e);
    case 'M': return push_integer(m, 2, false, e);
    case 0x8a: return push_long(m, e);
    case 'G': return skip_float(m, e);
    case 'X': return push_text(m, e);
    case ')': return push_tuple(m, NULL, 0, e);
    case 0x85: case 0x86: case 0x87: return push_last(m, instruction - 0x84u, e);
    case 't': {
        struct value **items = NULL;
        size_t count = 0;
        TRY(pop_to_mark(m, &items, &count, e));
        return push_tuple(m, items, count, e);
    }
    case '}': return push_new(m, (struct value){.kind = MAP}, e);
    case ']': return push_new(m, (struct value){.kind = LIST}, e);
    case 's': return put_one(m, e);
    case 'u': return put_all(m, e);
    case 'a': return append(m, false, e);
    case 'e': return append(m, true, e);
    case 'c': return push_global(m, e);
    case 'R': return call(m, e);
    case 0x81: return make_object(m, e);
    case 'b': return build(m, e);
    case 'Q': return push_storage(m, e);
    case 'q': return put_in_memo(m, 1, e);
    case 'r': return put_in_memo(m, 4, e);
    case 'h': return get_from_memo(m, 1, e);
    case 'j': return get_from_memo(m, 4, e);
    default: break;
    }
    return error_set(e, ERR_RUN,
                     "%s: offset %zu: pickle: instruction 0x%02x is not among what a checkpoint needs: refused "
                     "(allowed: those that torch.save writes, protocol 2)",
                     m->where, m->instruction, instruction);
}

enum { STOP = '.' };

static enum status run(struct machine_of_pickle *m, struct error *e) {
    for (;;) {
        const uint8_t *instruction = NULL;
        m->instruction = m->at;
        TRY(take(m, 1, &instruction, e));
        if (*instruction == STOP) {
            break;
        }
        TRY(step(m, *instruction, e));
    }
    if (m->at != m->bytes) {
        return wrong(m, "goes on behind its end", e);
    }
    return m->depth == 1 ? OK : wrong(m, "leaves more or less than one value", e);
}

/* ---- the result --------------------------------------------------------------------------------- */

static enum status list_tensors(const struct machine_of_pickle *m, struct torch_list *out, struct error *e) {
    const struct value *map = m->stack[0];
    size_t count = 0;
    if (map->kind != MAP) {
        return wrong(m, "the result is no map from names to tensors", e);
    }
    for (const struct pair *p = map->first; p; p = p->next) {
        if (p->key->kind != TEXT || p->value->kind != TENSOR) {
            return error_set(e, ERR_RUN, "%s: pickle: %.200s: not a tensor (allowed: a map from names to tensors)",
                             m->where, p->key->kind == TEXT ? p->key->text : "a key that is no text");
        }
        count++;
    }
    out->at = arena_alloc(m->arena, count, sizeof *out->at);
    out->count = 0;
    if (!out->at) {
        return no_memory(m, e);
    }
    for (const struct pair *p = map->first; p; p = p->next) {
        out->at[out->count] = *p->value->tensor;
        out->at[out->count++].name = p->key->text;
    }
    return OK;
}

enum status torch_pickle_read(const uint8_t *data, size_t bytes, const char *where, struct arena *a,
                              struct torch_list *out, struct error *e) {
    if (bytes > PICKLE_LIMIT) {
        return error_set(e, ERR_RUN, "%s: pickle: %zu bytes (allowed: up to %d)", where, bytes, PICKLE_LIMIT);
    }
    struct machine_of_pickle m = {.data = data, .bytes = bytes, .where = where, .arena = a};
    enum status status = run(&m, e);
    if (status == OK) {
        status = list_tensors(&m, out, e);
    }
    mem_free(m.stack);
    mem_free(m.memo);
    return status;
}
