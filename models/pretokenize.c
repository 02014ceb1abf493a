/* Pre-tokenisers: cut a text into words. Merges never cross a word's end.
 *
 * A pre-tokeniser is a list of steps; each works on the pieces that the one before left. A split step finds all matches
 * of its pattern in a piece; matches and the gaps between them become the new pieces:
 *   removed          matches are dropped
 *   isolated         every match is a piece, every gap is a piece
 *   with previous    a match joins the gap before it, with next: the gap behind it
 *   contiguous       neighbouring matches join
 * "invert" swaps matches and gaps.
 *
 * The patterns of GGUF vocabularies have names instead (tokenizer.ggml.pre); the table below says what they stand for.
 * Source of the patterns: the tokenizer.json files of the models and the table of llama.cpp (src/llama-vocab.cpp).
 */
#include <stdio.h>
#include <string.h>

#include "models/tokenizer_parts.h"

/* ---- patterns by name ------------------------------------------------------------------------------ */

/* English contractions, letters, digits, the rest, white space; a word takes the space before it along. */
const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD_AND_REST "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const char llama3_pattern[] =
    CONTRACTIONS "|" WORD_AND_REST "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES;
static const char qwen2_pattern[] = CONTRACTIONS "|" WORD_AND_REST "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES;
static const char deepseek3_pattern[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES;
/* CJK ideographs; in the second, hiragana and katakana too. */
#define CJK_CODER "[\\x{4e00}-\\x{9fa5}\\x{0800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define CJK_V3 "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"

enum { MAX_PATTERNS = 6 }; /* the last NULL */

static const struct named_pretokenizer {
    const char *name;
    bool ignore_merges;
    bool add_bos; /* unless the file says otherwise */
    const char *patterns[MAX_PATTERNS];
} named[] = {
    {"default", false, false, {"[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2_pattern, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2", false, false, {gpt2_pattern}},
    {"phi-2", false, false, {gpt2_pattern}},
    {"olmo", false, false, {gpt2_pattern}},
    {"mpt", false, false, {gpt2_pattern}},
    {"llama-bpe", true, true, {llama3_pattern}},
    {"llama3", true, true, {llama3_pattern}},
    {"llama-v3", true, true, {llama3_pattern}},
    {"qwen2", false, false, {qwen2_pattern}},
    {"deepseek-r1-qwen", false, false, {qwen2_pattern}},
    {"smollm", false, false, {"\\p{N}", gpt2_pattern}},
    {"starcoder", false, false, {"\\p{N}", gpt2_pattern}},
    {"refact", false, false, {"\\p{N}", gpt2_pattern}},
    {"command-r", false, false, {"\\p{N}", gpt2_pattern}},
    {"codeshell", false, false, {"\\p{N}", gpt2_pattern}},
    {"falcon", false, false, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", gpt2_pattern, "[0-9][0-9][0-9]"}},
    {"deepseek-coder", false, false, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_CODER, "\\p{N}"}},
    {"deepseek-v3", false, false, {"\\p{N}{1,3}", CJK_V3, deepseek3_pattern}},
};
enum { NAMED_COUNT = sizeof named / sizeof named[0] };

const char *const *pretoken_patterns(const char *name, size_t bytes) {
    for (size_t i = 0; i < NAMED_COUNT; i++) {
        if (strlen(named[i].name) == bytes && memcmp(named[i].name, name, bytes) == 0) {
            return named[i].patterns;
        }
    }
    return NULL;
}

static bool same_patterns(const char *const *a, const char *const *b) {
    size_t i = 0;
    while (a[i] && b[i] && strcmp(a[i], b[i]) == 0) {
        i++;
    }
    return !a[i] && !b[i];
}

const char *pretoken_name(const char *const *patterns, bool ignore_merges) {
    for (size_t i = 0; i < NAMED_COUNT; i++) {
        if (named[i].ignore_merges == ignore_merges && same_patterns(named[i].patterns, patterns)) {
            return named[i].name;
        }
    }
    return NULL;
}

enum status pretoken_add(struct tokenizer *t, const struct pretoken_step *step, struct error *e) {
    if (t->pretoken_count == MAX_STEPS) {
        regex_destroy(step->pattern);
        return error_set(e, ERR_RUN, "%s: pre_tokenizer: more than %d steps", t->where, MAX_STEPS);
    }
    t->pretoken[t->pretoken_count++] = *step;
    return OK;
}

enum status pretoken_add_pattern(struct tokenizer *t, const char *pattern, enum split_behaviour behaviour,
                                 struct error *e) {
    struct pretoken_step step = {.kind = PRETOKEN_SPLIT, .behaviour = behaviour};
    TRY(regex_compile(pattern, strlen(pattern), false, t->where, &step.pattern, e));
    return pretoken_add(t, &step, e);
}

enum status pretokenise_by_name(struct tokenizer *t, const char *name, size_t bytes, struct error *e) {
    char known[512];
    size_t used = 0;
    for (size_t i = 0; i < NAMED_COUNT; i++) {
        const struct named_pretokenizer *row = &named[i];
        if (strlen(row->name) == bytes && memcmp(row->name, name, bytes) == 0) {
            t->ignore_merges = row->ignore_merges;
            t->add_bos = row->add_bos;
            for (size_t k = 0; k < MAX_PATTERNS && row->patterns[k]; k++) {
                TRY(pretoken_add_pattern(t, row->patterns[k], SPLIT_ISOLATED, e));
            }
            return OK;
        }
        int n = snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", row->name);
        used += n > 0 && (size_t)n < sizeof known - used ? (size_t)n : 0;
    }
    return error_set(e, ERR_RUN, "%s: tokenizer.ggml.pre: \"%.*s\" is not known (known: %s)", t->where,
                     (int)(bytes < 60 ? bytes : 60), name, known);
}

/* ---- splitting --------------------------------------------------------------------------------------- */

/* Where the pieces of one range go, and what the last one was. */
struct splitter {
    struct range_list *out;
    enum split_behaviour behaviour;
    struct range open; /* the last piece, which a neighbour may still join */
    bool any, open_is_match;
};

static enum status splitter_flush(struct splitter *p, struct error *e) {
    return p->any ? range_add(p->out, p->open.start, p->open.end, e) : OK;
}

/* One match or gap, from left to right. */
static enum status splitter_put(struct splitter *p, size_t start, size_t end, bool is_match, struct error *e) {
    bool joins = false;
    switch (p->behaviour) {
    case SPLIT_REMOVED: case SPLIT_ISOLATED:
        break;
    case SPLIT_WITH_PREVIOUS:
        joins = is_match && !p->open_is_match;
        break;
    case SPLIT_WITH_NEXT:
        joins = !is_match && p->open_is_match;
        break;
    case SPLIT_CONTIGUOUS:
        joins = is_match == p->open_is_match;
        break;
    }
    if (p->any && joins) {
        p->open.end = end;
        p->open_is_match = is_match;
        return OK;
    }
    TRY(splitter_flush(p, e));
    p->any = !(is_match && p->behaviour == SPLIT_REMOVED);
    p->open = (struct range){start, end};
    p->open_is_match = is_match;
    return OK;
}

static enum status split_range(const struct pretoken_step *step, struct matcher *m, const char *text,
                               struct range piece, struct range_list *out, struct error *e) {
    struct splitter p = {.out = out, .behaviour = step->behaviour};
    const char *subject = text + piece.start;
    size_t bytes = piece.end - piece.start, done = 0, from = 0;
    while (from < bytes) {
        bool found;
        struct range match;
        TRY(regex_find(step->pattern, m, subject, bytes, from, &found, &match, e));
        if (!found) {
            break;
        }
        if (match.start > done) {
            TRY(splitter_put(&p, piece.start + done, piece.start + match.start, step->invert, e));
        }
        TRY(splitter_put(&p, piece.start + match.start, piece.start + match.end, !step->invert, e));
        done = from = match.end;
        if (match.start == match.end) { /* an empty match: search on behind the next character */
            from += from < bytes ? utf8_length(subject + from, bytes - from) : 1;
        }
    }
    if (done < bytes) {
        TRY(splitter_put(&p, piece.start + done, piece.end, step->invert, e));
    }
    return splitter_flush(&p, e);
}

/* ---- steps that change the text ---------------------------------------------------------------------- */

static const char metaspace[] = "\xe2\x96\x81"; /* U+2581 */

static bool begins_with(const char *text, size_t bytes, const char *start, size_t start_bytes) {
    return bytes >= start_bytes && memcmp(text, start, start_bytes) == 0;
}

static enum status add_prefix(const char *text, struct range piece, bool prepend, struct text_buffer *out,
                              struct error *e) {
    if (prepend && text[piece.start] != ' ') {
        TRY(buffer_add(out, " ", 1, e));
    }
    return buffer_add(out, text + piece.start, piece.end - piece.start, e);
}

static enum status add_metaspace(const struct pretoken_step *step, const char *text, struct range piece, bool prepend,
                                 struct text_buffer *out, struct error *e) {
    const char *p = text + piece.start;
    size_t bytes = piece.end - piece.start;
    if (prepend && p[0] != ' ' && !begins_with(p, bytes, step->text, step->bytes)) {
        TRY(buffer_add(out, step->text, step->bytes, e));
    }
    for (size_t i = 0; i < bytes; i++) {
        bool space = p[i] == ' ';
        TRY(buffer_add(out, space ? step->text : p + i, space ? step->bytes : 1, e));
    }
    return OK;
}

static enum status rewrite(const struct pretoken_step *step, const char *text, const struct range_list *in, bool first,
                           bool prepend, struct text_buffer *text_out, struct range_list *out, struct error *e) {
    for (size_t i = 0; i < in->count; i++) {
        size_t start = text_out->used;
        if (step->kind == PRETOKEN_PREFIX) {
            TRY(add_prefix(text, in->at[i], prepend || i > 0, text_out, e));
        } else {
            bool wanted = step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && first && i == 0);
            TRY(add_metaspace(step, text, in->at[i], wanted && (prepend || i > 0), text_out, e));
        }
        TRY(range_add(out, start, text_out->used, e));
    }
    return OK;
}

/* ---- all steps -------------------------------------------------------------------------------------------- */

/* One word model works on one stretch of text: without a pattern, the words are what no token can span. */
static enum status cut_at_spaces(const char *text, const struct range_list *in, struct range_list *out,
                                 struct error *e) {
    for (size_t k = 0; k < in->count; k++) {
        size_t start = in->at[k].start, end = in->at[k].end;
        for (size_t i = start + 1; i < end; i++) {
            if (text[i] == metaspace[0] && begins_with(text + i, end - i, metaspace, 3) &&
                !(i - start >= 3 && memcmp(text + i - 3, metaspace, 3) == 0)) {
                TRY(range_add(out, start, i, e));
                start = i;
            }
        }
        TRY(range_add(out, start, end, e));
    }
    return OK;
}

enum status pretokenise(const struct tokenizer *t, struct scratch *s, const char *text, size_t bytes, bool first,
                        bool prepend, const char **out, const struct range_list **words, struct error *e) {
    struct range_list *now = &s->ranges[0], *next = &s->ranges[1];
    struct text_buffer *text_next = &s->words[0];
    now->count = 0;
    TRY(range_add(now, 0, bytes, e));
    for (size_t i = 0; i < t->pretoken_count; i++) {
        const struct pretoken_step *step = &t->pretoken[i];
        next->count = 0;
        if (step->kind == PRETOKEN_SPLIT) {
            for (size_t k = 0; k < now->count; k++) {
                TRY(split_range(step, s->matcher, text, now->at[k], next, e));
            }
        } else {
            text_next->used = 0;
            TRY(rewrite(step, text, now, first, prepend, text_next, next, e));
            text = text_next->data;
            text_next = text_next == &s->words[0] ? &s->words[1] : &s->words[0];
        }
        struct range_list *swap = now;
        now = next;
        next = swap;
    }
    if (t->cut_at_space) {
        next->count = 0;
        TRY(cut_at_spaces(text, now, next, e));
        now = next;
    }
    *out = text;
    *words = now;
    return OK;
}
