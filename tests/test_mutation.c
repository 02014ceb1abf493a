/* Damaged files, thousands of each format: whatever the bytes, a reader answers with a status and a message, reads no
 * byte that is not there, and frees what it took. `make asan` runs this under the sanitizers.
 * And: every single allocation of opening a model fails once.
 */
#include <string.h>

#include "base/io.h"
#include "models/files.h"
#include "tests/mutate.h"
#include "tests/suite.h"

/* Reads everything that a model would: all tensors, all texts, all numbers. */
static void read_tensors(const struct weights *w) {
    static float row[4096];
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        uint64_t rows = t->rank > 1 ? t->shape[0] : 1, row_bytes = rows ? t->bytes / rows : 0;
        struct error e = {0};
        assert_ptr_equal(weights_find(w, t->name), t);
        tensor_check_finite(t, &e);
        if (rows > 0 && row_bytes / tensor_block_bytes(t->type) * tensor_block_elements(t->type) <= 4096) {
            tensor_rows_f32(t, rows - 1, 1, row);
        }
    }
}

static void read_metadata(const struct gguf *g) {
    static const char *const arrays[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"};
    struct error e = {0};
    const char *text;
    size_t count, bytes, sum = 0;
    double *numbers, x;
    uint64_t n;
    bool found;
    for (size_t a = 0; a < 2; a++) {
        if (gguf_get_text_array(g, arrays[a], &count, &found, &e) == OK && found) {
            for (size_t i = 0; i < count; i++) {
                gguf_text_at(g, arrays[a], i, &text, &bytes);
                sum += bytes ? (unsigned char)text[bytes - 1] : 0;
            }
        }
    }
    if (gguf_get_numbers(g, "tokenizer.ggml.token_type", &numbers, &count, &found, &e) == OK && found) {
        mem_free(numbers);
    }
    gguf_get_u64(g, "llama.block_count", &n, &found, &e);
    gguf_get_f64(g, "llama.rope.freq_base", &x, &found, &e);
    assert_true(sum < SIZE_MAX);
}

struct tally {
    size_t opened, refused;
};

static void open_damaged(const struct mutation *m, struct tally *tally) {
    const struct span s = {"damaged", m->data, m->bytes};
    struct weights *w = NULL;
    struct error e = {0};
    if (weights_open_memory(&s, &w, &e) == OK) {
        read_tensors(w);
        if (weights_gguf(w)) {
            read_metadata(weights_gguf(w));
        }
        weights_close(w);
        tally->opened++;
        return;
    }
    assert_null(w);
    assert_int_equal(e.status, ERR_RUN);
    assert_ptr_equal(strstr(e.message, "damaged:"), e.message); /* says where */
    tally->refused++;
}

/* window: length of the header, where damage matters. */
static void damage_file(const char *path, size_t window, uint64_t times) {
    struct mapped_file f;
    struct mutation m;
    struct tally tally = {0, 0};
    struct error e = {0};
    assert_int_equal(map_file(path, &f, &e), OK);
    mutation_init(&m, f.data, f.bytes, window);
    for (uint64_t seed = 0; seed < times; seed++) {
        mutation_next(&m, seed);
        open_damaged(&m, &tally);
    }
    mutation_free(&m);
    unmap_file(&f);
    /* Both ways are walked: most damage is refused, some leaves a file that opens. */
    assert_true(tally.refused > times / 2);
    assert_true(tally.opened > 0);
}

static void safetensors_survives(void **state) {
    (void)state;
    damage_file(golden_path("models/llama3-tiny/model.safetensors"), 8 + 3016, 3000);
}

static void gguf_survives(void **state) {
    (void)state;
    damage_file(golden_path("gguf/qwen2-tiny-f16.gguf"), 8320, 3000);
    damage_file(golden_path("gguf/llama3-tiny-mixed.gguf"), 9664, 3000);
}

static void json_survives(void **state) {
    (void)state;
    struct mapped_file f;
    struct mutation m;
    struct error e = {0};
    size_t refused = 0;
    assert_int_equal(map_file(golden_path("models/llama-untied-tiny/model.safetensors.index.json"), &f, &e), OK);
    mutation_init(&m, f.data, f.bytes, f.bytes);
    for (uint64_t seed = 0; seed < 3000; seed++) {
        json_t *json = NULL;
        mutation_next(&m, seed);
        if (json_parse_checked((const char *)m.data, m.bytes, "damaged", &json, &e) != OK) {
            assert_ptr_equal(strstr(e.message, "damaged:"), e.message);
            refused++;
        }
        json_decref(json);
    }
    assert_true(refused > 1000);
    mutation_free(&m);
    unmap_file(&f);
}

/* ---- memory runs out ---------------------------------------------------------------------------------------- */

static void fail_each_allocation(const char *path) {
    struct weights *w = NULL;
    struct error e = {0};
    size_t before = mem_allocations();
    assert_int_equal(weights_open(path, &w, &e), OK);
    size_t needed = mem_allocations() - before;
    weights_close(w);
    assert_true(needed > 5);
    for (size_t n = 1; n <= needed; n++) {
        w = NULL;
        e.message[0] = 0;
        mem_fail_at(n);
        enum status s = weights_open(path, &w, &e);
        mem_fail_at(0);
        assert_int_equal(s, ERR_RUN);
        assert_null(w);
        if (!strstr(e.message, "out of memory")) {
            fail_msg("allocation %zu of %zu: message is \"%s\"", n, needed, e.message);
        }
    }
}

static void allocations_fail(void **state) {
    (void)state;
    fail_each_allocation(golden_path("models/llama3-tiny"));
    fail_each_allocation(golden_path("models/llama-untied-tiny"));
    fail_each_allocation(golden_path("gguf/llama3-tiny-mixed.gguf"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(safetensors_survives),
    cmocka_unit_test(gguf_survives),
    cmocka_unit_test(json_survives),
    cmocka_unit_test(allocations_fail),
};
const struct test_suite suite_mutation = {"mutation", tests, sizeof tests / sizeof tests[0]};
