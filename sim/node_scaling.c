/* See node_scaling.h. */
#include "sim/node_scaling.h"

#include <math.h>
#include <stddef.h>

static const struct row {
    double node_nm, a, b, c, area;
} rows[] = {
    {130, 7.171, -6.709, 2.904, 110},  {90, 4.762, -4.781, 2.092, 48},    {65, 3.755, -4.398, 1.975, 25},
    {45, 1.103, -0.362, 0.2767, 17},   {32, 0.9559, -0.7823, 0.471, 7.8}, {20, 0.373, -0.1582, 0.04104, 3.6},
    {16, 0.2958, -0.1241, 0.03024, 3.2}, {14, 0.2363, -0.09675, 0.02239, 2.9}, {10, 0.2068, -0.09311, 0.02375, 1.7},
    {7, 0.1776, -0.09097, 0.02447, 1},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static double energy_of(const struct row *r, double volts) { return r->a * volts * volts + r->b * volts + r->c; }

/* Between rows i and i + 1, on straight lines of logarithms. */
static double between(double node_nm, size_t i, double larger, double smaller) {
    double share = log(node_nm / rows[i + 1].node_nm) / log(rows[i].node_nm / rows[i + 1].node_nm);
    return exp(share * log(larger) + (1 - share) * log(smaller));
}

/* The row at or above the node; the last but one for the last. */
static size_t row_above(double node_nm) {
    size_t i = 0;
    while (i + 2 < ROWS && node_nm <= rows[i + 1].node_nm) {
        i++;
    }
    return i;
}

static double relative_energy(double node_nm, double volts) {
    size_t i = row_above(node_nm);
    if (node_nm < rows[ROWS - 1].node_nm) {
        return energy_of(&rows[ROWS - 1], volts) * sqrt(node_nm / rows[ROWS - 1].node_nm);
    }
    return between(node_nm, i, energy_of(&rows[i], volts), energy_of(&rows[i + 1], volts));
}

static double relative_area(double node_nm) {
    size_t i = row_above(node_nm);
    if (node_nm < rows[ROWS - 1].node_nm) {
        return rows[ROWS - 1].area * node_nm / rows[ROWS - 1].node_nm;
    }
    return between(node_nm, i, rows[i].area, rows[i + 1].area);
}

double node_energy_factor(double from_nm, double to_nm, double volts) {
    return relative_energy(to_nm, volts) / relative_energy(from_nm, volts);
}

double node_area_factor(double from_nm, double to_nm) { return relative_area(to_nm) / relative_area(from_nm); }
