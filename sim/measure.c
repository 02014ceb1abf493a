/* See measure.h.
 *
 * Static energy is counted for the parts that a boundary names: the tiles (all of them, in use or not) where it names
 * `static`, and the units behind each component that stands beside it. The neighbours that a preset needs to run a
 * language model but that its paper does not have stay out in this way.
 *
 *   throughput        operations / time of the stream                                TOPS
 *   efficiency        operations / energy                                            TOPS/W
 *   density           throughput / area                                              TOPS/mm2
 *   energy_per_mvm    energy / MVMs, one MVM = one tile and one vector               pJ
 *   energy_per_op     energy / operations                                            fJ
 *   energy_share      energy of a part / energy within the boundary                  %
 *   power             energy / time of the stream                                    mW
 *   area, area_share  of a part; of a part within the boundary                       mm2, %
 *   latency           of one vector in the tiles                                     ns
 * An operation is half a MAC, or a MAC, as the paper counts. A stream of N vectors takes (N - 1) intervals and what the
 * pipeline needs to fill: N is large. The vectors are at the tiles, as in a published peak: nothing crosses a network
 * or a chip link, whose area and static power count where a boundary names them.
 */
#include "sim/measure.h"

#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "sim/chip_costs.h"
#include "sim/machine.h"
#include "sim/passes.h"
#include "sim/run.h"

enum { SAMPLE = 32 }; /* vectors that are really multiplied */

/* ---- data ---------------------------------------------------------------------------------------------------------
 */

static float filled(int how, uint64_t what, uint64_t index) {
    float u = (float)random_uniform(0, random_stream(RANDOM_WORKLOAD, what), index);
    switch (how) {
    case FILL_UNIFORM:
        return 2 * u - 1;
    case FILL_POSITIVE:
        return u;
    case FILL_SIGN:
        return u < 0.5f ? -1.0f : 1.0f;
    default:
        return 1.0f;
    }
}

struct weights {
    int how;
    uint32_t inputs;
};

static enum status read_weights(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    const struct weights *w = context;
    (void)e;
    for (size_t i = 0; i < (size_t)count * w->inputs; i++) {
        rows[i] = filled(w->how, 0, (uint64_t)first * w->inputs + i);
    }
    return OK;
}

/* ---- one tile -----------------------------------------------------------------------------------------------------
 */

/* A programmed tile and what it needs to multiply. */
struct sample {
    struct placement *placement;
    struct machine *machine;
    struct multiply_scratch *scratch;
    float *x, *y;
};

static void close_sample(struct sample *s) {
    mem_free(s->x);
    mem_free(s->y);
    multiply_scratch_destroy(s->scratch);
    machine_destroy(s->machine);
    placement_destroy(s->placement);
}

static enum status open_sample(const struct chip *c, const struct matrix_source *source, int inputs, struct sample *s,
                               struct error *e) {
    struct machine_options options = {.seed = 0, .age_s = 0};
    TRY(placement_create(c, source, 1, &s->placement, e));
    TRY(machine_create(c, s->placement, source, 1, &options, &s->machine, e));
    s->scratch = multiply_scratch_create(s->machine, SAMPLE);
    s->x = mem_alloc((size_t)SAMPLE * source->inputs, sizeof *s->x);
    s->y = mem_alloc((size_t)SAMPLE * source->outputs, sizeof *s->y);
    if (!s->scratch || !s->x || !s->y) {
        return error_set(e, ERR_RUN, "validation: out of memory");
    }
    for (size_t i = 0; i < (size_t)SAMPLE * source->inputs; i++) {
        s->x[i] = filled(inputs, 1, i);
    }
    return OK;
}

static enum status multiply_sample(struct sample *s, struct multiply_record *record, struct error *e) {
    if (machine_needs_calibration(s->machine)) {
        TRY(machine_calibration_begin(s->machine, e));
        TRY(machine_multiply(s->machine, 0, s->x, SAMPLE, 0, s->scratch, s->y, record, e));
        TRY(machine_calibration_finish(s->machine, e));
    }
    return machine_multiply(s->machine, 0, s->x, SAMPLE, 0, s->scratch, s->y, record, e);
}

/* What one full tile records for SAMPLE vectors. */
static enum status sample_tile(const struct chip *c, const struct workload *w, struct multiply_record *record,
                               struct error *e) {
    const struct tile_spec *t = &chip_spec_of(c)->tile;
    struct weights weights = {w->weights, (uint32_t)t->rows};
    struct matrix_source source = {.name = "workload",
                                   .layer = 0,
                                   .role = MATRIX_Q,
                                   .inputs = (uint32_t)t->rows,
                                   .outputs = (uint32_t)t->columns,
                                   .read_rows = read_weights,
                                   .context = &weights};
    struct sample s = {.placement = NULL};
    enum status status = open_sample(c, &source, w->inputs, &s, e);
    if (status == OK) {
        status = multiply_sample(&s, record, e);
    }
    close_sample(&s);
    return status;
}

/* ---- the whole workload -------------------------------------------------------------------------------------------
 */

/* The record of `vectors` vectors on `tiles` tiles. */
static struct multiply_record scaled(const struct multiply_record *one, uint32_t tiles, uint32_t vectors) {
    double times = (double)tiles * vectors / SAMPLE;
    return (struct multiply_record){
        .matrix = 0,
        .tokens = vectors,
        .array_S_sum = one->array_S_sum * times,
        .dac_conversions = one->dac_conversions / SAMPLE * tiles * vectors,
        .adc_conversions = one->adc_conversions / SAMPLE * tiles * vectors,
    };
}

static enum status stream(const struct chip *c, const struct placement *p, const struct multiply_record *one,
                          uint32_t tiles, uint32_t vectors, struct ledger_view *view, double *tiles_critical_s,
                          struct error *e) {
    struct run *r = NULL;
    struct multiply_record record = scaled(one, tiles, vectors);
    TRY(run_create_costs(c, p, vectors, &r, e));
    enum status status = run_drop_links(r, e);
    if (status != OK) {
        run_destroy(r);
        return status;
    }
    run_begin_step(r, vectors);
    run_record_multiply(r, &record);
    run_end_step(r);
    *view = run_ledger(r);
    *tiles_critical_s = run_class(r, CLASS_TILES).critical_s;
    run_destroy(r);
    return OK;
}

static void share_static(const struct chip *c, const struct placement *p, struct measurement *out) {
    const struct chip_spec *s = chip_spec_of(c);
    double chips_s = (double)placement_total(p).chips * out->ledger.makespan_s;
    double network_W = network_routers(s) * s->network.router_static_W.value;
    out->static_J[PART_STATIC] = chips_s * s->tiles_per_chip * tile_static_W(&s->tile);
    out->static_J[PART_VECTOR] = chips_s * unit_static_W(&s->vector);
    out->static_J[PART_ATTENTION] = chips_s * unit_static_W(&s->attention);
    out->static_J[PART_DIGITAL_MATMUL] = chips_s * unit_static_W(&s->matmul);
    out->static_J[PART_KV_MEMORY] = chips_s * memory_static_W(&s->kv);
    out->static_J[PART_DRAM] = chips_s * dram_static_W(&s->dram);
    out->static_J[PART_BUFFER] = chips_s * memory_static_W(&s->buffer);
    out->static_J[PART_NETWORK] = chips_s * network_W;
    out->static_J[PART_CHIP_LINK] = chips_s * s->chip_link.static_W.value;
    out->static_J[PART_PACKAGE_LINK] = chips_s * s->package_link.static_W.value;
}

static enum status measure_placed(const struct chip *c, const struct placement *p, const struct workload *w,
                                  struct measurement *out, struct error *e) {
    struct multiply_record one;
    struct ledger_view single;
    double critical_s;
    uint32_t tiles = placement_matrix_at(p, 0).tiles;
    TRY(sample_tile(c, w, &one, e));
    TRY(stream(c, p, &one, tiles, 1, &single, &out->latency_s, e));
    TRY(stream(c, p, &one, tiles, (uint32_t)w->vectors, &out->ledger, &critical_s, e));
    out->area = placement_area(c, p);
    out->tiles = tiles;
    out->vectors = w->vectors;
    share_static(c, p, out);
    return OK;
}

enum status measure(const struct chip *c, const struct workload *w, struct measurement *out, struct error *e) {
    const struct chip_spec *s = chip_spec_of(c);
    *out = (struct measurement){.input_bits = s->tile.dac.bits, .output_bits = s->tile.adc.bits};
    if (!chip_has_costs(c) || !s->analog_role[MATRIX_Q]) {
        return error_set(e, ERR_USAGE, "chip %s: %s", s->name,
                         chip_has_costs(c) ? "analog: the workload is a matrix of the role q (allowed: all, or q)"
                                           : "costs: none: there is nothing to compare (allowed: costs: full)");
    }
    uint32_t tiles = (uint32_t)(w->tiles ? w->tiles : s->tiles_per_chip);
    struct matrix_source source = {.name = "workload",
                                   .layer = 0,
                                   .role = MATRIX_Q,
                                   .inputs = (uint32_t)s->tile.rows,
                                   .outputs = (uint32_t)s->tile.columns * tiles};
    struct placement *p = NULL;
    TRY(placement_create(c, &source, 1, &p, e));
    enum status status = measure_placed(c, p, w, out, e);
    placement_destroy(p);
    return status;
}

/* ---- quantities ---------------------------------------------------------------------------------------------------
 */

enum { THROUGHPUT, EFFICIENCY, DENSITY, ENERGY_PER_MVM, ENERGY_PER_OP, ENERGY_SHARE, POWER, AREA, AREA_SHARE, LATENCY };

const struct quantity quantities[] = {
    [THROUGHPUT] = {"throughput", "TOPS", OF_TIME, "operations / time of the stream"},
    [EFFICIENCY] = {"efficiency", "TOPS/W", OF_ENERGY, "operations / energy"},
    [DENSITY] = {"density", "TOPS/mm2", OF_TIME | OF_AREA, "throughput / area"},
    [ENERGY_PER_MVM] = {"energy_per_mvm", "pJ", OF_ENERGY, "energy of one tile and one vector"},
    [ENERGY_PER_OP] = {"energy_per_op", "fJ", OF_ENERGY, "energy / operations"},
    [ENERGY_SHARE] = {"energy_share", "%", OF_ENERGY_SHARE, "energy of a part / energy within the boundary"},
    [POWER] = {"power", "mW", OF_ENERGY | OF_TIME, "energy / time of the stream"},
    [AREA] = {"area", "mm2", OF_AREA, "area"},
    [AREA_SHARE] = {"area_share", "%", OF_AREA_SHARE, "area of a part / area within the boundary"},
    [LATENCY] = {"latency", "ns", OF_LATENCY, "one vector in the tiles"},
};
const size_t quantity_count = sizeof quantities / sizeof quantities[0];

static double energy_J(const struct measurement *m, uint32_t of) {
    double sum_J = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        bool counts = of >> c & 1u;
        sum_J += counts && c != PART_STATIC ? m->ledger.energy_J[c] : 0;
        sum_J += counts && of >> PART_STATIC & 1u ? m->static_J[c] : 0;
    }
    return sum_J;
}

static double area_mm2(const struct measurement *m, uint32_t of) {
    double sum_mm2 = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        sum_mm2 += of >> c & 1u ? m->area.part_mm2[c] : 0;
    }
    return sum_mm2;
}

static double ratio(double a, double b) { return b > 0 ? a / b : (double)NAN; }

double quantity_value(const struct measurement *m, const struct quantity_question *q) {
    double operations = (double)m->ledger.macs * q->operations_per_mac, time_s = m->ledger.makespan_s,
           part_J = energy_J(m, q->of), part_mm2 = area_mm2(m, q->of), whole = q->divide;
    switch (q->quantity) {
    case THROUGHPUT:
        return ratio(operations / whole, time_s) * 1e-12;
    case EFFICIENCY:
        return ratio(operations, part_J) * 1e-12;
    case DENSITY:
        return ratio(ratio(operations, time_s) * 1e-12, part_mm2);
    case ENERGY_PER_MVM:
        return ratio(part_J, m->tiles * m->vectors) * 1e12;
    case ENERGY_PER_OP:
        return ratio(part_J, operations) * 1e15;
    case ENERGY_SHARE:
        return 100 * ratio(part_J, energy_J(m, q->boundary));
    case POWER:
        return ratio(part_J / whole, time_s) * 1e3;
    case AREA:
        return part_mm2 / whole;
    case AREA_SHARE:
        return 100 * ratio(part_mm2, area_mm2(m, q->boundary));
    default:
        return m->latency_s * 1e9;
    }
}
