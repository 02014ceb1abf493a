/* Private to models/adapt/: the linear layer of the student; the equations are in rule.h.
 *
 *   y [T][O] = sum over row blocks of ADC(DAC(x) W~) + side path + bias
 * Backward, with g = dL/dx^ of a block (x^ the quantised input), R its range (arXiv 2505.09663; aihwkit-lightning 2.1):
 *   dL/dx  = g where |x| <= R, else 0
 *   dL/dR  = R (sum over x >= R of min(g, 0) - sum over x <= -R of max(g, 0))
 *            + decay R where more than `range_inside` of the inputs are strictly inside
 *   dL/dW  = dL/dW~ (straight through clip, quantiser and noise);  with a learned clip c per output, n weights in the
 *            row block of all outputs, q = W / s, s = c / steps:
 *            dL/dW only where |q| <= steps;  dL/dc = sum g (steps where q > steps, -steps where q < -steps, else
 *            round(q) - q) / sqrt(n steps);  without quantiser: sum g (+-1 outside) / sqrt(n)
 * So only gradients that want a larger |x| widen a range, and only decay narrows it.
 * Side path: weights of digital channels and listed weights are 0 on the tile, without noise; they count neither for
 * m nor for ranges, and multiply x as it is. They are trained with the rest.
 *
 * Scales and ADC ranges that the model brings take the place of m in the noise and of lambda m in b; they are not
 * trained, and weights beyond their scale are clipped to it (straight through).
 *
 * With compute = bf16 the operands of all three products are rounded: x^ and W~ where they are made, or copies.
 *
 * Work is shared out over groups of outputs and over chunks of tokens; every sum has one order. A chunk lies within one
 * sequence: a row of a product may have other last bits among other rows (base/gemm.h), so that a batch cut anywhere
 * would give a sequence other results beside others, or in another process. As it is, with weights and ranges given, y
 * and dx of a sequence depend on it alone, and only sums over all tokens, the gradients of weights, on the batch. */
#ifndef MHO_MODELS_ADAPT_STUDENT_LINEAR_H
#define MHO_MODELS_ADAPT_STUDENT_LINEAR_H

#include "base/memory.h"
#include "models/adapt/student.h"
#include "models/adapt/student_products.h"

enum {
    GROUP = 192,                         /* outputs that one piece of work takes, */
    CHUNK = 256,                         /* and tokens of a sequence, at most */
    GRADIENT_GROUP = 48,                 /* outputs of a piece of dL/dW: few, so that all threads have as much to do */
    RUN = 1024,                          /* outputs whose weights are multiplied at once on the way back */
    SIDE_CHUNK = 128                     /* tokens of the side path at once */
};

struct analog_layer {
    const struct analog_rule *rule;      /* NULL: digital */
    uint32_t inputs, outputs, blocks, matrix;
    uint64_t seed;
    const uint32_t *begin;               /* [blocks + 1] inputs */
    real *weight, *weight_gradient;      /* [O][I] */
    real *bias, *bias_gradient;          /* [O] or NULL */
    real *range, *range_gradient;        /* [blocks] */
    uint32_t *range_batches;             /* [blocks] that it was taken from */
    real *clip, *clip_gradient;          /* [blocks][O]; NULL: not learned */
    float cell_noise;                    /* of the cell's noise: sd with the matrix's devices per weight / the chip's */
    const float *scale, *adc_range;      /* [blocks][O] that the model brings (struct matrix_source); NULL: none */
    const uint8_t *digital_input;        /* [I]; NULL: none */
    const uint32_t *side_begin, *side_inputs; /* [O + 1]; digital weights of every output, channels included */

    /* Of the last forward pass. */
    real *noisy;                         /* [O][I] W~ */
    real *largest;                       /* [blocks][O] m */
    real *block_largest;                 /* [blocks] the largest m */
    real *limit;                         /* [O] where the copy is clipped; infinity: nowhere */
    real *used_range;                    /* [blocks] R, not below the floor */
    const real *used;                    /* what was multiplied: noisy or weight */
    uint16_t *clipped;                   /* [blocks][panels][T] bit per lane: outside b; only where `any` */
    uint8_t *any;                        /* [blocks][panels][chunks of the pass] */
};

/* Buffers that all layers use one after the other. */
struct analog_work {
    uint32_t tokens, inputs, outputs, blocks; /* at most */
    enum compute compute;
    real *quantised, *gradient_in;       /* [T][I]; quantised: what is multiplied, where that is not x itself */
    real *token_range;                   /* [blocks][T] */
    double *token_sums;                  /* [T][4] */
    real *turned;                        /* [I][T] */
    real *rounded;                       /* [RUN][I] weights; NULL: fp32 */
    size_t scratch_reals;
    real *scratch;                       /* [threads][scratch_reals] */
    int threads;
};

/* Looks on while a pass runs, the repetition for gradients excepted. Each may be NULL. */
struct analog_watch {
    void *context;
    /* x [tokens][I] of the layer, before any converter. */
    void (*inputs)(void *context, const struct analog_layer *l, const real *x, size_t tokens);
    /* Results of a panel of outputs in a row block, before the ADC: tile [n][ld], PANEL columns. Called by several
     * threads, for one panel by one of them. Only where the layer acts as the chip does. */
    void (*results)(void *context, const struct analog_layer *l, size_t block, size_t panel, const real *tile,
                    size_t ld, size_t n);
    /* On the way back: dL/dy [tokens][ldy] of the layer, and what it multiplied, x [tokens][I]. */
    void (*gradients)(void *context, const struct analog_layer *l, const real *x, const real *dy, size_t ldy,
                      size_t tokens);
    bool no_logits; /* nobody reads them: the head's inputs are shown, but not multiplied; with `inputs` */
};

struct analog_pass {
    enum student_mode mode;
    bool again;      /* the same pass once more, for the gradients: weights and ranges stay */
    uint64_t key;
    uint32_t tokens, length; /* sequences x length, and the length of a sequence: for passes through layers, > 0 */
    const struct analog_watch *watch; /* NULL: nobody looks on */
    bool mirrored;   /* noise with the other sign */
};

/* Tokens [token, token + n), never of two sequences. */
struct chunk { size_t token, n; };

static inline size_t chunks_of_length(size_t length) { return (length + CHUNK - 1) / CHUNK; }
static inline size_t chunks_in(const struct analog_pass *p) {
    return p->tokens / p->length * chunks_of_length(p->length);
}
/* Which chunk a token is in. */
static inline size_t chunk_with(const struct analog_pass *p, size_t token) {
    return token / p->length * chunks_of_length(p->length) + token % p->length / CHUNK;
}
static inline struct chunk chunk_at(const struct analog_pass *p, size_t i) {
    size_t each = chunks_of_length(p->length), first = i % each * CHUNK;
    return (struct chunk){i / each * p->length + first, smaller(CHUNK, p->length - first)};
}

/* n zeroed reals, aligned for the kernels. NULL: out of memory. */
real *reals_of(struct arena *a, size_t n);

/* l->rule, inputs, outputs, blocks, begin and side path are set: makes all else of it that is private, for passes of at
 * most so many sequences of at most that length. False: out of memory. */
bool analog_layer_buffers(struct analog_layer *l, struct arena *a, uint32_t sequences, uint32_t length);
/* w->tokens, inputs, outputs, blocks: the largest of all layers. more: scratch that others need, per thread. */
bool analog_work_buffers(struct analog_work *w, struct arena *a, size_t more);

/* x [T][I], y [T][ldy] */
void analog_layer_forward(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x,
                          real *y, size_t ldy);
/* Adds to the gradients of the layer and to dx [T][I]. */
void analog_layer_backward(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p, const real *x,
                           const real *dy, size_t ldy, real *dx);
/* Master weights clipped as the rule says, ranges and clips kept above 0. */
void analog_layer_clip(struct analog_layer *l);

/* ---- between the files of the layer ------------------------------------------------------------- */

/* max |w| of output o in block t, without what stays digital. */
real analog_largest_weight(const struct analog_layer *l, size_t o, size_t t);
/* m, limits and the largest of every block, from the weights. */
void analog_measure_weights(struct analog_layer *l);
/* Rows [first, first + count) of l->noisy. numbers: scratch [I + PANEL] floats. */
void analog_make_weights(struct analog_layer *l, const struct analog_pass *p, size_t first, size_t count,
                         float *numbers);
/* dL/dW~ of output o in block t, g [begin[t+1] - begin[t]], into the gradients of weight and clip; g of digital weights
 * becomes 0. */
void analog_weight_gradient(struct analog_layer *l, size_t o, size_t t, real *g);
bool analog_acts(const struct analog_layer *l, const struct analog_pass *p);
/* What the layer multiplies for x: x itself, or w->quantised, made from it with the ranges of the pass. */
const real *analog_multiplied_inputs(struct analog_layer *l, struct analog_work *w, const struct analog_pass *p,
                                     const real *x);
void analog_side_forward(const struct analog_layer *l, struct analog_work *w, uint32_t tokens, const real *x, real *y,
                         size_t ldy);
/* dx and the gradients of digital weights. */
void analog_side_backward(struct analog_layer *l, struct analog_work *w, uint32_t tokens, const real *x, const real *dy,
                          size_t ldy, real *dx);

#endif
