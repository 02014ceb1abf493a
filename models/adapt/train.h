/* Training a model for a chip: the recipe and the run. Part of adapt.h.
 *
 * The student is the model as the chip will compute it, with fresh noise in every batch (rule.h); the teacher is the
 * same model, or a larger one of the same vocabulary, digital and frozen. Loss of a batch (student_loss.h):
 *   L = beta t^2 KL(teacher || student at temperature t) + (1 - beta) cross entropy of the data's next token
 * Source of method and defaults: Buechel et al., Analog Foundation Models, NeurIPS 2025, arXiv 2505.09663 (AdamW 0.9,
 * 0.98, 1e-6, decay 0.01 on everything, linear schedule with 1.6 % of warm-up, norm 1, pure distillation).
 *
 * A folder of a run holds:
 *   config.json, model.safetensors, ...   the model with the least validation loss on the chip; without validation data
 *                                         the last one. Weights as the chip gets them: clipped, quantised, no noise
 *   last/                                 the model after the last step, where that is another one
 *   checkpoint.bin                        all that the run needs to go on (checkpoint.h)
 *   train.csv, report.html                one line per step; the same as curves */
#ifndef MHO_MODELS_ADAPT_TRAIN_H
#define MHO_MODELS_ADAPT_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/params.h"
#include "models/adapt/data.h"
#include "models/adapt/rule.h"
#include "sim/sim.h"

enum train_optimiser { OPTIMISER_ADAMW, OPTIMISER_MUON };
enum train_schedule { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT };

enum { TRAIN_STEPS_MOST = 1000000 }; /* a checkpoint holds a row of 72 bytes for every step */

/* Defaults and ranges: recipe.c. */
struct train_recipe {
    int steps;             /* of the optimiser, or 0: as many as `tokens` take */
    double tokens;         /* 0: see steps */
    int batch, length;     /* sequences that are computed at once, tokens of each (0: as the data has them) */
    int accumulate;        /* batches whose gradients make one step */
    double split;          /* of text files: share kept for validation */
    int compute;           /* enum compute */
    int optimiser;         /* enum train_optimiser */
    double lr, last_lr, warmup; /* warmup: share of the steps */
    int schedule;          /* enum train_schedule */
    double beta1, beta2, epsilon;
    double weight_decay;        /* of matrices and embeddings */
    double vector_weight_decay; /* of norms and biases */
    double range_weight_decay;  /* of input ranges and learned clips */
    double range_lr;       /* learning rate of input ranges and clips / lr */
    double max_norm;       /* 0: gradients are not scaled down */
    double beta, temperature;
    int noise;             /* enum train_noise */
    double gamma;          /* sd of the noise / largest weight */
    bool mirror;           /* every batch twice, with noise of both signs */
    int clip;              /* enum train_clip */
    double clip_sds;
    bool clip_master;
    int weight_bits;       /* 0: not quantised */
    double kappa;          /* input ranges start at kappa sd of the inputs ... */
    int range_batches;     /* ... over so many batches; 0: a tenth of all, at most 500 */
    double range_decay, range_inside;
    bool from_scratch;     /* weights drawn at random, not those of the model */
    bool recompute;        /* activation checkpointing */
    int checkpoint_every, validate_every; /* steps; 0: a tenth of all */
    int validation;        /* sequences at most */
    int patience;          /* so many steps in a row that are not finite, or whose loss is twice that of
                              guessing, end the run */
};
extern const struct param_table train_recipe_table;
/* The recipe of a map of keys (NULL: all defaults). Errors name file and line, or the option. */
enum status train_recipe_read(struct config_node *map, struct arena *a, struct train_recipe *out, struct error *e);

struct model;
struct train_options {
    const struct model *model, *teacher; /* teacher: may be the model itself; not used with beta = 0 */
    const struct chip *chip;             /* NULL: digital training */
    const struct data *data;
    const struct train_recipe *recipe;
    uint64_t seed;      /* of noise, order of the data, and weights drawn at random */
    const char *out;    /* folder */
    bool resume;        /* go on from the checkpoint in `out` */
    bool library_named; /* the library for products (base/gemm.h) in use stays, or the run is refused; otherwise all
                         * ranks take that of the checkpoint, or of rank 0. The same on all ranks */
};
struct train_result {
    uint64_t steps, tokens, skipped; /* of the whole run, earlier parts included */
    uint64_t best_step;              /* 0: no validation */
    double loss;                     /* of the last step that was finite */
    double best_chip, best_digital, teacher; /* validation at best_step: nats per token; NAN: none */
    double tokens_per_s;             /* of the steps of this process */
};
enum status adapt_train(const struct train_options *o, struct train_result *out, struct error *e);

#endif
