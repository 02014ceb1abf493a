/* A column of P cells on one wire, cut into segments of P / segments rows. Each cell is a pair g+, g- on that wire;
 * while an input is on, its sign decides which device stands on the high rail and which on the low one; else both idle
 * between them. Source: aihwkit 1.1, TorchInferenceRPUConfigIRDropT and its example 28 (time-dependent IR drop).
 * Voltages relative to the idle rail (0.4 V there): rails +read_V and -read_V (0.6 and 0.2 V), converter at
 * sense_offset_V (0.4005 - 0.4 V).
 *
 *   input j is on in step k = 0 .. L if |digit_j| > k, L = largest digit of the pass
 *   segment      G_s = sum (g+ + g-),  J_s(k) = read_V sum over inputs that are on of sign_j (g+ - g-)
 *   from the far end, r = cell_ohm x rows of a segment, Y and J = conductance and short-circuit current so far:
 *                Y <- Y / (1 + r Y) + G_s,   J <- J / (1 + r Y) + J_s,   at the end half a segment more
 *                (Thevenin: resistance 1 / Y, voltage J / Y)
 *   converter    I(k) = J - sense_offset_V Y
 *   charge       trapezoids over the steps with the first one given twice, or their sum
 *   counter      an oscillator of oscillator_Hz at 100 uA: whole periods, towards zero
 *   result       charge / (read_V L); two passes (split) are counted apart and added with their weights
 *
 * G_s does not depend on the input: an idle device conducts as much as a driven one. So Y is a constant of the column,
 * J is linear in the inputs, and the time steps add up in closed form, without error:
 *
 *   share_s      = product of 1 / (1 + r Y) from segment s to the converter
 *   charge       = read_V sum_j share_s(j) (g+ - g-)_j steps(digit_j) - sense_offset_V Y (L + 1)
 *   steps(d)     = sign(d) (|d| + 1/2) for d != 0: the doubled first sample;  d for the plain sum
 *
 * Effective weights, half a digit more per input, one number per column: nothing is stepped at run time. Rows in use
 * lie in the middle of the wire, the rest is empty. Even columns are read at the end of the last row, odd ones at the
 * other.
 *
 * tile.ladder.precision = single steps through time all the same, every operation rounded to float32 in the order
 * in which aihwkit's tile adds. It replays that tile and says nothing of the circuit: voltages of some 0.4 V are
 * rounded by 3e-8 V in every segment, where 0.01 V and less drive the current. Closed form and aihwkit's outputs
 * differ by 1.4e-5 of the largest output with 64 segments, by 8e-6 with 8; the steps in float32 and its outputs by
 * 1.6e-6 (tests/test_ladder.c).
 *
 * Inputs without codes (effect dac off) are pulses of exact length, without the half step.
 *
 * Not modelled: resistance of rows, capacitance of the wire; steps other than one per digit (aihwkit's
 * time_step_resolution_scale), its input-dependent read noise; the 1e-12 uS to 0 V that it gives an empty segment.
 * The offset of the converter acts on every conductance of the column and is not calibrated away.
 */
#include "sim/ladder.h"

#include <math.h>
#include <stdbool.h>

/* Of the oscillator: the current that its frequency is stated for. */
static const double OSCILLATOR_A = 100e-6;

/* Segment of row i, from the far end of the column. */
static uint32_t segment_of(const struct ladder *l, uint32_t used, uint32_t column, uint32_t i) {
    uint32_t place = ladder_position(l, used, i);
    return (column % 2 ? l->rows - 1 - place : place) / (l->rows / l->segments);
}

double ladder_fold(const struct ladder *l, const float *plus_S, const float *minus_S, uint32_t used, uint32_t column,
                   double *share) {
    double ohm = l->cell_ohm * (l->rows / l->segments), total_S = 0;
    uint32_t here = 0;
    for (uint32_t n = 0; n < used; n++) { /* share: loss on the wire just before this row */
        uint32_t i = column % 2 ? used - 1 - n : n, segment = segment_of(l, used, column, i);
        share[i] = 1 + ohm * (segment - here) * total_S;
        total_S = total_S / share[i] + (double)plus_S[i] + (double)minus_S[i];
        here = segment;
    }
    double last = 1 + ohm * (l->segments - 1 - here + 0.5) * total_S, behind = 1 / last;
    for (uint32_t n = used; n-- > 0;) {
        uint32_t i = column % 2 ? used - 1 - n : n;
        double loss = share[i];
        share[i] = behind;
        behind /= loss;
    }
    return total_S / last;
}

/* ---- step by step in single precision -------------------------------------------------------------------------- */

/* Of the idle rail, and of the conductance to 0 V that every segment has: aihwkit 1.1. */
static const double IDLE_V = 0.4;
static const float EMPTY_US = 1e-12f;

/* Conductance of a segment to the rails. */
struct segment_sums { float high_uS, low_uS, idle_uS; };

/* In one step: an input is on while its digit is larger. */
static struct segment_sums sum_segment(const struct ladder *l, const struct ladder_pairs *c, uint32_t segment,
                                       int step) {
    struct segment_sums sum = {0, 0, 0};
    uint32_t length = l->rows / l->segments, first = ladder_position(l, c->used, 0);
    for (uint32_t p = segment * length; p < (segment + 1) * length; p++) {
        uint32_t place = c->column % 2 ? l->rows - 1 - p : p, i = place - first;
        if (place < first || i >= c->used) {
            continue;
        }
        bool on = fabsf(c->level[i]) > (float)step + 0.75f; /* half a step more or none may be in a level */
        float plus_uS = c->plus_uS[i], minus_uS = c->minus_uS[i];
        bool up = c->level[i] > 0;
        sum.high_uS += !on ? 0.0f : up ? plus_uS : minus_uS;
        sum.low_uS += !on ? 0.0f : up ? minus_uS : plus_uS;
        sum.idle_uS += on ? 0.0f : plus_uS + minus_uS;
    }
    return sum;
}

/* Current into the converter in uA, in one step: segments in parallel and wire in series (Thevenin), in Mohm. */
static float step_current(const struct ladder *l, const struct ladder_spec *s, const struct ladder_pairs *c,
                          int step) {
    const float high_V = (float)(IDLE_V + s->read_V.value), low_V = (float)(IDLE_V - s->read_V.value),
                idle_V = (float)IDLE_V, sense_V = (float)(IDLE_V + s->sense_offset_V.value),
                wire = (float)(1e-6 * l->cell_ohm * (l->rows / l->segments));
    float resistance = 0, volts = 0;
    for (uint32_t n = 0; n < l->segments; n++) {
        struct segment_sums sum = sum_segment(l, c, n, step);
        float all = sum.high_uS + sum.low_uS + sum.idle_uS + EMPTY_US, mine = 1 / all;
        float here = (high_V * sum.high_uS + low_V * sum.low_uS + idle_V * sum.idle_uS) / all;
        float before = resistance + wire;
        resistance = n == 0 ? mine : before * mine / (before + mine);
        volts = n == 0 ? here : (volts / before + here / mine) * resistance;
    }
    return (volts - sense_V) / (resistance + 0.5f * wire);
}

double ladder_stepped(const struct ladder *l, const struct ladder_spec *s, const struct ladder_pairs *pairs) {
    float charge = 0, before = 0;
    for (int k = 0; k <= pairs->most; k++) {
        float now = step_current(l, s, pairs, k);
        charge += s->sum || k == 0 ? now : (now + before) / 2;
        before = now;
    }
    return (double)charge * 1e-6 / s->read_V.value;
}

/* ---- converter --------------------------------------------------------------------------------------------------- */

double ladder_steps(const struct ladder_spec *s, double digit) {
    double half = s->sum || digit == 0 ? 0 : 0.5;
    return digit < 0 ? digit - half : digit + half;
}

double ladder_offset_S(const struct ladder_spec *s, double output_S) {
    return s->sense_offset_V.value / s->read_V.value * output_S;
}

double ladder_counted(const struct ladder_spec *s, double conductance_steps) {
    if (!s->adc) {
        return conductance_steps;
    }
    double periods = s->oscillator_Hz.value * s->step_s.value * s->read_V.value / OSCILLATOR_A;
    return trunc(conductance_steps * periods) / periods;
}
