/* Text out of packed files, by the programs that every system has for it: bzip2 and unzip. Data sets are given away so.
 *
 * A file is known by its first bytes, not by its name. The program is started without a shell; what it prints is read
 * into memory. Where it is missing the message says which one, and that unpacking by hand does as well. */
#ifndef MHO_BASE_UNPACK_H
#define MHO_BASE_UNPACK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* As read_file (io.h), through bzip2 where the file was packed with it. Errors: also an archive, damaged data, more
 * than `limit` bytes. */
enum status read_packed_file(const char *path, size_t limit, char **text, size_t *bytes, struct error *e);

bool is_zip_file(const char *path);
/* The names in a ZIP archive, one per line; then one of its entries. mem_free. */
enum status zip_names(const char *path, size_t limit, char **text, size_t *bytes, struct error *e);
enum status zip_entry_text(const char *path, const char *name, size_t limit, char **text, size_t *bytes,
                           struct error *e);

#endif
