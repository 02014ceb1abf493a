/* K types: super-blocks of 256 elements, binary16 scales d (and dmin) over small integer scales of sub-blocks.
 *
 *   sub-blocks of 16:
 *   Q2_K  | 16 bytes: s, n (4 bits each) | 64 bytes: q (2 bits) | d | dmin |          y = d s q - dmin n
 *   Q3_K  | 32 bytes: third bits h | 64 bytes: q (2 bits) | 12 bytes: s (6 bits) | d |  y = d (s - 32) (q + 4 h - 4)
 *   Q6_K  | 128 bytes: q (4 bits) | 64 bytes: upper 2 bits | 16 signed bytes: s | d |  y = d s (q - 32)
 *   sub-blocks of 32:
 *   Q4_K  | d | dmin | 12 bytes: s, n (6 bits each) | 128 bytes: q (4 bits) |          y = d s q - dmin n
 *   Q5_K  | d | dmin | 12 bytes: s, n | 32 bytes: fifth bits | 128 bytes: q (4 bits) |  y = d s q - dmin n
 *
 * Fields of 2 (4) bits: 32 bytes serve 4 (2) runs of 32 elements, run k in bits 2k (4k) and up. Single bits: 32 bytes
 * serve all 8 runs, run k in bit k. All products are exact in fp32 (11 + 6 + 6 bits); the difference is rounded once.
 * Source of the layouts: ggml (https://github.com/ggml-org/ggml), ggml-common.h; the `gguf` Python package.
 */
#include "models/files.h"

enum { RUN = 32, RUNS = 8, SUPER = RUN * RUNS, SUB = 16, SUBS = 16 };

void dequantise_q2_k(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 84, out += SUPER) {
        float d = load_half(block + 80), dmin = load_half(block + 82);
        for (int sub = 0; sub < SUBS; sub++) {
            const uint8_t *q = block + 16 + sub / 8 * RUN + sub % 2 * SUB;
            int shift = sub / 2 % 4 * 2;
            float step = d * (float)(block[sub] & 15), least = dmin * (float)(block[sub] >> 4);
            for (int j = 0; j < SUB; j++) {
                out[sub * SUB + j] = step * (float)((q[j] >> shift) & 3) - least;
            }
        }
    }
}

/* 16 scales of 6 bits: lower 4 bits of scale k in byte k % 8 (upper half from 8 on), upper 2 in byte 8 + k % 4. */
static inline int q3_k_scale(const uint8_t *packed, int k) {
    int low = (packed[k % 8] >> (k / 8 * 4)) & 15;
    int high = (packed[8 + k % 4] >> (k / 4 * 2)) & 3;
    return (low | high << 4) - 32;
}

void dequantise_q3_k(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 110, out += SUPER) {
        float d = load_half(block + 108);
        for (int sub = 0; sub < SUBS; sub++) {
            const uint8_t *q = block + 32 + sub / 8 * RUN + sub % 2 * SUB, *thirds = block + sub % 2 * SUB;
            int run = sub / 2, shift = run % 4 * 2;
            float step = d * (float)q3_k_scale(block + 96, sub);
            for (int j = 0; j < SUB; j++) {
                int third = (thirds[j] >> run & 1) << 2;
                out[sub * SUB + j] = step * (float)(((q[j] >> shift) & 3) + third - 4);
            }
        }
    }
}

/* 8 scales and 8 minima of 6 bits in 12 bytes, k < 4. Byte k: scale k; byte 4 + k: minimum k (lower 6 bits each).
 * Byte 8 + k: lower 4 bits of scale 4 + k and of minimum 4 + k; their upper 2 are the upper 2 of bytes k and 4 + k. */
struct scale_and_minimum {
    float scale, minimum;
};

static inline struct scale_and_minimum unpack_scale(const uint8_t *packed, int k) {
    if (k < 4) {
        return (struct scale_and_minimum){(float)(packed[k] & 63), (float)(packed[4 + k] & 63)};
    }
    int scale = (packed[4 + k] & 15) | (packed[k - 4] >> 6) << 4;
    int minimum = packed[4 + k] >> 4 | (packed[k] >> 6) << 4;
    return (struct scale_and_minimum){(float)scale, (float)minimum};
}

void dequantise_q4_k(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 144, out += SUPER) {
        float d = load_half(block), dmin = load_half(block + 2);
        for (int run = 0; run < RUNS; run++) {
            const uint8_t *q = block + 16 + run / 2 * RUN;
            int shift = run % 2 * 4;
            struct scale_and_minimum s = unpack_scale(block + 4, run);
            float step = d * s.scale, least = dmin * s.minimum;
            for (int j = 0; j < RUN; j++) {
                out[run * RUN + j] = step * (float)((q[j] >> shift) & 15) - least;
            }
        }
    }
}

void dequantise_q5_k(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 176, out += SUPER) {
        float d = load_half(block), dmin = load_half(block + 2);
        for (int run = 0; run < RUNS; run++) {
            const uint8_t *q = block + 48 + run / 2 * RUN, *fifths = block + 16;
            int shift = run % 2 * 4;
            struct scale_and_minimum s = unpack_scale(block + 4, run);
            float step = d * s.scale, least = dmin * s.minimum;
            for (int j = 0; j < RUN; j++) {
                int fifth = (fifths[j] >> run & 1) << 4;
                out[run * RUN + j] = step * (float)(((q[j] >> shift) & 15) | fifth) - least;
            }
        }
    }
}

/* Runs in halves of 128 elements: 64 bytes of q (runs 0, 1 lower, 2, 3 upper nibbles), 32 bytes of upper bits. */
void dequantise_q6_k(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 210, out += SUPER) {
        float d = load_half(block + 208);
        for (int sub = 0; sub < SUBS; sub++) {
            int run = sub / 2, shift = run % 4 / 2 * 4, high_shift = run % 4 * 2;
            const uint8_t *q = block + run / 4 * 64 + sub % 4 * SUB,
                          *high = block + 128 + run / 4 * RUN + sub % 2 * SUB;
            float step = d * (float)(int8_t)block[192 + sub];
            for (int j = 0; j < SUB; j++) {
                int value = ((q[j] >> shift) & 15) | ((high[j] >> high_shift) & 3) << 4;
                out[sub * SUB + j] = step * (float)(value - 32);
            }
        }
    }
}
