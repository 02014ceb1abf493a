/* See options.h. */
#include "tools/options.h"

#include <stddef.h>
#include <string.h>

#include "base/params.h"
#include "models/model.h"

enum option_type { FLAG, SWITCH, TEXT, LIST, INT, INT_OR_OFF, UINT, NUMBER, KEY };

struct option_row {
    const char *name;
    enum option_type type;
    const char *value; /* what --help calls the value */
    double min, max;   /* numbers; inclusive. INT_OR_OFF: "off" is 0. KEY: a key of another table, which reads it */
    const char *help;
    size_t offset;
};

#define AT(member) offsetof(struct options, member)

static const struct option_row rows[] = {
    {"model", TEXT, "PATH", 0, 0, "model folder or .gguf file, or a bundled name (default: stories)", AT(model)},
    {"chip", TEXT, "NAME", 0, 0, "chip of the catalogue, or a YAML file; none = digital (default: pcm256)", AT(chip)},
    {"set", LIST, "KEY=VALUE", 0, 0, "override a key of the chip file: tile.adc.bits=6; repeatable", AT(sets)},
    {"prompt", TEXT, "TEXT", 0, 0, "the text to continue, or the question with --chat", AT(prompt)},
    {"prompt-file", TEXT, "FILE", 0, 0, "the same from a file", AT(prompt_file)},
    {"system", TEXT, "TEXT", 0, 0, "system message of a chat", AT(system)},
    {"chat", FLAG, NULL, 0, 0, "put the prompt into the model's chat format", AT(chat)},
    {"chat-format", TEXT, "NAME", 0, 0, "chat format by name instead of the model's own template", AT(chat_format)},
    {"tokens", INT, "N", 1, 1e12, "how many tokens to write (default: 64)", AT(tokens)},
    {"length", INT, "L", 2, 1e6, "adapt generate: tokens per sequence (default: 256)", AT(length)},
    {"split", NUMBER, "X", 0, 0.5, "share of the sequences that is kept for validation (default: 0.01)", AT(split)},
    {"format", TEXT, "NAME", 0, 0, "adapt export: folder (Hugging Face; default) or gguf", AT(format)},
    {"type", TEXT, "NAME", 0, 0,
     "adapt export: F32 (default), F16, BF16 for matrices and embedding; gguf: Q8_0 and Q4_0 too", AT(type)},
    {"quantise", INT, "BITS", 2, 8,
     "round every matrix to the nearest of 2^BITS - 1 levels per output channel", AT(quantise)},
    {"digital", NUMBER, "X", 0, 0.5,
     "adapt fit: share of the multiplications that may stay digital (default: 0.05)", AT(digital)},
    {"channels", SWITCH, "on|off", 0, 0, "adapt fit: whole inputs among what stays digital (default: on)",
     AT(channels)},
    {"single-weights", SWITCH, "on|off", 0, 0, "adapt fit: single weights among what stays digital (default: on)",
     AT(single_weights)},
    {"redundancy", NUMBER, "AREA", 0, 7,
     "adapt fit: more devices per weight where they pay, for at most so many times the cells more (default: 0)",
     AT(redundancy)},
    {"ranges", SWITCH, "on|off", 0, 0, "adapt fit: ranges of inputs and ADCs; off: the chip's rule (default: on)",
     AT(ranges)},
    {"rotate", TEXT, "PARTS", 0, 0, "fold rotations into the weights of: residual, value, all", AT(rotate)},
    {"reconstruct", SWITCH, "on|off", 0, 0,
     "adapt fit: weights and scales with the least expected error under noise (default: on)", AT(reconstruct)},
    {"reconstruct-tokens", INT, "N", 1, 1e9,
     "adapt fit: tokens of the text that the reconstruction sees at most (default: 262144)", AT(reconstruct_tokens)},
    {"data", LIST, "FILE", 0, 0,
     "adapt train, text: data file, or text to train on; repeatable; eval choice: file of the task (mmlu: folder or "
     "ZIP)",
     AT(data)},
    {"recipe", TEXT, "FILE", 0, 0, "adapt train: YAML file of keys; options count more (docs/adaptation.md)",
     AT(recipe)},
    {"teacher", TEXT, "PATH", 0, 0, "adapt train: another model to learn from (default: the model itself)",
     AT(teacher)},
    {"gemm", TEXT, "LIBRARY", 0, 0, "adapt fit, train: library for products of matrices: onednn, openblas or plain "
     "(default: the fastest here; with --resume that of the run)", AT(gemm)},
    {"resume", FLAG, NULL, 0, 0, "adapt train: go on from the checkpoint in --out", AT(resume)},
    {"from-scratch", FLAG, NULL, 0, 0, "adapt train: weights start at random, cross entropy on the data",
     AT(from_scratch)},
    {"steps", KEY, "N", 0, 0, "adapt train: steps of the optimiser; or --tokens", 0},
    {"accumulate", KEY, "N", 0, 0, "adapt train: batches per step (default: 1)", 0},
    {"lr", KEY, "X", 0, 0, "adapt train: largest learning rate (default: 5e-5)", 0},
    {"warmup", KEY, "X", 0, 0, "adapt train: share of the steps in which it rises (default: 0.016)", 0},
    {"schedule", KEY, "NAME", 0, 0, "adapt train: linear (default), cosine, constant", 0},
    {"weight-decay", KEY, "X", 0, 0, "adapt train: decay of matrices and embeddings (default: 0.01)", 0},
    {"beta", KEY, "X", 0, 0, "adapt train: share of distillation in the loss, the rest is cross entropy (default: 1)",
     0},
    {"noise", KEY, "KIND", 0, 0, "adapt train: of weights: column (default), matrix, cell, none", 0},
    {"gamma", KEY, "X", 0, 0, "adapt train: its standard deviation, of the column's largest (default: 0.03)", 0},
    {"clip", KEY, "KIND", 0, 0, "adapt train: clipping of weights: column (default), matrix, learned, none", 0},
    {"clip-sds", KEY, "X", 0, 0, "adapt train: at so many standard deviations (default: 2.5)", 0},
    {"clip-master", KEY, "on|off", 0, 0, "adapt train: clip the weights, not the copy of a pass (default: off)", 0},
    {"weight-bits", KEY, "N", 0, 0, "adapt train: weights rounded to so many bits (default: 0, not)", 0},
    {"kappa", KEY, "X", 0, 0, "adapt train: input ranges start at so many standard deviations (default: 18)", 0},
    {"recompute", KEY, "on|off", 0, 0, "adapt train: activation checkpointing (default: off)", 0},
    {"checkpoint-every", KEY, "N", 0, 0, "adapt train: steps between checkpoints (default: a tenth of all)", 0},
    {"validate-every", KEY, "N", 0, 0, "adapt train: steps between validations (default: a tenth of all)", 0},
    {"part", TEXT, "I/N", 0, 0, "adapt generate: make part I of N; all parts together are the whole set", AT(part)},
    {"shapes-only", FLAG, NULL, 0, 0, "costs of a config.json without weights: no values, no text", AT(shapes_only)},
    {"prompt-tokens", INT, "P", 1, 1e7, "with --shapes-only: length of the prompt (default: 128)", AT(prompt_tokens)},
    {"batch", INT, "B", 1, 65535,
     "run --shapes-only: so many equal requests at a time; adapt generate: sequences at once (default: 128)",
     AT(batch)},
    {"requests", INT, "N", 1, 1e7, "with --shapes-only: so many equal requests, --rate of them per second",
     AT(requests)},
    {"rate", NUMBER, "R", 1e-9, 1e12, "with --requests: how many arrive per simulated second, by chance (Poisson)",
     AT(rate_per_s)},
    {"arrivals", TEXT, "FILE", 0, 0, "with --shapes-only: requests as CSV: arrival_s,prompt_tokens,tokens",
     AT(arrivals)},
    {"prompt-chunk", INT, "P", 1, 1e7, "prompts of requests in steps of at most so many tokens (default: whole)",
     AT(prompt_chunk)},
    {"max-batch", INT, "M", 1, 65535, "requests in flight at a time (default: 64, or that of --batch)", AT(max_batch)},
    {"roofline", FLAG, NULL, 0, 0, "with --shapes-only: what bounds a token as context and batch grow", AT(roofline)},
    {"context", INT, "N", 2, 1e6, "positions of the KV cache (default: the model's, at most 4096)", AT(context)},
    {"age", TEXT, "T", 0, 0, "time since programming: 0, 1h, 1d, 1month, 1y; a list for eval", AT(age)},
    {"compare", FLAG, NULL, 0, 0, "also run the digital reference; show where the two part", AT(compare)},
    {"temperature", NUMBER, "X", 0, 100, "sampling temperature; 0 = the likeliest token (default: 0)", AT(temperature)},
    {"top-k", INT_OR_OFF, "K", 0, 1e6, "sample among the K likeliest; 0 or off: all (default; adapt generate: 50)",
     AT(top_k)},
    {"top-p", NUMBER, "P", 1e-6, 1, "sample among the likeliest that hold probability P (default: 1)", AT(top_p)},
    {"min-p", NUMBER, "P", 0, 1, "drop tokens below P times the likeliest (default: 0)", AT(min_p)},
    {"repetition-penalty", NUMBER, "X", 0.1, 10, "divides logits of tokens already seen (default: 1)",
     AT(repetition_penalty)},
    {"out", TEXT, "PATH", 0, 0,
     "run: folder for report.json, report.html, trace.json, CSV; report html, device fit: the file to write", AT(out)},
    {"text", TEXT, "TEXT", 0, 0, "eval: a text file; tokenize: the text itself", AT(text)},
    {"text-file", TEXT, "FILE", 0, 0, "text from a file", AT(text_file)},
    {"limit", UINT, "N", 1, 1e15, "use the first N bytes of the text; eval choice: the first N items", AT(limit)},
    {"task", TEXT, "NAME", 0, 0, "hellaswag, arc_easy, arc_challenge, boolq, mmlu", AT(task)},
    {"shots", INT, "N", 0, SHOTS_MOST, "other items with their answer in front of each (default: 0)", AT(shots)},
    {"items", TEXT, "FILE", 0, 0, "results one by one, as JSON lines; what is in it already is not measured again",
     AT(items)},
    {"window", INT, "W", 2, 1e6, "tokens per window (default: 256)", AT(window)},
    {"seeds", INT, "N", 1, 1000, "how many chips to program: seeds S, S+1, ... (default: 1)", AT(seeds)},
    {"bos", TEXT, "on|off", 0, 0, "BOS before every window (default: on where the model has one)", AT(bos)},
    {"ids", TEXT, "1,2,3", 0, 0, "token ids", AT(ids)},
    {"top", INT, "K", 1, 1e6, "print the K largest logits instead of all", AT(top)},
    {"hidden", FLAG, NULL, 0, 0, "add every layer's hidden state", AT(hidden)},
    {"no-special", FLAG, NULL, 0, 0, "encoding adds no special tokens; decoding leaves them out", AT(no_special)},
    {"g", TEXT, "0,0.5,1", 0, 0, "target conductances as fractions of g_max", AT(g)},
    {"time", TEXT, "0,1h,1d", 0, 0, "times after programming", AT(time)},
    {"samples", INT, "N", 2, 1e8, "devices per point (default: 100000)", AT(samples)},
    {"kelvin", NUMBER, "K", 4, 1000, "device stats: temperature of storage and read (default: 300)", AT(kelvin)},
    {"reads", NUMBER, "N", 0, 1e18, "device stats: reads since programming (default: 0)", AT(reads)},
    {"plot", TEXT, "FILE.svg", 0, 0, "device fit: also draw data and fit", AT(plot)},
    {"curve", TEXT, "KIND", 0, 0, "device fit: polynomial (default) or spline over the target", AT(curve)},
    {"without", TEXT, "A,B", 0, 0, "device fit: what not to estimate: drift, read_noise", AT(without)},
    {"read-time", NUMBER, "S", 1e-12, 1000, "device fit: length of a read in seconds (default: 2.5e-7)",
     AT(read_time_s)},
    {"t0", NUMBER, "S", 1e-6, 1e6, "device fit: seconds from the write to age 0, where drift begins (default: fitted)",
     AT(t0_s)},
    {"weights", TEXT, "FILE", 0, 0, "CSV: one line per tile row (input), one column per output", AT(weights)},
    {"inputs", TEXT, "FILE", 0, 0, "CSV of input vectors, one per line", AT(inputs)},
    {"exact", FLAG, NULL, 0, 0, "also solve the network of wires exactly", AT(exact)},
    {"float-inactive", FLAG, NULL, 0, 0, "with --exact: rows of input 0 float, not held at 0 V", AT(float_inactive)},
    {"spice", TEXT, "FILE", 0, 0, "write the network of the first input as a netlist for ngspice", AT(spice)},
    {"repeat", INT, "N", 1, 1e6, "read every input N times (default: 1)", AT(repeat)},
    {"markdown", FLAG, NULL, 0, 0, "chip params, validate: as a page of documentation", AT(markdown)},
    {"repetitions", INT, "N", 1, 1000, "measurements per row; the median counts (default: 5)", AT(repetitions)},
    {"seed", UINT, "S", 0, 9.2e18, "every random number follows from it (default: 0)", AT(seed)},
    {"threads", INT, "N", 1, 1024, "worker threads (default: all cores); results do not depend on it", AT(threads)},
    {"kernel", TEXT, "NAME", 0, 0, "arithmetic kernels (default: the best that runs here)", AT(kernel)},
    {"json", FLAG, NULL, 0, 0, "one JSON document on standard output, nothing else", AT(json)},
    {"quiet", FLAG, NULL, 0, 0, "no progress, no remarks", AT(quiet)},
    {"help", FLAG, NULL, 0, 0, "this text", AT(help)},
};
enum { ROWS = sizeof rows / sizeof rows[0] };
_Static_assert(sizeof rows / sizeof rows[0] <= (size_t)OPTIONS_MAX, "options.given has a place per row");

static const char *const common[] = {"seed", "threads", "kernel", "json", "quiet", "help", NULL};

static const struct options defaults = {
    .model = "stories",
    .chip = "pcm256",
    .tokens = 64,
    .prompt_tokens = 128,
    .top_p = 1,
    .repetition_penalty = 1,
    .window = 256,
    .seeds = 1,
    .samples = 100000,
    .repetitions = 5,
    .repeat = 1,
    .age = "0",
    .read_time_s = 2.5e-7,
    .length = 256,
    .split = 0.01,
    .reconstruct = true,
    .channels = true,
    .single_weights = true,
    .ranges = true,
    .kelvin = 300,
};

static bool in_list(const char *const *names, const char *name) {
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static const struct option_row *row_named(const char *name, size_t length) {
    for (size_t i = 0; i < ROWS; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static enum status unknown_option(const char *word, const char *const *names, struct error *e) {
    const char *known[ROWS];
    size_t count = 0;
    for (size_t i = 0; i < ROWS; i++) {
        if (in_list(names, rows[i].name) || in_list(common, rows[i].name)) {
            known[count++] = rows[i].name;
        }
    }
    const char *near = nearest_name(word, known, count);
    if (near) {
        return error_set(e, ERR_USAGE, "--%s: unknown option (did you mean --%s?)", word, near);
    }
    return error_set(e, ERR_USAGE, "--%s: unknown option (see --help)", word);
}

static enum status out_of_range(const struct option_row *row, const char *value, struct error *e) {
    return error_set(e, ERR_USAGE, "--%s %s: not a %s in range (allowed: %.10g to %.10g)", row->name, value,
                     row->type == NUMBER ? "number" : "whole number", row->min, row->max);
}

static enum status store_number(const struct option_row *row, const char *value, void *member, struct error *e) {
    double number = 0;
    int64_t integer = 0;
    uint64_t natural = 0;
    bool is_int = row->type == INT || row->type == INT_OR_OFF;
    bool parsed = row->type == NUMBER ? parse_double(value, &number)
                  : is_int            ? parse_int64(value, &integer)
                                      : parse_uint64(value, &natural);
    parsed = parsed || (row->type == INT_OR_OFF && strcmp(value, "off") == 0);
    double as_double = row->type == NUMBER ? number : is_int ? (double)integer : (double)natural;
    if (!parsed || !(as_double >= row->min && as_double <= row->max)) {
        return out_of_range(row, value, e);
    }
    if (row->type == NUMBER) {
        *(double *)member = number;
    } else if (is_int) {
        *(int64_t *)member = integer;
    } else {
        *(uint64_t *)member = natural;
    }
    return OK;
}

static enum status store_switch(const struct option_row *row, const char *value, bool *member, struct error *e) {
    *member = strcmp(value, "on") == 0;
    return *member || strcmp(value, "off") == 0
               ? OK
               : error_set(e, ERR_USAGE, "--%s %s: unknown (allowed: on, off)", row->name, value);
}

static enum status store(const struct option_row *row, const char *value, struct options *out, struct error *e) {
    void *member = (char *)out + row->offset;
    switch (row->type) {
    case FLAG:
        *(bool *)member = true;
        return OK;
    case SWITCH:
        return store_switch(row, value, member, e);
    case TEXT:
        *(const char **)member = value;
        return OK;
    case LIST: {
        struct text_list *list = member;
        if (list->count == OPTION_LIST_MAX) {
            return error_set(e, ERR_USAGE, "--%s: given too often (allowed: %d times)", row->name, OPTION_LIST_MAX);
        }
        list->items[list->count++] = value;
        return OK;
    }
    case KEY:
        return OK;
    case INT:
    case INT_OR_OFF:
    case UINT:
    case NUMBER:
        return store_number(row, value, member, e);
    }
    return OK;
}

/* Handles argv[*i]; moves *i past a value taken from the next word. */
static enum status parse_option(int argc, char **argv, int *i, const char *const *names, struct options *out,
                                struct error *e) {
    const char *word = argv[*i] + 2;
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const struct option_row *row = row_named(word, length);
    if (!row || !(in_list(names, row->name) || in_list(common, row->name))) {
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(length < 100 ? length : 100), word);
        return unknown_option(name, names, e);
    }
    bool *given = &out->given[row - rows];
    if (*given && row->type != LIST) {
        return error_set(e, ERR_USAGE, "--%s: given twice (allowed: once)", row->name);
    }
    *given = true;
    if (row->type == FLAG) {
        if (equals) {
            return error_set(e, ERR_USAGE, "--%s: takes no value", row->name);
        }
        out->texts[row - rows] = "on";
        return store(row, NULL, out, e);
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value) {
        if (*i + 1 >= argc) {
            return error_set(e, ERR_USAGE, "--%s: needs a value (%s)", row->name, row->value);
        }
        value = argv[++*i];
    }
    out->texts[row - rows] = value;
    return store(row, value, out, e);
}

enum status options_parse(int argc, char **argv, int first, const char *const *names, struct options *out,
                          struct error *e) {
    *out = defaults;
    bool only_words = false;
    for (int i = first; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && strcmp(argv[i], "-h") == 0) {
            out->help = true;
        } else if (!only_words && strncmp(argv[i], "--", 2) == 0) {
            TRY(parse_option(argc, argv, &i, names, out, e));
        } else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
            return error_set(e, ERR_USAGE, "%s: unknown option (options start with --; see --help)", argv[i]);
        } else if (out->words.count == OPTION_LIST_MAX) {
            return error_set(e, ERR_USAGE, "%s: too many words", argv[i]);
        } else {
            out->words.items[out->words.count++] = argv[i];
        }
    }
    return OK;
}

bool option_given(const struct options *o, const char *name) {
    const struct option_row *row = row_named(name, strlen(name));
    return row && o->given[row - rows];
}

const char *option_text(const struct options *o, const char *name) {
    const struct option_row *row = row_named(name, strlen(name));
    return row ? o->texts[row - rows] : NULL;
}

enum status options_only(const struct options *o, const char *const *names, const char *what, struct error *e) {
    for (size_t i = 0; i < ROWS; i++) {
        if (o->given[i] && !in_list(names, rows[i].name) && !in_list(common, rows[i].name)) {
            char known[ERROR_MESSAGE_BYTES] = "";
            for (size_t k = 0; names[k]; k++) {
                size_t used = strlen(known);
                snprintf(known + used, sizeof known - used, "%s--%s", k ? ", " : "", names[k]);
            }
            return error_set(e, ERR_USAGE, "--%s: not an option of %s (allowed: %s)", rows[i].name, what,
                             names[0] ? known : "none but the common ones, see --help");
        }
    }
    return OK;
}

static const char *help_of(const struct option_row *row, const char *what, const struct option_meaning *own) {
    for (; own && own->name; own++) {
        if (strcmp(own->name, row->name) == 0) {
            return own->help;
        }
    }
    size_t n = what ? strlen(what) : 0;
    bool named = n && strncmp(row->help, what, n) == 0 && strncmp(row->help + n, ": ", 2) == 0;
    return named ? row->help + n + 2 : row->help;
}

static void print_rows(const char *const *names, const char *what, const struct option_meaning *own, FILE *out) {
    for (size_t i = 0; i < ROWS; i++) {
        if (in_list(names, rows[i].name)) {
            char left[64];
            snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].value ? " " : "",
                     rows[i].value ? rows[i].value : "");
            fprintf(out, "  %-24s %s\n", left, help_of(&rows[i], what, own));
        }
    }
}

void options_help(const char *const *names, const char *what, const struct option_meaning *own, FILE *out) {
    print_rows(names, what, own, out);
    fprintf(out, "everywhere:\n");
    print_rows(common, what, own, out);
}
