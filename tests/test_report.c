/* What a run leaves in the folder of --out: tables and trace agree with report.json, the page draws every chart in a
 * browser without a word on its console, whatever text the model wrote; and mho report compare adds up.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/csv.h"
#include "base/io.h"
#include "base/memory.h"
#include "tests/suite.h"

/* Sums of a few hundred doubles in another order, and times that were written in us with six digits. */
#define SUM_TOLERANCE 1e-9
#define TRACE_TOLERANCE_S 1e-12

enum { FOLDER_BYTES = 1200, PATH_BYTES = 1400 };

static const char *in(const char *folder, const char *name) {
    static char path[4][PATH_BYTES];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], PATH_BYTES, "%s/%s", folder, name);
    return path[next];
}

/* Folder of a run of a few tokens on a chip with a network; made once. */
static const char *run_folder(void) {
    static char folder[FOLDER_BYTES];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "%s/run", scratch_directory());
        const char *const args[] = {"run", "--tokens", "5", "--quiet", "--out", folder,
                                    "--set", "network=noc_mesh_45nm", "--set", "network.columns=8",
                                    "--set", "network.rows=8", "--set", "network.tiles_per_core=1", NULL};
        char *err = NULL;
        if (run_mho(args, 60, NULL, &err) != 0) {
            folder[0] = 0;
            fail_msg("mho run --out: %s", err);
        }
        mem_free(err);
    }
    return folder;
}

static json_t *load(const char *path) {
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);
    if (!root) {
        fail_msg("%s:%d: %s", path, why.line, why.text);
    }
    return root;
}

static double number(const json_t *root, const char *group, const char *key) {
    const json_t *v = json_object_get(json_object_get(root, group), key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static struct csv *table(const char *name) {
    struct csv *c;
    struct error e;
    if (csv_read(in(run_folder(), name), CSV_HEADER, &c, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return c;
}

/* Sum of a column over all rows, or over those whose cell in `where` is `is`. */
static double column_sum(const struct csv *c, const char *name, const char *where, const char *is) {
    size_t column, condition = 0;
    double sum = 0;
    assert_true(csv_find(c, name, &column));
    assert_true(!where || csv_find(c, where, &condition));
    for (size_t row = 0; row < csv_rows(c); row++) {
        if ((!where || strcmp(csv_text(c, row, condition), is) == 0) && csv_text(c, row, column)[0]) {
            sum += strtod(csv_text(c, row, column), NULL);
        }
    }
    return sum;
}

static void expect_sum(const char *name, const char *column, double expected) {
    struct csv *c = table(name);
    assert_near(column_sum(c, column, NULL, NULL), expected, SUM_TOLERANCE * fabs(expected));
    csv_destroy(c);
}

/* ---- tables -------------------------------------------------------------------------------------------- */

static void test_tables_agree_with_the_report(void **state) {
    (void)state;
    json_t *root = load(in(run_folder(), "report.json"));
    expect_sum("energy.csv", "energy_J", number(root, "energy", "total_J"));
    expect_sum("area.csv", "area_mm2", number(root, "area", "total_mm2"));
    expect_sum("time.csv", "critical_path_s", number(root, "time", "makespan_s"));
    expect_sum("steps.csv", "energy_J", number(root, "energy", "total_J"));
    expect_sum("steps.csv", "tokens", number(root, "energy", "tokens"));
    expect_sum("matrices.csv", "tiles", number(root, "mapping", "tiles"));
    struct csv *c = table("energy.csv");
    const char *name;
    json_t *value, *layers = json_object_get(json_object_get(root, "energy"), "by_layer");
    json_object_foreach(json_object_get(json_object_get(root, "energy"), "by_component"), name, value) {
        double joules = json_number_value(value);
        assert_near(column_sum(c, "energy_J", "component", name), joules, SUM_TOLERANCE * joules);
    }
    for (size_t i = 0; i < json_array_size(layers); i++) {
        char row[16];
        double joules = json_number_value(json_array_get(layers, i));
        snprintf(row, sizeof row, i + 1 == json_array_size(layers) ? "outside" : "%zu", i);
        assert_near(column_sum(c, "energy_J", "layer", row), joules, SUM_TOLERANCE * joules);
    }
    csv_destroy(c);
    c = table("constants.csv");
    assert_int_equal(csv_rows(c), json_array_size(json_object_get(root, "constants")));
    csv_destroy(c);
    json_decref(root);
}

/* Layers share the whole time among them, resources too; classes of resources are sums of them. */
static void test_times_add_up(void **state) {
    (void)state;
    json_t *root = load(in(run_folder(), "report.json")), *time = json_object_get(root, "time"), *layer, *one;
    double makespan = number(root, "time", "makespan_s"), sum = 0;
    size_t i;
    const char *name;
    json_array_foreach(json_object_get(time, "by_layer"), i, layer) {
        assert_true(json_number_value(layer) > 0);
        sum += json_number_value(layer);
    }
    assert_near(sum, makespan, SUM_TOLERANCE * makespan);
    struct csv *c = table("time.csv");
    json_object_foreach(json_object_get(time, "resources"), name, one) {
        double busy = json_number_value(json_object_get(one, "busy_s"));
        assert_near(column_sum(c, "busy_s", "class", name), busy, SUM_TOLERANCE * busy);
    }
    csv_destroy(c);
    json_decref(root);
}

/* ---- trace --------------------------------------------------------------------------------------------- */

struct slice { double start, end; long pid, tid; };

static int by_track(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    long key = x->pid != y->pid ? x->pid - y->pid : x->tid - y->tid;
    return key ? (key > 0) - (key < 0) : (x->start > y->start) - (x->start < y->start);
}

static const char *text_at(const json_t *event, const char *key) {
    return json_string_value(json_object_get(event, key));
}
static double real_at(const json_t *event, const char *key) { return json_number_value(json_object_get(event, key)); }
static long whole_at(const json_t *event, const char *key) {
    return (long)json_integer_value(json_object_get(event, key));
}

static bool track_is_named(const json_t *events, long pid, long tid) {
    size_t i;
    json_t *event;
    json_array_foreach(events, i, event) {
        if (strcmp(text_at(event, "name"), "thread_name") == 0 && whole_at(event, "pid") == pid &&
            whole_at(event, "tid") == tid) {
            return true;
        }
    }
    return false;
}

/* Every track has a name, and nothing on it happens at the same time. */
static void check_tracks(const json_t *events, struct slice *slices, size_t count) {
    qsort(slices, count, sizeof *slices, by_track);
    for (size_t i = 0; i < count; i++) {
        bool first = i == 0 || slices[i].pid != slices[i - 1].pid || slices[i].tid != slices[i - 1].tid;
        if (first) {
            assert_true(track_is_named(events, slices[i].pid, slices[i].tid));
        } else {
            assert_true(slices[i].start >= slices[i - 1].end - 2e6 * TRACE_TOLERANCE_S);
        }
    }
}

/* Nothing does two things at a time, every track has a name, and the slices of resources are their busy time. Every
 * multiply ends with conversions of 76.5 ns. */
static void test_trace(void **state) {
    (void)state;
    json_t *root = load(in(run_folder(), "trace.json")), *event,
           *report = load(in(run_folder(), "report.json"));
    json_t *events = json_object_get(root, "traceEvents");
    size_t i, count = 0, resources = 0, conversions = 0, multiplies = 0;
    struct slice *slices = mem_alloc(json_array_size(events), sizeof *slices);
    double busy_us = 0, makespan_us = 1e6 * number(report, "time", "makespan_s");
    long begun = 0, ended = 0;
    json_array_foreach(events, i, event) {
        const char *phase = text_at(event, "ph");
        begun += phase[0] == 's';
        ended += phase[0] == 'f';
        if (phase[0] == 'X') {
            struct slice s = {real_at(event, "ts"), real_at(event, "ts") + real_at(event, "dur"),
                              whole_at(event, "pid"), whole_at(event, "tid")};
            slices[count++] = s;
            bool converts = strcmp(text_at(event, "name"), "convert") == 0, resource = s.pid >= 10 && !converts;
            if (converts) {
                const struct slice *tile = &slices[count - 2]; /* written just before */
                assert_near(s.end - s.start, 76.5e-3, 2e6 * TRACE_TOLERANCE_S);
                assert_near(s.end, tile->end, 2e6 * TRACE_TOLERANCE_S);
                assert_true(s.pid == tile->pid && s.tid == tile->tid + 1);
            }
            conversions += converts;
            multiplies += resource && fabs(s.end - s.start - 132.9e-3) < 2e6 * TRACE_TOLERANCE_S;
            busy_us += resource ? s.end - s.start : 0;
            resources += resource;
            assert_true(s.pid == 3 || s.end <= makespan_us + 1e6 * TRACE_TOLERANCE_S); /* 3: set-up */
        }
    }
    assert_true(begun > 1 && begun == ended); /* the request, and every step */
    assert_true(conversions > 0 && conversions == multiplies);
    check_tracks(events, slices, count);
    struct csv *c = table("time.csv");
    double busy_s = column_sum(c, "busy_s", NULL, NULL);
    assert_near(1e-6 * busy_us, busy_s, (double)resources * TRACE_TOLERANCE_S);
    assert_int_equal(resources, number(report, "trace", "events"));
    csv_destroy(c);
    mem_free(slices);
    json_decref(root);
    json_decref(report);
}

/* Copies of a matrix and units of a pool work side by side: each has a track. Two vectors stream through a tile whose
 * 64 converters sample their columns: C = 5.9 + 3 x 76.5 = 235.4 ns from the end of the pulse on, all the time. */
static void test_trace_of_pools(void **state) {
    (void)state;
    const char *scratch = scratch_directory(), *folder = in(scratch, "pools");
    const char *const args[] = {"run", "--shapes-only", "--prompt-tokens", "9", "--tokens", "2", "--quiet", "--out",
                                folder, "--set", "vector.count=2", "--set", "placement.copies=down=3", "--set",
                                "tile.overlap=sample_hold", "--set", "tile.adc.share=4", NULL};
    assert_int_equal(run_mho(args, 60, NULL, NULL), 0);
    json_t *root = load(in(scratch, "pools/trace.json")), *event, *events;
    events = json_object_get(root, "traceEvents");
    size_t i, count = 0, conversions = 0, named = 0;
    struct slice *slices = mem_alloc(json_array_size(events), sizeof *slices);
    json_array_foreach(events, i, event) {
        if (text_at(event, "ph")[0] == 'X') {
            struct slice s = {real_at(event, "ts"), real_at(event, "ts") + real_at(event, "dur"),
                              whole_at(event, "pid"), whole_at(event, "tid")};
            slices[count++] = s;
            if (strcmp(text_at(event, "name"), "convert") == 0) {
                conversions++;
                assert_near(s.end - s.start, 235.4e-3, 2e6 * TRACE_TOLERANCE_S);
                assert_near(s.start - slices[count - 2].start, 127e-3, 2e6 * TRACE_TOLERANCE_S);
            }
        } else if (strcmp(text_at(event, "name"), "thread_name") == 0) {
            const char *name = text_at(json_object_get(event, "args"), "name");
            named += strcmp(name, "tiles layers.1.down (2)") == 0 || strcmp(name, "ADCs layers.1.down (2)") == 0 ||
                     strcmp(name, "vector (2)") == 0;
        }
    }
    assert_true(conversions > 100);
    assert_true(named >= 3);
    check_tracks(events, slices, count);
    mem_free(slices);
    json_decref(root);
}

/* Corrections are slices of their own on the tracks of the tiles, between multiplies and without conversions: as many
 * as the report counts, each 64 test vectors of 132.9 ns long. They are no part of their layers. */
static void test_trace_of_maintenance(void **state) {
    (void)state;
    const char *scratch = scratch_directory(), *folder = in(scratch, "maintenance");
    const char *const args[] = {"run", "--shapes-only", "--prompt-tokens", "5", "--tokens", "9", "--quiet", "--out",
                                folder, "--set", "tile.correction=affine", "--set", "tile.correction_period_s=10e-6",
                                NULL};
    assert_int_equal(run_mho(args, 60, NULL, NULL), 0);
    json_t *root = load(in(scratch, "maintenance/trace.json")), *event,
           *report = load(in(scratch, "maintenance/report.json")),
           *kind = json_array_get(json_object_get(report, "maintenance"), 0);
    json_t *events = json_object_get(root, "traceEvents");
    size_t i, count = 0, corrections = 0;
    struct slice *slices = mem_alloc(json_array_size(events), sizeof *slices);
    json_array_foreach(events, i, event) {
        if (text_at(event, "ph")[0] == 'X') {
            struct slice s = {real_at(event, "ts"), real_at(event, "ts") + real_at(event, "dur"),
                              whole_at(event, "pid"), whole_at(event, "tid")};
            bool before = count > 0 && strstr(text_at(json_array_get(events, i - 1), "name"), "correction");
            slices[count++] = s;
            if (strstr(text_at(event, "name"), "correction")) {
                assert_near(s.end - s.start, 64 * 132.9e-3, 2e6 * TRACE_TOLERANCE_S);
                corrections++;
            }
            assert_false(before && strcmp(text_at(event, "name"), "convert") == 0);
            bool later_layer = s.pid == 2 && s.tid > 1 && s.tid <= 6; /* the first one waits for its tiles */
            assert_true(!later_layer || s.end - s.start < 64 * 132.9e-3);
        }
    }
    size_t matrices = json_array_size(json_object_get(json_object_get(report, "mapping"), "matrices"));
    assert_true(matrices > 0 && json_integer_value(json_object_get(kind, "done")) > 0);
    assert_int_equal(corrections, matrices * (size_t)json_integer_value(json_object_get(kind, "done")));
    check_tracks(events, slices, count);
    mem_free(slices);
    json_decref(root);
    json_decref(report);
}

/* A log that is full says so: in the trace, in the report, on stderr; and the first tokens of the prompt are there. */
static void test_full_log(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    const char *const args[] = {"run", "--shapes-only", "--prompt-tokens", "400", "--tokens", "3", "--out", folder,
                                NULL};
    char *err = NULL;
    assert_int_equal(run_mho(args, 60, NULL, &err), 0);
    assert_non_null(strstr(err, "found no room"));
    mem_free(err);
    json_t *trace = load(in(folder, "trace.json")), *report = load(in(folder, "report.json")), *event;
    double left_out = number(report, "trace", "events_left_out"), kept = number(report, "trace", "events");
    assert_true(left_out > 0 && kept > 0 && kept <= number(report, "trace", "capacity"));
    assert_int_equal(number(trace, "otherData", "events_left_out"), left_out);
    size_t i;
    bool prompt = false, decode = false;
    json_array_foreach(json_object_get(trace, "traceEvents"), i, event) {
        bool slice = text_at(event, "ph")[0] == 'X';
        prompt = prompt || (slice && strcmp(text_at(event, "name"), "400 tokens") == 0);
        decode = decode || (slice && strcmp(text_at(event, "name"), "token 402") == 0);
    }
    assert_true(prompt && decode);
    json_decref(trace);
    json_decref(report);
}

/* ---- page ---------------------------------------------------------------------------------------------- */

/* The whole file; mem_free. */
static char *read_text(const char *path, size_t *bytes) {
    struct mapped_file file;
    struct error e;
    if (map_file(path, &file, &e) != OK) {
        fail_msg("%s", e.message);
    }
    *bytes = file.bytes;
    char *text = mem_strndup((const char *)file.data, file.bytes);
    unmap_file(&file);
    assert_non_null(text);
    return text;
}

static size_t occurrences(const char *text, const char *word) {
    size_t n = 0;
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word)) {
        n++;
    }
    return n;
}

/* The page of the run; skips where the program has no Chart.js. */
static char *page_text(size_t *bytes) {
    if (!file_exists(in(run_folder(), "report.html"))) {
        skip_because("mho was built without Chart.js");
    }
    return read_text(in(run_folder(), "report.html"), bytes);
}

static const char hostile[] = "</script><script>document.title='owned'</script><!--<script>&\"'\xe2\x80\xa8";

/* report.json of the run with strange text wherever a model or a file can bring text; its path. */
static const char *hostile_report(void) {
    static char path[PATH_BYTES];
    json_t *root = load(in(run_folder(), "report.json"));
    json_object_set_new(root, "text", json_string(hostile));
    json_object_set_new(root, "model", json_string(hostile));
    json_object_set_new(json_object_get(root, "chip"), "name", json_string(hostile));
    json_object_set_new(json_object_get(root, "config"), hostile, json_string(hostile));
    json_array_append_new(json_object_get(root, "flags"), json_string(hostile));
    json_t *constant = json_array_get(json_object_get(root, "constants"), 0);
    json_object_set_new(constant, "source", json_string(hostile));
    snprintf(path, sizeof path, "%s/report.json", scratch_directory());
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    return path;
}

static void test_page_is_made_again(void **state) {
    (void)state;
    size_t bytes, again_bytes;
    char *page = page_text(&bytes);
    const char *out = in(scratch_directory(), "again.html");
    const char *const args[] = {"report", "html", run_folder(), "--out", out, "--quiet", NULL};
    assert_int_equal(run_mho(args, 30, NULL, NULL), 0);
    char *again = read_text(out, &again_bytes);
    assert_string_equal(page, again);
    assert_true(bytes < 3000000);
    assert_non_null(strstr(page, "Permission is hereby granted, free of charge")); /* Chart.js is MIT */
    assert_null(strstr(page, "src=\"http"));
    mem_free(again);
    mem_free(page);
}

static void test_text_cannot_leave_the_data(void **state) {
    (void)state;
    size_t bytes;
    char *plain = page_text(&bytes);
    const char *path = hostile_report(), *out = in(scratch_directory(), "page.html");
    const char *const args[] = {"report", "html", path, "--out", out, "--quiet", NULL};
    assert_int_equal(run_mho(args, 30, NULL, NULL), 0);
    char *page = read_text(out, &bytes);
    assert_non_null(strstr(page, "owned")); /* it is in the page ... */
    assert_int_equal(occurrences(page, "</script"), occurrences(plain, "</script")); /* ... but as data */
    assert_int_equal(occurrences(page, "<!--"), occurrences(plain, "<!--"));
    mem_free(page);
    mem_free(plain);
}

/* ---- browser ------------------------------------------------------------------------------------------- */

static const char *browser(void) {
    static const char *const names[] = {"chromium", "chromium-browser", "google-chrome"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char command[128];
        snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", names[i]);
        if (system(command) == 0) {
            return names[i];
        }
    }
    skip_because("no Chromium here");
    return NULL;
}

/* A document that shows the page in a frame of that many pixels (windows are never narrower than 500), and copies what
 * the page says of itself to its own root once it stands. */
static void write_frame(const char *path, const char *page, int width) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    json_t *text = json_string(page);
    assert_non_null(text);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    fprintf(f, "<!DOCTYPE html><html><body><script>const f = document.createElement('iframe'); f.width = %d; "
               "f.height = 900; f.onload = () => { const d = f.contentDocument, r = document.documentElement; "
               "for (const a of d.documentElement.attributes) { r.setAttribute(a.name, a.value); } "
               "r.setAttribute('data-count', d.querySelectorAll('[data-drawn=yes]').length); "
               "r.setAttribute('data-title', d.title); r.setAttribute('data-paper', "
               "f.contentWindow.getComputedStyle(d.body).backgroundColor); f.remove(); }; f.srcdoc = ", width);
    for (const char *p = quoted; *p; p++) {
        fputs(*p == '<' ? "\\u003c" : (char[]){*p, 0}, f);
    }
    fputs("; document.body.append(f);</script></body></html>", f);
    free(quoted);
    json_decref(text);
    assert_int_equal(fclose(f), 0);
}

/* The start tag of the framed page, as it says of itself, into `tag`. */
static void open_page(const char *page, int width, bool dark, char *tag, size_t most) {
    const char *folder = scratch_directory();
    char command[8192];
    size_t bytes;
    write_frame(in(folder, "frame.html"), page, width);
    snprintf(command, sizeof command,
             "cd '%s' && %s --headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
             "--disable-background-networking --disable-component-update --disable-sync --user-data-dir=\"$PWD/user\" "
             "--window-size=1400,1000 %s --enable-logging=stderr --dump-dom \"file://$PWD/frame.html\" >dom 2>log",
             folder, browser(), dark ? "--force-dark-mode" : "");
    assert_int_equal(system(command), 0);
    char *log = read_text(in(folder, "log"), &bytes); /* Chromium always has something to say there */
    if (strstr(log, "CONSOLE")) {
        fail_msg("the page speaks to the console: %.400s", strstr(log, "CONSOLE"));
    }
    mem_free(log);
    char *dom = read_text(in(folder, "dom"), &bytes);
    const char *begin = strstr(dom, "<html");
    assert_non_null(begin);
    snprintf(tag, most, "%.*s", (int)strcspn(begin, ">"), begin);
    mem_free(dom);
}

static long attribute(const char *tag, const char *name) {
    const char *at = strstr(tag, name);
    return at ? strtol(at + strlen(name) + 2, NULL, 10) : -1;
}

static void expect_drawn(const char *tag, long least) {
    assert_null(strstr(tag, "data-failed"));
    assert_non_null(strstr(tag, "data-overflow=\"no\""));
    assert_int_equal(attribute(tag, "data-clipped"), 0);
    assert_true(attribute(tag, "data-plots") >= least);
    assert_int_equal(attribute(tag, "data-count"), attribute(tag, "data-plots"));
}

/* Charts of this run: 2 of energy, 4 of time, the timeline, 4 of what bounds a token, area, 5 of uncertainty, tiles,
 * links. */
enum { PLOTS = 19 };

static void test_browser_wide_and_dark(void **state) {
    (void)state;
    size_t bytes;
    char *page = page_text(&bytes), tag[2048];
    open_page(page, 1280, true, tag, sizeof tag);
    expect_drawn(tag, PLOTS);
    assert_non_null(strstr(tag, "data-paper=\"rgb(20, 23, 26)\"")); /* --paper of dark mode */
    mem_free(page);
}

static void test_browser_phone_and_hostile(void **state) {
    (void)state;
    size_t bytes;
    mem_free(page_text(&bytes));
    const char *path = hostile_report(), *out = in(scratch_directory(), "page.html");
    const char *const args[] = {"report", "html", path, "--out", out, "--quiet", NULL};
    assert_int_equal(run_mho(args, 30, NULL, NULL), 0);
    char *page = read_text(out, &bytes), tag[2048];
    open_page(page, 375, false, tag, sizeof tag);
    expect_drawn(tag, PLOTS);
    assert_non_null(strstr(tag, "data-paper=\"rgb(251, 251, 250)\""));
    assert_null(strstr(tag, "data-title=\"owned\""));
    mem_free(page);
}

/* Steps of several requests overlap: the timeline shows the requests. 2 of energy, 4 of time, the requests, 3 of what
 * bounds a token, area, 5 of uncertainty, tiles. */
static void test_browser_requests(void **state) {
    (void)state;
    const char *scratch = scratch_directory(), *folder = in(scratch, "requests");
    const char *const args[] = {"run", "--shapes-only", "--model", "stories", "--requests", "30", "--rate", "50000",
                                "--prompt-tokens", "8", "--tokens", "6", "--quiet", "--out", folder, NULL};
    browser();
    assert_int_equal(run_mho(args, 60, NULL, NULL), 0);
    size_t bytes;
    char *page = read_text(in(scratch, "requests/report.html"), &bytes), tag[2048];
    open_page(page, 375, false, tag, sizeof tag);
    expect_drawn(tag, 17);
    mem_free(page);
}

/* ---- compare ------------------------------------------------------------------------------------------- */

static double change_sum(const json_t *rows) {
    double sum = 0;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        sum += real_at(row, "change");
    }
    return sum;
}

/* Changes of components add up to those of the results, and every changed key is named. */
static void test_compare(void **state) {
    (void)state;
    const char *folder = in(scratch_directory(), "other");
    const char *const args[] = {"run", "--tokens", "5", "--quiet", "--out", folder, "--set", "network=noc_mesh_45nm",
                                "--set", "network.columns=8", "--set", "network.rows=8", "--set",
                                "network.tiles_per_core=1", "--set", "tile.adc.share=4", NULL};
    assert_int_equal(run_mho(args, 60, NULL, NULL), 0);
    const char *const compare[] = {"report", "compare", run_folder(), folder, NULL};
    json_t *root = mho_json((const char *const[]){"report", "compare", run_folder(), folder, "--json", NULL}),
           *changed = json_object_get(root, "changed"), *row;
    assert_int_equal(json_array_size(changed), 1);
    assert_string_equal(text_at(json_array_get(changed, 0), "key"), "tile.adc.share");
    double energy = NAN, area = NAN;
    size_t i;
    json_array_foreach(json_object_get(root, "results"), i, row) {
        double change = real_at(row, "b") - real_at(row, "a");
        energy = strcmp(text_at(row, "name"), "energy per token") == 0 ? change : energy;
        area = strcmp(text_at(row, "name"), "area") == 0 ? change : area;
    }
    assert_true(energy > 0 && area < 0); /* fewer converters, which work longer */
    assert_near(change_sum(json_object_get(root, "energy_per_token_J")), energy, SUM_TOLERANCE * energy);
    assert_near(change_sum(json_object_get(root, "area_mm2")), area, -SUM_TOLERANCE * area);
    json_decref(root);
    char *out = NULL;
    assert_int_equal(run_mho(compare, 30, &out, NULL), 0);
    assert_non_null(strstr(out, "tile.adc.share               1 -> 4"));
    assert_true(occurrences(out, "\n") <= 30);
    mem_free(out);
}

static void test_compare_with_itself(void **state) {
    (void)state;
    json_t *root = mho_json((const char *const[]){"report", "compare", run_folder(), run_folder(), "--json", NULL});
    assert_int_equal(json_array_size(json_object_get(root, "changed")), 0);
    assert_true(change_sum(json_object_get(root, "energy_per_token_J")) == 0);
    json_decref(root);
}

static void expect_refused(const char *const *args, const char *says) {
    char *err = NULL;
    assert_int_not_equal(run_mho(args, 30, NULL, &err), 0);
    if (!strstr(err, says)) {
        fail_msg("\"%s\" is not in: %s", says, err);
    }
    mem_free(err);
}

static void test_bad_reports(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *odd = in(folder, "odd.json"), *broken = in(folder, "broken.json");
    FILE *f = fopen(odd, "w");
    fputs("{\"command\": \"eval\"}", f);
    fclose(f);
    f = fopen(broken, "w");
    fputs("{\n\"command\": ", f);
    fclose(f);
    expect_refused((const char *const[]){"report", "html", odd, NULL}, "not the report of a run");
    expect_refused((const char *const[]){"report", "html", broken, NULL}, "broken.json:2");
    expect_refused((const char *const[]){"report", "html", folder, NULL}, "report.json");
    expect_refused((const char *const[]){"report", "html", NULL}, "of which run?");
    expect_refused((const char *const[]){"report", "compare", odd, NULL}, "two runs");
    expect_refused((const char *const[]){"report", "compare", odd, broken, "--out", "x", NULL}, "--out");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tables_agree_with_the_report),
    cmocka_unit_test(test_times_add_up),
    cmocka_unit_test(test_trace),
    cmocka_unit_test(test_trace_of_pools),
    cmocka_unit_test(test_trace_of_maintenance),
    cmocka_unit_test(test_full_log),
    cmocka_unit_test(test_page_is_made_again),
    cmocka_unit_test(test_text_cannot_leave_the_data),
    cmocka_unit_test(test_browser_wide_and_dark),
    cmocka_unit_test(test_browser_phone_and_hostile),
    cmocka_unit_test(test_browser_requests),
    cmocka_unit_test(test_compare),
    cmocka_unit_test(test_compare_with_itself),
    cmocka_unit_test(test_bad_reports),
};

const struct test_suite suite_report = {"report", tests, sizeof tests / sizeof tests[0]};
