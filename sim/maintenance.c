/* See maintenance.h. */
#include "sim/maintenance.h"

#include <math.h>

#include "base/random.h"
#include "sim/history.h"
#include "sim/placement.h"
#include "sim/run.h"

static const char *const names[MAINTENANCE_KINDS] = {"refresh", "correction", "readout"};
static const char *const keys[MAINTENANCE_KINDS] = {"tile.refresh_period_s", "tile.correction_period_s",
                                                    "tile.compensation_period_s"};

const char *maintenance_name(enum maintenance_kind k) { return names[k]; }

/* ---- schedule ---------------------------------------------------------------------------------- */

static double period_s(const struct tile_spec *t, enum maintenance_kind k) {
    switch (k) {
    case MAINTAIN_REFRESH: return t->refresh_period_s;
    case MAINTAIN_CORRECTION: return t->correction == CORRECTION_NONE ? 0 : t->correction_period_s;
    default: return t->compensation == COMPENSATION_NONE ? 0 : t->compensation_period_s;
    }
}

static bool has_schedule(const struct tile_spec *t) {
    return period_s(t, MAINTAIN_REFRESH) > 0 || period_s(t, MAINTAIN_CORRECTION) > 0 ||
           period_s(t, MAINTAIN_READOUT) > 0;
}

/* Between one programming and the next; infinite without refresh. */
static double moments_per_refresh(const struct tile_spec *t, enum maintenance_kind k) {
    return t->refresh_period_s > 0 ? fmax(ceil(t->refresh_period_s / period_s(t, k)) - 1, 0) : (double)INFINITY;
}

/* Moments up to this age since the last programming before the run. */
static uint64_t moments_until(const struct tile_spec *t, enum maintenance_kind k, double age_s) {
    double each_s = period_s(t, k), refresh_s = t->refresh_period_s;
    if (!(each_s > 0)) {
        return 0;
    }
    if (k == MAINTAIN_REFRESH || !(refresh_s > 0)) {
        return (uint64_t)floor(age_s / each_s);
    }
    double refreshes = floor(age_s / refresh_s), most = moments_per_refresh(t, k);
    return (uint64_t)(refreshes * most + fmin(floor((age_s - refreshes * refresh_s) / each_s), most));
}

/* The age at moment n = 1, 2, ... */
static double moment_s(const struct tile_spec *t, enum maintenance_kind k, uint64_t n) {
    double each_s = period_s(t, k), most = moments_per_refresh(t, k);
    if (k == MAINTAIN_REFRESH || isinf(most)) {
        return (double)n * each_s;
    }
    double refreshes = floor((double)(n - 1) / most);
    return refreshes * t->refresh_period_s + ((double)n - refreshes * most) * each_s;
}

/* ---- costs ------------------------------------------------------------------------------------- */

/* A refresh ends with what follows every programming. */
static void costs_of(const struct machine *m, struct maintenance_cost out[MAINTENANCE_KINDS]) {
    const struct tile_spec *t = &m->spec->tile;
    struct machine_programming p = machine_programming(m);
    double times = (double)p.programmings;
    bool reference = t->compensation != COMPENSATION_NONE && t->compensation != COMPENSATION_EXACT_REFERENCE;
    out[MAINTAIN_CORRECTION] = m->correction_once;
    out[MAINTAIN_READOUT] = m->readout_once;
    out[MAINTAIN_REFRESH] = (struct maintenance_cost){
        p.seconds / times + m->correction_once.seconds + (reference ? m->readout_once.seconds : 0),
        p.joules / times + m->correction_once.joules + (reference ? m->readout_once.joules : 0)};
}

static double weights_of(const struct placement_matrix *m) {
    return m->analog ? (double)m->inputs * m->outputs * m->copies : 0;
}

static enum status read_normal(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    uint32_t inputs = *(const uint32_t *)context;
    (void)e;
    random_gaussian_fill(0, random_stream(RANDOM_WORKLOAD, 0), (uint64_t)first * inputs, rows, (size_t)count * inputs);
    return OK;
}

enum { SAMPLE_VECTORS = 32 };

/* Ranges from normal inputs, where the chip wants them measured. */
static enum status calibrate(struct machine *m, uint32_t inputs, uint32_t outputs, struct error *e) {
    struct multiply_record record;
    struct multiply_scratch *scratch = multiply_scratch_create(m, SAMPLE_VECTORS);
    float *x = mem_alloc((size_t)SAMPLE_VECTORS * inputs, sizeof *x),
          *y = mem_alloc((size_t)SAMPLE_VECTORS * outputs, sizeof *y);
    enum status s = scratch && x && y ? OK : error_set(e, ERR_RUN, "maintenance: out of memory");
    if (s == OK) {
        random_gaussian_fill(0, random_stream(RANDOM_WORKLOAD, 1), 0, x, (size_t)SAMPLE_VECTORS * inputs);
        s = machine_calibration_begin(m, e);
    }
    s = s == OK ? machine_multiply(m, 0, x, SAMPLE_VECTORS, 0, scratch, y, &record, e) : s;
    s = s == OK ? machine_calibration_finish(m, e) : s;
    multiply_scratch_destroy(scratch);
    mem_free(x);
    mem_free(y);
    return s;
}

/* Costs of one full tile. */
static enum status measure_tile(const struct chip *c, const struct placement *p, const struct matrix_source *source,
                                struct maintenance_cost out[MAINTENANCE_KINDS], struct error *e) {
    struct machine_options options = {.seed = 0, .age_s = cell_common_of(chip_spec_of(c)->tile.cell).min_age_s};
    struct machine *m = NULL;
    TRY(machine_create(c, p, source, 1, &options, &m, e));
    enum status s = machine_needs_calibration(m) ? calibrate(m, source->inputs, source->outputs, e) : OK;
    double copies = placement_matrix_at(p, 0).copies;
    costs_of(m, out);
    for (int k = 0; k < MAINTENANCE_KINDS; k++) {
        out[k].joules /= copies;
    }
    machine_destroy(m);
    return s;
}

static enum matrix_role analog_role(const struct placement *p) {
    size_t i = 0;
    while (i + 1 < placement_matrices(p) && !placement_matrix_at(p, i).analog) {
        i++;
    }
    return placement_matrix_at(p, i).role;
}

enum status maintenance_sample(struct run *r, struct error *e) {
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    uint32_t rows = (uint32_t)t->rows, columns = (uint32_t)t->columns;
    struct matrix_source source = {.name = "tile",
                                   .role = analog_role(r->placement),
                                   .inputs = rows,
                                   .outputs = columns,
                                   .read_rows = read_normal,
                                   .context = &rows};
    struct side_path *side = NULL;
    struct placement *p = NULL;
    if (!r->engine || !has_schedule(t) || !chip_is_analog(r->chip, source.role)) {
        return OK;
    }
    float *largest = mem_alloc(rows, sizeof *largest); /* all inputs alike */
    enum status s = largest ? side_path_choose(r->chip, &source, largest, &side, e)
                            : error_set(e, ERR_RUN, "maintenance: out of memory");
    source.side = side;
    s = s == OK ? placement_create(r->chip, &source, 1, &p, e) : s;
    s = s == OK ? measure_tile(r->chip, p, &source, r->maintenance.sample, e) : s;
    placement_destroy(p);
    side_path_destroy(side);
    mem_free(largest);
    return s;
}

/* A tile must be ready before its turn comes again. NAN: not known. */
static enum status check_periods(const struct run *r, struct error *e) {
    for (int k = 0; k < MAINTENANCE_KINDS; k++) {
        double each_s = period_s(&chip_spec_of(r->chip)->tile, (enum maintenance_kind)k),
               least_s = r->maintenance.cost[k].seconds;
        if (each_s > 0 && each_s < least_s) {
            return error_set(e, ERR_USAGE, "%s: %g s, but a %s takes %g s (allowed: 0 for never, at least %g s)",
                             keys[k], each_s, names[k], least_s, least_s);
        }
    }
    return OK;
}

/* The machine has been calibrated by now. */
static enum status start(struct run *r, struct error *e) {
    struct maintenance *m = &r->maintenance;
    const struct chip_spec *s = chip_spec_of(r->chip);
    double tile = (double)s->tile.rows * s->tile.columns;
    m->started = true;
    m->start_s = r->machine ? machine_age_since_programming_s(r->machine) : 0;
    m->weights = 0;
    for (size_t i = 0; i < placement_matrices(r->placement); i++) {
        struct placement_matrix one = placement_matrix_at(r->placement, i);
        m->weights += weights_of(&one);
    }
    if (!has_schedule(&s->tile) || !(m->weights > 0) || !(r->machine || r->shapes)) {
        return OK;
    }
    if (r->machine) {
        costs_of(r->machine, m->cost);
    }
    m->known = true;
    for (int k = 0; k < MAINTENANCE_KINDS; k++) {
        if (r->shapes) {
            m->cost[k] = (struct maintenance_cost){m->sample[k].seconds, m->sample[k].joules * m->weights / tile};
        }
        bool needed = period_s(&s->tile, (enum maintenance_kind)k) > 0;
        m->known = m->known && (!needed || (isfinite(m->cost[k].seconds) && isfinite(m->cost[k].joules)));
        m->seen[k] = moments_until(&s->tile, (enum maintenance_kind)k, m->start_s);
    }
    return check_periods(r, e);
}

void maintenance_reset(struct run *r) {
    struct maintenance *m = &r->maintenance;
    m->started = m->known = false;
    m->key = 0;
    for (int k = 0; k < MAINTENANCE_KINDS; k++) {
        m->due[k] = m->done[k] = m->seen[k] = 0;
    }
}

/* ---- tasks ------------------------------------------------------------------------------------- */

uint64_t maintenance_tasks(const struct run *r) {
    uint64_t sum = 0;
    bool none = !has_schedule(&chip_spec_of(r->chip)->tile);
    for (size_t i = 0; !none && i < placement_matrices(r->placement); i++) {
        struct placement_matrix m = placement_matrix_at(r->placement, i);
        sum += m.analog ? (uint64_t)m.copies * (r->ungrouped ? m.tiles : 1) : 0;
    }
    return MAINTENANCE_KINDS * sum;
}

/* Every tile is busy `times` times, one after the other, from `release` on. */
static void add_to_all(struct run *r, enum maintenance_kind k, uint64_t times, int64_t release) {
    const struct maintenance_cost *cost = &r->maintenance.cost[k];
    int64_t hold = clock_ticks(&r->clocks, CLOCK_TILE, cost->seconds) * (int64_t)times;
    for (size_t i = 0; i < placement_matrices(r->placement); i++) {
        struct placement_matrix m = placement_matrix_at(r->placement, i);
        if (m.analog) {
            double energy_J = cost->joules * (double)times * weights_of(&m) / r->maintenance.weights;
            ledger_maintenance(&r->ledger, m.layer, times * m.tiles * m.copies, energy_J);
            run_add_maintenance(r, i, tag_of_maintenance(k, i), hold, release, energy_J);
        }
    }
}

static void add_kind(struct run *r, enum maintenance_kind k, int64_t start_ticks) {
    struct maintenance *m = &r->maintenance;
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    int64_t now = engine_now(r->engine);
    uint64_t past = moments_until(t, k, m->start_s + engine_seconds(r->engine, now)),
             until = moments_until(t, k, m->start_s + engine_seconds(r->engine, start_ticks)), seen = m->seen[k];
    if (past > seen) {
        add_to_all(r, k, 1, now);
        m->done[k]++;
        m->due[k] += past - seen;
        seen = past;
    }
    if (until > seen) { /* nothing is to do before the step */
        uint64_t times = until - seen;
        if (times > 1) {
            add_to_all(r, k, times - 1, engine_ticks(r->engine, moment_s(t, k, seen + 1) - m->start_s));
        }
        add_to_all(r, k, 1, engine_ticks(r->engine, moment_s(t, k, until) - m->start_s));
        m->done[k] += times;
        m->due[k] += times;
        seen = until;
    }
    m->seen[k] = seen;
}

void maintenance_before_step(struct run *r, int64_t start_ticks) {
    struct error e;
    if (!r->maintenance.started && start(r, &e) != OK) {
        r->trouble = e;
    }
    for (int k = 0; r->maintenance.known && r->trouble.status == OK && k < MAINTENANCE_KINDS; k++) {
        add_kind(r, (enum maintenance_kind)k, start_ticks);
    }
}
