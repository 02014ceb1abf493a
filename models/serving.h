/* Serving: many requests on one machine, of which only the shape of the model is known. Included by models/model.h.
 *
 * A request is a prompt and how many tokens are to be written. Requests are admitted in the order of their arrival,
 * each as soon as a place is free (`max_batch` in flight) and the KV memories have room for all the tokens that it will
 * ever hold. Then its prompt runs through the layers as one step of many tokens, which gives its first token, and every
 * further token is a step of one. With `prompt_chunk` a longer prompt is cut into steps of at most so many tokens, each
 * of which begins when the one before it has ended: what others have to do gets in between, so their tokens wait for a
 * chunk and not for a prompt, while the prompt itself takes longer, as the pipeline of the layers runs dry at every
 * cut. Steps of different requests share the machine without any barrier between them (continuous batching): a request
 * that ends makes room at once.
 *
 *   queueing   admitted - arrival
 *   TTFT       first token - arrival
 *   TPOT       (last token - first token) / (tokens - 1); requests of one token have none
 *   latency    last token - arrival
 *
 * KV memory: bits of a position of a layer = 2 x kv_heads x head_dim x bits of a value, at most a window of positions
 * in layers with sliding windows. Layers share the KV memory of their home chip evenly, and the DRAM beside it if there
 * is one. Room is reserved at admission for prompt + tokens: what is left on the chip, the rest in the DRAM. A request
 * that is larger than both is admitted when it is alone, and counted.
 *
 * Not modelled: requests that end early, are put aside or share a prefix; a scheduler's own time.
 */
#ifndef MHO_MODELS_SERVING_H
#define MHO_MODELS_SERVING_H

#include "sim/sim.h"

struct model;

struct request {
    double arrival_s;
    uint32_t prompt_tokens, tokens;
    double admitted_s, first_s, last_s; /* results */
};
struct workload {
    struct request *requests; /* in the order of their arrival */
    size_t count;
};
void workload_clear(struct workload *w);
/* `count` equal requests: all at time 0, or (rate_per_s > 0) with independent exponential times between them. */
enum status workload_create(size_t count, double rate_per_s, uint64_t seed, uint32_t prompt_tokens, uint32_t tokens,
                            struct workload *out, struct error *e);
/* CSV with columns arrival_s, prompt_tokens, tokens, in any order. Errors with file and line: times below 0 or before
 * those of the line above, counts that are not whole or below 1. */
enum status workload_read(const char *path, struct workload *out, struct error *e);

struct serving_counts {
    uint64_t prompt_tokens, tokens; /* of all requests: went in, came out */
    uint64_t kv_most_bits, kv_room_bits; /* of the layer that held most: reserved at most; its room, with DRAM */
    uint64_t too_large;             /* requests that the KV memory cannot hold even alone */
};
struct serving_limits {
    uint32_t max_batch;    /* requests in flight, at least 1 */
    uint32_t prompt_chunk; /* tokens of a prompt in one step; 0: all of them */
};
/* `r`: a run of shapes for steps as long as the longest prompt (or chunk), with run_streams(r, max_batch) or more.
 * ERR_USAGE: a request longer than the context of the model. */
enum status serve(const struct model *m, struct run *r, struct workload *w, const struct serving_limits *limits,
                  struct serving_counts *out, struct error *e);

/* Nearest rank: the smallest value that at least so many percent of all reach. NAN without values; sorts `values`. */
double percentile(double *values, size_t count, double percent);
struct spread {
    double mean, p50, p95, p99, most; /* s */
};
struct serving_summary {
    struct spread queueing, ttft, tpot, latency; /* tpot: over requests of two tokens or more; NAN if there are none */
    double span_s;                  /* first arrival to last token */
    double tokens_per_s, requests_per_s; /* written tokens; over the span */
    uint32_t most_in_flight;        /* between admission and last token */
};
enum status serving_summary(const struct workload *w, struct serving_summary *out, struct error *e);

#endif
