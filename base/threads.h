/* Threads: one pool for the whole program and the loop that runs on it.
 *
 * A region is one call of parallel_for: it cuts the indices [0, count) into parts and ends when all are done. Who runs
 * which part is left to chance; bodies that write only what belongs to their indices give the same bytes for any number
 * of threads.
 */
#ifndef MHO_BASE_THREADS_H
#define MHO_BASE_THREADS_H

#include <stddef.h>

enum { THREADS_MAX = 1024 };

/* Threads of a region, the caller among them, at most THREADS_MAX. <= 0: as many as there are processors for this
 * program. Not inside a region. */
void threads_set(int count);
int threads_count(void); /* >= 1 */

/* Indices [begin, end) of a region; `worker` is 0 <= worker < threads, and no two calls at the same time in one region
 * have the same one: a place for scratch. */
typedef void parallel_body(void *context, size_t begin, size_t end, int worker);

/* Calls body for all of [0, count), every index once; returns when all calls have.
 *   grain 0:    contiguous ranges of about equal length, one per worker, worker 0 the first
 *   grain > 0:  pieces of that many indices (the last may be shorter), taken by whoever is free, in rising order
 * threads: at most that many; <= 0 or more than threads_count(): threads_count(). Never fails: with fewer threads (one
 * wanted, one part, a body that calls parallel_for, none to be had from the system) the others do the work; one thread
 * alone gets everything in one call as worker 0, in the caller, and nobody is woken. No allocation. Writes of the
 * caller before are seen by the bodies, and theirs by the caller after. One caller at a time runs on the pool; a second
 * one meanwhile runs alone. */
void parallel_for(size_t count, size_t grain, int threads, parallel_body *body, void *context);

#endif
