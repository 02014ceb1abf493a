/* Digital-to-analog converters of the inputs: one circuit = one file with one `const struct dac_model` + one row in
 * dac.c.
 *
 * A row's converter maps a code -limit..limit (limit = 2^(N-1) - 1; magnitude and sign, as the tile drives them) to a
 * level in units of full scale: the ideal level is code / limit. Errors belong to the instance (one per row of a tile),
 * drawn once (`where` as in adc.h); pulse-width jitter and input noise are per conversion: the caller adds noise_sd
 * times a standard normal number.
 */
#ifndef MHO_DEVICES_DAC_H
#define MHO_DEVICES_DAC_H

#include "devices/device.h"

struct dac;
struct dac_model {
    const char *name, *about, *source;
    struct param_table params;
    size_t params_bytes;
    /* level[0..limit] for the magnitudes of one instance, in units of full scale. */
    void (*levels)(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *level);
    bool pulse; /* drives a time, not a voltage: current is taken at one voltage */
    /* Optional: sd per conversion in units of full scale: input noise of a voltage, jitter of a pulse's length (a pulse
     * of code 0 has none). NULL or 0: none. */
    double (*noise_sd)(const void *params, int bits);
};
extern const struct dac_model *const dac_models[]; /* NULL-terminated */
const struct dac_model *dac_model_find(const char *name, struct error *e);

/* From a map {model: NAME, ...}; map NULL: ideal. Immutable, arena-owned. */
enum status dac_create(const struct config_node *map, const char *prefix, int bits, struct arena *a,
                       const struct dac **out, struct error *e);
const struct dac_model *dac_model_of(const struct dac *d);
const void *dac_params(const struct dac *d);
enum status dac_dump(const struct dac *d, struct arena *a, struct config_node *map, struct error *e);
int dac_bits(const struct dac *d);
double dac_noise_sd(const struct dac *d); /* 0: none */
bool dac_is_ideal(const struct dac *d); /* levels are code / limit and nothing is drawn */

#endif
