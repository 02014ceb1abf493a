/* How a matrix of the student behaves in training: the hardware-aware rule of Analog Foundation Models (arXiv
 * 2505.09663, and the reference implementation aihwkit-lightning 2.1), for the tiles and converters of a chip.
 *
 * Per row block t of a matrix W [O][I], with the static input range R_t and m_to = max |W| of output o in the block:
 *   1. inputs    x^ = round(clamp(x, -R_t, R_t) / s) s,     s = R_t / dac_steps
 *   2. weights   W^ = W, clipped and quantised if asked for;   W~ = W^ + noise(o, i), drawn afresh for every batch
 *   3. outputs   y_t = sum over the block of x^ W~;   y^_t = clamp(round(y_t / u) u, -b, b),   b = R_t lambda m_to,
 *                u = b / adc_steps
 *   4. y = sum over t of y^_t + side path + bias, digital.
 * Gradients: rounding counts as the identity (straight through); outputs beyond b pass none; inputs with |x| > R_t pass
 * none; noise, m and b count as constants. Input ranges learn by their own rule (student_linear.h).
 * Not modelled in training: drift, read noise, wires, faults, errors of converters. */
#ifndef MHO_MODELS_ADAPT_RULE_H
#define MHO_MODELS_ADAPT_RULE_H

#include <stdbool.h>
#include <stdint.h>

enum train_inputs {
    TRAIN_INPUTS_FREE,    /* neither clipped nor quantised */
    TRAIN_INPUTS_STATIC,  /* one learned range per row block */
    TRAIN_INPUTS_PER_TOKEN /* max |x| of the token's row block; nothing is learned */
};
enum train_noise {
    TRAIN_NOISE_NONE,
    TRAIN_NOISE_COLUMN, /* sd = noise_sd x m_to */
    TRAIN_NOISE_MATRIX, /* sd = noise_sd x max of m_to over o */
    TRAIN_NOISE_CELL    /* sd = noise_curve(|w| / m_to) x m_to: the programming error of the chip's cell; smaller
                           by the root of the devices per weight where the model brings a number of them */
};
enum train_clip {
    TRAIN_CLIP_NONE,
    TRAIN_CLIP_COLUMN, /* clip_sds standard deviations of the output's weights, mean taken off, n - 1 */
    TRAIN_CLIP_MATRIX, /* of the whole matrix */
    TRAIN_CLIP_LEARNED /* one learned bound per row block and output (LSQ); stands for m_to everywhere */
};

enum { NOISE_NODES = 129 }; /* of the cell's curve, |w| / m = 0 to 1 in equal steps */

struct analog_rule {
    enum train_inputs inputs;
    uint32_t dac_steps;          /* codes of one sign: 127 for 8 bits; 0: not quantised */
    double range_start;          /* R_t where neither data nor the model says */
    uint32_t range_batches;      /* R_t is the mean of range_sds x sd(x) over the first so many batches; 0: off */
    double range_sds;            /* kappa */
    double range_decay;          /* shrinks R_t ... */
    double range_inside;         /* ... while more than this share of the inputs is inside */
    double range_floor;          /* R_t is not used below it */

    double adc_bound;            /* lambda; 0: outputs are not limited */
    bool adc_per_column;         /* m_to; false: the largest of the block */
    uint32_t adc_steps;          /* codes of one sign; 0: not quantised */

    enum train_noise noise;
    double noise_sd;             /* gamma */
    float noise_curve[NOISE_NODES];

    enum train_clip clip;
    double clip_sds;             /* alpha */
    bool clip_master;            /* the weights themselves after a step; false: the copy that a forward pass uses */
    uint32_t weight_steps;       /* codes of one sign: 7 for 4 bits; 0: not quantised */
    bool weight_scale_per_column; /* of the quantiser */

    bool no_rounding;            /* for tests of gradients: rounding is left out, limits stay */
};

#endif
