/* Requests: where they come from, and what is said of them together. See serving.h. */
#include <math.h>
#include <string.h>

#include "base/csv.h"
#include "base/random.h"
#include "base/sort.h"
#include "models/internal.h"

enum { TOKENS_MOST = 1 << 30 };

void workload_clear(struct workload *w) {
    mem_free(w->requests);
    *w = (struct workload){NULL, 0};
}

static enum status allocate(size_t count, struct workload *out, struct error *e) {
    out->count = count;
    out->requests = mem_alloc(count, sizeof *out->requests);
    return out->requests ? OK : error_set(e, ERR_RUN, "workload: out of memory for %zu requests", count);
}

enum status workload_create(size_t count, double rate_per_s, uint64_t seed, uint32_t prompt_tokens, uint32_t tokens,
                            struct workload *out, struct error *e) {
    double time_s = 0;
    TRY(allocate(count, out, e));
    for (size_t i = 0; i < count; i++) {
        if (rate_per_s > 0) {
            time_s -= log(random_uniform(seed, random_stream(RANDOM_ARRIVALS, 0), i)) / rate_per_s;
        }
        out->requests[i] = (struct request){.arrival_s = time_s, .prompt_tokens = prompt_tokens, .tokens = tokens};
    }
    return OK;
}

/* ---- traces ------------------------------------------------------------------------------------ */

struct columns { size_t arrival, prompt, tokens; };

static enum status read_count(const struct csv *c, size_t row, size_t column, uint32_t *out, struct error *e) {
    double value;
    TRY(csv_number(c, row, column, &value, e));
    if (!(value >= 1 && value <= TOKENS_MOST) || value != floor(value)) {
        return csv_error(c, row, column, e, "%g tokens (allowed: whole numbers from 1 to %d)", value, TOKENS_MOST);
    }
    *out = (uint32_t)value;
    return OK;
}

static enum status read_request(const struct csv *c, size_t row, const struct columns *at, double before_s,
                                struct request *out, struct error *e) {
    *out = (struct request){0};
    TRY(csv_number(c, row, at->arrival, &out->arrival_s, e));
    if (!(out->arrival_s >= 0 && out->arrival_s <= 1e6)) {
        return csv_error(c, row, at->arrival, e, "arrival at %g s (allowed: 0 to 1e6)", out->arrival_s);
    }
    if (out->arrival_s < before_s) {
        return csv_error(c, row, at->arrival, e, "arrival at %g s goes back in time (allowed: %g or later, as above)",
                         out->arrival_s, before_s);
    }
    TRY(read_count(c, row, at->prompt, &out->prompt_tokens, e));
    return read_count(c, row, at->tokens, &out->tokens, e);
}

static enum status read_rows(const struct csv *c, struct workload *out, struct error *e) {
    struct columns at;
    TRY(csv_require(c, "arrival_s", &at.arrival, e));
    TRY(csv_require(c, "prompt_tokens", &at.prompt, e));
    TRY(csv_require(c, "tokens", &at.tokens, e));
    TRY(allocate(csv_rows(c), out, e));
    double before_s = 0;
    for (size_t i = 0; i < out->count; i++) {
        TRY(read_request(c, i, &at, before_s, &out->requests[i], e));
        before_s = out->requests[i].arrival_s;
    }
    return OK;
}

enum status workload_read(const char *path, struct workload *out, struct error *e) {
    struct csv *c;
    *out = (struct workload){NULL, 0};
    TRY(csv_read(path, CSV_HEADER, &c, e));
    enum status s = read_rows(c, out, e);
    csv_destroy(c);
    if (s != OK) {
        workload_clear(out);
    }
    return s;
}

/* ---- results ----------------------------------------------------------------------------------- */

double percentile(double *values, size_t count, double percent) {
    sort_doubles(values, count);
    size_t rank = (size_t)ceil(percent / 100 * (double)count);
    return count ? values[rank > 0 ? rank - 1 : 0] : (double)NAN;
}

static struct spread spread_of(double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return (struct spread){.mean = count ? sum / (double)count : (double)NAN,
                           .p50 = percentile(values, count, 50),
                           .p95 = percentile(values, count, 95),
                           .p99 = percentile(values, count, 99),
                           .most = percentile(values, count, 100)};
}

enum measure { QUEUEING, TTFT, TPOT, LATENCY };

static double measure(const struct request *q, enum measure what) {
    switch (what) {
    case QUEUEING: return q->admitted_s - q->arrival_s;
    case TTFT: return q->first_s - q->arrival_s;
    case TPOT: return (q->last_s - q->first_s) / (q->tokens - 1);
    case LATENCY: break;
    }
    return q->last_s - q->arrival_s;
}

static struct spread spread_over(const struct workload *w, enum measure what, double *values) {
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (what != TPOT || w->requests[i].tokens > 1) {
            values[count++] = measure(&w->requests[i], what);
        }
    }
    return spread_of(values, count);
}

/* Admissions come in order; a place that becomes free at the same time is free before. ends [count]: scratch. */
static uint32_t most_in_flight(const struct workload *w, double *ends) {
    uint32_t now = 0, most = 0;
    size_t over = 0;
    for (size_t i = 0; i < w->count; i++) {
        ends[i] = w->requests[i].last_s;
    }
    sort_doubles(ends, w->count);
    for (size_t i = 0; i < w->count; i++, most = now > most ? now : most) {
        for (now++; ends[over] <= w->requests[i].admitted_s; over++) {
            now--;
        }
    }
    return most;
}

enum status serving_summary(const struct workload *w, struct serving_summary *out, struct error *e) {
    double *values = mem_alloc(w->count, sizeof *values), end_s = 0, tokens = 0;
    if (!values) {
        return error_set(e, ERR_RUN, "workload: out of memory for %zu requests", w->count);
    }
    *out = (struct serving_summary){.queueing = spread_over(w, QUEUEING, values),
                                    .ttft = spread_over(w, TTFT, values),
                                    .tpot = spread_over(w, TPOT, values),
                                    .latency = spread_over(w, LATENCY, values),
                                    .most_in_flight = most_in_flight(w, values)};
    mem_free(values);
    for (size_t i = 0; i < w->count; i++) {
        end_s = w->requests[i].last_s > end_s ? w->requests[i].last_s : end_s;
        tokens += w->requests[i].tokens;
    }
    out->span_s = end_s - w->requests[0].arrival_s;
    out->tokens_per_s = tokens / out->span_s;
    out->requests_per_s = (double)w->count / out->span_s;
    return OK;
}
