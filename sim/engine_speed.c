/* The event engine alone, for `mho bench`: a graph like that of a language model, without a model.
 *
 * LAYERS layers in a row; each is four groups of matrices (query, key, value; output; gate, up; down). A group is
 *   vector unit (codes) -> buffer (spread the inputs) -> BLOCKS tiles side by side -> vector unit (add up)
 * and attention with its memory stands between the first two groups. A layer has BLOCKS tiles for each group, a buffer,
 * two vector units and an attention unit of its own. PROMPT tokens stream through; then DECODE steps of one token
 * follow, each upon the report that the one before has finished. Durations are those of the chip pcm256, about.
 */
#include "base/memory.h"
#include "sim/engine.h"
#include "sim/sim.h"

enum { LAYERS = 64, GROUPS = 4, BLOCKS = 32, PROMPT = 64, DECODE = 32 };
enum { VECTOR = GROUPS * BLOCKS, BUFFER, ATTENTION, OF_LAYER };           /* resources of a layer; tiles come first */
enum { TASKS = LAYERS * (GROUPS * (BLOCKS + 3) + 1), RESOURCES = LAYERS * OF_LAYER };

struct speed {
    struct engine *engine;
    uint64_t key, before;
    uint32_t items;
    bool last;
    int64_t attention[PROMPT];
};

static enum status add(struct speed *s, size_t layer, size_t resource, int64_t hold, int64_t latency, uint64_t before,
                       uint64_t *id, struct error *e) {
    struct engine_task t = {.key = s->key++,
                            .resource = layer * OF_LAYER + resource,
                            .items = s->items,
                            .hold = hold,
                            .latency = latency,
                            .holds = resource == ATTENTION && s->items > 1 ? s->attention : NULL,
                            .watch = s->last};
    TRY(engine_add(s->engine, &t, id, e));
    return before ? engine_depend(s->engine, *id, before, AFTER_ITEM, e) : OK;
}

static enum status add_group(struct speed *s, size_t layer, size_t group, struct error *e) {
    uint64_t codes, spread, sum, tile[BLOCKS];
    TRY(add(s, layer, VECTOR, 3000, 8000, s->before, &codes, e));
    TRY(add(s, layer, BUFFER, 4000, 6000, codes, &spread, e));
    for (size_t i = 0; i < BLOCKS; i++) {
        TRY(add(s, layer, group * BLOCKS + i, 132900, ENGINE_AS_HOLD, spread, &tile[i], e));
    }
    s->last = layer == LAYERS - 1 && group == GROUPS - 1;
    TRY(add(s, layer, VECTOR, 3000, 8000, 0, &sum, e));
    s->last = false;
    for (size_t i = 0; i < BLOCKS; i++) {
        TRY(engine_depend(s->engine, sum, tile[i], AFTER_ITEM, e));
    }
    s->before = sum;
    return OK;
}

static enum status run_step(struct speed *s, struct error *e) {
    struct engine_report report;
    s->before = 0;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (size_t group = 0; group < GROUPS; group++) {
            TRY(add_group(s, layer, group, e));
            if (group == 0) {
                TRY(add(s, layer, ATTENTION, s->attention[0], ENGINE_AS_HOLD, s->before, &s->before, e));
            }
        }
    }
    return engine_advance(s->engine, &report, e);
}

static enum status run_steps(struct speed *s, struct error *e) {
    for (uint32_t t = 0; t < PROMPT; t++) {
        s->attention[t] = 10000 + 500 * (int64_t)t;
    }
    for (uint32_t step = 0; step <= DECODE; step++) {
        s->items = step ? 1 : PROMPT;
        TRY(run_step(s, e));
    }
    return OK;
}

enum status engine_speed(bool log, uint64_t *events, struct error *e) {
    struct speed s = {0};
    struct engine_resource *r = mem_alloc(RESOURCES, sizeof *r);
    if (!r) {
        return error_set(e, ERR_RUN, "engine: out of memory");
    }
    for (size_t i = 0; i < RESOURCES; i++) {
        r[i] = (struct engine_resource){.servers = i % OF_LAYER == VECTOR ? 2 : 1, .period = 1};
    }
    struct engine_options o = {.ticks_per_s = 1e12,
                               .tasks = TASKS,
                               .dependencies = 3 * TASKS,
                               .durations = LAYERS * PROMPT,
                               .log_events = log ? TASKS * (PROMPT + DECODE) : 0,
                               .log_tasks = log ? TASKS * (1 + DECODE) : 0};
    enum status status = engine_create(r, RESOURCES, &o, &s.engine, e);
    mem_free(r);
    status = status == OK ? run_steps(&s, e) : status;
    *events = status == OK ? engine_events(s.engine) : 0;
    engine_destroy(s.engine);
    return status;
}
