/* mho device: what a cell technology does.
 *   list         the cells, with range, source and status
 *   stats CELL   mean and spread after programming, of the drift exponent, and as read at given times
 *   fit DATA     lab data become a part (device_fit.c)
 *   pictures     the pictures of docs/physics.md (pictures.c)
 */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/params.h"
#include "devices/device.h"
#include "tools/command.h"
#include "tools/device.h"
#include "tools/moments.h"
#include "tools/pictures.h"

/* ---- opening a cell ------------------------------------------------------------------------------------- */

/* The file of a part: a path, or a name of configs/parts. */
static enum status part_path(const char *name, struct arena *a, char **path, struct error *e) {
    const char *data = data_directory() ? data_directory() : ".";
    *path = config_is_path(name) ? arena_strdup(a, name) : arena_printf(a, "%s/configs/parts/%s.yaml", data, name);
    if (!*path) {
        return error_set(e, ERR_RUN, "%s: out of memory", name);
    }
    if (!config_is_path(name) && !file_exists(*path)) {
        return cell_model_find(name, e) ? error_set(e, ERR_RUN, "%s: has no part in configs/parts", name) : ERR_USAGE;
    }
    return OK;
}

enum status device_part(const char *name, struct arena *a, struct config_node **out, struct error *e) {
    char *path;
    TRY(part_path(name, a, &path, e));
    return config_load(a, path, out, e);
}

/* A misspelt key must not pass as one that was left out. */
static enum status check_keys(const struct config_node *map, const struct cell *cell, struct arena *a,
                              struct error *e) {
    static const char *const skip[] = {"model", "name", "sources", NULL};
    const struct param_table *tables[1 + CELL_GROUPS_MOST] = {&cell_model_of(cell)->params};
    const char *prefixes[1 + CELL_GROUPS_MOST] = {""};
    size_t count = 1;
    for (size_t g = 0; cell_groups[g]; g++) {
        if (cell_group_params(cell, g)) {
            tables[count] = &cell_groups[g]->params;
            prefixes[count] = arena_printf(a, "%s.", cell_groups[g]->name);
            if (!prefixes[count++]) {
                return error_set(e, ERR_RUN, "cell: out of memory");
            }
        }
    }
    return params_check_unused(tables, prefixes, count, map, skip, e);
}

static enum status open_cell(const char *name, const struct text_list *sets, struct arena *a, const struct cell **out,
                             struct error *e) {
    struct config_node *map = NULL;
    TRY(device_part(name, a, &map, e));
    for (size_t i = 0; sets && i < sets->count; i++) {
        TRY(params_override(a, map, sets->items[i], (int)i + 1, e));
    }
    TRY(cell_create(map, "", a, out, e));
    return check_keys(map, *out, a, e);
}

/* ---- list -------------------------------------------------------------------------------------------- */

static void add_group(void *context, const char *group, bool present) {
    if (present) {
        json_array_append_new(context, json_string(group));
    }
}

static json_t *groups_json(const struct cell *cell) {
    json_t *groups = json_array();
    cell_visit_groups(cell, add_group, groups);
    return groups;
}

/* In microsiemens as the part says it: 25 where 25e-6 x 1e6 is 24.999999999999996. */
static double as_written(double value, double factor) {
    char text[32];
    double number;
    return format_scaled(value, factor, text) && parse_double(text, &number) ? number : value / factor;
}

/* Of a cell of the charge domain the range is one of capacitances. */
static void range_json(json_t *row, const struct cell_common *k) {
    double low_F = k->g_max_F * (k->g_min_S / k->g_max_S);
    json_put(row, "g_min_uS", k->charge ? json_null() : json_number(as_written(k->g_min_S, 1e-6)));
    json_put(row, "g_max_uS", k->charge ? json_null() : json_number(as_written(k->g_max_S, 1e-6)));
    json_put(row, "c_min_fF", k->charge ? json_number(as_written(low_F, 1e-15)) : json_null());
    json_put(row, "c_max_fF", k->charge ? json_number(as_written(k->g_max_F, 1e-15)) : json_null());
}

static json_t *cell_json(const struct cell *cell) {
    const struct cell_model *m = cell_model_of(cell);
    struct cell_common k = cell_common_of(cell);
    json_t *row = json_object();
    json_put(row, "name", json_string(m->name));
    json_put(row, "about", json_string(m->about));
    range_json(row, &k);
    json_put(row, "charge_domain", json_boolean(k.charge));
    json_put(row, "levels", k.levels ? json_integer(k.levels) : json_null());
    json_put(row, "t0_s", json_number(k.t0_s));
    json_put(row, "min_age_s", json_number(k.min_age_s));
    json_put(row, "max_age_s", json_number(k.max_age_s));
    json_put(row, "drifts", json_boolean(m->drift != NULL));
    json_put(row, "read_noise", json_boolean(m->read_sd != NULL));
    json_put(row, "groups", groups_json(cell));
    json_put(row, "source", json_string(m->source));
    json_put(row, "status", json_string(m->status));
    return row;
}

static void print_group(void *context, const char *group, bool present) {
    bool *any = context;
    if (present) {
        printf("%s%s", *any ? ", " : "", group);
        *any = true;
    }
}

static void print_cell(const struct cell *cell) {
    const struct cell_model *m = cell_model_of(cell);
    struct cell_common k = cell_common_of(cell);
    printf("%s: %s\n  range ", m->name, m->about);
    if (k.charge) {
        printf("%.4g to %.4g fF (capacitance), ", k.g_max_F * (k.g_min_S / k.g_max_S) * 1e15, k.g_max_F * 1e15);
    } else {
        printf("%.4g to %.4g uS, ", k.g_min_S * 1e6, k.g_max_S * 1e6);
    }
    if (k.levels) {
        printf("%d levels, ", k.levels);
    }
    printf("ages %.4g to %.4g s%s%s\n  optional groups: ", k.min_age_s, k.max_age_s,
           m->drift ? ", drifts" : ", no drift", m->read_sd ? ", read noise" : ", no read noise");
    bool any = false;
    cell_visit_groups(cell, print_group, &any);
    printf("%s\n  source: %s\n  status: %s\n", any ? "" : "none", m->source, m->status);
}

static enum status list_rows(struct arena *a, json_t *rows, struct error *e) {
    for (size_t i = 0; cell_models[i]; i++) {
        const struct cell *cell;
        TRY(open_cell(cell_models[i]->name, NULL, a, &cell, e));
        if (rows) {
            json_array_append_new(rows, cell_json(cell));
        } else {
            print_cell(cell);
        }
    }
    return OK;
}

static enum status list_cells(const struct options *o, struct error *e) {
    static const char *const takes[] = {NULL};
    TRY(options_only(o, takes, "device list", e));
    TRY(check_words(o, 1, e));
    struct arena *a = arena_create();
    if (!a) {
        return error_set(e, ERR_RUN, "device list: out of memory");
    }
    json_t *rows = o->json ? json_array() : NULL;
    enum status s = list_rows(a, rows, e);
    arena_destroy(a);
    if (s != OK || !rows) {
        json_decref(rows);
        return s == OK ? finish_output(e) : s;
    }
    json_t *root = json_envelope("device list", o, NULL);
    json_put(root, "cells", rows);
    return json_finish(root, e);
}

/* ---- stats ------------------------------------------------------------------------------------------- */

enum { CHUNK = 4096 };

static void add_all(struct moments *m, const float *x, size_t n, double scale) {
    for (size_t i = 0; i < n; i++) {
        moments_add(m, (double)x[i] * scale);
    }
}

struct point {
    double g_target_S, time_s;
    struct moments read, programmed, exponent;
};

static enum status sample_point(const struct cell *cell, const struct cell_conditions *all, uint64_t seed,
                                uint64_t where, uint64_t samples, struct point *p, struct error *e) {
    const struct cell_model *m = cell_model_of(cell);
    float target[CHUNK], value[CHUNK];
    for (size_t i = 0; i < CHUNK; i++) {
        target[i] = (float)p->g_target_S;
    }
    for (uint64_t first = 0; first < samples; first += CHUNK) {
        TRY(check_interrupted(e));
        size_t n = samples - first < CHUNK ? (size_t)(samples - first) : CHUNK;
        struct cell_draws d = {.seed = seed, .where = where, .first = first};
        cell_program(cell, all, &d, target, value, NULL, n);
        add_all(&p->programmed, value, n, 1e6);
        if (m->drift_exponent) {
            m->drift_exponent(cell_params(cell), &d, target, value, n);
            add_all(&p->exponent, value, n, 1);
        }
        cell_realise(cell, all, &d, target, p->time_s, value, n);
        add_all(&p->read, value, n, 1e6);
    }
    return OK;
}

static json_t *point_json(const struct point *p, bool has_exponent) {
    json_t *row = json_object();
    json_put(row, "g_target_uS", json_number(p->g_target_S * 1e6));
    json_put(row, "time_s", json_number(p->time_s));
    json_put(row, "g_mean_uS", json_number(p->read.mean));
    json_put(row, "g_sd_uS", json_number(moments_sd(&p->read)));
    json_put(row, "g_programmed_mean_uS", json_number(p->programmed.mean));
    json_put(row, "g_programmed_sd_uS", json_number(moments_sd(&p->programmed)));
    json_put(row, "drift_exponent_mean", has_exponent ? json_number(p->exponent.mean) : json_null());
    json_put(row, "drift_exponent_sd", has_exponent ? json_number(moments_sd(&p->exponent)) : json_null());
    json_put(row, "samples", json_integer((json_int_t)p->read.n));
    return row;
}

static void print_point(const struct point *p, bool has_exponent) {
    printf("%9.4f %12.6g %10.5f %9.5f %10.5f %9.5f", p->g_target_S * 1e6, p->time_s, p->read.mean, moments_sd(&p->read),
           p->programmed.mean, moments_sd(&p->programmed));
    if (has_exponent) {
        printf(" %9.5f %9.5f\n", p->exponent.mean, moments_sd(&p->exponent));
    } else {
        printf(" %9s %9s\n", "-", "-");
    }
}

struct grid {
    const struct cell *cell;
    struct cell_conditions conditions; /* all of a device's life */
    double *g, *times;
    size_t g_count, time_count;
};

static enum status check_grid(const struct grid *r, struct error *e) {
    struct cell_common k = cell_common_of(r->cell);
    double low = k.pair_statistics ? -1 : 0;
    for (size_t i = 0; i < r->g_count; i++) {
        if (!(r->g[i] >= low && r->g[i] <= 1)) {
            return error_set(e, ERR_USAGE, "--g %g: a fraction of g_max (allowed: %g to 1)", r->g[i], low);
        }
    }
    for (size_t i = 0; i < r->time_count; i++) {
        double age_s = cell_drift_age(r->cell, &r->conditions, r->times[i]);
        if (!(r->times[i] >= k.min_age_s && r->times[i] <= k.max_age_s && age_s <= k.max_age_s)) {
            return error_set(
                e, ERR_USAGE, "--time %g s: outside what the model of this cell covers (allowed: %g to %g s%s)",
                r->times[i], k.min_age_s, k.max_age_s, age_s > r->times[i] ? ", at the reference temperature" : "");
        }
    }
    return OK;
}

/* Samples every point; prints it, or adds it to `rows`. */
static enum status sample_points(const struct options *o, const struct grid *r, json_t *rows, struct error *e) {
    bool has_exponent = cell_model_of(r->cell)->drift_exponent != NULL;
    struct cell_common k = cell_common_of(r->cell);
    for (size_t i = 0; i < r->g_count; i++) {
        for (size_t t = 0; t < r->time_count; t++) {
            struct point p = {.g_target_S = r->g[i] * k.g_max_S, .time_s = r->times[t]};
            p.g_target_S = !k.pair_statistics && p.g_target_S < k.g_min_S ? k.g_min_S : p.g_target_S;
            TRY(sample_point(r->cell, &r->conditions, o->seed, i, (uint64_t)o->samples, &p, e));
            if (rows) {
                json_array_append_new(rows, point_json(&p, has_exponent));
            } else {
                print_point(&p, has_exponent);
            }
        }
    }
    return OK;
}

static enum status stats_json(const struct options *o, const struct grid *r, struct arena *a, json_t *rows,
                              struct error *e) {
    struct config_node *part = config_new_map(a, "", 0);
    enum status s = part ? cell_dump(r->cell, a, part, e) : error_set(e, ERR_RUN, "device stats: out of memory");
    if (s != OK) {
        json_decref(rows);
        return s;
    }
    json_t *root = json_envelope("device stats", o, NULL);
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)config_hash(part));
    json_put(root, "config_hash", json_string(hash));
    json_put(root, "config", config_json(part));
    json_put(root, "cell", json_string(cell_model_of(r->cell)->name));
    json_put(root, "status", json_string(cell_model_of(r->cell)->status));
    json_put(root, "groups", groups_json(r->cell));
    json_put(root, "temperature_K", json_number(r->conditions.temperature_K));
    json_put(root, "reads", json_number(r->conditions.reads));
    json_put(root, "rows", rows);
    return json_finish(root, e);
}

static enum status sample_grid(const struct options *o, const struct grid *r, struct arena *a, struct error *e) {
    if (!o->json) {
        printf("%9s %12s %10s %9s %10s %9s %9s %9s\n", "target uS", "time s", "read uS", "sd", "progr. uS", "sd",
               "drift nu", "sd");
        TRY(sample_points(o, r, NULL, e));
        return finish_output(e);
    }
    json_t *rows = json_array();
    enum status s = sample_points(o, r, rows, e);
    if (s != OK) {
        json_decref(rows);
        return s;
    }
    return stats_json(o, r, a, rows, e);
}

/* What a part does not model must not be asked of it in silence. */
static enum status check_conditions(const struct options *o, const struct cell *cell, struct error *e) {
    const char *name = cell_model_of(cell)->name;
    double low_K, high_K;
    cell_temperature_range(cell, &low_K, &high_K);
    bool other = o->kelvin < low_K || o->kelvin > high_K;
    if (other && cell_has_group(cell, "temperature")) {
        return error_set(e, ERR_USAGE, "--kelvin %g: the numbers of cell %s hold from %g to %g K (allowed: %g to %g)",
                         o->kelvin, name, low_K, high_K, low_K, high_K);
    }
    if (other) {
        return error_set(
            e, ERR_USAGE,
            "--kelvin %g: cell %s does not say what temperature does (allowed: 300, or a part with the group "
            "temperature)",
            o->kelvin, name);
    }
    if (o->reads > 0 && !cell_has_group(cell, "disturb")) {
        return error_set(
            e, ERR_USAGE,
            "--reads %g: cell %s does not say what reads do (allowed: 0, or a part with the group disturb)", o->reads,
            name);
    }
    return OK;
}

static enum status open_grid(const struct options *o, struct arena *a, struct grid *r, struct error *e) {
    TRY(open_cell(o->words.items[1], &o->sets, a, &r->cell, e));
    TRY(check_conditions(o, r->cell, e));
    r->conditions = (struct cell_conditions){.programming_noise = true,
                                             .drift = true,
                                             .read_noise = true,
                                             .temperature = true,
                                             .temperature_K = o->kelvin,
                                             .reads = o->reads};
    TRY(parse_number_list(o->g ? o->g : "0,0.25,0.5,0.75,1", "--g", false, &r->g, &r->g_count, e));
    TRY(parse_number_list(o->time ? o->time : "0", "--time", true, &r->times, &r->time_count, e));
    return check_grid(r, e);
}

static enum status stats(const struct options *o, struct error *e) {
    static const char *const takes[] = {"g", "time", "samples", "set", "kelvin", "reads", NULL};
    TRY(options_only(o, takes, "device stats", e));
    TRY(check_words(o, 2, e));
    if (o->words.count < 2) {
        return error_set(e, ERR_USAGE, "device stats: of which cell? (mho device list shows them)");
    }
    struct arena *a = arena_create();
    struct grid r = {.cell = NULL};
    enum status s = a ? open_grid(o, a, &r, e) : error_set(e, ERR_RUN, "device stats: out of memory");
    if (s == OK) {
        s = sample_grid(o, &r, a, e);
    }
    mem_free(r.g);
    mem_free(r.times);
    arena_destroy(a);
    return s;
}

static enum status device_command(const struct options *o, struct error *e) {
    static const char *const kinds[] = {"list", "stats", "fit", "pictures"};
    const char *word = o->words.count ? o->words.items[0] : "";
    if (strcmp(word, kinds[0]) == 0) {
        return list_cells(o, e);
    }
    if (strcmp(word, kinds[1]) == 0) {
        return stats(o, e);
    }
    if (strcmp(word, kinds[2]) == 0) {
        return device_fit(o, e);
    }
    if (strcmp(word, kinds[3]) == 0) {
        return device_pictures(o, e);
    }
    return unknown_kind(o, "device", command_device.words, kinds, 4, e);
}

static const char *const names[] = {"g",   "time", "samples", "set",     "kelvin",    "reads",
                                    "out", "plot", "curve",   "without", "read-time", "t0", NULL};

const struct command command_device = {
    "device",
    "list | stats CELL | fit DATA.csv --out PART.yaml | pictures --out FOLDER",
    "what a memory cell does: programming noise, drift, read noise; a cell from lab data",
    names,
    device_command,
    "list    the cells, with range, times, optional groups, source and status\n"
    "stats   sampled mean and spread; CELL is a name of the list, a part of configs/parts or a part file\n"
    "fit     lab data become a part; CSV with a header line, either one row per read:\n"
    "          target_uS,time_s,g_uS[,device]\n"
    "        or one row per target and time:\n"
    "          target_uS,mean_uS,sd_uS,time_s[,samples]\n"
    "        time_s counts from the end of programming; device is a whole number\n"
    "pictures  those of docs/physics.md, drawn anew\n\n"
    "examples:\n  mho device stats pcm_like --g 0,0.25,0.5,1 --time 0,1h,1d,1month --json\n"
    "  mho device fit lab.csv --out mine.yaml --plot fit.svg\n"
    "  mho run --set tile.cell=mine.yaml",
};
