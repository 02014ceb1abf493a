/* mho adapt fit: ranges against the search by hand, channels against their definition, the share of digital weights,
 * the folder, threads.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "models/adapt/fit.h"
#include "models/internal.h"
#include "tests/golden.h"

static float gaussian(uint64_t i) { return random_gaussian(5, random_stream(RANDOM_TEST, 61), i); }

/* ---- ranges ------------------------------------------------------------------------------------------------ */

enum { NUMBERS = 20000 };

/* Squared error of x by rounding to steps of range / steps and clipping, summed. */
static double error_by_hand(const float *x, size_t n, double range, double steps) {
    double sum = 0, step = range / steps;
    for (size_t i = 0; i < n; i++) {
        double q = fmax(-steps, fmin(steps, nearbyint((double)x[i] / step))) * step;
        sum += (q - (double)x[i]) * (q - (double)x[i]);
    }
    return sum;
}

/* The histogram says what the numbers say: within 6 %, as bins are up to 12 % wide and errors near the range enter
 * with the square of a difference (measured: 3 %). */
static void histogram_gives_the_error(void **state) {
    (void)state;
    static float x[NUMBERS];
    double bins[FIT_BINS] = {0};
    for (size_t i = 0; i < NUMBERS; i++) {
        x[i] = gaussian(i) * 2.5f;
        bins[fit_bin(fabsf(x[i]))] += 1;
    }
    static const double ranges[] = {3, 5, 7, 12, 40, 400};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        double hand = error_by_hand(x, NUMBERS, ranges[i], 127), found = fit_range_cost(bins, ranges[i], 127, 1);
        if (!(fabs(found / hand - 1) < 0.06)) {
            fail_msg("range %g: %g, by hand %g", ranges[i], found, hand);
        }
    }
}

/* A few large numbers among many small ones: the range found costs at most 3 % more than the best of a fine grid. */
static void range_is_the_best(void **state) {
    (void)state;
    static float x[NUMBERS];
    double bins[FIT_BINS] = {0}, cost, least = INFINITY;
    for (size_t i = 0; i < NUMBERS; i++) {
        x[i] = gaussian(i) * (i % 500 == 0 ? 20.0f : 1.0f);
        bins[fit_bin(fabsf(x[i]))] += 1;
    }
    const struct fit_converters c = {.dac_steps = 127, .clip = 1};
    double range = fit_best_range(&c, bins, NULL, 0, &cost);
    for (double r = 2; r < 100; r *= 1.01) {
        least = fmin(least, error_by_hand(x, NUMBERS, r, 127));
    }
    double found = error_by_hand(x, NUMBERS, range, 127);
    if (!(found <= 1.03 * least)) {
        fail_msg("range %g costs %g, the best %g", range, found, least);
    }
    /* ADC steps that grow with the range make it smaller; clipped inputs that count more make it larger */
    const struct fit_converters coarse = {.dac_steps = 127, .adc_steps = 127, .adc_bound = 12, .clip = 1};
    const struct fit_converters careful = {.dac_steps = 127, .clip = 100};
    assert_true(fit_best_range(&coarse, bins, NULL, NUMBERS, &cost) < range);
    assert_true(fit_best_range(&careful, bins, NULL, 0, &cost) > range);
}

/* Channels by the table: k of 0, 1, 2, 4, 8, 16 with the least cost + price k O. */
static void channels_are_worth_their_price(void **state) {
    (void)state;
    uint32_t ranked[FIT_CHANNELS];
    double menu[FIT_LEVELS] = {10, 6, 5.5, 2, 1.9, 1.89};
    for (uint32_t i = 0; i < FIT_CHANNELS; i++) {
        ranked[i] = 31 - i;
    }
    const struct fit_statistics f = {.blocks = 1, .ranked = ranked, .menu = menu, .menu_made = true};
    static const struct {
        double price;
        uint32_t count;
    } rows[] = {{1, 0}, {0.035, 1}, {0.01, 4}, {1e-4, 8}, {1e-6, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t digital[32] = {0};
        assert_int_equal(fit_take_channels(&f, 100, rows[i].price, digital), rows[i].count);
        for (uint32_t k = 0; k < 32; k++) {
            assert_int_equal(digital[k], k > 31 - rows[i].count);
        }
    }
}

/* ---- the folder -------------------------------------------------------------------------------------------- */

static const char *fitted(const char *name, const char *threads) {
    static char paths[4][1200];
    static unsigned next;
    char *path = paths[next++ % 4], *err;
    snprintf(path, sizeof paths[0], "%s/%s", scratch_directory(), name);
    const char *const args[] = {"adapt", "fit", "--model", shared_path("models/stories260K"), "--chip", "afm",
                                "--tokens", "256", "--window", "64", "--digital", "0.04", "--out", path,
                                "--reconstruct", "--threads", threads, "--quiet", NULL};
    if (run_mho(args, 60, NULL, &err) != 0) {
        fail_msg("adapt fit: %s", err);
    }
    mem_free(err);
    return path;
}

/* The share is used up and not exceeded, every matrix on tiles has a range for each row block. */
static void check_folder(const char *path) {
    struct model *m = open_model(path);
    double digital = 0, all = 0;
    for (size_t i = 0; i < m->matrix_count; i++) {
        const struct matrix_source *s = &m->sources[i];
        all += (double)s->outputs * s->inputs;
        assert_int_equal(s->input_range_count, 1); /* fewer than 512 inputs */
        assert_true(s->input_range[0] > 0);
        if (s->side) {
            digital += (double)s->side->channel_count * s->outputs;
            digital += s->side->weight_begin ? s->side->weight_begin[s->outputs] : 0;
        }
    }
    assert_true(digital <= 0.04 * all);
    assert_true(digital > 0.038 * all);
    model_close(m);
}

/* Side paths and ranges come back from the folder; its bytes do not depend on the threads. */
static void folder_is_the_same_for_any_threads(void **state) {
    (void)state;
    static const char *const threads[] = {"1", "2", "7"};
    char *first = NULL, *text;
    size_t bytes = 0, n;
    struct error e;
    for (size_t i = 0; i < 3; i++) {
        const char *folder = fitted("fitted", threads[i]);
        char path[1300];
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        assert_int_equal(read_file(path, 1 << 28, &text, &n, &e), OK);
        if (!first) {
            check_folder(folder);
            first = text;
            bytes = n;
            continue;
        }
        assert_int_equal(n, bytes);
        assert_memory_equal(text, first, n);
        mem_free(text);
    }
    mem_free(first);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(histogram_gives_the_error),
    cmocka_unit_test(range_is_the_best),
    cmocka_unit_test(channels_are_worth_their_price),
    cmocka_unit_test(folder_is_the_same_for_any_threads),
};
const struct test_suite suite_adapt_fit = {"adapt_fit", tests, sizeof tests / sizeof tests[0]};
