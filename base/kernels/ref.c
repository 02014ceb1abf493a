/* The plain reference kernels: obvious loops, one output at a time, sums in double and rounded once
 * (error <= eps |result| + n 2^-53 sum|a b|, far below every bound in kernels.h). They stay for ever and
 * are never optimised; every other set is tested against them.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/kernels/comb.h"
#include "base/kernels/sets.h"
#include "base/random_inline.h"

static float ref_dot_f32(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return (float)sum;
}

static float weight_at(enum weight_type type, const void *w, size_t i) {
    switch (type) {
    case WEIGHT_F16: return f32_of_f16(((const uint16_t *)w)[i]);
    case WEIGHT_BF16: return f32_of_bf16(((const uint16_t *)w)[i]);
    case WEIGHT_F32: break;
    }
    return ((const float *)w)[i];
}

static void ref_gemv(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *x,
                     float *y) {
    for (size_t o = 0; o < rows; o++) {
        double sum = 0;
        for (size_t i = 0; i < k; i++) {
            sum += (double)weight_at(type, w, o * stride + i) * (double)x[i];
        }
        y[o] = (float)sum;
    }
}

static void ref_weigh_rows(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *a,
                           float *y) {
    for (size_t i = 0; i < k; i++) {
        double sum = 0;
        for (size_t j = 0; j < rows; j++) {
            sum += (double)weight_at(type, w, j * stride + i) * (double)a[j];
        }
        y[i] = (float)sum;
    }
}

static void ref_halves_of_f32(const float *x, size_t n, uint16_t *halves) {
    for (size_t i = 0; i < n; i++) {
        halves[i] = f16_of_f32(x[i]);
    }
}

static void ref_gemm_panel_f32(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                               size_t ldy, size_t lanes) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < lanes; lane++) {
            double sum = 0;
            for (size_t i = 0; i < k; i++) {
                sum += (double)panel[i * PANEL + lane] * (double)x[t * ldx + i];
            }
            y[t * ldy + lane] = (float)sum;
        }
    }
}

static void ref_pack_panel_f32(enum weight_type type, const void *w, size_t stride, size_t lanes, size_t k,
                               float *panel) {
    for (size_t i = 0; i < k; i++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            panel[i * PANEL + lane] = lane < lanes ? weight_at(type, w, lane * stride + i) : 0.0f;
        }
    }
}

static void ref_mac_i16(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens, int32_t *acc) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            int32_t sum = 0;
            for (size_t r = 0; r < rows; r++) {
                sum += panel[code_place(r, lane)] * x[t * ldx + r];
            }
            acc[t * PANEL + lane] = sum;
        }
    }
}

static void ref_scale_sums(const int32_t *acc, const float steps[PANEL], const float *x_steps, size_t tokens,
                            float *y, size_t ldy, size_t lanes) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < lanes; lane++) {
            y[t * ldy + lane] = (float)acc[t * PANEL + lane] * steps[lane] * x_steps[t];
        }
    }
}

/* Rounded product of two numbers in units of 2^-15. */
static int32_t product_15(int32_t a, int32_t b) { return (a * b + (1 << 14)) >> 15; }

static int32_t weight_variance(int16_t code, const int16_t *law) {
    const int32_t a = law[3 * PANEL] * (code < 0 ? -code : code);
    return (law[0] + product_15(law[PANEL], a) - product_15(law[2 * PANEL], product_15(a, a))) >> 8;
}

static float root(float x) { return sqrtf(x > 0 ? x : 0.0f); }

static void ref_mac_i16_noise(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                              const struct read_noise *noise, int32_t *acc, float *sd) {
    ref_mac_i16(panel, rows, x, ldx, tokens, acc);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            int32_t spread = 0;
            for (size_t r = 0; r < rows; r++) {
                spread += weight_variance(panel[code_place(r, lane)], noise->law + lane) *
                          noise->squares[t * noise->lds + square_place(r)];
            }
            const struct square_sums *sums = noise->sums + t * noise->ldn;
            const float left = noise->factors[PANEL + lane] * sums->rest + noise->factors[2 * PANEL + lane] * sums->all;
            sd[t * PANEL + lane] = root(noise->factors[lane] * (float)spread + left);
        }
    }
}

static void ref_noise_sd(const struct byte_noise *noise, size_t rows, size_t tokens, float *sd) {
    bool alike = true;
    for (size_t lane = 0; lane < PANEL; lane++) {
        alike = alike && noise->factors[lane] == 0;
    }
    for (size_t t = 0; t < tokens; t++) {
        const struct byte_squares *sums = noise->sums + t;
        for (size_t lane = 0; lane < PANEL; lane++) {
            const float middle = noise->factors[PANEL + lane];
            int32_t spread = 0;
            for (size_t r = 0; r < rows; r++) {
                spread += noise->variances[variance_place(r, lane)] * noise->squares[t * noise->lds + square_place(r)];
            }
            const float coded = noise->factors[lane] * (float)spread * sums->unit;
            const float mean = middle * sums->all + noise->factors[2 * PANEL + lane] * sums->rest;
            sd[t * PANEL + lane] = alike ? root(middle) * root(sums->all) : root(coded + mean);
        }
    }
}

static float ref_draw_rows(const float *squares, size_t rows, float u, size_t draws, uint32_t *drawn) {
    float sum[DRAW_LANES] = {0}, before[DRAW_LANES];
    uint32_t first[DRAWS_MOST + 2] = {0}; /* rounding may add a tooth */
    for (size_t r = 0; r < rows; r++) {
        sum[r % DRAW_LANES] += squares[r];
    }
    const float all = sums_before(sum, before);
    if (!comb_counts(all, draws, drawn)) {
        return all;
    }
    const float scale = (float)draws / all;
    for (size_t l = 0; l < DRAW_LANES; l++) {
        float run = 0;
        int32_t tooth = (int32_t)(before[l] * scale + u);
        for (size_t r = l; r < rows; r += DRAW_LANES) {
            run += squares[r];
            const int32_t end = (int32_t)((before[l] + run) * scale + u);
            if (end > tooth) {
                first[tooth] = (uint32_t)r + 1;
            }
            tooth = end;
        }
    }
    fill_teeth(first, draws, drawn);
    return all;
}

static void ref_drawn_sd(const struct drawn_rows *rows, size_t tokens, float *sd) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t column = 0; column < NOISE_STRIP; column++) {
            uint32_t sum = 0;
            for (size_t d = 0; d < rows->draws; d++) {
                sum += rows->strip[rows->places[t * rows->draws + d] + strip_place(0, column)];
            }
            const float mean = rows->factors[column] + rows->factors[NOISE_STRIP + column] * (float)sum;
            sd[(column / PANEL * tokens + t) * PANEL + column % PANEL] = root(mean) * rows->roots[t * rows->ldr];
        }
    }
}

/* law NULL: h(w,w) >> 8 */
static int32_t drawn_variance(int16_t code, const int16_t *law) {
    return law ? weight_variance(code, law) : product_15(code, code) >> 8;
}

static void ref_mac_i16_drawn(size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                              const struct drawn_codes *codes, const float *z, size_t ldz, float *v) {
    int32_t acc[DRAWN_TOKENS * PANEL];
    ref_mac_i16(codes->panel, rows, x, ldx, tokens, acc);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            int32_t sum = 0;
            for (size_t d = 0; d < codes->draws; d++) {
                const int16_t code = codes->panel[codes->places[t * codes->draws + d] + code_place(0, lane)];
                sum += drawn_variance(code, codes->law ? codes->law + lane : NULL);
            }
            const float mean = codes->factors[lane] + codes->factors[NOISE_STRIP + lane] * (float)sum;
            const float sd = root(mean) * codes->roots[t * codes->ldr];
            v[t * PANEL + lane] = (float)acc[t * PANEL + lane] + z[t * ldz + lane] * sd;
        }
    }
}

static void ref_strip_of_codes(const int16_t *panel, size_t stride, size_t panels, size_t rows, const int16_t *law,
                               uint8_t *strip) {
    memset(strip, 0, strip_size(rows));
    for (size_t c = 0; c < panels * PANEL; c++) {
        const int16_t *of_column = law ? law + c / PANEL * 4 * PANEL + c % PANEL : NULL;
        for (size_t r = 0; r < rows; r++) {
            const int16_t code = panel[c / PANEL * stride + code_place(r, c % PANEL)];
            strip[strip_place(r, c)] = (uint8_t)drawn_variance(code, of_column);
        }
    }
}

static void ref_add_noise(const int32_t *acc, const float *sd, const float *z, size_t ldz, size_t tokens, float *v) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            v[t * PANEL + lane] = (float)acc[t * PANEL + lane] + z[t * ldz + lane] * sd[t * PANEL + lane];
        }
    }
}

static void ref_add_flat_noise(const int32_t *acc, const float column[PANEL], const float *all, size_t lda,
                               const float *z, size_t ldz, size_t tokens, float *v) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < PANEL; lane++) {
            const float sd = root(column[lane]) * root(all[t * lda]);
            v[t * PANEL + lane] = (float)acc[t * PANEL + lane] + z[t * ldz + lane] * sd;
        }
    }
}

static float ref_absmax_f32(const float *x, size_t n) {
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        if (isnan(magnitude)) {
            return magnitude;
        }
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

static size_t ref_quantise_i16(const float *x, size_t n, float inv_step, int limit, int16_t *codes) {
    const float bound = (float)limit;
    size_t clamped = 0;
    for (size_t i = 0; i < n; i++) {
        const float rounded = rintf(x[i] * inv_step); /* to nearest, half to even */
        const float code = rounded >= -bound ? (rounded <= bound ? rounded : bound) : isnan(rounded) ? bound : -bound;
        clamped += code != rounded; /* true for NaN */
        codes[i] = (int16_t)code;
    }
    return clamped;
}

static void ref_gaussian_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    float z[4] = {0};
    for (size_t i = 0; i < n; i++) {
        const uint64_t index = first + i;
        if (i == 0 || index % 4 == 0) {
            gaussian_block(seed, stream, index / 4, z);
        }
        out[i] = z[index % 4];
    }
}

static void ref_gaussian_blocks(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        gaussian_sixteen(seed, stream, blocks[i], out + 16 * i);
    }
}

const struct kernels kernels_ref = {
    .name = "ref",
    .dot_f32 = ref_dot_f32,
    .gemv = ref_gemv,
    .weigh_rows = ref_weigh_rows,
    .halves_of_f32 = ref_halves_of_f32,
    .gemm_panel_f32 = ref_gemm_panel_f32,
    .pack_panel_f32 = ref_pack_panel_f32,
    .mac_i16 = ref_mac_i16,
    .scale_sums = ref_scale_sums,
    .mac_i16_noise = ref_mac_i16_noise,
    .noise_sd = ref_noise_sd,
    .draw_rows = ref_draw_rows,
    .drawn_sd = ref_drawn_sd,
    .mac_i16_drawn = ref_mac_i16_drawn,
    .strip_of_codes = ref_strip_of_codes,
    .add_noise = ref_add_noise,
    .add_flat_noise = ref_add_flat_noise,
    .absmax_f32 = ref_absmax_f32,
    .quantise_i16 = ref_quantise_i16,
    .gaussian_fill = ref_gaussian_fill,
    .gaussian_blocks = ref_gaussian_blocks,
};
