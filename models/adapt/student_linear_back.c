/* The gradients of a linear layer: see student_linear.h.
 *
 *   dL/dW~ [O][I] = sum over tokens of dy_t x^     a piece of work is GRADIENT_GROUP outputs
 *   dL/dx^ [T][I] = sum over outputs of dy_t W~    runs of outputs one after the other, a piece is a CHUNK of tokens
 * dy_t: dy without the outputs that were outside the ADC bound in block t. */
#include <string.h>

#include "base/ranks.h"
#include "base/threads.h"
#include "models/adapt/student_linear.h"

struct back_job {
    struct analog_layer *layer;
    struct analog_work *work;
    const struct analog_pass *pass;
    const real *x, *dy; /* x: as multiplied; raw: as given */
    const real *raw;
    size_t ldy;
    real *dx;
    bool acts;
    size_t first, count; /* outputs of the run */
};

static size_t blocks_of(const struct back_job *j) { return j->acts ? j->layer->blocks : 1; }
static size_t first_of(const struct back_job *j, size_t b) { return j->acts ? j->layer->begin[b] : 0; }
static size_t width_of(const struct back_job *j, size_t b) {
    return j->acts ? j->layer->begin[b + 1] - j->layer->begin[b] : j->layer->inputs;
}

/* Of a panel of outputs in a block, from token 0 on; NULL: nothing in this chunk of tokens was outside. */
static const uint16_t *clipped_of(const struct back_job *j, size_t block, size_t panel, size_t chunk) {
    const struct analog_layer *l = j->layer;
    size_t at = block * panels_in(l->outputs) + panel;
    bool limited = j->acts && l->rule->adc_bound > 0;
    return limited && l->any[at * chunks_in(j->pass) + chunk] ? l->clipped + at * j->work->tokens : NULL;
}

/* Whether outputs [o, o + n) of tokens [token, token + count) have any that were outside in block b. */
static bool has_clipped(const struct back_job *j, size_t b, size_t o, size_t n, size_t token, size_t count) {
    size_t first = chunk_with(j->pass, token), last = chunk_with(j->pass, token + count - 1);
    for (size_t p = o / PANEL; p * PANEL < o + n; p++) {
        for (size_t chunk = first; chunk <= last; chunk++) {
            if (clipped_of(j, b, p, chunk)) {
                return true;
            }
        }
    }
    return false;
}

/* copy [count][n] = dy of these outputs and tokens, without what was outside in block b */
static void copy_unclipped(const struct back_job *j, size_t b, size_t o, size_t n, size_t token, size_t count,
                           real *copy) {
    for (size_t t = 0; t < count; t++) {
        size_t chunk = chunk_with(j->pass, token + t);
        memcpy(copy + t * n, j->dy + (token + t) * j->ldy + o, n * sizeof *copy);
        for (size_t first = 0; first < n; first += PANEL) {
            const uint16_t *clipped = clipped_of(j, b, (o + first) / PANEL, chunk);
            for (size_t lane = 0; clipped && lane < smaller(PANEL, n - first); lane++) {
                copy[t * n + first + lane] = clipped[token + t] >> lane & 1 ? 0 : copy[t * n + first + lane];
            }
        }
    }
}

/* dy_t of these outputs and tokens in block b, for a product; room [count][n]. */
static struct operand gradients_of(const struct back_job *j, size_t b, size_t o, size_t n, size_t token, size_t count,
                                   real *room) {
    bool rounds = j->work->compute == COMPUTE_BF16;
    if (has_clipped(j, b, o, n, token, count)) {
        copy_unclipped(j, b, o, n, token, count, room);
        if (rounds) {
            round_operand(room, n, count, n, room, n);
        }
    } else if (rounds) {
        round_operand(j->dy + token * j->ldy + o, j->ldy, count, n, room, n);
    } else {
        return (struct operand){j->dy + token * j->ldy + o, j->ldy, false};
    }
    return (struct operand){room, n, false};
}

/* ---- weights ----------------------------------------------------------------------------------- */

static void bias_gradient(const struct back_job *j, size_t o, size_t n) {
    double sums[GRADIENT_GROUP] = {0};
    for (size_t t = 0; t < j->pass->tokens; t++) {
        for (size_t i = 0; i < n; i++) {
            sums[i] += (double)j->dy[t * j->ldy + o + i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        j->layer->bias_gradient[o + i] += (real)sums[i];
    }
}

/* A group of n outputs from o in block b; g [n][width], room [T][n]. */
static void block_gradient(const struct back_job *j, size_t b, size_t o, size_t n, real *g, real *room) {
    struct analog_layer *l = j->layer;
    size_t T = j->pass->tokens, width = width_of(j, b);
    struct operand dy = gradients_of(j, b, o, n, 0, T, room), x = {j->x + first_of(j, b), l->inputs, false};
    dy.turned = true;
    if (!j->acts) {
        product(n, width, T, dy, x, 1, l->weight_gradient + o * l->inputs, l->inputs);
        return;
    }
    product(n, width, T, dy, x, 0, g, width);
    for (size_t i = 0; i < n; i++) {
        analog_weight_gradient(l, o + i, b, g + i * width);
    }
}

static void weight_groups(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    real *g = j->work->scratch + (size_t)worker * j->work->scratch_reals;
    real *room = g + GRADIENT_GROUP * (size_t)j->layer->inputs;
    for (size_t group = begin; group < end; group++) {
        size_t o = group * GRADIENT_GROUP, n = smaller(GRADIENT_GROUP, j->layer->outputs - o);
        if (j->layer->bias) {
            bias_gradient(j, o, n);
        }
        for (size_t b = 0; b < blocks_of(j); b++) {
            block_gradient(j, b, o, n, g, room);
        }
    }
}

/* ---- inputs ------------------------------------------------------------------------------------ */

/* Weights of the run, rounded: [count][I] */
static void round_run(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    size_t I = j->layer->inputs;
    (void)worker;
    round_operand(j->layer->used + (j->first + begin) * I, I, end - begin, I, j->work->rounded + begin * I, I);
}

/* room [CHUNK][count]. The first run of outputs sets gradient_in, the others add to it. */
static void input_chunk(const struct back_job *j, struct chunk c, real *room) {
    size_t I = j->layer->inputs;
    bool copied = j->work->compute == COMPUTE_BF16 && !j->acts;
    const real *weights = copied ? j->work->rounded : j->layer->used + j->first * I;
    for (size_t b = 0; b < blocks_of(j); b++) {
        struct operand dy = gradients_of(j, b, j->first, j->count, c.token, c.n, room);
        struct operand w = {weights + first_of(j, b), I, false};
        product(c.n, width_of(j, b), j->count, dy, w, j->first ? 1 : 0,
                j->work->gradient_in + c.token * I + first_of(j, b), I);
    }
}

static void input_chunks(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    for (size_t i = begin; i < end; i++) {
        input_chunk(j, chunk_at(j->pass, i), j->work->scratch + (size_t)worker * j->work->scratch_reals);
    }
}

/* dL/dx^ into gradient_in, in runs of outputs whose weights fit the cache. */
static void input_gradients(struct back_job *j) {
    size_t outputs = j->layer->outputs;
    for (j->first = 0; j->first < outputs; j->first += RUN) {
        j->count = smaller(RUN, outputs - j->first);
        if (j->work->compute == COMPUTE_BF16 && !j->acts) {
            parallel_for(j->count, PANEL, 0, round_run, j);
        }
        parallel_for(chunks_in(j->pass), 1, 0, input_chunks, j);
    }
}

/* ---- ranges ------------------------------------------------------------------------------------ */

/* What one token adds: gradients that want more at the upper and the lower end, inputs outside. dx gets its part. */
static void through_range(const real *x, const real *g, size_t n, real range, real *dx, double *sums) {
    real up[PANEL] = {0}, down[PANEL] = {0}, outside[PANEL] = {0};
    for (size_t i = 0; i < n; i += PANEL) {
        size_t lanes = smaller(PANEL, n - i);
        for (size_t k = 0; k < lanes; k++) {
            real v = x[i + k], d = g[i + k], less = d < 0 ? d : 0, more = d > 0 ? d : 0;
            up[k] += v >= range ? less : 0;
            down[k] += v <= -range ? more : 0;
            outside[k] += real_abs(v) >= range ? (real)1 : (real)0;
            dx[i + k] += real_abs(v) > range ? 0 : d;
        }
    }
    for (size_t k = 0; k < PANEL; k++) {
        sums[0] += (double)up[k] - (double)down[k];
        sums[1] += (double)outside[k];
    }
}

static void range_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    const struct analog_layer *l = j->layer;
    size_t I = l->inputs, b = j->first, first = l->begin[b], n = l->begin[b + 1] - first;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        real *g = j->work->gradient_in + t * I + first;
        double *sums = j->work->token_sums + 4 * t;
        for (size_t i = 0; l->digital_input && i < n; i++) {
            g[i] = l->digital_input[first + i] ? 0 : g[i];
        }
        sums[0] = sums[1] = 0;
        through_range(j->raw + t * I + first, g, n, l->used_range[b], j->dx + t * I + first, sums);
        for (size_t i = 0; l->digital_input && i < n; i++) {
            sums[1] -= l->digital_input[first + i] && real_abs(j->raw[t * I + first + i]) >= l->used_range[b];
        }
    }
}

static size_t inputs_on_tile(const struct analog_layer *l, size_t b) {
    size_t n = 0;
    for (size_t i = l->begin[b]; i < l->begin[b + 1]; i++) {
        n += !l->digital_input || !l->digital_input[i];
    }
    return n;
}

static void range_gradient(struct back_job *j, size_t b) {
    struct analog_layer *l = j->layer;
    double sum = 0, outside = 0, range = (double)l->used_range[b];
    j->first = b;
    parallel_for(j->pass->tokens, 0, 0, range_tokens, j);
    for (size_t t = 0; t < j->pass->tokens; t++) {
        sum += j->work->token_sums[4 * t];
        outside += j->work->token_sums[4 * t + 1];
    }
    double counts[2] = {outside, (double)j->pass->tokens * (double)inputs_on_tile(l, b)};
    ranks_sum(counts, 2);
    bool narrows = ranks_own() == 0 && 1.0 - counts[0] / counts[1] > l->rule->range_inside; /* once, not by each rank */
    l->range_gradient[b] += (real)(range * sum + (narrows ? l->rule->range_decay * range : 0));
}

static void add_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    const struct analog_layer *l = j->layer;
    size_t I = l->inputs;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        for (size_t i = 0; i < I; i++) {
            bool digital = j->acts && l->digital_input && l->digital_input[i];
            j->dx[t * I + i] += digital ? 0 : j->work->gradient_in[t * I + i];
        }
    }
}

void analog_layer_backward(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x,
                           const real *dy, size_t ldy, real *dx) {
    bool acts = analog_acts(l, p);
    struct analog_pass again = *p;
    again.again = true;
    struct back_job job = {l, w, p, analog_multiplied_inputs(l, w, &again, x), dy, x, ldy, dx, acts, 0, 0};
    if (p->watch && p->watch->gradients) {
        p->watch->gradients(p->watch->context, l, x, dy, ldy, p->tokens);
    }
    if (acts && l->side_begin) {
        analog_side_backward(l, w, p->tokens, x, dy, ldy, dx);
    }
    parallel_for((l->outputs + GRADIENT_GROUP - 1) / GRADIENT_GROUP, 1, 0, weight_groups, &job);
    input_gradients(&job);
    if (acts && l->rule->inputs == TRAIN_INPUTS_STATIC) {
        for (size_t b = 0; b < l->blocks; b++) {
            range_gradient(&job, b);
        }
    } else {
        parallel_for(p->tokens, 0, 0, add_tokens, &job);
    }
}
