/* The forward pass of a linear layer: see student_linear.h and rule.h.
 *
 * The weights are made first, all of them. Then a piece of work is a GROUP of outputs for a CHUNK of tokens: a product
 * for every row block, converted while it is in the cache. The small inner loops are plain C over PANEL lanes that
 * compilers turn into vector code. */
#include "models/adapt/student_linear.h"

#include <string.h>

#include "base/ranks.h"
#include "base/threads.h"

static inline real clamp(real v, real most) {
    real low = v < -most ? -most : v;
    return low > most ? most : low;
}

static inline real rounded(real v) {
    return (v + (real)REAL_ROUNDER) - (real)REAL_ROUNDER;
}

/* ---- buffers ----------------------------------------------------------------------------------- */

real *reals_of(struct arena *a, size_t n) {
    char *block = arena_alloc(a, n + 2 * MEM_ALIGNMENT / sizeof(real), sizeof(real));
    return block ? (real *)(void *)(block + (MEM_ALIGNMENT - (uintptr_t)block % MEM_ALIGNMENT)) : NULL;
}

bool analog_layer_buffers(struct analog_layer *l, struct arena *a, uint32_t sequences, uint32_t length) {
    size_t panels = panels_in(l->outputs), tokens = (size_t)sequences * length;
    l->used = l->weight;
    if (!l->rule) {
        return true;
    }
    l->noisy = reals_of(a, (size_t)l->outputs * l->inputs);
    l->largest = reals_of(a, (size_t)l->blocks * l->outputs);
    l->block_largest = reals_of(a, l->blocks);
    l->used_range = reals_of(a, l->blocks);
    l->limit = reals_of(a, l->outputs);
    l->clipped = arena_alloc(a, l->blocks * panels * tokens, sizeof *l->clipped);
    l->any = arena_alloc(a, l->blocks * panels * sequences * chunks_of_length(length), sizeof *l->any);
    return l->noisy && l->largest && l->block_largest && l->used_range && l->limit && l->clipped && l->any;
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

bool analog_work_buffers(struct analog_work *w, struct arena *a, size_t more) {
    bool rounds = w->compute == COMPUTE_BF16;
    w->threads = threads_count();
    /* forward: results of a piece, one panel of them converted, rounded weights; or noise numbers */
    size_t forward = most((GROUP + PANEL) * CHUNK + (rounds ? (size_t)GROUP * w->inputs : 0), w->inputs + PANEL);
    size_t weights = (size_t)GRADIENT_GROUP * (w->tokens + w->inputs), inputs = (size_t)CHUNK * RUN;
    size_t side = most(((size_t)w->inputs + PANEL) * SIDE_CHUNK, (size_t)PANEL * w->tokens);
    w->scratch_reals = (most(most(forward, weights), most(most(inputs, side), more)) + 31) / 16 * 16;
    w->quantised = reals_of(a, (size_t)w->tokens * w->inputs);
    w->gradient_in = reals_of(a, (size_t)w->tokens * w->inputs);
    w->token_range = reals_of(a, (size_t)w->blocks * w->tokens);
    w->token_sums = arena_alloc(a, w->tokens, 4 * sizeof *w->token_sums);
    w->turned = reals_of(a, (size_t)w->tokens * w->inputs);
    w->rounded = rounds ? reals_of(a, (size_t)RUN * w->inputs) : NULL;
    w->scratch = reals_of(a, (size_t)w->threads * w->scratch_reals);
    return w->quantised && w->gradient_in && w->token_range && w->token_sums && w->turned && w->scratch &&
           (w->rounded || !rounds);
}

/* ---- inputs ------------------------------------------------------------------------------------ */

struct input_job {
    struct analog_layer *layer;
    struct analog_work *work;
    const real *x;
    size_t block;
};

static bool on_tile(const struct analog_layer *l, size_t i) { return !l->digital_input || !l->digital_input[i]; }

static void token_moments(void *context, size_t begin, size_t end, int worker) {
    const struct input_job *j = context;
    const struct analog_layer *l = j->layer;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        double sum = 0, squares = 0, n = 0;
        for (size_t i = l->begin[j->block]; i < l->begin[j->block + 1]; i++) {
            double x = on_tile(l, i) ? (double)j->x[t * l->inputs + i] : 0.0;
            sum += x;
            squares += x * x;
            n += on_tile(l, i);
        }
        double *out = j->work->token_sums + 4 * t;
        out[0] = sum;
        out[1] = squares;
        out[2] = n;
    }
}

/* Unbiased standard deviation of all inputs of a block, those of other ranks included; 0 where there are none. */
static double deviation_of_inputs(const double *sums, size_t tokens) {
    double all[3] = {0};
    for (size_t t = 0; t < tokens; t++) {
        for (size_t i = 0; i < 3; i++) {
            all[i] += sums[4 * t + i];
        }
    }
    ranks_sum(all, 3);
    double sum = all[0], squares = all[1], n = all[2];
    double variance = n > 1 ? (squares - sum * sum / n) / (n - 1) : 0;
    return variance > 0 ? sqrt(variance) : 0;
}

/* The mean of kappa sd over the first batches. Data that is not finite changes nothing: the loss will say so. */
static void take_ranges(struct analog_layer *l, struct analog_work *w, uint32_t tokens, const real *x) {
    for (size_t b = 0; b < l->blocks; b++) {
        if (l->range_batches[b] >= l->rule->range_batches) {
            continue;
        }
        struct input_job job = {l, w, x, b};
        parallel_for(tokens, 0, 0, token_moments, &job);
        double sd = deviation_of_inputs(w->token_sums, tokens), count = l->range_batches[b];
        if (sd > 0 && isfinite(sd)) {
            l->range[b] = (real)(((double)l->range[b] * count + l->rule->range_sds * sd) / (count + 1));
            l->range_batches[b]++;
        }
        l->range[b] = real_abs(l->range[b]);
    }
}

static void token_largest(void *context, size_t begin, size_t end, int worker) {
    const struct input_job *j = context;
    const struct analog_layer *l = j->layer;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        for (size_t b = 0; b < l->blocks; b++) {
            real top = 0;
            for (size_t i = l->begin[b]; i < l->begin[b + 1]; i++) {
                real size = on_tile(l, i) ? real_abs(j->x[t * l->inputs + i]) : 0;
                top = size > top ? size : top;
            }
            j->work->token_range[b * j->work->tokens + t] = top;
        }
    }
}

static void quantise_run(const struct analog_rule *r, const real *x, size_t n, real range, real *out) {
    if (r->no_rounding || !r->dac_steps) {
        for (size_t i = 0; i < n; i++) {
            out[i] = clamp(x[i], range);
        }
        return;
    }
    real steps = (real)r->dac_steps, step = range / steps, inverse = range > 0 ? steps / range : 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = rounded(clamp(x[i] * inverse, steps)) * step;
    }
}

static void quantise_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct input_job *j = context;
    const struct analog_layer *l = j->layer;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const real *x = j->x + t * l->inputs;
        real *out = j->work->quantised + t * l->inputs;
        for (size_t b = 0; b < l->blocks; b++) {
            size_t first = l->begin[b], n = l->begin[b + 1] - first;
            if (l->rule->inputs == TRAIN_INPUTS_FREE) {
                memcpy(out + first, x + first, n * sizeof *x);
            } else {
                real range = l->rule->inputs == TRAIN_INPUTS_STATIC ? l->used_range[b]
                                                                    : j->work->token_range[b * j->work->tokens + t];
                quantise_run(l->rule, x + first, n, range, out + first);
            }
        }
        for (size_t i = 0; l->digital_input && i < l->inputs; i++) {
            out[i] = l->digital_input[i] ? 0 : out[i];
        }
        if (j->work->compute == COMPUTE_BF16) {
            round_operand(out, l->inputs, 1, l->inputs, out, l->inputs);
        }
    }
}

static void quantise_inputs(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x) {
    struct input_job job = {l, w, x, 0};
    if (l->rule->inputs == TRAIN_INPUTS_STATIC) {
        if (p->mode == STUDENT_TRAIN && !p->again && !p->mirrored) {
            take_ranges(l, w, p->tokens, x);
        }
        for (size_t b = 0; b < l->blocks; b++) {
            l->used_range[b] = l->range[b] > (real)l->rule->range_floor ? l->range[b] : (real)l->rule->range_floor;
        }
    } else if (l->rule->inputs == TRAIN_INPUTS_PER_TOKEN) {
        parallel_for(p->tokens, 0, 0, token_largest, &job);
    }
    parallel_for(p->tokens, 0, 0, quantise_tokens, &job);
}

/* ---- outputs ----------------------------------------------------------------------------------- */

/* Limits of one panel of outputs in units of the input range. */
struct bounds { real inverse[PANEL], step[PANEL], steps, half; bool round; };

static struct bounds bounds_of(const struct analog_layer *l, size_t block, size_t panel) {
    const struct analog_rule *r = l->rule;
    struct bounds b = {.steps = r->adc_steps ? (real)r->adc_steps : 1, .round = r->adc_steps && !r->no_rounding};
    for (size_t lane = 0; lane < PANEL; lane++) {
        size_t o = smaller(panel * PANEL + lane, l->outputs - 1);
        real m = r->adc_per_column ? l->largest[block * l->outputs + o] : l->block_largest[block];
        real bound = l->adc_range ? (real)l->adc_range[block * l->outputs + o] : (real)r->adc_bound * m;
        b.step[lane] = bound / b.steps;
        b.inverse[lane] = bound > 0 ? b.steps / bound : 0;
    }
    return b;
}

/* Codes of one token's results; with `round` a constant where this is expanded. */
static inline void codes_of(const struct bounds *b, bool round, real inverse_range, const real *restrict tile,
                            real *restrict code) {
    real over = b->steps + 1;
    for (size_t lane = 0; lane < PANEL; lane++) {
        real v = clamp(tile[lane] * (b->inverse[lane] * inverse_range), over);
        code[lane] = round ? rounded(v) : v;
    }
}

/* n tokens [ld], token t with ranges[t]: out [n][PANEL] as the ADC says; outside counts per lane. */
static inline void convert(const struct bounds *b, bool round, const real *ranges, const real *restrict tile, size_t ld,
                           size_t n, real *restrict out, int32_t *restrict outside) {
    const struct bounds k = *b;
    for (size_t t = 0; t < n; t++) {
        real code[PANEL];
        codes_of(&k, round, ranges[t] > 0 ? 1 / ranges[t] : 0, tile + t * ld, code);
        for (size_t lane = 0; lane < PANEL; lane++) {
            outside[lane] += real_abs(code[lane]) > k.steps ? 1 : 0;
        }
        for (size_t lane = 0; lane < PANEL; lane++) {
            out[t * PANEL + lane] = clamp(code[lane], k.steps) * (k.step[lane] * ranges[t]);
        }
    }
}

static uint16_t outside_lanes(const struct bounds *b, real range, const real *tile) {
    real code[PANEL];
    unsigned mask = 0;
    codes_of(b, b->round, range > 0 ? 1 / range : 0, tile, code);
    for (size_t lane = 0; lane < PANEL; lane++) {
        mask |= (unsigned)(real_abs(code[lane]) > b->steps) << lane;
    }
    return (uint16_t)mask;
}

struct forward_job {
    struct analog_layer *layer;
    struct analog_work *work;
    const struct analog_pass *pass;
    const real *x;
    real *y;
    size_t ldy;
    bool acts;
};

static real range_of(const struct forward_job *j, size_t block, size_t token) {
    switch (j->layer->rule->inputs) {
    case TRAIN_INPUTS_STATIC: return j->layer->used_range[block];
    case TRAIN_INPUTS_PER_TOKEN: return j->work->token_range[block * j->work->tokens + token];
    default: return 1;
    }
}

/* A tile [n][GROUP] of results of tokens [first, first + n): converts it and notes what was outside. */
static void convert_tile(const struct forward_job *j, size_t block, size_t panel, size_t first, size_t n,
                         const real *tile, real *converted) {
    struct analog_layer *l = j->layer;
    struct bounds bounds = bounds_of(l, block, panel);
    size_t at = block * panels_in(l->outputs) + panel;
    int32_t outside[PANEL] = {0}, any = 0;
    real ranges[CHUNK];
    for (size_t t = 0; t < n; t++) {
        ranges[t] = range_of(j, block, first + t);
    }
    if (bounds.round) {
        convert(&bounds, true, ranges, tile, GROUP, n, converted, outside);
    } else {
        convert(&bounds, false, ranges, tile, GROUP, n, converted, outside);
    }
    for (size_t lane = 0; lane < PANEL; lane++) {
        any |= outside[lane];
    }
    l->any[at * chunks_in(j->pass) + chunk_with(j->pass, first)] = any != 0;
    for (size_t t = 0; any && t < n; t++) {
        l->clipped[at * j->work->tokens + first + t] = outside_lanes(&bounds, ranges[t], tile + t * GROUP);
    }
}

/* y [n][ldy] = start + tile [n][ld], or += tile where start is NULL; expanded for whole panels. */
static inline void store_lanes(const real *start, const real *restrict tile, size_t n, size_t ld, size_t lanes,
                               real *restrict y, size_t ldy) {
    for (size_t t = 0; t < n; t++) {
        for (size_t lane = 0; lane < lanes; lane++) {
            y[t * ldy + lane] = (start ? start[lane] : y[t * ldy + lane]) + tile[t * ld + lane];
        }
    }
}

static void store_tile(const real *start, const real *tile, size_t n, size_t ld, size_t lanes, real *y, size_t ldy) {
    if (lanes == PANEL && start) {
        store_lanes(start, tile, n, ld, PANEL, y, ldy);
    } else if (lanes == PANEL) {
        store_lanes(NULL, tile, n, ld, PANEL, y, ldy);
    } else {
        store_lanes(start, tile, n, ld, lanes, y, ldy);
    }
}

static bool watches(const struct analog_pass *p) { return p->watch && !p->again; }
static bool watches_results(const struct forward_job *j) {
    return j->acts && watches(j->pass) && j->pass->watch->results;
}

/* Outputs [o, o + count) of a chunk. */
struct piece { size_t o, count, token, n; };

/* Results of a row block, tile [n][GROUP], are converted and go to their place; those of the first set it. */
static void finish_tile(const struct forward_job *j, const struct piece *at, size_t block, real *tile,
                        real *converted) {
    const struct analog_layer *l = j->layer;
    bool limited = l->rule->adc_bound > 0;
    for (size_t p = 0; p < panels_in(at->count); p++) {
        size_t o = at->o + p * PANEL, lanes = smaller(PANEL, l->outputs - o);
        real *results = tile + p * PANEL, *y = j->y + at->token * j->ldy + o, bias[PANEL] = {0};
        for (size_t t = 0; lanes < PANEL && t < at->n; t++) {
            memset(results + t * GROUP + lanes, 0, (PANEL - lanes) * sizeof *results);
        }
        if (watches_results(j)) {
            j->pass->watch->results(j->pass->watch->context, l, block, o / PANEL, results, GROUP, at->n);
        }
        if (l->bias) {
            memcpy(bias, l->bias + o, lanes * sizeof *bias);
        }
        if (limited) {
            convert_tile(j, block, o / PANEL, at->token, at->n, results, converted);
        }
        store_tile(block ? NULL : bias, limited ? converted : results, at->n, limited ? PANEL : GROUP, lanes, y,
                   j->ldy);
    }
}

static void start_with_bias(const struct forward_job *j, const struct piece *at) {
    for (size_t t = 0; t < at->n; t++) {
        memcpy(j->y + (at->token + t) * j->ldy + at->o, j->layer->bias + at->o, at->count * sizeof *j->y);
    }
}

/* Weights of the outputs of a piece, for a product. room: for a rounded copy of weights that are the master. */
static struct operand weights_of(const struct forward_job *j, const struct piece *at, real *room) {
    const struct analog_layer *l = j->layer;
    const real *w = l->used + at->o * l->inputs;
    if (j->work->compute == COMPUTE_BF16 && !j->acts) {
        round_operand(w, l->inputs, at->count, l->inputs, room, l->inputs);
        w = room;
    }
    return (struct operand){w, l->inputs, true};
}

static void multiply_piece(const struct forward_job *j, const struct piece *at, real *scratch) {
    const struct analog_layer *l = j->layer;
    real *tile = scratch, *converted = tile + CHUNK * GROUP, *y = j->y + at->token * j->ldy + at->o;
    struct operand x = {j->x + at->token * l->inputs, l->inputs, false};
    struct operand w = weights_of(j, at, converted + CHUNK * PANEL);
    if (!j->acts) {
        if (l->bias) {
            start_with_bias(j, at);
        }
        product(at->n, at->count, l->inputs, x, w, l->bias ? 1 : 0, y, j->ldy);
        return;
    }
    for (size_t b = 0; b < l->blocks; b++) {
        struct operand inputs = {x.at + l->begin[b], x.ld, false}, columns = {w.at + l->begin[b], w.ld, true};
        product(at->n, at->count, l->begin[b + 1] - l->begin[b], inputs, columns, 0, tile, GROUP);
        finish_tile(j, at, b, tile, converted);
    }
}

static size_t groups_in(const struct analog_layer *l) { return (l->outputs + GROUP - 1) / GROUP; }

/* Pieces [begin, end): all chunks of a group, then those of the next. */
static void multiply_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct forward_job *j = context;
    size_t chunks = chunks_in(j->pass);
    for (size_t i = begin; i < end; i++) {
        size_t o = i / chunks * GROUP;
        struct chunk c = chunk_at(j->pass, i % chunks);
        struct piece at = {o, smaller(GROUP, j->layer->outputs - o), c.token, c.n};
        multiply_piece(j, &at, j->work->scratch + (size_t)worker * j->work->scratch_reals);
    }
}

static void make_weights(void *context, size_t begin, size_t end, int worker) {
    const struct forward_job *j = context;
    struct analog_layer *l = j->layer;
    analog_make_weights(l, j->pass, begin, end - begin,
                        (float *)(j->work->scratch + (size_t)worker * j->work->scratch_reals));
    if (j->work->compute == COMPUTE_BF16) {
        real *rows = l->noisy + begin * l->inputs;
        round_operand(rows, l->inputs, end - begin, l->inputs, rows, l->inputs);
    }
}

static void round_inputs(void *context, size_t begin, size_t end, int worker) {
    const struct input_job *j = context;
    size_t I = j->layer->inputs;
    (void)worker;
    round_operand(j->x + begin * I, I, end - begin, I, j->work->quantised + begin * I, I);
}

const real *analog_multiplied_inputs(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p,
                                     const real *x) {
    struct input_job job = {l, w, x, 0};
    if (analog_acts(l, p)) {
        quantise_inputs(l, w, p, x);
    } else if (w->compute == COMPUTE_BF16) {
        parallel_for(p->tokens, 0, 0, round_inputs, &job);
    } else {
        return x;
    }
    return w->quantised;
}

void analog_layer_forward(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x,
                          real *y, size_t ldy) {
    bool acts = analog_acts(l, p);
    l->used = acts ? l->noisy : l->weight;
    if (watches(p) && p->watch->inputs) {
        p->watch->inputs(p->watch->context, l, x, p->tokens);
    }
    struct forward_job job = {l, w, p, analog_multiplied_inputs(l, w, p, x), y, ldy, acts};
    if (acts && !p->again) {
        analog_measure_weights(l);
        parallel_for(l->outputs, PANEL, 0, make_weights, &job);
    }
    size_t chunks = chunks_in(p), pieces = groups_in(l) * chunks;
    parallel_for(pieces, watches_results(&job) ? chunks : 1, 0, multiply_pieces, &job);
    if (acts && l->side_begin) {
        analog_side_forward(l, w, p->tokens, x, y, ldy);
    }
}
