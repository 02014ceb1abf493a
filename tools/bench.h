/* Private to `mho bench`: series of measurements, and what is measured in pairs (bench_pairs.c). */
#ifndef MHO_TOOLS_BENCH_H
#define MHO_TOOLS_BENCH_H

#include "tools/command.h"

enum {
    PREFILL_TOKENS = 128,
    DECODE_PROMPT = 32,
    DECODE_TOKENS = 8,
    PAIRS = 10, /* measurements of a pair for every repetition: ratios close to 1 need many */
    MAX_SAMPLES = 1000 * PAIRS
};

struct series {
    double value[MAX_SAMPLES]; /* seconds or ratios */
    int count;
};
static inline void series_add(struct series *s, double value) { s->value[s->count++] = value; }

/* Mean over DECODE_TOKENS single-token steps after a short prompt. */
enum status time_decode(struct session *s, const int32_t *ids, double *seconds, struct error *e);

/* White noise of every read: what each device has alike, that and what grows with its conductance, the latter alone. */
enum { NOISE_SIZES = 2, NOISE_LAWS = 3 };
struct noise_pairs {
    struct series plain_s[NOISE_SIZES];           /* one token, a batch */
    struct series ratio[NOISE_SIZES][NOISE_LAWS]; /* with noise / without */
    struct series two_phase_s[NOISE_SIZES], two_phase[NOISE_SIZES]; /* the same of the general multiply, second law */
};
/* A multiply of NOISE_MATRIX x NOISE_MATRIX weights on chip pcm256. */
enum { NOISE_MATRIX = 2048, NOISE_BATCH = 32 };
enum status measure_noise_pairs(const struct options *o, struct noise_pairs *out, struct error *e);

/* Decode time on one chip / on another: A B A B. */
enum status measure_decode_pair(const struct options *o, const struct model *m, const int32_t *ids,
                                const struct chip *without, const struct chip *with, struct series *ratio,
                                struct error *e);

/* Decode time on a chip with its timeline / without, values alike. */
enum status measure_decode_timeline(const struct options *o, const struct model *m, const int32_t *ids,
                                    const struct chip *c, struct series *ratio, struct error *e);

/* Seconds per token of one sequence after another and of 64 at once, and their ratio (bench_batch.c). */
struct generation_speed {
    struct series alone_s, many_s, ratio;
};
enum status measure_generation(const struct options *o, const struct model *m, struct generation_speed *out,
                               struct error *e);

/* Runs without values (bench_shapes.c): seconds for the prompt of a large one; simulated seconds per second. */
struct shape_speed {
    double prefill_s, decode_ratio;
};
enum status measure_shapes(struct shape_speed *out, struct error *e);

#endif
