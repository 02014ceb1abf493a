/* Counting converters: a ramp and a comparator, or a current-controlled oscillator whose periods are counted.
 *
 *   u = gain v + offset (+ noise),   code = clamp(round(u limit), -limit, limit),   limit = 2^(N-1) - 1
 * gain = 1 + gain_spread z0, offset = offset_LSB z1 / limit (z0, z1: numbers 0 and 1 of the instance): each column has
 * its own slope and its own start. round: nearest, half to even (a ramp that starts half a step late); truncate:
 * towards zero (an oscillator's counter sees whole periods only; aihwkit's time-stepped tile counts so too), which
 * widens code 0 to two steps.
 *
 * Closed forms: transition to code k at ((k - 1/2) / limit - offset) / gain, so a gain error g and an offset o move the
 * last transition by -(g + o) full scales and leave INL and DNL zero.
 * Sources: Khaddam-Aljameh et al., JSSC 2022 (converter of this kind, one per column); aihwkit 1.1, IR-drop tile.
 * Not modelled: curvature of the oscillator, metastability of the counter.
 */
#include "devices/adc_models.h"

enum { ROUND, TRUNCATE };
enum { GAIN, OFFSET, STATES };

struct ramp {
    struct constant gain_spread, offset_LSB, noise_LSB;
    int rounding;
};

static const char *const rounding_names[] = {"round", "truncate", NULL};

static const struct param rows[] = {
    CONVERTER_CONSTANT("gain_spread", "", 0, 1, "relative sd of the gain from converter to converter", ramp,
                       gain_spread),
    CONVERTER_CONSTANT("offset_LSB", "LSB", 0, 1000, "sd of the offset from converter to converter", ramp, offset_LSB),
    NOISE_ROW(ramp),
    {"rounding", PARAM_CHOICE, "", 0, 0, "round", "nearest code, or whole counts only (towards zero)",
     offsetof(struct ramp, rounding), rounding_names},
};

static double limit_of(int bits) { return converter_make(bits).limit; }

static size_t state_count(const void *params, int bits) {
    (void)params;
    (void)bits;
    return STATES;
}

static void make(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *state) {
    const struct ramp *p = params;
    float z[STATES];
    converter_draws(seed, where, instance, z, STATES);
    state[GAIN] = (float)(1 + p->gain_spread.value * (double)z[0]);
    state[OFFSET] = (float)(p->offset_LSB.value * (double)z[1] / limit_of(bits));
}

static double noise_sd(const void *params, int bits) {
    return ((const struct ramp *)params)->noise_LSB.value / limit_of(bits);
}

static void convert(const void *params, int bits, const float *state, size_t stride, const float *v, const float *z,
                    int32_t *codes, size_t n) {
    const struct ramp *p = params;
    const double limit = limit_of(bits), sd = noise_sd(params, bits);
    for (size_t i = 0; i < n; i++, state += stride) {
        const double noise = z ? sd * (double)z[i] : 0;
        const double count = ((double)state[GAIN] * (double)v[i] + (double)state[OFFSET] + noise) * limit;
        const double code = p->rounding == ROUND ? rint(count) : trunc(count);
        codes[i] = (int32_t)fmin(fmax(code, -limit), limit);
    }
}

static int32_t highest(const void *params, int bits) {
    (void)params;
    return converter_make(bits).limit;
}

static int32_t lowest(const void *params, int bits) { return -highest(params, bits); }

static void value(const void *params, int bits, double *step, double *shift) {
    (void)params;
    *step = 1.0 / limit_of(bits);
    *shift = 0;
}

static bool linear(const void *params, const float *state, float *gain, float *offset) {
    *gain = state[GAIN];
    *offset = state[OFFSET];
    return ((const struct ramp *)params)->rounding == ROUND;
}

const struct adc_model adc_ramp = {
    .name = "ramp",
    .about = "ramp or current-controlled oscillator with a counter: gain and offset per converter",
    .source = "Khaddam-Aljameh et al., IEEE JSSC 57, 2022; aihwkit 1.1 (truncating counter)",
    .params = PARAM_TABLE("ADC circuit ramp", rows),
    .params_bytes = sizeof(struct ramp),
    .state_count = state_count,
    .make = make,
    .convert = convert,
    .lowest = lowest,
    .highest = highest,
    .value = value,
    .linear = linear,
    .noise_sd = noise_sd,
};
