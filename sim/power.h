/* Private to sim/: static power with its gating, and power over time.
 *
 * Static power. The parts of all chips take W_p all the time, in use or not. With `gating` a tile or a digital unit
 * that has nothing to do keeps k = clock_share x power_share of it, memories and links all of it:
 *   E_static = sum over parts of W_p T - (1 - k) sum over tiles and units of W_p (T - busy_p)
 * T: makespan. A tile or unit sleeps whenever a stage has ended, and the first token of a stage waits for wake_cycles:
 * an upper bound where stages follow each other closely. It is awake while it wakes up.
 *
 * Over time. The ledger's energy of an operation is handed to the stages of its components (tiles, vector unit, ...) as
 * they are scheduled; a stage spends it evenly over the time that it holds its resource, and on top what gating leaves
 * off while it is idle. So at any time t
 *   P(t) = sum over all parts of what they keep + sum over events at work of their energy / hold + (1 - k) W_p,
 * and the integral of P is the total of the ledger. It is summed in bins of a sixteenth of a window
 * (power_window_us); peak: the largest mean over a window, in steps of a bin. A run that is shorter than the window
 * has its mean as its peak. Where a step has more than BINS_MOST bins, bins and window are doubled until it has not.
 *
 * Not modelled: power that follows the data within a stage; the network's energy per leg (the first leg has it all);
 * programming and calibration.
 */
#ifndef MHO_SIM_POWER_H
#define MHO_SIM_POWER_H

#include "sim/engine.h"
#include "sim/ledger.h"

/* Of resources; as in run.h. */
enum resource_class { CLASS_TILES, CLASS_VECTOR, CLASS_ATTENTION, CLASS_MATMUL, CLASS_KV, CLASS_BUFFER, CLASS_DRAM,
                      CLASS_NETWORK, CLASS_CHIP_LINK, CLASS_PACKAGE_LINK, CLASS_COUNT };

/* ---- static power ---------------------------------------------------------------------------------------------- */

/* Seconds at work, summed over all tiles, and over all units of a kind. */
struct awake { double tiles_s, vector_s, attention_s, matmul_s; };

double gating_kept(const struct chip_spec *s); /* k; 1 without gating */
/* Of one tile or one unit that a stage of this class runs on; 0 of a class that is not gated. */
double gated_W(const struct chip_spec *s, enum resource_class c);
/* (1 - k) sum of W_p (T - busy_p) over so many chips. */
double gating_saved_J(const struct chip_spec *s, double chips, double seconds, const struct awake *a);

/* ---- over time ------------------------------------------------------------------------------------------------- */

/* A stage takes J_per_tick while it holds its resource; without any duration `at_once_J` with its first token. */
struct stage_power { double J_per_tick, at_once_J; };

struct power_trace;
/* For steps of up to so many stages. ERR_RUN: out of memory. */
enum status power_create(const struct chip_spec *s, size_t stages, double ticks_per_s, struct power_trace **out,
                         struct error *e);
void power_destroy(struct power_trace *p); /* NULL is fine */
void power_reset(struct power_trace *p);
/* A stage that holds its resource for so many ticks in all, and takes awake_W more than the resource keeps when idle.
 * Its key in the engine: `stage`. */
void power_stage(struct power_trace *p, size_t stage, double energy_J, double awake_W, int64_t ticks);
struct stage_power power_of_stage(const struct power_trace *p, size_t stage); /* as noted last */
/* One event, in the order of their starts, in ticks. ERR_RUN: out of memory. */
enum status power_add_event(struct power_trace *p, const struct stage_power *s, uint32_t item, int64_t start,
                            int64_t hold, struct error *e);
void power_finish(struct power_trace *p); /* no event is at work */
/* The log of the engine holds one step: adds it. ERR_RUN: out of memory. */
enum status power_add_step(struct power_trace *p, const struct engine *g, struct error *e);

struct power_sum {
    double energy_J;       /* in all bins: without what parts keep when idle */
    double peak_W;         /* largest mean over a window, likewise; 0 before the first step */
    double peak_s;         /* when that window ends */
    double window_s;
    bool complete;         /* false: events that the log did not hold are missing */
};
struct power_sum power_sum(const struct power_trace *p);

#endif
