/* Private to sim/: the digital side path of a matrix on tiles (struct side_path of sim.h).
 *
 * Values. The tiles see W without the listed weights and channels, and x without the channels; beside them
 *   y[t][o] += sum over channels c of x[t][c] W[o][c] + sum over listed i of x[t][i] W[o][i]
 * in fp32, x not quantised, each sum in the order of its list; channels as dense panels of 16 outputs, weights as lists
 * by output. Threads share out panels; an output does not depend on how many tokens go together.
 *
 * Costs, per matrix and step of T tokens; MACs = channels x outputs + listed weights:
 *   matrix unit  T x MACs x side_path.energy_J; T x MACs x side_path.mac_lanes of its lanes
 *   buffer       stored bits once per step; T x 2 x outputs x buffer.value_bits (results out, and in again to be added)
 *   vector unit  T x outputs additions
 *   stored bits  MACs x value_bits + (channels + listed weights, + outputs where weights are listed) x index_bits
 *   area         stored bits x buffer.area_um2_per_bit, beside the capacity of the buffer; leakage in that proportion
 * Time: buffer -> matrix unit, beside the tiles; then the vector unit adds. The inputs are in the units already, moved
 * for the tiles.
 * Not modelled: rounding of the stored weights to value_bits (values are fp32).
 */
#ifndef MHO_SIM_SIDE_PATH_H
#define MHO_SIM_SIDE_PATH_H

#include "sim/machine.h"

/* What a matrix keeps of its side path: own copies of the lists, and the weights. */
struct side_values {
    struct side_path lists;   /* points to: */
    uint32_t *channels, *weight_begin, *weight_inputs;
    uint32_t *block_channels; /* [row_blocks + 1] first channel of a row block */
    float *panels;            /* [panels][channels][PANEL] */
    float *weights;           /* parallel to weight_inputs */
};

/* Working memory of side paths, for at most max_tokens tokens of any matrix of m. */
struct side_scratch {
    float *driven;         /* [max_tokens][inputs] x without the channels */
    float *channel_inputs; /* [max_tokens][channels] */
    float *turned;         /* [max_tokens / TOKENS, rounded up][inputs][TOKENS] x, input by input */
};
bool side_scratch_create(const struct machine *m, uint32_t max_tokens, struct side_scratch *out); /* false: memory */
void side_scratch_destroy(struct side_scratch *s);

/* Lists that cannot be: ERR_RUN with the matrix and the entry. */
enum status side_path_check(const struct matrix_source *m, struct error *e);
/* Channels and listed weights of the source; without a side path, those that the chip asks for. */
void side_path_count(const struct chip_spec *s, const struct matrix_source *m, uint32_t *channels, uint64_t *weights);
uint64_t side_path_bits(const struct side_path_spec *s, const struct placement_matrix *m);
/* What a step of `tokens` tokens takes: on the matrix unit, moved in the buffer, added on the vector unit. */
struct side_path_work {
    uint64_t macs, bits, sums;
    double macs_J, bits_J, sums_J;
};
struct side_path_work side_path_work(const struct chip_spec *s, const struct placement_matrix *m, uint32_t tokens);
/* Of the chips' stored side paths. */
double side_path_mm2(const struct chip_spec *s, uint64_t bits);
double side_path_static_W(const struct chip_spec *s, uint64_t bits);

/* ---- one matrix -------------------------------------------------------------------------------------------- */

/* a->side and a->source.side from a->source, checked before; weights still 0. False: out of memory. */
bool array_create_side(struct array *a);
void array_destroy_side(struct array *a);
/* Scales and ADC ranges that the source brings: of the right number and size. */
enum status array_check_source(const struct machine *m, const struct array *a, struct error *e);
/* Takes the digital weights out of w [inputs], the weights of one output. */
enum status side_keep(struct array *a, uint32_t output, const float *w, struct error *e);
/* Makes targets of weights w [count][inputs] of outputs from `first` on: digital ones 0, clipped to the scales that the
 * source brings. */
void array_make_targets(const struct array *a, uint32_t first, uint32_t count, float *w);
/* The same, read from the source. */
enum status array_read_targets(const struct array *a, uint32_t first, uint32_t count, float *w, struct error *e);

static inline uint32_t array_block_channels(const struct array *a, uint32_t b) {
    return a->side ? a->side->block_channels[b + 1] - a->side->block_channels[b] : 0;
}
/* Inputs of row block b that its tiles drive. */
static inline uint32_t array_driven_rows(const struct array *a, uint32_t b) {
    return array_block_rows(a, b) - array_block_channels(a, b);
}
/* Of all blocks. */
static inline uint32_t array_driven_inputs(const struct array *a) {
    return a->inputs - (a->side ? a->side->lists.channel_count : 0);
}

/* x [tokens][inputs] as the tiles see it: x itself, or a copy in `s` without the channels. */
const float *side_drive(const struct array *a, const float *x, uint32_t tokens, struct side_scratch *s);
/* Adds the digital part to y [tokens][outputs]; after side_drive with the same x. */
void side_multiply(const struct array *a, const float *x, uint32_t tokens, struct side_scratch *s, float *y);
/* Sets the channels of x [tokens][inputs] to 0. */
void side_clear_channels(const struct array *a, uint32_t tokens, float *x);

#endif
