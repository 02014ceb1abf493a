/* R-2R and C-2C ladders as input converters of the magnitude (M = N - 1 bits; the sign turns the reference round).
 *
 *     out = node M-1 --R-- node M-2 -- ... --R-- node 0
 *            |2R            |2R                   |2R    |2R
 *           b_(M-1)        b_(M-2)               b_0    ground
 * Each node has one equation (currents, or charges, add up to nothing), the node voltages a tridiagonal system with
 * admittances: leg g = 1, series s = 2, end e = 1 in units of 1/2R (R-2R) or of C (C-2C):
 *   g_i (b_i - V_i) + s_i (V_(i-1) - V_i) + s_(i+1) (V_(i+1) - V_i) - p V_i = 0
 * Solved from the far end by elimination, that is Thevenin's source (voltage E_i, admittance Y_i) seen at each node:
 *   Y_0' = e;   at node i:  Y = Y_i' + p + g_i,  E = (Y_i' E_i' + g_i b_i) / Y;   Y_(i+1)' = Y s / (Y + s),  E' = E
 * The network is linear: weight of bit i = E with only b_i = 1, level = sum b_i w_i x 2^M / limit (the reference is
 * set so that the ideal ladder reaches 1 at code `limit`, limit = 2^M - 1).
 *
 * Mismatch: sigma is the relative sd of a unit element; an element of two units has sigma / sqrt(2): R-2R builds 2R
 * of two unit resistors in series, C-2C builds 2C of two unit capacitors. C-2C also has a parasitic capacitor p =
 * parasitic x C at every node, which bends the weights: each node passes less than half of what comes from below.
 * Closed form: to first order in sigma a bit's weight is off by the sum of d ln w_i / d ln(element) over the elements.
 * Draws: M legs, M - 1 series elements, the end.
 * Sources: Gray et al., "Analysis and design of analog integrated circuits"; Cong, "Pseudo C-2C ladder-based
 * data converter technique", IEEE TCAS-II 48, 2001 (parasitics of C-2C; recalled).
 * Not modelled: resistance of switches, settling, load.
 */
#include "devices/dac_models.h"

enum { MOST_BITS = 16 };

struct ladder {
    struct constant mismatch, parasitic, noise_LSB;
};

static const struct param resistor_rows[] = {
    CONVERTER_CONSTANT("mismatch", "", 0, 0.2, "relative sd of a unit resistor", ladder, mismatch),
    CONVERTER_CONSTANT("noise_LSB", "LSB", 0, 1000, "noise of a level, sd per conversion", ladder, noise_LSB),
};

static const struct param capacitor_rows[] = {
    CONVERTER_CONSTANT("mismatch", "", 0, 0.2, "relative sd of a unit capacitor", ladder, mismatch),
    CONVERTER_CONSTANT("parasitic", "", 0, 1, "capacitor of a node to ground, as a share of the unit", ladder,
                       parasitic),
    CONVERTER_CONSTANT("noise_LSB", "LSB", 0, 1000, "noise of a level, sd per conversion", ladder, noise_LSB),
};

struct admittances {
    double leg[MOST_BITS], series[MOST_BITS], end, parasitic; /* series[i]: between nodes i - 1 and i */
};

/* weight[i] of bit i: shares of the output that each node hands on. */
static void solve_ladder(const struct admittances *y, int nodes, double *weight) {
    double below = y->end;
    for (int i = 0; i < nodes; i++) {
        const double total = below + y->parasitic + y->leg[i];
        for (int k = 0; k < i; k++) {
            weight[k] *= below / total;
        }
        weight[i] = y->leg[i] / total;
        below = i + 1 < nodes ? total * y->series[i + 1] / (total + y->series[i + 1]) : 0;
    }
}

static void fill_levels(const struct admittances *y, int bits, float *level) {
    const int nodes = bits - 1, limit = converter_make(bits).limit;
    const double full = ldexp(1, nodes) / limit;
    double weight[MOST_BITS];
    solve_ladder(y, nodes, weight);
    for (int k = 0; k <= limit; k++) {
        double sum = 0;
        for (int i = 0; i < nodes; i++) {
            sum += k >> i & 1 ? weight[i] : 0;
        }
        level[k] = (float)(sum * full);
    }
}

/* Relative deviations: legs `leg` x z, series `series` x z, the end as a leg. */
static void draw(uint64_t seed, uint64_t where, uint64_t instance, int nodes, double leg, double series,
                 struct admittances *y) {
    float z[2 * MOST_BITS];
    converter_draws(seed, where, instance, z, (size_t)(2 * nodes));
    for (int i = 0; i < nodes; i++) {
        y->leg[i] = 1 + leg * (double)z[i];
        y->series[i] = i ? 1 + series * (double)z[nodes + i - 1] : 0;
    }
    y->end = 1 + leg * (double)z[2 * nodes - 1];
}

static void r_2r_levels(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *level) {
    const double sigma = ((const struct ladder *)params)->mismatch.value;
    struct admittances y = {.parasitic = 0};
    draw(seed, where, instance, bits - 1, sigma / sqrt(2), sigma, &y);
    for (int i = 0; i < bits - 1; i++) { /* the draws were resistances */
        y.leg[i] = 1 / y.leg[i];
        y.series[i] = i ? 2 / y.series[i] : 0;
    }
    y.end = 1 / y.end;
    fill_levels(&y, bits, level);
}

static void c_2c_levels(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *level) {
    const struct ladder *p = params;
    const double sigma = p->mismatch.value;
    struct admittances y = {.parasitic = p->parasitic.value};
    draw(seed, where, instance, bits - 1, sigma, sigma / sqrt(2), &y);
    for (int i = 0; i < bits - 1; i++) {
        y.series[i] *= 2;
    }
    fill_levels(&y, bits, level);
}

static double noise_sd(const void *params, int bits) {
    return ((const struct ladder *)params)->noise_LSB.value / converter_make(bits).limit;
}

const struct dac_model dac_r_2r = {
    .name = "r_2r",
    .about = "resistor ladder with mismatch",
    .source = "Gray, Hurst, Lewis, Meyer: Analysis and design of analog integrated circuits",
    .params = PARAM_TABLE("DAC circuit r_2r", resistor_rows),
    .params_bytes = sizeof(struct ladder),
    .levels = r_2r_levels,
    .noise_sd = noise_sd,
};

const struct dac_model dac_c_2c = {
    .name = "c_2c",
    .about = "capacitor ladder with mismatch and parasitics",
    .source = "Cong, IEEE TCAS-II 48, 2001",
    .params = PARAM_TABLE("DAC circuit c_2c", capacitor_rows),
    .params_bytes = sizeof(struct ladder),
    .levels = c_2c_levels,
    .noise_sd = noise_sd,
};
