/* The cell `generic`: every distribution, error law and drift law that it offers, against its formulas
 * (distributions.h); and what all parts say of their levels.
 */
#include <string.h>

#include "base/memory.h"
#include "tests/distributions.h"

static const struct cell_conditions PROGRAMMED = {.programming_noise = true};
static const struct cell_conditions DRIFTED = {.programming_noise = true, .drift = true};

static double uniform_cdf(const void *ctx, double x) {
    const double *edge = ctx;
    return gsl_cdf_flat_P(x, edge[0], edge[1]);
}

static double log_normal_cdf(const void *ctx, double x) {
    const double *p = ctx;
    return gsl_cdf_lognormal_P(x, p[0], p[1]);
}

/* Programming: three distributions of three error laws, g_max 25, ratio 10, sd 0.5 % at g_max. */
static void generic_has_every_distribution_and_error(void **state) {
    (void)state;
    static const char *const shapes[] = {"programming_distribution=normal", "programming_distribution=uniform",
                                         "programming_distribution=log_normal"};
    static const char *const errors[] = {"programming_error=independent", "programming_error=proportional",
                                         "programming_error=inverse"};
    struct arena *a = arena_create();
    for (int shape = 0; shape < 3; shape++) {
        for (int power = 0; power < 3; power++) {
            const char *const overrides[] = {"on_off_ratio.value=10", "programming_sd.value=0.005", shapes[shape],
                                             errors[power], NULL};
            const struct cell *c = part_with(a, "generic", overrides);
            assert_near(cell_common_of(c).g_min_S, 2.5e-6, 1e-18);
            for (double g = 2.5; g <= 25; g += 11.25) {
                double sd = 0.005 * 25 * (power == 0 ? 1 : power == 1 ? g / 25 : 25 / g);
                double edge[2] = {g - sqrt(3) * sd, g + sqrt(3) * sd};
                double s2 = log1p(sd * sd / (g * g)), log_normal[2] = {log(g) - s2 / 2, sqrt(s2)};
                struct reference uniform = {g, sd, 0, INFINITY, uniform_cdf, edge};
                struct reference skewed = {g, sd, 0, INFINITY, log_normal_cdf, log_normal};
                if (shape == 0) {
                    assert_normal("generic", c, PROGRAMMED, g, 0, g, sd);
                } else {
                    assert_follows("generic", c, PROGRAMMED, g, 0, shape == 1 ? &uniform : &skewed);
                }
            }
        }
    }
    arena_destroy(a);
}

static void generic_drifts_by_every_law(void **state) {
    (void)state;
    static struct mixture m;
    struct arena *a = arena_create();
    const struct cell *still = part_with(a, "generic", (const char *const[]){"drift_law=none", NULL});
    assert_normal("none", still, DRIFTED, 10, 86400, 10, 0.2);
    const char *const slow[] = {"drift_law=logarithmic", "drift_mean.value=0.05", "drift_sd.value=0.03", NULL};
    const struct cell *logarithmic = part_with(a, "generic", slow);
    for (double age_s = 60; age_s < 1e8; age_s *= 1000) {
        m.count = 0;
        for (int k = 0; k < FINE; k++) {
            double kept = fmax(0, 1 - fabs(0.05 + 0.03 * node(k, FINE)) * log((age_s + 20) / 20));
            mixture_add(&m, node_weight(k, FINE), 10 * kept, 0.2 * kept);
        }
        struct reference r = reference_of(&m, 0, INFINITY);
        assert_follows("logarithmic", logarithmic, DRIFTED, 10, age_s, &r);
    }
    arena_destroy(a);
}

/* Read noise alone, on the target: three error laws; without a read pulse the same at every age. */
static void generic_reads_with_every_error(void **state) {
    (void)state;
    static const char *const errors[] = {"read_error=independent", "read_error=proportional", "read_error=inverse"};
    const struct cell_conditions read = {.read_noise = true};
    struct arena *a = arena_create();
    for (int power = 0; power < 3; power++) {
        for (int flicker = 0; flicker < 2; flicker++) {
            const char *const overrides[] = {"on_off_ratio.value=10", "read_sd.value=0.001", errors[power],
                                             flicker ? NULL : "t_read_s.value=0", NULL};
            const struct cell *c = part_with(a, "generic", overrides);
            double factor = flicker ? sqrt(log((3600 + 20 + 250e-9) / 500e-9)) : 1;
            for (double g = 2.5; g <= 25; g += 11.25) {
                double sd = 0.001 * 25 * (power == 0 ? 1 : power == 1 ? g / 25 : 25 / g);
                assert_normal("generic", c, read, g, 3600, g, sd * factor);
            }
        }
    }
    arena_destroy(a);
}

static void levels_are_the_parts(void **state) {
    (void)state;
    struct arena *a = arena_create();
    assert_int_equal(cell_common_of(part_with(a, "generic", (const char *const[]){"levels=16", NULL})).levels, 16);
    assert_int_equal(cell_common_of(part_with(a, "measured", (const char *const[]){"levels=16", NULL})).levels, 16);
    for (const struct cell_model *const *m = cell_models; *m; m++) {
        struct cell_common k = cell_common_of(part(a, (*m)->name));
        assert_true(k.charge == (strcmp((*m)->name, "sram_capacitor") == 0));
        assert_true(k.levels != 1 && k.levels >= 0 && k.g_min_S < k.g_max_S && k.min_age_s <= k.max_age_s);
        assert_true(strstr((*m)->status, "validated against") || strstr((*m)->status, "uncalibrated"));
    }
    arena_destroy(a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(generic_has_every_distribution_and_error),
    cmocka_unit_test(generic_drifts_by_every_law),
    cmocka_unit_test(generic_reads_with_every_error),
    cmocka_unit_test(levels_are_the_parts),
};
const struct test_suite suite_generic_cell = {"generic_cell", tests, sizeof tests / sizeof tests[0]};
