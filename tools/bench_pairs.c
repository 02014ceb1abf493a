/* Ratios of `mho bench` that say what an effect costs: the same work with it and without it, in turns (A B A B ...), so
 * that a machine that is slow for a while is slow for both. Each pair gives one ratio; the row is their median, its
 * spread the quartiles. What the first pair shows is not counted: caches and pages are cold.
 *
 *   noise   run_multiply of one matrix on chip pcm256, all of it (conversion of the inputs, dot products, noise, ADC):
 *           without white noise, with noise that every device has alike, with that and noise that grows with
 *           conductance, with the latter alone. Then the second of these with inputs in two phases, which takes the
 *           general multiply with its fp32 weights. The matrix is larger than the second-level cache.
 *   decode  tokens of the model on two chips, or on one with and without its timeline. Of two machines that are alike
 *           the second was up to 6 % faster than the first (where the system puts its memory decides), so each of two
 *           chips is programmed first once.
 */
#include "tools/bench.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"

static const uint32_t batch_of[NOISE_SIZES] = {1, NOISE_BATCH};

struct multiplier {
    struct chip *chip;
    struct placement *placement;
    struct machine *machine;
    struct run *run;
};

static void multiplier_close(struct multiplier *m) {
    run_destroy(m->run);
    machine_destroy(m->machine);
    placement_destroy(m->placement);
    chip_destroy(m->chip);
}

static enum status read_weights(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)context;
    (void)e;
    random_gaussian_fill(1, random_stream(RANDOM_TEST, 13), (uint64_t)first * NOISE_MATRIX, rows,
                         (size_t)count * NOISE_MATRIX);
    return OK;
}

static const struct matrix_source source = {.name = "bench",
                                            .layer = 0,
                                            .role = MATRIX_Q,
                                            .inputs = NOISE_MATRIX,
                                            .outputs = NOISE_MATRIX,
                                            .read_rows = read_weights};

static enum status multiply_once(struct multiplier *m, const float *x, uint32_t tokens, float *y, double *seconds,
                                 struct error *e) {
    run_begin_step(m->run, tokens);
    double start_s = now_s();
    enum status s = run_multiply(m->run, 0, x, tokens, y, e);
    *seconds = now_s() - start_s;
    run_end_step(m->run);
    return s;
}

static enum status multiplier_open(uint64_t seed, const char *const *sets, size_t count, const float *x, float *y,
                                   struct multiplier *m, struct error *e) {
    double seconds;
    TRY(chip_load("pcm256", sets, count, &m->chip, e));
    TRY(placement_create(m->chip, &source, 1, &m->placement, e));
    TRY(machine_create(m->chip, m->placement, &source, 1, &(struct machine_options){.seed = seed}, &m->machine, e));
    TRY(run_create(m->machine, NOISE_BATCH, &m->run, e));
    if (machine_needs_calibration(m->machine)) {
        TRY(machine_calibration_begin(m->machine, e));
        TRY(multiply_once(m, x, NOISE_BATCH, y, &seconds, e));
        TRY(machine_calibration_finish(m->machine, e));
    }
    return OK;
}

/* A batch takes long enough alone; single tokens are summed up to as many. */
static enum status multiply_tokens(struct multiplier *m, const float *x, uint32_t batch, float *y, double *seconds,
                                   struct error *e) {
    *seconds = 0;
    for (uint32_t t = 0; t < NOISE_BATCH; t += batch) {
        double once_s;
        TRY(multiply_once(m, x + (size_t)t * NOISE_MATRIX, batch, y, &once_s, e));
        *seconds += once_s;
    }
    return OK;
}

/* Pairs of one law, without another machine in between: each finds as much of its weights in the third-level cache as
 * the other. */
static enum status measure_law(const struct options *o, struct multiplier m[2], size_t law, const float *x, float *y,
                               struct noise_pairs *out, struct error *e) {
    for (size_t k = 0; k < NOISE_SIZES; k++) {
        for (int64_t i = 0; i <= PAIRS * o->repetitions; i++) {
            double plain_s, noisy_s;
            TRY(multiply_tokens(&m[0], x, batch_of[k], y, &plain_s, e));
            TRY(multiply_tokens(&m[1], x, batch_of[k], y, &noisy_s, e));
            if (i > 0) {
                series_add(&out->ratio[k][law], noisy_s / plain_s);
            }
            if (i > 0 && law == 0) {
                series_add(&out->plain_s[k], plain_s);
            }
            TRY(check_interrupted(e));
        }
    }
    return OK;
}

static enum status measure_general(const struct options *o, struct multiplier m[2], const float *x, float *y,
                                   struct noise_pairs *out, struct error *e) {
    for (int64_t i = 0; i <= PAIRS / 2 * o->repetitions; i++) { /* half as many: they take several times as long */
        for (size_t k = 0; k < NOISE_SIZES; k++) {
            double plain_s, noisy_s;
            TRY(multiply_tokens(&m[0], x, batch_of[k], y, &plain_s, e));
            TRY(multiply_tokens(&m[1], x, batch_of[k], y, &noisy_s, e));
            if (i > 0) {
                series_add(&out->two_phase_s[k], plain_s);
                series_add(&out->two_phase[k], noisy_s / plain_s);
            }
        }
        TRY(check_interrupted(e));
    }
    return OK;
}

static enum status measure_two_phase(const struct options *o, const float *x, float *y, struct noise_pairs *out,
                                     struct error *e) {
    static const char *const sets[] = {"tile.dac.sign=two_phase", "tile.cell.white_noise.relative=0.02",
                                       "tile.cell.white_noise.absolute_uS=0.1"};
    struct multiplier m[2] = {{NULL, NULL, NULL, NULL}};
    enum status s = multiplier_open(o->seed, sets, 1, x, y, &m[0], e);
    s = s == OK ? multiplier_open(o->seed, sets, 3, x, y, &m[1], e) : s;
    s = s == OK ? measure_general(o, m, x, y, out, e) : s;
    multiplier_close(&m[1]);
    multiplier_close(&m[0]);
    return s;
}

static enum status measure_laws(const struct options *o, const float *x, float *y, struct noise_pairs *out,
                                struct error *e) {
    static const char *const sets[NOISE_LAWS][2] = {
        {"tile.cell.white_noise.relative=0", "tile.cell.white_noise.absolute_uS=0.1"},
        {"tile.cell.white_noise.relative=0.02", "tile.cell.white_noise.absolute_uS=0.1"},
        {"tile.cell.white_noise.relative=0.02", "tile.cell.white_noise.absolute_uS=0"},
    };
    struct multiplier m[2] = {{NULL, NULL, NULL, NULL}};
    enum status s = multiplier_open(o->seed, NULL, 0, x, y, &m[0], e);
    for (size_t law = 0; s == OK && law < NOISE_LAWS; law++) {
        s = multiplier_open(o->seed, sets[law], 2, x, y, &m[1], e);
        s = s == OK ? measure_law(o, m, law, x, y, out, e) : s;
        multiplier_close(&m[1]);
        m[1] = (struct multiplier){NULL, NULL, NULL, NULL};
    }
    multiplier_close(&m[0]);
    return s;
}

enum status measure_noise_pairs(const struct options *o, struct noise_pairs *out, struct error *e) {
    float *x = mem_alloc((size_t)NOISE_BATCH * NOISE_MATRIX, sizeof *x),
          *y = mem_alloc((size_t)NOISE_BATCH * NOISE_MATRIX, sizeof *y);
    enum status s = x && y ? OK : error_set(e, ERR_RUN, "bench: out of memory");
    if (s == OK) {
        random_gaussian_fill(1, random_stream(RANDOM_TEST, 14), 0, x, (size_t)NOISE_BATCH * NOISE_MATRIX);
    }
    s = s == OK ? measure_laws(o, x, y, out, e) : s;
    s = s == OK ? measure_two_phase(o, x, y, out, e) : s;
    mem_free(x);
    mem_free(y);
    return s;
}

/* ---- decode ---------------------------------------------------------------------------------------------- */

struct decoder {
    struct analog analog;
    struct session *session;
};

static enum status decoder_open(const struct options *o, const struct model *m, const struct chip *c,
                                struct decoder *d, struct error *e) {
    TRY(analog_create(m, c, o->seed, 0, PREFILL_TOKENS, &d->analog, e));
    struct session_options so = {.context = PREFILL_TOKENS, .max_batch = PREFILL_TOKENS, .run = d->analog.run};
    return session_create(m, &so, &d->session, e);
}

static void decoder_close(struct decoder *d) {
    session_destroy(d->session);
    analog_destroy(&d->analog);
}

enum status measure_decode_timeline(const struct options *o, const struct model *m, const int32_t *ids,
                                    const struct chip *c, struct series *ratio, struct error *e) {
    struct decoder d[2] = {{.session = NULL}, {.session = NULL}};
    enum status s = decoder_open(o, m, c, &d[0], e);
    if (s == OK) { /* the same machine, once with a run that has no timeline */
        struct session_options so = {.context = PREFILL_TOKENS, .max_batch = PREFILL_TOKENS};
        s = run_create_values(d[0].analog.machine, PREFILL_TOKENS, &d[1].analog.run, e);
        so.run = d[1].analog.run;
        s = s == OK ? session_create(m, &so, &d[1].session, e) : s;
    }
    for (int64_t i = 0; s == OK && i <= PAIRS * o->repetitions; i++) {
        double timed_s, values_s;
        s = time_decode(d[0].session, ids, &timed_s, e);
        s = s == OK ? time_decode(d[1].session, ids, &values_s, e) : s;
        if (s == OK && i > 0) {
            series_add(ratio, timed_s / values_s);
        }
        s = s == OK ? check_interrupted(e) : s;
    }
    decoder_close(&d[1]);
    decoder_close(&d[0]);
    return s;
}

/* Half of the pairs; `with` is programmed before or after the other. */
static enum status decode_half(const struct options *o, const struct model *m, const int32_t *ids,
                               const struct chip *without, const struct chip *with, bool with_first,
                               struct series *ratio, struct error *e) {
    struct decoder d[2] = {{.session = NULL}, {.session = NULL}};
    enum status s = decoder_open(o, m, with_first ? with : without, &d[with_first], e);
    s = s == OK ? decoder_open(o, m, with_first ? without : with, &d[!with_first], e) : s;
    for (int64_t i = 0; s == OK && i <= PAIRS / 2 * o->repetitions; i++) {
        double seconds[2];
        for (int k = 0; s == OK && k < 2; k++) {
            s = time_decode(d[k].session, ids, &seconds[k], e);
        }
        if (s == OK && i > 0) {
            series_add(ratio, seconds[1] / seconds[0]);
        }
        s = s == OK ? check_interrupted(e) : s;
    }
    decoder_close(&d[0]);
    decoder_close(&d[1]);
    return s;
}

enum status measure_decode_pair(const struct options *o, const struct model *m, const int32_t *ids,
                                const struct chip *without, const struct chip *with, struct series *ratio,
                                struct error *e) {
    TRY(decode_half(o, m, ids, without, with, false, ratio, e));
    return decode_half(o, m, ids, without, with, true, ratio, e);
}
