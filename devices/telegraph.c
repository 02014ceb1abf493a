/* Random telegraph noise (group `telegraph`), part of the effect read_noise: traps that fill and empty.
 *
 * A share of the devices has one trap of two equally likely states:
 *   g(t) = g (1 + a s),  s = -1 or +1: mean g, standard deviation a g
 * The state is a function of (device, slot), slot = floor(t / tau + phase), phase uniform in [0, 1) per device: the
 * trap is drawn afresh once per tau. Two reads a time D apart fall into one slot with probability max(0, 1 - D / tau),
 * else their states are independent, so a device with a trap has the
 *   autocovariance (a g)^2 max(0, 1 - D / tau).
 * The same device read twice within a slot reads the same, in any order, with nothing stored.
 * Faster traps than a millisecond are noise of single reads: white_noise.
 * Not modelled: more than one trap, unequal states, times that differ from device to device or depend on voltage and
 * temperature; the exponential autocovariance of an exact two-state chain (here: a triangle of the same area with
 * tau = twice the correlation time).
 */
#include <math.h>

#include "base/random.h"
#include "devices/groups.h"

#define AT(member) offsetof(struct telegraph, member)

static const struct param rows[] = {
    {"share", PARAM_CONSTANT, "", 0, 1, NULL, "share of the devices that have a trap", AT(share), NULL},
    {"amplitude", PARAM_CONSTANT, "", 0, 1, NULL, "relative change of the conductance, up or down from the mean",
     AT(amplitude), NULL},
    {"time_s", PARAM_CONSTANT, "s", 1e-3, 1e12, NULL, "time after which the state is drawn afresh", AT(time_s), NULL},
};

const struct cell_group cell_group_telegraph = {
    .name = "telegraph",
    .about = "random telegraph noise of a share of the devices",
    .params = PARAM_TABLE("cell group telegraph", rows),
    .params_bytes = sizeof(struct telegraph),
};

/* At one time the devices are in one of two neighbouring slots, whose seeds are drawn once. Block i of the stream is
 * device i: word 0 says whether it has a trap, word 1 its phase; in the slot's seed word 0 says the state. */
void telegraph_switch(const struct telegraph *t, const struct cell_draws *d, double time_s, float *g_S, size_t n) {
    uint64_t stream = random_stream(RANDOM_TELEGRAPH, d->where);
    double slots = time_s / t->time_s.value, whole = floor(slots), part = slots - whole;
    uint64_t seeds[2] = {random_seed_at(d->seed, RANDOM_TELEGRAPH, (uint64_t)whole),
                         random_seed_at(d->seed, RANDOM_TELEGRAPH, (uint64_t)whole + 1)};
    float up = (float)(1 + t->amplitude.value), down = (float)(1 - t->amplitude.value);
    for (size_t i = 0; i < n; i++) {
        uint32_t device[4], state[4];
        random_block(d->seed, stream, d->first + i, device);
        if (((double)device[0] + 0.5) * 0x1p-32 < t->share.value) {
            double phase = ((double)device[1] + 0.5) * 0x1p-32;
            random_block(seeds[part + phase >= 1], stream, d->first + i, state);
            g_S[i] *= state[0] >> 31 ? up : down;
        }
    }
}
