/* Private to models/adapt/: the number that the mathematics of training is written for.
 *
 * Every file student*.c is compiled twice: with `real` = float for the program, and with REAL_IS_DOUBLE for the tests,
 * where central finite differences in double test the very code that trains. The names of the second set end in _f64,
 * so that both fit into one program; a file sees one of them, under the plain names below. */
#ifndef MHO_MODELS_ADAPT_REAL_H
#define MHO_MODELS_ADAPT_REAL_H

#include <math.h>

#ifdef REAL_IS_DOUBLE
typedef double real;
#define real_sqrt sqrt
#define real_abs fabs
#define REAL_ROUNDER 6755399441055744.0 /* 1.5 x 2^52: adding and taking it away rounds to even */
#else
typedef float real;
#define real_sqrt sqrtf
#define real_abs fabsf
#define REAL_ROUNDER 12582912.0f /* 1.5 x 2^23 */
#endif

#ifdef REAL_IS_DOUBLE
#define student_create student_create_f64
#define student_destroy student_destroy_f64
#define student_rule_of_chip student_rule_of_chip_f64
#define student_parameter_count student_parameter_count_f64
#define student_parameter_at student_parameter_at_f64
#define student_range_state student_range_state_f64
#define student_forward student_forward_f64
#define student_logits student_logits_f64
#define student_backward student_backward_f64
#define student_clear_gradients student_clear_gradients_f64
#define student_clip_weights student_clip_weights_f64
#define student_stash student_stash_f64
#define distillation_loss distillation_loss_f64
#define panel_of_rows panel_of_rows_f64
#define panel_of_columns panel_of_columns_f64
#define transpose transpose_f64
#define dot_product dot_product_f64
#define add_scaled add_scaled_f64
#define panel_multiply panel_multiply_f64
#define reals_of reals_of_f64
#define analog_layer_buffers analog_layer_buffers_f64
#define analog_work_buffers analog_work_buffers_f64
#define analog_layer_forward analog_layer_forward_f64
#define analog_layer_backward analog_layer_backward_f64
#define analog_layer_clip analog_layer_clip_f64
#define analog_measure_weights analog_measure_weights_f64
#define analog_make_weights analog_make_weights_f64
#define analog_weight_gradient analog_weight_gradient_f64
#define analog_acts analog_acts_f64
#define analog_quantise_inputs analog_quantise_inputs_f64
#define analog_side_forward analog_side_forward_f64
#define analog_side_backward analog_side_backward_f64
#define rms_norm_forward rms_norm_forward_f64
#define rms_norm_backward rms_norm_backward_f64
#define rotary_turn rotary_turn_f64
#define attention_forward attention_forward_f64
#define attention_backward attention_backward_f64
#define attention_scratch_reals attention_scratch_reals_f64
#define swiglu_forward swiglu_forward_f64
#define swiglu_backward swiglu_backward_f64
#define embedding_forward embedding_forward_f64
#define embedding_backward embedding_backward_f64
#endif

#endif
