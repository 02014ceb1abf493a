/* Writes a model as a Hugging Face folder: see write.h. Read back by safetensors.c, shape.c, tokenizer_json.c.
 *
 *   config.json             write_config.c
 *   model.safetensors       the tensors; 32-bit ones first, then 16-bit ones, so that all lie aligned without gaps
 *   tokenizer.json, ...     those of the source folder, or made from the vocabulary of a GGUF file (write_tokenizer.c)
 *
 * Metadata of model.safetensors (all values are text): "format" "pt" as other programs expect, "mho.format" "1", by
 * which a folder is known as ours, "mho.chip", "mho.converters" and "mho.adapt" (write.h).
 *
 * All files are finished (flushed, synced) before the first is renamed: see output_finish() in base/io.h.
 */
#include "base/io.h"
#include "models/write_parts.h"

enum { COPY_LIMIT = 256 << 20, FILES_MAX = 8, HEADER_PAD = 8 };

/* Written, or copied from the source where it has them. */
static const char tokenizer_file[] = "tokenizer.json", tokenizer_config_file[] = "tokenizer_config.json";
static const char *const copied[] = {tokenizer_file, tokenizer_config_file, "chat_template.jinja",
                                     "special_tokens_map.json", "generation_config.json"};
enum { COPIED = sizeof copied / sizeof copied[0] };

struct folder {
    const char *path;
    struct output *files[FILES_MAX];
    size_t count;
};

static enum status no_memory(const char *path, struct error *e) {
    return error_set(e, ERR_RUN, "%s: out of memory", path);
}

/* ---- what stands there already ------------------------------------------------------------------ */

static enum status folder_holds(const char *folder, const char *file, bool *there, struct error *e) {
    char *path = path_join(folder, file);
    if (!path) {
        return no_memory(folder, e);
    }
    *there = file_exists(path);
    mem_free(path);
    return OK;
}

static bool is_ours(const char *path) {
    struct mapped_file f = {0};
    json_t *metadata = NULL;
    bool ours = false;
    if (map_file(path, &f, NULL) == OK) {
        const struct span s = {path, f.data, f.bytes};
        ours = safetensors_metadata(&s, &metadata, NULL) == OK && json_object_get(metadata, "mho.format");
        json_decref(metadata);
        unmap_file(&f);
    }
    return ours;
}

/* A model in the folder that this program did not write. */
static enum status refuse_others(const char *folder, struct error *e) {
    static const char *const models[] = {"model.safetensors.index.json", "pytorch_model.bin",
                                         "pytorch_model.bin.index.json", "config.json", tokenizer_file};
    char *path = path_join(folder, "model.safetensors");
    if (!path) {
        return no_memory(folder, e);
    }
    bool there = file_exists(path), ours = there && is_ours(path);
    mem_free(path);
    const char *found = there && !ours ? "model.safetensors" : NULL;
    for (size_t i = 0; i < sizeof models / sizeof models[0] && !found; i++) {
        TRY(folder_holds(folder, models[i], &there, e));
        found = there && !(ours && i > 2) ? models[i] : NULL;
    }
    return found ? error_set(e, ERR_USAGE,
                             "%s: holds a model that mho did not write (%s): not replaced (allowed: a new folder, or "
                             "one that mho wrote a model to)",
                             folder, found)
                 : OK;
}

enum status model_folder_check(const char *path, struct error *e) {
    if (!*path) {
        return error_set(e, ERR_USAGE, "the name of the folder is empty");
    }
    if (!is_directory(path) && file_exists(path)) {
        return error_set(e, ERR_USAGE, "%s: is a file (allowed: a folder, which is made if it is missing)", path);
    }
    return is_directory(path) ? refuse_others(path, e) : OK;
}

/* ---- files -------------------------------------------------------------------------------------- */

static enum status open_file(struct folder *d, const char *name, FILE **out, struct error *e) {
    char *path = path_join(d->path, name);
    if (!path) {
        return no_memory(d->path, e);
    }
    enum status status = output_create(path, &d->files[d->count], e);
    mem_free(path);
    TRY(status);
    *out = output_stream(d->files[d->count++]);
    return OK;
}

static enum status finish_file(struct folder *d, struct error *e) { return output_finish(d->files[d->count - 1], e); }

/* Takes the document. */
static enum status write_json(struct folder *d, const char *name, json_t *document, struct error *e) {
    FILE *f = NULL;
    enum status status = open_file(d, name, &f, e);
    if (status == OK && json_dumpf(document, f, JSON_INDENT(1) | JSON_PRESERVE_ORDER) != 0 && !ferror(f)) {
        status = error_set(e, ERR_RUN, "%s/%s: cannot be written as JSON", d->path, name);
    }
    if (status == OK) {
        fputc('\n', f);
        status = finish_file(d, e);
    }
    json_decref(document);
    return status;
}

static enum status write_config(struct folder *d, const struct piece_list *l, struct error *e) {
    json_t *config = NULL;
    TRY(config_make(l, &config, e));
    return write_json(d, "config.json", config, e);
}

/* ---- model.safetensors -------------------------------------------------------------------------- */

static bool is_wide(const struct piece *p) { return p->type == TENSOR_F32; }

static json_t *describe(const struct piece *p, uint64_t begin) {
    const char *dtype = p->source == PIECE_INTEGERS ? "I32" : tensor_type_name(p->type);
    return p->rank == 2
               ? json_pack("{s:s, s:[I, I], s:[I, I]}", "dtype", dtype, "shape", (json_int_t)p->shape[0],
                           (json_int_t)p->shape[1], "data_offsets", (json_int_t)begin, (json_int_t)(begin + p->bytes))
               : json_pack("{s:s, s:[I], s:[I, I]}", "dtype", dtype, "shape", (json_int_t)p->shape[0], "data_offsets",
                           (json_int_t)begin, (json_int_t)(begin + p->bytes));
}

static enum status put_chip(json_t *metadata, const struct chip *c, struct error *e) {
    struct chip_training t;
    char text[256];
    TRY(chip_training(c, &t, e));
    snprintf(text, sizeof text,
             "{\"tile_rows\":%u,\"inputs_per_token\":%s,\"dac_steps\":%u,\"adc_steps\":%u,\"adc_bound\":%.9g}",
             t.tile_rows, t.inputs_per_token ? "true" : "false", t.dac_steps, t.adc_steps, t.adc_bound);
    json_object_set_new(metadata, "mho.chip", json_string(chip_name(c)));
    json_object_set_new(metadata, "mho.converters", json_string(text));
    return OK;
}

static bool is_of_chip(const char *key) { return strcmp(key, "mho.chip") == 0 || strcmp(key, "mho.converters") == 0; }

/* What the model's own file says of chip and adaptation stays where the changes say nothing. json_decref. */
static enum status metadata_of(const struct piece_list *l, json_t **out, struct error *e) {
    const char *key;
    json_t *value;
    *out = json_pack("{s:s, s:s}", "format", "pt", "mho.format", "1");
    json_object_foreach(weights_metadata(l->model->weights), key, value) {
        if (strncmp(key, "mho.", 4) == 0 && !(l->changes->forget_chip && is_of_chip(key))) {
            json_object_set(*out, key, value);
        }
    }
    if (l->changes->adapt) {
        json_object_set_new(*out, "mho.adapt", json_string(l->changes->adapt));
    }
    enum status s = l->changes->chip ? put_chip(*out, l->changes->chip, e) : OK;
    if (s != OK) {
        json_decref(*out);
        *out = NULL;
    }
    return s;
}

json_t *model_made_how(const struct model *m) {
    json_t *text = json_object_get(weights_metadata(m->weights), "mho.adapt");
    json_t *parsed = json_is_string(text) ? json_loads(json_string_value(text), JSON_REJECT_DUPLICATES, NULL) : NULL;
    return parsed ? parsed : json_incref(text);
}

/* Takes `metadata`. */
static json_t *header_of(const struct piece_list *l, json_t *metadata) {
    json_t *header = json_object();
    uint64_t at = 0;
    json_object_set_new(header, "__metadata__", metadata);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < l->count; i++) {
            if (is_wide(&l->at[i]) == (pass == 0)) {
                json_object_set_new(header, l->at[i].name, describe(&l->at[i], at));
                at += l->at[i].bytes;
            }
        }
    }
    return header;
}

static enum status write_header(const struct piece_list *l, const char *path, FILE *f, struct error *e) {
    json_t *metadata;
    TRY(metadata_of(l, &metadata, e));
    json_t *header = header_of(l, metadata);
    size_t bytes = json_object_size(header) == l->count + 1 ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    size_t padded = (bytes + HEADER_PAD - 1) / HEADER_PAD * HEADER_PAD;
    char *text = bytes ? mem_alloc(padded, 1) : NULL;
    enum status status = OK;
    if (text && json_dumpb(header, text, bytes, JSON_COMPACT) == bytes) {
        uint64_t length = padded;
        memset(text + bytes, ' ', padded - bytes);
        fwrite(&length, sizeof length, 1, f);
        fwrite(text, 1, padded, f);
    } else {
        status = error_set(e, ERR_RUN, "%s/model.safetensors: header: out of memory, or two tensors of one name", path);
    }
    mem_free(text);
    json_decref(header);
    return status;
}

static enum status write_tensors(struct folder *d, const struct piece_list *l, struct error *e) {
    FILE *f = NULL;
    TRY(open_file(d, "model.safetensors", &f, e));
    TRY(write_header(l, d->path, f, e));
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < l->count && !ferror(f); i++) {
            if (is_wide(&l->at[i]) == (pass == 0)) {
                TRY(check_interrupted(e));
                TRY(piece_write(l, &l->at[i], f, e));
            }
        }
    }
    return finish_file(d, e);
}

/* ---- tokenizer ---------------------------------------------------------------------------------- */

static enum status copy_file(struct folder *d, const char *from, const char *name, struct error *e) {
    char *path = path_join(from, name), *text = NULL;
    size_t bytes = 0;
    FILE *f = NULL;
    if (!path) {
        return no_memory(from, e);
    }
    enum status status = file_exists(path) ? read_file(path, COPY_LIMIT, &text, &bytes, e) : OK;
    mem_free(path);
    if (status == OK && text) {
        status = open_file(d, name, &f, e);
    }
    if (status == OK && text) {
        fwrite(text, 1, bytes, f);
        status = finish_file(d, e);
    }
    mem_free(text);
    return status;
}

static enum status write_tokenizer(struct folder *d, const struct model *m, struct error *e) {
    json_t *document = NULL;
    if (!weights_is_gguf(m->weights)) {
        for (size_t i = 0; i < COPIED; i++) {
            TRY(copy_file(d, weights_path(m->weights), copied[i], e));
        }
        return OK;
    }
    if (!m->tokenizer) {
        return OK;
    }
    TRY(tokenizer_make_json(m, &document, e));
    TRY(write_json(d, tokenizer_file, document, e));
    TRY(tokenizer_make_config(m, &document, e));
    return write_json(d, tokenizer_config_file, document, e);
}

/* ---- the folder --------------------------------------------------------------------------------- */

static enum status write_files(struct folder *d, const struct piece_list *l, struct error *e) {
    TRY(make_directory(d->path, e));
    TRY(write_config(d, l, e));
    TRY(write_tokenizer(d, l->model, e));
    return write_tensors(d, l, e);
}

/* An earlier model of ours may have had files of the tokenizer that this one has not. */
static void remove_left_over(const struct folder *d) {
    for (size_t i = 0; i < COPIED; i++) {
        char *path = path_join(d->path, copied[i]);
        if (path) {
            remove(path);
            mem_free(path);
        }
    }
}

static enum status commit(struct folder *d, struct error *e) {
    enum status status = OK;
    remove_left_over(d);
    for (size_t i = d->count; i-- > 0;) { /* the tensors, which carry our mark, first */
        if (status == OK) {
            status = output_commit(d->files[i], e);
        } else {
            output_abort(d->files[i]);
        }
    }
    return status;
}

static void abandon(struct folder *d) {
    for (size_t i = 0; i < d->count; i++) {
        output_abort(d->files[i]);
    }
}

enum status model_write_folder(const struct model *m, const struct model_changes *c, const char *path,
                               struct error *e) {
    struct piece_list *l = NULL;
    struct folder d = {.path = path};
    TRY(model_folder_check(path, e));
    TRY(pieces_create(m, c, FILE_FOLDER, &l, e));
    enum status status = write_files(&d, l, e);
    if (status == OK) {
        status = commit(&d, e);
    } else {
        abandon(&d);
    }
    pieces_destroy(l);
    return status;
}
