/* One view of all model files: opens a Hugging Face folder or a GGUF file and lists its tensors by name.
 *
 *   folder/config.json                       required
 *   folder/model.safetensors                 one file, or
 *   folder/model.safetensors.index.json      {"weight_map": {"TENSOR": "SHARD.safetensors", ...}} and the shards, or
 *   folder/pytorch_model.bin                 the same two of PyTorch's own (torch_file.c), if there are no others:
 *   folder/pytorch_model.bin.index.json
 *   FILE.gguf                                everything in one file
 *
 * Owns the mappings, the parsed config and the names. Nothing is copied: tensors point into the mapped files.
 * The object never changes after opening and may be read from any number of threads.
 */
#include "models/weights.h"

#include <assert.h>
#include <string.h>

#include "base/io.h"
#include "base/params.h"
#include "models/files.h"

enum { CONFIG_LIMIT = 16 << 20, INDEX_LIMIT = 64 << 20 };

struct weights {
    char *path;
    char *config_path, *config_text; /* of a config.json: NULL for GGUF */
    size_t config_bytes;
    json_t *config, *metadata;
    const struct gguf *gguf;
    struct tensor_list list;
    struct name *names;         /* of the tensors, sorted */
    struct name *integer_names; /* of the integers, sorted */
    struct mapped_file *files;
    char **file_names;
    size_t files_count;
};

/* ---- opening and closing ------------------------------------------------------------ */

static struct weights *weights_new(const char *path, size_t files) {
    struct weights *w = mem_alloc(1, sizeof *w);
    if (!w) {
        return NULL;
    }
    w->path = mem_strdup(path);
    w->list.arena = arena_create();
    w->files = mem_alloc(files, sizeof *w->files);
    w->file_names = mem_alloc(files, sizeof *w->file_names);
    if (!w->path || !w->list.arena || !w->files || !w->file_names) {
        weights_close(w);
        return NULL;
    }
    w->files_count = files;
    return w;
}

void weights_close(struct weights *w) {
    if (!w) {
        return;
    }
    for (size_t i = 0; i < w->files_count; i++) {
        unmap_file(&w->files[i]);
        mem_free(w->file_names[i]);
    }
    mem_free(w->file_names);
    mem_free(w->files);
    mem_free(w->names);
    mem_free(w->integer_names);
    tensor_list_clear(&w->list);
    arena_destroy(w->list.arena);
    json_decref(w->config);
    json_decref(w->metadata);
    mem_free(w->config_text);
    mem_free(w->config_path);
    mem_free(w->path);
    mem_free(w);
}

static enum status out_of_memory(const char *path, struct error *e) {
    return error_set(e, ERR_RUN, "%s: out of memory", path);
}

static enum status fill_names(struct weights *w, struct error *e) {
    size_t count = w->list.count, integers = w->list.integers_count;
    w->names = mem_alloc(count, sizeof *w->names);
    w->integer_names = mem_alloc(integers, sizeof *w->integer_names);
    if (!w->names || !w->integer_names) {
        return out_of_memory(w->path, e);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = w->list.tensors[i].name;
        w->names[i] = (struct name){name, strlen(name), i};
    }
    for (size_t i = 0; i < integers; i++) {
        const char *name = w->list.integers[i].name;
        w->integer_names[i] = (struct name){name, strlen(name), i};
    }
    names_sort(w->names, count);
    names_sort(w->integer_names, integers);
    const struct name *twice = names_duplicate(w->names, count);
    if (twice) {
        return error_set(e, ERR_RUN, "%s: tensor %.200s: named twice", w->path, twice->text);
    }
    return OK;
}

/* Hands out *w or, on failure, closes it. */
static enum status finish(struct weights *w, enum status s, struct weights **out, struct error *e) {
    if (s == OK) {
        s = fill_names(w, e);
    }
    if (s != OK) {
        weights_close(w);
        return s;
    }
    *out = w;
    return OK;
}

/* ---- a folder ------------------------------------------------------------ */

static enum status load_object(const char *folder, const char *file, size_t limit, json_t **out, struct error *e) {
    char *path = path_join(folder, file);
    if (!path) {
        return out_of_memory(folder, e);
    }
    enum status s = json_load_checked(path, limit, out, e);
    if (s == OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        s = error_set(e, ERR_RUN, "%s: not a JSON object", path);
    }
    mem_free(path);
    return s;
}

static enum status read_shard(struct weights *w, size_t i, const char *file, struct error *e) {
    w->file_names[i] = path_join(w->path, file);
    if (!w->file_names[i]) {
        return out_of_memory(w->path, e);
    }
    TRY(map_file(w->file_names[i], &w->files[i], e));
    const struct span s = {w->file_names[i], w->files[i].data, w->files[i].bytes};
    if (text_ends_with(file, ".bin")) {
        return torch_read(&s, i, &w->list, e);
    }
    if (i == 0) {
        TRY(safetensors_metadata(&s, &w->metadata, e));
    }
    return safetensors_read(&s, i, &w->list, e);
}

/* The files that the index names, each once, sorted. The texts belong to the index. */
static enum status list_shards(const char *folder, const char *index, json_t *map, struct name **out, size_t *count,
                               struct error *e) {
    struct name *shards = mem_alloc(json_object_size(map), sizeof *shards);
    if (!shards) {
        return out_of_memory(folder, e);
    }
    const char *tensor;
    json_t *value;
    size_t n = 0;
    json_object_foreach(map, tensor, value) {
        const char *file = json_string_value(value);
        /* A plain name: an index must not reach outside its folder. */
        if (!file || !*file || strchr(file, '/') || strchr(file, '\\') || file[0] == '.') {
            mem_free(shards);
            return error_set(e, ERR_RUN,
                             "%s/%s: weight_map: %.200s: %.200s (allowed: the name of a file in this folder)", folder,
                             index, tensor, file ? file : "not a text");
        }
        shards[n++] = (struct name){file, strlen(file), 0};
    }
    names_sort(shards, n);
    size_t unique = 0;
    for (size_t i = 0; i < n; i++) {
        if (unique == 0 || strcmp(shards[unique - 1].text, shards[i].text) != 0) {
            shards[unique++] = shards[i];
        }
    }
    *out = shards;
    *count = unique;
    return OK;
}

static enum status check_against_index(const struct weights *w, const char *index, json_t *map,
                                       const struct name *shards,
                                       size_t shards_count, const struct name *found, struct error *e) {
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value) {
        const char *file = json_string_value(value);
        const struct name *shard = names_find(shards, shards_count, file, strlen(file));
        const struct name *n = names_find(found, w->list.extents_count, tensor, strlen(tensor));
        if (!n || w->list.extents[n->index].file != (size_t)(shard - shards)) {
            return error_set(e, ERR_RUN,
                             "%s/%s: tensor %.200s: not in %.200s, where the index puts it", w->path, index, tensor,
                             file);
        }
    }
    return OK;
}

/* Tensors of all shards are different, and each is where the index says. */
static enum status check_shards(const struct weights *w, const char *index, json_t *map, const struct name *shards,
                                size_t shards_count, struct error *e) {
    size_t count = w->list.extents_count;
    struct name *found = mem_alloc(count, sizeof *found);
    if (!found) {
        return out_of_memory(w->path, e);
    }
    for (size_t i = 0; i < count; i++) {
        found[i] = (struct name){w->list.extents[i].name, strlen(w->list.extents[i].name), i};
    }
    names_sort(found, count);
    const struct name *twice = names_duplicate(found, count);
    enum status s = OK;
    if (twice) {
        s = error_set(e, ERR_RUN, "%s: tensor %.200s: in two shards, %s and %s", w->path, twice->text,
                      shards[w->list.extents[twice[-1].index].file].text,
                      shards[w->list.extents[twice->index].file].text);
    } else {
        s = check_against_index(w, index, map, shards, shards_count, found, e);
    }
    mem_free(found);
    return s;
}

static enum status open_shards(const char *folder, const char *index, json_t *document, struct weights **out,
                               struct error *e) {
    json_t *map = json_object_get(document, "weight_map");
    struct name *shards = NULL;
    size_t count = 0;
    if (!json_is_object(map) || json_object_size(map) == 0) {
        return error_set(e, ERR_RUN, "%s/%s: weight_map: missing, empty or not an object", folder, index);
    }
    TRY(list_shards(folder, index, map, &shards, &count, e));
    struct weights *w = weights_new(folder, count);
    enum status s = w ? OK : out_of_memory(folder, e);
    for (size_t i = 0; s == OK && i < count; i++) {
        s = read_shard(w, i, shards[i].text, e);
    }
    if (s == OK) {
        s = check_shards(w, index, map, shards, count, e);
    }
    mem_free(shards);
    return finish(w, s, out, e);
}

static enum status open_indexed(const char *folder, const char *index, struct weights **out, struct error *e) {
    json_t *document = NULL;
    TRY(load_object(folder, index, INDEX_LIMIT, &document, e));
    enum status s = open_shards(folder, index, document, out, e);
    json_decref(document);
    return s;
}

static enum status open_single(const char *folder, const char *file, struct weights **out, struct error *e) {
    struct weights *w = weights_new(folder, 1);
    if (!w) {
        return out_of_memory(folder, e);
    }
    return finish(w, read_shard(w, 0, file, e), out, e);
}

static enum status has_file(const char *folder, const char *file, bool *there, struct error *e) {
    char *path = path_join(folder, file);
    if (!path) {
        return out_of_memory(folder, e);
    }
    *there = file_exists(path);
    mem_free(path);
    return OK;
}

static enum status open_tensors(const char *folder, struct weights **out, struct error *e) {
    static const char *const files[] = {"model.safetensors", "pytorch_model.bin"};
    static const char *const indices[] = {"model.safetensors.index.json", "pytorch_model.bin.index.json"};
    for (int i = 0; i < 2; i++) {
        bool single = false, indexed = false;
        TRY(has_file(folder, files[i], &single, e));
        TRY(has_file(folder, indices[i], &indexed, e));
        if (single) {
            return open_single(folder, files[i], out, e);
        }
        if (indexed) {
            return open_indexed(folder, indices[i], out, e);
        }
    }
    return error_set(e, ERR_RUN,
                     "%s: no weights (allowed: model.safetensors, or model.safetensors.index.json with its shards; "
                     "the same with pytorch_model.bin)",
                     folder);
}

/* Takes the file `path` (mem_alloc'd, of *w from now on) as the configuration. */
static enum status take_config(struct weights *w, char *path, struct error *e) {
    w->config_path = path;
    TRY(read_file(path, CONFIG_LIMIT, &w->config_text, &w->config_bytes, e));
    TRY(json_parse_checked(w->config_text, w->config_bytes, path, &w->config, e));
    return json_is_object(w->config) ? OK : error_set(e, ERR_RUN, "%s:1: not a JSON object", path);
}

static void move_config(struct weights *from, struct weights *to) {
    to->config = from->config;
    to->config_path = from->config_path;
    to->config_text = from->config_text;
    to->config_bytes = from->config_bytes;
    from->config = NULL;
    from->config_path = from->config_text = NULL;
}

static enum status open_folder(const char *folder, struct weights **out, struct error *e) {
    bool there = false;
    TRY(has_file(folder, "config.json", &there, e));
    if (!there) {
        return error_set(e, ERR_RUN,
                         "%s: no config.json in this folder (allowed: a folder with one, or the path of a GGUF file)",
                         folder);
    }
    struct weights *config = weights_new(folder, 0);
    char *path = config ? path_join(folder, "config.json") : NULL;
    enum status s = path ? take_config(config, path, e) : out_of_memory(folder, e);
    s = s == OK ? open_tensors(folder, out, e) : s;
    if (s == OK) {
        move_config(config, *out);
    }
    weights_close(config);
    return s;
}

/* ---- one file ------------------------------------------------------------ */

static bool has_zip_magic(const uint8_t *data, size_t bytes) { return bytes >= 2 && memcmp(data, "PK", 2) == 0; }

static bool has_gguf_magic(const uint8_t *data, size_t bytes) { return bytes >= 4 && memcmp(data, "GGUF", 4) == 0; }

static enum status open_gguf(const char *path, struct weights **out, struct error *e) {
    struct weights *w = weights_new(path, 1);
    if (!w) {
        return out_of_memory(path, e);
    }
    enum status s = map_file(path, &w->files[0], e);
    if (s == OK) {
        const struct span span = {w->path, w->files[0].data, w->files[0].bytes};
        s = gguf_read(&span, &w->list, &w->gguf, e);
    }
    return finish(w, s, out, e);
}

enum status weights_open_memory(const struct span *span, struct weights **out, struct error *e) {
    *out = NULL;
    struct weights *w = weights_new(span->name, 0);
    if (!w) {
        return out_of_memory(span->name, e);
    }
    const struct span own = {w->path, span->data, span->bytes};
    enum status s = has_gguf_magic(span->data, span->bytes)  ? gguf_read(&own, &w->list, &w->gguf, e)
                    : has_zip_magic(span->data, span->bytes) ? torch_read(&own, 0, &w->list, e)
                                                             : safetensors_read(&own, 0, &w->list, e);
    return finish(w, s, out, e);
}

enum status weights_open(const char *path, struct weights **out, struct error *e) {
    *out = NULL;
    return is_directory(path) ? open_folder(path, out, e) : open_gguf(path, out, e);
}

/* A configuration without tensors: a folder with config.json, or the file itself. `path` is what messages and
 * weights_path() call it. */
static enum status open_config(const char *path, struct weights **out, struct error *e) {
    struct weights *w = weights_new(path, 0);
    char *file = !w ? NULL : is_directory(path) ? path_join(path, "config.json") : mem_strdup(path);
    if (!file) {
        weights_close(w);
        return out_of_memory(path, e);
    }
    return finish(w, take_config(w, file, e), out, e);
}

/* Whether a file is JSON: by its name, or by what it begins with. */
static enum status is_json(const char *path, bool *json, struct error *e) {
    struct mapped_file file;
    *json = text_ends_with(path, ".json");
    if (*json) {
        return OK;
    }
    TRY(map_file(path, &file, e));
    size_t i = 0;
    while (i < file.bytes && strchr(" \t\r\n", file.data[i]) && file.data[i]) {
        i++;
    }
    *json = i < file.bytes && file.data[i] == '{';
    unmap_file(&file);
    return OK;
}

enum status weights_open_shapes(const char *path, struct weights **out, struct error *e) {
    bool json = is_directory(path);
    *out = NULL;
    if (!json) {
        TRY(is_json(path, &json, e));
    }
    return json ? open_config(path, out, e) : open_gguf(path, out, e);
}

/* ---- reading ------------------------------------------------------------ */

const char *weights_path(const struct weights *w) { return w->path; }

bool weights_is_gguf(const struct weights *w) { return w->gguf != NULL; }

const json_t *weights_config(const struct weights *w) { return w->config; }

const char *weights_config_path(const struct weights *w) { return w->config_path; }

int weights_config_line(const struct weights *w, const char *map, const char *key) {
    return w->config_text ? json_key_line(w->config_text, w->config_bytes, map, key) : 0;
}

json_t *weights_metadata(const struct weights *w) { return w->metadata; }

const struct gguf *weights_gguf(const struct weights *w) { return w->gguf; }

size_t weights_count(const struct weights *w) { return w->list.count; }

const struct tensor *weights_at(const struct weights *w, size_t i) { return &w->list.tensors[i]; }

const struct tensor *weights_find(const struct weights *w, const char *name) {
    const struct name *n = names_find(w->names, w->list.count, name, strlen(name));
    return n ? &w->list.tensors[n->index] : NULL;
}

size_t weights_integers_count(const struct weights *w) { return w->list.integers_count; }

const struct integers *weights_integers_at(const struct weights *w, size_t i) { return &w->list.integers[i]; }

const struct integers *weights_find_integers(const struct weights *w, const char *name) {
    const struct name *n = names_find(w->integer_names, w->list.integers_count, name, strlen(name));
    return n ? &w->list.integers[n->index] : NULL;
}

void tensor_rows_f32(const struct tensor *t, uint64_t first, uint64_t count, float *out) {
    uint64_t rows = t->rank > 1 ? t->shape[0] : 1;
    assert(first <= rows && count <= rows - first);
    if (rows == 0 || count == 0) {
        return;
    }
    uint64_t row_bytes = t->bytes / rows;
    uint64_t row_elements = row_bytes / tensor_block_bytes(t->type) * tensor_block_elements(t->type);
    tensor_dequantise(t->type, (const uint8_t *)t->data + first * row_bytes, (size_t)(count * row_elements), out);
}
