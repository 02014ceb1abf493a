/* Logarithm and exponential for loops over devices: plain C without branches or calls, so that a compiler turns a loop
 * over them into vector code, and with one rounding per written operation, so that every machine gives the same bits.
 *
 * Errors, over the whole stated range, against double (tests/test_devices.c measures them):
 *   vector_log: |error| <= 2e-7 + 1.2e-7 |ln x|   for normal x > 0
 *   vector_exp: relative error <= 3e-7            for -87 <= x <= 88; below, the value at -87
 */
#ifndef MHO_DEVICES_VECTOR_MATH_H
#define MHO_DEVICES_VECTOR_MATH_H

#include <stdint.h>
#include <string.h>

/* x = 2^k m with m in [1/sqrt 2, sqrt 2); ln m = 2 artanh(s), s = (m-1)/(m+1), |s| <= 0.172: five terms of its
 * series. */
static inline float vector_log(float x) {
    int32_t bits, reduced;
    memcpy(&bits, &x, sizeof bits);
    int32_t k = (bits - 0x3f3504f3) >> 23; /* 0x3f3504f3 = 1/sqrt 2 */
    reduced = bits - k * (1 << 23);
    float m;
    memcpy(&m, &reduced, sizeof m);
    float s = (m - 1.0f) / (m + 1.0f);
    float z = s * s;
    float series = 2.0f + z * (0.666666667f + z * (0.4f + z * (0.285714286f + z * 0.222222222f)));
    return (float)k * 0.693147181f + s * series;
}

/* x = k ln 2 + r, |r| <= ln 2 / 2; e^r by its series to r^7; ln 2 in two parts so that r keeps its low bits. */
static inline float vector_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 2^23: the sum's low bits are the nearest integer */
    float k = shifted - 12582912.0f;
    float r = (x - k * 0.693145752f) - k * 1.42860677e-6f;
    float series =
        1.0f +
        r * (1.0f +
             r * (0.5f + r * (0.166666667f +
                              r * (0.0416666667f + r * (8.33333333e-3f + r * (1.38888889e-3f + r * 1.98412698e-4f))))));
    int32_t power;
    memcpy(&power, &shifted, sizeof power);
    power = (int32_t)((uint32_t)(power - 0x4b400000 + 127) << 23); /* 0x4b400000 = 1.5 2^23 */
    float scale;
    memcpy(&scale, &power, sizeof scale);
    return series * scale;
}

#endif
