/* mho eval choice: multiple-choice tasks, digital and on machines; the rules stand in models/choice.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/eval.h"

enum { MOST_POSITIONS = 4096, ACC = 0, ACC_NORM = 1 };

/* ---- the measure --------------------------------------------------------------------------------------- */

static enum status score_item(void *context, struct session *s, size_t unit, json_t **record, struct error *e) {
    struct eval_task *t = context;
    const struct choice_item *item = choice_item_at(t->set, unit);
    struct choice_scores scores;
    TRY(choice_score(s, t->model, t->set, unit, t->bos, &scores, e));
    json_t *log_p = json_array(), *tokens = json_array(), *bytes = json_array();
    for (uint32_t c = 0; c < item->count; c++) {
        json_array_append_new(log_p, json_number(scores.log_p[c]));
        json_array_append_new(tokens, json_integer(scores.tokens[c]));
        json_array_append_new(bytes, json_integer((json_int_t)strlen(item->choices[c])));
    }
    *record = json_pack("{s:i, s:i, s:o, s:o, s:o, s:i, s:i, s:i}", "gold", (int)item->gold, "context_ids",
                        (int)scores.context_tokens, "choice_ids", tokens, "choice_bytes", bytes, "loglik", log_p,
                        "prediction_acc", (int)scores.best, "prediction_acc_norm", (int)scores.best_norm, "cut_ids",
                        (int)scores.cut);
    return *record ? OK : error_set(e, ERR_RUN, "choice: out of memory");
}

static bool item_values(void *context, const json_t *record, struct unit_values *out) {
    (void)context;
    json_int_t gold, acc, acc_norm;
    if (json_unpack((json_t *)record, "{s:I, s:I, s:I}", "gold", &gold, "prediction_acc", &acc, "prediction_acc_norm",
                    &acc_norm) != 0) {
        return false;
    }
    out->sum[ACC] = acc == gold;
    out->sum[ACC_NORM] = acc_norm == gold;
    out->weight = 1;
    return true;
}

enum status eval_task_open(const struct model *m, const struct eval_task_options *o, struct eval_task *out,
                           struct error *e) {
    uint32_t context = model_shape(m)->context;
    out->model = m;
    if (!model_tokenizer(m)) {
        return error_set(e, ERR_RUN, "%s: no tokenizer (a folder needs tokenizer.json)", model_shape(m)->path);
    }
    TRY(parse_bos(o->bos, m, &out->bos, e));
    TRY(choice_open(o->task, o->path, o->shots, &out->set, e));
    size_t count = choice_count(out->set);
    char hash[24];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)choice_hash(out->set));
    json_t *settings = json_pack("{s:s, s:s, s:s, s:i, s:b}", "command", "eval choice", "task", o->task, "data", hash,
                                 "shots", (int)o->shots, "bos", out->bos);
    out->measure = (struct eval_measure){.unit = "item", .count = o->limit && o->limit < count ? o->limit : count,
                                         .positions = context < MOST_POSITIONS ? context : MOST_POSITIONS,
                                         .settings = settings, .context = out,
                                         .score = score_item, .values = item_values};
    return settings ? OK : error_set(e, ERR_RUN, "choice: out of memory");
}

void eval_task_close(struct eval_task *t) {
    choice_close(t->set);
    json_decref(t->measure.settings);
}

/* ---- the command --------------------------------------------------------------------------------------- */

struct job {
    const struct options *o;
    struct model *model;
    struct chip *chip;
    double *ages_s;
    size_t age_count;
    struct eval_task task;
    struct eval_results results;
};

static enum status prepare(struct job *j, struct error *e) {
    const struct options *o = j->o;
    static const char *const takes[] = {"model", "chip",  "set", "quantise", "task",  "data", "limit",
                                        "shots", "seeds", "age", "bos",      "items", NULL};
    TRY(options_only(o, takes, "eval choice", e));
    if (!o->task || o->data.count != 1) {
        return error_set(e, ERR_USAGE, "eval choice: --%s: which? (needed: --task NAME --data FILE, once each)",
                         o->task ? "data" : "task");
    }
    TRY(open_eval(o, &j->model, &j->chip, &j->ages_s, &j->age_count, e));
    const struct eval_task_options how = {o->task, o->data.items[0], o->limit, (uint32_t)o->shots, o->bos};
    return eval_task_open(j->model, &how, &j->task, e);
}

static json_t *accuracies_json(const struct job *j, const struct eval_result *r) {
    json_t *o = json_object();
    json_put(o, "acc", json_number(eval_mean(r, j->results.units, ACC)));
    json_put(o, "acc_norm", json_number(eval_mean(r, j->results.units, ACC_NORM)));
    return o;
}

static void put_statistics(const struct job *j, json_t *object, double age_s) {
    struct eval_summary acc = eval_summarise(&j->results, ACC, age_s),
                        norm = eval_summarise(&j->results, ACC_NORM, age_s);
    eval_put_summary(object, "acc", &acc);
    eval_put_summary(object, "acc_norm", &norm);
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
        json_t *run = accuracies_json(j, &j->results.at[i]);
        json_put(run, "seed", json_integer((json_int_t)j->results.at[i].seed));
        json_put(run, "age_s", json_number(j->results.at[i].age_s));
        json_array_append_new(runs, run);
    }
    json_put(o, "by_age", ages);
    json_put(o, "runs", runs);
    return o;
}

static enum status print_json(const struct job *j, struct error *e) {
    json_t *root = json_envelope("eval choice", j->o, j->chip);
    json_put(root, "model", json_string(j->o->model));
    json_put(root, "quantise_bits", json_integer(model_quantised_bits(j->model)));
    json_put(root, "task", json_string(j->o->task));
    json_put(root, "data", json_string(j->o->data.items[0]));
    json_put(root, "shots", json_integer(j->o->shots));
    json_put(root, "bos", json_boolean(j->task.bos));
    json_put(root, "items", json_integer((json_int_t)j->results.units));
    json_put(root, "digital", accuracies_json(j, &j->results.at[0]));
    json_put(root, "analog", j->chip ? analog_json(j) : json_null());
    return json_finish(root, e);
}

static void print_line(const struct job *j, const char *name, const struct eval_result *r) {
    printf("%-34s %10.4f %10.4f\n", name, eval_mean(r, j->results.units, ACC),
           eval_mean(r, j->results.units, ACC_NORM));
}

static void print_machines(const struct job *j) {
    for (size_t i = 1; i < j->results.count; i++) {
        const struct eval_result *m = &j->results.at[i];
        char name[96];
        snprintf(name, sizeof name, "%.16s, seed %llu, age %.6g s", chip_name(j->chip), (unsigned long long)m->seed,
                 m->age_s);
        print_line(j, name, m);
    }
    printf("\n");
    for (size_t a = 0; a < j->age_count; a++) {
        struct eval_summary s = eval_summarise(&j->results, ACC_NORM, j->ages_s[a]);
        eval_print_difference(&s, j->ages_s[a], "acc_norm");
    }
}

static enum status print(const struct job *j, struct error *e) {
    printf("%s, %zu items, %u shots, %s BOS\n\n", j->o->task, j->results.units, (unsigned)j->o->shots,
           j->task.bos ? "with" : "without");
    printf("%-34s %10s %10s\n", "", "acc", "acc_norm");
    print_line(j, "digital reference", &j->results.at[0]);
    if (j->chip) {
        print_machines(j);
    }
    return finish_output(e);
}

enum status eval_choice_command(const struct options *o, struct error *e) {
    struct job j = {.o = o};
    enum status s = prepare(&j, e);
    if (s == OK) {
        const struct eval_machines machines = {o->seed, (uint64_t)o->seeds, j.ages_s, j.age_count};
        s = eval_run(&j.task.measure, j.model, j.chip, &machines, o->items, &j.results, e);
    }
    if (s == OK) {
        s = o->json ? print_json(&j, e) : print(&j, e);
    }
    eval_results_clear(&j.results);
    eval_task_close(&j.task);
    mem_free(j.ages_s);
    model_close(j.model);
    chip_destroy(j.chip);
    return s;
}
