/* Products of bf16 for x86-64 with AVX512_BF16 (Cooper Lake, Sapphire Rapids, Zen 4 and later): see base/bf16.h. On
 * other machines this file holds no set.
 *
 * A panel holds words of two numbers, k and k + 1 of one output (k in the lower half), 16 outputs side by side: word
 * panel[(k / 2) PANEL + lane]. vdpbf16ps adds the upper product to a sum and then the lower one, each rounded to
 * nearest, subnormals taken for 0. A block of up to BLOCK tokens keeps one sum register each; inputs are rounded RUN at
 * a time into a buffer, from which every word is a broadcast operand. */
#include "base/bf16.h"
#include "base/kernels/sets.h"

#if defined(__x86_64__) && defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512BF16__)

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, BLOCK = 14, RUN = 512 };

INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)(n >= LANES ? 0xffffu : (1u << n) - 1u); }

/* Word i: the numbers a[i] in the lower and b[i] in the upper half. */
INLINE __m512i words_of(__m512 a, __m512 b) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(b));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

static void avx512_pack_columns(const float *w, size_t ld, size_t lanes, size_t k, float *panel) {
    const __mmask16 wanted = first_lanes(lanes);
    for (size_t i = 0; i < k; i += 2) {
        const __m512 a = _mm512_maskz_loadu_ps(wanted, w + i * ld);
        const __m512 b = i + 1 < k ? _mm512_maskz_loadu_ps(wanted, w + (i + 1) * ld) : _mm512_setzero_ps();
        _mm512_storeu_si512(panel + i / 2 * PANEL, words_of(a, b));
    }
}

static void avx512_pack_rows(const float *w, size_t ld, size_t lanes, size_t k, float *panel) {
    enum { PIECE = 64 };
    float turned[PIECE * PANEL];
    for (size_t i = 0; i < k; i += PIECE) {
        const size_t n = k - i < PIECE ? k - i : PIECE;
        kernels_avx512.pack_panel_f32(WEIGHT_F32, w + i, ld, lanes, n, turned);
        avx512_pack_columns(turned, PANEL, PANEL, n, panel + i / 2 * PANEL);
    }
}

/* n numbers of a row as words; the last one of an odd n has 0 beside it. */
INLINE void round_row(const float *x, size_t n, uint32_t *words) {
    for (size_t i = 0; i < n; i += 2 * LANES) {
        const __m512 a = _mm512_maskz_loadu_ps(first_lanes(n - i), x + i);
        const __m512 b = n - i > LANES ? _mm512_maskz_loadu_ps(first_lanes(n - i - LANES), x + i + LANES)
                                       : _mm512_setzero_ps();
        _mm512_storeu_si512(words + i / 2, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
}

INLINE void multiply_word(size_t count, __m512i w, const uint32_t *words, __m512 *sum) {
    for (size_t t = 0; t < count; t++) {
        const __m512i x = _mm512_set1_epi32((int32_t)words[t * (RUN / 2)]);
        sum[t] = _mm512_dpbf16_ps(sum[t], (__m512bh)w, (__m512bh)x);
    }
}

/* `count` is a constant where this is expanded. */
INLINE void multiply_block(size_t count, const float *panel, size_t k, const float *x, size_t ldx, float *y, size_t ldy,
                           __mmask16 wanted) {
    uint32_t words[BLOCK * RUN / 2];
    __m512 sum[BLOCK];
    for (size_t t = 0; t < count; t++) {
        sum[t] = _mm512_setzero_ps();
    }
    for (size_t first = 0; first < k; first += RUN) {
        const size_t n = k - first < RUN ? k - first : RUN;
        const float *run = panel + first / 2 * PANEL;
        for (size_t t = 0; t < count; t++) {
            round_row(x + t * ldx + first, n, words + t * (RUN / 2));
        }
        for (size_t p = 0; p < n / 2; p++) {
            multiply_word(count, _mm512_loadu_si512(run + p * PANEL), words + p, sum);
        }
        if (n % 2) { /* the panel may go on behind k */
            const __m512i w = _mm512_loadu_si512(run + n / 2 * PANEL);
            multiply_word(count, _mm512_and_si512(w, _mm512_set1_epi32(0xffff)), words + n / 2, sum);
        }
    }
    for (size_t t = 0; t < count; t++) {
        _mm512_mask_storeu_ps(y + t * ldy, wanted, sum[t]);
    }
}

#define FOR_EACH_COUNT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14)

#define MULTIPLY_BLOCK(n)                                                                                              \
    case n:                                                                                                            \
        multiply_block(n, panel, k, x, ldx, y, ldy, wanted);                                                           \
        break;

static void avx512_gemm_panel(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                              size_t ldy, size_t lanes) {
    const __mmask16 wanted = first_lanes(lanes);
    while (tokens > 0) {
        const size_t blocks = (tokens + BLOCK - 1) / BLOCK, count = (tokens + blocks - 1) / blocks;
        switch (count) { FOR_EACH_COUNT(MULTIPLY_BLOCK) }
        x += count * ldx;
        y += count * ldy;
        tokens -= count;
    }
}

const struct bf16_kernels bf16_avx512 = {
    .name = "avx512_bf16",
    .pack_rows = avx512_pack_rows,
    .pack_columns = avx512_pack_columns,
    .gemm_panel = avx512_gemm_panel,
};

#else

const struct bf16_kernels bf16_avx512 = {.name = NULL};

#endif
