/* Arrays that the tests of wires share: the goldens' (random numbers: peers.md beside them) and every variant of ends.
 */
#ifndef MHO_TESTS_WIRES_ARRAYS_H
#define MHO_TESTS_WIRES_ARRAYS_H

#include <math.h>

#include "base/memory.h"
#include "devices/wires.h"
#include "tests/suite.h"

static uint64_t lcg_state;
static inline double lcg(void) {
    lcg_state = lcg_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(lcg_state >> 11) * 0x1p-53;
}

/* The goldens' conductances of a seed, [columns][rows]; mem_free. */
static inline double *golden_cells(size_t rows, size_t columns, uint64_t seed, double zeros) {
    double *g = mem_alloc(rows * columns, sizeof *g);
    lcg_state = seed;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            double s = 1e-7 + (25e-6 - 1e-7) * lcg();
            g[j * rows + i] = zeros > 0 && lcg() < zeros ? 0 : s;
        }
    }
    return g;
}

/* Their four inputs, [4][rows]; mem_free. */
static inline double *golden_inputs(size_t rows, uint64_t seed) {
    double *v = mem_alloc(4 * rows, sizeof *v);
    lcg_state = seed;
    for (size_t i = 0; i < rows; i++) {
        v[i] = 0.2;
        v[rows + i] = 0.2 * lcg();
    }
    v[2 * rows + rows / 2] = 0.2;
    for (size_t i = 0; i < rows; i++) {
        v[3 * rows + i] = 0.2 * (2 * lcg() - 1);
    }
    return v;
}

static inline struct wires plain(double row_ohm, double column_ohm) {
    return (struct wires){.row_ohm = row_ohm, .column_ohm = column_ohm, .segment = 1};
}

static inline void must(enum status s, const struct error *e) {
    if (s != OK) {
        fail_msg("%s", e->message);
    }
}

static inline struct network *network(const struct wires *w, size_t rows, size_t columns, const double *g) {
    struct network *n = NULL;
    struct error e;
    must(network_create(w, rows, columns, g, &n, &e), &e);
    return n;
}

/* Largest difference over the largest magnitude of b. */
static inline double relative(const double *a, const double *b, size_t n) {
    double difference = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        difference = fmax(difference, isfinite(a[i] - b[i]) ? fabs(a[i] - b[i]) : INFINITY);
        largest = fmax(largest, fabs(b[i]));
    }
    return largest > 0 ? difference / largest : difference;
}

/* Every end, with and without resistance of each kind, grouped or not. */
enum { VARIANTS = 3 * 4 * 16 * 2 };
static inline struct wires variant(int k) {
    int ohms = k / 12 % 16;
    return (struct wires){.input_end = k % 3,
                          .output_end = k / 3 % 4,
                          .row_ohm = ohms & 1 ? 3 : 0,
                          .column_ohm = ohms & 2 ? 2 : 0,
                          .input_ohm = ohms & 4 ? 40 : 0,
                          .output_ohm = ohms & 8 ? 25 : 0,
                          .segment = k / 192 ? 3 : 1};
}
enum { SMALL_ROWS = 8, SMALL_COLUMNS = 7 }; /* 3 divides neither */

#endif
