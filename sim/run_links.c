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
    return r->net ? interconnect_classes(r->net) + (chip_links(r) ? 2 * interconnect_groups(r->net) : 0) : 0;
}

size_t run_links_stages(const struct run *r, size_t operations) {
    size_t stages = 0;
    for (size_t m = 0; r->net && m < placement_matrices(r->placement); m++) {
        struct interconnect_matrix one = interconnect_matrix(r->net, m);
        stages += 2; /* out of the home chip, and in */
        for (uint32_t i = 0; i < one.count; i++) {
            stages += 2 + one.parts[i].inputs.count + one.parts[i].results.count;
        }
    }
    return stages + (chip_links(r) ? 2 * operations : 0);
}

int run_links_kind(const struct run *r, size_t resource) { return resource >= interconnect_classes(r->net); }

uint64_t run_links_chip(const struct run *r, size_t resource) {
    size_t classes = interconnect_classes(r->net),
           group = resource < classes ? interconnect_class(r->net, resource).group : (resource - classes) / 2;
    return interconnect_group(r->net, group).first;
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

static int64_t cycles_of(const struct run *r, uint32_t cycles) {
    return clock_cycles(&r->clocks, CLOCK_NETWORK, cycles);
}

static void cross_network(struct run *r, const struct network_transfer *t, struct front *at) {
    for (uint32_t i = 0; i < t->count; i++) {
        run_add_stage(r, first_resource(r) + t->legs[i].class,
                      &(struct stage){.hold_ticks = cycles_of(r, t->legs[i].flits),
                                      .latency_ticks = cycles_of(r, t->legs[i].head),
                                      .overlap = true},
                      at);
    }
}

/* Over the link of a group; `out`: the way that pays the latency. */
static void cross_chip_link(struct run *r, size_t group, bool out, uint64_t bits, struct front *at) {
    const struct chip_link_spec *link = &chip_spec_of(r->chip)->chip_link;
    int64_t hold = clock_ticks(&r->clocks, CLOCK_NETWORK, (double)bits / 8 / link->bandwidth_Bps.value),
            way = out ? clock_ticks(&r->clocks, CLOCK_NETWORK, link->latency_s.value) : 0;
    run_add_stage(r, first_resource(r) + interconnect_classes(r->net) + 2 * group + !out,
                  &(struct stage){.hold_ticks = hold, .latency_ticks = hold + way, .overlap = true}, at);
}

void run_send_inputs(struct run *r, size_t matrix, struct front *at) {
    if (!r->net) {
        return;
    }
    struct interconnect_matrix m = interconnect_matrix(r->net, matrix);
    struct front outside = *at, all = {.count = 0};
    ledger_links(&r->ledger, placement_matrix_at(r->placement, matrix).layer, m.bit_hops * r->tokens,
                 m.link_bits * r->tokens);
    if (!r->engine) {
        return;
    }
    if (m.home_out_bits) {
        cross_chip_link(r, m.home, true, m.home_out_bits, &outside);
    }
    for (uint32_t i = 0; i < m.count; i++) {
        const struct network_part *p = &m.parts[i];
        bool foreign = chip_links(r) && p->group != m.home;
        struct front here = foreign ? outside : *at;
        if (foreign) {
            cross_chip_link(r, p->group, false, p->inputs.link_bits, &here);
        }
        cross_network(r, &p->inputs, &here);
        run_join_front(r, &all, &here);
    }
    *at = all.count ? all : *at;
}

void run_collect_results(struct run *r, size_t matrix, struct front *at) {
    if (!r->net || !r->engine) {
        return;
    }
    struct interconnect_matrix m = interconnect_matrix(r->net, matrix);
    struct front all = {.count = 0}, outside = {.count = 0};
    for (uint32_t i = 0; i < m.count; i++) {
        const struct network_part *p = &m.parts[i];
        bool foreign = chip_links(r) && p->group != m.home;
        struct front here = *at;
        cross_network(r, &p->results, &here);
        if (foreign) {
            cross_chip_link(r, p->group, true, p->results.link_bits, &here);
        }
        run_join_front(r, foreign ? &outside : &all, &here);
    }
    if (outside.count) {
        cross_chip_link(r, m.home, false, m.home_in_bits, &outside);
        run_join_front(r, &all, &outside);
    }
    *at = all.count ? all : *at;
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
    uint64_t bits = values * (uint64_t)chip_spec_of(r->chip)->buffer.value_bits;
    ledger_links(&r->ledger, layer, 0, bits * r->tokens);
    if (r->engine) {
        cross_chip_link(r, from, true, bits, at);
        cross_chip_link(r, to, false, bits, at);
    }
}
