/* Private to models/adapt/: the steps of `mho adapt fit`, adaptation without training. Equations: fit_sensitivity.c and
 * fit_side.c; docs/adaptation.md. */
#ifndef MHO_MODELS_ADAPT_FIT_H
#define MHO_MODELS_ADAPT_FIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "models/adapt/student_linear.h"
#include "models/model.h"

struct fit_statistics;

/* How much errors cost in nats per token and unit of their square, half taken already: output[o] x input[i] of a
 * weight, result[o] of a result where it is drawn afresh for every token. */
struct sensitivity {
    double *output, *input, *result; /* [O], [I], [O] */
    double together;                 /* c: errors that are the same in all tokens, against those that are not */
};

struct sensitivity_text {
    const int32_t *ids; /* [windows][length] */
    size_t windows;
    uint32_t length;
    uint64_t seed;      /* of the labels */
};
/* One for each matrix of the model, also those that the chip does not hold. What f knows of inputs is replaced by those
 * of the text. *out: one block of memory for mem_free. */
enum status fit_sensitivity(const struct model *m, const struct chip *c, const struct sensitivity_text *text,
                            struct fit_statistics *f, struct sensitivity **out, struct error *e);
/* a, b [n]: sums of the two halves of a text, of output or input. a becomes that of the whole, with as much of its mean
 * mixed in as makes each half foretell the other best; the total stays. */
void fit_smooth(double *a, const double *b, size_t n);

/* ---- noise of weights (fit_side.c) ---------------------------------------------------------------------- */

enum { FIT_NOISE_NODES = 257 };
/* Variance that programming leaves on a weight, in units of m^2, m the largest |w| of its column: at |w| / m = i /
 * (FIT_NOISE_NODES - 1); one more for the interpolation at 1. */
struct fit_noise { float variance[FIT_NOISE_NODES + 1]; };
enum status fit_noise_of(const struct chip *c, struct fit_noise *out, struct error *e);
/* ratio: |w| / m, 0 to 1 */
static inline float fit_variance(const struct fit_noise *n, float ratio) {
    float at = ratio * (FIT_NOISE_NODES - 1);
    size_t i = (size_t)at;
    return n->variance[i] + (n->variance[i + 1] - n->variance[i]) * (at - (float)i);
}

/* ---- converters (fit_statistics.c, fit_ranges.c) ------------------------------------------------------- */

enum {
    FIT_BINS = 256,    /* of sizes, 2^-16 to 2^16, 8 per octave */
    FIT_LEVELS = 6,    /* numbers of channels of a row block that are tried */
    FIT_CHANNELS = 16  /* the largest of them */
};

/* Codes of one sign, 0: off; lambda. */
struct fit_converters { double dac_steps, adc_steps, adc_bound; };
struct fit_converters fit_converters_of(const struct chip_training *t);

/* What is known of one matrix on tiles: blocks 0 for all others. Block: row block. */
struct fit_statistics {
    uint32_t blocks, panels;
    double tokens;
    uint32_t *inputs;    /* [I][FIT_BINS] counts of |x| */
    int32_t *signs;      /* [I][FIT_BINS] counts of x > 0 less those of x < 0 */
    double *results;     /* [blocks][panels][FIT_BINS] s_o m_o^2 summed at |y_o| / m_o; NULL: not measured */
    double *output_cost; /* [O] s_o */
    double *weight;      /* [I] h_i */
    float *largest;      /* [blocks][O] m_o */
    double *scale;       /* [blocks] sum of s_o m_o^2 */
    uint32_t *ranked;    /* [blocks][FIT_CHANNELS] inputs that reach furthest */
    double *menu;        /* [blocks][FIT_LEVELS] J_k */
    bool menu_made;
    float *ranges;       /* [blocks] R */
    float *limits;       /* [blocks] L */
    float *adc;          /* [blocks][O] L m_o / R; as fit_set_adc last left it */
    double cost;         /* of the converters, nats per token */
    double plain_cost;   /* the same with the largest inputs as ranges and the chip's lambda */
    uint32_t devices;    /* per weight (struct matrix_source); 0: the chip's own number */
    double noise;        /* of the weights on tiles with these, nats per token */
};
/* One for each matrix, empty. NULL: out of memory. */
struct fit_statistics *fit_statistics_create(const struct model *m, const struct chip *c);
void fit_statistics_destroy(struct fit_statistics *f, size_t matrices);
void fit_clear_inputs(const struct model *m, struct fit_statistics *f);
/* The model with side paths, ranges and devices as they are now: sources [matrices] are the caller's. */
struct model fit_adapted(const struct model *m, struct side_path *const *sides, const struct fit_statistics *f,
                         struct matrix_source *sources);
void fit_count_inputs(struct fit_statistics *f, size_t inputs, const float *x, size_t tokens);
/* Results under the noise of the chip's cell, with ranges and side paths as they are. */
enum status fit_results(const struct model *m, const struct chip *c, struct side_path *const *sides,
                        const struct student_batch *windows, size_t count, struct fit_statistics *f, struct error *e);
/* Sums of all panels of a block, per token; [FIT_BINS] in the place of its first panel. */
const double *fit_block_results(struct fit_statistics *f, uint32_t b);

size_t fit_bin(float size);
/* Weighted squared errors of sizes in bins, clipped at `range` in `steps` steps. */
double fit_range_cost(const double *bins, double range, double steps);
/* The range with the least J, mean parts left out; scale: sum of s_o m_o^2, 0 where the ADC does not count. */
double fit_best_range(const struct fit_converters *c, const double *inputs, double scale, double *cost);
/* The limit L with the least K. */
double fit_best_limit(const struct fit_converters *c, const double *results, double *cost);
/* h, m, s and the cost of noise from the weights that sides (NULL: none) leave on the tiles. */
enum status fit_measure_weights(const struct model *m, const struct chip *c, const struct sensitivity *v,
                                struct side_path *const *sides, struct fit_statistics *f, struct error *e);
enum status fit_channel_menu(const struct model *m, const struct chip *chip, const struct chip_training *t,
                             struct fit_statistics *f, struct error *e);
/* Marks the channels that are worth their price, in nats per token each; returns how many. *saved: nats per token. */
uint32_t fit_take_channels(const struct fit_statistics *f, double price, uint8_t *digital, double *saved);
/* R and L of every block, and what they cost. */
enum status fit_ranges(const struct model *m, const struct chip *chip, const struct chip_training *t,
                       const struct sensitivity *v, struct side_path *const *sides, struct fit_statistics *f,
                       struct error *e);
void fit_set_adc(const struct model *m, struct fit_statistics *f);

/* Ranges multiplied by what measures best on the noisy chip (fit_search.c). */
enum status fit_search(const struct model *m, const struct chip *c, struct side_path *const *sides,
                       const struct sensitivity_text *text, struct fit_statistics *f, struct fit_trials *out,
                       struct error *e);

/* ---- what stays digital (fit_prices.c, fit_side.c) ------------------------------------------------------ */

/* Of one matrix, in joules per token, or in multiplications where the chip has no costs. */
struct fit_price {
    bool joules;
    double channel, weight; /* each */
    double lists, sums;     /* once: if weights are listed, if anything is digital */
};
/* One for each matrix; mem_free. */
enum status fit_prices(const struct model *m, const struct chip *c, struct fit_price **out, struct error *e);
double fit_cost(const struct fit_price *p, uint32_t channels, double weights);

/* At most `share` of the multiplications of all matrices on tiles stays digital, where it saves most for its price:
 * channels where there is a menu of them, and single weights if `weights`. 0: nothing. */
struct fit_sides {
    struct side_path **sides;  /* [matrices], NULL for those that are not on tiles */
    double *saved;             /* [matrices] what channels save of the cost of converters, nats per token */
    struct fit_price *prices;  /* [matrices] */
    double worth;              /* nats per token that the last unit of price saves */
    uint64_t listed, weights;  /* of all matrices on tiles */
};
enum status fit_sides(const struct model *m, const struct chip *c, const struct sensitivity *s, double share,
                      bool weights, const struct fit_statistics *f, struct fit_sides *out, struct error *e);
void fit_sides_destroy(struct fit_sides *f, size_t matrices);

/* ---- devices per weight (fit_redundancy.c) -------------------------------------------------------------- */

/* One matrix: cost of its noise with the chip's own number of devices per weight, arrays of its tiles, and the number
 * of devices, which is to be raised. Zeroed: not on tiles. */
struct fit_candidate {
    double noise, arrays;
    uint32_t devices;
};
/* Raises devices from `own` on within so many arrays of cells more; returns how many are used. */
double fit_choose_devices(struct fit_candidate *c, size_t count, uint32_t own, double arrays);
/* f->devices from f->noise, for at most `area` times as many cells more; *more: how many it are. */
enum status fit_redundancy(const struct model *m, const struct chip *c, double area, struct fit_statistics *f,
                           double *more, struct error *e);

/* ---- weights that are written instead of the model's (fit_copy.c, fit_moments.c, fit_reconstruct.c) ----- */

/* A model whose weights may be changed: matrices on tiles are its own, in fp32. The original must outlive it. */
enum status fit_copy_create(const struct model *m, const struct chip *c, struct model **out, struct error *e);
void fit_copy_destroy(struct model *copy); /* NULL is fine */
float *fit_weights(const struct model *copy, size_t matrix); /* [O][I] of a matrix on tiles */

/* E[x x^T] of the inputs of every matrix on tiles; the same block for matrices with the same inputs. */
struct fit_moments {
    float **square; /* [matrices][I][I]; NULL: not on tiles */
    struct arena *arena;
};
enum status fit_moments(const struct model *m, const struct chip *c, const int32_t *ids, size_t windows,
                        uint32_t length, struct fit_moments *out, struct error *e);
void fit_moments_destroy(struct fit_moments *f);

/* One matrix. */
struct fit_layer {
    uint32_t inputs, outputs;
    uint32_t devices;              /* per weight; 0: the chip's own number */
    const float *square;           /* [I][I] */
    const struct side_path *side;  /* NULL: none */
    float *weights;                /* [O][I]: given, and what to write instead */
    float *scales;                 /* [row blocks][O]: found */
    double *before, *after;        /* [O] expected squared error of the results */
};
enum status fit_reconstruct_layer(const struct chip *c, const struct fit_layer *l, struct error *e);
/* All matrices on tiles of a copy: weights and weight_scale. */
enum status fit_reconstruct(struct model *copy, const struct chip *c, const int32_t *ids, size_t windows,
                            uint32_t length, struct side_path *const *sides, const struct fit_statistics *v,
                            struct fit_gain *gain, struct error *e);

#endif
