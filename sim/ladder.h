/* Private to sim/: a column of differential pairs read in time steps over a resistive wire, as aihwkit's IR-drop tile
 * (TorchInferenceRPUConfigIRDropT) describes it. Pure functions: in double precision, or step by step in single.
 * Equations, source, what is left out: ladder.c.
 */
#ifndef MHO_SIM_LADDER_H
#define MHO_SIM_LADDER_H

#include "sim/chip.h"

/* One tile: `rows` positions on its wire, `segments` divides them. */
struct ladder {
    uint32_t rows, segments;
    double cell_ohm; /* wire from one cell to the next */
};

/* Where row i of `used` rows lies: 0 is the far end of a column that is read at the bottom. used <= l->rows. */
static inline uint32_t ladder_position(const struct ladder *l, uint32_t used, uint32_t i) {
    return (l->rows - used) / 2 + i;
}

/* Folds the ladder of column `column` (odd ones are read at the other end): share [used] = part of a device's current
 * that arrives, the same for both legs; returns the conductance that the converter sees, in siemens. plus_S, minus_S
 * [used]: not negative. */
double ladder_fold(const struct ladder *l, const float *plus_S, const float *minus_S, uint32_t used, uint32_t column,
                   double *share);

/* The same column by steps in single precision (tile.ladder.precision). plus_uS, minus_uS [used]; level [used]: steps
 * that each input counts for (ladder_steps); most: largest digit. Returns what the closed form gives with its offset:
 * charge / (read voltage x step), in siemens x steps. */
struct ladder_pairs {
    const float *plus_uS, *minus_uS, *level;
    uint32_t used, column;
    int most;
};
double ladder_stepped(const struct ladder *l, const struct ladder_spec *s, const struct ladder_pairs *pairs);

/* Steps that a digit counts for, with its sign, and steps that a pass lasts whose largest digit is `most`. */
double ladder_steps(const struct ladder_spec *s, double digit);
static inline double ladder_duration(int most) { return most + 1.0; }

/* What the wire's common conductance adds to a result per step: as a conductance. */
double ladder_offset_S(const struct ladder_spec *s, double output_S);

/* A charge as the counter gives it back: conductance_steps = charge / (read voltage x step), in siemens x steps. */
double ladder_counted(const struct ladder_spec *s, double conductance_steps);

#endif
