/* Added tokens: pieces of text that become one id before anything else looks at them ("<|im_start|>").
 *
 * At every place of the text the longest token that begins there wins; the first place wins over later ones.
 * The tokens are sorted, so that walking along the text narrows a range of them byte by byte: the work per place
 * is (length of the longest common beginning) x log(tokens), however many tokens a file brings.
 */
#include <string.h>
#include <stdlib.h>

#include <utf8proc.h>

#include "models/tokenizer_parts.h"

enum status added_put(struct added_index *a, const struct added_token *token, struct error *e) {
    if (token->bytes == 0) {
        return OK; /* no text finds it */
    }
    TRY(grow(&a->at, &a->capacity, a->count + 1, sizeof *a->at, e));
    a->at[a->count++] = *token;
    return OK;
}

static int compare_texts(const void *left, const void *right) {
    const struct added_token *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

enum status added_seal(struct added_index *a, const char *where, struct error *e) {
    if (a->count) {
        qsort(a->at, a->count, sizeof *a->at, compare_texts);
    }
    size_t i = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        a->first[byte] = i;
        while (i < a->count && (unsigned char)a->at[i].text[0] == byte) {
            if (i > 0 && compare_texts(&a->at[i - 1], &a->at[i]) == 0) {
                return error_set(e, ERR_RUN, "%s: added token \"%.60s\": stands twice, as id %d and %d", where,
                                 a->at[i].text, a->at[i - 1].id, a->at[i].id);
            }
            i++;
        }
    }
    a->first[256] = i;
    return OK;
}

void added_clear(struct added_index *a) {
    mem_free(a->at);
    *a = (struct added_index){0};
}

/* First of at[low, high) whose byte at `depth` is >= byte. All of them are longer than depth. */
static size_t lower_bound(const struct added_token *at, size_t low, size_t high, size_t depth, unsigned byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)at[middle].text[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct added_token *longest_at(const struct added_index *a, const char *text, size_t bytes,
                                            bool parse_special) {
    const struct added_token *best = NULL;
    size_t low = a->first[(unsigned char)text[0]], high = a->first[(unsigned char)text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (a->at[low].bytes == depth) { /* the shortest sorts first */
            best = parse_special || !a->at[low].special ? &a->at[low] : best;
            low++;
        }
        if (depth == bytes) {
            break;
        }
        unsigned byte = (unsigned char)text[depth];
        low = lower_bound(a->at, low, high, depth, byte);
        high = lower_bound(a->at, low, high, depth, byte + 1);
    }
    return best;
}

/* The character before or after a place; -1 at an end or in invalid UTF-8. */
static utf8proc_int32_t character_before(const char *text, size_t at) {
    size_t start = at;
    while (start > 0 && at - start < 4) {
        start--;
        if (((unsigned char)text[start] & 0xc0) != 0x80) {
            break;
        }
    }
    utf8proc_int32_t point = -1;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)text + start, (utf8proc_ssize_t)(at - start), &point);
    return length == (utf8proc_ssize_t)(at - start) ? point : -1;
}

static utf8proc_int32_t character_after(const char *text, size_t bytes, size_t at, size_t *length) {
    utf8proc_int32_t point = -1;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &point);
    *length = n > 0 ? (size_t)n : 0;
    return n > 0 ? point : -1;
}

static bool is_word_character(utf8proc_int32_t point) {
    if (point < 0) {
        return false;
    }
    utf8proc_category_t c = utf8proc_category(point);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC;
}

static bool is_space(utf8proc_int32_t point) {
    if (point < 0) {
        return false;
    }
    utf8proc_category_t c = utf8proc_category(point);
    return (point >= 9 && point <= 13) || point == 0x85 ||
           (c >= UTF8PROC_CATEGORY_ZS && c <= UTF8PROC_CATEGORY_ZP);
}

static bool stands_alone(const char *text, size_t bytes, size_t start, size_t end) {
    size_t length;
    return !is_word_character(character_before(text, start)) &&
           !is_word_character(character_after(text, bytes, end, &length));
}

/* Widens a match over white space, not before `from`. */
static struct range widen(const struct added_token *token, const char *text, size_t bytes, size_t from,
                          struct range match) {
    while (token->strip_left && match.start > from) {
        utf8proc_int32_t point = character_before(text, match.start);
        size_t length;
        if (!is_space(point)) {
            break;
        }
        do {
            match.start--;
        } while (match.start > from && character_after(text, bytes, match.start, &length) != point);
    }
    while (token->strip_right && match.end < bytes) {
        size_t length;
        if (!is_space(character_after(text, bytes, match.end, &length))) {
            break;
        }
        match.end += length;
    }
    return match;
}

const struct added_token *added_find(const struct added_index *a, const char *text, size_t bytes, size_t from,
                                     bool parse_special, struct range *match) {
    for (size_t i = from; a->count && i < bytes; i++) {
        const struct added_token *token = longest_at(a, text + i, bytes - i, parse_special);
        if (token && (!token->single_word || stands_alone(text, bytes, i, i + token->bytes))) {
            *match = widen(token, text, bytes, from, (struct range){i, i + token->bytes});
            return token;
        }
    }
    return NULL;
}
