/* A cell = a model and its parameters, and the life of its devices: target -> programmed -> drifted -> read.
 *
 * Works in short runs on the stack, so that a machine of any size needs no extra memory. The random number of device i
 * of the array is number first + i of the stream of its purpose; one purpose, one stream. So cutting the work
 * differently, or asking for several ages of the same device, changes no bit.
 */
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "devices/groups.h"
#include "devices/history.h"

struct cell {
    const struct cell_model *model;
    const void *params;
    const void *groups[CELL_GROUPS]; /* NULL: the part does not have it */
};

/* ---- from a part file and back ------------------------------------------------------------------------ */

static enum status read_group(struct cell *c, size_t g, const struct config_node *map, const char *prefix,
                              struct arena *a, struct error *e) {
    char below[256];
    const struct cell_group *group = cell_groups[g];
    const struct config_node *node = config_get(map, group->name);
    if (!node) {
        return OK;
    }
    void *params = arena_alloc(a, 1, group->params_bytes);
    if (!params) {
        return error_set(e, ERR_RUN, "%s%s: out of memory", prefix, group->name);
    }
    snprintf(below, sizeof below, "%s%s.", prefix, group->name);
    TRY(params_read(&group->params, node, below, a, params, e));
    if (group->check && group->check(params, e) != OK) {
        return params_relation(&group->params, node, below, e);
    }
    c->groups[g] = params;
    return OK;
}

enum status cell_create(const struct config_node *map, const char *prefix, struct arena *a, const struct cell **out,
                        struct error *e) {
    char where[512], group[64];
    if (config_kind(map) != CONFIG_MAP) {
        snprintf(group, sizeof group, "%.*s", (int)strlen(prefix) - 1, prefix);
        return error_set(e, ERR_USAGE, "%s: %s: not a map (allowed: a map with the key model)",
                         config_where(map, where, sizeof where), group);
    }
    const struct config_node *name = config_get(map, "model");
    if (!name || !config_text(name)) {
        return error_set(e, ERR_USAGE, "%s: %smodel: missing (allowed: a name of `mho device list`)",
                         config_where(map, where, sizeof where), prefix);
    }
    const struct cell_model *model = cell_model_find(config_text(name), e);
    if (!model) {
        return error_prefix(e, "%s: %smodel", config_where(name, where, sizeof where), prefix);
    }
    struct cell *c = arena_alloc(a, 1, sizeof *c);
    void *params = arena_alloc(a, 1, model->params_bytes);
    if (!c || !params) {
        return error_set(e, ERR_RUN, "%s: out of memory", prefix);
    }
    TRY(params_read(&model->params, map, prefix, a, params, e));
    if (model->check && model->check(params, e) != OK) {
        return params_relation(&model->params, map, prefix, e);
    }
    *c = (struct cell){.model = model, .params = params};
    for (size_t g = 0; g < CELL_GROUPS; g++) {
        TRY(read_group(c, g, map, prefix, a, e));
    }
    *out = c;
    return OK;
}

const struct cell_model *cell_model_of(const struct cell *c) { return c->model; }

const void *cell_params(const struct cell *c) { return c->params; }

struct cell_common cell_common_of(const struct cell *c) {
    struct cell_common common = {0};
    c->model->common(c->params, &common);
    return common;
}

enum status cell_dump(const struct cell *c, struct arena *a, struct config_node *map, struct error *e) {
    struct config_node *name = config_new_scalar(a, c->model->name, "", 0);
    if (!name) {
        return error_set(e, ERR_RUN, "cell %s: out of memory", c->model->name);
    }
    TRY(config_put(a, map, "model", name, e));
    TRY(params_dump(&c->model->params, c->params, "", a, map, e));
    for (size_t g = 0; g < CELL_GROUPS; g++) {
        if (c->groups[g]) {
            struct config_node *group = config_new_map(a, "(effective)", 0);
            if (!group) {
                return error_set(e, ERR_RUN, "cell %s: out of memory", c->model->name);
            }
            TRY(config_put(a, map, cell_groups[g]->name, group, e));
            TRY(params_dump(&cell_groups[g]->params, c->groups[g], "", a, group, e));
        }
    }
    return OK;
}

const void *cell_group_params(const struct cell *c, size_t index) { return c->groups[index]; }

bool cell_has_group(const struct cell *c, const char *name) {
    for (size_t g = 0; cell_groups[g]; g++) {
        if (strcmp(cell_groups[g]->name, name) == 0) {
            return c->groups[g] != NULL;
        }
    }
    return false;
}

void cell_visit_groups(const struct cell *c, void (*visit)(void *ctx, const char *group, bool present), void *ctx) {
    for (size_t g = 0; g < CELL_GROUPS; g++) {
        visit(ctx, cell_groups[g]->name, c->groups[g] != NULL);
    }
}

const struct programming_costs *cell_programming_costs(const struct cell *c) {
    const struct programming *p = c->groups[GROUP_PROGRAMMING];
    return p ? &p->costs : NULL;
}

bool cell_has_white_noise(const struct cell *c) { return c->groups[GROUP_WHITE_NOISE] != NULL; }

void cell_white_sd(const struct cell *c, const float *read_S, float *sd_S, size_t n) {
    if (cell_has_white_noise(c)) {
        white_noise_sd(c->groups[GROUP_WHITE_NOISE], read_S, sd_S, n);
    } else {
        memset(sd_S, 0, n * sizeof *sd_S);
    }
}

bool cell_is_linear(const struct cell *c) {
    return !c->groups[GROUP_CURRENT] || current_is_linear(c->groups[GROUP_CURRENT]);
}

double cell_current_factor(const struct cell *c, double volts) {
    return c->groups[GROUP_CURRENT] ? current_factor(c->groups[GROUP_CURRENT], volts) : 1;
}

/* ---- the life of devices ------------------------------------------------------------------------------ */

/* One run of devices: short enough for the first-level cache, a multiple of the four numbers of a random block and of
 * the blocks of a history. */
enum { RUN = 256 };

struct cell_life {
    const struct cell *cell;
    struct cell_conditions k;
    uint64_t seed;
    struct cell_common common;
    bool noisy; /* read noise acts */
    size_t age_count;
    double age_s[CELL_LIFE_AGES], drift_age_s[CELL_LIFE_AGES], retention_age_s[CELL_LIFE_AGES];
    struct history_moment history[CELL_LIFE_AGES];
};

/* How much faster a process of this activation energy runs than at the reference temperature. */
static double acceleration(const struct cell *c, const struct cell_conditions *k, const struct constant *energy_J) {
    const struct temperature *t = c->groups[GROUP_TEMPERATURE];
    bool acts = t && k->temperature && energy_J->value > 0;
    return acts ? temperature_acceleration(energy_J->value, t->reference_K.value, k->temperature_K) : 1;
}

void cell_temperature_range(const struct cell *c, double *low_K, double *high_K) {
    const struct temperature *t = c->groups[GROUP_TEMPERATURE];
    *low_K = t ? t->valid_from_K.value : 300;
    *high_K = t ? t->valid_to_K.value : 300;
}

double cell_drift_age(const struct cell *c, const struct cell_conditions *k, double age_s) {
    const struct temperature *t = c->groups[GROUP_TEMPERATURE];
    return t ? age_s * acceleration(c, k, &t->activation_J) : age_s;
}

bool cell_ages(const struct cell *c, const struct cell_conditions *k) {
    bool drifts = k->drift && (c->model->drift || c->groups[GROUP_RETENTION]);
    return drifts || (k->read_noise && (c->model->read_sd || c->groups[GROUP_TELEGRAPH]));
}

static double retention_age(const struct cell *c, const struct cell_conditions *k, double age_s) {
    const struct retention *r = c->groups[GROUP_RETENTION];
    return r ? age_s * acceleration(c, k, &r->activation_J) : age_s;
}

static struct cell_life life_of(const struct cell *c, const struct cell_conditions *k, uint64_t seed,
                                const double *ages_s, size_t age_count) {
    struct cell_life l = {.cell = c, .k = *k, .seed = seed, .common = cell_common_of(c), .age_count = age_count};
    l.noisy = k->read_noise && c->model->read_sd;
    for (size_t a = 0; a < age_count; a++) {
        l.age_s[a] = ages_s[a];
        l.drift_age_s[a] = cell_drift_age(c, k, ages_s[a]);
        l.retention_age_s[a] = retention_age(c, k, ages_s[a]);
        if (l.noisy && l.common.read_s > 0) {
            l.history[a] = history_at(seed, ages_s[a] + l.common.t0_s, l.common.read_s);
        }
    }
    return l;
}

static void program_run(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                        const float *target_S, float *programmed_S, struct programming_count *count, size_t n) {
    if (k->programming_noise) {
        programming_write(c->groups[GROUP_PROGRAMMING], c->model, c->params, d, target_S, programmed_S, count, n);
    } else {
        memcpy(programmed_S, target_S, n * sizeof *target_S);
        count->devices += n;
        count->pulses += n;
    }
}

static void drift_run(const struct cell_life *l, size_t a, const struct cell_draws *d, const float *target_S,
                      const float *programmed_S, float *out_S, size_t n) {
    const struct cell *c = l->cell;
    if (!l->k.drift || !c->model->drift) {
        memcpy(out_S, programmed_S, n * sizeof *out_S);
    } else {
        c->model->drift(c->params, d, target_S, programmed_S, l->drift_age_s[a], out_S, n);
    }
    if (l->k.drift && c->groups[GROUP_RETENTION]) {
        retention_loss(c->groups[GROUP_RETENTION], d, l->common.g_min_S, l->retention_age_s[a], out_S, n);
    }
    if (l->k.drift && c->groups[GROUP_DISTURB]) {
        disturb_shift(c->groups[GROUP_DISTURB], &l->common, l->k.reads, out_S, n);
    }
}

static void clamp_at_zero(float *g_S, size_t n) {
    for (size_t i = 0; i < n; i++) {
        g_S[i] = g_S[i] > 0.0f ? g_S[i] : 0.0f;
    }
}

/* read_S = drifted + sd x state, limited as the model says. */
static void add_read_noise(const struct cell *c, const float *target_S, const float *programmed_S, double age_s,
                           const float *state, float *read_S, size_t n) {
    float sd_S[RUN];
    c->model->read_sd(c->params, target_S, programmed_S, read_S, age_s, sd_S, n);
    for (size_t i = 0; i < n; i++) {
        read_S[i] += sd_S[i] * state[i];
    }
    if (c->model->read_clamp) {
        c->model->read_clamp(c->params, age_s, read_S, n);
    } else {
        clamp_at_zero(read_S, n);
    }
}

static void read_run(const struct cell_life *l, size_t a, const struct cell_draws *d, const float *target_S,
                     const float *programmed_S, float *out_S, size_t n) {
    const struct cell *c = l->cell;
    float state[RUN];
    if (l->noisy && l->common.read_s > 0) {
        history_state(&l->history[a], d, state, n);
    } else if (l->noisy) {
        random_gaussian_fill(d->seed, random_stream(RANDOM_READ_STATE, d->where), d->first, state, n);
    }
    if (l->noisy) {
        add_read_noise(c, target_S, programmed_S, l->age_s[a], state, out_S, n);
    }
    if (l->k.read_noise && c->groups[GROUP_TELEGRAPH]) {
        telegraph_switch(c->groups[GROUP_TELEGRAPH], d, l->age_s[a] + l->common.t0_s, out_S, n);
    }
    if (l->k.temperature && c->groups[GROUP_TEMPERATURE]) {
        temperature_conductance(c->groups[GROUP_TEMPERATURE], l->k.temperature_K, l->common.g_max_S, out_S, n);
    }
}

enum status cell_life_create(const struct cell *c, const struct cell_conditions *k, uint64_t seed,
                             const double *ages_s, size_t age_count, struct cell_life **out, struct error *e) {
    struct cell_life *l = mem_alloc(1, sizeof *l);
    if (!l) {
        return error_set(e, ERR_RUN, "cell %s: out of memory", c->model->name);
    }
    *l = life_of(c, k, seed, ages_s, age_count);
    *out = l;
    return OK;
}

void cell_life_destroy(struct cell_life *l) { mem_free(l); }

void cell_life_realise(const struct cell_life *l, uint64_t where, uint64_t first, const float *target_S,
                       float *const *read_S, struct programming_count *count, size_t n) {
    struct programming_count ignored = {0};
    for (size_t done = 0; done < n; done += RUN) {
        struct cell_draws here = {l->seed, where, first + done};
        float programmed_S[RUN];
        size_t now = n - done < RUN ? n - done : RUN;
        program_run(l->cell, &l->k, &here, target_S + done, programmed_S, count ? count : &ignored, now);
        for (size_t a = 0; a < l->age_count; a++) {
            float *out_S = read_S[a] + done;
            drift_run(l, a, &here, target_S + done, programmed_S, out_S, now);
            read_run(l, a, &here, target_S + done, programmed_S, out_S, now);
        }
    }
}

void cell_realise_ages(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                       const float *target_S, const double *ages_s, size_t age_count, float *const *read_S,
                       struct programming_count *count, size_t n) {
    for (size_t from = 0; from < age_count; from += CELL_LIFE_AGES) {
        size_t now = age_count - from < CELL_LIFE_AGES ? age_count - from : CELL_LIFE_AGES;
        struct cell_life l = life_of(c, k, d->seed, ages_s + from, now);
        cell_life_realise(&l, d->where, d->first, target_S, read_S + from, from == 0 ? count : NULL, n);
    }
}

void cell_realise(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                  const float *target_S, double age_s, float *read_S, size_t n) {
    cell_realise_ages(c, k, d, target_S, &age_s, 1, &read_S, NULL, n);
}

void cell_program(const struct cell *c, const struct cell_conditions *k, const struct cell_draws *d,
                  const float *target_S, float *programmed_S, struct programming_count *count, size_t n) {
    struct programming_count ignored = {0};
    program_run(c, k, d, target_S, programmed_S, count ? count : &ignored, n);
}
