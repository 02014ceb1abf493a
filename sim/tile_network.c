/* One tile against the exact network of its wires: what folding leaves out, measured on the very conductances that the
 * machine has programmed, and read with the levels that its input converters drive.
 *
 * A read drives row i at voltage u_i for the share of the pass that its level l_i says:
 *   voltage-coded   u_i = l_i V all the time
 *   pulse-coded     u_i = sign(l_i) V during the first |l_i| of the pass; rows that have ended are at 0 V
 * Mean current of column j: (1/T) integral I_j dt. For linear cells behind drivers that always drive it is the
 * network's answer to the mean voltages l_i V, so one solution gives it. Power is quadratic, u' Y u with the currents
 * Y that every row draws for 1 V on one: found once. Rows i and k are on together for the shorter of their pulses, so
 *   energy = T V^2 sum over i, k of Y_ik sign(l_i l_k) min(|l_i|, |l_k|)
 * Where cells are not linear or inactive rows float, every piece between two ends of pulses is solved by Newton
 * (network_pass.h).
 *
 * Not modelled: what the drivers lose inside, charging of the lines (settling is an estimate beside it).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "sim/row_currents.h"
#include "sim/machine.h"
#include "sim/network_pass.h"

/* ---- conductances ------------------------------------------------------------------------------------- */

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
    TRY(tile_devices_create(m, a, array_block_rows(a, row_block), outputs, &t, e));
    float *w = mem_alloc((size_t)outputs * a->inputs, sizeof *w);
    enum status s = w ? tile_devices_read(m, matrix, row_block, column_block, w, t, e)
                      : error_set(e, ERR_RUN, "conductances of a tile: out of memory");
    if (s == OK) {
        s = copy_conductances(m, t, out, e);
    }
    mem_free(w);
    tile_devices_destroy(t);
    return s;
}

enum status machine_tile_programmed(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                    bool errors, struct tile_conductances *out, struct error *e) {
    struct chip_spec spec = *m->spec;
    struct machine young = *m; /* borrows all but its configuration */
    spec.effects = (struct effects){.programming_noise = errors && m->spec->effects.programming_noise};
    spec.tile.reads = 0;
    young.spec = &spec;
    return machine_tile_conductances(&young, matrix, row_block, column_block, out, e);
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
    double *source_S;        /* [rows][rows] network_source_matrix, or not yet NULL */
    bool floating, bent;
    double read_V;
    struct network_pass pass;
    double *folded_A, *exact_A; /* [columns] of one read */
    float *between_S, *level;   /* [rows] current to other rows (row_currents.h), levels of one read; NULL: Newton */
};

void tile_network_destroy(struct tile_network *n) {
    if (n) {
        network_destroy(n->network);
        mem_free(n->tile.crossing_S);
        mem_free(n->tile.effective_S);
        mem_free(n->g_S);
        mem_free(n->source_S);
        mem_free(n->pass.row_V);
        mem_free(n->pass.ends);
        mem_free(n->pass.driven);
        mem_free(n->pass.piece_A);
        mem_free(n->folded_A);
        mem_free(n->exact_A);
        mem_free(n->between_S);
        mem_free(n->level);
        mem_free(n);
    }
}

static enum status check_spec(const struct chip_spec *s, struct error *e) {
    if (cell_common_of(s->tile.cell).charge) {
        return error_set(e, ERR_USAGE,
                         "tile.cell: its charges are added on a wire, there is no read current to solve for "
                         "(allowed: a cell of conductances)");
    }
    if (s->costs == COSTS_NONE) {
        return error_set(e, ERR_USAGE,
                         "costs: none: the chip states no read voltage, so there are no currents to solve for "
                         "(allowed: full)");
    }
    if (s->tile.ladder.given) { /* never with tile.wires */
        return error_set(e, ERR_USAGE,
                         "tile.ladder: its steps add up in closed form, so that the output is exact as it is; --exact "
                         "and --spice solve networks of tile.wires (allowed: neither of them, or tile.wires.row_ohm, "
                         "column_ohm, input_ohm, output_ohm and column_fF in place of tile.ladder)");
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
    n->pass.row_V = mem_alloc(n->rows, sizeof *n->pass.row_V);
    n->pass.ends = mem_alloc(n->rows, sizeof *n->pass.ends);
    n->pass.driven = mem_alloc(n->rows, sizeof *n->pass.driven);
    n->pass.piece_A = mem_alloc(n->columns, sizeof *n->pass.piece_A);
    n->folded_A = mem_alloc(n->columns, sizeof *n->folded_A);
    n->exact_A = mem_alloc(n->columns, sizeof *n->exact_A);
    return n->g_S && n->pass.row_V && n->pass.ends && n->pass.driven && n->pass.piece_A && n->folded_A && n->exact_A;
}

static enum status find_between(struct tile_network *n, struct error *e) {
    size_t cells = n->rows * n->columns;
    void *scratch = mem_alloc(wires_fold_scratch_bytes(n->rows, n->columns), 1);
    double *input_S = mem_alloc(n->rows, sizeof *input_S);
    n->between_S = mem_alloc(n->rows, sizeof *n->between_S);
    n->level = mem_alloc(n->rows, sizeof *n->level);
    bool ok = scratch && input_S && n->between_S && n->level;
    if (ok) {
        wires_input_conductance(&n->wires, n->rows, n->columns, n->tile.crossing_S, scratch, input_S);
        for (size_t k = 0; k < cells; k++) {
            input_S[k % n->rows] -= (double)n->tile.effective_S[k];
        }
        for (size_t i = 0; i < n->rows; i++) {
            n->between_S[i] = (float)fmax(input_S[i], 0);
        }
    }
    mem_free(scratch);
    mem_free(input_S);
    return ok ? OK : error_set(e, ERR_RUN, "network of a tile: out of memory");
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
    n->pass.wires = n->wires;
    n->pass.rows = n->rows;
    n->pass.columns = n->columns;
    n->pass.g_S = n->g_S;
    n->pass.bent = n->bent ? n->machine->spec->tile.cell : NULL;
    n->pass.floating = n->floating;
    n->pass.pulses = !n->machine->inputs.voltage;
    n->pass.volts = n->read_V;
    if (n->floating || n->bent) {
        return OK;
    }
    TRY(find_between(n, e));
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
    n->floating = floating || t->wires.float_inactive;
    n->bent = m->bent;
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
    if (n->between_S) {
        for (size_t i = 0; i < n->rows; i++) {
            n->level[i] = (float)level[i];
        }
        r->folded_J += row_currents_S(NULL, n->level, n->between_S, n->between_S, (uint32_t)n->rows, 1, !pulses) *
                       n->read_V * n->read_V * pass_s;
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

/* Mean over the pass of what the sources deliver: v' Y v of the voltages of a moment. In units of full scale, two rows
 * are on together for the shorter of their levels. */
static double pulse_power_W(const struct tile_network *n, const double *level) {
    double sum_S = 0;
    for (size_t i = 0; i < n->rows; i++) {
        for (size_t k = 0; k < n->rows; k++) {
            double together = fmin(fabs(level[i]), fabs(level[k]));
            sum_S += n->source_S[i * n->rows + k] * (level[i] * level[k] < 0 ? -together : together);
        }
    }
    return sum_S * n->pass.volts * n->pass.volts;
}

/* Linear cells behind drivers that always drive: the mean currents are those of the mean voltages. */
static enum status read_linear(struct tile_network *n, const double *level, double *mean_W, struct tile_read *r,
                               struct error *e) {
    r->solutions++;
    for (size_t i = 0; i < n->rows; i++) {
        n->pass.row_V[i] = level[i] * n->pass.volts;
    }
    TRY(network_solve(n->network, n->pass.row_V, n->exact_A, mean_W, NULL, NULL, e));
    size_t ends = n->pass.pulses ? network_pass_ends(level, n->rows, n->pass.ends) : 0;
    if (ends == 1) {
        *mean_W /= n->pass.ends[0]; /* of the mean voltages: the square of that share */
    } else if (ends > 1) {
        if (!n->source_S) {
            n->source_S = mem_alloc(n->rows * n->rows, sizeof *n->source_S);
            TRY(n->source_S ? network_source_matrix(n->network, n->source_S, e)
                            : error_set(e, ERR_RUN, "network of a tile: out of memory"));
        }
        *mean_W = pulse_power_W(n, level);
    }
    return OK;
}

enum status tile_network_read(struct tile_network *n, const double *level, struct tile_read *out, struct error *e) {
    const struct tile_spec *t = &n->machine->spec->tile;
    double pass_s = t->pulse_s.value * n->machine->inputs.pulse_share, mean_W = 0;
    *out = (struct tile_read){.rows = (uint32_t)n->rows,
                              .physical_columns = (uint32_t)n->columns,
                              .columns_per_output = n->tile.columns_per_output,
                              .folded_A = n->folded_A,
                              .exact_A = n->exact_A};
    TRY(n->network ? read_linear(n, level, &mean_W, out, e)
                   : network_pass_read(&n->pass, level, n->exact_A, &mean_W, &out->solutions, &out->iterations, e));
    out->exact_J = mean_W * pass_s;
    read_folded(n, level, n->pass.pulses, pass_s, out);
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
        n->pass.row_V[i] = level[i] * n->read_V;
    }
    TRY(network_solve(n->network, n->pass.row_V, n->exact_A, NULL, NULL, NULL, e));
    return wires_write_spice(&n->wires, n->rows, n->columns, n->g_S, n->pass.row_V, n->exact_A,
                             "mho tile: mean voltages of the first pass of the first input", out, e);
}
