/* The parts of report.html that are in the program: tools/report/, and Chart.js from where the Makefile found it
 * (CHART_JS). */
#ifndef MHO_TOOLS_REPORT_ASSETS_H
#define MHO_TOOLS_REPORT_ASSETS_H

#include <stddef.h>

struct report_asset {
    const unsigned char *bytes; /* a 0 follows */
    size_t count;
};
/* chart: empty where the Makefile did not find it. */
extern const struct report_asset report_asset_page, report_asset_css, report_asset_script, report_asset_licence,
    report_asset_chart;

#endif
