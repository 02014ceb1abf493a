/* See vector_math.h. */
#include "models/vector_math.h"

#include <math.h>
#include <stdint.h>

#include "models/exp_inline.h"

enum { LANES = 8 };

void vector_exp(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] = exp_one(x[i]);
    }
}

static float largest(const float *x, size_t n) {
    float lane[LANES];
    for (size_t j = 0; j < LANES; j++) {
        lane[j] = x[0];
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
        }
    }
    for (; i < n; i++) {
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    }
    for (size_t j = 1; j < LANES; j++) {
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    }
    return lane[0];
}

static double lanes_total(const double lane[LANES]) {
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

double vector_sum_exp(const float *x, size_t n, float shift) {
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += (double)exp_one(x[i + j] - shift);
        }
    }
    for (; i < n; i++) {
        lane[0] += (double)exp_one(x[i] - shift);
    }
    return lanes_total(lane);
}

static double vector_sum(const float *x, size_t n) {
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += (double)x[i + j];
        }
    }
    for (; i < n; i++) {
        lane[0] += (double)x[i];
    }
    return lanes_total(lane);
}

static double sum_of_squares(const float *x, size_t n, double mean) {
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            double d = (double)x[i + j] - mean;
            lane[j] += d * d;
        }
    }
    for (; i < n; i++) {
        double d = (double)x[i] - mean;
        lane[0] += d * d;
    }
    return lanes_total(lane);
}

void vector_softmax(float *x, size_t n) {
    float top = largest(x, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = exp_one(x[i] - top);
    }
    float scale = (float)(1.0 / vector_sum(x, n));
    for (size_t i = 0; i < n; i++) {
        x[i] *= scale;
    }
}

void vector_soft_cap(float *x, size_t n, float cap) {
    float inverse = 1.0f / cap;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * inverse;
        float t = exp_one(-2.0f * fabsf(v));
        x[i] = copysignf(cap * ((1.0f - t) / (1.0f + t)), v);
    }
}

void vector_silu_product(const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = gate[i] / (1.0f + exp_one(-gate[i])) * up[i];
    }
}

static inline float gelu_one(float v) {
    const float twice_root_2_over_pi = 1.59576912f;
    return v / (1.0f + exp_one(-twice_root_2_over_pi * (v + 0.044715f * v * v * v)));
}

void vector_gelu_product(const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = gelu_one(gate[i]) * up[i];
    }
}

void vector_gelu(const float *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = gelu_one(x[i]);
    }
}

void vector_rms_norm(const float *x, const float *weight, size_t n, double eps, float *out) {
    float scale = (float)(1.0 / sqrt(sum_of_squares(x, n, 0.0) / (double)n + eps));
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] * scale * weight[i];
    }
}

void vector_layer_norm(const float *x, const float *weight, const float *bias, size_t n, double eps, float *out) {
    double mean = vector_sum(x, n) / (double)n;
    double scale = 1.0 / sqrt(sum_of_squares(x, n, mean) / (double)n + eps);
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)(((double)x[i] - mean) * scale) * weight[i] + bias[i];
    }
}

void vector_add(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}
