/* Products with operands in bf16: both sets of base/bf16.h against sums in double over operands rounded by base/half.h,
 * with every set of kernels that this CPU can run. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/bf16.h"
#include "base/half.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/random.h"
#include "tests/suite.h"

enum { TOKENS = 33, LD = 3, LDY = PANEL + 3, MOST = 1100 };

static const double EPS = 0x1p-24, SMALLEST = 0x1p-126;

static float rounded(float x) { return f32_of_bf16(bf16_of_f32(x)); }

/* How the panel was made: rows w[lane][k] or columns w[k][lane]. */
struct panel { bool columns; size_t ld, k; const float *w; float *packed; };

static void pack(const struct bf16_kernels *b, const struct panel *p, size_t lanes) {
    memset(p->packed, 0xff, p->k * PANEL * sizeof *p->packed);
    (p->columns ? b->pack_columns : b->pack_rows)(p->w, p->ld, lanes, p->k, p->packed);
}

/* The first k of the panel. Each product and sum is rounded once; what the CPU takes for 0 is below SMALLEST. */
static void check(const struct bf16_kernels *b, const struct panel *p, size_t k, const float *x, size_t tokens,
                  size_t lanes) {
    static float y[TOKENS * LDY + 1];
    float alone[PANEL];
    memset(y, 0xff, sizeof y);
    b->gemm_panel(p->packed, k, x, k + LD, tokens, y, LDY, lanes);
    for (size_t t = 0; t < tokens; t++) {
        b->gemm_panel(p->packed, k, x + t * (k + LD), k + LD, 1, alone, PANEL, PANEL);
        for (size_t lane = 0; lane < LDY; lane++) {
            double exact = 0, magnitude = 0;
            if (lane >= lanes) {
                assert_true(bits_of_float(y[t * LDY + lane]) == UINT32_MAX); /* untouched */
                continue;
            }
            for (size_t i = 0; i < k; i++) {
                double w = rounded(p->columns ? p->w[i * p->ld + lane] : p->w[lane * p->ld + i]);
                double product = w * rounded(x[t * (k + LD) + i]);
                exact += product;
                magnitude += fabs(product);
            }
            assert_near(y[t * LDY + lane], exact, k * (EPS * magnitude + 2 * SMALLEST));
            assert_true(bits_of_float(y[t * LDY + lane]) == bits_of_float(alone[lane]));
        }
    }
    assert_true(bits_of_float(y[tokens * LDY]) == UINT32_MAX);
}

static void check_set(const struct bf16_kernels *b, const float *w, const float *x, float *packed) {
    static const size_t sizes[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 65, 129, 511, 512, 513, 1025};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t lanes = 1; lanes <= PANEL; lanes += 5) {
            size_t k = sizes[i], tokens = 1 + (7 * i + lanes) % TOKENS;
            struct panel rows = {false, k + LD, k, w, packed}, columns = {true, PANEL + LD, k, w, packed};
            pack(b, &rows, lanes);
            check(b, &rows, k, x, tokens, lanes);
            check(b, &rows, k - k / 3, x, tokens, lanes);
            pack(b, &columns, lanes);
            check(b, &columns, k, x, tokens, lanes);
        }
    }
}

static void with_all_sets(void (*act)(const struct bf16_kernels *b)) {
    const struct kernels *sets[8];
    size_t count = kernels_available(sets, 8);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(kernels_select(sets[i]->name), 0);
        act(bf16_kernels_named("rounded"));
    }
    assert_int_equal(kernels_select(NULL), 0);
    if (bf16_kernels_named("avx512_bf16")) {
        act(bf16_kernels_named("avx512_bf16"));
    }
}

static void products_of(const struct bf16_kernels *b) {
    size_t n = TOKENS * (MOST + LD);
    float *w = mem_alloc(n, sizeof *w), *x = mem_alloc(n, sizeof *x), *packed = mem_alloc(MOST * PANEL, sizeof *packed);
    random_gaussian_fill(77, random_stream(RANDOM_TEST, 51), 0, w, n);
    random_gaussian_fill(77, random_stream(RANDOM_TEST, 52), 0, x, n);
    for (size_t i = 0; i < n; i += 3) {
        x[i] = ldexpf(x[i], (int)(i * 7 % 31) - 15);
    }
    check_set(b, w, x, packed);
    mem_free(w);
    mem_free(x);
    mem_free(packed);
}

static void products_keep_their_bound(void **state) {
    (void)state;
    with_all_sets(products_of);
}

/* One product with 1, as operand of either side. */
static float through(const struct bf16_kernels *b, float value, bool as_input) {
    float packed[PANEL], y, one = 1;
    b->pack_rows(as_input ? &one : &value, 1, 1, 1, packed);
    b->gemm_panel(packed, 1, as_input ? &value : &one, 1, 1, &y, 1, 1);
    return y;
}

static void roundings_of(const struct bf16_kernels *b) {
    static const float cases[][2] = {
        {1 + 0x1p-8f, 1}, {1 + 0x3p-8f, 1 + 0x1p-6f}, {1 + 0x1.02p-8f, 1 + 0x1p-7f}, {-1 - 0x3p-8f, -1 - 0x1p-6f},
        {0x1.ffp127f, INFINITY}, {0x1.fep127f, 0x1.fep127f}, {-INFINITY, -INFINITY}, {0x1.01p-126f, 0x1p-126f}};
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            assert_true(through(b, cases[i][0], side) == cases[i][1]);
        }
        assert_true(isnan(through(b, NAN, side)));
        assert_near(through(b, 0x1.8p-130f, side), 0x1.8p-130f, SMALLEST);
    }
}

static void operands_are_rounded_to_even(void **state) {
    (void)state;
    with_all_sets(roundings_of);
}

static void beyond_the_end_of(const struct bf16_kernels *b) {
    float w[2] = {2, INFINITY}, x[2] = {3, INFINITY}, packed[2 * PANEL], y;
    b->pack_rows(w, 2, 1, 2, packed);
    b->gemm_panel(packed, 1, x, 2, 1, &y, 1, 1);
    assert_true(y == 6);
}

static void what_is_beyond_k_is_not_used(void **state) {
    (void)state;
    with_all_sets(beyond_the_end_of);
}

static void the_set_goes_with_the_kernels(void **state) {
    (void)state;
    assert_null(bf16_kernels_named("bf17"));
    assert_int_equal(kernels_select("ref"), 0);
    assert_string_equal(bf16_kernels()->name, "rounded");
    assert_int_equal(kernels_select(NULL), 0);
    bool fast = strcmp(kernels()->name, "avx512") == 0 && bf16_kernels_named("avx512_bf16");
    assert_string_equal(bf16_kernels()->name, fast ? "avx512_bf16" : "rounded");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(products_keep_their_bound),
    cmocka_unit_test(operands_are_rounded_to_even),
    cmocka_unit_test(what_is_beyond_k_is_not_used),
    cmocka_unit_test(the_set_goes_with_the_kernels),
};
const struct test_suite suite_bf16 = {"bf16", tests, sizeof tests / sizeof tests[0]};
