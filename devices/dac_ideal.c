/* The ideal input converter: level = code / limit, limit = 2^(N-1) - 1. Nothing is drawn and nothing is noisy. Serves
 * every input coding. */
#include "devices/dac_models.h"

void ideal_levels(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *level) {
    (void)params;
    (void)seed;
    (void)where;
    (void)instance;
    const int limit = converter_make(bits).limit;
    for (int k = 0; k <= limit; k++) {
        level[k] = (float)((double)k / limit);
    }
}

const struct dac_model dac_ideal = {
    .name = "ideal",
    .about = "equal steps; no error, no noise",
    .source = "uniform quantiser of aihwkit-lightning",
    .params = {"DAC circuit ideal", NULL, 0},
    .levels = ideal_levels,
};
