/* The keys of a chip file: one row per key (base/params.h), grouped as they stand in the file.
 *
 * Rows under a "cost" table are physical constants and the units that they belong to. They are required, unless
 * the chip declares `costs: none`; then none of them may be given. The keys of the cell belong to its model
 * (devices/) and are read by cell_create.
 */
#include "sim/chip.h"

static const char *const topology_names[] = {"none", "bus", "htree", "mesh", NULL};
static const char *const strategy_names[] = {"in_order", "balanced", "fewest_hops", NULL};
static const char *const costs_names[] = {"full", "none", NULL};
static const char *const encoding_names[] = {"differential_pair", "signed_unit", "one_device", "offset_column",
                                             "reference_column",  "unsigned",    NULL};
static const char *const combination_names[] = {"analog", "digital", NULL};
static const char *const leg_names[] = {"analog", "digital", "in_turns", NULL};
static const char *const overlap_names[] = {"none", "sample_hold", "full", NULL};
static const char *const coding_names[] = {"amplitude", "pulse_width", "bit_serial", "split", NULL};
static const char *const bit_pulses_names[] = {"one", "weighted", NULL};
static const char *const sign_names[] = {"bipolar", "two_phase", "twos_complement", NULL};
static const char *const correction_names[] = {"none", "affine", NULL};
static const char *const adc_rule_names[] = {"maximum", "quantile", "mean_square", NULL};
static const char *const input_end_names[] = {"left", "right", "both", NULL};
static const char *const output_end_names[] = {"bottom", "top", "alternate", "both", NULL};
static const char *const precision_names[] = {"double", "single", NULL};
static const char *const wires_method_names[] = {"automatic", "product", "corrected", "exact", NULL};
static const char *const noise_management_names[] = {
    "none", "abs_max", "abs_max_np_sum", "max", "constant", "average_abs_max", NULL};
static const char *const bound_management_names[] = {"none", "iterative", "iterative_worst_case", NULL};
static const char *const weight_noise_names[] = {"none", "additive_constant", "pcm_read", NULL};
static const char *const scale_names[] = {"per_column", "per_tile", NULL};
static const char *const white_rows_names[] = {"drawn", "all", NULL};
static const char *const split_names[] = {"balanced", "fill", NULL};
static const char *const compensation_names[] = {"none", "global", "per_column", "exact_reference", NULL};
static const char *const input_range_names[] = {"per_token", "static", NULL};
static const char *const static_rule_names[] = {"maximum", "standard_deviations", "quantile", "mean_square", NULL};
static const char *const adc_range_names[] = {"calibrated", "lambda", "static", NULL};
static const char *const granularity_names[] = {"per_column", "per_tile", NULL};
static const char *const adc_cost_names[] = {"constant", "survey", "two_term", "steps", "per_bit", NULL};
static const char *const dac_cost_names[] = {"constant", "steps", "per_bit", NULL};
static const char *const time_names[] = {"given", "model", NULL};
static const char *const step_names[] = {"levels", "half_levels", "bits", NULL};
static const char *const switch_names[] = {"off", "on", NULL};

#define AT(type, member) offsetof(struct type, member)
#define INT_ROW(key, low, high, standard, help, at)                                                                    \
    { key, PARAM_INT, "", low, high, standard, help, at, NULL }
#define BITS_ROW(key, low, high, standard, help, at)                                                                   \
    { key, PARAM_INT, "bits", low, high, standard, help, at, NULL }
#define NUMBER_ROW(key, unit, low, high, standard, help, at)                                                           \
    { key, PARAM_NUMBER, unit, low, high, standard, help, at, NULL }
#define BOOL_ROW(key, standard, help, at)                                                                              \
    { key, PARAM_BOOL, "", 0, 0, standard, help, at, NULL }
#define CHOICE_ROW(key, names, standard, help, at)                                                                     \
    { key, PARAM_CHOICE, "", 0, 0, standard, help, at, names }
#define TEXT_ROW(key, standard, help, at)                                                                              \
    { key, PARAM_TEXT, "", 0, 0, standard, help, at, NULL }
#define NODE_ROW(key, at)                                                                                              \
    NUMBER_ROW(key, "nm", 0, 1000, "0", "node that its constants are of, for scale_to_node; 0: not stated", at)
#define SUPPLY_ROW(key, at) BOOL_ROW(key, "on", "its energy goes with the square of supply.voltage_V", at)
#define CONSTANT_ROW(key, unit, low, high, help, at)                                                                   \
    { key, PARAM_CONSTANT, unit, low, high, NULL, help, at, NULL }

#define STANDARD(number) TEXT_OF(number) /* a default that checks know as a number too */
#define TEXT_OF(token) #token

#define CONSTANT_ROW_DEFAULT(key, unit, low, high, standard, help, at)                                                 \
    { key, PARAM_CONSTANT, unit, low, high, standard, help, at, NULL }

static const struct param chip_rows[] = {
    TEXT_ROW("chip", NULL, "name of the chip", AT(chip_spec, name)),
    TEXT_ROW("about", NULL, "one sentence: what it is and what it is not", AT(chip_spec, about)),
    CHOICE_ROW("costs", costs_names, "full", "none: no energy, time or area is declared, and none is reported",
               AT(chip_spec, costs)),
    TEXT_ROW("analog", "all", "matrices on tiles: all, or a list of roles (q k v o gate up down qkv gate_up head)",
             AT(chip_spec, analog)),
    INT_ROW("tiles_per_chip", 1, 1000000, NULL, "tiles of one chip", AT(chip_spec, tiles_per_chip)),
    BOOL_ROW("replicate", "on", "as many chips as the model needs; off: one chip, and a larger model is refused",
             AT(chip_spec, replicate)),
    NUMBER_ROW("clock_GHz", "GHz", 0.001, 100, NULL, "clock of the digital units", AT(chip_spec, clock_Hz)),
    NUMBER_ROW("power_window_us", "us", 0.001, 1e6, "1", "over which power is averaged before its peak is reported",
               AT(chip_spec, power_window_s)),
    INT_ROW("calibration.tokens", 16, 1000000, "1024", "tokens of the calibration text, where ranges are calibrated",
            AT(chip_spec, calibration_tokens)),
};

static const struct param tile_rows[] = {
    INT_ROW("rows", 1, TILE_SIDE_MOST, NULL, "inputs of a tile", AT(tile_spec, rows)),
    INT_ROW("columns", 1, TILE_SIDE_MOST, NULL, "outputs of a tile", AT(tile_spec, columns)),
    INT_ROW("tiers", 1, 64, "1",
            "arrays in a stack that shares converters and all else, one multiply at a time; tiles_per_chip counts "
            "stacks",
            AT(tile_spec, tiers)),
    TEXT_ROW("cell.name", "", "part that the cell was made from", AT(tile_spec, cell_name)),
    TEXT_ROW("cell.model", NULL, "physics of the cell (`mho device list`)", AT(tile_spec, cell_model)),
    CHOICE_ROW("encoding", encoding_names, NULL, "weight to conductances: sign by a pair of legs, an offset, or none",
               AT(tile_spec, encoding)),
    CHOICE_ROW("legs", leg_names, "analog",
               "plus and minus subtracted as currents, each with its own ADC result, or both by one ADC in turns",
               AT(tile_spec, legs)),
    CHOICE_ROW("overlap", overlap_names, "none",
               "while results are converted the array works on the next pass (sample_hold), and inputs and results of "
               "other vectors are moved (full)",
               AT(tile_spec, overlap)),
    INT_ROW("devices", 1, 8, "1", "devices in parallel per leg and slice", AT(tile_spec, devices)),
    INT_ROW("slices", 1, 8, "1", "slices that a weight's magnitude is spread over", AT(tile_spec, slices)),
    BITS_ROW("slice_bits", 0, 8, "0", "bits of a slice; 0: analog slices of a given significance",
             AT(tile_spec, slice_bits)),
    NUMBER_ROW("significance", "", 1, 1000, "1", "slice_bits = 0: weight of a slice relative to the one before it",
               AT(tile_spec, significance)),
    CHOICE_ROW("slice_sum", combination_names, "digital",
               "slices added as scaled currents, or by shift and add after the ADC", AT(tile_spec, slice_sum)),
    NUMBER_ROW("temperature_K", "K", 4, 1000, "300", "of storage and read", AT(tile_spec, temperature_K)),
    NUMBER_ROW("reads", "", 0, 1e18, "0", "reads that every device has seen since programming", AT(tile_spec, reads)),
    CHOICE_ROW("white_noise_rows", white_rows_names, "drawn",
               "rows that the variance of white noise is summed over: drawn by chance at every read, or all, slower",
               AT(tile_spec, white_noise_rows)),
    CHOICE_ROW("scale", scale_names, "per_column", "what max|w| is taken over when it is mapped to g_max",
               AT(tile_spec, scale)),
    CHOICE_ROW("split", split_names, "balanced", "cutting a long dimension: nearly equal blocks, or full tiles first",
               AT(tile_spec, split)),
    CHOICE_ROW(
        "compensation", compensation_names, "none",
        "digital drift compensation: one factor per tile (against a first readout, or the targets) or per column",
        AT(tile_spec, compensation)),
    NUMBER_ROW("compensation_period_s", "s", 0, 1e12, "0",
               "compensation is measured every so often; 0: at the machine's age",
               AT(tile_spec, compensation_period_s)),
    NUMBER_ROW("refresh_period_s", "s", 0, 1e12, "0", "devices are programmed again every so often; 0: never",
               AT(tile_spec, refresh_period_s)),
    INT_ROW("program_parallel", 1, 65536, "1",
            "devices of a tile that are written at once; for the time of programming", AT(tile_spec, program_parallel)),
    CHOICE_ROW("correction", correction_names, "none",
               "digital gain and offset per column, fitted to test vectors on the chip", AT(tile_spec, correction)),
    NUMBER_ROW("correction_period_s", "s", 0, 1e12, "0",
               "the correction is fitted after each programming, and again every so often; 0: not again",
               AT(tile_spec, correction_period_s)),
    INT_ROW("correction_vectors", 16, 4096, "64", "test vectors of the correction", AT(tile_spec, correction_vectors)),
    TEXT_ROW("dac.name", "", "part that the DAC was made from", AT(tile_spec, dac.name)),
    BITS_ROW("dac.bits", 2, 16, NULL, "input codes -(2^(b-1)-1) .. 2^(b-1)-1", AT(tile_spec, dac.bits)),
    CHOICE_ROW("dac.range", input_range_names, "per_token",
               "full scale of a block of inputs: max|x| of each token, or fixed", AT(tile_spec, dac.range)),
    CHOICE_ROW("dac.static_rule", static_rule_names, "maximum",
               "fixed range of a model that brings none, from calibration inputs", AT(tile_spec, dac.static_rule)),
    NUMBER_ROW("dac.static_parameter", "", 0.000001, 1000, "1", "how many standard deviations, or which quantile",
               AT(tile_spec, dac.static_parameter)),
    CHOICE_ROW("dac.coding", coding_names, "pulse_width",
               "what carries a code: amplitude, pulse width, one bit per pass, or a high and a low part",
               AT(tile_spec, dac.coding)),
    CHOICE_ROW("dac.sign", sign_names, "bipolar",
               "both signs in one pass; positive inputs, then negative ones; bit serial: bits of the two's complement",
               AT(tile_spec, dac.sign)),
    BITS_ROW("dac.split_bits", 1, 15, STANDARD(SPLIT_BITS_STANDARD), "coding = split: bits of the low part",
             AT(tile_spec, dac.split_bits)),
    CHOICE_ROW("dac.accumulate", combination_names, "digital",
               "passes added by shift and add after the ADC, or as charge before it", AT(tile_spec, dac.accumulate)),
    INT_ROW("dac.groups", 1, 15, "1", "accumulate = analog: conversions that the digits of an input are shared out to",
            AT(tile_spec, dac.groups)),
    CHOICE_ROW("dac.bit_pulses", bit_pulses_names, "one",
               "coding = bit_serial, accumulate = analog: a bit takes one pulse, or as many as it weighs",
               AT(tile_spec, dac.bit_pulses)),
    NUMBER_ROW("dac.range_value", "", 0, 1e9, "0",
               "range = static: full scale in units of the inputs; 0: model or calibration",
               AT(tile_spec, dac.range_value)),
    TEXT_ROW("dac.circuit.model", "ideal", "circuit of the DAC (its keys: table DAC circuit NAME)",
             AT(tile_spec, dac.circuit_model)),
    TEXT_ROW("adc.name", "", "part that the ADC was made from", AT(tile_spec, adc.name)),
    BITS_ROW("adc.bits", 2, 14, NULL, "output codes -(2^(b-1)-1) .. 2^(b-1)-1", AT(tile_spec, adc.bits)),
    INT_ROW("adc.share", 1, 4096, "1", "columns per converter; divides the columns", AT(tile_spec, adc.share)),
    CHOICE_ROW("adc.range", adc_range_names, "calibrated",
               "full scale: from calibration outputs, or lambda x input range x max|w|", AT(tile_spec, adc.range)),
    CHOICE_ROW("adc.rule", adc_rule_names, "maximum", "range = calibrated: which statistic of the calibration outputs",
               AT(tile_spec, adc.rule)),
    NUMBER_ROW("adc.rule_parameter", "", 0.5, 1, "0.9999", "rule = quantile: which", AT(tile_spec, adc.rule_parameter)),
    NUMBER_ROW("adc.full_scale", "", 0.0001, 1e6, "1", "range = static: full scale / (weight scale x input range)",
               AT(tile_spec, adc.full_scale)),
    CHOICE_ROW("adc.granularity", granularity_names, "per_column", "one calibrated range per column or per tile",
               AT(tile_spec, adc.granularity)),
    NUMBER_ROW("adc.lambda", "", 0.01, 10000, "12", "range = lambda: factor on input range x max|w| of the column",
               AT(tile_spec, adc.lambda)),
    NUMBER_ROW("adc.headroom", "", 0.01, 100, "1.2", "range = calibrated: factor on the largest calibration output",
               AT(tile_spec, adc.headroom)),
    TEXT_ROW("adc.circuit.model", "ideal", "circuit of the ADC (its keys: table ADC circuit NAME)",
             AT(tile_spec, adc.circuit_model)),
    TEXT_ROW("post.name", "", "part that the digital post-processing was made from", AT(tile_spec, post.name)),
};

static const struct param wires_rows[] = {
    TEXT_ROW("name", "", "part that the wires were made from", AT(wires_spec, name)),
    CONSTANT_ROW("row_ohm", "ohm", 0, 1e6, "wire of a row per cell", AT(wires_spec, row_ohm)),
    CONSTANT_ROW("column_ohm", "ohm", 0, 1e6, "wire of a column per cell", AT(wires_spec, column_ohm)),
    CONSTANT_ROW("input_ohm", "ohm", 0, 1e9, "driver and terminal of a row", AT(wires_spec, input_ohm)),
    CONSTANT_ROW("output_ohm", "ohm", 0, 1e9, "virtual ground and terminal of a column", AT(wires_spec, output_ohm)),
    CONSTANT_ROW("column_fF", "fF", 0, 1e6, "capacitance of a column per cell", AT(wires_spec, column_F)),
    CHOICE_ROW("input_end", input_end_names, "left", "where rows are driven", AT(wires_spec, input_end)),
    CHOICE_ROW("output_end", output_end_names, "bottom", "where columns are read; alternate: even bottom, odd top",
               AT(wires_spec, output_end)),
    INT_ROW("segment", 1, 1024, "1", "cells of a line that share one wire node", AT(wires_spec, segment)),
    CHOICE_ROW("method", wires_method_names, "automatic", "how the losses are folded into effective conductances",
               AT(wires_spec, method)),
    NUMBER_ROW("tolerance", "", 1e-9, 0.1, "0.001", "of folding, relative to the full scale of a column",
               AT(wires_spec, tolerance)),
    BOOL_ROW("float_inactive", "off", "rows of input 0, and pulses that have ended, float instead of being held at 0 V",
             AT(wires_spec, float_inactive)),
    BOOL_ROW(
        "exact_nonlinear", "off",
        "networks that cannot be folded (nonlinear cells, floating rows) are solved by Newton: slow; for machines of "
        "more than one tile too",
        AT(wires_spec, exact_nonlinear)),
};

static const struct param ladder_rows[] = {
    CONSTANT_ROW("cell_ohm", "ohm", 0, 1e6, "wire of a column per cell", AT(ladder_spec, cell_ohm)),
    INT_ROW("segments", 1, 4096, NULL, "nodes of that wire; divides tile.rows", AT(ladder_spec, segments)),
    CONSTANT_ROW("read_V", "V", 0.0001, 10, "rails of a pair, above and below the idle rail", AT(ladder_spec, read_V)),
    CONSTANT_ROW("sense_offset_V", "V", -1, 1, "of the converter against the idle rail",
                 AT(ladder_spec, sense_offset_V)),
    CONSTANT_ROW("step_ns", "ns", 0.001, 1e6, "time of one step of an input pulse", AT(ladder_spec, step_s)),
    CONSTANT_ROW("oscillator_GHz", "GHz", 0.001, 1000, "of the current-controlled oscillator at 100 uA",
                 AT(ladder_spec, oscillator_Hz)),
    BOOL_ROW("adc", "on", "results are whole periods of the oscillator (effect adc_errors)", AT(ladder_spec, adc)),
    BOOL_ROW("sum", "off", "steps are added; off: trapezoids, which count half a step more per pulse",
             AT(ladder_spec, sum)),
    CHOICE_ROW("precision", precision_names, "double",
               "double: steps added up in closed form; single: one by one in float32, in the order in which aihwkit's "
               "tile takes them, to replay its results (they differ by its rounding, up to 2e-5 of the largest "
               "output); slow",
               AT(ladder_spec, precision)),
};

static const struct param faults_rows[] = {
    NUMBER_ROW("stuck_g_min", "", 0, 1, "0", "probability that a device is stuck at g_min",
               AT(faults_spec, stuck_g_min)),
    NUMBER_ROW("stuck_g_max", "", 0, 1, "0", "probability that a device is stuck at g_max",
               AT(faults_spec, stuck_g_max)),
    NUMBER_ROW("stuck_random", "", 0, 1, "0", "probability that a device is stuck anywhere between",
               AT(faults_spec, stuck_random)),
    NUMBER_ROW("dead_rows", "", 0, 1, "0", "probability that a row is not driven", AT(faults_spec, dead_rows)),
    NUMBER_ROW("dead_columns", "", 0, 1, "0", "probability that a column gives no current",
               AT(faults_spec, dead_columns)),
    INT_ROW("spare_rows", 0, 1024, "0", "spare rows of a tile", AT(faults_spec, spare_rows)),
    INT_ROW("spare_columns", 0, 1024, "0", "spare columns of a tile", AT(faults_spec, spare_columns)),
    BOOL_ROW("repair", "on", "move the worst lines to spares", AT(faults_spec, repair)),
    TEXT_ROW("map", "", "CSV with tile,row,column,state", AT(faults_spec, map)),
};

static const struct param phenomena_rows[] = {
    NUMBER_ROW("input_noise", "", 0, 100, "0", "sd added to an input after its DAC", AT(phenomena_spec, input_noise)),
    NUMBER_ROW("input_asymmetry", "", -1, 1, "0", "negative inputs x (1 - this)", AT(phenomena_spec, input_asymmetry)),
    NUMBER_ROW("output_noise", "", 0, 1000, "0", "sd added to a result before its ADC",
               AT(phenomena_spec, output_noise)),
    NUMBER_ROW("output_noise_spread", "", 0, 100, "0", "relative sd of output_noise from column to column",
               AT(phenomena_spec, output_noise_spread)),
    NUMBER_ROW("output_asymmetry", "", -1, 1, "0", "negative results x (1 - this)",
               AT(phenomena_spec, output_asymmetry)),
    NUMBER_ROW("weight_noise", "", 0, 100, "0", "sd of weights from read to read, as noise of the results",
               AT(phenomena_spec, weight_noise)),
    CHOICE_ROW("weight_noise_type", weight_noise_names, "none", "every weight alike, or as the square root of |w|",
               AT(phenomena_spec, weight_noise_type)),
    NUMBER_ROW("ir_drop", "", 0, 100, "0", "scale of the static IR-drop polynomial", AT(phenomena_spec, ir_drop)),
    NUMBER_ROW("ir_drop_g_ratio", "", 1, 1e12, "571428.6", "wire conductance / g_max",
               AT(phenomena_spec, ir_drop_g_ratio)),
    NUMBER_ROW("nonlinearity", "", 0, 1000, "0", "S-shaped compression of results", AT(phenomena_spec, nonlinearity)),
    NUMBER_ROW("nonlinearity_spread", "", 0, 100, "0", "its relative sd from column to column",
               AT(phenomena_spec, nonlinearity_spread)),
    NUMBER_ROW("slope_calibration", "", 0, 100, "0", "relative result where the compressed slope is scaled to 1",
               AT(phenomena_spec, slope_calibration)),
    NUMBER_ROW("voltage_offset_spread", "", 0, 100, "0", "sd of the voltage offset of a column",
               AT(phenomena_spec, voltage_offset_spread)),
    NUMBER_ROW("voltage_offset_w_min", "", -1, 0, "-1", "weight that the implicit reference stands for",
               AT(phenomena_spec, voltage_offset_w_min)),
    NUMBER_ROW("series_resistance", "", 0, 100, "0", "of a column, as a share of its total current",
               AT(phenomena_spec, series_resistance)),
    NUMBER_ROW("series_resistance_cap", "", 0, 1e30, "1e30", "largest effect of it",
               AT(phenomena_spec, series_resistance_cap)),
    NUMBER_ROW("read_asymmetry_spread", "", 0, 100, "0", "two-phase inputs: sd of weights between the phases",
               AT(phenomena_spec, read_asymmetry_spread)),
};

static const struct param management_rows[] = {
    CHOICE_ROW("noise", noise_management_names, "none", "scale of a token's inputs in a block (replaces dac.range)",
               AT(management_spec, noise)),
    CHOICE_ROW("bound", bound_management_names, "none",
               "repeat a multiply with halved inputs when a result was clipped", AT(management_spec, bound)),
    NUMBER_ROW("threshold", "", 0, 1e9, "0", "largest scale, or the scale of noise = constant (0: 1)",
               AT(management_spec, threshold)),
    NUMBER_ROW("assumed_w_max", "", 0, 10, "0.6", "noise = abs_max_np_sum: assumed largest weight",
               AT(management_spec, assumed_w_max)),
    NUMBER_ROW("decay", "", 0, 1, "0.001", "noise = average_abs_max: share of the newest token",
               AT(management_spec, decay)),
    NUMBER_ROW("max_factor", "", 1, 1e6, "1000", "bound: largest division of the inputs",
               AT(management_spec, max_factor)),
    NUMBER_ROW("max_resolution", "", 0, 1, "0.25", "bound: stops where a step of the DAC is this share of the input",
               AT(management_spec, max_resolution)),
    BOOL_ROW("test_negative", "on", "bound: negative results count as clipped too", AT(management_spec, test_negative)),
};

static const struct param effect_rows[] = {
    BOOL_ROW("programming_noise", "on", "error of each device at write", AT(effects, programming_noise)),
    BOOL_ROW("drift", "on", "decay of each device with its own exponent", AT(effects, drift)),
    BOOL_ROW("read_noise", "on", "slow (1/f) and telegraph state of each device, white noise of each read",
             AT(effects, read_noise)),
    BOOL_ROW("faults", "on", "stuck devices and dead lines", AT(effects, faults)),
    BOOL_ROW("wires", "on", "resistance of wires, drivers and terminals", AT(effects, wires)),
    BOOL_ROW("cell_nonlinearity", "on", "current not proportional to voltage", AT(effects, cell_nonlinearity)),
    BOOL_ROW("temperature", "on", "conductance and ageing at temperatures other than the cell's reference",
             AT(effects, temperature)),
    BOOL_ROW("dac", "on", "quantisation and range of the inputs", AT(effects, dac)),
    BOOL_ROW("dac_errors", "on", "mismatch, jitter and noise of the input converters", AT(effects, dac_errors)),
    BOOL_ROW("adc", "on", "quantisation and range of the outputs", AT(effects, adc)),
    BOOL_ROW("adc_errors", "on", "mismatch, gain, offset and noise of the output converters", AT(effects, adc_errors)),
};

static const struct param registers_rows[] = {
    CONSTANT_ROW("load_ns", "ns", 0, 1e6, "inputs of a multiply into the tile, beyond tile.mvm_ns",
                 AT(registers_spec, load_s)),
    CONSTANT_ROW("store_ns", "ns", 0, 1e6, "results of a multiply out of the tile, beyond tile.mvm_ns",
                 AT(registers_spec, store_s)),
};

static const struct param tile_cost_rows[] = {
    CONSTANT_ROW("read_voltage_V", "V", 0.0001, 10, "amplitude of a read pulse", AT(tile_spec, read_voltage_V)),
    CONSTANT_ROW("pulse_ns", "ns", 0.001, 1e6, "longest input pulse (largest code)", AT(tile_spec, pulse_s)),
    CONSTANT_ROW("mvm_ns", "ns", 0.001, 1e6, "one multiply: input, integration, first round of conversion",
                 AT(tile_spec, mvm_s)),
    INT_ROW("mvm_rows", 0, 65536, "0",
            "rows of the tile that mvm_ns was given for: a report says when they differ from tile.rows, which nothing "
            "rescales; 0, or left out: as in the chip file, or as they are where mvm_ns is set too",
            AT(tile_spec, mvm_rows)),
    INT_ROW("mvm_columns", 0, 65536, "0", "the same for its columns", AT(tile_spec, mvm_columns)),
    CONSTANT_ROW("cell_area_um2", "um2", 1e-6, 1e6, "one unit cell", AT(tile_spec, cell_area_m2)),
    CONSTANT_ROW("static_W", "W", 0, 100, "leakage and clock of one tile, all the time", AT(tile_spec, static_W)),
    BOOL_ROW("array_follows_supply", "off", "read_voltage_V is made from the supply: it changes with it",
             AT(tile_spec, array_follows_supply)),
    CHOICE_ROW("dac.cost.model", dac_cost_names, "constant", "what energy and area follow",
               AT(tile_spec, dac.cost.model)),
    NODE_ROW("dac.node_nm", AT(tile_spec, dac.node_m)),
    SUPPLY_ROW("dac.follows_supply", AT(tile_spec, dac.follows_supply)),
    CHOICE_ROW("adc.cost.model", adc_cost_names, "constant", "what energy, area and time follow",
               AT(tile_spec, adc.cost.model)),
    CHOICE_ROW("adc.cost.time", time_names, "given",
               "given: tile.conversion_ns and tile.mvm_ns as they stand; model: the cost model gives the time of a "
               "conversion, and tile.mvm_ns is a multiply without one",
               AT(tile_spec, adc.cost.time)),
    NODE_ROW("adc.node_nm", AT(tile_spec, adc.node_m)),
    SUPPLY_ROW("adc.follows_supply", AT(tile_spec, adc.follows_supply)),
    NODE_ROW("post.node_nm", AT(tile_spec, post.node_m)),
    SUPPLY_ROW("post.follows_supply", AT(tile_spec, post.follows_supply)),
    CONSTANT_ROW("post.energy_J", "J", 1e-18, 1e-6, "one ADC result: scale, offset, accumulate",
                 AT(tile_spec, post.energy_J)),
    CONSTANT_ROW("post.area_um2", "um2", 0, 1e7, "one column", AT(tile_spec, post.area_m2)),
};

static const struct param array_rows[] = {
    CONSTANT_ROW("energy_J", "J", 1e-18, 1e-3, "one pass of a tile, whatever the data, in place of V^2 G t",
                 AT(array_cost_spec, energy_J)),
    SUPPLY_ROW("follows_supply", AT(array_cost_spec, follows_supply)),
    BOOL_ROW("reads_current", "on", "off: columns are sensed as voltages, V^2 G t is no lower bound of its energy",
             AT(array_cost_spec, reads_current)),
};

static const struct param integrator_rows[] = {
    TEXT_ROW("name", "", "part that the integrators were made from", AT(integrator_spec, name)),
    CONSTANT_ROW("sample_energy_J", "J", 0, 1e-6, "one result of a column, each pass", AT(integrator_spec, sample_J)),
    CONSTANT_ROW("pulse_energy_J", "J", 0, 1e-6, "one column, each pulse", AT(integrator_spec, pulse_J)),
    CONSTANT_ROW("between_ns", "ns", 0, 1e6, "from the conversions of a group of passes to the next group",
                 AT(integrator_spec, between_s)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e7, "one column", AT(integrator_spec, area_m2)),
    SUPPLY_ROW("follows_supply", AT(integrator_spec, follows_supply)),
};

/* ---- converters: one table per cost model ------------------------------------------------------------------ */

static const struct param given_time_rows[] = {
    CONSTANT_ROW("conversion_ns", "ns", 0.001, 1e6, "each further round of a shared ADC", AT(tile_spec, conversion_s)),
};

static const struct param dac_constant_rows[] = {
    CONSTANT_ROW("dac.energy_J", "J", 1e-18, 1e-6, "one input conversion, row driver included",
                 AT(tile_spec, dac.energy_J)),
    BITS_ROW("dac.energy_bits", 1, 16, "8", "bits that dac.energy_J was given for; a report says when they differ",
             AT(tile_spec, dac.energy_bits)),
    CONSTANT_ROW("dac.area_um2", "um2", 0, 1e7, "one row", AT(tile_spec, dac.area_m2)),
};

static const struct param adc_constant_rows[] = {
    CONSTANT_ROW("adc.energy_J", "J", 1e-18, 1e-6, "one output conversion", AT(tile_spec, adc.energy_J)),
    BITS_ROW("adc.energy_bits", 1, 16, "8", "bits that adc.energy_J was given for; a report says when they differ",
             AT(tile_spec, adc.energy_bits)),
    CONSTANT_ROW("adc.area_um2", "um2", 0, 1e7, "one converter", AT(tile_spec, adc.area_m2)),
};

static const struct param survey_rows[] = {
    NUMBER_ROW("enob_loss", "", 0, 8, "0", "bits minus effective bits (ENOB)", AT(adc_cost_spec, survey.enob_loss)),
    NUMBER_ROW("rate_Hz", "Hz", 0, 1e12, "0", "conversions per second; 0: one per tile.conversion_ns",
               AT(adc_cost_spec, survey.rate_Hz)),
    INT_ROW("interleaved", 1, 4096, "1", "converters that share the rate and act as one",
            AT(adc_cost_spec, survey.interleaved)),
    CONSTANT_ROW("energy_factor", "", 0.001, 1e4, "on the energy of the regression, which is a best case",
                 AT(adc_cost_spec, survey.energy_factor)),
    CONSTANT_ROW("area_factor", "", 0.001, 1e4, "on its area", AT(adc_cost_spec, survey.area_factor)),
};

static const struct param two_term_rows[] = {
    CONSTANT_ROW("k1_fF", "fF", 0, 1e9, "energy (k1 bits + k2 4^bits) V^2: logic", AT(adc_cost_spec, two_term.k1_F)),
    CONSTANT_ROW("k2_fF", "fF", 0, 1e9, "the same: noise", AT(adc_cost_spec, two_term.k2_F)),
    CONSTANT_ROW("voltage_V", "V", 0.01, 100, "the same: V", AT(adc_cost_spec, two_term.voltage_V)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e7, "area x 2^bits x 10^(area_exponent bits)",
                 AT(adc_cost_spec, two_term.area_m2)),
    CONSTANT_ROW("area_exponent", "", -10, 10, "the same, per bit", AT(adc_cost_spec, two_term.area_exponent)),
    CONSTANT_ROW("time_bit_ns", "ns", 0, 1e6, "time bits x (time_bit + rows x time_bit_row)",
                 AT(adc_cost_spec, two_term.time_bit_s)),
    CONSTANT_ROW("time_bit_row_ns", "ns", 0, 1e6, "the same, per row of the tile",
                 AT(adc_cost_spec, two_term.time_bit_row_s)),
};

#define STEP_ROWS(type, member)                                                                                        \
    CHOICE_ROW("steps", step_names, "levels", "steps of a conversion: 2^bits - 1, 2^(bits - 1) - 1, or bits",          \
               AT(type, member.count)),                                                                                \
        CONSTANT_ROW("energy_fixed_J", "J", 0, 1e-6, "energy_fixed + steps x energy_step",                             \
                     AT(type, member.energy_fixed_J)),                                                                 \
        CONSTANT_ROW("energy_step_J", "J", 0, 1e-6, "the same, per step", AT(type, member.energy_step_J)),             \
        CONSTANT_ROW("area_um2", "um2", 0, 1e7, "area + bits x area_bit", AT(type, member.area_m2)),                   \
        CONSTANT_ROW("area_bit_um2", "um2", 0, 1e7, "the same, per bit", AT(type, member.area_bit_m2))

static const struct param adc_steps_rows[] = {
    STEP_ROWS(adc_cost_spec, steps),
    CONSTANT_ROW("time_fixed_ns", "ns", 0, 1e6, "time_fixed + steps x time_step",
                 AT(adc_cost_spec, steps.time_fixed_s)),
    CONSTANT_ROW("time_step_ns", "ns", 0, 1e6, "the same, per step", AT(adc_cost_spec, steps.time_step_s)),
};

static const struct param dac_steps_rows[] = {STEP_ROWS(dac_cost_spec, steps)};

static const struct param adc_per_bit_rows[] = {
    CONSTANT_ROW("energy_fixed_J", "J", 0, 1e-6, "energy_fixed + bits x energy_bit",
                 AT(adc_cost_spec, per_bit.energy_fixed_J)),
    CONSTANT_ROW("energy_bit_J", "J", 0, 1e-6, "the same, per bit", AT(adc_cost_spec, per_bit.energy_bit_J)),
    CONSTANT_ROW("time_fixed_ns", "ns", 0, 1e6, "time_fixed + bits x time_bit",
                 AT(adc_cost_spec, per_bit.time_fixed_s)),
    CONSTANT_ROW("time_bit_ns", "ns", 0, 1e6, "the same, per bit", AT(adc_cost_spec, per_bit.time_bit_s)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e7, "area + bits x area_bit", AT(adc_cost_spec, per_bit.area_m2)),
    CONSTANT_ROW("area_bit_um2", "um2", 0, 1e7, "the same, per bit", AT(adc_cost_spec, per_bit.area_bit_m2)),
};

static const struct param dac_per_bit_rows[] = {
    CONSTANT_ROW("bit_fF", "fF", 0, 1e9, "energy bits x bit_fF x voltage_V^2", AT(dac_cost_spec, per_bit.bit_F)),
    CONSTANT_ROW("voltage_V", "V", 0.01, 100, "the same", AT(dac_cost_spec, per_bit.voltage_V)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e7, "area + bits x area_bit", AT(dac_cost_spec, per_bit.area_m2)),
    CONSTANT_ROW("area_bit_um2", "um2", 0, 1e7, "the same, per bit", AT(dac_cost_spec, per_bit.area_bit_m2)),
};

/* ---- node and supply --------------------------------------------------------------------------------------- */

static const struct param node_rows[] = {
    NUMBER_ROW("node_nm", "nm", 0, 1000, "0", "process of the chip; 0: not stated", AT(chip_spec, node_m)),
    CHOICE_ROW("scale_to_node", switch_names, "off",
               "energies, areas and static power of parts that state a node_nm are scaled to the chip's",
               AT(chip_spec, scale_to_node)),
};

static const struct param scaling_rows[] = {
    NUMBER_ROW("voltage_V", "V", 0.4, 1.4, "0.8", "at which the energies of both nodes are compared",
               AT(scaling_spec, voltage_V)),
    CONSTANT_ROW_DEFAULT("error", "", 0.01, 100,
                         "{value: 1, kind: assumed, source: \"a fit to simulated inverters and rings, applied to whole "
                         "blocks\", spread: [0.7, 1.5]}",
                         "factor on every scaled constant", AT(scaling_spec, error)),
};

static const struct param supply_rows[] = {
    NUMBER_ROW("voltage_V", "V", 0.1, 10, NULL, "that the chip works at", AT(supply_spec, voltage_V)),
    NUMBER_ROW("nominal_V", "V", 0.1, 10, NULL, "that its constants were given for", AT(supply_spec, nominal_V)),
    CONSTANT_ROW_DEFAULT("static_exponent", "", 0, 10,
                         "{value: 2, kind: assumed, source: \"a leakage current about proportional to the voltage\", "
                         "spread: [0.5, 2]}",
                         "static power goes with this power of the voltage", AT(supply_spec, static_exponent)),
    BOOL_ROW("tile_times", "off", "pulse, multiply and conversion follow supply.clock too",
             AT(supply_spec, tile_times)),
};

static const struct param supply_clock_rows[] = {
    {"voltage_V", PARAM_NUMBERS, "V", 0.1, 10, NULL, "points: voltages, rising", AT(supply_spec, clock.voltage_V),
     NULL},
    {"clock_GHz", PARAM_NUMBERS, "GHz", 0.001, 100, NULL,
     "points: clock at each; clock_GHz is that at supply.nominal_V, and changes as the points do between there and "
     "supply.voltage_V",
     AT(supply_spec, clock.clock_Hz), NULL},
};

static const struct param clocks_rows[] = {
    NUMBER_ROW("tile_GHz", "GHz", 0, 100, "0", "clock of the tiles; 0: clock_GHz", AT(clocks_spec, tile_Hz)),
    NUMBER_ROW("network_GHz", "GHz", 0, 100, "0", "clock of the network of a chip; 0: clock_GHz",
               AT(clocks_spec, network_Hz)),
    NUMBER_ROW("memory_GHz", "GHz", 0, 100, "0", "clock of the memories; 0: clock_GHz", AT(clocks_spec, memory_Hz)),
};

#define NOT_GATED "{value: 1, kind: assumed, source: \"not gated\", spread: [1, 1]}"

static const struct param hierarchy_rows[] = {
    INT_ROW("tiles_per_core", 1, 1000000, NULL, "tiles of a core", AT(hierarchy_spec, tiles_per_core)),
    INT_ROW("cores_per_cluster", 1, 1000000, NULL, "cores of a cluster", AT(hierarchy_spec, cores_per_cluster)),
    INT_ROW("clusters_per_chip", 1, 1000000, NULL, "clusters of a chip", AT(hierarchy_spec, clusters_per_chip)),
    INT_ROW("chips_per_package", 1, 1000000, "1",
            "chips of a package: chip_link joins those, package_link the packages; 1: chip_link joins all",
            AT(hierarchy_spec, chips_per_package)),
};

static const struct param placement_rows[] = {
    CHOICE_ROW("strategy", strategy_names, "in_order",
               "in_order: chip after chip is filled; balanced: every chip gets equally many tiles; fewest_hops: as "
               "in_order, and the tiles of a chip change places until messages on its network go fewer hops",
               AT(placement_spec, strategy)),
    INT_ROW("seed", 0, 2147483647, "1", "of the search for fewest hops", AT(placement_spec, seed)),
    TEXT_ROW("copies", "",
             "matrices that are there several times, by role: down=2,head=4; a token goes to the copy that is free",
             AT(placement_spec, copies)),
    INT_ROW("digital_channels", 0, 1000000, "0",
            "inputs of every analog matrix that stay digital: those with the largest |x| in the calibration text",
            AT(placement_spec, digital_channels)),
    NUMBER_ROW("digital_weights", "", 0, 1, "0",
               "share of the weights of every column of a tile that stay digital: the largest",
               AT(placement_spec, digital_weights)),
};

static const struct param gating_rows[] = {
    CONSTANT_ROW_DEFAULT("clock_share", "", 0, 1, NOT_GATED,
                         "part of its static power that an idle tile or digital unit keeps without its clock",
                         AT(gating_spec, clock_share)),
    CONSTANT_ROW_DEFAULT("power_share", "", 0, 1, NOT_GATED, "part of that which it keeps without its supply",
                         AT(gating_spec, power_share)),
    INT_ROW("wake_cycles", 0, 1000000, "0", "of its clock, to switch the supply on: the first token of a stage waits",
            AT(gating_spec, wake_cycles)),
};

static const struct param unit_rows[] = {
    TEXT_ROW("name", "", "part that the unit was made from", AT(unit_spec, name)),
    INT_ROW("count", 1, 4096, "1", "units of a chip; each works on a token of its own", AT(unit_spec, count)),
    INT_ROW("lanes", 1, 1000000, NULL, "operations per clock cycle (attention, matmul: MACs)", AT(unit_spec, lanes)),
    INT_ROW("latency_cycles", 0, 1000000, NULL, "cycles from the first operand to the first result",
            AT(unit_spec, latency_cycles)),
    NODE_ROW("node_nm", AT(unit_spec, node_m)),
    SUPPLY_ROW("follows_supply", AT(unit_spec, follows_supply)),
    CONSTANT_ROW("energy_J", "J", 1e-18, 1e-6, "one operation (attention, matmul: one MAC)", AT(unit_spec, energy_J)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e10, "one unit", AT(unit_spec, area_m2)),
    CONSTANT_ROW("static_W", "W", 0, 1000, "leakage and clock of one unit, all the time", AT(unit_spec, static_W)),
};

static const struct param side_path_rows[] = {
    TEXT_ROW("name", "", "part that the numbers were taken from", AT(side_path_spec, name)),
    BITS_ROW("value_bits", 4, 32, "16", "a stored weight", AT(side_path_spec, value_bits)),
    BITS_ROW("index_bits", 8, 32, "16", "a stored index", AT(side_path_spec, index_bits)),
    INT_ROW("mac_lanes", 1, 1024, NULL, "lanes of the matrix unit that one MAC takes", AT(side_path_spec, mac_lanes)),
    NODE_ROW("node_nm", AT(side_path_spec, node_m)),
    SUPPLY_ROW("follows_supply", AT(side_path_spec, follows_supply)),
    CONSTANT_ROW("energy_J", "J", 1e-18, 1e-6, "one MAC", AT(side_path_spec, energy_J)),
};

static const struct param memory_rows[] = {
    TEXT_ROW("name", "", "part that the memory was made from", AT(memory_spec, name)),
    BITS_ROW("value_bits", 1, 64, NULL, "bits of one stored number", AT(memory_spec, value_bits)),
    INT_ROW("capacity_KiB", 1, 2147483647, NULL, "capacity per chip", AT(memory_spec, capacity_KiB)),
    NODE_ROW("node_nm", AT(memory_spec, node_m)),
    SUPPLY_ROW("follows_supply", AT(memory_spec, follows_supply)),
    CONSTANT_ROW("energy_J_per_bit", "J_per_bit", 1e-18, 1e-6, "one bit read or written",
                 AT(memory_spec, energy_J_per_bit)),
    CONSTANT_ROW("bandwidth_GBps", "GBps", 1e-6, 1e6, "sustained", AT(memory_spec, bandwidth_Bps)),
    CONSTANT_ROW("latency_ns", "ns", 0, 1e6, "first access of an operation", AT(memory_spec, latency_s)),
    CONSTANT_ROW("area_um2_per_bit", "um2_per_bit", 0, 1e6, "one bit with its share of the periphery",
                 AT(memory_spec, area_m2_per_bit)),
    CONSTANT_ROW("static_W", "W", 0, 1000, "leakage of the memory, all the time",
                 AT(memory_spec, static_W)),
};

static const struct param network_rows[] = {
    TEXT_ROW("name", "", "part that the network was made from", AT(network_spec, name)),
    CHOICE_ROW("topology", topology_names, NULL, "how the cores of a chip are joined", AT(network_spec, topology)),
    INT_ROW("columns", 0, 4096, "0", "of a mesh", AT(network_spec, columns)),
    INT_ROW("rows", 0, 4096, "0", "of a mesh", AT(network_spec, rows)),
    INT_ROW("tiles_per_core", 1, 1000000, "1", "tiles that share a node", AT(network_spec, tiles_per_core)),
    INT_ROW("hub", -1, 16777215, "-1", "node of the digital units; -1: the middle of a mesh, the root of a tree",
            AT(network_spec, hub)),
    BITS_ROW("flit_bits", 1, 65536, "64", "that a link carries per cycle", AT(network_spec, flit_bits)),
    INT_ROW("hop_cycles", 1, 1000, "1", "of a head over one link and its router", AT(network_spec, hop_cycles)),
    BOOL_ROW("reduction", "on", "partial sums are added where they meet; off: all travel to the hub",
             AT(network_spec, reduction)),
    CONSTANT_ROW("hop_energy_J_per_bit", "J_per_bit", 0, 1e-6, "one bit over one link and its router",
                 AT(network_spec, hop_energy_J_per_bit)),
    CONSTANT_ROW("router_area_um2", "um2", 0, 1e9, "one router with its links", AT(network_spec, router_area_m2)),
    CONSTANT_ROW("router_static_W", "W", 0, 100, "leakage and clock of a router, all the time",
                 AT(network_spec, router_static_W)),
};

static const struct param chip_link_rows[] = {
    TEXT_ROW("name", "", "part that the link was made from", AT(chip_link_spec, name)),
    BOOL_ROW("reduction", "off",
             "partial sums of several chips are added on their way; off: all travel to the home chip",
             AT(chip_link_spec, reduction)),
    CONSTANT_ROW("bandwidth_GBps", "GBps", 1e-6, 1e6, "each way, of one chip", AT(chip_link_spec, bandwidth_Bps)),
    CONSTANT_ROW("latency_ns", "ns", 0, 1e9, "from chip to chip", AT(chip_link_spec, latency_s)),
    CONSTANT_ROW("energy_J_per_bit", "J_per_bit", 0, 1e-6, "one bit from chip to chip",
                 AT(chip_link_spec, energy_J_per_bit)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e10, "of the link's circuits on a chip", AT(chip_link_spec, area_m2)),
    CONSTANT_ROW("static_W", "W", 0, 1000, "of the link's circuits on a chip, all the time",
                 AT(chip_link_spec, static_W)),
};

#define REFRESH_BESIDE                                                                                                 \
    "{value: 0, kind: assumed, source: \"refresh beside reads and writes, in other rows\", spread: [1, 1]}"

static const struct param refresh_rows[] = {
    CONSTANT_ROW("power_W", "W", 0, 1000, "refresh of the whole memory, all the time",
                 AT(memory_spec, refresh.power_W)),
    CONSTANT_ROW_DEFAULT("bandwidth_share", "", 0, 0.99, REFRESH_BESIDE, "part of the bandwidth that refresh takes",
                         AT(memory_spec, refresh.bandwidth_share)),
};

static const struct param dram_rows[] = {
    TEXT_ROW("name", "", "part that the memory was made from", AT(dram_spec, name)),
    INT_ROW("capacity_KiB", 1, 2147483647, NULL, "capacity beside every chip", AT(dram_spec, capacity_KiB)),
    {"burst_bytes", PARAM_INT, "bytes", 1, 65536, "64", "smallest transfer", AT(dram_spec, burst_bytes), NULL},
    CONSTANT_ROW("energy_J_per_bit", "J_per_bit", 1e-18, 1e-6, "one bit read or written, interface included",
                 AT(dram_spec, energy_J_per_bit)),
    CONSTANT_ROW("bandwidth_GBps", "GBps", 1e-6, 1e6, "sustained, per chip", AT(dram_spec, bandwidth_Bps)),
    CONSTANT_ROW("latency_ns", "ns", 0, 1e6, "first access of an operation", AT(dram_spec, latency_s)),
    CONSTANT_ROW("idle_W", "W", 0, 1000, "without refresh, all the time", AT(dram_spec, idle_W)),
    CONSTANT_ROW("refresh_W", "W", 0, 1000, "refresh, all the time", AT(dram_spec, refresh_W)),
    CONSTANT_ROW_DEFAULT("refresh_bandwidth_share", "", 0, 0.99, REFRESH_BESIDE,
                         "part of the bandwidth that refresh takes", AT(dram_spec, refresh_bandwidth_share)),
    CHOICE_ROW("embedding", switch_names, "off", "the embedding table lies here: one row is read per token",
               AT(dram_spec, embedding)),
};

#define IN_CHIP(member) offsetof(struct chip_spec, member)
#define GROUP(prefix_, name_, rows_, member, cost_)                                                                    \
    { .prefix = prefix_, .table = PARAM_TABLE(name_, rows_), .offset = IN_CHIP(member), .cost = cost_ }
#define ALL_DEFAULTS(prefix_, name_, rows_, member, source_)                                                           \
    {                                                                                                                  \
        .prefix = prefix_, .table = PARAM_TABLE(name_, rows_), .offset = IN_CHIP(member), .optional = true,            \
        .source = source_                                                                                              \
    }
#define OPTIONAL_GROUP(prefix_, name_, rows_, member, given, cost_)                                                    \
    {                                                                                                                  \
        .prefix = prefix_, .table = PARAM_TABLE(name_, rows_), .offset = IN_CHIP(member), .cost = cost_,               \
        .optional = true, .given_offset = IN_CHIP(given)                                                               \
    }
#define SELECTED(prefix_, name_, rows_, member, optional_, key, choice, value, names, source_)                         \
    {                                                                                                                  \
        .prefix = prefix_, .table = PARAM_TABLE(name_, rows_), .offset = IN_CHIP(member), .cost = true,                \
        .optional = optional_, .select_key = key, .select_offset = IN_CHIP(choice), .select = value,                   \
        .select_names = names, .source = source_                                                                       \
    }
#define ADC_MODEL(prefix, name, rows, member, value, source)                                                           \
    SELECTED(prefix, "ADC cost: " name, rows, member, false, "tile.adc.cost.model", tile.adc.cost.model, value,        \
             adc_cost_names, source)
#define DAC_MODEL(prefix, name, rows, member, value)                                                                   \
    SELECTED(prefix, "DAC cost: " name, rows, member, false, "tile.dac.cost.model", tile.dac.cost.model, value,        \
             dac_cost_names, NULL)

const struct chip_table chip_tables[] = {
    {.prefix = "", .table = PARAM_TABLE("chip", chip_rows)},
    GROUP("tile.", "tile", tile_rows, tile, false),
    OPTIONAL_GROUP("tile.wires.", "wires", wires_rows, tile.wires, tile.wires.given, false),
    {.prefix = "tile.ladder.",
     .table = PARAM_TABLE("ladder", ladder_rows),
     .offset = IN_CHIP(tile.ladder),
     .optional = true,
     .given_offset = IN_CHIP(tile.ladder.given),
     .source = "aihwkit 1.1, TorchInferenceRPUConfigIRDropT"},
    ALL_DEFAULTS("tile.faults.", "faults", faults_rows, tile.faults, NULL),
    ALL_DEFAULTS("tile.phenomena.", "phenomena", phenomena_rows, tile.phenomena,
                 "equations, and defaults other than 0: aihwkit 1.1 (Rasch et al., AICAS 2021)"),
    ALL_DEFAULTS("tile.management.", "input management", management_rows, tile.management,
                 "Gokmen et al., Frontiers in Neuroscience 2017; defaults other than 0: aihwkit 1.1"),
    OPTIONAL_GROUP("hierarchy.", "hierarchy", hierarchy_rows, hierarchy, hierarchy.given, false),
    ALL_DEFAULTS("placement.", "placement", placement_rows, placement, NULL),
    ALL_DEFAULTS("effects.", "effects", effect_rows, effects, NULL),
    {.prefix = "", .table = PARAM_TABLE("process", node_rows), .cost = true},
    SELECTED("scaling.", "scaling to the node", scaling_rows, scaling, true, "scale_to_node", scale_to_node, SWITCH_ON,
             switch_names, "Stillmaker and Baas, Integration 58, 2017"),
    OPTIONAL_GROUP("tile.array.", "published energy of the array", array_rows, tile.array, tile.array.given, true),
    OPTIONAL_GROUP("tile.integrator.", "integrators", integrator_rows, tile.integrator, tile.integrator.given, true),
    OPTIONAL_GROUP("supply.", "supply", supply_rows, supply, supply.given, true),
    OPTIONAL_GROUP("supply.clock.", "clock of a supply", supply_clock_rows, supply, supply.clock.given, true),
    OPTIONAL_GROUP("gating.", "gating", gating_rows, gating, gating.given, true),
    OPTIONAL_GROUP("clocks.", "clocks", clocks_rows, clocks, clocks.given, true),
    GROUP("tile.", "tile costs", tile_cost_rows, tile, true),
    OPTIONAL_GROUP("tile.registers.", "registers", registers_rows, tile.registers, tile.registers.given, true),
    SELECTED("tile.", "tile costs, time of a conversion", given_time_rows, tile, false, "tile.adc.cost.time",
             tile.adc.cost.time, TIME_GIVEN, time_names, NULL),
    DAC_MODEL("tile.", "constant", dac_constant_rows, tile, DAC_COST_CONSTANT),
    DAC_MODEL("tile.dac.cost.", "steps", dac_steps_rows, tile.dac.cost, DAC_COST_STEPS),
    DAC_MODEL("tile.dac.cost.", "per bit", dac_per_bit_rows, tile.dac.cost, DAC_COST_PER_BIT),
    ADC_MODEL("tile.", "constant", adc_constant_rows, tile, ADC_COST_CONSTANT, NULL),
    ADC_MODEL("tile.adc.cost.", "survey", survey_rows, tile.adc.cost, ADC_COST_SURVEY,
              "regression of Accelergy's ADC plug-in over Murmann's survey of published converters"),
    ADC_MODEL("tile.adc.cost.", "two terms", two_term_rows, tile.adc.cost, ADC_COST_TWO_TERM,
              "ZigZag-IMC, whose constants were fitted to three chips of 28 nm"),
    ADC_MODEL("tile.adc.cost.", "steps", adc_steps_rows, tile.adc.cost, ADC_COST_STEPS, NULL),
    ADC_MODEL("tile.adc.cost.", "per bit", adc_per_bit_rows, tile.adc.cost, ADC_COST_PER_BIT, NULL),
    GROUP("vector.", "vector unit", unit_rows, vector, true),
    GROUP("attention.", "attention unit", unit_rows, attention, true),
    GROUP("matmul.", "digital matrix unit", unit_rows, matmul, true),
    OPTIONAL_GROUP("side_path.", "digital side path", side_path_rows, side_path, side_path.given, true),
    OPTIONAL_GROUP("network.", "network", network_rows, network, network.given, true),
    OPTIONAL_GROUP("chip_link.", "chip link", chip_link_rows, chip_link, chip_link.given, true),
    OPTIONAL_GROUP("package_link.", "package link", chip_link_rows, package_link, package_link.given, true),
    GROUP("kv.", "KV memory", memory_rows, kv, true),
    OPTIONAL_GROUP("kv.refresh.", "refresh of the KV memory", refresh_rows, kv, kv.refresh.given, true),
    GROUP("buffer.", "activation buffer", memory_rows, buffer, true),
    OPTIONAL_GROUP("buffer.refresh.", "refresh of the buffer", refresh_rows, buffer, buffer.refresh.given, true),
    OPTIONAL_GROUP("dram.", "off-chip memory", dram_rows, dram, dram.given, true),
};
const size_t chip_table_count = sizeof chip_tables / sizeof chip_tables[0];
