/* Kernels on 256-bit registers, 8 lanes, written with SIMDe: on x86-64 the functions below are the AVX2, FMA and F16C
 * instructions of the same name (Haswell, Zen and later); on 64-bit Arm SIMDe turns each into a pair of NEON ones and
 * the set is called "neon". On other machines this file holds no set.
 *
 * The same plan as avx512.c: a panel row is two registers; a block of up to BLOCK_TOKENS tokens keeps two accumulators
 * each; each output is one chain over k in order, whatever the block. Sums of dot and gemv: 4 registers of 8 partial
 * sums, index i goes to partial sum i % 32, then the fixed tree ((0+1)+(2+3)), 8 -> 4 -> 2 -> 1.
 *
 * There is no masked load here: tails are copied to a zeroed buffer first.
 */
#include "base/kernels/sets.h"

#if (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)) || defined(__aarch64__)

#include <assert.h>
#include <simde/x86/avx2.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#include <stdbool.h>
#include <string.h>

#include "base/kernels/comb.h"
#include "base/random_inline.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    LANES = 8,
    STEP = 4 * LANES, /* floats per turn of dot and gemv */
    GEMV_ROWS = 2,    /* rows that share the loads of x; 8 of the 16 registers accumulate */
    MAC_AHEAD = 4096, /* bytes that the one-token multiply prefetches ahead */
    BLOCK_TOKENS = 6, /* of the panel kernels: 12 accumulators, 2 for the panel row */
};

INLINE float sum_lanes(simde__m256 v) {
    const simde__m128 four = simde_mm_add_ps(simde_mm256_castps256_ps128(v), simde_mm256_extractf128_ps(v, 1));
    const simde__m128 two = simde_mm_add_ps(four, simde_mm_movehl_ps(four, four));
    return simde_mm_cvtss_f32(simde_mm_add_ss(two, simde_mm_movehdup_ps(two)));
}

INLINE simde__m256i load_words(const void *p) { return simde_mm256_loadu_si256((const simde__m256i *)p); }
INLINE void store_words(void *p, simde__m256i v) { simde_mm256_storeu_si256((simde__m256i *)p, v); }

/* The first n < 8 floats, the others 0. */
INLINE simde__m256 load_tail(const float *x, size_t n) {
    float buffer[LANES] = {0};
    memcpy(buffer, x, n * sizeof *x);
    return simde_mm256_loadu_ps(buffer);
}

/* Asks for the cache line `offset` bytes from p, which may lie behind the end of the array. */
INLINE void prefetch(const void *p, size_t offset) {
    simde_mm_prefetch((const char *)((uintptr_t)p + offset), SIMDE_MM_HINT_T0);
}

/* --- vectors ------------------------------------------------------------------------------------ */

/* Half to single with subnormal halves among the 8: those by way of integers. */
static simde__m256 singles_of_subnormal_halves(simde__m128i half) {
    const simde__m128i exponent = simde_mm_and_si128(half, simde_mm_set1_epi16(0x7c00));
    const simde__m128i subnormal = simde_mm_cmpeq_epi16(exponent, simde_mm_setzero_si128());
    const simde__m256 normal = simde_mm256_cvtph_ps(simde_mm_andnot_si128(subnormal, half));
    const simde__m256i wide = simde_mm256_cvtepu16_epi32(simde_mm_and_si128(half, subnormal));
    const simde__m256i fraction = simde_mm256_and_si256(wide, simde_mm256_set1_epi32(0x7fff));
    const simde__m256i sign = simde_mm256_slli_epi32(simde_mm256_and_si256(wide, simde_mm256_set1_epi32(0x8000)), 16);
    const simde__m256 magnitude = simde_mm256_mul_ps(simde_mm256_cvtepi32_ps(fraction), simde_mm256_set1_ps(0x1p-24f));
    return simde_mm256_or_ps(normal, simde_mm256_or_ps(magnitude, simde_mm256_castsi256_ps(sign)));
}

/* The conversion instruction of x86 is slow on subnormal halves: see avx512.c. */
INLINE simde__m256 singles_of_halves(simde__m128i half) {
    const simde__m128i exponent = simde_mm_and_si128(half, simde_mm_set1_epi16(0x7c00));
    const simde__m128i small = simde_mm_cmpeq_epi16(exponent, simde_mm_setzero_si128());
    if (__builtin_expect(!simde_mm_testz_si128(small, half), 0)) { /* -0 comes here too, without harm */
        return singles_of_subnormal_halves(half);
    }
    return simde_mm256_cvtph_ps(half);
}

INLINE simde__m256 singles(enum weight_type type, simde__m128i half) {
    if (type == WEIGHT_F16) {
        return singles_of_halves(half);
    }
    return simde_mm256_castsi256_ps(simde_mm256_slli_epi32(simde_mm256_cvtepu16_epi32(half), 16));
}

/* Weights i .. i + n - 1 in single precision, the other lanes 0. */
INLINE simde__m256 load_weights(enum weight_type type, const void *w, size_t i, size_t n) {
    if (type == WEIGHT_F32) {
        const float *from = (const float *)w + i;
        return n == LANES ? simde_mm256_loadu_ps(from) : load_tail(from, n);
    }
    const uint16_t *from = (const uint16_t *)w + i;
    uint16_t buffer[LANES] = {0};
    if (n < LANES) {
        memcpy(buffer, from, n * sizeof *from);
        from = buffer;
    }
    return singles(type, simde_mm_loadu_si128((const simde__m128i *)from));
}

INLINE size_t bytes_of(enum weight_type type) { return type == WEIGHT_F32 ? sizeof(float) : sizeof(uint16_t); }

/* y[row] for `rows` rows; `type` and `rows` are constants where this is expanded. */
INLINE void gemv_rows(enum weight_type type, size_t rows, const void *w, size_t stride, size_t k, const float *x,
                      float *y) {
    const size_t bytes = bytes_of(type),
                 ahead = GEMV_ROWS * stride; /* rows are too short for the hardware to foresee */
    simde__m256 sum[GEMV_ROWS][4];
    for (size_t o = 0; o < rows; o++) {
        for (size_t j = 0; j < 4; j++) {
            sum[o][j] = simde_mm256_setzero_ps();
        }
    }
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        for (size_t o = 0; o < rows; o++) {
            for (size_t line = 0; line < STEP * bytes; line += 64) {
                prefetch(w, (ahead + o * stride + i) * bytes + line);
            }
        }
        for (size_t j = 0; j < 4; j++) {
            const simde__m256 xj = simde_mm256_loadu_ps(x + i + j * LANES);
            for (size_t o = 0; o < rows; o++) {
                const simde__m256 wj = load_weights(type, w, o * stride + i + j * LANES, LANES);
                sum[o][j] = simde_mm256_fmadd_ps(wj, xj, sum[o][j]);
            }
        }
    }
    for (size_t j = 0; j < 4 && i < k; j++, i += LANES) {
        const size_t n = k - i < LANES ? k - i : LANES;
        const simde__m256 xj = load_weights(WEIGHT_F32, x, i, n);
        for (size_t o = 0; o < rows; o++) {
            sum[o][j] = simde_mm256_fmadd_ps(load_weights(type, w, o * stride + i, n), xj, sum[o][j]);
        }
    }
    for (size_t o = 0; o < rows; o++) {
        y[o] = sum_lanes(
            simde_mm256_add_ps(simde_mm256_add_ps(sum[o][0], sum[o][1]), simde_mm256_add_ps(sum[o][2], sum[o][3])));
    }
}

INLINE void weigh_type(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *a,
                       float *y) {
    for (size_t i = 0; i < k; i += STEP) {
        const size_t wanted = k - i < STEP ? k - i : STEP;
        simde__m256 sum[4] = {simde_mm256_setzero_ps(), simde_mm256_setzero_ps(), simde_mm256_setzero_ps(),
                              simde_mm256_setzero_ps()};
        for (size_t j = 0; j < rows; j++) {
            const simde__m256 aj = simde_mm256_set1_ps(a[j]);
            for (size_t c = 0; c * LANES < wanted; c++) {
                const size_t left = wanted - c * LANES, n = left < LANES ? left : LANES;
                sum[c] = simde_mm256_fmadd_ps(load_weights(type, w, j * stride + i + c * LANES, n), aj, sum[c]);
            }
        }
        float out[STEP];
        for (size_t c = 0; c < 4; c++) {
            simde_mm256_storeu_ps(out + c * LANES, sum[c]);
        }
        memcpy(y + i, out, wanted * sizeof *y);
    }
}

#include "base/kernels/types.h" /* gemv, weigh_rows */

static void avx2_halves_of_f32(const float *x, size_t n, uint16_t *halves) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        simde_mm_storeu_si128((simde__m128i *)(halves + i),
                              simde_mm256_cvtps_ph(simde_mm256_loadu_ps(x + i), SIMDE_MM_FROUND_TO_NEAREST_INT));
    }
    for (; i < n; i++) {
        halves[i] = f16_of_f32(x[i]);
    }
}

static float avx2_dot_f32(const float *a, const float *b, size_t n) {
    float sum;
    gemv_rows(WEIGHT_F32, 1, a, n, n, b, &sum);
    return sum;
}

/* Magnitudes compare as integers: a NaN has the largest, so it survives the maximum. */
static float avx2_absmax_f32(const float *x, size_t n) {
    const simde__m256i magnitude = simde_mm256_set1_epi32(0x7fffffff), zero = simde_mm256_setzero_si256();
    simde__m256i largest[4] = {zero, zero, zero, zero};
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        for (size_t j = 0; j < 4; j++) {
            const simde__m256i v = load_words(x + i + j * LANES);
            largest[j] = simde_mm256_max_epi32(largest[j], simde_mm256_and_si256(v, magnitude));
        }
    }
    const simde__m256i all = simde_mm256_max_epi32(simde_mm256_max_epi32(largest[0], largest[1]),
                                                   simde_mm256_max_epi32(largest[2], largest[3]));
    uint32_t lane[LANES], result = 0;
    store_words(lane, all);
    for (size_t j = 0; j < LANES; j++) {
        result = lane[j] > result ? lane[j] : result;
    }
    for (; i < n; i++) {
        const uint32_t bits = bits_of_float(x[i]) & 0x7fffffffu;
        result = bits > result ? bits : result;
    }
    return float_of_bits(result);
}

/* Rounds and clamps 8 numbers into codes[0..n-1]; returns how many were clamped. */
INLINE size_t quantise_8(simde__m256 x, size_t n, float inv_step, int limit, int16_t *codes) {
    const simde__m256 high = simde_mm256_set1_ps((float)limit), low = simde_mm256_set1_ps(-(float)limit);
    const simde__m256 rounded = simde_mm256_round_ps(simde_mm256_mul_ps(x, simde_mm256_set1_ps(inv_step)),
                                                     SIMDE_MM_FROUND_TO_NEAREST_INT | SIMDE_MM_FROUND_NO_EXC);
    /* min gives its second operand for NaN */
    const simde__m256 code = simde_mm256_max_ps(simde_mm256_min_ps(rounded, high), low);
    const int changed = simde_mm256_movemask_ps(simde_mm256_cmp_ps(rounded, code, SIMDE_CMP_NEQ_UQ));
    const simde__m256i wide = simde_mm256_cvtps_epi32(code);
    const simde__m128i narrow =
        simde_mm_packs_epi32(simde_mm256_castsi256_si128(wide), simde_mm256_extracti128_si256(wide, 1));
    int16_t buffer[LANES];
    simde_mm_storeu_si128((simde__m128i *)buffer, narrow);
    memcpy(codes, buffer, n * sizeof *codes);
    return (size_t)__builtin_popcount((unsigned)changed & ((1u << n) - 1u));
}

static size_t avx2_quantise_i16(const float *x, size_t n, float inv_step, int limit, int16_t *codes) {
    size_t clamped = 0, i = 0;
    for (; i + LANES <= n; i += LANES) {
        clamped += quantise_8(simde_mm256_loadu_ps(x + i), LANES, inv_step, limit, codes + i);
    }
    return i < n ? clamped + quantise_8(load_tail(x + i, n - i), n - i, inv_step, limit, codes + i) : clamped;
}

/* --- panels ------------------------------------------------------------------------------------- */

/* 4 columns of 8 rows of singles become half of 4 panel rows. Register j gets rows j and 4 + j side by side, so that a
 * 4 x 4 transpose inside the 128-bit parts puts the rows in order. */
INLINE void transpose_4(const float *rows, size_t stride, float *panel) {
    simde__m256 v[4];
    for (size_t j = 0; j < 4; j++) {
        const float *row = rows + j * stride;
        v[j] = simde_mm256_insertf128_ps(simde_mm256_castps128_ps256(simde_mm_loadu_ps(row)),
                                         simde_mm_loadu_ps(row + 4 * stride), 1);
    }
    const simde__m256 low01 = simde_mm256_unpacklo_ps(v[0], v[1]), high01 = simde_mm256_unpackhi_ps(v[0], v[1]);
    const simde__m256 low23 = simde_mm256_unpacklo_ps(v[2], v[3]), high23 = simde_mm256_unpackhi_ps(v[2], v[3]);
    simde_mm256_storeu_ps(panel, simde_mm256_shuffle_ps(low01, low23, 0x44));
    simde_mm256_storeu_ps(panel + PANEL, simde_mm256_shuffle_ps(low01, low23, 0xee));
    simde_mm256_storeu_ps(panel + 2 * PANEL, simde_mm256_shuffle_ps(high01, high23, 0x44));
    simde_mm256_storeu_ps(panel + 3 * PANEL, simde_mm256_shuffle_ps(high01, high23, 0xee));
}

/* Up to 8 columns, fewer lanes or another type than single: by way of a block of singles. */
INLINE void pack_columns(enum weight_type type, const void *w, size_t start, size_t stride, size_t lanes,
                         size_t columns, float *panel) {
    float block[PANEL][LANES] = {{0}}, turned[LANES * PANEL];
    for (size_t lane = 0; lane < lanes; lane++) {
        simde_mm256_storeu_ps(block[lane], load_weights(type, w, start + lane * stride, columns));
    }
    float *to = columns == LANES ? panel : turned;
    for (size_t i = 0; i < LANES; i += 4) {
        transpose_4(&block[0][i], LANES, to + i * PANEL);
        transpose_4(&block[8][i], LANES, to + i * PANEL + 8);
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
            transpose_4((const float *)w + i + 8 * stride, stride, panel + i * PANEL + 8);
        }
    }
    for (; i < k; i += LANES) {
        pack_columns(type, w, i, stride, lanes, k - i < LANES ? k - i : LANES, panel + i * PANEL);
    }
}

static void avx2_pack_panel_f32(enum weight_type type, const void *w, size_t stride, size_t lanes, size_t k,
                                float *panel) {
    switch (type) {
    case WEIGHT_F32: pack_type(WEIGHT_F32, w, stride, lanes, k, panel); break;
    case WEIGHT_F16: pack_type(WEIGHT_F16, w, stride, lanes, k, panel); break;
    case WEIGHT_BF16: pack_type(WEIGHT_BF16, w, stride, lanes, k, panel); break;
    }
}

/* `count` is a constant where these are expanded, so that the accumulators stay in registers. */
INLINE void gemm_block(size_t count, const float *panel, size_t k, const float *x, size_t ldx, float *y, size_t ldy,
                       size_t lanes) {
    simde__m256 sum[BLOCK_TOKENS][2];
    for (size_t t = 0; t < count; t++) {
        sum[t][0] = sum[t][1] = simde_mm256_setzero_ps();
    }
    for (size_t i = 0; i < k; i++) {
        const simde__m256 w0 = simde_mm256_loadu_ps(panel + i * PANEL),
                          w1 = simde_mm256_loadu_ps(panel + i * PANEL + LANES);
        for (size_t t = 0; t < count; t++) {
            const simde__m256 xt = simde_mm256_broadcast_ss(x + t * ldx + i);
            sum[t][0] = simde_mm256_fmadd_ps(w0, xt, sum[t][0]);
            sum[t][1] = simde_mm256_fmadd_ps(w1, xt, sum[t][1]);
        }
    }
    for (size_t t = 0; t < count; t++) {
        float out[PANEL];
        float *to = lanes == PANEL ? y + t * ldy : out;
        simde_mm256_storeu_ps(to, sum[t][0]);
        simde_mm256_storeu_ps(to + LANES, sum[t][1]);
        if (to == out) {
            memcpy(y + t * ldy, out, lanes * sizeof *y);
        }
    }
}

INLINE simde__m256i broadcast_pair(const int16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return simde_mm256_set1_epi32(pair);
}

/* `count` sums over all rows. pmaddwd cannot overflow: 2 * 32767^2 < 2^31. */
INLINE void mac_sums(size_t count, const int16_t *panel, size_t pairs, const int16_t *x, size_t ldx,
                     simde__m256i sum[][2]) {
    for (size_t t = 0; t < count; t++) {
        sum[t][0] = sum[t][1] = simde_mm256_setzero_si256();
    }
    for (size_t p = 0; p < pairs; p++) {
        const simde__m256i w0 = load_words(panel + p * 2 * PANEL), w1 = load_words(panel + p * 2 * PANEL + PANEL);
        if (count == 1) { /* bound by memory */
            prefetch(panel, p * 4 * PANEL + MAC_AHEAD);
        }
        for (size_t t = 0; t < count; t++) {
            const simde__m256i xt = broadcast_pair(x + t * ldx + 2 * p);
            sum[t][0] = simde_mm256_add_epi32(sum[t][0], simde_mm256_madd_epi16(w0, xt));
            sum[t][1] = simde_mm256_add_epi32(sum[t][1], simde_mm256_madd_epi16(w1, xt));
        }
    }
}

INLINE void mac_block(size_t count, const int16_t *panel, size_t pairs, const int16_t *x, size_t ldx, int32_t *acc) {
    simde__m256i sum[BLOCK_TOKENS][2];
    mac_sums(count, panel, pairs, x, ldx, sum);
    for (size_t t = 0; t < count; t++) {
        store_words(acc + t * PANEL, sum[t][0]);
        store_words(acc + t * PANEL + LANES, sum[t][1]);
    }
}

/* Coefficients of the weights' variance, each lane's twice: for both rows of a pair; lanes 0 .. 7 and 8 .. 15. */
struct noise { simde__m256i k0[2], k1[2], k2[2], k3[2]; };

INLINE void twice(const int16_t *k, simde__m256i out[2]) {
    for (size_t half = 0; half < 2; half++) {
        const simde__m128i narrow = simde_mm_loadu_si128((const simde__m128i *)(k + half * LANES));
        const simde__m256i wide = simde_mm256_cvtepu16_epi32(narrow);
        out[half] = simde_mm256_or_si256(wide, simde_mm256_slli_epi32(wide, 16));
    }
}

INLINE struct noise noise_of(const int16_t *law) {
    struct noise k;
    twice(law, k.k0);
    twice(law + PANEL, k.k1);
    twice(law + 2 * PANEL, k.k2);
    twice(law + 3 * PANEL, k.k3);
    return k;
}

/* k0 = k1 = 0, k2 = -2^15 and k3 = 1 in all lanes. */
static bool noise_is_square(const int16_t *law) {
    const simde__m256i none = simde_mm256_or_si256(load_words(law), load_words(law + PANEL));
    const simde__m256i k2 = simde_mm256_xor_si256(load_words(law + 2 * PANEL), simde_mm256_set1_epi16(INT16_MIN));
    const simde__m256i k3 = simde_mm256_xor_si256(load_words(law + 3 * PANEL), simde_mm256_set1_epi16(1));
    const simde__m256i other = simde_mm256_or_si256(none, simde_mm256_or_si256(k2, k3));
    return simde_mm256_testz_si256(other, other) != 0;
}

/* Eight columns of a pair of rows, in units of 1/256. square: noise_is_square; a constant where this is expanded. */
INLINE simde__m256i variance_words(const struct noise *k, size_t half, simde__m256i w, bool square) {
    if (square) {
        return simde_mm256_mulhrs_epi16(w, w);
    }
    const simde__m256i a = simde_mm256_mullo_epi16(simde_mm256_abs_epi16(w), k->k3[half]);
    const simde__m256i squared = simde_mm256_mulhrs_epi16(k->k2[half], simde_mm256_mulhrs_epi16(a, a));
    const simde__m256i linear = simde_mm256_mulhrs_epi16(k->k1[half], a);
    return simde_mm256_add_epi16(simde_mm256_sub_epi16(k->k0[half], squared), linear);
}

enum {
    NOISE_RUN = 64, /* rows whose variances are worked out together; a multiple of 4 */
    CENTRE = 64,    /* taken off a variance, so that two products with squares fit 16 bits */
};

/* spread, in the place of sd -> sd */
static void take_roots(const struct read_noise *noise, size_t tokens, float *sd) {
    for (size_t t = 0; t < tokens; t++) {
        const struct square_sums *sums = noise->sums + t * noise->ldn;
        const simde__m256 rest = simde_mm256_set1_ps(sums->rest), all = simde_mm256_set1_ps(sums->all);
        for (size_t lane = 0; lane < PANEL; lane += LANES) {
            const simde__m256 spread = simde_mm256_cvtepi32_ps(load_words(sd + t * PANEL + lane));
            const simde__m256 coded = simde_mm256_mul_ps(simde_mm256_loadu_ps(noise->factors + lane), spread);
            const simde__m256 mean = simde_mm256_mul_ps(simde_mm256_loadu_ps(noise->factors + PANEL + lane), rest);
            const simde__m256 same = simde_mm256_mul_ps(simde_mm256_loadu_ps(noise->factors + 2 * PANEL + lane), all);
            const simde__m256 sum = simde_mm256_add_ps(coded, simde_mm256_add_ps(mean, same));
            const simde__m256 variance = simde_mm256_max_ps(sum, simde_mm256_setzero_ps());
            simde_mm256_storeu_ps(sd + t * PANEL + lane, simde_mm256_sqrt_ps(variance));
        }
    }
}

INLINE simde__m256i broadcast_squares(const uint8_t *squares) {
    int32_t four;
    memcpy(&four, squares, sizeof four);
    return simde_mm256_set1_epi32(four);
}

/* Sums of one token: products, and variances times squares. */
struct both_sums { simde__m256i product[2], spread[2]; };

/* One pair of rows; x and squares: its two words in all lanes. */
INLINE void add_pair(struct both_sums *sums, const struct noise *k, const int16_t *panel, const int16_t *x,
                     simde__m256i squares, bool square) {
    const simde__m256i xt = broadcast_pair(x);
    prefetch(panel, MAC_AHEAD);
    for (size_t half = 0; half < 2; half++) {
        const simde__m256i w = load_words(panel + half * PANEL);
        const simde__m256i v = simde_mm256_srli_epi16(variance_words(k, half, w, square), 8);
        sums->product[half] = simde_mm256_add_epi32(sums->product[half], simde_mm256_madd_epi16(w, xt));
        sums->spread[half] = simde_mm256_add_epi32(sums->spread[half], simde_mm256_madd_epi16(v, squares));
    }
}

/* One token, weights read once for both sums. Of four squares, in the order 0 2 1 3, the lower bytes are the first pair
 * and the upper ones the second. */
INLINE void mac_noise_one(const int16_t *panel, size_t pairs, const int16_t *x, const struct read_noise *noise,
                          bool square, int32_t *acc, float *sd) {
    const struct noise k = noise_of(noise->law);
    const simde__m256i lower = simde_mm256_set1_epi16(0xff), zero = simde_mm256_setzero_si256();
    struct both_sums sums = {{zero, zero}, {zero, zero}};
    for (size_t p = 0; p < pairs; p += 2) {
        const simde__m256i four = broadcast_squares(noise->squares + 2 * p);
        add_pair(&sums, &k, panel + p * 2 * PANEL, x + 2 * p, simde_mm256_and_si256(four, lower), square);
        if (p + 1 < pairs) {
            add_pair(&sums, &k, panel + (p + 1) * 2 * PANEL, x + 2 * p + 2, simde_mm256_srli_epi16(four, 8), square);
        }
    }
    for (size_t half = 0; half < 2; half++) {
        store_words(acc + half * LANES, sums.product[half]);
        store_words(sd + half * LANES, sums.spread[half]);
    }
    take_roots(noise, 1, sd);
}

static_assert((int)CENTRE * 2 * SQUARE_MOST <= 32768 && (int)VARIANCE_MOST - CENTRE < CENTRE, "saturates");

/* spread += sums over one run of rows in fours. The bytes of `run` are variances less CENTRE, so that two products with
 * squares fit 16 bits; spread has CENTRE x the sum of the squares already. */
INLINE void noise_block(size_t count, const int8_t *run, size_t fours, const uint8_t *squares, size_t lds,
                        float *spread) {
    const simde__m256i ones = simde_mm256_set1_epi16(1);
    simde__m256i sum[BLOCK_TOKENS][2];
    for (size_t t = 0; t < count; t++) {
        sum[t][0] = load_words(spread + t * PANEL);
        sum[t][1] = load_words(spread + t * PANEL + LANES);
    }
    for (size_t f = 0; f < fours; f++) {
        const simde__m256i v0 = load_words(run + f * 4 * PANEL), v1 = load_words(run + f * 4 * PANEL + 4 * LANES);
        for (size_t t = 0; t < count; t++) {
            const simde__m256i s = broadcast_squares(squares + t * lds + 4 * f);
            const simde__m256i p0 = simde_mm256_maddubs_epi16(s, v0), p1 = simde_mm256_maddubs_epi16(s, v1);
            sum[t][0] = simde_mm256_add_epi32(sum[t][0], simde_mm256_madd_epi16(p0, ones));
            sum[t][1] = simde_mm256_add_epi32(sum[t][1], simde_mm256_madd_epi16(p1, ones));
        }
    }
    for (size_t t = 0; t < count; t++) {
        store_words(spread + t * PANEL, sum[t][0]);
        store_words(spread + t * PANEL + LANES, sum[t][1]);
    }
}

/* Sum of n squares, n a multiple of 4. */
static int32_t sum_squares(const uint8_t *squares, size_t n) {
    const simde__m256i zero = simde_mm256_setzero_si256();
    simde__m256i sum = zero;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        sum = simde_mm256_add_epi64(sum, simde_mm256_sad_epu8(load_words(squares + i), zero));
    }
    uint64_t lane[4];
    store_words(lane, sum);
    for (; i < n; i++) {
        lane[0] += squares[i];
    }
    return (int32_t)(lane[0] + lane[1] + lane[2] + lane[3]);
}

#define FOR_EACH_COUNT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)

#define GEMM_BLOCK(n)                                                                                                  \
    case n:                                                                                                            \
        gemm_block(n, panel, k, x, ldx, y, ldy, lanes);                                                                \
        break;
#define MAC_BLOCK(n)                                                                                                   \
    case n:                                                                                                            \
        mac_block(n, panel, pairs, x, ldx, acc);                                                                       \
        break;

#define NOISE_BLOCK(n)                                                                                                 \
    case n:                                                                                                            \
        noise_block(n, run, fours, squares, lds, spread);                                                              \
        break;

/* Tokens of the next block when `tokens` are left: as few blocks as can be, of nearly equal size, since a small block
 * waits for the latency of its multiplies. */
INLINE size_t next_block(size_t tokens) {
    const size_t blocks = (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    return (tokens + blocks - 1) / blocks;
}

static void avx2_gemm_panel_f32(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                                size_t ldy, size_t lanes) {
    while (tokens > 0) {
        const size_t count = next_block(tokens);
        switch (count) { FOR_EACH_COUNT(GEMM_BLOCK) }
        x += count * ldx;
        y += count * ldy;
        tokens -= count;
    }
}

static void avx2_mac_i16(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens, int32_t *acc) {
    const size_t pairs = (rows + 1) / 2;
    while (tokens > 0) {
        const size_t count = next_block(tokens);
        switch (count) { FOR_EACH_COUNT(MAC_BLOCK) }
        x += count * ldx;
        acc += count * PANEL;
        tokens -= count;
    }
}

static void noise_run(const int8_t *run, size_t fours, const uint8_t *squares, size_t lds, size_t tokens,
                      float *spread) {
    while (tokens > 0) {
        const size_t count = next_block(tokens);
        switch (count) { FOR_EACH_COUNT(NOISE_BLOCK) }
        squares += count * lds;
        spread += count * PANEL;
        tokens -= count;
    }
}

/* Bytes of four rows of eight columns, rows 0 2 1 3, less CENTRE; w1 NULL: there are no rows 2 and 3. */
INLINE simde__m256i variance_bytes(const struct noise *k, size_t half, const int16_t *w0, const int16_t *w1,
                                   bool square) {
    const simde__m256i low = variance_words(k, half, load_words(w0), square);
    const simde__m256i high = w1 ? variance_words(k, half, load_words(w1), square) : simde_mm256_setzero_si256();
    const simde__m256i upper = simde_mm256_and_si256(high, simde_mm256_set1_epi16((int16_t)0xff00));
    const simde__m256i bytes = simde_mm256_or_si256(simde_mm256_srli_epi16(low, 8), upper);
    return simde_mm256_sub_epi8(bytes, simde_mm256_set1_epi8(CENTRE));
}

/* Several tokens: the variances of a run of rows are worked out once and then multiplied like weights. */
INLINE void noise_sums(const int16_t *panel, size_t pairs, const struct read_noise *noise, size_t tokens, bool square,
                       float *spread) {
    int8_t run[NOISE_RUN * PANEL];
    const struct noise k = noise_of(noise->law);
    const uint8_t *squares = noise->squares;
    const size_t lds = noise->lds;
    for (size_t t = 0; t < tokens; t++) {
        const simde__m256i all = simde_mm256_set1_epi32(CENTRE * sum_squares(squares + t * lds, (pairs + 1) / 2 * 4));
        store_words(spread + t * PANEL, all);
        store_words(spread + t * PANEL + LANES, all);
    }
    for (size_t begin = 0; begin < pairs; begin += NOISE_RUN / 2) {
        const size_t left = pairs - begin, count = left < NOISE_RUN / 2 ? left : NOISE_RUN / 2;
        for (size_t p = 0; p < count; p += 2) {
            const int16_t *w = panel + (begin + p) * 2 * PANEL, *next = p + 1 < count ? w + 2 * PANEL : NULL;
            for (size_t half = 0; half < 2; half++) {
                store_words(run + p * 2 * PANEL + half * 4 * LANES,
                            variance_bytes(&k, half, w + half * PANEL, next ? next + half * PANEL : NULL, square));
            }
        }
        noise_run(run, (count + 1) / 2, squares + 2 * begin, lds, tokens, spread);
    }
}

static void avx2_mac_i16_noise(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                               const struct read_noise *noise, int32_t *acc, float *sd) {
    const size_t pairs = (rows + 1) / 2;
    const bool square = noise_is_square(noise->law);
    if (tokens == 1 && square) {
        mac_noise_one(panel, pairs, x, noise, true, acc, sd);
        return;
    }
    if (tokens == 1) {
        mac_noise_one(panel, pairs, x, noise, false, acc, sd);
        return;
    }
    avx2_mac_i16(panel, rows, x, ldx, tokens, acc);
    if (square) {
        noise_sums(panel, pairs, noise, tokens, true, sd);
    } else {
        noise_sums(panel, pairs, noise, tokens, false, sd);
    }
    take_roots(noise, tokens, sd);
}

enum { BYTE_TOKENS = 3 }; /* four accumulators each */

/* Eight rows at a time of variances that are kept; a register has 4 columns. Bytes are at most OFF_MOST, so that two
 * products with squares fit 16 bits. */
INLINE void byte_block(size_t count, const int8_t *variances, size_t rows, const uint8_t *squares, size_t lds,
                       float *spread) {
    const simde__m256i ones = simde_mm256_set1_epi16(1);
    simde__m256i sum[BYTE_TOKENS][4];
    for (size_t t = 0; t < count; t++) {
        sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = simde_mm256_setzero_si256();
    }
    for (size_t r = 0; r < rows; r += 8) {
        for (size_t t = 0; t < count; t++) {
            int64_t eight;
            memcpy(&eight, squares + t * lds + r, sizeof eight);
            const simde__m256i s = simde_mm256_set1_epi64x(eight);
            for (size_t i = 0; i < 4; i++) {
                const simde__m256i v = load_words(variances + r * PANEL + i * 4 * LANES);
                const simde__m256i products = simde_mm256_madd_epi16(simde_mm256_maddubs_epi16(s, v), ones);
                sum[t][i] = simde_mm256_add_epi32(sum[t][i], products);
            }
        }
    }
    for (size_t t = 0; t < count; t++) {
        store_words(spread + t * PANEL, simde_mm256_hadd_epi32(sum[t][0], sum[t][2]));
        store_words(spread + t * PANEL + LANES, simde_mm256_hadd_epi32(sum[t][1], sum[t][3]));
    }
}

/* spread, in the place of sd -> sd */
static void take_byte_roots(const struct byte_noise *noise, size_t tokens, float *sd) {
    for (size_t i = 0; i < tokens * PANEL; i += LANES) {
        const struct byte_squares *sums = noise->sums + i / PANEL;
        const float *factors = noise->factors + i % PANEL;
        const simde__m256 spread = simde_mm256_cvtepi32_ps(load_words(sd + i));
        const simde__m256 steps = simde_mm256_mul_ps(simde_mm256_loadu_ps(factors), spread);
        const simde__m256 coded = simde_mm256_mul_ps(steps, simde_mm256_set1_ps(sums->unit));
        const simde__m256 middle =
            simde_mm256_mul_ps(simde_mm256_loadu_ps(factors + PANEL), simde_mm256_set1_ps(sums->all));
        const simde__m256 off =
            simde_mm256_mul_ps(simde_mm256_loadu_ps(factors + 2 * PANEL), simde_mm256_set1_ps(sums->rest));
        const simde__m256 variance = simde_mm256_add_ps(coded, simde_mm256_add_ps(middle, off));
        simde_mm256_storeu_ps(sd + i, simde_mm256_sqrt_ps(simde_mm256_max_ps(variance, simde_mm256_setzero_ps())));
    }
}

/* Root of the eight numbers at x, 0 for negative ones. */
INLINE simde__m256 roots_at(const float *x) {
    return simde_mm256_sqrt_ps(simde_mm256_max_ps(simde_mm256_loadu_ps(x), simde_mm256_setzero_ps()));
}

INLINE simde__m256 root_of_token(float all) {
    const simde__m128 of_token = simde_mm_max_ss(simde_mm_set_ss(all), simde_mm_setzero_ps());
    return simde_mm256_broadcastss_ps(simde_mm_sqrt_ss(of_token));
}

static void flat_sd(const struct byte_noise *noise, size_t tokens, float *sd) {
    const simde__m256 low = roots_at(noise->factors + PANEL), high = roots_at(noise->factors + PANEL + LANES);
    for (size_t t = 0; t < tokens; t++) {
        const simde__m256 root = root_of_token(noise->sums[t].all);
        simde_mm256_storeu_ps(sd + t * PANEL, simde_mm256_mul_ps(low, root));
        simde_mm256_storeu_ps(sd + t * PANEL + LANES, simde_mm256_mul_ps(high, root));
    }
}

static bool all_zero(const float x[PANEL]) {
    const simde__m256 zero = simde_mm256_setzero_ps();
    const simde__m256 low = simde_mm256_cmp_ps(simde_mm256_loadu_ps(x), zero, SIMDE_CMP_NEQ_UQ);
    const simde__m256 high = simde_mm256_cmp_ps(simde_mm256_loadu_ps(x + LANES), zero, SIMDE_CMP_NEQ_UQ);
    return simde_mm256_movemask_ps(simde_mm256_or_ps(low, high)) == 0;
}

static void avx2_noise_sd(const struct byte_noise *noise, size_t rows, size_t tokens, float *sd) {
    if (all_zero(noise->factors)) {
        flat_sd(noise, tokens, sd);
        return;
    }
    for (size_t t = 0; t < tokens; t += BYTE_TOKENS) {
        const uint8_t *squares = noise->squares + t * noise->lds;
        switch (tokens - t) {
        case 1: byte_block(1, noise->variances, rows, squares, noise->lds, sd + t * PANEL); break;
        case 2: byte_block(2, noise->variances, rows, squares, noise->lds, sd + t * PANEL); break;
        default: byte_block(3, noise->variances, rows, squares, noise->lds, sd + t * PANEL); break;
        }
    }
    take_byte_roots(noise, tokens, sd);
}

static void avx2_scale_sums(const int32_t *acc, const float steps[PANEL], const float *x_steps, size_t tokens,
                            float *y, size_t ldy, size_t lanes) {
    for (size_t t = 0; t < tokens; t++) {
        float whole[PANEL], *to = lanes == PANEL ? y + t * ldy : whole;
        for (size_t lane = 0; lane < PANEL; lane += LANES) {
            const simde__m256 sum = simde_mm256_cvtepi32_ps(load_words(acc + t * PANEL + lane));
            const simde__m256 scaled = simde_mm256_mul_ps(sum, simde_mm256_loadu_ps(steps + lane));
            simde_mm256_storeu_ps(to + lane, simde_mm256_mul_ps(scaled, simde_mm256_set1_ps(x_steps[t])));
        }
        if (to == whole) {
            memcpy(y + t * ldy, whole, lanes * sizeof *y);
        }
    }
}

/* acc + z sd, for LANES columns of one token */
INLINE void store_noisy(const int32_t *acc, const float *z, simde__m256 sd, float *v) {
    const simde__m256 noise = simde_mm256_mul_ps(simde_mm256_loadu_ps(z), sd);
    simde_mm256_storeu_ps(v, simde_mm256_add_ps(simde_mm256_cvtepi32_ps(load_words(acc)), noise));
}

static void avx2_add_noise(const int32_t *acc, const float *sd, const float *z, size_t ldz, size_t tokens, float *v) {
    for (size_t t = 0; t < tokens; t++) {
        for (size_t lane = 0; lane < PANEL; lane += LANES) {
            const size_t at = t * PANEL + lane;
            store_noisy(acc + at, z + t * ldz + lane, simde_mm256_loadu_ps(sd + at), v + at);
        }
    }
}

/* One root per column and one per token. */
static void avx2_add_flat_noise(const int32_t *acc, const float column[PANEL], const float *all, size_t lda,
                                const float *z, size_t ldz, size_t tokens, float *v) {
    const simde__m256 low = roots_at(column), high = roots_at(column + LANES);
    for (size_t t = 0; t < tokens; t++) {
        const simde__m256 root = root_of_token(all[t * lda]);
        const float *numbers = z + t * ldz;
        store_noisy(acc + t * PANEL, numbers, simde_mm256_mul_ps(low, root), v + t * PANEL);
        store_noisy(acc + t * PANEL + LANES, numbers + LANES, simde_mm256_mul_ps(high, root), v + t * PANEL + LANES);
    }
}

#include "base/kernels/avx2_drawn.h"

#include "base/kernels/avx2_gaussian.h"

const struct kernels kernels_avx2 = {
#if defined(__aarch64__)
    .name = "neon",
#else
    .name = "avx2",
#endif
    .dot_f32 = avx2_dot_f32,
    .gemv = gemv,
    .weigh_rows = weigh_rows,
    .halves_of_f32 = avx2_halves_of_f32,
    .gemm_panel_f32 = avx2_gemm_panel_f32,
    .pack_panel_f32 = avx2_pack_panel_f32,
    .mac_i16 = avx2_mac_i16,
    .scale_sums = avx2_scale_sums,
    .mac_i16_noise = avx2_mac_i16_noise,
    .noise_sd = avx2_noise_sd,
    .draw_rows = avx2_draw_rows,
    .drawn_sd = avx2_drawn_sd,
    .mac_i16_drawn = avx2_mac_i16_drawn,
    .strip_of_codes = strip_of_codes,
    .add_noise = avx2_add_noise,
    .add_flat_noise = avx2_add_flat_noise,
    .absmax_f32 = avx2_absmax_f32,
    .quantise_i16 = avx2_quantise_i16,
    .gaussian_fill = avx2_gaussian_fill,
    .gaussian_blocks = avx2_gaussian_blocks,
};

#else

const struct kernels kernels_avx2 = {.name = NULL};

#endif
