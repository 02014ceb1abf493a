/* From lab data to the parameters of a cell, target by target: the estimators of lab.h. Curves over the target are
 * lab_curve.c.
 *
 * Straight lines are weighted least squares by GSL; the weights are 1 / standard error^2 where the counts of reads
 * are known, equal otherwise. Standard errors: mean sd / sqrt(n), standard deviation sd / sqrt(2 (n - 1)) (normal
 * distribution).
 */
#include <gsl/gsl_errno.h>
#include <gsl/gsl_fit.h>
#include <gsl/gsl_min.h>
#include <math.h>
#include <stdlib.h>

#include "base/io.h"
#include "devices/lab_internal.h"

enum { TARGETS_LEAST = 3, TARGETS_MOST = 64, DEVICES_LEAST = 3, BASIS_MOST = 3 };

static double square(double x) { return x * x; }

/* f(t)^2 of lab.h */
static double read_variance(double time_s, double t0_s, double t_read_s) {
    return log((time_s + t0_s + t_read_s) / (2 * t_read_s));
}

/* L of lab.h */
static double drift_time(double time_s, double t0_s) { return log1p(time_s / t0_s); }

/* ---- targets and times -------------------------------------------------------------------------------- */

static int by_row_time(const void *a, const void *b) {
    const struct lab_row *const *x = a, *const *y = b;
    return ((*x)->time_s > (*y)->time_s) - ((*x)->time_s < (*y)->time_s);
}

/* Mean and sd of the reads of one target at one time; rows is sorted by time. */
static struct lab_point point_of(const struct lab_row *const *rows, size_t n, bool raw) {
    if (!raw) {
        return (struct lab_point){rows[0]->time_s, rows[0]->samples, rows[0]->g_S, rows[0]->sd_S};
    }
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += rows[i]->g_S;
    }
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        squares += square(rows[i]->g_S - mean);
    }
    return (struct lab_point){rows[0]->time_s, (double)n, mean, n > 1 ? sqrt(squares / (double)(n - 1)) : 0};
}

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "fit: out of memory"); }

static enum status collect_points(const struct lab_data *d, const struct lab_row *rows, size_t n, struct arena *a,
                                  struct lab_target *out, struct error *e) {
    const struct lab_row **sorted = mem_alloc(n, sizeof(struct lab_row *));
    out->target_S = rows[0].target_S;
    out->points = arena_alloc(a, n, sizeof *out->points);
    if (!sorted || !out->points) {
        mem_free(sorted);
        return no_memory(e);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = &rows[i];
    }
    qsort(sorted, n, sizeof *sorted, by_row_time);
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && sorted[end]->time_s == sorted[first]->time_s; end++) {}
        out->points[out->point_count++] = point_of(sorted + first, end - first, d->raw);
    }
    mem_free(sorted);
    return OK;
}

static size_t rows_of_target(const struct lab_data *d, size_t first) {
    size_t end = first + 1;
    while (end < d->count && d->rows[end].target_S == d->rows[first].target_S) {
        end++;
    }
    return end - first;
}

static enum status collect_targets(const struct lab_data *d, struct arena *a, struct lab_result *r, struct error *e) {
    for (size_t first = 0; first < d->count; first += rows_of_target(d, first)) {
        r->count++;
    }
    if (r->count < TARGETS_LEAST || r->count > TARGETS_MOST) {
        return error_set(e, ERR_USAGE,
                         "%s: %zu different targets: mean and sd are curves over the target (allowed: %d to %d)",
                         d->path, r->count, TARGETS_LEAST, TARGETS_MOST);
    }
    r->targets = arena_alloc(a, r->count, sizeof *r->targets);
    if (!r->targets) {
        return no_memory(e);
    }
    for (size_t first = 0, k = 0; first < d->count; k++) {
        size_t n = rows_of_target(d, first);
        TRY(collect_points(d, d->rows + first, n, a, &r->targets[k], e));
        first += n;
    }
    return OK;
}

/* First, first above 0 and longest time, the number of reads. */
static void measure_times(const struct lab_data *d, struct lab_result *r) {
    r->first_s = r->positive_s = HUGE_VAL;
    for (size_t i = 0; i < d->count; i++) {
        double time_s = d->rows[i].time_s;
        r->first_s = fmin(r->first_s, time_s);
        r->positive_s = time_s > 0 ? fmin(r->positive_s, time_s) : r->positive_s;
        r->longest_s = fmax(r->longest_s, d->rows[i].time_s);
        r->samples += d->raw ? 1 : d->rows[i].samples;
    }
}

static enum status check_targets(const struct lab_data *d, const struct lab_options *o, const struct lab_result *r,
                                 struct error *e) {
    for (size_t i = 0; i < r->count; i++) {
        const struct lab_target *t = &r->targets[i];
        double target_uS = t->target_S * 1e6;
        for (size_t k = 0; k < t->point_count; k++) {
            if (!(t->points[k].sd_S > 0) || !(t->points[k].mean_S > 0)) {
                return error_set(e, ERR_USAGE,
                                 "%s: target %g uS at %g s: no scatter, so no standard deviation (allowed: at least 2 "
                                 "reads that differ, of every target at every time)",
                                 d->path, target_uS, t->points[k].time_s);
            }
        }
        if (t->points[0].time_s > 10 * r->positive_s) {
            return error_set(
                e, ERR_USAGE,
                "%s: target %g uS: first time %g s, that of others is %g s (allowed: the first times of all "
                "targets within a factor of 10)",
                d->path, target_uS, t->points[0].time_s, r->first_s);
        }
        size_t needed = o->drift && o->read_noise && !d->has_devices ? 3 : 2;
        if ((o->drift || o->read_noise) && t->point_count < needed) {
            return error_set(
                e, ERR_USAGE,
                "%s: target %g uS: %zu time%s: cannot tell drift%s (allowed: at least %zu times, or --without)",
                d->path, target_uS, t->point_count, t->point_count == 1 ? "" : "s",
                needed == 3 ? " and read noise apart" : " and read noise", needed);
        }
    }
    return OK;
}

/* ---- drift and read noise of one target: a regression for every device ------------------------------------- */

/* What turns times into L and f. The noise has its own t0 since weights must stay as they are while t0 is sought. */
struct times {
    double t0_s, noise_t0_s, t_read_s;
};

struct line {
    double slope, slope_variance; /* the variance for a read noise of Q = 1 */
    double rss;                   /* in units of f(t)^2 */
    size_t n;
};

struct series {
    double *x, *y, *w; /* L, ln g, 1 / f^2 */
};

/* False: a read was 0, which has no logarithm. */
static bool fit_device(const struct times *at, const struct lab_row *rows, size_t n, bool drift, struct series *s,
                       struct line *out) {
    for (size_t i = 0; i < n; i++) {
        if (!(rows[i].g_S > 0)) {
            return false;
        }
        s->x[i] = drift_time(rows[i].time_s, at->t0_s);
        s->y[i] = log(rows[i].g_S);
        s->w[i] = 1 / read_variance(rows[i].time_s, at->noise_t0_s, at->t_read_s);
    }
    double level, c00, c01, mean = 0, weight = 0;
    out->n = n;
    if (drift) {
        return gsl_fit_wlinear(s->x, 1, s->w, 1, s->y, 1, n, &level, &out->slope, &c00, &c01, &out->slope_variance,
                               &out->rss) == GSL_SUCCESS &&
               isfinite(out->slope) && isfinite(out->slope_variance);
    }
    for (size_t i = 0; i < n; i++) {
        mean += s->w[i] * s->y[i];
        weight += s->w[i];
    }
    *out = (struct line){.n = n};
    for (size_t i = 0; i < n; i++) {
        out->rss += s->w[i] * square(s->y[i] - mean / weight);
    }
    return true;
}

/* Sums over the devices of a target. */
struct pool {
    double devices, left_out, slope, slope_squares, slope_variance, rss, dof; /* slope: mean, by Welford */
};

static void pool_add(struct pool *p, const struct line *l, bool drift) {
    p->devices += 1;
    double delta = l->slope - p->slope;
    p->slope += delta / p->devices;
    p->slope_squares += delta * (l->slope - p->slope);
    p->slope_variance += l->slope_variance;
    p->rss += l->rss;
    p->dof += (double)l->n - 1 - drift;
}

/* Whether the reads of a device lie at two times at least. */
static bool has_two_times(const struct lab_row *rows, size_t n) { return rows[n - 1].time_s > rows[0].time_s; }

static void pool_devices(const struct times *at, const struct lab_row *rows, size_t n, bool drift, struct series *s,
                         struct pool *p) {
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && rows[end].device == rows[first].device; end++) {}
        struct line l = {0};
        bool usable = end - first > 1 && (!drift || has_two_times(rows + first, end - first)) &&
                      fit_device(at, rows + first, end - first, drift, s, &l);
        if (usable) {
            pool_add(p, &l, drift);
        } else {
            p->left_out += 1;
        }
    }
}

/* sqrt(v) with the error that follows from that of v; 0 where v is not above 0. */
static struct lab_value root(double v, double v_error) {
    return v > 0 ? (struct lab_value){sqrt(v), fmin(v_error / (2 * sqrt(v)), sqrt(v_error))}
                 : (struct lab_value){0, sqrt(v_error)};
}

static enum status estimate_from_devices(const struct lab_data *d, const struct lab_options *o, const struct pool *p,
                                         struct lab_target *t, struct error *e) {
    if (p->devices < DEVICES_LEAST || (o->read_noise && !(p->dof > 0))) {
        return error_set(e, ERR_USAGE,
                         "%s: target %g uS: %g devices with reads above 0 at enough times, %g without: cannot tell %s "
                         "(allowed: at least %d devices%s, or --without)",
                         d->path, t->target_S * 1e6, p->devices, p->left_out,
                         p->devices < DEVICES_LEAST ? "drift" : "read noise from drift", DEVICES_LEAST,
                         p->devices < DEVICES_LEAST ? "" : ", some of them read 3 times");
    }
    t->devices = p->devices;
    t->left_out = p->left_out;
    double q2 = o->read_noise ? p->rss / p->dof : 0, q2_error = o->read_noise ? q2 * sqrt(2 / p->dof) : 0;
    if (o->read_noise) {
        t->q = root(q2, q2_error);
    }
    if (o->drift) {
        double share = p->slope_variance / p->devices, variance = p->slope_squares / (p->devices - 1);
        t->nu = (struct lab_value){-p->slope, sqrt(variance / p->devices)};
        t->nu_sd = root(variance - q2 * share, hypot(variance * sqrt(2 / (p->devices - 1)), q2_error * share));
    }
    return OK;
}

/* What is left of the data when all regressions are taken off. */
struct misfit {
    double rss, dof;
};

static enum status fit_devices(const struct lab_data *d, const struct lab_options *o, const struct times *at,
                               struct lab_result *r, struct misfit *left, struct error *e) {
    struct series s = {mem_alloc(d->count, sizeof(double)), mem_alloc(d->count, sizeof(double)),
                       mem_alloc(d->count, sizeof(double))};
    enum status status = s.x && s.y && s.w ? OK : no_memory(e);
    for (size_t first = 0, k = 0; status == OK && first < d->count; k++) {
        size_t n = rows_of_target(d, first);
        struct pool p = {0};
        pool_devices(at, d->rows + first, n, o->drift, &s, &p);
        left->rss += p.rss;
        left->dof += p.dof;
        status = estimate_from_devices(d, o, &p, &r->targets[k], e);
        first += n;
    }
    mem_free(s.x);
    mem_free(s.y);
    mem_free(s.w);
    return status;
}

/* ---- drift and read noise of one target: from the moments at several times ------------------------------------- */

/* Least squares of y in powers of x, dropping those above 0 whose coefficient would be negative, for they are
 * variances; a dropped one is 0 and keeps its error. */
static enum status fit_powers(const double *x, const double *y, const double *w, size_t n, const int *powers, size_t k,
                              bool known, struct lab_value *out, struct arena *a, struct error *e) {
    double *design = arena_alloc(a, n * k, sizeof *design);
    bool dropped[BASIS_MOST] = {false};
    for (bool again = design != NULL; again;) {
        size_t used = 0, column[BASIS_MOST + 1] = {0};
        struct lab_value found[BASIS_MOST];
        double chi2;
        for (size_t j = 0; j < k; j++) {
            column[used] = j;
            used += !dropped[j];
        }
        for (size_t i = 0; i < n * used; i++) {
            design[i] = pow(x[i / used], powers[column[i % used]]);
        }
        TRY(lab_least_squares(design, y, w, n, used, known, found, &chi2, e));
        again = false;
        for (size_t j = 0; j < used; j++) {
            out[column[j]] = found[j];
            if (found[j].value < 0 && powers[column[j]] > 0) {
                out[column[j]].value = 0;
                dropped[column[j]] = again = true;
            }
        }
    }
    return design ? OK : no_memory(e);
}

/* Var(ln g) and ln(mean g) at every time, with weights. */
struct moments_of_log {
    double *x, *variance, *variance_weight, *level, *level_weight;
};

static bool take_moments(const struct times *at, const struct lab_target *t, bool known, struct arena *a,
                         struct moments_of_log *m) {
    size_t n = t->point_count;
    double *block = arena_alloc(a, 5 * n, sizeof *block);
    if (!block) {
        return false;
    }
    *m = (struct moments_of_log){block, block + n, block + 2 * n, block + 3 * n, block + 4 * n};
    for (size_t k = 0; k < n; k++) {
        const struct lab_point *p = &t->points[k];
        double v = log1p(square(p->sd_S / p->mean_S));
        m->x[k] = drift_time(p->time_s, at->t0_s);
        m->variance[k] = v;
        m->variance_weight[k] = known ? (p->n - 1) / (2 * v * v) : 1;
        m->level[k] = log(p->mean_S);
        m->level_weight[k] = known ? p->n / v : 1;
    }
    return true;
}

static enum status fit_moments(const struct lab_data *d, const struct lab_options *o, const struct times *at,
                               struct arena *a, struct lab_target *t, struct misfit *left, struct error *e) {
    static const int all[] = {0, 2, 1}, only_drift[] = {0, 2}, only_noise[] = {0, 1}, line[] = {0, 1};
    struct moments_of_log m;
    struct lab_value v[BASIS_MOST] = {{0, 0}}, level[2];
    if (!take_moments(at, t, d->has_counts, a, &m)) {
        return no_memory(e);
    }
    const int *powers = !o->read_noise ? only_drift : !o->drift ? only_noise : all;
    TRY(fit_powers(m.x, m.variance, m.variance_weight, t->point_count, powers, 2u + (o->drift && o->read_noise),
                   d->has_counts, v, a, e));
    struct lab_value spread = o->drift ? v[1] : (struct lab_value){0, 0}, noise = v[o->drift ? 2 : 1];
    if (o->read_noise) {
        t->q = root(noise.value, noise.error);
    }
    if (!o->drift) {
        return OK;
    }
    t->nu_sd = root(spread.value, spread.error);
    for (size_t k = 0; k < t->point_count; k++) { /* mean of exp(-nu L) over a normal nu */
        m.level[k] -= spread.value * square(m.x[k]) / 2;
    }
    double chi2;
    double *design = arena_alloc(a, 2 * t->point_count, sizeof *design);
    if (!design) {
        return no_memory(e);
    }
    for (size_t i = 0; i < 2 * t->point_count; i++) {
        design[i] = pow(m.x[i / 2], line[i % 2]);
    }
    TRY(lab_least_squares(design, m.level, m.level_weight, t->point_count, 2, d->has_counts, level, &chi2, e));
    t->nu = (struct lab_value){-level[1].value, level[1].error};
    left->rss += chi2;
    left->dof += (double)t->point_count - 2;
    return OK;
}

/* ---- programming ------------------------------------------------------------------------------------------ */

/* Mean and sd of max(0, x) for x normal with mean z and sd 1. */
static void limited_moments(double z, double *mean, double *sd) {
    double density = exp(-z * z / 2) / sqrt(2 * M_PI), share = erfc(-z / M_SQRT2) / 2;
    *mean = z * share + density;
    *sd = sqrt(fmax(0, (z * z + 1) * share + z * density - square(*mean)));
}

/* The normal distribution whose part above 0, with the rest at 0, has this mean and sd. Not below a mean of 0, where
 * the two do not fix it any more. */
static void undo_limit(double *mean, double *sd) {
    double low = 0, high = 8, m, s;
    limited_moments(high, &m, &s);
    if (!(*sd > 0) || *mean / *sd >= m / s) {
        return;
    }
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        limited_moments(middle, &m, &s);
        *(m / s < *mean / *sd ? &low : &high) = middle;
    }
    limited_moments((low + high) / 2, &m, &s);
    double sigma = *sd / s;
    *mean = (low + high) / 2 * sigma;
    *sd = sigma;
}

/* The same with its errors, by differences. */
static void undo_limit_of(struct lab_value *mean, struct lab_value *sd) {
    double m = mean->value, s = sd->value, m_up = m + mean->error, s_same = s, m_same = m, s_up = s + sd->error;
    undo_limit(&m, &s);
    undo_limit(&m_up, &s_same);
    undo_limit(&m_same, &s_up);
    *mean = (struct lab_value){m, hypot(m_up - m, m_same - m)};
    *sd = (struct lab_value){s, hypot(s_same - s, s_up - s)};
}

static void estimate_programming(const struct lab_data *d, const struct lab_result *r, struct lab_target *t) {
    const struct lab_point *p = &t->points[0];
    double age = drift_time(p->time_s, r->t0_s), back = exp(t->nu.value * age - square(t->nu_sd.value * age) / 2);
    double f2 = read_variance(p->time_s, r->t0_s, r->t_read_s);
    double mean = p->mean_S * back, sd = p->sd_S * back, unknown = (double)NAN;
    double other = square(t->q.value) * f2 + square(t->nu_sd.value * age);
    double noise_error = square(mean) * f2 * 2 * t->q.value * t->q.error;
    t->mean_S = (struct lab_value){mean, d->has_counts ? hypot(sd / sqrt(p->n), mean * age * t->nu.error) : unknown};
    t->sd_S = root(square(sd) - square(mean) * other,
                   d->has_counts ? hypot(square(sd) * sqrt(2 / (p->n - 1)), noise_error) : unknown);
    undo_limit_of(&t->mean_S, &t->sd_S);
}

/* ---- the fit over time --------------------------------------------------------------------------------------- */

/* The model's mean over time against that of the data. */
static void judge_regression(const struct lab_data *d, struct lab_result *r) {
    double squares = 0, chi2 = 0, points = 0;
    struct lab_quality q = {0, 0, (double)NAN, 0};
    for (size_t i = 0; i < r->count; i++) {
        const struct lab_target *t = &r->targets[i];
        double first = drift_time(t->points[0].time_s, r->t0_s);
        for (size_t k = 1; k < t->point_count; k++) {
            const struct lab_point *p = &t->points[k];
            double now = drift_time(p->time_s, r->t0_s);
            double model = -t->nu.value * (now - first) + square(t->nu_sd.value) * (square(now) - square(first)) / 2;
            double residual = log(p->mean_S / t->points[0].mean_S) - model;
            q.largest = fmax(q.largest, fabs(residual));
            squares += square(residual);
            chi2 += square(residual * p->mean_S / p->sd_S) * p->n;
            points += 1;
        }
        q.dof += t->point_count > 2 ? t->point_count - 2 : 0;
    }
    q.rms = points > 0 ? sqrt(squares / points) : 0;
    q.chi2_per_dof = d->has_counts && q.dof ? chi2 / (double)q.dof : (double)NAN;
    r->regression = q;
}

static enum status fit_over_time(const struct lab_data *d, const struct lab_options *o, const struct times *at,
                                 struct arena *a, struct lab_result *r, struct misfit *left, struct error *e) {
    *left = (struct misfit){0, 0};
    TRY(check_interrupted(e));
    if (d->has_devices) {
        return fit_devices(d, o, at, r, left, e);
    }
    for (size_t i = 0; i < r->count; i++) {
        TRY(fit_moments(d, o, at, a, &r->targets[i], left, e));
    }
    return OK;
}

/* ---- t0 ------------------------------------------------------------------------------------------------------- */

/* The search for t0. misfit S(ln t0) = dof ln(rss): twice the logarithm of the likelihood, up to a constant, with the
 * size of the scatter unknown. S - S_min = 1 is one standard error, 9 are three. */
struct t0_search {
    const struct lab_data *d;
    const struct lab_options *o;
    struct lab_result *r;
    enum status status;
    struct error *e;
};

enum { T0_STEPS = 36, T0_ITERATIONS = 60 };
static const double T0_LEAST_S = 1e-6, T0_MOST_S = 1e6; /* what the model `measured` takes */
static const double T0_BEYOND = 100;                    /* how far outside the times of the data is looked */
static const double T0_MISFIT = 9, RSS_LEAST = 1e-26;   /* rounding, where the data are the model exactly */

static double t0_misfit(double ln_t0, void *context) {
    struct t0_search *x = context;
    struct misfit left = {0, 0};
    struct times at = {exp(ln_t0), x->r->positive_s, x->r->t_read_s};
    struct arena *a = arena_create();
    if (x->status == OK) {
        x->status = a ? fit_over_time(x->d, x->o, &at, a, x->r, &left, x->e) : no_memory(x->e);
    }
    arena_destroy(a);
    return left.dof > 0 ? left.dof * log(left.rss + RSS_LEAST) : 0;
}

static enum status t0_unknown(const struct t0_search *x, const char *why) {
    return error_set(
        x->e, ERR_USAGE,
        "%s: the data do not determine t0 of the drift ((t + t0) / t0)^-nu: %s (allowed: --t0 SECONDS, the "
        "time from the write to age 0, or reads from well below t0 to well above, or --without drift)",
        x->d->path, why);
}

/* Where S is one above its minimum, between the minimum and an end that lies higher. */
static double one_above(struct t0_search *x, double least, double end, double wanted) {
    for (int i = 0; i < 30; i++) {
        double middle = (least + end) / 2;
        *(t0_misfit(middle, x) > wanted ? &end : &least) = middle;
    }
    return (least + end) / 2;
}

static enum status refine_t0(struct t0_search *x, double low, double middle, double high, double *out) {
    gsl_function f = {t0_misfit, x};
    gsl_min_fminimizer *m = gsl_min_fminimizer_alloc(gsl_min_fminimizer_brent);
    if (!m) {
        return no_memory(x->e);
    }
    int status = gsl_min_fminimizer_set(m, &f, middle, low, high);
    for (int i = 0; status == GSL_SUCCESS && i < T0_ITERATIONS; i++) {
        status = gsl_min_fminimizer_iterate(m);
        if (gsl_min_fminimizer_x_upper(m) - gsl_min_fminimizer_x_lower(m) < 1e-7) {
            break;
        }
    }
    *out = gsl_min_fminimizer_x_minimum(m);
    gsl_min_fminimizer_free(m);
    return x->status != OK ? x->status : OK;
}

static enum status search_t0(struct t0_search *x) {
    struct lab_result *r = x->r;
    double from = log(fmax(r->positive_s / T0_BEYOND, fmax(T0_LEAST_S, 2 * r->t_read_s)));
    double to = log(fmin(r->longest_s * T0_BEYOND, T0_MOST_S)), s[T0_STEPS], at[T0_STEPS], best = 0;
    size_t least = 0;
    for (size_t i = 0; i < T0_STEPS; i++) {
        at[i] = from + (to - from) * (double)i / (T0_STEPS - 1);
        s[i] = t0_misfit(at[i], x);
        least = s[i] < s[least] ? i : least;
    }
    TRY(x->status);
    if (least == 0 || least == T0_STEPS - 1 || s[0] - s[least] < T0_MISFIT || s[T0_STEPS - 1] - s[least] < T0_MISFIT) {
        return t0_unknown(x, s[T0_STEPS - 1] - s[least] < T0_MISFIT ? "a large one fits as well"
                                                                    : "a small one fits as well");
    }
    TRY(refine_t0(x, at[least - 1], at[least], at[least + 1], &best));
    double wanted = t0_misfit(best, x) + 1;
    double error = (one_above(x, best, to, wanted) - one_above(x, best, from, wanted)) / 2;
    r->t0_s = exp(best);
    r->t0_error_s = r->t0_s * error;
    r->t0_fitted = true;
    return x->status;
}

static enum status find_t0(const struct lab_data *d, const struct lab_options *o, struct lab_result *r,
                           struct error *e) {
    struct t0_search x = {d, o, r, OK, e};
    if (o->t0_s > 0 || !o->drift) { /* without drift t0 matters little: any time near the first one */
        r->t0_s = o->t0_s > 0 ? o->t0_s : fmin(fmax(r->positive_s, T0_LEAST_S), T0_MOST_S);
        return OK;
    }
    size_t most = 0;
    for (size_t i = 0; i < r->count; i++) {
        most = r->targets[i].point_count > most ? r->targets[i].point_count : most;
    }
    return most < 3 ? t0_unknown(&x, "it takes reads at three times at least") : search_t0(&x);
}

/* ---- all of it -------------------------------------------------------------------------------------------- */

/* A fit that misses the data by 5 standard errors on average, and by more than what anybody would round off. */
static const double CHI2_MOST = 25, RESIDUAL_MOST = 0.01;

static enum status check_quality(const struct lab_data *d, const char *what, const struct lab_quality *q, double scale,
                                 const char *hint, struct error *e) {
    if (!(q->chi2_per_dof > CHI2_MOST) || !(q->largest > RESIDUAL_MOST * scale)) {
        return OK;
    }
    return error_set(
        e, ERR_USAGE,
        "%s: %s: the model does not follow the data: chi2 / dof %.3g (about 1 where only scatter is left), "
        "largest residual %.3g %% (allowed: chi2 / dof up to %g, or residuals up to %g %%; %s)",
        d->path, what, q->chi2_per_dof, 100 * q->largest / scale, CHI2_MOST, 100 * RESIDUAL_MOST, hint);
}

static enum status fit_targets(const struct lab_data *d, const struct lab_options *o, struct arena *a,
                               struct lab_result *r, struct error *e) {
    TRY(find_t0(d, o, r, e));
    if (o->read_noise && !(o->t_read_s < r->t0_s)) {
        return error_set(e, ERR_USAGE, "%s: a read of %g s, but t0 is %g s (allowed: a read shorter than t0)", d->path,
                         o->t_read_s, r->t0_s);
    }
    struct misfit left;
    struct times at = {r->t0_s, r->t0_s, r->t_read_s};
    if (o->drift || o->read_noise) {
        TRY(fit_over_time(d, o, &at, a, r, &left, e));
    }
    for (size_t i = 0; i < r->count; i++) {
        estimate_programming(d, r, &r->targets[i]);
    }
    judge_regression(d, r);
    TRY(lab_fit_curves(d, o, a, r, e));
    if (o->drift) {
        TRY(check_quality(d, "mean over time", &r->regression, 1,
                          "are the times ages after programming, is --t0 right, or is the drift no power law?", e));
    }
    return check_quality(d, "programmed mean over the target", &r->mean.quality, r->mean.scale_S,
                         "--curve spline bends more", e);
}

enum status lab_fit(const struct lab_data *d, const struct lab_options *o, struct arena *a, struct lab_result *out,
                    struct error *e) {
    *out = (struct lab_result){.t_read_s = o->t_read_s, .drift = o->drift, .read_noise = o->read_noise};
    TRY(collect_targets(d, a, out, e));
    measure_times(d, out);
    if (!isfinite(out->positive_s)) {
        out->positive_s = 1; /* all reads at age 0 */
    }
    TRY(check_targets(d, o, out, e));
    gsl_error_handler_t *handler = gsl_set_error_handler_off();
    enum status s = fit_targets(d, o, a, out, e);
    gsl_set_error_handler(handler);
    return s;
}
