/* Private to models/adapt/train*.c: what a run of training is made of.
 *
 *   train_setup.c   students, optimiser, buffers; weights drawn at random
 *   train.c         batches, steps, validation, the loop
 *   train_files.c   checkpoint, model, train.csv, report.html */
#ifndef MHO_MODELS_ADAPT_TRAIN_INTERNAL_H
#define MHO_MODELS_ADAPT_TRAIN_INTERNAL_H

#include "models/adapt/optimiser.h"
#include "models/adapt/student_loss.h"

/* One step, as train.csv shows it; checkpoints hold all. NAN: not known (a step that was skipped, no validation). */
struct train_row {
    double loss, divergence, cross_entropy; /* nats; divergence times t^2 */
    double norm, learning_rate;
    double validation;    /* loss on the noisy chip */
    double chip, digital; /* nats per token of the student: on the noisy chip, digital */
};

struct train_state {
    uint64_t steps;                  /* done, skipped ones included */
    uint64_t skipped;                /* not finite */
    uint64_t best_step;              /* number of steps then; 0: none */
    double best;
    double loss;                     /* of the last step that was finite */
};

enum { IDENTITIES = 11 };

struct trainer {
    const struct train_options *o;
    const struct train_recipe *r;
    struct model *bare;                /* the model without what it brings for a chip; NULL: not needed */
    struct analog_rule rule;
    struct student *student, *teacher; /* teacher NULL: no distillation */
    struct optimiser *optimiser;
    uint64_t steps;                    /* of the whole run */
    uint64_t checkpoint_every, validate_every;
    uint32_t length;
    uint32_t validation;               /* sequences */
    size_t tokens;                     /* of one batch */
    int32_t *ids, *targets;            /* [batch][length] */
    double *loss_of;                   /* [tokens][2] */
    uint64_t *order, epoch;            /* sequences of the epoch that the run is in */
    struct train_state state;
    struct train_row *rows;            /* [steps] */
    double *speeds;                    /* [steps] tokens/s; 0: the step of an earlier process */
    double teacher_nats;               /* on the validation data; NAN: no teacher */
    char *checkpoint_path;
    uint64_t first;                    /* step that this process began with */
    double started_s, train_s;         /* train_s: spent on steps by this process */
};

enum status trainer_create(const struct train_options *o, struct trainer **out, struct error *e);
void trainer_destroy(struct trainer *t); /* NULL is fine */

/* Unless the user named a library for products: that of the checkpoint that the run goes on from, or else that of rank
 * 0, so that all of it is rounded alike. Where this machine lacks it, trainer_compare or trainer_load says so. */
void trainer_choose_products(const struct trainer *t);
/* Whether all ranks were started with the same run: recipe, model, data, ... */
enum status trainer_compare(const struct trainer *t, struct error *e);
/* The checkpoint: is there one; takes it; writes it. Of several ranks the first alone reads and writes files. */
bool trainer_has_checkpoint(const struct trainer *t);
enum status trainer_load(struct trainer *t, struct error *e);
enum status trainer_save(struct trainer *t, struct error *e);
/* The student as a model folder. */
enum status trainer_write_model(struct trainer *t, const char *path, struct error *e);
/* train.csv and report.html of the rows so far. */
enum status trainer_write_log(const struct trainer *t, struct error *e);

#endif
