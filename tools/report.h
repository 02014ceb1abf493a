/* What a run leaves in the folder of --out, and what is made of it later. All files but trace.json follow from
 * report.json. */
#ifndef MHO_TOOLS_REPORT_H
#define MHO_TOOLS_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "models/model.h"

enum { TRACE_EVENTS_MOST = 50000 };

/* Adds what tools know of a run: the constants of the chip. */
void report_add(json_t *root, const struct chip *c);

/* Whether report_write can begin: makes the folder, leaves no file. For use before a long run. */
enum status report_writable(const char *directory, struct error *e);
/* Writes report.json, the tables, trace.json and report.html into `directory`: all or none of them, whole. run: NULL
 * without a chip. Notices say what could not be written and why. */
enum status report_write(json_t *root, const struct run *run, const char *directory, struct error *e);

/* CSV files made of a report that has the key `needs`. */
struct report_table {
    const char *name, *needs;
    void (*write)(const json_t *root, FILE *out);
};
enum { REPORT_TABLES = 7 };
extern const struct report_table report_tables[REPORT_TABLES];

/* Events in the trace event format of Chrome, which ui.perfetto.dev opens. Times in us. */
enum status report_write_trace(const json_t *root, const struct run *run, FILE *out, struct error *e);

/* Why this program cannot write report.html; NULL: it can. */
const char *report_page_missing(void);
/* One self-contained file. */
enum status report_write_page(const json_t *root, FILE *out, struct error *e);

/* mho report compare: prints what changed from a to b, or adds it to `root` and prints that. Takes root over. */
enum status report_compare(const json_t *a, const json_t *b, const char *const names[2], json_t *root, bool as_json,
                           struct error *e);

#endif
