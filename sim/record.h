/* Private to sim/: what one analog multiply leaves behind for the timeline and the ledger. */
#ifndef MHO_SIM_RECORD_H
#define MHO_SIM_RECORD_H

#include <stddef.h>
#include <stdint.h>

/* Totals over all tokens and all tiles of one run_multiply. */
struct multiply_record {
    size_t matrix; /* index as given to placement_create */
    uint32_t tokens;
    /* Sum over tokens and tile rows of |input| / full scale x G_row, where G_row (siemens) is the sum of the realised
     * conductances of all devices on that input, in all tiles; with wires also what flows from row to row
     * (row_currents.h). Energy of the array = V^2 x pulse_s x array_S_sum. */
    double array_S_sum;
    /* Repeats of the bound management: reads beyond one of every row block for every token. */
    uint64_t repeated_blocks; /* sum over tokens and row blocks */
    uint64_t repeated_rounds; /* sum over tokens of those of the row block with the most: one after the other in time */
    uint64_t dac_conversions; /* inputs read x passes x column blocks: every tile has its own row converters */
    uint64_t adc_conversions; /* block reads x groups of passes x (outputs x lines + shared columns) */
    /* What ended up in the results: a read that the bound management repeated is thrown away, its clipping with it.
     * Rates: dac_clipped / dac_inputs, adc_saturated / adc_results. */
    uint64_t dac_inputs;      /* inputs x column blocks */
    uint64_t dac_clipped;     /* of these, beyond their range; 0 when the effect dac is off */
    uint64_t adc_results;     /* conversions of the last read of each block: adc_conversions without repeats */
    uint64_t adc_saturated;   /* of these, beyond the range of their converter (adc_range of devices/adc.h, shared
                                 columns included); 0 when the effect adc is off */
};

#endif
