/* Programs a machine: weights -> targets -> devices as read at the machine's age -> effective weights (design section
 * 3, steps 1 to 3), and the factors of the drift compensation.
 *
 * Per column o and row block, with w the weights, s their scale (max|w| of the column, or of the tile),
 * span = g_max - g_min:
 *   differential pair   target plus  = g_min + max(w, 0) span / s,   target minus = g_min + max(-w, 0) span / s
 *                       effective w  = (g_plus - g_minus) s / span   each device with its own noise, the
 *                                                                    zero device too
 *   signed unit         target = w span / s, effective w = g s / span (cells whose statistics are those of a pair)
 * Device d (0 plus, 1 minus) of weight (o, i) takes random number o * inputs + i of stream `matrix << 8 | d`: so
 * conductances depend on neither tiles nor threads. Read noise is the slow state, drawn once (devices/device.h).
 *
 * Drift compensation (aihwkit's GlobalDriftCompensation and its per-column variant): factor = reference / current,
 * each the mean |g_plus - g_minus| / span of the tile (or column), at least 1e-4; the reference is read right after
 * programming (age 0, with its read noise). The readout itself is exact here: no converters, and its time and energy
 * are not counted.
 *
 * Memory: 2 bytes per weight (4 in fp32), 28 bytes per column and row block, and while programming 1/4 byte per
 * weight of one matrix; each thread holds one panel of weights. Columns whose largest |w| is below 1e-36 count as
 * zeros.
 * Not modelled: faults, wires, write-verify.
 */
#include "sim/machine.h"

#include <math.h>
#include <pthread.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/threads.h"

/* ---- programming one matrix ------------------------------------------------------------------- */

enum { DEVICES = 2, AGES = 2, WEIGHTS_PER_GROUP = 1 << 22, CODE_MAX = 32767 };

/* Smallest mean readout of the compensation, in units of g_max (aihwkit). */
static const double READOUT_FLOOR = 1e-4;

/* What all threads that program one matrix share. */
struct job {
    const struct machine *m;
    struct array *a;
    size_t matrix;
    struct cell_common cell;
    struct cell_conditions effects;
    double ages_s[AGES]; /* the machine's age, then 0 when a reference is needed */
    size_t age_count;
    float *partial_S;                    /* [panels][inputs] conductance on each input */
    double *sum_now_S, *sum_reference_S; /* [row_blocks][columns] sum of |g_plus - g_minus| */
};

/* What one thread needs for one panel. */
struct work {
    float *w;                     /* [PANEL][inputs] */
    float *target_S[DEVICES];     /* [inputs] */
    float *read_S[DEVICES][AGES]; /* [inputs] */
    int16_t *codes;               /* [inputs] */
};

static void work_destroy(struct work *k) {
    mem_free(k->w);
    mem_free(k->codes);
}

static bool work_create(struct work *k, size_t inputs) {
    k->w = mem_alloc((PANEL + DEVICES + DEVICES * AGES) * inputs, sizeof *k->w);
    k->codes = mem_alloc(inputs, sizeof *k->codes);
    if (!k->w || !k->codes) {
        work_destroy(k);
        return false;
    }
    float *next = k->w + PANEL * inputs;
    for (size_t d = 0; d < DEVICES; d++, next += inputs) {
        k->target_S[d] = next;
    }
    for (size_t d = 0; d < DEVICES; d++) {
        for (size_t age = 0; age < AGES; age++, next += inputs) {
            k->read_S[d][age] = next;
        }
    }
    return true;
}

/* Sum of |x|: eight running sums in a fixed order, so that it becomes vector code with the same bits everywhere. */
static float sum_of_sizes(const float *x, size_t n) {
    float sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sum[j] += fabsf(x[i + j]);
        }
    }
    for (; i < n; i++) {
        sum[i % 8] += fabsf(x[i]);
    }
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static void encode_targets(const float *w, size_t n, float siemens_per_weight, float g_min_S, float *plus_S, float *minus_S) {
    if (!minus_S) {
        for (size_t i = 0; i < n; i++) {
            plus_S[i] = w[i] * siemens_per_weight;
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float g_S = w[i] * siemens_per_weight;
        plus_S[i] = (g_S > 0.0f ? g_S : 0.0f) + g_min_S;
        minus_S[i] = (g_S < 0.0f ? -g_S : 0.0f) + g_min_S;
    }
}

static enum status not_finite(const struct array *a, uint32_t output, const float *w, struct error *e) {
    uint32_t i = 0;
    while (isfinite(w[i])) {
        i++;
    }
    return error_set(e, ERR_RUN, "matrix %s: weight of output %u, input %u is %g (allowed: finite numbers)",
                     a->source.name, output, i, (double)w[i]);
}

/* column_max of one output in all row blocks. */
static enum status measure_column(struct array *a, uint32_t output, const float *w, struct error *e) {
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        float largest = kernels()->absmax_f32(w + a->row_begin[b], array_block_rows(a, b));
        if (!isfinite(largest)) {
            return not_finite(a, output, w, e);
        }
        a->column_max[(size_t)b * a->columns + output] = largest > SMALLEST_RANGE ? largest : 0.0f;
    }
    return OK;
}

/* Devices of one output, from targets to reads at all ages of the job. */
static void realise_column(const struct job *j, struct work *k, uint32_t output, const float *w) {
    const struct array *a = j->a;
    bool pair = j->m->spec->tile.encoding == ENCODING_DIFFERENTIAL_PAIR;
    double span_S = j->cell.g_max_S - j->cell.g_min_S;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        uint32_t at = a->row_begin[b];
        float scale = a->weight_scale[(size_t)b * a->columns + output];
        encode_targets(w + at, array_block_rows(a, b), scale > 0 ? (float)(span_S / (double)scale) : 0.0f,
                       (float)j->cell.g_min_S, k->target_S[0] + at, pair ? k->target_S[1] + at : NULL);
    }
    for (uint64_t d = 0; d < (pair ? 2 : 1); d++) {
        struct cell_draws draws = {j->m->seed, (uint64_t)j->matrix << 8 | d, (uint64_t)output * a->inputs};
        cell_realise_ages(j->m->spec->tile.cell, &j->effects, &draws, k->target_S[d], j->ages_s, j->age_count,
                          k->read_S[d], NULL, a->inputs);
    }
}

/* Signed conductance of every weight at every age, in read_S[0]; adds the current sizes to row_S. */
static void combine_devices(const struct job *j, struct work *k, float *row_S) {
    size_t n = j->a->inputs;
    bool pair = j->m->spec->tile.encoding == ENCODING_DIFFERENTIAL_PAIR;
    for (size_t i = 0; i < n; i++) {
        row_S[i] += fabsf(k->read_S[0][0][i]) + (pair ? fabsf(k->read_S[1][0][i]) : 0.0f);
    }
    for (size_t age = 0; pair && age < j->age_count; age++) {
        float *signed_S = k->read_S[0][age];
        const float *minus_S = k->read_S[1][age];
        for (size_t i = 0; i < n; i++) {
            signed_S[i] -= minus_S[i];
        }
    }
}

/* Largest code of a column whose sizes sum to `sum` and reach `largest`: the dot product with input codes up to `limit`
 * must fit int32, with half a code of rounding per row. The factor keeps a margin for the rounding of this estimate. */
static float largest_code(double sum, double largest, uint32_t rows, int limit) {
    double room = 0.999 * (2147483647.0 / limit) - 0.5 * rows;
    return (float)floor(fmin(CODE_MAX, room * largest / sum));
}

static void store_codes(const struct job *j, struct work *k, uint32_t output, uint32_t b, const float *effective) {
    struct array *a = j->a;
    uint32_t rows = array_block_rows(a, b);
    float largest = kernels()->absmax_f32(effective, rows),
          *code_scale = &a->code_scale[(size_t)b * a->columns + output];
    if (!(largest > SMALLEST_RANGE)) {
        *code_scale = 0;
        return; /* the codes are zero already */
    }
    float top = largest_code((double)sum_of_sizes(effective, rows), (double)largest, rows, j->m->dac.limit);
    *code_scale = largest / top;
    kernels()->quantise_i16(effective, rows, top / largest, CODE_MAX, k->codes);
    int16_t *panel =
        a->codes + ((size_t)(output / PANEL) * a->row_stride + a->row_offset[b]) * PANEL + 2 * (output % PANEL);
    for (uint32_t r = 0; r < rows; r++) {
        panel[(size_t)(r / 2) * 2 * PANEL + r % 2] = k->codes[r];
    }
}

static void store_weights(struct array *a, uint32_t output, uint32_t b, const float *effective) {
    float *panel = a->weights + ((size_t)(output / PANEL) * a->row_stride + a->row_offset[b]) * PANEL + output % PANEL;
    for (uint32_t r = 0; r < array_block_rows(a, b); r++) {
        panel[(size_t)r * PANEL] = effective[r];
    }
    a->code_scale[(size_t)b * a->columns + output] = 1;
}

/* Effective weights of one output from its signed conductances, block by block, into the panel; readout sums. */
static void store_column(const struct job *j, struct work *k, uint32_t output) {
    struct array *a = j->a;
    double span_S = j->cell.g_max_S - j->cell.g_min_S;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        size_t at = (size_t)b * a->columns + output;
        uint32_t rows = array_block_rows(a, b);
        float *signed_S = k->read_S[0][0] + a->row_begin[b];
        j->sum_now_S[at] = (double)sum_of_sizes(signed_S, rows);
        if (j->age_count > 1) {
            j->sum_reference_S[at] = (double)sum_of_sizes(k->read_S[0][1] + a->row_begin[b], rows);
        }
        float weight_per_siemens = (float)((double)a->weight_scale[at] / span_S);
        for (uint32_t r = 0; r < rows; r++) {
            signed_S[r] *= weight_per_siemens;
        }
        if (a->codes) {
            store_codes(j, k, output, b, signed_S);
        } else {
            store_weights(a, output, b, signed_S);
        }
    }
}

static uint32_t panel_lanes(const struct array *a, uint32_t panel) {
    uint32_t left = a->outputs - panel * PANEL;
    return left < PANEL ? left : PANEL;
}

typedef enum status panel_function(const struct job *j, struct work *k, uint32_t panel, struct error *e);

static enum status measure_panel(const struct job *j, struct work *k, uint32_t panel, struct error *e) {
    uint32_t lanes = panel_lanes(j->a, panel);
    TRY(j->a->source.read_rows(j->a->source.context, panel * PANEL, lanes, k->w, e));
    for (uint32_t lane = 0; lane < lanes; lane++) {
        TRY(measure_column(j->a, panel * PANEL + lane, k->w + (size_t)lane * j->a->inputs, e));
    }
    return OK;
}

static enum status program_panel(const struct job *j, struct work *k, uint32_t panel, struct error *e) {
    struct array *a = j->a;
    uint32_t lanes = panel_lanes(a, panel);
    TRY(a->source.read_rows(a->source.context, panel * PANEL, lanes, k->w, e));
    for (uint32_t lane = 0; lane < lanes; lane++) {
        uint32_t output = panel * PANEL + lane;
        const float *w = k->w + (size_t)lane * a->inputs;
        if (j->m->spec->tile.scale == SCALE_PER_COLUMN) {
            TRY(measure_column(a, output, w, e));
            for (uint32_t b = 0; b < a->row_blocks; b++) {
                a->weight_scale[(size_t)b * a->columns + output] = a->column_max[(size_t)b * a->columns + output];
            }
        }
        realise_column(j, k, output, w);
        combine_devices(j, k, j->partial_S + (size_t)panel * a->inputs);
        store_column(j, k, output);
    }
    return OK;
}

/* Panels of one matrix on all threads. */
struct group {
    const struct job *job;
    panel_function *function;
    struct work *works;   /* [threads] */
    uint32_t first;       /* panel of index 0 */
    pthread_mutex_t lock; /* of what follows */
    uint32_t failed;      /* lowest panel with an error: it wins, whichever thread was first */
    enum status status;
    struct error error;
};

static void run_some_panels(void *context, size_t begin, size_t end, int worker) {
    struct group *g = context;
    for (uint32_t panel = g->first + (uint32_t)begin; panel < g->first + end; panel++) {
        struct error mine;
        enum status s = g->function(g->job, &g->works[worker], panel, &mine);
        if (s != OK) {
            pthread_mutex_lock(&g->lock);
            if (panel < g->failed) {
                g->failed = panel;
                g->status = s;
                g->error = mine;
            }
            pthread_mutex_unlock(&g->lock);
        }
    }
}

/* In groups, for the progress line and Ctrl-C. */
static enum status run_groups(struct group *g, int threads, struct progress *bar, uint64_t done, struct error *e) {
    const struct array *a = g->job->a;
    uint32_t size = WEIGHTS_PER_GROUP / PANEL / a->inputs + 1;
    for (uint32_t first = 0; first < a->panels; first += size) {
        uint32_t end = a->panels - first < size ? a->panels : first + size;
        TRY(check_interrupted(e));
        g->first = first;
        parallel_for(end - first, 1, threads, run_some_panels, g);
        if (g->status != OK) {
            if (e) {
                *e = g->error;
            }
            return g->status;
        }
        progress_update(bar, done + (uint64_t)(end < a->panels ? end * PANEL : a->outputs) * a->inputs);
    }
    return OK;
}

static enum status run_panels(const struct job *j, panel_function *function, struct progress *bar, uint64_t done,
                              struct error *e) {
    int threads = threads_count(), ready = 0;
    threads = (uint32_t)threads < j->a->panels ? threads : (int)j->a->panels;
    struct group g = {.job = j, .function = function, .failed = UINT32_MAX, .status = OK};
    g.works = mem_alloc((size_t)threads, sizeof *g.works);
    while (g.works && ready < threads && work_create(&g.works[ready], j->a->inputs)) {
        ready++;
    }
    enum status status;
    if (ready == threads) {
        pthread_mutex_init(&g.lock, NULL);
        status = run_groups(&g, threads, bar, done, e);
        pthread_mutex_destroy(&g.lock);
    } else {
        status = error_set(e, ERR_RUN, "matrix %s: out of memory while programming", j->a->source.name);
    }
    while (ready > 0) {
        work_destroy(&g.works[--ready]);
    }
    mem_free(g.works);
    return status;
}

/* ---- what is common to a tile -------------------------------------------------------------------- */

/* Calls visit(job, row block, first output, end output) for every tile. */
static void for_each_tile(const struct job *j, void (*visit)(const struct job *, uint32_t, uint32_t, uint32_t)) {
    const struct array *a = j->a;
    const struct tile_spec *tile = &j->m->spec->tile;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t c = 0; c < a->column_blocks; c++) {
            visit(j, b, block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c),
                  block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c + 1));
        }
    }
}

static void set_tile_scale(const struct job *j, uint32_t b, uint32_t first, uint32_t end) {
    const float *column_max = j->a->column_max + (size_t)b * j->a->columns;
    float *weight_scale = j->a->weight_scale + (size_t)b * j->a->columns;
    float largest = kernels()->absmax_f32(column_max + first, end - first);
    for (uint32_t o = first; o < end; o++) {
        weight_scale[o] = largest;
    }
}

/* reference / now, both as means over `devices` in units of the span, at least the floor. */
static float compensation_factor(const struct job *j, double reference_S, double now_S, double devices) {
    double span_S = j->cell.g_max_S - j->cell.g_min_S;
    return (float)(fmax(reference_S / devices / span_S, READOUT_FLOOR) / fmax(now_S / devices / span_S, READOUT_FLOOR));
}

static void set_tile_compensation(const struct job *j, uint32_t b, uint32_t first, uint32_t end) {
    const struct array *a = j->a;
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
        factor[o] = j->m->spec->tile.compensation == COMPENSATION_GLOBAL
                        ? common
                        : compensation_factor(j, reference_S[o], now_S[o], rows);
    }
}

/* ---- arrays ------------------------------------------------------------------------------------------ */

void array_destroy(struct array *a) {
    if (a) {
        mem_free(a->row_begin);
        mem_free(a->row_offset);
        mem_free(a->codes);
        mem_free(a->weights);
        mem_free(a->row_S);
        mem_free(a->code_scale);
        mem_free(a->input_range);
        mem_free(a->output_max);
        mem_free(a->input);
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

/* Inputs beyond this many bits leave too little of int32 for the weights: they multiply in fp32. */
enum { MOST_INTEGER_BITS = 10, COLUMN_VALUES = 7 };

static bool weights_are_codes(const struct chip_spec *s) {
    return s->effects.dac && s->tile.dac.bits <= MOST_INTEGER_BITS;
}

uint64_t placement_machine_bytes(const struct chip *c, const struct placement *p) {
    const struct chip_spec *s = chip_spec_of(c);
    uint64_t bytes = 0, weight = weights_are_codes(s) ? sizeof(int16_t) : sizeof(float);
    for (size_t i = 0; i < placement_matrices(p); i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        if (m.analog) {
            uint64_t columns = (uint64_t)block_count(m.outputs, PANEL) * PANEL;
            bytes += columns * m.inputs * weight + columns * m.row_blocks * COLUMN_VALUES * sizeof(float);
        }
    }
    return bytes;
}

static struct array *array_create(const struct chip_spec *spec, const struct matrix_source *source) {
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
    size_t lines = (size_t)a->row_blocks * a->columns;
    bool integer = weights_are_codes(spec);
    if (array_cut(a, &spec->tile)) {
        size_t weights = (size_t)a->row_stride * a->columns; /* both below 2^32 + 2^32/rows: the product fits 64 bits */
        a->codes = integer ? mem_alloc(weights, sizeof *a->codes) : NULL;
        a->weights = integer ? NULL : mem_alloc(weights, sizeof *a->weights);
        a->row_S = mem_alloc(a->inputs, sizeof *a->row_S);
        a->code_scale = mem_alloc(COLUMN_VALUES * lines, sizeof *a->code_scale);
    }
    if ((!a->codes && !a->weights) || !a->row_S || !a->code_scale) {
        array_destroy(a);
        return NULL;
    }
    a->weight_scale = a->code_scale + lines;
    a->column_max = a->code_scale + 2 * lines;
    a->compensation = a->code_scale + 3 * lines;
    a->full_scale = a->code_scale + 4 * lines;
    a->to_code = a->code_scale + 5 * lines;
    a->to_output = a->code_scale + 6 * lines;
    for (size_t i = 0; i < lines; i++) {
        a->compensation[i] = 1;
    }
    return a;
}

static enum status job_run(struct job *j, struct progress *bar, uint64_t done, struct error *e) {
    struct array *a = j->a;
    if (j->m->spec->tile.scale == SCALE_PER_TILE) {
        TRY(run_panels(j, measure_panel, NULL, 0, e));
        for_each_tile(j, set_tile_scale);
    }
    TRY(run_panels(j, program_panel, bar, done, e));
    for (uint32_t i = 0; i < a->inputs; i++) {
        double sum_S = 0;
        for (uint32_t panel = 0; panel < a->panels; panel++) {
            sum_S += (double)j->partial_S[(size_t)panel * a->inputs + i];
        }
        a->row_S[i] = (float)sum_S;
    }
    if (j->age_count > 1) {
        for_each_tile(j, set_tile_compensation);
    }
    return OK;
}

static enum status program_matrix(struct machine *m, size_t matrix, const struct matrix_source *source,
                                  struct progress *bar, uint64_t done, struct error *e) {
    struct array *a = array_create(m->spec, source);
    m->arrays[matrix] = a;
    if (!a) {
        return out_of_memory(source, e);
    }
    const struct effects *on = &m->spec->effects;
    struct job j = {.m = m,
                    .a = a,
                    .matrix = matrix,
                    .cell = cell_common_of(m->spec->tile.cell),
                    .effects = {on->programming_noise, on->drift, on->read_noise},
                    .ages_s = {m->age_s, 0}};
    j.age_count = m->spec->tile.compensation != COMPENSATION_NONE && m->age_s > 0 ? 2 : 1;
    size_t lines = (size_t)a->row_blocks * a->columns;
    j.partial_S = mem_alloc((size_t)a->panels * a->inputs, sizeof *j.partial_S);
    j.sum_now_S = mem_alloc(lines, sizeof *j.sum_now_S);
    j.sum_reference_S = mem_alloc(lines, sizeof *j.sum_reference_S);
    enum status status =
        !j.partial_S || !j.sum_now_S || !j.sum_reference_S ? out_of_memory(source, e) : job_run(&j, bar, done, e);
    mem_free(j.partial_S);
    mem_free(j.sum_now_S);
    mem_free(j.sum_reference_S);
    return status;
}

/* ---- the machine --------------------------------------------------------------------------------------- */

void machine_destroy(struct machine *m) {
    if (m) {
        for (size_t i = 0; m->arrays && i < m->count; i++) {
            array_destroy(m->arrays[i]);
        }
        mem_free(m->arrays);
        mem_free(m);
    }
}

enum status chip_check_age(const struct chip *c, double age_s, struct error *e) {
    struct cell_common cell = cell_common_of(chip_spec_of(c)->tile.cell);
    if (!(age_s >= cell.min_age_s && age_s <= cell.max_age_s)) {
        return error_set(e, ERR_USAGE, "age: %g s is outside the time model of the cell (allowed: %g to %g s)", age_s,
                         cell.min_age_s, cell.max_age_s);
    }
    return OK;
}

/* The chip as a whole: encoding, placement and sources that belong together. */
static enum status check_parts(const struct chip_spec *spec, const struct placement *p, const struct matrix_source *m,
                               size_t count, struct error *e) {
    struct cell_common cell = cell_common_of(spec->tile.cell);
    if (cell.pair_statistics != (spec->tile.encoding == ENCODING_SIGNED_UNIT)) {
        return error_set(
            e, ERR_USAGE, "tile.encoding: the cell %s needs the encoding %s", cell_model_of(spec->tile.cell)->name,
            cell.pair_statistics ? "signed_unit: its statistics are those of a signed pair" : "differential_pair");
    }
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
    }
    return OK;
}

static enum status program_all(struct machine *m, const struct matrix_source *sources, struct error *e) {
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < m->count; i++) {
        total += placement_matrix_at(m->placement, i).analog ? (uint64_t)sources[i].inputs * sources[i].outputs : 0;
    }
    struct progress *bar = progress_create("programming", total);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < m->count; i++) {
        if (placement_matrix_at(m->placement, i).analog) {
            status = program_matrix(m, i, &sources[i], bar, done, e);
            done += (uint64_t)sources[i].inputs * sources[i].outputs;
        }
    }
    progress_destroy(bar);
    return status;
}

enum status machine_create(const struct chip *c, const struct placement *p, const struct matrix_source *m, size_t count,
                           const struct machine_options *o, struct machine **out, struct error *e) {
    const struct chip_spec *spec = chip_spec_of(c);
    TRY(chip_check_age(c, o->age_s, e));
    TRY(check_parts(spec, p, m, count, e));
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
                                .count = count,
                                .dac = converter_make(spec->tile.dac.bits),
                                .adc = converter_make(spec->tile.adc.bits),
                                .arrays = arrays};
    enum status status = program_all(machine, m, e);
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
