/* Checkpoints of PyTorch: files that torch.save made (tests/golden/generators/gen_torch.py), and files put together
 * here that want to run something, to read outside, or to fill the memory.
 */
#include "base/io.h"
#include "models/files.h"
#include "models/internal.h"
#include "tests/golden.h"
#include "tests/mutate.h"

/* ---- files of torch.save -------------------------------------------------------------------------------- */

static double sum_of(const struct tensor *t) {
    uint64_t count = t->bytes / tensor_block_bytes(t->type);
    float *values = mem_alloc((size_t)count, sizeof *values);
    double sum = 0.0;
    tensor_rows_f32(t, 0, t->rank > 1 ? t->shape[0] : 1, values);
    for (uint64_t i = 0; i < count; i++) {
        sum += fabs((double)values[i]);
    }
    mem_free(values);
    return sum;
}

/* Every tensor is there with its sum; the logits are those of transformers. Tolerance 1e-5 of logits up to 3: rounding
 * of two fp32 forward passes of two layers (seen: 1e-6). */
static void check_checkpoint(const char *folder) {
    json_t *golden = load_json(golden_path("torch/values.json"));
    const json_t *sums = json_object_get(golden, "sums"), *forward = json_object_get(golden, "forward");
    struct model *m = open_model(golden_path(folder));
    const char *name;
    json_t *sum;
    size_t loaded = 0;
    json_object_foreach((json_t *)sums, name, sum) {
        const struct tensor *t = weights_find(m->weights, name);
        if (strcmp(name, "steps") == 0) {
            assert_null(t); /* int64: left out */
        } else {
            assert_non_null(t);
            assert_near(sum_of(t), json_number_value(sum), 1e-6 * json_number_value(sum));
            loaded++;
        }
    }
    assert_int_equal(loaded, 68);
    assert_false(model_shape(m)->tied_head); /* config.json says tied, the file holds another head */
    int32_t ids[64];
    uint32_t count = read_ids(json_object_get(forward, "ids"), ids, 64);
    struct session *s = new_session(m, (struct session_options){.context = 64});
    const float *logits;
    struct error e = {0};
    double largest;
    must(session_forward(s, ids, count, LOGITS_LAST, &logits, &e), &e);
    assert_near(worst_difference(logits, json_object_get(forward, "logits"), &largest), 0.0, 1e-5);
    session_destroy(s);
    model_close(m);
    json_decref(golden);
}

static void one_file(void **state) { (void)state; check_checkpoint("torch/analog-tiny"); }
static void shards(void **state) { (void)state; check_checkpoint("torch/sharded-tiny"); }

/* Where the storage is contiguous, the tensor lies in the mapped file; the ranges come along. */
static void ranges_and_mapping(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("torch/analog-tiny"));
    size_t count;
    const struct matrix_source *sources = model_matrices(m, &count);
    assert_int_equal(count, 15);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(sources[i].input_range_count, 2);
        assert_true(sources[i].input_range[0] >= 3.0f && sources[i].input_range[1] <= 4.0f);
        assert_null(sources[i].side);
    }
    struct mapped_file f;
    struct error e = {0};
    char path[1200];
    snprintf(path, sizeof path, "%s/pytorch_model.bin", golden_path("torch/analog-tiny"));
    must(map_file(path, &f, &e), &e);
    const struct tensor *t = weights_find(m->weights, "model.layers.0.self_attn.q_proj.weight");
    const uint8_t *place = memmem(f.data, f.bytes, t->data, t->bytes);
    assert_non_null(place);
    assert_int_equal((uintptr_t)t->data % 64, (uintptr_t)place % 64); /* as torch aligned it: not a copy */
    unmap_file(&f);
    model_close(m);
}

/* ---- files put together here ------------------------------------------------------------------------------- */

enum { FILE_ROOM = 1 << 16, ENTRIES = 8 };

struct zip_file {
    uint8_t data[FILE_ROOM];
    size_t used, directory;
    struct { const char *name; size_t local, bytes; } entries[ENTRIES];
    size_t count;
};

static void put(struct zip_file *z, const void *bytes, size_t count) {
    assert_true(z->used + count <= FILE_ROOM);
    memcpy(z->data + z->used, bytes, count);
    z->used += count;
}

/* Little endian; what is wider than 64 bits is filled with zeros. */
static void put_number(struct zip_file *z, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = i < 8 ? (uint8_t)(value >> 8 * i) : 0;
        put(z, &byte, 1);
    }
}

static void put_sizes(struct zip_file *z, size_t bytes) {
    put_number(z, 0, 10); /* method, time, sum */
    put_number(z, bytes, 4);
    put_number(z, bytes, 4);
}

static void add_entry(struct zip_file *z, const char *name, const void *data, size_t bytes) {
    z->entries[z->count].name = name;
    z->entries[z->count].local = z->used;
    z->entries[z->count++].bytes = bytes;
    put_number(z, 0x04034b50, 4);
    put_number(z, 0, 4);
    put_sizes(z, bytes);
    put_number(z, strlen(name), 4);
    put(z, name, strlen(name));
    put(z, data, bytes);
}

static void end_file(struct zip_file *z, bool wide) {
    z->directory = z->used;
    for (size_t i = 0; i < z->count; i++) {
        put_number(z, 0x02014b50, 4);
        put_number(z, 0, 6); /* versions, flags */
        put_sizes(z, wide ? UINT32_MAX : z->entries[i].bytes);
        put_number(z, strlen(z->entries[i].name), 2);
        put_number(z, wide ? 28 : 0, 2);
        put_number(z, 0, 10);
        put_number(z, wide ? UINT32_MAX : z->entries[i].local, 4);
        put(z, z->entries[i].name, strlen(z->entries[i].name));
        if (wide) {
            put_number(z, 24 << 16 | 1, 4);
            put_number(z, z->entries[i].bytes, 8);
            put_number(z, z->entries[i].bytes, 8);
            put_number(z, z->entries[i].local, 8);
        }
    }
    size_t end = z->used;
    if (wide) {
        put_number(z, 0x06064b50, 4);
        put_number(z, 44, 8);
        put_number(z, 0, 12);
        put_number(z, z->count, 8);
        put_number(z, z->count, 8);
        put_number(z, end - z->directory, 8);
        put_number(z, z->directory, 8);
        put_number(z, 0x07064b50, 4);
        put_number(z, 0, 4);
        put_number(z, end, 8);
        put_number(z, 1, 4);
    }
    put_number(z, 0x06054b50, 4);
    put_number(z, 0, 4);
    put_number(z, wide ? 0xffffffff : z->count << 16 | z->count, 4);
    put_number(z, wide ? UINT32_MAX : end - z->directory, 4);
    put_number(z, wide ? UINT32_MAX : z->directory, 4);
    put_number(z, 0, 2);
}

#define MAP "ccollections\nOrderedDict\n)R"
#define STORAGE_OF(type, elements) "((X\7\0\0\0storagectorch\n" type "\nX\1\0\0\0" "0X\3\0\0\0cpu" elements "tQ"
#define VIEW(offset, sizes, strides) offset sizes strides "\x89" MAP "tR"
#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n"
#define NAME_W "X\1\0\0\0w"
#define BEGIN "\x80\2" MAP "(" NAME_W
#define END "u."
#define GOOD_TENSOR TENSOR STORAGE_OF("FloatStorage", "K\4") VIEW("K\0", "K\2K\2\x86", "K\2K\1\x86")
#define PICKLE(text) text, sizeof(text) - 1

static const float storage[4] = {1, 2, 3, 4};

static void make_file(struct zip_file *z, const void *pickle, size_t bytes) {
    memset(z, 0, sizeof *z);
    add_entry(z, "m/data.pkl", pickle, bytes);
    add_entry(z, "m/data/0", storage, sizeof storage);
}

/* A copy that ends where its allocation ends, for the address sanitizer. */
static enum status try_bytes(const void *data, size_t bytes, struct weights **w, struct error *e) {
    size_t shift = (MEM_ALIGNMENT - bytes % MEM_ALIGNMENT) % MEM_ALIGNMENT;
    uint8_t *block = mem_alloc(bytes + shift, 1);
    memcpy(block + shift, data, bytes);
    const struct span s = {"FILE", block + shift, bytes};
    enum status status = weights_open_memory(&s, w, e);
    if (status == OK && weights_count(*w)) {
        sum_of(weights_at(*w, 0));
    }
    mem_free(block);
    return status;
}

static void expect_wrong(const struct zip_file *z, const char *expected) {
    struct weights *w = NULL;
    struct error e = {0};
    if (try_bytes(z->data, z->used, &w, &e) != ERR_RUN) {
        fail_msg("opened, expected: %s", expected);
    }
    if (!strstr(e.message, expected)) {
        fail_msg("%s; expected: %s", e.message, expected);
    }
}

static void expect_bad_pickle(const void *pickle, size_t bytes, const char *expected) {
    struct zip_file *z = mem_alloc(1, sizeof *z);
    make_file(z, pickle, bytes);
    end_file(z, false);
    expect_wrong(z, expected);
    mem_free(z);
}

static void expect_good(const struct zip_file *z, double sum) {
    const struct span s = {"FILE", z->data, z->used};
    struct weights *w = NULL;
    struct error e = {0};
    must(weights_open_memory(&s, &w, &e), &e);
    assert_int_equal(weights_count(w), 1);
    assert_string_equal(weights_at(w, 0)->name, "w");
    assert_near(sum_of(weights_at(w, 0)), sum, 0.0);
    weights_close(w);
}

/* So that the bad ones below are bad for their own reason only. */
static void good_files(void **state) {
    (void)state;
    struct zip_file *z = mem_alloc(1, sizeof *z);
    for (int wide = 0; wide < 2; wide++) {
        make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
        end_file(z, wide);
        expect_good(z, 10.0);
    }
    make_file(z, PICKLE(BEGIN TENSOR STORAGE_OF("FloatStorage", "K\4") VIEW("K\1", "K\2\x85", "K\2\x85") END));
    end_file(z, false);
    expect_good(z, 6.0); /* elements 1 and 3: a copy */
    make_file(z, PICKLE(BEGIN TENSOR STORAGE_OF("HalfStorage", "K\x8") VIEW("K\0", ")", ")") END));
    end_file(z, false);
    expect_good(z, 0.0); /* a scalar: the lower half of 1.0f */
    mem_free(z);
}

static void nothing_is_executed(void **state) {
    (void)state;
    expect_bad_pickle(PICKLE("\x80\2cos\nsystem\n(X\4\0\0\0true" "tR."), "names os system, which is not among");
    expect_bad_pickle(PICKLE("\x80\2cposix\nsystem\n."), "names posix system");
    expect_bad_pickle(PICKLE("\x80\2c__builtin__\neval\n."), "names __builtin__ eval");
    expect_bad_pickle(PICKLE("\x80\2ctorch\nload\n."), "names torch load");
    expect_bad_pickle(PICKLE("\x80\2cos.system\naihwkit_lightning.x\n."), "names os.system aihwkit_lightning.x");
    expect_bad_pickle(PICKLE("\x80\2c" "collections\nOrderedDict2\n."), "names collections OrderedDict2");
    expect_bad_pickle(PICKLE("\x80\2(ios\nsystem\n."), "instruction 0x69"); /* INST */
    expect_bad_pickle(PICKLE("\x80\2X\2\0\0\0osX\6\0\0\0system\x93."), "instruction 0x93"); /* STACK_GLOBAL */
    expect_bad_pickle(PICKLE("\x80\2\x82\1."), "instruction 0x82"); /* EXT1 */
    expect_bad_pickle(PICKLE("\x80\2P0\n."), "instruction 0x50"); /* PERSID */
    expect_bad_pickle(PICKLE("\x80\4."), "protocol (allowed: 2");
    expect_bad_pickle(PICKLE("\x80\2" MAP ")\x81."), "makes an object of a class that is not known");
    expect_bad_pickle(PICKLE("\x80\2K\1)R."), "calls what is no function");
    expect_bad_pickle(PICKLE("\x80\2K\1}b."), "attaches to what is no map");
}

/* The settings of an analog module may stand in what is dropped, not among the tensors. */
static void settings_are_skipped(void **state) {
    (void)state;
    struct zip_file *z = mem_alloc(1, sizeof *z);
#define SETTINGS "caihwkit_lightning.a\nB\n)\x81}X\1\0\0\0xG\0\0\0\0\0\0\0\0sb"
    make_file(z, PICKLE(BEGIN GOOD_TENSOR "u}" NAME_W SETTINGS "sb."));
    end_file(z, false);
    expect_good(z, 10.0);
    mem_free(z);
    expect_bad_pickle(PICKLE(BEGIN SETTINGS END), "w: not a tensor");
    expect_bad_pickle(PICKLE("\x80\2" SETTINGS "."), "the result is no map");
}

static void broken_machines(void **state) {
    (void)state;
    expect_bad_pickle(PICKLE("\x80\2."), "leaves more or less than one value");
    expect_bad_pickle(PICKLE("\x80\2NN."), "leaves more or less than one value");
    expect_bad_pickle(PICKLE("\x80\2}"), "cut short");
    expect_bad_pickle(PICKLE("\x80\2}.N"), "goes on behind its end");
    expect_bad_pickle(PICKLE("\x80\2t."), "no mark on the stack");
    expect_bad_pickle(PICKLE("\x80\2s."), "empty stack");
    expect_bad_pickle(PICKLE("\x80\2(N\x86."), "empty stack"); /* a mark is no value */
    expect_bad_pickle(PICKLE("\x80\2(u."), "is missing");
    expect_bad_pickle(PICKLE("\x80\2}(Nu."), "is missing");
    expect_bad_pickle(PICKLE("\x80\2NNNs."), "puts into what is no map");
    expect_bad_pickle(PICKLE("\x80\2h\5."), "place in the memo that is empty");
    expect_bad_pickle(PICKLE("\x80\2Nr\xff\xff\xff\xff."), "beyond the number of instructions");
    expect_bad_pickle(PICKLE("\x80\2X\xff\xff\xff\x7f."), "cut short");
    expect_bad_pickle(PICKLE("\x80\2\x8a\x09" "123456789."), "more than 64 bits");
    expect_bad_pickle(PICKLE("\x80\2NQ."), "not a storage");
    expect_bad_pickle(PICKLE("\x80\2}K\1Ns."), "a key that is no text: not a tensor");
}

/* A map that holds itself, and tuples of tuples, 2^60 values if they were copied. */
static void bombs(void **state) {
    (void)state;
    char pickle[2048] = "\x80\2Nq";
    size_t used = 5;
    for (int i = 0; i < 60; i++) {
        used += (size_t)sprintf(pickle + used, "hh");
        pickle[used - 2] = 'h';
        pickle[used - 1] = (char)i;
        used += (size_t)sprintf(pickle + used, "h%c", 'h');
        pickle[used - 1] = (char)i;
        pickle[used++] = (char)0x86;
        pickle[used++] = 'q';
        pickle[used++] = (char)(i + 1);
    }
    pickle[used++] = '.';
    expect_bad_pickle(pickle, used, "leaves more or less than one value");
    expect_bad_pickle(PICKLE("\x80\2}q\0" NAME_W "h\0s."), "w: not a tensor");
}

#define BIG "\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f"
static void views(void **state) {
    (void)state;
    static const char outside[] = "inside of it, and not more than it has";
#define BAD_VIEW(offset, sizes, strides, expected) \
    expect_bad_pickle(PICKLE(BEGIN TENSOR STORAGE_OF("FloatStorage", "K\4") VIEW(offset, sizes, strides) END), expected)
    BAD_VIEW("K\1", "K\2K\2\x86", "K\2K\1\x86", outside);
    BAD_VIEW("K\0", "K\5\x85", "K\1\x85", outside);
    BAD_VIEW("K\0", "K\2\x85", "K\4\x85", outside);
    BAD_VIEW("K\0", "K\5\x85", "K\0\x85", outside); /* expanded */
    BAD_VIEW(BIG, "K\1\x85", "K\1\x85", outside);
    BAD_VIEW("K\0", BIG BIG "\x86", "K\0K\0\x86", "the product of the sizes overflows");
    BAD_VIEW("K\0", "K\4\x85", BIG "\x85", "a stride overflows");
    BAD_VIEW("K\0", "J\xff\xff\xff\xff\x85", "K\1\x85", "none negative");
    BAD_VIEW("K\0", "K\2\x85", "K\1K\1\x86", "not a tensor");
    BAD_VIEW("K\0", "(K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1t", "at most 4 sizes");
    BAD_VIEW("K\0", "N", "N", "not a tensor");
    expect_bad_pickle(PICKLE(BEGIN TENSOR STORAGE_OF("FloatStorage", "K\5") VIEW("K\0", ")", ")") END),
                      "16 bytes, but 5 elements of float32");
    expect_bad_pickle(PICKLE(BEGIN TENSOR STORAGE_OF("FloatStorage", BIG) VIEW("K\0", ")", ")") END), "16 bytes, but");
    expect_bad_pickle(PICKLE(BEGIN TENSOR STORAGE_OF("DoubleStorage", "K\2") VIEW("K\0", ")", ")") END),
                      "names torch DoubleStorage");
    expect_bad_pickle(PICKLE(BEGIN GOOD_TENSOR NAME_W GOOD_TENSOR END), "tensor w: named twice");
}

/* Many transposed views of one storage: the copies together would be a multiple of the file. */
static void copies_are_bounded(void **state) {
    (void)state;
    enum { ROWS = 32, NAMES = 200 };
    static const char view[] = TENSOR STORAGE_OF("FloatStorage", "M\0\4") VIEW("K\0", "K\x20K\x20\x86", "K\1K\x20\x86");
    float *big = mem_alloc(ROWS * ROWS, sizeof *big);
    char *pickle = mem_alloc(NAMES, sizeof view + 16);
    size_t used = sizeof "\x80\2" MAP "(" - 1;
    memcpy(pickle, "\x80\2" MAP "(", used);
    for (int i = 0; i < NAMES; i++) {
        const char name[] = {'X', 2, 0, 0, 0, (char)('a' + i % 26), (char)('a' + i / 26)};
        memcpy(pickle + used, name, sizeof name);
        memcpy(pickle + used + sizeof name, view, sizeof view - 1);
        used += sizeof name + sizeof view - 1;
    }
    memcpy(pickle + used, END, 2);
    struct zip_file *z = mem_alloc(1, sizeof *z);
    add_entry(z, "m/data.pkl", pickle, used + 2);
    add_entry(z, "m/data/0", big, ROWS * ROWS * sizeof *big);
    end_file(z, false);
    expect_wrong(z, "views that must be copied are together larger than the file");
    mem_free(z);
    mem_free(pickle);
    mem_free(big);
}

/* ---- ZIP ---------------------------------------------------------------------------------------------------- */

static void zip_tricks(void **state) {
    (void)state;
    static const struct { const char *name, *expected; } names[] = {
        {"../etc", "not a relative path"}, {"/etc/x", "not a relative path"}, {"m/../x", "not a relative path"},
        {"m//x", "not a relative path"},   {"m\\x", "not a relative path"},   {"m/./x", "not a relative path"},
        {"n/data/1", "not in the one folder"}, {"m/data/0", "there twice"},
    };
    struct zip_file *z = mem_alloc(1, sizeof *z);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
        add_entry(z, names[i].name, "x", 1);
        end_file(z, false);
        expect_wrong(z, names[i].expected);
    }
    make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
    add_entry(z, "m/byteorder", "big", 3);
    end_file(z, false);
    expect_wrong(z, "byteorder: not supported (allowed: little)");
    make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
    z->entries[1].local = z->entries[0].local; /* both names lead to one place */
    end_file(z, false);
    expect_wrong(z, "its header has another name");
    make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
    z->entries[0].bytes += 10; /* reaches into the next */
    end_file(z, false);
    expect_wrong(z, "overlap");
    make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
    z->count = 1;
    end_file(z, false);
    expect_wrong(z, "tensor w: its storage data/0 is not in the file");
    memset(z, 0, sizeof *z);
    add_entry(z, "m/data/0", storage, sizeof storage);
    end_file(z, false);
    expect_wrong(z, "no data.pkl in it");
    mem_free(z);
}

/* One field of a good file changed. Places count from the end record, or from the first entry of the directory. */
static void damaged_directories(void **state) {
    (void)state;
    enum { FROM_END, FROM_ENTRY };
    static const struct { int from; size_t at; uint32_t value; size_t bytes; const char *expected; } cases[] = {
        {FROM_ENTRY, 10, 8, 2, "is compressed by method 8 (allowed: 0, stored"},
        {FROM_ENTRY, 8, 1, 2, "is encrypted"},
        {FROM_ENTRY, 20, 3, 4, "its two sizes differ"},
        {FROM_ENTRY, 42, 7, 4, "its header is not where the directory says"},
        {FROM_ENTRY, 42, 0xfffffff0, 4, "its header is not where"},
        {FROM_ENTRY, 42, 0xffffffff, 4, "said to be 64 bits wide and is not there"},
        {FROM_ENTRY, 28, 0xffff, 2, "reaches behind the directory"},
        {FROM_ENTRY, 0, 0, 4, "not an entry of the directory"},
        {FROM_END, 0, 0, 4, "no end record"},
        {FROM_END, 4, 1, 2, "several parts"},
        {FROM_END, 10, 0xffff, 2, "the directory does not fit"},
        {FROM_END, 10, 3, 2, "the directory does not fit"},
        {FROM_END, 10, 0, 2, "no entries"},
        {FROM_END, 12, 0xfffffff0, 4, "the directory does not fit"},
        {FROM_END, 16, 0xfffffff0, 4, "the directory does not fit"},
        {FROM_END, 20, 1, 2, "no end record"},
    };
    struct zip_file *z = mem_alloc(1, sizeof *z);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
        end_file(z, false);
        memcpy(z->data + (cases[i].from == FROM_END ? z->used - 22 : z->directory) + cases[i].at, &cases[i].value,
               cases[i].bytes);
        expect_wrong(z, cases[i].expected);
    }
    mem_free(z);
}

static void cut_anywhere(void **state) {
    (void)state;
    struct zip_file *z = mem_alloc(1, sizeof *z);
    for (int wide = 0; wide < 2; wide++) {
        make_file(z, PICKLE(BEGIN GOOD_TENSOR END));
        end_file(z, wide);
        for (size_t bytes = 0; bytes < z->used; bytes++) {
            struct weights *w = NULL;
            struct error e = {0};
            assert_int_equal(try_bytes(z->data, bytes, &w, &e), ERR_RUN);
        }
    }
    mem_free(z);
}

/* A real file with one to four damages: opens or says why, and never more. */
static void mutations(void **state) {
    (void)state;
    struct mapped_file f;
    struct error e = {0};
    char path[1200];
    size_t opened = 0, refused = 0;
    snprintf(path, sizeof path, "%s/pytorch_model.bin", golden_path("torch/analog-tiny"));
    must(map_file(path, &f, &e), &e);
    struct mutation m;
    mutation_init(&m, f.data, f.bytes, 12000); /* the pickle */
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct weights *w = NULL;
        mutation_next(&m, seed);
        const struct span s = {"FILE", m.data, m.bytes};
        e.message[0] = 0;
        if (weights_open_memory(&s, &w, &e) == OK) {
            opened++;
            for (size_t i = 0; i < weights_count(w); i++) {
                sum_of(weights_at(w, i));
            }
            weights_close(w);
        } else {
            refused++;
            assert_true(e.message[0] != 0);
        }
    }
    mutation_free(&m);
    unmap_file(&f);
    assert_true(opened > 10 && refused > 1000);
}

static void old_format(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    struct model *m = NULL;
    struct error e = {0};
    char path[1200];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *f = fopen(path, "wb");
    fputs("{\"model_type\": \"llama\"}", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", folder);
    f = fopen(path, "wb");
    fwrite("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 1, 15, f);
    fclose(f);
    assert_int_equal(model_open(folder, &m, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "pytorch_model.bin: offset 0: the format of torch before 1.6"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_file),
    cmocka_unit_test(shards),
    cmocka_unit_test(ranges_and_mapping),
    cmocka_unit_test(good_files),
    cmocka_unit_test(nothing_is_executed),
    cmocka_unit_test(settings_are_skipped),
    cmocka_unit_test(broken_machines),
    cmocka_unit_test(bombs),
    cmocka_unit_test(views),
    cmocka_unit_test(copies_are_bounded),
    cmocka_unit_test(zip_tricks),
    cmocka_unit_test(damaged_directories),
    cmocka_unit_test(cut_anywhere),
    cmocka_unit_test(mutations),
    cmocka_unit_test(old_format),
};
const struct test_suite suite_torch_files = {"torch_files", tests, sizeof tests / sizeof tests[0]};
