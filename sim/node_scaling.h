/* Private to sim/: from one process node to another.
 *
 * Stillmaker and Baas, Scaling equations for the accurate prediction of CMOS device performance from 180 nm to 7 nm,
 * Integration 58, 2017:
 *   energy  e(V) = a V^2 + b V + c with a, b, c of each node; factor = e(V) of the target / e(V) of the source
 *   area    measured areas relative to 7 nm; factor = that of the target / that of the source (two digits published)
 * Nodes between those of the table: straight line in log(node), log(value) between the two neighbours (an assumption).
 * Below 7 nm: area linear in the node, energy with its square root (as hwcomponents reads the ITRS and IRDS roadmaps).
 * Fits to logic; analog blocks and wires scale less. Not modelled: delay (clocks are given), leakage of its own.
 */
#ifndef MHO_SIM_NODE_SCALING_H
#define MHO_SIM_NODE_SCALING_H

#define SCALING_NODE_LEAST_NM 1.0
#define SCALING_NODE_MOST_NM 130.0

/* Nodes from SCALING_NODE_LEAST_NM to SCALING_NODE_MOST_NM, volts 0.4 to 1.4. */
double node_energy_factor(double from_nm, double to_nm, double volts);
double node_area_factor(double from_nm, double to_nm);

#endif
