/* The life of an event engine: options, memory, and back to time 0. See engine.h; what it does is in engine.c. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "sim/engine_state.h"

enum { WATCHED_AT_FIRST = 64 };

static enum status check_resource(const struct engine_resource *r, size_t i, struct error *e) {
    if (r->servers == 0 || (r->servers > 1u << 31 && r->servers != ENGINE_UNLIMITED)) {
        return error_set(e, ERR_USAGE, "engine: resource %zu: %u servers (allowed: 1 to 2^31, or unlimited)", i,
                         r->servers);
    }
    if (r->period < 1 || r->period > ENGINE_DURATION_MOST) {
        return error_set(e, ERR_USAGE, "engine: resource %zu: clock period of %lld ticks (allowed: 1 to 2^61)", i,
                         (long long)r->period);
    }
    if (r->queue != QUEUE_BY_READY && r->queue != QUEUE_BY_KEY) {
        return error_set(e, ERR_USAGE, "engine: resource %zu: queue rule %d (allowed: by ready time, by key)", i,
                         (int)r->queue);
    }
    return OK;
}

static enum status check_options(const struct engine_resource *r, size_t count, const struct engine_options *o,
                                 struct error *e) {
    for (size_t i = 0; i < count; i++) {
        TRY(check_resource(&r[i], i, e));
    }
    if (!(o->ticks_per_s > 0) || isinf(o->ticks_per_s)) {
        return error_set(e, ERR_USAGE, "engine: %g ticks per second (allowed: above 0)", o->ticks_per_s);
    }
    if (count >= INDEX_MOST || o->tasks >= INDEX_MOST || o->dependencies >= NONE || o->durations >= NONE) {
        return error_set(e, ERR_USAGE,
                         "engine: room for %zu resources, %zu tasks, %zu dependencies, %zu durations "
                         "(allowed: below 2^29, 2^29, 2^32, 2^32)",
                         count, o->tasks, o->dependencies, o->durations);
    }
    if (o->log_events >= NONE || o->log_tasks > LOG_TASKS_MOST) {
        return error_set(e, ERR_USAGE, "engine: log of %zu events of %zu tasks (allowed: below 2^32, up to 2^30)",
                         o->log_events, o->log_tasks);
    }
    if (o->path_groups && o->log_events) {
        return error_set(e, ERR_USAGE, "engine: a log and the path of everything (allowed: one of them)");
    }
    return OK;
}

/* Memory that is not touched before it is used: reserves for the worst case cost nothing until then. */
static void *untouched(size_t count, size_t size) {
    return count > SIZE_MAX / size ? NULL : mem_resize(NULL, 0, count * size);
}

static bool allocate(struct engine *g, const struct engine_options *o) {
    size_t resources = g->resource_count;
    g->resources = mem_alloc(resources, sizeof *g->resources);
    g->touched = mem_alloc(resources, sizeof *g->touched);
    g->log.events = untouched(o->log_events, sizeof *g->log.events);
    g->log.tasks = untouched(o->log_tasks, sizeof *g->log.tasks);
    g->log.inputs = untouched(o->log_inputs, sizeof *g->log.inputs);
    g->tasks = untouched(g->task_capacity = o->tasks, sizeof *g->tasks);
    g->open = untouched(g->open_capacity = o->tasks, sizeof *g->open);
    g->dependencies = untouched(g->dependency_capacity = o->dependencies, sizeof *g->dependencies);
    g->runs = untouched(g->run_capacity = o->tasks, sizeof *g->runs);
    g->durations = untouched(g->duration_capacity = o->durations, sizeof *g->durations);
    g->heap = untouched(g->heap_capacity = o->tasks + 2 * resources, sizeof *g->heap);
    g->watched = untouched(g->watched_capacity = WATCHED_AT_FIRST, sizeof *g->watched);
    return g->resources && g->touched && g->log.events && g->log.tasks && g->log.inputs && g->tasks && g->open &&
           g->dependencies && g->runs && g->durations && g->heap && g->watched;
}

enum status engine_create(const struct engine_resource *resources, size_t count, const struct engine_options *o,
                          struct engine **out, struct error *e) {
    *out = NULL;
    TRY(check_options(resources, count, o, e));
    struct engine *g = mem_alloc(1, sizeof *g);
    if (!g) {
        return error_set(e, ERR_RUN, "engine: out of memory");
    }
    g->ticks_per_s = o->ticks_per_s;
    g->started = o->started;
    g->context = o->context;
    g->path_groups = o->path_groups;
    g->resource_count = (uint32_t)count;
    g->log.capacity = (uint32_t)o->log_events;
    g->log.task_capacity = (uint32_t)o->log_tasks;
    g->log.input_capacity = o->log_inputs;
    g->paths = o->path_groups ? paths_create((uint32_t)count, o->path_groups) : NULL;
    if (!allocate(g, o) || (o->path_groups && !g->paths)) {
        engine_destroy(g);
        return error_set(e, ERR_RUN, "engine: out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        g->resources[i] = (struct resource){
            .servers = resources[i].servers,
            .period = resources[i].period,
            .by_key = resources[i].queue == QUEUE_BY_KEY,
        };
    }
    engine_reset(g);
    *out = g;
    return OK;
}

void engine_destroy(struct engine *g) {
    if (g) {
        mem_free(g->resources);
        mem_free(g->touched);
        mem_free(g->log.events);
        mem_free(g->log.tasks);
        mem_free(g->log.inputs);
        mem_free(g->tasks);
        mem_free(g->open);
        mem_free(g->dependencies);
        mem_free(g->runs);
        mem_free(g->durations);
        mem_free(g->heap);
        mem_free(g->watched);
        paths_destroy(g->paths);
        mem_free(g);
    }
}

void engine_reset(struct engine *g) {
    for (uint32_t i = 0; i < g->resource_count; i++) {
        struct resource *r = &g->resources[i];
        *r = (struct resource){.servers = r->servers, .period = r->period, .by_key = r->by_key, .queue = NONE,
                               .freed = -1, .freed_event = NONE};
    }
    g->now = g->end = 0;
    g->events = 0;
    g->touched_count = g->live = 0;
    g->free_task = g->free_dependency = g->free_run = NONE;
    for (uint32_t i = g->tasks_used; i-- > 0;) {
        engine_free_task(g, i);
    }
    g->dependencies_used = g->runs_used = 0;
    g->open_count = g->dependencies_live = g->durations_used = g->heap_count = g->watched_count = 0;
    memset(g->free_durations, 0xff, sizeof g->free_durations);
    g->peak = (struct engine_peak){0};
    g->trouble = GOES_ON;
    g->cause = g->caller = NONE;
    if (g->paths) {
        paths_reset(g->paths);
    }
    log_clear(g);
}

double engine_seconds(const struct engine *g, int64_t ticks) { return (double)ticks / g->ticks_per_s; }
int64_t engine_ticks(const struct engine *g, double seconds) { return (int64_t)llround(seconds * g->ticks_per_s); }
