/* Shared by the tests of sim/: a chip that must load. */
#ifndef MHO_TESTS_CHIPS_H
#define MHO_TESTS_CHIPS_H

#include "sim/sim.h"
#include "tests/suite.h"

/* Owned by the caller (chip_destroy); a chip that does not load fails the test. */
static inline struct chip *load(const char *name, const char *const *sets, size_t count) {
    struct chip *c = NULL;
    struct error e = {OK, ""};
    if (chip_load(name, sets, count, &c, &e) != OK) {
        fail_msg("%s: %s", name, e.message);
    }
    return c;
}

#endif
