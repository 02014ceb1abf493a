/* Normalisers of tokenizer.json: what happens to the text before it is cut into words.
 *
 *   NFC NFD NFKC NFKD   Unicode normal forms (utf8proc)
 *   Lowercase           character by character, without regard to its neighbours
 *   StripAccents        drops non-spacing marks (category Mn); useful behind NFD
 *   Prepend             a text in front, unless there is nothing
 *   Replace             every match of a string or regular expression
 *
 * Input and output are valid UTF-8. The steps write into two buffers in turn.
 */

#include <utf8proc.h>

#include "models/tokenizer_parts.h"

size_t utf8_length(const char *text, size_t bytes) {
    utf8proc_int32_t point;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &point);
    return n > 0 ? (size_t)n : 0;
}

static enum status put_point(struct text_buffer *out, utf8proc_int32_t point, struct error *e) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char(point, bytes);
    return buffer_add(out, (const char *)bytes, (size_t)n, e);
}

static bool is_ascii(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)text[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* A normal form. The decomposition of n bytes has at most 18 n code points (U+FDFA), found out by asking. */
static enum status normal_form(enum normalise_kind kind, const char *text, size_t bytes, struct text_buffer *out,
                               struct error *e) {
    if (is_ascii(text, bytes)) {
        return buffer_add(out, text, bytes, e);
    }
    bool compose = kind == NORMALISE_NFC || kind == NORMALISE_NFKC;
    bool compat = kind == NORMALISE_NFKC || kind == NORMALISE_NFKD;
    utf8proc_option_t options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    options = compat ? (utf8proc_option_t)(options | UTF8PROC_COMPAT) : options;
    const utf8proc_uint8_t *in = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t count = utf8proc_decompose(in, (utf8proc_ssize_t)bytes, NULL, 0, options);
    if (count < 0) {
        return error_set(e, ERR_RUN, "tokenizer: normalisation: %s", utf8proc_errmsg(count));
    }
    utf8proc_int32_t *points = mem_alloc((size_t)count + 1, sizeof *points);
    if (!points) {
        return out_of_memory(e);
    }
    enum status status = OK;
    count = utf8proc_decompose(in, (utf8proc_ssize_t)bytes, points, count, options);
    if (count >= 0) {
        count = utf8proc_normalize_utf32(points, count, options);
    }
    for (utf8proc_ssize_t i = 0; i < count && status == OK; i++) {
        status = put_point(out, points[i], e);
    }
    mem_free(points);
    return status;
}

static enum status lowercase(const char *text, size_t bytes, struct text_buffer *out, struct error *e) {
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t point;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &point);
        if (point == 0x130) { /* the one letter that becomes two: i and a dot above */
            TRY(put_point(out, 'i', e));
            TRY(put_point(out, 0x307, e));
        } else {
            TRY(put_point(out, utf8proc_tolower(point), e));
        }
    }
    return OK;
}

static enum status strip_accents(const char *text, size_t bytes, struct text_buffer *out, struct error *e) {
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t point;
        size_t length =
            (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &point);
        if (utf8proc_category(point) != UTF8PROC_CATEGORY_MN) {
            TRY(buffer_add(out, text + i, length, e));
        }
        i += length;
    }
    return OK;
}

static enum status replace(const struct normalise_step *step, struct matcher *m, const char *text, size_t bytes,
                           struct text_buffer *out, struct error *e) {
    size_t copied = 0, from = 0;
    while (from <= bytes) {
        bool found;
        struct range match;
        TRY(regex_find(step->pattern, m, text, bytes, from, &found, &match, e));
        if (!found) {
            break;
        }
        TRY(buffer_add(out, text + copied, match.start - copied, e));
        TRY(buffer_add(out, step->text, step->bytes, e));
        copied = match.end;
        from = match.end;
        if (match.start == match.end) { /* an empty match: go on behind the next character */
            from += from < bytes ? utf8_length(text + from, bytes - from) : 1;
        }
    }
    return buffer_add(out, text + copied, bytes - copied, e);
}

static enum status run_step(const struct normalise_step *step, struct matcher *m, const char *text, size_t bytes,
                            bool prepend, struct text_buffer *out, struct error *e) {
    switch (step->kind) {
    case NORMALISE_NFC: case NORMALISE_NFD: case NORMALISE_NFKC: case NORMALISE_NFKD:
        return normal_form(step->kind, text, bytes, out, e);
    case NORMALISE_LOWERCASE:
        return lowercase(text, bytes, out, e);
    case NORMALISE_STRIP_ACCENTS:
        return strip_accents(text, bytes, out, e);
    case NORMALISE_PREPEND:
        if (prepend && bytes) {
            TRY(buffer_add(out, step->text, step->bytes, e));
        }
        return buffer_add(out, text, bytes, e);
    case NORMALISE_REPLACE:
        return replace(step, m, text, bytes, out, e);
    }
    return OK;
}

enum status normalise(const struct tokenizer *t, struct scratch *s, const char *text, size_t bytes, bool prepend,
                      const char **out, size_t *out_bytes, struct error *e) {
    for (size_t i = 0; i < t->normalise_count; i++) {
        struct text_buffer *b = &s->normal[i % 2];
        b->used = 0;
        TRY(run_step(&t->normalise[i], s->matcher, text, bytes, prepend, b, e));
        if (b->used > TEXT_LIMIT_BYTES) {
            return error_set(e, ERR_RUN, "%s: the normalised text is longer than %zu bytes", t->where,
                             TEXT_LIMIT_BYTES);
        }
        TRY(buffer_terminate(b, e)); /* so that an empty result is a valid pointer too */
        text = b->data;
        bytes = b->used;
    }
    *out = text;
    *out_bytes = bytes;
    return OK;
}
