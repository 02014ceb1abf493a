/* The physics of single parts: memory cells and converters. Knows no tile and no token.
 *
 * Conductances are single-precision siemens, times are seconds after the end of programming.
 * Every function here works on arrays of n devices, addressed by (seed, stream, first index), so the
 * result never depends on how the caller cuts the work.
 *
 * The life of a device, in this order (design: target -> programmed -> effective):
 *   target      what the encoding asks for, in [g_min, g_max] (rounded to a level where the cell has finitely many)
 *   programmed  after `program` (one pulse or the published closed loop), or after the cell's own write-verify process
 *   drifted     after `drift` to the age t: per-device exponent, drawn from its own stream; retention, read disturb,
 *               temperature where the part says how
 *   read        `read_sd` is the standard deviation of the slow (1/f) noise at age t, telegraph noise beside it: both
 *               are functions of (device, time), so that reads at several ages are one history. `white_sd` is what
 *               changes from read to read; it is added per multiply, not here.
 *
 * A new technology = one file with one `const struct cell_model` + one row in registry.c + one part in
 * configs/parts. Hooks that are optional say what NULL means. Physics that any technology may have (temperature,
 * retention, telegraph noise, white noise, read disturb, nonlinear current, write-verify) are optional groups of the
 * part file, each one file of devices/ (cell_group below); a part without the group does not model it, and says so.
 */
#ifndef MHO_DEVICES_DEVICE_H
#define MHO_DEVICES_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/params.h"

/* Where the random numbers of a run of devices come from. */
struct cell_draws {
    uint64_t seed;
    uint64_t where; /* low 56 bits of the stream: matrix << 8 | device of the unit cell */
    uint64_t first; /* index of the first device of the array */
};

/* What the tile must know of any cell. */
struct cell_common {
    double g_max_S, g_min_S;
    double t0_s;                 /* drift starts t0 after programming; age 0 means t0 after the write */
    double min_age_s, max_age_s; /* validity of the time model */
    double read_s;               /* read pulse of 1/f read noise: its fastest correlation time. 0: the slow noise of a
                                  * device is one number for life */
    int levels;                  /* distinct targets from g_min to g_max, equally spaced; 0: any */
    bool charge;                 /* charge domain: the cell holds a capacitor, "conductances" are capacitances in
                                  * units of g_max; wires and read current do not apply */
    double g_max_F;              /* charge domain: the capacitance that g_max stands for */
    bool pair_statistics;        /* the statistics are those of a signed differential pair as a whole (pcm_afm):
                             * targets are signed, in [-g_max, g_max]; only encoding signed_unit is allowed */
};

struct cell_model {
    const char *name;          /* "pcm_like" */
    const char *about;         /* one line */
    const char *source;        /* paper, table or equation */
    const char *status;        /* "validated against ..." or "uncalibrated" */
    struct param_table params; /* of the part file (configs/parts/NAME.yaml) */
    size_t params_bytes;       /* size of the struct that the table fills */

    /* Required. */
    void (*common)(const void *params, struct cell_common *out);
    void (*program)(const void *params, const struct cell_draws *d, const float *target_S, float *programmed_S,
                    size_t n);

    /* Optional. Relations between parameters that single ranges cannot say. NULL: none. */
    enum status (*check)(const void *params, struct error *e);
    /* Optional. NULL: the cell does not drift. A model that forgets the programmed value may draw afresh here. */
    void (*drift)(const void *params, const struct cell_draws *d, const float *target_S, const float *programmed_S,
                  double age_s, float *drifted_S, size_t n);
    /* Optional. The drift exponents that `drift` uses for the same draws, for `device stats`. NULL: no exponent. */
    void (*drift_exponent)(const void *params, const struct cell_draws *d, const float *target_S, float *nu, size_t n);
    /* Optional. sd of one read. NULL: no read noise. */
    void (*read_sd)(const void *params, const float *target_S, const float *programmed_S, const float *drifted_S,
                    double age_s, float *sd_S, size_t n);
    /* Optional. Limits after read noise, as the source model has them at this age. NULL: clamp at 0. Called only after
     * read noise. */
    void (*read_clamp)(const void *params, double age_s, float *g_S, size_t n);
};

extern const struct cell_model *const cell_models[];                         /* NULL-terminated */
const struct cell_model *cell_model_find(const char *name, struct error *e); /* error names the nearest */

/* A cell with its parameters: created from a config map ({model: NAME, ...}), immutable. */
struct cell;
enum status cell_create(const struct config_node *map, const char *prefix, struct arena *a, const struct cell **out,
                        struct error *e);
const struct cell_model *cell_model_of(const struct cell *c);
const void *cell_params(const struct cell *c);
struct cell_common cell_common_of(const struct cell *c);
enum status cell_dump(const struct cell *c, struct arena *a, struct config_node *map, struct error *e);

/* Which steps of a device's life act (the switches of the chip's effects), and what surrounds it. */
struct cell_conditions {
    bool programming_noise, drift, read_noise, temperature;
    double temperature_K; /* of storage and read; acts where the part has the group `temperature` */
    double reads;         /* reads since programming; acts (with drift) where the part has the group `disturb` */
};

/* What programming took, counted. Integer sums: the same for any cut of the work. */
struct programming_count {
    uint64_t devices, pulses, verify_reads, failed; /* failed: outside the tolerance after the last pulse */
};

/* The whole life of n devices at one age: target -> as read (slow read state included). Allocates nothing.
 * age_s outside [min_age_s, max_age_s] is the caller's error to prevent. */
void cell_realise(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                  const float *target_S, double age_s, float *read_S, size_t n);
/* The same devices at several ages: read_S[k] is what cell_realise gives at ages_s[k], bit for bit, for less work.
 * `count` (may be NULL) is added to. */
void cell_realise_ages(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                       const float *target_S, const double *ages_s, size_t age_count, float *const *read_S,
                       struct programming_count *count, size_t n);
/* The same for many runs of devices: what depends on seed, conditions and ages alone is worked out once, in `create`.
 * age_count <= CELL_LIFE_AGES. Owned by the caller, immutable, for any number of threads; the cell must outlive it.
 * Error: out of memory. */
enum { CELL_LIFE_AGES = 4 };
struct cell_life;
enum status cell_life_create(const struct cell *c, const struct cell_conditions *k, uint64_t seed,
                             const double *ages_s, size_t age_count, struct cell_life **out, struct error *e);
void cell_life_destroy(struct cell_life *l); /* NULL is fine */
/* target_S [n], read_S [age_count][n]; where, first: of struct cell_draws. Allocates nothing. */
void cell_life_realise(const struct cell_life *l, uint64_t where, uint64_t first, const float *target_S,
                       float *const *read_S, struct programming_count *count, size_t n);
/* The programming step alone, with the cell's own process (write-verify where the part has it). */
void cell_program(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                  const float *target_S, float *programmed_S, struct programming_count *count, size_t n);

/* The age at the cell's reference temperature that does to drift what age_s does under these conditions: age_s itself
 * without the effect, the group `temperature` or an activation energy. Must lie in the time model too. */
double cell_drift_age(const struct cell *c, const struct cell_conditions *k, double age_s);
/* Whether what is read of a device depends on its age under these conditions: drift, retention or read noise. */
bool cell_ages(const struct cell *c, const struct cell_conditions *k);

/* Temperatures that the part has numbers for; 300 to 300 where it has no group `temperature`. */
void cell_temperature_range(const struct cell *c, double *low_K, double *high_K);

/* White noise: sd of what changes from one read of a device to the next, from its conductance as read. All zero where
 * the part has no group `white_noise`; cell_has_white_noise tells. */
bool cell_has_white_noise(const struct cell *c);
void cell_white_sd(const struct cell *c, const float *read_S, float *sd_S, size_t n);

/* Nonlinear current: I(V) = g V s(V), s(v_ref) = 1 at the voltage that conductances are stated at; s is even in V.
 * cell_is_linear: s = 1 everywhere. */
bool cell_is_linear(const struct cell *c);
double cell_current_factor(const struct cell *c, double volts);

/* Cost and wear of programming; NULL: the part does not say (never reported as 0). */
struct programming_costs {
    struct constant pulse_s, pulse_J, verify_s, verify_J, endurance_pulses; /* endurance 0 = not stated */
};
const struct programming_costs *cell_programming_costs(const struct cell *c);
/* Which groups this cell models: visit(name, present) in a fixed order. For `device list`, reports, docs. */
void cell_visit_groups(const struct cell *c, void (*visit)(void *ctx, const char *group, bool present), void *ctx);

/* ---- optional groups of a part file ------------------------------------------------------------------- */

/* One group = one param table (every row required once the group is there). The tables are listed in cell_groups for
 * parsing, --set, docs. Structs and meaning: the file named after the group. */
struct cell_group {
    const char *name; /* "temperature": keys are tile.cell.temperature.KEY */
    const char *about;
    struct param_table params;
    size_t params_bytes;
    enum status (*check)(const void *group, struct error *e); /* optional */
};
enum { CELL_GROUPS_MOST = 12 };
extern const struct cell_group *const cell_groups[]; /* NULL-terminated */
/* The group's struct of this cell, NULL where the part has none. `index` = position in cell_groups. */
const void *cell_group_params(const struct cell *c, size_t index);
/* Whether the cell's part states this group. */
bool cell_has_group(const struct cell *c, const char *name);

/* Converters. Input codes are symmetric integers -limit..limit with limit = 2^(bits-1) - 1; so are ADC
 * codes (8 bits: -127..127). step = range / limit. Rounding half to even, then clamp: the paper's DAC and ADC. */
struct converter {
    int bits;  /* 2..14 */
    int limit; /* 2^(bits-1) - 1 */
};
struct converter converter_make(int bits);
/* code of x for a full scale `range` (> 0); plain reference in double; `clamped` may be NULL */
int converter_code(struct converter c, double x, double range, bool *clamped);

#endif
