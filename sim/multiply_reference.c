/* The analog multiply in double precision, one plain loop per step of design section 3. Slow on purpose, never
 * optimised: what the fast paths are tested against, and what `mho tile` shows stage by stage.
 *
 * Shares with the fast paths: the random numbers and their addresses, the devices (tile_devices.c),
 * what was drawn of the converters, their ranges, the circuits' own codes, the factors of drift compensation and
 * correction. Everything else is said again here: effective weights, ranges and digits of the inputs, levels, sums,
 * noise, conversion, digital part.
 *
 * How far the fast paths may differ:
 *   single precision, about 1e-6 of the sum of |w x|
 *   integer panels: weights are codes of 16 bits, each off by half a code, 1/65534 of the column's largest weight; the
 *     variance of white noise is a polynomial of the code with the column's sum in at most 127 steps
 *     (base/read_noise.c), over all rows or over drawn ones (the same as here), of which each device's own is taken
 *     where the polynomial is far off
 *   fp32 panels: the variance of each device is rounded to 1/127 of what those of its column differ by
 *   adc: where that error moves a result across a rounding edge, one ADC step (a result in about a thousand)
 */
#include <math.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "sim/ladder.h"
#include "sim/multiply.h"

/* One row block: what its devices say now, and one token on its way. */
struct block {
    const struct machine *m;
    const struct array *a;
    size_t matrix;
    const struct stage_visitor *trace;
    uint32_t b, rows, token, round;
    uint64_t read;
    double *weights, *variance; /* [outputs][lines][rows] effective weights, and their variance per read */
    double *shared;             /* [column blocks][slices][rows] */
    double *levels;             /* [passes][rows] in units of full scale */
    /* Where wires cannot be folded: [column blocks][physical columns][rows] conductances before wires, and what a pass
     * gives, in units of the weights, [passes][lines][outputs] and, of shared columns, [passes][column blocks][slices].
     * NULL: folded. */
    double *crossing_S, *solved, *solved_shared;
    double *values;          /* [inputs or lines x outputs] for stages */
    double *average;         /* running mean of the noise management */
    double range, input_sum; /* of the token; the sum in units of the range */
};

static void block_destroy(struct block *k) {
    mem_free(k->weights);
    mem_free(k->variance);
    mem_free(k->shared);
    mem_free(k->levels);
    mem_free(k->values);
    mem_free(k->crossing_S);
    mem_free(k->solved);
    mem_free(k->solved_shared);
}

static enum status block_create(const struct machine *m, size_t matrix, struct block *k, struct error *e) {
    const struct array *a = m->arrays[matrix];
    size_t rows = 0, lines = (size_t)a->outputs * a->lines;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        rows = array_block_rows(a, b) > rows ? array_block_rows(a, b) : rows;
    }
    k->weights = mem_alloc(lines * rows, sizeof *k->weights);
    k->variance = mem_alloc(lines * rows, sizeof *k->variance);
    k->shared = mem_alloc((size_t)a->column_blocks * m->plan.slices * rows, sizeof *k->shared);
    k->levels = mem_alloc(m->inputs.passes * rows, sizeof *k->levels);
    k->values = mem_alloc(rows + a->outputs, sizeof *k->values);
    bool network = chip_needs_network(m->spec);
    size_t columns = encoding_physical_columns(&m->plan, (uint32_t)m->spec->tile.columns);
    k->crossing_S = network ? mem_alloc(a->column_blocks * columns * rows, sizeof *k->crossing_S) : NULL;
    k->solved = network ? mem_alloc(m->inputs.passes * lines, sizeof *k->solved) : NULL;
    k->solved_shared =
        network ? mem_alloc((size_t)m->inputs.passes * a->column_blocks * m->plan.slices, sizeof *k->solved_shared)
                : NULL;
    if (!k->weights || !k->variance || !k->shared || !k->levels || !k->values ||
        (network && (!k->crossing_S || !k->solved || !k->solved_shared))) {
        block_destroy(k);
        return error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    }
    return OK;
}

static void show(const struct block *k, const char *stage, uint32_t index, const double *values, size_t n) {
    if (k->trace) {
        k->trace->visit(k->trace->context, stage, k->token, k->b, index, values, n);
    }
}

/* ---- steps 1 to 4: devices, wires included ------------------------------------------------------------------------
 */

static enum status take_tile(struct block *k, uint32_t c, struct tile_devices *t, float *w, float *line,
                                struct error *e) {
    const struct machine *m = k->m;
    const struct array *a = k->a;
    uint32_t first = array_block_output(a, &m->spec->tile, c), end = array_block_output(a, &m->spec->tile, c + 1);
    TRY(tile_devices_read(m, k->matrix, k->b, c, w, t, e));
    for (uint32_t o = first; o < end; o++) {
        float scale = a->weight_scale[(size_t)k->b * a->columns + o];
        for (uint32_t l = 0; l < a->lines; l++) {
            size_t at = ((size_t)o * a->lines + l) * k->rows;
            tile_line_S(m, t, o - first, l, 0, line);
            for (uint32_t i = 0; i < k->rows; i++) {
                k->weights[at + i] = (double)line[i] * tile_weight_per_siemens(m, a, scale);
            }
            if (t->white_variance) {
                tile_line_variance(m, t, o - first, l, scale, line);
            }
            for (uint32_t i = 0; i < k->rows; i++) {
                k->variance[at + i] = t->white_variance ? (double)line[i] : 0;
            }
        }
    }
    for (uint32_t s = 0; a->shared && s < m->plan.slices; s++) {
        tile_shared_S(m, t, s, 0, line);
        for (uint32_t i = 0; i < k->rows; i++) {
            k->shared[((size_t)c * m->plan.slices + s) * k->rows + i] =
                (double)line[i] * tile_weight_per_siemens(m, a, 1);
        }
    }
    return OK;
}

/* Room of one tile in crossing_S. */
static size_t tile_cells(const struct block *k) {
    return (size_t)encoding_physical_columns(&k->m->plan, (uint32_t)k->m->spec->tile.columns) * k->rows;
}

static void keep_crossings(struct block *k, uint32_t c, const struct tile_devices *t) {
    for (size_t i = 0; k->crossing_S && i < (size_t)t->physical_columns * k->rows; i++) {
        k->crossing_S[c * tile_cells(k) + i] = (double)t->crossing_S[0][i];
    }
}

static enum status realise_block(struct block *k, struct error *e) {
    const struct array *a = k->a;
    struct tile_devices *t = NULL;
    uint32_t most = 0;
    for (uint32_t c = 0; c < a->column_blocks; c++) {
        uint32_t n = array_block_output(a, &k->m->spec->tile, c + 1) - array_block_output(a, &k->m->spec->tile, c);
        most = n > most ? n : most;
    }
    TRY(tile_devices_create(k->m, a, k->rows, most, &t, e));
    float *w = mem_alloc((size_t)most * a->inputs, sizeof *w), *line = mem_alloc(k->rows, sizeof *line);
    enum status s = w && line ? OK : error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    for (uint32_t c = 0; s == OK && c < a->column_blocks; c++) {
        s = take_tile(k, c, t, w, line, e);
        keep_crossings(k, c, t);
    }
    mem_free(w);
    mem_free(line);
    tile_devices_destroy(t);
    return s;
}

/* ---- step 5: inputs -------------------------------------------------------------------------------------------------
 */

/* Full scale of the block's ADCs in units of weight scale x input range, as the noise management asks for it. */
static double common_full_scale(const struct block *k) {
    for (uint32_t o = 0; o < k->a->outputs && k->m->spec->effects.adc; o++) {
        double scale = (double)k->a->weight_scale[(size_t)k->b * k->a->columns + o];
        if (scale > 0) {
            return (double)k->a->full_scale[(size_t)k->b * k->a->lines * k->a->columns + o] / scale;
        }
    }
    return (double)INFINITY;
}

/* Fixed, or the largest input of this token in this block, or what the noise management says. x [rows]. */
static double input_range(const struct block *k, const float *x, const struct management_loop *loop) {
    struct management_spec how = k->m->spec->tile.management;
    double fixed = k->a->input_range ? (double)k->a->input_range[k->b] : 0, largest = 0, range;
    for (uint32_t i = 0; i < k->rows; i++) {
        largest = fmax(largest, fabs((double)x[i]));
        k->values[i] = (double)x[i] / (fixed > 0 ? fixed : 1);
    }
    how.noise = loop->worst_case ? NOISE_ABS_MAX_NP_SUM : how.noise;
    if (how.noise != NOISE_NONE) {
        double step = k->m->spec->effects.dac ? 1.0 / (2 * k->m->dac.limit) : 0;
        range = management_scale(&how, k->values, k->rows, step, common_full_scale(k), k->average) *
                (fixed > 0 ? fixed : 1);
    } else {
        range = fixed > 0 ? fixed : largest;
    }
    range = (double)(float)range * loop->factor;
    return range >= (double)SMALLEST_RANGE ? range : 0;
}

/* One input of one pass as it is driven, in units of full scale: q is its code, or its exact size in codes. */
static double driven_level(const struct block *k, uint32_t pass, uint32_t i, double q) {
    const struct machine *m = k->m;
    const struct input_pass *p = &m->inputs.pass[pass];
    double limit = m->inputs.digit_limit, level;
    uint32_t row = k->a->row_begin[k->b] + i;
    uint64_t event = event_number(m, k->a, k->read, k->round, k->b, pass), number = event * k->a->inputs + row;
    bool mine = p->sign == 0 || (q < 0) == (p->sign < 0);
    if (m->spec->effects.dac) {
        int digit = input_digit(p, (int)q), size = digit < 0 ? -digit : digit;
        level = k->a->dac_levels ? (double)k->a->dac_levels[row * (size_t)(m->inputs.digit_limit + 1) + (size_t)size]
                                 : size / limit;
        level = digit < 0 ? -level : level;
        level += k->a->ladder_offset ? (ladder_steps(&m->spec->tile.ladder, digit) - digit) / limit : 0;
    } else {
        level = !mine ? 0 : p->sign == 0 ? q / limit : fabs(q) / limit;
    }
    if (m->dac_noise_sd > 0 && (level != 0 || m->inputs.voltage)) {
        level +=
            m->dac_noise_sd *
            (double)random_gaussian(m->seed, random_stream(RANDOM_CONVERTER, k->matrix << 8 | DRAW_DAC_NOISE), number);
    }
    if (m->phenomena.any && mine) {
        double sign = p->sign < 0 ? -1 : 1, z, signed_level = sign * level;
        z = (double)random_gaussian(m->seed, random_stream(RANDOM_CONVERTER, k->matrix << 8 | PHENOMENA_INPUT), number);
        phenomena_inputs(&m->phenomena, &signed_level, &z, 1);
        level = sign * signed_level;
    }
    return level;
}

/* Levels become what the current of a cell is proportional to. */
static void bend(struct block *k) {
    const struct machine *m = k->m;
    double volts = m->spec->tile.read_voltage_V.value;
    for (size_t i = 0; i < (size_t)m->inputs.passes * k->rows; i++) {
        k->levels[i] *= cell_current_factor(m->spec->tile.cell, m->inputs.voltage ? fabs(k->levels[i]) * volts : volts);
    }
}

/* ---- the network of a tile, where it cannot be folded ---- */

/* g V s(V) and its slope, by a difference that is good enough for the steps of Newton. */
static double cell_current(void *context, double volts, double g_S, double *derivative_S) {
    const struct block *k = context;
    const struct cell *cell = k->m->spec->tile.cell;
    double h = 1e-4;
    *derivative_S = g_S;
    if (!k->m->bent) {
        return g_S * volts;
    }
    *derivative_S *=
        ((volts + h) * cell_current_factor(cell, volts + h) - (volts - h) * cell_current_factor(cell, volts - h)) /
        (2 * h);
    return g_S * volts * cell_current_factor(cell, volts);
}

/* Adds the mean currents of one pass of a tile to sum_A [columns]: a level is a voltage, or a time. */
static enum status solve_pass(struct block *k, uint32_t c, const double *level, size_t columns, double *sum_A,
                              struct error *e) {
    struct wires wires = machine_wires_of(k->m);
    double volts[TILE_SIDE_MOST], begin = 0, end;
    bool driven[TILE_SIDE_MOST];
    double *now_A = sum_A + columns;
    struct network_problem p = {cell_current, k, k->m->spec->tile.wires.float_inactive ? driven : NULL, 0, 0};
    do {
        end = 1;
        for (uint32_t i = 0; i < k->rows; i++) {
            double size = fabs(level[i]);
            driven[i] = k->m->inputs.voltage ? size > 0 : size > begin;
            volts[i] = !driven[i] ? 0 : (k->m->inputs.voltage ? level[i] : copysign(1, level[i])) * network_volts(k->m);
            end = driven[i] && !k->m->inputs.voltage ? fmin(end, size) : end;
        }
        TRY(network_newton(&wires, k->rows, columns, k->crossing_S + c * tile_cells(k), &p, volts, now_A, NULL, NULL,
                           e));
        for (size_t j = 0; j < columns; j++) {
            sum_A[j] += (end - begin) * now_A[j];
        }
        begin = end;
    } while (begin < 1);
    return OK;
}

static void add_lines(struct block *k, uint32_t c, uint32_t pass, const double *sum_A) {
    const struct machine *m = k->m;
    const struct encoding_plan *plan = &m->plan;
    const struct array *a = k->a;
    uint32_t first = array_block_output(a, &m->spec->tile, c), end = array_block_output(a, &m->spec->tile, c + 1);
    for (uint32_t o = first; o < end; o++) {
        float scale = a->weight_scale[(size_t)k->b * a->columns + o];
        double weight = tile_weight_per_siemens(m, a, scale) / network_volts(m);
        for (uint32_t s = 0; s < plan->slices; s++) {
            double common_A = plan->shared_column && plan->shared_analog
                                  ? sum_A[(size_t)(end - first) * plan->slices * plan->legs + s]
                                  : 0;
            for (uint32_t leg = 0; leg < plan->legs; leg++) {
                double *line = &k->solved[((size_t)pass * a->lines + plan->line_of[s][leg]) * a->outputs + o];
                *line += plan->part[s][leg] * weight *
                         (sum_A[((size_t)(o - first) * plan->slices + s) * plan->legs + leg] - common_A);
            }
        }
    }
    for (uint32_t s = 0; a->shared && s < plan->slices; s++) {
        k->solved_shared[((size_t)pass * a->column_blocks + c) * plan->slices + s] =
            sum_A[(size_t)(end - first) * plan->slices * plan->legs + s] * plan->part[s][0] *
            tile_weight_per_siemens(m, a, 1) / network_volts(m);
    }
}

/* All passes of all tiles of the block. */
static enum status solve_block(struct block *k, struct error *e) {
    const struct machine *m = k->m;
    const struct array *a = k->a;
    for (size_t i = 0; i < (size_t)m->inputs.passes * a->lines * a->outputs; i++) {
        k->solved[i] = 0;
    }
    for (uint32_t i = 0; i < m->inputs.passes * a->column_blocks; i++) {
        uint32_t pass = i / a->column_blocks, c = i % a->column_blocks,
                 outputs = array_block_output(a, &m->spec->tile, c + 1) - array_block_output(a, &m->spec->tile, c);
        size_t columns = encoding_physical_columns(&m->plan, outputs);
        double *sum_A = mem_alloc(2 * columns, sizeof *sum_A);
        enum status s = sum_A ? solve_pass(k, c, k->levels + (size_t)pass * k->rows, columns, sum_A, e)
                              : error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
        if (s == OK) {
            add_lines(k, c, pass, sum_A);
        }
        mem_free(sum_A);
        TRY(s);
    }
    return OK;
}

static enum status drive(struct block *k, const float *x, const struct management_loop *loop, struct error *e) {
    const struct machine *m = k->m;
    k->range = input_range(k, x, loop);
    k->input_sum = 0;
    for (uint32_t i = 0; i < k->rows; i++) {
        double exact = k->range > 0 ? (double)x[i] * m->dac.limit / k->range : 0,
               q = m->spec->effects.dac && k->range > 0 ? converter_code(m->dac, (double)x[i], k->range, NULL) : exact;
        k->input_sum += q / m->dac.limit;
        k->values[i] = q;
        for (uint32_t p = 0; p < m->inputs.passes; p++) {
            k->levels[(size_t)p * k->rows + i] = driven_level(k, p, i, q);
        }
    }
    show(k, "input_codes", 0, k->values, k->rows);
    for (uint32_t p = 0; p < m->inputs.passes; p++) {
        show(k, "pass", p, k->levels + (size_t)p * k->rows, k->rows);
    }
    if (k->solved) {
        TRY(solve_block(k, e));
    }
    if (m->bent) {
        bend(k);
    }
    return OK;
}

/* ---- step 6: sums and their noise
 * ------------------------------------------------------------------------------------- */

static double gaussian(const struct block *k, enum random_what what, uint64_t where, uint64_t number) {
    return (double)random_gaussian(k->m->seed, random_stream(what, where), number);
}

/* Number of a result of one pass or group. */
static uint64_t phenomenon_number(const struct block *k, uint32_t pass, uint32_t line, uint32_t o) {
    return event_number(k->m, k->a, k->read, k->round, k->b, pass) * k->a->lines * k->a->columns +
           (uint64_t)line * k->a->columns + o;
}

/* What phenomena make of one pass of one column; units of weight scale x full-scale input. */
static double phenomenal_pass(const struct block *k, uint32_t pass, uint32_t line, uint32_t o, const double *w,
                              double scale) {
    const struct machine *m = k->m;
    const struct array *a = k->a;
    double weights[TILE_SIDE_MOST];
    bool other = m->phenomena.read_asymmetry_spread > 0 && m->inputs.pass[pass].sign < 0;
    for (uint32_t i = 0; i < k->rows; i++) {
        uint64_t number = (uint64_t)o * a->inputs + a->row_begin[k->b] + i;
        double z = other ? gaussian(k, RANDOM_CONVERTER, k->matrix << 8 | PHENOMENA_ASYMMETRY, number) : 0;
        weights[i] = w[i] / scale * (1 + m->phenomena.read_asymmetry_spread * z);
    }
    struct phenomena_sums sums;
    phenomena_sums(weights, k->levels + (size_t)pass * k->rows, k->rows, &sums);
    return phenomena_array(
        &m->phenomena, &a->phenomena[((size_t)k->b * a->lines + line) * a->columns + o], &sums, k->rows,
        gaussian(k, RANDOM_CONVERTER, k->matrix << 8 | PHENOMENA_WEIGHT, phenomenon_number(k, pass, line, o)));
}

static double plain_pass(const struct block *k, uint32_t pass, const double *w) {
    double sum = 0;
    for (uint32_t i = 0; i < k->rows; i++) {
        sum += w[i] * k->levels[(size_t)pass * k->rows + i];
    }
    return sum;
}

/* tile.ladder.precision = single: its steps; levels come back in steps. */
static double stepped_pass(const struct block *k, uint32_t pass, uint32_t o) {
    const struct machine *m = k->m;
    const struct tile_spec *tile = &m->spec->tile;
    const struct ladder ladder = {(uint32_t)tile->rows, (uint32_t)tile->ladder.segments, tile->ladder.cell_ohm.value};
    const float *pair_uS = k->a->ladder_uS + ladder_pairs_at(k->a, k->b, o);
    float level[TILE_SIDE_MOST];
    for (uint32_t i = 0; i < k->rows; i++) {
        level[i] = (float)(k->levels[(size_t)pass * k->rows + i] * m->inputs.digit_limit);
    }
    struct ladder_pairs pairs = {pair_uS, pair_uS + k->rows, level, k->rows, array_column_of_tile(k->a, tile, o),
                                 m->inputs.pass[pass].mask};
    return ladder_stepped(&ladder, &tile->ladder, &pairs) / m->inputs.digit_limit *
           tile_weight_per_siemens(m, k->a, k->a->weight_scale[(size_t)k->b * k->a->columns + o]);
}

static double line_pass(const struct block *k, uint32_t pass, uint32_t line, uint32_t o) {
    const struct array *a = k->a;
    if (a->ladder_uS) {
        return stepped_pass(k, pass, o);
    }
    return k->solved ? k->solved[((size_t)pass * a->lines + line) * a->outputs + o]
                     : plain_pass(k, pass, k->weights + ((size_t)o * a->lines + line) * k->rows);
}

/* What a ladder of pairs makes of the sum of a group: its offset for every step, then whole periods of its counter. */
static double ladder_result(const struct block *k, uint32_t group, uint32_t o, double sum) {
    const struct machine *m = k->m;
    const struct ladder_spec *ladder = &m->spec->tile.ladder;
    size_t i = (size_t)k->b * k->a->columns + o;
    double unit = tile_weight_per_siemens(m, k->a, k->a->weight_scale[i]) / m->inputs.digit_limit;
    if (!(unit > 0)) {
        return sum;
    }
    for (uint32_t p = group_first(&m->inputs, group); p < group_end(&m->inputs, group); p++) {
        double gain = (double)m->inputs.pass[p].share;
        sum -= gain * (double)k->a->ladder_offset[i] * ladder_duration(m->inputs.pass[p].mask) / m->inputs.digit_limit;
    }
    return m->spec->effects.adc_errors ? ladder_counted(ladder, sum / unit) * unit : sum;
}

static bool is_drawn(const struct block *k, uint32_t line, uint32_t o) {
    return k->a->draws && array_noise_sum(k->a, k->b, line, o / PANEL) == NOISE_DRAWN;
}

/* Squares as drawn rows have them (base/drawn_noise.c): how often the row is drawn, times their sum / draws. */
static void draw_squares(const struct block *k, uint32_t group, double *squares) {
    double all = 0, reached = 0, draws = k->a->draws,
           u = (double)draw_comb(k->m, k->a, k->matrix, k->read, k->round, k->b, group);
    for (uint32_t i = 0; i < k->rows; i++) {
        all += squares[i];
    }
    for (uint32_t run = 0; all > 0 && run < DRAW_LANES; run++) {
        for (uint32_t i = run; i < k->rows; i += DRAW_LANES) {
            const double before = floor(reached / all * draws + u);
            reached += squares[i];
            squares[i] = (floor(reached / all * draws + u) - before) * all / draws;
        }
    }
}

/* sum_p (gain level)^2 of one row */
static double squared_levels(const struct block *k, uint32_t group, uint32_t row) {
    const struct input_plan *plan = &k->m->inputs;
    double sum = 0;
    for (uint32_t p = group_first(plan, group); p < group_end(plan, group); p++) {
        const double part = (double)plan->pass[p].share * k->levels[(size_t)p * k->rows + row];
        sum += part * part;
    }
    return sum;
}

/* Variance of the white noise of one result. */
static double white_variance(const struct block *k, uint32_t group, uint32_t line, uint32_t o) {
    const double *variance = k->variance + ((size_t)o * k->a->lines + line) * k->rows;
    double squares[TILE_SIDE_MOST], sum = 0;
    for (uint32_t i = 0; i < k->rows; i++) {
        squares[i] = squared_levels(k, group, i);
    }
    if (is_drawn(k, line, o)) {
        draw_squares(k, group, squares);
    }
    for (uint32_t i = 0; i < k->rows; i++) {
        sum += squares[i] * variance[i];
    }
    return sum;
}

/* Result of one group of passes before its ADC: weight x full-scale input. */
static double analog_result(const struct block *k, uint32_t group, uint32_t line, uint32_t o) {
    const struct input_plan *plan = &k->m->inputs;
    const struct array *a = k->a;
    const double *w = k->weights + ((size_t)o * a->lines + line) * k->rows;
    double scale = (double)a->weight_scale[(size_t)k->b * a->columns + o], sum = 0,
           noise = white_variance(k, group, line, o);
    bool phenomena = k->m->phenomena.any && scale > 0;
    for (uint32_t p = group_first(plan, group); p < group_end(plan, group); p++) {
        double gain = (double)plan->pass[p].share;
        sum += gain * (phenomena ? phenomenal_pass(k, p, line, o, w, scale) * scale : line_pass(k, p, line, o));
    }
    if (phenomena) {
        double z =
            gaussian(k, RANDOM_CONVERTER, k->matrix << 8 | PHENOMENA_OUTPUT, phenomenon_number(k, group, line, o));
        sum =
            scale * phenomena_output(&k->m->phenomena, &a->phenomena[((size_t)k->b * a->lines + line) * a->columns + o],
                                     sum / scale, z);
    }
    if (noise > 0) {
        sum += sqrt(noise) *
               (double)random_gaussian_fast(
                   k->m->seed, random_stream(RANDOM_READ, k->matrix),
                   result_number(k->m, a, k->read, k->round, k->b, group, line, o));
    }
    return a->ladder_offset ? ladder_result(k, group, o, sum) : sum;
}

/* Column currents (charges, where cells are capacitors) of one pass and line, where the read voltage is known. */
static void show_currents(const struct block *k) {
    const struct machine *m = k->m;
    struct cell_common cell = cell_common_of(m->spec->tile.cell);
    double unit = m->spec->tile.read_voltage_V.value * (cell.charge ? cell.g_max_F / cell.g_max_S * 1e15 : 1e6);
    for (uint32_t p = 0; k->trace && chip_has_costs(m->chip) && p < m->inputs.passes; p++) {
        for (uint32_t l = 0; l < k->a->lines; l++) {
            for (uint32_t o = 0; o < k->a->outputs; o++) {
                double scale = (double)k->a->weight_scale[(size_t)k->b * k->a->columns + o],
                       sum = line_pass(k, p, l, o);
                k->values[o] = scale > 0 ? sum / tile_weight_per_siemens(m, k->a, (float)scale) * unit : 0;
            }
            show(k, cell.charge ? "charge_fC" : "column_current_uA", p * k->a->lines + l, k->values, k->a->outputs);
        }
    }
}

/* ---- step 7: conversion
 * ------------------------------------------------------------------------------------------------- */

/* One converter: its range, its errors, the number of its noise. */
struct reader {
    double full, gain, offset;
    const float *state;
    uint64_t number;
};

/* v as it leaves the ADC, and its code. *beyond: +1, -1 where it was out of range. */
static double converted(const struct block *k, const struct reader *r, double v, double *code, int *beyond) {
    const struct machine *m = k->m;
    double noise =
        m->adc_noise_sd > 0 ? (double)gaussian(k, RANDOM_CONVERTER, k->matrix << 8 | DRAW_ADC_NOISE, r->number) : 0;
    *code = (double)NAN;
    *beyond = 0;
    if (!m->spec->effects.adc) {
        return m->adc_use == ADC_LINEAR ? r->gain * v + (r->offset + m->adc_noise_sd * noise) * r->full : v;
    }
    if (!(r->full > 0)) {
        *code = 0;
        *beyond = v > 0 ? 1 : v < 0 ? -1 : 0;
        return 0;
    }
    double u = v / r->full, step = 1.0 / m->adc.limit, shift = 0, highest = 1 + step / 2, lowest = -highest;
    if (m->adc_use == ADC_CIRCUIT) {
        const struct adc_model *model = adc_model_of(m->spec->tile.adc.circuit);
        const void *params = adc_params(m->spec->tile.adc.circuit);
        float in = (float)u, z = (float)noise;
        int32_t out;
        model->convert(params, m->adc.bits, r->state, 0, &in, m->adc_noise_sd > 0 ? &z : NULL, &out, 1);
        model->value(params, m->adc.bits, &step, &shift);
        *code = out;
        u += m->adc_noise_sd * noise;
        lowest = (double)r->state[m->adc_states - 2];
        highest = (double)r->state[m->adc_states - 1];
    } else {
        u = r->gain * u + r->offset + m->adc_noise_sd * noise;
        *code = converter_code(m->adc, u, 1, NULL);
    }
    *beyond = u >= highest ? 1 : u <= lowest ? -1 : 0;
    return (*code + shift) * step * r->full;
}

/* All lines and groups of one output, added digitally; clipped: results that count for the bound management. */
static double digital_sum(const struct block *k, uint32_t o, uint32_t *clipped, double *codes) {
    const struct machine *m = k->m;
    const struct array *a = k->a;
    const struct input_plan *plan = &m->inputs;
    double y = 0;
    for (uint32_t l = 0; l < a->lines; l++) {
        size_t i = ((size_t)k->b * a->lines + l) * a->columns + o;
        for (uint32_t g = 0; g < plan->groups; g++) {
            struct reader r = {
                (double)a->full_scale[i], a->adc_gain ? (double)a->adc_gain[i] : 1,
                a->adc_offset ? (double)a->adc_offset[i] : 0, a->adc_state ? a->adc_state + i * m->adc_states : NULL,
                event_number(m, a, k->read, k->round, k->b, g) * adc_numbers(m, a) + (uint64_t)l * a->columns + o};
            int beyond;
            double v = converted(k, &r, analog_result(k, g, l, o), &codes[g * a->lines + l], &beyond);
            *clipped += beyond > 0 || (beyond < 0 && m->spec->tile.management.test_negative);
            y += m->plan.line_factor[l] * (double)plan->group_gain[g] * v;
        }
    }
    return y * k->range;
}

/* Result of a shared column: units of its scale x input range, factor of its slice included. */
static double shared_result(const struct block *k, uint32_t c, uint32_t s) {
    const struct machine *m = k->m;
    const struct array *a = k->a;
    const struct input_plan *plan = &m->inputs;
    const double *w = k->shared + ((size_t)c * m->plan.slices + s) * k->rows;
    size_t number = (size_t)c * m->plan.slices + s, i = (size_t)k->b * a->column_blocks * m->plan.slices + number;
    double y = 0, code;
    int beyond;
    for (uint32_t g = 0; g < plan->groups; g++) {
        double v = 0;
        for (uint32_t p = group_first(plan, g); p < group_end(plan, g); p++) {
            v += (double)plan->pass[p].share *
                 (k->solved ? k->solved_shared[(size_t)p * a->column_blocks * m->plan.slices + number]
                            : plain_pass(k, p, w));
        }
        struct reader r = {(double)a->shared_full_scale[i], a->shared_gain ? (double)a->shared_gain[i] : 1,
                           a->shared_offset ? (double)a->shared_offset[i] : 0,
                           a->shared_state ? a->shared_state + i * m->adc_states : NULL,
                           event_number(m, a, k->read, k->round, k->b, g) * adc_numbers(m, a) +
                               (uint64_t)a->lines * a->columns + number};
        y += (double)plan->group_gain[g] * converted(k, &r, v, &code, &beyond);
    }
    return y * m->plan.line_factor[m->plan.line_of[s][0]];
}

/* ---- step 8: digital
 * ------------------------------------------------------------------------------------------------------- */

/* One output of the block after everything digital. */
static double finished(const struct block *k, uint32_t c, uint32_t o, double sum) {
    const struct array *a = k->a;
    size_t i = (size_t)k->b * a->columns + o;
    for (uint32_t s = 0; a->shared && s < k->m->plan.slices; s++) {
        sum -= (double)a->weight_scale[i] * shared_result(k, c, s) * k->range;
    }
    double y = sum * (double)a->compensation[i];
    y -= a->offset ? (double)a->offset[i] * k->input_sum * k->range : 0;
    return a->correction_gain ? (double)a->correction_gain[i] * y + (double)a->correction_offset[i] * k->range : y;
}

static void show_codes(const struct block *k, const double *codes, uint32_t groups) {
    for (uint32_t i = 0; k->trace && k->m->spec->effects.adc && i < groups * k->a->lines; i++) {
        for (uint32_t o = 0; o < k->a->outputs; o++) {
            k->values[o] = codes[(size_t)o * groups * k->a->lines + i];
        }
        show(k, "adc_codes", i, k->values, k->a->outputs);
    }
}

/* Adds one token's result of the block to y; codes: room for those of every output. */
static enum status multiply_token(struct block *k, const float *x, double *codes, double *block_y, double *y,
                                  struct error *e) {
    const struct array *a = k->a;
    struct management_loop loop;
    uint32_t clipped;
    management_begin(&loop);
    for (uint32_t i = 0; i < k->rows; i++) {
        k->values[i] = (double)x[i];
    }
    show(k, "input", 0, k->values, k->rows);
    k->round = 0;
    do { /* once, unless the bound management repeats */
        clipped = 0;
        TRY(drive(k, x, &loop, e));
        show_currents(k);
        for (uint32_t c = 0; c < a->column_blocks; c++) {
            for (uint32_t o = array_block_output(a, &k->m->spec->tile, c);
                 o < array_block_output(a, &k->m->spec->tile, c + 1); o++) {
                block_y[o] =
                    finished(k, c, o, digital_sum(k, o, &clipped, codes + (size_t)o * k->m->inputs.groups * a->lines));
            }
        }
        show_codes(k, codes, k->m->inputs.groups);
        k->round++;
    } while (k->m->spec->effects.adc && k->round < ROUNDS_MOST &&
             management_repeat(&k->m->spec->tile.management, management_input_step(k->m), clipped > 0, &loop));
    show(k, "output", 0, block_y, a->outputs);
    for (uint32_t o = 0; o < a->outputs; o++) {
        y[o] += block_y[o];
    }
    return OK;
}

/* Adds what stays digital: the listed weights and channels, from the source. */
static enum status add_side_path(const struct array *a, const float *x, uint32_t tokens, double *y, struct error *e) {
    const struct side_path *s = a->source.side;
    float *w = s ? mem_alloc(a->inputs, sizeof *w) : NULL;
    enum status status = s && !w ? error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name) : OK;
    for (uint32_t o = 0; s && status == OK && o < a->outputs; o++) {
        status = a->source.read_rows(a->source.context, o, 1, w, e);
        for (uint32_t t = 0; status == OK && t < tokens; t++) {
            const float *mine = x + (size_t)t * a->inputs;
            double sum = 0;
            for (uint32_t i = 0; i < s->channel_count; i++) {
                sum += (double)mine[s->channels[i]] * (double)w[s->channels[i]];
            }
            for (uint32_t i = s->weight_begin ? s->weight_begin[o] : 0; s->weight_begin && i < s->weight_begin[o + 1];
                 i++) {
                sum += (double)mine[s->weight_inputs[i]] * (double)w[s->weight_inputs[i]];
            }
            y[(size_t)t * a->outputs + o] += sum;
        }
    }
    mem_free(w);
    return status;
}

/* x without the channels of the side path; NULL when out of memory. */
static float *driven_inputs(const struct array *a, const float *x, uint32_t tokens) {
    float *driven = mem_alloc((size_t)tokens * a->inputs, sizeof *driven);
    for (size_t i = 0; driven && i < (size_t)tokens * a->inputs; i++) {
        driven[i] = x[i];
    }
    for (size_t i = 0; driven && a->source.side && i < (size_t)tokens * a->source.side->channel_count; i++) {
        uint32_t count = a->source.side->channel_count;
        driven[i / count * a->inputs + a->source.side->channels[i % count]] = 0;
    }
    return driven;
}

enum status machine_multiply_reference(const struct machine *m, size_t matrix, const float *x, uint32_t tokens,
                                       uint64_t first_read, const struct stage_visitor *trace, double *y,
                                       struct error *e) {
    if (!machine_is_analog(m, matrix)) {
        return error_set(e, ERR_USAGE, "multiply: matrix %zu is not analog", matrix);
    }
    const struct array *a = m->arrays[matrix];
    if (!m->ranges_set) {
        return error_set(e, ERR_RUN, "matrix %s: its converter ranges are not set: the chip needs a calibration first",
                         a->source.name);
    }
    struct block k = {.m = m, .a = a, .matrix = matrix, .trace = trace};
    TRY(block_create(m, matrix, &k, e));
    double *codes = mem_alloc((size_t)a->outputs * m->inputs.groups * a->lines, sizeof *codes),
           *block_y = mem_alloc(a->outputs, sizeof *block_y);
    float *driven = driven_inputs(a, x, tokens);
    enum status status = OK;
    if (!codes || !block_y || !driven) {
        status = error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    }
    for (size_t i = 0; i < (size_t)tokens * a->outputs; i++) {
        y[i] = 0;
    }
    for (k.b = 0; status == OK && k.b < a->row_blocks; k.b++) {
        double average = 0;
        k.average = &average;
        k.rows = array_block_rows(a, k.b);
        status = realise_block(&k, e);
        for (uint32_t t = 0; status == OK && t < tokens; t++) {
            k.token = t;
            k.read = first_read + t;
            status = check_interrupted(e);
            const float *mine = driven + (size_t)t * a->inputs + a->row_begin[k.b];
            status = status == OK ? multiply_token(&k, mine, codes, block_y, y + (size_t)t * a->outputs, e) : status;
        }
    }
    status = status == OK ? add_side_path(a, x, tokens, y, e) : status;
    mem_free(codes);
    mem_free(block_y);
    mem_free(driven);
    block_destroy(&k);
    return status;
}
