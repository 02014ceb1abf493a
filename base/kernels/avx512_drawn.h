/* Part of avx512.c: rows drawn by chance and sums over them (base/drawn_noise.c). */
#ifndef MHO_BASE_KERNELS_AVX512_DRAWN_H
#define MHO_BASE_KERNELS_AVX512_DRAWN_H

static float avx512_draw_rows(const float *squares, size_t rows, float u, size_t draws, uint32_t *drawn) {
    const size_t length = run_length(rows);
    float sum[DRAW_LANES], before[DRAW_LANES], tail[DRAW_LANES];
    uint32_t first[DRAWS_MOST + 2]; /* rounding may add a tooth */
    __m512 run = _mm512_setzero_ps();
    memset(first, 0, (draws + 2) * sizeof *first);
    for (size_t j = 0; j < length; j++) {
        run = _mm512_add_ps(run, _mm512_loadu_ps(lanes_at(squares, rows, j, tail)));
    }
    _mm512_storeu_ps(sum, run);
    const float all = sums_before(sum, before);
    if (!comb_counts(all, draws, drawn)) {
        return all;
    }
    const __m512 scale = _mm512_set1_ps((float)draws / all), start = _mm512_set1_ps(u);
    const __m512 earlier = _mm512_loadu_ps(before);
    __m512i tooth = _mm512_cvttps_epi32(_mm512_add_ps(_mm512_mul_ps(earlier, scale), start));
    __m512i row = _mm512_set_epi32(16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1); /* number + 1 */
    run = _mm512_setzero_ps();
    for (size_t j = 0; j < length; j++) {
        run = _mm512_add_ps(run, _mm512_loadu_ps(lanes_at(squares, rows, j, tail)));
        const __m512 reached = _mm512_mul_ps(_mm512_add_ps(earlier, run), scale);
        const __m512i end = _mm512_cvttps_epi32(_mm512_add_ps(reached, start));
        _mm512_mask_i32scatter_epi32(first, _mm512_cmpgt_epi32_mask(end, tooth), tooth, row, sizeof *first);
        row = _mm512_add_epi32(row, _mm512_set1_epi32(DRAW_LANES));
        tooth = end;
    }
    fill_teeth(first, draws, drawn);
    return all;
}

/* A row of a strip is one register. Words are added as they are, odd bytes and all, which have sums of their own: they
 * come off at the end. Then even is panels 0 and 2, odd 1 and 3, of each lane side by side. */
struct drawn_sums { __m512i even, odd; };

INLINE struct drawn_sums sum_drawn(const struct drawn_rows *rows, const uint32_t *places) {
    const uint8_t *strip = rows->strip;
    __m512i both = _mm512_setzero_si512(), odd = both;
    for (size_t d = 0; d < rows->draws; d += 2) {
        const __m512i two =
            _mm512_add_epi8(_mm512_loadu_si512(strip + places[d]), _mm512_loadu_si512(strip + places[d + 1]));
        both = _mm512_add_epi16(both, two);
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(two, 8));
    }
    return (struct drawn_sums){_mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8)), odd};
}

INLINE __m512i lower_words(__m512i words) { return _mm512_and_si512(words, _mm512_set1_epi32(0xffff)); }

/* sd of one panel */
INLINE __m512 sd_of_sums(__m512i sums, const float *factors, __m512 of_token) {
    const __m512 steps = _mm512_mul_ps(_mm512_loadu_ps(factors + NOISE_STRIP), _mm512_cvtepi32_ps(sums));
    const __m512 mean = _mm512_add_ps(_mm512_loadu_ps(factors), steps);
    return _mm512_mul_ps(roots(_mm512_max_ps(mean, _mm512_setzero_ps())), of_token);
}

static void avx512_drawn_sd(const struct drawn_rows *rows, size_t tokens, float *sd) {
    for (size_t t = 0; t < tokens; t++) {
        const __m512 of_token = _mm512_set1_ps(rows->roots[t * rows->ldr]);
        const struct drawn_sums sum = sum_drawn(rows, rows->places + t * rows->draws);
        const __m512i of_panel[] = {lower_words(sum.even), lower_words(sum.odd), _mm512_srli_epi32(sum.even, 16),
                                    _mm512_srli_epi32(sum.odd, 16)};
        for (size_t i = 0; i < NOISE_STRIP / PANEL; i++) {
            _mm512_storeu_ps(sd + (i * tokens + t) * PANEL,
                             sd_of_sums(of_panel[i], rows->factors + i * PANEL, of_token));
        }
        if (rows->next) {
            ask_for_rows(rows, t, tokens);
        }
    }
}

/* Weights of two rows, each in every other word. */
INLINE __m512i two_weights(const int16_t *panel, size_t even, size_t odd) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_loadu_si512(panel + even), _mm512_loadu_si512(panel + odd - 1));
}

/* Sums over the rows drawn for one token. */
INLINE __m512i sum_codes(const struct drawn_codes *codes, const uint32_t *places, const struct noise *k, bool square) {
    __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (size_t d = 0; d < codes->draws; d += 2) {
        const __m512i w = two_weights(codes->panel, places[d], places[d + 1]);
        sum = _mm512_add_epi16(sum, _mm512_srli_epi16(variance_words(k, w, square), 8));
    }
    return _mm512_add_epi32(lower_words(sum), _mm512_srli_epi32(sum, 16));
}

static void avx512_mac_i16_drawn(size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                                 const struct drawn_codes *codes, const float *z, size_t ldz, float *v) {
    int32_t acc[DRAWN_TOKENS * PANEL];
    struct noise k;
    avx512_mac_i16(codes->panel, rows, x, ldx, tokens, acc);
    if (codes->law) {
        k = noise_of(codes->law);
    }
    for (size_t t = 0; t < tokens; t++) {
        const uint32_t *places = codes->places + t * codes->draws;
        const __m512i sum = codes->law ? sum_codes(codes, places, &k, false) : sum_codes(codes, places, NULL, true);
        const __m512 sd = sd_of_sums(sum, codes->factors, _mm512_set1_ps(codes->roots[t * codes->ldr]));
        store_noisy(acc + t * PANEL, z + t * ldz, sd, v + t * PANEL);
    }
}

/* A pair of rows of two panels: bytes of both side by side, first row and second row in turns. */
INLINE __m512i two_panels(__m512i first, __m512i second) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16((int16_t)0xff00), second, _mm512_srli_epi16(first, 8),
                                     0xea); /* (a & b) | c */
}

INLINE void strip_rows_of(const int16_t *panel, size_t stride, size_t panels, size_t pairs, const struct noise *k,
                          bool square, uint8_t *strip) {
    for (size_t r = 0; r < pairs; r++) {
        __m512i v[NOISE_STRIP / PANEL];
        for (size_t i = 0; i < NOISE_STRIP / PANEL; i++) {
            const int16_t *w = panel + i * stride + r * 2 * PANEL;
            v[i] = i < panels ? variance_words(&k[i], _mm512_loadu_si512(w), square) : _mm512_setzero_si512();
        }
        const __m512i low = two_panels(v[0], v[1]), high = two_panels(v[2], v[3]);
        uint8_t *to = strip + r * 2 * NOISE_STRIP;
        _mm512_storeu_si512(to, _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16)));
        _mm512_storeu_si512(to + NOISE_STRIP, _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(low, 16), high));
    }
}

#include "base/kernels/strip_of_codes.h"

#endif
