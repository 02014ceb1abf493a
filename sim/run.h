/* Private to sim/: one run on a machine. Values come from machine_multiply; here their records become time and
 * energy. */
#ifndef MHO_SIM_RUN_H
#define MHO_SIM_RUN_H

#include "sim/chip.h"
#include "sim/clocks.h"
#include "sim/engine.h"
#include "sim/interconnect.h"
#include "sim/ledger.h"
#include "sim/machine.h"
#include "sim/maintenance.h"
#include "sim/power.h"

/* Resources: one per matrix (its tiles work in step; with tiers that of the first of a group stands for all of it),
 * then per chip one of each of these, then the links (run_links.h). */
enum unit { UNIT_VECTOR, UNIT_ATTENTION, UNIT_MATMUL, UNIT_KV, UNIT_BUFFER, UNIT_DRAM, UNIT_COUNT };
/* Classes of them, tiles taken together: sim/power.h. */
const char *resource_class_name(enum resource_class c);

enum step_kind { STEP_SEVERAL, STEP_SINGLE, STEP_KINDS }; /* tokens of a step */
enum { FRONT_MOST = 64 }; /* stages that one stage can wait for */

struct front { uint64_t tasks[FRONT_MOST]; uint32_t count; }; /* ids of the engine */

struct streams; /* run_streams.h */

/* The critical path of the run. Its parts add up to the makespan. */
struct run_path { double class_s[CLASS_COUNT], arrival_s, clock_s; };

struct run {
    struct machine *machine; /* NULL: records are handed in (run_record_multiply), or made from `activity` */
    struct activity activity;  /* of a run of shapes */
    bool shapes;
    bool ungrouped;            /* run_ungroup */
    bool keeps_inputs;         /* run_keep_inputs */
    double role_S[MATRIX_ROLES], role_weights[MATRIX_ROLES]; /* sums for run_activity: S; weights x tokens */
    double blocks, repeated_blocks, repeated_rounds, multiplied_tokens;
    const struct chip *chip;
    const struct placement *placement;
    struct multiply_scratch *scratch;
    struct ledger ledger;
    struct clocks clocks;
    struct interconnect *net;  /* NULL: the chip has no links */
    bool at_somewhere;         /* of this step, an operation has been placed: */
    size_t at_group;           /* the group of chips that the last one worked on, and how many values it took */
    uint64_t last_values;
    struct engine *engine;     /* a log of one step; NULL: the chip declares no costs */
    uint8_t *classes;             /* [resources] enum resource_class */
    int64_t *critical_ticks;      /* [resources] of the step that ends; else 0 */
    int64_t *each_ticks;          /* [max_tokens] durations of a stage that differ from token to token */
    int64_t *own_holds, *own_latencies; /* [max_tokens] of a stage whose unit wakes up, or whose tokens take turns;
                                           NULL: none ever does */
    struct power_trace *power; /* NULL: the chip declares no costs */
    int64_t step_start_ticks;
    size_t stages, stages_most; /* of this step */
    uint32_t max_tokens, tokens;
    uint64_t steps, tokens_total;
    uint64_t first_read;       /* of the first token: run_restart */
    uint64_t single_steps;             /* steps of one token */
    double single_s, several_s;        /* time in steps of one token, and of several */
    double critical_s[STEP_KINDS][CLASS_COUNT]; /* share of the critical path of steps, by kind of step */
    struct run_path whole;             /* with streams, once they have nothing more to do */
    struct front front;                /* the next operation comes after these */
    bool forked;
    struct front ends;                 /* forked: last stages of each branch */
    uint64_t prepared;         /* forked: task that made the codes of the inputs; 0: none */
    uint32_t prepared_inputs;  /* forked: how many inputs that were; 0: none yet */
    struct streams *streams;           /* NULL: a step starts when the one before it has finished */
    uint64_t tag;                      /* of the operation in the making (history.h) */
    struct history *history;           /* NULL: the chip declares no costs */
    struct maintenance maintenance;    /* that falls due in the time of the run */
    struct error trouble;              /* not OK: the step could not be scheduled */
};

/* Tokens of the run take `of` turns; a stage with a turn concerns only those of turn `which`, the others pass. of 0:
 * all tokens. */
struct turn { uint32_t of, which; };
struct turn run_turn_of(uint32_t k, uint32_t copies); /* of copy k of so many */
/* How many tokens of the present step have this turn. */
uint32_t run_turn_tokens(const struct run *r, struct turn turn);

/* One stage of an operation. Durations of every token, or each_ticks, which is then hold and latency. overlap: a token
 * need not wait for the result of the token before it, only for the resource. turn: not with each_ticks. */
struct stage { int64_t hold_ticks, latency_ticks; const int64_t *each_ticks; bool overlap; struct turn turn; };
/* Adds a stage after `before`, which becomes the stage alone. What goes wrong is kept for run_multiply and
 * run_end_step. */
void run_add_stage(struct run *r, size_t resource, const struct stage *s, struct front *before);
/* Adds the stages of `from` to those that `to` waits for. */
void run_join_front(struct run *r, struct front *to, const struct front *from);

/* Every copy of the matrix is busy for `hold` ticks, from `release` on at the earliest; together they take energy_J. */
void run_add_maintenance(struct run *r, size_t matrix, uint64_t tag, int64_t hold, int64_t release, double energy_J);

/* A run without a machine: for tests, and for costs of recorded work. */
enum status run_create_costs(const struct chip *c, const struct placement *p, uint32_t max_tokens, struct run **out,
                             struct error *e);
/* r->engine for so many steps at the same time; what it had is forgotten. (run.c) */
enum status run_create_engine(struct run *r, uint32_t streams, struct error *e);
/* For tests, before the first step: every stack of tiles is a resource of its own, and a multiply one stage on each of
 * them. Matrices of at most FRONT_MOST tiles, copies counted; tokens go to copies in turn. */
enum status run_ungroup(struct run *r, struct error *e);
/* Before the first step: inputs are at the tiles and results stay there, as the published peak of a chip means it. The
 * links keep their area and static power. */
enum status run_drop_links(struct run *r, struct error *e);
/* For tests, before the first step: the log keeps all dependencies (engine_logged_input). */
enum status run_keep_inputs(struct run *r, struct error *e);
/* What run_multiply does with the record of a multiply. */
void run_record_multiply(struct run *r, const struct multiply_record *m);

/* False without a machine, too. */
bool run_wires_act(const struct run *r);
/* Whether the resistance of wires counts at all: as a network, or as ladders of pairs. */
bool run_wires_modelled(const struct run *r);

/* Sums over all resources of a class; `busiest`: largest share of the makespan that one of them worked. */
struct class_view { double busy_s, wait_s, critical_s, busiest; uint64_t events; }; /* critical_s: run_path */
struct class_view run_class(const struct run *r, enum resource_class c);
/* Without streams every step follows the one before it, and this is the sum over the steps. */
struct run_path run_path(const struct run *r);
/* Seconds at work; zeros where nothing is gated. Static energy up to now. */
struct awake run_awake(const struct run *r);
double run_static_J(const struct run *r);
uint32_t run_servers(const struct run *r, size_t resource);
enum resource_class run_resource_class(const struct run *r, size_t resource);
uint64_t run_resource_chip(const struct run *r, size_t resource); /* of tiles: that of the first one */

#endif
