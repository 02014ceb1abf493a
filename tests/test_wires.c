/* Wires: the exact network against badcrossbar, CrossSim, ngspice and a second solver; Newton, netlists, settling, and
 * what is refused. Topology, random numbers and accuracies of the goldens: peers.md beside them.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <suitesparse/SuiteSparse_config.h>

#include "tests/wires_arrays.h"

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

/* ---- exact against others -------------------------------------------------------------------- */

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
    w.output_end = strcmp(outputs, "bottom") == 0 ? WIRES_BOTTOM
                   : strcmp(outputs, "top") == 0  ? WIRES_TOP
                                                  : WIRES_ALTERNATE;
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
            continue; /* a different circuit there (it misses nodal analysis by 6 %): two of the four cases */
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
    assert_int_equal(k, 4);
    assert_int_equal(compared, 2);
    json_decref(root);
}

/* ---- a second solver, for what the goldens do not have ------------------------------------------------------------
 *
 * Textbook nodal analysis in absolute voltages with a dense matrix and pivoting: slow, obvious, another way of writing
 * the equations than the one under test. Cells may be nonlinear: their conductance is then I(v) / v, repeated until it
 * stands.
 */

enum { DENSE_NODES = 400 };

struct dense {
    const struct wires *w;
    size_t rows, columns, nodes;
    double a[DENSE_NODES][DENSE_NODES + 1];
    double v[DENSE_NODES]; /* node 0 .. rows - 1: the sources; then ground; then the wires */
};

static size_t source_node(size_t row) { return row; }
static size_t ground_node(const struct dense *d) { return d->rows; }

static size_t groups(size_t cells, int segment) { return (cells + (size_t)segment - 1) / (size_t)segment; }

/* Node of the row (column) line at a cell: lines of no resistance at all are their source (ground), those with a
 * terminal resistance only are one node. */
static size_t word_node(const struct dense *d, size_t i, size_t j) {
    if (d->w->row_ohm == 0 && d->w->input_ohm == 0) {
        return source_node(i);
    }
    return d->rows + 1 + i * groups(d->columns, d->w->segment) + (d->w->row_ohm > 0 ? j / (size_t)d->w->segment : 0);
}
static size_t bit_node(const struct dense *d, size_t i, size_t j) {
    if (d->w->column_ohm == 0 && d->w->output_ohm == 0) {
        return ground_node(d);
    }
    return d->rows + 1 + d->rows * groups(d->columns, d->w->segment) + j * groups(d->rows, d->w->segment) +
           (d->w->column_ohm > 0 ? i / (size_t)d->w->segment : 0);
}

static void resistor(struct dense *d, size_t a, size_t b, double siemens) {
    if (a != b && siemens > 0) {
        d->a[a][a] += siemens;
        d->a[b][b] += siemens;
        d->a[a][b] -= siemens;
        d->a[b][a] -= siemens;
    }
}

static void stamp_wires(struct dense *d, const bool *driven) {
    const struct wires *w = d->w;
    double row_ohm = w->segment * w->row_ohm, column_ohm = w->segment * w->column_ohm;
    for (size_t i = 0; i < d->rows; i++) {
        for (size_t j = 0; j + 1 < d->columns; j++) {
            resistor(d, word_node(d, i, j), word_node(d, i, j + 1), row_ohm > 0 ? 1 / row_ohm : 0);
        }
        double port = row_ohm + w->input_ohm > 0 && (!driven || driven[i]) ? 1 / (row_ohm + w->input_ohm) : 0;
        if (w->input_end != WIRES_RIGHT) {
            resistor(d, source_node(i), word_node(d, i, 0), port);
        }
        if (w->input_end != WIRES_LEFT) {
            resistor(d, source_node(i), word_node(d, i, d->columns - 1), port);
        }
    }
    for (size_t j = 0; j < d->columns; j++) {
        for (size_t i = 0; i + 1 < d->rows; i++) {
            resistor(d, bit_node(d, i, j), bit_node(d, i + 1, j), column_ohm > 0 ? 1 / column_ohm : 0);
        }
        double port = column_ohm + w->output_ohm > 0 ? 1 / (column_ohm + w->output_ohm) : 0;
        int end = w->output_end == WIRES_ALTERNATE ? (j % 2 == 0 ? WIRES_BOTTOM : WIRES_TOP) : w->output_end;
        if (end != WIRES_TOP) {
            resistor(d, ground_node(d), bit_node(d, d->rows - 1, j), port);
        }
        if (end != WIRES_BOTTOM) {
            resistor(d, ground_node(d), bit_node(d, 0, j), port);
        }
    }
}

/* Gauss with pivoting; nodes without any branch keep 0 V. */
static void dense_solve(struct dense *d, const double *input_V) {
    for (size_t k = 0; k < d->nodes; k++) {
        bool fixed = k <= d->rows || d->a[k][k] == 0;
        for (size_t c = 0; fixed && c <= d->nodes; c++) {
            d->a[k][c] = c == k ? 1 : c == d->nodes && k < d->rows ? input_V[k] : 0;
        }
    }
    for (size_t k = 0; k < d->nodes; k++) {
        size_t pivot = k;
        for (size_t r = k + 1; r < d->nodes; r++) {
            pivot = fabs(d->a[r][k]) > fabs(d->a[pivot][k]) ? r : pivot;
        }
        for (size_t c = 0; c <= d->nodes; c++) {
            double t = d->a[k][c];
            d->a[k][c] = d->a[pivot][c];
            d->a[pivot][c] = t;
        }
        for (size_t r = k + 1; r < d->nodes; r++) {
            double factor = d->a[r][k] / d->a[k][k];
            for (size_t c = k; factor != 0 && c <= d->nodes; c++) {
                d->a[r][c] -= factor * d->a[k][c];
            }
        }
    }
    for (size_t k = d->nodes; k-- > 0;) {
        d->v[k] = d->a[k][d->nodes];
        for (size_t c = k + 1; c < d->nodes; c++) {
            d->v[k] -= d->a[k][c] * d->v[c];
        }
        d->v[k] /= d->a[k][k];
    }
}

typedef double cell_current(void *context, double volts, double g_S, double *derivative_S);

/* Column currents, and what the driven sources deliver; current NULL: linear. */
static double reference(const struct wires *w, size_t rows, size_t columns, const double *g, const bool *driven,
                        cell_current *current, const double *input_V, double *out) {
    struct dense *d = mem_alloc(1, sizeof *d);
    d->w = w;
    d->rows = rows;
    d->columns = columns;
    d->nodes = rows + 1 + rows * groups(columns, w->segment) + columns * groups(rows, w->segment);
    assert_true(d->nodes <= DENSE_NODES);
    for (int pass = 0; pass < (current ? 30 : 1); pass++) {
        memset(d->a, 0, sizeof d->a);
        stamp_wires(d, driven);
        for (size_t j = 0; j < columns; j++) {
            out[j] = 0;
            for (size_t i = 0; i < rows; i++) {
                double volts = d->v[word_node(d, i, j)] - d->v[bit_node(d, i, j)], slope, s = g[j * rows + i];
                if (current && pass > 0 && fabs(volts) > 1e-12) {
                    s = current(NULL, volts, s, &slope) / volts;
                }
                resistor(d, word_node(d, i, j), bit_node(d, i, j), s);
            }
        }
        dense_solve(d, input_V);
    }
    double watt = 0;
    for (size_t j = 0; j < columns; j++) {
        out[j] = 0;
        for (size_t i = 0; i < rows; i++) {
            double volts = d->v[word_node(d, i, j)] - d->v[bit_node(d, i, j)], slope, s = g[j * rows + i];
            double ampere = current ? current(NULL, volts, s, &slope) : s * volts;
            out[j] += ampere;
            watt += !driven || driven[i] ? input_V[i] * ampere : 0;
        }
    }
    mem_free(d);
    return watt;
}

/* The reference loses digits where wires of 3 ohm meet cells of microsiemens: 1e-10 of the largest current. */
static const double DENSE = 1e-10;

static void exact_agrees_with_a_second_solver_in_every_variant(void **state) {
    (void)state;
    double *g = golden_cells(SMALL_ROWS, SMALL_COLUMNS, 31, 0.2), *v = golden_inputs(SMALL_ROWS, 32);
    for (int k = 0; k < VARIANTS; k++) {
        struct wires w = variant(k);
        struct network *n = network(&w, SMALL_ROWS, SMALL_COLUMNS, g);
        double mine[SMALL_COLUMNS], other[SMALL_COLUMNS], column[SMALL_ROWS], folded[SMALL_COLUMNS] = {0}, watt;
        struct error e;
        must(network_solve(n, v + 3 * SMALL_ROWS, mine, &watt, NULL, NULL, &e), &e);
        double watt_other = reference(&w, SMALL_ROWS, SMALL_COLUMNS, g, NULL, NULL, v + 3 * SMALL_ROWS, other);
        assert_near(relative(mine, other, SMALL_COLUMNS), 0, DENSE);
        assert_near(watt / watt_other, 1, DENSE);
        for (size_t j = 0; j < SMALL_COLUMNS; j++) { /* reciprocity: columns of E give the same currents */
            must(network_column(n, j, column, &e), &e);
            for (size_t i = 0; i < SMALL_ROWS; i++) {
                folded[j] += column[i] * v[3 * SMALL_ROWS + i];
            }
        }
        assert_near(relative(folded, mine, SMALL_COLUMNS), 0, 1e-13);
        network_destroy(n);
    }
    mem_free(g);
    mem_free(v);
}

/* Solutions by turns against those by factors: 1e-9 of the largest current is what the samples of a run need. The
 * last case takes too many turns and is factorised: then nothing but rounding is left. */
static void a_few_solutions_agree_with_factors(void **state) {
    (void)state;
    enum { ROWS = 48, COLUMNS = 64 };
    const struct {
        struct wires w;
        double bound;
    } cases[] = {{plain(0.35, 0.35), 1e-9},
                 {{.row_ohm = 0.175, .column_ohm = 0.35, .input_ohm = 5, .output_ohm = 5, .segment = 1}, 1e-9},
                 {{.row_ohm = 3, .column_ohm = 2, .input_ohm = 50, .segment = 3, .output_end = WIRES_ALTERNATE}, 1e-9},
                 {{.row_ohm = 1, .segment = 1, .input_end = WIRES_BOTH_SIDES}, 1e-9},
                 {{.column_ohm = 1, .output_ohm = 3, .segment = 1}, 1e-9},
                 {{.segment = 1}, 1e-13},
                 {plain(300, 300), 1e-9}, /* takes the most turns */
                 {{.row_ohm = 10, .column_ohm = 10, .input_ohm = 1e4, .output_ohm = 1e4, .segment = 1}, 1e-12}};
    double *g = golden_cells(ROWS, COLUMNS, 41, 0.2), *v = golden_inputs(ROWS, 42);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct network *n = network(&cases[k].w, ROWS, COLUMNS, g), *few = NULL;
        double out[2][COLUMNS], column[2][ROWS], watt[2];
        struct error e;
        must(network_create_for_few(&cases[k].w, ROWS, COLUMNS, g, &few, &e), &e);
        must(network_solve(n, v + 3 * ROWS, out[0], &watt[0], NULL, NULL, &e), &e);
        must(network_solve(few, v + 3 * ROWS, out[1], &watt[1], NULL, NULL, &e), &e);
        assert_near(relative(out[1], out[0], COLUMNS), 0, cases[k].bound);
        assert_near(watt[1] / watt[0], 1, 1e-9);
        for (size_t j = 0; j < COLUMNS; j += 21) {
            must(network_column(n, j, column[0], &e), &e);
            must(network_column(few, j, column[1], &e), &e);
            assert_near(relative(column[1], column[0], ROWS), 0, cases[k].bound);
        }
        network_destroy(n);
        network_destroy(few);
    }
    mem_free(g);
    mem_free(v);
}

/* One cell: four resistances in a row; both ends halve what lies before the cell. */
static void one_cell_is_resistances_in_series(void **state) {
    (void)state;
    double g = 20e-6, v = 0.3, out, watt;
    struct error e;
    struct wires w = {.row_ohm = 2, .column_ohm = 3, .input_ohm = 50, .output_ohm = 70, .segment = 4};
    struct network *n = network(&w, 1, 1, &g);
    must(network_solve(n, &v, &out, &watt, NULL, NULL, &e), &e);
    assert_near(out / (v / (1 / g + 4 * 2 + 50 + 4 * 3 + 70)), 1, 1e-14); /* rounding of a few operations */
    assert_near(watt / (v * out), 1, 1e-14);
    network_destroy(n);
    w.input_end = WIRES_BOTH_SIDES;
    w.output_end = WIRES_BOTH_ENDS;
    n = network(&w, 1, 1, &g);
    must(network_solve(n, &v, &out, &watt, NULL, NULL, &e), &e);
    assert_near(out / (v / (1 / g + (4 * 2 + 50) / 2.0 + (4 * 3 + 70) / 2.0)), 1, 1e-14);
    network_destroy(n);
}

/* Wires of a micro-ohm behind terminals of kilo-ohms: hardly anything differs from wires of zero. Bound: a line carries
 * at most 64 x 25 uS per volt through 64 x 1e-6 ohm, half of it on average, in cells that are half of that; rows and
 * columns. */
static void tiny_resistances_lose_no_digits(void **state) {
    (void)state;
    enum { M = 64 };
    double *g = golden_cells(M, M, 81, 0), *v = golden_inputs(M, 82), none[M], tiny[M], a[M], b[M];
    for (int k = 0; k < 3; k++) {
        struct wires w = {.input_ohm = k != 1 ? 2000 : 0, .output_ohm = k != 0 ? 3000 : 0, .segment = 1}, t = w;
        t.row_ohm = t.column_ohm = 1e-6;
        struct network *n = network(&w, M, M, g), *m = network(&t, M, M, g);
        struct error e;
        must(network_solve(n, v + M, none, NULL, NULL, NULL, &e), &e);
        must(network_solve(m, v + M, tiny, NULL, NULL, NULL, &e), &e);
        assert_near(relative(tiny, none, M), 0, 5e-8);
        must(network_column(n, 5, a, &e), &e);
        must(network_column(m, 5, b, &e), &e);
        assert_near(relative(b, a, M), 0, 5e-8);
        network_destroy(n);
        network_destroy(m);
    }
    mem_free(g);
    mem_free(v);
}

/* Energy: what the sources deliver is what cells, wires and terminals turn into heat. Cells from node voltages; wires
 * and terminals from the currents that Kirchhoff's law puts through them. */
static void power_is_dissipated_somewhere(void **state) {
    (void)state;
    enum { M = 5, N = 4 };
    double *g = golden_cells(M, N, 41, 0), v[M] = {0.2, -0.1, 0.15, 0, 0.05}, out[N], watt, row_V[M * N],
           column_V[M * N];
    struct error e;
    struct wires w = {.row_ohm = 30, .column_ohm = 20, .input_ohm = 100, .output_ohm = 200, .segment = 1};
    struct network *n = network(&w, M, N, g);
    must(network_solve(n, v, out, &watt, row_V, column_V, &e), &e);
    double heat = 0;
    for (size_t i = 0; i < M; i++) {
        double in = (v[i] - row_V[i * N]) / 130;
        heat += in * in * 130;
        for (size_t j = 0; j < N; j++) {
            double cell = row_V[i * N + j] - column_V[i * N + j];
            double along = j + 1 < N ? row_V[i * N + j] - row_V[i * N + j + 1] : 0;
            double down = i + 1 < M ? column_V[i * N + j] - column_V[(i + 1) * N + j] : 0;
            heat += g[j * M + i] * cell * cell + along * along / 30 + down * down / 20;
        }
    }
    for (size_t j = 0; j < N; j++) {
        heat += out[j] * out[j] * 220;
    }
    assert_near(heat / watt, 1, 1e-9); /* wire drops are differences of nearly equal voltages */
    network_destroy(n);
    mem_free(g);
}

/* ---- Newton --------------------------------------------------------------------------------------------------------
 */

static double sinh_cell(void *context, double volts, double g_S, double *derivative_S) {
    (void)context;
    *derivative_S = g_S * cosh(5 * volts);
    return g_S * sinh(5 * volts) / 5;
}

static void newton_solves_nonlinear_cells_and_floating_rows(void **state) {
    (void)state;
    double *g = golden_cells(SMALL_ROWS, SMALL_COLUMNS, 51, 0.2), v[SMALL_ROWS];
    bool driven[SMALL_ROWS], connected[SMALL_ROWS];
    for (size_t i = 0; i < SMALL_ROWS; i++) {
        g[6 * SMALL_ROWS + i] *= 20; /* strong enough that wires matter */
        v[i] = 0.5 - 0.15 * (double)i;
        driven[i] = connected[i] = i % 3 != 1;
    }
    for (size_t j = 0; j < SMALL_COLUMNS; j++) {
        g[j * SMALL_ROWS + 4] = 0; /* a floating row without any cell: no current, whatever its voltage, */
    }
    connected[4] = true;                    /* which the reference needs to know */
    for (int k = 0; k < VARIANTS; k += 7) { /* of every kind some */
        struct wires w = variant(k);
        bool may_float = w.row_ohm + w.input_ohm > 0;
        for (int kind = 0; kind < (may_float ? 4 : 2); kind++) {
            struct network_problem p = {.current = kind & 1 ? sinh_cell : NULL, .driven = kind & 2 ? driven : NULL};
            double mine[SMALL_COLUMNS], other[SMALL_COLUMNS], watt;
            int iterations = -1;
            struct error e;
            must(network_newton(&w, SMALL_ROWS, SMALL_COLUMNS, g, &p, v, mine, &watt, &iterations, &e), &e);
            double watt_other =
                reference(&w, SMALL_ROWS, SMALL_COLUMNS, g, p.driven ? connected : NULL, p.current, v, other);
            assert_near(relative(mine, other, SMALL_COLUMNS), 0, 1e-9); /* of the reference: 30 secants */
            assert_near(watt / watt_other, 1, 1e-9);
            assert_true(kind & 1 ? iterations < 12 : iterations <= 2);
        }
    }
    mem_free(g);
}

/* Saturates: from 1 V the linear extrapolation overshoots to where the slope is zero again, and so on for ever. */
static double saturating_cell(void *context, double volts, double g_S, double *derivative_S) {
    (void)context;
    *derivative_S = g_S * 40 / pow(cosh(40 * volts), 2);
    return g_S * tanh(40 * volts);
}

/* The step is halved until it helps. One cell with 2 kOhm, against bisection. */
static void newton_damps_its_steps(void **state) {
    (void)state;
    double g = 7.5e-4, v = 1, out, low = 0, high = 1;
    struct wires w = {.input_ohm = 1000, .output_ohm = 1000, .segment = 1};
    struct network_problem p = {.current = saturating_cell};
    int iterations;
    struct error e;
    must(network_newton(&w, 1, 1, &g, &p, &v, &out, NULL, &iterations, &e), &e);
    for (int k = 0; k < 100; k++) {
        double slope, mid = (low + high) / 2;
        *(saturating_cell(NULL, mid, g, &slope) * 2000 + mid > v ? &high : &low) = mid;
    }
    assert_near(out / ((v - low) / 2000), 1, 1e-10);
    assert_true(iterations > 2);
}

static void newton_that_does_not_end_is_an_error(void **state) {
    (void)state;
    double g = 7.5e-4, v = 1, out = 7;
    struct wires w = {.input_ohm = 1000, .output_ohm = 1000, .segment = 1};
    struct network_problem p = {.current = saturating_cell, .iterations = 2};
    struct error e;
    assert_int_equal(network_newton(&w, 1, 1, &g, &p, &v, &out, NULL, NULL, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "after 2 iterations"));
    assert_true(out == 7); /* no silent result */
}

/* ---- netlists -------------------------------------------------------------------------------- */

/* Runs ngspice on the netlist; out[columns] from its "out_J = value" lines. */
static void run_spice(const char *path, double *out, size_t columns) {
    char command[4200], line[4096];
    snprintf(command, sizeof command, "ngspice -b %s 2>/dev/null", path);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t found = 0, j;
    double value;
    while (fgets(line, sizeof line, p)) {
        if (sscanf(line, "out_%zu = %lf", &j, &value) == 2 && j < columns) {
            out[j] = value;
            found++;
        }
    }
    pclose(p);
    assert_int_equal(found, columns);
}

static void ngspice_agrees_in_every_topology(void **state) {
    (void)state;
    if (system("command -v ngspice > /dev/null 2>&1") != 0) {
        skip_because("ngspice is not installed");
    }
    double *g = golden_cells(SMALL_ROWS, SMALL_COLUMNS, 61, 0.1), *v = golden_inputs(SMALL_ROWS, 62) + 3 * SMALL_ROWS;
    char path[4096];
    snprintf(path, sizeof path, "%s/out.cir", scratch_directory());
    for (int k = 0; k < VARIANTS; k++) {
        struct wires w = variant(k);
        bool all = w.row_ohm > 0 && w.column_ohm > 0 && w.input_ohm > 0 && w.output_ohm > 0;
        if (!all && k % 17 != 0) { /* all ends, and some with resistances of zero */
            continue;
        }
        struct network *n = network(&w, SMALL_ROWS, SMALL_COLUMNS, g);
        double mine[SMALL_COLUMNS], theirs[SMALL_COLUMNS];
        struct error e;
        must(network_solve(n, v, mine, NULL, NULL, NULL, &e), &e);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        must(wires_write_spice(&w, SMALL_ROWS, SMALL_COLUMNS, g, v, mine, "two\nlines", f, &e), &e);
        assert_int_equal(fclose(f), 0);
        run_spice(path, theirs, SMALL_COLUMNS);
        assert_near(relative(theirs, mine, SMALL_COLUMNS), 0, 1e-9); /* the issue asks for 1e-6 */
        network_destroy(n);
    }
    mem_free(g);
    mem_free(v - 3 * SMALL_ROWS);
}

/* ---- settling -------------------------------------------------------------------------------- */

static void settling_is_elmore_s(void **state) {
    (void)state;
    struct wires w = {.column_ohm = 2, .output_ohm = 300, .segment = 1};
    double m = 128, c = 1e-15, load = 50e-15, ln2 = log(2.0);
    double tau = c * (2 * m * (m + 1) / 2 + m * 300) + load * 300;
    assert_near(wires_settling_s(&w, 128, NULL, c, load, 8) / (tau * 9 * ln2), 1, 1e-12); /* rounding of 128 sums */
    w.output_end = WIRES_TOP;
    assert_near(wires_settling_s(&w, 128, NULL, c, load, 8) / (tau * 9 * ln2), 1, 1e-12);
    w.output_end = WIRES_ALTERNATE;
    assert_near(wires_settling_s(&w, 128, NULL, c, load, 8) / (tau * 9 * ln2), 1, 1e-12);
    /* Both ends: the middle is the slowest; continuous line r c m^2 / 8, here with m + 1 segments and no terminals. */
    w.output_end = WIRES_BOTH_ENDS;
    w.output_ohm = 0;
    assert_near(wires_settling_s(&w, 127, NULL, c, 0, 8) / (2 * c * 128 * 128 / 8 * 9 * ln2), 1, 1e-12);
    /* One node: all capacitances and cells at the terminal. */
    double g[4] = {1e-5, 2e-5, 0, 3e-5};
    w = (struct wires){.output_ohm = 1000, .segment = 1};
    double y = 1e-3 + 6e-5;
    assert_near(wires_settling_s(&w, 4, g, c, load, 3) / ((4 * c + load) / y * 4 * ln2), 1, 1e-12);
    assert_true(wires_settling_s(&(struct wires){.segment = 1}, 4, g, c, load, 3) == 0);
}

/* The bound is one: decay of the slowest mode, by stepping the circuit in time. */
static void settling_bounds_the_decay(void **state) {
    (void)state;
    enum { M = 12 };
    struct wires w = {.column_ohm = 100, .output_ohm = 500, .segment = 1};
    double c = 1e-15, g[M], v[M], total = 0;
    for (size_t i = 0; i < M; i++) {
        g[i] = 20e-6 * (double)(i % 3);
        v[i] = 1;
    }
    double until_s = wires_settling_s(&w, M, g, c, 0, 8), dt_s = c * 100 / 8;
    size_t steps = (size_t)(until_s / dt_s);
    for (size_t s = 0; s < steps; s++) {
        double flow[M + 1] = {0};
        for (size_t i = 0; i < M; i++) {
            flow[i + 1] = i + 1 < M ? (v[i] - v[i + 1]) / 100 : v[i] / 600;
        }
        for (size_t i = 0; i < M; i++) {
            v[i] += dt_s / c * (flow[i] - flow[i + 1] - g[i] * v[i]);
        }
    }
    for (size_t i = 0; i < M; i++) {
        total = fmax(total, v[i]);
    }
    assert_true(total < 4.0 / 512 && total > 0.05 / 512); /* half an LSB of 8 bits, times the mode's overlap */
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void bad_wires_are_refused(void **state) {
    (void)state;
    const struct {
        struct wires w;
        const char *says;
    } cases[] = {
        {{.row_ohm = -1, .segment = 1}, "row_ohm = -1"},
        {{.column_ohm = NAN, .segment = 1}, "column_ohm = nan"},
        {{.input_ohm = INFINITY, .segment = 1}, "input_ohm = inf"},
        {{.output_ohm = 1e-12, .segment = 1}, "output_ohm = 1e-12"},
        {{.input_ohm = 1e10, .segment = 1}, "input_ohm = 1e+10"},
        {{.segment = 0}, "segment = 0"},
        {{.segment = 1, .input_end = 3}, "input end 3"},
        {{.segment = 1, .output_end = -1}, "output end -1"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct error e;
        assert_int_equal(wires_check(&cases[k].w, &e), ERR_USAGE);
        assert_non_null(strstr(e.message, cases[k].says));
        assert_non_null(strstr(e.message, "allowed"));
    }
}

static void bad_arrays_are_refused(void **state) {
    (void)state;
    struct wires w = plain(1, 1);
    struct error e;
    struct network *n;
    double g[4] = {1e-6, 1e-6, 1e-6, 1e-6}, v[2] = {0.1, 0.2}, out[2];
    assert_int_equal(network_create(&w, 0, 2, g, &n, &e), ERR_USAGE);
    assert_int_equal(network_create(&w, SIZE_MAX / 2, 4, g, &n, &e), ERR_USAGE);
    const double bad[] = {-1e-9, NAN, INFINITY};
    for (size_t k = 0; k < 3; k++) {
        g[3] = bad[k];
        assert_int_equal(network_create(&w, 2, 2, g, &n, &e), ERR_USAGE);
        assert_null(n);
        assert_non_null(strstr(e.message, "row 1, column 1"));
    }
    g[3] = 1e-6;
    must(network_create(&w, 2, 2, g, &n, &e), &e);
    v[1] = NAN;
    assert_int_equal(network_solve(n, v, out, NULL, NULL, NULL, &e), ERR_USAGE);
    assert_int_equal(network_column(n, 2, out, &e), ERR_USAGE);
    network_destroy(n);
    /* A row that floats behind 0 ohm is its source: it cannot float. */
    bool driven[2] = {true, false};
    struct network_problem p = {.driven = driven};
    w = plain(0, 1);
    v[1] = 0;
    assert_int_equal(network_newton(&w, 2, 2, g, &p, v, out, NULL, NULL, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "row 1 floats"));
}

/* Every allocation that can fail does once: an error, nothing leaked (the sanitizer looks). */
static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    double *g = golden_cells(SMALL_ROWS, SMALL_COLUMNS, 71, 0), v[SMALL_ROWS] = {0.1}, out[SMALL_COLUMNS];
    struct wires w = plain(1, 1);
    struct network_problem p = {.current = sinh_cell};
    struct error e;
    bool ended = false;
    for (size_t k = 1; k < 100 && !ended; k++) {
        mem_fail_at(k);
        enum status s = network_newton(&w, SMALL_ROWS, SMALL_COLUMNS, g, &p, v, out, NULL, NULL, &e);
        ended = s == OK;
        assert_true(ended || strstr(e.message, "out of memory"));
        assert_true(k > 1 || !ended);
    }
    ended = false;
    for (size_t k = 1; k < 100 && !ended; k++) {
        struct network *few = NULL;
        mem_fail_at(k);
        enum status s = network_create_for_few(&w, SMALL_ROWS, SMALL_COLUMNS, g, &few, &e);
        ended = s == OK;
        assert_true(ended || (!few && strstr(e.message, "out of memory")));
        network_destroy(few);
    }
    mem_fail_at(0);
    assert_true(ended);
    mem_free(g);
}

/* CHOLMOD's own memory: its n-th request fails, once (0: none does). */
static size_t cholmod_fails_at, cholmod_requests;
static bool cholmod_request_fails(void) { return ++cholmod_requests == cholmod_fails_at; }
static void *failing_malloc(size_t bytes) { return cholmod_request_fails() ? NULL : malloc(bytes); }
static void *failing_calloc(size_t n, size_t bytes) { return cholmod_request_fails() ? NULL : calloc(n, bytes); }
static void *failing_realloc(void *p, size_t bytes) { return cholmod_request_fails() ? NULL : realloc(p, bytes); }

static void set_cholmod_memory(bool failing) {
#if SUITESPARSE_MAIN_VERSION >= 7
    SuiteSparse_config_malloc_func_set(failing ? failing_malloc : malloc);
    SuiteSparse_config_calloc_func_set(failing ? failing_calloc : calloc);
    SuiteSparse_config_realloc_func_set(failing ? failing_realloc : realloc);
#else
    SuiteSparse_config.malloc_func = failing ? failing_malloc : malloc;
    SuiteSparse_config.calloc_func = failing ? failing_calloc : calloc;
    SuiteSparse_config.realloc_func = failing ? failing_realloc : realloc;
#endif
}

enum solver { FACTORS, ADJOINT, SOURCES, NEWTON, FOLDED, SOLVERS };

static enum status solve_by(enum solver solver, const double *g, const double *v, double *out, struct error *e) {
    struct wires w = plain(1, 1), one_sided = {.row_ohm = 1, .segment = 1}; /* without ports at the columns */
    struct network_problem p = {.current = sinh_cell};
    struct network *n = NULL;
    if (solver == NEWTON) {
        return network_newton(&w, SMALL_ROWS, SMALL_COLUMNS, g, &p, v, out, NULL, NULL, e);
    }
    if (solver == FOLDED) {
        float g_S[SMALL_ROWS * SMALL_COLUMNS], effective_S[SMALL_ROWS * SMALL_COLUMNS];
        for (size_t k = 0; k < SMALL_ROWS * SMALL_COLUMNS; k++) {
            g_S[k] = (float)g[k];
        }
        struct fold_result r;
        return wires_fold(&one_sided, SMALL_ROWS, SMALL_COLUMNS, g_S, &(struct fold_options){WIRES_EXACT, 1e-3}, NULL,
                          effective_S, &r, e);
    }
    enum status s = network_create(&w, SMALL_ROWS, SMALL_COLUMNS, g, &n, e);
    double sources[SMALL_ROWS * SMALL_ROWS];
    if (s == OK) {
        s = solver == FACTORS   ? network_solve(n, v, out, NULL, NULL, NULL, e)
            : solver == ADJOINT ? network_column(n, 1, sources, e)
                                : network_source_matrix(n, sources, e);
    }
    network_destroy(n);
    return s;
}

/* Without injected failures the next solution is right again: nothing is left behind. */
static void cholmod_without_memory_is_an_error(void **state) {
    (void)state;
    double *g = golden_cells(SMALL_ROWS, SMALL_COLUMNS, 71, 0), v[SMALL_ROWS] = {0.1}, out[SMALL_ROWS];
    struct error e;
    set_cholmod_memory(true);
    for (int solver = 0; solver < SOLVERS; solver++) {
        size_t failures = 0;
        cholmod_fails_at = cholmod_requests = 0;
        must(solve_by((enum solver)solver, g, v, out, &e), &e);
        size_t requests = cholmod_requests;
        for (size_t k = 1; k <= requests; k++) {
            cholmod_fails_at = k;
            cholmod_requests = 0;
            e.message[0] = 0;
            if (solve_by((enum solver)solver, g, v, out, &e) != OK) {
                assert_non_null(strstr(e.message, "out of memory"));
                failures++;
            }
        }
        print_message("# solver %d: %zu of %zu requests are needed\n", solver, failures, requests);
        assert_true(failures > 10); /* a failed try to give memory back is none */
    }
    set_cholmod_memory(false);
    mem_free(g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(exact_agrees_with_badcrossbar),
    cmocka_unit_test(exact_agrees_in_all_topologies),
    cmocka_unit_test(exact_agrees_with_crosssim),
    cmocka_unit_test(exact_agrees_with_a_second_solver_in_every_variant),
    cmocka_unit_test(a_few_solutions_agree_with_factors),
    cmocka_unit_test(one_cell_is_resistances_in_series),
    cmocka_unit_test(tiny_resistances_lose_no_digits),
    cmocka_unit_test(power_is_dissipated_somewhere),
    cmocka_unit_test(newton_solves_nonlinear_cells_and_floating_rows),
    cmocka_unit_test(newton_damps_its_steps),
    cmocka_unit_test(newton_that_does_not_end_is_an_error),
    cmocka_unit_test(ngspice_agrees_in_every_topology),
    cmocka_unit_test(settling_is_elmore_s),
    cmocka_unit_test(settling_bounds_the_decay),
    cmocka_unit_test(bad_wires_are_refused),
    cmocka_unit_test(bad_arrays_are_refused),
    cmocka_unit_test(running_out_of_memory_is_an_error),
    cmocka_unit_test(cholmod_without_memory_is_an_error),
};
const struct test_suite suite_wires = {"wires", tests, sizeof tests / sizeof tests[0]};
