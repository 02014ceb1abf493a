/* Private to models/: exp of one number in fp32, for loops that compilers turn into vector code. See vector_math.h. */
#ifndef MHO_MODELS_EXP_INLINE_H
#define MHO_MODELS_EXP_INLINE_H

#include <stdint.h>
#include <string.h>

#define EXP_LIMIT 87.0f

/* x with |x| cut to EXP_LIMIT; on the bits, because compilers do not vectorise a choice between floats that could
 * trap. */
static inline float limit_magnitude(float x) {
    const float limit = EXP_LIMIT;
    int32_t bits, limit_bits;
    memcpy(&bits, &x, sizeof bits);
    memcpy(&limit_bits, &limit, sizeof limit_bits);
    int32_t magnitude = bits & INT32_MAX, sign = bits & INT32_MIN;
    magnitude = magnitude < limit_bits ? magnitude : limit_bits;
    bits = sign | magnitude;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float exp_one(float argument) {
    float x = limit_magnitude(argument);
    /* Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits. */
    const float rounder = 12582912.0f;
    float shifted = x * 1.44269504f + rounder;
    float n = shifted - rounder;
    /* ln 2 in two parts: the first has few bits, so that n times it is exact. */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = (p * r) * r + r + 1.0f;
    int32_t bits, power;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&power, &shifted, sizeof power);
    bits += (int32_t)((uint32_t)power << 23);
    memcpy(&p, &bits, sizeof p);
    return p + (argument - argument); /* 0, or NaN for what is not finite */
}

#endif
