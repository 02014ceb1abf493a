/* Private to sim/: counts x constants.
 *
 * Every operation of a step adds counts (conversions, MACs, bits) and joules to one component and one layer. The
 * total is the sum over components, which is the sum over layers. Formulas:
 *   DAC      conversions x dac.energy_J              one per input, pass and column block; how long its pulse is
 *                                                    makes no difference
 *   array    array_energy_J(array_S_sum)             sum over cells, tokens of G x |input| / full scale, with
 *                                                    wires also between rows (row_currents.h); with
 *                                                    tile.array: passes of tiles x array.energy_J
 *   sampling results x (passes x integrator.sample_J + pulses x integrator.pulse_J)      with tile.integrator
 *   ADC      conversions x adc.energy_J              one per output, line, row block and group of passes; the same
 *                                                    of a shared column
 *   post     conversions x post.energy_J             each ADC result is scaled and added once
 *   vector   operations x vector.energy_J            operations per element: vector_operations()
 *   attention MACs x attention.energy_J              2 x keys x heads x head_dim per token; softmax included
 *   KV       bits x kv.energy_J_per_bit              new key and value written; keys and values in the window read
 *   buffer   bits x buffer.energy_J_per_bit          all operands and results; weights of digital matrices
 *   matmul   MACs x matmul.energy_J
 *   side     MACs x side_path.energy_J on the matrix unit, bits on the buffer, additions on the vector unit
 *            (sim/side_path.h)
 *   DRAM     bits x dram.energy_J_per_bit            keys and values that spill, rows of the embedding table
 *   maintenance  of the machine, as programming and calibration took it (sim/maintenance.h)
 *   static   watts of all chips, tiles in use or not, x makespan, less what gating saves (sim/power.h); counted
 *            outside the layers
 * A chip without costs keeps counts; its joules are NAN.
 */
#ifndef MHO_SIM_LEDGER_H
#define MHO_SIM_LEDGER_H

#include "sim/chip.h"
#include "sim/record.h"

/* Per layer: values out of range, and of how many conversions. */
enum { CLIP_DAC, CLIP_DAC_OF, CLIP_ADC, CLIP_ADC_OF, CLIPS }; /* OF: inputs, results (record.h) */

struct ledger {
    const struct chip *chip;
    const struct placement *placement;
    size_t rows;                       /* layers + 1 */
    double (*energy_J)[PART_COUNT];    /* [rows]; without static power */
    double fresh_J[PART_COUNT];        /* not yet handed to a stage (sim/power.h) */
    uint64_t count[PART_COUNT];
    uint64_t (*clips)[CLIPS];          /* [rows] */
    uint64_t *kv_bits;                 /* [rows]: most keys and values held at a time, of all sequences together */
    uint64_t *kv_now_bits;             /* [rows]: held now */
    uint64_t *kv_first_bits;           /* [rows]: by a sequence that has no stream */
    uint64_t *kv_own_bits;             /* [rows]: by the sequence of the present step */
    uint64_t *kv_room_bits;            /* [rows]: KV memory of the layer */
    bool kv_too_small;                 /* some layer has no room for a single key */
    const uint64_t *kv_share_bits;     /* [rows]: what the present step may use of it */
    uint64_t mvm, macs, saturated_adc, results_adc, converted_adc, clipped_dac, inputs_dac, converted_dac, digital_macs;
    uint64_t side_macs; /* of digital_macs, those of side paths */
};

enum status ledger_create(const struct chip *c, const struct placement *p, struct ledger *out, struct error *e);
void ledger_destroy(struct ledger *l);
void ledger_reset(struct ledger *l);
/* A sequence that held `own` [rows] has ended: nothing of it is kept, and `own` is 0. */
void ledger_release_kv(struct ledger *l, uint64_t *own);

/* Vector operations and buffer values (inputs and results) per element of a digital operation. */
unsigned vector_operations(enum digital_op op);
unsigned buffer_values(enum digital_op op);
/* Vector operations per input of a multiply: scaling and rounding to a code, and with per-token ranges the search
 * for max|x|. */
unsigned input_operations(const struct chip_spec *s);
enum { WEIGHT_BITS = 8 }; /* of a matrix that stays digital */

uint64_t attention_macs(const struct digital_record *d, uint32_t t);

/* Bits times hops over the networks of the chips; bits from chip to chip over links of each kind. */
void ledger_links(struct ledger *l, int layer, uint64_t bit_hops, const uint64_t link_bits[LINK_KINDS]);

/* Of a multiply_record's array_S_sum: V^2 x pulse x G, or V^2 x C where the cell holds charges; with tile.array of the
 * number of multiplies of a tile. */
double array_energy_J(const struct chip_spec *s, double S_sum, double mvms);
/* Before as many conversions. */
double sampling_energy_J(const struct chip_spec *s, double adc_conversions);

void ledger_multiply(struct ledger *l, const struct multiply_record *m);
void ledger_digital(struct ledger *l, const struct digital_record *d);
/* Vector operations that prepare the inputs of a multiply; once per fork, where several matrices share inputs. */
void ledger_inputs(struct ledger *l, int layer, uint64_t inputs, uint32_t tokens);

/* Tiles of a matrix that were busy with refresh, correction or readouts (sim/maintenance.h). */
void ledger_maintenance(struct ledger *l, int layer, uint64_t tiles, double energy_J);

double ledger_dynamic_J(const struct ledger *l); /* all but static */
double ledger_static_W(const struct ledger *l); /* with nothing gated */
struct ledger_view ledger_view(const struct ledger *l, double makespan_s, double static_J);
double ledger_row_J(const struct ledger *l, size_t row, double static_J);

#endif
