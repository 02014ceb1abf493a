/* Ranges of the converters that cost least, and inputs that stay digital for the sake of the range.
 *
 * A static input range R with n steps of one sign turns x into q(x). Symbols: s_o = cost in nats of a squared error of
 * result o (below), w the weights on tiles, m_o the largest |w| of an output in the row block. The errors of a row
 * block cost
 *   J(R) = sum over i of h_i E[(x_i - q_R(x_i))^2] + sum over o of s_o E[(y_o - a_R(y_o))^2],  h_i = sum_o w_oi^2 s_o
 * a_R the ADC with limit lambda R m_o. E over the text, from histograms of |x_i| and of |y_o| / m_o: for a size v,
 * range r and step d = r / n the squared error is (v - r)^2 above r, v^2 below d / 2 (it is read as 0), else d^2 / 12;
 * what is clipped counts `clip` times. R is the best of a grid of 1/16 octave. Errors of different inputs count as
 * independent.
 *
 * s_o from the sensitivity of weights (fit_sensitivity.c): an error of y_o of variance u in every token, independent
 * between tokens, costs u/2 E[(dL/dy_o)^2]; with output_o = sum_i E[(dL/dy_o)^2] E[x_i^2] / 2,
 *   s_o = output_o / sum over i of E[x_i^2].
 *
 * Channels. A few inputs of language models are 10 to 1000 times as large as the others and decide R. Row block b keeps
 * the k inputs that reach furthest digital, k of LEVELS, for the least J_k + p k O, p the price of a digital weight
 * (fit_side.c). In J_k the ADC is expected not to clip. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

enum { LOWEST = -16, PER_OCTAVE = 8, PER_OCTAVE_RANGE = 16, RANGES = 9 * PER_OCTAVE_RANGE };

static const uint32_t LEVELS[FIT_LEVELS] = {0, 1, 2, 4, 8, 16};

/* Clipped inputs of the head: their errors are the same in most tokens and add up, which J does not know. Measured on
 * stories15M with 8-bit converters: see docs/adaptation.md. */
static const double HEAD_CLIP = 10;

struct fit_converters fit_converters_of(const struct chip_training *t, enum matrix_role role) {
    return (struct fit_converters){t->dac_steps, t->adc_steps, t->adc_bound, role == MATRIX_HEAD ? HEAD_CLIP : 1};
}

size_t fit_bin(float size) {
    uint32_t bits;
    memcpy(&bits, &size, sizeof bits);
    int bin = (int)(bits >> 20) - (127 + LOWEST) * PER_OCTAVE;
    return bin < 0 ? 0 : bin >= FIT_BINS ? FIT_BINS - 1 : (size_t)bin;
}

static double middle_of(size_t bin) {
    return ldexp(1 + ((double)(bin % PER_OCTAVE) + 0.5) / PER_OCTAVE, LOWEST + (int)(bin / PER_OCTAVE));
}

double fit_range_cost(const double *bins, double range, double steps, double clip) {
    double sum = 0, step = range / steps;
    for (size_t i = 1; i < FIT_BINS; i++) {
        double v = middle_of(i);
        double error = v > range ? clip * (v - range) * (v - range) : v < step / 2 ? v * v : step * step / 12;
        sum += bins[i] > 0 ? bins[i] * error : 0;
    }
    return sum;
}

static size_t top_bin(const double *bins) {
    size_t top = FIT_BINS - 1;
    while (top > 0 && !(bins[top] > 0)) {
        top--;
    }
    return top;
}

/* J of a range. */
static double cost_at(const struct fit_converters *c, const double *inputs, const double *results, double scale,
                      double range) {
    double sum = fit_range_cost(inputs, range, c->dac_steps, c->clip), limit = c->adc_bound * range;
    if (c->adc_steps > 0 && results) {
        sum += fit_range_cost(results, limit, c->adc_steps, 1);
    } else if (c->adc_steps > 0) {
        double step = limit / c->adc_steps;
        sum += scale * step * step / 12;
    }
    return sum;
}

double fit_best_range(const struct fit_converters *c, const double *inputs, const double *results, double scale,
                      double *cost) {
    double top = 4 * middle_of(top_bin(inputs)), best = top;
    *cost = (double)INFINITY;
    for (int k = 0; k < RANGES; k++) {
        double range = top * exp2(-(double)k / PER_OCTAVE_RANGE), now = cost_at(c, inputs, results, scale, range);
        best = now < *cost ? range : best;
        *cost = now < *cost ? now : *cost;
    }
    return best;
}

/* ---- weights on tiles: h, m ------------------------------------------------------------------------------ */

struct energy_job {
    const struct model *model;
    const struct chip *chip;
    const struct sensitivity *sensitivity;
    struct side_path *const *sides;
    struct fit_statistics *statistics;
    enum status *status; /* [matrices] */
    struct error *errors;
};

/* E |x|^2 over all inputs. */
static double input_energy(const struct fit_statistics *f, uint32_t inputs) {
    double sum = 0;
    for (size_t i = 0; i < inputs; i++) {
        for (size_t b = 1; b < FIT_BINS; b++) {
            double v = middle_of(b);
            sum += f->inputs[i * FIT_BINS + b] * v * v;
        }
    }
    return f->tokens > 0 ? sum / f->tokens : 0;
}

static void clear_digital(const struct side_path *side, uint32_t o, float *w) {
    for (uint32_t k = 0; side && k < side->channel_count; k++) {
        w[side->channels[k]] = 0;
    }
    for (uint32_t k = side ? side->weight_begin[o] : 0; side && k < side->weight_begin[o + 1]; k++) {
        w[side->weight_inputs[k]] = 0;
    }
}

static void add_output(const struct energy_job *j, size_t matrix, uint32_t o, const float *w) {
    const struct matrix_source *m = &j->model->sources[matrix];
    struct fit_statistics *f = &j->statistics[matrix];
    for (uint32_t b = 0; b < f->blocks; b++) {
        uint32_t end = chip_row_begin(j->chip, m->inputs, b + 1);
        float largest = 0;
        for (uint32_t i = chip_row_begin(j->chip, m->inputs, b); i < end; i++) {
            largest = fmaxf(largest, fabsf(w[i]));
            f->weight[i] += f->output_cost[o] * (double)w[i] * (double)w[i];
        }
        f->largest[(size_t)b * m->outputs + o] = largest;
        f->scale[b] += f->output_cost[o] * (double)largest * (double)largest;
    }
}

static enum status measure_weights(const struct energy_job *j, size_t matrix, float *w, struct error *e) {
    const struct matrix_source *m = &j->model->sources[matrix];
    struct fit_statistics *f = &j->statistics[matrix];
    double energy = input_energy(f, m->inputs);
    memset(f->weight, 0, m->inputs * sizeof *f->weight);
    memset(f->scale, 0, f->blocks * sizeof *f->scale);
    for (uint32_t o = 0; o < m->outputs; o++) {
        f->output_cost[o] = energy > 0 ? j->sensitivity[matrix].output[o] / energy : 0;
        TRY(m->read_rows(m->context, o, 1, w, e));
        clear_digital(j->sides ? j->sides[matrix] : NULL, o, w);
        add_output(j, matrix, o, w);
    }
    return OK;
}

static void measure_matrices(void *context, size_t begin, size_t end, int worker) {
    const struct energy_job *j = context;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        if (!j->statistics[i].inputs) {
            continue;
        }
        float *w = mem_alloc(j->model->sources[i].inputs, sizeof *w);
        j->status[i] = w ? measure_weights(j, i, w, &j->errors[i])
                         : error_set(&j->errors[i], ERR_RUN, "adapt fit: out of memory");
        mem_free(w);
    }
}

enum status fit_measure_weights(const struct model *m, const struct chip *c, const struct sensitivity *v,
                                struct side_path *const *sides, struct fit_statistics *f, struct error *e) {
    struct energy_job j = {.model = m, .chip = c, .sensitivity = v, .sides = sides, .statistics = f};
    j.status = mem_alloc(m->matrix_count, sizeof *j.status);
    j.errors = mem_alloc(m->matrix_count, sizeof *j.errors);
    enum status status = j.status && j.errors ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
    if (status == OK) {
        parallel_for(m->matrix_count, 1, 0, measure_matrices, &j);
    }
    for (size_t i = 0; status == OK && i < m->matrix_count; i++) {
        status = j.status[i];
        *e = status == OK ? *e : j.errors[i];
    }
    mem_free(j.status);
    mem_free(j.errors);
    return status;
}

/* ---- channels ------------------------------------------------------------------------------------------- */

/* Adds `factor` times the sizes of input i, weighted. */
static void add_input(const struct fit_statistics *f, size_t i, double factor, double *bins) {
    double weight = factor * f->weight[i] / f->tokens;
    for (size_t b = 0; b < FIT_BINS; b++) {
        bins[b] += weight * f->inputs[i * FIT_BINS + b];
    }
}

static size_t reach_of(const struct fit_statistics *f, size_t i) {
    size_t top = FIT_BINS - 1;
    while (top > 0 && !f->inputs[i * FIT_BINS + top]) {
        top--;
    }
    return top;
}

/* Of inputs [first, end), the one that is not marked and reaches furthest. */
static uint32_t furthest(const struct fit_statistics *f, uint32_t first, uint32_t end, const uint8_t *marked) {
    uint32_t best = end;
    size_t reach = 0;
    for (uint32_t i = first; i < end; i++) {
        size_t now = marked[i] ? 0 : reach_of(f, i);
        if (!marked[i] && (best == end || now > reach)) {
            best = i;
            reach = now;
        }
    }
    return best;
}

/* Sizes of all driven inputs of a block. */
static void block_bins(const struct fit_statistics *f, uint32_t first, uint32_t end, const uint8_t *digital,
                       double *bins) {
    memset(bins, 0, FIT_BINS * sizeof *bins);
    for (uint32_t i = first; i < end; i++) {
        if (!digital || !digital[i]) {
            add_input(f, i, 1, bins);
        }
    }
}

static void make_menu(const struct fit_converters *c, struct fit_statistics *f, uint32_t b, uint32_t first,
                      uint32_t end, uint8_t *marked) {
    double bins[FIT_BINS];
    uint32_t taken = 0;
    memset(marked + first, 0, end - first);
    for (size_t level = 0; level < FIT_LEVELS; level++) {
        if (LEVELS[level] >= end - first) { /* something has to be left for the tile */
            f->menu[b * FIT_LEVELS + level] = (double)INFINITY;
            continue;
        }
        for (; taken < LEVELS[level]; taken++) {
            uint32_t i = furthest(f, first, end, marked);
            marked[i] = 1;
            f->ranked[b * FIT_CHANNELS + taken] = i;
        }
        block_bins(f, first, end, marked, bins);
        fit_best_range(c, bins, NULL, f->scale[b], &f->menu[b * FIT_LEVELS + level]);
    }
}

enum status fit_channel_menu(const struct model *m, const struct chip *chip, const struct chip_training *t,
                             struct fit_statistics *f, struct error *e) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        uint32_t inputs = m->sources[i].inputs;
        const struct fit_converters c = fit_converters_of(t, m->sources[i].role);
        uint8_t *marked = f[i].inputs ? mem_alloc(inputs, 1) : NULL;
        if (f[i].inputs && !marked) {
            return error_set(e, ERR_RUN, "adapt fit: out of memory");
        }
        for (uint32_t b = 0; b < f[i].blocks; b++) {
            make_menu(&c, &f[i], b, chip_row_begin(chip, inputs, b), chip_row_begin(chip, inputs, b + 1), marked);
        }
        mem_free(marked);
        f[i].menu_made = true;
        TRY(check_interrupted(e));
    }
    return OK;
}

uint32_t fit_take_channels(const struct fit_statistics *f, uint32_t outputs, double price, uint8_t *digital) {
    uint32_t count = 0;
    for (uint32_t b = 0; f->menu_made && b < f->blocks; b++) {
        size_t best = 0;
        double least = (double)INFINITY;
        for (size_t k = 0; k < FIT_LEVELS; k++) {
            double cost = f->menu[b * FIT_LEVELS + k] + price * LEVELS[k] * outputs;
            best = cost < least ? k : best;
            least = fmin(least, cost);
        }
        for (uint32_t k = 0; k < LEVELS[best]; k++) {
            digital[f->ranked[b * FIT_CHANNELS + k]] = 1;
        }
        count += LEVELS[best];
    }
    return count;
}

/* ---- ranges --------------------------------------------------------------------------------------------- */

enum status fit_ranges(const struct model *m, const struct chip *chip, const struct chip_training *t,
                       struct side_path *const *sides, struct fit_statistics *f, double *cost, struct error *e) {
    *cost = 0;
    for (size_t i = 0; i < m->matrix_count; i++) {
        uint32_t inputs = m->sources[i].inputs;
        const struct fit_converters c = fit_converters_of(t, m->sources[i].role);
        uint8_t *digital = f[i].inputs ? mem_alloc(inputs, 1) : NULL;
        if (f[i].inputs && !digital) {
            return error_set(e, ERR_RUN, "adapt fit: out of memory");
        }
        for (uint32_t k = 0; digital && sides && k < sides[i]->channel_count; k++) {
            digital[sides[i]->channels[k]] = 1;
        }
        for (uint32_t b = 0; b < f[i].blocks; b++) {
            double bins[FIT_BINS], least;
            block_bins(&f[i], chip_row_begin(chip, inputs, b), chip_row_begin(chip, inputs, b + 1), digital, bins);
            const double *results = f[i].results ? fit_block_results(&f[i], b) : NULL;
            f[i].ranges[b] = (float)fit_best_range(&c, bins, results, f[i].scale[b], &least);
            *cost += least;
        }
        mem_free(digital);
    }
    return OK;
}
