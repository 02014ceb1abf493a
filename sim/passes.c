/* See passes.h. */
#include "sim/passes.h"

#include <math.h>
#include <stdio.h>

#include "sim/encoding.h"

static int full_mask(int bits) { return (1 << bits) - 1; }

static int phases_of(const struct tile_spec *t) { return t->dac.sign == SIGN_TWO_PHASE ? 2 : 1; }

static void add_digit(struct input_plan *out, const struct tile_spec *t, int shift, int mask) {
    int phases = phases_of(t);
    for (int phase = 0; phase < phases; phase++) {
        out->pass[out->passes++] =
            (struct input_pass){.shift = shift, .mask = mask, .sign = phases == 1 ? 0 : 1 - 2 * phase};
    }
    out->digit_limit = mask > out->digit_limit ? mask : out->digit_limit;
}

/* All bits become those of the two's complement. */
static void add_sign_bit(struct input_plan *out, const struct tile_spec *t, int shift) {
    add_digit(out, t, shift, 1);
    out->pass[out->passes - 1].negative = true;
    for (uint32_t p = 0; p < out->passes; p++) {
        out->pass[p].complement = true;
    }
}

/* The ideal converter takes the name of the coding; a real circuit says what it drives. */
static bool drives_voltage(const struct tile_spec *t) {
    bool circuit = t->dac.circuit && !dac_is_ideal(t->dac.circuit);
    return circuit ? !dac_model_of(t->dac.circuit)->pulse : t->dac.coding == CODING_AMPLITUDE;
}

static bool is_subtracted(const struct input_pass *p) { return p->sign < 0 || p->negative; }

/* Gains of group g, which converts passes first[g] .. first[g + 1] - 1 together. */
static void plan_gains(struct input_plan *out, const struct tile_spec *t, int limit, uint32_t g) {
    const struct input_pass *low = &out->pass[out->first[g]];
    uint32_t count = out->first[g + 1] - out->first[g], phases = (uint32_t)phases_of(t);
    bool weighted = t->dac.coding == CODING_BIT_SERIAL && t->dac.bit_pulses == PULSES_WEIGHTED;
    double whole = 0, sign_bit = 0, sign = count == 1 && is_subtracted(low) ? -1 : 1;
    for (uint32_t p = out->first[g]; p < out->first[g + 1]; p += count == 1 ? 1 : phases) {
        double size = (double)out->pass[p].mask * (1 << out->pass[p].shift) / limit;
        *(out->pass[p].negative ? &sign_bit : &whole) += size;
    }
    whole = fmax(whole, sign_bit);
    whole = count == 1 ? (double)(1 << low->shift) * out->digit_limit / limit : whole;
    out->group_gain[g] = (float)(sign * whole);
    for (uint32_t p = out->first[g]; p < out->first[g + 1]; p++) {
        struct input_pass *pass = &out->pass[p];
        double size = (double)(1 << pass->shift) * out->digit_limit / limit / whole;
        pass->share = (float)(sign * (is_subtracted(pass) ? -size : size));
        pass->pulses = weighted ? (1 << (pass->shift - low->shift)) * pass->mask : 1;
    }
}

static void plan_groups(struct input_plan *out, const struct tile_spec *t, int limit) {
    uint32_t phases = (uint32_t)phases_of(t), digits = out->passes / phases, wanted = (uint32_t)t->dac.groups;
    bool analog = t->dac.accumulate == COMBINE_ANALOG;
    out->groups = !analog ? out->passes : wanted < digits ? wanted : digits;
    for (uint32_t g = 0; g <= out->groups; g++) {
        out->first[g] = analog ? g * digits / out->groups * phases : g;
    }
    for (uint32_t g = 0; g < out->groups; g++) {
        plan_gains(out, t, limit, g);
    }
}

void input_plan_make(const struct tile_spec *t, bool quantised, struct input_plan *out) {
    int size_bits = t->dac.bits - 1, limit = full_mask(size_bits), low = t->dac.split_bits;
    *out = (struct input_plan){.passes = 0};
    if (quantised && t->dac.coding == CODING_BIT_SERIAL) {
        for (int bit = 0; bit < size_bits; bit++) {
            add_digit(out, t, bit, 1);
        }
        if (t->dac.sign == SIGN_TWOS_COMPLEMENT) {
            add_sign_bit(out, t, size_bits);
        }
    } else if (quantised && t->dac.coding == CODING_SPLIT) {
        add_digit(out, t, 0, full_mask(low));
        add_digit(out, t, low, full_mask(size_bits - low));
    } else {
        add_digit(out, t, 0, limit);
    }
    plan_groups(out, t, limit);
    out->voltage = drives_voltage(t);
    bool whole = out->voltage || t->dac.coding == CODING_BIT_SERIAL;
    out->pulse_share = whole ? 1.0 : (double)out->digit_limit / limit;
}

/* drive_s: of one round. The formulas are in passes.h. */
static void find_times(const struct tile_spec *t, double rounds, double drive_s, struct tile_work *out) {
    double rest_s = t->mvm_s.value - t->pulse_s.value, more_s = (t->adc.share - 1) * t->conversion_s.value,
           move_s = t->overlap == OVERLAP_FULL ? rest_s - t->conversion_s.value : 0,
           convert_s = rest_s - move_s + more_s, longest_s = fmax(drive_s, convert_s),
           load_s = t->registers.load_s.value, store_s = t->registers.store_s.value,
           between_s = t->integrator.given ? (rounds - 1) * t->integrator.between_s.value : 0;
    double step_s = t->overlap == OVERLAP_NONE ? drive_s + convert_s : longest_s;
    out->converting_s = (rounds - 1) * step_s + between_s + fmin(t->adc.share * t->conversion_s.value, step_s);
    if (t->overlap == OVERLAP_NONE) {
        out->interval_s = out->latency_s = rounds * (drive_s + convert_s) + between_s + load_s + store_s;
        return;
    }
    double rounds_s = (rounds - 1) * longest_s + between_s;
    out->latency_s = load_s + move_s + drive_s + convert_s + rounds_s + store_s;
    if (t->overlap == OVERLAP_FULL) {
        out->interval_s = fmax(fmax(rounds_s + longest_s, move_s), fmax(load_s, store_s));
    } else {
        out->interval_s = rounds_s + fmax(load_s + drive_s, convert_s + store_s);
    }
}

struct tile_work tile_work_of(const struct chip_spec *s) {
    const struct tile_spec *t = &s->tile;
    struct encoding_plan encoding = {.lines = 1, .slices = 1};
    struct input_plan inputs;
    encoding_plan(s, &encoding, NULL); /* chip_load has checked that it can be made */
    input_plan_make(t, true, &inputs);
    uint32_t turns = t->legs == COMBINE_IN_TURNS ? LEGS : 1;
    struct tile_work work = {
        .passes = inputs.passes * turns,
        .groups = inputs.groups,
        .samples = inputs.passes,
        .lines = encoding.lines,
        .converters = encoding.lines / turns,
        .shared = encoding.shared_column && !encoding.shared_analog ? encoding.slices : 0,
        .unit_cells = encoding.slices,
        .shared_cells = encoding.shared_column ? encoding.slices : 0,
        .interval_s = (double)NAN,
        .latency_s = (double)NAN,
        .converting_s = (double)NAN,
    };
    for (uint32_t p = 0; p < inputs.passes; p++) {
        work.pulses += (uint32_t)inputs.pass[p].pulses;
    }
    if (s->costs == COSTS_FULL) {
        double rounds = inputs.groups * turns;
        find_times(t, rounds, work.pulses * turns / rounds * t->pulse_s.value * inputs.pulse_share, &work);
    }
    return work;
}

const char *input_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    const struct tile_spec *t = &s->tile;
    double least_s = t->pulse_s.value + t->conversion_s.value;
    if (t->overlap == OVERLAP_FULL && t->mvm_s.value < least_s * (1 - 1e-12)) {
        snprintf(why, bytes,
                 "full: a multiply of %g ns leaves no time to move inputs and results beside a pulse and a conversion "
                 "of %g ns together (allowed: tile.mvm_ns of at least that, or sample_hold)",
                 t->mvm_s.value * 1e9, least_s * 1e9);
        return "tile.overlap";
    }
    if (t->dac.coding == CODING_SPLIT && t->dac.split_bits >= t->dac.bits - 1) {
        snprintf(why, bytes,
                 "%d of the %d bits of a magnitude leave nothing for the high part (allowed: below tile.dac.bits - 1)",
                 t->dac.split_bits, t->dac.bits - 1);
        return "tile.dac.split_bits";
    }
    if (t->dac.sign == SIGN_TWOS_COMPLEMENT && t->dac.coding != CODING_BIT_SERIAL) {
        snprintf(why, bytes,
                 "twos_complement, but inputs are not driven bit by bit (allowed: bipolar, two_phase, or "
                 "tile.dac.coding = bit_serial)");
        return "tile.dac.sign";
    }
    if (t->dac.groups > 1 && (t->dac.accumulate != COMBINE_ANALOG || t->dac.groups > t->dac.bits - 1 ||
                              t->dac.coding == CODING_AMPLITUDE || t->dac.coding == CODING_PULSE_WIDTH)) {
        snprintf(why, bytes,
                 "%d conversions for the passes of an input (allowed: 1, or with tile.dac.accumulate = analog and "
                 "coding bit_serial or split at most one for each digit)",
                 t->dac.groups);
        return "tile.dac.groups";
    }
    if (t->dac.bit_pulses == PULSES_WEIGHTED &&
        (t->dac.coding != CODING_BIT_SERIAL || t->dac.accumulate != COMBINE_ANALOG)) {
        snprintf(why, bytes,
                 "weighted, but it is no charge of single bits that is added (allowed: one, or tile.dac.coding = "
                 "bit_serial with tile.dac.accumulate = analog)");
        return "tile.dac.bit_pulses";
    }
    if (t->dac.range_value > 0 && t->dac.range != INPUT_STATIC) {
        snprintf(why, bytes, "%g is given, but the ranges are found per token (allowed: 0, or tile.dac.range = static)",
                 t->dac.range_value);
        return "tile.dac.range_value";
    }
    if (t->management.noise != NOISE_NONE && t->dac.range == INPUT_STATIC) {
        snprintf(why, bytes, "it replaces the range per token (allowed: none, or tile.dac.range = per_token)");
        return "tile.management.noise";
    }
    if (!cell_is_linear(t->cell) && s->effects.cell_nonlinearity && s->costs == COSTS_NONE) {
        snprintf(why, bytes,
                 "the current of the cell %s depends on tile.read_voltage_V, which a chip with costs: none does not "
                 "have (allowed: off)",
                 t->cell_model);
        return "effects.cell_nonlinearity";
    }
    if (cell_common_of(t->cell).charge && !drives_voltage(t) && t->dac.coding != CODING_BIT_SERIAL) {
        snprintf(why, bytes,
                 "%s drives times, but the charge of the cell %s depends on the voltage, not on how long it is there "
                 "(allowed: amplitude, bit_serial)",
                 t->dac.coding == CODING_SPLIT ? "split" : "pulse_width", t->cell_model);
        return "tile.dac.coding";
    }
    return NULL;
}
