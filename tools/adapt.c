/* mho adapt: makes a language model fit for a chip. One word each for the steps; every word has a file of its own. */
#include <string.h>

#include "tools/command.h"

static const struct adapt_word *const words[] = {&adapt_word_generate, &adapt_word_text,   &adapt_word_fit,
                                                 &adapt_word_train,    &adapt_word_export, &adapt_word_compare};
enum { WORDS = sizeof words / sizeof words[0] };

static enum status adapt_command(const struct options *o, struct error *e) {
    const char *names[WORDS];
    for (size_t i = 0; i < WORDS; i++) {
        names[i] = words[i]->name;
        if (o->words.count && strcmp(o->words.items[0], names[i]) == 0) {
            char what[64];
            snprintf(what, sizeof what, "adapt %s", names[i]);
            TRY(check_words(o, words[i] == &adapt_word_compare ? 2 : 1, e)); /* its recipe */
            TRY(options_only(o, words[i]->options, what, e));
            return words[i]->run(o, e);
        }
    }
    return unknown_kind(o, "adapt", command_adapt.words, names, WORDS, e);
}

/* Of all words. */
static const char *const names[] = {"model", "out",   "tokens",      "length", "batch",
                                    "top-k", "split", "temperature", "part",   "ids",
                                    "format", "type", "quantise", "chip", "set", "digital",
                                    "text", "window", "reconstruct", "data", "recipe", "teacher", "resume",
                                    "from-scratch", "steps",
                                    "accumulate", "lr", "warmup", "schedule", "weight-decay", "beta", "noise",
                                    "gamma", "clip", "clip-sds", "clip-master", "weight-bits", "kappa", "recompute",
                                    "checkpoint-every", "validate-every", NULL};

const struct command command_adapt = {
    "adapt", "generate | text | fit | train | export | compare RECIPE.yaml",
    "make a model fit for a chip: data, adaptation, export, comparison", names, adapt_command,
    "examples:\n"
    "  mho adapt generate --model model.gguf --tokens 1000000 --out own.mhodata\n"
    "  mho adapt generate --model model.gguf --tokens 1000000 --part 2/4 --out own-2.mhodata\n"
    "  mho adapt text --model model.gguf --data own.mhodata --out own.jsonl\n"
    "  mho adapt fit --model stories --chip afm --digital 0.05 --out stories-fit\n"
    "  mho adapt train --model stories --chip afm --data own.mhodata --tokens 1000000 --lr 1e-4 --out adapted\n"
    "  mho adapt export --model adapted --format gguf --type Q8_0 --out adapted.gguf\n"
    "  mho adapt export --model adapted --quantise 4 --out adapted-rtn4\n"
    "  mho adapt compare configs/experiments/baselines.yaml --text held-out.txt --out baselines",
};
