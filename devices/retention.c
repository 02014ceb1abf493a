/* Loss of the stored state (group `retention`), part of the effect drift.
 *
 *   g(t) = g_min + (g - g_min) exp(-(t / tau)^beta),   tau = tau_m exp(s z)
 * tau_m: time after which the median device has kept 1/e; beta: stretch (1: plain exponential); z: one standard normal
 * number per device for life (stream RANDOM_RETENTION), s = time_log_sd: the spread of devices, so that the weakest
 * lose their state first. At temperature T the time runs faster by the Arrhenius factor of this group's activation
 * energy, where the cell also has the group temperature (whose reference temperature tau_m then belongs to).
 * Acts on the conductance as drifted, after the cell's own drift, and tends to g_min, whatever side it starts from.
 * Not modelled: a loss towards anything but g_min, partial recovery.
 */
#include <math.h>

#include "base/random.h"
#include "devices/groups.h"
#include "devices/vector_math.h"

#define AT(member) offsetof(struct retention, member)

static const struct param rows[] = {
    {"time_s", PARAM_CONSTANT, "s", 1e-9, 1e30, NULL, "time after which the median device has kept 1/e of its state",
     AT(time_s), NULL},
    {"stretch", PARAM_CONSTANT, "", 0.01, 10, NULL, "exponent beta of the stretched exponential", AT(stretch), NULL},
    {"time_log_sd", PARAM_CONSTANT, "", 0, 10, NULL, "standard deviation of ln(time) from device to device",
     AT(time_log_sd), NULL},
    {"activation_energy_eV", PARAM_CONSTANT, "eV", 0, 10, NULL,
     "activation energy of the loss; acts where the cell has the group temperature", AT(activation_J), NULL},
};

const struct cell_group cell_group_retention = {
    .name = "retention",
    .about = "stretched exponential loss of the state towards g_min",
    .params = PARAM_TABLE("cell group retention", rows),
    .params_bytes = sizeof(struct retention),
};

enum { RUN = 256 };

/* (t / tau)^beta = exp(beta (ln(t / tau_m) - s z)); exp of it is limited so that the outer exponential sees a finite
 * number: exp(88) leaves nothing of any state. */
void retention_loss(const struct retention *r, const struct cell_draws *d, double g_min_S, double age_s, float *g_S,
                    size_t n) {
    if (!(age_s > 0)) {
        return;
    }
    float beta = (float)r->stretch.value, log_ratio = (float)log(age_s / r->time_s.value);
    float spread = (float)r->time_log_sd.value, low_S = (float)g_min_S;
    for (size_t done = 0; done < n; done += RUN) {
        float z[RUN] = {0};
        size_t now = n - done < RUN ? n - done : RUN;
        if (spread > 0.0f) {
            random_gaussian_fill(d->seed, random_stream(RANDOM_RETENTION, d->where), d->first + done, z, now);
        }
        for (size_t i = 0; i < now; i++) {
            float exponent = beta * (log_ratio - spread * z[i]);
            float kept = vector_exp(-vector_exp(exponent < 80.0f ? exponent : 80.0f));
            g_S[done + i] = low_S + (g_S[done + i] - low_S) * kept;
        }
    }
}
