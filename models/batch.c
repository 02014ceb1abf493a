/* Many sequences in one session: batched decoding. See session_decode in model.h.
 *
 * One token alone is bound by reading every weight of the model from memory. B tokens of B sequences read them once:
 * each linear layer is one product of its matrix with B rows, and only attention, which has no weights, works on each
 * sequence by itself, on a cache of its own. The step is that of transformer.c; here is who takes part in it.
 *
 *   time per token ~ max(weight bytes / (B bandwidth), 2 weights / arithmetic),   B = 1 .. 64
 *
 * Sequences need not be of one length, and one that has ended makes place for the next at once (session_restart): there
 * are no rounds. The order of every sum belongs to the sequence alone, so its bits do not depend on its company.
 *
 * Not here: prompts of several tokens at once, machines (their time and energy are worked out per sequence, serving.h),
 * and models that turn all keys anew beyond a length (LongRoPE), up to that length excepted. */
#include "models/internal.h"

enum status batch_check_options(const struct model *m, const struct session_options *o, struct error *e) {
    uint32_t longest = m->shape.rope.original_context;
    if (o->run || o->shapes || o->keep_hidden) {
        return error_set(e, ERR_USAGE, "session: %u sequences at once are run digitally, with values and without "
                         "hidden states (allowed otherwise: one sequence)", o->sequences);
    }
    if (longest && (o->context == 0 || o->context > longest)) {
        return error_set(e, ERR_USAGE, "session: %u sequences at once of %s: it turns its keys anew beyond %u "
                         "positions (allowed: a context of 1 to %u)", o->sequences, m->view.path, longest, longest);
    }
    return OK;
}

static enum status check_tokens(const struct session *s, const struct decode_token *tokens, uint32_t count,
                                struct error *e) {
    if (count == 0 || count > s->sequences) {
        return error_set(e, ERR_USAGE, "session: %u tokens for %u sequences (allowed: 1 to as many)", count,
                         s->sequences);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t sequence = tokens[i].sequence, vocabulary = s->model->shape.vocabulary;
        if (sequence >= s->sequences) {
            return error_set(e, ERR_USAGE, "session: sequence %u at index %u (allowed: 0 to %u)", sequence, i,
                             s->sequences - 1);
        }
        if (s->lengths[sequence] >= s->context) {
            return error_set(e, ERR_USAGE, "session: sequence %u is full (allowed: %u positions)", sequence,
                             s->context);
        }
        if (tokens[i].id < 0 || (uint32_t)tokens[i].id >= vocabulary) {
            return error_set(e, ERR_USAGE, "session: id %d at index %u: not in the vocabulary (allowed: 0 to %u)",
                             tokens[i].id, i, vocabulary - 1);
        }
    }
    return OK;
}

/* Places of the tokens, and the lengths that their sequences then have. A sequence that is there twice shows when its
 * length has passed the place that another token was given. */
static enum status take_places(struct session *s, const struct decode_token *tokens, uint32_t count, struct error *e) {
    for (uint32_t i = 0; i < count; i++) {
        s->places[i] = (struct token_place){tokens[i].sequence, s->lengths[tokens[i].sequence]++};
        s->history[i] = tokens[i].id;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (s->lengths[tokens[i].sequence] != s->places[i].position + 1) {
            return error_set(e, ERR_USAGE, "session: sequence %u more than once in a step (allowed: once)",
                             tokens[i].sequence);
        }
    }
    return OK;
}

static enum status decode(struct session *s, const struct decode_token *tokens, uint32_t count, struct error *e) {
    TRY(check_tokens(s, tokens, count, e));
    enum status status = take_places(s, tokens, count, e);
    if (status == OK) {
        status = transformer_step(s, s->history, count, LOGITS_ALL, e);
    }
    for (uint32_t i = 0; status != OK && i < count; i++) {
        s->lengths[tokens[i].sequence]--;
    }
    return status;
}

enum status session_decode(struct session *s, const struct decode_token *tokens, uint32_t count, const float **logits,
                           struct error *e) {
    if (s->likeliest > 0) {
        return error_set(e, ERR_USAGE, "session: it keeps %u logits of a token (allowed: session_decode_likeliest)",
                         s->likeliest);
    }
    *logits = s->logits;
    return decode(s, tokens, count, e);
}

enum status session_decode_likeliest(struct session *s, const struct decode_token *tokens, uint32_t count,
                                     const struct candidate **found, struct error *e) {
    if (s->likeliest == 0) {
        return error_set(e, ERR_USAGE, "session: it keeps all logits (allowed: session_decode)");
    }
    *found = s->found;
    return decode(s, tokens, count, e);
}

void session_restart(struct session *s, uint32_t sequence) { s->lengths[sequence] = 0; }
