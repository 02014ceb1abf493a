/* The event engine on random graphs, against its own contract (sim/engine.h), worked out again from the log alone:
 * when every item was ready, who should have gone first, what was idle, how long the longest path is. */
#include "tests/engine_fixture.h"

#include "base/random.h"

enum { TASKS = 24, RESOURCES = 5, ITEMS = 4, INPUTS = 3, EVENTS_MOST = TASKS * ITEMS, GRAPHS = 400 };

struct input { size_t from; enum engine_after how; };

struct node {
    struct engine_task task;
    int64_t holds[ITEMS], latencies[ITEMS]; /* of every item, even or not */
    struct input inputs[INPUTS];
    size_t input_count;
};

struct graph {
    struct engine_resource resources[RESOURCES];
    struct node nodes[TASKS];
    bool zeros; /* some durations are 0 */
};

/* What is known of an item after the run. */
struct item { struct engine_event v; int64_t ready, path, bound; size_t number; };
struct schedule { struct item at[TASKS][ITEMS]; };

/* ---- making ------------------------------------------------------------------------------------ */

struct dice { uint64_t seed, index; };

static uint32_t draw(struct dice *d, uint32_t below) {
    return (uint32_t)(random_uniform(d->seed, random_stream(RANDOM_TEST, 3), d->index++) * below);
}

static void make_resources(struct graph *g, struct dice *d) {
    static const int64_t periods[4] = {1, 1, 3, 5};
    for (size_t r = 0; r < RESOURCES; r++) {
        uint32_t servers = 1 + draw(d, 4);
        g->resources[r] = (struct engine_resource){servers == 4 ? ENGINE_UNLIMITED : servers, periods[draw(d, 4)],
                                                   draw(d, 2) ? QUEUE_BY_KEY : QUEUE_BY_READY};
    }
}

/* Durations of both kinds: even ones and arrays, latency as the hold or of its own. */
static void make_durations(struct node *n, struct dice *d, bool zeros) {
    bool own_latency = draw(d, 2), even = draw(d, 2);
    for (uint32_t i = 0; i < ITEMS; i++) {
        n->holds[i] = i && even ? n->holds[0] : draw(d, 7) + !zeros;
        int64_t latency = !own_latency ? n->holds[i] : i && even ? n->latencies[0] : draw(d, 12) + !zeros;
        n->latencies[i] = latency;
    }
    n->task.hold = n->holds[0];
    n->task.holds = even ? NULL : n->holds;
    n->task.latency = own_latency ? n->latencies[0] : ENGINE_AS_HOLD;
    n->task.latencies = even || !own_latency ? NULL : n->latencies;
}

static void make_graph(struct graph *g, uint64_t seed) {
    struct dice d = {seed, 0};
    *g = (struct graph){.zeros = draw(&d, 2)};
    make_resources(g, &d);
    for (size_t k = 0; k < TASKS; k++) {
        struct node *n = &g->nodes[k];
        n->task = (struct engine_task){.key = (uint64_t)draw(&d, 1000) << 32 | k, /* not in the order of adding */
                                       .tag = k,
                                       .resource = draw(&d, RESOURCES),
                                       .items = 1 + draw(&d, ITEMS),
                                       .release = draw(&d, 3) ? 0 : draw(&d, 30),
                                       .in_order_results = draw(&d, 3) == 0};
        make_durations(n, &d, g->zeros);
        n->input_count = k ? draw(&d, INPUTS + 1) : 0;
        for (size_t i = 0; i < n->input_count; i++) {
            size_t from = draw(&d, (uint32_t)k);
            bool equal = g->nodes[from].task.items == n->task.items;
            n->inputs[i] = (struct input){from, equal ? (enum engine_after)draw(&d, 3)
                                                      : draw(&d, 2) ? AFTER_FIRST : AFTER_ALL};
        }
    }
}

/* ---- running ----------------------------------------------------------------------------------- */

/* Adds the tasks in an order of its own (shuffle > 0), then the dependencies, and runs. */
static void run_graph(struct engine *e, const struct graph *g, uint64_t shuffle, struct schedule *s) {
    struct dice d = {shuffle, 0};
    size_t order[TASKS];
    uint64_t id[TASKS];
    for (size_t k = 0; k < TASKS; k++) {
        size_t other = shuffle ? draw(&d, (uint32_t)k + 1) : k;
        order[k] = order[other];
        order[other] = k;
    }
    for (size_t k = 0; k < TASKS; k++) {
        id[order[k]] = add_task(e, g->nodes[order[k]].task);
    }
    for (size_t k = 0; k < TASKS; k++) {
        const struct node *n = &g->nodes[order[k]];
        for (size_t i = 0; i < n->input_count; i++) {
            after(e, id[order[k]], id[n->inputs[i].from], n->inputs[i].how);
        }
    }
    run_all(e);
    for (size_t i = 0; s && i < engine_logged(e); i++) {
        struct engine_event v = engine_event(e, i);
        s->at[v.tag][v.item] = (struct item){.v = v, .number = i};
    }
}

/* ---- the contract once more -------------------------------------------------------------------- */

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t result(const struct item *i) { return i->v.start + i->v.latency; }
static int64_t edge(const struct graph *g, size_t resource, int64_t time) {
    int64_t period = g->resources[resource].period;
    return (time + period - 1) / period * period;
}

static const struct item *input_of(const struct graph *g, const struct schedule *s, struct input in, uint32_t item) {
    return &s->at[in.from][in.how == AFTER_ITEM    ? item
                           : in.how == AFTER_FIRST ? 0
                                                   : g->nodes[in.from].task.items - 1];
}

/* Ready time and longest path of every item. */
static void work_out(const struct graph *g, struct schedule *s) {
    for (size_t k = 0; k < TASKS; k++) {
        const struct node *n = &g->nodes[k];
        for (uint32_t i = 0; i < n->task.items; i++) {
            struct item *it = &s->at[k][i], *before = i ? it - 1 : NULL;
            it->ready = later(n->task.release, before ? before->ready : 0);
            int64_t path = n->task.release;
            if (before && n->task.in_order_results) {
                it->ready = later(it->ready, result(before));
                path = later(path, before->path);
            }
            for (size_t j = 0; j < n->input_count; j++) {
                const struct item *in = input_of(g, s, n->inputs[j], i);
                it->ready = later(it->ready, result(in));
                path = later(path, in->path);
            }
            path = edge(g, n->task.resource, path);
            it->path = later(path + n->latencies[i], before ? before->path : 0);
            it->bound = later(it->path, path + n->holds[i]);
        }
    }
}

/* No event before its inputs, on an edge, with the durations that were given, results in order. */
static void check_events(const struct graph *g, const struct schedule *s) {
    for (size_t k = 0; k < TASKS; k++) {
        const struct node *n = &g->nodes[k];
        for (uint32_t i = 0; i < n->task.items; i++) {
            const struct item *it = &s->at[k][i], *before = i ? it - 1 : NULL;
            assert_int_equal(it->v.resource, n->task.resource);
            assert_int_equal(it->v.key, n->task.key);
            assert_true(it->v.start >= it->ready);
            assert_int_equal(it->v.start % g->resources[n->task.resource].period, 0);
            assert_int_equal(it->v.hold, n->holds[i]);
            assert_int_equal(result(it), later(it->v.start + n->latencies[i], before ? result(before) : 0));
            assert_true(!before || it->v.start >= before->v.start);
        }
    }
}

static bool runs(const struct item *i, int64_t now) { return i->v.start <= now && now < i->v.start + i->v.hold; }

/* Every tick of every resource: never more events than servers; on an edge nobody waits beside a free server. And the
 * sums of the engine. */
static void check_resource(const struct graph *g, const struct schedule *s, const struct engine *e, size_t r) {
    struct engine_use u = engine_use(e, r);
    int64_t busy = 0, wait = 0, last = 0;
    uint64_t events = 0, queue = 0;
    for (int64_t now = 0; now <= engine_end(e); now++) {
        uint64_t running = 0, waiting = 0;
        for (size_t k = 0; k < TASKS; k++) {
            for (uint32_t i = 0; i < g->nodes[k].task.items && g->nodes[k].task.resource == r; i++) {
                const struct item *it = &s->at[k][i];
                running += runs(it, now);
                waiting += it->ready <= now && now < it->v.start;
                events += it->v.start == now;
                last = later(last, it->v.start == now ? later(result(it), now + it->v.hold) : 0);
            }
        }
        assert_true(running <= g->resources[r].servers);
        assert_true(now % g->resources[r].period || waiting == 0 || running == g->resources[r].servers);
        busy += (int64_t)running;
        wait += (int64_t)waiting;
        queue = waiting > queue ? waiting : queue;
    }
    assert_int_equal(u.busy, busy);
    assert_int_equal(u.wait, wait);
    assert_int_equal(u.events, events);
    assert_int_equal(u.last_end, last);
    assert_int_equal(u.waiting, 0);
    assert_true(u.longest_queue == queue || (g->zeros && u.longest_queue > queue)); /* rounds within an instant */
    if (g->resources[r].servers != ENGINE_UNLIMITED) {
        assert_int_equal(u.busy + u.idle, g->resources[r].servers * engine_end(e));
    }
}

/* Whether a goes before b in the queue of their resource. */
static bool precedes(const struct graph *g, const struct item *a, const struct item *b) {
    if (g->resources[a->v.resource].queue == QUEUE_BY_READY && a->ready != b->ready) {
        return a->ready < b->ready;
    }
    return a->v.key != b->v.key ? a->v.key < b->v.key : a->v.item < b->v.item;
}

/* Who starts while another waits goes before it. Within an instant of several rounds (durations of 0) who became ready
 * in a later round came too late. */
static void check_order(const struct graph *g, const struct schedule *s) {
    for (size_t a = 0; a < EVENTS_MOST; a++) {
        for (size_t b = 0; b < EVENTS_MOST; b++) {
            const struct item *one = &s->at[a / ITEMS][a % ITEMS], *two = &s->at[b / ITEMS][b % ITEMS];
            if (a % ITEMS < g->nodes[a / ITEMS].task.items && b % ITEMS < g->nodes[b / ITEMS].task.items &&
                one->v.resource == two->v.resource && one->v.start < two->v.start &&
                two->ready + g->zeros <= one->v.start) {
                assert_true(precedes(g, one, two));
            }
        }
    }
}

/* How many servers were held just before a time. */
static uint32_t held_before(const struct graph *g, const struct schedule *s, size_t r, int64_t time) {
    uint32_t held = 0;
    for (size_t k = 0; k < TASKS; k++) {
        for (uint32_t i = 0; i < g->nodes[k].task.items && g->nodes[k].task.resource == r; i++) {
            const struct engine_event *v = &s->at[k][i].v;
            held += v->start < time && time <= v->start + v->hold;
        }
    }
    return held;
}

/* The cause of every event ended when the event could start but for the edge, and is one of its inputs, or had one of
 * the servers, which were all held. */
static int64_t check_cause(const struct graph *g, const struct schedule *s, const struct engine *e,
                           const struct item *it) {
    const struct node *n = &g->nodes[it->v.tag];
    int64_t at = it->ready;
    if (it->v.cause == CAUSE_RELEASE) {
        assert_int_equal(n->task.release, at);
    } else {
        struct engine_event c = engine_event(e, it->v.cause_event);
        bool found = n->task.in_order_results && c.tag == it->v.tag && c.item + 1 == it->v.item;
        for (size_t j = 0; j < n->input_count; j++) {
            found = found || input_of(g, s, n->inputs[j], it->v.item)->number == it->v.cause_event;
        }
        if (it->v.cause == CAUSE_SERVER) {
            found = c.resource == it->v.resource && c.start + c.hold > it->ready;
            at = c.start + c.hold;
            assert_true(g->zeros || held_before(g, s, c.resource, at) == g->resources[c.resource].servers);
        } else {
            assert_int_equal(c.start + c.latency, at);
        }
        assert_true(found);
    }
    assert_int_equal(it->v.start, edge(g, it->v.resource, at));
    return at;
}

static void check_causes(const struct graph *g, const struct schedule *s, const struct engine *e) {
    for (size_t k = 0; k < TASKS; k++) {
        for (uint32_t i = 0; i < g->nodes[k].task.items; i++) {
            check_cause(g, s, e, &s->at[k][i]);
        }
    }
}

static void check_path(const struct graph *g, const struct schedule *s, const struct engine *e) {
    int64_t parts[RESOURCES] = {0}, mine[RESOURCES] = {0}, sum = 0, until = engine_end(e), clock = 0;
    struct engine_path p = engine_critical_path(e, parts);
    for (size_t i = p.last; i != ENGINE_NO_EVENT;) {
        struct engine_event v = engine_event(e, i);
        int64_t at = check_cause(g, s, e, &s->at[v.tag][v.item]);
        mine[v.resource] += until - v.start;
        clock += v.start - at;
        until = at;
        i = v.cause_event;
    }
    for (size_t r = 0; r < RESOURCES; r++) {
        assert_int_equal(parts[r], mine[r]);
        sum += parts[r];
    }
    assert_int_equal(p.total, engine_end(e));
    assert_int_equal(p.clock, clock);
    assert_int_equal(p.release, until);
    assert_int_equal(p.not_logged, 0);
    assert_int_equal(sum + p.clock + p.release, p.total);
}

static void check_bounds(const struct graph *g, const struct schedule *s, const struct engine *e) {
    struct engine_bound b = engine_bound(e);
    int64_t path = 0, work = 0;
    for (size_t k = 0; k < TASKS; k++) {
        for (uint32_t i = 0; i < g->nodes[k].task.items; i++) {
            path = later(path, s->at[k][i].bound);
        }
    }
    for (size_t r = 0; r < RESOURCES; r++) {
        uint32_t servers = g->resources[r].servers;
        work = later(work, servers == ENGINE_UNLIMITED ? 0 : (engine_use(e, r).busy + servers - 1) / servers);
    }
    assert_int_equal(b.path, path);
    assert_int_equal(b.work, work);
    assert_true(engine_end(e) >= b.path);
    assert_true(engine_end(e) >= b.work);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void random_graphs_keep_the_contract(void **state) {
    (void)state;
    static struct graph g;
    static struct schedule s;
    uint64_t servers = 0, inputs = 0;
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        make_graph(&g, seed);
        struct engine *e = make_engine(g.resources, RESOURCES, TASKS, EVENTS_MOST);
        run_graph(e, &g, 0, &s);
        work_out(&g, &s);
        check_events(&g, &s);
        check_order(&g, &s);
        check_causes(&g, &s, e);
        check_path(&g, &s, e);
        check_bounds(&g, &s, e);
        for (size_t r = 0; r < RESOURCES; r++) {
            check_resource(&g, &s, e, r);
        }
        for (size_t i = 0; i < engine_logged(e); i++) {
            servers += engine_event(e, i).cause == CAUSE_SERVER;
            inputs += engine_event(e, i).cause == CAUSE_INPUT;
        }
        engine_destroy(e);
    }
    assert_true(servers > 20 * GRAPHS / 10 && inputs > 20 * GRAPHS / 10); /* the graphs are what they are for */
}

static void assert_same(const struct engine *a, const struct engine *b) {
    assert_int_equal(engine_end(a), engine_end(b));
    assert_int_equal(engine_events(a), engine_events(b));
    for (size_t r = 0; r < RESOURCES; r++) {
        struct engine_use one = engine_use(a, r), two = engine_use(b, r);
        assert_memory_equal(&one, &two, sizeof one);
    }
}

static void assert_same_schedule(const struct graph *g, const struct engine *a, const struct schedule *one,
                                 const struct engine *b, const struct schedule *two) {
    for (size_t k = 0; k < TASKS; k++) {
        for (uint32_t i = 0; i < g->nodes[k].task.items; i++) {
            const struct engine_event *v = &one->at[k][i].v, *w = &two->at[k][i].v;
            assert_int_equal(v->start, w->start);
            assert_int_equal(v->latency, w->latency);
            assert_int_equal(v->cause, w->cause);
            if (v->cause_event != ENGINE_NO_EVENT) {
                struct engine_event c = engine_event(a, v->cause_event), d = engine_event(b, w->cause_event);
                assert_int_equal(c.tag, d.tag);
                assert_int_equal(c.item, d.item);
            }
        }
    }
    struct engine_event last = engine_event(a, engine_critical_path(a, NULL).last),
                        other = engine_event(b, engine_critical_path(b, NULL).last);
    assert_int_equal(last.tag, other.tag);
    assert_int_equal(last.item, other.item);
}

/* Neither the order in which tasks are added, nor that of their dependencies, nor the log changes the schedule; causes
 * are the same, too. */
static void order_of_adding_does_not_matter(void **state) {
    (void)state;
    static struct graph g;
    static struct schedule s, t;
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        make_graph(&g, seed);
        struct engine *plain = make_engine(g.resources, RESOURCES, TASKS, EVENTS_MOST);
        struct engine *without_log = make_engine(g.resources, RESOURCES, 0, 0); /* and with arrays that grow */
        struct engine *shuffled = make_engine(g.resources, RESOURCES, TASKS, EVENTS_MOST);
        run_graph(plain, &g, 0, &s);
        run_graph(without_log, &g, 0, NULL);
        assert_same(plain, without_log);
        for (uint64_t shuffle = 1; shuffle <= 3; shuffle++) {
            engine_reset(shuffled);
            run_graph(shuffled, &g, shuffle, &t);
            assert_same(plain, shuffled);
            assert_same_schedule(&g, plain, &s, shuffled, &t);
        }
        engine_destroy(plain);
        engine_destroy(without_log);
        engine_destroy(shuffled);
    }
}

/* ---- the path without a log -------------------------------------------------------------------- */

/* Durations so long and so different that hardly two things happen at one time; with odd seeds, where every task has
 * one item, none do. */
static void make_unequal(struct graph *g, uint64_t seed) {
    struct dice d = {seed, 1000};
    for (size_t k = 0; k < TASKS; k++) {
        struct node *n = &g->nodes[k];
        for (uint32_t i = 0; i < ITEMS; i++) {
            n->holds[i] = 1 + draw(&d, 1000000000);
            n->latencies[i] = 1 + draw(&d, 1000000000);
        }
        n->task.holds = n->holds;
        n->task.latencies = draw(&d, 2) ? n->latencies : NULL;
        n->task.latency = ENGINE_AS_HOLD;
        n->task.release = n->task.release ? 1 + draw(&d, 1000000000) : 0;
        n->task.group = draw(&d, 3);
        n->task.items = seed % 2 ? 1 : n->task.items;
    }
}

static void the_whole_path_is_that_of_the_log(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        struct graph g;
        make_graph(&g, seed);
        make_unequal(&g, seed);
        struct engine *log = make_engine(g.resources, RESOURCES, TASKS, EVENTS_MOST), *whole;
        struct error e;
        engine_must(engine_create(g.resources, RESOURCES,
                                  &(struct engine_options){.ticks_per_s = 1, .path_groups = 3}, &whole, &e), &e);
        int64_t parts[RESOURCES] = {0}, of[RESOURCES] = {0}, group[3] = {0};
        run_graph(log, &g, 0, NULL);
        run_graph(whole, &g, seed, NULL);
        struct engine_path a = engine_critical_path(log, parts), b = engine_whole_path(whole, of, group);
        assert_true(a.total == b.total);
        if (seed % 2) { /* several results at one time: any of them may be the cause */
            assert_true(a.clock == b.clock && a.release == b.release);
            assert_memory_equal(parts, of, sizeof parts);
        }
        assert_true(of[0] + of[1] + of[2] + of[3] + of[4] + b.clock + b.release == b.total);
        assert_true(group[0] + group[1] + group[2] + b.clock + b.release == b.total);
        engine_destroy(log);
        engine_destroy(whole);
    }
}

/* Two chains that never meet again after their common beginning, and one that always waits for the first: the memory
 * is that of what is in flight, the sums are those of the longest. */
static void a_long_path_takes_no_memory(void **state) {
    (void)state;
    enum { STEPS = 400000, CHAINS = 3 };
    static const int64_t hold[CHAINS] = {7, 5, 3};
    static const struct engine_resource resources[] = {{1, 1, QUEUE_BY_READY}, {1, 1, QUEUE_BY_READY}};
    struct engine *g;
    struct error e;
    engine_must(engine_create(resources, 2, &(struct engine_options){.ticks_per_s = 1, .path_groups = CHAINS}, &g, &e),
                &e);
    struct engine_task first = {.key = CHAINS, .items = 1, .hold = 10, .latency = ENGINE_AS_HOLD, .release = 4};
    uint64_t before = add_task(g, first);
    for (uint32_t c = 0; c < CHAINS; c++) {
        struct engine_task t = {.key = c, .tag = c, .group = c, .resource = c == 1, .items = 1, .hold = hold[c],
                                .latency = ENGINE_AS_HOLD, .watch = true};
        after(g, add_task(g, t), before, AFTER_ALL);
    }
    for (int i = 0; i < STEPS; i++) {
        struct engine_report r = advance(g);
        assert_true(r.finished);
        uint32_t c = (uint32_t)r.tag;
        add_task(g, (struct engine_task){.key = c, .tag = c, .group = c, .resource = c == 1, .items = 1,
                                         .hold = hold[c], .latency = ENGINE_AS_HOLD, .watch = true});
    }
    while (advance(g).finished) {
    }
    int64_t of[2] = {0}, group[CHAINS] = {0};
    struct engine_path p = engine_whole_path(g, of, group);
    assert_true(p.total == engine_end(g) && p.release == 4 && p.clock == 0);
    assert_true(of[0] + of[1] + p.release == p.total);
    assert_true(engine_peak(g).nodes <= 70000);
    engine_destroy(g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_whole_path_is_that_of_the_log),
    cmocka_unit_test(a_long_path_takes_no_memory),
    cmocka_unit_test(random_graphs_keep_the_contract),
    cmocka_unit_test(order_of_adding_does_not_matter),
};

const struct test_suite suite_graphs = {"graphs", tests, sizeof tests / sizeof tests[0]};
