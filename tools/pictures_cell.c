/* Pictures of single devices: programming, write-verify, drift, read noise, telegraph noise, retention and heat, read
 * disturb, nonlinear current, white noise. Constants that no part of the catalogue has are given here, for the picture
 * only.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "devices/device.h"
#include "tools/device.h"
#include "tools/pictures.h"

enum { SEED = 1, SHOWN = 6, DEVICES = 4096, TIMES = 161, CHANNELS = 48 };

#define ASSUMED(v) "{value: " #v ", kind: assumed, source: for a picture, spread: [1, 1]}"

/* A part of the catalogue with groups laid over it. */
static enum status cell_with(struct picture *p, const char *part, const char *groups, const struct cell **out,
                             struct error *e) {
    struct config_node *map = NULL, *over = NULL;
    TRY(device_part(part, p->arena, &map, e));
    if (groups) {
        TRY(config_parse(p->arena, groups, strlen(groups), "picture", &over, e));
        TRY(config_merge(p->arena, map, over, e));
    }
    return cell_create(map, "", p->arena, out, e);
}

static const struct cell_conditions everything = {
    .programming_noise = true, .drift = true, .read_noise = true, .temperature = true, .temperature_K = 300};

static void fill(float *target_S, double value_S, size_t n) {
    for (size_t i = 0; i < n; i++) {
        target_S[i] = (float)value_S;
    }
}

static double mean_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i];
    }
    return sum / (double)n;
}

static double sd_of(const float *x, size_t n) {
    double mean = mean_of(x, n), squares = 0;
    for (size_t i = 0; i < n; i++) {
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    return sqrt(squares / (double)(n - 1));
}

/* From `low` to `high` in equal ratios. */
static void spread_times(double *out, double low, double high, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = low * pow(high / low, (double)i / (double)(n - 1));
    }
}

/* Counts of (x - centre) in CHANNELS equal channels of [-width, width], as shares in percent. */
static enum status histogram(struct picture *p, const float *x, size_t n, double centre, double width, double **at,
                             double **share, struct error *e) {
    *at = picture_numbers(p, CHANNELS);
    *share = picture_numbers(p, CHANNELS);
    if (!*at || !*share) {
        return picture_no_memory(e);
    }
    for (int k = 0; k < CHANNELS; k++) {
        (*at)[k] = -width + (k + 0.5) * 2 * width / CHANNELS;
    }
    for (size_t i = 0; i < n; i++) {
        double place = floor(((double)x[i] * 1e6 - centre + width) / (2 * width) * CHANNELS);
        if (place >= 0 && place < CHANNELS) {
            (*share)[(int)place] += 100.0 / (double)n;
        }
    }
    return OK;
}

/* ---- programming -------------------------------------------------------------------------------------------- */

static enum status draw_programming(struct picture *p, struct error *e) {
    enum { LEVELS = 41, EACH = 6 };
    const struct cell *cell;
    TRY(cell_with(p, "pcm_like", NULL, &cell, e));
    double *x = picture_numbers(p, LEVELS), *low = picture_numbers(p, LEVELS), *high = picture_numbers(p, LEVELS);
    double *mean = picture_numbers(p, LEVELS), *px = picture_numbers(p, LEVELS * EACH),
           *py = picture_numbers(p, LEVELS * EACH);
    float *target = arena_alloc(p->arena, DEVICES, sizeof *target), *got = arena_alloc(p->arena, DEVICES, sizeof *got);
    if (!x || !low || !high || !mean || !px || !py || !target || !got) {
        return picture_no_memory(e);
    }
    for (size_t i = 0; i < LEVELS; i++) {
        struct cell_draws d = {.seed = SEED, .where = i};
        x[i] = 25.0 * (double)i / (LEVELS - 1);
        fill(target, x[i] * 1e-6, DEVICES);
        cell_program(cell, &everything, &d, target, got, NULL, DEVICES);
        mean[i] = mean_of(got, DEVICES) * 1e6;
        low[i] = mean[i] - sd_of(got, DEVICES) * 1e6;
        high[i] = mean[i] + sd_of(got, DEVICES) * 1e6;
        for (size_t k = 0; k < EACH; k++) {
            px[i * EACH + k] = x[i];
            py[i * EACH + k] = (double)got[k] * 1e6;
        }
    }
    struct svg_chart *c =
        picture_chart(p, "Programming noise (pcm_like)", "target (uS)", false, "programmed (uS)", false);
    svg_add(c, (struct svg_series){
                   .kind = SVG_BAND, .label = "one sd of 4096 devices", .x = x, .y = low, .high = high, .n = LEVELS});
    picture_line(c, "mean", x, mean, LEVELS, 0);
    picture_points(c, "single devices", px, py, LEVELS * EACH, 1);
    return OK;
}

static enum status draw_write_verify(struct picture *p, struct error *e) {
    static const char *const groups[] = {"programming: {mode: single_pulse}", "programming: {mode: write_verify}"};
    static const char *const labels[] = {"one pulse", "write-verify, band 2 % of g_max"};
    float *target = arena_alloc(p->arena, DEVICES, sizeof *target), *got = arena_alloc(p->arena, DEVICES, sizeof *got);
    if (!target || !got) {
        return picture_no_memory(e);
    }
    fill(target, 12.5e-6, DEVICES);
    struct svg_chart *c = picture_chart(p, "Write-verify: error of devices programmed to 12.5 uS (pcm_like)",
                                        "programmed - target (uS)", false, "devices per channel (%)", false);
    for (int k = 0; k < 2; k++) {
        const struct cell *cell;
        double *at, *share;
        struct cell_draws d = {.seed = SEED, .where = 0};
        TRY(cell_with(p, "pcm_like", groups[k], &cell, e));
        cell_program(cell, &everything, &d, target, got, NULL, DEVICES);
        TRY(histogram(p, got, DEVICES, 12.5, 6, &at, &share, e));
        svg_add(c, (struct svg_series){
                       .kind = SVG_BARS, .label = labels[k], .x = at, .y = share, .n = CHANNELS, .colour = 1 - k});
    }
    return OK;
}

/* ---- in time --------------------------------------------------------------------------------------------------- */

/* Reads of `n` devices at TIMES times into one row per device, uS. */
static enum status follow(struct picture *p, const struct cell *cell, const struct cell_conditions *k, uint64_t where,
                          double target_uS, const double *ages_s, size_t n, double **rows, struct error *e) {
    float *target = arena_alloc(p->arena, n, sizeof *target), *reads = arena_alloc(p->arena, n * TIMES, sizeof *reads);
    float *at[TIMES];
    if (!target || !reads) {
        return picture_no_memory(e);
    }
    for (size_t t = 0; t < TIMES; t++) {
        at[t] = reads + t * n;
    }
    fill(target, target_uS * 1e-6, n);
    struct cell_draws d = {.seed = SEED, .where = where};
    cell_realise_ages(cell, k, &d, target, ages_s, TIMES, at, NULL, n);
    for (size_t i = 0; i < n; i++) {
        rows[i] = picture_numbers(p, TIMES);
        for (size_t t = 0; rows[i] && t < TIMES; t++) {
            rows[i][t] = (double)at[t][i] * 1e6;
        }
        TRY(rows[i] ? OK : picture_no_memory(e));
    }
    return OK;
}

static enum status draw_drift(struct picture *p, struct error *e) {
    static const double targets_uS[] = {2, 8, 20};
    static const char *const labels[] = {"target 2 uS", "target 8 uS", "target 20 uS"};
    const struct cell_conditions quiet = {.programming_noise = true, .drift = true};
    const struct cell *cell;
    TRY(cell_with(p, "pcm_like", NULL, &cell, e));
    double *time = picture_numbers(p, TIMES), *age = picture_numbers(p, TIMES);
    if (!time || !age) {
        return picture_no_memory(e);
    }
    spread_times(time, 20, 3.2e7, TIMES);
    for (size_t t = 0; t < TIMES; t++) {
        age[t] = time[t] - 20;
    }
    struct svg_chart *c = picture_chart(p, "Drift: six devices of each target (pcm_like, without read noise)",
                                        "time after the write (s)", true, "conductance (uS)", true);
    for (int k = 0; k < 3; k++) {
        double *rows[SHOWN];
        TRY(follow(p, cell, &quiet, (uint64_t)k, targets_uS[k], age, SHOWN, rows, e));
        for (int i = 0; i < SHOWN && c->count < SVG_SERIES_MOST; i++) {
            picture_line(c, i == 0 ? labels[k] : NULL, time, rows[i], TIMES, k);
        }
    }
    return OK;
}

static enum status draw_history(struct picture *p, const struct cell *cell, const char *title, double span_s,
                                bool log_time, size_t shown, struct error *e) {
    double *time = picture_numbers(p, TIMES), *rows[SHOWN], *quiet[SHOWN];
    struct cell_conditions still = everything;
    still.read_noise = false;
    if (!time) {
        return picture_no_memory(e);
    }
    for (size_t t = 0; t < TIMES; t++) {
        time[t] = span_s * (double)t / (TIMES - 1);
    }
    if (log_time) {
        spread_times(time, 1, span_s, TIMES);
    }
    TRY(follow(p, cell, &everything, 0, 12.5, time, shown, rows, e));
    TRY(follow(p, cell, &still, 0, 12.5, time, shown, quiet, e));
    struct svg_chart *c = picture_chart(p, title, "age (s)", log_time, "read (uS)", false);
    static const char *const labels[] = {"device 1", "device 2", "device 3"};
    for (size_t i = 0; i < shown; i++) {
        picture_line(c, labels[i], time, rows[i], TIMES, (int)i);
        svg_add(c, (struct svg_series){.kind = SVG_LINE,
                                       .label = i == 0 ? "without read noise" : NULL,
                                       .x = time,
                                       .y = quiet[i],
                                       .n = TIMES,
                                       .colour = (int)i,
                                       .dashed = true});
    }
    return OK;
}

static enum status draw_read_noise(struct picture *p, struct error *e) {
    const struct cell *cell;
    TRY(cell_with(p, "pcm_like", NULL, &cell, e));
    return draw_history(p, cell, "Slow read noise: three devices are one history each (pcm_like)", 1e7, true, 3, e);
}

static enum status draw_telegraph(struct picture *p, struct error *e) {
    static const char groups[] =
        "telegraph: {share: " ASSUMED(1) ", amplitude: " ASSUMED(0.04) ", time_s: " ASSUMED(60) "}";
    const struct cell *cell;
    TRY(cell_with(p, "ideal", groups, &cell, e));
    return draw_history(p, cell, "Telegraph noise: two devices with a trap (amplitude 4 %, time 60 s)", 2000, false, 2,
                        e);
}

static enum status draw_retention(struct picture *p, struct error *e) {
    static const char groups[] = "retention: {time_s: " ASSUMED(3e9) ", stretch: " ASSUMED(
        0.5) ", "
             "time_log_sd: " ASSUMED(0.5) ", activation_energy_eV: " ASSUMED(
                 1.1) "}\n"
                      "temperature: {reference_K: " ASSUMED(300) ", activation_energy_eV: " ASSUMED(
                          0) ", "
                             "conductance_low_per_K: " ASSUMED(0) ", conductance_high_per_K: " ASSUMED(0) ", "
                             "valid_from_K: " ASSUMED(273) ", valid_to_K: " ASSUMED(358) "}";
    static const double kelvin[] = {300, 328, 358};
    static const char *const labels[] = {"300 K", "328 K", "358 K"};
    const struct cell *cell;
    TRY(cell_with(p, "ideal", groups, &cell, e));
    double *time = picture_numbers(p, TIMES);
    if (!time) {
        return picture_no_memory(e);
    }
    spread_times(time, 1e3, 3e8, TIMES);
    struct svg_chart *c = picture_chart(p, "Retention at three temperatures, five devices each (1.1 eV)", "age (s)",
                                        true, "conductance (uS)", false);
    for (int k = 0; k < 3; k++) {
        struct cell_conditions warm = everything;
        double *rows[5];
        warm.temperature_K = kelvin[k];
        TRY(follow(p, cell, &warm, (uint64_t)k, 20, time, 5, rows, e));
        for (int i = 0; i < 5; i++) {
            picture_line(c, i == 0 ? labels[k] : NULL, time, rows[i], TIMES, k);
        }
    }
    return OK;
}

static enum status draw_disturb(struct picture *p, struct error *e) {
    static const char groups[] = "disturb: {per_read: " ASSUMED(1e-9) ", towards: g_max}";
    static const double targets_uS[] = {2, 8, 20};
    static const char *const labels[] = {"target 2 uS", "target 8 uS", "target 20 uS"};
    const struct cell *cell;
    TRY(cell_with(p, "ideal", groups, &cell, e));
    double *reads = picture_numbers(p, TIMES);
    if (!reads) {
        return picture_no_memory(e);
    }
    spread_times(reads, 1e4, 1e10, TIMES);
    struct svg_chart *c = picture_chart(p, "Read disturb: a share 1e-9 of the way to g_max per read", "reads", true,
                                        "conductance (uS)", false);
    for (int k = 0; k < 3; k++) {
        double *y = picture_numbers(p, TIMES);
        TRY(y ? OK : picture_no_memory(e));
        for (size_t t = 0; t < TIMES; t++) {
            struct cell_conditions used = everything;
            struct cell_draws d = {.seed = SEED};
            float target = (float)(targets_uS[k] * 1e-6), got;
            used.reads = reads[t];
            cell_realise(cell, &used, &d, &target, 0, &got, 1);
            y[t] = (double)got * 1e6;
        }
        picture_line(c, labels[k], reads, y, TIMES, k);
    }
    return OK;
}

/* ---- of one read ----------------------------------------------------------------------------------------------- */

static enum status draw_current(struct picture *p, struct error *e) {
    static const char *const groups[] = {
        "current: {form: cubic, reference_V: " ASSUMED(0.2) ", strength: " ASSUMED(0.3) "}",
        "current: {form: sinh, reference_V: " ASSUMED(0.2) ", strength: " ASSUMED(1.5) "}"};
    static const char *const labels[] = {"cubic, strength 0.3", "sinh, strength 1.5"};
    double *volts = picture_numbers(p, TIMES), *line = picture_numbers(p, TIMES);
    if (!volts || !line) {
        return picture_no_memory(e);
    }
    for (size_t i = 0; i < TIMES; i++) {
        volts[i] = -0.3 + 0.6 * (double)i / (TIMES - 1);
        line[i] = 10 * volts[i];
    }
    struct svg_chart *c = picture_chart(p, "Nonlinear current of a device of 10 uS, stated at 0.2 V",
                                        "read voltage (V)", false, "current (uA)", false);
    picture_line(c, "linear", volts, line, TIMES, 5);
    for (int k = 0; k < 2; k++) {
        const struct cell *cell;
        double *y = picture_numbers(p, TIMES);
        TRY(y ? OK : picture_no_memory(e));
        TRY(cell_with(p, "ideal", groups[k], &cell, e));
        for (size_t i = 0; i < TIMES; i++) {
            y[i] = line[i] * cell_current_factor(cell, volts[i]);
        }
        picture_line(c, labels[k], volts, y, TIMES, k);
    }
    return OK;
}

static enum status draw_white_noise(struct picture *p, struct error *e) {
    static const char groups[] = "white_noise: {relative: " ASSUMED(0.02) ", absolute_uS: " ASSUMED(0.05) "}";
    const struct cell *cell;
    TRY(cell_with(p, "ideal", groups, &cell, e));
    double *x = picture_numbers(p, TIMES), *y = picture_numbers(p, TIMES);
    float g[TIMES], sd[TIMES];
    if (!x || !y) {
        return picture_no_memory(e);
    }
    for (size_t i = 0; i < TIMES; i++) {
        x[i] = 25 * (double)i / (TIMES - 1);
        g[i] = (float)(x[i] * 1e-6);
    }
    cell_white_sd(cell, g, sd, TIMES);
    for (size_t i = 0; i < TIMES; i++) {
        y[i] = (double)sd[i] * 1e6;
    }
    struct svg_chart *c = picture_chart(p, "White noise of one read (2 % of g and 0.05 uS)", "conductance (uS)", false,
                                        "sd of a read (uS)", false);
    picture_line(c, NULL, x, y, TIMES, 0);
    return OK;
}

/* Pulses and verify reads, counted, times what the part says of one. */
static enum status draw_programming_cost(struct picture *p, struct error *e) {
    enum { POINTS = 8 };
    static const double tolerance[POINTS] = {0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1};
    static const char *const most[] = {"10", "100"};
    static const char *const labels[] = {"at most 10 pulses", "at most 100 pulses"};
    float *target = arena_alloc(p->arena, DEVICES, sizeof *target), *got = arena_alloc(p->arena, DEVICES, sizeof *got);
    if (!target || !got) {
        return picture_no_memory(e);
    }
    fill(target, 12.5e-6, DEVICES);
    struct svg_chart *c = picture_chart(p, "Cost of programming one device to 12.5 uS (pcm_like, write-verify)",
                                        "half width of the band / g_max", true, "energy (nJ)", true);
    for (int k = 0; k < 2; k++) {
        double *nJ = picture_numbers(p, POINTS);
        for (size_t i = 0; nJ && i < POINTS; i++) {
            const struct cell *cell;
            struct cell_draws d = {.seed = SEED, .where = 0};
            struct programming_count n = {0};
            char *group = arena_printf(p->arena,
                                       "programming: {mode: write_verify, max_pulses: %s, tolerance: {value: %g, kind: "
                                       "assumed, source: for a picture, spread: [1, 1]}}",
                                       most[k], tolerance[i]);
            TRY(group ? cell_with(p, "pcm_like", group, &cell, e) : picture_no_memory(e));
            cell_program(cell, &everything, &d, target, got, &n, DEVICES);
            const struct programming_costs *costs = cell_programming_costs(cell);
            nJ[i] = 1e9 / DEVICES *
                    ((double)n.pulses * costs->pulse_J.value + (double)n.verify_reads * costs->verify_J.value);
        }
        if (!nJ) {
            return picture_no_memory(e);
        }
        picture_line(c, labels[k], tolerance, nJ, POINTS, k);
        picture_points(c, NULL, tolerance, nJ, POINTS, k);
    }
    return OK;
}

const struct picture_source cell_pictures[] = {
    {"programming", draw_programming},
    {"write_verify", draw_write_verify},
    {"programming_cost", draw_programming_cost},
    {"drift", draw_drift},
    {"read_noise", draw_read_noise},
    {"telegraph", draw_telegraph},
    {"retention", draw_retention},
    {"disturb", draw_disturb},
    {"current", draw_current},
    {"white_noise", draw_white_noise},
    {NULL, NULL},
};
