/* Loads the vocabulary inside a GGUF file (keys tokenizer.ggml.*; ggml's gguf.md describes them).
 *
 *   model "gpt2"   byte-level BPE: tokens, merges, and the name of a pre-tokeniser in tokenizer.ggml.pre
 *   model "llama"  SentencePiece: tokens, scores; a space is U+2581, and one is put in front of a text unless
 *                  add_space_prefix is false
 *
 * token_type per token: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. Control and unknown tokens
 * are special, user-defined ones are found in the text like added tokens (and merges may name them), bytes are the
 * fallback. Phi-3 files lose the flags of the original added tokens; there the special ones swallow the white space
 * behind them, but for <unk>, <s> and <|endoftext|> (as in the tokenizer.json of these models and in llama.cpp).
 */
#include <string.h>

#include "models/tokenizer_parts.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

static const char tokens_key[] = "tokenizer.ggml.tokens";

static unsigned flags_of_type(const struct tokenizer *t, int type) {
    switch (type) {
    case TYPE_UNKNOWN: case TYPE_CONTROL:
        return TOKEN_SPECIAL | TOKEN_VERBATIM;
    case TYPE_USER:
        return t->model == WORD_BYTES ? TOKEN_VERBATIM | TOKEN_LOOKUP : TOKEN_VERBATIM;
    case TYPE_NORMAL:
        return TOKEN_LOOKUP;
    default:
        return 0;
    }
}

/* One number per token, or *out = NULL when the key is absent. */
static enum status numbers_per_token(const struct tokenizer *t, const struct gguf *g, const char *key, size_t tokens,
                                     double **out, struct error *e) {
    size_t count = 0;
    bool found;
    *out = NULL;
    TRY(gguf_get_numbers(g, key, out, &count, &found, e));
    if (found && count != tokens) {
        mem_free(*out);
        *out = NULL;
        return error_set(e, ERR_RUN, "%s: %s: %zu entries for %zu tokens", t->where, key, count, tokens);
    }
    return OK;
}

static enum status put_tokens(struct tokenizer *t, const struct gguf *g, const double *types, size_t count,
                              struct error *e) {
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t bytes;
        gguf_text_at(g, tokens_key, i, &text, &bytes);
        if (types && !(types[i] >= TYPE_NORMAL && types[i] <= TYPE_BYTE)) {
            return error_set(e, ERR_RUN, "%s: tokenizer.ggml.token_type: %g for token %zu (allowed: 1 to 6)", t->where,
                             types[i], i);
        }
        TRY(tokenizer_put(t, (int64_t)i, text, bytes, flags_of_type(t, types ? (int)types[i] : TYPE_NORMAL), e));
    }
    return tokenizer_index(t, e);
}

static enum status read_tokens(struct tokenizer *t, const struct gguf *g, struct error *e) {
    size_t count;
    TRY(gguf_get_text_array(g, tokens_key, &count, NULL, e));
    if (count == 0 || count > TOKEN_ID_LIMIT) {
        return error_set(e, ERR_RUN, "%s: %s: %zu tokens (allowed: 1 to %d)", t->where, tokens_key, count,
                         TOKEN_ID_LIMIT);
    }
    double *types;
    TRY(numbers_per_token(t, g, "tokenizer.ggml.token_type", count, &types, e));
    enum status status = put_tokens(t, g, types, count, e);
    mem_free(types);
    return status;
}

static enum status read_merges(struct tokenizer *t, const struct gguf *g, struct error *e) {
    static const char key[] = "tokenizer.ggml.merges";
    size_t count;
    TRY(gguf_get_text_array(g, key, &count, NULL, e));
    TRY(tokenizer_reserve_merges(t, count, e));
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t bytes;
        gguf_text_at(g, key, i, &text, &bytes);
        const char *space = bytes > 1 ? memchr(text + 1, ' ', bytes - 1) : NULL;
        size_t left = space ? (size_t)(space - text) : bytes;
        if (left + 1 >= bytes) {
            return error_set(e, ERR_RUN, "%s: %s: merge %zu is not a pair (allowed: \"a b\")", t->where, key, i);
        }
        TRY(tokenizer_merge(t, i, text, left, space + 1, bytes - left - 1, e));
    }
    return OK;
}

static enum status read_gpt2(struct tokenizer *t, const struct gguf *g, struct error *e) {
    const char *name = "default";
    size_t bytes = strlen(name);
    bool found;
    t->model = WORD_BYTES;
    TRY(gguf_get_text(g, "tokenizer.ggml.pre", &name, &bytes, &found, e));
    if (!found) {
        return error_set(e, ERR_RUN, "%s: tokenizer.ggml.pre: missing: the file does not say how words are cut",
                         t->where);
    }
    TRY(pretokenise_by_name(t, name, bytes, e));
    TRY(read_tokens(t, g, e));
    return read_merges(t, g, e);
}

static enum status add_space_normaliser(struct tokenizer *t, bool prefix, struct error *e) {
    static const char space[] = "\xe2\x96\x81";
    if (prefix) {
        t->normalise[t->normalise_count++] =
            (struct normalise_step){.kind = NORMALISE_PREPEND, .text = space, .bytes = 3};
    }
    struct normalise_step replace = {.kind = NORMALISE_REPLACE, .text = space, .bytes = 3};
    TRY(regex_compile(" ", 1, true, t->where, &replace.pattern, e));
    t->normalise[t->normalise_count++] = replace;
    t->decode_from = space;
    t->decode_from_bytes = 3;
    t->decode_to = " ";
    t->decode_to_bytes = 1;
    t->strip_left = prefix;
    return OK;
}

static enum status read_llama(struct tokenizer *t, const struct gguf *g, struct error *e) {
    double *scores;
    bool prefix = true, found;
    t->model = WORD_SCORES;
    t->byte_fallback = true;
    t->add_bos = true;
    TRY(read_tokens(t, g, e));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &prefix, &found, e));
    TRY(add_space_normaliser(t, prefix, e));
    TRY(numbers_per_token(t, g, "tokenizer.ggml.scores", t->count, &scores, e));
    if (!scores) {
        return error_set(e, ERR_RUN, "%s: tokenizer.ggml.scores: missing: without them there is no order of merges",
                         t->where);
    }
    enum status status = spm_rank(t, scores, e);
    mem_free(scores);
    return status;
}

/* An id that the file names; stays -1 when the key is absent. */
static enum status read_id(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t *out,
                           struct error *e) {
    uint64_t id;
    bool found;
    *out = -1;
    TRY(gguf_get_u64(g, key, &id, &found, e));
    if (found && id != UINT32_MAX) { /* written for "none" by some converters */
        if (id >= t->count) {
            return error_set(e, ERR_RUN, "%s: %s: id %llu (allowed: 0 to %zu)", t->where, key, (unsigned long long)id,
                             t->count - 1);
        }
        *out = (int32_t)id;
    }
    return OK;
}

static enum status read_ends(struct tokenizer *t, const struct gguf *g, int32_t *end, struct error *e) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (int i = 0; i < 3; i++) {
        int32_t id;
        TRY(read_id(t, g, keys[i], &id, e));
        if (id >= 0) {
            t->tokens[id].flags |= TOKEN_END;
        }
        if (i == 0) {
            *end = id;
        }
    }
    return OK;
}

/* add_bos_token and add_eos_token, and the ids that they add. */
static enum status read_special_ids(struct tokenizer *t, const struct gguf *g, struct error *e) {
    bool found;
    int32_t end = -1;
    TRY(read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, e));
    /* Byte-level files name an unknown token, too, but nothing may turn into it: often it ends the text. */
    if (t->model == WORD_SCORES) {
        TRY(read_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unknown, e));
    }
    TRY(read_ends(t, g, &end, e));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos, &found, e));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &t->add_eos, &found, e));
    const struct { bool wanted; int32_t id; int32_t **ids; size_t *count; const char *name;
    } ends[] = {{t->add_bos, t->bos, &t->before, &t->before_count, "bos"},
                {t->add_eos, end, &t->after, &t->after_count, "eos"}};
    for (int i = 0; i < 2; i++) {
        if (!ends[i].wanted) {
            continue;
        }
        if (ends[i].id < 0) {
            return error_set(e, ERR_RUN, "%s: tokenizer.ggml.%s_token_id: missing, but to be added to every text",
                             t->where, ends[i].name);
        }
        *ends[i].ids = mem_alloc(1, sizeof **ends[i].ids);
        if (!*ends[i].ids) {
            return out_of_memory(e);
        }
        (*ends[i].ids)[0] = ends[i].id;
        *ends[i].count = 1;
    }
    return OK;
}

static bool is_phi3(const struct tokenizer *t, const struct gguf *g) {
    const char *name;
    size_t bytes;
    bool found;
    return t->model == WORD_SCORES && gguf_get_text(g, "general.architecture", &name, &bytes, &found, NULL) == OK &&
           found && bytes == 4 && memcmp(name, "phi3", 4) == 0;
}

static bool keeps_space(const char *text) {
    return strcmp(text, "<unk>") == 0 || strcmp(text, "<s>") == 0 || strcmp(text, "<|endoftext|>") == 0;
}

static enum status add_special_tokens(struct tokenizer *t, const struct gguf *g, struct error *e) {
    bool phi3 = is_phi3(t, g);
    for (size_t i = 0; i < t->count; i++) {
        const struct token *token = &t->tokens[i];
        if (!(token->flags & TOKEN_VERBATIM)) {
            continue;
        }
        struct added_token added = {.text = token->text,
                                    .bytes = token->text_bytes,
                                    .id = (int32_t)i,
                                    .special = token->flags & TOKEN_SPECIAL,
                                    .strip_right = phi3 && !keeps_space(token->text)};
        TRY(added_put(&t->added, &added, e));
    }
    return added_seal(&t->added, t->where, e);
}

static enum status read_all(struct tokenizer *t, const struct gguf *g, struct error *e) {
    const char *model = "", *template_text;
    size_t bytes = 0;
    bool found;
    TRY(gguf_get_text(g, "tokenizer.ggml.model", &model, &bytes, &found, e));
    if (found && bytes == 4 && memcmp(model, "gpt2", 4) == 0) {
        TRY(read_gpt2(t, g, e));
    } else if (found && bytes == 5 && memcmp(model, "llama", 5) == 0) {
        TRY(read_llama(t, g, e));
    } else {
        return error_set(e, ERR_RUN, "%s: tokenizer.ggml.model: \"%.*s\" is not known (known: gpt2, llama)", t->where,
                         (int)(bytes < 60 ? bytes : 60), model);
    }
    TRY(read_special_ids(t, g, e));
    TRY(add_special_tokens(t, g, e));
    TRY(gguf_get_text(g, "tokenizer.chat_template", &template_text, &bytes, &found, e));
    if (found) {
        t->chat_template = arena_strndup(t->arena, template_text, bytes);
        if (!t->chat_template) {
            return out_of_memory(e);
        }
    }
    return tokenizer_seal(t, e);
}

enum status tokenizer_load_gguf(const struct gguf *g, const char *path, struct tokenizer **out, struct error *e) {
    struct tokenizer *t;
    *out = NULL;
    TRY(tokenizer_new(path, &t, e));
    enum status status = read_all(t, g, e);
    if (status != OK) {
        tokenizer_close(t);
        return status;
    }
    *out = t;
    return OK;
}
