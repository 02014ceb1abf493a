/* The weights that a forward pass multiplies: clipped, quantised, with fresh noise; and what becomes of their
 * gradients. The equations are in rule.h and student_linear.h.
 *
 * Noise number of weight (o, i): o x P + i, P = the inputs rounded up to whole blocks of the generator, stream of the
 * matrix, seed of the batch's key. So it does not depend on who makes which rows. */
#include <float.h>
#include <string.h>

#include "base/random.h"
#include "base/threads.h"
#include "models/adapt/student_linear.h"

bool analog_acts(const struct analog_layer *l, const struct analog_pass *p) {
    return l->rule && p->mode != STUDENT_PLAIN;
}

static bool is_noisy(const struct analog_layer *l, const struct analog_pass *p) {
    return l->rule->noise != TRAIN_NOISE_NONE && (p->mode == STUDENT_NOISY || p->mode == STUDENT_TRAIN);
}

/* ---- measures ---------------------------------------------------------------------------------- */

/* Walks over the weights of an output that are on the tile: [*from, returned end) is the next run without digital
 * weights in [*from, stop); *side moves on in the list of digital ones. */
static uint32_t next_run(const struct analog_layer *l, size_t o, uint32_t *side, uint32_t *from, uint32_t stop) {
    uint32_t end = l->side_begin ? l->side_begin[o + 1] : 0;
    while (*side < end && l->side_inputs[*side] <= *from) {
        *from += l->side_inputs[*side] == *from;
        ++*side;
    }
    return *side < end && l->side_inputs[*side] < stop ? l->side_inputs[*side] : stop;
}

static uint32_t first_side(const struct analog_layer *l, size_t o) { return l->side_begin ? l->side_begin[o] : 0; }

struct moments { double n, sum, squares; };

static void add_moments(const real *w, size_t n, struct moments *m) {
    double lane[8] = {0}, square[8] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % 8] += (double)w[i];
        square[i % 8] += (double)w[i] * (double)w[i];
    }
    for (size_t j = 0; j < 8; j++) {
        m->sum += lane[j];
        m->squares += square[j];
    }
    m->n += (double)n;
}

static void add_row_moments(const struct analog_layer *l, size_t o, struct moments *m) {
    uint32_t side = first_side(l, o);
    for (uint32_t from = 0; from < l->inputs;) {
        uint32_t to = next_run(l, o, &side, &from, l->inputs);
        if (from < to) {
            add_moments(l->weight + o * l->inputs + from, to - from, m);
        }
        from = to;
    }
}

/* alpha standard deviations, n - 1 */
static real clip_bound(const struct analog_layer *l, struct moments m) {
    double variance = (m.squares - m.sum * m.sum / m.n) / (m.n - 1.0);
    return variance > 0.0 ? (real)(l->rule->clip_sds * sqrt(variance)) : 0;
}

static real clip_of_row(const struct analog_layer *l, size_t o) {
    struct moments m = {0, 0, 0};
    add_row_moments(l, o, &m);
    return clip_bound(l, m);
}

static real clip_of_matrix(const struct analog_layer *l) {
    struct moments m = {0, 0, 0};
    for (size_t o = 0; o < l->outputs; o++) {
        add_row_moments(l, o, &m);
    }
    return clip_bound(l, m);
}

static real largest_of_run(const real *w, size_t n, real most) {
    real lane[8] = {0};
    for (size_t i = 0; i < n; i++) {
        real size = real_abs(w[i]);
        lane[i % 8] = size > lane[i % 8] ? size : lane[i % 8];
    }
    for (size_t j = 0; j < 8; j++) {
        most = lane[j] > most ? lane[j] : most;
    }
    return most;
}

real analog_largest_weight(const struct analog_layer *l, size_t o, size_t t) {
    uint32_t side = first_side(l, o);
    real most = 0;
    for (uint32_t from = l->begin[t]; from < l->begin[t + 1];) {
        uint32_t to = next_run(l, o, &side, &from, l->begin[t + 1]);
        if (from < to) {
            most = largest_of_run(l->weight + o * l->inputs + from, to - from, most);
        }
        from = to;
    }
    return most;
}

/* What no weight of output o exceeds on its tile; at: the place of the tile's column. */
static real bound_of(const struct analog_layer *l, size_t o, size_t at) {
    real scale = l->scale ? (real)l->scale[at] : (real)INFINITY;
    return scale < l->limit[o] ? scale : l->limit[o];
}

static void measure_rows(void *context, size_t begin, size_t end, int worker) {
    struct analog_layer *l = context;
    (void)worker;
    for (size_t o = begin; o < end; o++) {
        if (l->rule->clip == TRAIN_CLIP_COLUMN) {
            l->limit[o] = clip_of_row(l, o);
        }
        for (size_t t = 0; t < l->blocks; t++) {
            size_t at = t * l->outputs + o;
            real m = l->clip ? l->clip[at] : analog_largest_weight(l, o, t), most = bound_of(l, o, at);
            l->largest[at] = m < most ? m : most;
        }
    }
}

static void set_limits(struct analog_layer *l) {
    real all = l->rule->clip == TRAIN_CLIP_MATRIX ? clip_of_matrix(l) : (real)INFINITY;
    for (size_t o = 0; o < l->outputs; o++) {
        l->limit[o] = all;
    }
}

void analog_measure_weights(struct analog_layer *l) {
    set_limits(l);
    parallel_for(l->outputs, 0, 0, measure_rows, l);
    for (size_t t = 0; t < l->blocks; t++) {
        real most = 0;
        for (size_t o = 0; o < l->outputs; o++) {
            most = l->largest[t * l->outputs + o] > most ? l->largest[t * l->outputs + o] : most;
        }
        l->block_largest[t] = most;
    }
}

/* ---- forward ----------------------------------------------------------------------------------- */

static inline real clamp(real v, real most) {
    real low = v < -most ? -most : v;
    return low > most ? most : low;
}

static inline real rounded(real v) {
    return (v + (real)REAL_ROUNDER) - (real)REAL_ROUNDER;
}

static void quantise_weights(const struct analog_rule *r, real *w, size_t n, real most) {
    real steps = (real)r->weight_steps, step = most / steps, inverse = most > 0 ? steps / most : 0;
    for (size_t i = 0; i < n; i++) {
        real code = clamp(w[i] * inverse, steps);
        w[i] = (r->no_rounding ? code : rounded(code)) * step;
    }
}

static void add_cell_noise(const float *curve, float factor, real *w, size_t n, real most, const float *numbers) {
    const float nodes = NOISE_NODES - 1;
    float scale = most > 0 ? nodes / (float)most : 0;
    for (size_t i = 0; i < n; i++) {
        float at = fabsf((float)w[i]) * scale;
        at = at < nodes ? at : nodes;
        int node = (int)at;
        node = node < NOISE_NODES - 2 ? node : NOISE_NODES - 2;
        float part = at - (float)node;
        w[i] += most * (real)(factor * (curve[node] + (curve[node + 1] - curve[node]) * part) * numbers[i]);
    }
}

static void add_noise(const struct analog_layer *l, real *w, size_t n, size_t o, size_t t, const float *numbers) {
    size_t at = t * l->outputs + o;
    real most = l->scale ? (real)l->scale[at] : l->largest[at];
    if (l->rule->noise == TRAIN_NOISE_CELL) {
        add_cell_noise(l->rule->noise_curve, l->cell_noise, w, n, most, numbers);
        return;
    }
    real sd = (real)l->rule->noise_sd * (l->rule->noise == TRAIN_NOISE_COLUMN ? most : l->block_largest[t]);
    for (size_t i = 0; i < n; i++) {
        w[i] += sd * (real)numbers[i];
    }
}

/* Noise numbers of row o. */
static void draw(const struct analog_layer *l, uint64_t seed, bool mirrored, size_t o, float *numbers) {
    enum { AT_ONCE = 32 };
    uint64_t blocks[AT_ONCE], per_row = panels_in(l->inputs), stream = random_stream(RANDOM_WEIGHT_NOISE, l->matrix);
    for (uint64_t b = 0; b < per_row; b += AT_ONCE) {
        size_t n = smaller(AT_ONCE, per_row - b);
        for (size_t i = 0; i < n; i++) {
            blocks[i] = o * per_row + b + i;
        }
        kernels()->gaussian_blocks(seed, stream, blocks, n, numbers + b * GAUSSIAN_BLOCK);
    }
    for (size_t i = 0; mirrored && i < l->inputs; i++) {
        numbers[i] = -numbers[i];
    }
}

static void clear_digital(const struct analog_layer *l, size_t o, real *w) {
    for (uint32_t k = l->side_begin[o]; k < l->side_begin[o + 1]; k++) {
        w[l->side_inputs[k]] = 0;
    }
}

void analog_make_weights(struct analog_layer *l, const struct analog_pass *p, size_t first, size_t count,
                         float *numbers) {
    const struct analog_rule *r = l->rule;
    bool noisy = is_noisy(l, p);
    uint64_t seed = random_seed_at(l->seed, RANDOM_WEIGHT_NOISE, p->key);
    for (size_t o = first; o < first + count; o++) {
        real *row = l->noisy + o * l->inputs;
        memcpy(row, l->weight + o * l->inputs, l->inputs * sizeof *row);
        if (noisy) {
            draw(l, seed, p->mirrored, o, numbers);
        }
        for (size_t t = 0; t < l->blocks; t++) {
            size_t n = l->begin[t + 1] - l->begin[t];
            real *w = row + l->begin[t], most = l->largest[t * l->outputs + o];
            if (r->clip != TRAIN_CLIP_NONE || l->scale) {
                real bound = l->clip ? most : bound_of(l, o, t * l->outputs + o);
                for (size_t i = 0; i < n; i++) {
                    w[i] = clamp(w[i], bound);
                }
            }
            if (r->weight_steps) {
                quantise_weights(r, w, n, r->weight_scale_per_column ? most : l->block_largest[t]);
            }
            if (noisy) {
                add_noise(l, w, n, o, t, numbers + l->begin[t]);
            }
        }
        if (l->side_begin) {
            clear_digital(l, o, row);
        }
    }
}

/* ---- gradients --------------------------------------------------------------------------------- */

/* A learned clip (LSQ): see student_linear.h. */
static void learned_gradient(struct analog_layer *l, size_t o, size_t t, const real *g) {
    const struct analog_rule *r = l->rule;
    size_t n = l->begin[t + 1] - l->begin[t];
    const real *w = l->weight + o * l->inputs + l->begin[t];
    real *dw = l->weight_gradient + o * l->inputs + l->begin[t], c = l->clip[t * l->outputs + o];
    real steps = r->weight_steps ? (real)r->weight_steps : 1, step = c / steps;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        real q = step > 0 ? w[i] / step : 0, inside = real_abs(q) <= steps;
        real rounding = r->weight_steps && !r->no_rounding ? rounded(clamp(q, steps)) - q : 0;
        dw[i] += inside * g[i];
        sum += (double)(g[i] * (inside > 0 ? rounding : q > 0 ? steps : -steps));
    }
    l->clip_gradient[t * l->outputs + o] += (real)(sum / sqrt((double)n * l->outputs * (double)steps));
}

void analog_weight_gradient(struct analog_layer *l, size_t o, size_t t, real *g) {
    for (uint32_t k = first_side(l, o); l->side_begin && k < l->side_begin[o + 1]; k++) {
        if (l->side_inputs[k] >= l->begin[t] && l->side_inputs[k] < l->begin[t + 1]) {
            g[l->side_inputs[k] - l->begin[t]] = 0;
        }
    }
    if (l->clip) {
        learned_gradient(l, o, t, g);
        return;
    }
    uint32_t first = l->begin[t];
    add_scaled(l->weight_gradient + o * l->inputs + first, 1, g, l->begin[t + 1] - first);
}

static void keep_positive(real *values, size_t n, real floor) {
    for (size_t i = 0; i < n; i++) {
        values[i] = values[i] > floor ? values[i] : floor;
    }
}

static void clip_rows(void *context, size_t begin, size_t end, int worker) {
    struct analog_layer *l = context;
    (void)worker;
    for (size_t o = begin; o < end; o++) {
        real most = l->rule->clip == TRAIN_CLIP_COLUMN ? clip_of_row(l, o) : l->limit[o];
        real *w = l->weight + o * l->inputs;
        uint32_t side = first_side(l, o);
        for (uint32_t from = 0; from < l->inputs;) {
            uint32_t to = next_run(l, o, &side, &from, l->inputs);
            for (; from < to; from++) {
                w[from] = clamp(w[from], most);
            }
        }
    }
}

void analog_layer_clip(struct analog_layer *l) {
    if (!l->rule) {
        return;
    }
    bool by_sds = l->rule->clip == TRAIN_CLIP_COLUMN || l->rule->clip == TRAIN_CLIP_MATRIX;
    if (by_sds && l->rule->clip_master) {
        set_limits(l);
        parallel_for(l->outputs, 0, 0, clip_rows, l);
    }
    keep_positive(l->range, l->blocks, (real)l->rule->range_floor);
    if (l->clip) {
        keep_positive(l->clip, (size_t)l->blocks * l->outputs, (real)FLT_MIN);
    }
}
