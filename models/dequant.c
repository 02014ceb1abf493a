/* Tensor types: names, sizes, and their values as fp32.
 *
 * A quantised type stores blocks of 32 or 256 elements: a binary16 scale d (and minimum m), small integers q.
 * Types of this file, blocks of 32: the 4 bits of q of element j are the lower half of byte j for j < 16, the upper
 * half of byte j - 16 else; h is bit j of a 32-bit word with the fifth bits.
 *
 *   Q4_0  | d | 16 bytes q        |    y = d (q - 8)
 *   Q4_1  | d | m | 16 bytes q    |    y = d q + m
 *   Q5_0  | d | h | 16 bytes q    |    y = d (q + 16 h - 16)
 *   Q5_1  | d | m | h | 16 bytes  |    y = d (q + 16 h) + m
 *   Q8_0  | d | 32 signed bytes   |    y = d q
 *
 * d has 11 significant bits, q at most 8: the product is exact in fp32, one rounding at most (the sum).
 * Blocks of 256: dequant_k.c, dequant_iq.c. Values are those of the `gguf` Python package, bit for bit.
 * Source of the layouts: ggml (https://github.com/ggml-org/ggml), ggml-common.h.
 *
 * Loops run over fixed counts and restricted pointers so that the compiler vectorises them.
 */
#include <stdio.h>
#include <string.h>

#include "models/files.h"

/* ---- floats ------------------------------------------------------------ */

static void dequantise_f32(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    memcpy(out, block, blocks * sizeof(float));
}

static void dequantise_f16(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t i = 0; i < blocks; i++) {
        out[i] = load_half(block + 2 * i);
    }
}

static void dequantise_bf16(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t i = 0; i < blocks; i++) {
        out[i] = f32_of_bf16(load_u16(block + 2 * i));
    }
}

/* ---- blocks of 32 ------------------------------------------------------------------------------------------- */

enum { HALF = 16, BLOCK = 32 };

static void dequantise_q4_0(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 18, out += BLOCK) {
        float d = load_half(block);
        for (int j = 0; j < HALF; j++) {
            out[j] = d * (float)((block[2 + j] & 15) - 8);
            out[HALF + j] = d * (float)((block[2 + j] >> 4) - 8);
        }
    }
}

static void dequantise_q4_1(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 20, out += BLOCK) {
        float d = load_half(block), m = load_half(block + 2);
        for (int j = 0; j < HALF; j++) {
            out[j] = d * (float)(block[4 + j] & 15) + m;
            out[HALF + j] = d * (float)(block[4 + j] >> 4) + m;
        }
    }
}

/* Fifth bits: bit j of the word, moved to bit 4. */
static inline int fifth_bit(uint32_t word, int j) { return (int)((word >> j) & 1) << 4; }

static void dequantise_q5_0(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 22, out += BLOCK) {
        float d = load_half(block);
        uint32_t h = load_u32(block + 2);
        for (int j = 0; j < HALF; j++) {
            out[j] = d * (float)(((block[6 + j] & 15) | fifth_bit(h, j)) - 16);
            out[HALF + j] = d * (float)(((block[6 + j] >> 4) | fifth_bit(h, HALF + j)) - 16);
        }
    }
}

static void dequantise_q5_1(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 24, out += BLOCK) {
        float d = load_half(block), m = load_half(block + 2);
        uint32_t h = load_u32(block + 4);
        for (int j = 0; j < HALF; j++) {
            out[j] = d * (float)((block[8 + j] & 15) | fifth_bit(h, j)) + m;
            out[HALF + j] = d * (float)((block[8 + j] >> 4) | fifth_bit(h, HALF + j)) + m;
        }
    }
}

static void dequantise_q8_0(const uint8_t *restrict block, size_t blocks, float *restrict out) {
    for (size_t b = 0; b < blocks; b++, block += 34, out += BLOCK) {
        float d = load_half(block);
        for (int j = 0; j < BLOCK; j++) {
            out[j] = d * (float)(int8_t)block[2 + j];
        }
    }
}

/* ---- the table ------------------------------------------------------------ */

struct format {
    const char *name;
    uint32_t ggml;          /* number of the type in GGUF files */
    size_t elements, bytes; /* of a block */
    int scales;             /* binary16 scales of a block, next to each other... */
    size_t scales_at;       /* ...from this byte on */
    void (*dequantise)(const uint8_t *restrict block, size_t blocks, float *restrict out);
};

static const struct format formats[TENSOR_TYPES] = {
    [TENSOR_F32] = {"F32", 0, 1, 4, 0, 0, dequantise_f32},
    [TENSOR_F16] = {"F16", 1, 1, 2, 0, 0, dequantise_f16},
    [TENSOR_BF16] = {"BF16", 30, 1, 2, 0, 0, dequantise_bf16},
    [TENSOR_Q4_0] = {"Q4_0", 2, 32, 18, 1, 0, dequantise_q4_0},
    [TENSOR_Q4_1] = {"Q4_1", 3, 32, 20, 2, 0, dequantise_q4_1},
    [TENSOR_Q5_0] = {"Q5_0", 6, 32, 22, 1, 0, dequantise_q5_0},
    [TENSOR_Q5_1] = {"Q5_1", 7, 32, 24, 2, 0, dequantise_q5_1},
    [TENSOR_Q8_0] = {"Q8_0", 8, 32, 34, 1, 0, dequantise_q8_0},
    [TENSOR_Q2_K] = {"Q2_K", 10, 256, 84, 2, 80, dequantise_q2_k},
    [TENSOR_Q3_K] = {"Q3_K", 11, 256, 110, 1, 108, dequantise_q3_k},
    [TENSOR_Q4_K] = {"Q4_K", 12, 256, 144, 2, 0, dequantise_q4_k},
    [TENSOR_Q5_K] = {"Q5_K", 13, 256, 176, 2, 0, dequantise_q5_k},
    [TENSOR_Q6_K] = {"Q6_K", 14, 256, 210, 1, 208, dequantise_q6_k},
    [TENSOR_IQ4_NL] = {"IQ4_NL", 20, 32, 18, 1, 0, dequantise_iq4_nl},
    [TENSOR_IQ4_XS] = {"IQ4_XS", 23, 256, 136, 1, 0, dequantise_iq4_xs},
    [TENSOR_IQ2_XXS] = {"IQ2_XXS", 16, 256, 66, 1, 0, dequantise_iq2_xxs},
    [TENSOR_IQ2_XS] = {"IQ2_XS", 17, 256, 74, 1, 0, dequantise_iq2_xs},
    [TENSOR_IQ3_XXS] = {"IQ3_XXS", 18, 256, 98, 1, 0, dequantise_iq3_xxs},
    [TENSOR_IQ3_S] = {"IQ3_S", 21, 256, 110, 1, 0, dequantise_iq3_s},
};

const char *tensor_type_name(enum tensor_type t) { return formats[t].name; }

size_t tensor_block_elements(enum tensor_type t) { return formats[t].elements; }

size_t tensor_block_bytes(enum tensor_type t) { return formats[t].bytes; }

void tensor_dequantise(enum tensor_type t, const void *blocks, size_t elements, float *out) {
    formats[t].dequantise(blocks, elements / formats[t].elements, out);
}

bool tensor_type_from_ggml(uint32_t number, enum tensor_type *out) {
    for (int t = 0; t < TENSOR_TYPES; t++) {
        if (formats[t].ggml == number) {
            *out = (enum tensor_type)t;
            return true;
        }
    }
    return false;
}

uint32_t tensor_type_to_ggml(enum tensor_type t) { return formats[t].ggml; }

void tensor_type_list(char *out, size_t bytes) {
    size_t used = 0;
    for (int t = 0; t < TENSOR_TYPES && used < bytes; t++) {
        int n =
            snprintf(out + used, bytes - used, "%s%s (%u)", t ? ", " : "", formats[t].name, (unsigned)formats[t].ggml);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* ---- finite? ------------------------------------------------------------------------------------------------- */

/* Index of the first 32-bit (16-bit) number whose exponent bits are all set; `count` if none. Looks at
 * chunks without leaving early, which vectorises; only a chunk with a hit is searched. */
enum { CHUNK = 4096 };

static size_t first_special_32(const uint8_t *data, size_t count) {
    for (size_t from = 0; from < count; from += CHUNK) {
        size_t n = count - from < CHUNK ? count - from : CHUNK;
        uint32_t hits = 0;
        for (size_t i = 0; i < n; i++) {
            hits |= (load_u32(data + 4 * (from + i)) & 0x7f800000u) == 0x7f800000u;
        }
        for (size_t i = 0; hits && i < n; i++) {
            if ((load_u32(data + 4 * (from + i)) & 0x7f800000u) == 0x7f800000u) {
                return from + i;
            }
        }
    }
    return count;
}

static size_t first_special_16(const uint8_t *data, size_t count, uint16_t exponent) {
    for (size_t from = 0; from < count; from += CHUNK) {
        size_t n = count - from < CHUNK ? count - from : CHUNK;
        uint16_t hits = 0;
        for (size_t i = 0; i < n; i++) {
            hits = (uint16_t)(hits | ((load_u16(data + 2 * (from + i)) & exponent) == exponent));
        }
        for (size_t i = 0; hits && i < n; i++) {
            if ((load_u16(data + 2 * (from + i)) & exponent) == exponent) {
                return from + i;
            }
        }
    }
    return count;
}

enum { HALF_EXPONENT = 0x7c00, BFLOAT_EXPONENT = 0x7f80 };

static size_t first_bad_block(const struct format *f, const uint8_t *data, size_t blocks) {
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *scale = data + b * f->bytes + f->scales_at;
        if (first_special_16(scale, (size_t)f->scales, HALF_EXPONENT) < (size_t)f->scales) {
            return b;
        }
    }
    return blocks;
}

/* A block of finite scales has finite elements: |d q| < 65504 x 2^13 is far below the largest fp32. */
enum status tensor_check_finite(const struct tensor *t, struct error *e) {
    const struct format *f = &formats[t->type];
    size_t blocks = (size_t)(t->bytes / f->bytes), bad;
    switch (t->type) {
    case TENSOR_F32: bad = first_special_32(t->data, blocks); break;
    case TENSOR_F16: bad = first_special_16(t->data, blocks, HALF_EXPONENT); break;
    case TENSOR_BF16: bad = first_special_16(t->data, blocks, BFLOAT_EXPONENT); break;
    default: bad = first_bad_block(f, t->data, blocks); break;
    }
    if (bad == blocks) {
        return OK;
    }
    const char *what = f->scales ? "a scale of the block is" : "the value is";
    return error_set(e, ERR_RUN, "tensor %.200s: element %zu (%s): %s infinite or not a number", t->name,
                     bad * f->elements, f->name, what);
}
