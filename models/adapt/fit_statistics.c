/* Histograms of what converters see on the fitting text: inputs of every matrix on tiles in the plain model, results of
 * every row block in the noisy one. Counting does not depend on the number of threads: each input, and each panel of
 * outputs, is counted by one. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_internal.h"

static bool make(const struct model *m, const struct chip *c, size_t i, struct fit_statistics *f) {
    size_t I = m->sources[i].inputs, O = m->sources[i].outputs, B = chip_row_blocks(c, m->sources[i].inputs);
    *f = (struct fit_statistics){.blocks = (uint32_t)B,
                                 .panels = (uint32_t)panels_in(O),
                                 .devices = m->sources[i].devices,
                                 .inputs = mem_alloc(I * FIT_BINS, sizeof *f->inputs),
                                 .signs = mem_alloc(I * FIT_BINS, sizeof *f->signs),
                                 .output_cost = mem_alloc(O, sizeof *f->output_cost),
                                 .weight = mem_alloc(I, sizeof *f->weight),
                                 .largest = mem_alloc(B * O, sizeof *f->largest),
                                 .scale = mem_alloc(B, sizeof *f->scale),
                                 .ranked = mem_alloc(B * FIT_CHANNELS, sizeof *f->ranked),
                                 .menu = mem_alloc(B * FIT_LEVELS, sizeof *f->menu),
                                 .ranges = mem_alloc(B, sizeof *f->ranges),
                                 .limits = mem_alloc(B, sizeof *f->limits),
                                 .adc = mem_alloc(B * O, sizeof *f->adc)};
    return f->inputs && f->signs && f->output_cost && f->weight && f->largest && f->scale && f->ranked && f->menu &&
           f->ranges && f->limits && f->adc;
}

struct fit_statistics *fit_statistics_create(const struct model *m, const struct chip *c) {
    struct fit_statistics *f = mem_alloc(m->matrix_count, sizeof *f);
    for (size_t i = 0; f && i < m->matrix_count; i++) {
        if (chip_is_analog(c, m->sources[i].role) && !make(m, c, i, &f[i])) {
            fit_statistics_destroy(f, m->matrix_count);
            return NULL;
        }
    }
    return f;
}

void fit_statistics_destroy(struct fit_statistics *f, size_t matrices) {
    for (size_t i = 0; f && i < matrices; i++) {
        mem_free(f[i].inputs);
        mem_free(f[i].results);
        mem_free(f[i].output_cost);
        mem_free(f[i].weight);
        mem_free(f[i].largest);
        mem_free(f[i].scale);
        mem_free(f[i].ranked);
        mem_free(f[i].menu);
        mem_free(f[i].ranges);
        mem_free(f[i].signs);
        mem_free(f[i].limits);
        mem_free(f[i].adc);
    }
    mem_free(f);
}

/* ---- inputs ---------------------------------------------------------------------------------------------- */

struct count_job { uint32_t *bins; int32_t *signs; const real *x; size_t inputs, tokens; };

static void count_inputs(void *context, size_t begin, size_t end, int worker) {
    const struct count_job *j = context;
    (void)worker;
    for (size_t t = 0; t < j->tokens; t++) {
        for (size_t i = begin; i < end; i++) {
            float x = j->x[t * j->inputs + i];
            size_t at = i * FIT_BINS + fit_bin(fabsf(x));
            j->bins[at]++;
            j->signs[at] += x < 0 ? -1 : 1;
        }
    }
}

void fit_clear_inputs(const struct model *m, struct fit_statistics *f) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        f[i].tokens = 0;
        if (f[i].inputs) {
            memset(f[i].inputs, 0, (size_t)m->sources[i].inputs * FIT_BINS * sizeof *f[i].inputs);
            memset(f[i].signs, 0, (size_t)m->sources[i].inputs * FIT_BINS * sizeof *f[i].signs);
        }
    }
}

void fit_count_inputs(struct fit_statistics *f, size_t inputs, const real *x, size_t tokens) {
    if (f->inputs) {
        f->tokens += (double)tokens;
        parallel_for(inputs, 32, 0, count_inputs, &(struct count_job){f->inputs, f->signs, x, inputs, tokens});
    }
}

/* ---- results --------------------------------------------------------------------------------------------- */

static void count_results(void *context, const struct analog_layer *l, size_t block, size_t panel, const real *tile,
                          size_t ld, size_t n) {
    struct fit_statistics *f = (struct fit_statistics *)context + l->matrix;
    size_t first = panel * PANEL, lanes = smaller(PANEL, l->outputs - first);
    double *bins = f->results + (block * f->panels + panel) * FIT_BINS;
    for (size_t lane = 0; lane < lanes; lane++) {
        float m = f->largest[block * l->outputs + first + lane], inverse = m > 0 ? 1 / m : 0;
        double weight = f->output_cost[first + lane] * (double)m * (double)m;
        for (size_t t = 0; t < n; t++) {
            bins[fit_bin(fabsf(tile[t * ld + lane]) * inverse)] += weight;
        }
    }
}

const double *fit_block_results(struct fit_statistics *f, uint32_t b) {
    double *sum = f->results + (size_t)b * f->panels * FIT_BINS;
    for (size_t p = 1; p < f->panels; p++) {
        for (size_t i = 0; i < FIT_BINS; i++) {
            sum[i] += sum[p * FIT_BINS + i];
            sum[p * FIT_BINS + i] = 0;
        }
    }
    return sum;
}

void fit_set_adc(const struct model *m, struct fit_statistics *f) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        uint32_t O = m->sources[i].outputs;
        for (size_t k = 0; k < (size_t)f[i].blocks * O; k++) {
            f[i].adc[k] = f[i].limits[k / O] / f[i].ranges[k / O] * f[i].largest[k];
        }
    }
}

/* Per token. */
static void scale(struct fit_statistics *f, double tokens) {
    for (size_t i = 0; f->results && i < (size_t)f->blocks * f->panels * FIT_BINS; i++) {
        f->results[i] /= tokens;
    }
}

struct model fit_adapted(const struct model *m, struct side_path *const *sides, const struct fit_statistics *f,
                         struct matrix_source *sources) {
    struct model copy = *m;
    copy.sources = sources;
    for (size_t i = 0; i < m->matrix_count; i++) {
        sources[i] = m->sources[i];
        sources[i].side = sides ? sides[i] : NULL;
        if (f[i].blocks) {
            sources[i].devices = f[i].devices;
            sources[i].input_range = f[i].ranges;
            sources[i].input_range_count = f[i].blocks;
            sources[i].adc_range = f[i].adc;
            sources[i].adc_range_count = (size_t)f[i].blocks * m->sources[i].outputs;
        }
    }
    return copy;
}

static enum status watch_windows(struct student *s, const struct student_batch *windows, size_t count,
                                 struct error *e) {
    struct progress *progress = progress_create("measuring results", count);
    enum status status = OK;
    for (size_t w = 0; w < count && status == OK; w++) {
        status = student_forward(s, &windows[w], STUDENT_NOISY, e);
        status = status == OK ? check_interrupted(e) : status;
        progress_update(progress, w + 1);
    }
    progress_destroy(progress);
    return status;
}

static enum status make_results(struct fit_statistics *f, size_t matrices, struct error *e) {
    for (size_t i = 0; i < matrices; i++) {
        if (f[i].blocks) {
            mem_free(f[i].results);
            f[i].results = mem_alloc((size_t)f[i].blocks * f[i].panels * FIT_BINS, sizeof *f[i].results);
            if (!f[i].results) {
                return error_set(e, ERR_RUN, "adapt fit: out of memory");
            }
        }
    }
    return OK;
}

enum status fit_results(const struct model *m, const struct chip *c, struct side_path *const *sides,
                        const struct student_batch *windows, size_t count, struct fit_statistics *f, struct error *e) {
    const struct analog_watch watch = {.context = f, .results = count_results};
    const struct student_options options = {.sequences = 1, .length = windows->length};
    struct analog_rule rule;
    struct student *s = NULL;
    TRY(student_rule_of_chip(c, &rule, e));
    rule.noise = TRAIN_NOISE_CELL;
    rule.clip = TRAIN_CLIP_NONE;
    rule.adc_bound = 0; /* results as they come */
    TRY(make_results(f, m->matrix_count, e));
    struct matrix_source *sources = mem_alloc(m->matrix_count, sizeof *sources);
    if (!sources) {
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    const struct model copy = fit_adapted(m, sides, f, sources);
    enum status status = student_create(&copy, c, &rule, &options, &s, e);
    if (status == OK) {
        s->watch = &watch;
        status = watch_windows(s, windows, count, e);
    }
    student_destroy(s);
    mem_free(sources);
    for (size_t i = 0; i < m->matrix_count; i++) {
        scale(&f[i], (double)count * windows->length);
    }
    return status;
}
