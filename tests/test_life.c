/* The life of a device beyond its model: optional groups of a part file, write-verify, read noise as one history.
 *
 * Exact formulas are compared device by device on the ideal cell (programmed = target); statistics have fixed seeds and
 * bounds of 4 standard errors unless a test says otherwise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/sort.h"
#include "devices/groups.h"
#include "devices/history.h"
#include "devices/vector_math.h"
#include "sim/sim.h"
#include "tests/suite.h"

enum { SAMPLES = 1 << 16 };

#define X(value) "{value: " value ", kind: published, source: a test}"
#define TEMPERATURE(energy, low, high)                                                                     \
    "temperature={reference_K: " X("300") ", activation_energy_eV: " X(energy) ", conductance_low_per_K: " X(low) \
    ", conductance_high_per_K: " X(high) ", valid_from_K: " X("200") ", valid_to_K: " X("500") "}"
#define RETENTION(time, stretch, log_sd, energy)                                                               \
    "retention={time_s: " X(time) ", stretch: " X(stretch) ", time_log_sd: " X(log_sd) ", activation_energy_eV: " X( \
        energy) "}"
#define DISTURB(per_read, towards) "disturb={per_read: " X(per_read) ", towards: " towards "}"
#define TELEGRAPH(share, amplitude, time) \
    "telegraph={share: " X(share) ", amplitude: " X(amplitude) ", time_s: " X(time) "}"
#define WHITE(relative, absolute) "white_noise={relative: " X(relative) ", absolute_uS: " X(absolute) "}"
#define CURRENT(form, reference, strength) \
    "current={form: " form ", reference_V: " X(reference) ", strength: " X(strength) "}"
#define PROGRAMMING(mode, factor, tolerance, most, noise)                                                     \
    "programming={mode: " mode ", published_pulses: " X("7") ", single_pulse_factor: " X(factor) ", tolerance: " X( \
        tolerance) ", max_pulses: " most ", verify_noise: " X(noise) ", pulse_ns: " X("150") ", pulse_pJ: " X("22.5") \
    ", verify_ns: " X("500") ", verify_pJ: " X("1") ", endurance_pulses: " X("1e6") "}"

/* A cell of configs/parts with groups added; NULL where it is refused (why in e). */
static const struct cell *try_cell(struct arena *a, const char *part, const char *const *groups, struct error *e) {
    struct config_node *map = NULL;
    const struct cell *c = NULL;
    char path[1024];
    snprintf(path, sizeof path, "%s/configs/parts/%s.yaml", data_directory(), part);
    enum status s = config_load(a, path, &map, e);
    for (int i = 0; s == OK && groups && groups[i]; i++) {
        s = config_set(a, map, groups[i], i + 1, e);
    }
    return s == OK && cell_create(map, "tile.cell.", a, &c, e) == OK ? c : NULL;
}

static const struct cell *make_cell(struct arena *a, const char *part, const char *const *groups) {
    struct error e = {0};
    const struct cell *c = try_cell(a, part, groups, &e);
    if (!c) {
        fail_msg("%s", e.message);
    }
    return c;
}

#define CELL(a, part, ...) make_cell(a, part, (const char *const[]){__VA_ARGS__, NULL})

static const struct cell_conditions AGEING = {.drift = true, .temperature = true, .temperature_K = 300},
                                    ALL = {.programming_noise = true,
                                           .drift = true,
                                           .read_noise = true,
                                           .temperature = true,
                                           .temperature_K = 300};

/* n targets from g_min to g_max. */
static void targets_of(const struct cell *c, float *target_S, int n) {
    struct cell_common k = cell_common_of(c);
    double low_S = k.pair_statistics ? -k.g_max_S : k.g_min_S;
    for (int i = 0; i < n; i++) {
        target_S[i] = (float)(low_S + (k.g_max_S - low_S) * i / (n - 1));
    }
}

static void fill(float *target_S, double value_S, int n) {
    for (int i = 0; i < n; i++) {
        target_S[i] = (float)value_S;
    }
}

static double mean_of(const float *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / n;
}

static double sd_of(const float *x, int n) {
    double mean = mean_of(x, n), sum = 0;
    for (int i = 0; i < n; i++) {
        sum += (x[i] - mean) * (x[i] - mean);
    }
    return sqrt(sum / n);
}

/* ---- groups of a part file ------------------------------------------------------------------------------ */

#define EVERY_GROUP                                                                                                 \
    TEMPERATURE("0.4", "0.01", "-0.001"), RETENTION("1e6", "0.5", "0.7", "1.1"), DISTURB("1e-6", "g_max"),          \
        TELEGRAPH("0.3", "0.05", "10"), WHITE("0.01", "0.02"), CURRENT("sinh", "0.2", "0.5"),                       \
        PROGRAMMING("write_verify", "2.5", "0.02", "20", "0.005")

static void count_group(void *ctx, const char *group, bool present) {
    int *count = ctx;
    assert_true(group[0] != 0);
    count[present]++;
}

/* A cell with every group, dumped and read back, is the same cell in all that can be asked of it. */
static void groups_survive_a_dump(void **state) {
    (void)state;
    enum { N = 400 };
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "pcm_like", EVERY_GROUP), *again = NULL;
    struct error e = {0};
    struct config_node *map = config_new_map(a, "dump", 0), *read_back = NULL;
    assert_int_equal(cell_dump(c, a, map, &e), OK);
    char *text = config_dump(map);
    if (config_parse(a, text, strlen(text), "dump", &read_back, &e) != OK ||
        cell_create(read_back, "", a, &again, &e)) {
        fail_msg("%s\n%s", e.message, text);
    }
    mem_free(text);
    struct cell_conditions k = ALL;
    k.temperature_K = 340;
    k.reads = 1000;
    float target_S[N], one_S[N], two_S[N];
    struct programming_count counted = {0}, counted_again = {0};
    targets_of(c, target_S, N);
    cell_realise_ages(c, &k, &(struct cell_draws){1, 2, 3}, target_S, (double[]){50}, 1, (float *[]){one_S}, &counted,
                      N);
    cell_realise_ages(again, &k, &(struct cell_draws){1, 2, 3}, target_S, (double[]){50}, 1, (float *[]){two_S},
                      &counted_again, N);
    assert_memory_equal(one_S, two_S, sizeof one_S);
    assert_memory_equal(&counted, &counted_again, sizeof counted);
    cell_white_sd(c, target_S, one_S, N);
    cell_white_sd(again, target_S, two_S, N);
    assert_memory_equal(one_S, two_S, sizeof one_S);
    assert_true(cell_current_factor(c, 0.1) == cell_current_factor(again, 0.1));
    assert_true(cell_programming_costs(again)->pulse_J.value == cell_programming_costs(c)->pulse_J.value);
    int count[2] = {0};
    cell_visit_groups(again, count_group, count);
    assert_true(count[1] == CELL_GROUPS && count[0] == 0);
    arena_destroy(a);
}

/* A part without a group does not model it, and says so. */
static void absent_groups_do_nothing(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = make_cell(a, "ideal", NULL);
    float g_S[2] = {1e-6f, 2e-6f}, sd_S[2] = {7, 7};
    cell_white_sd(c, g_S, sd_S, 2);
    assert_true(sd_S[0] == 0 && sd_S[1] == 0 && !cell_has_white_noise(c));
    assert_true(cell_is_linear(c) && cell_current_factor(c, 3) == 1);
    assert_null(cell_programming_costs(c));
    int count[2] = {0};
    cell_visit_groups(c, count_group, count);
    assert_true(count[0] == CELL_GROUPS && count[1] == 0);
    struct cell_conditions k = ALL;
    k.temperature_K = 400;
    k.reads = 1e9;
    assert_true(cell_drift_age(c, &k, 1234.5) == 1234.5);
    float read_S[2];
    cell_realise(c, &k, &(struct cell_draws){1, 1, 0}, g_S, 1e6, read_S, 2);
    assert_memory_equal(read_S, g_S, sizeof g_S);
    arena_destroy(a);
}

/* A cell with every group, each of its effects off or at its neutral point (the reference temperature, no reads, age
 * 0), is the cell without the groups, bit for bit. */
static void neutral_groups_change_no_bit(void **state) {
    (void)state;
    enum { N = 300 };
    struct arena *a = arena_create();
    const struct cell *plain = make_cell(a, "pcm_like", NULL),
                      *rich =
                          CELL(a, "pcm_like", TEMPERATURE("0.4", "0.01", "-0.001"),
                               RETENTION("1e6", "0.5", "0.7", "1.1"), DISTURB("1e-6", "g_max"), WHITE("0.01", "0.02"),
                               CURRENT("sinh", "0.2", "0.5"), PROGRAMMING("published", "2.5", "0.02", "20", "0.005"));
    const struct cell *every = CELL(a, "pcm_like", EVERY_GROUP);
    float target_S[N], one_S[N], two_S[N];
    struct cell_draws d = {3, 4, 5};
    targets_of(plain, target_S, N);
    cell_realise(plain, &ALL, &d, target_S, 0, one_S, N);
    cell_realise(rich, &ALL, &d, target_S, 0, two_S, N);
    assert_memory_equal(one_S, two_S, sizeof one_S);
    struct cell_conditions off = {.temperature_K = 400, .reads = 1e6};
    cell_realise(every, &off, &d, target_S, 1e6, two_S, N);
    assert_memory_equal(target_S, two_S, sizeof one_S);
    struct cell_conditions cold = {.programming_noise = true, .temperature_K = 400, .reads = 1e6};
    cell_realise(plain, &cold, &d, target_S, 1e6, one_S, N);
    cell_realise(rich, &cold, &d, target_S, 1e6, two_S, N);
    assert_memory_equal(one_S, two_S, sizeof one_S);
    arena_destroy(a);
}

static void assert_refused(const char *group, const char *expected) {
    struct arena *a = arena_create();
    struct error e = {0};
    const char *const groups[] = {group, NULL};
    assert_null(try_cell(a, "ideal", groups, &e));
    if (!strstr(e.message, expected)) {
        fail_msg("'%s' does not say '%s'", e.message, expected);
    }
    arena_destroy(a);
}

static void bad_groups_are_refused(void **state) {
    (void)state;
    assert_refused("temperature=300", "tile.cell.temperature = 300: not a map");
    assert_refused("temperature={}", "tile.cell.temperature.reference_K: required key is missing");
    assert_refused("temperature={reference_K: " X("300") "}",
                   "tile.cell.temperature.activation_energy_eV: required key is missing");
    assert_refused(TEMPERATURE("-1", "0", "0"), "tile.cell.temperature.activation_energy_eV.value = -1: out of range");
    assert_refused(RETENTION("0", "1", "0", "0"), "tile.cell.retention.time_s.value = 0: out of range");
    assert_refused(DISTURB("0.9", "g_min"), "tile.cell.disturb.per_read.value = 0.9: out of range");
    assert_refused(DISTURB("0.1", "g_mim"), "nearest is g_min");
    assert_refused(TELEGRAPH("1.5", "0.1", "1"), "tile.cell.telegraph.share.value = 1.5: out of range");
    assert_refused(WHITE("-0.1", "0"), "tile.cell.white_noise.relative.value = -0.1: out of range");
    assert_refused(CURRENT("square", "0.2", "1"), "tile.cell.current.form");
    assert_refused(PROGRAMMING("write_verify", "0.5", "0.1", "10", "0"),
                   "single_pulse_factor.value = 0.5: out of range");
    static const char half_a_pulse[] = "programming={mode: published, published_pulses: " X("2.5")
        ", single_pulse_factor: " X("1") ", tolerance: " X("0.1") ", max_pulses: 1, verify_noise: " X("0")
        ", pulse_ns: " X("1") ", pulse_pJ: " X("1") ", verify_ns: " X("1") ", verify_pJ: " X("1")
        ", endurance_pulses: " X("0") "}";
    assert_refused(half_a_pulse, "tile.cell.programming.published_pulses = 2.5 is not a whole number");
}

static void assert_chip_refused(const char *set, const char *const *expected) {
    struct chip *c = NULL;
    struct error e = {0};
    assert_int_equal(chip_load("pcm256", &set, 1, &c, &e), ERR_USAGE);
    for (; *expected; expected++) {
        if (!strstr(e.message, *expected)) {
            fail_msg("'%s' does not say '%s'", e.message, *expected);
        }
    }
}

/* A part says for which temperatures its numbers hold: the ends are allowed, beyond them nothing is extrapolated, and
 * without the effect the temperature does not matter. */
static void temperatures_without_numbers_are_refused(void **state) {
    (void)state;
    static const char *const allowed[] = {"tile.temperature_K=273", "tile.temperature_K=358"},
                             *const off[] = {"tile.temperature_K=1000", "effects.temperature=off"},
                             *const says[] = {"tile.temperature_K: ", "hold from 273 to 358 K", "(allowed: 273 to 358",
                                              "--set 1", NULL};
    struct error e = {0};
    for (size_t i = 0; i < 3; i++) {
        struct chip *c = NULL;
        if (chip_load("pcm256", i < 2 ? &allowed[i] : off, i < 2 ? 1 : 2, &c, &e) != OK) {
            fail_msg("%s", e.message);
        }
        chip_destroy(c);
    }
    assert_chip_refused("tile.temperature_K=1000", says);
    assert_chip_refused("tile.temperature_K=358.1", says + 1);
    assert_chip_refused("tile.temperature_K=272.9", says + 1);
    assert_refused("temperature={reference_K: " X("300") ", activation_energy_eV: " X("0")
                   ", conductance_low_per_K: " X("0") ", conductance_high_per_K: " X("0") ", valid_from_K: " X("310")
                   ", valid_to_K: " X("400") "}",
                   "the reference temperature 300 K does not lie between");
}

/* On a chip: --set reaches a group, an unknown key names the nearest, the source is checked, the constants are visited,
 * and the effective configuration is a fixed point. */
static void count_retention(void *ctx, const char *key, const char *unit, const struct constant *k) {
    (void)unit;
    *(int *)ctx += strcmp(key, "tile.cell.retention.activation_energy_eV") == 0 && k->kind == CONSTANT_PUBLISHED;
}

static void chips_know_the_groups(void **state) {
    (void)state;
    const char *good = "tile.cell." RETENTION("1e6", "0.5", "0.7", "1.1");
    static const char *const bad[][2] = {
        {"tile.cell.retention.stretsh.value=1", "nearest: tile.cell.retention.stretch"},
        {"tile.cell.retentoin.stretch.value=1", "unknown key"},
        {"tile.cell.retention.stretch={value: 1, kind: published, source: nobody}", "'nobody' is not a key of sources"},
    };
    struct chip *c = NULL, *again = NULL;
    struct error e = {0};
    if (chip_load("ideal", (const char *const[]){good}, 1, &c, &e) != OK) {
        fail_msg("%s", e.message);
    }
    int visited = 0;
    chip_visit_constants(c, count_retention, &visited);
    assert_int_equal(visited, 1);
    char path[1024], *text = config_dump(chip_config(c));
    snprintf(path, sizeof path, "%s/groups.yaml", scratch_directory());
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
    if (chip_load(path, NULL, 0, &again, &e) != OK) {
        fail_msg("%s\n%s", e.message, text);
    }
    assert_true(chip_hash(c) == chip_hash(again));
    mem_free(text);
    chip_destroy(c);
    chip_destroy(again);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(chip_load("ideal", (const char *const[]){good, bad[i][0]}, 2, &c, &e), ERR_USAGE);
        if (!strstr(e.message, bad[i][1])) {
            fail_msg("'%s' does not say '%s'", e.message, bad[i][1]);
        }
    }
}

/* ---- formulas, device by device -------------------------------------------------------------------------- */

/* Each factor in double; 3e-7: single precision. The last target would be below 0 at the far end of the line. */
static void temperature_scales_conductance(void **state) {
    (void)state;
    enum { N = 101 };
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "ideal", TEMPERATURE("0.5", "0.02", "-0.005"));
    double g_max_S = cell_common_of(c).g_max_S;
    float target_S[N], read_S[N];
    targets_of(c, target_S, N);
    for (double kelvin = 240; kelvin <= 520; kelvin += 20) {
        struct cell_conditions k = {.temperature = true, .temperature_K = kelvin};
        cell_realise(c, &k, &(struct cell_draws){1, 1, 0}, target_S, 1e6, read_S, N);
        for (int i = 0; i < N; i++) {
            double r = target_S[i] / g_max_S, per_K = 0.02 - 0.025 * r;
            assert_near(read_S[i], target_S[i] * fmax(0, 1 + per_K * (kelvin - 300)),
                        1e-6 * target_S[i] + 1e-7 * g_max_S);
        }
    }
    arena_destroy(a);
}

/* Drift at T and age t is drift at the reference and age a t, bit for bit; a by hand: 0.5 eV from 300 to 350 K. */
static void heat_ages_faster(void **state) {
    (void)state;
    enum { N = 200 };
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "pcm_like", TEMPERATURE("0.5", "0", "0"));
    struct cell_conditions hot = {.drift = true, .temperature = true, .temperature_K = 350}, off = hot;
    off.temperature = false;
    double factor = exp(0.5 / 8.617333262e-5 * (1 / 300.0 - 1 / 350.0));
    assert_near(cell_drift_age(c, &hot, 1000) / 1000, factor, 1e-8 * factor);
    assert_true(cell_drift_age(c, &off, 1000) == 1000);
    assert_near(cell_drift_age(c, &(struct cell_conditions){.temperature = true, .temperature_K = 250}, 1), exp(
                0.5 / 8.617333262e-5 * (1 / 300.0 - 1 / 250.0)), 1e-10);
    float target_S[N], hot_S[N], old_S[N];
    struct cell_draws d = {5, 6, 7};
    targets_of(c, target_S, N);
    cell_realise(c, &hot, &d, target_S, 1000, hot_S, N);
    cell_realise(c, &AGEING, &d, target_S, cell_drift_age(c, &hot, 1000), old_S, N);
    assert_memory_equal(hot_S, old_S, sizeof hot_S);
    arena_destroy(a);
}

/* Without a spread every device follows the stretched exponential; with heat the time runs faster. 2e-6 of the window:
 * single precision through two exponentials. */
static void retention_is_a_stretched_exponential(void **state) {
    (void)state;
    enum { N = 50 };
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "ideal", "g_min_uS=" X("2"), RETENTION("1e5", "0.6", "0", "0.8"),
                                TEMPERATURE("0", "0", "0"));
    double faster = exp(0.8 / 8.617333262e-5 * (1 / 300.0 - 1 / 330.0));
    struct cell_common common = cell_common_of(c);
    float target_S[N], read_S[N];
    targets_of(c, target_S, N);
    for (double age_s = 1; age_s < 1e9; age_s *= 7) {
        for (int hot = 0; hot < 2; hot++) {
            struct cell_conditions k = AGEING;
            k.temperature_K = hot ? 330 : 300;
            cell_realise(c, &k, &(struct cell_draws){1, 1, 0}, target_S, age_s, read_S, N);
            double kept = exp(-pow(age_s * (hot ? faster : 1) / 1e5, 0.6));
            for (int i = 0; i < N; i++) {
                assert_near(read_S[i], common.g_min_S + (target_S[i] - common.g_min_S) * kept, 2e-6 * common.g_max_S);
            }
        }
    }
    arena_destroy(a);
}

/* With a spread of times the share that has lost more than 1 - 1/e by age t is the normal distribution of ln(t / tau) /
 * s; a device that is worse at one age is worse at every age. */
static void retention_times_are_log_normal(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "ideal", RETENTION("1e5", "1", "1.5", "0"));
    static float target_S[SAMPLES], early_S[SAMPLES], late_S[SAMPLES];
    double g_S = cell_common_of(c).g_max_S;
    fill(target_S, g_S, SAMPLES);
    cell_realise(c, &AGEING, &(struct cell_draws){2, 1, 0}, target_S, 1e4, early_S, SAMPLES);
    cell_realise(c, &AGEING, &(struct cell_draws){2, 1, 0}, target_S, 3e5, late_S, SAMPLES);
    double lost[2] = {0};
    for (int i = 0; i < SAMPLES; i++) {
        lost[0] += early_S[i] < g_S * exp(-1);
        lost[1] += late_S[i] < g_S * exp(-1);
        assert_true(late_S[i] <= early_S[i]);
        assert_true(early_S[i] >= early_S[0] ? late_S[i] >= late_S[0] : late_S[i] <= late_S[0]);
    }
    double ages_s[2] = {1e4, 3e5};
    for (int k = 0; k < 2; k++) {
        double expected = 0.5 * erfc(-log(ages_s[k] / 1e5) / 1.5 / sqrt(2));
        assert_near(lost[k] / SAMPLES, expected, 4 * sqrt(expected * (1 - expected) / SAMPLES));
    }
    arena_destroy(a);
}

static void reads_disturb(void **state) {
    (void)state;
    enum { N = 40 };
    struct arena *a = arena_create();
    const struct cell *up = CELL(a, "reram_cmo", DISTURB("1e-5", "g_max")),
                      *down = CELL(a, "reram_cmo", DISTURB("1e-5", "g_min"));
    struct cell_common common = cell_common_of(up);
    float target_S[N], up_S[N], down_S[N];
    targets_of(up, target_S, N);
    for (double reads = 1; reads < 1e7; reads *= 10) {
        struct cell_conditions k = {.drift = true, .reads = reads};
        cell_realise(up, &k, &(struct cell_draws){1, 1, 0}, target_S, 0, up_S, N);
        cell_realise(down, &k, &(struct cell_draws){1, 1, 0}, target_S, 0, down_S, N);
        for (int i = 0; i < N; i++) {
            double kept = pow(1 - 1e-5, reads);
            assert_near(up_S[i], common.g_max_S + (target_S[i] - common.g_max_S) * kept, 3e-7 * common.g_max_S);
            assert_near(down_S[i], common.g_min_S + (target_S[i] - common.g_min_S) * kept, 3e-7 * common.g_max_S);
        }
    }
    arena_destroy(a);
}

static void white_noise_adds_its_parts(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "ideal", WHITE("0.03", "0.04"));
    float g_S[4] = {0, 1e-6f, -1e-6f, 25e-6f}, sd_S[4];
    cell_white_sd(c, g_S, sd_S, 4);
    assert_true(cell_has_white_noise(c));
    assert_near(sd_S[0], 0.04e-6, 1e-14);
    assert_near(sd_S[1], 0.05e-6, 1e-13);
    assert_near(sd_S[2], 0.05e-6, 1e-13);
    assert_near(sd_S[3], sqrt(0.75 * 0.75 + 0.04 * 0.04) * 1e-6, 1e-12);
    arena_destroy(a);
}

/* s = 1 at the reference voltage on both sides, even, and by hand at half of it. */
static void currents_have_their_form(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *cubic = CELL(a, "ideal", CURRENT("cubic", "0.2", "0.5")),
                      *sinh_ = CELL(a, "ideal", CURRENT("sinh", "0.2", "2")),
                      *linear = CELL(a, "ideal", CURRENT("sinh", "0.2", "0"));
    assert_true(!cell_is_linear(cubic) && !cell_is_linear(sinh_) && cell_is_linear(linear));
    assert_true(cell_current_factor(linear, 0.07) == 1);
    for (int sign = -1; sign <= 1; sign += 2) {
        assert_near(cell_current_factor(cubic, sign * 0.2), 1, 1e-15);
        assert_near(cell_current_factor(sinh_, sign * 0.2), 1, 1e-15);
        assert_near(cell_current_factor(cubic, sign * 0.1), 1.125 / 1.5, 1e-15);
        assert_near(cell_current_factor(sinh_, sign * 0.1), sinh(1) / (0.5 * sinh(2)), 1e-15);
    }
    assert_near(cell_current_factor(cubic, 0), 1 / 1.5, 1e-15);
    assert_near(cell_current_factor(sinh_, 0), 2 / sinh(2), 1e-15);
    assert_near(cell_current_factor(sinh_, 1e-9), 2 / sinh(2), 1e-12);
    arena_destroy(a);
}

/* Heat that would drift a cell beyond its time model is refused; the limit itself is not. */
static void heat_counts_towards_the_age_limit(void **state) {
    (void)state;
    double most_s = 3.1536e9, factor = exp(1.0 / 8.617333262e-5 * (1 / 300.0 - 1 / 350.0));
    const char *const sets[] = {"tile.cell=pcm_like", "tile.cell.temperature.activation_energy_eV=" X("1"),
                                "tile.temperature_K=350", "effects.temperature=off"};
    struct chip *hot = NULL, *off = NULL;
    struct error e = {0};
    if (chip_load("pcm256", sets, 3, &hot, &e) != OK || chip_load("pcm256", sets, 4, &off, &e) != OK) {
        fail_msg("%s", e.message);
    }
    assert_int_equal(chip_check_age(hot, 0.999 * most_s / factor, &e), OK);
    assert_int_equal(chip_check_age(hot, 1.001 * most_s / factor, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "at 350 K drift as far as"));
    assert_int_equal(chip_check_age(off, most_s, &e), OK);
    chip_destroy(hot);
    chip_destroy(off);
}

/* A cell with levels takes targets on them as any other, and without noise reads them back. */
static void cells_with_levels_hold_them(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "generic", "levels=16");
    struct cell_common k = cell_common_of(c);
    assert_int_equal(k.levels, 16);
    float target_S[16], read_S[16];
    targets_of(c, target_S, 16);
    cell_realise(c, &(struct cell_conditions){.temperature_K = 300}, &(struct cell_draws){1, 1, 0}, target_S, 60,
                 read_S, 16);
    assert_memory_equal(target_S, read_S, sizeof read_S);
    cell_realise(c, &ALL, &(struct cell_draws){1, 1, 0}, target_S, 60, read_S, 16);
    for (int i = 0; i < 16; i++) {
        assert_true(isfinite(read_S[i]) && read_S[i] >= 0);
    }
    assert_memory_not_equal(target_S, read_S, sizeof read_S);
    arena_destroy(a);
}

/* ---- telegraph noise --------------------------------------------------------------------------------------- */

static void read_at(const struct cell *c, const float *target_S, double age_s, float *read_S) {
    static const struct cell_conditions k = {.read_noise = true};
    cell_realise(c, &k, &(struct cell_draws){6, 2, 1000}, target_S, age_s, read_S, SAMPLES);
}

/* Share, amplitude, both states alike; autocovariance a triangle; the same state at the same time, by any cut. */
static void telegraph_noise_switches(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "ideal", TELEGRAPH("0.3", "0.1", "50"));
    static float target_S[SAMPLES], first_S[SAMPLES], later_S[SAMPLES];
    double g_S = cell_common_of(c).g_max_S;
    fill(target_S, g_S, SAMPLES);
    read_at(c, target_S, 1234, first_S);
    int up = 0, down = 0;
    for (int i = 0; i < SAMPLES; i++) {
        up += first_S[i] > target_S[i];
        down += first_S[i] < target_S[i];
        assert_true(first_S[i] == target_S[i] || fabs(fabs(first_S[i] / g_S - 1) - 0.1) < 1e-6);
    }
    assert_near((up + down) / (double)SAMPLES, 0.3, 4 * sqrt(0.3 * 0.7 / SAMPLES));
    assert_near(up / (double)(up + down), 0.5, 4 * 0.5 / sqrt(up + down));
    for (double apart_s = 0; apart_s <= 75; apart_s += 12.5) {
        read_at(c, target_S, 1234 + apart_s, later_S);
        double sum = 0;
        for (int i = 0; i < SAMPLES; i++) {
            sum += (first_S[i] / g_S - 1) * (later_S[i] / g_S - 1) / 0.01;
        }
        assert_near(sum / (up + down), fmax(0, 1 - apart_s / 50), 4 / sqrt(up + down) + 1e-5);
    }
    float part_S[100];
    struct cell_conditions k = {.read_noise = true};
    cell_realise(c, &k, &(struct cell_draws){6, 2, 1777}, target_S, 1234, part_S, 100);
    assert_memory_equal(part_S, first_S + 777, sizeof part_S);
    arena_destroy(a);
}

/* ---- read noise as one history ------------------------------------------------------------------------------ */

static void states_at(double time_s, double read_s, uint64_t seed, float *z) {
    struct history_moment m = history_at(seed, time_s, read_s);
    history_state(&m, &(struct cell_draws){seed, 7, 64}, z, SAMPLES);
}

/* Exactly standard normal at every time, from below the read pulse to a century: Kolmogorov-Smirnov; 1.95 / sqrt(n) is
 * passed with probability 0.999. */
static void history_is_normal_at_any_time(void **state) {
    (void)state;
    static const double times_s[] = {1e-7, 1e-3, 0.5, 20, 300, 3600, 86400, 2592000, 3e9};
    static float z[SAMPLES];
    for (size_t k = 0; k < sizeof times_s / sizeof times_s[0]; k++) {
        states_at(times_s[k], 250e-9, 40 + k, z);
        assert_near(mean_of(z, SAMPLES), 0, 4 / sqrt(SAMPLES));
        assert_near(sd_of(z, SAMPLES), 1, 4 / sqrt(2.0 * SAMPLES));
        sort_floats(z, SAMPLES);
        double distance = 0;
        for (int i = 0; i < SAMPLES; i++) {
            double p = 0.5 * erfc(-z[i] / sqrt(2));
            distance = fmax(distance, fmax(p - (double)i / SAMPLES, (i + 1.0) / SAMPLES - p));
        }
        assert_true(distance < 1.95 / sqrt(SAMPLES));
    }
}

/* Correlation between two times against the closed form, mean of 9 seeds. Its standard error: independent values give
 * 1 / sqrt(n); the shared moments of renewal of SAMPLES / 64 blocks give at most half of a component's share /
 * sqrt(blocks), below 0.5. */
static void history_has_its_autocovariance(void **state) {
    (void)state;
    enum { MACHINES = 9 };
    static const double times_s[] = {20, 3600, 86400, 2592000}, apart_s[] = {0, 0.25, 3, 40, 600, 7200, 9e4, 2e6};
    static float one[SAMPLES], two[SAMPLES];
    const double error = (1.5 / sqrt(SAMPLES) + 0.25 / sqrt(SAMPLES / 64)) / sqrt(MACHINES);
    for (size_t t = 0; t < 4; t++) {
        double sum[8] = {0};
        for (uint64_t seed = 11; seed < 11 + MACHINES; seed++) {
            states_at(times_s[t], 250e-9, seed, one);
            for (size_t k = 0; k < 8; k++) {
                states_at(times_s[t] + apart_s[k], 250e-9, seed, two);
                for (int i = 0; i < SAMPLES; i++) {
                    sum[k] += one[i] * two[i];
                }
            }
        }
        for (size_t k = 0; k < 8; k++) {
            double expected = history_correlation(times_s[t], times_s[t] + apart_s[k], 250e-9);
            assert_near(sum[k] / SAMPLES / MACHINES, expected, 4 * error);
        }
    }
    /* The same slot number of two components: 36 of one second, 36 of a hundred. */
    states_at(36.5, 250e-9, 11, one);
    states_at(3650, 250e-9, 11, two);
    double sum = 0;
    for (int i = 0; i < SAMPLES; i++) {
        sum += one[i] * two[i];
    }
    assert_near(sum / SAMPLES, 0, 4 / sqrt(SAMPLES));
}

/* The closed form against the law of 1/f noise, ln(t / D) / ln(t / (2 t_read)), for reads D apart, D small against t:
 * the bound that history.c states. Far apart there is nothing left. */
static void history_follows_the_law_of_one_over_f(void **state) {
    (void)state;
    for (double t = 3600; t <= 1e8; t *= 3) {
        for (double apart = 2; apart <= t / 10; apart *= 1.3) {
            double law = log(t / apart) / log(t / (2 * 250e-9));
            assert_near(history_correlation(t, t + apart, 250e-9), law, 0.12);
        }
        assert_near(history_correlation(t, 30 * t, 250e-9), 0, 1e-12);
    }
    assert_near(history_correlation(3600, 3600, 250e-9), 1, 1e-12);
}

/* A device on a real cell: three ages in one call are three calls, in any order and number, and two reads a minute
 * apart after a month are nearly the same read while a month and a day are not. */
static void ages_of_one_call_are_one_history(void **state) {
    (void)state;
    enum { N = 700, AGES = 7 };
    struct arena *a = arena_create();
    static const double ages_s[AGES] = {2592000, 0, 2592060, 3600, 86400, 1, 2592000};
    static float target_S[N], read_S[AGES][N], alone_S[N], drifted_S[AGES][N];
    const struct cell *c =
        CELL(a, "pcm_like", TELEGRAPH("0.3", "0.05", "100"), "programming.published_pulses=" X("3"));
    targets_of(c, target_S, N);
    float *to[AGES];
    for (int k = 0; k < AGES; k++) {
        to[k] = read_S[k];
    }
    struct programming_count count = {0};
    struct cell_draws d = {9, 8, 77};
    cell_realise_ages(c, &ALL, &d, target_S, ages_s, AGES, to, &count, N);
    assert_true(count.devices == N && count.pulses == 3 * N && count.verify_reads == 3 * N && count.failed == 0);
    struct cell_conditions quiet = ALL;
    quiet.read_noise = false;
    for (int k = 0; k < AGES; k++) {
        cell_realise(c, &ALL, &d, target_S, ages_s[k], alone_S, N);
        assert_memory_equal(alone_S, read_S[k], sizeof alone_S);
        cell_realise(c, &quiet, &d, target_S, ages_s[k], drifted_S[k], N);
    }
    double moved[2] = {0};
    for (int i = N / 2; i < N; i++) {
        for (int k = 0; k < 2; k++) {
            int other = k ? 4 : 2; /* a minute later; a day of age */
            double x = read_S[0][i] / drifted_S[0][i] - 1, y = read_S[other][i] / drifted_S[other][i] - 1;
            moved[k] += (x - y) * (x - y);
        }
    }
    assert_true(moved[0] < 0.85 * moved[1]);
    arena_destroy(a);
}

/* Every group at once: any cut of the work, from any first device, gives the same bytes and counts at every age. */
static void cutting_the_work_changes_nothing(void **state) {
    (void)state;
    enum { N = 900 };
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "pcm_like", EVERY_GROUP);
    struct cell_conditions k = ALL;
    k.temperature_K = 330;
    k.reads = 500;
    const double ages_s[] = {86400, 0};
    static float target_S[N], whole_S[2][N], cut_S[2][N];
    struct programming_count whole = {0}, cut = {0};
    targets_of(c, target_S, N);
    cell_realise_ages(c, &k, &(struct cell_draws){4, 9, 1001}, target_S, ages_s, 2, (float *[]){whole_S[0], whole_S[1]},
                      &whole, N);
    for (size_t at = 0, step = 3; at < N; at += step, step = step % 170 + 61) {
        size_t n = N - at < step ? N - at : step;
        cell_realise_ages(c, &k, &(struct cell_draws){4, 9, 1001 + at}, target_S + at, ages_s, 2,
                          (float *[]){cut_S[0] + at, cut_S[1] + at}, &cut, n);
    }
    assert_memory_equal(whole_S, cut_S, sizeof whole_S);
    assert_memory_equal(&whole, &cut, sizeof whole);
    arena_destroy(a);
}

/* ---- programming ------------------------------------------------------------------------------------------------ */

static struct programming_count program(const struct cell *c, const float *target_S, float *g_S) {
    struct programming_count count = {0};
    struct cell_conditions k = {.programming_noise = true};
    cell_program(c, &k, &(struct cell_draws){21, 3, 500}, target_S, g_S, &count, SAMPLES);
    return count;
}

static void published_and_single_pulses(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct cell *plain = make_cell(a, "pcm_like", NULL),
                      *published = CELL(a, "pcm_like", PROGRAMMING("published", "3", "0.01", "5", "0")),
                      *single = CELL(a, "pcm_like", PROGRAMMING("single_pulse", "3", "0.01", "5", "0"));
    static float target_S[SAMPLES], one_S[SAMPLES], two_S[SAMPLES];
    targets_of(plain, target_S, SAMPLES);
    struct programming_count count = program(make_cell(a, "ideal", NULL), target_S, one_S);
    assert_true(count.devices == SAMPLES && count.pulses == SAMPLES && count.verify_reads == 0 && count.failed == 0);
    program(plain, target_S, one_S);
    count = program(published, target_S, two_S);
    assert_true(count.pulses == 7 * SAMPLES && count.verify_reads == 7 * SAMPLES && count.failed == 0);
    assert_memory_equal(one_S, two_S, sizeof one_S);
    count = program(single, target_S, two_S);
    assert_true(count.devices == SAMPLES && count.pulses == SAMPLES && count.verify_reads == 0 && count.failed == 0);
    for (int i = 0; i < SAMPLES; i++) {
        double wide_S = one_S[i] > 0 ? target_S[i] + 3.0 * (one_S[i] - target_S[i]) : 0;
        assert_near(two_S[i], fmax(0, wide_S), 1e-11);
    }
    struct cell_conditions off = {.programming_noise = false};
    cell_program(single, &off, &(struct cell_draws){21, 3, 500}, target_S, two_S, NULL, SAMPLES);
    assert_memory_equal(target_S, two_S, sizeof two_S);
    arena_destroy(a);
}

/* At r = 0.5 of pcm_like one pulse has sd = 2 x 0.9527 uS, well away from 0. Band, verify noise and pulses of each row;
 * pulses, failures and spread against the closed form. */
static void write_verify_stops_inside_the_band(void **state) {
    (void)state;
    static const struct {
        const char *tolerance, *most, *noise;
        double band_uS, noise_uS;
        int pulses;
    } rows[] = {
        {"0.02", "50", "0", 0.5, 0, 50}, {"0.02", "50", "0.01", 0.5, 0.25, 50}, {"0.01", "3", "0.02", 0.25, 0.5, 3}};
    struct arena *a = arena_create();
    static float target_S[SAMPLES], g_S[SAMPLES];
    for (size_t k = 0; k < 3; k++) {
        char group[2048];
        snprintf(group, sizeof group, PROGRAMMING("write_verify", "2", "%s", "%s", "%s"), rows[k].tolerance,
                 rows[k].most, rows[k].noise);
        const struct cell *c = CELL(a, "pcm_like", group);
        fill(target_S, 12.5e-6, SAMPLES);
        struct programming_count count = program(c, target_S, g_S);
        double sd_uS = 2 * (0.26348 + 1.9650 * 0.5 - 1.1731 * 0.25), seen_uS = hypot(sd_uS, rows[k].noise_uS);
        double p = erf(rows[k].band_uS / (seen_uS * sqrt(2))), miss = pow(1 - p, rows[k].pulses), n = SAMPLES;
        double mean = (1 - miss) / p;
        assert_true(count.devices == SAMPLES && count.verify_reads == count.pulses);
        assert_near(count.pulses / n, mean, 4 * sqrt((1 - p) / (p * p) / n));
        assert_near(count.failed / n, miss, 4 * sqrt(miss * (1 - miss) / n) + 1e-12);
        uint64_t outside = 0;
        for (int i = 0; i < SAMPLES; i++) {
            outside += fabs(g_S[i] - 12.5e-6) > rows[k].band_uS * 1e-6;
        }
        if (rows[k].noise_uS > 0) {
            /* accepted: |e + v| <= b with e of sd s; by numerical integration over e */
            double in = 0, all = 0, square = 0;
            for (double e_uS = -8 * sd_uS; e_uS <= 8 * sd_uS; e_uS += sd_uS / 500) {
                double root = rows[k].noise_uS * sqrt(2);
                double accept = 0.5 * (erf((rows[k].band_uS - e_uS) / root) + erf((rows[k].band_uS + e_uS) / root));
                double weight = exp(-0.5 * e_uS * e_uS / (sd_uS * sd_uS)) *
                                (accept * (1 - miss) / p + (1 - accept) * miss / (1 - p));
                all += weight;
                square += weight * e_uS * e_uS;
                in += fabs(e_uS) <= rows[k].band_uS ? weight : 0;
            }
            assert_near(outside / n, 1 - in / all, 4 * sqrt(in / all * (1 - in / all) / n) + 1e-3);
            assert_near(sd_of(g_S, SAMPLES) * 1e6, sqrt(square / all), 0.015 * sqrt(square / all));
        } else {
            assert_true(outside == count.failed);
        }
    }
    arena_destroy(a);
}

/* The pulses that a device takes are its own: any cut of the work gives the same conductances and the same counts. */
static void write_verify_by_any_cut(void **state) {
    (void)state;
    enum { N = 1000 };
    struct arena *a = arena_create();
    const struct cell *c = CELL(a, "pcm_hermes_2dev", PROGRAMMING("write_verify", "2", "0.01", "12", "0.005"));
    float target_S[N], whole_S[N], cut_S[N];
    struct programming_count whole = {0}, cut = {0};
    struct cell_conditions k = {.programming_noise = true};
    targets_of(c, target_S, N);
    cell_program(c, &k, &(struct cell_draws){2, 2, 33}, target_S, whole_S, &whole, N);
    for (size_t at = 0, step = 1; at < N; at += step, step = step % 200 + 71) {
        size_t n = N - at < step ? N - at : step;
        cell_program(c, &k, &(struct cell_draws){2, 2, 33 + at}, target_S + at, cut_S + at, &cut, n);
    }
    assert_memory_equal(whole_S, cut_S, sizeof whole_S);
    assert_memory_equal(&whole, &cut, sizeof whole);
    assert_true(whole.failed > 0 && whole.pulses > whole.devices);
    arena_destroy(a);
}

static void programming_has_costs(void **state) {
    (void)state;
    struct arena *a = arena_create();
    const struct programming_costs *k =
        cell_programming_costs(CELL(a, "ideal", PROGRAMMING("write_verify", "2", "0.01", "12", "0.005")));
    assert_near(k->pulse_s.value, 150e-9, 1e-20);
    assert_near(k->pulse_J.value, 22.5e-12, 1e-24);
    assert_near(k->verify_s.value, 500e-9, 1e-20);
    assert_near(k->verify_J.value, 1e-12, 1e-24);
    assert_near(k->endurance_pulses.value, 1e6, 0);
    arena_destroy(a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(groups_survive_a_dump),
    cmocka_unit_test(absent_groups_do_nothing),
    cmocka_unit_test(neutral_groups_change_no_bit),
    cmocka_unit_test(bad_groups_are_refused),
    cmocka_unit_test(temperatures_without_numbers_are_refused),
    cmocka_unit_test(chips_know_the_groups),
    cmocka_unit_test(temperature_scales_conductance),
    cmocka_unit_test(heat_ages_faster),
    cmocka_unit_test(retention_is_a_stretched_exponential),
    cmocka_unit_test(retention_times_are_log_normal),
    cmocka_unit_test(reads_disturb),
    cmocka_unit_test(white_noise_adds_its_parts),
    cmocka_unit_test(currents_have_their_form),
    cmocka_unit_test(heat_counts_towards_the_age_limit),
    cmocka_unit_test(cells_with_levels_hold_them),
    cmocka_unit_test(telegraph_noise_switches),
    cmocka_unit_test(history_is_normal_at_any_time),
    cmocka_unit_test(history_has_its_autocovariance),
    cmocka_unit_test(history_follows_the_law_of_one_over_f),
    cmocka_unit_test(ages_of_one_call_are_one_history),
    cmocka_unit_test(cutting_the_work_changes_nothing),
    cmocka_unit_test(published_and_single_pulses),
    cmocka_unit_test(write_verify_stops_inside_the_band),
    cmocka_unit_test(write_verify_by_any_cut),
    cmocka_unit_test(programming_has_costs),
};
const struct test_suite suite_life = {"life", tests, sizeof tests / sizeof tests[0]};
