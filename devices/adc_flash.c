/* Flash converter: 2^N - 1 comparators on the taps of a string of 2^N resistors, all at once.
 *
 *   t_k = 2 sum_(i <= k) R_i / sum R - 1 + comparator_offset z,   R_i = 1 + sigma z_i,   k = 1 .. 2^N - 1
 * The code is the number of comparators that see v above their tap (a counter behind them, so that a bubble in the
 * thermometer code costs no more than the comparator that made it): the taps sorted, and a search among them.
 *
 * Closed form: ladder errors are a bridge, fixed at both ends: with n = 2^N, sd of t_k in LSB (2 / n of full scale) is
 * sigma sqrt(k (n - k) / n), largest in the middle; DNL: sigma sqrt(1 - 1/n).
 * State: the 2^N - 1 taps (so at most 8 bits). Draws: 2^N resistors, then 2^N - 1 comparators.
 * Not modelled: bowing by the comparators' input currents, metastability.
 */

#include "base/sort.h"
#include "devices/adc_models.h"

enum { MOST_BITS = 8 };

struct flash {
    struct constant resistor_mismatch, comparator_offset, noise_LSB;
};

static const struct param rows[] = {
    CONVERTER_CONSTANT("resistor_mismatch", "", 0, 0.2, "relative sd of a resistor of the ladder", flash,
                       resistor_mismatch),
    COMPARATOR_ROW(flash),
    NOISE_ROW(flash),
};

static size_t state_count(const void *params, int bits) {
    (void)params;
    return ((size_t)1 << bits) - 1;
}

static void make(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *state) {
    const struct flash *p = params;
    const size_t resistors = (size_t)1 << bits, taps = resistors - 1;
    float z[2 << MOST_BITS];
    double below[1 << MOST_BITS] = {0}, total = 0;
    converter_draws(seed, where, instance, z, resistors + taps);
    for (size_t i = 0; i < resistors; i++) {
        total += 1 + p->resistor_mismatch.value * (double)z[i];
        below[i] = total;
    }
    for (size_t k = 0; k < taps; k++) {
        const double offset = p->comparator_offset.value * (double)z[resistors + k];
        state[k] = (float)(2 * below[k] / total - 1 + offset);
    }
    sort_floats(state, taps);
}

static double noise_sd(const void *params, int bits) {
    return ldexp(((const struct flash *)params)->noise_LSB.value, 1 - bits);
}

static void convert(const void *params, int bits, const float *state, size_t stride, const float *v, const float *z,
                    int32_t *codes, size_t n) {
    const double sd = noise_sd(params, bits);
    for (size_t i = 0; i < n; i++) {
        codes[i] = taps_below(state + i * stride, bits, noisy_input(v, z, sd, i)) - ((int32_t)1 << (bits - 1));
    }
}

const struct adc_model adc_flash = {
    .name = "flash",
    .about = "one comparator per threshold on a resistor ladder",
    .source = "ladder statistics: Pelgrom et al., IEEE JSSC 24, 1989 (mismatch of equal elements; recalled)",
    .params = PARAM_TABLE("ADC circuit flash", rows),
    .params_bytes = sizeof(struct flash),
    .most_bits = MOST_BITS,
    .state_count = state_count,
    .make = make,
    .convert = convert,
    .lowest = mid_rise_lowest,
    .highest = mid_rise_highest,
    .value = mid_rise_value,
    .noise_sd = noise_sd,
};
