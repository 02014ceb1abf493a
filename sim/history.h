/* Private to sim/: what a run remembers of its course, for reports and traces.
 *
 * Steps    length, energy, KV cache and critical path of every step. The memory is fixed: when it is full, every second
 *          note is dropped and from then on only every second (fourth, ...) step is noted, so that a long run keeps
 *          an even picture of its whole course.
 * Critical path by layer and by resource, in seconds, summed over all steps. An event has the time from its start
 *          to that of the event that it caused; so the layers add up to the makespan.
 * Events   a copy of the engine's log, which holds one step only, for as long as there is room; only where
 *          run_keep_events asked for it. Of a step that does not fit, the first tokens are kept. Steps of several
 *          tokens leave half of the room to those that follow. With streams: the first events of the run.
 *
 * With streams steps overlap. The energy of a step is then that of its own operations, and the static power from the
 * end of the step that ended before it to its own end; so the steps still add up to the total.
 */
#ifndef MHO_SIM_HISTORY_H
#define MHO_SIM_HISTORY_H

#include "sim/run.h"

enum { STEP_NOTES = 1024, LAYER_OUTSIDE = -1 };

/* What a task of the engine works for, as its tag. */
uint64_t tag_of_multiply(size_t matrix);
uint64_t tag_of_digital(enum digital_op op, int layer);
uint64_t tag_of_maintenance(enum maintenance_kind kind, size_t matrix);
bool tag_is_maintenance(uint64_t tag);
/* Name of the operation ("q", "norm", ...); *layer: -1 outside the layers. */
const char *tag_operation(const struct run *r, uint64_t tag, int *layer);

/* Its row in the ledger. */
uint32_t tag_row(const struct run *r, uint64_t tag);

struct history;
struct history *history_create(const struct run *r); /* NULL: out of memory */
void history_destroy(struct history *h);             /* NULL is fine */
void history_reset(struct history *h);
/* At the end of a step that went well, while the engine's log still holds it. */
void history_add_step(struct run *r);
/* With streams: an event that starts; a step that has ended (energy_J: without static power); nothing is left to do,
 * the critical path of everything is known. */
void history_add_event(struct run *r, const struct engine_start *s, uint32_t step, uint64_t request);
void history_add_stream_step(struct run *r, const struct run_step *step);
void history_end(struct run *r);

/* Seconds of the critical path; row: as in the ledger, the last one is everything outside the layers. */
double history_layer_s(const struct run *r, size_t row);
/* Bits of keys and values in the cache now, summed over the layers. */
double run_kv_bits(const struct run *r);

#endif
