/* tokenizer.json and tokenizer_config.json from the vocabulary of a GGUF file; the reverse of what tokenizer_json.c and
 * tokenizer_gguf.c read.
 *
 * Byte-level vocabularies have a list of merges and, by name, the patterns that cut words: both are written down.
 * SentencePiece vocabularies have scores instead: neighbours are joined when the joined text is a token, the one with
 * the highest score first. As a list of merges that is every way to cut every token into two tokens, by falling score.
 * Two tokens of equal score, or two cuts of one token that overlap, are joined in the order of the text there and in
 * the order of the list here: no vocabulary of the tests shows a difference.
 *
 * A token that is cut out of the text as it stands (control tokens, user-defined ones) becomes an added token.
 */
#include <stdlib.h>

#include "models/tokenizer_parts.h"
#include "models/write_parts.h"

/* ---- small things ------------------------------------------------------------------------------- */

static enum status not_text(const struct tokenizer *t, size_t id, struct error *e) {
    return error_set(e, ERR_RUN, "%s: token %zu: its text is not UTF-8, which tokenizer.json must be", t->where, id);
}

/* NULL: not UTF-8, or with a zero byte. */
static json_t *text_of(const struct token *t) {
    return memchr(t->text, 0, t->text_bytes) ? NULL : json_stringn(t->text, t->text_bytes);
}

static bool is_present(const struct tokenizer *t, size_t id) { return t->tokens[id].flags & TOKEN_PRESENT; }

/* ---- vocabulary and added tokens ---------------------------------------------------------------- */

/* Byte-level control tokens stand among the added tokens only: merges must not find them. */
static bool in_vocabulary(const struct tokenizer *t, size_t id) {
    const struct token *token = &t->tokens[id];
    bool control = (token->flags & TOKEN_VERBATIM) && !(token->flags & TOKEN_LOOKUP);
    return is_present(t, id) && token->text_bytes > 0 && !(control && t->model == WORD_BYTES);
}

static enum status make_vocabulary(const struct tokenizer *t, json_t **out, struct error *e) {
    json_t *map = json_object();
    enum status status = OK;
    for (size_t i = 0; i < t->count && status == OK; i++) {
        json_t *text = in_vocabulary(t, i) ? text_of(&t->tokens[i]) : NULL;
        if (text) {
            json_object_set_new(map, json_string_value(text), json_integer((json_int_t)i));
            json_decref(text);
        } else if (in_vocabulary(t, i)) {
            status = not_text(t, i, e);
        }
    }
    if (status != OK) {
        json_decref(map);
        return status;
    }
    *out = map;
    return OK;
}

static enum status make_added_tokens(const struct tokenizer *t, json_t **out, struct error *e) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->added.count; i++) {
        const struct added_token *a = &t->added.at[i];
        json_t *text = text_of(&t->tokens[a->id]);
        if (!text) {
            json_decref(list);
            return not_text(t, (size_t)a->id, e);
        }
        json_array_append_new(list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", a->id, "content", text,
                                              "single_word", a->single_word, "lstrip", a->strip_left, "rstrip",
                                              a->strip_right, "normalized", 0, "special", a->special));
    }
    *out = list;
    return OK;
}

/* ---- merges ------------------------------------------------------------------------------------- */

/* "a b", or a pair where a piece holds a space itself. */
static json_t *make_merge(const char *left, size_t left_bytes, const char *right, size_t right_bytes) {
    if (memchr(left, ' ', left_bytes) || memchr(right, ' ', right_bytes)) {
        return json_pack("[s%, s%]", left, left_bytes, right, right_bytes);
    }
    return json_pack("s%++%", left, left_bytes, " ", right, right_bytes);
}

static json_t *make_listed_merges(const struct gguf *g) {
    static const char key[] = "tokenizer.ggml.merges";
    json_t *list = json_array();
    size_t count = 0;
    bool found;
    if (gguf_get_text_array(g, key, &count, &found, NULL) != OK) {
        return list;
    }
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t bytes;
        gguf_text_at(g, key, i, &text, &bytes);
        json_array_append_new(list, json_stringn(text, bytes)); /* checked by the tokenizer when it was opened */
    }
    return list;
}

struct cut {
    uint32_t rank;
    int32_t joined;
    uint32_t left_bytes;
};

static int by_rank(const void *a, const void *b) {
    const struct cut *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    if (x->joined != y->joined) {
        return x->joined < y->joined ? -1 : 1;
    }
    return (x->left_bytes > y->left_bytes) - (x->left_bytes < y->left_bytes);
}

struct cut_list { struct cut *at; size_t count, capacity; };

static enum status add_cuts(const struct tokenizer *t, size_t id, struct cut_list *l, struct error *e) {
    const struct token *token = &t->tokens[id];
    for (uint32_t left = 1; left < token->text_bytes; left++) {
        bool whole = ((unsigned char)token->text[left] & 0xc0) != 0x80;
        if (!whole || tokenizer_lookup(t, token->text, left) < 0 ||
            tokenizer_lookup(t, token->text + left, token->text_bytes - left) < 0) {
            continue;
        }
        TRY(grow(&l->at, &l->capacity, l->count + 1, sizeof *l->at, e));
        l->at[l->count++] = (struct cut){token->rank, (int32_t)id, left};
    }
    return OK;
}

static enum status make_scored_merges(const struct tokenizer *t, json_t **out, struct error *e) {
    struct cut_list l = {0};
    enum status status = OK;
    for (size_t i = 0; i < t->count && status == OK; i++) {
        status = t->tokens[i].flags & TOKEN_LOOKUP ? add_cuts(t, i, &l, e) : OK;
    }
    if (status == OK) {
        *out = json_array();
        if (l.count) {
            qsort(l.at, l.count, sizeof *l.at, by_rank);
        }
        for (size_t i = 0; i < l.count; i++) {
            const struct token *token = &t->tokens[l.at[i].joined];
            uint32_t left = l.at[i].left_bytes;
            json_array_append_new(*out, make_merge(token->text, left, token->text + left, token->text_bytes - left));
        }
    }
    mem_free(l.at);
    return status;
}

/* ---- the steps around the merges ---------------------------------------------------------------- */

static json_t *make_byte_level(bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", use_regex);
}

static json_t *make_pretokeniser(const struct tokenizer *t, const struct gguf *g) {
    const char *name = "", *const *pattern;
    size_t bytes = 0;
    bool found;
    if (t->model != WORD_BYTES || gguf_get_text(g, "tokenizer.ggml.pre", &name, &bytes, &found, NULL) != OK) {
        return json_null();
    }
    json_t *steps = json_array();
    for (pattern = pretoken_patterns(name, bytes); pattern && *pattern; pattern++) {
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                               *pattern, "behavior", "Isolated", "invert", 0));
    }
    json_array_append_new(steps, make_byte_level(false));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

/* SentencePiece: strip_left says that a space was put in front. */
static json_t *make_normaliser(const struct tokenizer *t) {
    if (t->model == WORD_BYTES) {
        return json_null();
    }
    json_t *steps = json_array();
    if (t->strip_left) {
        json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", "\xe2\x96\x81"));
    }
    json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                                           "content", "\xe2\x96\x81"));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
}

static json_t *make_decoder(const struct tokenizer *t) {
    if (t->model == WORD_BYTES) {
        return make_byte_level(true);
    }
    json_t *steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                              "\xe2\x96\x81", "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (t->strip_left) {
        json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1,
                                               "stop", 0));
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

static void add_special(const struct tokenizer *t, const int32_t *ids, size_t count, json_t *single, json_t *pair,
                        json_t *specials) {
    for (size_t i = 0; i < count; i++) {
        const char *text = t->tokens[ids[i]].text;
        json_t *part = json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", text, "type_id", 0);
        json_array_append(pair, part);
        json_array_append_new(single, part);
        json_object_set_new(specials, text, json_pack("{s:s, s:[i], s:[s]}", "id", text, "ids", ids[i], "tokens",
                                                      text));
    }
}

static json_t *make_post_processor(const struct tokenizer *t) {
    if (t->before_count + t->after_count == 0) {
        return t->model == WORD_BYTES ? make_byte_level(true) : json_null();
    }
    json_t *single = json_array(), *pair = json_array(), *specials = json_object();
    json_t *first = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0);
    add_special(t, t->before, t->before_count, single, pair, specials);
    json_array_append(single, first);
    json_array_append_new(pair, first);
    json_array_append_new(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
    add_special(t, t->after, t->after_count, single, pair, specials);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", specials);
}

/* ---- the documents ------------------------------------------------------------------------------ */

static json_t *make_unknown(const struct tokenizer *t) {
    return t->unknown >= 0 && in_vocabulary(t, (size_t)t->unknown) ? text_of(&t->tokens[t->unknown]) : json_null();
}

static enum status make_model(const struct tokenizer *t, const struct gguf *g, json_t **out, struct error *e) {
    json_t *vocabulary = NULL, *merges = NULL;
    TRY(make_vocabulary(t, &vocabulary, e));
    if (t->model == WORD_BYTES) {
        merges = make_listed_merges(g);
    } else {
        enum status status = make_scored_merges(t, &merges, e);
        if (status != OK) {
            json_decref(vocabulary);
            return status;
        }
    }
    *out = json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     make_unknown(t), "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", t->fuse_unknown,
                     "byte_fallback", t->byte_fallback, "ignore_merges", t->ignore_merges, "vocab", vocabulary,
                     "merges", merges);
    return OK;
}

enum status tokenizer_make_json(const struct model *m, json_t **out, struct error *e) {
    const struct tokenizer *t = m->tokenizer;
    const struct gguf *g = weights_gguf(m->weights);
    json_t *added = NULL, *model = NULL;
    TRY(make_added_tokens(t, &added, e));
    enum status status = make_model(t, g, &model, e);
    if (status != OK) {
        json_decref(added);
        return status;
    }
    *out = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added, "normalizer", make_normaliser(t), "pre_tokenizer", make_pretokeniser(t, g),
                     "post_processor", make_post_processor(t), "decoder", make_decoder(t), "model", model);
    return *out ? OK : error_set(e, ERR_RUN, "tokenizer.json: out of memory");
}

static void put_token(json_t *map, const char *key, const struct tokenizer *t, int32_t id) {
    if (id >= 0 && (size_t)id < t->count && is_present(t, (size_t)id)) {
        json_object_set_new(map, key, text_of(&t->tokens[id]));
    }
}

enum status tokenizer_make_config(const struct model *m, json_t **out, struct error *e) {
    const struct tokenizer *t = m->tokenizer;
    json_t *map = json_pack("{s:s, s:b, s:b, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast",
                            "add_bos_token", t->before_count > 0, "add_eos_token", t->after_count > 0,
                            "clean_up_tokenization_spaces", 0, "model_max_length", (json_int_t)m->shape.context);
    put_token(map, "bos_token", t, t->bos);
    put_token(map, "eos_token", t, m->shape.end_count ? m->shape.ends[0] : -1);
    put_token(map, "unk_token", t, t->unknown);
    if (t->chat_template) {
        json_object_set_new(map, "chat_template", json_string(t->chat_template));
    }
    *out = map;
    return map ? OK : error_set(e, ERR_RUN, "tokenizer_config.json: out of memory");
}
