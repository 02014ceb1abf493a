/* Analog-to-digital converters: one circuit = one file with one `const struct adc_model` + one row in adc.c.
 *
 * A converter maps v, in units of its full scale (-1..1), to a signed code. `bits` = N; limit = 2^(N-1) - 1 for
 * symmetric circuits (ideal, ramp: codes -limit..limit, step 1/limit); other circuits say their own code range and what
 * a code is worth (value of a code in units of full scale). A circuit's errors (mismatch, gain, offset) belong to the
 * instance: drawn once from (seed, RANDOM_CONVERTER, where, instance), kept as a few floats. Noise (thermal,
 * comparator) is a standard normal number per conversion that the caller hands in, so that it is a function of (seed,
 * what, where, when).
 */
#ifndef MHO_DEVICES_ADC_H
#define MHO_DEVICES_ADC_H

#include "devices/device.h"

struct adc;
struct adc_model {
    const char *name, *about, *source;
    struct param_table params;
    size_t params_bytes;
    enum status (*check)(const void *params, int bits, struct error *e); /* optional */
    /* Number of floats of one instance; 0: all instances are alike. */
    size_t (*state_count)(const void *params, int bits);
    void (*make)(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *state);
    /* codes of n values of one instance; z: standard normal numbers, one per value, or NULL (no noise). */
    void (*convert)(const void *params, int bits, const float *state, const float *v, const float *z, int32_t *codes,
                    size_t n);
    int32_t (*lowest)(const void *params, int bits);
    int32_t (*highest)(const void *params, int bits);
    /* Value of code c in units of full scale: value = (c + shift) x step. */
    void (*value)(const void *params, int bits, double *step, double *shift);
    /* Optional: circuits that are the ideal converter behind v -> gain v + offset. NULL: not linear. */
    void (*linear)(const void *params, const float *state, float *gain, float *offset);
    bool (*noisy)(const void *params); /* wants z */
};
extern const struct adc_model *const adc_models[]; /* NULL-terminated */
const struct adc_model *adc_model_find(const char *name, struct error *e);

/* From a map {model: NAME, ...}; map NULL: ideal. Immutable, arena-owned. */
enum status adc_create(const struct config_node *map, const char *prefix, int bits, struct arena *a,
                       const struct adc **out, struct error *e);
const struct adc_model *adc_model_of(const struct adc *c);
const void *adc_params(const struct adc *c);
int adc_bits(const struct adc *c);
enum status adc_dump(const struct adc *c, struct arena *a, struct config_node *map, struct error *e);

/* What a test bench measures: thresholds between codes, found by bisection on the instance. transitions_out
 * [highest - lowest]: smallest v (units of full scale) that gives a code > lowest + k; INL and DNL in LSB (end-point
 * fit), codes that never appear. For tests, `device`-level reports and pictures. */
struct adc_linearity {
    double inl_max_lsb, dnl_max_lsb;
    uint32_t missing_codes;
};
enum status adc_measure(const struct adc *c, uint64_t seed, uint64_t where, uint64_t instance, double *transitions,
                        double *inl_lsb, double *dnl_lsb, struct adc_linearity *summary, struct error *e);

#endif
