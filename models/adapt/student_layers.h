/* Private to models/adapt/: the digital operations of a transformer, forward and backward.
 *
 * T tokens as rows. Backward functions get dL/dy and add to dL/dx and to the gradients of parameters, unless they say
 * "set". Threads share out tokens or columns. */
#ifndef MHO_MODELS_ADAPT_STUDENT_LAYERS_H
#define MHO_MODELS_ADAPT_STUDENT_LAYERS_H

#include "models/adapt/real.h"
#include "models/internal.h"

/* rows vectors of `width`, vector r at x + (r / heads) ld + (r % heads) width: whole rows (heads 1), or heads. */
struct vectors { size_t rows, width, heads, ld; };

/* y = x / sqrt(mean x^2 + eps) * weight; x and y have the same places; y may be x. */
void rms_norm_forward(struct vectors v, const real *x, const real *weight, double eps, real *y);
/* With s = 1 / sqrt(mean x^2 + eps), n = width:
 *   dx = s w dy - x s^3 / n sum(w dy x),   dw = sum over rows of dy x s
 * x [at v.ld], dy and dx at ld_y. set: dx is set, else added to; dy may be dx if set. sums: scratch [rows]. */
void rms_norm_backward(struct vectors v, const real *x, const real *weight, double eps, const real *dy, size_t ld_y,
                       bool set, real *dx, real *weight_gradient, double *sums);

/* Turns heads of q or k by the angle of their position (token % length); back: the other way round, which is what
 * gradients need (without the attention factor it would be the inverse). */
void rotary_turn(const struct rope *r, const struct rope_table *t, size_t tokens, size_t length, size_t heads,
                 size_t head_dim, bool back, real *x, size_t ld);

/* out [T][F] = silu(gate) up; gate_up [T][2 F]: gate, then up. */
void swiglu_forward(const real *gate_up, size_t tokens, size_t F, real *out);
/* d_gate_up [T][2 F] is set. */
void swiglu_backward(const real *gate_up, const real *dy, size_t tokens, size_t F, real *d_gate_up);

/* x [T][D] = table[ids] */
void embedding_forward(const real *table, const int32_t *ids, size_t tokens, size_t D, real *x);
void embedding_backward(const int32_t *ids, const real *dx, size_t tokens, size_t D, real *table_gradient);

/* Attention over sequences of `length` tokens: q [T][H d], k, v [T][G d] as slices of rows of `ld`.
 *   out [T][H d]: softmax over keys (t - window, t] of scale q k, times v */
struct attention {
    size_t sequences, length, heads, kv_heads, head_dim, window /* 0: all */, ld;
    real scale;
};
size_t attention_scratch_reals(size_t length);
/* scratch: [threads][each] */
void attention_forward(const struct attention *a, const real *q, const real *k, const real *v, real *out, real *scratch,
                       size_t each);
/* d_out [T][H d]; dq, dk, dv (rows of ld) are set. The probabilities are computed again. */
void attention_backward(const struct attention *a, const real *q, const real *k, const real *v, const real *d_out,
                        real *dq, real *dk, real *dv, real *scratch, size_t each);

#endif
