/* The tokenizer of a model as metadata of a GGUF file: the reverse of tokenizer_gguf.c.
 *
 * From a GGUF file its own keys are copied. From tokenizer.json:
 *   byte-level   model "gpt2": the merges by rank, and the name of the pre-tokeniser whose patterns these are. A
 *                normaliser NFC (Qwen) is lost: GGUF has no place for it, and text is nearly always in that form.
 *   characters   model "llama": the merges become scores. A score belongs to a token, a merge to a pair: that is the
 *                same only if every way to cut a token into two tokens is a merge, and all merges of one token stand
 *                together, as in files that were made from a SentencePiece model. Anything else is refused.
 */
#include <stdlib.h>

#include "models/write_gguf.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

struct job {
    struct gguf_keys *keys;
    const struct model *model;
    const struct tokenizer *t;
    const struct gguf *g; /* NULL: from tokenizer.json */
    struct arena *arena;
    size_t count;         /* tokens: one for every row of the embedding at least */
};

static enum status refuse(const struct job *j, const char *why, struct error *e) {
    return error_set(e, ERR_RUN, "%s: cannot be written as a GGUF vocabulary: %s", j->t->where, why);
}

static enum status no_memory(const struct job *j, struct error *e) { return refuse(j, "out of memory", e); }

/* ---- tokens ------------------------------------------------------------------------------------------- */

static bool is_present(const struct job *j, size_t id) {
    return id < j->t->count && (j->t->tokens[id].flags & TOKEN_PRESENT);
}

static void put_tokens(const struct job *j) {
    gguf_put_text_array(j->keys, "tokenizer.ggml.tokens", j->count);
    for (size_t i = 0; i < j->count; i++) {
        char unused[32];
        int bytes = snprintf(unused, sizeof unused, "[PAD%zu]", i);
        if (is_present(j, i)) {
            gguf_put_element(j->keys, j->t->tokens[i].text, j->t->tokens[i].text_bytes);
        } else {
            gguf_put_element(j->keys, unused, (size_t)bytes);
        }
    }
}

static int32_t type_of(const struct job *j, size_t id) {
    const struct token *token = &j->t->tokens[id];
    if (!is_present(j, id)) {
        return TYPE_UNUSED;
    }
    if (token->flags & TOKEN_VERBATIM) {
        bool unknown = (int32_t)id == j->t->unknown && j->t->model != WORD_BYTES;
        return token->flags & TOKEN_SPECIAL ? unknown ? TYPE_UNKNOWN : TYPE_CONTROL : TYPE_USER;
    }
    if ((int32_t)id == j->t->unknown && j->t->model != WORD_BYTES) {
        return TYPE_UNKNOWN;
    }
    return j->t->model != WORD_BYTES && byte_token_value(token->text, token->text_bytes) >= 0 ? TYPE_BYTE
                                                                                              : TYPE_NORMAL;
}

static enum status put_types(const struct job *j, struct error *e) {
    int32_t *types = arena_alloc(j->arena, j->count, sizeof *types);
    double *own = NULL;
    size_t count = 0;
    bool found = false;
    if (!types) {
        return no_memory(j, e);
    }
    if (j->g) {
        TRY(gguf_get_numbers(j->g, "tokenizer.ggml.token_type", &own, &count, &found, e));
    }
    for (size_t i = 0; i < j->count; i++) {
        types[i] = i < count ? (int32_t)own[i] : type_of(j, i);
    }
    mem_free(own);
    gguf_put_i32_array(j->keys, "tokenizer.ggml.token_type", types, j->count);
    return OK;
}

/* ---- merges and scores ---------------------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b) {
    const struct pair_slot *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* The merges of tokenizer.json by rank, in the arena. */
static enum status sort_merges(const struct job *j, struct pair_slot **out, size_t *count, struct error *e) {
    struct pair_slot *sorted = arena_alloc(j->arena, j->t->pair_count, sizeof *sorted);
    *count = 0;
    if (!sorted) {
        return no_memory(j, e);
    }
    for (size_t i = 0; i < j->t->pair_count; i++) {
        if (j->t->pairs[i].merged >= 0) {
            sorted[(*count)++] = j->t->pairs[i];
        }
    }
    if (*count) {
        qsort(sorted, *count, sizeof *sorted, by_rank);
    }
    *out = sorted;
    return OK;
}

static enum status put_merges(const struct job *j, struct error *e) {
    struct pair_slot *merges = NULL;
    size_t count = 0;
    TRY(sort_merges(j, &merges, &count, e));
    gguf_put_text_array(j->keys, "tokenizer.ggml.merges", count);
    for (size_t i = 0; i < count; i++) {
        const struct token *left = &j->t->tokens[merges[i].pair >> 32];
        const struct token *right = &j->t->tokens[merges[i].pair & UINT32_MAX];
        char *text = arena_printf(j->arena, "%s %s", left->text, right->text);
        if (!text) {
            return no_memory(j, e);
        }
        gguf_put_element(j->keys, text, strlen(text));
    }
    return OK;
}

/* How many ways there are to cut a token into two tokens. */
static size_t cuts_of(const struct tokenizer *t, const struct token *token) {
    size_t cuts = 0;
    for (uint32_t left = 1; left < token->text_bytes; left++) {
        cuts += ((unsigned char)token->text[left] & 0xc0) != 0x80 && tokenizer_lookup(t, token->text, left) >= 0 &&
                tokenizer_lookup(t, token->text + left, token->text_bytes - left) >= 0;
    }
    return cuts;
}

/* Tokens that are joined get the scores 0, -1, -2, ... in the order of their merges; the others come behind. */
static enum status put_scores(const struct job *j, struct error *e) {
    struct pair_slot *merges = NULL;
    size_t count = 0, done = 0, place = 0;
    float *scores = arena_alloc(j->arena, j->count, sizeof *scores);
    TRY(sort_merges(j, &merges, &count, e));
    if (!scores) {
        return no_memory(j, e);
    }
    for (size_t i = 0; i < j->count; i++) {
        scores[i] = 1.0f; /* not joined */
    }
    for (; done < count; place++) {
        size_t joined = (size_t)merges[done].merged, first = done;
        while (done < count && (size_t)merges[done].merged == joined) {
            done++;
        }
        if (scores[joined] <= 0.0f || done - first != cuts_of(j->t, &j->t->tokens[joined])) {
            return refuse(j, "its merges are not those of a SentencePiece model", e);
        }
        scores[joined] = -(float)place;
    }
    for (size_t i = 0; i < j->count; i++) {
        bool could = is_present(j, i) && scores[i] > 0.0f && (j->t->tokens[i].flags & TOKEN_VERBATIM) == 0;
        if (could && cuts_of(j->t, &j->t->tokens[i])) {
            return refuse(j, "a token that could be joined has no merge", e);
        }
        scores[i] = scores[i] > 0.0f ? -(float)(place + 1) : scores[i];
    }
    gguf_put_f32_array(j->keys, "tokenizer.ggml.scores", scores, j->count);
    return OK;
}

/* ---- pre-tokeniser ---------------------------------------------------------------------------------------- */

enum { MAX_STEPS_JSON = 8 };
struct pattern_list { const char *at[MAX_STEPS_JSON]; size_t count; bool strange; };

static void add_pattern(struct pattern_list *p, const char *pattern) {
    if (pattern && p->count < MAX_STEPS_JSON - 1) {
        p->at[p->count++] = pattern;
    } else {
        p->strange = true;
    }
}

/* One step of tokenizer.json as a pattern whose matches are words. */
static void add_step(struct pattern_list *p, const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    const json_t *prefix = json_object_get(step, "add_prefix_space"), *regex = json_object_get(step, "use_regex");
    const char *behaviour = json_string_value(json_object_get(step, "behavior"));
    if (type && strcmp(type, "ByteLevel") == 0 && json_is_false(prefix)) {
        if (!json_is_false(regex)) {
            add_pattern(p, gpt2_pattern);
        }
    } else if (type && strcmp(type, "Digits") == 0 && json_is_true(json_object_get(step, "individual_digits"))) {
        add_pattern(p, "\\p{N}");
    } else if (type && strcmp(type, "Split") == 0 && behaviour && strcmp(behaviour, "Isolated") == 0 &&
               !json_is_true(json_object_get(step, "invert"))) {
        add_pattern(p, json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex")));
    } else {
        p->strange = true;
    }
}

static void read_steps(const json_t *pretokeniser, struct pattern_list *p) {
    const json_t *steps = json_object_get(pretokeniser, "pretokenizers");
    if (!json_is_array(steps)) {
        add_step(p, pretokeniser);
    }
    for (size_t i = 0; i < json_array_size(steps); i++) {
        add_step(p, json_array_get(steps, i));
    }
}

static enum status put_pretokeniser(const struct job *j, struct error *e) {
    enum { LIMIT = 256 << 20 };
    struct pattern_list patterns = {0};
    json_t *root = NULL;
    TRY(json_load_checked(j->t->where, LIMIT, &root, e));
    read_steps(json_object_get(root, "pre_tokenizer"), &patterns);
    const char *name = patterns.strange ? NULL : pretoken_name(patterns.at, j->t->ignore_merges);
    json_decref(root);
    if (!name) {
        return refuse(j, "its pre-tokeniser has no name there", e);
    }
    gguf_put_text(j->keys, "tokenizer.ggml.pre", name, strlen(name));
    return OK;
}

/* ---- both sources ------------------------------------------------------------------------------------------- */

static enum status put_byte_level(const struct job *j, struct error *e) {
    if (j->t->normalise_count > 1 || (j->t->normalise_count == 1 && j->t->normalise[0].kind != NORMALISE_NFC)) {
        return refuse(j, "it changes the text before it is cut (allowed: NFC)", e);
    }
    gguf_put_text(j->keys, "tokenizer.ggml.model", "gpt2", 4);
    TRY(put_pretokeniser(j, e));
    return put_merges(j, e);
}

static enum status put_characters(const struct job *j, struct error *e) {
    static const char space[] = "\xe2\x96\x81";
    if (!j->t->decode_from || strcmp(j->t->decode_from, space) != 0 || !j->t->byte_fallback) {
        return refuse(j, "it is neither byte-level nor made from a SentencePiece model with bytes", e);
    }
    gguf_put_text(j->keys, "tokenizer.ggml.model", "llama", 5);
    gguf_put_bool(j->keys, "tokenizer.ggml.add_space_prefix", j->t->strip_left > 0);
    return put_scores(j, e);
}

static enum status copy_text(const struct job *j, const char *key, struct error *e) {
    const char *text;
    size_t bytes;
    bool found;
    TRY(gguf_get_text(j->g, key, &text, &bytes, &found, e));
    if (found) {
        gguf_put_text(j->keys, key, text, bytes);
    }
    return OK;
}

static enum status copy_merges(const struct job *j, struct error *e) {
    static const char key[] = "tokenizer.ggml.merges";
    size_t count = 0;
    bool found;
    TRY(gguf_get_text_array(j->g, key, &count, &found, e));
    if (!found) {
        return OK;
    }
    gguf_put_text_array(j->keys, key, count);
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t bytes;
        gguf_text_at(j->g, key, i, &text, &bytes);
        gguf_put_element(j->keys, text, bytes);
    }
    return OK;
}

static enum status copy_scores(const struct job *j, struct error *e) {
    static const char key[] = "tokenizer.ggml.scores";
    double *own = NULL;
    size_t count = 0;
    bool found;
    TRY(gguf_get_numbers(j->g, key, &own, &count, &found, e));
    float *scores = arena_alloc(j->arena, j->count, sizeof *scores);
    for (size_t i = 0; scores && i < j->count; i++) {
        scores[i] = i < count ? (float)own[i] : 0.0f;
    }
    mem_free(own);
    if (found && scores) {
        gguf_put_f32_array(j->keys, key, scores, j->count);
    }
    return scores ? OK : no_memory(j, e);
}

static enum status copy_model(const struct job *j, struct error *e) {
    bool prefix = true, found;
    TRY(copy_text(j, "tokenizer.ggml.model", e));
    TRY(copy_text(j, "tokenizer.ggml.pre", e));
    TRY(copy_merges(j, e));
    TRY(copy_scores(j, e));
    TRY(gguf_get_bool(j->g, "tokenizer.ggml.add_space_prefix", &prefix, &found, e));
    if (found) {
        gguf_put_bool(j->keys, "tokenizer.ggml.add_space_prefix", prefix);
    }
    return OK;
}

static void put_id(const struct job *j, const char *key, int32_t id) {
    if (id >= 0) {
        gguf_put_u32(j->keys, key, (uint32_t)id);
    }
}

/* The end of a text, and another id that ends a turn, if there is one. */
static void put_ids(const struct job *j) {
    const struct shape *s = &j->model->shape;
    int32_t end = s->end_count ? s->ends[0] : -1, turn = -1;
    for (int32_t id = 0; (size_t)id < j->t->count; id++) {
        turn = turn < 0 && id != end && tokenizer_is_end(j->t, id) ? id : turn;
    }
    put_id(j, "tokenizer.ggml.bos_token_id", model_bos(j->model));
    put_id(j, "tokenizer.ggml.eos_token_id", end);
    put_id(j, "tokenizer.ggml.eot_token_id", turn);
    put_id(j, "tokenizer.ggml.unknown_token_id", j->t->unknown);
    gguf_put_bool(j->keys, "tokenizer.ggml.add_bos_token", j->t->before_count > 0);
    gguf_put_bool(j->keys, "tokenizer.ggml.add_eos_token", j->t->after_count > 0);
}

enum status vocabulary_put(struct gguf_keys *k, const struct piece_list *l, struct error *e) {
    const struct model *m = l->model;
    struct job j = {k, m, m->tokenizer, weights_gguf(m->weights), l->arena, m->tokenizer->count};
    j.count = j.count > m->shape.vocabulary ? j.count : m->shape.vocabulary;
    TRY(j.g ? copy_model(&j, e) : j.t->model == WORD_BYTES ? put_byte_level(&j, e) : put_characters(&j, e));
    put_tokens(&j);
    TRY(put_types(&j, e));
    put_ids(&j);
    if (j.t->chat_template) {
        gguf_put_text(k, "tokenizer.chat_template", j.t->chat_template, strlen(j.t->chat_template));
    }
    return k->status;
}
