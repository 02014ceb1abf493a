/* Private to base/params*.c: how rows and values look in messages and help. */
#ifndef MHO_BASE_PARAMS_TEXT_H
#define MHO_BASE_PARAMS_TEXT_H

#include "base/params.h"

enum { KEY_BYTES = 512, ALLOWED_BYTES = 512, VALUE_BYTES = 128 };

extern const char *const constant_kind_names[5]; /* in the order of enum constant_kind; ends with NULL */

const char *param_unit(const struct param *row); /* "" when it has none */
bool param_has_range(const struct param *row);   /* int, number, constant, numbers */

/* "a whole number from 1 to 4096", "one of a, b, c", ... */
void param_allowed(const struct param *row, char out[ALLOWED_BYTES]);
/* The scalar as written, "{...}" or "[...]". */
const char *param_value_text(const struct config_node *n, char out[VALUE_BYTES]);
/* "25 uS" -> the row's unit was written into the value. */
bool number_with_unit(const char *text);

#endif
