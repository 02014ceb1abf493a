/* The keys of a chip file: one row per key (base/params.h), grouped as they stand in the file.
 *
 * Rows under a "cost" table are physical constants and the units that they belong to. They are required, unless
 * the chip declares `costs: none`; then none of them may be given. The keys of the cell belong to its model
 * (devices/) and are read by cell_create.
 */
#include "sim/chip.h"

static const char *const costs_names[] = {"full", "none", NULL};
static const char *const encoding_names[] = {"differential_pair", "signed_unit", NULL};
static const char *const scale_names[] = {"per_column", "per_tile", NULL};
static const char *const split_names[] = {"balanced", "fill", NULL};
static const char *const compensation_names[] = {"none", "global", "per_column", NULL};
static const char *const input_range_names[] = {"per_token", "static", NULL};
static const char *const static_rule_names[] = {"maximum", "standard_deviations", "quantile", NULL};
static const char *const adc_range_names[] = {"calibrated", "lambda", NULL};
static const char *const granularity_names[] = {"per_column", "per_tile", NULL};

#define AT(type, member) offsetof(struct type, member)
#define INT_ROW(key, low, high, standard, help, at) \
    { key, PARAM_INT, "", low, high, standard, help, at, NULL }
#define BITS_ROW(key, low, high, standard, help, at) \
    { key, PARAM_INT, "bits", low, high, standard, help, at, NULL }
#define NUMBER_ROW(key, unit, low, high, standard, help, at) \
    { key, PARAM_NUMBER, unit, low, high, standard, help, at, NULL }
#define BOOL_ROW(key, standard, help, at) \
    { key, PARAM_BOOL, "", 0, 0, standard, help, at, NULL }
#define CHOICE_ROW(key, names, standard, help, at) \
    { key, PARAM_CHOICE, "", 0, 0, standard, help, at, names }
#define TEXT_ROW(key, standard, help, at) \
    { key, PARAM_TEXT, "", 0, 0, standard, help, at, NULL }
#define CONSTANT_ROW(key, unit, low, high, help, at) \
    { key, PARAM_CONSTANT, unit, low, high, NULL, help, at, NULL }

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
    INT_ROW("calibration.tokens", 16, 1000000, "1024", "tokens of the calibration text, where ranges are calibrated",
            AT(chip_spec, calibration_tokens)),
};

static const struct param tile_rows[] = {
    INT_ROW("rows", 1, 4096, NULL, "inputs of a tile", AT(tile_spec, rows)),
    INT_ROW("columns", 1, 4096, NULL, "outputs of a tile", AT(tile_spec, columns)),
    TEXT_ROW("cell.name", "", "part that the cell was made from", AT(tile_spec, cell_name)),
    TEXT_ROW("cell.model", NULL, "physics of the cell (`mho device list`)", AT(tile_spec, cell_model)),
    CHOICE_ROW("encoding", encoding_names, NULL, "weight to conductances: two legs g+ - g-, or one signed conductance",
               AT(tile_spec, encoding)),
    CHOICE_ROW("scale", scale_names, "per_column", "what max|w| is taken over when it is mapped to g_max",
               AT(tile_spec, scale)),
    CHOICE_ROW("split", split_names, "balanced", "cutting a long dimension: nearly equal blocks, or full tiles first",
               AT(tile_spec, split)),
    CHOICE_ROW("compensation", compensation_names, "none",
               "digital drift compensation: one factor per tile or per column", AT(tile_spec, compensation)),
    TEXT_ROW("dac.name", "", "part that the DAC was made from", AT(tile_spec, dac.name)),
    BITS_ROW("dac.bits", 2, 12, NULL, "input codes -(2^(b-1)-1) .. 2^(b-1)-1", AT(tile_spec, dac.bits)),
    CHOICE_ROW("dac.range", input_range_names, "per_token",
               "full scale of a block of inputs: max|x| of each token, or fixed", AT(tile_spec, dac.range)),
    CHOICE_ROW("dac.static_rule", static_rule_names, "maximum",
               "fixed range of a model that brings none, from calibration inputs", AT(tile_spec, dac.static_rule)),
    NUMBER_ROW("dac.static_parameter", "", 0.000001, 1000, "1", "how many standard deviations, or which quantile",
               AT(tile_spec, dac.static_parameter)),
    TEXT_ROW("adc.name", "", "part that the ADC was made from", AT(tile_spec, adc.name)),
    BITS_ROW("adc.bits", 2, 14, NULL, "output codes -(2^(b-1)-1) .. 2^(b-1)-1", AT(tile_spec, adc.bits)),
    INT_ROW("adc.share", 1, 4096, "1", "columns per converter; divides the columns", AT(tile_spec, adc.share)),
    CHOICE_ROW("adc.range", adc_range_names, "calibrated",
               "full scale: from calibration outputs, or lambda x input range x max|w|", AT(tile_spec, adc.range)),
    CHOICE_ROW("adc.granularity", granularity_names, "per_column", "one calibrated range per column or per tile",
               AT(tile_spec, adc.granularity)),
    NUMBER_ROW("adc.lambda", "", 0.01, 10000, "12", "range = lambda: factor on input range x max|w| of the column",
               AT(tile_spec, adc.lambda)),
    NUMBER_ROW("adc.headroom", "", 0.01, 100, "1.2", "range = calibrated: factor on the largest calibration output",
               AT(tile_spec, adc.headroom)),
    TEXT_ROW("post.name", "", "part that the digital post-processing was made from", AT(tile_spec, post.name)),
};

static const struct param effect_rows[] = {
    BOOL_ROW("programming_noise", "on", "error of each device at write", AT(effects, programming_noise)),
    BOOL_ROW("drift", "on", "decay of each device with its own exponent", AT(effects, drift)),
    BOOL_ROW("read_noise", "on", "slow (1/f) state of each device at read", AT(effects, read_noise)),
    BOOL_ROW("dac", "on", "quantisation and range of the inputs", AT(effects, dac)),
    BOOL_ROW("adc", "on", "quantisation and range of the outputs", AT(effects, adc)),
};

static const struct param tile_cost_rows[] = {
    CONSTANT_ROW("read_voltage_V", "V", 0.0001, 10, "amplitude of a read pulse", AT(tile_spec, read_voltage_V)),
    CONSTANT_ROW("pulse_ns", "ns", 0.001, 1e6, "longest input pulse (largest code)", AT(tile_spec, pulse_s)),
    CONSTANT_ROW("mvm_ns", "ns", 0.001, 1e6, "one multiply: input, integration, first round of conversion",
                 AT(tile_spec, mvm_s)),
    CONSTANT_ROW("conversion_ns", "ns", 0.001, 1e6, "each further round of a shared ADC", AT(tile_spec, conversion_s)),
    CONSTANT_ROW("cell_area_um2", "um2", 1e-6, 1e6, "one unit cell", AT(tile_spec, cell_area_m2)),
    CONSTANT_ROW("static_W", "W", 0, 100, "leakage and clock of one tile, all the time", AT(tile_spec, static_W)),
    CONSTANT_ROW("dac.energy_J", "J", 1e-18, 1e-6, "one input conversion, row driver included",
                 AT(tile_spec, dac.energy_J)),
    BITS_ROW("dac.energy_bits", 1, 16, "8", "bits that dac.energy_J was given for; a report says when they differ",
             AT(tile_spec, dac.energy_bits)),
    CONSTANT_ROW("dac.area_um2", "um2", 0, 1e7, "one row", AT(tile_spec, dac.area_m2)),
    CONSTANT_ROW("adc.energy_J", "J", 1e-18, 1e-6, "one output conversion", AT(tile_spec, adc.energy_J)),
    BITS_ROW("adc.energy_bits", 1, 16, "8", "bits that adc.energy_J was given for; a report says when they differ",
             AT(tile_spec, adc.energy_bits)),
    CONSTANT_ROW("adc.area_um2", "um2", 0, 1e7, "one converter", AT(tile_spec, adc.area_m2)),
    CONSTANT_ROW("post.energy_J", "J", 1e-18, 1e-6, "one ADC result: scale, offset, accumulate",
                 AT(tile_spec, post.energy_J)),
    CONSTANT_ROW("post.area_um2", "um2", 0, 1e7, "one column", AT(tile_spec, post.area_m2)),
};

static const struct param unit_rows[] = {
    TEXT_ROW("name", "", "part that the unit was made from", AT(unit_spec, name)),
    INT_ROW("lanes", 1, 1000000, NULL, "operations per clock cycle (attention, matmul: MACs)", AT(unit_spec, lanes)),
    INT_ROW("latency_cycles", 0, 1000000, NULL, "cycles from the first operand to the first result",
            AT(unit_spec, latency_cycles)),
    CONSTANT_ROW("energy_J", "J", 1e-18, 1e-6, "one operation (attention, matmul: one MAC)", AT(unit_spec, energy_J)),
    CONSTANT_ROW("area_um2", "um2", 0, 1e10, "the unit; one per chip", AT(unit_spec, area_m2)),
    CONSTANT_ROW("static_W", "W", 0, 1000, "leakage and clock of the unit, all the time", AT(unit_spec, static_W)),
};

static const struct param memory_rows[] = {
    TEXT_ROW("name", "", "part that the memory was made from", AT(memory_spec, name)),
    BITS_ROW("value_bits", 1, 64, NULL, "bits of one stored number", AT(memory_spec, value_bits)),
    INT_ROW("capacity_KiB", 1, 2147483647, NULL, "capacity per chip", AT(memory_spec, capacity_KiB)),
    CONSTANT_ROW("energy_J_per_bit", "J_per_bit", 1e-18, 1e-6, "one bit read or written",
                 AT(memory_spec, energy_J_per_bit)),
    CONSTANT_ROW("bandwidth_GBps", "GBps", 1e-6, 1e6, "sustained", AT(memory_spec, bandwidth_Bps)),
    CONSTANT_ROW("latency_ns", "ns", 0, 1e6, "first access of an operation", AT(memory_spec, latency_s)),
    CONSTANT_ROW("area_um2_per_bit", "um2_per_bit", 0, 1e6, "one bit with its share of the periphery",
                 AT(memory_spec, area_m2_per_bit)),
    CONSTANT_ROW("static_W", "W", 0, 1000, "leakage and refresh of the memory, all the time",
                 AT(memory_spec, static_W)),
};

#define GROUP(prefix, name, rows, member, cost) \
    { prefix, PARAM_TABLE(name, rows), offsetof(struct chip_spec, member), cost }

const struct chip_table chip_tables[] = {
    {"", PARAM_TABLE("chip", chip_rows), 0, false},
    GROUP("tile.", "tile", tile_rows, tile, false),
    GROUP("effects.", "effects", effect_rows, effects, false),
    GROUP("tile.", "tile costs", tile_cost_rows, tile, true),
    GROUP("vector.", "vector unit", unit_rows, vector, true),
    GROUP("attention.", "attention unit", unit_rows, attention, true),
    GROUP("matmul.", "digital matrix unit", unit_rows, matmul, true),
    GROUP("kv.", "KV memory", memory_rows, kv, true),
    GROUP("buffer.", "activation buffer", memory_rows, buffer, true),
};
const size_t chip_table_count = sizeof chip_tables / sizeof chip_tables[0];
