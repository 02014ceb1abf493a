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

/* Low 8 bits of `where` (matrix << 8 | draw) of all converter draws, so that no two of them share a number. */
enum converter_draw { DRAW_ADC, DRAW_ADC_NOISE, DRAW_DAC, DRAW_DAC_NOISE };

struct adc;
struct adc_model {
    const char *name, *about, *source;
    struct param_table params;
    size_t params_bytes;
    int most_bits; /* that it can be built for; 0: any */
    /* Optional: relations between parameters, and what is made from them once (a table from a file: arena-owned). */
    enum status (*prepare)(void *params, int bits, struct arena *a, struct error *e);
    /* Optional: number of floats of one instance; NULL or 0: all instances are alike, state is NULL. */
    size_t (*state_count)(const void *params, int bits);
    /* There where state_count is. */
    void (*make)(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *state);
    /* codes of n values. state: of the first value's instance, state + stride the next value's (0: all are of one).
     * z: standard normal numbers, one per value, or NULL (no noise). */
    void (*convert)(const void *params, int bits, const float *state, size_t stride, const float *v, const float *z,
                    int32_t *codes, size_t n);
    int32_t (*lowest)(const void *params, int bits);
    int32_t (*highest)(const void *params, int bits);
    /* Value of code c in units of full scale: value = (c + shift) x step. */
    void (*value)(const void *params, int bits, double *step, double *shift);
    /* Optional: gain and offset of circuits that are the ideal converter behind v -> gain v + offset (+ noise). False:
     * with these parameters the circuit is not of this kind. NULL: never is. */
    bool (*linear)(const void *params, const float *state, float *gain, float *offset);
    /* Optional: sd of the thermal noise at the input in units of full scale, the factor of z. NULL or 0: no noise. */
    double (*noise_sd)(const void *params, int bits);
};
extern const struct adc_model *const adc_models[]; /* NULL-terminated */
const struct adc_model *adc_model_find(const char *name, struct error *e);

/* Whether such a converter can be built: the bits are a key of their own, beside the circuit. */
enum status adc_check_bits(const struct adc_model *m, int bits, struct error *e);

/* From a map {model: NAME, ...}; map NULL: ideal. Immutable, arena-owned. */
enum status adc_create(const struct config_node *map, const char *prefix, int bits, struct arena *a,
                       const struct adc **out, struct error *e);
const struct adc_model *adc_model_of(const struct adc *c);
const void *adc_params(const struct adc *c);
int adc_bits(const struct adc *c);
bool adc_is_ideal(const struct adc *c); /* the codes of converter_code, nothing drawn */
size_t adc_state_count(const struct adc *c); /* floats per instance */
double adc_noise_sd(const struct adc *c);    /* 0: none */
/* The range that one instance can encode, in units of full scale: one of its steps below its first transition to one
 * above its last (as in adc_measure; its step: their distance / their number). A conversion saturates when the value
 * that reaches the quantiser, noise included, lies at an end of it or beyond: there the error of an ideal converter
 * exceeds half a step. Gain, offset and mismatch move the range; this holds for every circuit. */
void adc_range(const struct adc *c, const float *state, float *low, float *high);
enum status adc_dump(const struct adc *c, struct arena *a, struct config_node *map, struct error *e);

/* What a test bench measures. Any array may be NULL; n = highest - lowest.
 *   transitions [n]  smallest v (units of full scale, -2 to 2) that gives a code > lowest + k; 2 where none does
 *   inl_lsb [n]      distance of a transition from the line through the first and the last one, in steps of that line
 *   dnl_lsb [n - 1]  width of the code between two transitions in the same steps, less 1
 * missing_codes: codes that never appear. For tests, `device`-level reports and pictures. */
struct adc_linearity {
    double inl_max_lsb, dnl_max_lsb;
    uint32_t missing_codes;
};
enum status adc_measure(const struct adc *c, uint64_t seed, uint64_t where, uint64_t instance, double *transitions,
                        double *inl_lsb, double *dnl_lsb, struct adc_linearity *summary, struct error *e);

#endif
