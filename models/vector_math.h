/* Private to models/: the element-wise arithmetic of a transformer, one row at a time, in fp32.
 *
 * exp: n = round(x log2 e), x = n ln2 + r, |r| <= ln2/2, exp(r) by its Taylor polynomial of degree 7 (truncated: 6e-9),
 * times 2^n through the exponent bits. Plain C that compilers turn into vector code. Arguments are cut to +-87; what is
 * not finite gives NaN. Relative error below EXP_ERROR over that range (tests/test_vector_math.c). Sums run in EIGHT
 * fixed lanes, in double where noted, so results do not depend on threads or instruction
 * set. */
#ifndef MHO_MODELS_VECTOR_MATH_H
#define MHO_MODELS_VECTOR_MATH_H

#include <stddef.h>

#define EXP_ERROR 1.0e-7

/* x[i] = exp(x[i]) */
void vector_exp(float *x, size_t n);
/* Softmax in place; n >= 1. */
void vector_softmax(float *x, size_t n);
/* sum of exp(x[i] - shift), in double */
double vector_sum_exp(const float *x, size_t n, float shift);
/* x[i] = cap * tanh(x[i] / cap); absolute error below 4e-7 cap */
void vector_soft_cap(float *x, size_t n, float cap);
/* SiLU: v / (1 + exp(-v)). out[i] = silu(gate[i]) * up[i] */
void vector_silu_product(const float *gate, const float *up, size_t n, float *out);
/* GELU, tanh form: v / (1 + exp(-2u)), u = sqrt(2/pi) (v + 0.044715 v^3) */
void vector_gelu_product(const float *gate, const float *up, size_t n, float *out);
void vector_gelu(const float *x, size_t n, float *out);
/* out = x / sqrt(mean(x^2) + eps) * weight; the sum in double. out may be x. */
void vector_rms_norm(const float *x, const float *weight, size_t n, double eps, float *out);
/* out = (x - mean) / sqrt(variance + eps) * weight + bias; the sums in double */
void vector_layer_norm(const float *x, const float *weight, const float *bias, size_t n, double eps, float *out);
/* x += y */
void vector_add(float *x, const float *y, size_t n);

#endif
