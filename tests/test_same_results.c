/* What must not change a result: the number of threads, the way a configuration was given, the arithmetic kernel. And
 * what is the same for every subcommand: --json, --quiet, --threads, --seed. Runs the program itself, on the bundled
 * model.
 *
 * Threads and configurations: the same bytes. Kernels: programmed conductances and integer products are the same bits
 * (test_devices, test_multiply), floating sums differ in their last bits (bounds in base/kernels.h). Two bounds follow:
 *   without converters  logits within 1e-4 x max(1, largest logit), as between chip `ideal` and the digital reference
 *   with converters     a value on the edge between two codes may fall to either side, and the difference of one step
 *                       travels through the layers behind it; text the same here, energy within 0.2 %, what is counted
 *                       alike
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "tests/files.h"

static char *text_of(json_t *root) {
    json_object_del(root, "host");
    char *text = json_dumps(root, JSON_REAL_PRECISION(17) | JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

enum { ARGS = 24 };

/* `args` with more words behind. */
static json_t *json_with(const char *const *args, const char *const *more) {
    const char *all[ARGS + 1] = {NULL};
    size_t n = 0;
    for (; args[n]; n++) {
        all[n] = args[n];
    }
    for (size_t i = 0; more[i] && n < ARGS; i++) {
        all[n++] = more[i];
    }
    return mho_json(all);
}

static const char *write_file(const char *name, const char *text) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s", scratch_directory(), name);
    write_text(path, text);
    return path;
}

/* The same bytes for 1, 2 and 7 threads, and from the effective configuration that the first run printed. */
static void expect_same(const char *const *args, const char *const *sets) {
    const char *const one[] = {"--threads", "1", NULL};
    const char *given[ARGS + 1] = {NULL};
    size_t n = 0;
    for (size_t i = 0; args[i]; i++) {
        given[n++] = args[i];
    }
    for (size_t i = 0; sets[i]; i++) {
        given[n++] = sets[i];
    }
    json_t *first = json_with(given, one);
    char *config = json_dumps(json_object_get(first, "config"), JSON_REAL_PRECISION(17)), *expected = text_of(first);
    for (int i = 0; i < 2; i++) {
        const char *const more[] = {"--threads", i ? "7" : "2", NULL};
        char *other = text_of(json_with(given, more));
        assert_string_equal(expected, other);
        free(other);
    }
    const char *const back[] = {"--chip", write_file("chip.json", config), "--threads", "7", NULL};
    char *replayed = text_of(json_with(args, back));
    assert_string_equal(expected, replayed);
    const char *const seed[] = {"--seed", "5", NULL};
    char *other = text_of(json_with(given, seed)); /* the comparison can see a difference */
    assert_string_not_equal(expected, other);
    free(other);
    free(replayed);
    free(expected);
    free(config);
}

#define SHORT "calibration.tokens=64" /* kernel ref takes seconds for the usual 1024 */

static const char *const some_sets[] = {"--set", "tile.adc.bits=7", "--set", "tile.cell=pcm_like", "--set",
                                        "tile.mvm_ns=150", "--set", SHORT, NULL};

static void run_is_the_same(void **state) {
    (void)state;
    const char *const args[] = {"run", "--tokens", "8", "--age", "1d", "--compare", "--json", NULL};
    expect_same(args, some_sets);
}

static void perplexity_is_the_same(void **state) {
    (void)state;
    char path[1200];
    snprintf(path, sizeof path, "%s", write_file("story.txt",
             "One day a girl found a red ball in the garden. She gave it to her dog, and the dog ran to the tree.\n"
             "Then it began to rain, so they went home. Mom made tea and they were happy. The sun came back.\n"));
    const char *const args[] = {"eval", "perplexity", "--text", path, "--window", "32",
                                "--seeds", "2", "--age", "0,1d", "--json", NULL};
    expect_same(args, some_sets);
}

/* Corrections that fall due while the run lasts: what they cost is measured on the machine. */
static void maintenance_is_the_same(void **state) {
    (void)state;
    const char *const args[] = {"run", "--tokens", "8", "--json", NULL};
    const char *const sets[] = {"--set", "tile.correction=affine", "--set", "tile.correction_period_s=10e-6", "--set",
                                SHORT, NULL};
    json_t *root = json_with(args, sets);
    assert_true(json_array_size(json_object_get(root, "maintenance")) == 1);
    json_decref(root);
    expect_same(args, sets);
}

static double number_at(const json_t *root, const char *object, const char *key) {
    const json_t *value = json_object_get(json_object_get(root, object), key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void kernels_agree_on_a_run(void **state) {
    (void)state;
    const char *const args[] = {"run", "--tokens", "8", "--set", SHORT, "--json", NULL};
    const char *const ref[] = {"--kernel", "ref", NULL};
    const struct kernels *sets[8];
    json_t *expected = json_with(args, ref);
    for (size_t k = 0, count = kernels_available(sets, 8); k < count; k++) {
        const char *const more[] = {"--kernel", sets[k]->name, NULL};
        json_t *got = json_with(args, more);
        static const char *const same[] = {"config_hash", "config", "text", "ids", "area", "mapping", "latency", NULL};
        for (size_t i = 0; same[i]; i++) {
            if (!json_equal(json_object_get(expected, same[i]), json_object_get(got, same[i]))) {
                fail_msg("%s: %s differs from that of ref", sets[k]->name, same[i]);
            }
        }
        assert_near(number_at(got, "energy", "total_J") / number_at(expected, "energy", "total_J"), 1, 0.002);
        assert_near(number_at(got, "counts", "analog_macs"), number_at(expected, "counts", "analog_macs"), 0);
        json_decref(got);
    }
    json_decref(expected);
}

static void kernels_agree_on_logits(void **state) {
    (void)state;
    static const char *const chips[] = {"none", "ideal"};
    const struct kernels *sets[8];
    size_t count = kernels_available(sets, 8);
    for (size_t c = 0; c < 2; c++) {
        const char *const args[] = {"eval", "logits", "--ids", "1,300,20,41,500,7,8,9",
                                    "--chip", chips[c], "--json", NULL};
        const char *const ref[] = {"--kernel", "ref", NULL};
        json_t *expected = json_with(args, ref), *rows = json_object_get(expected, "logits");
        for (size_t k = 0; k < count; k++) {
            const char *const more[] = {"--kernel", sets[k]->name, NULL};
            json_t *got = json_with(args, more);
            for (size_t t = 0; t < json_array_size(rows); t++) {
                const json_t *a = json_array_get(rows, t), *b = json_array_get(json_object_get(got, "logits"), t);
                double largest = 1;
                for (size_t i = 0; i < json_array_size(a); i++) {
                    largest = fmax(largest, fabs(json_number_value(json_array_get(a, i))));
                }
                for (size_t i = 0; i < json_array_size(a); i++) {
                    assert_near(json_number_value(json_array_get(b, i)), json_number_value(json_array_get(a, i)),
                                1e-4 * largest);
                }
            }
            assert_int_equal(json_array_size(rows), 8);
            json_decref(got);
        }
        json_decref(expected);
    }
}

/* One document with the common keys, nothing on stderr, the seed and the threads that were asked for. */
static void common_options_work_everywhere(void **state) {
    (void)state;
    char text[1200];
    snprintf(text, sizeof text, "%s", write_file("one.txt", "One day a girl found a red ball in the garden.\n"));
    const char *const rows[][10] = {
        {"run", "--tokens", "2"},
        {"run", "--tokens", "2", "--chip", "none"},
        {"eval", "perplexity", "--text", text},
        {"eval", "perplexity", "--text", text, "--chip", "none"},
        {"eval", "logits", "--ids", "1,2", "--top", "1"},
        {"eval", "logits", "--ids", "1,2", "--top", "1", "--chip", "none"},
        {"map"},
        {"chip", "list"},
        {"chip", "show"},
        {"chip", "check", "afm"},
        {"chip", "params"},
        {"device", "list"},
        {"device", "stats", "pcm_afm", "--samples", "100"},
        {"tokenize", "--text", "One day"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const char *args[ARGS] = {NULL};
        size_t n = 0;
        for (; n < 10 && rows[r][n]; n++) {
            args[n] = rows[r][n];
        }
        static const char *const common[] = {"--json", "--quiet", "--threads", "2", "--seed", "9"};
        memcpy(args + n, common, sizeof common);
        char *out, *err;
        json_error_t where;
        if (run_mho(args, 60, &out, &err) != 0 || err[0]) {
            fail_msg("mho %s %s: %s", args[0], args[1], err);
        }
        json_t *root = json_loads(out, JSON_REJECT_DUPLICATES, &where);
        assert_non_null(root);
        static const char *const keys[] = {"mho", "command", "config_hash", "config", NULL};
        for (size_t i = 0; keys[i]; i++) {
            assert_non_null(json_object_get(root, keys[i]));
        }
        assert_int_equal(json_integer_value(json_object_get(root, "seed")), 9);
        assert_true(number_at(root, "host", "threads") == 2);
        assert_true(number_at(root, "host", "wall_s") > 0 && number_at(root, "host", "peak_rss_bytes") > 0);
        json_decref(root);
        mem_free(out);
        mem_free(err);
    }
}

/* As a document, the table of keys has a row for each line of the text. */
static void keys_as_a_document(void **state) {
    (void)state;
    const char *const args[] = {"chip", "params", NULL}, *const json[] = {"--json", NULL};
    char *text;
    assert_int_equal(run_mho(args, 20, &text, NULL), 0);
    json_t *root = json_with(args, json), *rows = json_object_get(root, "params"), *row;
    size_t i, bits = 0;
    assert_true(json_array_size(rows) > 100);
    json_array_foreach(rows, i, row) {
        char line[600];
        snprintf(line, sizeof line, "\n  %s ", json_string_value(json_object_get(row, "key")));
        if (!strstr(text, line) || !strstr(text, json_string_value(json_object_get(row, "help")))) {
            fail_msg("%s is not in the text", line + 3);
        }
        const char *source = json_string_value(json_object_get(row, "source"));
        assert_true(source && *source && strstr(text, source));
        assert_true(json_is_true(json_object_get(row, "required")) == json_is_null(json_object_get(row, "default")));
        if (strcmp(line, "\n  tile.adc.bits ") == 0) {
            bits++;
            assert_string_equal(json_string_value(json_object_get(row, "type")), "int");
            assert_near(json_number_value(json_object_get(row, "min")), 2, 0);
            assert_near(json_number_value(json_object_get(row, "max")), 14, 0);
        }
    }
    size_t lines = 0;
    for (const char *p = text; (p = strstr(p, "\n  ")); p++) {
        lines += strncmp(p + 3, "source: ", 8) != 0; /* of a cell or circuit, not a key */
    }
    assert_int_equal(lines, json_array_size(rows));
    assert_int_equal(bits, 1);
    json_decref(root);
    mem_free(text);
}

/* Programming SmolLM2-135M: at most 6 bytes per analog weight beyond the mapped file (the bound of the project), and no
 * less than the machine must keep, which is what `map` says. */
static void memory_of_a_programmed_model(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip_because("the address sanitizer needs memory of its own");
#endif
    const char *model = shared_path("models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    const char *const map_args[] = {"map", "--model", model, "--json", NULL};
    json_t *map = mho_json(map_args);
    double weights = json_number_value(json_object_get(map, "analog_weights"));
    double estimate = json_number_value(json_object_get(map, "machine_bytes"));
    const char *const args[] = {"eval", "logits", "--model", model, "--ids", "1", "--top", "1",
                                "--set", SHORT, "--json", NULL};
    json_t *root = mho_json(args);
    double bytes = number_at(root, "host", "peak_rss_bytes");
    struct mapped_file f;
    struct error e;
    assert_int_equal(map_file(model, &f, &e), OK);
    double beyond = bytes - (double)f.bytes;
    unmap_file(&f);
    assert_near(weights, 134.5e6, 0.2e6);
    assert_true(estimate >= 2 * weights && estimate < 2.2 * weights);
    if (!(beyond > estimate && beyond <= 6 * weights)) {
        fail_msg("%.2f bytes per analog weight beyond the file (allowed: at most 6; map says %.2f)", beyond / weights,
                 estimate / weights);
    }
    json_decref(root);
    json_decref(map);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(run_is_the_same),
    cmocka_unit_test(perplexity_is_the_same),
    cmocka_unit_test(maintenance_is_the_same),
    cmocka_unit_test(kernels_agree_on_a_run),
    cmocka_unit_test(kernels_agree_on_logits),
    cmocka_unit_test(common_options_work_everywhere),
    cmocka_unit_test(keys_as_a_document),
    cmocka_unit_test(memory_of_a_programmed_model),
};

const struct test_suite suite_same_results = {"same_results", tests, sizeof tests / sizeof tests[0]};
