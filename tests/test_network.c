/* Multiplies through networks that cannot be folded: nonlinear cells behind wires, floating rows. */
#include "base/threads.h"
#include "sim/row_currents.h"
#include "sim/ledger.h"
#include "tests/machine_fixture.h"

static const char wires[] = "effects.wires=on tile.wires.row_ohm=20 tile.wires.column_ohm=30 tile.wires.input_ohm=200 "
                            "tile.wires.output_ohm=300 tile.wires.column_fF=1";
static const char bent[] = "effects.cell_nonlinearity=on tile.cell.current.form=sinh tile.cell.current.reference_V=0.2 "
                           "tile.cell.current.strength=2";

/* Nothing else acts: inputs are exact levels, results exact currents. */
static struct fixture *tile_of(const char *more, uint32_t outputs, uint32_t inputs, float *w) {
    char sets[1024];
    snprintf(sets, sizeof sets,
             "tile.cell=pcm_like tile.compensation=none tile.rows=16 tile.columns=8 tile.adc.share=1 "
             "effects=off %s %s",
             wires, more);
    return fixture_open("pcm256", sets, outputs, inputs, w, 20);
}

static double sinh_current(void *context, double volts, double g_S, double *derivative_S) {
    (void)context; /* I = g V_ref sinh(k V / V_ref) / sinh k, k = 2 and V_ref = 0.2 V */
    *derivative_S = g_S * 2 * cosh(10 * volts) / sinh(2);
    return g_S * 0.2 * sinh(10 * volts) / sinh(2);
}

/* Currents of the two columns of one output -> what the multiply says of it. */
static double result_of(const struct fixture *f, const double *A, uint32_t output, double range) {
    const struct machine *m = f->machine;
    return (A[2 * output] - A[2 * output + 1]) / 0.2 * (double)m->arrays[0]->weight_scale[output] / m->plan.span_S /
           m->arrays[0]->devices * range;
}

/* Solves the crossings of the only tile. */
static void solve_by_hand(const struct fixture *f, const double *volts, const bool *driven, bool nonlinear, double *A) {
    struct tile_conductances t;
    struct error e = {0};
    struct wires w = {20, 30, 200, 300, WIRES_LEFT, WIRES_BOTTOM, 1};
    struct network_problem p = {.current = nonlinear ? sinh_current : NULL, .driven = driven};
    assert_int_equal(machine_tile_conductances(f->machine, 0, 0, 0, &t, &e), OK);
    double *g_S = mem_alloc((size_t)t.rows * t.physical_columns, sizeof *g_S);
    for (size_t i = 0; i < (size_t)t.rows * t.physical_columns; i++) {
        g_S[i] = (double)t.crossing_S[i];
    }
    assert_int_equal(network_newton(&w, t.rows, t.physical_columns, g_S, &p, volts, A, NULL, NULL, &e), OK);
    mem_free(g_S);
    mem_free(t.crossing_S);
    mem_free(t.effective_S);
}

/* Voltages: one solution. Pulses of 1, 0.5 and -0.5: the first half with all three rows, the second with one. Results
 * are fp32: 1e-6 of the largest. Without the network they are off by more than 1 %. */
static void multiply_is_the_network_by_hand(void **state) {
    (void)state;
    static const double level[3] = {1, 0.5, -0.5};
    const float x[3] = {3, 1.5f, -1.5f};
    for (int k = 0; k < 4; k++) {
        bool pulses = k % 2, floating = k / 2;
        char more[600];
        snprintf(more, sizeof more, "%s tile.dac.coding=%s tile.wires.float_inactive=%s", bent,
                 pulses ? "pulse_width" : "amplitude", floating ? "on" : "off");
        struct fixture *f = tile_of(more, 4, 3, NULL);
        double A[2][8], volts[3], largest = 0;
        for (int half = 0; half < 2; half++) {
            bool driven[3];
            for (int i = 0; i < 3; i++) {
                driven[i] = !pulses || half == 0 || i == 0;
                volts[i] = driven[i] ? 0.2 * (pulses ? (level[i] > 0 ? 1 : -1) : level[i]) : 0;
            }
            solve_by_hand(f, volts, floating ? driven : NULL, true, A[half]);
        }
        float *y = multiply(f, x, 1), folded[4];
        double *r = multiply_reference(f, x, 1), off = 0;
        for (uint32_t o = 0; o < 4; o++) {
            largest = fmax(largest, fabs((double)y[o]));
        }
        for (uint32_t o = 0; o < 4; o++) {
            double want = (result_of(f, A[0], o, 3) + result_of(f, A[1], o, 3)) / 2;
            assert_near(y[o], want, 1e-6 * largest);
            assert_near(r[o], want, 1e-7 * largest);
        }
        if (!floating && !pulses) {
            char ideal[600];
            snprintf(ideal, sizeof ideal, "%s tile.dac.coding=amplitude effects.wires=off", bent);
            struct fixture *g = tile_of(ideal, 4, 3, NULL);
            float *without = multiply(g, x, 1);
            memcpy(folded, without, sizeof folded);
            for (uint32_t o = 0; o < 4; o++) {
                off = fmax(off, fabs((double)(folded[o] - y[o])));
            }
            assert_true(off > 0.01 * largest);
            mem_free(without);
            fixture_close(g);
        }
        mem_free(y);
        mem_free(r);
        fixture_close(f);
    }
}

/* Linear cells and no row at rest: floating changes nothing, the network says what folding says. Exact folding: fp32
 * weights, 1e-6 of the full scale of a column; automatic: its tolerance for each of two columns. */
static void linear_limit_is_folding(void **state) {
    (void)state;
    enum { K = 16, O = 8, T = 5 };
    float *x = gaussians(T * K, 2);
    for (int k = 0; k < 2; k++) {
        char more[600];
        const char *method = k ? "automatic" : "exact";
        snprintf(more, sizeof more, "tile.dac.coding=amplitude tile.wires.float_inactive=on");
        struct fixture *f = tile_of(more, O, K, NULL);
        snprintf(more, sizeof more, "tile.dac.coding=amplitude tile.wires.method=%s", method);
        struct fixture *g = tile_of(more, O, K, NULL);
        float *y = multiply(f, x, T), *folded = multiply(g, x, T);
        double worst = 0, full = 0;
        for (int t = 0; t < T; t++) {
            double range = 0;
            for (int i = 0; i < K; i++) {
                range = fmax(range, fabs((double)x[t * K + i]));
            }
            for (int o = 0; o < O; o++) {
                double sum = 0;
                for (int i = 0; i < K; i++) {
                    sum += fabs((double)f->w[o * K + i]);
                }
                full = fmax(full, sum * range);
                worst = fmax(worst, fabs((double)(y[t * O + o] - folded[t * O + o])));
            }
        }
        assert_true(worst <= (k ? 2e-3 : 1e-6) * full);
        mem_free(y);
        mem_free(folded);
        fixture_close(f);
        fixture_close(g);
    }
    mem_free(x);
}

/* An input of 0 floats: another result than held at 0 V, that of the network by hand. */
static void zero_inputs_float(void **state) {
    (void)state;
    const float x[3] = {1, 0, 1};
    const double volts[3] = {0.2, 0, 0.2};
    const bool driven[3] = {true, false, true};
    struct fixture *f = tile_of("tile.dac.coding=amplitude tile.wires.float_inactive=on", 4, 3, NULL);
    double floats[8], held[8], largest = 0, difference = 0;
    solve_by_hand(f, volts, driven, false, floats);
    solve_by_hand(f, volts, NULL, false, held);
    float *y = multiply(f, x, 1);
    for (uint32_t o = 0; o < 4; o++) {
        largest = fmax(largest, fabs((double)y[o]));
    }
    for (uint32_t o = 0; o < 4; o++) {
        assert_near(y[o], result_of(f, floats, o, 1), 1e-6 * largest);
        difference = fmax(difference, fabs(result_of(f, floats, o, 1) - result_of(f, held, o, 1)));
    }
    assert_true(difference > 1e-4 * largest);
    mem_free(y);
    fixture_close(f);
}

/* Encodings, codings, sums of passes, tiles: the general multiply says what the reference says. Without ADCs fp32 is
 * all that differs: 4e-6 of the sum of |w x|. Any number of threads: the same bytes. */
static void general_is_the_reference(void **state) {
    (void)state;
    static const char *const how[] = {
        "tile.encoding=differential_pair tile.dac.coding=bit_serial",
        "tile.encoding=differential_pair tile.legs=digital tile.dac.coding=split tile.dac.sign=two_phase",
        "tile.encoding=reference_column tile.dac.coding=amplitude",
        "tile.encoding=offset_column tile.dac.coding=bit_serial tile.dac.accumulate=analog",
        "tile.encoding=one_device tile.dac.coding=amplitude tile.wires.float_inactive=on",
        "tile.encoding=differential_pair tile.slices=2 tile.slice_bits=2 tile.dac.coding=pulse_width tile.dac.bits=4",
        "tile.encoding=differential_pair tile.devices=2 tile.slices=2 tile.slice_sum=analog tile.dac.coding=amplitude",
    };
    enum { K = 23, O = 11, T = 2 };
    float *x = gaussians(T * K, 2);
    int before = threads_count();
    for (size_t k = 0; k < sizeof how / sizeof how[0]; k++) {
        char more[700];
        snprintf(more, sizeof more, "%s %s effects.dac=on tile.wires.exact_nonlinear=on", bent, how[k]);
        float *y[2];
        struct fixture *f = NULL;
        for (int i = 0; i < 2; i++) {
            threads_set(i ? 3 : 1);
            if (f) {
                fixture_close(f);
            }
            f = tile_of(more, O, K, NULL);
            y[i] = multiply(f, x, T);
        }
        assert_memory_equal(y[0], y[1], T * O * sizeof(float));
        double *r = multiply_reference(f, x, T), sizes;
        for (uint32_t t = 0; t < T; t++) {
            for (uint32_t o = 0; o < O; o++) {
                exact_product(f, x, t, o, &sizes);
                assert_near(y[0][t * O + o], r[t * O + o], 4e-6 * sizes);
            }
        }
        assert_int_equal(f->machine->arrays[0]->row_blocks * f->machine->arrays[0]->column_blocks, 4);
        mem_free(y[0]);
        mem_free(y[1]);
        mem_free(r);
        fixture_close(f);
    }
    threads_set(before);
    mem_free(x);
}

/* Power of any voltages from the matrix of the sources, all ends and lines of 0 ohm among them: 1e-9. Symmetric. */
static void sources_are_a_matrix(void **state) {
    (void)state;
    static const struct wires cases[] = {
        {20, 30, 200, 300, WIRES_LEFT, WIRES_BOTTOM, 1}, {20, 30, 0, 0, WIRES_BOTH_SIDES, WIRES_ALTERNATE, 2},
        {0, 30, 0, 300, WIRES_RIGHT, WIRES_TOP, 1},      {20, 0, 5, 0, WIRES_RIGHT, WIRES_BOTH_ENDS, 1},
        {0, 0, 0, 0, WIRES_LEFT, WIRES_BOTTOM, 1},       {1e-3, 1e-3, 1e6, 300, WIRES_LEFT, WIRES_BOTTOM, 3}};
    enum { R = 21, C = 10 };
    double g_S[R * C], volts[R], A[C], Y[R * R], power_W;
    for (size_t i = 0; i < R * C; i++) {
        g_S[i] = 20e-6 * (double)uniform(3, i);
    }
    for (size_t i = 0; i < R; i++) {
        volts[i] = (double)uniform(4, i) - 0.5;
    }
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct network *n = NULL;
        struct error e = {0};
        double sum = 0;
        assert_int_equal(network_create(&cases[k], R, C, g_S, &n, &e), OK);
        assert_int_equal(network_source_matrix(n, Y, &e), OK);
        assert_int_equal(network_solve(n, volts, A, &power_W, NULL, NULL, &e), OK);
        for (size_t i = 0; i < R; i++) {
            for (size_t j = 0; j < R; j++) {
                sum += volts[i] * Y[i * R + j] * volts[j];
                assert_near(Y[i * R + j], Y[j * R + i], 1e-9 * Y[0]);
            }
        }
        assert_near(sum, power_W, 1e-9 * power_W);
        network_destroy(n);
    }
}

/* Energy of pulses by hand, piece by piece: 1e-9. One length of pulse, and two. */
static void energy_of_pulses(void **state) {
    (void)state;
    static const struct {
        double level[3], later[3]; /* volts of full scale during the second half */
    } cases[] = {{{0.5, 0.5, -0.5}, {0}}, {{1, 0.5, -0.5}, {1, 0, 0}}};
    struct fixture *f = tile_of("tile.dac.coding=pulse_width", 4, 3, NULL);
    struct wires w = machine_wires_of(f->machine);
    struct tile_conductances t;
    struct network *n = NULL;
    struct tile_network *tile = NULL;
    struct error e = {0};
    double g_S[24], A[8], now_W, later_W;
    assert_int_equal(machine_tile_conductances(f->machine, 0, 0, 0, &t, &e), OK);
    for (size_t i = 0; i < 24; i++) {
        g_S[i] = (double)t.crossing_S[i];
    }
    assert_int_equal(network_create(&w, 3, 8, g_S, &n, &e), OK);
    assert_int_equal(tile_network_create(f->machine, 0, 0, 0, false, &tile, &e), OK);
    for (size_t k = 0; k < 2; k++) {
        const double now_V[3] = {0.2, 0.2, -0.2}, later_V[3] = {0.2 * cases[k].later[0], 0, 0};
        struct tile_read r;
        assert_int_equal(network_solve(n, now_V, A, &now_W, NULL, NULL, &e), OK);
        assert_int_equal(network_solve(n, later_V, A, &later_W, NULL, NULL, &e), OK);
        assert_int_equal(tile_network_read(tile, cases[k].level, &r, &e), OK);
        assert_near(r.exact_J, (now_W + later_W) / 2 * r.pass_s, 1e-9 * r.exact_J);
    }
    tile_network_destroy(tile);
    network_destroy(n);
    mem_free(t.crossing_S);
    mem_free(t.effective_S);
    fixture_close(f);
}

static enum status try_sets(const char *more, uint32_t outputs, struct error *e) {
    char sets[1024];
    struct fixture *f = NULL;
    snprintf(sets, sizeof sets, "tile.cell=pcm_like tile.rows=16 tile.columns=8 tile.adc.share=1 effects=off %s %s",
             wires, more);
    enum status s = fixture_try("pcm256", sets, outputs, 4, NULL, 20, NULL, 0, &f, e);
    if (s == OK) {
        fixture_close(f);
    }
    return s;
}

static void many_tiles_are_asked_for(void **state) {
    (void)state;
    char more[700];
    struct error e = {0};
    assert_int_equal(try_sets(bent, 8, &e), OK); /* one tile */
    assert_int_equal(try_sets(bent, 9, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.wires: cells whose current is not proportional to the voltage"));
    assert_non_null(strstr(e.message, "2 tiles"));
    assert_non_null(strstr(e.message, "s per token"));
    assert_non_null(strstr(e.message, "tile.wires.exact_nonlinear=on"));
    assert_int_equal(try_sets("tile.wires.float_inactive=on", 9, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.wires: floating rows"));
    snprintf(more, sizeof more, "%s tile.wires.exact_nonlinear=on", bent);
    assert_int_equal(try_sets(more, 9, &e), OK);
    snprintf(more, sizeof more, "%s effects.wires=off tile.wires.float_inactive=on", bent);
    assert_int_equal(try_sets(more, 9, &e), OK);
    snprintf(more, sizeof more, "%s effects.adc_errors=on tile.phenomena.output_noise=0.1", bent);
    assert_int_equal(try_sets(more, 8, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.phenomena: they act on a matrix of weights"));
}

/* A floating row behind a driver of 0 ohm: refused before anything is programmed, with the key. */
static void floating_needs_a_driver(void **state) {
    (void)state;
    struct error e = {0};
    static const char floats[] = "tile.dac.coding=amplitude tile.wires.float_inactive=on tile.wires.row_ohm=";
    char sets[300];
    snprintf(sets, sizeof sets, "%s0 tile.wires.input_ohm=0", floats);
    assert_int_equal(try_sets(sets, 4, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "tile.wires.input_ohm: 0 ohm, and tile.wires.row_ohm = 0"));
    snprintf(sets, sizeof sets, "%s1e-3 tile.wires.input_ohm=0", floats);
    assert_int_equal(try_sets(sets, 4, &e), OK);
    snprintf(sets, sizeof sets, "%s0 tile.wires.input_ohm=1", floats);
    assert_int_equal(try_sets(sets, 4, &e), OK);
}

/* What is said before large tiles: nothing without wires, automatic at most what all methods take together; twice the
 * rows and columns are 8 times the factorisation. */
static void folding_time_is_estimated(void **state) {
    (void)state;
    struct fixture *f = tile_of("", 3, 4, NULL), *none = tile_of("effects.wires=off", 3, 4, NULL),
                   *product = tile_of("tile.wires.method=product", 3, 4, NULL);
    struct chip_fold_times t = chip_fold_times(f->chip, 512, 256), twice = chip_fold_times(f->chip, 1024, 512),
                           off = chip_fold_times(none->chip, 512, 256), p = chip_fold_times(product->chip, 512, 256);
    assert_true(off.least_s == 0 && off.most_s == 0 && off.exact_s == 0);
    assert_true(t.least_s > 0 && t.least_s < t.exact_s && t.exact_s < t.most_s);
    assert_true(p.least_s == t.least_s && p.most_s == p.least_s);
    assert_near(twice.exact_s / t.exact_s, 8, 1e-9);
    /* 512 x 512 cells (pairs) took 6.2 s; within a factor of 2 */
    assert_true(t.exact_s > 3.1 && t.exact_s < 12.4);
    fixture_close(f);
    fixture_close(none);
    fixture_close(product);
}

/* Energy of all passes of a multiply: the exact network's, and as multiplies count it. */
struct read_energy {
    struct tile_network *network;
    double exact_J, folded_J;
};

static void add_pass(void *context, const char *name, uint32_t token, uint32_t row_block, uint32_t index,
                     const double *values, size_t n) {
    struct read_energy *sum = context;
    struct tile_read r;
    struct error e = {0};
    (void)token, (void)row_block, (void)index, (void)n;
    if (strcmp(name, "pass") == 0) {
        assert_int_equal(tile_network_read(sum->network, values, &r, &e), OK);
        sum->exact_J += r.exact_J;
        sum->folded_J += r.folded_J;
    }
}

/* What multiplies count is what the sources of the exact network deliver, at 30 ohm per cell where a sixth of the
 * current is lost: within 1 % (one vector of 64; fp32 sums 1e-5). Current to other rows is a tenth of it and more where
 * inputs differ, nothing where they are equal. Inputs that follow the order of the rows, the first half up and the
 * second down, are what the method gets wrong: 1 to 3 % too much (row_currents.c). */
static void energy_of_strong_wires(void **state) {
    (void)state;
    enum { ROWS = 64, OUTPUTS = 32, INPUTS = 4 };
    static const char *const codings[] = {"pulse_width", "amplitude", "bit_serial"};
    for (int k = 0; k < 3 * INPUTS; k++) {
        char more[400];
        snprintf(more, sizeof more,
                 "tile.rows=64 tile.columns=32 effects.dac=on tile.dac.coding=%s tile.wires.row_ohm=30 "
                 "tile.wires.column_ohm=30 tile.wires.input_ohm=5 tile.wires.output_ohm=5",
                 codings[k % 3]);
        float *w = mem_alloc(OUTPUTS * ROWS, sizeof *w), x[ROWS];
        double y[OUTPUTS];
        for (size_t i = 0; i < OUTPUTS * ROWS; i++) {
            w[i] = random_gaussian(3, random_stream(RANDOM_TEST, 1), i);
        }
        for (size_t i = 0; i < ROWS; i++) {
            float z = random_gaussian(3, random_stream(RANDOM_TEST, 2), i);
            x[i] = k < 3 ? z : k < 6 ? (fabsf(z) > 1.5f ? fabsf(z) : 0) : k < 9 || i < ROWS / 2 ? 1 : -1;
        }
        struct fixture *f = tile_of(more, OUTPUTS, ROWS, w);
        struct read_energy sum = {0};
        struct error e = {0};
        assert_int_equal(tile_network_create(f->machine, 0, 0, 0, false, &sum.network, &e), OK);
        assert_int_equal(machine_trace(f->machine, 0, x, 1, 0, &(struct stage_visitor){add_pass, &sum}, y, &e), OK);
        mem_free(multiply(f, x, 1));
        double counted_J = array_energy_J(f->machine->spec, f->record.array_S_sum, 1), collected_J = 0;
        const struct array *a = f->machine->arrays[0];
        memset(a->between_S, 0, ROWS * sizeof *a->between_S);
        memcpy(a->source_S, a->row_S, ROWS * sizeof *a->source_S);
        mem_free(multiply(f, x, 1));
        collected_J = array_energy_J(f->machine->spec, f->record.array_S_sum, 1);
        assert_true(machine_wires(f->machine).mean_loss > 0.15);
        print_message("# %s, inputs %d: collected %.4f, counted %.4f, mho tile %.4f of the exact energy\n",
                      codings[k % 3], k / 3, collected_J / sum.exact_J, counted_J / sum.exact_J,
                      sum.folded_J / sum.exact_J);
        bool equal = k / 3 == 2, ordered = k / 3 == 3;
        assert_near(counted_J / sum.exact_J, ordered ? 1.02 : 1, 0.01);
        assert_near(counted_J / sum.folded_J, 1, 1e-4);
        assert_true(equal ? collected_J > 0.999 * counted_J : collected_J < 0.95 * sum.exact_J);
        tile_network_destroy(sum.network);
        fixture_close(f);
    }
}

/* Pairs of rows one by one, as the definition says, against sorted levels. */
static void pairs_of_rows_are_sorted(void **state) {
    (void)state;
    enum { N = 37 };
    int16_t codes[N];
    float levels[N], between_S[N];
    double pulses = 0, voltages = 0, all_S = 0;
    for (uint32_t i = 0; i < N; i++) {
        codes[i] = (int16_t)(254 * random_uniform(1, random_stream(RANDOM_TEST, 3), i) - 127);
        levels[i] = codes[i] / 127.0f;
        between_S[i] = (float)random_uniform(1, random_stream(RANDOM_TEST, 4), i);
        all_S += (double)between_S[i];
    }
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t k = 0; k < i; k++) {
            double S = (double)between_S[i] * (double)between_S[k] / all_S, difference = codes[i] - codes[k];
            bool same = (codes[i] < 0) == (codes[k] < 0);
            int a = abs(codes[i]), b = abs(codes[k]), both = a < b ? a : b; /* V apart, 2 V where signs differ */
            pulses += S * (same ? a + b - 2 * both : a + b + 2 * both);
            voltages += S * difference * difference;
        }
    }
    /* Single precision: a term passes N + 20 additions, is squared, and what is left of it is 0.6 of the whole: 103
     * errors of 2^-24 at most, 1e-5 of the result if all had one sign, 1e-6 with signs of chance. */
    const double rounding = 1e-6;
    assert_near(row_currents_S(codes, NULL, between_S, between_S, N, 127, false), pulses, rounding * pulses);
    assert_near(row_currents_S(codes, NULL, between_S, between_S, N, 127, true), voltages, rounding * voltages);
    /* bins of 1/128 instead of 1/127 */
    assert_near(row_currents_S(NULL, levels, between_S, between_S, N, 1, false) * 127, pulses, 2e-3 * pulses);
    assert_near(row_currents_S(NULL, levels, between_S, between_S, N, 1, true) * 127 * 127, voltages,
                rounding * voltages);
    memset(between_S, 0, sizeof between_S);
    assert_true(row_currents_S(codes, NULL, between_S, between_S, N, 127, false) == 0);
    assert_true(row_currents_S(codes, NULL, between_S, between_S, N, 127, true) == 0);
}

/* Noise of a device reaches a result as its current does, times E / g, one of 0 S (every second here) too, as its
 * neighbour's: variances of 8,190 reads behind wires that take 2 to 25 %, against the sum over the devices of
 * (sd E / g x)^2; 4 standard errors of a variance. */
static void white_noise_passes_the_wires(void **state) {
    (void)state;
    enum { ROWS = 16, OUTPUTS = 3, ROUNDS = 117, READS = ROUNDS * MAX_TOKENS };
    struct fixture *f = tile_of("tile.cell=generic tile.wires.input_ohm=3000 effects.read_noise=on "
                                "tile.cell.white_noise.relative=0.05 tile.cell.white_noise.absolute_uS=1",
                                OUTPUTS, ROWS, NULL);
    struct machine *m = f->machine;
    struct tile_conductances t;
    struct error e = {0};
    float x[MAX_TOKENS * ROWS], y[MAX_TOKENS * OUTPUTS];
    double sum[OUTPUTS] = {0}, squares[OUTPUTS] = {0}, ratio = 0;
    int zeros = 0;
    for (int i = 0; i < MAX_TOKENS * ROWS; i++) {
        x[i] = (float)(i % ROWS + 1) / ROWS;
    }
    for (uint64_t read = 0; read < READS; read += MAX_TOKENS) {
        assert_int_equal(machine_multiply(m, 0, x, MAX_TOKENS, read, f->scratch, y, &f->record, &e), OK);
        for (int i = 0; i < MAX_TOKENS * OUTPUTS; i++) {
            sum[i % OUTPUTS] += (double)y[i] / READS;
            squares[i % OUTPUTS] += (double)y[i] * (double)y[i] / READS;
        }
    }
    assert_int_equal(machine_tile_conductances(m, 0, 0, 0, &t, &e), OK);
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        double scale = (double)m->arrays[0]->weight_scale[o] / m->plan.span_S, expected = 0;
        for (uint32_t i = 0; i < 2 * ROWS; i++) { /* both legs; one of them conducts, and both see the same voltage */
            size_t at = (size_t)2 * o * ROWS + i, twin = i < ROWS ? at + ROWS : at - ROWS;
            double g_S = (double)t.crossing_S[at];
            ratio = (double)(g_S > 0 ? t.effective_S[at] / t.crossing_S[at] : t.effective_S[twin] / t.crossing_S[twin]);
            expected += pow(hypot(0.05 * g_S, 1e-6) * ratio * (double)x[i % ROWS] * scale, 2);
            zeros += !(g_S > 0);
            assert_in_range((int)(100 * ratio), 75, 98);
        }
        assert_near((squares[o] - sum[o] * sum[o]) / expected, 1, 4 * sqrt(2.0 / READS));
    }
    assert_int_equal(zeros, ROWS * OUTPUTS);
    mem_free(t.crossing_S);
    mem_free(t.effective_S);
    fixture_close(f);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static enum status read_and_write(const struct machine *m, bool floating, const double *level, FILE *netlist,
                                  struct error *e) {
    struct tile_network *n = NULL;
    struct tile_read r;
    enum status s = tile_network_create(m, 0, 0, 0, floating, &n, e);
    if (s == OK) {
        s = tile_network_read(n, level, &r, e);
    }
    if (s == OK && !floating) {
        s = tile_network_spice(n, level, netlist, e);
    }
    tile_network_destroy(n);
    return s;
}

/* Exact reads, netlists and Newton of a tile: every allocation fails once. An error that says so, or a result where
 * there is another way; nothing leaked (sanitizers watch). */
static void tiles_out_of_memory_are_an_error(void **state) {
    (void)state;
    static const double level[4] = {1, 0.5, -0.25, 0};
    struct fixture *f = tile_of("", 3, 4, NULL);
    FILE *netlist = tmpfile();
    assert_non_null(netlist);
    threads_set(1);
    for (int floating = 0; floating <= 1; floating++) {
        struct error e = {0};
        size_t before = mem_allocations(), failures = 0;
        assert_int_equal(read_and_write(f->machine, floating, level, netlist, &e), OK);
        size_t allocations = mem_allocations() - before;
        for (size_t n = 1; n <= allocations; n++) {
            mem_fail_at(n);
            enum status s = read_and_write(f->machine, floating, level, netlist, &e);
            mem_fail_at(0);
            if (s != OK) {
                assert_int_equal(s, ERR_RUN);
                assert_non_null(strstr(e.message, "out of memory"));
                failures++;
            }
        }
        assert_true(failures > 20 && failures + 2 >= allocations); /* the sources are found without factors, too */
    }
    threads_set(0);
    fclose(netlist);
    fixture_close(f);
}

/* The same of the multiply that solves networks. */
static void multiplies_out_of_memory_are_an_error(void **state) {
    (void)state;
    struct fixture *f = tile_of("tile.dac.coding=amplitude tile.wires.float_inactive=on", 3, 4, NULL);
    const float x[4] = {1, 0.5f, 0, 0.25f};
    float y[3];
    struct error e = {0};
    size_t failures = 0;
    threads_set(1);
    for (enum status s = ERR_RUN; s != OK; failures++) {
        mem_fail_at(failures + 1);
        s = machine_multiply(f->machine, 0, x, 1, 0, f->scratch, y, &f->record, &e);
        mem_fail_at(0);
        assert_true(s == OK || (s == ERR_RUN && strstr(e.message, "out of memory")));
        assert_true(failures < 200);
    }
    assert_true(failures > 5);
    failures = 0;
    for (bool created = false; !created; failures++) {
        mem_fail_at(failures + 1);
        struct multiply_scratch *scratch = multiply_scratch_create(f->machine, 1);
        mem_fail_at(0);
        created = scratch;
        multiply_scratch_destroy(scratch);
        assert_true(failures < 200);
    }
    assert_true(failures > 10);
    threads_set(0);
    fixture_close(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(multiply_is_the_network_by_hand),
    cmocka_unit_test(linear_limit_is_folding),
    cmocka_unit_test(zero_inputs_float),
    cmocka_unit_test(general_is_the_reference),
    cmocka_unit_test(sources_are_a_matrix),
    cmocka_unit_test(energy_of_pulses),
    cmocka_unit_test(energy_of_strong_wires),
    cmocka_unit_test(pairs_of_rows_are_sorted),
    cmocka_unit_test(white_noise_passes_the_wires),
    cmocka_unit_test(many_tiles_are_asked_for),
    cmocka_unit_test(floating_needs_a_driver),
    cmocka_unit_test(folding_time_is_estimated),
    cmocka_unit_test(tiles_out_of_memory_are_an_error),
    cmocka_unit_test(multiplies_out_of_memory_are_an_error),
};
const struct test_suite suite_network = {"network", tests, sizeof tests / sizeof tests[0]};
