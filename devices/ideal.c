/* A perfect conductance: programmed = target for ever, no noise. The anchor of all tests: a chip of these cells with
 * ideal converters is the digital model.
 *
 * g_max only sets the current, so the energy of the array, not the values. Validity: none, it is no real part.
 */
#include <math.h>
#include <string.h>

#include "devices/fits.h"
#include "devices/models.h"

struct ideal {
    struct constant g_max_S, g_min_S;
};

static const struct param rows[] = {
    {"g_max_uS", PARAM_CONSTANT, "uS", 1e-6, 1e6, NULL, "largest conductance", offsetof(struct ideal, g_max_S), NULL},
    {"g_min_uS", PARAM_CONSTANT, "uS", 0, 1e6, NULL, "smallest conductance", offsetof(struct ideal, g_min_S), NULL},
};

static void common(const void *params, struct cell_common *out) {
    const struct ideal *p = params;
    *out =
        (struct cell_common){.g_max_S = p->g_max_S.value, .g_min_S = p->g_min_S.value, .max_age_s = (double)INFINITY};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    (void)params;
    (void)d;
    memcpy(programmed_S, target_S, n * sizeof *target_S);
}

static enum status check(const void *params, struct error *e) {
    const struct ideal *p = params;
    return fit_check_window(&p->g_min_S, &p->g_max_S, e);
}

const struct cell_model cell_ideal = {
    .name = "ideal",
    .about = "perfect conductance without noise or drift",
    .source = "definition",
    .status = "validated against the digital float model",
    .params = PARAM_TABLE("cell ideal", rows),
    .params_bytes = sizeof(struct ideal),
    .common = common,
    .program = program,
    .check = check,
};
