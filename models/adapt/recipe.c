/* The recipe of a training run: one table of keys, which gives parser, ranges and documentation (train.h). */
#include <string.h>

#include "models/adapt/train.h"

#define AT(member) offsetof(struct train_recipe, member)

static const char *const compute_names[] = {"fp32", "bf16", NULL};
static const char *const optimiser_names[] = {"adamw", "muon", NULL};
static const char *const schedule_names[] = {"linear", "cosine", "constant", NULL};
static const char *const noise_names[] = {"none", "column", "matrix", "cell", NULL};
static const char *const clip_names[] = {"none", "column", "matrix", "learned", NULL};

#define INT_ROW(key, min, max, standard, help) {#key, PARAM_INT, "", min, max, standard, help, AT(key), NULL}
#define NUMBER_ROW(key, min, max, standard, help) {#key, PARAM_NUMBER, "", min, max, standard, help, AT(key), NULL}
#define BOOL_ROW(key, standard, help) {#key, PARAM_BOOL, "", 0, 0, standard, help, AT(key), NULL}
#define CHOICE_ROW(key, names, standard, help) {#key, PARAM_CHOICE, "", 0, 0, standard, help, AT(key), names}

static const struct param rows[] = {
    INT_ROW(steps, 0, TRAIN_STEPS_MOST, "0", "steps of the optimiser; this or tokens"),
    NUMBER_ROW(tokens, 0, 1e13, "0", "tokens to train on, rounded up to whole steps; may be more than the data holds"),
    INT_ROW(batch, 1, 65535, "4", "sequences that are computed at once, by all processes of mpirun together"),
    INT_ROW(length, 0, 1e6, "0", "tokens per sequence; 0: as the data files have them, text 256"),
    INT_ROW(accumulate, 1, 65535, "1", "batches per step of the optimiser"),
    NUMBER_ROW(split, 0, 0.5, "0.01", "share of text files that is kept for validation"),
    CHOICE_ROW(compute, compute_names, "fp32", "bf16: operands of linear layers; sums and weights stay fp32"),
    CHOICE_ROW(optimiser, optimiser_names, "adamw", "muon: for matrices; the rest has AdamW"),
    NUMBER_ROW(lr, 0, 1, "5e-5", "largest learning rate"),
    NUMBER_ROW(last_lr, 0, 1, "1e-7", "learning rate at the end of a linear or cosine schedule"),
    NUMBER_ROW(warmup, 0, 1, "0.016", "share of the steps in which the learning rate rises"),
    CHOICE_ROW(schedule, schedule_names, "linear", "how the learning rate falls after that"),
    NUMBER_ROW(beta1, 0, 0.999999, "0.9", "AdamW: memory of the mean of gradients"),
    NUMBER_ROW(beta2, 0, 0.999999, "0.98", "AdamW: memory of their squares"),
    NUMBER_ROW(epsilon, 1e-30, 1, "1e-6", "AdamW: added to the root of the squares"),
    NUMBER_ROW(weight_decay, 0, 1e3, "0.01", "AdamW: decay of matrices and embeddings"),
    NUMBER_ROW(vector_weight_decay, 0, 1e3, "0.01", "AdamW: decay of norms and biases"),
    NUMBER_ROW(range_weight_decay, 0, 1e3, "0.01", "AdamW: decay of input ranges and learned clips"),
    NUMBER_ROW(range_lr, 0, 1e6, "1", "learning rate of input ranges and learned clips, in units of lr"),
    NUMBER_ROW(max_norm, 0, 1e9, "1", "gradients are scaled down to this norm over all parameters; 0: never"),
    NUMBER_ROW(beta, 0, 1, "1", "share of distillation in the loss, the rest is cross entropy (from_scratch: 0)"),
    NUMBER_ROW(temperature, 0.01, 100, "1", "of the distillation"),
    CHOICE_ROW(noise, noise_names, "column", "of weights: gamma x largest of the column or matrix, or the chip's cell"),
    NUMBER_ROW(gamma, 0, 1, "0.03", "standard deviation of column and matrix noise"),
    BOOL_ROW(mirror, "off", "every batch twice, with noise of both signs: most of the variance of gradients cancels"),
    CHOICE_ROW(clip, clip_names, "column", "clipping of weights: clip_sds standard deviations, or a learned bound"),
    NUMBER_ROW(clip_sds, 0.1, 100, "2.5", "where weights are clipped, in standard deviations"),
    BOOL_ROW(clip_master, "off", "clip the weights after every step; off: the copy that a forward pass uses"),
    {"weight_bits", PARAM_INT, "bits", 0, 8, "0", "weights are rounded to so many bits in training (2 to 8); 0: not",
     AT(weight_bits), NULL},
    NUMBER_ROW(kappa, 0.1, 1000, "18", "input ranges start at so many standard deviations of the inputs"),
    INT_ROW(range_batches, 0, 1e9, "0", "batches that they are taken from; 0: a tenth of all, at most 500"),
    NUMBER_ROW(range_decay, 0, 1e3, "0.01", "narrows input ranges"),
    NUMBER_ROW(range_inside, 0, 1, "0.95", "while more than this share of the inputs is inside"),
    BOOL_ROW(from_scratch, "off", "weights start at random; only shape and tokenizer of the model are used"),
    BOOL_ROW(recompute, "off", "activation checkpointing: less memory, a third more time"),
    INT_ROW(checkpoint_every, 0, 2e9, "0", "steps between checkpoints; 0: a tenth of all"),
    INT_ROW(validate_every, 0, 2e9, "0", "steps between validations; 0: a tenth of all"),
    INT_ROW(validation, 1, 1e6, "32", "validation sequences that are used, at most"),
    INT_ROW(patience, 1, 1e6, "10", "so many steps in a row that are not finite, or lost, end the run"),
};

const struct param_table train_recipe_table = PARAM_TABLE("recipe", rows);

static enum status check(const struct train_recipe *r, struct error *e) {
    if ((r->steps > 0) == (r->tokens > 0)) {
        return error_set(e, ERR_USAGE, "recipe: steps = %d, tokens = %g: how long? (allowed: one of them above 0)",
                         r->steps, r->tokens);
    }
    if (r->weight_bits == 1) {
        return error_set(e, ERR_USAGE, "recipe: weight_bits = 1: no level but 0 (allowed: 0, 2 to 8)");
    }
    if (r->from_scratch && r->clip == TRAIN_CLIP_LEARNED) {
        return error_set(e, ERR_USAGE, "recipe: clip = learned starts from the largest weights of the model, which "
                         "from_scratch does not use (allowed: none, column, matrix)");
    }
    return OK;
}

enum status train_recipe_read(struct config_node *map, struct arena *a, struct train_recipe *out, struct error *e) {
    const struct param_table *const tables[] = {&train_recipe_table};
    static const char *const prefixes[] = {""}, *const skip[] = {NULL};
    TRY(params_read(&train_recipe_table, map, "", a, out, e));
    if (map) {
        TRY(params_check_unused(tables, prefixes, 1, map, skip, e));
    }
    if (out->from_scratch && !config_get(map, "beta")) {
        out->beta = 0;
    }
    return check(out, e);
}
