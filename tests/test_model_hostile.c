/* Model folders with something wrong: each gives one error that names the file and the key or tensor, and says what is
 * allowed or expected. The folders are copies of golden models with one change.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/io.h"
#include "tests/golden.h"
#include "tests/mutate.h"

/* ---- building a folder ------------------------------------------------------------------------ */

static void write_bytes(const char *folder, const char *name, const void *data, size_t bytes) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0) {
        fail_msg("%s: %s", path, strerror(errno));
    }
}

/* "-key" deletes, "key=JSON" sets; several separated by ';'. */
static void edit(json_t *map, const char *edits) {
    char copy[512];
    snprintf(copy, sizeof copy, "%s", edits);
    for (char *next, *one = copy; one && *one; one = next) {
        next = strchr(one, ';');
        if (next) {
            *next++ = 0;
        }
        char *equals = strchr(one, '=');
        if (*one == '-') {
            assert_int_equal(json_object_del(map, one + 1), 0);
        } else {
            *equals = 0;
            json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
            assert_non_null(value);
            json_object_set_new(map, one, value);
        }
    }
}

static void write_config(const char *source, const char *folder, const char *edits) {
    char path[1200];
    snprintf(path, sizeof path, "%s/config.json", source);
    json_t *config = load_json(path);
    edit(config, edits);
    char *text = json_dumps(config, JSON_INDENT(2));
    write_bytes(folder, "config.json", text, strlen(text));
    free(text);
    json_decref(config);
}

/* model.safetensors: 8 bytes of header length (little endian), JSON header, data. */
struct safetensors { char *bytes; size_t count; json_t *header; size_t data_at; };

static struct safetensors read_tensors(const char *source) {
    char path[1200];
    struct safetensors s = {NULL, 0, NULL, 0};
    struct error e;
    snprintf(path, sizeof path, "%s/model.safetensors", source);
    must(read_file(path, 1 << 24, &s.bytes, &s.count, &e), &e);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) {
        n = n << 8 | (unsigned char)s.bytes[i];
    }
    s.header = json_loadb(s.bytes + 8, (size_t)n, 0, NULL);
    assert_non_null(s.header);
    s.data_at = 8 + (size_t)n;
    return s;
}

static void write_tensors(const char *folder, struct safetensors *s) {
    char *header = json_dumps(s->header, JSON_COMPACT);
    size_t n = (strlen(header) + 7) / 8 * 8, data = s->count - s->data_at;
    char *file = mem_alloc(8 + n + data, 1);
    assert_non_null(file);
    for (int i = 0; i < 8; i++) {
        file[i] = (char)(n >> (8 * i));
    }
    memset(file + 8, ' ', n);
    memcpy(file + 8, header, strlen(header));
    memcpy(file + 8 + n, s->bytes + s->data_at, data);
    write_bytes(folder, "model.safetensors", file, 8 + n + data);
    mem_free(file);
    free(header);
    mem_free(s->bytes);
    json_decref(s->header);
}

static void expect_error(const char *path, const char *const *words, size_t count) {
    struct model *m = NULL;
    struct error e = {OK, ""};
    enum status status = model_open(path, &m, &e);
    if (status == OK) {
        model_close(m);
        fail_msg("%s opened, expected an error with '%s'", path, words[0]);
    }
    for (size_t i = 0; i < count && words[i]; i++) {
        if (!strstr(e.message, words[i])) {
            fail_msg("message '%s' does not say '%s'", e.message, words[i]);
        }
    }
}

/* ---- config.json ------------------------------------------------------------------------------ */

struct bad_config { const char *model, *edits, *words[3]; };

static const struct bad_config bad_configs[] = {
    {"llama3-tiny", "-model_type", {"config.json: model_type", "missing"}},
    {"llama3-tiny", "model_type=\"mamba\"", {"'mamba'", "llama", "gpt2"}},
    {"llama3-tiny", "model_type=7", {"model_type", "an integer", "text"}},
    {"llama3-tiny", "-hidden_size", {"config.json: hidden_size", "missing"}},
    {"llama3-tiny", "hidden_size=null", {"hidden_size", "missing"}},
    {"llama3-tiny", "hidden_size=0", {"hidden_size = 0", "allowed: 1 to"}},
    {"llama3-tiny", "hidden_size=\"64\"", {"hidden_size", "found text", "an integer"}},
    {"llama3-tiny", "hidden_size=64.5", {"hidden_size", "found a number", "an integer"}},
    {"llama3-tiny", "hidden_size=1000000000000", {"hidden_size = 1000000000000", "allowed"}},
    {"llama3-tiny", "hidden_size=9223372036854775807", {"hidden_size", "allowed"}},
    {"llama3-tiny", "num_hidden_layers=-1", {"num_hidden_layers = -1", "allowed"}},
    {"llama3-tiny", "num_hidden_layers=4", {"tensor model.layers.3.input_layernorm.weight", "missing"}},
    {"llama3-tiny", "num_hidden_layers=2", {"tensor model.layers.2.", "no place"}},
    {"llama3-tiny", "-num_attention_heads", {"num_attention_heads", "missing"}},
    {"llama3-tiny", "num_attention_heads=7", {"7 attention heads", "2 key/value heads"}},
    {"llama3-tiny", "num_attention_heads=7;-head_dim", {"64", "7 heads", "head_dim is missing"}},
    {"llama3-tiny", "head_dim=15", {"rotated", "even"}},
    {"llama3-tiny", "head_dim=4096;num_attention_heads=4096;num_key_value_heads=1", {"4096 heads of 4096 features"}},
    {"llama3-tiny",
     "vocab_size=385",
     {"tensor model.embed_tokens.weight", "found shape [384, 64]", "expected [385, 64]"}},
    {"llama3-tiny", "intermediate_size=161", {"gate_proj.weight", "[160, 64]", "[161, 64]"}},
    {"llama3-tiny", "-rms_norm_eps", {"rms_norm_eps", "missing"}},
    {"llama3-tiny", "rms_norm_eps=\"small\"", {"rms_norm_eps", "found text", "a number"}},
    {"llama3-tiny", "rms_norm_eps=-1", {"rms_norm_eps = -1", "allowed"}},
    {"llama3-tiny", "-max_position_embeddings", {"max_position_embeddings", "missing"}},
    {"llama3-tiny", "-hidden_act", {"hidden_act", "missing"}},
    {"llama3-tiny", "hidden_act=\"relu\"", {"hidden_act = relu", "allowed: silu"}},
    {"llama3-tiny", "rope_theta=0", {"rope_theta = 0", "allowed"}},
    {"llama3-tiny", "rope_scaling={\"rope_type\":\"yarn\",\"factor\":4}", {"rope_scaling: rope_type = yarn", "llama3"}},
    {"llama3-tiny", "rope_scaling={\"type\":\"linear\"}", {"rope_scaling: factor", "missing"}},
    {"llama3-tiny", "rope_scaling=[1]", {"rope_scaling", "found a list", "a map"}},
    {"llama3-tiny", "attention_bias=true", {"self_attn.q_proj.bias", "missing"}},
    {"llama3-tiny", "attention_bias=1", {"attention_bias", "true or false"}},
    {"llama3-tiny", "tie_word_embeddings=false", {"tensor lm_head.weight", "missing"}},
    {"llama3-tiny", "eos_token_id=[2,384]", {"eos_token_id", "0 to 383"}},
    {"llama3-tiny", "bos_token_id=384", {"bos_token_id = 384", "0 to 383"}},
    {"qwen2-tiny", "use_sliding_window=true", {"sliding_window", "missing"}},
    {"mistral-tiny", "sliding_window=0", {"sliding_window = 0", "allowed: 1"}},
    {"gemma2-tiny", "layer_types=[\"full_attention\"]", {"layer_types", "3 names"}},
    {"gemma2-tiny",
     "layer_types=[\"full_attention\",\"chunked\",\"full_attention\"]",
     {"layer_types[1] = chunked", "sliding_attention"}},
    {"gemma2-tiny", "-query_pre_attn_scalar", {"query_pre_attn_scalar", "missing"}},
    {"phi3-longrope-tiny",
     "rope_scaling={\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}",
     {"short_factor", "found 1", "expected 8"}},
    {"phi3-longrope-tiny", "-original_max_position_embeddings", {"original_max_position_embeddings", "missing"}},
    {"phi3-longrope-tiny",
     "rope_scaling={\"type\":\"longrope\",\"short_factor\":[1,1,1,1,1,1,1,0],\"long_factor\":[1]}",
     {"short_factor[7]", "1e-6"}},
    {"phi3-longrope-tiny", "partial_rotary_factor=1.5", {"partial_rotary_factor = 1.5", "allowed"}},
    {"gpt2-tiny", "n_head=5", {"n_embd = 64", "n_head = 5"}},
    {"gpt2-tiny", "scale_attn_weights=false", {"scale_attn_weights = false", "allowed: true"}},
    {"gpt2-tiny", "activation_function=\"relu\"", {"activation_function = relu", "gelu_new"}},
    {"gpt2-tiny", "n_positions=65", {"wpe.weight", "[64, 64]", "[65, 64]"}},
};

static void configs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_configs / sizeof bad_configs[0]; i++) {
        const struct bad_config *c = &bad_configs[i];
        char golden[256];
        snprintf(golden, sizeof golden, "models/%s", c->model);
        const char *source = golden_path(golden), *folder = scratch_directory();
        struct safetensors s = read_tensors(source);
        write_tensors(folder, &s);
        write_config(source, folder, c->edits);
        expect_error(folder, c->words, 3);
    }
}

static void configs_that_are_no_maps(void **state) {
    (void)state;
    const char *source = golden_path("models/llama3-tiny"), *folder = scratch_directory();
    struct safetensors s = read_tensors(source);
    write_tensors(folder, &s);
    write_bytes(folder, "config.json", "[1, 2]", 6);
    expect_error(folder, (const char *const[]){"config.json"}, 1);
    write_bytes(folder, "config.json", "{\"model_type\": ", 15);
    expect_error(folder, (const char *const[]){"config.json"}, 1);
}

/* ---- tensors ---------------------------------------------------------------------------------- */

enum { DOWN_BYTES = 2 * 64 * 160 };

static size_t data_offset(const struct safetensors *s, const char *name) {
    const json_t *offsets = json_object_get(json_object_get(s->header, name), "data_offsets");
    assert_non_null(offsets);
    return s->data_at + (size_t)json_integer_value(json_array_get(offsets, 0));
}

static const char down[] = "model.layers.1.mlp.down_proj.weight";

static void rename_tensor(struct safetensors *s) {
    json_t *t = json_incref(json_object_get(s->header, down));
    json_object_del(s->header, down);
    json_object_set_new(s->header, "model.layers.1.mlp.down.weight", t);
}
static void swap_shape(struct safetensors *s) {
    json_object_set_new(json_object_get(s->header, down), "shape", json_pack("[i,i]", 160, 64));
}
static void flatten_shape(struct safetensors *s) {
    json_object_set_new(json_object_get(s->header, down), "shape", json_pack("[i]", 160 * 64));
}
static void make_nan(struct safetensors *s) { /* bf16 0x7fc0, little endian */
    memcpy(s->bytes + data_offset(s, down) + 2 * 77, "\xc0\x7f", 2);
}
static void make_infinite(struct safetensors *s) {
    memcpy(s->bytes + data_offset(s, "model.norm.weight") + 2 * 5, "\x80\xff", 2);
}
static void add_bias(struct safetensors *s) {
    json_object_set(s->header, "model.layers.1.mlp.down_proj.bias", json_object_get(s->header, "model.norm.weight"));
}

static void tensors(void **state) {
    (void)state;
    static const struct { void (*change)(struct safetensors *s); const char *words[3]; } cases[] = {
        {rename_tensor, {"model.layers.1.mlp.down_proj.weight", "missing"}},
        {swap_shape, {"model.layers.1.mlp.down_proj.weight", "found shape [160, 64]", "expected [64, 160]"}},
        {flatten_shape, {"model.layers.1.mlp.down_proj.weight", "found shape [10240]", "expected [64, 160]"}},
        {make_nan, {"model.layers.1.mlp.down_proj.weight", "77"}},
        {make_infinite, {"model.norm.weight", "5"}},
        {add_bias, {"model.layers.1.mlp.down_proj.bias"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *source = golden_path("models/llama3-tiny"), *folder = scratch_directory();
        struct safetensors s = read_tensors(source);
        cases[i].change(&s);
        write_tensors(folder, &s);
        write_config(source, folder, "");
        expect_error(folder, cases[i].words, 3);
    }
}

/* ---- damaged config.json, and weights that overflow -------------------------------------------- */

static enum status try_three_ids(struct model *m, struct error *e) {
    struct session *s = NULL;
    const float *logits;
    int32_t ids[3] = {0, 0, 0};
    uint32_t context = model_shape(m)->context < 3 ? model_shape(m)->context : 3;
    enum status status = session_create(m, &(struct session_options){.context = context}, &s, e);
    if (status == OK) {
        status = session_forward(s, ids, context, LOGITS_ALL, &logits, e);
    }
    session_destroy(s);
    return status;
}

/* Writes damaged copies of `original` as folder/file and opens `model_path`: it runs, or an error says why not. */
static void damage(const void *original, size_t bytes, size_t window, const char *folder, const char *file,
                   const char *model_path, uint64_t copies) {
    size_t refused = 0;
    struct mutation m;
    mutation_init(&m, original, bytes, window);
    for (uint64_t seed = 0; seed < copies; seed++) {
        struct model *model = NULL;
        struct error e = {OK, ""};
        mutation_next(&m, seed);
        write_bytes(folder, file, m.data, m.bytes);
        enum status status = model_open(model_path, &model, &e);
        if (status == OK) {
            status = try_three_ids(model, &e);
        }
        assert_true(status == OK || e.message[0]);
        refused += status != OK;
        model_close(model);
    }
    assert_true(refused > copies / 4 && refused < copies); /* both ways are walked */
    mutation_free(&m);
}

static void damage_config(const char *name, uint64_t copies) {
    char path[1200];
    const char *source = golden_path(name), *folder = scratch_directory();
    struct safetensors s = read_tensors(source);
    write_tensors(folder, &s);
    char *text;
    size_t bytes;
    struct error e = {OK, ""};
    snprintf(path, sizeof path, "%s/config.json", source);
    must(read_file(path, 1 << 20, &text, &bytes, &e), &e);
    damage(text, bytes, bytes, folder, "config.json", folder, copies);
    mem_free(text);
}

/* The same with the header of a GGUF file, which holds shape, vocabulary and tensors. */
static void damage_gguf(const char *name, size_t window, uint64_t copies) {
    char path[1200];
    const char *folder = scratch_directory();
    struct mapped_file f;
    struct error e = {OK, ""};
    must(map_file(golden_path(name), &f, &e), &e);
    snprintf(path, sizeof path, "%s/damaged.gguf", folder);
    damage(f.data, f.bytes, window, folder, "damaged.gguf", path, copies);
    unmap_file(&f);
}

/* An error lists the keys that there are, as far as 299 characters go, whatever their lengths. */
static void keys_that_fill_the_message(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    struct safetensors s = read_tensors(golden_path("models/llama3-tiny"));
    write_tensors(folder, &s);
    for (int second = 150; second <= 200; second++) {
        char text[512], first[101], rest[201];
        struct model *model = NULL;
        struct error e = {OK, ""};
        memset(first, 'a', 100);
        memset(rest, 'b', sizeof rest);
        first[100] = rest[second] = '\0';
        int bytes = snprintf(text, sizeof text, "{\"architectures\": [\"LlamaForCausalLM\"], \"%s\": 1, \"%s\": 1, "
                                                "\"c\": 1}", first, rest);
        write_bytes(folder, "config.json", text, (size_t)bytes);
        assert_int_equal(model_open(folder, &model, &e), ERR_RUN);
        const char *list = strstr(e.message, "(found: ");
        assert_non_null(list);
        assert_true(strlen(list + strlen("(found: ")) <= 300); /* and the bracket */
    }
}

static void damaged_configs(void **state) {
    (void)state;
    damage_config("models/llama3-tiny", 800);
    damage_config("models/phi3-longrope-tiny", 800);
    damage_config("models/gemma2-tiny", 800);
    damage_config("models/gpt2-tiny", 800);
}

static void damaged_gguf(void **state) {
    (void)state;
    damage_gguf("gguf/llama3-tiny-mixed.gguf", 9664, 600);
    damage_gguf("gguf/qwen2-tiny-f16.gguf", 8320, 600);
}

/* Finite weights, but their products are not: no logits that mean nothing. */
static void weights_that_overflow(void **state) {
    (void)state;
    const char *source = golden_path("models/llama3-tiny"), *folder = scratch_directory();
    struct safetensors s = read_tensors(source);
    for (size_t i = 0; i < 64; i++) { /* bf16 0x7f7f: 3.4e38 */
        memcpy(s.bytes + data_offset(&s, "model.norm.weight") + 2 * i, "\x7f\x7f", 2);
    }
    write_tensors(folder, &s);
    write_config(source, folder, "");
    struct model *m = open_model(folder);
    struct error e = {OK, ""};
    assert_int_equal(try_three_ids(m, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "position 0"));
    assert_non_null(strstr(e.message, "not finite"));
    model_close(m);
}

/* The unchanged copy opens: the builder itself is sound. */
static void unchanged_copies_open(void **state) {
    (void)state;
    const char *source = golden_path("models/llama3-tiny"), *folder = scratch_directory();
    struct safetensors s = read_tensors(source);
    write_tensors(folder, &s);
    write_config(source, folder, "");
    struct model *m = open_model(folder);
    assert_int_equal(model_shape(m)->layers, 3);
    assert_string_equal(model_shape(m)->family, "llama");
    assert_true(model_is_end(m, 2) && model_is_end(m, 3) && !model_is_end(m, 4));
    assert_int_equal(model_bos(m), 1);
    assert_null(model_tokenizer(m));
    model_close(m);
}

static void names_that_are_nothing(void **state) {
    (void)state;
    expect_error("no-such-model", (const char *const[]){"no-such-model"}, 1);
    expect_error("/no/such/folder", (const char *const[]){"/no/such/folder"}, 1);
}

/* ---- out of memory ---------------------------------------------------------------------------- */

/* Every allocation of opening and of a session fails once: an error each time, nothing leaks (sanitizer builds). */
static void allocations_that_fail(void **state) {
    (void)state;
    const char *source = golden_path("models/phi3-longrope-tiny");
    size_t failed = 0;
    bool opened = false;
    for (size_t n = 1; !opened; n++) {
        struct model *m = NULL;
        struct session *s = NULL;
        struct error e;
        assert_true(n < 2000);
        mem_fail_at(n);
        enum status status = model_open(source, &m, &e);
        if (status == OK) {
            status = session_create(m, &(struct session_options){.context = 32}, &s, &e);
        }
        mem_fail_at(0);
        opened = status == OK;
        failed += !opened;
        session_destroy(s);
        model_close(m);
    }
    assert_true(failed > 15);
}

/* ---- calls of a session ----------------------------------------------------------------------- */

static void expect_refused(enum status status, const struct error *e, const char *word) {
    assert_int_equal(status, ERR_USAGE);
    assert_non_null(strstr(e->message, word));
    assert_non_null(strstr(e->message, "allowed"));
}

static void sessions(void **state) {
    (void)state;
    struct model *m = open_model(golden_path("models/gpt2-tiny"));
    struct session *s = NULL;
    struct error e;
    const float *logits;
    int32_t ids[64] = {1, 2, 3};
    expect_refused(session_create(m, &(struct session_options){.context = 65}, &s, &e), &e, "65 positions");
    s = new_session(m, (struct session_options){.context = 8, .max_batch = 4});
    expect_refused(session_forward(s, ids, 0, LOGITS_LAST, &logits, &e), &e, "no ids");
    expect_refused(session_forward(s, ids, 9, LOGITS_LAST, &logits, &e), &e, "context is full");
    expect_refused(session_forward(s, ids, 5, LOGITS_ALL, &logits, &e), &e, "1 to 4");
    ids[2] = 320;
    expect_refused(session_forward(s, ids, 3, LOGITS_LAST, &logits, &e), &e, "id 320 at index 2");
    ids[2] = -1;
    expect_refused(session_forward(s, ids, 3, LOGITS_LAST, &logits, &e), &e, "id -1 at index 2");
    assert_int_equal(session_position(s), 0);
    ids[2] = 319;
    must(session_forward(s, ids, 8, LOGITS_LAST, &logits, &e), &e);
    expect_refused(session_forward(s, ids, 1, LOGITS_LAST, &logits, &e), &e, "after position 8");
    session_destroy(s);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(configs),
    cmocka_unit_test(configs_that_are_no_maps),
    cmocka_unit_test(tensors),
    cmocka_unit_test(unchanged_copies_open),
    cmocka_unit_test(names_that_are_nothing),
    cmocka_unit_test(allocations_that_fail),
    cmocka_unit_test(sessions),
    cmocka_unit_test(keys_that_fill_the_message),
    cmocka_unit_test(damaged_configs),
    cmocka_unit_test(damaged_gguf),
    cmocka_unit_test(weights_that_overflow),
};

const struct test_suite suite_model_hostile = {"model_hostile", tests, sizeof tests / sizeof tests[0]};
