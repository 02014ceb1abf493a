/* CSV: tables of lab data, matrices and maps as people export them, with errors that say where.
 *
 * One record per line; commas between cells; every record has as many cells as the first one. Cells may stand in
 * double quotes ("" is a quote inside them), spaces and tabs around a cell are dropped. Lines that begin with '#' are
 * comments; empty lines are allowed at the end only, for in between they may be a missing value. A byte order mark,
 * CRLF and a missing last newline are fine. Not read: other separators, quoted line breaks, NUL bytes.
 *
 * Messages name file:line:column, where column is the number of the cell (1 = the first), as spreadsheets count.
 */
#ifndef MHO_BASE_CSV_H
#define MHO_BASE_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct csv;

enum csv_header { CSV_NO_HEADER, CSV_HEADER }; /* header: the first record holds the names of the columns */

/* Reads the whole file (at most 1 GiB; one without records is an error). csv_destroy; NULL is fine. */
enum status csv_read(const char *path, enum csv_header header, struct csv **out, struct error *e);
void csv_destroy(struct csv *c);

size_t csv_rows(const struct csv *c); /* records without the header */
size_t csv_columns(const struct csv *c);
size_t csv_header_line(const struct csv *c); /* where the header stands; needs CSV_HEADER */
/* Number of the named column; false if there is none. Needs CSV_HEADER. */
bool csv_find(const struct csv *c, const char *name, size_t *column);
/* The same; its absence is an error that lists the columns. */
enum status csv_require(const struct csv *c, const char *name, size_t *column, struct error *e);

/* Text of a cell, unquoted; "" for an empty one. Borrowed. */
const char *csv_text(const struct csv *c, size_t row, size_t column);
/* A finite number; an empty cell, words, NaN and infinities are errors. */
enum status csv_number(const struct csv *c, size_t row, size_t column, double *value, struct error *e);

/* Puts "file:line:column: " before a message about a cell: for values that are numbers but not allowed ones. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
enum status csv_error(const struct csv *c, size_t row, size_t column, struct error *e, const char *format, ...);

#endif
