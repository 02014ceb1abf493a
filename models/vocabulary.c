/* The token table of a tokenizer: ids, texts, the bytes that each id stands for, and the two hash tables of encoding.
 *
 *   text index   text -> id, open addressing, at most half full
 *   merge table  (left id, right id) -> (rank, joined id), the same
 *
 * Byte-level vocabularies write bytes as printable characters (GPT-2's table): the bytes 0x21-0x7E, 0xA1-0xAC and
 * 0xAE-0xFF stand for the character of the same number, the other 68, in rising order, for U+0100 and up. So the
 * space is U+0120 and the line feed U+010A. SentencePiece vocabularies write a space as U+2581 and a byte as "<0x41>".
 */
#include <string.h>

#include "models/tokenizer_parts.h"

/* ---- growing memory --------------------------------------------------------------------------- */

enum status out_of_memory(struct error *e) { return error_set(e, ERR_RUN, "tokenizer: out of memory"); }

enum status grow(void *block, size_t *capacity, size_t wanted, size_t element_bytes, struct error *e) {
    if (wanted <= *capacity) {
        return OK;
    }
    size_t more = *capacity < 8 ? 16 : *capacity;
    while (more < wanted) {
        if (more > SIZE_MAX / 2 / element_bytes) {
            return out_of_memory(e);
        }
        more *= 2;
    }
    void *old;
    memcpy(&old, block, sizeof old);
    void *grown = mem_resize(old, *capacity * element_bytes, more * element_bytes);
    if (!grown) {
        return out_of_memory(e);
    }
    memcpy(block, &grown, sizeof grown);
    *capacity = more;
    return OK;
}

enum status buffer_add(struct text_buffer *b, const char *bytes, size_t count, struct error *e) {
    if (count == 0) {
        return OK;
    }
    if (count > SIZE_MAX / 4 - b->used) {
        return out_of_memory(e);
    }
    TRY(grow(&b->data, &b->capacity, b->used + count, 1, e));
    memcpy(b->data + b->used, bytes, count);
    b->used += count;
    return OK;
}

enum status buffer_terminate(struct text_buffer *b, struct error *e) {
    TRY(grow(&b->data, &b->capacity, b->used + 1, 1, e));
    b->data[b->used] = 0;
    return OK;
}

enum status range_add(struct range_list *l, size_t start, size_t end, struct error *e) {
    if (start == end) {
        return OK;
    }
    TRY(grow(&l->at, &l->capacity, l->count + 1, sizeof *l->at, e));
    l->at[l->count++] = (struct range){start, end};
    return OK;
}

/* ---- spelling of bytes ---------------------------------------------------------------------------- */

static bool stands_for_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

size_t byte_character(unsigned char byte, char out[2]) {
    unsigned point = byte;
    if (!stands_for_itself(byte)) {
        point = 0x100;
        for (unsigned b = 0; b < byte; b++) {
            point += !stands_for_itself(b);
        }
    }
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    out[0] = (char)(0xc0 | point >> 6);
    out[1] = (char)(0x80 | (point & 0x3f));
    return 2;
}

int byte_token_value(const char *text, size_t bytes) {
    static const char digits[] = "0123456789ABCDEF";
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

/* ---- the table -------------------------------------------------------------------------------------- */

enum status tokenizer_new(const char *where, struct tokenizer **out, struct error *e) {
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    if (!t) {
        return out_of_memory(e);
    }
    t->arena = arena_create();
    t->where = t->arena ? arena_strdup(t->arena, where) : NULL;
    if (!t->where) {
        tokenizer_close(t);
        return out_of_memory(e);
    }
    t->unknown = t->bos = -1;
    *out = t;
    return OK;
}

enum status tokenizer_put(struct tokenizer *t, int64_t id, const char *text, size_t bytes, unsigned flags,
                          struct error *e) {
    if (id < 0 || id >= TOKEN_ID_LIMIT) {
        return error_set(e, ERR_RUN, "%s: token \"%.*s\": id %lld (allowed: 0 to %d)", t->where,
                         (int)(bytes < 60 ? bytes : 60), text, (long long)id, TOKEN_ID_LIMIT - 1);
    }
    if (bytes > TEXT_LIMIT_BYTES) {
        return error_set(e, ERR_RUN, "%s: token %lld: text of %zu bytes (allowed: %zu)", t->where, (long long)id, bytes,
                         TEXT_LIMIT_BYTES);
    }
    size_t before = t->capacity;
    TRY(grow(&t->tokens, &t->capacity, (size_t)id + 1, sizeof *t->tokens, e));
    memset(t->tokens + before, 0, (t->capacity - before) * sizeof *t->tokens);
    struct token *token = &t->tokens[id];
    if (token->flags & TOKEN_PRESENT) {
        return error_set(e, ERR_RUN, "%s: id %lld: used by two tokens, \"%.60s\" and \"%.*s\"", t->where, (long long)id,
                         token->text, (int)(bytes < 60 ? bytes : 60), text);
    }
    token->text = arena_strndup(t->arena, text, bytes);
    if (!token->text) {
        return out_of_memory(e);
    }
    token->text_bytes = (uint32_t)bytes;
    token->flags = TOKEN_PRESENT | (bytes ? flags : flags & ~(unsigned)TOKEN_LOOKUP); /* no text finds the empty one */
    if ((size_t)id >= t->count) {
        t->count = (size_t)id + 1;
    }
    return OK;
}

static uint64_t hash_bytes(const char *text, size_t bytes) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed so that the low bits depend on all */
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    return h ^ h >> 29;
}

static bool token_is(const struct token *token, const char *text, size_t bytes) {
    return token->text_bytes == bytes && memcmp(token->text, text, bytes) == 0;
}

/* The slot that holds the text, or the empty one where it would go. */
static size_t slot_of(const struct tokenizer *t, const char *text, size_t bytes) {
    size_t i = hash_bytes(text, bytes) & (t->slot_count - 1);
    while (t->slots[i] >= 0 && !token_is(&t->tokens[t->slots[i]], text, bytes)) {
        i = (i + 1) & (t->slot_count - 1);
    }
    return i;
}

enum status tokenizer_index(struct tokenizer *t, struct error *e) {
    t->slot_count = 16;
    while (t->slot_count < 2 * t->count) {
        t->slot_count *= 2;
    }
    t->slots = mem_alloc(t->slot_count, sizeof *t->slots);
    if (!t->slots) {
        return out_of_memory(e);
    }
    memset(t->slots, 0xff, t->slot_count * sizeof *t->slots);
    for (size_t i = 0; i < t->count; i++) {
        const struct token *token = &t->tokens[i];
        if (!(token->flags & TOKEN_LOOKUP)) {
            continue;
        }
        size_t slot = slot_of(t, token->text, token->text_bytes);
        if (t->slots[slot] >= 0) {
            return error_set(e, ERR_RUN, "%s: token \"%.60s\": stands twice, as id %d and %zu", t->where, token->text,
                             t->slots[slot], i);
        }
        t->slots[slot] = (int32_t)i;
    }
    return OK;
}

int32_t tokenizer_lookup(const struct tokenizer *t, const char *text, size_t bytes) {
    return t->slots[slot_of(t, text, bytes)];
}

int32_t tokenizer_find_any(const struct tokenizer *t, const char *text, size_t bytes) {
    int32_t id = t->slots ? tokenizer_lookup(t, text, bytes) : -1;
    for (size_t i = 0; id < 0 && i < t->count; i++) {
        if ((t->tokens[i].flags & TOKEN_PRESENT) && token_is(&t->tokens[i], text, bytes)) {
            id = (int32_t)i;
        }
    }
    return id;
}

/* ---- merges -------------------------------------------------------------------------------------------- */

enum status tokenizer_reserve_merges(struct tokenizer *t, size_t count, struct error *e) {
    if (count >= UINT32_MAX / 4) {
        return error_set(e, ERR_RUN, "%s: %zu merges: too many", t->where, count);
    }
    t->pair_count = 16;
    while (t->pair_count < 2 * count) {
        t->pair_count *= 2;
    }
    t->pairs = mem_alloc(t->pair_count, sizeof *t->pairs);
    for (size_t i = 0; t->pairs && i < t->pair_count; i++) {
        t->pairs[i].merged = -1;
    }
    return t->pairs ? OK : out_of_memory(e);
}

enum status tokenizer_merge(struct tokenizer *t, size_t rank, const char *left, size_t left_bytes, const char *right,
                            size_t right_bytes, struct error *e) {
    int32_t ids[2] = {tokenizer_lookup(t, left, left_bytes), tokenizer_lookup(t, right, right_bytes)};
    for (int side = 0; side < 2; side++) {
        if (ids[side] < 0) {
            size_t bytes = side ? right_bytes : left_bytes;
            return error_set(e, ERR_RUN, "%s: merge %zu: piece \"%.*s\" is not in the vocabulary", t->where, rank,
                             (int)(bytes < 60 ? bytes : 60), side ? right : left);
        }
    }
    t->joined.used = 0;
    TRY(buffer_add(&t->joined, left, left_bytes, e));
    TRY(buffer_add(&t->joined, right, right_bytes, e));
    int32_t merged = tokenizer_lookup(t, t->joined.data, t->joined.used);
    if (merged < 0) {
        return error_set(e, ERR_RUN, "%s: merge %zu: \"%.60s\" + \"%.60s\" is not in the vocabulary", t->where, rank,
                         t->tokens[ids[0]].text, t->tokens[ids[1]].text);
    }
    uint64_t pair = (uint64_t)(uint32_t)ids[0] << 32 | (uint32_t)ids[1];
    struct pair_slot *slot = pair_slot_of(t, pair);
    if (slot->merged < 0) { /* of a merge that stands twice the first counts */
        *slot = (struct pair_slot){pair, (uint32_t)rank, merged};
    }
    return OK;
}

/* ---- sealing -------------------------------------------------------------------------------------------- */

/* The bytes that a byte-level text stands for, written over `out`; false if it holds another character. */
static bool bytes_of_characters(const char *text, size_t bytes, const int16_t *byte_of_point, char *out,
                                size_t *count) {
    *count = 0;
    for (size_t i = 0; i < bytes;) {
        unsigned char c = (unsigned char)text[i];
        unsigned point = c;
        size_t length = 1;
        if (c >= 0xc0 && c < 0xe0 && i + 1 < bytes) {
            point = (c & 0x1fu) << 6 | ((unsigned char)text[i + 1] & 0x3fu);
            length = 2;
        } else if (c >= 0x80) {
            return false;
        }
        if (point >= 0x200 || byte_of_point[point] < 0) {
            return false;
        }
        out[(*count)++] = (char)byte_of_point[point];
        i += length;
    }
    return true;
}

static void fill_byte_table(int16_t byte_of_point[0x200]) {
    memset(byte_of_point, 0xff, 0x200 * sizeof *byte_of_point);
    for (unsigned b = 0; b < 256; b++) {
        char c[2];
        unsigned point = byte_character((unsigned char)b, c) == 1
                             ? (unsigned char)c[0]
                             : ((unsigned char)c[0] & 0x1fu) << 6 | ((unsigned char)c[1] & 0x3fu);
        byte_of_point[point] = (int16_t)b;
    }
}

/* `text` with decode_from replaced by decode_to. */
static size_t replace_text(const struct tokenizer *t, const char *text, size_t bytes, char *out) {
    size_t used = 0, i = 0;
    while (i < bytes) {
        if (bytes - i >= t->decode_from_bytes && memcmp(text + i, t->decode_from, t->decode_from_bytes) == 0) {
            memcpy(out + used, t->decode_to, t->decode_to_bytes);
            used += t->decode_to_bytes;
            i += t->decode_from_bytes;
        } else {
            out[used++] = text[i++];
        }
    }
    return used;
}

static enum status make_piece(struct tokenizer *t, struct token *token, const int16_t *byte_of_point, struct error *e) {
    token->piece = token->text;
    token->piece_bytes = token->text_bytes;
    int value = t->byte_fallback ? byte_token_value(token->text, token->text_bytes) : -1;
    bool replaces = t->decode_from && memmem(token->text, token->text_bytes, t->decode_from, t->decode_from_bytes);
    if ((token->flags & TOKEN_VERBATIM) || (t->model != WORD_BYTES && value < 0 && !replaces)) {
        return OK;
    }
    size_t room = token->text_bytes;
    if (replaces && t->decode_to_bytes > t->decode_from_bytes) {
        room = room / t->decode_from_bytes * t->decode_to_bytes + room;
    }
    char *piece = arena_alloc(t->arena, 1, room + 1);
    if (!piece) {
        return out_of_memory(e);
    }
    size_t count = 1;
    if (value >= 0 && t->model != WORD_BYTES) {
        piece[0] = (char)value;
    } else if (t->model != WORD_BYTES) {
        count = replace_text(t, token->text, token->text_bytes, piece);
    } else if (!bytes_of_characters(token->text, token->text_bytes, byte_of_point, piece, &count)) {
        return OK; /* not a byte-level spelling: the text itself */
    }
    token->piece = piece;
    token->piece_bytes = (uint32_t)count;
    return OK;
}

static void find_byte_ids(struct tokenizer *t) {
    memset(t->byte_ids, 0xff, sizeof t->byte_ids);
    for (unsigned b = 0; t->model == WORD_BYTES && b < 256; b++) {
        char name[2];
        size_t bytes = byte_character((unsigned char)b, name);
        t->byte_ids[b] = tokenizer_lookup(t, name, bytes);
    }
    for (size_t i = 0; t->model != WORD_BYTES && t->byte_fallback && i < t->count; i++) {
        int value = t->tokens[i].text ? byte_token_value(t->tokens[i].text, t->tokens[i].text_bytes) : -1;
        if (value >= 0) {
            t->byte_ids[value] = (int32_t)i;
        }
    }
}

/* Does U+2581 stand behind another character in any token? */
static bool space_only_leads(const struct tokenizer *t) {
    static const char space[] = "\xe2\x96\x81";
    for (size_t i = 0; i < t->count; i++) {
        const struct token *token = &t->tokens[i];
        if (!(token->flags & TOKEN_LOOKUP)) {
            continue;
        }
        size_t lead = 0;
        while (lead + 3 <= token->text_bytes && memcmp(token->text + lead, space, 3) == 0) {
            lead += 3;
        }
        if (memmem(token->text + lead, token->text_bytes - lead, space, 3)) {
            return false;
        }
    }
    return tokenizer_lookup(t, space, 3) >= 0;
}

/* Texts of tokens that end an answer in the models known today; they count where they are control tokens. */
static const char *const end_texts[] = {
    "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|end|>", "<|eot|>", "<|eot_id|>", "<|eom_id|>",
    "<end_of_turn>", "<|end_of_turn|>", "<|endofturn|>", "<EOT>", "<|return|>", NULL,
};

static void mark_ends(struct tokenizer *t) {
    for (size_t i = 0; end_texts[i]; i++) {
        int32_t id = tokenizer_find_any(t, end_texts[i], strlen(end_texts[i]));
        if (id >= 0 && (t->tokens[id].flags & TOKEN_SPECIAL)) {
            t->tokens[id].flags |= TOKEN_END;
        }
    }
}

enum status tokenizer_seal(struct tokenizer *t, struct error *e) {
    int16_t byte_of_point[0x200];
    fill_byte_table(byte_of_point);
    for (size_t i = 0; i < t->count; i++) {
        if (t->tokens[i].flags & TOKEN_PRESENT) {
            TRY(make_piece(t, &t->tokens[i], byte_of_point, e));
        }
    }
    find_byte_ids(t);
    mark_ends(t);
    t->cut_at_space = t->model != WORD_BYTES && space_only_leads(t);
    return OK;
}
