/* Parameter tables: one row gives parser, range check, help text, the effective configuration and
 * the documentation of a key.
 *
 * A key's last word carries its unit (g_max_uS, energy_J, row_ohm); files carry those units, the
 * struct member gets SI (the row's unit names the factor). A physical constant (PARAM_CONSTANT) is
 * never a bare number: {value: 1.6e-12, kind: published, source: paper2023, spread: [0.8, 2.0]}; its
 * struct member is a `struct constant`. `kind` is measured, published, fitted or assumed; `source` is
 * a key of the file's `sources:` map or free text; assumed constants must carry a spread (factors).
 */
#ifndef MHO_BASE_PARAMS_H
#define MHO_BASE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/config.h"
#include "base/error.h"
#include "base/memory.h"

enum constant_kind { CONSTANT_MEASURED, CONSTANT_PUBLISHED, CONSTANT_FITTED, CONSTANT_ASSUMED };
const char *constant_kind_name(enum constant_kind k);

struct constant {
    double value; /* SI */
    enum constant_kind kind;
    const char *source;         /* arena-owned text */
    double spread_low, spread_high; /* factors on the value, p10 and p90; 1 and 1 when not given */
};

enum param_type {
    PARAM_INT,      /* int */
    PARAM_NUMBER,   /* double, SI after the unit's factor */
    PARAM_BOOL,     /* bool: on/off, true/false, yes/no */
    PARAM_CHOICE,   /* int: index into `choices` */
    PARAM_TEXT,     /* const char *, arena-owned */
    PARAM_CONSTANT, /* struct constant */
    PARAM_NUMBERS,  /* struct param_numbers: coefficients, a constant whose value is a list */
};

struct param_numbers {
    size_t count;
    const double *values;  /* SI */
    struct constant about; /* kind, source and spread of all of them; its value is unused */
};

struct param {
    const char *key;    /* dotted, relative to the table: "adc.bits" */
    enum param_type type;
    const char *unit;   /* "" or a unit that unit_factor knows; must be the suffix of the key (params_check_table) */
    double min, max;    /* in the file's unit; inclusive; for numbers and constants */
    const char *default_text; /* NULL: required */
    const char *help;   /* meaning */
    size_t offset;      /* of the member in the table's struct */
    const char *const *choices; /* PARAM_CHOICE: NULL-terminated */
};

struct param_table {
    const char *name; /* for help and docs: "tile", "cell pcm_like" */
    const struct param *rows;
    size_t count;
};

#define PARAM_TABLE(table_name, row_array) \
    { (table_name), (row_array), sizeof(row_array) / sizeof((row_array)[0]) }

/* Reads every row of `table` from `map` (NULL = empty) into `out`. Errors: missing required key,
 * wrong type, out of range, bare number for a constant, constant without kind or source, assumed
 * without spread. `prefix` ("tile.cell.") is put before keys in messages. Keys read are remembered as
 * used. Parsing is locale-independent and refuses trailing text, nan and inf. */
enum status params_read(const struct param_table *table, const struct config_node *map, const char *prefix,
                        struct arena *a, void *out, struct error *e);

/* config_set for "--set": a number given for a constant loses the old provenance and becomes an assumed constant,
 * source "set on the command line". */
enum status params_override(struct arena *a, struct config_node *root, const char *assignment, int ordinal,
                            struct error *e);

/* After all tables were read: the first key below `root` that no table used is an error with file,
 * line and the nearest known key among all `tables` (prefixes parallel to tables). `skip` = NULL-terminated top-level
 * keys that the caller reads itself, with all that is below them ("sources"; dotted keys are fine:
 * "tile.cell.model"). */
enum status params_check_unused(const struct param_table *const *tables, const char *const *prefixes, size_t count,
                                const struct config_node *root, const char *const *skip, struct error *e);

/* Puts place and key before the message in `e`, which is about relations between keys of `table` and names them as the
 * table does ("g_min_uS = 30 is not below g_max_uS = 25"): of the keys named, the one that --set gave, else one of
 * the map's own file, else the first. A message that names none gets the place of the model and the prefix. */
enum status params_relation(const struct param_table *table, const struct config_node *map, const char *prefix,
                            struct error *e);

/* Writes the values of `in` into `map` at their keys (`prefix` is for messages only, as above), complete, in the file's
 * units, so that reading it again gives the same bits: the shortest decimal number that does. Nodes get the file
 * "(effective)". An error when no decimal number gives the value; does not happen to values that were read. */
enum status params_dump(const struct param_table *table, const void *in, const char *prefix, struct arena *a,
                        struct config_node *map, struct error *e);

/* For tests: is the table itself right? Known unit that is the key's suffix, no unit hidden in the key of a row
 * without one, range in order, choices there, help there, no key twice, default that reads and lies in range. */
enum status params_check_table(const struct param_table *table, struct error *e);

/* "int", "number", "on|off", "choice", "text", "constant", "numbers" */
const char *param_type_name(enum param_type t);

enum { PARAM_SOURCE_BYTES = 256 };
/* Who says what the value is: the file where the key is required, a constant's own source where it has a default, mho
 * for the other defaults, which are settings and no physical quantities. */
void param_source(const struct param *row, char out[PARAM_SOURCE_BYTES]);

/* One line per row: key, type/unit, range, default or "required", help, source. */
void params_help(const struct param_table *table, const char *prefix, FILE *out);
/* The same as a table of Markdown; nothing for a table without rows. */
void params_markdown(const struct param_table *table, const char *prefix, FILE *out);

/* Nearest of `count` names to `word` by edit distance, or NULL when nothing is near (distance > 1/3 of
 * the length, at least 2 allowed). Used for subcommands, options, keys, chips, cells. */
const char *nearest_name(const char *word, const char *const *names, size_t count);
/* Index of `word` among `count` names; `count` with an error that says what (`what`: "cell model"), the nearest name
 * and all names. */
size_t named_row(const char *what, const char *word, const char *const *names, size_t count, struct error *e);
bool text_ends_with(const char *text, const char *end);

/* Units: factor to SI of a unit as it stands in a key suffix: "uS" 1e-6, "um2" 1e-12, ... Returns false if
 * unknown. */
bool unit_factor(const char *unit, double *factor);
/* "1h", "30d", "1month" (30 d), "1y" (365 d), "20s", "5min", "0", "86400": seconds, not negative. */
enum status parse_duration_s(const char *text, double *seconds, struct error *e);
/* Whole string, decimal, whatever the locale. False: something else, infinite, or too small for a double. */
bool parse_double(const char *text, double *out);
/* Bytes of the decimal number that `text` begins with; 0: none. "1e3s" -> 3. */
size_t number_length(const char *text);
/* The shortest decimal text that parse_double reads back to the same bits; "null" for infinities and NaN. */
void format_double(double value, char out[32]);
/* The shortest decimal text t with parse_double(t) * factor == value to the bit. False if there is none. */
bool format_scaled(double value, double factor, char out[32]);
bool parse_int64(const char *text, int64_t *out);
bool parse_uint64(const char *text, uint64_t *out);

#endif
