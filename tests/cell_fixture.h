/* What the tests of cells share: a cell of a part, many devices of one target, their moments. */
#ifndef MHO_TESTS_CELL_FIXTURE_H
#define MHO_TESTS_CELL_FIXTURE_H

#include <math.h>
#include <stdio.h>

#include "base/config.h"
#include "base/io.h"
#include "devices/device.h"
#include "tests/suite.h"

/* A cell of configs/parts/NAME.yaml with overrides "key=value" (NULL-terminated; NULL: none). */
static inline const struct cell *part_with(struct arena *a, const char *name, const char *const *overrides) {
    struct error e = {0};
    struct config_node *map = NULL;
    const struct cell *c = NULL;
    char path[1024];
    snprintf(path, sizeof path, "%s/configs/parts/%s.yaml", data_directory(), name);
    enum status s = config_load(a, path, &map, &e);
    for (int i = 0; s == OK && overrides && overrides[i]; i++) {
        s = config_set(a, map, overrides[i], i + 1, &e);
    }
    if (s != OK || cell_create(map, "cell.", a, &c, &e) != OK) {
        fail_msg("%s: %s", name, e.message);
    }
    return c;
}

static inline const struct cell *part(struct arena *a, const char *name) { return part_with(a, name, NULL); }

struct moments {
    double mean, sd, se_mean, se_sd;
};

static inline struct moments moments_of(const float *x, size_t n) {
    double sum = 0, m2 = 0, m4 = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    double mean = sum / n;
    for (size_t i = 0; i < n; i++) {
        double d = x[i] - mean;
        m2 += d * d;
        m4 += d * d * d * d;
    }
    m2 /= n;
    m4 /= n;
    double sd = sqrt(m2);
    return (struct moments){mean, sd, sd / sqrt(n), sd > 0 ? sqrt(fmax(m4 - m2 * m2, 0) / (4 * m2 * n)) : 0};
}

/* n devices of one target as read at age_s, in microsiemens, in read_uS. */
static inline void read_devices_uS(const struct cell *c, struct cell_conditions effects, uint64_t seed,
                                   double target_uS, double age_s, float *read_uS, size_t n) {
    enum { RUN = 1 << 12 };
    float target_S[RUN];
    for (size_t i = 0; i < RUN; i++) {
        target_S[i] = (float)(target_uS * 1e-6);
    }
    for (size_t done = 0; done < n; done += RUN) {
        cell_realise(c, &effects, &(struct cell_draws){seed, 1, done}, target_S, age_s, read_uS + done,
                     n - done < RUN ? n - done : RUN);
    }
    for (size_t i = 0; i < n; i++) {
        read_uS[i] *= 1e6f;
    }
}

#endif
