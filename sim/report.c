/* The report of a run as JSON, and the judgements that both reports share. A number that is not known is null,
 * never 0. */
#include "sim/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "sim/guards.h"
#include "sim/placement.h"
#include "sim/report_machine.h"
#include "sim/uncertainty.h"

const char *const report_not_modelled[] = {
    "programming, calibration and refresh of the cells before the run (rows of their own: set-up; not in the energies "
    "and times of the run)",
    "moving weights to the tiles",
    "power supply, pads, control processor",
    "overlap of one step with the next",
    NULL,
};

const char *report_boundary(const struct chip *c) {
    return component_given(c, PART_DRAM)
               ? "all chips: tiles, digital units, KV memory, buffer, off-chip memory; no host"
               : "all chips: tiles, digital units, KV memory, buffer; no host, no off-chip memory";
}

/* ---- judgements -------------------------------------------------------------------------------- */

double report_tile_J_per_mac(const struct ledger_view *v) {
    double tiles_J = v->energy_J[PART_DAC] + v->energy_J[PART_ARRAY] + v->energy_J[PART_SAMPLING] +
                     v->energy_J[PART_ADC] + v->energy_J[PART_DIGITAL_POST];
    return v->macs ? tiles_J / (double)v->macs : (double)NAN;
}

static void count_constant(void *ctx, const char *key, const char *unit, const struct constant *k) {
    struct constant_count *count = ctx;
    (void)key;
    (void)unit;
    count->all++;
    count->assumed += k->kind == CONSTANT_ASSUMED;
}

struct constant_count report_constants(const struct chip *c) {
    struct constant_count count = {0, 0};
    chip_visit_constants(c, count_constant, &count);
    return count;
}

static void flag_guards(const struct run *r, struct flags *out) {
    struct guard_facts facts;
    if (chip_has_costs(r->chip)) {
        guard_facts_of(r, &facts);
        guard(&facts, out);
    }
}

static void flag_kv(const struct run *r, struct flags *out) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct kv_use u = report_kv_use(r);
    double MiB = 8 * 1048576.0,
           outside_bits = (double)placement_total(r->placement).chips * s->dram.capacity_KiB * 1024 * 8;
    if (!chip_has_costs(r->chip) || !(u.beyond_bits > 0)) {
        return;
    }
    if (!s->dram.given && r->ledger.kv_too_small) {
        snprintf(out->text[out->count++], FLAG_BYTES,
                 "no room for a single token of a layer in the KV memory (%d KiB per chip), no dram to spill to",
                 s->kv.capacity_KiB);
    } else if (!s->dram.given) {
        snprintf(out->text[out->count++], FLAG_BYTES,
                 "KV cache of %.3g MiB, no room for %.3g MiB, no dram to spill to", u.bits / MiB,
                 u.beyond_bits / MiB);
    } else if (u.beyond_bits > outside_bits) {
        snprintf(out->text[out->count++], FLAG_BYTES, "%.3g MiB of keys and values spill, the DRAM holds %.3g MiB",
                 u.beyond_bits / MiB, outside_bits / MiB);
    }
}

/* A converter whose energy is a constant does not know that its bits were changed. (Bit by bit, an input converter
 * drives one bit whatever their number.) */
static void flag_bits(const struct run *r, struct flags *out) {
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    if (!chip_has_costs(r->chip)) {
        return;
    }
    if (t->dac.cost.model == DAC_COST_CONSTANT && t->dac.coding != CODING_BIT_SERIAL &&
        t->dac.bits != t->dac.energy_bits) {
        snprintf(out->text[out->count++], FLAG_BYTES, "DAC of %d bits, but its energy is that of %d bits", t->dac.bits,
                 t->dac.energy_bits);
    }
    if (t->adc.cost.model == ADC_COST_CONSTANT && t->adc.bits != t->adc.energy_bits) {
        snprintf(out->text[out->count++], FLAG_BYTES, "ADC of %d bits, but its energy is that of %d bits%s",
                 t->adc.bits, t->adc.energy_bits, t->adc.cost.time == TIME_GIVEN ? ", and so are its times" : "");
    }
}

enum { CHIPS_PLAUSIBLE = 1000 };

/* A time does not know that the tile was changed which it was given for. */
static void flag_times(const struct run *r, struct flags *out) {
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    int rows = t->mvm_rows ? t->mvm_rows : t->rows, columns = t->mvm_columns ? t->mvm_columns : t->columns;
    if (chip_has_costs(r->chip) && (t->rows != rows || t->columns != columns)) {
        snprintf(out->text[out->count++], FLAG_BYTES,
                 "tiles of %d x %d, but tile.mvm_ns = %.4g is that of %d x %d: not rescaled", t->rows, t->columns,
                 t->mvm_s.value * 1e9, rows, columns);
    }
}

static void flag_chips(const struct run *r, struct flags *out) {
    uint64_t chips = placement_total(r->placement).chips;
    if (chips > CHIPS_PLAUSIBLE) {
        snprintf(out->text[out->count++], FLAG_BYTES,
                 "%" PRIu64 " chips, more than %d: is the model meant for this chip?", chips, CHIPS_PLAUSIBLE);
    }
}

static void flag_settling(const struct run *r, struct flags *out) {
    double pulse_s = chip_spec_of(r->chip)->tile.pulse_s.value;
    if (run_wires_act(r) && chip_has_costs(r->chip) && machine_wires(r->machine).settling_s > pulse_s) {
        snprintf(out->text[out->count++], FLAG_BYTES, "columns settle in %.3g ns, read pulses last %.3g ns",
                 machine_wires(r->machine).settling_s * 1e9, pulse_s * 1e9);
    }
}

/* Refreshing wears the devices out. */
static void flag_programming(const struct run *r, struct flags *out) {
    if (!r->machine) {
        return;
    }
    struct machine_programming p = machine_programming(r->machine);
    if (p.endurance_used > 1) {
        snprintf(out->text[out->count++], FLAG_BYTES, "%.3g programmings wear the devices out: %.3g x their endurance",
                 (double)p.programmings, p.endurance_used);
    }
}

void report_flags(const struct run *r, struct flags *out) {
    struct ledger_view v = run_ledger(r);
    out->count = 0;
    flag_guards(r, out);
    flag_bits(r, out);
    flag_times(r, out);
    flag_chips(r, out);
    flag_kv(r, out);
    if (v.results_adc && (double)v.saturated_adc > 0.01 * (double)v.results_adc) {
        snprintf(out->text[out->count++], FLAG_BYTES, "%.1f %% of the ADC results are saturated",
                 100 * (double)v.saturated_adc / (double)v.results_adc);
    }
    flag_settling(r, out);
    flag_programming(r, out);
    if (r->trouble.status != OK) {
        snprintf(out->text[out->count++], FLAG_BYTES, "time is incomplete: %.100s", r->trouble.message);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *count(uint64_t value) { return json_integer((json_int_t)value); }

static json_t *energy_json(const struct run *r, const struct ledger_view *v, const struct uncertainty *u) {
    json_t *energy = json_object(), *parts = json_object(), *layers = json_array(), *spread = json_object();
    const struct uncertain_quantity *q = &u->of[UNCERTAIN_ENERGY];
    double tokens = (double)r->tokens_total;
    for (int c = 0; c < PART_COUNT; c++) {
        if (component_listed(v, (enum component)c)) {
            json_object_set_new(parts, component_name((enum component)c),
                                number(component_given(r->chip, (enum component)c) ? v->energy_J[c] : (double)NAN));
        }
    }
    for (size_t row = 0; row < v->layers; row++) {
        json_array_append_new(layers, number(run_layer_energy_J(r, row)));
    }
    json_object_set_new(energy, "total_J", number(v->total_J));
    json_object_set_new(energy, "per_token_J",
                        number(r->tokens_total ? v->total_J / (double)r->tokens_total : (double)NAN));
    json_object_set_new(energy, "by_component", parts);
    json_object_set_new(energy, "by_layer",
                        layers); /* the last entry: everything outside a layer, static energy included */
    json_object_set_new(energy, "by_layer_and_component", report_layer_components_json(r));
    json_object_set_new(spread, "p10_J", number(q->p10 * tokens));
    json_object_set_new(spread, "p50_J", number(q->p50 * tokens));
    json_object_set_new(spread, "p90_J", number(q->p90 * tokens));
    json_object_set_new(energy, "uncertainty", spread);
    json_object_set_new(energy, "tiles_J_per_mac", number(report_tile_J_per_mac(v)));
    json_object_set_new(energy, "tokens", count(r->tokens_total));
    return energy;
}

static json_t *assumption_json(const struct uncertainty *u, const struct assumption *a) {
    const struct uncertain_constant *c = &u->constants[a->constant];
    json_t *json = json_object();
    json_object_set_new(json, "key", json_string(c->key));
    json_object_set_new(json, "kind", json_string(constant_kind_name(c->k->kind)));
    json_object_set_new(json, "source", json_string(c->k->source));
    json_object_set_new(json, "spread", json_pack("[f, f]", c->k->spread_low, c->k->spread_high));
    json_object_set_new(json, "p10", number(a->p10));
    json_object_set_new(json, "p90", number(a->p90));
    json_object_set_new(json, "share", number(a->share));
    return json;
}

static json_t *uncertainty_json(const struct uncertainty *u) {
    json_t *json = json_object();
    for (int i = 0; i < UNCERTAIN_COUNT; i++) {
        const struct uncertain_quantity *q = &u->of[i];
        json_t *one = json_object(), *top = json_array();
        json_object_set_new(one, "nominal", number(q->nominal));
        json_object_set_new(one, "p10", number(q->p10));
        json_object_set_new(one, "p50", number(q->p50));
        json_object_set_new(one, "p90", number(q->p90));
        for (size_t k = 0; k < q->count; k++) {
            json_array_append_new(top, assumption_json(u, &q->top[k]));
        }
        json_object_set_new(one, "assumptions", top);
        json_object_set_new(json, uncertain_name((enum uncertain)i), one);
    }
    json_object_set_new(json, "constants_with_spread", count(u->count));
    json_object_set_new(json, "method",
                        json_string("independent lognormal factors on the constants, 1000 draws; times by the "
                                    "critical path, linearised; an assumption alone at its p10 and p90; share of "
                                    "their squares"));
    return json;
}

static json_t *area_json(const struct run *r) {
    struct area_view v = placement_area(r->chip, r->placement);
    json_t *area = json_object(), *parts = json_object();
    for (int c = 0; c < PART_COUNT; c++) {
        if (c != PART_STATIC && c != PART_MAINTENANCE) { /* not things that have an area */
            json_object_set_new(parts, component_name((enum component)c),
                                number(component_given(r->chip, (enum component)c) ? v.part_mm2[c] : (double)NAN));
        }
    }
    json_object_set_new(area, "total_mm2", number(v.total_mm2));
    json_object_set_new(area, "by_component", parts);
    return area;
}

const char *const report_tile_boundary = "tiles: DAC, array, sampling, ADC, digital post-processing; no static power";

/* Never a TOPS/W without what an operation is, the bits, and what is inside. */
static json_t *efficiency_json(const struct run *r, const struct ledger_view *v) {
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    double mac_J = report_tile_J_per_mac(v);
    json_t *json = json_object();
    json_object_set_new(json, "tiles_TOPS_per_W", number(2e-12 / mac_J));
    json_object_set_new(json, "operations_per_mac", json_integer(2));
    json_object_set_new(json, "input_bits", json_integer(t->dac.bits));
    json_object_set_new(json, "output_bits", json_integer(t->adc.bits));
    json_object_set_new(json, "boundary", json_string(report_tile_boundary));
    return json;
}

static json_t *mapping_json(const struct run *r) {
    struct placement_total t = placement_total(r->placement);
    json_t *mapping = json_object();
    json_object_set_new(mapping, "tiles", count(t.tiles));
    json_object_set_new(mapping, "stacks", count(t.stacks)); /* with copies; tiers on top of each other are one */
    json_object_set_new(mapping, "chips", count(t.chips));
    json_object_set_new(mapping, "utilisation", t.tiles ? number(t.utilisation) : json_null());
    json_object_set_new(mapping, "tile_rows", json_integer(chip_spec_of(r->chip)->tile.rows));
    json_object_set_new(mapping, "tile_columns", json_integer(chip_spec_of(r->chip)->tile.columns));
    json_object_set_new(mapping, "tiles_per_chip", json_integer(chip_spec_of(r->chip)->tiles_per_chip));
    json_object_set_new(mapping, "bit_hops_in_order", number(t.bit_hops_in_order)); /* null: not searched */
    json_object_set_new(mapping, "bit_hops", number(t.bit_hops));
    json_object_set_new(mapping, "matrices", report_matrices_json(r));
    json_object_set_new(mapping, "analog_weights", count(t.analog_weights));
    json_object_set_new(mapping, "digital_weights", count(t.digital_weights));
    json_object_set_new(mapping, "side_path_macs", count(t.side_macs)); /* per token */
    json_object_set_new(mapping, "digital_share", t.analog_weights ? number(t.digital_share) : json_null());
    return mapping;
}

static json_t *time_json(const struct run *r, const struct ledger_view *v) {
    json_t *time = json_object(), *classes = json_object();
    for (int c = 0; c < CLASS_COUNT; c++) {
        struct class_view one = run_class(r, (enum resource_class)c);
        json_t *entry = json_object();
        json_object_set_new(entry, "critical_path_s", number(one.critical_s));
        json_object_set_new(entry, "busy_s", number(one.busy_s));
        json_object_set_new(entry, "wait_s", number(one.wait_s));
        json_object_set_new(entry, "busiest_utilisation", number(one.busiest));
        json_object_set_new(classes, resource_class_name((enum resource_class)c), entry);
    }
    for (int i = 0; i < REPORT_WAITS; i++) {
        struct report_wait wait = report_wait(r, i);
        if (wait.critical_s > 0) {
            json_object_set_new(classes, wait.name, json_pack("{s:f}", "critical_path_s", wait.critical_s));
        }
    }
    bool timed = isfinite(v->makespan_s);
    json_object_set_new(time, "makespan_s", number(v->makespan_s));
    json_object_set_new(time, "waiting_for_arrivals_s", number(timed ? report_wait(r, 1).critical_s : (double)NAN));
    json_object_set_new(time, "waiting_for_clocks_s", number(timed ? report_wait(r, 0).critical_s : (double)NAN));
    json_object_set_new(time, "steps", count(r->steps));
    json_object_set_new(time, "resources", classes);
    json_object_set_new(time, "by_layer", report_layer_times_json(r)); /* of the critical path, without both waits */
    json_object_set_new(time, "by_resource", report_resources_json(r));
    return time;
}

static json_t *counts_json(const struct run *r, const struct ledger_view *v) {
    json_t *counts = json_object();
    for (int c = 0; c < PART_COUNT; c++) {
        if (c != PART_STATIC && component_listed(v, (enum component)c)) {
            json_t *one = json_object();
            const char *unit = component_count_unit((enum component)c);
            /* The width of a stored number is a key of the cost tables: without them bits are unknown. */
            bool known = chip_has_costs(r->chip) || strcmp(unit, "bits") != 0;
            json_object_set_new(one, "count", known ? count(v->count[c]) : json_null());
            json_object_set_new(one, "unit", json_string(unit));
            json_object_set_new(counts, component_name((enum component)c), one);
        }
    }
    json_object_set_new(counts, "analog_macs", count(v->macs));
    json_object_set_new(counts, "digital_macs", count(r->ledger.digital_macs));
    json_object_set_new(counts, "dac_clipped", count(v->clipped_dac));
    json_object_set_new(counts, "dac_inputs", count(v->inputs_dac));
    json_object_set_new(counts, "adc_saturated", count(v->saturated_adc));
    json_object_set_new(counts, "adc_results", count(v->results_adc));
    json_t *layers = json_array(); /* the last entry: everything outside a layer */
    for (size_t row = 0; row < v->layers; row++) {
        const uint64_t *of = r->ledger.clips[row];
        json_t *one = json_object();
        json_object_set_new(one, "dac_clipped", count(of[CLIP_DAC]));
        json_object_set_new(one, "dac_inputs", count(of[CLIP_DAC_OF]));
        json_object_set_new(one, "adc_saturated", count(of[CLIP_ADC]));
        json_object_set_new(one, "adc_results", count(of[CLIP_ADC_OF]));
        json_array_append_new(layers, one);
    }
    json_object_set_new(counts, "clipped_by_layer", layers);
    return counts;
}

static json_t *conventions_json(const struct run *r) {
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    json_t *conventions = json_object();
    json_object_set_new(conventions, "operations_per_mac", json_integer(2));
    json_object_set_new(conventions, "input_bits", json_integer(t->dac.bits));
    json_object_set_new(conventions, "output_bits", json_integer(t->adc.bits));
    json_object_set_new(conventions, "boundary", json_string(report_boundary(r->chip)));
    json_object_set_new(conventions, "per_token",
                        json_string("total energy / all tokens that went through the model, prompt included"));
    json_object_set_new(conventions, "area", json_string("whole chips, tiles without weights included"));
    return conventions;
}

static json_t *error_moments_json(const struct error_moments *m) {
    json_t *json = json_object();
    json_object_set_new(json, "devices", count(m->count));
    json_object_set_new(json, "mean", number(m->mean));
    json_object_set_new(json, "sd", number(m->sd));
    return json;
}

/* All in units of g_max - g_min. */
static json_t *programming_error_json(const struct programming_error *error) {
    json_t *json = error_moments_json(&error->all), *targets = json_array(), *histogram = json_object(),
           *counts = json_array();
    for (size_t i = 0; i < ERROR_TARGET_BINS; i++) {
        json_array_append_new(targets, error_moments_json(&error->target[i]));
    }
    for (size_t i = 0; i < ERROR_BINS; i++) {
        json_array_append_new(counts, count(error->histogram[i]));
    }
    json_object_set_new(histogram, "low", json_real(-ERROR_LIMIT));
    json_object_set_new(histogram, "high", json_real(ERROR_LIMIT));
    json_object_set_new(histogram, "below", count(error->below));
    json_object_set_new(histogram, "above", count(error->above));
    json_object_set_new(histogram, "counts", counts);
    json_object_set_new(json, "by_target", targets);
    json_object_set_new(json, "histogram", histogram);
    return json;
}

json_t *machine_programming_json(const struct machine *m) {
    struct machine_programming p = machine_programming(m);
    json_t *json = json_object();
    json_object_set_new(json, "devices", count(p.devices));
    json_object_set_new(json, "pulses", count(p.pulses));
    json_object_set_new(json, "verify_reads", count(p.verify_reads));
    json_object_set_new(json, "failed", count(p.failed));
    json_object_set_new(json, "programmings", count(p.programmings));
    json_object_set_new(json, "time_s", number(p.seconds));
    json_object_set_new(json, "energy_J", number(p.joules));
    json_object_set_new(json, "endurance_used", number(p.endurance_used));
    json_object_set_new(json, "error", programming_error_json(&p.error));
    return json;
}

/* null where no wires act. */
json_t *machine_wires_json(const struct machine *m) {
    struct machine_wires w = machine_wires(m);
    if (!w.act) {
        return json_null();
    }
    json_t *json = json_object();
    json_object_set_new(json, "tiles_product", count(w.product));
    json_object_set_new(json, "tiles_corrected", count(w.corrected));
    json_object_set_new(json, "tiles_exact", count(w.exact));
    json_object_set_new(json, "mean_loss", number(w.mean_loss));
    json_object_set_new(json, "largest_estimated_error", number(w.largest_estimate));
    json_object_set_new(json, "measured_tiles", count(w.measured_tiles));
    json_object_set_new(json, "measured_columns", count(w.measured_columns));
    json_object_set_new(json, "measured_error", number(w.measured_error));
    json_object_set_new(json, "settling_s", number(w.settling_s));
    return json;
}

static json_t *fault_lines_json(const struct machine_fault_list *list) {
    json_t *json = json_object(), *lines = json_array();
    for (size_t i = 0; i < list->total && i < FAULT_LINES_MOST; i++) {
        const struct machine_fault_line *one = &list->lines[i];
        json_t *line = json_object();
        json_object_set_new(line, "tile", count(one->tile));
        json_object_set_new(line, "line", json_string(one->row ? "row" : "column"));
        json_object_set_new(line, "from", count(one->line));
        json_object_set_new(line, "to_spare", one->moved ? count(one->spare) : json_null());
        json_object_set_new(line, "dead", json_boolean(one->dead));
        json_object_set_new(line, "stuck_devices_left", count(one->stuck));
        json_array_append_new(lines, line);
    }
    json_object_set_new(json, "total", count(list->total));
    json_object_set_new(json, "lines", lines);
    return json;
}

json_t *machine_faults_json(const struct machine *m) {
    struct machine_faults f = machine_faults(m);
    struct machine_fault_list moved, left;
    machine_fault_lists(m, &moved, &left);
    json_t *json = json_object();
    json_object_set_new(json, "stuck_devices", count(f.stuck));
    json_object_set_new(json, "dead_rows", count(f.dead_rows));
    json_object_set_new(json, "dead_columns", count(f.dead_columns));
    json_object_set_new(json, "repaired_rows", count(f.repaired_rows));
    json_object_set_new(json, "repaired_columns", count(f.repaired_columns));
    json_object_set_new(json, "stuck_devices_left", count(f.stuck_left));
    json_object_set_new(json, "dead_rows_left", count(f.dead_rows_left));
    json_object_set_new(json, "dead_columns_left", count(f.dead_columns_left));
    json_object_set_new(json, "lines_moved", fault_lines_json(&moved));
    json_object_set_new(json, "lines_left", fault_lines_json(&left));
    return json;
}

static json_t *chip_json(const struct run *r) {
    struct constant_count constants = report_constants(r->chip);
    json_t *chip = json_object(), *effects = json_object();
    for (size_t i = 0; i < chip_effect_count(); i++) {
        json_object_set_new(effects, chip_effect_name(i), json_boolean(chip_effect_on(r->chip, i)));
    }
    json_object_set_new(chip, "name", json_string(chip_name(r->chip)));
    json_object_set_new(chip, "costs", json_string(chip_has_costs(r->chip) ? "full" : "none"));
    json_object_set_new(chip, "effects", effects);
    json_object_set_new(chip, "constants", count(constants.all));
    json_object_set_new(chip, "constants_assumed", count(constants.assumed));
    return chip;
}

json_t *machine_calibration_json(const struct machine *m) {
    struct machine_calibration c = machine_calibration(m);
    json_t *calibration = json_object();
    json_object_set_new(calibration, "corrections", count(c.corrections));
    json_object_set_new(calibration, "correction_mvms", count(c.correction_mvms));
    json_object_set_new(calibration, "columns_corrected", count(c.columns_corrected));
    json_object_set_new(calibration, "columns_not_corrected", count(c.columns_left));
    json_object_set_new(calibration, "test_results", count(c.test_results));
    json_object_set_new(calibration, "test_results_clipped", count(c.test_results_clipped));
    json_object_set_new(calibration, "readout_mvms", count(c.readout_mvms));
    json_object_set_new(calibration, "seconds", number(c.seconds));
    json_object_set_new(calibration, "joules", number(c.joules));
    return calibration;
}

/* What energies depend on in the data; of a run without values: what they were computed with. */
static json_t *activity_json(const struct run *r) {
    const struct activity *given = run_shapes_activity(r);
    struct activity a = given ? *given : run_activity(r);
    json_t *activity = json_object(), *by_role = json_object();
    for (int role = 0; role < MATRIX_ROLES; role++) {
        if (isfinite(a.array_S_per_weight[role])) {
            json_object_set_new(by_role, matrix_role_name((enum matrix_role)role), number(a.array_S_per_weight[role]));
        }
    }
    json_object_set_new(activity, "array_S_per_weight", by_role);
    json_object_set_new(activity, "repeated_blocks", number(a.repeated_blocks));
    json_object_set_new(activity, "tokens", count(a.tokens));
    json_object_set_new(activity, "source", given ? json_string(a.source) : json_string("this run"));
    return activity;
}

json_t *run_report_json(const struct run *r) {
    struct ledger_view v = run_ledger(r);
    struct flags flags;
    struct uncertainty uncertainty;
    run_uncertainty(r, &uncertainty);
    report_flags(r, &flags);
    json_t *root = json_object(), *missing = json_array(), *warnings = json_array();
    for (const char *const *m = report_not_modelled; *m; m++) {
        json_array_append_new(missing, json_string(*m));
    }
    if (!component_given(r->chip, PART_NETWORK)) {
        json_array_append_new(missing, json_string("links between tiles (the chip has no network: transfers cost the "
                                                   "buffer only)"));
    }
    if (!component_given(r->chip, PART_CHIP_LINK)) {
        json_array_append_new(missing, json_string("links between chips (the chip has no chip_link)"));
    }
    if (chip_spec_of(r->chip)->dram.embedding != SWITCH_ON) {
        json_array_append_new(missing, json_string("the memory of the embedding table (dram.embedding is not on)"));
    }
    if (!component_given(r->chip, PART_DRAM)) {
        json_array_append_new(missing, json_string("off-chip memory (the chip has no dram)"));
    }
    if (!run_wires_modelled(r)) {
        json_array_append_new(missing, json_string("wire resistance (the chip has no tile.wires, or they are off)"));
    }
    if (run_wires_act(r)) {
        json_array_append_new(missing, json_string("inputs that follow the order of the rows, in the energy of "
                                                   "currents between rows (not checked)"));
    }
    for (size_t i = 0; i < flags.count; i++) {
        json_array_append_new(warnings, json_string(flags.text[i]));
    }
    json_object_set_new(root, "chip", chip_json(r));
    if (r->machine) {
        json_object_set_new(root, "programming", machine_programming_json(r->machine));
        json_object_set_new(root, "wires", machine_wires_json(r->machine));
        json_object_set_new(root, "faults", machine_faults_json(r->machine));
    }
    json_object_set_new(root, "energy", energy_json(r, &v, &uncertainty));
    json_object_set_new(root, "uncertainty", uncertainty_json(&uncertainty));
    json_object_set_new(root, "efficiency", efficiency_json(r, &v));
    json_object_set_new(root, "time", time_json(r, &v));
    if (chip_has_costs(r->chip)) {
        json_object_set_new(root, "steps", report_steps_json(r));
        json_object_set_new(root, "last_step", report_last_step_json(r));
        json_object_set_new(root, "network", report_network_json(r));
    }
    json_object_set_new(root, "area", area_json(r));
    json_object_set_new(root, "mapping", mapping_json(r));
    json_object_set_new(root, "memory", report_memory_json(r));
    json_object_set_new(root, "power", report_power_json(r));
    json_object_set_new(root, "setup", report_setup_json(r));
    json_t *maintenance = report_maintenance_json(r);
    if (maintenance) {
        json_object_set_new(root, "maintenance", maintenance);
    }
    json_object_set_new(root, "counts", counts_json(r, &v));
    json_object_set_new(root, "activity", activity_json(r));
    if (r->machine) {
        json_object_set_new(root, "calibration", machine_calibration_json(r->machine));
    }
    json_object_set_new(root, "conventions", conventions_json(r));
    json_object_set_new(root, "not_modelled", missing);
    json_object_set_new(root, "flags", warnings);
    return root;
}
