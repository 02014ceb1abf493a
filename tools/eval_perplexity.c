/* mho eval perplexity: how surprised a model is by a text, digital and on machines (design: windows, BOS). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/params.h"
#include "tools/eval.h"

enum { TEXT_LIMIT_BYTES = 1 << 30 };

enum status parse_bos(const char *option, const struct model *m, bool *bos, struct error *e) {
    *bos = model_bos(m) >= 0;
    if (!option) {
        return OK;
    }
    if (strcmp(option, "on") != 0 && strcmp(option, "off") != 0) {
        return error_set(e, ERR_USAGE, "--bos %s: what is this? (allowed: on, off)", option);
    }
    if (strcmp(option, "on") == 0 && !*bos) {
        return error_set(e, ERR_USAGE, "--bos on: this model has no BOS token (allowed: off)");
    }
    *bos = strcmp(option, "on") == 0;
    return OK;
}

/* ---- the measure --------------------------------------------------------------------------------------- */

static enum status score_window(void *context, struct session *s, size_t unit, json_t **record, struct error *e) {
    const struct eval_text *t = context;
    double sum_log_p;
    uint32_t tokens;
    TRY(perplexity_window(s, t->text, unit, &sum_log_p, &tokens, e));
    *record = json_pack("{s:f, s:i}", "log_p", sum_log_p, "tokens", (int)tokens);
    return *record ? OK : error_set(e, ERR_RUN, "perplexity: out of memory");
}

static bool window_values(void *context, const json_t *record, struct unit_values *out) {
    const json_t *log_p = json_object_get(record, "log_p"), *tokens = json_object_get(record, "tokens");
    (void)context;
    out->sum[0] = -json_number_value(log_p);
    out->weight = json_number_value(tokens);
    return json_is_number(log_p) && json_is_integer(tokens) && out->weight > 0;
}

static enum status open_text(const struct model *m, const struct eval_text_options *o, const char *text, size_t bytes,
                             struct eval_text *out, struct error *e) {
    struct perplexity_options how = {.window = o->window, .limit_bytes = o->limit_bytes};
    TRY(check_utf8(text, bytes, o->path, e));
    if (!model_tokenizer(m)) {
        return error_set(e, ERR_RUN, "%s: no tokenizer (a folder needs tokenizer.json)", model_shape(m)->path);
    }
    if (o->window > model_shape(m)->context) {
        return error_set(e, ERR_USAGE, "--window %u: more than the context (allowed: 2 to %u)", o->window,
                         model_shape(m)->context);
    }
    TRY(parse_bos(o->bos, m, &how.bos, e));
    TRY(perplexity_open(m, text, bytes, &how, &out->text, e));
    char hash[24];
    snprintf(hash, sizeof hash, "%016llx",
             (unsigned long long)data_hash_bytes(0, text, (size_t)perplexity_bytes(out->text)));
    json_t *settings = json_pack("{s:s, s:s, s:I, s:i, s:b}", "command", "eval perplexity", "text", hash, "bytes",
                                 (json_int_t)perplexity_bytes(out->text), "window", (int)o->window, "bos", how.bos);
    out->measure = (struct eval_measure){.unit = "window", .count = perplexity_windows(out->text),
                                         .positions = o->window, .settings = settings, .context = out,
                                         .score = score_window, .values = window_values};
    return settings ? OK : error_set(e, ERR_RUN, "perplexity: out of memory");
}

enum status eval_text_open(const struct model *m, const struct eval_text_options *o, struct eval_text *out,
                           struct error *e) {
    char *text;
    size_t bytes;
    TRY(read_file(o->path, TEXT_LIMIT_BYTES, &text, &bytes, e));
    enum status s = open_text(m, o, text, bytes, out, e);
    mem_free(text);
    return s;
}

void eval_text_close(struct eval_text *t) {
    perplexity_close(t->text);
    json_decref(t->measure.settings);
}

/* ---- the command --------------------------------------------------------------------------------------- */

struct job {
    const struct options *o;
    struct model *model;
    struct chip *chip;
    double *ages_s;
    size_t age_count;
    struct eval_text text;
    struct eval_results results;
};

static enum status prepare(struct job *j, struct error *e) {
    const struct options *o = j->o;
    static const char *const takes[] = {"model", "chip", "set", "quantise", "text",  "limit", "window",
                                        "seeds", "age",  "bos", "items",    NULL};
    TRY(options_only(o, takes, "eval perplexity", e));
    if (!o->text || !*o->text) {
        return error_set(e, ERR_USAGE, "--text: which text? (give a file)");
    }
    TRY(open_eval(o, &j->model, &j->chip, &j->ages_s, &j->age_count, e));
    const struct eval_text_options how = {o->text, o->limit, (uint32_t)o->window, o->bos};
    return eval_text_open(j->model, &how, &j->text, e);
}

static struct perplexity_result result_of(const struct job *j, const struct eval_result *r) {
    double sum = 0.0, tokens = 0.0;
    for (size_t u = 0; u < j->results.units; u++) {
        sum -= r->units[u].sum[0];
        tokens += r->units[u].weight;
    }
    return perplexity_result(sum, (uint64_t)tokens, perplexity_bytes(j->text.text));
}

static json_t *result_json(const struct perplexity_result *r) {
    json_t *o = json_object();
    json_put(o, "nll_nats", json_number(r->nll_nats));
    json_put(o, "perplexity", json_number(r->perplexity));
    json_put(o, "bits_per_byte", json_number(r->bits_per_byte));
    return o;
}

/* Mean and standard deviation of the perplexities of machines. */
static struct moments perplexities(const struct job *j, double age_s) {
    struct moments m = {0};
    for (size_t i = 1; i < j->results.count; i++) {
        const struct eval_result *r = &j->results.at[i];
        if (isnan(age_s) || (!(r->age_s < age_s) && !(r->age_s > age_s))) {
            moments_add(&m, result_of(j, r).perplexity);
        }
    }
    return m;
}

static void put_statistics(const struct job *j, json_t *object, double age_s) {
    struct moments m = perplexities(j, age_s);
    struct eval_summary nll = eval_summarise(&j->results, 0, age_s);
    json_put(object, "perplexity_mean", json_number(moments_mean(&m)));
    json_put(object, "perplexity_sd", json_number(moments_sd(&m)));
    eval_put_summary(object, "nll_nats", &nll);
}

static json_t *analog_json(const struct job *j) {
    json_t *o = json_object(), *ages = json_array(), *runs = json_array();
    put_statistics(j, o, (double)NAN);
    for (size_t a = 0; a < j->age_count; a++) {
        json_t *age = json_object();
        json_put(age, "age_s", json_number(j->ages_s[a]));
        put_statistics(j, age, j->ages_s[a]);
        json_array_append_new(ages, age);
    }
    for (size_t i = 1; i < j->results.count; i++) {
        struct perplexity_result r = result_of(j, &j->results.at[i]);
        json_t *run = result_json(&r);
        json_put(run, "seed", json_integer((json_int_t)j->results.at[i].seed));
        json_put(run, "age_s", json_number(j->results.at[i].age_s));
        json_array_append_new(runs, run);
    }
    json_put(o, "by_age", ages);
    json_put(o, "runs", runs);
    return o;
}

static enum status print_json(const struct job *j, struct error *e) {
    struct perplexity_result digital = result_of(j, &j->results.at[0]);
    json_t *root = json_envelope("eval perplexity", j->o, j->chip);
    json_put(root, "model", json_string(j->o->model));
    json_put(root, "quantise_bits", json_integer(model_quantised_bits(j->model)));
    json_put(root, "text", json_string(j->o->text));
    json_put(root, "window", json_integer(j->o->window));
    json_put(root, "bos", json_deep_copy(json_object_get(j->text.measure.settings, "bos")));
    json_put(root, "tokens", json_integer((json_int_t)digital.tokens));
    json_put(root, "bytes", json_integer((json_int_t)digital.bytes));
    json_put(root, "digital", result_json(&digital));
    json_put(root, "analog", j->chip ? analog_json(j) : json_null());
    return json_finish(root, e);
}

static void print_line(const char *name, const struct perplexity_result *r) {
    printf("%-34s %10.4f %12.3f %10.4f\n", name, r->nll_nats, r->perplexity, r->bits_per_byte);
}

static void print_machines(const struct job *j) {
    for (size_t i = 1; i < j->results.count; i++) {
        const struct eval_result *m = &j->results.at[i];
        struct perplexity_result r = result_of(j, m);
        char name[96];
        snprintf(name, sizeof name, "%.16s, seed %llu, age %.6g s", chip_name(j->chip), (unsigned long long)m->seed,
                 m->age_s);
        print_line(name, &r);
    }
    if (j->results.count > 2) {
        struct moments m = perplexities(j, (double)NAN);
        printf("%-34s %10s %12.3f +- %.3f\n", "mean over runs", "", moments_mean(&m), moments_sd(&m));
    }
    printf("\n");
    for (size_t a = 0; a < j->age_count; a++) {
        struct eval_summary s = eval_summarise(&j->results, 0, j->ages_s[a]);
        eval_print_difference(&s, j->ages_s[a], "nats per token");
    }
}

static enum status print(const struct job *j, struct error *e) {
    struct perplexity_result digital = result_of(j, &j->results.at[0]);
    bool bos = json_is_true(json_object_get(j->text.measure.settings, "bos"));
    printf("%s, %llu bytes, %llu tokens predicted, windows of %u %s BOS\n\n", j->o->text,
           (unsigned long long)digital.bytes, (unsigned long long)digital.tokens, (unsigned)j->o->window,
           bos ? "with" : "without");
    printf("%-34s %10s %12s %10s\n", "", "nats/token", "perplexity", "bits/byte");
    print_line("digital reference", &digital);
    if (j->chip) {
        print_machines(j);
    }
    return finish_output(e);
}

enum status eval_perplexity_command(const struct options *o, struct error *e) {
    struct job j = {.o = o};
    enum status s = prepare(&j, e);
    if (s == OK) {
        const struct eval_machines machines = {o->seed, (uint64_t)o->seeds, j.ages_s, j.age_count};
        s = eval_run(&j.text.measure, j.model, j.chip, &machines, o->items, &j.results, e);
    }
    if (s == OK) {
        s = o->json ? print_json(&j, e) : print(&j, e);
    }
    eval_results_clear(&j.results);
    eval_text_close(&j.text);
    mem_free(j.ages_s);
    model_close(j.model);
    chip_destroy(j.chip);
    return s;
}
