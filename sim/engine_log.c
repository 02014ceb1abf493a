/* The log of the engine (engine.h): what every event waited for, the critical path, and two lower bounds.
 *
 * A task takes a row of places when it is added, so item i of it is event first + i. When an item becomes ready, its
 * place keeps the input that came last (cause) and
 *   path = max over inputs of their path, or release; rounded up to an edge; + latency; not before that of the item
 *          before it,
 * the time at which its result would be there with unlimited servers. When it starts later than it was ready because no
 * server was free, the cause becomes the event whose end left the resource with a free server again.
 */
#include "base/memory.h"
#include "sim/engine_state.h"

void log_clear(struct engine *g) {
    struct engine_log *l = &g->log;
    l->count = l->task_count = 0;
    l->input_count = 0;
    l->left_out = 0;
    l->begin = l->longest = l->caller_path = g->now;
    l->last = l->caller_event = NONE;
    for (uint32_t i = 0; i < g->resource_count; i++) {
        g->resources[i].busy_before_log = g->resources[i].busy;
    }
}

void log_add(struct engine *g, struct task *t, int64_t release) {
    struct engine_log *l = &g->log;
    if (t->items > l->capacity - l->count || l->task_count == l->task_capacity) {
        l->left_out += t->items;
        return;
    }
    uint32_t number = l->task_count++;
    t->log = l->count;
    t->log_task = number;
    l->tasks[number] = (struct log_task){t->tag, t->key, release > g->now ? release : -1, t->resource, l->count};
    for (uint32_t i = 0; i < t->items; i++) {
        l->events[l->count++] = (struct log_event){
            .start = -1, .cause = NONE, .task = number & (LOG_TASKS_MOST - 1), .kind = CAUSE_NOT_LOGGED};
    }
}

void log_input(struct engine *g, const struct task *to, const struct task *from, enum engine_after how) {
    struct engine_log *l = &g->log;
    if (to->log != NONE && from->log != NONE && l->input_count < l->input_capacity) {
        l->inputs[l->input_count++] = (struct engine_input){to->log, to->items, from->log, from->items, how};
    }
}

static int64_t result_at(const struct log_event *v) { return v->start + v->latency; }
static int64_t end_of(const struct log_event *v) {
    return v->start + (v->hold > v->latency ? v->hold : v->latency);
}

/* Whether event a has the smaller (key, item); NONE is behind all. */
static bool goes_before(const struct engine_log *l, uint32_t a, uint32_t b) {
    if (a == NONE || b == NONE) {
        return a != NONE;
    }
    const struct log_task *one = &l->tasks[l->events[a].task], *two = &l->tasks[l->events[b].task];
    return one->key != two->key ? one->key < two->key : a - one->first < b - two->first;
}

/* The inputs of an item, as they are looked at one by one. */
struct inputs {
    uint32_t last;  /* of those that came now, the one with the smallest (key, item) */
    int64_t path;
    bool unknown; /* some are not logged */
};

static void add_input(const struct engine *g, uint32_t event, struct inputs *in) {
    if (event == NONE) {
        in->unknown = true;
        return;
    }
    const struct log_event *v = &g->log.events[event];
    in->path = v->path > in->path ? v->path : in->path;
    if (result_at(v) == g->now && goes_before(&g->log, event, in->last)) {
        in->last = event;
    }
}

static struct inputs find_inputs(const struct engine *g, const struct task *t, uint32_t item) {
    struct inputs in = {NONE, g->log.begin, false};
    if (t->in_order_results && item > 0) {
        add_input(g, t->log + item - 1, &in);
    }
    for (uint32_t i = t->first_in; i != NONE; i = g->dependencies[i].next_in) {
        const struct dependency *d = &g->dependencies[i];
        add_input(g, d->log == NONE ? NONE : d->log + (d->how == AFTER_ITEM ? item : 0), &in);
    }
    return in;
}

/* Ready without an input that came now: released now, or added now. */
static enum engine_cause first_cause(const struct engine *g, const struct task *t, struct inputs *in) {
    const struct engine_log *l = &g->log;
    if (t->released && l->tasks[t->log_task].release == g->now) {
        return CAUSE_RELEASE;
    }
    if (!in->unknown && l->caller_event != NONE) {
        in->last = l->caller_event;
        in->path = l->caller_path > in->path ? l->caller_path : in->path;
        return result_at(&l->events[in->last]) == g->now ? CAUSE_INPUT : CAUSE_SERVER;
    }
    return g->now == l->begin ? CAUSE_RELEASE : CAUSE_NOT_LOGGED;
}

void log_ready(struct engine *g, const struct task *t, uint32_t item) {
    if (t->log == NONE) {
        return;
    }
    struct engine_log *l = &g->log;
    struct log_event *v = &l->events[t->log + item];
    struct inputs in = find_inputs(g, t, item);
    enum engine_cause kind = in.last != NONE ? CAUSE_INPUT : first_cause(g, t, &in);
    int64_t release = l->tasks[t->log_task].release;
    int64_t from = release > in.path ? release : in.path, over = from, there = from;
    if (!item_passes(g, t, item)) {
        from = next_edge(&g->resources[t->resource], from);
        over = from + item_hold(g, t, item);
        there = from + item_latency(g, t, item);
    }
    there = item > 0 && v[-1].path > there ? v[-1].path : there;
    over = there > over ? there : over;
    l->longest = over > l->longest ? over : l->longest;
    /* All of it, so that the memory need not be read, which is far away. */
    *v = (struct log_event){.start = -1,
                            .path = there,
                            .cause = in.last,
                            .task = t->log_task & (LOG_TASKS_MOST - 1),
                            .kind = kind & 3};
}

void log_start(struct engine *g, const struct task *t, uint32_t item, int64_t hold, int64_t there, int64_t ready) {
    struct engine_log *l = &g->log;
    const struct resource *r = &g->resources[t->resource];
    struct log_event *v = &l->events[t->log + item];
    v->start = g->now;
    v->hold = hold;
    v->latency = there - g->now;
    if (ready < r->freed) {
        v->cause = r->freed_event;
        v->kind = v->cause == NONE ? CAUSE_NOT_LOGGED : CAUSE_SERVER;
    }
    int64_t end = end_of(v), last = l->last == NONE ? -1 : end_of(&l->events[l->last]);
    if (end > last || (end == last && goes_before(l, t->log + item, l->last))) {
        l->last = t->log + item;
    }
}

void log_server_free(struct engine *g, struct resource *r, uint32_t event) {
    if (r->freed < g->now || goes_before(&g->log, event, r->freed_event)) {
        r->freed_event = event;
    }
    r->freed = g->now;
}

void log_report(struct engine *g, uint32_t event, bool all) {
    struct engine_log *l = &g->log;
    l->caller_event = event;
    l->caller_path = event == NONE ? l->begin : l->events[event].path;
    if (all && l->last != NONE && end_of(&l->events[l->last]) == g->now) {
        l->caller_event = l->last;
        l->caller_path = l->longest;
    }
}

/* ---- results ----------------------------------------------------------------------------------- */

size_t engine_logged(const struct engine *g) { return g->log.count; }
uint64_t engine_not_logged(const struct engine *g) { return g->log.left_out; }

size_t engine_logged_inputs(const struct engine *g) { return g->log.input_count; }
struct engine_input engine_logged_input(const struct engine *g, size_t i) { return g->log.inputs[i]; }

struct engine_event engine_event(const struct engine *g, size_t i) {
    const struct log_event *v = &g->log.events[i];
    const struct log_task *t = &g->log.tasks[v->task];
    return (struct engine_event){.tag = t->tag,
                                 .key = t->key,
                                 .item = (uint32_t)i - t->first,
                                 .resource = t->resource,
                                 .start = v->start,
                                 .hold = v->hold,
                                 .latency = v->latency,
                                 .cause = (enum engine_cause)v->kind,
                                 .cause_event = v->cause == NONE ? ENGINE_NO_EVENT : v->cause};
}

enum status engine_forget(struct engine *g, struct error *e) {
    if (g->live || g->heap_count || g->watched_count) {
        return error_set(e, ERR_USAGE, "engine: the log cannot be emptied while %u tasks are in flight (allowed: none)",
                         g->live);
    }
    log_clear(g);
    return OK;
}

/* When what caused the event was there or over. */
static int64_t cause_at(const struct engine_log *l, const struct log_event *v) {
    int64_t release = l->tasks[v->task].release;
    switch ((enum engine_cause)v->kind) {
    case CAUSE_INPUT: return result_at(&l->events[v->cause]);
    case CAUSE_SERVER: return l->events[v->cause].start + l->events[v->cause].hold;
    case CAUSE_RELEASE: return release < 0 ? l->begin : release;
    case CAUSE_NOT_LOGGED: return v->start;
    }
    return v->start;
}

struct engine_path engine_critical_path(const struct engine *g, int64_t *parts) {
    const struct engine_log *l = &g->log;
    struct engine_path p = {.last = ENGINE_NO_EVENT};
    if (l->last == NONE) {
        return p;
    }
    int64_t until = end_of(&l->events[l->last]);
    p.total = until - l->begin;
    p.last = l->last;
    for (uint32_t i = l->last; i != NONE; i = l->events[i].cause) {
        const struct log_event *v = &l->events[i];
        if (parts) {
            parts[l->tasks[v->task].resource] += until - v->start;
        }
        until = cause_at(l, v);
        p.clock += v->start - until;
        p.events++;
        p.release += v->kind == CAUSE_RELEASE ? until - l->begin : 0;
        p.not_logged += v->kind == CAUSE_NOT_LOGGED ? until - l->begin : 0;
    }
    return p;
}

struct engine_bound engine_bound(const struct engine *g) {
    struct engine_bound b = {.path = g->log.longest - g->log.begin};
    for (uint32_t i = 0; i < g->resource_count; i++) {
        const struct resource *r = &g->resources[i];
        int64_t busy = r->busy - r->busy_before_log;
        int64_t work = r->servers == ENGINE_UNLIMITED ? 0 : busy / r->servers + (busy % r->servers != 0);
        if (work > b.work) {
            b.work = work;
            b.resource = i;
        }
    }
    return b;
}
