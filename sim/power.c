/* See power.h. */
#include "sim/power.h"

#include <math.h>
#include <string.h>

#include "sim/chip_costs.h"

enum { WINDOW_BINS = 16, BINS_FIRST = 1024, BINS_MOST = 1 << 20 };

/* ---- static power ---------------------------------------------------------------------------------------------- */

double gating_kept(const struct chip_spec *s) {
    return s->gating.given ? fmin(s->gating.clock_share.value * s->gating.power_share.value, 1) : 1;
}

double gated_W(const struct chip_spec *s, enum resource_class c) {
    switch (c) {
    case CLASS_TILES: return tile_static_W(&s->tile);
    case CLASS_VECTOR: return s->vector.static_W.value;
    case CLASS_ATTENTION: return s->attention.static_W.value;
    case CLASS_MATMUL: return s->matmul.static_W.value;
    default: return 0;
    }
}

double gating_saved_J(const struct chip_spec *s, double chips, double seconds, const struct awake *a) {
    if (!s->gating.given) {
        return 0;
    }
    double all_s = chips * seconds;
    return (1 - gating_kept(s)) *
           (gated_W(s, CLASS_TILES) * (all_s * s->tiles_per_chip - a->tiles_s) +
            gated_W(s, CLASS_VECTOR) * (all_s * s->vector.count - a->vector_s) +
            gated_W(s, CLASS_ATTENTION) * (all_s * s->attention.count - a->attention_s) +
            gated_W(s, CLASS_MATMUL) * (all_s * s->matmul.count - a->matmul_s));
}

/* ---- over time ------------------------------------------------------------------------------------------------- */

/* Bins [0, count) begin at first_bin x width. Energy of a bin = part + sum of steps up to it: what crosses a bin as a
 * whole is entered at its two ends only. */
struct power_trace {
    struct stage_power *stages;
    size_t stage_count;
    double ticks_per_s;
    int64_t width, width_at_first, first_bin;
    double *part_J, *step_J;
    size_t count, room;
    double before_J, peak_W, peak_s;
    bool complete;
};

static enum status make_room(struct power_trace *p, size_t bins, struct error *e) {
    size_t room = p->room ? p->room : BINS_FIRST;
    while (room < bins) {
        room *= 2;
    }
    if (room == p->room) {
        return OK;
    }
    double *part_J = mem_alloc(room, sizeof *part_J), *step_J = mem_alloc(room, sizeof *step_J);
    if (!part_J || !step_J) {
        mem_free(part_J);
        mem_free(step_J);
        return error_set(e, ERR_RUN, "power over time: out of memory");
    }
    if (p->room) {
        memcpy(part_J, p->part_J, p->count * sizeof *part_J);
        memcpy(step_J, p->step_J, p->count * sizeof *step_J);
    }
    mem_free(p->part_J);
    mem_free(p->step_J);
    p->part_J = part_J;
    p->step_J = step_J;
    p->room = room;
    return OK;
}

enum status power_create(const struct chip_spec *s, size_t stages, double ticks_per_s, struct power_trace **out,
                         struct error *e) {
    struct power_trace *p = mem_alloc(1, sizeof *p);
    *out = NULL;
    if (!p) {
        return error_set(e, ERR_RUN, "power over time: out of memory");
    }
    int64_t width = (int64_t)llround(s->power_window_s * ticks_per_s / WINDOW_BINS);
    *p = (struct power_trace){.stages = mem_alloc(stages, sizeof *p->stages),
                              .stage_count = stages,
                              .ticks_per_s = ticks_per_s,
                              .width_at_first = width > 0 ? width : 1};
    enum status status = p->stages ? make_room(p, 1, e) : error_set(e, ERR_RUN, "power over time: out of memory");
    if (status != OK) {
        power_destroy(p);
        return status;
    }
    power_reset(p);
    *out = p;
    return OK;
}

void power_destroy(struct power_trace *p) {
    if (p) {
        mem_free(p->stages);
        mem_free(p->part_J);
        mem_free(p->step_J);
        mem_free(p);
    }
}

void power_reset(struct power_trace *p) {
    p->width = p->width_at_first;
    p->first_bin = 0;
    p->count = 0;
    p->before_J = p->peak_W = p->peak_s = 0;
    p->complete = true;
}

void power_stage(struct power_trace *p, size_t stage, double energy_J, double awake_W, int64_t ticks) {
    if (stage < p->stage_count) {
        double per_tick = ticks > 0 ? energy_J / (double)ticks : 0;
        p->stages[stage] = (struct stage_power){per_tick + awake_W / p->ticks_per_s, ticks > 0 ? 0 : energy_J};
    }
}

struct stage_power power_of_stage(const struct power_trace *p, size_t stage) {
    return stage < p->stage_count ? p->stages[stage] : (struct stage_power){0, 0};
}

/* From steps to energies of bins. */
static void settle(struct power_trace *p) {
    double level_J = 0;
    for (size_t i = 0; i < p->count; i++) {
        level_J += p->step_J[i];
        p->step_J[i] = 0;
        p->part_J[i] += level_J;
    }
}

/* Bins of twice the width, until the time up to `end` takes few enough. No steps are left. */
static void widen(struct power_trace *p, int64_t end) {
    while (end / p->width - p->first_bin + 1 > BINS_MOST) {
        int64_t first = p->first_bin >> 1;
        size_t count = p->count ? (size_t)((p->first_bin + (int64_t)p->count - 1) / 2 - first) + 1 : 0;
        for (size_t i = 0; i < p->count; i++) {
            size_t to = (size_t)((p->first_bin + (int64_t)i) / 2 - first);
            double J = p->part_J[i];
            p->part_J[i] = 0;
            p->part_J[to] += J;
        }
        p->first_bin = first;
        p->count = count;
        p->width *= 2;
    }
}

static void spend(struct power_trace *p, int64_t start, int64_t end, double J_per_tick) {
    int64_t first = start / p->width, last = end / p->width;
    size_t from = (size_t)(first - p->first_bin), to = (size_t)(last - p->first_bin);
    if (from == to) {
        p->part_J[from] += J_per_tick * (double)(end - start);
        return;
    }
    p->part_J[from] += J_per_tick * (double)((first + 1) * p->width - start);
    p->part_J[to] += J_per_tick * (double)(end - last * p->width);
    p->step_J[from + 1] += J_per_tick * (double)p->width;
    p->step_J[to] -= J_per_tick * (double)p->width;
}

static void add_event(struct power_trace *p, const struct stage_power *s, uint32_t item, int64_t start, int64_t hold) {
    if (s->at_once_J > 0 && item == 0) {
        p->part_J[start / p->width - p->first_bin] += s->at_once_J;
    }
    spend(p, start, start + hold, s->J_per_tick);
}

/* Nothing more comes into the first `final` bins: the largest window; all but the last WINDOW_BINS of them are done
 * with. */
static void finish_bins(struct power_trace *p, size_t final) {
    double window_J = 0, window_s = WINDOW_BINS * (double)p->width / p->ticks_per_s;
    settle(p);
    for (size_t i = 0; i < final; i++) {
        window_J += p->part_J[i] - (i >= WINDOW_BINS ? p->part_J[i - WINDOW_BINS] : 0);
        if (window_J / window_s > p->peak_W) {
            p->peak_W = window_J / window_s;
            p->peak_s = (double)(p->first_bin + (int64_t)i + 1) * (double)p->width / p->ticks_per_s;
        }
    }
    size_t over = final > WINDOW_BINS ? final - WINDOW_BINS : 0;
    for (size_t i = 0; i < over; i++) {
        p->before_J += p->part_J[i];
    }
    memmove(p->part_J, p->part_J + over, (p->count - over) * sizeof *p->part_J);
    memset(p->step_J, 0, (p->count - over) * sizeof *p->step_J);
    p->first_bin += (int64_t)over;
    p->count -= over;
}

/* Empty bins up to this time. */
static enum status reach(struct power_trace *p, int64_t end, struct error *e) {
    if (end / p->width - p->first_bin + 1 > BINS_MOST) {
        settle(p);
        widen(p, end);
    }
    size_t bins = (size_t)(end / p->width - p->first_bin) + 1;
    if (bins > p->count) {
        TRY(make_room(p, bins, e));
        memset(p->part_J + p->count, 0, (bins - p->count) * sizeof *p->part_J);
        memset(p->step_J + p->count, 0, (bins - p->count) * sizeof *p->step_J);
        p->count = bins;
    }
    return OK;
}

enum status power_add_event(struct power_trace *p, const struct stage_power *s, uint32_t item, int64_t start,
                            int64_t hold, struct error *e) {
    TRY(reach(p, start + hold, e));
    int64_t final = start / p->width - p->first_bin;
    if (final > BINS_FIRST) {
        finish_bins(p, (size_t)final);
    }
    add_event(p, s, item, start, hold);
    return OK;
}

void power_finish(struct power_trace *p) { finish_bins(p, p->count); }

enum status power_add_step(struct power_trace *p, const struct engine *g, struct error *e) {
    size_t logged = engine_logged(g);
    TRY(reach(p, engine_end(g), e));
    for (size_t i = 0; i < logged; i++) {
        struct engine_event v = engine_event(g, i);
        if (v.start >= 0 && v.key < p->stage_count) {
            add_event(p, &p->stages[v.key], v.item, v.start, v.hold);
        }
    }
    p->complete = p->complete && engine_not_logged(g) == 0;
    finish_bins(p, p->count);
    return OK;
}

struct power_sum power_sum(const struct power_trace *p) {
    struct power_sum v = {.energy_J = p->before_J,
                          .peak_W = p->peak_W,
                          .peak_s = p->peak_s,
                          .window_s = WINDOW_BINS * (double)p->width / p->ticks_per_s,
                          .complete = p->complete};
    for (size_t i = 0; i < p->count; i++) {
        v.energy_J += p->part_J[i];
    }
    return v;
}
