/* See history.h. */
#include "sim/history.h"

#include <math.h>
#include <string.h>

#include "sim/passes.h"
#include "sim/placement.h"

/* Where an event was; its name follows from the tag. */
struct kept_event {
    uint64_t tag;
    int64_t start, hold, latency;
    uint64_t request;
    uint32_t step, token, resource;
};

_Static_assert((int)CLASS_COUNT <= (int)RUN_CLASSES_MOST, "a step has room for every class of resources");

struct history {
    struct run_step notes[STEP_NOTES];
    size_t note_count;
    uint64_t stride;                 /* every so many steps one is noted */
    double energy_J;                 /* up to the step before; with streams: static */
    uint64_t ended;                  /* steps, with streams */
    double critical_s[CLASS_COUNT];
    size_t rows, resources;
    int64_t *layer_ticks, *resource_ticks; /* [rows], [resources of the engine] */
    struct kept_event *events;
    size_t event_count, event_most;
    uint64_t left_out;
};

/* ---- tags -------------------------------------------------------------------------------------- */

#define TAG_DIGITAL ((uint64_t)1 << 48)
#define TAG_MAINTENANCE ((uint64_t)1 << 49)

uint64_t tag_of_multiply(size_t matrix) { return matrix; }

uint64_t tag_of_digital(enum digital_op op, int layer) {
    return TAG_DIGITAL + ((uint64_t)op << 32) + (uint64_t)(layer < 0 ? 0 : layer + 1);
}

uint64_t tag_of_maintenance(enum maintenance_kind kind, size_t matrix) {
    return TAG_MAINTENANCE + ((uint64_t)kind << 32) + matrix;
}

bool tag_is_maintenance(uint64_t tag) { return tag >= TAG_MAINTENANCE; }

static const char *const operation_names[OP_KINDS] = {"embed",    "norm", "rope",   "attention", "activation",
                                                      "residual", "bias", "sample", "matmul"};

const char *tag_operation(const struct run *r, uint64_t tag, int *layer) {
    if (tag < TAG_DIGITAL) {
        struct placement_matrix m = placement_matrix_at(r->placement, (size_t)tag);
        *layer = m.layer;
        return matrix_role_name(m.role);
    }
    if (tag_is_maintenance(tag)) {
        *layer = placement_matrix_at(r->placement, (size_t)(tag & UINT32_MAX)).layer;
        return maintenance_name((enum maintenance_kind)((tag - TAG_MAINTENANCE) >> 32));
    }
    *layer = (int)(tag & UINT32_MAX) - 1;
    return operation_names[(tag - TAG_DIGITAL) >> 32];
}

uint32_t tag_row(const struct run *r, uint64_t tag) {
    int layer;
    tag_operation(r, tag, &layer);
    return (uint32_t)placement_layer_row(r->placement, layer);
}

/* ---- life -------------------------------------------------------------------------------------- */

struct history *history_create(const struct run *r) {
    struct history *h = mem_alloc(1, sizeof *h);
    if (h) {
        h->rows = placement_layers(r->placement) + 1;
        h->resources = engine_resources(r->engine);
        h->layer_ticks = mem_alloc(h->rows, sizeof *h->layer_ticks);
        h->resource_ticks = mem_alloc(h->resources, sizeof *h->resource_ticks);
        h->stride = 1;
    }
    if (h && (!h->layer_ticks || !h->resource_ticks)) {
        history_destroy(h);
        h = NULL;
    }
    return h;
}

void history_destroy(struct history *h) {
    if (h) {
        mem_free(h->layer_ticks);
        mem_free(h->resource_ticks);
        mem_free(h->events);
        mem_free(h);
    }
}

void history_reset(struct history *h) {
    memset(h->layer_ticks, 0, h->rows * sizeof *h->layer_ticks);
    memset(h->resource_ticks, 0, h->resources * sizeof *h->resource_ticks);
    memset(h->critical_s, 0, sizeof h->critical_s);
    h->note_count = h->event_count = 0;
    h->left_out = h->ended = 0;
    h->energy_J = 0;
    h->stride = 1;
}

enum status run_keep_events(struct run *r, size_t most, struct error *e) {
    if (!r->history) {
        return OK;
    }
    struct kept_event *events = mem_alloc(most, sizeof *events);
    if (!events) {
        return error_set(e, ERR_RUN, "trace of %zu events: out of memory", most);
    }
    mem_free(r->history->events);
    r->history->events = events;
    r->history->event_most = most;
    r->history->event_count = 0;
    return OK;
}

/* ---- a step ------------------------------------------------------------------------------------ */

/* What an event waited for an edge of its clock belongs to no layer and no resource. */
static void add_critical(struct run *r) {
    struct history *h = r->history;
    struct engine_path path = engine_critical_path(r->engine, NULL);
    int64_t until = r->step_start_ticks + path.total;
    for (size_t i = path.last; i != ENGINE_NO_EVENT;) {
        struct engine_event v = engine_event(r->engine, i);
        int layer;
        tag_operation(r, v.tag, &layer);
        h->layer_ticks[placement_layer_row(r->placement, layer)] += until - v.start;
        h->resource_ticks[v.resource] += until - v.start;
        i = v.cause_event;
        if (i != ENGINE_NO_EVENT) {
            struct engine_event before = engine_event(r->engine, i);
            until = before.start + (v.cause == CAUSE_INPUT ? before.latency : before.hold);
        }
    }
}

static void add_events(struct run *r) {
    struct history *h = r->history;
    size_t logged = engine_logged(r->engine), room = h->event_most - h->event_count;
    if (!h->event_most) {
        return;
    }
    uint64_t tasks = r->tokens ? logged / r->tokens : 0;
    uint64_t tokens = tasks ? (r->tokens > 1 ? room / 2 : room) / tasks : 0;
    for (size_t i = 0; i < logged; i++) {
        struct engine_event v = engine_event(r->engine, i);
        if (v.item >= tokens || h->event_count == h->event_most) { /* maintenance has fewer items than steps */
            h->left_out++;
        } else if (v.hold > 0 || v.latency > 0) {
            h->events[h->event_count++] = (struct kept_event){.tag = v.tag,
                                                              .start = v.start,
                                                              .hold = v.hold,
                                                              .latency = v.latency,
                                                              .step = (uint32_t)(r->steps - 1),
                                                              .token = v.item,
                                                              .resource = (uint32_t)v.resource};
        }
    }
    h->left_out += engine_not_logged(r->engine);
}

/* Room for one more note: every second one is dropped. */
static void thin_notes(struct history *h) {
    for (size_t i = 0; i < h->note_count; i += 2) {
        h->notes[i / 2] = h->notes[i];
    }
    h->note_count = (h->note_count + 1) / 2;
    h->stride *= 2;
}

static double class_critical_s(const struct run *r, int c) {
    return r->critical_s[STEP_SEVERAL][c] + r->critical_s[STEP_SINGLE][c];
}

double run_kv_bits(const struct run *r) {
    double bits = 0;
    for (size_t row = 0; row < r->ledger.rows; row++) {
        bits += (double)r->ledger.kv_now_bits[row];
    }
    return bits;
}

/* Room for the note of the step with this number, in the order of their ends; NULL: it has none. */
static struct run_step *add_note(struct history *h, uint64_t number) {
    if (number % h->stride == 0 && h->note_count == STEP_NOTES) {
        thin_notes(h);
    }
    return number % h->stride ? NULL : &h->notes[h->note_count++];
}

void history_add_step(struct run *r) {
    struct history *h = r->history;
    struct ledger_view v = run_ledger(r);
    double energy_J = v.total_J - h->energy_J;
    h->energy_J = v.total_J;
    add_critical(r);
    add_events(r);
    uint64_t number = r->steps - 1;
    struct run_step *s = add_note(h, number);
    if (s) {
        *s = (struct run_step){.number = number,
                               .tokens = r->tokens,
                               .tokens_before = r->tokens_total - r->tokens,
                               .start_s = run_step_start_s(r),
                               .end_s = v.makespan_s,
                               .energy_J = energy_J,
                               .kv_bits = run_kv_bits(r)};
        for (int c = 0; c < CLASS_COUNT; c++) {
            s->critical_s[c] = class_critical_s(r, c) - h->critical_s[c];
        }
    }
    for (int c = 0; c < CLASS_COUNT; c++) {
        h->critical_s[c] = class_critical_s(r, c);
    }
}

/* ---- with streams ------------------------------------------------------------------------------ */

void history_add_event(struct run *r, const struct engine_start *s, uint32_t step, uint64_t request) {
    struct history *h = r->history;
    if (h->event_count == h->event_most) {
        h->left_out += h->event_most > 0;
    } else if (s->hold > 0 || s->latency > 0) {
        h->events[h->event_count++] = (struct kept_event){.tag = s->tag,
                                                          .start = s->start,
                                                          .hold = s->hold,
                                                          .latency = s->latency,
                                                          .request = request,
                                                          .step = step,
                                                          .token = s->item,
                                                          .resource = s->resource};
    }
}

void history_add_stream_step(struct run *r, const struct run_step *step) {
    struct history *h = r->history;
    double static_J = run_static_J(r);
    struct run_step *s = add_note(h, h->ended++);
    if (s) {
        *s = *step;
        s->energy_J += static_J - h->energy_J;
        s->kv_bits = run_kv_bits(r);
    }
    h->energy_J = static_J;
}

void history_end(struct run *r) {
    struct history *h = r->history;
    memset(h->layer_ticks, 0, h->rows * sizeof *h->layer_ticks);
    memset(h->resource_ticks, 0, h->resources * sizeof *h->resource_ticks);
    struct engine_path path = engine_whole_path(r->engine, h->resource_ticks, h->layer_ticks);
    r->whole = (struct run_path){.arrival_s = engine_seconds(r->engine, path.release),
                                 .clock_s = engine_seconds(r->engine, path.clock)};
    for (size_t i = 0; i < h->resources; i++) {
        r->whole.class_s[run_resource_class(r, i)] += engine_seconds(r->engine, h->resource_ticks[i]);
    }
}

/* ---- results ----------------------------------------------------------------------------------- */

double history_layer_s(const struct run *r, size_t row) {
    return r->history ? engine_seconds(r->engine, r->history->layer_ticks[row]) : (double)NAN;
}

size_t run_step_count(const struct run *r) { return r->history ? r->history->note_count : 0; }
struct run_step run_step_at(const struct run *r, size_t i) { return r->history->notes[i]; }
size_t run_classes(void) { return CLASS_COUNT; }
const char *run_class_name(size_t c) { return resource_class_name((enum resource_class)c); }

size_t run_resource_count(const struct run *r) { return r->engine ? engine_resources(r->engine) : 0; }

struct run_resource run_resource_at(const struct run *r, size_t i) {
    size_t matrices = placement_matrices(r->placement);
    struct engine_use use = engine_use(r->engine, i);
    double end = (double)engine_end(r->engine);
    struct run_resource v = {.class = run_resource_class(r, i),
                             .matrix = i < matrices ? placement_matrix_at(r->placement, i).name : "",
                             .chip = run_resource_chip(r, i),
                             .events = use.events,
                             .servers = run_servers(r, i),
                             .busy_s = engine_seconds(r->engine, use.busy),
                             .wait_s = engine_seconds(r->engine, use.wait),
                             .critical_s = engine_seconds(r->engine, r->history->resource_ticks[i])};
    v.utilisation = end > 0 ? (double)use.busy / end / run_servers(r, i) : (double)NAN;
    return v;
}

size_t run_event_count(const struct run *r) { return r->history ? r->history->event_count : 0; }
uint64_t run_events_left_out(const struct run *r) { return r->history ? r->history->left_out : 0; }

/* When the converters of the tiles worked for a multiply; repeats of the bound management convert again. */
static void find_conversions(const struct run *r, struct run_event *v) {
    const struct tile_work *work = chip_work(r->chip);
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    bool multiplies = !v->maintenance && run_resource_class(r, v->resource) == CLASS_TILES,
         repeats = t->management.bound != BOUND_NONE;
    double reads = repeats ? v->latency_s / work->latency_s : 1,
           end_s = v->start_s + v->latency_s - t->registers.store_s.value;
    v->convert_start_s = multiplies ? fmax(v->start_s, end_s - work->converting_s * reads) : (double)NAN;
    v->convert_s = multiplies ? end_s - v->convert_start_s : (double)NAN;
}

struct run_event run_event_at(const struct run *r, size_t i) {
    const struct kept_event *k = &r->history->events[i];
    struct run_event v = {.resource = k->resource,
                          .step = k->step,
                          .request = k->request,
                          .token = k->token,
                          .start_s = engine_seconds(r->engine, k->start),
                          .hold_s = engine_seconds(r->engine, k->hold),
                          .latency_s = engine_seconds(r->engine, k->latency)};
    v.maintenance = tag_is_maintenance(k->tag);
    v.operation = tag_operation(r, k->tag, &v.layer);
    find_conversions(r, &v);
    return v;
}

size_t run_last_event_count(const struct run *r) { return r->engine ? engine_logged(r->engine) : 0; }

struct run_event run_last_event_at(const struct run *r, size_t i) {
    struct engine_event k = engine_event(r->engine, i);
    struct run_event v = {.resource = k.resource,
                          .step = r->steps - 1,
                          .token = k.item,
                          .start_s = engine_seconds(r->engine, k.start),
                          .hold_s = engine_seconds(r->engine, k.hold),
                          .latency_s = engine_seconds(r->engine, k.latency)};
    v.maintenance = tag_is_maintenance(k.tag);
    v.operation = tag_operation(r, k.tag, &v.layer);
    find_conversions(r, &v);
    return v;
}
