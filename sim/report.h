/* Private to sim/: what both reports say. */
#ifndef MHO_SIM_REPORT_H
#define MHO_SIM_REPORT_H

#include <stdio.h>

#include "sim/run.h"

extern const char *const report_not_modelled[]; /* NULL-terminated */
extern const char *const report_tile_boundary;
const char *report_boundary(const struct chip *c);

/* What a reader must not overlook: numbers that cannot be right, capacity that does not suffice. */
enum { FLAGS_MOST = 24, FLAG_BYTES = 160 };
struct flags {
    char text[FLAGS_MOST][FLAG_BYTES];
    size_t count;
};
void report_flags(const struct run *r, struct flags *out);

/* Energy of the tiles (DAC, array, sampling, ADC, post) per analog MAC; NAN without MACs or costs. */
double report_tile_J_per_mac(const struct ledger_view *v);

/* The course of a run (report_course.c): new references. */
json_t *report_layer_components_json(const struct run *r);
/* Parts of the critical path on which nothing worked, beside the classes of resources: i = 0, 1; 0 where there was no
 * such waiting. Together with the classes they add up to the makespan. */
enum { REPORT_WAITS = 2 };
struct report_wait { const char *name; double critical_s; };
struct report_wait report_wait(const struct run *r, int i);
json_t *report_layer_times_json(const struct run *r);
json_t *report_steps_json(const struct run *r);
json_t *report_resources_json(const struct run *r);
json_t *report_last_step_json(const struct run *r);
json_t *report_matrices_json(const struct run *r);
json_t *report_network_json(const struct run *r);

/* Parts of the terminal report, in lines that may be too long: report_print_spread.c, report_print_machine.c. */
void report_print_spread(const struct run *r, int columns, FILE *out);
void report_print_setup(const struct run *r, double run_J, FILE *out);

struct constant_count {
    size_t all, assumed;
};
struct constant_count report_constants(const struct chip *c);

#endif
