/* Costs without values: a run of shapes says what a run with values says, wherever values do not matter.
 *
 * Compared on small models of every family, on the default chip with its noise: prompt in one step, then single tokens.
 * Time, counts and every energy but that of the array: identical (the same operations, the same arithmetic). Array: the
 * activity of each role is the mean of the very run, so the totals agree to the rounding of sums in single precision,
 * 1e-6.
 */
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "sim/run.h"
#include "tests/golden.h"

enum { PROMPT = 20, DECODE = 3, POSITIONS = 32 };

static const char *const models[] = {
    "models/llama3-tiny", "models/llama-untied-tiny", "models/phi3-tiny", "models/qwen2-tiny",
    "models/qwen3-tiny",  "models/mistral-tiny",      "models/gpt2-tiny", "gguf/llama3-tiny-mixed.gguf",
};

static struct chip *chip_of(const char *const *sets, size_t count) {
    struct chip *c;
    struct error e;
    must(chip_load("pcm256", sets, count, &c, &e), &e);
    return c;
}

/* The prompt, then DECODE tokens. */
static void run_values(const struct model *m, struct run *run) {
    const struct session_options options = {.context = POSITIONS, .max_batch = POSITIONS, .run = run};
    struct session *s = new_session(m, options);
    struct error e;
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++) {
        ids[i] = i % 7;
    }
    must(session_forward(s, ids, PROMPT, LOGITS_LAST, NULL, &e), &e);
    for (int i = 0; i < DECODE; i++) {
        must(session_forward(s, ids, 1, LOGITS_LAST, NULL, &e), &e);
    }
    session_destroy(s);
}

static void run_shapes(const struct model *m, struct run *run) {
    struct session *s = new_session(
        m, (struct session_options){.context = POSITIONS, .max_batch = POSITIONS, .run = run, .shapes = true});
    struct error e;
    must(session_advance(s, PROMPT, LOGITS_LAST, &e), &e);
    for (int i = 0; i < DECODE; i++) {
        must(session_advance(s, 1, LOGITS_LAST, &e), &e);
    }
    session_destroy(s);
}

static void assert_same_costs(const struct run *values, const struct run *shapes) {
    struct ledger_view a = run_ledger(values), b = run_ledger(shapes);
    assert_true(a.makespan_s == b.makespan_s && a.makespan_s > 0);
    assert_true(a.mvm == b.mvm && a.macs == b.macs && a.converted_adc == b.converted_adc &&
                a.converted_dac == b.converted_dac);
    for (int part = 0; part < PART_COUNT; part++) {
        assert_true(a.count[part] == b.count[part]);
        if (part == PART_ARRAY) {
            assert_near(b.energy_J[part] / a.energy_J[part], 1, 1e-6);
        } else {
            assert_true(a.energy_J[part] == b.energy_J[part]);
        }
    }
    for (int c = 0; c < CLASS_COUNT; c++) {
        struct class_view x = run_class(values, (enum resource_class)c), y = run_class(shapes, (enum resource_class)c);
        assert_true(x.busy_s == y.busy_s && x.wait_s == y.wait_s && x.critical_s == y.critical_s);
    }
}

static void compare(const char *path, const char *const *sets, size_t set_count) {
    struct error e;
    struct chip *chip = chip_of(sets, set_count);
    struct model *full = open_model(path), *bare;
    struct placement *p, *bare_p;
    struct machine *machine;
    struct run *values, *shapes;
    must(model_open_shapes(path, &bare, &e), &e);
    assert_true(model_shape(bare)->parameters == model_shape(full)->parameters);
    size_t count;
    const struct matrix_source *sources = model_matrices(bare, &count);
    must(placement_create(chip, sources, count, &bare_p, &e), &e);
    must(model_program(full, chip, &(struct machine_options){.seed = 1}, &p, &machine, &e), &e);
    must(run_create(machine, POSITIONS, &values, &e), &e);
    run_values(full, values);
    struct activity activity = run_activity(values);
    activity.source = "this test";
    must(run_create_shapes(chip, bare_p, &activity, POSITIONS, &shapes, &e), &e);
    run_shapes(bare, shapes);
    assert_same_costs(values, shapes);
    run_destroy(values);
    run_destroy(shapes);
    machine_destroy(machine);
    placement_destroy(p);
    placement_destroy(bare_p);
    model_close(full);
    model_close(bare);
    chip_destroy(chip);
}

static void shapes_cost_what_values_cost(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        compare(golden_path(models[i]), (const char *const[]){"calibration.tokens=16", "tile.adc.range=lambda"}, 2);
    }
}

/* Matrices that stay digital, converters that are shared, inputs in bits, a side path. */
static void shapes_cost_what_values_cost_on_other_chips(void **state) {
    static const char *const digital[] = {"tile.adc.range=lambda", "analog=q,k,v,o"};
    static const char *const serial[] = {"tile.adc.range=lambda", "tile.dac.coding=bit_serial", "tile.adc.share=8"};
    static const char *const listed[] = {"tile.adc.range=lambda", "placement.digital_weights=0.05"};
    (void)state;
    compare(golden_path("models/llama3-tiny"), digital, 2);
    compare(golden_path("models/qwen2-tiny"), serial, 3);
    compare(golden_path("models/llama3-tiny"), listed, 2);
}

/* A role that the measured model does not have takes the mean of those that it has. */
static void missing_role_takes_the_mean(void **state) {
    (void)state;
    struct error e;
    struct chip *chip = chip_of(NULL, 0);
    const struct matrix_source m[] = {{.name = "a", .role = MATRIX_Q, .inputs = 256, .outputs = 256},
                                      {.name = "b", .role = MATRIX_QKV, .inputs = 256, .outputs = 256}};
    struct placement *p;
    struct run *run;
    must(placement_create(chip, m, 2, &p, &e), &e);
    struct activity a = {.source = "this test"};
    for (int role = 0; role < MATRIX_ROLES; role++) {
        a.array_S_per_weight[role] = (double)NAN;
    }
    a.array_S_per_weight[MATRIX_Q] = 1e-6;
    a.array_S_per_weight[MATRIX_O] = 3e-6;
    must(run_create_shapes(chip, p, &a, 1, &run, &e), &e);
    double array_J[2];
    for (size_t i = 0; i < 2; i++) {
        run_reset(run);
        run_begin_step(run, 1);
        must(run_multiply(run, i, NULL, 1, NULL, &e), &e);
        run_end_step(run);
        array_J[i] = run_ledger(run).energy_J[PART_ARRAY];
    }
    assert_near(array_J[1] / array_J[0], 2, 1e-12);
    run_destroy(run);
    placement_destroy(p);
    chip_destroy(chip);
}

/* What a session without values cannot do, and the other way round. */
static void sessions_refuse_the_other_kind(void **state) {
    (void)state;
    struct error e;
    struct model *full = open_model(golden_path("models/llama3-tiny")), *bare;
    must(model_open_shapes(golden_path("models/llama3-tiny"), &bare, &e), &e);
    struct session *s = NULL;
    assert_int_equal(session_create(bare, &(struct session_options){.context = 8}, &s, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "without weights"));
    s = new_session(full, (struct session_options){.context = 8});
    assert_int_equal(session_advance(s, 1, LOGITS_LAST, &e), ERR_USAGE);
    session_destroy(s);
    s = new_session(bare, (struct session_options){.context = 8, .shapes = true});
    assert_int_equal(session_forward(s, (const int32_t[]){1}, 1, LOGITS_LAST, NULL, &e), ERR_USAGE);
    assert_int_equal(session_advance(s, 9, LOGITS_LAST, &e), ERR_USAGE);
    must(session_advance(s, 8, LOGITS_LAST, &e), &e);
    session_destroy(s);
    model_close(full);
    model_close(bare);
}

/* ---- the command ------------------------------------------------------------------------------------------ */

static const char llama_70b[] =
    "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": 8192, \"intermediate_size\": 28672, "
    "\"max_position_embeddings\": 131072, \"num_attention_heads\": 64, \"num_hidden_layers\": 80, "
    "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0, "
    "\"tie_word_embeddings\": false, \"vocab_size\": 128256}";

/* Writes a config.json; the path of its folder, in a static buffer. */
static const char *write_config(const char *text) {
    static char folder[512];
    char file[600];
    snprintf(folder, sizeof folder, "%s", scratch_directory());
    snprintf(file, sizeof file, "%s/config.json", folder);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
    return folder;
}

/* A model that no laptop holds: 70.6e9 parameters (as published), mapped and costed within 2 GiB. */
static void seventy_billion_weights_fit_on_a_laptop(void **state) {
    (void)state;
    char *out = NULL;
    json_error_t je;
    assert_int_equal(run_mho((const char *[]){"run", "--shapes-only", "--model", write_config(llama_70b),
                                              "--prompt-tokens", "256", "--tokens", "4", "--json", NULL},
                             120, &out, NULL),
                     0);
    json_t *report = json_loads(out, 0, &je);
    assert_non_null(report);
    assert_near((double)json_integer_value(json_object_get(report, "parameters")) / 70.6e9, 1, 1e-3);
    json_t *mapping = json_object_get(report, "mapping"), *host = json_object_get(report, "host");
    assert_int_equal(json_integer_value(json_object_get(mapping, "tiles")),
                     80 * (2 * 32 * 32 + 2 * 32 * 4 + 3 * 32 * 112) + 32 * 501);
    assert_true(json_integer_value(json_object_get(host, "peak_rss_bytes")) < (json_int_t)2 << 30);
    assert_non_null(strstr(out, "measured on the bundled model"));
    assert_true(json_number_value(json_object_get(json_object_get(report, "latency"), "tpot_s")) > 0);
    json_decref(report);
    mem_free(out);
}

static void refuse(const char *const *args, const char *message) {
    char *err = NULL;
    assert_int_equal(run_mho(args, 60, NULL, &err), 2);
    if (!strstr(err, message)) {
        fail_msg("expected '%s' in: %s", message, err);
    }
    mem_free(err);
}

static void bad_shapes_are_refused(void **state) {
    (void)state;
    char *err = NULL;
    const char *folder = write_config("{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": 64}");
    assert_int_equal(run_mho((const char *[]){"run", "--shapes-only", "--model", folder, NULL}, 60, NULL, &err), 1);
    assert_non_null(strstr(err, "config.json"));
    assert_non_null(strstr(err, "num_"));
    mem_free(err);
    folder = write_config(llama_70b);
    refuse((const char *[]){"run", "--shapes-only", "--model", folder, "--prompt", "x", NULL}, "--prompt");
    refuse((const char *[]){"run", "--shapes-only", "--model", folder, "--chip", "ideal", NULL}, "no costs");
    refuse((const char *[]){"run", "--shapes-only", "--model", folder, "--prompt-tokens", "131072", NULL}, "131072");
    /* The model that was asked for does not fit: told before the bundled one is measured. */
    refuse((const char *[]){"run", "--shapes-only", "--model", folder, "--chip", "sinangil7", "--set", "replicate=off",
                            NULL},
           "mho: chip sinangil7: too small: the model needs ");
    refuse((const char *[]){"run", "--prompt-tokens", "8", NULL}, "--shapes-only");
}

/* A configuration of any name; what is wrong with it is told with file and line. */
static void config_errors_have_lines(void **state) {
    (void)state;
    static const char start[] = "{\n \"model_type\": \"llama\",\n \"hidden_act\": \"silu\",\n";
    static const char rest[] = " \"rms_norm_eps\": 1e-05, \"vocab_size\": 256, \"intermediate_size\": 64,\n"
                               " \"max_position_embeddings\": 64, \"num_hidden_layers\": 1\n}\n";
    static const struct {
        const char *middle, *message; /* NULL: fine */
    } cases[] = {
        {" \"num_attention_heads\": 4, \"hidden_size\": 64,\n", NULL},
        {" \"num_attention_heads\": 4,\n \"hidden_size\": 0,\n", "c.json:5: hidden_size = 0: out of range (allowed: 1"},
        {" \"num_attention_heads\": 4,\n \"hidden_size\": \"64\",\n", "c.json:5: hidden_size: found text, expected"},
        {" \"num_attention_heads\": 4,\n \"hidden_size\": 66,\n",
         "c.json:5: hidden size 66 cannot be divided by 4 heads, and head_dim is missing (allowed: a multiple"},
        {" \"hidden_size\": 64, \"num_attention_heads\": 4,\n\n \"num_key_value_heads\": 3,\n",
         "c.json:6: 4 attention heads cannot be divided among 3 key/value heads (allowed: a divisor of 4)"},
        {" \"hidden_size\": 64,\n", "c.json: num_attention_heads: the key is missing (found: model_type, hidden_act, "},
        {" \"hidden_size\": 64, \"num_attention_heads\": 4, \"note\": \"rope_type\",\n \"rope_scaling\":\n"
         " {\"factor\": 2,\n  \"rope_type\": \"yarn\"},\n",
         "c.json:7: rope_scaling: rope_type = yarn: not supported (allowed: default"},
        {" \"hidden_size\": 64,,\n", "c.json:4:20: JSON: "},
    };
    char path[600], text[1024];
    snprintf(path, sizeof path, "%s/c.json", scratch_directory());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model *m = NULL;
        struct error e = {OK, ""};
        snprintf(text, sizeof text, "%s%s%s", start, cases[i].middle, rest);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
        enum status s = model_open_shapes(path, &m, &e);
        assert_int_equal(s, cases[i].message ? ERR_RUN : OK);
        if (cases[i].message && !strstr(e.message, cases[i].message)) {
            fail_msg("expected '%s' in: %s", cases[i].message, e.message);
        }
        model_close(m);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(config_errors_have_lines),
    cmocka_unit_test(shapes_cost_what_values_cost),
    cmocka_unit_test(shapes_cost_what_values_cost_on_other_chips),
    cmocka_unit_test(missing_role_takes_the_mean),
    cmocka_unit_test(sessions_refuse_the_other_kind),
    cmocka_unit_test(seventy_billion_weights_fit_on_a_laptop),
    cmocka_unit_test(bad_shapes_are_refused),
};

const struct test_suite suite_shapes = {"shapes", tests, sizeof tests / sizeof tests[0]};
