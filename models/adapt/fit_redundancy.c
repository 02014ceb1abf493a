/* More devices per weight where they pay.
 *
 * n devices in parallel hold a weight where the chip has d (tile.devices). Their errors are independent, so that noise
 * of matrix i costs J_i d / n, J_i its cost with d (fit_side.c). A tile then has cells n / d times as large: a matrix
 * on T_i tiles, copies counted, takes T_i (n / d - 1) arrays of cells more (sim/placement.c). Whole tiles count:
 * weights that fill their tile badly pay for the empty cells, too.
 *
 * One device at a time goes to the matrix where it saves most per array, J_i d (1 / n - 1 / (n + 1)) over T_i / d, as
 * long as any fits into what is left of the area. Savings of a matrix fall with n, so for tiles of equal number this is
 * the best choice there is; else the last steps may fill the area less well than another choice. */
#include <math.h>

#include "base/memory.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

/* Nats that one more device saves, per array that it takes; 0 where it does not fit. */
static double worth(const struct fit_candidate *c, uint32_t own, double left) {
    double n = c->devices, arrays = c->arrays / own;
    bool fits = c->devices < DEVICES_MOST && arrays > 0 && arrays <= left;
    return fits ? c->noise * own * (1 / n - 1 / (n + 1)) / arrays : 0;
}

double fit_choose_devices(struct fit_candidate *c, size_t count, uint32_t own, double arrays) {
    static const double ROUNDING = 1e-9; /* sums of thirds and sevenths */
    double used = 0;
    for (;;) {
        size_t best = count;
        double most = 0;
        for (size_t i = 0; i < count; i++) {
            double now = worth(&c[i], own, arrays * (1 + ROUNDING) - used);
            best = now > most ? i : best;
            most = fmax(most, now);
        }
        if (best == count) {
            return used;
        }
        c[best].devices++;
        used += c[best].arrays / own;
    }
}

/* Noise with the chip's own number of devices, and arrays of all tiles. */
static double fill(const struct chip *chip, const struct placement *p, const struct fit_statistics *f,
                   struct fit_candidate *c, size_t count, uint32_t *own) {
    double all = 0;
    for (size_t i = 0; i < count; i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        if (m.analog) {
            double arrays = (double)m.tiles * m.copies;
            *own = m.devices;
            c[i] = (struct fit_candidate){f[i].noise / chip_noise_share(chip, f[i].devices), arrays, m.devices};
            all += arrays;
        }
    }
    return all;
}

enum status fit_redundancy(const struct model *m, const struct chip *c, double area, struct fit_statistics *f,
                           double *more, struct error *e) {
    struct placement *p = NULL;
    uint32_t own = 1;
    struct matrix_source *sources = mem_alloc(m->matrix_count, sizeof *sources);
    struct fit_candidate *candidates = mem_alloc(m->matrix_count, sizeof *candidates);
    enum status status = sources && candidates ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
    for (size_t i = 0; status == OK && i < m->matrix_count; i++) {
        sources[i] = m->sources[i];
        sources[i].devices = 0;
    }
    status = status == OK ? placement_create(c, sources, m->matrix_count, &p, e) : status;
    if (status == OK) {
        double arrays = fill(c, p, f, candidates, m->matrix_count, &own);
        *more = arrays > 0 ? fit_choose_devices(candidates, m->matrix_count, own, area * arrays) / arrays : 0;
        for (size_t i = 0; i < m->matrix_count; i++) {
            f[i].devices = candidates[i].devices == own ? 0 : candidates[i].devices;
        }
    }
    placement_destroy(p);
    mem_free(candidates);
    mem_free(sources);
    return status;
}
