/* Private to sim/: what a chip file says, parsed. The tables that fill it are in chip_params.c. */
#ifndef MHO_SIM_CHIP_H
#define MHO_SIM_CHIP_H

#include "devices/device.h"
#include "sim/sim.h"

enum encoding { ENCODING_DIFFERENTIAL_PAIR, ENCODING_SIGNED_UNIT };
enum scale_mode { SCALE_PER_COLUMN, SCALE_PER_TILE };
enum split_mode { SPLIT_BALANCED, SPLIT_FILL }; /* 600 rows on 256: 200+200+200, or 256+256+88 */
enum input_range_mode { INPUT_PER_TOKEN, INPUT_STATIC };
enum static_range_rule { STATIC_MAXIMUM, STATIC_STANDARD_DEVIATIONS, STATIC_QUANTILE }; /* of calibration inputs */
enum adc_range_mode { ADC_CALIBRATED, ADC_LAMBDA }; /* calibrated: max over calibration x headroom; lambda x input range x max|w| of the column */
enum adc_granularity { ADC_PER_COLUMN, ADC_PER_TILE };
enum compensation { COMPENSATION_NONE, COMPENSATION_GLOBAL, COMPENSATION_PER_COLUMN }; /* global = one factor per tile */

/* One flag per effect of design section 2 that is modelled; order = chip_effect_name. */
struct effects { bool programming_noise, drift, read_noise, dac, adc; };

struct tile_spec {
    int rows, columns;
    int encoding, scale, split; /* enums above */
    const struct cell *cell;
    struct {
        int bits;
        int range;                   /* input_range_mode */
        int static_rule;             /* static_range_rule, for models that bring no ranges */
        double static_parameter;     /* number of standard deviations, or quantile */
        struct constant energy_J;    /* per conversion at full-scale pulse */
        struct constant area_um2;    /* m^2 inside (SI); per row */
    } dac;
    struct {
        int bits, range, granularity, share; /* share = columns per converter */
        double lambda, headroom;
        struct constant energy_J, area_um2; /* per conversion; per converter */
    } adc;
    struct constant read_voltage_V;  /* amplitude of a read pulse */
    struct constant pulse_s;         /* longest input pulse (code = limit) */
    struct constant mvm_s;           /* input, integration and first round of conversion, one multiply */
    struct constant conversion_s;    /* each further round of a shared ADC */
    struct constant cell_area_um2;   /* per unit cell */
    struct constant post_energy_J;   /* per ADC result: scale, offset, accumulate */
    struct constant post_area_um2;   /* per column */
    struct constant static_W;        /* leakage per tile */
    int compensation;
};

struct unit_spec { /* a digital unit */
    int lanes;                   /* operations per cycle */
    struct constant energy_J;    /* per operation */
    struct constant area_um2;    /* per unit */
    struct constant static_W;
    int latency_cycles;          /* fill */
};

struct memory_spec {
    struct constant energy_J_per_bit, bandwidth_Bps, latency_s, area_um2_per_bit, static_W;
};

struct chip_spec {
    const char *name, *about;
    struct tile_spec tile;
    struct effects effects;
    int tiles_per_chip;
    bool replicate_chips;        /* as many chips as the model needs */
    struct constant clock_Hz;
    const char *analog_roles;    /* placement rule: "all" or list of roles, e.g. "q,k,v,o,gate,up,down" */
    struct unit_spec vector, attention;
    struct memory_spec kv, buffer;
    double calibration_tokens;   /* how many tokens of the calibration text */
};

const struct chip_spec *chip_spec_of(const struct chip *c);

#endif
