/* Loads tokenizer.json (the format of the Hugging Face tokenizers library) and, from a model folder, what
 * tokenizer_config.json and chat_template.jinja add to it: begin and end of text, chat template.
 *
 * Read: model BPE; normalisers, pre-tokenisers, post-processors and decoders of the tables below, alone or in a
 * Sequence. Anything else is an error that names it and lists what is known. Without a decoder the pieces are put
 * together as they are. A decoder is not run step by step: its Replace and ByteFallback are applied to every token
 * once, its Strip at the end, which gives the same bytes for the orders that are accepted (Strip behind Fuse).
 */
#include <string.h>

#include "base/io.h"
#include "models/tokenizer_parts.h"

enum { JSON_LIMIT_BYTES = 256 << 20 };

/* ---- small readers --------------------------------------------------------------------------------------- */

static enum status wrong(const struct tokenizer *t, const char *what, const char *expected, struct error *e) {
    return error_set(e, ERR_RUN, "%s: %s: missing or of the wrong type (expected: %s)", t->where, what, expected);
}

static enum status unknown_name(const struct tokenizer *t, const char *what, const char *name, const char *known,
                                struct error *e) {
    return error_set(e, ERR_RUN, "%s: %s: \"%.60s\" is not known (known: %s)", t->where, what, name, known);
}

static enum status read_bool(const struct tokenizer *t, const json_t *map, const char *key, bool fallback, bool *out,
                             struct error *e) {
    const json_t *v = json_object_get(map, key);
    *out = v && !json_is_null(v) ? json_is_true(v) : fallback;
    return !v || json_is_null(v) || json_is_boolean(v) ? OK : wrong(t, key, "true or false", e);
}

static enum status read_count(const struct tokenizer *t, const json_t *map, const char *key, size_t *out,
                              struct error *e) {
    const json_t *v = json_object_get(map, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 1000) {
        return wrong(t, key, "an integer from 0 to 1000", e);
    }
    *out = (size_t)json_integer_value(v);
    return OK;
}

/* A string, copied. */
static enum status read_text(struct tokenizer *t, const json_t *map, const char *key, const char **out, size_t *bytes,
                             struct error *e) {
    const json_t *v = json_object_get(map, key);
    if (!json_is_string(v)) {
        return wrong(t, key, "a string", e);
    }
    *bytes = json_string_length(v);
    *out = arena_strndup(t->arena, json_string_value(v), *bytes);
    return *out ? OK : out_of_memory(e);
}

/* {"String": "..."} or {"Regex": "..."} */
static enum status read_pattern(const struct tokenizer *t, const json_t *map, struct regex **out, struct error *e) {
    const json_t *pattern = json_object_get(map, "pattern");
    const json_t *literal = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    const json_t *v = literal ? literal : regex;
    if (!json_is_string(v) || (literal && json_string_length(v) == 0)) {
        return wrong(t, "pattern", "{\"String\": text} or {\"Regex\": pattern}", e);
    }
    return regex_compile(json_string_value(v), json_string_length(v), literal != NULL, t->where, out, e);
}

typedef enum status step_reader(struct tokenizer *t, const json_t *step, struct error *e);
struct step_row { const char *type; step_reader *read; };

static enum status read_row(struct tokenizer *t, const json_t *step, const char *what, const struct step_row *rows,
                            const char *known, struct error *e) {
    const char *type = json_string_value(json_object_get(step, "type"));
    if (!type) {
        return wrong(t, what, "an object with a type", e);
    }
    for (; rows->type; rows++) {
        if (strcmp(rows->type, type) == 0) {
            return rows->read(t, step, e);
        }
    }
    return unknown_name(t, what, type, known, e);
}

static enum status read_sequence(struct tokenizer *t, const json_t *step, const char *key, step_reader *read,
                                 struct error *e) {
    const json_t *list = json_object_get(step, key);
    if (!json_is_array(list)) {
        return wrong(t, key, "a list", e);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        TRY(read(t, json_array_get(list, i), e));
    }
    return OK;
}

static enum status skip_step(struct tokenizer *t, const json_t *step, struct error *e) {
    (void)t, (void)step, (void)e;
    return OK;
}

/* ---- normalisers --------------------------------------------------------------------------------------------- */

static enum status add_normaliser(struct tokenizer *t, struct normalise_step step, struct error *e) {
    if (t->normalise_count == MAX_STEPS) {
        regex_destroy(step.pattern);
        return error_set(e, ERR_RUN, "%s: normalizer: more than %d steps", t->where, MAX_STEPS);
    }
    t->normalise[t->normalise_count++] = step;
    return OK;
}

static enum status normalise_simple(struct tokenizer *t, const json_t *step, struct error *e) {
    static const char *const names[] = {
        [NORMALISE_NFC] = "NFC", [NORMALISE_NFD] = "NFD", [NORMALISE_NFKC] = "NFKC", [NORMALISE_NFKD] = "NFKD",
        [NORMALISE_LOWERCASE] = "Lowercase", [NORMALISE_STRIP_ACCENTS] = "StripAccents"};
    unsigned kind = 0;
    while (strcmp(names[kind], json_string_value(json_object_get(step, "type"))) != 0) {
        kind++;
    }
    return add_normaliser(t, (struct normalise_step){.kind = (enum normalise_kind)kind}, e);
}

static enum status normalise_prepend(struct tokenizer *t, const json_t *step, struct error *e) {
    struct normalise_step n = {.kind = NORMALISE_PREPEND};
    TRY(read_text(t, step, "prepend", &n.text, &n.bytes, e));
    return add_normaliser(t, n, e);
}

static enum status normalise_replace(struct tokenizer *t, const json_t *step, struct error *e) {
    struct normalise_step n = {.kind = NORMALISE_REPLACE};
    TRY(read_text(t, step, "content", &n.text, &n.bytes, e));
    TRY(read_pattern(t, step, &n.pattern, e));
    return add_normaliser(t, n, e);
}

static step_reader read_normaliser;

static enum status normalise_sequence(struct tokenizer *t, const json_t *step, struct error *e) {
    return read_sequence(t, step, "normalizers", read_normaliser, e);
}

static enum status read_normaliser(struct tokenizer *t, const json_t *step, struct error *e) {
    static const struct step_row rows[] = {
        {"NFC", normalise_simple}, {"NFD", normalise_simple}, {"NFKC", normalise_simple}, {"NFKD", normalise_simple},
        {"Lowercase", normalise_simple}, {"StripAccents", normalise_simple}, {"Prepend", normalise_prepend},
        {"Replace", normalise_replace}, {"Sequence", normalise_sequence}, {NULL, NULL}};
    return read_row(t, step, "normalizer", rows,
                    "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Prepend, Replace, Sequence", e);
}

/* ---- pre-tokenisers --------------------------------------------------------------------------------------------- */

static enum status read_behaviour(const struct tokenizer *t, const json_t *step, enum split_behaviour *out,
                                  struct error *e) {
    static const char *const names[] = {
        [SPLIT_REMOVED] = "Removed", [SPLIT_ISOLATED] = "Isolated", [SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_WITH_NEXT] = "MergedWithNext", [SPLIT_CONTIGUOUS] = "Contiguous"};
    const char *name = json_string_value(json_object_get(step, "behavior"));
    for (unsigned i = 0; name && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum split_behaviour)i;
            return OK;
        }
    }
    return unknown_name(t, "pre_tokenizer: behavior", name ? name : "(none)",
                        "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous", e);
}

static enum status pretoken_split(struct tokenizer *t, const json_t *step, struct error *e) {
    struct pretoken_step p = {.kind = PRETOKEN_SPLIT};
    TRY(read_behaviour(t, step, &p.behaviour, e));
    TRY(read_bool(t, step, "invert", false, &p.invert, e));
    TRY(read_pattern(t, step, &p.pattern, e));
    return pretoken_add(t, &p, e);
}

static enum status pretoken_byte_level(struct tokenizer *t, const json_t *step, struct error *e) {
    bool prefix, use_regex;
    TRY(read_bool(t, step, "add_prefix_space", true, &prefix, e));
    TRY(read_bool(t, step, "use_regex", true, &use_regex, e));
    if (prefix) {
        TRY(pretoken_add(t, &(struct pretoken_step){.kind = PRETOKEN_PREFIX}, e));
    }
    t->model = WORD_BYTES;
    return use_regex ? pretoken_add_pattern(t, gpt2_pattern, SPLIT_ISOLATED, e) : OK;
}

static enum status pretoken_digits(struct tokenizer *t, const json_t *step, struct error *e) {
    bool single;
    TRY(read_bool(t, step, "individual_digits", false, &single, e));
    return pretoken_add_pattern(t, single ? "\\p{N}" : "\\p{N}+", SPLIT_ISOLATED, e);
}

static enum status pretoken_punctuation(struct tokenizer *t, const json_t *step, struct error *e) {
    enum split_behaviour behaviour = SPLIT_ISOLATED;
    if (json_object_get(step, "behavior")) {
        TRY(read_behaviour(t, step, &behaviour, e));
    }
    return pretoken_add_pattern(t, "[!-/:-@\\[-`{-~\\p{P}]", behaviour, e);
}

static enum status pretoken_whitespace_split(struct tokenizer *t, const json_t *step, struct error *e) {
    (void)step;
    return pretoken_add_pattern(t, "\\s+", SPLIT_REMOVED, e);
}

static enum status pretoken_whitespace(struct tokenizer *t, const json_t *step, struct error *e) {
    TRY(pretoken_whitespace_split(t, step, e));
    return pretoken_add_pattern(t, "\\w+", SPLIT_ISOLATED, e);
}

static enum status read_prepend_scheme(const struct tokenizer *t, const json_t *step, enum prepend_scheme *out,
                                       struct error *e) {
    static const char *const names[] = {
        [PREPEND_NEVER] = "never", [PREPEND_FIRST] = "first", [PREPEND_ALWAYS] = "always"};
    const char *name = json_string_value(json_object_get(step, "prepend_scheme"));
    bool prefix; /* the older form of the file */
    TRY(read_bool(t, step, "add_prefix_space", true, &prefix, e));
    *out = prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    for (unsigned i = 0; name; i++) {
        if (i == 3) {
            return unknown_name(t, "Metaspace: prepend_scheme", name, "never, first, always", e);
        }
        if (strcmp(names[i], name) == 0) {
            *out = (enum prepend_scheme)i;
            break;
        }
    }
    return OK;
}

static enum status pretoken_metaspace(struct tokenizer *t, const json_t *step, struct error *e) {
    struct pretoken_step p = {.kind = PRETOKEN_METASPACE};
    bool split;
    TRY(read_text(t, step, "replacement", &p.text, &p.bytes, e));
    TRY(read_prepend_scheme(t, step, &p.prepend, e));
    TRY(read_bool(t, step, "split", true, &split, e));
    if (p.bytes == 0) {
        return wrong(t, "Metaspace: replacement", "one character", e);
    }
    TRY(pretoken_add(t, &p, e));
    if (!split) {
        return OK;
    }
    struct pretoken_step cut = {.kind = PRETOKEN_SPLIT, .behaviour = SPLIT_WITH_NEXT};
    TRY(regex_compile(p.text, p.bytes, true, t->where, &cut.pattern, e));
    return pretoken_add(t, &cut, e);
}

static step_reader read_pretokeniser;

static enum status pretoken_sequence(struct tokenizer *t, const json_t *step, struct error *e) {
    return read_sequence(t, step, "pretokenizers", read_pretokeniser, e);
}

static enum status read_pretokeniser(struct tokenizer *t, const json_t *step, struct error *e) {
    static const struct step_row rows[] = {{"Split", pretoken_split},
                                           {"ByteLevel", pretoken_byte_level},
                                           {"Digits", pretoken_digits},
                                           {"Punctuation", pretoken_punctuation},
                                           {"Whitespace", pretoken_whitespace},
                                           {"WhitespaceSplit", pretoken_whitespace_split},
                                           {"Metaspace", pretoken_metaspace},
                                           {"Sequence", pretoken_sequence},
                                           {NULL, NULL}};
    if (t->model == WORD_BYTES) { /* it would see the printable spelling of the bytes */
        return error_set(e, ERR_RUN,
                         "%s: pre_tokenizer: a step behind ByteLevel is not supported (allowed: ByteLevel as the last)",
                         t->where);
    }
    return read_row(t, step, "pre_tokenizer", rows,
                    "Split, ByteLevel, Digits, Punctuation, Whitespace, WhitespaceSplit, Metaspace, Sequence", e);
}

/* ---- decoders ---------------------------------------------------------------------------------------------------- */

static enum status decode_replace(struct tokenizer *t, const json_t *step, struct error *e) {
    const json_t *pattern = json_object_get(step, "pattern");
    if (t->decode_from) {
        return error_set(e, ERR_RUN, "%s: decoder: more than one replacement (allowed: one Replace or Metaspace)",
                         t->where);
    }
    TRY(read_text(t, step, "content", &t->decode_to, &t->decode_to_bytes, e));
    TRY(read_text(t, pattern, "String", &t->decode_from, &t->decode_from_bytes, e));
    return t->decode_from_bytes ? OK : wrong(t, "decoder: Replace: pattern", "a string that is not empty", e);
}

static enum status decode_metaspace(struct tokenizer *t, const json_t *step, struct error *e) {
    enum prepend_scheme scheme;
    if (t->decode_from) {
        return error_set(e, ERR_RUN, "%s: decoder: more than one replacement (allowed: one Replace or Metaspace)",
                         t->where);
    }
    TRY(read_prepend_scheme(t, step, &scheme, e));
    TRY(read_text(t, step, "replacement", &t->decode_from, &t->decode_from_bytes, e));
    t->decode_to = " ";
    t->decode_to_bytes = 1;
    t->strip_left = scheme != PREPEND_NEVER;
    return t->decode_from_bytes ? OK : wrong(t, "decoder: Metaspace: replacement", "one character", e);
}

static enum status decode_strip(struct tokenizer *t, const json_t *step, struct error *e) {
    const char *content = json_string_value(json_object_get(step, "content"));
    if (!content || strcmp(content, " ") != 0) {
        return wrong(t, "decoder: Strip: content", "one space", e);
    }
    if (!t->decode_fused) {
        return error_set(e, ERR_RUN, "%s: decoder: Strip in front of Fuse is not supported (allowed: behind it)",
                         t->where);
    }
    TRY(read_count(t, step, "start", &t->strip_left, e));
    return read_count(t, step, "stop", &t->strip_right, e);
}

static enum status decode_fuse(struct tokenizer *t, const json_t *step, struct error *e) {
    (void)step, (void)e;
    t->decode_fused = true;
    return OK;
}

static step_reader read_decoder;

static enum status decode_sequence(struct tokenizer *t, const json_t *step, struct error *e) {
    return read_sequence(t, step, "decoders", read_decoder, e);
}

static enum status read_decoder(struct tokenizer *t, const json_t *step, struct error *e) {
    static const struct step_row rows[] = {
        {"ByteLevel", skip_step}, {"ByteFallback", skip_step}, {"Fuse", decode_fuse}, {"Replace", decode_replace},
        {"Strip", decode_strip}, {"Metaspace", decode_metaspace}, {"Sequence", decode_sequence}, {NULL, NULL}};
    return read_row(t, step, "decoder", rows, "ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Sequence", e);
}

/* ---- post-processors ------------------------------------------------------------------------- */

static enum status append_id(const struct tokenizer *t, int32_t **ids, size_t *count, const json_t *id,
                             struct error *e) {
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || (size_t)value >= t->count || !(t->tokens[value].flags & TOKEN_PRESENT)) {
        return error_set(e, ERR_RUN, "%s: post_processor: id %lld is not in the vocabulary (allowed: ids of tokens)",
                         t->where, (long long)value);
    }
    int32_t *grown = mem_resize(*ids, *count * sizeof **ids, (*count + 1) * sizeof **ids);
    if (!grown) {
        return out_of_memory(e);
    }
    *ids = grown;
    grown[(*count)++] = (int32_t)value;
    return OK;
}

/* "single": special tokens, the text (Sequence A), special tokens. */
static enum status post_template(struct tokenizer *t, const json_t *step, struct error *e) {
    const json_t *single = json_object_get(step, "single"), *specials = json_object_get(step, "special_tokens");
    if (!json_is_array(single)) {
        return wrong(t, "post_processor: single", "a list", e);
    }
    bool behind = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *part = json_array_get(single, i);
        const char *name = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        if (json_object_get(part, "Sequence")) {
            behind = true;
            continue;
        }
        const json_t *ids = name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
        if (!json_is_array(ids)) {
            return wrong(t, "post_processor: special_tokens", "the ids of every special token of the template", e);
        }
        for (size_t k = 0; k < json_array_size(ids); k++) {
            TRY(append_id(t, behind ? &t->after : &t->before, behind ? &t->after_count : &t->before_count,
                          json_array_get(ids, k), e));
        }
    }
    return OK;
}

static step_reader read_post_processor;

static enum status post_sequence(struct tokenizer *t, const json_t *step, struct error *e) {
    return read_sequence(t, step, "processors", read_post_processor, e);
}

static enum status read_post_processor(struct tokenizer *t, const json_t *step, struct error *e) {
    static const struct step_row rows[] = {
        {"TemplateProcessing", post_template}, {"ByteLevel", skip_step}, {"Sequence", post_sequence}, {NULL, NULL}};
    return read_row(t, step, "post_processor", rows, "TemplateProcessing, ByteLevel, Sequence", e);
}

/* ---- model and added tokens ------------------------------------------------------------------ */

static enum status read_vocabulary(struct tokenizer *t, const json_t *model, struct error *e) {
    json_t *vocabulary = json_object_get(model, "vocab");
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) == 0) {
        return wrong(t, "model.vocab", "a map of at least one token to its id", e);
    }
    const char *text;
    json_t *id;
    json_object_foreach(vocabulary, text, id) {
        if (!json_is_integer(id)) {
            return error_set(e, ERR_RUN, "%s: model.vocab: the id of \"%.60s\" is not an integer", t->where, text);
        }
        TRY(tokenizer_put(t, json_integer_value(id), text, strlen(text), TOKEN_LOOKUP, e));
    }
    return tokenizer_index(t, e);
}

/* "a b" or ["a", "b"] */
static enum status read_merge(struct tokenizer *t, size_t rank, const json_t *merge, struct error *e) {
    const char *text = json_string_value(merge);
    if (text) {
        const char *space = strchr(text + (text[0] != 0), ' ');
        if (space && space[1]) {
            return tokenizer_merge(t, rank, text, (size_t)(space - text), space + 1, strlen(space + 1), e);
        }
    } else if (json_array_size(merge) == 2) {
        const char *left = json_string_value(json_array_get(merge, 0)),
                   *right = json_string_value(json_array_get(merge, 1));
        if (left && right && left[0] && right[0]) {
            return tokenizer_merge(t, rank, left, strlen(left), right, strlen(right), e);
        }
    }
    return error_set(e, ERR_RUN, "%s: merge %zu: not a pair (allowed: \"a b\" or [\"a\", \"b\"])", t->where, rank);
}

static enum status read_merges(struct tokenizer *t, const json_t *model, struct error *e) {
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges)) {
        return wrong(t, "model.merges", "a list", e);
    }
    TRY(tokenizer_reserve_merges(t, json_array_size(merges), e));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        TRY(read_merge(t, i, json_array_get(merges, i), e));
    }
    return OK;
}

/* Options of BPE that change ids and are not built: only their neutral value passes. */
static enum status refuse_options(const struct tokenizer *t, const json_t *model, struct error *e) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(model, affixes[i]);
        if (v && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0)) {
            return error_set(e, ERR_RUN, "%s: model.%s: not supported (allowed: null or \"\")", t->where, affixes[i]);
        }
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && !(json_number_value(dropout) <= 0.0)) {
        return error_set(e, ERR_RUN, "%s: model.dropout: not supported (allowed: null or 0)", t->where);
    }
    return OK;
}

static enum status read_model(struct tokenizer *t, const json_t *model, struct error *e) {
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!type && json_object_get(model, "merges")) {
        type = "BPE"; /* files from before the type was written */
    }
    if (!type || strcmp(type, "BPE") != 0) {
        return unknown_name(t, "model: type", type ? type : "(none)", "BPE", e);
    }
    t->model = WORD_CHARS;
    TRY(refuse_options(t, model, e));
    TRY(read_bool(t, model, "ignore_merges", false, &t->ignore_merges, e));
    TRY(read_bool(t, model, "byte_fallback", false, &t->byte_fallback, e));
    TRY(read_bool(t, model, "fuse_unk", false, &t->fuse_unknown, e));
    TRY(read_vocabulary(t, model, e));
    TRY(read_merges(t, model, e));
    const json_t *unknown = json_object_get(model, "unk_token");
    if (json_is_string(unknown)) {
        t->unknown = tokenizer_lookup(t, json_string_value(unknown), json_string_length(unknown));
        if (t->unknown < 0) {
            return error_set(e, ERR_RUN, "%s: model.unk_token: \"%.60s\" is not in the vocabulary", t->where,
                             json_string_value(unknown));
        }
    }
    return OK;
}

static enum status read_added_token(struct tokenizer *t, struct scratch *s, const json_t *entry, struct error *e) {
    struct added_token token = {0};
    const json_t *id = json_object_get(entry, "id");
    bool normalised;
    if (!json_is_integer(id)) {
        return wrong(t, "added_tokens: id", "an integer", e);
    }
    TRY(read_text(t, entry, "content", &token.text, &token.bytes, e));
    TRY(read_bool(t, entry, "special", false, &token.special, e));
    TRY(read_bool(t, entry, "single_word", false, &token.single_word, e));
    TRY(read_bool(t, entry, "lstrip", false, &token.strip_left, e));
    TRY(read_bool(t, entry, "rstrip", false, &token.strip_right, e));
    TRY(read_bool(t, entry, "normalized", false, &normalised, e));
    unsigned flags = TOKEN_VERBATIM | (token.special ? TOKEN_SPECIAL : 0);
    int32_t known = tokenizer_lookup(t, token.text, token.bytes);
    if (known < 0) {
        TRY(tokenizer_put(t, json_integer_value(id), token.text, token.bytes, flags, e));
    } else if (known != json_integer_value(id)) {
        return error_set(e, ERR_RUN, "%s: added token \"%.60s\": id %lld, but %d in the vocabulary", t->where,
                         token.text, (long long)json_integer_value(id), known);
    } else {
        t->tokens[known].flags |= flags;
    }
    token.id = (int32_t)json_integer_value(id);
    if (!normalised) {
        return added_put(&t->added, &token, e);
    }
    const char *text;
    TRY(normalise(t, s, token.text, token.bytes, true, &text, &token.bytes, e));
    token.text = arena_strndup(t->arena, text, token.bytes);
    if (!token.text) {
        return out_of_memory(e);
    }
    return added_put(&t->added_normalised, &token, e);
}

static enum status read_added_tokens(struct tokenizer *t, const json_t *root, struct error *e) {
    const json_t *list = json_object_get(root, "added_tokens");
    if (list && !json_is_null(list) && !json_is_array(list)) {
        return wrong(t, "added_tokens", "a list", e);
    }
    struct scratch s;
    TRY(scratch_open(&s, e));
    enum status status = OK;
    for (size_t i = 0; i < json_array_size(list) && status == OK; i++) {
        status = read_added_token(t, &s, json_array_get(list, i), e);
    }
    scratch_close(&s);
    TRY(status);
    TRY(added_seal(&t->added, t->where, e));
    return added_seal(&t->added_normalised, t->where, e);
}

static enum status read_optional(struct tokenizer *t, const json_t *root, const char *key, step_reader *read,
                                 struct error *e) {
    const json_t *v = json_object_get(root, key);
    return v && !json_is_null(v) ? read(t, v, e) : OK;
}

static enum status read_root(struct tokenizer *t, const json_t *root, struct error *e) {
    TRY(read_model(t, json_object_get(root, "model"), e));
    TRY(read_optional(t, root, "normalizer", read_normaliser, e));
    TRY(read_optional(t, root, "pre_tokenizer", read_pretokeniser, e));
    TRY(read_optional(t, root, "decoder", read_decoder, e));
    TRY(read_added_tokens(t, root, e));
    TRY(read_optional(t, root, "post_processor", read_post_processor, e));
    if (t->before_count && (t->tokens[t->before[0]].flags & TOKEN_SPECIAL)) {
        t->bos = t->before[0];
    }
    return tokenizer_seal(t, e);
}

/* ---- the folder ------------------------------------------------------------------------------ */

/* "bos_token": "<s>" or {"content": "<s>"} or null. */
static enum status config_token(const struct tokenizer *t, const json_t *config, const char *key, int32_t *id,
                                struct error *e) {
    const json_t *v = json_object_get(config, key);
    v = json_is_object(v) ? json_object_get(v, "content") : v;
    if (!v || json_is_null(v)) {
        return OK;
    }
    const char *text = json_string_value(v);
    *id = text ? tokenizer_find_any(t, text, json_string_length(v)) : -1;
    if (*id < 0) {
        return error_set(e, ERR_RUN, "%s: tokenizer_config.json: %s: \"%.60s\" is not in the vocabulary", t->where, key,
                         text ? text : "(no text)");
    }
    return OK;
}

/* A string, or a list of {name, template} of which the one called default counts. */
static enum status config_template(struct tokenizer *t, const json_t *config, struct error *e) {
    const json_t *v = json_object_get(config, "chat_template");
    for (size_t i = 0; json_is_array(v) && i < json_array_size(json_object_get(config, "chat_template")); i++) {
        const json_t *entry = json_array_get(json_object_get(config, "chat_template"), i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, "default") == 0) {
            v = json_object_get(entry, "template");
        }
    }
    if (json_is_string(v)) {
        t->chat_template = arena_strdup(t->arena, json_string_value(v));
        return t->chat_template ? OK : out_of_memory(e);
    }
    return OK;
}

static enum status read_config(struct tokenizer *t, const char *path, struct error *e) {
    json_t *config;
    TRY(json_load_numbers_as_real(path, JSON_LIMIT_BYTES, &config, e));
    int32_t end = -1;
    enum status status;
    TRY_GOTO(status, config_token(t, config, "bos_token", &t->bos, e), done);
    TRY_GOTO(status, config_token(t, config, "eos_token", &end, e), done);
    TRY_GOTO(status, config_template(t, config, e), done);
    if (end >= 0) {
        t->tokens[end].flags |= TOKEN_END;
    }
done:
    json_decref(config);
    return status;
}

static enum status read_template_file(struct tokenizer *t, const char *path, struct error *e) {
    char *text;
    size_t bytes;
    TRY(read_file(path, JSON_LIMIT_BYTES, &text, &bytes, e));
    t->chat_template = arena_strndup(t->arena, text, bytes);
    mem_free(text);
    return t->chat_template ? OK : out_of_memory(e);
}

static enum status read_beside(struct tokenizer *t, const char *folder, const char *name,
                               enum status (*read)(struct tokenizer *, const char *, struct error *), struct error *e) {
    char *path = path_join(folder, name);
    if (!path) {
        return out_of_memory(e);
    }
    enum status status = file_exists(path) ? read(t, path, e) : OK;
    mem_free(path);
    return status;
}

enum status tokenizer_load_json(const char *path, const char *folder, struct tokenizer **out, struct error *e) {
    json_t *root = NULL;
    struct tokenizer *t = NULL;
    *out = NULL;
    enum status status;
    TRY_GOTO(status, json_load_checked(path, JSON_LIMIT_BYTES, &root, e), done);
    TRY_GOTO(status, tokenizer_new(path, &t, e), done);
    TRY_GOTO(status, read_root(t, root, e), done);
    if (folder) {
        TRY_GOTO(status, read_beside(t, folder, "tokenizer_config.json", read_config, e), done);
        TRY_GOTO(status, read_beside(t, folder, "chat_template.jinja", read_template_file, e), done);
    }
done:
    json_decref(root);
    if (status != OK) {
        tokenizer_close(t);
        return status;
    }
    *out = t;
    return OK;
}
