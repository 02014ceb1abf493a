/* Requests on one machine (models/serving.h, streams of sim/sim.h), against theory and against the plain run.
 *
 * Queue: Poisson arrivals at one server of constant service time S wait rho S / (2 (1 - rho)) on average
 * (Pollaczek-Khinchine, M/D/1). 200,000 arrivals at rho = 0.5 leave a statistical error of about 0.5 %; tolerance 3 %.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/model.h"
#include "sim/history.h"
#include "sim/report_machine.h"
#include "sim/run.h"
#include "tests/golden.h"

static const struct activity some_activity = {.array_S_per_weight = {1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6,
                                                                     1e-6, 1e-6},
                                              .source = "this test"};

struct rig {
    struct chip *chip;
    struct model *model;
    struct placement *placement;
    struct run *run;
};

static void place(struct rig *g, const struct matrix_source *m, size_t count, uint32_t max_tokens) {
    struct error e;
    must(placement_create(g->chip, m, count, &g->placement, &e), &e);
    must(run_create_shapes(g->chip, g->placement, &some_activity, max_tokens, &g->run, &e), &e);
}

static struct rig rig_of(const char *const *sets, size_t set_count, uint32_t streams) {
    struct rig g = {0};
    struct error e;
    size_t count;
    must(chip_load("pcm256", sets, set_count, &g.chip, &e), &e);
    must(model_open_shapes(golden_path("models/llama3-tiny"), &g.model, &e), &e);
    const struct matrix_source *m = model_matrices(g.model, &count);
    place(&g, m, count, 64);
    if (streams) {
        must(run_streams(g.run, streams, &e), &e);
    }
    return g;
}

static void clear(struct rig *g) {
    run_destroy(g->run);
    placement_destroy(g->placement);
    model_close(g->model);
    chip_destroy(g->chip);
}

static struct serving_counts serve_all(struct rig *g, struct workload *w, uint32_t max_batch) {
    struct serving_counts counts;
    struct error e;
    must(serve(g->model, g->run, w, &(struct serving_limits){.max_batch = max_batch}, &counts, &e), &e);
    return counts;
}

static struct workload equal_requests(size_t count, double rate_per_s, uint32_t prompt, uint32_t tokens) {
    struct workload w;
    struct error e;
    must(workload_create(count, rate_per_s, 1, prompt, tokens, &w, &e), &e);
    return w;
}

/* ---- theory ------------------------------------------------------------------------------------ */

enum { ARRIVALS = 200000, PLACES = 128 };

static void begin_multiply(struct run *r, uint32_t stream, double at_s) {
    struct error e;
    run_stream(r, stream, at_s);
    run_begin_step(r, 1);
    must(run_multiply(r, 0, NULL, 1, NULL, &e), &e);
    run_end_step(r);
}

/* One matrix; the other units take next to no time. */
static struct rig one_matrix(void) {
    static const char *const sets[] = {"vector.lanes=1000000", "vector.latency_cycles=0", "buffer.latency_ns=0",
                                       "buffer.bandwidth_GBps=1000000"};
    const struct matrix_source m = {.name = "a", .role = MATRIX_Q, .inputs = 256, .outputs = 256};
    struct rig g = {0};
    struct error e;
    must(chip_load("pcm256", sets, 4, &g.chip, &e), &e);
    place(&g, &m, 1, 1);
    must(run_streams(g.run, PLACES, &e), &e);
    return g;
}

/* Mean time from arrival to result. */
static double mean_stay(struct rig *g, const struct workload *w) {
    double sum = 0, arrival[PLACES];
    struct run_finished f;
    struct error e;
    size_t next = 0;
    for (; next < PLACES && next < w->count; next++) {
        arrival[next] = w->requests[next].arrival_s;
        begin_multiply(g->run, (uint32_t)next, arrival[next]);
    }
    for (size_t done = 0; done < w->count; done++) {
        must(run_wait(g->run, &f, &e), &e);
        assert_false(f.idle);
        sum += f.end_s - arrival[f.stream];
        if (next < w->count) {
            assert_true(w->requests[next].arrival_s >= f.end_s); /* a place is free for everyone who arrives */
            arrival[f.stream] = w->requests[next].arrival_s;
            begin_multiply(g->run, f.stream, arrival[f.stream]);
            next++;
        }
    }
    return sum / (double)w->count;
}

static void waiting_is_that_of_a_queue(void **state) {
    (void)state;
    static const double loads[] = {0.3, 0.5};
    for (size_t i = 0; i < 2; i++) {
        struct rig alone = one_matrix(), g = one_matrix();
        struct workload one = equal_requests(1, 0, 1, 1);
        double stay_s = mean_stay(&alone, &one), service_s = run_class_load(alone.run, CLASS_TILES).busy_s;
        struct workload many = equal_requests(ARRIVALS, loads[i] / service_s, 1, 1);
        double wait_s = mean_stay(&g, &many) - stay_s;
        assert_near(wait_s / (loads[i] * service_s / (2 * (1 - loads[i]))), 1, 0.03);
        struct run_class_load tiles = run_class_load(g.run, CLASS_TILES);
        assert_near(tiles.path_work_s / (service_s * ARRIVALS), 1, 1e-9);
        workload_clear(&one);
        workload_clear(&many);
        clear(&alone);
        clear(&g);
    }
}

/* Many sequences: the busiest resource never rests, and throughput is one over its work per token. */
static void throughput_ends_at_the_busiest_resource(void **state) {
    (void)state;
    struct rig one = rig_of(NULL, 0, 1), many = rig_of(NULL, 0, 64);
    struct workload a = equal_requests(1, 0, 1, 50), b = equal_requests(64, 0, 1, 50);
    struct serving_summary alone, all;
    struct error e;
    serve_all(&one, &a, 1);
    serve_all(&many, &b, 64);
    must(serving_summary(&a, &alone, &e), &e);
    must(serving_summary(&b, &all, &e), &e);
    double busiest = 0, work_s = 0;
    for (size_t i = 0; i < run_resource_count(one.run); i++) {
        double busy_s = run_resource_at(one.run, i).busy_s;
        work_s = busy_s > work_s ? busy_s : work_s;
        double use = run_resource_at(many.run, i).utilisation;
        busiest = use > busiest ? use : busiest;
    }
    assert_true(all.tokens_per_s <= 50 / work_s * (1 + 1e-9));
    assert_true(all.tokens_per_s > 0.95 * 50 / work_s && busiest > 0.95 && busiest <= 1 + 1e-12);
    assert_true(all.tokens_per_s > 2 * alone.tokens_per_s);
    workload_clear(&a);
    workload_clear(&b);
    clear(&one);
    clear(&many);
}

/* ---- the plain run ----------------------------------------------------------------------------- */

enum { PROMPT = 20, TOKENS = 8 };

static void one_request_is_the_plain_run(void **state) {
    (void)state;
    static const char *const spilling[] = {"kv.capacity_KiB=1", "dram=hbm2"};
    for (size_t sets = 0; sets <= 2; sets += 2) {
        struct rig plain = rig_of(spilling, sets, 0), served = rig_of(spilling, sets, 3);
        struct session *s = new_session(plain.model, (struct session_options){
            .context = 64, .max_batch = 64, .run = plain.run, .shapes = true});
        struct workload w = equal_requests(1, 0, PROMPT, TOKENS);
        struct error e;
        must(session_advance(s, PROMPT, LOGITS_LAST, &e), &e);
        assert_true(serve_all(&served, &w, 1).tokens == TOKENS);
        assert_true(w.requests[0].first_s == run_ledger(plain.run).makespan_s);
        for (int i = 1; i < TOKENS; i++) {
            must(session_advance(s, 1, LOGITS_LAST, &e), &e);
        }
        struct ledger_view a = run_ledger(plain.run), b = run_ledger(served.run);
        assert_true(a.makespan_s == b.makespan_s && b.makespan_s == w.requests[0].last_s && a.total_J == b.total_J);
        for (int c = 0; c < CLASS_COUNT; c++) {
            struct class_view x = run_class(plain.run, (enum resource_class)c),
                              y = run_class(served.run, (enum resource_class)c);
            assert_true(x.busy_s == y.busy_s && x.wait_s == y.wait_s && x.events == y.events);
        }
        session_destroy(s);
        workload_clear(&w);
        clear(&plain);
        clear(&served);
    }
}

/* ---- prompts in chunks --------------------------------------------------------------------------- */

/* One request writes tokens while prompts of 64 tokens arrive. In chunks of 4 these hold its tokens up less, and take
 * longer themselves; what is done is the same. */
static void chunks_let_others_write(void **state) {
    (void)state;
    double writing_s[2], reading_s[2], adc_J[2];
    uint64_t events[2];
    for (int k = 0; k < 2; k++) {
        struct rig g = rig_of(NULL, 0, 4);
        struct request q[4] = {{.arrival_s = 0, .prompt_tokens = 1, .tokens = 200}};
        struct workload w = {q, 4};
        struct serving_counts counts;
        struct error e;
        for (int i = 1; i < 4; i++) {
            q[i] = (struct request){.arrival_s = 20e-6 * i, .prompt_tokens = 64, .tokens = 1};
        }
        struct serving_limits limits = {.max_batch = 4, .prompt_chunk = k ? 4 : 0};
        must(serve(g.model, g.run, &w, &limits, &counts, &e), &e);
        assert_true(counts.prompt_tokens == 193 && counts.tokens == 203);
        assert_true(q[3].last_s < q[0].last_s);
        writing_s[k] = (q[0].last_s - q[0].first_s) / 199;
        reading_s[k] = q[1].first_s - q[1].arrival_s;
        adc_J[k] = run_ledger(g.run).energy_J[PART_ADC];
        events[k] = run_class_load(g.run, CLASS_ATTENTION).events;
        clear(&g);
    }
    assert_true(writing_s[1] < writing_s[0]);
    assert_true(reading_s[1] > 1.5 * reading_s[0]);
    assert_true(events[0] == events[1]);
    assert_near(adc_J[1] / adc_J[0], 1, 1e-12); /* rounding of sums in another order */
}

/* Chunks as long as the prompt are none; the pieces of one request alone are the steps of a session cut like that. */
static void chunks_of_one_request(void **state) {
    (void)state;
    struct rig whole = rig_of(NULL, 0, 1), chunked = rig_of(NULL, 0, 1), plain = rig_of(NULL, 0, 0);
    struct workload a = equal_requests(1, 0, 20, 3), b = equal_requests(1, 0, 20, 3);
    struct session *s = new_session(plain.model, (struct session_options){
        .context = 64, .max_batch = 8, .run = plain.run, .shapes = true});
    struct serving_counts counts;
    struct error e;
    must(serve(whole.model, whole.run, &a, &(struct serving_limits){1, 20}, &counts, &e), &e);
    double whole_s = a.requests[0].first_s;
    serve_all(&chunked, &b, 1);
    assert_true(b.requests[0].first_s == whole_s);
    run_reset(chunked.run);
    must(serve(chunked.model, chunked.run, &b, &(struct serving_limits){1, 8}, &counts, &e), &e);
    must(session_advance(s, 20, LOGITS_LAST, &e), &e);
    assert_true(b.requests[0].first_s == run_ledger(plain.run).makespan_s && b.requests[0].first_s > whole_s);
    session_destroy(s);
    workload_clear(&a);
    workload_clear(&b);
    clear(&whole);
    clear(&chunked);
    clear(&plain);
}

/* ---- maintenance ------------------------------------------------------------------------------- */

enum { REQUESTS = 40, WRITTEN = 21, LOAD = 8 };

/* Equal requests, `in_flight` at a time, on a machine that is corrected every period_s (0: never). *done: corrections;
 * *hold_s: how long a tile is busy with one. */
static struct serving_summary serve_maintained(uint32_t in_flight, double period_s, uint64_t *done, double *hold_s) {
    char period[64];
    snprintf(period, sizeof period, "tile.correction_period_s=%.9g", period_s);
    const char *const sets[] = {"tile.correction=affine", period};
    struct rig g = rig_of(sets, 2, in_flight);
    struct workload w = equal_requests(REQUESTS, 0, 1, WRITTEN);
    struct serving_summary s;
    struct error e;
    serve_all(&g, &w, in_flight);
    must(serving_summary(&w, &s, &e), &e);
    *done = g.run->maintenance.done[MAINTAIN_CORRECTION];
    *hold_s = g.run->maintenance.cost[MAINTAIN_CORRECTION].seconds;
    workload_clear(&w);
    clear(&g);
    return s;
}

/* One request after the other, a correction in every seventh: the median is that of a machine without corrections, the
 * 95th percentile has the one that held a token up. */
static void corrections_are_the_tail(void **state) {
    (void)state;
    uint64_t none, done;
    double hold_s;
    struct serving_summary plain = serve_maintained(1, 0, &none, &hold_s);
    assert_true(none == 0);
    assert_near(plain.tpot.most / plain.tpot.p50, 1, 1e-9); /* sums of doubles */
    struct serving_summary s = serve_maintained(1, 7.3 * plain.span_s / REQUESTS, &done, &hold_s);
    assert_int_equal(done, 5); /* moments 7.3, 14.6, 21.9, 29.2 and 36.5, never in a first token */
    assert_near(s.tpot.p50 / plain.tpot.p50, 1, 1e-9);
    double late_s = (s.tpot.most - plain.tpot.p50) * (WRITTEN - 1);
    assert_true(late_s > 0 && late_s <= hold_s);
    assert_near(s.tpot.p95 / s.tpot.most, 1, 1e-9);
    assert_near((s.span_s - plain.span_s) / (5 * late_s), 1, 1e-6);
    assert_near((s.tpot.mean - plain.tpot.mean) * (WRITTEN - 1) * REQUESTS / (5 * late_s), 1, 1e-6);
}

/* Under load a correction holds up all that are in flight, each by its length at most. */
static void corrections_under_load(void **state) {
    (void)state;
    uint64_t done;
    double hold_s;
    struct serving_summary plain = serve_maintained(LOAD, 0, &done, &hold_s),
                           s = serve_maintained(LOAD, plain.span_s / 12.5, &done, &hold_s);
    assert_true(done >= 12);
    double most_s = (double)done * hold_s, added_s = (s.tpot.mean - plain.tpot.mean) * (WRITTEN - 1) * REQUESTS;
    assert_true(s.span_s > plain.span_s && s.span_s <= plain.span_s + most_s);
    assert_true(added_s > 0.5 * most_s && added_s <= LOAD * most_s);
    assert_true(s.tpot.p50 <= s.tpot.p95 && s.tpot.p95 <= s.tpot.p99 && s.tpot.p99 > plain.tpot.p99);
}

/* ---- streams ----------------------------------------------------------------------------------- */

enum { STREAMS = 5 };

static void run_in_order(const int *order, double *end_s, double *span_s) {
    struct rig g = rig_of(NULL, 0, STREAMS);
    struct session *s[STREAMS];
    struct run_finished f;
    struct error e;
    for (int i = 0; i < STREAMS; i++) {
        s[i] = new_session(g.model,
                           (struct session_options){.context = 64, .max_batch = 64, .run = g.run, .shapes = true});
    }
    for (int i = 0; i < STREAMS; i++) {
        run_stream(g.run, (uint32_t)order[i], order[i] % 2 ? 1e-6 : 0);
        must(session_advance(s[order[i]], (uint32_t)order[i] + 1, LOGITS_LAST, &e), &e);
    }
    for (int i = 0; i < STREAMS; i++) {
        must(run_wait(g.run, &f, &e), &e);
        assert_false(f.idle);
        end_s[f.stream] = f.end_s;
    }
    must(run_wait(g.run, &f, &e), &e);
    assert_true(f.idle);
    *span_s = run_ledger(g.run).makespan_s;
    for (int i = 0; i < STREAMS; i++) {
        session_destroy(s[i]);
    }
    clear(&g);
}

static void order_of_handing_over_does_not_matter(void **state) {
    (void)state;
    double a[STREAMS], b[STREAMS], span_a, span_b;
    run_in_order((const int[]){0, 1, 2, 3, 4}, a, &span_a);
    run_in_order((const int[]){3, 1, 4, 0, 2}, b, &span_b);
    assert_true(span_a == span_b);
    assert_memory_equal(a, b, sizeof a);
}

static void steps_of_a_stream_follow_each_other(void **state) {
    (void)state;
    struct rig queued = rig_of(NULL, 0, 1), waited = rig_of(NULL, 0, 1);
    struct run_finished f;
    struct error e;
    for (int k = 0; k < 2; k++) {
        struct rig *g = k ? &waited : &queued;
        struct session *s =
            new_session(g->model,
                        (struct session_options){.context = 64, .max_batch = 4, .run = g->run, .shapes = true});
        for (int i = 0; i < 3; i++) {
            run_stream(g->run, 0, 0);
            must(session_advance(s, 4, LOGITS_LAST, &e), &e);
            if (k) {
                must(run_wait(g->run, &f, &e), &e);
                assert_false(f.idle);
            }
        }
        must(run_wait(g->run, &f, &e), &e);
        assert_true(f.idle == (k == 1));
        session_destroy(s);
    }
    assert_true(run_ledger(queued.run).makespan_s == run_ledger(waited.run).makespan_s);
    clear(&queued);
    clear(&waited);
}

/* Work and waiting on the way of every step add up to its length: here requests never pause between steps. */
static void time_of_steps_adds_up(void **state) {
    (void)state;
    struct rig g = rig_of(NULL, 0, 8);
    struct workload w = equal_requests(40, 1e6, 5, 6);
    double sum_s = 0, steps_s = 0;
    struct serving_counts counts = serve_all(&g, &w, 8);
    assert_true(counts.tokens == 240 && counts.prompt_tokens == 200);
    for (size_t i = 0; i < w.count; i++) {
        const struct request *q = &w.requests[i];
        assert_true(q->arrival_s <= q->admitted_s && q->admitted_s < q->first_s && q->first_s < q->last_s);
        steps_s += q->last_s - q->admitted_s;
    }
    for (size_t c = 0; c < run_classes(); c++) {
        struct run_class_load load = run_class_load(g.run, c);
        assert_true(load.path_work_s >= 0 && load.path_wait_s >= 0);
        sum_s += load.path_work_s + load.path_wait_s;
    }
    assert_near(sum_s, steps_s, 40 * 1e-12); /* a request is released on the nearest picosecond */
    workload_clear(&w);
    clear(&g);
}

/* Requests that overlap, and pauses between them: joules of steps and of power over time are the total, the path of the
 * whole run is its makespan by class, by layer and by resource, pauses included; events know their request. A release
 * is at the nearest tick, of 1 ns with clocks. */
static void the_course_of_requests_adds_up(void **state) {
    (void)state;
    static const char *const sets[] = {"gating.clock_share=0.5", "gating.power_share=0.4", "clocks.tile_GHz=1",
                                       "power_window_us=1"};
    for (size_t k = 0; k < 2; k++) {
        struct rig g = rig_of(sets, k ? 4 : 0, 4);
        struct workload w = equal_requests(30, 2e4, 5, 6);
        struct error e;
        double steps_J = 0, layers_s = 0, resources_s = 0, classes_s = 0;
        must(run_keep_events(g.run, 3000, &e), &e);
        serve_all(&g, &w, 4);
        struct ledger_view v = run_ledger(g.run);
        struct run_path path = run_path(g.run);
        struct power_view p = run_power(g.run);
        assert_int_equal(run_step_count(g.run), 30 * 6);
        for (size_t i = 0; i < run_step_count(g.run); i++) {
            struct run_step s = run_step_at(g.run, i);
            steps_J += s.energy_J;
            assert_true(s.end_s > s.start_s && s.end_s <= v.makespan_s && s.request < 30);
            assert_true(s.tokens == (s.tokens_before ? 1 : 5));
            assert_true(s.start_s >= w.requests[s.request].arrival_s - 0.51e-9);
        }
        for (size_t row = 0; row < v.layers; row++) {
            layers_s += history_layer_s(g.run, row);
        }
        for (size_t i = 0; i < run_resource_count(g.run); i++) {
            resources_s += run_resource_at(g.run, i).critical_s;
        }
        for (int c = 0; c < CLASS_COUNT; c++) {
            classes_s += path.class_s[c];
        }
        assert_near(steps_J / v.total_J, 1, 1e-9);
        assert_near(p.over_time_J / v.total_J, 1, 1e-9);
        assert_true(p.peak_W >= p.mean_W && p.mean_W >= p.idle_W);
        assert_true(path.arrival_s > 0 && path.clock_s >= 0);
        assert_near((classes_s + path.arrival_s + path.clock_s) / v.makespan_s, 1, 1e-9);
        assert_near(layers_s / classes_s, 1, 1e-9);
        assert_near(resources_s / classes_s, 1, 1e-9);
        assert_int_equal(run_event_count(g.run), 3000);
        assert_true(run_events_left_out(g.run) > 0);
        for (size_t i = 0; i < 3000; i++) {
            struct run_event a = run_event_at(g.run, i);
            assert_true(a.request < 30 && a.start_s >= w.requests[a.request].arrival_s - 0.51e-9);
            assert_true(i == 0 || a.start_s >= run_event_at(g.run, i - 1).start_s);
        }
        workload_clear(&w);
        clear(&g);
    }
}

/* One request on a stream has the power and the path of the plain run. */
static void one_request_has_the_course_of_the_plain_run(void **state) {
    (void)state;
    struct rig plain = rig_of(NULL, 0, 0), served = rig_of(NULL, 0, 1);
    struct session *s = new_session(plain.model, (struct session_options){
        .context = 64, .max_batch = 64, .run = plain.run, .shapes = true});
    struct workload w = equal_requests(1, 0, PROMPT, TOKENS);
    struct error e;
    must(session_advance(s, PROMPT, LOGITS_LAST, &e), &e);
    for (int i = 1; i < TOKENS; i++) {
        must(session_advance(s, 1, LOGITS_LAST, &e), &e);
    }
    serve_all(&served, &w, 1);
    struct power_view a = run_power(plain.run), b = run_power(served.run);
    assert_near(b.peak_W / a.peak_W, 1, 1e-9);
    assert_true(a.window_s == b.window_s && a.peak_s == b.peak_s);
    for (int c = 0; c < CLASS_COUNT; c++) {
        assert_near(run_path(served.run).class_s[c], run_path(plain.run).class_s[c], 1e-12);
    }
    assert_int_equal(run_step_count(plain.run), run_step_count(served.run));
    for (size_t i = 0; i < run_step_count(plain.run); i++) {
        struct run_step x = run_step_at(plain.run, i), y = run_step_at(served.run, i);
        assert_true(x.start_s == y.start_s && x.end_s == y.end_s && x.tokens == y.tokens);
        assert_true(x.tokens_before == y.tokens_before && x.kv_bits == y.kv_bits);
        assert_near(y.energy_J / x.energy_J, 1, 1e-9);
    }
    session_destroy(s);
    workload_clear(&w);
    clear(&plain);
    clear(&served);
}

static void bad_streams_are_refused(void **state) {
    (void)state;
    struct rig g = rig_of(NULL, 0, 0);
    struct run_finished f;
    struct error e;
    assert_true(run_streams(g.run, 0, &e) == ERR_USAGE && strstr(e.message, "0 streams"));
    must(run_streams(g.run, 2, &e), &e);
    run_stream(g.run, 1, 0);
    run_begin_step(g.run, 1);
    run_end_step(g.run);
    assert_true(run_wait(g.run, &f, &e) == ERR_USAGE && strstr(e.message, "without operations on stream 1"));
    assert_true(run_streams(g.run, 2, &e) == ERR_USAGE);
    clear(&g);
}

/* ---- KV memory --------------------------------------------------------------------------------- */

/* A request of 32 positions needs 32 x 2 x kv_heads x head_dim x 8 bits per layer. */
static void memory_limits_who_is_in_flight(void **state) {
    (void)state;
    struct rig probe = rig_of((const char *const[]){"kv.capacity_KiB=64"}, 1, 1);
    const struct model_shape *m = model_shape(probe.model);
    struct kv_room room = run_kv_room(probe.run, 0);
    uint64_t key_bits = 2ull * m->kv_heads * m->head_dim * room.value_bits;
    uint32_t positions = 32, fit = (uint32_t)(room.bits / (positions * key_bits));
    clear(&probe);
    assert_in_range(fit, 2, 100);
    struct rig g = rig_of((const char *const[]){"kv.capacity_KiB=64"}, 1, fit + 3);
    struct workload w = equal_requests(2 * fit + 2, 0, 30, 3);
    struct serving_counts counts = serve_all(&g, &w, fit + 3);
    struct serving_summary s;
    struct error e;
    must(serving_summary(&w, &s, &e), &e);
    assert_int_equal(s.most_in_flight, fit);
    assert_true(counts.kv_most_bits == fit * positions * key_bits && counts.kv_room_bits == room.bits);
    assert_true(counts.too_large == 0 && s.queueing.p50 > 0);
    double layers = model_shape(g.model)->layers;
    assert_true(report_kv_use(g.run).bits == (double)counts.kv_most_bits * layers); /* of all in flight together */
    workload_clear(&w);
    clear(&g);
    struct rig small = rig_of((const char *const[]){"kv.capacity_KiB=1"}, 1, 4);
    w = equal_requests(3, 0, 30, 3);
    counts = serve_all(&small, &w, 4);
    must(serving_summary(&w, &s, &e), &e);
    assert_true(counts.too_large == 3 && s.most_in_flight == 1);
    workload_clear(&w);
    clear(&small);
}

/* ---- numbers ----------------------------------------------------------------------------------- */

static void percentiles_are_nearest_ranks(void **state) {
    (void)state;
    double five[] = {50, 15, 40, 20, 35}, one[] = {7}, twenty[20];
    for (int i = 0; i < 20; i++) {
        twenty[i] = 20 - i;
    }
    assert_true(percentile(five, 5, 5) == 15 && percentile(five, 5, 30) == 20 && percentile(five, 5, 40) == 20);
    assert_true(percentile(five, 5, 50) == 35 && percentile(five, 5, 100) == 50 && percentile(five, 5, 0) == 15);
    assert_true(percentile(one, 1, 50) == 7 && percentile(one, 1, 99) == 7);
    assert_true(percentile(twenty, 20, 95) == 19 && percentile(twenty, 20, 99) == 20);
    assert_true(isnan(percentile(one, 0, 50)));
}

static void summary_of_requests(void **state) {
    (void)state;
    struct request q[] = {{.arrival_s = 1, .tokens = 3, .admitted_s = 1, .first_s = 2, .last_s = 6},
                          {.arrival_s = 2, .tokens = 1, .admitted_s = 5, .first_s = 9, .last_s = 9},
                          {.arrival_s = 3, .tokens = 2, .admitted_s = 6, .first_s = 7, .last_s = 11}};
    struct workload w = {q, 3};
    struct serving_summary s;
    struct error e;
    must(serving_summary(&w, &s, &e), &e);
    assert_true(s.queueing.p50 == 3 && s.queueing.mean == 2 && s.ttft.p50 == 4 && s.ttft.most == 7);
    assert_true(s.tpot.p50 == 2 && s.tpot.p95 == 4 && s.tpot.mean == 3 && s.latency.p99 == 8);
    assert_true(s.span_s == 10 && s.tokens_per_s == 0.6 && s.requests_per_s == 0.3 && s.most_in_flight == 2);
}

static void arrivals_have_the_rate(void **state) {
    (void)state;
    struct workload w = equal_requests(20000, 50, 1, 1);
    for (size_t i = 1; i < w.count; i++) {
        assert_true(w.requests[i].arrival_s > w.requests[i - 1].arrival_s);
    }
    assert_near(w.requests[w.count - 1].arrival_s / 400, 1, 4 / sqrt(20000)); /* four standard errors */
    workload_clear(&w);
}

static void trace(const char *text, const char *complaint) {
    char path[512];
    snprintf(path, sizeof path, "%s/trace.csv", scratch_directory());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    struct workload w;
    struct error e;
    enum status s = workload_read(path, &w, &e);
    if (!complaint) {
        must(s, &e);
        assert_true(w.count == 2 && w.requests[1].arrival_s == 0.5 && w.requests[1].prompt_tokens == 7 &&
                    w.requests[1].tokens == 2);
        workload_clear(&w);
    } else if (s == OK || !strstr(e.message, complaint)) {
        fail_msg("status %d: %s (expected: %s)", s, s == OK ? "" : e.message, complaint);
    }
}

static void traces_are_checked(void **state) {
    (void)state;
    trace("arrival_s,prompt_tokens,tokens\n0.5,3,4\n0.5,7,2\n", NULL);
    trace("tokens,arrival_s,prompt_tokens\n4,0.5,3\n2,0.5,7\n", NULL);
    trace("arrival_s,prompt_tokens,tokens\n0.5,3,4\n0.25,7,2\n", "trace.csv:3:1: arrival at 0.25 s goes back in time");
    trace("arrival_s,prompt_tokens,tokens\n-1,3,4\n", "trace.csv:2:1: arrival at -1 s");
    trace("arrival_s,prompt_tokens,tokens\n1,,4\n", "trace.csv:2:2");
    trace("arrival_s,prompt_tokens,tokens\n1,3,0\n", "trace.csv:2:3: 0 tokens");
    trace("arrival_s,prompt_tokens,tokens\n1,2.5,1\n", "trace.csv:2:2: 2.5 tokens");
    trace("arrival_s,tokens\n1,2\n", "prompt_tokens");
    trace("arrival_s,prompt_tokens,tokens\n", "no rows of data");
}

/* ---- the command ------------------------------------------------------------------------------- */

static double number_at(const json_t *root, const char *a, const char *b) {
    const json_t *v = json_object_get(json_object_get(json_object_get(root, "serving"), a), b);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static void command_serves(void **state) {
    (void)state;
    json_t *one = mho_json((const char *[]){"run", "--shapes-only", "--requests", "30", "--rate", "50000",
                                            "--prompt-tokens", "8", "--tokens", "6", "--max-batch", "4", "--threads",
                                            "1", "--json", "--quiet", NULL});
    json_t *two = mho_json((const char *[]){"run", "--shapes-only", "--requests", "30", "--rate", "50000",
                                            "--prompt-tokens", "8", "--tokens", "6", "--max-batch", "4", "--threads",
                                            "2", "--json", "--quiet", NULL});
    assert_int_equal(json_array_size(json_object_get(json_object_get(one, "serving"), "by_request")), 30);
    assert_true(number_at(one, "ttft_s", "p50") <= number_at(one, "ttft_s", "p99"));
    json_object_del(one, "host");
    json_object_del(two, "host");
    assert_true(json_equal(one, two));
    json_decref(one);
    json_decref(two);
    static const struct { const char *args[8], *complaint; } bad[] = {
        {{"run", "--batch", "2", NULL}, "--batch: only with --shapes-only"},
        {{"run", "--shapes-only", "--requests", "2", NULL}, "--requests and --rate"},
        {{"run", "--shapes-only", "--batch", "2", "--arrivals", "x.csv", NULL}, "more than one"},
        {{"run", "--shapes-only", "--arrivals", "/nowhere/x.csv", NULL}, "x.csv"},
        {{"run", "--shapes-only", "--max-batch", "2", NULL}, "--max-batch"},
        {{"run", "--shapes-only", "--prompt-chunk", "2", NULL}, "--prompt-chunk"},
        {{"run", "--shapes-only", "--roofline", "--batch", "2", NULL}, "--roofline"},
        {{"run", "--roofline", NULL}, "--roofline: only with --shapes-only"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *err = NULL;
        assert_int_not_equal(run_mho(bad[i].args, 60, NULL, &err), 0);
        assert_non_null(strstr(err, bad[i].complaint));
        mem_free(err);
    }
}

/* --out: requests as tracks, each with its prompt and then its tokens, and those that waited with their waiting; steps
 * of all requests in the report. */
static void folder_of_requests(void **state) {
    (void)state;
    char path[1100], prefix[64];
    const char *folder = scratch_directory();
    json_t *report = mho_json((const char *[]){"run", "--shapes-only", "--batch", "3", "--prompt-tokens", "4",
                                               "--tokens", "5", "--max-batch", "2", "--out", folder, "--json",
                                               "--quiet", NULL});
    const json_t *steps = json_object_get(report, "steps");
    assert_int_equal(json_array_size(json_object_get(steps, "request")), 15);
    const json_t *energy = json_object_get(report, "energy"), *serving = json_object_get(report, "serving");
    double total_J = json_number_value(json_object_get(energy, "total_J"));
    double written_J = json_number_value(json_object_get(serving, "energy_per_generated_token_J"));
    assert_near(written_J, total_J / 15, 1e-12 * total_J);
    assert_near(json_number_value(json_object_get(energy, "per_token_J")), total_J / (3 * 8), 1e-12 * total_J);
    snprintf(path, sizeof path, "%s/trace.json", folder);
    json_t *trace = json_load_file(path, 0, NULL), *event;
    assert_non_null(trace);
    size_t i, slices[3] = {0}, waiting[3] = {0}, events[3] = {0};
    json_array_foreach(json_object_get(trace, "traceEvents"), i, event) {
        const char *name = json_string_value(json_object_get(event, "name"));
        json_int_t pid = json_integer_value(json_object_get(event, "pid"));
        const json_t *request = json_object_get(json_object_get(event, "args"), "request");
        if (!request) {
            continue;
        }
        size_t q = (size_t)json_integer_value(request);
        assert_in_range(q, 0, 2);
        if (pid == 1) {
            assert_int_equal(json_integer_value(json_object_get(event, "tid")), q + 1);
            bool queues = strcmp(name, "queueing") == 0;
            *(queues ? &waiting[q] : &slices[q]) += 1;
            snprintf(prefix, sizeof prefix, "token %zu", slices[q] + 3);
            assert_true(queues || strcmp(name, slices[q] == 1 ? "4 tokens" : prefix) == 0);
        } else {
            events[q]++;
        }
    }
    for (size_t q = 0; q < 3; q++) {
        assert_true(slices[q] == 5 && waiting[q] == (q == 2) && events[q] > 100 && events[q] == events[0]);
    }
    json_decref(trace);
    json_decref(report);
}

static const json_t *point_of(const json_t *root, int batch, int context) {
    const json_t *points = json_object_get(json_object_get(root, "roofline"), "points"), *one;
    size_t i;
    json_array_foreach((json_t *)points, i, one) {
        if (json_integer_value(json_object_get(one, "batch")) == batch &&
            json_integer_value(json_object_get(one, "context")) == context) {
            return one;
        }
    }
    fail_msg("no point for batch %d, context %d", batch, context);
    return NULL;
}

/* One sequence: the time of that token in a plain run. Several: never faster. Attention takes over between the points
 * where it leads and where it does not. */
static void roofline_is_what_a_run_shows(void **state) {
    (void)state;
    json_t *plane = mho_json((const char *[]){"run", "--shapes-only", "--roofline", "--max-batch", "4", "--set",
                                              "kv.bandwidth_GBps=8", "--json", "--quiet", NULL});
    json_t *run = mho_json((const char *[]){"run", "--shapes-only", "--prompt-tokens", "63", "--tokens", "2", "--set",
                                            "kv.bandwidth_GBps=8", "--json", "--quiet", NULL});
    double tpot_s = json_number_value(json_object_get(json_object_get(run, "latency"), "tpot_s"));
    double one_s = json_number_value(json_object_get(point_of(plane, 1, 64), "tpot_s"));
    assert_near(one_s / tpot_s, 1, 1e-9);
    assert_true(json_number_value(json_object_get(point_of(plane, 4, 64), "tpot_s")) >= one_s * (1 - 1e-9));
    assert_true(json_number_value(json_object_get(point_of(plane, 4, 64), "tokens_per_s")) > 1 / one_s);
    const json_t *takeover =
        json_array_get(json_object_get(json_object_get(plane, "roofline"), "attention_takes_over"), 0);
    int at = (int)json_integer_value(json_object_get(takeover, "context"));
    assert_in_range(at, 2, 512);
    for (int context = 1; context <= 512; context *= 2) {
        const json_t *parts = json_object_get(point_of(plane, 1, context), "token_s_by_resource");
        double attention_s = json_number_value(json_object_get(parts, "attention")) +
                             json_number_value(json_object_get(parts, "kv_memory"));
        assert_true((attention_s > json_number_value(json_object_get(parts, "tiles"))) == (context >= at));
    }
    json_decref(plane);
    json_decref(run);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(waiting_is_that_of_a_queue),
    cmocka_unit_test(throughput_ends_at_the_busiest_resource),
    cmocka_unit_test(one_request_is_the_plain_run),
    cmocka_unit_test(chunks_let_others_write),
    cmocka_unit_test(chunks_of_one_request),
    cmocka_unit_test(corrections_are_the_tail),
    cmocka_unit_test(corrections_under_load),
    cmocka_unit_test(order_of_handing_over_does_not_matter),
    cmocka_unit_test(steps_of_a_stream_follow_each_other),
    cmocka_unit_test(time_of_steps_adds_up),
    cmocka_unit_test(the_course_of_requests_adds_up),
    cmocka_unit_test(one_request_has_the_course_of_the_plain_run),
    cmocka_unit_test(bad_streams_are_refused),
    cmocka_unit_test(memory_limits_who_is_in_flight),
    cmocka_unit_test(percentiles_are_nearest_ranks),
    cmocka_unit_test(summary_of_requests),
    cmocka_unit_test(arrivals_have_the_rate),
    cmocka_unit_test(traces_are_checked),
    cmocka_unit_test(command_serves),
    cmocka_unit_test(folder_of_requests),
    cmocka_unit_test(roofline_is_what_a_run_shows),
};

const struct test_suite suite_serving = {"serving", tests, sizeof tests / sizeof tests[0]};
