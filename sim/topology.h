/* Private to sim/: the interconnect of a chip as nodes and directed links, and what a message crosses.
 *
 * Node k holds core k. The digital units and the port to other chips are at one node of a mesh (`hub`), at the root of
 * a tree, at the bus. Routing is deterministic, the next hop depends on here and there alone:
 *   bus    one link that everything crosses once; depth 1
 *   htree  a tree of degree 4 with the nodes as leaves (two levels of an H), and switches above; up to the common
 *          switch, then down
 *   mesh   columns x rows routers, node = row x columns + column; X first, then Y
 * So the paths from one node to many form a tree (multicast: every link carries the message once), and the paths from
 * many to one form a tree too (reduction: partial sums that meet are added, every link carries one sum).
 * Number of links of a multicast from a corner to all nodes of a mesh: nodes - 1.
 * A path of h hops with f flits on every link: head at h x hop, tail at h x hop + f - 1 cycles after it set out.
 */
#ifndef MHO_SIM_TOPOLOGY_H
#define MHO_SIM_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum topology_kind { TOPOLOGY_NONE, TOPOLOGY_BUS, TOPOLOGY_HTREE, TOPOLOGY_MESH };

struct topology;
/* nodes: at least 1. columns, rows: of a mesh, which must hold the nodes (ERR_USAGE); else 0. */
enum status topology_create(enum topology_kind kind, uint32_t nodes, uint32_t columns, uint32_t rows,
                            struct topology **out, struct error *e);
void topology_destroy(struct topology *t); /* NULL is fine */
uint32_t topology_links(const struct topology *t); /* numbers of links are below this; TOPOLOGY_NONE: 0 */
/* What costs area: routers of a mesh, switches of a tree, the one arbiter of a bus. */
uint32_t topology_router_count(enum topology_kind kind, uint32_t nodes, uint32_t columns, uint32_t rows);
uint32_t topology_default_hub(const struct topology *t);
/* The two ends of a link, for pictures: nodes; switches of a tree are numbered after the nodes. A bus: 0, 0. */
void topology_link_ends(const struct topology *t, uint32_t link, uint32_t *from, uint32_t *to);

/* The tree from `source` to the nodes destination[0..count): depth[link] = hops from the source up to and with this
 * link (1 for the first), 0 for links outside the tree. `depth` [topology_links] is written whole. Returns the number
 * of links in the tree; *deepest = the largest depth (0: all destinations are the source). */
uint32_t topology_multicast(const struct topology *t, uint32_t source, const uint32_t *destination, size_t count,
                            uint32_t *depth, uint32_t *deepest);
/* The same tree the other way round, from the sources to `sink`: depth = hops from the farthest source through this
 * link, with it. */
uint32_t topology_reduction(const struct topology *t, const uint32_t *source, size_t count, uint32_t sink,
                            uint32_t *depth, uint32_t *deepest);
/* Hops between two nodes. The root of a tree is node TOPOLOGY_ROOT. */
#define TOPOLOGY_ROOT UINT32_MAX
uint32_t topology_hops(const struct topology *t, uint32_t from, uint32_t to);

#endif
