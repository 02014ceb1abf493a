/* See run_links.h. */
#include "sim/run_links.h"

#include "sim/placement.h"

static size_t first_resource(const struct run *r) {
    return placement_matrices(r->placement) + (size_t)placement_total(r->placement).chips * UNIT_COUNT;
}

static bool chip_links(const struct run *r) { return r->net && chip_spec_of(r->chip)->chip_link.given; }

enum status run_links_create(struct run *r, struct error *e) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    return s->network.given || s->chip_link.given ? interconnect_create(r->chip, r->placement, &r->net, e) : OK;
}

size_t run_links_resources(const struct run *r) {
    size_t kinds = chip_spec_of(r->chip)->package_link.given ? 2 : 1;
    return r->net ? interconnect_classes(r->net) + (chip_links(r) ? 2 * kinds * interconnect_groups(r->net) : 0) : 0;
}

size_t run_links_stages(const struct run *r, size_t operations) {
    size_t stages = 0;
    for (size_t m = 0; r->net && m < placement_matrices(r->placement); m++) {
        for (uint32_t k = 0; k < placement_matrix_at(r->placement, m).copies; k++) {
            struct interconnect_matrix one = interconnect_matrix(r->net, m, k);
            stages += 2 * LINK_KINDS; /* out of the home chip, and in */
            for (uint32_t i = 0; i < one.count; i++) {
                stages += 2 + one.parts[i].inputs.count + one.parts[i].results.count;
            }
        }
    }
    return stages + (chip_links(r) ? 2 * operations : 0);
}

bool run_links_turns(const struct run *r) {
    for (size_t m = 0; r->net && m < placement_matrices(r->placement); m++) {
        if (placement_matrix_at(r->placement, m).copies > 1) {
            return true;
        }
    }
    return false;
}

/* Number of the chip link or package link, from the first of both. */
static size_t link_index(const struct run *r, size_t resource) { return resource - interconnect_classes(r->net); }

enum resource_class run_links_class(const struct run *r, size_t resource) {
    bool package = resource >= interconnect_classes(r->net) + 2 * interconnect_groups(r->net);
    return resource < interconnect_classes(r->net) ? CLASS_NETWORK : package ? CLASS_PACKAGE_LINK : CLASS_CHIP_LINK;
}

uint64_t run_links_chip(const struct run *r, size_t resource) {
    size_t group = run_links_class(r, resource) == CLASS_NETWORK
                       ? interconnect_class(r->net, resource).group
                       : link_index(r, resource) / 2 % interconnect_groups(r->net);
    return interconnect_group(r->net, group).first;
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

static int64_t cycles_of(const struct run *r, uint32_t cycles) {
    return clock_cycles(&r->clocks, CLOCK_NETWORK, cycles);
}

static void cross_network(struct run *r, const struct network_transfer *t, struct turn turn, struct front *at) {
    for (uint32_t i = 0; i < t->count; i++) {
        run_add_stage(r, first_resource(r) + t->legs[i].class,
                      &(struct stage){.hold_ticks = cycles_of(r, t->legs[i].flits),
                                      .latency_ticks = cycles_of(r, t->legs[i].head),
                                      .overlap = true,
                                      .turn = turn},
                      at);
    }
}

/* Over a link of a group; `out`: the way that pays the latency. */
static void cross_chip_link(struct run *r, enum link_kind kind, size_t group, bool out, uint64_t bits, struct turn turn,
                            struct front *at) {
    const struct chip_link_spec *link = chip_link_of(chip_spec_of(r->chip), kind);
    int64_t hold = clock_ticks(&r->clocks, CLOCK_NETWORK, (double)bits / 8 / link->bandwidth_Bps.value),
            way = out ? clock_ticks(&r->clocks, CLOCK_NETWORK, link->latency_s.value) : 0;
    size_t links = first_resource(r) + interconnect_classes(r->net) + 2 * (size_t)kind * interconnect_groups(r->net);
    run_add_stage(r, links + 2 * group + !out,
                  &(struct stage){.hold_ticks = hold, .latency_ticks = hold + way, .overlap = true, .turn = turn}, at);
}

static bool foreign(const struct run *r, const struct interconnect_matrix *m, const struct network_part *p) {
    return chip_links(r) && p->group != m->home;
}

/* To one copy of a matrix. */
static void send_to(struct run *r, const struct interconnect_matrix *m, struct turn turn, struct front *at) {
    struct front outside[LINK_KINDS] = {*at, *at}, all = {.count = 0};
    for (int k = 0; k < LINK_KINDS; k++) {
        if (m->home_out_bits[k]) {
            cross_chip_link(r, (enum link_kind)k, m->home, true, m->home_out_bits[k], turn, &outside[k]);
        }
    }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct network_part *p = &m->parts[i];
        struct front here = foreign(r, m, p) ? outside[p->link] : *at;
        if (foreign(r, m, p)) {
            cross_chip_link(r, p->link, p->group, false, p->inputs.link_bits, turn, &here);
        }
        cross_network(r, &p->inputs, turn, &here);
        run_join_front(r, &all, &here);
    }
    *at = all.count ? all : *at;
}

static void collect_from(struct run *r, const struct interconnect_matrix *m, struct turn turn, struct front *at) {
    struct front all = {.count = 0}, outside[LINK_KINDS] = {{.count = 0}, {.count = 0}};
    for (uint32_t i = 0; i < m->count; i++) {
        const struct network_part *p = &m->parts[i];
        struct front here = *at;
        cross_network(r, &p->results, turn, &here);
        if (foreign(r, m, p)) {
            cross_chip_link(r, p->link, p->group, true, p->results.link_bits, turn, &here);
        }
        run_join_front(r, foreign(r, m, p) ? &outside[p->link] : &all, &here);
    }
    for (int k = 0; k < LINK_KINDS; k++) {
        if (outside[k].count) {
            cross_chip_link(r, (enum link_kind)k, m->home, false, m->home_in_bits[k], turn, &outside[k]);
            run_join_front(r, &all, &outside[k]);
        }
    }
    *at = all.count ? all : *at;
}

/* All copies at once from `start`: a token passes those that are not its own without delay. Where there are more
 * branches than a stage can wait for, the rest comes after them. */
static void make_room(struct front *start, struct front *all, uint32_t more) {
    if (all->count + more > FRONT_MOST) {
        *start = *all;
        all->count = 0;
    }
}

void run_send_inputs(struct run *r, size_t matrix, struct front *at) {
    if (!r->net) {
        return;
    }
    struct placement_matrix placed = placement_matrix_at(r->placement, matrix);
    struct front start = *at, all = {.count = 0};
    for (uint32_t k = 0; k < placed.copies; k++) {
        struct interconnect_matrix m = interconnect_matrix(r->net, matrix, k);
        struct turn turn = run_turn_of(k, placed.copies);
        uint64_t tokens = run_turn_tokens(r, turn);
        ledger_links(&r->ledger, placed.layer, m.bit_hops * tokens,
                     (uint64_t[]){m.link_bits[LINK_CHIP] * tokens, m.link_bits[LINK_PACKAGE] * tokens});
        if (r->engine && tokens) {
            make_room(&start, &all, m.count);
            struct front here = start;
            send_to(r, &m, turn, &here);
            run_join_front(r, &all, &here);
        }
    }
    *at = all.count ? all : start;
}

void run_collect_results(struct run *r, size_t matrix, struct front *at) {
    if (!r->net || !r->engine) {
        return;
    }
    uint32_t copies = placement_matrix_at(r->placement, matrix).copies;
    struct front start = *at, all = {.count = 0};
    for (uint32_t k = 0; k < copies; k++) {
        struct interconnect_matrix m = interconnect_matrix(r->net, matrix, k);
        struct turn turn = run_turn_of(k, copies);
        if (run_turn_tokens(r, turn)) {
            make_room(&start, &all, m.count + 1);
            struct front here = start;
            collect_from(r, &m, turn, &here);
            run_join_front(r, &all, &here);
        }
    }
    *at = all.count ? all : start;
}

static size_t group_of(const struct run *r, uint64_t chip) {
    size_t low = 0, high = interconnect_groups(r->net);
    while (high - low > 1) { /* groups are in the order of their chips */
        size_t middle = low + (high - low) / 2;
        *(interconnect_group(r->net, middle).first <= chip ? &low : &high) = middle;
    }
    return low;
}

void run_enter_chip(struct run *r, int layer, uint64_t values, struct front *at) {
    if (!chip_links(r)) {
        return;
    }
    size_t to = group_of(r, placement_home_chip(r->placement, layer)), from = r->at_group;
    r->at_group = to;
    values = values ? values : r->last_values;
    r->last_values = values;
    if (!r->at_somewhere || from == to) { /* a step begins where its first operation is */
        r->at_somewhere = true;
        return;
    }
    uint64_t bits = values * (uint64_t)chip_spec_of(r->chip)->buffer.value_bits, by_kind[LINK_KINDS] = {0};
    enum link_kind kind =
        interconnect_link(r->net, interconnect_group(r->net, from).first, interconnect_group(r->net, to).first);
    by_kind[kind] = bits * r->tokens;
    ledger_links(&r->ledger, layer, 0, by_kind);
    if (r->engine) {
        cross_chip_link(r, kind, from, true, bits, (struct turn){0, 0}, at);
        cross_chip_link(r, kind, to, false, bits, (struct turn){0, 0}, at);
    }
}
