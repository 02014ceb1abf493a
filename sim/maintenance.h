/* Private to sim/: refresh, correction and readouts of the drift compensation that fall due while a run lasts.
 *
 * Schedule   age a = age since the last programming when the run begins + simulated time t.
 *              refresh      a = P_r, 2 P_r, ...            tile.refresh_period_s
 *              correction   P_c, 2 P_c, ... after each programming, before the next     tile.correction_period_s
 *              readout      likewise                                                    tile.compensation_period_s
 * Policy     all tiles at once. What has fallen due is handed to the tiles with the next step that begins; a tile takes
 *            it when it is free, by the rule of its queue, and nothing is interrupted. What fell due while nothing was
 *            to do begins at that moment. What fell due several times during one step is done once: the tile is then as
 *            new. Several moments in one time without work: the last one at its time, those before it one after the
 *            other from the first on. What falls due after the last step has begun is not done.
 * Time       refresh = programming of the slowest tile, then a new correction (test vectors x interval of a tile) and a
 *            new reference readout (one multiply per row), where the chip has them. Tiers of a stack take turns.
 * Energy     of the machine that was programmed, shared among the matrices by their weights. A run of shapes has no
 *            machine: one full tile of normal weights is programmed and stands for all; the slowest of many tiles takes
 *            somewhat longer.
 *
 * Not modelled: values. Devices keep the state of the beginning of the run. Wear. Tiles maintained in turn.
 */
#ifndef MHO_SIM_MAINTENANCE_H
#define MHO_SIM_MAINTENANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct run;

enum maintenance_kind { MAINTAIN_REFRESH, MAINTAIN_CORRECTION, MAINTAIN_READOUT, MAINTENANCE_KINDS };
const char *maintenance_name(enum maintenance_kind k); /* "refresh", ... */

/* All matrices once: each tile is busy for that long. NAN: the part does not say. */
struct maintenance_cost { double seconds, joules; };

struct maintenance {
    bool started, known;  /* costs have been asked for; and are there */
    double start_s;       /* age since the last programming at time 0 */
    double weights;       /* of all copies of all analog matrices */
    struct maintenance_cost sample[MAINTENANCE_KINDS]; /* of a run of shapes */
    struct maintenance_cost cost[MAINTENANCE_KINDS];
    uint64_t due[MAINTENANCE_KINDS], done[MAINTENANCE_KINDS]; /* since time 0 */
    uint64_t seen[MAINTENANCE_KINDS]; /* moments up to here, those before time 0 counted */
    uint32_t key;                     /* with streams: of the next task */
};

/* A run of shapes: programs the tile that stands for all, where the chip has a schedule. */
enum status maintenance_sample(struct run *r, struct error *e);
/* Tasks that a step can have on top of its operations. */
uint64_t maintenance_tasks(const struct run *r);
/* At the beginning of a step that will not start before `start` (ticks). What goes wrong is kept in r->trouble. */
void maintenance_before_step(struct run *r, int64_t start);
void maintenance_reset(struct run *r);

#endif
