/* The loop that serves requests: see serving.h. A session without values per place, all on streams of one run. */
#include "base/io.h"
#include "models/internal.h"

#define NOBODY SIZE_MAX

struct layer_memory {
    struct kv_room room;
    uint64_t used_bits, dram_bits; /* reserved on the chip, in the DRAM */
};

struct place {
    struct session *session;
    uint64_t *kv_bits; /* [layers] reserved on the chip */
    size_t request; /* NOBODY: free */
    uint32_t read, written; /* tokens: of the prompt, handed over; written */
};

struct server {
    const struct model *model;
    struct run *run;
    struct workload *work;
    struct serving_limits limits;
    struct serving_counts *counts;
    struct place *places;
    uint32_t in_flight;
    size_t next;            /* request to admit */
    struct layer_memory *kv; /* [layers] */
};

/* ---- life -------------------------------------------------------------------------------------- */

static void close_server(struct server *s) {
    for (uint32_t i = 0; s->places && i < s->limits.max_batch; i++) {
        session_destroy(s->places[i].session);
        mem_free(s->places[i].kv_bits);
    }
    mem_free(s->places);
    mem_free(s->kv);
}

static enum status check_requests(const struct server *s, struct error *e) {
    uint32_t context = s->model->shape.context;
    for (size_t i = 0; i < s->work->count; i++) {
        const struct request *q = &s->work->requests[i];
        if (q->prompt_tokens == 0 || q->tokens == 0 || (uint64_t)q->prompt_tokens + q->tokens > context) {
            return error_set(e, ERR_USAGE,
                             "request %zu: prompt of %u tokens and %u to write (allowed: at least 1 each, together at "
                             "most the context of %u)",
                             i + 1, q->prompt_tokens, q->tokens, context);
        }
    }
    return OK;
}

static uint32_t longest(const struct server *s, bool whole) {
    uint32_t most = 1;
    for (size_t i = 0; i < s->work->count; i++) {
        uint32_t n = s->work->requests[i].prompt_tokens + (whole ? s->work->requests[i].tokens : 0);
        most = n > most ? n : most;
    }
    return most;
}

static enum status open_server(struct server *s, struct error *e) {
    uint32_t layers = s->model->shape.layers, places = s->limits.max_batch,
             step = s->limits.prompt_chunk ? s->limits.prompt_chunk : longest(s, false);
    struct session_options so = {.context = longest(s, true), .max_batch = step, .run = s->run, .shapes = true};
    s->places = mem_alloc(places, sizeof *s->places);
    s->kv = mem_alloc(layers, sizeof *s->kv);
    if (!s->places || !s->kv) {
        return error_set(e, ERR_RUN, "serving: out of memory for %u requests at a time", places);
    }
    for (uint32_t l = 0; l < layers; l++) {
        s->kv[l].room = run_kv_room(s->run, l);
    }
    for (uint32_t i = 0; i < places; i++) {
        s->places[i].request = NOBODY;
        s->places[i].kv_bits = mem_alloc(layers, sizeof(uint64_t));
        if (!s->places[i].kv_bits) {
            return error_set(e, ERR_RUN, "serving: out of memory for %u requests at a time", places);
        }
        TRY(session_create(s->model, &so, &s->places[i].session, e));
    }
    return OK;
}

/* ---- KV memory --------------------------------------------------------------------------------- */

static uint64_t layer_bits(const struct server *s, uint32_t layer, const struct request *q) {
    const struct shape *p = &s->model->shape;
    uint64_t positions = (uint64_t)q->prompt_tokens + q->tokens - 1; /* the last token is never read back */
    uint64_t kept = model_kv_positions(s->model, layer, positions);
    return kept * 2 * p->kv_heads * p->head_dim * s->kv[layer].room.value_bits;
}

static bool fits(const struct server *s, const struct request *q) {
    for (uint32_t l = 0; l < s->model->shape.layers; l++) {
        const struct layer_memory *kv = &s->kv[l];
        if (layer_bits(s, l, q) + kv->used_bits + kv->dram_bits > kv->room.bits + kv->room.dram_bits) {
            return false;
        }
    }
    return true;
}

/* What is left of the KV memory goes to the newcomer, the rest of it to the DRAM. Its stream is selected. */
static void reserve(struct server *s, struct place *place, const struct request *q) {
    for (uint32_t l = 0; l < s->model->shape.layers; l++) {
        struct layer_memory *kv = &s->kv[l];
        uint64_t need = layer_bits(s, l, q), left = kv->room.bits - kv->used_bits, here = need < left ? need : left;
        kv->used_bits += here;
        kv->dram_bits += need - here;
        place->kv_bits[l] = here;
        run_stream_kv(s->run, l, here);
        if (kv->used_bits + kv->dram_bits > s->counts->kv_most_bits) {
            s->counts->kv_most_bits = kv->used_bits + kv->dram_bits;
            s->counts->kv_room_bits = kv->room.bits + kv->room.dram_bits;
        }
    }
}

static void give_back(struct server *s, const struct place *place, const struct request *q) {
    for (uint32_t l = 0; l < s->model->shape.layers; l++) {
        s->kv[l].used_bits -= place->kv_bits[l];
        s->kv[l].dram_bits -= layer_bits(s, l, q) - place->kv_bits[l];
    }
}

/* ---- the loop ---------------------------------------------------------------------------------- */

static uint32_t free_place(const struct server *s) {
    uint32_t i = 0;
    while (s->places[i].request != NOBODY) {
        i++;
    }
    return i;
}

/* The next chunk of the prompt, or all of it. The stream of the place is selected. */
static enum status read_on(struct server *s, struct place *place, const struct request *q, struct error *e) {
    uint32_t left = q->prompt_tokens - place->read, most = s->limits.prompt_chunk;
    uint32_t chunk = most && most < left ? most : left;
    place->read += chunk;
    s->counts->prompt_tokens += chunk;
    return session_advance(place->session, chunk, chunk == left ? LOGITS_LAST : LOGITS_NONE, e);
}

/* Everybody who has a place now. A request that is yet to come keeps its place until then: nobody else could use it. */
static enum status admit(struct server *s, double now_s, struct error *e) {
    while (s->next < s->work->count && s->in_flight < s->limits.max_batch) {
        struct request *q = &s->work->requests[s->next];
        bool room = fits(s, q);
        if (!room && s->in_flight > 0) {
            return OK;
        }
        s->counts->too_large += !room;
        uint32_t at = free_place(s);
        struct place *place = &s->places[at];
        q->admitted_s = q->arrival_s > now_s ? q->arrival_s : now_s;
        place->request = s->next++;
        place->read = place->written = 0;
        s->in_flight++;
        session_rewind(place->session, 0);
        run_stream(s->run, at, q->admitted_s);
        run_request(s->run, place->request);
        reserve(s, place, q);
        TRY(read_on(s, place, q, e));
    }
    return OK;
}

/* The place has read a chunk of its prompt, or written one more token. */
static enum status go_on(struct server *s, uint32_t at, double now_s, struct error *e) {
    struct place *place = &s->places[at];
    struct request *q = &s->work->requests[place->request];
    if (place->read < q->prompt_tokens) {
        run_stream(s->run, at, now_s);
        return read_on(s, place, q, e);
    }
    place->written++;
    s->counts->tokens++;
    if (place->written == 1) {
        q->first_s = now_s;
    }
    if (place->written < q->tokens) {
        run_stream(s->run, at, now_s);
        return session_advance(place->session, 1, LOGITS_LAST, e);
    }
    q->last_s = now_s;
    give_back(s, place, q);
    run_request_end(s->run, at);
    place->request = NOBODY;
    s->in_flight--;
    return admit(s, now_s, e);
}

static enum status loop(struct server *s, struct progress *progress, struct error *e) {
    struct run_finished f;
    TRY(admit(s, 0, e));
    for (;;) {
        TRY(run_wait(s->run, &f, e));
        if (f.idle) {
            return OK;
        }
        TRY(go_on(s, f.stream, f.end_s, e));
        progress_update(progress, s->counts->tokens);
        TRY(check_interrupted(e));
    }
}

static uint64_t all_tokens(const struct workload *w) {
    uint64_t tokens = 0;
    for (size_t i = 0; i < w->count; i++) {
        tokens += w->requests[i].tokens;
    }
    return tokens;
}

enum status serve(const struct model *m, struct run *r, struct workload *w, const struct serving_limits *limits,
                  struct serving_counts *out, struct error *e) {
    struct server s = {.model = m,
                       .run = r,
                       .work = w,
                       .limits = *limits,
                       .counts = out};
    *out = (struct serving_counts){0};
    TRY(check_requests(&s, e));
    enum status status = open_server(&s, e);
    struct progress *progress = progress_create("tokens", all_tokens(w));
    status = status == OK ? loop(&s, progress, e) : status;
    progress_destroy(progress);
    close_server(&s);
    return status;
}
