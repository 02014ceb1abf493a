/* Affine correction: every column of every tile learns the gain and offset that its converters and devices have, from
 * test vectors, as published chips do; and what this and the readouts of the drift compensation take.
 *
 *   test vectors   standard normal numbers x a third of the input range, cut off at the range (per token: the range is
 *                  their own largest)
 *   measured       m_v = result of the tile through everything that acts, noise included, without correction
 *   ideal          y_v = sum w x over the target weights, exact
 *   column         m_v = slope y_v + shift range_v + noise: least squares over the vectors where no conversion of it
 *                  saturated, since clipped results say nothing of gain and offset; with standard errors
 *   shrunk         slope -> mean + T (slope - mean), T = spread / (spread + its standard error^2), and the shift
 *                  likewise, in units of the column's root mean square result. Mean and spread (a variance) are those
 *                  of all columns of the block of rows, the spread being what their differences exceed their standard
 *                  errors by (DerSimonian & Laird, Controlled Clinical Trials 7, 1986)
 *   used           y = (m - shift x input range) / slope, digital, after drift compensation
 * Errors of the devices are noise to the fit: a slope or shift by chance is an error of its own at every read, and the
 * shift is multiplied by the range of each token, which an outlier makes many times larger than the inputs are. Where
 * columns differ by no more than chance, all get the same correction; where they really differ, each its own
 * (docs/attempts.md).
 * A column stays as it is (gain 1, offset 0) where
 *   - fewer than 16 vectors are not clipped;
 *   - it does not follow its inputs: the slope is less than 4 standard errors above 0;
 *   - vectors are clipped, and the sum of the squares of what is left over all vectors would become larger.
 * Both numbers of columns are reported.
 * When: right after each programming, and again every tile.correction_period_s; in use is the last one, fitted to the
 * devices as they were then: drift since is not corrected. Where that is another age than the machine's, the matrix is
 * programmed once more at that age, with the converters and ranges of the machine, and forgotten.
 * The digital units' work of the fit is not counted.
 *
 * Time: tiles work side by side, vectors one after the other. Energy: conversions and array of those multiplies.
 * Readout of the drift compensation: every input of a tile once at full scale, alone (as aihwkit reads them).
 * Not modelled: buses that bring the test vectors.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "sim/ledger.h"
#include "sim/multiply.h"
#include "sim/side_path.h"

/* Reads of the calibration have numbers that no token has. */
#define CORRECTION_READS 0x12345678901u
enum { STREAM_TEST_VECTORS = 0xE0 }; /* low byte of the stream RANDOM_CONVERTER */

struct machine_calibration machine_calibration(const struct machine *m) {
    struct machine_calibration c = m->calibration;
    if (!chip_has_costs(m->chip)) {
        c.seconds = c.joules = (double)NAN;
    }
    return c;
}

enum { VECTORS_LEAST = 16 };
static const double STANDARD_ERRORS = 4;

/* Sums of one column over some vectors: y ideal, m measured, r range. */
struct moments {
    double yy, ym, yr, mm, mr, rr;
    uint32_t count;
};

struct estimate {
    double value, variance; /* square of its standard error */
};

enum part { SLOPE, SHIFT, PARTS };

struct column {
    struct moments all, inside;    /* all vectors, those that are not clipped */
    bool fitted;
    struct estimate of[PARTS];
};

/* What the columns of a block have in common, and how much they differ. */
struct population {
    double mean, variance;
};

/* What the fits of all matrices took and gave. record: of the matrix in hand; sums: with its copies. */
struct totals {
    struct multiply_record record;
    double array_S_sum;
    uint64_t dac_conversions, adc_conversions;
    uint64_t corrected, left, clipped, results;
};

struct fit {
    struct machine *m;
    struct array *a;
    size_t matrix;
    uint32_t block, vectors;
    float *x;        /* [vectors][inputs] */
    float *measured; /* [vectors][outputs] */
    float *range;    /* [vectors] */
    uint8_t *beyond; /* [vectors][outputs] a conversion saturated */
    double *ideal;   /* [vectors] of one column */
    float *w;        /* [PANEL][inputs] */
    struct column *columns; /* [outputs] */
    struct totals *totals;
};

static void fit_destroy(struct fit *f) {
    mem_free(f->x);
    mem_free(f->measured);
    mem_free(f->range);
    mem_free(f->beyond);
    mem_free(f->ideal);
    mem_free(f->w);
    mem_free(f->columns);
}

static enum status fit_create(struct machine *m, size_t matrix, struct totals *totals, struct fit *f,
                              struct error *e) {
    struct array *a = m->arrays[matrix];
    size_t vectors = (size_t)m->spec->tile.correction_vectors;
    *f = (struct fit){.m = m, .a = a, .matrix = matrix, .vectors = (uint32_t)vectors, .totals = totals};
    mem_free(a->correction_gain);
    mem_free(a->correction_offset);
    a->correction_gain = a->correction_offset = NULL; /* measured without */
    f->x = mem_alloc(vectors * a->inputs, sizeof *f->x);
    f->measured = mem_alloc(vectors * a->outputs, sizeof *f->measured);
    f->range = mem_alloc(vectors, sizeof *f->range);
    f->beyond = mem_alloc(vectors * a->outputs, sizeof *f->beyond);
    f->ideal = mem_alloc(vectors, sizeof *f->ideal);
    f->w = mem_alloc((size_t)PANEL * a->inputs, sizeof *f->w);
    f->columns = mem_alloc(a->outputs, sizeof *f->columns);
    if (!f->x || !f->measured || !f->range || !f->beyond || !f->ideal || !f->w || !f->columns) {
        fit_destroy(f);
        return error_set(e, ERR_RUN, "matrix %s: out of memory for the correction", a->source.name);
    }
    return OK;
}

static void make_vectors(struct fit *f) {
    uint64_t stream = random_stream(RANDOM_CONVERTER, (uint64_t)f->matrix << 8 | STREAM_TEST_VECTORS);
    random_gaussian_fill(f->m->seed, stream, 0, f->x, (size_t)f->vectors * f->a->inputs);
    side_clear_channels(f->a, f->vectors, f->x);
    for (uint32_t b = 0; b < f->a->row_blocks; b++) {
        float range = f->a->input_range ? f->a->input_range[b] : INFINITY, scale = (isfinite(range) ? range : 1) / 3;
        for (uint32_t v = 0; v < f->vectors; v++) {
            for (uint32_t i = f->a->row_begin[b]; i < f->a->row_begin[b + 1]; i++) {
                float *x = &f->x[(size_t)v * f->a->inputs + i];
                *x = fmaxf(fminf(*x * scale, range), -range);
            }
        }
    }
}

static enum status measure(struct fit *f, struct general_scratch *g, struct error *e) {
    for (uint32_t v = 0; v < f->vectors; v += TOKENS) {
        uint32_t now = f->vectors - v < TOKENS ? f->vectors - v : TOKENS;
        struct block_results out = {f->measured + (size_t)v * f->a->outputs, f->range + v,
                                    f->beyond + (size_t)v * f->a->outputs};
        TRY(multiply_one_block(f->m, f->matrix, f->block, f->x + (size_t)v * f->a->inputs, now,
                               CORRECTION_READS + (uint64_t)f->block * f->vectors + v, g, &out, &f->totals->record, e));
    }
    return OK;
}

static double measured_of(const struct fit *f, uint32_t v, uint32_t output) {
    return (double)f->measured[(size_t)v * f->a->outputs + output];
}

static bool clipped(const struct fit *f, uint32_t v, uint32_t output) {
    return f->beyond[(size_t)v * f->a->outputs + output] != 0;
}

/* w [inputs] of one output: its exact results in this block. */
static void make_ideal(struct fit *f, const float *w) {
    uint32_t first = f->a->row_begin[f->block], rows = array_block_rows(f->a, f->block);
    for (uint32_t v = 0; v < f->vectors; v++) {
        f->ideal[v] = 0;
        for (uint32_t i = 0; i < rows; i++) {
            f->ideal[v] += (double)w[first + i] * (double)f->x[(size_t)v * f->a->inputs + first + i];
        }
    }
}

static void add_vector(struct moments *s, double y, double m, double r) {
    s->yy += y * y;
    s->ym += y * m;
    s->yr += y * r;
    s->mm += m * m;
    s->mr += m * r;
    s->rr += r * r;
    s->count++;
}

/* Slope and shift of a column; f->ideal is its own. */
static struct column fit_column(const struct fit *f, uint32_t output) {
    struct column c = {.fitted = false};
    for (uint32_t v = 0; v < f->vectors; v++) {
        double y = f->ideal[v], m = measured_of(f, v, output), r = (double)f->range[v];
        add_vector(&c.all, y, m, r);
        if (!clipped(f, v, output)) {
            add_vector(&c.inside, y, m, r);
        }
    }
    const struct moments *s = &c.inside;
    double determinant = s->yy * s->rr - s->yr * s->yr;
    if (s->count < VECTORS_LEAST || !(determinant > 1e-9 * s->yy * s->rr)) {
        return c;
    }
    double slope = (s->ym * s->rr - s->mr * s->yr) / determinant, shift = (s->mr * s->yy - s->ym * s->yr) / determinant,
           left = s->mm - slope * s->ym - shift * s->mr, /* at least what single precision leaves */
           variance = fmax(left, 1e-14 * s->mm) / (s->count - 2), result = sqrt(s->yy / s->rr);
    c.of[SLOPE] = (struct estimate){slope, variance * s->rr / determinant};
    c.of[SHIFT] = (struct estimate){shift / result, variance * s->yy / determinant / (result * result)};
    c.fitted = slope > STANDARD_ERRORS * sqrt(c.of[SLOPE].variance);
    return c;
}

/* Mean of the columns' numbers, each with the weight that its standard error and the spread leave it. */
static double weighted_mean(const struct column *c, uint32_t n, enum part part, double spread) {
    double weights = 0, sum = 0;
    for (uint32_t o = 0; o < n; o++) {
        double weight = c[o].fitted ? 1 / (c[o].of[part].variance + spread) : 0;
        weights += weight;
        sum += weight * c[o].of[part].value;
    }
    return weights > 0 ? sum / weights : 0;
}

static struct population population_of(const struct column *c, uint32_t n, enum part part) {
    double mean = weighted_mean(c, n, part, 0), weights = 0, squares = 0, differences = 0, fitted = 0;
    for (uint32_t o = 0; o < n; o++) {
        double weight = c[o].fitted ? 1 / c[o].of[part].variance : 0, off = c[o].of[part].value - mean;
        weights += weight;
        squares += weight * weight;
        differences += weight * off * off;
        fitted += c[o].fitted;
    }
    double spread = fitted > 1 ? fmax((differences - (fitted - 1)) / (weights - squares / weights), 0) : 0;
    return (struct population){weighted_mean(c, n, part, spread), spread};
}

static double shrunk(const struct population *p, const struct estimate *e) {
    return p->mean + p->variance / (p->variance + e->variance) * (e->value - p->mean);
}

/* Sum of the squares of y - gain m - offset range. */
static double rest(const struct moments *s, double gain, double offset) {
    return s->yy + gain * gain * s->mm + offset * offset * s->rr -
           2 * (gain * s->ym + offset * s->yr - gain * offset * s->mr);
}

static void correct_columns(struct fit *f, float *gain, float *offset) {
    const struct column *c = f->columns;
    uint32_t n = f->a->outputs;
    struct population slopes = population_of(c, n, SLOPE), shifts = population_of(c, n, SHIFT);
    for (uint32_t o = 0; o < n; o++, c++) {
        double slope = shrunk(&slopes, &c->of[SLOPE]),
               shift = shrunk(&shifts, &c->of[SHIFT]) * sqrt(c->inside.yy / c->inside.rr);
        bool worse = c->inside.count < c->all.count && rest(&c->all, 1 / slope, -shift / slope) > rest(&c->all, 1, 0),
             used = c->fitted && !worse;
        gain[o] = used ? (float)(1 / slope) : 1;
        offset[o] = used ? (float)(-shift / slope) : 0;
        f->totals->corrected += used;
        f->totals->left += !used;
        f->totals->results += c->all.count;
        f->totals->clipped += c->all.count - c->inside.count;
    }
}

static enum status fit_block(struct fit *f, float *gain, float *offset, struct error *e) {
    const struct array *a = f->a;
    for (uint32_t o = 0; o < a->outputs; o += PANEL) {
        uint32_t lanes = a->outputs - o < PANEL ? a->outputs - o : PANEL;
        TRY(array_read_targets(a, o, lanes, f->w, e));
        for (uint32_t lane = 0; lane < lanes; lane++) {
            make_ideal(f, f->w + (size_t)lane * a->inputs);
            f->columns[o + lane] = fit_column(f, o + lane);
        }
    }
    correct_columns(f, gain, offset);
    return OK;
}

static enum status fit_array(struct machine *m, size_t matrix, struct general_scratch *g, struct totals *totals,
                             struct error *e) {
    struct array *a = m->arrays[matrix];
    struct fit f;
    TRY(fit_create(m, matrix, totals, &f, e));
    size_t columns = (size_t)a->row_blocks * a->columns;
    float *gain = mem_alloc(columns, sizeof *gain), *offset = mem_alloc(columns, sizeof *offset);
    enum status s = gain && offset ? OK : error_set(e, ERR_RUN, "matrix %s: out of memory", a->source.name);
    if (s == OK) {
        make_vectors(&f);
    }
    for (f.block = 0; s == OK && f.block < a->row_blocks; f.block++) {
        s = measure(&f, g, e);
        s = s == OK ? fit_block(&f, gain + (size_t)f.block * a->columns, offset + (size_t)f.block * a->columns, e) : s;
    }
    a->correction_gain = gain;
    a->correction_offset = offset;
    fit_destroy(&f);
    return s;
}

/* ---- costs ------------------------------------------------------------------------------------------------------ */

static double multiply_J(const struct chip_spec *s, double array_S_sum, double mvms, double dac_conversions,
                         double adc_conversions) {
    const struct tile_spec *t = &s->tile;
    return array_energy_J(s, array_S_sum, mvms) + dac_conversions * t->dac.energy_J.value +
           sampling_energy_J(s, adc_conversions) + adc_conversions * (t->adc.energy_J.value + t->post.energy_J.value);
}

static void add_costs(struct machine *m, double rounds, double joules) {
    m->calibration.seconds += rounds * tile_work_of(m->spec).interval_s;
    m->calibration.joules += joules;
}

/* Age since the last programming at which the correction in use was fitted. */
static double fit_age_s(const struct machine *m) {
    const struct tile_spec *t = &m->spec->tile;
    double now_s = machine_age_since_programming_s(m), period_s = t->correction_period_s,
           start_s = cell_common_of(t->cell).min_age_s;
    return period_s > 0 ? fmax(floor(now_s / period_s) * period_s, start_s) : start_s;
}

/* How often it has been fitted. A schedule of its own begins with every programming. */
static double corrections_of(const struct machine *m) {
    const struct tile_spec *t = &m->spec->tile;
    double period_s = t->correction_period_s, refreshes = (double)machine_refreshes(m);
    return period_s > 0 ? refreshes * fmax(ceil(t->refresh_period_s / period_s), 1) + 1 +
                              floor(machine_age_since_programming_s(m) / period_s)
                        : refreshes + 1;
}

/* Ranges and full scales are those of the machine, at any age. */
static enum status copy_ranges(const struct machine *m, const struct array *from, struct array *to, struct error *e) {
    size_t lines = (size_t)from->row_blocks * from->lines * from->columns,
           shared = from->shared ? (size_t)from->row_blocks * from->column_blocks * m->plan.slices : 0;
    memcpy(to->full_scale, from->full_scale, lines * sizeof *to->full_scale);
    if (shared) {
        memcpy(to->shared_full_scale, from->shared_full_scale, shared * sizeof *to->shared_full_scale);
    }
    to->input_range = from->input_range ? mem_alloc(from->row_blocks, sizeof *to->input_range) : NULL;
    if (from->input_range && !to->input_range) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory for the correction", from->source.name);
    }
    if (from->input_range) {
        memcpy(to->input_range, from->input_range, from->row_blocks * sizeof *to->input_range);
    }
    return OK;
}

/* `then`: the machine with this one array, at the age of the fit. */
static enum status fit_then(struct machine *then, const struct array *now, size_t matrix, struct general_scratch *g,
                            struct totals *totals, struct error *e) {
    struct array *a = then->arrays[matrix];
    a->first_tile = now->first_tile;
    TRY(array_program(then, matrix, NULL, 0, e));
    TRY(machine_make_converters(then, e));
    TRY(copy_ranges(then, now, a, e));
    array_derive(then, a, matrix);
    return fit_array(then, matrix, g, totals, e);
}

/* The correction of a matrix as it was at another age. */
static enum status fit_array_at(const struct machine *m, size_t matrix, double age_s, struct general_scratch *g,
                                struct totals *totals, struct error *e) {
    struct array *now = m->arrays[matrix];
    struct machine then = *m; /* what programming counts in it is forgotten */
    then.since_programming_s = age_s;
    then.arrays = mem_alloc(m->count, sizeof(struct array *));
    struct array *a = then.arrays ? array_create(&then, &now->source) : NULL;
    if (!a) {
        mem_free(then.arrays);
        return error_set(e, ERR_RUN, "matrix %s: out of memory for the correction", now->source.name);
    }
    then.arrays[matrix] = a;
    enum status s = fit_then(&then, now, matrix, g, totals, e);
    if (s == OK) {
        mem_free(now->correction_gain);
        mem_free(now->correction_offset);
        now->correction_gain = a->correction_gain;
        now->correction_offset = a->correction_offset;
        a->correction_gain = a->correction_offset = NULL;
    }
    array_destroy(a);
    mem_free(then.arrays);
    return s;
}

enum status machine_fit_correction(struct machine *m, struct error *e) {
    const struct tile_spec *tile = &m->spec->tile;
    if (tile->correction == CORRECTION_NONE) {
        return OK;
    }
    struct general_scratch *g = general_scratch_create(m);
    struct totals totals = {.corrected = 0};
    uint64_t tiles = 0;
    double fit_s = fit_age_s(m), now_s = machine_age_since_programming_s(m), times = corrections_of(m);
    enum status s = g ? OK : error_set(e, ERR_RUN, "correction: out of memory");
    for (size_t i = 0; s == OK && i < m->count; i++) {
        if (m->arrays[i]) {
            uint32_t copies = placement_matrix_at(m->placement, i).copies;
            totals.record = (struct multiply_record){.matrix = i};
            s = fit_s < now_s ? fit_array_at(m, i, fit_s, g, &totals, e) : fit_array(m, i, g, &totals, e);
            totals.array_S_sum += copies * totals.record.array_S_sum;
            totals.dac_conversions += copies * totals.record.dac_conversions;
            totals.adc_conversions += copies * totals.record.adc_conversions;
            tiles += (uint64_t)copies * m->arrays[i]->row_blocks * m->arrays[i]->column_blocks;
        }
    }
    general_scratch_destroy(g);
    if (s == OK) {
        double once_J = multiply_J(m->spec, totals.array_S_sum, (double)tile->correction_vectors * (double)tiles,
                                   (double)totals.dac_conversions, (double)totals.adc_conversions);
        m->calibration.corrections += (uint64_t)times;
        m->calibration.correction_mvms += (uint64_t)times * (uint64_t)tile->correction_vectors * tiles;
        add_costs(m, times * tile->correction_vectors,
                  times * once_J);
        m->correction_once = (struct maintenance_cost){
            tile->correction_vectors * tile_work_of(m->spec).interval_s, once_J};
        m->calibration.columns_corrected = totals.corrected;
        m->calibration.columns_left = totals.left;
        m->calibration.test_results = totals.results;
        m->calibration.test_results_clipped = totals.clipped;
    }
    return s;
}

/* Readouts between one programming and the next, `length_s` later. */
static double readouts_of(const struct tile_spec *t, double length_s, bool last) {
    double reference = t->compensation == COMPENSATION_EXACT_REFERENCE ? 0 : 1;
    double later =
        t->compensation_period_s > 0 ? floor(length_s / t->compensation_period_s) : (double)(last && length_s > 0);
    return reference + later;
}

void machine_count_readouts(struct machine *m) {
    const struct tile_spec *t = &m->spec->tile;
    if (t->compensation == COMPENSATION_NONE) {
        return;
    }
    double readouts = (double)machine_refreshes(m) * readouts_of(t, t->refresh_period_s, false) +
                      readouts_of(t, machine_age_since_programming_s(m), true);
    struct tile_work work = tile_work_of(m->spec);
    double row_S = 0, mvms = 0, dac = 0, adc = 0, longest = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct array *a = m->arrays[i];
        double copies = placement_matrix_at(m->placement, i).copies;
        for (uint32_t k = 0; a && k < a->inputs; k++) {
            row_S += copies * (double)a->row_S[k];
        }
        for (uint32_t b = 0; a && b < a->row_blocks; b++) {
            double rows = array_block_rows(a, b), all = copies * rows;
            longest = fmax(longest, rows);
            mvms += all * a->column_blocks;
            dac += all * rows * work.passes * a->column_blocks;
            adc += all * work.groups * ((double)a->outputs * work.lines + (double)a->column_blocks * work.shared);
        }
    }
    m->calibration.readout_mvms += (uint64_t)(readouts * mvms);
    double once_J = multiply_J(m->spec, row_S, mvms, dac, adc);
    m->readout_once = (struct maintenance_cost){longest * work.interval_s, once_J};
    add_costs(m, readouts * longest, readouts * once_J);
}
