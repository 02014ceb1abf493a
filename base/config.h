/* Configuration trees: YAML in (libyaml), with the file and line of every value.
 *
 * - One document of maps, lists and scalars. Duplicate keys, anchors, aliases, tags, further documents,
 *   bytes that are not UTF-8, more than 32 levels, 16384 values or 16 MiB (includes counted in) are errors.
 * - `include: FILE` or `include: [FILE, ...]` in a map: those files are loaded first, in order (paths
 *   relative to the including file), then this map's own keys override them, key by key, deep.
 *   Include cycles are errors.
 * - Overrides ("--set a.b=c") replace or add one value; the value text is parsed as YAML; the origin
 *   of such a node is file "--set", line = ordinal.
 * - An override whose key path crosses a scalar (a part name) is an error that says so, unless the
 *   caller has expanded that part before.
 * - Mistakes in a file are ERR_USAGE, and so is a file that cannot be opened; out of memory is ERR_RUN.
 */
#ifndef MHO_BASE_CONFIG_H
#define MHO_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

enum config_kind { CONFIG_SCALAR, CONFIG_MAP, CONFIG_LIST };

struct config_node; /* lives in the arena that it was loaded into; mutable only through these calls */

/* Whether a word is the path of a file (has a '/', or ends in .yaml, .yml or .json), not a name of a catalogue. */
bool config_is_path(const char *word);
/* The tree of a file, which is a map. */
enum status config_load(struct arena *a, const char *path, struct config_node **out, struct error *e);
/* `name` stands for the file in messages. */
enum status config_parse(struct arena *a, const char *text, size_t bytes, const char *name,
                         struct config_node **out, struct error *e);

#define CONFIG_OVERRIDE "--set" /* the file name of overrides; their line is the number of the option */

/* NULL when out of memory. A scalar made here is text: "null" is the word, not a null. */
struct config_node *config_new_map(struct arena *a, const char *file, int line);
struct config_node *config_new_list(struct arena *a, const char *file, int line);
struct config_node *config_new_scalar(struct arena *a, const char *text, const char *file, int line);

enum config_kind config_kind(const struct config_node *n);
const char *config_file(const struct config_node *n);
int config_line(const struct config_node *n);
const char *config_where(const struct config_node *n, char *buffer, size_t bytes); /* "file:line", or "--set 2" */
const char *config_text(const struct config_node *n); /* scalar text as written; NULL if not a scalar */
bool config_is_null(const struct config_node *n);     /* plain `null`, `~` or empty */

size_t config_count(const struct config_node *n); /* entries of a map or list */
const char *config_key_at(const struct config_node *map, size_t i);
struct config_node *config_at(const struct config_node *n, size_t i);
/* Also NULL when `map` is NULL or not a map. */
struct config_node *config_get(const struct config_node *map, const char *key);      /* NULL if absent */
struct config_node *config_find(const struct config_node *map, const char *dotted);  /* NULL if absent */

/* Replaces or appends. */
enum status config_put(struct arena *a, struct config_node *map, const char *key, struct config_node *value,
                       struct error *e);
enum status config_append(struct arena *a, struct config_node *list, struct config_node *value, struct error *e);
/* assignment = "dotted.key=value"; creates maps on the way. */
enum status config_set(struct arena *a, struct config_node *root, const char *assignment, int ordinal, struct error *e);
/* Deep override of `base` by `over`: maps merge, the rest is replaced. So is a map of `base` by one with the key
 * `value`, a physical constant: a number does not inherit the source of another one. `over` is copied, not shared. */
enum status config_merge(struct arena *a, struct config_node *base, const struct config_node *over, struct error *e);

/* YAML text that config_parse reads back to an equal tree. Caller frees with mem_free; NULL when out of memory. */
char *config_dump(const struct config_node *n);
/* 64-bit FNV-1a of the canonical dump (map keys sorted). */
uint64_t config_hash(const struct config_node *n);

#endif
