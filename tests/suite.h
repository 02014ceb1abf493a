/* The test runner: suites of cmocka tests, one table. A test file tests/test_NAME.c ends with
 *   const struct test_suite suite_NAME = {"NAME", tests, sizeof tests / sizeof tests[0]};
 * Data of others lies in the shared folder (optional): ask shared_path(), which skips the test with the reason when
 * absent.
 */
#ifndef MHO_TESTS_SUITE_H
#define MHO_TESTS_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct test_suite {
    const char *name;
    const struct CMUnitTest *tests;
    size_t count;
};
extern const struct test_suite *const all_suites[]; /* generated; ends with NULL */

/* SHARED/relative as a path in a static buffer (4 of them, in turn). Skips the running test when it does not exist. */
const char *shared_path(const char *relative);
/* tests/golden/relative if it is in the tree, else SHARED/golden/relative, else skip. */
const char *golden_path(const char *relative);
/* The program under test. */
const char *mho_path(void);
/* Ends the running test as skipped, with the reason printed. */
void skip_because(const char *reason);
/* A fresh empty folder for this test, removed at the end of the run; static buffer. */
const char *scratch_directory(void);

/* Runs `mho args...` (NULL-terminated), no standard input, at most timeout_s. Output in mem_alloc'd, terminated strings
 * (may be NULL to discard). Returns the exit status; 128+signal if killed; -1 on timeout. */
int run_mho(const char *const *args, double timeout_s, char **out, char **err);
/* The same for another program, found through PATH. */
int run_program(const char *program, const char *const *args, double timeout_s, char **out, char **err);

/* Runs `mho args...` as above within two minutes; the JSON document that it prints (json_decref). Fails the test if the
 * status is not 0 or the output is no JSON. */
struct json_t *mho_json(const char *const *args);

#define assert_near(actual, expected, tolerance)                                                                     \
    do {                                                                                                             \
        double a_ = (double)(actual), e_ = (double)(expected), t_ = (double)(tolerance);                            \
        if (!(a_ - e_ <= t_ && e_ - a_ <= t_)) {                                                                     \
            fail_msg("%s = %.9g, expected %.9g within %.3g", #actual, a_, e_, t_);                                   \
        }                                                                                                            \
    } while (0)

#endif
