/* Private to models/adapt/: the number that the mathematics of training is written for, and the sets that its files
 * are compiled in.
 *
 * Every file student*.c is compiled several times (Makefile), each set with the end REAL_SUFFIX on its names:
 *   (none)           fp32 for the plain machine; student_sets.c finds its entries with the end _plain
 *   _avx2, _avx512   the same for these instructions, x86-64 only. The same bits: nothing is contracted, sums have
 *                    fixed lanes
 *   _f64             `real` = double, for the tests only: central finite differences test the very code that trains
 * A file sees one of them, under the plain names below. */
#ifndef MHO_MODELS_ADAPT_REAL_H
#define MHO_MODELS_ADAPT_REAL_H

#include <math.h>

#ifdef REAL_IS_DOUBLE
typedef double real;
#define real_abs fabs
#define REAL_ROUNDER 6755399441055744.0 /* 1.5 x 2^52: adding and taking it away rounds to even */
#define REAL_SUFFIX _f64
#else
typedef float real;
#define real_abs fabsf
#define REAL_ROUNDER 12582912.0f /* 1.5 x 2^23 */
#endif

/* Operands of the products of linear layers: as they are, or rounded to bf16; sums are fp32, and so is attention. In
 * double they are never rounded: rounding has no derivative that a finite difference could find. */
enum compute { COMPUTE_FP32, COMPUTE_BF16 };

#define REAL_JOIN_NOW(name, suffix) name##suffix
#define REAL_JOIN(name, suffix) REAL_JOIN_NOW(name, suffix)
#define REAL_NAME(name) REAL_JOIN(name, REAL_SUFFIX)

#ifdef REAL_SUFFIX
#define student_create REAL_NAME(student_create)
#define student_destroy REAL_NAME(student_destroy)
#define student_rule_of_chip REAL_NAME(student_rule_of_chip)
#define student_parameter_count REAL_NAME(student_parameter_count)
#define student_parameter_at REAL_NAME(student_parameter_at)
#define student_range_state REAL_NAME(student_range_state)
#define student_forward REAL_NAME(student_forward)
#define student_logits REAL_NAME(student_logits)
#define student_backward REAL_NAME(student_backward)
#define student_clear_gradients REAL_NAME(student_clear_gradients)
#define student_clip_weights REAL_NAME(student_clip_weights)
#define student_deployed REAL_NAME(student_deployed)
#define distillation_loss REAL_NAME(distillation_loss)
#define product REAL_NAME(product)
#define round_operand REAL_NAME(round_operand)
#define transpose REAL_NAME(transpose)
#define dot_product REAL_NAME(dot_product)
#define add_scaled REAL_NAME(add_scaled)
#define reals_of REAL_NAME(reals_of)
#define analog_layer_buffers REAL_NAME(analog_layer_buffers)
#define analog_work_buffers REAL_NAME(analog_work_buffers)
#define analog_layer_forward REAL_NAME(analog_layer_forward)
#define analog_layer_backward REAL_NAME(analog_layer_backward)
#define analog_layer_clip REAL_NAME(analog_layer_clip)
#define analog_largest_weight REAL_NAME(analog_largest_weight)
#define analog_measure_weights REAL_NAME(analog_measure_weights)
#define analog_make_weights REAL_NAME(analog_make_weights)
#define analog_weight_gradient REAL_NAME(analog_weight_gradient)
#define analog_acts REAL_NAME(analog_acts)
#define analog_multiplied_inputs REAL_NAME(analog_multiplied_inputs)
#define analog_side_forward REAL_NAME(analog_side_forward)
#define analog_side_backward REAL_NAME(analog_side_backward)
#define rms_norm_forward REAL_NAME(rms_norm_forward)
#define rms_norm_backward REAL_NAME(rms_norm_backward)
#define rotary_turn REAL_NAME(rotary_turn)
#define attention_forward REAL_NAME(attention_forward)
#define attention_backward REAL_NAME(attention_backward)
#define attention_scratch_reals REAL_NAME(attention_scratch_reals)
#define swiglu_forward REAL_NAME(swiglu_forward)
#define swiglu_backward REAL_NAME(swiglu_backward)
#define embedding_forward REAL_NAME(embedding_forward)
#define embedding_backward REAL_NAME(embedding_backward)
#elif defined(REAL_PLAIN_SET)
#define student_forward REAL_JOIN(student_forward, _plain)
#define student_backward REAL_JOIN(student_backward, _plain)
#define student_clip_weights REAL_JOIN(student_clip_weights, _plain)
#define distillation_loss REAL_JOIN(distillation_loss, _plain)
#endif

#endif
