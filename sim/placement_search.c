/* See placement_search.h. */
#include "sim/placement_search.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "sim/blocks.h"
#include "sim/placement.h"

enum { EMPTY = -1, SWAPS_PER_TILE = 500, COOLING_STEPS = 64 };
#define WORK 150000000.0 /* tiles of messages that are counted again: about two seconds */
#define THRESHOLD 0.5

/* Tiles [first, end) of one copy of a matrix on a chip; its tile 0 would lie on tile `base` of the chip. */
struct area {
    struct placement_matrix m;
    uint64_t first, end;
    int64_t base;
};

/* One tree: which stacks of the chip are its ends. */
struct message {
    double bits; /* per token */
    bool inputs;
    uint32_t first, count; /* into ends */
    uint32_t links;        /* of its tree now */
};

/* A list that grows. */
struct list { void *items; size_t count, room; };

struct search {
    const struct chip_spec *spec;
    const struct placement *placement;
    struct topology *topology;
    uint32_t hub, slots; /* slots: tiles of a chip */
    uint64_t per_chip;   /* stacks of a chip */
    struct list areas;   /* struct area: of the present chip */
    struct list messages, ends, of_stack; /* struct message, uint32_t stacks, uint32_t messages of every stack */
    uint32_t *first_of;  /* [slots + 1]: into of_stack */
    uint32_t *slot, *best; /* [slots]: of every stack */
    int32_t *at;         /* [slots]: stack there, or EMPTY */
    uint32_t *nodes;     /* [slots] */
    uint32_t *depth;     /* [links] */
    uint64_t *signature; /* [chips] */
    uint64_t draws;      /* random numbers so far */
};

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "placement: out of memory"); }

/* Room for one more item; NULL: out of memory. */
static void *list_add(struct list *l, size_t size) {
    if (l->count == l->room) {
        size_t room = 2 * l->room + 64;
        void *items = mem_resize(l->items, l->room * size, room * size);
        if (!items) {
            return NULL;
        }
        l->items = items;
        l->room = room;
    }
    return (char *)l->items + l->count++ * size;
}

/* ---- what lies on a chip ---------------------------------------------------------------------------------------- */

static enum status find_areas(struct search *s, uint64_t chip, size_t *from, size_t *to, struct error *e) {
    uint64_t first = chip * s->per_chip, end = first + s->per_chip;
    placement_find(s->placement, first, end, from, to);
    s->areas.count = 0;
    for (size_t i = *from; i < *to; i++) {
        struct placement_matrix m = placement_matrix_at(s->placement, i);
        for (uint32_t k = 0; k < m.copies && m.tiles; k++) {
            uint64_t base = placement_copy_stack(s->placement, i, k), over = base + m.tiles;
            if (base >= end || over <= first) {
                continue;
            }
            struct area *a = list_add(&s->areas, sizeof *a);
            if (!a) {
                return no_memory(e);
            }
            *a = (struct area){m, (base > first ? base : first) - base, (over < end ? over : end) - base,
                               (int64_t)base - (int64_t)first};
        }
    }
    return OK;
}

static uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* Chips of one signature hold the same blocks of equal matrices at the same places. */
static uint64_t sign(const struct search *s) {
    uint64_t h = s->areas.count;
    for (size_t i = 0; i < s->areas.count; i++) {
        const struct area *a = (const struct area *)s->areas.items + i;
        h = mix(mix(mix(h, (uint64_t)a->m.inputs << 32 | a->m.outputs), a->m.copies), (uint64_t)a->base);
        h = mix(mix(h, a->first), a->end);
    }
    return h;
}

/* ---- its messages ----------------------------------------------------------------------------------------------- */

static enum status add_end(struct search *s, const struct area *a, uint64_t tile, struct error *e) {
    uint32_t *end = list_add(&s->ends, sizeof *end);
    if (!end) {
        return no_memory(e);
    }
    *end = (uint32_t)(a->base + (int64_t)tile);
    ((struct message *)s->messages.items)[s->messages.count - 1].count++;
    return OK;
}

static enum status add_message(struct search *s, const struct area *a, bool inputs, double bits, struct error *e) {
    struct message *m = list_add(&s->messages, sizeof *m);
    if (!m) {
        return no_memory(e);
    }
    *m = (struct message){bits / a->m.copies, inputs, (uint32_t)s->ends.count, 0, 0};
    return OK;
}

static enum status add_row_blocks(struct search *s, const struct area *a, struct error *e) {
    const struct tile_spec *t = &s->spec->tile;
    enum split_mode split = (enum split_mode)t->split;
    uint32_t columns = a->m.column_blocks;
    for (uint64_t tile = a->first; tile < a->end; tile++) {
        uint32_t block = (uint32_t)(tile / columns);
        if (tile == a->first || tile % columns == 0) {
            uint32_t rows = block_begin(a->m.inputs, (uint32_t)t->rows, split, block + 1) -
                            block_begin(a->m.inputs, (uint32_t)t->rows, split, block);
            TRY(add_message(s, a, true, (double)rows * t->dac.bits, e));
        }
        TRY(add_end(s, a, tile, e));
    }
    return OK;
}

static enum status add_column_blocks(struct search *s, const struct area *a, struct error *e) {
    const struct tile_spec *t = &s->spec->tile;
    enum split_mode split = (enum split_mode)t->split;
    uint32_t blocks = a->m.column_blocks;
    for (uint32_t c = 0; c < blocks; c++) {
        uint64_t first = a->first + (c + blocks - a->first % blocks) % blocks;
        uint32_t columns = block_begin(a->m.outputs, (uint32_t)t->columns, split, c + 1) -
                           block_begin(a->m.outputs, (uint32_t)t->columns, split, c);
        for (uint64_t tile = first; tile < a->end; tile += blocks) {
            if (tile == first || !s->spec->network.reduction) {
                TRY(add_message(s, a, false, (double)columns * s->spec->buffer.value_bits, e));
            }
            TRY(add_end(s, a, tile, e));
        }
    }
    return OK;
}

/* Which messages every stack is an end of. */
static enum status index_stacks(struct search *s, struct error *e) {
    const struct message *m = s->messages.items;
    const uint32_t *ends = s->ends.items;
    s->of_stack.count = 0;
    for (size_t i = 0; i < s->ends.count; i++) {
        if (!list_add(&s->of_stack, sizeof *ends)) {
            return no_memory(e);
        }
    }
    memset(s->first_of, 0, (s->slots + 1) * sizeof *s->first_of);
    for (size_t i = 0; i < s->ends.count; i++) {
        s->first_of[ends[i] + 1]++;
    }
    for (uint32_t k = 0; k < s->slots; k++) {
        s->first_of[k + 1] += s->first_of[k];
    }
    uint32_t *of = s->of_stack.items;
    for (size_t i = s->messages.count; i-- > 0;) { /* backwards, every first_of moves to its place */
        for (uint32_t k = m[i].count; k-- > 0;) {
            of[--s->first_of[ends[m[i].first + k] + 1]] = (uint32_t)i;
        }
    }
    memmove(s->first_of, s->first_of + 1, s->slots * sizeof *s->first_of);
    s->first_of[s->slots] = (uint32_t)s->ends.count;
    return OK;
}

static enum status make_messages(struct search *s, struct error *e) {
    s->messages.count = s->ends.count = 0;
    for (size_t i = 0; i < s->areas.count; i++) {
        const struct area *a = (const struct area *)s->areas.items + i;
        TRY(add_row_blocks(s, a, e));
        TRY(add_column_blocks(s, a, e));
    }
    return index_stacks(s, e);
}

/* ---- the search ------------------------------------------------------------------------------------------------- */

static uint32_t count_links(struct search *s, const struct message *m) {
    const uint32_t *ends = (const uint32_t *)s->ends.items + m->first;
    uint32_t per_core = (uint32_t)s->spec->network.tiles_per_core, deepest;
    for (uint32_t i = 0; i < m->count; i++) {
        s->nodes[i] = s->slot[ends[i]] / per_core;
    }
    return m->inputs ? topology_multicast(s->topology, s->hub, s->nodes, m->count, s->depth, &deepest)
                     : topology_reduction(s->topology, s->nodes, m->count, s->hub, s->depth, &deepest);
}

/* Counts all messages; returns their bit hops. */
static double count_all(struct search *s) {
    double bit_hops = 0;
    for (size_t i = 0; i < s->messages.count; i++) {
        struct message *m = (struct message *)s->messages.items + i;
        m->links = count_links(s, m);
        bit_hops += m->bits * m->links;
    }
    return bit_hops;
}

static void swap(struct search *s, uint32_t a, uint32_t b) {
    int32_t one = s->at[a], two = s->at[b];
    s->at[a] = two;
    s->at[b] = one;
    if (one != EMPTY) {
        s->slot[one] = b;
    }
    if (two != EMPTY) {
        s->slot[two] = a;
    }
}

/* By how much the messages of a stack changed, without those that `other` shares. `keep`: note it. */
static double change_of(struct search *s, int32_t stack, int32_t other, bool keep, double *work) {
    double change = 0;
    const uint32_t *of = s->of_stack.items;
    for (uint32_t i = stack == EMPTY ? 0 : s->first_of[stack]; stack != EMPTY && i < s->first_of[stack + 1]; i++) {
        struct message *m = (struct message *)s->messages.items + of[i];
        bool both = false;
        for (uint32_t k = other == EMPTY ? 0 : s->first_of[other]; other != EMPTY && k < s->first_of[other + 1]; k++) {
            both = both || of[k] == of[i];
        }
        if (!both) {
            uint32_t links = count_links(s, m);
            change += m->bits * ((double)links - (double)m->links);
            m->links = keep ? links : m->links;
            *work += m->count + 4;
        }
    }
    return change;
}

static uint32_t draw(struct search *s, uint64_t chip, uint32_t below) {
    double u = random_uniform((uint64_t)s->spec->placement.seed, random_stream(RANDOM_PLACEMENT, chip), s->draws++);
    uint32_t i = (uint32_t)(u * below);
    return i < below ? i : below - 1;
}

/* Two stacks that share a message stay its ends whatever their order: only the other messages change. */
static double try_swap(struct search *s, uint32_t a, uint32_t b, double threshold, double *work) {
    int32_t one = s->at[a], two = s->at[b];
    if (a == b || (one == EMPTY && two == EMPTY)) {
        *work += 1;
        return 0;
    }
    swap(s, a, b);
    double change = change_of(s, one, two, false, work) + change_of(s, two, one, false, work);
    if (change < threshold || change < 0) {
        change_of(s, one, two, true, work);
        change_of(s, two, one, true, work);
        return change;
    }
    swap(s, a, b);
    return 0;
}

/* Improves s->slot of the present chip with so much work. */
static void improve(struct search *s, uint64_t chip, double budget, struct placement_hops *hops) {
    double now = count_all(s), least = now, work = 0, mean = now / (double)s->messages.count;
    uint64_t most = (uint64_t)SWAPS_PER_TILE * s->slots;
    hops->in_order = now;
    s->draws = 0;
    memcpy(s->best, s->slot, s->slots * sizeof *s->best);
    for (uint64_t i = 0; i < most && work < budget; i++) {
        double share = (double)i / (double)most, spent = work / budget, done = share > spent ? share : spent;
        double left = 1 - (double)(int)(done * COOLING_STEPS) / (COOLING_STEPS - 1);
        uint32_t a = draw(s, chip, s->slots), b = draw(s, chip, s->slots);
        now += try_swap(s, a, b, left > 0 ? THRESHOLD * mean * left * left : 0, &work);
        if (now < least * (1 - 1e-12)) {
            least = now;
            memcpy(s->best, s->slot, s->slots * sizeof *s->best);
            work += s->slots / 16.0;
        }
    }
    memcpy(s->slot, s->best, s->slots * sizeof *s->slot);
    hops->found = count_all(s);
}

/* ---- all chips -------------------------------------------------------------------------------------------------- */

static enum status search_make(struct search *s, uint64_t chips, struct error *e) {
    const struct network_spec *n = &s->spec->network;
    uint32_t per_core = (uint32_t)n->tiles_per_core;
    s->slots = (uint32_t)s->spec->tiles_per_chip;
    TRY(topology_create((enum topology_kind)n->topology, s->slots / per_core + (s->slots % per_core != 0),
                        (uint32_t)n->columns, (uint32_t)n->rows, &s->topology, e));
    s->hub = n->hub >= 0 ? (uint32_t)n->hub : topology_default_hub(s->topology);
    s->per_chip = placement_stacks_per_chip(s->placement);
    s->first_of = mem_alloc(s->slots + 1, sizeof *s->first_of);
    s->slot = mem_alloc(s->slots, sizeof *s->slot);
    s->best = mem_alloc(s->slots, sizeof *s->best);
    s->at = mem_alloc(s->slots, sizeof *s->at);
    s->nodes = mem_alloc(s->slots, sizeof *s->nodes);
    s->depth = mem_alloc(topology_links(s->topology), sizeof *s->depth);
    s->signature = mem_alloc(chips, sizeof *s->signature);
    return s->first_of && s->slot && s->best && s->at && s->nodes && s->depth && s->signature ? OK : no_memory(e);
}

static void search_clear(struct search *s) {
    topology_destroy(s->topology);
    mem_free(s->areas.items);
    mem_free(s->messages.items);
    mem_free(s->ends.items);
    mem_free(s->of_stack.items);
    mem_free(s->first_of);
    mem_free(s->slot);
    mem_free(s->best);
    mem_free(s->at);
    mem_free(s->nodes);
    mem_free(s->depth);
    mem_free(s->signature);
}

/* The first chip with the signature of this one. */
static uint64_t first_like(const struct search *s, uint64_t chip) {
    uint64_t i = 0;
    while (s->signature[i] != s->signature[chip]) {
        i++;
    }
    return i;
}

static enum status sign_chips(struct search *s, uint64_t chips, uint64_t *different, struct error *e) {
    size_t from = 0, to = 0;
    *different = 0;
    for (uint64_t chip = 0; chip < chips; chip++) {
        TRY(find_areas(s, chip, &from, &to, e));
        s->signature[chip] = sign(s);
        *different += first_like(s, chip) == chip;
    }
    return OK;
}

static enum status search_chip(struct search *s, uint64_t chip, double budget, struct placement_hops *hops,
                               struct error *e) {
    TRY(make_messages(s, e));
    for (uint32_t k = 0; k < s->slots; k++) {
        s->slot[k] = k;
        s->at[k] = k < s->per_chip ? (int32_t)k : EMPTY;
    }
    if (s->messages.count) {
        improve(s, chip, budget, hops);
    }
    return OK;
}

static enum status search_chips(struct search *s, uint64_t chips, uint32_t *slot, struct placement_hops *out,
                                struct error *e) {
    uint64_t different = 1, stacks = placement_total(s->placement).stacks;
    struct placement_hops *hops = mem_alloc(chips, sizeof *hops);
    size_t from = 0, to = 0;
    enum status status = hops ? sign_chips(s, chips, &different, e) : no_memory(e);
    for (uint64_t chip = 0; status == OK && chip < chips; chip++) {
        uint64_t like = first_like(s, chip), begin = chip * s->per_chip, model = like * s->per_chip;
        uint64_t count = stacks - begin < s->per_chip ? stacks - begin : s->per_chip;
        status = find_areas(s, chip, &from, &to, e);
        if (status == OK && like == chip) {
            status = search_chip(s, chip, WORK / (double)different, &hops[chip], e);
        }
        for (uint64_t k = 0; status == OK && k < count; k++) {
            slot[begin + k] = like == chip ? s->slot[k] : slot[model + k];
        }
        hops[chip] = hops[like];
        out->in_order += hops[chip].in_order;
        out->found += hops[chip].found;
    }
    mem_free(hops);
    return status;
}

enum status placement_search(const struct chip_spec *s, const struct placement *p, uint32_t *slot,
                             struct placement_hops *out, struct error *e) {
    struct search search = {.spec = s, .placement = p};
    uint64_t chips = placement_total(p).chips;
    *out = (struct placement_hops){0, 0};
    enum status status = search_make(&search, chips, e);
    if (status == OK) {
        status = search_chips(&search, chips, slot, out, e);
    }
    search_clear(&search);
    return status;
}
