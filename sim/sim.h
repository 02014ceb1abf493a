/* The machine: the only header of sim/ that models/ and tools/ include.
 *
 *   chip.yaml --chip_load--> chip (immutable)
 *   chip + matrices --placement_create--> placement (immutable)
 *   placement + weights + seed + age --machine_create--> machine (programmed; immutable once its ranges are set)
 *   machine --run_create--> run (mutable: records, ledger, timeline, statistics)
 *
 * A forward pass calls, in the order of its data flow: run_begin_step; run_multiply for every analog
 * matrix; run_digital for everything that a digital unit does; run_fork/run_join around operations that
 * depend on the same inputs only; run_end_step, which schedules the step's records onto the timeline and
 * adds them to the ledger. Values never depend on the schedule.
 *
 * Shapes: T tokens, K inputs (= tile rows), O outputs (= tile columns); x [T][K] row-major fp32.
 * sim/ knows matrices, vectors and operations; it knows no token ids and no text.
 */
#ifndef MHO_SIM_SIM_H
#define MHO_SIM_SIM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/params.h"

/* ---- chip ------------------------------------------------------------------------------- */

struct chip;

/* `name`: a name of configs/chips or a path to a file (has a '/' or ends in .yaml, .yml or .json). `sets`: "key=value"
 * overrides, in order; those that name a part ("tile.cell=pcm_like") or all effects ("effects=off") act before those
 * that reach deeper. A number given for a physical constant becomes an assumed constant, source "set on the command
 * line". */
enum status chip_load(const char *name, const char *const *sets, size_t set_count, struct chip **out, struct error *e);
void chip_destroy(struct chip *c);
/* ERR_USAGE where the time model of the chip's cell does not cover this age. */
enum status chip_check_age(const struct chip *c, double age_s, struct error *e);
/* Whether values on the chip depend on the age: drift, read noise, refresh or correction. */
bool chip_ages(const struct chip *c);
const char *chip_name(const struct chip *c);
const char *chip_about(const struct chip *c);
/* Complete effective configuration; reading it back (chip_load on its dump) gives the same chip. Borrowed. */
const struct config_node *chip_config(const struct chip *c);
/* "file:line", or "--set 2", of a key of the chip, or of the nearest group above it that was given; for messages. */
const char *chip_where(const struct chip *c, const char *key, char *buffer, size_t bytes);
/* The configuration as JSON, which chip_load reads too. New reference; NULL when out of memory. */
json_t *chip_config_json(const struct chip *c);
/* Any configuration tree as JSON. New reference; NULL when out of memory. */
json_t *config_json(const struct config_node *n);
/* False for a chip that declares `costs: none`: its energies, areas and times are not known (NAN, null), not 0. */
bool chip_has_costs(const struct chip *c);
/* Processor seconds on one core of folding the wires of one tile once: by the cheapest method that the chip allows, at
 * most, and of its exact network. All 0 where wires do not act. Within a factor of 2. */
struct chip_fold_times {
    double least_s, most_s, exact_s;
};
struct chip_fold_times chip_fold_times(const struct chip *c, uint32_t inputs, uint32_t outputs);
uint64_t chip_hash(const struct chip *c);
/* Every effect that exists, with its state. */
size_t chip_effect_count(void);
const char *chip_effect_name(size_t i);
const char *chip_effect_help(size_t i);
bool chip_effect_on(const struct chip *c, size_t i);
/* The effect that is off in this chip and alone would read the key of "key=value"; NULL: none. */
const char *chip_idle_effect(const struct chip *c, const char *set);
/* The circuit of its output converters, for the test bench of devices/adc.h. Borrowed. */
struct adc;
const struct adc *chip_adc(const struct chip *c);
uint32_t chip_calibration_tokens(const struct chip *c); /* how much of the calibration text it wants */
/* Names in configs/chips, sorted; the list ends with NULL; borrowed for the life of the process. */
enum status chip_catalogue(const char *const **names, struct error *e);
/* Every group of keys of a chip file, from the tables that read it: those of the chip, of each cell model, of the
 * optional groups of a cell, of the circuits of DAC and ADC. */
struct chip_keys {
    const char *title;                   /* "tile", "cell model pcm_like" */
    const char *about, *source, *status; /* of a model or group; "" where there is none to tell */
    const char *prefix;                  /* before the keys: "tile." */
    bool cost;                           /* `costs: none` leaves the group out */
    bool optional;                       /* may be left out as a whole */
    const struct param_table *table;
};
void chip_visit_keys(void (*visit)(void *ctx, const struct chip_keys *keys), void *ctx);
/* `mho chip params`: every key with unit, range, default or required, meaning, source; the same as a page of Markdown.
 * `mho chip check` = chip_load + chip_visit_constants. */
void chip_params_help(FILE *out);
void chip_params_markdown(FILE *out);
/* The same, row by row: the row's key stands below `prefix` ("tile."); `table` names the group; cost: one of the rows
 * that `costs: none` leaves out. The keys of every cell model come after those of the chip, table = "cell model NAME",
 * then those of every converter circuit, table = "DAC circuit NAME", "ADC circuit NAME". */
void chip_visit_params(void (*visit)(void *ctx, const char *table, const char *prefix, bool cost,
                                     const struct param *row),
                       void *ctx);
/* What goes together, tried on a small chip that has it all (16 x 8 tiles, cells of phase-change memory); the answer is
 * that of chip_load. Every effect with every encoding, input coding and ADC circuit, inputs bipolar, passes added after
 * the ADC; every effect with every encoding and the other ways to drive signs and add passes, on ramp ADCs; every DAC
 * circuit with every way to drive, on differential pairs. */
struct support_cell {
    const char *effect, *encoding, *coding, *converter;
    const char *sign, *accumulate; /* of the inputs */
    const char *circuit;           /* of the DAC */
    const struct chip *chip; /* all effects but `effect`, dac, adc and adc_errors are off; NULL: refused; borrowed */
    const char *reason;      /* why it is refused: "key: why (allowed: ...)" */
};
enum status chip_visit_support(enum status (*visit)(void *ctx, const struct support_cell *cell, struct error *e),
                               void *ctx, struct error *e);
/* Calls visit for every constant. `unit` is the one that the key ends in; k->value is SI (divide by unit_factor to show
 * it). */
void chip_visit_constants(const struct chip *c,
                          void (*visit)(void *ctx, const char *key, const char *unit, const struct constant *k),
                          void *ctx);
/* Costs that act and are not those of the file: constants scaled to node or supply, converters by their cost models.
 * SI; `why`: the source with what was done, or the model. Nothing for a chip that changes none. */
void chip_visit_acting(const struct chip *c,
                       void (*visit)(void *ctx, const char *key, const char *unit, double value, const char *why),
                       void *ctx);

/* ---- matrices and placement ---------------------------------------------------------------- */

enum matrix_role {
    MATRIX_Q, MATRIX_K, MATRIX_V, MATRIX_O, MATRIX_GATE, MATRIX_UP, MATRIX_DOWN,
    MATRIX_QKV, MATRIX_GATE_UP, /* fused */
    MATRIX_HEAD, MATRIX_ROLES
};
const char *matrix_role_name(enum matrix_role r); /* "q", "k", ... "head" */

/* What of a matrix stays digital: whole inputs ("channels"), and single weights. y = tiles(x without the channels, W
 * without the listed weights) + sum over both of x W in fp32. Both lists rise strictly (weights: within an output), are
 * below `inputs`, and have nothing in common. On the tiles the target of both is 0; scales and ranges are those of what
 * remains. */
struct side_path {
    const uint32_t *channels; /* [channel_count] inputs that the tiles never see */
    uint32_t channel_count;
    const uint32_t *weight_begin;  /* [outputs + 1] where the listed weights of an output begin; NULL: none */
    const uint32_t *weight_inputs; /* [weight_begin[outputs]] their inputs */
};

struct matrix_source {
    const char *name;          /* unique: "layers.3.q" */
    int layer;                 /* -1: not in a layer (head) */
    enum matrix_role role;
    uint32_t inputs, outputs;  /* K, O */
    /* Weights of outputs [first, first+count) as fp32, row-major [count][inputs]; thread-safe. */
    enum status (*read_rows)(void *context, uint32_t first, uint32_t count, float *rows, struct error *e);
    void *context;
    const float *input_range; /* static ranges that the model brings: one per row block or one for all (count below);
                                 NULL: none */
    uint32_t input_range_count;
    const struct side_path *side; /* NULL: none */
    /* Both [row blocks][outputs] of the chip's tiles, or NULL; with tile.scale per_column only. The |w| that full-scale
     * conductance stands for: larger weights are clipped to it. Full scale of the ADC in units of the weights: result /
     * input range. */
    const float *weight_scale, *adc_range;
    size_t scale_count, adc_range_count;
    /* Devices in parallel per leg and slice of every weight of this matrix, 1 to DEVICES_MOST, in the place of
     * tile.devices; 0: as the chip says. The unit cells of its tiles then have that many devices on one crossing: their
     * errors average out (n independent ones: variance 1 / n), while the area of the cells, the current that they draw
     * and the writes grow with n. Tiles, converters and times of a multiply stay. */
    uint32_t devices;
};
enum { DEVICES_MOST = 8 };

/* The side path that the chip asks for by placement.digital_channels and placement.digital_weights:
 *   channels  so many inputs with the largest `largest` [inputs], ties: the first ones
 *   weights   of every column of a tile the round(share x its inputs) largest |w| beside the channels, ties: the first
 * largest: largest |x| of every input over a text; may be NULL where no channels are asked for. *out: one block of
 * memory for side_path_destroy; NULL where the chip asks for nothing. Reads every weight once, on all threads. */
enum status side_path_choose(const struct chip *c, const struct matrix_source *m, const float *largest,
                             struct side_path **out, struct error *e);
void side_path_destroy(struct side_path *s); /* of side_path_choose; NULL is fine */
/* What the chip asks for: 0 for nothing. */
uint32_t chip_digital_channels(const struct chip *c);
double chip_digital_weights(const struct chip *c);

/* What training must know of a chip. ERR_USAGE for one that it cannot follow: several slices per weight, scales per
 * tile, calibrated ADC limits. (training.c) */
struct chip_training {
    uint32_t tile_rows;
    bool inputs_per_token;          /* the input range is the token's largest; else static */
    uint32_t dac_steps, adc_steps;  /* codes of one sign; 0: the effect is off */
    double adc_bound;               /* limit of a result / (input range x max |w| of the column) */
};
enum status chip_training(const struct chip *c, struct chip_training *out, struct error *e);
/* sd [nodes]: standard deviation of the noise that programming leaves on a weight, |w| = i / (nodes - 1) of the
 * column's largest, in units of it; 0 where the chip has no programming noise. */
enum status chip_weight_noise(const struct chip *c, float *sd, size_t nodes, struct error *e);
/* Variance of that noise with so many devices per weight (struct matrix_source), in units of that with the chip's own
 * number; 1 for 0. */
double chip_noise_share(const struct chip *c, uint32_t devices);
/* Row blocks of a matrix on this chip; first input of a block (block = their number: `inputs`). */
uint32_t chip_row_blocks(const struct chip *c, uint32_t inputs);
uint32_t chip_row_begin(const struct chip *c, uint32_t inputs, uint32_t block);
/* Whether its rule makes matrices of this role analog. */
bool chip_is_analog(const struct chip *c, enum matrix_role role);

struct placement;
/* Cuts every matrix that the chip's rule makes analog into tiles. Does not keep `m`. Fails when the chip may not be
 * replicated and is too small. */
enum status placement_create(const struct chip *c, const struct matrix_source *m, size_t count, struct placement **out,
                             struct error *e);
void placement_destroy(struct placement *p);

struct placement_matrix {
    const char *name;
    int layer;
    enum matrix_role role;
    uint32_t inputs, outputs, row_blocks, column_blocks, tiles; /* tiles: of one copy */
    uint32_t copies;
    double utilisation;
    bool analog;
    /* Of its side path, or of the one that the chip asks for where the source brings none. */
    uint32_t digital_channels;
    uint64_t listed_weights; /* digital weights outside the channels */
    uint32_t devices;        /* in parallel per leg and slice of a weight; 0: not analog */
};
/* MACs of its side path for one token: channels x outputs + listed weights. */
uint64_t placement_side_macs(const struct placement_matrix *m);
/* Joules that its side path takes for one token in a step of its own, as the ledger counts them: MACs, stored bits and
 * results moved, additions, less the DAC conversions of the channels. Not in it: what the array draws less, and
 * leakage, of longer steps too. NAN for a chip without costs for it. */
double placement_side_J(const struct chip *c, const struct placement_matrix *m);
struct placement_total {
    uint64_t tiles, chips, cells_used, cells; /* tiles: of one copy of every matrix */
    uint64_t stacks; /* with copies; tiers on top of each other are one */
    double utilisation;
    double bit_hops_in_order, bit_hops; /* per token over the networks of the chips, with placement.strategy
                                           fewest_hops; else NAN */
    uint64_t analog_weights, digital_weights; /* of matrices on tiles (side paths included), of the others */
    uint64_t side_macs; /* per token, of all side paths */
    double digital_share; /* side_macs / analog_weights; 0 without analog matrices */
    uint64_t side_bits; /* of the stored side paths: weights and indices; 0 for a chip without costs */
    double more_arrays; /* cells that matrices with other numbers of devices than tile.devices have more, copies
                           counted, in arrays of a tile */
};
size_t placement_matrices(const struct placement *p);
struct placement_matrix placement_matrix_at(const struct placement *p, size_t i); /* same order as given */
struct placement_total placement_total(const struct placement *p);
/* One line about what the search for fewest hops found; nothing where there was none. */
void placement_print_hops(const struct placement_total *p, FILE *out);
/* Bytes that a machine of this placement keeps, about: 2 per analog weight (4 where inputs are not quantised, 6 with
 * white noise), and some per column. */
uint64_t placement_machine_bytes(const struct chip *c, const struct placement *p);

/* ---- machine ------------------------------------------------------------------------------- */

/* A row block whose inputs, and a column whose weights, are all smaller than this in size counts as 0: the inverse of
 * its scale must stay finite. */
#define SMALLEST_RANGE 1e-36f

struct machine;
struct machine_options { uint64_t seed; double age_s; }; /* age: after the end of programming */
/* Programs every analog matrix: reads each weight once, keeps 2 bytes per weight (4 where the inputs are not
 * quantised). Shows progress. Chip, placement, and the names, contexts, ranges and scales of `m` must outlive the
 * machine; side paths are copied. ERR_USAGE where the chip asks for side paths and a source brings none. */
enum status machine_create(const struct chip *c, const struct placement *p, const struct matrix_source *m, size_t count,
                           const struct machine_options *o, struct machine **out, struct error *e);
void machine_destroy(struct machine *m);
bool machine_is_analog(const struct machine *m, size_t matrix);

/* Whether ranges are still missing: multiplies fail until a calibration is finished. */
bool machine_needs_calibration(const struct machine *m);
/* Whether the chip wants static input ranges and some matrix brings none: known to ruin a model that was not
 * adapted. */
bool machine_static_without_ranges(const struct machine *m);
/* Calibration: while open, multiplies (of one run at a time) have no ADC limits, quantise inputs per token where no
 * static range is known, and record statistics of inputs and of the results of every column. `finish` sets the ranges;
 * the machine is immutable after. An analog matrix that saw no token is an error of `finish`. */
enum status machine_calibration_begin(struct machine *m, struct error *e);
enum status machine_calibration_finish(struct machine *m, struct error *e);

/* How far sampled devices are from their targets after programming (faults, drift and read noise apart), in units of
 * the span g_max - g_min of a device. */
enum { ERROR_TARGET_BINS = 10, ERROR_BINS = 100 };
#define ERROR_LIMIT 0.25 /* the histogram's bins cut -0.25 to 0.25 into equal parts */
struct error_moments {
    uint64_t count;
    double mean, sd; /* NAN: not enough devices */
};
struct programming_error {
    struct error_moments all, target[ERROR_TARGET_BINS]; /* target: by |target|, equal parts of the span */
    uint64_t histogram[ERROR_BINS], below, above;
};

/* What programming took and reached; NAN where the cell's part does not say (never 0). */
struct machine_programming {
    uint64_t devices, pulses, verify_reads, failed;
    double seconds, joules;      /* tiles side by side; in a tile, tile.program_parallel devices at a time */
    double endurance_used;       /* share of a device's endurance: mean pulses per device x programmings */
    uint64_t programmings;       /* 1 + refreshes up to the machine's age */
    struct programming_error error; /* of the last programming */
};
struct machine_programming machine_programming(const struct machine *m);

/* Folding of wires: what was used, and its error measured against the exact network on sampled tiles. */
struct machine_wires {
    bool act;
    uint64_t tiles, product, corrected, exact; /* tiles folded by each method */
    double largest_estimate, mean_loss;        /* relative to full scale; 1 - sum E / sum G */
    uint64_t measured_tiles, measured_columns; /* tiles: the largest estimate of each method, and two by the seed */
    double measured_error;                     /* largest, relative to full scale */
    double settling_s;                         /* slowest measured column; NAN: capacitance not known */
};
struct machine_wires machine_wires(const struct machine *m);

struct machine_faults {
    uint64_t stuck, dead_rows, dead_columns, repaired_rows, repaired_columns, stuck_left, dead_rows_left,
        dead_columns_left;
};
struct machine_faults machine_faults(const struct machine *m);
/* The first lines, in the order of tiles, rows, columns, that were moved to spares; and those that have faults after
 * that (a row: only if it is dead). Numbers count from 0; columns are physical ones, spares are counted on their
 * own. */
enum { FAULT_LINES_MOST = 64 };
struct machine_fault_line {
    uint64_t tile; /* in the order of placement */
    bool row, moved, dead;
    uint32_t line, spare; /* spare: where it was moved to, if it was */
    uint64_t stuck;       /* devices left on it; of a column: on rows that are not dead, and the other way round */
};
struct machine_fault_list {
    struct machine_fault_line lines[FAULT_LINES_MOST];
    uint64_t total; /* may be more than are listed */
};
void machine_fault_lists(const struct machine *m, struct machine_fault_list *moved, struct machine_fault_list *left);

/* What tiles did for their own correction, beside the model's work: multiplies of one tile, and what they took; NAN for
 * a chip without costs. Tiles work side by side. */
struct machine_calibration {
    uint64_t corrections;     /* how often the affine correction was fitted, up to the machine's age */
    uint64_t correction_mvms; /* its test vectors */
    /* Of the fit in use: columns of tiles with and without a correction (no fit was better than none); results of test
     * vectors, and those that were left out because a conversion saturated. */
    uint64_t columns_corrected, columns_left, test_results, test_results_clipped;
    uint64_t readout_mvms;    /* of the drift compensation, one per input and readout: reference, then on schedule */
    double seconds, joules;
};
struct machine_calibration machine_calibration(const struct machine *m);

/* The same as in the report of a run, for `mho tile`: new references; wires: null where none act. */
json_t *machine_programming_json(const struct machine *m);
json_t *machine_wires_json(const struct machine *m);
json_t *machine_faults_json(const struct machine *m);
json_t *machine_calibration_json(const struct machine *m);
/* What the text report of a run says of them, one line each: programming; wires, faults, the affine
 * correction and what compensation and correction took, where there are any. */
void machine_report_print(const struct machine *m, FILE *out);

/* Every stage of a multiply, for `mho tile`: called with n values of one token on one row block. Names: "input",
 * "input_codes", "pass" (levels driven, one per pass), "column_current_uA" (per pass and line), "adc_codes", "output".
 * index: pass x lines + line, or 0. */
struct stage_visitor {
    void (*visit)(void *context, const char *stage, uint32_t token, uint32_t row_block, uint32_t index,
                  const double *values, size_t n);
    void *context;
};
/* The plain reference (double precision) of run_multiply with its stages; trace may be NULL. */
enum status machine_trace(const struct machine *m, size_t matrix, const float *x, uint32_t tokens, uint64_t first_read,
                          const struct stage_visitor *trace, double *y, struct error *e);
/* The conductances of one tile: crossing_S, effective_S [physical columns][rows] (mem_free both). */
struct tile_conductances {
    uint32_t rows, physical_columns, outputs, columns_per_output;
    float *crossing_S, *effective_S;
};
enum status machine_tile_conductances(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                      struct tile_conductances *out, struct error *e);
/* The same before age, faults and wires act: what every crossing was asked for, or (errors) what its programming left
 * there. Both fields of *out hold it. */
enum status machine_tile_programmed(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                    bool errors, struct tile_conductances *out, struct error *e);

/* One tile against the exact network of its wires, on the conductances as programmed: `mho tile --exact`. Needs a chip
 * with costs (read voltage, pulse) and wires. floating: rows whose level is 0 float instead of being held at 0 V. */
struct tile_network;
enum status tile_network_create(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                bool floating, struct tile_network **out, struct error *e);
void tile_network_destroy(struct tile_network *n); /* NULL is fine */
struct tile_read {
    uint32_t rows, physical_columns, columns_per_output;
    const double *folded_A, *exact_A; /* [physical columns] mean current of the pass; until the next read */
    double folded_J, exact_J;         /* of the array: folded conductances; what the sources deliver, wires included */
    double settling_s, pass_s;        /* slowest column, NAN: its capacitance is not stated; length of the pass */
    uint32_t solutions, iterations;   /* solutions of the network, Newton iterations in them */
};
/* level [rows]: what a pass drives ("pass" of the trace). */
enum status tile_network_read(struct tile_network *n, const double *level, struct tile_read *out, struct error *e);
/* Netlist of the linear network with the mean voltages of such a pass and the currents expected. */
enum status tile_network_spice(struct tile_network *n, const double *level, FILE *out, struct error *e);

/* ---- run ----------------------------------------------------------------------------------- */

struct run;
/* max_tokens: the largest step (T). All memory is allocated here; multiplies allocate nothing. */
enum status run_create(struct machine *m, uint32_t max_tokens, struct run **out, struct error *e);
/* The same without a timeline, for calibration and comparison: times are NAN, and so is static energy. */
enum status run_create_values(struct machine *m, uint32_t max_tokens, struct run **out, struct error *e);
/* What the energy of a multiply needs to know about data, as means over a real run. */
struct activity {
    double array_S_per_weight[MATRIX_ROLES]; /* |input| / full scale x conductance of all devices of a weight, per
                                                token; NAN: no matrix of this role was measured */
    double repeated_blocks, repeated_rounds; /* of the bound management: per token and row block; per token */
    uint64_t tokens;                         /* measured */
    const char *source;                      /* where it was measured; borrowed */
};
struct activity run_activity(const struct run *r);
/* A run without a machine and without values: run_multiply takes x = y = NULL and counts what `a` says; a role that was
 * not measured takes the mean over all weights that were. Chip, placement and a->source must outlive the run. */
enum status run_create_shapes(const struct chip *c, const struct placement *p, const struct activity *a,
                              uint32_t max_tokens, struct run **out, struct error *e);
/* NULL for a run with a machine. */
const struct activity *run_shapes_activity(const struct run *r);
bool run_is_analog(const struct run *r, size_t matrix); /* whether run_multiply takes it */
void run_destroy(struct run *r);
const struct machine *run_machine(const struct run *r); /* borrowed; NULL: it has none */
void run_reset(struct run *r); /* as created: forgets records, ledger, timeline, running means of inputs */
/* The same, and noise of reads goes on as in a run that took `first_read` tokens before: a part of a long evaluation
 * gives the same on its own. */
void run_restart(struct run *r, uint64_t first_read);

enum digital_op {
    OP_EMBED,      /* elements = hidden: table look-up */
    OP_NORM,       /* elements = width */
    OP_ROPE,       /* elements = rotated values */
    OP_ATTENTION,  /* uses the attention_* fields */
    OP_ACTIVATION, /* elements = width (SiLU/GELU and product) */
    OP_RESIDUAL,   /* elements = hidden */
    OP_BIAS,       /* elements = outputs */
    OP_SAMPLE,     /* elements = vocabulary */
    OP_MATMUL,     /* elements = inputs x outputs: a matrix that stays digital */
    OP_KINDS
};

struct digital_record {
    enum digital_op op;
    int layer; /* -1 none */
    uint32_t tokens;
    uint64_t elements; /* per token */
    /* OP_ATTENTION: token t (0..tokens-1) of the step sees keys max(0, first+t+1-window) .. first+t */
    uint32_t first_position, window /* 0 = none */, heads, kv_heads, head_dim;
};

void run_begin_step(struct run *r, uint32_t tokens);
/* y [T][O] = analog product of matrix `matrix` (index as given to placement_create) with x [T][K]. Without bias. */
enum status run_multiply(struct run *r, size_t matrix, const float *x, uint32_t tokens, float *y, struct error *e);
void run_digital(struct run *r, const struct digital_record *d);
void run_fork(struct run *r); /* operations until run_join start from the same inputs */
void run_join(struct run *r);
/* Ends the step: schedules, adds up. Returns the simulated time at which its last result is there (s from run start);
 * NAN for a chip without costs. A step starts when the one before it has finished. */
double run_end_step(struct run *r);
double run_step_start_s(const struct run *r); /* of the last step */

/* Several sequences at the same time, each on a stream of its own: 0 .. streams - 1. Before the first step. A step then
 * belongs to the stream that run_stream selected; it starts when the one before it on this stream has finished, not
 * before the given time (s from run start), and shares the machine with the steps of other streams: who is ready first
 * goes first, ties by stream, then by operation. run_end_step only hands the step over and returns NAN; run_wait
 * goes on until a stream has nothing left to do. Memory is reserved for one step per stream at a time. */
enum status run_streams(struct run *r, uint32_t streams, struct error *e);
void run_stream(struct run *r, uint32_t stream, double not_before_s);
/* Memory for the keys and values of one layer: its share of the KV memory of its chip, and of the DRAM beside it. */
struct kv_room {
    uint64_t bits, dram_bits; /* dram_bits: 0 without one */
    uint32_t value_bits;      /* of one number */
};
struct kv_room run_kv_room(const struct run *r, uint32_t layer);
/* The selected stream works on this request from now on; what it held of keys and values before is given up. */
void run_request(struct run *r, uint64_t request);
/* The request of this stream is over: its keys and values are given up. */
void run_request_end(struct run *r, uint32_t stream);
/* How much of `bits` the selected stream may use in its next steps; else it uses all, as if it were alone. */
void run_stream_kv(struct run *r, uint32_t layer, uint64_t bits);
struct run_finished {
    bool idle; /* no stream has anything to do; the rest is not set */
    uint32_t stream;
    double end_s;
};
enum status run_wait(struct run *r, struct run_finished *out, struct error *e);

/* ---- results ------------------------------------------------------------------------------- */

enum component {
    PART_DAC, PART_ARRAY, PART_SAMPLING, PART_ADC, PART_DIGITAL_POST, /* the tiles */
    PART_VECTOR, PART_ATTENTION, PART_KV_MEMORY, PART_BUFFER, PART_DIGITAL_MATMUL,
    PART_NETWORK, PART_CHIP_LINK, PART_PACKAGE_LINK, PART_DRAM, /* only where the chip has them */
    PART_MAINTENANCE, /* refresh, correction, readouts that fell due in the run; listed only where some did */
    PART_STATIC, PART_COUNT
};
const char *component_name(enum component c);
/* False for links and off-chip memory that a chip does not have: what they would cost is not known, and not in the
 * sums. */
bool component_given(const struct chip *c, enum component part);

struct ledger_view {
    double energy_J[PART_COUNT];
    uint64_t count[PART_COUNT]; /* conversions, MVMs, operations, bits: see component_count_unit */
    double total_J, makespan_s;
    uint64_t mvm, macs, converted_adc, converted_dac; /* everything that was done */
    /* Conversions beyond the range, and of how many: those that count for the results (no repeats, no passes of the
     * DAC). */
    uint64_t saturated_adc, results_adc, clipped_dac, inputs_dac;
    size_t layers;              /* rows of by_layer: layers of the model + 1 (everything outside a layer, last) */
};
const char *component_count_unit(enum component c);
/* False for maintenance in a run that had none. */
bool component_listed(const struct ledger_view *v, enum component part);
struct ledger_view run_ledger(const struct run *r);
double run_layer_energy_J(const struct run *r, size_t layer); /* by_layer row */
struct area_view { double part_mm2[PART_COUNT]; double total_mm2; };
struct area_view placement_area(const struct chip *c, const struct placement *p);
/* Power of all chips; NAN for a chip without costs, before the first step, and where part of the events is not
 * known. */
struct power_view {
    double mean_W, idle_W;   /* total over makespan; of everything idle */
    double peak_W, peak_s;   /* largest mean over a window, and when that window ends */
    double window_s;         /* power_window_us, or the makespan if that is shorter */
    double over_time_J;      /* integral of power over time: the total again */
};
struct power_view run_power(const struct run *r);
/* The course of a run, for reports and traces; nothing of it for a chip without costs. */
enum { RUN_CLASSES_MOST = 16 };
size_t run_classes(void); /* of resources: tiles, vector, ... */
const char *run_class_name(size_t c);
struct run_step {
    uint64_t number, tokens_before; /* from 0; tokens of its request that went through the model before it */
    uint64_t request;               /* run_request; 0 without streams */
    uint32_t tokens;
    double start_s, end_s, energy_J; /* static power over its length included */
    double kv_bits;                  /* in the cache at its end */
    double critical_s[RUN_CLASSES_MOST];
};
size_t run_step_count(const struct run *r); /* at most some 1,000, evenly over the run; in the order of their ends */
struct run_step run_step_at(const struct run *r, size_t i);

/* All resources of a class. With streams: where the time of steps went, each followed back from its last result to its
 * release; `path_work_s` was spent on work of the class, `path_wait_s` waiting for it (both: sums over steps). */
struct run_class_load {
    double busy_s, wait_s, path_work_s, path_wait_s;
    double busiest; /* largest share of the makespan that one resource worked */
    uint64_t events;
};
struct run_class_load run_class_load(const struct run *r, size_t c);

struct run_resource {
    size_t class;
    const char *matrix; /* whose tiles these are, or "" */
    uint64_t chip, events;
    uint32_t servers; /* so many events at a time: copies of a matrix, units of a pool */
    double busy_s, wait_s, critical_s, utilisation;
};
size_t run_resource_count(const struct run *r);
struct run_resource run_resource_at(const struct run *r, size_t i);

/* What a resource did for one token. Events come step by step, in a step in no particular order; with streams in the
 * order of their starts. */
struct run_event {
    size_t resource;
    const char *operation; /* role of a matrix ("q"), or "norm", "attention", ... */
    int layer;             /* -1: outside the layers */
    uint64_t step, request; /* request: 0 without streams */
    uint32_t token;         /* of the step */
    double start_s, hold_s, latency_s;
    double convert_start_s, convert_s; /* of multiplies on tiles: first conversion to end of last; else NAN */
    bool maintenance; /* before the operations of the step: "refresh", "correction", "readout" */
};
/* Before the run: keeps events until there are `most`; the rest is counted. Without this call none are kept. */
enum status run_keep_events(struct run *r, size_t most, struct error *e);
size_t run_event_count(const struct run *r);
struct run_event run_event_at(const struct run *r, size_t i);
uint64_t run_events_left_out(const struct run *r);
/* All events of the last step, kept or not. */
size_t run_last_event_count(const struct run *r);
struct run_event run_last_event_at(const struct run *r, size_t i);

/* energy, area, mapping, utilisation and convention lines as JSON objects with the keys of design section 6; owned by
 * the caller. */
json_t *run_report_json(const struct run *r);
/* One screen for a terminal of that many columns (at least 60): energy, time and area by component, with bars where 80
 * columns allow, what bounds the time, the top assumptions, notes about what is not modelled. */
void run_report_print(const struct run *r, int columns, FILE *out);

/* ---- validation ----------------------------------------------------------------------------- */

/* configs/validation/NAME.yaml: what a paper published about a chip of the catalogue, beside what the machine says.
 * The rules that keep the comparison honest are in validation_rules.c; a file that breaks one does not load. */
enum point_role {
    ROLE_PREDICTED, /* no constant was fitted to it, and it follows from no other point by arithmetic */
    ROLE_FITTED,    /* `constants` were chosen so that it comes out */
    ROLE_DERIVED,   /* the arithmetic of other points of the chip: shown, not counted */
    POINT_ROLES
};
const char *point_role_name(enum point_role r);

struct validation_point {
    const char *quantity, *component, *unit; /* component: part of the boundary that is meant; "" the whole */
    double published, simulated, error;      /* simulated, error = simulated / published - 1: NAN before the run */
    enum point_role role;
    const char *source, *why;                /* why: reason of an error that is left; "" none */
    const char *const *sets, *const *constants; /* settings of the point; fitted constants */
    size_t set_count, constant_count;
    int operations_per_mac, input_bits, output_bits; /* bits: 0 before the run */
    const char *boundary;                            /* components that the number contains: "array + adc" */
};
struct validation_count {
    size_t points, predicted, fitted, derived, constants; /* points = predicted + fitted; constants that were fitted */
    size_t within;                                        /* points off by at most VALIDATION_GOAL */
    double worst; /* largest |error| of a point; 0 without points, NAN before the run */
};
#define VALIDATION_GOAL 0.1

struct validation;
/* `name`: of configs/validation, or a path as in chip_load. */
enum status validation_load(const char *name, struct validation **out, struct error *e);
void validation_destroy(struct validation *v); /* NULL is fine */
/* Simulates every point; about a tenth of a second. */
enum status validation_run(struct validation *v, struct error *e);
const char *validation_chip(const struct validation *v);
const char *validation_about(const struct validation *v);
/* "dac + array + adc, 2 operations per MAC": what the whole is, for reports. */
const char *validation_boundary(const struct validation *v);
/* What the short names of sources stand for: "paper2023", "authors, title, ...". */
struct validation_source {
    const char *key, *text;
};
size_t validation_sources(const struct validation *v);
struct validation_source validation_source_at(const struct validation *v, size_t i);
size_t validation_points(const struct validation *v);
struct validation_point validation_point_at(const struct validation *v, size_t i);
struct validation_count validation_count(const struct validation *v);
/* As chip_catalogue, of configs/validation. */
enum status validation_catalogue(const char *const **names, struct error *e);

/* ---- speed of the simulator itself ------------------------------------------------------------ */

/* For `mho bench`: schedules the events of a prefill and a decode on thousands of tiles, with or without a log of them;
 * *events = how many. */
enum status engine_speed(bool log, uint64_t *events, struct error *e);

#endif
