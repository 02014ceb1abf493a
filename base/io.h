/* Files, terminals and time: what the rest needs of the operating system. */
#ifndef MHO_BASE_IO_H
#define MHO_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* A file mapped read-only. An empty file, a directory or a device is an error. */
struct mapped_file { const uint8_t *data; size_t bytes; };
enum status map_file(const char *path, struct mapped_file *out, struct error *e);
void unmap_file(struct mapped_file *f);

/* Whole file into memory (mem_free), with a terminating 0 that is not counted. `limit` in bytes. */
enum status read_file(const char *path, size_t limit, char **text, size_t *bytes, struct error *e);
bool file_exists(const char *path);
bool is_directory(const char *path);
bool same_file(const char *a, const char *b); /* false where one of them does not exist */
/* mem_alloc'd "a/b"; NULL when out of memory. */
char *path_join(const char *a, const char *b);

/* Output under a temporary name in the same folder; commit flushes, checks, syncs and renames; abort removes it.
 * Either ends the object. A full disk shows at commit as an error; the final name then does not exist
 * or keeps its earlier content. Temporaries are also removed when the run is interrupted; those of a run that was
 * killed by whoever writes the same name later (a minute or more). */
struct output;
enum status output_create(const char *path, struct output **out, struct error *e);
FILE *output_stream(struct output *o);
/* For several files that belong together: does all of commit but the renaming, and does not end the object. Commit then
 * only renames. */
enum status output_finish(struct output *o, struct error *e);
enum status output_commit(struct output *o, struct error *e);
void output_abort(struct output *o); /* NULL is fine */
enum status make_directory(const char *path, struct error *e); /* with parents; existing is fine */

/* Folder that holds configs/ and models/, found from the program's own path: the tree above build/, or share/mho beside
 * the bin/ that it is installed in. Not from the environment. NULL if neither exists. Borrowed. */
const char *data_directory(void);
void set_program_path(const char *argv0);
/* mem_alloc'd path of a file that belongs to the program: in its folder, or in the folder `installed` (lib/mho) beside
 * bin/. NULL where it is in neither. */
char *program_file(const char *name, const char *installed);

/* Ctrl-C and SIGTERM set a flag; long loops call this and return ERR_RUN "interrupted". */
void catch_interrupts(void);
bool interrupted(void);
enum status check_interrupted(struct error *e);

double now_s(void); /* monotonic clock */

/* Progress with ETA on a terminal only (stderr), at most 10 times a second; silent with quiet. */
struct progress;
void progress_set_quiet(bool quiet);
/* May return NULL: then the calls below do nothing. */
struct progress *progress_create(const char *label, uint64_t total);
void progress_update(struct progress *p, uint64_t done);
void progress_label(struct progress *p, const char *label); /* from the next update on */
void progress_destroy(struct progress *p); /* clears the line */

/* Remarks for people: a line on stderr, "mho: ..."; none with progress_set_quiet(true), none twice in a row. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void notice(const char *format, ...);

#endif
