/* Adaptation of a model to a chip: what tools/ see of models/adapt/, through models/model.h.
 *
 * A model that was trained without a chip loses quality on one: weights are programmed with errors, inputs and outputs
 * have 8 bits and fixed ranges. Adaptation finds other weights, and ranges, for the same words (Buechel et al., Analog
 * Foundation Models, NeurIPS 2025, arXiv 2505.09663). */
#ifndef MHO_MODELS_ADAPT_ADAPT_H
#define MHO_MODELS_ADAPT_ADAPT_H

#include "models/adapt/rule.h"

#endif
