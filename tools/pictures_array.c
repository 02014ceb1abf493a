/* Pictures of an array's wires and of its converters. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/adc.h"
#include "devices/dac.h"
#include "devices/wires.h"
#include "tools/pictures.h"

enum { SEED = 1, SIDE = 64 };

#define ASSUMED(v) "{value: " #v ", kind: assumed, source: for a picture, spread: [1, 1]}"

/* ---- wires -------------------------------------------------------------------------------------------------- */

/* Conductances as language-model weights give them: many small, few large. uS up to 25. */
static void fill_array(float *g_S, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double z = fabs((double)random_gaussian(SEED, random_stream(RANDOM_TEST, 1), i));
        g_S[i] = (float)(25e-6 * fmin(1, z / 4));
    }
}

static struct wires wires_of(double ohm) {
    return (struct wires){.row_ohm = ohm,
                          .column_ohm = ohm,
                          .input_ohm = 10 * ohm,
                          .output_ohm = 10 * ohm,
                          .input_end = WIRES_LEFT,
                          .output_end = WIRES_BOTTOM,
                          .segment = 1};
}

static enum status draw_wire_losses(struct picture *p, struct error *e) {
    float *g = arena_alloc(p->arena, SIDE * SIDE, sizeof *g),
          *folded = arena_alloc(p->arena, SIDE * SIDE, sizeof *folded);
    double *loss = picture_numbers(p, SIDE * SIDE);
    void *scratch = arena_alloc(p->arena, wires_fold_scratch_bytes(SIDE, SIDE), 1);
    if (!g || !folded || !loss || !scratch) {
        return picture_no_memory(e);
    }
    struct wires w = wires_of(3);
    struct fold_options o = {.method = WIRES_CORRECTED, .tolerance = 1e-4};
    struct fold_result r;
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        g[i] = 6e-6f;
    }
    TRY(wires_fold(&w, SIDE, SIDE, g, &o, scratch, folded, &r, e));
    for (size_t row = 0; row < SIDE; row++) {
        for (size_t column = 0; column < SIDE; column++) {
            size_t at = column * SIDE + row;
            loss[row * SIDE + column] = 100 * (1 - (double)folded[at] / (double)g[at]);
        }
    }
    struct svg_chart *c = picture_chart(p, "Wires: what each of 64 x 64 cells of 6 uS loses (3 ohm per cell)",
                                        "column (read at the bottom)", false, "row (driven from the left)", false);
    svg_add(c, (struct svg_series){
                   .kind = SVG_MAP, .label = "loss (%)", .y = loss, .n = SIDE * SIDE, .rows = SIDE, .columns = SIDE});
    return OK;
}

/* Largest error of a column's current against the exact network, relative to the largest current, with all rows on, in
 * percent; `effect`: the same for no folding at all. */
static enum status fold_error(const struct wires *w, int method, const float *g, float *folded, double *exact_g,
                              void *scratch, double *error, double *effect, struct error *e) {
    struct fold_options o = {.method = method, .tolerance = 1e-4};
    struct fold_result r;
    struct network *network = NULL;
    double volts[SIDE], exact[SIDE], largest = 0;
    for (size_t i = 0; i < SIDE; i++) {
        volts[i] = 1;
    }
    TRY(wires_fold(w, SIDE, SIDE, g, &o, scratch, folded, &r, e));
    TRY(network_create(w, SIDE, SIDE, exact_g, &network, e));
    enum status s = network_solve(network, volts, exact, NULL, NULL, NULL, e);
    network_destroy(network);
    *error = *effect = 0;
    for (size_t j = 0; s == OK && j < SIDE; j++) {
        double sum = 0, bare = 0;
        for (size_t i = 0; i < SIDE; i++) {
            sum += (double)folded[j * SIDE + i];
            bare += exact_g[j * SIDE + i];
        }
        *error = fmax(*error, fabs(sum - exact[j]));
        *effect = fmax(*effect, fabs(bare - exact[j]));
        largest = fmax(largest, bare);
    }
    *error *= 100 / largest;
    *effect *= 100 / largest;
    return s;
}

static enum status draw_wire_folding(struct picture *p, struct error *e) {
    enum { POINTS = 9 };
    static const double ohms[POINTS] = {0.1, 0.2, 0.35, 0.5, 1, 2, 3, 5, 8};
    float *g = arena_alloc(p->arena, SIDE * SIDE, sizeof *g),
          *folded = arena_alloc(p->arena, SIDE * SIDE, sizeof *folded);
    double *exact_g = picture_numbers(p, SIDE * SIDE), *product = picture_numbers(p, POINTS);
    double *corrected = picture_numbers(p, POINTS), *effect = picture_numbers(p, POINTS),
           *x = picture_numbers(p, POINTS);
    void *scratch = arena_alloc(p->arena, wires_fold_scratch_bytes(SIDE, SIDE), 1);
    if (!g || !folded || !exact_g || !product || !corrected || !effect || !x || !scratch) {
        return picture_no_memory(e);
    }
    fill_array(g, SIDE * SIDE);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        exact_g[i] = (double)g[i];
    }
    for (size_t k = 0; k < POINTS; k++) {
        struct wires w = wires_of(ohms[k]);
        x[k] = ohms[k];
        TRY(fold_error(&w, WIRES_PRODUCT, g, folded, exact_g, scratch, &product[k], &effect[k], e));
        TRY(fold_error(&w, WIRES_CORRECTED, g, folded, exact_g, scratch, &corrected[k], &effect[k], e));
    }
    struct svg_chart *c = picture_chart(p, "Folding the wires of 64 x 64 cells: error against the exact network",
                                        "wire per cell (ohm)", true, "largest column error (% of full scale)", true);
    const double *const lines[] = {effect, product, corrected};
    static const char *const labels[] = {"wires ignored", "product", "corrected (asked for 0.01 %)"};
    for (int k = 0; k < 3; k++) {
        picture_line(c, labels[k], x, lines[k], POINTS, k);
        picture_points(c, NULL, x, lines[k], POINTS, k);
    }
    return OK;
}

/* A column of 6 uS cells with 0.5 fF each, read with 8 bits. */
static enum status draw_settling(struct picture *p, struct error *e) {
    enum { POINTS = 7, MOST = 1024 };
    static const double ohms[] = {0.35, 1, 3};
    static const char *const labels[] = {"0.35 ohm per cell", "1 ohm per cell", "3 ohm per cell"};
    double *g = picture_numbers(p, MOST), *x = picture_numbers(p, POINTS);
    struct svg_chart *c = picture_chart(p, "Settling of a column to half a step of 8 bits (0.5 fF per cell)", "rows",
                                        true, "time (ns)", true);
    for (size_t i = 0; g && i < MOST; i++) {
        g[i] = 6e-6;
    }
    for (int k = 0; k < 3; k++) {
        double *ns = picture_numbers(p, POINTS);
        struct wires w = wires_of(ohms[k]);
        if (!g || !x || !ns) {
            return picture_no_memory(e);
        }
        for (size_t i = 0; i < POINTS; i++) {
            size_t rows = (size_t)16 << i;
            x[i] = (double)rows;
            ns[i] = 1e9 * wires_settling_s(&w, rows, g, 0.5e-15, 0, 8);
        }
        picture_line(c, labels[k], x, ns, POINTS, k);
        picture_points(c, NULL, x, ns, POINTS, k);
    }
    return OK;
}

/* ---- converters ----------------------------------------------------------------------------------------------- */

static enum status parse_map(struct picture *p, const char *text, struct config_node **out, struct error *e) {
    return config_parse(p->arena, text, strlen(text), "picture", out, e);
}

static enum status draw_dac(struct picture *p, struct error *e) {
    enum { BITS = 8, LEVELS = 128, INSTANCES = 3 };
    static const char text[] = "model: r_2r\nmismatch: " ASSUMED(0.01) "\nnoise_LSB: " ASSUMED(0);
    static const char *const labels[INSTANCES] = {"row 1", "row 2", "row 3"};
    struct config_node *map;
    const struct dac *dac;
    TRY(parse_map(p, text, &map, e));
    TRY(dac_create(map, "", BITS, p->arena, &dac, e));
    double *x = picture_numbers(p, LEVELS);
    struct svg_chart *c = picture_chart(p, "DAC: error of the levels of three R-2R ladders (8 bits, mismatch 1 %)",
                                        "code", false, "level - ideal (LSB)", false);
    for (int k = 0; k < INSTANCES; k++) {
        double *y = picture_numbers(p, LEVELS);
        float level[LEVELS];
        if (!x || !y) {
            return picture_no_memory(e);
        }
        dac_model_of(dac)->levels(dac_params(dac), BITS, SEED, 0, (uint64_t)k, level);
        for (int i = 0; i < LEVELS; i++) {
            x[i] = i;
            y[i] = (double)level[i] * (LEVELS - 1) - i;
        }
        picture_steps(c, labels[k], x, y, LEVELS, k);
    }
    return OK;
}

#define SAR(mismatch)                                                                                                  \
    "model: sar\nsplit: off\ncapacitor_mismatch: " ASSUMED(mismatch) "\ngain_dB: " ASSUMED(                            \
        120) "\ncomparator_offset: " ASSUMED(0) "\nnoise_LSB: " ASSUMED(0)

static enum status draw_adc_transfer(struct picture *p, struct error *e) {
    enum { BITS = 4, POINTS = 801 };
    static const char *const texts[] = {"model: ideal", SAR(0.15)};
    static const char *const labels[] = {"ideal", "successive approximation, capacitors of 15 % mismatch"};
    double *v = picture_numbers(p, POINTS);
    struct svg_chart *c = picture_chart(p, "ADC: transfer of 4 bits", "input / full scale", false,
                                        "value of the code / full scale", false);
    for (int k = 0; k < 2; k++) {
        struct config_node *map;
        const struct adc *adc;
        TRY(parse_map(p, texts[k], &map, e));
        TRY(adc_create(map, "", BITS, p->arena, &adc, e));
        const struct adc_model *m = adc_model_of(adc);
        double *y = picture_numbers(p, POINTS), step, shift;
        size_t states = m->state_count ? m->state_count(adc_params(adc), BITS) : 0;
        float *state = arena_alloc(p->arena, states + 1, sizeof *state), in[POINTS];
        int32_t code[POINTS];
        if (!v || !y || !state) {
            return picture_no_memory(e);
        }
        for (int i = 0; i < POINTS; i++) {
            v[i] = -1.1 + 2.2 * i / (POINTS - 1);
            in[i] = (float)v[i];
        }
        if (m->make) {
            m->make(adc_params(adc), BITS, SEED, 0, 0, state);
        }
        m->convert(adc_params(adc), BITS, state, 0, in, NULL, code, POINTS);
        m->value(adc_params(adc), BITS, &step, &shift);
        for (int i = 0; i < POINTS; i++) {
            y[i] = (code[i] + shift) * step;
        }
        picture_steps(c, labels[k], v, y, POINTS, k ? 1 : 5);
    }
    return OK;
}

static enum status draw_adc_linearity(struct picture *p, struct error *e) {
    enum { BITS = 8 };
    struct config_node *map;
    const struct adc *adc;
    TRY(parse_map(p, SAR(0.02), &map, e));
    TRY(adc_create(map, "", BITS, p->arena, &adc, e));
    const struct adc_model *m = adc_model_of(adc);
    int32_t low = m->lowest(adc_params(adc), BITS), high = m->highest(adc_params(adc), BITS);
    size_t n = (size_t)(high - low);
    double *x = picture_numbers(p, n), *transitions = picture_numbers(p, n), *inl = picture_numbers(p, n),
           *dnl = picture_numbers(p, n);
    if (!x || !transitions || !inl || !dnl) {
        return picture_no_memory(e);
    }
    struct adc_linearity summary;
    TRY(adc_measure(adc, SEED, 0, 0, transitions, inl, dnl, &summary, e));
    for (size_t i = 0; i < n; i++) {
        x[i] = low + (double)i + 1;
    }
    struct svg_chart *c = picture_chart(p, "ADC: non-linearity of one converter of 8 bits (capacitors of 2 % mismatch)",
                                        "code", false, "error (LSB)", false);
    picture_steps(c, "differential (DNL)", x, dnl, n > 1 ? n - 1 : n, 0);
    picture_steps(c, "integral (INL)", x, inl, n, 1);
    return OK;
}

const struct picture_source array_pictures[] = {
    {"wire_losses", draw_wire_losses},
    {"wire_folding", draw_wire_folding},
    {"dac", draw_dac},
    {"adc_transfer", draw_adc_transfer},
    {"adc_linearity", draw_adc_linearity},
    {"settling", draw_settling},
    {NULL, NULL},
};
