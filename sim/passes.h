/* Private to sim/: how an input code is driven onto a row: in which passes, with which levels, and how the results of
 * the passes become the product again.
 *
 * An input code q, -limit..limit with limit = 2^(bits-1) - 1, is cut into digits. A pass drives one digit of every
 * row, as a level d / digit_limit of full scale; all passes of a multiply use the same converter, so they have one
 * digit_limit, that of the widest digit:
 *
 *   tile.dac.coding   amplitude, pulse_width   one digit: |q|                     digit_limit = limit
 *                     bit_serial               bits - 1 digits of one bit         digit_limit = 1
 *                     split                    the low split_bits bits, the rest  digit_limit = 2^(wider part) - 1
 *   tile.dac.sign     bipolar                  a digit is driven with the sign of q
 *                     two_phase                every digit twice: of the positive inputs, then of the negative ones
 *                     twos_complement          bit_serial only: the bits of q + 2^bits where q < 0, all driven as
 *                                              positive levels, and one pass more for the sign bit, which counts
 *                                              -2^(bits-1)
 *
 *   q = sum over passes of sign 2^shift digit,   x / range = q / limit = sum over passes of gain (digit / digit_limit),
 *   gain = sign 2^shift digit_limit / limit
 *
 * tile.dac.accumulate: digital: each pass has its ADC conversion, the codes are scaled by gain and added (shift and
 * add); analog: the charges of the passes are scaled by gain and added before one conversion, or before tile.dac.groups
 * of them, equal parts of the digits, low ones first. Passes that are converted together are a group: gain = share (of
 * the pass within its group) x group_gain, so that a group of full inputs is full scale for its converter (of a group
 * with a sign bit: the larger of its two ends).
 *
 * tile.dac.bit_pulses, of bit_serial with accumulate: analog: what scales a charge. one: something after the pulse;
 * weighted: bit k of a group is driven for 2^k pulses.
 *
 * In time: a pulse-coded pass is as long as its longest digit (digit_limit steps of pulse / limit); an
 * amplitude-coded one takes a whole pulse, a bit one pulse or, weighted, 2^k.
 */
#ifndef MHO_SIM_PASSES_H
#define MHO_SIM_PASSES_H

#include "sim/chip.h"

enum { PASSES_MOST = 30 }; /* 15 bits of a 16-bit code, in two phases */

struct input_pass {
    int shift, mask;
    bool complement; /* a bit of the two's complement */
    bool negative;   /* the sign bit of it: its result is subtracted */
    int sign;   /* 0: both signs; 1, -1: positive, negative inputs only, driven as positive levels */
    int pulses; /* that it lasts */
    float share; /* of its result within its group */
};

struct input_plan {
    uint32_t passes;
    uint32_t groups; /* conversions per line */
    uint32_t first[PASSES_MOST + 1]; /* [groups + 1]: passes of group g are first[g] to first[g + 1] - 1 */
    float group_gain[PASSES_MOST];   /* of the group's result */
    int digit_limit;
    bool voltage;       /* a level is a voltage, not a time: the current of a non-linear cell depends on it */
    double pulse_share; /* length of a pass / tile.pulse */
    struct input_pass pass[PASSES_MOST];
};

/* quantised: the effect dac is on. Without it an input is one exact level (phases are kept). */
void input_plan_make(const struct tile_spec *t, bool quantised, struct input_plan *out);

/* Digit of code q, with its sign in a bipolar pass. */
static inline int input_digit(const struct input_pass *p, int q) {
    int size = q < 0 ? -q : q, digit = size >> p->shift & p->mask;
    if (p->complement) {
        return (int)((unsigned)q >> p->shift & (unsigned)p->mask);
    }
    return p->sign == 0 ? (q < 0 ? -digit : digit) : (q < 0) == (p->sign < 0) ? digit : 0;
}

/* Passes of a group: [first, end). */
static inline uint32_t group_first(const struct input_plan *p, uint32_t group) { return p->first[group]; }
static inline uint32_t group_end(const struct input_plan *p, uint32_t group) { return p->first[group + 1]; }

/* What a tile does in one multiply, for counts and times. */
struct tile_work {
    uint32_t passes, groups; /* drives, those of the second leg included; conversions of a line */
    uint32_t samples, pulses; /* passes and pulses that a line takes */
    uint32_t lines, shared;  /* converted results per output; and per tile (shared columns) */
    uint32_t converters;     /* per output: the lines, less those that take turns */
    uint32_t unit_cells;     /* per weight: one for each slice */
    uint32_t shared_cells;   /* per row: of shared columns, converted or not */
    double interval_s, latency_s; /* between multiplies, and of one; NAN for a chip without costs */
    double converting_s; /* from the begin of its first conversion to the end of the last, S before the result */
};
/* A multiply is R rounds (groups, twice where legs take turns). A round drives its passes, D = pulses x pulse x
 * pulse_share (the mean of all rounds), and ends with its conversions, C = mvm - pulse + (share - 1) x conversion.
 * tile.mvm is a multiply of one pass. L = tile.registers.load before the first round, S = store after the last; both 0
 * where there is no such group. tile.overlap says what the tile does at the same time:
 *   none         latency = interval = L + R (D + C) + S
 *   sample_hold  D of a round while C of the one before it; the array takes the next inputs when its last round is
 *                driven, and the last conversions and the results wait for nobody:
 *                latency = L + D + C + (R - 1) max(D, C) + S,   interval = (R - 1) max(D, C) + max(L + D, C + S)
 *   full         the same, and inputs and results have registers of their own: L, S, and of C what moves inputs and
 *                results, M = mvm - pulse - conversion, pass beside other multiplies. With C' = C - M:
 *                latency = L + M + D + C' + (R - 1) max(D, C') + S,   interval = max(R max(D, C'), M, L, S)
 * tile.integrator.between adds (R - 1) times to both. A conversion ends with its round and is share x conversion long,
 * or as long as the way from round to round if that is shorter (a converter that integrates while the array works).
 * So the throughput of a tile is that of its longest stage, its latency the sum. */
struct tile_work tile_work_of(const struct chip_spec *s);
const struct tile_work *chip_work(const struct chip *c); /* the same of its spec, worked out once */

/* What contradicts in the keys of the inputs: NULL where all is well, else the key to change, with the reason in `why`.
 */
const char *input_contradiction(const struct chip_spec *s, char *why, size_t bytes);

#endif
