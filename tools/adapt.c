/* mho adapt: makes a language model fit for a chip. One word each for the steps; every word has a file of its own. */
#include <string.h>

#include "tools/command.h"

const struct adapt_word *const adapt_words[] = {&adapt_word_generate, &adapt_word_text,    &adapt_word_fit,
                                              &adapt_word_train,    &adapt_word_export,  &adapt_word_compare, NULL};
enum { WORDS = sizeof adapt_words / sizeof adapt_words[0] - 1 };

static enum status adapt_command(const struct options *o, struct error *e) {
    const char *names[WORDS];
    for (size_t i = 0; i < WORDS; i++) {
        names[i] = adapt_words[i]->name;
        if (o->words.count && strcmp(o->words.items[0], names[i]) == 0) {
            char what[64];
            snprintf(what, sizeof what, "adapt %s", names[i]);
            TRY(check_words(o, adapt_words[i] == &adapt_word_compare ? 2 : 1, e)); /* its recipe */
            TRY(options_only(o, adapt_words[i]->options, what, e));
            return adapt_words[i]->run(o, e);
        }
    }
    return unknown_kind(o, "adapt", command_adapt.words, names, WORDS, e);
}

/* Of all words. */
static const char *const names[] = {"model", "out",   "tokens",      "length", "batch",
                                    "top-k", "split", "temperature", "part",   "ids",
                                    "format", "type", "quantise", "chip", "set", "digital",
                                    "channels", "single-weights", "redundancy", "ranges", "text", "window",
                                    "reconstruct", "reconstruct-tokens", "rotate", "data", "recipe", "teacher", "gemm",
                                    "resume", "from-scratch", "steps",
                                    "accumulate", "lr", "warmup", "schedule", "weight-decay", "beta", "noise",
                                    "gamma", "clip", "clip-sds", "clip-master", "weight-bits", "kappa", "recompute",
                                    "checkpoint-every", "validate-every", NULL};

const struct command command_adapt = {
    "adapt", "generate | text | fit | train | export | compare RECIPE.yaml",
    "make a model fit for a chip: data, adaptation, export, comparison", names, adapt_command,
    "the usual order:\n"
    "  mho adapt generate --model stories --tokens 1000000 --out own.mhodata\n"
    "  mho adapt fit --model stories --chip afm --digital 0.05 --out fitted\n"
    "  mho adapt train --model fitted --teacher stories --chip afm --data own.mhodata --tokens 1000000 --out adapted\n"
    "  mho run --model adapted --chip afm",
};
