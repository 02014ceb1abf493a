/* The devices of one tile: weights -> targets -> devices as read at some ages -> conductance of every crossing -> what
 * its lines say.
 *
 * Physical columns, in the order in which they lie side by side on the array: for every output, for every slice, the
 * legs; then the shared columns. A crossing is the sum of its parallel devices.
 * Random numbers: device k of slice s and leg l of weight (o, i) takes number o x inputs + i of stream
 * matrix << 8 | encoding_device(s, l, k), so that conductances depend on neither tiles nor threads; a shared column,
 * which every tile has its own of, number column block x inputs + i of stream matrix << 8 | encoding_shared_device(s,
 * k). When the devices are programmed again (tile.refresh_period_s), the seed is another one: same streams, new
 * numbers.
 * Wires (tile.wires, devices/wires.h): the array in use, without lines that hold nothing; crossings become effective
 * conductances, at every age.
 * What a line says, in units of the weights (symbols: encoding.h): scale x sum of part x g / (devices x span).
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "sim/ladder.h"
#include "sim/side_path.h"

/* One tile at work. */
struct place {
    const struct machine *m;
    const struct array *a;
    uint64_t seed, matrix;
    uint32_t row_block, column_block, first_row, rows, first_output, outputs;
    const float *w;
    const struct cell_life *life;
    size_t ages;
};

/* ---- memory ------------------------------------------------------------------------------------------------ */

bool machine_wires_act(const struct machine *m) {
    return m->spec->effects.wires && m->spec->tile.wires.given;
}

struct wires machine_wires_of(const struct machine *m) {
    const struct wires_spec *w = &m->spec->tile.wires;
    return (struct wires){w->row_ohm.value, w->column_ohm.value, w->input_ohm.value, w->output_ohm.value,
                          w->input_end,     w->output_end,       w->segment};
}

bool machine_ladder_acts(const struct machine *m) { return m->spec->effects.wires && m->spec->tile.ladder.given; }

struct fault_array machine_fault_array(const struct machine *m) {
    const struct tile_spec *t = &m->spec->tile;
    return (struct fault_array){(uint32_t)t->rows, encoding_physical_columns(&m->plan, (uint32_t)t->columns)};
}

static bool has_white_noise(const struct machine *m) {
    return m->spec->effects.read_noise && cell_has_white_noise(m->spec->tile.cell);
}

void tile_devices_destroy(struct tile_devices *t) {
    if (t) {
        mem_free(t->crossing_S[0]);
        mem_free(t->effective_S[0] == t->crossing_S[0] ? NULL : t->effective_S[0]);
        mem_free(t->fold_scratch);
        mem_free(t->input_S);
        mem_free(t->column_S);
        tile_faults_destroy(t->faults);
        mem_free(t->white_variance);
        mem_free(t->target_S);
        mem_free(t);
    }
}

/* All planes of `cells` floats: crossings, one of several parallel devices, effective conductances. */
static bool allocate_planes(const struct machine *m, struct tile_devices *t, uint32_t rows, size_t cells) {
    bool several = t->array->devices > 1, white = has_white_noise(m), wires = machine_wires_act(m),
         ladder = machine_ladder_acts(m);
    float *planes = mem_alloc((several ? 2u : 1u) * AGES_MOST * cells, sizeof *planes);
    float *effective = wires || ladder ? mem_alloc(AGES_MOST * cells, sizeof *effective) : planes;
    for (size_t age = 0; planes && effective && age < AGES_MOST; age++) {
        t->crossing_S[age] = planes + age * cells;
        t->device_S[age] = several ? planes + (AGES_MOST + age) * cells : t->crossing_S[age];
        t->effective_S[age] = effective + age * cells;
    }
    t->crossing_S[0] = planes;
    t->effective_S[0] = effective;
    t->fold_scratch = wires    ? mem_alloc(wires_fold_scratch_bytes(rows, cells / rows), 1)
                      : ladder ? mem_alloc(rows, sizeof(double))
                               : NULL;
    t->input_S = wires ? mem_alloc(rows, sizeof *t->input_S) : NULL;
    t->column_S = ladder ? mem_alloc(cells / rows / m->plan.legs, sizeof *t->column_S) : NULL;
    t->white_variance = white ? mem_alloc(cells, sizeof(float)) : NULL;
    t->target_S = mem_alloc(2 * (size_t)rows, sizeof(float));
    t->written_S = t->target_S ? t->target_S + rows : NULL;
    bool faulty = faults_act(m->spec, m->faults);
    t->faults = faulty ? tile_faults_create() : NULL;
    return (!faulty || t->faults) && planes && effective && ((!wires && !ladder) || t->fold_scratch) &&
           (!wires || t->input_S) &&
           (!ladder || t->column_S) && (!white || t->white_variance) && t->target_S;
}

enum status tile_devices_create(const struct machine *m, const struct array *a, uint32_t rows, uint32_t outputs,
                                struct tile_devices **out, struct error *e) {
    struct tile_devices *t = mem_alloc(1, sizeof *t);
    size_t columns = encoding_physical_columns(&m->plan, outputs);
    if (t) {
        t->array = a;
    }
    if (!t || !allocate_planes(m, t, rows, columns * rows)) {
        tile_devices_destroy(t);
        return error_set(e, ERR_RUN, "tile: out of memory (%u rows, %zu columns of devices)", rows, columns);
    }
    *out = t;
    return OK;
}

/* ---- devices ------------------------------------------------------------------------------------------------ */

static struct cell_conditions conditions_of(const struct machine *m) {
    const struct effects *on = &m->spec->effects;
    const struct tile_spec *tile = &m->spec->tile;
    return (struct cell_conditions){.programming_noise = on->programming_noise,
                                    .drift = on->drift,
                                    .read_noise = on->read_noise,
                                    .temperature = on->temperature,
                                    .temperature_K = tile->temperature_K,
                                    .reads = tile->reads};
}

static void realise_column(const struct place *p, struct tile_devices *t, uint32_t column, uint32_t device,
                           uint64_t first, struct programming_count *count) {
    float *read_S[AGES_MOST];
    for (size_t age = 0; age < p->ages; age++) {
        read_S[age] = t->device_S[age] + (size_t)column * p->rows;
    }
    cell_life_realise(p->life, p->matrix << 8 | device, first, t->target_S, read_S, count, p->rows);
}

/* Programs the targets of a column again, and adds up how far off they are. */
static void sample_errors(const struct place *p, const struct tile_devices *t, uint32_t device, uint64_t first,
                          struct error_sums *sums) {
    const struct encoding_plan *plan = &p->m->plan;
    struct cell_conditions conditions = conditions_of(p->m);
    struct cell_draws draws = {p->seed, p->matrix << 8 | device, first};
    cell_program(p->m->spec->tile.cell, &conditions, &draws, t->target_S, t->written_S, NULL, p->rows);
    error_sums_add(sums, t->target_S, t->written_S, p->rows, plan->g_min_S, plan->span_S);
}

/* Parallel device k of every crossing, into device_S. */
static void realise_devices(const struct place *p, struct tile_devices *t, uint32_t k,
                            struct tile_programming *programmed) {
    const struct encoding_plan *plan = &p->m->plan;
    const struct array *a = p->a;
    struct programming_count *count = programmed ? &programmed->count : NULL;
    uint32_t column = 0, stride = error_stride(a->outputs, (uint64_t)a->inputs * plan->slices * plan->legs *
                                                               a->devices);
    for (uint32_t o = 0; o < p->outputs; o++) {
        float scale = a->weight_scale[(size_t)p->row_block * a->columns + p->first_output + o];
        const float *w = p->w + (size_t)o * a->inputs + p->first_row;
        uint64_t first = (uint64_t)(p->first_output + o) * a->inputs + p->first_row;
        for (uint32_t s = 0; s < plan->slices; s++) {
            for (uint32_t leg = 0; leg < plan->legs; leg++) {
                encoding_targets(plan, w, p->rows, scale, s, leg, t->target_S);
                uint32_t device = encoding_device(plan, a->devices, s, leg, k);
                realise_column(p, t, column++, device, first, count);
                if (programmed && (p->first_output + o) % stride == 0) {
                    sample_errors(p, t, device, first, &programmed->error);
                }
            }
        }
    }
    for (uint32_t s = 0; plan->shared_column && s < plan->slices; s++) {
        float target_S = encoding_shared_target(plan, s);
        for (uint32_t i = 0; i < p->rows; i++) {
            t->target_S[i] = target_S;
        }
        realise_column(p, t, column++, encoding_shared_device(a->devices, s, k),
                       (uint64_t)p->column_block * a->inputs + p->first_row, count);
    }
}

static struct fault_place fault_place_of(const struct machine *m, const struct array *a, size_t matrix,
                                         uint32_t row_block, uint32_t column_block) {
    struct cell_common cell = cell_common_of(m->spec->tile.cell);
    uint32_t outputs = array_block_output(a, &m->spec->tile, column_block + 1) -
                       array_block_output(a, &m->spec->tile, column_block);
    return (struct fault_place){.seed = m->seed, /* not of the programming: devices are stuck for life */
                                .matrix = matrix,
                                .tile_in_matrix = (uint64_t)row_block * a->column_blocks + column_block,
                                .tile_number = array_tile_number(a, row_block, column_block),
                                .rows = array_block_rows(a, row_block),
                                .physical_columns = encoding_physical_columns(&m->plan, outputs),
                                .devices = a->devices,
                                .full = machine_fault_array(m),
                                .g_min_S = cell.g_min_S,
                                .g_max_S = cell.g_max_S};
}

static enum status find_faults(const struct place *p, const struct tile_devices *t, struct fault_count *count,
                               struct error *e) {
    struct fault_place at = fault_place_of(p->m, p->a, p->matrix, p->row_block, p->column_block);
    return t->faults ? tile_faults_find(t->faults, p->m->spec, p->m->faults, &at, count, e) : OK;
}

struct listing {
    struct machine *m;
    uint64_t tile;
};

static void list_line(struct machine_fault_list *list, uint64_t tile, const struct fault_line *line) {
    if (list->total < FAULT_LINES_MOST) {
        list->lines[list->total] = (struct machine_fault_line){.tile = tile,
                                                               .row = line->row,
                                                               .moved = line->moved,
                                                               .dead = line->dead,
                                                               .line = line->line,
                                                               .spare = line->spare,
                                                               .stuck = line->stuck};
    }
    list->total++;
}

static void list_fault(void *ctx, const struct fault_line *line) {
    const struct listing *l = ctx;
    if (line->moved) {
        list_line(&l->m->moved, l->tile, line);
    }
    if (line->dead || (!line->row && line->stuck > 0)) {
        list_line(&l->m->left, l->tile, line);
    }
}

enum status machine_list_faults(struct machine *m, const struct array *a, size_t matrix, uint32_t row_block,
                                uint32_t column_block, const struct fault_count *count, struct error *e) {
    uint64_t moved = count->repaired_rows + count->repaired_columns, left = count->lines_left;
    bool wanted = (moved > 0 && m->moved.total < FAULT_LINES_MOST) || (left > 0 && m->left.total < FAULT_LINES_MOST);
    if (!wanted) {
        m->moved.total += moved;
        m->left.total += left;
        return OK;
    }
    struct fault_place at = fault_place_of(m, a, matrix, row_block, column_block);
    struct listing listing = {m, at.tile_number};
    struct tile_faults *f = tile_faults_create();
    enum status s = f ? tile_faults_find(f, m->spec, m->faults, &at, NULL, e)
                      : error_set(e, ERR_RUN, "faults of a tile: out of memory");
    if (s == OK) {
        tile_faults_visit(f, list_fault, &listing);
    }
    tile_faults_destroy(f);
    return s;
}

/* Adds the parallel device in device_S to the crossings. */
static void add_devices(const struct place *p, struct tile_devices *t, bool first) {
    size_t cells = (size_t)t->physical_columns * t->rows;
    for (size_t age = 0; age < p->ages && p->a->devices > 1; age++) {
        float *sum_S = t->crossing_S[age];
        const float *one_S = t->device_S[age];
        for (size_t i = 0; i < cells; i++) {
            sum_S[i] = first ? one_S[i] : sum_S[i] + one_S[i];
        }
    }
}

/* Adds the variance of device_S per read. */
static void add_white_variance(const struct place *p, struct tile_devices *t) {
    for (uint32_t column = 0; t->white_variance && column < t->physical_columns; column++) {
        float *variance = t->white_variance + (size_t)column * t->rows, *sd_S = t->target_S;
        cell_white_sd(p->m->spec->tile.cell, t->device_S[0] + (size_t)column * t->rows, sd_S, t->rows);
        for (uint32_t i = 0; i < t->rows; i++) {
            variance[i] += sd_S[i] * sd_S[i];
        }
    }
}

/* ---- wires -------------------------------------------------------------------------------------------------- */

/* Noise of a device reaches the output as its current does; one of 0 S, as that of its neighbour on the column. */
static void attenuate_variance(struct tile_devices *t) {
    for (uint32_t column = 0; t->white_variance && column < t->physical_columns; column++) {
        const float *g_S = t->crossing_S[0] + (size_t)column * t->rows,
                    *effective_S = t->effective_S[0] + (size_t)column * t->rows;
        float *variance = t->white_variance + (size_t)column * t->rows, ratio = 1;
        for (uint32_t i = t->rows; i-- > 0;) { /* of the first that conducts, for those before it */
            ratio = g_S[i] > 0 ? effective_S[i] / g_S[i] : ratio;
        }
        for (uint32_t i = 0; i < t->rows; i++) {
            ratio = g_S[i] > 0 ? effective_S[i] / g_S[i] : ratio;
            variance[i] *= ratio * ratio;
        }
    }
}

static enum status fold_wires(const struct place *p, struct tile_devices *t, struct error *e) {
    struct wires wires = machine_wires_of(p->m);
    const struct wires_spec *spec = &p->m->spec->tile.wires;
    struct fold_options options = {spec->method, spec->tolerance};
    for (size_t age = 0; machine_wires_act(p->m) && age < p->ages; age++) {
        struct fold_result fold;
        /* Other ages are only read out for the compensation: a mean, for which the product is good enough. */
        options.method = age > 0 && options.method == WIRES_AUTOMATIC ? WIRES_PRODUCT : options.method;
        if (wires_fold(&wires, t->rows, t->physical_columns, t->crossing_S[age], &options, t->fold_scratch,
                       t->effective_S[age], age == 0 ? &fold : NULL, e) != OK) {
            return error_prefix(e, "matrix %s, tile of row block %u, column block %u", p->a->source.name, p->row_block,
                                p->column_block);
        }
        if (age == 0) {
            t->fold = fold;
            wires_input_conductance(&wires, t->rows, t->physical_columns, t->crossing_S[0], t->fold_scratch,
                                    t->input_S);
            attenuate_variance(t);
        }
    }
    return OK;
}

/* Both legs of every output lie on one wire; plus comes first. */
static void fold_ladders(const struct place *p, struct tile_devices *t) {
    const struct tile_spec *tile = &p->m->spec->tile;
    struct ladder ladder = {(uint32_t)tile->rows, (uint32_t)tile->ladder.segments, tile->ladder.cell_ohm.value};
    double *share = t->fold_scratch;
    for (size_t age = p->ages; machine_ladder_acts(p->m) && age-- > 0;) { /* column_S: of the first age */
        for (uint32_t o = 0; o < p->outputs; o++) {
            size_t at = (size_t)2 * o * p->rows;
            const float *g_S = t->crossing_S[age] + at;
            t->column_S[o] = ladder_fold(&ladder, g_S, g_S + p->rows, p->rows, o, share);
            for (uint32_t i = 0; i < 2 * p->rows; i++) {
                t->effective_S[age][at + i] = (float)((double)g_S[i] * share[i % p->rows]);
            }
        }
    }
    if (machine_ladder_acts(p->m)) {
        attenuate_variance(t);
    }
}

/* Targets in microsiemens, and what a device differs from its target by. Converted from siemens, an exact device would
 * be off by the last bit, and steps in single precision would round to other results than aihwkit's, which has
 * microsiemens. */
void tile_pair_uS(const struct machine *m, struct tile_devices *t, const float *w, uint32_t output, float weight_scale,
                  float *pair_uS) {
    struct encoding_plan micro = m->plan;
    double devices = t->array->devices;
    micro.g_min_S *= 1e6;
    micro.span_S *= 1e6;
    for (uint32_t leg = 0; leg < 2; leg++) {
        const float *g_S = t->crossing_S[0] + ((size_t)2 * output + leg) * t->rows;
        float *target_uS = t->written_S;
        encoding_targets(&m->plan, w, t->rows, weight_scale, 0, leg, t->target_S);
        encoding_targets(&micro, w, t->rows, weight_scale, 0, leg, target_uS);
        for (uint32_t i = 0; i < t->rows; i++) {
            double off_S = (double)g_S[i] - (double)t->target_S[i] * devices;
            pair_uS[leg * t->rows + i] = (float)((double)target_uS[i] * devices + 1e6 * off_S);
        }
    }
}

/* All parallel devices of all crossings, with faults. */
static void realise_crossings(const struct place *p, struct tile_devices *t, struct tile_programming *programmed) {
    for (uint32_t k = 0; k < p->a->devices; k++) {
        realise_devices(p, t, k, programmed);
        for (size_t age = 0; t->faults && age < p->ages; age++) {
            tile_faults_apply(t->faults, k, t->device_S[age]);
        }
        add_white_variance(p, t);
        add_devices(p, t, k == 0);
    }
}

enum status tile_devices_realise(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                 const float *w, const double *ages_s, size_t ages,
                                 struct tile_programming *programmed, struct fault_count *faults,
                                 struct tile_devices *t, struct error *e) {
    const struct array *a = m->arrays[matrix];
    const struct tile_spec *tile = &m->spec->tile;
    uint32_t first = array_block_output(a, tile, column_block), end = array_block_output(a, tile, column_block + 1);
    uint64_t seed = machine_device_seed(m);
    struct cell_conditions conditions = conditions_of(m);
    struct cell_life *life;
    struct place p = {m, a, seed, matrix, row_block, column_block, a->row_begin[row_block],
                      array_block_rows(a, row_block), first, end - first, w, NULL, ages};
    t->rows = p.rows;
    t->outputs = p.outputs;
    t->physical_columns = encoding_physical_columns(&m->plan, p.outputs);
    t->ages = ages;
    if (t->white_variance) {
        memset(t->white_variance, 0, (size_t)t->physical_columns * t->rows * sizeof *t->white_variance);
    }
    TRY(find_faults(&p, t, faults, e));
    TRY(cell_life_create(tile->cell, &conditions, seed, ages_s, ages, &life, e));
    p.life = life;
    realise_crossings(&p, t, programmed);
    cell_life_destroy(life);
    fold_ladders(&p, t);
    return fold_wires(&p, t, e);
}

enum status tile_devices_read(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                              float *w, struct tile_devices *t, struct error *e) {
    const struct array *a = m->arrays[matrix];
    uint32_t first = array_block_output(a, &m->spec->tile, column_block),
             end = array_block_output(a, &m->spec->tile, column_block + 1);
    double age_s = machine_age_since_programming_s(m);
    TRY(array_read_targets(a, first, end - first, w, e));
    return tile_devices_realise(m, matrix, row_block, column_block, w, &age_s, 1, NULL, NULL, t, e);
}

/* ---- lines --------------------------------------------------------------------------------------------------- */

/* Adds part x column to sum; the first column of a line is copied. */
static void add_column(float part, const float *column, size_t n, bool first, float *sum) {
    for (size_t i = 0; i < n; i++) {
        sum[i] = first ? part * column[i] : sum[i] + part * column[i];
    }
}

/* Sum over the physical columns of a line: of g with weights `part`, or of variances with weights part^2. */
static void sum_line(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line,
                     const float *cells, bool squares, float *sum) {
    const struct encoding_plan *plan = &m->plan;
    bool first = true;
    for (uint32_t s = 0; s < plan->slices; s++) {
        for (uint32_t leg = 0; leg < plan->legs; leg++) {
            if (plan->line_of[s][leg] != line) {
                continue;
            }
            float part = (float)plan->part[s][leg];
            size_t column = ((size_t)output * plan->slices + s) * plan->legs + leg,
                   common = (size_t)t->outputs * plan->slices * plan->legs + s;
            add_column(squares ? part * part : part, cells + column * t->rows, t->rows, first, sum);
            first = false;
            if (plan->shared_column && (plan->shared_analog || squares)) {
                add_column(squares ? part * part : -part, cells + common * t->rows, t->rows, false, sum);
            }
        }
    }
}

void tile_line_S(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line, size_t age,
                 float *sum_S) {
    sum_line(m, t, output, line, t->effective_S[age], false, sum_S);
}

double tile_weight_per_siemens(const struct machine *m, const struct array *a, float weight_scale) {
    return (double)weight_scale / (m->plan.span_S * a->devices);
}

void tile_line_weights(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line,
                       size_t age, float weight_scale, float *effective) {
    float factor = (float)tile_weight_per_siemens(m, t->array, weight_scale);
    tile_line_S(m, t, output, line, age, effective);
    for (uint32_t i = 0; i < t->rows; i++) {
        effective[i] *= factor;
    }
}

void tile_line_variance(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line,
                        float weight_scale, float *variance) {
    double factor = tile_weight_per_siemens(m, t->array, weight_scale);
    sum_line(m, t, output, line, t->white_variance, true, variance);
    for (uint32_t i = 0; i < t->rows; i++) {
        variance[i] = (float)((double)variance[i] * factor * factor);
    }
}

void tile_shared_S(const struct machine *m, const struct tile_devices *t, uint32_t slice, size_t age, float *line_S) {
    size_t column = (size_t)t->outputs * m->plan.slices * m->plan.legs + slice;
    add_column((float)m->plan.part[slice][0], t->effective_S[age] + column * t->rows, t->rows, true, line_S);
}
