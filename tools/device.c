/* mho device: what a cell technology does.
 *   list         the cells, with range, source and status
 *   stats CELL   mean and spread after programming, of the drift exponent, and as read at given times
 *   fit DATA     lab data become a part (device_fit.c)
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

/* ---- list -------------------------------------------------------------------------------------------- */

static enum status open_cell(const char *name, struct arena *a, const struct cell **out, struct error *e) {
    const struct cell_model *model = cell_model_find(name, e);
    if (!model) {
        return ERR_USAGE;
    }
    char *path = arena_printf(a, "%s/configs/parts/%s.yaml", data_directory() ? data_directory() : ".", model->name);
    struct config_node *map = NULL;
    if (!path) {
        return error_set(e, ERR_RUN, "%s: out of memory", name);
    }
    TRY(config_load(a, path, &map, e));
    return cell_create(map, "", a, out, e);
}

static json_t *cell_json(const struct cell_model *m, const struct cell_common *k) {
    json_t *row = json_object();
    json_put(row, "name", json_string(m->name));
    json_put(row, "about", json_string(m->about));
    json_put(row, "g_min_uS", json_number(k->g_min_S * 1e6));
    json_put(row, "g_max_uS", json_number(k->g_max_S * 1e6));
    json_put(row, "min_age_s", json_number(k->min_age_s));
    json_put(row, "max_age_s", json_number(k->max_age_s));
    json_put(row, "drifts", json_boolean(m->drift != NULL));
    json_put(row, "read_noise", json_boolean(m->read_sd != NULL));
    json_put(row, "source", json_string(m->source));
    json_put(row, "status", json_string(m->status));
    return row;
}

static void print_cell(const struct cell_model *m, const struct cell_common *k) {
    printf("%s: %s\n  range %.4g to %.4g uS, ages %.4g to %.4g s%s%s\n  source: %s\n  status: %s\n", m->name, m->about,
           k->g_min_S * 1e6, k->g_max_S * 1e6, k->min_age_s, k->max_age_s, m->drift ? ", drifts" : ", no drift",
           m->read_sd ? ", read noise" : ", no read noise", m->source, m->status);
}

static enum status list_cells(const struct options *o, struct error *e) {
    static const char *const takes[] = {NULL};
    TRY(options_only(o, takes, "device list", e));
    TRY(check_words(o, 1, e));
    struct arena *a = arena_create();
    if (!a) {
        return error_set(e, ERR_RUN, "device list: out of memory");
    }
    json_t *rows = json_array();
    enum status s = OK;
    for (size_t i = 0; s == OK && cell_models[i]; i++) {
        const struct cell *cell;
        s = open_cell(cell_models[i]->name, a, &cell, e);
        if (s == OK) {
            struct cell_common k = cell_common_of(cell);
            if (o->json) {
                json_array_append_new(rows, cell_json(cell_models[i], &k));
            } else {
                print_cell(cell_models[i], &k);
            }
        }
    }
    arena_destroy(a);
    if (s == OK && o->json) {
        json_t *root = json_envelope("device list", o, NULL);
        json_put(root, "cells", rows);
        return json_finish(root, e);
    }
    json_decref(rows);
    return s == OK ? finish_output(e) : s;
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

static enum status sample_point(const struct cell *cell, uint64_t seed, uint64_t where, uint64_t samples,
                                struct point *p, struct error *e) {
    static const struct cell_conditions all = {.programming_noise = true, .drift = true, .read_noise = true};
    const struct cell_model *m = cell_model_of(cell);
    float target[CHUNK], value[CHUNK];
    for (size_t i = 0; i < CHUNK; i++) {
        target[i] = (float)p->g_target_S;
    }
    for (uint64_t first = 0; first < samples; first += CHUNK) {
        TRY(check_interrupted(e));
        size_t n = samples - first < CHUNK ? (size_t)(samples - first) : CHUNK;
        struct cell_draws d = {.seed = seed, .where = where, .first = first};
        m->program(cell_params(cell), &d, target, value, n);
        add_all(&p->programmed, value, n, 1e6);
        if (m->drift_exponent) {
            m->drift_exponent(cell_params(cell), &d, target, value, n);
            add_all(&p->exponent, value, n, 1);
        }
        cell_realise(cell, &all, &d, target, p->time_s, value, n);
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
        if (!(r->times[i] >= k.min_age_s && r->times[i] <= k.max_age_s)) {
            return error_set(e, ERR_USAGE,
                             "--time %g s: outside what the model of this cell covers (allowed: %g to %g s)",
                             r->times[i], k.min_age_s, k.max_age_s);
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
            TRY(sample_point(r->cell, o->seed, i, (uint64_t)o->samples, &p, e));
            if (rows) {
                json_array_append_new(rows, point_json(&p, has_exponent));
            } else {
                print_point(&p, has_exponent);
            }
        }
    }
    return OK;
}

static enum status sample_grid(const struct options *o, const struct grid *r, struct error *e) {
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
    json_t *root = json_envelope("device stats", o, NULL);
    json_put(root, "cell", json_string(cell_model_of(r->cell)->name));
    json_put(root, "status", json_string(cell_model_of(r->cell)->status));
    json_put(root, "rows", rows);
    return json_finish(root, e);
}

static enum status stats(const struct options *o, struct error *e) {
    TRY(check_words(o, 2, e));
    if (o->words.count < 2) {
        return error_set(e, ERR_USAGE, "device stats: of which cell? (mho device list shows them)");
    }
    struct arena *a = arena_create();
    struct grid r = {NULL, NULL, NULL, 0, 0};
    enum status s =
        a ? open_cell(o->words.items[1], a, &r.cell, e) : error_set(e, ERR_RUN, "device stats: out of memory");
    if (s == OK) {
        s = parse_number_list(o->g ? o->g : "0,0.25,0.5,0.75,1", "--g", false, &r.g, &r.g_count, e);
    }
    if (s == OK) {
        s = parse_number_list(o->time ? o->time : "0", "--time", true, &r.times, &r.time_count, e);
    }
    if (s == OK) {
        s = check_grid(&r, e);
    }
    if (s == OK) {
        s = sample_grid(o, &r, e);
    }
    mem_free(r.g);
    mem_free(r.times);
    arena_destroy(a);
    return s;
}

static enum status device_command(const struct options *o, struct error *e) {
    static const char *const kinds[] = {"list", "stats", "fit"};
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
    const char *near = nearest_name(word, kinds, 3);
    return error_set(e, ERR_USAGE, "device %s: what to do? (allowed: list, stats CELL, fit DATA.csv%s%s%s)", word,
                     near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static const char *const names[] = {"g", "time", "samples", "set", "out", "plot", "curve", "without", "read-time", NULL};

const struct command command_device = {
    "device",
    "list | stats CELL | fit DATA.csv --out PART.yaml",
    "what a memory cell does: programming noise, drift, read noise; a cell from lab data",
    names,
    device_command,
    "example:\n  mho device stats pcm_like --g 0,0.25,0.5,1 --time 0,1h,1d,1month --json",
};
