/* Cells against exact distributions: mean, standard deviation and a Kolmogorov-Smirnov test.
 *
 * Bounds, at fixed seeds: 4 standard errors; the largest distance of the distributions by 1.95 / sqrt(n), which chance
 * exceeds once in a thousand.
 */
#ifndef MHO_TESTS_DISTRIBUTIONS_H
#define MHO_TESTS_DISTRIBUTIONS_H

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_sort_float.h>
#include <math.h>

#include "tests/cell_fixture.h"

/* A distribution over [low, high]; what lies beyond is on the limits themselves. `cdf` is that without limits. */
struct reference {
    double mean, sd, low, high;
    double (*cdf)(const void *ctx, double x);
    const void *ctx;
};

enum { TABLE = 257 };

/* The cdf in TABLE points of [first, last], linear between: far below the bound of the test. */
static inline double tabulated(const double *table, double first, double last, double x) {
    double at = fmin(fmax((x - first) / (last - first) * (TABLE - 1), 0), TABLE - 1 - 1e-9);
    size_t k = (size_t)at;
    return table[k] + (at - (double)k) * (table[k + 1] - table[k]);
}

/* Largest distance of the empirical distribution (x is sorted here) from the reference, on both sides of every step. */
static inline double ks_distance(float *x, size_t n, const struct reference *r) {
    double table[TABLE], distance = 0;
    float low = (float)r->low, high = (float)r->high, near_low = low * (1 + 2e-7f), near_high = high * (1 - 2e-7f);
    for (size_t i = 0; i < n; i++) { /* what lies on a limit but for rounding lies on it */
        x[i] = x[i] <= near_low ? low : x[i] >= near_high ? high : x[i];
    }
    gsl_sort_float(x, 1, n);
    double first = x[0], last = x[n - 1];
    for (size_t k = 0; k < TABLE; k++) {
        table[k] = r->cdf(r->ctx, first + (last - first) * (double)k / (TABLE - 1));
    }
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && x[next] <= x[i]; next++) {
        }
        double f = tabulated(table, first, last, x[i]);
        distance = fmax(distance, fabs((x[i] > low ? f : 0) - (double)i / (double)n));
        distance = fmax(distance, fabs((x[i] < high ? f : 1) - (double)next / (double)n));
    }
    return distance;
}

enum { DRAWS = 1 << 15 };

/* DRAWS devices of one target follow the reference (microsiemens). */
static inline void assert_follows(const char *what, const struct cell *c, struct cell_conditions effects,
                                  double target_uS, double age_s, const struct reference *r) {
    static float x[DRAWS];
    read_devices_uS(c, effects, 5, target_uS, age_s, x, DRAWS);
    struct moments m = moments_of(x, DRAWS);
    double rounding = 3e-7 * fabs(r->mean), distance = ks_distance(x, DRAWS, r);
    if (!(fabs(m.mean - r->mean) <= 4 * m.se_mean + rounding)) {
        fail_msg("%s, target %g uS, %g s: mean %.7g, formula %.7g, bound %.2g", what, target_uS, age_s, m.mean, r->mean,
                 4 * m.se_mean);
    }
    if (!(fabs(m.sd - r->sd) <= 4 * m.se_sd + rounding)) {
        fail_msg("%s, target %g uS, %g s: sd %.7g, formula %.7g, bound %.2g", what, target_uS, age_s, m.sd, r->sd,
                 4 * m.se_sd);
    }
    if (!(distance <= 1.95 / sqrt(DRAWS))) {
        fail_msg("%s, target %g uS, %g s: distance of the distributions %.4f, bound %.4f", what, target_uS, age_s,
                 distance, 1.95 / sqrt(DRAWS));
    }
}

/* Mixture of normal distributions, limited: normal numbers that act on normal numbers, summed over one (FINE nodes) or
 * two of them (NODES each). */
enum { NODES = 61, FINE = 1201, NORMALS = NODES * NODES };
struct mixture {
    size_t count;
    struct {
        double weight, mean, sd;
    } part[NORMALS];
};

/* Node k of `count` of the sum over a standard normal number, from -6 to 6. */
static inline double node(int k, int count) { return 12.0 * k / (count - 1) - 6; }
static inline double node_weight(int k, int count) {
    return 12.0 / (count - 1) * gsl_ran_ugaussian_pdf(node(k, count));
}

static inline double mixture_cdf(const void *ctx, double x) {
    const struct mixture *m = ctx;
    double sum = 0;
    for (size_t i = 0; i < m->count; i++) {
        double z = m->part[i].sd > 0 ? (x - m->part[i].mean) / m->part[i].sd : x < m->part[i].mean ? -40 : 40;
        sum += m->part[i].weight * (z < -8 ? 0 : z > 8 ? 1 : 0.5 * erfc(-z * M_SQRT1_2));
    }
    return sum;
}

static inline double pdf(double z) { return isinf(z) ? 0 : gsl_ran_ugaussian_pdf(z); }

/* First two moments of a normal number limited to [low, high]. */
static inline void limited_moments(double mean, double sd, double low, double high, double out[2]) {
    if (!(sd > 0)) {
        double x = fmin(fmax(mean, low), high);
        out[0] = x;
        out[1] = x * x;
        return;
    }
    double a = (low - mean) / sd, b = (high - mean) / sd;
    double below = gsl_cdf_ugaussian_P(a), above = isinf(b) ? 0 : gsl_cdf_ugaussian_Q(b), inside = 1 - below - above;
    double top = isinf(high) ? 0 : high, bottom = isinf(low) ? 0 : low;
    out[0] = bottom * below + top * above + mean * inside + sd * (pdf(a) - pdf(b));
    out[1] = bottom * bottom * below + top * top * above + (mean * mean + sd * sd) * inside +
             sd * ((mean + bottom) * pdf(a) - (mean + top) * pdf(b));
}

static inline struct reference reference_of(const struct mixture *m, double low, double high) {
    struct reference r = {.low = low, .high = high, .cdf = mixture_cdf, .ctx = m};
    double sums[2] = {0, 0}, weight = 0;
    for (size_t i = 0; i < m->count; i++) {
        double moments[2];
        limited_moments(m->part[i].mean, m->part[i].sd, low, high, moments);
        sums[0] += m->part[i].weight * moments[0];
        sums[1] += m->part[i].weight * moments[1];
        weight += m->part[i].weight;
    }
    assert_near(weight, 1, 1e-6);
    r.mean = sums[0];
    r.sd = sqrt(fmax(sums[1] - sums[0] * sums[0], 0));
    return r;
}

static inline void mixture_add(struct mixture *m, double weight, double mean, double sd) {
    assert_true(m->count < NORMALS);
    m->part[m->count].weight = weight;
    m->part[m->count].mean = mean;
    m->part[m->count++].sd = sd;
}

/* max(0, N(mean, sd)) */
static inline void assert_normal(const char *what, const struct cell *c, struct cell_conditions effects,
                                 double target_uS, double age_s, double mean, double sd) {
    static struct mixture m;
    m.count = 0;
    mixture_add(&m, 1, mean, sd);
    struct reference r = reference_of(&m, 0, INFINITY);
    assert_follows(what, c, effects, target_uS, age_s, &r);
}

#endif
