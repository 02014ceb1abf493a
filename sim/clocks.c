/* See clocks.h. */
#include "sim/clocks.h"

#include <math.h>
#include <stdio.h>

#define PICOSECONDS_PER_S 1e12
#define CYCLE_ROUNDING 1e-6 /* of a cycle: a product of doubles that should be whole */

static const char *const keys[CLOCK_DOMAINS] = {"clock_GHz", "clocks.tile_GHz", "clocks.network_GHz",
                                                "clocks.memory_GHz"};

static void find_clocks(const struct chip_spec *s, double Hz[CLOCK_DOMAINS]) {
    const double asked[CLOCK_DOMAINS] = {0, s->clocks.tile_Hz, s->clocks.network_Hz, s->clocks.memory_Hz};
    for (int d = 0; d < CLOCK_DOMAINS; d++) {
        Hz[d] = s->clocks.given && asked[d] > 0 ? asked[d] : s->clock_Hz;
    }
}

static double fastest_of(const double Hz[CLOCK_DOMAINS]) {
    double fastest = 0;
    for (int d = 0; d < CLOCK_DOMAINS; d++) {
        fastest = fmax(fastest, Hz[d]);
    }
    return fastest;
}

struct clocks clocks_of(const struct chip_spec *s) {
    struct clocks c = {.ticks_per_s = PICOSECONDS_PER_S, .whole = s->clocks.given};
    find_clocks(s, c.Hz);
    double fastest = fastest_of(c.Hz);
    c.ticks_per_s = c.whole ? fastest : PICOSECONDS_PER_S;
    for (int d = 0; d < CLOCK_DOMAINS; d++) {
        c.period[d] = c.whole ? (int64_t)llround(fastest / c.Hz[d]) : 1;
    }
    return c;
}

int64_t clock_ticks(const struct clocks *c, enum clock_domain d, double seconds) {
    return c->whole ? (int64_t)ceil(seconds * c->Hz[d] - CYCLE_ROUNDING) * c->period[d]
                    : (int64_t)llround(seconds * PICOSECONDS_PER_S);
}

int64_t clock_cycles(const struct clocks *c, enum clock_domain d, uint64_t cycles) {
    return c->whole ? (int64_t)cycles * c->period[d]
                    : (int64_t)llround((double)cycles / c->Hz[d] * PICOSECONDS_PER_S);
}

const char *clocks_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    double Hz[CLOCK_DOMAINS];
    find_clocks(s, Hz);
    double fastest = fastest_of(Hz);
    for (int d = 0; s->clocks.given && d < CLOCK_DOMAINS; d++) {
        double times = fastest / Hz[d], whole = nearbyint(times);
        if (fabs(times - whole) > CYCLE_ROUNDING) {
            snprintf(why, bytes,
                     "%g GHz does not divide the fastest clock, %g GHz (allowed: the fastest divided by 1, 2, 3, ..., "
                     "such as %g or %g GHz)",
                     Hz[d] * 1e-9, fastest * 1e-9, fastest / floor(times) * 1e-9, fastest / ceil(times) * 1e-9);
            return keys[d];
        }
    }
    return NULL;
}
