/* See chip_costs.h. */
#include "sim/chip_costs.h"

#include <math.h>

#include "sim/clocks.h"
#include "sim/converter_cost.h"
#include "sim/node_scaling.h"
#include "sim/passes.h"

struct acting {
    struct arena *arena;
    struct error *e;
    struct chip_spec *s;
};

/* ---- converters -------------------------------------------------------------------------------------------- */

static void act_dac(struct chip_spec *s) {
    if (s->tile.dac.cost.model != DAC_COST_CONSTANT) {
        struct converter_cost c = dac_cost(s);
        s->tile.dac.energy_J.value = c.energy_J;
        s->tile.dac.area_m2.value = c.area_m2;
    }
}

static void act_adc(struct chip_spec *s) {
    struct tile_spec *t = &s->tile;
    if (t->adc.cost.model == ADC_COST_CONSTANT) {
        return;
    }
    struct converter_cost c = adc_cost(s);
    struct tile_work work = tile_work_of(s);
    t->adc.energy_J.value = c.energy_J;
    t->adc.area_m2.value = c.area_m2;
    t->adc.static_W = c.static_W * ((double)(t->columns / t->adc.share) * work.converters + work.shared);
    if (t->adc.cost.time == TIME_MODEL) {
        t->conversion_s.value = c.conversion_s;
        t->mvm_s.value += c.conversion_s; /* was given without */
    }
}

/* ---- scaled constants -------------------------------------------------------------------------------------- */

/* k x factor; its error is that of the constant and of the factor, independent. */
static enum status scale(const struct acting *a, struct constant *k, double factor, const struct constant *error,
                         const char *what) {
    k->value *= factor;
    k->kind = CONSTANT_ASSUMED;
    if (error) {
        k->spread_low = exp(-hypot(log(k->spread_low), log(error->spread_low)));
        k->spread_high = exp(hypot(log(k->spread_high), log(error->spread_high)));
    }
    if (!a->arena || !k->source) { /* drawn again for an uncertainty; or made by a model, which is not shown */
        return OK;
    }
    k->source = arena_printf(a->arena, "%s; %s", k->source, what);
    return k->source ? OK : error_set(a->e, ERR_RUN, "chip: out of memory");
}

/* ---- node -------------------------------------------------------------------------------------------------- */

/* area, leak: NULL where the part has none. */
static enum status scale_part(const struct acting *a, double node_m, struct constant *energy, struct constant *area,
                              struct constant *leak) {
    const struct scaling_spec *by = &a->s->scaling;
    double from_nm = node_m * 1e9, to_nm = a->s->node_m * 1e9;
    char what[128];
    if (!(node_m > 0) || !(node_m < a->s->node_m || node_m > a->s->node_m)) {
        return OK;
    }
    double energy_factor = node_energy_factor(from_nm, to_nm, by->voltage_V) * by->error.value,
           area_factor = node_area_factor(from_nm, to_nm) * by->error.value;
    snprintf(what, sizeof what, "scaled from %g nm to %g nm, x %.3g (Stillmaker and Baas 2017)", from_nm, to_nm,
             energy_factor);
    TRY(scale(a, energy, energy_factor, &by->error, what));
    snprintf(what, sizeof what, "scaled from %g nm to %g nm, x %.3g (Stillmaker and Baas 2017)", from_nm, to_nm,
             area_factor);
    if (area) {
        TRY(scale(a, area, area_factor, &by->error, what));
    }
    return leak ? scale(a, leak, area_factor, &by->error, what) : OK;
}

static enum status act_node(const struct acting *a) {
    struct chip_spec *s = a->s;
    struct tile_spec *t = &s->tile;
    struct unit_spec *units[] = {&s->vector, &s->attention, &s->matmul};
    struct memory_spec *memories[] = {&s->kv, &s->buffer};
    if (s->scale_to_node != SWITCH_ON) {
        return OK;
    }
    TRY(scale_part(a, t->dac.node_m, &t->dac.energy_J, &t->dac.area_m2, NULL));
    if (t->adc.cost.model != ADC_COST_SURVEY) {
        TRY(scale_part(a, t->adc.node_m, &t->adc.energy_J, &t->adc.area_m2, NULL));
    }
    TRY(scale_part(a, t->post.node_m, &t->post.energy_J, &t->post.area_m2, NULL));
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        TRY(scale_part(a, units[i]->node_m, &units[i]->energy_J, &units[i]->area_m2, &units[i]->static_W));
    }
    if (s->side_path.given) {
        TRY(scale_part(a, s->side_path.node_m, &s->side_path.energy_J, NULL, NULL));
    }
    for (size_t i = 0; i < sizeof memories / sizeof memories[0]; i++) {
        struct memory_spec *m = memories[i];
        TRY(scale_part(a, m->node_m, &m->energy_J_per_bit, &m->area_m2_per_bit, &m->static_W));
    }
    return OK;
}

/* ---- supply ------------------------------------------------------------------------------------------------ */

/* On the straight line between two points. */
static double clock_at_Hz(const struct supply_spec *p, double volts) {
    const double *v = p->clock.voltage_V.values, *f = p->clock.clock_Hz.values;
    size_t i = 0;
    while (i + 2 < p->clock.voltage_V.count && volts > v[i + 1]) {
        i++;
    }
    return f[i] + (f[i + 1] - f[i]) * (volts - v[i]) / (v[i + 1] - v[i]);
}

static enum status act_clock(const struct acting *a, const char *what) {
    const struct supply_spec *p = &a->s->supply;
    struct tile_spec *t = &a->s->tile;
    if (!p->clock.given) {
        return OK;
    }
    double faster = clock_at_Hz(p, p->voltage_V) / clock_at_Hz(p, p->nominal_V);
    a->s->clock_Hz *= faster;
    a->s->clocks.tile_Hz *= faster;
    a->s->clocks.network_Hz *= faster;
    a->s->clocks.memory_Hz *= faster;
    if (p->tile_times) {
        TRY(scale(a, &t->pulse_s, 1 / faster, NULL, what));
        TRY(scale(a, &t->mvm_s, 1 / faster, NULL, what));
        TRY(scale(a, &t->conversion_s, 1 / faster, NULL, what));
        if (t->registers.given) {
            TRY(scale(a, &t->registers.load_s, 1 / faster, NULL, what));
            TRY(scale(a, &t->registers.store_s, 1 / faster, NULL, what));
        }
    }
    return OK;
}

static enum status act_supply(const struct acting *a) {
    struct chip_spec *s = a->s;
    struct tile_spec *t = &s->tile;
    const struct supply_spec *p = &s->supply;
    char what[96];
    if (!p->given || !(p->voltage_V < p->nominal_V || p->voltage_V > p->nominal_V)) {
        return OK;
    }
    double u = p->voltage_V / p->nominal_V, leak = pow(u, p->static_exponent.value);
    struct {
        bool follows;
        struct constant *k;
        double factor;
    } list[] = {
        {t->dac.follows_supply, &t->dac.energy_J, u * u},
        {t->adc.follows_supply, &t->adc.energy_J, u * u},
        {t->post.follows_supply, &t->post.energy_J, u * u},
        {t->array_follows_supply, &t->read_voltage_V, u},
        {t->array.given && t->array.follows_supply, &t->array.energy_J, u * u},
        {t->integrator.given && t->integrator.follows_supply, &t->integrator.sample_J, u * u},
        {t->integrator.given && t->integrator.follows_supply, &t->integrator.pulse_J, u * u},
        {s->vector.follows_supply, &s->vector.energy_J, u * u},
        {s->attention.follows_supply, &s->attention.energy_J, u * u},
        {s->matmul.follows_supply, &s->matmul.energy_J, u * u},
        {s->side_path.given && s->side_path.follows_supply, &s->side_path.energy_J, u * u},
        {s->kv.follows_supply, &s->kv.energy_J_per_bit, u * u},
        {s->buffer.follows_supply, &s->buffer.energy_J_per_bit, u * u},
        {true, &t->static_W, leak},
        {s->vector.follows_supply, &s->vector.static_W, leak},
        {s->attention.follows_supply, &s->attention.static_W, leak},
        {s->matmul.follows_supply, &s->matmul.static_W, leak},
        {s->kv.follows_supply, &s->kv.static_W, leak},
        {s->buffer.follows_supply, &s->buffer.static_W, leak},
    };
    snprintf(what, sizeof what, "at %g V, given for %g V", p->voltage_V, p->nominal_V);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (list[i].follows) {
            TRY(scale(a, list[i].k, list[i].factor, NULL, what));
        }
    }
    t->adc.static_W *= t->adc.follows_supply ? leak : 1;
    return act_clock(a, what);
}

enum status chip_costs_act(const struct chip_spec *given, struct arena *arena, struct chip_spec *out, struct error *e) {
    const struct acting a = {arena, e, out};
    *out = *given;
    act_dac(out);
    act_adc(out);
    TRY(act_node(&a));
    return act_supply(&a);
}

double tile_static_W(const struct tile_spec *t) { return t->static_W.value + t->adc.static_W; }

double unit_static_W(const struct unit_spec *u) { return u->count * u->static_W.value; }

double dram_static_W(const struct dram_spec *m) { return m->given ? m->idle_W.value + m->refresh_W.value : 0; }

double memory_static_W(const struct memory_spec *m) {
    return m->static_W.value + (m->refresh.given ? m->refresh.power_W.value : 0);
}

double network_routers(const struct chip_spec *s) {
    const struct network_spec *n = &s->network;
    uint32_t tiles = (uint32_t)s->tiles_per_chip, per_core = n->given ? (uint32_t)n->tiles_per_core : 1;
    return n->given ? topology_router_count((enum topology_kind)n->topology, tiles / per_core + (tiles % per_core != 0),
                                            (uint32_t)n->columns, (uint32_t)n->rows)
                    : 0;
}

double links_static_W(const struct chip_spec *s) {
    return network_routers(s) * s->network.router_static_W.value + s->chip_link.static_W.value +
           s->package_link.static_W.value;
}

/* ---- contradictions ---------------------------------------------------------------------------------------- */

static const char *adc_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    const struct tile_spec *t = &s->tile;
    const struct adc_cost_spec *c = &t->adc.cost;
    if (c->model == ADC_COST_CONSTANT && c->time == TIME_MODEL) {
        snprintf(why, bytes, "model, but tile.adc.cost.model = constant gives no time (allowed: given)");
        return "tile.adc.cost.time";
    }
    if (c->time == TIME_MODEL && t->mvm_s.value < t->pulse_s.value) {
        snprintf(why, bytes, "a multiply of %g ns is shorter than its input pulse of %g ns", t->mvm_s.value * 1e9,
                 t->pulse_s.value * 1e9);
        return "tile.mvm_ns";
    }
    if (c->model == ADC_COST_TWO_TERM && t->adc.bits >= TWO_TERM_BITS_END) {
        snprintf(why, bytes, "%d bits, but the fit two_term holds below %d (allowed: fewer, or another "
                 "tile.adc.cost.model)", t->adc.bits, TWO_TERM_BITS_END);
        return "tile.adc.bits";
    }
    if (c->model == ADC_COST_SURVEY && survey_enob(t) < SURVEY_ENOB_LEAST) {
        snprintf(why, bytes,
                 "%g effective bits, but the survey holds from %g on (allowed: more bits, a smaller "
                 "tile.adc.cost.enob_loss, or another tile.adc.cost.model)",
                 survey_enob(t), SURVEY_ENOB_LEAST);
        return "tile.adc.bits";
    }
    if (c->model == ADC_COST_SURVEY && !(survey_node_nm(s) > 0)) {
        snprintf(why, bytes, "the survey needs the node of the converter (allowed: a number of nm above 0, or the "
                 "chip's node_nm)");
        return "tile.adc.node_nm";
    }
    if (c->model == ADC_COST_SURVEY && c->time == TIME_MODEL && !(c->survey.rate_Hz > 0)) {
        snprintf(why, bytes, "0, but tile.adc.cost.time = model takes the time of a conversion from it (allowed: above "
                 "0, or time = given)");
        return "tile.adc.cost.rate_Hz";
    }
    return NULL;
}

static const char *node_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    static const char *const keys[] = {"node_nm", "tile.dac.node_nm", "tile.adc.node_nm", "tile.post.node_nm",
                                       "vector.node_nm", "attention.node_nm", "matmul.node_nm", "kv.node_nm",
                                       "buffer.node_nm", "side_path.node_nm"};
    const double nodes_m[] = {s->node_m, s->tile.dac.node_m, s->tile.adc.node_m, s->tile.post.node_m, s->vector.node_m,
                              s->attention.node_m, s->matmul.node_m, s->kv.node_m, s->buffer.node_m,
                              s->side_path.node_m};
    if (s->scale_to_node != SWITCH_ON) {
        return NULL;
    }
    if (!(s->node_m > 0)) {
        snprintf(why, bytes, "scale_to_node is on, but the chip does not state its node (allowed: from %g to %g nm)",
                 SCALING_NODE_LEAST_NM, SCALING_NODE_MOST_NM);
        return "node_nm";
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        double nm = nodes_m[i] * 1e9;
        if (nm > 0 && !(nm >= SCALING_NODE_LEAST_NM && nm <= SCALING_NODE_MOST_NM)) {
            snprintf(why, bytes, "%g nm cannot be scaled (allowed: 0 for not stated, or from %g to %g nm)", nm,
                     SCALING_NODE_LEAST_NM, SCALING_NODE_MOST_NM);
            return keys[i];
        }
    }
    return NULL;
}

static const char *clock_contradiction(const struct supply_spec *p, char *why, size_t bytes) {
    const struct param_numbers *v = &p->clock.voltage_V, *f = &p->clock.clock_Hz;
    if (v->count < 2 || v->count != f->count) {
        snprintf(why, bytes, "%zu voltages and %zu clocks (allowed: the same number, at least 2)", v->count, f->count);
        return "supply.clock.voltage_V";
    }
    for (size_t i = 0; i + 1 < v->count; i++) {
        if (!(v->values[i] < v->values[i + 1])) {
            snprintf(why, bytes, "%g V is not below the next point, %g V (allowed: rising voltages)", v->values[i],
                     v->values[i + 1]);
            return "supply.clock.voltage_V";
        }
    }
    const double asked_V[] = {p->voltage_V, p->nominal_V};
    for (int i = 0; i < 2; i++) {
        if (asked_V[i] < v->values[0] || asked_V[i] > v->values[v->count - 1]) {
            snprintf(why, bytes, "%g V lies outside the points of supply.clock (allowed: from %g to %g V)", asked_V[i],
                     v->values[0], v->values[v->count - 1]);
            return i ? "supply.nominal_V" : "supply.voltage_V";
        }
    }
    return NULL;
}

static const char *gating_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    if (s->gating.given && s->gating.wake_cycles > 0 && !(s->gating.power_share.value < 1)) {
        snprintf(why, bytes, "%d, but gating.power_share = 1 switches nothing off (allowed: 0, or a share below 1)",
                 s->gating.wake_cycles);
        return "gating.wake_cycles";
    }
    return NULL;
}

const char *cost_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    const char *key = adc_contradiction(s, why, bytes);
    key = key ? key : node_contradiction(s, why, bytes);
    key = key ? key : clocks_contradiction(s, why, bytes);
    key = key ? key : gating_contradiction(s, why, bytes);
    if (!key && s->supply.given && s->supply.clock.given) {
        key = clock_contradiction(&s->supply, why, bytes);
    }
    if (!key && s->supply.given && s->supply.tile_times && !s->supply.clock.given) {
        snprintf(why, bytes, "on, but there are no points supply.clock (allowed: off)");
        return "supply.tile_times";
    }
    return key;
}
