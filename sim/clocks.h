/* Private to sim/: clock domains and the tick of the timeline.
 *
 * Four domains: the digital units (clock_GHz), the tiles, the network of a chip, the memories (clocks.tile_GHz,
 * network_GHz, memory_GHz; each clock_GHz where it is not given).
 *
 * Without the group `clocks` only the digital units are clocked. The tick is 1 ps, every duration is rounded to the
 * nearest, and a tile of 132.9 ns takes 132.9 ns.
 * With it everything is clocked. The tick is a period of the fastest clock. With f of the fastest clock and f_d of a
 * domain, f / f_d must be whole. A duration s in domain d takes ceil(s f_d) cycles of f / f_d ticks each, and starts
 * on an edge of its clock: at 1 GHz a tile of 132.9 ns takes 133 ns. A millionth of a cycle too much is rounding of
 * the number, not another cycle. All clocks change together with supply.clock.
 *
 * Not modelled: synchronisers between domains, jitter, clocks that stand in no whole ratio.
 */
#ifndef MHO_SIM_CLOCKS_H
#define MHO_SIM_CLOCKS_H

#include "sim/chip.h"

enum clock_domain { CLOCK_DIGITAL, CLOCK_TILE, CLOCK_NETWORK, CLOCK_MEMORY, CLOCK_DOMAINS };

struct clocks {
    double ticks_per_s;
    bool whole;                    /* durations are whole cycles */
    double Hz[CLOCK_DOMAINS];
    int64_t period[CLOCK_DOMAINS]; /* ticks between two edges; 1 where nothing is rounded to edges */
};

struct clocks clocks_of(const struct chip_spec *s);
/* Of something that takes so long, or so many cycles of its clock. */
int64_t clock_ticks(const struct clocks *c, enum clock_domain d, double seconds);
int64_t clock_cycles(const struct clocks *c, enum clock_domain d, uint64_t cycles);

/* A clock that does not divide the fastest: its key, and why; NULL where all is well. */
const char *clocks_contradiction(const struct chip_spec *s, char *why, size_t bytes);

#endif
