/* Private to engine*.c: the state of the event engine.
 *
 * Everything refers to everything by index, so that arrays may move when they grow; NONE ends a list.
 *
 *   task ---first_in--> dependency --next_in--> ...   what it waits for
 *        ---first_out-> dependency --next_out-> ...   what waits for it
 *        ---first_run-> run --next--> ...             its items that are ready and have not started, by ready time
 *        ---child, sibling                            its place in the queue of its resource (a pairing heap, Fredman,
 *                                                     Sedgewick, Sleator and Tarjan 1986; one entry per task, since
 *                                                     items start in order)
 *   items of a task:   0 .. done .. started .. ready .. items
 */
#ifndef MHO_SIM_ENGINE_STATE_H
#define MHO_SIM_ENGINE_STATE_H

#include "sim/engine.h"

#define NONE UINT32_MAX
enum { INDEX_MOST = 1 << 29 };
#define TIME_MOST ((int64_t)1 << 62)
#define LOG_TASKS_MOST (1u << 30)

struct task {
    uint64_t key, tag;
    int64_t hold, latency;
    int64_t *last;      /* the caller's, of engine_task */
    int64_t delivered;  /* when the last result that is under way will be there */
    int64_t head_ready; /* ready time of the item that is next to start; while the task is in a queue */
    uint32_t items, done, started, ready;
    uint32_t missing; /* what item `ready` still waits for */
    uint32_t resource;
    uint32_t first_in, first_out, first_run, last_run, child, sibling;
    uint32_t holds, latencies; /* first number of its block of durations; NONE: even */
    uint32_t log, log_task;    /* numbers of its first event and of itself in the log */
    uint32_t group;
    uint32_t generation;       /* counts the tasks that had this place; half of the id */
    bool live, open, in_order_results, watch;
    bool by_item;  /* some input comes item by item */
    bool released; /* its release has been waited for and is over */
};

struct dependency {
    uint32_t from, to, next_in, next_out;
    uint32_t log;  /* the event whose result it is (AFTER_ITEM: that of item 0); NONE: not logged */
    uint8_t how;   /* enum engine_after */
    bool from_gone, to_gone; /* has all results; needs no more */
};

struct ready_run {
    int64_t ready;
    uint32_t count, next;
    uint32_t cause; /* node of the event that made them ready (engine_path.c), held; NONE */
};

struct resource {
    uint32_t servers, occupied, queue; /* queue: its first task */
    bool by_key, touched, wakes;       /* wakes: an entry for its next edge is under way */
    int64_t period;
    int64_t freed;        /* last time at which a server became free when none was; -1: never */
    uint32_t freed_event; /* whose end that was; a node is held as long as something waits */
    uint64_t events, waiting, longest_queue;
    uint64_t wait; /* modulo 2^64: sum of starts - sum of ready times */
    int64_t busy, busy_before_log, last_end;
};

/* What will happen; worked off by time, in any order within an instant. */
enum happening { RESULT, SERVER_FREE, RESULT_AND_SERVER_FREE, EDGE, RELEASE, HAPPENINGS };
struct entry {
    int64_t time;
    uint32_t what;  /* index * 8 + enum happening; index of a resource for SERVER_FREE and EDGE, else of a task */
    uint32_t event; /* in the log, or a node of a path, then held */
};

struct watched {
    uint64_t key, tag, id;
    uint32_t event;
};

struct log_event {
    int64_t start, hold, latency;
    int64_t path; /* when its result is there if servers are unlimited */
    uint32_t cause;
    uint32_t task : 30, kind : 2;
};
struct log_task {
    uint64_t tag, key;
    int64_t release; /* -1: was released when it was added */
    uint32_t resource, first;
};

struct engine_log {
    struct log_event *events;
    struct log_task *tasks;
    struct engine_input *inputs;
    uint32_t capacity, count, task_capacity, task_count;
    size_t input_capacity, input_count;
    uint64_t left_out;
    int64_t begin;
    int64_t longest;       /* path */
    uint32_t last;         /* event that ends last */
    uint32_t caller_event; /* upon which the caller adds tasks now */
    int64_t caller_path;
};

struct engine {
    double ticks_per_s;
    int64_t now, end;
    uint64_t events;
    struct resource *resources;
    uint32_t resource_count;
    uint32_t *touched, touched_count; /* resources that may have something to start */

    struct task *tasks;
    size_t task_capacity;
    uint32_t tasks_used, free_task, live;
    uint32_t *open; /* tasks added since the last advance */
    size_t open_capacity, open_count;
    struct dependency *dependencies;
    size_t dependency_capacity, dependencies_live;
    uint32_t dependencies_used, free_dependency;
    struct ready_run *runs;
    size_t run_capacity;
    uint32_t runs_used, free_run;
    int64_t *durations;
    size_t duration_capacity, durations_used;
    uint32_t free_durations[32]; /* by binary logarithm of the length */
    struct entry *heap;
    size_t heap_capacity, heap_count;
    struct watched *watched;
    size_t watched_capacity, watched_count;

    struct engine_log log;
    struct engine_paths *paths; /* NULL: not followed */
    uint32_t path_groups;
    uint32_t cause, caller;     /* nodes: of the result that is worked off, and that was reported last, held; NONE */
    void (*started)(void *context, const struct engine_start *s);
    void *context;
    struct engine_peak peak;
    enum { GOES_ON, OUT_OF_MEMORY, OUT_OF_TIME } trouble;
};

static inline int64_t next_edge(const struct resource *r, int64_t time) {
    int64_t past = r->period == 1 ? 0 : time % r->period;
    return past ? time + r->period - past : time;
}

static inline int64_t item_hold(const struct engine *g, const struct task *t, uint32_t item) {
    return t->holds == NONE ? t->hold : g->durations[t->holds + item];
}

static inline bool item_passes(const struct engine *g, const struct task *t, uint32_t item) {
    return t->holds != NONE && g->durations[t->holds + item] == ENGINE_PASS;
}

static inline int64_t item_latency(const struct engine *g, const struct task *t, uint32_t item) {
    return t->latencies != NONE             ? g->durations[t->latencies + item]
           : t->latency == ENGINE_AS_HOLD ? item_hold(g, t, item)
                                            : t->latency;
}

/* Puts the place of a task on the free list. Its id was given and ends here; a place without further ids is left.
 * (engine.c) */
void engine_free_task(struct engine *g, uint32_t index);

/* engine_path.c; to be called only where paths are followed. A number of a node is NONE for no node. */
struct path_step {
    uint32_t cause;            /* what it waited for last; NONE: its release */
    int64_t from, start, end;  /* from: when it did not wait for the cause any more; end: of hold and latency */
    uint32_t resource, group;
};
struct engine_paths *paths_create(uint32_t resources, uint32_t groups); /* NULL: no memory */
void paths_destroy(struct engine_paths *p);                             /* NULL is fine */
void paths_reset(struct engine_paths *p);
/* A new node, held once; NONE: no memory. */
uint32_t paths_start(struct engine_paths *p, const struct path_step *s);
void paths_hold(struct engine_paths *p, uint32_t node);
void paths_drop(struct engine_paths *p, uint32_t node);
size_t paths_most(const struct engine_paths *p); /* nodes at a time */

/* engine_log.c; to be called only with a log. */
void log_clear(struct engine *g);
void log_add(struct engine *g, struct task *t, int64_t release); /* sets t->log */
void log_input(struct engine *g, const struct task *to, const struct task *from, enum engine_after how);
void log_ready(struct engine *g, const struct task *t, uint32_t item);
void log_start(struct engine *g, const struct task *t, uint32_t item, int64_t hold, int64_t there, int64_t ready);
/* A server of a resource that was full becomes free, or another in the same instant. */
void log_server_free(struct engine *g, struct resource *r, uint32_t event);
/* The caller learns of the end of an event (NONE: not logged), or that all have ended. */
void log_report(struct engine *g, uint32_t event, bool all);

#endif
