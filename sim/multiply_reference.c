/* The analog multiply in double precision, one plain loop per step of design section 3. Slow on purpose, never
 * optimised.
 *
 * Shares with the fast path: the random numbers, the cell model (cell_realise), the converters' ranges and the
 * factors of the drift compensation. Everything else is said again here: encoding, effective weights, DAC, sum, ADC,
 * digital part.
 *
 * How far the fast path may differ, with the effects adc and dac:
 *   off: single-precision sums, about 1e-6 of the sum of |w x|
 *   dac: weights are codes of 16 bits there: each off by half a code, 1/65534 of the column's largest weight
 *   adc: where that error moves a result across a rounding edge, one ADC step (a result in about a thousand)
 */
#include <math.h>

#include "base/memory.h"
#include "sim/machine.h"

/* What one output needs, [inputs] each. */
struct column {
    float *w, *target_S[2], *read_S[2];
};

static void column_destroy(struct column *k) { mem_free(k->w); }

static bool column_create(struct column *k, size_t inputs) {
    k->w = mem_alloc(5 * inputs, sizeof *k->w);
    if (!k->w) {
        return false;
    }
    k->target_S[0] = k->w + inputs;
    k->target_S[1] = k->w + 2 * inputs;
    k->read_S[0] = k->w + 3 * inputs;
    k->read_S[1] = k->w + 4 * inputs;
    return true;
}

static double block_max(const float *w, uint32_t n) {
    double largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)w[i]));
    }
    return largest;
}

/* Steps 1 to 3: weights of output o -> scale -> targets -> devices as read now. weight_scale [row_blocks]. */
static enum status realise(const struct machine *m, size_t matrix, uint32_t o, struct column *k, double *weight_scale,
                           struct error *e) {
    const struct array *a = m->arrays[matrix];
    const struct tile_spec *tile = &m->spec->tile;
    struct cell_common cell = cell_common_of(tile->cell);
    bool pair = tile->encoding == ENCODING_DIFFERENTIAL_PAIR;
    TRY(a->source.read_rows(a->source.context, o, 1, k->w, e));
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        const float *w = k->w + a->row_begin[b];
        weight_scale[b] = tile->scale == SCALE_PER_COLUMN ? block_max(w, array_block_rows(a, b))
                                                          : (double)a->weight_scale[(size_t)b * a->columns + o];
        for (uint32_t i = 0; i < array_block_rows(a, b); i++) {
            uint32_t at = a->row_begin[b] + i;
            float g_S = weight_scale[b] > 0 ? w[i] * (float)((cell.g_max_S - cell.g_min_S) / weight_scale[b]) : 0;
            k->target_S[0][at] = pair ? (float)cell.g_min_S + fmaxf(g_S, 0) : g_S;
            k->target_S[1][at] = (float)cell.g_min_S + fmaxf(-g_S, 0);
        }
    }
    struct cell_conditions effects = {.programming_noise = m->spec->effects.programming_noise,
                                      .drift = m->spec->effects.drift,
                                      .read_noise = m->spec->effects.read_noise,
                                      .temperature = m->spec->effects.temperature,
                                      .temperature_K = tile->temperature_K,
                                      .reads = tile->reads};
    for (uint64_t device = 0; device < (pair ? 2 : 1); device++) {
        struct cell_draws draws = {m->seed, (uint64_t)matrix << 8 | device, (uint64_t)o * a->inputs};
        cell_realise(tile->cell, &effects, &draws, k->target_S[device], m->age_s, k->read_S[device], a->inputs);
    }
    return OK;
}

/* The weight that input i of an output says now. */
static double effective_weight(const struct machine *m, const struct column *k, uint32_t i, double weight_scale) {
    struct cell_common cell = cell_common_of(m->spec->tile.cell);
    bool pair = m->spec->tile.encoding == ENCODING_DIFFERENTIAL_PAIR;
    double signed_S = (double)k->read_S[0][i] - (pair ? (double)k->read_S[1][i] : 0);
    return signed_S * weight_scale / (cell.g_max_S - cell.g_min_S);
}

/* Fixed, or the largest input of this token in this block. */
static double input_range(const struct array *a, uint32_t b, const float *x) {
    double range = a->input_range ? (double)a->input_range[b] : block_max(x + a->row_begin[b], array_block_rows(a, b));
    return range >= (double)SMALLEST_RANGE ? range : 0;
}

/* Step 5: x as it leaves the DAC of a row block. */
static double converted_input(const struct machine *m, double x, double range) {
    if (!m->spec->effects.dac) {
        return x;
    }
    return range > 0 ? converter_code(m->dac, x, range, NULL) * range / m->dac.limit : 0;
}

/* Step 7: a result as it leaves the ADC. */
static double converted_result(const struct machine *m, double v, double full_scale) {
    if (!m->spec->effects.adc) {
        return v;
    }
    return full_scale > 0 ? converter_code(m->adc, v, full_scale, NULL) * full_scale / m->adc.limit : 0;
}

/* Steps 5 to 8 for one token and one output. */
static double multiply_column(const struct machine *m, const struct array *a, const struct column *k,
                              const double *weight_scale, uint32_t o, const float *x) {
    double y = 0;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        double range = input_range(a, b, x), sum = 0;
        for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
            sum += effective_weight(m, k, i, weight_scale[b]) * converted_input(m, (double)x[i], range); /* step 6 */
        }
        size_t at = (size_t)b * a->columns + o;
        y += converted_result(m, sum, (double)a->full_scale[at] * range) *
             (double)a->compensation[at]; /* steps 7 and 8 */
    }
    return y;
}

enum status machine_multiply_reference(const struct machine *m, size_t matrix, const float *x, uint32_t tokens,
                                       uint64_t first_read, const struct stage_visitor *trace, double *y,
                                       struct error *e) {
    (void)first_read;
    (void)trace;
    if (!machine_is_analog(m, matrix)) {
        return error_set(e, ERR_USAGE, "multiply: matrix %zu is not analog", matrix);
    }
    const struct array *a = m->arrays[matrix];
    if (!m->ranges_set) {
        return error_set(e, ERR_RUN, "matrix %s: its converter ranges are not set: the chip needs a calibration first",
                         a->source.name);
    }
    struct column k;
    double *weight_scale = mem_alloc(a->row_blocks, sizeof *weight_scale);
    if (!weight_scale || !column_create(&k, a->inputs)) {
        mem_free(weight_scale);
        return error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    }
    enum status status = OK;
    for (uint32_t o = 0; status == OK && o < a->outputs; o++) {
        status = realise(m, matrix, o, &k, weight_scale, e);
        for (uint32_t t = 0; status == OK && t < tokens; t++) {
            y[(size_t)t * a->outputs + o] = multiply_column(m, a, &k, weight_scale, o, x + (size_t)t * a->inputs);
        }
    }
    column_destroy(&k);
    mem_free(weight_scale);
    return status;
}
