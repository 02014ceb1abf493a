/* The thread pool: every index once whatever the number of threads, workers in range, and waiting that does not stall a
 * machine with fewer processors than threads.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "tests/suite.h"

enum { MOST = 1000, WORKERS = 8 };

struct tally {
    atomic_int seen[MOST];     /* calls per index */
    atomic_int inside[WORKERS]; /* calls under way per worker */
    atomic_int calls, wrong;
    size_t longest; /* allowed length of a call */
    int threads;
};

/* What goes wrong is counted: an assertion of cmocka may leave only the thread of the test. */
static void tally_part(void *context, size_t begin, size_t end, int worker) {
    struct tally *t = context;
    atomic_fetch_add(&t->calls, 1);
    if (worker < 0 || worker >= t->threads || begin >= end || end > MOST || end - begin > t->longest) {
        atomic_fetch_add(&t->wrong, 1);
        return;
    }
    atomic_fetch_add(&t->wrong, atomic_fetch_add(&t->inside[worker], 1) != 0);
    for (size_t i = begin; i < end; i++) {
        atomic_fetch_add(&t->seen[i], 1);
    }
    atomic_fetch_sub(&t->inside[worker], 1);
}

static void check_region(size_t count, size_t grain, int threads) {
    static struct tally t;
    memset(&t, 0, sizeof t);
    int pool = threads_count(), used = threads > 0 && threads < pool ? threads : pool;
    t.threads = used;
    t.longest = used == 1 ? count : grain ? (count <= grain ? count : grain) : MOST;
    parallel_for(count, grain, threads, tally_part, &t);
    assert_int_equal(t.wrong, 0);
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(t.seen[i], i < count);
    }
    if (count == 0) {
        assert_int_equal(t.calls, 0);
    } else if (used == 1) {
        assert_int_equal(t.calls, 1);
    } else if (grain) {
        assert_int_equal(t.calls, (count - 1) / grain + 1);
    } else {
        assert_int_equal(t.calls, count < (size_t)used ? count : (size_t)used);
    }
}

static void every_index_once(void **state) {
    (void)state;
    static const size_t counts[] = {0, 1, 2, 3, 6, 7, 8, 64, 101, MOST}, grains[] = {0, 1, 3, 64, MOST, SIZE_MAX};
    static const int pools[] = {1, 2, 7}, threads[] = {-1, 0, 1, 2, 5, 7, 100};
    for (size_t p = 0; p < sizeof pools / sizeof pools[0]; p++) {
        threads_set(pools[p]);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
                for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
                    check_region(counts[c], grains[g], threads[t]);
                }
            }
        }
    }
    threads_set(0);
}

struct ranges { size_t begin[WORKERS], end[WORKERS]; };

static void note_range(void *context, size_t begin, size_t end, int worker) {
    struct ranges *r = context;
    r->begin[worker] = begin;
    r->end[worker] = end;
}

static void ranges_are_even_and_in_order(void **state) {
    (void)state;
    struct ranges r = {0};
    threads_set(7);
    parallel_for(100, 0, 0, note_range, &r);
    for (size_t w = 0; w < 7; w++) {
        assert_int_equal(r.begin[w], w ? r.end[w - 1] : 0);
        assert_in_range(r.end[w] - r.begin[w], 14, 15); /* 100 / 7 = 14.3 */
    }
    assert_int_equal(r.end[6], 100);
    threads_set(0);
}

/* Plain memory, written by one region and read by the next: the release and acquire of the states carry it. */
struct chain { int values[64]; };

static void add_one(void *context, size_t begin, size_t end, int worker) {
    struct chain *c = context;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        c->values[i] = c->values[i] + 1;
    }
}

/* 5000 regions of nothing on 7 threads: spinning at a barrier with 2 processors takes a time slice of some milliseconds
 * each, 10 s and more together; 5 s is far above what the pool needs on a machine with other load. */
static void short_regions_in_a_row(void **state) {
    (void)state;
    static struct chain c;
    memset(&c, 0, sizeof c);
    threads_set(7);
    double start_s = now_s();
    for (int i = 0; i < 5000; i++) {
        parallel_for(64, (size_t)(i % 3), 0, add_one, &c);
    }
    double passed_s = now_s() - start_s;
    for (int i = 0; i < 64; i++) {
        assert_int_equal(c.values[i], 5000);
    }
    assert_true(passed_s < 5);
    threads_set(0);
}

static void wait_some_ms(void *context, size_t begin, size_t end, int worker) {
    atomic_size_t *sum = context;
    (void)worker;
    double until_s = now_s() + 5e-3; /* longer than anybody spins or yields: the others sleep */
    while (now_s() < until_s) {
    }
    atomic_fetch_add(sum, end - begin);
}

static void sleepers_wake(void **state) {
    (void)state;
    threads_set(3);
    for (int i = 0; i < 5; i++) {
        atomic_size_t sum = 0;
        parallel_for(3, 0, 0, wait_some_ms, &sum);
        wait_some_ms(&sum, 0, 1, 0); /* the workers go to sleep meanwhile */
        assert_int_equal(sum, 4);
    }
    threads_set(0);
}

struct nest { atomic_size_t sum; atomic_int wrong; };

static void inner(void *context, size_t begin, size_t end, int worker) {
    struct nest *n = context;
    atomic_fetch_add(&n->sum, end - begin);
    atomic_fetch_add(&n->wrong, worker != 0 || begin != 0 || end != 10);
}

static void outer(void *context, size_t begin, size_t end, int worker) {
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        parallel_for(10, 1, 0, inner, context);
    }
}

static void a_region_inside_a_region_is_serial(void **state) {
    (void)state;
    static struct nest n;
    n.sum = 0;
    n.wrong = 0;
    threads_set(4);
    parallel_for(20, 1, 0, outer, &n);
    assert_int_equal(n.sum, 200);
    assert_int_equal(n.wrong, 0);
    threads_set(0);
}

static void threads_are_set(void **state) {
    (void)state;
    threads_set(3);
    assert_int_equal(threads_count(), 3);
    threads_set(THREADS_MAX + 1);
    assert_int_equal(threads_count(), THREADS_MAX);
    threads_set(0);
    assert_in_range(threads_count(), 1, THREADS_MAX);
}

static void changes_between_calls(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        threads_set(1 + i * 5 % 7);
        check_region(50, (size_t)(i % 4), 0);
    }
    threads_set(0);
}

static void regions_do_not_allocate(void **state) {
    (void)state;
    static struct chain c;
    threads_set(2);
    parallel_for(64, 0, 0, add_one, &c);
    size_t before = mem_allocations();
    parallel_for(64, 0, 0, add_one, &c);
    assert_int_equal(mem_allocations(), before);
    threads_set(0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_index_once),       cmocka_unit_test(ranges_are_even_and_in_order),
    cmocka_unit_test(short_regions_in_a_row), cmocka_unit_test(sleepers_wake),
    cmocka_unit_test(a_region_inside_a_region_is_serial), cmocka_unit_test(threads_are_set),
    cmocka_unit_test(changes_between_calls),  cmocka_unit_test(regions_do_not_allocate),
};

const struct test_suite suite_threads = {"threads", tests, sizeof tests / sizeof tests[0]};
