/* The critical path of everything that an engine ever did, in memory that follows what is in flight (engine.h).
 *
 * Every event that has started is a node; its parent is the event that caused it, `from` is when that was over or had
 * its result. Nodes are kept while something can still be caused by them: they are `held` by their results and servers
 * that are under way, by items that wait in a queue since that result, by the resource whose server they left, and they
 * are the parents of other nodes. What nobody needs is dropped, and its parent looked at again. So what is left is the
 * tree of all causes of what is in flight. Its roots carry sums of the path up to their start:
 *   parts = ticks by resource, by group, waiting for releases, waiting for edges of clocks; all of it is the start.
 * A root that is not held and has one child hands its sums on to this child and goes. The trunk that all paths share
 * is therefore never stored. Where two paths part and both go on for long, their root is split when the nodes run out:
 * each child gets sums of its own.
 *
 * Of several inputs that come at one time, the one that is worked off last counts as the cause.
 */
#include <string.h>

#include "base/memory.h"
#include "sim/engine_state.h"

enum { NODES_FIRST = 1 << 12, NODES_SPLIT = 1 << 16 };

struct node {
    int64_t start, from;
    uint32_t parent, children, child_xor; /* child_xor: of the numbers of all children; parent: also next free node */
    uint32_t held, resource, group;
    uint32_t base; /* number of the sums of a root; else NONE */
};

struct engine_paths {
    struct node *nodes;
    size_t room;
    uint32_t used, live, free_node, split_at;
    uint32_t resources, groups, parts;
    int64_t *sums; /* [bases][parts] */
    size_t base_room;
    uint32_t bases_used, free_base;
    uint32_t last;   /* node that ends last, held */
    int64_t last_end;
};

/* ---- life -------------------------------------------------------------------------------------- */

struct engine_paths *paths_create(uint32_t resources, uint32_t groups) {
    struct engine_paths *p = mem_alloc(1, sizeof *p);
    if (p) {
        p->resources = resources;
        p->groups = groups;
        p->parts = resources + groups + 2;
        paths_reset(p);
    }
    return p;
}

void paths_destroy(struct engine_paths *p) {
    if (p) {
        mem_free(p->nodes);
        mem_free(p->sums);
        mem_free(p);
    }
}

void paths_reset(struct engine_paths *p) {
    p->used = p->live = p->bases_used = 0;
    p->free_node = p->free_base = p->last = NONE;
    p->split_at = NODES_SPLIT;
    p->last_end = -1;
}

/* ---- sums of roots ----------------------------------------------------------------------------- */

static int64_t *sums_of(const struct engine_paths *p, uint32_t base) { return p->sums + (size_t)base * p->parts; }

/* Zeros; NONE: no memory. A free one holds the number of the next. */
static uint32_t take_base(struct engine_paths *p) {
    uint32_t base = p->free_base;
    if (base != NONE) {
        p->free_base = (uint32_t)sums_of(p, base)[0];
    } else {
        if (p->bases_used == p->base_room) {
            size_t room = p->base_room ? 2 * p->base_room : 16, size = p->parts * sizeof *p->sums;
            int64_t *grown = room > SIZE_MAX / size ? NULL : mem_resize(p->sums, p->base_room * size, room * size);
            if (!grown) {
                return NONE;
            }
            p->sums = grown;
            p->base_room = room;
        }
        base = p->bases_used++;
    }
    memset(sums_of(p, base), 0, p->parts * sizeof *p->sums);
    return base;
}

static void free_base(struct engine_paths *p, uint32_t base) {
    sums_of(p, base)[0] = p->free_base;
    p->free_base = base;
}

static int64_t *release_of(const struct engine_paths *p, int64_t *sums) { return sums + p->resources + p->groups; }
static int64_t *clock_of(const struct engine_paths *p, int64_t *sums) { return release_of(p, sums) + 1; }

/* The way from the start of a node to that of what it caused at `from`. */
static void add_way(const struct engine_paths *p, int64_t *sums, const struct node *n, int64_t from, int64_t start) {
    sums[n->resource] += from - n->start;
    sums[p->resources + n->group] += from - n->start;
    *clock_of(p, sums) += start - from;
}

/* ---- nodes ------------------------------------------------------------------------------------- */

static void free_node(struct engine_paths *p, uint32_t index) {
    p->nodes[index].parent = p->free_node;
    p->free_node = index;
    p->live--;
}

static void leave_parent(struct engine_paths *p, uint32_t parent, uint32_t child) {
    p->nodes[parent].children--;
    p->nodes[parent].child_xor ^= child;
}

/* A node that may not be needed any more: it goes if nothing came of it, and so may its parents; a root with one child
 * hands its sums on. */
static void look_at(struct engine_paths *p, uint32_t index) {
    while (index != NONE && !p->nodes[index].held) {
        struct node *n = &p->nodes[index];
        if (n->children == 0) {
            uint32_t parent = n->parent;
            if (parent != NONE) {
                leave_parent(p, parent, index);
            } else {
                free_base(p, n->base);
            }
            free_node(p, index);
            index = parent;
        } else if (n->parent == NONE && n->children == 1) {
            uint32_t child = n->child_xor;
            struct node *c = &p->nodes[child];
            add_way(p, sums_of(p, n->base), n, c->from, c->start);
            c->base = n->base;
            c->parent = NONE;
            free_node(p, index);
            index = child;
        } else {
            return;
        }
    }
}

/* Every child of a root that is not held becomes a root. False: none was split, or there is no memory. */
static bool split_roots(struct engine_paths *p) {
    bool any = false;
    for (uint32_t i = 0; i < p->used; i++) {
        struct node *n = &p->nodes[i];
        uint32_t root = n->parent;
        if ((n->held || n->children) && root != NONE && p->nodes[root].parent == NONE && !p->nodes[root].held) {
            uint32_t base = take_base(p);
            if (base == NONE) {
                return false;
            }
            memcpy(sums_of(p, base), sums_of(p, p->nodes[root].base), p->parts * sizeof *p->sums);
            add_way(p, sums_of(p, base), &p->nodes[root], n->from, n->start);
            n->base = base;
            n->parent = NONE;
            leave_parent(p, root, i);
            look_at(p, root);
            look_at(p, i);
            any = true;
        }
    }
    return any;
}

static uint32_t take_node(struct engine_paths *p) {
    if (p->live >= p->split_at) {
        while (p->live > p->split_at / 2 && split_roots(p)) {
        }
        p->split_at = 2 * p->live > NODES_SPLIT ? 2 * p->live : NODES_SPLIT;
    }
    uint32_t index = p->free_node;
    if (index != NONE) {
        p->free_node = p->nodes[index].parent;
    } else {
        if (p->used == p->room) {
            size_t room = p->room ? 2 * p->room : NODES_FIRST;
            struct node *grown = room >= NONE ? NULL : mem_resize(p->nodes, p->room * sizeof *grown,
                                                                   room * sizeof *grown);
            if (!grown) {
                return NONE;
            }
            p->nodes = grown;
            p->room = room;
        }
        index = p->used++;
    }
    p->live++;
    return index;
}

/* ---- as events go ------------------------------------------------------------------------------ */

void paths_hold(struct engine_paths *p, uint32_t index) {
    if (index != NONE) {
        p->nodes[index].held++;
    }
}

void paths_drop(struct engine_paths *p, uint32_t index) {
    if (index != NONE && --p->nodes[index].held == 0) {
        look_at(p, index);
    }
}

uint32_t paths_start(struct engine_paths *p, const struct path_step *s) {
    uint32_t index = take_node(p), base = index == NONE || s->cause != NONE ? NONE : take_base(p);
    if (index == NONE || (s->cause == NONE && base == NONE)) {
        return NONE;
    }
    p->nodes[index] = (struct node){.start = s->start, .from = s->from, .parent = s->cause, .held = 1,
                                    .resource = s->resource, .group = s->group, .base = base};
    if (s->cause == NONE) {
        *release_of(p, sums_of(p, base)) = s->from;
        *clock_of(p, sums_of(p, base)) = s->start - s->from;
    } else {
        p->nodes[s->cause].children++;
        p->nodes[s->cause].child_xor ^= index;
    }
    if (s->end > p->last_end) {
        p->nodes[index].held++;
        paths_drop(p, p->last);
        p->last = index;
        p->last_end = s->end;
    }
    return index;
}

size_t paths_most(const struct engine_paths *p) { return p->used; }

struct engine_path engine_whole_path(const struct engine *g, int64_t *by_resource, int64_t *by_group) {
    const struct engine_paths *p = g->paths;
    struct engine_path path = {.last = ENGINE_NO_EVENT};
    int64_t until = p->last_end;
    for (uint32_t i = p->last; i != NONE; i = p->nodes[i].parent) {
        const struct node *n = &p->nodes[i];
        by_resource[n->resource] += until - n->start;
        by_group[n->group] += until - n->start;
        path.clock += n->parent == NONE ? 0 : n->start - n->from;
        until = n->from;
        if (n->parent == NONE) {
            int64_t *sums = sums_of(p, n->base);
            for (uint32_t k = 0; k < p->resources; k++) {
                by_resource[k] += sums[k];
            }
            for (uint32_t k = 0; k < p->groups; k++) {
                by_group[k] += sums[p->resources + k];
            }
            path.release = *release_of(p, sums);
            path.clock += *clock_of(p, sums);
        }
    }
    path.total = p->last == NONE ? 0 : p->last_end;
    return path;
}
