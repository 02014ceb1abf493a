/* Private to sim/: numbers that cannot be right must not pass in silence.
 *
 *   energy per MAC of the tiles   outside 1 fJ to 100 pJ, where all silicon lies
 *   area                          0 of a component that did something
 *   utilisation                   over 100 %: of a resource in time, of the cells in use
 *   array                         less than V^2 G t of the data that flowed (a published energy in place of it)
 *   TOPS/W of the tiles           above that of the array alone, 2 / (V^2 G t per MAC)
 *   survey                        a converter faster than the regression reaches
 *   upkeep                        refreshes, readouts and corrections that fall due while the run lasts: its values
 *                                 are without them; its time and energy, too, where their costs are not known
 * A flag is one line of the report; the run goes on.
 */
#ifndef MHO_SIM_GUARDS_H
#define MHO_SIM_GUARDS_H

#include "sim/report.h"

#define GUARD_MAC_LEAST_J 1e-15
#define GUARD_MAC_MOST_J 100e-12

struct guard_facts {
    double macs, tiles_J, array_J;
    double physics_J;                   /* V^2 G t (V^2 C of charges) of the data; 0: no bound, the array is not read as
                                           a current */
    uint64_t count[PART_COUNT];
    double area_mm2[PART_COUNT];
    double busiest[CLASS_COUNT], cells; /* shares of time and of cells */
    double survey_rate_Hz;              /* 0: no survey */
    double upkeep_due;                  /* how often in the time of the run, with unknown costs */
    uint64_t upkeep_done[MAINTENANCE_KINDS]; /* with known ones */
    bool values;                        /* it has a machine */
};

/* All costs of the chip must be known. */
void guard_facts_of(const struct run *r, struct guard_facts *out);
void guard(const struct guard_facts *f, struct flags *out);

#endif
