/* mho tokenize: text to ids and back. Works on a GGUF file that holds only a vocabulary, too. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/command.h"

enum { TEXT_LIMIT_BYTES = 1 << 30 };

static enum status the_text(const struct options *o, char **text, size_t *bytes, struct error *e) {
    int given = (o->text != NULL) + (o->text_file != NULL) + (o->ids != NULL);
    if (given != 1) {
        return error_set(e, ERR_USAGE, "tokenize: what? (give one of --text TEXT, --text-file FILE, --ids 1,2,3)");
    }
    if (o->text_file) {
        return read_file(o->text_file, TEXT_LIMIT_BYTES, text, bytes, e);
    }
    *bytes = o->text ? strlen(o->text) : 0;
    *text = mem_strdup(o->text ? o->text : "");
    return *text ? OK : error_set(e, ERR_RUN, "tokenize: out of memory");
}

static json_t *pieces_json(const struct tokenizer *t, const struct token_list *l) {
    json_t *pieces = json_array();
    for (size_t i = 0; i < l->count; i++) {
        const char *bytes;
        size_t count;
        tokenizer_piece(t, l->ids[i], &bytes, &count);
        json_t *piece = json_stringn(bytes, count);
        json_array_append_new(pieces, piece ? piece : json_null()); /* null: bytes that are no UTF-8 by themselves */
    }
    return pieces;
}

static enum status print_ids(const struct options *o, const struct tokenizer *t, const struct token_list *l,
                             struct error *e) {
    if (!o->json) {
        for (size_t i = 0; i < l->count; i++) {
            TRY(check_interrupted(e));
            printf("%s%d", i ? " " : "", l->ids[i]);
        }
        printf("\n");
        return finish_output(e);
    }
    json_t *root = json_envelope("tokenize", o, NULL);
    json_t *ids = json_array();
    for (size_t i = 0; i < l->count; i++) {
        json_array_append_new(ids, json_integer(l->ids[i]));
    }
    json_put(root, "ids", ids);
    json_put(root, "pieces", pieces_json(t, l));
    return json_finish(root, e);
}

static enum status decode(const struct options *o, const struct tokenizer *t, struct token_list *l, struct error *e) {
    TRY(parse_ids(o->ids, &l->ids, &l->count, e));
    l->capacity = l->count;
    for (size_t i = 0; i < l->count; i++) {
        if ((size_t)l->ids[i] >= tokenizer_size(t)) {
            return error_set(e, ERR_USAGE, "--ids: %d: outside the vocabulary (allowed: 0 to %zu)", l->ids[i],
                             tokenizer_size(t) - 1);
        }
    }
    char *text = NULL;
    size_t bytes = 0;
    TRY(tokenizer_decode(t, l->ids, l->count, o->no_special, &text, &bytes, e));
    enum status s = OK;
    if (o->json) {
        json_t *root = json_envelope("tokenize", o, NULL);
        json_t *exact = json_stringn(text, bytes);
        json_put(root, "text", exact ? exact : json_null());
        json_put(root, "pieces", pieces_json(t, l));
        s = json_finish(root, e);
    } else {
        print_text(text, bytes);
        printf("\n");
        s = finish_output(e);
    }
    mem_free(text);
    return s;
}

static enum status encode(const struct options *o, const struct tokenizer *t, struct token_list *l, struct error *e) {
    char *text = NULL;
    size_t bytes = 0;
    TRY(the_text(o, &text, &bytes, e));
    enum status s = tokenizer_encode(t, text, bytes, !o->no_special, true, l, e);
    mem_free(text);
    return s == OK ? print_ids(o, t, l, e) : s;
}

static enum status tokenize_command(const struct options *o, struct error *e) {
    TRY(check_words(o, 0, e));
    char *path = NULL;
    struct tokenizer *t = NULL;
    TRY(model_resolve(o->model, &path, e));
    enum status s = tokenizer_open_path(path, &t, e);
    struct token_list l = {NULL, 0, 0};
    if (s == OK) {
        s = o->ids && !o->text && !o->text_file ? decode(o, t, &l, e) : encode(o, t, &l, e);
    }
    token_list_clear(&l);
    tokenizer_close(t);
    mem_free(path);
    return s;
}

static const char *const names[] = {"model", "text", "text-file", "ids", "no-special", NULL};

const struct command command_tokenize = {
    "tokenize", "", "text to token ids and back", names, tokenize_command,
    "examples:\n"
    "  mho tokenize --text \"Hello world\" --json\n"
    "  mho tokenize --ids 1,450,7483\n\n"
    "pieces in the JSON are null where a token's bytes are no UTF-8 by themselves.",
};
