/* The element-wise arithmetic of the transformer against double-precision library functions, at the bounds of
 * vector_math.h. */
#include <math.h>
#include <string.h>

#include "models/vector_math.h"
#include "tests/suite.h"

enum { POINTS = 20001 };

static void exp_is_as_good_as_stated(void **state) {
    (void)state;
    static float x[POINTS], y[POINTS];
    double worst = 0.0;
    for (int i = 0; i < POINTS; i++) {
        x[i] = y[i] = -87.0f + 174.0f * (float)i / (POINTS - 1);
    }
    vector_exp(y, POINTS);
    for (int i = 0; i < POINTS; i++) {
        worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1.0));
    }
    assert_true(worst > 1e-8); /* the measure itself works */
    assert_true(worst <= EXP_ERROR);
    float edges[] = {-1e30f, 0.0f, -0.0f, 1e30f, NAN, INFINITY};
    vector_exp(edges, 6);
    assert_near(edges[0], 0.0, 2e-38);
    assert_true(edges[1] == 1.0f && edges[2] == 1.0f);
    assert_true(isfinite(edges[3]) && edges[3] > 1e37f);
    assert_true(isnan(edges[4]) && isnan(edges[5]));
}

static double gelu(double v) { return 0.5 * v * (1.0 + tanh(sqrt(2.0 / M_PI) * (v + 0.044715 * v * v * v))); }

/* SiLU and GELU: relative 4e-7 of the argument: one exponential, a sum and a division, each half an ulp. */
static void activations(void **state) {
    (void)state;
    enum { N = 4003 };
    static float gate[N], up[N], out[N];
    for (int i = 0; i < N; i++) {
        gate[i] = -20.0f + 40.0f * (float)i / N;
        up[i] = (float)(i % 7) - 3.0f;
    }
    vector_silu_product(gate, up, N, out);
    for (int i = 0; i < N; i++) {
        assert_near(out[i], (double)gate[i] / (1.0 + exp(-(double)gate[i])) * (double)up[i], 4e-7 * 20 * 3);
    }
    vector_gelu_product(gate, up, N, out);
    for (int i = 0; i < N; i++) {
        assert_near(out[i], gelu((double)gate[i]) * (double)up[i], 6e-7 * 20 * 3);
    }
    vector_gelu(gate, N, out);
    for (int i = 0; i < N; i++) {
        assert_near(out[i], gelu((double)gate[i]), 6e-7 * 20);
    }
}

static void soft_cap_is_a_scaled_tanh(void **state) {
    (void)state;
    enum { N = 1001 };
    static float x[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = y[i] = -200.0f + 400.0f * (float)i / (N - 1);
    }
    vector_soft_cap(y, N, 30.0f);
    for (int i = 0; i < N; i++) {
        assert_near(y[i], 30.0 * tanh((double)x[i] / 30.0), 4e-7 * 30.0);
    }
    assert_true(y[0] < -29.99f && y[N - 1] > 29.99f);
}

static void softmax_at_every_length(void **state) {
    (void)state;
    for (size_t n = 1; n <= 40; n++) {
        float x[40];
        double expected[40], sum = 0.0, total = 0.0;
        for (size_t i = 0; i < n; i++) {
            x[i] = 5.0f * sinf((float)(i * i + n));
            sum += expected[i] = exp((double)x[i]);
        }
        assert_near(vector_sum_exp(x, n, 1.0f), sum * exp(-1.0), 3e-7 * sum);
        vector_softmax(x, n);
        for (size_t i = 0; i < n; i++) {
            assert_near(x[i], expected[i] / sum, 6e-7); /* argument rounded to 24 bits of 10, then the exponential */
            total += (double)x[i];
        }
        assert_near(total, 1.0, 1e-6);
    }
}

static void norms(void **state) {
    (void)state;
    for (size_t n = 1; n <= 37; n += 4) {
        float x[40], weight[40], bias[40], out[40];
        double mean = 0.0, squares = 0.0, variance = 0.0;
        for (size_t i = 0; i < n; i++) {
            x[i] = 3.0f + 2.0f * cosf((float)(7 * i + n));
            weight[i] = 1.0f + 0.1f * (float)i;
            bias[i] = 0.5f - 0.05f * (float)i;
            mean += (double)x[i] / (double)n;
            squares += (double)x[i] * (double)x[i] / (double)n;
        }
        for (size_t i = 0; i < n; i++) {
            variance += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
        }
        vector_rms_norm(x, weight, n, 1e-5, out);
        for (size_t i = 0; i < n; i++) {
            assert_near(out[i], (double)x[i] / sqrt(squares + 1e-5) * (double)weight[i], 2e-6);
        }
        vector_layer_norm(x, weight, bias, n, 1e-5, out);
        for (size_t i = 0; i < n; i++) {
            assert_near(out[i], ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)weight[i] + (double)bias[i],
                        4e-6);
        }
        memcpy(out, x, sizeof out);
        vector_add(out, bias, n);
        assert_true(out[n - 1] == x[n - 1] + bias[n - 1]);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(exp_is_as_good_as_stated),
    cmocka_unit_test(activations),
    cmocka_unit_test(soft_cap_is_a_scaled_tanh),
    cmocka_unit_test(softmax_at_every_length),
    cmocka_unit_test(norms),
};

const struct test_suite suite_vector_math = {"vector_math", tests, sizeof tests / sizeof tests[0]};
