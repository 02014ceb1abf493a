/* What both reports say about memories and power. Numbers that are not known are null. */
#include "sim/report_machine.h"

#include <math.h>

#include "sim/memories.h"
#include "sim/placement.h"

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

struct kv_use report_kv_use(const struct run *r) {
    struct kv_use u = {.room_bits = (double)placement_total(r->placement).chips *
                                    chip_spec_of(r->chip)->kv.capacity_KiB * 1024 * 8};
    for (size_t row = 0; row < r->ledger.rows; row++) {
        double bits = (double)r->ledger.kv_bits[row], room = (double)r->ledger.kv_room_bits[row];
        u.bits += bits;
        u.beyond_bits += bits > room ? bits - room : 0;
    }
    return u;
}

json_t *report_memory_json(const struct run *r) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct kv_use u = report_kv_use(r);
    bool costs = chip_has_costs(r->chip), spills = costs && s->dram.given;
    json_t *json = json_object();
    json_object_set_new(json, "kv_bytes", number(costs ? u.bits / 8 : (double)NAN));
    json_object_set_new(json, "kv_room_bytes", number(costs ? u.room_bits / 8 : (double)NAN));
    json_object_set_new(json, "kv_beyond_room_bytes", number(costs ? u.beyond_bits / 8 : (double)NAN));
    json_object_set_new(json, "spills_to", spills ? json_string("dram") : json_null());
    json_object_set_new(json, "dram_room_bytes",
                        number(spills ? (double)placement_total(r->placement).chips * s->dram.capacity_KiB * 1024
                                      : (double)NAN));
    return json;
}

json_t *report_power_json(const struct run *r) {
    struct power_view p = run_power(r);
    double mm2 = placement_area(r->chip, r->placement).total_mm2;
    json_t *json = json_object();
    json_object_set_new(json, "mean_W", number(p.mean_W));
    json_object_set_new(json, "idle_W", number(p.idle_W));
    json_object_set_new(json, "peak_W", number(p.peak_W));
    json_object_set_new(json, "peak_at_s", number(p.peak_s));
    json_object_set_new(json, "window_s", number(p.window_s));
    json_object_set_new(json, "mean_W_per_mm2", number(p.mean_W / mm2));
    json_object_set_new(json, "peak_W_per_mm2", number(p.peak_W / mm2));
    return json;
}

static json_t *phase_json(const char *name, double start_s, double time_s, double energy_J) {
    json_t *json = json_object();
    json_object_set_new(json, "phase", json_string(name));
    json_object_set_new(json, "start_s", number(start_s));
    json_object_set_new(json, "time_s", number(time_s));
    json_object_set_new(json, "energy_J", number(energy_J));
    return json;
}

json_t *report_maintenance_json(const struct run *r) {
    const struct maintenance *m = &r->maintenance;
    json_t *kinds = json_array();
    for (int k = 0; k < MAINTENANCE_KINDS; k++) {
        if (m->due[k] > 0) {
            json_t *one = json_object();
            json_object_set_new(one, "kind", json_string(maintenance_name((enum maintenance_kind)k)));
            json_object_set_new(one, "due", json_integer((json_int_t)m->due[k]));
            json_object_set_new(one, "done", json_integer((json_int_t)m->done[k]));
            json_object_set_new(one, "time_s_each", number(m->cost[k].seconds));
            json_object_set_new(one, "energy_J_each", number(m->cost[k].joules));
            json_array_append_new(kinds, one);
        }
    }
    if (json_array_size(kinds) == 0) {
        json_decref(kinds);
        return NULL;
    }
    return kinds;
}

struct setup_costs report_setup(const struct run *r) {
    struct machine_programming p = machine_programming(r->machine);
    struct machine_calibration c = machine_calibration(r->machine);
    double first = 1 / (double)p.programmings;
    return (struct setup_costs){.programming_s = p.seconds * first,
                                .programming_J = p.joules * first,
                                .refresh_s = p.seconds * (1 - first),
                                .refresh_J = p.joules * (1 - first),
                                .calibration_s = c.seconds,
                                .calibration_J = c.joules};
}

json_t *report_setup_json(const struct run *r) {
    if (!r->machine) {
        return json_null();
    }
    struct setup_costs s = report_setup(r);
    double run_J = run_ledger(r).total_J, run_s = run_ledger(r).makespan_s;
    double time_s = s.programming_s + s.refresh_s + s.calibration_s,
           energy_J = s.programming_J + s.refresh_J + s.calibration_J;
    json_t *json = json_object(), *phases = json_array();
    json_array_append_new(phases, phase_json("programming", -time_s, s.programming_s, s.programming_J));
    json_array_append_new(phases,
                          phase_json("refresh", -s.refresh_s - s.calibration_s, s.refresh_s, s.refresh_J));
    json_array_append_new(phases, phase_json("calibration", -s.calibration_s, s.calibration_s, s.calibration_J));
    json_t *rows = json_copy(phases);
    json_array_append_new(rows, phase_json("all of the set-up", -time_s, time_s, energy_J));
    json_array_append_new(rows, phase_json("run", 0, run_s, run_J));
    json_array_append_new(rows, phase_json("run and set-up", -time_s, time_s + run_s, energy_J + run_J));
    json_object_set_new(json, "phases", phases);
    json_object_set_new(json, "rows", rows);
    json_object_set_new(json, "time_s", number(time_s));
    json_object_set_new(json, "energy_J", number(energy_J));
    json_object_set_new(json, "with_run_s", number(time_s + run_s));
    json_object_set_new(json, "with_run_J", number(energy_J + run_J));
    json_object_set_new(json, "tokens_until_as_much_energy",
                        number(r->tokens_total ? energy_J / (run_J / (double)r->tokens_total) : (double)NAN));
    return json;
}
