/* mho report: what can be made of report.json after a run. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/command.h"
#include "tools/report.h"

enum { REPORT_LIMIT_BYTES = 1 << 28 };

static const char file_name[] = "report.json";

/* DIR/report.json, or the file itself; mem_free. */
static char *report_path(const char *word) {
    return is_directory(word) ? path_join(word, file_name) : mem_strdup(word);
}

static enum status check_report(const json_t *root, const char *path, struct error *e) {
    const char *command = json_string_value(json_object_get(root, "command"));
    if (!command || strcmp(command, "run") != 0) {
        return error_set(e, ERR_RUN, "%s: not the report of a run (allowed: a report.json that mho run --out wrote)",
                         path);
    }
    return OK;
}

static enum status read_report(const char *word, json_t **out, struct error *e) {
    char *path = report_path(word), *text = NULL;
    size_t bytes = 0;
    json_error_t why;
    if (!path) {
        return error_set(e, ERR_RUN, "%s: out of memory", word);
    }
    enum status s = read_file(path, REPORT_LIMIT_BYTES, &text, &bytes, e);
    if (s == OK) {
        *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
        s = *out ? check_report(*out, path, e)
                 : error_set(e, ERR_RUN, "%s:%d:%d: not JSON: %s", path, why.line, why.column, why.text);
    }
    if (s != OK) {
        json_decref(*out);
        *out = NULL;
    }
    mem_free(text);
    mem_free(path);
    return s;
}

/* ---- html ---------------------------------------------------------------------------------------------- */

/* Beside report.json, unless --out says where; mem_free. */
static char *page_path(const struct options *o, const char *word) {
    if (o->out) {
        return mem_strdup(o->out);
    }
    if (is_directory(word)) {
        return path_join(word, "report.html");
    }
    const char *slash = strrchr(word, '/');
    char *folder = slash ? mem_strndup(word, (size_t)(slash - word + 1)) : mem_strdup("");
    char *path = folder && folder[0] ? path_join(folder, "report.html") : mem_strdup("report.html");
    mem_free(folder);
    return path;
}

static enum status write_page(const json_t *root, const char *path, struct error *e) {
    struct output *o = NULL;
    TRY(output_create(path, &o, e));
    enum status s = report_write_page(root, output_stream(o), e);
    if (s != OK) {
        output_abort(o);
        return s;
    }
    return output_commit(o, e);
}

static enum status make_page(const struct options *o, struct error *e) {
    if (o->words.count != 2) {
        return error_set(e, ERR_USAGE, "report html: %s (usage: mho report html DIR|report.json [--out FILE])",
                         o->words.count < 2 ? "of which run?" : "one run at a time");
    }
    if (o->json) {
        return error_set(e, ERR_USAGE, "--json: report html prints no results (report.json is the JSON)");
    }
    json_t *root = NULL;
    TRY(read_report(o->words.items[1], &root, e));
    char *path = page_path(o, o->words.items[1]);
    enum status s = path ? write_page(root, path, e) : error_set(e, ERR_RUN, "report html: out of memory");
    if (s == OK) {
        notice("wrote %s", path);
    }
    mem_free(path);
    json_decref(root);
    return s;
}

/* ---- compare ------------------------------------------------------------------------------------------- */

static enum status compare(const struct options *o, struct error *e) {
    json_t *a = NULL, *b = NULL;
    if (o->words.count != 3) {
        return error_set(e, ERR_USAGE, "report compare: two runs (usage: mho report compare A B, each a folder or a "
                                       "report.json)");
    }
    if (o->out) {
        return error_set(e, ERR_USAGE, "--out: report compare writes no file");
    }
    TRY(read_report(o->words.items[1], &a, e));
    enum status s = read_report(o->words.items[2], &b, e);
    if (s == OK) {
        const char *const names[2] = {o->words.items[1], o->words.items[2]};
        s = report_compare(a, b, names, json_envelope("report compare", o, NULL), o->json, e);
    }
    json_decref(a);
    json_decref(b);
    return s;
}

static enum status report_command(const struct options *o, struct error *e) {
    static const char *const kinds[] = {"html", "compare"};
    const char *word = o->words.count ? o->words.items[0] : "";
    if (strcmp(word, kinds[0]) == 0) {
        return make_page(o, e);
    }
    if (strcmp(word, kinds[1]) == 0) {
        return compare(o, e);
    }
    return unknown_kind(o, "report", command_report.words, kinds, sizeof kinds / sizeof kinds[0], e);
}

static const char *const names[] = {"out", NULL};

const struct command command_report = {
    "report",
    "html DIR | compare A B",
    "the page of a run again, or what changed between two runs",
    names,
    report_command,
    "html     writes report.html anew from DIR/report.json (or a report.json), beside it or to --out FILE\n"
    "compare  what is different in the configuration of two runs, and in energy, time and area by component\n\n"
    "examples:\n"
    "  mho run --out a; mho run --set tile.adc.bits=6 --out b; mho report compare a b",
};
