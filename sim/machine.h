/* Private to sim/: the programmed machine, and the multiply that works on it.
 *
 * For run.c: machine_multiply computes values and fills one multiply_record; run_multiply keeps the record. The
 * scratch of a run is made once (multiply_scratch_create), so that a multiply allocates nothing.
 *
 * A matrix [outputs][inputs] becomes one `struct array`: its blocks of inputs ("row blocks") one after the other, its
 * outputs side by side in panels of PANEL = 16. Tile boundaries between outputs only matter where something is common
 * to a tile (scale, compensation, ADC range), so panels run across them.
 *
 *      panel 0           panel 1
 *      16 outputs        16 outputs
 *    +--------------+  +--------------+
 *    | row block 0  |  |              |   inputs 0 .. of tile row 0, padded to an even count
 *    +--------------+  +--------------+
 *    | row block 1  |  |              |
 *    +--------------+  +--------------+
 *
 * Values are stored as effective weights: what the conductances say, in units of the weights. Where inputs are
 * quantised to 10 bits or less, they are int16 codes with one scale per column and row block (error <= half a code of
 * 2^15; the code range shrinks where the sum of a column could leave int32); else they are fp32.
 */
#ifndef MHO_SIM_MACHINE_H
#define MHO_SIM_MACHINE_H

#include "base/kernels.h"
#include "sim/blocks.h"
#include "sim/chip.h"
#include "sim/encoding.h"
#include "sim/faults.h"
#include "sim/maintenance.h"
#include "sim/passes.h"
#include "sim/phenomena.h"
#include "sim/programming_error.h"
#include "sim/record.h"
#include "sim/sim.h"

/* ---- for run.c --------------------------------------------------------------------------- */

/* Borrowed; chip and placement must outlive the machine. */
const struct chip *machine_chip(const struct machine *m);
const struct placement *machine_placement(const struct machine *m);

/* Working memory of multiplies of at most max_tokens tokens, any matrix of `m`. NULL when out of memory. */
struct multiply_scratch;
struct multiply_scratch *multiply_scratch_create(const struct machine *m, uint32_t max_tokens);
void multiply_scratch_destroy(struct multiply_scratch *s); /* NULL is fine */
/* Forgets the running means of the noise management, the only thing that one multiply leaves to the next. */
void multiply_scratch_reset(struct multiply_scratch *s);

/* The values of run_multiply (sim.h): y [tokens][outputs]. first_read: number of the first token's read since the run
 * began; with the seed it fixes all noise that changes from read to read. Errors (ERR_RUN): inputs that are not finite;
 * ranges that are not set (calibrate first). ERR_USAGE: a matrix that is not analog, more tokens than the scratch
 * holds. Writes to `m` only while its calibration is open. */
enum status machine_multiply(struct machine *m, size_t matrix, const float *x, uint32_t tokens, uint64_t first_read,
                             struct multiply_scratch *s, float *y, struct multiply_record *record, struct error *e);

/* The same in plain double precision with the same random numbers, written as the design says it: what tests hold the
 * fast path against. */
enum status machine_multiply_reference(const struct machine *m, size_t matrix, const float *x, uint32_t tokens,
                                       uint64_t first_read, const struct stage_visitor *trace, double *y,
                                       struct error *e);

/* ---- shared by machine.c, multiply.c, multiply_reference.c, calibrate.c ---------------------- */

enum { ROUNDS_MOST = 32 }; /* of the bound management: repeats of one read */

/* The quantile rule counts |x| in bins of 1/32 octave from 2^-32 to 2^32, so a quantile is at most 2.2 % too large. */
enum { BINS_PER_OCTAVE = 32, BIN_OCTAVES = 64, RANGE_BINS = BINS_PER_OCTAVE * BIN_OCTAVES };

/* Results of a column: 1/8 octave from 2^-12 to 2^4 of its weight scale x input range; at most 9 % too large. */
enum { OUTPUT_BINS_PER_OCTAVE = 8, OUTPUT_LOWEST = -12, OUTPUT_BINS = 16 * OUTPUT_BINS_PER_OCTAVE };

struct input_statistics {
    double sum, sum_of_squares;
    uint64_t count;
    float largest;
    uint64_t bins[RANGE_BINS];
};

struct side_values; /* side_path.h */

/* How the variance of white noise is summed over the rows of a panel. */
enum noise_sum {
    NOISE_ALIKE, /* not at all: all weights of a column have the same */
    NOISE_DRAWN, /* drawn rows */
    NOISE_FULL,  /* all rows: where a few weights have most of the noise, or rows are few */
};

struct array {
    struct matrix_source source;
    struct side_values *side; /* what stays digital; NULL: nothing */
    uint32_t inputs, outputs, row_blocks, column_blocks, panels;
    uint32_t columns;     /* panels x PANEL: outputs padded */
    uint64_t first_tile;  /* number of its first tile in the order of placement */
    uint32_t devices;     /* in parallel per leg and slice of a weight: of the source, or tile.devices */
    uint32_t lines;       /* results per output that are converted on their own (sim/encoding.h); 1: the simple case */
    uint32_t row_stride;  /* inputs with every row block padded to an even count */
    uint32_t *row_begin;  /* [row_blocks + 1] first input of a row block */
    uint32_t *row_offset; /* [row_blocks + 1] the same in the padded layout */

    /* Exactly one of codes and weights. Line l of panel p begins at element (l x panels + p) x row_stride x PANEL. */
    int16_t *codes;  /* [lines][panels][row_stride x PANEL] in the layout of mac_i16, or NULL; within codes_room */
    int16_t *codes_room;
    float *weights;  /* [lines][panels][row_stride x PANEL] k-major, or NULL */
    /* White read noise, where the cell has it and read_noise is on. fp32 panels: variance of each effective weight as a
     * byte and factors per line, row block and column, as noise_sd wants them (array_variances, array_spread_factors).
     * Integer panels: per row block and column the variance of an effective weight as a polynomial of |code|, fitted
     * to its devices so that the column's sum is right: where they differ at the same code it knows their mean. */
    int8_t *variances;     /* [lines][panels][variance_stride x PANEL], or NULL */
    float *spread_factors; /* beside it: [row_blocks][lines][panels][3 x PANEL] */
    int16_t *noise;       /* as mac_i16_noise wants it, [row_blocks][panels][4 x PANEL], or NULL */
    float *noise_factors; /* beside it: [row_blocks][panels][3 x PANEL] */
    uint8_t *square_law;  /* [row_blocks][panels] whether all variances of the panel are h(c,c) >> 8 (kernels.h) */
    /* Where there is white noise: sums over drawn rows (base/drawn_noise.c), unless noise_sum says otherwise.
     * strips: bytes per line, four panels and row block, array_strip; NULL: none is drawn, or they are from the codes,
     * where these say their variances well enough, which misfit decides once all are stored. */
    uint8_t *strips;
    float *drawn_factors; /* per line, four panels and row block, array_drawn_factors */
    float *scatter;       /* [row_blocks][lines][columns] variance_scatter */
    float *misfit;        /* [row_blocks][columns] law_misfit; NULL but while programming codes */
    uint8_t *noise_sum;   /* [row_blocks][lines][panels] enum noise_sum */
    uint32_t draws;       /* rows per sum; 0: none is drawn */
    bool full_sums, some_alike; /* some panels have them, are it */
    float *row_S;    /* [inputs] conductance on each input, all columns and devices */
    /* [inputs] What a row gives to other rows of its tiles; row_S and that (row_currents.h). NULL: wires do not act */
    float *between_S, *source_S;
    float *crossings; /* where wires cannot be folded: conductances before them (multiply_network.c), else NULL */

    /* Per row block, line and output: index ((size_t)b x lines + l) x columns + o. */
    float *code_scale;  /* effective weight (of the line) of one code; 1 for fp32 panels */
    float *full_scale;  /* ADC full scale: weight x input / input range */
    float *to_code;     /* derived: ADC codes per unit of (codes x input codes) */
    float *to_output;   /* derived: output per ADC code (or per unit, without ADC), line factor included */
    float *adc_gain, *adc_offset; /* of linear converters, offset in units of full scale; NULL: 1 and 0 */
    float *adc_state;   /* [row_blocks][lines][columns][adc states]: other circuits; NULL: none */
    float *output_max;  /* while the calibration is open: largest |result| */
    uint32_t *output_bins; /* the same, for rules that need it: [index][OUTPUT_BINS] sizes / (weight scale x origin) */
    float *output_origin;  /* [row_blocks] first input range of the block where results are in units of it, else 1 */

    struct phenomena_column *phenomena; /* derived, where phenomena act; NULL: none */

    /* Per row block and output: [row_blocks][columns]. */
    float *ladder_offset; /* tile.ladder: taken off a result per step of a pass, in units of the weights; NULL: none */
    float *ladder_uS;     /* tile.ladder.precision = single: pairs, [row_blocks][columns][2][rows] (ladder_pairs_at);
                             then ladder_offset is 0. NULL: none */
    float *weight_scale; /* |w| that full-scale conductance stands for: max|w| of the column or tile (targets) */
    float *column_max;   /* max|w| of the column in this block (targets) */
    float *compensation; /* factor of the drift compensation, digital, after the ADC */
    float *offset;       /* digital, after the compensation: y -= offset x sum of the block's input codes; NULL: none */
    float *correction_gain, *correction_offset; /* affine correction: y_block -> gain y + offset (offset in units of the
                                                   input range); NULL: none */
    /* Encoding offset_column: effective weights of its shared columns, line of slice s of column block c at
     * shared + (c x slices + s) x inputs; a result of its own on every tile. Digital, after the ADC, for every output
     * of the block: y -= compensation x weight_scale x line_factor[line_of[s][0]] x result. NULL: none. */
    float *shared;       /* [column_blocks][slices][inputs] fp32, in units of the weight scale */

    /* Their ADCs: index ((size_t)b x column_blocks + c) x slices + s; as full_scale, adc_gain, ... above. */
    float *shared_full_scale, *shared_gain, *shared_offset, *shared_state, *shared_max;

    float *input_range; /* [row_blocks] static ranges, or NULL: per token, or not yet known */
    float *dac_levels;  /* [inputs][digit_limit + 1] magnitudes of each row's converter, or NULL: ideal */

    /* While the calibration is open. */
    struct input_statistics *input; /* [row_blocks], or NULL where no range is wanted */
    uint64_t calibration_tokens;
};

/* What programming took and reached. */
struct tile_programming {
    struct programming_count count;
    struct error_sums error;
};

struct machine {
    const struct chip *chip;
    const struct chip_spec *spec;
    const struct placement *placement;
    uint64_t seed;
    double age_s, since_programming_s; /* since the first programming, since the last */
    struct converter dac, adc;
    /* How results are converted (converters.c). */
    enum adc_use { ADC_ABSENT, ADC_IDEAL, ADC_LINEAR, ADC_CIRCUIT } adc_use; /* linear: with adc_gain, adc_offset */
    struct input_plan inputs;   /* as the values see it: one pass per phase without the effect dac */
    struct input_plan hardware; /* as the chip drives them, whichever effects act: what flows and what it takes */
    size_t adc_states;        /* floats that describe one converter: its circuit's, then its range (converters.c) */
    double dac_noise_sd, adc_noise_sd; /* of one conversion, in units of full scale */
    bool bent;                /* currents are not proportional to voltages */
    struct phenomena_spec phenomena; /* those that are on */
    struct encoding_plan plan;
    bool simple; /* one line, one pass, ideal converters: multiply.c alone; else multiply_general.c */
    size_t count;
    struct array **arrays; /* [count], NULL: digital */
    struct fault_map *faults; /* or NULL */
    /* What programming found out: sums over all tiles. */
    struct tile_programming programmed;
    struct fault_count fault_count;
    struct machine_fault_list moved, left; /* lines */
    struct machine_wires wires;
    struct worst_fold {
        bool any;
        double estimate;
        uint64_t tile; /* in the order of placement */
    } worst_fold[WIRES_EXACT + 1]; /* by the method used: the tile with the largest estimate */
    struct machine_calibration calibration;
    struct maintenance_cost correction_once, readout_once; /* all tiles side by side */
    double slowest_tile_s; /* of programming, one device at a time; NAN: not known */
    bool calibrating;
    bool ranges_set;
};

/* First input of row block b (b = row_blocks: inputs), number of inputs of it. */
static inline uint32_t array_block_rows(const struct array *a, uint32_t b) {
    return a->row_begin[b + 1] - a->row_begin[b];
}

/* Where the noise of one panel, line and row block lies, in whole eights of rows. */
static inline size_t array_variance_offset(const struct array *a, uint32_t block) {
    return (a->row_offset[block] + 6 * (size_t)block + 7) / 8 * 8;
}
static inline size_t array_variance_stride(const struct array *a) { return array_variance_offset(a, a->row_blocks); }
static inline int8_t *array_variances(const struct array *a, uint32_t block, uint32_t line, uint32_t panel) {
    size_t strip = ((size_t)line * a->panels + panel) * array_variance_stride(a);
    return a->variances + (strip + array_variance_offset(a, block)) * PANEL;
}
static inline float *array_spread_factors(const struct array *a, uint32_t block, uint32_t line, uint32_t panel) {
    return a->spread_factors + (((size_t)block * a->lines + line) * a->panels + panel) * 3 * PANEL;
}

/* Strips: four panels side by side. The fewest rows that are drawn. */
enum { STRIP_PANELS = NOISE_STRIP / PANEL, DRAWS_LEAST = 16 };
static inline size_t array_strip_count(const struct array *a) { return (a->panels + STRIP_PANELS - 1) / STRIP_PANELS; }
static inline uint8_t *array_strip(const struct array *a, uint32_t block, uint32_t line, size_t strip) {
    size_t number = line * array_strip_count(a) + strip;
    return a->strips + (number * a->row_stride + a->row_offset[block]) * NOISE_STRIP;
}
/* [2 x NOISE_STRIP], as drawn_rows has them */
static inline float *array_drawn_factors(const struct array *a, uint32_t block, uint32_t line, size_t strip) {
    return a->drawn_factors + ((line * array_strip_count(a) + strip) * a->row_blocks + block) * 2 * NOISE_STRIP;
}
static inline enum noise_sum array_noise_sum(const struct array *a, uint32_t block, uint32_t line, uint32_t panel) {
    return (enum noise_sum)a->noise_sum[((size_t)block * a->lines + line) * a->panels + panel];
}

enum { AGES_MOST = 3 }; /* at most CELL_LIFE_AGES */

/* The devices of one tile, realised (again) from the seed: programming, the reference and `mho tile` all take them from
 * here. Memory owned by the caller's tile_devices (create once, use for many tiles). tile_devices.c */
struct tile_devices {
    const struct array *array;
    uint32_t rows, outputs, physical_columns; /* physical: outputs x slices x legs, then the shared ones */
    size_t ages;
    /* [ages][physical_columns][rows]: conductance of each crossing (parallel devices added), with faults, before wires;
     * column of (output, slice, leg) = (output x slices + slice) x legs + leg */
    float *crossing_S[AGES_MOST];
    float *effective_S[AGES_MOST]; /* the same after wires; equals crossing_S where the effect does not act */
    float *white_variance; /* [physical_columns][rows] S^2 per read, first age of the list, wires included; NULL: no
                              white noise */
    struct fold_result fold; /* of the first age */
    double *column_S;        /* [outputs] that the converters see behind tile.ladder; NULL: none */
    double *input_S;         /* [rows] wires_input_conductance, first age of the list; NULL: wires do not act */
    /* Private to tile_devices.c. */
    float *target_S, *written_S; /* [rows] of a column: targets; as written, where errors are sampled */
    float *device_S[AGES_MOST];  /* one of several parallel devices; crossing_S where there is one */
    void *fold_scratch;
    struct tile_faults *faults;  /* NULL: none act */
};
/* Whether the wires of tiles act, and what they are. */
bool machine_wires_act(const struct machine *m);
struct wires machine_wires_of(const struct machine *m);
/* Whether columns are ladders of pairs (sim/ladder.h); never together with wires. */
bool machine_ladder_acts(const struct machine *m);
/* Where ladder_uS has the pair of one column: plus conductances of all rows of the block, then minus. */
static inline size_t ladder_pairs_at(const struct array *a, uint32_t block, uint32_t column) {
    return 2 * ((size_t)a->row_begin[block] * a->columns + (size_t)column * array_block_rows(a, block));
}
struct fault_array machine_fault_array(const struct machine *m); /* lines of a full tile */
/* For tiles of a matrix of at most `rows` rows and `outputs` outputs. */
enum status tile_devices_create(const struct machine *m, const struct array *a, uint32_t rows, uint32_t outputs,
                                struct tile_devices **out, struct error *e);
void tile_devices_destroy(struct tile_devices *t); /* NULL is fine */
/* w [outputs of the tile][inputs of the matrix]: the rows of the matrix that this column block holds. ages_s: `ages` of
 * them, at most AGES_MOST, since the last programming. The array's weight_scale of the tile must be set. Adds to the
 * counts where not NULL. */
enum status tile_devices_realise(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                                 const float *w, const double *ages_s, size_t ages,
                                 struct tile_programming *programmed, struct fault_count *faults,
                                 struct tile_devices *t, struct error *e);
/* The same at the machine's age, weights read from their source into w, room for [outputs of the tile][inputs of the
 * matrix]. Errors: those of the source, of faults and of wires. */
enum status tile_devices_read(const struct machine *m, size_t matrix, uint32_t row_block, uint32_t column_block,
                              float *w, struct tile_devices *t, struct error *e);
/* What line l of output o (counted within the tile) says: sum of part x g [rows] in siemens, shared analog columns
 * taken off; age: index into the ages. Times tile_weight_per_siemens: effective weights. */
void tile_line_S(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line, size_t age,
                 float *sum_S);
double tile_weight_per_siemens(const struct machine *m, const struct array *a, float weight_scale);
void tile_line_weights(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line,
                       size_t age, float weight_scale, float *effective);
/* Variance per read of the effective weights. Noise of a shared column counts for every output on its own: that it is
 * one and the same for all of them is not modelled. */
void tile_line_variance(const struct machine *m, const struct tile_devices *t, uint32_t output, uint32_t line,
                        float weight_scale, float *variance);
/* Both devices of an output before the wire, in microsiemens, as ladder_stepped wants them: pair_uS [2][rows]. w
 * [rows]: its weights, which the targets are worked out from in that unit. Writes over the room for targets. */
void tile_pair_uS(const struct machine *m, struct tile_devices *t, const float *w, uint32_t output, float weight_scale,
                  float *pair_uS);
/* Part x g [rows] of the shared column of a slice, in siemens. */
void tile_shared_S(const struct machine *m, const struct tile_devices *t, uint32_t slice, size_t age, float *line_S);
/* Outputs [first, end) of a column block. */
static inline uint32_t array_block_output(const struct array *a, const struct tile_spec *tile, uint32_t column_block) {
    return block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, column_block);
}
/* Column of an output in its tile. */
static inline uint32_t array_column_of_tile(const struct array *a, const struct tile_spec *tile, uint32_t output) {
    uint32_t c = 0;
    while (c + 1 < a->column_blocks && array_block_output(a, tile, c + 1) <= output) {
        c++;
    }
    return output - array_block_output(a, tile, c);
}
/* Number of a tile in the order of placement: matrices, then row blocks, then column blocks. */
static inline uint64_t array_tile_number(const struct array *a, uint32_t row_block, uint32_t column_block) {
    return a->first_tile + (uint64_t)row_block * a->column_blocks + column_block;
}

/* Lines of a tile that were moved or have faults left: into m->moved and m->left, drawn again. count: of this tile.
 * tile_devices.c */
enum status machine_list_faults(struct machine *m, const struct array *a, size_t matrix, uint32_t row_block,
                                uint32_t column_block, const struct fault_count *count, struct error *e);
/* Sums of programming, in the order of the tiles; every copy of a matrix is programmed. machine_statistics.c */
void machine_note_tile(struct machine *m, const struct tile_programming *tile, uint32_t copies);
/* One tile more whose wires were folded; then, of all tiles: exact solution of some columns of some of them. */
void machine_note_wires(struct machine *m, const struct fold_result *fold, uint64_t tile);
enum status machine_measure_wires(struct machine *m, struct error *e);

/* Tiles whose wires cannot be folded (chip_needs_network). Size of array.crossings; where one tile begins in it:
 * [physical columns][rows]. multiply_network.c */
size_t array_crossings(const struct machine *m, const struct array *a);
float *array_tile_crossings(const struct machine *m, const struct array *a, uint32_t row_block, uint32_t column_block);
double network_volts(const struct machine *m); /* of an input of full scale */
/* Estimated seconds of the solutions for one token on all tiles, one core. */
double network_token_s(const struct chip_spec *s, const struct placement *p);

/* One line, one pass, ideal converters, nothing around them: multiply.c does it, with integer weights where the inputs
 * have few bits. Else multiply_general.c, in fp32. machine.c */
bool machine_is_simple(const struct chip_spec *s);

/* An array of m for `source`, empty; NULL when out of memory. machine.c */
struct array *array_create(const struct machine *m, const struct matrix_source *source);

/* How often the machine has been programmed again (tile.refresh_period_s), and its age since the last time. */
uint64_t machine_refreshes(const struct machine *m);
double machine_age_since_programming_s(const struct machine *m);
/* Of everything that belongs to the devices as programmed last. */
uint64_t machine_device_seed(const struct machine *m);

/* Programs matrix `matrix` into m->arrays[matrix], which exists and is empty: everything that the conductances say.
 * done: weights programmed before, for the progress line (may be NULL). program.c */
struct progress;
enum status array_program(struct machine *m, size_t matrix, struct progress *bar, uint64_t done, struct error *e);
/* Puts effective weights [rows] of one line, output and row block into its panel; variance (NULL: none) likewise.
 * scratch: int16_t [rows]. panels.c */
void array_store_line(const struct machine *m, struct array *a, uint32_t row_block, uint32_t line, uint32_t output,
                      const float *effective, const float *variance, int16_t *scratch);
/* Once all lines are stored: how the noise of each panel is summed. panels.c */
void array_choose_sums(const struct machine *m, struct array *a);
/* Sum of |x| in a fixed order, the same bits everywhere. panels.c */
float sum_of_sizes(const float *x, size_t n);

/* The converters of the machine and of every array: what drives and reads differs from instance to instance.
 * converters.c */
enum status machine_make_converters(struct machine *m, struct error *e);
/* One pass, ideal converters and cells, nothing around the multiply: what multiply.c can do. Part of
 * machine_is_simple. */
bool periphery_is_plain(const struct chip_spec *s);
void array_free_converters(struct array *a);

/* Everything that follows from full scales and input ranges (to_code, to_output). calibrate.c */
void array_derive(const struct machine *m, struct array *a, size_t matrix);
/* Ranges that need no data; sets m->ranges_set if all are known. calibrate.c */
enum status machine_initial_ranges(struct machine *m, struct error *e);
/* Gains and offsets of every column, fitted on the machine; counts what that takes. Ranges are set. correction.c */
enum status machine_fit_correction(struct machine *m, struct error *e);
/* Counts the readouts of the drift compensation up to the machine's age. correction.c */
void machine_count_readouts(struct machine *m);

/* Statistics of calibration inputs x [tokens][inputs]. calibrate.c */
void array_record_inputs(struct array *a, const float *x, uint32_t tokens);
/* One |result| of row block b and output o, in line and place `index`: in units of its input range where one is
 * known. */
void array_record_output(struct array *a, uint32_t b, uint32_t output, size_t index, float size);

void array_destroy(struct array *a); /* NULL is fine */

#endif
