/* Private to sim/: from a weight to the target conductances of its devices, and back.
 *
 * A weight w in [-1, 1] (units of its scale) is held by `slices` slices of `legs` legs of `devices` devices each. What
 * is converted by an ADC of its own is a line: the currents of a line are added on the wire, lines are added digitally.
 *
 *   tile.encoding
 *     differential_pair  two legs: plus = max(w, 0), minus = max(-w, 0)         w = plus - minus
 *     one_device         one leg: (w + 1) / 2; the known half x sum(x) is subtracted digitally from the input codes
 *     offset_column      the same, but the half is a column of devices of its own on every tile, converted by an ADC
 *                        and subtracted digitally
 *     reference_column   the same column, subtracted as a current before the ADC
 *     unsigned           one leg: w, which must not be negative
 *     signed_unit        one leg of a cell with the statistics of a whole pair
 *   tile.legs            analog: plus and minus are subtracted before the ADC (one line); digital: a line each;
 *                        in_turns: a line each, driven and converted one after the other by the same converters
 *   tile.slices, tile.slice_bits
 *     1 slice            the magnitude itself
 *     slice_bits = 0     N slices of significance f^0, f^1, ...: the least significant is filled first, the next only
 *                        once it is full (aihwkit NPair); full scale = sum of f^k
 *     slice_bits = b     the magnitude as an integer of N b bits, rounded; slice k holds digit k on 2^b levels
 *   tile.slice_sum       analog: slices are scaled and added as currents (one line); digital: a line each, shift and
 *                        add
 *   tile.devices         1 to 8 devices in parallel per leg and slice: each gets an equal part of the target. A matrix
 *                        may have a number of its own (struct matrix_source), so the plan below does not say it
 *
 * line = sum over its slices and legs of part x g / (devices x span)          a current, the pedestal g_min included
 * effective w = scale x (sum over lines of factor x line - offset)            digital; the offset takes the pedestal
 * away Shared columns: reference_column is folded into the lines when the tile is programmed (a current like any
 * other), so that nobody else need know; offset_column is a result of its own, subtracted digitally with the factor of
 * its slice. Drift compensation multiplies what was converted, lines and shared columns; not `offset`, which is a known
 * number.
 */
#ifndef MHO_SIM_ENCODING_H
#define MHO_SIM_ENCODING_H

#include "sim/chip.h"

enum { SLICES_MOST = 8, LEGS = 2, LINES_MOST = SLICES_MOST * LEGS };

/* Everything that follows from the keys above and the cell, computed once. */
struct encoding_plan {
    enum encoding kind;
    uint32_t slices, legs;            /* of one weight: slices x legs x devices devices */
    uint32_t lines;                   /* converted results per output */
    double significance[SLICES_MOST]; /* of a slice, sum of all = 1: its share of the full scale */
    uint32_t line_of[SLICES_MOST][LEGS];
    double line_factor[LINES_MOST];   /* digital: y = sum factor x line; 1 where there is one line */
    double part[SLICES_MOST][LEGS];   /* analog: line = sum part x g / (devices x span) */
    double offset;                    /* digital: offset x scale x sum of inputs is subtracted */
    bool shared_column;               /* every tile has a column of devices at w = 0 of each slice, signs as leg 0 */
    bool shared_analog;               /* its current is subtracted before the ADCs */
    double g_min_S, span_S;           /* of one device */
    int levels;                       /* per slice: 2^slice_bits, the cell's own, or 0 */
    /* Private to encoding.c: of the magnitude in units of full scale, w = 0 and what w = 1 adds; with `steps`, the same
     * as whole numbers of 1 / steps. */
    double zero, reach;
    uint32_t steps;
    int slice_bits, cell_levels;
    double first[SLICES_MOST], capacity[SLICES_MOST]; /* analog slices: the part of the magnitude that each holds */
};
/* Refuses what contradicts itself: "key: why (allowed: ...)", the key without file and line. */
enum status encoding_plan(const struct chip_spec *s, struct encoding_plan *out, struct error *e);

/* Number of device (s, leg, k) within a weight of so many parallel devices: the low 8 bits of cell_draws.where. */
static inline uint32_t encoding_device(const struct encoding_plan *p, uint32_t devices, uint32_t slice, uint32_t leg,
                                       uint32_t k) {
    return (slice * p->legs + leg) * devices + k;
}
/* The same of a shared column: counted down from 255. */
static inline uint32_t encoding_shared_device(uint32_t devices, uint32_t slice, uint32_t k) {
    return 255 - (slice * devices + k);
}
static inline uint32_t encoding_physical_columns(const struct encoding_plan *p, uint32_t outputs) {
    return outputs * p->slices * p->legs + (p->shared_column ? p->slices : 0);
}

/* Targets of n weights for one slice and leg (every one of its parallel devices gets the same target). scale: the |w|
 * that full scale stands for; 0 for a column of zeros. Weights beyond it are the caller's mistake. */
void encoding_targets(const struct encoding_plan *p, const float *w, size_t n, float scale, uint32_t slice,
                      uint32_t leg, float *target_S);
/* Target of the devices of a shared column: w = 0. */
float encoding_shared_target(const struct encoding_plan *p, uint32_t slice);

#endif
