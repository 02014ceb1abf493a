/* See converter_cost.h. */
#include "sim/converter_cost.h"

#include <math.h>

/* ---- survey ------------------------------------------------------------------------------------------------ */

struct adc_survey adc_survey(double enob, double node_nm, double rate_Hz, int converters) {
    static const double leak_share = 0.2, ceil_most = 20; /* the table of limits ends at 20 bits */
    double each_Hz = rate_Hz / converters, step = fmin(ceil(enob), ceil_most);
    double sndr_dB = 20 * enob * log10(2) + 10 * log10(1.5);
    double by_rate_dB = 213.7806687348118 - 2.8719030399529957 * log(each_Hz);
    double by_bits_dB = 128.3068287398817 + 3.2205115109775617 * step;
    double energy_pJ = 0.5 * pow(10, (sndr_dB - fmin(by_rate_dB, by_bits_dB)) / 10) *
                       exp(26.0496215686518 + 1.8800369206815004 * log(node_nm) - 2.8291256050594527 * log(enob) -
                           1.4702022133784405);
    double area_um2 = exp(1.3461916439910742 + 0.9932794744745022 * log(node_nm) + 0.18071538424508238 * log(each_Hz) +
                          0.29912426192653485 * log(energy_pJ));
    double total_J = energy_pJ * 1e-12;
    return (struct adc_survey){.total_J = total_J,
                               .dynamic_J = (1 - leak_share) * total_J,
                               .leak_W = leak_share * total_J * rate_Hz,
                               .area_m2 = area_um2 * 1e-12 * converters};
}

double survey_rate_Hz(const struct tile_spec *t) {
    const struct adc_cost_spec *c = &t->adc.cost;
    return c->survey.rate_Hz > 0 ? c->survey.rate_Hz : 1 / t->conversion_s.value;
}

double survey_enob(const struct tile_spec *t) { return t->adc.bits - t->adc.cost.survey.enob_loss; }

double survey_node_nm(const struct chip_spec *s) {
    double own_m = s->tile.adc.node_m;
    return (own_m > 0 ? own_m : s->node_m) * 1e9;
}

static struct converter_cost survey(const struct chip_spec *s) {
    const struct tile_spec *t = &s->tile;
    const struct adc_cost_spec *c = &t->adc.cost;
    double rate_Hz = survey_rate_Hz(t), factor = c->survey.energy_factor.value;
    struct adc_survey one = adc_survey(survey_enob(t), survey_node_nm(s), rate_Hz, c->survey.interleaved);
    return (struct converter_cost){.energy_J = factor * one.dynamic_J,
                                   .static_W = factor * one.leak_W,
                                   .area_m2 = c->survey.area_factor.value * one.area_m2,
                                   .conversion_s = 1 / rate_Hz};
}

/* ---- the others -------------------------------------------------------------------------------------------- */

static struct converter_cost two_term(const struct chip_spec *s) {
    const struct adc_cost_spec *c = &s->tile.adc.cost;
    double bits = s->tile.adc.bits, volts = c->two_term.voltage_V.value;
    double charge_F = c->two_term.k1_F.value * bits + c->two_term.k2_F.value * pow(4, bits);
    return (struct converter_cost){
        .energy_J = charge_F * volts * volts,
        .area_m2 = c->two_term.area_m2.value * pow(2, bits) * pow(10, c->two_term.area_exponent.value * bits),
        .conversion_s = bits * (c->two_term.time_bit_s.value + s->tile.rows * c->two_term.time_bit_row_s.value)};
}

static double steps_of(int count, int bits) {
    return count == STEPS_BITS ? bits : pow(2, count == STEPS_HALF ? bits - 1 : bits) - 1;
}

/* Times stay 0 for a DAC. */
static struct converter_cost by_steps(const struct steps_cost *c, int bits) {
    double steps = steps_of(c->count, bits);
    return (struct converter_cost){.energy_J = c->energy_fixed_J.value + steps * c->energy_step_J.value,
                                   .area_m2 = c->area_m2.value + bits * c->area_bit_m2.value,
                                   .conversion_s = c->time_fixed_s.value + steps * c->time_step_s.value};
}

static struct converter_cost adc_steps(const struct chip_spec *s) {
    return by_steps(&s->tile.adc.cost.steps, s->tile.adc.bits);
}

static struct converter_cost adc_per_bit(const struct chip_spec *s) {
    const struct adc_cost_spec *c = &s->tile.adc.cost;
    int bits = s->tile.adc.bits;
    return (struct converter_cost){
        .energy_J = c->per_bit.energy_fixed_J.value + bits * c->per_bit.energy_bit_J.value,
        .area_m2 = c->per_bit.area_m2.value + bits * c->per_bit.area_bit_m2.value,
        .conversion_s = c->per_bit.time_fixed_s.value + bits * c->per_bit.time_bit_s.value};
}

static struct converter_cost dac_steps(const struct chip_spec *s) {
    return by_steps(&s->tile.dac.cost.steps, dac_pass_bits(&s->tile));
}

static struct converter_cost dac_per_bit(const struct chip_spec *s) {
    const struct dac_cost_spec *c = &s->tile.dac.cost;
    double bits = dac_pass_bits(&s->tile), volts = c->per_bit.voltage_V.value;
    return (struct converter_cost){.energy_J = bits * c->per_bit.bit_F.value * volts * volts,
                                   .area_m2 = c->per_bit.area_m2.value + bits * c->per_bit.area_bit_m2.value};
}

/* ---- registry ---------------------------------------------------------------------------------------------- */

typedef struct converter_cost cost_function(const struct chip_spec *s);

static cost_function *const adc_costs[] = {[ADC_COST_SURVEY] = survey,
                                            [ADC_COST_TWO_TERM] = two_term,
                                            [ADC_COST_STEPS] = adc_steps,
                                            [ADC_COST_PER_BIT] = adc_per_bit};
static cost_function *const dac_costs[] = {[DAC_COST_STEPS] = dac_steps, [DAC_COST_PER_BIT] = dac_per_bit};

struct converter_cost adc_cost(const struct chip_spec *s) { return adc_costs[s->tile.adc.cost.model](s); }

struct converter_cost dac_cost(const struct chip_spec *s) { return dac_costs[s->tile.dac.cost.model](s); }

int dac_pass_bits(const struct tile_spec *t) {
    int high = t->dac.bits - 1 - t->dac.split_bits;
    switch (t->dac.coding) {
    case CODING_BIT_SERIAL: return 1;
    case CODING_SPLIT: return 1 + (high > t->dac.split_bits ? high : t->dac.split_bits);
    default: return t->dac.bits;
    }
}
