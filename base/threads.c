/* See threads.h. A small pool on POSIX threads: regions of some 10 us, thousands per second, on machines that may be
 * busy.
 *
 * Every worker has a place of its own with one state, and the caller of a region talks to each through it:
 *
 *   IDLE --caller--> OPEN --worker--> TAKEN --worker--> IDLE
 *                    OPEN --caller--> IDLE               the worker never came: the caller does its part
 *   IDLE --worker--> ASLEEP,  TAKEN --caller--> AWAITED  somebody went to sleep and wants to be woken
 *
 * So a region never waits for a worker that has not begun: on a machine with other load the caller does all of it alone
 * rather than wait until a worker gets a processor. The fields of the region are plain memory: a worker reads them only
 * between taking its part (acquire, after the caller's release) and IDLE (release, before the caller's acquire), and
 * the caller returns only when every place is IDLE.
 *
 * Waiting, for work or for the last worker, goes in three steps. It spins, as long as an answer is likely to be on its
 * way; then it offers the processor to others again and again (sched_yield: returns at once when nobody else wants it),
 * which keeps the answer quick while costing a busy machine nothing; then it sleeps. Measured on 2 processors,
 * SmolLM2-135M decoding, tokens/s: spinning at a barrier (gcc's OpenMP) 33 on a nearly idle machine and 1 to 2 with
 * other load; sleeping at once 21 and 12; these steps 33 to 36 and 12 to 13. 5000 SPINS, or YIELD_S of 0.1 ms, make no
 * difference beyond the noise of these measurements (some 15 %).
 */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

enum {
    SPINS = 200,       /* looks at the state with a pause in between, some 5 to 10 us */
    LOOKS = 8,         /* offers of the processor between two looks at the clock */
    CACHE_LINE = 64,   /* bytes */
};
static const double YIELD_S = 1e-3; /* then it sleeps */

enum state { IDLE, OPEN, TAKEN, ASLEEP, AWAITED, ENDING };

struct worker {
    _Alignas(CACHE_LINE) atomic_int state;
    pthread_t thread;
    pthread_mutex_t lock; /* lock and changed: only for who sleeps */
    pthread_cond_t changed;
};
static struct worker workers[THREADS_MAX]; /* [0] is the caller: unused */

static struct {
    parallel_body *body;
    void *context;
    size_t count, grain, pieces;
    int threads;
    _Alignas(CACHE_LINE) atomic_size_t next; /* piece */
} region;

static atomic_bool busy;  /* a region runs: guards `region`, `started` and `startable` */
static atomic_int wanted; /* 0: not set yet, as many as there are processors */
static int started = 1;   /* threads there are, the caller among them */
static int startable = THREADS_MAX; /* less after the system refused one */

static int processors(void) {
#ifdef __linux__
    cpu_set_t set; /* those this program may run on */
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online < THREADS_MAX ? (int)online : THREADS_MAX;
}

void threads_set(int count) {
    int threads = count > 0 ? count : processors();
    atomic_store(&wanted, threads < THREADS_MAX ? threads : THREADS_MAX);
}

int threads_count(void) {
    if (atomic_load(&wanted) == 0) {
        threads_set(0);
    }
    return atomic_load(&wanted);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static bool is(struct worker *w, int state) { return atomic_load_explicit(&w->state, memory_order_acquire) == state; }

static bool change(struct worker *w, int from, int to) {
    return atomic_compare_exchange_strong_explicit(&w->state, &from, to, memory_order_acq_rel, memory_order_acquire);
}

/* Waits while the state is `now`; sleeps as `sleeping`. */
static void wait_while(struct worker *w, int now, int sleeping) {
    for (int i = 0; i < SPINS; i++) {
        if (!is(w, now)) {
            return;
        }
        relax();
    }
    for (double end_s = now_s() + YIELD_S; now_s() < end_s;) {
        for (int i = 0; i < LOOKS; i++) {
            if (!is(w, now)) {
                return;
            }
            sched_yield();
        }
    }
    if (change(w, now, sleeping)) {
        pthread_mutex_lock(&w->lock);
        while (is(w, sleeping)) {
            pthread_cond_wait(&w->changed, &w->lock);
        }
        pthread_mutex_unlock(&w->lock);
    }
}

/* Whoever sleeps looks at the state under the lock, so the signal cannot fall between its look and its sleep. */
static void set_and_wake(struct worker *w, int to) {
    int before = atomic_exchange_explicit(&w->state, to, memory_order_acq_rel);
    if (before == ASLEEP || before == AWAITED) {
        pthread_mutex_lock(&w->lock);
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
}

/* ---- the work ---------------------------------------------------------------------------------------------------- */

static size_t range_begin(int worker) {
    size_t n = (size_t)region.threads, w = (size_t)worker, rest = region.count % n;
    return region.count / n * w + (w < rest ? w : rest);
}

static void do_part(int worker) {
    if (region.grain == 0) {
        region.body(region.context, range_begin(worker), range_begin(worker + 1), worker);
        return;
    }
    size_t piece;
    while ((piece = atomic_fetch_add_explicit(&region.next, 1, memory_order_relaxed)) < region.pieces) {
        size_t begin = piece * region.grain, left = region.count - begin;
        region.body(region.context, begin, begin + (left < region.grain ? left : region.grain), worker);
    }
}

static void *work(void *place) {
    struct worker *w = place;
    while (!is(w, ENDING)) {
        if (change(w, OPEN, TAKEN)) {
            do_part((int)(w - workers));
            set_and_wake(w, IDLE);
        }
        wait_while(w, IDLE, ASLEEP);
    }
    return NULL;
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static void end_workers(void) {
    for (int i = 1; i < started; i++) {
        set_and_wake(&workers[i], ENDING);
        pthread_join(workers[i].thread, NULL);
        pthread_cond_destroy(&workers[i].changed);
        pthread_mutex_destroy(&workers[i].lock);
    }
    started = startable = 1;
}

static bool start_worker(struct worker *w) {
    return pthread_mutex_init(&w->lock, NULL) == 0 && pthread_cond_init(&w->changed, NULL) == 0 &&
           pthread_create(&w->thread, NULL, work, w) == 0;
}

/* At least `threads` threads if the system has them. Signals stay with the caller: its reads must end at Ctrl-C. */
static void start_workers(int threads) {
    sigset_t all, before;
    if (started >= threads || started >= startable) {
        return;
    }
    if (started == 1 && atexit(end_workers) != 0) {
        startable = 1;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (started < threads && started < startable) {
        if (start_worker(&workers[started])) {
            started++;
        } else {
            startable = started;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void run_region(void) {
    if (region.threads == 1) {
        region.body(region.context, 0, region.count, 0);
        return;
    }
    for (int i = 1; i < region.threads; i++) {
        set_and_wake(&workers[i], OPEN);
    }
    do_part(0);
    for (int i = 1; i < region.threads; i++) {
        if (change(&workers[i], OPEN, IDLE)) {
            do_part(i);
        }
    }
    for (int i = 1; i < region.threads; i++) {
        while (!is(&workers[i], IDLE) && !is(&workers[i], ASLEEP)) {
            wait_while(&workers[i], TAKEN, AWAITED);
        }
    }
}

void parallel_for(size_t count, size_t grain, int threads, parallel_body *body, void *context) {
    size_t parts = grain > 0 && count > 0 ? (count - 1) / grain + 1 : count;
    int most = threads_count();
    threads = threads <= 0 || threads > most ? most : threads;
    threads = parts < (size_t)threads ? (int)parts : threads;
    if (threads > 1 && !atomic_exchange_explicit(&busy, true, memory_order_acquire)) {
        start_workers(threads);
        region.body = body;
        region.context = context;
        region.count = count;
        region.grain = grain;
        region.pieces = parts;
        region.threads = threads < started ? threads : started;
        atomic_store_explicit(&region.next, 0, memory_order_relaxed);
        run_region();
        atomic_store_explicit(&busy, false, memory_order_release);
    } else if (count > 0) {
        body(context, 0, count, 0);
    }
}
