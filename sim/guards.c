/* See guards.h. */
#include "sim/guards.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "sim/converter_cost.h"
#include "sim/placement.h"

#define ROUNDING 1e-9 /* relative: sums in another order */

/* Multiples of the period in (start, start + length]; 0: nothing of it is on a schedule. */
static double times_due(double period_s, double start_s, double length_s) {
    return period_s > 0 ? floor((start_s + length_s) / period_s) - floor(start_s / period_s) : 0;
}

/* Of what takes unknown time or energy. */
static double upkeep_due(const struct run *r, double length_s) {
    if (r->maintenance.known) {
        return 0;
    }
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    double start_s = r->machine ? machine_age_since_programming_s(r->machine) : 0;
    double readouts = t->compensation == COMPENSATION_NONE ? 0 : t->compensation_period_s,
           corrections = t->correction == CORRECTION_NONE ? 0 : t->correction_period_s;
    return times_due(t->refresh_period_s, start_s, length_s) + times_due(readouts, start_s, length_s) +
           times_due(corrections, start_s, length_s);
}

void guard_facts_of(const struct run *r, struct guard_facts *out) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct ledger_view v = run_ledger(r);
    struct area_view area = placement_area(r->chip, r->placement);
    struct chip_spec physics = *s;
    double S_sum = 0;
    *out = (struct guard_facts){.macs = (double)v.macs,
                                .tiles_J = report_tile_J_per_mac(&v) * (double)v.macs,
                                .array_J = v.energy_J[PART_ARRAY],
                                .cells = placement_total(r->placement).utilisation,
                                .upkeep_due = upkeep_due(r, v.makespan_s),
                                .values = r->machine != NULL};
    memcpy(out->upkeep_done, r->maintenance.done, sizeof out->upkeep_done);
    memcpy(out->count, v.count, sizeof out->count);
    memcpy(out->area_mm2, area.part_mm2, sizeof out->area_mm2);
    for (int c = 0; c < CLASS_COUNT; c++) {
        out->busiest[c] = run_class(r, (enum resource_class)c).busiest;
    }
    for (int role = 0; role < MATRIX_ROLES; role++) {
        S_sum += r->role_S[role];
    }
    physics.tile.array.given = false; /* not what was published, but what flowed */
    bool current = !s->tile.array.given || s->tile.array.reads_current;
    out->physics_J = current ? array_energy_J(&physics, S_sum, 0) : 0;
    out->survey_rate_Hz = s->tile.adc.cost.model == ADC_COST_SURVEY
                              ? survey_rate_Hz(&s->tile) / s->tile.adc.cost.survey.interleaved
                              : 0;
}

static char *next(struct flags *out) { return out->text[out->count++]; }

static void guard_energy(const struct guard_facts *f, struct flags *out) {
    double mac_J = f->tiles_J / f->macs, array_J = f->array_J / f->macs, physics_J = f->physics_J / f->macs;
    if (!(f->macs > 0)) {
        return;
    }
    if (mac_J < GUARD_MAC_LEAST_J || mac_J > GUARD_MAC_MOST_J) {
        snprintf(next(out), FLAG_BYTES, "%.3g pJ per MAC in the tiles, outside 0.001 to 100 pJ: check the constants",
                 mac_J * 1e12);
    }
    if (array_J < physics_J * (1 - ROUNDING)) {
        snprintf(next(out), FLAG_BYTES, "array of %.3g fJ per MAC, but V^2 G t of this data is %.3g fJ", array_J * 1e15,
                 physics_J * 1e15);
    }
    if (mac_J < physics_J * (1 - ROUNDING)) {
        snprintf(next(out), FLAG_BYTES,
                 "tiles of %.3g TOPS/W, above the %.3g TOPS/W of the array alone (2 ops per MAC)", 2e-12 / mac_J,
                 2e-12 / physics_J);
    }
}

static void guard_area(const struct guard_facts *f, struct flags *out) {
    char names[FLAG_BYTES - 32] = "";
    for (int c = 0; c < PART_COUNT; c++) {
        size_t used = strlen(names);
        if (c != PART_STATIC && c != PART_DRAM && c != PART_MAINTENANCE && f->count[c] && !(f->area_mm2[c] > 0)) {
            snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", component_name((enum component)c));
        }
    }
    if (names[0]) {
        snprintf(next(out), FLAG_BYTES, "used, but without area: %s", names);
    }
}

static void guard_utilisation(const struct guard_facts *f, struct flags *out) {
    for (int c = 0; c < CLASS_COUNT; c++) {
        if (f->busiest[c] > 1 + ROUNDING) {
            snprintf(next(out), FLAG_BYTES, "%s at work for %.4g %% of the time",
                     resource_class_name((enum resource_class)c), 100 * f->busiest[c]);
        }
    }
    if (f->cells > 1 + ROUNDING) {
        snprintf(next(out), FLAG_BYTES, "%.4g %% of the cells in use", 100 * f->cells);
    }
}

static void guard_upkeep(const struct guard_facts *f, struct flags *out) {
    const uint64_t *done = f->upkeep_done;
    if (f->upkeep_due > 0) {
        snprintf(next(out), FLAG_BYTES,
                 "%.0f refreshes, readouts or corrections fall due in the time of the run, but are not in it",
                 f->upkeep_due);
    }
    if (done[MAINTAIN_REFRESH] + done[MAINTAIN_CORRECTION] + done[MAINTAIN_READOUT] > 0) {
        snprintf(next(out), FLAG_BYTES, "maintenance in the run: refreshes %" PRIu64 ", corrections %" PRIu64
                 ", readouts %" PRIu64 "; time and energy are with it%s",
                 done[MAINTAIN_REFRESH], done[MAINTAIN_CORRECTION], done[MAINTAIN_READOUT],
                 f->values ? ", values are those of the age at its beginning" : "");
    }
}

void guard(const struct guard_facts *f, struct flags *out) {
    guard_energy(f, out);
    guard_area(f, out);
    guard_utilisation(f, out);
    if (f->survey_rate_Hz > SURVEY_RATE_MOST_HZ) {
        snprintf(next(out), FLAG_BYTES, "ADC of %.3g conversions/s: beyond the %.0e of the survey, extrapolated",
                 f->survey_rate_Hz, SURVEY_RATE_MOST_HZ);
    }
    guard_upkeep(f, out);
}
