/* Half precision and single, one number at a time: IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction bits) and
 * bfloat16 (the upper half of a binary32). To single: exact. From single: to the nearest, ties to the even one; what is
 * too large becomes infinite. Subnormals, infinities and NaN included; the payload of a NaN is kept in the upper bits.
 */
#ifndef MHO_BASE_HALF_H
#define MHO_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float f32_of_bf16(uint16_t h) { return float_of_bits((uint32_t)h << 16); }

/* Without branches, so that loops over it vectorise on the plain machine. A NaN becomes quiet, as the hardware does. */
static inline float f32_of_f16(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t magnitude = (uint32_t)(h & 0x7fffu) << 13;
    const uint32_t normal = magnitude + 0x38000000u; /* bias 15 becomes 127 */
    const uint32_t quiet = magnitude > 0x0f800000u ? 0x00400000u : 0u;
    /* Subnormal: the fraction behind a leading 1 of weight 2^-14, and that 1 taken away again: exact. */
    const uint32_t small = bits_of_float(float_of_bits(magnitude + 0x38800000u) - 0x1p-14f);
    const uint32_t finite = magnitude < 0x00800000u ? small : normal;
    return float_of_bits(sign | (magnitude >= 0x0f800000u ? 0x7f800000u | quiet | magnitude : finite));
}

static inline uint16_t bf16_of_f32(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u); /* stays a NaN, a quiet one */
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline uint16_t f16_of_f32(float value) {
    const uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    }
    if (magnitude >= 0x477ff000u) { /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) { /* below 2^-14: a sum with 0.5, whose last bit is 2^-24, rounds to subnormals */
        return (uint16_t)(sign | (bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000u));
    }
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

#endif
