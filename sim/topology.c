/* See topology.h. Every kind is one function: the next link from here towards there. */
#include "sim/topology.h"

#include <string.h>

#include "base/memory.h"

enum { WAYS = 4, DEGREE = 4, EAST = 0, WEST, SOUTH, NORTH };

struct topology {
    enum topology_kind kind;
    uint32_t nodes, columns, rows;
    uint32_t leaves, switches; /* htree: leaves = nodes rounded up to a power of DEGREE */
};

enum status topology_create(enum topology_kind kind, uint32_t nodes, uint32_t columns, uint32_t rows,
                            struct topology **out, struct error *e) {
    *out = NULL;
    if (nodes == 0 || nodes > UINT32_MAX / 8) {
        return error_set(e, ERR_USAGE, "network: %u nodes (allowed: 1 to %u)", nodes, UINT32_MAX / 8);
    }
    if (kind == TOPOLOGY_MESH && (uint64_t)columns * rows < nodes) {
        return error_set(e, ERR_USAGE, "network: a mesh of %u x %u does not hold %u cores (allowed: at least as many)",
                         columns, rows, nodes);
    }
    struct topology *t = mem_alloc(1, sizeof *t);
    if (!t) {
        return error_set(e, ERR_RUN, "network: out of memory");
    }
    *t = (struct topology){.kind = kind, .nodes = nodes, .columns = columns, .rows = rows, .leaves = 1};
    while (t->leaves < nodes) {
        t->switches += t->leaves;
        t->leaves *= DEGREE;
    }
    t->switches = t->switches ? t->switches : 1;
    *out = t;
    return OK;
}

void topology_destroy(struct topology *t) { mem_free(t); }

uint32_t topology_links(const struct topology *t) {
    switch (t->kind) {
    case TOPOLOGY_BUS:
        return 1;
    case TOPOLOGY_HTREE:
        return 2 * (t->leaves + t->switches);
    case TOPOLOGY_MESH:
        return t->columns * t->rows * WAYS;
    case TOPOLOGY_NONE:
    default:
        return 0;
    }
}

uint32_t topology_router_count(enum topology_kind kind, uint32_t nodes, uint32_t columns, uint32_t rows) {
    uint32_t switches = 0;
    for (uint32_t leaves = 1; leaves < nodes; leaves *= DEGREE) {
        switches += leaves;
    }
    return kind == TOPOLOGY_MESH    ? columns * rows
           : kind == TOPOLOGY_HTREE ? (switches ? switches : 1)
           : kind == TOPOLOGY_BUS   ? 1
                                    : 0;
}

uint32_t topology_default_hub(const struct topology *t) {
    return t->kind == TOPOLOGY_MESH ? t->rows / 2 * t->columns + t->columns / 2
           : t->kind == TOPOLOGY_HTREE ? TOPOLOGY_ROOT : 0;
}

/* ---- htree: vertices in levels, the root is 0, children of v are DEGREE v + 1 .. DEGREE v + DEGREE ---- */

static uint32_t vertex_of(const struct topology *t, uint32_t node) {
    return node == TOPOLOGY_ROOT ? 0 : (t->leaves == 1 ? 0 : t->switches) + node;
}

static uint32_t parent(uint32_t vertex) { return (vertex - 1) / DEGREE; }

/* The child of `above` on the way down to `below`; UINT32_MAX when it is not below. */
static uint32_t child_towards(uint32_t above, uint32_t below) {
    while (below > above) {
        uint32_t up = parent(below);
        if (up == above) {
            return below;
        }
        below = up;
    }
    return UINT32_MAX;
}

/* Link 2 v: from v up to its parent; 2 v + 1: from the parent down to v. */
static uint32_t next_in_tree(uint32_t *at, uint32_t to) {
    uint32_t down = child_towards(*at, to);
    if (down != UINT32_MAX) {
        *at = down;
        return 2 * down + 1;
    }
    uint32_t link = 2 * *at;
    *at = parent(*at);
    return link;
}

/* ---- mesh ------------------------------------------------------------------------------------------------------- */

static uint32_t next_in_mesh(const struct topology *t, uint32_t *at, uint32_t to) {
    uint32_t here = *at, x = here % t->columns, y = here / t->columns, tx = to % t->columns, ty = to / t->columns;
    if (x != tx) {
        *at = x < tx ? here + 1 : here - 1;
        return here * WAYS + (x < tx ? EAST : WEST);
    }
    *at = y < ty ? here + t->columns : here - t->columns;
    return here * WAYS + (y < ty ? SOUTH : NORTH);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

/* Position of a node in the steps below. */
static uint32_t place(const struct topology *t, uint32_t node) {
    return t->kind == TOPOLOGY_HTREE ? vertex_of(t, node) : node;
}

/* Takes one step from *at towards `to`, which is another place; returns the link. */
static uint32_t step(const struct topology *t, uint32_t *at, uint32_t to) {
    if (t->kind == TOPOLOGY_BUS) {
        *at = to;
        return 0;
    }
    return t->kind == TOPOLOGY_HTREE ? next_in_tree(at, to) : next_in_mesh(t, at, to);
}

void topology_link_ends(const struct topology *t, uint32_t link, uint32_t *from, uint32_t *to) {
    *from = *to = 0;
    if (t->kind == TOPOLOGY_MESH) {
        uint32_t here = link / WAYS, way = link % WAYS;
        *from = here;
        *to = way == EAST ? here + 1 : way == WEST ? here - 1 : way == SOUTH ? here + t->columns : here - t->columns;
    } else if (t->kind == TOPOLOGY_HTREE) {
        uint32_t v = link / 2, u = v ? parent(v) : 0, first = t->leaves == 1 ? 0 : t->switches;
        uint32_t low = v >= first ? v - first : t->leaves + v, high = t->leaves + u;
        *from = link % 2 ? high : low;
        *to = link % 2 ? low : high;
    }
}

static void clear(const struct topology *t, uint32_t *depth) {
    memset(depth, 0, topology_links(t) * sizeof *depth);
}

uint32_t topology_multicast(const struct topology *t, uint32_t source, const uint32_t *destination, size_t count,
                            uint32_t *depth, uint32_t *deepest) {
    uint32_t links = 0;
    *deepest = 0;
    clear(t, depth);
    for (size_t i = 0; t->kind != TOPOLOGY_NONE && i < count; i++) {
        uint32_t at = place(t, source), to = place(t, destination[i]), hops = 0;
        while (at != to) {
            uint32_t link = step(t, &at, to);
            hops++;
            links += depth[link] == 0;
            depth[link] = hops;
        }
        *deepest = hops > *deepest ? hops : *deepest;
    }
    return links;
}

uint32_t topology_reduction(const struct topology *t, const uint32_t *source, size_t count, uint32_t sink,
                            uint32_t *depth, uint32_t *deepest) {
    uint32_t links = 0;
    *deepest = 0;
    clear(t, depth);
    for (size_t i = 0; t->kind != TOPOLOGY_NONE && i < count; i++) {
        uint32_t at = place(t, source[i]), to = place(t, sink), hops = 0;
        while (at != to) {
            uint32_t link = step(t, &at, to);
            hops++;
            links += depth[link] == 0;
            depth[link] = hops > depth[link] ? hops : depth[link];
        }
        *deepest = hops > *deepest ? hops : *deepest;
    }
    return links;
}

uint32_t topology_hops(const struct topology *t, uint32_t from, uint32_t to) {
    uint32_t at = place(t, from), end = place(t, to), hops = 0;
    while (t->kind != TOPOLOGY_NONE && at != end) {
        step(t, &at, end);
        hops++;
    }
    return hops;
}
