/* Ranges of the converters that cost least, and inputs that stay digital for the sake of the range.
 *
 * A static input range R with n steps of one sign turns x into q(x). Symbols: s_o = cost in nats of a squared error of
 * result o (fit_sensitivity.c), w the weights on tiles, m_o the largest |w| of an output in the row block. Conversions
 * of a row block cost
 *   J(R) = sum over i of h_i (E[(x_i - q_R(x_i))^2] - u_i^2) + c sum over o of s_o (sum over i of w_oi u_i)^2
 *          h_i = sum over o of s_o w_oi^2,   u_i = E[x_i - clamp(x_i, -R, R)]
 *   K(L) = sum over o of s_o E[(y_o - a_L(y_o))^2],   a_L the ADC with limits -L m_o, L m_o
 * E over the text, from histograms of |x_i| and of |y_o| / m_o: for a size v, range r and step d = r / n the squared
 * error is (v - r)^2 above r, v^2 below d / 2 (it is read as 0), else d^2 / 12. What clipping takes off on average,
 * u_i, is the same in all tokens: a few inputs of language models are large in every token and of one sign, and their
 * errors add up. The rest counts as independent from input to input. R and L are the best of a grid of 1/16 octave, R
 * with the mean part left out, then the best of WIDENINGS ranges from there upwards with it. L / R is the lambda of
 * the block.
 *
 * Channels. Those few inputs decide R. Row block b keeps the k inputs that reach furthest digital, k of LEVELS, for the
 * least J_k + p k, p the price of a channel (fit_side.c). In J_k results y are not known: the ADC is expected
 * not to clip with the chip's lambda, and to round in steps of lambda R m_o / n; mean parts are left out. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

enum { LOWEST = -16, PER_OCTAVE = 8, PER_OCTAVE_RANGE = 16, RANGES = 9 * PER_OCTAVE_RANGE, WIDENINGS = 25 };

static const uint32_t LEVELS[FIT_LEVELS] = {0, 1, 2, 4, 8, 16};

struct fit_converters fit_converters_of(const struct chip_training *t) {
    return (struct fit_converters){t->dac_steps, t->adc_steps, t->adc_bound};
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

double fit_range_cost(const double *bins, double range, double steps) {
    double sum = 0, step = range / steps;
    for (size_t i = 1; i < FIT_BINS; i++) {
        double v = middle_of(i);
        double error = v > range ? (v - range) * (v - range) : v < step / 2 ? v * v : step * step / 12;
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

/* J of a range without mean parts; scale: sum of s_o m_o^2 where results are not known, else 0. */
static double cost_at(const struct fit_converters *c, const double *inputs, double scale, double range) {
    double step = c->adc_steps > 0 ? c->adc_bound * range / c->adc_steps : 0;
    return fit_range_cost(inputs, range, c->dac_steps) + scale * step * step / 12;
}

static double best_on_grid(const struct fit_converters *c, const double *bins, double scale, double *cost) {
    double top = 4 * middle_of(top_bin(bins)), best = top;
    *cost = (double)INFINITY;
    for (int k = 0; k < RANGES; k++) {
        double range = top * exp2(-(double)k / PER_OCTAVE_RANGE), now = cost_at(c, bins, scale, range);
        best = now < *cost ? range : best;
        *cost = now < *cost ? now : *cost;
    }
    return best;
}

double fit_best_range(const struct fit_converters *c, const double *inputs, double scale, double *cost) {
    return best_on_grid(c, inputs, scale, cost);
}

double fit_best_limit(const struct fit_converters *c, const double *results, double *cost) {
    const struct fit_converters adc = {.dac_steps = c->adc_steps};
    return best_on_grid(&adc, results, 0, cost);
}

/* ---- weights on tiles: h, m ------------------------------------------------------------------------------ */

/* A piece of work for every matrix on tiles, matrices shared out over threads. */
struct matrix_job {
    const struct model *model;
    const struct chip *chip;
    const struct sensitivity *sensitivity;
    const struct fit_converters *converters;
    const struct fit_noise *noise;
    struct side_path *const *sides;
    struct fit_statistics *statistics;
    enum status (*body)(const struct matrix_job *j, size_t matrix, struct error *e);
    enum status *status; /* [matrices] */
    struct error *errors;
};

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "adapt fit: out of memory"); }

static void run_matrices(void *context, size_t begin, size_t end, int worker) {
    const struct matrix_job *j = context;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        j->status[i] = j->statistics[i].inputs ? j->body(j, i, &j->errors[i]) : OK;
    }
}

static enum status for_all_matrices(struct matrix_job *j, struct error *e) {
    size_t count = j->model->matrix_count;
    j->status = mem_alloc(count, sizeof *j->status);
    j->errors = mem_alloc(count, sizeof *j->errors);
    enum status status = j->status && j->errors ? OK : no_memory(e);
    if (status == OK) {
        parallel_for(count, 1, 0, run_matrices, j);
    }
    for (size_t i = 0; status == OK && i < count; i++) {
        status = j->status[i];
        *e = status == OK ? *e : j->errors[i];
    }
    mem_free(j->status);
    mem_free(j->errors);
    return status;
}

static void clear_digital(const struct side_path *side, uint32_t o, float *w) {
    for (uint32_t k = 0; side && k < side->channel_count; k++) {
        w[side->channels[k]] = 0;
    }
    for (uint32_t k = side ? side->weight_begin[o] : 0; side && k < side->weight_begin[o + 1]; k++) {
        w[side->weight_inputs[k]] = 0;
    }
}

/* What noise of weights [first, end) of an output costs, of which `largest` is the largest. */
static double noise_cost(const struct matrix_job *j, size_t matrix, uint32_t o, const float *w, uint32_t first,
                         uint32_t end, float largest) {
    const struct sensitivity *v = &j->sensitivity[matrix];
    float inverse = largest > 0 ? 1 / largest : 0;
    double sum = 0;
    for (uint32_t i = first; i < end; i++) { /* digital ones have the target 0, and its noise */
        sum += v->input[i] * (double)fit_variance(j->noise, fminf(fabsf(w[i]) * inverse, 1));
    }
    double share = chip_noise_share(j->chip, j->statistics[matrix].devices);
    return share * v->output[o] * (double)largest * (double)largest * sum;
}

static void add_output(const struct matrix_job *j, size_t matrix, uint32_t o, const float *w) {
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
        f->noise += noise_cost(j, matrix, o, w, chip_row_begin(j->chip, m->inputs, b), end, largest);
    }
}

static enum status measure_weights(const struct matrix_job *j, size_t matrix, struct error *e) {
    const struct matrix_source *m = &j->model->sources[matrix];
    struct fit_statistics *f = &j->statistics[matrix];
    float *w = mem_alloc(m->inputs, sizeof *w);
    enum status status = w ? OK : no_memory(e);
    memset(f->weight, 0, m->inputs * sizeof *f->weight);
    memset(f->scale, 0, f->blocks * sizeof *f->scale);
    f->noise = 0;
    for (uint32_t o = 0; o < m->outputs && status == OK; o++) {
        f->output_cost[o] = j->sensitivity[matrix].result[o];
        status = m->read_rows(m->context, o, 1, w, e);
        if (status == OK) {
            clear_digital(j->sides ? j->sides[matrix] : NULL, o, w);
            add_output(j, matrix, o, w);
        }
    }
    mem_free(w);
    return status;
}

enum status fit_measure_weights(const struct model *m, const struct chip *c, const struct sensitivity *v,
                                struct side_path *const *sides, struct fit_statistics *f, struct error *e) {
    struct fit_noise noise;
    struct matrix_job j = {.model = m, .chip = c, .sensitivity = v, .noise = &noise, .sides = sides, .statistics = f,
                           .body = measure_weights};
    TRY(fit_noise_of(c, &noise, e));
    return for_all_matrices(&j, e);
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
        fit_best_range(c, bins, f->scale[b], &f->menu[b * FIT_LEVELS + level]);
    }
}

enum status fit_channel_menu(const struct model *m, const struct chip *chip, const struct chip_training *t,
                             struct fit_statistics *f, struct error *e) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        uint32_t inputs = m->sources[i].inputs;
        const struct fit_converters c = fit_converters_of(t);
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

uint32_t fit_take_channels(const struct fit_statistics *f, double price, uint8_t *digital, double *saved) {
    uint32_t count = 0;
    *saved = 0;
    for (uint32_t b = 0; f->menu_made && b < f->blocks; b++) {
        size_t best = 0;
        double least = (double)INFINITY;
        for (size_t k = 0; k < FIT_LEVELS; k++) {
            double cost = f->menu[b * FIT_LEVELS + k] + price * LEVELS[k];
            best = cost < least ? k : best;
            least = fmin(least, cost);
        }
        for (uint32_t k = 0; k < LEVELS[best]; k++) {
            digital[f->ranked[b * FIT_CHANNELS + k]] = 1;
        }
        *saved += f->menu[b * FIT_LEVELS] - f->menu[b * FIT_LEVELS + best];
        count += LEVELS[best];
    }
    return count;
}

/* ---- mean parts ----------------------------------------------------------------------------------------- */

/* Candidates for the range of a block, and what they cost. */
struct widening {
    uint32_t first, count;     /* inputs of the block */
    double range[WIDENINGS], cost[WIDENINGS];
    uint32_t clipped;          /* inputs that the first range clips to one side on average */
    uint32_t *input;           /* [clipped] */
    float *mean;               /* [clipped][WIDENINGS] u_i */
};

/* u_i */
static double mean_clipped(const struct fit_statistics *f, size_t i, double range) {
    double sum = 0;
    for (size_t b = 1; b < FIT_BINS; b++) {
        double v = middle_of(b);
        sum += v > range ? f->signs[i * FIT_BINS + b] * (v - range) : 0;
    }
    return sum / f->tokens;
}

/* Takes the mean parts out of the independent ones. */
static void find_clipped(const struct fit_statistics *f, const uint8_t *digital, struct widening *w) {
    w->clipped = 0;
    for (uint32_t i = w->first; i < w->first + w->count; i++) {
        float *mean = w->mean + (size_t)w->clipped * WIDENINGS;
        for (size_t k = 0; !digital[i] && k < WIDENINGS; k++) {
            double u = mean_clipped(f, i, w->range[k]);
            mean[k] = (float)u;
            w->cost[k] -= f->weight[i] * u * u;
        }
        if (!digital[i] && mean[0] != 0) {
            w->input[w->clipped++] = i;
        }
    }
}

/* c sum over o of s_o (sum over i of w_oi u_i)^2 */
static enum status add_means(const struct matrix_job *j, size_t matrix, struct widening *c, float *w, struct error *e) {
    const struct matrix_source *m = &j->model->sources[matrix];
    double together = j->sensitivity[matrix].together;
    for (uint32_t o = 0; c->clipped && o < m->outputs; o++) {
        double sum[WIDENINGS] = {0};
        TRY(m->read_rows(m->context, o, 1, w, e));
        clear_digital(j->sides ? j->sides[matrix] : NULL, o, w);
        for (uint32_t n = 0; n < c->clipped; n++) {
            for (size_t k = 0; k < WIDENINGS; k++) {
                sum[k] += (double)w[c->input[n]] * (double)c->mean[n * WIDENINGS + k];
            }
        }
        for (size_t k = 0; k < WIDENINGS; k++) {
            c->cost[k] += together * j->sensitivity[matrix].result[o] * sum[k] * sum[k];
        }
    }
    return OK;
}

/* ---- ranges --------------------------------------------------------------------------------------------- */

/* What the largest input as range and the chip's lambda cost. Nothing is clipped then. */
static double plain_cost(const struct fit_converters *c, struct fit_statistics *f, uint32_t b, const double *bins) {
    double range = middle_of(top_bin(bins));
    double inputs = fit_range_cost(bins, range, c->dac_steps);
    bool adc = c->adc_steps > 0 && f->results;
    return inputs + (adc ? fit_range_cost(fit_block_results(f, b), c->adc_bound * range, c->adc_steps) : 0);
}

static enum status choose_range(const struct matrix_job *j, size_t matrix, uint32_t b, const uint8_t *digital,
                                struct widening *c, float *row, struct error *e) {
    struct fit_statistics *f = &j->statistics[matrix];
    double bins[FIT_BINS], least, scale = f->results ? 0 : f->scale[b];
    c->first = chip_row_begin(j->chip, j->model->sources[matrix].inputs, b);
    c->count = chip_row_begin(j->chip, j->model->sources[matrix].inputs, b + 1) - c->first;
    block_bins(f, c->first, c->first + c->count, digital, bins);
    double start = fit_best_range(j->converters, bins, scale, &least);
    for (size_t k = 0; k < WIDENINGS; k++) {
        c->range[k] = start * exp2((double)k / 8);
        c->cost[k] = cost_at(j->converters, bins, scale, c->range[k]);
    }
    find_clipped(f, digital, c);
    TRY(add_means(j, matrix, c, row, e));
    size_t best = 0;
    for (size_t k = 1; k < WIDENINGS; k++) {
        best = c->cost[k] < c->cost[best] ? k : best;
    }
    f->ranges[b] = (float)c->range[best];
    f->cost += c->cost[best];
    f->plain_cost += plain_cost(j->converters, f, b, bins);
    return OK;
}

/* Limits of the ADCs from results, once they are known. */
static void choose_limit(const struct fit_converters *c, struct fit_statistics *f, uint32_t b) {
    double cost;
    if (c->adc_steps > 0 && f->results) {
        f->limits[b] = (float)fit_best_limit(c, fit_block_results(f, b), &cost);
        f->cost += cost;
    } else {
        f->limits[b] = (float)c->adc_bound * f->ranges[b];
    }
}

static enum status matrix_ranges(const struct matrix_job *j, size_t matrix, struct error *e) {
    const struct side_path *side = j->sides ? j->sides[matrix] : NULL;
    struct fit_statistics *f = &j->statistics[matrix];
    uint32_t inputs = j->model->sources[matrix].inputs;
    uint8_t *digital = mem_alloc(inputs, 1);
    float *row = mem_alloc(inputs, sizeof *row);
    struct widening c = {.input = mem_alloc(inputs, sizeof *c.input),
                         .mean = mem_alloc(inputs, WIDENINGS * sizeof *c.mean)};
    enum status status = digital && row && c.input && c.mean ? OK : no_memory(e);
    for (uint32_t k = 0; status == OK && side && k < side->channel_count; k++) {
        digital[side->channels[k]] = 1;
    }
    f->cost = f->plain_cost = 0;
    for (uint32_t b = 0; b < f->blocks && status == OK; b++) {
        status = choose_range(j, matrix, b, digital, &c, row, e);
        choose_limit(j->converters, f, b);
    }
    mem_free(digital);
    mem_free(row);
    mem_free(c.input);
    mem_free(c.mean);
    return status;
}

enum status fit_ranges(const struct model *m, const struct chip *chip, const struct chip_training *t,
                       const struct sensitivity *v, struct side_path *const *sides, struct fit_statistics *f,
                       struct error *e) {
    const struct fit_converters c = fit_converters_of(t);
    struct matrix_job j = {.model = m, .chip = chip, .sensitivity = v, .converters = &c, .sides = sides,
                           .statistics = f, .body = matrix_ranges};
    return for_all_matrices(&j, e);
}
