/* Private to models/: the student, a transformer that can be trained as the chip will compute it.
 *
 * Families: Llama, Mistral, Qwen2, Qwen3, Phi-3 (RMS norms, rotary positions, grouped attention with windows, SwiGLU,
 * optional biases and head norms, fused or separate matrices). Every parameter has an fp32 master copy of its own and a
 * gradient. A tied embedding and head become two parameters where the head is analog.
 *
 * Symbols: B sequences, S tokens of a sequence, T = B S, D hidden, V vocabulary. All sums run in an order that does not
 * depend on the number of threads. No allocation after student_create. Where several ranks share a batch
 * (base/ranks.h), input ranges are taken from all of it; ranks then train in step.
 *
 * A training step:
 *   student_forward(teacher, batch, STUDENT_PLAIN);  student_forward(student, batch, STUDENT_TRAIN)
 *   distillation_loss(...)       turns the student's logits into their gradient, in place (student_loss.h)
 *   student_backward(student)    adds to the gradients (student_clear_gradients sets them to 0)
 *   the optimiser's step on every parameter;  student_clip_weights(student) */
#ifndef MHO_MODELS_ADAPT_STUDENT_H
#define MHO_MODELS_ADAPT_STUDENT_H

#include <stddef.h>

#include "base/error.h"
#include "models/adapt/real.h"
#include "models/adapt/rule.h"
#include "models/model.h"

enum student_mode {
    STUDENT_PLAIN,  /* every matrix digital: what the model computes, the teacher */
    STUDENT_STATIC, /* converters act, weights as they are */
    STUDENT_NOISY,  /* and weights with the noise of the batch's key; ranges stay: validation */
    STUDENT_TRAIN   /* and input ranges are taken from the data at first */
};

enum parameter_group {
    PARAMETER_MATRIX, PARAMETER_EMBEDDING, PARAMETER_NORM, PARAMETER_BIAS, PARAMETER_INPUT_RANGE, PARAMETER_CLIP
};

struct parameter {
    const char *name;     /* of the tensor in the model's file: "model.layers.0.self_attn.q_proj.weight",
                             "...q_proj.input_range", "...q_proj.learnable_weight_clip" */
    real *data, *gradient; /* [count]; gradient NULL in a student that is not trained */
    size_t count;
    uint32_t rows, columns; /* of a matrix [outputs][inputs]; a vector is one row; ranges [1][row blocks], clips
                               [row blocks][outputs] */
    enum parameter_group group;
};

struct student_options {
    uint32_t sequences, length; /* B and S at most */
    bool trained;               /* false: no gradients, only student_forward (a teacher) */
    bool recompute;             /* keep only the input of every layer, compute the rest again for the gradients */
    uint64_t seed;              /* of weight noise */
    enum compute compute;       /* of the products of linear layers; all else is fp32 */
};

struct student;
/* The rule for a chip: converters and the noise curve of its cell (used if noise is TRAIN_NOISE_CELL); all else as the
 * paper has it: ranges from 18 sd over 500 batches, decay 0.01, column noise 0.03, clip 2.5 sd of the copy. A chip that
 * training cannot follow (calibrated ADC ranges, several slices per weight) is an error. */
enum status student_rule_of_chip(const struct chip *c, struct analog_rule *out, struct error *e);
/* Copies the weights of the model, which must outlive the student. chip NULL: nothing is analog (rule is not used);
 * else the chip says which matrices are. Input ranges and side paths that the model brings are taken; where it brings a
 * range, data does not set it again. */
enum status student_create(const struct model *m, const struct chip *c, const struct analog_rule *rule,
                           const struct student_options *o, struct student **out, struct error *e);
void student_destroy(struct student *s); /* NULL is fine */

size_t student_parameter_count(const struct student *s);
struct parameter student_parameter_at(const struct student *s, size_t i); /* pointers stay valid */
/* Batches that each input range was taken from so far [count]: with the parameters, all that a checkpoint needs. */
uint32_t *student_range_state(struct student *s, size_t *count);

struct student_batch {
    const int32_t *ids;         /* [sequences][length] */
    uint32_t sequences, length; /* at most those of the options */
    uint64_t key;               /* of the noise: one per batch, the same for all ranks that share it */
    bool mirrored;              /* the same noise with the other sign; ranges stay */
};
/* Logits [B S][V] are in student_logits. Errors: an id outside the vocabulary, a batch that is too large. Numbers that
 * are not finite are no error here: the loss reports them. */
enum status student_forward(struct student *s, const struct student_batch *b, enum student_mode mode, struct error *e);
real *student_logits(struct student *s);
/* Gradients of the last forward pass: student_logits holds dL/dlogits, and is used up. */
void student_backward(struct student *s);
void student_clear_gradients(struct student *s);
/* After an optimiser's step: clips master weights if the rule says so, and keeps learned ranges and clips above 0. */
void student_clip_weights(struct student *s);
/* What parameter i is for the chip: a matrix clipped and quantised as the rule says, without noise; all else as it is.
 * Borrowed, until the next forward pass. */
const real *student_deployed(struct student *s, size_t i);

#endif
