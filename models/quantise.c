/* From fp32 to the types of tensors that are written; the reverse of dequant.c, where the layouts are.
 *
 *   F16, BF16  to the nearest, ties to even
 *   Q8_0       d = max|x| / 127,                    q = round(x / d)
 *   Q4_0       d = x_m / -8, x_m the largest in size, q = min(15, floor(x / d + 8.5)): x_m itself becomes exactly -8 d
 *
 * d is stored as binary16, but q is found with d before that rounding; a block of zeros has d = 0. The same bytes as
 * those of ggml's reference quantisation (https://github.com/ggml-org/ggml, ggml-quants.c).
 */
#include <math.h>

#include "models/write_parts.h"

enum { BLOCK = 32, HALF = BLOCK / 2 };

static void store_u16(uint8_t *at, uint16_t value) { memcpy(at, &value, sizeof value); }

static void quantise_q8_0(const float *x, uint8_t *block) {
    float largest = 0.0f;
    for (int j = 0; j < BLOCK; j++) {
        largest = fmaxf(largest, fabsf(x[j]));
    }
    float d = largest / 127.0f, per_d = d > 0.0f ? 1.0f / d : 0.0f;
    store_u16(block, f16_of_f32(d));
    for (int j = 0; j < BLOCK; j++) {
        block[2 + j] = (uint8_t)(int8_t)roundf(x[j] * per_d);
    }
}

static void quantise_q4_0(const float *x, uint8_t *block) {
    float largest = 0.0f;
    for (int j = 0; j < BLOCK; j++) {
        largest = fabsf(x[j]) > fabsf(largest) ? x[j] : largest;
    }
    float d = largest / -8.0f, per_d = d < 0.0f || d > 0.0f ? 1.0f / d : 0.0f;
    uint8_t q[BLOCK];
    for (int j = 0; j < BLOCK; j++) {
        int level = (int)(x[j] * per_d + 8.5f);
        q[j] = (uint8_t)(level < 15 ? level : 15);
    }
    store_u16(block, f16_of_f32(d));
    for (int j = 0; j < HALF; j++) {
        block[2 + j] = (uint8_t)(q[j] | q[HALF + j] << 4);
    }
}

static void to_f16(const float *x, size_t count, uint8_t *out) {
    for (size_t i = 0; i < count; i++) {
        store_u16(out + 2 * i, f16_of_f32(x[i]));
    }
}

static void to_bf16(const float *x, size_t count, uint8_t *out) {
    for (size_t i = 0; i < count; i++) {
        store_u16(out + 2 * i, bf16_of_f32(x[i]));
    }
}

void tensor_quantise(enum tensor_type t, const float *values, size_t count, void *out) {
    uint8_t *block = out;
    switch (t) {
    case TENSOR_F16: to_f16(values, count, block); return;
    case TENSOR_BF16: to_bf16(values, count, block); return;
    case TENSOR_Q8_0: case TENSOR_Q4_0:
        for (size_t i = 0; i < count; i += BLOCK, block += tensor_block_bytes(t)) {
            (t == TENSOR_Q8_0 ? quantise_q8_0 : quantise_q4_0)(values + i, block);
        }
        return;
    default: memcpy(out, values, count * sizeof *values); return;
    }
}

void quantise_row(float *row, size_t count, int bits) {
    float largest = 0.0f, levels = (float)((1 << (bits - 1)) - 1);
    for (size_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(row[i]));
    }
    float scale = largest / levels;
    for (size_t i = 0; i < count && scale > 0.0f; i++) {
        row[i] = scale * nearbyintf(row[i] / scale);
    }
}
