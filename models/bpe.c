/* Byte pair encoding: a word starts as single symbols; the best pair of neighbours is joined, again and again.
 *
 * "Best" is the lowest rank, then the leftmost pair. Symbols are a doubly linked list in an array; a binary heap holds
 * (rank, position) of every pair that could be joined. A join changes the pairs on both sides, so heap entries grow
 * stale; an entry counts only if the symbol at its position still has that rank. n symbols: O(n log n) time, no
 * allocation once the scratch has grown.
 *
 * Source: Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units", ACL 2016; the order
 * of joins as in the Hugging Face tokenizers library and in SentencePiece.
 */
#include <stdio.h>

#include "models/tokenizer_parts.h"

enum { NO_PAIR = -1 };

/* ---- symbols ------------------------------------------------------------------------------------------ */

enum status symbol_add(struct scratch *s, size_t offset, size_t bytes, int32_t id, struct error *e) {
    TRY(grow(&s->symbols, &s->symbol_capacity, s->symbol_count + 1, sizeof *s->symbols, e));
    int32_t at = (int32_t)s->symbol_count++;
    s->symbols[at] = (struct symbol){.offset = offset,
                                     .bytes = (uint32_t)bytes,
                                     .id = id,
                                     .previous = at - 1,
                                     .next = at + 1,
                                     .rank = UINT32_MAX,
                                     .merged = -1};
    return OK;
}

static enum status no_token_for(const struct tokenizer *t, const char *bytes, size_t count, struct error *e) {
    char hex[16] = "";
    for (size_t i = 0; i < count && i < 4; i++) {
        snprintf(hex + 3 * i, 4, " %02x", (unsigned)(unsigned char)bytes[i]);
    }
    return error_set(e, ERR_RUN, "%s: no token for the bytes%s: the vocabulary has no byte tokens and no unknown token",
                     t->where, hex);
}

enum status symbols_of_bytes(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes,
                             struct error *e) {
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = t->byte_ids[(unsigned char)word[i]];
        if (id < 0 && t->unknown < 0) {
            return no_token_for(t, word + i, 1, e);
        }
        TRY(symbol_add(s, i, 1, id < 0 ? t->unknown : id, e));
    }
    return OK;
}

static bool all_bytes_known(const struct tokenizer *t, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (t->byte_ids[(unsigned char)text[i]] < 0) {
            return false;
        }
    }
    return true;
}

static enum status unknown_character(const struct tokenizer *t, struct scratch *s, const char *word, size_t offset,
                                     size_t bytes, struct error *e) {
    if (t->byte_fallback && all_bytes_known(t, word + offset, bytes)) {
        for (size_t i = 0; i < bytes; i++) {
            TRY(symbol_add(s, offset + i, 1, t->byte_ids[(unsigned char)word[offset + i]], e));
        }
        return OK;
    }
    if (t->unknown < 0) {
        return no_token_for(t, word + offset, bytes, e);
    }
    struct symbol *last = s->symbol_count ? &s->symbols[s->symbol_count - 1] : NULL;
    if (t->fuse_unknown && last && last->id == t->unknown) {
        last->bytes += (uint32_t)bytes;
        return OK;
    }
    return symbol_add(s, offset, bytes, t->unknown, e);
}

enum status symbols_of_characters(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes,
                                  struct error *e) {
    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(word + i, bytes - i);
        int32_t id = tokenizer_lookup(t, word + i, length);
        if (id >= 0 || t->model == WORD_SCORES) {
            TRY(symbol_add(s, i, length, id, e));
        } else {
            TRY(unknown_character(t, s, word, i, length, e));
        }
        i += length;
    }
    return OK;
}

/* ---- the heap: smallest key first; key = rank << 32 | position ------------------------------------------- */

static enum status heap_push(struct scratch *s, uint64_t key, struct error *e) {
    TRY(grow(&s->heap, &s->heap_capacity, s->heap_count + 1, sizeof *s->heap, e));
    size_t i = s->heap_count++;
    while (i > 0 && s->heap[(i - 1) / 2] > key) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = key;
    return OK;
}

static uint64_t heap_pop(struct scratch *s) {
    uint64_t top = s->heap[0], last = s->heap[--s->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_count) {
            break;
        }
        child += child + 1 < s->heap_count && s->heap[child + 1] < s->heap[child];
        if (last <= s->heap[child]) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* ---- joining ----------------------------------------------------------------------------------------------- */

static bool can_join(const struct tokenizer *t, const char *word, const struct symbol *left, const struct symbol *right,
                     uint32_t *rank, int32_t *merged) {
    if (t->model == WORD_SCORES) {
        return spm_join(t, word, left, right, rank, merged);
    }
    const struct pair_slot *slot = pair_slot_of(t, (uint64_t)(uint32_t)left->id << 32 | (uint32_t)right->id);
    *rank = slot->rank;
    *merged = slot->merged;
    return slot->merged >= 0;
}

/* Looks at the pair (at, next of at) and queues it. */
static enum status queue_pair(const struct tokenizer *t, struct scratch *s, const char *word, int32_t at,
                              struct error *e) {
    if (at < 0) {
        return OK;
    }
    struct symbol *left = &s->symbols[at];
    left->rank = UINT32_MAX;
    uint32_t rank;
    if (left->next < 0 || !can_join(t, word, left, &s->symbols[left->next], &rank, &left->merged)) {
        return OK;
    }
    left->rank = rank;
    return heap_push(s, (uint64_t)rank << 32 | (uint32_t)at, e);
}

enum status merge_symbols(const struct tokenizer *t, struct scratch *s, const char *word, struct error *e) {
    if (s->symbol_count == 0) {
        return OK;
    }
    s->heap_count = 0;
    s->symbols[s->symbol_count - 1].next = NO_PAIR;
    for (size_t i = 0; i + 1 < s->symbol_count; i++) {
        TRY(queue_pair(t, s, word, (int32_t)i, e));
    }
    while (s->heap_count) {
        uint64_t key = heap_pop(s);
        int32_t at = (int32_t)(key & UINT32_MAX);
        struct symbol *left = &s->symbols[at];
        if (left->bytes == 0 || left->rank != (uint32_t)(key >> 32)) {
            continue; /* stale */
        }
        struct symbol *right = &s->symbols[left->next];
        left->bytes += right->bytes;
        left->id = left->merged;
        left->next = right->next;
        right->bytes = 0;
        if (left->next >= 0) {
            s->symbols[left->next].previous = at;
        }
        TRY(queue_pair(t, s, word, left->previous, e));
        TRY(queue_pair(t, s, word, at, e));
    }
    return OK;
}

/* ---- a word -------------------------------------------------------------------------------------------------- */

enum status emit_bytes(const struct tokenizer *t, const char *bytes, size_t count, struct token_list *out,
                       struct error *e) {
    if (!all_bytes_known(t, bytes, count)) {
        if (t->unknown < 0) {
            return no_token_for(t, bytes, count, e);
        }
        return token_list_add(out, t->unknown, e);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(token_list_add(out, t->byte_ids[(unsigned char)bytes[i]], e));
    }
    return OK;
}

/* The id of a word that is a token as a whole, -1 if it is none. */
static enum status whole_word(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes, int32_t *id,
                              struct error *e) {
    if (t->model != WORD_BYTES) {
        *id = tokenizer_lookup(t, word, bytes);
        return OK;
    }
    s->key.used = 0;
    for (size_t i = 0; i < bytes; i++) {
        char spelled[2];
        size_t n = byte_character((unsigned char)word[i], spelled);
        TRY(buffer_add(&s->key, spelled, n, e));
    }
    *id = tokenizer_lookup(t, s->key.data, s->key.used);
    return OK;
}

enum status encode_word(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes,
                        struct token_list *out, struct error *e) {
    if (t->ignore_merges) {
        int32_t id;
        TRY(whole_word(t, s, word, bytes, &id, e));
        if (id >= 0 && !(t->tokens[id].flags & TOKEN_SPECIAL)) {
            return token_list_add(out, id, e);
        }
    }
    s->symbol_count = 0;
    if (t->model == WORD_BYTES) {
        TRY(symbols_of_bytes(t, s, word, bytes, e));
    } else {
        TRY(symbols_of_characters(t, s, word, bytes, e));
    }
    TRY(merge_symbols(t, s, word, e));
    for (int32_t i = s->symbol_count ? 0 : -1; i >= 0; i = s->symbols[i].next) {
        const struct symbol *symbol = &s->symbols[i];
        if (symbol->id >= 0) {
            TRY(token_list_add(out, symbol->id, e));
        } else {
            TRY(emit_bytes(t, word + symbol->offset, symbol->bytes, out, e));
        }
    }
    return OK;
}
