/* Private to sim/: what a chip does on the workload of a paper, and the quantities that papers publish about it.
 *
 * The workload fills `tiles` tiles with one matrix of [columns x tiles][rows] and streams `vectors` input vectors
 * through it. Energies of the array follow from data: one tile is programmed and multiplied for real
 * (machine_multiply), and what it counted is taken for every tile and vector. Everything else is the ordinary run:
 * records, timeline, ledger, area.
 */
#ifndef MHO_SIM_MEASURE_H
#define MHO_SIM_MEASURE_H

#include "sim/chip.h"

enum fill { FILL_UNIFORM, FILL_POSITIVE, FILL_FULL, FILL_SIGN }; /* [-1, 1], [0, 1], all 1, -1 or 1 at random */

struct workload {
    int tiles; /* 0: all of one chip */
    int vectors;
    int weights, inputs; /* enum fill */
};

/* Sets of components are bits: 1 << enum component. */

struct measurement {
    struct ledger_view ledger;
    struct area_view area;
    double static_J[PART_COUNT]; /* of the unit behind a component; of the tiles: under PART_STATIC */
    double latency_s;            /* of one vector in the tiles, nothing before it */
    double tiles, vectors;
    int input_bits, output_bits; /* of the converters */
};

/* ERR_USAGE where the chip has no costs or keeps the matrix digital. */
enum status measure(const struct chip *c, const struct workload *w, struct measurement *out, struct error *e);

/* ---- quantities ------------------------------------------------------------------------------------------------- */

/* What a quantity is made of; two that are made of the same say the same (validation_rules.c). */
enum quantity_parts {
    OF_TIME = 1,
    OF_LATENCY = 2,
    OF_ENERGY = 4,
    OF_AREA = 8,
    OF_ENERGY_SHARE = 16,
    OF_AREA_SHARE = 32
};

struct quantity {
    const char *name, *unit;
    unsigned parts; /* enum quantity_parts */
    const char *help;
};
extern const struct quantity quantities[];
extern const size_t quantity_count;

struct quantity_question {
    size_t quantity;
    uint32_t boundary;              /* of the whole */
    uint32_t of;                    /* the part that is asked for; equals the boundary where the whole is */
    int operations_per_mac, divide; /* divide: the number is for 1 / divide of the chip */
};
/* In the quantity's unit; NAN where a divisor is 0. */
double quantity_value(const struct measurement *m, const struct quantity_question *q);

#endif
