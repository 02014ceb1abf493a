/* Private to sim/: how far energy, time and area can be off, given the spreads that the constants declare, and which
 * constants move them most.
 *
 * Each constant of the chip file with a spread gets one lognormal factor f, wherever it is used, with p10 = spread_low
 * and p90 = spread_high, independent of the others:
 *   ln f = (ln high + ln low) / 2 + z (ln high - ln low) / (2 x 1.2816),   z ~ N(0, 1)
 * A draw multiplies the constants as the file gives them, applies converter models, node and supply to them again
 * (chip_costs.h), and adds up:
 *   energy  counts x constants, as the ledger; static power x time
 *   area    as sim/area.c
 *   time    the critical path, linearised: the seconds that each class of resources has on it x how that class changed
 *           (tiles: latency of a multiply; memories: latency and bandwidth in their shares of the work; units: clock).
 *           That another path may become the critical one is not seen: too short where one does. The share of latency
 *           is that of all events of the memory, not of those on the path, which may carry more bits: then what latency
 *           does is told too large, and what bandwidth does too small. An estimate, no bound.
 * Quantiles over 1,000 draws of fixed random numbers (their own standard error: about 4 % of the spread). What a
 * single constant does: the quantity with it at its p10 and at its p90 and all others as given; its share is that of
 * (p90 - p10)^2 in the sum over all constants: of the variance, while effects are small.
 * A constant without a spread counts as exact. Not included: conductances other than the window of the cell, constants
 * that are lists, the data.
 */
#ifndef MHO_SIM_UNCERTAINTY_H
#define MHO_SIM_UNCERTAINTY_H

#include "sim/run.h"

/* Of a token, of a step of one token, of a step of several tokens (a prompt), of all chips. */
enum uncertain { UNCERTAIN_ENERGY, UNCERTAIN_TPOT, UNCERTAIN_TTFT, UNCERTAIN_AREA, UNCERTAIN_COUNT };
const char *uncertain_name(enum uncertain q); /* "energy_per_token_J" ... */

enum { ASSUMPTIONS_MOST = 10, UNCERTAIN_KEY_BYTES = 64, UNCERTAIN_CONSTANTS = 160 };

struct assumption {
    size_t constant;       /* index in `constants` */
    double p10, p90, share; /* of the quantity; p10 > p90 where it falls with the constant */
};

struct uncertain_quantity {
    double nominal, p10, p50, p90; /* J, s, s, mm2; NAN: not known */
    struct assumption top[ASSUMPTIONS_MOST]; /* largest share first */
    size_t count;
};

struct uncertain_constant {
    char key[UNCERTAIN_KEY_BYTES];
    const struct constant *k; /* as given */
    size_t offset;            /* in struct chip_spec; SIZE_MAX: the window of the cell */
};

struct uncertainty {
    struct uncertain_constant constants[UNCERTAIN_CONSTANTS]; /* those with a spread */
    size_t count;
    struct uncertain_quantity of[UNCERTAIN_COUNT];
};

/* All NAN for a chip without costs, and before anything has run. */
void run_uncertainty(const struct run *r, struct uncertainty *out);

#endif
