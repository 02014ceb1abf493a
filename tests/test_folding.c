/* Folded wires: the matrix of effective conductances against the exact network, over sizes, resistances and patterns of
 * conductances, and the estimate of its error.
 */
#include <string.h>

#include "base/random.h"
#include "tests/wires_arrays.h"

struct folding {
    size_t rows, columns;
    float *g, *effective;
    void *scratch;
    struct fold_result result;
};

static struct folding fold_of(size_t rows, size_t columns) {
    return (struct folding){.rows = rows,
                            .columns = columns,
                            .g = mem_alloc(rows * columns, sizeof(float)),
                            .effective = mem_alloc(rows * columns, sizeof(float)),
                            .scratch = mem_alloc(wires_fold_scratch_bytes(rows, columns), 1)};
}

static void free_folding(struct folding *f) {
    mem_free(f->g);
    mem_free(f->effective);
    mem_free(f->scratch);
}

static void fold(struct folding *f, const struct wires *w, int method, double tolerance) {
    struct error e;
    struct fold_options o = {method, tolerance};
    must(wires_fold(w, f->rows, f->columns, f->g, &o, f->scratch, f->effective, &f->result, &e), &e);
}

static double uniform(uint64_t index) { return random_uniform(5, random_stream(RANDOM_TEST, 5), index); }

/* Weights as a language model's: Gaussian, each column scaled to its largest, plus and minus columns in turn, 20 uS. */
static void fill_language_model(struct folding *f) {
    for (size_t j = 0; j + 1 < f->columns; j += 2) {
        float largest = 0, *plus = f->g + j * f->rows, *minus = plus + f->rows;
        for (size_t i = 0; i < f->rows; i++) {
            float z = random_gaussian(5, random_stream(RANDOM_TEST, 6), j * f->rows + i);
            plus[i] = z > 0 ? z : 0;
            minus[i] = z < 0 ? -z : 0;
            largest = fmaxf(largest, fabsf(z));
        }
        for (size_t i = 0; i < 2 * f->rows; i++) {
            plus[i] *= 20e-6f / largest;
        }
    }
}

enum pattern {
    LANGUAGE_MODEL,
    UNIFORM,
    ALL_ON,
    FAR_CORNER,
    CHECKERBOARD,
    ONE_ROW,
    ONE_COLUMN,
    SPARSE,
    CLUSTERS,
    STRIPES,
    PATTERNS
};
static const char *const pattern_names[] = {"language model", "uniform",    "all on", "far corner", "checkerboard",
                                            "one row",        "one column", "sparse", "clusters",   "stripes"};

static void fill_pattern(struct folding *f, int pattern) {
    if (pattern == LANGUAGE_MODEL) {
        fill_language_model(f);
        return;
    }
    size_t m = f->rows, n = f->columns;
    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < m; i++) {
            double u = uniform(j * m + i), on[PATTERNS];
            on[UNIFORM] = u;
            on[ALL_ON] = 1;
            on[FAR_CORNER] = i < m / 2 && j >= n / 2; /* far from sources and outputs */
            on[CHECKERBOARD] = (i + j) % 2;
            on[ONE_ROW] = i == 0;
            on[ONE_COLUMN] = j == n - 1;
            on[SPARSE] = u < 0.05;
            on[CLUSTERS] = (uniform(1u << 30 | i) < 0.5) == (uniform(1u << 29 | j) < 0.5);
            on[STRIPES] = (i / 4 + j / 4) % 2;
            f->g[j * m + i] = (float)(25e-6 * on[pattern]);
        }
    }
}

/* The exact network of the array that is folded. */
static struct network *network_of(const struct folding *f, const struct wires *w) {
    double *g = mem_alloc(f->rows * f->columns, sizeof *g);
    for (size_t k = 0; k < f->rows * f->columns; k++) {
        g[k] = f->g[k];
    }
    struct network *n = NULL;
    struct error e;
    must(network_create_for_few(w, f->rows, f->columns, g, &n, &e), &e);
    mem_free(g);
    return n;
}

/* The column where folded currents are farthest off the exact ones while all rows are at 1 V; full_A: the largest. */
static size_t worst_column(const struct folding *f, struct network *n, double *full_A) {
    double *one_V = mem_alloc(f->rows + f->columns, sizeof *one_V), *out_A = one_V + f->rows, worst_A = 0;
    size_t worst = 0;
    for (size_t i = 0; i < f->rows; i++) {
        one_V[i] = 1;
    }
    struct error e;
    must(network_solve(n, one_V, out_A, NULL, NULL, NULL, &e), &e);
    *full_A = 0;
    for (size_t j = 0; j < f->columns; j++) {
        double folded_A = 0;
        for (size_t i = 0; i < f->rows; i++) {
            folded_A += (double)f->effective[j * f->rows + i];
        }
        double off_A = isnan(folded_A) ? INFINITY : fabs(folded_A - out_A[j]);
        worst = off_A > worst_A ? j : worst;
        worst_A = fmax(worst_A, off_A);
        *full_A = fmax(*full_A, out_A[j]);
    }
    mem_free(one_V);
    return worst;
}

/* Sum of |differences| of one column: the most that inputs between -1 and 1 V can make of it. */
static double worst_of_column(const struct folding *f, struct network *n, size_t column) {
    double *exact_S = mem_alloc(f->rows, sizeof *exact_S), sum_S = 0;
    struct error e;
    must(network_column(n, column, exact_S, &e), &e);
    for (size_t i = 0; i < f->rows; i++) {
        sum_S += fabs(exact_S[i] - (double)f->effective[column * f->rows + i]);
    }
    mem_free(exact_S);
    return isnan(sum_S) ? INFINITY : sum_S;
}

/* Largest error for inputs between -1 and 1 V over the largest column current with all rows at 1 V: of the column that
 * is farthest off with all rows on, and of every `step`-th one (even and odd in turn; 0: none). */
static double true_error(const struct folding *f, struct network *n, size_t step) {
    double full_A, error_A = worst_of_column(f, n, worst_column(f, n, &full_A));
    for (size_t j = 0; step > 0 && j < f->columns; j += step + (step > 1 && j / step % 2 == 0 ? 1 : 0)) {
        error_A = fmax(error_A, worst_of_column(f, n, j));
    }
    return full_A > 0 ? error_A / full_A : error_A;
}

/* The bound, and the estimate: at least half the true error (rounding of floats aside). */
static void check_fold(struct folding *f, const struct wires *w, int method, struct network *n, size_t step,
                       const char *name) {
    fold(f, w, method, 1e-3);
    double error = true_error(f, n, step), estimate = f->result.estimated_error;
    if ((method == WIRES_AUTOMATIC && !(error <= 1e-3)) || !(estimate >= 0.5 * error - 2e-6)) {
        fail_msg("%s, %zu x %zu, %g ohm, method %d: error %.3g of full scale, estimate %.3g", name, f->rows, f->columns,
                 w->row_ohm, f->result.used, error, estimate);
    }
    assert_true(method == WIRES_AUTOMATIC ? estimate <= 1e-3 : (int)f->result.used == method);
}

/* Every pattern, some resistances; all methods up to this one (exact: checked where `automatic` takes it). */
static void check_patterns(size_t size, const double *some_ohm, size_t resistances, int last_method, size_t step) {
    struct folding f = fold_of(size, size);
    for (int p = 0; p < PATTERNS; p++) {
        fill_pattern(&f, p);
        for (size_t k = 0; k < resistances; k++) {
            struct wires w = plain(some_ohm[k], some_ohm[k]);
            struct network *n = network_of(&f, &w);
            for (int method = WIRES_AUTOMATIC; method <= last_method; method++) {
                check_fold(&f, &w, method, n, step, pattern_names[p]);
            }
            network_destroy(n);
        }
    }
    free_folding(&f);
}

/* The range: 0.1 to 3 ohm per cell. */
static const double ohms[] = {0.1, 0.35, 1, 3};

static void folding_is_right_to_a_thousandth_32(void **state) {
    (void)state;
    check_patterns(32, ohms, 4, WIRES_CORRECTED, 1);
}
static void folding_is_right_to_a_thousandth_64(void **state) {
    (void)state;
    check_patterns(64, ohms, 4, WIRES_CORRECTED, 48);
}
static void folding_is_right_to_a_thousandth_128(void **state) {
    (void)state;
    check_patterns(128, ohms, 4, WIRES_AUTOMATIC, 0);
}
static void folding_is_right_to_a_thousandth_256(void **state) {
    (void)state;
    check_patterns(256, ohms, 2, WIRES_AUTOMATIC, 0);
}
static void folding_at_1_ohm_is_right_to_a_thousandth_256(void **state) {
    (void)state;
    check_patterns(256, ohms + 2, 1, WIRES_AUTOMATIC, 0);
}
static void folding_at_3_ohm_is_right_to_a_thousandth_256(void **state) {
    (void)state;
    check_patterns(256, ohms + 3, 1, WIRES_AUTOMATIC, 0);
}

/* Lines that alternate are what the even and odd classes are for; without them 1e-3 takes the slow level, 1e-5 the
 * exact network. */
static void alternating_lines_are_corrected(void **state) {
    (void)state;
    struct folding f = fold_of(128, 128);
    fill_pattern(&f, CHECKERBOARD);
    struct wires w = plain(3, 3);
    struct network *n = network_of(&f, &w);
    fold(&f, &w, WIRES_AUTOMATIC, 1e-5);
    assert_int_equal(f.result.used, WIRES_CORRECTED);
    assert_true(true_error(&f, n, 16) <= 1e-5);
    network_destroy(n);
    free_folding(&f);
}

/* Below 5 % the product alone is enough on language-model weights; it is what `automatic` takes there. */
static void product_is_enough_for_language_models(void **state) {
    (void)state;
    size_t below = 0;
    for (size_t size = 32; size <= 256; size *= 2) {
        struct folding f = fold_of(size, size);
        fill_pattern(&f, LANGUAGE_MODEL);
        for (size_t k = 0; k < 4; k++) {
            struct wires w = plain(ohms[k], ohms[k]);
            fold(&f, &w, WIRES_PRODUCT, 1e-3);
            if (f.result.loss < 0.05) {
                struct network *n = network_of(&f, &w);
                double error = true_error(&f, n, size > 64 ? size / 3 : 1);
                if (!(error <= 1e-3)) {
                    fail_msg("%zu x %zu, %g ohm: error %.3g of full scale", size, size, ohms[k], error);
                }
                network_destroy(n);
                fold(&f, &w, WIRES_AUTOMATIC, 1e-3);
                assert_int_equal(f.result.used, WIRES_PRODUCT);
                below++;
            }
        }
        free_folding(&f);
    }
    assert_int_equal(below, 4 + 4 + 3 + 2); /* 256 x 256: 0.1 and 0.35 ohm (3.9 %); 1 ohm is 10 % */
}

/* Every end, resistances of zero and grouped cells; arrays that are not square. */
static void folding_follows_every_variant(void **state) {
    (void)state;
    struct folding f = fold_of(21, 16);
    fill_pattern(&f, UNIFORM);
    for (int k = 0; k < VARIANTS; k++) {
        struct wires w = variant(k);
        struct network *n = network_of(&f, &w);
        check_fold(&f, &w, WIRES_AUTOMATIC, n, 1, "variant");
        check_fold(&f, &w, WIRES_EXACT, n, 1, "variant");
        fold(&f, &w, WIRES_CORRECTED, 1e-6);
        bool detours = w.row_ohm + w.input_ohm > 0 && w.column_ohm + w.output_ohm > 0;
        assert_int_equal(f.result.used, detours ? WIRES_CORRECTED : WIRES_PRODUCT);
        double error = true_error(&f, n, 1);
        network_destroy(n);
        assert_true(error <= 1e-4 && f.result.estimated_error >= 0.5 * error - 2e-6);
    }
    free_folding(&f);
}

/* Micro-ohms behind kilo-ohms, and wires that nearly cut the array off: right, or said to be wrong. */
static void extreme_resistances_fold(void **state) {
    (void)state;
    struct folding f = fold_of(32, 32);
    fill_pattern(&f, UNIFORM);
    static const struct wires extremes[] = {
        {.row_ohm = 1e-6, .column_ohm = 1e-6, .input_ohm = 2000, .output_ohm = 3000, .segment = 1},
        {.row_ohm = 1e-6, .column_ohm = 1e-6, .segment = 1},
        {.row_ohm = 1e4, .column_ohm = 1e4, .segment = 1},
        {.row_ohm = 1e4, .input_ohm = 1e6, .segment = 1},
        {.row_ohm = 1, .column_ohm = 1, .input_ohm = 1e9, .output_ohm = 1e9, .segment = 1}};
    for (size_t k = 0; k < sizeof extremes / sizeof extremes[0]; k++) {
        struct network *n = network_of(&f, &extremes[k]);
        for (int method = WIRES_AUTOMATIC; method <= WIRES_EXACT; method++) {
            fold(&f, &extremes[k], method, 1e-3);
            double error = true_error(&f, n, 1);
            assert_true(f.result.estimated_error >= 0.5 * error - 2e-6);
            assert_true(error <= (method == WIRES_AUTOMATIC ? 1e-3 : method == WIRES_EXACT ? 1e-6 : 1));
        }
        network_destroy(n);
    }
    free_folding(&f);
}

/* Without resistance nothing changes, not by a bit. */
static void ideal_wires_change_nothing(void **state) {
    (void)state;
    struct folding f = fold_of(21, 16);
    fill_pattern(&f, UNIFORM);
    struct wires w = plain(0, 0);
    for (int method = WIRES_AUTOMATIC; method <= WIRES_EXACT; method++) {
        fold(&f, &w, method, 1e-3);
        assert_memory_equal(f.g, f.effective, 21 * 16 * sizeof(float));
        assert_near(f.result.loss, 0, 1e-6); /* sums of floats */
    }
    memset(f.g, 0, 21 * 16 * sizeof(float)); /* an empty array is no division by zero */
    w = plain(1, 1);
    for (int method = WIRES_AUTOMATIC; method <= WIRES_EXACT; method++) {
        fold(&f, &w, method, 1e-3);
        assert_memory_equal(f.g, f.effective, 21 * 16 * sizeof(float));
        assert_true(f.result.loss == 0 && f.result.estimated_error <= 1e-6);
    }
    free_folding(&f);
}

/* An array seen in a mirror: rows from the other side, columns from the other end. */
static void mirrored_arrays_fold_mirrored(void **state) {
    (void)state;
    enum { M = 24, N = 18 };
    struct folding a = fold_of(M, N), b = fold_of(M, N);
    fill_pattern(&a, UNIFORM);
    for (size_t k = 0; k < M * N; k++) {
        b.g[(N - 1 - k / M) * M + (M - 1 - k % M)] = a.g[k];
    }
    struct wires w = {.row_ohm = 2, .column_ohm = 5, .input_ohm = 10, .output_ohm = 20, .segment = 2}, v = w;
    v.input_end = WIRES_RIGHT;
    v.output_end = WIRES_TOP;
    for (int method = WIRES_PRODUCT; method <= WIRES_EXACT; method++) {
        fold(&a, &w, method, 1e-6);
        fold(&b, &v, method, 1e-6);
        for (size_t k = 0; k < M * N; k++) { /* sums in another order: 1e-6 of the largest conductance */
            assert_near(b.effective[(N - 1 - k / M) * M + (M - 1 - k % M)], a.effective[k], 25e-12);
        }
    }
    free_folding(&a);
    free_folding(&b);
}

/* The same bytes whatever lies in the scratch memory, and twice. */
static void folding_is_deterministic(void **state) {
    (void)state;
    struct folding a = fold_of(40, 70), b = fold_of(40, 70);
    fill_pattern(&a, UNIFORM);
    fill_pattern(&b, UNIFORM);
    memset(b.scratch, 0xff, wires_fold_scratch_bytes(40, 70));
    struct wires w = plain(3, 3);
    for (int method = WIRES_PRODUCT; method <= WIRES_EXACT; method++) {
        fold(&a, &w, method, 1e-6);
        fold(&b, &w, method, 1e-6);
        assert_memory_equal(a.effective, b.effective, 40 * 70 * sizeof(float));
    }
    free_folding(&a);
    free_folding(&b);
}

/* Products are for inputs as well: currents of random inputs against the exact network, in fractions of full scale. */
static void folded_currents_are_the_network_s(void **state) {
    (void)state;
    enum { M = 64 };
    struct folding f = fold_of(M, M);
    fill_pattern(&f, LANGUAGE_MODEL);
    double g[M * M], v[M], out[M], full[M], largest = 0;
    for (size_t k = 0; k < M * M; k++) {
        g[k] = f.g[k];
    }
    struct wires w = plain(3, 3);
    fold(&f, &w, WIRES_AUTOMATIC, 1e-3);
    struct network *n = network(&w, M, M, g);
    struct error e;
    for (size_t i = 0; i < M; i++) {
        v[i] = 0.2;
    }
    must(network_solve(n, v, full, NULL, NULL, NULL, &e), &e);
    for (size_t j = 0; j < M; j++) {
        largest = fmax(largest, full[j]);
    }
    for (int t = 0; t < 8; t++) {
        for (size_t i = 0; i < M; i++) {
            v[i] = 0.2 * (2 * uniform((uint64_t)(1000 + t) << 20 | i) - (t < 4 ? 1 : 0));
            v[i] = fmax(-0.2, fmin(0.2, v[i]));
        }
        must(network_solve(n, v, out, NULL, NULL, NULL, &e), &e);
        for (size_t j = 0; j < M; j++) {
            double mine = 0;
            for (size_t i = 0; i < M; i++) {
                mine += f.effective[j * M + i] * v[i];
            }
            assert_near(mine / largest, out[j] / largest, 1e-3);
        }
    }
    network_destroy(n);
    free_folding(&f);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void bad_cells_are_refused(void **state) {
    (void)state;
    struct folding f = fold_of(2, 2);
    struct wires w = plain(1, 1);
    const float bad[] = {-1e-9f, NAN, INFINITY};
    for (size_t k = 0; k < 3; k++) {
        struct error e;
        f.g[3] = bad[k];
        assert_int_equal(
            wires_fold(&w, 2, 2, f.g, &(struct fold_options){0, 1e-3}, f.scratch, f.effective, &f.result, &e),
            ERR_USAGE);
        assert_non_null(strstr(e.message, "row 1, column 1"));
    }
    free_folding(&f);
}

static void bad_options_are_refused(void **state) {
    (void)state;
    struct folding f = fold_of(2, 2);
    struct wires w = plain(1, 1);
    const struct fold_options bad[] = {{-1, 1e-3}, {4, 1e-3}, {0, 0}, {0, NAN}, {0, 2}};
    for (size_t k = 0; k < 5; k++) {
        struct error e;
        assert_int_equal(wires_fold(&w, 2, 2, f.g, &bad[k], f.scratch, f.effective, &f.result, &e), ERR_USAGE);
        assert_non_null(strstr(e.message, "allowed"));
    }
    free_folding(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(folding_is_right_to_a_thousandth_32),
    cmocka_unit_test(folding_is_right_to_a_thousandth_64),
    cmocka_unit_test(folding_is_right_to_a_thousandth_128),
    cmocka_unit_test(folding_is_right_to_a_thousandth_256),
    cmocka_unit_test(folding_at_1_ohm_is_right_to_a_thousandth_256),
    cmocka_unit_test(folding_at_3_ohm_is_right_to_a_thousandth_256),
    cmocka_unit_test(alternating_lines_are_corrected),
    cmocka_unit_test(product_is_enough_for_language_models),
    cmocka_unit_test(folding_follows_every_variant),
    cmocka_unit_test(extreme_resistances_fold),
    cmocka_unit_test(ideal_wires_change_nothing),
    cmocka_unit_test(mirrored_arrays_fold_mirrored),
    cmocka_unit_test(folding_is_deterministic),
    cmocka_unit_test(folded_currents_are_the_network_s),
    cmocka_unit_test(bad_cells_are_refused),
    cmocka_unit_test(bad_options_are_refused),
};
const struct test_suite suite_folding = {"folding", tests, sizeof tests / sizeof tests[0]};
