/* One tile against the exact network of its wires: what folding leaves out, measured on the very conductances that the
 * machine has programmed, and read with the levels that its input converters drive.
 *
 * A read drives row i at voltage u_i for the share of the pass that its level l_i says:
 *   voltage-coded   u_i = l_i V all the time
 *   pulse-coded     u_i = sign(l_i) V during the first |l_i| of the pass; rows that have ended are at 0 V
 * Mean current of column j: (1/T) integral I_j dt. For linear cells behind drivers that always drive it is the
 * network's answer to the mean voltages l_i V, so one solution gives it. Energy is quadratic: between two ends of
 * pulses the voltages stand still, so it is added up over those pieces (as many as there are different levels). The
 * same pieces give currents where cells are not linear or inactive rows float; each is then a Newton solution.
 *
 * Not modelled: what the drivers lose inside, charging of the lines (settling is an estimate beside it).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "sim/machine.h"

/* ---- conductances ------------------------------------------------------------------------------------- */

static enum status realise_tile(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                float *w, struct tile_devices *t, struct error *e) {
    const struct array *a = m->arrays[matrix];
    uint32_t first = array_block_output(a, &m->spec->tile, column_block);
    uint32_t end = array_block_output(a, &m->spec->tile, column_block + 1);
    double age_s = machine_age_since_programming_s(m);
    TRY(a->source.read_rows(a->source.context, first, end - first, w, e));
    return tile_devices_realise(m, matrix, row_block, column_block, w, &age_s, 1, NULL, NULL, t, e);
}

static enum status copy_conductances(const struct machine *m, const struct tile_devices *t,
                                     struct tile_conductances *out, struct error *e) {
    size_t cells = (size_t)t->rows * t->physical_columns;
    out->rows = t->rows;
    out->outputs = t->outputs;
    out->physical_columns = t->physical_columns;
    out->columns_per_output = m->plan.slices * m->plan.legs;
    out->crossing_S = mem_alloc(cells, sizeof *out->crossing_S);
    out->effective_S = mem_alloc(cells, sizeof *out->effective_S);
    if (!out->crossing_S || !out->effective_S) {
        mem_free(out->crossing_S);
        mem_free(out->effective_S);
        *out = (struct tile_conductances){0};
        return error_set(e, ERR_RUN, "conductances of a tile: out of memory");
    }
    memcpy(out->crossing_S, t->crossing_S[0], cells * sizeof *out->crossing_S);
    memcpy(out->effective_S, t->effective_S[0], cells * sizeof *out->effective_S);
    return OK;
}

enum status machine_tile_conductances(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                      struct tile_conductances *out, struct error *e) {
    *out = (struct tile_conductances){0};
    if (!machine_is_analog(m, matrix) || row_block >= m->arrays[matrix]->row_blocks ||
        column_block >= m->arrays[matrix]->column_blocks) {
        return error_set(e, ERR_USAGE, "tile %u, %u of matrix %zu: there is no such tile", row_block, column_block,
                         matrix);
    }
    const struct array *a = m->arrays[matrix];
    uint32_t outputs =
        array_block_output(a, &m->spec->tile, column_block + 1) - array_block_output(a, &m->spec->tile, column_block);
    struct tile_devices *t = NULL;
    TRY(tile_devices_create(m, array_block_rows(a, row_block), outputs, &t, e));
    float *w = mem_alloc((size_t)outputs * a->inputs, sizeof *w);
    enum status s = w ? realise_tile(m, matrix, row_block, column_block, w, t, e)
                      : error_set(e, ERR_RUN, "conductances of a tile: out of memory");
    if (s == OK) {
        s = copy_conductances(m, t, out, e);
    }
    mem_free(w);
    tile_devices_destroy(t);
    return s;
}

enum status machine_trace(const struct machine *m, size_t matrix, const float *x, uint32_t tokens, uint64_t first_read,
                          const struct stage_visitor *trace, double *y, struct error *e) {
    return machine_multiply_reference(m, matrix, x, tokens, first_read, trace, y, e);
}

/* ---- the network ---------------------------------------------------------------------------------------- */

struct tile_network {
    const struct machine *machine;
    struct wires wires;
    struct tile_conductances tile;
    size_t rows, columns;
    double *g_S;             /* [columns][rows] crossings */
    struct network *network; /* NULL: Newton */
    bool floating, bent;
    double read_V;
    /* Of one read. */
    double *volts, *ends;                 /* [rows] */
    bool *driven;                         /* [rows] */
    double *piece_A, *folded_A, *exact_A; /* [columns] */
};

void tile_network_destroy(struct tile_network *n) {
    if (n) {
        network_destroy(n->network);
        mem_free(n->tile.crossing_S);
        mem_free(n->tile.effective_S);
        mem_free(n->g_S);
        mem_free(n->volts);
        mem_free(n->ends);
        mem_free(n->driven);
        mem_free(n->piece_A);
        mem_free(n->folded_A);
        mem_free(n->exact_A);
        mem_free(n);
    }
}

static enum status check_spec(const struct chip_spec *s, struct error *e) {
    if (cell_common_of(s->tile.cell).charge) {
        return error_set(e, ERR_USAGE,
                         "tile.cell: its charges are added on a wire, there is no read current to solve for");
    }
    if (s->costs == COSTS_NONE) {
        return error_set(e, ERR_USAGE,
                         "costs: none: the chip states no read voltage, so there are no currents to solve for");
    }
    if (!s->tile.wires.given) {
        return error_set(e, ERR_USAGE,
                         "tile.wires: the chip states no wires, so there is no network to solve (allowed: give "
                         "tile.wires.row_ohm, column_ohm, input_ohm, output_ohm and column_fF)");
    }
    return OK;
}

static bool allocate(struct tile_network *n) {
    n->g_S = mem_alloc(n->rows * n->columns, sizeof *n->g_S); /* a product of tile sizes: at most 4096 x 2^20 */
    n->volts = mem_alloc(n->rows, sizeof *n->volts);
    n->ends = mem_alloc(n->rows, sizeof *n->ends);
    n->driven = mem_alloc(n->rows, sizeof *n->driven);
    n->piece_A = mem_alloc(n->columns, sizeof *n->piece_A);
    n->folded_A = mem_alloc(n->columns, sizeof *n->folded_A);
    n->exact_A = mem_alloc(n->columns, sizeof *n->exact_A);
    return n->g_S && n->volts && n->ends && n->driven && n->piece_A && n->folded_A && n->exact_A;
}

static enum status build(struct tile_network *n, size_t matrix, uint32_t row_block, uint32_t column_block,
                         struct error *e) {
    TRY(machine_tile_conductances(n->machine, matrix, row_block, column_block, &n->tile, e));
    n->rows = n->tile.rows;
    n->columns = n->tile.physical_columns;
    if (!allocate(n)) {
        return error_set(e, ERR_RUN, "network of a tile: out of memory");
    }
    for (size_t i = 0; i < n->rows * n->columns; i++) {
        n->g_S[i] = (double)n->tile.crossing_S[i];
    }
    if (n->floating || n->bent) {
        return OK;
    }
    return network_create(&n->wires, n->rows, n->columns, n->g_S, &n->network, e);
}

enum status tile_network_create(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                bool floating, struct tile_network **out, struct error *e) {
    *out = NULL;
    const struct tile_spec *t = &m->spec->tile;
    TRY(check_spec(m->spec, e));
    struct tile_network *n = mem_alloc(1, sizeof *n);
    if (!n) {
        return error_set(e, ERR_RUN, "network of a tile: out of memory");
    }
    n->machine = m;
    n->wires = machine_wires_of(m);
    n->floating = floating;
    n->bent = m->spec->effects.cell_nonlinearity && !cell_is_linear(t->cell);
    n->read_V = t->read_voltage_V.value;
    enum status s = build(n, matrix, row_block, column_block, e);
    if (s != OK) {
        tile_network_destroy(n);
        return s;
    }
    *out = n;
    return OK;
}

/* ---- one read ----------------------------------------------------------------------------------------- */

/* I = g V s(V); its derivative needs no more than what lets Newton converge. */
static double bent_current(void *context, double volts, double g_S, double *derivative_S) {
    const struct cell *cell = context;
    double h = 1e-5 * (fabs(volts) + 1e-3);
    double above = (volts + h) * cell_current_factor(cell, volts + h);
    double below = (volts - h) * cell_current_factor(cell, volts - h);
    *derivative_S = g_S * (above - below) / (2 * h);
    return g_S * volts * cell_current_factor(cell, volts);
}

/* Solves for n->volts, n->driven. */
static enum status solve(struct tile_network *n, double *power_W, struct tile_read *count, struct error *e) {
    count->solutions++;
    if (n->network) {
        return network_solve(n->network, n->volts, n->piece_A, power_W, NULL, NULL, e);
    }
    struct network_problem p = {
        .current = n->bent ? bent_current : NULL,
        .context = (void *)(uintptr_t)n->machine->spec->tile.cell,
        .driven = n->floating ? n->driven : NULL,
    };
    int iterations = 0;
    TRY(network_newton(&n->wires, n->rows, n->columns, n->g_S, &p, n->volts, n->piece_A, power_W, &iterations, e));
    count->iterations += (uint32_t)iterations;
    return OK;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rows at `when` (share of the pass); true if any conducts. */
static bool drive(struct tile_network *n, const double *level, bool pulses, double when) {
    bool any = false;
    for (size_t i = 0; i < n->rows; i++) {
        double u = pulses ? (fabs(level[i]) > when ? copysign(1, level[i]) : 0) : level[i];
        n->volts[i] = u * n->read_V;
        n->driven[i] = u != 0;
        any = any || u != 0;
    }
    return any;
}

/* Adds the piece [begin, end) of the pass. */
static enum status add_piece(struct tile_network *n, const double *level, bool pulses, double begin, double end,
                             double pass_s, struct tile_read *r, struct error *e) {
    double power_W = 0;
    if (end <= begin || !drive(n, level, pulses, begin)) {
        return OK; /* nothing is driven, nothing flows */
    }
    TRY(solve(n, &power_W, r, e));
    r->exact_J += power_W * (end - begin) * pass_s;
    for (size_t j = 0; j < n->columns; j++) {
        n->exact_A[j] += n->piece_A[j] * (end - begin);
    }
    return OK;
}

static void read_folded(struct tile_network *n, const double *level, bool pulses, double pass_s, struct tile_read *r) {
    for (size_t j = 0; j < n->columns; j++) {
        const float *effective_S = n->tile.effective_S + j * n->rows;
        double sum_A = 0;
        for (size_t i = 0; i < n->rows; i++) {
            double volts = level[i] * n->read_V;
            double at_V = n->bent ? cell_current_factor(n->machine->spec->tile.cell, pulses ? n->read_V : volts) : 1;
            sum_A += (double)effective_S[i] * volts * at_V;
            r->folded_J +=
                (double)effective_S[i] * at_V * n->read_V * fabs(volts) * (pulses ? 1 : fabs(level[i])) * pass_s;
        }
        n->folded_A[j] = sum_A;
    }
}

static void settle(const struct tile_network *n, double pass_s, struct tile_read *r) {
    const struct tile_spec *t = &n->machine->spec->tile;
    r->pass_s = pass_s;
    r->settling_s = t->wires.column_F.value > 0 ? 0 : (double)NAN;
    for (size_t j = 0; j < n->columns && r->settling_s >= 0; j++) {
        r->settling_s = fmax(r->settling_s, wires_settling_s(&n->wires, n->rows, n->g_S + j * n->rows,
                                                             t->wires.column_F.value, 0, t->adc.bits));
    }
}

enum status tile_network_read(struct tile_network *n, const double *level, struct tile_read *out, struct error *e) {
    const struct tile_spec *t = &n->machine->spec->tile;
    bool pulses = !n->machine->inputs.voltage;
    double pass_s = t->pulse_s.value * n->machine->inputs.pulse_share;
    *out = (struct tile_read){.rows = (uint32_t)n->rows,
                              .physical_columns = (uint32_t)n->columns,
                              .columns_per_output = n->tile.columns_per_output,
                              .folded_A = n->folded_A,
                              .exact_A = n->exact_A};
    memset(n->exact_A, 0, n->columns * sizeof *n->exact_A);
    for (size_t i = 0; i < n->rows; i++) {
        n->ends[i] = pulses ? fabs(level[i]) : 1;
    }
    qsort(n->ends, n->rows, sizeof *n->ends, ascending);
    double begin = 0;
    for (size_t i = 0; i < n->rows; i++) {
        TRY(check_interrupted(e));
        TRY(add_piece(n, level, pulses, begin, n->ends[i], pass_s, out, e));
        begin = n->ends[i];
    }
    read_folded(n, level, pulses, pass_s, out);
    settle(n, pass_s, out);
    return OK;
}

enum status tile_network_spice(struct tile_network *n, const double *level, FILE *out, struct error *e) {
    if (!n->network) {
        return error_set(e, ERR_USAGE,
                         "--spice: the netlist is of linear cells behind drivers that always drive (leave out "
                         "--float-inactive; --set effects.cell_nonlinearity=off)");
    }
    for (size_t i = 0; i < n->rows; i++) {
        n->volts[i] = level[i] * n->read_V;
    }
    TRY(network_solve(n->network, n->volts, n->exact_A, NULL, NULL, NULL, e));
    return wires_write_spice(&n->wires, n->rows, n->columns, n->g_S, n->volts, n->exact_A,
                             "mho tile: mean voltages of the first pass of the first input", out, e);
}
