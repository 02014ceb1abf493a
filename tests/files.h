/* Shared by tests that write files; what cannot be written fails the test. */
#ifndef MHO_TESTS_FILES_H
#define MHO_TESTS_FILES_H

#include <stdio.h>
#include <string.h>

#include "tests/suite.h"

static inline void write_bytes(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static inline void write_text(const char *path, const char *text) { write_bytes(path, text, strlen(text)); }

#endif
