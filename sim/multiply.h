/* Private to the multiply: what multiply.c (one line, one pass, ideal converters), multiply_inputs.c and
 * multiply_general.c (everything else) share. */
#ifndef MHO_SIM_MULTIPLY_H
#define MHO_SIM_MULTIPLY_H

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "sim/machine.h"
#include "sim/row_currents.h"
#include "sim/side_path.h"

enum {
    TOKENS = 32,            /* tokens that go through a panel together: their results stay in the first-level cache */
    SMALL_INPUTS = 1 << 13, /* inputs to convert below which threads cost more than they bring */
    SMALL_WORK = 1 << 17,   /* the same for weights x tokens */
};

/* Numbers that one event of a read needs for the noise of its ADCs. */
static inline uint64_t adc_numbers(const struct machine *m, const struct array *a) {
    return (uint64_t)a->lines * a->columns + (a->shared ? (uint64_t)a->column_blocks * m->plan.slices : 0);
}

/* Working memory of the general multiply: one block of inputs, TOKENS tokens. */
struct general_scratch {
    uint32_t stride; /* inputs of the largest block */
    int threads;     /* that `panels` has room for */
    int16_t *codes;  /* [TOKENS][stride] */
    /* [passes][TOKENS][stride], in units of digits: as driven, errors of the converters included; for phenomena (else
     * NULL) squared; with the share of IR drop that the row has; without sign. */
    float *levels, *squares, *far, *sizes;
    /* Sums over the passes of a group of (gain level)^2, for white noise; NULL: there is none. */
    uint8_t *group_squares;          /* [groups][tokens of the block][byte_stride] */
    struct byte_squares *group_sums; /* [groups][tokens of the block] */
    size_t byte_stride;
    /* For drawn rows; NULL: none. */
    uint32_t *group_places; /* [groups][tokens of the block][draws] */
    float *group_roots;     /* [groups][tokens of the block] of the sum of the squares */
    float *strip_sd;        /* [threads][sd_stride], of one strip: strip_sd_at */
    size_t sd_stride;
    double *input_sum; /* [TOKENS] sum of the inputs' codes, in units of full scale */
    float *shared;     /* [column blocks][slices][TOKENS] results of the shared columns, in units of full scale */
    float *y;          /* [TOKENS][columns] results of the block */
    uint16_t *shared_beyond; /* [column blocks][slices][TOKENS] conversions of theirs beyond the ADC range */
    uint16_t *beyond;  /* [panels][TOKENS] results beyond the ADC range in each panel */
    uint16_t *repeat;  /* the same, counted as the bound management does */
    float *panels;    /* [threads][2][stride x PANEL] weights without sign, weights of the other phase: for phenomena */
    size_t tiles;
    double *averages; /* [tiles] running means of the noise management; NULL: not wanted */
    struct network_scratch *network; /* NULL: wires are folded */
};

/* Where wires cannot be folded (multiply_network.c). */
struct network_work;
struct network_scratch {
    size_t stride;
    int threads;
    float *levels;              /* [passes][TOKENS][stride] as driven: voltages or times, in units of digits */
    float *sums;                /* [passes][TOKENS][lines][columns] what stands where sum w x level stands elsewhere */
    float *shared;              /* [passes][TOKENS][column blocks][slices] the same of shared columns */
    struct network_work *works; /* [threads] */
};

/* For noise of drawn rows; NULL where no array has it. */
struct drawn_scratch {
    uint32_t *places; /* [row blocks][max_tokens][draws] rows drawn: where they lie in strips or panels */
    float *roots;     /* [tokens][row blocks] of the sum of the squared inputs */
    float *squares;   /* [threads][rows] of one block of one token */
    uint8_t *strips;  /* [threads][strip_size(rows)] */
    size_t rows;      /* of the largest block */
};

struct multiply_scratch {
    uint32_t max_tokens;
    int16_t *codes;     /* [tokens][row_stride]; the padding of odd blocks may hold anything: it meets weight 0 */
    uint8_t *squares;   /* [tokens][square_stride] squares of the codes, for the noise of integer panels */
    struct square_sums *square_sums; /* [tokens][row blocks] */
    struct drawn_scratch drawn;
    float *inputs;      /* [tokens][row_stride], for fp32 panels; NULL where no array has them */
    float *token_range; /* [tokens][row blocks] factor of a block's outputs: its input range if it is the token's own */
    double *block_S;    /* [tokens][row blocks] what the sources deliver: siemens x codes (squared: x code^2) */
    double *array_S;    /* [tokens] the same of all blocks, inputs in units of full scale */
    uint64_t *clipped;               /* [tokens] */
    struct side_scratch side;
    struct general_scratch *general; /* NULL: every array is simple */
};

/* Squares of a row block begin at square_offset, whole fours of rows. */
static inline size_t square_offset(const struct array *a, uint32_t block) { return a->row_offset[block] + 2 * block; }
static inline size_t square_stride(const struct array *a) { return square_offset(a, a->row_blocks); }

/* One block of inputs of up to TOKENS tokens on its way through the general multiply. */
struct block_work {
    const struct machine *m;
    struct array *a;
    size_t matrix;
    uint32_t block, tokens;
    const float *x;      /* [tokens][inputs], whole vectors */
    uint64_t first_read; /* of token 0 here */
    uint32_t round;      /* of the bound management */
    float range[TOKENS]; /* what an input of full scale stands for; 0: the token's inputs are 0 */
    float scale[TOKENS]; /* factor of the outputs: range / what to_output knows of it already */
    struct management_loop loop[TOKENS];
    bool idle[TOKENS]; /* token has its result already */
    struct general_scratch *g;
    double *array_S; /* of token 0 here: added to */
    uint64_t *clipped;
    uint64_t clipped_now[TOKENS]; /* in the last read of this block */
    uint8_t *beyond; /* [tokens][outputs] whether a conversion behind the result saturated; NULL: not wanted */
};

/* Number of one pass of one read of one row block, for the noise of what happens in it: `read` counts tokens since the
 * run began, `round` repeats. */
static inline uint64_t event_number(const struct machine *m, const struct array *a, uint64_t read, uint32_t round,
                                    uint32_t block, uint32_t pass) {
    uint64_t rounds = m->spec->tile.management.bound == BOUND_NONE ? 1 : ROUNDS_MOST;
    return ((read * rounds + round) * a->row_blocks + block) * m->inputs.passes + pass;
}
static inline uint64_t work_event(const struct block_work *w, uint32_t token, uint32_t pass) {
    return event_number(w->m, w->a, w->first_read + token, w->round, w->block, pass);
}

/* Number of one result of one group of passes, for its noise: those of a panel lie side by side (one GAUSSIAN_BLOCK),
 * block after block. */
static_assert((int)GAUSSIAN_BLOCK == (int)PANEL, "the noise of a panel is one draw");
static inline uint64_t result_number(const struct machine *m, const struct array *a, uint64_t read, uint32_t round,
                                     uint32_t block, uint32_t pass, uint32_t line, uint32_t column) {
    uint64_t rounds = m->spec->tile.management.bound == BOUND_NONE ? 1 : ROUNDS_MOST;
    uint64_t panel = ((read * rounds + round) * a->panels + column / PANEL) * m->inputs.passes * a->lines;
    return ((panel + (uint64_t)pass * a->lines + line) * a->row_blocks + block) * PANEL + column % PANEL;
}

/* What decides which rows the noise of one read of one row block and group of passes is taken from: a number in [0, 1)
 * with 24 bits. All panels and lines share it. */
static inline float draw_comb(const struct machine *m, const struct array *a, size_t matrix, uint64_t read,
                              uint32_t round, uint32_t block, uint32_t group) {
    uint64_t number = event_number(m, a, read, round, block, group);
    return (float)floor(random_uniform(m->seed, random_stream(RANDOM_DRAWS, matrix), number) * 0x1p24) * 0x1p-24f;
}

/* rows, columns, shared: of the largest array. NULL when out of memory. */
struct network_scratch *network_scratch_create(const struct machine *m, size_t rows, size_t columns, size_t shared);
void network_scratch_destroy(struct network_scratch *n); /* NULL is fine */
/* Solves all tiles, passes and tokens of the block that are not idle; levels are set. */
enum status network_read_block(struct block_work *w, struct error *e);
/* Sum over the passes of a group: out [tokens][PANEL] from output `column` on. One shared column, one pass. */
void network_group_sum(const struct block_work *w, uint32_t group, uint32_t line, uint32_t column, float *out);
float network_shared_sum(const struct block_work *w, uint32_t pass, uint32_t token, uint32_t number);

struct general_scratch *general_scratch_create(const struct machine *m); /* NULL when out of memory */
void general_scratch_destroy(struct general_scratch *g);                 /* NULL is fine */

/* What the sources deliver for one block: row_currents_S with the conductances of the array. */
static inline double block_currents_S(const struct array *a, uint32_t block, const int16_t *codes, const float *levels,
                                      double limit, bool squared) {
    uint32_t first = a->row_begin[block];
    return row_currents_S(codes, levels, (a->source_S ? a->source_S : a->row_S) + first,
                          a->between_S ? a->between_S + first : NULL, array_block_rows(a, block), limit, squared);
}

/* Step 5 (multiply_inputs.c): ranges of all tokens that are not idle, in their order; then the inputs of one token
 * become levels. They are finite. */
double management_input_step(const struct machine *m); /* 1 / steps of the DAC over its whole range; 0 without steps */
void find_ranges(struct block_work *w);
void drive_token(struct block_work *w, uint32_t token);

/* One row block alone, at most TOKENS tokens: y [tokens][outputs] are its results, ranges [tokens] what its inputs of
 * full scale stood for, beyond [tokens][outputs] whether a conversion behind the result saturated. Adds to the sums of
 * the record, array_S_sum and conversions included. */
struct block_results {
    float *y, *ranges;
    uint8_t *beyond;
};
enum status multiply_one_block(struct machine *m, size_t matrix, uint32_t block, const float *x, uint32_t tokens,
                               uint64_t first_read, struct general_scratch *g, const struct block_results *out,
                               struct multiply_record *record, struct error *e);

/* The values of machine_multiply on a machine that is not simple, with what the record says of saturation and repeats;
 * row_reads: sum of the inputs of all blocks that were read. Arguments are checked, inputs are finite. s->array_S and
 * s->clipped are filled. */
enum status multiply_general(struct machine *m, size_t matrix, const float *x, uint32_t tokens, uint64_t first_read,
                             struct multiply_scratch *s, float *y, struct multiply_record *record, uint64_t *row_reads,
                             struct error *e);

#endif
