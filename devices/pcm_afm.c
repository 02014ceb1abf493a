/* The weight noise with which the Analog Foundation Models were evaluated: programming noise of the 14 nm 64-core PCM
 * chip, as a polynomial of the signed weight of a whole differential pair.
 *
 * Buechel et al., "Analog Foundation Models", NeurIPS 2025 (arXiv 2505.09663), published evaluation script. With the
 * target in units of 180 = g_max, one normal number xi per pair:
 *   |g| <  0.6                 g' = 0 exactly
 *   0.6 <= |g| <= 52.5         g' = g + sigma_OD(|g|) xi     one device per polarity
 *   |g| >  52.5                g' = g + sigma_TD(|g|) xi     two devices per polarity
 *   sigma(g) = c0 + c1 g + c2 g^2 + c3 g^3
 * g' may change sign and may exceed g_max, as there. The statistics are of the pair, so the targets are signed and
 * only the encoding signed_unit fits (cell_common.pair_statistics).
 * Differences from the script: it rounds sigma to half precision (relative 5e-4); here it is single precision. It
 * draws a second number for |g| > 52.5; one is the same distribution.
 * Not modelled, as there: drift, read noise, limits of the conductance, time. g_max in siemens sets the current only.
 */
#include <math.h>

#include "base/random.h"
#include "devices/models.h"
#include "devices/fits.h"

struct afm {
    struct constant g_max_S;
    struct constant g_max_units, zero_below_units, two_devices_above_units;
    struct param_numbers sd_one_device, sd_two_devices;
};

#define AT(member) offsetof(struct afm, member)

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-3, 1e6, NULL, "conductance of a weight at full scale; for the current only",
     AT(g_max_S), NULL},
    {"g_max_units", PARAM_CONSTANT, "", 1e-3, 1e6, NULL, "full scale in the units of the fit", AT(g_max_units),
     NULL},
    {"zero_below_units", PARAM_CONSTANT, "", 0, 1e6, NULL, "smaller targets read exactly 0",
     AT(zero_below_units), NULL},
    {"two_devices_above_units", PARAM_CONSTANT, "", 0, 1e6, NULL, "larger targets use two devices",
     AT(two_devices_above_units), NULL},
    {"sd_one_device", PARAM_NUMBERS, "", -1e6, 1e6, NULL,
     "c0, c1, ... of sigma_OD in units", AT(sd_one_device), NULL},
    {"sd_two_devices", PARAM_NUMBERS, "", -1e6, 1e6, NULL,
     "c0, c1, ... of sigma_TD in units", AT(sd_two_devices), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct afm *p = params;
    *out = (struct cell_common){.g_max_S = p->g_max_S.value, .max_age_s = (double)INFINITY, .pair_statistics = true};
}

static inline float cubic(const float c[FIT_DEGREE + 1], float g) { return c[0] + g * (c[1] + g * (c[2] + g * c[3])); }

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct afm *p = params;
    float one[FIT_DEGREE + 1], two[FIT_DEGREE + 1];
    fit_coefficients(&p->sd_one_device, 1.0, one);
    fit_coefficients(&p->sd_two_devices, 1.0, two);
    float units_per_S = (float)(p->g_max_units.value / p->g_max_S.value),
          S_per_unit = (float)(p->g_max_S.value / p->g_max_units.value);
    float zero_below = (float)p->zero_below_units.value, two_above = (float)p->two_devices_above_units.value;
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(target_S[i] * units_per_S);
        float sd_one = cubic(one, size), sd_two = cubic(two, size);
        float sd = size > two_above ? sd_two : sd_one;
        float g_S = target_S[i] + sd * programmed_S[i] * S_per_unit;
        programmed_S[i] = size < zero_below ? 0.0f : g_S;
    }
}

static enum status check(const void *params, struct error *e) {
    const struct afm *p = params;
    TRY(fit_check_count("sd_one_device", &p->sd_one_device, 1, 4, e));
    return fit_check_count("sd_two_devices", &p->sd_two_devices, 1, 4, e);
}

const struct cell_model cell_pcm_afm = {
    .name = "pcm_afm",
    .about = "weight noise of the Analog Foundation Models evaluation (signed weights, programming noise only)",
    .source = "Buechel et al., NeurIPS 2025, arXiv 2505.09663, evaluation script",
    .status = "validated against the published coefficients (golden standard deviations)",
    .params = PARAM_TABLE("cell pcm_afm", rows),
    .params_bytes = sizeof(struct afm),
    .common = common,
    .program = program,
    .check = check,
};
