/* Private to sim/: effects on the results of a whole tile as aihwkit 1.1 defines them, so that one of its
 * configurations can be replayed, and its two loops around a multiply (noise and bound management). Pure functions in
 * double precision: random numbers are handed in, nothing is kept. Equations: phenomena.c.
 *
 * Units: w of full-scale conductance = 1, x of the input range = 1, so a result is in units of (weight scale x input
 * range). A "tile" is a row block x column block; n = its inputs in use.
 *
 *   x' = DAC(x / scale)           phenomena_inputs     noise of the input, then its asymmetry
 *   sums over the rows            phenomena_sums       (or what a kernel adds up; those that phenomena_needs names)
 *   y  = array(sums)              phenomena_array      IR drop, voltage offset and series resistance, weight noise
 *   y  = output(y)                phenomena_output     S-shaped compression, asymmetry, noise; then the ADC
 *
 * Two-phase inputs: with passes added as charge, phenomena_array acts on each pass and phenomena_output once on their
 * sum; with passes added digitally, both act on each pass.
 */
#ifndef MHO_SIM_PHENOMENA_H
#define MHO_SIM_PHENOMENA_H

#include "sim/chip.h"

/* The effects that are on: switched-off ones are zero, `any` says whether something is left. */
struct phenomena_spec phenomena_active(const struct phenomena_spec *p, const struct effects *e);

/* Low byte of the place (random_stream's `where` = matrix << 8 | one of these) of what is drawn from RANDOM_CONVERTER;
 * `index` beside each. */
enum {
    PHENOMENA_COLUMN = 0xF0,    /* constants of a column; PHENOMENA_DRAWS x (row block x columns + output) + draw */
    PHENOMENA_INPUT = 0xF1,     /* noise of an input; read x inputs + input */
    PHENOMENA_OUTPUT = 0xF2,    /* noise of a result; (read x row blocks + row block) x columns + output */
    PHENOMENA_WEIGHT = 0xF3,    /* weight noise of a result, the same; second phase: 0xF4 */
    PHENOMENA_ASYMMETRY = 0xF5, /* of a weight between the phases; output x inputs + input */
};
enum { PHENOMENA_DRAWS = 4 };

/* What a column keeps for life. */
struct phenomena_column {
    double noise_sd;
    double nonlinearity;   /* n: y -> y / (1 + n |y|) */
    double slope;          /* factor that brings the compressed slope back to 1 at the calibrated result */
    double voltage_offset; /* share of the read voltage */
};
/* Columns [first, first + n) of one tile; where = matrix << 8 | PHENOMENA_COLUMN. full_scale [n]: of their ADCs, in the
 * units above; infinity where they have no bound (then there is no compression). */
void phenomena_columns(const struct phenomena_spec *p, uint64_t seed, uint64_t where, uint64_t first,
                       const double *full_scale, size_t n, struct phenomena_column *out);

/* x [n] as they leave the DAC, changed in place. z [n]: standard normal; NULL: no noise. */
void phenomena_inputs(const struct phenomena_spec *p, double *x, const double *z, size_t n);

/* Sums over the rows j = 0 .. n - 1 of a tile, for one column. */
struct phenomena_sums {
    double product;          /* w x */
    double far;              /* w x (1 - (1 - j/n)^2) */
    double absolute;         /* |w| |x| */
    double inputs;           /* x */
    double squares;          /* x^2 */
    double weighted_squares; /* |w| x^2 */
};
void phenomena_sums(const double *w, const double *x, size_t n, struct phenomena_sums *out);
/* Which of them phenomena_array reads, besides `product`. */
struct phenomena_needs {
    bool far; /* and absolute */
    bool inputs, squares, weighted_squares;
};
struct phenomena_needs phenomena_needs(const struct phenomena_spec *p);

/* rows = n. z: standard normal number of the weight noise. */
double phenomena_array(const struct phenomena_spec *p, const struct phenomena_column *k, const struct phenomena_sums *s,
                       size_t rows, double z);
/* z: standard normal number of the noise. */
double phenomena_output(const struct phenomena_spec *p, const struct phenomena_column *k, double y, double z);

/* ---- management ------------------------------------------------------------------------------------- */

/* Scale of the inputs x [n] of one token on one tile (x / scale goes to the DAC). 0: nothing to multiply, the result is
 * 0. input_step: 1 / number of steps of the DAC over its whole range (b bits: 1 / (2^b - 2)), 0 without quantisation;
 * full_scale: of the ADC, infinity without one. average: NOISE_AVERAGE_ABS_MAX keeps its running mean there. */
double management_scale(const struct management_spec *m, const double *x, size_t n, double input_step,
                        double full_scale, double *average);

/* Repeats on clipping. Begin with {0}: factor 1; after each multiply ask management_repeat; while it says yes, multiply
 * again with the inputs divided by scale x factor (scale taken anew where worst_case is set: NOISE_ABS_MAX_NP_SUM). */
struct management_loop {
    double factor;   /* results count this many times */
    bool worst_case; /* the scale is the worst-case one */
};
void management_begin(struct management_loop *l);
bool management_repeat(const struct management_spec *m, double input_step, bool clipped, struct management_loop *l);

#endif
