/* The ideal output converter: code = clamp(round half to even(v limit), -limit, limit), limit = 2^(N-1) - 1, the codes
 * of converter_code. Nothing is drawn and nothing is noisy.
 */
#include "devices/adc_models.h"

static void convert(const void *params, int bits, const float *state, size_t stride, const float *v, const float *z,
                    int32_t *codes, size_t n) {
    (void)params;
    (void)state;
    (void)stride;
    (void)z;
    const struct converter c = converter_make(bits);
    for (size_t i = 0; i < n; i++) {
        codes[i] = converter_code(c, (double)v[i], 1.0, NULL);
    }
}

static int32_t highest(const void *params, int bits) {
    (void)params;
    return converter_make(bits).limit;
}

static int32_t lowest(const void *params, int bits) { return -highest(params, bits); }

static void value(const void *params, int bits, double *step, double *shift) {
    *step = 1.0 / highest(params, bits);
    *shift = 0;
}

static bool linear(const void *params, const float *state, float *gain, float *offset) {
    (void)params;
    (void)state;
    *gain = 1;
    *offset = 0;
    return true;
}

const struct adc_model adc_ideal = {
    .name = "ideal",
    .about = "rounds half to even, clamps; no error, no noise",
    .source = "uniform quantiser of aihwkit-lightning",
    .params = {"ADC circuit ideal", NULL, 0},
    .convert = convert,
    .lowest = lowest,
    .highest = highest,
    .value = value,
    .linear = linear,
};
