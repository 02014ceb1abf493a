/* SRAM bit cell with a capacitor, charge domain: the bit decides whether the capacitor of the cell takes part, the
 * column sums charges. Two levels; the stored bit is exact; what errs is the capacitor.
 *
 *   C = C_0 (1 + s xi),   s = (matching / 100) / sqrt(area):   area law of capacitor matching (Pelgrom)
 * matching in percent x micrometre, area in square micrometres, xi one standard normal number per cell for life: a
 * static error, under the switch of the programming noise. Capacitances are in units of the nominal one, which the
 * tables of conductances call g_max = 1 uS: no current flows, wires and read current do not apply
 * (cell_common.charge).
 * A bit of 0 contributes exactly 0. Validity: mismatch small against 1.
 * Not modelled: the load of cells that hold 0 on the shared line, charge injection, leakage, thermal noise kT/C, soft
 * errors.
 */
#include <math.h>

#include "base/random.h"
#include "devices/models.h"

struct sram_capacitor {
    struct constant matching, area_m2, capacitor_F;
};

static const struct param rows[] = {
    {"matching_percent", PARAM_CONSTANT, "", 0, 50, NULL,
     "standard deviation of a capacitor of 1 um2, in percent; falls with the root of the area",
     offsetof(struct sram_capacitor, matching), NULL},
    {"capacitor_um2", PARAM_CONSTANT, "um2", 1e-3, 1e4, NULL, "area of one capacitor",
     offsetof(struct sram_capacitor, area_m2), NULL},
    {"capacitor_fF", PARAM_CONSTANT, "fF", 1e-3, 1e6, NULL,
     "capacitance of one capacitor: charges and energies follow from it", offsetof(struct sram_capacitor, capacitor_F),
     NULL},
};

#define UNIT_S 1e-6
#define SQUARE_MICROMETRE 1e-12

static void common(const void *params, struct cell_common *out) {
    const struct sram_capacitor *p = params;
    *out = (struct cell_common){.g_max_S = UNIT_S,
                                .g_min_S = 0,
                                .max_age_s = (double)INFINITY,
                                .levels = 2,
                                .charge = true,
                                .g_max_F = p->capacitor_F.value};
}

static void program(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n) {
    const struct sram_capacitor *p = params;
    float sd = (float)(p->matching.value / 100 / sqrt(p->area_m2.value / SQUARE_MICROMETRE));
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        float factor = 1.0f + sd * programmed_S[i];
        programmed_S[i] = target_S[i] * (factor > 0.0f ? factor : 0.0f);
    }
}

const struct cell_model cell_sram_capacitor = {
    .name = "sram_capacitor",
    .about = "SRAM bit cell with a capacitor, charge domain: static mismatch",
    .source = "area law of matching (Pelgrom et al., JSSC 1989); constants of the part are assumed",
    .status = "uncalibrated; tested against its formula",
    .params = PARAM_TABLE("cell sram_capacitor", rows),
    .params_bytes = sizeof(struct sram_capacitor),
    .common = common,
    .program = program,
};
