/* mho tile as a user meets it: values worked out by hand, the keys of its JSON, the exact network against folding and
 * ngspice, repeated reads, and everything that may be wrong with its files and options.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "tests/suite.h"

enum { ARGS = 40 };

/* A file of this name in the test's folder; its path, valid for the next few calls. */
static const char *file_of(const char *name, const char *text) {
    static char paths[4][1200];
    static unsigned turn;
    static const char *folder;
    folder = folder ? folder : scratch_directory();
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    if (text) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
    }
    return path;
}

static const char weights[] = "1,-0.5\n0.5,0.25\n", inputs[] = "1,-0.6\n0.3,0.9\n";

/* mho tile on two files with further options ("--set a=b --json"); the status. Results where not NULL. */
static int run_tile(const char *w, const char *x, const char *options, char **out, char **err) {
    const char *args[ARGS] = {"tile", "--weights", file_of("W.csv", w), "--inputs", file_of("X.csv", x)};
    char text[2048];
    size_t n = 5;
    snprintf(text, sizeof text, "%s", options);
    for (char *save = NULL, *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
        assert_true(n + 1 < ARGS);
        args[n++] = one;
    }
    return run_mho(args, 60, out, err);
}

static json_t *tile(const char *w, const char *x, const char *options) {
    char *out = NULL, *err = NULL, all[2048];
    snprintf(all, sizeof all, "%s --json", options);
    int status = run_tile(w, x, all, &out, &err);
    json_error_t why;
    json_t *root = status == 0 ? json_loads(out, 0, &why) : NULL;
    if (!root) {
        fail_msg("mho tile %s: status %d: %s", options, status, err);
    }
    mem_free(out);
    mem_free(err);
    return root;
}

static double value(const json_t *list, size_t i, size_t k) {
    const json_t *v = json_array_get(json_array_get(list, i), k);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static double number(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v)) {
        fail_msg("%s: not a number", key);
    }
    return json_number_value(v);
}

#define WIRES                                                                                                          \
    "--set tile.wires.row_ohm=2 --set tile.wires.column_ohm=3 --set tile.wires.input_ohm=20 --set "                    \
    "tile.wires.output_ohm=10 --set tile.wires.column_fF=0.5 "
#define PLAIN                                                                                                          \
    "--set effects=off --set effects.dac=on --set effects.adc=on --set tile.adc.range=static --set "                   \
    "tile.adc.full_scale=3 "

/* 8-bit DAC, range = largest input of each vector; column scales 1 and 0.5; ADC full scale 3, step 3/127.
 *   input 1: codes 127, -76.   column 1: 127 - 38 = 89 -> 89/3 = 29.67 -> 30 -> 30 x 3/127
 *                              column 2: -127 - 38 = -165 -> -55         -> -55 x 3/127 x 0.5
 *   input 2: 0.3/0.9 x 127 = 42.3 -> 42, 127.  column 1: 42 + 63.5 -> 35.2 -> 35 -> 35 x 3/127 x 0.9
 *                              column 2: -42 + 63.5 -> 7.17 -> 7      -> 7 x 3/127 x 0.5 x 0.9
 * Currents: conductances 20.7 uS for full scale, 0.2 V for full scale: column 1 of input 1: 4.14 uA x 89/127. */
static void by_hand(void **state) {
    (void)state;
    json_t *root = tile(weights, inputs, PLAIN);
    const json_t *output = json_object_get(root, "output"), *stages = json_object_get(root, "stages");
    const json_t *codes = json_object_get(stages, "input_codes"), *results = json_object_get(stages, "adc_codes"),
                 *currents = json_object_get(stages, "column_current_uA");
    const double step = 3.0 / 127, x[2][2] = {{127, -76}, {42, 127}}, k[2][2] = {{30, -55}, {35, 7}},
                 y[2][2] = {{30 * step, -55 * step / 2}, {35 * step * 0.9, 7 * step * 0.45}},
                 uA[2][2] = {{4.14 * 89 / 127, 4.14 * -165 / 127}, {4.14 * 105.5 / 127, 4.14 * 21.5 / 127}};
    for (size_t t = 0; t < 2; t++) {
        for (size_t o = 0; o < 2; o++) {
            assert_true(value(codes, t, o) == x[t][o]);
            assert_true(value(results, t, o) == k[t][o]);
            assert_near(value(output, t, o), y[t][o], 1e-6); /* conductances and ranges are single precision */
            assert_near(value(currents, t, o), uA[t][o], 1e-5);
        }
    }
    assert_near(value(json_object_get(root, "digital"), 0, 0), 0.7, 1e-6);
    assert_near(value(json_object_get(json_object_get(root, "conductances"), "programmed_uS"), 0, 1), 10.35, 1e-4);
    assert_true(number(root, "fast_difference") < 1e-5);
    json_decref(root);
}

/* Capacitors: charges instead of currents, V^2 C instead of V^2 G t. 2 fF and 0.2 V; weights are bits. */
static void capacitors(void **state) {
    (void)state;
    json_t *root = tile("1,0\n1,1\n", "1,0.5\n",
                        "--set effects=off --set tile.cell=sram_capacitor --set "
                        "tile.cell.capacitor_fF=2 --set tile.dac.coding=amplitude");
    const json_t *stages = json_object_get(root, "stages");
    assert_null(json_object_get(stages, "column_current_uA"));
    assert_near(value(json_object_get(stages, "charge_fC"), 0, 0), 1.5 * 2 * 0.2, 1e-6);
    assert_near(value(json_object_get(stages, "charge_fC"), 0, 1), 0.5 * 2 * 0.2, 1e-6);
    /* 1^2 through one capacitor, 0.5^2 through two */
    assert_near(number(json_object_get(root, "energy_J"), "array"), 2e-15 * 0.04 * (1 + 2 * 0.25), 1e-20);
    json_decref(root);
}

/* The bound management repeats with half the input: what is shown is the last round. 127 + 127 x 0.5 = 190.5 codes of
 * 127 are beyond a full scale of 1; again with codes 64, 64 (63.5 to even): 96. */
static void repeated_read(void **state) {
    (void)state;
    json_t *root = tile(weights, "1,1\n",
                        "--set effects=off --set effects.dac=on --set effects.adc=on --set "
                        "tile.adc.range=static --set tile.adc.full_scale=1 --set "
                        "tile.management.bound=iterative");
    const json_t *stages = json_object_get(root, "stages");
    assert_true(value(json_object_get(stages, "input_codes"), 0, 0) == 64);
    assert_true(value(json_object_get(stages, "adc_codes"), 0, 0) == 96);
    assert_near(value(json_object_get(root, "output"), 0, 0), 2.0 * 96 / 127, 1e-6);
    json_decref(root);
}

/* Several conversions per output: [input][pass x lines + line][output]. Bits of 127 and 76 = 1001100b, lowest first;
 * the second input is negative. */
static void bit_by_bit(void **state) {
    (void)state;
    json_t *root = tile(weights, inputs, PLAIN "--set tile.dac.coding=bit_serial");
    const json_t *stages = json_object_get(root, "stages");
    const json_t *passes = json_array_get(json_object_get(stages, "pass"), 0);
    const json_t *codes = json_array_get(json_object_get(stages, "adc_codes"), 0);
    assert_int_equal(json_array_size(passes), 7);
    assert_int_equal(json_array_size(codes), 7);
    assert_true(value(json_object_get(stages, "input_codes"), 0, 1) == -76);
    for (size_t bit = 0; bit < 7; bit++) {
        double second = 76 >> bit & 1 ? -1 : 0;
        assert_true(value(passes, bit, 0) == 1 && value(passes, bit, 1) == second);
        assert_true(value(codes, bit, 0) == rint((1 + second / 2) * 127 / 3));
    }
    json_decref(root);
}

/* No input, no current: codes 0, and an exact solution that says so. */
static void nothing_flows(void **state) {
    (void)state;
    json_t *root = tile(weights, "0,0\n", WIRES "--exact");
    assert_true(value(json_object_get(root, "output"), 0, 0) == 0);
    assert_true(value(json_object_get(json_object_get(root, "exact"), "current_uA"), 0, 0) == 0);
    assert_true(json_is_null(json_object_get(json_object_get(root, "exact"), "relative_error")));
    assert_true(json_is_null(json_object_get(root, "relative_error")));
    json_decref(root);
    char *out = NULL;
    assert_int_equal(run_tile(weights, "0,0\n", "", &out, NULL), 0);
    assert_non_null(strstr(out, "error of the output: not known, the digital product is 0"));
    assert_null(strstr(out, "nan"));
    mem_free(out);
}

static void without_effects(void **state) {
    (void)state;
    json_t *root = tile(weights, inputs, "--set effects=off");
    const double y[2][2] = {{0.7, -0.65}, {0.75, 0.075}};
    for (size_t t = 0; t < 2; t++) {
        for (size_t o = 0; o < 2; o++) {
            assert_near(value(json_object_get(root, "output"), t, o), y[t][o], 1e-6);
        }
    }
    json_decref(root);
}

/* All keys that others rely on; numbers that are not known are null. */
static void keys(void **state) {
    (void)state;
    static const char *const always[] = {"mho",    "command", "seed",     "config_hash", "host",  "output",
                                         "stages", "exact",   "energy_J", "latency_s",   "config"};
    json_t *root = tile(weights, inputs, "--seed 7 --age 1h"), *none;
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        if (!json_object_get(root, always[i])) {
            fail_msg("no key %s", always[i]);
        }
    }
    assert_string_equal(json_string_value(json_object_get(root, "command")), "tile");
    assert_int_equal(json_integer_value(json_object_get(root, "seed")), 7);
    assert_true(json_is_null(json_object_get(root, "exact")) && json_is_null(json_object_get(root, "repeat")));
    assert_true(json_is_true(json_object_get(root, "calibrated")));
    assert_true(number(root, "latency_s") > 1e-9 && number(root, "latency_s") < 1e-3);
    const json_t *energy = json_object_get(root, "energy_J");
    double sum = 0;
    const char *name;
    json_t *part;
    json_object_foreach((json_t *)energy, name, part) { sum += json_number_value(part); }
    assert_true(number(energy, "adc") > 0 && number(energy, "dac") > 0 && number(energy, "array") > 0);
    assert_near(sum, number(root, "total_energy_J"), 1e-9 * sum);
    /* what leaks is told apart from what works, and of how much hardware it is */
    assert_near(number(root, "static_energy_J"), number(energy, "static"), 1e-9 * sum);
    assert_near(number(root, "dynamic_energy_J") + number(root, "static_energy_J"), sum, 1e-9 * sum);
    assert_true(number(root, "dynamic_energy_J") > 0 && number(root, "dynamic_energy_J") < 0.5 * sum);
    assert_non_null(strstr(json_string_value(json_object_get(root, "static_energy_of")), "whole chips"));
    none = tile(weights, inputs, "--chip ideal");
    assert_true(json_is_null(json_object_get(none, "latency_s")) &&
                json_is_null(json_object_get(none, "total_energy_J")));
    json_decref(none);
    json_decref(root);
}

/* The same seed gives the same tile; another seed another; repeats of a tile without white noise are all alike. */
static void seeds_and_repeats(void **state) {
    (void)state;
    json_t *a = tile(weights, inputs, "--seed 1"), *b = tile(weights, inputs, "--seed 1 --repeat 3"),
           *c = tile(weights, inputs, "--seed 2");
    assert_true(json_equal(json_object_get(a, "output"), json_object_get(b, "output")));
    assert_true(json_equal(json_object_get(a, "energy_J"), json_object_get(b, "energy_J"))); /* of one read */
    assert_false(json_equal(json_object_get(a, "output"), json_object_get(c, "output")));
    const json_t *repeat = json_object_get(b, "repeat");
    assert_true(number(repeat, "reads") == 3);
    for (size_t t = 0; t < 2; t++) {
        for (size_t o = 0; o < 2; o++) {
            assert_near(value(json_object_get(repeat, "mean"), t, o), value(json_object_get(b, "output"), t, o), 0.02);
            assert_true(value(json_object_get(repeat, "sd"), t, o) == 0);
        }
    }
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

/* Noise of every read: sd over 4000 reads is that of the phenomenon (weight scale x input range x 0.02), within four
 * standard errors sd / sqrt(2 N); its mean is the output without it. */
static void noisy_repeats(void **state) {
    (void)state;
    json_t *root = tile(weights, inputs,
                        "--set effects=off --set effects.adc_errors=on --set tile.phenomena.output_noise=0.02 "
                        "--repeat 4000");
    const json_t *repeat = json_object_get(root, "repeat");
    const double sd[2][2] = {{0.02, 0.01}, {0.018, 0.009}}, mean[2][2] = {{0.7, -0.65}, {0.75, 0.075}};
    for (size_t t = 0; t < 2; t++) {
        for (size_t o = 0; o < 2; o++) {
            assert_near(value(json_object_get(repeat, "sd"), t, o), sd[t][o], 4 * sd[t][o] / sqrt(8000));
            assert_near(value(json_object_get(repeat, "mean"), t, o), mean[t][o], 4 * sd[t][o] / sqrt(4000));
        }
    }
    json_decref(root);
}

/* ---- the exact network ---------------------------------------------------------------------------------------- */

static const char three[] = "1,-0.5,0.25\n0.5,1,-1\n-0.25,0.125,0.75\n0.75,-1,0.5\n",
                  two_inputs[] = "1,0.5,-0.25,0\n-1,1,0.5,0.75\n";

static void exact_network(void **state) {
    (void)state;
    json_t *root = tile(three, two_inputs, PLAIN "--set effects.wires=on --exact " WIRES);
    const json_t *exact = json_object_get(root, "exact");
    const json_t *currents = json_object_get(exact, "current_uA"),
                 *folded = json_object_get(exact, "folded_current_uA");
    assert_int_equal(json_array_size(currents), 2);
    assert_int_equal(json_array_size(json_array_get(currents, 0)), 6); /* 3 outputs, plus and minus */
    double largest = 0, difference = 0;
    for (size_t t = 0; t < 2; t++) {
        for (size_t j = 0; j < 6; j++) {
            largest = fmax(largest, fabs(value(currents, t, j)));
            difference = fmax(difference, fabs(value(currents, t, j) - value(folded, t, j)));
        }
    }
    assert_near(number(exact, "relative_error"), difference / largest, 1e-9);
    assert_true(difference / largest < 1e-3); /* the bound of folding */
    /* The stage of the multiply is what folded currents say: plus minus minus. */
    const json_t *stage = json_object_get(json_object_get(root, "stages"), "column_current_uA");
    for (size_t o = 0; o < 3; o++) {
        assert_near(value(stage, 1, o), value(folded, 1, 2 * o) - value(folded, 1, 2 * o + 1), 1e-4 * largest);
    }
    /* Losses take some of 4 x 20.7 uS x 0.2 V away, not much with 2 and 3 ohm. */
    assert_true(largest > 5 && largest < 4 * 20.7 * 0.2);
    assert_near(number(exact, "energy_J"), number(exact, "folded_energy_J"), 0.02 * number(exact, "energy_J"));
    assert_true(number(exact, "settling_s") > 0 && json_is_true(json_object_get(exact, "settles")));
    json_decref(root);
    root = tile(three, two_inputs,
                PLAIN "--set effects.wires=on --exact --set tile.wires.output_ohm=1e6 " WIRES
                      "--set tile.wires.column_fF=1e5 --set tile.pulse_ns=1");
    assert_true(json_is_false(json_object_get(json_object_get(root, "exact"), "settles")));
    json_decref(root);
}

/* Wires in time steps are no network to solve, and the message says why, not that wires are missing. */
static void ladders_have_no_network(void **state) {
    (void)state;
    static const char *const options[] = {"--exact", "--spice /dev/null"};
    for (size_t k = 0; k < 2; k++) {
        char all[1024], *out = NULL, *err = NULL;
        snprintf(all, sizeof all,
                 "%s --set tile.ladder.cell_ohm=0.15 --set tile.ladder.segments=8 --set tile.ladder.read_V=0.2 --set "
                 "tile.ladder.sense_offset_V=0.0005 --set tile.ladder.step_ns=1 --set tile.ladder.oscillator_GHz=6.24",
                 options[k]);
        assert_int_equal(run_tile(three, two_inputs, all, &out, &err), 2);
        assert_non_null(strstr(err, "tile.ladder: its steps add up in closed form"));
        mem_free(out);
        mem_free(err);
    }
}

/* A floating row takes the voltage that its cells give it: other currents than with the row at 0 V, and less power. */
static void floating_rows(void **state) {
    (void)state;
    json_t *held = tile(three, "1,0.5,-0.25,0\n", PLAIN "--set effects.wires=on --exact " WIRES),
           *floats = tile(three, "1,0.5,-0.25,0\n", PLAIN "--set effects.wires=on --exact --float-inactive " WIRES);
    const json_t *a = json_object_get(held, "exact"), *b = json_object_get(floats, "exact");
    assert_true(number(a, "newton_iterations") == 0 && number(b, "newton_iterations") > 0);
    double difference = 0, largest = 0;
    for (size_t j = 0; j < 6; j++) {
        double i = value(json_object_get(a, "current_uA"), 0, j);
        difference = fmax(difference, fabs(i - value(json_object_get(b, "current_uA"), 0, j)));
        largest = fmax(largest, fabs(i));
    }
    assert_true(difference > 1e-6 * largest && difference < 0.1 * largest);
    assert_true(number(b, "energy_J") < number(a, "energy_J"));
    json_decref(held);
    json_decref(floats);
}

/* Cells of cubic current behind wires of next to no resistance: the network solved by Newton must give g V s(V) by
 * hand, which is also what the multiply takes. reference_V 0.4 and k 1: s(0.2 V) = 1.25 / 2, s(0.1 V) = 1.0625 / 2. */
static void bent_currents(void **state) {
    (void)state;
    static const char *const codings[] = {"pulse_width", "amplitude"};
    const double sums[2][2] = {{0.625 * 1, 0.625 * 0.5},
                               {0.625 * 1, 0.53125 * 0.5}}; /* s x level of inputs 1 and 0.5 */
    for (int k = 0; k < 2; k++) {
        char options[1024];
        snprintf(options, sizeof options,
                 "--set tile.wires.exact_nonlinear=on --set effects=off --set effects.wires=on --set "
                 "effects.cell_nonlinearity=on --set "
                 "tile.cell.current.form=cubic "
                 "--set tile.cell.current.reference_V=0.4 --set tile.cell.current.strength=1 --set tile.dac.coding=%s "
                 "--exact "
                 "--set tile.wires.row_ohm=1e-4 --set tile.wires.column_ohm=1e-4 --set tile.wires.input_ohm=0 --set "
                 "tile.wires.output_ohm=0 --set tile.wires.column_fF=0",
                 codings[k]);
        json_t *root = tile("1\n0.5\n", "1,0.5\n", options);
        const json_t *exact = json_object_get(root, "exact");
        double uA = 0.2 * 20.7 * (sums[k][0] + 0.5 * sums[k][1]);
        assert_near(value(json_object_get(exact, "current_uA"), 0, 0), uA, 1e-5 * uA);
        assert_near(value(json_object_get(exact, "folded_current_uA"), 0, 0), uA, 1e-5 * uA);
        assert_near(value(json_object_get(json_object_get(root, "stages"), "column_current_uA"), 0, 0), uA, 1e-5 * uA);
        assert_true(number(exact, "newton_iterations") > 0);
        assert_true(json_is_null(json_object_get(exact, "settling_s")));
        json_decref(root);
    }
    char *err = NULL;
    assert_int_equal(
        run_tile("1\n0.5\n", "1,0.5\n",
                 WIRES "--set tile.wires.exact_nonlinear=on --spice n.cir --set tile.cell.current.form=cubic --set "
                       "tile.cell.current.reference_V=0.4 --set tile.cell.current.strength=1",
                 NULL, &err),
        2);
    assert_non_null(strstr(err, "effects.cell_nonlinearity=off"));
    mem_free(err);
}

/* ngspice on the netlist: the currents that the file promises, within 1e-6 of the largest. */
static void netlist(void **state) {
    (void)state;
    if (system("command -v ngspice > /dev/null 2>&1") != 0) {
        skip_because("ngspice is not installed");
    }
    char options[1024], command[2600], line[512], *text = NULL;
    const char *path = file_of("network.cir", NULL);
    size_t bytes;
    struct error e;
    snprintf(options, sizeof options, PLAIN "--set effects.wires=on " WIRES "--spice %s", path);
    assert_int_equal(run_tile(three, two_inputs, options, NULL, NULL), 0);
    assert_int_equal(read_file(path, 1 << 20, &text, &bytes, &e), OK);
    snprintf(command, sizeof command, "ngspice -b '%s' 2>/dev/null", path);
    FILE *p = popen(command, "r");
    double largest = 0, worst = 0;
    int found = 0;
    while (fgets(line, sizeof line, p)) {
        int column;
        double got, want;
        if (sscanf(line, "out_%d = %lf", &column, &got) == 2) {
            char key[64];
            snprintf(key, sizeof key, "expected out_%d = ", column);
            const char *at = strstr(text, key);
            assert_non_null(at);
            assert_int_equal(sscanf(at + strlen(key), "%lf", &want), 1);
            largest = fmax(largest, fabs(want));
            worst = fmax(worst, fabs(got - want));
            found++;
        }
    }
    assert_int_equal(pclose(p), 0);
    assert_int_equal(found, 6);
    assert_true(largest > 1e-6);
    assert_near(worst / largest, 0, 1e-6);
    mem_free(text);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

struct mistake {
    const char *w, *x, *options;
    int status;
    const char *says;
};

static void mistakes(void **state) {
    (void)state;
    static const struct mistake all[] = {
        {"1,2\n3\n", inputs, "", 1, "W.csv:2: 1 cells (allowed: 2, as in line 1)"},
        {"1,2\n3,\n", inputs, "", 1, "W.csv:2:2: the cell is empty"},
        {"1,nan\n3,4\n", inputs, "", 1, "W.csv:1:2: nan: not a number"},
        {"1,inf\n3,4\n", inputs, "", 1, "W.csv:1:2: inf: not a number"},
        {"1,1e39\n3,4\n", inputs, "", 1, "W.csv:1:2: 1e+39: too large (allowed: 3.40282e+38 at most)"},
        {"", inputs, "", 1, "W.csv: no rows of data"},
        {weights, "1,2,3\n", "", 2, "3 numbers per line, but"},
        {"a,b\n1,2\n3,4\n", inputs, "", 1, "W.csv:1:1: a: not a number"},
        {weights, "1;2\n", "", 1, "X.csv:1:1: 1;2: not a number"},
        {weights, "1\n", "", 2, "1 numbers per line, but"},
        {weights, "1,x\n", "", 1, "X.csv:1:2: x: not a number"},
        {weights, inputs, "--set tile.rows=1", 2,
         "2 x 2 weights are more than one tile of pcm256 holds (allowed: 1 x 256"},
        {weights, inputs, "--set tile.columns=1", 2, "(allowed: 256 x 1"},
        {weights, inputs, "--chip none", 2, "--chip none: has no tile"},
        {weights, inputs, "--exact", 2, "tile.wires: the chip states no wires"},
        {weights, inputs, "--chip ideal --exact", 2, "costs: none: the chip states no read voltage"},
        {weights, inputs, "--float-inactive", 2, "--float-inactive: only with --exact"},
        {weights, inputs, WIRES "--exact --float-inactive --spice n.cir", 2,
         "--spice: the netlist is of rows that are all driven"},
        {weights, inputs, WIRES "--spice /nowhere/n.cir", 1, "/nowhere/n.cir"},
        {weights, inputs, "--repeat 0", 2, "--repeat 0: not a whole number in range"},
        {weights, inputs, "--age -1h", 2, "--age"},
        {weights, inputs, "more", 2, "more: what is this?"},
        {weights, inputs, "--prompt x", 2, "--prompt: unknown option"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct mistake *m = &all[i];
        char *out = NULL, *err = NULL;
        int status = run_tile(m->w, m->x, m->options, &out, &err);
        if (status != m->status || !strstr(err, m->says) || out[0]) {
            fail_msg("%zu: %s: status %d (expected %d), says: %s(expected: %s); stdout: %.80s", i, m->options, status,
                     m->status, err, m->says, out);
        }
        mem_free(out);
        mem_free(err);
    }
    const char *const nothing[] = {"tile", NULL}, *const half[] = {"tile", "--weights", "W.csv", NULL};
    char *err = NULL;
    assert_int_equal(run_mho(nothing, 10, NULL, &err), 2);
    assert_non_null(strstr(err, "--weights is missing"));
    mem_free(err);
    assert_int_equal(run_mho(half, 10, NULL, &err), 2);
    assert_non_null(strstr(err, "--inputs is missing"));
    mem_free(err);
}

/* Values that single precision holds, but not their inverse, are 0 to the tile, and it says so: an input, and a column,
 * is lost when all of it is below 1e-36. */
static void too_small(void **state) {
    (void)state;
    json_t *root = tile("1e-40,1\n1e-45,0.5\n", "1e-37,1e-50\n1e-50,0\n1e-36,1e-37\n0,0\n", "");
    assert_int_equal(json_integer_value(json_object_get(root, "inputs_read_as_zero")), 2);
    assert_int_equal(json_integer_value(json_object_get(root, "columns_programmed_as_zero")), 1);
    assert_true(value(json_object_get(root, "output"), 1, 1) == 0 && value(json_object_get(root, "output"), 2, 1) > 0);
    json_decref(root);
    char *out = NULL;
    assert_int_equal(run_tile("1e-40,1\n1e-45,0.5\n", "1e-37,0\n1,0\n", "", &out, NULL), 0);
    assert_non_null(strstr(out, "1 of 2 inputs count as 0: all their values are below 1e-36"));
    assert_non_null(strstr(out, "1 of 2 columns count as 0: all their weights are below 1e-36"));
    mem_free(out);
    assert_int_equal(run_tile(weights, "1e-40,1\n0,0\n", "", &out, NULL), 0);
    assert_null(strstr(out, "count as 0"));
    mem_free(out);
}

/* What the text says of the hardware around the multiply is what the JSON says. */
static void faults_programming_and_wires(void **state) {
    (void)state;
    static const char options[] = WIRES "--set tile.faults.dead_columns=0.5 --set tile.faults.spare_columns=1 --set "
                                        "tile.columns=4 --seed 3";
    char *out = NULL, expected[200];
    json_t *root = tile(weights, inputs, options);
    const json_t *programming = json_object_get(root, "programming"), *faults = json_object_get(root, "faults"),
                 *wires = json_object_get(root, "wires");
    assert_int_equal(run_tile(weights, inputs, options, &out, NULL), 0);
    double devices = number(programming, "devices"), dead = number(faults, "dead_columns");
    assert_true(dead > 0 && number(faults, "repaired_columns") > 0);
    snprintf(expected, sizeof expected, "programming: %.3g devices x %.3g pulses", devices,
             number(programming, "pulses") / devices);
    assert_non_null(strstr(out, expected));
    snprintf(expected, sizeof expected, "faults: %g devices, %g lines; %g lines on spares; left %g devices, %g lines",
             number(faults, "stuck_devices"), dead, number(faults, "repaired_columns"),
             number(faults, "stuck_devices_left"), number(faults, "dead_columns_left"));
    assert_non_null(strstr(out, expected));
    snprintf(expected, sizeof expected, "wires: %.2g %% of the current lost; folding off by %.1g",
             100 * number(wires, "mean_loss"), number(wires, "measured_error"));
    assert_non_null(strstr(out, expected));
    assert_non_null(strstr(out, "of whole chips: every tile"));
    json_decref(root);
    mem_free(out);
}

/* A key of an effect that is off changes nothing, and the note says so; a key that acts has none. */
static void idle_keys_are_told(void **state) {
    (void)state;
    char *err = NULL;
    static const char options[] = WIRES "--set effects.wires=off --set tile.faults.dead_rows=0";
    assert_int_equal(run_tile(weights, inputs, options, NULL, &err), 0);
    assert_non_null(strstr(err, "--set tile.wires.row_ohm=2: changes nothing, effects.wires is off"));
    assert_null(strstr(err, "tile.faults"));
    mem_free(err);
    assert_int_equal(run_tile(weights, inputs, "--set effects=off --set tile.temperature_K=350", NULL, &err), 0);
    assert_non_null(strstr(err, "effects.temperature is off"));
    mem_free(err);
    assert_int_equal(run_tile(weights, inputs, WIRES, NULL, &err), 0);
    assert_null(strstr(err, "changes nothing"));
    mem_free(err);
}

static double sd_from(const json_t *a, const json_t *b) {
    double sum = 0;
    size_t rows = json_array_size(json_array_get(a, 0)), n = json_array_size(a) * rows;
    for (size_t i = 0; i < n; i++) {
        double d = value(a, i / rows, i % rows) - value(b, i / rows, i % rows);
        sum += d * d / (double)n;
    }
    return sqrt(sum);
}

/* Target, programmed, at an age, behind wires: each differs from the one before by its own effect alone. */
static void devices_stage_by_stage(void **state) {
    (void)state;
    static const struct {
        const char *set;
        bool programmed, aged, wires;
    } rows[] = {
        {"--set effects=off", false, false, false},
        {"--set effects=off --set effects.programming_noise=on", true, false, false},
        {"--age 1d --set effects=off --set effects.drift=on", false, true, false},
        {"--set effects=off --set effects.faults=on --set tile.faults.stuck_g_max=0.5", false, true, false},
        {WIRES "--set effects=off --set effects.wires=on", false, false, true},
        {WIRES "--age 1d", true, true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *root = tile(weights, inputs, rows[i].set), *c = json_object_get(root, "conductances");
        const json_t *target = json_object_get(c, "target_uS"), *programmed = json_object_get(c, "programmed_uS"),
                     *aged = json_object_get(c, "aged_uS"), *effective = json_object_get(c, "effective_uS");
        assert_near(value(target, 0, 0), 20.7, 1e-4); /* w = 1, the largest of its column: plus device */
        assert_near(value(target, 0, 1), 10.35, 1e-4);
        assert_near(value(target, 1, 1), 0, 1e-4);
        assert_int_equal(sd_from(programmed, target) > 1e-4, rows[i].programmed);
        assert_int_equal(sd_from(aged, programmed) > 1e-4, rows[i].aged);
        assert_int_equal(sd_from(effective, aged) > 1e-4, rows[i].wires);
        json_decref(root);
    }
}

/* For people: every stage has its line. */
static void table(void **state) {
    (void)state;
    static const char *const lines[] = {"2 x 2 weights on a tile of pcm256, 2 inputs, seed 0",
                                        "target, uS",
                                        "programmed, uS",
                                        "at this age, uS",
                                        "behind wires, uS",
                                        "input_codes",
                                        "column_current_uA",
                                        "adc_codes",
                                        "output ",
                                        "digital product",
                                        "saturated: 0 of 4 ADC results",
                                        "calibration: 2 reads for drift, 0 for correction, ",
                                        "latency",
                                        "20 reads",
                                        "no read differs from another",
                                        "folded current, uA",
                                        "exact current, uA",
                                        "exact network",
                                        "settles in"};
    char *out = NULL;
    assert_int_equal(run_tile(weights, inputs, WIRES "--exact --repeat 20", &out, NULL), 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!strstr(out, lines[i])) {
            fail_msg("no \"%s\" in:\n%s", lines[i], out);
        }
    }
    mem_free(out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(by_hand),       cmocka_unit_test(capacitors),        cmocka_unit_test(repeated_read),
    cmocka_unit_test(nothing_flows), cmocka_unit_test(bit_by_bit),        cmocka_unit_test(without_effects),
    cmocka_unit_test(keys),          cmocka_unit_test(seeds_and_repeats), cmocka_unit_test(noisy_repeats),
    cmocka_unit_test(exact_network), cmocka_unit_test(floating_rows),     cmocka_unit_test(bent_currents),
    cmocka_unit_test(netlist),       cmocka_unit_test(mistakes),          cmocka_unit_test(table),
    cmocka_unit_test(idle_keys_are_told),
    cmocka_unit_test(too_small),     cmocka_unit_test(faults_programming_and_wires),
    cmocka_unit_test(ladders_have_no_network),
    cmocka_unit_test(devices_stage_by_stage),
};

const struct test_suite suite_tile = {"tile", tests, sizeof tests / sizeof tests[0]};
