/* The sampler: order and edges of its steps, its distribution, its errors; log-probabilities and KL. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/model.h"
#include "tests/suite.h"

static struct sampler *sampler_of(struct sampler_options o, size_t vocabulary) {
    struct sampler *s = NULL;
    struct error e;
    if (sampler_create(&o, vocabulary, &s, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return s;
}

static struct sampler_options plain(double temperature) {
    return (struct sampler_options){.temperature = temperature, .top_p = 1.0, .repetition_penalty = 1.0};
}

static void greedy_takes_the_lowest_of_equals(void **state) {
    (void)state;
    const float logits[] = {-1.0f, 2.0f, 0.5f, 2.0f};
    struct sampler *s = sampler_of(plain(0.0), 4);
    assert_int_equal(sampler_next(s, logits, 0, NULL, 0), 1);
    assert_int_equal(sampler_next(s, logits, 99, NULL, 0), 1);
    sampler_destroy(s);
}

/* How often each id comes, over positions 0 .. n-1. */
static void count_draws(struct sampler_options o, const float *logits, size_t V, size_t n, size_t *counts) {
    struct sampler *s = sampler_of(o, V);
    memset(counts, 0, V * sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        int32_t id = sampler_next(s, logits, i, NULL, 0);
        assert_in_range(id, 0, V - 1);
        counts[id]++;
    }
    sampler_destroy(s);
}

/* Shares within 4 standard errors of p; ids of probability 0 never. */
static void check_shares(const size_t *counts, const double *p, size_t V, size_t n) {
    for (size_t i = 0; i < V; i++) {
        double sd = sqrt(p[i] * (1 - p[i]) / (double)n);
        assert_near((double)counts[i] / (double)n, p[i], 4 * sd);
    }
}

enum { DRAWS = 20000 };

/* Weights 8 4 2 1 1 : logits are their logarithms. */
static const float ladder[] = {0.69314718f, 2.07944154f, 0.0f, 1.38629436f, 0.0f}; /* ids of the weights 2 8 1 4 1 */

static void temperature_shapes_the_distribution(void **state) {
    (void)state;
    size_t counts[5];
    count_draws(plain(1.0), ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){2 / 16., 8 / 16., 1 / 16., 4 / 16., 1 / 16.}, 5, DRAWS);
    count_draws(plain(0.5), ladder, 5, DRAWS, counts); /* weights squared: 4 64 1 16 1 */
    check_shares(counts, (const double[]){4 / 86., 64 / 86., 1 / 86., 16 / 86., 1 / 86.}, 5, DRAWS);
}

static void top_k_keeps_k(void **state) {
    (void)state;
    size_t counts[5];
    struct sampler_options o = plain(1.0);
    o.top_k = 2;
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){0, 8 / 12., 0, 4 / 12., 0}, 5, DRAWS);
    o.top_k = 4; /* the tie at the edge goes to the lower id */
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){2 / 15., 8 / 15., 1 / 15., 4 / 15., 0}, 5, DRAWS);
    o.top_k = 1;
    count_draws(o, ladder, 5, 100, counts);
    assert_int_equal(counts[1], 100);
}

static void top_p_keeps_the_shortest_prefix(void **state) {
    (void)state;
    size_t counts[5];
    struct sampler_options o = plain(1.0);
    o.top_p = 0.74; /* 8/16 + 4/16 = 0.75 reaches it */
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){0, 8 / 12., 0, 4 / 12., 0}, 5, DRAWS);
    o.top_p = 0.76; /* 0.75 does not */
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){2 / 14., 8 / 14., 0, 4 / 14., 0}, 5, DRAWS);
    o.top_k = 2; /* top-k first: 8/12 = 0.667 does not reach 0.76 */
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){0, 8 / 12., 0, 4 / 12., 0}, 5, DRAWS);
    o.top_p = 0.66; /* now it does */
    count_draws(o, ladder, 5, 100, counts);
    assert_int_equal(counts[1], 100);
}

static void min_p_is_relative_to_the_largest(void **state) {
    (void)state;
    size_t counts[5];
    struct sampler_options o = plain(1.0);
    o.min_p = 0.249; /* 2/8 = 0.25 stays */
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){2 / 14., 8 / 14., 0, 4 / 14., 0}, 5, DRAWS);
    o.min_p = 0.251;
    count_draws(o, ladder, 5, DRAWS, counts);
    check_shares(counts, (const double[]){0, 8 / 12., 0, 4 / 12., 0}, 5, DRAWS);
}

static void repetition_is_penalised_once(void **state) {
    (void)state;
    const float logits[] = {2.0f, 1.5f, -1.0f};
    const int32_t recent[] = {0, 0, 0, 2};
    struct sampler_options o = plain(0.0);
    o.repetition_penalty = 1.3; /* 2/1.3 = 1.54 > 1.5; twice would be 1.18 */
    struct sampler *s = sampler_of(o, 3);
    assert_int_equal(sampler_next(s, logits, 0, recent, 4), 0);
    sampler_destroy(s);
    o.repetition_penalty = 1.4; /* 2/1.4 = 1.43 < 1.5 */
    s = sampler_of(o, 3);
    assert_int_equal(sampler_next(s, logits, 0, recent, 4), 1);
    const float negative[] = {-1.0f, -1.2f, -9.0f}; /* negative ones grow: -1.4 < -1.2 */
    assert_int_equal(sampler_next(s, negative, 0, recent, 4), 1);
    assert_int_equal(sampler_next(s, logits, 0, recent, 0), 0);
    sampler_destroy(s);
}

static void draws_depend_on_seed_and_position_only(void **state) {
    (void)state;
    struct sampler_options o = plain(1.0), other = o;
    other.seed = 1;
    struct sampler *a = sampler_of(o, 5), *b = sampler_of(o, 5), *c = sampler_of(other, 5);
    int different = 0;
    mem_guard_arm();
    for (uint64_t i = 0; i < 200; i++) {
        int32_t id = sampler_next(a, ladder, i, NULL, 0);
        assert_int_equal(id, sampler_next(b, ladder, i, NULL, 0));
        different += id != sampler_next(c, ladder, i, NULL, 0);
    }
    assert_int_equal(sampler_next(a, ladder, 7, NULL, 0), sampler_next(b, ladder, 7, NULL, 0));
    assert_int_equal(mem_guard_disarm(), 0);
    assert_in_range(different, 50, 190);
    sampler_destroy(a);
    sampler_destroy(b);
    sampler_destroy(c);
}

static void bad_options_are_errors(void **state) {
    (void)state;
    const struct { struct sampler_options o; const char *word; } bad[] = {
        {{.temperature = -0.1, .top_p = 1, .repetition_penalty = 1}, "temperature"},
        {{.temperature = NAN, .top_p = 1, .repetition_penalty = 1}, "temperature"},
        {{.top_k = -1, .top_p = 1, .repetition_penalty = 1}, "top_k"},
        {{.top_p = 0, .repetition_penalty = 1}, "top_p"},
        {{.top_p = 1.01, .repetition_penalty = 1}, "top_p"},
        {{.top_p = 1, .min_p = -0.1, .repetition_penalty = 1}, "min_p"},
        {{.top_p = 1, .min_p = 1.1, .repetition_penalty = 1}, "min_p"},
        {{.top_p = 1, .repetition_penalty = 0}, "repetition_penalty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sampler *s = NULL;
        struct error e;
        assert_int_equal(sampler_create(&bad[i].o, 10, &s, &e), ERR_USAGE);
        assert_non_null(strstr(e.message, bad[i].word));
        assert_non_null(strstr(e.message, "allowed"));
    }
    for (size_t n = 1; n <= 5; n++) { /* each allocation in turn fails */
        struct sampler *s = NULL;
        struct error e;
        struct sampler_options o = plain(1.0);
        mem_fail_at(n);
        assert_int_equal(sampler_create(&o, 10, &s, &e), ERR_RUN);
        mem_fail_at(0);
    }
}

/* The exponentials are good to 2e-7 (vector_math.h), so logarithms of their sums are too; logits here have 24 bits. */
static void log_probabilities_and_kl(void **state) {
    (void)state;
    assert_near(log_probability(ladder, 5, 1), log(8 / 16.), 1e-6);
    assert_near(log_probability(ladder, 5, 4), log(1 / 16.), 1e-6);
    const float shifted[] = {1000.69314718f, 1002.07944154f, 1000.0f, 1001.38629436f, 1000.0f};
    assert_near(log_probability(shifted, 5, 3), log(4 / 16.), 1e-4); /* 24 bits of 1001: 6e-5 */
    const float uniform[] = {3.0f, 3.0f, 3.0f, 3.0f, 3.0f};
    double expected = 0.0, p[] = {2 / 16., 8 / 16., 1 / 16., 4 / 16., 1 / 16.};
    for (size_t i = 0; i < 5; i++) {
        expected += p[i] * log(p[i] * 5);
    }
    assert_near(kl_divergence(ladder, uniform, 5), expected, 1e-6);
    assert_near(kl_divergence(ladder, ladder, 5), 0.0, 1e-9);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(greedy_takes_the_lowest_of_equals),
    cmocka_unit_test(temperature_shapes_the_distribution),
    cmocka_unit_test(top_k_keeps_k),
    cmocka_unit_test(top_p_keeps_the_shortest_prefix),
    cmocka_unit_test(min_p_is_relative_to_the_largest),
    cmocka_unit_test(repetition_is_penalised_once),
    cmocka_unit_test(draws_depend_on_seed_and_position_only),
    cmocka_unit_test(bad_options_are_errors),
    cmocka_unit_test(log_probabilities_and_kl),
};

const struct test_suite suite_sampler = {"sampler", tests, sizeof tests / sizeof tests[0]};
