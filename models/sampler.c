/* Choice of the next token. Order of the steps:
 *
 *   0. ids that are forbidden get the logit -infinity
 *   1. repetition penalty r: every id that occurs in `recent` gets x/r when x > 0, else x r (Keskar et al. 2019, CTRL)
 *   2. temperature 0: the largest logit, the lowest id among equals; done
 *   3. temperature T: x/T, so weights w_i = exp((x_i - max)/T)
 *   4. top-k: the k largest
 *   5. top-p: of these, the shortest prefix in falling order whose share of their total reaches p (Holtzman et al.
 * 2020)
 *   6. min-p: of these, the ones with w_i >= min_p * w_max
 *   7. one uniform number u of (seed, RANDOM_SAMPLING, request, position): the first id at which the running sum passes
 *      u * total
 *
 * Equal logits are ordered by id. The draw depends on logits, options, seed, request and position only. Memory is
 * allocated once. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "models/model.h"

enum { LANES = 16 };

struct sampler {
    struct sampler_options options;
    size_t vocabulary;
    uint64_t stream;         /* of random numbers: one per request */
    const int32_t *forbidden;
    size_t forbidden_count;
    float *logits;    /* [vocabulary] after the penalty */
    double *weights;  /* [vocabulary] in falling order once kept */
    int32_t *heap;    /* [vocabulary] ids; the first `candidates` of them; their end fills with ids in falling order */
    size_t candidates;
    bool *penalised;  /* [vocabulary]; all false between calls */
};

static enum status check_options(const struct sampler_options *o, struct error *e) {
    if (!(o->temperature >= 0.0 && o->temperature <= 1e6)) {
        return error_set(e, ERR_USAGE, "temperature = %g: out of range (allowed: 0 to 1e6)", o->temperature);
    }
    if (o->top_k < 0) {
        return error_set(e, ERR_USAGE, "top_k = %d: out of range (allowed: 0 = off, or more)", o->top_k);
    }
    if (!(o->top_p > 0.0 && o->top_p <= 1.0)) {
        return error_set(e, ERR_USAGE, "top_p = %g: out of range (allowed: above 0 to 1)", o->top_p);
    }
    if (!(o->min_p >= 0.0 && o->min_p <= 1.0)) {
        return error_set(e, ERR_USAGE, "min_p = %g: out of range (allowed: 0 to 1)", o->min_p);
    }
    if (!(o->repetition_penalty > 0.0 && o->repetition_penalty <= 1e6)) {
        return error_set(e, ERR_USAGE, "repetition_penalty = %g: out of range (allowed: above 0 to 1e6)",
                         o->repetition_penalty);
    }
    return OK;
}

enum status sampler_create(const struct sampler_options *o, size_t vocabulary, struct sampler **out, struct error *e) {
    TRY(check_options(o, e));
    struct sampler *s = mem_alloc(1, sizeof *s);
    if (s) {
        s->options = *o;
        s->vocabulary = vocabulary;
        sampler_set_request(s, 0);
        s->logits = mem_alloc(vocabulary, sizeof *s->logits);
        s->weights = mem_alloc(vocabulary, sizeof *s->weights);
        s->heap = mem_alloc(vocabulary, sizeof *s->heap);
        s->penalised = mem_alloc(vocabulary, sizeof *s->penalised);
    }
    if (!s || !s->logits || !s->weights || !s->heap || !s->penalised) {
        sampler_destroy(s);
        return error_set(e, ERR_RUN, "sampler: out of memory for a vocabulary of %zu", vocabulary);
    }
    *out = s;
    return OK;
}

void sampler_destroy(struct sampler *s) {
    if (s) {
        mem_free(s->logits);
        mem_free(s->weights);
        mem_free(s->heap);
        mem_free(s->penalised);
        mem_free(s);
    }
}

void sampler_set_request(struct sampler *s, uint64_t request) {
    s->stream = random_stream(RANDOM_SAMPLING, request);
}

void sampler_forbid(struct sampler *s, const int32_t *ids, size_t count) {
    s->forbidden = ids;
    s->forbidden_count = count;
}

static void leave_out_forbidden(struct sampler *s) {
    for (size_t i = 0; i < s->forbidden_count; i++) {
        if (s->forbidden[i] >= 0 && (size_t)s->forbidden[i] < s->vocabulary) {
            s->logits[s->forbidden[i]] = -INFINITY;
        }
    }
}

static void penalise(struct sampler *s, const int32_t *recent, size_t count) {
    float penalty = (float)s->options.repetition_penalty;
    for (size_t i = 0; i < count; i++) {
        int32_t id = recent[i];
        if (id >= 0 && (size_t)id < s->vocabulary && !s->penalised[id]) {
            s->logits[id] = s->logits[id] > 0.0f ? s->logits[id] / penalty : s->logits[id] * penalty;
            s->penalised[id] = true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (recent[i] >= 0 && (size_t)recent[i] < s->vocabulary) {
            s->penalised[recent[i]] = false;
        }
    }
}

/* The lowest id of the largest logit. Maxima of LANES interleaved parts first: compilers make vectors of that. */
static int32_t largest(const float *x, size_t n) {
    float lane[LANES], top = x[0];
    size_t whole = n / LANES * LANES, best = 0;
    for (size_t j = 0; j < LANES; j++) {
        lane[j] = top;
    }
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
        }
    }
    for (size_t j = 0; j < LANES; j++) {
        top = lane[j] > top ? lane[j] : top;
    }
    for (size_t i = whole; i < n; i++) {
        top = x[i] > top ? x[i] : top;
    }
    while (x[best] < top) {
        best++;
    }
    return (int32_t)best;
}

/* ---- a heap of ids, the likeliest on top ---------------------------------------------------- */

static bool before(const float *x, int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; }

/* reverse: the least likely on top. */
static void sift_down(const float *x, int32_t *heap, size_t i, size_t n, bool reverse) {
    int32_t moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && before(x, heap[child + 1], heap[child]) != reverse;
        if (before(x, heap[child], moving) == reverse) {
            break;
        }
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static void make_heap(const float *x, int32_t *heap, size_t n, bool reverse) {
    for (size_t i = n / 2; i-- > 0;) {
        sift_down(x, heap, i, n, reverse);
    }
}

/* The k likeliest of n into the heap, k >= 1: of those seen so far the least likely is on top, and gives way to a
 * likelier one. Few are: LANES at a time are passed over. An equal one is no likelier, its id is higher. */
static void gather_likeliest(const float *x, size_t n, size_t k, int32_t *heap) {
    make_heap(x, heap, k, true);
    for (size_t i = k; i < n; i += LANES) {
        size_t end = n - i < LANES ? n : i + LANES, likelier = 0;
        float least = x[heap[0]];
        for (size_t j = i; j < end; j++) {
            likelier += x[j] > least;
        }
        for (size_t j = i; likelier > 0 && j < end; j++) {
            if (x[j] > x[heap[0]]) {
                heap[0] = (int32_t)j;
                sift_down(x, heap, 0, k, true);
            }
        }
    }
}

/* Takes the likeliest id off and puts it behind the shrunken heap. */
static int32_t pop(const float *x, int32_t *heap, size_t n) {
    int32_t top = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = top;
    sift_down(x, heap, 0, n - 1, false);
    return top;
}

/* ---- the steps ------------------------------------------------------------------------------ */

static double weight_of(const struct sampler *s, int32_t id, float top) {
    return exp(((double)s->logits[id] - (double)top) / s->options.temperature);
}

/* What top-p measures against: the total weight of the k likeliest (of all when k = V). */
static double total_of(const struct sampler *s, size_t k, float top) {
    double total = 0.0;
    if (k == s->vocabulary) {
        for (size_t i = 0; i < k; i++) {
            total += weight_of(s, (int32_t)i, top);
        }
    } else {
        for (size_t i = 0; i < k; i++) {
            total += s->weights[i];
        }
    }
    return total;
}

/* Id number i in falling order, once popped. */
static int32_t ranked(const struct sampler *s, size_t i) { return s->heap[s->candidates - 1 - i]; }

/* Ids that may be kept, the likeliest on top of the heap. */
static void fill_heap(struct sampler *s, size_t k) {
    s->candidates = k;
    for (size_t i = 0; i < k; i++) {
        s->heap[i] = (int32_t)i;
    }
    if (k < s->vocabulary) {
        gather_likeliest(s->logits, s->vocabulary, k, s->heap);
    }
    make_heap(s->logits, s->heap, k, false);
}

static size_t top_k_of(const struct sampler *s) {
    return s->options.top_k > 0 && (size_t)s->options.top_k < s->vocabulary ? (size_t)s->options.top_k : s->vocabulary;
}

/* The k likeliest of the heap: fills weights in falling order and returns how many ids are kept. */
static size_t truncate_ids(struct sampler *s, size_t k, float top) {
    size_t V = s->vocabulary, popped = 0, all = s->candidates;
    for (; k < V && popped < k; popped++) {
        s->weights[popped] = weight_of(s, pop(s->logits, s->heap, all - popped), top);
    }
    double reach = s->options.top_p < 1.0 ? s->options.top_p * total_of(s, k, top) : HUGE_VAL, sum = 0.0;
    size_t kept = 0;
    while (kept < k && sum < reach) {
        if (kept == popped) {
            s->weights[popped] = weight_of(s, pop(s->logits, s->heap, all - popped), top);
            popped++;
        }
        if (s->weights[kept] < s->options.min_p) { /* the largest weight is 1 */
            break;
        }
        sum += s->weights[kept++];
    }
    return kept;
}

static int32_t draw(const struct sampler *s, size_t kept, double u) {
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < kept; i++) {
        total += s->weights[i];
    }
    for (size_t i = 0; i + 1 < kept; i++) {
        sum += s->weights[i];
        if (sum > u * total) {
            return ranked(s, i);
        }
    }
    return ranked(s, kept - 1);
}

/* Nothing is cut off: no order is needed, ids are walked as they stand. */
static int32_t draw_from_all(struct sampler *s, float top, double u) {
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < s->vocabulary; i++) {
        s->weights[i] = weight_of(s, (int32_t)i, top);
        total += s->weights[i];
    }
    for (size_t i = 0; i + 1 < s->vocabulary; i++) {
        sum += s->weights[i];
        if (sum > u * total) {
            return (int32_t)i;
        }
    }
    return (int32_t)s->vocabulary - 1;
}

int32_t sampler_next(struct sampler *s, const float *logits, uint64_t position, const int32_t *recent,
                     size_t recent_count) {
    memcpy(s->logits, logits, s->vocabulary * sizeof *logits);
    leave_out_forbidden(s);
    if (s->options.repetition_penalty != 1.0) {
        penalise(s, recent, recent_count);
    }
    int32_t best = largest(s->logits, s->vocabulary);
    if (s->options.temperature == 0.0) {
        return best;
    }
    float top = s->logits[best];
    double u = random_uniform(s->options.seed, s->stream, position);
    if (s->options.top_k == 0 && s->options.top_p >= 1.0 && s->options.min_p <= 0.0) {
        return draw_from_all(s, top, u);
    }
    size_t k = top_k_of(s);
    fill_heap(s, k);
    return draw(s, truncate_ids(s, k, top), u);
}

int32_t sampler_next_among(struct sampler *s, const struct candidate *found, size_t count, uint64_t position) {
    size_t k = top_k_of(s);
    for (size_t i = 0; i < count; i++) {
        s->logits[found[i].id] = found[i].logit;
        s->heap[i] = found[i].id;
    }
    leave_out_forbidden(s);
    s->candidates = count;
    make_heap(s->logits, s->heap, count, false);
    double u = random_uniform(s->options.seed, s->stream, position);
    return draw(s, truncate_ids(s, k < count ? k : count, s->logits[s->heap[0]]), u);
}
