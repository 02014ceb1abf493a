/* Model files: what is inside good ones. Values of quantised blocks, names, types and shapes, metadata, shards.
 * Damaged files: test_hostile_files.c and test_mutation.c.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "models/files.h"
#include "tests/suite.h"

static struct weights *open_good(const char *path) {
    struct weights *w = NULL;
    struct error e = {0};
    if (weights_open(path, &w, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return w;
}

/* ---- values -------------------------------------------------------------------------------------------- */

/* Against the definition of binary16, for every code. */
static void half_is_exact(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 65536; code++) {
        int exponent = (int)(code >> 10 & 31), mantissa = (int)(code & 1023);
        float sign = code >> 15 ? -1.0f : 1.0f, value = f32_of_f16((uint16_t)code);
        if (exponent == 31) {
            assert_true(mantissa ? isnan(value) : isinf(value) && (value < 0) == (code >> 15));
        } else {
            float expected = exponent ? ldexpf((float)(1024 + mantissa), exponent - 25) : ldexpf((float)mantissa, -24);
            assert_true(value == sign * expected);
            assert_int_equal(signbit(value) != 0, code >> 15);
        }
    }
}

/* Steps between two floats of the same sign; 0 when equal. */
static uint32_t ulps(float a, float b) {
    int32_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    if (a == b) {
        return 0;
    }
    return (x < 0) != (y < 0) ? UINT32_MAX : (uint32_t)(x > y ? x - y : y - x);
}

/* The blocks of golden/gguf_dequant, from an odd address too. Tolerance: 1 ulp of fp32, the bound of the issue. */
static void check_golden_blocks(enum tensor_type t) {
    char name[64];
    struct error e = {0};
    char *blocks, *values;
    size_t bytes, expected_bytes;
    snprintf(name, sizeof name, "gguf_dequant/%s.bin", tensor_type_name(t));
    assert_int_equal(read_file(golden_path(name), 1 << 20, &blocks, &bytes, &e), OK);
    snprintf(name, sizeof name, "gguf_dequant/%s.f32.bin", tensor_type_name(t));
    assert_int_equal(read_file(golden_path(name), 1 << 20, &values, &expected_bytes, &e), OK);
    size_t count = bytes / tensor_block_bytes(t) * tensor_block_elements(t);
    assert_int_equal(count * 4, expected_bytes);
    float *out = mem_alloc(count + 1, sizeof *out);
    uint8_t *shifted = mem_alloc(bytes + 1, 1);
    memcpy(shifted + 1, blocks, bytes);
    out[count] = 12345.0f;
    tensor_dequantise(t, shifted + 1, count, out);
    assert_true(out[count] == 12345.0f); /* nothing written behind the end */
    for (size_t i = 0; i < count; i++) {
        float expected;
        memcpy(&expected, values + 4 * i, 4);
        if (ulps(out[i], expected) > 1) {
            fail_msg("%s: element %zu is %.9g, expected %.9g", tensor_type_name(t), i, (double)out[i],
                     (double)expected);
        }
    }
    mem_free(shifted);
    mem_free(out);
    mem_free(values);
    mem_free(blocks);
}

static void golden_blocks(void **state) {
    (void)state;
    golden_path("gguf_dequant.json");
    for (int t = TENSOR_F16; t < TENSOR_TYPES; t++) {
        check_golden_blocks((enum tensor_type)t);
    }
}

/* FNV-1a of the decoded values of a codebook; expected values from the arrays of the `gguf` Python package 0.19.0. */
static uint64_t hash_grid(const uint16_t *grid, size_t entries, int values, int bits, const uint8_t *levels) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < entries * (size_t)values; i++) {
        unsigned code = (unsigned)grid[i / (size_t)values] >> (i % (size_t)values * (size_t)bits) & ((1u << bits) - 1);
        hash = (hash ^ levels[code]) * 0x100000001b3u;
    }
    return hash;
}

static void codebooks_hold(void **state) {
    (void)state;
    const uint8_t iq2[4] = {8, 25, 43, 0}, xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62}, s[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    assert_true(hash_grid(iq2_xxs_grid, 256, 8, 2, iq2) == 0xbb4ee025b5ac6e8eu);
    assert_true(hash_grid(iq2_xs_grid, 512, 8, 2, iq2) == 0xc9b1ee61e79909bdu);
    assert_true(hash_grid(iq3_xxs_grid, 256, 4, 3, xxs) == 0xdfa5dc83d6a155d5u);
    assert_true(hash_grid(iq3_s_grid, 512, 4, 3, s) == 0xfa37020c25b44829u);
}

/* ---- whole models ---------------------------------------------------------------------------------------- */

static uint64_t rows_of(const struct tensor *t) { return t->rank > 1 ? t->shape[0] : 1; }

/* Sum of |x| over all elements of a tensor, row by row; also counts the elements. */
static double sum_of_tensor(const struct tensor *t, uint64_t *elements) {
    uint64_t count = 1, rows = rows_of(t);
    double sum = 0;
    for (int i = 0; i < t->rank; i++) {
        count *= t->shape[i];
    }
    float *row = mem_alloc((size_t)(count / rows), sizeof *row);
    for (uint64_t r = 0; r < rows; r++) {
        tensor_rows_f32(t, r, 1, row);
        for (uint64_t i = 0; i < count / rows; i++) {
            sum += fabs((double)row[i]);
        }
    }
    mem_free(row);
    *elements += count;
    return sum;
}

/* Counts and sums by numpy (and the `gguf` package) from the same files. Sum: 9 digits were written. */
static const struct {
    const char *path;
    size_t tensors;
    uint64_t elements;
    double sum;
    const char *matrix; /* name, type and shape of one matrix */
    enum tensor_type type;
    uint64_t rows, columns;
} models[] = {
    {"models/gemma2-tiny", 35, 131904, 16095.2561, "model.layers.0.self_attn.k_proj.weight", TENSOR_BF16, 32, 64},
    {"models/gpt2-tiny", 40, 174656, 23739.3456, "transformer.h.0.attn.c_attn.weight", TENSOR_F16, 64, 192},
    {"models/llama-untied-tiny", 35, 91456, 13610.0188, "model.layers.0.mlp.down_proj.weight", TENSOR_F32, 64, 96},
    {"models/llama3-tiny", 29, 178624, 24651.9118, "model.embed_tokens.weight", TENSOR_BF16, 384, 64},
    {"models/mistral-tiny", 30, 146880, 21916.5618, "model.layers.0.mlp.down_proj.weight", TENSOR_BF16, 64, 144},
    {"models/phi3-longrope-tiny", 15, 106816, 15955.8264, "model.layers.0.self_attn.qkv_proj.weight", TENSOR_BF16, 192,
     64},
    {"models/phi3-tiny", 21, 143808, 21574.1507, "model.layers.0.self_attn.qkv_proj.weight", TENSOR_BF16, 128, 64},
    {"models/qwen2-tiny", 38, 131904, 18619.4931, "model.embed_tokens.weight", TENSOR_F16, 320, 64},
    {"models/qwen3-tiny", 35, 168480, 23063.0744, "model.layers.0.self_attn.q_proj.weight", TENSOR_BF16, 128, 64},
    {"gguf/llama3-tiny-mixed.gguf", 30, 178632, 24845.1453, "blk.0.attn_k.weight", TENSOR_Q5_1, 32, 64},
    {"gguf/qwen2-tiny-f16.gguf", 38, 131904, 18619.4931, "token_embd.weight", TENSOR_F16, 320, 64},
};

static void golden_models(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        struct weights *w = open_good(golden_path(models[m].path));
        assert_int_equal(weights_count(w), models[m].tensors);
        double sum = 0;
        uint64_t elements = 0;
        for (size_t i = 0; i < weights_count(w); i++) {
            const struct tensor *t = weights_at(w, i);
            struct error e = {0};
            assert_ptr_equal(weights_find(w, t->name), t);
            assert_int_equal(tensor_check_finite(t, &e), OK);
            sum += sum_of_tensor(t, &elements);
        }
        assert_int_equal(elements, models[m].elements);
        assert_near(sum, models[m].sum, 1e-8 * models[m].sum);
        const struct tensor *t = weights_find(w, models[m].matrix);
        assert_non_null(t);
        assert_int_equal(t->type, models[m].type);
        assert_int_equal(t->rank, 2);
        assert_int_equal(t->shape[0], models[m].rows);
        assert_int_equal(t->shape[1], models[m].columns);
        assert_null(weights_find(w, "model.embed_tokens.weigh"));
        assert_null(weights_find(w, ""));
        assert_int_equal(weights_is_gguf(w), strstr(models[m].path, ".gguf") != NULL);
        assert_true((weights_config(w) == NULL) == weights_is_gguf(w));
        weights_close(w);
    }
}

/* Several rows at once are the rows one by one; a vector is one row. */
static void rows_are_rows(void **state) {
    (void)state;
    struct weights *w = open_good(golden_path("gguf/llama3-tiny-mixed.gguf"));
    const struct tensor *t = weights_find(w, "blk.0.attn_k.weight"), *vector = weights_find(w, "output_norm.weight");
    float many[3 * 64], one[64], scale[64];
    tensor_rows_f32(t, 5, 3, many);
    for (uint64_t r = 0; r < 3; r++) {
        tensor_rows_f32(t, 5 + r, 1, one);
        assert_memory_equal(one, many + 64 * r, sizeof one);
    }
    tensor_rows_f32(t, 31, 1, one); /* the last row is there */
    assert_int_equal(vector->rank, 1);
    tensor_rows_f32(vector, 0, 1, scale);
    assert_memory_equal(scale, vector->data, sizeof scale);
    weights_close(w);
}

static void shards_together(void **state) {
    (void)state;
    struct weights *w = open_good(golden_path("models/llama-untied-tiny"));
    const struct tensor *head = weights_find(w, "lm_head.weight");
    assert_non_null(head); /* in the second file */
    assert_non_null(weights_find(w, "model.embed_tokens.weight"));
    assert_int_equal(json_integer_value(json_object_get(weights_config(w), "hidden_size")), 64);
    weights_close(w);
}

static void real_models(void **state) {
    (void)state;
    struct weights *w = open_good(shared_path("models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"));
    assert_int_equal(weights_count(w), 272);
    struct error e = {0};
    for (size_t i = 0; i < weights_count(w); i++) {
        assert_int_equal(tensor_check_finite(weights_at(w, i), &e), OK);
    }
    const struct tensor *t = weights_find(w, "token_embd.weight");
    assert_int_equal(t->type, TENSOR_Q8_0);
    assert_int_equal(t->shape[0], 49152);
    assert_int_equal(t->shape[1], 576);
    weights_close(w);
    w = open_good(shared_path("models/stories260K"));
    assert_int_equal(weights_find(w, "model.embed_tokens.weight")->shape[0], 512);
    weights_close(w);
}

/* ---- metadata ---------------------------------------------------------------------------------------------- */

static void text_equals(const struct gguf *g, const char *key, size_t i, const char *expected) {
    const char *text;
    size_t bytes;
    gguf_text_at(g, key, i, &text, &bytes);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes);
}

static void metadata_by_type(void **state) {
    (void)state;
    struct weights *w = open_good(golden_path("gguf/llama3-tiny-mixed.gguf"));
    const struct gguf *g = weights_gguf(w);
    struct error e = {0};
    uint64_t n = 0;
    double x = 0, *numbers;
    bool flag = false, found = true;
    size_t count = 0, bytes;
    const char *text;
    assert_int_equal(gguf_get_u64(g, "llama.feed_forward_length", &n, NULL, &e), OK);
    assert_int_equal(n, 160);
    assert_int_equal(gguf_get_f64(g, "llama.rope.freq_base", &x, &found, &e), OK);
    assert_true(found && x == 500000.0);
    assert_int_equal(gguf_get_f64(g, "llama.block_count", &x, &found, &e), OK); /* an integer is a number */
    assert_true(x == 3.0);
    assert_int_equal(gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &flag, NULL, &e), OK);
    assert_true(flag);
    assert_int_equal(gguf_get_text(g, "general.architecture", &text, &bytes, NULL, &e), OK);
    assert_true(bytes == 5 && memcmp(text, "llama", 5) == 0);
    assert_int_equal(gguf_get_text_array(g, "tokenizer.ggml.tokens", &count, NULL, &e), OK);
    assert_int_equal(count, 384);
    text_equals(g, "tokenizer.ggml.tokens", 0, "<unk>");
    text_equals(g, "tokenizer.ggml.tokens", 383, "ain");
    text_equals(g, "tokenizer.ggml.merges", 123, "a in");
    assert_int_equal(gguf_get_numbers(g, "tokenizer.ggml.token_type", &numbers, &count, NULL, &e), OK);
    assert_true(count == 384 && numbers[0] == 3 && numbers[383] == 1);
    mem_free(numbers);
    assert_int_equal(gguf_get_u64(g, "no.such.key", &n, &found, &e), OK);
    assert_false(found);
    weights_close(w);
}

/* The message names key, found and expected type. */
static void metadata_of_wrong_type(void **state) {
    (void)state;
    struct weights *w = open_good(golden_path("gguf/llama3-tiny-mixed.gguf"));
    const struct gguf *g = weights_gguf(w);
    struct error e = {0};
    uint64_t n;
    double x, *numbers;
    bool flag;
    size_t count;
    const char *text;
    assert_int_equal(gguf_get_u64(g, "no.such.key", &n, NULL, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "no.such.key: missing"));
    assert_int_equal(gguf_get_u64(g, "general.name", &n, NULL, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "key general.name: is text (allowed: an integer)"));
    assert_int_equal(gguf_get_u64(g, "llama.rope.freq_base", &n, NULL, &e), ERR_RUN);
    assert_int_equal(gguf_get_f64(g, "tokenizer.ggml.tokens", &x, NULL, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "is array of text (allowed: a number)"));
    assert_int_equal(gguf_get_bool(g, "llama.block_count", &flag, NULL, &e), ERR_RUN);
    assert_int_equal(gguf_get_text(g, "llama.block_count", &text, &count, NULL, &e), ERR_RUN);
    assert_int_equal(gguf_get_text_array(g, "tokenizer.ggml.token_type", &count, NULL, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "is array of i32 (allowed: array of text)"));
    assert_int_equal(gguf_get_numbers(g, "tokenizer.ggml.tokens", &numbers, &count, NULL, &e), ERR_RUN);
    assert_int_equal(gguf_get_numbers(g, "llama.block_count", &numbers, &count, NULL, &e), ERR_RUN);
    weights_close(w);
}

static void vocabulary_alone(void **state) {
    (void)state;
    struct weights *w = open_good(shared_path("tokenizers/ggml-vocab-llama-spm.gguf"));
    struct error e = {0};
    double *scores;
    size_t count;
    assert_int_equal(weights_count(w), 0);
    assert_null(weights_find(w, "token_embd.weight"));
    text_equals(weights_gguf(w), "tokenizer.ggml.tokens", 300, "et");
    assert_int_equal(gguf_get_numbers(weights_gguf(w), "tokenizer.ggml.scores", &scores, &count, NULL, &e), OK);
    assert_true(count == 32000 && scores[300] == -41.0 && scores[31999] == -31740.0);
    mem_free(scores);
    weights_close(w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(half_is_exact),    cmocka_unit_test(golden_blocks),    cmocka_unit_test(codebooks_hold),
    cmocka_unit_test(golden_models),    cmocka_unit_test(rows_are_rows),    cmocka_unit_test(shards_together),
    cmocka_unit_test(real_models),      cmocka_unit_test(metadata_by_type), cmocka_unit_test(metadata_of_wrong_type),
    cmocka_unit_test(vocabulary_alone),
};
const struct test_suite suite_weights = {"weights", tests, sizeof tests / sizeof tests[0]};
