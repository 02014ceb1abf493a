/* mho adapt compare: the table of a recipe, that it goes on where it stopped, and what is wrong with a recipe; weights
 * rounded as a baseline. Through the program, on the bundled model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/csv.h"
#include "base/io.h"
#include "base/memory.h"
#include "tests/files.h"
#include "tests/golden.h"

enum { PATH = 1200, ROWS = 4 };

static char *in_scratch(const char *name, char *path) {
    snprintf(path, PATH, "%s/%s", scratch_directory(), name);
    return path;
}

static void write_story(const char *path) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 4; i++) {
        fprintf(f, "Once upon a time, there was a little girl named Lily. She loved to play with her %d dogs.\n", i);
    }
    fclose(f);
}

static const char recipe[] = "title: a test\nchip: afm\nlimit: 300\nwindow: 32\nseeds: 2\n"
                             "recovery: {lost: noise, whole: digital}\n"
                             "rows:\n"
                             "  - {name: digital, chip: none}\n"
                             "  - {name: noise, set: [effects.dac=off, effects.adc=off]}\n"
                             "  - {name: \"side \\\"path\\\"\", set: [placement.digital_channels=4]}\n"
                             "  - {name: 4 bits, chip: none, quantise: 4}\n";

/* The table as a document. Of each row the user is told once what is to be known of its ranges. */
static json_t *compare(const char *yaml, const char *text, const char *folder) {
    static const char said[] = "static input ranges, and the model brings none";
    const char *const args[] = {"adapt", "compare", yaml, "--text", text, "--out", folder, "--json", NULL};
    char *out, *err;
    if (run_mho(args, 120, &out, &err) != 0) {
        fail_msg("adapt compare: %s", err);
    }
    for (const char *at = strstr(err, said), *next; at; at = next) {
        next = strstr(at + 1, said);
        const char *row = strstr(at, "mho: row ");
        assert_true(!next || (row && row < next));
    }
    json_t *root = json_loads(out, 0, NULL);
    assert_non_null(root);
    mem_free(out);
    mem_free(err);
    return root;
}

static double number(const json_t *rows, size_t row, const char *key) {
    const json_t *value = json_object_get(json_array_get(rows, row), key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* The same from mho eval, which the table must agree with. */
static double evaluated(const char *text, const char *const *more, const char *part, const char *key) {
    const char *args[24] = {"eval", "perplexity", "--text", text, "--limit", "300", "--window", "32", "--json"};
    size_t n = 9;
    for (; *more; more++) {
        args[n++] = *more;
    }
    json_t *out = mho_json(args);
    double value = json_number_value(json_object_get(json_object_get(out, part), key));
    json_decref(out);
    return value;
}

static void check_csv(const char *folder, const json_t *rows) {
    char path[PATH + 32];
    struct csv *c;
    struct error e;
    size_t nats, name;
    snprintf(path, sizeof path, "%s/compare.csv", folder);
    must(csv_read(path, CSV_HEADER, &c, &e), &e);
    must(csv_require(c, "nll_nats", &nats, &e), &e);
    must(csv_require(c, "name", &name, &e), &e);
    assert_int_equal(csv_rows(c), ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        double value;
        must(csv_number(c, i, nats, &value, &e), &e);
        assert_near(value, number(rows, i, "nll_nats"), 1e-8); /* nine digits of a number of size 3 */
    }
    assert_string_equal(csv_text(c, 2, name), "side \"path\"");
    csv_destroy(c);
}

static void test_table(void **state) {
    (void)state;
    char yaml[PATH], text[PATH], folder[PATH], path[PATH + 32];
    write_text(in_scratch("recipe.yaml", yaml), recipe);
    write_story(in_scratch("story.txt", text));
    json_t *out = compare(yaml, text, in_scratch("out", folder)), *rows = json_object_get(out, "rows");
    assert_int_equal(json_array_size(rows), ROWS);
    double digital = number(rows, 0, "nll_nats"), noise = number(rows, 1, "nll_nats"),
           side = number(rows, 2, "nll_nats");
    static const char *const none[] = {"--chip", "none", NULL};
    static const char *const four[] = {"--chip", "none", "--quantise", "4", NULL};
    static const char *const noisy[] = {"--chip", "afm", "--seeds", "2", "--set", "effects.dac=off", "--set",
                                        "effects.adc=off", NULL};
    assert_near(digital, evaluated(text, none, "digital", "nll_nats"), 1e-12);
    assert_near(number(rows, 3, "nll_nats"), evaluated(text, four, "digital", "nll_nats"), 1e-12);
    assert_near(noise, evaluated(text, noisy, "analog", "nll_nats_mean"), 1e-12);
    assert_near(number(rows, 1, "nll_nats_sd"), evaluated(text, noisy, "analog", "nll_nats_sd"), 1e-12);
    assert_true(number(rows, 3, "nll_nats") > digital);
    assert_near(number(rows, 0, "recovery"), 1, 1e-12);
    assert_near(number(rows, 1, "recovery"), 0, 1e-12);
    assert_near(number(rows, 2, "recovery"), (noise - side) / (noise - digital), 1e-12);
    assert_true(isnan(number(rows, 0, "per_token_J")) && isnan(number(rows, 3, "area_mm2")));
    assert_near(number(rows, 1, "digital_share"), 0, 0);
    assert_in_range(1e4 * number(rows, 2, "digital_share"), 50, 700); /* 4 of 128 to 768 inputs: 0.5 to 3.1 %, and up */
    assert_true(number(rows, 2, "per_token_J") > number(rows, 1, "per_token_J"));
    assert_true(number(rows, 2, "tpot_s") > 0 && number(rows, 2, "area_mm2") > 0);
    check_csv(folder, rows);
    snprintf(path, sizeof path, "%s/compare.svg", folder);
    assert_true(file_exists(path));
    json_decref(out);
}

/* Results that are cut off in the middle of a file, or missing, are measured again; the table is the same. */
static void test_goes_on(void **state) {
    (void)state;
    char yaml[PATH], text[PATH], folder[PATH], command[PATH + 256];
    write_text(in_scratch("recipe.yaml", yaml), recipe);
    write_story(in_scratch("story.txt", text));
    json_t *first = compare(yaml, text, in_scratch("out", folder));
    snprintf(command, sizeof command, "cd %s/rows && rm digital*.text.jsonl noise*.costs.json && "
             "for f in side*.text.jsonl; do head -c 900 \"$f\" > cut && mv cut \"$f\"; done", folder);
    assert_int_equal(system(command), 0);
    json_t *again = compare(yaml, text, folder);
    assert_true(json_equal(json_object_get(first, "rows"), json_object_get(again, "rows")));
    json_decref(first);
    json_decref(again);
}

static void check_refused(const char *text, const char *says, const char *says_too) {
    char yaml[PATH], story[PATH], folder[PATH], *err;
    write_text(in_scratch("bad.yaml", yaml), text);
    write_story(in_scratch("story.txt", story));
    const char *args[] = {"adapt", "compare", yaml, "--text", story, "--out", in_scratch("out", folder), NULL};
    assert_int_equal(run_mho(args, 60, NULL, &err), 2);
    if (!strstr(err, says) || !strstr(err, says_too)) {
        fail_msg("\"%s\" and \"%s\" are not in: %s", says, says_too, err);
    }
    mem_free(err);
}

static void test_bad_recipes(void **state) {
    (void)state;
    check_refused("title: x\n", "bad.yaml:1", "rows");
    check_refused("rows: []\n", "bad.yaml:1", "no list of rows");
    check_refused("rows:\n  - {chip: none}\n", "bad.yaml:2", "without a name");
    check_refused("rows:\n  - {name: a}\n  - {name: a}\n", "bad.yaml:3", "another row");
    check_refused("rows:\n  - {name: a, seds: 3}\n", "bad.yaml:2", "seds: unknown key");
    check_refused("rows:\n  - {name: a, seeds: 0}\n", "bad.yaml:2", "allowed: 1 to 1000");
    check_refused("rows:\n  - {name: a, quantise: 9}\n", "bad.yaml:2", "allowed: 2 to 8");
    check_refused("rows:\n  - {name: a, ages: [soon]}\n", "bad.yaml:2", "soon");
    check_refused("rows:\n  - {name: a, task: boolq}\n", "bad.yaml:2", "task without data");
    check_refused("recovery: {lost: b, whole: a}\nrows:\n  - {name: a}\n", "bad.yaml:1", "names of rows");
    check_refused("rows:\n  - {name: a, chip: none, set: [tile.rows=8]}\n", "row a", "it has no keys");
    check_refused("rows:\n  - {name: a, chip: afn}\n", "row a", "afm");
    char *err;
    assert_int_equal(run_mho((const char *const[]){"adapt", "compare", "--out", "x", NULL}, 60, NULL, &err), 2);
    assert_non_null(strstr(err, "the recipe is missing"));
    mem_free(err);
}

/* The recipe of `make demo`. Measured: digital 2.131 nats, off the shelf 2.209, adapted 2.150: 76 % of the loss is
 * gone, by 5 % of the multiplications. Standard deviation over machines 0.003 to 0.005, or 6 % of the loss. */
static void test_the_twin_is_adapted(void **state) {
    char yaml[PATH], text[PATH];
    (void)state;
    snprintf(yaml, sizeof yaml, "%s/configs/experiments/demo.yaml", data_directory());
    snprintf(text, sizeof text, "%s/configs/experiments/demo.txt", data_directory());
    json_t *out = compare(yaml, text, scratch_directory());
    const json_t *rows = json_object_get(out, "rows");
    double digital = number(rows, 0, "nll_nats"), lost = number(rows, 1, "nll_nats");
    double adapted = number(rows, 2, "nll_nats");
    assert_true(lost > digital + 0.05);
    if (!(adapted < lost - 0.6 * (lost - digital))) {
        fail_msg("digital %g, off the shelf %g, adapted %g nats", digital, lost, adapted);
    }
    assert_near(number(rows, 1, "digital_share"), 0, 0);
    assert_in_range((int)(number(rows, 2, "digital_share") * 1e4), 400, 500);
    assert_true(number(rows, 2, "per_token_J") > number(rows, 1, "per_token_J"));
    json_decref(out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_table),
    cmocka_unit_test(test_goes_on),
    cmocka_unit_test(test_bad_recipes),
    cmocka_unit_test(test_the_twin_is_adapted),
};

const struct test_suite suite_compare = {"compare", tests, sizeof tests / sizeof tests[0]};
