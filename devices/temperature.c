/* Temperature of storage and read (group `temperature`).
 *
 * Conductance, relative to the reference temperature T0 at which the cell's other numbers hold:
 *   g(T) = g max(0, 1 + c(r) (T - T0)),   c(r) = c_low + (c_high - c_low) r,   r = |g| / g_max, limited to [0, 1]
 * Ageing: a process of activation energy E runs faster by the Arrhenius factor
 *   a(T) = exp(E / k_B (1 / T0 - 1 / T)),
 * so drift at temperature T and age t is the cell's drift at age a t. Retention has an activation energy of its own
 * (retention.c). k_B = 1.380649e-23 J/K (SI).
 *
 * T is the temperature of the whole time since programming and of the read. The linear coefficient is a first
 * approximation that holds some tens of kelvin around T0; every part states from where to where (valid_from_K,
 * valid_to_K), and a temperature outside is refused. For activated transport with energy E_g it is E_g / (k_B T0^2):
 * 0.1 eV gives 1.3 % per kelvin at 300 K.
 * Not modelled: temperature that changes with time, noise that depends on it, self-heating, the scatter of the
 * coefficient from device to device.
 */
#include <math.h>

#include "devices/groups.h"

#define BOLTZMANN 1.380649e-23 /* J/K, exact by definition of the kelvin */
#define AT(member) offsetof(struct temperature, member)

static const struct param rows[] = {
    {"reference_K", PARAM_CONSTANT, "K", 1, 1000, NULL, "temperature at which all other numbers of the cell hold",
     AT(reference_K), NULL},
    {"activation_energy_eV", PARAM_CONSTANT, "eV", 0, 10, NULL,
     "activation energy of drift; 0: drift is the same at every temperature", AT(activation_J), NULL},
    {"conductance_low_per_K", PARAM_CONSTANT, "per_K", -0.1, 0.1, NULL,
     "relative change of a conductance near 0 per kelvin", AT(low_per_K), NULL},
    {"conductance_high_per_K", PARAM_CONSTANT, "per_K", -0.1, 0.1, NULL, "the same at g_max; linear between",
     AT(high_per_K), NULL},
    {"valid_from_K", PARAM_CONSTANT, "K", 1, 1000, NULL, "lowest temperature for which these numbers hold",
     AT(valid_from_K), NULL},
    {"valid_to_K", PARAM_CONSTANT, "K", 1, 1000, NULL, "highest one", AT(valid_to_K), NULL},
};

static enum status check(const void *group, struct error *e) {
    const struct temperature *t = group;
    double low_K = t->valid_from_K.value, high_K = t->valid_to_K.value, reference_K = t->reference_K.value;
    return low_K <= reference_K && reference_K <= high_K
               ? OK
               : error_set(e, ERR_USAGE,
                           "valid_from_K = %g, valid_to_K = %g: the reference temperature %g K does not lie between "
                           "(allowed: valid_from_K <= reference_K <= valid_to_K)",
                           low_K, high_K, reference_K);
}

const struct cell_group cell_group_temperature = {
    .name = "temperature",
    .about = "conductance coefficient and Arrhenius acceleration of drift",
    .params = PARAM_TABLE("cell group temperature", rows),
    .params_bytes = sizeof(struct temperature),
    .check = check,
};

double temperature_acceleration(double energy_J, double reference_K, double kelvin) {
    return exp(energy_J / BOLTZMANN * (1 / reference_K - 1 / kelvin));
}

void temperature_conductance(const struct temperature *t, double kelvin, double g_max_S, float *g_S, size_t n) {
    double excess_K = kelvin - t->reference_K.value;
    float low = (float)(1 + t->low_per_K.value * excess_K), high = (float)(1 + t->high_per_K.value * excess_K);
    float slope = high - low, per_g_max = (float)(1 / g_max_S);
    if (!(fabs(excess_K) > 0)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float r = fabsf(g_S[i]) * per_g_max;
        float factor = low + slope * (r < 1.0f ? r : 1.0f);
        g_S[i] *= factor > 0.0f ? factor : 0.0f;
    }
}
