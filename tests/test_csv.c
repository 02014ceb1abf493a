/* CSV files as people and programs write them, and everything that may be wrong with one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/memory.h"
#include "tests/mutate.h"
#include "tests/suite.h"

static struct error err;

static const char *file_of(const void *bytes, size_t count) {
    static char path[1200];
    if (!path[0]) {
        snprintf(path, sizeof path, "%s/table.csv", scratch_directory());
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
    return path;
}

static struct csv *read_text(const char *text, enum csv_header header) {
    struct csv *c = NULL;
    if (csv_read(file_of(text, strlen(text)), header, &c, &err) != OK) {
        fail_msg("%s", err.message);
    }
    return c;
}

/* All cells, one after the other; v: as many as there are, or NULL. */
static enum status all_numbers(const struct csv *c, double *v) {
    for (size_t i = 0; i < csv_rows(c) * csv_columns(c); i++) {
        double value;
        TRY(csv_number(c, i / csv_columns(c), i % csv_columns(c), &value, &err));
        if (v) {
            v[i] = value;
        }
    }
    return OK;
}

/* `text` is refused (on reading, or when all cells are taken as numbers) with a message that holds `part`. */
static void refused_bytes(const void *text, size_t bytes, enum csv_header header, const char *part) {
    struct csv *c = NULL;
    enum status s = csv_read(file_of(text, bytes), header, &c, &err);
    if (s == OK) {
        s = all_numbers(c, NULL);
    } else {
        assert_null(c);
    }
    csv_destroy(c);
    assert_int_equal(s, ERR_RUN);
    if (!strstr(err.message, part)) {
        fail_msg("message: %s\nexpected in it: %s", err.message, part);
    }
}

static void refused(const char *text, enum csv_header header, const char *part) {
    refused_bytes(text, strlen(text), header, part);
}

static void check_numbers(const char *text, size_t rows, size_t columns, const double *expected) {
    struct csv *c = read_text(text, CSV_NO_HEADER);
    double v[64];
    assert_int_equal(csv_rows(c), rows);
    assert_int_equal(csv_columns(c), columns);
    assert_true(rows * columns <= 64);
    assert_int_equal(all_numbers(c, v), OK);
    for (size_t i = 0; i < rows * columns; i++) {
        assert_true(v[i] == expected[i]);
    }
    csv_destroy(c);
}

static void numbers(void **state) {
    (void)state;
    const double expected[] = {1, -2.5, 3e-6, 4, 5, 6};
    check_numbers("1,-2.5,3e-6\n4,5,6\n", 2, 3, expected);
    check_numbers("1,-2.5,3e-6\r\n4,5,6\r\n", 2, 3, expected);
    check_numbers("1,-2.5,3e-6\n4,5,6", 2, 3, expected);
    check_numbers("\xEF\xBB\xBF 1 ,\t-2.5, 3e-6\n4 ,5, 6\n\n \n", 2, 3, expected);
    check_numbers("# measured on Monday, by us\n\"1\",\"-2.5\" ,3e-6\n#\n\"4\",5, \"6\"\n", 2, 3, expected);
    check_numbers("7\n", 1, 1, (const double[]){7});
    check_numbers("7", 1, 1, (const double[]){7});
}

static void words(void **state) {
    (void)state;
    struct csv *c = read_text("tile, row,\"the \"\"state\"\"\"\n3,,\"a, b\"\n4,1,\n", CSV_HEADER);
    size_t at = 9;
    double x = 0;
    assert_int_equal(csv_rows(c), 2);
    assert_true(csv_find(c, "row", &at));
    assert_int_equal(at, 1);
    assert_true(csv_find(c, "the \"state\"", &at));
    assert_int_equal(at, 2);
    assert_false(csv_find(c, "column", &at));
    assert_string_equal(csv_text(c, 0, 2), "a, b");
    assert_string_equal(csv_text(c, 0, 1), "");
    assert_string_equal(csv_text(c, 1, 2), "");
    assert_int_equal(csv_number(c, 1, 0, &x, &err), OK);
    assert_true(x == 4);
    assert_int_equal(csv_number(c, 0, 1, &x, &err), ERR_RUN);
    assert_non_null(strstr(err.message, "table.csv:2:2: the cell is empty"));
    assert_int_equal(csv_require(c, "column", &at, &err), ERR_RUN);
    assert_non_null(strstr(err.message, "no column column (allowed: a header with it; this one has tile, row, the "));
    assert_int_equal(csv_error(c, 1, 0, &err, "%d is too many", 4), ERR_RUN);
    assert_non_null(strstr(err.message, "table.csv:3:1: 4 is too many"));
    csv_destroy(c);
}

static void refusals(void **state) {
    (void)state;
    refused("1,2\n3,\n", CSV_NO_HEADER, "table.csv:2:2: the cell is empty");
    refused("1,2\n3\n", CSV_NO_HEADER, "table.csv:2: 1 cells (allowed: 2, as in line 1)");
    refused("# two\n1,2\n3,4,5\n", CSV_NO_HEADER, "table.csv:3: 3 cells (allowed: 2, as in line 2)");
    refused("1,nan\n", CSV_NO_HEADER, "table.csv:1:2: nan: not a number");
    refused("1,2\n-inf,2\n", CSV_NO_HEADER, "table.csv:2:1: -inf: not a number");
    refused("1,1e999\n", CSV_NO_HEADER, ":1:2: 1e999: not a number");
    refused("1,0x10\n", CSV_NO_HEADER, ":1:2: 0x10");
    refused("1;2\n", CSV_NO_HEADER,
            ":1:1: 1;2: not a number (allowed: finite numbers, 0.5 or 1e-6, commas between them)");
    refused("1,2\n\n3,4\n", CSV_NO_HEADER, "table.csv:2: empty line (allowed: at the end only)");
    refused("1,\"2\n3\",4\n", CSV_NO_HEADER, "table.csv:1:2: a cell in quotes does not end there");
    refused("1,\"2\"3\n", CSV_NO_HEADER, "table.csv:1:2: a cell in quotes does not end there");
    refused("1,\"\"\"\n", CSV_NO_HEADER, "table.csv:1:2: a cell in quotes does not end there");
    refused("1,\"", CSV_NO_HEADER, "table.csv:1:2: a cell in quotes does not end there");
    refused("", CSV_NO_HEADER, "no rows of data");
    refused("\n\n", CSV_NO_HEADER, "no rows of data");
    refused("# nothing\n", CSV_NO_HEADER, "no rows of data");
    refused("g,time\n", CSV_HEADER, "no rows of data after the header");
    refused("g,g\n1,2\n", CSV_HEADER,
            "table.csv:1:2: header: there are two columns of the name g (allowed: every name once)");
    refused("g,\n1,2\n", CSV_HEADER, "table.csv:1:2: header: a column has no name");
    refused_bytes("1,2\n3\0,4\n", 9, CSV_NO_HEADER, "byte 5: a NUL byte");
    struct csv *c = NULL;
    assert_int_equal(csv_read("/nowhere/table.csv", CSV_HEADER, &c, &err), ERR_RUN);
    assert_non_null(strstr(err.message, "/nowhere/table.csv: cannot open"));
    assert_int_equal(csv_read(scratch_directory(), CSV_HEADER, &c, &err), ERR_RUN);
    assert_non_null(strstr(err.message, "is a folder"));
}

/* A million lines: read whole, the last value right; and a fault in the last of them is found. */
static void million_lines(void **state) {
    (void)state;
    enum { LINES = 1000000, WIDTH = 8 };
    char *text = malloc((size_t)LINES * WIDTH + 1);
    for (int i = 0; i < LINES; i++) {
        char line[32];
        snprintf(line, sizeof line, "%05d,%d\n", i % 100000, i % 7);
        memcpy(text + (size_t)i * WIDTH, line, WIDTH + 1);
    }
    struct csv *c = NULL;
    double x = 0;
    assert_int_equal(csv_read(file_of(text, (size_t)LINES * WIDTH), CSV_NO_HEADER, &c, &err), OK);
    assert_int_equal(csv_rows(c), LINES);
    assert_int_equal(csv_number(c, LINES - 1, 0, &x, &err), OK);
    assert_true(x == 99999);
    csv_destroy(c);
    text[(size_t)LINES * WIDTH - 2] = '?';
    refused_bytes(text, (size_t)LINES * WIDTH, CSV_NO_HEADER, "table.csv:1000000:2: ?: not a number");
    free(text);
}

/* Any bytes: an answer, never a crash; all cells can be looked at. */
static void damaged(void **state) {
    (void)state;
    static const char good[] = "# c\nname,\"a \"\"b\"\"\",c\r\n1,\"2\",3\n4,,\"5, 6\"\n\n";
    struct mutation m;
    mutation_init(&m, good, sizeof good - 1, sizeof good - 1);
    size_t read = 0, refusals_seen = 0, letters = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct csv *c = NULL;
        mutation_next(&m, seed);
        if (csv_read(file_of(m.data, m.bytes), seed % 2 ? CSV_HEADER : CSV_NO_HEADER, &c, &err) == OK) {
            read++;
            for (size_t i = 0; i < csv_rows(c) * csv_columns(c); i++) {
                letters += strlen(csv_text(c, i / csv_columns(c), i % csv_columns(c)));
            }
        } else {
            refusals_seen++;
            assert_true(err.message[0] != 0);
        }
        csv_destroy(c);
    }
    mutation_free(&m);
    assert_true(read > 50 && refusals_seen > 50 && letters > 0);
}

static void no_memory(void **state) {
    (void)state;
    struct csv *c = NULL;
    const char *path = file_of("1,2\n3,4\n", 8);
    for (size_t n = 1; n <= 5; n++) { /* table, path, text, lines, cells */
        mem_fail_at(n);
        assert_int_equal(csv_read(path, CSV_NO_HEADER, &c, &err), ERR_RUN);
        assert_non_null(strstr(err.message, "out of memory"));
        assert_null(c);
    }
    mem_fail_at(6);
    assert_int_equal(csv_read(path, CSV_NO_HEADER, &c, &err), OK);
    mem_fail_at(0);
    csv_destroy(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers),       cmocka_unit_test(words),   cmocka_unit_test(refusals),
    cmocka_unit_test(million_lines), cmocka_unit_test(damaged), cmocka_unit_test(no_memory),
};

const struct test_suite suite_csv = {"csv", tests, sizeof tests / sizeof tests[0]};
