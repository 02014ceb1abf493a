/* Netlist of the wire network for ngspice, with the currents that the exact solver expects.
 *
 * Nodes: s<i> behind the source of row i, w<i>_<k> node k of row line i, b<j>_<k> node k of column line j, o<j> where
 * column j ends; a source of 0 V from o<j> to ground measures its current. Lines without resistance have no nodes of
 * their own (devices/wires_internal.h), cells of 0 S are left out. The options ask the simulator for what doubles can
 * give: its own shunt conductance gmin would otherwise be seen.
 */
#include <math.h>

#include "devices/wires_internal.h"

enum { NAME_BYTES = 64 };

static void row_name(const struct lines *l, size_t row, size_t column, char *name) {
    if (lines_ideal(l)) {
        snprintf(name, NAME_BYTES, "s%zu", row);
    } else {
        snprintf(name, NAME_BYTES, "w%zu_%zu", row, lines_node(l, column));
    }
}

static void column_name(const struct lines *l, size_t row, size_t column, char *name) {
    if (lines_ideal(l)) {
        snprintf(name, NAME_BYTES, "o%zu", column);
    } else {
        snprintf(name, NAME_BYTES, "b%zu_%zu", column, lines_node(l, row));
    }
}

/* Wires of one family; letter: of its nodes, outside: of the nodes behind its ports. */
static void write_lines(const struct lines *l, char letter, char outside, FILE *out) {
    for (size_t i = 0; !lines_ideal(l) && i < l->count; i++) {
        for (size_t k = 0; k + 1 < l->nodes; k++) {
            fprintf(out, "R%c%zu_%zu %c%zu_%zu %c%zu_%zu %.17g\n", letter, i, k, letter, i, k, letter, i, k + 1,
                    l->step_ohm);
        }
        if (lines_at_first(l, i)) {
            fprintf(out, "R%cf%zu %c%zu %c%zu_0 %.17g\n", letter, i, outside, i, letter, i, l->port_ohm);
        }
        if (lines_at_last(l, i)) {
            fprintf(out, "R%cl%zu %c%zu %c%zu_%zu %.17g\n", letter, i, outside, i, letter, i, l->nodes - 1,
                    l->port_ohm);
        }
    }
}

static void write_cells(const struct lines *rows, const struct lines *columns, const double *g_S, FILE *out) {
    for (size_t j = 0; j < columns->count; j++) {
        for (size_t i = 0; i < rows->count; i++) {
            char a[NAME_BYTES], b[NAME_BYTES];
            row_name(rows, i, j, a);
            column_name(columns, i, j, b);
            if (g_S[j * rows->count + i] > 0) {
                fprintf(out, "Rg%zu_%zu %s %s %.17g\n", i, j, a, b, 1 / g_S[j * rows->count + i]);
            }
        }
    }
}

enum status wires_write_spice(const struct wires *w, size_t rows, size_t columns, const double *g_S,
                              const double *input_V, const double *expected_A, const char *title, FILE *out,
                              struct error *e) {
    TRY(wires_check_array("spice", w, rows, columns, e));
    for (size_t k = 0; k < rows * columns; k++) {
        if (!(g_S[k] >= 0 && g_S[k] <= 1e6)) {
            return error_set(e, ERR_USAGE, "spice: cell in row %zu, column %zu: %g S (allowed: 0 to 1e6)", k % rows,
                             k / rows, g_S[k]);
        }
    }
    struct lines row = wires_rows(w, rows, columns), column = wires_columns(w, rows, columns);
    fprintf(out, "* ");
    for (const char *c = title; *c; c++) { /* one line, whatever the title */
        fputc((unsigned char)*c < ' ' ? ' ' : *c, out);
    }
    fprintf(out, "\n* %zu rows, %zu columns; row %g, column %g ohm per cell; driver %g, terminal %g ohm\n", rows,
            columns, w->row_ohm, w->column_ohm, w->input_ohm, w->output_ohm);
    for (size_t i = 0; i < rows; i++) {
        fprintf(out, "V%zu s%zu 0 DC %.17g\n", i, i, input_V[i]);
    }
    write_lines(&row, 'w', 's', out);
    write_lines(&column, 'b', 'o', out);
    write_cells(&row, &column, g_S, out);
    for (size_t j = 0; j < columns; j++) {
        fprintf(out, "VO%zu o%zu 0 DC 0\n", j, j);
    }
    fprintf(out, ".options reltol=1e-12 abstol=1e-20 vntol=1e-16 gmin=1e-30\n.control\nset numdgt=15\nop\n");
    for (size_t j = 0; j < columns; j++) {
        fprintf(out, "let out_%zu = i(vo%zu)\nprint out_%zu\n", j, j, j);
    }
    fprintf(out, "quit\n.endc\n");
    for (size_t j = 0; expected_A && j < columns; j++) {
        fprintf(out, "* expected out_%zu = %.17g A\n", j, expected_A[j]);
    }
    fprintf(out, ".end\n");
    return ferror(out) ? error_set(e, ERR_RUN, "spice: cannot write the netlist") : OK;
}
