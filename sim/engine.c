/* See engine.h. An event-driven simulation: a heap of what will happen, by time, and one queue per resource.
 *
 * An instant takes everything from the heap that happens now (retire), which makes items ready and marks resources
 * (touch), and then lets every marked resource start what it can (serve). Counters make the first step independent of
 * its order: an item is ready when a count of missing inputs reaches 0.
 */
#include "sim/engine.h"

#include <string.h>

#include "base/memory.h"
#include "sim/engine_state.h"

enum { CHILDREN = 4 };
#define ITEMS_MOST (1u << 31)

/* ---- arrays that grow -------------------------------------------------------------------------- */

/* Room for `need` things of `size` bytes; at least doubles. */
static bool reserve(struct engine *g, void *array, size_t *capacity, size_t size, size_t need) {
    void **block = array;
    if (need <= *capacity) {
        return true;
    }
    size_t wanted = *capacity * 2 > need ? *capacity * 2 : need;
    void *grown = wanted > SIZE_MAX / size ? NULL : mem_resize(*block, *capacity * size, wanted * size);
    if (!grown) {
        g->trouble = OUT_OF_MEMORY;
        return false;
    }
    *block = grown;
    *capacity = wanted;
    return true;
}

static void at_least(size_t *peak, size_t value) { *peak = value > *peak ? value : *peak; }

/* ---- durations --------------------------------------------------------------------------------- */

static uint32_t block_class(uint32_t count) {
    uint32_t c = 0;
    while ((uint64_t)1 << c < count) {
        c++;
    }
    return c;
}

/* A block of numbers, copied from `from`; NONE: no memory. A free block holds the number of the next free one. */
static uint32_t add_durations(struct engine *g, const int64_t *from, uint32_t count) {
    uint32_t c = block_class(count), block = g->free_durations[c];
    size_t length = (size_t)1 << c;
    if (block != NONE) {
        g->free_durations[c] = (uint32_t)g->durations[block];
    } else {
        if (g->durations_used + length >= NONE ||
            !reserve(g, &g->durations, &g->duration_capacity, sizeof *g->durations, g->durations_used + length)) {
            return NONE;
        }
        block = (uint32_t)g->durations_used;
        g->durations_used += length;
        at_least(&g->peak.durations, g->durations_used);
    }
    memcpy(g->durations + block, from, count * sizeof *from);
    return block;
}

static void free_durations(struct engine *g, uint32_t block, uint32_t count) {
    if (block != NONE) {
        uint32_t c = block_class(count);
        g->durations[block] = g->free_durations[c];
        g->free_durations[c] = block;
    }
}

/* ---- adding tasks ------------------------------------------------------------------------------ */

/* even_least, each_least: -1 where a value below 0 has a meaning. */
static enum status check_durations(const struct engine_task *t, const char *what, int64_t even, int64_t even_least,
                                   const int64_t *each, int64_t each_least, struct error *e) {
    for (uint32_t i = 0; i < (each ? t->items : 1); i++) {
        int64_t ticks = each ? each[i] : even;
        if (ticks < (each ? each_least : even_least) || ticks > ENGINE_DURATION_MOST) {
            return error_set(e, ERR_USAGE,
                             "engine: task with tag %llu: %s of item %u is %lld ticks (allowed: 0 to 2^61)",
                             (unsigned long long)t->tag, what, i, (long long)ticks);
        }
    }
    return OK;
}

static enum status check_task(const struct engine *g, const struct engine_task *t, struct error *e) {
    unsigned long long tag = t->tag;
    if (t->resource >= g->resource_count) {
        return error_set(e, ERR_USAGE, "engine: task with tag %llu: resource %zu does not exist (allowed: below %u)",
                         tag, t->resource, g->resource_count);
    }
    if (t->items == 0 || t->items > ITEMS_MOST) {
        return error_set(e, ERR_USAGE, "engine: task with tag %llu: %u items (allowed: 1 to 2^31)", tag, t->items);
    }
    if (g->path_groups && t->group >= g->path_groups) {
        return error_set(e, ERR_USAGE, "engine: task with tag %llu: group %u (allowed: below %u)", tag, t->group,
                         g->path_groups);
    }
    if (t->release > ENGINE_DURATION_MOST) {
        return error_set(e, ERR_USAGE, "engine: task with tag %llu: release at %lld ticks (allowed: up to 2^61)", tag,
                         (long long)t->release);
    }
    TRY(check_durations(t, "hold", t->hold, 0, t->holds, ENGINE_PASS, e));
    return check_durations(t, "latency", t->latency, ENGINE_AS_HOLD, t->latencies, 0, e);
}

/* A place for a task; NONE: no memory. */
static uint32_t take_task(struct engine *g) {
    uint32_t index = g->free_task;
    if (index != NONE) {
        g->free_task = g->tasks[index].sibling;
        return index;
    }
    size_t need = (size_t)g->tasks_used + 1;
    if (need > INDEX_MOST || !reserve(g, &g->tasks, &g->task_capacity, sizeof *g->tasks, need) ||
        !reserve(g, &g->open, &g->open_capacity, sizeof *g->open, need)) {
        return NONE;
    }
    index = g->tasks_used++;
    g->tasks[index].generation = 1;
    return index;
}

void engine_free_task(struct engine *g, uint32_t index) {
    struct task *t = &g->tasks[index];
    bool used_up = t->generation == UINT32_MAX;
    t->generation += t->live && !used_up;
    t->live = false;
    if (!used_up) {
        t->sibling = g->free_task;
        g->free_task = index;
    }
}

/* Arrays of durations go into the engine; false: no memory. */
static bool copy_durations(struct engine *g, struct task *to, const struct engine_task *t) {
    to->holds = t->holds ? add_durations(g, t->holds, t->items) : NONE;
    to->latencies = t->latencies ? add_durations(g, t->latencies, t->items) : NONE;
    return (!t->holds || to->holds != NONE) && (!t->latencies || to->latencies != NONE);
}

static bool push(struct engine *g, int64_t time, enum happening what, uint32_t index, uint32_t event);

enum status engine_add(struct engine *g, const struct engine_task *t, uint64_t *id, struct error *e) {
    TRY(check_task(g, t, e));
    uint32_t index = take_task(g);
    if (index == NONE) {
        return error_set(e, ERR_RUN, "engine: out of memory for %u tasks", g->live + 1);
    }
    struct task *to = &g->tasks[index];
    *to = (struct task){.key = t->key, .tag = t->tag, .hold = t->hold, .latency = t->latency, .items = t->items,
                        .resource = (uint32_t)t->resource, .first_in = NONE, .first_out = NONE, .first_run = NONE,
                        .last_run = NONE, .child = NONE, .log = NONE, .group = t->group,
                        .generation = to->generation, .live = true, .open = true,
                        .in_order_results = t->in_order_results, .watch = t->watch,
                        .last = t->last};
    if (!copy_durations(g, to, t) || (t->release > g->now && !push(g, t->release, RELEASE, index, NONE))) {
        return error_set(e, ERR_RUN, "engine: out of memory for the durations of %u items", t->items);
    }
    to->missing = t->release > g->now;
    g->open[g->open_count++] = index;
    g->live++;
    at_least(&g->peak.tasks, g->live);
    if (g->log.capacity) {
        log_add(g, to, t->release);
    }
    *id = (uint64_t)to->generation << 32 | index;
    return OK;
}

/* Whether the id was ever given; *index = the task if it is still live, else NONE. */
static bool known(const struct engine *g, uint64_t id, uint32_t *index) {
    uint32_t at = (uint32_t)id, generation = (uint32_t)(id >> 32);
    *index = NONE;
    if (at >= g->tasks_used || generation == 0 || generation > g->tasks[at].generation) {
        return false;
    }
    if (generation == g->tasks[at].generation) {
        if (!g->tasks[at].live) { /* the next id of this place, not given yet; or its last, which is over */
            return generation == UINT32_MAX;
        }
        *index = at;
    }
    return true;
}

static enum status check_dependency(const struct engine *g, uint64_t task, uint64_t before, enum engine_after how,
                                    uint32_t *to, uint32_t *from, struct error *e) {
    if (!known(g, task, to) || !known(g, before, from)) {
        return error_set(e, ERR_USAGE, "engine: dependency on an unknown task (allowed: ids that engine_add gave)");
    }
    if (*to == NONE || !g->tasks[*to].open) {
        return error_set(e, ERR_USAGE, "engine: dependency of a task that takes part already (allowed: open tasks)");
    }
    if (how != AFTER_ITEM && how != AFTER_FIRST && how != AFTER_ALL) {
        return error_set(e, ERR_USAGE, "engine: dependency %d (allowed: by item, on the first, on all)", (int)how);
    }
    if (how == AFTER_ITEM && *from != NONE && g->tasks[*from].items != g->tasks[*to].items) {
        return error_set(e, ERR_USAGE,
                         "engine: task with tag %llu of %u items comes item by item after one of %u (allowed: equal "
                         "numbers)",
                         (unsigned long long)g->tasks[*to].tag, g->tasks[*to].items, g->tasks[*from].items);
    }
    return OK;
}

static uint32_t take_dependency(struct engine *g) {
    uint32_t index = g->free_dependency;
    if (index != NONE) {
        g->free_dependency = g->dependencies[index].next_out;
    } else if (g->dependencies_used < NONE - 1 && reserve(g, &g->dependencies, &g->dependency_capacity,
                                                          sizeof *g->dependencies, (size_t)g->dependencies_used + 1)) {
        index = g->dependencies_used++;
    }
    return index;
}

static void free_dependency(struct engine *g, uint32_t index) {
    g->dependencies[index].next_out = g->free_dependency;
    g->free_dependency = index;
    g->dependencies_live--;
}

/* Whether what item `item` needs of this dependency is still missing. */
static bool is_missing(const struct engine *g, const struct dependency *d, uint32_t item) {
    if (d->from_gone) {
        return false;
    }
    const struct task *from = &g->tasks[d->from];
    return from->done <= (d->how == AFTER_ITEM ? item : d->how == AFTER_FIRST ? 0 : from->items - 1);
}

enum status engine_depend(struct engine *g, uint64_t task, uint64_t before, enum engine_after how, struct error *e) {
    uint32_t to, from;
    TRY(check_dependency(g, task, before, how, &to, &from, e));
    if (from == NONE) {
        return OK;
    }
    uint32_t index = take_dependency(g);
    if (index == NONE) {
        return error_set(e, ERR_RUN, "engine: out of memory for %zu dependencies", g->dependencies_live + 1);
    }
    struct task *later = &g->tasks[to], *earlier = &g->tasks[from];
    uint32_t log = earlier->log == NONE ? NONE : earlier->log + (how == AFTER_ALL ? earlier->items - 1 : 0);
    g->dependencies[index] = (struct dependency){.from = from, .to = to, .next_in = later->first_in,
                                                 .next_out = earlier->first_out, .log = log, .how = (uint8_t)how};
    later->first_in = index;
    earlier->first_out = index;
    later->by_item |= how == AFTER_ITEM;
    later->missing += is_missing(g, &g->dependencies[index], 0);
    at_least(&g->peak.dependencies, ++g->dependencies_live);
    log_input(g, later, earlier, how);
    return OK;
}

enum status engine_watch(struct engine *g, uint64_t task, struct error *e) {
    uint32_t index;
    if (!known(g, task, &index) || index == NONE || !g->tasks[index].open) {
        return error_set(e, ERR_USAGE, "engine: a task to watch is unknown or takes part already (allowed: open "
                                   "tasks)");
    }
    g->tasks[index].watch = true;
    return OK;
}

/* ---- what will happen -------------------------------------------------------------------------- */

static bool push(struct engine *g, int64_t time, enum happening what, uint32_t index, uint32_t event) {
    if (g->heap_count == g->heap_capacity &&
        !reserve(g, &g->heap, &g->heap_capacity, sizeof *g->heap, g->heap_count + 1)) {
        return false;
    }
    size_t i = g->heap_count++;
    for (; i > 0 && time < g->heap[(i - 1) / CHILDREN].time; i = (i - 1) / CHILDREN) {
        g->heap[i] = g->heap[(i - 1) / CHILDREN];
    }
    g->heap[i] = (struct entry){time, index * 8 + what, event};
    at_least(&g->peak.running, g->heap_count);
    return true;
}

static struct entry pop(struct engine *g) {
    struct entry *heap = g->heap, top = heap[0], last = heap[--g->heap_count];
    size_t i = 0, count = g->heap_count;
    for (;;) {
        size_t first = CHILDREN * i + 1, best = first;
        if (first >= count) {
            break;
        }
        for (size_t c = first + 1; c < first + CHILDREN && c < count; c++) {
            best = heap[c].time < heap[best].time ? c : best;
        }
        if (heap[best].time >= last.time) {
            break;
        }
        heap[i] = heap[best];
        i = best;
    }
    heap[i] = last;
    return top;
}

/* ---- queues ------------------------------------------------------------------------------------ */

static bool goes_first(const struct engine *g, const struct resource *r, uint32_t a, uint32_t b) {
    const struct task *one = &g->tasks[a], *two = &g->tasks[b];
    if (!r->by_key && one->head_ready != two->head_ready) {
        return one->head_ready < two->head_ready;
    }
    return one->key != two->key ? one->key < two->key : one->started < two->started;
}

static uint32_t meld(struct engine *g, const struct resource *r, uint32_t a, uint32_t b) {
    if (a == NONE || b == NONE) {
        return a == NONE ? b : a;
    }
    bool first = goes_first(g, r, a, b);
    uint32_t top = first ? a : b, under = first ? b : a;
    g->tasks[under].sibling = g->tasks[top].child;
    g->tasks[top].child = under;
    return top;
}

static void queue_push(struct engine *g, struct resource *r, uint32_t task) {
    g->tasks[task].child = NONE;
    r->queue = meld(g, r, r->queue, task);
}

/* Takes the first task out: its children are melded in pairs, then the pairs from the last to the first. */
static void queue_pop(struct engine *g, struct resource *r) {
    uint32_t at = g->tasks[r->queue].child, pairs = NONE, all = NONE;
    while (at != NONE) {
        uint32_t second = g->tasks[at].sibling, next = second == NONE ? NONE : g->tasks[second].sibling;
        uint32_t pair = meld(g, r, at, second);
        g->tasks[pair].sibling = pairs;
        pairs = pair;
        at = next;
    }
    while (pairs != NONE) {
        uint32_t next = g->tasks[pairs].sibling;
        all = meld(g, r, all, pairs);
        pairs = next;
    }
    r->queue = all;
}

/* ---- becoming ready ---------------------------------------------------------------------------- */

static void touch(struct engine *g, uint32_t resource) {
    struct resource *r = &g->resources[resource];
    if (!r->touched) {
        r->touched = true;
        g->touched[g->touched_count++] = resource;
    }
}

/* `count` more items of the task are ready now. False: no memory. */
static bool add_run(struct engine *g, struct task *t, uint32_t count) {
    if (t->last_run != NONE && g->runs[t->last_run].ready == g->now) {
        g->runs[t->last_run].count += count;
        return true;
    }
    uint32_t index = g->free_run;
    if (index != NONE) {
        g->free_run = g->runs[index].next;
    } else if (g->runs_used < NONE - 1 &&
               reserve(g, &g->runs, &g->run_capacity, sizeof *g->runs, (size_t)g->runs_used + 1)) {
        index = g->runs_used++;
    } else {
        g->trouble = OUT_OF_MEMORY;
        return false;
    }
    g->runs[index] = (struct ready_run){g->now, count, NONE, g->cause};
    if (g->paths) {
        paths_hold(g->paths, g->cause);
    }
    *(t->first_run == NONE ? &t->first_run : &g->runs[t->last_run].next) = index;
    t->last_run = index;
    return true;
}

/* All items are ready: the inputs are needed no more. */
static void drop_inputs(struct engine *g, struct task *t) {
    for (uint32_t i = t->first_in, next; i != NONE; i = next) {
        struct dependency *d = &g->dependencies[i];
        next = d->next_in;
        d->to_gone = true;
        if (d->from_gone) {
            free_dependency(g, i);
        }
    }
    t->first_in = NONE;
}

/* Takes the next ready item of the task; since when it was ready, and (held, where paths are followed) by whom. */
static int64_t take_ready(struct engine *g, struct task *t, uint32_t *cause) {
    uint32_t index = t->first_run;
    struct ready_run *run = &g->runs[index];
    int64_t ready = run->ready;
    *cause = run->cause;
    if (--run->count > 0) {
        if (g->paths) {
            paths_hold(g->paths, run->cause);
        }
    } else {
        t->first_run = run->next;
        t->last_run = t->first_run == NONE ? NONE : t->last_run;
        run->next = g->free_run;
        g->free_run = index;
    }
    return ready;
}

static void note_last(const struct engine *g, struct task *t, int64_t there) {
    if (t->last && t->started == t->items) {
        t->last[0] = g->now;
        t->last[1] = there;
    }
}

/* The node of an event; the cause is not held any more. */
static uint32_t start_path(struct engine *g, const struct task *t, int64_t end, int64_t ready, uint32_t cause) {
    const struct resource *r = &g->resources[t->resource];
    bool server = ready < r->freed && r->freed_event != NONE;
    uint32_t node = paths_start(g->paths, &(struct path_step){.cause = server ? r->freed_event : cause,
                                                              .from = server ? r->freed : ready,
                                                              .start = g->now,
                                                              .end = end,
                                                              .resource = t->resource,
                                                              .group = t->group});
    paths_drop(g->paths, cause);
    g->trouble = node == NONE ? OUT_OF_MEMORY : g->trouble;
    return node;
}

/* Ready items that are next to start and do not need the resource. The task is in no queue. */
static void pass_items(struct engine *g, uint32_t index) {
    struct task *t = &g->tasks[index];
    struct resource *r = &g->resources[t->resource];
    while (t->holds != NONE && t->first_run != NONE && item_passes(g, t, t->started)) {
        uint32_t item = t->started++, event = t->log == NONE ? NONE : t->log + item, cause;
        int64_t ready = take_ready(g, t, &cause);
        t->delivered = t->delivered > g->now ? t->delivered : g->now;
        r->wait += (uint64_t)g->now;
        r->waiting--;
        note_last(g, t, t->delivered);
        if (event != NONE) {
            log_start(g, t, item, 0, t->delivered, ready);
        }
        if (g->paths) {
            event = start_path(g, t, t->delivered, ready, cause);
        }
        push(g, t->delivered, RESULT, index, event);
    }
}

static uint32_t count_missing(const struct engine *g, const struct task *t) {
    uint32_t missing = t->in_order_results && t->done < t->ready;
    for (uint32_t i = t->first_in; i != NONE; i = g->dependencies[i].next_in) {
        missing += is_missing(g, &g->dependencies[i], t->ready);
    }
    return missing;
}

/* Item `ready` misses nothing any more, and perhaps those after it. */
static void become_ready(struct engine *g, uint32_t index) {
    struct task *t = &g->tasks[index];
    struct resource *r = &g->resources[t->resource];
    uint32_t first = t->ready;
    if (!t->by_item && !t->in_order_results) {
        t->ready = t->items;
    } else {
        do {
            t->ready++;
        } while (t->ready < t->items && (t->missing = count_missing(g, t)) == 0);
    }
    uint32_t count = t->ready - first;
    for (uint32_t i = first; g->log.capacity && i < t->ready; i++) {
        log_ready(g, t, i);
    }
    bool queued = t->first_run != NONE;
    if (!add_run(g, t, count)) {
        return;
    }
    r->waiting += count;
    r->wait -= (uint64_t)g->now * count;
    if (!queued) {
        pass_items(g, index);
    }
    if (!queued && t->first_run != NONE) {
        t->head_ready = g->now;
        queue_push(g, r, index);
    }
    touch(g, t->resource);
    if (t->ready == t->items) {
        drop_inputs(g, t);
    }
}


/* ---- retiring ---------------------------------------------------------------------------------- */

static void finish_task(struct engine *g, uint32_t index) {
    struct task *t = &g->tasks[index];
    for (uint32_t i = t->first_out, next; i != NONE; i = next) {
        struct dependency *d = &g->dependencies[i];
        next = d->next_out;
        d->from_gone = true;
        if (d->to_gone) {
            free_dependency(g, i);
        }
    }
    if (t->watch &&
        reserve(g, &g->watched, &g->watched_capacity, sizeof *g->watched, g->watched_count + 1)) {
        uint32_t event = t->log == NONE ? g->cause : t->log + t->items - 1;
        if (g->paths) {
            paths_hold(g->paths, event);
        }
        g->watched[g->watched_count++] =
            (struct watched){t->key, t->tag, (uint64_t)t->generation << 32 | index, event};
    }
    free_durations(g, t->holds, t->items);
    free_durations(g, t->latencies, t->items);
    engine_free_task(g, index);
    g->live--;
}

/* Whether the result of item `item` of `from` is what the dependency waits for. */
static bool is_awaited(const struct engine *g, const struct dependency *d, const struct task *from, uint32_t item) {
    return !d->to_gone && (d->how == AFTER_ITEM    ? g->tasks[d->to].ready == item
                           : d->how == AFTER_FIRST ? item == 0
                                                   : from->done == from->items);
}

/* One more result is there. All counters first: two dependencies may lead to the same task. */
static void deliver(struct engine *g, uint32_t index) {
    struct task *t = &g->tasks[index];
    uint32_t item = t->done++, complete = 0;
    for (uint32_t i = t->first_out; i != NONE; i = g->dependencies[i].next_out) {
        const struct dependency *d = &g->dependencies[i];
        if (is_awaited(g, d, t, item)) {
            complete += --g->tasks[d->to].missing == 0;
        }
    }
    for (uint32_t i = t->first_out; complete; i = g->dependencies[i].next_out) {
        const struct dependency *d = &g->dependencies[i];
        if (!d->to_gone && g->tasks[d->to].missing == 0) {
            become_ready(g, d->to);
            complete--;
        }
    }
    if (t->in_order_results && t->ready == t->done && t->ready < t->items && --t->missing == 0) {
        become_ready(g, index);
    }
    if (t->done == t->items) {
        finish_task(g, index);
    }
}

static void free_server(struct engine *g, uint32_t resource, uint32_t event) {
    struct resource *r = &g->resources[resource];
    bool last = r->occupied == r->servers || r->freed == g->now; /* nothing could start before */
    if (g->log.capacity && last) {
        log_server_free(g, r, event);
    } else if (g->paths && r->occupied == r->servers) {
        paths_drop(g->paths, r->freed_event);
        paths_hold(g->paths, event);
        r->freed_event = event;
        r->freed = g->now;
    }
    r->occupied--;
    touch(g, resource);
}

static void retire(struct engine *g, struct entry e) {
    uint32_t index = e.what / 8;
    g->cause = g->paths ? e.event : NONE;
    switch ((enum happening)(e.what % 8)) {
    case RESULT: deliver(g, index); break;
    case SERVER_FREE: free_server(g, index, e.event); break;
    case RESULT_AND_SERVER_FREE:
        free_server(g, g->tasks[index].resource, e.event);
        deliver(g, index);
        break;
    case EDGE:
        g->resources[index].wakes = false;
        touch(g, index);
        break;
    case RELEASE:
        g->tasks[index].released = true;
        if (--g->tasks[index].missing == 0) {
            become_ready(g, index);
        }
        break;
    case HAPPENINGS: break;
    }
    if (g->paths) {
        paths_drop(g->paths, e.event);
        g->cause = NONE;
    }
}

/* ---- starting ---------------------------------------------------------------------------------- */

static void add_up(struct engine *g, struct resource *r, int64_t hold, int64_t end) {
    if (end > TIME_MOST || hold > INT64_MAX - r->busy) {
        g->trouble = OUT_OF_TIME;
        return;
    }
    r->busy += hold;
    r->last_end = end > r->last_end ? end : r->last_end;
    g->end = end > g->end ? end : g->end;
    r->wait += (uint64_t)g->now;
    r->waiting--;
    r->events++;
    g->events++;
}

static void tell_start(const struct engine *g, uint32_t index, uint32_t item, int64_t hold, int64_t there) {
    const struct task *t = &g->tasks[index];
    g->started(g->context, &(struct engine_start){.id = (uint64_t)t->generation << 32 | index,
                                                  .key = t->key,
                                                  .tag = t->tag,
                                                  .item = item,
                                                  .resource = t->resource,
                                                  .start = g->now,
                                                  .hold = hold,
                                                  .latency = there - g->now});
}

static void start(struct engine *g, uint32_t resource, uint32_t index) {
    struct resource *r = &g->resources[resource];
    struct task *t = &g->tasks[index];
    uint32_t item = t->started++, event = t->log == NONE ? NONE : t->log + item, cause;
    int64_t hold = item_hold(g, t, item), over = g->now + hold, there = g->now + item_latency(g, t, item),
            ready = take_ready(g, t, &cause);
    there = there > t->delivered ? there : t->delivered;
    t->delivered = there;
    add_up(g, r, hold, over > there ? over : there);
    note_last(g, t, there);
    if (event != NONE) {
        log_start(g, t, item, hold, there, ready);
    }
    if (g->paths) {
        event = start_path(g, t, over > there ? over : there, ready, cause);
    }
    if (g->started) {
        tell_start(g, index, item, hold, there);
    }
    if (r->servers == ENGINE_UNLIMITED) {
        push(g, there, RESULT, index, event);
        return;
    }
    r->occupied++;
    if (over == there) {
        push(g, there, RESULT_AND_SERVER_FREE, index, event);
    } else {
        if (g->paths) {
            paths_hold(g->paths, event);
        }
        push(g, over, SERVER_FREE, resource, event);
        push(g, there, RESULT, index, event);
    }
}

/* Starts what this resource can start now; off its clock's edges it asks to be woken. */
static void serve(struct engine *g, uint32_t resource) {
    struct resource *r = &g->resources[resource];
    int64_t edge = next_edge(r, g->now);
    r->touched = false;
    if (edge > g->now) {
        if (r->queue != NONE && r->occupied < r->servers && !r->wakes) {
            r->wakes = push(g, edge, EDGE, resource, NONE);
        }
    } else {
        while (r->queue != NONE && r->occupied < r->servers && g->trouble == GOES_ON) {
            uint32_t index = r->queue;
            struct task *t = &g->tasks[index];
            queue_pop(g, r);
            start(g, resource, index);
            pass_items(g, index);
            if (t->first_run != NONE) {
                t->head_ready = g->runs[t->first_run].ready;
                queue_push(g, r, index);
            }
        }
    }
    r->longest_queue = r->waiting > r->longest_queue ? r->waiting : r->longest_queue;
    if (g->paths && r->queue == NONE && r->freed_event != NONE) {
        paths_drop(g->paths, r->freed_event);
        r->freed_event = NONE;
    }
}

/* ---- running ----------------------------------------------------------------------------------- */

/* Tasks that were added since take part: those that miss nothing are ready. */
static void close_tasks(struct engine *g) {
    for (size_t i = 0; i < g->open_count; i++) {
        struct task *t = &g->tasks[g->open[i]];
        t->open = false;
        if (t->missing == 0) {
            g->cause = g->caller;
            become_ready(g, g->open[i]);
        }
    }
    g->cause = NONE;
    g->open_count = 0;
}

static void report(struct engine *g, struct engine_report *r) {
    size_t first = 0;
    for (size_t i = 1; i < g->watched_count; i++) {
        first = g->watched[i].key < g->watched[first].key ? i : first;
    }
    struct watched w = g->watched[first];
    g->watched[first] = g->watched[--g->watched_count];
    *r = (struct engine_report){true, w.tag, w.id, g->now, w.key};
    if (g->paths) {
        paths_drop(g->paths, g->caller);
        g->caller = w.event;
    } else {
        log_report(g, w.event, false);
    }
}

/* A task for which `index` waits; NONE: it waits for nothing. */
static uint32_t waits_for(const struct engine *g, uint32_t index) {
    const struct task *t = &g->tasks[index];
    for (uint32_t i = t->first_in; i != NONE; i = g->dependencies[i].next_in) {
        if (is_missing(g, &g->dependencies[i], t->ready)) {
            return g->dependencies[i].from;
        }
    }
    return NONE;
}

/* Nothing will happen, and tasks are left: everyone waits for someone. */
static enum status cycle(const struct engine *g, struct error *e) {
    uint32_t at = 0;
    while (!g->tasks[at].live) {
        at++;
    }
    for (uint32_t steps = 0; steps < g->live; steps++) { /* into the cycle */
        at = waits_for(g, at);
    }
    uint32_t first = at;
    for (uint32_t i = waits_for(g, at); i != at; i = waits_for(g, i)) {
        first = g->tasks[i].key < g->tasks[first].key ? i : first;
    }
    return error_set(e, ERR_USAGE,
                     "engine: tasks wait for each other in a cycle: the task with tag %llu for the one with tag %llu, "
                     "and so on (allowed: dependencies without cycles)",
                     (unsigned long long)g->tasks[first].tag, (unsigned long long)g->tasks[waits_for(g, first)].tag);
}

static enum status trouble(const struct engine *g, struct error *e) {
    if (g->trouble == OUT_OF_TIME) {
        return error_set(e, ERR_USAGE, "engine: at %lld ticks: time or work of a resource goes beyond 2^62 ticks",
                         (long long)g->now);
    }
    return error_set(e, ERR_RUN, "engine: out of memory at %lld ticks, %u tasks in flight", (long long)g->now, g->live);
}

enum status engine_advance(struct engine *g, struct engine_report *r, struct error *e) {
    close_tasks(g);
    while (g->trouble == GOES_ON) {
        if (g->watched_count) {
            report(g, r);
            return OK;
        }
        for (uint32_t i = 0; i < g->touched_count; i++) {
            serve(g, g->touched[i]);
        }
        g->touched_count = 0;
        if (!g->heap_count || g->trouble != GOES_ON) {
            break;
        }
        g->now = g->heap[0].time;
        do {
            retire(g, pop(g));
        } while (g->heap_count && g->heap[0].time == g->now);
    }
    if (g->trouble != GOES_ON) {
        return trouble(g, e);
    }
    if (g->live) {
        return cycle(g, e);
    }
    g->now = g->end > g->now ? g->end : g->now;
    *r = (struct engine_report){false, 0, 0, g->now, 0};
    if (!g->paths) {
        log_report(g, NONE, true);
    }
    return OK;
}

/* ---- results ----------------------------------------------------------------------------------- */

int64_t engine_now(const struct engine *g) { return g->now; }
int64_t engine_end(const struct engine *g) { return g->end; }
uint64_t engine_events(const struct engine *g) { return g->events; }
size_t engine_resources(const struct engine *g) { return g->resource_count; }

struct engine_peak engine_peak(const struct engine *g) {
    struct engine_peak peak = g->peak;
    peak.nodes = g->paths ? paths_most(g->paths) : 0;
    return peak;
}

struct engine_use engine_use(const struct engine *g, size_t resource) {
    const struct resource *r = &g->resources[resource];
    bool counts = r->servers != ENGINE_UNLIMITED && g->end <= INT64_MAX / r->servers;
    return (struct engine_use){.events = r->events,
                               .busy = r->busy,
                               .idle = counts ? g->end * r->servers - r->busy : -1,
                               .wait = (int64_t)(r->wait + (uint64_t)g->now * r->waiting),
                               .last_end = r->last_end,
                               .waiting = r->waiting,
                               .longest_queue = r->longest_queue};
}
