/* Private to sim/: what a chip file says, parsed. The tables that fill it are in chip_params.c.
 *
 * Everything here is SI: seconds, joules, square metres, bits. A `struct constant` knows where its
 * number comes from. With `costs: none` the cost members (marked "cost") are all zero and must not be
 * read: chip_has_costs() tells.
 */
#ifndef MHO_SIM_CHIP_H
#define MHO_SIM_CHIP_H

#include "devices/device.h"
#include "sim/sim.h"

enum encoding { ENCODING_DIFFERENTIAL_PAIR, ENCODING_SIGNED_UNIT };
enum scale_mode { SCALE_PER_COLUMN, SCALE_PER_TILE };
enum split_mode { SPLIT_BALANCED, SPLIT_FILL }; /* 600 rows on 256: 200+200+200, or 256+256+88 */
enum input_range_mode { INPUT_PER_TOKEN, INPUT_STATIC };
enum static_range_rule { STATIC_MAXIMUM, STATIC_STANDARD_DEVIATIONS, STATIC_QUANTILE }; /* of calibration inputs */
/* calibrated: max over calibration x headroom; lambda: lambda x input range x max|w| of the column */
enum adc_range_mode { ADC_CALIBRATED, ADC_LAMBDA };
enum adc_granularity { ADC_PER_COLUMN, ADC_PER_TILE };
/* global: one factor per tile */
enum compensation { COMPENSATION_NONE, COMPENSATION_GLOBAL, COMPENSATION_PER_COLUMN };
enum costs_mode { COSTS_FULL, COSTS_NONE };

/* One flag per effect of design section 2 that is modelled; order = chip_effect_name. */
struct effects { bool programming_noise, drift, read_noise, dac, adc; };

struct tile_spec {
    int rows, columns;
    int encoding, scale, split; /* enums above */
    int compensation;
    const char *cell_name, *cell_model; /* of the part, and of the physics behind it */
    const struct cell *cell;
    struct {
        const char *name;
        int bits;
        int range;                   /* input_range_mode */
        int static_rule;             /* static_range_rule, for models that bring no ranges */
        double static_parameter;     /* number of standard deviations, or quantile */
        int energy_bits;             /* cost: bits that energy_J was given for */
        struct constant energy_J;    /* cost: per conversion */
        struct constant area_m2;     /* cost: per row */
    } dac;
    struct {
        const char *name;
        int bits, range, granularity, share; /* share = columns per converter */
        double lambda, headroom;
        int energy_bits;                   /* cost: bits that energy_J was given for */
        struct constant energy_J, area_m2; /* cost: per conversion; per converter */
    } adc;
    struct {
        const char *name;
        struct constant energy_J; /* cost: per ADC result: scale, offset, accumulate */
        struct constant area_m2;  /* cost: per column */
    } post;
    struct constant read_voltage_V;  /* cost: amplitude of a read pulse */
    struct constant pulse_s;         /* cost: longest input pulse (code = limit) */
    struct constant mvm_s;           /* cost: input, integration and first round of conversion, one multiply */
    struct constant conversion_s;    /* cost: each further round of a shared ADC */
    struct constant cell_area_m2;    /* cost: per unit cell */
    struct constant static_W;        /* cost: leakage and clock of one tile, all the time */
};

/* A digital unit; every chip has one of each. All cost. */
struct unit_spec {
    const char *name;
    int lanes;                   /* operations per cycle */
    int latency_cycles;          /* fill */
    struct constant energy_J;    /* per operation */
    struct constant area_m2;     /* per unit */
    struct constant static_W;    /* per unit */
};

/* An on-chip memory; every chip has one of each. All cost. */
struct memory_spec {
    const char *name;
    int value_bits;              /* of one stored number */
    int capacity_KiB;            /* per chip */
    struct constant energy_J_per_bit; /* read or written */
    struct constant bandwidth_Bps, latency_s;
    struct constant area_m2_per_bit, static_W;
};

struct chip_spec {
    const char *name, *about;
    int costs;                   /* costs_mode */
    struct tile_spec tile;
    struct effects effects;
    int tiles_per_chip;
    bool replicate;              /* as many chips as the model needs */
    double clock_Hz;             /* of the digital units */
    const char *analog;          /* placement rule: "all" or roles "q,k,v,o" */
    bool analog_role[MATRIX_ROLES];
    int calibration_tokens;      /* how many tokens of the calibration text */
    struct unit_spec vector, attention, matmul; /* matmul: for matrices that stay digital; an operation is a MAC */
    struct memory_spec kv, buffer;              /* buffer: activations, and the weights of digital matrices */
};

const struct chip_spec *chip_spec_of(const struct chip *c);

/* ---- the tables (chip_params.c) ---------------------------------------------------------------- */

struct chip_table {
    const char *prefix; /* "tile." */
    struct param_table table;
    size_t offset;      /* of the table's struct in struct chip_spec */
    bool cost;          /* read only when the chip has costs */
};
extern const struct chip_table chip_tables[];
extern const size_t chip_table_count;

#endif
