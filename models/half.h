/* 16-bit floating point to fp32, exact for every one of the 65536 codes.
 *
 *   binary16  s eeeee mmmmmmmmmm   value = (-1)^s 2^(e-15) 1.m, e = 0: (-1)^s 2^-14 0.m, e = 31: infinity, NaN
 *   bfloat16  the upper half of an fp32
 *
 * Branch-free, so that loops over it vectorise on the plain machine. NaN payloads are kept.
 * Source: IEEE 754-2019 section 3.6 (binary16). Files are little endian; so must the host be.
 */
#ifndef MHO_MODELS_HALF_H
#define MHO_MODELS_HALF_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "models/ reads little-endian files in place: a big-endian host is not supported"
#endif

static inline float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float half_to_float(uint16_t half) {
    const uint32_t rebias = 112u << 23; /* 127 - 15 */
    uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t normal = magnitude + rebias;
    uint32_t special = normal + rebias; /* exponent 31 becomes 255 */
    /* Subnormal: put 0.m behind a leading 1 of weight 2^-14 and take that 1 away again; exact. */
    float small = float_from_bits(magnitude + (113u << 23)) - float_from_bits(113u << 23);
    uint32_t subnormal;
    memcpy(&subnormal, &small, sizeof subnormal);
    uint32_t bits = magnitude >= (0x7c00u << 13) ? special : normal;
    bits = magnitude < (0x0400u << 13) ? subnormal : bits;
    return float_from_bits(sign | bits);
}

static inline float bfloat_to_float(uint16_t bfloat) { return float_from_bits((uint32_t)bfloat << 16); }

/* Loads from any address: the data of a file need not be aligned. */
static inline uint16_t load_u16(const void *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t load_u32(const void *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t load_u64(const void *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline float load_half(const void *at) { return half_to_float(load_u16(at)); }

#endif
