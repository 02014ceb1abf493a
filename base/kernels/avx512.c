/* Kernels for x86-64 with AVX-512 F, BW, DQ, VL and VNNI (Ice Lake, Zen 4 and later): 16 lanes.
 * On other machines this file holds no set.
 *
 * How the matrix kernels use the registers: a panel is 16 outputs wide, one register. A block of up to
 * BLOCK_TOKENS tokens keeps one accumulator register each; every panel row is loaded once per block, every input
 * is a broadcast operand of the multiply, straight from memory. Each output is one chain over k in
 * order, whatever the block, so the result does not depend on how tokens, outputs or lanes are split.
 *
 * Sums of dot and gemv: 4 registers of 16 partial sums, index i goes to partial sum i % 64, then the
 * fixed tree ((0+1)+(2+3)), 16 -> 8 -> 4 -> 2 -> 1.
 */
#include "base/kernels/sets.h"

#if defined(__x86_64__) && defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__) && defined(__AVX512VNNI__)

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "base/kernels/comb.h"
#include "base/random_inline.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    LANES = 16,
    STEP = 4 * LANES,  /* floats per turn of dot and gemv */
    GEMV_ROWS = 4,     /* rows that share the loads of x */
    MAC_AHEAD = 4096,  /* bytes that the one-token multiply prefetches ahead */
    BLOCK_TOKENS = 14, /* accumulators of the panel kernels; 32 registers, 2 multiplies per cycle, 4 cycles each */
};

/* The first n of 16 lanes; all of them for n >= 16. */
INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)(n >= LANES ? 0xffffu : (1u << n) - 1u); }

INLINE float sum_lanes(__m512 v) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Asks for the cache line `offset` bytes from p, which may lie behind the end of the array. */
INLINE void prefetch(const void *p, size_t offset) { _mm_prefetch((const char *)((uintptr_t)p + offset), _MM_HINT_T0); }

/* --- vectors ------------------------------------------------------------------------------------ */

/* Half to single with subnormal halves among the 16: those by way of integers. */
static __m512 singles_of_subnormal_halves(__m256i half) {
    const __mmask16 subnormal = _mm256_testn_epi16_mask(half, _mm256_set1_epi16(0x7c00));
    const __m512 normal = _mm512_cvtph_ps(_mm256_maskz_mov_epi16((__mmask16)~subnormal, half));
    const __m512i wide = _mm512_maskz_cvtepu16_epi32(subnormal, half);
    const __m512i fraction = _mm512_and_si512(wide, _mm512_set1_epi32(0x7fff));
    const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(wide, _mm512_set1_epi32(0x8000)), 16);
    const __m512 magnitude = _mm512_mul_ps(_mm512_cvtepi32_ps(fraction), _mm512_set1_ps(0x1p-24f));
    return _mm512_or_ps(normal, _mm512_or_ps(magnitude, _mm512_castsi512_ps(sign)));
}

/* The conversion instruction takes about 150 cycles when a half is subnormal (measured on Sapphire Rapids), and real
 * weights have them: normal ones of standard deviation 0.02 in every 25th register. */
INLINE __m512 singles_of_halves(__m256i half) {
    const __mmask16 small = _mm256_testn_epi16_mask(half, _mm256_set1_epi16(0x7c00));
    if (__builtin_expect(_mm256_mask_test_epi16_mask(small, half, _mm256_set1_epi16(0x3ff)) != 0, 0)) {
        return singles_of_subnormal_halves(half);
    }
    return _mm512_cvtph_ps(half);
}

/* Weights i .. i + 15 in single precision; lanes outside the mask are 0 and not read. */
INLINE __m512 load_weights(enum weight_type type, const void *w, size_t i, __mmask16 lanes) {
    if (type == WEIGHT_F32) {
        return _mm512_maskz_loadu_ps(lanes, (const float *)w + i);
    }
    const __m256i half = _mm256_maskz_loadu_epi16(lanes, (const uint16_t *)w + i);
    return type == WEIGHT_F16 ? singles_of_halves(half)
                              : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

INLINE size_t bytes_of(enum weight_type type) { return type == WEIGHT_F32 ? sizeof(float) : sizeof(uint16_t); }

/* y[row] for `rows` rows; `type` and `rows` are constants where this is expanded. */
INLINE void gemv_rows(enum weight_type type, size_t rows, const void *w, size_t stride, size_t k, const float *x,
                      float *y) {
    const __mmask16 all = 0xffff;
    __m512 sum[GEMV_ROWS][4];
    for (size_t o = 0; o < rows; o++) {
        for (size_t j = 0; j < 4; j++) {
            sum[o][j] = _mm512_setzero_ps();
        }
    }
    const size_t bytes = bytes_of(type),
                 ahead = GEMV_ROWS * stride; /* rows are too short for the hardware to foresee */
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        for (size_t o = 0; o < rows; o++) {
            for (size_t line = 0; line < STEP * bytes; line += 64) {
                prefetch(w, (ahead + o * stride + i) * bytes + line);
            }
        }
        for (size_t j = 0; j < 4; j++) {
            const __m512 xj = _mm512_loadu_ps(x + i + j * LANES);
            for (size_t o = 0; o < rows; o++) {
                sum[o][j] = _mm512_fmadd_ps(load_weights(type, w, o * stride + i + j * LANES, all), xj, sum[o][j]);
            }
        }
    }
    for (size_t j = 0; j < 4 && i < k; j++, i += LANES) {
        const __mmask16 lanes = first_lanes(k - i);
        const __m512 xj = _mm512_maskz_loadu_ps(lanes, x + i);
        for (size_t o = 0; o < rows; o++) {
            sum[o][j] = _mm512_fmadd_ps(load_weights(type, w, o * stride + i, lanes), xj, sum[o][j]);
        }
    }
    for (size_t o = 0; o < rows; o++) {
        y[o] = sum_lanes(_mm512_add_ps(_mm512_add_ps(sum[o][0], sum[o][1]), _mm512_add_ps(sum[o][2], sum[o][3])));
    }
}

INLINE void weigh_type(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *a,
                       float *y) {
    for (size_t i = 0; i < k; i += STEP) {
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        __mmask16 lanes[4];
        for (size_t c = 0; c < 4; c++) {
            lanes[c] = i + c * LANES < k ? first_lanes(k - i - c * LANES) : (__mmask16)0;
        }
        for (size_t j = 0; j < rows; j++) {
            const __m512 aj = _mm512_set1_ps(a[j]);
            for (size_t c = 0; c < 4; c++) {
                sum[c] = _mm512_fmadd_ps(load_weights(type, w, j * stride + i + c * LANES, lanes[c]), aj, sum[c]);
            }
        }
        for (size_t c = 0; c < 4; c++) {
            _mm512_mask_storeu_ps(y + i + c * LANES, lanes[c], sum[c]);
        }
    }
}

#include "base/kernels/types.h" /* gemv, weigh_rows */

static void avx512_halves_of_f32(const float *x, size_t n, uint16_t *halves) {
    for (size_t i = 0; i < n; i += LANES) {
        const __mmask16 lanes = first_lanes(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        _mm256_mask_storeu_epi16(halves + i, lanes, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
}

static float avx512_dot_f32(const float *a, const float *b, size_t n) {
    float sum;
    gemv_rows(WEIGHT_F32, 1, a, n, n, b, &sum);
    return sum;
}

/* Magnitudes compare as integers: a NaN has the largest, so it survives the maximum. */
static float avx512_absmax_f32(const float *x, size_t n) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i largest[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                          _mm512_setzero_si512()};
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        for (size_t j = 0; j < 4; j++) {
            const __m512i v = _mm512_loadu_si512(x + i + j * LANES);
            largest[j] = _mm512_max_epi32(largest[j], _mm512_and_si512(v, magnitude));
        }
    }
    for (; i < n; i += LANES) {
        const __m512i v = _mm512_maskz_loadu_epi32(first_lanes(n - i), x + i);
        largest[0] = _mm512_max_epi32(largest[0], _mm512_and_si512(v, magnitude));
    }
    const __m512i two =
        _mm512_max_epi32(_mm512_max_epi32(largest[0], largest[1]), _mm512_max_epi32(largest[2], largest[3]));
    return float_of_bits((uint32_t)_mm512_reduce_max_epi32(two));
}

static size_t avx512_quantise_i16(const float *x, size_t n, float inv_step, int limit, int16_t *codes) {
    const __m512 scale = _mm512_set1_ps(inv_step);
    const __m512 high = _mm512_set1_ps((float)limit), low = _mm512_set1_ps(-(float)limit);
    size_t clamped = 0;
    for (size_t i = 0; i < n; i += LANES) {
        const __mmask16 lanes = first_lanes(n - i);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), scale);
        const __m512 rounded = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __m512 code = _mm512_max_ps(_mm512_min_ps(rounded, high), low); /* min gives its second operand for NaN */
        clamped += (size_t)__builtin_popcount(_mm512_mask_cmp_ps_mask(lanes, rounded, code, _CMP_NEQ_UQ));
        _mm256_mask_storeu_epi16(codes + i, lanes, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(code)));
    }
    return clamped;
}

/* --- panels ------------------------------------------------------------------------------------- */

/* 4 columns of 16 rows of singles become 4 panel rows. Register j gets rows j, 4 + j, 8 + j, 12 + j side by side, so
 * that a 4 x 4 transpose inside the 128-bit parts puts the rows in order. */
INLINE void transpose_4(const float *rows, size_t stride, float *panel) {
    __m512 v[4];
    for (size_t j = 0; j < 4; j++) {
        const float *row = rows + j * stride;
        v[j] = _mm512_castps128_ps512(_mm_loadu_ps(row));
        v[j] = _mm512_mask_broadcast_f32x4(v[j], 0x00f0, _mm_loadu_ps(row + 4 * stride));
        v[j] = _mm512_mask_broadcast_f32x4(v[j], 0x0f00, _mm_loadu_ps(row + 8 * stride));
        v[j] = _mm512_mask_broadcast_f32x4(v[j], 0xf000, _mm_loadu_ps(row + 12 * stride));
    }
    const __m512 low01 = _mm512_unpacklo_ps(v[0], v[1]), high01 = _mm512_unpackhi_ps(v[0], v[1]);
    const __m512 low23 = _mm512_unpacklo_ps(v[2], v[3]), high23 = _mm512_unpackhi_ps(v[2], v[3]);
    _mm512_storeu_ps(panel, _mm512_shuffle_ps(low01, low23, 0x44));
    _mm512_storeu_ps(panel + PANEL, _mm512_shuffle_ps(low01, low23, 0xee));
    _mm512_storeu_ps(panel + 2 * PANEL, _mm512_shuffle_ps(high01, high23, 0x44));
    _mm512_storeu_ps(panel + 3 * PANEL, _mm512_shuffle_ps(high01, high23, 0xee));
}

/* Up to 16 columns, fewer lanes or another type than single: by way of a square of singles. */
INLINE void pack_square(enum weight_type type, const void *w, size_t start, size_t stride, size_t lanes, size_t columns,
                        float *panel) {
    float square[LANES][LANES], turned[LANES * PANEL];
    for (size_t lane = 0; lane < LANES; lane++) {
        const __mmask16 wanted = lane < lanes ? first_lanes(columns) : (__mmask16)0;
        _mm512_storeu_ps(square[lane], load_weights(type, w, wanted ? start + lane * stride : 0, wanted));
    }
    float *to = columns == LANES ? panel : turned;
    for (size_t i = 0; i < LANES; i += 4) {
        transpose_4(&square[0][i], LANES, to + i * PANEL);
    }
    if (to == turned) {
        memcpy(panel, turned, columns * PANEL * sizeof *panel);
    }
}

INLINE void pack_type(enum weight_type type, const void *w, size_t stride, size_t lanes, size_t k, float *panel) {
    size_t i = 0;
    if (type == WEIGHT_F32 && lanes == PANEL) {
        for (; i + 4 <= k; i += 4) {
            transpose_4((const float *)w + i, stride, panel + i * PANEL);
        }
    }
    for (; i < k; i += LANES) {
        pack_square(type, w, i, stride, lanes, k - i < LANES ? k - i : LANES, panel + i * PANEL);
    }
}

static void avx512_pack_panel_f32(enum weight_type type, const void *w, size_t stride, size_t lanes, size_t k,
                                  float *panel) {
    switch (type) {
    case WEIGHT_F32: pack_type(WEIGHT_F32, w, stride, lanes, k, panel); break;
    case WEIGHT_F16: pack_type(WEIGHT_F16, w, stride, lanes, k, panel); break;
    case WEIGHT_BF16: pack_type(WEIGHT_BF16, w, stride, lanes, k, panel); break;
    }
}

/* Inputs of up to BLOCK_TOKENS tokens at one position: token t is at start[t / 4] + t % 4 steps. Four pointers, one and
 * three steps fit the general registers; left alone, the compiler keeps 14 pointers, some of them in vector registers,
 * and moving those back costs a tenth of the multiplies. */
struct cursor {
    const char *start[(BLOCK_TOKENS + 3) / 4];
    size_t step, three_steps; /* bytes */
};

INLINE struct cursor cursor_at(size_t count, const void *x, size_t step) {
    struct cursor c = {.step = step, .three_steps = 3 * step};
    for (size_t g = 0; 4 * g < count; g++) {
        c.start[g] = (const char *)x + 4 * g * step;
    }
    __asm__("" : "+r"(c.step), "+r"(c.three_steps)); /* not to be worked out again */
    return c;
}

/* The 4 bytes of token t. */
INLINE int32_t cursor_get(const struct cursor *c, size_t t) {
    const size_t offset = t % 4 == 3 ? c->three_steps : t % 4 * c->step;
    int32_t value;
    memcpy(&value, c->start[t / 4] + offset, sizeof value);
    return value;
}

INLINE void cursor_advance(struct cursor *c, size_t count, size_t bytes) {
    for (size_t g = 0; 4 * g < count; g++) {
        c->start[g] += bytes;
        __asm__("" : "+r"(c->start[g]));
    }
}

/* `count` is a constant where these are expanded, so that the accumulators stay in registers. */
INLINE void gemm_block(size_t count, const float *panel, size_t k, const float *x, size_t ldx, float *y, size_t ldy,
                       __mmask16 lanes) {
    __m512 sum[BLOCK_TOKENS];
    for (size_t t = 0; t < count; t++) {
        sum[t] = _mm512_setzero_ps();
    }
    struct cursor inputs = cursor_at(count, x, ldx * sizeof *x);
    for (size_t i = 0; i < k; i++) {
        const __m512 w = _mm512_loadu_ps(panel + i * PANEL);
        for (size_t t = 0; t < count; t++) {
            sum[t] = _mm512_fmadd_ps(w, _mm512_castsi512_ps(_mm512_set1_epi32(cursor_get(&inputs, t))), sum[t]);
        }
        cursor_advance(&inputs, count, 4);
    }
    for (size_t t = 0; t < count; t++) {
        _mm512_mask_storeu_ps(y + t * ldy, lanes, sum[t]);
    }
}

INLINE __m512i broadcast_pair(const int16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi32(pair);
}

/* `count` sums over all rows. Asks for as many bytes at `next` as the weights are. */
INLINE void mac_sums(size_t count, const int16_t *panel, size_t pairs, const int16_t *x, size_t ldx,
                     const int16_t *next, __m512i *sum) {
    for (size_t t = 0; t < count; t++) {
        sum[t] = _mm512_setzero_si512();
    }
    struct cursor inputs = cursor_at(count, x, ldx * sizeof *x);
    for (size_t p = 0; p < pairs; p++) {
        const __m512i w = _mm512_loadu_si512(panel + p * 2 * PANEL);
        prefetch(next, p * 4 * PANEL);
        for (size_t t = 0; t < count; t++) {
            sum[t] = _mm512_dpwssd_epi32(sum[t], w, _mm512_set1_epi32(cursor_get(&inputs, t)));
        }
        cursor_advance(&inputs, count, 4);
    }
}

INLINE void mac_block(size_t count, const int16_t *panel, size_t pairs, const int16_t *x, size_t ldx,
                      const int16_t *next, int32_t *acc) {
    __m512i sum[BLOCK_TOKENS];
    mac_sums(count, panel, pairs, x, ldx, next, sum);
    for (size_t t = 0; t < count; t++) {
        _mm512_storeu_si512(acc + t * PANEL, sum[t]);
    }
}

/* One token: bound by memory; four chains hide the latency of the multiply. */
static void mac_one(const int16_t *panel, size_t pairs, const int16_t *x, int32_t *acc) {
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t p = 0;
    for (; p + 4 <= pairs; p += 4) {
        for (size_t j = 0; j < 4; j++) {
            const __m512i w = _mm512_loadu_si512(panel + (p + j) * 2 * PANEL);
            prefetch(panel, (p + j) * 4 * PANEL + MAC_AHEAD);
            sum[j] = _mm512_dpwssd_epi32(sum[j], w, broadcast_pair(x + 2 * (p + j)));
        }
    }
    for (; p < pairs; p++) {
        sum[0] = _mm512_dpwssd_epi32(sum[0], _mm512_loadu_si512(panel + p * 2 * PANEL), broadcast_pair(x + 2 * p));
    }
    _mm512_storeu_si512(acc, _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3])));
}

/* Coefficients of the weights' variance, each lane's twice: for both rows of a pair. */
struct noise { __m512i k0, k1, k2, k3; };

INLINE __m512i twice(const int16_t *k) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)k));
    return _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
}

/* In units of 1/256. square: noise_is_square; a constant where this is expanded. */
INLINE __m512i variance_words(const struct noise *k, __m512i w, bool square) {
    if (square) {
        return _mm512_mulhrs_epi16(w, w);
    }
    const __m512i a = _mm512_mullo_epi16(_mm512_abs_epi16(w), k->k3);
    const __m512i squared = _mm512_mulhrs_epi16(k->k2, _mm512_mulhrs_epi16(a, a));
    return _mm512_add_epi16(_mm512_sub_epi16(k->k0, squared), _mm512_mulhrs_epi16(k->k1, a));
}

static struct noise noise_of(const int16_t *law) {
    return (struct noise){twice(law), twice(law + PANEL), twice(law + 2 * PANEL), twice(law + 3 * PANEL)};
}

/* k0 = k1 = 0, k2 = -2^15 and k3 = 1 in all lanes. */
static bool noise_is_square(const int16_t *law) {
    const __m512i constant = _mm512_loadu_si512(law), others = _mm512_loadu_si512(law + 2 * PANEL);
    const __m256i k2 = _mm256_set1_epi16(INT16_MIN), k3 = _mm256_set1_epi16(1);
    return _mm512_test_epi16_mask(constant, constant) == 0 &&
           _mm512_cmpneq_epi16_mask(others, _mm512_inserti64x4(_mm512_castsi256_si512(k2), k3, 1)) == 0;
}

/* In halves: twice the width takes more than three times as long. */
INLINE __m512 roots(__m512 x) {
    const __m256 low = _mm256_sqrt_ps(_mm512_castps512_ps256(x)), high = _mm256_sqrt_ps(_mm512_extractf32x8_ps(x, 1));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* The sds of one token. */
INLINE __m512 roots_of_spread(const struct read_noise *noise, __m512i spread, const struct square_sums *sums) {
    const __m512 coded = _mm512_mul_ps(_mm512_loadu_ps(noise->factors), _mm512_cvtepi32_ps(spread));
    const __m512 mean = _mm512_mul_ps(_mm512_loadu_ps(noise->factors + PANEL), _mm512_set1_ps(sums->rest));
    const __m512 same = _mm512_mul_ps(_mm512_loadu_ps(noise->factors + 2 * PANEL), _mm512_set1_ps(sums->all));
    return roots(_mm512_max_ps(_mm512_add_ps(coded, _mm512_add_ps(mean, same)), _mm512_setzero_ps()));
}

/* Bytes of four rows from two row pairs: rows 0 2 1 3. */
INLINE __m512i variance_bytes(const struct noise *k, __m512i w0, __m512i w1, bool square) {
    const __m512i low = _mm512_srli_epi16(variance_words(k, w0, square), 8), high = variance_words(k, w1, square);
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16((int16_t)0xff00), high, low, 0xea); /* (a & b) | c */
}

INLINE __m512i broadcast_squares(const uint8_t *squares) {
    int32_t four;
    memcpy(&four, squares, sizeof four);
    return _mm512_set1_epi32(four);
}

/* One token, weights read once for both sums. */
INLINE void mac_noise_one(const int16_t *panel, size_t pairs, const int16_t *x, const struct read_noise *noise,
                          bool square, int32_t *acc, float *sd) {
    const struct noise k = noise_of(noise->law);
    const uint8_t *squares = noise->squares;
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, total = _mm512_setzero_si512();
    size_t p = 0;
    for (; p + 2 <= pairs; p += 2) {
        const __m512i w0 = _mm512_loadu_si512(panel + p * 2 * PANEL);
        const __m512i w1 = _mm512_loadu_si512(panel + (p + 1) * 2 * PANEL);
        prefetch(panel, p * 4 * PANEL + MAC_AHEAD);
        prefetch(panel, (p + 1) * 4 * PANEL + MAC_AHEAD);
        sum[0] = _mm512_dpwssd_epi32(sum[0], w0, broadcast_pair(x + 2 * p));
        sum[1] = _mm512_dpwssd_epi32(sum[1], w1, broadcast_pair(x + 2 * p + 2));
        total = _mm512_dpbusd_epi32(total, broadcast_squares(squares + 2 * p), variance_bytes(&k, w0, w1, square));
    }
    if (p < pairs) {
        const __m512i w = _mm512_loadu_si512(panel + p * 2 * PANEL);
        sum[0] = _mm512_dpwssd_epi32(sum[0], w, broadcast_pair(x + 2 * p));
        total = _mm512_dpbusd_epi32(total, broadcast_squares(squares + 2 * p),
                                    variance_bytes(&k, w, _mm512_setzero_si512(), square));
    }
    _mm512_storeu_si512(acc, _mm512_add_epi32(sum[0], sum[1]));
    _mm512_storeu_ps(sd, roots_of_spread(noise, total, noise->sums));
}

enum {
    NOISE_RUN = 256,   /* rows whose variances are worked out together; a multiple of 8 */
    NOISE_TOKENS = 12, /* two accumulators each */
};

/* The 8 bytes of token t. */
INLINE int64_t cursor_get_8(const struct cursor *c, size_t t) {
    const size_t offset = t % 4 == 3 ? c->three_steps : t % 4 * c->step;
    int64_t value;
    memcpy(&value, c->start[t / 4] + offset, sizeof value);
    return value;
}

/* Sums over one run of rows (variance_run), eight rows at a time: one load of squares for two multiplies. They are
 * added to those of `earlier` runs, a mask: all lanes or none. */
INLINE void noise_block(size_t count, const int8_t *run, size_t fours, const uint8_t *squares, size_t lds,
                        __mmask16 earlier, float *spread) {
    __m512i low[NOISE_TOKENS], high[NOISE_TOKENS];
    for (size_t t = 0; t < count; t++) {
        low[t] = high[t] = _mm512_setzero_si512();
    }
    struct cursor inputs = cursor_at(count, squares, lds);
    for (; fours >= 2; fours -= 2, run += 8 * PANEL) {
        const __m512i v0 = _mm512_loadu_si512(run), v1 = _mm512_loadu_si512(run + 4 * PANEL);
        for (size_t t = 0; t < count; t++) {
            const __m512i s = _mm512_set1_epi64(cursor_get_8(&inputs, t));
            low[t] = _mm512_dpbusd_epi32(low[t], s, v0);
            high[t] = _mm512_dpbusd_epi32(high[t], s, v1);
            __asm__("" : "+v"(low[t]), "+v"(high[t])); /* else gcc copies sums to other registers and back */
        }
        cursor_advance(&inputs, count, 8);
    }
    if (fours) {
        const __m512i v0 = _mm512_loadu_si512(run), v1 = _mm512_loadu_si512(run + 4 * PANEL);
        for (size_t t = 0; t < count; t++) {
            const __m512i s = _mm512_set1_epi64((uint32_t)cursor_get(&inputs, t));
            low[t] = _mm512_dpbusd_epi32(low[t], s, v0);
            high[t] = _mm512_dpbusd_epi32(high[t], s, v1);
        }
    }
    for (size_t t = 0; t < count; t++) {
        const __m512 a = _mm512_castsi512_ps(low[t]), b = _mm512_castsi512_ps(high[t]);
        const __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
        const __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd));
        const __m512i before = _mm512_maskz_loadu_epi32(earlier, spread + t * PANEL);
        _mm512_storeu_si512(spread + t * PANEL, _mm512_add_epi32(before, _mm512_add_epi32(even, odd)));
    }
}

#define FOR_EACH_COUNT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14)

#define GEMM_BLOCK(n)                                                                                                  \
    case n:                                                                                                            \
        gemm_block(n, panel, k, x, ldx, y, ldy, wanted);                                                               \
        break;
#define MAC_BLOCK(n)                                                                                                   \
    case n:                                                                                                            \
        mac_block(n, panel, pairs, x, ldx, next, acc);                                                                 \
        break;

#define FOR_EACH_NOISE_COUNT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)

#define NOISE_BLOCK(n)                                                                                                 \
    case n:                                                                                                            \
        noise_block(n, run, fours, noise.squares, noise.lds, earlier, sd);                                         \
        break;

/* Tokens of the next block of at most `most` when `tokens` are left: as few blocks as can be, of nearly equal size,
 * since a small block waits for the latency of its multiplies. */
INLINE size_t next_block(size_t tokens, size_t most) {
    const size_t blocks = (tokens + most - 1) / most;
    return (tokens + blocks - 1) / blocks;
}

static void avx512_gemm_panel_f32(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                                  size_t ldy, size_t lanes) {
    const __mmask16 wanted = first_lanes(lanes);
    while (tokens > 0) {
        const size_t count = next_block(tokens, BLOCK_TOKENS);
        switch (count) { FOR_EACH_COUNT(GEMM_BLOCK) }
        x += count * ldx;
        y += count * ldy;
        tokens -= count;
    }
}

static void avx512_mac_i16(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                           int32_t *acc) {
    const size_t pairs = (rows + 1) / 2;
    if (tokens == 1) {
        mac_one(panel, pairs, x, acc);
        return;
    }
    while (tokens > 0) {
        const size_t count = next_block(tokens, BLOCK_TOKENS);
        const int16_t *next = count == tokens ? panel + pairs * 2 * PANEL : panel; /* what follows, once */
        switch (count) { FOR_EACH_COUNT(MAC_BLOCK) }
        x += count * ldx;
        acc += count * PANEL;
        tokens -= count;
    }
}

/* Between runs sd holds the spread. Roots are taken block by block, while the multiplies of the next one go on. */
static void noise_run(const int8_t *run, size_t fours, struct read_noise noise, size_t tokens, __mmask16 earlier,
                      bool last, float *sd) {
    while (tokens > 0) {
        const size_t count = next_block(tokens, NOISE_TOKENS);
        switch (count) { FOR_EACH_NOISE_COUNT(NOISE_BLOCK) }
        for (size_t t = 0; last && t < count; t++) {
            const __m512i spread = _mm512_loadu_si512(sd + t * PANEL);
            _mm512_storeu_ps(sd + t * PANEL, roots_of_spread(&noise, spread, noise.sums + t * noise.ldn));
        }
        noise.squares += count * noise.lds;
        noise.sums += count * noise.ldn;
        sd += count * PANEL;
        tokens -= count;
    }
}

/* Eight rows side by side: columns 0 1 4 5 8 9 12 13 in the first register, the others in the second, each with rows
 * 0 2 1 3 4 6 5 7. Weights of row pairs that there are not, up to a whole eight, count as 0. */
INLINE void variance_run(const int16_t *panel, size_t pairs, const struct noise *noise, bool square, int8_t *run) {
    const struct noise k = *noise;
    for (size_t p = 0; p < pairs; p += 4) {
        __m512i w[4];
        for (size_t i = 0; i < 4; i++) {
            w[i] = p + i < pairs ? _mm512_loadu_si512(panel + (p + i) * 2 * PANEL) : _mm512_setzero_si512();
        }
        const __m512i low = variance_bytes(&k, w[0], w[1], square), high = variance_bytes(&k, w[2], w[3], square);
        _mm512_store_si512(run + p * 2 * PANEL, _mm512_unpacklo_epi32(low, high));
        _mm512_store_si512(run + p * 2 * PANEL + 4 * PANEL, _mm512_unpackhi_epi32(low, high));
    }
}

/* Several tokens: the variances of a run of rows are worked out once and then multiplied like weights. */
static void noise_sums(const int16_t *panel, size_t pairs, const struct read_noise *noise, size_t tokens, bool square,
                       float *sd) {
    _Alignas(64) int8_t run[NOISE_RUN * PANEL];
    const struct noise k = noise_of(noise->law);
    struct read_noise now = *noise;
    for (size_t begin = 0; begin == 0 || begin < pairs; begin += NOISE_RUN / 2) {
        const size_t left = pairs - begin, count = left < NOISE_RUN / 2 ? left : NOISE_RUN / 2;
        now.squares = noise->squares + 2 * begin;
        if (square) {
            variance_run(panel + begin * 2 * PANEL, count, &k, true, run);
        } else {
            variance_run(panel + begin * 2 * PANEL, count, &k, false, run);
        }
        noise_run(run, (count + 1) / 2, now, tokens, begin ? 0xffff : 0, count == left, sd);
    }
}

static void avx512_mac_i16_noise(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                                 const struct read_noise *noise, int32_t *acc, float *sd) {
    const size_t pairs = (rows + 1) / 2;
    const bool square = noise_is_square(noise->law);
    if (tokens != 1) {
        noise_sums(panel, pairs, noise, tokens, square, sd); /* first: the other asks for the next weights */
        avx512_mac_i16(panel, rows, x, ldx, tokens, acc);
    } else if (square) {
        mac_noise_one(panel, pairs, x, noise, true, acc, sd);
    } else {
        mac_noise_one(panel, pairs, x, noise, false, acc, sd);
    }
}

/* The same from variances that are kept. */
INLINE __m512 roots_of_bytes(const struct byte_noise *noise, __m512i spread, const struct byte_squares *sums) {
    const __m512 steps = _mm512_mul_ps(_mm512_loadu_ps(noise->factors), _mm512_cvtepi32_ps(spread));
    const __m512 middle = _mm512_mul_ps(_mm512_loadu_ps(noise->factors + PANEL), _mm512_set1_ps(sums->all));
    const __m512 off = _mm512_mul_ps(_mm512_loadu_ps(noise->factors + 2 * PANEL), _mm512_set1_ps(sums->rest));
    const __m512 coded = _mm512_mul_ps(steps, _mm512_set1_ps(sums->unit));
    return roots(_mm512_max_ps(_mm512_add_ps(coded, _mm512_add_ps(middle, off)), _mm512_setzero_ps()));
}

/* One root per column and one per token. */
static void flat_sd(const struct byte_noise *noise, size_t tokens, float *sd) {
    const __m512 column = roots(_mm512_max_ps(_mm512_loadu_ps(noise->factors + PANEL), _mm512_setzero_ps()));
    for (size_t t = 0; t < tokens; t++) {
        const __m128 of_token = _mm_sqrt_ss(_mm_max_ss(_mm_load_ss(&noise->sums[t].all), _mm_setzero_ps()));
        _mm512_storeu_ps(sd + t * PANEL, _mm512_mul_ps(column, _mm512_broadcastss_ps(of_token)));
    }
}

static void avx512_noise_sd(const struct byte_noise *from, size_t rows, size_t tokens, float *sd) {
    struct byte_noise noise = *from;
    const int8_t *run = noise.variances;
    const size_t fours = (rows + 7) / 8 * 2;
    const __mmask16 earlier = 0;
    if (!_mm512_cmp_ps_mask(_mm512_loadu_ps(noise.factors), _mm512_setzero_ps(), _CMP_NEQ_UQ)) {
        flat_sd(&noise, tokens, sd);
        return;
    }
    while (tokens > 0) {
        const size_t count = next_block(tokens, NOISE_TOKENS);
        switch (count) { FOR_EACH_NOISE_COUNT(NOISE_BLOCK) }
        for (size_t t = 0; t < count; t++) {
            const __m512i spread = _mm512_loadu_si512(sd + t * PANEL);
            _mm512_storeu_ps(sd + t * PANEL, roots_of_bytes(&noise, spread, noise.sums + t));
        }
        noise.squares += count * noise.lds;
        noise.sums += count;
        sd += count * PANEL;
        tokens -= count;
    }
}

static void avx512_scale_sums(const int32_t *acc, const float steps[PANEL], const float *x_steps, size_t tokens,
                            float *y, size_t ldy, size_t lanes) {
    const __mmask16 wanted = first_lanes(lanes);
    const __m512 step = _mm512_loadu_ps(steps);
    for (size_t t = 0; t < tokens; t++) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(acc + t * PANEL));
        _mm512_mask_storeu_ps(y + t * ldy, wanted, _mm512_mul_ps(_mm512_mul_ps(sum, step), _mm512_set1_ps(x_steps[t])));
    }
}

/* acc + z sd of one token */
INLINE void store_noisy(const int32_t *acc, const float *z, __m512 sd, float *v) {
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(acc));
    _mm512_storeu_ps(v, _mm512_add_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(z), sd)));
}

static void avx512_add_noise(const int32_t *acc, const float *sd, const float *z, size_t ldz, size_t tokens, float *v) {
    for (size_t t = 0; t < tokens; t++) {
        store_noisy(acc + t * PANEL, z + t * ldz, _mm512_loadu_ps(sd + t * PANEL), v + t * PANEL);
    }
}

static void avx512_add_flat_noise(const int32_t *acc, const float column[PANEL], const float *all, size_t lda,
                                  const float *z, size_t ldz, size_t tokens, float *v) {
    const __m512 mean = roots(_mm512_max_ps(_mm512_loadu_ps(column), _mm512_setzero_ps()));
    for (size_t t = 0; t < tokens; t++) {
        const __m128 of_token = _mm_sqrt_ss(_mm_max_ss(_mm_load_ss(all + t * lda), _mm_setzero_ps()));
        store_noisy(acc + t * PANEL, z + t * ldz, _mm512_mul_ps(mean, _mm512_broadcastss_ps(of_token)), v + t * PANEL);
    }
}

#include "base/kernels/avx512_drawn.h"

/* --- Gaussian numbers: random_inline.h on 8 blocks at a time ------------------------------------- */

enum { GROUP_BLOCKS = 8, GROUP = 4 * GROUP_BLOCKS };

static void philox_keys(uint64_t seed, uint64_t keys[PHILOX_ROUNDS][2]) {
    for (uint32_t round = 0; round < PHILOX_ROUNDS; round++) {
        keys[round][0] = (uint32_t)seed + round * PHILOX_W0;
        keys[round][1] = (uint32_t)(seed >> 32) + round * PHILOX_W1;
    }
}

/* Words of eight blocks, one per 64-bit lane: radius holds word 0 in the lower half and word 2 in the upper, angle 1
 * and 3. Only lower halves enter the multiplies, so upper halves may hold anything until the end. */
INLINE void philox_groups(size_t groups, size_t rounds, const uint64_t keys[PHILOX_ROUNDS][2], uint64_t stream,
                          const __m512i *blocks, __m512i *radius, __m512i *angle) {
    const __m512i m0 = _mm512_set1_epi64(PHILOX_M0), m1 = _mm512_set1_epi64(PHILOX_M1);
    __m512i c0[2], c1[2], c2[2], c3[2];
    for (size_t g = 0; g < groups; g++) {
        c0[g] = blocks[g];
        c1[g] = _mm512_srli_epi64(c0[g], 32);
        c2[g] = _mm512_set1_epi64((int64_t)stream);
        c3[g] = _mm512_srli_epi64(c2[g], 32);
    }
    for (size_t round = 0; round < rounds; round++) {
        const __m512i k0 = _mm512_set1_epi64((int64_t)keys[round][0]), k1 = _mm512_set1_epi64((int64_t)keys[round][1]);
        for (size_t g = 0; g < groups; g++) {
            const __m512i p0 = _mm512_mul_epu32(m0, c0[g]), p1 = _mm512_mul_epu32(m1, c2[g]);
            c0[g] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1[g], k0, 0x96); /* a ^ b ^ c */
            c2[g] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3[g], k1, 0x96);
            c1[g] = p1;
            c3[g] = p0;
        }
    }
    const __mmask16 odd = 0xaaaa;
    for (size_t g = 0; g < groups; g++) {
        radius[g] = _mm512_mask_blend_epi32(odd, c0[g], _mm512_slli_epi64(c2[g], 32));
        angle[g] = _mm512_mask_blend_epi32(odd, c1[g], _mm512_slli_epi64(c3[g], 32));
    }
}

INLINE __m512 mul_add(__m512 a, __m512 b, float c) { return _mm512_add_ps(_mm512_mul_ps(a, b), _mm512_set1_ps(c)); }

INLINE __m512 radius_of(__m512i a) {
    const __mmask16 upper = _mm512_movepi32_mask(a);
    const __m512i t = _mm512_xor_si512(a, _mm512_srai_epi32(a, 31));
    const __m512 q = _mm512_add_ps(_mm512_cvtepi32_ps(t), _mm512_set1_ps(0.5f));
    const __m512i bits = _mm512_castps_si512(q);
    const __m512i fraction = _mm512_and_si512(bits, _mm512_set1_epi32(0x007fffff));
    const __m512 m = _mm512_castsi512_ps(_mm512_or_si512(fraction, _mm512_set1_epi32(0x3f000000)));
    const __m512i exponent = _mm512_sub_epi32(_mm512_srli_epi32(bits, 23), _mm512_set1_epi32(126 + 32));
    const __m512 e = _mm512_maskz_cvtepi32_ps((__mmask16)~upper, exponent);
    const __m512 f = _mm512_mask_mul_ps(_mm512_sub_ps(m, _mm512_set1_ps(1.0f)), upper, q, _mm512_set1_ps(-0x1p-32f));
    __m512 p = _mm512_set1_ps(LOG_Q[8]);
    for (int i = 7; i >= 0; i--) {
        p = mul_add(p, f, LOG_Q[i]);
    }
    p = mul_add(p, f, 1.0f);
    const __m512 ln_u = _mm512_add_ps(_mm512_mul_ps(e, _mm512_set1_ps(LN_2)), _mm512_mul_ps(p, f));
    return _mm512_sqrt_ps(_mm512_mul_ps(ln_u, _mm512_set1_ps(-2.0f)));
}

INLINE void angle_of(__m512i b, __m512 *cosine, __m512 *sine) {
    const __m512i quarter = _mm512_srli_epi32(_mm512_add_epi32(b, _mm512_set1_epi32(0x20000000)), 30);
    const __m512i rest = _mm512_sub_epi32(b, _mm512_slli_epi32(quarter, 30));
    const __m512 half = _mm512_set1_ps(0.5f), turn = _mm512_set1_ps(0x1p-32f);
    const __m512 x = _mm512_mul_ps(_mm512_add_ps(_mm512_cvtepi32_ps(rest), half), turn);
    const __m512 z = _mm512_mul_ps(x, x);
    const __m512 s3 = _mm512_set1_ps(SIN_S[3]), c3 = _mm512_set1_ps(COS_C[3]);
    const __m512 s = _mm512_mul_ps(mul_add(mul_add(mul_add(s3, z, SIN_S[2]), z, SIN_S[1]), z, SIN_S[0]), x);
    const __m512 c = mul_add(mul_add(mul_add(mul_add(c3, z, COS_C[2]), z, COS_C[1]), z, COS_C[0]), z, 1.0f);
    const __m512i one = _mm512_set1_epi32(1), two = _mm512_set1_epi32(2);
    const __m512i cosine_sign = _mm512_slli_epi32(_mm512_and_si512(_mm512_add_epi32(quarter, one), two), 30);
    const __m512i sine_sign = _mm512_slli_epi32(_mm512_and_si512(quarter, two), 30);
    const __mmask16 swap = _mm512_test_epi32_mask(quarter, one);
    *cosine = _mm512_xor_ps(_mm512_mask_blend_ps(swap, c, s), _mm512_castsi512_ps(cosine_sign));
    *sine = _mm512_xor_ps(_mm512_mask_blend_ps(swap, s, c), _mm512_castsi512_ps(sine_sign));
}

INLINE void gaussian_group(const uint64_t keys[PHILOX_ROUNDS][2], uint64_t stream, uint64_t block, float *out) {
    __m512i radius_word, angle_word;
    __m512 cosine, sine;
    const __m512i blocks =
        _mm512_add_epi64(_mm512_set1_epi64((int64_t)block), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    philox_groups(1, PHILOX_ROUNDS, keys, stream, &blocks, &radius_word, &angle_word);
    const __m512 r = radius_of(radius_word);
    angle_of(angle_word, &cosine, &sine);
    const __m512 a = _mm512_mul_ps(r, cosine), b = _mm512_mul_ps(r, sine);
    const __m512d even = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), odd = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
    const __m512i first_four = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0); /* 128 bits = one block, even and odd ones */
    const __m512i last_four = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    _mm512_storeu_pd(out, _mm512_permutex2var_pd(even, first_four, odd));
    _mm512_storeu_pd(out + LANES, _mm512_permutex2var_pd(even, last_four, odd));
}

static void avx512_gaussian_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    uint64_t keys[PHILOX_ROUNDS][2];
    philox_keys(seed, keys);
    uint64_t block = first / 4;
    size_t skip = first % 4; /* numbers of the first block before `first` */
    while (n > 0) {
        if (skip == 0 && n >= GROUP) {
            gaussian_group(keys, stream, block, out);
            out += GROUP;
            n -= GROUP;
        } else {
            float group[GROUP];
            gaussian_group(keys, stream, block, group);
            const size_t take = n < GROUP - skip ? n : GROUP - skip;
            memcpy(out, group + skip, take * sizeof *out);
            out += take;
            n -= take;
            skip = 0;
        }
        block += GROUP_BLOCKS;
    }
}

/* gaussian_sixteen: four blocks of bytes, one per 128 bits, into the numbers x, SIXTEEN_CENTRE added. */
INLINE __m512i numbers_of_halves(__m512i bytes) {
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)SIXTEEN_HALF));
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i low = _mm512_and_si512(bytes, nibble);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble);
    return _mm512_add_epi8(_mm512_shuffle_epi8(table, low), _mm512_shuffle_epi8(table, high));
}

/* The matrix of gaussian_sixteen, a register for every word of a block, and what SIXTEEN_CENTRE adds to each number. */
struct sixteen { __m512i steps[4], centre; };

INLINE struct sixteen sixteen_matrix(void) {
    struct sixteen m;
    m.centre = _mm512_setzero_si512();
    for (size_t w = 0; w < 4; w++) {
        m.steps[w] = _mm512_loadu_si512(SIXTEEN_STEPS[w]);
        m.centre = _mm512_dpbusd_epi32(m.centre, _mm512_set1_epi8((char)SIXTEEN_CENTRE), m.steps[w]);
    }
    m.centre = _mm512_sub_epi32(_mm512_setzero_si512(), m.centre);
    return m;
}

/* The words of eight blocks as numbers x; unpacking puts even blocks into one register and odd ones into the other. */
INLINE void store_numbers(__m512i radius, __m512i angle, uint32_t words[GROUP]) {
    _mm512_store_si512(words, numbers_of_halves(_mm512_unpacklo_epi32(radius, angle)));
    _mm512_store_si512(words + LANES, numbers_of_halves(_mm512_unpackhi_epi32(radius, angle)));
}

/* `groups` times eight blocks; a constant where this is expanded. Two groups hide each other's latency. */
INLINE void sixteen_of_groups(size_t groups, const struct sixteen *m, const uint64_t keys[PHILOX_ROUNDS][2],
                              uint64_t stream, const uint64_t *blocks, float *out) {
    _Alignas(64) uint32_t words[2 * GROUP];
    __m512i radius[2], angle[2];
    for (size_t g = 0; g < groups; g++) {
        const __m512i in_order = _mm512_loadu_si512(blocks + g * GROUP_BLOCKS);
        radius[g] = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), in_order);
    }
    philox_groups(groups, FAST_ROUNDS, keys, stream, radius, radius, angle);
    for (size_t g = 0; g < groups; g++) {
        store_numbers(radius[g], angle[g], words + g * GROUP);
    }
    __asm__("" : "+m"(words)); /* else gcc takes every word out of the registers, which is slower than to load it */
    for (size_t i = 0; i < groups * GROUP_BLOCKS; i++) {
        __m512i sum = m->centre;
        for (size_t w = 0; w < 4; w++) {
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi32((int32_t)words[4 * i + w]), m->steps[w]);
        }
        _mm512_storeu_ps(out + i * LANES, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(SIXTEEN_SCALE)));
    }
}

static void avx512_gaussian_blocks(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out) {
    uint64_t keys[PHILOX_ROUNDS][2];
    philox_keys(seed, keys);
    const struct sixteen m = sixteen_matrix();
    size_t i = 0;
    for (; i + 2 * GROUP_BLOCKS <= n; i += 2 * GROUP_BLOCKS) {
        sixteen_of_groups(2, &m, keys, stream, blocks + i, out + i * LANES);
    }
    for (; i + GROUP_BLOCKS <= n; i += GROUP_BLOCKS) {
        sixteen_of_groups(1, &m, keys, stream, blocks + i, out + i * LANES);
    }
    if (i < n) {
        uint64_t last[GROUP_BLOCKS] = {0};
        float z[GROUP_BLOCKS * LANES];
        memcpy(last, blocks + i, (n - i) * sizeof *blocks);
        sixteen_of_groups(1, &m, keys, stream, last, z);
        memcpy(out + i * LANES, z, (n - i) * LANES * sizeof *z);
    }
}

const struct kernels kernels_avx512 = {
    .name = "avx512",
    .dot_f32 = avx512_dot_f32,
    .gemv = gemv,
    .weigh_rows = weigh_rows,
    .halves_of_f32 = avx512_halves_of_f32,
    .gemm_panel_f32 = avx512_gemm_panel_f32,
    .pack_panel_f32 = avx512_pack_panel_f32,
    .mac_i16 = avx512_mac_i16,
    .scale_sums = avx512_scale_sums,
    .mac_i16_noise = avx512_mac_i16_noise,
    .noise_sd = avx512_noise_sd,
    .draw_rows = avx512_draw_rows,
    .drawn_sd = avx512_drawn_sd,
    .mac_i16_drawn = avx512_mac_i16_drawn,
    .strip_of_codes = strip_of_codes,
    .add_noise = avx512_add_noise,
    .add_flat_noise = avx512_add_flat_noise,
    .absmax_f32 = avx512_absmax_f32,
    .quantise_i16 = avx512_quantise_i16,
    .gaussian_fill = avx512_gaussian_fill,
    .gaussian_blocks = avx512_gaussian_blocks,
};

#else

const struct kernels kernels_avx512 = {.name = NULL};

#endif
