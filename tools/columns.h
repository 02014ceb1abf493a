/* Two texts side by side for a terminal. */
#ifndef MHO_TOOLS_COLUMNS_H
#define MHO_TOOLS_COLUMNS_H

#include <stdio.h>

/* Columns of the terminal on stdout; 80 when it is none. */
int terminal_columns(void);

/* Prints `left` and `right` (UTF-8, terminated) wrapped at words into two columns of a screen `columns` wide, headed by
 * the titles. Screens under 50 columns get one text under the other. Control characters are left out. */
void print_side_by_side(const char *left_title, const char *left, const char *right_title, const char *right,
                        int columns, FILE *out);

#endif
