/* Private to models/adapt/: the steps of `mho adapt fit`, adaptation without training. Equations: fit_sensitivity.c and
 * fit_side.c; docs/adaptation.md. */
#ifndef MHO_MODELS_ADAPT_FIT_H
#define MHO_MODELS_ADAPT_FIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "models/model.h"

/* How much an error of a weight of one matrix costs: output[o] x input[i] nats per token and unit of its square, half
 * taken already. */
struct sensitivity { double *output, *input; }; /* [O], [I] */

/* One for each matrix of the model, measured on windows of `length` ids; matrices that the chip does not hold are
 * measured too. *out: one block of memory for mem_free. */
enum status fit_sensitivity(const struct model *m, const struct chip *c, const int32_t *ids, size_t windows,
                            uint32_t length, uint64_t seed, struct sensitivity **out, struct error *e);

/* What stays digital: `share` of the multiplications of all matrices on tiles, where they save most. */
struct fit_sides {
    struct side_path **sides;  /* [matrices], NULL for those that are not on tiles */
    double price;              /* nats per token that the last digital weight saves */
    double before, after;      /* expected loss by noise, nats per token, to second order */
    uint64_t listed, weights;  /* of all matrices on tiles */
};
enum status fit_sides(const struct model *m, const struct chip *c, const struct sensitivity *s, double share,
                      struct fit_sides *out, struct error *e);
void fit_sides_destroy(struct fit_sides *f, size_t matrices);

#endif
