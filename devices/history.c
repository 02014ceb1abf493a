/* The slow read noise of a device: one history, not one draw per age.
 *
 * The cell's model gives the standard deviation sd(t) at time t after programming. For 1/f noise sd^2 grows with
 * ln(t / (2 t_read)): every decade of correlation times between the read pulse and the age adds the same variance,
 * slower fluctuations look like a constant and belong to the programmed value. So the normalised state is a sum of
 * components
 *   z(t) = sum_k sqrt(share_k(t)) c_k(t),     sum_k share_k = 1,
 * each c_k standard normal, constant over a slot of its own length T_k and independent from slot to slot:
 *   k = 0    correlation times 2 t_read .. 10 s         T_0 = 1 s
 *   k >= 1   10^(2k-1) .. 10^(2k+1) s                   T_k = 10^2k s
 *   share_k(t) = decades of k's range below t / log10(t / (2 t_read))
 * A device is in slot floor(t / T_k + phase), the phase uniform in [0, 1), so that
 *   corr(t1, t2) = sum_k sqrt(share_k(t1) share_k(t2)) max(0, 1 - |t2 - t1| / T_k):
 * reads close in time share the slow components, reads far apart few, reads within a second nearly all. The exact law
 * of 1/f noise is ln(t / |t2 - t1|) / ln(t / (2 t_read)) for t1 near t2; two decades per component keep within 0.12 of
 * it from seconds on. The marginal at any time is exactly normal with the model's sd.
 *
 * Nothing is stored: c_k is a function of (seed, stream of the device, k, slot). Slot m of component k has the seed
 * random_seed_at(seed, RANDOM_READ_STATE, k << 56 | m). The phase is shared by BLOCK neighbouring devices, whose values
 * are independent: they are renewed at the same moments, which keeps one fill per block instead of one seed per device.
 * Not modelled: reads less than a second apart (the white noise of a read covers them), a spectrum other than 1/f, time
 * constants that depend on temperature.
 */
#include "devices/history.h"

#include <math.h>

#include "base/random.h"

enum { BLOCK = 64, RUN = 4 * BLOCK, DECADES = 2 };

/* Upper end of the range of component k as log10 of seconds. */
static double top_decade(int k) { return 1 + DECADES * k; }

static double slot_s(int k) {
    static const double lengths_s[HISTORY_PARTS] = {1e0, 1e2, 1e4, 1e6, 1e8, 1e10, 1e12, 1e14};
    return lengths_s[k];
}

/* Shares of the variance at a time; returns how many components have one. */
static int shares_at(double time_s, double read_s, double share[HISTORY_PARTS]) {
    double first = log10(2 * read_s), last = log10(time_s), rest = 1;
    int count = 1;
    for (int k = 1; k < HISTORY_PARTS; k++) {
        double low = fmax(top_decade(k - 1), first), decades = fmin(last, top_decade(k)) - low;
        share[k] = decades > 0 ? decades / (last - first) : 0;
        rest -= share[k];
        count = decades > 0 ? k + 1 : count;
    }
    share[0] = fmax(rest, 0);
    return count;
}

struct history_moment history_at(uint64_t seed, double time_s, double read_s) {
    double share[HISTORY_PARTS];
    struct history_moment m = {0};
    int count = shares_at(time_s, read_s, share);
    for (int k = 0; k < count; k++) {
        if (share[k] > 0) {
            double slots = time_s / slot_s(k);
            uint64_t slot = (uint64_t)slots, component = (uint64_t)k << 56;
            m.part[m.count].weight = (float)sqrt(share[k]);
            m.part[m.count].component = k;
            m.part[m.count].offset = slots - floor(slots);
            m.part[m.count].seed[0] = random_seed_at(seed, RANDOM_READ_STATE, component | slot);
            m.part[m.count].seed[1] = random_seed_at(seed, RANDOM_READ_STATE, component | (slot + 1));
            m.count++;
        }
    }
    return m;
}

/* Which parts of each of `blocks` blocks from number `first_block` on are in the later slot: bit p of later[b]. Two
 * random blocks hold the phases of the eight components. */
static void find_slots(const struct history_moment *m, const struct cell_draws *d, uint64_t first_block, size_t blocks,
                       uint8_t *later) {
    uint64_t stream = random_stream(RANDOM_READ_PHASE, d->where);
    for (size_t b = 0; b < blocks; b++) {
        uint32_t phase[HISTORY_PARTS];
        random_block(d->seed, stream, (first_block + b) * 2, phase);
        if (m->part[m->count - 1].component >= 4) {
            random_block(d->seed, stream, (first_block + b) * 2 + 1, phase + 4);
        }
        later[b] = 0;
        for (size_t p = 0; p < m->count; p++) {
            double shift = ((double)phase[m->part[p].component] + 0.5) * 0x1p-32;
            later[b] |= (uint8_t)((m->part[p].offset + shift >= 1) << p);
        }
    }
}

/* Values of part p of n devices. Neighbouring blocks in the same slot have the same seed: one fill for all of them. */
static void part_values(const struct history_moment *m, size_t p, uint64_t stream, uint64_t first, const uint8_t *later,
                        float *c, size_t n) {
    for (size_t done = 0, b = 0; done < n;) {
        unsigned slot = later[b] >> p & 1;
        size_t end = done;
        while (end < n && (later[b] >> p & 1) == slot) {
            size_t next = end + BLOCK - (size_t)((first + end) % BLOCK);
            end = next < n ? next : n;
            b += end < n;
        }
        random_gaussian_fill(m->part[p].seed[slot], stream, first + done, c + done, end - done);
        done = end;
    }
}

/* At most RUN devices. */
static void run_state(const struct history_moment *m, const struct cell_draws *d, uint64_t first, float *state,
                      size_t n) {
    uint8_t later[RUN / BLOCK + 1];
    find_slots(m, d, first / BLOCK, (size_t)((first + n - 1) / BLOCK - first / BLOCK) + 1, later);
    for (size_t p = 0; p < m->count; p++) {
        float c[RUN], weight = m->part[p].weight;
        part_values(m, p, random_stream(RANDOM_READ_STATE, d->where), first, later, c, n);
        for (size_t i = 0; i < n; i++) {
            state[i] = p ? state[i] + weight * c[i] : weight * c[i];
        }
    }
}

void history_state(const struct history_moment *m, const struct cell_draws *d, float *state, size_t n) {
    for (size_t done = 0; done < n; done += RUN) {
        run_state(m, d, d->first + done, state + done, n - done < RUN ? n - done : RUN);
    }
}

double history_correlation(double time_s, double later_s, double read_s) {
    double now[HISTORY_PARTS], later[HISTORY_PARTS], sum = 0;
    int count = shares_at(time_s, read_s, now);
    shares_at(later_s, read_s, later);
    for (int k = 0; k < count; k++) {
        sum += sqrt(now[k] * later[k]) * fmax(0, 1 - fabs(later_s - time_s) / slot_s(k));
    }
    return sum;
}
