/* Which weights stay digital.
 *
 * Let v_oi = output_o input_i be the cost of a squared error (fit_sensitivity.c), m the largest |w| that an output has
 * on a tile, s(|w|/m) m the standard deviation that programming leaves on a weight (the chip's cell). A column of n
 * weights on the tile costs
 *   J = sum over i on the tile of v_oi m^2 s^2(|w_oi| / m)       nats per token, to second order
 * A digital weight saves its own term; the largest ones save more, because m falls for all. With a price p per digital
 * weight the best choice for a column is exact: for a bound m, weights above it are digital, that at m is not, and of
 * the smaller ones those whose terms are above p;
 *   min over m of  p #(|w| > m) + v_oi m^2 s^2(1) + sum over |w| < m of min(p, v_oi m^2 s^2(|w| / m)).
 * m is searched among the 1st, 2nd, ... largest |w| on a grid of ranks (CUTS), and 0: all digital.
 *
 * Prices are what things cost in joules (fit_prices.c) times what a joule is worth in nats. That worth is the same
 * everywhere, in all columns of all matrices: then no joule would save more elsewhere (Lagrange; Everett 1963). Of a
 * matrix the channels are chosen first (fit_ranges.c), then its weights; they stay on the tile if together they save
 * less than the lists cost, and so does all of it if it saves less than adding it to the results. The worth is found by
 * bisection on a sample of the outputs, then raised until the whole model keeps within the share of multiplications.
 *
 * Input ranges, ADC steps and the correlation between inputs are not in J. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/sort.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

enum {
    SAMPLE = 1 << 21,     /* weights that a step of the bisection looks at, about */
    BISECTIONS = 22,
    OUTPUTS_AT_ONCE = 16
};

static const uint32_t CUTS[] = {0, 1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 181, 256};
enum { CUT_COUNT = sizeof CUTS / sizeof CUTS[0] };

struct search {
    const struct model *model;
    const struct chip *chip;
    const struct sensitivity *sensitivity;
    struct fit_noise noise;     /* s^2 */
    const struct fit_price *prices; /* [matrices] */
    double worth;               /* nats per token and unit of price */
    double price;               /* nats per token, of a weight of the matrix */
    bool weights;               /* single weights may stay digital */
    const struct fit_statistics *statistics; /* [matrices] */
    size_t matrix;
    uint8_t *digital;           /* [inputs] channels of the matrix */
    double *input;              /* [inputs] sensitivities of it, 0 for channels */
    uint32_t channels;
    double *channels_saved;     /* [matrices] nats per token */
    bool *taken;                /* [matrices] whether it has channels */
    uint32_t stride;            /* every so many outputs */
    float *scratch;             /* [threads][2 x largest inputs] */
    size_t scratch_floats;
    uint32_t *counts;           /* [outputs of all matrices] how many weights are digital, and ... */
    float *bounds;              /* [outputs of all matrices][blocks] m: of the last choice of all outputs */
    double *saves;              /* [outputs of all matrices] nats per token that they save, less their price */
    uint32_t *listed;           /* those of the matrix */
    float *bound;
    double *saved;
    uint32_t *inputs;           /* where its lists go */
    const uint32_t *begin;      /* [outputs + 1] of the lists */
    enum status *status;        /* [threads] */
    struct error *errors;       /* [threads] */
};

/* What a column costs with bound m. listed: how many of its weights are digital. */
static double cost_of(const struct search *s, double price, const float *w, const double *v, uint32_t n, double scale,
                      float m, uint32_t *listed) {
    double unit = scale * (double)m * (double)m;
    float inverse = m > 0 ? 1 / m : 0;
    uint32_t count = 0;
    double noise = 0;
    for (uint32_t i = 0; i < n; i++) {
        float size = fabsf(w[i]);
        double variance = (double)fit_variance(&s->noise, fminf(size * inverse, 1));
        double term = size > m ? (double)INFINITY : unit * v[i] * variance;
        bool digital = term > price && size != m;
        count += digital;
        noise += digital ? 0 : term;
    }
    *listed = count;
    return noise + price * count;
}

struct column_choice {
    float bound;
    uint32_t listed;
    double saved; /* less the price */
};

/* w, v [n]: weights and input factors of one output in one row block. sorted: scratch [n]. */
static struct column_choice choose_column(const struct search *s, const float *w, const double *v, uint32_t n,
                                          double scale, float *sorted) {
    struct column_choice best = {0};
    double least = (double)INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = fabsf(w[i]);
    }
    sort_floats(sorted, n);
    for (size_t k = 0; k <= CUT_COUNT; k++) {
        uint32_t above = k < CUT_COUNT && CUTS[k] < n ? CUTS[k] : n;
        struct column_choice c = {.bound = above < n ? sorted[n - 1 - above] : 0};
        double cost = cost_of(s, s->price, w, v, n, scale, c.bound, &c.listed);
        if (cost < least) {
            least = cost;
            best = c;
        }
        if (above == n || above * s->price > least) { /* larger cuts cost more than all that is left to save */
            break;
        }
    }
    if (best.listed > 0) {
        uint32_t none;
        best.saved = cost_of(s, DBL_MAX, w, v, n, scale, sorted[n - 1], &none) - least;
    }
    return best;
}

static uint32_t *list_column(const struct search *s, const float *w, const double *v, uint32_t first, uint32_t n,
                             double scale, float m, uint32_t *at) {
    double unit = scale * (double)m * (double)m;
    float inverse = m > 0 ? 1 / m : 0;
    for (uint32_t i = 0; i < n; i++) {
        float size = fabsf(w[i]);
        double term = unit * v[i] * (double)fit_variance(&s->noise, fminf(size * inverse, 1));
        if (size > m || (size < m && term > s->price)) {
            *at++ = first + i;
        }
    }
    return at;
}

/* A row of the matrix without channels. */
static enum status read_output(const struct search *s, uint32_t o, float *w, struct error *e) {
    const struct matrix_source *m = &s->model->sources[s->matrix];
    TRY(m->read_rows(m->context, o, 1, w, e));
    for (uint32_t i = 0; s->channels && i < m->inputs; i++) {
        w[i] = s->digital[i] ? 0 : w[i];
    }
    return OK;
}

/* The sensitivity of an output, smaller where several devices hold a weight. */
static double output_cost(const struct search *s, uint32_t o) {
    return s->sensitivity[s->matrix].output[o] * chip_noise_share(s->chip, s->statistics[s->matrix].devices);
}

static enum status choose_output(const struct search *s, uint32_t o, float *w, float *sorted, struct error *e) {
    uint32_t inputs = s->model->sources[s->matrix].inputs, blocks = chip_row_blocks(s->chip, inputs);
    double scale = output_cost(s, o);
    TRY(read_output(s, o, w, e));
    s->listed[o] = 0;
    s->saved[o] = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t first = chip_row_begin(s->chip, inputs, b), n = chip_row_begin(s->chip, inputs, b + 1) - first;
        struct column_choice c = choose_column(s, w + first, s->input + first, n, scale, sorted);
        s->bound[(size_t)o * blocks + b] = c.bound;
        s->listed[o] += c.listed;
        s->saved[o] += c.saved;
    }
    return OK;
}

static void choose_outputs(void *context, size_t begin, size_t end, int worker) {
    const struct search *s = context;
    float *w = s->scratch + (size_t)worker * s->scratch_floats, *sorted = w + s->scratch_floats / 2;
    for (size_t k = begin; k < end && s->status[worker] == OK; k++) {
        s->status[worker] = choose_output(s, (uint32_t)k * s->stride, w, sorted, &s->errors[worker]);
    }
}

static void list_outputs(void *context, size_t begin, size_t end, int worker) {
    const struct search *s = context;
    uint32_t inputs = s->model->sources[s->matrix].inputs, blocks = chip_row_blocks(s->chip, inputs);
    float *w = s->scratch + (size_t)worker * s->scratch_floats;
    for (size_t o = begin; o < end && s->status[worker] == OK; o++) {
        uint32_t *at = s->inputs + s->begin[o];
        s->status[worker] = read_output(s, (uint32_t)o, w, &s->errors[worker]);
        for (uint32_t b = 0; b < blocks && s->listed[o] > 0 && s->status[worker] == OK; b++) {
            uint32_t first = chip_row_begin(s->chip, inputs, b), n = chip_row_begin(s->chip, inputs, b + 1) - first;
            at = list_column(s, w + first, s->input + first, first, n, output_cost(s, (uint32_t)o),
                             s->bound[o * blocks + b], at);
        }
    }
}

/* The channels of a matrix at present prices: what is theirs does not count for single weights. */
static void take_channels(struct search *s, size_t matrix) {
    uint32_t inputs = s->model->sources[matrix].inputs;
    memset(s->digital, 0, inputs);
    s->channels = fit_take_channels(&s->statistics[matrix], s->worth * s->prices[matrix].channel, s->digital,
                                    &s->channels_saved[matrix]);
    for (uint32_t i = 0; i < inputs; i++) {
        s->input[i] = s->digital[i] ? 0 : s->sensitivity[matrix].input[i];
    }
}

static enum status first_error(const struct search *s, struct error *e) {
    for (int i = 0; i < threads_count(); i++) {
        if (s->status[i] != OK) {
            *e = s->errors[i];
            return s->status[i];
        }
    }
    return OK;
}

/* Makes a matrix the present one, after the one before it in the model. */
static void go_to(struct search *s, size_t matrix) {
    const struct matrix_source *before = matrix > 0 ? &s->model->sources[matrix - 1] : NULL;
    s->listed = before ? s->listed + before->outputs : s->counts;
    s->bound = before ? s->bound + (size_t)before->outputs * chip_row_blocks(s->chip, before->inputs) : s->bounds;
    s->saved = before ? s->saved + before->outputs : s->saves;
    s->matrix = matrix;
    s->price = s->weights ? s->worth * s->prices[matrix].weight : DBL_MAX;
    take_channels(s, matrix);
}

static bool on_tiles(const struct search *s, size_t matrix) {
    return chip_is_analog(s->chip, s->model->sources[matrix].role);
}

/* Of all matrices on tiles, from the outputs that were looked at. */
struct totals { double listed, weights; };

static void drop_channels(struct search *s) {
    memset(s->digital, 0, s->model->sources[s->matrix].inputs);
    s->channels = 0;
    s->channels_saved[s->matrix] = 0;
}

static void unlist(const struct search *s) {
    for (uint32_t o = 0; o < s->model->sources[s->matrix].outputs; o += s->stride) {
        s->listed[o] = 0;
    }
}

/* Gives up what saves less than it costs once for the matrix, and adds up the rest. */
static void settle(struct search *s, struct totals *t) {
    const struct matrix_source *m = &s->model->sources[s->matrix];
    const struct fit_price *p = &s->prices[s->matrix];
    double outputs = 0, weights = 0, saved = 0;
    for (uint32_t o = 0; o < m->outputs; o += s->stride) {
        outputs++;
        weights += s->listed[o];
        saved += s->saved[o];
    }
    weights *= m->outputs / outputs;
    saved = saved * m->outputs / outputs - (weights > 0 ? s->worth * p->lists : 0);
    if (saved < 0) {
        unlist(s);
        weights = saved = 0;
    }
    double channels_save = s->channels_saved[s->matrix] - s->worth * p->channel * s->channels;
    if (saved + channels_save < s->worth * p->sums) {
        unlist(s);
        drop_channels(s);
        weights = 0;
    }
    s->taken[s->matrix] = s->channels > 0;
    t->listed += weights + (double)s->channels * m->outputs;
    t->weights += (double)m->outputs * m->inputs;
}

static enum status choose_all(struct search *s, uint32_t stride, struct totals *t, struct error *e) {
    *t = (struct totals){0};
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        uint32_t outputs = s->model->sources[i].outputs;
        go_to(s, i);
        s->stride = stride;
        if (on_tiles(s, i)) {
            parallel_for((outputs + stride - 1) / stride, OUTPUTS_AT_ONCE, 0, choose_outputs, s);
            TRY(first_error(s, e));
            settle(s, t);
        }
    }
    return OK;
}

/* Bisection of the logarithm, between 1e-20 nats per multiplication and 1e15 per joule; the share falls as it rises. */
static enum status find_worth(struct search *s, double share, struct totals *t, struct error *e) {
    double weights = 0, low = log(1e-20), high = log(1e15);
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        weights += on_tiles(s, i) ? (double)s->model->sources[i].outputs * s->model->sources[i].inputs : 0;
    }
    uint32_t stride = (uint32_t)fmax(1, weights / SAMPLE);
    for (int i = 0; i < BISECTIONS; i++) {
        s->worth = exp((low + high) / 2);
        TRY(choose_all(s, stride, t, e));
        *(t->listed > share * t->weights ? &low : &high) = log(s->worth);
        TRY(check_interrupted(e));
    }
    for (;;) { /* the sample may be a little off: the share falls about as the root of the worth */
        s->worth = exp(high);
        TRY(choose_all(s, 1, t, e));
        if (t->listed <= share * t->weights) {
            return OK;
        }
        high += fmax(0.01, 2 * log(t->listed / (share * t->weights)));
    }
}

/* ---- lists -------------------------------------------------------------------------------------------- */

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "adapt fit: out of memory"); }

static uint32_t list_channels(const struct search *s, uint32_t *channels) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->model->sources[s->matrix].inputs; i++) {
        if (s->digital[i]) {
            channels[count++] = i;
        }
    }
    return count;
}

/* Of the present matrix, as it was chosen last. */
static enum status list_matrix(struct search *s, struct side_path **out, struct error *e) {
    uint32_t outputs = s->model->sources[s->matrix].outputs;
    size_t count = 0;
    for (uint32_t o = 0; o < outputs; o++) {
        count += s->listed[o];
    }
    if (count > UINT32_MAX - outputs) {
        return error_set(e, ERR_RUN, "matrix %s: %zu digital weights (allowed: below 2^32)",
                         s->model->sources[s->matrix].name, count);
    }
    size_t numbers = (size_t)outputs + 1 + count + s->channels;
    struct side_path *side = mem_alloc(1, sizeof *side + numbers * sizeof(uint32_t));
    if (!side) {
        return no_memory(e);
    }
    uint32_t *begin = (uint32_t *)(void *)(side + 1);
    for (uint32_t o = 0; o < outputs; o++) {
        begin[o + 1] = begin[o] + s->listed[o];
    }
    uint32_t *channels = begin + outputs + 1 + count;
    *side = (struct side_path){.channels = channels, .channel_count = list_channels(s, channels),
                               .weight_begin = begin, .weight_inputs = begin + outputs + 1};
    *out = side;
    s->begin = begin;
    s->inputs = begin + outputs + 1;
    parallel_for(outputs, OUTPUTS_AT_ONCE, 0, list_outputs, s);
    return first_error(s, e);
}

static enum status list_all(struct search *s, struct side_path **sides, struct error *e) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        go_to(s, i);
        if (!s->taken[i]) {
            drop_channels(s);
        }
        if (on_tiles(s, i)) {
            TRY(list_matrix(s, &sides[i], e));
        }
    }
    return OK;
}

static bool make_scratch(struct search *s) {
    size_t inputs = 0, all = 0, bounds = 0, threads = (size_t)threads_count();
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct matrix_source *m = &s->model->sources[i];
        inputs = m->inputs > inputs ? m->inputs : inputs;
        all += m->outputs;
        bounds += (size_t)m->outputs * chip_row_blocks(s->chip, m->inputs);
    }
    s->scratch_floats = 2 * inputs;
    s->scratch = mem_alloc(threads, s->scratch_floats * sizeof *s->scratch);
    s->digital = mem_alloc(inputs, 1);
    s->input = mem_alloc(inputs, sizeof *s->input);
    s->counts = mem_alloc(all, sizeof *s->counts);
    s->bounds = mem_alloc(bounds, sizeof *s->bounds);
    s->saves = mem_alloc(all, sizeof *s->saves);
    s->taken = mem_alloc(s->model->matrix_count, sizeof *s->taken);
    s->status = mem_alloc(threads, sizeof *s->status);
    s->errors = mem_alloc(threads, sizeof *s->errors);
    return s->scratch && s->digital && s->input && s->counts && s->bounds && s->saves && s->taken &&
           s->status && s->errors;
}

static void free_scratch(struct search *s) {
    mem_free(s->scratch);
    mem_free(s->digital);
    mem_free(s->input);
    mem_free(s->counts);
    mem_free(s->bounds);
    mem_free(s->saves);
    mem_free(s->taken);
    mem_free(s->status);
    mem_free(s->errors);
}

enum status fit_noise_of(const struct chip *c, struct fit_noise *out, struct error *e) {
    TRY(chip_weight_noise(c, out->variance, FIT_NOISE_NODES, e));
    for (size_t i = 0; i < FIT_NOISE_NODES; i++) {
        out->variance[i] *= out->variance[i];
    }
    out->variance[FIT_NOISE_NODES] = out->variance[FIT_NOISE_NODES - 1];
    return OK;
}

static enum status search_all(struct search *s, double share, struct fit_sides *out, struct error *e) {
    struct totals t = {0};
    TRY(fit_noise_of(s->chip, &s->noise, e));
    if (!make_scratch(s)) {
        return no_memory(e);
    }
    TRY(find_worth(s, share, &t, e));
    out->worth = s->worth;
    out->listed = (uint64_t)t.listed;
    out->weights = (uint64_t)t.weights;
    return list_all(s, out->sides, e);
}

enum status fit_sides(const struct model *m, const struct chip *c, const struct sensitivity *v, double share,
                      bool weights, const struct fit_statistics *f, struct fit_sides *out, struct error *e) {
    size_t matrices = m->matrix_count;
    *out = (struct fit_sides){.sides = mem_alloc(matrices, sizeof *out->sides),
                              .saved = mem_alloc(matrices, sizeof *out->saved)};
    if (!out->sides || !out->saved) {
        return no_memory(e);
    }
    if (!(share > 0)) {
        return OK;
    }
    TRY(fit_prices(m, c, &out->prices, e));
    struct search s = {.model = m, .chip = c, .sensitivity = v, .weights = weights, .statistics = f,
                       .prices = out->prices, .channels_saved = out->saved};
    enum status status = search_all(&s, share, out, e);
    free_scratch(&s);
    return status;
}

void fit_sides_destroy(struct fit_sides *f, size_t matrices) {
    for (size_t i = 0; f->sides && i < matrices; i++) {
        mem_free(f->sides[i]);
    }
    mem_free(f->sides);
    mem_free(f->saved);
    mem_free(f->prices);
}
