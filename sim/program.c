/* Programs one matrix: weights -> devices of every tile -> effective weights in panels, conductances of the inputs, and
 * the factors of the drift compensation.
 *
 * Works in groups of column blocks: the group's weights are read once, all threads over outputs, and give the scales;
 * then all threads take tiles. A tile writes what belongs to it alone, sums over tiles are added up afterwards in a
 * fixed order: the same bytes for any thread count.
 *
 * Drift compensation (aihwkit's GlobalDriftCompensation, its per-column variant, and the one with exact reference):
 * factor = reference / current, each the mean of |what the lines say together| in units of full scale over the tile (or
 * column), at least 1e-4. The reference is read right after programming, with its read noise, or is what the targets
 * say (exact_reference). On a schedule (tile.compensation_period_s) the current readout is the one of the last whole
 * period. The readout itself is exact here: no converters; its time and energy are counted beside (correction.c).
 *
 * Memory: the weights of a group (at most 16 MiB, or one column block), and per thread one tile of devices.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "sim/ladder.h"
#include "sim/side_path.h"

enum { WEIGHTS_PER_GROUP = 1 << 22, READ_OUTPUTS = 16 };

/* Smallest mean readout of the compensation, in units of full scale (aihwkit). */
static const double READOUT_FLOOR = 1e-4;

/* What one tile found out; written by the thread that has it, added up later. */
struct tile_result {
    struct tile_programming programmed;
    struct fault_count faults;
    struct fold_result fold;
};

/* What all threads that program one matrix share. */
struct job {
    struct machine *m;
    struct array *a;
    size_t matrix;
    double ages_s[AGES_MOST];             /* now; then, where they are needed: compensation measured, reference read */
    size_t age_count, readout, reference; /* indices into ages_s; reference = age_count: of the targets */
    bool compensated;
    float *w;                            /* [outputs of the group][inputs] */
    uint32_t first_block, end_block;     /* column blocks of the group */
    double *row_S;                       /* [column_blocks][inputs] */
    double *between_S;                   /* the same, where the array has one */
    double *sum_now_S, *sum_reference_S; /* [row_blocks][columns] sum of |readout| */
    struct tile_result *results;         /* [row_blocks][column_blocks] */
    struct work *works;                  /* [threads] */
    pthread_mutex_t lock;                /* of what follows */
    size_t failed;                       /* lowest part with an error: it wins, whichever thread was first */
    enum status status;
    struct error error;
};

/* What one thread needs. */
struct work {
    struct tile_devices *devices;
    float *line, *readout, *variance; /* [rows] */
    int16_t *codes;                   /* [rows] */
};

static uint32_t first_output(const struct job *j, uint32_t column_block) {
    return array_block_output(j->a, &j->m->spec->tile, column_block);
}

static void note_failure(struct job *j, size_t part, enum status s, const struct error *mine) {
    pthread_mutex_lock(&j->lock);
    if (part < j->failed) {
        j->failed = part;
        j->status = s;
        j->error = *mine;
    }
    pthread_mutex_unlock(&j->lock);
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

static enum status bad_weight(const struct array *a, uint32_t output, const float *w, bool sign, struct error *e) {
    uint32_t i = 0;
    while (isfinite(w[i]) && !(sign && w[i] < 0)) {
        i++;
    }
    return error_set(e, ERR_RUN, "matrix %s: weight of output %u, input %u is %g (allowed: %s)", a->source.name, output,
                     i, (double)w[i], isfinite(w[i]) ? "not negative with tile.encoding unsigned" : "finite numbers");
}

static bool any_negative(const float *w, uint32_t n) {
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        any = any || w[i] < 0;
    }
    return any;
}

/* column_max of one output in all row blocks. */
static enum status measure_column(const struct job *j, uint32_t output, const float *w, struct error *e) {
    struct array *a = j->a;
    bool sign = j->m->plan.kind == ENCODING_UNSIGNED;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        float largest = kernels()->absmax_f32(w + a->row_begin[b], array_block_rows(a, b));
        if (!isfinite(largest) || (sign && any_negative(w + a->row_begin[b], array_block_rows(a, b)))) {
            return bad_weight(a, output, w, sign, e);
        }
        a->column_max[(size_t)b * a->columns + output] = largest > SMALLEST_RANGE ? largest : 0.0f;
    }
    return OK;
}

static enum status read_part(const struct job *j, uint32_t first, uint32_t end, struct error *e) {
    const struct array *a = j->a;
    float *w = j->w + (size_t)(first - first_output(j, j->first_block)) * a->inputs;
    TRY(a->source.read_rows(a->source.context, first, end - first, w, e));
    for (uint32_t o = first; o < end; o++) {
        TRY(side_keep(j->a, o, w + (size_t)(o - first) * a->inputs, e));
    }
    array_make_targets(a, first, end - first, w);
    for (uint32_t o = first; o < end; o++) {
        TRY(measure_column(j, o, w + (size_t)(o - first) * a->inputs, e));
    }
    return OK;
}

static void read_parts(void *context, size_t begin, size_t end, int worker) {
    struct job *j = context;
    uint32_t start = first_output(j, j->first_block), stop = first_output(j, j->end_block);
    (void)worker;
    for (size_t part = begin; part < end; part++) {
        uint32_t first = start + (uint32_t)part * READ_OUTPUTS;
        struct error mine;
        enum status s = read_part(j, first, stop - first < READ_OUTPUTS ? stop : first + READ_OUTPUTS, &mine);
        if (s != OK) {
            note_failure(j, part, s, &mine);
        }
    }
}

/* What full-scale conductance stands for, and what is subtracted digitally, in all tiles of a column block. */
static void set_scales(const struct job *j, uint32_t column_block) {
    struct array *a = j->a;
    uint32_t first = first_output(j, column_block), end = first_output(j, column_block + 1);
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        const float *column_max = a->column_max + (size_t)b * a->columns;
        float *scale = a->weight_scale + (size_t)b * a->columns;
        const float *given = a->source.weight_scale ? a->source.weight_scale + (size_t)b * a->outputs : NULL;
        float largest = kernels()->absmax_f32(column_max + first, end - first);
        for (uint32_t o = first; o < end; o++) {
            scale[o] = given ? given[o] : j->m->spec->tile.scale == SCALE_PER_TILE ? largest : column_max[o];
            scale[o] = scale[o] > SMALLEST_RANGE ? scale[o] : 0.0f;
            if (a->offset) {
                a->offset[(size_t)b * a->columns + o] = (float)(j->m->plan.offset * (double)scale[o]);
            }
        }
    }
}

/* ---- tiles ---------------------------------------------------------------------------------------------------- */

/* Adds factor x values to the readout of a column; the first one of it is copied. */
static void add_readout(double factor, const float *values, uint32_t n, bool first, float *readout) {
    float f = (float)factor;
    for (uint32_t i = 0; i < n; i++) {
        readout[i] = first ? f * values[i] : readout[i] + f * values[i];
    }
}

/* Sum over the rows of |what all lines of an output say together|, siemens. */
static double readout_sum(const struct job *j, struct work *k, uint32_t output, size_t age) {
    const struct encoding_plan *plan = &j->m->plan;
    for (uint32_t line = 0; line < plan->lines; line++) {
        tile_line_S(j->m, k->devices, output, line, age, k->line);
        add_readout(plan->line_factor[line], k->line, k->devices->rows, line == 0, k->readout);
    }
    for (uint32_t s = 0; plan->shared_column && !plan->shared_analog && s < plan->slices; s++) {
        tile_shared_S(j->m, k->devices, s, age, k->line);
        add_readout(-plan->line_factor[plan->line_of[s][0]], k->line, k->devices->rows, false, k->readout);
    }
    return (double)sum_of_sizes(k->readout, k->devices->rows);
}

/* The same of the targets. */
static double target_sum(const struct job *j, const float *w, uint32_t rows, float scale) {
    double sum = 0, per_weight = scale > 0 ? 1 / (double)scale : 0;
    for (uint32_t i = 0; i < rows; i++) {
        sum += fabs((double)w[i] * per_weight + j->m->plan.offset);
    }
    return sum * j->m->plan.span_S * j->a->devices;
}

static void read_for_compensation(const struct job *j, struct work *k, uint32_t b, uint32_t column_block,
                                  const float *w) {
    const struct array *a = j->a;
    uint32_t first = first_output(j, column_block);
    for (uint32_t o = 0; o < k->devices->outputs; o++) {
        size_t at = (size_t)b * a->columns + first + o;
        j->sum_now_S[at] = readout_sum(j, k, o, j->readout);
        j->sum_reference_S[at] =
            j->reference < j->age_count
                ? readout_sum(j, k, o, j->reference)
                : target_sum(j, w + (size_t)o * a->inputs + a->row_begin[b], k->devices->rows, a->weight_scale[at]);
    }
}

static void store_tile(const struct job *j, struct work *k, uint32_t b, uint32_t column_block, const float *w) {
    struct array *a = j->a;
    struct tile_devices *t = k->devices;
    uint32_t first = first_output(j, column_block);
    for (uint32_t o = 0; o < t->outputs; o++) {
        float scale = a->weight_scale[(size_t)b * a->columns + first + o];
        for (uint32_t line = 0; line < a->lines; line++) {
            tile_line_weights(j->m, t, o, line, 0, scale, k->line);
            if (t->white_variance) {
                tile_line_variance(j->m, t, o, line, scale, k->variance);
            }
            array_store_line(j->m, a, b, line, first + o, k->line, t->white_variance ? k->variance : NULL, k->codes);
        }
        if (a->ladder_uS) {
            tile_pair_uS(j->m, t, w + (size_t)o * a->inputs + a->row_begin[b], o, scale,
                         a->ladder_uS + ladder_pairs_at(a, b, first + o));
        } else if (a->ladder_offset) {
            a->ladder_offset[(size_t)b * a->columns + first + o] =
                (float)(ladder_offset_S(&j->m->spec->tile.ladder, t->column_S[o]) *
                        tile_weight_per_siemens(j->m, a, scale));
        }
    }
    float per_siemens = (float)tile_weight_per_siemens(j->m, a, 1);
    for (uint32_t s = 0; a->shared && s < j->m->plan.slices; s++) {
        float *line = a->shared + ((size_t)column_block * j->m->plan.slices + s) * a->inputs + a->row_begin[b];
        tile_shared_S(j->m, t, s, 0, line);
        for (uint32_t i = 0; i < t->rows; i++) {
            line[i] *= per_siemens;
        }
    }
}

/* Conductance on each input, all columns of the tile. */
static void add_row_conductance(const struct tile_devices *t, double *row_S) {
    for (uint32_t column = 0; column < t->physical_columns; column++) {
        const float *g_S = t->effective_S[0] + (size_t)column * t->rows;
        for (uint32_t i = 0; i < t->rows; i++) {
            row_S[i] += (double)fabsf(g_S[i]);
        }
    }
}

static enum status program_tile(struct job *j, struct work *k, uint32_t b, uint32_t column_block, struct error *e) {
    struct array *a = j->a;
    struct tile_result *result = &j->results[(size_t)b * a->column_blocks + column_block];
    const float *w = j->w + (size_t)(first_output(j, column_block) - first_output(j, j->first_block)) * a->inputs;
    TRY(check_interrupted(e));
    TRY(tile_devices_realise(j->m, j->matrix, b, column_block, w, j->ages_s, j->age_count, &result->programmed,
                             &result->faults, k->devices, e));
    result->fold = k->devices->fold;
    if (j->compensated) {
        read_for_compensation(j, k, b, column_block, w);
    }
    store_tile(j, k, b, column_block, w);
    if (a->crossings) {
        memcpy(array_tile_crossings(j->m, a, b, column_block), k->devices->crossing_S[0],
               (size_t)k->devices->rows * k->devices->physical_columns * sizeof *a->crossings);
    }
    size_t rows_at = (size_t)column_block * a->inputs + a->row_begin[b];
    add_row_conductance(k->devices, j->row_S + rows_at);
    for (uint32_t i = 0; a->between_S && i < k->devices->rows; i++) {
        j->between_S[rows_at + i] = fmax(k->devices->input_S[i] - j->row_S[rows_at + i], 0);
    }
    return OK;
}

static void program_tiles(void *context, size_t begin, size_t end, int worker) {
    struct job *j = context;
    uint32_t blocks = j->end_block - j->first_block;
    for (size_t part = begin; part < end; part++) {
        struct error mine;
        enum status s = program_tile(j, &j->works[worker], (uint32_t)(part / blocks),
                                     j->first_block + (uint32_t)(part % blocks), &mine);
        if (s != OK) {
            note_failure(j, part, s, &mine);
        }
    }
}

/* ---- compensation ---------------------------------------------------------------------------------------------- */

/* Which ages must be realised. */
static void choose_ages(struct job *j) {
    const struct tile_spec *tile = &j->m->spec->tile;
    double now_s = machine_age_since_programming_s(j->m), period_s = tile->compensation_period_s,
           start_s = cell_common_of(tile->cell).min_age_s,
           measured_s = period_s > 0 ? fmax(floor(now_s / period_s) * period_s, start_s) : now_s;
    bool exact = tile->compensation == COMPENSATION_EXACT_REFERENCE;
    j->ages_s[0] = now_s;
    j->age_count = 1;
    j->compensated = tile->compensation != COMPENSATION_NONE && (exact || measured_s > start_s);
    if (!j->compensated) {
        return;
    }
    if (measured_s < now_s) {
        j->readout = j->age_count;
        j->ages_s[j->age_count++] = measured_s;
    }
    j->reference = j->age_count;
    if (!exact) {
        j->ages_s[j->age_count++] = start_s;
    }
}

/* reference / now, both as means over `count` weights in units of full scale, at least the floor. */
static float compensation_factor(const struct job *j, double reference_S, double now_S, double count) {
    double full_S = j->m->plan.span_S * j->a->devices;
    return (float)(fmax(reference_S / count / full_S, READOUT_FLOOR) / fmax(now_S / count / full_S, READOUT_FLOOR));
}

static void set_tile_compensation(const struct job *j, uint32_t b, uint32_t column_block) {
    const struct array *a = j->a;
    uint32_t first = first_output(j, column_block), end = first_output(j, column_block + 1);
    const double *now_S = j->sum_now_S + (size_t)b * a->columns,
                 *reference_S = j->sum_reference_S + (size_t)b * a->columns;
    float *factor = a->compensation + (size_t)b * a->columns;
    double rows = array_block_rows(a, b), tile_now_S = 0, tile_reference_S = 0;
    for (uint32_t o = first; o < end; o++) {
        tile_now_S += now_S[o];
        tile_reference_S += reference_S[o];
    }
    float common = compensation_factor(j, tile_reference_S, tile_now_S, rows * (end - first));
    for (uint32_t o = first; o < end; o++) {
        factor[o] = j->m->spec->tile.compensation == COMPENSATION_PER_COLUMN
                        ? compensation_factor(j, reference_S[o], now_S[o], rows)
                        : common;
    }
}

/* ---- one matrix -------------------------------------------------------------------------------------------------- */

static enum status add_results(struct job *j, struct error *e) {
    struct array *a = j->a;
    for (uint32_t i = 0; i < a->inputs; i++) {
        double sum_S = 0;
        for (uint32_t c = 0; c < a->column_blocks; c++) {
            sum_S += j->row_S[(size_t)c * a->inputs + i];
        }
        a->row_S[i] = (float)sum_S;
        for (uint32_t c = 0; a->between_S && c < a->column_blocks; c++) {
            a->between_S[i] += (float)j->between_S[(size_t)c * a->inputs + i];
            a->source_S[i] = a->row_S[i] + a->between_S[i];
        }
    }
    uint32_t copies = placement_matrix_at(j->m->placement, j->matrix).copies;
    for (size_t i = 0; i < (size_t)a->row_blocks * a->column_blocks; i++) {
        machine_note_tile(j->m, &j->results[i].programmed, copies);
        fault_count_add(&j->results[i].faults, &j->m->fault_count);
        if (machine_wires_act(j->m)) {
            machine_note_wires(j->m, &j->results[i].fold, a->first_tile + i);
        }
        TRY(machine_list_faults(j->m, a, j->matrix, (uint32_t)(i / a->column_blocks), (uint32_t)(i % a->column_blocks),
                                &j->results[i].faults, e));
    }
    return OK;
}

/* Column blocks [first, end) from reading to panels. */
static enum status program_group(struct job *j, int threads, struct error *e) {
    uint32_t outputs = first_output(j, j->end_block) - first_output(j, j->first_block);
    parallel_for(block_count(outputs, READ_OUTPUTS), 1, threads, read_parts, j);
    if (j->status == OK) {
        for (uint32_t c = j->first_block; c < j->end_block; c++) {
            set_scales(j, c);
        }
        parallel_for((size_t)j->a->row_blocks * (j->end_block - j->first_block), 1, threads, program_tiles, j);
    }
    if (j->status != OK && e) {
        *e = j->error;
    }
    return j->status;
}

static uint32_t blocks_per_group(const struct array *a, const struct tile_spec *tile) {
    uint64_t weights = (uint64_t)a->inputs * (uint32_t)tile->columns;
    uint64_t blocks = WEIGHTS_PER_GROUP / weights;
    return blocks < 1 ? 1 : blocks > a->column_blocks ? a->column_blocks : (uint32_t)blocks;
}

static enum status program_groups(struct job *j, int threads, uint32_t size, struct progress *bar, uint64_t done,
                                  struct error *e) {
    struct array *a = j->a;
    for (uint32_t first = 0; first < a->column_blocks; first = j->end_block) {
        TRY(check_interrupted(e));
        j->first_block = first;
        j->end_block = a->column_blocks - first < size ? a->column_blocks : first + size;
        TRY(program_group(j, threads, e));
        progress_update(bar, done + (uint64_t)first_output(j, j->end_block) * a->inputs);
    }
    for (uint32_t b = 0; j->compensated && b < a->row_blocks; b++) {
        for (uint32_t c = 0; c < a->column_blocks; c++) {
            set_tile_compensation(j, b, c);
        }
    }
    array_choose_sums(j->m, a);
    return add_results(j, e);
}

/* The longest block of either side. */
static uint32_t longest_block(uint32_t n, int size) { return n < (uint32_t)size ? n : (uint32_t)size; }

static enum status work_create(const struct job *j, struct work *k, struct error *e) {
    const struct tile_spec *tile = &j->m->spec->tile;
    uint32_t rows = longest_block(j->a->inputs, tile->rows), outputs = longest_block(j->a->outputs, tile->columns);
    TRY(tile_devices_create(j->m, j->a, rows, outputs, &k->devices, e));
    k->line = mem_alloc(3 * (size_t)rows, sizeof *k->line);
    k->codes = mem_alloc(rows, sizeof *k->codes);
    if (!k->line || !k->codes) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory while programming", j->a->source.name);
    }
    k->readout = k->line + rows;
    k->variance = k->line + 2 * (size_t)rows;
    return OK;
}

static void job_free(struct job *j, int threads) {
    for (int i = 0; j->works && i < threads; i++) {
        tile_devices_destroy(j->works[i].devices);
        mem_free(j->works[i].line);
        mem_free(j->works[i].codes);
    }
    mem_free(j->works);
    mem_free(j->w);
    mem_free(j->row_S);
    mem_free(j->between_S);
    mem_free(j->sum_now_S);
    mem_free(j->sum_reference_S);
    mem_free(j->results);
}

static enum status job_allocate(struct job *j, int threads, uint32_t group, struct error *e) {
    const struct array *a = j->a;
    size_t columns = (size_t)a->row_blocks * a->columns, tiles = (size_t)a->row_blocks * a->column_blocks,
           outputs = longest_block(a->outputs, j->m->spec->tile.columns);
    j->w = mem_alloc(outputs * group < a->outputs ? outputs * group : a->outputs, sizeof *j->w * a->inputs);
    j->row_S = mem_alloc((size_t)a->column_blocks * a->inputs, sizeof *j->row_S);
    j->between_S = mem_alloc((size_t)a->column_blocks * a->inputs, sizeof *j->between_S);
    j->sum_now_S = mem_alloc(columns, sizeof *j->sum_now_S);
    j->sum_reference_S = mem_alloc(columns, sizeof *j->sum_reference_S);
    j->results = mem_alloc(tiles, sizeof *j->results);
    j->works = mem_alloc((size_t)threads, sizeof *j->works);
    if (!j->w || !j->row_S || !j->between_S || !j->sum_now_S || !j->sum_reference_S || !j->results || !j->works) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory while programming", a->source.name);
    }
    for (int i = 0; i < threads; i++) {
        TRY(work_create(j, &j->works[i], e));
    }
    return OK;
}

enum status array_program(struct machine *m, size_t matrix, struct progress *bar, uint64_t done, struct error *e) {
    struct array *a = m->arrays[matrix];
    struct job j = {.m = m, .a = a, .matrix = matrix, .failed = SIZE_MAX, .status = OK};
    choose_ages(&j);
    uint32_t group = blocks_per_group(a, &m->spec->tile);
    uint64_t parts = (uint64_t)a->row_blocks * group;
    int threads = (uint64_t)threads_count() < parts ? threads_count() : (int)parts;
    enum status status = job_allocate(&j, threads, group, e);
    if (status == OK) {
        pthread_mutex_init(&j.lock, NULL);
        status = program_groups(&j, threads, group, bar, done, e);
        pthread_mutex_destroy(&j.lock);
    }
    job_free(&j, threads);
    return status;
}
