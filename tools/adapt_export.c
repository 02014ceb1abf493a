/* mho adapt export: writes a model in another format. models/write.h says what is in the files. */
#include <string.h>

#include "base/io.h"
#include "tools/command.h"

static enum status read_type(const struct options *o, bool gguf, enum tensor_type *out, struct error *e) {
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0};
    size_t count = gguf ? 5 : 3;
    for (size_t i = 0; i < count; i++) {
        if (!o->type || strcmp(o->type, tensor_type_name(types[i])) == 0) {
            *out = types[i];
            return OK;
        }
    }
    return error_set(e, ERR_USAGE, "--type %s: not written (allowed: F32, F16, BF16%s)", o->type,
                     gguf ? ", Q8_0, Q4_0" : "; Q8_0, Q4_0 with --format gguf");
}

static enum status read_format(const struct options *o, bool *gguf, struct error *e) {
    *gguf = o->format && strcmp(o->format, "gguf") == 0;
    if (!o->out) {
        return error_set(e, ERR_USAGE, "--out: missing (the folder or file to write)");
    }
    if (!*gguf && o->format && strcmp(o->format, "folder") != 0) {
        return error_set(e, ERR_USAGE, "--format %s: not known (allowed: folder, gguf)", o->format);
    }
    return OK;
}

static enum status print(const struct options *o, const struct model_changes *c, bool gguf, struct error *e) {
    if (!o->json) {
        printf("%s: %s, matrices in %s", o->out, gguf ? "GGUF" : "Hugging Face folder", tensor_type_name(c->type));
        if (c->quantise_bits) {
            printf(", rounded to %d bits per output channel", c->quantise_bits);
        }
        printf("\n");
        return finish_output(e);
    }
    json_t *root = json_envelope("adapt export", o, NULL);
    json_put(root, "file", json_string(o->out));
    json_put(root, "format", json_string(gguf ? "gguf" : "folder"));
    json_put(root, "type", json_string(tensor_type_name(c->type)));
    json_put(root, "quantise_bits", json_integer(c->quantise_bits));
    return json_finish(root, e);
}

/* What the file says less well than the model, beside the type that was asked for. */
static void tell_losses(const struct options *o, const struct model *m, bool gguf) {
    size_t count;
    const struct matrix_source *sources = model_matrices(m, &count);
    bool sides = false;
    for (size_t i = 0; i < count; i++) {
        sides = sides || sources[i].side;
    }
    if (gguf && model_is_for_chip(m)) {
        notice("%s: side paths, ranges and scales for a chip are left out: GGUF has no place for them", o->out);
    } else if (sides && o->quantise) {
        notice("%s: weights that stay digital are rounded to %llu bits like all others", o->out,
               (unsigned long long)o->quantise);
    }
}

static enum status export(const struct options *o, struct error *e) {
    struct model_changes c = {.quantise_bits = (int)o->quantise};
    struct model *m;
    bool gguf;
    TRY(read_format(o, &gguf, e));
    TRY(read_type(o, gguf, &c.type, e));
    TRY(open_model(o, &m, e));
    enum status s = o->rotate ? model_rotate(m, o->rotate, e) : OK;
    if (s == OK) {
        s = gguf ? model_write_gguf(m, &c, o->out, e) : model_write_folder(m, &c, o->out, e);
    }
    if (s == OK) {
        tell_losses(o, m, gguf);
    }
    model_close(m);
    return s == OK ? print(o, &c, gguf, e) : s;
}

static const char *const names[] = {"model", "out", "format", "type", "quantise", "rotate", NULL};

static const struct option_meaning own[] = {
    {"out", "the folder or .gguf file to write"},
    {NULL, NULL},
};

const struct adapt_word adapt_word_export = {
    "export", names, export, "write a model in another format, whole or rounded to few bits", own,
    "examples:\n"
    "  mho adapt export --model adapted --format gguf --type Q8_0 --out adapted.gguf\n"
    "  mho adapt export --model adapted --quantise 4 --out adapted-rtn4",
};
