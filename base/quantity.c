/* See quantity.h. */
#include "base/quantity.h"

#include <math.h>
#include <stdio.h>

struct scale quantity_scale(double value, const char *unit) {
    static const struct {
        double factor;
        const char *prefix;
    } prefixes[] = {
        {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "u"}, {1e-9, "n"}, {1e-12, "p"}, {1e-15, "f"},
    };
    size_t i = 0, last = sizeof prefixes / sizeof prefixes[0] - 1, plain = 2;
    while (i < last && fabs(value) < 0.9995 * prefixes[i].factor) {
        i++;
    }
    i = value == 0 || !isfinite(value) ? plain : i;
    struct scale s = {.factor = prefixes[i].factor};
    snprintf(s.unit, sizeof s.unit, "%s%s", prefixes[i].prefix, unit);
    return s;
}

struct scale area_scale(double mm2) {
    return mm2 >= 999500 ? (struct scale){1e6, "m2"}
           : mm2 >= 999.5 ? (struct scale){100, "cm2"}
           : mm2 >= 0.00995 || !(mm2 > 0) ? (struct scale){1, "mm2"}
                                          : (struct scale){1e-6, "um2"};
}

static const char *scaled(double value, struct scale s, char out[QUANTITY_BYTES]) {
    double shown = value / s.factor;
    int digits = value == 0 ? 0 : shown < 9.995 ? 2 : shown < 99.95 ? 1 : 0;
    if (isfinite(value)) {
        snprintf(out, QUANTITY_BYTES, "%.*f %s", digits, value == 0 ? 0 : shown, s.unit);
    } else {
        snprintf(out, QUANTITY_BYTES, "-");
    }
    return out;
}

const char *quantity(double value, const char *unit, char out[QUANTITY_BYTES]) {
    return scaled(value, quantity_scale(value, unit), out);
}

const char *quantity_area(double mm2, char out[QUANTITY_BYTES]) { return scaled(mm2, area_scale(mm2), out); }

const char *three_digits(double value, char out[QUANTITY_BYTES]) {
    double size = fabs(value);
    if (value == 0 || !isfinite(value)) {
        snprintf(out, QUANTITY_BYTES, "%s", value == 0 ? "0" : "-");
    } else if (size >= 1e6 || size < 1e-4) {
        snprintf(out, QUANTITY_BYTES, "%.2e", value);
    } else if (size >= 99.95) {
        snprintf(out, QUANTITY_BYTES, "%.0f", value);
    } else {
        snprintf(out, QUANTITY_BYTES, "%#.3g", value);
    }
    return out;
}
