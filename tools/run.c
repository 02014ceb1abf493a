/* mho run: a model writes text on a chip; then the report. With --compare the digital reference answers too, and is
 * led through the analog text to say how far the two distributions are apart.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "tools/columns.h"
#include "tools/command.h"
#include "tools/report.h"

enum { PROMPT_LIMIT_BYTES = 1 << 24, MAX_BATCH = 128 };

static const char default_prompt[] = "Once upon a time";

enum stop { STOP_LENGTH, STOP_END, STOP_CONTEXT };
static const char *const stop_names[] = {"length", "end", "context"};

struct job {
    const struct options *o;
    struct model *model;
    struct chip *chip; /* NULL: digital */
    struct analog analog;
    struct session *session;   /* the one whose text counts: analog, or digital with --chip none */
    struct session *reference; /* digital; only with --compare */
    struct sampler *sampler;
    struct token_stream stream; /* printing as it goes, through `piece` */
    char *piece;
    size_t piece_bytes;
    struct token_list ids; /* prompt, then what was generated; capacity fixed before the loop */
    size_t prompt_count;
    uint32_t context;       /* positions of the sessions */
    enum stop stop;
    double ttft_s, total_s; /* simulated; NAN without a chip */
    double host_s;          /* wall time of the token loop */
    /* --compare */
    struct token_list reference_ids;
    double kl_sum;
    size_t compared, agreed;
};

/* ---- the prompt ---------------------------------------------------------------------------------------- */

/* The user's text, mem_alloc'd. */
static enum status prompt_text(const struct options *o, char **text, size_t *bytes, struct error *e) {
    if (o->prompt && o->prompt_file) {
        return error_set(e, ERR_USAGE, "--prompt and --prompt-file: both given (allowed: one)");
    }
    if (o->prompt_file) {
        TRY(read_file(o->prompt_file, PROMPT_LIMIT_BYTES, text, bytes, e));
    } else {
        const char *source = o->prompt ? o->prompt : default_prompt;
        *bytes = strlen(source);
        *text = mem_strdup(source);
        if (!*text) {
            return error_set(e, ERR_RUN, "prompt: out of memory");
        }
    }
    enum status s = check_utf8(*text, *bytes, o->prompt_file ? o->prompt_file : "--prompt", e);
    if (s != OK) {
        mem_free(*text);
        *text = NULL;
    }
    return s;
}

/* Replaces *text by the rendered conversation. */
static enum status render_chat(const struct job *j, char **text, size_t *bytes, struct error *e) {
    const char *template_source = tokenizer_chat_template(model_tokenizer(j->model));
    if (!j->o->chat_format && !template_source) {
        return error_set(e, ERR_USAGE, "%s: brings no chat template (give --chat-format NAME, or leave out --chat)",
                         j->o->model);
    }
    struct chat_message messages[2];
    size_t count = 0;
    if (j->o->system) {
        messages[count++] = (struct chat_message){"system", j->o->system};
    }
    messages[count++] = (struct chat_message){"user", *text};
    char *rendered = NULL;
    TRY(chat_render(j->o->chat_format, template_source, messages, count, true, &rendered, e));
    mem_free(*text);
    *text = rendered;
    *bytes = strlen(rendered);
    return OK;
}

static enum status check_chat_options(const struct options *o, struct error *e) {
    if (!o->chat && (o->chat_format || o->system)) {
        return error_set(e, ERR_USAGE, "%s: only with --chat", o->chat_format ? "--chat-format" : "--system");
    }
    if (o->bos && strcmp(o->bos, "on") != 0 && strcmp(o->bos, "off") != 0) {
        return error_set(e, ERR_USAGE, "--bos %s: what is this? (allowed: on, off)", o->bos);
    }
    return OK;
}

/* Text to ids: a chat brings its own special tokens; plain text gets BOS where the model has one. */
static enum status encode_prompt(struct job *j, struct error *e) {
    const struct tokenizer *t = model_tokenizer(j->model);
    if (!t) {
        return error_set(e, ERR_RUN, "%s: no tokenizer (a folder needs tokenizer.json)", j->o->model);
    }
    char *text = NULL;
    size_t bytes = 0;
    TRY(prompt_text(j->o, &text, &bytes, e));
    enum status s = j->o->chat ? render_chat(j, &text, &bytes, e) : OK;
    bool bos = !j->o->chat && model_bos(j->model) >= 0 && !(j->o->bos && strcmp(j->o->bos, "off") == 0);
    if (s == OK && bos) {
        s = token_list_add(&j->ids, model_bos(j->model), e);
    }
    if (s == OK) {
        s = tokenizer_encode(t, text, bytes, false, true, &j->ids, e);
    }
    mem_free(text);
    if (s == OK && j->ids.count == 0) {
        s = error_set(e, ERR_USAGE, "--prompt: empty, and no BOS to start from (allowed: at least one token)");
    }
    j->prompt_count = j->ids.count;
    return s;
}

/* ---- set-up -------------------------------------------------------------------------------------------- */

/* Positions that this run needs, within what model and --context allow. */
static enum status choose_context(struct job *j, struct error *e) {
    uint32_t most = model_shape(j->model)->context;
    if (j->o->context > 0 && j->o->context > (int64_t)most) {
        return error_set(e, ERR_USAGE, "--context %lld: more than the model has (allowed: 2 to %u)",
                         (long long)j->o->context, most);
    }
    if (j->o->context > 0) {
        most = (uint32_t)j->o->context;
    }
    if (j->prompt_count >= most) {
        return error_set(e, ERR_USAGE, "prompt: %zu tokens: longer than the context (allowed: at most %u)",
                         j->prompt_count, most - 1);
    }
    uint64_t wanted = j->prompt_count + (uint64_t)j->o->tokens;
    if (wanted > most) {
        notice("the context of %u positions ends the text before %lld tokens", most, (long long)j->o->tokens);
    }
    j->context = wanted < most ? (uint32_t)wanted : most;
    return OK;
}

static enum status reserve(struct token_list *l, size_t capacity, struct error *e) {
    if (l->capacity >= capacity) {
        return OK;
    }
    int32_t *ids = mem_resize(l->ids, l->capacity * sizeof *ids, capacity * sizeof *ids);
    if (!ids) {
        return error_set(e, ERR_RUN, "%zu tokens: out of memory", capacity);
    }
    l->ids = ids;
    l->capacity = capacity;
    return OK;
}

static enum status prepare_stream(struct job *j, struct error *e) {
    j->piece_bytes = tokenizer_longest_piece(model_tokenizer(j->model)) + 4;
    j->piece = mem_alloc(j->piece_bytes, 1);
    j->stream.started = !j->o->chat; /* the prompt stands in front */
    return j->piece ? OK : error_set(e, ERR_RUN, "out of memory");
}

static enum status prepare(struct job *j, struct error *e) {
    const struct options *o = j->o;
    TRY(check_words(o, 0, e));
    TRY(check_chat_options(o, e));
    if (o->out) {
        TRY(report_writable(o->out, e)); /* before the long part, not after it */
    }
    double age_s;
    TRY(parse_age(o, &age_s, e));
    TRY(open_chip(o, &j->chip, e));
    if (o->compare && !j->chip) {
        return error_set(e, ERR_USAGE, "--compare: --chip none is the digital reference itself (name a chip)");
    }
    if (j->chip) {
        TRY(chip_check_age(j->chip, age_s, e));
    }
    TRY(open_rounded_model(o, &j->model, e));
    TRY(encode_prompt(j, e));
    TRY(choose_context(j, e));
    size_t capacity = j->prompt_count + (size_t)o->tokens;
    TRY(reserve(&j->ids, capacity, e));
    TRY(prepare_stream(j, e));
    if (j->chip) {
        TRY(analog_create(j->model, j->chip, o->seed, age_s, MAX_BATCH, &j->analog, e));
        if (o->out) {
            TRY(run_keep_events(j->analog.run, TRACE_EVENTS_MOST, e));
        }
    }
    struct session_options so = {.context = j->context, .max_batch = MAX_BATCH, .run = j->analog.run};
    TRY(session_create(j->model, &so, &j->session, e));
    if (o->compare) {
        so.run = NULL;
        TRY(session_create(j->model, &so, &j->reference, e));
        TRY(reserve(&j->reference_ids, capacity, e));
    }
    struct sampler_options sampling = {
        .temperature = o->temperature, .top_k = (int)o->top_k, .top_p = o->top_p, .min_p = o->min_p,
        .repetition_penalty = o->repetition_penalty, .seed = o->seed,
    };
    /* Some models have more logits than tokens (padding of the matrix): those cannot be written. */
    size_t logits = model_shape(j->model)->vocabulary, tokens = tokenizer_size(model_tokenizer(j->model));
    return sampler_create(&sampling, tokens < logits ? tokens : logits, &j->sampler, e);
}

static void clean_up(struct job *j) {
    sampler_destroy(j->sampler);
    session_destroy(j->reference);
    session_destroy(j->session);
    analog_destroy(&j->analog);
    mem_free(j->piece);
    token_list_clear(&j->ids);
    token_list_clear(&j->reference_ids);
    model_close(j->model);
    chip_destroy(j->chip);
}

/* ---- the token loop ------------------------------------------------------------------------------------ */

/* One text in the making: tokens are added to `ids`, which the session holds so far, until an end. */
struct loop {
    struct session *session;
    struct token_list *ids;
    size_t prompt_count;
    enum stop stop;
    struct job *job;
    bool led; /* lead the reference through the same tokens */
    bool print;
};

/* Prints what one more token adds, in whole characters. */
static void print_token(struct job *j, int32_t id) {
    size_t n = tokenizer_stream(model_tokenizer(j->model), &j->stream, id, true, j->piece, j->piece_bytes);
    print_text(j->piece, n);
    fflush(stdout);
}

static void print_rest(struct job *j) {
    print_text(j->piece, tokenizer_stream_end(&j->stream, j->piece, j->piece_bytes));
}

/* The digital reference sees what the analog model saw, and is compared with it at this position. */
static enum status lead_reference(struct job *j, const float *analog_logits, const int32_t *ids, uint32_t count,
                                  struct error *e) {
    const float *logits;
    TRY(session_forward(j->reference, ids, count, LOGITS_LAST, &logits, e));
    size_t vocabulary = model_shape(j->model)->vocabulary;
    size_t best_a = 0, best_d = 0;
    for (size_t i = 1; i < vocabulary; i++) {
        best_a = analog_logits[i] > analog_logits[best_a] ? i : best_a;
        best_d = logits[i] > logits[best_d] ? i : best_d;
    }
    j->kl_sum += kl_divergence(logits, analog_logits, vocabulary);
    j->agreed += best_a == best_d;
    j->compared++;
    return OK;
}

static enum status token_loop(struct loop *l, const float *logits, struct error *e) {
    struct job *j = l->job;
    l->stop = STOP_LENGTH;
    while (l->ids->count < l->prompt_count + (size_t)j->o->tokens) {
        TRY(check_interrupted(e));
        size_t at = l->ids->count;
        int32_t id = sampler_next(j->sampler, logits, at, l->ids->ids, at);
        l->ids->ids[l->ids->count++] = id;
        if (model_is_end(j->model, id)) {
            l->stop = STOP_END;
            return OK;
        }
        if (l->print) {
            print_token(j, id);
        }
        if (l->ids->count == l->prompt_count + (size_t)j->o->tokens) {
            return OK;
        }
        if (session_position(l->session) == j->context) {
            l->stop = STOP_CONTEXT;
            return OK;
        }
        TRY(session_forward(l->session, &id, 1, LOGITS_LAST, &logits, e));
        if (l->led) {
            TRY(lead_reference(j, logits, &id, 1, e));
        }
    }
    return OK;
}

static enum status generate(struct job *j, bool print, struct error *e) {
    double start_s = now_s();
    const float *logits;
    TRY(session_forward(j->session, j->ids.ids, (uint32_t)j->prompt_count, LOGITS_LAST, &logits, e));
    j->ttft_s = j->chip ? run_ledger(j->analog.run).makespan_s : (double)NAN;
    struct loop l = {j->session, &j->ids, j->prompt_count, STOP_LENGTH, j, j->reference != NULL, print};
    if (l.led) {
        TRY(lead_reference(j, logits, j->ids.ids, (uint32_t)j->prompt_count, e));
    }
    enum status status = token_loop(&l, logits, e);
    if (print) {
        print_rest(j);
    }
    TRY(status);
    j->stop = l.stop;
    j->total_s = j->chip ? run_ledger(j->analog.run).makespan_s : (double)NAN;
    j->host_s = now_s() - start_s;
    return OK;
}

/* What the digital reference writes by itself after the same prompt. */
static enum status generate_reference(struct job *j, struct error *e) {
    memcpy(j->reference_ids.ids, j->ids.ids, j->prompt_count * sizeof *j->ids.ids);
    j->reference_ids.count = j->prompt_count;
    session_rewind(j->reference, (uint32_t)j->prompt_count - 1);
    const float *logits;
    TRY(session_forward(j->reference, &j->ids.ids[j->prompt_count - 1], 1, LOGITS_LAST, &logits, e));
    struct loop l = {j->reference, &j->reference_ids, j->prompt_count, STOP_LENGTH, j, false, false};
    return token_loop(&l, logits, e);
}

/* ---- results ------------------------------------------------------------------------------------------- */

static enum status decode_new(const struct job *j, const struct token_list *l, char **text, size_t *bytes,
                              struct error *e) {
    return tokenizer_decode(model_tokenizer(j->model), l->ids + j->prompt_count, l->count - j->prompt_count, true, text,
                            bytes, e);
}

/* Index (among the generated tokens) of the first one that differs; -1: none. */
static long first_difference(const struct job *j) {
    size_t n = j->ids.count < j->reference_ids.count ? j->ids.count : j->reference_ids.count;
    for (size_t i = j->prompt_count; i < n; i++) {
        if (j->ids.ids[i] != j->reference_ids.ids[i]) {
            return (long)(i - j->prompt_count);
        }
    }
    return j->ids.count == j->reference_ids.count ? -1 : (long)(n - j->prompt_count);
}

static json_t *ids_json(const struct token_list *l, size_t first) {
    json_t *array = json_array();
    for (size_t i = first; i < l->count; i++) {
        json_array_append_new(array, json_integer(l->ids[i]));
    }
    return array;
}

/* JSON strings are UTF-8: a text cut inside a character gets U+FFFD there. */
static json_t *text_json(const char *text, size_t bytes) {
    json_t *exact = json_stringn(text, bytes);
    if (exact) {
        return exact;
    }
    char *clean = mem_alloc(3 * bytes + 1, 1);
    size_t used = 0;
    for (size_t i = 0; clean && i < bytes;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &point);
        memcpy(clean + used, n < 1 ? "\xef\xbf\xbd" : text + i, n < 1 ? 3 : (size_t)n);
        used += n < 1 ? 3 : (size_t)n;
        i += n < 1 ? 1 : (size_t)n;
    }
    json_t *result = clean ? json_stringn(clean, used) : json_null();
    mem_free(clean);
    return result;
}

static size_t generated(const struct job *j) { return j->ids.count - j->prompt_count; }

static double tpot_s(const struct job *j) {
    return generated(j) > 1 ? (j->total_s - j->ttft_s) / (double)(generated(j) - 1) : (double)NAN;
}

static json_t *latency_json(const struct job *j) {
    json_t *latency = json_object();
    json_put(latency, "ttft_s", json_number(j->ttft_s));
    json_put(latency, "tpot_s", json_number(tpot_s(j)));
    json_put(latency, "total_s", json_number(j->total_s));
    return latency;
}

static enum status divergence_json(const struct job *j, json_t *root, struct error *e) {
    char *text = NULL;
    size_t bytes = 0;
    TRY(decode_new(j, &j->reference_ids, &text, &bytes, e));
    json_t *digital = json_object();
    json_put(digital, "text", text_json(text, bytes));
    json_put(digital, "ids", ids_json(&j->reference_ids, j->prompt_count));
    mem_free(text);
    json_put(root, "digital", digital);
    json_t *d = json_object();
    long first = first_difference(j);
    json_put(d, "first_different_token", first < 0 ? json_null() : json_integer(first));
    json_put(d, "top1_agreement", json_number((double)j->agreed / (double)j->compared));
    json_put(d, "kl_nats", json_number(j->kl_sum / (double)j->compared));
    json_put(root, "divergence", d);
    return OK;
}

static enum status build_json(const struct job *j, json_t *root, struct error *e) {
    char *text = NULL;
    size_t bytes = 0;
    TRY(decode_new(j, &j->ids, &text, &bytes, e));
    json_put(root, "model", json_string(j->o->model));
    json_put(root, "text", text_json(text, bytes));
    mem_free(text);
    json_put(root, "ids", ids_json(&j->ids, j->prompt_count));
    json_put(root, "prompt_tokens", json_integer((json_int_t)j->prompt_count));
    json_put(root, "generated_tokens", json_integer((json_int_t)generated(j)));
    json_put(root, "stop", json_string(stop_names[j->stop]));
    json_put(root, "latency", latency_json(j));
    if (j->chip) {
        json_t *report = run_report_json(j->analog.run);
        json_object_update(root, report);
        json_decref(report);
        report_add(root, j->chip);
    } else { /* the digital reference is no hardware */
        json_put(root, "energy", json_null());
        json_put(root, "area", json_null());
        json_put(root, "mapping", json_null());
    }
    json_t *host = json_object();
    json_put(host, "tokens_per_s", json_number((double)generated(j) / j->host_s));
    json_put(root, "host", host);
    return j->o->compare ? divergence_json(j, root, e) : OK;
}

/* A continued text is read from its beginning; an answer stands alone. */
static enum status print_prompt(const struct job *j, struct error *e) {
    if (j->o->chat) {
        return OK;
    }
    char *text = NULL;
    size_t bytes = 0;
    TRY(tokenizer_decode(model_tokenizer(j->model), j->ids.ids, j->prompt_count, true, &text, &bytes, e));
    print_text(text, bytes);
    fflush(stdout);
    mem_free(text);
    return OK;
}

static void print_parting(const struct job *j) {
    long first = first_difference(j);
    if (first < 0) {
        printf("\nboth wrote the same %zu tokens", generated(j));
    } else {
        size_t at = j->prompt_count + (size_t)first;
        printf("\nthey part at token %ld", first + 1);
        const struct token_list *lists[2] = {&j->ids, &j->reference_ids};
        const char *names[2] = {"analog", "digital"};
        for (int i = 0; i < 2; i++) {
            const char *bytes = "(end)";
            size_t count = 5;
            if (at < lists[i]->count && !tokenizer_is_special(model_tokenizer(j->model), lists[i]->ids[at])) {
                tokenizer_piece(model_tokenizer(j->model), lists[i]->ids[at], &bytes, &count);
            }
            printf("%s %s \"", i ? "," : ":", names[i]);
            print_text(bytes, count);
            printf("\"");
        }
    }
    printf("\nled through the analog text: the likeliest token agrees at %.1f %% of %zu positions,\n"
           "KL(digital || analog) %.4f nats\n",
           100.0 * (double)j->agreed / (double)j->compared, j->compared, j->kl_sum / (double)j->compared);
}

static enum status print_comparison(const struct job *j, struct error *e) {
    printf("\n\n");
    char *analog = NULL, *digital = NULL;
    size_t bytes;
    TRY(decode_new(j, &j->ids, &analog, &bytes, e));
    enum status s = decode_new(j, &j->reference_ids, &digital, &bytes, e);
    if (s == OK) {
        char title[128];
        snprintf(title, sizeof title, "analog (%s)", chip_name(j->chip));
        print_side_by_side(title, analog, "digital reference", digital, terminal_columns(), stdout);
        print_parting(j);
    }
    mem_free(analog);
    mem_free(digital);
    return s;
}

static enum status print_results(const struct job *j, struct error *e) {
    if (j->o->compare) {
        TRY(print_comparison(j, e));
    } else {
        printf("\n");
    }
    if (j->chip && !j->o->quiet) {
        printf("\n");
        run_report_print(j->analog.run, terminal_columns(), stdout);
    }
    if (!j->o->quiet) {
        printf("host: %.1f tokens/s, %d threads\n", (double)generated(j) / j->host_s, threads_count());
    }
    return finish_output(e);
}

static enum status report(struct job *j, struct error *e) {
    json_t *root = json_envelope("run", j->o, j->chip);
    enum status s = build_json(j, root, e);
    if (s == OK && j->o->out) {
        s = report_write(root, j->analog.run, j->o->out, e);
    }
    if (s == OK && j->o->json) {
        return json_finish(root, e);
    }
    json_decref(root);
    return s == OK ? print_results(j, e) : s;
}

static enum status work(struct job *j, struct error *e) {
    TRY(prepare(j, e));
    bool stream = !j->o->json;
    if (stream) {
        TRY(print_prompt(j, e));
    }
    enum status status = generate(j, stream, e);
    if (status != OK && stream) {
        printf("\n"); /* the message does not begin behind the text */
        fflush(stdout);
    }
    TRY(status);
    if (j->o->compare) {
        TRY(generate_reference(j, e));
    }
    return report(j, e);
}

enum { MOST_TOKENS = 1000000 };

static enum status run_command(const struct options *o, struct error *e) {
    if (o->tokens > MOST_TOKENS) {
        return error_set(e, ERR_USAGE, "--tokens %lld: too many for one text (allowed: 1 to %d)", (long long)o->tokens,
                         MOST_TOKENS);
    }
    if (o->shapes_only) {
        return shapes_run(o, e);
    }
    static const char *const shapes_only[] = {"prompt-tokens", "batch",     "requests", "rate",
                                              "arrivals",      "max-batch", "prompt-chunk", "roofline"};
    for (size_t i = 0; i < sizeof shapes_only / sizeof shapes_only[0]; i++) {
        if (option_given(o, shapes_only[i])) {
            return error_set(e, ERR_USAGE, "--%s: only with --shapes-only (a prompt has its own length)",
                             shapes_only[i]);
        }
    }
    struct job j = {.o = o};
    enum status s = work(&j, e);
    clean_up(&j);
    return s;
}

static const char *const names[] = {
    "model", "chip", "set", "quantise", "prompt", "prompt-file", "chat", "chat-format", "system", "tokens", "context",
    "age", "compare", "temperature", "top-k", "top-p", "min-p", "repetition-penalty", "bos", "out",
    "shapes-only", "prompt-tokens", "batch", "requests", "rate", "arrivals", "max-batch", "prompt-chunk", "roofline",
    NULL,
};

const struct command command_run = {
    "run", "", "write text on a chip, then report energy, time and area", names, run_command,
    "examples:\n"
    "  mho run --prompt \"Lily saw a frog\" --tokens 100\n"
    "  mho run --chip afm --compare --age 1month\n"
    "  mho run --model model.gguf --chat --prompt \"What is the capital of France?\" --json\n"
    "  mho run --shapes-only --model Llama-3.1-70B/config.json --prompt-tokens 2048 --tokens 256\n"
    "  mho run --shapes-only --requests 200 --rate 2000 --prompt-tokens 32 --tokens 16 --out DIR\n"
    "  mho run --shapes-only --model configs/shapes/llama_1b --roofline --out DIR",
};
