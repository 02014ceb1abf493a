/* See timeline.h. An event-driven simulation: a heap of running events by their end, one queue per resource.
 *
 * Every operation has at most one event that waits or runs (its next token), so queues are lists through the
 * operations and the heap never holds more than one entry per resource. Cost: O(log(resources)) per event.
 */
#include "sim/timeline.h"

#include <stdbool.h>

#include "base/memory.h"

#define NONE UINT32_MAX
enum { EDGES_PER_OPERATION = 4 };

struct operation {
    uint32_t resource;
    uint32_t edges_in, edge_count; /* into `before` */
    uint32_t first_out, last_out;  /* list of edges to later operations */
    uint32_t started, done;        /* tokens */
    uint32_t queue_next;
    bool queued;
    int64_t ready_ps; /* of the queued token */
};

struct resource {
    struct resource_view sum;
    uint32_t head, tail; /* queue of operations */
    bool running;
};

struct running {
    int64_t end_ps;
    uint32_t operation;
};

struct timeline {
    size_t resource_count, max_operations, edge_capacity;
    uint32_t max_tokens, tokens;
    struct resource *resources;
    struct operation *operations;
    uint32_t count, edges;
    uint32_t *before, *edge_to,
        *edge_next; /* edge i: before[i] -> edge_to[i]; edge_next: list of the edges out of before[i] */
    int64_t *duration_ps, *begin_ps; /* [operation][token] */
    uint32_t *cause; /* [operation][token]: event whose end let this one start; NONE: the step's start */
    struct running *heap;
    size_t heap_count;
    int64_t start_ps, end_ps;
    uint64_t events;
};

/* ---- life -------------------------------------------------------------------------------------- */

enum status timeline_create(size_t resources, size_t max_operations, uint32_t max_tokens, struct timeline **out,
                            struct error *e) {
    *out = NULL;
    struct timeline *t = mem_alloc(1, sizeof *t);
    if (!t) {
        return error_set(e, ERR_RUN, "timeline: out of memory");
    }
    if (max_operations >= NONE / EDGES_PER_OPERATION || (max_tokens && max_operations > (NONE - 1) / max_tokens) ||
        resources >= NONE) {
        timeline_destroy(t);
        return error_set(e, ERR_USAGE,
                         "timeline: %zu operations of %u tokens are too many (allowed: 2^32 events a step)",
                         max_operations, max_tokens);
    }
    size_t events = max_operations * max_tokens;
    t->resource_count = resources;
    t->max_operations = max_operations;
    t->max_tokens = max_tokens;
    t->edge_capacity = max_operations * EDGES_PER_OPERATION;
    t->resources = mem_alloc(resources, sizeof *t->resources);
    t->operations = mem_alloc(max_operations, sizeof *t->operations);
    t->before = mem_alloc(t->edge_capacity, sizeof *t->before);
    t->edge_to = mem_alloc(t->edge_capacity, sizeof *t->edge_to);
    t->edge_next = mem_alloc(t->edge_capacity, sizeof *t->edge_next);
    t->duration_ps = mem_alloc(events, sizeof *t->duration_ps);
    t->begin_ps = mem_alloc(events, sizeof *t->begin_ps);
    t->cause = mem_alloc(events, sizeof *t->cause);
    t->heap = mem_alloc(resources, sizeof *t->heap);
    if (!t->resources || !t->operations || !t->before || !t->edge_to || !t->edge_next || !t->duration_ps ||
        !t->begin_ps || !t->cause || !t->heap) {
        timeline_destroy(t);
        return error_set(e, ERR_RUN, "timeline: out of memory");
    }
    timeline_reset(t);
    *out = t;
    return OK;
}

void timeline_destroy(struct timeline *t) {
    if (t) {
        mem_free(t->resources);
        mem_free(t->operations);
        mem_free(t->before);
        mem_free(t->edge_to);
        mem_free(t->edge_next);
        mem_free(t->duration_ps);
        mem_free(t->begin_ps);
        mem_free(t->cause);
        mem_free(t->heap);
        mem_free(t);
    }
}

void timeline_reset(struct timeline *t) {
    for (size_t i = 0; i < t->resource_count; i++) {
        t->resources[i] = (struct resource){.head = NONE, .tail = NONE};
    }
    t->start_ps = t->end_ps = 0;
    t->events = 0;
    t->count = t->edges = t->tokens = 0;
    t->heap_count = 0;
}

/* ---- the graph --------------------------------------------------------------------------------- */

void timeline_begin(struct timeline *t, uint32_t tokens) {
    t->tokens = tokens < t->max_tokens ? tokens : t->max_tokens;
    t->count = t->edges = 0;
}

uint32_t timeline_add(struct timeline *t, size_t resource, const uint32_t *before, size_t count,
                      int64_t **durations_ps) {
    if (t->count >= t->max_operations || count > t->edge_capacity - t->edges) {
        *durations_ps = NULL;
        return TIMELINE_FULL;
    }
    uint32_t number = t->count++;
    t->operations[number] = (struct operation){.resource = (uint32_t)resource,
                                               .edges_in = t->edges,
                                               .edge_count = (uint32_t)count,
                                               .first_out = NONE,
                                               .last_out = NONE,
                                               .queue_next = NONE};
    for (size_t i = 0; i < count; i++) {
        uint32_t edge = t->edges++;
        t->before[edge] = before[i];
        t->edge_to[edge] = number;
        t->edge_next[edge] = NONE;
        struct operation *from = &t->operations[before[i]];
        *(from->last_out == NONE ? &from->first_out : &t->edge_next[from->last_out]) = edge;
        from->last_out = edge;
    }
    *durations_ps = t->duration_ps + (size_t)number * t->tokens;
    return number;
}

/* ---- the heap of running events ---------------------------------------------------------------- */

static bool earlier(struct running a, struct running b) {
    return a.end_ps != b.end_ps ? a.end_ps < b.end_ps : a.operation < b.operation;
}

static void heap_push(struct timeline *t, struct running r) {
    size_t i = t->heap_count++;
    for (; i > 0 && earlier(r, t->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        t->heap[i] = t->heap[(i - 1) / 2];
    }
    t->heap[i] = r;
}

static struct running heap_pop(struct timeline *t) {
    struct running top = t->heap[0], last = t->heap[--t->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < t->heap_count && earlier(t->heap[child + 1], t->heap[child])) {
            child++;
        }
        if (child >= t->heap_count || !earlier(t->heap[child], last)) {
            break;
        }
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = last;
    return top;
}

/* ---- scheduling -------------------------------------------------------------------------------- */

/* Starts the first waiting event of a free resource; `cause` is the event that has just ended. */
static void serve(struct timeline *t, struct resource *r, int64_t now_ps, uint32_t cause) {
    if (r->running || r->head == NONE) {
        return;
    }
    uint32_t number = r->head;
    struct operation *o = &t->operations[number];
    size_t event = (size_t)number * t->tokens + o->started;
    r->head = o->queue_next;
    if (r->head == NONE) {
        r->tail = NONE;
    }
    o->queued = false;
    o->queue_next = NONE;
    o->started++;
    r->running = true;
    r->sum.busy_ps += t->duration_ps[event];
    r->sum.wait_ps += now_ps - o->ready_ps;
    r->sum.events++;
    t->begin_ps[event] = now_ps;
    t->cause[event] = cause;
    heap_push(t, (struct running){now_ps + t->duration_ps[event], number});
}

/* Queues the next token of an operation if nothing but its resource is missing. */
static void queue_if_ready(struct timeline *t, uint32_t number, int64_t now_ps, uint32_t cause) {
    struct operation *o = &t->operations[number];
    if (o->queued || o->started != o->done || o->started >= t->tokens) {
        return;
    }
    for (uint32_t i = 0; i < o->edge_count; i++) {
        if (t->operations[t->before[o->edges_in + i]].done <= o->started) {
            return;
        }
    }
    struct resource *r = &t->resources[o->resource];
    o->queued = true;
    o->ready_ps = now_ps;
    if (r->tail == NONE) {
        r->head = number;
    } else {
        t->operations[r->tail].queue_next = number;
    }
    r->tail = number;
    serve(t, r, now_ps, cause);
}

/* One event has ended: its resource turns to who waited longest, then whatever became ready is queued. */
static void finish(struct timeline *t, struct running r) {
    struct operation *o = &t->operations[r.operation];
    uint32_t event = r.operation * t->tokens + o->done;
    struct resource *own = &t->resources[o->resource];
    o->done++;
    own->running = false;
    serve(t, own, r.end_ps, event);
    queue_if_ready(t, r.operation, r.end_ps, event);
    for (uint32_t edge = o->first_out; edge != NONE; edge = t->edge_next[edge]) {
        queue_if_ready(t, t->edge_to[edge], r.end_ps, event);
    }
}

/* Adds the critical path that ends with `event` to its resources. */
static void add_critical_path(struct timeline *t, uint32_t event) {
    while (event != NONE) {
        t->resources[t->operations[event / t->tokens].resource].sum.critical_ps += t->duration_ps[event];
        event = t->cause[event];
    }
}

int64_t timeline_run(struct timeline *t) {
    uint32_t last = NONE;
    t->start_ps = t->end_ps;
    for (uint32_t i = 0; i < t->count; i++) {
        queue_if_ready(t, i, t->start_ps, NONE);
    }
    while (t->heap_count) {
        struct running r = heap_pop(t);
        last = r.operation * t->tokens + t->operations[r.operation].done;
        t->end_ps = r.end_ps;
        finish(t, r);
    }
    if (t->tokens) {
        add_critical_path(t, last);
    }
    t->events += (uint64_t)t->count * t->tokens;
    return t->end_ps;
}

/* ---- results ----------------------------------------------------------------------------------- */

int64_t timeline_start_ps(const struct timeline *t) { return t->start_ps; }
int64_t timeline_end_ps(const struct timeline *t) { return t->end_ps; }
struct resource_view timeline_resource(const struct timeline *t, size_t resource) {
    return t->resources[resource].sum;
}
uint64_t timeline_events(const struct timeline *t) { return t->events; }
size_t timeline_step_events(const struct timeline *t) { return (size_t)t->count * t->tokens; }

struct event_view timeline_event(const struct timeline *t, size_t i) {
    uint32_t operation = (uint32_t)(i / t->tokens);
    return (struct event_view){operation, (uint32_t)(i % t->tokens), t->operations[operation].resource, t->begin_ps[i],
                               t->begin_ps[i] + t->duration_ps[i]};
}
