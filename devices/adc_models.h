/* Private to devices/: the converter circuits of the outputs, one file each, and what they share.
 *
 * Errors of an instance are drawn here: circuit number `instance` of `where` has DRAWS_PER_CONVERTER Gaussian numbers
 * of its own, number i for its i-th element. The order of the elements is said in each file.
 */
#ifndef MHO_DEVICES_ADC_MODELS_H
#define MHO_DEVICES_ADC_MODELS_H

#include <math.h>

#include "devices/adc.h"

extern const struct adc_model adc_ideal, adc_ramp, adc_sar, adc_pipeline, adc_cyclic, adc_flash, adc_table;

enum { DRAWS_PER_CONVERTER = 1024 };
/* z[0 .. count), count <= DRAWS_PER_CONVERTER. */
void converter_draws(uint64_t seed, uint64_t where, uint64_t instance, float *z, size_t count);

#define CONVERTER_CONSTANT(key, unit, low, high, help, type, member)                                                   \
    { key, PARAM_CONSTANT, unit, low, high, NULL, help, offsetof(struct type, member), NULL }
#define NOISE_ROW(type)                                                                                                \
    CONVERTER_CONSTANT("noise_LSB", "LSB", 0, 1000, "thermal noise at the input, sd per conversion", type, noise_LSB)
#define COMPARATOR_ROW(type)                                                                                           \
    CONVERTER_CONSTANT("comparator_offset", "", 0, 1, "sd of a comparator's offset, as a share of full scale", type,   \
                       comparator_offset)

/* The mid-rise convention (adc.h). */
int32_t mid_rise_lowest(const void *params, int bits);
int32_t mid_rise_highest(const void *params, int bits);
void mid_rise_value(const void *params, int bits, double *step, double *shift);

/* Voltage of value i, noise added. */
static inline double noisy_input(const float *v, const float *z, double noise_sd, size_t i) {
    return z ? (double)v[i] + noise_sd * (double)z[i] : (double)v[i];
}

/* How many of the 2^bits - 1 rising taps lie below v. */
static inline int32_t taps_below(const float *taps, int bits, double v) {
    int32_t count = 0;
    for (int32_t half = (int32_t)1 << (bits - 1); half > 0; half /= 2) {
        count += v > (double)taps[count + half - 1] ? half : 0;
    }
    return count;
}

/* Most values that a circuit converts side by side. */
enum { BATCH = 16 };

/* The instance of adc_sar whose elements have these standard normal deviations: cap_z [bits + 1], as in adc_sar.c. For
 * `make`, and for tests against another program's draws. */
void sar_state(const void *params, int bits, const float *cap_z, float comparator_z, float *state);

#endif
