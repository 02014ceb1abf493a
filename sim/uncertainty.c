/* See uncertainty.h. */
#include "sim/uncertainty.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "base/sort.h"
#include "sim/chip_costs.h"
#include "sim/memories.h"
#include "sim/passes.h"
#include "sim/placement.h"
#include "sim/side_path.h"

enum { DRAWS = 1000 };
static const double z90 = 1.2815515655446004; /* 90 % quantile of the normal distribution */

static const char *const names[UNCERTAIN_COUNT] = {"energy_per_token_J", "tpot_s", "ttft_s", "area_mm2"};

const char *uncertain_name(enum uncertain q) { return names[q]; }

/* What a run has counted, and the chip that it counted for. */
struct model {
    const struct run *run;
    const struct chip_spec *given, *nominal;
    struct ledger_view ledger;
    struct awake awake;
    struct run_path path;
    double chips, transfer_share[CLASS_COUNT]; /* of a memory's work: bits, not latency */
    double clock_s[STEP_KINDS];                /* of the steps of a kind: waiting for edges of clocks */
};

/* ---- constants --------------------------------------------------------------------------------------------- */

struct collecting {
    struct uncertainty *out;
    const struct chip_spec *given;
};

static void collect(struct uncertainty *out, const char *key, const struct constant *k, size_t offset) {
    bool spread = k->spread_low < 1 || k->spread_high > 1;
    if (spread && out->count < UNCERTAIN_CONSTANTS) {
        struct uncertain_constant *c = &out->constants[out->count++];
        snprintf(c->key, sizeof c->key, "%s", key);
        c->k = k;
        c->offset = offset;
    }
}

static void collect_given(void *context, const char *key, const char *unit, size_t offset) {
    struct collecting *c = context;
    (void)unit;
    collect(c->out, key, (const struct constant *)(const void *)((const char *)c->given + offset), offset);
}

/* The window of the cell, if its model declares one as a constant: all currents scale with it. */
static void collect_window(struct uncertainty *out, const struct cell *cell) {
    const struct param_table *t = &cell_model_of(cell)->params;
    for (size_t i = 0; i < t->count; i++) {
        if (t->rows[i].type == PARAM_CONSTANT && strcmp(t->rows[i].key, "g_max_uS") == 0) {
            collect(out, "tile.cell.g_max_uS",
                    (const struct constant *)(const void *)((const char *)cell_params(cell) + t->rows[i].offset),
                    SIZE_MAX);
        }
    }
}

/* ---- the quantities of one chip ---------------------------------------------------------------------------- */

/* A component that costs nothing stays so. */
static double ratio(double now, double before) { return before > 0 ? now / before : 1; }

static double memory_time_ratio(const struct memory_spec *now, const struct memory_spec *before, double transfer) {
    return transfer * ratio(memory_bandwidth_Bps(before), memory_bandwidth_Bps(now)) +
           (1 - transfer) * ratio(now->latency_s.value, before->latency_s.value);
}

static double dram_time_ratio(const struct dram_spec *now, const struct dram_spec *before, double transfer) {
    return transfer * ratio(dram_bandwidth_Bps(before), dram_bandwidth_Bps(now)) +
           (1 - transfer) * ratio(now->latency_s.value, before->latency_s.value);
}

static double link_time_ratio(const struct chip_link_spec *now, const struct chip_link_spec *before, double transfer) {
    return transfer * ratio(before->bandwidth_Bps.value, now->bandwidth_Bps.value) +
           (1 - transfer) * ratio(now->latency_s.value, before->latency_s.value);
}

static void time_ratios(const struct model *m, const struct chip_spec *now, double out[CLASS_COUNT]) {
    const struct chip_spec *before = m->nominal;
    for (int c = 0; c < CLASS_COUNT; c++) {
        out[c] = 1;
    }
    out[CLASS_TILES] = ratio(tile_work_of(now).latency_s, tile_work_of(before).latency_s);
    out[CLASS_NETWORK] = before->clock_Hz / now->clock_Hz;
    if (before->chip_link.given) {
        out[CLASS_CHIP_LINK] =
            link_time_ratio(&now->chip_link, &before->chip_link, m->transfer_share[CLASS_CHIP_LINK]);
    }
    if (before->package_link.given) {
        out[CLASS_PACKAGE_LINK] =
            link_time_ratio(&now->package_link, &before->package_link, m->transfer_share[CLASS_PACKAGE_LINK]);
    }
    out[CLASS_VECTOR] = out[CLASS_ATTENTION] = out[CLASS_MATMUL] = before->clock_Hz / now->clock_Hz;
    out[CLASS_KV] = memory_time_ratio(&now->kv, &before->kv, m->transfer_share[CLASS_KV]);
    if (before->dram.given) {
        out[CLASS_DRAM] = dram_time_ratio(&now->dram, &before->dram, m->transfer_share[CLASS_DRAM]);
    }
    out[CLASS_BUFFER] = memory_time_ratio(&now->buffer, &before->buffer, m->transfer_share[CLASS_BUFFER]);
}

/* Of the parts that constants scale; what else is static stays in proportion to the time. */
static double chip_static_W(const struct chip_spec *s) {
    return s->tiles_per_chip * tile_static_W(&s->tile) + unit_static_W(&s->vector) + unit_static_W(&s->attention) +
           unit_static_W(&s->matmul) + memory_static_W(&s->kv) + memory_static_W(&s->buffer) + links_static_W(s) +
           dram_static_W(&s->dram);
}

static double static_J(const struct model *m, const struct chip_spec *now, double seconds) {
    uint64_t side_bits = placement_total(m->run->placement).side_bits;
    double rest_W = ledger_static_W(&m->run->ledger) - m->chips * chip_static_W(m->nominal) -
                    side_path_static_W(m->nominal, side_bits) + side_path_static_W(now, side_bits);
    double slower = m->ledger.makespan_s > 0 ? seconds / m->ledger.makespan_s : 1;
    struct awake a = {m->awake.tiles_s * slower, m->awake.vector_s * slower, m->awake.attention_s * slower,
                      m->awake.matmul_s * slower};
    return seconds * (rest_W + m->chips * chip_static_W(now)) - gating_saved_J(now, m->chips, seconds, &a);
}

/* The matrix unit works on digital matrices and on side paths, whose MACs have a constant of their own. */
static double matmul_ratio(const struct model *m, const struct chip_spec *now) {
    double total_J = m->ledger.energy_J[PART_DIGITAL_MATMUL],
           side = total_J > 0 ? (double)m->run->ledger.side_macs * m->nominal->side_path.energy_J.value / total_J : 0;
    return side * ratio(now->side_path.energy_J.value, m->nominal->side_path.energy_J.value) +
           (1 - side) * ratio(now->matmul.energy_J.value, m->nominal->matmul.energy_J.value);
}

/* Energy of a component per count, relative to the nominal chip. */
static double energy_ratio(const struct model *m, const struct chip_spec *now, double window, enum component c) {
    const struct chip_spec *before = m->nominal;
    const struct tile_spec *t = &now->tile, *t0 = &before->tile;
    switch (c) {
    case PART_DAC: return ratio(t->dac.energy_J.value, t0->dac.energy_J.value);
    case PART_ARRAY:
        return ratio(array_energy_J(now, 1, 1), array_energy_J(before, 1, 1)) * (t->array.given ? 1 : window);
    case PART_SAMPLING: return ratio(sampling_energy_J(now, 1), sampling_energy_J(before, 1));
    case PART_ADC: return ratio(t->adc.energy_J.value, t0->adc.energy_J.value);
    case PART_DIGITAL_POST: return ratio(t->post.energy_J.value, t0->post.energy_J.value);
    case PART_VECTOR: return ratio(now->vector.energy_J.value, before->vector.energy_J.value);
    case PART_ATTENTION: return ratio(now->attention.energy_J.value, before->attention.energy_J.value);
    case PART_DIGITAL_MATMUL: return matmul_ratio(m, now);
    case PART_KV_MEMORY: return ratio(now->kv.energy_J_per_bit.value, before->kv.energy_J_per_bit.value);
    case PART_BUFFER: return ratio(now->buffer.energy_J_per_bit.value, before->buffer.energy_J_per_bit.value);
    case PART_NETWORK:
        return ratio(now->network.hop_energy_J_per_bit.value, before->network.hop_energy_J_per_bit.value);
    case PART_CHIP_LINK:
        return ratio(now->chip_link.energy_J_per_bit.value, before->chip_link.energy_J_per_bit.value);
    case PART_PACKAGE_LINK:
        return ratio(now->package_link.energy_J_per_bit.value, before->package_link.energy_J_per_bit.value);
    case PART_DRAM: return ratio(now->dram.energy_J_per_bit.value, before->dram.energy_J_per_bit.value);
    default: return 1;
    }
}

static double energy_J(const struct model *m, const struct chip_spec *now, double window, double seconds) {
    double sum_J = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        sum_J += c == PART_STATIC ? static_J(m, now, seconds)
                                  : m->ledger.energy_J[c] * energy_ratio(m, now, window, (enum component)c);
    }
    return sum_J;
}

/* The chip with factor[i] on constant i. */
static void evaluate(const struct model *m, const struct uncertainty *u, const double *factor,
                     double out[UNCERTAIN_COUNT]) {
    const struct run *r = m->run;
    struct chip_spec given = *m->given, now = given;
    struct error e = {OK, ""};
    double window = 1, by_class[CLASS_COUNT], seconds[STEP_KINDS] = {m->clock_s[0], m->clock_s[1]},
           run_s = m->path.arrival_s + m->path.clock_s;
    for (size_t i = 0; i < u->count; i++) {
        if (u->constants[i].offset == SIZE_MAX) {
            window = factor[i];
        } else {
            ((struct constant *)(void *)((char *)&given + u->constants[i].offset))->value *= factor[i];
        }
    }
    (void)chip_costs_act(&given, NULL, &now, &e); /* without an arena nothing can fail */
    time_ratios(m, &now, by_class);
    for (int c = 0; c < CLASS_COUNT; c++) {
        run_s += m->path.class_s[c] * by_class[c];
        for (int kind = 0; kind < STEP_KINDS; kind++) {
            seconds[kind] += r->critical_s[kind][c] * by_class[c];
        }
    }
    double several = (double)(r->steps - r->single_steps), one = (double)r->single_steps;
    out[UNCERTAIN_ENERGY] = energy_J(m, &now, window, run_s) / (double)r->tokens_total;
    out[UNCERTAIN_TTFT] = several > 0 ? seconds[STEP_SEVERAL] / several : (double)NAN;
    out[UNCERTAIN_TPOT] = one > 0 ? seconds[STEP_SINGLE] / one : (double)NAN;
    struct placement_total placed = placement_total(r->placement);
    out[UNCERTAIN_AREA] =
        chip_area(&now, m->chips, placed.more_arrays).total_mm2 + side_path_mm2(&now, placed.side_bits);
}

/* ---- draws ------------------------------------------------------------------------------------------------- */

/* Where the random numbers of a constant are: by its name, so that other constants leave them alone (FNV-1a). */
static uint64_t place_of(const char *key) {
    uint64_t hash = 14695981039346656037u;
    for (; *key; key++) {
        hash = (hash ^ (unsigned char)*key) * 1099511628211u;
    }
    return hash & ((1ull << 56) - 1);
}

static double draw_factor(const struct uncertain_constant *c, uint64_t draw) {
    double low = log(c->k->spread_low), high = log(c->k->spread_high);
    double z = (double)random_gaussian(0, random_stream(RANDOM_UNCERTAINTY, place_of(c->key)), draw);
    return exp((high + low) / 2 + z * (high - low) / (2 * z90));
}

static void find_quantiles(const struct model *m, struct uncertainty *u) {
    static const double wanted[3] = {0.1, 0.5, 0.9};
    double values[UNCERTAIN_COUNT][DRAWS], factor[UNCERTAIN_CONSTANTS], one[UNCERTAIN_COUNT];
    for (uint64_t d = 0; d < DRAWS; d++) {
        for (size_t i = 0; i < u->count; i++) {
            factor[i] = draw_factor(&u->constants[i], d);
        }
        evaluate(m, u, factor, one);
        for (int q = 0; q < UNCERTAIN_COUNT; q++) {
            values[q][d] = one[q];
        }
    }
    for (int q = 0; q < UNCERTAIN_COUNT; q++) {
        struct uncertain_quantity *out = &u->of[q];
        if (isfinite(out->nominal)) {
            sort_doubles(values[q], DRAWS);
        }
        out->p10 = values[q][(size_t)(wanted[0] * DRAWS)];
        out->p50 = values[q][(size_t)(wanted[1] * DRAWS)];
        out->p90 = values[q][(size_t)(wanted[2] * DRAWS)];
    }
}

/* ---- one constant at a time -------------------------------------------------------------------------------- */

/* Into the list of the ten largest. */
static void rank(struct uncertain_quantity *q, const struct assumption *a) {
    size_t at = q->count;
    while (at > 0 && a->share > q->top[at - 1].share) {
        at--;
    }
    if (at == ASSUMPTIONS_MOST) {
        return;
    }
    q->count += q->count < ASSUMPTIONS_MOST;
    memmove(&q->top[at + 1], &q->top[at], (q->count - 1 - at) * sizeof q->top[0]);
    q->top[at] = *a;
}

static void find_assumptions(const struct model *m, struct uncertainty *u) {
    double factor[UNCERTAIN_CONSTANTS], low[UNCERTAIN_COUNT], high[UNCERTAIN_COUNT], sum[UNCERTAIN_COUNT] = {0};
    for (size_t i = 0; i < u->count; i++) {
        factor[i] = 1;
    }
    for (size_t i = 0; i < u->count; i++) {
        factor[i] = u->constants[i].k->spread_low;
        evaluate(m, u, factor, low);
        factor[i] = u->constants[i].k->spread_high;
        evaluate(m, u, factor, high);
        factor[i] = 1;
        for (int q = 0; q < UNCERTAIN_COUNT; q++) {
            double swing = high[q] - low[q];
            if (fabs(swing) > 1e-12 * fabs(u->of[q].nominal)) { /* not of rounding */
                rank(&u->of[q], &(struct assumption){i, low[q], high[q], swing * swing});
                sum[q] += swing * swing;
            }
        }
    }
    for (int q = 0; q < UNCERTAIN_COUNT; q++) {
        for (size_t i = 0; i < u->of[q].count; i++) {
            u->of[q].top[i].share /= sum[q];
        }
    }
}

/* ---- public ------------------------------------------------------------------------------------------------ */

static double transfer_share(const struct run *r, enum resource_class c, uint64_t bits, double Bps) {
    double busy_s = run_class(r, c).busy_s, transfer_s = (double)bits / 8 / Bps;
    return busy_s > transfer_s ? transfer_s / busy_s : 1;
}

/* Every crossing pays the latency once, on its way out, and the transfer twice. */
static double link_transfer_share(const struct run *r, enum resource_class c, const struct chip_link_spec *link) {
    struct class_view links = run_class(r, c);
    double latency_s = (double)links.events / 2 * link->latency_s.value;
    return links.busy_s > 0 ? links.busy_s / (links.busy_s + latency_s) : 1;
}

void run_uncertainty(const struct run *r, struct uncertainty *out) {
    double nominal[UNCERTAIN_COUNT], factor[UNCERTAIN_CONSTANTS];
    memset(out, 0, sizeof *out);
    for (int q = 0; q < UNCERTAIN_COUNT; q++) {
        out->of[q] = (struct uncertain_quantity){(double)NAN, (double)NAN, (double)NAN, (double)NAN, {{0}}, 0};
    }
    if (!chip_has_costs(r->chip) || !r->tokens_total) {
        return;
    }
    struct model m = {.run = r,
                      .given = chip_given_of(r->chip),
                      .nominal = chip_spec_of(r->chip),
                      .ledger = run_ledger(r),
                      .awake = run_awake(r),
                      .path = run_path(r),
                      .chips = (double)placement_total(r->placement).chips};
    m.clock_s[STEP_SEVERAL] = r->several_s;
    m.clock_s[STEP_SINGLE] = r->single_s;
    for (int c = 0; c < CLASS_COUNT; c++) {
        m.clock_s[STEP_SEVERAL] -= r->critical_s[STEP_SEVERAL][c];
        m.clock_s[STEP_SINGLE] -= r->critical_s[STEP_SINGLE][c];
    }
    m.transfer_share[CLASS_KV] = transfer_share(r, CLASS_KV, m.ledger.count[PART_KV_MEMORY],
                                               memory_bandwidth_Bps(&m.nominal->kv));
    m.transfer_share[CLASS_BUFFER] = transfer_share(r, CLASS_BUFFER, m.ledger.count[PART_BUFFER],
                                                   memory_bandwidth_Bps(&m.nominal->buffer));
    m.transfer_share[CLASS_DRAM] =
        m.nominal->dram.given
            ? transfer_share(r, CLASS_DRAM, m.ledger.count[PART_DRAM], dram_bandwidth_Bps(&m.nominal->dram))
            : 1;
    m.transfer_share[CLASS_CHIP_LINK] = link_transfer_share(r, CLASS_CHIP_LINK, &m.nominal->chip_link);
    m.transfer_share[CLASS_PACKAGE_LINK] = link_transfer_share(r, CLASS_PACKAGE_LINK, &m.nominal->package_link);
    struct collecting collecting = {out, m.given};
    chip_visit_given(r->chip, collect_given, &collecting);
    collect_window(out, m.given->tile.cell);
    for (size_t i = 0; i < UNCERTAIN_CONSTANTS; i++) {
        factor[i] = 1;
    }
    evaluate(&m, out, factor, nominal);
    for (int q = 0; q < UNCERTAIN_COUNT; q++) {
        out->of[q].nominal = nominal[q];
    }
    find_quantiles(&m, out);
    find_assumptions(&m, out);
}
