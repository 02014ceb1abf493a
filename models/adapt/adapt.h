/* Adaptation of a model to a chip: what tools/ see of models/adapt/, through models/model.h.
 *
 * A model that was trained without a chip loses quality on one: weights are programmed with errors, inputs and outputs
 * have 8 bits and fixed ranges. Adaptation finds other weights, and ranges, for the same words (Buechel et al., Analog
 * Foundation Models, NeurIPS 2025, arXiv 2505.09663). */
#ifndef MHO_MODELS_ADAPT_ADAPT_H
#define MHO_MODELS_ADAPT_ADAPT_H

#include "models/adapt/data.h"
#include "models/adapt/rule.h"
#include "models/adapt/train.h"
#include "sim/sim.h"

/* ---- data from the model itself (generate.c) -------------------------------------------------------------------- */

/* Text is drawn from the model that is to be adapted: it needs no data set, and the student sees what the teacher says
 * (Liu et al., LLM-QAT, 2023, arXiv 2305.17888; Analog Foundation Models draws 20 billion tokens, from BOS, temperature
 * 1, top-k 50 or off, end-of-text never chosen, all sequences of one length). */
struct generate_options {
    uint64_t tokens;     /* at least so many in the set, start ids included: whole sequences */
    uint32_t length;     /* ids per sequence, at most the model's context */
    uint32_t batch;      /* sequences at once; the file does not depend on it */
    double temperature;  /* above 0 */
    int top_k;           /* 0: off */
    double split;        /* share of the set for validation, 0 to 0.5 */
    uint64_t seed;
    int32_t start;       /* first id; -1: BOS */
    uint32_t part, parts; /* make part 1 .. parts of the set */
};
struct generate_result {
    uint64_t sequences, validation; /* of the set */
    uint64_t first, count;          /* in the file */
    uint64_t drawn;                 /* in this run; fewer where it went on with an earlier one */
    double seconds;                 /* of drawing */
};
/* Makes the data file `path` (data.h), or goes on with it where an earlier run with the same options ended. A complete
 * file of these options is left as it is. On an error, interruption or full disk what was drawn stays. */
enum status adapt_generate(const struct model *m, const char *path, const struct generate_options *o,
                           struct generate_result *out, struct error *e);

struct documents_result { uint64_t documents, complete, bytes; }; /* bytes: of the texts */
/* Writes what data files hold as JSON lines, a document each (documents.c), so that a model with another tokenizer can
 * learn from it. The data must have been drawn from this model. */
enum status adapt_text(const struct model *m, const struct data *d, const char *path, struct documents_result *out,
                       struct error *e);

/* ---- rotation (fit_rotate.c) ------------------------------------------------------------------------------------- */

/* Folds orthogonal matrices into the weights of an open model: what it computes stays, up to rounding. parts:
 * "residual", "value", "all". ERR_USAGE for other families than RMS norms before blocks and rotary positions, and for a
 * model that brings ranges, scales or side paths for a chip. Before any session or copy of it is made. */
enum status model_rotate(struct model *m, const char *parts, struct error *e);

/* ---- without training (fit.c) ------------------------------------------------------------------------------------ */

struct fit_options {
    double digital_share;   /* of the multiplications on tiles that may stay digital, at most 0.5; 0: no side path */
    bool channels, weights; /* what may stay digital: whole inputs, single weights; above 0 one of them */
    const char *text;       /* NULL: the bundled calibration text */
    size_t text_bytes;
    uint64_t tokens;        /* of the text to choose on at most; half as many for the trials */
    uint64_t reconstruct_tokens; /* of the text that the reconstruction sees at most */
    uint32_t length;        /* ids per window, at most the model's context */
    uint64_t seed;
    double redundancy;      /* cells for more devices per weight, in units of those of all tiles in use; 0: none */
    bool reconstruct;       /* weights and scales with the least expected error (fit_reconstruct.c) */
    bool ranges;            /* static ranges of inputs and ADCs; false: as model and chip say */
    const char *rotate;     /* what model_rotate() has folded into the model; NULL: nothing. For the folder to say */
};
/* Factors of all input ranges, of the head's once more, of all ADC limits. */
enum { FIT_INPUTS, FIT_HEAD, FIT_OUTPUTS, FIT_FACTORS };
struct fit_trial { double factor[FIT_FACTORS], nats; };
struct fit_trials {
    struct fit_trial at[32];
    size_t count;                               /* 0: the text was too short for trials */
    double best[FIT_FACTORS], nats;
    double own_devices_nats;                    /* the same with the chip's own number of devices per weight; 0: not
                                                   tried */
};
/* Expected loss in nats per token, to second order. Steps measure by different sensitivities: `after` of one is not
 * `before` of the next. */
struct fit_gain {
    bool done;
    double before, after;
};
/* What stays digital of a matrix on tiles. */
struct fit_side {
    const char *matrix; /* its name, borrowed from the model */
    uint32_t channels;
    uint64_t weights;   /* single ones beside them */
    double cost;        /* per token in a step of its own, as the ledger counts it (placement_side_J) */
    double saved;       /* nats per token: what noise of weights, and with channels the converters, cost less */
};
struct fit_result {
    uint64_t tokens;                            /* of windows, those of the trials included */
    uint64_t reconstruct_tokens;                /* of windows for the reconstruction; 0: none was asked for */
    struct fit_trials trials;                   /* nats per token on the noisy chip */
    double digital_share;                       /* reached */
    bool in_joules;                             /* what stays digital was chosen by what it saves per joule, and costs
                                                   are joules; false: per multiplication (a chip without costs) */
    double worth;                               /* nats per token that the last joule saves */
    struct fit_side *sides;                     /* [side_count] one for each matrix on tiles; mem_free */
    size_t side_count;
    struct fit_gain side, redundancy, reconstruction; /* by noise of weights; redundancy: the side path anew included */
    bool redundancy_dropped;                    /* it was tried (redundancy.before, after), but did not help on the
                                                   noisy chip: trials.nats with it, trials.own_devices_nats without */
    double more_cells;                          /* reached, in units of those of all tiles in use */
    size_t with_devices[DEVICES_MOST + 1];      /* matrices on tiles with so many devices per weight; 0: as the chip */
    struct fit_gain ranges;                     /* by converters: with the largest inputs on the text as ranges and the
                                                   chip's lambda, and with the fitted ones, before the trials */
};
/* Writes the model with its side paths for chip c into the folder `path`. */
enum status adapt_fit(const struct model *m, const struct chip *c, const struct fit_options *o, const char *path,
                      struct fit_result *out, struct error *e);

#endif
