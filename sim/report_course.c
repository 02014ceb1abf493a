/* The course of a run as JSON: what the charts of report.html are drawn from, and the CSV tables are made of.
 *
 * Everything that grows with the model or the run is limited, and says by how much it was cut: steps (history.h),
 * events of the last step, resources.
 */
#include "sim/report.h"

#include <math.h>

#include "sim/history.h"
#include "sim/placement.h"

enum { EVENTS_SHOWN = 600, RESOURCES_SHOWN = 400, LINKS_SHOWN = 4096 };
#define ROUNDING 1e-9 /* relative: differences of sums */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *count(uint64_t value) { return json_integer((json_int_t)value); }

/* One object per row of the ledger; the last one: everything outside the layers, static energy included. */
json_t *report_layer_components_json(const struct run *r) {
    json_t *rows = json_array();
    struct ledger_view v = run_ledger(r);
    double static_J = v.energy_J[PART_STATIC];
    for (size_t row = 0; row < r->ledger.rows; row++) {
        json_t *one = json_object();
        for (int c = 0; c < PART_COUNT; c++) {
            bool outside = c == PART_STATIC && row + 1 == r->ledger.rows;
            if (component_listed(&v, (enum component)c)) {
                json_object_set_new(one, component_name((enum component)c),
                                    number(outside ? static_J : r->ledger.energy_J[row][c]));
            }
        }
        json_array_append_new(rows, one);
    }
    return rows;
}

struct report_wait report_wait(const struct run *r, int i) {
    static const char *const names[REPORT_WAITS] = {"clock_edges", "arrivals"};
    struct run_path path = run_path(r);
    double wait_s = i == 0 ? path.clock_s : path.arrival_s;
    return (struct report_wait){names[i], wait_s > ROUNDING * run_ledger(r).makespan_s ? wait_s : 0};
}

json_t *report_layer_times_json(const struct run *r) {
    json_t *rows = json_array();
    for (size_t row = 0; row < r->ledger.rows; row++) {
        json_array_append_new(rows, number(history_layer_s(r, row)));
    }
    return rows;
}

/* What the classes of resources leave of a step: waiting for clock edges. With streams steps overlap, and theirs are
 * parts of other waiting. */
static double step_waits_s(const struct run *r, const struct run_step *s) {
    double left_s = s->end_s - s->start_s;
    for (int c = 0; c < CLASS_COUNT; c++) {
        left_s -= s->critical_s[c];
    }
    return r->streams || left_s < ROUNDING * s->end_s ? 0 : left_s;
}

/* Column by column: one array per quantity. */
json_t *report_steps_json(const struct run *r) {
    static const char *const names[] = {"number", "request", "tokens",   "tokens_before",
                                        "start_s", "end_s",  "energy_J", "kv_bits"};
    enum { COLUMNS = sizeof names / sizeof names[0] };
    json_t *column[COLUMNS], *critical[CLASS_COUNT], *json = json_object(), *classes = json_object(),
           *waits = json_array();
    for (size_t i = 0; i < COLUMNS; i++) {
        json_object_set_new(json, names[i], column[i] = json_array());
    }
    for (int c = 0; c < CLASS_COUNT; c++) {
        json_object_set_new(classes, resource_class_name((enum resource_class)c), critical[c] = json_array());
    }
    for (size_t i = 0; i < run_step_count(r); i++) {
        struct run_step s = run_step_at(r, i);
        json_t *const cells[COLUMNS] = {
            count(s.number),   count(s.request), count(s.tokens),    count(s.tokens_before),
            number(s.start_s), number(s.end_s),  number(s.energy_J), number(s.kv_bits)};
        for (size_t k = 0; k < COLUMNS; k++) {
            json_array_append_new(column[k], cells[k]);
        }
        for (int c = 0; c < CLASS_COUNT; c++) {
            json_array_append_new(critical[c], number(s.critical_s[c]));
        }
        json_array_append_new(waits, number(step_waits_s(r, &s)));
    }
    json_object_set_new(classes, report_wait(r, 0).name, waits);
    json_object_set_new(json, "critical_path_s", classes);
    return json;
}

static json_t *resource_json(const struct run *r, size_t i) {
    struct run_resource v = run_resource_at(r, i);
    json_t *one = json_object();
    json_object_set_new(one, "class", json_string(run_class_name(v.class)));
    json_object_set_new(one, "matrix", v.matrix[0] ? json_string(v.matrix) : json_null());
    json_object_set_new(one, "chip", count(v.chip));
    json_object_set_new(one, "events", count(v.events));
    json_object_set_new(one, "busy_s", number(v.busy_s));
    json_object_set_new(one, "wait_s", number(v.wait_s));
    json_object_set_new(one, "critical_path_s", number(v.critical_s));
    json_object_set_new(one, "utilisation", number(v.utilisation));
    return one;
}

/* Those that worked, in their order, as long as there is room. */
json_t *report_resources_json(const struct run *r) {
    json_t *json = json_object(), *rows = json_array();
    uint64_t left_out = 0, idle = 0;
    for (size_t i = 0; i < run_resource_count(r); i++) {
        if (run_resource_at(r, i).events == 0) {
            idle++;
        } else if (json_array_size(rows) < RESOURCES_SHOWN) {
            json_array_append_new(rows, resource_json(r, i));
        } else {
            left_out++;
        }
    }
    for (int i = 0; i < REPORT_WAITS; i++) {
        struct report_wait wait = report_wait(r, i);
        if (wait.critical_s > 0) {
            json_array_append_new(rows, json_pack("{s:s, s:f}", "class", wait.name, "critical_path_s",
                                                  wait.critical_s));
        }
    }
    json_object_set_new(json, "rows", rows);
    json_object_set_new(json, "idle", count(idle));
    json_object_set_new(json, "left_out", count(left_out));
    return json;
}

/* [class, chip, operation, layer, token, start_s from the start of the step, hold_s], the events of the last step in
 * the order of its operations. */
json_t *report_last_step_json(const struct run *r) {
    if (r->streams) {
        return json_null(); /* steps overlap, the engine keeps no log of one */
    }
    json_t *json = json_object(), *rows = json_array();
    size_t events = run_last_event_count(r), tokens = r->tokens ? r->tokens : 1, tasks = events / tokens;
    size_t shown_tokens = tasks ? EVENTS_SHOWN / tasks : 0; /* the first tokens of all operations... */
    double start_s = run_step_start_s(r);
    shown_tokens = shown_tokens ? shown_tokens : 1; /* ... or the first operations of the first token */
    for (size_t i = 0; i < events && json_array_size(rows) < EVENTS_SHOWN; i++) {
        struct run_event v = run_last_event_at(r, i);
        if (v.token < shown_tokens && v.hold_s > 0) {
            struct run_resource where = run_resource_at(r, v.resource);
            json_array_append_new(rows, json_pack("[s, I, s, i, i, f, f]", run_class_name(where.class),
                                                  (json_int_t)where.chip, v.operation, v.layer, (int)v.token,
                                                  v.start_s - start_s, v.hold_s));
        }
    }
    json_object_set_new(json, "tokens", count(r->tokens));
    json_object_set_new(json, "tokens_before", count(r->tokens_total - r->tokens));
    json_object_set_new(json, "length_s", number(run_ledger(r).makespan_s - start_s));
    json_object_set_new(json, "events", count(events));
    json_object_set_new(json, "columns", json_pack("[s, s, s, s, s, s, s]", "class", "chip", "operation", "layer",
                                                   "token", "start_s", "hold_s"));
    json_object_set_new(json, "rows", rows);
    return json;
}

json_t *report_matrices_json(const struct run *r) {
    json_t *rows = json_array();
    for (size_t i = 0; i < placement_matrices(r->placement); i++) {
        struct placement_matrix m = placement_matrix_at(r->placement, i);
        uint64_t first = placement_first_tile(r->placement, i);
        json_t *one = json_object();
        json_object_set_new(one, "name", json_string(m.name));
        json_object_set_new(one, "layer", json_integer(m.layer));
        json_object_set_new(one, "inputs", count(m.inputs));
        json_object_set_new(one, "outputs", count(m.outputs));
        json_object_set_new(one, "analog", json_boolean(m.analog));
        json_object_set_new(one, "row_blocks", count(m.row_blocks));
        json_object_set_new(one, "column_blocks", count(m.column_blocks));
        json_object_set_new(one, "tiles", count(m.tiles));
        json_object_set_new(one, "first_tile", m.tiles ? count(first) : json_null());
        json_object_set_new(one, "first_chip", m.tiles ? count(placement_first_chip(r->placement, i)) : json_null());
        json_object_set_new(one, "utilisation", m.tiles ? number(m.utilisation) : json_null());
        json_object_set_new(one, "digital_channels", count(m.digital_channels));
        json_object_set_new(one, "listed_weights", count(m.listed_weights));
        json_object_set_new(one, "devices", count(m.devices));
        json_array_append_new(rows, one);
    }
    return rows;
}

/* Numbers of links at the edge of a mesh that lead nowhere are left out. */
static bool link_exists(const struct network_spec *s, uint32_t from, uint32_t to) {
    uint32_t columns = (uint32_t)s->columns, rows = (uint32_t)s->rows;
    return s->topology != TOPOLOGY_MESH || (to < columns * rows && (to / columns == from / columns ||
                                                                    to % columns == from % columns));
}

/* Where a chip has a network: its links as [from, to, flits], loaded as in interconnect.h. null without. */
json_t *report_network_json(const struct run *r) {
    static const char *const names[] = {"none", "bus", "htree", "mesh"};
    const struct topology *t = r->net ? interconnect_topology(r->net) : NULL;
    const struct network_spec *s = &chip_spec_of(r->chip)->network;
    if (!t || topology_links(t) > LINKS_SHOWN) {
        return json_null();
    }
    json_t *json = json_object(), *links = json_array();
    int tiles = chip_spec_of(r->chip)->tiles_per_chip;
    for (uint32_t i = 0; i < topology_links(t); i++) {
        uint32_t from, to;
        topology_link_ends(t, i, &from, &to);
        if (link_exists(s, from, to)) {
            json_array_append_new(links, json_pack("[I, I, I]", (json_int_t)from, (json_int_t)to,
                                                   (json_int_t)interconnect_link_flits(r->net, 0, i)));
        }
    }
    json_object_set_new(json, "topology", json_string(names[s->topology]));
    json_object_set_new(json, "nodes", json_integer((tiles + s->tiles_per_core - 1) / s->tiles_per_core));
    json_object_set_new(json, "columns", s->topology == TOPOLOGY_MESH ? json_integer(s->columns) : json_null());
    json_object_set_new(json, "links", links);
    return json;
}
