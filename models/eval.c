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

/* Adds ln p of every token after the first of a window to *sum. log_p: scratch [max_batch]. */
static enum status run_window(struct session *s, const int32_t *ids, uint32_t count, double *log_p, double *sum,
                              struct error *e) {
    session_rewind(s, 0);
    for (uint32_t first = 0; first + 1 < count;) {
        uint32_t left = count - 1 - first, n = left < s->max_batch ? left : s->max_batch;
        const float *logits;
        TRY(session_forward(s, ids + first, n, LOGITS_ALL, &logits, e));
        log_probabilities(logits, s->model->shape.vocabulary, ids + first + 1, n, s->threads, log_p);
        for (uint32_t t = 0; t < n; t++) {
            *sum += log_p[t];
        }
        first += n;
    }
    return OK;
}

struct perplexity_text {
    const struct model *model;
    struct token_list ids;
    uint32_t window;
    int32_t bos; /* -1: none */
    uint64_t bytes;
    int32_t *buffer; /* [window] */
};

static enum status check_options(const struct model *m, const struct perplexity_options *o, struct error *e) {
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: the model has no tokenizer, so a text cannot be evaluated", m->view.path);
    }
    if (o->window < 2 || o->window > m->shape.context) {
        return error_set(e, ERR_USAGE, "window = %u: out of range (allowed: 2 to %u, the context of the model)",
                         o->window, m->shape.context);
    }
    if (o->bos && model_bos(m) < 0) {
        return error_set(e, ERR_USAGE, "%s: the model has no BOS token (allowed: --bos off)", m->view.path);
    }
    return OK;
}

enum status perplexity_open(const struct model *m, const char *text, size_t bytes, const struct perplexity_options *o,
                            struct perplexity_text **out, struct error *e) {
    TRY(check_options(m, o, e));
    struct perplexity_text *t = mem_alloc(1, sizeof *t);
    if (!t || !(t->buffer = mem_alloc(o->window, sizeof *t->buffer))) {
        mem_free(t);
        return error_set(e, ERR_RUN, "perplexity: out of memory");
    }
    t->model = m;
    t->window = o->window;
    t->bos = o->bos ? model_bos(m) : -1;
    t->bytes = limited(text, bytes, o->limit_bytes);
    enum status status = tokenizer_encode(m->tokenizer, text, (size_t)t->bytes, false, false, &t->ids, e);
    if (status == OK && perplexity_windows(t) == 0) {
        status = error_set(
            e, ERR_RUN, "perplexity: the text is too short: it has %zu tokens, and none can be predicted",
            t->ids.count);
    }
    if (status != OK) {
        perplexity_close(t);
        return status;
    }
    *out = t;
    return OK;
}

void perplexity_close(struct perplexity_text *t) {
    if (t) {
        token_list_clear(&t->ids);
        mem_free(t->buffer);
        mem_free(t);
    }
}

/* Tokens that no window predicts: the first one, without BOS. */
static size_t unpredicted(const struct perplexity_text *t) { return t->bos < 0; }

size_t perplexity_windows(const struct perplexity_text *t) {
    size_t step = t->window - 1, first = unpredicted(t);
    return t->ids.count > first ? (t->ids.count - first + step - 1) / step : 0;
}

uint64_t perplexity_bytes(const struct perplexity_text *t) { return t->bytes; }

enum status perplexity_window(struct session *s, const struct perplexity_text *t, size_t k, double *sum_log_p,
                              uint32_t *tokens, struct error *e) {
    size_t bos = t->bos >= 0, at = k * (t->window - 1), room = t->window - bos;
    size_t n = t->ids.count - at < room ? t->ids.count - at : room;
    double *log_p = mem_alloc(s->max_batch, sizeof *log_p);
    if (!log_p) {
        return error_set(e, ERR_RUN, "perplexity: out of memory");
    }
    t->buffer[0] = t->bos;
    memcpy(t->buffer + bos, t->ids.ids + at, n * sizeof *t->buffer);
    *sum_log_p = 0.0;
    *tokens = (uint32_t)(n + bos - 1);
    enum status status = run_window(s, t->buffer, (uint32_t)(n + bos), log_p, sum_log_p, e);
    mem_free(log_p);
    return status;
}

struct perplexity_result perplexity_result(double sum_log_p, uint64_t tokens, uint64_t bytes) {
    struct perplexity_result r = {.tokens = tokens, .bytes = bytes, .nll_nats = -sum_log_p / (double)tokens};
    r.perplexity = exp(r.nll_nats);
    r.bits_per_byte = -sum_log_p / log(2.0) / (double)bytes;
    return r;
}

enum status eval_perplexity(struct session *s, const struct model *m, const char *text, size_t bytes,
                            const struct perplexity_options *o, struct perplexity_result *out, struct error *e) {
    struct perplexity_text *t;
    if (o->window > s->context) {
        return error_set(e, ERR_USAGE, "window = %u: out of range (allowed: 2 to %u, the context of the session)",
                         o->window, s->context);
    }
    TRY(perplexity_open(m, text, bytes, o, &t, e));
    double sum = 0.0;
    uint64_t predicted = 0;
    enum status status = OK;
    for (size_t k = 0; k < perplexity_windows(t) && status == OK; k++) {
        double part = 0.0;
        uint32_t tokens = 0;
        status = perplexity_window(s, t, k, &part, &tokens, e);
        sum += part;
        predicted += tokens;
        if (status == OK) {
            status = check_interrupted(e);
        }
    }
    if (status == OK) {
        *out = perplexity_result(sum, predicted, perplexity_bytes(t));
    }
    perplexity_close(t);
    return status;
}
