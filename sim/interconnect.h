/* Private to sim/: what the multiplies of a placement send over the interconnects.
 *
 * For every token, a multiply sends its input codes from the hub of a chip (digital units, buffer) to the cores that
 * hold its tiles, and partial sums come back:
 *   inputs   one multicast per block of rows on the chip: rows of the block x tile.dac.bits
 *   results  one reduction per block of columns on the chip: columns of the block x buffer.value_bits; with
 *            network.reduction: at_hub every tile sends its own
 * A message of b bits is ceil(b / flit_bits) flits; a link passes one per cycle of clocks.network. The load of a link
 * is the sum over the messages that cross it.
 *
 * Links in time. All links of a chip that are crossed by exactly the same multiplies, in the same direction, are one
 * class, and its most loaded link stands for it: hold = its flits. A transfer is a chain of the classes it crosses, by
 * depth; the head needs hop_cycles per hop (cut-through). It is over deepest x hop_cycles + flits of its most loaded
 * link after its start. So multiplies that share a link wait for each other there. Chips that are full of one matrix
 * work in step and are one group with the largest load among them; chips that are home to a layer are on their own.
 *
 * Tiers and copies. Tile i of copy k of a matrix lies on stack first stack + k x tiles of its group + i; matrices on
 * the tiers of one stack share its node. A token goes to one copy, so every copy has loads and links of its own.
 *
 * Between chips. Inputs leave the home chip of the matrix once (the package copies them) and enter every other chip
 * that holds tiles of it; results of every such chip come back, with chip_link.reduction added on their way. Links of a
 * chip: one out, one in. With hierarchy.chips_per_package above 1 these join the chips of a package; what comes from or
 * goes to chips of other packages uses package_link in the same way, of which every chip has one out and one in, too.
 *
 * Energy: bits x hops x hop_energy, each link of a tree once; chip link: bits out and in.
 * Not modelled: routers that stall for lack of buffers, virtual channels, adaptive routes.
 */
#ifndef MHO_SIM_INTERCONNECT_H
#define MHO_SIM_INTERCONNECT_H

#include "sim/chip.h"
#include "sim/topology.h"

struct interconnect;
/* For a chip without network and chip_link all parts are empty. Chip and placement must outlive it. */
enum status interconnect_create(const struct chip *c, const struct placement *p, struct interconnect **out,
                                struct error *e);
void interconnect_destroy(struct interconnect *n); /* NULL is fine */

/* Chips that are one to the timeline. */
struct chip_group { uint64_t first, count; };
size_t interconnect_groups(const struct interconnect *n);
struct chip_group interconnect_group(const struct interconnect *n, size_t group);

/* Classes of links: resources of the timeline. */
struct link_class {
    size_t group;
    bool inputs;    /* away from the hub; else towards it */
    uint32_t links; /* in it, on one chip */
};
size_t interconnect_classes(const struct interconnect *n);
struct link_class interconnect_class(const struct interconnect *n, size_t i);

struct network_leg {
    uint32_t class;
    uint32_t flits; /* hold, cycles */
    uint32_t head;  /* cycles from the start of this leg to that of the next; of the last: to the end of the transfer */
};
struct network_transfer {
    const struct network_leg *legs;
    uint32_t count;
    uint64_t bit_hops;  /* on all chips of the group together */
    uint64_t link_bits; /* over the chip link of one chip of the group; 0: the home chip */
};
/* The tiles of one copy of a matrix on one group of chips. */
struct network_part {
    size_t group;
    enum link_kind link; /* to and from the home chip; nothing for that chip */
    struct network_transfer inputs, results;
};
struct interconnect_matrix {
    const struct network_part *parts;
    uint32_t count;
    size_t home;             /* group of its home chip */
    uint64_t home_out_bits[LINK_KINDS]; /* inputs that leave the home chip, once */
    uint64_t home_in_bits[LINK_KINDS];  /* results that come back from other chips */
    uint64_t bit_hops, link_bits[LINK_KINDS]; /* all parts, all chips, both directions; for the ledger */
};
/* Of one copy of a matrix: what a token that goes there sends. */
struct interconnect_matrix interconnect_matrix(const struct interconnect *n, size_t matrix, uint32_t copy);

/* How a chip reaches another one. */
enum link_kind interconnect_link(const struct interconnect *n, uint64_t chip, uint64_t other);
/* NULL: the chip has no network. */
const struct topology *interconnect_topology(const struct interconnect *n);
/* Flits over a link of the first chip of a group when every copy of every matrix multiplies once:
 * the heat map. */
uint64_t interconnect_link_flits(const struct interconnect *n, size_t group, uint32_t link);

#endif
