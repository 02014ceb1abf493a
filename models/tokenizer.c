/* Text to ids and back. See tokenizer_parts.h for the way that text takes.
 *
 * Text is bytes. Where it is not valid UTF-8, each offending byte is cut out and becomes its own byte-level piece (or
 * byte token, or the unknown token), and what follows goes on as if nothing had been cut: no second space is put in
 * front. With byte tokens in the vocabulary decode(encode(x)) = x for every x, but for what a normaliser changes:
 * SentencePiece vocabularies write a space as U+2581, so a U+2581 in the text comes back as a space. The space that
 * they put in front of a text is taken off again by decoding.
 *
 * The format of tokenizer.json is that of the Hugging Face tokenizers library; the order of the steps is the same.
 */
#include <string.h>

#include "base/io.h"
#include "models/tokenizer_parts.h"

/* ---- lists and scratch --------------------------------------------------------------------------------- */

void token_list_clear(struct token_list *l) {
    mem_free(l->ids);
    *l = (struct token_list){0};
}

enum status token_list_add(struct token_list *l, int32_t id, struct error *e) {
    TRY(grow(&l->ids, &l->capacity, l->count + 1, sizeof *l->ids, e));
    l->ids[l->count++] = id;
    return OK;
}

enum status scratch_open(struct scratch *s, struct error *e) {
    *s = (struct scratch){0};
    return matcher_create(&s->matcher, e);
}

void scratch_close(struct scratch *s) {
    matcher_destroy(s->matcher);
    for (int i = 0; i < 2; i++) {
        mem_free(s->normal[i].data);
        mem_free(s->words[i].data);
        mem_free(s->ranges[i].at);
    }
    mem_free(s->key.data);
    mem_free(s->symbols);
    mem_free(s->heap);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

enum status tokenizer_open(const struct weights *w, struct tokenizer **out, struct error *e) {
    if (weights_is_gguf(w)) {
        return tokenizer_load_gguf(weights_gguf(w), weights_path(w), out, e);
    }
    return tokenizer_open_path(weights_path(w), out, e);
}

static bool ends_in(const char *path, const char *end) {
    size_t bytes = strlen(path), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(path + bytes - end_bytes, end) == 0;
}

enum status tokenizer_open_path(const char *path, struct tokenizer **out, struct error *e) {
    *out = NULL;
    if (is_directory(path)) {
        char *file = path_join(path, "tokenizer.json");
        enum status status = OK;
        if (!file) {
            status = out_of_memory(e);
        } else if (!file_exists(file)) {
            status = error_set(e, ERR_RUN, "%s: no tokenizer.json in this folder", path);
        } else {
            status = tokenizer_load_json(file, path, out, e);
        }
        mem_free(file);
        return status;
    }
    if (!ends_in(path, ".gguf")) {
        return tokenizer_load_json(path, NULL, out, e);
    }
    struct weights *w;
    TRY(weights_open(path, &w, e));
    enum status status = tokenizer_open(w, out, e);
    weights_close(w);
    return status;
}

void tokenizer_close(struct tokenizer *t) {
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->normalise_count; i++) {
        regex_destroy(t->normalise[i].pattern);
    }
    for (size_t i = 0; i < t->pretoken_count; i++) {
        regex_destroy(t->pretoken[i].pattern);
    }
    added_clear(&t->added);
    added_clear(&t->added_normalised);
    mem_free(t->joined.data);
    mem_free(t->tokens);
    mem_free(t->slots);
    mem_free(t->pairs);
    mem_free(t->before);
    mem_free(t->after);
    arena_destroy(t->arena);
    mem_free(t);
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

/* One call of encode. */
struct encoding {
    const struct tokenizer *t;
    struct scratch *s;
    struct token_list *out;
    bool parse_special;
};

/* Normalised text without added tokens. */
static enum status encode_words(struct encoding *c, const char *text, size_t bytes, bool first, bool prepend,
                                struct error *e) {
    const struct range_list *words;
    TRY(pretokenise(c->t, c->s, text, bytes, first, prepend, &text, &words, e));
    for (size_t i = 0; i < words->count; i++) {
        TRY(check_interrupted(e));
        TRY(encode_word(c->t, c->s, text + words->at[i].start, words->at[i].end - words->at[i].start, c->out, e));
    }
    return OK;
}

/* Valid UTF-8 as given, without added tokens of the first kind. */
static enum status encode_valid(struct encoding *c, const char *text, size_t bytes, bool first, bool prepend,
                                struct error *e) {
    TRY(normalise(c->t, c->s, text, bytes, prepend, &text, &bytes, e));
    size_t from = 0;
    while (from < bytes) {
        struct range match = {bytes, bytes};
        const struct added_token *token =
            added_find(&c->t->added_normalised, text, bytes, from, c->parse_special, &match);
        if (match.start > from) {
            TRY(encode_words(c, text + from, match.start - from, first && from == 0, prepend, e));
        }
        if (token) {
            TRY(token_list_add(c->out, token->id, e));
        }
        from = match.end;
    }
    return OK;
}

/* Text between added tokens: runs of valid UTF-8 and single invalid bytes. */
static enum status encode_segment(struct encoding *c, const char *text, size_t bytes, bool first, struct error *e) {
    size_t start = 0, i = 0;
    while (i < bytes) {
        size_t length = utf8_length(text + i, bytes - i);
        if (length) {
            i += length;
            continue;
        }
        if (i > start) {
            TRY(encode_valid(c, text + start, i - start, first && start == 0, start == 0, e));
        }
        TRY(emit_bytes(c->t, text + i, 1, c->out, e));
        start = ++i;
    }
    return bytes > start ? encode_valid(c, text + start, bytes - start, first && start == 0, start == 0, e) : OK;
}

static enum status encode_text(struct encoding *c, const char *text, size_t bytes, struct error *e) {
    size_t from = 0;
    while (from < bytes) {
        struct range match = {bytes, bytes};
        const struct added_token *token = added_find(&c->t->added, text, bytes, from, c->parse_special, &match);
        if (match.start > from) {
            TRY(encode_segment(c, text + from, match.start - from, from == 0, e));
        }
        if (token) {
            TRY(token_list_add(c->out, token->id, e));
        }
        from = match.end;
    }
    return OK;
}

static enum status add_all(struct token_list *out, const int32_t *ids, size_t count, struct error *e) {
    for (size_t i = 0; i < count; i++) {
        TRY(token_list_add(out, ids[i], e));
    }
    return OK;
}

enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes, bool add_special,
                             bool parse_special, struct token_list *out, struct error *e) {
    if (bytes > TEXT_LIMIT_BYTES) {
        return error_set(e, ERR_USAGE, "text: %zu bytes are too many to encode at once (allowed: %zu)", bytes,
                         TEXT_LIMIT_BYTES);
    }
    struct scratch scratch;
    TRY(scratch_open(&scratch, e));
    struct encoding c = {t, &scratch, out, parse_special};
    enum status status;
    TRY_GOTO(status, add_special ? add_all(out, t->before, t->before_count, e) : OK, end);
    TRY_GOTO(status, encode_text(&c, text, bytes, e), end);
    TRY_GOTO(status, add_special ? add_all(out, t->after, t->after_count, e) : OK, end);
end:
    scratch_close(&scratch);
    return status;
}

/* ---- decoding ------------------------------------------------------------------------------------------------- */

static const struct token *token_at(const struct tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->count && (t->tokens[id].flags & TOKEN_PRESENT) ? &t->tokens[id] : NULL;
}

/* Takes up to `limit` spaces off each end. */
static void strip_spaces(const struct tokenizer *t, struct text_buffer *b) {
    size_t left = 0, right = 0;
    while (left < t->strip_left && left < b->used && b->data[left] == ' ') {
        left++;
    }
    while (right < t->strip_right && right < b->used - left && b->data[b->used - 1 - right] == ' ') {
        right++;
    }
    b->used -= left + right;
    memmove(b->data, b->data + left, b->used);
}

enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                             char **text, size_t *bytes, struct error *e) {
    struct text_buffer b = {0};
    enum status status = buffer_terminate(&b, e);
    for (size_t i = 0; i < count && status == OK; i++) {
        const struct token *token = token_at(t, ids[i]);
        if (!token) {
            status = error_set(e, ERR_USAGE,
                               "ids: position %zu: id %d is not in the vocabulary (allowed: 0 to %zu, without holes)",
                               i, ids[i], t->count ? t->count - 1 : 0);
        } else if (!(skip_special && (token->flags & TOKEN_SPECIAL))) {
            status = buffer_add(&b, token->piece, token->piece_bytes, e);
        }
    }
    if (status == OK) {
        strip_spaces(t, &b);
        status = buffer_terminate(&b, e);
    }
    if (status != OK) {
        mem_free(b.data);
        return status;
    }
    *text = b.data;
    *bytes = b.used;
    return OK;
}

void tokenizer_piece(const struct tokenizer *t, int32_t id, const char **bytes, size_t *count) {
    const struct token *token = token_at(t, id);
    *bytes = token ? token->piece : "";
    *count = token ? token->piece_bytes : 0;
}

/* ---- streaming -------------------------------------------------------------------------------------------------- */

/* Can more bytes turn this into a character? */
static bool may_grow(const char *text, size_t bytes) {
    unsigned char lead = (unsigned char)text[0];
    size_t wanted = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
    bool tail = true;
    for (size_t i = 1; i < bytes; i++) {
        tail = tail && ((unsigned char)text[i] & 0xc0) == 0x80;
    }
    return tail && lead < 0xf5 && bytes < wanted;
}

size_t tokenizer_stream(const struct tokenizer *t, struct token_stream *s, int32_t id, bool skip_special, char *out,
                        size_t room) {
    const struct token *token = token_at(t, id);
    if (!token || (skip_special && (token->flags & TOKEN_SPECIAL))) {
        return 0;
    }
    size_t used = 0, skip = !s->started && t->strip_left && token->piece_bytes && token->piece[0] == ' ';
    s->started = true;
    for (size_t i = skip; i < token->piece_bytes; i++) {
        if (((unsigned char)token->piece[i] & 0xc0) != 0x80) { /* what is held ends here, whole or not */
            used += tokenizer_stream_end(s, out + used, room - used);
        }
        s->held[s->held_count++] = token->piece[i];
        if (!may_grow(s->held, s->held_count)) {
            used += tokenizer_stream_end(s, out + used, room - used);
        }
    }
    return used;
}

size_t tokenizer_stream_end(struct token_stream *s, char *out, size_t room) {
    size_t count = s->held_count < room ? s->held_count : room;
    memcpy(out, s->held, count);
    s->held_count = 0;
    return count;
}

size_t tokenizer_longest_piece(const struct tokenizer *t) {
    size_t longest = 0;
    for (size_t i = 0; i < t->count; i++) {
        longest = t->tokens[i].piece_bytes > longest ? t->tokens[i].piece_bytes : longest;
    }
    return longest;
}

/* ---- questions ------------------------------------------------------------------------------- */

size_t tokenizer_size(const struct tokenizer *t) { return t->count; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
const char *tokenizer_chat_template(const struct tokenizer *t) { return t->chat_template; }
int32_t tokenizer_find(const struct tokenizer *t, const char *piece) {
    return tokenizer_find_any(t, piece, strlen(piece));
}

bool tokenizer_adds_bos(const struct tokenizer *t) {
    return t->bos >= 0 && t->before_count > 0 && t->before[0] == t->bos;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id) {
    const struct token *token = token_at(t, id);
    return token && (token->flags & TOKEN_END);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id) {
    const struct token *token = token_at(t, id);
    return token && (token->flags & TOKEN_SPECIAL);
}
