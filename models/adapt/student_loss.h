/* Private to models/: the loss of distillation, fused with its gradient.
 *
 *   p = softmax(z_teacher / t),  q = softmax(z_student / t),  per position
 *   L_KD = t^2 mean over T positions of sum_v p (log p - log q)
 *   L_CE = mean over positions with a target of -log softmax(z_student)[target]
 *   L    = beta L_KD + (1 - beta) L_CE
 *   dL/dz_student = beta t / T (q - p) + (1 - beta) / T_targets (softmax(z_student) - one_hot)
 * Log-softmax on both sides: a probability that underflows adds 0, never 0 x infinity. Sums over positions in order, in
 * double. */
#ifndef MHO_MODELS_ADAPT_STUDENT_LOSS_H
#define MHO_MODELS_ADAPT_STUDENT_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "models/adapt/real.h"

struct loss_rule { double temperature, beta; };
struct loss {
    double total, divergence, cross_entropy; /* nats; L, L_KD, L_CE */
    size_t not_finite;                       /* positions with a logit, of either side, that is not finite */
};
/* teacher [T][V] (NULL with beta = 0), student [T][V]: logits, replaced by dL/dlogits times `scale`. targets [T]: the
 * id that follows, or -1 (no target); NULL with beta = 1. Where not_finite > 0 the gradients mean nothing. loss_of:
 * scratch [T][2]. */
void distillation_loss(const struct loss_rule *rule, const real *teacher, real *student, const int32_t *targets,
                       size_t tokens, size_t vocabulary, double scale, double *loss_of, struct loss *out);

#endif
