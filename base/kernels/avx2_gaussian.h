/* Part of avx2.c: Gaussian numbers, random_inline.h on 4 blocks at a time. */
#ifndef MHO_BASE_KERNELS_AVX2_GAUSSIAN_H
#define MHO_BASE_KERNELS_AVX2_GAUSSIAN_H

enum { GROUP_BLOCKS = 4, GROUP = 4 * GROUP_BLOCKS };

INLINE simde__m256i xor3(simde__m256i a, simde__m256i b, simde__m256i c) {
    return simde_mm256_xor_si256(simde_mm256_xor_si256(a, b), c);
}

static void philox_keys(uint64_t seed, uint64_t keys[PHILOX_ROUNDS][2]) {
    for (uint32_t round = 0; round < PHILOX_ROUNDS; round++) {
        keys[round][0] = (uint32_t)seed + round * PHILOX_W0;
        keys[round][1] = (uint32_t)(seed >> 32) + round * PHILOX_W1;
    }
}

/* Words of four blocks, one per 64-bit lane: radius holds word 0 in the lower half and word 2 in the upper, angle 1 and
 * 3. Only lower halves enter the multiplies, so upper halves may hold anything until the end. */
INLINE void philox_group(size_t rounds, const uint64_t keys[PHILOX_ROUNDS][2], uint64_t stream, simde__m256i blocks,
                         simde__m256i *radius, simde__m256i *angle) {
    const simde__m256i m0 = simde_mm256_set1_epi64x(PHILOX_M0), m1 = simde_mm256_set1_epi64x(PHILOX_M1);
    simde__m256i c0 = blocks;
    simde__m256i c1 = simde_mm256_srli_epi64(c0, 32);
    simde__m256i c2 = simde_mm256_set1_epi64x((int64_t)stream), c3 = simde_mm256_srli_epi64(c2, 32);
    for (size_t round = 0; round < rounds; round++) {
        const simde__m256i p0 = simde_mm256_mul_epu32(m0, c0), p1 = simde_mm256_mul_epu32(m1, c2);
        c0 = xor3(simde_mm256_srli_epi64(p1, 32), c1, simde_mm256_set1_epi64x((int64_t)keys[round][0]));
        c2 = xor3(simde_mm256_srli_epi64(p0, 32), c3, simde_mm256_set1_epi64x((int64_t)keys[round][1]));
        c1 = p1;
        c3 = p0;
    }
    *radius = simde_mm256_blend_epi32(c0, simde_mm256_slli_epi64(c2, 32), 0xaa);
    *angle = simde_mm256_blend_epi32(c1, simde_mm256_slli_epi64(c3, 32), 0xaa);
}

INLINE simde__m256 mul_add(simde__m256 a, simde__m256 b, float c) {
    return simde_mm256_add_ps(simde_mm256_mul_ps(a, b), simde_mm256_set1_ps(c));
}

INLINE simde__m256 radius_of(simde__m256i a) {
    const simde__m256i upper = simde_mm256_srai_epi32(a, 31);
    const simde__m256i t = simde_mm256_xor_si256(a, upper);
    const simde__m256 q = simde_mm256_add_ps(simde_mm256_cvtepi32_ps(t), simde_mm256_set1_ps(0.5f));
    const simde__m256i bits = simde_mm256_castps_si256(q);
    const simde__m256i fraction = simde_mm256_and_si256(bits, simde_mm256_set1_epi32(0x007fffff));
    const simde__m256 m = simde_mm256_castsi256_ps(simde_mm256_or_si256(fraction, simde_mm256_set1_epi32(0x3f000000)));
    const simde__m256i exponent =
        simde_mm256_sub_epi32(simde_mm256_srli_epi32(bits, 23), simde_mm256_set1_epi32(126 + 32));
    const simde__m256 e = simde_mm256_cvtepi32_ps(simde_mm256_andnot_si256(upper, exponent));
    const simde__m256 f_lower = simde_mm256_sub_ps(m, simde_mm256_set1_ps(1.0f));
    const simde__m256 f_upper = simde_mm256_mul_ps(q, simde_mm256_set1_ps(-0x1p-32f));
    const simde__m256 f = simde_mm256_blendv_ps(f_lower, f_upper, simde_mm256_castsi256_ps(upper));
    simde__m256 p = simde_mm256_set1_ps(LOG_Q[8]);
    for (int i = 7; i >= 0; i--) {
        p = mul_add(p, f, LOG_Q[i]);
    }
    p = mul_add(p, f, 1.0f);
    const simde__m256 ln_u =
        simde_mm256_add_ps(simde_mm256_mul_ps(e, simde_mm256_set1_ps(LN_2)), simde_mm256_mul_ps(p, f));
    return simde_mm256_sqrt_ps(simde_mm256_mul_ps(ln_u, simde_mm256_set1_ps(-2.0f)));
}

INLINE void angle_of(simde__m256i b, simde__m256 *cosine, simde__m256 *sine) {
    const simde__m256i quarter =
        simde_mm256_srli_epi32(simde_mm256_add_epi32(b, simde_mm256_set1_epi32(0x20000000)), 30);
    const simde__m256i rest = simde_mm256_sub_epi32(b, simde_mm256_slli_epi32(quarter, 30));
    const simde__m256 half = simde_mm256_set1_ps(0.5f), turn = simde_mm256_set1_ps(0x1p-32f);
    const simde__m256 x = simde_mm256_mul_ps(simde_mm256_add_ps(simde_mm256_cvtepi32_ps(rest), half), turn);
    const simde__m256 z = simde_mm256_mul_ps(x, x);
    const simde__m256 s3 = simde_mm256_set1_ps(SIN_S[3]), c3 = simde_mm256_set1_ps(COS_C[3]);
    const simde__m256 s = simde_mm256_mul_ps(mul_add(mul_add(mul_add(s3, z, SIN_S[2]), z, SIN_S[1]), z, SIN_S[0]), x);
    const simde__m256 c = mul_add(mul_add(mul_add(mul_add(c3, z, COS_C[2]), z, COS_C[1]), z, COS_C[0]), z, 1.0f);
    const simde__m256i one = simde_mm256_set1_epi32(1), two = simde_mm256_set1_epi32(2);
    const simde__m256i cosine_sign =
        simde_mm256_slli_epi32(simde_mm256_and_si256(simde_mm256_add_epi32(quarter, one), two), 30);
    const simde__m256i sine_sign = simde_mm256_slli_epi32(simde_mm256_and_si256(quarter, two), 30);
    const simde__m256 swap = simde_mm256_castsi256_ps(simde_mm256_slli_epi32(quarter, 31));
    *cosine = simde_mm256_xor_ps(simde_mm256_blendv_ps(c, s, swap), simde_mm256_castsi256_ps(cosine_sign));
    *sine = simde_mm256_xor_ps(simde_mm256_blendv_ps(s, c, swap), simde_mm256_castsi256_ps(sine_sign));
}

INLINE void gaussian_group(const uint64_t keys[PHILOX_ROUNDS][2], uint64_t stream, uint64_t block, float *out) {
    simde__m256i radius_word, angle_word;
    simde__m256 cosine, sine;
    const simde__m256i blocks =
        simde_mm256_add_epi64(simde_mm256_set1_epi64x((int64_t)block), simde_mm256_set_epi64x(3, 2, 1, 0));
    philox_group(PHILOX_ROUNDS, keys, stream, blocks, &radius_word, &angle_word);
    const simde__m256 r = radius_of(radius_word);
    angle_of(angle_word, &cosine, &sine);
    const simde__m256 a = simde_mm256_mul_ps(r, cosine), b = simde_mm256_mul_ps(r, sine);
    const simde__m256 even = simde_mm256_unpacklo_ps(a, b),
                      odd = simde_mm256_unpackhi_ps(a, b); /* 128 bits = one block */
    simde_mm256_storeu_ps(out, simde_mm256_permute2f128_ps(even, odd, 0x20));
    simde_mm256_storeu_ps(out + LANES, simde_mm256_permute2f128_ps(even, odd, 0x31));
}

static void avx2_gaussian_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
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

/* gaussian_sixteen: two blocks of bytes, one per 128 bits, into the numbers x, SIXTEEN_CENTRE added. */
INLINE simde__m256i numbers_of_halves(simde__m256i bytes) {
    const simde__m256i table =
        simde_mm256_broadcastsi128_si256(simde_mm_loadu_si128((const simde__m128i *)SIXTEEN_HALF));
    const simde__m256i nibble = simde_mm256_set1_epi8(15);
    const simde__m256i low = simde_mm256_and_si256(bytes, nibble);
    const simde__m256i high = simde_mm256_and_si256(simde_mm256_srli_epi16(bytes, 4), nibble);
    return simde_mm256_add_epi8(simde_mm256_shuffle_epi8(table, low), simde_mm256_shuffle_epi8(table, high));
}

/* Two of the four words, in sums of two bytes each. The sums of four products wrap around, but those with x without
 * SIXTEEN_CENTRE fit 16 bits: at most 2 (61 + 60) 120. */
INLINE simde__m256i sixteen_words(const uint32_t x[4], size_t word, size_t first) {
    const simde__m256i centre = simde_mm256_set1_epi8((char)SIXTEEN_CENTRE);
    simde__m256i sum = simde_mm256_setzero_si256(), of_centre = sum;
    for (size_t w = word; w < word + 2; w++) {
        const simde__m256i steps = load_words(SIXTEEN_STEPS[w][first]);
        sum = simde_mm256_add_epi16(sum, simde_mm256_maddubs_epi16(simde_mm256_set1_epi32((int32_t)x[w]), steps));
        of_centre = simde_mm256_add_epi16(of_centre, simde_mm256_maddubs_epi16(centre, steps));
    }
    return simde_mm256_madd_epi16(simde_mm256_sub_epi16(sum, of_centre), simde_mm256_set1_epi16(1));
}

/* Eight of the numbers of one block, of the four words x. */
INLINE simde__m256 sixteen_half(const uint32_t x[4], size_t first) {
    const simde__m256i sum = simde_mm256_add_epi32(sixteen_words(x, 0, first), sixteen_words(x, 2, first));
    return simde_mm256_mul_ps(simde_mm256_cvtepi32_ps(sum), simde_mm256_set1_ps(SIXTEEN_SCALE));
}

/* Four blocks; unpacking puts even ones into one register and odd ones into the other. */
INLINE void sixteen_of_four(const uint64_t keys[PHILOX_ROUNDS][2], uint64_t stream, const uint64_t *blocks,
                            float *out) {
    uint32_t words[GROUP];
    const simde__m256i paired = simde_mm256_permute4x64_epi64(load_words(blocks), 0xd8); /* 0 2 1 3 */
    simde__m256i radius, angle;
    philox_group(FAST_ROUNDS, keys, stream, paired, &radius, &angle);
    store_words(words, numbers_of_halves(simde_mm256_unpacklo_epi32(radius, angle)));
    store_words(words + LANES, numbers_of_halves(simde_mm256_unpackhi_epi32(radius, angle)));
    __asm__("" : "+m"(words)); /* else gcc takes every word out of the registers, which is slower than to load it */
    for (size_t i = 0; i < GROUP_BLOCKS; i++) {
        simde_mm256_storeu_ps(out + i * PANEL, sixteen_half(words + 4 * i, 0));
        simde_mm256_storeu_ps(out + i * PANEL + LANES, sixteen_half(words + 4 * i, LANES));
    }
}

static void avx2_gaussian_blocks(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out) {
    uint64_t keys[PHILOX_ROUNDS][2];
    philox_keys(seed, keys);
    size_t i = 0;
    for (; i + GROUP_BLOCKS <= n; i += GROUP_BLOCKS) {
        sixteen_of_four(keys, stream, blocks + i, out + i * PANEL);
    }
    if (i < n) {
        uint64_t last[GROUP_BLOCKS] = {0};
        float z[GROUP_BLOCKS * PANEL];
        memcpy(last, blocks + i, (n - i) * sizeof *blocks);
        sixteen_of_four(keys, stream, last, z);
        memcpy(out + i * PANEL, z, (n - i) * PANEL * sizeof *z);
    }
}

#endif
