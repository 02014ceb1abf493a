/* See fits.h. Loops are plain C that compilers vectorise; every result depends on the device's own numbers only. */
#include "devices/fits.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "devices/vector_math.h"

/* ---- polynomials -------------------------------------------------------------------------------------- */

void fit_coefficients(const struct param_numbers *c, double factor, float out[FIT_DEGREE + 1]) {
    for (size_t i = 0; i <= FIT_DEGREE; i++) {
        out[i] = i < c->count ? (float)(c->values[i] * factor) : 0.0f;
    }
}

void fit_program(const float sd_S[FIT_DEGREE + 1], double scale_S, const struct cell_draws *d, const float *target_S,
                 float *programmed_S, size_t n) {
    float per_scale = (float)(1.0 / scale_S), c[FIT_DEGREE + 1];
    memcpy(c, sd_S, sizeof c);
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, programmed_S, n);
    for (size_t i = 0; i < n; i++) {
        float g_S = target_S[i] + fit_polynomial(c, target_S[i] * per_scale) * programmed_S[i];
        programmed_S[i] = g_S > 0.0f ? g_S : 0.0f;
    }
}

/* ---- noise and drift ------------------------------------------------------------------------------------- */

double fit_one_over_f(double age_s, double t0_s, double t_read_s) {
    return sqrt(log((age_s + t0_s + t_read_s) / (2 * t_read_s)));
}

void fit_power_law(const float *nu, double t0_s, double age_s, const float *programmed_S, float *drifted_S, size_t n) {
    float age_log = (float)log1p(age_s / t0_s); /* ln((age + t0) / t0) */
    for (size_t i = 0; i < n; i++) {
        drifted_S[i] = programmed_S[i] * vector_exp(-nu[i] * age_log);
    }
}

void fit_two_draws(const struct cell_draws *d, float *xi_first, float *xi_later, size_t n) {
    random_gaussian_fill(d->seed, random_stream(RANDOM_PROGRAMMING, d->where), d->first, xi_first, n);
    random_gaussian_fill(d->seed, random_stream(RANDOM_DRIFT, d->where), d->first, xi_later, n);
}

/* ---- tables over a grid -------------------------------------------------------------------------------- */

/* Second derivatives m of the natural spline: with h_i = x_{i+1} - x_i,
 *   h_{i-1} m_{i-1} + 2 (h_{i-1} + h_i) m_i + h_i m_{i+1} = 6 ((y_{i+1} - y_i) / h_i - (y_i - y_{i-1}) / h_{i-1})
 * for the inner points, m = 0 at the ends: one sweep down, one up. */
static void spline_bend(const double *x, const double *y, size_t count, double bend[FIT_GRID_MOST]) {
    double upper[FIT_GRID_MOST] = {0}, right[FIT_GRID_MOST] = {0};
    for (size_t i = 1; i + 1 < count; i++) {
        double before = x[i] - x[i - 1], after = x[i + 1] - x[i];
        double pivot = 2 * (before + after) - before * upper[i - 1];
        upper[i] = after / pivot;
        right[i] = (6 * ((y[i + 1] - y[i]) / after - (y[i] - y[i - 1]) / before) - before * right[i - 1]) / pivot;
    }
    for (size_t i = count - 1; i-- > 1;) {
        bend[i] = right[i] - upper[i] * bend[i + 1];
    }
}

struct fit_curve fit_curve_make(const struct param_numbers *x, const struct param_numbers *y, bool cubic) {
    struct fit_curve curve = {.count = x->count};
    double bend[FIT_GRID_MOST] = {0};
    if (cubic) {
        spline_bend(x->values, y->values, x->count, bend);
    }
    for (size_t k = 0; k < x->count; k++) {
        curve.x[k] = (float)x->values[k];
        curve.c[k][0] = (float)y->values[k];
    }
    for (size_t k = 0; k + 1 < x->count; k++) {
        double h = x->values[k + 1] - x->values[k];
        curve.c[k][1] = (float)((y->values[k + 1] - y->values[k]) / h - h * (2 * bend[k] + bend[k + 1]) / 6);
        curve.c[k][2] = (float)(bend[k] / 2);
        curve.c[k][3] = (float)((bend[k + 1] - bend[k]) / (6 * h));
    }
    return curve;
}

/* The segment is counted, not searched: no branch to mispredict, and the grid is short. */
void fit_curve_values(const struct fit_curve *curve, const float *at, float *out, size_t n) {
    size_t last = curve->count - 1;
    for (size_t i = 0; i < n; i++) {
        float x = at[i] < curve->x[last] ? at[i] : curve->x[last];
        size_t k = 0;
        for (size_t j = 1; j < last; j++) {
            k += x >= curve->x[j];
        }
        const float *c = curve->c[k];
        float u = x > curve->x[k] ? x - curve->x[k] : 0.0f;
        out[i] = c[0] + u * (c[1] + u * (c[2] + u * c[3]));
    }
}

/* ---- checks of part files --------------------------------------------------------------------------------- */

enum status fit_check_count(const char *key, const struct param_numbers *list, size_t least, size_t most,
                            struct error *e) {
    if (list->count < least || list->count > most) {
        return error_set(e, ERR_USAGE, "%s has %zu numbers (allowed: %zu to %zu)", key, list->count, least, most);
    }
    return OK;
}

enum status fit_check_spread(const char *key, const struct param_numbers *list, double x_low, double x_high,
                             struct error *e) {
    enum { POINTS = 65 };
    TRY(fit_check_count(key, list, 1, FIT_DEGREE + 1, e));
    for (int k = 0; k < POINTS; k++) {
        double x = x_low + (x_high - x_low) * k / (POINTS - 1), y = 0;
        for (size_t i = list->count; i-- > 0;) {
            y = y * x + list->values[i];
        }
        if (y < 0) {
            return error_set(e, ERR_USAGE, "%s: the polynomial is negative at %g (allowed: not negative from %g to %g)",
                             key, x, x_low, x_high);
        }
    }
    return OK;
}

enum status fit_check_table(const char *key, const struct param_numbers *list, const char *grid_key,
                            const struct param_numbers *grid, struct error *e) {
    if (list->count != grid->count) {
        return error_set(e, ERR_USAGE, "%s has %zu numbers, %s has %zu (allowed: one for each point of the grid)", key,
                         list->count, grid_key, grid->count);
    }
    return OK;
}

enum status fit_check_ascending(const char *key, const struct param_numbers *list, const char *unit, struct error *e) {
    double factor = 1;
    unit_factor(unit, &factor);
    for (size_t i = 1; i < list->count; i++) {
        if (!((float)list->values[i] > (float)list->values[i - 1])) {
            return error_set(e, ERR_USAGE, "%s[%zu] = %g %s is not above %s[%zu] = %g %s (allowed: an ascending list)",
                             key, i, list->values[i] / factor, unit, key, i - 1, list->values[i - 1] / factor, unit);
        }
    }
    return OK;
}

enum status fit_check_levels(int levels, struct error *e) {
    if (levels == 1) {
        return error_set(e, ERR_USAGE, "levels = 1: stores nothing (allowed: 0 for any target, or 2 and more)");
    }
    return OK;
}

enum status fit_check_window(const struct constant *g_min_S, const struct constant *g_max_S, struct error *e) {
    if (!(g_min_S->value < g_max_S->value)) {
        return error_set(e, ERR_USAGE, "g_min_uS = %g is not below g_max_uS = %g (allowed: g_min_uS < g_max_uS)",
                         1e6 * g_min_S->value, 1e6 * g_max_S->value);
    }
    return OK;
}
