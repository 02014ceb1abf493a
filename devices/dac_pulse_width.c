/* Pulse-width input: code k holds the read voltage for k of limit clock periods. The length is exact but for the jitter
 * of its edges, which is drawn for every pulse: sd = jitter_LSB / limit of full scale (one LSB = one clock period). No
 * pulse, no jitter. Not modelled: rise and fall times, skew between rows. */
#include "devices/dac_models.h"

struct pulse {
    struct constant jitter_LSB;
};

static const struct param rows[] = {
    CONVERTER_CONSTANT("jitter_LSB", "LSB", 0, 1000, "sd of a pulse's length, in clock periods", pulse, jitter_LSB),
};

static double noise_sd(const void *params, int bits) {
    return ((const struct pulse *)params)->jitter_LSB.value / converter_make(bits).limit;
}

const struct dac_model dac_pulse_width = {
    .name = "pulse_width",
    .about = "a pulse of so many clock periods, with jitter",
    .source = "design",
    .params = PARAM_TABLE("DAC circuit pulse_width", rows),
    .params_bytes = sizeof(struct pulse),
    .levels = ideal_levels,
    .pulse = true,
    .noise_sd = noise_sd,
};
