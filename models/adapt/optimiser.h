/* Private to models/adapt/: AdamW, the schedule of its learning rate, and the norm of all gradients. With `optimiser:
 * muon` in the recipe matrices take the steps of muon.h, all else those of AdamW.
 *
 * Step t = 1, 2, ... of a parameter w with gradient g, learning rate r (Loshchilov, Hutter, Decoupled Weight Decay
 * Regularization, ICLR 2019, arXiv 1711.05101; as torch.optim.AdamW orders it):
 *   w <- w - r d w                       d: weight decay of the parameter's group
 *   m <- beta1 m + (1 - beta1) g         v <- beta2 v + (1 - beta2) g^2
 *   w <- w - r / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + epsilon)
 * g has been scaled so that the norm over all parameters is at most max_norm. Everything is fp32 but the factors, the
 * norm is summed in double in a fixed order: no bit depends on the number of threads. */
#ifndef MHO_MODELS_ADAPT_OPTIMISER_H
#define MHO_MODELS_ADAPT_OPTIMISER_H

#include "models/adapt/student.h"
#include "models/adapt/train.h"

/* Learning rate of step 0 <= k < steps: rises from lr / W to lr over the first W steps, then falls to last_lr. */
double learning_rate_at(const struct train_recipe *r, uint64_t step, uint64_t steps);

struct optimiser;
/* Borrows the student's parameters. */
enum status optimiser_create(const struct student *s, const struct train_recipe *r, struct optimiser **out,
                             struct error *e);
void optimiser_destroy(struct optimiser *o); /* NULL is fine */
/* Euclidean norm of all gradients; not finite where one of them is not. */
double optimiser_gradient_norm(struct optimiser *o);
/* One step with gradients of this norm. */
void optimiser_step(struct optimiser *o, double learning_rate, double norm);
/* Steps so far, and the two moments of parameter i: what a checkpoint needs. The first is [count], the second as long
 * as is returned. */
uint64_t *optimiser_steps(struct optimiser *o);
size_t optimiser_moments(struct optimiser *o, size_t i, real **first, real **second);

#endif
