/* See run_streams.h. */
#include "sim/run_streams.h"

#include <math.h>
#include <string.h>

#include "sim/history.h"
#include "sim/placement.h"

struct note {
    int64_t last[2]; /* start of the last token, its result */
    uint32_t resource, first_input, inputs;
};

/* A task of the engine: what its events need to know. */
struct place {
    struct stage_power power;
    uint64_t request;
    uint32_t step, stage;
};

struct stream {
    struct note *notes;      /* [stages_most] of the step that is under way */
    uint32_t *inputs;        /* [input_most] numbers of stages */
    size_t input_count;
    uint64_t *kv_bits;       /* [layers + 1] its part of the KV memory */
    uint64_t *held_bits;     /* [layers + 1] of keys and values */
    uint64_t request;
    struct front last;       /* of the step that was handed over last */
    uint32_t ends[FRONT_MOST]; /* numbers of these stages */
    uint32_t awaited;        /* results that are still to come before the stream has nothing to do */
    uint32_t steps;          /* that are under way */
    uint32_t tokens;         /* of all these */
    uint64_t number;         /* of the next stage: part of its key */
    int64_t release, start;  /* of the next step; of the first that is under way */
    uint64_t tokens_before;  /* of the request, before that */
    uint64_t request_tokens; /* handed over */
    uint64_t first_step;     /* number of the first that is under way */
    double step_J;           /* of the steps that are under way */
};

struct streams {
    struct stream *of;       /* [count] */
    uint32_t count, now;
    size_t input_most;
    struct place *place;     /* [places]: by place in the engine */
    size_t places;
    double handed_J;         /* in the ledger before the step that is handed over now */
    int64_t work[CLASS_COUNT], wait[CLASS_COUNT];
};

enum { INPUTS_PER_STAGE = 4 };

/* ---- life -------------------------------------------------------------------------------------- */

void streams_destroy(struct streams *s) {
    if (s) {
        for (uint32_t i = 0; s->of && i < s->count; i++) {
            mem_free(s->of[i].notes);
            mem_free(s->of[i].inputs);
            mem_free(s->of[i].kv_bits);
            mem_free(s->of[i].held_bits);
        }
        mem_free(s->of);
        mem_free(s->place);
        mem_free(s);
    }
}

void streams_reset(struct run *r) {
    struct streams *s = r->streams;
    if (!s) {
        return;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        struct stream *one = &s->of[i];
        *one = (struct stream){
            .notes = one->notes, .inputs = one->inputs, .kv_bits = one->kv_bits, .held_bits = one->held_bits};
        memset(one->held_bits, 0, r->ledger.rows * sizeof *one->held_bits);
    }
    memset(s->work, 0, sizeof s->work);
    memset(s->wait, 0, sizeof s->wait);
    s->now = 0;
    r->ledger.kv_own_bits = s->of[0].held_bits;
}

static enum status no_memory(uint32_t streams, struct error *e) {
    return error_set(e, ERR_RUN, "run: out of memory for %u streams", streams);
}

static enum status create(struct run *r, uint32_t streams, struct error *e) {
    struct streams *s = mem_alloc(1, sizeof *s);
    if (!s) {
        return no_memory(streams, e);
    }
    r->streams = s;
    s->input_most = INPUTS_PER_STAGE * r->stages_most;
    s->places = streams * r->stages_most;
    s->place = mem_alloc(s->places, sizeof *s->place);
    s->of = mem_alloc(streams, sizeof *s->of);
    if (!s->of || !s->place) {
        return no_memory(streams, e);
    }
    s->count = streams;
    for (uint32_t i = 0; i < streams; i++) {
        s->of[i].notes = mem_alloc(r->stages_most, sizeof *s->of[i].notes);
        s->of[i].inputs = mem_alloc(s->input_most, sizeof *s->of[i].inputs);
        s->of[i].kv_bits = mem_alloc(r->ledger.rows, sizeof *s->of[i].kv_bits);
        s->of[i].held_bits = mem_alloc(r->ledger.rows, sizeof *s->of[i].held_bits);
        if (!s->of[i].notes || !s->of[i].inputs || !s->of[i].kv_bits || !s->of[i].held_bits) {
            return no_memory(streams, e);
        }
        memcpy(s->of[i].kv_bits, r->ledger.kv_room_bits, r->ledger.rows * sizeof *s->of[i].kv_bits);
    }
    return OK;
}

enum status run_streams(struct run *r, uint32_t streams, struct error *e) {
    if (!r->engine) {
        return error_set(e, ERR_USAGE, "run: several streams on a chip without costs, which has no time");
    }
    if (streams == 0 || streams > UINT16_MAX || r->steps > 0) {
        return error_set(e, ERR_USAGE, "run: %u streams (allowed: 1 to %u, before the first step)", streams,
                         UINT16_MAX);
    }
    streams_destroy(r->streams);
    r->streams = NULL;
    r->ledger.kv_share_bits = r->ledger.kv_room_bits;
    r->ledger.kv_own_bits = r->ledger.kv_first_bits;
    TRY(create(r, streams, e));
    r->ledger.kv_own_bits = r->streams->of[0].held_bits;
    return run_create_engine(r, streams, e);
}

void run_stream(struct run *r, uint32_t stream, double not_before_s) {
    struct streams *s = r->streams;
    s->now = stream < s->count ? stream : s->count - 1;
    s->of[s->now].release = engine_ticks(r->engine, not_before_s);
    r->ledger.kv_share_bits = s->of[s->now].kv_bits;
    r->ledger.kv_own_bits = s->of[s->now].held_bits;
}

void run_request(struct run *r, uint64_t request) {
    struct stream *one = &r->streams->of[r->streams->now];
    run_request_end(r, r->streams->now);
    one->request = request;
    one->request_tokens = 0;
}

void run_request_end(struct run *r, uint32_t stream) {
    ledger_release_kv(&r->ledger, r->streams->of[stream].held_bits);
}

struct kv_room run_kv_room(const struct run *r, uint32_t layer) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    uint64_t bits = r->ledger.kv_room_bits[placement_layer_row(r->placement, (int)layer)];
    uint64_t layers = (uint64_t)s->kv.capacity_KiB * 1024 * 8 / bits; /* that share the memories of the chip */
    return (struct kv_room){.bits = bits,
                            .dram_bits = s->dram.given ? (uint64_t)s->dram.capacity_KiB * 1024 * 8 / layers : 0,
                            .value_bits = (uint32_t)s->kv.value_bits};
}

void run_stream_kv(struct run *r, uint32_t layer, uint64_t bits) {
    r->streams->of[r->streams->now].kv_bits[placement_layer_row(r->placement, (int)layer)] = bits;
}

/* ---- a step ------------------------------------------------------------------------------------ */

static struct stream *current(struct run *r) { return &r->streams->of[r->streams->now]; }

void streams_begin_step(struct run *r) {
    struct stream *one = current(r);
    if (one->steps == 0) {
        int64_t now = engine_now(r->engine);
        one->start = one->release > now ? one->release : now;
        one->tokens = 0;
        one->number = 0;
        one->last.count = 0;
        one->step_J = 0;
        one->tokens_before = one->request_tokens;
        one->first_step = r->steps;
    }
    one->steps++;
    one->tokens += r->tokens;
    one->request_tokens += r->tokens;
    r->streams->handed_J = ledger_dynamic_J(&r->ledger);
    one->input_count = 0;
}

/* Notes may be written to while the engine works on the step before. */
static bool is_followed(const struct stream *one) { return one->steps == 1; }

void streams_place(struct run *r, struct engine_task *t) {
    struct stream *one = current(r);
    t->key = ((uint64_t)r->streams->now + 1) << 32 | one->number++;
    t->release = one->release;
    t->last = is_followed(one) ? one->notes[r->stages].last : NULL;
}

static enum status note_place(struct run *r, uint64_t id, struct error *e) {
    struct streams *s = r->streams;
    size_t place = (uint32_t)id;
    if (place >= s->places) {
        size_t more = 2 * place + 1;
        struct place *grown = mem_resize(s->place, s->places * sizeof *grown, more * sizeof *grown);
        if (!grown) {
            return no_memory(s->count, e);
        }
        s->place = grown;
        s->places = more;
    }
    s->place[place] = (struct place){.power = power_of_stage(r->power, r->stages),
                                     .request = current(r)->request,
                                     .step = (uint32_t)r->steps,
                                     .stage = (uint32_t)r->stages};
    return OK;
}

int64_t streams_start(const struct run *r) {
    int64_t now = engine_now(r->engine), release = r->streams->of[r->streams->now].release;
    return release > now ? release : now;
}

enum status streams_note_maintenance(struct run *r, uint64_t id, struct error *e) { return note_place(r, id, e); }

enum status streams_note(struct run *r, const struct engine_task *t, uint64_t id, const struct front *before,
                         struct error *e) {
    struct streams *s = r->streams;
    struct stream *one = current(r);
    TRY(note_place(r, id, e));
    for (uint32_t i = 0; before->count == 0 && i < one->last.count; i++) {
        TRY(engine_depend(r->engine, id, one->last.tasks[i], AFTER_ALL, e));
    }
    if (!is_followed(one)) {
        return OK;
    }
    struct note *n = &one->notes[r->stages];
    n->resource = (uint32_t)t->resource;
    n->first_input = (uint32_t)one->input_count;
    n->inputs = before->count;
    if (before->count > s->input_most - one->input_count) {
        return error_set(e, ERR_RUN, "run: this step has more dependencies than the run was made for");
    }
    for (uint32_t i = 0; i < before->count; i++) {
        one->inputs[one->input_count++] = s->place[(uint32_t)before->tasks[i]].stage;
    }
    return OK;
}

void streams_end_step(struct run *r) {
    struct stream *one = current(r);
    struct error e;
    if (r->trouble.status == OK && r->front.count == 0) {
        error_set(&r->trouble, ERR_USAGE, "run: a step without operations on stream %u", r->streams->now);
    }
    for (uint32_t i = 0; r->trouble.status == OK && i < r->front.count; i++) {
        one->ends[i] = r->streams->place[(uint32_t)r->front.tasks[i]].stage;
        if (engine_watch(r->engine, r->front.tasks[i], &e) != OK) {
            r->trouble = e;
        }
    }
    one->awaited += r->front.count;
    one->last = r->front;
    one->step_J += ledger_dynamic_J(&r->ledger) - r->streams->handed_J;
}

void streams_note_start(void *context, const struct engine_start *s) {
    struct run *r = context;
    const struct place *at = &r->streams->place[(uint32_t)s->id];
    struct error e;
    if (power_add_event(r->power, &at->power, s->item, s->start, s->hold, &e) != OK) {
        r->trouble = e;
    }
    history_add_event(r, s, at->step, at->request);
}

/* ---- its end ----------------------------------------------------------------------------------- */

/* The stage among `count` whose result came last; of several the first. */
static uint32_t latest(const struct stream *one, const uint32_t *stages, uint32_t count) {
    uint32_t best = stages[0];
    for (uint32_t i = 1; i < count; i++) {
        best = one->notes[stages[i]].last[1] > one->notes[best].last[1] ? stages[i] : best;
    }
    return best;
}

/* Where the time of a step went: into class_s, too. */
static void follow(struct run *r, const struct stream *one, double *class_s) {
    struct streams *s = r->streams;
    double *critical_s = r->critical_s[one->tokens == 1 ? STEP_SINGLE : STEP_SEVERAL];
    uint32_t at = latest(one, one->ends, one->last.count);
    for (bool more = true; more;) {
        const struct note *n = &one->notes[at];
        enum resource_class c = run_resource_class(r, n->resource);
        int64_t input = one->start;
        more = n->inputs > 0;
        if (more) {
            at = latest(one, one->inputs + n->first_input, n->inputs);
            input = one->notes[at].last[1];
        }
        s->work[c] += n->last[1] - n->last[0];
        s->wait[c] += n->last[0] - input;
        critical_s[c] += engine_seconds(r->engine, n->last[1] - input);
        class_s[c] += engine_seconds(r->engine, n->last[1] - input);
    }
}

static void end_of_stream(struct run *r, struct stream *one, int64_t end) {
    *(one->tokens == 1 ? &r->single_s : &r->several_s) += engine_seconds(r->engine, end - one->start);
    struct run_step step = {.number = one->first_step,
                            .request = one->request,
                            .tokens = one->tokens,
                            .tokens_before = one->tokens_before,
                            .start_s = engine_seconds(r->engine, one->start),
                            .end_s = engine_seconds(r->engine, end),
                            .energy_J = one->step_J};
    if (one->steps == 1) {
        follow(r, one, step.critical_s);
    }
    history_add_stream_step(r, &step);
    one->steps = 0;
}

enum status run_wait(struct run *r, struct run_finished *out, struct error *e) {
    struct engine_report report;
    *out = (struct run_finished){.idle = true};
    for (;;) {
        if (r->trouble.status != OK) {
            return error_set(e, r->trouble.status, "%s", r->trouble.message);
        }
        TRY(engine_advance(r->engine, &report, e));
        if (!report.finished) {
            power_finish(r->power);
            history_end(r);
            return OK;
        }
        uint32_t stream = (uint32_t)(report.key >> 32) - 1;
        struct stream *one = &r->streams->of[stream];
        if (--one->awaited == 0) {
            end_of_stream(r, one, report.time);
            *out = (struct run_finished){.stream = stream, .end_s = engine_seconds(r->engine, report.time)};
            return OK;
        }
    }
}

/* ---- results ----------------------------------------------------------------------------------- */

struct run_class_load run_class_load(const struct run *r, size_t c) {
    struct class_view v = run_class(r, (enum resource_class)c);
    struct run_class_load load = {
        .busy_s = v.busy_s, .wait_s = v.wait_s, .busiest = v.busiest, .events = v.events};
    if (r->streams) {
        load.path_work_s = engine_seconds(r->engine, r->streams->work[c]);
        load.path_wait_s = engine_seconds(r->engine, r->streams->wait[c]);
    }
    return load;
}
