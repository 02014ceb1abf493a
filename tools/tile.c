/* mho tile: one matrix on one tile, and what happens to it on the way, stage by stage.
 *
 *   W.csv   one row per tile row (input), one column per output          X.csv   one input vector per line
 *
 * The values of every stage and the output are those of the plain reference (machine_trace), the energy and time those
 * of the multiply that language models use (run_multiply), which also gives the repeated reads; how far the two lie
 * apart is reported. --exact solves the network of wires on the same programmed conductances; --spice writes it as a
 * netlist.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/io.h"
#include "base/memory.h"
#include "tools/command.h"
#include "tools/moments.h"

/* The values of one stage for one input vector. */
struct stage {
    char name[32];
    uint32_t token, index;
    double *values;
    size_t n;
    struct stage *next; /* in the order of the trace */
};

struct job {
    const struct options *o;
    double age_s;
    struct csv *weights_file, *inputs_file;
    uint32_t inputs, outputs, vectors;
    float *w; /* [outputs][inputs] */
    float *x; /* [vectors][inputs] */
    uint32_t lost_inputs, lost_columns; /* that are not 0, but so small that they count as 0 */
    struct matrix_source source;
    struct chip *chip;
    struct placement *placement;
    struct machine *machine;
    struct run *run;
    bool calibrated;                        /* ranges come from the inputs given here */
    double *output;                         /* [vectors][outputs] of the reference */
    double *digital;                        /* the product in double precision */
    struct stage *first, **last, *of_token; /* of_token: the first one of the token that is being traced */
    bool no_memory;                         /* in the trace */
    struct moments *reads;                  /* [vectors][outputs] of run_multiply */
    double fast_difference;                 /* largest |run_multiply - reference| */
    struct ledger_view cost;                /* of every vector once */
    double latency_s;                       /* of the first vector */
    struct tile_conductances target, programmed, conductances; /* the last: at this age, and behind wires */
};

static void free_conductances(struct tile_conductances *c) {
    mem_free(c->crossing_S);
    mem_free(c->effective_S);
}

static void close_job(struct job *j) {
    while (j->first) {
        struct stage *next = j->first->next;
        mem_free(j->first->values);
        mem_free(j->first);
        j->first = next;
    }
    free_conductances(&j->target);
    free_conductances(&j->programmed);
    free_conductances(&j->conductances);
    mem_free(j->reads);
    mem_free(j->output);
    mem_free(j->digital);
    run_destroy(j->run);
    machine_destroy(j->machine);
    placement_destroy(j->placement);
    chip_destroy(j->chip);
    mem_free(j->w);
    mem_free(j->x);
    csv_destroy(j->weights_file);
    csv_destroy(j->inputs_file);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* One number that single precision holds. Widens *largest to its size. */
static enum status read_value(const struct csv *c, size_t row, size_t column, float *out, double *largest,
                              struct error *e) {
    double value;
    TRY(csv_number(c, row, column, &value, e));
    if (fabs(value) > (double)FLT_MAX) {
        return csv_error(c, row, column, e, "%g: too large (allowed: %g at most)", value, (double)FLT_MAX);
    }
    *out = (float)value;
    *largest = fmax(*largest, fabs(value));
    return OK;
}

static bool counts_as_zero(double largest) { return largest > 0 && (float)largest < SMALLEST_RANGE; }

/* Every stage of every input is kept until it is reported: a hundred bytes and more for each value. */
enum { VECTORS_MOST = 1 << 16, VALUES_MOST = 1 << 21 };

static enum status check_vectors(const struct job *j, size_t rows, size_t columns, struct error *e) {
    size_t vectors = csv_rows(j->inputs_file), most = VALUES_MOST / (rows + columns);
    most = most < 1 ? 1 : most > VECTORS_MOST ? VECTORS_MOST : most;
    if (vectors > most) {
        return error_set(e, ERR_USAGE,
                         "%s: %zu input vectors: every stage of each is kept in memory (allowed: at most %zu lines for "
                         "%zu x %zu weights; --repeat N reads every line N times)",
                         j->o->inputs, vectors, most, rows, columns);
    }
    return OK;
}

static enum status check_sizes(const struct job *j, struct error *e) {
    size_t rows = csv_rows(j->weights_file), columns = csv_columns(j->weights_file);
    double first; /* a header, or other separators: said instead of a wrong number of lines or cells */
    TRY(csv_number(j->weights_file, 0, 0, &first, e));
    TRY(csv_number(j->inputs_file, 0, 0, &first, e));
    if (csv_columns(j->inputs_file) != rows) {
        return error_set(e, ERR_USAGE,
                         "%s: %zu numbers per line, but %s has %zu rows (allowed: one number per row of the "
                         "weights)",
                         j->o->inputs, csv_columns(j->inputs_file), j->o->weights, rows);
    }
    const struct config_node *tile = config_get(chip_config(j->chip), "tile");
    const char *most_rows = config_text(config_get(tile, "rows")),
               *most_columns = config_text(config_get(tile, "columns"));
    double r = 0, c = 0;
    if (parse_double(most_rows, &r) && parse_double(most_columns, &c) && ((double)rows > r || (double)columns > c)) {
        return error_set(e, ERR_USAGE,
                         "%s: %zu x %zu weights are more than one tile of %s holds (allowed: %s x %s; --set "
                         "tile.rows=.. --set tile.columns=..)",
                         j->o->weights, rows, columns, chip_name(j->chip), most_rows, most_columns);
    }
    return check_vectors(j, rows, columns, e);
}

/* One device per weight and no offset: nothing stands for a negative weight. */
static enum status check_signs(const struct job *j, struct error *e) {
    const struct config_node *encoding = config_find(chip_config(j->chip), "tile.encoding");
    bool sign = !encoding || strcmp(config_text(encoding), "unsigned") != 0;
    for (size_t i = 0; !sign && i < j->inputs; i++) {
        for (size_t k = 0; k < j->outputs; k++) {
            float w = j->w[k * j->inputs + i];
            if (w < 0) {
                return csv_error(j->weights_file, i, k, e,
                                 "%g: negative (allowed: 0 and above with tile.encoding unsigned)", (double)w);
            }
        }
    }
    return OK;
}

static enum status read_inputs(struct job *j, struct error *e) {
    TRY(csv_read(j->o->weights, CSV_NO_HEADER, &j->weights_file, e));
    TRY(csv_read(j->o->inputs, CSV_NO_HEADER, &j->inputs_file, e));
    TRY(check_sizes(j, e));
    j->inputs = (uint32_t)csv_rows(j->weights_file);
    j->outputs = (uint32_t)csv_columns(j->weights_file);
    j->vectors = (uint32_t)csv_rows(j->inputs_file);
    j->w = mem_alloc((size_t)j->inputs * j->outputs, sizeof *j->w);
    j->x = mem_alloc((size_t)j->vectors * j->inputs, sizeof *j->x);
    size_t results = (size_t)j->vectors * j->outputs;
    j->output = mem_alloc(results, sizeof *j->output);
    j->digital = mem_alloc(results, sizeof *j->digital);
    j->reads = mem_alloc(results, sizeof *j->reads);
    if (!j->w || !j->x || !j->output || !j->digital || !j->reads) {
        return error_set(e, ERR_RUN, "tile: out of memory");
    }
    for (size_t k = 0; k < j->outputs; k++) {
        double largest = 0;
        for (size_t i = 0; i < j->inputs; i++) {
            TRY(read_value(j->weights_file, i, k, &j->w[k * j->inputs + i], &largest, e));
        }
        j->lost_columns += counts_as_zero(largest);
    }
    TRY(check_signs(j, e));
    for (size_t t = 0; t < j->vectors; t++) {
        double largest = 0;
        for (size_t i = 0; i < j->inputs; i++) {
            TRY(read_value(j->inputs_file, t, i, &j->x[t * j->inputs + i], &largest, e));
        }
        j->lost_inputs += counts_as_zero(largest);
    }
    return OK;
}

/* ---- programming ------------------------------------------------------------------------------------- */

static enum status read_rows(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)e;
    const struct job *j = context;
    memcpy(rows, j->w + (size_t)first * j->inputs, (size_t)count * j->inputs * sizeof *rows);
    return OK;
}

/* Placed under the first role that the chip keeps analog: which one makes no difference to a tile. */
static enum status place(struct job *j, struct error *e) {
    j->source = (struct matrix_source){.name = "weights",
                                       .layer = -1,
                                       .inputs = j->inputs,
                                       .outputs = j->outputs,
                                       .read_rows = read_rows,
                                       .context = j};
    for (int role = 0; role < MATRIX_ROLES; role++) {
        j->source.role = (enum matrix_role)role;
        TRY(placement_create(j->chip, &j->source, 1, &j->placement, e));
        if (placement_matrix_at(j->placement, 0).analog) {
            return OK;
        }
        placement_destroy(j->placement);
        j->placement = NULL;
    }
    return error_set(e, ERR_USAGE, "%s: keeps every matrix digital (--set analog=all)", chip_name(j->chip));
}

static enum status multiply_once(struct job *j, uint32_t t, float *y, struct error *e) {
    run_begin_step(j->run, 1);
    TRY(run_multiply(j->run, 0, j->x + (size_t)t * j->inputs, 1, y, e));
    double start_s = run_step_start_s(j->run), end_s = run_end_step(j->run);
    if (t == 0 && !(j->latency_s > 0)) {
        j->latency_s = end_s - start_s;
    }
    return OK;
}

static enum status calibrate(struct job *j, float *y, struct error *e) {
    if (!machine_needs_calibration(j->machine)) {
        return OK;
    }
    TRY(machine_calibration_begin(j->machine, e));
    for (uint32_t t = 0; t < j->vectors; t++) {
        TRY(multiply_once(j, t, y, e));
    }
    TRY(machine_calibration_finish(j->machine, e));
    run_reset(j->run);
    j->calibrated = true;
    j->latency_s = 0;
    return OK;
}

/* Seconds that nobody should wait for without knowing why. */
static const double ANNOUNCED_S = 20;

/* One network is one factorisation: nothing tells how far it is. A tile is folded when it is programmed, when folding
 * is measured and for this report; once more, and solved, for --exact and --spice. */
static void announce_folding(const struct job *j) {
    struct chip_fold_times t = chip_fold_times(j->chip, j->inputs, j->outputs);
    bool solved = j->o->exact || j->o->spice;
    double times = solved ? 4 : 3, exact_s = solved ? t.exact_s : 0;
    if (times * t.most_s + exact_s >= ANNOUNCED_S) {
        notice("the wires of %u x %u weights: %.0f to %.0f s of one core, the stronger the longer (allowed: "
               "tile.wires.method=product, a larger tile.wires.tolerance, or effects.wires=off)",
               j->inputs, j->outputs, times * t.least_s + exact_s, times * t.most_s + exact_s);
    }
}

static enum status program(struct job *j, struct error *e) {
    struct machine_options options = {.seed = j->o->seed, .age_s = j->age_s};
    TRY(chip_check_age(j->chip, j->age_s, e));
    TRY(place(j, e));
    announce_folding(j);
    TRY(machine_create(j->chip, j->placement, &j->source, 1, &options, &j->machine, e));
    TRY(run_create(j->machine, 1, &j->run, e));
    TRY(machine_tile_programmed(j->machine, 0, 0, 0, false, &j->target, e));
    TRY(machine_tile_programmed(j->machine, 0, 0, 0, true, &j->programmed, e));
    return machine_tile_conductances(j->machine, 0, 0, 0, &j->conductances, e);
}

/* ---- multiplying ------------------------------------------------------------------------------------- */

static bool is_stage(const struct stage *s, const char *name) { return strcmp(s->name, name) == 0; }

static void keep_stage(void *context, const char *name, uint32_t token, uint32_t row_block, uint32_t index,
                       const double *values, size_t n) {
    struct job *j = context;
    (void)row_block;                                      /* one tile: 0 */
    for (struct stage *s = j->of_token; s; s = s->next) { /* a repeat by the bound management: the last one counts */
        if (s->token == token && s->index == index && s->n == n && is_stage(s, name)) {
            memcpy(s->values, values, n * sizeof *values);
            return;
        }
    }
    struct stage *s = mem_alloc(1, sizeof *s);
    double *copy = mem_alloc(n, sizeof *copy);
    if (!s || !copy) {
        mem_free(s);
        mem_free(copy);
        j->no_memory = true;
        return;
    }
    memcpy(copy, values, n * sizeof *copy);
    *s = (struct stage){.token = token, .index = index, .values = copy, .n = n};
    snprintf(s->name, sizeof s->name, "%s", name);
    *j->last = s;
    j->last = &s->next;
    j->of_token = j->of_token && j->of_token->token == token ? j->of_token : s;
}

static enum status trace(struct job *j, struct error *e) {
    struct stage_visitor visitor = {keep_stage, j};
    TRY(machine_trace(j->machine, 0, j->x, j->vectors, 0, &visitor, j->output, e));
    if (j->no_memory) {
        return error_set(e, ERR_RUN, "tile: out of memory for the stages of %u inputs", j->vectors);
    }
    for (size_t t = 0; t < j->vectors; t++) {
        for (size_t k = 0; k < j->outputs; k++) {
            double sum = 0;
            for (size_t i = 0; i < j->inputs; i++) {
                sum += (double)j->w[k * j->inputs + i] * (double)j->x[t * j->inputs + i];
            }
            j->digital[t * j->outputs + k] = sum;
        }
    }
    return OK;
}

static enum status read_again(struct job *j, float *y, struct error *e) {
    for (int64_t n = 0; n < j->o->repeat; n++) {
        TRY(check_interrupted(e));
        for (uint32_t t = 0; t < j->vectors; t++) {
            TRY(multiply_once(j, t, y, e));
            for (size_t k = 0; k < j->outputs; k++) {
                size_t at = (size_t)t * j->outputs + k;
                moments_add(&j->reads[at], (double)y[k]);
                double difference = n == 0 ? fabs((double)y[k] - j->output[at]) : 0;
                j->fast_difference = fmax(j->fast_difference, difference);
            }
        }
        if (n == 0) {
            j->cost = run_ledger(j->run);
        }
    }
    return OK;
}

static enum status multiply(struct job *j, struct error *e) {
    float *y = mem_alloc(j->outputs, sizeof *y);
    enum status s = y ? calibrate(j, y, e) : error_set(e, ERR_RUN, "tile: out of memory");
    if (s == OK) {
        s = trace(j, e);
    }
    if (s == OK) {
        s = read_again(j, y, e);
    }
    mem_free(y);
    return s;
}

/* Root of mean square of a - b against that of b. */
static double relative_error(const double *a, const double *b, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : (double)NAN;
}

/* ---- the exact network ---------------------------------------------------------------------------------- */

enum { SHOWN = 6 }; /* values of a stage on a terminal */

/* Currents of all reads for a terminal, uA: the first ones of the first read, and the range of all. */
struct currents {
    double first[SHOWN + 1], low, high;
};

/* All reads of all passes of all inputs. */
struct exact {
    json_t *folded_uA, *exact_uA; /* NULL without --json */
    struct currents folded, solved;
    size_t columns; /* of one read */
    double largest_A, largest_difference_A, folded_J, exact_J, settling_s, pass_s;
    uint64_t reads, solutions, iterations;
};

static json_t *numbers_json(const double *values, size_t n, double factor) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_number(values[i] * factor));
    }
    return list;
}

static void add_currents(struct currents *c, const double *values_A, size_t n, bool first) {
    for (size_t i = 0; i < n; i++) {
        double uA = values_A[i] * 1e6;
        if (first && i <= SHOWN) {
            c->first[i] = uA;
        }
        c->low = first && i == 0 ? uA : fmin(c->low, uA);
        c->high = first && i == 0 ? uA : fmax(c->high, uA);
    }
}

static void add_read(struct exact *x, const struct tile_read *r) {
    add_currents(&x->folded, r->folded_A, r->physical_columns, x->reads == 0);
    add_currents(&x->solved, r->exact_A, r->physical_columns, x->reads == 0);
    x->columns = r->physical_columns;
    for (size_t i = 0; i < r->physical_columns; i++) {
        x->largest_A = fmax(x->largest_A, fabs(r->exact_A[i]));
        x->largest_difference_A = fmax(x->largest_difference_A, fabs(r->folded_A[i] - r->exact_A[i]));
    }
    x->folded_J += r->folded_J;
    x->exact_J += r->exact_J;
    x->settling_s = r->settling_s;
    x->pass_s = r->pass_s;
    x->reads++;
    x->solutions += r->solutions;
    x->iterations += r->iterations;
    if (x->exact_uA) {
        json_array_append_new(x->exact_uA, numbers_json(r->exact_A, r->physical_columns, 1e6));
        json_array_append_new(x->folded_uA, numbers_json(r->folded_A, r->physical_columns, 1e6));
    }
}

static enum status read_exactly(const struct job *j, struct tile_network *n, struct exact *x, struct error *e) {
    struct progress *progress = progress_create("exact network", j->vectors);
    enum status status = OK;
    for (const struct stage *s = j->first; s && status == OK; s = s->next) {
        if (is_stage(s, "pass")) {
            struct tile_read r;
            status = check_interrupted(e);
            status = status == OK ? tile_network_read(n, s->values, &r, e) : status;
            if (status == OK) {
                add_read(x, &r);
            }
            progress_update(progress, s->token + 1);
        }
    }
    progress_destroy(progress);
    return status;
}

static enum status write_netlist(const struct job *j, struct tile_network *n, struct error *e) {
    const struct stage *s = j->first;
    while (s && !is_stage(s, "pass")) {
        s = s->next;
    }
    struct output *file = NULL;
    TRY(output_create(j->o->spice, &file, e));
    enum status status = s ? tile_network_spice(n, s->values, output_stream(file), e)
                           : error_set(e, ERR_RUN, "tile: the trace shows no levels");
    if (status != OK) {
        output_abort(file);
        return status;
    }
    return output_commit(file, e);
}

static enum status solve_network(const struct job *j, struct exact *x, struct error *e) {
    struct tile_network *n = NULL;
    TRY(tile_network_create(j->machine, 0, 0, 0, j->o->float_inactive, &n, e));
    enum status s = j->o->exact ? read_exactly(j, n, x, e) : OK;
    if (s == OK && j->o->spice) {
        s = write_netlist(j, n, e);
    }
    tile_network_destroy(n);
    return s;
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static json_t *matrix_json(const double *values, size_t rows, size_t columns) {
    json_t *list = json_array();
    for (size_t i = 0; i < rows; i++) {
        json_array_append_new(list, numbers_json(values + i * columns, columns, 1));
    }
    return list;
}

/* name: [input][value], or [input][index][value] where a stage has several results per input (passes, lines). */
static json_t *stages_json(const struct job *j) {
    json_t *stages = json_object();
    for (const struct stage *s = j->first; s; s = s->next) {
        json_t *all = json_object_get(stages, s->name);
        if (!all) {
            all = json_array();
            json_put(stages, s->name, all);
        }
        while (json_array_size(all) <= s->token) {
            json_array_append_new(all, json_array());
        }
        json_array_append_new(json_array_get(all, s->token), numbers_json(s->values, s->n, 1));
    }
    const char *name;
    json_t *all;
    json_object_foreach(stages, name, all) {
        for (size_t t = 0; t < json_array_size(all); t++) {
            json_t *of_input = json_array_get(all, t);
            if (json_array_size(of_input) == 1) {
                json_array_set(all, t, json_array_get(of_input, 0));
            }
        }
    }
    return stages;
}

static json_t *conductances_json(const struct job *j) {
    const struct tile_conductances *c = &j->conductances;
    json_t *all = json_object();
    const float *const values[] = {j->target.crossing_S, j->programmed.crossing_S, c->crossing_S, c->effective_S};
    static const char *const names[] = {"target_uS", "programmed_uS", "aged_uS", "effective_uS"};
    for (size_t k = 0; k < 4; k++) {
        json_t *columns = json_array();
        for (size_t p = 0; p < c->physical_columns; p++) {
            json_t *column = json_array();
            for (size_t i = 0; i < c->rows; i++) {
                json_array_append_new(column, json_number((double)values[k][p * c->rows + i] * 1e6));
            }
            json_array_append_new(columns, column);
        }
        json_put(all, names[k], columns); /* [physical column][row] */
    }
    json_put(all, "columns_per_output", json_integer(c->columns_per_output));
    return all;
}

static json_t *energy_json(const struct ledger_view *v) {
    json_t *parts = json_object();
    for (int c = 0; c < PART_COUNT; c++) {
        if (component_listed(v, (enum component)c)) {
            json_put(parts, component_name((enum component)c), json_number(v->energy_J[c]));
        }
    }
    return parts;
}

static double static_J(const struct job *j) { return j->cost.energy_J[PART_STATIC]; }

/* What the rest of a chip leaks while one tile works is most of the energy of one tile. */
static const char static_of[] =
    "whole chips: every tile, digital unit and memory leaks while these inputs are worked on";

static json_t *repeat_json(const struct job *j) {
    json_t *repeat = json_object(), *mean = json_array(), *sd = json_array();
    for (size_t t = 0; t < j->vectors; t++) {
        json_t *means = json_array(), *sds = json_array();
        for (size_t k = 0; k < j->outputs; k++) {
            const struct moments *m = &j->reads[t * j->outputs + k];
            json_array_append_new(means, json_number(moments_mean(m)));
            json_array_append_new(sds, json_number(moments_sd(m)));
        }
        json_array_append_new(mean, means);
        json_array_append_new(sd, sds);
    }
    json_put(repeat, "reads", json_integer(j->o->repeat));
    json_put(repeat, "mean", mean);
    json_put(repeat, "sd", sd);
    return repeat;
}

static double exact_error(const struct exact *x) { return x->largest_difference_A / x->largest_A; }

static json_t *exact_json(const struct exact *x) {
    json_t *exact = json_object();
    json_put(exact, "current_uA", x->exact_uA); /* [read: input, pass][physical column] */
    json_put(exact, "folded_current_uA", x->folded_uA);
    json_put(exact, "relative_error", json_number(exact_error(x)));
    json_put(exact, "energy_J", json_number(x->exact_J));
    json_put(exact, "folded_energy_J", json_number(x->folded_J));
    json_put(exact, "solutions", json_integer((json_int_t)x->solutions));
    json_put(exact, "newton_iterations", json_integer((json_int_t)x->iterations));
    json_put(exact, "settling_s", json_number(x->settling_s));
    json_put(exact, "pass_s", json_number(x->pass_s));
    json_put(exact, "settles", isfinite(x->settling_s) ? json_boolean(x->settling_s <= x->pass_s) : json_null());
    return exact;
}

static enum status report_json(const struct job *j, struct exact *x, struct error *e) {
    json_t *root = json_envelope("tile", j->o, j->chip);
    json_put(root, "age_s", json_number(j->age_s));
    json_put(root, "rows", json_integer(j->inputs));
    json_put(root, "columns", json_integer(j->outputs));
    json_put(root, "calibrated", json_boolean(j->calibrated));
    json_put(root, "output", matrix_json(j->output, j->vectors, j->outputs));
    json_put(root, "digital", matrix_json(j->digital, j->vectors, j->outputs));
    json_put(root, "relative_error",
             json_number(relative_error(j->output, j->digital, (size_t)j->vectors * j->outputs)));
    json_put(root, "fast_difference", json_number(j->fast_difference));
    json_put(root, "conductances", conductances_json(j));
    json_put(root, "stages", stages_json(j));
    json_put(root, "inputs_read_as_zero", json_integer(j->lost_inputs));
    json_put(root, "columns_programmed_as_zero", json_integer(j->lost_columns));
    json_put(root, "adc_saturated", json_integer((json_int_t)j->cost.saturated_adc));
    json_put(root, "adc_results", json_integer((json_int_t)j->cost.results_adc));
    json_put(root, "dac_clipped", json_integer((json_int_t)j->cost.clipped_dac));
    json_put(root, "dac_inputs", json_integer((json_int_t)j->cost.inputs_dac));
    json_put(root, "exact", j->o->exact ? exact_json(x) : json_null());
    json_put(root, "programming", machine_programming_json(j->machine));
    json_put(root, "wires", machine_wires_json(j->machine));
    json_put(root, "faults", machine_faults_json(j->machine));
    json_put(root, "calibration", machine_calibration_json(j->machine));
    json_put(root, "energy_J", energy_json(&j->cost));
    json_put(root, "total_energy_J", json_number(j->cost.total_J));
    json_put(root, "dynamic_energy_J", json_number(j->cost.total_J - static_J(j)));
    json_put(root, "static_energy_J", json_number(static_J(j)));
    json_put(root, "static_energy_of", json_string(static_of));
    json_put(root, "latency_s", json_number(j->latency_s));
    json_put(root, "repeat", j->o->repeat > 1 ? repeat_json(j) : json_null());
    return json_finish(root, e);
}

/* ---- a terminal ------------------------------------------------------------------------------------------ */

static void print_values(const char *name, const char *shape, const double *values, size_t n, double low, double high) {
    printf("%-20s %-12s %11.5g %11.5g  ", name, shape, low, high);
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        printf(" %.5g", values[i]);
    }
    printf("%s\n", n > SHOWN ? " ..." : "");
}

static void widen(const double *values, size_t n, double *low, double *high) {
    for (size_t i = 0; i < n; i++) {
        *low = fmin(*low, values[i]);
        *high = fmax(*high, values[i]);
    }
}

static void print_conductances(const char *name, const struct tile_conductances *c, const float *values_S) {
    double low = HUGE_VAL, high = -HUGE_VAL, first[SHOWN + 1] = {0};
    size_t n = (size_t)c->rows * c->physical_columns;
    char shape[32];
    for (size_t i = 0; i < n; i++) {
        double uS = (double)values_S[i] * 1e6;
        widen(&uS, 1, &low, &high);
        if (i <= SHOWN) {
            first[i] = uS;
        }
    }
    snprintf(shape, sizeof shape, "%u x %u", c->physical_columns, c->rows);
    print_values(name, shape, first, n, low, high);
}

/* values [vectors][outputs] */
static void print_results(const char *name, const struct job *j, const double *values) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    char shape[32];
    widen(values, (size_t)j->vectors * j->outputs, &low, &high);
    snprintf(shape, sizeof shape, "%u x %u", j->vectors, j->outputs);
    print_values(name, shape, values, j->outputs, low, high);
}

/* One line per stage: size and range over all inputs, then the first input's first values. */
static void print_stages(const struct job *j) {
    printf("%-20s %-12s %11s %11s   first values\n", "stage", "values", "lowest", "highest");
    print_conductances("target, uS", &j->target, j->target.crossing_S);
    print_conductances("programmed, uS", &j->programmed, j->programmed.crossing_S);
    print_conductances("at this age, uS", &j->conductances, j->conductances.crossing_S);
    print_conductances("behind wires, uS", &j->conductances, j->conductances.effective_S);
    for (const struct stage *s = j->first; s && s->token == 0; s = s->next) {
        double low = HUGE_VAL, high = -HUGE_VAL;
        char name[48], shape[32];
        if (s->index > 3 || is_stage(s, "output")) {
            continue; /* the first few passes and lines are enough for a screen; the output has its line below */
        }
        for (const struct stage *all = s; all; all = all->next) {
            if (is_stage(all, s->name) && all->index == s->index) {
                widen(all->values, all->n, &low, &high);
            }
        }
        snprintf(name, sizeof name, s->index ? "%s %u" : "%s", s->name, s->index);
        snprintf(shape, sizeof shape, "%u x %zu", j->vectors, s->n);
        print_values(name, shape, s->values, s->n, low, high);
    }
    print_results("output", j, j->output);
    print_results("digital product", j, j->digital);
}

static void print_exact(const struct exact *x) {
    char shape[48];
    snprintf(shape, sizeof shape, "%" PRIu64 " x %zu", x->reads, x->columns);
    printf("\n");
    print_values("folded current, uA", shape, x->folded.first, x->columns, x->folded.low, x->folded.high);
    print_values("exact current, uA", shape, x->solved.first, x->columns, x->solved.low, x->solved.high);
    if (!(x->largest_A > 0)) {
        printf("exact network: no current flows\n");
        return;
    }
    printf("exact network: folded currents off by %.3g of the largest (%.4g of %.4g uA), %" PRIu64 " solutions\n",
           exact_error(x), x->largest_difference_A * 1e6, x->largest_A * 1e6, x->solutions);
    printf("  energy of the array %.4g J, with folded wires %.4g J\n", x->exact_J, x->folded_J);
    if (isfinite(x->settling_s)) {
        printf("  slowest column settles in %.3g s, a pass takes %.3g s%s\n", x->settling_s, x->pass_s,
               x->settling_s > x->pass_s ? ": TOO SHORT" : "");
    }
}

static void print_costs(const struct job *j) {
    const struct ledger_view *v = &j->cost;
    if (v->results_adc) {
        printf("saturated: %" PRIu64 " of %" PRIu64 " ADC results, %" PRIu64 " of %" PRIu64 " inputs clipped\n",
               v->saturated_adc, v->results_adc, v->clipped_dac, v->inputs_dac);
    }
    if (!chip_has_costs(j->chip)) {
        printf("energy and time: not known, the chip declares no costs\n");
        return;
    }
    printf("latency %.4g s; dynamic energy of %u input%s %.4g J:", j->latency_s, j->vectors,
           j->vectors == 1 ? "" : "s", v->total_J - static_J(j));
    for (int c = 0; c < PART_COUNT; c++) {
        if (c != PART_STATIC && v->energy_J[c] > 0) {
            printf("  %s %.3g", component_name((enum component)c), v->energy_J[c]);
        }
    }
    printf("\nstatic energy %.4g J, of %s\n", static_J(j), static_of);
}

/* Numbers that single precision holds, but whose inverse it does not. */
static void print_lost(const struct job *j) {
    if (j->lost_inputs) {
        printf("! %u of %u inputs count as 0: all their values are below %g in size\n", j->lost_inputs, j->vectors,
               (double)SMALLEST_RANGE);
    }
    if (j->lost_columns) {
        printf("! %u of %u columns count as 0: all their weights are below %g in size\n", j->lost_columns, j->outputs,
               (double)SMALLEST_RANGE);
    }
}

static void print_repeats(const struct job *j) {
    struct moments sd = {0};
    for (size_t i = 0; i < (size_t)j->vectors * j->outputs; i++) {
        moments_add(&sd, moments_sd(&j->reads[i]));
    }
    printf("%" PRId64 " reads: outputs have a standard deviation of %.4g on average; the first: mean %.6g, sd %.4g\n",
           j->o->repeat, sd.mean, moments_mean(&j->reads[0]), moments_sd(&j->reads[0]));
    if (!(sd.mean > 0)) {
        printf("  no read differs from another: slow read noise is one state per age; white noise or noisy converters "
               "would differ\n");
    }
}

static enum status report_text(const struct job *j, const struct exact *x, struct error *e) {
    printf("%u x %u weights on a tile of %s, %u input%s, seed %" PRIu64 ", age %g s%s\n\n", j->inputs, j->outputs,
           chip_name(j->chip), j->vectors, j->vectors == 1 ? "" : "s", j->o->seed, j->age_s,
           j->calibrated ? "; ranges calibrated on these inputs" : "");
    print_stages(j);
    double error = relative_error(j->output, j->digital, (size_t)j->vectors * j->outputs);
    if (isfinite(error)) {
        printf("\nerror of the output: %.3g of the digital product (root mean square)\n", error);
    } else {
        printf("\nerror of the output: not known, the digital product is 0\n");
    }
    print_lost(j);
    machine_report_print(j->machine, stdout);
    print_costs(j);
    if (j->o->repeat > 1) {
        print_repeats(j);
    }
    if (j->o->exact) {
        print_exact(x);
    }
    if (j->o->spice) {
        printf("netlist: %s\n", j->o->spice);
    }
    return finish_output(e);
}

/* ---- the command ----------------------------------------------------------------------------------------- */

static enum status check_options(const struct options *o, struct error *e) {
    TRY(check_words(o, 0, e));
    if (!o->weights || !o->inputs) {
        return error_set(e, ERR_USAGE, "tile: --%s is missing (allowed: --weights W.csv --inputs X.csv)",
                         o->weights ? "inputs" : "weights");
    }
    if (o->float_inactive && !o->exact) {
        return error_set(e, ERR_USAGE,
                         "--float-inactive: only with --exact: folded wires assume that every row is driven");
    }
    if (o->float_inactive && o->spice) {
        return error_set(e, ERR_USAGE,
                         "--spice: the netlist is of rows that are all driven (leave out --float-inactive)");
    }
    TRY(keep_apart("spice", o->spice, o->weights, e));
    return keep_apart("spice", o->spice, o->inputs, e);
}

/* A row that floats behind 0 ohm is its driver. Said before anything is solved. */
static enum status check_floating(const struct job *j, struct error *e) {
    static const char *const keys[] = {"tile.wires.input_ohm", "tile.wires.row_ohm"};
    double ohm = 0;
    bool known = true;
    for (size_t i = 0; i < 2; i++) {
        double one = 0;
        const struct config_node *value = config_get(config_find(chip_config(j->chip), keys[i]), "value");
        known = known && value && parse_double(config_text(value), &one); /* a chip without wires is refused later */
        ohm += one;
    }
    char where[512];
    if (j->o->float_inactive && known && !(ohm > 0)) {
        return error_set(e, ERR_USAGE,
                         "%s: %s = 0 ohm, and %s = 0: a row behind 0 ohm is its driver and cannot float (allowed: one "
                         "of them above 0, or no --float-inactive)",
                         chip_where(j->chip, keys[0], where, sizeof where), keys[0], keys[1]);
    }
    return OK;
}

static enum status tile_job(struct job *j, struct error *e) {
    TRY(parse_age(j->o, &j->age_s, e));
    TRY(open_chip(j->o, &j->chip, e));
    if (!j->chip) {
        return error_set(e, ERR_USAGE, "--chip none: has no tile (name a chip)");
    }
    TRY(check_floating(j, e));
    TRY(read_inputs(j, e));
    TRY(program(j, e));
    TRY(multiply(j, e));
    struct exact x = {0};
    if (j->o->json && j->o->exact) {
        x.exact_uA = json_array();
        x.folded_uA = json_array();
    }
    enum status s = j->o->exact || j->o->spice ? solve_network(j, &x, e) : OK;
    if (s != OK) {
        json_decref(x.exact_uA);
        json_decref(x.folded_uA);
        return s;
    }
    return j->o->json ? report_json(j, &x, e) : report_text(j, &x, e);
}

static enum status tile_command(const struct options *o, struct error *e) {
    TRY(check_options(o, e));
    struct job j = {.o = o};
    j.last = &j.first;
    enum status s = tile_job(&j, e);
    close_job(&j);
    return s;
}

static const char *const names[] = {"weights", "inputs",         "chip",  "set",    "age",
                                    "exact",   "float-inactive", "spice", "repeat", NULL};

const struct command command_tile = {
    "tile",
    "",
    "one matrix on one tile: every stage, energy, the exact network of wires, a netlist",
    names,
    tile_command,
    "W.csv: one line per tile row (input), one number per output. X.csv: one input vector per line.\n"
    "--exact compares the wires as the multiply has them (none, with effects.wires=off) with their network.\n"
    "examples:\n  mho tile --weights W.csv --inputs X.csv --chip pcm256 --age 1d --repeat 100\n"
    "  mho tile --weights W.csv --inputs X.csv --exact --spice tile.cir --set tile.wires.row_ohm=0.35 \\\n"
    "    --set tile.wires.column_ohm=0.35 --set tile.wires.input_ohm=10 --set tile.wires.output_ohm=10 \\\n"
    "    --set tile.wires.column_fF=0.5",
};
