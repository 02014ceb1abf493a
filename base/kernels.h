/* Arithmetic kernels: one struct of function pointers per instruction set, chosen once at start.
 *
 * The plain reference (kernels/ref.c) stays for ever; every other set is tested against it. Integer
 * kernels give identical results everywhere. Floating kernels: fixed order of summation per kernel
 * (never dependent on threads or batch split), error bound against double stated at each member,
 * with eps = 2^-24, n = number of terms.
 *
 * Functions here are single-threaded; callers split work over outputs (panels), never over the
 * inner dimension, so results do not depend on the thread count.
 */
#ifndef MHO_BASE_KERNELS_H
#define MHO_BASE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { PANEL = 16 }; /* outputs side by side in packed matrices */

/* Limits of mac_i16_noise: a weight's variance and an input's square; VARIANCE_MOST * SQUARE_MOST * rows < 2^31. Of
 * noise_sd: how far a variance may be off the middle of its column, so that two products with squares fit 16 bits. */
enum { VARIANCE_MOST = 127, SQUARE_MOST = 255, OFF_MOST = 63 };

/* Sums over the inputs of one token. */
struct square_sums {
    float all;  /* x^2 */
    float rest; /* x^2 - unit x square: what rounding has left over; it meets the mean variance of the column */
};

/* What mac_i16_noise takes beside weights and inputs. */
struct read_noise {
    const int16_t *law;     /* [4 * PANEL] the variance of a weight */
    const float *factors;   /* [3 * PANEL] */
    const uint8_t *squares; /* of the inputs; those of the next token lds further */
    size_t lds;
    const struct square_sums *sums; /* one of each token, that of the next ldn further */
    size_t ldn;
};

/* Where the square of row r lies among those of its token: rows in fours, each 0 2 1 3. */
static inline size_t square_place(size_t row) { return (row & ~(size_t)3) | (row & 1) << 1 | (row >> 1 & 1); }
/* Variances as bytes beside a panel: eight rows of a lane side by side in the order of squares; lanes 0 1 4 5 8 9 12 13
 * first, then 2 3 6 7 10 11 14 15, so that registers of all widths find their lanes in order. */
static inline size_t variance_place(size_t row, size_t lane) {
    size_t slot = (lane >> 1 & 1) * (PANEL / 2) + (lane >> 2) * 2 + (lane & 1);
    return (row / 8 * PANEL + slot) * 8 + square_place(row % 8);
}

/* Squares of the inputs of one token as bytes: square = unit x byte + what rounding has left over. */
struct byte_squares {
    float unit, all, rest; /* sums over the rows: of the squares, of what is left over */
};

/* What noise_sd takes; pack_variances and pack_squares make it. */
struct byte_noise {
    const int8_t *variances; /* of the panel, at variance_place, at most OFF_MOST; any up to a multiple of 8 rows */
    const float *factors;    /* [3 * PANEL] */
    const uint8_t *squares;  /* of the inputs, at square_place; 0 up to a multiple of 8; next token lds further */
    size_t lds;
    const struct byte_squares *sums; /* [tokens] */
};

/* Strips of drawn_sd: variances of NOISE_STRIP columns, four panels, as bytes of at most STEPS_MOST, so that two fit
 * one; lane by lane the four panels side by side, so that the bytes of a lane are one 32-bit word. */
enum { NOISE_STRIP = 4 * PANEL, STEPS_MOST = 127, DRAW_LANES = 16, DRAWS_MOST = 512, DRAWN_TOKENS = 16 };
static inline size_t strip_place(size_t row, size_t column) {
    return row * NOISE_STRIP + column % PANEL * 4 + column / PANEL;
}
/* Rows of strip_of_codes come in pairs. */
static inline size_t strip_size(size_t rows) { return (rows + 1) / 2 * 2 * NOISE_STRIP; }

/* What drawn_sd takes: one strip, and rows of it that were drawn for every token (draw_rows). */
struct drawn_rows {
    const uint8_t *strip;
    const float *factors;   /* [2 * NOISE_STRIP], columns in their order */
    const uint32_t *places; /* [tokens][draws] where the rows begin, strip_place */
    size_t draws;           /* a multiple of 2, at most DRAWS_MOST */
    const float *roots;     /* one of each token, that of the next ldr further */
    size_t ldr;
    /* What will be read after it, to be asked for, since no hardware foresees rows that chance has drawn: the whole
     * strip, or of one token its rows. next NULL: unknown, or at hand. */
    const uint8_t *next;
    const uint32_t *next_places;
    size_t next_rows;
};

/* Where the weight of a row and lane lies in a panel of mac_i16. */
static inline size_t code_place(size_t row, size_t lane) { return row / 2 * 2 * PANEL + lane * 2 + row % 2; }

/* What mac_i16_drawn takes: a panel, with a word more before it and one behind that may hold anything. */
struct drawn_codes {
    const int16_t *panel;
    const int16_t *law;     /* [4 * PANEL] the variance of a weight, as mac_i16_noise has it; NULL: h(w,w) >> 8 */
    const float *factors;   /* [PANEL] and, NOISE_STRIP further, [PANEL]: what drawn_rows has of this panel */
    const uint32_t *places; /* [tokens][draws] where the rows begin, code_place */
    size_t draws;           /* and the rest: as in drawn_rows */
    const float *roots;
    size_t ldr;
};

enum weight_type { WEIGHT_F32, WEIGHT_F16, WEIGHT_BF16 };

struct kernels {
    const char *name; /* "ref", "avx2", "avx512", "neon" */

    /* sum a[i]*b[i]; |error| <= (n/16 + 8) eps sum|a b| */
    float (*dot_f32)(const float *a, const float *b, size_t n);

    /* Decode. y[o] = sum_k W[o*stride + k] x[k], o < rows; W row-major in its stored type. Memory-bound.
     * Bound as dot_f32. y[o] does not depend on `rows`. */
    void (*gemv)(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *x, float *y);
    /* Attention: y[i] = sum_j a[j] W[j*stride + i], i < k, over j < rows in order;
     * |error| <= rows eps sum|a W|. */
    void (*weigh_rows)(enum weight_type type, const void *w, size_t stride, size_t rows, size_t k, const float *a,
                       float *y);
    /* fp16 of x[i], to the nearest, ties to even; identical in all kernels but for the payload of a NaN */
    void (*halves_of_f32)(const float *x, size_t n, uint16_t *halves);
    /* Prefill, packed. W: one panel of PANEL outputs, k-major: panel[k*PANEL + lane], fp32.
     * y[t*ldy + lane] = sum_k panel[k*PANEL+lane] * x[t*ldx + k], t < tokens, lane < lanes (<= PANEL).
     * |error| <= k eps sum|panel x|. An output does not depend on `tokens` and `lanes`. */
    void (*gemm_panel_f32)(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                           size_t ldy, size_t lanes);
    /* Converts `lanes` rows of stored type into a panel (missing lanes 0). */
    void (*pack_panel_f32)(enum weight_type type, const void *w, size_t stride, size_t lanes, size_t k, float *panel);

    /* Analog integer multiply. Panel of PANEL columns, rows in pairs (row index = tile input):
     *   panel[(r/2)*2*PANEL + lane*2 + (r&1)], int16, |w| <= 32767; odd row counts are zero-padded.
     * x: int16 codes, padded to even rows, |x| <= 2^15-1.
     * acc[t*PANEL + lane] = sum_r panel(r,lane) * x[t*ldx + r], exact in int32: the caller guarantees
     * rows * max|w| * max|x| < 2^31. */
    void (*mac_i16)(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens, int32_t *acc);
    /* y[t*ldy + lane] = acc[t*PANEL + lane] * steps[lane] * x_steps[t], lane < lanes, multiplied in this order in
     * single precision: sums of codes as numbers. Identical in all kernels. */
    void (*scale_sums)(const int32_t *acc, const float steps[PANEL], const float *x_steps, size_t tokens, float *y,
                       size_t ldy, size_t lanes);
    /* mac_i16 for weights that are noisy from read to read: the same acc, and from the same weights the sd of each sum
     *   sd[t*PANEL + lane] = root of factors[lane] * spread + (factors[PANEL + lane] * rest + factors[2*PANEL + lane] *
     *                        all), rest and all of sums[t*ldn]; 0 where that is < 0
     *   spread = sum_r v(r,lane) * square(t,r),  squares[t*lds + (r with bits 0 and 1 swapped)]
     *   v(r,lane) = (k0 + h(k1,a) - h(k2,h(a,a))) >> 8,  a = k3 |panel(r,lane)|,  h(a,b) = (a b + 2^14) >> 15,
     *               k_i = law[i*PANEL + lane]: a weight's variance as a polynomial of a / 2^15
     * read_noise_column makes law and factors, square_codes squares and sums. Integers up to the spread, then single
     * precision in this order: identical in all kernels, and not dependent on `tokens`; fastest where k0 = k1 = 0,
     * k2 = -2^15 and k3 = 1 in all lanes, since then v = h(w,w) >> 8. The caller guarantees 0 <= v <= VARIANCE_MOST and
     * squares that are 0 from `rows` up to the next multiple of 4. */
    void (*mac_i16_noise)(const int16_t *panel, size_t rows, const int16_t *x, size_t ldx, size_t tokens,
                          const struct read_noise *noise, int32_t *acc, float *sd);
    /* The sd alone, of a panel whose weights' variances are kept as bytes:
     *   sd[t*PANEL + lane] = root of (step spread) unit + (middle all + off rest), 0 where that is < 0
     *   spread = sum_r variance(r,lane) * square(t,r)
     *   step, middle, off = factors[lane], factors[PANEL + lane], factors[2*PANEL + lane];  unit, all, rest = sums[t]
     * or, where all 16 steps are 0 (the weights of each column are noisy alike), without a sum over rows
     *   sd[t*PANEL + lane] = root of middle x root of all
     * Single precision in this order: identical in all kernels, and not dependent on `tokens`. */
    void (*noise_sd)(const struct byte_noise *noise, size_t rows, size_t tokens, float *sd);
    /* Draws `draws` rows, at most DRAWS_MOST, each as often as draws x its share of the sum of the squares, rounded up
     * or down by chance: u in [0, 1) decides for all. squares [rows], >= 0. drawn: numbers of rows. Returns the sum.
     * Identical in all kernels: the order of the sums is that of base/kernels/comb.h. */
    float (*draw_rows)(const float *squares, size_t rows, float u, size_t draws, uint32_t *drawn);
    /* sd[(panel*tokens + t)*PANEL + lane] = root of (factors[c] + factors[NOISE_STRIP + c] * sum) * roots[t*ldr],
     * c = panel*PANEL + lane, the root 0 where it would be of a number < 0,
     *   sum = sum_d strip[places[t*draws + d] + strip_place(0, c)]
     * Integers up to the sum, then single precision in this order: identical in all kernels, and not dependent on
     * `tokens`. */
    void (*drawn_sd)(const struct drawn_rows *rows, size_t tokens, float *sd);
    /* For few tokens: mac_i16 of a panel, and noise with the sd of drawn_sd of a strip of strip_of_codes
     *   v[t*PANEL + lane] = acc + z[t*ldz + lane] sd, as add_noise has it,
     *   sd = root of (factors[lane] + factors[NOISE_STRIP + lane] * sum) * roots[t*ldr]
     *   sum = sum_d v(places[t*draws + d], lane),  v of a weight as mac_i16_noise has it
     * At most DRAWN_TOKENS tokens. Identical in all kernels. */
    void (*mac_i16_drawn)(size_t rows, const int16_t *x, size_t ldx, size_t tokens, const struct drawn_codes *codes,
                          const float *z, size_t ldz, float *v);
    /* A strip from the weights of `panels` (1 to 4) panels of mac_i16, the next `stride` words further:
     *   strip[strip_place(r, panel*PANEL + lane)] = v(r,lane), 0 for panels that are not there
     * law: [panels][4 * PANEL], or NULL as in drawn_codes. Writes strip_size(rows) bytes; those behind the last row of
     * an odd count mean nothing. */
    void (*strip_of_codes)(const int16_t *panel, size_t stride, size_t panels, size_t rows, const int16_t *law,
                           uint8_t *strip);
    /* v[t*PANEL + lane] = acc + z sd; acc, sd, v: [tokens][PANEL]; z: PANEL numbers, those of the next token ldz
     * further. Identical in all kernels. */
    void (*add_noise)(const int32_t *acc, const float *sd, const float *z, size_t ldz, size_t tokens, float *v);
    /* The same with sd = root of column[lane] x root of all[t*lda], each 0 where its number is negative. */
    void (*add_flat_noise)(const int32_t *acc, const float column[PANEL], const float *all, size_t lda, const float *z,
                           size_t ldz, size_t tokens, float *v);

    /* max |x[i]|, 0 for n = 0; NaN anywhere gives NaN */
    float (*absmax_f32)(const float *x, size_t n);
    /* codes[i] = clamp(round_half_even(x[i] * inv_step), -limit, limit), limit <= 32767; returns how many were
     * clamped. NaN gives the code +limit and counts as clamped; who must not go on with NaN asks absmax_f32. */
    size_t (*quantise_i16)(const float *x, size_t n, float inv_step, int limit, int16_t *codes);

    /* out[i] = Gaussian number first+i of (seed, stream): see random.h; bit-identical in all kernels */
    void (*gaussian_fill)(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);
    /* out[16 i + j] = number j of block blocks[i] of the fast Gaussian numbers: see random.h; bit-identical too */
    void (*gaussian_blocks)(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out);
};

/* One column of mac_i16_noise: weights with the codes `weights` [n], |c| <= 32767, whose variance is
 * variance[0] + variance[1] |c| + variance[2] c^2 >= 0, in squares of a code. Writes law[0], [PANEL], ... [3*PANEL]
 * and factors[0], [PANEL], [2*PANEL], so that the sd is that of the sum of codes, for inputs of at most `limit`.
 * A weight's variance is rounded to 1/127 of the largest in the column, to 1/31 at the coarsest (squares with a
 * constant or without are cut off to 64 to 127 steps where the largest code is at least 23171, and the constant is not
 * rounded; terms below half a step are left out: then law[PANEL] and law[2*PANEL] are 0, and the variance is
 * factors[PANEL] times the sum of the squares, see square_sums), and the column's sum is exact.
 * base/read_noise.c */
void read_noise_column(const float variance[3], const int16_t *weights, size_t n, int limit, int16_t *law,
                       float *factors);
/* squares: x[i]^2 / unit, rounded, |x| <= limit <= 1023; unit: the power of two that keeps them within SQUARE_MOST. In
 * the order of mac_i16_noise, with zeros up to a multiple of 4 (that many are written). */
struct square_sums square_codes(const int16_t *x, size_t n, int limit, uint8_t *squares);

/* One lane of noise_sd. The variance of a weight becomes middle + step x byte, rounded; middle is half way between the
 * smallest and the largest of the n, moved so that equal inputs give the exact sum; off: step x the mean byte. Where
 * they differ by less than 1/254 of the largest, middle is their mean, and step and bytes are 0. Writes bytes at
 * variance_place(row, lane) of `panel`, and the factors. base/read_noise.c */
void pack_variances(const float *variance, size_t n, size_t lane, int8_t *panel, float *factors);
/* One token of noise_sd, from squares >= 0. Writes bytes up to a multiple of 8. */
struct byte_squares pack_squares(const float *squares, size_t n, uint8_t *bytes);

/* What a unit of v(r,lane) of mac_i16_noise stands for, in squares of a code; factors: of the lane. */
float variance_unit(const float *factors, int limit);

/* How far the law and factors of a column (read_noise_column) are off its weights' own variances: rms of the
 * differences in units of their mean. variance: [n], times per_square in squares of a code. */
float law_misfit(const float *variance, double per_square, const int16_t *weights, size_t n, int limit,
                 const int16_t *law, const float *factors);

/* One column of a strip, see base/drawn_noise.c. variance: [rows]. The variance of a weight becomes base + step x byte,
 * rounded to 1/127 of what they differ by; the column's sum is exact. Where they are all alike step is 0, and no byte
 * is written. */
struct drawn_column { float base, step; };
struct drawn_column pack_drawn(const float *variance, size_t rows, size_t column, uint8_t *strip);
/* Variance of the weights' variances in units of their mean squared: s of base/drawn_noise.c for inputs of one size. */
float variance_scatter(const float *variance, size_t rows);

/* The set in use: best that the CPU supports unless kernels_select named one. */
const struct kernels *kernels(void);
/* name: "ref", "avx2", ... NULL = best. Returns 0, or -1 if this CPU or build lacks it. */
int kernels_select(const char *name);
/* All sets that this CPU can run, for tests and bench: fills up to `max`, returns the count. */
size_t kernels_available(const struct kernels **out, size_t max);

#endif
