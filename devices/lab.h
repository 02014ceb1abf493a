/* Lab data become a cell: reading them, and estimating what the model `measured` needs.
 *
 * Times are ages t after programming, as everywhere in the program: a cell's drift counts from t0 after the write,
 * which is age 0. What is estimated (r = target / largest target, L = ln((t + t0) / t0)):
 *   programming  g_prog = max(0, m(r) + s(r) xi)         m, s: polynomial or spline over r, by an information criterion
 *   drift        g(t) = g_prog ((t + t0) / t0)^-nu       nu of each device: mean and sd per target
 *   read noise   sd of ln g = Q f(t), f(t) = sqrt(ln((t + t0 + t_read) / (2 t_read)))     Q per target
 *   t0           given, or sought: the one for which the regressions below leave least, S = dof ln(rss) along ln t0;
 *                refused where S rises by less than 9 (three standard errors) towards either side. Reads that are all
 *                long after t0 follow t^-nu for any t0, and the programmed value would be made up.
 *
 * Forms of data, CSV with a header line:
 *   raw      target_uS, time_s, g_uS[, device]                    one row per read; device: a whole number
 *   summary  target_uS, mean_uS, sd_uS, time_s[, samples]         one row per target and time
 *
 * With devices, every device has its own regression of ln g on L (weights 1 / f^2): its slope is -nu, the scatter
 * around it gives Q. Its reads count as independent in their slow noise: true for times a decade apart; closer ones
 * share some of it, and Q comes out too small. Without devices, the moments over them tell:
 *   Var(ln g) = (a + Q^2 f(0)^2) + Q^2 L + sd_nu^2 L^2,    ln(mean g) = ln m - mean_nu L + sd_nu^2 L^2 / 2;
 * times then count as independent although the devices are the same, which makes the standard errors of drift too large
 * rather than too small.
 * The limit at 0 is taken out of mean and sd: they are those of the normal distribution before it.
 *
 * A fit that misses the means by 5 standard errors on average (chi2 / dof above 25) and by more than 1 % is refused.
 * chi2 / dof of means over time is about 1 for reads of ever new devices, below 1 where the same devices are read
 * again.
 *
 * Not estimated: correlation of a device's error with its exponent, other shapes than the normal distribution,
 * telegraph noise, retention, temperature.
 */
#ifndef MHO_DEVICES_LAB_H
#define MHO_DEVICES_LAB_H

#include "base/csv.h"
#include "base/memory.h"
#include "devices/device.h"

struct lab_row {
    double target_S, time_s;
    double g_S;           /* raw: the read; summary: the mean */
    double sd_S, samples; /* summary; samples 0: not given */
    int64_t device;       /* -1: not given */
    size_t row;           /* of the CSV */
};

struct lab_data {
    const char *path; /* borrowed */
    struct csv *csv;  /* for messages */
    bool raw, has_devices, has_counts;
    struct lab_row *rows; /* by target, device, time */
    size_t count;
    uint64_t hash; /* FNV-1a of the file's bytes */
};

/* Errors name file, line and cell: wrong columns, what is not a number, negative values, times of a device that
 * go backwards, rows that are there twice. */
enum status lab_data_read(const char *path, struct lab_data *out, struct error *e);
void lab_data_free(struct lab_data *d);

enum lab_curve_kind { LAB_POLYNOMIAL, LAB_SPLINE };

struct lab_options {
    int curve;              /* enum lab_curve_kind */
    bool drift, read_noise; /* false: left out, and 0 in the part */
    double t_read_s;        /* length of a read */
    double t0_s;            /* 0: sought */
};

struct lab_value {
    double value, error; /* standard error */
};

struct lab_point { /* one target at one time */
    double time_s, n, mean_S, sd_S;
};

struct lab_target {
    double target_S;
    struct lab_point *points;
    size_t point_count;
    double devices, left_out;      /* with devices: in the regressions; left out since a read was 0 */
    struct lab_value mean_S, sd_S; /* at age 0; read noise and the limit at 0 taken out */
    double mean_fit_S, sd_fit_S;   /* the curves there: what the part says */
    struct lab_value nu, nu_sd;
    struct lab_value q; /* Q */
};

struct lab_quality { /* residuals; chi2_per_dof NAN: standard errors are not known, or no degree of freedom */
    double largest, rms, chi2_per_dof;
    size_t dof;
};

enum { LAB_TERMS_MOST = 12 };

struct lab_curve {
    int kind;              /* enum lab_curve_kind */
    size_t terms;          /* polynomial: order + 1; spline: cubic B-splines with terms - 2 knots, equally spaced */
    double low_S, scale_S; /* smallest and largest target; r = target / scale; coefficients are in siemens */
    double value[LAB_TERMS_MOST], error[LAB_TERMS_MOST];
    struct lab_quality quality;
};

struct lab_result {
    struct lab_target *targets;
    size_t count;
    double t0_s, t0_error_s; /* the error only where it was fitted */
    bool t0_fitted;
    double first_s, positive_s, longest_s, t_read_s; /* positive: the first one above 0 */
    bool drift, read_noise;
    struct lab_curve mean, sd;
    struct lab_quality regression; /* of ln g on L; residuals are relative */
    double samples;                /* all reads; 0: not given */
};

/* Refuses data that cannot determine what is asked for, and says which target lacks what. Lives in `a`. */
enum status lab_fit(const struct lab_data *d, const struct lab_options *o, struct arena *a, struct lab_result *out,
                    struct error *e);

/* The curve at n targets, siemens. */
enum status lab_curve_values(const struct lab_curve *c, const double *target_S, size_t n, double *out_S,
                             struct error *e);

/* The part: {model: measured, ...}, every value fitted or measured, source = `source`, spreads from the standard
 * errors. */
enum status lab_part(const struct lab_result *r, const char *source, struct arena *a, struct config_node **out,
                     struct error *e);

#endif
