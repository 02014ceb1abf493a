/* The fast analog multiply: values of run_multiply on a simple machine (one line, one pass, ideal converters).
 * multiply_general.c does the others, multiply_reference.c says both in plain double loops.
 *
 * Inputs become codes of one 16-bit word each, token by token (threads over tokens); then every panel of 16 outputs
 * goes through its row blocks (threads over panels): exact integer dot products, ADC, digital scale and sum. With q
 * the input codes, c the weight codes, u = code_scale / DAC limit:
 *   result of a block   v = u sum(c q)                    weight x input / input range
 *   ADC                 k = clamp(round(v / step)),  step = full scale / ADC limit
 *   output              y += k step compensation x input range      (row blocks in order)
 * White noise: u sqrt(sum(variance q^2)) z is added to v. The second sum is over rows drawn by chance, which gives the
 * noise the same variance (base/drawn_noise.c): of one or a few tokens from the codes, right after the dot product has
 * read them, of more from bytes that are laid out for four panels at a time; over all rows where that would not do
 * (mac_i16_noise); where all devices of a panel have the same variance, it is taken out of the sum.
 * Without the effect dac (or beyond 10 bits) the dot products are fp32 with q = x DAC limit / range, not rounded.
 * What stays digital (side_path.h) is taken out of the inputs before and added after.
 * Every output is computed by one thread, sums in a fixed order: the same bytes for any thread count; integer panels
 * also for any kernel.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "sim/multiply.h"

static void drawn_destroy(struct drawn_scratch *d) {
    mem_free(d->places);
    mem_free(d->roots);
    mem_free(d->squares);
    mem_free(d->strips);
}

static bool drawn_create(const struct machine *m, uint32_t max_tokens, struct drawn_scratch *d) {
    size_t blocks = 0, places = 0, threads = (size_t)threads_count();
    for (size_t i = 0; i < m->count; i++) {
        const struct array *a = m->arrays[i];
        for (uint32_t b = 0; a && a->noise && a->draws && b < a->row_blocks; b++) {
            blocks = a->row_blocks > blocks ? a->row_blocks : blocks;
            places = (size_t)a->row_blocks * a->draws > places ? (size_t)a->row_blocks * a->draws : places;
            d->rows = array_block_rows(a, b) > d->rows ? array_block_rows(a, b) : d->rows;
        }
    }
    if (blocks == 0) {
        return true;
    }
    d->places = mem_alloc(places * max_tokens, sizeof *d->places);
    d->roots = mem_alloc(blocks * max_tokens, sizeof *d->roots);
    d->squares = mem_alloc(threads * d->rows, sizeof *d->squares);
    d->strips = mem_alloc(threads, strip_size(d->rows));
    return d->places && d->roots && d->squares && d->strips;
}

void multiply_scratch_destroy(struct multiply_scratch *s) {
    if (s) {
        drawn_destroy(&s->drawn);
        mem_free(s->codes);
        mem_free(s->squares);
        mem_free(s->square_sums);
        mem_free(s->inputs);
        mem_free(s->token_range);
        mem_free(s->block_S);
        mem_free(s->array_S);
        mem_free(s->clipped);
        side_scratch_destroy(&s->side);
        general_scratch_destroy(s->general);
        mem_free(s);
    }
}

void multiply_scratch_reset(struct multiply_scratch *s) {
    if (s->general && s->general->averages) {
        memset(s->general->averages, 0, s->general->tiles * sizeof *s->general->averages);
    }
}

struct multiply_scratch *multiply_scratch_create(const struct machine *m, uint32_t max_tokens) {
    size_t stride = 0, squares = 0, blocks = 0;
    bool fp32 = false;
    for (size_t i = 0; i < m->count; i++) {
        if (m->arrays[i]) {
            stride = m->arrays[i]->row_stride > stride ? m->arrays[i]->row_stride : stride;
            blocks = m->arrays[i]->row_blocks > blocks ? m->arrays[i]->row_blocks : blocks;
            fp32 = fp32 || m->arrays[i]->weights;
            if (m->arrays[i]->noise) {
                squares = square_stride(m->arrays[i]) > squares ? square_stride(m->arrays[i]) : squares;
            }
        }
    }
    struct multiply_scratch *s = mem_alloc(1, sizeof *s);
    if (!s || (max_tokens && stride > SIZE_MAX / sizeof(float) / max_tokens)) {
        mem_free(s);
        return NULL;
    }
    s->max_tokens = max_tokens;
    s->codes = mem_alloc(stride * max_tokens, sizeof *s->codes);
    s->squares = mem_alloc(squares * max_tokens, sizeof *s->squares);
    s->square_sums = mem_alloc(squares ? blocks * max_tokens : 0, sizeof *s->square_sums);
    s->inputs = mem_alloc(fp32 ? stride * max_tokens : 0, sizeof *s->inputs);
    s->token_range = mem_alloc(blocks * max_tokens, sizeof *s->token_range); /* blocks <= stride */
    s->block_S = mem_alloc(blocks * max_tokens, sizeof *s->block_S);
    s->array_S = mem_alloc(max_tokens, sizeof *s->array_S);
    s->clipped = mem_alloc(max_tokens, sizeof *s->clipped);
    s->general = m->simple ? NULL : general_scratch_create(m);
    bool side = side_scratch_create(m, max_tokens, &s->side), drawn = drawn_create(m, max_tokens, &s->drawn);
    if (!side || !drawn || !s->codes || !s->squares || !s->square_sums || !s->inputs || !s->token_range ||
        !s->block_S || !s->array_S || !s->clipped || (!m->simple && !s->general)) {
        multiply_scratch_destroy(s);
        return NULL;
    }
    return s;
}

/* One multiply, for all threads. */
struct job {
    const struct machine *m;
    struct array *a;
    struct multiply_scratch *s;
    const float *x;
    float *y;
    size_t matrix;
    uint32_t tokens;
    uint64_t first_read;
    atomic_uint_fast32_t bad;       /* first token whose inputs are not finite, or `tokens` */
    atomic_uint_fast64_t saturated; /* results */
};

/* ---- inputs ------------------------------------------------------------------------------------------------- */

/* One block of one token: x -> codes (and fp32 inputs in units of codes). Returns how many were clipped. */
static size_t convert_block(const struct machine *m, const struct array *a, const float *x, uint32_t n, float range,
                            int16_t *codes, float *inputs) {
    float inverse_step = range > 0 ? (float)m->dac.limit / range : 0.0f;
    size_t clipped = 0;
    if (m->spec->effects.dac) {
        clipped = kernels()->quantise_i16(x, n, inverse_step, m->dac.limit, codes);
    }
    for (uint32_t i = 0; a->weights && i < n; i++) {
        inputs[i] = m->spec->effects.dac ? (float)codes[i] : x[i] * inverse_step;
    }
    return clipped;
}

static float sum_of_squares(const int16_t *x, uint32_t n) {
    int64_t sum = 0;
    for (uint32_t begin = 0; begin < n; begin += 1024) { /* squares are below 2^20 */
        int32_t run = 0;
        for (uint32_t i = begin; i < n && i < begin + 1024; i++) {
            run += x[i] * x[i];
        }
        sum += run;
    }
    return (float)sum;
}

/* Tokens go through a panel TOKENS at a time; how many there are in the piece of token t. */
static uint32_t piece_tokens(uint32_t tokens, uint32_t t) {
    const uint32_t left = tokens - t / TOKENS * TOKENS;
    return left < TOKENS ? left : TOKENS;
}

/* Whether the variances of four panels are first laid out as a strip, which costs as much as DRAWS_OF_STRIP rows drawn
 * from the codes; the sums are the same. */
enum { DRAWS_OF_STRIP = 256 };
static bool has_strips(const struct array *a, uint32_t tokens) {
    return a->strips || a->draws * tokens >= DRAWS_OF_STRIP;
}
static_assert((DRAWS_OF_STRIP - 1) / DRAWS_LEAST < DRAWN_TOKENS, "too many tokens for mac_i16_drawn");

static void draw_block(const struct job *j, uint32_t t, uint32_t b, int worker) {
    const struct array *a = j->a;
    struct multiply_scratch *s = j->s;
    const uint32_t rows = array_block_rows(a, b);
    const int16_t *codes = s->codes + (size_t)t * a->row_stride + a->row_offset[b];
    float *squares = s->drawn.squares + (size_t)worker * s->drawn.rows;
    uint32_t *places = s->drawn.places + ((size_t)b * s->max_tokens + t) * a->draws;
    for (uint32_t i = 0; i < rows; i++) {
        const float level = codes[i];
        squares[i] = level * level;
    }
    const float u = draw_comb(j->m, a, j->matrix, j->first_read + t, 0, b, 0);
    s->drawn.roots[(size_t)t * a->row_blocks + b] = sqrtf(kernels()->draw_rows(squares, rows, u, a->draws, places));
    const bool strips = has_strips(a, piece_tokens(j->tokens, t));
    for (uint32_t d = 0; d < a->draws; d++) {
        places[d] = (uint32_t)(strips ? strip_place(places[d], 0) : code_place(places[d], 0));
    }
}

/* What the noise of one block of one token needs to know of its codes: their squares as bytes, where some panel sums
 * all rows, else the sum of the squares, where devices are noisy alike; rows that are drawn. */
static void square_block(const struct job *j, uint32_t t, uint32_t b, int worker) {
    const struct array *a = j->a;
    struct multiply_scratch *s = j->s;
    const uint32_t rows = array_block_rows(a, b);
    const int16_t *codes = s->codes + (size_t)t * a->row_stride + a->row_offset[b];
    struct square_sums *sums = &s->square_sums[(size_t)t * a->row_blocks + b];
    if (a->full_sums) {
        *sums = square_codes(codes, rows, j->m->dac.limit, s->squares + t * square_stride(a) + square_offset(a, b));
    } else if (a->some_alike) {
        *sums = (struct square_sums){sum_of_squares(codes, rows), 0};
    }
    if (a->draws) {
        draw_block(j, t, b, worker);
    }
}

/* All blocks of one token: each has its range, fixed or the largest of its own inputs, so that an outlier costs
 * resolution in its own block only. False when an input is not finite. */
static bool convert_token(const struct job *j, uint32_t t, int worker) {
    const struct machine *m = j->m;
    const struct array *a = j->a;
    const float *x = j->x + (size_t)t * a->inputs;
    struct multiply_scratch *s = j->s;
    uint64_t clipped = 0;
    bool finite = true;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        uint32_t rows = array_block_rows(a, b);
        const float *mine = x + a->row_begin[b];
        float largest = kernels()->absmax_f32(mine, rows);
        finite = finite && isfinite(largest);
        float range = isfinite(largest) && largest >= SMALLEST_RANGE ? largest : 0.0f;
        size_t at = (size_t)t * a->row_stride + a->row_offset[b];
        float *inputs = a->weights ? s->inputs + at : NULL;
        clipped += convert_block(m, a, mine, rows, a->input_range ? a->input_range[b] : range, s->codes + at, inputs);
        if (a->noise) {
            square_block(j, t, b, worker);
        }
        s->token_range[(size_t)t * a->row_blocks + b] = a->input_range ? 1.0f : range;
    }
    s->clipped[t] = clipped;
    return finite;
}

static void lower_to(atomic_uint_fast32_t *least, uint_fast32_t value) {
    uint_fast32_t old = atomic_load(least);
    while (value < old && !atomic_compare_exchange_weak(least, &old, value)) {}
}

static void convert_tokens(void *context, size_t begin, size_t end, int worker) {
    struct job *j = context;
    for (uint32_t t = (uint32_t)begin; t < end; t++) {
        if (!convert_token(j, t, worker)) {
            lower_to(&j->bad, t);
        }
    }
}

/* ---- results ------------------------------------------------------------------------------------------------- */

/* A block of tokens on its way through a panel. */
struct piece {
    const struct machine *m;
    struct array *a;
    const struct multiply_scratch *s;
    size_t matrix;
    uint64_t first_read; /* of token 0 of the multiply */
    uint32_t t, tokens;  /* tokens [t, t + tokens), at most TOKENS */
    const struct kernels *kernels;
};

/* White noise of the panels of one strip. Row blocks go together as far as there is room, the more the fewer tokens
 * there are: short runs of Gaussian numbers are dear, and one token reads weights in the order in which they lie. */
enum { STRIP_RESULTS = TOKENS * STRIP_PANELS * PANEL, SHORT_RUN = 8 };
struct strip_noise {
    uint32_t first, last;    /* panels */
    uint32_t begin, end;     /* row blocks at hand */
    bool apart;              /* numbers of every panel are drawn when they are wanted, while they are in the cache */
    float z[STRIP_RESULTS];  /* [row blocks][panels][tokens][PANEL] */
    uint8_t *strip;          /* for the variances of a row block; NULL: rows are drawn from the codes, or not at all */
    float sd[STRIP_RESULTS]; /* [row blocks][STRIP_PANELS][tokens][PANEL], from drawn rows of strips */
};
static uint32_t blocks_together(const struct piece *p) { return TOKENS / p->tokens; }

static uint64_t normals_number(const struct piece *p, uint64_t read, uint32_t panel, uint32_t b) {
    return result_number(p->m, p->a, read, 0, b, 0, 0, panel * PANEL) / GAUSSIAN_BLOCK;
}

/* Of panels [first, last) and row blocks [b, end). Numbers of blocks are linear in all of them. */
static void draw_normals(const struct piece *p, uint32_t first, uint32_t last, uint32_t b, uint32_t end, float *z) {
    const uint64_t read = p->first_read + p->t, start = normals_number(p, read, first, b);
    const uint64_t per_token = normals_number(p, read + 1, first, b) - start,
                   per_panel = normals_number(p, read, first + 1, b) - start;
    uint64_t numbers[TOKENS * STRIP_PANELS];
    size_t n = 0;
    for (uint32_t i = 0; i < end - b; i++) {
        for (uint32_t panel = 0; panel < last - first; panel++) {
            const uint64_t of_panel = start + panel * per_panel + i;
            for (uint32_t t = 0; t < p->tokens; t++) {
                numbers[n++] = of_panel + t * per_token;
            }
        }
    }
    random_gaussian_blocks(p->m->seed, random_stream(RANDOM_READ, p->matrix), numbers, n, z);
}

/* [tokens][PANEL] of one panel and row block. */
static const float *normals_of(const struct piece *p, uint32_t panel, uint32_t b, struct strip_noise *noise) {
    if (noise->apart) {
        draw_normals(p, panel, panel + 1, b, b + 1, noise->z);
        return noise->z;
    }
    const size_t panels = noise->last - noise->first, number = (b - noise->begin) * panels + (panel - noise->first);
    return noise->z + number * p->tokens * PANEL;
}

static const uint32_t *drawn_places(const struct piece *p, uint32_t b) {
    return p->s->drawn.places + ((size_t)b * p->s->max_tokens + p->t) * p->a->draws;
}

/* The law of `count` panels from `panel` on, NULL where it is the plain square in all of them. */
static const int16_t *law_of(const struct array *a, uint32_t b, uint32_t panel, uint32_t count) {
    const size_t first = (size_t)b * a->panels + panel;
    bool square = true;
    for (uint32_t i = 0; i < count; i++) {
        square = square && a->square_law[first + i];
    }
    return square ? NULL : a->noise + first * 4 * PANEL;
}

static const int16_t *codes_at(const struct array *a, uint32_t b, uint32_t panel) {
    return a->codes + ((size_t)panel * a->row_stride + a->row_offset[b]) * PANEL;
}

/* Variances of one row block of the strip, laid out where they are not kept. */
static const uint8_t *strip_at(const struct piece *p, uint32_t b, size_t strip, uint8_t *room) {
    const struct array *a = p->a;
    const uint32_t panel = (uint32_t)strip * STRIP_PANELS, left = a->panels - panel,
                   panels = left < STRIP_PANELS ? left : STRIP_PANELS;
    if (a->strips) {
        return array_strip(a, b, 0, strip);
    }
    p->kernels->strip_of_codes(codes_at(a, b, panel), (size_t)a->row_stride * PANEL, panels, array_block_rows(a, b),
                               law_of(a, b, panel, panels), room);
    return room;
}

/* The sd of the noise of one row block of the strip. */
static void sum_drawn_rows(const struct piece *p, uint32_t b, const struct strip_noise *noise, float *sd) {
    const struct array *a = p->a;
    const uint32_t later = b + blocks_together(p), next = later < a->row_blocks ? later : b % blocks_together(p);
    const size_t strip = noise->first / STRIP_PANELS, after = next == later ? strip : strip + 1;
    const struct drawn_rows drawn = {
        .strip = strip_at(p, b, strip, noise->strip),
        .factors = array_drawn_factors(a, b, 0, strip),
        .places = drawn_places(p, b),
        .draws = a->draws,
        .roots = p->s->drawn.roots + (size_t)p->t * a->row_blocks + b,
        .ldr = a->row_blocks,
        .next = a->strips && after < array_strip_count(a) ? array_strip(a, next, 0, after) : NULL,
        .next_places = drawn_places(p, next),
        .next_rows = array_block_rows(a, next)};
    p->kernels->drawn_sd(&drawn, p->tokens, sd);
}

static void begin_noise(const struct piece *p, struct strip_noise *noise) {
    if (!noise->apart) {
        draw_normals(p, noise->first, noise->last, noise->begin, noise->end, noise->z);
    }
    for (uint32_t b = noise->begin; noise->strip && b < noise->end; b++) {
        sum_drawn_rows(p, b, noise, noise->sd + (size_t)(b - noise->begin) * STRIP_PANELS * p->tokens * PANEL);
    }
}

/* [tokens][PANEL] of one panel and row block. */
static const float *drawn_sd_of(const struct piece *p, uint32_t panel, uint32_t b, const struct strip_noise *noise) {
    return noise->sd + ((size_t)(b - noise->begin) * STRIP_PANELS + panel % STRIP_PANELS) * p->tokens * PANEL;
}

/* Rows are drawn from the codes. */
static void noisy_codes(const struct piece *p, uint32_t panel, uint32_t b, const int16_t *x, const float *z, float *v) {
    const struct array *a = p->a;
    const float *of_strip = array_drawn_factors(a, b, 0, panel / STRIP_PANELS);
    const struct drawn_codes drawn = {.panel = codes_at(a, b, panel),
                                      .law = law_of(a, b, panel, 1),
                                      .factors = of_strip + (size_t)(panel % STRIP_PANELS) * PANEL,
                                      .places = drawn_places(p, b),
                                      .draws = a->draws,
                                      .roots = p->s->drawn.roots + (size_t)p->t * a->row_blocks + b,
                                      .ldr = a->row_blocks};
    __builtin_prefetch(drawn.factors); /* wanted after the weights */
    __builtin_prefetch(drawn.factors + NOISE_STRIP);
    p->kernels->mac_i16_drawn(array_block_rows(a, b), x, a->row_stride, p->tokens, &drawn, z, PANEL, v);
}

/* Sums of codes with the white noise of their read. */
static void noisy_products(const struct piece *p, uint32_t panel, uint32_t b, struct strip_noise *noise, float *v) {
    const struct array *a = p->a;
    const struct multiply_scratch *s = p->s;
    const size_t block = (size_t)b * a->panels + panel, rows = array_block_rows(a, b);
    const int16_t *codes = codes_at(a, b, panel), *x = s->codes + (size_t)p->t * a->row_stride + a->row_offset[b];
    const struct square_sums *of_inputs = s->square_sums + (size_t)p->t * a->row_blocks + b;
    const struct read_noise full = {.law = a->noise + block * 4 * PANEL,
                                    .factors = a->noise_factors + block * 3 * PANEL,
                                    .squares = s->squares + p->t * square_stride(a) + square_offset(a, b),
                                    .lds = square_stride(a),
                                    .sums = of_inputs,
                                    .ldn = a->row_blocks};
    const enum noise_sum sum = array_noise_sum(a, b, 0, panel);
    const float *z = normals_of(p, panel, b, noise);
    int32_t sums[TOKENS * PANEL];
    float sd[TOKENS * PANEL];
    if (sum == NOISE_ALIKE) {
        p->kernels->mac_i16(codes, rows, x, a->row_stride, p->tokens, sums);
        p->kernels->add_flat_noise(sums, full.factors + PANEL, &of_inputs->all,
                                   a->row_blocks * (sizeof *of_inputs / sizeof(float)), z, PANEL, p->tokens, v);
    } else if (sum == NOISE_FULL) {
        p->kernels->mac_i16_noise(codes, rows, x, a->row_stride, p->tokens, &full, sums, sd);
        p->kernels->add_noise(sums, sd, z, PANEL, p->tokens, v);
    } else if (noise->strip) {
        p->kernels->mac_i16(codes, rows, x, a->row_stride, p->tokens, sums);
        p->kernels->add_noise(sums, drawn_sd_of(p, panel, b, noise), z, PANEL, p->tokens, v);
    } else {
        noisy_codes(p, panel, b, x, z, v);
    }
}

/* Dot products of one panel and row block: v [tokens][PANEL] in fp32. */
static void dot_products(const struct piece *p, uint32_t panel, uint32_t b, struct strip_noise *noise, float *v) {
    const struct array *a = p->a;
    size_t at = ((size_t)panel * a->row_stride + a->row_offset[b]) * PANEL,
           x = (size_t)p->t * a->row_stride + a->row_offset[b];
    uint32_t rows = array_block_rows(a, b);
    if (a->weights) {
        p->kernels->gemm_panel_f32(a->weights + at, rows, p->s->inputs + x, a->row_stride, p->tokens, v, PANEL, PANEL);
        return;
    }
    if (a->noise) {
        noisy_products(p, panel, b, noise, v);
        return;
    }
    int32_t sums[TOKENS * PANEL];
    p->kernels->mac_i16(codes_at(a, b, panel), rows, p->s->codes + x, a->row_stride, p->tokens, sums);
    for (uint32_t i = 0; i < p->tokens * PANEL; i++) {
        v[i] = (float)sums[i];
    }
}

/* y += ADC(v) x range for `tokens` tokens (their ranges `stride` apart); returns how many saturated. Clamping before
 * rounding gives the same codes, since the limit is a whole number, and keeps the rounding trick (adding 1.5 x 2^23
 * leaves the nearest integer, half to even) valid. */
static uint32_t convert_results(const float *v, uint32_t tokens, const float *to_code, const float *to_output,
                                float limit, const float *range, uint32_t stride, float *y) {
    const float shift = 12582912.0f, over = limit + 0.5f;
    uint32_t saturated[PANEL] = {0}, sum = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        const float *restrict sums = v + t * PANEL;
        float *restrict results = y + t * PANEL;
        const float scale = range[(size_t)t * stride];
#pragma GCC unroll 1 /* unrolled as a whole it would be done one by one */
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            float code = sums[lane] * to_code[lane];
            saturated[lane] += fabsf(code) >= over;
            code = code > limit ? limit : code;
            code = code < -limit ? -limit : code;
            results[lane] += ((code + shift) - shift) * to_output[lane] * scale;
        }
    }
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        sum += saturated[lane];
    }
    return sum;
}

/* y += v x range without an ADC. */
static void add_results(const float *v, uint32_t tokens, const float *to_output, const float *range, uint32_t stride,
                        float *y) {
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            y[t * PANEL + lane] += v[t * PANEL + lane] * to_output[lane] * range[(size_t)t * stride];
        }
    }
}

/* While calibrating: sizes of the results of each column, in units of the input range where one is known. */
static void record_results(const struct machine *m, struct array *a, const float *v, uint32_t tokens,
                           const float *range, uint32_t b, uint32_t first) {
    float *largest = a->output_max + (size_t)b * a->columns + first, unit[PANEL], size[PANEL];
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        unit[lane] = a->code_scale[(size_t)b * a->columns + first + lane] / (float)m->dac.limit;
    }
    for (uint32_t t = 0; t < tokens; t++) {
        float factor = a->input ? range[(size_t)t * a->row_blocks] : 1.0f;
        for (uint32_t lane = 0; lane < PANEL; lane++) {
            size[lane] = fabsf(v[t * PANEL + lane]) * unit[lane] * factor;
            largest[lane] = size[lane] > largest[lane] ? size[lane] : largest[lane];
        }
        for (uint32_t lane = 0; a->output_bins && lane < PANEL; lane++) {
            array_record_output(a, b, first + lane, (size_t)b * a->columns + first + lane, size[lane]);
        }
    }
}

/* Factors of results while calibrating, when to_output speaks of ADC codes that do not exist yet. */
static void open_factors(const struct machine *m, const struct array *a, uint32_t b, size_t column, float *to_output) {
    float range = a->input_range ? a->input_range[b] : 1.0f;
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        to_output[lane] = a->code_scale[column + lane] / (float)m->dac.limit * a->compensation[column + lane] * range;
    }
}

/* Results of one panel and row block, added to sum [tokens][PANEL]. Returns how many saturated. */
static uint64_t take_results(const struct piece *p, uint32_t panel, uint32_t b, const float *v, float *sum) {
    const struct machine *m = p->m;
    struct array *a = p->a;
    const size_t column = (size_t)b * a->columns + (size_t)panel * PANEL;
    const float *range = p->s->token_range + (size_t)p->t * a->row_blocks + b;
    if (m->calibrating) {
        float to_output[PANEL];
        record_results(m, a, v, p->tokens, range, b, panel * PANEL);
        open_factors(m, a, b, column, to_output);
        add_results(v, p->tokens, to_output, range, a->row_blocks, sum);
        return 0;
    }
    if (!m->spec->effects.adc) {
        add_results(v, p->tokens, a->to_output + column, range, a->row_blocks, sum);
        return 0;
    }
    return convert_results(v, p->tokens, a->to_code + column, a->to_output + column, (float)m->adc.limit, range,
                           a->row_blocks, sum);
}

static void store_results(const struct piece *p, uint32_t panel, const float *sum, float *y) {
    const struct array *a = p->a;
    uint32_t first = panel * PANEL, lanes = a->outputs - first < PANEL ? a->outputs - first : PANEL;
    for (uint32_t i = 0; i < p->tokens; i++) {
        memcpy(y + (size_t)(p->t + i) * a->outputs + first, sum + (size_t)i * PANEL, lanes * sizeof *y);
    }
}

/* Number i: of one token and row block. */
static void weigh_block(const struct job *j, size_t i) {
    const struct machine *m = j->m;
    const struct array *a = j->a;
    uint32_t b = (uint32_t)(i % a->row_blocks);
    size_t at = i / a->row_blocks * a->row_stride + a->row_offset[b];
    j->s->block_S[i] = block_currents_S(a, b, a->weights ? NULL : j->s->codes + at,
                                        a->weights ? j->s->inputs + at : NULL, m->dac.limit, m->inputs.voltage);
}

/* Room of one thread for a strip; NULL: not wanted. */
static uint8_t *strip_room(const struct piece *p, int worker) {
    const struct drawn_scratch *d = &p->s->drawn;
    return has_strips(p->a, p->tokens) ? d->strips + (size_t)worker * strip_size(d->rows) : NULL;
}

/* One piece through panels [first, last) of one strip. Returns how many saturated. */
static uint64_t multiply_strip(const struct piece *p, uint32_t first, uint32_t last, int worker, float *y) {
    const uint32_t row_blocks = p->a->row_blocks, together = p->a->noise ? blocks_together(p) : row_blocks;
    float v[TOKENS * PANEL], sum[STRIP_PANELS][TOKENS * PANEL];
    struct strip_noise noise; /* filled where there is noise */
    uint64_t saturated = 0;
    noise.first = first;
    noise.last = last;
    noise.apart = p->tokens >= SHORT_RUN;
    noise.strip = p->a->noise ? strip_room(p, worker) : NULL;
    for (uint32_t i = 0; i < last - first; i++) {
        memset(sum[i], 0, p->tokens * PANEL * sizeof **sum);
    }
    for (uint32_t begin = 0; begin < row_blocks; begin += together) {
        noise.begin = begin;
        noise.end = row_blocks - begin < together ? row_blocks : begin + together;
        if (p->a->noise) {
            begin_noise(p, &noise);
        }
        for (uint32_t panel = first; panel < last; panel++) {
            for (uint32_t b = begin; b < noise.end; b++) {
                dot_products(p, panel, b, &noise, v);
                saturated += take_results(p, panel, b, v, sum[panel - first]);
            }
        }
    }
    for (uint32_t panel = first; panel < last; panel++) {
        store_results(p, panel, sum[panel - first], y);
    }
    return saturated;
}

/* Panels and, in equal shares, what the sources deliver. With noise four panels go together; a strip that is cut
 * between threads has its drawn rows summed by both. */
static void multiply_panels(void *context, size_t begin, size_t end, int worker) {
    struct job *j = context;
    const uint32_t together = j->a->noise ? STRIP_PANELS : 1;
    uint64_t saturated = 0;
    for (uint32_t first = (uint32_t)begin, last; first < end; first = last) {
        last = first / together * together + together;
        last = last < end ? last : (uint32_t)end;
        for (uint32_t t = 0; t < j->tokens; t += TOKENS) {
            struct piece p = {.m = j->m,
                              .a = j->a,
                              .s = j->s,
                              .matrix = j->matrix,
                              .first_read = j->first_read,
                              .t = t,
                              .tokens = piece_tokens(j->tokens, t),
                              .kernels = kernels()};
            saturated += multiply_strip(&p, first, last, worker, j->y);
        }
    }
    size_t weighed = (size_t)j->tokens * j->a->row_blocks, panels = j->a->panels;
    for (size_t i = weighed * begin / panels; i < weighed * end / panels; i++) {
        weigh_block(j, i);
    }
    atomic_fetch_add(&j->saturated, saturated);
}

/* In units of full scale, blocks in their order, rounded as multiply_inputs.c rounds. */
static void add_blocks(const struct job *j) {
    const struct multiply_scratch *s = j->s;
    const double limit = j->m->dac.limit, again = j->m->inputs.voltage ? limit : 1;
    for (uint32_t t = 0; t < j->tokens; t++) {
        double sum_S = 0;
        for (uint32_t b = 0; b < j->a->row_blocks; b++) {
            sum_S += s->block_S[(size_t)t * j->a->row_blocks + b] / limit / again;
        }
        s->array_S[t] = sum_S;
    }
}

static enum status bad_input(const struct array *a, uint32_t token, struct error *e) {
    return error_set(e, ERR_RUN, "matrix %s: an input of token %u is not finite (allowed: finite numbers)",
                     a->source.name, token);
}

/* Every block of every token is read once. */
static enum status multiply_simple(struct job *j, struct multiply_record *r, struct error *e) {
    struct array *a = j->a;
    size_t work = (size_t)a->outputs * a->inputs * j->tokens;
    parallel_for(j->tokens, 0, (size_t)j->tokens * a->inputs > SMALL_INPUTS ? 0 : 1, convert_tokens, j);
    uint32_t bad = (uint32_t)atomic_load(&j->bad);
    if (bad < j->tokens) {
        return bad_input(a, bad, e);
    }
    if (j->m->calibrating) {
        array_record_inputs(a, j->x, j->tokens);
    }
    parallel_for(a->panels, 0, work > SMALL_WORK ? 0 : 1, multiply_panels, j);
    add_blocks(j);
    r->adc_saturated = atomic_load(&j->saturated);
    return OK;
}

/* Conversions are those of the chip, whichever effects act on the values. */
static void fill_record(const struct machine *m, const struct array *a, const struct multiply_scratch *s,
                        uint64_t row_reads, struct multiply_record *r) {
    struct tile_work work = *chip_work(m->chip);
    for (uint32_t t = 0; t < r->tokens; t++) {
        r->array_S_sum += s->array_S[t];
        r->dac_clipped += s->clipped[t] * a->column_blocks;
    }
    uint64_t of_read = work.groups * ((uint64_t)a->outputs * work.lines + (uint64_t)a->column_blocks * work.shared);
    r->dac_inputs = (uint64_t)r->tokens * array_driven_inputs(a) * a->column_blocks;
    r->adc_results = (uint64_t)r->tokens * a->row_blocks * of_read;
    r->dac_conversions = row_reads * work.passes * a->column_blocks;
    r->adc_conversions = r->adc_results + r->repeated_blocks * of_read;
}

static enum status check_inputs(const struct array *a, const float *x, uint32_t tokens, struct error *e) {
    for (uint32_t t = 0; t < tokens; t++) {
        if (!isfinite(kernels()->absmax_f32(x + (size_t)t * a->inputs, a->inputs))) {
            return bad_input(a, t, e);
        }
    }
    return OK;
}

enum status machine_multiply(struct machine *m, size_t matrix, const float *x, uint32_t tokens, uint64_t first_read,
                             struct multiply_scratch *s, float *y, struct multiply_record *record, struct error *e) {
    if (!machine_is_analog(m, matrix) || tokens > s->max_tokens) {
        return error_set(e, ERR_USAGE,
                         "multiply: matrix %zu with %u tokens (allowed: an analog matrix, at most %u tokens)", matrix,
                         tokens, s->max_tokens);
    }
    struct array *a = m->arrays[matrix];
    if (!m->ranges_set && !m->calibrating) {
        return error_set(e, ERR_RUN, "matrix %s: its converter ranges are not set: the chip needs a calibration first",
                         a->source.name);
    }
    uint64_t row_reads = (uint64_t)tokens * array_driven_inputs(a);
    *record = (struct multiply_record){.matrix = matrix, .tokens = tokens};
    if (a->side) {
        TRY(check_inputs(a, x, tokens, e));
    }
    const float *driven = side_drive(a, x, tokens, &s->side);
    if (m->simple) {
        struct job job = {.m = m,
                          .a = a,
                          .s = s,
                          .x = driven,
                          .y = y,
                          .matrix = matrix,
                          .tokens = tokens,
                          .first_read = first_read,
                          .bad = tokens};
        TRY(multiply_simple(&job, record, e));
    } else {
        TRY(check_inputs(a, x, tokens, e));
        if (m->calibrating) {
            array_record_inputs(a, driven, tokens);
        }
        row_reads = 0;
        TRY(multiply_general(m, matrix, driven, tokens, first_read, s, y, record, &row_reads, e));
    }
    side_multiply(a, x, tokens, &s->side, y);
    fill_record(m, a, s, row_reads, record);
    return OK;
}
