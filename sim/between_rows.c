/* Current from row to row: what the sources of an array with wires deliver beyond what its columns collect.
 *
 * With 1 V behind row i and 0 V behind all others, the columns rise above 0 V on their wires, and a part of the current
 * leaves through the other rows. Y[i][k]: what source i delivers for 1 V behind row k; symmetric, negative beside the
 * diagonal. By Kirchhoff's law and reciprocity a row of it sums up to what the columns collect from that input, G_i =
 * sum over j of E[j][i] (devices/wires.h). So with M = -Y beside the diagonal
 *
 *   power = v' Y v = sum_i G_i v_i^2 + sum_(i<k) M_ik (v_i - v_k)^2
 *
 * Pulses of one voltage V begin together and last |l| of a pass, with the sign of l: the same at every moment, with v =
 * V sign l while |l| is above the time, else 0.
 *
 * Equal inputs: nothing flows between rows, the sum over G is exact. Else it is too low: by up to 3 % at 0.3 ohm
 * per cell, up to 43 % at 30 ohm (128 x 128 cells, uniform, inputs of random signs).
 *
 * M is taken as a product of what each row gives to the others, m_i = input_S[i] - G_i (wires_input_conductance):
 * M_ik = m_i m_k / sum m. Its sums over rows are right, only who gives to whom is smeared out, which inputs that do not
 * follow the order of the rows do not see: the energy is within 1 % of the exact network (uniform and language-model
 * weights, 64 x 64 and 128 x 128 cells, 0.3 to 30 ohm per cell, where up to 78 % of the current is lost; normal, sparse
 * and one-sided inputs). No sum over pairs:
 *
 *   sum_(i<k) m_i m_k (v_i - v_k)^2 = S sum m v^2 - (sum m v)^2,  S = sum m
 *   over a pass of pulses    S sum m |l| - integral of n(t)^2 dt,  n(t) = sum of m sign l over rows with |l| > t
 *
 * For n(t), sizes are sorted into at most 128 bins: exact for up to 8 bits, else and for levels with noise within 1e-3
 * of it.
 * Not modelled: inputs that follow the order of the rows; floating rows and cells whose current is not proportional to
 * the voltage (multiply_network.c).
 */
#include "sim/between_rows.h"

#include <math.h>

enum { BINS = 128 };

static double of_voltages(const int16_t *codes, const float *levels, const float *between_S, uint32_t n) {
    double all_S = 0, first = 0, second = 0;
    for (uint32_t i = 0; i < n; i++) {
        double level = codes ? (double)codes[i] : (double)levels[i], m_S = (double)between_S[i];
        all_S += m_S;
        first += m_S * level;
        second += m_S * level * level;
    }
    return all_S > 0 ? fmax(second - first * first / all_S, 0) : 0;
}

static double of_pulses(const int16_t *codes, const float *levels, const float *between_S, uint32_t n, double limit) {
    double ending_S[BINS + 1] = {0}, all_S = 0, on = 0, net_S = 0, squares = 0,
           per_bin = limit >= 2 && limit <= BINS ? 1 : limit / BINS;
    float bins = (float)(1 / per_bin);
    for (uint32_t i = 0; i < n; i++) {
        float level = codes ? (float)codes[i] : levels[i], size = fabsf(level) * bins;
        size = size < BINS ? size : BINS;
        all_S += (double)between_S[i];
        on += (double)between_S[i] * (double)size;
        ending_S[(int)(size + 0.5f)] += (double)copysignf(between_S[i], level); /* no branch: signs are random */
    }
    for (int k = BINS; k > 0; k--) {
        net_S += ending_S[k];
        squares += net_S * net_S;
    }
    return all_S > 0 ? fmax(on - squares / all_S, 0) * per_bin : 0;
}

double between_rows_S(const int16_t *codes, const float *levels, const float *between_S, uint32_t n, double limit,
                      bool squared) {
    return squared ? of_voltages(codes, levels, between_S, n) : of_pulses(codes, levels, between_S, n, limit);
}
