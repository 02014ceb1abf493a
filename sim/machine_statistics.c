/* What programming a machine took, found and left: time and energy of the writes, faults, and how well wires were
 * folded.
 *
 * Time: a tile writes tile.program_parallel devices at once, one group after the other; all tiles work side by side, so
 * the slowest one counts. A pulse and a verify read last and cost what the part says. Every refresh takes the same
 * again.
 * Endurance: mean pulses per device and programming x programmings / pulses that a device endures.
 * Wires: on a few tiles (of every way of folding that was used the one with the largest estimate, and two chosen by the
 * seed), three columns are solved exactly (one adjoint solve each); the error of a column is the largest that inputs
 * between -1 and 1 can cause: sum of |folded - exact| over its rows, relative to the largest column of the tile.
 * Copies of a matrix (placement.copies) are programmed at the same time, with as many devices, pulses and joules again;
 * their devices are not drawn on their own.
 *
 * Not modelled: time of moving data to the tiles, selection of devices, programming of spares.
 */
#include <math.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "sim/machine.h"

/* ---- programming --------------------------------------------------------------------------------------------- */

static double writes_s(const struct programming_costs *costs, const struct programming_count *c) {
    return (double)c->pulses * costs->pulse_s.value + (double)c->verify_reads * costs->verify_s.value;
}

void machine_note_tile(struct machine *m, const struct tile_programming *tile, uint32_t copies) {
    const struct programming_count *c = &tile->count;
    const struct programming_costs *costs = cell_programming_costs(m->spec->tile.cell);
    m->slowest_tile_s = costs ? fmax(m->slowest_tile_s, writes_s(costs, c)) : (double)NAN;
    m->programmed.count.devices += copies * c->devices;
    m->programmed.count.pulses += copies * c->pulses;
    m->programmed.count.verify_reads += copies * c->verify_reads;
    m->programmed.count.failed += copies * c->failed;
    error_sums_merge(&m->programmed.error, &tile->error);
}

struct machine_programming machine_programming(const struct machine *m) {
    const struct programming_costs *costs = cell_programming_costs(m->spec->tile.cell);
    const struct programming_count *c = &m->programmed.count;
    struct machine_programming p = {.devices = c->devices,
                                    .pulses = c->pulses,
                                    .verify_reads = c->verify_reads,
                                    .failed = c->failed,
                                    .programmings = 1 + machine_refreshes(m),
                                    .seconds = (double)NAN,
                                    .joules = (double)NAN,
                                    .endurance_used = (double)NAN,
                                    .error = error_sums_result(&m->programmed.error)};
    double times = (double)p.programmings;
    if (costs) {
        p.seconds = times * m->slowest_tile_s / m->spec->tile.program_parallel;
        p.joules = times * ((double)c->pulses * costs->pulse_J.value + (double)c->verify_reads * costs->verify_J.value);
    }
    if (costs && costs->endurance_pulses.value > 0 && c->devices > 0) {
        p.endurance_used = times * (double)c->pulses / (double)c->devices / costs->endurance_pulses.value;
    }
    return p;
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

struct machine_faults machine_faults(const struct machine *m) {
    const struct fault_count *c = &m->fault_count;
    return (struct machine_faults){c->stuck,          c->dead_rows,        c->dead_columns,
                                   c->repaired_rows,  c->repaired_columns, c->stuck_left,
                                   c->dead_rows_left, c->dead_columns_left};
}

void machine_fault_lists(const struct machine *m, struct machine_fault_list *moved, struct machine_fault_list *left) {
    *moved = m->moved;
    *left = m->left;
}

/* ---- wires ------------------------------------------------------------------------------------------------------ */

enum { RANDOM_TILES = 2, METHODS = WIRES_EXACT + 1, MEASURED_TILES = RANDOM_TILES + METHODS, MEASURED_COLUMNS = 3 };

static double column_sum(const float *g_S, uint32_t rows) {
    double sum_S = 0;
    for (uint32_t i = 0; i < rows; i++) {
        sum_S += (double)g_S[i];
    }
    return sum_S;
}

/* What one tile says, measured by one thread. */
struct measured {
    uint64_t tile, columns;
    double error, settling_s;
    enum status status;
    struct error e;
};

/* One column: largest error in siemens, and its settling time. `g_S`: the crossings in double; exact_S [rows]. */
static enum status measure_column(const struct machine *m, const struct tile_conductances *t, struct network *n,
                                  uint32_t column, const double *g_S, double *exact_S, double *error_S,
                                  double *settling_s, struct error *e) {
    struct wires wires = machine_wires_of(m);
    const float *folded_S = t->effective_S + (size_t)column * t->rows;
    double off_S = 0;
    TRY(network_column(n, column, exact_S, e));
    for (uint32_t i = 0; i < t->rows; i++) {
        off_S += fabs((double)folded_S[i] - exact_S[i]);
    }
    *error_S = fmax(*error_S, off_S);
    *settling_s = fmax(*settling_s, wires_settling_s(&wires, t->rows, g_S + (size_t)column * t->rows,
                                                     m->spec->tile.wires.column_F.value, 0, m->spec->tile.adc.bits));
    return OK;
}

static enum status measure_columns(const struct machine *m, const struct tile_conductances *t, double *g_S,
                                   struct measured *out) {
    size_t cells = (size_t)t->rows * t->physical_columns;
    struct wires wires = machine_wires_of(m);
    struct network *n = NULL;
    double full_S = 0, error_S = 0;
    for (size_t i = 0; i < cells; i++) {
        g_S[i] = (double)t->crossing_S[i];
    }
    for (uint32_t column = 0; column < t->physical_columns; column++) {
        full_S = fmax(full_S, column_sum(t->effective_S + (size_t)column * t->rows, t->rows));
    }
    TRY(network_create_for_few(&wires, t->rows, t->physical_columns, g_S, &n, &out->e));
    enum status status = OK;
    for (uint32_t k = 0; status == OK && k < MEASURED_COLUMNS && k < t->physical_columns; k++) {
        uint32_t column = (uint32_t)((uint64_t)t->physical_columns * (2 * k + 1) / (2 * MEASURED_COLUMNS));
        status = measure_column(m, t, n, column, g_S, g_S + cells, &error_S, &out->settling_s, &out->e);
        out->columns++;
    }
    network_destroy(n);
    out->error = full_S > 0 ? error_S / full_S : 0;
    return status;
}

static enum status measure_tile(const struct machine *m, struct measured *out) {
    size_t matrix = m->count;
    while (matrix > 0 && (!m->arrays[matrix - 1] || m->arrays[matrix - 1]->first_tile > out->tile)) {
        matrix--; /* the last array that begins at or before the tile */
    }
    const struct array *a = m->arrays[--matrix];
    uint32_t place = (uint32_t)(out->tile - a->first_tile);
    struct tile_conductances t;
    TRY(machine_tile_conductances(m, matrix, place / a->column_blocks, place % a->column_blocks, &t, &out->e));
    double *g_S = mem_alloc((size_t)t.rows * (t.physical_columns + 1), sizeof *g_S);
    enum status status = g_S ? measure_columns(m, &t, g_S, out)
                             : error_set(&out->e, ERR_RUN, "wires of a sampled tile: out of memory");
    mem_free(g_S);
    mem_free(t.crossing_S);
    mem_free(t.effective_S);
    return status;
}

struct measuring {
    const struct machine *m;
    struct measured tiles[MEASURED_TILES];
    size_t count;
};

static void measure_tiles(void *context, size_t begin, size_t end, int worker) {
    struct measuring *all = context;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        all->tiles[i].status = measure_tile(all->m, &all->tiles[i]);
    }
}

static void choose_tile(struct measuring *all, uint64_t tile) {
    for (size_t i = 0; i < all->count; i++) {
        if (all->tiles[i].tile == tile) {
            return;
        }
    }
    all->tiles[all->count++] = (struct measured){.tile = tile};
}

enum status machine_measure_wires(struct machine *m, struct error *e) {
    struct measuring all = {.m = m};
    struct machine_wires *w = &m->wires;
    for (int method = 0; w->act && method < METHODS; method++) {
        if (m->worst_fold[method].any) {
            choose_tile(&all, m->worst_fold[method].tile);
        }
    }
    for (int i = 0; w->act && i < RANDOM_TILES; i++) {
        double u = random_uniform(m->seed, random_stream(RANDOM_PROBE, 0), (uint64_t)i);
        uint64_t tile = (uint64_t)(u * (double)w->tiles);
        choose_tile(&all, tile < w->tiles ? tile : w->tiles - 1);
    }
    parallel_for(all.count, 1, 0, measure_tiles, &all);
    for (size_t i = 0; i < all.count; i++) {
        const struct measured *one = &all.tiles[i];
        if (one->status != OK) {
            if (e) {
                *e = one->e;
            }
            return one->status;
        }
        w->measured_tiles++;
        w->measured_columns += one->columns;
        w->measured_error = fmax(w->measured_error, one->error);
        w->settling_s = fmax(w->settling_s, one->settling_s);
    }
    return OK;
}

void machine_note_wires(struct machine *m, const struct fold_result *fold, uint64_t tile) {
    struct machine_wires *all = &m->wires;
    all->act = true;
    all->tiles++;
    all->product += fold->used == WIRES_PRODUCT;
    all->corrected += fold->used == WIRES_CORRECTED;
    all->exact += fold->used == WIRES_EXACT;
    all->largest_estimate = fmax(all->largest_estimate, fold->estimated_error);
    all->mean_loss += (fold->loss - all->mean_loss) / (double)all->tiles;
    struct worst_fold *worst = &m->worst_fold[fold->used];
    if (!worst->any || fold->estimated_error > worst->estimate) {
        *worst = (struct worst_fold){true, fold->estimated_error, tile};
    }
}

struct machine_wires machine_wires(const struct machine *m) {
    struct machine_wires w = m->wires;
    bool known = m->spec->tile.wires.given && m->spec->tile.wires.column_F.value > 0;
    w.settling_s = w.act && known ? w.settling_s : (double)NAN;
    return w;
}
