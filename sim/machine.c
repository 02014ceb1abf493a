/* A machine: its arrays, made and destroyed; what is decided once for all of them. program.c fills the arrays.
 *
 * With tile.refresh_period_s the devices were programmed again after every whole period of the machine's age: what acts
 * is their age since then, and each programming draws new random numbers.
 *
 * Memory: 2 bytes per weight and line (4 in fp32, 6 with white noise), 16 bytes per column, line and row block (with
 * white noise 32 more, in fp32 24; a byte more per weight where codes do not say their variance), 12 per column and
 * row block; 4 bytes per digital weight, 4 more where it is listed. Columns whose largest |w| is below 1e-36 count as
 * zeros.
 */
#include "sim/machine.h"

#include <math.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "sim/side_path.h"

/* ---- what kind of machine ---------------------------------------------------------------------------------------- */

/* Inputs beyond this many bits leave too little of int32 for the weights: they multiply in fp32. */
enum { MOST_INTEGER_BITS = 10 };

bool machine_is_simple(const struct chip_spec *s) {
    struct encoding_plan plan;
    return periphery_is_plain(s) && encoding_plan(s, &plan, NULL) == OK && plan.lines == 1 && plan.offset == 0 &&
           (!plan.shared_column || plan.shared_analog);
}

static bool weights_are_codes(const struct chip_spec *s) {
    return s->effects.dac && s->tile.dac.bits <= MOST_INTEGER_BITS && machine_is_simple(s);
}

uint64_t machine_refreshes(const struct machine *m) {
    double period_s = m->spec->tile.refresh_period_s;
    return period_s > 0 ? (uint64_t)floor(m->age_s / period_s) : 0;
}

static double age_since_programming_s(const struct tile_spec *tile, double age_s) {
    double period_s = tile->refresh_period_s;
    return period_s > 0 ? fmax(age_s - floor(age_s / period_s) * period_s, 0) : age_s;
}

double machine_age_since_programming_s(const struct machine *m) { return m->since_programming_s; }

/* The seed itself at first; then one for each programming, far from it (the finaliser of SplitMix64). */
uint64_t machine_device_seed(const struct machine *m) {
    uint64_t refreshes = machine_refreshes(m), x = m->seed + refreshes * 0x9e3779b97f4a7c15u;
    if (refreshes == 0) {
        return m->seed;
    }
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* ---- arrays ------------------------------------------------------------------------------------------ */

/* Words of 4 bytes per column, line and row block; per column and row block; with white noise per column, line and row
 * block beside codes (law, factors, factors of drawn rows, scatter) and beside fp32 (without the law). */
enum { LINE_VALUES = 4, COLUMN_VALUES = 3, CODES_NOISE_VALUES = 2 + 3 + 2 + 1, FP32_NOISE_VALUES = 3 + 2 + 1 };

void array_destroy(struct array *a) {
    if (a) {
        void *const blocks[] = {a->row_begin,     a->row_offset,   a->codes_room,    a->weights,         a->variances,
                                a->noise,         a->row_S,        a->code_scale,    a->weight_scale,    a->offset,
                                a->shared,        a->input_range,  a->output_max,    a->output_bins,
                                a->output_origin, a->shared_max,   a->input,         a->correction_gain,
                                a->correction_offset, a->crossings, a->ladder_offset, a->ladder_uS, a->between_S,
                                a->source_S,      a->noise_factors, a->spread_factors, a->strips,
                                a->drawn_factors, a->scatter,       a->noise_sum, a->square_law,
                                a->misfit};
        for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
            mem_free(blocks[i]);
        }
        array_free_converters(a);
        array_destroy_side(a);
        mem_free(a);
    }
}

static enum status out_of_memory(const struct matrix_source *source, struct error *e) {
    return error_set(e, ERR_RUN, "matrix %s: out of memory (%u x %u weights)", source->name, source->outputs,
                     source->inputs);
}

/* Cuts the inputs; fills row_begin and row_offset. */
static bool array_cut(struct array *a, const struct tile_spec *tile) {
    a->row_begin = mem_alloc(a->row_blocks + 1, sizeof *a->row_begin);
    a->row_offset = mem_alloc(a->row_blocks + 1, sizeof *a->row_offset);
    if (!a->row_begin || !a->row_offset) {
        return false;
    }
    for (uint32_t b = 0; b <= a->row_blocks; b++) {
        a->row_begin[b] = block_begin(a->inputs, (uint32_t)tile->rows, (enum split_mode)tile->split, b);
    }
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        a->row_offset[b + 1] = a->row_offset[b] + (array_block_rows(a, b) + 1) / 2 * 2;
    }
    a->row_stride = a->row_offset[a->row_blocks];
    return true;
}

/* Words before and behind codes, whole cache lines: mac_i16_drawn reads beyond panels. */
enum { CODES_SLACK = 2 * PANEL };

/* What white noise needs beside the weights. */
static bool array_allocate_noise(struct array *a, bool integer) {
    size_t lines = (size_t)a->row_blocks * a->columns * a->lines, strips = array_strip_count(a) * a->lines;
    if (integer) {
        a->noise = mem_alloc(lines, 4 * sizeof *a->noise);
        a->noise_factors = mem_alloc(lines, 3 * sizeof *a->noise_factors);
        a->square_law = mem_alloc((size_t)a->row_blocks * a->panels, sizeof *a->square_law);
        a->misfit = mem_alloc(lines, sizeof *a->misfit);
    } else {
        a->variances = mem_alloc(array_variance_stride(a) * a->columns, sizeof *a->variances * a->lines);
        a->spread_factors = mem_alloc(lines, 3 * sizeof *a->spread_factors);
    }
    a->strips = mem_alloc(strips * a->row_stride, NOISE_STRIP);
    a->drawn_factors = mem_alloc(strips * a->row_blocks, 2 * NOISE_STRIP * sizeof *a->drawn_factors);
    a->scatter = mem_alloc(lines, sizeof *a->scatter);
    a->noise_sum = mem_alloc((size_t)a->row_blocks * a->lines * a->panels, sizeof *a->noise_sum);
    return (integer ? a->noise && a->noise_factors && a->square_law && a->misfit : a->variances && a->spread_factors) &&
           a->strips && a->drawn_factors && a->scatter && a->noise_sum;
}

/* white: beside the weights, what changes from read to read. */
static bool array_allocate_weights(struct array *a, bool integer, bool white) {
    size_t weights = (size_t)a->row_stride * a->columns; /* both below 2^32 + 2^32/rows: the product fits 64 bits */
    a->codes_room = integer ? mem_alloc(weights * a->lines + 2 * CODES_SLACK, sizeof *a->codes) : NULL;
    a->codes = a->codes_room ? a->codes_room + CODES_SLACK : NULL;
    a->weights = integer ? NULL : mem_alloc(weights, sizeof *a->weights * a->lines);
    return (a->codes || a->weights) && (!white || array_allocate_noise(a, integer));
}

static bool array_allocate_columns(struct array *a, const struct encoding_plan *plan) {
    size_t columns = (size_t)a->row_blocks * a->columns, lines = columns * a->lines;
    bool shared = plan->shared_column && !plan->shared_analog;
    a->row_S = mem_alloc(a->inputs, sizeof *a->row_S);
    a->code_scale = mem_alloc(LINE_VALUES * lines, sizeof *a->code_scale);
    a->weight_scale = mem_alloc(COLUMN_VALUES * columns, sizeof *a->weight_scale);
    a->offset = plan->offset != 0 ? mem_alloc(columns, sizeof *a->offset) : NULL;
    a->shared = shared ? mem_alloc((size_t)a->column_blocks * plan->slices, sizeof *a->shared * a->inputs) : NULL;
    if (!a->row_S || !a->code_scale || !a->weight_scale || (plan->offset != 0 && !a->offset) ||
        (shared && !a->shared)) {
        return false;
    }
    a->full_scale = a->code_scale + lines;
    a->to_code = a->code_scale + 2 * lines;
    a->to_output = a->code_scale + 3 * lines;
    a->column_max = a->weight_scale + columns;
    a->compensation = a->weight_scale + 2 * columns;
    for (size_t i = 0; i < columns; i++) {
        a->compensation[i] = 1;
    }
    return true;
}

static bool array_allocate_wires(const struct machine *m, struct array *a) {
    bool ladder = machine_ladder_acts(m), between = machine_wires_act(m) && !chip_needs_network(m->spec);
    a->between_S = between ? mem_alloc(a->inputs, sizeof *a->between_S) : NULL;
    a->source_S = between ? mem_alloc(a->inputs, sizeof *a->source_S) : NULL;
    a->ladder_offset = ladder ? mem_alloc((size_t)a->row_blocks * a->columns, sizeof *a->ladder_offset) : NULL;
    bool single = ladder && m->spec->tile.ladder.precision == LADDER_SINGLE;
    a->ladder_uS = single ? mem_alloc(2 * (size_t)a->inputs * a->columns, sizeof *a->ladder_uS) : NULL;
    return (!ladder || a->ladder_offset) && (!single || a->ladder_uS) && (!between || (a->between_S && a->source_S));
}

struct array *array_create(const struct machine *m, const struct matrix_source *source) {
    const struct chip_spec *spec = m->spec;
    struct array *a = mem_alloc(1, sizeof *a);
    if (!a) {
        return NULL;
    }
    a->source = *source;
    a->inputs = source->inputs;
    a->outputs = source->outputs;
    a->row_blocks = block_count(a->inputs, (uint32_t)spec->tile.rows);
    a->column_blocks = block_count(a->outputs, (uint32_t)spec->tile.columns);
    a->panels = block_count(a->outputs, PANEL);
    a->columns = a->panels * PANEL;
    a->lines = m->plan.lines;
    a->devices = source->devices ? source->devices : (uint32_t)spec->tile.devices;
    bool white = spec->effects.read_noise && cell_has_white_noise(spec->tile.cell);
    if (!array_cut(a, &spec->tile) || !array_allocate_weights(a, weights_are_codes(spec), white) ||
        !array_allocate_columns(a, &m->plan) || !array_allocate_wires(m, a) || !array_create_side(a)) {
        array_destroy(a);
        return NULL;
    }
    bool network = chip_needs_network(spec);
    a->crossings = network ? mem_alloc(array_crossings(m, a), sizeof *a->crossings) : NULL;
    if (network && !a->crossings) {
        array_destroy(a);
        return NULL;
    }
    return a;
}

uint64_t placement_machine_bytes(const struct chip *c, const struct placement *p) {
    const struct chip_spec *s = chip_spec_of(c);
    struct encoding_plan plan;
    uint64_t bytes = 0, lines = encoding_plan(s, &plan, NULL) == OK ? plan.lines : 1;
    bool white = s->effects.read_noise && cell_has_white_noise(s->tile.cell), codes = weights_are_codes(s);
    bool network = chip_needs_network(s);
    uint64_t weight = codes ? sizeof(int16_t) : sizeof(float) + (white ? 2 : 0), /* bytes for all rows, drawn rows */
             line = LINE_VALUES + (!white ? 0 : codes ? CODES_NOISE_VALUES : FP32_NOISE_VALUES);
    for (size_t i = 0; i < placement_matrices(p); i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        if (m.analog) {
            uint64_t columns = (uint64_t)block_count(m.outputs, PANEL) * PANEL,
                     crossings = network ? encoding_physical_columns(&plan, m.outputs) : 0;
            bytes += crossings * m.inputs * sizeof(float) + columns * m.inputs * weight * lines +
                     columns * m.row_blocks * (COLUMN_VALUES + line * lines) * sizeof(float);
            bytes += placement_side_macs(&m) * sizeof(float) + m.listed_weights * sizeof(uint32_t);
        }
    }
    return bytes;
}

/* ---- the machine --------------------------------------------------------------------------------------- */

void machine_destroy(struct machine *m) {
    if (m) {
        for (size_t i = 0; m->arrays && i < m->count; i++) {
            array_destroy(m->arrays[i]);
        }
        mem_free(m->arrays);
        fault_map_destroy(m->faults);
        mem_free(m);
    }
}

/* Periods are counted, so their number must be one. */
static enum status check_period(const char *key, double period_s, double age_s, struct error *e) {
    static const double MOST_PERIODS = 1e9;
    if (period_s > 0 && age_s / period_s > MOST_PERIODS) {
        return error_set(e, ERR_USAGE,
                         "%s: %g s are over more than %g times at the age of %g s (allowed: 0, or longer)", key,
                         period_s, MOST_PERIODS, age_s);
    }
    return OK;
}

enum status chip_check_age(const struct chip *c, double age_s, struct error *e) {
    const struct tile_spec *tile = &chip_spec_of(c)->tile;
    struct cell_common cell = cell_common_of(tile->cell);
    TRY(check_period("tile.refresh_period_s", tile->refresh_period_s, age_s, e));
    TRY(check_period("tile.compensation_period_s", tile->compensation_period_s, age_s, e));
    TRY(check_period("tile.correction_period_s", tile->correction_period_s, age_s, e));
    age_s = age_since_programming_s(tile, age_s);
    if (!(age_s >= cell.min_age_s && age_s <= cell.max_age_s)) {
        return error_set(e, ERR_USAGE, "age: %g s is outside the time model of the cell (allowed: %g to %g s)", age_s,
                         cell.min_age_s, cell.max_age_s);
    }
    struct cell_conditions k = {.temperature = chip_spec_of(c)->effects.temperature,
                                .temperature_K = tile->temperature_K};
    double drift_age_s = cell_drift_age(tile->cell, &k, age_s);
    if (!(drift_age_s >= cell.min_age_s && drift_age_s <= cell.max_age_s)) {
        return error_set(e, ERR_USAGE,
                         "age: %g s at %g K drift as far as %g s at the reference temperature of the cell, which is "
                         "outside its time model (allowed: %g to %g s there)",
                         age_s, tile->temperature_K, drift_age_s, cell.min_age_s, cell.max_age_s);
    }
    return OK;
}

bool chip_ages(const struct chip *c) {
    const struct chip_spec *s = chip_spec_of(c);
    const struct cell_conditions k = {.drift = s->effects.drift, .read_noise = s->effects.read_noise};
    return cell_ages(s->tile.cell, &k) || s->tile.refresh_period_s > 0 || s->tile.correction != CORRECTION_NONE;
}

/* Side paths that the placement counts are there. */
static enum status check_side(const struct placement_matrix *placed, const struct matrix_source *m, struct error *e) {
    uint32_t channels = m->side ? m->side->channel_count : 0;
    uint64_t weights = m->side && m->side->weight_begin ? m->side->weight_begin[m->outputs] : 0;
    if (!placed->analog || (placed->digital_channels == channels && placed->listed_weights == weights)) {
        return OK;
    }
    return error_set(e, ERR_USAGE,
                     "matrix %s: %s (allowed: placement.digital_channels=0 and placement.digital_weights=0, or a whole "
                     "model, whose text says which inputs are large)",
                     m->name, m->side ? "its side path is not that of the placement"
                                      : "the chip asks for a digital side path, and none was chosen");
}

/* Placement and sources that belong together. */
static enum status check_parts(const struct placement *p, const struct matrix_source *m, size_t count,
                               struct error *e) {
    if (placement_matrices(p) != count) {
        return error_set(e, ERR_USAGE, "machine: %zu matrices, but the placement has %zu", count,
                         placement_matrices(p));
    }
    for (size_t i = 0; i < count; i++) {
        struct placement_matrix placed = placement_matrix_at(p, i);
        if (placed.inputs != m[i].inputs || placed.outputs != m[i].outputs) {
            return error_set(e, ERR_USAGE, "matrix %s: %u x %u weights, but the placement has %u x %u", m[i].name,
                             m[i].outputs, m[i].inputs, placed.outputs, placed.inputs);
        }
        TRY(check_side(&placed, &m[i], e));
        if (m[i].devices && placed.analog && placed.devices != m[i].devices) {
            return error_set(e, ERR_USAGE, "matrix %s: %u devices per weight, but the placement has %u", m[i].name,
                             m[i].devices, placed.devices);
        }
    }
    return OK;
}

/* Machines of many tiles would take hours where nobody expects it. */
static enum status check_folding(const struct chip_spec *spec, const struct placement *p, struct error *e) {
    uint64_t tiles = placement_total(p).tiles;
    bool floating = spec->tile.wires.float_inactive;
    if (!chip_needs_network(spec) || spec->tile.wires.exact_nonlinear || tiles <= 1) {
        return OK;
    }
    return error_set(
        e, ERR_USAGE,
        "tile.wires: %s cannot be folded into a matrix with their wires: every read of the %llu tiles is solved "
        "by Newton, about %.2g s per token on one core (allowed: tile.wires.exact_nonlinear=on to have that, "
        "one tile, %s, or effects.wires=off)",
        floating ? "floating rows" : "cells whose current is not proportional to the voltage",
        (unsigned long long)tiles, network_token_s(spec, p),
        floating ? "tile.wires.float_inactive=off" : "effects.cell_nonlinearity=off");
}

struct chip_fold_times chip_fold_times(const struct chip *c, uint32_t inputs, uint32_t outputs) {
    const struct chip_spec *s = chip_spec_of(c);
    struct encoding_plan plan;
    if (!s->effects.wires || !s->tile.wires.given || encoding_plan(s, &plan, NULL) != OK) {
        return (struct chip_fold_times){0, 0, 0};
    }
    enum wires_method method = (enum wires_method)s->tile.wires.method;
    size_t columns = encoding_physical_columns(&plan, outputs);
    return (struct chip_fold_times){
        .least_s = wires_fold_s(method == WIRES_AUTOMATIC ? WIRES_PRODUCT : method, inputs, columns),
        .most_s = wires_fold_s(method, inputs, columns),
        .exact_s = wires_fold_s(WIRES_EXACT, inputs, columns)};
}

/* Devices cannot be programmed again before they have been programmed. Checked against the tiles programmed so far. */
static enum status check_refresh(const struct machine *m, struct error *e) {
    double period_s = m->spec->tile.refresh_period_s, least_s = m->slowest_tile_s / m->spec->tile.program_parallel;
    if (period_s > 0 && period_s < least_s) { /* NAN: not known */
        return error_set(e, ERR_USAGE,
                         "tile.refresh_period_s: %g s, but programming a tile takes %g s (allowed: 0 for never, at "
                         "least %g s, or more devices at once by tile.program_parallel)",
                         period_s, least_s, least_s);
    }
    return OK;
}

static enum status program_all(struct machine *m, const struct matrix_source *sources, struct error *e) {
    uint64_t total = 0, done = 0, tiles = 0;
    for (size_t i = 0; i < m->count; i++) {
        total += placement_matrix_at(m->placement, i).analog ? (uint64_t)sources[i].inputs * sources[i].outputs : 0;
    }
    struct progress *bar = progress_create("programming", total);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < m->count; i++) {
        if (placement_matrix_at(m->placement, i).analog) {
            m->arrays[i] = array_create(m, &sources[i]);
            if (!m->arrays[i]) {
                status = out_of_memory(&sources[i], e);
                break;
            }
            status = array_check_source(m, m->arrays[i], e);
            if (status != OK) {
                break;
            }
            m->arrays[i]->first_tile = tiles;
            status = array_program(m, i, bar, done, e);
            status = status == OK ? check_refresh(m, e) : status;
            done += (uint64_t)sources[i].inputs * sources[i].outputs;
            tiles += (uint64_t)m->arrays[i]->row_blocks * m->arrays[i]->column_blocks;
        }
    }
    progress_destroy(bar);
    return status == OK ? machine_measure_wires(m, e) : status;
}

enum status machine_create(const struct chip *c, const struct placement *p, const struct matrix_source *m, size_t count,
                           const struct machine_options *o, struct machine **out, struct error *e) {
    const struct chip_spec *spec = chip_spec_of(c);
    TRY(chip_check_age(c, o->age_s, e));
    TRY(check_parts(p, m, count, e));
    TRY(check_folding(spec, p, e));
    struct encoding_plan plan;
    TRY(encoding_plan(spec, &plan, e));
    struct machine *machine = mem_alloc(1, sizeof *machine);
    struct array **arrays = mem_alloc(count, sizeof *arrays);
    if (!machine || !arrays) {
        mem_free(machine);
        mem_free(arrays);
        return error_set(e, ERR_RUN, "machine: out of memory");
    }
    *machine = (struct machine){.chip = c,
                                .spec = spec,
                                .placement = p,
                                .seed = o->seed,
                                .age_s = o->age_s,
                                .since_programming_s = age_since_programming_s(&spec->tile, o->age_s),
                                .count = count,
                                .plan = plan,
                                .simple = machine_is_simple(spec),
                                .dac = converter_make(spec->tile.dac.bits),
                                .adc = converter_make(spec->tile.adc.bits),
                                .arrays = arrays};
    enum status status = OK;
    if (spec->tile.faults.map[0]) {
        status = fault_map_load(spec, machine_fault_array(machine), placement_total(p).tiles, &machine->faults, e);
    }
    if (status == OK) {
        status = program_all(machine, m, e);
    }
    if (status == OK) {
        status = machine_initial_ranges(machine, e);
    }
    if (status != OK) {
        machine_destroy(machine);
        return status;
    }
    *out = machine;
    return OK;
}

bool machine_is_analog(const struct machine *m, size_t matrix) { return matrix < m->count && m->arrays[matrix]; }

const struct chip *machine_chip(const struct machine *m) { return m->chip; }

const struct placement *machine_placement(const struct machine *m) { return m->placement; }
