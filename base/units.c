/* Numbers and units in text (see params.h): decimal text <-> double, factors of units, durations.
 *
 * The grammar of a number is fixed here, [+-]digits[.digits][e[+-]digits], so that neither the locale nor
 * the extensions of strtod (hexadecimal, inf, nan) decide what a file means.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
#include <xlocale.h>
#else
#include <locale.h>
#endif

#include "base/params.h"

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

size_t number_length(const char *text) {
    size_t at = text[0] == '+' || text[0] == '-';
    size_t whole = digits(text + at), fraction = 0;
    at += whole;
    if (text[at] == '.') {
        fraction = digits(text + at + 1);
        at += 1 + fraction;
    }
    if (whole + fraction == 0) {
        return 0;
    }
    if (text[at] == 'e' || text[at] == 'E') {
        size_t sign = text[at + 1] == '+' || text[at + 1] == '-';
        size_t exponent = digits(text + at + 1 + sign);
        at += exponent ? 1 + sign + exponent : 0;
    }
    return at;
}

static locale_t plain_locale;
static pthread_once_t plain_locale_once = PTHREAD_ONCE_INIT;

static void make_plain_locale(void) { plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* A zero that was written as something else has fallen below the smallest double. */
static bool says_zero(const char *text, size_t length) {
    size_t mantissa = strcspn(text, "eE");
    mantissa = mantissa < length ? mantissa : length;
    return strcspn(text, "123456789") >= mantissa;
}

static bool convert(const char *text, size_t length, double *out) {
    pthread_once(&plain_locale_once, make_plain_locale);
    if (!plain_locale || length == 0) {
        return false;
    }
    double value = strtod_l(text, NULL, plain_locale);
    if (!isfinite(value) || (value == 0 && !says_zero(text, length))) {
        return false;
    }
    *out = value;
    return true;
}

bool parse_double(const char *text, double *out) {
    size_t length = number_length(text);
    return text[length] == 0 && convert(text, length, out);
}

bool parse_int64(const char *text, int64_t *out) {
    size_t sign = text[0] == '+' || text[0] == '-';
    size_t length = digits(text + sign);
    if (length == 0 || text[sign + length] != 0) {
        return false;
    }
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    *out = value;
    return errno == 0;
}

bool parse_uint64(const char *text, uint64_t *out) {
    size_t length = digits(text);
    if (length == 0 || text[length] != 0) {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    *out = value;
    return errno == 0;
}

/* printf's "%.*g" with a point whatever the locale and without padding of the exponent: 1e-05 -> 1e-5. */
static void format_digits(double value, int precision, char out[32]) {
    char raw[64];
    snprintf(raw, sizeof raw, "%.*g", precision, value);
    size_t used = 0;
    for (size_t i = 0; raw[i] && used < 31; i++) {
        bool exponent =
            used > 0 && (out[used - 1] == 'e' || (out[used - 1] == '-' && used > 1 && out[used - 2] == 'e'));
        if (raw[i] == '+' || (exponent && raw[i] == '0')) {
            continue;
        }
        bool ours = strchr("0123456789e-", raw[i]) != NULL;
        out[used++] = ours ? raw[i] : '.';
    }
    out[used] = 0;
}

/* Does the text, read and multiplied as params_read does it, give these bits? */
static bool reads_back(const char *text, double factor, double value) {
    double number;
    if (!parse_double(text, &number)) {
        return false;
    }
    double back = number * factor;
    return memcmp(&back, &value, sizeof back) == 0;
}

/* Why the rounded quotient is enough for a value that was read as x * factor: it is the double nearest to
 * value / factor, so its product lies no farther from `value` than that of x, which rounds to `value`. (Just
 * below a power of two, where doubles lie twice as dense, this could fail; then false.) */
bool format_scaled(double value, double factor, char out[32]) {
    double quotient = value / factor;
    if (!isfinite(quotient)) {
        return false;
    }
    if (fabs(quotient) < 1e7) { /* people write 100, not 1e2 */
        snprintf(out, 32, "%.0f", quotient);
        if (reads_back(out, factor, value)) {
            return true;
        }
    }
    for (int precision = 1; precision <= 17; precision++) {
        format_digits(quotient, precision, out);
        if (reads_back(out, factor, value)) {
            return true;
        }
    }
    return false;
}

void format_double(double value, char out[32]) {
    if (!format_scaled(value, 1, out)) {
        memcpy(out, "null", 5);
    }
}

/* ---- units ------------------------------------------------------------------------------------------ */

static const struct { const char *name; double factor; } units[] = {
    {"S", 1}, {"mS", 1e-3}, {"uS", 1e-6}, {"nS", 1e-9},
    {"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"ps", 1e-12},
    {"V", 1}, {"mV", 1e-3},
    {"A", 1}, {"mA", 1e-3}, {"uA", 1e-6}, {"nA", 1e-9},
    {"J", 1}, {"mJ", 1e-3}, {"uJ", 1e-6}, {"nJ", 1e-9}, {"pJ", 1e-12}, {"fJ", 1e-15}, {"aJ", 1e-18},
    {"W", 1}, {"mW", 1e-3}, {"uW", 1e-6}, {"nW", 1e-9},
    {"ohm", 1}, {"kohm", 1e3},
    {"F", 1}, {"pF", 1e-12}, {"fF", 1e-15}, {"aF", 1e-18},
    {"Hz", 1}, {"kHz", 1e3}, {"MHz", 1e6}, {"GHz", 1e9},
    {"m", 1}, {"mm", 1e-3}, {"um", 1e-6}, {"nm", 1e-9},
    {"mm2", 1e-6}, {"um2", 1e-12}, {"nm2", 1e-18},
    {"bits", 1}, {"bytes", 1},
    {"Bps", 1}, {"MBps", 1e6}, {"GBps", 1e9}, /* bytes per second */
    {"J_per_bit", 1}, {"pJ_per_bit", 1e-12}, {"fJ_per_bit", 1e-15}, {"um2_per_bit", 1e-12},
    {"K", 1}, {"per_K", 1}, {"eV", 1.602176634e-19},
    {"LSB", 1}, {"dB", 1}, /* of a converter */
};

bool unit_factor(const char *unit, double *factor) {
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(units[i].name, unit) == 0) {
            *factor = units[i].factor;
            return true;
        }
    }
    return false;
}

/* ---- durations -------------------------------------------------------------------------------------- */

static const struct { const char *name; double seconds; } spans[] = {
    {"", 1}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}, {"month", 30 * 86400.0}, {"y", 365 * 86400.0},
};

enum status parse_duration_s(const char *text, double *seconds, struct error *e) {
    size_t length = number_length(text);
    double number;
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        if (strcmp(text + length, spans[i].name) != 0 || !convert(text, length, &number)) {
            continue;
        }
        if (number < 0) {
            return error_set(e, ERR_USAGE, "%s: a time cannot be negative (allowed: 0 or more)", text);
        }
        if (!isfinite(number * spans[i].seconds)) {
            return error_set(e, ERR_USAGE, "%s: the time is too long for a number (allowed: up to 1.8e308 s)", text);
        }
        *seconds = number * spans[i].seconds + 0.0; /* -0 becomes 0 */
        return OK;
    }
    return error_set(
        e, ERR_USAGE,
        "%s: not a time (allowed: a number with s, min, h, d, month = 30 d or y = 365 d, such as 20s, 1h, 0)", text);
}
