/* Read disturb (group `disturb`), part of the effect drift: every read moves the state a little towards one end.
 *
 *   g(N) = g_end + (g - g_end) (1 - p)^N,   p = per_read, N = reads since programming, g_end = g_min or g_max
 * p is the fraction of the distance to g_end that one read takes away, at the cell's own read voltage and pulse.
 * Not modelled: dependence on voltage, pulse length and temperature, scatter from device to device, disturb of cells
 * that share a line without being read.
 */
#include <math.h>

#include "devices/groups.h"

static const char *const ends[] = {"g_min", "g_max", NULL};

static const struct param rows[] = {
    {"per_read", PARAM_CONSTANT, "", 0, 0.5, NULL, "fraction of the distance to the end that one read takes away",
     offsetof(struct disturb, per_read), NULL},
    {"towards", PARAM_CHOICE, "", 0, 0, NULL, "the end that reads move the state to", offsetof(struct disturb, towards),
     ends},
};

const struct cell_group cell_group_disturb = {
    .name = "disturb",
    .about = "every read moves the state towards one end",
    .params = PARAM_TABLE("cell group disturb", rows),
    .params_bytes = sizeof(struct disturb),
};

void disturb_shift(const struct disturb *x, const struct cell_common *k, double reads, float *g_S, size_t n) {
    float kept = (float)exp(reads * log1p(-x->per_read.value));
    float end_S = (float)(x->towards == DISTURB_G_MAX ? k->g_max_S : k->g_min_S);
    if (!(reads > 0)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        g_S[i] = end_S + (g_S[i] - end_S) * kept;
    }
}
