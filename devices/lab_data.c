/* Lab data, read and checked (see lab.h). What is wrong with a row is said with its place in the file; what is wrong
 * with all of them together is the business of lab_fit.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "devices/lab.h"

static const char columns_allowed[] =
    "target_uS,time_s,g_uS[,device] or target_uS,mean_uS,sd_uS,time_s[,samples], in any order";

struct columns {
    size_t target, time, g, sd, samples, device;
};

/* Which form the header announces. */
static enum status find_columns(struct lab_data *d, struct columns *c, struct error *e) {
    const struct csv *t = d->csv;
    d->raw = csv_find(t, "g_uS", &c->g);
    d->has_devices = csv_find(t, "device", &c->device);
    bool mean = !d->raw && csv_find(t, "mean_uS", &c->g), sd = csv_find(t, "sd_uS", &c->sd);
    bool samples = csv_find(t, "samples", &c->samples);
    d->has_counts = d->raw || samples;
    bool common = csv_find(t, "target_uS", &c->target) && csv_find(t, "time_s", &c->time);
    size_t raw_columns = 3u + d->has_devices, summary_columns = 4u + samples;
    if (common && d->raw && csv_columns(t) == raw_columns) {
        return OK;
    }
    if (common && mean && sd && !d->has_devices && csv_columns(t) == summary_columns) {
        return OK;
    }
    return error_set(e, ERR_USAGE, "%s:%zu: header: columns missing, unknown or of two forms (allowed: %s)", d->path,
                     csv_header_line(t), columns_allowed);
}

/* A number in microsiemens or seconds, at least `least` (or above it). */
static enum status take(const struct lab_data *d, size_t row, size_t column, const char *what, double least, bool above,
                        double *out, struct error *e) {
    TRY(csv_number(d->csv, row, column, out, e));
    if (*out < least || (above && !(*out > least)) || *out > 1e30) {
        return csv_error(d->csv, row, column, e, "%s %g: out of range (allowed: %s %g)", what, *out,
                         above ? "above" : "at least", least);
    }
    return OK;
}

static enum status take_whole(const struct lab_data *d, size_t row, size_t column, const char *what, double least,
                              double *out, struct error *e) {
    TRY(take(d, row, column, what, least, false, out, e));
    if (*out != floor(*out) || *out > 1e15) {
        return csv_error(d->csv, row, column, e, "%s %g: not a whole number (allowed: %g to 1e15)", what, *out, least);
    }
    return OK;
}

static enum status take_row(const struct lab_data *d, const struct columns *c, size_t row, struct lab_row *out,
                            struct error *e) {
    double device = -1;
    *out = (struct lab_row){.row = row};
    TRY(take(d, row, c->target, "target", 0, false, &out->target_S, e));
    TRY(take(d, row, c->time, "time after programming", 0, false, &out->time_s, e));
    TRY(take(d, row, c->g, "conductance", 0, false, &out->g_S, e));
    if (d->raw && d->has_devices) {
        TRY(take_whole(d, row, c->device, "device", 0, &device, e));
    }
    if (!d->raw) {
        TRY(take(d, row, c->sd, "standard deviation", 0, true, &out->sd_S, e));
    }
    if (!d->raw && d->has_counts) {
        TRY(take_whole(d, row, c->samples, "samples", 2, &out->samples, e));
    }
    out->target_S *= 1e-6;
    out->g_S *= 1e-6;
    out->sd_S *= 1e-6;
    out->device = (int64_t)device;
    return OK;
}

static int compare(double a, double b) { return a < b ? -1 : a > b; }

/* By target, device, place in the file. */
static int by_place(const void *a, const void *b) {
    const struct lab_row *x = a, *y = b;
    int order = compare(x->target_S, y->target_S);
    order = order ? order : (x->device > y->device) - (x->device < y->device);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

/* By target, device, time, value: what is equal lies side by side. */
static int by_time(const void *a, const void *b) {
    const struct lab_row *x = a, *y = b;
    int order = compare(x->target_S, y->target_S);
    order = order ? order : (x->device > y->device) - (x->device < y->device);
    order = order ? order : compare(x->time_s, y->time_s);
    order = order ? order : compare(x->g_S, y->g_S);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

static bool same_device(const struct lab_row *x, const struct lab_row *y) {
    return x->target_S == y->target_S && x->device == y->device;
}

/* Rows of a device must stand in the order of time; the same row must not stand there twice. Reads without a device may
 * well be equal. */
static enum status check_order(struct lab_data *d, const struct columns *c, struct error *e) {
    bool series = d->raw && d->has_devices;
    if (series) {
        qsort(d->rows, d->count, sizeof *d->rows, by_place);
    }
    for (size_t i = 1; series && i < d->count; i++) {
        const struct lab_row *before = &d->rows[i - 1], *row = &d->rows[i];
        if (same_device(before, row) && row->time_s < before->time_s) {
            return csv_error(d->csv, row->row, c->time, e,
                             "device %lld: time %g s after %g s (allowed: times of a device that do not go backwards)",
                             (long long)row->device, row->time_s, before->time_s);
        }
    }
    qsort(d->rows, d->count, sizeof *d->rows, by_time);
    for (size_t i = 1; (series || !d->raw) && i < d->count; i++) {
        const struct lab_row *before = &d->rows[i - 1], *row = &d->rows[i];
        bool twice = same_device(before, row) && row->time_s == before->time_s && (!d->raw || row->g_S == before->g_S);
        if (twice) {
            return csv_error(d->csv, row->row, c->time, e, "the same %s stands there twice (allowed: every row once)",
                             d->raw ? "read of a device" : "target and time");
        }
    }
    return OK;
}

static enum status hash_file(const char *path, uint64_t *hash, struct error *e) {
    struct mapped_file f;
    TRY(map_file(path, &f, e));
    uint64_t h = 14695981039346656037ull; /* FNV-1a, 64 bits */
    for (size_t i = 0; i < f.bytes; i++) {
        h = (h ^ f.data[i]) * 1099511628211ull;
    }
    *hash = h;
    unmap_file(&f);
    return OK;
}

static enum status read_rows(struct lab_data *d, struct error *e) {
    struct columns c = {0};
    TRY(find_columns(d, &c, e));
    d->count = csv_rows(d->csv);
    d->rows = mem_alloc(d->count, sizeof *d->rows);
    if (!d->rows) {
        return error_set(e, ERR_RUN, "%s: out of memory", d->path);
    }
    for (size_t i = 0; i < d->count; i++) {
        TRY(take_row(d, &c, i, &d->rows[i], e));
    }
    TRY(check_order(d, &c, e));
    return hash_file(d->path, &d->hash, e);
}

enum status lab_data_read(const char *path, struct lab_data *out, struct error *e) {
    *out = (struct lab_data){.path = path};
    enum status s = csv_read(path, CSV_HEADER, &out->csv, e);
    if (s == OK) {
        s = read_rows(out, e);
    }
    if (s != OK) {
        lab_data_free(out);
    }
    return s;
}

void lab_data_free(struct lab_data *d) {
    csv_destroy(d->csv);
    mem_free(d->rows);
    *d = (struct lab_data){NULL, NULL, false, false, false, NULL, 0, 0};
}
