/* Private to models/adapt/student*.c: what a student is made of. Symbols as in student.h; Q = H d, KV = G d, F
 * intermediate. */
#ifndef MHO_MODELS_ADAPT_STUDENT_INTERNAL_H
#define MHO_MODELS_ADAPT_STUDENT_INTERNAL_H

#include "models/adapt/student_layers.h"
#include "models/adapt/student_linear.h"

struct student_norm { real *weight, *gradient; }; /* weight NULL: none */

struct student_layer {
    struct student_norm attention_norm, q_norm, k_norm, mlp_norm;
    struct analog_layer *q, *k, *v, *qkv, *o, *gate, *up, *gate_up, *down; /* NULL: this family has it otherwise */
};

/* What a layer's forward pass leaves for its gradients. */
struct layer_stash {
    real *normed;   /* [T][D] after the attention norm */
    real *qkv;      /* [T][Q + 2 KV] after head norms and rotation */
    real *raw;      /* [T][Q + KV] q and k before their norms; NULL: the family has none */
    real *attended; /* [T][Q] */
    real *middle;   /* [T][D] residual stream after attention */
    real *normed2;  /* [T][D] */
    real *gate_up;  /* [T][2 F] */
    real *activated; /* [T][F] */
};

struct student {
    const struct model *model;
    const struct shape *shape;
    struct arena *arena;
    struct student_options options;
    struct analog_rule rule;
    struct parameter *parameters;
    size_t parameter_count, parameter_room;
    struct analog_layer *matrices; /* in the order of the model's */
    uint32_t *range_state;
    size_t range_count;
    struct student_layer *layers;
    struct student_norm final_norm;
    real *embedding, *embedding_gradient;
    struct analog_layer *head;
    struct rope_table rope[2];     /* of short and of long sequences */

    /* The last forward pass. */
    struct analog_pass pass;
    const struct analog_watch *watch; /* of the next passes; NULL: nobody looks on */
    int32_t *ids;                  /* [T] */

    size_t tokens;                 /* T at most */
    real **inputs;                 /* [L + 1] residual stream [T][D] before every layer, and after the last */
    struct layer_stash *stash;     /* [L], or [1] where layers are computed again */
    real *logits;                  /* [T][V] */
    real *normed;                  /* [T][D] input of the head */
    real *block;                   /* [T][D] output of a block; gradients */
    /* Gradients on their way back. */
    real *d_x, *d_normed;          /* [T][D] */
    real *d_qkv, *d_attended, *d_gate_up, *d_activated;
    double *sums;                  /* [T max(H, 1)] */
    struct analog_work work;
};

static inline struct layer_stash *student_stash(const struct student *s, size_t layer) {
    return &s->stash[s->options.recompute || !s->options.trained ? 0 : layer];
}

#endif
