/* Philox4x32 and two ways from a block of it to Gaussian numbers, as plain C that every kernel repeats operation by
 * operation.
 *
 * Only for base/random.c and base/kernels; all others use base/random.h. The vector kernels take the constants
 * from here and do the same IEEE operations in the same order on every lane (+, -, *, sqrt, conversions,
 * integers; never a fused multiply-add), so that all give the same bits.
 *
 * Philox4x32-10 (Salmon et al., SC'11, and the known-answer file of Random123): ten rounds of
 *   c' = (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)),   k += (W0, W1) after each.
 *
 * Box-Muller: u = (a + 1/2) 2^-32, v = (b + 1/2) 2^-32, r = sqrt(-2 ln u), z = r cos(2 pi v), r sin(2 pi v).
 *   u near 1 would lose its distance to 1 in single precision, so the upper half of the words works with
 *   1 - u = (~a + 1/2) 2^-32 instead: ln u = log1p(-(1 - u)). In the lower half u = m 2^e, m in [1/2, 1),
 *   ln u = e ln 2 + log1p(m - 1). Both need log1p(f) only for f in [-1/2, 0]: f (1 + f Q(f)), deg Q = 8.
 *   v: the nearest quarter turn is taken off the integer b exactly; the rest x is within 1/8 turn, where
 *   sin(2 pi x) = x S(x^2) and cos(2 pi x) = 1 + x^2 C(x^2), deg S = deg C = 3.
 *   Q, S, C interpolate at the Chebyshev nodes; relative errors 1.9e-8, 3.6e-8, 1.3e-8.
 *
 * Sixteen at once (gaussian_sixteen), for noise that is drawn afresh for every multiply, in whole numbers. Their block
 * comes from seven rounds, the fewest with which Philox4x32 passes all of BigCrush (Salmon et al.; ten have a margin).
 * Each byte of it becomes x, the sum of what its two halves stand for: a half is one of sixteen numbers, all alike
 * likely, with mean 0 and fourth cumulant 0 (2e-4 of variance^2; chosen for that by a search). The 16 x go through an
 * orthogonal matrix of the steps +-61 and +-60: the Hadamard matrix of eight with s (61, 60; 60, -61) for each sign s.
 * Each number is thus a sum of 32 independent terms without skewness and without excess. Its distribution differs from
 * the Gaussian one by 3e-5 (its steps of 1e-4 sd included); of the tail by 0.04 % at 3 sd, 0.5 % at 4 sd, 2.5 % at 5 sd
 * (exact, by convolution); |z| < 12.3. The sixteen are uncorrelated, and independent up to sixth order. A matrix of +-1
 * alone would leave steps of 0.006 sd.
 * The idea of transforming a block orthogonally is C. S. Wallace's (Fast pseudorandom generators for normal and
 * exponential variates, ACM TOMS 22, 1996); here nothing is fed back.
 *
 * Error of z against the same formula in double: at most GAUSSIAN_ERROR (tests/test_random.c states the
 * largest found). Largest |z|: sqrt(66 ln 2) = 6.764.
 */
#ifndef MHO_BASE_RANDOM_INLINE_H
#define MHO_BASE_RANDOM_INLINE_H

#include <math.h>
#include <stdint.h>

#include "base/half.h"

#define GAUSSIAN_ERROR 1.5e-6 /* absolute; the field's usual 24 bits at |z| = 6.8 would be 4e-7 */

enum { PHILOX_ROUNDS = 10, FAST_ROUNDS = 7 /* of gaussian_sixteen */ };
static const uint32_t PHILOX_M0 = 0xD2511F53u, PHILOX_M1 = 0xCD9E8D57u;
static const uint32_t PHILOX_W0 = 0x9E3779B9u, PHILOX_W1 = 0xBB67AE85u;

/* Lowest order first. */
static const float LOG_Q[9] = {-0.5f,        0.33332753f,  -0.2503051f, 0.19390883f, -0.22656341f,
                               -0.18017174f, -1.1097159f, -1.5146328f, -1.2989286f};
static const float SIN_S[4] = {6.28318548f, -41.3416634f, 81.5925446f, -75.4016113f};
static const float COS_C[4] = {-19.7392082f, 64.9393692f, -85.4488220f, 59.4241066f};
static const float LN_2 = 0.693147182f;

/* What half a byte stands for, SIXTEEN_CENTRE / 2 added, so that the sum of two is a byte without sign. */
enum { SIXTEEN_CENTRE = 128 };
static const uint8_t SIXTEEN_HALF[16] = {64 - 60, 64 - 26, 64 - 23, 64 - 20, 64 - 19, 64 - 15, 64 - 14, 64 - 12,
                                         64 + 12, 64 + 14, 64 + 15, 64 + 19, 64 + 20, 64 + 23, 64 + 26, 64 + 60};
/* The matrix, [word][number][byte of the word]: two numbers side by side share the signs s and t of two byte pairs. */
#define TWO_ROWS(s, t) {(s)*61, (s)*60, (t)*61, (t)*60}, {(s)*60, (s)*-61, (t)*60, (t)*-61}
static const int8_t SIXTEEN_STEPS[4][16][4] = {
    {TWO_ROWS(1, 1), TWO_ROWS(1, -1), TWO_ROWS(1, 1), TWO_ROWS(1, -1),
     TWO_ROWS(1, 1), TWO_ROWS(1, -1), TWO_ROWS(1, 1), TWO_ROWS(1, -1)},
    {TWO_ROWS(1, 1), TWO_ROWS(1, -1), TWO_ROWS(-1, -1), TWO_ROWS(-1, 1),
     TWO_ROWS(1, 1), TWO_ROWS(1, -1), TWO_ROWS(-1, -1), TWO_ROWS(-1, 1)},
    {TWO_ROWS(1, 1), TWO_ROWS(1, -1), TWO_ROWS(1, 1), TWO_ROWS(1, -1),
     TWO_ROWS(-1, -1), TWO_ROWS(-1, 1), TWO_ROWS(-1, -1), TWO_ROWS(-1, 1)},
    {TWO_ROWS(1, 1), TWO_ROWS(1, -1), TWO_ROWS(-1, -1), TWO_ROWS(-1, 1),
     TWO_ROWS(-1, -1), TWO_ROWS(-1, 1), TWO_ROWS(1, 1), TWO_ROWS(1, -1)}};
#undef TWO_ROWS
static const float SIXTEEN_SCALE = 1.05544144e-4f; /* 1 / sqrt(8 (61^2 + 60^2) variance of x, 1532.75) */

static inline void philox_block_of(int rounds, uint64_t seed, uint64_t stream, uint64_t block, uint32_t c[4]) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    c[0] = (uint32_t)block;
    c[1] = (uint32_t)(block >> 32);
    c[2] = (uint32_t)stream;
    c[3] = (uint32_t)(stream >> 32);
    for (int round = 0; round < rounds; round++) {
        const uint64_t p0 = (uint64_t)PHILOX_M0 * c[0], p1 = (uint64_t)PHILOX_M1 * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

static inline void philox_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t c[4]) {
    philox_block_of(PHILOX_ROUNDS, seed, stream, block, c);
}

/* sqrt(-2 ln((a + 1/2) 2^-32)) */
static inline float gaussian_radius(uint32_t a) {
    const int upper = a >> 31 != 0;
    const float q = (float)(int32_t)(upper ? ~a : a) + 0.5f; /* [1/2, 2^31] */
    const uint32_t bits = bits_of_float(q);
    const float m = float_of_bits((bits & 0x007fffffu) | 0x3f000000u);
    const float e = upper ? 0.0f : (float)((int32_t)(bits >> 23) - (126 + 32));
    const float f = upper ? q * -0x1p-32f : m - 1.0f;
    float p = LOG_Q[8];
    for (int i = 7; i >= 0; i--) {
        p = p * f + LOG_Q[i];
    }
    p = p * f + 1.0f;
    const float ln_u = e * LN_2 + p * f;
    return sqrtf(ln_u * -2.0f);
}

/* cos and sin of 2 pi (b + 1/2) 2^-32 */
static inline void gaussian_angle(uint32_t b, float *cosine, float *sine) {
    const uint32_t quarter = (b + 0x20000000u) >> 30; /* nearest; bits above the lower two are 0 */
    const float x = ((float)(int32_t)(b - (quarter << 30)) + 0.5f) * 0x1p-32f;
    const float z = x * x;
    const float s = (((SIN_S[3] * z + SIN_S[2]) * z + SIN_S[1]) * z + SIN_S[0]) * x;
    const float c = (((COS_C[3] * z + COS_C[2]) * z + COS_C[1]) * z + COS_C[0]) * z + 1.0f;
    const uint32_t cosine_sign = ((quarter + 1) & 2u) << 30, sine_sign = (quarter & 2u) << 30;
    *cosine = float_of_bits(bits_of_float(quarter & 1u ? s : c) ^ cosine_sign);
    *sine = float_of_bits(bits_of_float(quarter & 1u ? c : s) ^ sine_sign);
}

/* The four Gaussian numbers of one block. */
static inline void gaussian_block(uint64_t seed, uint64_t stream, uint64_t block, float z[4]) {
    uint32_t word[4];
    philox_block(seed, stream, block, word);
    for (int pair = 0; pair < 4; pair += 2) {
        const float r = gaussian_radius(word[pair]);
        float cosine, sine;
        gaussian_angle(word[pair + 1], &cosine, &sine);
        z[pair] = r * cosine;
        z[pair + 1] = r * sine;
    }
}

/* The sixteen numbers of one block. */
static inline void gaussian_sixteen(uint64_t seed, uint64_t stream, uint64_t block, float z[16]) {
    uint32_t word[4];
    philox_block_of(FAST_ROUNDS, seed, stream, block, word);
    for (int i = 0; i < 16; i++) {
        int32_t sum = 0;
        for (int j = 0; j < 16; j++) {
            const uint32_t byte = word[j / 4] >> (8 * (j % 4)) & 255u;
            const int32_t x = SIXTEEN_HALF[byte % 16] + SIXTEEN_HALF[byte / 16] - SIXTEEN_CENTRE;
            sum += SIXTEEN_STEPS[j / 4][i][j % 4] * x;
        }
        z[i] = (float)sum * SIXTEEN_SCALE;
    }
}

#endif
