/* The support matrix, found out by asking: every combination is put into a chip file and loaded. What chip_load refuses
 * is refused, with its reason; everything else runs (a test runs every such cell against the reference).
 *
 * The chip is pcm256 on small tiles, with everything that an effect needs to act: faults, wires, a hot chip, a cell of
 * nonlinear current, converters with errors. signed_unit needs cells that are pairs as a whole (pcm_afm).
 */
#include <stdio.h>
#include <string.h>

#include "sim/passes.h"

enum { SETS_MOST = 44, KEY_BYTES = 96, SET_BYTES = 256 };

struct sets {
    char text[SETS_MOST][SET_BYTES];
    const char *list[SETS_MOST];
    size_t count;
};

static void add(struct sets *s, const char *key, const char *value) {
    snprintf(s->text[s->count], SET_BYTES, "%.100s=%.100s", key, value);
    s->list[s->count] = s->text[s->count];
    s->count++;
}

/* Keys that make an effect act. */
static const struct {
    const char *effect, *key, *value;
} needs[] = {
    {"faults", "tile.faults.stuck_g_min", "0.02"},
    {"faults", "tile.faults.dead_columns", "0.02"},
    {"wires", "tile.wires.row_ohm", "1"},
    {"wires", "tile.wires.column_ohm", "1"},
    {"wires", "tile.wires.input_ohm", "10"},
    {"wires", "tile.wires.output_ohm", "10"},
    {"wires", "tile.wires.column_fF", "1"},
    {"temperature", "tile.temperature_K", "330"},
    {"cell_nonlinearity", "tile.cell.current.form", "cubic"},
    {"cell_nonlinearity", "tile.cell.current.reference_V", "0.2"},
    {"cell_nonlinearity", "tile.cell.current.strength", "0.1"},
    {"read_noise", "tile.cell.white_noise.relative", "0.02"},
    {"read_noise", "tile.cell.white_noise.absolute_uS", "0.1"},
};

/* Constants of the ADC circuits. */
static const struct {
    const char *circuit, *key, *value;
} circuits[] = {
    {"ramp", "gain_spread", "0.02"},
    {"ramp", "offset_LSB", "1"},
    {"ramp", "noise_LSB", "0.3"},
    {"sar", "capacitor_mismatch", "0.01"},
    {"sar", "gain_dB", "80"},
    {"sar", "comparator_offset", "0.002"},
    {"sar", "noise_LSB", "0.3"},
    {"pipeline", "capacitor_mismatch", "0.005"},
    {"pipeline", "gain_dB", "80"},
    {"pipeline", "comparator_offset", "0.002"},
    {"pipeline", "noise_LSB", "0.3"},
    {"cyclic", "capacitor_mismatch", "0.005"},
    {"cyclic", "gain_dB", "80"},
    {"cyclic", "comparator_offset", "0.002"},
    {"cyclic", "noise_LSB", "0.3"},
    {"flash", "resistor_mismatch", "0.01"},
    {"flash", "comparator_offset", "0.002"},
    {"flash", "noise_LSB", "0.3"},
    {"table", "file", "configs/parts/adc_table_8b.csv"},
    {"table", "noise_LSB", "0.3"},
};

/* The same of the DAC circuits. */
static const struct {
    const char *circuit, *key, *value;
} dac_circuits[] = {
    {"r_2r", "mismatch", "0.01"},     {"r_2r", "noise_LSB", "0.3"},  {"c_2c", "mismatch", "0.01"},
    {"c_2c", "parasitic", "0.01"},    {"c_2c", "noise_LSB", "0.3"},  {"pulse_width", "jitter_LSB", "0.3"},
};

static void fill_sets(const struct support_cell *c, struct sets *s) {
    char key[KEY_BYTES];
    s->count = 0;
    add(s, "tile.rows", "16");
    add(s, "tile.columns", "8");
    add(s, "tile.adc.share", "2");
    add(s, "tile.compensation", "none");
    add(s, "tile.cell", strcmp(c->encoding, "signed_unit") == 0 ? "pcm_afm" : "pcm_like");
    add(s, "tile.encoding", c->encoding);
    add(s, "tile.dac.coding", c->coding);
    add(s, "tile.dac.sign", c->sign);
    add(s, "tile.dac.accumulate", c->accumulate);
    add(s, "tile.dac.circuit.model", c->circuit);
    add(s, "tile.adc.circuit.model", c->converter);
    for (size_t i = 0; i < sizeof dac_circuits / sizeof dac_circuits[0]; i++) {
        if (strcmp(dac_circuits[i].circuit, c->circuit) == 0) {
            snprintf(key, sizeof key, "tile.dac.circuit.%s", dac_circuits[i].key);
            add(s, key, dac_circuits[i].value);
        }
    }
    for (size_t i = 0; i < sizeof circuits / sizeof circuits[0]; i++) {
        if (strcmp(circuits[i].circuit, c->converter) == 0) {
            snprintf(key, sizeof key, "tile.adc.circuit.%s", circuits[i].key);
            add(s, key, circuits[i].value);
        }
    }
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
        if (strcmp(needs[i].effect, c->effect) == 0) {
            add(s, needs[i].key, needs[i].value);
        }
    }
    static const char *const on[] = {"effects.dac", "effects.adc", "effects.adc_errors"};
    add(s, "effects", "off");
    for (size_t i = 0; i < sizeof on / sizeof on[0]; i++) {
        add(s, on[i], "on");
    }
    snprintf(key, sizeof key, "effects.%s", c->effect);
    add(s, key, "on");
}

/* The message without the place that it names: the keys are nobody's file. */
static const char *reason_of(const struct error *e) {
    const char *tile = strstr(e->message, "tile."), *effects = strstr(e->message, "effects.");
    return tile && (!effects || tile < effects) ? tile : effects ? effects : e->message;
}

static enum status try_cell(struct support_cell *c,
                            enum status (*visit)(void *ctx, const struct support_cell *cell, struct error *e),
                            void *ctx, struct error *e) {
    struct sets sets;
    struct error refused = {0};
    struct chip *chip = NULL;
    fill_sets(c, &sets);
    enum status s = chip_load("pcm256", sets.list, sets.count, &chip, &refused);
    if (s == ERR_RUN) { /* not an answer */
        *e = refused;
        return s;
    }
    c->chip = chip;
    c->reason = s == OK ? "" : reason_of(&refused);
    s = visit(ctx, c, e);
    chip_destroy(chip);
    return s;
}

/* The names of a choice, from the table that reads it. */
static const char *const *choices_of(const char *key) {
    for (size_t i = 0; i < chip_table_count; i++) {
        const struct param_table *t = &chip_tables[i].table;
        for (size_t k = 0; strcmp(chip_tables[i].prefix, "tile.") == 0 && k < t->count; k++) {
            if (strcmp(t->rows[k].key, key) == 0) {
                return t->rows[k].choices;
            }
        }
    }
    return NULL;
}

struct visitor {
    enum status (*visit)(void *ctx, const struct support_cell *cell, struct error *e);
    void *ctx;
    struct support_cell cell; /* to be tried next */
};

static enum status try_next(struct visitor *v, struct error *e) { return try_cell(&v->cell, v->visit, v->ctx, e); }

/* The circuit that makes the errors of a way to drive; whole codes of a bit-serial input are refused. */
static const char *usual_circuit(const struct support_cell *c) {
    bool pulse = strcmp(c->coding, "pulse_width") == 0 || strcmp(c->coding, "split") == 0;
    return strcmp(c->effect, "dac_errors") != 0 ? "ideal" : pulse ? "pulse_width" : "r_2r";
}

static enum status visit_converters(struct visitor *v, struct error *e) {
    for (const struct adc_model *const *adc = adc_models; *adc; adc++) {
        v->cell.converter = (*adc)->name;
        TRY(try_next(v, e));
    }
    return OK;
}

/* Every sign and accumulation but the first, which visit_converters has. */
static enum status visit_drives(struct visitor *v, struct error *e) {
    const char *const *signs = choices_of("dac.sign"), *const *sums = choices_of("dac.accumulate");
    v->cell.converter = "ramp";
    for (size_t sign = 0; signs[sign]; sign++) {
        for (size_t sum = 0; sums[sum]; sum++) {
            v->cell.sign = signs[sign];
            v->cell.accumulate = sums[sum];
            if (strcmp(signs[sign], "bipolar") != 0 || strcmp(sums[sum], "digital") != 0) {
                TRY(try_next(v, e));
            }
        }
    }
    return OK;
}

static enum status visit_circuits(struct visitor *v, struct error *e) {
    v->cell.effect = "dac_errors";
    v->cell.encoding = choices_of("encoding")[0];
    v->cell.converter = "ramp";
    for (const char *const *coding = choices_of("dac.coding"); *coding; coding++) {
        for (const char *const *sign = choices_of("dac.sign"); *sign; sign++) {
            for (const char *const *sum = choices_of("dac.accumulate"); *sum; sum++) {
                v->cell.coding = *coding;
                v->cell.sign = *sign;
                v->cell.accumulate = *sum;
                for (const struct dac_model *const *dac = dac_models; *dac; dac++) {
                    v->cell.circuit = (*dac)->name;
                    TRY(try_next(v, e));
                }
            }
        }
    }
    return OK;
}

enum status chip_visit_support(enum status (*visit)(void *ctx, const struct support_cell *cell, struct error *e),
                               void *ctx, struct error *e) {
    struct visitor v = {visit, ctx, {0}};
    for (size_t i = 0; i < chip_effect_count(); i++) {
        v.cell.effect = chip_effect_name(i);
        for (const char *const *encoding = choices_of("encoding"); *encoding; encoding++) {
            v.cell.encoding = *encoding;
            for (const char *const *coding = choices_of("dac.coding"); *coding; coding++) {
                v.cell.coding = *coding;
                v.cell.circuit = usual_circuit(&v.cell);
                v.cell.sign = "bipolar";
                v.cell.accumulate = "digital";
                TRY(visit_converters(&v, e));
                TRY(visit_drives(&v, e));
            }
        }
    }
    return visit_circuits(&v, e);
}
