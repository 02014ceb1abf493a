/* Wires: the exact network against badcrossbar, CrossSim and ngspice, folding against the exact network, Newton, netlists,
 * settling, and what is refused. Topology, random numbers and accuracies of the goldens: peers.md beside them.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "devices/wires.h"
#include "tests/suite.h"

/* ---- arrays ---------------------------------------------------------------------------------------------------- */

static uint64_t lcg_state;
static double lcg(void) {
    lcg_state = lcg_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(lcg_state >> 11) * 0x1p-53;
}

/* The goldens' conductances of a seed, [columns][rows]; mem_free. */
static double *golden_cells(size_t rows, size_t columns, uint64_t seed, double zeros) {
    double *g = mem_alloc(rows * columns, sizeof *g);
    lcg_state = seed;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            double s = 1e-7 + (25e-6 - 1e-7) * lcg();
            g[j * rows + i] = zeros > 0 && lcg() < zeros ? 0 : s;
        }
    }
    return g;
}

/* Their four inputs, [4][rows]; mem_free. */
static double *golden_inputs(size_t rows, uint64_t seed) {
    double *v = mem_alloc(4 * rows, sizeof *v);
    lcg_state = seed;
    for (size_t i = 0; i < rows; i++) {
        v[i] = 0.2;
        v[rows + i] = 0.2 * lcg();
    }
    v[2 * rows + rows / 2] = 0.2;
    for (size_t i = 0; i < rows; i++) {
        v[3 * rows + i] = 0.2 * (2 * lcg() - 1);
    }
    return v;
}

static struct wires plain(double row_ohm, double column_ohm) {
    return (struct wires){.row_ohm = row_ohm, .column_ohm = column_ohm, .segment = 1};
}

static void must(enum status s, const struct error *e) {
    if (s != OK) {
        fail_msg("%s", e->message);
    }
}

static struct network *network(const struct wires *w, size_t rows, size_t columns, const double *g) {
    struct network *n = NULL;
    struct error e;
    must(network_create(w, rows, columns, g, &n, &e), &e);
    return n;
}

/* Largest difference over the largest magnitude of b. */
static double relative(const double *a, const double *b, size_t n) {
    double difference = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        difference = fmax(difference, isnan(a[i]) ? INFINITY : fabs(a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    return largest > 0 ? difference / largest : difference;
}

static json_t *golden_json(const char *name) {
    json_error_t error;
    json_t *root = json_load_file(golden_path(name), 0, &error);
    if (!root) {
        fail_msg("%s: %s", name, error.text);
    }
    return root;
}

static double number_of(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

/* Numbers of a (nested) array, in order; mem_free. */
static void gather(const json_t *a, double *out, size_t *n) {
    if (!json_is_array(a)) {
        out[(*n)++] = json_number_value(a);
        return;
    }
    for (size_t i = 0; i < json_array_size(a); i++) {
        gather(json_array_get(a, i), out, n);
    }
}
static double *numbers_of(const json_t *o, const char *key, size_t expected) {
    double *out = mem_alloc(expected, sizeof *out);
    size_t n = 0;
    gather(json_object_get(o, key), out, &n);
    assert_int_equal(n, expected);
    return out;
}

/* ---- exact against others ------------------------------------------------------------------------------------------ */

/* Bound 1e-11 of the largest current: peers differ among themselves by up to 2.9e-13, the issue asks for 1e-9. */
static const double EXACT = 1e-11;

static void check_outputs(struct network *n, size_t rows, size_t columns, uint64_t seed_V, const double *expected,
                          const double *power) {
    double *v = golden_inputs(rows, seed_V), *out = mem_alloc(columns, sizeof *out), watt;
    struct error e;
    for (size_t k = 0; k < 4; k++) {
        must(network_solve(n, v + k * rows, out, &watt, NULL, NULL, &e), &e);
        assert_near(relative(out, expected + k * columns, columns), 0, EXACT);
        if (power) { /* badcrossbar's is good to 4.6e-11 */
            assert_near(watt / power[k], 1, 1e-10);
        }
    }
    mem_free(v);
    mem_free(out);
}

/* The small cases hold every node voltage, to 13 digits of 0.2 V. */
static void check_nodes(struct network *n, const json_t *c, size_t rows, size_t columns, uint64_t seed_V) {
    size_t cells = rows * columns;
    double *v = golden_inputs(rows, seed_V), *mine = mem_alloc(2 * cells + columns, sizeof *mine);
    double *words = numbers_of(c, "word_line_voltage", 4 * cells), *bits = numbers_of(c, "bit_line_voltage", 4 * cells);
    struct error e;
    for (size_t k = 0; k < 4; k++) {
        must(network_solve(n, v + k * rows, mine + 2 * cells, NULL, mine, mine + cells, &e), &e);
        assert_near(relative(mine, words + k * cells, cells), 0, 1e-12);
        assert_near(relative(mine + cells, bits + k * cells, cells), 0, EXACT);
    }
    mem_free(v);
    mem_free(mine);
    mem_free(words);
    mem_free(bits);
}

static void exact_agrees_with_badcrossbar(void **state) {
    (void)state;
    json_t *root = golden_json("wires.json"), *c;
    size_t k;
    json_array_foreach(json_object_get(root, "cases"), k, c) {
        size_t rows = (size_t)number_of(c, "rows"), columns = (size_t)number_of(c, "cols");
        uint64_t seed_V = (uint64_t)number_of(c, "seed_V");
        double *g = golden_cells(rows, columns, (uint64_t)number_of(c, "seed_G"), number_of(c, "zeros"));
        double *out = numbers_of(c, "out", 4 * columns), *power = numbers_of(c, "power", 4);
        struct wires w = plain(number_of(c, "r_row"), number_of(c, "r_col"));
        struct network *n = network(&w, rows, columns, g);
        check_outputs(n, rows, columns, seed_V, out, power);
        if (json_object_get(c, "word_line_voltage")) {
            check_nodes(n, c, rows, columns, seed_V);
        }
        network_destroy(n);
        mem_free(g);
        mem_free(out);
        mem_free(power);
    }
    assert_int_equal(k, 26);
    json_decref(root);
}

static struct wires golden_wires(const json_t *c) {
    struct wires w = plain(number_of(c, "r_row"), number_of(c, "r_col"));
    const char *outputs = json_string_value(json_object_get(c, "outputs"));
    w.input_ohm = number_of(c, "r_drv");
    w.output_ohm = number_of(c, "r_sense");
    w.output_end = strcmp(outputs, "bottom") == 0 ? WIRES_BOTTOM : strcmp(outputs, "top") == 0 ? WIRES_TOP : WIRES_ALTERNATE;
    return w;
}

/* Effective conductances, all or of rows 0, 15 and 31, to the digits that the golden has. */
static void check_effective(struct network *n, const json_t *c, size_t rows, size_t columns) {
    struct error e;
    bool all = json_object_get(c, "E") != NULL;
    double *expected = all ? numbers_of(c, "E", rows * columns) : numbers_of(c, "E_of_rows_0_15_31", 3 * columns);
    double *column = mem_alloc(rows, sizeof *column), difference = 0, largest = 0;
    for (size_t j = 0; j < columns; j++) {
        must(network_column(n, j, column, &e), &e);
        for (size_t i = 0; i < (all ? rows : 3); i++) {
            double mine = column[all ? i : (size_t[]){0, 15, 31}[i]];
            double theirs = expected[all ? j * rows + i : i * columns + j];
            difference = fmax(difference, fabs(mine - theirs));
            largest = fmax(largest, theirs);
        }
    }
    assert_near(difference / largest, 0, rows == 8 ? 5e-13 : 5e-9); /* half a unit of the 13th and 9th digit */
    mem_free(expected);
    mem_free(column);
}

static void exact_agrees_in_all_topologies(void **state) {
    (void)state;
    json_t *root = golden_json("wires.json"), *c;
    size_t k;
    json_array_foreach(json_object_get(root, "effective"), k, c) {
        size_t rows = (size_t)number_of(c, "rows"), columns = (size_t)number_of(c, "cols");
        double *g = golden_cells(rows, columns, (uint64_t)number_of(c, "seed_G"), 0);
        double *out = numbers_of(c, "out", 4 * columns);
        struct wires w = golden_wires(c);
        struct network *n = network(&w, rows, columns, g);
        check_outputs(n, rows, columns, (uint64_t)number_of(c, "seed_V"), out, NULL);
        check_effective(n, c, rows, columns);
        network_destroy(n);
        mem_free(g);
        mem_free(out);
    }
    assert_int_equal(k, 19);
    json_decref(root);
}

static void exact_agrees_with_crosssim(void **state) {
    (void)state;
    json_t *root = golden_json("crosssim.json"), *c;
    size_t k, compared = 0;
    json_array_foreach(json_object_get(root, "parasitics"), k, c) {
        if (number_of(c, "Rp_row_terminal") > 0) {
            continue; /* a different circuit there: peers.md */
        }
        size_t rows = (size_t)number_of(c, "rows"), columns = (size_t)number_of(c, "cols");
        double *g = golden_cells(rows, columns, (uint64_t)number_of(c, "seed_G"), 0);
        double *out = numbers_of(c, "out_threshold_1e13", 4 * columns);
        struct wires w = plain(number_of(c, "Rp_row"), number_of(c, "Rp_col"));
        w.output_ohm = number_of(c, "Rp_col_terminal");
        struct network *n = network(&w, rows, columns, g);
        check_outputs(n, rows, columns, (uint64_t)number_of(c, "seed_V"), out, NULL);
        compared++;
        network_destroy(n);
        mem_free(g);
        mem_free(out);
    }
    assert_true(compared >= 2);
    json_decref(root);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(exact_agrees_with_badcrossbar),
    cmocka_unit_test(exact_agrees_in_all_topologies),
    cmocka_unit_test(exact_agrees_with_crosssim),
};
const struct test_suite suite_wires = {"wires", tests, sizeof tests / sizeof tests[0]};
