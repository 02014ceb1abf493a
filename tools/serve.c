/* mho run --shapes-only with many requests: a batch at once, arrivals by chance, or a trace. models/serving.h serves
 * them; here they are set up and what came of it is told.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/columns.h"
#include "tools/report.h"
#include "tools/shapes.h"

enum { MAX_BATCH = 64 };

struct serve_job {
    struct shapes_job *shapes;
    const struct options *o;
    struct workload work;
    struct serving_limits limits;
    struct serving_counts counts;
    struct serving_summary summary;
    double host_s;
};

bool is_workload(const struct options *o) {
    return option_given(o, "batch") || option_given(o, "requests") || option_given(o, "arrivals");
}

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

static enum status check_kind(const struct options *o, struct error *e) {
    int kinds = option_given(o, "batch") + option_given(o, "requests") + option_given(o, "arrivals");
    if (kinds > 1) {
        return error_set(e, ERR_USAGE, "--batch, --requests, --arrivals: more than one given (allowed: one)");
    }
    if (option_given(o, "requests") != option_given(o, "rate")) {
        return error_set(e, ERR_USAGE, "--requests and --rate: one without the other (allowed: both, or neither)");
    }
    if (o->arrivals && (option_given(o, "prompt-tokens") || option_given(o, "tokens"))) {
        return error_set(e, ERR_USAGE, "--prompt-tokens, --tokens: the file of --arrivals has them for every request");
    }
    return OK;
}

static enum status create_workload(struct serve_job *j, struct error *e) {
    const struct options *o = j->o;
    TRY(check_kind(o, e));
    if (o->arrivals) {
        TRY(workload_read(o->arrivals, &j->work, e));
    } else {
        size_t count = (size_t)(option_given(o, "batch") ? o->batch : o->requests);
        TRY(workload_create(count, option_given(o, "batch") ? 0 : o->rate_per_s, o->seed, (uint32_t)o->prompt_tokens,
                            (uint32_t)o->tokens, &j->work, e));
    }
    int64_t most = option_given(o, "max-batch") ? o->max_batch : option_given(o, "batch") ? o->batch : MAX_BATCH;
    j->limits.max_batch = (uint64_t)most < j->work.count ? (uint32_t)most : (uint32_t)j->work.count;
    j->limits.prompt_chunk = option_given(o, "prompt-chunk") ? (uint32_t)o->prompt_chunk : 0;
    return OK;
}

static enum status run_requests(struct serve_job *j, struct error *e) {
    struct shapes_job *s = j->shapes;
    uint32_t longest = 1;
    for (size_t i = 0; i < j->work.count; i++) {
        uint32_t prompt = j->work.requests[i].prompt_tokens;
        longest = prompt > longest ? prompt : longest;
    }
    if (j->limits.prompt_chunk && j->limits.prompt_chunk < longest) {
        longest = j->limits.prompt_chunk;
    }
    TRY(shapes_create_run(s, longest, e));
    TRY(run_streams(s->run, j->limits.max_batch, e));
    if (j->o->out) {
        TRY(run_keep_events(s->run, TRACE_EVENTS_MOST, e));
    }
    double start_s = now_s();
    TRY(serve(s->model, s->run, &j->work, &j->limits, &j->counts, e));
    j->host_s = now_s() - start_s;
    return serving_summary(&j->work, &j->summary, e);
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static json_t *spread_json(const struct spread *s) {
    json_t *o = json_object();
    json_put(o, "mean", json_number(s->mean));
    json_put(o, "p50", json_number(s->p50));
    json_put(o, "p95", json_number(s->p95));
    json_put(o, "p99", json_number(s->p99));
    json_put(o, "max", json_number(s->most));
    return o;
}

static json_t *request_json(const struct request *q) {
    json_t *o = json_object();
    json_put(o, "arrival_s", json_number(q->arrival_s));
    json_put(o, "prompt_tokens", json_integer(q->prompt_tokens));
    json_put(o, "tokens", json_integer(q->tokens));
    json_put(o, "admitted_s", json_number(q->admitted_s));
    json_put(o, "first_token_s", json_number(q->first_s));
    json_put(o, "last_token_s", json_number(q->last_s));
    return o;
}

static json_t *classes_json(const struct run *r) {
    json_t *all = json_object();
    for (size_t c = 0; c < run_classes(); c++) {
        struct run_class_load load = run_class_load(r, c);
        json_t *o = json_object();
        json_put(o, "busy_s", json_number(load.busy_s));
        json_put(o, "wait_s", json_number(load.wait_s));
        json_put(o, "busiest_utilisation", json_number(load.busiest));
        json_put(o, "path_work_s", json_number(load.path_work_s));
        json_put(o, "path_wait_s", json_number(load.path_wait_s));
        json_put(all, run_class_name(c), o);
    }
    return all;
}

/* Of a token that was written; energy.per_token_J counts those of the prompts too. */
static double energy_per_generated_token_J(const struct serve_job *j) {
    return run_ledger(j->shapes->run).total_J / (double)j->counts.tokens;
}

static json_t *serving_json(const struct serve_job *j) {
    json_t *o = json_object(), *kv = json_object(), *requests = json_array();
    json_put(o, "requests", json_integer((json_int_t)j->work.count));
    json_put(o, "max_batch", json_integer(j->limits.max_batch));
    json_put(o, "prompt_chunk", j->limits.prompt_chunk ? json_integer(j->limits.prompt_chunk) : json_null());
    json_put(o, "most_in_flight", json_integer(j->summary.most_in_flight));
    json_put(o, "queueing_s", spread_json(&j->summary.queueing));
    json_put(o, "ttft_s", spread_json(&j->summary.ttft));
    json_put(o, "tpot_s", spread_json(&j->summary.tpot));
    json_put(o, "latency_s", spread_json(&j->summary.latency));
    json_put(o, "span_s", json_number(j->summary.span_s));
    json_put(o, "tokens_per_s", json_number(j->summary.tokens_per_s));
    json_put(o, "requests_per_s", json_number(j->summary.requests_per_s));
    json_put(o, "energy_per_generated_token_J", json_number(energy_per_generated_token_J(j)));
    json_put(kv, "most_bits", json_integer((json_int_t)j->counts.kv_most_bits));
    json_put(kv, "room_bits", json_integer((json_int_t)j->counts.kv_room_bits));
    json_put(kv, "requests_too_large", json_integer((json_int_t)j->counts.too_large));
    json_put(o, "kv_of_fullest_layer", kv);
    json_put(o, "resources", classes_json(j->shapes->run));
    for (size_t i = 0; i < j->work.count; i++) {
        json_array_append_new(requests, request_json(&j->work.requests[i]));
    }
    json_put(o, "by_request", requests);
    return o;
}

static json_t *build_json(const struct serve_job *j) {
    json_t *root = json_envelope("run", j->o, j->shapes->chip);
    json_put(root, "model", json_string(j->o->model));
    json_put(root, "shapes_only", json_true());
    json_put(root, "parameters", json_integer((json_int_t)model_shape(j->shapes->model)->parameters));
    json_put(root, "prompt_tokens", json_integer((json_int_t)j->counts.prompt_tokens));
    json_put(root, "generated_tokens", json_integer((json_int_t)j->counts.tokens));
    json_put(root, "serving", serving_json(j));
    json_t *report = run_report_json(j->shapes->run);
    json_object_update(root, report);
    json_decref(report);
    report_add(root, j->shapes->chip);
    return root;
}

static enum status write_csv(const struct serve_job *j, struct error *e) {
    struct output *out;
    char *path = path_join(j->o->out, "requests.csv");
    if (!path) {
        return error_set(e, ERR_RUN, "%s/requests.csv: out of memory", j->o->out);
    }
    enum status s = output_create(path, &out, e);
    mem_free(path);
    TRY(s);
    FILE *f = output_stream(out);
    fprintf(f, "arrival_s,prompt_tokens,tokens,admitted_s,first_token_s,last_token_s\n");
    for (size_t i = 0; i < j->work.count; i++) {
        const struct request *q = &j->work.requests[i];
        fprintf(f, "%.17g,%u,%u,%.17g,%.17g,%.17g\n", q->arrival_s, q->prompt_tokens, q->tokens, q->admitted_s,
                q->first_s, q->last_s);
    }
    return output_commit(out, e);
}

static void print_spread(const char *name, const struct spread *s) {
    printf("  %-10s %12.4g %12.4g %12.4g %12.4g\n", name, s->mean * 1e3, s->p50 * 1e3, s->p95 * 1e3, s->p99 * 1e3);
}

static void print_serving(const struct serve_job *j) {
    const struct serving_summary *s = &j->summary;
    printf("%zu requests, at most %u of %u in flight: %.4g tokens/s, %.4g requests/s, %.3g J per token written\n",
           j->work.count, s->most_in_flight, j->limits.max_batch, s->tokens_per_s, s->requests_per_s,
           energy_per_generated_token_J(j));
    printf("  ms                 mean          p50          p95          p99\n");
    print_spread("queueing", &s->queueing);
    print_spread("TTFT", &s->ttft);
    print_spread("TPOT", &s->tpot);
    print_spread("latency", &s->latency);
    printf("  resources    busiest one  work of steps  waiting of steps (ms)\n");
    for (size_t c = 0; c < run_classes(); c++) {
        struct run_class_load load = run_class_load(j->shapes->run, c);
        if (load.events) {
            printf("  %-14s %7.1f %%  %13.4g  %16.4g\n", run_class_name(c), 100 * load.busiest, load.path_work_s * 1e3,
                   load.path_wait_s * 1e3);
        }
    }
    printf("  KV memory of the fullest layer: %.3g of %.3g MiB reserved\n",
           (double)j->counts.kv_most_bits / 8 / 1048576, (double)j->counts.kv_room_bits / 8 / 1048576);
    if (j->counts.too_large) {
        printf("  ! %llu requests need more KV memory than there is; each ran alone\n",
               (unsigned long long)j->counts.too_large);
    }
    printf("\n");
}

static enum status report(const struct serve_job *j, struct error *e) {
    json_t *root = build_json(j);
    enum status s = OK;
    if (j->o->out) {
        s = write_csv(j, e);
        s = s == OK ? report_write(root, j->shapes->run, j->o->out, e) : s;
    }
    if (s == OK && j->o->json) {
        return json_finish(root, e);
    }
    json_decref(root);
    TRY(s);
    shapes_print_title(j->shapes, j->counts.prompt_tokens, j->counts.tokens);
    print_serving(j);
    run_report_print(j->shapes->run, terminal_columns(), stdout);
    printf("host: %.2f s for %.3g s of simulated time\n", j->host_s, run_ledger(j->shapes->run).makespan_s);
    return finish_output(e);
}

enum status serve_requests(struct shapes_job *shapes, struct error *e) {
    struct serve_job j = {.shapes = shapes, .o = shapes->o};
    enum status s = create_workload(&j, e);
    s = s == OK ? run_requests(&j, e) : s;
    s = s == OK ? report(&j, e) : s;
    workload_clear(&j.work);
    return s;
}
