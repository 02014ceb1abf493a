/* The ratio of `mho bench` for generation: one sequence after another, as `mho run` decodes, against many at once, as
 * `mho adapt generate` does (16-bit arithmetic, only the likeliest logits). Digital, each token drawn from the 50
 * likeliest, drawing included. In turns (A B A B ...), one sequence of GENERATED tokens and BATCH of them:
 * what is compared is tokens per second. The first turn is not counted. */
#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "tools/bench.h"

enum { BATCH = 128, GENERATED = 32, LIKELIEST = 50 };

struct generation {
    struct session *alone, *many;
    struct sampler *samplers[THREADS_MAX];
    int threads;
    size_t vocabulary;
    int32_t start, ids[BATCH];
    bool together;
    const float *logits;           /* [vocabulary] of one alone */
    const struct candidate *found; /* [count][LIKELIEST] of many */
    uint64_t position;
};

static void draw(void *context, size_t begin, size_t end, int worker) {
    struct generation *g = context;
    for (size_t i = begin; i < end; i++) {
        struct sampler *sampler = g->samplers[worker];
        sampler_set_request(sampler, i);
        g->ids[i] = g->together ? sampler_next_among(sampler, g->found + i * LIKELIEST, LIKELIEST, g->position)
                                : sampler_next(sampler, g->logits, g->position, NULL, 0);
    }
}

/* Seconds per token of `count` sequences; many at once, or the first alone. */
static enum status time_sequences(struct generation *g, uint32_t count, double *seconds, struct error *e) {
    struct decode_token tokens[BATCH];
    session_rewind(g->alone, 0);
    for (uint32_t i = 0; i < BATCH; i++) {
        session_restart(g->many, i);
        g->ids[i] = g->start;
    }
    g->together = count > 1;
    double start_s = now_s();
    for (g->position = 1; g->position <= GENERATED; g->position++) {
        for (uint32_t i = 0; i < count; i++) {
            tokens[i] = (struct decode_token){i, g->ids[i]};
        }
        TRY(count > 1 ? session_decode_likeliest(g->many, tokens, count, &g->found, e)
                      : session_forward(g->alone, g->ids, 1, LOGITS_LAST, &g->logits, e));
        parallel_for(count, 1, 0, draw, g);
    }
    *seconds = (now_s() - start_s) / GENERATED / count;
    return OK;
}

static enum status prepare(struct generation *g, const struct model *m, struct error *e) {
    struct sampler_options so = {.temperature = 1, .top_k = LIKELIEST, .top_p = 1, .repetition_penalty = 1};
    g->start = model_bos(m) < 0 ? 0 : model_bos(m);
    g->vocabulary = model_shape(m)->vocabulary;
    g->threads = threads_count();
    for (int i = 0; i < g->threads; i++) {
        TRY(sampler_create(&so, g->vocabulary, &g->samplers[i], e));
    }
    TRY(session_create(m, &(struct session_options){.context = GENERATED}, &g->alone, e));
    struct session_options so_many = {.context = GENERATED, .sequences = BATCH, .sixteen_bits = true,
                                      .likeliest = LIKELIEST};
    return session_create(m, &so_many, &g->many, e);
}

enum status measure_generation(const struct options *o, const struct model *m, struct generation_speed *out,
                               struct error *e) {
    struct generation *g = mem_alloc(1, sizeof *g);
    if (!g) {
        return error_set(e, ERR_RUN, "bench: out of memory");
    }
    enum status s = prepare(g, m, e);
    for (int64_t i = 0; s == OK && i <= o->repetitions; i++) {
        double alone_s, many_s;
        s = time_sequences(g, 1, &alone_s, e);
        s = s == OK ? time_sequences(g, BATCH, &many_s, e) : s;
        if (s == OK && i > 0) {
            series_add(&out->alone_s, alone_s);
            series_add(&out->many_s, many_s);
            series_add(&out->ratio, alone_s / many_s);
        }
        s = s == OK ? check_interrupted(e) : s;
    }
    session_destroy(g->alone);
    session_destroy(g->many);
    for (int i = 0; i < g->threads; i++) {
        sampler_destroy(g->samplers[i]);
    }
    mem_free(g);
    return s;
}
