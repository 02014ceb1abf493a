/* Private to sim/: several sequences on one run (run_streams of sim.h).
 *
 * All steps that are under way are tasks of the same engine. The key of a task is (stream + 1) x 2^32 + number, so that
 * ties go by stream and then in the order of the operations; maintenance goes before them (keys below 2^32). The first
 * stages of a step wait for the last ones of the step before it on its stream and for the stream's time of release,
 * nothing else ties steps together.
 *
 * Where the time of a step went: the engine notes when the last item (token) of every stage started and when its result
 * was there. From the last result back: its work until then, before that waiting from the moment at which the latest
 * of its inputs was there; go on with that input, up to the release. Work and waiting of all stages on the way add up
 * to the length of the step, exactly. Waiting of a prompt includes that for its own earlier tokens. A step that was
 * queued behind another one of its stream is not followed.
 *
 * The run as a whole: the engine follows the causes of everything (engine_whole_path), and tells of every event as it
 * starts; of that power over time is made, and the first events are kept (history.h).
 *
 * Memory: per stream a note for every stage of the longest step, and its inputs; per task in flight 40 bytes.
 */
#ifndef MHO_SIM_RUN_STREAMS_H
#define MHO_SIM_RUN_STREAMS_H

#include "sim/run.h"

void streams_destroy(struct streams *s); /* NULL is fine */
void streams_reset(struct run *r); /* after the ledger */
void streams_begin_step(struct run *r);
/* Before and after a stage is added: its place in time; what it waits for. */
void streams_place(struct run *r, struct engine_task *t);
enum status streams_note(struct run *r, const struct engine_task *t, uint64_t id, const struct front *before,
                         struct error *e);
/* When the step that begins can start, ticks. */
int64_t streams_start(const struct run *r);
/* A task of the maintenance was added. */
enum status streams_note_maintenance(struct run *r, uint64_t id, struct error *e);
void streams_end_step(struct run *r);
/* The engine tells of an event that starts. context: the run. */
void streams_note_start(void *context, const struct engine_start *s);

#endif
