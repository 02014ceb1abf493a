/* The forward pass of a linear layer: see student_linear.h and rule.h.
 *
 * A piece of work is a GROUP of outputs: their weights are made and packed, multiplied with all tokens chunk by chunk,
 * and converted while they are in the cache. The small inner loops are plain C over PANEL lanes that compilers turn
 * into vector code. */
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

static size_t chunks_in(size_t tokens) { return (tokens + CHUNK - 1) / CHUNK; }

bool analog_layer_buffers(struct analog_layer *l, struct arena *a, uint32_t tokens) {
    size_t panels = panels_in(l->outputs);
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
    l->any = arena_alloc(a, l->blocks * panels * chunks_in(tokens), sizeof *l->any);
    return l->noisy && l->largest && l->block_largest && l->used_range && l->limit && l->clipped && l->any;
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

bool analog_work_buffers(struct analog_work *w, struct arena *a, size_t more) {
    size_t width = (size_t)w->inputs + (size_t)w->blocks * PANEL; /* panels of all blocks */
    w->threads = threads_count();
    w->packed_reals = most(w->tokens, 1024) * width;
    /* forward: weights of a group, tiles of its panels, one after conversion, noise numbers */
    size_t forward = (size_t)GROUP * w->inputs + (GROUP_PANELS + 1) * CHUNK * PANEL + width;
    size_t weights = (size_t)GROUP * (w->tokens + w->inputs) + 64;
    size_t inputs = (size_t)CHUNK * 1024 + GROUP_PANELS * CHUNK * PANEL;
    size_t side = ((size_t)w->inputs + w->outputs + PANEL) * CHUNK;
    w->scratch_reals = (most(most(forward, weights), most(most(inputs, side), more)) + 31) / 16 * 16;
    w->quantised = reals_of(a, (size_t)w->tokens * w->inputs);
    w->gradient_in = reals_of(a, (size_t)w->tokens * w->inputs);
    w->token_range = reals_of(a, (size_t)w->blocks * w->tokens);
    w->token_sums = arena_alloc(a, w->tokens, 4 * sizeof *w->token_sums);
    w->packed = reals_of(a, w->packed_reals);
    w->scratch = reals_of(a, (size_t)w->threads * w->scratch_reals);
    return w->quantised && w->gradient_in && w->token_range && w->token_sums && w->packed && w->scratch;
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
    }
}

void analog_quantise_inputs(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x) {
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

/* n tokens [PANEL], token t with ranges[t]: `out` as the ADC says; outside counts per lane. */
static inline void convert(const struct bounds *b, bool round, const real *ranges, const real *restrict tile, size_t n,
                           real *restrict out, int32_t *restrict outside) {
    const struct bounds k = *b;
    for (size_t t = 0; t < n; t++) {
        real code[PANEL];
        codes_of(&k, round, ranges[t] > 0 ? 1 / ranges[t] : 0, tile + t * PANEL, code);
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

/* A tile [n][PANEL] of results of tokens [first, first + n): converts it and notes what was outside. */
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
        convert(&bounds, true, ranges, tile, n, converted, outside);
    } else {
        convert(&bounds, false, ranges, tile, n, converted, outside);
    }
    for (size_t lane = 0; lane < PANEL; lane++) {
        any |= outside[lane];
    }
    l->any[at * chunks_in(j->work->tokens) + first / CHUNK] = any != 0;
    for (size_t t = 0; any && t < n; t++) {
        l->clipped[at * j->work->tokens + first + t] = outside_lanes(&bounds, ranges[t], tile + t * PANEL);
    }
}

/* y = start + tile for all lanes */
static void store_whole(const real *restrict start, const real *restrict tile, size_t n,
                        real *restrict y, size_t ldy) {
    for (size_t t = 0; t < n; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            y[t * ldy + lane] = start[lane] + tile[t * PANEL + lane];
        }
    }
}

static void add_whole(const real *restrict tile, size_t n, real *restrict y, size_t ldy) {
    for (size_t t = 0; t < n; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            y[t * ldy + lane] += tile[t * PANEL + lane];
        }
    }
}

/* Adds a tile to its place in y: set by the first block, with the bias. */
static void store_tile(const struct forward_job *j, size_t block, size_t panel, size_t first, size_t n,
                       const real *tile) {
    const struct analog_layer *l = j->layer;
    size_t o = panel * PANEL, lanes = smaller(PANEL, l->outputs - o);
    real start[PANEL] = {0}, *y = j->y + first * j->ldy + o;
    if (l->bias) {
        memcpy(start, l->bias + o, lanes * sizeof *start);
    }
    if (lanes == PANEL && block) {
        add_whole(tile, n, y, j->ldy);
    } else if (lanes == PANEL) {
        store_whole(start, tile, n, y, j->ldy);
    }
    for (size_t t = 0; lanes < PANEL && t < n; t++) {
        for (size_t lane = 0; lane < lanes; lane++) {
            y[t * j->ldy + lane] = (block ? y[t * j->ldy + lane] : start[lane]) + tile[t * PANEL + lane];
        }
    }
}

struct block_range { size_t first, n; };

static struct block_range inputs_of(const struct analog_layer *l, bool acts, size_t block) {
    return acts ? (struct block_range){l->begin[block], l->begin[block + 1] - l->begin[block]}
                : (struct block_range){0, l->inputs};
}

static bool watches(const struct analog_pass *p) { return p->watch && !p->again; }

/* One panel's results of tokens [first, first + n). */
static void finish_tile(const struct forward_job *j, size_t block, size_t panel, size_t first, size_t n,
                        const real *tile, real *converted) {
    bool limited = j->acts && j->layer->rule->adc_bound > 0;
    if (j->acts && watches(j->pass) && j->pass->watch->results) {
        j->pass->watch->results(j->pass->watch->context, j->layer, block, panel, tile, n);
    }
    if (limited) {
        convert_tile(j, block, panel, first, n, tile, converted);
    }
    store_tile(j, block, panel, first, n, limited ? converted : tile);
}

static void pack_weights(const struct forward_job *j, struct block_range in, size_t begin, size_t end, real *packed) {
    const struct analog_layer *l = j->layer;
    for (size_t p = begin; p < end; p++) {
        panel_of_rows(j->work->compute, l->used + p * PANEL * l->inputs + in.first, l->inputs,
                      smaller(PANEL, l->outputs - p * PANEL), in.n, packed + (p - begin) * in.n * PANEL);
    }
}

/* Panels [begin, end) in one block; tiles [GROUP_PANELS + 1][CHUNK][PANEL]. */
static void multiply_block(const struct forward_job *j, size_t block, size_t begin, size_t end, real *packed,
                           real *tiles) {
    const struct analog_layer *l = j->layer;
    struct block_range in = inputs_of(l, j->acts, block);
    pack_weights(j, in, begin, end, packed);
    for (size_t t = 0; t < j->pass->tokens; t += CHUNK) {
        size_t n = smaller(CHUNK, j->pass->tokens - t);
        panels_multiply(j->work->compute, packed, in.n * PANEL, end - begin, in.n, j->x + t * l->inputs + in.first,
                        l->inputs, n, tiles, PANEL, CHUNK * PANEL, PANEL);
        for (size_t p = begin; p < end; p++) {
            finish_tile(j, block, p, t, n, tiles + (p - begin) * CHUNK * PANEL, tiles + GROUP_PANELS * CHUNK * PANEL);
        }
    }
}

/* A digital product without bias goes straight to its place. */
static void multiply_plain(const struct forward_job *j, size_t begin, size_t end, real *packed) {
    const struct analog_layer *l = j->layer;
    size_t I = l->inputs;
    pack_weights(j, (struct block_range){0, I}, begin, end, packed);
    for (size_t t = 0; t < j->pass->tokens; t += CHUNK) {
        panels_multiply(j->work->compute, packed, I * PANEL, end - begin, I, j->x + t * I, I,
                        smaller(CHUNK, j->pass->tokens - t), j->y + t * j->ldy + begin * PANEL, j->ldy, PANEL,
                        smaller(PANEL, l->outputs - (end - 1) * PANEL));
    }
}

static void multiply_groups(void *context, size_t begin, size_t end, int worker) {
    const struct forward_job *j = context;
    struct analog_layer *l = j->layer;
    real *tiles = j->work->scratch + (size_t)worker * j->work->scratch_reals;
    real *packed = tiles + (GROUP_PANELS + 1) * CHUNK * PANEL;
    for (size_t g = begin; g < end; g++) {
        size_t first = g * GROUP_PANELS, last = smaller(first + GROUP_PANELS, panels_in(l->outputs));
        if (j->acts && !j->pass->again) {
            analog_make_weights(l, j->pass, first * PANEL, smaller(last * PANEL, l->outputs) - first * PANEL,
                                (float *)tiles);
        }
        bool straight = !j->acts && !l->bias;
        if (straight) {
            multiply_plain(j, first, last, packed);
        }
        for (size_t b = 0; !straight && b < (j->acts ? l->blocks : 1); b++) {
            multiply_block(j, b, first, last, packed, tiles);
        }
    }
}

void analog_layer_forward(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x,
                          real *y, size_t ldy) {
    bool acts = analog_acts(l, p);
    l->used = acts ? l->noisy : l->weight;
    if (watches(p) && p->watch->inputs) {
        p->watch->inputs(p->watch->context, l, x, p->tokens);
    }
    if (acts) {
        analog_quantise_inputs(l, w, p, x);
        if (!p->again) {
            analog_measure_weights(l);
        }
    }
    struct forward_job job = {l, w, p, acts ? w->quantised : x, y, ldy, acts};
    parallel_for((panels_in(l->outputs) + GROUP_PANELS - 1) / GROUP_PANELS, 1, 0, multiply_groups, &job);
    if (acts && l->side_begin) {
        analog_side_forward(l, w, p->tokens, x, y, ldy);
    }
}
