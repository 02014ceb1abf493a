/* Private to sim/: the programmed machine, and the multiply that works on it.
 *
 * For run.c: machine_multiply computes values and fills one multiply_record; run_multiply keeps the record. The scratch
 * of a run is made once (multiply_scratch_create), so that a multiply allocates nothing.
 */
#ifndef MHO_SIM_MACHINE_H
#define MHO_SIM_MACHINE_H

#include "sim/chip.h"
#include "sim/record.h"
#include "sim/sim.h"

/* Borrowed; chip and placement must outlive the machine. */
const struct chip *machine_chip(const struct machine *m);
const struct placement *machine_placement(const struct machine *m);

/* Working memory of multiplies of at most max_tokens tokens, any matrix of `m`. NULL when out of memory. */
struct multiply_scratch;
struct multiply_scratch *multiply_scratch_create(const struct machine *m, uint32_t max_tokens);
void multiply_scratch_destroy(struct multiply_scratch *s); /* NULL is fine */

/* The values of run_multiply (sim.h): y [tokens][outputs]. Errors (ERR_RUN): inputs that are not finite; ranges that are
 * not set (calibrate first). ERR_USAGE: a matrix that is not analog. Writes to `m` only while its calibration is open. */
enum status machine_multiply(struct machine *m, size_t matrix, const float *x, uint32_t tokens, struct multiply_scratch *s,
                             float *y, struct multiply_record *record, struct error *e);

#endif
