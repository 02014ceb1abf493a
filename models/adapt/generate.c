/* Text from the model itself, as training data: facts of the method in adapt.h.
 *
 * Sequence k of a set: ids[0] = the start id (BOS), then ids[p] is drawn from softmax(logits / T) of the top_k
 * likeliest, end-of-text ids left out, with the uniform number (seed, RANDOM_SAMPLING, k, p). Nothing else enters, and
 * the logits of a sequence have the same bits in any company (session_decode): so the file has the same bytes for any
 * batch, any number of threads, after any number of interruptions, and parts made on machines of one kind are parts of
 * one whole.
 *
 * Arithmetic of 16 bits (linear_codes.c) draws from a distribution that is some 1e-5 nats away from the fp32
 * one; and of the logits, only the ones that a draw can choose are kept.
 *
 * B sequences are decoded at once; one that is complete is written, and the next takes its place. */
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/data.h"
#include "models/internal.h"

struct slot { uint64_t sequence; uint32_t position; }; /* position of the last id there */

struct generator {
    const struct model *model;
    const struct generate_options *options;
    struct session *session;
    struct sampler **samplers;  /* [threads] */
    int threads;
    int32_t *ends;              /* ids that are left out */
    size_t end_count;
    uint32_t batch, active;     /* slots; the first `active` are at work */
    struct slot *slots;
    struct decode_token *tokens;
    int32_t *ids;               /* [batch][length] */
    uint32_t likeliest;         /* ids that a draw needs: the top_k, and as many as may be left out; 0: all logits */
    const struct candidate *found; /* [active][likeliest] */
    const float *logits;        /* or [active][vocabulary] */
    uint64_t next, end;         /* sequences */
};

/* ---- what is wanted -------------------------------------------------------------------------------------------- */

static enum status check_wanted(const struct model *m, const struct generate_options *o, struct error *e) {
    if (o->length < 2 || o->length > m->shape.context) {
        return error_set(e, ERR_USAGE, "length = %u (allowed: 2 to %u, the context of %s)", o->length,
                         m->shape.context, m->view.path);
    }
    if (!(o->temperature > 0)) {
        return error_set(e, ERR_USAGE, "temperature = %g: all sequences would be the same (allowed: above 0)",
                         o->temperature);
    }
    if (!(o->split >= 0 && o->split <= 0.5) || o->tokens == 0 || o->tokens > UINT64_C(1) << 48 || o->batch == 0) {
        return error_set(e, ERR_USAGE, "split = %g, tokens = %llu, batch = %u (allowed: split 0 to 0.5, 1 to 2^48 "
                         "tokens, a batch of 1 or more)", o->split, (unsigned long long)o->tokens, o->batch);
    }
    if (o->part < 1 || o->part > o->parts) {
        return error_set(e, ERR_USAGE, "part %u of %u (allowed: 1 to %u)", o->part, o->parts, o->parts);
    }
    return OK;
}

static enum status find_start(const struct model *m, const struct generate_options *o, int32_t *start,
                              struct error *e) {
    *start = o->start >= 0 ? o->start : model_bos(m);
    if (*start < 0) {
        return error_set(e, ERR_USAGE, "%s: the model has no BOS token to start with (allowed: --ids ID, a token to "
                         "start with)", m->view.path);
    }
    if ((uint32_t)*start >= m->shape.vocabulary) {
        return error_set(e, ERR_USAGE, "start id %d: not in the vocabulary (allowed: 0 to %u)", *start,
                         m->shape.vocabulary - 1);
    }
    return OK;
}

static enum status describe(const struct model *m, const struct generate_options *o, struct data_header *h,
                            struct error *e) {
    TRY(check_wanted(m, o, e));
    uint64_t sequences = (o->tokens + o->length - 1) / o->length, each = sequences / o->parts;
    uint64_t more = sequences % o->parts, before = o->part - 1; /* the first `more` parts have one more */
    *h = (struct data_header){.vocabulary = m->shape.vocabulary,
                              .length = o->length,
                              .sequences = sequences,
                              .validation = data_validation_count(sequences, o->split),
                              .first = before * each + (before < more ? before : more),
                              .count = each + (before < more),
                              .seed = o->seed,
                              .split = o->split,
                              .temperature = o->temperature,
                              .top_k = o->top_k};
    if (h->count == 0) {
        return error_set(e, ERR_USAGE, "part %u of %u: the set has only %llu sequences (allowed: as many parts)",
                         o->part, o->parts, (unsigned long long)sequences);
    }
    TRY(find_start(m, o, &h->start, e));
    snprintf(h->kernels, sizeof h->kernels, "%s, 16 bits", kernels()->name);
    h->model_hash = data_model_hash(m);
    h->tokenizer_hash = data_tokenizer_hash(m);
    return OK;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "generate: out of memory"); }

static enum status list_ends(struct generator *g, struct error *e) {
    uint32_t vocabulary = g->model->shape.vocabulary;
    g->ends = mem_alloc(vocabulary, sizeof *g->ends);
    if (!g->ends) {
        return no_memory(e);
    }
    for (uint32_t id = 0; id < vocabulary; id++) {
        if (model_is_end(g->model, (int32_t)id)) {
            g->ends[g->end_count++] = (int32_t)id;
        }
    }
    return OK;
}

static enum status create_samplers(struct generator *g, struct error *e) {
    const struct generate_options *o = g->options;
    struct sampler_options so = {.temperature = o->temperature, .top_k = o->top_k, .top_p = 1, .seed = o->seed,
                                 .repetition_penalty = 1};
    g->threads = threads_count();
    g->samplers = mem_alloc((size_t)g->threads, sizeof(struct sampler *));
    if (!g->samplers) {
        return no_memory(e);
    }
    for (int i = 0; i < g->threads; i++) {
        TRY(sampler_create(&so, g->model->shape.vocabulary, &g->samplers[i], e));
        sampler_forbid(g->samplers[i], g->ends, g->end_count);
    }
    return OK;
}

static enum status prepare(struct generator *g, const struct data_header *h, uint64_t done, struct error *e) {
    const struct generate_options *o = g->options;
    g->next = h->first + done;
    g->end = h->first + h->count;
    g->batch = g->end - g->next < o->batch ? (uint32_t)(g->end - g->next) : o->batch;
    g->slots = mem_alloc(g->batch, sizeof *g->slots);
    g->tokens = mem_alloc(g->batch, sizeof *g->tokens);
    g->ids = mem_alloc(g->batch, o->length * sizeof *g->ids);
    if (!g->slots || !g->tokens || !g->ids) {
        return no_memory(e);
    }
    TRY(list_ends(g, e));
    TRY(create_samplers(g, e));
    size_t needed = (size_t)o->top_k + g->end_count;
    g->likeliest = o->top_k > 0 && needed < g->model->shape.vocabulary ? (uint32_t)needed : 0;
    struct session_options so = {.context = o->length, .sequences = g->batch, .sixteen_bits = true,
                                 .likeliest = g->likeliest};
    return session_create(g->model, &so, &g->session, e);
}

static void clear(struct generator *g) {
    for (int i = 0; g->samplers && i < g->threads; i++) {
        sampler_destroy(g->samplers[i]);
    }
    session_destroy(g->session);
    mem_free(g->samplers);
    mem_free(g->ends);
    mem_free(g->slots);
    mem_free(g->tokens);
    mem_free(g->ids);
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static int32_t *ids_of(const struct generator *g, uint32_t slot) {
    return g->ids + (size_t)slot * g->options->length;
}

static void start_sequence(struct generator *g, uint32_t slot, int32_t start) {
    session_restart(g->session, slot);
    g->slots[slot] = (struct slot){g->next++, 0};
    ids_of(g, slot)[0] = start;
}

static void draw_ids(void *context, size_t begin, size_t end, int worker) {
    const struct generator *g = context;
    struct sampler *sampler = g->samplers[worker];
    for (size_t i = begin; i < end; i++) {
        struct slot *s = &g->slots[i];
        sampler_set_request(sampler, s->sequence);
        s->position++;
        ids_of(g, (uint32_t)i)[s->position] =
            g->likeliest ? sampler_next_among(sampler, g->found + i * g->likeliest, g->likeliest, s->position)
                         : sampler_next(sampler, g->logits + i * g->model->shape.vocabulary, s->position, NULL, 0);
    }
}

/* One more id for every slot at work. */
static enum status step(struct generator *g, struct error *e) {
    for (uint32_t i = 0; i < g->active; i++) {
        g->tokens[i] = (struct decode_token){i, ids_of(g, i)[g->slots[i].position]};
    }
    TRY(g->likeliest ? session_decode_likeliest(g->session, g->tokens, g->active, &g->found, e)
                     : session_decode(g->session, g->tokens, g->active, &g->logits, e));
    parallel_for(g->active, 1, 0, draw_ids, g);
    return OK;
}

/* Writes what is complete and puts the next sequences there. All have one length and began in rising order, so they are
 * complete in that order; once there are no more, the last slots are the first without work. */
static enum status replace_complete(struct generator *g, struct data_writer *w, int32_t start, struct error *e) {
    uint32_t at_work = 0;
    for (uint32_t i = 0; i < g->active; i++) {
        bool complete = g->slots[i].position + 1 == g->options->length;
        if (complete) {
            TRY(data_writer_add(w, ids_of(g, i), e));
        }
        if (complete && g->next < g->end) {
            start_sequence(g, i, start);
        }
        at_work += g->slots[i].position + 1 < g->options->length;
    }
    g->active = at_work;
    return OK;
}

static enum status write_all(struct generator *g, const struct data_header *h, struct data_writer *w,
                             struct error *e) {
    struct progress *progress = progress_create("generate", h->count * h->length);
    enum status status = OK;
    for (g->active = 0; g->active < g->batch; g->active++) {
        start_sequence(g, g->active, h->start);
    }
    while (status == OK && g->active > 0) {
        status = step(g, e);
        status = status == OK ? replace_complete(g, w, h->start, e) : status;
        progress_update(progress, data_writer_count(w) * h->length + (uint64_t)g->active * (g->slots[0].position + 1));
        status = status == OK && g->active > 0 ? check_interrupted(e) : status;
    }
    progress_destroy(progress);
    if (status != OK && interrupted()) {
        return error_set(e, ERR_RUN, "interrupted: %llu of %llu sequences are kept, and the same command goes on from "
                         "there", (unsigned long long)data_writer_count(w), (unsigned long long)h->count);
    }
    return status;
}

static enum status go_on(const struct model *m, const struct generate_options *o, const struct data_header *h,
                         struct data_writer *w, struct generate_result *out, struct error *e) {
    struct generator g = {.model = m, .options = o};
    uint64_t done = data_writer_count(w);
    enum status status = OK;
    if (done < h->count) {
        status = prepare(&g, h, done, e);
        double start_s = now_s();
        status = status == OK ? write_all(&g, h, w, e) : status;
        out->seconds = now_s() - start_s;
        out->drawn = data_writer_count(w) - done;
    }
    clear(&g);
    return status == OK ? data_writer_finish(w, e) : status;
}

enum status adapt_generate(const struct model *m, const char *path, const struct generate_options *o,
                           struct generate_result *out, struct error *e) {
    struct data_header h;
    struct data_writer *w;
    *out = (struct generate_result){.drawn = 0};
    TRY(describe(m, o, &h, e));
    TRY(data_writer_open(path, &h, &w, e));
    out->sequences = h.sequences;
    out->validation = h.validation;
    out->first = h.first;
    out->count = h.count;
    enum status status = w ? go_on(m, o, &h, w, out, e) : OK;
    data_writer_close(w);
    return status;
}
