/* Private to devices/: the slow (1/f) read noise of a device as one history over its ages. See history.c. */
#ifndef MHO_DEVICES_HISTORY_H
#define MHO_DEVICES_HISTORY_H

#include "devices/device.h"

enum { HISTORY_PARTS = 8 };

/* What the history of a whole run of devices is at one time: computed once, then used for every device. */
struct history_moment {
    size_t count; /* parts that have a share */
    struct {
        float weight;     /* square root of the share of the variance */
        int component;
        double offset;    /* time / slot length, its fraction */
        uint64_t seed[2]; /* of this slot and the next */
    } part[HISTORY_PARTS];
};

/* time_s: since the end of programming; read_s: the read pulse (cell_common.read_s > 0). */
struct history_moment history_at(uint64_t seed, double time_s, double read_s);
/* state[i]: standard normal, n devices from d->first on. */
void history_state(const struct history_moment *m, const struct cell_draws *d, float *state, size_t n);
/* Correlation of the state between two times, the closed form that the draws follow. */
double history_correlation(double time_s, double later_s, double read_s);

#endif
