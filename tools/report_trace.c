/* trace.json: the events of a run in the trace event format (Chrome, Perfetto).
 *
 *   process "requests"  one track per request: waiting for admission, then its steps; flows lead from step to step
 *   process "layers"    one track per layer: from its first to its last event in a step; flows lead through a step
 *   process "chip N"    one track per resource: the tiles of a matrix, the units, the memories, the links; of several
 *                       servers (copies, a pool) as many as were at work at a time; under the tiles of a matrix their
 *                       ADCs: from the first conversion of a multiply to the end of the last
 *   process "set-up"    programming, refresh and calibration one after the other, drawn from 0; args say when they were
 *
 * An event of a resource lasts as long as it holds it. Of a long run only the first events are there: otherData says
 * how many are not.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tools/report.h"

enum { PID_REQUESTS = 1, PID_LAYERS = 2, PID_SETUP = 3, PID_CHIPS = 10 };

struct span {
    double start_s, end_s; /* end < start: empty */
};

/* An event by resource and time. */
struct place { size_t resource, event; double start_s, end_s; };

/* The steps of a request that have events. */
struct visit { uint64_t first, last; bool any; };

struct trace {
    FILE *out;
    const struct run *run;
    const json_t *root;
    size_t *order;       /* [events] step by step, in a step by time */
    struct visit *visits; /* [requests] */
    uint64_t requests;   /* numbers below this have events */
    size_t rows;         /* layers + 1 */
    struct span *layer;  /* [rows] of the step at hand */
    uint32_t *lane;      /* [events] the server of the resource that it was on */
    uint32_t *lanes;     /* [resources] that were at work; 0: no event */
    size_t *track;       /* [resources] number of the first track */
    bool any;
};

static void begin(struct trace *t) {
    fputs(t->any ? ",\n" : "\n", t->out);
    t->any = true;
}

static void put_string(FILE *out, const char *text) {
    json_t *s = json_string(text);
    json_dumpf(s, out, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    json_decref(s);
}

/* ---- names of tracks ----------------------------------------------------------------------------------- */

static void name_process(struct trace *t, uint64_t pid, const char *name, uint64_t number, bool numbered) {
    char text[64];
    snprintf(text, sizeof text, numbered ? "%s %" PRIu64 : "%s", name, number);
    begin(t);
    fprintf(t->out, "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%" PRIu64 ",\"tid\":0,\"args\":{\"name\":", pid);
    put_string(t->out, text);
    fputs("}}", t->out);
    begin(t);
    fprintf(t->out, "{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":%" PRIu64 ",\"tid\":0,", pid);
    fprintf(t->out, "\"args\":{\"sort_index\":%" PRIu64 "}}", pid);
}

static void name_track(struct trace *t, uint64_t pid, size_t tid, const char *name, const char *of) {
    char text[160];
    snprintf(text, sizeof text, "%s%s%s", name, of[0] ? " " : "", of);
    begin(t);
    fprintf(t->out, "{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%" PRIu64 ",\"tid\":%zu,\"args\":{\"name\":", pid,
            tid);
    put_string(t->out, text);
    fputs("}}", t->out);
    begin(t);
    fprintf(t->out, "{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":%" PRIu64 ",\"tid\":%zu,", pid, tid);
    fprintf(t->out, "\"args\":{\"sort_index\":%zu}}", tid);
}

/* Two for every server of tiles: the tiles, their ADCs. */
static size_t tracks_of(const struct run_resource *r) { return r->matrix[0] ? 2 : 1; }

static size_t track_of(const struct trace *t, size_t resource, uint32_t lane) {
    struct run_resource r = run_resource_at(t->run, resource);
    return t->track[resource] + lane * tracks_of(&r);
}

static void name_resources(struct trace *t) {
    uint64_t last_chip = UINT64_MAX;
    for (size_t i = 0; i < run_resource_count(t->run); i++) {
        struct run_resource r = run_resource_at(t->run, i);
        if (t->lanes[i] && r.chip != last_chip) {
            name_process(t, PID_CHIPS + r.chip, "chip", r.chip, true);
            last_chip = r.chip;
        }
        for (uint32_t lane = 0; lane < t->lanes[i]; lane++) {
            char of[128], number[16] = "";
            if (r.servers > 1) {
                snprintf(number, sizeof number, "(%" PRIu32 ")", lane + 1);
            }
            snprintf(of, sizeof of, "%.100s%s%s", r.matrix, r.matrix[0] && number[0] ? " " : "", number);
            name_track(t, PID_CHIPS + r.chip, track_of(t, i, lane), run_class_name(r.class), of);
            if (r.matrix[0]) {
                name_track(t, PID_CHIPS + r.chip, track_of(t, i, lane) + 1, "ADCs", of);
            }
        }
    }
}

static void name_layers(struct trace *t) {
    name_process(t, PID_REQUESTS, "requests", 0, false);
    for (uint64_t q = 0; q < t->requests; q++) {
        char name[32];
        snprintf(name, sizeof name, "request %" PRIu64, q);
        if (t->visits[q].any) {
            name_track(t, PID_REQUESTS, (size_t)q + 1, name, "");
        }
    }
    name_process(t, PID_LAYERS, "layers", 0, false);
    for (size_t row = 0; row < t->rows; row++) {
        char name[32];
        snprintf(name, sizeof name, "layer %zu", row);
        name_track(t, PID_LAYERS, row + 1, row + 1 == t->rows ? "outside the layers" : name, "");
    }
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void put_slice(struct trace *t, uint64_t pid, size_t tid, const char *name, struct span s) {
    begin(t);
    fprintf(t->out,
            "{\"ph\":\"X\",\"name\":\"%s\",\"pid\":%" PRIu64 ",\"tid\":%zu,\"ts\":%.6f,\"dur\":%.6f", name, pid, tid,
            1e6 * s.start_s, 1e6 * (s.end_s - s.start_s));
}

/* A point of a flow in the slice that begins at start_s. */
static void put_flow(struct trace *t, const char *phase, const char *name, uint64_t id, uint64_t pid, size_t tid,
                     double start_s) {
    begin(t);
    fprintf(t->out,
            "{\"ph\":\"%s\",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%" PRIu64 ",\"pid\":%" PRIu64
            ",\"tid\":%zu,\"ts\":%.6f%s}",
            phase, name, id, pid, tid, 1e6 * start_s, phase[0] == 'f' ? ",\"bp\":\"e\"" : "");
}

static void put_event(struct trace *t, const struct run_event *v, uint32_t lane) {
    struct run_resource r = run_resource_at(t->run, v->resource);
    size_t track = track_of(t, v->resource, lane);
    put_slice(t, PID_CHIPS + r.chip, track, v->operation, (struct span){v->start_s, v->start_s + v->hold_s});
    fprintf(t->out, ",\"args\":{\"layer\":%d,\"step\":%" PRIu64 ",\"token\":%" PRIu32, v->layer, v->step, v->token);
    fprintf(t->out, ",\"request\":%" PRIu64 ",\"latency_us\":%.6f}}", v->request, 1e6 * v->latency_s);
    if (r.matrix[0] && !v->maintenance) {
        put_slice(t, PID_CHIPS + r.chip, track + 1, "convert",
                  (struct span){v->convert_start_s, v->convert_start_s + v->convert_s});
        fprintf(t->out, ",\"args\":{\"layer\":%d,\"step\":%" PRIu64 ",\"token\":%" PRIu32 "}}", v->layer, v->step,
                v->token);
    }
}

static void widen(struct span *s, double start_s, double end_s) {
    bool empty = s->end_s < s->start_s;
    s->start_s = empty || start_s < s->start_s ? start_s : s->start_s;
    s->end_s = empty || end_s > s->end_s ? end_s : s->end_s;
}

/* The note of a step; of a very long run only some have one. They stand in the order of their ends. */
static bool find_step(const struct run *r, uint64_t number, struct run_step *out) {
    for (size_t i = 0; i < run_step_count(r); i++) {
        *out = run_step_at(r, i);
        if (out->number == number) {
            return true;
        }
    }
    return false;
}

/* The step itself, its layers, and the flow through them. */
static void put_step(struct trace *t, uint64_t number, uint64_t request, struct span whole) {
    struct run_step step;
    char name[64], name_of_flow[32];
    bool noted = find_step(t->run, number, &step);
    if (noted) {
        whole = (struct span){step.start_s, step.end_s};
        if (step.tokens > 1) {
            snprintf(name, sizeof name, "%" PRIu32 " tokens", step.tokens);
        } else {
            snprintf(name, sizeof name, "token %" PRIu64, step.tokens_before + 1);
        }
    } else {
        snprintf(name, sizeof name, "step %" PRIu64, number);
    }
    if (!noted && whole.end_s < whole.start_s) {
        return; /* of this step, only maintenance was kept */
    }
    size_t track = (size_t)request + 1;
    const struct visit *visit = &t->visits[request];
    put_slice(t, PID_REQUESTS, track, name, whole);
    fprintf(t->out, ",\"args\":{\"step\":%" PRIu64 ",\"request\":%" PRIu64 "}}", number, request);
    snprintf(name_of_flow, sizeof name_of_flow, "request %" PRIu64, request);
    if (visit->first != visit->last) {
        put_flow(t, number == visit->first ? "s" : number == visit->last ? "f" : "t", name_of_flow, 2 * request,
                 PID_REQUESTS, track, whole.start_s);
    }
    put_flow(t, "s", "layers", 2 * number + 1, PID_REQUESTS, track, whole.start_s);
    size_t layers = t->rows - 1; /* the row behind them is no layer, and no part of the flow */
    for (size_t row = 0; row < t->rows; row++) {
        struct span *s = &t->layer[row];
        if (s->end_s > s->start_s) {
            put_slice(t, PID_LAYERS, row + 1, name, *s);
            fprintf(t->out, ",\"args\":{\"step\":%" PRIu64 "}}", number);
            if (row < layers) {
                put_flow(t, row + 1 == layers ? "f" : "t", "layers", 2 * number + 1, PID_LAYERS, row + 1,
                         s->start_s);
            }
        }
    }
}

static void put_counters(struct trace *t) {
    for (size_t i = 0; i < run_step_count(t->run); i++) {
        struct run_step s = run_step_at(t->run, i);
        begin(t);
        fprintf(t->out, "{\"ph\":\"C\",\"name\":\"KV cache (bytes)\",\"pid\":%d,\"ts\":%.6f,", PID_REQUESTS,
                1e6 * s.end_s);
        fprintf(t->out, "\"args\":{\"bytes\":%.0f}}", s.kv_bits / 8);
        if (s.end_s > s.start_s) {
            begin(t);
            fprintf(t->out, "{\"ph\":\"C\",\"name\":\"power (W)\",\"pid\":%d,\"ts\":%.6f,\"args\":{\"W\":%.6g}}",
                    PID_REQUESTS, 1e6 * s.start_s, s.energy_J / (s.end_s - s.start_s));
        }
    }
}

static void put_all(struct trace *t) {
    size_t events = run_event_count(t->run);
    struct span whole = {0, -1};
    for (size_t i = 0; i < events; i++) {
        struct run_event v = run_event_at(t->run, t->order[i]);
        struct span *layer = &t->layer[v.layer >= 0 ? (size_t)v.layer : t->rows - 1];
        bool first = i == 0 || run_event_at(t->run, t->order[i - 1]).step != v.step;
        if (first) {
            whole = (struct span){0, -1};
            for (size_t row = 0; row < t->rows; row++) {
                t->layer[row] = whole;
            }
        }
        if (!v.maintenance) { /* which may have begun before its step */
            widen(&whole, v.start_s, v.start_s + v.hold_s);
            widen(layer, v.start_s, v.start_s + v.hold_s);
        }
        put_event(t, &v, t->lane[t->order[i]]);
        if (i + 1 == events || run_event_at(t->run, t->order[i + 1]).step != v.step) {
            put_step(t, v.step, v.request, whole);
        }
    }
}

/* From arrival to admission, of the requests that have events. */
static void put_queueing(struct trace *t) {
    json_t *requests = json_object_get(json_object_get(t->root, "serving"), "by_request"), *one;
    size_t q;
    json_array_foreach(requests, q, one) {
        struct span s = {json_number_value(json_object_get(one, "arrival_s")),
                         json_number_value(json_object_get(one, "admitted_s"))};
        if (q < t->requests && t->visits[q].any && s.end_s > s.start_s) {
            put_slice(t, PID_REQUESTS, q + 1, "queueing", s);
            fprintf(t->out, ",\"args\":{\"request\":%zu}}", q);
        }
    }
}

static void put_setup(struct trace *t) {
    json_t *phases = json_object_get(json_object_get(t->root, "setup"), "phases"), *one;
    double at_s = 0;
    size_t i;
    if (json_array_size(phases)) {
        name_process(t, PID_SETUP, "set-up, before the run", 0, false);
        name_track(t, PID_SETUP, 1, "phases", "");
    }
    json_array_foreach(phases, i, one) {
        double time_s = json_number_value(json_object_get(one, "time_s")); /* 0 where it is not stated */
        if (time_s > 0) {
            put_slice(t, PID_SETUP, 1, json_string_value(json_object_get(one, "phase")),
                      (struct span){at_s, at_s + time_s});
            fprintf(t->out, ",\"args\":{\"start_s\":%.9g,\"energy_J\":%.9g}}",
                    json_number_value(json_object_get(one, "start_s")),
                    json_number_value(json_object_get(one, "energy_J")));
        }
        at_s += time_s;
    }
}

/* ---- order --------------------------------------------------------------------------------------------- */

/* Steps of several requests overlap; here their events stand step by step. A counting sort, numbers of steps are
 * small. */
static bool sort_events(struct trace *t) {
    size_t events = run_event_count(t->run), steps = 0;
    for (size_t i = 0; i < events; i++) {
        struct run_event v = run_event_at(t->run, i);
        steps = v.step >= steps ? (size_t)v.step + 1 : steps;
        t->requests = v.request >= t->requests ? v.request + 1 : t->requests;
    }
    size_t *next = mem_alloc(steps + 1, sizeof *next);
    t->order = mem_alloc(events + 1, sizeof *t->order);
    t->visits = mem_alloc((size_t)t->requests + 1, sizeof *t->visits);
    bool memory = next && t->order && t->visits;
    for (size_t i = 0; memory && i < events; i++) {
        next[run_event_at(t->run, i).step + 1]++;
    }
    for (size_t step = 0; memory && step < steps; step++) {
        next[step + 1] += next[step];
    }
    for (size_t i = 0; memory && i < events; i++) {
        struct run_event v = run_event_at(t->run, i);
        struct visit *visit = &t->visits[v.request];
        t->order[next[v.step]++] = i;
        visit->first = visit->any && visit->first < v.step ? visit->first : v.step;
        visit->last = visit->any && visit->last > v.step ? visit->last : v.step;
        visit->any = true;
    }
    mem_free(next);
    return memory;
}

/* ---- tracks -------------------------------------------------------------------------------------------- */

static int by_resource_and_time(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->resource != y->resource) {
        return x->resource < y->resource ? -1 : 1;
    }
    if (x->start_s != y->start_s) {
        return x->start_s < y->start_s ? -1 : 1;
    }
    return (x->event > y->event) - (x->event < y->event);
}

/* Every event goes to the first server of its resource that is free; ends [servers]. */
static void find_lanes(struct trace *t, const struct place *places, size_t count, double *ends) {
    for (size_t i = 0; i < count; i++) {
        const struct place *p = &places[i];
        uint32_t servers = run_resource_at(t->run, p->resource).servers, lane = 0, used = t->lanes[p->resource];
        double rounding_s = 1e-12 * p->start_s;
        while (lane < used && ends[lane] > p->start_s + rounding_s) {
            lane++;
        }
        lane = lane < servers ? lane : servers - 1;
        ends[lane] = p->end_s;
        t->lane[p->event] = lane;
        t->lanes[p->resource] = lane + 1 > used ? lane + 1 : used;
    }
}

static bool find_tracks(struct trace *t) {
    size_t events = run_event_count(t->run), resources = run_resource_count(t->run), next = 1;
    uint32_t servers = 1;
    for (size_t i = 0; i < resources; i++) {
        struct run_resource r = run_resource_at(t->run, i);
        servers = r.servers > servers ? r.servers : servers;
    }
    struct place *places = mem_alloc(events + 1, sizeof *places);
    double *ends = mem_alloc(servers, sizeof *ends);
    t->lane = mem_alloc(events + 1, sizeof *t->lane);
    t->lanes = mem_alloc(resources, sizeof *t->lanes);
    t->track = mem_alloc(resources, sizeof *t->track);
    bool memory = places && ends && t->lane && t->lanes && t->track;
    for (size_t i = 0; memory && i < events; i++) {
        struct run_event v = run_event_at(t->run, i);
        places[i] = (struct place){v.resource, i, v.start_s, v.start_s + v.hold_s};
    }
    if (memory) {
        qsort(places, events, sizeof *places, by_resource_and_time);
        find_lanes(t, places, events, ends);
    }
    for (size_t i = 0; memory && i < resources; i++) {
        struct run_resource r = run_resource_at(t->run, i);
        t->track[i] = next;
        next += t->lanes[i] * tracks_of(&r);
    }
    mem_free(places);
    mem_free(ends);
    return memory;
}

/* ---- the file ------------------------------------------------------------------------------------------ */

static void put_document(struct trace *t, const json_t *root) {
    fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":", t->out);
    json_t *other = json_pack("{s:O?, s:O?, s:O?, s:I, s:I, s:s}", "mho", json_object_get(root, "mho"), "model",
                              json_object_get(root, "model"), "config_hash", json_object_get(root, "config_hash"),
                              "events", (json_int_t)run_event_count(t->run), "events_left_out",
                              (json_int_t)run_events_left_out(t->run),
                              "times", "simulated, us");
    json_dumpf(other, t->out, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(other);
    fputs(",\"traceEvents\":[", t->out);
    name_layers(t);
    name_resources(t);
    put_all(t);
    put_queueing(t);
    put_setup(t);
    put_counters(t);
    fputs("\n]}\n", t->out);
}

enum status report_write_trace(const json_t *root, const struct run *run, FILE *out, struct error *e) {
    struct trace t = {.out = out, .run = run, .root = root, .rows = run_ledger(run).layers};
    t.layer = mem_alloc(t.rows, sizeof *t.layer);
    bool memory = sort_events(&t) && find_tracks(&t) && t.layer;
    enum status s = memory ? OK : error_set(e, ERR_RUN, "trace.json: out of memory");
    if (s == OK) {
        put_document(&t, root);
    }
    mem_free(t.layer);
    mem_free(t.lane);
    mem_free(t.lanes);
    mem_free(t.track);
    mem_free(t.order);
    mem_free(t.visits);
    return s;
}
