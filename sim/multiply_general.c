/* The general multiply: any number of lines and passes, noise of every read, real converters, shared columns, repeats.
 * multiply_reference.c says the same in plain double loops; multiply.c is the short way for the plain case.
 *
 * Weights are fp32 panels. TOKENS tokens at a time, row block by row block:
 *   drive    inputs -> levels of every pass (multiply_inputs.c)                            threads over tokens
 *   shared   results of the tiles' shared columns                                          threads over column blocks
 *   panels   per line and group of passes (passes.h), in this order                        threads over panels
 *              v = sum over passes of the group of (gain) sum(w level)
 *              white noise    v += z sqrt(sum(variance x sum over passes of (gain level)^2)), over rows drawn by
 *                             chance for four panels at a time (base/drawn_noise.c), or over all rows with variances
 *                             and squares as bytes (base/read_noise.c)
 *              ADC            code = circuit(v / full scale), or clamp(round(v / step))
 *              digital        y_block += code x step x line factor x compensation x gain x input range
 *   repeats  bound management: where results of a token were clipped, again with its inputs divided by 2, 4, ...
 *   finish   y_block -= shared columns, offset x sum of inputs; affine correction; y += y_block
 * The bound management repeats all tiles of a row block for a token of which any clipped.
 *
 * A sum is made by one thread in a fixed order, and every random number has its own index: the same bytes for any
 * thread count and any cut of the tokens. With an analog sum of passes (accumulate = analog) gain stands before the
 * ADC, else after it.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "sim/ladder.h"
#include "sim/multiply.h"

/* ---- scratch ------------------------------------------------------------------------------------------------------
 */

void general_scratch_destroy(struct general_scratch *g) {
    if (g) {
        mem_free(g->codes);
        mem_free(g->levels);
        mem_free(g->squares);
        mem_free(g->group_squares);
        mem_free(g->group_sums);
        mem_free(g->group_places);
        mem_free(g->group_roots);
        mem_free(g->strip_sd);
        mem_free(g->far);
        mem_free(g->sizes);
        mem_free(g->input_sum);
        mem_free(g->shared);
        mem_free(g->shared_beyond);
        mem_free(g->y);
        mem_free(g->beyond);
        mem_free(g->panels);
        mem_free(g->averages);
        network_scratch_destroy(g->network);
        mem_free(g);
    }
}

/* The largest of each dimension over all arrays. */
struct extent {
    size_t rows, columns, panels, shared, tiles, draws;
    bool noisy;
};

static struct extent extent_of(const struct machine *m) {
    struct extent x = {0};
    for (size_t i = 0; i < m->count; i++) {
        const struct array *a = m->arrays[i];
        for (uint32_t b = 0; a && b < a->row_blocks; b++) {
            uint32_t rows = array_block_rows(a, b);
            x.rows = rows > x.rows ? rows : x.rows;
        }
        if (a) {
            size_t shared = a->shared ? (size_t)a->column_blocks * m->plan.slices : 0;
            x.columns = a->columns > x.columns ? a->columns : x.columns;
            x.panels = a->panels > x.panels ? a->panels : x.panels;
            x.shared = shared > x.shared ? shared : x.shared;
            x.tiles += (size_t)a->row_blocks * a->column_blocks;
            x.noisy = x.noisy || a->variances;
            x.draws = a->variances && a->draws > x.draws ? a->draws : x.draws;
        }
    }
    return x;
}

struct general_scratch *general_scratch_create(const struct machine *m) {
    struct extent x = extent_of(m);
    struct general_scratch *g = mem_alloc(1, sizeof *g);
    if (!g) {
        return NULL;
    }
    size_t stride = (x.rows + 1) / 2 * 2, levels = m->inputs.passes * TOKENS * stride,
           groups = x.noisy ? (size_t)m->inputs.groups * TOKENS : 0;
    bool any = m->phenomena.any, averages = m->spec->tile.management.noise == NOISE_AVERAGE_ABS_MAX;
    g->stride = (uint32_t)stride;
    g->threads = threads_count();
    g->codes = mem_alloc(TOKENS * stride, sizeof *g->codes);
    g->levels = mem_alloc(levels, sizeof *g->levels);
    g->squares = any ? mem_alloc(levels, sizeof *g->squares) : NULL;
    g->byte_stride = (x.rows + 7) / 8 * 8;
    g->group_squares = groups ? mem_alloc(groups * g->byte_stride, sizeof *g->group_squares) : NULL;
    g->group_sums = groups ? mem_alloc(groups, sizeof *g->group_sums) : NULL;
    g->sd_stride = x.draws ? (size_t)m->plan.lines * groups * NOISE_STRIP : 0;
    g->group_places = x.draws ? mem_alloc(groups * x.draws, sizeof *g->group_places) : NULL;
    g->group_roots = x.draws ? mem_alloc(groups, sizeof *g->group_roots) : NULL;
    g->strip_sd = x.draws ? mem_alloc((size_t)g->threads * g->sd_stride, sizeof *g->strip_sd) : NULL;
    g->far = any ? mem_alloc(levels, sizeof *g->far) : NULL;
    g->sizes = any ? mem_alloc(levels, sizeof *g->sizes) : NULL;
    g->input_sum = mem_alloc(TOKENS, sizeof *g->input_sum);
    g->shared = mem_alloc(x.shared * TOKENS, sizeof *g->shared);
    g->shared_beyond = mem_alloc(x.shared * TOKENS, sizeof *g->shared_beyond);
    g->y = mem_alloc(x.columns * TOKENS, sizeof *g->y);
    g->beyond = mem_alloc(2 * x.panels * TOKENS, sizeof *g->beyond);
    g->repeat = g->beyond ? g->beyond + x.panels * TOKENS : NULL;
    g->panels = mem_alloc(any ? (size_t)g->threads * 2 * stride * PANEL : 0, sizeof *g->panels);
    g->tiles = x.tiles;
    g->averages = averages ? mem_alloc(x.tiles, sizeof *g->averages) : NULL;
    bool network = chip_needs_network(m->spec);
    g->network = network ? network_scratch_create(m, stride, x.columns, x.shared) : NULL;
    if (!g->codes || !g->levels || (groups && (!g->group_squares || !g->group_sums)) ||
        (x.draws && (!g->group_places || !g->group_roots || !g->strip_sd)) ||
        (any && (!g->squares || !g->far || !g->sizes)) || !g->input_sum || !g->shared || !g->shared_beyond ||
        !g->y || !g->beyond || !g->panels || (averages && !g->averages) || (network && !g->network)) {
        general_scratch_destroy(g);
        return NULL;
    }
    return g;
}

/* ---- converters -----------------------------------------------------------------------------------------------------
 */

/* The converters of PANEL neighbouring results, or of one shared column (lanes = 1). */
struct readers {
    const float *to_code, *to_output, *gain, *offset, *state;
    size_t states; /* floats of an instance */
    uint32_t lanes;
    uint32_t group;
    uint64_t columns, column; /* noise of a conversion: number event x columns + column + lane */
};

/* Results beyond the range of their converter (adc_range), as the value reaches its quantiser. */
struct beyond {
    uint16_t *all, *counted; /* [tokens] */
    uint8_t *lanes;          /* [tokens][PANEL] whether any was; NULL: not wanted */
};

static void count_beyond(const struct machine *m, const struct beyond *to, uint32_t t, uint32_t lane, float value,
                         float low, float high) {
    bool above = value >= high, below = value <= low;
    if (to->lanes && (above || below)) {
        to->lanes[t * PANEL + lane] = 1;
    }
    to->all[t] = (uint16_t)(to->all[t] + (above || below));
    to->counted[t] = (uint16_t)(to->counted[t] + (above || (below && m->spec->tile.management.test_negative)));
}

/* Rounding half to even by adding 1.5 x 2^23; |code| <= 2^14 after the clamp. */
static float nearest(float code) {
    const float shift = 12582912.0f;
    return (code + shift) - shift;
}

/* v [tokens][PANEL] -> codes, for converters that are ideal behind a gain and an offset; z: NULL without noise. */
static void convert_linear(const struct machine *m, const struct readers *r, uint32_t tokens, const float *z, float *v,
                           const struct beyond *beyond) {
    float limit = (float)m->adc.limit, sd = (float)m->adc_noise_sd * limit;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t lane = 0; lane < r->lanes; lane++) {
            float code = v[t * PANEL + lane] * r->to_code[lane];
            code = r->gain ? code * r->gain[lane] + r->offset[lane] * limit : code;
            code += z ? sd * z[t * PANEL + lane] : 0.0f;
            count_beyond(m, beyond, t, lane, code, -limit - 0.5f, limit + 0.5f);
            code = code > limit ? limit : code;
            code = code < -limit ? -limit : code;
            v[t * PANEL + lane] = nearest(code);
        }
    }
}

/* The same for circuits that make their codes in their own way; what comes out is in units of the ideal step. */
static void convert_circuit(const struct machine *m, const struct readers *r, uint32_t tokens, const float *z, float *v,
                            const struct beyond *beyond) {
    const struct adc_model *model = adc_model_of(m->spec->tile.adc.circuit);
    const void *params = adc_params(m->spec->tile.adc.circuit);
    double step, shift;
    model->value(params, m->adc.bits, &step, &shift);
    float limit = (float)m->adc.limit, sd = (float)m->adc_noise_sd;
    for (uint32_t t = 0; t < tokens; t++) {
        float in[PANEL];
        int32_t codes[PANEL];
        for (uint32_t lane = 0; lane < r->lanes; lane++) {
            const float *range = r->state + (lane + 1) * r->states - 2;
            in[lane] = v[t * PANEL + lane] * r->to_code[lane] / limit;
            count_beyond(m, beyond, t, lane, in[lane] + (z ? sd * z[t * PANEL + lane] : 0.0f), range[0], range[1]);
        }
        model->convert(params, m->adc.bits, r->state, r->states, in, z ? z + t * PANEL : NULL, codes, r->lanes);
        for (uint32_t lane = 0; lane < r->lanes; lane++) {
            v[t * PANEL + lane] = (float)((codes[lane] + shift) * step) * limit;
        }
    }
}

/* Errors of linear circuits without their steps: the range is their unit. */
static void add_errors(const struct machine *m, const struct readers *r, uint32_t tokens, const float *z, float *v) {
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t lane = 0; lane < r->lanes; lane++) {
            float full_scale = r->to_code[lane], noise = z ? (float)m->adc_noise_sd * z[t * PANEL + lane] : 0.0f;
            v[t * PANEL + lane] = v[t * PANEL + lane] * r->gain[lane] + (r->offset[lane] + noise) * full_scale;
        }
    }
}

static void convert(const struct block_work *w, const struct readers *r, float *v, const struct beyond *beyond) {
    const struct machine *m = w->m;
    float z[TOKENS * PANEL];
    bool noisy = m->adc_noise_sd > 0;
    if (m->calibrating) {
        return;
    }
    for (uint32_t t = 0; noisy && t < w->tokens; t++) {
        kernels()->gaussian_fill(m->seed, random_stream(RANDOM_CONVERTER, (uint64_t)w->matrix << 8 | DRAW_ADC_NOISE),
                                 work_event(w, t, r->group) * r->columns + r->column, z + t * PANEL, r->lanes);
    }
    if (m->spec->effects.adc && m->adc_use == ADC_CIRCUIT) {
        convert_circuit(m, r, w->tokens, noisy ? z : NULL, v, beyond);
    } else if (m->spec->effects.adc) {
        convert_linear(m, r, w->tokens, noisy ? z : NULL, v, beyond);
    } else if (r->gain) {
        add_errors(m, r, w->tokens, noisy ? z : NULL, v);
    }
}

/* ---- panels
 * ---------------------------------------------------------------------------------------------------------- */

/* Sum over the passes of a group of gain x product with the levels; out [tokens][PANEL]. Gains count where charges are
 * added. */
static void group_sum(const struct block_work *w, const float *panel, uint32_t group, float *out) {
    const struct input_plan *plan = &w->m->inputs;
    uint32_t rows = array_block_rows(w->a, w->block), first = group_first(plan, group), end = group_end(plan, group);
    float one[TOKENS * PANEL];
    for (uint32_t p = first; p < end; p++) {
        float gain = plan->pass[p].share;
        kernels()->gemm_panel_f32(panel, rows, w->g->levels + (size_t)p * TOKENS * w->g->stride, w->g->stride,
                                  w->tokens, one, PANEL, PANEL);
        for (uint32_t i = 0; i < w->tokens * PANEL; i++) {
            out[i] = (p == first ? 0.0f : out[i]) + gain * one[i];
        }
    }
}

/* One line of a panel of a tile and how its weights stand there. */
struct strip {
    const float *weights; /* [rows x PANEL] */
    float *sizes;         /* without sign */
    float *other;         /* as the phase of negative inputs sees them; `weights` where that is the same */
    float *noise;         /* [TOKENS][PANEL] white noise of some groups */
    uint32_t panel, line;
    int worker;
    size_t index;  /* of the first result, per line */
    size_t column; /* per row block and output */
};

/* Groups whose noise is made together: short runs are dear. */
static uint32_t noise_groups(const struct block_work *w) { return TOKENS / w->tokens; }
static uint32_t groups_from(const struct block_work *w, uint32_t group) {
    uint32_t left = w->m->inputs.groups - group;
    return left < noise_groups(w) ? left : noise_groups(w);
}

/* sd of the noise of one strip, line and some groups from `group` on: [STRIP_PANELS][groups x tokens][PANEL]. */
static float *strip_sd_at(const struct block_work *w, int worker, uint32_t line, uint32_t group) {
    size_t number = ((size_t)line * w->m->inputs.groups + group) * w->tokens;
    return w->g->strip_sd + (size_t)worker * w->g->sd_stride + number * NOISE_STRIP;
}

static void sum_drawn_rows(const struct block_work *w, size_t strip, uint32_t line, uint32_t group, float *sd) {
    const struct array *a = w->a;
    const size_t first = (size_t)group * w->tokens, after = line + 1 < a->lines ? strip : strip + 1;
    const bool last = group + noise_groups(w) >= w->m->inputs.groups && after < array_strip_count(a);
    const struct drawn_rows rows = {
        .strip = array_strip(a, w->block, line, strip),
        .factors = array_drawn_factors(a, w->block, line, strip),
        .places = w->g->group_places + first * a->draws,
        .draws = a->draws,
        .roots = w->g->group_roots + first,
        .ldr = 1,
        .next = last ? array_strip(a, w->block, (line + 1) % a->lines, after) : NULL,
        .next_places = w->g->group_places,
        .next_rows = array_block_rows(a, w->block),
    };
    kernels()->drawn_sd(&rows, (size_t)groups_from(w, group) * w->tokens, sd);
}

/* All lines and groups of the strip that the panel belongs to. */
static void begin_strip(const struct block_work *w, uint32_t panel, int worker) {
    for (uint32_t line = 0; line < w->a->lines; line++) {
        for (uint32_t group = 0; group < w->m->inputs.groups; group += noise_groups(w)) {
            sum_drawn_rows(w, panel / STRIP_PANELS, line, group, strip_sd_at(w, worker, line, group));
        }
    }
}

/* White noise of the groups from `group` on, s->noise [groups][tokens][PANEL]. */
static void draw_white_noise(const struct block_work *w, const struct strip *s, uint32_t group) {
    const struct general_scratch *g = w->g;
    const uint32_t groups = groups_from(w, group);
    const size_t first = (size_t)group * w->tokens, count = (size_t)groups * w->tokens;
    const struct byte_noise from = {.variances = array_variances(w->a, w->block, s->line, s->panel),
                                    .factors = array_spread_factors(w->a, w->block, s->line, s->panel),
                                    .squares = g->group_squares + first * g->byte_stride,
                                    .lds = g->byte_stride,
                                    .sums = g->group_sums + first};
    float of_all[TOKENS * PANEL];
    const float *sd = of_all;
    uint64_t numbers[TOKENS];
    for (uint32_t i = 0; i < groups; i++) {
        for (uint32_t t = 0; t < w->tokens; t++) {
            uint64_t first_number = result_number(w->m, w->a, w->first_read + t, w->round, w->block, group + i, s->line,
                                                  s->panel * PANEL);
            numbers[i * w->tokens + t] = first_number / GAUSSIAN_BLOCK;
        }
    }
    if (array_noise_sum(w->a, w->block, s->line, s->panel) == NOISE_DRAWN) {
        sd = strip_sd_at(w, s->worker, s->line, group) + s->panel % STRIP_PANELS * count * PANEL;
    } else {
        kernels()->noise_sd(&from, array_block_rows(w->a, w->block), count, of_all);
    }
    random_gaussian_blocks(w->m->seed, random_stream(RANDOM_READ, w->matrix), numbers, count, s->noise);
    for (size_t i = 0; i < count * PANEL; i++) {
        s->noise[i] *= sd[i];
    }
}

static void add_white_noise(const struct block_work *w, const struct strip *s, uint32_t group, float *v) {
    uint32_t number = group % noise_groups(w);
    if (number == 0) {
        draw_white_noise(w, s, group);
    }
    for (uint32_t i = 0; i < w->tokens * PANEL; i++) {
        v[i] += s->noise[number * w->tokens * PANEL + i];
    }
}

/* ---- phenomena ------------------------------------------------------------------------------------------------ */

/* sum w x for one pass: which of the two sets of weights and of levels. */
static void panel_product(const struct block_work *w, const float *panel, const float *levels, uint32_t pass,
                          float *out) {
    kernels()->gemm_panel_f32(panel, array_block_rows(w->a, w->block), levels + (size_t)pass * TOKENS * w->g->stride,
                              w->g->stride, w->tokens, out, PANEL, PANEL);
}

/* Fills sizes and other. Weights of the negative phase differ by a factor that belongs to the device. */
static void prepare_strip(const struct block_work *w, struct strip *s) {
    const struct machine *m = w->m;
    uint32_t rows = array_block_rows(w->a, w->block), outputs = w->a->outputs - s->panel * PANEL;
    double spread = m->phenomena.read_asymmetry_spread;
    for (size_t i = 0; i < (size_t)rows * PANEL; i++) {
        s->sizes[i] = fabsf(s->weights[i]);
        s->other[i] = s->weights[i];
    }
    uint64_t stream = random_stream(RANDOM_CONVERTER, (uint64_t)w->matrix << 8 | PHENOMENA_ASYMMETRY);
    for (uint32_t lane = 0; spread > 0 && lane < PANEL && lane < outputs; lane++) {
        uint64_t first = ((uint64_t)s->panel * PANEL + lane) * w->a->inputs + w->a->row_begin[w->block];
        for (uint32_t i = 0; i < rows; i++) {
            s->other[i * PANEL + lane] *= (float)(1 + spread * (double)random_gaussian(m->seed, stream, first + i));
        }
    }
}

/* Sums of the inputs of one pass and token, in units of full scale. */
static void input_sums(const struct block_work *w, uint32_t token, uint32_t pass, struct phenomena_sums *out) {
    size_t at = ((size_t)pass * TOKENS + token) * w->g->stride;
    double limit = w->m->inputs.digit_limit;
    for (uint32_t i = 0; i < array_block_rows(w->a, w->block); i++) {
        out->inputs += (double)w->g->levels[at + i] / limit;
        out->squares += (double)w->g->squares[at + i] / (limit * limit);
    }
}

/* What a column makes of its products in one pass: v [tokens][PANEL], in units of the weight x digit. */
static void phenomenal_product(const struct block_work *w, const struct strip *s, uint32_t pass, float *v) {
    const struct machine *m = w->m;
    float far[TOKENS * PANEL], absolute[TOKENS * PANEL], squares[TOKENS * PANEL];
    const float *weights = m->inputs.pass[pass].sign < 0 ? s->other : s->weights;
    double limit = m->inputs.digit_limit;
    uint64_t stream = random_stream(RANDOM_CONVERTER, (uint64_t)w->matrix << 8 | PHENOMENA_WEIGHT);
    panel_product(w, weights, w->g->levels, pass, v);
    panel_product(w, weights, w->g->far, pass, far);
    panel_product(w, s->sizes, w->g->sizes, pass, absolute);
    panel_product(w, s->sizes, w->g->squares, pass, squares);
    for (uint32_t t = 0; t < w->tokens; t++) {
        struct phenomena_sums token = {0};
        input_sums(w, t, pass, &token);
        uint64_t first = work_event(w, t, pass) * w->a->lines * w->a->columns + (uint64_t)s->line * w->a->columns +
                         (uint64_t)s->panel * PANEL;
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            double scale = (double)w->a->weight_scale[s->column + lane], unit = scale * limit;
            uint32_t i = t * PANEL + lane;
            if (scale > 0) {
                struct phenomena_sums sums = token;
                sums.product = (double)v[i] / unit;
                sums.far = (double)far[i] / unit;
                sums.absolute = (double)absolute[i] / unit;
                sums.weighted_squares = (double)squares[i] / (unit * limit);
                double z = m->phenomena.weight_noise > 0 ? (double)random_gaussian(m->seed, stream, first + lane) : 0;
                v[i] = (float)(phenomena_array(&m->phenomena, &w->a->phenomena[s->index + lane], &sums,
                                               array_block_rows(w->a, w->block), z) *
                               unit);
            }
        }
    }
}

/* What happens between the array and the ADC. */
static void phenomenal_output(const struct block_work *w, const struct strip *s, uint32_t group, float *v) {
    const struct machine *m = w->m;
    uint64_t stream = random_stream(RANDOM_CONVERTER, (uint64_t)w->matrix << 8 | PHENOMENA_OUTPUT);
    for (uint32_t t = 0; t < w->tokens; t++) {
        uint64_t first = work_event(w, t, group) * w->a->lines * w->a->columns + (uint64_t)s->line * w->a->columns +
                         (uint64_t)s->panel * PANEL;
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            double unit = (double)w->a->weight_scale[s->column + lane] * m->inputs.digit_limit;
            uint32_t i = t * PANEL + lane;
            if (unit > 0) {
                double z = m->phenomena.output_noise > 0 ? (double)random_gaussian(m->seed, stream, first + lane) : 0;
                v[i] =
                    (float)(phenomena_output(&m->phenomena, &w->a->phenomena[s->index + lane], (double)v[i] / unit, z) *
                            unit);
            }
        }
    }
}

static void phenomenal_sum(const struct block_work *w, const struct strip *s, uint32_t group, float *v) {
    const struct input_plan *plan = &w->m->inputs;
    float one[TOKENS * PANEL];
    for (uint32_t p = group_first(plan, group); p < group_end(plan, group); p++) {
        float gain = plan->pass[p].share;
        phenomenal_product(w, s, p, one);
        for (uint32_t i = 0; i < w->tokens * PANEL; i++) {
            v[i] = (p == group_first(plan, group) ? 0.0f : v[i]) + gain * one[i];
        }
    }
    phenomenal_output(w, s, group, v);
}

/* ---- lines
 * --------------------------------------------------------------------------------------------------------------- */

/* Output per unit of v (of a code) while calibrating, when to_output speaks of codes that do not exist yet. */
static float open_factor(const struct block_work *w, uint32_t line, size_t index, size_t column) {
    const struct array *a = w->a;
    float range = a->input_range ? a->input_range[w->block] : 1.0f;
    return a->code_scale[index] / (float)w->m->inputs.digit_limit * (float)w->m->plan.line_factor[line] *
           a->compensation[column] * range;
}

/* Largest result of each column in units of the input range, where one is known. */
static void record_results(const struct block_work *w, const float *v, uint32_t first, size_t index) {
    struct array *a = w->a;
    float scale[PANEL], largest[PANEL], size[PANEL]; /* of its own: the compiler must see that they do not overlap */
    memcpy(scale, a->code_scale + index, sizeof scale);
    memcpy(largest, a->output_max + index, sizeof largest);
    for (uint32_t t = 0; t < w->tokens; t++) {
        float factor = (a->input ? w->scale[t] : 1.0f) / (float)w->m->inputs.digit_limit;
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            size[lane] = fabsf(v[t * PANEL + lane]) * scale[lane] * factor;
            largest[lane] = size[lane] > largest[lane] ? size[lane] : largest[lane];
        }
        for (uint32_t lane = 0; a->output_bins && lane < PANEL; lane++) {
            array_record_output(a, w->block, first + lane, index + lane, size[lane]);
        }
    }
    memcpy(a->output_max + index, largest, sizeof largest);
}

/* Sum over the passes of a group of the steps of all columns (tile.ladder.precision = single); v as in group_sum. */
static void stepped_sum(const struct block_work *w, const struct strip *s, uint32_t group, float *v) {
    const struct machine *m = w->m;
    const struct tile_spec *tile = &m->spec->tile;
    const struct array *a = w->a;
    const struct ladder ladder = {(uint32_t)tile->rows, (uint32_t)tile->ladder.segments, tile->ladder.cell_ohm.value};
    uint32_t rows = array_block_rows(a, w->block), first = s->panel * PANEL;
    memset(v, 0, w->tokens * PANEL * sizeof *v);
    for (uint32_t lane = 0; lane < PANEL && first + lane < a->outputs; lane++) {
        const float *pair_uS = a->ladder_uS + ladder_pairs_at(a, w->block, first + lane);
        double weight = tile_weight_per_siemens(m, a, a->weight_scale[s->column + lane]);
        for (uint32_t t = 0; t < w->tokens; t++) {
            double sum = 0;
            for (uint32_t p = group_first(&m->inputs, group); p < group_end(&m->inputs, group); p++) {
                const float *level = w->g->levels + ((size_t)p * TOKENS + t) * w->g->stride;
                struct ladder_pairs pairs = {pair_uS, pair_uS + rows, level, rows,
                                             array_column_of_tile(a, tile, first + lane), m->inputs.pass[p].mask};
                sum += (double)m->inputs.pass[p].share * ladder_stepped(&ladder, &tile->ladder, &pairs);
            }
            v[t * PANEL + lane] = (float)(sum * weight);
        }
    }
}

/* The wire's own part of a result, then the counter; v in units of the weights x digits. */
static void count_ladder(const struct block_work *w, const struct strip *s, uint32_t group, float *v) {
    const struct machine *m = w->m;
    double steps = 0;
    for (uint32_t p = group_first(&m->inputs, group); p < group_end(&m->inputs, group); p++) {
        steps += (double)m->inputs.pass[p].share * ladder_duration(m->inputs.pass[p].mask);
    }
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        double weight = tile_weight_per_siemens(m, w->a, w->a->weight_scale[s->column + lane]);
        double offset = steps * (double)w->a->ladder_offset[s->column + lane];
        for (uint32_t t = 0; weight > 0 && t < w->tokens; t++) {
            double sum = (double)v[t * PANEL + lane] - offset;
            bool counted = m->spec->effects.adc_errors && !m->calibrating;
            v[t * PANEL + lane] = (float)(counted ? ladder_counted(&m->spec->tile.ladder, sum / weight) * weight : sum);
        }
    }
}

/* Results of one line and group: analog sum, noise, conversion; added to out. */
static void read_line(const struct block_work *w, const struct strip *s, uint32_t group, const struct beyond *beyond,
                      float *out) {
    struct array *a = w->a;
    uint32_t line = s->line, left = a->outputs - s->panel * PANEL;
    float v[TOKENS * PANEL];
    if (w->m->phenomena.any && !w->m->calibrating) {
        phenomenal_sum(w, s, group, v);
    } else if (w->g->network) {
        network_group_sum(w, group, line, s->panel * PANEL, v);
    } else if (a->ladder_uS) {
        stepped_sum(w, s, group, v);
    } else {
        group_sum(w, s->weights, group, v);
    }
    if (a->variances) {
        add_white_noise(w, s, group, v);
    }
    if (a->ladder_offset) {
        count_ladder(w, s, group, v);
    }
    if (w->m->calibrating) {
        record_results(w, v, s->panel * PANEL, s->index);
    }
    struct readers r = {.to_code = a->to_code + s->index,
                        .to_output = a->to_output + s->index,
                        .gain = a->adc_gain ? a->adc_gain + s->index : NULL,
                        .offset = a->adc_offset ? a->adc_offset + s->index : NULL,
                        .states = w->m->adc_states,
                        .state = a->adc_state ? a->adc_state + s->index * w->m->adc_states : NULL,
                        .lanes = left < PANEL ? left : PANEL,
                        .group = group,
                        .columns = adc_numbers(w->m, a),
                        .column = (uint64_t)line * a->columns + (uint64_t)s->panel * PANEL};
    convert(w, &r, v, beyond);
    float gain = w->m->inputs.group_gain[group], factor[PANEL];
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        factor[lane] =
            gain * (w->m->calibrating ? open_factor(w, line, s->index + lane, s->column + lane) : r.to_output[lane]);
    }
    for (uint32_t t = 0; t < w->tokens; t++) {
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            out[t * PANEL + lane] += v[t * PANEL + lane] * factor[lane] * w->scale[t];
        }
    }
}

static void read_panel(const struct block_work *w, uint32_t panel, int worker) {
    struct array *a = w->a;
    float noise[TOKENS * PANEL], out[TOKENS * PANEL] = {0},
                       *room = w->g->panels + (w->m->phenomena.any ? (size_t)worker * 2 * w->g->stride * PANEL : 0);
    uint16_t all[TOKENS] = {0}, counted[TOKENS] = {0};
    uint8_t lanes[TOKENS * PANEL] = {0};
    struct beyond beyond = {all, counted, w->beyond ? lanes : NULL};
    for (uint32_t line = 0; line < a->lines; line++) {
        struct strip s = {.weights =
                              a->weights +
                              (((size_t)line * a->panels + panel) * a->row_stride + a->row_offset[w->block]) * PANEL,
                          .sizes = room,
                          .other = room + (size_t)w->g->stride * PANEL,
                          .noise = noise,
                          .panel = panel,
                          .line = line,
                          .worker = worker,
                          .index = ((size_t)w->block * a->lines + line) * a->columns + (size_t)panel * PANEL,
                          .column = (size_t)w->block * a->columns + (size_t)panel * PANEL};
        if (w->m->phenomena.any && !w->m->calibrating) {
            prepare_strip(w, &s);
        }
        for (uint32_t group = 0; group < w->m->inputs.groups; group++) {
            read_line(w, &s, group, &beyond, out);
        }
    }
    for (uint32_t t = 0; t < w->tokens; t++) {
        if (!w->idle[t]) {
            memcpy(w->g->y + (size_t)t * a->columns + (size_t)panel * PANEL, out + t * PANEL, PANEL * sizeof *out);
            w->g->beyond[panel * TOKENS + t] = all[t];
            w->g->repeat[panel * TOKENS + t] = counted[t];
        }
        for (uint32_t o = panel * PANEL; w->beyond && !w->idle[t] && o < a->outputs && o < (panel + 1) * PANEL; o++) {
            w->beyond[(size_t)t * a->outputs + o] = lanes[t * PANEL + o % PANEL];
        }
    }
}

/* ---- shared columns
 * ---------------------------------------------------------------------------------------------------- */

/* Results of all tokens for one shared column, in units of its scale x full-scale input. */
static void read_shared(const struct block_work *w, uint32_t number) {
    struct array *a = w->a;
    const struct input_plan *plan = &w->m->inputs;
    const float *weights = a->shared + (size_t)number * a->inputs + a->row_begin[w->block];
    size_t index = (size_t)w->block * a->column_blocks * w->m->plan.slices + number;
    uint32_t rows = array_block_rows(a, w->block);
    uint16_t all[TOKENS] = {0}, counted[TOKENS] = {0}; /* the bound management looks at the outputs only */
    struct beyond beyond = {all, counted, NULL};
    float *out = w->g->shared + (size_t)number * TOKENS, limit = (float)plan->digit_limit;
    memset(out, 0, TOKENS * sizeof *out);
    float step = a->shared_full_scale[index] / (float)w->m->adc.limit,
          to_code = !w->m->spec->effects.adc ? a->shared_full_scale[index] * limit
                    : step > 0               ? 1 / (limit * step)
                                             : 1e30f;
    struct readers r = {.to_code = &to_code,
                        .gain = a->shared_gain ? a->shared_gain + index : NULL,
                        .offset = a->shared_offset ? a->shared_offset + index : NULL,
                        .states = w->m->adc_states,
                        .state = a->shared_state ? a->shared_state + index * w->m->adc_states : NULL,
                        .lanes = 1,
                        .columns = adc_numbers(w->m, a),
                        .column = (uint64_t)a->lines * a->columns + number};
    for (uint32_t group = 0; group < plan->groups; group++) {
        float v[TOKENS * PANEL] = {0};
        for (uint32_t p = group_first(plan, group); p < group_end(plan, group); p++) {
            for (uint32_t t = 0; t < w->tokens; t++) {
                const float *levels = w->g->levels + ((size_t)p * TOKENS + t) * w->g->stride;
                float gain = plan->pass[p].share;
                v[t * PANEL] += gain * (w->g->network ? network_shared_sum(w, p, t, number)
                                                      : kernels()->dot_f32(weights, levels, rows));
            }
        }
        for (uint32_t t = 0; w->m->calibrating && t < w->tokens; t++) {
            float size = fabsf(v[t * PANEL]) / limit * (a->input ? w->scale[t] : 1.0f);
            a->shared_max[index] = size > a->shared_max[index] ? size : a->shared_max[index];
        }
        r.group = group;
        convert(w, &r, v, &beyond);
        bool codes = w->m->spec->effects.adc && !w->m->calibrating;
        float gain = plan->group_gain[group] * (codes ? step : 1 / limit);
        for (uint32_t t = 0; t < w->tokens; t++) {
            out[t] += v[t * PANEL] * gain;
        }
    }
    for (uint32_t t = 0; t < w->tokens; t++) {
        if (!w->idle[t]) {
            w->g->shared_beyond[number * TOKENS + t] = all[t];
        }
    }
}

/* ---- a block
 * -------------------------------------------------------------------------------------------------------------- */

static void drive_some(void *context, size_t begin, size_t end, int worker) {
    struct block_work *w = context;
    (void)worker;
    for (uint32_t t = (uint32_t)begin; t < end; t++) {
        if (!w->idle[t]) {
            drive_token(w, t);
        }
    }
}

static void read_some_shared(void *context, size_t begin, size_t end, int worker) {
    (void)worker;
    for (uint32_t number = (uint32_t)begin; number < end; number++) {
        read_shared(context, number);
    }
}

static void read_some_panels(void *context, size_t begin, size_t end, int worker) {
    for (uint32_t panel = (uint32_t)begin; panel < end; panel++) {
        const struct block_work *w = context;
        if (w->a->draws && (panel == begin || panel % STRIP_PANELS == 0)) {
            begin_strip(w, panel, worker);
        }
        read_panel(context, panel, worker);
    }
}

/* One read of the block for all tokens that are not idle. */
static enum status read_block(struct block_work *w, struct error *e) {
    struct array *a = w->a;
    size_t inputs = (size_t)w->tokens * array_block_rows(a, w->block) * w->m->inputs.passes;
    parallel_for(w->tokens, 0, inputs > SMALL_INPUTS ? 0 : 1, drive_some, w);
    if (w->g->network) {
        TRY(network_read_block(w, e));
    }
    if (a->shared) {
        parallel_for((size_t)a->column_blocks * w->m->plan.slices, 0, inputs > SMALL_INPUTS ? 0 : 1, read_some_shared,
                     w);
    }
    size_t work = inputs * a->outputs * a->lines;
    parallel_for(a->panels, 0, work > SMALL_WORK ? w->g->threads : 1, read_some_panels, w);
    return OK;
}

/* Marks the tokens that need another read with smaller inputs; returns whether any does. */
static bool wants_repeat(struct block_work *w) {
    const struct management_spec *how = &w->m->spec->tile.management;
    bool any = false;
    for (uint32_t t = 0; t < w->tokens; t++) {
        uint32_t clipped = 0;
        for (uint32_t panel = 0; panel < w->a->panels; panel++) {
            clipped += w->g->repeat[panel * TOKENS + t];
        }
        w->idle[t] = w->idle[t] || !management_repeat(how, management_input_step(w->m), clipped > 0, &w->loop[t]);
        any = any || !w->idle[t];
    }
    return any;
}

/* What is subtracted from, and done with, the results of one token; then added to y. */
static void finish_token(const struct block_work *w, uint32_t t, float *y) {
    const struct array *a = w->a;
    const struct tile_spec *tile = &w->m->spec->tile;
    const float *from = w->g->y + (size_t)t * a->columns;
    float range = w->range[t];
    size_t column = (size_t)w->block * a->columns;
    for (uint32_t c = 0, o = 0; c < a->column_blocks; c++) {
        float shared = 0;
        for (uint32_t s = 0; a->shared && s < w->m->plan.slices; s++) {
            shared += (float)w->m->plan.line_factor[w->m->plan.line_of[s][0]] *
                      w->g->shared[(c * w->m->plan.slices + s) * TOKENS + t];
        }
        for (uint32_t end = block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c + 1);
             o < end; o++) {
            float v = from[o] - shared * a->compensation[column + o] * a->weight_scale[column + o] * range;
            v -= a->offset ? a->offset[column + o] * (float)w->g->input_sum[t] * range : 0.0f;
            v = a->correction_gain ? v * a->correction_gain[column + o] + a->correction_offset[column + o] * range : v;
            y[o] += v;
        }
    }
}

/* One block of some tokens, repeats included; y [tokens][outputs]. Adds to the record; executions[t]: reads of this
 * block. */
static enum status multiply_block(struct block_work *w, float *y, struct multiply_record *r, uint32_t *executions,
                                  uint64_t *row_reads, struct error *e) {
    w->round = 0;
    for (uint32_t t = 0; t < w->tokens; t++) {
        management_begin(&w->loop[t]);
        w->idle[t] = false;
        executions[t] = 0;
    }
    bool repeats = w->m->spec->tile.management.bound != BOUND_NONE && !w->m->calibrating && w->m->spec->effects.adc;
    do {
        for (uint32_t t = 0; t < w->tokens; t++) {
            executions[t] += !w->idle[t];
        }
        find_ranges(w);
        TRY(read_block(w, e));
        w->round++;
    } while (repeats && w->round < ROUNDS_MOST && wants_repeat(w));
    for (uint32_t t = 0; t < w->tokens; t++) {
        finish_token(w, t, y + (size_t)t * w->a->outputs);
        r->repeated_blocks += executions[t] - 1;
        *row_reads += (uint64_t)executions[t] * array_driven_rows(w->a, w->block);
        w->clipped[t] += w->clipped_now[t];
        for (uint32_t panel = 0; panel < w->a->panels; panel++) {
            r->adc_saturated += w->g->beyond[panel * TOKENS + t];
        }
        for (uint32_t i = 0; w->a->shared && i < w->a->column_blocks * w->m->plan.slices; i++) {
            r->adc_saturated += w->g->shared_beyond[i * TOKENS + t];
        }
    }
    return OK;
}

enum status multiply_general(struct machine *m, size_t matrix, const float *x, uint32_t tokens, uint64_t first_read,
                             struct multiply_scratch *s, float *y, struct multiply_record *record, uint64_t *row_reads,
                             struct error *e) {
    struct array *a = m->arrays[matrix];
    memset(y, 0, (size_t)tokens * a->outputs * sizeof *y);
    for (uint32_t t = 0; t < tokens; t++) {
        s->array_S[t] = 0;
        s->clipped[t] = 0;
    }
    for (uint32_t t = 0; t < tokens; t += TOKENS) {
        uint32_t most[TOKENS] = {0}, executions[TOKENS], now = tokens - t < TOKENS ? tokens - t : TOKENS;
        for (uint32_t b = 0; b < a->row_blocks; b++) {
            struct block_work w = {.m = m,
                                   .a = a,
                                   .matrix = matrix,
                                   .block = b,
                                   .tokens = now,
                                   .x = x + (size_t)t * a->inputs,
                                   .first_read = first_read + t,
                                   .g = s->general,
                                   .array_S = s->array_S + t,
                                   .clipped = s->clipped + t};
            TRY(multiply_block(&w, y + (size_t)t * a->outputs, record, executions, row_reads, e));
            for (uint32_t i = 0; i < now; i++) {
                most[i] = executions[i] > most[i] ? executions[i] : most[i];
            }
        }
        for (uint32_t i = 0; i < now; i++) {
            record->repeated_rounds += most[i] - 1;
        }
    }
    return OK;
}

/* A shared column is taken off every output of its tile. */
static void spread_shared_beyond(const struct block_work *w) {
    const struct array *a = w->a;
    for (uint32_t i = 0; a->shared && i < a->column_blocks * w->m->plan.slices * w->tokens; i++) {
        const struct tile_spec *tile = &w->m->spec->tile;
        uint32_t number = i / w->tokens, t = i % w->tokens, c = number / w->m->plan.slices,
                 first = array_block_output(a, tile, c), end = array_block_output(a, tile, c + 1);
        if (w->g->shared_beyond[number * TOKENS + t]) {
            memset(w->beyond + (size_t)t * a->outputs + first, 1, end - first);
        }
    }
}

enum status multiply_one_block(struct machine *m, size_t matrix, uint32_t block, const float *x, uint32_t tokens,
                               uint64_t first_read, struct general_scratch *g, const struct block_results *out,
                               struct multiply_record *record, struct error *e) {
    struct array *a = m->arrays[matrix];
    struct tile_work work = *chip_work(m->chip);
    double array_S[TOKENS] = {0};
    uint64_t clipped[TOKENS] = {0}, row_reads = 0, blocks = tokens;
    uint32_t executions[TOKENS];
    struct block_work w = {.m = m,
                           .a = a,
                           .matrix = matrix,
                           .block = block,
                           .tokens = tokens,
                           .x = x,
                           .first_read = first_read,
                           .g = g,
                           .array_S = array_S,
                           .clipped = clipped,
                           .beyond = out->beyond};
    memset(out->y, 0, (size_t)tokens * a->outputs * sizeof *out->y);
    TRY(multiply_block(&w, out->y, record, executions, &row_reads, e));
    spread_shared_beyond(&w);
    for (uint32_t t = 0; t < tokens; t++) {
        out->ranges[t] = w.range[t];
        record->array_S_sum += array_S[t];
        blocks += executions[t] - 1;
    }
    record->dac_conversions += row_reads * work.passes * a->column_blocks;
    record->adc_conversions +=
        blocks * work.groups * ((uint64_t)a->outputs * work.lines + (uint64_t)a->column_blocks * work.shared);
    return OK;
}
