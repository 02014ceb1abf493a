/* mho adapt fit: ranges against the search by hand, channels against their definition, digital weights against all
 * subsets, their share, the folder, threads.
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
        double hand = error_by_hand(x, NUMBERS, ranges[i], 127), found = fit_range_cost(bins, ranges[i], 127);
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
    const struct fit_converters c = {.dac_steps = 127};
    double range = fit_best_range(&c, bins, 0, &cost);
    for (double r = 2; r < 100; r *= 1.01) {
        least = fmin(least, error_by_hand(x, NUMBERS, r, 127));
    }
    double found = error_by_hand(x, NUMBERS, range, 127);
    if (!(found <= 1.03 * least)) {
        fail_msg("range %g costs %g, the best %g", range, found, least);
    }
    /* ADC steps that grow with the range make it smaller */
    const struct fit_converters coarse = {.dac_steps = 127, .adc_steps = 127, .adc_bound = 12};
    assert_true(fit_best_range(&coarse, bins, NUMBERS, &cost) < range);
    /* limits of an ADC are found like a range */
    const struct fit_converters adc = {.dac_steps = 7, .adc_steps = 127, .adc_bound = 12};
    assert_true(fit_best_limit(&adc, bins, &cost) == range);
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
        double saved;
        assert_int_equal(fit_take_channels(&f, 100 * rows[i].price, digital, &saved), rows[i].count);
        for (uint32_t k = 0; k < 32; k++) {
            assert_int_equal(digital[k], k > 31 - rows[i].count);
        }
    }
}

/* ---- a model of one matrix -------------------------------------------------------------------------------- */

enum { SMALL_INPUTS = 5, SMALL_OUTPUTS = 12, WIDE_INPUTS = 64, WIDE_OUTPUTS = 16 };

static float small_weight(uint32_t o, uint32_t i) {
    float w = gaussian(1000 + o * SMALL_INPUTS + i);
    return i == o % SMALL_INPUTS ? 4 * w : w;
}

static enum status small_rows(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)context;
    (void)e;
    for (uint32_t o = 0; o < count; o++) {
        for (uint32_t i = 0; i < SMALL_INPUTS; i++) {
            rows[o * SMALL_INPUTS + i] = small_weight(first + o, i);
        }
    }
    return OK;
}

static enum status rows_of_ones(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)context;
    (void)first;
    (void)e;
    for (uint32_t i = 0; i < count * WIDE_INPUTS; i++) {
        rows[i] = 1;
    }
    return OK;
}

static struct chip *afm(void) {
    struct chip *c;
    struct error e;
    assert_int_equal(chip_load("afm", NULL, 0, &c, &e), OK);
    return c;
}

/* What output o costs when of the first n inputs those of `subset` are listed, and the others channels. */
static double cost_of_subset(const float *curve, uint32_t o, uint32_t n, unsigned subset, const struct sensitivity *v,
                             double price) {
    double largest = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        largest = subset >> i & 1 ? largest : fmax(largest, fabs((double)small_weight(o, i)));
    }
    for (uint32_t i = 0; i < n; i++) {
        double at = largest > 0 ? fabs((double)small_weight(o, i)) / largest * 256 : 0, low = fmin(floor(at), 255);
        double below = (double)curve[(int)low], above = (double)curve[(int)low + 1];
        double variance = below * below + (above * above - below * below) * (at - low);
        sum += subset >> i & 1 ? price : v->output[o] * v->input[i] * largest * largest * variance;
    }
    return sum;
}

static double least_of_subsets(const float *curve, uint32_t o, uint32_t n, const struct sensitivity *v, double price) {
    double least = INFINITY;
    for (unsigned subset = 0; subset < 1u << n; subset++) {
        least = fmin(least, cost_of_subset(curve, o, n, subset, v, price));
    }
    return least;
}

enum { SMALL_MATRICES = 32 };

struct small {
    struct matrix_source source[SMALL_MATRICES];
    struct sensitivity v[SMALL_MATRICES];
    struct fit_statistics statistics[SMALL_MATRICES];
    double output[SMALL_MATRICES][SMALL_OUTPUTS], input[SMALL_INPUTS], menu[FIT_LEVELS];
    uint32_t ranked[FIT_CHANNELS];
};

/* Sensitivities of the matrices fall by 1.25 from one to the next. Every other one has a channel that saves more than
 * any price: its last input. */
static void make_small(struct small *s) {
    *s = (struct small){.menu = {1e6, 0, INFINITY, INFINITY, INFINITY, INFINITY}, .ranked = {SMALL_INPUTS - 1}};
    for (size_t i = 0; i < SMALL_MATRICES; i++) {
        s->source[i] = (struct matrix_source){.name = "layers.0.q", .role = MATRIX_Q, .inputs = SMALL_INPUTS,
                                              .outputs = SMALL_OUTPUTS, .read_rows = small_rows};
        s->v[i] = (struct sensitivity){.output = s->output[i], .input = s->input};
        s->statistics[i] = (struct fit_statistics){.blocks = 1, .menu = s->menu, .ranked = s->ranked,
                                                   .menu_made = i % 2};
        for (uint32_t o = 0; o < SMALL_OUTPUTS; o++) {
            s->output[i][o] = exp((double)gaussian(2000 + o)) / pow(1.25, (double)i);
        }
    }
    for (uint32_t i = 0; i < SMALL_INPUTS; i++) {
        s->input[i] = exp((double)gaussian(3000 + i));
    }
}

/* Weights are listed where the best subsets save more than lists cost once, and sums where no channel pays for them;
 * then no subset of any column costs less than its own. Returns how many. */
static uint32_t check_subsets(const float *curve, const struct small *s, const struct fit_sides *f, size_t matrix) {
    const struct fit_price *p = &f->prices[matrix];
    const struct side_path *side = f->sides[matrix];
    const struct sensitivity *v = &s->v[matrix];
    uint32_t channels = matrix % 2, n = SMALL_INPUTS - channels, listed = side->weight_begin[SMALL_OUTPUTS];
    double price = f->worth * p->weight, saved = -f->worth * (p->lists + (channels ? 0 : p->sums));
    assert_int_equal(side->channel_count, channels);
    for (uint32_t o = 0; o < SMALL_OUTPUTS; o++) {
        unsigned chosen = 0;
        for (uint32_t k = side->weight_begin[o]; k < side->weight_begin[o + 1]; k++) {
            chosen |= 1u << side->weight_inputs[k];
        }
        double mine = cost_of_subset(curve, o, n, chosen, v, price), least = least_of_subsets(curve, o, n, v, price);
        if (listed > 0 && !(mine <= least * (1 + 1e-5))) {
            fail_msg("output %u: subset %x costs %g, the best %g", o, chosen, mine, least);
        }
        saved += cost_of_subset(curve, o, n, 0, v, 0) - least;
    }
    if ((listed > 0) != (saved > 0)) {
        fail_msg("matrix %zu lists %u weights, which save %g nats", matrix, listed, saved);
    }
    return listed;
}

/* What a joule is worth decides alone; all 2^5 subsets of every column are tried. Tolerance 1e-5: the costs of the
 * search are fp32 in part. A chip without costs prices multiplications, and lists are free. */
static void digital_weights_are_the_best_subset(void **state) {
    (void)state;
    static const char *const cell[] = {"tile.cell=pcm_afm", "tile.encoding=signed_unit",
                                       "effects.programming_noise=on"};
    static const char *const chips[] = {"afm", "ideal"};
    static struct small s;
    float curve[257];
    struct fit_sides sides;
    struct error e;
    make_small(&s);
    const struct model m = {.sources = s.source, .matrix_count = SMALL_MATRICES};
    for (size_t k = 0; k < 2; k++) {
        struct chip *c;
        size_t digital = SMALL_OUTPUTS * SMALL_MATRICES / 2, without = 0;
        must(chip_load(chips[k], cell, 3, &c, &e), &e);
        assert_int_equal(chip_weight_noise(c, curve, 257, &e), OK);
        must(fit_sides(&m, c, s.v, 0.3, true, s.statistics, &sides, &e), &e);
        for (size_t i = 0; i < SMALL_MATRICES; i++) {
            assert_int_equal(sides.prices[i].joules, k == 0);
            uint32_t listed = check_subsets(curve, &s, &sides, i);
            digital += listed;
            without += listed == 0;
        }
        assert_int_equal(digital, sides.listed);
        assert_true(digital <= 576); /* 0.3 of 32 x 60 */
        assert_int_equal(without > 0, k == 0);
        fit_sides_destroy(&sides, SMALL_MATRICES);
        chip_destroy(c);
    }
}

/* A chip with costs that does not say what a side path takes. */
static void what_nobody_can_count_is_refused(void **state) {
    (void)state;
    const struct model m = {.matrix_count = 0};
    struct fit_price *prices = NULL;
    struct error e;
    struct chip *c;
    must(chip_load("isaac", NULL, 0, &c, &e), &e);
    assert_int_equal(fit_prices(&m, c, &prices, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "a group side_path, or --digital 0"));
    assert_null(prices);
    chip_destroy(c);
}

/* Range of a matrix of ones: four of 64 inputs are 8 in size, of one sign or of both. */
static double range_of_outliers(bool same_sign) {
    enum { TOKENS = 64 };
    static float x[TOKENS * WIDE_INPUTS];
    double result[WIDE_OUTPUTS], input[WIDE_INPUTS] = {0};
    struct error e;
    struct chip *c = afm();
    struct matrix_source source = {.name = "layers.0.q", .role = MATRIX_Q, .inputs = WIDE_INPUTS,
                                   .outputs = WIDE_OUTPUTS, .read_rows = rows_of_ones};
    const struct model m = {.sources = &source, .matrix_count = 1};
    const struct sensitivity v = {.output = result, .input = input, .result = result, .together = 1};
    const struct chip_training converters = {.dac_steps = 3};
    for (size_t i = 0; i < TOKENS * WIDE_INPUTS; i++) {
        bool outlier = i % WIDE_INPUTS < 4;
        x[i] = !outlier ? gaussian(i) : same_sign || (i / WIDE_INPUTS) % 2 ? 8.0f : -8.0f;
    }
    for (uint32_t o = 0; o < WIDE_OUTPUTS; o++) {
        result[o] = 1;
    }
    struct fit_statistics *f = fit_statistics_create(&m, c);
    fit_count_inputs(f, WIDE_INPUTS, x, TOKENS);
    assert_int_equal(fit_measure_weights(&m, c, &v, NULL, f, &e), OK);
    assert_int_equal(fit_ranges(&m, c, &converters, &v, NULL, f, &e), OK);
    double range = (double)f->ranges[0];
    fit_statistics_destroy(f, 1);
    chip_destroy(c);
    return range;
}

/* Errors of inputs that are clipped alike in all tokens add up: the range gets wider. */
static void constant_clipping_counts_together(void **state) {
    (void)state;
    double same = range_of_outliers(true), both = range_of_outliers(false);
    if (!(same > 1.05 * both && same <= 9)) {
        fail_msg("range %g with inputs of one sign, %g with both", same, both);
    }
}

/* ---- the folder -------------------------------------------------------------------------------------------- */

enum { OPTIONS_MOST = 8 };

/* With 10 of the 36 matrices on tiles, which is where the time goes: those with the most inputs, and with the fewest
 * outputs. options: NULL-terminated unless there are OPTIONS_MOST. */
static const char *fitted(const char *name, const char *const options[OPTIONS_MOST]) {
    static char paths[4][1200];
    static unsigned next;
    char *path = paths[next++ % 4], *err;
    snprintf(path, sizeof paths[0], "%s/%s", scratch_directory(), name);
    const char *args[16 + OPTIONS_MOST] = {"adapt", "fit", "--model", shared_path("models/stories260K"), "--chip",
                                           "afm", "--set", "analog=[k,down]", "--tokens", "128", "--window", "16",
                                           "--out", path, "--quiet"};
    memcpy(args + 15, options, OPTIONS_MOST * sizeof *options);
    if (run_mho(args, 60, NULL, &err) != 0) {
        fail_msg("adapt fit: %s", err);
    }
    mem_free(err);
    return path;
}

static bool on_tiles(const struct matrix_source *s) { return s->role == MATRIX_K || s->role == MATRIX_DOWN; }

/* The share is used up and not exceeded, every matrix on tiles has a range for each row block. */
static void check_folder(const char *path) {
    struct model *m = open_model(path);
    double digital = 0, all = 0;
    for (size_t i = 0; i < m->matrix_count; i++) {
        const struct matrix_source *s = &m->sources[i];
        if (!on_tiles(s)) {
            assert_true(!s->input_range && !s->adc_range && !s->weight_scale && !s->side);
            continue;
        }
        all += (double)s->outputs * s->inputs;
        assert_int_equal(s->input_range_count, 1); /* fewer than 512 inputs */
        assert_true(s->input_range[0] > 0);
        assert_int_equal(s->adc_range_count, s->outputs);
        if (s->side) {
            digital += (double)s->side->channel_count * s->outputs;
            digital += s->side->weight_begin ? s->side->weight_begin[s->outputs] : 0;
        }
    }
    assert_true(digital <= 0.045 * all);
    assert_true(digital > 0.043 * all); /* 0.04 would lie between 4 and 8 channels of a matrix, 0.8 % of all */
    model_close(m);
}

/* Side paths and ranges come back from the folder; its bytes do not depend on the threads. */
static void folder_is_the_same_for_any_threads(void **state) {
    (void)state;
    static const char *const options[2][OPTIONS_MOST] = {{"--digital", "0.045", "--threads", "1"},
                                                         {"--digital", "0.045", "--threads", "3"}};
    char *first = NULL, *text;
    size_t bytes = 0, n;
    struct error e;
    for (size_t i = 0; i < 2; i++) {
        const char *folder = fitted("fitted", options[i]);
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

/* Every step can be left out: what the folder then lacks. */
static void steps_are_switches(void **state) {
    (void)state;
    static const struct {
        const char *options[OPTIONS_MOST];
        bool channels, weights, ranges, scales;
    } cases[] = {
        {{"--threads", "1", "--reconstruct", "off"}, true, true, true, false},
        {{"--threads", "1", "--channels", "off", "--ranges", "off", "--reconstruct", "off"}, false, true, false, false},
        {{"--threads", "1", "--single-weights", "off", "--digital", "0.2", "--reconstruct", "off"},
         true, false, true, false},
        {{"--threads", "1", "--digital", "0", "--ranges", "off", "--reconstruct", "on"}, false, false, false, true},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct model *m = open_model(fitted("switched", cases[c].options));
        bool channels = false, weights = false;
        for (size_t i = 0; i < m->matrix_count; i++) {
            const struct matrix_source *s = &m->sources[i];
            channels = channels || (s->side && s->side->channel_count > 0);
            weights = weights || (s->side && s->side->weight_begin && s->side->weight_begin[s->outputs] > 0);
            assert_int_equal(s->input_range != NULL, cases[c].ranges && on_tiles(s));
            assert_int_equal(s->adc_range != NULL, cases[c].ranges && on_tiles(s));
            assert_int_equal(s->weight_scale != NULL, cases[c].scales && on_tiles(s));
        }
        assert_int_equal(channels, cases[c].channels);
        assert_int_equal(weights, cases[c].weights);
        model_close(m);
    }
}

/* Fits a model with the options, or just exports it, and returns what the folder then says. json_decref. */
static json_t *made_how(const char *word, const char *from, const char *to, const char *const options[16]) {
    const char *args[24] = {"adapt", word, "--model", from, "--out", to, "--quiet"};
    char *err;
    memcpy(args + 7, options, 16 * sizeof *options);
    if (run_mho(args, 60, NULL, &err) != 0) {
        fail_msg("adapt %s: %s", word, err);
    }
    mem_free(err);
    struct model *m = open_model(to);
    json_t *how = model_made_how(m);
    model_close(m);
    assert_non_null(how);
    return how;
}

/* Takes both. */
static void assert_same_json(json_t *found, json_t *expected) {
    if (!json_equal(found, expected)) {
        fail_msg("%s, expected %s", json_dumps(found, JSON_COMPACT), json_dumps(expected, JSON_COMPACT));
    }
    json_decref(found);
    json_decref(expected);
}

/* The folder says every switch, what was reached, and how the model was made that it started from; export keeps it. */
static void folder_says_how_it_was_made(void **state) {
    (void)state;
    static const char *const plain[16] = {"--chip", "afm", "--set", "analog=[k,v]", "--tokens", "64", "--window", "8",
                                          "--reconstruct", "off", "--threads", "1"};
    static const char *const none[16] = {NULL};
    const char *options[16];
    char folders[3][1200];
    for (size_t i = 0; i < 3; i++) {
        snprintf(folders[i], sizeof folders[i], "%s/%zu", scratch_directory(), i);
    }
    memcpy(options, plain, sizeof options);
    memcpy(options + 12, (const char *[]){"--digital", "0", "--rotate", "value"}, 4 * sizeof *options);
    json_t *first = made_how("fit", shared_path("models/stories260K"), folders[0], options);
    assert_int_equal(json_object_size(first), 15); /* no `before` */
    assert_string_equal(json_string_value(json_object_get(first, "rotate")), "value");
    assert_true(json_is_true(json_object_get(first, "ranges")));
    memcpy(options + 12, (const char *[]){"--ranges", "off", "--redundancy", "0.1"}, 4 * sizeof *options);
    json_t *second = made_how("fit", folders[0], folders[1], options);
    double digital = json_number_value(json_object_get(second, "digital"));
    double more = json_number_value(json_object_get(second, "more_cells"));
    assert_true(digital > 0.045 && digital <= 0.05 && more > 0.05 && more <= 0.1);
    assert_same_json(made_how("export", folders[1], folders[2], none), json_incref(second));
    assert_same_json(second,
                     json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:b, s:f, s:f, s:b, s:b, s:n, s:o}",
                               "recipe", "fit", "chip", "afm", "tokens", 72, "reconstruct_tokens", 0, "window", 8,
                               "seed", 0, "digital_asked", 0.05, "digital", digital, "channels", 1, "single_weights", 1,
                               "redundancy", 0.1, "more_cells", more, "ranges", 0, "reconstruct", 0, "rotate", "before",
                               first));
}

/* What the first token costs in those components that a side path changes, whatever the inputs are. */
static double first_token_J(const char *model) {
    static const char *const components[] = {"digital_matmul", "buffer", "vector", "dac"};
    const char *const args[] = {"run", "--model", model, "--chip", "afm", "--prompt", "", "--tokens", "1", "--json",
                                NULL};
    json_t *run = mho_json(args);
    const json_t *parts = json_object_get(json_object_get(run, "energy"), "by_component");
    double J = 0;
    assert_int_equal(json_integer_value(json_object_get(json_object_get(run, "time"), "steps")), 1);
    for (size_t k = 0; k < sizeof components / sizeof components[0]; k++) {
        J += json_number_value(json_object_get(parts, components[k]));
    }
    json_decref(run);
    return J;
}

/* What fit prints for the side path is what a run of the folder costs more, in matrix unit, buffer, vector unit and
 * DACs, than one of the model; to 1e-9, differences of sums in double. The numbers by matrix add up to it. */
static void printed_joules_are_the_ledgers(void **state) {
    (void)state;
    static char folder[1200];
    snprintf(folder, sizeof folder, "%s/joules", scratch_directory());
    const char *const args[] = {"adapt", "fit", "--model", shared_path("models/stories260K"), "--chip", "afm",
                                "--tokens", "128", "--window", "16", "--digital", "0.06", "--reconstruct", "off",
                                "--json", "--out", folder, NULL};
    json_t *fit = mho_json(args);
    const json_t *side = json_object_get(fit, "side_path"), *matrix;
    double printed = json_number_value(json_object_get(side, "joules_per_token")), sum = 0, channels = 0, weights = 0,
           nats = 0;
    size_t i;
    json_array_foreach(json_object_get(side, "matrices"), i, matrix) {
        sum += json_number_value(json_object_get(matrix, "joules_per_token"));
        channels += json_number_value(json_object_get(matrix, "channels"));
        weights += json_number_value(json_object_get(matrix, "weights"));
        nats += json_number_value(json_object_get(matrix, "saved_nats"));
    }
    double measured = first_token_J(folder) - first_token_J(shared_path("models/stories260K"));
    assert_string_equal(json_string_value(json_object_get(side, "unit")), "joule");
    assert_true(channels > 0 && weights > 0 && nats > 0);
    assert_near(sum / printed, 1, 1e-12);
    assert_near(measured / printed, 1, 1e-9);
    json_decref(fit);
}

/* ---- what the reconstruction sees -------------------------------------------------------------------------- */

enum { WORDS = 800, WORD_BYTES = 4, TEXT_WINDOW = 16, FRESH = TEXT_WINDOW - 1 };

/* A text of WORDS words of a token each, with others from `first` to `end`. Its first byte is a blank, which the
 * tokenizer adds itself. */
static void make_text(char *text, size_t first, size_t end) {
    static const char *const words[2][4] = {{" the", " was", " and", " day"}, {" she", " her", " you", " big"}};
    for (size_t i = 0; i < WORDS; i++) {
        double u = random_uniform(3, random_stream(RANDOM_TEST, 62), i);
        memcpy(text + i * WORD_BYTES, words[i >= first && i < end][(size_t)(u * 4)], WORD_BYTES);
    }
}

/* Fits q of the model, without ranges; the folder's bytes. mem_free. */
static char *fit_on(const char *text, uint32_t length, uint64_t tokens, uint64_t reconstruct_tokens,
                    struct fit_result *r, size_t *bytes) {
    static const char *const sets[] = {"analog=[q]"};
    const struct fit_options o = {.digital_share = 0.04, .channels = true, .weights = true, .text = text + 1,
                                  .text_bytes = WORDS * WORD_BYTES - 1, .tokens = tokens, .length = length,
                                  .reconstruct = true, .reconstruct_tokens = reconstruct_tokens};
    struct model *m = open_model(shared_path("models/stories260K"));
    char folder[1200], path[1300], *found;
    struct token_list ids = {NULL, 0, 0};
    struct chip *c;
    struct error e;
    must(chip_load("afm", sets, 1, &c, &e), &e);
    must(tokenizer_encode(m->tokenizer, o.text, o.text_bytes, false, false, &ids, &e), &e);
    assert_int_equal(ids.count, WORDS);
    snprintf(folder, sizeof folder, "%s/seen", scratch_directory());
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    must(adapt_fit(m, c, &o, folder, r, &e), &e);
    must(read_file(path, 1 << 28, &found, bytes, &e), &e);
    token_list_clear(&ids);
    mem_free(r->sides);
    r->sides = NULL;
    chip_destroy(c);
    model_close(m);
    return found;
}

static bool same_bytes(const char *a, size_t n, const char *b, size_t count) {
    return n == count && memcmp(a, b, n) == 0;
}

/* From the last eighth of the windows on the text is for trials: as many windows as it holds, half of all at most. */
static void trials_have_text_of_their_own(void **state) {
    (void)state;
    static const struct {
        uint32_t length;
        uint64_t windows, trials;
    } cases[] = {{16, 7, 0}, {16, 16, 4}, {6, 16, 8}};
    char text[WORDS * WORD_BYTES];
    struct fit_result r;
    size_t bytes;
    make_text(text, 0, 0);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        uint64_t windows = cases[k].windows, fresh = cases[k].length - 1;
        mem_free(fit_on(text, cases[k].length, windows * fresh, fresh, &r, &bytes));
        assert_int_equal(r.tokens, (windows - windows / 8 + cases[k].trials) * cases[k].length);
    }
}

/* It has windows of its own, as many as asked for. They change weights and scales and nothing else: not what stays
 * digital, and not what that is worth. */
static void reconstruction_sees_more_text(void **state) {
    (void)state;
    static const struct {
        uint64_t asked, seen; /* the text before the window that is kept for trials, the last one, bounds it */
    } cases[] = {{10 * FRESH, 10}, {10 * FRESH + FRESH - 1, 10}, {1000000, (WORDS - FRESH) / FRESH}};
    char text[WORDS * WORD_BYTES], *found[3];
    struct fit_result r[3];
    size_t bytes[3];
    make_text(text, 0, 0);
    for (size_t k = 0; k < 3; k++) {
        found[k] = fit_on(text, TEXT_WINDOW, 8 * FRESH, cases[k].asked, &r[k], &bytes[k]);
        assert_int_equal(r[k].reconstruct_tokens, cases[k].seen * TEXT_WINDOW);
        assert_int_equal(r[k].tokens, 8 * TEXT_WINDOW);
        assert_true(r[k].side.after == r[0].side.after && r[k].digital_share == r[0].digital_share);
        assert_true(r[k].worth == r[0].worth && r[k].digital_share > 0.03);
    }
    assert_true(r[1].reconstruction.after == r[0].reconstruction.after);
    assert_true(r[2].reconstruction.after != r[0].reconstruction.after);
    assert_true(same_bytes(found[0], bytes[0], found[1], bytes[1]));
    for (size_t k = 0; k < 3; k++) {
        mem_free(found[k]);
    }
}

/* All of the text counts, also what lies between the windows of the sensitivities, up to the first window that is kept
 * for trials: words from there on do not. */
static void what_is_kept_for_trials_is_not_seen(void **state) {
    (void)state;
    static const struct {
        size_t first, end; /* words that are others */
        bool same;
    } cases[] = {{0, 0, true}, {WORDS - FRESH, WORDS, true}, {WORDS - 2 * FRESH, WORDS - FRESH, false},
                 {3 * FRESH, 4 * FRESH, false}};
    char text[WORDS * WORD_BYTES], *found[4];
    struct fit_result r[4];
    size_t bytes[4];
    for (size_t k = 0; k < 4; k++) {
        make_text(text, cases[k].first, cases[k].end);
        found[k] = fit_on(text, TEXT_WINDOW, 8 * FRESH, 1000000, &r[k], &bytes[k]);
        assert_true(r[k].side.after == r[0].side.after);
        assert_int_equal(same_bytes(found[k], bytes[k], found[0], bytes[0]), cases[k].same);
    }
    for (size_t k = 0; k < 4; k++) {
        mem_free(found[k]);
    }
}

static void contradictions_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *options[3][2], *said;
    } cases[] = {
        {{{"--reconstruct", "maybe"}}, "--reconstruct maybe: unknown (allowed: on, off)"},
        {{{"--channels", "off"}, {"--single-weights", "off"}}, "neither channels nor single weights may stay digital"},
        {{{"--digital", "0.6"}}, "allowed: 0 to 0.5"},
        {{{"--reconstruct-tokens", "0"}}, "allowed: 1 to 1000000000"},
        {{{"--reconstruct-tokens", "4096"}, {"--reconstruct", "off"}},
         "with --reconstruct off nothing is reconstructed"},
        {{{"--reconstruct-tokens", "14"}, {"--window", "16"}, {"--chip", "afm"}},
         "14 tokens of text for the reconstruction (allowed: at least 15"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char *err;
        const char *args[13] = {"adapt", "fit", "--model", shared_path("models/stories260K"), "--out", "never"};
        memcpy(args + 6, cases[c].options, sizeof cases[c].options);
        assert_int_equal(run_mho(args, 60, NULL, &err), 2);
        assert_non_null(strstr(err, cases[c].said));
        mem_free(err);
    }
}

/* A model that brings input ranges is told about, at once (the window ends the run before the work), unless --quiet. */
static void ranges_of_training_are_told(void **state) {
    (void)state;
    static const struct {
        const char *model, *option;
        bool told;
    } cases[] = {{"torch/analog-tiny", NULL, true}, {"torch/analog-tiny", "--quiet", false},
                 {"models/llama3-tiny", NULL, false}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char *err;
        const char *const args[] = {"adapt", "fit", "--model", golden_path(cases[c].model), "--chip", "afm", "--out",
                                    "never", "--window", "100000", cases[c].option, NULL};
        assert_int_equal(run_mho(args, 10, NULL, &err), 2);
        assert_non_null(strstr(err, "longer than the model's context"));
        assert_int_equal(strstr(err, "brings input ranges") != NULL, cases[c].told);
        mem_free(err);
    }
}

/* That there is no such folder is said at once, not after the work. */
static void folder_that_cannot_be_made(void **state) {
    (void)state;
    char *err;
    const char *const args[] = {"adapt", "fit", "--chip", "afm", "--out", "/dev/null/x", NULL};
    assert_int_equal(run_mho(args, 10, NULL, &err), 1); /* the work takes longer */
    assert_non_null(strstr(err, "cannot make the folder"));
    mem_free(err);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(digital_weights_are_the_best_subset),
    cmocka_unit_test(what_nobody_can_count_is_refused),
    cmocka_unit_test(constant_clipping_counts_together),
    cmocka_unit_test(histogram_gives_the_error),
    cmocka_unit_test(range_is_the_best),
    cmocka_unit_test(channels_are_worth_their_price),
    cmocka_unit_test(folder_is_the_same_for_any_threads),
    cmocka_unit_test(steps_are_switches),
    cmocka_unit_test(folder_says_how_it_was_made),
    cmocka_unit_test(printed_joules_are_the_ledgers),
    cmocka_unit_test(trials_have_text_of_their_own),
    cmocka_unit_test(reconstruction_sees_more_text),
    cmocka_unit_test(what_is_kept_for_trials_is_not_seen),
    cmocka_unit_test(contradictions_are_refused),
    cmocka_unit_test(ranges_of_training_are_told),
    cmocka_unit_test(folder_that_cannot_be_made),
};
const struct test_suite suite_adapt_fit = {"adapt_fit", tests, sizeof tests / sizeof tests[0]};
