/* Pictures of a whole tile, programmed and read as a machine does it: encoding, input coding, faults, compensation,
 * correction. One matrix of fixed random weights on the chip `ideal` with what the picture is about switched on.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "tools/pictures.h"

enum { SEED = 1, SIDE = 128, VECTORS = 32, SETS_MOST = 24 };

struct matrix {
    uint32_t inputs, outputs;
    float *w; /* [outputs][inputs] */
};

static enum status read_rows(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)e;
    const struct matrix *m = context;
    memcpy(rows, m->w + (size_t)first * m->inputs, (size_t)count * m->inputs * sizeof *rows);
    return OK;
}

/* A machine with one matrix; free with `forget`. */
struct tile {
    const char *base; /* chip of the catalogue; NULL: ideal */
    struct chip *chip;
    struct placement *placement;
    struct machine *machine;
    struct run *run;
    struct matrix_source source;
};

static void forget(struct tile *t) {
    run_destroy(t->run);
    machine_destroy(t->machine);
    placement_destroy(t->placement);
    chip_destroy(t->chip);
}

static enum status make_tile(const struct matrix *m, const char *const *sets, double age_s, struct tile *t,
                             struct error *e) {
    size_t count = 0;
    while (sets[count]) {
        count++;
    }
    TRY(chip_load(t->base ? t->base : "ideal", sets, count, &t->chip, e));
    t->source = (struct matrix_source){.name = "weights",
                                       .layer = -1,
                                       .role = MATRIX_HEAD,
                                       .inputs = m->inputs,
                                       .outputs = m->outputs,
                                       .read_rows = read_rows,
                                       .context = (void *)(uintptr_t)m};
    struct machine_options o = {.seed = SEED, .age_s = age_s};
    TRY(placement_create(t->chip, &t->source, 1, &t->placement, e));
    return machine_create(t->chip, t->placement, &t->source, 1, &o, &t->machine, e);
}

/* Normal weights and inputs: as language models have them, without their outliers. */
static enum status make_matrix(struct picture *p, struct matrix *m, float **x, struct error *e) {
    *m = (struct matrix){SIDE, SIDE, arena_alloc(p->arena, SIDE * SIDE, sizeof(float))};
    *x = arena_alloc(p->arena, VECTORS * SIDE, sizeof(float));
    if (!m->w || !*x) {
        return picture_no_memory(e);
    }
    random_gaussian_fill(SEED, random_stream(RANDOM_TEST, 2), 0, m->w, SIDE * SIDE);
    random_gaussian_fill(SEED, random_stream(RANDOM_TEST, 3), 0, *x, VECTORS * SIDE);
    return OK;
}

/* The product on the tile and in double precision. */
static enum status multiply(const struct matrix *m, const float *x, const char *const *sets, double age_s, double *y,
                            double *digital, struct error *e) {
    struct tile t = {0};
    float out[SIDE];
    enum status s = make_tile(m, sets, age_s, &t, e);
    bool calibrate = s == OK && machine_needs_calibration(t.machine);
    if (s == OK) {
        s = run_create(t.machine, 1, &t.run, e);
    }
    if (calibrate && s == OK) {
        s = machine_calibration_begin(t.machine, e);
        for (size_t v = 0; v < VECTORS && s == OK; v++) {
            run_begin_step(t.run, 1);
            s = run_multiply(t.run, 0, x + v * m->inputs, 1, out, e);
            run_end_step(t.run);
        }
        if (s == OK) {
            s = machine_calibration_finish(t.machine, e);
        }
    }
    if (s == OK) {
        s = machine_trace(t.machine, 0, x, VECTORS, 0, NULL, y, e);
    }
    forget(&t);
    for (size_t v = 0; v < VECTORS; v++) {
        for (size_t o = 0; o < m->outputs; o++) {
            double sum = 0;
            for (size_t i = 0; i < m->inputs; i++) {
                sum += (double)m->w[o * m->inputs + i] * (double)x[v * m->inputs + i];
            }
            digital[v * m->outputs + o] = sum;
        }
    }
    return s;
}

/* Root mean square error of the product, percent of its root mean square. */
static enum status error_of(const struct matrix *m, const float *x, const char *const *sets, double age_s,
                            double *percent, struct error *e) {
    double y[VECTORS * SIDE], digital[VECTORS * SIDE], difference = 0, size = 0;
    TRY(multiply(m, x, sets, age_s, y, digital, e));
    for (size_t i = 0; i < VECTORS * SIDE; i++) {
        difference += (y[i] - digital[i]) * (y[i] - digital[i]);
        size += digital[i] * digital[i];
    }
    *percent = 100 * sqrt(difference / size);
    return OK;
}

/* ---- encoding ------------------------------------------------------------------------------------------------- */

enum { WEIGHTS = 81 };

static enum status conductances(struct picture *p, const char *const *sets, double **columns, size_t wanted,
                                struct error *e) {
    struct matrix m = {1, WEIGHTS, arena_alloc(p->arena, WEIGHTS, sizeof(float))};
    struct tile t = {0};
    struct tile_conductances g = {0};
    if (!m.w) {
        return picture_no_memory(e);
    }
    for (int i = 0; i < WEIGHTS; i++) {
        m.w[i] = (float)(-1 + 2.0 * i / (WEIGHTS - 1));
    }
    enum status s = make_tile(&m, sets, 0, &t, e);
    if (s == OK) {
        s = machine_tile_conductances(t.machine, 0, 0, 0, &g, e);
    }
    for (size_t k = 0; s == OK && k < wanted; k++) {
        columns[k] = picture_numbers(p, WEIGHTS);
        s = columns[k] ? OK : picture_no_memory(e);
        for (size_t i = 0; s == OK && i < WEIGHTS; i++) {
            columns[k][i] = (double)g.crossing_S[(i * g.columns_per_output + k) * g.rows] * 1e6;
        }
    }
    mem_free(g.crossing_S);
    mem_free(g.effective_S);
    forget(&t);
    return s;
}

static enum status draw_encoding(struct picture *p, struct error *e) {
    static const char *const pair[] = {"tile.cell=pcm_like", "tile.scale=per_tile", NULL};
    static const char *const one[] = {"tile.cell=pcm_like", "tile.scale=per_tile", "tile.encoding=one_device", NULL};
    static const char *const digits[] = {"tile.cell=pcm_like", "tile.scale=per_tile", "tile.slices=2",
                                         "tile.slice_bits=2", NULL};
    double *w = picture_numbers(p, WEIGHTS), *legs[2], *single[1], *slices[4];
    if (!w) {
        return picture_no_memory(e);
    }
    for (int i = 0; i < WEIGHTS; i++) {
        w[i] = -1 + 2.0 * i / (WEIGHTS - 1);
    }
    TRY(conductances(p, pair, legs, 2, e));
    TRY(conductances(p, one, single, 1, e));
    TRY(conductances(p, digits, slices, 4, e));
    struct svg_chart *c = picture_chart(p, "Encoding: a weight as a pair of devices, or as one",
                                        "weight / largest weight", false, "target (uS)", false);
    picture_line(c, "pair, plus", w, legs[0], WEIGHTS, 0);
    picture_line(c, "pair, minus", w, legs[1], WEIGHTS, 1);
    picture_line(c, "one device", w, single[0], WEIGHTS, 2);
    c = picture_chart(p, "Bit slices: the same weight as two digits of 2 bits, plus leg", "weight / largest weight",
                      false, "target (uS)", false);
    picture_steps(c, "low digit", w, slices[0], WEIGHTS, 0);
    picture_steps(c, "high digit", w, slices[2], WEIGHTS, 1);
    return OK;
}

/* ---- input coding ----------------------------------------------------------------------------------------------- */

enum { INPUTS = 15, PASSES_MOST = 16 };

struct passes {
    double *levels; /* [passes][INPUTS] */
    size_t count;
};

static void keep_pass(void *context, const char *stage, uint32_t token, uint32_t row_block, uint32_t index,
                      const double *values, size_t n) {
    struct passes *p = context;
    (void)token;
    (void)row_block;
    (void)index;
    if (strcmp(stage, "pass") == 0 && p->count < PASSES_MOST && n == INPUTS) {
        memcpy(p->levels + p->count * INPUTS, values, n * sizeof *values);
        p->count++;
    }
}

static enum status draw_passes(struct picture *p, const char *title, const char *const *sets, struct error *e) {
    struct matrix m = {INPUTS, 1, arena_alloc(p->arena, INPUTS, sizeof(float))};
    struct passes passes = {picture_numbers(p, PASSES_MOST * INPUTS), 0};
    struct tile t = {0};
    float x[INPUTS];
    double y[1];
    if (!m.w || !passes.levels) {
        return picture_no_memory(e);
    }
    for (int i = 0; i < INPUTS; i++) {
        m.w[i] = 1;
        x[i] = (float)(i - INPUTS / 2);
    }
    enum status s = make_tile(&m, sets, 0, &t, e);
    if (s == OK) {
        struct stage_visitor keep = {keep_pass, &passes};
        s = machine_trace(t.machine, 0, x, 1, 0, &keep, y, e);
    }
    forget(&t);
    TRY(s);
    struct svg_chart *c = picture_chart(p, title, "input code + 7", false, "pass", false);
    svg_add(c, (struct svg_series){.kind = SVG_MAP,
                                   .label = "level",
                                   .y = passes.levels,
                                   .n = passes.count * INPUTS,
                                   .rows = passes.count,
                                   .columns = INPUTS});
    return OK;
}

static enum status draw_input_coding(struct picture *p, struct error *e) {
    static const char *const serial[] = {"effects.dac=on", "tile.dac.bits=4", "tile.dac.coding=bit_serial", NULL};
    static const char *const split[] = {"effects.dac=on",        "tile.dac.bits=4",         "tile.dac.coding=split",
                                        "tile.dac.split_bits=1", "tile.dac.sign=two_phase", NULL};
    TRY(draw_passes(p, "Input coding: 4 bits, one bit per pass", serial, e));
    return draw_passes(p, "Input coding: 4 bits, high and low part, positive then negative inputs", split, e);
}

/* ---- faults ------------------------------------------------------------------------------------------------ */

static enum status draw_faults(struct picture *p, struct error *e) {
    enum { POINTS = 7 };
    static const char *const rates[POINTS] = {"0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05"};
    static const char *const spares[] = {"0", "8", "32"};
    static const char *const labels[] = {"no spares", "8 spare rows and columns", "32 spare rows and columns"};
    struct matrix m;
    float *x;
    double *rate = picture_numbers(p, POINTS);
    TRY(make_matrix(p, &m, &x, e));
    struct svg_chart *c = picture_chart(p, "Faults: dead rows and columns, before and after repair (128 x 128)",
                                        "probability that a line is dead", true, "error of the product (%)", false);
    for (int k = 0; k < 3; k++) {
        double *y = picture_numbers(p, POINTS);
        if (!rate || !y) {
            return picture_no_memory(e);
        }
        for (size_t i = 0; i < POINTS; i++) {
            const char *const sets[] = {"effects.faults=on",
                                        arena_printf(p->arena, "tile.faults.dead_rows=%s", rates[i]),
                                        arena_printf(p->arena, "tile.faults.dead_columns=%s", rates[i]),
                                        arena_printf(p->arena, "tile.faults.spare_rows=%s", spares[k]),
                                        arena_printf(p->arena, "tile.faults.spare_columns=%s", spares[k]),
                                        NULL};
            TRY(parse_double(rates[i], &rate[i]) ? OK : picture_no_memory(e));
            TRY(error_of(&m, x, sets, 0, &y[i], e));
        }
        picture_line(c, labels[k], rate, y, POINTS, k);
        picture_points(c, NULL, rate, y, POINTS, k);
    }
    return OK;
}

/* ---- compensation and correction -------------------------------------------------------------------------------- */

static enum status draw_compensation(struct picture *p, struct error *e) {
    enum { POINTS = 9 };
    static const double ages_s[POINTS] = {1, 10, 60, 600, 3600, 86400, 864000, 2.592e6, 3.1536e7};
    static const char *const modes[] = {"none", "global", "per_column"};
    static const char *const labels[] = {"no compensation", "one factor per tile", "one factor per column"};
    struct matrix m;
    float *x;
    TRY(make_matrix(p, &m, &x, e));
    struct svg_chart *c =
        picture_chart(p, "Drift compensation: error of a 128 x 128 product (pcm_like, converters off)", "age (s)", true,
                      "error of the product (%)", false);
    for (int k = 0; k < 3; k++) {
        double *y = picture_numbers(p, POINTS);
        const char *const sets[] = {"tile.cell=pcm_like",
                                    "effects.programming_noise=on",
                                    "effects.drift=on",
                                    "effects.read_noise=on",
                                    arena_printf(p->arena, "tile.compensation=%s", modes[k]),
                                    NULL};
        if (!y || !sets[4]) {
            return picture_no_memory(e);
        }
        for (size_t i = 0; i < POINTS; i++) {
            TRY(error_of(&m, x, sets, ages_s[i], &y[i], e));
        }
        svg_add(
            c,
            (struct svg_series){
                .kind = SVG_LINE, .label = labels[k], .x = ages_s, .y = y, .n = POINTS, .colour = k, .dashed = k == 2});
        picture_points(c, NULL, ages_s, y, POINTS, k);
    }
    return OK;
}

static enum status draw_correction(struct picture *p, struct error *e) {
    static const char ramp[] =
        "tile.adc.circuit={model: ramp, gain_spread: {value: 0.05, kind: assumed, source: for a picture, "
        "spread: [1, 1]}, offset_LSB: {value: 3, kind: assumed, source: for a picture, spread: [1, 1]}, "
        "noise_LSB: {value: 0, kind: assumed, source: for a picture, spread: [1, 1]}}";
    static const char *const modes[] = {"tile.correction=none", "tile.correction=affine"};
    static const char *const labels[] = {"as converted", "after gain and offset per column"};
    struct matrix m;
    float *x;
    double *digital = picture_numbers(p, VECTORS * SIDE);
    TRY(make_matrix(p, &m, &x, e));
    struct svg_chart *c = picture_chart(p, "Correction of unequal gains and offsets: error of each result",
                                        "exact product", false, "result - exact", false);
    for (int k = 0; k < 2; k++) {
        double *y = picture_numbers(p, VECTORS * SIDE);
        const char *const sets[] = {"effects.adc=on", "effects.adc_errors=on", ramp, modes[k], NULL};
        if (!digital || !y) {
            return picture_no_memory(e);
        }
        TRY(multiply(&m, x, sets, 0, y, digital, e));
        for (size_t i = 0; i < VECTORS * SIDE; i++) {
            y[i] -= digital[i];
        }
        picture_points(c, labels[k], digital, y, 4 * SIDE, 1 - k);
    }
    return OK;
}

/* ---- ranges and management ----------------------------------------------------------------------------------------
 */

/* Error of the product over the values of one key, for two or three sets of others. */
static enum status draw_sweep(struct picture *p, struct svg_chart *c, const char *key, const double *x, size_t n,
                              const char *const (*others)[4], const char *const *labels, int curves, struct error *e) {
    struct matrix m;
    float *in;
    TRY(make_matrix(p, &m, &in, e));
    for (int k = 0; k < curves; k++) {
        double *y = picture_numbers(p, n);
        for (size_t i = 0; y && i < n; i++) {
            const char *sets[] = {arena_printf(p->arena, "%s=%g", key, x[i]),
                                  "effects.dac=on",
                                  "effects.adc=on",
                                  others[k][0],
                                  others[k][1],
                                  others[k][2],
                                  NULL};
            if (!sets[0]) {
                return picture_no_memory(e);
            }
            TRY(error_of(&m, in, sets, 0, &y[i], e));
        }
        if (!y) {
            return picture_no_memory(e);
        }
        picture_line(c, labels[k], x, y, n, k);
        picture_points(c, NULL, x, y, n, k);
    }
    return OK;
}

static enum status draw_adc_ranges(struct picture *p, struct error *e) {
    enum { POINTS = 9 };
    static const double headroom[POINTS] = {0.3, 0.4, 0.5, 0.65, 0.8, 0.9, 1, 1.5, 2};
    static const char *const others[][4] = {{"tile.adc.bits=5"}, {"tile.adc.bits=6"}, {"tile.adc.bits=8"}};
    static const char *const labels[] = {"5 bits", "6 bits", "8 bits"};
    struct svg_chart *c =
        picture_chart(p, "ADC range: saturation on the left, coarse steps on the right",
                      "range / largest calibration output (headroom)", false, "error of the product (%)", true);
    return draw_sweep(p, c, "tile.adc.headroom", headroom, POINTS, others, labels, 3, e);
}

static enum status draw_management(struct picture *p, struct error *e) {
    enum { POINTS = 8 };
    static const double full_scale[POINTS] = {1, 1.5, 2, 3, 4, 6, 12, 32};
    static const char *const others[][4] = {{"tile.adc.range=static"},
                                            {"tile.adc.range=static", "tile.management.bound=iterative"}};
    static const char *const labels[] = {"results clip", "bound management: again with halved inputs"};
    struct svg_chart *c =
        picture_chart(p, "Bound management: a fixed ADC range that may be too small",
                      "full scale (largest weight x largest input)", true, "error of the product (%)", true);
    return draw_sweep(p, c, "tile.adc.full_scale", full_scale, POINTS, others, labels, 2, e);
}

/* ---- phenomena -------------------------------------------------------------------------------------------------- */

/* Error of each result with one setting at a time. */
static enum status draw_errors(struct picture *p, const char *title, const char *const *which,
                               const char *const *labels, int count, struct error *e) {
    struct matrix m;
    float *x;
    double *digital = picture_numbers(p, VECTORS * SIDE);
    TRY(make_matrix(p, &m, &x, e));
    struct svg_chart *c = picture_chart(p, title, "exact product", false, "result - exact", false);
    for (int k = 0; k < count; k++) {
        double *y = picture_numbers(p, VECTORS * SIDE);
        const char *const sets[] = {"effects.adc_errors=on", "effects.wires=on", which[k], NULL};
        if (!digital || !y) {
            return picture_no_memory(e);
        }
        TRY(multiply(&m, x, sets, 0, y, digital, e));
        for (size_t i = 0; i < VECTORS * SIDE; i++) {
            y[i] -= digital[i];
        }
        picture_points(c, labels[k], digital, y, 3 * SIDE, k);
    }
    return OK;
}

static enum status draw_phenomena(struct picture *p, struct error *e) {
    static const char *const outputs[] = {"tile.phenomena.nonlinearity=0.5", "tile.phenomena.series_resistance=0.05",
                                          "tile.phenomena.output_noise=0.1"};
    static const char *const arrays[] = {"tile.phenomena.ir_drop=100", "tile.phenomena.voltage_offset_spread=0.05"};
    static const char *const output_labels[] = {"S-shaped compression", "series resistance", "output noise"};
    static const char *const array_labels[] = {"static IR drop, scale 100", "voltage offset, spread 5 %"};
    TRY(draw_errors(p, "Phenomena of a whole tile, one at a time: error of each result", outputs, output_labels, 3, e));
    return draw_errors(p, "The same of the array: IR-drop polynomial, voltage offset of a column", arrays, array_labels,
                       2, e);
}

/* ---- pairs on one wire ------------------------------------------------------------------------------------------ */

static enum status draw_ladder(struct picture *p, struct error *e) {
    enum { POINTS = 7 };
    static const double ohm[POINTS] = {0.02, 0.05, 0.1, 0.2, 0.5, 1, 2};
    static const char *const offsets[] = {"tile.ladder.sense_offset_V=0", "tile.ladder.sense_offset_V=0.0005",
                                          "tile.ladder.sense_offset_V=0.002"};
    static const char *const labels[] = {"converter at the idle voltage", "0.5 mV off", "2 mV off"};
    struct matrix m;
    float *in;
    TRY(make_matrix(p, &m, &in, e));
    struct svg_chart *c = picture_chart(p, "Pairs on one wire: 128 rows, rails of 0.2 V", "wire per cell (ohm)", true,
                                        "error of the product (%)", true);
    for (int k = 0; k < 3; k++) {
        double *y = picture_numbers(p, POINTS);
        for (size_t i = 0; y && i < POINTS; i++) {
            const char *const sets[] = {arena_printf(p->arena, "tile.ladder.cell_ohm=%g", ohm[i]),
                                        "effects.wires=on",
                                        "effects.dac=on",
                                        "tile.rows=128",
                                        "tile.ladder.segments=128",
                                        "tile.ladder.read_V=0.2",
                                        "tile.ladder.step_ns=1",
                                        "tile.ladder.oscillator_GHz=6.24",
                                        offsets[k],
                                        NULL};
            if (!sets[0]) {
                return picture_no_memory(e);
            }
            TRY(error_of(&m, in, sets, 0, &y[i], e));
        }
        if (!y) {
            return picture_no_memory(e);
        }
        picture_line(c, labels[k], ohm, y, POINTS, k);
        picture_points(c, NULL, ohm, y, POINTS, k);
    }
    return OK;
}

/* ---- time and energy of a read ------------------------------------------------------------------------------------
 */

/* One multiply of chip pcm256: its seconds, and the joules of one component. */
static enum status read_once(const struct matrix *m, const float *x, const char *set, int part, double *time_s,
                             double *energy_J, struct error *e) {
    const char *const sets[] = {"tile.adc.range=static", set, NULL};
    struct tile t = {.base = "pcm256"};
    float out[SIDE];
    enum status s = make_tile(m, sets, 0, &t, e);
    if (s == OK) {
        s = run_create(t.machine, 1, &t.run, e);
    }
    if (s == OK) {
        run_begin_step(t.run, 1);
        s = run_multiply(t.run, 0, x, 1, out, e);
        double start_s = run_step_start_s(t.run);
        *time_s = run_end_step(t.run) - start_s;
        *energy_J = run_ledger(t.run).energy_J[part];
    }
    forget(&t);
    return s;
}

static enum status draw_sharing(struct picture *p, struct error *e) {
    enum { POINTS = 6 };
    static const double share[POINTS] = {1, 2, 4, 8, 16, 32};
    struct matrix m;
    float *x;
    double *ns = picture_numbers(p, POINTS), joules;
    TRY(make_matrix(p, &m, &x, e));
    for (size_t i = 0; ns && i < POINTS; i++) {
        const char *set = arena_printf(p->arena, "tile.adc.share=%g", share[i]);
        TRY(set ? read_once(&m, x, set, 0, &ns[i], &joules, e) : picture_no_memory(e));
        ns[i] *= 1e9;
    }
    if (!ns) {
        return picture_no_memory(e);
    }
    struct svg_chart *c = picture_chart(p, "Shared converters: time of one multiply (pcm256)", "columns per converter",
                                        true, "time (ns)", true);
    picture_line(c, "time of one multiply", share, ns, POINTS, 0);
    picture_points(c, NULL, share, ns, POINTS, 0);
    return OK;
}

static enum status draw_read_energy(struct picture *p, struct error *e) {
    enum { POINTS = 9 };
    struct matrix m;
    float *x;
    double *rows = picture_numbers(p, POINTS), *pJ = picture_numbers(p, POINTS), seconds;
    TRY(make_matrix(p, &m, &x, e));
    for (size_t i = 0; rows && pJ && i < POINTS; i++) {
        float in[SIDE] = {0};
        for (size_t k = 0; k < SIDE * i / (POINTS - 1); k++) {
            in[k] = 1;
        }
        rows[i] = (double)(SIDE * i / (POINTS - 1));
        TRY(read_once(&m, in, "tile.adc.share=1", PART_ARRAY, &seconds, &pJ[i], e));
        pJ[i] *= 1e12;
    }
    if (!rows || !pJ) {
        return picture_no_memory(e);
    }
    struct svg_chart *c = picture_chart(p, "Energy of a read: what flows through 128 x 128 cells (pcm256)",
                                        "rows with an input of full scale", false, "energy of the array (pJ)", false);
    picture_line(c, "energy of the array", rows, pJ, POINTS, 0);
    picture_points(c, NULL, rows, pJ, POINTS, 0);
    return OK;
}

const struct picture_source tile_pictures[] = {
    {"encoding", draw_encoding},
    {"input_coding", draw_input_coding},
    {"faults", draw_faults},
    {"compensation", draw_compensation},
    {"correction", draw_correction},
    {"adc_ranges", draw_adc_ranges},
    {"management", draw_management},
    {"phenomena", draw_phenomena},
    {"ladder", draw_ladder},
    {"sharing", draw_sharing},
    {"read_energy", draw_read_energy},
    {NULL, NULL},
};
