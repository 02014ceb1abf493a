/* Multiplies of tiles whose wires cannot be folded into a matrix: nonlinear cells behind wires, floating rows.
 *
 * Every tile, token and pass of a block is one read of its network (network_pass.h) on the crossings as programmed;
 * what a line of an output takes from it, v = sum over its physical columns of part x I_j / V x weight per siemens x
 * digit_limit stands where sum w x level stands elsewhere: noise, converters and the digital part follow as always.
 * Linear cells give the same for any V, so that a chip without a read voltage takes 1 V.
 *
 * Threads take one read after the other; each writes its own results, so that any number of threads gives the same
 * bytes. Memory: the crossings in fp32, and per thread one tile in double precision with its network. Not solved but
 * folded, at the voltage where the conductances are stated: variance of white noise, energy of the array, the factors
 * of the drift compensation.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "sim/multiply.h"
#include "sim/network_pass.h"

bool chip_needs_network(const struct chip_spec *s) {
    const struct tile_spec *t = &s->tile;
    return s->effects.wires && t->wires.given &&
           (t->wires.float_inactive || (s->effects.cell_nonlinearity && !cell_is_linear(t->cell)));
}

/* ---- what it costs -------------------------------------------------------------------------------------------- */

/* Seconds of one solution = this x cells^1.5: measured, 64 x 128 (0.074 s) to 256 x 512 cells (4.1 s), four iterations
 * each, one core at about 2.5 GHz; within 20 %, other machines within a factor of 2. */
static const double SOLUTION_S = 8.6e-8;

double network_token_s(const struct chip_spec *s, const struct placement *p) {
    const struct tile_spec *t = &s->tile;
    struct encoding_plan plan;
    struct input_plan inputs;
    double seconds = 0;
    input_plan_make(t, s->effects.dac, &inputs);
    for (size_t i = 0; i < placement_matrices(p) && encoding_plan(s, &plan, NULL) == OK; i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        double tiles = m.analog ? (double)m.row_blocks * block_count(m.outputs, (uint32_t)t->columns) : 0;
        double cells = tiles > 0 ? (double)m.inputs * encoding_physical_columns(&plan, m.outputs) / tiles : 0;
        double rows = (double)m.inputs / fmax(m.row_blocks, 1);
        seconds += tiles * (inputs.voltage ? 1 : fmin(inputs.digit_limit, rows)) * pow(cells, 1.5);
    }
    return seconds * inputs.passes * SOLUTION_S;
}

/* ---- crossings -------------------------------------------------------------------------------------------------- */

static uint32_t physical_before(const struct machine *m, const struct array *a, uint32_t column_block) {
    const struct encoding_plan *p = &m->plan;
    uint32_t outputs =
        column_block == a->column_blocks ? a->outputs : array_block_output(a, &m->spec->tile, column_block);
    return outputs * p->slices * p->legs + (p->shared_column ? column_block * p->slices : 0);
}

size_t array_crossings(const struct machine *m, const struct array *a) {
    return (size_t)a->inputs * physical_before(m, a, a->column_blocks);
}

float *array_tile_crossings(const struct machine *m, const struct array *a, uint32_t row_block, uint32_t column_block) {
    return a->crossings + (size_t)a->row_begin[row_block] * physical_before(m, a, a->column_blocks) +
           (size_t)array_block_rows(a, row_block) * physical_before(m, a, column_block);
}

/* ---- one read ------------------------------------------------------------------------------------------------------
 */

/* What one thread needs. */
struct network_work {
    double *g_S;                  /* [columns][rows] of the largest tile */
    double *level, *row_V, *ends; /* [rows] */
    bool *driven;                 /* [rows] */
    double *mean_A, *piece_A;     /* [physical columns] */
    size_t failed;                /* lowest read with an error */
    enum status status;
    struct error error;
};

static bool work_create(struct network_work *k, size_t rows, size_t columns) {
    k->g_S = mem_alloc(rows * columns, sizeof *k->g_S);
    k->level = mem_alloc(3 * rows, sizeof *k->level);
    k->driven = mem_alloc(rows, sizeof *k->driven);
    k->mean_A = mem_alloc(2 * columns, sizeof *k->mean_A);
    if (!k->g_S || !k->level || !k->driven || !k->mean_A) {
        return false;
    }
    k->row_V = k->level + rows;
    k->ends = k->row_V + rows;
    k->piece_A = k->mean_A + columns;
    return true;
}

void network_scratch_destroy(struct network_scratch *n) {
    for (int i = 0; n && n->works && i < n->threads; i++) {
        mem_free(n->works[i].g_S);
        mem_free(n->works[i].level);
        mem_free(n->works[i].driven);
        mem_free(n->works[i].mean_A);
    }
    if (n) {
        mem_free(n->works);
        mem_free(n->levels);
        mem_free(n->sums);
        mem_free(n->shared);
        mem_free(n);
    }
}

struct network_scratch *network_scratch_create(const struct machine *m, size_t rows, size_t columns, size_t shared) {
    struct network_scratch *n = mem_alloc(1, sizeof *n);
    if (!n) {
        return NULL;
    }
    size_t reads = (size_t)m->inputs.passes * TOKENS,
           tile = encoding_physical_columns(&m->plan, (uint32_t)m->spec->tile.columns);
    n->threads = threads_count();
    n->stride = rows;
    n->levels = mem_alloc(reads * rows, sizeof *n->levels);
    n->sums = mem_alloc(reads * m->plan.lines * columns, sizeof *n->sums);
    n->shared = mem_alloc(reads * shared, sizeof *n->shared);
    n->works = mem_alloc((size_t)n->threads, sizeof *n->works);
    bool ok = n->levels && n->sums && n->shared && n->works;
    for (int i = 0; ok && i < n->threads; i++) {
        ok = work_create(&n->works[i], rows, tile);
    }
    if (!ok) {
        network_scratch_destroy(n);
        return NULL;
    }
    return n;
}

/* Mean currents of a tile -> the lines of its outputs, its shared columns. */
static void store_lines(const struct block_work *w, uint32_t c, size_t read, const double *mean_A) {
    const struct machine *m = w->m;
    const struct encoding_plan *plan = &m->plan;
    const struct array *a = w->a;
    uint32_t first = array_block_output(a, &m->spec->tile, c), end = array_block_output(a, &m->spec->tile, c + 1);
    double unit = m->inputs.digit_limit / network_volts(m);
    const double *shared_A = mean_A + (size_t)(end - first) * plan->slices * plan->legs;
    float *sums = w->g->network->sums + read * a->lines * a->columns;
    for (uint32_t o = first; o < end; o++) {
        double line_A[LINES_MOST] = {0};
        for (uint32_t s = 0; s < plan->slices; s++) {
            for (uint32_t leg = 0; leg < plan->legs; leg++) {
                double A = *mean_A++ - (plan->shared_column && plan->shared_analog ? shared_A[s] : 0);
                line_A[plan->line_of[s][leg]] += plan->part[s][leg] * A;
            }
        }
        double weight = unit * tile_weight_per_siemens(m, a, a->weight_scale[(size_t)w->block * a->columns + o]);
        for (uint32_t line = 0; line < a->lines; line++) {
            sums[(size_t)line * a->columns + o] = (float)(line_A[line] * weight);
        }
    }
    for (uint32_t s = 0; a->shared && s < plan->slices; s++) {
        w->g->network->shared[(read * a->column_blocks + c) * plan->slices + s] =
            (float)(plan->part[s][0] * shared_A[s] * unit * tile_weight_per_siemens(m, a, 1));
    }
}

double network_volts(const struct machine *m) { return m->bent ? m->spec->tile.read_voltage_V.value : 1; }

static enum status read_tile(const struct block_work *w, struct network_work *k, uint32_t c, size_t read,
                             struct error *e) {
    const struct machine *m = w->m;
    const struct array *a = w->a;
    uint32_t rows = array_block_rows(a, w->block), solutions = 0, iterations = 0,
             columns = physical_before(m, a, c + 1) - physical_before(m, a, c);
    const float *crossing_S = array_tile_crossings(m, a, w->block, c);
    for (size_t i = 0; i < (size_t)rows * columns; i++) {
        k->g_S[i] = (double)crossing_S[i];
    }
    for (uint32_t i = 0; i < rows; i++) {
        k->level[i] = (double)w->g->network->levels[read * w->g->network->stride + i] / m->inputs.digit_limit;
    }
    struct network_pass pass = {.wires = machine_wires_of(m),
                                .rows = rows,
                                .columns = columns,
                                .g_S = k->g_S,
                                .bent = m->bent ? m->spec->tile.cell : NULL,
                                .floating = m->spec->tile.wires.float_inactive,
                                .pulses = !m->inputs.voltage,
                                .volts = network_volts(m),
                                .row_V = k->row_V,
                                .ends = k->ends,
                                .driven = k->driven,
                                .piece_A = k->piece_A};
    if (network_pass_read(&pass, k->level, k->mean_A, NULL, &solutions, &iterations, e) != OK) {
        return error_prefix(e, "matrix %s, tile of row block %u, column block %u", a->source.name, w->block, c);
    }
    store_lines(w, c, read, k->mean_A);
    return OK;
}

/* ---- a block
 * ---------------------------------------------------------------------------------------------------------- */

static void read_tiles(void *context, size_t begin, size_t end, int worker) {
    const struct block_work *w = context;
    struct network_work *k = &w->g->network->works[worker];
    uint32_t blocks = w->a->column_blocks;
    for (size_t i = begin; i < end; i++) {
        size_t pass = i / blocks / w->tokens, token = i / blocks % w->tokens;
        struct error mine;
        if (w->idle[token] || i > k->failed) {
            continue;
        }
        enum status s = read_tile(w, k, (uint32_t)(i % blocks), pass * TOKENS + token, &mine);
        if (s != OK) {
            k->failed = i;
            k->status = s;
            k->error = mine;
        }
    }
}

enum status network_read_block(struct block_work *w, struct error *e) {
    struct network_scratch *n = w->g->network;
    size_t failed = SIZE_MAX;
    enum status s = OK;
    for (int i = 0; i < n->threads; i++) {
        n->works[i].failed = SIZE_MAX;
    }
    parallel_for((size_t)w->m->inputs.passes * w->tokens * w->a->column_blocks, 1, n->threads, read_tiles, w);
    for (int i = 0; i < n->threads; i++) {
        if (n->works[i].failed < failed) {
            failed = n->works[i].failed;
            s = n->works[i].status;
            *e = n->works[i].error;
        }
    }
    return s;
}

void network_group_sum(const struct block_work *w, uint32_t group, uint32_t line, uint32_t column, float *out) {
    const struct input_plan *plan = &w->m->inputs;
    const struct array *a = w->a;
    memset(out, 0, (size_t)w->tokens * PANEL * sizeof *out);
    for (uint32_t p = group_first(plan, group); p < group_end(plan, group); p++) {
        float gain = plan->pass[p].share;
        for (uint32_t t = 0; t < w->tokens; t++) {
            const float *sums =
                w->g->network->sums + (((size_t)p * TOKENS + t) * a->lines + line) * a->columns + column;
            for (uint32_t lane = 0; lane < PANEL && column + lane < a->outputs; lane++) {
                out[t * PANEL + lane] += gain * sums[lane];
            }
        }
    }
}

float network_shared_sum(const struct block_work *w, uint32_t pass, uint32_t token, uint32_t number) {
    size_t columns = (size_t)w->a->column_blocks * w->m->plan.slices;
    return w->g->network->shared[((size_t)pass * TOKENS + token) * columns + number];
}
