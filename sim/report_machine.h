/* Private to sim/: parts of the reports about the machine in time. */
#ifndef MHO_SIM_REPORT_MACHINE_H
#define MHO_SIM_REPORT_MACHINE_H

#include "sim/run.h"

/* Keys and values held, all layers; room on all chips; sum over layers of what is beyond the layer's room. */
struct kv_use { double bits, room_bits, beyond_bits; };
struct kv_use report_kv_use(const struct run *r);
json_t *report_memory_json(const struct run *r); /* new references */
json_t *report_power_json(const struct run *r);
/* What came before the first token, for all copies of the matrices: programming; the refreshes up to the machine's age;
 * then calibration. NAN where it is not stated. Only with a machine. */
struct setup_costs { double programming_s, programming_J, refresh_s, refresh_J, calibration_s, calibration_J; };
struct setup_costs report_setup(const struct run *r);
/* The same as phases at negative times; rows: the phases, their sum, the run, and both together (with_run_*
 * says that, too). null without a machine. */
/* What fell due in the run; NULL: nothing did. */
json_t *report_maintenance_json(const struct run *r);
json_t *report_setup_json(const struct run *r);

#endif
