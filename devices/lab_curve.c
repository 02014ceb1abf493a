/* Mean and standard deviation as curves over the target, and the part that they give (see lab.h).
 *
 * Polynomials up to order 4, or cubic B-splines with equally spaced knots, by weighted least squares (GSL); of these
 * the one with the smallest Bayesian information criterion: chi2 + k ln n (k terms, n targets), without counts
 * n ln(rss / n) + k ln n. A curve always has fewer terms than there are targets.
 */
#include <gsl/gsl_bspline.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_multifit.h>
#include <math.h>

#include "devices/lab_internal.h"

enum { POLYNOMIAL_TERMS = 5, SPLINE_ORDER = 4, GRID_MOST = 64, SUBDIVISIONS = 4 };

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "fit: out of memory"); }

/* ---- least squares ---------------------------------------------------------------------------------------- */

static void take_solution(const gsl_vector *c, const gsl_matrix *cov, double factor, struct lab_value *value) {
    for (size_t i = 0; i < c->size; i++) {
        value[i] = (struct lab_value){gsl_vector_get(c, i), sqrt(gsl_matrix_get(cov, i, i) * factor)};
    }
}

enum status lab_least_squares(const double *design, const double *y, const double *w, size_t n, size_t k, bool known,
                              struct lab_value *value, double *chi2, struct error *e) {
    gsl_multifit_linear_workspace *work = gsl_multifit_linear_alloc(n, k);
    gsl_vector *c = gsl_vector_alloc(k);
    gsl_matrix *cov = gsl_matrix_alloc(k, k);
    enum status s = OK;
    if (!work || !c || !cov) {
        s = no_memory(e);
    } else {
        gsl_matrix_const_view x = gsl_matrix_const_view_array(design, n, k);
        gsl_vector_const_view weights = gsl_vector_const_view_array(w, n), values = gsl_vector_const_view_array(y, n);
        int status = gsl_multifit_wlinear(&x.matrix, &weights.vector, &values.vector, c, cov, chi2, work);
        s = status == GSL_SUCCESS ? OK : error_set(e, ERR_RUN, "fit: least squares: %s", gsl_strerror(status));
    }
    if (s == OK) {
        take_solution(c, cov, known ? 1 : n > k ? *chi2 / (double)(n - k) : (double)NAN, value);
    }
    gsl_matrix_free(cov);
    gsl_vector_free(c);
    gsl_multifit_linear_free(work);
    return s;
}

/* ---- curves ------------------------------------------------------------------------------------------------- */

/* design[i][k] = basis function k at target i. */
static enum status make_design(const struct lab_curve *c, const double *target_S, size_t n, double *design,
                               struct error *e) {
    if (c->kind == LAB_POLYNOMIAL) {
        for (size_t i = 0; i < n * c->terms; i++) {
            design[i] = gsl_pow_int(target_S[i / c->terms] / c->scale_S, (int)(i % c->terms));
        }
        return OK;
    }
    gsl_bspline_workspace *work = gsl_bspline_alloc(SPLINE_ORDER, c->terms - SPLINE_ORDER + 2);
    gsl_vector *basis = gsl_vector_alloc(c->terms);
    enum status s = work && basis ? OK : no_memory(e);
    if (s == OK) {
        gsl_bspline_knots_uniform(c->low_S / c->scale_S, 1, work);
    }
    for (size_t i = 0; s == OK && i < n; i++) {
        double r = fmin(1, fmax(c->low_S, target_S[i]) / c->scale_S);
        gsl_bspline_eval(r, basis, work);
        for (size_t k = 0; k < c->terms; k++) {
            design[i * c->terms + k] = gsl_vector_get(basis, k);
        }
    }
    gsl_vector_free(basis);
    gsl_bspline_free(work);
    return s;
}

enum status lab_curve_values(const struct lab_curve *c, const double *target_S, size_t n, double *out_S,
                             struct error *e) {
    double *design = mem_alloc(n * c->terms, sizeof *design);
    enum status s = design ? make_design(c, target_S, n, design, e) : no_memory(e);
    for (size_t i = 0; s == OK && i < n; i++) {
        out_S[i] = 0;
        for (size_t k = 0; k < c->terms; k++) {
            out_S[i] += c->value[k] * design[i * c->terms + k];
        }
    }
    mem_free(design);
    return s;
}

/* What the curves are fitted to: n targets, values and errors in siemens. */
struct table {
    double *x, *y, *w;
    size_t n;
    bool known; /* standard errors are known */
};

static enum status fit_terms(const struct table *t, struct lab_curve *c, double *criterion, struct error *e) {
    struct lab_value found[LAB_TERMS_MOST];
    double *design = mem_alloc(t->n * c->terms, sizeof *design), chi2 = 0, n = (double)t->n;
    enum status s = design ? make_design(c, t->x, t->n, design, e) : no_memory(e);
    if (s == OK) {
        s = lab_least_squares(design, t->y, t->w, t->n, c->terms, t->known, found, &chi2, e);
    }
    mem_free(design);
    for (size_t k = 0; s == OK && k < c->terms; k++) {
        c->value[k] = found[k].value;
        c->error[k] = found[k].error;
    }
    *criterion = (t->known ? chi2 : n * log(fmax(chi2, 1e-300) / n)) + (double)c->terms * log(n);
    c->quality.dof = t->n - c->terms;
    c->quality.chi2_per_dof = t->known && c->quality.dof ? chi2 / (double)c->quality.dof : (double)NAN;
    return s;
}

static enum status choose_curve(const struct table *t, const struct lab_curve *shape, struct lab_curve *out,
                                struct error *e) {
    size_t least = shape->kind == LAB_POLYNOMIAL ? 1 : SPLINE_ORDER;
    size_t most = shape->kind == LAB_POLYNOMIAL ? POLYNOMIAL_TERMS : LAB_TERMS_MOST;
    most = most < t->n - 1 ? most : t->n - 1;
    if (most < least) {
        return error_set(e, ERR_USAGE, "a spline over %zu targets (allowed: at least %zu, or --curve polynomial)", t->n,
                         least + 1);
    }
    double best = HUGE_VAL;
    for (size_t terms = least; terms <= most; terms++) {
        struct lab_curve c = *shape;
        double criterion;
        c.terms = terms;
        TRY(fit_terms(t, &c, &criterion, e));
        if (criterion < best) {
            best = criterion;
            *out = c;
        }
    }
    return isfinite(best) ? OK : error_set(e, ERR_RUN, "no curve fits: the values are not finite");
}

static enum status judge_curve(const struct table *t, struct lab_curve *c, double *at_targets, struct error *e) {
    TRY(lab_curve_values(c, t->x, t->n, at_targets, e));
    double squares = 0;
    for (size_t i = 0; i < t->n; i++) {
        double residual = t->y[i] - at_targets[i];
        squares += residual * residual;
        c->quality.largest = fmax(c->quality.largest, fabs(residual));
    }
    c->quality.rms = sqrt(squares / (double)t->n);
    return OK;
}

static enum status fit_one(const struct lab_data *d, const struct lab_options *o, const struct lab_result *r,
                           bool of_sd, double *block, struct lab_curve *out, struct error *e) {
    struct table t = {block, block + r->count, block + 2 * r->count, r->count, d->has_counts};
    for (size_t i = 0; i < r->count; i++) {
        const struct lab_value *v = of_sd ? &r->targets[i].sd_S : &r->targets[i].mean_S;
        t.x[i] = r->targets[i].target_S;
        t.y[i] = v->value;
        t.w[i] = t.known ? 1 / (v->error * v->error) : 1;
    }
    struct lab_curve shape = {.kind = o->curve, .low_S = t.x[0], .scale_S = t.x[r->count - 1]};
    if (choose_curve(&t, &shape, out, e) != OK) {
        return error_prefix(e, "%s: programmed %s", d->path, of_sd ? "sd" : "mean");
    }
    TRY(judge_curve(&t, out, block + 3 * r->count, e));
    for (size_t i = 0; i < r->count; i++) {
        struct lab_target *target = &r->targets[i];
        *(of_sd ? &target->sd_fit_S : &target->mean_fit_S) = block[3 * r->count + i];
    }
    return OK;
}

enum status lab_fit_curves(const struct lab_data *d, const struct lab_options *o, struct arena *a, struct lab_result *r,
                           struct error *e) {
    double *block = arena_alloc(a, 4 * r->count, sizeof *block);
    if (!block) {
        return no_memory(e);
    }
    TRY(fit_one(d, o, r, false, block, &r->mean, e));
    return fit_one(d, o, r, true, block, &r->sd, e);
}

/* ---- the part ------------------------------------------------------------------------------------------------ */

struct writer {
    struct arena *arena;
    struct config_node *part;
    const char *source;
};

static enum status put(const struct writer *w, struct config_node *map, const char *key, const char *text,
                       struct error *e) {
    struct config_node *n = config_new_scalar(w->arena, text, "", 0);
    return n ? config_put(w->arena, map, key, n, e) : no_memory(e);
}

static struct config_node *number(const struct writer *w, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    return config_new_scalar(w->arena, text, "", 0);
}

static enum status put_list(const struct writer *w, struct config_node *map, const char *key, const double *values,
                            size_t n, struct error *e) {
    struct config_node *list = config_new_list(w->arena, "", 0);
    if (!list) {
        return no_memory(e);
    }
    for (size_t i = 0; i < n; i++) {
        struct config_node *item = number(w, values[i]);
        if (!item) {
            return no_memory(e);
        }
        TRY(config_append(w->arena, list, item, e));
    }
    return config_put(w->arena, map, key, list, e);
}

/* p10 to p90 of a normal error, as factors. 0: no spread. */
static enum status put_origin(const struct writer *w, struct config_node *map, enum constant_kind kind,
                              const char *source, double relative_error, struct error *e) {
    double half = fmin(1.2816 * relative_error, 0.99);
    TRY(put(w, map, "kind", constant_kind_name(kind), e));
    TRY(put(w, map, "source", source, e));
    return half > 0 ? put_list(w, map, "spread", (const double[]){1 - half, 1 + half}, 2, e) : OK;
}

static enum status put_constant(const struct writer *w, const char *key, double value, enum constant_kind kind,
                                const char *source, double relative_error, struct error *e) {
    struct config_node *map = config_new_map(w->arena, "", 0), *v = number(w, value);
    if (!map || !v) {
        return no_memory(e);
    }
    TRY(config_put(w->arena, map, "value", v, e));
    TRY(put_origin(w, map, kind, source, relative_error, e));
    return config_put(w->arena, w->part, key, map, e);
}

static enum status put_numbers(const struct writer *w, const char *key, const double *values, size_t n, bool estimated,
                               double relative_error, struct error *e) {
    struct config_node *map = config_new_map(w->arena, "", 0);
    if (!map) {
        return no_memory(e);
    }
    TRY(put_list(w, map, "value", values, n, e));
    if (estimated) {
        TRY(put_origin(w, map, CONSTANT_FITTED, w->source, relative_error, e));
    } else { /* left out: 0, and it says so */
        TRY(put_origin(w, map, CONSTANT_ASSUMED, "not estimated from the data: left out, none modelled", 0, e));
        TRY(put_list(w, map, "spread", (const double[]){1, 1}, 2, e));
    }
    return config_put(w->arena, w->part, key, map, e);
}

/* One factor for a list: root mean square of the errors over that of the values. */
static double relative_error(const struct lab_result *r, size_t offset) {
    double errors = 0, values = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct lab_value *v = (const void *)((const char *)&r->targets[i] + offset);
        if (isfinite(v->error)) {
            errors += v->error * v->error;
            values += v->value * v->value;
        }
    }
    return values > 0 ? sqrt(errors / values) : 0;
}

/* Targets, and points between them, so that straight lines follow the curves. */
static size_t make_grid(const struct lab_result *r, double grid_S[GRID_MOST], double place[GRID_MOST]) {
    size_t parts = (GRID_MOST - 1) / (r->count - 1), n = 0;
    parts = parts < 1 ? 1 : parts > SUBDIVISIONS ? SUBDIVISIONS : parts;
    for (size_t i = 0; i + 1 < r->count; i++) {
        for (size_t k = 0; k < parts; k++) {
            place[n] = (double)i + (double)k / (double)parts;
            double share = (double)k / (double)parts;
            grid_S[n++] = (1 - share) * r->targets[i].target_S + share * r->targets[i + 1].target_S;
        }
    }
    place[n] = (double)(r->count - 1);
    grid_S[n++] = r->targets[r->count - 1].target_S;
    return n;
}

/* A quantity of the targets on the grid, straight lines between them. */
static void between(const struct lab_result *r, size_t offset, double factor, const double *place, size_t n,
                    double *out) {
    for (size_t k = 0; k < n; k++) {
        size_t i = (size_t)place[k], j = i + 1 < r->count ? i + 1 : i;
        double share = place[k] - (double)i;
        const struct lab_value *low = (const void *)((const char *)&r->targets[i] + offset);
        const struct lab_value *high = (const void *)((const char *)&r->targets[j] + offset);
        out[k] = factor * ((1 - share) * low->value + share * high->value);
    }
}

/* Curve values on the grid in microsiemens; a standard deviation that the curve takes below 0 is 0. */
static enum status put_curve(const struct writer *w, const char *key, const struct lab_curve *c, const double *grid_S,
                             size_t n, bool of_sd, double error, struct error *e) {
    double values[GRID_MOST];
    TRY(lab_curve_values(c, grid_S, n, values, e));
    for (size_t k = 0; k < n; k++) {
        values[k] = of_sd && values[k] < 0 ? 0 : values[k] * 1e6;
    }
    return put_numbers(w, key, values, n, true, error, e);
}

static enum status put_head(const struct writer *w, const struct lab_result *r, struct error *e) {
    TRY(put(w, w->part, "model", "measured", e));
    TRY(put_constant(w, "g_max_uS", r->targets[r->count - 1].target_S * 1e6, CONSTANT_MEASURED, w->source, 0, e));
    TRY(put_constant(w, "g_min_uS", r->targets[0].target_S * 1e6, CONSTANT_MEASURED, w->source, 0, e));
    if (r->t0_fitted) {
        TRY(put_constant(w, "t0_s", r->t0_s, CONSTANT_FITTED, w->source, r->t0_error_s / r->t0_s, e));
    } else {
        TRY(put_constant(w, "t0_s", r->t0_s, CONSTANT_ASSUMED,
                         r->drift ? "as given to the fit" : "no drift estimated: the first time of the data", 0.5, e));
    }
    TRY(put_constant(w, "t_read_s", r->read_noise ? r->t_read_s : 0, CONSTANT_ASSUMED,
                     r->read_noise ? "length of a read as given to the fit"
                                   : "no read noise estimated: no growth with age",
                     0.5, e));
    return put(w, w->part, "interpolation", "linear", e);
}

enum status lab_part(const struct lab_result *r, const char *source, struct arena *a, struct config_node **out,
                     struct error *e) {
    struct writer w = {a, config_new_map(a, "", 0), source};
    double grid_S[GRID_MOST], place[GRID_MOST], values[GRID_MOST];
    if (!w.part) {
        return no_memory(e);
    }
    size_t n = make_grid(r, grid_S, place);
    TRY(put_head(&w, r, e));
    for (size_t k = 0; k < n; k++) {
        values[k] = grid_S[k] * 1e6;
    }
    struct config_node *targets;
    TRY(put_numbers(&w, "target_uS", values, n, true, 0, e));
    targets = config_get(w.part, "target_uS");
    TRY(put(&w, targets, "kind", constant_kind_name(CONSTANT_MEASURED), e));
    TRY(put_curve(&w, "programmed_mean_uS", &r->mean, grid_S, n, false,
                  relative_error(r, offsetof(struct lab_target, mean_S)), e));
    TRY(put_curve(&w, "programmed_sd_uS", &r->sd, grid_S, n, true, relative_error(r, offsetof(struct lab_target, sd_S)),
                  e));
    between(r, offsetof(struct lab_target, nu), 1, place, n, values);
    TRY(put_numbers(&w, "drift_mean", values, n, r->drift, relative_error(r, offsetof(struct lab_target, nu)), e));
    between(r, offsetof(struct lab_target, nu_sd), 1, place, n, values);
    TRY(put_numbers(&w, "drift_sd", values, n, r->drift, relative_error(r, offsetof(struct lab_target, nu_sd)), e));
    double f0 = r->read_noise ? sqrt(log((r->t0_s + r->t_read_s) / (2 * r->t_read_s))) : 0;
    between(r, offsetof(struct lab_target, q), f0, place, n, values);
    TRY(put_numbers(&w, "read_noise", values, n, r->read_noise, relative_error(r, offsetof(struct lab_target, q)), e));
    *out = w.part;
    return OK;
}
