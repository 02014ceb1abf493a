/* Private to sim/: from the constants that a chip file gives to those that act.
 *
 * In this order:
 *   converters  energy, area, leakage and time by tile.adc.cost and tile.dac.cost (sim/converter_cost.h)
 *   node        scale_to_node: on: energy and area of every part with a node_nm other than the chip's
 *               (sim/node_scaling.h) x scaling.error; its static power with the area (the same leakage per area)
 *   supply      u = voltage_V / nominal_V: dynamic energy x u^2 of DAC, integrators, ADC, post-processing, a published
 *               array energy, digital units and memories, each unless its follows_supply is off; read_voltage_V x u
 *               only where tile.array_follows_supply says that it is made from the supply; static power
 *               x u^static_exponent; with supply.clock the clock x f(voltage) / f(nominal), and with supply.tile_times
 *               the times of the tile the other way round
 * The survey model takes the node as an input, so its converter is not scaled again. A constant that was scaled shows
 * itself as assumed, with what was done added to its source.
 * Not modelled: read voltages, wires and noise that change with the supply; speed that changes with the node.
 */
#ifndef MHO_SIM_CHIP_COSTS_H
#define MHO_SIM_CHIP_COSTS_H

#include "sim/chip.h"

/* `out` = `given` with the constants that act. Sources of scaled constants are arena-owned; a == NULL: sources stay. */
enum status chip_costs_act(const struct chip_spec *given, struct arena *a, struct chip_spec *out, struct error *e);

/* What contradicts in these keys: NULL where all is well, else the key to change, with the reason in `why`. */
const char *cost_contradiction(const struct chip_spec *given, char *why, size_t bytes);

/* Of so many chips whose tiles have so many arrays of cells more (struct placement_total; sim/area.c). */
struct area_view chip_area(const struct chip_spec *s, double chips, double more_arrays);

/* With the leakage of its converters; of a whole pool; with refresh. Of the constants that act. */
double tile_static_W(const struct tile_spec *t);
double unit_static_W(const struct unit_spec *u);
double memory_static_W(const struct memory_spec *m);
double dram_static_W(const struct dram_spec *m); /* beside one chip; 0 without */
/* Routers of one chip; 0 without a network. */
double network_routers(const struct chip_spec *s);
double links_static_W(const struct chip_spec *s); /* of one chip: routers and links to other chips */

#endif
