/* Private to devices/: what cell models of any technology share: fitted functions (polynomials and tables over a grid),
 * the normal programming error, and the checks of part files.
 *
 * Single precision, one rounding per written operation: the same bits everywhere.
 */
#ifndef MHO_DEVICES_FITS_H
#define MHO_DEVICES_FITS_H

#include <math.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/params.h"
#include "devices/device.h"

/* ---- polynomials -------------------------------------------------------------------------------------- */

enum { FIT_DEGREE = 4 }; /* highest power of a fitted polynomial */

/* Coefficients c0, c1, ... to single precision, times `factor`, the rest zero. count <= FIT_DEGREE + 1 (checked at
 * load). */
void fit_coefficients(const struct param_numbers *c, double factor, float out[FIT_DEGREE + 1]);

static inline float fit_polynomial(const float c[FIT_DEGREE + 1], float x) {
    return c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * c[4])));
}

/* programmed = max(0, target + sigma(target / scale) xi): sd_S = coefficients of sigma in siemens, xi of the stream
 * RANDOM_PROGRAMMING. */
void fit_program(const float sd_S[FIT_DEGREE + 1], double scale_S, const struct cell_draws *d, const float *target_S,
                 float *programmed_S, size_t n);

/* ---- noise and drift ------------------------------------------------------------------------------------- */

/* Growth of 1/f noise between the shortest and the longest time that the read pulse and the age admit:
 * sqrt(ln((t + t_read) / (2 t_read))), t = age + t0. */
double fit_one_over_f(double age_s, double t0_s, double t_read_s);
/* drifted = programmed ((age + t0) / t0)^-nu, one exponent per device; age > 0. `nu` and `drifted_S` may be one
 * array. */
void fit_power_law(const float *nu, double t0_s, double age_s, const float *programmed_S, float *drifted_S, size_t n);

/* For models whose published spread at an age is that of programming and ageing together. A device's error of
 * programming stays, as far as the spread allows, and an independent part makes up the rest: one history per device,
 * and exactly the published spread at every age:
 *   error = e min(1, sd_now / sd_first) + sqrt(max(0, sd_now^2 - sd_first^2)) xi_later
 * with e = programmed - target. A device that programming left at the limit 0 has its unlimited draw, sd_first
 * xi_first. */
static inline float fit_grown_error(float target, float programmed, float sd_first, float sd_now, float xi_first,
                                    float xi_later) {
    float e = programmed - target, drawn = sd_first * xi_first;
    e = programmed <= 0.0f && drawn < e ? drawn : e;
    float kept = sd_now < sd_first ? sd_now / sd_first : 1.0f;
    float added = sd_now * sd_now - sd_first * sd_first;
    return e * kept + sqrtf(added > 0.0f ? added : 0.0f) * xi_later;
}
/* xi_first of the stream RANDOM_PROGRAMMING, xi_later of RANDOM_DRIFT. */
void fit_two_draws(const struct cell_draws *d, float *xi_first, float *xi_later, size_t n);

/* ---- tables over a grid -------------------------------------------------------------------------------- */

enum { FIT_GRID_MOST = 64 }; /* points of a grid: a curve lives on the stack */

/* y over an ascending grid x; constant beyond its ends. Linear between the points, or the natural cubic spline through
 * them (second derivative 0 at both ends): on segment k, u = at - x_k,  y = c0 + u (c1 + u (c2 + u c3)). */
struct fit_curve {
    size_t count;
    float x[FIT_GRID_MOST], c[FIT_GRID_MOST][4];
};

/* 2 to FIT_GRID_MOST points, as many of y, ascending (checked at load). */
struct fit_curve fit_curve_make(const struct param_numbers *x, const struct param_numbers *y, bool cubic);
/* out[i] = y at at[i] */
void fit_curve_values(const struct fit_curve *curve, const float *at, float *out, size_t n);

/* ---- checks of part files: messages name the key and what is allowed ---------------------------------------- */

/* `key` has `least` to `most` numbers. */
enum status fit_check_count(const char *key, const struct param_numbers *list, size_t least, size_t most,
                            struct error *e);
/* `key` has as many numbers as the grid. */
enum status fit_check_table(const char *key, const struct param_numbers *list, const char *grid_key,
                            const struct param_numbers *grid, struct error *e);
/* The polynomial c0, c1, ... of `key` is not negative from x_low to x_high (looked at in 65 points). */
enum status fit_check_spread(const char *key, const struct param_numbers *list, double x_low, double x_high,
                             struct error *e);
/* Every number of `key` is larger than the one before; `unit` is that of the file, for the message. */
enum status fit_check_ascending(const char *key, const struct param_numbers *list, const char *unit, struct error *e);
/* 0 or at least 2. */
enum status fit_check_levels(int levels, struct error *e);
/* g_min < g_max. */
enum status fit_check_window(const struct constant *g_min_S, const struct constant *g_max_S, struct error *e);

#endif
