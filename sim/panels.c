/* Effective weights into panels, the layout that the kernels of the multiply read: int16 codes or fp32, and the white
 * noise beside them.
 *
 * Codes have one scale per line, row block and column: the largest |w| becomes the largest code, so that half a code is
 * at most 1/65534 of it. The largest code is smaller where the sum of a column could leave int32.
 * White noise: every weight has its own variance v per read. Beside fp32 panels each is kept as a byte; beside codes
 * c the column keeps v = n0 + n1 |c| + n2 c^2, least squares over the column without negative terms, scaled so that the
 * sum of the column is exact: what a multiply adds up is the sum of x^2 v, as base/read_noise.c rounds it, over all
 * rows or over drawn ones (base/drawn_noise.c). For drawn rows of fp32 panels, and of codes that do not say their v
 * (devices that are stuck), each v is kept as a byte once more.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "sim/machine.h"

enum {
    CODE_MAX = 32767,
    TERMS = 3,
    DRAWS_STEP = 16, /* numbers of drawn rows that there are: multiples of it */
};

/* Excess kurtosis that drawn rows may give to the noise of a column like the mean of its matrix, and of any, by the
 * bound of base/drawn_noise.c, which holds on average over the orders of the rows. Two thirds of it are usual: inputs
 * that are not all of one size are drawn with less scatter (tests/test_drawn.c). */
static const double EXCESS = 0.2, EXCESS_MOST = 0.5;
/* Columns of more than that, in which few weights have most of the noise, are not drawn in any case: a few of them do
 * not speak for the matrix. Gaussian weights whose variance is their square have 2. */
static const double SCATTER_MOST = 4;
/* How far the laws of codes may be off their weights' variances, rms over a matrix and in any column, in units of the
 * column's mean (law_misfit), if rows are to be drawn from the codes; else each device's own variance is kept as a
 * byte. The rounding to 7 bits alone is 0.02, Gaussian weights. */
static const double MISFIT = 0.1, MISFIT_MOST = 0.3;

float sum_of_sizes(const float *x, size_t n) {
    float sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sum[j] += fabsf(x[i + j]);
        }
    }
    for (; i < n; i++) {
        sum[i % 8] += fabsf(x[i]);
    }
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* ---- noise beside codes ------------------------------------------------------------------------------------ */

/* Moments of one column: sums of z^j and of v z^k over its weights, with z = |c| / largest |c|. */
struct noise_moments {
    double z[2 * TERMS - 1], v[TERMS], v2;
};

static struct noise_moments measure_noise(const int16_t *codes, const float *variance, uint32_t n, double per_code) {
    struct noise_moments s = {{0}, {0}, 0};
    for (uint32_t i = 0; i < n; i++) {
        double z = fabs((double)codes[i]) * per_code, power = 1, v = (double)variance[i];
        for (int j = 0; j < 2 * TERMS - 1; j++, power *= z) {
            s.z[j] += power;
            if (j < TERMS) {
                s.v[j] += v * power;
            }
        }
        s.v2 += v * v;
    }
    return s;
}

/* Least squares with the terms of `mask` alone (Gauss elimination of at most 3 x 3). False when they do not determine
 * it. */
static bool fit_terms(const struct noise_moments *s, unsigned mask, double out[TERMS]) {
    double m[TERMS][TERMS + 1] = {{0}};
    for (int i = 0; i < TERMS; i++) {
        bool in = mask >> i & 1;
        for (int j = 0; j < TERMS; j++) {
            m[i][j] = in && (mask >> j & 1) ? s->z[i + j] : i == j && !in ? 1 : 0;
        }
        m[i][TERMS] = in ? s->v[i] : 0;
    }
    for (int i = 0; i < TERMS; i++) {
        if (!(m[i][i] > 1e-9 * s->z[2 * i])) { /* s->z[2 i] is the diagonal before elimination */
            return false;
        }
        for (int k = i + 1; k < TERMS; k++) {
            double f = m[k][i] / m[i][i];
            for (int j = i; j <= TERMS; j++) {
                m[k][j] -= f * m[i][j];
            }
        }
    }
    for (int i = TERMS - 1; i >= 0; i--) {
        out[i] = m[i][TERMS];
        for (int j = i + 1; j < TERMS; j++) {
            out[i] -= m[i][j] * out[j];
        }
        out[i] /= m[i][i];
    }
    return true;
}

static double fit_residual(const struct noise_moments *s, const double n[TERMS]) {
    double sum = s->v2;
    for (int i = 0; i < TERMS; i++) {
        sum -= 2 * n[i] * s->v[i];
        for (int j = 0; j < TERMS; j++) {
            sum += n[i] * n[j] * s->z[i + j];
        }
    }
    return sum;
}

/* Which terms a fit may have. */
enum { CONSTANT = 1, LINEAR = 2, SQUARE = 4 };

/* Takes the best of all fits with terms among `allowed` that are not negative, where it is better than `least`. */
static void improve_fit(const struct noise_moments *s, unsigned allowed, double best[TERMS], double *least) {
    double n[TERMS];
    for (unsigned mask = LINEAR; mask <= allowed; mask++) {
        if ((mask & ~allowed) == 0 && fit_terms(s, mask, n) && n[0] >= 0 && n[1] >= 0 && n[2] >= 0 &&
            fit_residual(s, n) < *least) {
            *least = fit_residual(s, n);
            memcpy(best, n, sizeof n);
        }
    }
}

/* The best of all fits whose terms are not negative; [TERMS] of them, per power of the code. Without the linear term,
 * where that moves the weights' variances by less than they are rounded (rms): the kernels are faster without it. */
static void fit_noise(const int16_t *codes, const float *variance, uint32_t rows, float noise[TERMS]) {
    int largest = 1;
    for (uint32_t i = 0; i < rows; i++) {
        int size = codes[i] < 0 ? -codes[i] : codes[i];
        largest = size > largest ? size : largest;
    }
    struct noise_moments s = measure_noise(codes, variance, rows, 1.0 / largest);
    double best[TERMS] = {s.v[0] / s.z[0], 0, 0}, least = fit_residual(&s, best);
    improve_fit(&s, CONSTANT | LINEAR | SQUARE, best, &least);
    if (best[1] > 0) {
        double without[TERMS] = {s.v[0] / s.z[0], 0, 0}, residual = fit_residual(&s, without);
        const double rounding = (best[0] + best[1] + best[2]) / (2 * VARIANCE_MOST);
        improve_fit(&s, CONSTANT | SQUARE, without, &residual);
        if (residual - least < s.z[0] * rounding * rounding) {
            memcpy(best, without, sizeof best);
        }
    }
    double sum = best[0] * s.z[0] + best[1] * s.z[1] + best[2] * s.z[2], exact = sum > 0 ? s.v[0] / sum : 0;
    for (int i = 0; i < TERMS; i++) {
        noise[i] = (float)(best[i] * exact / pow(largest, i));
    }
}

/* ---- panels -------------------------------------------------------------------------------------------------- */

/* Largest code of a column whose sizes sum to `sum` and reach `largest`: the dot product with input codes up to `limit`
 * must fit int32, with half a code of rounding per row. The factor keeps a margin for the rounding of this estimate. */
static float largest_code(double sum, double largest, uint32_t rows, int limit) {
    double room = 0.999 * (2147483647.0 / limit) - 0.5 * rows;
    return (float)floor(fmin(CODE_MAX, room * largest / sum));
}

static size_t panel_start(const struct array *a, uint32_t row_block, uint32_t line, uint32_t output) {
    return (((size_t)line * a->panels + output / PANEL) * a->row_stride + a->row_offset[row_block]) * PANEL;
}

/* Codes of one column in `codes`, its scale into the array. False: all zero. */
static bool make_codes(const struct machine *m, struct array *a, const float *effective, uint32_t rows, size_t at,
                       int16_t *codes) {
    float largest = kernels()->absmax_f32(effective, rows);
    if (!(largest > SMALLEST_RANGE)) {
        a->code_scale[at] = 0;
        memset(codes, 0, rows * sizeof *codes);
        return false;
    }
    float top = largest_code((double)sum_of_sizes(effective, rows), (double)largest, rows, m->dac.limit);
    a->code_scale[at] = largest / top;
    kernels()->quantise_i16(effective, rows, top / largest, CODE_MAX, codes);
    return true;
}

static void put_floats(float *panel, const float *values, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r++) {
        panel[(size_t)r * PANEL] = values[r];
    }
}

/* Own variances of one column as bytes, in units of scale^2. */
static void store_drawn(struct array *a, const float *variance, uint32_t row_block, uint32_t line, uint32_t output,
                        float scale) {
    const uint32_t strip = output / NOISE_STRIP, column = output % NOISE_STRIP, rows = array_block_rows(a, row_block);
    const struct drawn_column c = pack_drawn(variance, rows, column, array_strip(a, row_block, line, strip));
    float *factors = array_drawn_factors(a, row_block, line, strip);
    factors[column] = c.base / scale / scale;
    factors[NOISE_STRIP + column] = c.step / scale / scale;
}

/* The noise of one column of codes, in their squares; none where all are 0. */
static void store_noise(const struct machine *m, struct array *a, const int16_t *codes, const float *variance,
                        uint32_t row_block, uint32_t output) {
    const size_t at = (size_t)row_block * a->columns + output;
    const uint32_t rows = array_block_rows(a, row_block);
    int16_t *law = a->noise + at / PANEL * 4 * PANEL + at % PANEL;
    float noise[TERMS] = {0}, *factors = a->noise_factors + at / PANEL * 3 * PANEL + at % PANEL;
    const float scale = a->code_scale[at];
    if (scale > 0) {
        fit_noise(codes, variance, rows, noise);
        for (int i = 0; i < TERMS; i++) {
            noise[i] = noise[i] / scale / scale;
        }
    }
    read_noise_column(noise, codes, rows, m->dac.limit, law, factors);
    if (scale > 0) {
        const double per_square = 1 / ((double)scale * (double)scale);
        a->misfit[at] = law_misfit(variance, per_square, codes, rows, m->dac.limit, law, factors);
        store_drawn(a, variance, row_block, 0, output, scale);
    }
}

/* ---- how noise is summed ------------------------------------------------------------------------------------- */

/* Whether all weights of a panel have the variance of their column's mean. panel: number of row block, line, panel. */
static bool noise_is_alike(const struct array *a, size_t panel) {
    static const int16_t no_law[2 * PANEL];
    static const float no_steps[PANEL];
    return a->noise ? memcmp(a->noise + panel * 4 * PANEL + PANEL, no_law, sizeof no_law) == 0
                    : memcmp(a->spread_factors + panel * 3 * PANEL, no_steps, sizeof no_steps) == 0;
}

/* So many rows that 3 scatter / draws, the bound of the noise's excess kurtosis, is EXCESS for a column like the mean
 * of all. */
static uint32_t draws_for(const struct array *a) {
    size_t lines = (size_t)a->row_blocks * a->lines;
    double sum = 0;
    for (size_t i = 0; i < lines; i++) {
        for (uint32_t o = 0; o < a->outputs; o++) {
            sum += fmin((double)a->scatter[i * a->columns + o], SCATTER_MOST);
        }
    }
    double wanted = ceil(3 * sum / ((double)lines * a->outputs) / EXCESS / DRAWS_STEP) * DRAWS_STEP;
    return (uint32_t)fmin(fmax(wanted, DRAWS_LEAST), DRAWS_MOST);
}

static enum noise_sum sum_of_panel(const struct array *a, size_t panel, uint32_t draws) {
    float largest = 0;
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        largest = fmaxf(largest, a->scatter[panel * PANEL + lane]);
    }
    bool pays = 2 * draws <= array_block_rows(a, 0), fits = 3 * (double)largest <= EXCESS_MOST * draws;
    return noise_is_alike(a, panel) ? NOISE_ALIKE : pays && fits ? NOISE_DRAWN : NOISE_FULL;
}

/* Whether the law of all lanes is the plain square of the code, which kernels know without it. Lanes without noise,
 * whose weights are 0 or which have no output, have any law that is wanted. */
static bool make_square(const float *factors, int16_t *law) {
    bool square = true;
    for (uint32_t lane = 0; lane < PANEL; lane++) {
        if (factors[lane] == 0 && factors[PANEL + lane] == 0 && factors[2 * PANEL + lane] == 0) {
            law[lane] = law[PANEL + lane] = 0;
            law[2 * PANEL + lane] = INT16_MIN;
            law[3 * PANEL + lane] = 1;
        }
        square = square && law[lane] == 0 && law[PANEL + lane] == 0 && law[2 * PANEL + lane] == INT16_MIN &&
                 law[3 * PANEL + lane] == 1;
    }
    return square;
}

/* Whether rows may be drawn from the codes: their laws say each weight's variance well enough. */
static bool laws_fit(const struct array *a) {
    double squares = 0;
    for (size_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t o = 0; o < a->outputs; o++) {
            const double misfit = (double)a->misfit[b * a->columns + o];
            squares += misfit * misfit;
            if (misfit > MISFIT_MOST) {
                return false;
            }
        }
    }
    return squares <= MISFIT * MISFIT * a->row_blocks * a->outputs;
}

/* Factors of the laws in place of those of the bytes. */
static void draw_from_codes(const struct machine *m, struct array *a) {
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t o = 0; o < a->columns; o++) {
            const float *of_law = a->noise_factors + (((size_t)b * a->panels + o / PANEL) * 3 * PANEL + o % PANEL);
            float *factors = array_drawn_factors(a, b, 0, o / NOISE_STRIP);
            factors[o % NOISE_STRIP] = of_law[2 * PANEL];
            factors[NOISE_STRIP + o % NOISE_STRIP] = variance_unit(of_law, m->dac.limit);
        }
    }
}

static void choose_panels(const struct machine *m, struct array *a, uint32_t draws) {
    const bool all = m->spec->tile.white_noise_rows == WHITE_ROWS_ALL;
    for (size_t i = 0; i < (size_t)a->row_blocks * a->lines * a->panels; i++) {
        const enum noise_sum one = sum_of_panel(a, i, draws), sum = all && one == NOISE_DRAWN ? NOISE_FULL : one;
        a->noise_sum[i] = (uint8_t)sum;
        a->full_sums = a->full_sums || sum == NOISE_FULL;
        a->some_alike = a->some_alike || sum == NOISE_ALIKE;
        a->draws = sum == NOISE_DRAWN ? draws : a->draws;
        if (a->noise && sum != NOISE_ALIKE) {
            a->square_law[i] = make_square(a->noise_factors + i * 3 * PANEL, a->noise + i * 4 * PANEL);
        }
    }
}

void array_choose_sums(const struct machine *m, struct array *a) {
    if (!a->drawn_factors) {
        return;
    }
    const uint32_t draws = draws_for(a);
    choose_panels(m, a, draws);
    const bool from_codes = a->noise && laws_fit(a);
    if (from_codes) {
        draw_from_codes(m, a);
    }
    for (size_t i = 0; i < array_strip_count(a) * a->lines * a->row_blocks; i++) {
        for (size_t column = 0; column < NOISE_STRIP; column++) {
            a->drawn_factors[(2 * i + 1) * NOISE_STRIP + column] /= (float)draws;
        }
    }
    if (from_codes || !a->draws) {
        mem_free(a->strips);
        a->strips = NULL;
    }
    mem_free(a->misfit);
    a->misfit = NULL;
}

/* ---- storing --------------------------------------------------------------------------------------------------- */

static void store_floats(struct array *a, uint32_t row_block, uint32_t line, uint32_t output, const float *effective,
                         const float *variance, float *panel) {
    const uint32_t rows = array_block_rows(a, row_block);
    put_floats(panel + output % PANEL, effective, rows);
    if (variance) {
        pack_variances(variance, rows, output % PANEL, array_variances(a, row_block, line, output / PANEL),
                       array_spread_factors(a, row_block, line, output / PANEL));
        store_drawn(a, variance, row_block, line, output, 1);
    }
}

void array_store_line(const struct machine *m, struct array *a, uint32_t row_block, uint32_t line, uint32_t output,
                      const float *effective, const float *variance, int16_t *scratch) {
    uint32_t rows = array_block_rows(a, row_block);
    size_t start = panel_start(a, row_block, line, output),
           at = ((size_t)row_block * a->lines + line) * a->columns + output;
    if (variance) {
        a->scatter[at] = variance_scatter(variance, rows);
    }
    if (a->weights) {
        a->code_scale[at] = 1;
        store_floats(a, row_block, line, output, effective, variance, a->weights + start);
        return;
    }
    if (make_codes(m, a, effective, rows, at, scratch)) {
        int16_t *panel = a->codes + start;
        for (uint32_t r = 0; r < rows; r++) {
            panel[code_place(r, output % PANEL)] = scratch[r];
        }
    }
    if (variance) {
        store_noise(m, a, scratch, variance, row_block, output);
    }
}
