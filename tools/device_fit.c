/* mho device fit: lab data become a part of model `measured`. The estimators are devices/lab.h; here: what is asked
 * for, the part file, the printed fit, the plot.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/svg.h"
#include "devices/lab.h"
#include "tools/command.h"
#include "tools/device.h"

/* ---- what is asked for ------------------------------------------------------------------------------------- */

static enum status take_without(const char *list, struct lab_options *out, struct error *e) {
    for (const char *word = list; *word;) {
        size_t n = strcspn(word, ",");
        if (n == 5 && strncmp(word, "drift", n) == 0) {
            out->drift = false;
        } else if (n == 10 && strncmp(word, "read_noise", n) == 0) {
            out->read_noise = false;
        } else {
            return error_set(e, ERR_USAGE, "--without %s: not something to leave out (allowed: drift, read_noise)",
                             list);
        }
        word += n + (word[n] == ',');
    }
    return OK;
}

static enum status take_options(const struct options *o, struct lab_options *out, struct error *e) {
    static const char *const takes[] = {"out", "plot", "curve", "without", "read-time", "t0", NULL};
    static const char *const curves[] = {"polynomial", "spline", NULL};
    TRY(options_only(o, takes, "device fit", e));
    TRY(check_words(o, 2, e));
    if (o->words.count < 2 || !o->out) {
        return error_set(e, ERR_USAGE, "device fit: needs %s (mho device fit data.csv --out part.yaml)",
                         o->words.count < 2 ? "the data" : "--out, the part file to write");
    }
    TRY(keep_apart("out", o->out, o->words.items[1], e));
    TRY(keep_apart("plot", o->plot, o->words.items[1], e));
    TRY(keep_apart("plot", o->plot, o->out, e));
    *out = (struct lab_options){.drift = true, .read_noise = true, .t_read_s = o->read_time_s, .t0_s = o->t0_s};
    while (o->curve && strcmp(curves[out->curve], o->curve) != 0) {
        if (!curves[++out->curve]) {
            return error_set(e, ERR_USAGE, "--curve %s: unknown (allowed: polynomial, spline)", o->curve);
        }
    }
    return o->without ? take_without(o->without, out, e) : OK;
}

/* ---- the part file ----------------------------------------------------------------------------------------- */

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum status make_part(const struct lab_data *d, const struct lab_result *r, struct arena *a,
                             struct config_node **part, struct error *e) {
    char *source = arena_printf(a, "mho device fit of %s (FNV-1a %016llx): %zu targets, %zu rows", file_name(d->path),
                                (unsigned long long)d->hash, r->count, d->count);
    if (!source) {
        return error_set(e, ERR_RUN, "device fit: out of memory");
    }
    TRY(lab_part(r, source, a, part, e));
    const struct cell *cell; /* what cannot be read must not be written */
    if (cell_create(*part, "", a, &cell, e) != OK) {
        return error_prefix(e, "%s: the fit is no cell", d->path);
    }
    return OK;
}

static enum status write_part(const struct config_node *part, const char *path, struct error *e) {
    char *text = config_dump(part);
    struct output *out = NULL;
    enum status s = text ? output_create(path, &out, e) : error_set(e, ERR_RUN, "%s: out of memory", path);
    if (s == OK) {
        fputs(text, output_stream(out));
        s = output_commit(out, e);
    }
    mem_free(text);
    return s;
}

/* ---- the plot ------------------------------------------------------------------------------------------------ */

enum { CURVE_POINTS = 121, SHOWN_TARGETS = 4 };

static double *column(const struct lab_result *r, struct arena *a, size_t offset, double factor) {
    double *out = arena_alloc(a, r->count, sizeof *out);
    for (size_t i = 0; out && i < r->count; i++) {
        out[i] = factor * *(const double *)(const void *)((const char *)&r->targets[i] + offset);
    }
    return out;
}

#define COLUMN(member, factor) column(r, a, offsetof(struct lab_target, member), factor)

/* Programmed mean and sd over the target: data with bars of one sd, curve, band of one sd. */
static enum status plot_programming(const struct lab_result *r, struct arena *a, struct svg_chart *c, struct error *e) {
    double *block = arena_alloc(a, 5 * CURVE_POINTS, sizeof *block), *x = COLUMN(target_S, 1e6);
    double *mean = COLUMN(mean_S.value, 1e6), *sd = COLUMN(sd_S.value, 1e6);
    if (!block || !x || !mean || !sd) {
        return error_set(e, ERR_RUN, "--plot: out of memory");
    }
    double *at_S = block, *middle = block + CURVE_POINTS, *spread = block + 2 * CURVE_POINTS;
    double *low = block + 3 * CURVE_POINTS, *high = block + 4 * CURVE_POINTS;
    for (size_t i = 0; i < CURVE_POINTS; i++) {
        double share = (double)i / (CURVE_POINTS - 1);
        at_S[i] = (1 - share) * r->mean.low_S + share * r->mean.scale_S;
    }
    TRY(lab_curve_values(&r->mean, at_S, CURVE_POINTS, middle, e));
    TRY(lab_curve_values(&r->sd, at_S, CURVE_POINTS, spread, e));
    for (size_t i = 0; i < CURVE_POINTS; i++) {
        at_S[i] *= 1e6;
        middle[i] *= 1e6;
        low[i] = middle[i] - 1e6 * spread[i];
        high[i] = middle[i] + 1e6 * spread[i];
    }
    *c = (struct svg_chart){.title = "Programming: mean and standard deviation",
                            .x = {.label = "target (uS)"},
                            .y = {.label = "programmed (uS)"}};
    svg_add(c, (struct svg_series){
                   .kind = SVG_BAND, .label = "fit, one sd", .x = at_S, .y = low, .high = high, .n = CURVE_POINTS});
    svg_add(c, (struct svg_series){.kind = SVG_LINE, .label = "fit, mean", .x = at_S, .y = middle, .n = CURVE_POINTS});
    svg_add(c, (struct svg_series){.kind = SVG_POINTS,
                                   .label = "data, bars of one sd",
                                   .x = x,
                                   .y = mean,
                                   .error = sd,
                                   .n = r->count,
                                   .colour = 1});
    return OK;
}

/* Mean over time of one target: data, and the model through its first point. */
static enum status plot_target(const struct lab_result *r, const struct lab_target *t, int colour, struct arena *a,
                               struct svg_chart *c, struct error *e) {
    size_t n = t->point_count;
    double *block = arena_alloc(a, 2 * n + 2 * CURVE_POINTS, sizeof *block);
    char *label = arena_printf(a, "%.4g uS", t->target_S * 1e6);
    if (!block || !label) {
        return error_set(e, ERR_RUN, "--plot: out of memory");
    }
    double *x = block, *y = block + n, *time = block + 2 * n, *model = time + CURVE_POINTS;
    for (size_t k = 0; k < n; k++) {
        x[k] = t->points[k].time_s;
        y[k] = t->points[k].mean_S * 1e6;
    }
    double first = log1p(x[0] / r->t0_s), last = log1p(x[n - 1] / r->t0_s);
    for (size_t k = 0; k < CURVE_POINTS; k++) {
        double now = first + (last - first) * (double)k / (CURVE_POINTS - 1);
        time[k] = r->t0_s * expm1(now);
        model[k] = y[0] * exp(-t->nu.value * (now - first) +
                              t->nu_sd.value * t->nu_sd.value * (now * now - first * first) / 2);
    }
    svg_add(c, (struct svg_series){.kind = SVG_LINE, .x = time, .y = model, .n = CURVE_POINTS, .colour = colour});
    svg_add(c, (struct svg_series){.kind = SVG_POINTS, .label = label, .x = x, .y = y, .n = n, .colour = colour});
    return OK;
}

static enum status plot_drift(const struct lab_result *r, struct arena *a, struct svg_chart *c, struct error *e) {
    *c = (struct svg_chart){.title = "Drift: mean of the data (points) and of the fit (lines)",
                            .x = {.label = "time after programming (s)", .logarithmic = true},
                            .y = {.label = "mean (uS)", .logarithmic = true}};
    size_t shown = r->count < SHOWN_TARGETS ? r->count : SHOWN_TARGETS;
    for (size_t i = 0; i < shown; i++) {
        TRY(plot_target(r, &r->targets[(i + 1) * r->count / shown - 1], (int)i, a, c, e));
    }
    return OK;
}

static enum status plot_exponents(const struct lab_result *r, struct arena *a, struct svg_chart *c, struct error *e) {
    double *x = COLUMN(target_S, 1e6), *nu = COLUMN(nu.value, 1), *nu_error = COLUMN(nu.error, 1);
    double *sd = COLUMN(nu_sd.value, 1), *sd_error = COLUMN(nu_sd.error, 1), *q = COLUMN(q.value, 1),
           *q_error = COLUMN(q.error, 1);
    if (!x || !nu || !nu_error || !sd || !sd_error || !q || !q_error) {
        return error_set(e, ERR_RUN, "--plot: out of memory");
    }
    *c = (struct svg_chart){.title = "Drift exponent and read noise, bars of one standard error",
                            .x = {.label = "target (uS)"},
                            .y = {.label = "exponent, Q (1)"}};
    const struct svg_series rows[] = {
        {.kind = SVG_POINTS, .label = "mean exponent", .x = x, .y = nu, .error = nu_error, .colour = 0},
        {.kind = SVG_POINTS, .label = "its sd over devices", .x = x, .y = sd, .error = sd_error, .colour = 1},
        {.kind = SVG_POINTS, .label = "read noise Q", .x = x, .y = q, .error = q_error, .colour = 2},
    };
    for (size_t i = 0; i < 3; i++) {
        struct svg_series s = rows[i];
        s.n = r->count;
        if (i < 2 ? r->drift : r->read_noise) {
            svg_add(c, s);
        }
    }
    return OK;
}

static enum status write_plot(const struct lab_result *r, const char *path, struct arena *a, struct error *e) {
    struct svg_chart charts[3];
    size_t n = 1;
    TRY(plot_programming(r, a, &charts[0], e));
    if (r->drift) {
        TRY(plot_drift(r, a, &charts[n++], e));
    }
    if (r->drift || r->read_noise) {
        TRY(plot_exponents(r, a, &charts[n++], e));
    }
    struct output *out = NULL;
    TRY(output_create(path, &out, e));
    enum status s = svg_write(charts, n, output_stream(out), e);
    if (s != OK) {
        output_abort(out);
        return s;
    }
    return output_commit(out, e);
}

/* ---- the fit in words and JSON -------------------------------------------------------------------------------- */

static void print_value(struct lab_value v, double factor, bool there) {
    if (!there) {
        printf("  %19s", "-");
    } else if (isfinite(v.error)) {
        printf("  %9.5g +- %-6.2g", v.value * factor, v.error * factor);
    } else {
        printf("  %9.5g %9s", v.value * factor, "");
    }
}

static void print_quality(const char *what, const struct lab_quality *q, double factor, const char *unit) {
    printf("%-28s residuals: largest %.3g%s, rms %.3g%s", what, q->largest * factor, unit, q->rms * factor, unit);
    if (isfinite(q->chi2_per_dof)) {
        printf(", chi2 / dof %.3g (dof %zu)", q->chi2_per_dof, q->dof);
    }
    printf("\n");
}

static void print_curve(const char *what, const struct lab_curve *c) {
    print_quality(what, &c->quality, 1e6, " uS");
    printf("  %s:", c->kind == LAB_POLYNOMIAL ? "polynomial in target / largest target, uS" : "cubic B-splines, uS");
    for (size_t k = 0; k < c->terms; k++) {
        printf(" %.5g", c->value[k] * 1e6);
        if (isfinite(c->error[k])) {
            printf(" +- %.2g", c->error[k] * 1e6);
        }
        printf("%s", k + 1 < c->terms ? "," : "\n");
    }
}

static void print_fit(const struct lab_data *d, const struct lab_result *r, const char *out) {
    printf("%s: %zu rows, %zu targets, %g to %g s after programming%s\n\n", d->path, d->count, r->count, r->first_s,
           r->longest_s, d->has_devices ? ", devices told apart" : "");
    printf("%9s  %19s  %19s  %19s  %19s  %19s\n", "target uS", "mean uS", "sd uS", "drift exponent", "its sd",
           "read noise Q");
    for (size_t i = 0; i < r->count; i++) {
        const struct lab_target *t = &r->targets[i];
        printf("%9.4g", t->target_S * 1e6);
        print_value(t->mean_S, 1e6, true);
        print_value(t->sd_S, 1e6, true);
        print_value(t->nu, 1, r->drift);
        print_value(t->nu_sd, 1, r->drift);
        print_value(t->q, 1, r->read_noise);
        printf("\n");
        if (t->left_out > 0) {
            printf("%9s  %g of %g devices left out of drift and read noise: a read of 0, or too few\n", "", t->left_out,
                   t->left_out + t->devices);
        }
    }
    printf("\n");
    print_curve("programmed mean", &r->mean);
    print_curve("programmed sd", &r->sd);
    if (r->drift) {
        print_quality("mean over time (relative)", &r->regression, 100, " %");
    }
    if (r->drift || r->read_noise) {
        printf("age 0 is t0 = %.5g s after the write (%s", r->t0_s, r->t0_fitted ? "fitted, +- " : "given)\n");
        if (r->t0_fitted) {
            printf("%.2g s)\n", r->t0_error_s);
        }
    }
    printf(
        "residuals: what the fit leaves of means and sds; chi2 / dof is about 1 where that is scatter alone, below 1\n"
        "where the same devices were read again, far above 1 where the model is not that of the data\n");
    printf("\n%s written: a cell of model measured (mho device stats %s)\n", out, out);
}

static json_t *value_json(struct lab_value v, double factor, bool there) {
    return there ? json_pack("{s:o, s:o}", "value", json_number(v.value * factor), "standard_error",
                             json_number(v.error * factor))
                 : json_null();
}

static json_t *quality_json(const struct lab_quality *q, double factor) {
    return json_pack("{s:o, s:o, s:o, s:I}", "max", json_number(q->largest * factor), "rms",
                     json_number(q->rms * factor), "chi2_per_dof", json_number(q->chi2_per_dof), "dof",
                     (json_int_t)q->dof);
}

static json_t *curve_json(const struct lab_curve *c) {
    json_t *root = json_object(), *values = json_array();
    json_put(root, "kind", json_string(c->kind == LAB_POLYNOMIAL ? "polynomial" : "spline"));
    for (size_t k = 0; k < c->terms; k++) {
        json_array_append_new(values, value_json((struct lab_value){c->value[k], c->error[k]}, 1e6, true));
    }
    json_put(root, "coefficients_uS", values);
    json_put(root, "residuals_uS", quality_json(&c->quality, 1e6));
    return root;
}

static json_t *target_json(const struct lab_result *r, const struct lab_target *t) {
    json_t *row = json_object();
    json_put(row, "target_uS", json_number(t->target_S * 1e6));
    json_put(row, "mean_uS", value_json(t->mean_S, 1e6, true));
    json_put(row, "sd_uS", value_json(t->sd_S, 1e6, true));
    json_put(row, "mean_fit_uS", json_number(t->mean_fit_S * 1e6));
    json_put(row, "sd_fit_uS", json_number(t->sd_fit_S * 1e6));
    json_put(row, "drift_exponent_mean", value_json(t->nu, 1, r->drift));
    json_put(row, "drift_exponent_sd", value_json(t->nu_sd, 1, r->drift));
    json_put(row, "read_noise_q", value_json(t->q, 1, r->read_noise));
    json_put(row, "devices", t->devices > 0 ? json_number(t->devices) : json_null());
    json_put(row, "left_out", t->devices > 0 ? json_number(t->left_out) : json_null());
    return row;
}

static enum status fit_json(const struct options *o, const struct lab_data *d, const struct lab_result *r,
                            struct error *e) {
    json_t *root = json_envelope("device fit", o, NULL), *rows = json_array();
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)d->hash);
    json_put(root, "data",
             json_pack("{s:s, s:s, s:I}", "file", file_name(d->path), "fnv1a", hash, "rows", (json_int_t)d->count));
    json_put(root, "part", json_string(o->out));
    json_put(root, "t0_s", json_number(r->t0_s));
    json_put(root, "t0_error_s", r->t0_fitted ? json_number(r->t0_error_s) : json_null());
    json_put(root, "t_read_s", r->read_noise ? json_number(r->t_read_s) : json_null());
    for (size_t i = 0; i < r->count; i++) {
        json_array_append_new(rows, target_json(r, &r->targets[i]));
    }
    json_put(root, "targets", rows);
    json_put(root, "programmed_mean", curve_json(&r->mean));
    json_put(root, "programmed_sd", curve_json(&r->sd));
    json_put(root, "mean_over_time_relative", r->drift ? quality_json(&r->regression, 1) : json_null());
    return json_finish(root, e);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static enum status fit_data(const struct options *o, const struct lab_options *how, const struct lab_data *d,
                            struct arena *a, struct error *e) {
    struct lab_result r;
    struct config_node *part;
    TRY(lab_fit(d, how, a, &r, e));
    TRY(make_part(d, &r, a, &part, e));
    if (o->plot) {
        TRY(write_plot(&r, o->plot, a, e));
    }
    TRY(write_part(part, o->out, e));
    if (o->json) {
        return fit_json(o, d, &r, e);
    }
    print_fit(d, &r, o->out);
    return finish_output(e);
}

enum status device_fit(const struct options *o, struct error *e) {
    struct lab_options how;
    struct lab_data d;
    TRY(take_options(o, &how, e));
    TRY(lab_data_read(o->words.items[1], &d, e));
    struct arena *a = arena_create();
    enum status s = a ? fit_data(o, &how, &d, a, e) : error_set(e, ERR_RUN, "device fit: out of memory");
    arena_destroy(a);
    lab_data_free(&d);
    return s;
}
