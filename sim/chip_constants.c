/* The constants of a chip, one after the other: all with their sources, those that the file gives, and those that act
 * in place of them. */
#include <stdio.h>
#include <string.h>

#include "sim/chip.h"
#include "sim/chip_costs.h"

enum { KEY_BYTES = 256 };

/* Lists have their kind and source in `about`; its value is unused. */
static const struct constant *constant_at(const struct param *row, const void *in) {
    const char *member = (const char *)in + row->offset;
    return row->type == PARAM_CONSTANT  ? (const struct constant *)(const void *)member
           : row->type == PARAM_NUMBERS ? &((const struct param_numbers *)(const void *)member)->about
                                        : NULL;
}

typedef void constant_visitor(void *ctx, const char *key, const char *unit, const struct constant *k);

static void visit_table(const struct param_table *t, const char *prefix, const void *in, bool lists,
                        constant_visitor *visit, void *ctx) {
    for (size_t i = 0; i < t->count; i++) {
        const struct constant *k = constant_at(&t->rows[i], in);
        if (k && (lists || t->rows[i].type == PARAM_CONSTANT)) {
            char key[KEY_BYTES];
            snprintf(key, sizeof key, "%s%s", prefix, t->rows[i].key);
            visit(ctx, key, t->rows[i].unit, k);
        }
    }
}

static void visit_all(const struct chip *c, bool lists, constant_visitor *visit, void *ctx) {
    const struct chip_spec *s = chip_spec_of(c);
    const struct cell *cell = s->tile.cell;
    const struct dac *dac = s->tile.dac.circuit;
    const struct adc *adc = s->tile.adc.circuit;
    visit_table(&cell_model_of(cell)->params, "tile.cell.", cell_params(cell), lists, visit, ctx);
    for (size_t i = 0; cell_groups[i]; i++) {
        char prefix[KEY_BYTES];
        if (cell_group_params(cell, i)) {
            snprintf(prefix, sizeof prefix, "tile.cell.%s.", cell_groups[i]->name);
            visit_table(&cell_groups[i]->params, prefix, cell_group_params(cell, i), lists, visit, ctx);
        }
    }
    visit_table(&dac_model_of(dac)->params, "tile.dac.circuit.", dac_params(dac), lists, visit, ctx);
    visit_table(&adc_model_of(adc)->params, "tile.adc.circuit.", adc_params(adc), lists, visit, ctx);
    for (size_t i = 0; i < chip_table_count; i++) {
        const struct chip_table *t = &chip_tables[i];
        if (chip_table_read(s, t)) {
            visit_table(&t->table, t->prefix, (const char *)s + t->offset, lists, visit, ctx);
        }
    }
}

void chip_visit_constants(const struct chip *c,
                          void (*visit)(void *ctx, const char *key, const char *unit, const struct constant *k),
                          void *ctx) {
    visit_all(c, false, visit, ctx);
}

void chip_visit_sourced(const struct chip *c,
                        void (*visit)(void *ctx, const char *key, const char *unit, const struct constant *k),
                        void *ctx) {
    visit_all(c, true, visit, ctx);
}

void chip_visit_given(const struct chip *c,
                      void (*visit)(void *ctx, const char *key, const char *unit, size_t offset), void *ctx) {
    for (size_t i = 0; i < chip_table_count; i++) {
        const struct chip_table *t = &chip_tables[i];
        for (size_t row = 0; chip_table_read(chip_given_of(c), t) && row < t->table.count; row++) {
            if (t->table.rows[row].type == PARAM_CONSTANT) {
                char key[KEY_BYTES];
                snprintf(key, sizeof key, "%s%s", t->prefix, t->table.rows[row].key);
                visit(ctx, key, t->table.rows[row].unit, t->offset + t->table.rows[row].offset);
            }
        }
    }
}

struct acting_visit {
    const struct chip *c;
    void (*visit)(void *ctx, const char *key, const char *unit, double value, const char *why);
    void *ctx;
};

static void visit_changed(void *context, const char *key, const char *unit, size_t offset) {
    const struct acting_visit *v = context;
    const struct constant *before = (const struct constant *)(const void *)((const char *)chip_given_of(v->c) + offset),
                          *now = (const struct constant *)(const void *)((const char *)chip_spec_of(v->c) + offset);
    bool multiply = strcmp(key, "tile.mvm_ns") == 0 && chip_given_of(v->c)->tile.adc.cost.time == TIME_MODEL;
    if (now->value < before->value || now->value > before->value) {
        v->visit(v->ctx, key, unit, now->value, multiply ? "with a conversion by tile.adc.cost" : now->source);
    }
}

void chip_visit_acting(const struct chip *c,
                       void (*visit)(void *ctx, const char *key, const char *unit, double value, const char *why),
                       void *ctx) {
    struct acting_visit v = {c, visit, ctx};
    const struct tile_spec *t = &chip_spec_of(c)->tile;
    if (chip_spec_of(c)->costs == COSTS_FULL && t->dac.cost.model != DAC_COST_CONSTANT) {
        visit(ctx, "tile.dac.energy_J", "J", t->dac.energy_J.value, "by tile.dac.cost");
        visit(ctx, "tile.dac.area_um2", "um2", t->dac.area_m2.value, "by tile.dac.cost");
    }
    if (chip_spec_of(c)->costs == COSTS_FULL && t->adc.cost.model != ADC_COST_CONSTANT) {
        visit(ctx, "tile.adc.energy_J", "J", t->adc.energy_J.value, "by tile.adc.cost");
        visit(ctx, "tile.adc.area_um2", "um2", t->adc.area_m2.value, "by tile.adc.cost");
        if (t->adc.static_W > 0) {
            visit(ctx, "tile.adc.static_W", "W", t->adc.static_W, "leakage of a tile's converters by tile.adc.cost");
        }
        if (t->adc.cost.time == TIME_MODEL) {
            visit(ctx, "tile.conversion_ns", "ns", t->conversion_s.value, "by tile.adc.cost");
        }
    }
    chip_visit_given(c, visit_changed, &v);
}
