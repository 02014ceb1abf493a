/* Private to sim/: what a chip file says, parsed. The tables that fill it are in chip_params.c.
 *
 * Everything here is SI: seconds, joules, square metres, bits. A `struct constant` knows where its
 * number comes from. With `costs: none` the cost members (marked "cost") are all zero and must not be
 * read: chip_has_costs() tells.
 */
#ifndef MHO_SIM_CHIP_H
#define MHO_SIM_CHIP_H

#include "devices/adc.h"
#include "devices/dac.h"
#include "devices/device.h"
#include "devices/wires.h"
#include "sim/sim.h"
#include "sim/topology.h"

enum encoding { ENCODING_DIFFERENTIAL_PAIR, ENCODING_SIGNED_UNIT, ENCODING_ONE_DEVICE, ENCODING_OFFSET_COLUMN,
                ENCODING_REFERENCE_COLUMN, ENCODING_UNSIGNED };
/* legs, slices, input passes: before or after the ADC; legs: after, with one converter for both, one after the other */
enum combination { COMBINE_ANALOG, COMBINE_DIGITAL, COMBINE_IN_TURNS };
enum overlap { OVERLAP_NONE, OVERLAP_SAMPLE_HOLD, OVERLAP_FULL }; /* of the stages of a tile: sim/passes.h */
enum input_coding { CODING_AMPLITUDE, CODING_PULSE_WIDTH, CODING_BIT_SERIAL, CODING_SPLIT };
enum bit_pulses { PULSES_ONE, PULSES_WEIGHTED }; /* bit serial: a bit takes one pulse, or as many as it weighs */
/* one pass with both signs; positive, then negative inputs; bits of the two's complement */
enum input_sign { SIGN_BIPOLAR, SIGN_TWO_PHASE, SIGN_TWOS_COMPLEMENT };
enum correction { CORRECTION_NONE, CORRECTION_AFFINE };
enum bound_management { BOUND_NONE, BOUND_ITERATIVE, BOUND_ITERATIVE_WORST_CASE };
enum noise_management { NOISE_NONE, NOISE_ABS_MAX, NOISE_ABS_MAX_NP_SUM, NOISE_MAX, NOISE_CONSTANT,
                        NOISE_AVERAGE_ABS_MAX };
enum weight_noise_type { WEIGHT_NOISE_NONE, WEIGHT_NOISE_ADDITIVE, WEIGHT_NOISE_PCM_READ };
enum scale_mode { SCALE_PER_COLUMN, SCALE_PER_TILE };
enum white_noise_rows { WHITE_ROWS_DRAWN, WHITE_ROWS_ALL }; /* that its variance is summed over: base/drawn_noise.c */
enum split_mode { SPLIT_BALANCED, SPLIT_FILL }; /* 600 rows on 256: 200+200+200, or 256+256+88 */
enum input_range_mode { INPUT_PER_TOKEN, INPUT_STATIC };
/* of calibration inputs */
enum static_range_rule { STATIC_MAXIMUM, STATIC_STANDARD_DEVIATIONS, STATIC_QUANTILE, STATIC_MEAN_SQUARE };
/* calibrated: max over calibration x headroom; lambda: lambda x input range x max|w| of the column */
enum adc_range_mode { ADC_CALIBRATED, ADC_LAMBDA, ADC_STATIC };
enum adc_rule { ADC_MAXIMUM, ADC_QUANTILE, ADC_MEAN_SQUARE }; /* of calibration outputs */
enum adc_granularity { ADC_PER_COLUMN, ADC_PER_TILE };
/* global: one factor per tile; exact_reference: the same against the targets instead of a first readout */
enum compensation { COMPENSATION_NONE, COMPENSATION_GLOBAL, COMPENSATION_PER_COLUMN, COMPENSATION_EXACT_REFERENCE };
#define SPLIT_BITS_STANDARD 3 /* default of tile.dac.split_bits */
enum costs_mode { COSTS_FULL, COSTS_NONE };
/* What a converter costs follows a model (sim/converter_cost.h); order = names in chip_params.c. */
enum adc_cost_model { ADC_COST_CONSTANT, ADC_COST_SURVEY, ADC_COST_TWO_TERM, ADC_COST_STEPS, ADC_COST_PER_BIT };
enum dac_cost_model { DAC_COST_CONSTANT, DAC_COST_STEPS, DAC_COST_PER_BIT };
enum conversion_time { TIME_GIVEN, TIME_MODEL }; /* of tile.adc: tile.conversion_ns, or by its cost model */
enum step_count { STEPS_LEVELS, STEPS_HALF, STEPS_BITS }; /* 2^bits - 1, 2^(bits - 1) - 1, bits */
enum switch_names { SWITCH_OFF, SWITCH_ON };

/* One flag per effect of design section 2 that is modelled; order = chip_effect_name. */
struct effects {
    bool programming_noise, drift, read_noise, faults, wires, cell_nonlinearity, temperature, dac, dac_errors, adc,
        adc_errors;
};

/* tile.wires; cost of the wires in area is part of the cell's. */
struct wires_spec {
    bool given;                   /* the chip file has the group */
    const char *name;
    struct constant row_ohm, column_ohm, input_ohm, output_ohm;
    struct constant column_F;     /* capacitance of a column per cell, for the settling time */
    int input_end, output_end, segment, method; /* enums of devices/wires.h */
    double tolerance;             /* of folding, relative to full scale */
    bool float_inactive;          /* rows of input 0 float instead of being held at 0 V */
    bool exact_nonlinear;         /* networks that cannot be folded: for machines of many tiles too */
};

/* In closed form, or step by step as aihwkit rounds it; order = names in chip_params.c. */
enum ladder_precision { LADDER_DOUBLE, LADDER_SINGLE };

/* tile.ladder: the same resistance as aihwkit's tile with time-dependent IR drop has it (sim/ladder.h). Effect wires;
 * counting: adc_errors. */
struct ladder_spec {
    bool given;                     /* the chip file has the group */
    struct constant cell_ohm;       /* wire of a column per cell */
    struct constant read_V;         /* rails: so much above and below the idle one */
    struct constant sense_offset_V; /* of the converter against the idle rail */
    struct constant oscillator_Hz;  /* of its counter, at 100 uA */
    struct constant step_s;         /* of an input pulse */
    int segments;                   /* nodes of the wire; divides the rows */
    int precision;                  /* enum ladder_precision */
    bool adc, sum;                  /* currents are counted in whole periods; steps are added, not as trapezoids */
};

/* tile.faults */
struct faults_spec {
    double stuck_g_min, stuck_g_max, stuck_random; /* probability per device */
    double dead_rows, dead_columns;                /* probability per line */
    int spare_rows, spare_columns;                 /* per tile */
    bool repair;
    const char *map;                               /* path of a CSV, "" none */
};

/* tile.phenomena: effects as aihwkit 1.1 defines them on the results of a tile (facts: tile models 1.1 to 1.3), in
 * units of w x (w of full scale = 1, x of the input range = 1). All 0: none. Switches: input_* belong to the effect
 * dac_errors, weight_noise to read_noise, ir_drop to wires, the rest to adc_errors. */
struct phenomena_spec {
    double input_noise, input_asymmetry;
    double output_noise, output_noise_spread, output_asymmetry;
    double weight_noise;
    int weight_noise_type;
    double ir_drop, ir_drop_g_ratio;
    double nonlinearity, nonlinearity_spread, slope_calibration;
    double voltage_offset_spread, voltage_offset_w_min, series_resistance, series_resistance_cap;
    double read_asymmetry_spread;
    bool any; /* derived */
};

/* tile.management: input scaling per token and repeats on clipping, as aihwkit defines them. */
struct management_spec {
    int noise, bound;            /* enums */
    double threshold;            /* nm_thres */
    double assumed_w_max, decay; /* nm_assumed_wmax, nm_decay */
    double max_factor, max_resolution; /* max_bm_factor, max_bm_res */
    bool test_negative;          /* bm_test_negative_bound */
};

/* tile.adc.cost, tile.dac.cost with model: steps */
struct steps_cost {
    int count;                                 /* step_count */
    struct constant energy_fixed_J, energy_step_J, time_fixed_s, time_step_s, area_m2, area_bit_m2;
};

/* tile.adc.cost: only the members of the model in use are filled. */
struct adc_cost_spec {
    int model, time;                           /* adc_cost_model, conversion_time */
    struct {
        double enob_loss, rate_Hz;             /* rate 0: one conversion per tile.conversion */
        int interleaved;                       /* converters that share the rate */
        struct constant energy_factor, area_factor; /* of real converters around the regression */
    } survey;
    struct {
        struct constant k1_F, k2_F, voltage_V, area_m2, area_exponent, time_bit_s, time_bit_row_s;
    } two_term;
    struct steps_cost steps;
    struct {
        struct constant energy_fixed_J, energy_bit_J, time_fixed_s, time_bit_s, area_m2, area_bit_m2;
    } per_bit;
};

/* tile.dac.cost */
struct dac_cost_spec {
    int model;                                 /* dac_cost_model */
    struct steps_cost steps;                   /* without times */
    struct {
        struct constant bit_F, voltage_V, area_m2, area_bit_m2;
    } per_bit;
};

/* supply: the voltage that the chip works at, and the one that its constants were given for. */
struct supply_spec {
    bool given;                                /* the chip file has the group */
    double voltage_V, nominal_V;
    struct constant static_exponent;           /* static power ~ V^this */
    bool tile_times;                           /* times of the tiles follow the clock */
    struct {
        bool given;
        struct param_numbers voltage_V, clock_Hz; /* points, in rising order */
    } clock;
};

/* scaling: parts that name their node are scaled to the chip's. */
struct scaling_spec {
    double voltage_V;                          /* at which the polynomials of both nodes are taken */
    struct constant error;                     /* factor on every scaled constant */
};

/* tile.array: where a paper gives the energy of the array, or columns are not held at a virtual ground. */
struct array_cost_spec {
    bool given;               /* the chip file has the group */
    struct constant energy_J; /* per pass of a tile */
    bool follows_supply;      /* energy ~ V^2 */
    bool reads_current;        /* V^2 G t is a lower bound */
};

/* tile.integrator: what holds or adds up the charges of a column before its converter; the component `sampling`. */
struct integrator_spec {
    bool given;
    const char *name;
    struct constant sample_J, pulse_J; /* per result and pass; per result and pulse */
    struct constant between_s;         /* between two groups of passes */
    struct constant area_m2;           /* per result of a column */
    bool follows_supply;
};

/* tile.registers: moving inputs in and results out, where tile.mvm_ns does not have it. */
struct registers_spec {
    bool given;                      /* the chip file has the group; else 0 */
    struct constant load_s, store_s; /* per multiply */
};

enum { TILE_SIDE_MOST = 4096 }; /* rows or columns of a tile: what a key allows, and what buffers hold */

struct tile_spec {
    int rows, columns;
    int tiers;                /* arrays in a stack that shares everything else; a chip's tiles are stacks */
    int encoding, scale, split, white_noise_rows; /* enums above */
    int compensation;
    double compensation_period_s; /* 0: at the machine's age; else at the last whole period before it */
    double refresh_period_s;      /* 0: programmed once; else programmed again after every period */
    int correction, correction_vectors;
    double correction_period_s;   /* 0: fitted once after each programming; else again after every period */
    int program_parallel;         /* devices of a tile that are written at once */
    double temperature_K, reads;  /* reads of every device before this run */
    int slices, slice_bits, slice_sum, legs, devices; /* sim/encoding.h; slice_sum, legs: enum combination */
    int overlap;
    double significance;
    struct wires_spec wires;
    struct ladder_spec ladder;
    struct faults_spec faults;
    struct phenomena_spec phenomena;
    struct management_spec management;
    const char *cell_name, *cell_model; /* of the part, and of the physics behind it */
    const struct cell *cell;
    struct {
        const char *name;
        int bits;
        int range;                   /* input_range_mode */
        int static_rule;             /* static_range_rule, for models that bring no ranges */
        double static_parameter;     /* number of standard deviations, or quantile */
        int coding, sign;            /* input_coding, input_sign */
        int split_bits, accumulate;  /* coding split: bits of the low part; combination */
        int groups, bit_pulses;      /* accumulate analog: conversions; enum bit_pulses */
        double range_value;          /* static range of the chip itself; 0: from the model or calibration */
        const char *circuit_model;   /* "ideal" where the file has no circuit */
        const struct dac *circuit;
        struct dac_cost_spec cost;   /* cost */
        bool follows_supply;         /* cost: energy ~ V^2 */
        double node_m;               /* cost: that its constants are of; 0: not stated */
        int energy_bits;             /* cost: bits that energy_J was given for */
        struct constant energy_J;    /* cost: per conversion; by the model where there is one (chip_costs.c) */
        struct constant area_m2;     /* cost: per row */
    } dac;
    struct {
        const char *name;
        int bits, range, granularity, share; /* share = columns per converter */
        int rule;                          /* adc_rule, for range = calibrated */
        double rule_parameter;             /* quantile */
        double lambda, headroom;
        double full_scale;                 /* range = static: weight x input / (weight scale x input range) */
        const char *circuit_model;         /* "ideal" where the file has no circuit */
        const struct adc *circuit;
        struct adc_cost_spec cost;         /* cost */
        bool follows_supply;               /* cost: energy ~ V^2 */
        double node_m;                     /* cost: that its constants are of; 0: not stated (survey: the chip's) */
        int energy_bits;                   /* cost: bits that energy_J was given for */
        struct constant energy_J, area_m2; /* cost: per conversion; per converter; by the model where there is one */
        double static_W;                   /* cost, derived: leakage of all converters of a tile, by the model */
    } adc;
    struct {
        const char *name;
        bool follows_supply;
        double node_m;
        struct constant energy_J; /* cost: per ADC result: scale, offset, accumulate */
        struct constant area_m2;  /* cost: per column */
    } post;
    bool array_follows_supply;       /* cost: read_voltage is made from the supply */
    struct array_cost_spec array;    /* cost */
    struct integrator_spec integrator; /* cost */
    struct constant read_voltage_V;  /* cost: amplitude of a read pulse */
    struct constant pulse_s;         /* cost: longest input pulse (code = limit) */
    struct constant mvm_s;           /* cost: input, integration and first round of conversion, one multiply */
    int mvm_rows, mvm_columns;       /* cost: of the tile that mvm_s was given for */
    struct constant conversion_s;    /* cost: each further round of a shared ADC */
    struct registers_spec registers; /* cost */
    struct constant cell_area_m2;    /* cost: per unit cell */
    struct constant static_W;        /* cost: leakage and clock of one tile, all the time */
};

/* A pool of equal digital units; every chip has one of each. All cost. */
struct unit_spec {
    const char *name;
    int count;                   /* units in the pool; each works on a token of its own */
    int lanes;                   /* operations per cycle */
    int latency_cycles;          /* fill */
    bool follows_supply;         /* energy ~ V^2 */
    double node_m;               /* that the constants are of; 0: not stated */
    struct constant energy_J;    /* per operation */
    struct constant area_m2;     /* per unit */
    struct constant static_W;    /* per unit */
};

/* An on-chip memory; every chip has one of each. All cost. */
struct memory_spec {
    const char *name;
    int value_bits;              /* of one stored number */
    int capacity_KiB;            /* per chip */
    bool follows_supply;         /* energy ~ V^2 */
    double node_m;               /* that the constants are of; 0: not stated */
    struct constant energy_J_per_bit; /* read or written */
    struct constant bandwidth_Bps, latency_s;
    struct constant area_m2_per_bit, static_W;
    struct {
        bool given;
        struct constant power_W; /* of the whole memory, all the time */
        struct constant bandwidth_share; /* of the bandwidth, taken by refresh */
    } refresh;
};

/* dram: memory beside the chip; one per chip. All cost. */
struct dram_spec {
    bool given;                  /* the chip file has the group */
    const char *name;
    int capacity_KiB;            /* per chip */
    int burst_bytes;             /* smallest transfer */
    struct constant energy_J_per_bit, bandwidth_Bps, latency_s, idle_W, refresh_W, refresh_bandwidth_share;
    int embedding;               /* enum switch_names: it holds the embedding table */
};

/* network: between the cores of a chip (sim/interconnect.h). */
struct network_spec {
    bool given;
    const char *name;
    int topology;                         /* topology_kind */
    int columns, rows;                    /* mesh */
    int tiles_per_core;                   /* share a node */
    int hub;                              /* node of the digital units; -1: in the middle, or at the root */
    int flit_bits, hop_cycles;
    bool reduction;                       /* partial sums are added where they meet; else at the hub */
    struct constant hop_energy_J_per_bit; /* link and router */
    struct constant router_area_m2, router_static_W;
};

/* chip_link: to chips of the same package; package_link: to those of others. Of each one in, one out per chip. */
enum link_kind { LINK_CHIP, LINK_PACKAGE, LINK_KINDS };
struct chip_link_spec {
    bool given;
    const char *name;
    bool reduction;                /* partial sums of other chips are added on their way to the home chip */
    struct constant bandwidth_Bps; /* each way */
    struct constant latency_s, energy_J_per_bit, area_m2, static_W;
};

/* clocks: other than that of the digital units (sim/clocks.h). */
struct clocks_spec {
    bool given;                         /* the chip file has the group: every duration is whole cycles */
    double tile_Hz, network_Hz, memory_Hz; /* 0: clock_Hz */
};

/* gating: what idle tiles and digital units keep of their static power (sim/power.h). */
struct gating_spec {
    bool given;                                /* the chip file has the group */
    struct constant clock_share, power_share;  /* with the clock stopped; of that, with the supply off */
    int wake_cycles;
};

/* hierarchy: from tile to package; the product of the first three is tiles_per_chip. */
struct hierarchy_spec {
    bool given;
    int tiles_per_core, cores_per_cluster, clusters_per_chip, chips_per_package;
};

enum placement_strategy { PLACE_IN_ORDER, PLACE_BALANCED, PLACE_FEWEST_HOPS };

/* placement: sim/placement.c. */
struct placement_spec {
    int strategy;                 /* placement_strategy */
    int seed;                     /* of the search for fewest hops */
    const char *copies;           /* "down=2,head=4", "" none */
    int digital_channels;         /* inputs of every matrix that stay digital (side_path_choose) */
    double digital_weights;       /* share of the weights of every column that stay digital */
    int copies_of[MATRIX_ROLES];  /* derived; 1: the matrix alone */
};

/* side_path: what the digital part of a matrix on tiles takes (side_path.h). The matrix unit works on it. */
struct side_path_spec {
    bool given;                /* the chip file has the group */
    const char *name;
    int value_bits, index_bits; /* of a stored weight, and of an index; in the buffer's kind of memory */
    int mac_lanes;             /* lanes of the matrix unit that one MAC takes */
    bool follows_supply;
    double node_m;
    struct constant energy_J;  /* one MAC */
};

struct chip_spec {
    const char *name, *about;
    int costs;                   /* costs_mode */
    struct tile_spec tile;
    struct effects effects;
    int tiles_per_chip;
    bool replicate;              /* as many chips as the model needs */
    double clock_Hz;             /* of the digital units */
    struct clocks_spec clocks;   /* cost */
    struct gating_spec gating;   /* cost */
    struct hierarchy_spec hierarchy;
    struct placement_spec placement;
    double power_window_s;       /* over which a peak of power is a mean */
    double node_m;               /* cost: of the chip; 0: not stated */
    int scale_to_node;           /* cost: enum switch_names */
    struct scaling_spec scaling; /* cost */
    struct supply_spec supply;   /* cost */
    const char *analog;          /* placement rule: "all" or roles "q,k,v,o" */
    bool analog_role[MATRIX_ROLES];
    int calibration_tokens;      /* how many tokens of the calibration text */
    struct unit_spec vector, attention, matmul; /* matmul: for matrices that stay digital; an operation is a MAC */
    struct side_path_spec side_path;            /* cost */
    struct network_spec network;
    struct chip_link_spec chip_link, package_link;
    struct memory_spec kv, buffer;              /* buffer: activations, and the weights of digital matrices */
    struct dram_spec dram;
};

static inline const struct chip_link_spec *chip_link_of(const struct chip_spec *s, enum link_kind k) {
    return k == LINK_PACKAGE ? &s->package_link : &s->chip_link;
}

/* What acts: converter costs by their models, constants scaled to the chip's node and supply. */
const struct chip_spec *chip_spec_of(const struct chip *c);
/* What the file says, before that. */
const struct chip_spec *chip_given_of(const struct chip *c);

/* Every constant that acts, and every list of coefficients (its value is unused). */
void chip_visit_sourced(const struct chip *c,
                        void (*visit)(void *ctx, const char *key, const char *unit, const struct constant *k),
                        void *ctx);
/* Constants inside struct chip_spec that the file gives, each once: key, its unit, and where it stands. */
void chip_visit_given(const struct chip *c,
                      void (*visit)(void *ctx, const char *key, const char *unit, size_t offset), void *ctx);

/* Wires act that cannot be folded into a matrix: nonlinear cells, floating rows (multiply_network.c). */
bool chip_needs_network(const struct chip_spec *s);

/* ---- the tables (chip_params.c) ---------------------------------------------------------------- */

struct chip_table {
    const char *prefix; /* "tile." */
    struct param_table table;
    size_t offset;      /* of the table's struct in struct chip_spec */
    bool cost;          /* read only when the chip has costs */
    bool optional;      /* the whole group may be left out */
    const char *select_key;         /* dotted key of a choice: read only where it is `select`. NULL: always */
    size_t select_offset;           /* of that choice in struct chip_spec */
    int select;
    const char *const *select_names; /* the choices, the first is the default */
    const char *source;              /* of the equations and their defaults; NULL: none but the chip file's */
    size_t given_offset; /* of the bool that says whether it was there; then its rows are only read if so. 0: every row
                            has a default and a missing group means all defaults */
};
extern const struct chip_table chip_tables[];
extern const size_t chip_table_count;
/* Whether the chip has this group: costs, optional groups, the choice that it hangs on. */
bool chip_table_read(const struct chip_spec *spec, const struct chip_table *t);

#endif
