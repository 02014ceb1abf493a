/* Private to models/adapt/: Muon, an optimiser for matrices (Jordan et al., Muon, 2024; Liu et al., Muon is scalable
 * for LLM training, 2025, arXiv 2502.16982, whose scale of the step is used here).
 *
 * AdamW steps as far in every element as in any other. Muon steps as far in every direction of the matrix as in any
 * other: the mean of the gradients M = U S V' is replaced by U V', nearly, which five iterations of a polynomial find
 * without a singular value decomposition. Step of a matrix W [R][C] with gradient G, learning rate r, weight decay d:
 *   M <- mu M + G,   N = mu M + G                             mu = 0.95; N looks one step ahead (Nesterov)
 *   X0 = N / |N|,  X <- a X + (b A + c A^2) X with A = X X'   five times, a, b, c = 3.4445, -4.7750, 2.0315
 *   W <- W - r d W - r 0.2 sqrt(max(R, C)) X
 * The factor gives the step the mean square that AdamW's has by experience, 0.2 per element, so that one learning rate
 * serves both. Everything is fp32; a matrix belongs to one thread, so no bit depends on how many there are. */
#ifndef MHO_MODELS_ADAPT_MUON_H
#define MHO_MODELS_ADAPT_MUON_H

#include <stddef.h>

#include "models/adapt/real.h"

/* Scratch of one thread for a matrix of this size. */
size_t muon_scratch_reals(size_t rows, size_t columns);

/* One step. momentum [rows][columns] is M, 0 before the first. keep = 1 - r d; the gradient counts times scale. */
struct muon_step { double rate, keep, scale; };
void muon_update(const struct muon_step *step, size_t rows, size_t columns, const real *gradient, real *momentum,
                 real *weight, real *scratch);

#endif
