/* See histogram.h. */
#include "sim/histogram.h"

#include <math.h>

size_t histogram_bin(size_t n, int per_octave, int lowest, float size) {
    double octave = log2((double)size) - lowest;
    return !(octave > 0) ? 0 : octave * per_octave >= (double)n ? n - 1 : (size_t)(octave * per_octave);
}

static double edge(const struct histogram *h, size_t i) {
    return i >= h->n ? h->largest : fmin(exp2(h->lowest + (double)i / h->per_octave), h->largest);
}

static uint64_t total(const struct histogram *h) {
    uint64_t sum = 0;
    for (size_t i = 0; i < h->n; i++) {
        sum += h->bins[i];
    }
    return sum;
}

double histogram_quantile(const struct histogram *h, double q) {
    double wanted = q * (double)total(h);
    uint64_t seen = 0;
    for (size_t i = 0; i < h->n; i++) {
        seen += h->bins[i];
        if ((double)seen >= wanted) {
            return edge(h, i + 1);
        }
    }
    return h->largest;
}

static double clipping_error(const struct histogram *h, double clip) {
    double sum = 0;
    for (size_t i = 0; i < h->n; i++) {
        double middle = (edge(h, i) + edge(h, i + 1)) / 2, over = middle - clip;
        sum += over > 0 ? (double)h->bins[i] * over * over : 0;
    }
    return sum;
}

double histogram_mean_square(const struct histogram *h, int limit) {
    double best = h->largest, least = (double)INFINITY, count = (double)total(h);
    for (size_t i = h->n; i > 0; i--) {
        double clip = edge(h, i), step = clip / limit;
        double error = clipping_error(h, clip) + count * step * step / 12;
        if (clip > 0 && error < least) {
            least = error;
            best = clip;
        }
    }
    return best;
}
