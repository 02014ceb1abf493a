/* What the sources of an array deliver: what its columns collect and, with wires, what flows from row to row.
 *
 * Without wires, row i with level l_i delivers G_i |l_i| (pulses of one voltage) or G_i l_i^2 (voltages), G_i: sum of
 * the conductances on the row.
 *
 * With wires, and 1 V behind row i and 0 V behind all others, the columns rise above 0 V, and a part of the current
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
 * M is taken as a product of what each row gives to the others, m_i = Y_ii - G_i (Y_ii: wires_input_conductance):
 * M_ik = m_i m_k / sum m. Its sums over rows are right, only who gives to whom is smeared out, which inputs that do not
 * follow the order of the rows do not see: the energy is within 1 % of the exact network (uniform and language-model
 * weights, 64 x 64 and 128 x 128 cells, 0.3 to 30 ohm per cell, where up to 78 % of the current is lost; normal, sparse
 * and one-sided inputs). No sum over pairs:
 *
 *   power = sum_i Y_ii v_i^2 - (sum m v)^2 / sum m
 *   over a pass of pulses: sum_i Y_ii |l_i| - integral of n(t)^2 dt / sum m,  n(t) = sum of m sign l where |l| > t
 *
 * The first sum is that of an array without wires, with Y_ii in place of G_i; the second is what rows that are driven
 * alike do not exchange. For n(t), sizes are sorted into at most 128 bins (exact for up to 8 bits, else and for levels
 * with noise within 1e-3 of the current between rows), then added from the longest pulse down. Sums are taken in a
 * fixed order, in parts that become vector code; single precision, some 1e-7 of the result.
 * Not modelled: inputs that follow the order of the rows (first half up, second half down: 2.2 % too much at 30 ohm per
 * cell, 64 x 64 cells); floating rows and cells whose current is not proportional to
 * the voltage (multiply_network.c).
 */
#include "sim/row_currents.h"

#include <math.h>
#include <stddef.h>

#include "sim/machine.h"

enum {
    BINS = 128,        /* sizes 1 .. BINS; 0 never conducts */
    COPIES = 2,        /* of the bins: neighbouring rows often meet in one, and would wait for each other */
    RUNS = 8,          /* of bins, added up side by side */
    RUN = BINS / RUNS, /* bins */
    PIECE = 64,        /* rows that are worked on together */
};

static void levels_of(const int16_t *codes, const float *levels, size_t rows, float *out) {
    for (size_t i = 0; i < rows; i++) {
        out[i] = codes ? (float)codes[i] : levels[i];
    }
}

/* Sum over m of the rows with a code: [BINS + code]. */
struct bins { float of_code_S[COPIES][2 * BINS + 1]; };

static void sort_codes(const int16_t *codes, const float *between_S, size_t n, struct bins *bins) {
    size_t i = 0;
    for (; i + COPIES <= n; i += COPIES) {
        for (size_t c = 0; c < COPIES; c++) {
            bins->of_code_S[c][BINS + codes[i + c]] += between_S[i + c];
        }
    }
    for (; i < n; i++) {
        bins->of_code_S[0][BINS + codes[i]] += between_S[i];
    }
}

/* The same for sizes of any kind, rounded to bins. */
static void sort_levels(const int16_t *codes, const float *levels, const float *between_S, size_t n,
                        float bins_per_level, struct bins *bins) {
    for (size_t begin = 0; begin < n; begin += PIECE) {
        const size_t rows = n - begin < PIECE ? n - begin : PIECE;
        float level[PIECE];
        int16_t code[PIECE] = {0};
        levels_of(codes ? codes + begin : NULL, codes ? NULL : levels + begin, rows, level);
        for (size_t i = 0; i < rows; i++) {
            float place = level[i] * bins_per_level;
            place = place > BINS ? BINS : place < -BINS ? -BINS : place;
            code[i] = (int16_t)((int)(place + (BINS + 0.5f)) - BINS);
        }
        sort_codes(code, between_S + begin, rows, bins);
    }
}

/* Sum of n(t)^2 over all bins, from the longest pulse down: every run on its own, then with what ends beyond it. */
static double sum_of_squares(const struct bins *bins) {
    float ending_S[BINS], on_S[RUNS] = {0}, sum_S[RUNS] = {0}, squares[RUNS] = {0};
    for (size_t k = 0; k < BINS; k++) {
        const size_t plus = BINS + 1 + k, minus = BINS - 1 - k;
        ending_S[k] = (bins->of_code_S[0][plus] + bins->of_code_S[1][plus]) -
                      (bins->of_code_S[0][minus] + bins->of_code_S[1][minus]);
    }
    for (size_t k = RUN; k-- > 0;) {
        for (size_t r = 0; r < RUNS; r++) {
            on_S[r] += ending_S[r * RUN + k];
            sum_S[r] += on_S[r];
            squares[r] += on_S[r] * on_S[r];
        }
    }
    double beyond_S = 0, all = 0;
    for (size_t r = RUNS; r-- > 0;) {
        all += (double)squares[r] + beyond_S * (2 * (double)sum_S[r] + RUN * beyond_S);
        beyond_S += (double)on_S[r];
    }
    return all;
}

static double of_pulses(const int16_t *codes, const float *levels, const float *between_S, size_t n, double limit) {
    struct bins bins = {0};
    const double per_bin = limit >= 2 && limit <= BINS ? 1 : limit / BINS;
    if (codes && limit <= BINS) {
        sort_codes(codes, between_S, n, &bins);
        return sum_of_squares(&bins);
    }
    sort_levels(codes, levels, between_S, n, (float)(1 / per_bin), &bins);
    return sum_of_squares(&bins) * per_bin;
}

static float sum_of_piece(const float x[PIECE]) {
    float sum[8] = {0};
    for (size_t i = 0; i < PIECE; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sum[j] += x[i + j];
        }
    }
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* Sums over rows of conductance x ... */
enum factor { LEVEL, SIZE, SQUARE };

static double weighted_sum(const int16_t *codes, const float *levels, const float *row_S, size_t n,
                           enum factor factor) {
    double all = 0;
    for (size_t begin = 0; begin < n; begin += PIECE) {
        const size_t rows = n - begin < PIECE ? n - begin : PIECE;
        float x[PIECE] = {0};
        levels_of(codes ? codes + begin : NULL, codes ? NULL : levels + begin, rows, x);
        for (size_t i = 0; factor == SIZE && i < PIECE; i++) {
            x[i] = fabsf(x[i]);
        }
        for (size_t i = 0; factor == SQUARE && i < PIECE; i++) {
            x[i] *= x[i];
        }
        for (size_t i = 0; i < rows; i++) {
            x[i] *= row_S[begin + i];
        }
        all += (double)sum_of_piece(x);
    }
    return all;
}

/* What rows that are driven alike do not exchange. */
static double alike_S(const int16_t *codes, const float *levels, const float *between_S, size_t n, double limit,
                      bool squared) {
    double all_S = (double)sum_of_sizes(between_S, n), sum;
    if (!(all_S > 0)) {
        return 0;
    }
    if (squared) {
        sum = weighted_sum(codes, levels, between_S, n, LEVEL);
        return sum * sum / all_S;
    }
    return of_pulses(codes, levels, between_S, n, limit) / all_S;
}

double row_currents_S(const int16_t *codes, const float *levels, const float *source_S, const float *between_S,
                      uint32_t n, double limit, bool squared) {
    double all_S = weighted_sum(codes, levels, source_S, n, squared ? SQUARE : SIZE);
    return between_S ? fmax(all_S - alike_S(codes, levels, between_S, n, limit, squared), 0) : all_S;
}
