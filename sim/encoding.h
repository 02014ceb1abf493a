/* Private to sim/: from a weight to the target conductances of its devices, and back.
 *
 * A weight w in [-1, 1] (units of its scale) is held by `slices` slices of `legs` legs of `devices` devices each. What
 * is converted by an ADC of its own is a line: the currents of a line are added on the wire, lines are added digitally.
 *
 *   tile.encoding
 *     differential_pair  two legs: plus = max(w, 0), minus = max(-w, 0)         w = plus - minus
 *     one_device         one leg: (w + 1) / 2; the known half x sum(x) is subtracted digitally from the input codes
 *     offset_column      the same, but the half is a column of devices of its own on every tile, converted by an ADC
 * and subtracted digitally reference_column   the same column, subtracted as a current before the ADC unsigned one leg:
 * w, which must not be negative signed_unit        one leg of a cell with the statistics of a whole pair tile.legs
 * analog: plus and minus are subtracted before the ADC (one line); digital: a line each tile.slices, tile.slice_bits 1
 * slice            the magnitude itself slice_bits = 0     N slices of significance f^0, f^1, ...: the least
 * significant is filled first, the next only once it is full (aihwkit NPair); full scale = sum of f^k slice_bits = b
 * the magnitude as an integer of N b bits, rounded; slice k holds digit k on 2^b levels tile.slice_sum       analog:
 * slices are scaled and added as currents (one line); digital: a line each, shift and add tile.devices         1 to 8
 * devices in parallel per leg and slice: each gets an equal part of the target
 *
 * effective w = scale x (sum over lines of factor_l x line_l - offset), line_l = sum over its legs and slices of
 * (+-) significance (g - g_min) / span, in units where full scale is 1.
 */
#ifndef MHO_SIM_ENCODING_H
#define MHO_SIM_ENCODING_H

#include "sim/chip.h"

enum { DEVICES_MOST = 8, SLICES_MOST = 8, LEGS = 2, LINES_MOST = SLICES_MOST * LEGS };

/* Everything that follows from the keys above and the cell, computed once. */
struct encoding_plan {
    uint32_t slices, legs, devices;   /* of one weight: slices x legs x devices devices */
    uint32_t lines;                   /* converted results per output */
    double significance[SLICES_MOST]; /* of a slice, sum of all = 1: its share of the full scale */
    uint32_t line_of[SLICES_MOST][LEGS];
    double line_factor[LINES_MOST]; /* digital: y = sum factor x line */
    /* analog weight of a slice and leg within its line: line = sum part (g - g_min) / (devices x span) */
    double part[SLICES_MOST][LEGS];
    double offset;          /* digital subtraction: offset x sum of inputs (one_device: 0.5 -> in units of w: 1) */
    bool shared_column;     /* every tile has a column of devices at the half of each slice */
    bool shared_analog;     /* its current is subtracted before the ADCs */
    double g_min_S, span_S; /* of one device */
    int levels;             /* per slice: 2^slice_bits, the cell's own, or 0 */
};
enum status encoding_plan(const struct chip_spec *s, struct encoding_plan *out, struct error *e);

/* Number of device (s, leg, k) within a weight: the low 8 bits of cell_draws.where. Shared columns use 255 - slice. */
static inline uint32_t encoding_device(const struct encoding_plan *p, uint32_t slice, uint32_t leg, uint32_t k) {
    return (slice * p->legs + leg) * p->devices + k;
}

/* Targets of n weights for one slice and leg (every one of its parallel devices gets the same target).
 * inverse_scale = 1 / scale, 0 for a column of zeros. */
void encoding_targets(const struct encoding_plan *p, const float *w, size_t n, float inverse_scale, uint32_t slice,
                      uint32_t leg, float *target_S);

#endif
