/* Models that are written: every family and both kinds of files, read back with the same values; parts replaced; what
 * stands in a folder already; a full disk.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/io.h"
#include "models/write_parts.h"
#include "tests/logits.h"

/* FOLDER/name; one of four static buffers. */
static const char *inside(const char *folder, const char *name) {
    static char paths[4][1200];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_folder(const struct model *m, const struct model_changes *c, const char *path) {
    struct error e = {0};
    must(model_write_folder(m, c, path, &e), &e);
}

/* Largest difference of the logits of two models. */
static double difference(const struct model *a, const struct model *b) {
    size_t n = model_shape(a)->vocabulary;
    assert_int_equal(model_shape(b)->vocabulary, n);
    float *x = mem_alloc(n, sizeof *x), *y = mem_alloc(n, sizeof *y);
    double worst = 0.0;
    logits_of(a, x);
    logits_of(b, y);
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    }
    mem_free(x);
    mem_free(y);
    return worst;
}

/* ---- round trips -------------------------------------------------------------------------------- */

/* In fp32 nothing changes, so neither does a bit of the logits; but for rows that are put in another order, which
 * changes the order of the sums of q.k: 1e-5 is 20 times what was seen, and far below what a wrong row does (> 0.1). */
static void check_folder(const char *path, double tolerance) {
    struct model *m = open_model(golden_path(path));
    const char *out = scratch_directory();
    write_folder(m, &(struct model_changes){0}, out);
    struct model *back = open_model(out);
    assert_string_equal(model_shape(back)->family, model_shape(m)->family);
    assert_int_equal(model_shape(back)->tied_head, model_shape(m)->tied_head);
    assert_int_equal(model_shape(back)->parameters, model_shape(m)->parameters);
    assert_near(difference(m, back), 0.0, tolerance);
    model_close(back);
    model_close(m);
}

static void folders_of_every_family(void **state) {
    (void)state;
    static const char *const paths[] = {
        "models/gemma2-tiny", "models/gpt2-tiny", "models/llama-untied-tiny", "models/llama3-tiny",
        "models/mistral-tiny", "models/phi3-tiny", "models/phi3-longrope-tiny", "models/qwen2-tiny",
        "models/qwen3-tiny"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        check_folder(paths[i], 0.0);
    }
    check_folder("gguf/qwen2-tiny-f16.gguf", 0.0);
    check_folder("gguf/llama3-tiny-mixed.gguf", 1e-5);
}

/* ---- parts -------------------------------------------------------------------------------------- */

static enum status try_part(const struct model *m, const char *name, size_t count, struct error *e) {
    const float values[2] = {1.0f, 2.0f};
    const struct model_part parts[2] = {{name, values, count}, {name, values, count}};
    const char *folder = scratch_directory();
    enum status s = model_write_folder(m, &(struct model_changes){.parts = parts, .part_count = count == 2 ? 2 : 1},
                                       folder, e);
    assert_false(file_exists(inside(folder, "config.json"))); /* nothing is left of what failed */
    return s;
}

static void wrong_parts(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    struct error e = {0};
    assert_int_equal(try_part(m, "layers.0.x", 1, &e), ERR_USAGE);
    assert_string_equal(e.message, "part layers.0.x: the model has none of that name");
    assert_int_equal(try_part(m, "layers.0.q", 1, &e), ERR_USAGE);
    assert_string_equal(e.message, "part layers.0.q: 1 values (allowed: 8192)");
    assert_int_equal(try_part(m, "layers.0.q.input_range", 0, &e), ERR_USAGE);
    assert_int_equal(try_part(m, "layers.0.q.input_range", 2, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "given twice"));
    model_close(m);
}

/* Every tensor taken from the file of a model of the same shape, under its name there: the model becomes the other. */
static void parts_make_another_model(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama-untied-tiny"));
    const char *folder = scratch_directory();
    size_t count = weights_count(m->weights);
    struct model_part *parts = mem_alloc(count, sizeof *parts);
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = weights_at(m->weights, i);
        size_t n = (size_t)(t->shape[0] * (t->rank == 2 ? t->shape[1] : 1));
        float *values = mem_alloc(n, sizeof *values);
        tensor_rows_f32(t, 0, t->rank == 2 ? t->shape[0] : 1, values);
        for (size_t k = 0; k < n; k++) {
            values[k] = 0.5f * values[k];
        }
        parts[i] = (struct model_part){t->name, values, n};
    }
    write_folder(m, &(struct model_changes){.parts = parts, .part_count = count}, folder);
    struct model *back = open_model(folder);
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = weights_find(back->weights, parts[i].name);
        assert_non_null(t);
        assert_int_equal(t->bytes, parts[i].count * sizeof(float));
        assert_memory_equal(t->data, parts[i].values, t->bytes);
        mem_free((void *)parts[i].values);
    }
    mem_free(parts);
    model_close(back);
    model_close(m);
}

/* A head of its own: the tied model is not tied any more, and the embedding stays. */
static void replaced_head(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    assert_true(model_shape(m)->tied_head);
    const char *folder = scratch_directory();
    size_t count = (size_t)model_shape(m)->vocabulary * model_shape(m)->hidden;
    float *head = mem_alloc(count, sizeof *head);
    tensor_rows_f32(m->embedding, 0, model_shape(m)->vocabulary, head);
    for (size_t i = 0; i < count; i++) {
        head[i] = -head[i];
    }
    const struct model_part part = {"head", head, count};
    write_folder(m, &(struct model_changes){.parts = &part, .part_count = 1}, folder);
    struct model *back = open_model(folder);
    assert_false(model_shape(back)->tied_head);
    size_t n = model_shape(m)->vocabulary;
    float *x = mem_alloc(n, sizeof *x), *y = mem_alloc(n, sizeof *y);
    logits_of(m, x);
    logits_of(back, y);
    for (size_t i = 0; i < n; i++) {
        assert_true(x[i] == -y[i]);
    }
    mem_free(x);
    mem_free(y);
    mem_free(head);
    model_close(back);
    model_close(m);
}

/* ---- what stands there already ------------------------------------------------------------------ */

static void put_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void targets(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    struct error e = {0};
    const char *folder = scratch_directory();
    put_text(inside(folder, "train.csv"), "step\n");
    write_folder(m, &(struct model_changes){0}, folder); /* other files stay */
    put_text(inside(folder, "tokenizer_config.json"), "{}");
    write_folder(m, &(struct model_changes){0}, folder); /* ours is replaced, with all that belonged to it */
    assert_true(file_exists(inside(folder, "train.csv")));
    assert_false(file_exists(inside(folder, "tokenizer_config.json")));
    put_text(inside(folder, "model.safetensors"), "something else");
    assert_int_equal(model_write_folder(m, &(struct model_changes){0}, folder, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "holds a model that mho did not write (model.safetensors)"));
    folder = scratch_directory();
    put_text(inside(folder, "config.json"), "{}");
    assert_int_equal(model_folder_check(folder, &e), ERR_USAGE);
    assert_int_equal(model_folder_check(inside(folder, "config.json"), &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "is a file"));
    assert_int_equal(model_folder_check(inside(folder, "new/deep"), &e), OK);
    write_folder(m, &(struct model_changes){0}, inside(folder, "new/deep"));
    model_close(m);
}

/* A file may grow to 64 KiB only: as on a full disk, what stood there is still there, and no temporary is left. */
static void full_disk(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    struct error e = {0};
    const char *folder = scratch_directory();
    struct rlimit old, small;
    write_folder(m, &(struct model_changes){.type = TENSOR_F16, .adapt = "first"}, folder);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 1 << 16;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    enum status s = model_write_folder(m, &(struct model_changes){.adapt = "second"}, folder, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(s, ERR_RUN);
    assert_non_null(strstr(e.message, "model.safetensors: cannot write: File too large"));
    struct model *back = open_model(folder);
    assert_int_equal(back->embedding->type, TENSOR_F16);
    model_close(back);
    model_close(m);
    int files = 0;
    DIR *d = opendir(folder);
    for (struct dirent *entry; (entry = readdir(d));) {
        files += entry->d_name[0] != '.';
    }
    closedir(d);
    assert_int_equal(files, 2);
}

/* ---- tokenizers --------------------------------------------------------------------------------- */

static void write_json(json_t *document, const char *path) {
    assert_non_null(document);
    assert_int_equal(json_dump_file(document, path, 0), 0);
    json_decref(document);
}

/* The same ids, with and without special tokens, and the same text back. */
static void expect_same(const struct tokenizer *a, const struct tokenizer *b, const char *text, size_t bytes) {
    struct error e = {0};
    for (int special = 0; special < 2; special++) {
        struct token_list x = {0}, y = {0};
        char *back = NULL, *expected = NULL;
        size_t back_bytes, expected_bytes;
        must(tokenizer_encode(a, text, bytes, special, true, &x, &e), &e);
        must(tokenizer_encode(b, text, bytes, special, true, &y, &e), &e);
        assert_int_equal(x.count, y.count);
        for (size_t i = 0; i < x.count; i++) {
            assert_int_equal(x.ids[i], y.ids[i]);
        }
        must(tokenizer_decode(a, x.ids, x.count, true, &expected, &expected_bytes, &e), &e);
        must(tokenizer_decode(b, y.ids, y.count, true, &back, &back_bytes, &e), &e);
        assert_int_equal(back_bytes, expected_bytes);
        assert_memory_equal(back, expected, back_bytes);
        mem_free(back);
        mem_free(expected);
        token_list_clear(&x);
        token_list_clear(&y);
    }
}

static void expect_same_tokens(const struct tokenizer *a, const struct tokenizer *b) {
    assert_int_equal(tokenizer_size(a), tokenizer_size(b));
    assert_int_equal(tokenizer_bos(a), tokenizer_bos(b));
    assert_int_equal(tokenizer_adds_bos(a), tokenizer_adds_bos(b));
    const char *x = tokenizer_chat_template(a), *y = tokenizer_chat_template(b);
    assert_true(x ? y && strcmp(x, y) == 0 : !y);
    for (int32_t id = 0; (size_t)id < tokenizer_size(a); id++) {
        const char *p, *q;
        size_t n, k;
        tokenizer_piece(a, id, &p, &n);
        tokenizer_piece(b, id, &q, &k);
        assert_int_equal(n, k);
        assert_memory_equal(p, q, n);
        assert_int_equal(tokenizer_is_special(a, id), tokenizer_is_special(b, id));
        assert_int_equal(tokenizer_is_end(a, id), tokenizer_is_end(b, id));
    }
}

/* The tokenizer of a GGUF file, and what comes back from the files written of it. */
struct pair {
    struct model model; /* no more of it than weights and tokenizer */
    struct tokenizer *back;
};

static struct pair open_pair(const char *gguf) {
    const char *folder = scratch_directory();
    struct pair p = {0};
    struct error e = {0};
    json_t *document = NULL;
    must(weights_open(gguf, &p.model.weights, &e), &e);
    must(tokenizer_open(p.model.weights, &p.model.tokenizer, &e), &e);
    must(tokenizer_make_json(&p.model, &document, &e), &e);
    write_json(document, inside(folder, "tokenizer.json"));
    must(tokenizer_make_config(&p.model, &document, &e), &e);
    write_json(document, inside(folder, "tokenizer_config.json"));
    must(tokenizer_open_path(folder, &p.back, &e), &e);
    expect_same_tokens(p.model.tokenizer, p.back);
    return p;
}

static void close_pair(struct pair *p) {
    tokenizer_close(p->back);
    tokenizer_close(p->model.tokenizer);
    weights_close(p->model.weights);
}

/* The vocabularies of llama.cpp with their 46 texts. test_tokenizer.c holds the originals against the goldens. */
static void check_vocabulary(const char *name) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[128], *texts;
    size_t bytes;
    int cases = 0;
    struct error e = {0};
    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf", name);
    struct pair p = open_pair(shared_path(path));
    strcat(path, ".inp");
    must(read_file(shared_path(path), 1 << 20, &texts, &bytes, &e), &e);
    for (char *text = texts, *end; (end = strstr(text, mark)); text = end + strlen(mark), cases++) {
        expect_same(p.model.tokenizer, p.back, text, (size_t)(end - text));
    }
    assert_int_equal(cases, 46);
    mem_free(texts);
    close_pair(&p);
}

static void vocabulary_smollm2(void **state) {
    (void)state;
    json_t *golden = load_json(golden_path("real/smollm2-135m-instruct-q4_1.json"));
    struct pair p = open_pair(shared_path("models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"));
    const json_t *cases = json_object_get(golden, "tokenizer_cases");
    assert_in_range(json_array_size(cases), 4, 100);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(cases, i), "text"));
        expect_same(p.model.tokenizer, p.back, text, strlen(text));
    }
    close_pair(&p);
    json_decref(golden);
}

static void vocabulary_gpt2(void **state) { (void)state; check_vocabulary("gpt-2"); }
static void vocabulary_llama_bpe(void **state) { (void)state; check_vocabulary("llama-bpe"); }
static void vocabulary_qwen2(void **state) { (void)state; check_vocabulary("qwen2"); }
static void vocabulary_llama_spm(void **state) { (void)state; check_vocabulary("llama-spm"); }
static void vocabulary_phi3(void **state) { (void)state; check_vocabulary("phi-3"); }

/* ---- what belongs to a chip --------------------------------------------------------------------- */

enum { CHANNELS = 3, PER_OUTPUT = 2 };

/* A side path for a matrix: channels 1, 4, 7; in output o the inputs o % 5 and o % 5 + 9. */
struct made_side {
    struct side_path side;
    uint32_t channels[CHANNELS], *begin, *inputs;
};

static void make_side(struct made_side *s, const struct matrix_source *m) {
    s->begin = mem_alloc((size_t)m->outputs + 1, sizeof *s->begin);
    s->inputs = mem_alloc((size_t)m->outputs * PER_OUTPUT, sizeof *s->inputs);
    for (uint32_t i = 0; i < CHANNELS; i++) {
        s->channels[i] = 1 + 3 * i;
    }
    for (uint32_t o = 0; o < m->outputs; o++) {
        s->begin[o + 1] = PER_OUTPUT * (o + 1);
        s->inputs[PER_OUTPUT * o] = o % 5;
        s->inputs[PER_OUTPUT * o + 1] = o % 5 + 9;
    }
    s->side = (struct side_path){s->channels, CHANNELS, s->begin, s->inputs};
}

static void free_side(struct made_side *s) {
    mem_free(s->begin);
    mem_free(s->inputs);
}

/* Of output o in row block b. */
static float scale_of(size_t b, size_t o) { return 0.5f + (float)o + 1000 * (float)b; }

/* Writes the model with ranges, scales of two row blocks and a side path for its matrix number `matrix`. */
static void write_with_side(const struct model *m, size_t matrix, const char *path) {
    size_t count;
    const struct matrix_source *sources = model_matrices(m, &count);
    const float ranges[2] = {1.5f, 2.25f};
    char name[64];
    struct made_side made = {0};
    const struct side_path **sides = mem_alloc(count, sizeof *sides);
    make_side(&made, &sources[matrix]);
    sides[matrix] = &made.side;
    snprintf(name, sizeof name, "%s.input_range", sources[matrix].name);
    size_t outputs = sources[matrix].outputs;
    float *scales = mem_alloc(2 * outputs, sizeof *scales);
    for (size_t i = 0; i < 2 * outputs; i++) {
        scales[i] = scale_of(i / outputs, i % outputs);
    }
    char scale_name[64], adc_name[64];
    snprintf(scale_name, sizeof scale_name, "%s.weight_scale", sources[matrix].name);
    snprintf(adc_name, sizeof adc_name, "%s.adc_range", sources[matrix].name);
    const struct model_part parts[] = {{name, ranges, 2}, {scale_name, scales, 2 * outputs},
                                       {adc_name, scales, outputs}};
    uint32_t *devices = mem_alloc(count, sizeof *devices);
    devices[matrix] = 5;
    write_folder(m, &(struct model_changes){.parts = parts, .part_count = 3, .sides = sides, .devices = devices,
                                            .adapt = "{}"}, path);
    mem_free(devices);
    mem_free(scales);
    mem_free(sides);
    free_side(&made);
}

static void expect_side(const struct matrix_source *m, bool swapped) {
    assert_non_null(m->side);
    assert_int_equal(m->devices, 5);
    assert_int_equal(m->input_range_count, 2);
    assert_true(m->input_range[0] == 1.5f && m->input_range[1] == 2.25f);
    assert_int_equal(m->side->channel_count, CHANNELS);
    assert_int_equal(m->side->channels[2], 7);
    assert_int_equal(m->scale_count, 2 * m->outputs);
    assert_int_equal(m->adc_range_count, m->outputs);
    for (uint32_t o = 0; o < m->outputs; o++) {
        uint32_t d = 16, k = o % d; /* of a head: the first half of a folder's rows are the even ones of GGUF */
        uint32_t from = swapped ? o - k + k % (d / 2) * 2 + k / (d / 2) : o;
        assert_true(m->weight_scale[o] == scale_of(0, from) && m->weight_scale[m->outputs + o] == scale_of(1, from));
        assert_true(m->adc_range[o] == scale_of(0, from));
        assert_int_equal(m->side->weight_begin[o], PER_OUTPUT * o);
        assert_int_equal(m->side->weight_inputs[PER_OUTPUT * o], from % 5);
        assert_int_equal(m->side->weight_inputs[PER_OUTPUT * o + 1], from % 5 + 9);
    }
}

/* Of a folder, as it is; of a GGUF file whose rows of q (matrix 0) are in another order, in the order of the folder. A
 * second copy, nothing asked, keeps them; with forget_chip they are gone. */
static void check_sides(const char *path, bool swapped) {
    struct model *m = open_model(golden_path(path));
    const char *first = inside(scratch_directory(), "first"), *second = inside(scratch_directory(), "second");
    size_t count;
    write_with_side(m, 0, first);
    struct model *back = open_model(first);
    expect_side(&model_matrices(back, &count)[0], swapped);
    assert_null(model_matrices(back, &count)[1].side);
    assert_int_equal(model_matrices(back, &count)[1].devices, 0);
    assert_null(model_matrices(back, &count)[1].input_range);
    assert_near(difference(m, back), 0.0, 1e-5); /* digitally nothing changes, see above */
    write_folder(back, &(struct model_changes){0}, second);
    struct model *again = open_model(second);
    expect_side(&model_matrices(again, &count)[0], swapped);
    model_close(again);
    write_folder(back, &(struct model_changes){.forget_chip = true}, second);
    again = open_model(second);
    assert_null(model_matrices(again, &count)[0].side);
    assert_null(model_matrices(again, &count)[0].input_range);
    assert_null(model_matrices(again, &count)[0].weight_scale);
    assert_null(model_matrices(again, &count)[0].adc_range);
    assert_int_equal(model_matrices(again, &count)[0].devices, 0);
    model_close(again);
    model_close(back);
    model_close(m);
}

static void sides_and_ranges(void **state) {
    (void)state;
    check_sides("models/llama3-tiny", false);
    check_sides("models/phi3-tiny", false);
    check_sides("models/gpt2-tiny", false);
    check_sides("gguf/llama3-tiny-mixed.gguf", true);
}

/* Value of a key in the metadata of a folder; NULL: not there. Borrowed from *m. */
static const char *metadata(const char *folder, const char *key, json_t **m) {
    struct mapped_file f;
    struct error e = {0};
    const char *path = inside(folder, "model.safetensors");
    must(map_file(path, &f, &e), &e);
    must(safetensors_metadata(&(struct span){path, f.data, f.bytes}, m, &e), &e);
    unmap_file(&f);
    return json_string_value(json_object_get(*m, key));
}

/* For which chip and how a model was made: written, and kept by whoever writes it again and says nothing of it. */
static void metadata_stays(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    struct chip *c;
    struct error e = {0};
    json_t *found;
    const char *first = scratch_directory(), *second = scratch_directory();
    const char *const sets[] = {"tile.adc.lambda=9"};
    must(chip_load("afm", sets, 1, &c, &e), &e);
    write_folder(m, &(struct model_changes){.chip = c, .adapt = "{\"recipe\":\"fit\"}"}, first);
    struct model *back = open_model(first);
    write_folder(back, &(struct model_changes){.adapt = "later"}, second);
    assert_string_equal(metadata(second, "mho.chip", &found), "afm");
    assert_string_equal(json_string_value(json_object_get(found, "mho.converters")),
                        "{\"tile_rows\":512,\"inputs_per_token\":false,\"dac_steps\":127,\"adc_steps\":127,"
                        "\"adc_bound\":9}");
    assert_string_equal(json_string_value(json_object_get(found, "mho.adapt")), "later");
    json_decref(found);
    assert_string_equal(metadata(first, "mho.adapt", &found), "{\"recipe\":\"fit\"}");
    json_decref(found);
    write_folder(back, &(struct model_changes){.forget_chip = true}, second);
    assert_null(metadata(second, "mho.chip", &found));
    assert_null(json_object_get(found, "mho.converters"));
    assert_string_equal(json_string_value(json_object_get(found, "mho.adapt")), "{\"recipe\":\"fit\"}");
    json_decref(found);
    write_folder(m, &(struct model_changes){0}, second);
    assert_null(metadata(second, "mho.chip", &found));
    json_decref(found);
    model_close(back);
    model_close(m);
    chip_destroy(c);
}

/* Begin of the data of a tensor in model.safetensors. */
static long place_of(const char *file, const char *tensor) {
    uint64_t header_bytes;
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&header_bytes, 8, 1, f), 1);
    json_t *header = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
    fclose(f);
    const json_t *offsets = json_object_get(json_object_get(header, tensor), "data_offsets");
    assert_int_equal(json_array_size(offsets), 2);
    long at = (long)(8 + header_bytes) + (long)json_integer_value(json_array_get(offsets, 0));
    json_decref(header);
    return at;
}

static void patch(const char *file, long at, const void *bytes, size_t count) {
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

/* One 32-bit element of a tensor of the chip changed: the message names the tensor and what is wrong. */
static void damaged_chip_tensors(void **state) {
    (void)state;
    static const struct { const char *ending; int element; uint32_t bits; const char *expected; } cases[] = {
        {"input_range", 1, 0, "input_range: element 1 is 0 (allowed: positive and finite)"},
        {"input_range", 0, 0x7fc00000, "input_range: element 0 is"},
        {"input_range", 0, 0xbf800000, "input_range: element 0 is -1"},
        {"weight_scale", 3, 0xbf800000, "weight_scale: element 3 is -1 (allowed: finite, not below 0)"},
        {"adc_range", 0, 0x7f800000, "adc_range: element 0 is inf"},
        {"devices", 0, 0, "devices: 1 elements, the first 0 (allowed: one, 1 to 8)"},
        {"devices", 0, 9, "devices: 1 elements, the first 9 (allowed: one, 1 to 8)"},
        {"devices", 0, 0xffffffff, "devices: 1 elements, the first -1"},
        {"digital_channels", 1, 1, "digital_channels: element 1 is 1 (allowed: rising inputs, 0 to 63)"},
        {"digital_channels", 2, 64, "digital_channels: element 2 is 64"},
        {"digital_channels", 0, 0xffffffff, "digital_channels: element 0 is -1"},
        {"digital_weight_begin", 0, 1, "digital_weight_begin: element 0 is 1"},
        {"digital_weight_begin", 3, 3, "digital_weight_begin: element 3 is 3"},
        {"digital_weight_begin", 64, 126, "digital_weight_inputs: element 128 is"},
        {"digital_weight_begin", 128, 254, "digital_weight_inputs: 256 elements (digital_weight_begin: 254)"},
        {"digital_weight_begin", 5, 0x7fffffff, "digital_weight_begin: element 5 is 2147483647"},
        {"digital_weight_inputs", 1, 0, "digital_weight_inputs: element 1 is 0"},
        {"digital_weight_inputs", 7, 1000, "digital_weight_inputs: element 7 is 1000"},
    };
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    const char *folder = scratch_directory(), *file = inside(folder, "model.safetensors");
    write_with_side(m, 0, folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char tensor[128];
        uint32_t good;
        struct error e = {0};
        struct model *back = NULL;
        snprintf(tensor, sizeof tensor, "model.layers.0.self_attn.q_proj.%s", cases[i].ending);
        long at = place_of(file, tensor) + 4 * cases[i].element;
        FILE *f = fopen(file, "rb");
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        assert_int_equal(fread(&good, 4, 1, f), 1);
        fclose(f);
        patch(file, at, &cases[i].bits, 4);
        assert_int_equal(model_open(folder, &back, &e), ERR_RUN);
        if (!strstr(e.message, cases[i].expected) || !strstr(e.message, "layers.0.self_attn.q_proj")) {
            fail_msg("case %zu: %s", i, e.message);
        }
        patch(file, at, &good, 4);
    }
    struct model *back = open_model(folder);
    model_close(back);
    model_close(m);
}

/* The name of a tensor in the header, replaced by one of the same length. */
static void rename_in_header(const char *file, const char *from, const char *to) {
    char *text, *at;
    size_t bytes;
    struct error e = {0};
    must(read_file(file, 1 << 24, &text, &bytes, &e), &e);
    at = memmem(text, bytes, from, strlen(from));
    assert_non_null(at);
    patch(file, at - text, to, strlen(to));
    mem_free(text);
}

static void misplaced_chip_tensors(void **state) {
    (void)state;
    static const struct { const char *from, *to, *expected; } cases[] = {
        {"0.self_attn.q_proj.digital_weight_b", "0.self_attn.z_proj.digital_weight_b", "digital_weight_begin: missing"},
        {"0.self_attn.q_proj.digital_channels", "9.self_attn.q_proj.digital_channels", "belongs to no matrix"},
        {"0.self_attn.q_proj.devices", "9.self_attn.q_proj.devices", "belongs to no matrix"},
        {"0.self_attn.q_proj.digital_channels\":", "0.self_attn.k_proj.devices\"         :",
         "k_proj.devices: rank 1, 3 elements (allowed: rank 1, up to 1 elements)"},
        {"0.self_attn.q_proj.input_range", "0.self_attn.q_proj.inputs_rang", "has no place for it"},
    };
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *folder = scratch_directory();
        struct error e = {0};
        struct model *back = NULL;
        write_with_side(m, 0, folder);
        rename_in_header(inside(folder, "model.safetensors"), cases[i].from, cases[i].to);
        assert_int_equal(model_open(folder, &back, &e), ERR_RUN);
        if (!strstr(e.message, cases[i].expected)) {
            fail_msg("case %zu: %s", i, e.message);
        }
    }
    model_close(m);
}

/* ---- GGUF ------------------------------------------------------------------------------------------- */

/* Rows of q and k change their order for the architecture "llama", and with it the sums of q.k: 1e-5 as above. */
static void gguf_of_families(void **state) {
    (void)state;
    static const char *const paths[] = {"models/gemma2-tiny", "models/gpt2-tiny", "models/llama-untied-tiny",
                                        "models/qwen2-tiny", "models/qwen3-tiny", "models/phi3-tiny",
                                        "gguf/llama3-tiny-mixed.gguf"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct model *m = open_model(golden_path(paths[i]));
        const char *file = inside(scratch_directory(), "m.gguf");
        struct error e = {0};
        enum status s = model_write_gguf(m, &(struct model_changes){0}, file, &e);
        if (i == 0) { /* has a scale of its own, which GGUF cannot say */
            assert_int_equal(s, ERR_RUN);
            assert_non_null(strstr(e.message, "query_pre_attn_scalar"));
            model_close(m);
            continue;
        }
        must(s, &e);
        struct model *back = open_model(file);
        assert_near(difference(m, back), 0.0, 1e-5);
        model_close(back);
        model_close(m);
    }
}

/* ---- few bits ----------------------------------------------------------------------------------- */

static float largest_of(const float *x, size_t n) {
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
    }
    return largest;
}

/* Calls check(row before, row after, inputs, is it the head) for every row of every matrix. */
static void check_rows(const struct model *m, const struct model *back,
                       void (*check)(const float *was, const float *is, size_t n, bool head)) {
    assert_int_equal(back->matrix_count, m->matrix_count);
    for (size_t k = 0; k < m->matrix_count; k++) {
        size_t n = m->matrices[k].inputs;
        float *was = mem_alloc(n, sizeof *was), *is = mem_alloc(n, sizeof *is);
        for (uint32_t o = 0; o < m->matrices[k].outputs; o++) {
            matrix_rows(&m->matrices[k], o, 1, was);
            matrix_rows(&back->matrices[k], o, 1, is);
            check(was, is, n, k == (size_t)m->head);
        }
        mem_free(was);
        mem_free(is);
    }
}

/* The nearest of -7..7 times max|row| / 7; 1e-6 of the largest is the rounding of fp32 (a level off is 0.14). */
static void four_bits(const float *was, const float *is, size_t n, bool head) {
    (void)head;
    double largest = (double)largest_of(was, n), step = largest / 7;
    for (size_t i = 0; i < n; i++) {
        double level = rint((double)is[i] / step);
        assert_near((double)is[i], level * step, 1e-6 * largest);
        assert_true(fabs((double)was[i] - (double)is[i]) <= 0.5 * step + 1e-6 * largest);
    }
    assert_near((double)largest_of(is, n), largest, 1e-6 * largest);
}

/* All weights of a folder with a side path are rounded, those of the side path too; path, ranges and scales stay. The
 * model computes what the program does with --quantise 4. */
static void four_bits_of_an_adapted_folder(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    const char *first = inside(scratch_directory(), "first"), *second = inside(scratch_directory(), "second");
    struct error e = {0};
    size_t count;
    write_with_side(m, 0, first);
    struct model *adapted = open_model(first);
    write_folder(adapted, &(struct model_changes){.quantise_bits = 4}, second);
    struct model *back = open_model(second);
    check_rows(m, back, four_bits);
    expect_side(&model_matrices(back, &count)[0], false);
    assert_false(model_shape(back)->tied_head);
    must(model_quantise(adapted, 4, &e), &e);
    assert_near(difference(adapted, back), 0.0, 1e-5);
    assert_true(difference(m, back) > 0.01);
    model_close(back);
    model_close(adapted);
    model_close(m);
}

/* What a file cannot say, or says less well than it seems, the user is told. */
static void losses_are_told(void **state) {
    static const struct { const char *words[2], *says; } rows[] = {
        {{"--quantise", "4"}, "weights that stay digital are rounded to 4 bits like all others"},
        {{"--type", "F16"}, ""},
        {{"--format", "gguf"}, "side paths, ranges and scales for a chip are left out"},
    };
    (void)state;
    struct model *m = open_model(golden_path("models/llama3-tiny"));
    const char *folder = inside(scratch_directory(), "adapted"), *path = inside(scratch_directory(), "exported");
    write_with_side(m, 0, folder);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *out = i < 2 ? path : inside(scratch_directory(), "m.gguf");
        const char *args[] = {"adapt", "export", "--model", folder, "--out", out,
                              rows[i].words[0], rows[i].words[1], NULL};
        char *err;
        assert_int_equal(run_mho(args, 20, NULL, &err), 0);
        if (rows[i].says[0] ? !strstr(err, rows[i].says) : err[0] != 0) {
            fail_msg("\"%s\" expected: %s", rows[i].says, err);
        }
        mem_free(err);
    }
    model_close(m);
}

/* Blocks of 32: within half a step of max / 127, and d itself is a binary16 (2^-11 of the value). */
static void blocks_of_q8(const float *was, const float *is, size_t n, bool head) {
    (void)head;
    for (size_t i = 0; i < n; i++) {
        double largest = (double)largest_of(was + i / 32 * 32, 32);
        assert_true(fabs((double)was[i] - (double)is[i]) <= largest * (0.5 / 127 + 0x1p-11));
    }
}

/* Steps of max / 8, the largest exact; at the other end of the range, where level 8 is missing, the error may be a
 * whole step. The head is the embedding: Q8_0. */
static void blocks_of_q4(const float *was, const float *is, size_t n, bool head) {
    if (head) {
        blocks_of_q8(was, is, n, head);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const float *block = was + i / 32 * 32;
        double largest = (double)largest_of(block, 32), step = largest / 8;
        double error = fabs((double)was[i] - (double)is[i]);
        double bound = fabs((double)was[i]) > 7.5 * step ? 1 : 0.5;
        assert_true(error <= bound * step + largest * 0x1p-11);
    }
    double steps[16] = {0};
    size_t levels = 0;
    for (size_t i = 0; i < 32; i++) { /* of the first block: at most 16 different values */
        size_t k = 0;
        while (k < levels && !(fabs(steps[k] - (double)is[i]) < 1e-9)) {
            k++;
        }
        assert_true(k < 16);
        steps[k] = (double)is[i];
        levels += k == levels;
    }
}

static void few_bits_in_gguf(void **state) {
    (void)state;
    static const struct {
        enum tensor_type type;
        void (*check)(const float *was, const float *is, size_t n, bool head);
        double least, most; /* difference of logits, 0.2 and 3.5: a factor of 4 to both sides */
    } cases[] = {{TENSOR_Q8_0, blocks_of_q8, 0.05, 0.8}, {TENSOR_Q4_0, blocks_of_q4, 0.9, 14}};
    for (size_t i = 0; i < 2; i++) {
        struct model *m = open_model(golden_path("models/qwen2-tiny"));
        const char *file = inside(scratch_directory(), "few.gguf");
        struct error e = {0};
        must(model_write_gguf(m, &(struct model_changes){.type = cases[i].type}, file, &e), &e);
        struct model *back = open_model(file);
        check_rows(m, back, cases[i].check);
        double d = difference(m, back);
        if (!(d > cases[i].least && d < cases[i].most)) {
            fail_msg("type %zu: logits differ by %g", i, d);
        }
        model_close(back);
        model_close(m);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gguf_of_families),
    cmocka_unit_test(vocabulary_gpt2),
    cmocka_unit_test(vocabulary_llama_bpe),
    cmocka_unit_test(vocabulary_qwen2),
    cmocka_unit_test(vocabulary_llama_spm),
    cmocka_unit_test(vocabulary_phi3),
    cmocka_unit_test(vocabulary_smollm2),
    cmocka_unit_test(folders_of_every_family),
    cmocka_unit_test(wrong_parts),
    cmocka_unit_test(parts_make_another_model),
    cmocka_unit_test(replaced_head),
    cmocka_unit_test(targets),
    cmocka_unit_test(full_disk),
    cmocka_unit_test(sides_and_ranges),
    cmocka_unit_test(metadata_stays),
    cmocka_unit_test(four_bits_of_an_adapted_folder),
    cmocka_unit_test(losses_are_told),
    cmocka_unit_test(few_bits_in_gguf),
    cmocka_unit_test(damaged_chip_tensors),
    cmocka_unit_test(misplaced_chip_tensors),
};
const struct test_suite suite_write = {"write", tests, sizeof tests / sizeof tests[0]};
