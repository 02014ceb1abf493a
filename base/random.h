/* Randomness as a pure function of (seed, stream, index): no state, no order, no threads.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11): key = seed
 * (2 x 32 bits), counter = (index lo, index hi, stream lo, stream hi). One counter gives four 32-bit
 * words. Verified against the known-answer vectors published with Random123.
 *
 * uniform: (word + 0.5) * 2^-32, in (0, 1).
 * Gaussian: Box-Muller on word pairs (0,1) and (2,3), in single precision with polynomials of our
 * own for log, sin and cos, so that every platform and every kernel gives the same bits.
 * Gaussian number i is lane i % 4 of block i / 4; |z| is below 6.77. (Error of the transform and the
 * moments are tested.)
 */
#ifndef MHO_BASE_RANDOM_H
#define MHO_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What a stream is for. A stream id is random_stream(what, where): `what` in the top 8 bits. */
enum random_what {
    RANDOM_SAMPLING = 1,     /* choice of the next token; where = request, index = position */
    RANDOM_PROGRAMMING = 2,  /* where = matrix << 8 | device of the cell; index = weight in the matrix */
    RANDOM_DRIFT = 3,        /* drift exponents, same addressing */
    RANDOM_READ_STATE = 4,   /* slow read-noise state, same addressing */
    RANDOM_UNCERTAINTY = 9,  /* factors on physical constants; index = draw and constant */
    RANDOM_RETENTION = 10,   /* spread of retention times; addressing as for programming */
    RANDOM_TELEGRAPH = 11,   /* traps; where as for programming, block (not index) = weight in the matrix */
    RANDOM_VERIFY = 12,      /* noise of verify reads, addressing as for programming */
    RANDOM_READ_PHASE = 13,  /* moments at which slow read noise is renewed; block = 64 neighbouring devices */
    RANDOM_READ = 5,         /* white noise of each read; where = matrix, index = result_number (sim/multiply.h) in
                                blocks of sixteen */
    RANDOM_PROBE = 15,       /* which tiles are solved exactly, to measure the folding of wires; index = number */
    /* Numbers given away, nothing draws from them yet. A number is never used for something else. */
    RANDOM_FAULTS = 6,
    RANDOM_CONVERTER = 7,    /* DAC/ADC mismatch and noise */
    RANDOM_WIRES = 20,       /* signs of the fields that check a folded network; where = 0, field << 32 | block */
    RANDOM_ARRIVALS = 22,    /* time to the next request; where = 0, index = request */
    RANDOM_WORKLOAD = 21,    /* synthetic weights (where = 0) and inputs (1) of mho validate; index = value */
    RANDOM_PLACEMENT = 23,   /* which tiles change places; where = chip, index = draw */
    RANDOM_WEIGHT_NOISE = 24, /* of training; where = matrix, index = weight in the matrix, rows padded to blocks of
                                 sixteen; when = key of the batch */
    RANDOM_LABELS = 25,      /* next tokens drawn to measure sensitivities; where = window, index = position */
    RANDOM_DATA_ORDER = 26,  /* of training data; where = epoch, index = sequence */
    RANDOM_INITIAL = 27,     /* weights that training starts from; where = parameter, index = weight */
    RANDOM_DRAWS = 28,       /* rows that white noise takes its variance from; where = matrix, index = event_number of
                                a group of passes (sim/multiply.h) */
    RANDOM_TEST = 255,
};

uint64_t random_stream(enum random_what what, uint64_t where); /* where < 2^56 */

/* The seed of `seed` at a time `when` (a slot of time, a pulse of a loop), for a purpose: where a device needs the same
 * number again and again afresh, the stream and index stay those of the device and the seed changes. Two words of block
 * `when` of the stream (what, 2^56 - 1), which no device has. */
uint64_t random_seed_at(uint64_t seed, enum random_what what, uint64_t when);

/* One Philox block. */
void random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]);
double random_uniform(uint64_t seed, uint64_t stream, uint64_t index);
float random_gaussian(uint64_t seed, uint64_t stream, uint64_t index);
/* out[i] = random_gaussian(seed, stream, first + i), bit for bit, n at a time; fast. */
void random_gaussian_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);
/* Noise that is drawn afresh for every multiply: sixteen Gaussian numbers from one block of seven rounds, several
 * times as fast (random_inline.h says how, and how far from a Gaussian). Number i is lane i % 16 of block i / 16. A
 * stream must not be used with the functions above as well. */
enum { GAUSSIAN_BLOCK = 16 };
float random_gaussian_fast(uint64_t seed, uint64_t stream, uint64_t index);
/* out[16 i + j] = number j of block blocks[i] */
void random_gaussian_blocks(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out);
/* out[i] = (float)random_uniform(...): in (0, 1], since the upper 2^-25 rounds to 1 */
void random_uniform_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);

#endif
