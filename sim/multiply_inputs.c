/* Step 5 of the general multiply: one block of inputs becomes what is driven onto its rows, pass by pass.
 *
 *   range   of the block: fixed, or the largest |input| of the token, or as the noise management says; times the factor
 *           of the bound management
 *   code    q = clamp(round(x limit / range))                          effect dac; else x limit / range, not rounded
 *   digit   of every pass (passes.h), with its sign
 *   level   = digit, or what the row's own converter makes of it       effect dac_errors: table of the instance,
 *             + length error of a pulse that is not empty               jitter x normal number
 *             noise and asymmetry of tile.phenomena
 *   current of a cell whose current is not proportional to the voltage: a level that is a voltage u gives u s(u V);
 *           pulses and single bits have one voltage: all levels x s(V)     effect cell_nonlinearity; s(v_ref) = 1
 *
 * Where weights are noisy from read to read: sum over the passes of a group of (gain level)^2, as bytes.
 *
 * Levels are kept in units of digits (full scale = digit_limit). One row converter drives the row of all tiles of a
 * row block. Not modelled: converters of their own for every column of tiles; settling of a level.
 */
#include <math.h>

#include "base/random.h"
#include "sim/ladder.h"
#include "sim/multiply.h"

/* Full scale of the block's ADCs in units of weight scale x input range; infinity without. */
static double block_full_scale(const struct block_work *w) {
    const struct array *a = w->a;
    size_t b = w->block;
    for (uint32_t o = 0; o < a->outputs && w->m->spec->effects.adc; o++) {
        double scale = (double)a->weight_scale[b * a->columns + o];
        if (scale > 0) {
            return (double)a->full_scale[b * a->lines * a->columns + o] / scale;
        }
    }
    return (double)INFINITY;
}

double management_input_step(const struct machine *m) { return m->spec->effects.dac ? 1.0 / (2 * m->dac.limit) : 0; }

/* Scale of one token's inputs by the noise management, in units of `unit`. */
static double managed_scale(const struct block_work *w, uint32_t token, double unit) {
    const struct array *a = w->a;
    struct management_spec how = w->m->spec->tile.management;
    uint32_t rows = array_block_rows(a, w->block);
    const float *from = w->x + (size_t)token * a->inputs + a->row_begin[w->block];
    double x[TILE_SIDE_MOST], none = 0;
    double *average = w->g->averages ? &w->g->averages[array_tile_number(a, w->block, 0)] : &none;
    for (uint32_t i = 0; i < rows; i++) {
        x[i] = (double)from[i] / unit;
    }
    how.noise = w->loop[token].worst_case ? NOISE_ABS_MAX_NP_SUM : how.noise;
    return management_scale(&how, x, rows, management_input_step(w->m), block_full_scale(w), average);
}

static float token_range(const struct block_work *w, uint32_t token) {
    const struct array *a = w->a;
    double fixed = a->input_range ? (double)a->input_range[w->block] : 0;
    if (w->m->spec->tile.management.noise != NOISE_NONE || w->loop[token].worst_case) {
        double unit = fixed > 0 ? fixed : 1;
        return (float)(managed_scale(w, token, unit) * unit);
    }
    if (fixed > 0) {
        return (float)fixed;
    }
    return kernels()->absmax_f32(w->x + (size_t)token * a->inputs + a->row_begin[w->block],
                                 array_block_rows(a, w->block));
}

void find_ranges(struct block_work *w) {
    const struct array *a = w->a;
    for (uint32_t t = 0; t < w->tokens; t++) {
        if (w->idle[t]) {
            continue;
        }
        float range = token_range(w, t) * (float)w->loop[t].factor;
        w->range[t] = range >= SMALLEST_RANGE ? range : 0.0f;
        w->scale[t] = a->input_range ? w->range[t] / a->input_range[w->block] : w->range[t];
    }
}

/* One row, one pass: digit -> level. */
static float converted_digit(const struct block_work *w, uint32_t row, int digit) {
    const float *table = w->a->dac_levels;
    float counted = w->a->ladder_offset ? (float)ladder_steps(&w->m->spec->tile.ladder, digit) - (float)digit : 0.0f;
    if (!table) {
        return (float)digit + counted;
    }
    int limit = w->m->inputs.digit_limit, size = digit < 0 ? -digit : digit;
    float level = table[(size_t)row * (size_t)(limit + 1) + (size_t)size] * (float)limit;
    return (digit < 0 ? -level : level) + counted;
}

/* Part of an exact input that a pass drives. */
static float phase_of(const struct input_pass *p, float u) {
    return p->sign == 0 ? u : (u < 0) == (p->sign < 0) ? fabsf(u) : 0.0f;
}

static void add_noise(const struct block_work *w, uint32_t token, uint32_t pass, uint32_t rows, float *levels) {
    double sd = w->m->dac_noise_sd * w->m->inputs.digit_limit;
    bool pulse = !w->m->inputs.voltage; /* a pulse of length 0 has no error */
    float z[64];
    uint64_t first = work_event(w, token, pass) * w->a->inputs + w->a->row_begin[w->block];
    for (uint32_t i = 0; i < rows; i += 64) {
        uint32_t now = rows - i < 64 ? rows - i : 64;
        kernels()->gaussian_fill(w->m->seed, random_stream(RANDOM_CONVERTER, (uint64_t)w->matrix << 8 | DRAW_DAC_NOISE),
                                 first + i, z, now);
        for (uint32_t j = 0; j < now; j++) {
            levels[i + j] += !pulse || levels[i + j] != 0 ? (float)sd * z[j] : 0.0f;
        }
    }
}

static void bend_currents(const struct block_work *w, const struct input_plan *plan, uint32_t rows, float *levels) {
    const struct tile_spec *t = &w->m->spec->tile;
    double volts = t->read_voltage_V.value, common = cell_current_factor(t->cell, volts);
    for (uint32_t i = 0; i < rows; i++) {
        double share = fabs((double)levels[i]) / plan->digit_limit;
        levels[i] *= (float)(plan->voltage ? cell_current_factor(t->cell, share * volts) : common);
    }
}

/* Noise and asymmetry as aihwkit adds them to an input of full scale 1, on the rows that this pass drives. */
static void add_phenomena(const struct block_work *w, const int16_t *codes, const float *x, uint32_t token,
                          uint32_t pass, uint32_t rows, float *levels) {
    const struct machine *m = w->m;
    const struct input_pass *p = &m->inputs.pass[pass];
    uint64_t stream = random_stream(RANDOM_CONVERTER, (uint64_t)w->matrix << 8 | PHENOMENA_INPUT),
             first = work_event(w, token, pass) * w->a->inputs + w->a->row_begin[w->block];
    for (uint32_t i = 0; i < rows; i++) {
        bool negative = m->spec->effects.dac ? codes[i] < 0 : x[i] < 0;
        if (p->sign != 0 && negative != (p->sign < 0)) {
            continue;
        }
        double sign = p->sign < 0 ? -1 : 1, level = sign * (double)levels[i] / m->inputs.digit_limit,
               z = m->phenomena.input_noise > 0 ? (double)random_gaussian(m->seed, stream, first + i) : 0;
        phenomena_inputs(&m->phenomena, &level, &z, 1);
        levels[i] = (float)(sign * level * m->inputs.digit_limit);
    }
}

/* Levels of one pass as driven, in fp32. */
static void drive_levels(const struct block_work *w, const int16_t *codes, const float *x, float inverse_step,
                         uint32_t token, uint32_t pass, float *levels) {
    const struct input_pass *p = &w->m->inputs.pass[pass];
    uint32_t first = w->a->row_begin[w->block], rows = array_block_rows(w->a, w->block);
    for (uint32_t i = 0; i < rows; i++) {
        levels[i] = w->m->spec->effects.dac ? converted_digit(w, first + i, input_digit(p, codes[i]))
                                            : phase_of(p, x[i] * inverse_step);
    }
    if (w->m->dac_noise_sd > 0) {
        add_noise(w, token, pass, rows, levels);
    }
    if (w->m->phenomena.input_noise > 0 || w->m->phenomena.input_asymmetry != 0) {
        add_phenomena(w, codes, x, token, pass, rows, levels);
    }
    if (w->g->network) {
        memcpy(w->g->network->levels + ((size_t)pass * TOKENS + token) * w->g->network->stride, levels,
               rows * sizeof *levels);
    }
    if (w->m->bent) {
        bend_currents(w, &w->m->inputs, rows, levels);
    }
}

/* Adds what one pass draws from the rows, levels [rows] in digits of the plan. */
static void add_current(const struct block_work *w, const struct input_plan *plan, uint32_t pass, const float *levels,
                        uint32_t token) {
    double limit = plan->digit_limit,
           sum_S = block_currents_S(w->a, w->block, NULL, levels, limit, plan->voltage);
    w->array_S[token] +=
        sum_S / limit / (plan->voltage ? limit : 1) * plan->pulse_share * plan->pass[pass].pulses;
}

/* Whether the values see other passes than the chip drives: digits without the effect dac. What flows is then that of
 * the codes and digits that the chip would drive. */
static bool other_passes(const struct machine *m) { return m->hardware.passes != m->inputs.passes; }

static void add_hardware_currents(const struct block_work *w, const float *x, float inverse_step, uint32_t token) {
    const struct machine *m = w->m;
    uint32_t rows = array_block_rows(w->a, w->block);
    int16_t *codes = w->g->codes + (size_t)token * w->g->stride;
    float levels[TILE_SIDE_MOST];
    kernels()->quantise_i16(x, rows, inverse_step, m->dac.limit, codes);
    for (uint32_t p = 0; p < m->hardware.passes; p++) {
        for (uint32_t i = 0; i < rows; i++) {
            levels[i] = (float)input_digit(&m->hardware.pass[p], codes[i]);
        }
        if (m->bent) {
            bend_currents(w, &m->hardware, rows, levels);
        }
        add_current(w, &m->hardware, p, levels, token);
    }
}

static void drive_pass(const struct block_work *w, const int16_t *codes, const float *x, float inverse_step,
                       uint32_t token, uint32_t pass) {
    struct general_scratch *g = w->g;
    const struct input_plan *plan = &w->m->inputs;
    uint32_t rows = array_block_rows(w->a, w->block);
    size_t at = ((size_t)pass * TOKENS + token) * g->stride;
    drive_levels(w, codes, x, inverse_step, token, pass, g->levels + at);
    for (uint32_t i = 0; g->squares && i < rows; i++) {
        g->squares[at + i] = g->levels[at + i] * g->levels[at + i];
    }
    for (uint32_t i = 0; g->far && i < rows; i++) {
        float near = 1 - (float)i / (float)rows;
        g->far[at + i] = g->levels[at + i] * (1 - near * near);
        g->sizes[at + i] = fabsf(g->levels[at + i]);
    }
    if (!other_passes(w->m)) {
        add_current(w, plan, pass, g->levels + at, token);
    }
}

/* What meets the variances of the weights, one group of passes. */
static void square_group(const struct block_work *w, uint32_t group, uint32_t token) {
    struct general_scratch *g = w->g;
    const struct input_plan *plan = &w->m->inputs;
    uint32_t rows = array_block_rows(w->a, w->block), first = group_first(plan, group);
    float squares[TILE_SIDE_MOST];
    for (uint32_t p = first; p < group_end(plan, group); p++) {
        const float *levels = g->levels + ((size_t)p * TOKENS + token) * g->stride;
        float factor = plan->pass[p].share * plan->pass[p].share;
        for (uint32_t i = 0; i < rows; i++) {
            squares[i] = (p == first ? 0.0f : squares[i]) + factor * levels[i] * levels[i];
        }
    }
    const struct array *a = w->a;
    size_t at = (size_t)group * w->tokens + token;
    if (a->full_sums || a->some_alike) {
        g->group_sums[at] = pack_squares(squares, rows, g->group_squares + at * g->byte_stride);
    }
    if (a->draws) {
        const float u = draw_comb(w->m, a, w->matrix, w->first_read + token, w->round, w->block, group);
        uint32_t *places = g->group_places + at * a->draws;
        g->group_roots[at] = sqrtf(kernels()->draw_rows(squares, rows, u, a->draws, places));
        for (uint32_t d = 0; d < a->draws; d++) {
            places[d] = (uint32_t)strip_place(places[d], 0);
        }
    }
}

void drive_token(struct block_work *w, uint32_t token) {
    const struct machine *m = w->m;
    struct general_scratch *g = w->g;
    uint32_t rows = array_block_rows(w->a, w->block);
    const float *x = w->x + (size_t)token * w->a->inputs + w->a->row_begin[w->block];
    int16_t *codes = g->codes + (size_t)token * g->stride;
    float inverse_step = w->range[token] > 0 ? (float)m->dac.limit / w->range[token] : 0.0f;
    double sum = 0;
    if (m->spec->effects.dac) {
        w->clipped_now[token] = kernels()->quantise_i16(x, rows, inverse_step, m->dac.limit, codes);
    }
    for (uint32_t i = 0; i < rows; i++) {
        sum += m->spec->effects.dac ? (double)codes[i] : (double)x[i] * (double)inverse_step;
    }
    g->input_sum[token] = sum / m->dac.limit;
    for (uint32_t p = 0; p < m->inputs.passes; p++) {
        drive_pass(w, codes, x, inverse_step, token, p);
    }
    for (uint32_t group = 0; w->a->variances && group < m->inputs.groups; group++) {
        square_group(w, group, token);
    }
    if (other_passes(m)) {
        add_hardware_currents(w, x, inverse_step, token);
    }
}
