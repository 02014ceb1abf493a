/* White noise (group `white_noise`): what changes from one read of a device to the next, whatever lies between them.
 *
 *   sd^2 = (relative |g|)^2 + absolute^2
 * Thermal and shot noise of one read within the integration time, and what a published number per read contains. It is
 * added per multiply, as the variance of a column's result (sum of the devices' variances), by the tile. A cell whose
 * 1/f noise was measured with the noise of single reads in it (pcm_like, pcm_hermes_2dev) has no such group: it would
 * count twice.
 */
#include <math.h>

#include "devices/groups.h"

static const struct param rows[] = {
    {"relative", PARAM_CONSTANT, "", 0, 1, NULL, "standard deviation of one read per conductance",
     offsetof(struct white_noise, relative), NULL},
    {"absolute_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "standard deviation of one read that every device has",
     offsetof(struct white_noise, absolute_S), NULL},
};

const struct cell_group cell_group_white_noise = {
    .name = "white_noise",
    .about = "noise that changes from read to read",
    .params = PARAM_TABLE("cell group white_noise", rows),
    .params_bytes = sizeof(struct white_noise),
};

void white_noise_sd(const struct white_noise *w, const float *g_S, float *sd_S, size_t n) {
    float relative = (float)w->relative.value, absolute_S = (float)w->absolute_S.value;
    for (size_t i = 0; i < n; i++) {
        float part_S = relative * g_S[i];
        sd_S[i] = sqrtf(part_S * part_S + absolute_S * absolute_S);
    }
}
