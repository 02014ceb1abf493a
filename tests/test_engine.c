/* The event engine against closed forms, cases by hand, queueing theory, and bad use. Random graphs: test_graphs.c. */
#include "tests/engine_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "sim/sim.h"

static const struct engine_resource one = {1, 1, QUEUE_BY_READY};
enum { RESOURCES_MOST = 16 };

/* An engine of `count` equal resources, with a log. */
static struct engine *equal_resources(size_t count, struct engine_resource r) {
    struct engine_resource all[RESOURCES_MOST];
    for (size_t i = 0; i < count; i++) {
        all[i] = r;
    }
    return make_engine(all, count, 64, 4096);
}

/* A chain of `stages` equal streams, one per resource. */
static int64_t run_chain(struct engine *g, size_t stages, uint32_t items, int64_t hold, int64_t latency) {
    uint64_t before = 0;
    for (size_t s = 0; s < stages; s++) {
        uint64_t id = add_task(
            g, (struct engine_task){.key = s, .resource = s, .items = items, .hold = hold, .latency = latency});
        if (s) {
            after(g, id, before, AFTER_ITEM);
        }
        before = id;
    }
    return run_all(g);
}

/* ---- closed forms, all exact ------------------------------------------------------------------- */

/* n items through s equal stages: (s + n - 1) h. */
static void equal_stages_are_a_pipeline(void **state) {
    (void)state;
    for (uint32_t s = 1; s <= 5; s++) {
        for (uint32_t n = 1; n <= 7; n++) {
            struct engine *g = equal_resources(s, one);
            assert_int_equal(run_chain(g, s, n, 1000, ENGINE_AS_HOLD), (s + n - 1) * 1000);
            assert_int_equal(engine_events(g), s * n);
            assert_int_equal(engine_use(g, s - 1).wait, s > 1 ? 0 : n * (n - 1) / 2 * 1000);
            engine_destroy(g);
        }
    }
}

/* Units that take an item every h and give it after l: s l + (n - 1) h. */
static void pipelined_units(void **state) {
    (void)state;
    for (uint32_t s = 1; s <= 4; s++) {
        for (uint32_t n = 1; n <= 6; n++) {
            struct engine *g = equal_resources(s, one);
            assert_int_equal(run_chain(g, s, n, 30, 100), s * 100 + (n - 1) * 30);
            assert_int_equal(engine_use(g, 0).busy, n * 30);
            engine_destroy(g);
        }
    }
}

/* c servers: the k-th group of c items starts at (k - 1) h; the last result is there after (ceil(n / c) - 1) h + l. */
static void pools_of_servers(void **state) {
    (void)state;
    for (uint32_t c = 1; c <= 4; c++) {
        for (uint32_t n = 1; n <= 9; n++) {
            struct engine *g = equal_resources(1, (struct engine_resource){c, 1, QUEUE_BY_KEY});
            assert_int_equal(run_chain(g, 1, n, 30, 100), ((n + c - 1) / c - 1) * 30 + 100);
            assert_int_equal(engine_use(g, 0).longest_queue, n > c ? n - c : 0);
            engine_destroy(g);
        }
    }
}

/* n messages of h ticks over s links, each of which passes the head on after l < h: the last link starts after
 * (s - 1) l and is busy for n h without a gap; the head of the last message leaves it at s l + (n - 1) h. */
static void cut_through_chain(void **state) {
    (void)state;
    for (uint32_t s = 1; s <= 5; s++) {
        for (uint32_t n = 1; n <= 6; n++) {
            struct engine *g = equal_resources(s, one);
            assert_int_equal(run_chain(g, s, n, 70, 4), (s - 1) * 4 + n * 70);
            struct engine_event last = engine_event(g, s * n - 1);
            assert_int_equal(last.start + last.latency, s * 4 + (n - 1) * 70);
            struct engine_path p = engine_critical_path(g, NULL);
            assert_int_equal(p.total, engine_end(g));
            assert_int_equal(p.events, s - 1 + n);
            engine_destroy(g);
        }
    }
}

/* An item that waits for the result of the one before: n l, however short the hold. */
static void results_in_order(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one);
    add_task(g, (struct engine_task){.items = 5, .hold = 10, .latency = 100, .in_order_results = true});
    assert_int_equal(run_all(g), 500);
    assert_int_equal(engine_use(g, 0).wait, 0);
    assert_int_equal(engine_use(g, 0).busy, 50);
    assert_int_equal(engine_use(g, 0).idle, 450);
    engine_destroy(g);
}

/* Two servers, item 0 takes 50, items 1 and 2 take 10 each: their results wait for that of item 0, and so does who
 * reads them; the server does not. */
static void a_stream_keeps_its_order(void **state) {
    (void)state;
    static const int64_t holds[3] = {50, 10, 10};
    struct engine *g = equal_resources(2, (struct engine_resource){2, 1, QUEUE_BY_READY});
    uint64_t a = add_task(g, (struct engine_task){.items = 3, .holds = holds, .latency = ENGINE_AS_HOLD});
    uint64_t b = add_task(g, (struct engine_task){.key = 1, .resource = 1, .items = 3, .hold = 1, .latency = 1});
    after(g, b, a, AFTER_ITEM);
    assert_int_equal(run_all(g), 52);
    static const int64_t start[6] = {0, 0, 10, 50, 50, 51}, latency[6] = {50, 50, 40, 1, 1, 1};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(engine_event(g, i).start, start[i]);
        assert_int_equal(engine_event(g, i).latency, latency[i]);
    }
    assert_int_equal(engine_use(g, 0).busy, 70);
    engine_destroy(g);
}

/* A is held until 100. Item 0 of the stream passes it at once; item 1 takes it from 100 to 110; item 2 passes when item
 * 1 has started, and its result comes after that of item 1. On B, of a clock of 7, nobody passes after an edge. */
static void items_that_pass(void **state) {
    (void)state;
    static const int64_t holds[3] = {ENGINE_PASS, 10, ENGINE_PASS};
    const struct engine_resource all[3] = {one, one, {1, 7, QUEUE_BY_READY}};
    struct engine *g = make_engine(all, 3, 64, 4096);
    add_task(g, (struct engine_task){.items = 1, .hold = 100, .latency = ENGINE_AS_HOLD});
    int64_t last[2] = {-1, -1};
    uint64_t b = add_task(g, (struct engine_task){.key = 1, .items = 3, .holds = holds, .latency = ENGINE_AS_HOLD,
                                                  .last = last});
    uint64_t c = add_task(g, (struct engine_task){.key = 2, .resource = 1, .items = 3, .hold = 1, .latency = 1});
    uint64_t d = add_task(g, (struct engine_task){.key = 3, .resource = 2, .items = 3, .holds = holds, .latency = 2});
    after(g, c, b, AFTER_ITEM);
    after(g, d, c, AFTER_ITEM);
    static const int64_t start[10] = {0, 0, 100, 100, 0, 110, 111, 1, 112, 112},
                         latency[10] = {100, 0, 10, 10, 1, 1, 1, 0, 2, 2};
    assert_int_equal(run_all(g), 122);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(engine_event(g, i).start, start[i]);
        assert_int_equal(engine_event(g, i).latency, latency[i]);
    }
    struct engine_use a = engine_use(g, 0);
    assert_true(a.events == 2 && a.busy == 110 && a.idle == 12 && a.wait == 100 + 100);
    assert_true(last[0] == 100 && last[1] == 110);
    assert_int_equal(engine_critical_path(g, NULL).total, 122);
    assert_int_equal(engine_bound(g).path, 100);
    engine_destroy(g);
}

/* ---- by hand ----------------------------------------------------------------------------------- */

/* Two tokens, resources A (operations 0 and 2) and B (operation 1), and a fork; every operation takes its tokens in
 * order of their results:
 *   0 on A: 10   1 on B: 30 after 0   2 on A: 20 after 0   3 on B: 5 after 1 and 2
 *   A  0t0 0-10, 0t1 10-20 (ready with 2t0 at 10; the smaller key), 2t0 20-40, 2t1 40-60
 *   B  1t0 10-40, 1t1 40-70 (ready at 40 with 3t0; the smaller key), 3t0 70-75 (ready at 40), 3t1 75-80 */
static void a_fork_by_hand(void **state) {
    (void)state;
    static const int64_t start[8] = {0, 10, 10, 40, 20, 40, 70, 75};
    static const int64_t hold[4] = {10, 30, 20, 5};
    static const size_t resource[4] = {0, 1, 0, 1};
    struct engine *g = equal_resources(2, one);
    uint64_t id[4];
    for (size_t k = 0; k < 4; k++) {
        id[k] = add_task(g, (struct engine_task){.key = k, .tag = 100 + k, .resource = resource[k], .items = 2,
                                                 .hold = hold[k], .latency = ENGINE_AS_HOLD,
                                                 .in_order_results = true});
    }
    after(g, id[1], id[0], AFTER_ITEM);
    after(g, id[2], id[0], AFTER_ITEM);
    after(g, id[3], id[2], AFTER_ITEM);
    after(g, id[3], id[1], AFTER_ITEM);
    assert_int_equal(run_all(g), 80);
    for (size_t i = 0; i < 8; i++) {
        struct engine_event v = engine_event(g, i);
        assert_int_equal(v.start, start[i]);
        assert_int_equal(v.tag, 100 + i / 2);
        assert_int_equal(v.item, i % 2);
        assert_int_equal(v.resource, resource[i / 2]);
    }
    assert_int_equal(engine_use(g, 0).wait, 10); /* 2t0 from 10 to 20; 2t1 is ready when 2t0 has ended */
    assert_int_equal(engine_use(g, 1).wait, 30); /* 3t0 from 40 to 70 */
    assert_int_equal(engine_use(g, 1).longest_queue, 1);
    int64_t parts[2] = {0, 0};
    struct engine_path p = engine_critical_path(g, parts); /* 0t0, then all on B: 30 + 30 + 5 + 5 */
    assert_int_equal(parts[0], 10);
    assert_int_equal(parts[1], 70);
    assert_int_equal(p.events, 5);
    struct engine_bound b = engine_bound(g); /* path 0t0 1t0 1t1 3t1 = 75; work of B = 70 */
    assert_int_equal(b.path, 75);
    assert_int_equal(b.work, 70);
    assert_int_equal(b.resource, 1);
    engine_destroy(g);
}

/* Clocks of 10 and 7 ticks. A: released at 3, starts at 10, holds 12, result at 10 + 15 = 25. Its second item waits for
 * the server (22) and the edge (30). B is ready at 25 and starts at 28, then at 30 + 15 = 45 -> 49. */
static void clocks_by_hand(void **state) {
    (void)state;
    static const struct engine_resource clocked[2] = {{1, 10, QUEUE_BY_READY}, {1, 7, QUEUE_BY_READY}};
    struct engine *g = make_engine(clocked, 2, 4, 16);
    uint64_t a = add_task(g, (struct engine_task){.items = 2, .hold = 12, .latency = 15, .release = 3});
    uint64_t b = add_task(
        g, (struct engine_task){.key = 1, .resource = 1, .items = 2, .hold = 7, .latency = ENGINE_AS_HOLD});
    after(g, b, a, AFTER_ITEM);
    assert_int_equal(run_all(g), 56);
    static const int64_t start[4] = {10, 30, 28, 49};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(engine_event(g, i).start, start[i]);
    }
    int64_t parts[2] = {0, 0};
    struct engine_path p = engine_critical_path(g, parts); /* release 3, edge 7, A 12, edge 8, A 15, edge 4, B 7 */
    assert_int_equal(p.release, 3);
    assert_int_equal(p.clock, 7 + 8 + 4);
    assert_int_equal(parts[0], 12 + 15);
    assert_int_equal(parts[1], 7);
    assert_int_equal(p.total, 56);
    assert_int_equal(engine_use(g, 0).wait, 7 + 27); /* both ready at 3 */
    engine_destroy(g);
}

/* Fifty items come one per tick; the server that waits for its edge asks for it once, not once per item. */
static void an_edge_is_waited_for_once(void **state) {
    (void)state;
    struct engine *g = make_engine((struct engine_resource[]){one, {1, 100, QUEUE_BY_READY}}, 2, 8, 0);
    uint64_t a = add_task(g, (struct engine_task){.items = 50, .hold = 1, .latency = 1, .release = 1});
    uint64_t b = add_task(g, (struct engine_task){.key = 1, .resource = 1, .items = 50, .hold = 9, .latency = 9});
    after(g, b, a, AFTER_ITEM);
    assert_int_equal(run_all(g), 50 * 100 + 9);
    assert_int_equal(engine_peak(g).running, 2); /* an event of each; or an event and an edge */
    engine_destroy(g);
}

/* First item 5, second 20, third 10; who comes after the first starts at 5, after all at 35, item by item at 5, 25,
 * 35. */
static void three_kinds_of_dependency(void **state) {
    (void)state;
    static const int64_t holds[3] = {5, 20, 10};
    struct engine_resource r[2] = {one, {ENGINE_UNLIMITED, 1, QUEUE_BY_READY}};
    struct engine *g = make_engine(r, 2, 8, 64);
    uint64_t a = add_task(g, (struct engine_task){.items = 3, .holds = holds, .latency = ENGINE_AS_HOLD});
    struct engine_task t = {.key = 1, .resource = 1, .items = 3, .hold = 1, .latency = 1};
    for (int how = AFTER_ITEM; how <= AFTER_ALL; how++, t.key++) {
        after(g, add_task(g, t), a, (enum engine_after)how);
    }
    run_all(g);
    static const int64_t start[9] = {5, 25, 35, 5, 5, 5, 35, 35, 35};
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(engine_event(g, 3 + i).start, start[i]);
        assert_int_equal(engine_event(g, 3 + i).cause, CAUSE_INPUT);
        assert_int_equal(engine_event(g, 3 + i).cause_event, start[i] == 5 ? 0 : start[i] == 25 ? 1 : 2);
    }
    assert_int_equal(engine_use(g, 1).idle, -1);
    engine_destroy(g);
}

/* The same two tasks item by item and after all: the stronger one holds, in whatever order they are given. */
static void two_dependencies_on_one_task(void **state) {
    (void)state;
    for (int swapped = 0; swapped < 2; swapped++) {
        struct engine *g = equal_resources(2, one);
        uint64_t a = add_task(g, (struct engine_task){.items = 3, .hold = 10, .latency = 10});
        uint64_t b = add_task(g, (struct engine_task){.key = 1, .resource = 1, .items = 3, .hold = 1, .latency = 1});
        after(g, b, a, swapped ? AFTER_ALL : AFTER_ITEM);
        after(g, b, a, swapped ? AFTER_ITEM : AFTER_ALL);
        after(g, b, a, AFTER_FIRST);
        assert_int_equal(run_all(g), 33);
        engine_destroy(g);
    }
}

/* By ready time the one that came first goes first; by key the smaller key. Three tasks on one server, 10 each,
 * released at 0, 1 and 2 with keys 5, 9, 7. */
static void queue_rules(void **state) {
    (void)state;
    static const uint64_t key[3] = {5, 9, 7};
    static const int64_t start[2][3] = {{0, 10, 20}, {0, 20, 10}};
    for (int by_key = 0; by_key < 2; by_key++) {
        struct engine *g = equal_resources(1, (struct engine_resource){1, 1, by_key ? QUEUE_BY_KEY : QUEUE_BY_READY});
        for (size_t i = 0; i < 3; i++) {
            add_task(g, (struct engine_task){.key = key[i], .items = 1, .hold = 10, .latency = 10,
                                             .release = (int64_t)i});
        }
        run_all(g);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(engine_event(g, i).start, start[by_key][i]);
        }
        engine_destroy(g);
    }
}

/* ---- tasks that come while the engine runs ----------------------------------------------------- */

/* Two tasks end at 10 and are reported by key before anything starts at 10: what the caller adds upon the first report
 * takes the server from a task with a larger key that became ready at 10, too. */
static void reports_come_before_the_instant_goes_on(void **state) {
    (void)state;
    struct engine_resource r[2] = {{2, 1, QUEUE_BY_KEY}, {1, 1, QUEUE_BY_KEY}};
    struct engine *g = make_engine(r, 2, 8, 64);
    struct engine_task t = {.key = 8, .tag = 1, .items = 1, .hold = 10, .latency = 10, .watch = true};
    uint64_t first = add_task(g, t);
    add_task(g, (t.key = 3, t.tag = 2, t));
    uint64_t late = add_task(g, (struct engine_task){.key = 50, .tag = 3, .resource = 1, .items = 1, .hold = 7,
                                                     .latency = 7});
    after(g, late, first, AFTER_ITEM);
    struct engine_report report = advance(g);
    assert_true(report.finished);
    assert_int_equal(report.tag, 2);
    assert_int_equal(report.time, 10);
    add_task(g, (struct engine_task){.key = 20, .tag = 4, .resource = 1, .items = 1, .hold = 5, .latency = 5});
    report = advance(g);
    assert_int_equal(report.tag, 1);
    assert_int_equal(report.id, first);
    assert_int_equal(engine_now(g), 10);
    assert_false(advance(g).finished);
    struct engine_event a = engine_event(g, 2), b = engine_event(g, 3);
    assert_int_equal(b.start, 10);
    assert_int_equal(b.cause, CAUSE_INPUT);
    assert_int_equal(b.cause_event, 1); /* added upon the report of tag 2 */
    assert_int_equal(a.start, 15);
    assert_int_equal(a.cause, CAUSE_SERVER);
    assert_int_equal(a.cause_event, 3);
    assert_int_equal(engine_critical_path(g, NULL).total, 22);
    engine_destroy(g);
}

/* Reports of one time come by key, whatever the order of adding. */
static void reports_come_by_key(void **state) {
    (void)state;
    static const uint64_t key[6] = {4, 2, 6, 1, 5, 3};
    struct engine *g = make_engine((struct engine_resource[]){{ENGINE_UNLIMITED, 1, QUEUE_BY_KEY}}, 1, 8, 8);
    for (int64_t i = 0; i < 6; i++) {
        add_task(g, (struct engine_task){.key = key[i], .tag = key[i], .items = 1, .hold = 10 - i, .release = i,
                                         .latency = ENGINE_AS_HOLD, .watch = true});
    }
    for (uint64_t i = 1; i <= 6; i++) {
        assert_int_equal(advance(g).tag, i);
        assert_int_equal(engine_now(g), 10);
    }
    run_all(g);
    assert_int_equal(engine_event(g, engine_critical_path(g, NULL).last).tag, 1); /* of the last, too */
    engine_destroy(g);
}

/* Steps of a request, one after another: what is in flight stays as it is, and nothing is allocated. */
static void finished_tasks_are_used_again(void **state) {
    (void)state;
    enum { STEPS = 20000 };
    static const int64_t holds[3] = {1, 2, 3};
    struct engine *g = make_engine((struct engine_resource[]){one, {3, 1, QUEUE_BY_KEY}}, 2, 3, 0);
    mem_guard_arm();
    for (uint64_t step = 0; step < STEPS; step++) {
        uint64_t a = add_task(g, (struct engine_task){.key = 3 * step, .items = 3, .holds = holds,
                                                      .latencies = holds});
        uint64_t b = add_task(g, (struct engine_task){.key = 3 * step + 1, .tag = step, .resource = 1, .items = 3,
                                                      .hold = 4, .latency = 4, .watch = true});
        uint64_t c = add_task(g, (struct engine_task){.key = 3 * step + 2, .resource = 1, .items = 1});
        after(g, b, a, AFTER_ITEM);
        after(g, b, c, AFTER_ALL); /* has long finished when b needs no more */
        assert_int_equal(advance(g).tag, step);
    }
    assert_false(advance(g).finished);
    assert_int_equal(mem_guard_disarm(), 0);
    assert_int_equal(engine_end(g), STEPS * 10); /* 1 + 2 + 3 on one server, then 4 */
    assert_int_equal(engine_events(g), STEPS * 7);
    assert_int_equal(engine_peak(g).tasks, 3);
    assert_int_equal(engine_peak(g).dependencies, 2);
    assert_int_equal(engine_peak(g).durations, 2 * 4);
    engine_destroy(g);
}

/* Upon the report of its first item's reader, at 15, a task of 10, 20, 30, 40 is asked for more: who comes item by item
 * has the first item at once, who comes after the first starts at once, who comes after all at 100. */
static void inputs_that_are_partly_there(void **state) {
    (void)state;
    static const int64_t holds[4] = {10, 20, 30, 40};
    struct engine *g = make_engine((struct engine_resource[]){one, {ENGINE_UNLIMITED, 1, QUEUE_BY_KEY}}, 2, 8, 64);
    uint64_t a = add_task(g, (struct engine_task){.items = 4, .holds = holds, .latency = ENGINE_AS_HOLD});
    struct engine_task t = {.key = 1, .resource = 1, .items = 1, .hold = 5, .latency = 5, .watch = true};
    after(g, add_task(g, t), a, AFTER_FIRST);
    assert_int_equal(advance(g).time, 15);
    t = (struct engine_task){.key = 2, .resource = 1, .items = 4, .hold = 1, .latency = 1};
    for (int how = AFTER_ITEM; how <= AFTER_ALL; how++, t.key++) {
        after(g, add_task(g, t), a, (enum engine_after)how);
    }
    assert_int_equal(run_all(g), 101);
    static const int64_t start[12] = {15, 30, 60, 100, 15, 15, 15, 15, 100, 100, 100, 100};
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(engine_event(g, 5 + i).start, start[i]);
    }
    assert_int_equal(engine_event(g, 5).cause_event, 4); /* added upon that report */
    engine_destroy(g);
}

/* A predecessor that has finished holds nothing up, and its id stays its own when its place is used again. */
static void finished_predecessors(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one);
    struct engine_task t = {.items = 1, .hold = 10, .latency = 10, .watch = true};
    uint64_t a = add_task(g, t);
    advance(g);
    uint64_t b = add_task(g, (t.key = 1, t));
    assert_true(a != b);
    after(g, b, a, AFTER_ALL);
    advance(g);
    assert_int_equal(engine_now(g), 20);
    engine_destroy(g);
}

/* The next step starts when everything has ended, and its chain goes back through the last event of the one before,
 * even where that only held its server (hold 30, result after 5). */
static void steps_follow_each_other(void **state) {
    (void)state;
    struct engine *g = make_engine((struct engine_resource[]){{ENGINE_UNLIMITED, 1, QUEUE_BY_KEY}, one}, 2, 8, 64);
    struct error e;
    for (int step = 0; step < 3; step++) {
        add_task(g, (struct engine_task){.items = 1, .hold = 30, .latency = 5});
        add_task(g, (struct engine_task){.key = 1, .resource = 1, .items = 1, .hold = 29, .latency = 5});
        assert_int_equal(run_all(g), 30 * (step + 1));
        assert_int_equal(engine_now(g), engine_end(g));
    }
    int64_t parts[2] = {0, 0};
    struct engine_path p = engine_critical_path(g, parts);
    assert_int_equal(p.events, 3);
    assert_int_equal(parts[0], 90);
    assert_int_equal(engine_bound(g).path, 90);
    engine_must(engine_forget(g, &e), &e); /* the log begins anew at 90 */
    assert_int_equal(engine_logged(g), 0);
    assert_int_equal(engine_critical_path(g, NULL).events, 0);
    add_task(g, (struct engine_task){.resource = 1, .items = 1, .hold = 4, .latency = 4});
    assert_int_equal(run_all(g), 94);
    p = engine_critical_path(g, parts);
    assert_int_equal(p.total, 4);
    assert_int_equal(p.clock, 0);
    assert_int_equal(p.release, 0);
    assert_int_equal(parts[1], 4);
    struct engine_bound b = engine_bound(g);
    assert_int_equal(b.path, 4);
    assert_int_equal(b.work, 4);
    engine_destroy(g);
}

static void reset_forgets(void **state) {
    (void)state;
    struct engine *g = equal_resources(3, one);
    uint64_t old = add_task(g, (struct engine_task){.items = 1, .hold = 1, .latency = 1});
    for (int i = 0; i < 2; i++) {
        engine_reset(g); /* tasks in flight are dropped, too */
        assert_int_equal(engine_end(g), 0);
        assert_int_equal(engine_use(g, 0).busy, 0);
        assert_int_equal(run_chain(g, 3, 4, 10, ENGINE_AS_HOLD), 60);
        assert_int_equal(engine_logged(g), 12);
    }
    uint64_t id = add_task(g, (struct engine_task){.items = 1, .hold = 1, .latency = 1});
    assert_true(id != old);
    after(g, id, old, AFTER_ITEM);
    assert_int_equal(run_all(g), 61);
    engine_destroy(g);
}

static void seconds_and_ticks(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one); /* 1 ps */
    assert_int_equal(engine_ticks(g, 132.9e-9), 132900);
    assert_near(engine_seconds(g, 132900), 132.9e-9, 1e-22); /* rounding of a double */
    engine_destroy(g);
}

/* ---- what does not fit into the log ------------------------------------------------------------ */

/* Room for two of three tasks: the third is left out, and the chain through it says so. */
static void a_full_log_says_so(void **state) {
    (void)state;
    struct engine *g = make_engine(&one, 1, 8, 2);
    uint64_t before = 0;
    for (uint64_t k = 0; k < 4; k++) {
        uint64_t id = add_task(g, (struct engine_task){.key = k, .items = k == 1 ? 2 : 1, .hold = 10, .latency = 10,
                                                       .watch = k == 0});
        if (k) {
            after(g, id, before, AFTER_ALL);
        }
        before = id;
    }
    assert_int_equal(advance(g).time, 10);
    assert_int_equal(run_all(g), 50);
    assert_int_equal(engine_logged(g), 2); /* tasks 0 and 2 */
    assert_int_equal(engine_not_logged(g), 3);
    int64_t part = 0;
    struct engine_path p = engine_critical_path(g, &part);
    assert_int_equal(p.total, 40);
    assert_int_equal(p.not_logged, 30);
    assert_int_equal(part, 10);
    engine_destroy(g);
}

/* ---- queueing theory --------------------------------------------------------------------------- */

/* Feeds `count` arrivals of a Poisson process, in portions: the last arrival of each calls for the next. Returns the
 * mean waiting time. */
static double mean_wait(double load, uint64_t count, uint64_t seed) {
    enum { PORTION = 1024, SERVICE = 100000 }; /* ticks: the rounding of arrival times is below 1e-5 of a service */
    struct engine_resource r[2] = {one, {ENGINE_UNLIMITED, 1, QUEUE_BY_READY}};
    struct engine *g = make_engine(r, 2, 4 * PORTION, 0);
    double at = 0;
    for (uint64_t i = 0; i < count; i += PORTION) {
        for (uint64_t k = i; k < i + PORTION; k++) {
            at -= log(random_uniform(seed, random_stream(RANDOM_TEST, 2), k)) * SERVICE / load;
            add_task(g, (struct engine_task){.key = k, .items = 1, .hold = SERVICE, .latency = SERVICE,
                                             .release = (int64_t)at});
        }
        add_task(g, (struct engine_task){.key = i, .resource = 1, .items = 1, .release = (int64_t)at, .watch = true});
        assert_true(advance(g).finished);
    }
    run_all(g);
    struct engine_use u = engine_use(g, 0);
    assert_near((double)u.busy / engine_end(g), load, 0.01); /* 1 / sqrt(arrivals), several times */
    double mean = (double)u.wait / (double)u.events / SERVICE;
    engine_destroy(g);
    return mean;
}

/* M/D/1 (Pollaczek and Khinchine): mean wait = load / (2 (1 - load)) services. 3 %: several standard errors of the mean
 * (correlated over about 1 / (1 - load)^2 arrivals) at these numbers of arrivals. */
static void poisson_arrivals_at_a_fixed_service(void **state) {
    (void)state;
    static const double load[4] = {0.2, 0.5, 0.7, 0.85};
    static const uint64_t count[4] = {1 << 16, 1 << 17, 1 << 18, 1 << 20};
    for (size_t i = 0; i < 4; i++) {
        double theory = load[i] / (2 * (1 - load[i]));
        assert_near(mean_wait(load[i], count[i], 7 + i) / theory, 1, 0.03);
    }
}

/* ---- bad use ----------------------------------------------------------------------------------- */

static void assert_no_engine(struct engine_resource r, double ticks_per_s, const char *message) {
    struct engine *g = NULL;
    struct error e = {OK, ""};
    assert_int_equal(engine_create(&r, 1, &(struct engine_options){.ticks_per_s = ticks_per_s, .tasks = 1}, &g, &e),
                     ERR_USAGE);
    assert_null(g);
    assert_string_equal(e.message, message);
}

static void bad_resources_are_refused(void **state) {
    (void)state;
    assert_no_engine((struct engine_resource){0, 1, QUEUE_BY_KEY}, 1,
                     "engine: resource 0: 0 servers (allowed: 1 to 2^31, or unlimited)");
    assert_no_engine((struct engine_resource){1, 0, QUEUE_BY_KEY}, 1,
                     "engine: resource 0: clock period of 0 ticks (allowed: 1 to 2^61)");
    assert_no_engine((struct engine_resource){1, 1, (enum engine_queue)7}, 1,
                     "engine: resource 0: queue rule 7 (allowed: by ready time, by key)");
    assert_no_engine(one, 0, "engine: 0 ticks per second (allowed: above 0)");
    assert_no_engine(one, NAN, "engine: nan ticks per second (allowed: above 0)");
    struct engine *g = NULL;
    struct error e;
    assert_int_equal(engine_create(&one, 1, &(struct engine_options){.ticks_per_s = 1, .tasks = 1u << 30}, &g, &e),
                     ERR_USAGE);
    assert_int_equal(engine_create(&one, 1, &(struct engine_options){.ticks_per_s = 1, .log_events = UINT32_MAX}, &g,
                                   &e),
                     ERR_USAGE);
}

static void assert_no_task(struct engine *g, struct engine_task t, const char *message) {
    uint64_t id;
    struct error e = {OK, ""};
    assert_int_equal(engine_add(g, &t, &id, &e), ERR_USAGE);
    assert_string_equal(e.message, message);
}

static void bad_tasks_are_refused(void **state) {
    (void)state;
    static const int64_t holds[2] = {1, -3};
    struct engine *g = equal_resources(2, one);
    assert_no_task(g, (struct engine_task){.tag = 9, .resource = 2, .items = 1},
                   "engine: task with tag 9: resource 2 does not exist (allowed: below 2)");
    assert_no_task(g, (struct engine_task){.tag = 9},
                   "engine: task with tag 9: 0 items (allowed: 1 to 2^31)");
    assert_no_task(g, (struct engine_task){.items = 1, .hold = ENGINE_AS_HOLD},
                   "engine: task with tag 0: hold of item 0 is -1 ticks (allowed: 0 to 2^61)");
    assert_no_task(g, (struct engine_task){.items = 2, .holds = holds},
                   "engine: task with tag 0: hold of item 1 is -3 ticks (allowed: 0 to 2^61)");
    assert_no_task(g, (struct engine_task){.items = 1, .latency = -2},
                   "engine: task with tag 0: latency of item 0 is -2 ticks (allowed: 0 to 2^61)");
    assert_no_task(g, (struct engine_task){.items = 1, .release = ENGINE_DURATION_MOST + 1},
                   "engine: task with tag 0: release at 2305843009213693953 ticks (allowed: up to 2^61)");
    assert_int_equal(run_chain(g, 2, 2, 10, 10), 30); /* and leave nothing behind */
    engine_destroy(g);
}

static void assert_no_dependency(struct engine *g, uint64_t task, uint64_t before, const char *message) {
    struct error e = {OK, ""};
    assert_int_equal(engine_depend(g, task, before, AFTER_ITEM, &e), ERR_USAGE);
    assert_string_equal(e.message, message);
}

static void bad_dependencies_are_refused(void **state) {
    (void)state;
    static const char *const unknown = "engine: dependency on an unknown task (allowed: ids that engine_add gave)";
    struct engine *g = equal_resources(1, one);
    struct engine_task t = {.items = 2, .hold = 5, .latency = 5, .tag = 4, .watch = true};
    uint64_t a = add_task(g, t), b = add_task(g, (t.items = 3, t.watch = false, t.tag = 5, t.key = 1, t));
    assert_no_dependency(g, b, 0, unknown);
    assert_no_dependency(g, b, b + 1, unknown);
    assert_no_dependency(g, a + ((uint64_t)1 << 32), b, unknown); /* the next id of this place */
    assert_no_dependency(g, b, a,
                         "engine: task with tag 5 of 3 items comes item by item after one of 2 (allowed: equal "
                         "numbers)");
    advance(g);
    static const char *const closed =
        "engine: dependency of a task that takes part already (allowed: open tasks)";
    assert_no_dependency(g, b, a, closed); /* runs */
    assert_no_dependency(g, a, b, closed); /* has finished */
    run_all(g);
    engine_reset(g); /* does not give ids */
    assert_no_dependency(g, a + ((uint64_t)1 << 32), a, unknown);
    engine_destroy(g);
}

static void cycles_are_found(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one);
    struct engine_report report;
    struct error e;
    for (int how = AFTER_ITEM; how <= AFTER_ALL; how++) {
        uint64_t id[4];
        engine_reset(g);
        for (uint64_t k = 0; k < 4; k++) {
            id[k] = add_task(g, (struct engine_task){.key = how == AFTER_ITEM ? k : 9 - k, .tag = 10 + k, .items = 2,
                                                     .hold = 1, .latency = 1});
        }
        after(g, id[1], id[3], (enum engine_after)how); /* 0 -> 1 -> 2 -> 3 -> 1 */
        for (size_t k = 1; k < 4; k++) {
            after(g, id[k], id[k - 1], AFTER_ITEM);
        }
        assert_int_equal(engine_advance(g, &report, &e), ERR_USAGE);
        /* the smallest key of the cycle is named: that of task 1, then that of task 3 */
        char wanted[160];
        snprintf(wanted, sizeof wanted,
                 "engine: tasks wait for each other in a cycle: the task with tag %d for the one with tag %d, and so "
                 "on (allowed: dependencies without cycles)",
                 how == AFTER_ITEM ? 11 : 13, how == AFTER_ITEM ? 13 : 12);
        assert_string_equal(e.message, wanted);
    }
    engine_reset(g);
    uint64_t self = add_task(g, (struct engine_task){.tag = 3, .items = 1, .hold = 1, .latency = 1});
    after(g, self, self, AFTER_ALL);
    assert_int_equal(engine_advance(g, &report, &e), ERR_USAGE);
    engine_reset(g);
    assert_int_equal(run_chain(g, 1, 2, 10, 10), 20);
    engine_destroy(g);
}

static void time_has_an_end(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one);
    struct engine_report report;
    struct error e;
    struct engine_task t = {.items = 2, .hold = ENGINE_DURATION_MOST, .latency = ENGINE_AS_HOLD};
    add_task(g, t);
    assert_int_equal(run_all(g), (int64_t)1 << 62); /* just fits */
    engine_reset(g);
    add_task(g, (t.items = 3, t));
    assert_int_equal(engine_advance(g, &report, &e), ERR_USAGE);
    assert_string_equal(e.message, "engine: at 4611686018427387904 ticks: time or work of a resource goes beyond 2^62 "
                                   "ticks");
    engine_destroy(g);
    g = equal_resources(1, (struct engine_resource){ENGINE_UNLIMITED, 1, QUEUE_BY_READY}); /* work, not time */
    add_task(g, (t.items = 5, t));
    assert_int_equal(engine_advance(g, &report, &e), ERR_USAGE);
    engine_destroy(g);
}

static void the_log_is_emptied_only_at_rest(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one);
    struct error e;
    add_task(g, (struct engine_task){.items = 1, .hold = 9, .latency = 4, .watch = true});
    assert_int_equal(engine_forget(g, &e), ERR_USAGE);
    assert_true(advance(g).finished);
    assert_int_equal(engine_forget(g, &e), ERR_USAGE); /* finished, but its server is still held */
    run_all(g);
    engine_must(engine_forget(g, &e), &e);
    engine_destroy(g);
}

/* A chain of `TASKS` with durations of their own and many events at a time, from reserves of nothing. */
static enum status grow(struct engine **out, struct error *e) {
    enum { TASKS = 40 };
    static const int64_t holds[5] = {3, 1, 4, 1, 5};
    struct engine_resource r = {ENGINE_UNLIMITED, 1, QUEUE_BY_READY};
    TRY(engine_create(&r, 1, &(struct engine_options){.ticks_per_s = 1, .log_events = 8, .log_tasks = 8}, out, e));
    uint64_t before = 0, id;
    struct engine_report report;
    for (uint64_t k = 0; k < TASKS; k++) {
        TRY(engine_add(*out, &(struct engine_task){.key = k, .items = 5, .holds = holds, .latency = ENGINE_AS_HOLD,
                                                   .release = (int64_t)k + 1, .watch = true}, &id, e));
        if (k) {
            TRY(engine_depend(*out, id, before, AFTER_ITEM, e));
        }
        before = id;
    }
    do {
        TRY(engine_advance(*out, &report, e));
    } while (report.finished);
    return OK;
}

/* Every allocation fails once: an error, no leak, no crash; and it works when none does. */
static void memory_that_is_not_there(void **state) {
    (void)state;
    size_t n = 0;
    for (enum status s = ERR_RUN; s != OK; n++) {
        struct engine *g = NULL;
        struct error e;
        mem_fail_at(n + 1);
        s = grow(&g, &e);
        mem_fail_at(0);
        if (s == OK) {
            assert_int_equal(engine_events(g), 200);
        } else {
            assert_int_equal(s, ERR_RUN);
            assert_non_null(strstr(e.message, "engine: out of memory"));
        }
        engine_destroy(g);
    }
    assert_true(n > 30); /* creation, and doublings of six arrays */
}

/* ---- the graph of mho bench -------------------------------------------------------------------- */

/* 64 layers of 4 groups (32 tiles, buffer, codes, sum) and attention, 64 + 32 tokens. */
static void the_graph_of_bench_runs(void **state) {
    (void)state;
    uint64_t events = 0;
    struct error e;
    engine_must(engine_speed(false, &events, &e), &e);
    assert_int_equal(events, 64 * (4 * 35 + 1) * (64 + 32));
}

/* Two items of hold 3, latency 5, one after the other; the second is the one that is noted. */
static void the_last_item_is_noted_and_watched(void **state) {
    (void)state;
    struct engine *g = equal_resources(1, one);
    struct error e;
    int64_t last[2] = {-1, -1};
    uint64_t id = add_task(
        g, (struct engine_task){.key = 7, .tag = 3, .items = 2, .hold = 3, .latency = 5, .release = 10, .last = last});
    engine_must(engine_watch(g, id, &e), &e);
    struct engine_report report = advance(g);
    assert_true(report.finished && report.key == 7 && report.tag == 3 && report.id == id && report.time == 18);
    assert_true(last[0] == 13 && last[1] == 18);
    assert_int_equal(engine_watch(g, id, &e), ERR_USAGE);
    assert_int_equal(engine_watch(g, id + 1, &e), ERR_USAGE);
    engine_destroy(g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_stages_are_a_pipeline),
    cmocka_unit_test(pipelined_units),
    cmocka_unit_test(pools_of_servers),
    cmocka_unit_test(cut_through_chain),
    cmocka_unit_test(items_that_pass),
    cmocka_unit_test(results_in_order),
    cmocka_unit_test(a_stream_keeps_its_order),
    cmocka_unit_test(a_fork_by_hand),
    cmocka_unit_test(clocks_by_hand),
    cmocka_unit_test(an_edge_is_waited_for_once),
    cmocka_unit_test(three_kinds_of_dependency),
    cmocka_unit_test(two_dependencies_on_one_task),
    cmocka_unit_test(queue_rules),
    cmocka_unit_test(reports_come_before_the_instant_goes_on),
    cmocka_unit_test(reports_come_by_key),
    cmocka_unit_test(finished_tasks_are_used_again),
    cmocka_unit_test(inputs_that_are_partly_there),
    cmocka_unit_test(finished_predecessors),
    cmocka_unit_test(steps_follow_each_other),
    cmocka_unit_test(reset_forgets),
    cmocka_unit_test(seconds_and_ticks),
    cmocka_unit_test(a_full_log_says_so),
    cmocka_unit_test(poisson_arrivals_at_a_fixed_service),
    cmocka_unit_test(bad_resources_are_refused),
    cmocka_unit_test(bad_tasks_are_refused),
    cmocka_unit_test(bad_dependencies_are_refused),
    cmocka_unit_test(cycles_are_found),
    cmocka_unit_test(time_has_an_end),
    cmocka_unit_test(the_log_is_emptied_only_at_rest),
    cmocka_unit_test(memory_that_is_not_there),
    cmocka_unit_test(the_graph_of_bench_runs),
    cmocka_unit_test(the_last_item_is_noted_and_watched),
};

const struct test_suite suite_engine = {"engine", tests, sizeof tests / sizeof tests[0]};
