/* Nonlinear current of a cell (group `current`): I(V) = g V s(V), s even in V, s(V_ref) = 1 where g is stated.
 *
 * With u = V / V_ref and the strength k >= 0:
 *   cubic   s = (1 + k u^2) / (1 + k)     I has one cubic term; k = its share relative to the linear one at V_ref
 *   sinh    s = sinh(k u) / (u sinh k)    transport over or through a barrier that the field lowers
 * k = 0 is a linear cell in both forms; small k of sinh is the cubic form with k^2 / 6. The same s holds for every
 * device of a cell, so it acts on the input voltage alone: amplitude-coded inputs are distorted, pulses of V_ref are
 * exact.
 * Not modelled: a form that depends on the state of the device, asymmetry in the sign of V.
 */
#include <math.h>

#include "devices/groups.h"

static const char *const forms[] = {"cubic", "sinh", NULL};

static const struct param rows[] = {
    {"form", PARAM_CHOICE, "", 0, 0, NULL, "shape of the current", offsetof(struct current, form), forms},
    {"reference_V", PARAM_CONSTANT, "V", 1e-3, 100, NULL, "voltage at which the conductances are stated",
     offsetof(struct current, reference_V), NULL},
    {"strength", PARAM_CONSTANT, "", 0, 20, NULL, "k of the form; 0: linear", offsetof(struct current, strength), NULL},
};

const struct cell_group cell_group_current = {
    .name = "current",
    .about = "current not proportional to the read voltage",
    .params = PARAM_TABLE("cell group current", rows),
    .params_bytes = sizeof(struct current),
};

bool current_is_linear(const struct current *c) { return !(c->strength.value > 0); }

double current_factor(const struct current *c, double volts) {
    double k = c->strength.value, u = volts / c->reference_V.value;
    if (current_is_linear(c)) {
        return 1;
    }
    if (c->form == CURRENT_CUBIC) {
        return (1 + k * u * u) / (1 + k);
    }
    return fabs(u) > 0 ? sinh(k * u) / (u * sinh(k)) : k / sinh(k);
}
