/* See quantity.h. */
#include "base/quantity.h"

#include <math.h>
#include <stdio.h>

const char *quantity(double value, const char *unit, char out[QUANTITY_BYTES]) {
    static const struct {
        double factor;
        const char *prefix;
    } prefixes[] = {
        {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "u"}, {1e-9, "n"}, {1e-12, "p"}, {1e-15, "f"},
    };
    size_t i = 0, last = sizeof prefixes / sizeof prefixes[0] - 1;
    if (!isfinite(value)) {
        snprintf(out, QUANTITY_BYTES, "-");
        return out;
    }
    while (i < last && fabs(value) < 0.9995 * prefixes[i].factor) {
        i++;
    }
    double shown = value == 0 ? 0 : value / prefixes[i].factor;
    int digits = value == 0 ? 0 : shown < 9.995 ? 2 : shown < 99.95 ? 1 : 0;
    snprintf(out, QUANTITY_BYTES, "%.*f %s%s", digits, shown, value == 0 ? "" : prefixes[i].prefix, unit);
    return out;
}
