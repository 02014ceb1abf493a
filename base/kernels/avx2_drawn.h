/* Part of avx2.c: rows drawn by chance and sums over them (base/drawn_noise.c). */
#ifndef MHO_BASE_KERNELS_AVX2_DRAWN_H
#define MHO_BASE_KERNELS_AVX2_DRAWN_H

/* Eight runs of the comb: which of them have teeth on this row, the numbers of their first teeth into `tooth`. */
struct comb { simde__m256 run, before; simde__m256i tooth; };
INLINE unsigned teeth_of(struct comb *c, simde__m256 squares, simde__m256 scale, simde__m256 u, int32_t *tooth) {
    c->run = simde_mm256_add_ps(c->run, squares);
    const simde__m256 reached = simde_mm256_mul_ps(simde_mm256_add_ps(c->before, c->run), scale);
    const simde__m256i end = simde_mm256_cvttps_epi32(simde_mm256_add_ps(reached, u));
    const simde__m256i some = simde_mm256_cmpgt_epi32(end, c->tooth);
    store_words(tooth, c->tooth);
    c->tooth = end;
    return (unsigned)simde_mm256_movemask_ps(simde_mm256_castsi256_ps(some));
}

INLINE struct comb comb_at(const float *before, simde__m256 scale, simde__m256 u) {
    const simde__m256 sum = simde_mm256_loadu_ps(before);
    const simde__m256i tooth = simde_mm256_cvttps_epi32(simde_mm256_add_ps(simde_mm256_mul_ps(sum, scale), u));
    return (struct comb){simde_mm256_setzero_ps(), sum, tooth};
}

/* Steps of the comb between two looks at what it has found: no processor foresees how many rows that will be. */
enum { COMB_STEPS = 4 };
static_assert((int)COMB_STEPS * DRAW_LANES <= 64, "a bit for each row");

static float avx2_draw_rows(const float *squares, size_t rows, float u, size_t draws, uint32_t *drawn) {
    const size_t length = run_length(rows);
    float sum[DRAW_LANES], before[DRAW_LANES], tail[DRAW_LANES];
    uint32_t first[DRAWS_MOST + 2]; /* rounding may add a tooth */
    int32_t tooth[COMB_STEPS * DRAW_LANES];
    simde__m256 low = simde_mm256_setzero_ps(), high = low;
    memset(first, 0, (draws + 2) * sizeof *first);
    for (size_t j = 0; j < length; j++) {
        const float *now = lanes_at(squares, rows, j, tail);
        low = simde_mm256_add_ps(low, simde_mm256_loadu_ps(now));
        high = simde_mm256_add_ps(high, simde_mm256_loadu_ps(now + LANES));
    }
    simde_mm256_storeu_ps(sum, low);
    simde_mm256_storeu_ps(sum + LANES, high);
    const float all = sums_before(sum, before);
    if (!comb_counts(all, draws, drawn)) {
        return all;
    }
    const simde__m256 scale = simde_mm256_set1_ps((float)draws / all), start = simde_mm256_set1_ps(u);
    struct comb c0 = comb_at(before, scale, start), c1 = comb_at(before + LANES, scale, start);
    for (size_t begin = 0; begin < length; begin += COMB_STEPS) {
        uint64_t some = 0; /* bit of a row: its number from begin * DRAW_LANES on */
        for (size_t i = 0; i < COMB_STEPS && begin + i < length; i++) {
            const float *now = lanes_at(squares, rows, begin + i, tail);
            int32_t *of_step = tooth + i * DRAW_LANES;
            const uint64_t low_runs = teeth_of(&c0, simde_mm256_loadu_ps(now), scale, start, of_step),
                           high_runs = teeth_of(&c1, simde_mm256_loadu_ps(now + LANES), scale, start, of_step + LANES);
            some |= (low_runs | high_runs << LANES) << i * DRAW_LANES;
        }
        for (; some; some &= some - 1) {
            const size_t row = (size_t)__builtin_ctzll(some);
            first[tooth[row]] = (uint32_t)(begin * DRAW_LANES + row) + 1;
        }
    }
    fill_teeth(first, draws, drawn);
    return all;
}

/* Sums of the bytes of one half of the lanes. Words are added as they are, odd bytes and all, which have sums of their
 * own: they come off at the end. Then even is panels 0 and 2, odd 1 and 3, of each lane side by side. */
struct drawn_sums { simde__m256i even, odd; };

INLINE simde__m256i two_rows(const uint8_t *strip, const uint32_t *places) {
    return simde_mm256_add_epi8(load_words(strip + places[0]), load_words(strip + places[1]));
}

INLINE void sum_drawn(const struct drawn_rows *rows, const uint32_t *places, struct drawn_sums sum[2]) {
    sum[0].even = sum[0].odd = sum[1].even = sum[1].odd = simde_mm256_setzero_si256();
#pragma GCC unroll 2
    for (size_t d = 0; d < rows->draws; d += 2) {
        for (size_t half = 0; half < 2; half++) {
            const simde__m256i two = two_rows(rows->strip + half * 4 * LANES, places + d);
            sum[half].even = simde_mm256_add_epi16(sum[half].even, two);
            sum[half].odd = simde_mm256_add_epi16(sum[half].odd, simde_mm256_srli_epi16(two, 8));
        }
    }
    for (size_t half = 0; half < 2; half++) {
        sum[half].even = simde_mm256_sub_epi16(sum[half].even, simde_mm256_slli_epi16(sum[half].odd, 8));
    }
}

/* sd of eight columns */
INLINE simde__m256 sd_of_sums(simde__m256i sums, const float *factors, simde__m256 of_token) {
    const simde__m256 step = simde_mm256_loadu_ps(factors + NOISE_STRIP);
    const simde__m256 steps = simde_mm256_mul_ps(step, simde_mm256_cvtepi32_ps(sums));
    const simde__m256 mean = simde_mm256_add_ps(simde_mm256_loadu_ps(factors), steps);
    return simde_mm256_mul_ps(simde_mm256_sqrt_ps(simde_mm256_max_ps(mean, simde_mm256_setzero_ps())), of_token);
}

INLINE simde__m256i lower_words(simde__m256i words) {
    return simde_mm256_and_si256(words, simde_mm256_set1_epi32(0xffff));
}

static void avx2_drawn_sd(const struct drawn_rows *rows, size_t tokens, float *sd) {
    for (size_t t = 0; t < tokens; t++) {
        const simde__m256 of_token = simde_mm256_broadcast_ss(rows->roots + t * rows->ldr);
        struct drawn_sums sum[2];
        sum_drawn(rows, rows->places + t * rows->draws, sum);
        for (size_t half = 0; half < 2; half++) {
            const simde__m256i of_panel[] = {lower_words(sum[half].even), lower_words(sum[half].odd),
                                             simde_mm256_srli_epi32(sum[half].even, 16),
                                             simde_mm256_srli_epi32(sum[half].odd, 16)};
            for (size_t i = 0; i < NOISE_STRIP / PANEL; i++) {
                const float *factors = rows->factors + i * PANEL + half * LANES;
                simde_mm256_storeu_ps(sd + (i * tokens + t) * PANEL + half * LANES,
                                      sd_of_sums(of_panel[i], factors, of_token));
            }
        }
        if (rows->next) {
            ask_for_rows(rows, t, tokens);
        }
    }
}

/* Weights of two rows, half of the lanes: each in every other word. */
INLINE simde__m256i two_weights(const int16_t *panel, size_t even, size_t odd) {
    return simde_mm256_blend_epi16(load_words(panel + even), load_words(panel + odd - 1), 0xaa);
}

/* Sums of eight columns over the rows drawn for one token. */
INLINE void sum_codes(const struct drawn_codes *codes, const uint32_t *places, const struct noise *k, bool square,
                      simde__m256i out[2]) {
    simde__m256i sum[2] = {simde_mm256_setzero_si256(), simde_mm256_setzero_si256()};
#pragma GCC unroll 4
    for (size_t d = 0; d < codes->draws; d += 2) {
        for (size_t half = 0; half < 2; half++) {
            const simde__m256i w = two_weights(codes->panel + half * PANEL, places[d], places[d + 1]);
            const simde__m256i v = simde_mm256_srli_epi16(variance_words(k, half, w, square), 8);
            sum[half] = simde_mm256_add_epi16(sum[half], v);
        }
    }
    for (size_t half = 0; half < 2; half++) {
        out[half] = simde_mm256_add_epi32(lower_words(sum[half]), simde_mm256_srli_epi32(sum[half], 16));
    }
}

static void avx2_mac_i16_drawn(size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                               const struct drawn_codes *codes, const float *z, size_t ldz, float *v) {
    int32_t acc[DRAWN_TOKENS * PANEL];
    struct noise k;
    avx2_mac_i16(codes->panel, rows, x, ldx, tokens, acc);
    if (codes->law) {
        k = noise_of(codes->law);
    }
    for (size_t t = 0; t < tokens; t++) {
        const uint32_t *places = codes->places + t * codes->draws;
        const simde__m256 of_token = simde_mm256_broadcast_ss(codes->roots + t * codes->ldr);
        simde__m256i sum[2];
        if (codes->law) {
            sum_codes(codes, places, &k, false, sum);
        } else {
            sum_codes(codes, places, NULL, true, sum);
        }
        for (size_t half = 0; half < 2; half++) {
            const size_t lane = half * LANES;
            const simde__m256 sd = sd_of_sums(sum[half], codes->factors + lane, of_token);
            store_noisy(acc + t * PANEL + lane, z + t * ldz + lane, sd, v + t * PANEL + lane);
        }
    }
}

/* A pair of rows of two panels, half of the lanes: bytes of both side by side, first row and second row in turns. */
INLINE simde__m256i two_panels(simde__m256i first, simde__m256i second) {
    return simde_mm256_blendv_epi8(simde_mm256_srli_epi16(first, 8), second, simde_mm256_set1_epi16((int16_t)0xff00));
}

INLINE void strip_rows_of(const int16_t *panel, size_t stride, size_t panels, size_t pairs, const struct noise *k,
                          bool square, uint8_t *strip) {
    for (size_t r = 0; r < pairs; r++) {
        for (size_t half = 0; half < 2; half++) {
            simde__m256i v[NOISE_STRIP / PANEL];
            for (size_t i = 0; i < NOISE_STRIP / PANEL; i++) {
                const int16_t *w = panel + i * stride + r * 2 * PANEL + half * PANEL;
                v[i] = i < panels ? variance_words(&k[i], half, load_words(w), square) : simde_mm256_setzero_si256();
            }
            const simde__m256i low = two_panels(v[0], v[1]), high = two_panels(v[2], v[3]);
            uint8_t *to = strip + r * 2 * NOISE_STRIP + half * 4 * LANES;
            store_words(to, simde_mm256_blend_epi16(low, simde_mm256_slli_epi32(high, 16), 0xaa));
            store_words(to + NOISE_STRIP, simde_mm256_blend_epi16(simde_mm256_srli_epi32(low, 16), high, 0xaa));
        }
    }
}

#include "base/kernels/strip_of_codes.h"

#endif
