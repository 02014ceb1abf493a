/* A measured converter: its thresholds, or its integral non-linearity, from a CSV file.
 *
 * Columns `code,threshold_V`: the smallest voltage that gives the code; or `code,inl_lsb`: distance of that threshold
 * from the ideal one, in LSB. One row for every code but the lowest, in rising order: 2^N - 1 rows, numbered from 1 or
 * from -2^(N-1) + 1. Volts become full scales through full_scale_V (the voltage of v = 1, the same below zero). A code
 * that the circuit never gives has the threshold of the next one. All converters are alike.
 *   t_k = threshold / full_scale_V,   or   (k + inl) 2^(1-N),   k = -2^(N-1) + 1 .. 2^(N-1) - 1
 * The path is taken as it stands, or else inside the program's data folder.
 */
#include "base/csv.h"
#include "base/io.h"
#include "devices/adc_models.h"

struct table {
    const char *file;
    double full_scale_V;
    struct constant noise_LSB;
    float *taps; /* [2^N - 1], arena */
};

static const struct param rows[] = {
    {"file", PARAM_TEXT, "", 0, 0, NULL, "CSV with the columns code,threshold_V or code,inl_lsb",
     offsetof(struct table, file), NULL},
    {"full_scale_V", PARAM_NUMBER, "V", 1e-9, 1000, "1", "voltage of full scale, for threshold_V",
     offsetof(struct table, full_scale_V), NULL},
    NOISE_ROW(table),
};

/* Row r must be code first + r, first = 1 or -2^(N-1) + 1. */
static enum status check_code(const struct csv *csv, size_t r, size_t column, int bits, double *first,
                              struct error *e) {
    double code = 0;
    TRY(csv_number(csv, r, column, &code, e));
    const double lowest = 1 - ldexp(1, bits - 1);
    if (r == 0) {
        *first = code;
    }
    if (*first > 1 || *first < 1) {
        if (*first > lowest || *first < lowest) {
            return csv_error(csv, r, column, e, "first code %g (allowed: 1 or %g)", code, lowest);
        }
    }
    const double wanted = *first + (double)r;
    return code > wanted || code < wanted
               ? csv_error(csv, r, column, e, "code %g where %g is next (allowed: every code once, rising)", code,
                           wanted)
               : OK;
}

static enum status read_taps(struct table *p, int bits, const struct csv *csv, struct arena *a, struct error *e) {
    const size_t count = ((size_t)1 << bits) - 1;
    size_t code = 0, column = 0;
    const bool volts = csv_find(csv, "threshold_V", &column);
    TRY(csv_require(csv, "code", &code, e));
    if (!volts) {
        TRY(csv_require(csv, "inl_lsb", &column, e));
    }
    if (csv_rows(csv) != count) {
        return error_set(e, ERR_USAGE, "%s: %zu rows (allowed: %zu, one per code of %d bits but the lowest)", p->file,
                         csv_rows(csv), count, bits);
    }
    p->taps = arena_alloc(a, count, sizeof *p->taps);
    if (!p->taps) {
        return error_set(e, ERR_RUN, "%s: out of memory", p->file);
    }
    double first = 0;
    for (size_t r = 0; r < count; r++) {
        double x = 0;
        TRY(check_code(csv, r, code, bits, &first, e));
        TRY(csv_number(csv, r, column, &x, e));
        const double k = (double)r + 1 - ldexp(1, bits - 1);
        const double tap = volts ? x / p->full_scale_V : (k + x) * ldexp(1, 1 - bits);
        if (!(fabs(tap) <= 1000)) {
            return csv_error(csv, r, column, e, "threshold of %g full scales (allowed: -1000 to 1000)", tap);
        }
        p->taps[r] = (float)tap;
        if (r && p->taps[r] < p->taps[r - 1]) {
            return csv_error(csv, r, column, e, "%g: threshold below the one before (allowed: rising or equal)", x);
        }
    }
    return OK;
}

static enum status prepare(void *params, int bits, struct arena *a, struct error *e) {
    struct table *p = params;
    struct csv *csv = NULL;
    const char *path = p->file, *data = data_directory();
    if (!file_exists(path) && data && path[0] != '/') {
        path = arena_printf(a, "%s/%s", data, path);
        if (!path) {
            return error_set(e, ERR_RUN, "%s: out of memory", p->file);
        }
    }
    enum status status = csv_read(path, CSV_HEADER, &csv, e);
    if (status == OK) {
        status = read_taps(p, bits, csv, a, e);
        csv_destroy(csv);
    }
    return status == OK ? OK : error_prefix(e, "file");
}

static double noise_sd(const void *params, int bits) {
    return ldexp(((const struct table *)params)->noise_LSB.value, 1 - bits);
}

static void convert(const void *params, int bits, const float *state, size_t stride, const float *v, const float *z,
                    int32_t *codes, size_t n) {
    (void)state;
    (void)stride;
    const struct table *p = params;
    const double sd = noise_sd(params, bits);
    for (size_t i = 0; i < n; i++) {
        codes[i] = taps_below(p->taps, bits, noisy_input(v, z, sd, i)) - ((int32_t)1 << (bits - 1));
    }
}

const struct adc_model adc_table = {
    .name = "table",
    .about = "measured thresholds or non-linearity from a CSV file",
    .source = "the file",
    .params = PARAM_TABLE("ADC circuit table", rows),
    .params_bytes = sizeof(struct table),
    .prepare = prepare,
    .convert = convert,
    .lowest = mid_rise_lowest,
    .highest = mid_rise_highest,
    .value = mid_rise_value,
    .noise_sd = noise_sd,
};
