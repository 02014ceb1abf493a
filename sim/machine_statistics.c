/* What programming a machine took, found and left: time and energy of the writes, faults, and how well wires were
 * folded.
 *
 * Time: a tile writes tile.program_parallel devices at once, one group after the other; all tiles work side by side, so
 * the slowest one counts. A pulse and a verify read last and cost what the part says. Every refresh takes the same
 * again.
 * Endurance: mean pulses per device and programming x programmings / pulses that a device endures.
 * Wires: on a few tiles, chosen by the seed, some columns are solved exactly (one adjoint solve each); the error of a
 * column is the largest that inputs between -1 and 1 can cause: sum of |folded - exact| over its rows, relative to the
 * largest column of the tile.
 * Not modelled: time of moving data to the tiles, selection of devices, programming of spares.
 */
#include <math.h>

#include "base/memory.h"
#include "base/random.h"
#include "sim/machine.h"

/* ---- programming --------------------------------------------------------------------------------------------- */

static double writes_s(const struct programming_costs *costs, const struct programming_count *c) {
    return (double)c->pulses * costs->pulse_s.value + (double)c->verify_reads * costs->verify_s.value;
}

void machine_note_tile(struct machine *m, const struct tile_programming *tile) {
    const struct programming_count *c = &tile->count;
    const struct programming_costs *costs = cell_programming_costs(m->spec->tile.cell);
    m->slowest_tile_s = costs ? fmax(m->slowest_tile_s, writes_s(costs, c)) : (double)NAN;
    m->programmed.count.devices += c->devices;
    m->programmed.count.pulses += c->pulses;
    m->programmed.count.verify_reads += c->verify_reads;
    m->programmed.count.failed += c->failed;
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

enum { MEASURED_TILES = 2, MEASURED_COLUMNS = 3 };

bool machine_measures_wires(const struct machine *m, uint64_t tile) {
    uint64_t tiles = placement_total(m->placement).tiles;
    for (int i = 0; machine_wires_act(m) && i < MEASURED_TILES; i++) {
        double u = random_uniform(m->seed, random_stream(RANDOM_PROBE, 0), (uint64_t)i);
        if (tile == (uint64_t)(u * (double)tiles)) {
            return true;
        }
    }
    return false;
}

static double column_sum(const float *g_S, uint32_t rows) {
    double sum_S = 0;
    for (uint32_t i = 0; i < rows; i++) {
        sum_S += (double)g_S[i];
    }
    return sum_S;
}

/* One column: largest error in siemens, and its settling time. `g_S`: the crossings in double; exact_S [rows]. */
static enum status measure_column(const struct machine *m, const struct tile_devices *t, struct network *n,
                                  uint32_t column, const double *g_S, double *exact_S, double *error_S,
                                  double *settling_s, struct error *e) {
    struct wires wires = machine_wires_of(m);
    const float *folded_S = t->effective_S[0] + (size_t)column * t->rows;
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

static enum status measure(const struct machine *m, const struct tile_devices *t, double *g_S,
                           struct wires_measured *out, struct error *e) {
    size_t cells = (size_t)t->rows * t->physical_columns;
    struct wires wires = machine_wires_of(m);
    struct network *n = NULL;
    double full_S = 0, error_S = 0;
    for (size_t i = 0; i < cells; i++) {
        g_S[i] = (double)t->crossing_S[0][i];
    }
    for (uint32_t column = 0; column < t->physical_columns; column++) {
        full_S = fmax(full_S, column_sum(t->effective_S[0] + (size_t)column * t->rows, t->rows));
    }
    TRY(network_create_for_few(&wires, t->rows, t->physical_columns, g_S, &n, e));
    enum status status = OK;
    for (uint32_t k = 0; status == OK && k < MEASURED_COLUMNS && k < t->physical_columns; k++) {
        uint32_t column = (uint32_t)((uint64_t)t->physical_columns * (2 * k + 1) / (2 * MEASURED_COLUMNS));
        status = measure_column(m, t, n, column, g_S, g_S + cells, &error_S, &out->settling_s, e);
    }
    network_destroy(n);
    out->error = full_S > 0 ? error_S / full_S : 0;
    out->tiles = 1;
    return status;
}

enum status tile_measure_wires(const struct machine *m, const struct tile_devices *t, struct wires_measured *out,
                               struct error *e) {
    double *g_S = mem_alloc((size_t)t->rows * (t->physical_columns + 1), sizeof *g_S);
    if (!g_S) {
        return error_set(e, ERR_RUN, "wires of a sampled tile: out of memory");
    }
    *out = (struct wires_measured){0};
    enum status status = measure(m, t, g_S, out, e);
    mem_free(g_S);
    return status;
}

void machine_note_wires(struct machine *m, const struct fold_result *fold, const struct wires_measured *measured) {
    struct machine_wires *all = &m->wires;
    all->act = true;
    all->tiles++;
    all->product += fold->used == WIRES_PRODUCT;
    all->corrected += fold->used == WIRES_CORRECTED;
    all->exact += fold->used == WIRES_EXACT;
    all->largest_estimate = fmax(all->largest_estimate, fold->estimated_error);
    all->mean_loss += (fold->loss - all->mean_loss) / (double)all->tiles;
    all->measured_tiles += measured->tiles;
    all->measured_error = fmax(all->measured_error, measured->error);
    all->settling_s = fmax(all->settling_s, measured->settling_s);
}

struct machine_wires machine_wires(const struct machine *m) {
    struct machine_wires w = m->wires;
    bool known = m->spec->tile.wires.given && m->spec->tile.wires.column_F.value > 0;
    w.settling_s = w.act && known ? w.settling_s : (double)NAN;
    return w;
}
