/* Private to sim/: events in time.
 *
 * A step is a graph of operations. Each operation needs one resource and works on the tokens of the step one after
 * another; (operation, token) is an event with its own duration. Rules, all exact in whole picoseconds:
 *   1. an event starts when the same token has left every operation that comes before it, when its own operation has
 *      finished the token before, and when its resource is free;
 *   2. a resource works on one event at a time and serves waiting events in the order in which they became ready;
 *   3. a resource is never idle while an event waits for it.
 * So tokens stream through the operations as through a pipeline, and later operations may overtake where their
 * inputs are there. Rule 1 also says that attention on token t finds the keys and values of all tokens before t.
 * Equal times are resolved by the order of the operations, so a step has one schedule.
 *
 * From every event back to the one whose end let it start there is a chain without gaps to the start of the step.
 * Its events add up to the length of the step: the critical path, by resource.
 */
#ifndef MHO_SIM_TIMELINE_H
#define MHO_SIM_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct timeline;

/* Everything is allocated here. Edges: at most four per operation on average. */
enum status timeline_create(size_t resources, size_t max_operations, uint32_t max_tokens, struct timeline **out,
                            struct error *e);
void timeline_destroy(struct timeline *t); /* NULL is fine */
void timeline_reset(struct timeline *t);   /* back to time 0 */

/* Starts the graph of a step of `tokens` (1..max_tokens). */
void timeline_begin(struct timeline *t, uint32_t tokens);
/* Adds an operation that comes after the operations before[0..count), earlier ones of this step (none: it starts
 * with the step). Returns its number and, in *durations_ps, the tokens numbers that the caller fills in;
 * TIMELINE_FULL when there is no room. */
#define TIMELINE_FULL UINT32_MAX
uint32_t timeline_add(struct timeline *t, size_t resource, const uint32_t *before, size_t count,
                      int64_t **durations_ps);
/* Schedules the step, which starts when the one before it has finished. Returns its end (ps since time 0). */
int64_t timeline_run(struct timeline *t);

int64_t timeline_start_ps(const struct timeline *t); /* of the last step */
int64_t timeline_end_ps(const struct timeline *t);
/* wait: of events for this resource; critical: on the critical path. */
struct resource_view { int64_t busy_ps, wait_ps, critical_ps; uint64_t events; };
struct resource_view timeline_resource(const struct timeline *t, size_t resource);
uint64_t timeline_events(const struct timeline *t); /* since time 0 */
/* Events of the last step. */
struct event_view { uint32_t operation, token; size_t resource; int64_t start_ps, end_ps; };
size_t timeline_step_events(const struct timeline *t);
struct event_view timeline_event(const struct timeline *t, size_t i);

#endif
