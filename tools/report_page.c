/* report.html: the page (tools/report/page.html) with its style, its script, Chart.js and the data of a run put in.
 *
 * The data are report.json without what the page does not show. They stand in a script element as JSON with every '<'
 * written as \u003c: so no text of a model or a file can end the element or start another one. The script only ever
 * sets text, and the page's own policy forbids everything that would have to be fetched.
 */
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/report.h"
#include "tools/report_assets.h"

enum { PAGE_MOST_BYTES = 3000000, TEXT_SHOWN_BYTES = 20000 };

const char *report_page_missing(void) {
    return report_asset_chart.count ? NULL
                                    : "mho was built without Chart.js (Debian: install libjs-chart.js; elsewhere: npm "
                                      "install chart.js; then make, or make CHART_JS=FILE)";
}

/* ---- data ---------------------------------------------------------------------------------------------- */

/* The beginning of a long text, cut before a character. */
static void shorten_text(json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    if (text && strlen(text) > TEXT_SHOWN_BYTES) {
        size_t end = TEXT_SHOWN_BYTES;
        while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) {
            end--;
        }
        json_object_set_new(object, key, json_stringn(text, end));
    }
}

/* New reference. */
static json_t *page_data(const json_t *root) {
    json_t *data = json_copy((json_t *)(uintptr_t)root);
    static const char *const not_shown[] = {"ids", "digital", "programming", "faults", "activity"};
    for (size_t i = 0; i < sizeof not_shown / sizeof not_shown[0]; i++) {
        json_object_del(data, not_shown[i]);
    }
    shorten_text(data, "text");
    return data;
}

static void put_data(FILE *out, const char *text) {
    for (const char *p = text; *p; p++) {
        if (*p == '<') {
            fputs("\\u003c", out);
        } else {
            fputc(*p, out);
        }
    }
}

/* ---- page ---------------------------------------------------------------------------------------------- */

static void put_asset(FILE *out, const struct report_asset *a) { fwrite(a->bytes, 1, a->count, out); }

/* What stands for "@name@" in the page. */
static void put_part(FILE *out, const char *name, size_t length, const char *data) {
    static const struct {
        const char *name;
        const struct report_asset *asset;
    } parts[] = {{"css", &report_asset_css},
                 {"script", &report_asset_script},
                 {"licence", &report_asset_licence},
                 {"chart", &report_asset_chart}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strlen(parts[i].name) == length && strncmp(parts[i].name, name, length) == 0) {
            put_asset(out, parts[i].asset);
            return;
        }
    }
    put_data(out, data);
}

static void put_page(FILE *out, const char *data) {
    const char *p = (const char *)report_asset_page.bytes;
    for (const char *open = strchr(p, '@'); open; open = strchr(p, '@')) {
        const char *close = strchr(open + 1, '@');
        fwrite(p, 1, (size_t)(open - p), out);
        put_part(out, open + 1, (size_t)(close - open - 1), data);
        p = close + 1;
    }
    fputs(p, out);
}

enum { STYLE = JSON_COMPACT | JSON_REAL_PRECISION(9) };

/* The data as text, mem_free; NULL: out of memory. What is longest is dropped until the page is small enough to be sent
 * around; it leaves out what is missing. */
static char *small_enough(json_t *data) {
    static const char *const droppable[] = {"text", "last_step", "steps"};
    size_t fixed = report_asset_page.count + report_asset_css.count + report_asset_script.count +
                   report_asset_licence.count + report_asset_chart.count,
           length = json_dumpb(data, NULL, 0, STYLE);
    for (size_t i = 0; fixed + length > PAGE_MOST_BYTES && i < sizeof droppable / sizeof *droppable; i++) {
        json_object_del(data, droppable[i]);
        length = json_dumpb(data, NULL, 0, STYLE);
    }
    char *text = mem_alloc(length + 1, 1);
    if (text) {
        json_dumpb(data, text, length, STYLE);
    }
    return text;
}

enum status report_write_page(const json_t *root, FILE *out, struct error *e) {
    if (report_page_missing()) {
        return error_set(e, ERR_RUN, "report.html: %s", report_page_missing());
    }
    json_t *data = page_data(root);
    char *text = small_enough(data);
    json_decref(data);
    if (!text) {
        return error_set(e, ERR_RUN, "report.html: out of memory");
    }
    put_page(out, text);
    mem_free(text);
    return OK;
}
