/* Private to sim/: what a conversion costs, and how long it takes, as a function of bits, rate and node.
 *
 * tile.adc.cost.model, tile.dac.cost.model; B = bits (of a DAC: of one pass), n = steps of a conversion:
 *   constant  energy_J as it stands, for energy_bits; nothing follows the bits
 *   survey    regression over published ADCs (adc_survey below), ENOB = B - enob_loss; ADC only
 *   two_term  E = (k1 B + k2 4^B) V^2, area = area x 2^B x 10^(area_exponent B),
 *             time = B (time_bit + rows x time_bit_row); ADC only. Form and constants: ZigZag-IMC, fitted to three
 *             28 nm chips with analog arrays
 *   steps     ramps, counters, charge decrement: E = energy_fixed + n energy_step, time = time_fixed + n time_step,
 *             area = area + B area_bit; n = 2^B - 1, 2^(B-1) - 1 (sign and magnitude), or B
 *   per_bit   SAR: E = energy_fixed + B energy_bit, time and area likewise; of a DAC E = B C V^2
 * Valid for ENOB >= 4 (survey) and B < 12 (two_term), where they were fitted; else chip_load refuses.
 */
#ifndef MHO_SIM_CONVERTER_COST_H
#define MHO_SIM_CONVERTER_COST_H

#include "sim/chip.h"

#define SURVEY_ENOB_LEAST 4.0
#define SURVEY_RATE_MOST_HZ 1e10 /* beyond: extrapolation */
enum { TWO_TERM_BITS_END = 12 };

/* Of one conversion and one converter. */
struct converter_cost {
    double energy_J;     /* dynamic */
    double static_W;     /* leakage; 0 where the model says nothing of it */
    double area_m2;
    double conversion_s; /* ADC only */
};

/* `total`: energy with leakage; of `converters` that share rate_Hz: area and leakage of all of them. */
struct adc_survey {
    double total_J, dynamic_J, leak_W, area_m2;
};

/* Energy, area and leakage of an ADC as regression over Murmann's survey of published ADCs, in the form and with the
 * constants of Accelergy's ADC plug-in (model.yaml of hwcomponents-adc, MIT): with SNDR = 20 B log10 2 + 10 log10 1.5
 * dB, the Walden-Schreier figure of merit FOM = min(213.78 - 2.872 ln f, 128.31 + 3.2205 ceil(B)) dB and the node T in
 * nm,
 *   E = 0.5 pJ 10^((SNDR - FOM) / 10) exp(26.050 + 1.880 ln T - 2.829 ln B - 1.470)
 *   area = exp(1.346 + 0.993 ln T + 0.181 ln f + 0.299 ln(E / pJ)) um2
 * f = rate / converters; a fifth of the energy is counted as leakage at full rate. The last term of E is the 20th
 * percentile of the residual and the area is that of the best tenth: a best case. Real converters of 4 to 10 bits at
 * 65 nm and below (82 of them) take 0.92, 1.9, 4.0, 8.7, 23 times the energy and 1.1, 3.3, 9.4, 38, 131 times the area
 * (p10, p25, p50, p75, p90): parts murmann_p10 to murmann_p90. Exponents are descriptive, not physics. */
struct adc_survey adc_survey(double enob, double node_nm, double rate_Hz, int converters);

/* Of the chip as it was given; the model must not be `constant`. */
struct converter_cost adc_cost(const struct chip_spec *s);
struct converter_cost dac_cost(const struct chip_spec *s);

/* Bits that the DAC converts in one pass. */
int dac_pass_bits(const struct tile_spec *t);
/* Conversions per second of one of the converters that share the rate, and the effective bits. */
double survey_rate_Hz(const struct tile_spec *t);
double survey_enob(const struct tile_spec *t);
double survey_node_nm(const struct chip_spec *s);

#endif
