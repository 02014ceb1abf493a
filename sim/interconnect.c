/* See interconnect.h. One pass over the chips in order; of each, the loads of every matrix on it, then the classes. */
#include "sim/interconnect.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "sim/blocks.h"
#include "sim/placement.h"

enum { SET_BITS = 64 }; /* spans of a chip that are told apart; those beyond share the last bit */

/* Lists that grow while the network is made. */
struct list { void *items; size_t count, room; };

struct part_record {
    size_t route;
    struct network_part part;
    size_t first_leg[2]; /* inputs, results: into `legs`; pointers are set at the end */
};

struct interconnect {
    const struct chip_spec *spec;
    const struct placement *placement;
    struct topology *topology; /* NULL: the chip has no network */
    uint32_t hub, links;
    struct list groups, classes, legs, parts; /* chip_group, link_class, network_leg, part_record */
    struct list heat;                         /* [groups][links] uint64_t */
    struct network_part *sorted;              /* parts by route */
    size_t *first_route;                      /* [matrices + 1]: every copy of a matrix is a route */
    struct interconnect_matrix *routes;
};

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "network: out of memory"); }

/* Room for n more items; NULL: out of memory. */
static void *list_add(struct list *l, size_t n, size_t size) {
    if (l->count + n > l->room) {
        size_t room = 2 * l->room + n + 16;
        void *items = mem_resize(l->items, l->room * size, room * size);
        if (!items) {
            return NULL;
        }
        l->items = items;
        l->room = room;
    }
    void *first = (char *)l->items + l->count * size;
    l->count += n;
    return first;
}

/* ---- one chip --------------------------------------------------------------------------------------------------- */

/* Tiles [first, end) of one copy of a matrix, on one chip; its tile 0 lies on stack `base`. */
struct span { size_t matrix; uint32_t copy; uint64_t base, first, end; };

/* Loads of one matrix in one direction. */
struct load {
    uint64_t *flits;   /* [links] */
    uint32_t *depth;   /* [links]; 0: not crossed */
    uint32_t deepest;
    uint64_t bit_hops;
};

struct bench {
    struct interconnect *n;
    struct span *spans;      /* on the present chip */
    size_t span_count;
    struct load *loads;      /* [2 x spans] */
    uint64_t *set;           /* [links]: matrices that cross a link */
    uint32_t *depth;         /* [links] of one tree */
    uint32_t *nodes;         /* [tiles of a chip]: ends of one tree */
    uint64_t tiles_per_chip;
};

static uint32_t node_of(const struct bench *b, const struct span *s, uint64_t tile) {
    return placement_slot(b->n->placement, s->base + tile) / (uint32_t)b->n->spec->network.tiles_per_core;
}

static void add_tree(const struct bench *b, uint64_t bits, uint32_t links, uint32_t deepest, struct load *to) {
    uint64_t width = (uint64_t)b->n->spec->network.flit_bits, flits = bits / width + (bits % width != 0);
    for (uint32_t l = 0; l < b->n->links; l++) {
        if (b->depth[l]) {
            to->flits[l] += flits;
            to->depth[l] = to->depth[l] == 0 || b->depth[l] < to->depth[l] ? b->depth[l] : to->depth[l];
        }
    }
    to->deepest = deepest > to->deepest ? deepest : to->deepest;
    to->bit_hops += bits * links;
}

static void send_inputs(const struct bench *b, const struct span *s, struct load *to) {
    const struct tile_spec *t = &b->n->spec->tile;
    struct placement_matrix m = placement_matrix_at(b->n->placement, s->matrix);
    for (uint64_t tile = s->first; tile < s->end;) {
        uint32_t block = (uint32_t)(tile / m.column_blocks), deepest;
        uint64_t row_end = (uint64_t)(block + 1) * m.column_blocks, end = row_end < s->end ? row_end : s->end;
        size_t count = 0;
        for (; tile < end; tile++) {
            uint32_t node = node_of(b, s, tile);
            if (count == 0 || b->nodes[count - 1] != node) {
                b->nodes[count++] = node;
            }
        }
        enum split_mode split = (enum split_mode)t->split;
        uint32_t rows = block_begin(m.inputs, (uint32_t)t->rows, split, block + 1) -
                        block_begin(m.inputs, (uint32_t)t->rows, split, block);
        uint32_t links = topology_multicast(b->n->topology, b->n->hub, b->nodes, count, b->depth, &deepest);
        add_tree(b, (uint64_t)rows * (uint64_t)t->dac.bits, links, deepest, to);
    }
}

/* Nodes of the tiles of column block c in the span. */
static size_t column_nodes(const struct bench *b, const struct span *s, uint32_t column_blocks, uint32_t c) {
    uint64_t offset = s->first % column_blocks, skip = (c + column_blocks - offset) % column_blocks;
    size_t count = 0;
    for (uint64_t tile = s->first + skip; tile < s->end; tile += column_blocks) {
        b->nodes[count++] = node_of(b, s, tile);
    }
    return count;
}

static void send_results(const struct bench *b, const struct span *s, struct load *to) {
    const struct chip_spec *spec = b->n->spec;
    struct placement_matrix m = placement_matrix_at(b->n->placement, s->matrix);
    enum split_mode split = (enum split_mode)spec->tile.split;
    for (uint32_t c = 0; c < m.column_blocks; c++) {
        size_t count = column_nodes(b, s, m.column_blocks, c);
        uint32_t columns = block_begin(m.outputs, (uint32_t)spec->tile.columns, split, c + 1) -
                           block_begin(m.outputs, (uint32_t)spec->tile.columns, split, c),
                 deepest;
        uint64_t bits = (uint64_t)columns * (uint64_t)spec->buffer.value_bits;
        for (size_t i = 0; i < count; i += spec->network.reduction ? count : 1) {
            size_t together = spec->network.reduction ? count : 1;
            uint32_t links = topology_reduction(b->n->topology, b->nodes + i, together, b->n->hub, b->depth, &deepest);
            add_tree(b, bits, links, deepest, to);
        }
    }
}

static void clear_load(const struct bench *b, struct load *l) {
    memset(l->flits, 0, b->n->links * sizeof *l->flits);
    memset(l->depth, 0, b->n->links * sizeof *l->depth);
    l->deepest = 0;
    l->bit_hops = 0;
}

static void compute_loads(struct bench *b) {
    for (size_t i = 0; i < b->span_count; i++) {
        clear_load(b, &b->loads[2 * i]);
        clear_load(b, &b->loads[2 * i + 1]);
        if (b->n->topology) {
            send_inputs(b, &b->spans[i], &b->loads[2 * i]);
            send_results(b, &b->spans[i], &b->loads[2 * i + 1]);
        }
    }
}

/* ---- classes ---------------------------------------------------------------------------------------------------- */

static uint64_t bit_of(size_t span) { return (uint64_t)1 << (span < SET_BITS ? span : SET_BITS - 1); }

/* One class of the present chip; `index` into the classes of the network. */
struct class_work { uint64_t set; size_t index; };

static enum status find_classes(struct bench *b, size_t group, size_t direction, struct class_work *found,
                                size_t *count, struct error *e) {
    struct interconnect *n = b->n;
    *count = 0;
    for (uint32_t l = 0; l < n->links; l++) {
        b->set[l] = 0;
        for (size_t i = 0; i < b->span_count; i++) {
            b->set[l] |= b->loads[2 * i + direction].depth[l] ? bit_of(i) : 0;
        }
        size_t k = 0;
        while (b->set[l] && k < *count && found[k].set != b->set[l]) {
            k++;
        }
        if (b->set[l] && k == *count) {
            struct link_class *c = list_add(&n->classes, 1, sizeof *c);
            if (!c) {
                return no_memory(e);
            }
            *c = (struct link_class){group, direction == 0, 0};
            found[(*count)++] = (struct class_work){b->set[l], n->classes.count - 1};
        }
        if (b->set[l]) {
            ((struct link_class *)n->classes.items)[found[k].index].links++;
        }
    }
    return OK;
}

/* While the chain of a transfer is sorted: head holds the depth. */
static int by_depth(const void *a, const void *b) {
    const struct network_leg *x = a, *y = b;
    return x->head != y->head ? (x->head > y->head) - (x->head < y->head)
                              : (x->class > y->class) - (x->class < y->class);
}

/* The most loaded link and the smallest depth of one class, for one load. */
static struct network_leg leg_of(const struct bench *b, const struct load *load, const struct class_work *class) {
    struct network_leg leg = {(uint32_t)class->index, 0, UINT32_MAX};
    for (uint32_t l = 0; l < b->n->links; l++) {
        if (load->depth[l] && b->set[l] == class->set) {
            leg.flits = load->flits[l] > leg.flits ? (uint32_t)load->flits[l] : leg.flits;
            leg.head = load->depth[l] < leg.head ? load->depth[l] : leg.head;
        }
    }
    return leg;
}

/* Depths become cycles to the next leg; the last leg ends with the transfer. */
static void time_legs(const struct interconnect *n, const struct load *load, struct network_leg *legs, size_t count) {
    uint32_t hop = (uint32_t)n->spec->network.hop_cycles, most = 0, begun = legs[0].head;
    for (size_t i = 0; i < count; i++) {
        most = legs[i].flits > most ? legs[i].flits : most;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t next = i + 1 < count ? legs[i + 1].head : 0;
        legs[i].head = i + 1 < count ? (next - legs[i].head) * hop
                                     : load->deepest * hop + most - (legs[i].head - begun) * hop;
    }
}

static enum status make_legs(struct bench *b, const struct load *load, size_t direction, size_t span,
                             const struct class_work *classes, size_t class_count, struct part_record *part,
                             struct error *e) {
    struct interconnect *n = b->n;
    struct network_transfer *to = direction ? &part->part.results : &part->part.inputs;
    part->first_leg[direction] = n->legs.count;
    for (size_t k = 0; k < class_count; k++) {
        struct network_leg leg = leg_of(b, load, &classes[k]), *place;
        if (!(classes[k].set & bit_of(span)) || leg.flits == 0) {
            continue;
        }
        if (!(place = list_add(&n->legs, 1, sizeof *place))) {
            return no_memory(e);
        }
        *place = leg;
        to->count++;
    }
    if (to->count) {
        struct network_leg *legs = (struct network_leg *)n->legs.items + part->first_leg[direction];
        qsort(legs, to->count, sizeof *legs, by_depth);
        time_legs(n, load, legs, to->count);
    }
    to->bit_hops = load->bit_hops;
    return OK;
}

/* ---- links between chips ---------------------------------------------------------------------------------------- */

/* Bits of the row blocks, and of the column blocks, of the tiles [first, end) of a matrix. */
static void span_bits(const struct interconnect *n, const struct span *s, uint64_t *inputs, uint64_t *results) {
    const struct chip_spec *spec = n->spec;
    struct placement_matrix m = placement_matrix_at(n->placement, s->matrix);
    enum split_mode split = (enum split_mode)spec->tile.split;
    uint32_t block = (uint32_t)(s->first / m.column_blocks), last = (uint32_t)((s->end - 1) / m.column_blocks),
             rows = block_begin(m.inputs, (uint32_t)spec->tile.rows, split, last + 1) -
                    block_begin(m.inputs, (uint32_t)spec->tile.rows, split, block);
    *inputs = (uint64_t)rows * (uint64_t)spec->tile.dac.bits;
    uint64_t columns = 0;
    for (uint32_t c = 0; c < m.column_blocks; c++) {
        uint64_t skip = (c + m.column_blocks - s->first % m.column_blocks) % m.column_blocks;
        if (s->first + skip < s->end) {
            columns += block_begin(m.outputs, (uint32_t)spec->tile.columns, split, c + 1) -
                       block_begin(m.outputs, (uint32_t)spec->tile.columns, split, c);
        }
    }
    *results = columns * (uint64_t)spec->buffer.value_bits;
}

/* ---- chips in order --------------------------------------------------------------------------------------------- */

static bool is_home(const struct interconnect *n, uint64_t chip) {
    for (size_t l = 0; l <= placement_layers(n->placement); l++) {
        if (placement_home_chip(n->placement, l < placement_layers(n->placement) ? (int)l : -1) == chip) {
            return true;
        }
    }
    return false;
}

static size_t route_of(const struct interconnect *n, const struct span *s) {
    return n->first_route[s->matrix] + s->copy;
}

/* Adds the loads of a span of the present chip to the part of the same route of the last group. */
static void join_part(struct bench *b, size_t span, struct part_record *part) {
    struct interconnect *n = b->n;
    for (size_t direction = 0; direction < 2; direction++) {
        struct network_transfer *to = direction ? &part->part.results : &part->part.inputs;
        const struct load *load = &b->loads[2 * span + direction];
        uint64_t most = 0, in, out;
        for (uint32_t l = 0; l < n->links; l++) {
            most = load->flits[l] > most ? load->flits[l] : most;
        }
        struct network_leg *leg = (struct network_leg *)n->legs.items + part->first_leg[direction];
        uint32_t tail = load->deepest * (uint32_t)n->spec->network.hop_cycles + (uint32_t)most;
        if (to->count) {
            leg->flits = most > leg->flits ? (uint32_t)most : leg->flits;
            leg->head = tail > leg->head ? tail : leg->head;
        }
        span_bits(n, &b->spans[span], &in, &out);
        to->bit_hops += load->bit_hops;
        uint64_t bits = direction ? out : in;
        to->link_bits = bits > to->link_bits ? bits : to->link_bits;
    }
}

/* The present chip is full of the same routes as the last group. */
static void join_group(struct bench *b) {
    struct chip_group *g = (struct chip_group *)b->n->groups.items + b->n->groups.count - 1;
    struct part_record *parts = (struct part_record *)b->n->parts.items + b->n->parts.count - b->span_count;
    g->count++;
    for (size_t i = 0; i < b->span_count; i++) {
        join_part(b, i, &parts[i]);
    }
}

static enum status add_heat(struct bench *b, struct error *e) {
    struct interconnect *n = b->n;
    uint64_t *heat = list_add(&n->heat, n->links, sizeof *heat);
    if (!heat && n->links) {
        return no_memory(e);
    }
    for (uint32_t l = 0; l < n->links; l++) {
        heat[l] = 0;
        for (size_t i = 0; i < 2 * b->span_count; i++) {
            heat[l] += b->loads[i].flits[l];
        }
    }
    return OK;
}

static enum status add_group(struct bench *b, uint64_t chip, struct error *e) {
    struct interconnect *n = b->n;
    struct chip_group *g = list_add(&n->groups, 1, sizeof *g);
    struct class_work *classes = mem_alloc(n->links, sizeof *classes);
    struct part_record *parts = list_add(&n->parts, b->span_count, sizeof *parts);
    enum status s = OK;
    if (!g || (!classes && n->links) || (!parts && b->span_count)) {
        mem_free(classes);
        return no_memory(e);
    }
    *g = (struct chip_group){chip, 1};
    for (size_t i = 0; i < b->span_count; i++) {
        parts[i] = (struct part_record){.route = route_of(n, &b->spans[i]), .part.group = n->groups.count - 1};
        span_bits(n, &b->spans[i], &parts[i].part.inputs.link_bits, &parts[i].part.results.link_bits);
    }
    for (size_t direction = 0; direction < 2 && s == OK; direction++) {
        size_t count;
        s = find_classes(b, n->groups.count - 1, direction, classes, &count, e);
        for (size_t i = 0; i < b->span_count && s == OK; i++) {
            s = make_legs(b, &b->loads[2 * i + direction], direction, i, classes, count, &parts[i], e);
        }
    }
    mem_free(classes);
    return s == OK ? add_heat(b, e) : s;
}

/* A chip that works in step with the one before it: both full of the same routes (then all of a direction cross the
 * same links, which are one class), both reached over links of the same kind, neither is a home. */
static bool joins(const struct bench *b, uint64_t chip) {
    const struct interconnect *n = b->n;
    size_t last = n->groups.count - 1, before = n->parts.count - b->span_count;
    const struct part_record *parts = n->parts.items;
    if (n->groups.count == 0 || b->span_count == 0 || n->parts.count < b->span_count ||
        (before > 0 && parts[before - 1].part.group == last)) {
        return false;
    }
    const struct chip_group *g = (const struct chip_group *)n->groups.items + last;
    for (size_t i = 0; i < b->span_count; i++) {
        const struct span *s = &b->spans[i];
        const struct part_record *p = &parts[before + i];
        if (s->end - s->first != b->tiles_per_chip || p->part.group != last || p->route != route_of(n, s) ||
            g->first * b->tiles_per_chip < s->base) {
            return false;
        }
        uint64_t home = placement_home_chip(n->placement, placement_matrix_at(n->placement, s->matrix).layer);
        if (interconnect_link(n, home, chip) != interconnect_link(n, home, g->first)) {
            return false;
        }
    }
    return !is_home(n, chip) && !is_home(n, g->first);
}

/* Copies of a matrix that have tiles on stacks [first, end). */
static void add_spans(struct bench *b, size_t matrix, uint64_t first, uint64_t end) {
    const struct placement *p = b->n->placement;
    struct placement_matrix m = placement_matrix_at(p, matrix);
    for (uint32_t k = 0; k < m.copies && m.tiles; k++) {
        uint64_t base = placement_copy_stack(p, matrix, k), over = base + m.tiles;
        if (base < end && over > first) {
            b->spans[b->span_count++] = (struct span){matrix, k, base, (base > first ? base : first) - base,
                                                      (over < end ? over : end) - base};
        }
    }
}

static enum status visit_chips(struct bench *b, struct error *e) {
    uint64_t chips = placement_total(b->n->placement).chips;
    size_t from = 0, to = 0;
    for (uint64_t chip = 0; chip < chips; chip++) {
        uint64_t first = chip * b->tiles_per_chip, end = first + b->tiles_per_chip;
        b->span_count = 0;
        placement_find(b->n->placement, first, end, &from, &to);
        for (size_t i = from; i < to; i++) {
            add_spans(b, i, first, end);
        }
        compute_loads(b);
        if (joins(b, chip)) {
            join_group(b);
        } else {
            TRY(add_group(b, chip, e));
        }
    }
    return OK;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

/* Most spans that share a chip; copies of a matrix may all lie on one. */
static size_t most_spans(const struct interconnect *n, uint64_t tiles_per_chip) {
    size_t most = 1, from = 0, to = 0;
    for (uint64_t chip = 0; chip < placement_total(n->placement).chips; chip++) {
        size_t spans = 0;
        placement_find(n->placement, chip * tiles_per_chip, (chip + 1) * tiles_per_chip, &from, &to);
        for (size_t i = from; i < to; i++) {
            spans += placement_matrix_at(n->placement, i).copies;
        }
        most = spans > most ? spans : most;
    }
    return most;
}

static void bench_clear(struct bench *b, size_t most) {
    for (size_t i = 0; b->loads && i < 2 * most; i++) {
        mem_free(b->loads[i].flits);
        mem_free(b->loads[i].depth);
    }
    mem_free(b->loads);
    mem_free(b->spans);
    mem_free(b->set);
    mem_free(b->depth);
    mem_free(b->nodes);
}

static enum status bench_make(struct bench *b, size_t most, struct error *e) {
    size_t links = b->n->links;
    b->spans = mem_alloc(most, sizeof *b->spans);
    b->loads = mem_alloc(2 * most, sizeof *b->loads);
    b->set = mem_alloc(links, sizeof *b->set);
    b->depth = mem_alloc(links, sizeof *b->depth);
    b->nodes = mem_alloc(b->tiles_per_chip, sizeof *b->nodes);
    if (!b->spans || !b->loads || !b->set || !b->depth || !b->nodes) {
        return no_memory(e);
    }
    for (size_t i = 0; i < 2 * most; i++) {
        b->loads[i].flits = mem_alloc(links, sizeof *b->loads[i].flits);
        b->loads[i].depth = mem_alloc(links, sizeof *b->loads[i].depth);
        if (!b->loads[i].flits || !b->loads[i].depth) {
            return no_memory(e);
        }
    }
    return OK;
}

/* What leaves and enters the home chip of a matrix for one of its copies. */
static void add_up_route(struct interconnect *n, size_t matrix, struct interconnect_matrix *m) {
    struct network_part *parts = (struct network_part *)(uintptr_t)m->parts;
    const struct chip_group *groups = n->groups.items;
    struct placement_matrix placed = placement_matrix_at(n->placement, matrix);
    uint64_t home = placement_home_chip(n->placement, placed.layer);
    uint64_t all_inputs = (uint64_t)placed.inputs * (uint64_t)n->spec->tile.dac.bits;
    for (size_t g = 0; g < n->groups.count; g++) {
        m->home = groups[g].first <= home ? g : m->home;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        uint64_t chips = groups[parts[i].group].count;
        m->bit_hops += parts[i].inputs.bit_hops + parts[i].results.bit_hops;
        if (parts[i].group == m->home || !n->spec->chip_link.given) {
            parts[i].inputs.link_bits = parts[i].results.link_bits = 0;
            continue;
        }
        parts[i].link = interconnect_link(n, home, groups[parts[i].group].first);
        m->home_out_bits[parts[i].link] += parts[i].inputs.link_bits * chips;
        m->home_in_bits[parts[i].link] += parts[i].results.link_bits * chips;
    }
    uint64_t all_results = (uint64_t)placed.outputs * (uint64_t)n->spec->buffer.value_bits;
    for (int k = 0; k < LINK_KINDS; k++) {
        const struct chip_link_spec *link = chip_link_of(n->spec, (enum link_kind)k);
        m->link_bits[k] = m->home_out_bits[k] + m->home_in_bits[k];
        if (link->reduction && m->home_in_bits[k] > all_results) {
            m->home_in_bits[k] = all_results;
        }
        m->home_out_bits[k] = m->home_out_bits[k] < all_inputs ? m->home_out_bits[k] : all_inputs;
    }
}

static enum status number_routes(struct interconnect *n, struct error *e) {
    size_t matrices = placement_matrices(n->placement);
    n->first_route = mem_alloc(matrices + 1, sizeof *n->first_route);
    if (!n->first_route) {
        return no_memory(e);
    }
    for (size_t m = 0; m < matrices; m++) {
        n->first_route[m + 1] = n->first_route[m] + placement_matrix_at(n->placement, m).copies;
    }
    n->routes = mem_alloc(n->first_route[matrices], sizeof *n->routes);
    return n->routes || !matrices ? OK : no_memory(e);
}

static enum status sort_parts(struct interconnect *n, struct error *e) {
    size_t matrices = placement_matrices(n->placement), at = 0;
    const struct part_record *records = n->parts.items;
    n->sorted = mem_alloc(n->parts.count, sizeof *n->sorted);
    if (!n->sorted) {
        return no_memory(e);
    }
    for (size_t i = 0; i < n->parts.count; i++) {
        n->routes[records[i].route].count++;
    }
    for (size_t r = 0; r < n->first_route[matrices]; r++) {
        n->routes[r].parts = n->sorted + at;
        at += n->routes[r].count;
        n->routes[r].count = 0;
    }
    for (size_t i = 0; i < n->parts.count; i++) {
        struct interconnect_matrix *m = &n->routes[records[i].route];
        struct network_part *to = (struct network_part *)(uintptr_t)&m->parts[m->count++];
        *to = records[i].part;
        to->inputs.legs = (const struct network_leg *)n->legs.items + records[i].first_leg[0];
        to->results.legs = (const struct network_leg *)n->legs.items + records[i].first_leg[1];
    }
    for (size_t m = 0; m < matrices; m++) {
        for (size_t r = n->first_route[m]; r < n->first_route[m + 1]; r++) {
            add_up_route(n, m, &n->routes[r]);
        }
    }
    return OK;
}

static enum status build(struct interconnect *n, struct error *e) {
    const struct network_spec *s = &n->spec->network;
    uint64_t tiles = (uint64_t)n->spec->tiles_per_chip, per_core = (uint64_t)s->tiles_per_core;
    if (s->given && s->topology != TOPOLOGY_NONE) {
        TRY(topology_create((enum topology_kind)s->topology, (uint32_t)(tiles / per_core + (tiles % per_core != 0)),
                            (uint32_t)s->columns, (uint32_t)s->rows, &n->topology, e));
        n->links = topology_links(n->topology);
        n->hub = s->hub >= 0 ? (uint32_t)s->hub : topology_default_hub(n->topology);
    }
    TRY(number_routes(n, e));
    struct bench b = {.n = n, .tiles_per_chip = placement_stacks_per_chip(n->placement)};
    size_t most = most_spans(n, b.tiles_per_chip);
    enum status status = bench_make(&b, most, e);
    if (status == OK) {
        status = visit_chips(&b, e);
    }
    bench_clear(&b, most);
    return status == OK ? sort_parts(n, e) : status;
}

enum status interconnect_create(const struct chip *c, const struct placement *p, struct interconnect **out,
                                struct error *e) {
    *out = NULL;
    struct interconnect *n = mem_alloc(1, sizeof *n);
    if (!n) {
        return no_memory(e);
    }
    *n = (struct interconnect){.spec = chip_spec_of(c), .placement = p};
    enum status s = build(n, e);
    if (s != OK) {
        interconnect_destroy(n);
        return s;
    }
    *out = n;
    return OK;
}

void interconnect_destroy(struct interconnect *n) {
    if (n) {
        topology_destroy(n->topology);
        mem_free(n->groups.items);
        mem_free(n->classes.items);
        mem_free(n->legs.items);
        mem_free(n->parts.items);
        mem_free(n->heat.items);
        mem_free(n->sorted);
        mem_free(n->first_route);
        mem_free(n->routes);
        mem_free(n);
    }
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

enum link_kind interconnect_link(const struct interconnect *n, uint64_t chip, uint64_t other) {
    uint64_t together = n->spec->package_link.given ? (uint64_t)n->spec->hierarchy.chips_per_package : 0;
    return together && chip / together != other / together ? LINK_PACKAGE : LINK_CHIP;
}

size_t interconnect_groups(const struct interconnect *n) { return n->groups.count; }
struct chip_group interconnect_group(const struct interconnect *n, size_t group) {
    return ((const struct chip_group *)n->groups.items)[group];
}
size_t interconnect_classes(const struct interconnect *n) { return n->classes.count; }
struct link_class interconnect_class(const struct interconnect *n, size_t i) {
    return ((const struct link_class *)n->classes.items)[i];
}
struct interconnect_matrix interconnect_matrix(const struct interconnect *n, size_t matrix, uint32_t copy) {
    return n->routes[n->first_route[matrix] + copy];
}
const struct topology *interconnect_topology(const struct interconnect *n) { return n->topology; }
uint64_t interconnect_link_flits(const struct interconnect *n, size_t group, uint32_t link) {
    return ((const uint64_t *)n->heat.items)[group * n->links + link];
}
