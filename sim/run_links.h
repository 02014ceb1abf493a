/* Private to sim/: what a run sends over the links of chips (loads: sim/interconnect.h).
 *
 * A multiply: its inputs leave the hub of the home chip; where tiles lie on other chips, they cross the chip links once
 * (out of the home chip, into each of the others) and then the networks of those chips. The tiles start on a token when
 * all its inputs are there. Results come back the same way. Activations cross the chip links where an operation works
 * on another home chip than the one before it.
 * Tokens go to the copies of a matrix in turn, counted from the beginning of the run: the links of the others see
 * nothing of them. (Which copy's tiles take a token is decided when it arrives, by who is free: for tokens that come
 * one after the other the same.)
 * A chip link holds bits / bandwidth; its head arrives after the latency; a package link likewise, between chips of
 * different packages. Resources: after the units of all chips, one per class of links, then per group of chips a chip
 * link out and one in, then per group a package link out and one in.
 */
#ifndef MHO_SIM_RUN_LINKS_H
#define MHO_SIM_RUN_LINKS_H

#include "sim/run.h"

/* Makes r->net where the chip has links. */
enum status run_links_create(struct run *r, struct error *e);
size_t run_links_resources(const struct run *r);
/* Stages that one multiply of every matrix adds, and those of changes of chip between `operations`. */
size_t run_links_stages(const struct run *r, size_t operations);
/* Whether tokens take turns on some link. */
bool run_links_turns(const struct run *r);
/* `resource`: counted from the first one here. */
enum resource_class run_links_class(const struct run *r, size_t resource);
uint64_t run_links_chip(const struct run *r, size_t resource); /* the first of its group */

/* From `at` to the start of the tiles; from the end of the tiles to that of the multiply. Notes energy. */
void run_send_inputs(struct run *r, size_t matrix, struct front *at);
void run_collect_results(struct run *r, size_t matrix, struct front *at);
/* The next operation is one of `layer` and takes `values` numbers per token (0: as many as the one before it). */
void run_enter_chip(struct run *r, int layer, uint64_t values, struct front *at);

#endif
