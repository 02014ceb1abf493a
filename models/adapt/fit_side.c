/* Which weights stay digital.
 *
 * Let v_oi = output_o input_i be the cost of a squared error (fit_sensitivity.c), m the largest |w| that an output has
 * on a tile, s(|w|/m) m the standard deviation that programming leaves on a weight (the chip's cell). A column of n
 * weights on the tile costs
 *   J = sum over i on the tile of v_oi m^2 s^2(|w_oi| / m)       nats per token, to second order
 * A digital weight saves its own term; the largest ones save more, because m falls for all. With a price p per digital
 * weight the best choice for a column is exact: for a bound m, weights above it are digital, and so is every other one
 * whose term is above p;
 *   min over m of  p #(|w| > m) + sum over |w| <= m of min(p, v_oi m^2 s^2(|w| / m)).
 * m is searched among the 1st, 2nd, ... largest |w| on a grid of ranks (CUTS). The price is the same everywhere, in all
 * columns of all matrices: then no digital weight would save more elsewhere (Lagrange; Everett 1963). It is found by
 * bisection on a sample of the outputs, then raised until the whole model keeps within the share.
 *
 * Input ranges, ADC steps and the correlation between inputs are not in J. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/sort.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

enum {
    NODES = 257,          /* of the noise curve */
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
    float variance[NODES + 1];  /* s^2 at |w| / m = i / (NODES - 1); one more for the interpolation at 1 */
    double price;
    const struct fit_statistics *statistics; /* [matrices] */
    size_t matrix;
    uint8_t *digital;           /* [inputs] channels of the matrix */
    double *input;              /* [inputs] sensitivities of it, 0 for channels */
    uint32_t channels;
    uint32_t stride;            /* every so many outputs */
    float *scratch;             /* [threads][2 x largest inputs] */
    size_t scratch_floats;
    uint32_t *listed;           /* [outputs] how many weights are digital */
    double *before, *after;     /* [outputs] nats */
    uint32_t *inputs;           /* where the lists go; NULL: only count */
    const uint32_t *begin;      /* [outputs + 1] of the lists */
    enum status *status;        /* [threads] */
    struct error *errors;       /* [threads] */
};

static float variance_at(const struct search *s, float ratio) {
    float at = ratio * (NODES - 1);
    size_t i = (size_t)at;
    return s->variance[i] + (s->variance[i + 1] - s->variance[i]) * (at - (float)i);
}

/* What a column costs with bound m. listed: how many of its weights are digital. */
static double cost_of(const struct search *s, const float *w, const double *v, uint32_t n, double scale, float m,
                      uint32_t *listed, double *noise) {
    double price = s->price, unit = scale * (double)m * (double)m;
    float inverse = m > 0 ? 1 / m : 0;
    uint32_t count = 0;
    *noise = 0;
    for (uint32_t i = 0; i < n; i++) {
        float size = fabsf(w[i]);
        double term = size > m ? (double)INFINITY : unit * v[i] * (double)variance_at(s, fminf(size * inverse, 1));
        bool digital = term > price;
        count += digital;
        *noise += digital ? 0 : term;
    }
    *listed = count;
    return *noise + price * count;
}

struct column_choice { float bound; uint32_t listed; double before, after; };

/* w, v [n]: weights and input factors of one output in one row block. sorted: scratch [n]. */
static struct column_choice choose_column(const struct search *s, const float *w, const double *v, uint32_t n,
                                          double scale, float *sorted) {
    struct column_choice best = {0};
    double least = (double)INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = fabsf(w[i]);
    }
    sort_floats(sorted, n);
    for (size_t k = 0; k < CUT_COUNT && CUTS[k] < n; k++) {
        struct column_choice c = {.bound = sorted[n - 1 - CUTS[k]], .before = best.before};
        double cost = cost_of(s, w, v, n, scale, c.bound, &c.listed, &c.after);
        if (k == 0) {
            struct search free_of_charge = *s;
            uint32_t none;
            free_of_charge.price = (double)INFINITY;
            cost_of(&free_of_charge, w, v, n, scale, c.bound, &none, &c.before);
        }
        best.before = c.before;
        if (cost < least) {
            least = cost;
            best = c;
        }
        if ((double)CUTS[k] * s->price > least) { /* larger cuts cost more than all that is left to save */
            break;
        }
    }
    return best;
}

static uint32_t *list_column(const struct search *s, const float *w, const double *v, uint32_t first, uint32_t n,
                             double scale, float m, uint32_t *at) {
    double unit = scale * (double)m * (double)m;
    float inverse = m > 0 ? 1 / m : 0;
    for (uint32_t i = 0; i < n; i++) {
        float size = fabsf(w[i]);
        if (size > m || unit * v[i] * (double)variance_at(s, fminf(size * inverse, 1)) > s->price) {
            *at++ = first + i;
        }
    }
    return at;
}

static enum status choose_output(struct search *s, uint32_t o, float *w, float *sorted, struct error *e) {
    const struct matrix_source *m = &s->model->sources[s->matrix];
    const struct sensitivity *v = &s->sensitivity[s->matrix];
    uint32_t *at = s->inputs ? s->inputs + s->begin[o] : NULL;
    TRY(m->read_rows(m->context, o, 1, w, e));
    s->listed[o] = 0;
    s->before[o] = s->after[o] = 0;
    for (uint32_t i = 0; s->channels && i < m->inputs; i++) {
        w[i] = s->digital[i] ? 0 : w[i];
    }
    for (uint32_t b = 0; b < chip_row_blocks(s->chip, m->inputs); b++) {
        uint32_t first = chip_row_begin(s->chip, m->inputs, b), n = chip_row_begin(s->chip, m->inputs, b + 1) - first;
        struct column_choice c = choose_column(s, w + first, s->input + first, n, v->output[o], sorted);
        s->listed[o] += c.listed;
        s->before[o] += c.before;
        s->after[o] += c.after;
        at = at ? list_column(s, w + first, s->input + first, first, n, v->output[o], c.bound, at) : NULL;
    }
    return OK;
}

static void choose_outputs(void *context, size_t begin, size_t end, int worker) {
    struct search *s = context;
    float *w = s->scratch + (size_t)worker * s->scratch_floats, *sorted = w + s->scratch_floats / 2;
    for (size_t k = begin; k < end && s->status[worker] == OK; k++) {
        s->status[worker] = choose_output(s, (uint32_t)k * s->stride, w, sorted, &s->errors[worker]);
    }
}

/* The channels of a matrix at the present price: what is theirs does not count for single weights. */
static void take_channels(struct search *s, size_t matrix) {
    uint32_t inputs = s->model->sources[matrix].inputs;
    memset(s->digital, 0, inputs);
    s->channels = fit_take_channels(&s->statistics[matrix], s->model->sources[matrix].outputs, s->price, s->digital);
    for (uint32_t i = 0; i < inputs; i++) {
        s->input[i] = s->digital[i] ? 0 : s->sensitivity[matrix].input[i];
    }
}

/* All outputs of the matrix, or every `stride`-th. */
static enum status choose_matrix(struct search *s, size_t matrix, uint32_t stride, struct error *e) {
    uint32_t outputs = s->model->sources[matrix].outputs;
    s->matrix = matrix;
    s->stride = stride;
    take_channels(s, matrix);
    parallel_for((outputs + stride - 1) / stride, OUTPUTS_AT_ONCE, 0, choose_outputs, s);
    for (int i = 0; i < threads_count(); i++) {
        if (s->status[i] != OK) {
            *e = s->errors[i];
            return s->status[i];
        }
    }
    return OK;
}

static bool on_tiles(const struct search *s, size_t matrix) {
    return chip_is_analog(s->chip, s->model->sources[matrix].role);
}

struct totals { double listed, weights, before, after; };

/* Sums over the outputs of a matrix that were looked at. */
static void add_totals(const struct search *s, struct totals *t) {
    const struct matrix_source *m = &s->model->sources[s->matrix];
    for (uint32_t o = 0; o < m->outputs; o += s->stride) {
        t->listed += s->listed[o] + s->channels;
        t->weights += m->inputs;
        t->before += s->before[o];
        t->after += s->after[o];
    }
}

static enum status choose_all(struct search *s, uint32_t stride, struct totals *t, struct error *e) {
    *t = (struct totals){0};
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        if (on_tiles(s, i)) {
            TRY(choose_matrix(s, i, stride, e));
            add_totals(s, t);
        }
    }
    return OK;
}

/* Bisection of the logarithm; the share falls as the price rises. */
static enum status find_price(struct search *s, double share, struct error *e) {
    double weights = 0, low = log(1e-20), high = log(1e3);
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        weights += on_tiles(s, i) ? (double)s->model->sources[i].outputs * s->model->sources[i].inputs : 0;
    }
    uint32_t stride = (uint32_t)fmax(1, weights / SAMPLE);
    struct totals t;
    for (int i = 0; i < BISECTIONS; i++) {
        s->price = exp((low + high) / 2);
        TRY(choose_all(s, stride, &t, e));
        *(t.listed > share * t.weights ? &low : &high) = log(s->price);
        TRY(check_interrupted(e));
    }
    do { /* the sample may be a little off */
        s->price = exp(high);
        TRY(choose_all(s, 1, &t, e));
        high += 0.02;
    } while (t.listed > share * t.weights);
    return OK;
}

/* ---- lists -------------------------------------------------------------------------------------------- */

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "adapt fit: out of memory"); }

static enum status list_matrix(struct search *s, size_t matrix, struct side_path **out, struct error *e) {
    uint32_t outputs = s->model->sources[matrix].outputs;
    s->inputs = NULL;
    TRY(choose_matrix(s, matrix, 1, e));
    size_t count = 0;
    for (uint32_t o = 0; o < outputs; o++) {
        count += s->listed[o];
    }
    if (count > UINT32_MAX - outputs) {
        return error_set(e, ERR_RUN, "matrix %s: %zu digital weights (allowed: below 2^32)",
                         s->model->sources[matrix].name, count);
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
    uint32_t *channels = begin + outputs + 1 + count, taken = 0;
    for (uint32_t i = 0; i < s->model->sources[matrix].inputs; i++) {
        if (s->digital[i]) {
            channels[taken++] = i;
        }
    }
    *side = (struct side_path){.channels = channels, .channel_count = taken, .weight_begin = begin,
                               .weight_inputs = begin + outputs + 1};
    *out = side;
    s->begin = begin;
    s->inputs = begin + outputs + 1;
    return choose_matrix(s, matrix, 1, e);
}

static enum status list_all(struct search *s, struct fit_sides *out, struct error *e) {
    struct totals t = {0};
    out->price = s->price;
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        if (on_tiles(s, i)) {
            TRY(list_matrix(s, i, &out->sides[i], e));
            add_totals(s, &t);
        }
    }
    out->before = t.before;
    out->after = t.after;
    out->listed = (uint64_t)t.listed;
    out->weights = (uint64_t)t.weights;
    return OK;
}

static bool make_scratch(struct search *s) {
    size_t inputs = 0, outputs = 0, threads = (size_t)threads_count();
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct matrix_source *m = &s->model->sources[i];
        inputs = m->inputs > inputs ? m->inputs : inputs;
        outputs = m->outputs > outputs ? m->outputs : outputs;
    }
    s->scratch_floats = 2 * inputs;
    s->scratch = mem_alloc(threads, s->scratch_floats * sizeof *s->scratch);
    s->digital = mem_alloc(inputs, 1);
    s->input = mem_alloc(inputs, sizeof *s->input);
    s->listed = mem_alloc(outputs, sizeof *s->listed);
    s->before = mem_alloc(outputs, sizeof *s->before);
    s->after = mem_alloc(outputs, sizeof *s->after);
    s->status = mem_alloc(threads, sizeof *s->status);
    s->errors = mem_alloc(threads, sizeof *s->errors);
    return s->scratch && s->digital && s->input && s->listed && s->before && s->after && s->status && s->errors;
}

static void free_scratch(struct search *s) {
    mem_free(s->scratch);
    mem_free(s->digital);
    mem_free(s->input);
    mem_free(s->listed);
    mem_free(s->before);
    mem_free(s->after);
    mem_free(s->status);
    mem_free(s->errors);
}

enum status fit_sides(const struct model *m, const struct chip *c, const struct sensitivity *v, double share,
                      const struct fit_statistics *f, struct fit_sides *out, struct error *e) {
    struct search s = {.model = m, .chip = c, .sensitivity = v, .statistics = f};
    TRY(chip_weight_noise(c, s.variance, NODES, e));
    for (size_t i = 0; i < NODES; i++) {
        s.variance[i] *= s.variance[i];
    }
    s.variance[NODES] = s.variance[NODES - 1];
    *out = (struct fit_sides){.sides = mem_alloc(m->matrix_count, sizeof *out->sides)};
    enum status status = out->sides && make_scratch(&s) ? OK : no_memory(e);
    if (status == OK) {
        status = find_price(&s, share, e);
    }
    if (status == OK) {
        status = list_all(&s, out, e);
    }
    free_scratch(&s);
    return status;
}

void fit_sides_destroy(struct fit_sides *f, size_t matrices) {
    for (size_t i = 0; f->sides && i < matrices; i++) {
        mem_free(f->sides[i]);
    }
    mem_free(f->sides);
}
