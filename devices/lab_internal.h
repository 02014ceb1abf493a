/* Private to devices/lab*.c: least squares, and the curves over the target. */
#ifndef MHO_DEVICES_LAB_INTERNAL_H
#define MHO_DEVICES_LAB_INTERNAL_H

#include "devices/lab.h"

/* y = sum of value_k design[.][k] with weights w; design [n][k], k <= n. `known`: w are 1 / variance; otherwise
 * errors are scaled by the scatter, and NAN without a degree of freedom. GSL's error handler must be off. */
enum status lab_least_squares(const double *design, const double *y, const double *w, size_t n, size_t k, bool known,
                              struct lab_value *value, double *chi2, struct error *e);

/* Mean and sd over the target: r->mean, r->sd, and what they say at every target. */
enum status lab_fit_curves(const struct lab_data *d, const struct lab_options *o, struct arena *a, struct lab_result *r,
                           struct error *e);

#endif
