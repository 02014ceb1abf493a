/* Programming as a process (group `programming`): what the write takes, and what it reaches.
 *
 * The published distribution of a cell, g_T -> g_prog of its model (`program`), is the outcome of the closed loop of
 * its source. `mode` says what is done with it:
 *   published      the model's own result; `published_pulses` pulses and as many verify reads per device are counted
 *   single_pulse   one pulse without verify: g = g_T + f (g_prog - g_T), not below 0 (f = single_pulse_factor >= 1)
 *   write_verify   the same pulse again and again, each an independent draw, each followed by a verify read
 *                  m = g + v g_max z, until |m - g_T| <= b g_max (v = verify_noise, b = tolerance), at most max_pulses;
 *                  a device whose last read is outside counts as failed and keeps its last state
 * With p the probability that one pulse is accepted (normal error of sd s: p = erf(b g_max / sqrt(2 (s^2 + v^2
 * g_max^2))) away from the clamp at 0): mean pulses (1 - (1 - p)^N) / p, failures (1 - p)^N, N = max_pulses. With v = 0
 * every device that did not fail is inside the band.
 *
 * Randomness: pulse 1 uses the seed of the run; pulse k > 1 uses random_seed_at(seed, RANDOM_PROGRAMMING, k), the same
 * stream and index. Verify reads: stream RANDOM_VERIFY with the seed of their pulse.
 * Energy and time: pulses x (pulse_pJ, pulse_ns) + verify reads x (verify_pJ, verify_ns); how many devices are written
 * at once is the machine's affair. Not modelled: pulses that depend on the distance to the target (staircases), their
 * wear on the device, a drift of the distribution with the number of pulses.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/groups.h"

static const char *const modes[] = {"published", "single_pulse", "write_verify", NULL};

#define AT(member) offsetof(struct programming, member)

static const struct param rows[] = {
    {"mode", PARAM_CHOICE, "", 0, 0, NULL, "how devices are written", AT(mode), modes},
    {"published_pulses", PARAM_CONSTANT, "", 1, 1e6, NULL,
     "pulses and verify reads per device of the published closed loop, a whole number", AT(published_pulses), NULL},
    {"single_pulse_factor", PARAM_CONSTANT, "", 1, 1000, NULL,
     "error of one pulse without verify, per error of the published distribution", AT(single_pulse_factor), NULL},
    {"tolerance", PARAM_CONSTANT, "", 1e-9, 1, NULL, "write_verify: half width of the accepted band, per g_max",
     AT(tolerance), NULL},
    {"max_pulses", PARAM_INT, "", 1, 10000, NULL, "write_verify: pulses after which a device has failed",
     AT(max_pulses), NULL},
    {"verify_noise", PARAM_CONSTANT, "", 0, 1, NULL, "standard deviation of a verify read, per g_max", AT(verify_noise),
     NULL},
    {"pulse_ns", PARAM_CONSTANT, "ns", 0, 1e12, NULL, "one programming pulse", AT(costs.pulse_s), NULL},
    {"pulse_pJ", PARAM_CONSTANT, "pJ", 0, 1e12, NULL, "energy of one programming pulse, in the device and its driver",
     AT(costs.pulse_J), NULL},
    {"verify_ns", PARAM_CONSTANT, "ns", 0, 1e12, NULL, "one verify read", AT(costs.verify_s), NULL},
    {"verify_pJ", PARAM_CONSTANT, "pJ", 0, 1e12, NULL, "energy of one verify read with its converter",
     AT(costs.verify_J), NULL},
    {"endurance_pulses", PARAM_CONSTANT, "", 0, 1e18, NULL, "pulses that a device survives; 0: not stated",
     AT(costs.endurance_pulses), NULL},
};

static enum status check(const void *group, struct error *e) {
    const struct programming *p = group;
    double pulses = p->published_pulses.value;
    if (floor(pulses) < pulses) {
        return error_set(e, ERR_USAGE, "published_pulses = %g is not a whole number (allowed: 1, 2, ...)", pulses);
    }
    return OK;
}

const struct cell_group cell_group_programming = {
    .name = "programming",
    .about = "single pulse or write-verify, with pulses, time, energy and wear",
    .params = PARAM_TABLE("cell group programming", rows),
    .params_bytes = sizeof(struct programming),
    .check = check,
};

/* One run of devices on its way through the loop. */
enum { RUN = 256 };
struct loop {
    const struct programming *p;
    const struct cell_model *model;
    const void *params;
    float g_max_S, factor;
    bool signed_targets;
    struct programming_count *count;
};

static void fire(const struct loop *l, const struct cell_draws *d, const float *target_S, float *g_S, size_t n) {
    l->model->program(l->params, d, target_S, g_S, n);
    float factor = l->factor, low_S = l->signed_targets ? -INFINITY : 0.0f;
    for (size_t i = 0; factor > 1.0f && i < n; i++) {
        float wide_S = target_S[i] + factor * (g_S[i] - target_S[i]);
        g_S[i] = wide_S > low_S ? wide_S : low_S;
    }
}

/* What the verify reads see less what they should: noise of the read added. */
static void verify(const struct loop *l, const struct cell_draws *d, const float *target_S, const float *g_S,
                   float *error_S, size_t n) {
    float noise_S = (float)l->p->verify_noise.value * l->g_max_S;
    if (noise_S > 0.0f) {
        random_gaussian_fill(d->seed, random_stream(RANDOM_VERIFY, d->where), d->first, error_S, n);
    } else {
        memset(error_S, 0, n * sizeof *error_S);
    }
    for (size_t i = 0; i < n; i++) {
        error_S[i] = g_S[i] + noise_S * error_S[i] - target_S[i];
    }
}

/* Devices that have been accepted keep their state; the others take the new pulse. Draws are made for the whole run: a
 * device's number of a pulse does not depend on its neighbours. */
static void write_verify(const struct loop *l, const struct cell_draws *d, const float *target_S, float *g_S,
                         size_t n) {
    bool open[RUN];
    float band_S = (float)l->p->tolerance.value * l->g_max_S;
    size_t left = n;
    memset(open, true, sizeof open);
    for (int pulse = 1; pulse <= l->p->max_pulses && left > 0; pulse++) {
        float new_S[RUN], error_S[RUN];
        struct cell_draws now = *d;
        now.seed = pulse == 1 ? d->seed : random_seed_at(d->seed, RANDOM_PROGRAMMING, (uint64_t)pulse);
        fire(l, &now, target_S, new_S, n);
        verify(l, &now, target_S, new_S, error_S, n);
        l->count->pulses += left;
        l->count->verify_reads += left;
        for (size_t i = 0; i < n; i++) {
            g_S[i] = open[i] ? new_S[i] : g_S[i];
            bool accepted = open[i] && fabsf(error_S[i]) <= band_S;
            left -= accepted;
            open[i] = open[i] && !accepted;
        }
    }
    l->count->failed += left;
}

void programming_write(const struct programming *p, const struct cell_model *model, const void *params,
                       const struct cell_draws *d, const float *target_S, float *programmed_S,
                       struct programming_count *count, size_t n) {
    struct cell_common k = {0};
    model->common(params, &k);
    struct loop l = {p, model, params, (float)k.g_max_S, 1.0f, k.pair_statistics, count};
    count->devices += n;
    if (!p || p->mode == PROGRAMMING_PUBLISHED) {
        uint64_t pulses = p ? (uint64_t)p->published_pulses.value : 1;
        count->pulses += pulses * n;
        count->verify_reads += p ? pulses * n : 0;
        fire(&l, d, target_S, programmed_S, n);
        return;
    }
    l.factor = (float)p->single_pulse_factor.value;
    if (p->mode == PROGRAMMING_SINGLE_PULSE) {
        count->pulses += n;
        fire(&l, d, target_S, programmed_S, n);
        return;
    }
    for (size_t done = 0; done < n; done += RUN) {
        struct cell_draws here = *d;
        here.first += done;
        write_verify(&l, &here, target_S + done, programmed_S + done, n - done < RUN ? n - done : RUN);
    }
}
