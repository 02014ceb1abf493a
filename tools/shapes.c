/* mho run --shapes-only: time, energy and area of a model of which only the shape is known.
 *
 * Everything that does not depend on values is counted as in a run with values: the same forward pass, without its
 * arithmetic. What does (the current of the arrays) is measured first, on the bundled model programmed on the same
 * chip, and said so in the report.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "tools/columns.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/shapes.h"

enum { MEASURED_TOKENS = 64, LARGEST_STEP = 1 << 20 };

static const char measured_model[] = "stories";

/* ---- activity ------------------------------------------------------------------------------------------ */

static enum status run_bundled(const struct model *m, struct run *run, struct error *e) {
    struct token_list ids = {NULL, 0, 0};
    struct session *s = NULL;
    struct session_options so = {.context = MEASURED_TOKENS, .max_batch = MEASURED_TOKENS, .run = run};
    enum status status = model_text_ids(m, MEASURED_TOKENS, &ids, e);
    if (status == OK) {
        status = session_create(m, &so, &s, e);
    }
    if (status == OK) {
        status = session_forward(s, ids.ids, MEASURED_TOKENS, LOGITS_LAST, NULL, e);
    }
    session_destroy(s);
    token_list_clear(&ids);
    return status;
}

static enum status measure_activity(struct shapes_job *j, struct error *e) {
    struct model *m = NULL;
    struct analog analog = {NULL, NULL, NULL};
    enum status s = model_open(measured_model, &m, e);
    double age_s = 0;
    if (s == OK) {
        s = parse_age(j->o, &age_s, e);
    }
    if (s == OK) {
        s = analog_create(m, j->chip, j->o->seed, age_s, MEASURED_TOKENS, &analog, e);
    }
    if (s == OK) {
        s = run_bundled(m, analog.run, e);
    }
    if (s == OK) {
        j->activity = run_activity(analog.run);
        snprintf(j->source, sizeof j->source, "measured on the bundled model %s: %d tokens on this chip, seed %llu",
                 measured_model, MEASURED_TOKENS, (unsigned long long)j->o->seed);
        j->activity.source = j->source;
    }
    analog_destroy(&analog);
    model_close(m);
    return s == OK ? OK : error_prefix(e, "activity of the arrays, measured on the bundled model %s and not on yours",
                                      measured_model);
}

/* ---- the run ------------------------------------------------------------------------------------------- */

static enum status check_options(const struct options *o, struct error *e) {
    static const char *const values_only[] = {"quantise", "prompt", "prompt-file", "chat",  "chat-format", "system",
                                              "compare",     "temperature", "top-k", "top-p",       "min-p",
                                              "repetition-penalty", "bos"};
    for (size_t i = 0; i < sizeof values_only / sizeof values_only[0]; i++) {
        if (option_given(o, values_only[i])) {
            return error_set(e, ERR_USAGE, "--%s: --shapes-only has no values and no text", values_only[i]);
        }
    }
    if (!is_workload(o) && (option_given(o, "rate") || option_given(o, "prompt-chunk") ||
                            (option_given(o, "max-batch") && !o->roofline))) {
        return error_set(e, ERR_USAGE,
                         "--rate, --max-batch, --prompt-chunk: only with --requests, --batch or --arrivals");
    }
    if (o->roofline &&
        (is_workload(o) || option_given(o, "prompt-tokens") || option_given(o, "tokens"))) {
        return error_set(e, ERR_USAGE, "--roofline: chooses its own requests (allowed: --context, --max-batch)");
    }
    return check_words(o, 0, e);
}

static enum status open_all(struct shapes_job *j, struct error *e) {
    const struct options *o = j->o;
    TRY(check_options(o, e));
    if (o->out) {
        TRY(report_writable(o->out, e));
    }
    TRY(open_chip(o, &j->chip, e));
    if (!j->chip || !chip_has_costs(j->chip)) {
        return error_set(e, ERR_USAGE, "--shapes-only: chip %s has no costs, so there would be nothing to tell",
                         o->chip);
    }
    return model_open_shapes(o->model, &j->model, e);
}

enum status shapes_create_run(struct shapes_job *j, uint32_t longest, struct error *e) {
    size_t count;
    const struct matrix_source *sources = model_matrices(j->model, &count);
    TRY(placement_create(j->chip, sources, count, &j->placement, e)); /* before the other model: does it fit at all? */
    TRY(measure_activity(j, e));
    return run_create_shapes(j->chip, j->placement, &j->activity, longest, &j->run, e);
}

static enum status prepare(struct shapes_job *j, struct error *e) {
    const struct options *o = j->o;
    uint64_t wanted = (uint64_t)o->prompt_tokens + (uint64_t)o->tokens, most = model_shape(j->model)->context;
    most = o->context > 0 && (uint64_t)o->context < most ? (uint64_t)o->context : most;
    if (wanted > most) {
        return error_set(e, ERR_USAGE,
                         "--prompt-tokens %lld --tokens %lld: more than the context has (allowed: together at most "
                         "%llu)",
                         (long long)o->prompt_tokens, (long long)o->tokens, (unsigned long long)most);
    }
    uint32_t step = o->prompt_tokens < LARGEST_STEP ? (uint32_t)o->prompt_tokens : LARGEST_STEP;
    TRY(shapes_create_run(j, step, e));
    if (o->out) {
        TRY(run_keep_events(j->run, TRACE_EVENTS_MOST, e));
    }
    struct session_options so = {
        .context = (uint32_t)wanted, .max_batch = step, .run = j->run, .shapes = true};
    return session_create(j->model, &so, &j->session, e);
}

static enum status advance(struct shapes_job *j, struct error *e) {
    double start_s = now_s();
    struct progress *progress = progress_create("tokens", (uint64_t)j->o->tokens);
    enum status s = session_advance(j->session, (uint32_t)j->o->prompt_tokens, LOGITS_LAST, e);
    j->ttft_s = run_ledger(j->run).makespan_s;
    for (int64_t t = 1; t < j->o->tokens && s == OK; t++) {
        s = session_advance(j->session, 1, LOGITS_LAST, e);
        progress_update(progress, (uint64_t)t);
        s = s == OK ? check_interrupted(e) : s;
    }
    progress_destroy(progress);
    j->total_s = run_ledger(j->run).makespan_s;
    j->host_s = now_s() - start_s;
    return s;
}

/* ---- results ------------------------------------------------------------------------------------------- */

static json_t *build_json(const struct shapes_job *j) {
    json_t *root = json_envelope("run", j->o, j->chip), *latency = json_object();
    json_put(root, "model", json_string(j->o->model));
    json_put(root, "shapes_only", json_true());
    json_put(root, "parameters", json_integer((json_int_t)model_shape(j->model)->parameters));
    json_put(root, "prompt_tokens", json_integer((json_int_t)j->o->prompt_tokens));
    json_put(root, "generated_tokens", json_integer((json_int_t)j->o->tokens));
    json_put(latency, "ttft_s", json_number(j->ttft_s));
    json_put(latency, "tpot_s",
             json_number(j->o->tokens > 1 ? (j->total_s - j->ttft_s) / (double)(j->o->tokens - 1) : (double)NAN));
    json_put(latency, "total_s", json_number(j->total_s));
    json_put(root, "latency", latency);
    json_t *report = run_report_json(j->run);
    json_object_update(root, report);
    json_decref(report);
    report_add(root, j->chip);
    return root;
}

/* The part of a path that says most: "llama_1b" of configs/shapes/llama_1b/config.json. */
static const char *model_name(const char *path, int *length) {
    const char *end = path + strlen(path), *file = strrchr(path, '/');
    end = file && strcmp(file, "/config.json") == 0 ? file : end;
    const char *start = end;
    while (start > path && start[-1] != '/') {
        start--;
    }
    *length = (int)(end - start);
    return start;
}

void shapes_print_title(const struct shapes_job *j, uint64_t prompt_tokens, uint64_t generated) {
    const struct model_shape *m = model_shape(j->model);
    int length;
    const char *name = model_name(m->path, &length);
    printf("shapes of %.*s (%.3g parameters): %" PRIu64 " prompt tokens, %" PRIu64 " generated\n", length, name,
           (double)m->parameters, prompt_tokens, generated);
}

static enum status report(const struct shapes_job *j, struct error *e) {
    json_t *root = build_json(j);
    enum status s = OK;
    if (j->o->out) {
        s = report_write(root, j->run, j->o->out, e);
    }
    if (s == OK && j->o->json) {
        return json_finish(root, e);
    }
    json_decref(root);
    TRY(s);
    shapes_print_title(j, (uint64_t)j->o->prompt_tokens, (uint64_t)j->o->tokens);
    run_report_print(j->run, terminal_columns(), stdout);
    printf("host: %.2f s for the simulation\n", j->host_s);
    return finish_output(e);
}

enum status shapes_run(const struct options *o, struct error *e) {
    struct shapes_job j = {.o = o};
    enum status s = open_all(&j, e);
    if (s == OK && o->roofline) {
        s = roofline(&j, e);
    } else if (s == OK && is_workload(o)) {
        s = serve_requests(&j, e);
    } else {
        s = s == OK ? prepare(&j, e) : s;
        s = s == OK ? advance(&j, e) : s;
        s = s == OK ? report(&j, e) : s;
    }
    session_destroy(j.session);
    run_destroy(j.run);
    placement_destroy(j.placement);
    model_close(j.model);
    chip_destroy(j.chip);
    return s;
}
