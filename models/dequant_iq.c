/* IQ types: codebooks. A few bits name an entry of a table of good vectors; signs and scales come beside it.
 *
 *   blocks of 32:
 *   IQ4_NL   | d | 16 bytes q (4 bits: elements 0-15 lower, 16-31 upper) |          y = d levels[q]
 *   super-blocks of 256, 8 runs of 32:
 *   IQ4_XS   | d | 2 bytes: upper 2 bits of s | 4 bytes: lower 4 of s | 128 bytes q |  y = d (s - 32) levels[q]
 *   IQ2_XXS  | d | per run 4 bytes k, 4 bytes: 4 x 7 sign bits, 4 bits s |          y = +-d (s + 1/2)/4 grid8[k]
 *   IQ2_XS   | d | 32 x 2 bytes: 9 bits k, 7 sign bits | 8 bytes s (4 bits) |       y = +-d (s + 1/2)/4 grid8[k]
 *   IQ3_XXS  | d | 64 bytes k | per run 4 bytes: 4 x 7 sign bits, 4 bits s |        y = +-d (s + 1/2)/2 grid4[k]
 *   IQ3_S    | d | 64 bytes k | 8 bytes: ninth bits of k | 32 bytes signs | 4 bytes s |  y = +-d (1 + 2 s) grid4[k]
 *
 * grid8: 8 elements, each 8, 25 or 43. grid4: 4 elements (IQ3_XXS: 4, 12, 20, 28, 36, 44, 52, 62; IQ3_S: 1, 3, ... 15).
 * 7 sign bits stand for 8 signs: the number of minus signs is even, so the eighth is their parity.
 * The products are exact in fp32 (11 + 5 + 6 bits). Tables: iq_tables.c.
 * Source of the layouts: ggml (https://github.com/ggml-org/ggml), ggml-common.h; the `gguf` Python package.
 */
#include "models/files.h"

enum { RUN = 32, RUNS = 8, SUPER = RUN * RUNS };

/* The non-linear 4-bit levels of IQ4_NL and IQ4_XS. */
static const float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* 16 bytes q -> 32 elements. */
static inline void iq4_run(const uint8_t *restrict q, float step, float *restrict out) {
    for (int j = 0; j < RUN / 2; j++) {
        out[j] = step * iq4_levels[q[j] & 15];
        out[RUN / 2 + j] = step * iq4_levels[q[j] >> 4];
    }
}

void dequantise_iq4_nl(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 18, out += RUN) {
        iq4_run(block + 2, load_half(block), out);
    }
}

void dequantise_iq4_xs(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 136, out += SUPER) {
        float d = load_half(block);
        uint16_t high = load_u16(block + 2);
        for (int run = 0; run < RUNS; run++) {
            int scale = ((block[4 + run / 2] >> (run % 2 * 4)) & 15) | ((high >> (2 * run)) & 3) << 4;
            iq4_run(block + 8 + run * RUN / 2, d * (float)(scale - 32), out + run * RUN);
        }
    }
}

/* 7 sign bits -> 8, the eighth making the number of ones even. */
static inline unsigned eight_signs(unsigned seven) {
    seven &= 127;
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

static const float iq2_levels[4] = {8, 25, 43, 0}; /* code 3 does not occur */
static const float iq3_xxs_levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float iq3_s_levels[8] = {1, 3, 5, 7, 9, 11, 13, 15};

/* 8 elements; bit j of signs set = minus. */
static inline void grid8(unsigned entry, unsigned signs, float step, float *restrict out) {
    for (int j = 0; j < 8; j++) {
        float value = step * iq2_levels[entry >> (2 * j) & 3];
        out[j] = signs >> j & 1 ? -value : value;
    }
}

static inline void grid4(unsigned entry, const float *restrict levels, unsigned signs, float step,
                         float *restrict out) {
    for (int j = 0; j < 4; j++) {
        float value = step * levels[entry >> (3 * j) & 7];
        out[j] = signs >> j & 1 ? -value : value;
    }
}

void dequantise_iq2_xxs(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 66, out += SUPER) {
        float d = load_half(block);
        for (int run = 0; run < RUNS; run++) {
            const uint8_t *k = block + 2 + 8 * run;
            uint32_t rest = load_u32(k + 4);
            float step = d * ((float)(rest >> 28) + 0.5f) * 0.25f;
            for (int g = 0; g < 4; g++) {
                grid8(iq2_xxs_grid[k[g]], eight_signs(rest >> (7 * g)), step, out + run * RUN + 8 * g);
            }
        }
    }
}

void dequantise_iq2_xs(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 74, out += SUPER) {
        float d = load_half(block);
        for (int g = 0; g < SUPER / 8; g++) {
            unsigned word = load_u16(block + 2 + 2 * g);
            int scale = (block[66 + g / 4] >> (g / 2 % 2 * 4)) & 15; /* one per 16 elements */
            float step = d * ((float)scale + 0.5f) * 0.25f;
            grid8(iq2_xs_grid[word & 511], eight_signs(word >> 9), step, out + 8 * g);
        }
    }
}

void dequantise_iq3_xxs(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 98, out += SUPER) {
        float d = load_half(block);
        for (int run = 0; run < RUNS; run++) {
            const uint8_t *k = block + 2 + 8 * run;
            uint32_t rest = load_u32(block + 66 + 4 * run);
            float step = d * ((float)(rest >> 28) + 0.5f) * 0.5f;
            for (int g = 0; g < 8; g++) {
                unsigned signs = eight_signs(rest >> (g / 2 * 7)) >> (g % 2 * 4);
                grid4(iq3_xxs_grid[k[g]], iq3_xxs_levels, signs, step, out + run * RUN + 4 * g);
            }
        }
    }
}

void dequantise_iq3_s(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 110, out += SUPER) {
        float d = load_half(block);
        for (int g = 0; g < SUPER / 4; g++) {
            unsigned ninth = (unsigned)(block[66 + g / 8] >> (g % 8) & 1) << 8;
            unsigned signs = (unsigned)block[74 + g / 2] >> (g % 2 * 4);
            int scale = (block[106 + g / 16] >> (g / 8 % 2 * 4)) & 15; /* one per 32 elements */
            grid4(iq3_s_grid[block[2 + g] | ninth], iq3_s_levels, signs, d * (float)(1 + 2 * scale), out + 4 * g);
        }
    }
}
