/* Private to mho eval and mho adapt compare: measuring one model on many machines, unit by unit.
 *
 * A unit is a window of a text or an item of a task. The digital model and every machine (seeds x ages) measure all
 * units. Each result is one line of a file of results where one is given (eval_log.c), so that an evaluation that was
 * cut off goes on where it stopped, with the same numbers: units do not depend on one another.
 */
#ifndef MHO_TOOLS_EVAL_H
#define MHO_TOOLS_EVAL_H

#include "tools/command.h"
#include "tools/moments.h"

/* What a unit gives: sums that are added over units, and what they are divided by. Perplexity: {-sum ln p, 0, tokens};
 * choice: {right, right by bytes, 1}. */
enum { EVAL_SUMS = 2 };
struct unit_values {
    double sum[EVAL_SUMS], weight;
    bool there;
};

/* What is measured. Everything is borrowed. */
struct eval_measure {
    const char *unit;     /* "window", "item": the key of the number of a unit in the file */
    size_t count;
    uint32_t positions;   /* of the session's KV cache */
    json_t *settings;     /* what results depend on, beside model and chip */
    void *context;
    /* A new object that says what came out; and its values. False: not a record of this kind. */
    enum status (*score)(void *context, struct session *s, size_t unit, json_t **record, struct error *e);
    bool (*values)(void *context, const json_t *record, struct unit_values *out);
};

/* The machines that measure. */
struct eval_machines {
    uint64_t first_seed, seeds;
    const double *ages_s;
    size_t age_count;
};

struct eval_result {
    bool digital;
    uint64_t seed;
    double age_s;
    struct unit_values *units; /* [count] */
};
struct eval_results {
    struct eval_result *at; /* [0]: digital; then age after age of seed after seed */
    size_t count, units;
};

/* Measures with the digital model, and where there is a chip with all machines. items: file of results, or NULL.
 * To be cleared, whatever comes back. */
enum status eval_run(const struct eval_measure *m, const struct model *model, const struct chip *chip,
                     const struct eval_machines *machines, const char *items, struct eval_results *out,
                     struct error *e);
void eval_results_clear(struct eval_results *r);
/* Sum over units / sum of their weights. */
double eval_mean(const struct eval_result *r, size_t units, int sum);

/* Over the machines of one age (NAN: of all ages). difference: machine - digital, unit by unit; its standard error is
 * that over units, of the mean over machines. NAN: not enough of them. */
struct eval_summary {
    double mean, sd, difference, difference_sd, difference_se;
    size_t machines;
};
struct eval_summary eval_summarise(const struct eval_results *r, int sum, double age_s);
/* Adds NAME_mean, NAME_sd and "difference": {"NAME_mean", "NAME_sd", "NAME_se"} to an object. */
void eval_put_summary(json_t *object, const char *name, const struct eval_summary *s);

/* "1 d after programming: +0.1234 nats per token ..." */
void eval_print_difference(const struct eval_summary *s, double age_s, const char *what);

/* ---- the file of results (eval_log.c) ---------------------------------------------------------------------- */

struct eval_log;
/* Opens or makes it; what is in it is put into *r. Refused: a file of something else, or of other settings (the message
 * says which). A last line that was not finished is cut off. */
enum status eval_log_open(const char *path, const struct eval_measure *m, const json_t *settings,
                          struct eval_results *r, struct eval_log **out, struct error *e);
enum status eval_log_add(struct eval_log *l, const struct eval_result *machine, size_t unit, json_t *record,
                         struct error *e);
enum status eval_log_close(struct eval_log *l, struct error *e); /* NULL is fine */

/* ---- kinds --------------------------------------------------------------------------------------------------- */

/* A text or a task, opened; the functions of its measure. */
struct eval_text_options {
    const char *path;
    uint64_t limit_bytes;
    uint32_t window;
    const char *bos; /* "on", "off" or NULL: where the model has one */
};
struct eval_text {
    struct perplexity_text *text;
    struct eval_measure measure;
};
enum status eval_text_open(const struct model *m, const struct eval_text_options *o, struct eval_text *out,
                           struct error *e);
void eval_text_close(struct eval_text *t);

struct eval_task_options {
    const char *task, *path;
    uint64_t limit;
    uint32_t shots;
    const char *bos;
};
struct eval_task {
    struct choice_set *set;
    const struct model *model;
    bool bos;
    struct eval_measure measure;
};
enum status eval_task_open(const struct model *m, const struct eval_task_options *o, struct eval_task *out,
                           struct error *e);
void eval_task_close(struct eval_task *t);

/* Whether BOS stands in front: --bos, or where the model has one. */
enum status parse_bos(const char *option, const struct model *m, bool *bos, struct error *e);

/* What both commands open: --age, --chip (NULL: none), --model with --quantise. *ages_s: mem_free. */
enum status open_eval(const struct options *o, struct model **model, struct chip **chip, double **ages_s, size_t *ages,
                      struct error *e);
enum status eval_perplexity_command(const struct options *o, struct error *e);
enum status eval_choice_command(const struct options *o, struct error *e);

#endif
