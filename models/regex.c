/* Regular expressions of tokenizers through PCRE2.
 *
 * Tokenizer files write their patterns for Oniguruma or for Rust's engines; the constructs that they use (classes,
 * \p{..}, inline flags, look-ahead, possessive quantifiers) mean the same in PCRE2 with PCRE2_UTF and PCRE2_UCP. One
 * difference: \s of PCRE2 also holds U+180E (Mongolian vowel separator), which stopped being white space in
 * Unicode 6.3. So \s and \S are spelled out before compilation (but for a \S inside brackets, which cannot be).
 *
 * A pattern comes from a file that nobody checked: the compiled size is bounded by PCRE2 itself (64 KiB of code),
 * backtracking by a match limit. Compiled for the machine where that is possible, else interpreted; same results.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <string.h>

#include "models/tokenizer_parts.h"

/* Steps of backtracking in one search: a run of a million spaces needs about as many, an exponential pattern any
 * number. */
enum { MATCH_LIMIT = 10000000, HEAP_LIMIT_KIB = 1 << 18 };

struct regex { pcre2_code *code; const char *where; };
struct matcher { pcre2_general_context *memory; pcre2_match_context *limits; pcre2_match_data *data; };

static void *pcre_malloc(PCRE2_SIZE bytes, void *unused) {
    (void)unused;
    return mem_alloc(1, bytes);
}

static void pcre_free(void *block, void *unused) {
    (void)unused;
    mem_free(block);
}

static enum status pcre_error(int code, const char *where, const char *what, struct error *e) {
    char reason[256];
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason) < 0) {
        reason[0] = 0;
    }
    return error_set(e, ERR_RUN, "%s: %s: %s", where, what, reason);
}

/* \s in a class and alone, \S alone: the controls that are white space, and category Z. */
#define SPACE_SET "\\t-\\r\\x{85}\\p{Z}"

static enum status spell_out_spaces(const char *pattern, size_t bytes, struct text_buffer *out, struct error *e) {
    bool in_class = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = pattern[i], next = i + 1 < bytes ? pattern[i + 1] : 0;
        if (c != '\\') {
            in_class = in_class ? c != ']' : c == '[';
            TRY(buffer_add(out, &c, 1, e));
        } else if (next == 's' || (next == 'S' && !in_class)) {
            const char *text = in_class ? SPACE_SET : next == 's' ? "[" SPACE_SET "]" : "[^" SPACE_SET "]";
            TRY(buffer_add(out, text, strlen(text), e));
            i++;
        } else {
            TRY(buffer_add(out, pattern + i, i + 1 < bytes ? 2 : 1, e));
            i++;
        }
    }
    return buffer_terminate(out, e);
}

static enum status compile(const char *pattern, size_t bytes, uint32_t options, pcre2_compile_context *context,
                           struct regex *r, struct error *e) {
    int code;
    PCRE2_SIZE at;
    r->code = pcre2_compile((PCRE2_SPTR)pattern, bytes, options, &code, &at, context);
    if (!r->code) {
        char what[96];
        snprintf(what, sizeof what, "regular expression, at byte %zu of it", (size_t)at);
        return pcre_error(code, r->where, what, e);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where it cannot, matching interprets */
    return OK;
}

enum status regex_compile(const char *pattern, size_t bytes, bool literal, const char *where, struct regex **out,
                          struct error *e) {
    struct regex *r = mem_alloc(1, sizeof *r);
    pcre2_general_context *memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
    pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
    struct text_buffer spelled = {0};
    enum status status = r && context ? OK : out_of_memory(e);
    if (status == OK) {
        r->where = where;
        status = literal ? buffer_add(&spelled, pattern, bytes, e) : spell_out_spaces(pattern, bytes, &spelled, e);
    }
    if (status == OK) {
        status = compile(spelled.data, spelled.used, PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP), context, r, e);
    }
    mem_free(spelled.data);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    if (status != OK) {
        mem_free(r);
        return status;
    }
    *out = r;
    return OK;
}

void regex_destroy(struct regex *r) {
    if (r) {
        pcre2_code_free(r->code);
        mem_free(r);
    }
}

enum status matcher_create(struct matcher **out, struct error *e) {
    struct matcher *m = mem_alloc(1, sizeof *m);
    if (!m) {
        return out_of_memory(e);
    }
    m->memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
    m->limits = m->memory ? pcre2_match_context_create(m->memory) : NULL;
    m->data = m->memory ? pcre2_match_data_create(1, m->memory) : NULL;
    if (!m->limits || !m->data) {
        matcher_destroy(m);
        return out_of_memory(e);
    }
    pcre2_set_match_limit(m->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(m->limits, HEAP_LIMIT_KIB);
    *out = m;
    return OK;
}

void matcher_destroy(struct matcher *m) {
    if (m) {
        pcre2_match_data_free(m->data);
        pcre2_match_context_free(m->limits);
        pcre2_general_context_free(m->memory);
        mem_free(m);
    }
}

enum status regex_find(const struct regex *r, struct matcher *m, const char *text, size_t bytes, size_t from,
                       bool *found, struct range *match, struct error *e) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int code = pcre2_match(r->code, subject, bytes, from, PCRE2_NO_UTF_CHECK, m->data, m->limits);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) {
        code = pcre2_match(r->code, subject, bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, m->limits);
    }
    *found = code >= 0;
    if (code < 0) {
        return code == PCRE2_ERROR_NOMATCH ? OK : pcre_error(code, r->where, "regular expression", e);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(m->data);
    if (ends[0] > ends[1] || ends[0] < from) { /* \K in a look-around can do that */
        return error_set(e, ERR_RUN, "%s: regular expression: a match that ends before it begins", r->where);
    }
    *match = (struct range){ends[0], ends[1]};
    return OK;
}
