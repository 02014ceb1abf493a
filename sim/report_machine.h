/* Private to sim/: parts of the reports about the machine in time. */
#ifndef MHO_SIM_REPORT_MACHINE_H
#define MHO_SIM_REPORT_MACHINE_H

#include "sim/run.h"

/* Keys and values held, all layers; room on all chips; sum over layers of what is beyond the layer's room. */
struct kv_use { double bits, room_bits, beyond_bits; };
struct kv_use report_kv_use(const struct run *r);
json_t *report_memory_json(const struct run *r); /* new references */
json_t *report_power_json(const struct run *r);
/* What came before the first token, at negative times: programming with its refreshes up to the machine's age, then
 * calibration. One copy of every matrix. Reported beside the run; with_run_*: both together. null without a machine. */
json_t *report_setup_json(const struct run *r);

#endif
