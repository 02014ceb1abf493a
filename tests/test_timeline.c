/* The schedule against closed forms, a case by hand, and its own rules on random graphs. */
#include "tests/suite.h"

#include "base/memory.h"
#include "base/random.h"
#include "sim/timeline.h"

static struct timeline *create(size_t resources, size_t operations, uint32_t tokens) {
    struct timeline *t = NULL;
    struct error e = {OK, ""};
    assert_int_equal(timeline_create(resources, operations, tokens, &t, &e), OK);
    return t;
}

/* An operation with the same duration for every token. */
static uint32_t add(struct timeline *t, uint32_t tokens, size_t resource, int64_t duration_ps, const uint32_t *before,
                    size_t count) {
    int64_t *durations_ps;
    uint32_t number = timeline_add(t, resource, before, count, &durations_ps);
    assert_true(number != TIMELINE_FULL);
    for (uint32_t i = 0; i < tokens; i++) {
        durations_ps[i] = duration_ps;
    }
    return number;
}

/* ---- closed forms ------------------------------------------------------------------------------ */

static void equal_stages_are_a_pipeline(void **state) {
    (void)state;
    enum { STAGES = 5, TOKENS = 7 };
    struct timeline *t = create(STAGES, STAGES, TOKENS);
    timeline_begin(t, TOKENS);
    uint32_t last = 0;
    for (uint32_t s = 0; s < STAGES; s++) {
        last = add(t, TOKENS, s, 1000, &last, s > 0);
    }
    assert_int_equal(timeline_run(t), (STAGES + TOKENS - 1) * 1000);
    assert_int_equal(timeline_events(t), STAGES * TOKENS);
    timeline_destroy(t);
}

static void slowest_stage_sets_the_pace(void **state) {
    (void)state;
    struct timeline *t = create(3, 3, 10);
    timeline_begin(t, 10);
    uint32_t a = add(t, 10, 0, 100, NULL, 0), b = add(t, 10, 1, 300, &a, 1);
    add(t, 10, 2, 50, &b, 1);
    assert_int_equal(timeline_run(t), 100 + 10 * 300 + 50);
    struct resource_view slow = timeline_resource(t, 1);
    assert_int_equal(slow.busy_ps, 3000);
    assert_int_equal(slow.wait_ps, 0); /* a token is ready only when its operation has finished the token before */
    assert_int_equal(timeline_resource(t, 0).critical_ps + slow.critical_ps + timeline_resource(t, 2).critical_ps,
                     3150);
    assert_int_equal(slow.critical_ps, 3000);
    timeline_destroy(t);
}

/* Two tokens, resources A (operations 0 and 2) and B (operation 1), and a fork:
 *   0 on A: 10   1 on B: 30 after 0   2 on A: 20 after 0   3 on B: 5 after 1 and 2
 *   A  0t0 0-10, 0t1 10-20 (ready with 2t0 at 10; its own operation is asked first), 2t0 20-40, 2t1 40-60
 *   B  1t0 10-40, 1t1 40-70 (ready at 40, and queued before 3t0), 3t0 70-75 (ready at 40), 3t1 75-80 (ready at 75) */
static void by_hand(void **state) {
    (void)state;
    static const int64_t start_ps[4][2] = {{0, 10}, {10, 40}, {20, 40}, {70, 75}};
    struct timeline *t = create(2, 4, 2);
    for (int step = 0; step < 2; step++) { /* the second step does the same, later */
        timeline_begin(t, 2);
        uint32_t zero = add(t, 2, 0, 10, NULL, 0), both[2] = {add(t, 2, 1, 30, &zero, 1), add(t, 2, 0, 20, &zero, 1)};
        add(t, 2, 1, 5, both, 2);
        int64_t from_ps = 80 * step;
        assert_int_equal(timeline_run(t), from_ps + 80);
        assert_int_equal(timeline_start_ps(t), from_ps);
        for (size_t i = 0; i < 8; i++) {
            struct event_view e = timeline_event(t, i);
            assert_int_equal(e.start_ps, from_ps + start_ps[e.operation][e.token]);
        }
    }
    struct resource_view a = timeline_resource(t, 0), b = timeline_resource(t, 1);
    assert_int_equal(a.busy_ps, 2 * 60);
    assert_int_equal(b.busy_ps, 2 * 70);
    assert_int_equal(a.wait_ps, 2 * 10);     /* 2t0 from 10 to 20; 2t1 is ready when 2t0 has ended */
    assert_int_equal(b.wait_ps, 2 * 30);     /* 3t0 from 40 to 70 */
    assert_int_equal(a.critical_ps, 2 * 10); /* 0t0, then all on B: 30 + 30 + 5 + 5 */
    assert_int_equal(b.critical_ps, 2 * 70);
    timeline_destroy(t);
}

static void reset_forgets(void **state) {
    (void)state;
    struct timeline *t = create(1, 1, 3);
    for (int i = 0; i < 2; i++) {
        timeline_begin(t, 3);
        add(t, 3, 0, 7, NULL, 0);
        assert_int_equal(timeline_run(t), 21);
        timeline_reset(t);
        assert_int_equal(timeline_end_ps(t), 0);
        assert_int_equal(timeline_resource(t, 0).busy_ps, 0);
    }
    timeline_begin(t, 0);
    assert_int_equal(timeline_run(t), 0); /* a step without tokens takes no time */
    timeline_destroy(t);
}

static void too_many_operations_are_refused(void **state) {
    (void)state;
    struct timeline *t = create(1, 2, 1);
    int64_t *durations_ps;
    timeline_begin(t, 1);
    add(t, 1, 0, 1, NULL, 0);
    add(t, 1, 0, 1, NULL, 0);
    assert_int_equal(timeline_add(t, 0, NULL, 0, &durations_ps), TIMELINE_FULL);
    assert_null(durations_ps);
    timeline_begin(t, 1);
    assert_int_equal(add(t, 1, 0, 1, NULL, 0), 0); /* the next step has room again */
    timeline_destroy(t);
    struct error e = {OK, ""};
    assert_int_equal(timeline_create(1, 1u << 20, 1u << 20, &t, &e), ERR_USAGE);
    assert_string_equal(e.message,
                        "timeline: 1048576 operations of 1048576 tokens are too many (allowed: 2^32 events a step)");
}

/* ---- random graphs ----------------------------------------------------------------------------- */

enum { OPERATIONS = 24, RESOURCES = 5, TOKENS = 4, MOST_BEFORE = 3 };

struct graph {
    uint32_t before[OPERATIONS][MOST_BEFORE];
    size_t count[OPERATIONS];
    size_t resource[OPERATIONS];
    int64_t duration_ps[OPERATIONS][TOKENS];
};

static uint32_t draw(uint64_t graph, uint64_t *index, uint32_t below) {
    return (uint32_t)(random_uniform(graph, random_stream(RANDOM_TEST, 1), (*index)++) * below);
}

static void make_graph(struct timeline *t, struct graph *g, uint64_t seed) {
    uint64_t index = 0;
    timeline_begin(t, TOKENS);
    for (uint32_t o = 0; o < OPERATIONS; o++) {
        int64_t *durations_ps;
        g->resource[o] = draw(seed, &index, RESOURCES);
        g->count[o] = o ? draw(seed, &index, MOST_BEFORE + 1) : 0;
        for (size_t i = 0; i < g->count[o]; i++) {
            g->before[o][i] = draw(seed, &index, o);
        }
        assert_int_equal(timeline_add(t, g->resource[o], g->before[o], g->count[o], &durations_ps), o);
        for (int k = 0; k < TOKENS; k++) {
            g->duration_ps[o][k] = draw(seed, &index, 6); /* often equal, sometimes 0 */
            durations_ps[k] = g->duration_ps[o][k];
        }
    }
}

/* When everything but the resource is there (rule 1). */
static int64_t ready_ps(const struct graph *g, struct event_view e[OPERATIONS][TOKENS], uint32_t o, int k) {
    int64_t ready = k ? e[o][k - 1].end_ps : 0;
    for (size_t i = 0; i < g->count[o]; i++) {
        int64_t end = e[g->before[o][i]][k].end_ps;
        ready = end > ready ? end : ready;
    }
    return ready;
}

static void assert_rules(struct timeline *t, const struct graph *g) {
    struct event_view e[OPERATIONS][TOKENS];
    int64_t longest[OPERATIONS][TOKENS], end_ps = timeline_end_ps(t), critical_ps = 0;
    assert_int_equal(timeline_step_events(t), OPERATIONS * TOKENS);
    for (size_t i = 0; i < OPERATIONS * TOKENS; i++) {
        struct event_view one = timeline_event(t, i);
        e[one.operation][one.token] = one;
    }
    for (uint32_t o = 0; o < OPERATIONS; o++) {
        for (int k = 0; k < TOKENS; k++) {
            int64_t path = k ? longest[o][k - 1] : 0;
            assert_int_equal(e[o][k].end_ps - e[o][k].start_ps, g->duration_ps[o][k]);
            assert_true(e[o][k].start_ps >= ready_ps(g, e, o, k)); /* rule 1 */
            for (size_t i = 0; i < g->count[o]; i++) {
                path = longest[g->before[o][i]][k] > path ? longest[g->before[o][i]][k] : path;
            }
            longest[o][k] = path + g->duration_ps[o][k];
            assert_true(end_ps >= longest[o][k]); /* never below the longest path */
        }
    }
    for (size_t r = 0; r < RESOURCES; r++) {
        /* Every picosecond of a resource: at most one event runs; idle only when none is ready and waits (rules 2
         * and 3). */
        int64_t busy_ps = 0, idle_ps = 0, wait_ps = 0;
        for (int64_t now = 0; now < end_ps; now++) {
            int running = 0, waiting = 0;
            for (uint32_t o = 0; o < OPERATIONS; o++) {
                for (int k = 0; k < TOKENS && g->resource[o] == r; k++) {
                    running += e[o][k].start_ps <= now && now < e[o][k].end_ps;
                    waiting += ready_ps(g, e, o, k) <= now && now < e[o][k].start_ps;
                }
            }
            assert_true(running <= 1);
            assert_true(running == 1 || waiting == 0);
            busy_ps += running;
            idle_ps += !running;
            wait_ps += waiting;
        }
        struct resource_view v = timeline_resource(t, r);
        assert_int_equal(busy_ps, v.busy_ps);
        assert_int_equal(busy_ps + idle_ps, end_ps);
        assert_int_equal(wait_ps, v.wait_ps);
        critical_ps += v.critical_ps;
    }
    assert_int_equal(critical_ps, end_ps); /* the critical path has no gap */
}

/* Rule 2: of two events of one resource, the one that was ready first starts first. */
static void assert_first_come(const struct timeline *t, const struct graph *g) {
    struct event_view e[OPERATIONS][TOKENS];
    for (size_t i = 0; i < OPERATIONS * TOKENS; i++) {
        struct event_view one = timeline_event(t, i);
        e[one.operation][one.token] = one;
    }
    for (uint32_t a = 0; a < OPERATIONS * TOKENS; a++) {
        for (uint32_t b = 0; b < OPERATIONS * TOKENS; b++) {
            uint32_t oa = a / TOKENS, ob = b / TOKENS;
            int ka = (int)(a % TOKENS), kb = (int)(b % TOKENS);
            if (g->resource[oa] == g->resource[ob] && ready_ps(g, e, oa, ka) < ready_ps(g, e, ob, kb)) {
                assert_true(e[oa][ka].start_ps <= e[ob][kb].start_ps);
            }
        }
    }
}

static void random_graphs_keep_the_rules(void **state) {
    (void)state;
    static struct graph g;
    struct timeline *t = create(RESOURCES, OPERATIONS, TOKENS);
    for (uint64_t seed = 0; seed < 200; seed++) {
        timeline_reset(t);
        make_graph(t, &g, seed);
        timeline_run(t);
        assert_rules(t, &g);
        assert_first_come(t, &g);
    }
    timeline_destroy(t);
}

static void steps_do_not_allocate(void **state) {
    (void)state;
    static struct graph g;
    struct timeline *t = create(RESOURCES, OPERATIONS, TOKENS);
    mem_guard_arm();
    make_graph(t, &g, 1);
    timeline_run(t);
    assert_int_equal(mem_guard_disarm(), 0);
    timeline_destroy(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_stages_are_a_pipeline),
    cmocka_unit_test(slowest_stage_sets_the_pace),
    cmocka_unit_test(by_hand),
    cmocka_unit_test(reset_forgets),
    cmocka_unit_test(too_many_operations_are_refused),
    cmocka_unit_test(random_graphs_keep_the_rules),
    cmocka_unit_test(steps_do_not_allocate),
};

const struct test_suite suite_timeline = {"timeline", tests, sizeof tests / sizeof tests[0]};
