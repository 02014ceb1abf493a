/* What the program writes of the documentation is what is committed, what the pages point to is there, every effect,
 * group and circuit has its place on the physics page; and the chart writer itself.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/svg.h"
#include "devices/adc.h"
#include "devices/dac.h"
#include "devices/device.h"
#include "sim/sim.h"
#include "tests/suite.h"

static char *text_of(const char *folder, const char *name) {
    char path[1700];
    struct error e;
    char *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (read_file(path, 16u << 20, &text, &bytes, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return text;
}

static const char *docs(void) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/docs", data_directory());
    return path;
}

/* docs/`page` is what the command writes. */
static void page_is_current(const char *page, const char *const *command) {
    char *out, *committed = text_of(docs(), page);
    assert_int_equal(run_mho(command, 60, &out, NULL), 0);
    size_t at = 0, line = 1;
    while (out[at] && out[at] == committed[at]) {
        line += out[at++] == '\n';
    }
    if (out[at] != committed[at]) {
        fail_msg("docs/%s:%zu is out of date (make docs)", page, line);
    }
    mem_free(out);
    mem_free(committed);
}

static void keys_are_current(void **state) {
    (void)state;
    page_is_current("parameters.md", (const char *const[]){"chip", "params", "--markdown", NULL});
}

static void published_numbers_are_current(void **state) {
    (void)state;
    page_is_current("validation.md", (const char *const[]){"validate", "--markdown", NULL});
}

/* How much of the default chip is assumed stands in the text of the README. */
static void assumptions_are_current(void **state) {
    (void)state;
    char *out, said[100], *page = text_of(data_directory(), "README.md");
    assert_int_equal(run_mho((const char *const[]){"chip", "check", "pcm256", "--json", NULL}, 60, &out, NULL), 0);
    json_error_t why;
    json_t *root = json_loads(out, 0, &why), *assumed = json_object_get(json_object_get(root, "kinds"), "assumed");
    size_t all = json_array_size(json_object_get(root, "constants"));
    assert_true(json_is_integer(assumed) && all > 0);
    snprintf(said, sizeof said, "%lld of its %zu constants are assumptions", (long long)json_integer_value(assumed),
             all);
    if (!strstr(page, said)) {
        fail_msg("README.md does not say that %s", said);
    }
    json_decref(root);
    mem_free(out);
    mem_free(page);
}

/* A third of a pixel: another machine may round the last digit of a coordinate differently. */
static const double pixels = 0.34;

static void pictures_are_current(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    char *out, *err, committed[1300];
    int status = run_mho((const char *const[]){"device", "pictures", "--out", folder, NULL}, 60, &out, &err);
    if (status != 0) {
        fail_msg("device pictures: %s", err);
    }
    mem_free(out);
    mem_free(err);
    snprintf(committed, sizeof committed, "%s/pictures", docs());
    char *page = text_of(docs(), "physics.md");
    DIR *d = opendir(folder);
    int count = 0;
    for (struct dirent *f; (f = readdir(d));) {
        if (!strstr(f->d_name, ".svg")) {
            continue;
        }
        char *now = text_of(folder, f->d_name), *then = text_of(committed, f->d_name), link[300];
        if (!svg_same(now, then, pixels)) {
            fail_msg("docs/pictures/%s is out of date (make docs)", f->d_name);
        }
        snprintf(link, sizeof link, "(pictures/%s)", f->d_name);
        if (!strstr(page, link)) {
            fail_msg("docs/physics.md does not show %s", f->d_name);
        }
        mem_free(now);
        mem_free(then);
        count++;
    }
    closedir(d);
    mem_free(page);
    assert_true(count >= 18);
}

/* "](path)" of a page, relative to `folder`; addresses of the net are not followed. */
static void check_links(const char *folder, const char *name) {
    char *text = text_of(folder, name);
    for (const char *p = text; (p = strstr(p, "](")); p++) {
        char target[300], path[1600];
        snprintf(target, sizeof target, "%.*s", (int)strcspn(p + 2, ")#"), p + 2);
        snprintf(path, sizeof path, "%s/%s", folder, target);
        if (target[0] && !strstr(target, "://") && !file_exists(path)) {
            fail_msg("%s: points to %s, which does not exist", name, target);
        }
    }
    mem_free(text);
}

static void links_lead_somewhere(void **state) {
    (void)state;
    check_links(data_directory(), "README.md");
    DIR *d = opendir(docs());
    for (struct dirent *f; (f = readdir(d));) {
        size_t n = strlen(f->d_name);
        if (n > 3 && strcmp(f->d_name + n - 3, ".md") == 0) {
            check_links(docs(), f->d_name);
        }
    }
    closedir(d);
}

static void must_name(const char *page, const char *what, const char *name) {
    char word[200];
    snprintf(word, sizeof word, "`%s`", name);
    if (!strstr(page, word)) {
        fail_msg("docs/physics.md does not name the %s %s", what, word);
    }
}

static void physics_names_everything(void **state) {
    (void)state;
    char *page = text_of(docs(), "physics.md");
    for (size_t i = 0; i < chip_effect_count(); i++) {
        must_name(page, "effect", chip_effect_name(i));
    }
    for (size_t i = 0; cell_groups[i]; i++) {
        must_name(page, "group", cell_groups[i]->name);
    }
    for (size_t i = 0; adc_models[i]; i++) {
        must_name(page, "ADC circuit", adc_models[i]->name);
    }
    for (size_t i = 0; dac_models[i]; i++) {
        must_name(page, "DAC circuit", dac_models[i]->name);
    }
    mem_free(page);
}

/* An equation (an indented line), a picture, a reference, and what is left out. */
static void check_section(const char *section, size_t n) {
    static const char *const parts[] = {"\n\n    ", "\n![", "Reference: ", "Not modelled: "};
    char text[8192];
    assert_true(n < sizeof text);
    memcpy(text, section, n);
    text[n] = 0;
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        for (char *p = text; k == 2 && (p = strchr(p, '\n')); p++) { /* a line may end between two words */
            *p = ' ';
        }
        if (!strstr(text, parts[k])) {
            fail_msg("docs/physics.md: section \"%.40s\" lacks \"%s\"", text + 4, parts[k]);
        }
    }
}

static void sections_are_complete(void **state) {
    (void)state;
    static const char head[] = "\n## ";
    char *page = text_of(docs(), "physics.md");
    size_t bytes = strlen(page), first = 0, count = 0;
    for (size_t at = 1; at <= bytes; at++) {
        if (at == bytes || strncmp(page + at, head, strlen(head)) == 0) {
            if (first) {
                check_section(page + first, at - first);
                count++;
            }
            first = at;
        }
    }
    mem_free(page);
    assert_true(count >= 20);
}

/* ---- charts ----------------------------------------------------------------------------------------------- */

static enum status draw(const struct svg_chart *c, char **text, struct error *e) {
    char path[1200];
    snprintf(path, sizeof path, "%s/chart.svg", scratch_directory());
    FILE *f = fopen(path, "w");
    enum status s = svg_write(c, 1, f, e);
    fclose(f);
    if (s == OK) {
        size_t bytes;
        assert_int_equal(read_file(path, 1 << 20, text, &bytes, e), OK);
    }
    return s;
}

/* The corners of the data lie on the corners of the plot area: left 78, right 696, top 56, bottom 386 pixels. */
static void charts_put_values_where_they_belong(void **state) {
    (void)state;
    static const double x[] = {1, 10, 100}, y[] = {0, 5, 10}, gap[] = {0, NAN, 10};
    struct svg_chart c = {.title = "a < b & \"c\"", .x = {"time (s)", true, 1, 100}, .y = {"g (uS)", false, 0, 10}};
    struct error e;
    char *text;
    svg_add(&c, (struct svg_series){.kind = SVG_LINE, .label = "line", .x = x, .y = y, .n = 3});
    assert_int_equal(draw(&c, &text, &e), OK);
    assert_non_null(strstr(text, "M78.0 386.0L387.0 221.0L696.0 56.0"));
    assert_non_null(strstr(text, "a &lt; b &amp; &quot;c&quot;"));
    assert_null(strstr(text, "a < b"));
    mem_free(text);
    c.series[0].y = gap; /* what is not a number is a gap, not a point */
    assert_int_equal(draw(&c, &text, &e), OK);
    assert_non_null(strstr(text, "M78.0 386.0M696.0 56.0"));
    mem_free(text);
}

/* Names stand where y would have numbers, row 0 at the top; the plot area is as high as 22 pixels per row, from 38;
 * errors lie along x; a text beside a point stays inside the frame (right edge 696). */
static void rows_have_names_and_errors_along_x(void **state) {
    (void)state;
    static const double x[] = {0, 10}, row[] = {0, 1}, sd[] = {2, 0};
    static const char *const names[] = {"first <row>", "a name that is much longer than the room that names have"};
    static const char *const texts[] = {"left", "right"};
    struct svg_chart c = {.title = "t", .x = {"nats", false, 0, 10}, .rows = names, .row_count = 2};
    struct error e;
    char *text;
    svg_add(&c, (struct svg_series){.kind = SVG_POINTS, .x = x, .y = row, .error = sd, .texts = texts, .n = 2});
    assert_int_equal(draw(&c, &text, &e), OK);
    assert_non_null(strstr(text, "height=\"136\""));                           /* 38 + 2 x 22 + 54 */
    assert_non_null(strstr(text, "y=\"53.0\" text-anchor=\"end\">first &lt;row&gt;")); /* the middle of row 0, and 4 */
    assert_non_null(strstr(text, "y=\"75.0\" text-anchor=\"end\">a name that is much longer than the room..."));
    assert_non_null(strstr(text, "M256.8 49.0H403.2"));                         /* 0 +- 2 of 0 to 10 on 330 to 696 */
    assert_non_null(strstr(text, "text-anchor=\"start\" font-size=\"11\">left"));
    assert_non_null(strstr(text, "text-anchor=\"end\" font-size=\"11\">right"));
    mem_free(text);
    c.row_count = 0;
    assert_int_equal(draw(&c, &text, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "no rows"));
}

static void charts_that_cannot_be_drawn_are_refused(void **state) {
    (void)state;
    static const double x[] = {1, 2}, negative[] = {-1, -2}, none[] = {NAN, NAN};
    struct error e;
    char *text;
    struct svg_chart c = {.title = "t", .x = {"x", false, 0, 0}, .y = {"y", true, 0, 0}};
    assert_int_equal(draw(&c, &text, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "0 series"));
    svg_add(&c, (struct svg_series){.kind = SVG_LINE, .x = x, .y = negative, .n = 2});
    assert_int_equal(draw(&c, &text, &e), ERR_RUN); /* no logarithm */
    assert_non_null(strstr(e.message, "no value that can be drawn"));
    c.y.logarithmic = false;
    c.series[0].y = none;
    assert_int_equal(draw(&c, &text, &e), ERR_RUN);
    c.series[0] = (struct svg_series){.kind = SVG_MAP, .y = x, .n = 2, .rows = 2, .columns = 2};
    assert_int_equal(draw(&c, &text, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "series 0"));
    c.series[0] = (struct svg_series){.kind = SVG_LINE, .x = x, .y = x, .n = 2, .colour = SVG_COLOURS};
    assert_int_equal(draw(&c, &text, &e), ERR_RUN);
    c.series[0].colour = 0;
    for (int i = 0; i < SVG_SERIES_MOST; i++) {
        svg_add(&c, c.series[0]);
    }
    assert_int_equal(draw(&c, &text, &e), ERR_RUN);
    assert_non_null(strstr(e.message, "17 series"));
}

static void pictures_are_compared_by_their_numbers(void **state) {
    (void)state;
    assert_true(svg_same("M1.0 2.0L3", "M1.1 1.9L3", 0.11));
    assert_false(svg_same("M1.0 2.0L3", "M1.2 2.0L3", 0.11));
    assert_false(svg_same("M1.0 2.0L3", "M1.0 2.0L3L4", 0.11));
    assert_false(svg_same("M1.0", "L1.0", 0.11));
    assert_true(svg_same("-5", "-5.05", 0.11));
    assert_false(svg_same("5", "x", 10));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keys_are_current),
    cmocka_unit_test(published_numbers_are_current),
    cmocka_unit_test(assumptions_are_current),
    cmocka_unit_test(pictures_are_current),
    cmocka_unit_test(links_lead_somewhere),
    cmocka_unit_test(physics_names_everything),
    cmocka_unit_test(sections_are_complete),
    cmocka_unit_test(charts_put_values_where_they_belong),
    cmocka_unit_test(rows_have_names_and_errors_along_x),
    cmocka_unit_test(charts_that_cannot_be_drawn_are_refused),
    cmocka_unit_test(pictures_are_compared_by_their_numbers),
};
const struct test_suite suite_docs = {"docs", tests, sizeof tests / sizeof tests[0]};
