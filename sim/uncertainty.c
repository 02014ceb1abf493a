/* How far the energy can be off, given the spreads that the constants declare.
 *
 * Each constant gets an independent lognormal factor f with p10 = spread_low and p90 = spread_high:
 *   ln f = (ln high + ln low) / 2 + z (ln high - ln low) / (2 x 1.2816),   z ~ N(0, 1)
 * Energies are products of counts (known) and constants, so a draw costs one sum; quantiles over 1,000 draws of fixed
 * random numbers (their own standard error: about 3 % of the spread). A constant without a spread counts as exact.
 * Not included: the times (they act on static energy only), conductances other than the window of the cell.
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "sim/passes.h"
#include "base/sort.h"
#include "sim/run.h"

enum { DRAWS = 1000, TERMS_MOST = 32, FACTORS_MOST = 4 };
static const double z90 = 1.2815515655446004; /* 90 % quantile of the normal distribution */

/* energy_J x product of factor^power */
struct term {
    double energy_J;
    const struct constant *factor[FACTORS_MOST];
    int power[FACTORS_MOST];
    size_t factors;
};
struct terms {
    struct term list[TERMS_MOST];
    size_t count;
};

static struct term *add_term(struct terms *all, double energy_J, const struct constant *k) {
    struct term *t = &all->list[all->count++];
    *t = (struct term){.energy_J = energy_J, .factor = {k}, .power = {1}, .factors = 1};
    return t;
}

static void add_factor(struct term *t, const struct constant *k, int power) {
    t->factor[t->factors] = k;
    t->power[t->factors++] = power;
}

/* The window of the cell, if its model declares one as a constant: all currents scale with it. */
static const struct constant *cell_window(const struct cell *cell) {
    const struct param_table *t = &cell_model_of(cell)->params;
    for (size_t i = 0; i < t->count; i++) {
        if (t->rows[i].type == PARAM_CONSTANT && strcmp(t->rows[i].key, "g_max_uS") == 0) {
            return (const struct constant *)(const void *)((const char *)cell_params(cell) + t->rows[i].offset);
        }
    }
    return NULL;
}

static void array_terms(struct terms *all, const struct tile_spec *t, double array_J) {
    if (t->array.given) {
        add_term(all, array_J, &t->array.energy_J);
        return;
    }
    struct term *array = add_term(all, array_J, &t->pulse_s);
    add_factor(array, &t->read_voltage_V, 2);
    if (cell_window(t->cell)) {
        add_factor(array, cell_window(t->cell), 1);
    }
}

static void static_terms(struct terms *all, const struct run *r, double makespan_s) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    double chips_s = (double)placement_total(r->placement).chips * makespan_s;
    add_term(all, chips_s * s->tiles_per_chip * s->tile.static_W.value, &s->tile.static_W);
    const struct constant *units[] = {&s->vector.static_W, &s->attention.static_W, &s->matmul.static_W, &s->kv.static_W,
                                      &s->buffer.static_W};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        add_term(all, chips_s * units[i]->value, units[i]);
    }
}

static void energy_terms(struct terms *all, const struct run *r) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct ledger_view v = run_ledger(r);
    add_term(all, v.energy_J[PART_DAC], &s->tile.dac.energy_J);
    array_terms(all, &s->tile, v.energy_J[PART_ARRAY]);
    if (s->tile.integrator.given) {
        struct tile_work work = tile_work_of(s);
        double sampled_J = work.samples * s->tile.integrator.sample_J.value,
               pulses_J = work.pulses * s->tile.integrator.pulse_J.value, both_J = sampled_J + pulses_J;
        add_term(all, both_J > 0 ? v.energy_J[PART_SAMPLING] * sampled_J / both_J : 0, &s->tile.integrator.sample_J);
        add_term(all, both_J > 0 ? v.energy_J[PART_SAMPLING] * pulses_J / both_J : 0, &s->tile.integrator.pulse_J);
    }
    add_term(all, v.energy_J[PART_ADC], &s->tile.adc.energy_J);
    add_term(all, v.energy_J[PART_DIGITAL_POST], &s->tile.post.energy_J);
    add_term(all, v.energy_J[PART_VECTOR], &s->vector.energy_J);
    add_term(all, v.energy_J[PART_ATTENTION], &s->attention.energy_J);
    add_term(all, v.energy_J[PART_DIGITAL_MATMUL], &s->matmul.energy_J);
    add_term(all, v.energy_J[PART_KV_MEMORY], &s->kv.energy_J_per_bit);
    add_term(all, v.energy_J[PART_BUFFER], &s->buffer.energy_J_per_bit);
    static_terms(all, r, v.makespan_s);
}

static double log_factor(const struct constant *k, uint64_t index) {
    double low = log(k->spread_low), high = log(k->spread_high);
    return (high + low) / 2 +
           (double)random_gaussian(0, random_stream(RANDOM_UNCERTAINTY, 0), index) * (high - low) / (2 * z90);
}

static double draw_J(const struct terms *all, uint64_t draw) {
    double sum_J = 0;
    for (size_t i = 0; i < all->count; i++) {
        double exponent = 0;
        for (size_t f = 0; f < all->list[i].factors; f++) {
            uint64_t index = (draw * TERMS_MOST + i) * FACTORS_MOST + f;
            exponent += all->list[i].power[f] * log_factor(all->list[i].factor[f], index);
        }
        sum_J += all->list[i].energy_J * exp(exponent);
    }
    return sum_J;
}

void run_energy_quantiles(const struct run *r, double quantiles_J[3]) {
    static const double wanted[3] = {0.1, 0.5, 0.9};
    struct terms all = {.count = 0};
    double sums_J[DRAWS];
    if (!chip_has_costs(r->chip)) {
        quantiles_J[0] = quantiles_J[1] = quantiles_J[2] = (double)NAN;
        return;
    }
    energy_terms(&all, r);
    for (uint64_t d = 0; d < DRAWS; d++) {
        sums_J[d] = draw_J(&all, d);
    }
    sort_doubles(sums_J, DRAWS);
    for (int q = 0; q < 3; q++) {
        quantiles_J[q] = sums_J[(size_t)(wanted[q] * DRAWS)];
    }
}
