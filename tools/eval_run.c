/* Measures units with the digital model and with machines: see eval.h. And what is said of the numbers afterwards.
 *
 * Statistics, with v the sum of a unit and w its weight, over units u and machines k of one age:
 *   mean of a machine   M_k = sum_u v / sum_u w;  digital: M_0
 *   mean, sd            of M_k over k (sample standard deviation)
 *   difference          of M_k - M_0 over k
 *   standard error      of the difference of a mean machine, from the spread of its units against the same units of the
 *                       digital model: D_u = mean_k (v_ku - v_0u), d = sum D / sum w,
 *                       se = sqrt(n/(n-1) sum_u (D_u - d w_u)^2) / sum w
 * Pairing unit by unit takes out how hard the units are, which is most of their spread.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/eval.h"

/* How far apart the reads of neighbouring units are numbered: more than the tokens of any unit. */
enum { EVAL_BATCH = 256, READS_PER_UNIT = 1 << 20 };

struct evaluation {
    const struct eval_measure *measure;
    const struct model *model;
    const struct chip *chip;
    struct program_plan *plan; /* made when the first machine is */
    struct eval_log *log;      /* NULL: none */
    struct eval_results *results;
};

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "eval: out of memory"); }

static enum status results_create(const struct eval_machines *m, bool analog, size_t units, struct eval_results *r,
                                  struct error *e) {
    size_t machines = 1 + (analog ? (size_t)m->seeds * m->age_count : 0);
    *r = (struct eval_results){.at = mem_alloc(machines, sizeof *r->at), .units = units};
    if (!r->at) {
        return no_memory(e);
    }
    for (size_t i = 0; i < machines; i++) {
        struct eval_result *one = &r->at[i];
        one->digital = i == 0;
        one->seed = i == 0 ? 0 : m->first_seed + (i - 1) / m->age_count;
        one->age_s = i == 0 ? 0 : m->ages_s[(i - 1) % m->age_count];
        one->units = mem_alloc(units, sizeof *one->units);
        r->count++;
        if (!one->units) {
            return no_memory(e);
        }
    }
    return OK;
}

void eval_results_clear(struct eval_results *r) {
    for (size_t i = 0; i < r->count; i++) {
        mem_free(r->at[i].units);
    }
    mem_free(r->at);
    *r = (struct eval_results){NULL, 0, 0};
}

/* ---- one machine --------------------------------------------------------------------------------------- */

static enum status score_unit(struct evaluation *v, struct session *s, struct eval_result *r, size_t unit,
                              struct error *e) {
    json_t *record = NULL;
    const struct eval_measure *m = v->measure;
    TRY(check_interrupted(e));
    TRY(m->score(m->context, s, unit, &record, e));
    r->units[unit].there = m->values(m->context, record, &r->units[unit]);
    enum status status = v->log ? eval_log_add(v->log, r, unit, record, e) : OK;
    json_decref(record);
    return status;
}

/* run NULL: digital. What was measured before is left out. */
static enum status score_units(struct evaluation *v, struct run *run, struct eval_result *r, struct error *e) {
    struct session_options o = {.context = v->measure->positions, .max_batch = EVAL_BATCH, .run = run};
    struct session *s = NULL;
    enum status status = session_create(v->model, &o, &s, e);
    struct progress *progress = progress_create(run ? "machine" : "digital", v->measure->count);
    for (size_t u = 0; u < v->measure->count && status == OK; u++) {
        if (r->units[u].there) {
            continue;
        }
        if (run) {
            run_restart(run, u * (uint64_t)READS_PER_UNIT);
        }
        status = score_unit(v, s, r, u, e);
        progress_update(progress, u + 1);
    }
    progress_destroy(progress);
    session_destroy(s);
    return status;
}

static enum status program(struct evaluation *v, const struct eval_result *r, struct machine **out, struct error *e) {
    bool first = !v->plan;
    if (first) {
        TRY(program_plan_create(v->model, v->chip, &v->plan, e));
    }
    TRY(program_plan_machine(v->plan, &(struct machine_options){.seed = r->seed, .age_s = r->age_s}, out, e));
    if (first) {
        notice_static_ranges(v->chip, *out);
    }
    return OK;
}

static enum status measure_machine(struct evaluation *v, struct eval_result *r, struct error *e) {
    struct machine *machine = NULL;
    struct run *run = NULL;
    enum status s = program(v, r, &machine, e);
    if (s == OK) {
        s = run_create_values(machine, EVAL_BATCH, &run, e);
    }
    if (s == OK) {
        s = score_units(v, run, r, e);
    }
    run_destroy(run);
    machine_destroy(machine);
    return s;
}

static bool complete(const struct eval_result *r, size_t units) {
    for (size_t u = 0; u < units; u++) {
        if (!r->units[u].there) {
            return false;
        }
    }
    return true;
}

static enum status measure_all(struct evaluation *v, struct error *e) {
    for (size_t i = 0; i < v->results->count; i++) {
        struct eval_result *r = &v->results->at[i];
        if (!complete(r, v->measure->count)) {
            TRY(r->digital ? score_units(v, NULL, r, e) : measure_machine(v, r, e));
        }
    }
    return OK;
}

/* ---- everything ---------------------------------------------------------------------------------------- */

enum status open_eval(const struct options *o, struct model **model, struct chip **chip, double **ages_s, size_t *ages,
                      struct error *e) {
    TRY(parse_number_list(o->age, "--age", true, ages_s, ages, e));
    TRY(open_chip(o, chip, e));
    for (size_t i = 0; *chip && i < *ages; i++) {
        TRY(chip_check_age(*chip, (*ages_s)[i], e));
    }
    return open_rounded_model(o, model, e);
}

static json_t *all_settings(const struct eval_measure *m, const struct model *model, const struct chip *chip) {
    char hash[32] = "none";
    json_t *settings = json_copy(m->settings);
    json_put(settings, "model", json_sprintf("%016llx", (unsigned long long)data_model_hash(model)));
    json_put(settings, "quantise_bits", json_integer(model_quantised_bits(model)));
    if (chip) {
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)chip_hash(chip));
    }
    json_put(settings, "config_hash", json_string(hash));
    return settings;
}

static enum status open_log(struct evaluation *v, const char *items, struct error *e) {
    if (!items) {
        return OK;
    }
    json_t *settings = all_settings(v->measure, v->model, v->chip);
    enum status s = eval_log_open(items, v->measure, settings, v->results, &v->log, e);
    json_decref(settings);
    return s;
}

static void tell_of_ages(const struct chip *c, const struct eval_machines *machines) {
    if (c && machines->age_count > 1 && !chip_ages(c)) {
        notice("%s: nothing on this chip ages (drift and read noise are off, or its cell has none): all ages give the "
               "same numbers", chip_name(c));
    }
}

enum status eval_run(const struct eval_measure *m, const struct model *model, const struct chip *chip,
                     const struct eval_machines *machines, const char *items, struct eval_results *out,
                     struct error *e) {
    struct evaluation v = {.measure = m, .model = model, .chip = chip, .results = out};
    tell_of_ages(chip, machines);
    enum status s = results_create(machines, chip != NULL, m->count, out, e);
    if (s == OK) {
        s = open_log(&v, items, e);
    }
    if (s == OK) {
        s = measure_all(&v, e);
    }
    if (s != OK && v.log && interrupted()) {
        s = error_set(e, ERR_RUN, "interrupted: %s has the results so far, and the same command goes on from there",
                      items);
    }
    enum status closed = eval_log_close(v.log, s == OK ? e : NULL);
    program_plan_destroy(v.plan);
    return s == OK ? closed : s;
}

/* ---- statistics ---------------------------------------------------------------------------------------- */

double eval_mean(const struct eval_result *r, size_t units, int sum) {
    double total = 0.0, weight = 0.0;
    for (size_t u = 0; u < units; u++) {
        total += r->units[u].sum[sum];
        weight += r->units[u].weight;
    }
    return total / weight;
}

static bool of_age(const struct eval_result *r, double age_s) {
    return !r->digital && (isnan(age_s) || (!(r->age_s < age_s) && !(r->age_s > age_s)));
}

/* D_u */
static double unit_difference(const struct eval_results *r, size_t unit, int sum, double age_s) {
    struct moments over = {0};
    for (size_t i = 1; i < r->count; i++) {
        if (of_age(&r->at[i], age_s)) {
            moments_add(&over, r->at[i].units[unit].sum[sum] - r->at[0].units[unit].sum[sum]);
        }
    }
    return moments_mean(&over);
}

static double standard_error(const struct eval_results *r, int sum, double age_s, double difference) {
    double squares = 0.0, weight = 0.0, n = (double)r->units;
    for (size_t u = 0; u < r->units; u++) {
        double w = r->at[0].units[u].weight, d = unit_difference(r, u, sum, age_s) - difference * w;
        squares += d * d;
        weight += w;
    }
    return r->units > 1 ? sqrt(n / (n - 1) * squares) / weight : (double)NAN;
}

struct eval_summary eval_summarise(const struct eval_results *r, int sum, double age_s) {
    struct moments value = {0}, difference = {0};
    double digital = eval_mean(&r->at[0], r->units, sum);
    for (size_t i = 1; i < r->count; i++) {
        if (of_age(&r->at[i], age_s)) {
            double mean = eval_mean(&r->at[i], r->units, sum);
            moments_add(&value, mean);
            moments_add(&difference, mean - digital);
        }
    }
    struct eval_summary s = {.mean = moments_mean(&value), .sd = moments_sd(&value),
                             .difference = moments_mean(&difference), .difference_sd = moments_sd(&difference),
                             .machines = (size_t)value.n};
    s.difference_se = value.n ? standard_error(r, sum, age_s, s.difference) : (double)NAN;
    return s;
}

/* NAME + suffix */
static void put_named(json_t *object, const char *name, const char *suffix, double value) {
    char key[64];
    snprintf(key, sizeof key, "%s%s", name, suffix);
    json_put(object, key, json_number(value));
}

void eval_put_summary(json_t *object, const char *name, const struct eval_summary *s) {
    json_t *difference = json_object_get(object, "difference");
    put_named(object, name, "_mean", s->mean);
    put_named(object, name, "_sd", s->sd);
    if (!difference) {
        difference = json_object();
        json_put(object, "difference", difference);
    }
    put_named(difference, name, "_mean", s->difference);
    put_named(difference, name, "_sd", s->difference_sd);
    put_named(difference, name, "_se", s->difference_se);
}

void eval_print_difference(const struct eval_summary *s, double age_s, const char *what) {
    printf("age %.6g s: %+.4f %s against the digital reference", age_s, s->difference, what);
    if (s->machines > 1) {
        printf(", sd over %zu machines %.4f", s->machines, s->difference_sd);
    }
    if (isfinite(s->difference_se)) {
        printf(", standard error over the text %.4f", s->difference_se);
    }
    printf("\n");
}
