/* Private to sim/: the event engine. What happens on the machine, in which order, and what waited for what.
 *
 * Time     whole ticks from 0. What a tick is, only the caller knows (a period of the fastest clock, or 1 ps).
 * Resource `servers` equal servers (1 .. 2^31, or unlimited), a clock and a queue. An event occupies one server.
 *          It starts on an edge of the clock, a multiple of `period` ticks.
 * Task     a stream of `items` (tokens) on one resource. Every item is one event with two durations: `hold`, how long
 *          it occupies its server, and `latency`, how long after its start its result is there. latency > hold: a
 *          pipelined unit that takes the next item before it has finished this one. latency < hold: cut-through, the
 *          head of a message leaves the link before its tail has entered.
 * Order    items of a task become ready, start, and hand over their results in their order: a result that could be
 *          there before that of the item before it comes together with that one. So the last result is there when all
 *          are. Otherwise servers and hold alone decide how items overlap, unless the task is `in_order_results`: then
 *          an item is ready only when the result of the item before it is there.
 * Pass     an item whose hold is ENGINE_PASS does not need the resource: once it is ready and the items before it have
 *          started, its result is there (after theirs). It takes no server, waits for no edge, and is no event of the
 *          resource; the log has it with durations of 0.
 * Ready    an item is ready when what it depends on is there, the task is released, and the item before it is ready.
 *
 * Rule of an instant. At every time, (1) all events that end then are retired; (2) everything that has become ready
 * gets this time as its ready time; (3) every free server of a resource on an edge of its clock starts waiting events,
 * by the rule of its queue. Events without duration repeat the three within the instant. Queue: QUEUE_BY_READY, who
 * became ready first, then the smallest (key, item); QUEUE_BY_KEY, the smallest (key, item). A server is never idle on
 * an edge while an event waits for it. Nothing is interrupted. With unique keys the schedule is a function of the tasks
 * alone: neither the order in which tasks were added nor that in which simultaneous events are worked off acts on it.
 *
 * Cause. Every event starts because something has ended: an input arrived, a server became free, the task was
 * released; what is left until the next edge of the clock is waiting for the edge. Following the causes back from the
 * last event gives a chain without gaps to time 0 (or to where the log begins), whose parts add up: the critical path.
 * Of several causes at one time the input goes before the server, the smaller (key, item) before the larger.
 *
 * Memory. Everything is allocated by engine_create from the numbers in engine_options; what is exhausted doubles (by
 * the calls that may return ERR_RUN), but the log, which never grows. Finished tasks are used again, so memory follows
 * what is in flight: about 150 bytes per task, 24 per dependency, 8 per number of an array of durations, 16 per running
 * event, 40 per logged event and 32 per logged task. A caller that reserves enough sees no allocation after
 * engine_create.
 *
 * Cost: O(log(running events)) per event, plus its dependencies.
 *
 * Not modelled: events that give up their server before their end; a queue of limited length (back-pressure); servers
 * of one resource that differ.
 */
#ifndef MHO_SIM_ENGINE_H
#define MHO_SIM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct engine;

/* ---- life -------------------------------------------------------------------------------------- */

enum engine_queue { QUEUE_BY_READY, QUEUE_BY_KEY };
#define ENGINE_UNLIMITED UINT32_MAX

struct engine_resource {
    uint32_t servers;        /* 1 .. 2^31, or ENGINE_UNLIMITED: nothing ever waits for it */
    int64_t period;          /* ticks, at least 1 */
    enum engine_queue queue;
};

struct engine_start {
    uint64_t id, key, tag; /* of the task */
    uint32_t item, resource;
    int64_t start, hold, latency; /* as in struct engine_event */
};
struct engine_options {
    double ticks_per_s;      /* for engine_seconds and engine_ticks only */
    size_t tasks;            /* in flight at the same time */
    size_t dependencies;     /* between tasks in flight */
    size_t durations;        /* in arrays of tasks in flight; an array takes the next power of two */
    size_t log_events;       /* capacity of the event log; 0: no log, which is faster */
    size_t log_tasks;        /* tasks that the log can tell apart */
    size_t log_inputs;       /* dependencies that the log keeps, for who wants to check all inputs; 0: none */
    uint32_t path_groups;    /* above 0: engine_whole_path, tasks are of groups below this; not together with a log */
    /* Called with every event that starts, in the order in which they do; NULL: not wanted. */
    void (*started)(void *context, const struct engine_start *s);
    void *context;
};

/* ERR_USAGE: a resource or an option out of range. `resources` is copied. */
enum status engine_create(const struct engine_resource *resources, size_t count, const struct engine_options *o,
                          struct engine **out, struct error *e);
void engine_destroy(struct engine *g); /* NULL is fine */
void engine_reset(struct engine *g);   /* as created: time 0, no tasks, no sums, empty log; memory is kept */
double engine_seconds(const struct engine *g, int64_t ticks);
int64_t engine_ticks(const struct engine *g, double seconds); /* nearest; 0 <= seconds, result below 2^61 */

/* ---- tasks ------------------------------------------------------------------------------------- */

#define ENGINE_AS_HOLD (-1)                        /* latency: that of every item is its hold */
#define ENGINE_PASS (-1)                           /* in holds: this item does not need the resource */
#define ENGINE_DURATION_MOST ((int64_t)1 << 61)    /* of a hold, a latency, a release; time ends at 2^62 */

struct engine_task {
    uint64_t key;             /* canonical: smaller goes first; unique among the tasks in flight */
    uint64_t tag;             /* the caller's name for it, in reports and in the log */
    size_t resource;
    uint32_t group;           /* for engine_whole_path; else 0 */
    uint32_t items;           /* at least 1 */
    int64_t hold, latency;    /* ticks, of every item */
    const int64_t *holds;     /* [items], copied, ENGINE_PASS allowed; NULL: `hold` */
    const int64_t *latencies; /* [items], copied; NULL: `latency` */
    int64_t release;          /* no item is ready before this time; one that is past holds nothing up */
    bool in_order_results;    /* an item waits for the result of the item before it */
    bool watch;               /* engine_advance stops when all results are there */
    int64_t *last;            /* [2]: start of the last item and when its result is there, once it has started; NULL */
};

/* Adds a task at the present time; *id names it, is never 0 and never given twice. It takes part from the next
 * engine_advance on; until then it is open. ERR_USAGE: something in *t is not as above; ERR_RUN: out of memory. */
enum status engine_add(struct engine *g, const struct engine_task *t, uint64_t *id, struct error *e);

enum engine_after {
    AFTER_ITEM,  /* item i after the result of item i of the other, which has as many items */
    AFTER_FIRST, /* every item after the result of the first item */
    AFTER_ALL,   /* every item after the results of all items */
};
/* `task` comes after `before`. `task` must be open; `before` is any task that was ever added (a finished one holds
 * nothing up). ERR_USAGE: unknown task, task no longer open, unequal numbers of items; ERR_RUN: out of memory. A cycle
 * shows as ERR_USAGE of engine_advance. */
enum status engine_depend(struct engine *g, uint64_t task, uint64_t before, enum engine_after how, struct error *e);

/* Makes an open task one with `watch`. ERR_USAGE: unknown, or no longer open. */
enum status engine_watch(struct engine *g, uint64_t task, struct error *e);

/* ---- running ----------------------------------------------------------------------------------- */

struct engine_report {
    bool finished; /* a task with `watch`; false: nothing is left to do, every task has finished */
    uint64_t tag;
    uint64_t id;
    int64_t time;  /* of its last result = the present time */
    uint64_t key;
};
/* Runs until a task with `watch` has all its results, or until nothing is left. Between (1) and (3) of an instant: a
 * task that the caller adds upon the report takes part in this instant. Several at one time are reported one by one,
 * smallest key first, before anything starts. ERR_USAGE: tasks wait for each other in a cycle, or time passes 2^62;
 * ERR_RUN: out of memory. After an error of this function, or ERR_RUN of one above, only engine_reset and
 * engine_destroy are allowed. */
enum status engine_advance(struct engine *g, struct engine_report *r, struct error *e);

/* ---- results ----------------------------------------------------------------------------------- */

int64_t engine_now(const struct engine *g);
int64_t engine_end(const struct engine *g);      /* makespan: when the last event that has started is over */
uint64_t engine_events(const struct engine *g);  /* that have started, since time 0 */
size_t engine_resources(const struct engine *g);

struct engine_use {
    uint64_t events;
    int64_t busy;          /* server-ticks held by events that have started */
    int64_t idle;          /* servers * makespan - busy; -1 where servers are unlimited */
    int64_t wait;          /* sum over events of start - ready; of those that still wait: up to now */
    int64_t last_end;
    uint64_t waiting, longest_queue; /* events: now; most that were left when servers had started what they can */
};
struct engine_use engine_use(const struct engine *g, size_t resource);

/* Most of everything that was in flight at the same time: what to reserve. */
struct engine_peak { size_t tasks, dependencies, durations, running, nodes; }; /* nodes: of engine_whole_path */
struct engine_peak engine_peak(const struct engine *g);

/* ---- log --------------------------------------------------------------------------------------- */

/* Events in the order in which their tasks were added, then by item. A task is logged as a whole if the log has room
 * for it when it is added; otherwise not at all. */
enum engine_cause { CAUSE_RELEASE, CAUSE_INPUT, CAUSE_SERVER, CAUSE_NOT_LOGGED };
#define ENGINE_NO_EVENT SIZE_MAX

struct engine_event {
    uint64_t tag, key;
    uint32_t item;
    size_t resource;
    int64_t start;         /* -1: has not started */
    int64_t hold, latency; /* latency: until its result was there, in the order of the items */
    enum engine_cause cause;
    size_t cause_event;    /* of CAUSE_INPUT and CAUSE_SERVER */
};
size_t engine_logged(const struct engine *g);
struct engine_event engine_event(const struct engine *g, size_t i);
uint64_t engine_not_logged(const struct engine *g); /* events of tasks that found no room */
/* A dependency between logged tasks: events [first, first + items) after [before, before + before_items). In the order
 * of engine_depend; with log_inputs too small, those that found room. */
struct engine_input {
    size_t first, items, before, before_items;
    enum engine_after how;
};
size_t engine_logged_inputs(const struct engine *g);
struct engine_input engine_logged_input(const struct engine *g, size_t i);
/* Empties the log, which then begins at the present time. Only when nothing is in flight (ERR_USAGE). */
enum status engine_forget(struct engine *g, struct error *e);

/* The chain of causes from the last logged event back to the beginning of the log. parts[resource] += the ticks it
 * spent on events of that resource (NULL: not wanted); these + clock + release + not_logged = total. An event added
 * upon a report, without a release of its own, was caused by the reported task. */
struct engine_path {
    int64_t total;      /* end of the last event - beginning of the log */
    int64_t clock;      /* waiting for edges */
    int64_t release;    /* before the release of the first task of the chain */
    int64_t not_logged; /* before an event whose cause is not in the log */
    size_t events, last; /* length of the chain; its last event, from which cause_event leads on */
};
struct engine_path engine_critical_path(const struct engine *g, int64_t *parts);

/* The same chain from the last event that has started back to time 0, without a log and over any length of time, in
 * memory that follows what is in flight (engine_path.c): by_resource[r], by_group[g] += ticks; either one + clock +
 * release = total. Only with path_groups. */
struct engine_path engine_whole_path(const struct engine *g, int64_t *by_resource, int64_t *by_group);

/* Two times that no schedule of the logged tasks can undercut, since the beginning of the log: the longest path through
 * the dependencies (with releases and clock edges, as if servers were unlimited), and the work of the busiest resource,
 * busy / servers. */
struct engine_bound {
    int64_t path, work;
    size_t resource; /* that has `work` */
};
struct engine_bound engine_bound(const struct engine *g);

#endif
