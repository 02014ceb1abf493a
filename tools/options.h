/* The command line: one table of all options; a subcommand names those that it takes. The table gives the parser,
 * the range checks, --help and the suggestions for misspelt words.
 *
 * Grammar: mho SUBCOMMAND [WORD...] [--option VALUE | --option=VALUE | --flag]... An option given twice is an error
 * unless it is a list (--set). "--" ends the options.
 */
#ifndef MHO_TOOLS_OPTIONS_H
#define MHO_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum { OPTION_LIST_MAX = 64, OPTIONS_MAX = 160 };

struct text_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
};

/* Every option's value; defaults are in the table (options.c). Text is borrowed from argv. */
struct options {
    const char *model, *chip, *kernel, *out;
    struct text_list sets;
    const char *prompt, *prompt_file, *system, *chat_format;
    bool chat, compare, shapes_only;
    int64_t tokens, prompt_tokens, context, length;
    const char *format, *type; /* adapt export */
    int64_t quantise, reconstruct_tokens;
    double split, digital, redundancy;
    const char *rotate;           /* adapt fit, adapt export */
    const char *gemm;             /* adapt fit, adapt train */
    const char *recipe, *teacher; /* adapt train, whose other keys are read as text: option_text */
    struct text_list data;
    bool from_scratch, resume;
    bool reconstruct, channels, single_weights, ranges; /* adapt fit */
    const char *part;
    int64_t batch, requests, max_batch, prompt_chunk; /* run --shapes-only: requests */
    double rate_per_s;
    const char *arrivals;
    bool roofline;
    uint64_t seed;
    const char *age; /* text: one duration, or a list for eval */
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;
    const char *text, *text_file, *ids, *bos;
    uint64_t limit;
    const char *task, *items; /* eval */
    int64_t shots;
    int64_t window, seeds, top, samples, repetitions;
    bool hidden, no_special;
    const char *g, *time;
    const char *plot, *curve, *without; /* device fit */
    double read_time_s, t0_s;
    const char *weights, *inputs, *spice; /* tile */
    bool exact, float_inactive;
    int64_t repeat;
    double kelvin, reads; /* device stats */
    bool markdown;        /* chip params */
    int64_t threads;
    bool json, quiet, help;
    struct text_list words; /* what is not an option, after the subcommand */
    bool given[OPTIONS_MAX]; /* [i]: row i of the table was on the command line */
    const char *texts[OPTIONS_MAX]; /* [i]: its value there, the last one of a list; NULL: none */
};

/* Parses argv[first..argc) for a subcommand that takes `names` (NULL-terminated; the common ones --json --quiet
 * --threads --seed --kernel --help are always taken). ERR_USAGE with the nearest known option otherwise. */
enum status options_parse(int argc, char **argv, int first, const char *const *names, struct options *out,
                          struct error *e);

/* Some words of a subcommand take fewer options than others: one that was given and is not among `names` (nor common)
 * is an error, since it would be ignored. `what`: subcommand and word, for the message. */
enum status options_only(const struct options *o, const char *const *names, const char *what, struct error *e);

/* Whether an option was on the command line. */
bool option_given(const struct options *o, const char *name);
/* Its value as it was written there; "on" for a flag; NULL where it was not. */
const char *option_text(const struct options *o, const char *name);

/* What an option means to one word of a subcommand, where the table says it for others. */
struct option_meaning { const char *name, *help; };
/* One line per option of `names`, then the common ones. what: "adapt train", left out where a line begins with it; own:
 * ends with a NULL name. Both may be NULL. */
void options_help(const char *const *names, const char *what, const struct option_meaning *own, FILE *out);

#endif
