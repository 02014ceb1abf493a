/* Subcommands: one file each, one row in main.c. And what they share: the JSON envelope, loading, output. */
#ifndef MHO_TOOLS_COMMAND_H
#define MHO_TOOLS_COMMAND_H

#include <jansson.h>

#include "models/model.h"
#include "tools/options.h"

struct command {
    const char *name;
    const char *words;  /* what may follow, e.g. "list | show NAME | check FILE | params" or "" */
    const char *about;  /* one line */
    const char *const *options; /* NULL-terminated names */
    enum status (*run)(const struct options *o, struct error *e);
    const char *notes;  /* printed after the options by --help; "" */
};

extern const struct command command_run, command_eval, command_map, command_chip, command_device, command_tile,
    command_tokenize, command_bench, command_validate, command_report, command_adapt;

extern const char mho_version[], mho_commit[];
extern double program_start_s; /* set by main */
extern char *const *program_arguments; /* argv, for reports; set by main */

/* ---- opening things as the options say -------------------------------------------------------------- */

enum status open_model(const struct options *o, struct model **out, struct error *e);
/* Its weights rounded as --quantise says. */
enum status open_rounded_model(const struct options *o, struct model **out, struct error *e);
/* *out stays NULL for --chip none. */
enum status open_chip(const struct options *o, struct chip **out, struct error *e);
enum status parse_age(const struct options *o, double *age_s, struct error *e);
/* "1,2,3" into ids; every id must be >= 0. mem_free. */
enum status parse_ids(const char *text, int32_t **ids, size_t *count, struct error *e);
/* "0,1h,1d": mem_free. With durations false: plain numbers. `what` names the option in messages. */
enum status parse_number_list(const char *text, const char *what, bool durations, double **out, size_t *count,
                              struct error *e);
/* The byte where `text` (named `where` in the message) stops being UTF-8 is an error of usage. */
enum status check_utf8(const char *text, size_t bytes, const char *where, struct error *e);
/* More words than the subcommand takes are an error; so is --seed + --seeds past 2^64. */
enum status check_words(const struct options *o, size_t at_most, struct error *e);
/* The error for a first word that is missing or none of the `count` that the subcommand takes; usage: its `words`. */
enum status unknown_kind(const struct options *o, const char *command, const char *usage, const char *const *kinds,
                         size_t count, struct error *e);

/* A programmed machine with one run on it, and everything to free it. Zero-initialise. */
struct analog {
    struct placement *placement;
    struct machine *machine;
    struct run *run;
};
enum status analog_create(const struct model *m, const struct chip *c, uint64_t seed, double age_s, uint32_t max_tokens,
                          struct analog *out, struct error *e);
void analog_destroy(struct analog *a);
/* A remark for people where the model brings no static input ranges and the chip has them. */
void notice_static_ranges(const struct chip *c, const struct machine *m);

/* The words of mho adapt: a file each (adapt_*.c), found by adapt.c. */
struct adapt_word {
    const char *name;
    const char *const *options; /* NULL-terminated names */
    enum status (*run)(const struct options *o, struct error *e);
    const char *about;                  /* one line */
    const struct option_meaning *own;   /* of options that mean something else elsewhere; ends with a NULL name */
    const char *examples;
};
extern const struct adapt_word *const adapt_words[]; /* NULL-terminated */
extern const struct adapt_word adapt_word_generate, adapt_word_text, adapt_word_fit, adapt_word_train,
    adapt_word_export, adapt_word_compare;

/* mho run --shapes-only (shapes.c). */
enum status shapes_run(const struct options *o, struct error *e);

/* ---- results ---------------------------------------------------------------------------------------- */

/* {mho, command, seed, config_hash, config}: config of `c` (NULL = digital reference). */
json_t *json_envelope(const char *command, const struct options *o, const struct chip *c);
/* Adds host.wall_s etc. and prints the document. Takes ownership. Fails on a write error. */
enum status json_finish(json_t *document, struct error *e);
/* Adds the host object (keeps what is in it). */
void json_add_host(json_t *document);
enum { JSON_STYLE = JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17) }; /* of all our documents */
/* Every constant of a chip with value, unit, kind, source, spread; what acts in place of some of them. */
json_t *constants_json(const struct chip *c);
json_t *acting_json(const struct chip *c);
/* Refuses (ERR_USAGE) to write what --option names over another file of the same command. path: NULL is fine. */
enum status keep_apart(const char *option, const char *path, const char *other, struct error *e);
/* A finite number, or null. */
json_t *json_number(double value);
void json_put(json_t *object, const char *key, json_t *value);
/* Flushes stdout; a closed pipe or a full disk is an error here. */
enum status finish_output(struct error *e);
/* Prints bytes of a model to stdout; on a terminal, control characters other than newline and tab are left out, so
 * that a model cannot steer the terminal. */
void print_text(const char *bytes, size_t count);

#endif
