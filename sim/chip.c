/* A chip: the immutable description that everything in sim/ works from.
 *
 * chip_load = tree of the file (chip_load.c) -> tables (chip_params.c) -> struct chip_spec -> relations between
 * keys that single ranges cannot say -> provenance of every constant -> effective configuration.
 *
 * The effective configuration is written back from the parsed values, so it is complete (every default spelt out,
 * parts filled in, sources included) and a fixed point: loading it gives the same chip and the same text. Its hash
 * names the chip.
 */
#include "sim/chip.h"

#include <string.h>

#include "sim/chip_costs.h"
#include "sim/chip_hierarchy.h"
#include "sim/chip_load.h"
#include "sim/passes.h"
#include "sim/phenomena.h"
#include "sim/encoding.h"
#include "sim/phenomena.h"

enum { KEY_BYTES = 256, WHERE_BYTES = 512 };

struct chip {
    struct arena *arena;
    struct chip_spec given; /* as the file says */
    struct chip_spec spec;  /* as it acts: converter costs by their models, scaled to node and supply */
    struct tile_work work;  /* of `spec` */
    struct config_node *read; /* the tree as read, parts filled in: where every key came from */
    struct config_node *effective;
    uint64_t hash;
};

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "chip: out of memory"); }

/* ---- reading the tables ------------------------------------------------------------------------ */

/* "file:line" of a dotted key, or of the nearest group above it that exists. */
static const char *where_is(const struct config_node *root, const char *key, char *buffer, size_t bytes) {
    char part[KEY_BYTES];
    snprintf(part, sizeof part, "%s", key);
    for (char *dot = part; dot; *dot = 0) {
        const struct config_node *node = config_find(root, part);
        if (node) {
            return config_where(node, buffer, bytes);
        }
        dot = strrchr(part, '.');
        if (!dot) {
            break;
        }
    }
    return config_where(root, buffer, bytes);
}

static bool *given_of(const struct chip_spec *spec, const struct chip_table *t) {
    return t->given_offset ? (bool *)((char *)(uintptr_t)spec + t->given_offset) : NULL;
}

static bool table_selected(const struct chip_spec *spec, const struct chip_table *t) {
    return !t->select_key || *(const int *)(const void *)((const char *)spec + t->select_offset) == t->select;
}

bool chip_table_read(const struct chip_spec *spec, const struct chip_table *t) {
    const bool *given = given_of(spec, t);
    return (!t->cost || spec->costs == COSTS_FULL) && (!given || *given) && table_selected(spec, t);
}

/* The map that holds a table's keys: the group named by its prefix. */
static enum status group_of(const struct config_node *root, const struct chip_table *t, const struct config_node **out,
                            struct error *e) {
    char name[KEY_BYTES], where[WHERE_BYTES];
    snprintf(name, sizeof name, "%.*s", (int)(strlen(t->prefix) ? strlen(t->prefix) - 1 : 0), t->prefix);
    *out = name[0] ? config_find(root, name) : root;
    if (!*out && !t->optional) {
        return error_set(e, ERR_USAGE, "%s: %s: missing (allowed: a map of keys%s)",
                         config_where(root, where, sizeof where), name,
                         strcmp(name, "tile") == 0 ? "" : ", or the name of a part in configs/parts");
    }
    if (*out && config_kind(*out) != CONFIG_MAP) {
        return error_set(e, ERR_USAGE, "%s: %s: not a map (allowed: a map of keys)",
                         config_where(*out, where, sizeof where), name);
    }
    return OK;
}

/* The choices that tables hang on, before the tables are read. */
static enum status read_selections(struct chip_spec *spec, const struct config_node *root, struct error *e) {
    char where[WHERE_BYTES];
    for (size_t i = 0; i < chip_table_count; i++) {
        const struct chip_table *t = &chip_tables[i];
        const struct config_node *node = t->select_key ? config_find(root, t->select_key) : NULL;
        const char *text = node && config_text(node) ? config_text(node) : "";
        int choice = 0;
        while (node && t->select_names[choice] && strcmp(text, t->select_names[choice]) != 0) {
            choice++;
        }
        if (node && !t->select_names[choice]) {
            const char *near = nearest_name(text, t->select_names, (size_t)choice);
            return error_set(e, ERR_USAGE, "%s: %s = %s: not a choice%s%s (allowed: `mho chip params` lists them)",
                             config_where(node, where, sizeof where), t->select_key, text, near ? ", nearest is " : "",
                             near ? near : "");
        }
        if (t->select_key) {
            *(int *)(void *)((char *)spec + t->select_offset) = choice;
        }
    }
    return OK;
}

/* A key of a group that another choice would read. */
static enum status refuse_unselected(const struct chip_spec *spec, const struct config_node *root,
                                     const struct chip_table *t, struct error *e) {
    char key[KEY_BYTES], where[WHERE_BYTES];
    int choice = *(const int *)(const void *)((const char *)spec + t->select_offset);
    for (size_t i = 0; i < t->table.count; i++) {
        snprintf(key, sizeof key, "%s%s", t->prefix, t->table.rows[i].key);
        const struct config_node *node = config_find(root, key);
        bool taken = !node;
        for (size_t j = 0; !taken && j < chip_table_count; j++) {
            const struct chip_table *other = &chip_tables[j];
            for (size_t k = 0; chip_table_read(spec, other) && k < other->table.count; k++) {
                taken = taken || (strcmp(other->prefix, t->prefix) == 0 &&
                                  strcmp(other->table.rows[k].key, t->table.rows[i].key) == 0);
            }
        }
        if (!taken) {
            return error_set(e, ERR_USAGE,
                             "%s: %s: belongs to %s = %s, which is %s here (allowed: remove the key or the part that "
                             "brings it, or %s = %s)",
                             config_where(node, where, sizeof where), key, t->select_key, t->select_names[t->select],
                             t->select_names[choice], t->select_key, t->select_names[t->select]);
        }
    }
    return OK;
}

static enum status refuse_costs(const struct config_node *root, const struct chip_table *t, struct error *e) {
    char key[KEY_BYTES], where[WHERE_BYTES];
    for (size_t i = 0; i < t->table.count; i++) {
        snprintf(key, sizeof key, "%s%s", t->prefix, t->table.rows[i].key);
        const struct config_node *node = config_find(root, key);
        if (node) {
            return error_set(e, ERR_USAGE,
                             "%s: %s: a cost key on a chip that declares costs: none (allowed: without the key, or "
                             "costs: full and every cost)",
                             config_where(node, where, sizeof where), key);
        }
    }
    return OK;
}

/* The model of the cell, which brings the table of the cell's keys. */
static enum status find_cell_model(const struct config_node *root, const struct cell_model **out, struct error *e) {
    char where[WHERE_BYTES];
    const struct config_node *map = config_find(root, "tile.cell"), *name = config_get(map, "model");
    if (!name || !config_text(name)) {
        return error_set(
            e, ERR_USAGE,
            "%s: tile.cell: missing (allowed: the name of a part in configs/parts, or a map with the key model)",
            where_is(root, "tile.cell", where, sizeof where));
    }
    *out = cell_model_find(config_text(name), e);
    return *out ? OK : error_prefix(e, "%s: tile.cell.model", config_where(name, where, sizeof where));
}

static const char *group_prefix(size_t group, char buffer[KEY_BYTES]) {
    snprintf(buffer, KEY_BYTES, "tile.cell.%s.", cell_groups[group]->name);
    return buffer;
}

/* The models of cell and converters, which bring the tables of their keys. */
struct models {
    const struct cell_model *cell;
    const struct adc_model *adc;
    const struct dac_model *dac;
};

/* The name of a converter's circuit; "ideal" where the file has none. */
static enum status circuit_name(const struct config_node *root, const char *group, const char **out, struct error *e) {
    char where[WHERE_BYTES];
    const struct config_node *map = config_find(root, group), *name = config_get(map, "model");
    *out = "ideal";
    if (!map) {
        return OK;
    }
    if (config_kind(map) != CONFIG_MAP || !name || !config_text(name)) {
        return error_set(e, ERR_USAGE, "%s: %s: its model is missing (allowed: a map with the key model)",
                         config_where(map, where, sizeof where), group);
    }
    *out = config_text(name);
    return OK;
}

static enum status find_models(const struct config_node *root, struct models *m, struct error *e) {
    char where[WHERE_BYTES];
    const char *name = NULL;
    TRY(find_cell_model(root, &m->cell, e));
    TRY(circuit_name(root, "tile.dac.circuit", &name, e));
    m->dac = dac_model_find(name, e);
    if (!m->dac) {
        return error_prefix(e, "%s: tile.dac.circuit.model",
                            where_is(root, "tile.dac.circuit.model", where, sizeof where));
    }
    TRY(circuit_name(root, "tile.adc.circuit", &name, e));
    m->adc = adc_model_find(name, e);
    return m->adc ? OK
                  : error_prefix(e, "%s: tile.adc.circuit.model",
                                 where_is(root, "tile.adc.circuit.model", where, sizeof where));
}

/* Keys that nobody knows, before keys that are missing: a misspelt key is both. */
static enum status check_keys(const struct chip *c, const struct config_node *root, const struct models *m,
                              struct error *e) {
    static const char *const skip[] = {"sources", NULL};
    enum { MOST = 64 };
    const struct param_table *tables[MOST];
    const char *prefixes[MOST];
    size_t count = 0;
    for (size_t i = 0; i < chip_table_count; i++) {
        if (chip_table_read(&c->spec, &chip_tables[i])) {
            tables[count] = &chip_tables[i].table;
            prefixes[count++] = chip_tables[i].prefix;
        } else if (chip_tables[i].cost && c->spec.costs == COSTS_NONE) {
            TRY(refuse_costs(root, &chip_tables[i], e));
        } else if (!table_selected(&c->spec, &chip_tables[i])) {
            TRY(refuse_unselected(&c->spec, root, &chip_tables[i], e));
        }
    }
    tables[count] = &m->cell->params;
    prefixes[count++] = "tile.cell.";
    char below[CELL_GROUPS_MOST][KEY_BYTES];
    for (size_t i = 0; cell_groups[i]; i++) {
        tables[count] = &cell_groups[i]->params;
        prefixes[count++] = group_prefix(i, below[i]);
    }
    tables[count] = &m->dac->params;
    prefixes[count++] = "tile.dac.circuit.";
    tables[count] = &m->adc->params;
    prefixes[count++] = "tile.adc.circuit.";
    return params_check_unused(tables, prefixes, count, root, skip, e);
}

/* Before the converter is made, which would blame its circuit. */
static enum status check_bits(const struct config_node *root, const struct adc_model *adc, int bits, struct error *e) {
    char where[WHERE_BYTES];
    return adc_check_bits(adc, bits, e) == OK
               ? OK
               : error_prefix(e, "%s: tile.adc.bits", where_is(root, "tile.adc.bits", where, sizeof where));
}

static enum status read_tables(struct chip *c, const struct config_node *root, struct error *e) {
    const char *costs = config_text(config_get(root, "costs") ? config_get(root, "costs") : root);
    const struct config_node *map = NULL;
    struct models models = {NULL, NULL, NULL};
    c->spec.costs = costs && strcmp(costs, "none") == 0 ? COSTS_NONE : COSTS_FULL;
    TRY(read_selections(&c->spec, root, e));
    for (size_t i = 0; i < chip_table_count; i++) {
        bool *given = given_of(&c->spec, &chip_tables[i]);
        if (given || chip_table_read(&c->spec, &chip_tables[i])) {
            TRY(group_of(root, &chip_tables[i], &map, e));
        }
        if (given) {
            *given = map != NULL;
        }
    }
    TRY(find_models(root, &models, e));
    TRY(check_keys(c, root, &models, e));
    for (size_t i = 0; i < chip_table_count; i++) {
        const struct chip_table *t = &chip_tables[i];
        if (chip_table_read(&c->spec, t)) {
            TRY(group_of(root, t, &map, e));
            TRY(params_read(&t->table, map, t->prefix, c->arena, (char *)&c->spec + t->offset, e));
        }
    }
    struct tile_spec *tile = &c->spec.tile;
    TRY(dac_create(config_find(root, "tile.dac.circuit"), "tile.dac.circuit.", tile->dac.bits, c->arena,
                   &tile->dac.circuit, e));
    TRY(check_bits(root, models.adc, tile->adc.bits, e));
    TRY(adc_create(config_find(root, "tile.adc.circuit"), "tile.adc.circuit.", tile->adc.bits, c->arena,
                   &tile->adc.circuit, e));
    return cell_create(config_find(root, "tile.cell"), "tile.cell.", c->arena, &tile->cell, e);
}

/* ---- relations --------------------------------------------------------------------------------- */

/* One contradiction: `key` is the one to change. */
#define CONTRADICTION(e, root, key, ...)                                                                               \
    do {                                                                                                               \
        char where_[WHERE_BYTES], why_[ERROR_MESSAGE_BYTES / 2];                                                       \
        snprintf(why_, sizeof why_, __VA_ARGS__);                                                                      \
        return error_set(e, ERR_USAGE, "%s: %s: %s", where_is(root, key, where_, sizeof where_), key, why_);           \
    } while (0)

static enum status check_name(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const char *n = s->name;
    size_t good = strspn(n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    if (!n[0] || n[good] || strchr("0123456789-.", n[0])) {
        CONTRADICTION(e, root, "chip", "'%s' is not a name (allowed: letters, digits, '_', '-', '.'; a letter first)",
                      n);
    }
    return OK;
}

/* A DAC circuit must drive what the coding says: a voltage or a time. */
static enum status check_input_circuit(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct tile_spec *t = &s->tile;
    if (dac_is_ideal(t->dac.circuit)) {
        return OK;
    }
    const bool pulse = dac_model_of(t->dac.circuit)->pulse;
    if (t->dac.coding == CODING_BIT_SERIAL) {
        CONTRADICTION(e, root, "tile.dac.circuit.model",
                      "%s converts whole codes, coding bit_serial sends one bit at a time (allowed: ideal)",
                      t->dac.circuit_model);
    }
    if (pulse && t->dac.coding == CODING_AMPLITUDE) {
        CONTRADICTION(e, root, "tile.dac.circuit.model",
                      "%s drives times, coding amplitude wants voltages (allowed: ideal, r_2r, c_2c)",
                      t->dac.circuit_model);
    }
    if (!pulse && t->dac.coding == CODING_PULSE_WIDTH) {
        CONTRADICTION(e, root, "tile.dac.circuit.model",
                      "%s drives voltages, coding pulse_width wants times (allowed: ideal, pulse_width)",
                      t->dac.circuit_model);
    }
    return OK;
}

/* The message begins with the key. */
static enum status check_encoding(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    char key[KEY_BYTES], where[WHERE_BYTES];
    struct encoding_plan plan;
    struct error why;
    if (encoding_plan(s, &plan, &why) == OK) {
        return OK;
    }
    snprintf(key, sizeof key, "%.*s", (int)strcspn(why.message, ":"), why.message);
    return error_set(e, ERR_USAGE, "%s: %s", where_is(root, key, where, sizeof where), why.message);
}

static enum status check_faults(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct faults_spec *f = &s->tile.faults;
    if (f->stuck_g_min + f->stuck_g_max + f->stuck_random > 1) {
        CONTRADICTION(e, root, "tile.faults", "probabilities of stuck devices sum to %g (allowed: at most 1)",
                      f->stuck_g_min + f->stuck_g_max + f->stuck_random);
    }
    if (s->tile.encoding == ENCODING_SIGNED_UNIT && f->stuck_g_min + f->stuck_g_max + f->stuck_random > 0) {
        CONTRADICTION(e, root, "tile.faults",
                      "stuck devices of a cell that is a signed pair as a whole (allowed: dead rows and columns)");
    }
    if (!f->repair && (f->spare_rows > 0 || f->spare_columns > 0)) {
        CONTRADICTION(e, root, "tile.faults.repair",
                      "off, but there are %d spare rows and %d spare columns (allowed: on, or no spares)",
                      f->spare_rows, f->spare_columns);
    }
    if (f->spare_rows > s->tile.rows) {
        CONTRADICTION(e, root, "tile.faults.spare_rows", "%d spares for %d rows (allowed: at most as many)",
                      f->spare_rows, s->tile.rows);
    }
    if (f->spare_columns > s->tile.columns) {
        CONTRADICTION(e, root, "tile.faults.spare_columns", "%d spares for %d columns (allowed: at most as many)",
                      f->spare_columns, s->tile.columns);
    }
    return OK;
}

/* Wires that cannot be folded into a matrix. */
static enum status check_wires(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct tile_spec *t = &s->tile;
    if (!t->wires.given || !s->effects.wires) {
        return OK;
    }
    if (cell_common_of(t->cell).charge) {
        CONTRADICTION(e, root, "tile.wires",
                      "the cell %s gives charges, and no steady current flows through wires to a capacitor (allowed: "
                      "effects.wires=off, no wires, or a cell that conducts)",
                      t->cell_model);
    }
    if (t->encoding == ENCODING_SIGNED_UNIT) {
        CONTRADICTION(
            e, root, "tile.wires",
            "cell model %s is a signed pair as a whole, the currents of its two columns are not known (allowed: no "
            "wires, or a cell of single devices)",
            t->cell_model);
    }
    if (t->wires.float_inactive && !(t->wires.row_ohm.value + t->wires.input_ohm.value > 0)) {
        CONTRADICTION(e, root, "tile.wires.input_ohm",
                      "0 ohm, and tile.wires.row_ohm = 0: a row behind 0 ohm is its driver and cannot float (allowed: "
                      "one of them above 0, or tile.wires.float_inactive=off)");
    }
    if (chip_needs_network(s) && phenomena_active(&t->phenomena, &s->effects).any) {
        CONTRADICTION(e, root, "tile.phenomena",
                      "they act on a matrix of weights, but nonlinear cells or floating rows behind wires have none "
                      "(allowed: effects.wires=off, or no phenomena)");
    }
    return OK;
}

static enum status check_network(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct network_spec *n = &s->network;
    if (!n->given) {
        return OK;
    }
    int cores = s->tiles_per_chip / n->tiles_per_core + (s->tiles_per_chip % n->tiles_per_core != 0);
    bool mesh = n->topology == TOPOLOGY_MESH;
    if (mesh && (int64_t)n->columns * n->rows < cores) {
        CONTRADICTION(e, root, "network.columns",
                      "a mesh of %d x %d does not hold %d cores (allowed: at least as many)", n->columns, n->rows,
                      cores);
    }
    if (!mesh && (n->columns || n->rows)) {
        CONTRADICTION(e, root, n->columns ? "network.columns" : "network.rows", "only a mesh has columns and rows");
    }
    if (n->hub >= (mesh ? n->columns * n->rows : cores)) {
        CONTRADICTION(e, root, "network.hub", "node %d is not there (allowed: -1 to %d)", n->hub,
                      (mesh ? n->columns * n->rows : cores) - 1);
    }
    return OK;
}

/* What the cell does not model must not be asked of it in silence. */
static enum status check_conditions(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct tile_spec *t = &s->tile;
    double low_K, high_K;
    cell_temperature_range(t->cell, &low_K, &high_K);
    bool other = t->temperature_K < low_K || t->temperature_K > high_K;
    if (s->effects.temperature && other && cell_has_group(t->cell, "temperature")) {
        CONTRADICTION(e, root, "tile.temperature_K",
                      "%g K: the numbers of this %s hold from %g to %g K (allowed: %g to %g, see "
                      "tile.cell.temperature.valid_from_K and valid_to_K; or effects.temperature=off)",
                      t->temperature_K, t->cell_model, low_K, high_K, low_K, high_K);
    }
    if (s->effects.temperature && other) {
        CONTRADICTION(e, root, "tile.temperature_K",
                      "%g K, but this %s does not say what temperature does (allowed: 300, a cell with the group "
                      "temperature, or effects.temperature=off)",
                      t->temperature_K, t->cell_model);
    }
    if (s->effects.drift && t->reads > 0 && !cell_has_group(t->cell, "disturb")) {
        CONTRADICTION(e, root, "tile.reads",
                      "%g, but this %s does not say what reads do (allowed: 0, a cell with the group disturb, or "
                      "effects.drift=off)",
                      t->reads, t->cell_model);
    }
    return OK;
}

/* Parts of tile.phenomena that need another key to act. */
static enum status check_phenomena(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct phenomena_spec *p = &s->tile.phenomena;
    if (p->weight_noise > 0 && p->weight_noise_type == WEIGHT_NOISE_NONE) {
        CONTRADICTION(e, root, "tile.phenomena.weight_noise",
                      "%g, but weight_noise_type is none (allowed: 0, or another type)", p->weight_noise);
    }
    if (p->read_asymmetry_spread > 0 && s->tile.dac.sign != SIGN_TWO_PHASE) {
        CONTRADICTION(e, root, "tile.phenomena.read_asymmetry_spread",
                      "%g, but both signs go in one pass (allowed: 0, or tile.dac.sign=two_phase)",
                      p->read_asymmetry_spread);
    }
    if (p->ir_drop > 0 && s->effects.wires && s->tile.wires.given) {
        CONTRADICTION(e, root, "tile.phenomena.ir_drop",
                      "%g, but tile.wires has the same losses already (allowed: 0, no tile.wires, or "
                      "effects.wires=off)",
                      p->ir_drop);
    }
    return OK;
}

/* Keys that say how something works which another key leaves out, and schedules that leave no time for it. */
static enum status check_idle_keys(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct tile_spec *t = &s->tile;
    if (t->compensation_period_s > 0 && t->compensation == COMPENSATION_NONE) {
        CONTRADICTION(e, root, "tile.compensation_period_s",
                      "%g s, but tile.compensation is none (allowed: 0, or tile.compensation = global, per_column, "
                      "exact_reference)",
                      t->compensation_period_s);
    }
    if (t->correction_period_s > 0 && t->correction == CORRECTION_NONE) {
        CONTRADICTION(e, root, "tile.correction_period_s",
                      "%g s, but tile.correction is none (allowed: 0, or tile.correction = affine)",
                      t->correction_period_s);
    }
    double fit_s = s->costs == COSTS_FULL ? t->correction_vectors * tile_work_of(s).interval_s : 0;
    if (t->correction_period_s > 0 && t->correction_period_s < fit_s) {
        CONTRADICTION(e, root, "tile.correction_period_s",
                      "%g s, but %d test vectors take %g s (allowed: 0 for once after each programming, at least %g s, "
                      "or fewer tile.correction_vectors)",
                      t->correction_period_s, t->correction_vectors, fit_s, fit_s);
    }
    if (t->adc.rule != ADC_MAXIMUM && t->adc.range != ADC_CALIBRATED) {
        CONTRADICTION(e, root, "tile.adc.rule",
                      "a statistic of calibration outputs, but tile.adc.range is %s (allowed: maximum, or "
                      "tile.adc.range = calibrated)",
                      t->adc.range == ADC_STATIC ? "static" : "lambda");
    }
    if (t->dac.split_bits != SPLIT_BITS_STANDARD && t->dac.coding != CODING_SPLIT) {
        CONTRADICTION(e, root, "tile.dac.split_bits",
                      "%d, but tile.dac.coding is not split (allowed: %d, or tile.dac.coding = split)",
                      t->dac.split_bits, SPLIT_BITS_STANDARD);
    }
    return OK;
}

/* What a ladder of differential pairs on pulses cannot be combined with. */
static enum status check_ladder(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct tile_spec *t = &s->tile;
    const struct effects all = {.read_noise = true, .wires = true, .dac_errors = true, .adc_errors = true};
    bool voltages = !dac_is_ideal(t->dac.circuit) && !dac_model_of(t->dac.circuit)->pulse;
    if (!t->ladder.given) {
        return OK;
    }
    if (t->wires.given) {
        CONTRADICTION(e, root, "tile.ladder", "tile.wires describes the same wires already (allowed: one of the two)");
    }
    if (t->encoding != ENCODING_DIFFERENTIAL_PAIR || t->legs != COMBINE_ANALOG || t->slices > 1) {
        CONTRADICTION(e, root, "tile.ladder",
                      "its columns are pairs on one wire (allowed: tile.encoding=differential_pair, tile.legs=analog, "
                      "tile.slices=1)");
    }
    if (cell_common_of(t->cell).charge) {
        CONTRADICTION(e, root, "tile.ladder", "the cell %s gives charges (allowed: a cell that conducts)",
                      t->cell_model);
    }
    if (t->dac.coding == CODING_AMPLITUDE || voltages) {
        CONTRADICTION(e, root, t->dac.coding == CODING_AMPLITUDE ? "tile.dac.coding" : "tile.dac.circuit.model",
                      "tile.ladder switches rails in time steps, there are no voltages between them (allowed: coding "
                      "pulse_width, split or bit_serial, circuit ideal or pulse_width)");
    }
    if (t->rows % t->ladder.segments) {
        CONTRADICTION(e, root, "tile.ladder.segments",
                      "%d rows cannot be cut into %d equal segments (allowed: divisors of tile.rows)", t->rows,
                      t->ladder.segments);
    }
    if (t->ladder.precision == LADDER_SINGLE && (!s->effects.dac || !dac_is_ideal(t->dac.circuit))) {
        CONTRADICTION(e, root, "tile.ladder.precision",
                      "single takes the whole steps of an ideal pulse (allowed: effects.dac=on and an ideal "
                      "tile.dac.circuit, or double)");
    }
    if (phenomena_active(&t->phenomena, &all).any) {
        CONTRADICTION(e, root, "tile.phenomena", "not together with tile.ladder (allowed: all zero)");
    }
    if (s->effects.wires && s->effects.cell_nonlinearity && !cell_is_linear(t->cell)) {
        CONTRADICTION(e, root, "tile.ladder",
                      "not for cells whose current is not proportional to the voltage (allowed: "
                      "effects.cell_nonlinearity=off)");
    }
    return OK;
}

static enum status check_hierarchy(struct chip_spec *s, const struct config_node *root, struct error *e) {
    char reason[ERROR_MESSAGE_BYTES / 2];
    const char *key = hierarchy_contradiction(s, reason, sizeof reason);
    if (key) {
        CONTRADICTION(e, root, key, "%s", reason);
    }
    return OK;
}

/* What converter models, node and supply need of each other. */
static enum status check_costs(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    char reason[ERROR_MESSAGE_BYTES / 2];
    const char *key = s->costs == COSTS_FULL ? cost_contradiction(s, reason, sizeof reason) : NULL;
    if (key) {
        CONTRADICTION(e, root, key, "%s", reason);
    }
    return OK;
}

static enum status check_tile(const struct chip_spec *s, const struct config_node *root, struct error *e) {
    const struct tile_spec *t = &s->tile;
    char reason[ERROR_MESSAGE_BYTES / 2];
    const char *key = input_contradiction(s, reason, sizeof reason);
    if (key) {
        CONTRADICTION(e, root, key, "%s", reason);
    }
    TRY(check_faults(s, root, e));
    TRY(check_wires(s, root, e));
    TRY(check_conditions(s, root, e));
    TRY(check_phenomena(s, root, e));
    TRY(check_ladder(s, root, e));
    TRY(check_idle_keys(s, root, e));
    if (t->columns % t->adc.share) {
        CONTRADICTION(
            e, root, "tile.adc.share",
            "%d columns cannot be shared by converters of %d columns each (allowed: divisors of tile.columns)",
            t->columns, t->adc.share);
    }
    if (t->dac.static_rule == STATIC_QUANTILE && t->dac.static_parameter > 1) {
        CONTRADICTION(e, root, "tile.dac.static_parameter", "%g is not a quantile (allowed: 0 to 1)",
                      t->dac.static_parameter);
    }
    if (s->costs == COSTS_FULL && t->mvm_s.value < t->pulse_s.value) {
        CONTRADICTION(e, root, "tile.mvm_ns",
                      "a multiply of %g ns is shorter than its input pulse of %g ns (allowed: at least tile.pulse_ns)",
                      t->mvm_s.value * 1e9, t->pulse_s.value * 1e9);
    }
    return OK;
}

static enum status add_role(struct chip_spec *s, const struct config_node *root, const char *word, size_t bytes,
                            struct error *e) {
    const char *names[MATRIX_ROLES];
    char role[32];
    snprintf(role, sizeof role, "%.*s", (int)bytes, word);
    for (int r = 0; r < MATRIX_ROLES; r++) {
        names[r] = matrix_role_name((enum matrix_role)r);
        if (strcmp(names[r], role) == 0) {
            s->analog_role[r] = true;
            return OK;
        }
    }
    const char *near = nearest_name(role, names, MATRIX_ROLES);
    CONTRADICTION(e, root, "analog",
                  "'%s' is not a role%s%s (allowed: all, or some of q k v o gate up down qkv gate_up head)", role,
                  near ? ": nearest is " : "", near ? near : "");
}

/* A fused matrix is analog where every piece is asked for: q,k,v also means qkv. */
static enum status read_roles(struct chip *c, const struct config_node *root, struct error *e) {
    struct chip_spec *s = &c->spec;
    if (strcmp(s->analog, "all") == 0) {
        memset(s->analog_role, true, sizeof s->analog_role);
        return OK;
    }
    bool any = false;
    for (const char *p = s->analog; *p;) {
        size_t gap = strspn(p, ", "), word = strcspn(p + gap, ", ");
        if (word) {
            TRY(add_role(s, root, p + gap, word, e));
            any = true;
        }
        p += gap + word;
    }
    if (!any) {
        CONTRADICTION(e, root, "analog",
                      "names no role (allowed: all, or some of q k v o gate up down qkv gate_up head)");
    }
    bool *r = s->analog_role;
    r[MATRIX_QKV] = r[MATRIX_QKV] || (r[MATRIX_Q] && r[MATRIX_K] && r[MATRIX_V]);
    r[MATRIX_GATE_UP] = r[MATRIX_GATE_UP] || (r[MATRIX_GATE] && r[MATRIX_UP]);
    return OK;
}

/* ---- constants --------------------------------------------------------------------------------- */

struct source_check {
    const struct config_node *root;
    enum status status;
    struct error *e;
};

/* A source is a key of `sources:` or says something in words. */
static void check_source(void *ctx, const char *key, const char *unit, const struct constant *k) {
    struct source_check *check = ctx;
    const struct config_node *sources = config_get(check->root, "sources");
    (void)unit;
    if (check->status != OK || strchr(k->source, ' ') || (sources && config_get(sources, k->source))) {
        return;
    }
    char at[KEY_BYTES], where[WHERE_BYTES];
    snprintf(at, sizeof at, "%s.source", key);
    const char *names[64], *near = NULL;
    size_t count = 0;
    for (; sources && count < config_count(sources) && count < 64; count++) {
        names[count] = config_key_at(sources, count);
    }
    near = nearest_name(k->source, names, count);
    check->status = error_set(
        check->e, ERR_USAGE, "%s: %s: '%s' is not a key of sources%s%s (allowed: such a key, or a reference in words)",
        where_is(check->root, at, where, sizeof where), at, k->source, near ? ": nearest is " : "", near ? near : "");
}

static enum status check_sources(const struct chip *c, const struct config_node *root, struct error *e) {
    struct source_check check = {root, OK, e};
    chip_visit_sourced(c, check_source, &check);
    return check.status;
}

/* ---- effective configuration ------------------------------------------------------------------- */

static enum status dump_sources(struct chip *c, const struct config_node *root, struct error *e) {
    const struct config_node *sources = config_get(root, "sources");
    if (!sources) {
        return OK;
    }
    struct config_node *copy = config_new_map(c->arena, "(effective)", 0);
    for (size_t i = 0; copy && i < config_count(sources); i++) {
        struct config_node *text = config_new_scalar(c->arena, config_text(config_at(sources, i)), "(effective)", 0);
        if (!text) {
            return no_memory(e);
        }
        TRY(config_put(c->arena, copy, config_key_at(sources, i), text, e));
    }
    return copy ? config_put(c->arena, c->effective, "sources", copy, e) : no_memory(e);
}

/* The map of the effective configuration for a prefix like "tile.wires."; made when missing. */
static enum status dump_group(struct chip *c, const char *prefix, struct config_node **out, struct error *e) {
    *out = c->effective;
    while (*prefix) {
        char name[KEY_BYTES];
        size_t length = strcspn(prefix, ".");
        snprintf(name, sizeof name, "%.*s", (int)length, prefix);
        prefix += length + 1;
        struct config_node *next = config_get(*out, name);
        if (!next) {
            next = config_new_map(c->arena, "(effective)", 0);
            if (!next) {
                return no_memory(e);
            }
            TRY(config_put(c->arena, *out, name, next, e));
        }
        *out = next;
    }
    return OK;
}

static enum status dump_effective(struct chip *c, const struct config_node *root, struct error *e) {
    c->effective = config_new_map(c->arena, "(effective)", 0);
    if (!c->effective) {
        return no_memory(e);
    }
    struct config_node *map = NULL;
    for (size_t i = 0; i < chip_table_count; i++) {
        const struct chip_table *t = &chip_tables[i];
        if (chip_table_read(&c->spec, t)) {
            TRY(dump_group(c, t->prefix, &map, e));
            TRY(params_dump(&t->table, (const char *)&c->given + t->offset, t->prefix, c->arena, map, e));
        }
    }
    map = config_find(c->effective, "tile.cell");
    if (!map) {
        return error_set(e, ERR_RUN, "chip: tile.cell is missing in the effective configuration");
    }
    TRY(cell_dump(c->spec.tile.cell, c->arena, map, e));
    TRY(dump_group(c, "tile.dac.circuit.", &map, e));
    TRY(dac_dump(c->spec.tile.dac.circuit, c->arena, map, e));
    TRY(dump_group(c, "tile.adc.circuit.", &map, e));
    TRY(adc_dump(c->spec.tile.adc.circuit, c->arena, map, e));
    TRY(dump_sources(c, root, e));
    c->hash = config_hash(c->effective);
    return OK;
}

/* A number where the text is one in the form that params_dump writes; text otherwise. */
static json_t *scalar_json(const char *text) {
    double number;
    int64_t integer;
    char again[32];
    if (parse_int64(text, &integer)) {
        return json_integer((json_int_t)integer);
    }
    if (parse_double(text, &number)) {
        format_double(number, again);
        if (strcmp(again, text) == 0) {
            return json_real(number);
        }
    }
    return json_string(text);
}

json_t *config_json(const struct config_node *n) {
    if (config_kind(n) == CONFIG_SCALAR) {
        return scalar_json(config_text(n));
    }
    bool list = config_kind(n) == CONFIG_LIST;
    json_t *all = list ? json_array() : json_object();
    for (size_t i = 0; all && i < config_count(n); i++) {
        json_t *one = config_json(config_at(n, i));
        if (!one ||
            (list ? json_array_append_new(all, one) : json_object_set_new(all, config_key_at(n, i), one)) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

json_t *chip_config_json(const struct chip *c) { return config_json(c->effective); }

/* ---- public ------------------------------------------------------------------------------------ */

static enum status build(struct chip *c, const char *name, const char *const *sets, size_t set_count, struct error *e) {
    struct config_node *root = NULL;
    TRY(chip_tree(c->arena, name, sets, set_count, &root, e));
    c->read = root;
    TRY(read_tables(c, root, e));
    TRY(check_name(&c->spec, root, e));
    TRY(check_encoding(&c->spec, root, e));
    TRY(check_costs(&c->spec, root, e));
    c->given = c->spec;
    if (c->spec.costs == COSTS_FULL) {
        TRY(chip_costs_act(&c->given, c->arena, &c->spec, e));
    }
    TRY(check_tile(&c->spec, root, e));
    c->work = tile_work_of(&c->spec);
    TRY(check_input_circuit(&c->spec, root, e));
    TRY(check_network(&c->spec, root, e));
    TRY(check_hierarchy(&c->spec, root, e));
    TRY(read_roles(c, root, e));
    TRY(check_sources(c, root, e));
    return dump_effective(c, root, e);
}

enum status chip_load(const char *name, const char *const *sets, size_t set_count, struct chip **out, struct error *e) {
    *out = NULL;
    struct chip *c = mem_alloc(1, sizeof *c);
    if (!c) {
        return no_memory(e);
    }
    c->arena = arena_create();
    enum status status = c->arena ? build(c, name, sets, set_count, e) : no_memory(e);
    if (status != OK) {
        chip_destroy(c);
        return status;
    }
    *out = c;
    return OK;
}

void chip_destroy(struct chip *c) {
    if (c) {
        arena_destroy(c->arena);
        mem_free(c);
    }
}

const struct tile_work *chip_work(const struct chip *c) { return &c->work; }
const struct chip_spec *chip_spec_of(const struct chip *c) { return &c->spec; }
const struct chip_spec *chip_given_of(const struct chip *c) { return &c->given; }
const char *chip_name(const struct chip *c) { return c->spec.name; }
const char *chip_about(const struct chip *c) { return c->spec.about; }
const struct config_node *chip_config(const struct chip *c) { return c->effective; }
const char *chip_where(const struct chip *c, const char *key, char *buffer, size_t bytes) {
    return where_is(c->read, key, buffer, bytes);
}
uint64_t chip_hash(const struct chip *c) { return c->hash; }
bool chip_has_costs(const struct chip *c) { return c->spec.costs == COSTS_FULL; }

static const struct param_table *effect_table(void) {
    for (size_t i = 0;; i++) {
        if (strcmp(chip_tables[i].prefix, "effects.") == 0) {
            return &chip_tables[i].table;
        }
    }
}

size_t chip_effect_count(void) { return effect_table()->count; }
const char *chip_effect_name(size_t i) { return effect_table()->rows[i].key; }
const char *chip_effect_help(size_t i) { return effect_table()->rows[i].help; }

bool chip_effect_on(const struct chip *c, size_t i) {
    return *(const bool *)((const char *)&c->spec.effects + effect_table()->rows[i].offset);
}

const struct adc *chip_adc(const struct chip *c) { return c->spec.tile.adc.circuit; }

uint32_t chip_calibration_tokens(const struct chip *c) { return (uint32_t)c->spec.calibration_tokens; }
