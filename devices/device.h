/* The physics of single parts: memory cells and converters. Knows no tile and no token.
 *
 * Conductances are single-precision siemens, times are seconds after the end of programming.
 * Every function here works on arrays of n devices, addressed by (seed, stream, first index), so the
 * result never depends on how the caller cuts the work.
 *
 * The life of a device, in this order (design: target -> programmed -> effective):
 *   target      what the encoding asks for, in [g_min, g_max]
 *   programmed  after `program`: one draw of programming noise (a write-verify process later)
 *   drifted     after `drift` to the age t: per-device exponent, drawn from its own stream
 *   read        `read_sd` is the standard deviation of one read at age t. The cells of today have slow (1/f) read
 *               noise: its state is drawn once per device and only its size follows the age.
 *
 * A new technology = one file with one `const struct cell_model` + one row in registry.c + one part in
 * configs/parts. Hooks that are optional say what NULL means.
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
    /* Optional. Limits after read noise, as the source model has them. NULL: clamp at 0. Called only after read
     * noise. */
    void (*read_clamp)(const void *params, float *g_S, size_t n);
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

/* Which steps of a device's life act (the switches of the chip's effects). */
struct cell_effects {
    bool programming_noise, drift, read_noise;
};
/* The whole life of n devices at one age: target -> as read (slow read state drawn once). Allocates nothing.
 * age_s outside [min_age_s, max_age_s] is the caller's error to prevent. */
void cell_realise(const struct cell *c, const struct cell_effects *effects, const struct cell_draws *d,
                  const float *target_S, double age_s, float *read_S, size_t n);
/* The same devices at several ages: read_S[k] is what cell_realise gives at ages_s[k], bit for bit, for less work. */
void cell_realise_ages(const struct cell *c, const struct cell_effects *effects, const struct cell_draws *d,
                       const float *target_S, const double *ages_s, size_t age_count, float *const *read_S, size_t n);

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
