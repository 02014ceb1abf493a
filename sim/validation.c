/* Published numbers beside simulated ones: reads configs/validation/NAME.yaml and runs its points.
 *
 *   chip                 of the catalogue
 *   about                what was published, where the boundary of the numbers lies
 *   boundary             components that the totals of the paper contain (names as in reports; `static`: of the tiles
 *                        and of the units named beside it)
 *   operations_per_mac   2, or 1, as the paper counts
 *   workload             tiles (0: one chip), vectors, weights, inputs: what the paper's number supposes
 *   constants_from       other validation files whose fitted constants this chip uses
 *   points               quantity, unit, published, role, source; optional component (a name or a list), divide, set,
 *                        constants, why
 *
 * Every point is simulated on its own chip: the file's, with the point's settings. Points whose settings make the same
 * chip share one simulation.
 */
#include "sim/validation.h"

#include <math.h>
#include <string.h>

#include "base/io.h"
#include "sim/chip_load.h"

enum { WHERE_BYTES = 512, QUANTITIES_MOST = 32 };

static const char *const role_names[] = {"predicted", "fitted", "derived", NULL};
static const char *const fill_names[] = {"uniform", "positive", "full", "sign", NULL};

#define AT(member) offsetof(struct validation, member)
static const struct param head_rows[] = {
    {"chip", PARAM_TEXT, "", 0, 0, NULL, "chip of the catalogue", AT(chip), NULL},
    {"about", PARAM_TEXT, "", 0, 0, NULL, "what was published, and its boundary", AT(about), NULL},
    {"operations_per_mac", PARAM_INT, "", 1, 2, "2", "how the paper counts", AT(operations_per_mac), NULL},
    {"workload.tiles", PARAM_INT, "", 0, 1000000, "0", "tiles that multiply; 0: all of one chip", AT(workload.tiles),
     NULL},
    {"workload.vectors", PARAM_INT, "", 1, 100000, "2000", "input vectors, one after the other", AT(workload.vectors),
     NULL},
    {"workload.weights", PARAM_CHOICE, "", 0, 0, "uniform", "distribution of the weights", AT(workload.weights),
     fill_names},
    {"workload.inputs", PARAM_CHOICE, "", 0, 0, "uniform", "distribution of the inputs", AT(workload.inputs),
     fill_names},
};
static const struct param_table head_table = PARAM_TABLE("validation", head_rows);
static const char *const head_lists[] = {"sources", "boundary", "constants_from", "points", NULL};

/* The name of the quantity and of the role are choices; `quantity` gets its names from the table of quantities. */
static const char *quantity_names[QUANTITIES_MOST];

#define POINT(member) offsetof(struct point, member)
static const struct param point_rows[] = {
    {"quantity", PARAM_CHOICE, "", 0, 0, NULL, "what was published", POINT(quantity), quantity_names},
    {"unit", PARAM_TEXT, "", 0, 0, NULL, "its unit", POINT(unit), NULL},
    {"published", PARAM_NUMBER, "", 1e-12, 1e12, NULL, "its value", POINT(published), NULL},
    {"divide", PARAM_INT, "", 1, 1000000, "1", "the number is for one of so many equal parts of the chip",
     POINT(divide), NULL},
    {"role", PARAM_CHOICE, "", 0, 0, NULL, "whether constants were fitted to it", POINT(role), role_names},
    {"source", PARAM_TEXT, "", 0, 0, NULL, "where it was published", POINT(source), NULL},
    {"why", PARAM_TEXT, "", 0, 0, "", "reason of an error that is left", POINT(why), NULL},
};
static const struct param_table point_table = PARAM_TABLE("point", point_rows);
static const char *const point_lists[] = {"component", "set", "constants", NULL};

const char *point_role_name(enum point_role r) { return role_names[r]; }

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "validation: out of memory"); }

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

/* A list of texts, or one text; absent: none. */
static enum status read_texts(struct arena *a, const struct config_node *map, const char *key, struct text_items *out,
                              struct error *e) {
    char where[WHERE_BYTES];
    const struct config_node *node = config_get(map, key);
    *out = (struct text_items){NULL, 0};
    if (!node) {
        return OK;
    }
    bool one = config_kind(node) == CONFIG_SCALAR;
    size_t count = one ? 1 : config_count(node);
    out->items = arena_alloc(a, count + 1, sizeof *out->items);
    if (!out->items) {
        return no_memory(e);
    }
    for (size_t i = 0; i < count; i++) {
        const struct config_node *item = one ? node : config_at(node, i);
        if (config_kind(node) == CONFIG_MAP || !config_text(item) || config_is_null(item)) {
            return error_set(e, ERR_USAGE, "%s: %s: must be a list of texts", config_where(node, where, sizeof where),
                             key);
        }
        out->items[out->count++] = config_text(item);
    }
    return OK;
}

/* Names of components as bits. */
static enum status read_components(const struct config_node *map, const char *key, const struct text_items *names,
                                   uint32_t *out, struct error *e) {
    char where[WHERE_BYTES];
    const char *all[PART_COUNT];
    *out = 0;
    for (int c = 0; c < PART_COUNT; c++) {
        all[c] = component_name((enum component)c);
    }
    for (size_t i = 0; i < names->count; i++) {
        int c = 0;
        while (c < PART_COUNT && strcmp(all[c], names->items[i]) != 0) {
            c++;
        }
        if (c == PART_COUNT) {
            const char *near = nearest_name(names->items[i], all, PART_COUNT);
            return error_set(e, ERR_USAGE,
                             "%s: %s: '%s' is not a component%s%s (allowed: names as in a report of "
                             "energy by component)",
                             config_where(config_get(map, key), where, sizeof where), key, names->items[i],
                             near ? ": nearest is " : "", near ? near : "");
        }
        *out |= 1u << c;
    }
    return OK;
}

static enum status check_point_source(const struct validation *v, const struct point *p, struct error *e) {
    char where[WHERE_BYTES];
    const struct config_node *sources = config_get(v->root, "sources");
    if (strchr(p->source, ' ') || (sources && config_get(sources, p->source))) {
        return OK;
    }
    return error_set(e, ERR_USAGE, "%s: source: '%s' is not a key of sources (allowed: such a key, or words)",
                     config_where(config_get(p->node, "source"), where, sizeof where), p->source);
}

static char *joined(struct arena *a, const struct text_items *names) {
    char *text = arena_strdup(a, "");
    for (size_t i = 0; text && i < names->count; i++) {
        text = arena_printf(a, "%s%s%s", text, i ? " + " : "", names->items[i]);
    }
    return text;
}

static enum status read_point(struct validation *v, const struct config_node *node, struct point *p, struct error *e) {
    static const struct param_table *const tables[] = {&point_table};
    char where[WHERE_BYTES];
    struct text_items components;
    p->node = node;
    p->simulated = (double)NAN;
    if (config_kind(node) != CONFIG_MAP) {
        return error_set(e, ERR_USAGE, "%s: points: must be a list of maps", config_where(node, where, sizeof where));
    }
    TRY(params_check_unused(tables, (const char *const[]){""}, 1, node, point_lists, e));
    TRY(params_read(&point_table, node, "", v->arena, p, e));
    TRY(read_texts(v->arena, node, "component", &components, e));
    TRY(read_texts(v->arena, node, "set", &p->sets, e));
    TRY(read_texts(v->arena, node, "constants", &p->constants, e));
    TRY(read_components(node, "component", &components, &p->of, e));
    p->component = joined(v->arena, &components);
    p->of = p->of ? p->of : v->boundary;
    if (!p->component) {
        return no_memory(e);
    }
    const struct quantity *q = &quantities[p->quantity];
    if (strcmp(p->unit, q->unit) != 0) {
        return error_set(e, ERR_USAGE, "%s: unit = %s: %s is in %s",
                         config_where(config_get(node, "unit"), where, sizeof where), p->unit, q->name, q->unit);
    }
    return check_point_source(v, p, e);
}

static enum status read_points(struct validation *v, struct error *e) {
    char where[WHERE_BYTES];
    const struct config_node *list = config_get(v->root, "points");
    if (!list || config_kind(list) != CONFIG_LIST || !config_count(list)) {
        return error_set(e, ERR_USAGE, "%s: points: missing (allowed: a list of maps, one per published number)",
                         config_where(list ? list : v->root, where, sizeof where));
    }
    v->points = arena_alloc(v->arena, config_count(list), sizeof *v->points);
    if (!v->points) {
        return no_memory(e);
    }
    for (size_t i = 0; i < config_count(list); i++) {
        TRY(read_point(v, config_at(list, i), &v->points[i], e));
        v->count++;
    }
    return OK;
}

static enum status check_sources(const struct validation *v, struct error *e) {
    char where[WHERE_BYTES];
    const struct config_node *sources = config_get(v->root, "sources");
    for (size_t i = 0; sources && (config_kind(sources) != CONFIG_MAP || i < config_count(sources)); i++) {
        if (config_kind(sources) != CONFIG_MAP || !config_text(config_at(sources, i))) {
            return error_set(e, ERR_USAGE, "%s: sources: must be a map from short names to references",
                             config_where(sources, where, sizeof where));
        }
    }
    return OK;
}

static enum status read_head(struct validation *v, struct error *e) {
    static const struct param_table *const tables[] = {&head_table};
    char where[WHERE_BYTES];
    struct text_items names;
    TRY(params_check_unused(tables, (const char *const[]){""}, 1, v->root, head_lists, e));
    TRY(params_read(&head_table, v->root, "", v->arena, v, e));
    TRY(check_sources(v, e));
    TRY(read_texts(v->arena, v->root, "constants_from", &v->constants_from, e));
    TRY(read_texts(v->arena, v->root, "boundary", &names, e));
    if (!names.count) {
        return error_set(e, ERR_USAGE, "%s: boundary: missing (allowed: a list of components)",
                         config_where(v->root, where, sizeof where));
    }
    TRY(read_components(v->root, "boundary", &names, &v->boundary, e));
    char *text = joined(v->arena, &names);
    if (!text) {
        return no_memory(e);
    }
    v->boundary_names = text;
    snprintf(v->boundary_text, sizeof v->boundary_text, "%s, %d operation%s per MAC", text, v->operations_per_mac,
             v->operations_per_mac == 1 ? "" : "s");
    return OK;
}

static enum status validation_path(struct arena *a, const char *name, char **path, struct error *e) {
    const char *const *names = NULL;
    size_t count = 0;
    if (config_is_path(name)) {
        *path = arena_strdup(a, name);
        return *path ? OK : no_memory(e);
    }
    TRY(config_catalogue_path(a, "validation", name, path, e));
    if (file_exists(*path)) {
        return OK;
    }
    TRY(config_catalogue("validation", &names, &count, e));
    const char *near = nearest_name(name, names, count);
    return error_set(e, ERR_USAGE, "%s: no published numbers in configs/validation%s%s", name,
                     near ? ": nearest is " : "", near ? near : "");
}

static enum status fill(struct validation *v, const char *name, struct error *e) {
    char *path = NULL;
    struct config_node *root = NULL;
    for (size_t i = 0; i < quantity_count; i++) {
        quantity_names[i] = quantities[i].name;
    }
    TRY(validation_path(v->arena, name, &path, e));
    TRY(config_load(v->arena, path, &root, e));
    v->root = root;
    TRY(read_head(v, e));
    return read_points(v, e);
}

enum status validation_read(const char *name, struct validation **out, struct error *e) {
    *out = NULL;
    struct validation *v = mem_alloc(1, sizeof *v);
    if (!v) {
        return no_memory(e);
    }
    v->arena = arena_create();
    enum status status = v->arena ? fill(v, name, e) : no_memory(e);
    if (status != OK) {
        validation_destroy(v);
        return status;
    }
    *out = v;
    return OK;
}

enum status validation_load(const char *name, struct validation **out, struct error *e) {
    TRY(validation_read(name, out, e));
    enum status status = validation_check(*out, e);
    if (status != OK) {
        validation_destroy(*out);
        *out = NULL;
    }
    return status;
}

void validation_destroy(struct validation *v) {
    if (v) {
        arena_destroy(v->arena);
        mem_free(v);
    }
}

enum status validation_catalogue(const char *const **names, struct error *e) {
    size_t count;
    return config_catalogue("validation", names, &count, e);
}

/* ---- running ------------------------------------------------------------------------------------------------------
 */

static enum status measure_point(const struct validation *v, const struct point *p, struct measurement *out,
                                 struct error *e) {
    char where[WHERE_BYTES];
    struct chip *c = NULL;
    enum status status = chip_load(v->chip, p->sets.items, p->sets.count, &c, e);
    if (status == OK) {
        status = measure(c, &v->workload, out, e);
    }
    chip_destroy(c);
    return status == OK ? OK : error_prefix(e, "%s", config_where(p->node, where, sizeof where));
}

static void answer(const struct validation *v, const struct measurement *m, struct point *p) {
    p->simulated = quantity_value(m, &(struct quantity_question){.quantity = (size_t)p->quantity,
                                                                 .boundary = v->boundary,
                                                                 .of = p->of,
                                                                 .operations_per_mac = v->operations_per_mac,
                                                                 .divide = p->divide});
    p->input_bits = m->input_bits;
    p->output_bits = m->output_bits;
}

enum status validation_run(struct validation *v, struct error *e) {
    for (size_t i = 0; i < v->count; i++) {
        v->points[i].simulated = (double)NAN;
    }
    for (size_t i = 0; i < v->count; i++) {
        struct measurement m;
        if (isfinite(v->points[i].simulated)) {
            continue;
        }
        TRY(measure_point(v, &v->points[i], &m, e));
        for (size_t k = i; k < v->count; k++) {
            if (v->points[i].settings == v->points[k].settings) {
                answer(v, &m, &v->points[k]);
            }
        }
    }
    return OK;
}

/* ---- results ------------------------------------------------------------------------------------------------------
 */

const char *validation_chip(const struct validation *v) { return v->chip; }
const char *validation_about(const struct validation *v) { return v->about; }
const char *validation_boundary(const struct validation *v) { return v->boundary_text; }

size_t validation_sources(const struct validation *v) {
    const struct config_node *sources = config_get(v->root, "sources");
    return sources ? config_count(sources) : 0;
}

struct validation_source validation_source_at(const struct validation *v, size_t i) {
    const struct config_node *sources = config_get(v->root, "sources");
    return (struct validation_source){config_key_at(sources, i), config_text(config_at(sources, i))};
}

size_t validation_points(const struct validation *v) { return v->count; }

struct validation_point validation_point_at(const struct validation *v, size_t i) {
    const struct point *p = &v->points[i];
    return (struct validation_point){.quantity = quantities[p->quantity].name,
                                     .component = p->component,
                                     .unit = p->unit,
                                     .published = p->published,
                                     .simulated = p->simulated,
                                     .error = p->simulated / p->published - 1,
                                     .role = (enum point_role)p->role,
                                     .source = p->source,
                                     .why = p->why,
                                     .sets = p->sets.items,
                                     .set_count = p->sets.count,
                                     .constants = p->constants.items,
                                     .constant_count = p->constants.count,
                                     .operations_per_mac = v->operations_per_mac,
                                     .input_bits = p->input_bits,
                                     .output_bits = p->output_bits,
                                     .boundary = p->component[0] ? p->component : v->boundary_names};
}

struct validation_count validation_count(const struct validation *v) {
    struct validation_count n = {.points = 0};
    for (size_t i = 0; i < v->count; i++) {
        struct validation_point p = validation_point_at(v, i);
        bool counts = p.role != ROLE_DERIVED;
        n.points += counts;
        n.predicted += p.role == ROLE_PREDICTED;
        n.fitted += p.role == ROLE_FITTED;
        n.derived += !counts;
        n.constants += p.constant_count;
        n.within += counts && fabs(p.error) <= VALIDATION_GOAL;
        n.worst = counts && !isnan(n.worst) && !(fabs(p.error) <= n.worst) ? fabs(p.error) : n.worst;
    }
    return n;
}
