/* Ranges of the converters: those that the chip or the model fixes, and those that calibration measures.
 *
 * All full scales of the ADC are kept as weight x input / input range, one per column and row block, so that a
 * token's own input range (per_token) or the block's (static) scales them alike.
 *   lambda       full scale = lambda x max|w|: of the column (adc.granularity per_column), or what g_max stands for in
 *                that column (per_tile: one current for the whole tile). Of the target weights, which is what a chip
 *                can know; the published evaluation of the Analog Foundation Models takes the noisy ones, up to some
 *                10 % larger.
 *   static       full scale = adc.full_scale x what g_max stands for in that column
 *   calibrated   full scale = headroom x a statistic of |result| over all calibration tokens, of the column
 *                (per_column) or of the currents of the tile (per_tile): the largest, a quantile, or the clip point
 *                with the smallest mean square of clipping and rounding together (adc.rule; histogram.h). A column
 *                that only ever gave 0 gets range 0: it
 *                reads 0, and anything else counts as saturated. The output head is the exception to per_column: each
 *                of its columns answers for one word, most words are not in the calibration text, and a word that was
 *                never likely would be clipped when it is (stories15M: 0.54 nats per token); none of its columns has
 *                a smaller full scale than the median of the row block (docs/attempts.md).
 * Full scales that the model brings win over all of these.
 * Static input ranges, one per row block: those that the model brings win; else from calibration inputs by the chip's
 * rule:
 *   maximum              max|x|
 *   standard_deviations  k x the unbiased standard deviation of x over all tokens and inputs of the block
 *   quantile             of |x|, from a histogram of 32 bins per octave (upper edge: at most 2.2 % too large)
 *   mean_square          the clip point of |x| with the smallest mean square of clipping and rounding together
 *
 * While a calibration is open, ADCs have no limits and no steps; inputs are quantised with each token's own range
 * where no static range is known yet. One pass sets everything. Input ranges smaller than the data clip inputs later:
 * the full scales of the same pass are then a little generous.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sort.h"
#include "sim/histogram.h"
#include "sim/side_path.h"

/* Full scales are of use: for steps and limits, as the unit of the converters' offsets, or of the compression by the
 * readout, which is said in shares of the range whether codes act or not. */
static bool wants_full_scales(const struct machine *m) {
    const struct phenomena_spec *p = &m->phenomena;
    bool compressed = p->nonlinearity > 0 || (p->series_resistance > 0 && p->slope_calibration > 0);
    return m->spec->effects.adc || m->adc_use == ADC_LINEAR || compressed;
}

/* A range that has to be found out: it quantises and limits the inputs, and it is the unit of full scales, errors of
 * the readout included. Without the effect dac it clips nothing. One that is stated costs nothing to find: it always
 * counts, so that no effect changes what a chip drives but dac and dac_errors. */
static bool wants_static(const struct machine *m) {
    return m->spec->tile.dac.range == INPUT_STATIC && (m->spec->effects.dac || wants_full_scales(m));
}

static bool wants_adc_data(const struct machine *m) {
    return wants_full_scales(m) && m->spec->tile.adc.range == ADC_CALIBRATED;
}

/* A model that brings every range needs no data. */
static bool adc_without_ranges(const struct machine *m) {
    for (size_t i = 0; wants_adc_data(m) && i < m->count; i++) {
        const struct array *a = m->arrays[i];
        if (a && (!a->source.adc_range || a->shared)) {
            return true;
        }
    }
    return false;
}

bool machine_static_without_ranges(const struct machine *m) {
    for (size_t i = 0; wants_static(m) && !(m->spec->tile.dac.range_value > 0) && i < m->count; i++) {
        if (m->arrays[i] && !m->arrays[i]->source.input_range) {
            return true;
        }
    }
    return false;
}

bool machine_needs_calibration(const struct machine *m) { return !m->ranges_set; }

/* ---- derived factors ------------------------------------------------------------------------------------- */

static void derive_line(const struct machine *m, struct array *a, uint32_t b, uint32_t line) {
    bool adc = m->spec->effects.adc;
    double range = a->input_range ? (double)a->input_range[b] : 1.0;
    for (uint32_t o = 0; o < a->columns; o++) {
        size_t i = ((size_t)b * a->lines + line) * a->columns + o;
        /* weight x input / range of one unit of the sum over codes x digits */
        double unit = (double)a->code_scale[i] / m->inputs.digit_limit, full = (double)a->full_scale[i];
        double step = full / m->adc.limit,
               digital = range * (double)a->compensation[(size_t)b * a->columns + o] * m->plan.line_factor[line];
        if (adc) { /* Range 0: the output is 0, and the largest finite factor makes anything but 0 saturate. */
            a->to_code[i] = step > 0 ? (float)fmin(unit / step, 1e30) : unit > 0 ? 1e30f : 0.0f;
        } else {
            a->to_code[i] = unit > 0 ? (float)fmin(full / unit, 1e30) : 0.0f;
        }
        a->to_output[i] = (float)((adc ? step : unit) * digital);
    }
}

/* Constants of the columns of a tile and line: some are in units of the ADC's full scale. */
static void derive_phenomena(const struct machine *m, struct array *a, size_t matrix, uint32_t b, uint32_t line,
                             uint32_t first, uint32_t end) {
    enum { AT_ONCE = TILE_SIDE_MOST };
    double full_scale[AT_ONCE];
    size_t index = ((size_t)b * a->lines + line) * a->columns + first;
    for (uint32_t o = first; o < end; o++) {
        double scale = (double)a->weight_scale[(size_t)b * a->columns + o];
        double range = wants_full_scales(m) ? (double)a->full_scale[index + o - first] : 0;
        full_scale[o - first] = scale > 0 && range > 0 ? range / scale : (double)INFINITY;
    }
    phenomena_columns(&m->phenomena, m->seed, (uint64_t)matrix << 8 | PHENOMENA_COLUMN,
                      ((uint64_t)line * a->row_blocks + b) * a->columns + first, full_scale, end - first,
                      a->phenomena + index);
}

void array_derive(const struct machine *m, struct array *a, size_t matrix) {
    const struct tile_spec *tile = &m->spec->tile;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t line = 0; line < a->lines; line++) {
            derive_line(m, a, b, line);
            for (uint32_t c = 0; a->phenomena && c < a->column_blocks; c++) {
                derive_phenomena(m, a, matrix, b, line, array_block_output(a, tile, c),
                                 array_block_output(a, tile, c + 1));
            }
        }
    }
}

/* Largest value of a line whose weight is its scale: 1 where a line holds one slice. */
static double line_peak(const struct encoding_plan *p, uint32_t line) {
    double sum = 0;
    for (uint32_t s = 0; s < p->slices; s++) {
        double largest = 0;
        for (uint32_t leg = 0; leg < p->legs; leg++) {
            largest = p->line_of[s][leg] == line ? fmax(largest, fabs(p->part[s][leg])) : largest;
        }
        sum += largest;
    }
    return sum;
}

/* Full scales without data: factor x `base` (weights), and factor alone for the shared columns. */
static void set_full_scales_of(const struct machine *m, struct array *a, double factor, const float *base) {
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t line = 0; line < a->lines; line++) {
            double peak = factor * line_peak(&m->plan, line);
            for (uint32_t o = 0; o < a->columns; o++) {
                a->full_scale[((size_t)b * a->lines + line) * a->columns + o] =
                    (float)(peak * (double)base[(size_t)b * a->columns + o]);
            }
        }
    }
    size_t shared = a->shared ? (size_t)a->row_blocks * a->column_blocks * m->plan.slices : 0;
    for (size_t i = 0; i < shared; i++) {
        a->shared_full_scale[i] = (float)(factor * fabs(m->plan.part[i % m->plan.slices][0]));
    }
}

/* Those that the source brings: as they are, for the line whose factor is the largest. */
static void take_source_scales(const struct machine *m, struct array *a) {
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t line = 0; line < a->lines; line++) {
            for (uint32_t o = 0; o < a->outputs; o++) {
                a->full_scale[((size_t)b * a->lines + line) * a->columns + o] =
                    (float)line_peak(&m->plan, line) * a->source.adc_range[(size_t)b * a->outputs + o];
            }
        }
    }
}

static void set_fixed_scales(const struct machine *m, struct array *a) {
    const struct tile_spec *tile = &m->spec->tile;
    if (tile->adc.range == ADC_STATIC) {
        set_full_scales_of(m, a, tile->adc.full_scale, a->weight_scale);
    } else if (tile->adc.range == ADC_LAMBDA) {
        set_full_scales_of(m, a, tile->adc.lambda,
                           tile->adc.granularity == ADC_PER_COLUMN ? a->column_max : a->weight_scale);
    }
    if (a->source.adc_range) {
        take_source_scales(m, a);
    }
}

/* ---- ranges of the model ----------------------------------------------------------------------------------- */

static enum status allocate_ranges(struct array *a, struct error *e) {
    a->input_range = mem_alloc(a->row_blocks, sizeof *a->input_range);
    return a->input_range ? OK : error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
}

static enum status take_model_ranges(struct array *a, struct error *e) {
    const struct matrix_source *s = &a->source;
    if (s->input_range_count != 1 && s->input_range_count != a->row_blocks) {
        return error_set(
            e, ERR_USAGE,
            "matrix %s: the model brings %u input ranges (allowed: 1, or %u, one for each block of tile rows)", s->name,
            s->input_range_count, a->row_blocks);
    }
    TRY(allocate_ranges(a, e));
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        float range = s->input_range[s->input_range_count == 1 ? 0 : b];
        if (!(range >= SMALLEST_RANGE) || !isfinite(range)) {
            return error_set(e, ERR_RUN, "matrix %s: input range %u is %g (allowed: positive and finite)", s->name, b,
                             (double)range);
        }
        a->input_range[b] = range;
    }
    return OK;
}

static enum status take_chip_range(const struct machine *m, struct array *a, struct error *e) {
    TRY(allocate_ranges(a, e));
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        a->input_range[b] = (float)m->spec->tile.dac.range_value;
    }
    return OK;
}

enum status machine_initial_ranges(struct machine *m, struct error *e) {
    TRY(machine_make_converters(m, e));
    for (size_t i = 0; i < m->count; i++) {
        struct array *a = m->arrays[i];
        if (!a) {
            continue;
        }
        bool fixed = m->spec->tile.dac.range == INPUT_STATIC;
        if (fixed && m->spec->tile.dac.range_value > 0) {
            TRY(take_chip_range(m, a, e));
        } else if (fixed && a->source.input_range) {
            TRY(take_model_ranges(a, e));
        }
        if (wants_full_scales(m)) {
            set_fixed_scales(m, a);
        }
        array_derive(m, a, i);
    }
    machine_count_readouts(m);
    m->ranges_set = !adc_without_ranges(m) && !machine_static_without_ranges(m);
    return m->ranges_set ? machine_fit_correction(m, e) : OK;
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

static size_t shared_count(const struct machine *m, const struct array *a) {
    return a->shared ? (size_t)a->row_blocks * a->column_blocks * m->plan.slices : 0;
}

static void close_array(struct array *a) {
    mem_free(a->output_max);
    mem_free(a->output_bins);
    mem_free(a->output_origin);
    mem_free(a->shared_max);
    mem_free(a->input);
    a->output_max = a->output_origin = a->shared_max = NULL;
    a->output_bins = NULL;
    a->input = NULL;
}

static enum status open_array(const struct machine *m, struct array *a, struct error *e) {
    bool input = wants_static(m) && !(m->spec->tile.dac.range_value > 0) && !a->source.input_range;
    bool bins = wants_adc_data(m) && m->spec->tile.adc.rule != ADC_MAXIMUM;
    size_t results = (size_t)a->row_blocks * a->lines * a->columns;
    if (input) { /* a second calibration measures afresh */
        mem_free(a->input_range);
        a->input_range = NULL;
    }
    close_array(a);
    a->output_max = mem_alloc(results, sizeof *a->output_max);
    a->output_origin = mem_alloc(a->row_blocks, sizeof *a->output_origin);
    a->shared_max = mem_alloc(shared_count(m, a), sizeof *a->shared_max);
    a->output_bins = bins ? mem_alloc(results * OUTPUT_BINS, sizeof *a->output_bins) : NULL;
    a->input = input ? mem_alloc(a->row_blocks, sizeof *a->input) : NULL;
    a->calibration_tokens = 0;
    if (!a->output_max || !a->output_origin || !a->shared_max || (bins && !a->output_bins) || (input && !a->input)) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    }
    return OK;
}

enum status machine_calibration_begin(struct machine *m, struct error *e) {
    if (m->calibrating) {
        return error_set(e, ERR_USAGE, "calibration: already open");
    }
    for (size_t i = 0; i < m->count; i++) {
        if (m->arrays[i]) {
            TRY(open_array(m, m->arrays[i], e));
        }
    }
    m->calibrating = true;
    m->ranges_set = false;
    return OK;
}

static void record_block(struct input_statistics *s, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);
        s->sum += (double)x[i];
        s->sum_of_squares += (double)x[i] * (double)x[i];
        s->largest = size > s->largest ? size : s->largest;
        s->bins[histogram_bin(RANGE_BINS, BINS_PER_OCTAVE, -BIN_OCTAVES / 2, size)]++;
    }
    s->count += n;
}

/* All inputs of a block that its tiles drive. */
static void record_driven(struct array *a, uint32_t b, const float *x) {
    uint32_t from = a->row_begin[b];
    for (uint32_t i = 0; i < array_block_channels(a, b); i++) {
        uint32_t channel = a->side->channels[a->side->block_channels[b] + i];
        record_block(&a->input[b], x + from, channel - from);
        from = channel + 1;
    }
    record_block(&a->input[b], x + from, a->row_begin[b + 1] - from);
}

void array_record_inputs(struct array *a, const float *x, uint32_t tokens) {
    for (uint32_t b = 0; a->calibration_tokens == 0 && tokens > 0 && b < a->row_blocks; b++) {
        float largest = kernels()->absmax_f32(x + a->row_begin[b], array_block_rows(a, b));
        a->output_origin[b] = a->input && largest > SMALLEST_RANGE ? largest : 1.0f;
    }
    a->calibration_tokens += tokens;
    for (uint32_t t = 0; a->input && t < tokens; t++) {
        for (uint32_t b = 0; b < a->row_blocks; b++) {
            record_driven(a, b, x + (size_t)t * a->inputs);
        }
    }
}

void array_record_output(struct array *a, uint32_t b, uint32_t output, size_t index, float size) {
    a->output_max[index] = size > a->output_max[index] ? size : a->output_max[index];
    float unit = a->weight_scale[(size_t)b * a->columns + output] * a->output_origin[b];
    if (a->output_bins && unit > 0) {
        a->output_bins[index * OUTPUT_BINS +
                       histogram_bin(OUTPUT_BINS, OUTPUT_BINS_PER_OCTAVE, OUTPUT_LOWEST, size / unit)]++;
    }
}

/* ---- setting ---------------------------------------------------------------------------------------------------- */

static double standard_deviation_of(const struct input_statistics *s) {
    double n = (double)s->count;
    return n < 2 ? 0 : sqrt(fmax(s->sum_of_squares - s->sum * s->sum / n, 0) / (n - 1));
}

static double range_by_rule(const struct machine *m, const struct input_statistics *s) {
    const struct tile_spec *tile = &m->spec->tile;
    const struct histogram h = {s->bins, RANGE_BINS, BINS_PER_OCTAVE, -BIN_OCTAVES / 2, (double)s->largest};
    switch ((enum static_range_rule)tile->dac.static_rule) {
    case STATIC_STANDARD_DEVIATIONS:
        return tile->dac.static_parameter * standard_deviation_of(s);
    case STATIC_QUANTILE:
        return histogram_quantile(&h, tile->dac.static_parameter);
    case STATIC_MEAN_SQUARE:
        return histogram_mean_square(&h, m->dac.limit);
    case STATIC_MAXIMUM:
        break;
    }
    return (double)s->largest;
}

static enum status set_input_ranges(const struct machine *m, struct array *a, struct error *e) {
    TRY(allocate_ranges(a, e));
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        bool driven = array_driven_rows(a, b) > 0; /* else any range will do */
        a->input_range[b] = driven ? (float)range_by_rule(m, &a->input[b]) : 1.0f;
        if (!(a->input_range[b] >= SMALLEST_RANGE) || !isfinite(a->input_range[b])) {
            return error_set(
                e, ERR_RUN,
                "matrix %s: calibration gives the input range %g to row block %u, inputs %u to %u (allowed: positive "
                "and finite): its inputs were all the same or zero",
                a->source.name, (double)a->input_range[b], b, a->row_begin[b], a->row_begin[b + 1] - 1);
        }
    }
    return OK;
}

/* Adds the histogram of one result to `sum`. */
static void add_bins(const struct array *a, size_t index, uint64_t *sum) {
    for (size_t i = 0; a->output_bins && i < OUTPUT_BINS; i++) {
        sum[i] += a->output_bins[index * OUTPUT_BINS + i];
    }
}

/* What the chip's rule takes from results whose largest is `largest`, in units of the weight scale. */
static double full_scale_by_rule(const struct machine *m, const uint64_t *bins, double largest, double origin) {
    const struct tile_spec *tile = &m->spec->tile;
    const struct histogram h = {bins, OUTPUT_BINS, OUTPUT_BINS_PER_OCTAVE, OUTPUT_LOWEST, largest / origin};
    switch ((enum adc_rule)tile->adc.rule) {
    case ADC_QUANTILE:
        return histogram_quantile(&h, tile->adc.rule_parameter) * origin;
    case ADC_MEAN_SQUARE:
        return histogram_mean_square(&h, m->adc.limit) * origin;
    case ADC_MAXIMUM:
        break;
    }
    return largest;
}

/* Full scales of results [first, end) of one line: of each column alone, or of all of them (results per weight scale
 * are currents; a tile has one for all). */
static void set_line_scales(const struct machine *m, struct array *a, uint32_t b, uint32_t line, uint32_t first,
                            uint32_t end) {
    bool whole_tile = m->spec->tile.adc.granularity == ADC_PER_TILE;
    size_t index = ((size_t)b * a->lines + line) * a->columns;
    const float *scale = a->weight_scale + (size_t)b * a->columns;
    double origin = (double)a->output_origin[b], headroom = m->spec->tile.adc.headroom,
           per_range = a->input ? 1.0 / (double)a->input_range[b] : 1.0;
    for (uint32_t o = first; o < end;) {
        uint64_t bins[OUTPUT_BINS] = {0};
        uint32_t last = whole_tile ? end : o + 1;
        double largest = 0;
        for (uint32_t i = o; i < last; i++) {
            double current = scale[i] > 0 ? (double)a->output_max[index + i] / (double)scale[i] : 0;
            largest = fmax(largest, current);
            add_bins(a, index + i, bins);
        }
        double full = headroom * full_scale_by_rule(m, bins, largest, origin) * per_range;
        for (; o < last; o++) {
            a->full_scale[index + o] = (float)(full * (double)scale[o]);
        }
    }
}

/* Raises the full scales of a row block and line to their median. */
static enum status raise_to_median(struct array *a, uint32_t b, uint32_t line, struct error *e) {
    float *full = a->full_scale + ((size_t)b * a->lines + line) * a->columns;
    float *sorted = mem_alloc(a->outputs, sizeof *sorted);
    if (!sorted) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    }
    memcpy(sorted, full, a->outputs * sizeof *sorted);
    sort_floats(sorted, a->outputs);
    float least = sorted[a->outputs / 2];
    for (uint32_t o = 0; o < a->outputs; o++) {
        full[o] = full[o] > least ? full[o] : least;
    }
    mem_free(sorted);
    return OK;
}

static enum status set_full_scales(const struct machine *m, struct array *a, struct error *e) {
    const struct tile_spec *tile = &m->spec->tile;
    enum split_mode split = (enum split_mode)tile->split;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t line = 0; line < a->lines; line++) {
            for (uint32_t c = 0; c < a->column_blocks; c++) {
                set_line_scales(m, a, b, line, block_begin(a->outputs, (uint32_t)tile->columns, split, c),
                                block_begin(a->outputs, (uint32_t)tile->columns, split, c + 1));
            }
            if (tile->adc.granularity == ADC_PER_COLUMN && a->source.role == MATRIX_HEAD) {
                TRY(raise_to_median(a, b, line, e));
            }
        }
    }
    /* Shared columns: their largest result, whatever the rule. Without a range at the time of measuring, results are in
     * units of the input, not of its range. */
    size_t per_block = (size_t)a->column_blocks * m->plan.slices;
    for (size_t i = 0; i < shared_count(m, a); i++) {
        double per_range = a->input ? 1.0 / (double)a->input_range[i / per_block] : 1.0;
        a->shared_full_scale[i] = (float)(tile->adc.headroom * (double)a->shared_max[i] * per_range);
    }
    if (a->source.adc_range) {
        take_source_scales(m, a);
    }
    return OK;
}

static enum status finish_array(const struct machine *m, struct array *a, size_t matrix, struct error *e) {
    if (a->calibration_tokens == 0) {
        return error_set(e, ERR_RUN, "matrix %s: no input reached it during calibration: its ranges cannot be set",
                         a->source.name);
    }
    if (a->input) {
        TRY(set_input_ranges(m, a, e));
    }
    if (wants_adc_data(m)) {
        TRY(set_full_scales(m, a, e));
    }
    array_derive(m, a, matrix);
    close_array(a);
    return OK;
}

enum status machine_calibration_finish(struct machine *m, struct error *e) {
    if (!m->calibrating) {
        return error_set(e, ERR_USAGE, "calibration: not open");
    }
    m->calibrating = false;
    for (size_t i = 0; i < m->count; i++) {
        if (m->arrays[i]) {
            TRY(finish_array(m, m->arrays[i], i, e));
        }
    }
    m->ranges_set = true;
    return machine_fit_correction(m, e);
}
