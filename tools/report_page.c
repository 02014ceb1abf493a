/* report.html. */
#include "tools/report.h"

const char *report_page_missing(void) { return "not built in yet"; }
enum status report_write_page(const json_t *root, FILE *out, struct error *e) {
    (void)root;
    (void)out;
    return error_set(e, ERR_RUN, "not built in yet");
}
