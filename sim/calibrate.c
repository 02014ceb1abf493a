/* Ranges of the converters: those that the chip or the model fixes, and those that calibration measures.
 *
 * All full scales of the ADC are kept as weight x input / input range, one per column and row block, so that a
 * token's own input range (per_token) or the block's (static) scales them alike.
 *   lambda       full scale = lambda x max|w|: of the column (adc.granularity per_column), or what g_max stands for in
 *                that column (per_tile: one current for the whole tile). Of the target weights, which is what a chip
 *                can know; the published evaluation of the Analog Foundation Models takes the noisy ones, up to some
 *                10 % larger.
 *   calibrated   full scale = headroom x the largest |result| of the column over all calibration tokens (per_column),
 *                or of the largest current of the tile (per_tile). A column that only ever gave 0 gets range 0: it
 *                reads 0, and anything else counts as saturated. The output head is the exception to per_column: each
 *                of its columns answers for one word, most words are not in the calibration text, and a word that was
 *                never likely would be clipped when it is (stories15M: 0.54 nats per token); none of its columns has
 *                a smaller full scale than the median of the row block (docs/attempts.md).
 * Static input ranges, one per row block: those that the model brings win; else from calibration inputs by the chip's
 * rule:
 *   maximum              max|x|
 *   standard_deviations  k x the unbiased standard deviation of x over all tokens and inputs of the block
 *   quantile             of |x|, from a histogram of 32 bins per octave (upper edge: at most 2.2 % too large)
 *
 * While a calibration is open, ADCs have no limits and no steps; inputs are quantised with each token's own range
 * where no static range is known yet. One pass sets everything. Input ranges smaller than the data clip inputs later:
 * the full scales of the same pass are then a little generous.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "sim/machine.h"

/* The range is the unit of the ADC's scale too: without the effect dac it still counts, it only clips nothing. */
static bool wants_static(const struct machine *m) {
    return m->spec->tile.dac.range == INPUT_STATIC && (m->spec->effects.dac || m->spec->effects.adc);
}

static bool wants_adc_data(const struct machine *m) {
    return m->spec->effects.adc && m->spec->tile.adc.range == ADC_CALIBRATED;
}

bool machine_static_without_ranges(const struct machine *m) {
    for (size_t i = 0; wants_static(m) && i < m->count; i++) {
        if (m->arrays[i] && !m->arrays[i]->source.input_range) {
            return true;
        }
    }
    return false;
}

bool machine_needs_calibration(const struct machine *m) { return !m->ranges_set; }

/* ---- derived factors ------------------------------------------------------------------------------------- */

void array_derive(const struct machine *m, struct array *a) {
    bool adc = m->spec->effects.adc;
    double dac_limit = m->dac.limit, adc_limit = m->adc.limit;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        double range = a->input_range ? (double)a->input_range[b] : 1.0;
        for (size_t i = (size_t)b * a->columns; i < (size_t)(b + 1) * a->columns; i++) {
            /* weight x input / range of one unit of the integer dot product */
            double unit = (double)a->code_scale[i] / dac_limit;
            double step = (double)a->full_scale[i] / adc_limit, digital = range * (double)a->compensation[i];
            bool alive = step > 0;
            /* Range 0: the output is 0, and the largest finite factor makes anything but 0 saturate. */
            a->to_code[i] = !adc ? 1.0f : alive ? (float)fmin(unit / step, 1e30) : unit > 0 ? 1e30f : 0.0f;
            a->to_output[i] = (float)((adc ? step : unit) * digital);
        }
    }
}

static void set_lambda_scales(const struct machine *m, struct array *a) {
    const float *base = m->spec->tile.adc.granularity == ADC_PER_COLUMN ? a->column_max : a->weight_scale;
    for (size_t i = 0; i < (size_t)a->row_blocks * a->columns; i++) {
        a->full_scale[i] = (float)(m->spec->tile.adc.lambda * (double)base[i]);
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

enum status machine_initial_ranges(struct machine *m, struct error *e) {
    for (size_t i = 0; i < m->count; i++) {
        struct array *a = m->arrays[i];
        if (!a) {
            continue;
        }
        if (wants_static(m) && a->source.input_range) {
            TRY(take_model_ranges(a, e));
        }
        if (m->spec->effects.adc && m->spec->tile.adc.range == ADC_LAMBDA) {
            set_lambda_scales(m, a);
        }
        array_derive(m, a);
    }
    m->ranges_set = !wants_adc_data(m) && !machine_static_without_ranges(m);
    return OK;
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

enum status machine_calibration_begin(struct machine *m, struct error *e) {
    if (m->calibrating) {
        return error_set(e, ERR_USAGE, "calibration: already open");
    }
    for (size_t i = 0; i < m->count; i++) {
        struct array *a = m->arrays[i];
        if (!a) {
            continue;
        }
        bool input = wants_static(m) && !a->source.input_range;
        if (input) { /* a second calibration measures afresh */
            mem_free(a->input_range);
            a->input_range = NULL;
        }
        mem_free(a->output_max);
        mem_free(a->input);
        a->output_max = mem_alloc((size_t)a->row_blocks * a->columns, sizeof *a->output_max);
        a->input = input ? mem_alloc(a->row_blocks, sizeof *a->input) : NULL;
        a->calibration_tokens = 0;
        if (!a->output_max || (input && !a->input)) {
            return error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
        }
    }
    m->calibrating = true;
    m->ranges_set = false;
    return OK;
}

static size_t bin_of(float size) {
    double octave = log2((double)size) + BIN_OCTAVES / 2;
    return octave <= 0 ? 0 : octave >= BIN_OCTAVES ? RANGE_BINS - 1 : (size_t)(octave * BINS_PER_OCTAVE);
}

static void record_block(struct input_statistics *s, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);
        s->sum += (double)x[i];
        s->sum_of_squares += (double)x[i] * (double)x[i];
        s->largest = size > s->largest ? size : s->largest;
        s->bins[bin_of(size)]++;
    }
    s->count += n;
}

void array_record_inputs(struct array *a, const float *x, uint32_t tokens) {
    a->calibration_tokens += tokens;
    for (uint32_t t = 0; a->input && t < tokens; t++) {
        for (uint32_t b = 0; b < a->row_blocks; b++) {
            record_block(&a->input[b], x + (size_t)t * a->inputs + a->row_begin[b], array_block_rows(a, b));
        }
    }
}

/* ---- setting ---------------------------------------------------------------------------------------------------- */

static double quantile_of(const struct input_statistics *s, double q) {
    double wanted = q * (double)s->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < RANGE_BINS; i++) {
        seen += s->bins[i];
        if ((double)seen >= wanted) {
            double edge = exp2((double)(i + 1) / BINS_PER_OCTAVE - BIN_OCTAVES / 2);
            return fmin(edge, (double)s->largest); /* the last bin has no upper edge of its own */
        }
    }
    return (double)s->largest;
}

static double standard_deviation_of(const struct input_statistics *s) {
    double n = (double)s->count;
    return n < 2 ? 0 : sqrt(fmax(s->sum_of_squares - s->sum * s->sum / n, 0) / (n - 1));
}

static double range_by_rule(const struct tile_spec *tile, const struct input_statistics *s) {
    switch ((enum static_range_rule)tile->dac.static_rule) {
    case STATIC_STANDARD_DEVIATIONS:
        return tile->dac.static_parameter * standard_deviation_of(s);
    case STATIC_QUANTILE:
        return quantile_of(s, tile->dac.static_parameter);
    case STATIC_MAXIMUM:
    case STATIC_MEAN_SQUARE:
        break;
    }
    return (double)s->largest;
}

static enum status set_input_ranges(const struct machine *m, struct array *a, struct error *e) {
    TRY(allocate_ranges(a, e));
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        a->input_range[b] = (float)range_by_rule(&m->spec->tile, &a->input[b]);
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

/* Full scales of one tile from the largest current in any of its columns; results per weight scale are currents. */
static void share_full_scale(struct array *a, uint32_t b, uint32_t first, uint32_t end) {
    float *full = a->full_scale + (size_t)b * a->columns;
    const float *scale = a->weight_scale + (size_t)b * a->columns;
    float largest = 0;
    for (uint32_t o = first; o < end; o++) {
        float current = scale[o] > 0 ? full[o] / scale[o] : 0;
        largest = current > largest ? current : largest;
    }
    for (uint32_t o = first; o < end; o++) {
        full[o] = largest * scale[o];
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Raises the full scales of a row block to their median. */
static enum status raise_to_median(struct array *a, uint32_t b, struct error *e) {
    float *full = a->full_scale + (size_t)b * a->columns;
    float *sorted = mem_alloc(a->outputs, sizeof *sorted);
    if (!sorted) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    }
    memcpy(sorted, full, a->outputs * sizeof *sorted);
    qsort(sorted, a->outputs, sizeof *sorted, by_size);
    float least = sorted[a->outputs / 2];
    for (uint32_t o = 0; o < a->outputs; o++) {
        full[o] = full[o] > least ? full[o] : least;
    }
    mem_free(sorted);
    return OK;
}

static enum status set_full_scales(const struct machine *m, struct array *a, struct error *e) {
    const struct tile_spec *tile = &m->spec->tile;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        /* Without a range at the time of measuring, the results are in units of the input, not of its range. */
        double per_range = a->input ? 1.0 / (double)a->input_range[b] : 1.0;
        for (size_t i = (size_t)b * a->columns; i < (size_t)(b + 1) * a->columns; i++) {
            a->full_scale[i] = (float)(tile->adc.headroom * (double)a->output_max[i] * per_range);
        }
        if (tile->adc.granularity == ADC_PER_COLUMN && a->source.role == MATRIX_HEAD) {
            TRY(raise_to_median(a, b, e));
        }
        for (uint32_t c = 0; tile->adc.granularity == ADC_PER_TILE && c < a->column_blocks; c++) {
            share_full_scale(a, b, block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c),
                             block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c + 1));
        }
    }
    return OK;
}

static enum status finish_array(const struct machine *m, struct array *a, struct error *e) {
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
    array_derive(m, a);
    mem_free(a->output_max);
    mem_free(a->input);
    a->output_max = NULL;
    a->input = NULL;
    return OK;
}

enum status machine_calibration_finish(struct machine *m, struct error *e) {
    if (!m->calibrating) {
        return error_set(e, ERR_USAGE, "calibration: not open");
    }
    m->calibrating = false;
    for (size_t i = 0; i < m->count; i++) {
        if (m->arrays[i]) {
            TRY(finish_array(m, m->arrays[i], e));
        }
    }
    m->ranges_set = true;
    return OK;
}
