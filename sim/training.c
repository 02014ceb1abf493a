/* What training must know of a chip: how it cuts matrices, its converters, and the noise that programming leaves on a
 * weight (sim.h: struct chip_training).
 *
 * The noise is sampled, with the very code that programs a machine: SAMPLES devices at each of some targets between 0
 * and full scale; the standard deviation is good to 1 / sqrt(2 SAMPLES) = 0.6 %. A weight on a differential pair has
 * the noise of the device that holds it and that of the other one, whose target is 0. Bias, drift and read noise are
 * left out. */
#include <math.h>

#include "base/memory.h"
#include "sim/blocks.h"
#include "sim/encoding.h"

enum { SAMPLES = 16384, SAMPLES_WHERE = 0 };

bool chip_is_analog(const struct chip *c, enum matrix_role role) { return chip_spec_of(c)->analog_role[role]; }

uint32_t chip_row_begin(const struct chip *c, uint32_t inputs, uint32_t block) {
    const struct tile_spec *t = &chip_spec_of(c)->tile;
    return block_begin(inputs, (uint32_t)t->rows, (enum split_mode)t->split, block);
}

uint32_t chip_row_blocks(const struct chip *c, uint32_t inputs) {
    return block_count(inputs, (uint32_t)chip_spec_of(c)->tile.rows);
}

static enum status refuse(const struct chip *c, const char *key, const char *why, struct error *e) {
    char where[256];
    return error_set(e, ERR_USAGE, "%s: %s: training %s", chip_where(c, key, where, sizeof where), key, why);
}

enum status chip_training(const struct chip *c, struct chip_training *out, struct error *e) {
    const struct chip_spec *s = chip_spec_of(c);
    if (s->tile.slices != 1) {
        return refuse(c, "tile.slices", "knows the noise of one slice only (allowed: 1)", e);
    }
    if (s->tile.scale != SCALE_PER_COLUMN) {
        return refuse(c, "tile.scale", "scales every column by its own largest weight (allowed: per_column)", e);
    }
    if (s->effects.adc && s->tile.adc.range == ADC_CALIBRATED) {
        return refuse(c, "tile.adc.range", "needs limits that follow from weights and input ranges (allowed: lambda, "
                                           "static)", e);
    }
    *out = (struct chip_training){
        .inputs_per_token = s->tile.dac.range == INPUT_PER_TOKEN,
        .dac_steps = s->effects.dac ? (1u << (s->tile.dac.bits - 1)) - 1 : 0,
        .adc_steps = s->effects.adc ? (1u << (s->tile.adc.bits - 1)) - 1 : 0,
        .adc_bound = s->tile.adc.range == ADC_LAMBDA ? s->tile.adc.lambda : s->tile.adc.full_scale,
        .tile_rows = (uint32_t)s->tile.rows};
    return OK;
}

/* Variance of `n` programmed devices around their mean, in squares of g_max. */
static double variance(const float *g_S, size_t n, double g_max_S) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        double g = (double)g_S[i] / g_max_S;
        sum += g;
        squares += g * g;
    }
    return fmax((squares - sum * sum / (double)n) / (double)(n - 1), 0.0);
}

/* Of one device programmed to `part` of its span. */
static double device_variance(const struct tile_spec *t, double part, float *target_S, float *written_S) {
    struct cell_common common = cell_common_of(t->cell);
    struct cell_conditions conditions = {.programming_noise = true, .temperature_K = t->temperature_K};
    struct cell_draws draws = {.seed = 1, .where = SAMPLES_WHERE};
    double g_S = common.g_min_S + part * (common.g_max_S - common.g_min_S);
    for (size_t i = 0; i < SAMPLES; i++) {
        target_S[i] = (float)g_S;
    }
    cell_program(t->cell, &conditions, &draws, target_S, written_S, NULL, SAMPLES);
    return variance(written_S, SAMPLES, common.g_max_S - common.g_min_S);
}

double chip_noise_share(const struct chip *c, uint32_t devices) {
    return devices ? (double)chip_spec_of(c)->tile.devices / devices : 1;
}

enum status chip_weight_noise(const struct chip *c, float *sd, size_t nodes, struct error *e) {
    const struct chip_spec *s = chip_spec_of(c);
    float *devices_S = mem_alloc(2 * (size_t)SAMPLES, sizeof *devices_S);
    if (!devices_S) {
        return error_set(e, ERR_RUN, "training: out of memory for samples of the chip's cell");
    }
    bool pair = cell_common_of(s->tile.cell).pair_statistics;
    double other = 0;
    for (size_t i = 0; i < nodes; i++) {
        double one = s->effects.programming_noise
                         ? device_variance(&s->tile, (double)i / (double)(nodes - 1), devices_S, devices_S + SAMPLES)
                         : 0;
        other = i == 0 && !pair ? one : other;
        sd[i] = (float)sqrt((one + other) / s->tile.devices);
    }
    mem_free(devices_S);
    return OK;
}
