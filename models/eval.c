/* Perplexity of a text: design.md section 6, `eval perplexity`.
 *
 * The whole text is tokenised once without special tokens. Windows of W tokens run on their own:
 *   with BOS:    [BOS] + ids[(W-1)k : (W-1)(k+1)], every token after BOS is predicted
 *   without BOS: ids[(W-1)k : (W-1)k + W], the first one is not predicted
 * so that both predict W-1 tokens per window; the last, partial window counts.
 *
 *   nll = -(1/N) sum ln p(token | tokens before it in the window),  perplexity = exp(nll),
 *   bits per byte = N nll / (ln 2 * bytes of the text)
 *
 * The order of the sum is that of the text, whatever the number of threads.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/threads.h"
#include "models/internal.h"

/* Cut at `limit` bytes, not inside a UTF-8 character: continuation bytes are 10xxxxxx. */
static size_t limited(const char *text, size_t bytes, uint64_t limit) {
    if (limit == 0 || limit >= bytes) {
        return bytes;
    }
    size_t end = (size_t)limit;
    while (end > 0 && limit - end < 3 && ((unsigned char)text[end] & 0xC0) == 0x80) {
        end--;
    }
    return end;
}

struct scoring { const float *logits; size_t vocabulary; const int32_t *ids; double *log_p; };

/* ln p of ids[t] under logits row t. */
static void score_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct scoring *s = context;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        s->log_p[t] = log_probability(s->logits + t * s->vocabulary, s->vocabulary, s->ids[t]);
    }
}

/* Adds ln p of every token after the first of a window to *sum. log_p: scratch [max_batch]. */
static enum status run_window(struct session *s, const int32_t *ids, uint32_t count, double *log_p, double *sum,
                              struct error *e) {
    session_rewind(s, 0);
    for (uint32_t first = 0; first + 1 < count;) {
        uint32_t left = count - 1 - first, n = left < s->max_batch ? left : s->max_batch;
        const float *logits;
        TRY(session_forward(s, ids + first, n, LOGITS_ALL, &logits, e));
        struct scoring scoring = {logits, s->model->shape.vocabulary, ids + first + 1, log_p};
        parallel_for(n, 0, s->threads, score_tokens, &scoring);
        for (uint32_t t = 0; t < n; t++) {
            *sum += log_p[t];
        }
        first += n;
    }
    return OK;
}

struct windows {
    const int32_t *ids;
    size_t count;
    uint32_t size;
    int32_t bos; /* -1: none */
    int32_t *buffer;
    double *log_p;
};

static enum status run_windows(struct session *s, const struct windows *w, double *sum, uint64_t *predicted,
                               struct error *e) {
    struct progress *progress = progress_create("perplexity", w->count);
    size_t step = w->size - 1, bos = w->bos >= 0;
    enum status status = OK;
    for (size_t at = 0; at + !bos < w->count && status == OK; at += step) {
        size_t room = w->size - bos, n = w->count - at < room ? w->count - at : room;
        w->buffer[0] = w->bos;
        memcpy(w->buffer + bos, w->ids + at, n * sizeof *w->ids);
        status = run_window(s, w->buffer, (uint32_t)(n + bos), w->log_p, sum, e);
        *predicted += n + bos - 1;
        progress_update(progress, at + n);
        if (status == OK) {
            status = check_interrupted(e);
        }
    }
    progress_destroy(progress);
    return status;
}

static enum status check_options(const struct session *s, const struct model *m, const struct perplexity_options *o,
                                 struct error *e) {
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: the model has no tokenizer, so a text cannot be evaluated", m->view.path);
    }
    if (o->window < 2 || o->window > s->context) {
        return error_set(e, ERR_USAGE, "window = %u: out of range (allowed: 2 to %u, the context of the session)",
                         o->window, s->context);
    }
    if (o->bos && model_bos(m) < 0) {
        return error_set(e, ERR_USAGE, "%s: the model has no BOS token (allowed: --bos off)", m->view.path);
    }
    return OK;
}

static enum status evaluate_ids(struct session *s, const struct model *m, const struct token_list *ids,
                                const struct perplexity_options *o, struct perplexity_result *out, struct error *e) {
    double sum = 0.0;
    struct windows w = {.ids = ids->ids, .count = ids->count, .size = o->window, .bos = o->bos ? model_bos(m) : -1};
    w.buffer = mem_alloc(o->window, sizeof *w.buffer);
    w.log_p = mem_alloc(s->max_batch, sizeof *w.log_p);
    enum status status = w.buffer && w.log_p ? run_windows(s, &w, &sum, &out->tokens, e)
                                             : error_set(e, ERR_RUN, "perplexity: out of memory");
    mem_free(w.buffer);
    mem_free(w.log_p);
    if (status == OK && out->tokens == 0) {
        status = error_set(
            e, ERR_RUN, "perplexity: the text is too short: it has %zu tokens, and none can be predicted", ids->count);
    }
    if (status == OK) {
        out->nll_nats = -sum / (double)out->tokens;
        out->perplexity = exp(out->nll_nats);
        out->bits_per_byte = -sum / log(2.0) / (double)out->bytes;
    }
    return status;
}

enum status eval_perplexity(struct session *s, const struct model *m, const char *text, size_t bytes,
                            const struct perplexity_options *o, struct perplexity_result *out, struct error *e) {
    TRY(check_options(s, m, o, e));
    *out = (struct perplexity_result){.bytes = limited(text, bytes, o->limit_bytes)};
    struct token_list ids = {NULL, 0, 0};
    enum status status = tokenizer_encode(m->tokenizer, text, (size_t)out->bytes, false, false, &ids, e);
    if (status == OK) {
        status = evaluate_ids(s, m, &ids, o, out, e);
    }
    token_list_clear(&ids);
    return status;
}
