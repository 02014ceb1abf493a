/* See ledger.h. */
#include "sim/ledger.h"

#include <math.h>
#include <string.h>

#include "sim/chip_costs.h"
#include "sim/memories.h"
#include "sim/passes.h"
#include "sim/placement.h"
#include "sim/side_path.h"

static const char *const component_names[PART_COUNT] = {
    "dac",       "array",  "sampling",       "adc",     "digital_post", "vector", "attention",
    "kv_memory", "buffer", "digital_matmul", "network", "chip_link",    "package_link",
    "dram",      "maintenance", "static"};
static const char *const count_units[PART_COUNT] = {"conversions", "MVMs", "samples", "conversions", "results",
                                                    "operations",  "MACs", "bits",    "bits",        "MACs",
                                                    "bit hops",    "bits", "bits",    "bits",        "tiles", ""};

const char *component_name(enum component c) { return component_names[c]; }
const char *component_count_unit(enum component c) { return count_units[c]; }

/* Per element. norm: square, add, scale, weight. RoPE: two products and a sum per rotated value. activation:
 * exponential (2), sum, division (2), product. sample: one comparison. embed: one copy. Attention and matmul have
 * units of their own. */
static const struct {
    unsigned operations, values;
} per_element[OP_KINDS] = {
    [OP_EMBED] = {1, 1},    [OP_NORM] = {4, 2}, [OP_ROPE] = {3, 2},   [OP_ATTENTION] = {0, 2}, [OP_ACTIVATION] = {6, 3},
    [OP_RESIDUAL] = {1, 3}, [OP_BIAS] = {1, 2}, [OP_SAMPLE] = {1, 1}, [OP_MATMUL] = {0, 0},
};

unsigned vector_operations(enum digital_op op) { return per_element[op].operations; }
unsigned buffer_values(enum digital_op op) { return per_element[op].values; }
unsigned input_operations(const struct chip_spec *s) { return s->tile.dac.range == INPUT_PER_TOKEN ? 2 : 1; }

uint64_t attention_macs(const struct digital_record *d, uint32_t t) {
    return attention_keys(d, t) * 2 * d->heads * d->head_dim;
}

/* ---- life -------------------------------------------------------------------------------------- */

enum status ledger_create(const struct chip *c, const struct placement *p, struct ledger *out, struct error *e) {
    *out = (struct ledger){.chip = c, .placement = p, .rows = placement_layers(p) + 1};
    out->energy_J = mem_alloc(out->rows, sizeof *out->energy_J);
    out->kv_bits = mem_alloc(out->rows, sizeof *out->kv_bits);
    out->kv_now_bits = mem_alloc(out->rows, sizeof *out->kv_now_bits);
    out->kv_first_bits = mem_alloc(out->rows, sizeof *out->kv_first_bits);
    out->kv_room_bits = mem_alloc(out->rows, sizeof *out->kv_room_bits);
    out->clips = mem_alloc(out->rows, sizeof *out->clips);
    out->kv_share_bits = out->kv_room_bits;
    out->kv_own_bits = out->kv_first_bits;
    enum status status = OK;
    if (!out->energy_J || !out->kv_bits || !out->kv_now_bits || !out->kv_first_bits || !out->kv_room_bits ||
        !out->clips) {
        status = error_set(e, ERR_RUN, "ledger: out of memory");
    }
    if (status == OK && chip_has_costs(c)) {
        status = kv_rooms(c, p, out->kv_room_bits, e);
    }
    if (status != OK) {
        ledger_destroy(out);
    }
    return status;
}

void ledger_destroy(struct ledger *l) {
    mem_free(l->energy_J);
    mem_free(l->kv_bits);
    mem_free(l->kv_now_bits);
    mem_free(l->kv_first_bits);
    mem_free(l->kv_room_bits);
    mem_free(l->clips);
    *l = (struct ledger){0};
}

void ledger_reset(struct ledger *l) {
    memset(l->energy_J, 0, l->rows * sizeof *l->energy_J);
    memset(l->kv_bits, 0, l->rows * sizeof *l->kv_bits);
    memset(l->kv_now_bits, 0, l->rows * sizeof *l->kv_now_bits);
    memset(l->kv_first_bits, 0, l->rows * sizeof *l->kv_first_bits);
    l->kv_own_bits = l->kv_first_bits;
    memset(l->clips, 0, l->rows * sizeof *l->clips);
    memset(l->count, 0, sizeof l->count);
    memset(l->fresh_J, 0, sizeof l->fresh_J);
    l->kv_too_small = false;
    l->mvm = l->macs = l->digital_macs = l->side_macs = l->converted_adc = l->converted_dac = 0;
    l->saturated_adc = l->results_adc = l->clipped_dac = l->inputs_dac = 0;
}

void ledger_release_kv(struct ledger *l, uint64_t *own) {
    for (size_t row = 0; row < l->rows; row++) {
        l->kv_now_bits[row] -= own[row];
        own[row] = 0;
    }
}

/* ---- entries ----------------------------------------------------------------------------------- */

static void add(struct ledger *l, enum component c, int layer, uint64_t count, double energy_J) {
    l->count[c] += count;
    l->fresh_J[c] += energy_J;
    l->energy_J[placement_layer_row(l->placement, layer)][c] += energy_J;
}

static void add_buffer(struct ledger *l, int layer, uint64_t bits) {
    add(l, PART_BUFFER, layer, bits, (double)bits * chip_spec_of(l->chip)->buffer.energy_J_per_bit.value);
}

void ledger_links(struct ledger *l, int layer, uint64_t bit_hops, const uint64_t link_bits[LINK_KINDS]) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    add(l, PART_NETWORK, layer, bit_hops, (double)bit_hops * s->network.hop_energy_J_per_bit.value);
    add(l, PART_CHIP_LINK, layer, link_bits[LINK_CHIP],
        (double)link_bits[LINK_CHIP] * s->chip_link.energy_J_per_bit.value);
    add(l, PART_PACKAGE_LINK, layer, link_bits[LINK_PACKAGE],
        (double)link_bits[LINK_PACKAGE] * s->package_link.energy_J_per_bit.value);
}

void ledger_maintenance(struct ledger *l, int layer, uint64_t tiles, double energy_J) {
    l->count[PART_MAINTENANCE] += tiles;
    l->energy_J[placement_layer_row(l->placement, layer)][PART_MAINTENANCE] += energy_J;
}

bool component_listed(const struct ledger_view *v, enum component part) {
    return part != PART_MAINTENANCE || v->count[part] > 0;
}

bool component_given(const struct chip *c, enum component part) {
    const struct chip_spec *s = chip_spec_of(c);
    switch (part) {
    case PART_NETWORK: return s->network.given;
    case PART_CHIP_LINK: return s->chip_link.given;
    case PART_PACKAGE_LINK: return s->package_link.given;
    case PART_DRAM: return s->dram.given;
    default: return true;
    }
}

void ledger_inputs(struct ledger *l, int layer, uint64_t inputs, uint32_t tokens) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    uint64_t operations = inputs * tokens * input_operations(s);
    add(l, PART_VECTOR, layer, operations, (double)operations * s->vector.energy_J.value);
}

double array_energy_J(const struct chip_spec *s, double S_sum, double mvms) {
    const struct tile_spec *t = &s->tile;
    if (t->array.given) {
        return mvms * tile_work_of(s).passes * t->array.energy_J.value;
    }
    struct cell_common cell = cell_common_of(t->cell);
    double volts = t->read_voltage_V.value, per_S = cell.charge ? cell.g_max_F / cell.g_max_S : t->pulse_s.value;
    return volts * volts * per_S * S_sum;
}

double sampling_energy_J(const struct chip_spec *s, double adc_conversions) {
    const struct integrator_spec *i = &s->tile.integrator;
    if (!i->given) {
        return 0;
    }
    struct tile_work work = tile_work_of(s);
    return adc_conversions / work.groups * (work.samples * i->sample_J.value + work.pulses * i->pulse_J.value);
}

static void add_side_path(struct ledger *l, const struct placement_matrix *m, uint32_t tokens) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    struct side_path_work w = side_path_work(s, m, tokens);
    if (w.macs == 0) {
        return;
    }
    add(l, PART_DIGITAL_MATMUL, m->layer, w.macs, w.macs_J);
    add(l, PART_BUFFER, m->layer, w.bits, w.bits_J);
    add(l, PART_VECTOR, m->layer, w.sums, w.sums_J);
    l->digital_macs += w.macs;
    l->side_macs += w.macs;
}

void ledger_multiply(struct ledger *l, const struct multiply_record *r) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    const struct tile_spec *t = &s->tile;
    struct placement_matrix m = placement_matrix_at(l->placement, r->matrix);
    uint64_t mvm = (uint64_t)m.tiles * r->tokens + r->repeated_blocks * m.column_blocks,
             values = ((uint64_t)m.inputs + m.outputs) * r->tokens;
    add(l, PART_DAC, m.layer, r->dac_conversions, (double)r->dac_conversions * t->dac.energy_J.value);
    double cells = (double)m.devices / t->devices; /* of a tile, against what the energy per MVM is given for */
    add(l, PART_ARRAY, m.layer, mvm, array_energy_J(s, r->array_S_sum, (double)mvm * cells));
    if (t->integrator.given) {
        struct tile_work work = *chip_work(l->chip);
        add(l, PART_SAMPLING, m.layer, r->adc_conversions / work.groups * work.samples,
            sampling_energy_J(s, (double)r->adc_conversions));
    }
    add(l, PART_ADC, m.layer, r->adc_conversions, (double)r->adc_conversions * t->adc.energy_J.value);
    add(l, PART_DIGITAL_POST, m.layer, r->adc_conversions, (double)r->adc_conversions * t->post.energy_J.value);
    add_buffer(l, m.layer, values * (uint64_t)chip_spec_of(l->chip)->buffer.value_bits);
    add_side_path(l, &m, r->tokens);
    l->mvm += mvm;
    l->macs += ((uint64_t)m.inputs * m.outputs - placement_side_macs(&m)) * r->tokens;
    l->converted_dac += r->dac_conversions;
    l->inputs_dac += r->dac_inputs;
    l->clipped_dac += r->dac_clipped;
    l->converted_adc += r->adc_conversions;
    l->results_adc += r->adc_results;
    l->saturated_adc += r->adc_saturated;
    uint64_t *row = l->clips[placement_layer_row(l->placement, m.layer)];
    row[CLIP_DAC] += r->dac_clipped;
    row[CLIP_DAC_OF] += r->dac_inputs;
    row[CLIP_ADC] += r->adc_saturated;
    row[CLIP_ADC_OF] += r->adc_results;
}

static void add_dram(struct ledger *l, int layer, uint64_t bits) {
    add(l, PART_DRAM, layer, bits, (double)bits * chip_spec_of(l->chip)->dram.energy_J_per_bit.value);
}

static void add_attention(struct ledger *l, const struct digital_record *d) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    uint64_t macs = 0, bits = 0, spilled_bits = 0, row = placement_layer_row(l->placement, d->layer);
    for (uint32_t t = 0; t < d->tokens; t++) {
        macs += attention_macs(d, t);
        struct kv_traffic kv = kv_traffic(s, d, t, l->kv_share_bits[row]);
        bits += kv.chip_bits;
        spilled_bits += kv.dram_bits;
    }
    add(l, PART_ATTENTION, d->layer, macs, (double)macs * s->attention.energy_J.value);
    add(l, PART_KV_MEMORY, d->layer, bits, (double)bits * s->kv.energy_J_per_bit.value);
    add_dram(l, d->layer, spilled_bits);
    add_buffer(l, d->layer,
               (uint64_t)d->tokens * buffer_values(OP_ATTENTION) * d->heads * d->head_dim *
                   (uint64_t)s->buffer.value_bits);
    uint64_t held = d->tokens ? attention_keys(d, d->tokens - 1) * kv_key_bits(s, d) : 0;
    l->kv_too_small = l->kv_too_small || l->kv_room_bits[row] < kv_key_bits(s, d);
    uint64_t *own = &l->kv_own_bits[row], *now = &l->kv_now_bits[row], *most = &l->kv_bits[row];
    *now += held - *own;
    *own = held;
    *most = *now > *most ? *now : *most;
}

void ledger_digital(struct ledger *l, const struct digital_record *d) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    if (d->op == OP_ATTENTION) {
        add_attention(l, d);
        return;
    }
    uint64_t elements = d->elements * d->tokens;
    if (d->op == OP_MATMUL) {
        add(l, PART_DIGITAL_MATMUL, d->layer, elements, (double)elements * s->matmul.energy_J.value);
        add_buffer(l, d->layer, d->elements * WEIGHT_BITS); /* every weight once per step */
        l->digital_macs += elements;
        return;
    }
    if (d->op == OP_EMBED) {
        add_dram(l, d->layer, embedding_dram_bits(s, d->elements) * d->tokens);
    }
    uint64_t operations = elements * vector_operations(d->op);
    add(l, PART_VECTOR, d->layer, operations, (double)operations * s->vector.energy_J.value);
    add_buffer(l, d->layer, elements * buffer_values(d->op) * (uint64_t)s->buffer.value_bits);
}

/* ---- totals ------------------------------------------------------------------------------------ */

double ledger_dynamic_J(const struct ledger *l) {
    double sum_J = 0;
    for (size_t row = 0; row < l->rows; row++) {
        for (int c = 0; c < PART_COUNT; c++) {
            sum_J += l->energy_J[row][c];
        }
    }
    return sum_J;
}

double ledger_static_W(const struct ledger *l) {
    const struct chip_spec *s = chip_spec_of(l->chip);
    double one_chip_W = s->tiles_per_chip * tile_static_W(&s->tile) + unit_static_W(&s->vector) +
                        unit_static_W(&s->attention) + unit_static_W(&s->matmul) + memory_static_W(&s->kv) +
                        memory_static_W(&s->buffer) + links_static_W(s) + dram_static_W(&s->dram);
    struct placement_total t = placement_total(l->placement);
    return (double)t.chips * one_chip_W + side_path_static_W(s, t.side_bits);
}

double ledger_row_J(const struct ledger *l, size_t row, double static_J) {
    if (!chip_has_costs(l->chip)) {
        return (double)NAN;
    }
    double sum_J = row + 1 == l->rows ? static_J : 0;
    for (int c = 0; c < PART_COUNT; c++) {
        sum_J += l->energy_J[row][c];
    }
    return sum_J;
}

struct ledger_view ledger_view(const struct ledger *l, double makespan_s, double static_J) {
    struct ledger_view v = {.makespan_s = makespan_s,
                            .mvm = l->mvm,
                            .macs = l->macs,
                            .saturated_adc = l->saturated_adc,
                            .results_adc = l->results_adc,
                            .converted_adc = l->converted_adc,
                            .clipped_dac = l->clipped_dac,
                            .inputs_dac = l->inputs_dac,
                            .converted_dac = l->converted_dac,
                            .layers = l->rows};
    bool costs = chip_has_costs(l->chip);
    memcpy(v.count, l->count, sizeof v.count);
    for (int c = 0; c < PART_COUNT; c++) {
        for (size_t row = 0; row < l->rows; row++) {
            v.energy_J[c] += l->energy_J[row][c];
        }
    }
    v.energy_J[PART_STATIC] = static_J;
    for (int c = 0; c < PART_COUNT; c++) {
        v.energy_J[c] = costs ? v.energy_J[c] : (double)NAN;
        v.total_J += v.energy_J[c];
    }
    return v;
}
