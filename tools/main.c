/* mho: the command. Finds the subcommand, parses its options, prints errors, sets the exit status:
 * 0 done, 1 the run failed, 2 usage or configuration.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/gemm.h"
#include "base/kernels.h"
#include "base/params.h"
#include "base/ranks.h"
#include "base/threads.h"
#include "tools/command.h"

static const struct command *const commands[] = {
    &command_run,    &command_eval, &command_map,      &command_chip,
    &command_device, &command_tile, &command_validate, &command_report,
    &command_tokenize, &command_bench, &command_adapt,
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_overview(FILE *out) {
    fprintf(out,
            "mho %s runs language models on emulated analog in-memory computing chips and says what the\n"
            "hardware did to the text, what it cost in joules, seconds and square millimetres, and why.\n\n"
            "usage: mho SUBCOMMAND [options]\n\n",
            mho_version);
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->about);
    }
    fprintf(out, "\nstart here:\n"
                 "  mho run                                the bundled model on the default chip\n"
                 "  mho run --compare --prompt \"One day\"   beside the digital reference\n"
                 "  mho chip list                          the catalogue of chips\n"
                 "  mho SUBCOMMAND --help                  all options of one\n\n"
                 "exit status: 0 done, 1 the run failed, 2 usage or configuration\n");
}

/* mho adapt train --help: its own options. */
static void print_word_help(const struct command *c, const struct adapt_word *w) {
    char what[64];
    snprintf(what, sizeof what, "%s %s", c->name, w->name);
    printf("usage: mho %s [options]\n\n%s\n\noptions:\n", what, w->about);
    options_help(w->options, what, w->own, stdout);
    printf("\n%s\n", w->examples);
}

static void print_words(const struct command *c) {
    for (const struct adapt_word *const *w = adapt_words; *w; w++) {
        printf("  %-24s %s\n", (*w)->name, (*w)->about);
    }
    printf("\nmho %s WORD --help shows the options of one.\n", c->name);
}

static void print_help(const struct command *c, const struct options *o) {
    bool has_words = c == &command_adapt;
    for (const struct adapt_word *const *w = adapt_words; has_words && *w && o->words.count; w++) {
        if (strcmp(o->words.items[0], (*w)->name) == 0) {
            print_word_help(c, *w);
            return;
        }
    }
    printf("usage: mho %s%s%s [options]\n\n%s\n\n%s:\n", c->name, c->words[0] ? " " : "", c->words, c->about,
           has_words ? "words" : "options");
    if (has_words) {
        print_words(c);
    } else {
        options_help(c->options, NULL, NULL, stdout);
    }
    if (c->notes[0]) {
        printf("\n%s\n", c->notes);
    }
}

static const struct command *find_command(const char *word, struct error *e) {
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, word) == 0) {
            return commands[i];
        }
        names[i] = commands[i]->name;
    }
    const char *near = nearest_name(word, names, COMMANDS);
    if (word[0] == '-') {
        error_set(e, ERR_USAGE, "%s: options come after the subcommand (see mho --help)", word);
    } else if (near) {
        error_set(e, ERR_USAGE, "%s: unknown subcommand (did you mean %s?)", word, near);
    } else {
        error_set(e, ERR_USAGE, "%s: unknown subcommand (see mho --help)", word);
    }
    return NULL;
}

enum { NAMES_ROOM = 128 };

static void add_name(char names[NAMES_ROOM], const char *name) {
    size_t used = strlen(names);
    snprintf(names + used, NAMES_ROOM - used, "%s%s", used ? ", " : "", name);
}

static enum status apply_gemm(const char *name, struct error *e) {
    const struct gemm *all[8];
    char names[NAMES_ROOM] = "";
    if (gemm_select(name) == 0) {
        return OK;
    }
    for (size_t i = 0, count = gemm_available(all, 8); i < count; i++) {
        add_name(names, all[i]->name);
    }
    return error_set(e, ERR_USAGE, "--gemm %s: not available here (allowed: %s)", name, names);
}

static enum status apply_common(const struct options *o, struct error *e) {
    progress_set_quiet(o->quiet);
    threads_set((int)o->threads);
    if (o->kernel && kernels_select(o->kernel) != 0) {
        const struct kernels *all[8];
        size_t count = kernels_available(all, 8);
        char names[NAMES_ROOM] = "";
        for (size_t i = 0; i < count; i++) {
            add_name(names, all[i]->name);
        }
        return error_set(e, ERR_USAGE, "--kernel %s: not available here (allowed: %s)", o->kernel, names);
    }
    return o->gemm ? apply_gemm(o->gemm, e) : OK;
}

static enum status dispatch(int argc, char **argv, struct error *e) {
    const struct command *c = find_command(argv[1], e);
    if (!c) {
        return ERR_USAGE;
    }
    struct options o;
    TRY(options_parse(argc, argv, 2, c->options, &o, e));
    if (o.help) {
        print_help(c, &o);
        return finish_output(e);
    }
    TRY(apply_common(&o, e));
    return c->run(&o, e);
}

/* A standard stream that is closed must not lend its number to a file of ours: writes to it then fail, and say so. */
static void occupy_standard_streams(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

static enum status start(int argc, char **argv, struct error *e) {
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_overview(stdout);
        return finish_output(e);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("mho %s (%s)\n", mho_version, mho_commit);
        return finish_output(e);
    }
    return dispatch(argc, argv, e);
}

int main(int argc, char **argv) {
    occupy_standard_streams();
    program_start_s = now_s();
    program_arguments = argv;
    set_program_path(argv[0]);
    catch_interrupts();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error with a message, not a silent death */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow */
    struct error e = {OK, ""};
    enum status s = start(argc, argv, &e);
    if (s != OK && ranks_speaks()) {
        fprintf(stderr, "mho: %s\n", e.message);
    }
    ranks_leave(s);
    return (int)s;
}
