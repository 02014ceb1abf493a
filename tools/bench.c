/* mho bench: the speed of the simulator itself, as ratios measured in one run on one machine.
 *
 * Inside the clock: one forward pass (prefill of 128 tokens, or one token after a prompt of 32). Outside: loading,
 * programming, calibration, sampling, printing. Every row is the median of N repetitions (spread: fastest and slowest)
 * after one that is not counted. Rows that a ratio needs are measured in turns (A B A B ...), so that a machine that
 * changes its speed changes both.
 *
 *   read bandwidth      sum over a buffer larger than the last-level cache
 *   library's products  the model's matrices, same shapes, 128 tokens, by the fastest library here (base/gemm.h)
 *   prefill, decode     digital reference and analog, tokens/s
 *   generation          text drawn one sequence after another and 128 at once (bench_batch.c)
 *   read noise, wires   what they add to a multiply and to decoding, in pairs (bench_pairs.c)
 *   fold wires          effective conductances of one 256 x 256 tile, one thread, of weights like a language model's:
 *                       product at 0.35 ohm per cell, corrected at 3 ohm (devices/wires.h); estimates included
 *   ratios              what docs and README quote
 */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/bandwidth.h"
#include "base/gemm.h"
#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/sort.h"
#include "base/threads.h"
#include "devices/wires.h"
#include "tools/bench.h"

enum { FOLD_PRODUCT, FOLD_CORRECTED, FOLDS };

struct bench {
    const struct options *o;
    struct model *model;
    struct chip *chip;
    struct analog analog;
    struct session *digital, *emulated;
    int32_t ids[PREFILL_TOKENS];
    struct series products, digital_prefill, digital_decode, analog_prefill, analog_decode;
    struct noise_pairs noise;
    struct series decode_wires, decode_noise, decode_timeline; /* with / without */
    struct series fold[FOLDS], engine[2]; /* engine: without and with its log */
    uint64_t engine_events;
    struct shape_speed shapes;
    struct generation_speed generation;
    double read_Bps, program_s;
    uint64_t digital_bytes; /* weights that one decoded token reads */
    json_t *rows;           /* NULL: print */
};

static double median(struct series *s) {
    sort_doubles(s->value, (size_t)s->count);
    int n = s->count;
    return n % 2 ? s->value[n / 2] : 0.5 * (s->value[n / 2 - 1] + s->value[n / 2]);
}

/* ---- rows -------------------------------------------------------------------------------------------- */

static void row(struct bench *b, const char *name, double value, const char *unit, int repetitions, double low,
                double high) {
    if (!b->rows) {
        if (isfinite(low)) {
            printf("%-44s %12.4g %-9s (%.4g to %.4g, %d)\n", name, value, unit, low, high, repetitions);
        } else {
            printf("%-44s %12.4g %s\n", name, value, unit);
        }
        return;
    }
    json_t *r = json_object();
    json_put(r, "name", json_string(name));
    json_put(r, "value", json_number(value));
    json_put(r, "unit", json_string(unit));
    json_put(r, "repetitions", json_integer(repetitions));
    json_t *spread = json_array();
    json_array_append_new(spread, json_number(low));
    json_array_append_new(spread, json_number(high));
    json_put(r, "spread", spread);
    json_array_append_new(b->rows, r);
}

/* amount per second: tokens, or flops. Returns the median time. */
static double rate_row(struct bench *b, const char *name, struct series *s, double amount, const char *unit) {
    double seconds = median(s);
    row(b, name, amount / seconds, unit, s->count, amount / s->value[s->count - 1], amount / s->value[0]);
    return seconds;
}

static void ratio_row(struct bench *b, const char *name, double value) {
    row(b, name, value, "", 0, (double)NAN, (double)NAN);
}

/* Median and quartiles. */
static void pair_row(struct bench *b, const char *name, struct series *s) {
    double value = median(s);
    row(b, name, value, "", s->count, s->value[s->count / 4], s->value[3 * s->count / 4]);
}

/* ---- what is measured -------------------------------------------------------------------------------- */

static enum status time_prefill(struct session *s, const int32_t *ids, double *seconds, struct error *e) {
    const float *logits;
    session_rewind(s, 0);
    double start_s = now_s();
    TRY(session_forward(s, ids, PREFILL_TOKENS, LOGITS_ALL, &logits, e));
    *seconds = now_s() - start_s;
    return OK;
}

enum status time_decode(struct session *s, const int32_t *ids, double *seconds, struct error *e) {
    const float *logits;
    session_rewind(s, 0);
    TRY(session_forward(s, ids, DECODE_PROMPT, LOGITS_LAST, &logits, e));
    double start_s = now_s();
    for (int i = 0; i < DECODE_TOKENS; i++) {
        TRY(session_forward(s, &ids[DECODE_PROMPT + i], 1, LOGITS_LAST, &logits, e));
    }
    *seconds = (now_s() - start_s) / DECODE_TOKENS;
    return OK;
}

/* One matrix: y[T][O] = x[T][K] W[O][K]^T, row-major, fp32. */
struct product_job { const struct matrix_source *matrix; const float *w, *x; float *y; };
enum { PRODUCT_OUTPUTS = 96 }; /* of a piece of work */

static void multiply_outputs(void *context, size_t begin, size_t end, int worker) {
    const struct product_job *j = context;
    size_t outputs = j->matrix->outputs, k = j->matrix->inputs;
    (void)worker;
    for (size_t o = begin; o < end; o += PRODUCT_OUTPUTS) {
        size_t n = end - o < PRODUCT_OUTPUTS ? end - o : PRODUCT_OUTPUTS;
        gemm()->multiply(PREFILL_TOKENS, n, k, (struct gemm_operand){j->x, k, false},
                         (struct gemm_operand){j->w + o * k, k, true}, 0, j->y + o, outputs);
    }
}

/* One pass of the library over every matrix of the model; all have buffers of their own, as in a real pass. */
static double time_products(const struct bench *b, const float *w, const float *x, float *y) {
    size_t count, at = 0;
    const struct matrix_source *m = model_matrices(b->model, &count);
    double start_s = now_s();
    for (size_t i = 0; i < count; i++) {
        struct product_job job = {&m[i], w + at, x, y};
        parallel_for(m[i].outputs, PRODUCT_OUTPUTS, 0, multiply_outputs, &job);
        at += (size_t)m[i].inputs * m[i].outputs;
    }
    return now_s() - start_s;
}

static void fill_random(float *x, size_t n) {
    const size_t piece = 1 << 20;
    for (size_t i = 0; i < n; i += piece) {
        random_gaussian_fill(1, random_stream(RANDOM_TEST, 7), i, x + i, n - i < piece ? n - i : piece);
    }
}

static enum status measure_products(struct bench *b, struct error *e) {
    size_t count, weights = 0, widest_in = 0, widest_out = 0;
    const struct matrix_source *m = model_matrices(b->model, &count);
    for (size_t i = 0; i < count; i++) {
        weights += (size_t)m[i].inputs * m[i].outputs;
        widest_in = m[i].inputs > widest_in ? m[i].inputs : widest_in;
        widest_out = m[i].outputs > widest_out ? m[i].outputs : widest_out;
    }
    float *w = mem_alloc(weights, sizeof *w);
    float *x = mem_alloc(widest_in * PREFILL_TOKENS, sizeof *x);
    float *y = mem_alloc(widest_out * PREFILL_TOKENS, sizeof *y);
    enum status s = w && x && y ? OK : error_set(e, ERR_RUN, "bench: out of memory");
    if (s == OK) {
        fill_random(w, weights);
        fill_random(x, widest_in * PREFILL_TOKENS);
    }
    /* In turns with the digital prefill, which it is the yardstick of. */
    for (int64_t i = 0; s == OK && i <= b->o->repetitions; i++) {
        double products_s = time_products(b, w, x, y), prefill_s;
        s = gemm_check(e);
        s = s == OK ? time_prefill(b->digital, b->ids, &prefill_s, e) : s;
        if (s == OK && i > 0) {
            series_add(&b->products, products_s);
            series_add(&b->digital_prefill, prefill_s);
        }
        s = s == OK ? check_interrupted(e) : s;
    }
    mem_free(w);
    mem_free(x);
    mem_free(y);
    return s;
}

static enum status measure_models(struct bench *b, struct error *e) {
    for (int64_t i = 0; i <= b->o->repetitions; i++) {
        double dd, ad = 0, ap = 0;
        TRY(time_decode(b->digital, b->ids, &dd, e));
        if (b->emulated) {
            TRY(time_decode(b->emulated, b->ids, &ad, e));
            TRY(time_prefill(b->emulated, b->ids, &ap, e));
        }
        if (i > 0) {
            series_add(&b->digital_decode, dd);
            if (b->emulated) {
                series_add(&b->analog_decode, ad);
                series_add(&b->analog_prefill, ap);
            }
        }
        TRY(check_interrupted(e));
    }
    return OK;
}

/* ---- what an effect costs ---------------------------------------------------------------------------------- */

/* Decode on the chip of that name, with those overrides for one of the two. */
static enum status measure_effect(struct bench *b, const char *chip, const char *const *without, size_t without_count,
                                  const char *const *with, size_t with_count, struct series *ratio, struct error *e) {
    struct chip *c[2] = {NULL, NULL};
    enum status s = chip_load(chip, without, without_count, &c[0], e);
    s = s == OK ? chip_load(chip, with, with_count, &c[1], e) : s;
    s = s == OK ? measure_decode_pair(b->o, b->model, b->ids, c[0], c[1], ratio, e) : s;
    chip_destroy(c[0]);
    chip_destroy(c[1]);
    return s;
}

static enum status measure_effects(struct bench *b, struct error *e) {
    static const char *const no_wires[] = {"effects.wires=off"};
    static const char *const white[] = {"tile.cell.white_noise.relative=0.02", "tile.cell.white_noise.absolute_uS=0.1"};
    TRY(measure_noise_pairs(b->o, &b->noise, e));
    if (!b->chip) {
        return OK;
    }
    if (chip_has_costs(b->chip)) {
        TRY(measure_decode_timeline(b->o, b->model, b->ids, b->chip, &b->decode_timeline, e));
    }
    TRY(measure_effect(b, "pcm256_wires", no_wires, 1, NULL, 0, &b->decode_wires, e));
    return measure_effect(b, "pcm256", NULL, 0, white, 2, &b->decode_noise, e);
}

/* ---- wires of a tile folded into its conductances ------------------------------------------------------------ */

enum { FOLD_SIZE = 256, FOLD_CELLS = FOLD_SIZE * FOLD_SIZE };

/* Gaussian weights, each column scaled to its largest one, as pairs of a plus and a minus column; at most 20 uS. */
static void fill_tile(float *g_S) {
    random_gaussian_fill(1, random_stream(RANDOM_TEST, 9), 0, g_S, FOLD_CELLS);
    for (size_t j = 0; j < FOLD_SIZE; j += 2) {
        float *plus = g_S + j * FOLD_SIZE, *minus = plus + FOLD_SIZE, largest = 0;
        for (size_t i = 0; i < FOLD_SIZE; i++) {
            largest = fmaxf(largest, fabsf(plus[i]));
        }
        for (size_t i = 0; i < FOLD_SIZE; i++) {
            float g = plus[i] * 20e-6F / largest;
            plus[i] = g > 0 ? g : 0;
            minus[i] = g < 0 ? -g : 0;
        }
    }
}

static enum status measure_fold(struct bench *b, struct error *e) {
    static const double ohm[FOLDS] = {0.35, 3};
    float *g_S = mem_alloc(2 * FOLD_CELLS, sizeof *g_S);
    void *scratch = mem_alloc(wires_fold_scratch_bytes(FOLD_SIZE, FOLD_SIZE), 1);
    enum status s = g_S && scratch ? OK : error_set(e, ERR_RUN, "bench: out of memory");
    if (s == OK) {
        fill_tile(g_S);
    }
    for (int64_t i = 0; s == OK && i <= b->o->repetitions; i++) {
        for (size_t k = 0; s == OK && k < FOLDS; k++) {
            const struct wires w = {.row_ohm = ohm[k], .column_ohm = ohm[k], .segment = 1};
            const struct fold_options o = {k == FOLD_PRODUCT ? WIRES_PRODUCT : WIRES_CORRECTED, 1e-3};
            struct fold_result r;
            double start_s = now_s();
            s = wires_fold(&w, FOLD_SIZE, FOLD_SIZE, g_S, &o, scratch, g_S + FOLD_CELLS, &r, e);
            if (i > 0) {
                series_add(&b->fold[k], 1e3 * (now_s() - start_s));
            }
        }
    }
    mem_free(g_S);
    mem_free(scratch);
    return s;
}

/* ---- set-up and results -------------------------------------------------------------------------------- */

/* The event engine alone, on one thread. */
static enum status measure_engine(struct bench *b, struct error *e) {
    for (int64_t i = 0; i <= b->o->repetitions; i++) {
        for (int log = 0; log < 2; log++) {
            double start_s = now_s();
            TRY(engine_speed(log, &b->engine_events, e));
            if (i > 0) {
                series_add(&b->engine[log], now_s() - start_s);
            }
        }
    }
    return OK;
}

static enum status prepare(struct bench *b, struct error *e) {
    TRY(check_words(b->o, 0, e));
    TRY(open_chip(b->o, &b->chip, e));
    TRY(open_model(b->o, &b->model, e));
    const struct model_shape *shape = model_shape(b->model);
    if (shape->context < PREFILL_TOKENS) {
        return error_set(e, ERR_USAGE, "%s: context of %u tokens: too short to bench (allowed: at least %d)",
                         shape->path, shape->context, PREFILL_TOKENS);
    }
    for (int i = 0; i < PREFILL_TOKENS; i++) {
        b->ids[i] =
            (int32_t)(random_uniform(b->o->seed, random_stream(RANDOM_TEST, 8), (uint64_t)i) * shape->vocabulary);
    }
    if (b->chip) {
        double start_s = now_s();
        TRY(analog_create(b->model, b->chip, b->o->seed, 0, PREFILL_TOKENS, &b->analog, e));
        b->program_s = now_s() - start_s;
        struct session_options so = {.context = PREFILL_TOKENS, .max_batch = PREFILL_TOKENS, .run = b->analog.run};
        TRY(session_create(b->model, &so, &b->emulated, e));
    }
    struct session_options so = {.context = PREFILL_TOKENS, .max_batch = PREFILL_TOKENS};
    TRY(session_create(b->model, &so, &b->digital, e));
    b->digital_bytes = session_weight_bytes(b->digital);
    return OK;
}

static double total_macs(const struct model *m) {
    size_t count;
    const struct matrix_source *s = model_matrices(m, &count);
    double macs = 0;
    for (size_t i = 0; i < count; i++) {
        macs += (double)s[i].inputs * s[i].outputs;
    }
    return macs;
}

static void report_noise(struct bench *b) {
    static const char *const sizes[NOISE_SIZES] = {"multiply, 1 token", "multiply, 32 tokens"};
    static const char *const names[NOISE_SIZES][NOISE_LAWS] = {
        {"white noise, 1 token: with / without (1.35)", "  and relative noise (limit 1.35)",
         "  relative noise alone (limit 1.35)"},
        {"white noise, 32 tokens: with / without (1.35)", "  and relative noise (limit 1.35)",
         "  relative noise alone (limit 1.35)"}};
    for (size_t k = 0; k < NOISE_SIZES; k++) {
        rate_row(b, sizes[k], &b->noise.plain_s[k], NOISE_BATCH * (double)NOISE_MATRIX * NOISE_MATRIX / 1e9, "GMAC/s");
        for (size_t law = 0; law < NOISE_LAWS; law++) {
            pair_row(b, names[k][law], &b->noise.ratio[k][law]);
        }
    }
    static const char *const two_phase[NOISE_SIZES][2] = {
        {"two-phase inputs, 1 token", "  and relative noise (limit 1.35)"},
        {"two-phase inputs, 32 tokens", "  and relative noise (limit 1.35)"}};
    for (size_t k = 0; k < NOISE_SIZES; k++) {
        rate_row(b, two_phase[k][0], &b->noise.two_phase_s[k], NOISE_BATCH * (double)NOISE_MATRIX * NOISE_MATRIX / 1e9,
                 "GMAC/s");
        pair_row(b, two_phase[k][1], &b->noise.two_phase[k]);
    }
}

static void report_rows(struct bench *b) {
    double flops = 2 * total_macs(b->model) * PREFILL_TOKENS;
    row(b, "read bandwidth", b->read_Bps / 1e9, "GB/s", 1, (double)NAN, (double)NAN);
    double products_s = rate_row(b, "library's products, 128 tokens", &b->products, flops / 1e9, "GFLOP/s");
    double prefill_s = rate_row(b, "digital prefill, 128 tokens", &b->digital_prefill, PREFILL_TOKENS, "tokens/s");
    double decode_s = rate_row(b, "digital decode", &b->digital_decode, 1, "tokens/s");
    ratio_row(b, "digital prefill / library's products (floor 0.6)", products_s / prefill_s);
    ratio_row(b, "digital decode / read bandwidth (floor 0.6)", (double)b->digital_bytes / decode_s / b->read_Bps);
    rate_row(b, "generation, one by one", &b->generation.alone_s, 1, "tokens/s");
    rate_row(b, "generation, 128 sequences at once", &b->generation.many_s, 1, "tokens/s");
    pair_row(b, "128 sequences at once / one by one (floor 10)", &b->generation.ratio);
    report_noise(b);
    if (b->emulated) {
        double analog_prefill_s =
            rate_row(b, "analog prefill, 128 tokens", &b->analog_prefill, PREFILL_TOKENS, "tokens/s");
        double analog_decode_s = rate_row(b, "analog decode", &b->analog_decode, 1, "tokens/s");
        ratio_row(b, "analog / digital time, prefill (limit 2)", analog_prefill_s / prefill_s);
        ratio_row(b, "analog / digital time, decode (limit 1.5)", analog_decode_s / decode_s);
        if (chip_has_costs(b->chip)) {
            pair_row(b, "decode with time and energy / values alone (limit 1.1)", &b->decode_timeline);
        }
        pair_row(b, "decode with wires / without (limit 1.03)", &b->decode_wires);
        pair_row(b, "decode with white noise / without", &b->decode_noise);
        row(b, "programming and calibration", b->program_s, "s", 1, (double)NAN, (double)NAN);
        row(b, "programming and calibration, per weight", b->program_s / total_macs(b->model) * 1e9, "ns", 1,
            (double)NAN, (double)NAN);
    }
    static const char *const folds[FOLDS] = {"fold wires of 256 x 256 cells, product (limit 2)",
                                             "fold wires of 256 x 256 cells, corrected (limit 50)"};
    for (size_t k = 0; k < FOLDS; k++) {
        struct series *s = &b->fold[k];
        double ms = median(s);
        row(b, folds[k], ms, "ms", s->count, s->value[0], s->value[s->count - 1]);
    }
    double millions = (double)b->engine_events / 1e6;
    rate_row(b, "event engine, one thread (floor 3)", &b->engine[0], millions, "Mevents/s");
    rate_row(b, "event engine with its log", &b->engine[1], millions, "Mevents/s");
    row(b, "shapes only, 70B, prompt of 2,048 tokens (limit 60)", b->shapes.prefill_s, "s", 1, (double)NAN,
        (double)NAN);
    row(b, "shapes only, 1B, 4,096 tokens: simulated / host time (floor 1)", b->shapes.decode_ratio, "", 1, (double)NAN,
        (double)NAN);
}

/* "model name" of the first processor; NULL if the system does not say. mem_free. */
static char *cpu_name(void) {
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    char *name = NULL;
    while (f && !name && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            colon[strcspn(colon, "\n")] = 0;
            name = mem_strdup(colon + 2);
        }
    }
    if (f) {
        fclose(f);
    }
    return name;
}

static enum status report(struct bench *b, struct error *e) {
    char *cpu = cpu_name();
    if (!b->o->json) {
        printf(
            "%s on %s, %d threads\nkernels %s, library %s (%s), compiler %s\n"
            "median (fastest to slowest, repetitions)\n\n",
            model_shape(b->model)->path, cpu ? cpu : "this machine", threads_count(), kernels()->name,
            gemm()->name, gemm()->version, __VERSION__);
        report_rows(b);
        mem_free(cpu);
        return finish_output(e);
    }
    b->rows = json_array();
    report_rows(b);
    json_t *root = json_envelope("bench", b->o, b->chip);
    json_put(root, "model", json_string(b->o->model));
    json_put(root, "rows", b->rows);
    json_t *machine = json_object();
    json_put(machine, "cpu", cpu ? json_string(cpu) : json_null());
    json_put(machine, "read_GBps", json_number(b->read_Bps / 1e9));
    json_put(machine, "kernel", json_string(kernels()->name));
    json_put(machine, "gemm", json_string(gemm()->name));
    json_put(machine, "gemm_version", json_string(gemm()->version));
    json_put(machine, "compiler", json_string(__VERSION__));
    json_put(machine, "commit", json_string(mho_commit));
    json_put(root, "machine", machine);
    mem_free(cpu);
    return json_finish(root, e);
}

static enum status bench_all(struct bench *b, struct error *e) {
    TRY(prepare(b, e));
    b->read_Bps = measure_read_bandwidth_Bps(threads_count());
    b->read_Bps = b->read_Bps > 0 ? b->read_Bps : (double)NAN; /* no memory for it: null, never 0 */
    TRY(measure_products(b, e));
    TRY(measure_models(b, e));
    TRY(measure_generation(b->o, b->model, &b->generation, e));
    TRY(measure_effects(b, e));
    TRY(measure_fold(b, e));
    TRY(measure_engine(b, e));
    TRY(measure_shapes(&b->shapes, e));
    return report(b, e);
}

static enum status bench_command(const struct options *o, struct error *e) {
    struct bench *b = mem_alloc(1, sizeof *b);
    if (!b) {
        return error_set(e, ERR_RUN, "bench: out of memory");
    }
    b->o = o;
    enum status s = bench_all(b, e);
    session_destroy(b->digital);
    session_destroy(b->emulated);
    analog_destroy(&b->analog);
    model_close(b->model);
    chip_destroy(b->chip);
    mem_free(b);
    return s;
}

static const char *const names[] = {"model", "chip", "set", "repetitions", NULL};

const struct command command_bench = {
    "bench", "", "the speed of the simulator itself, as ratios in one run", names, bench_command,
    "example:\n  mho bench --model model.gguf --threads 2 --json\n\n"
    "The bundled model fits into the cache; ratios that mean something need a model of 100 million parameters or more.",
};
