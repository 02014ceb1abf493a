/* Shared by the tests of the event engine. */
#ifndef MHO_TESTS_ENGINE_FIXTURE_H
#define MHO_TESTS_ENGINE_FIXTURE_H

#include "sim/engine.h"
#include "tests/suite.h"

static inline void engine_must(enum status s, const struct error *e) {
    if (s != OK) {
        fail_msg("status %d: %s", (int)s, e->message);
    }
}

static inline struct engine *make_engine(const struct engine_resource *r, size_t count, size_t tasks, size_t log) {
    struct engine *g = NULL;
    struct error e;
    struct engine_options o = {.ticks_per_s = 1e12, .tasks = tasks, .dependencies = 4 * tasks, .durations = 8 * tasks,
                               .log_events = log, .log_tasks = log};
    engine_must(engine_create(r, count, &o, &g, &e), &e);
    return g;
}

static inline uint64_t add_task(struct engine *g, struct engine_task t) {
    uint64_t id = 0;
    struct error e;
    engine_must(engine_add(g, &t, &id, &e), &e);
    assert_true(id != 0);
    return id;
}

static inline void after(struct engine *g, uint64_t task, uint64_t before, enum engine_after how) {
    struct error e;
    engine_must(engine_depend(g, task, before, how, &e), &e);
}

static inline struct engine_report advance(struct engine *g) {
    struct engine_report r;
    struct error e;
    engine_must(engine_advance(g, &r, &e), &e);
    return r;
}

/* Runs to the end, without watched tasks; returns the makespan. */
static inline int64_t run_all(struct engine *g) {
    assert_false(advance(g).finished);
    return engine_end(g);
}

#endif
