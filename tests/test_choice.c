/* Multiple-choice tasks: log-likelihoods against transformers, item by item; prompts of every format; the file of
 * results; statistics over machines. Through the program itself. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "tests/files.h"
#include "tests/golden.h"

enum { PATH = 1200 };

/* ---- against transformers ------------------------------------------------------------------------------ */

/* Golden values are float32 runs; both sides round each of some 30 log-probabilities of size 10 at about 1e-6 of it,
 * and logits of minimind2-small reach 40. Measured: 1.5e-4. A wrong token, prefix or position moves a value by 0.1. */
#define LOGLIK_TOLERANCE 1e-3

/* Scratch file `name`; static buffer per call site of at most 8. */
static const char *scratch(const char *name) {
    static char paths[8][PATH];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, PATH, "%s/%s", scratch_directory(), name);
    return path;
}

/* Line `number` (from 0) of a file of results. */
static json_t *line_of(const char *path, size_t number) {
    char line[8192];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (size_t i = 0; i <= number; i++) {
        assert_non_null(fgets(line, sizeof line, f));
    }
    fclose(f);
    json_t *j = json_loads(line, 0, NULL);
    assert_non_null(j);
    return j;
}

static void check_golden_item(const json_t *want, const char *items) {
    static const char *const same[] = {"gold", "context_ids", "choice_ids", "choice_bytes", "prediction_acc",
                                       "prediction_acc_norm"};
    size_t index = (size_t)json_integer_value(json_object_get(want, "index"));
    json_t *got = line_of(items, 1 + index);
    assert_int_equal(json_integer_value(json_object_get(got, "item")), index);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_true(json_equal(json_object_get(got, same[i]), json_object_get(want, same[i])));
    }
    const json_t *a = json_object_get(got, "loglik"), *b = json_object_get(want, "loglik");
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t c = 0; c < json_array_size(b); c++) {
        assert_near(json_number_value(json_array_get(a, c)), json_number_value(json_array_get(b, c)),
                    LOGLIK_TOLERANCE);
    }
    json_decref(got);
}

static bool right(const json_t *item, const char *prediction) {
    return json_equal(json_object_get(item, prediction), json_object_get(item, "gold"));
}

/* The first `limit` items of a task, and what they add up to. */
static void check_golden(const json_t *golden, const char *name, const char *task, const char *data, int limit) {
    char model[PATH], items[64], count[16];
    snprintf(model, sizeof model, "models/%s", name);
    snprintf(items, sizeof items, "%s-%s.jsonl", name, task);
    snprintf(count, sizeof count, "%d", limit);
    const char *file = scratch(items), *folder = shared_path(model);
    json_t *out = mho_json((const char *const[]){"eval", "choice", "--model", folder, "--chip", "none", "--task", task,
                                                 "--data", shared_path(data), "--limit", count, "--items", file,
                                                 "--json", NULL});
    const json_t *want, *list = json_object_get(json_object_get(golden, name), "items");
    const json_t *digital = json_object_get(out, "digital");
    int checked = 0, acc = 0, acc_norm = 0;
    size_t i;
    json_array_foreach((json_t *)list, i, want) {
        if (strcmp(json_string_value(json_object_get(want, "task")), task) == 0 &&
            json_integer_value(json_object_get(want, "index")) < limit) {
            check_golden_item(want, file);
            acc += right(want, "prediction_acc");
            acc_norm += right(want, "prediction_acc_norm");
            checked++;
        }
    }
    assert_int_equal(checked, limit);
    assert_int_equal(json_integer_value(json_object_get(out, "items")), limit);
    assert_near(json_number_value(json_object_get(digital, "acc")), (double)acc / limit, 1e-12);
    assert_near(json_number_value(json_object_get(digital, "acc_norm")), (double)acc_norm / limit, 1e-12);
    json_decref(out);
}

/* Two tokenizers, two formats: of each as many items as take about half a second. */
static void test_golden(void **state) {
    (void)state;
    json_t *golden = load_json(golden_path("choice.json"));
    static const struct { const char *model; int hellaswag, arc; } cases[] = {{"stories15M", 3, 6},
                                                                              {"minimind2-small", 2, 3}};
    for (int i = 0; i < 2; i++) {
        check_golden(golden, cases[i].model, "hellaswag", "eval/hellaswag/hellaswag_val_full.txt.bz2",
                     cases[i].hellaswag);
        check_golden(golden, cases[i].model, "arc_challenge", "eval/arc/arc_challenge_test.jsonl", cases[i].arc);
    }
    json_decref(golden);
}

/* ---- prompts ------------------------------------------------------------------------------------------- */

static struct choice_set *open_set(const char *task, const char *path, uint32_t shots) {
    struct choice_set *c = NULL;
    struct error e;
    must(choice_open(task, path, shots, &c, &e), &e);
    return c;
}

static void check_item(const struct choice_set *c, size_t i, const char *context, const char *choices, uint32_t gold) {
    const struct choice_item *item = choice_item_at(c, i);
    char *text = choice_context(c, i), joined[256] = "";
    for (uint32_t k = 0; k < item->count; k++) {
        strcat(strcat(joined, k ? "|" : ""), item->choices[k]);
    }
    assert_string_equal(text, context);
    assert_string_equal(joined, choices);
    assert_int_equal(item->gold, gold);
    mem_free(text);
}

static const char arc_lines[] =
    "{\"question\": \"Which is hot?\", \"choices\": {\"text\": [\"ice\", \"fire\", \"snow\"], \"label\": [\"1\", "
    "\"2\", \"3\"]}, \"answerKey\": \"2\"}\n"
    "{\"question\": \"Which is wet?\", \"choices\": {\"text\": [\"sand\", \"rain\"], \"label\": [\"A\", \"B\"]}, "
    "\"answerKey\": \"B\"}\n";

static void test_prompts(void **state) {
    (void)state;
    const char *arc = scratch("arc.jsonl"), *easy = scratch("easy.json"), *boolq = scratch("boolq.jsonl"),
               *swag = scratch("swag.txt");
    write_text(arc, arc_lines);
    struct choice_set *c = open_set("arc_challenge", arc, 0);
    assert_int_equal(choice_count(c), 2);
    check_item(c, 0, "Question: Which is hot?\nAnswer:", "ice|fire|snow", 1);
    check_item(c, 1, "Question: Which is wet?\nAnswer:", "sand|rain", 1);
    choice_close(c);
    c = open_set("arc_challenge", arc, 1); /* the shot is the other item */
    check_item(c, 0, "Question: Which is wet?\nAnswer: rain\n\nQuestion: Which is hot?\nAnswer:", "ice|fire|snow", 1);
    check_item(c, 1, "Question: Which is hot?\nAnswer: fire\n\nQuestion: Which is wet?\nAnswer:", "sand|rain", 1);
    choice_close(c);
    write_text(easy, "[{\"instruction\": \"Please choose the correct answer to the question: What floats?\\n\\n"
                     "Answer1: a stone Answer2: wood, or Answer 3 Answer3: lead\\n\\n"
                     "Answer format: answer1/answer2/answer3\", \"answer\": \"answer2\"}]");
    c = open_set("arc_easy", easy, 0);
    check_item(c, 0, "Question: What floats?\nAnswer:", "a stone|wood, or Answer 3|lead", 1);
    choice_close(c);
    write_text(boolq, "{\"prompt\": \"passage: Ice -- Ice is cold.\\nquestion: {}\", \"subject\": \"is ice cold\", "
                      "\"target_new\": {\"str\": \"True\"}}\n");
    c = open_set("boolq", boolq, 0);
    check_item(c, 0, "Ice -- Ice is cold.\nQuestion: is ice cold?\nAnswer:", "no|yes", 1);
    choice_close(c);
    write_text(swag, "Tea: She pours. she\r\n2\r\nflies.\r\nmelts.\r\ndrinks.\r\nsings.\r\n");
    c = open_set("hellaswag", swag, 0);
    check_item(c, 0, "Tea: She pours. she", "flies.|melts.|drinks.|sings.", 2);
    choice_close(c);
}

static void test_mmlu(void **state) {
    (void)state;
    char folder[PATH], path[PATH + 64];
    snprintf(folder, sizeof folder, "%s", scratch("mmlu"));
    static const struct { const char *name, *text; } files[] = {
        {"test/world_history_test.csv", "\"Who, when?\nSay.\",a,\"b \"\"x\"\"\",c,d,C\r\n"},
        {"test/anatomy_test.csv", " Bone? ,1,2,3,4,A\nSkin?,5,6,7,8,D"},
        {"dev/world_history_dev.csv", "Q1?,a,b,c,d,B\nQ2?,a,b,c,d,A\n"},
        {"dev/anatomy_dev.csv", "Q3?,a,b,c,d,D\n"},
    };
    struct error e;
    snprintf(path, sizeof path, "%s/test", folder);
    must(make_directory(path, &e), &e);
    snprintf(path, sizeof path, "%s/dev", folder);
    must(make_directory(path, &e), &e);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        write_text(path, files[i].text);
    }
    static const char head[] = "The following are multiple choice questions (with answers) about ";
    char want[512];
    struct choice_set *c = open_set("mmlu", folder, 1);
    assert_int_equal(choice_count(c), 3);
    snprintf(want, sizeof want, "%sanatomy.\n\nQ3?\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\n"
             "Bone?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:", head);
    check_item(c, 0, want, "A|B|C|D", 0);
    assert_int_equal(choice_item_at(c, 1)->gold, 3);
    snprintf(want, sizeof want, "%sworld history.\n\nQ1?\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\n"
             "Who, when?\nSay.\nA. a\nB. b \"x\"\nC. c\nD. d\nAnswer:", head);
    check_item(c, 2, want, "A|B|C|D", 2);
    uint64_t hash = choice_hash(c);
    choice_close(c);
    snprintf(path, sizeof path, "%s/%s", folder, files[3].name);
    write_text(path, "Q3?,a,b,c,d,C\n"); /* another example is another evaluation */
    c = open_set("mmlu", folder, 1);
    assert_true(choice_hash(c) != hash);
    choice_close(c);
    assert_int_equal(choice_open("mmlu", folder, 2, &c, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "anatomy"));
}

/* The whole data sets: known numbers of items, and nothing that the readers do not understand. */
static void test_data_sets(void **state) {
    (void)state;
    static const struct { const char *task, *path; size_t items; } sets[] = {
        {"hellaswag", "eval/hellaswag/hellaswag_val_full.txt.bz2", 10042},
        {"arc_challenge", "eval/arc/arc_challenge_test.jsonl", 1172},
        {"arc_easy", "eval/arc/arc_easy_test.llm_adapters.json", 2376},
        {"boolq", "eval/boolq/validation.jsonl", 3270},
        {"mmlu", "eval/mmlu/mmlu.zip", 14042},
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct choice_set *c = open_set(sets[i].task, shared_path(sets[i].path), 0);
        assert_int_equal(choice_count(c), sets[i].items);
        choice_close(c);
    }
}

static void test_bad_files(void **state) {
    (void)state;
    static const struct { const char *task, *text, *says; } bad[] = {
        {"hellaswag", "context\n1\na\nb\n", ":1: the item ends after 4 lines"},
        {"hellaswag", "context\n4\na\nb\nc\nd\n", ":2: 4: not the number"},
        {"hellaswag", "context\n1\na\n\nc\nd\n", "choice 2 is empty"},
        {"hellaswag", "", "no items"},
        {"hellaswag", "a\xff", "byte 1"},
        {"arc_easy", "{\"question\": 3}", ":1: \"question\": missing, or not a text"},
        {"arc_easy", "{\"question\": \"q\", \"answerKey\": \"C\", \"choices\": {\"text\": [\"a\", \"b\"], \"label\": "
                     "[\"A\", \"B\"]}}", "right one"},
        {"arc_easy", "[{\"instruction\": \"q\", \"answer\": \"answer1\"}]", "known form"},
        {"arc_easy", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "nested too deep"},
        {"boolq", "{\"prompt\": \"p\", \"subject\": \"s\", \"target_new\": {\"str\": \"True\"}}", "passage"},
        {"boolq", "nonsense", "JSON"},
        {"arc_easy", "{\"question\": \"q\", \"answerKey\": \"A\", \"choices\": {\"text\": [\"a\"], \"label\": "
                     "[\"A\"]}}", "1 choices"},
    };
    const char *path = scratch("bad");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct choice_set *c;
        struct error e;
        write_text(path, bad[i].text);
        assert_int_equal(choice_open(bad[i].task, path, 0, &c, &e), ERR_RUN);
        if (!strstr(e.message, bad[i].says)) {
            fail_msg("\"%s\" is not in: %s", bad[i].says, e.message);
        }
    }
    struct choice_set *c;
    struct error e;
    write_bytes(path, "context\n1\na\nb\0\nc\nd\n", 19);
    assert_int_equal(choice_open("hellaswag", path, 0, &c, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "byte 13: not UTF-8 text (0x00)"));
}

/* ---- the file of results ------------------------------------------------------------------------------- */

/* New in every read: numbers depend on which read it was. */
#define NOISE "tile.cell.white_noise.relative=0.3"

/* mho eval choice on the bundled model and a small file, on a chip with read noise; items NULL: no file of results. */
static json_t *evaluate(const char *data, const char *items) {
    const char *args[] = {"eval", "choice", "--task", "arc_easy", "--data", data, "--chip", "pcm256", "--seed", "7",
                          "--seeds", "2", "--age", "0,1d", "--set", NOISE, "--set",
                          "tile.cell.white_noise.absolute_uS=0.1", "--set", "calibration.tokens=64", "--json",
                          items ? "--items" : NULL, items, NULL};
    return mho_json(args);
}

/* The first item twice, and one whose short choice is likelier while its long one is likelier per byte. */
static void write_items(const char *path) {
    static const char last[] = "{\"question\": \"What do we see?\", \"choices\": {\"text\": [\"it\", \"the little dog "
                               "and the big tree in the park\"], \"label\": [\"A\", \"B\"]}, \"answerKey\": \"B\"}\n";
    char text[2 * sizeof arc_lines + sizeof last];
    int first = (int)(strchr(arc_lines, '\n') + 1 - arc_lines);
    snprintf(text, sizeof text, "%.*s%s%s", first, arc_lines, arc_lines, last);
    write_text(path, text);
}

enum { ITEMS = 4, MACHINES = 4 };

static char *text_of(const char *path) {
    char *text;
    size_t bytes;
    struct error e;
    must(read_file(path, 1 << 20, &text, &bytes, &e), &e);
    return text;
}

/* Cut in the header, inside of the line of a machine's second item and later: the end is the same, byte by byte, though
 * read noise goes on in the middle. That it acts, and is another for every item, the item that stands there twice
 * shows. */
static void test_resume(void **state) {
    (void)state;
    const char *data = scratch("arc.jsonl"), *whole = scratch("whole.jsonl"), *cut = scratch("cut.jsonl");
    write_items(data);
    json_t *first = evaluate(data, whole);
    char *text = text_of(whole), *line = text;
    for (int i = 0; i < 1 + ITEMS + 1; i++) { /* of the first machine's second item */
        line = strchr(line, '\n') + 1;
    }
    size_t bytes = strlen(text), cuts[] = {5, (size_t)(line - text) + 9, bytes * 8 / 10};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        write_bytes(cut, text, cuts[i]);
        json_t *again = evaluate(data, cut);
        char *now = text_of(cut);
        assert_string_equal(now, text);
        assert_true(json_equal(json_object_get(first, "analog"), json_object_get(again, "analog")));
        mem_free(now);
        json_decref(again);
    }
    json_t *once = line_of(whole, 1 + ITEMS), *twice = line_of(whole, 1 + ITEMS + 1);
    assert_int_equal(json_integer_value(json_object_get(twice, "item")), 1);
    assert_false(json_equal(json_object_get(once, "loglik"), json_object_get(twice, "loglik")));
    json_t *without = evaluate(data, NULL);
    assert_true(json_equal(json_object_get(first, "analog"), json_object_get(without, "analog")));
    json_decref(once);
    json_decref(twice);
    json_decref(without);
    json_decref(first);
    mem_free(text);
}

static void check_refused(const char *data, const char *items, const char *option, const char *value,
                          const char *says) {
    const char *args[] = {"eval", "choice", "--task", "arc_easy", "--data", data, "--chip", "none", "--items", items,
                          option, value, NULL};
    char *err;
    assert_int_equal(run_mho(args, 60, NULL, &err), 2);
    if (!strstr(err, says)) {
        fail_msg("\"%s\" is not in: %s", says, err);
    }
    mem_free(err);
}

static void test_other_settings(void **state) {
    (void)state;
    const char *data = scratch("arc.jsonl"), *items = scratch("items.jsonl");
    write_text(data, arc_lines);
    json_decref(mho_json((const char *const[]){"eval", "choice", "--task", "arc_easy", "--data", data, "--chip", "none",
                                               "--items", items, "--json", NULL}));
    char *before = text_of(items);
    check_refused(data, items, "--shots", "1", "shots was 0, is 1");
    check_refused(data, items, "--bos", "off", "bos was true, is false");
    check_refused(data, items, "--quantise", "4", "quantise_bits was 0, is 4");
    check_refused(data, data, "--shots", "0", "not a file of results");
    write_text(data, "{\"question\": \"Which is wet?\", \"choices\": {\"text\": [\"sand\", \"rain\"], \"label\": "
                     "[\"A\", \"B\"]}, \"answerKey\": \"B\"}\n");
    check_refused(data, items, "--shots", "0", "data was");
    char wrong[sizeof arc_lines];
    memcpy(wrong, arc_lines, sizeof wrong);
    strstr(wrong, "answerKey\": \"2")[13] = '3';
    write_text(data, wrong);
    check_refused(data, items, "--shots", "0", "data was");
    char *after = text_of(items);
    assert_string_equal(before, after);
    mem_free(before);
    mem_free(after);
}

/* right[0]: the digital model, then the machines, seeds outside and ages inside; 1: the choice was the right one. */
static void read_right(const char *items, const char *key, double right[1 + MACHINES][ITEMS]) {
    for (size_t i = 0; i < (1 + MACHINES) * ITEMS; i++) {
        json_t *line = line_of(items, 1 + i);
        assert_int_equal(json_integer_value(json_object_get(line, "item")), i % ITEMS);
        right[i / ITEMS][i % ITEMS] =
            json_equal(json_object_get(line, key), json_object_get(line, "gold")) ? 1 : 0;
        json_decref(line);
    }
}

static double mean_of(const double *values) {
    double sum = 0;
    for (size_t u = 0; u < ITEMS; u++) {
        sum += values[u] / ITEMS;
    }
    return sum;
}

static double number_in(const json_t *object, const char *key, const char *suffix) {
    char name[32];
    snprintf(name, sizeof name, "%s%s", key, suffix);
    return json_number_value(json_object_get(object, name));
}

/* Means and differences over the two machines of an age, and the standard error over the items, by hand. */
static void check_age(const json_t *ages, size_t a, const char *key, double right[1 + MACHINES][ITEMS]) {
    const json_t *age = json_array_get(ages, a), *difference = json_object_get(age, "difference");
    double squares = 0, x = mean_of(right[1 + a]), y = mean_of(right[3 + a]), d = (x + y) / 2 - mean_of(right[0]);
    for (size_t u = 0; u < ITEMS; u++) {
        double off = (right[1 + a][u] + right[3 + a][u]) / 2 - right[0][u] - d;
        squares += off * off;
    }
    assert_near(number_in(age, key, "_mean"), (x + y) / 2, 1e-12);
    assert_near(number_in(age, key, "_sd"), fabs(x - y) / sqrt(2), 1e-12);
    assert_near(number_in(difference, key, "_mean"), d, 1e-12);
    assert_near(number_in(difference, key, "_se"), sqrt(squares / (ITEMS * (ITEMS - 1))), 1e-12);
}

/* Runs, means and differences belong together, and to the file of results. */
static void test_statistics(void **state) {
    (void)state;
    static const char *const keys[] = {"acc", "acc_norm"};
    const char *data = scratch("arc.jsonl"), *items = scratch("items.jsonl");
    write_items(data);
    json_t *out = evaluate(data, items), *analog = json_object_get(out, "analog"),
           *runs = json_object_get(analog, "runs"), *ages = json_object_get(analog, "by_age"), *run;
    assert_int_equal(json_array_size(runs), MACHINES);
    assert_int_equal(json_array_size(ages), 2);
    double right[2][1 + MACHINES][ITEMS], differences = 0;
    for (size_t k = 0; k < 2; k++) {
        double digital = number_in(json_object_get(out, "digital"), keys[k], ""), sum = 0;
        char prediction[32];
        snprintf(prediction, sizeof prediction, "prediction_%s", keys[k]);
        read_right(items, prediction, right[k]);
        assert_near(digital, mean_of(right[k][0]), 1e-12);
        size_t i;
        json_array_foreach(runs, i, run) {
            assert_int_equal(json_integer_value(json_object_get(run, "seed")), 7 + i / 2);
            assert_near(json_number_value(json_object_get(run, "age_s")), i % 2 ? 86400 : 0, 0);
            assert_near(number_in(run, keys[k], ""), mean_of(right[k][1 + i]), 1e-12);
            sum += number_in(run, keys[k], "");
        }
        assert_near(number_in(analog, keys[k], "_mean"), sum / 4, 1e-12);
        assert_near(number_in(json_object_get(analog, "difference"), keys[k], "_mean"), sum / 4 - digital, 1e-12);
        assert_true(json_is_number(json_object_get(analog, k ? "acc_norm_sd" : "acc_sd")));
        for (size_t a = 0; a < 2; a++) {
            check_age(ages, a, keys[k], right[k]);
        }
        differences += fabs(sum / 4 - digital);
    }
    assert_true(differences > 0); /* or the numbers above say nothing */
    assert_true(right[0][0][ITEMS - 1] == 0 && right[1][0][ITEMS - 1] == 1);
    json_decref(out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_golden),     cmocka_unit_test(test_prompts), cmocka_unit_test(test_mmlu),
    cmocka_unit_test(test_data_sets),  cmocka_unit_test(test_bad_files), cmocka_unit_test(test_resume),
    cmocka_unit_test(test_other_settings), cmocka_unit_test(test_statistics),
};

const struct test_suite suite_choice = {"choice", tests, sizeof tests / sizeof tests[0]};
