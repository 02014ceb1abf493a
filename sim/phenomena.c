/* Equations of aihwkit's tile (its C++ engine; M. Rasch et al., "A flexible and fast PyTorch toolkit for simulating
 * training and inference on analog crossbar arrays", AICAS 2021, and its documentation), in its order. x: inputs as
 * driven, w: weights, y: result of a column; p. = keys of tile.phenomena; xi: standard normal numbers.
 *
 *   input noise     x += p.input_noise xi                          input asymmetry   x < 0: x *= 1 - p.input_asymmetry
 *   IR drop         a = n / G sum |w||x|, G = p.ir_drop_g_ratio; c = 0.05 a^3 - 0.2 a^2 + 0.5 a;
 *                   y -= p.ir_drop c sum w x (1 - (1 - j/n)^2)     row n is the far end
 *   offset, series  v = voltage offset of the column, r = p.series_resistance, wm = p.voltage_offset_w_min
 *                   C(y) = min(r |y|, p.series_resistance_cap); the array is a column against a reference of weight wm:
 *                   wm = 0:  y = (1 - v) y / (1 + C(y));   else, with Y = -wm sum x:
 *                   y = (1 - v) (y + Y) / (1 + C(y + Y)) - (1 + v) Y / (1 + C(Y))
 *   weight noise    additive: y += p.weight_noise ||x|| xi;        PCM: y += p.weight_noise sqrt(sum |w| x^2) xi
 *                   (exactly what independent noise of every weight in every read would do)
 *   compression     n_i = |p.nonlinearity (1 + p.nonlinearity_spread xi)| / full scale; y = f^2 y / (1 + n_i |y|),
 *                   f = 1 + (mean of n over the tile + r) p.slope_calibration x full scale
 *   asymmetry       y < 0: y *= 1 - p.output_asymmetry
 *   noise           y += |p.output_noise (1 + p.output_noise_spread xi)| xi'
 *
 * f^2 is aihwkit's: the slope of y / (1 + n |y|) is (1 + n |y|)^-2. With r = 0 the offset equation of its code has no
 * capped terms, which is the same equation. Where columns have ADC ranges of their own, n x full scale is what is
 * averaged: the same for equal ranges. Which end of a column is the far one is not said by its documentation; here it
 * is the last row.
 */
#include "sim/phenomena.h"

#include <math.h>

#include "base/random.h"

struct phenomena_spec phenomena_active(const struct phenomena_spec *p, const struct effects *e) {
    struct phenomena_spec q = *p;
    if (!e->dac_errors) {
        q.input_noise = q.input_asymmetry = 0;
    }
    if (!e->wires) {
        q.ir_drop = 0;
    }
    if (!e->read_noise || q.weight_noise_type == WEIGHT_NOISE_NONE) {
        q.weight_noise = 0;
    }
    if (!e->adc_errors) {
        q.output_noise = q.output_asymmetry = q.nonlinearity = q.voltage_offset_spread = q.series_resistance = 0;
        q.read_asymmetry_spread = 0;
    }
    q.any = q.input_noise > 0 || q.input_asymmetry != 0 || q.ir_drop > 0 || q.weight_noise > 0 || q.output_noise > 0 ||
            q.output_asymmetry != 0 || q.nonlinearity > 0 || q.voltage_offset_spread > 0 || q.series_resistance > 0 ||
            q.read_asymmetry_spread > 0;
    return q;
}

void phenomena_columns(const struct phenomena_spec *p, uint64_t seed, uint64_t where, uint64_t first,
                       const double *full_scale, size_t n, struct phenomena_column *out) {
    uint64_t stream = random_stream(RANDOM_CONVERTER, where);
    double mean = 0; /* of nonlinearity x full scale */
    for (size_t i = 0; i < n; i++) {
        float z[PHENOMENA_DRAWS];
        random_gaussian_fill(seed, stream, PHENOMENA_DRAWS * (first + i), z, PHENOMENA_DRAWS);
        double compression = isfinite(full_scale[i]) && full_scale[i] > 0
                                 ? fabs(p->nonlinearity * (1 + p->nonlinearity_spread * (double)z[1]))
                                 : 0;
        out[i] = (struct phenomena_column){
            .noise_sd = fabs(p->output_noise * (1 + p->output_noise_spread * (double)z[0])),
            .nonlinearity = compression > 0 ? compression / full_scale[i] : 0,
            .voltage_offset = fmax(p->voltage_offset_spread * (double)z[2], 0),
        };
        mean += compression / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double series = isfinite(full_scale[i]) ? p->series_resistance * full_scale[i] : 0;
        double f = 1 + (mean + series) * p->slope_calibration;
        out[i].slope = f * f;
    }
}

void phenomena_inputs(const struct phenomena_spec *p, double *x, const double *z, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] += z ? p->input_noise * z[i] : 0;
        x[i] *= x[i] < 0 ? 1 - p->input_asymmetry : 1;
    }
}

void phenomena_sums(const double *w, const double *x, size_t n, struct phenomena_sums *out) {
    struct phenomena_sums s = {0};
    for (size_t j = 0; j < n; j++) {
        double near = 1 - (double)j / (double)n;
        s.product += w[j] * x[j];
        s.far += w[j] * x[j] * (1 - near * near);
        s.absolute += fabs(w[j]) * fabs(x[j]);
        s.inputs += x[j];
        s.squares += x[j] * x[j];
        s.weighted_squares += fabs(w[j]) * x[j] * x[j];
    }
    *out = s;
}

struct phenomena_needs phenomena_needs(const struct phenomena_spec *p) {
    bool reference = p->voltage_offset_spread > 0 || p->series_resistance > 0;
    return (struct phenomena_needs){
        .far = p->ir_drop > 0,
        .inputs = reference && p->voltage_offset_w_min != 0,
        .squares = p->weight_noise > 0 && p->weight_noise_type == WEIGHT_NOISE_ADDITIVE,
        .weighted_squares = p->weight_noise > 0 && p->weight_noise_type == WEIGHT_NOISE_PCM_READ,
    };
}

static double ir_drop(const struct phenomena_spec *p, const struct phenomena_sums *s, size_t rows) {
    double a = (double)rows / p->ir_drop_g_ratio * s->absolute;
    double c = ((0.05 * a - 0.2) * a + 0.5) * a;
    return p->ir_drop * c * s->far;
}

/* y through the series resistance of its column. */
static double in_series(const struct phenomena_spec *p, double y) {
    return y / (1 + fmin(p->series_resistance * fabs(y), p->series_resistance_cap));
}

static double offset_and_series(const struct phenomena_spec *p, double v, double y, double inputs) {
    double reference = -p->voltage_offset_w_min * inputs;
    return (1 - v) * in_series(p, y + reference) - (1 + v) * in_series(p, reference);
}

double phenomena_array(const struct phenomena_spec *p, const struct phenomena_column *k, const struct phenomena_sums *s,
                       size_t rows, double z) {
    double y = s->product;
    if (p->ir_drop > 0) {
        y -= ir_drop(p, s, rows);
    }
    if (k->voltage_offset > 0 || p->series_resistance > 0) {
        y = offset_and_series(p, k->voltage_offset, y, p->voltage_offset_w_min != 0 ? s->inputs : 0);
    }
    if (p->weight_noise > 0) {
        bool pcm = p->weight_noise_type == WEIGHT_NOISE_PCM_READ;
        y += p->weight_noise * sqrt(pcm ? s->weighted_squares : s->squares) * z;
    }
    return y;
}

double phenomena_output(const struct phenomena_spec *p, const struct phenomena_column *k, double y, double z) {
    y *= k->slope / (1 + k->nonlinearity * fabs(y));
    y *= y < 0 ? 1 - p->output_asymmetry : 1;
    return y + k->noise_sd * z;
}

/* ---- management ------------------------------------------------------------------------------------- */

/* What the inputs can add up to in the worst case decides, as long as a step of the DAC stays small against them. */
static double worst_case_scale(const struct management_spec *m, const double *x, size_t n, double largest,
                               double input_step, double full_scale) {
    double positive = 0, negative = 0;
    for (size_t i = 0; i < n; i++) {
        positive += fmax(x[i], 0);
        negative += fmax(-x[i], 0);
    }
    double wanted = fmax(positive, negative) * m->assumed_w_max / full_scale;
    double coarsest = input_step > 0 ? largest / input_step * m->max_resolution : (double)INFINITY;
    return fmax(largest, fmin(coarsest, wanted));
}

double management_scale(const struct management_spec *m, const double *x, size_t n, double input_step,
                        double full_scale, double *average) {
    double largest = 0, highest = n ? x[0] : 0, scale = 1;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(x[i]));
        highest = fmax(highest, x[i]);
    }
    switch ((enum noise_management)m->noise) {
    case NOISE_NONE:
        return 1;
    case NOISE_CONSTANT:
        return m->threshold > 0 ? m->threshold : 1;
    case NOISE_ABS_MAX:
        scale = largest;
        break;
    case NOISE_MAX:
        scale = highest;
        break;
    case NOISE_ABS_MAX_NP_SUM:
        scale = worst_case_scale(m, x, n, largest, input_step, full_scale);
        break;
    case NOISE_AVERAGE_ABS_MAX:
        *average = (1 - m->decay) * *average + m->decay * largest;
        scale = *average;
        break;
    }
    scale = m->threshold > 0 ? fmin(scale, m->threshold) : scale;
    return fmax(scale, 0);
}

void management_begin(struct management_loop *l) { *l = (struct management_loop){.factor = 1, .worst_case = false}; }

bool management_repeat(const struct management_spec *m, double input_step, bool clipped, struct management_loop *l) {
    double coarsest = input_step > 0 ? m->max_resolution / (2 * input_step) : (double)INFINITY;
    if (m->bound == BOUND_NONE || !clipped || l->factor > m->max_factor || l->factor > coarsest) {
        return false;
    }
    if (m->bound == BOUND_ITERATIVE_WORST_CASE && !l->worst_case) {
        l->worst_case = true; /* factor 1 again */
    } else {
        l->factor *= 2;
    }
    return true;
}
