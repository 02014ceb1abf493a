/* The gradients of a linear layer: see student_linear.h.
 *
 *   dL/dW~ [O][I] = sum over tokens of dy_t x^     a piece of work is a GROUP of outputs, dy turned round for it
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

/* Panels before block b. */
static size_t panels_before(const struct back_job *j, size_t b) {
    size_t panels = 0;
    for (size_t i = 0; i < b; i++) {
        panels += panels_in(width_of(j, i));
    }
    return panels;
}

static const uint16_t *clipped_of(const struct back_job *j, size_t block, size_t panel, size_t token) {
    const struct analog_layer *l = j->layer;
    size_t at = block * panels_in(l->outputs) + panel, chunks = (j->work->tokens + CHUNK - 1) / CHUNK;
    bool limited = j->acts && l->rule->adc_bound > 0;
    return limited && l->any[at * chunks + token / CHUNK] ? l->clipped + at * j->work->tokens + token : NULL;
}

/* ---- weights ----------------------------------------------------------------------------------- */

/* A panel of inputs, all tokens: [T][PANEL]. */
static void pack_inputs(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    size_t T = j->pass->tokens;
    (void)worker;
    for (size_t b = 0, at = 0; b < blocks_of(j); b++) {
        for (size_t i = 0; i < width_of(j, b); i += PANEL, at++) {
            if (at >= begin && at < end) {
                panel_of_columns(j->work->compute, j->x + first_of(j, b) + i, j->layer->inputs,
                                 smaller(PANEL, width_of(j, b) - i), T, j->work->packed + at * T * PANEL);
            }
        }
    }
}

/* turned [n][T]: without what was outside in block b; whether anything was. */
static bool leave_out_clipped(const struct back_job *j, size_t b, size_t o, size_t n, real *turned) {
    size_t T = j->pass->tokens;
    bool changed = false;
    for (size_t p = o / PANEL; p * PANEL < o + n; p++) {
        for (size_t t = 0; t < T; t++) {
            const uint16_t *clipped = clipped_of(j, b, p, t);
            if (!clipped) {
                t += CHUNK - 1 - t % CHUNK;
                continue;
            }
            for (size_t lane = 0; lane < PANEL && *clipped; lane++) {
                if (*clipped >> lane & 1) {
                    turned[(p * PANEL + lane - o) * T + t] = 0;
                    changed = true;
                }
            }
        }
    }
    return changed;
}

static void bias_gradient(const struct back_job *j, size_t o, size_t n, const real *turned) {
    const struct analog_layer *l = j->layer;
    size_t T = j->pass->tokens;
    for (size_t i = 0; l->bias && i < n; i++) {
        double sum = 0;
        for (size_t t = 0; t < T; t++) {
            sum += (double)turned[i * T + t];
        }
        l->bias_gradient[o + i] += (real)sum;
    }
}

/* A group of n outputs from o in block b. */
static void block_gradient(const struct back_job *j, size_t b, size_t o, size_t n, const real *turned, real *g) {
    size_t T = j->pass->tokens, width = width_of(j, b), panels = panels_in(width);
    const real *packed = j->work->packed + panels_before(j, b) * T * PANEL;
    panels_multiply(j->work->compute, packed, T * PANEL, panels, T, turned, T, n, g, width, PANEL,
                    width - (panels - 1) * PANEL);
    for (size_t i = 0; i < n; i++) {
        if (j->acts) {
            analog_weight_gradient(j->layer, o + i, b, g + i * width);
        } else {
            add_scaled(j->layer->weight_gradient + (o + i) * width, 1, g + i * width, width);
        }
    }
}

static void weight_groups(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    size_t T = j->pass->tokens;
    real *turned = j->work->scratch + (size_t)worker * j->work->scratch_reals, *g = turned + (GROUP * T + 15) / 16 * 16;
    for (size_t group = begin; group < end; group++) {
        size_t o = group * GROUP, n = smaller(GROUP, j->layer->outputs - o);
        transpose(j->dy + o, j->ldy, T, n, turned, T);
        bias_gradient(j, o, n, turned);
        bool whole = true;
        for (size_t b = 0; b < blocks_of(j); b++) {
            if (!whole) {
                transpose(j->dy + o, j->ldy, T, n, turned, T);
            }
            whole = !leave_out_clipped(j, b, o, n, turned);
            block_gradient(j, b, o, n, turned, g);
        }
    }
}

/* ---- inputs ------------------------------------------------------------------------------------ */

/* A panel of inputs, the outputs of the run: [count][PANEL]. */
static void pack_run(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    (void)worker;
    for (size_t b = 0, at = 0; b < blocks_of(j); b++) {
        for (size_t i = 0; i < width_of(j, b); i += PANEL, at++) {
            if (at >= begin && at < end) {
                panel_of_columns(j->work->compute, j->layer->used + j->first * j->layer->inputs + first_of(j, b) + i,
                                 j->layer->inputs, smaller(PANEL, width_of(j, b) - i), j->count,
                                 j->work->packed + at * j->count * PANEL);
            }
        }
    }
}

static bool chunk_has_clipped(const struct back_job *j, size_t b, size_t token) {
    for (size_t p = j->first / PANEL; p * PANEL < j->first + j->count; p++) {
        if (clipped_of(j, b, p, token)) {
            return true;
        }
    }
    return false;
}

/* copy [n][count] of dy for tokens from `token`, without what was outside in block b */
static void copy_unclipped(const struct back_job *j, size_t b, size_t token, size_t n, real *copy) {
    for (size_t t = 0; t < n; t++) {
        memcpy(copy + t * j->count, j->dy + (token + t) * j->ldy + j->first, j->count * sizeof *copy);
        for (size_t o = 0; o < j->count; o += PANEL) {
            const uint16_t *clipped = clipped_of(j, b, (j->first + o) / PANEL, token + t);
            for (size_t lane = 0; clipped && lane < smaller(PANEL, j->count - o); lane++) {
                copy[t * j->count + o + lane] *= (real)(~*clipped >> lane & 1);
            }
        }
    }
}

static void add_tile(const real *tile, size_t n, size_t lanes, real *out, size_t ld) {
    for (size_t t = 0; t < n; t++) {
        for (size_t lane = 0; lane < lanes; lane++) {
            out[t * ld + lane] += tile[t * PANEL + lane];
        }
    }
}

/* Panels [p, p + count) of a block for n tokens, dy [n][ld] -> out [n][I], which is set by the first run of outputs and
 * added to by the others. packed: of these panels. */
static void input_panels(const struct back_job *j, const real *packed, size_t p, size_t count, size_t width,
                         const real *dy, size_t ld, size_t n, real *tiles, real *out) {
    size_t I = j->layer->inputs, stride = j->count * PANEL;
    if (j->first == 0) {
        panels_multiply(j->work->compute, packed, stride, count, j->count, dy, ld, n, out + p * PANEL, I, PANEL,
                        smaller(PANEL, width - (p + count - 1) * PANEL));
        return;
    }
    panels_multiply(j->work->compute, packed, stride, count, j->count, dy, ld, n, tiles, PANEL, CHUNK * PANEL, PANEL);
    for (size_t i = p; i < p + count; i++) {
        add_tile(tiles + (i - p) * CHUNK * PANEL, n, smaller(PANEL, width - i * PANEL), out + i * PANEL, I);
    }
}

static void input_chunk(const struct back_job *j, size_t token, real *tiles, real *copy) {
    size_t I = j->layer->inputs, n = smaller(CHUNK, j->pass->tokens - token);
    for (size_t b = 0, at = 0; b < blocks_of(j); b++) {
        const real *dy = j->dy + token * j->ldy + j->first;
        size_t ld = j->ldy;
        if (chunk_has_clipped(j, b, token)) {
            copy_unclipped(j, b, token, n, copy);
            dy = copy;
            ld = j->count;
        }
        size_t width = width_of(j, b), panels = panels_in(width);
        for (size_t p = 0; p < panels; p += GROUP_PANELS) {
            input_panels(j, j->work->packed + (at + p) * j->count * PANEL, p, smaller(GROUP_PANELS, panels - p), width,
                         dy, ld, n, tiles, j->work->gradient_in + token * I + first_of(j, b));
        }
        at += panels;
    }
}

static void input_chunks(void *context, size_t begin, size_t end, int worker) {
    const struct back_job *j = context;
    real *tiles = j->work->scratch + (size_t)worker * j->work->scratch_reals;
    real *copy = tiles + GROUP_PANELS * CHUNK * PANEL;
    for (size_t c = begin; c < end; c++) {
        input_chunk(j, c * CHUNK, tiles, copy);
    }
}

/* dL/dx^ into gradient_in, in runs of outputs whose weights fit the cache. */
static void input_gradients(struct back_job *j) {
    size_t panels = panels_before(j, blocks_of(j)), outputs = j->layer->outputs;
    size_t run = smaller(smaller((size_t)1 << 18, j->work->packed_reals) / (panels * PANEL) / PANEL * PANEL, 1024);
    run = run < PANEL ? PANEL : run;
    for (j->first = 0; j->first < outputs; j->first += run) {
        j->count = smaller(run, outputs - j->first);
        parallel_for(panels, 0, 0, pack_run, j);
        parallel_for((j->pass->tokens + CHUNK - 1) / CHUNK, 1, 0, input_chunks, j);
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
    if (acts) {
        struct analog_pass again = *p;
        again.again = true;
        analog_quantise_inputs(l, w, &again, x);
    }
    struct back_job job = {l, w, p, acts ? w->quantised : x, dy, x, ldy, dx, acts, 0, 0};
    if (p->watch && p->watch->gradients) {
        p->watch->gradients(p->watch->context, l, x, dy, ldy, p->tokens);
    }
    if (acts && l->side_begin) {
        analog_side_backward(l, w, p->tokens, x, dy, ldy, dx);
    }
    parallel_for(panels_before(&job, blocks_of(&job)), 0, 0, pack_inputs, &job);
    parallel_for((l->outputs + GROUP - 1) / GROUP, 1, 0, weight_groups, &job);
    input_gradients(&job);
    if (acts && l->rule->inputs == TRAIN_INPUTS_STATIC) {
        for (size_t b = 0; b < l->blocks; b++) {
            range_gradient(&job, b);
        }
    } else {
        parallel_for(p->tokens, 0, 0, add_tokens, &job);
    }
}
