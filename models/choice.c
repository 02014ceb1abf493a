/* Scores the choices of an item: see choice.h.
 *
 * All choices begin with the same tokens, mostly the whole context. These run once; then the session goes back to the
 * last of them for every choice (the KV cache stays), so an item costs its context once and each choice its own tokens.
 */
#include <string.h>

#include "models/internal.h"

/* The tokens of all choices of an item. */
struct sequences {
    struct token_list lists[CHOICES_MOST];
    uint32_t count;
    size_t context; /* ids of [BOS] + encode(context) */
    double *log_p;  /* [max_batch] scratch */
};

static void sequences_clear(struct sequences *q) {
    for (uint32_t c = 0; c < q->count; c++) {
        token_list_clear(&q->lists[c]);
    }
    mem_free(q->log_p);
}

static enum status encode(const struct model *m, const char *text, bool bos, struct token_list *out, struct error *e) {
    if (bos) {
        TRY(token_list_add(out, model_bos(m), e));
    }
    return tokenizer_encode(m->tokenizer, text, strlen(text), false, false, out, e);
}

/* encode(context + " " + choice) */
static enum status encode_choice(const struct model *m, const char *context, const char *choice, bool bos,
                                 struct token_list *out, struct error *e) {
    size_t before = strlen(context), bytes = strlen(choice);
    char *text = mem_alloc(before + bytes + 2, 1);
    if (!text) {
        return error_set(e, ERR_RUN, "choice: out of memory");
    }
    memcpy(text, context, before);
    text[before] = ' ';
    memcpy(text + before + 1, choice, bytes);
    enum status s = encode(m, text, bos, out, e);
    mem_free(text);
    return s;
}

/* To be cleared, whatever comes back. */
static enum status encode_item(const struct model *m, const struct choice_set *set, size_t i, bool bos,
                               struct sequences *q, struct error *e) {
    const struct choice_item *item = choice_item_at(set, i);
    struct token_list context = {NULL, 0, 0};
    char *text = choice_context(set, i);
    enum status s = text ? encode(m, text, bos, &context, e) : error_set(e, ERR_RUN, "choice: out of memory");
    for (uint32_t c = 0; c < item->count && s == OK; c++) {
        q->count = c + 1;
        s = encode_choice(m, text, item->choices[c], bos, &q->lists[c], e);
        if (s == OK && q->lists[c].count <= context.count) {
            s = error_set(e, ERR_RUN, "item %zu: choice %u adds no token to the context", i, c);
        }
    }
    q->context = context.count;
    token_list_clear(&context);
    mem_free(text);
    return s;
}

/* Drops tokens behind BOS until every sequence fits: the last token of one is only predicted, never an input. */
static enum status cut(struct sequences *q, uint32_t context, bool bos, size_t i, uint32_t *dropped, struct error *e) {
    size_t longest = 0, drop;
    for (uint32_t c = 0; c < q->count; c++) {
        longest = q->lists[c].count > longest ? q->lists[c].count : longest;
    }
    drop = longest > (size_t)context + 1 ? longest - context - 1 : 0;
    *dropped = (uint32_t)drop;
    if (q->context < drop + bos + 1) {
        return error_set(e, ERR_RUN, "item %zu: a choice is as long as the context of the model (%u tokens)", i,
                         context);
    }
    for (uint32_t c = 0; c < q->count && drop; c++) {
        struct token_list *l = &q->lists[c];
        memmove(l->ids + bos, l->ids + bos + drop, (l->count - bos - drop) * sizeof *l->ids);
        l->count -= drop;
    }
    q->context -= drop;
    return OK;
}

/* How many tokens all sequences have in common, at most those of the context. */
static size_t common(const struct sequences *q) {
    size_t n = q->context;
    for (uint32_t c = 1; c < q->count; c++) {
        for (size_t k = 0; k < n; k++) {
            if (q->lists[c].ids[k] != q->lists[0].ids[k]) {
                n = k;
            }
        }
    }
    return n;
}

/* *sum = ln p of the ids from `context` on; the session holds ids[0..start). */
static enum status run_choice(struct session *s, const struct token_list *l, size_t start, size_t context,
                              double *log_p, double *sum, struct error *e) {
    *sum = 0.0;
    for (size_t first = start; first + 1 < l->count;) {
        size_t left = l->count - 1 - first, n = left < s->max_batch ? left : s->max_batch;
        const float *logits;
        TRY(session_forward(s, l->ids + first, (uint32_t)n, LOGITS_ALL, &logits, e));
        log_probabilities(logits, s->model->shape.vocabulary, l->ids + first + 1, n, s->threads, log_p);
        for (size_t t = 0; t < n; t++) {
            *sum += first + 1 + t >= context ? log_p[t] : 0.0;
        }
        first += n;
    }
    return OK;
}

static enum status run_item(struct session *s, struct sequences *q, struct choice_scores *out, struct error *e) {
    size_t shared = common(q), start = shared > 0 ? shared - 1 : 0;
    q->log_p = mem_alloc(s->max_batch, sizeof *q->log_p);
    if (!q->log_p) {
        return error_set(e, ERR_RUN, "choice: out of memory");
    }
    session_rewind(s, 0);
    if (start > 0) {
        TRY(session_forward(s, q->lists[0].ids, (uint32_t)start, LOGITS_NONE, NULL, e));
    }
    out->context_tokens = (uint32_t)q->context;
    for (uint32_t c = 0; c < q->count; c++) {
        session_rewind(s, (uint32_t)start);
        TRY(run_choice(s, &q->lists[c], start, q->context, q->log_p, &out->log_p[c], e));
        out->tokens[c] = (uint32_t)(q->lists[c].count - q->context);
    }
    return OK;
}

static void pick(const struct choice_item *item, struct choice_scores *out) {
    double best = 0.0, best_norm = 0.0;
    for (uint32_t c = 0; c < item->count; c++) {
        double norm = out->log_p[c] / (double)strlen(item->choices[c]);
        if (c == 0 || out->log_p[c] > best) {
            best = out->log_p[c];
            out->best = c;
        }
        if (c == 0 || norm > best_norm) {
            best_norm = norm;
            out->best_norm = c;
        }
    }
}

enum status choice_score(struct session *s, const struct model *m, const struct choice_set *c, size_t i, bool bos,
                         struct choice_scores *out, struct error *e) {
    struct sequences q = {.count = 0};
    *out = (struct choice_scores){.cut = 0};
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: the model has no tokenizer, so a text cannot be evaluated", m->view.path);
    }
    enum status status = encode_item(m, c, i, bos, &q, e);
    if (status == OK) {
        status = cut(&q, s->context, bos, i, &out->cut, e);
    }
    if (status == OK) {
        status = run_item(s, &q, out, e);
    }
    if (status == OK) {
        pick(choice_item_at(c, i), out);
    }
    sequences_clear(&q);
    return status;
}
