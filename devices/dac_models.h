/* Private to devices/: the converter circuits of the inputs, one file each (see adc_models.h for what both sides
 * share). */
#ifndef MHO_DEVICES_DAC_MODELS_H
#define MHO_DEVICES_DAC_MODELS_H

#include "devices/adc_models.h"
#include "devices/dac.h"

extern const struct dac_model dac_ideal, dac_r_2r, dac_c_2c, dac_pulse_width;

/* level[k] = k / limit, k = 0 .. limit */
void ideal_levels(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *level);

#endif
