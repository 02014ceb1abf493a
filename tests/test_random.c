/* Randomness: published vectors, the accuracy of the Gaussian transform, statistics against theory.
 *
 * All seeds are fixed, so every statistic is one number that passes or fails for ever. Bounds are 4 standard errors of
 * the estimator (6e-5 two-sided), the Kolmogorov-Smirnov bound is the same probability.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/kernels.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/random_inline.h"
#include "tests/suite.h"

/* kat_vectors of Random123 1.14, lines "philox4x32 10" and "philox4x32 7": counter, key, results. */
static void philox_gives_the_published_words(void **state) {
    (void)state;
    static const struct {
        uint64_t seed, stream, block;
        uint32_t ten[4], seven[4];
    } vectors[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, {0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, {0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}},
        {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}, {0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t word[4];
        random_block(vectors[i].seed, vectors[i].stream, vectors[i].block, word);
        assert_memory_equal(word, vectors[i].ten, sizeof word);
        philox_block_of(FAST_ROUNDS, vectors[i].seed, vectors[i].stream, vectors[i].block, word);
        assert_memory_equal(word, vectors[i].seven, sizeof word);
    }
}

static void streams_are_told_apart(void **state) {
    (void)state;
    assert_true(random_stream(RANDOM_READ, 7) == ((uint64_t)5 << 56 | 7));
    assert_true(random_stream(RANDOM_TEST, ((uint64_t)1 << 56) - 1) == UINT64_MAX);
    assert_true(random_stream(RANDOM_READ, 0) != random_stream(RANDOM_FAULTS, 0));
}

/* Box-Muller of words a, b in double. */
static void exact_pair(uint32_t a, uint32_t b, double z[2]) {
    const double ln_u = a >> 31 ? log1p(-((double)~a + 0.5) * 0x1p-32) : log(((double)a + 0.5) * 0x1p-32);
    const double angle = 2.0 * M_PI * (((double)(int32_t)b + 0.5) * 0x1p-32);
    z[0] = sqrt(-2.0 * ln_u) * cos(angle);
    z[1] = sqrt(-2.0 * ln_u) * sin(angle);
}

static double pair_error(uint32_t a, uint32_t b) {
    double exact[2];
    float cosine, sine;
    const float r = gaussian_radius(a);
    gaussian_angle(b, &cosine, &sine);
    exact_pair(a, b, exact);
    const double e0 = fabs((double)(r * cosine) - exact[0]), e1 = fabs((double)(r * sine) - exact[1]);
    return e0 > e1 ? e0 : e1;
}

/* Found: 1.06e-6 for z; 1.46e-7 relative for the radius alone, which is what a wrong coefficient shows in. The lower
 * side proves that the comparison sees single precision at all. */
static void gaussian_transform_is_accurate(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t block = 0; block < 1 << 16; block++) {
        uint32_t w[4];
        double exact[2];
        random_block(1, 2, block, w);
        const unsigned shift = block % 32; /* small words and words near the end get their share */
        const uint32_t radius[3] = {w[0], w[1] >> shift, ~(w[1] >> shift)};
        for (int i = 0; i < 3; i++) {
            const uint32_t near_quarter = (w[3] & 0xc0000000u) + (w[3] & 0xff) - 128;
            exact_pair(radius[i], w[2], exact);
            assert_near(gaussian_radius(radius[i]) / hypot(exact[0], exact[1]), 1.0, 2e-7);
            worst = fmax(worst, fmax(pair_error(radius[i], w[2]), pair_error(radius[i], near_quarter)));
        }
    }
    assert_true(worst <= GAUSSIAN_ERROR);
    assert_true(worst >= 3e-7);
}

static void gaussian_transform_holds_at_the_corners(void **state) {
    (void)state;
    static const uint32_t corner[] = {0,          1,          2,          0x3fffffff, 0x40000000, 0x7fffff7f,
                                      0x7fffffff, 0x80000000, 0x80000001, 0x9fffffff, 0xa0000000, 0xbfffffff,
                                      0xc0000000, 0xfffffffe, 0xffffffff, 0x1fffffff, 0x20000000, 0x5fffffff,
                                      0x60000000, 0xdfffffff, 0xe0000000};
    enum { CORNERS = sizeof corner / sizeof corner[0] };
    for (int i = 0; i < CORNERS; i++) {
        for (int j = 0; j < CORNERS; j++) {
            assert_true(pair_error(corner[i], corner[j]) <= GAUSSIAN_ERROR);
        }
    }
    assert_near(gaussian_radius(0), sqrt(66.0 * log(2.0)), 1e-6); /* the largest |z|: 6.764 */
    assert_near(gaussian_radius(UINT32_MAX) / sqrt(0x1p-32), 1.0, 2e-7);
}

enum { DRAWS = 1 << 22, CHUNK = 1 << 14, BINS = 4096 };
static const double BIN_WIDTH = 16.0 / BINS; /* of z in [-8, 8) */

struct statistics {
    double sum[4]; /* of z, z^2, z^3, z^4 */
    uint32_t bin[BINS];
};

typedef void fill_function(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);

/* The fast numbers in order. */
static void fill_fast(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    float z[GAUSSIAN_BLOCK];
    for (size_t i = 0; i < n; i++) {
        const uint64_t block = (first + i) / GAUSSIAN_BLOCK;
        if (i == 0 || (first + i) % GAUSSIAN_BLOCK == 0) {
            random_gaussian_blocks(seed, stream, &block, 1, z);
        }
        out[i] = z[(first + i) % GAUSSIAN_BLOCK];
    }
}

static void collect(fill_function *fill, struct statistics *s) {
    float *z = mem_alloc(CHUNK, sizeof *z);
    memset(s, 0, sizeof *s);
    for (uint64_t first = 0; first < DRAWS; first += CHUNK) {
        fill(11, random_stream(RANDOM_TEST, 3), first, z, CHUNK);
        for (size_t i = 0; i < CHUNK; i++) {
            const double v = (double)z[i], v2 = v * v;
            s->sum[0] += v;
            s->sum[1] += v2;
            s->sum[2] += v2 * v;
            s->sum[3] += v2 * v2;
            s->bin[(size_t)((v + 8.0) / BIN_WIDTH)]++;
        }
    }
    mem_free(z);
}

static double upper_tail(double z) { return 0.5 * erfc(z * M_SQRT1_2); }

static void check_moments_and_distribution(fill_function *fill) {
    static struct statistics s;
    collect(fill, &s);
    const double n = DRAWS, mean = s.sum[0] / n, variance = s.sum[1] / n - mean * mean;
    assert_near(mean, 0, 4 / sqrt(n));
    assert_near(variance, 1, 4 * sqrt(2 / n));
    assert_near(s.sum[2] / n, 0, 4 * sqrt(15 / n)); /* var z^3 = 15 */
    assert_near(s.sum[3] / n, 3, 4 * sqrt(96 / n)); /* var z^4 = 105 - 9 */

    double below = 0, distance = 0;
    for (int i = 0; i < BINS; i++) { /* on the edges of the bins */
        below += s.bin[i];
        distance = fmax(distance, fabs(below / n - upper_tail(8.0 - (i + 1) * BIN_WIDTH)));
    }
    assert_true(distance * sqrt(n) < 2.28); /* 2 exp(-2 D^2) = 6e-5 */
    assert_true(distance * sqrt(n) > 0.25); /* as improbable on the other side: too even to be random */
    for (int edge = 1; edge <= 5; edge++) { /* |z| > edge; at 5 are 2.4 expected */
        double count = 0;
        const double p = 2 * upper_tail(edge);
        for (int i = 0; i < BINS; i++) {
            const double centre = (i + 0.5) * BIN_WIDTH - 8.0;
            count += fabs(centre) > edge ? s.bin[i] : 0;
        }
        assert_near(count, n * p, 4 * sqrt(n * p * (1 - p)));
    }
}

static void gaussian_moments_and_distribution(void **state) {
    (void)state;
    check_moments_and_distribution(random_gaussian_fill);
}

/* Against the Gaussian itself: the difference of the distributions, 3e-5, is a fortieth of what this sees. */
static void fast_moments_and_distribution(void **state) {
    (void)state;
    check_moments_and_distribution(fill_fast);
}

/* What half a byte stands for: mean 0, variance 1532.75 / 2, fourth cumulant 0 within 3e-4 of its square. The rows of
 * the matrix are orthogonal and alike long, and the scale makes the variance 1. */
static void fast_terms_have_their_moments(void **state) {
    (void)state;
    double first = 0, second = 0, fourth = 0;
    for (int i = 0; i < 16; i++) {
        const double x = SIXTEEN_HALF[i] - SIXTEEN_CENTRE / 2;
        first += x / 16;
        second += x * x / 16;
        fourth += x * x * x * x / 16;
    }
    assert_true(first == 0 && 2 * second == 1532.75);
    assert_near(fourth / (second * second), 3, 3e-4);
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 16; k++) {
            int product = 0;
            for (int j = 0; j < 16; j++) {
                product += SIXTEEN_STEPS[j / 4][i][j % 4] * SIXTEEN_STEPS[j / 4][k][j % 4];
            }
            assert_int_equal(product, i == k ? 8 * (61 * 61 + 60 * 60) : 0);
        }
    }
    assert_near((double)SIXTEEN_SCALE * sqrt(8 * (61 * 61 + 60 * 60) * 2 * second), 1, 1e-7);
}

/* All 16 numbers of a block in double, from its bytes: signs by the parity of the common bits of row and column, pair
 * by pair. */
static void fast_transform_is_what_is_written(void **state) {
    (void)state;
    static const int half[8] = {12, 14, 15, 19, 20, 23, 26, 60};
    for (uint64_t block = 0; block < 100; block++) {
        uint32_t word[4];
        philox_block_of(FAST_ROUNDS, 3, 4, block, word);
        for (uint64_t i = 0; i < GAUSSIAN_BLOCK; i++) {
            double sum = 0;
            for (uint64_t j = 0; j < GAUSSIAN_BLOCK; j++) {
                const int byte = (int)(word[j / 4] >> 8 * (j % 4) & 255), low = byte & 15, high = byte >> 4;
                const int x_low = low < 8 ? -half[7 - low] : half[low - 8];
                const int x = x_low + (high < 8 ? -half[7 - high] : half[high - 8]);
                const int step = (i & 1) != (j & 1) ? 60 : i & 1 ? -61 : 61;
                sum += __builtin_parityll((i >> 1) & (j >> 1)) ? -step * x : step * x;
            }
            assert_near(random_gaussian_fast(3, 4, GAUSSIAN_BLOCK * block + i), sum * (double)SIXTEEN_SCALE, 1e-6);
        }
    }
}

/* Correlation of z and of z^2 (Box-Muller shares a radius) between two sequences; both have standard error 1/sqrt(n).
 */
static void assert_uncorrelated_fills(fill_function *fill, uint64_t seed_a, uint64_t stream_a, uint64_t first_a,
                                      uint64_t seed_b, uint64_t stream_b, uint64_t first_b) {
    enum { N = 1 << 17 };
    float *a = mem_alloc(N, sizeof *a), *b = mem_alloc(N, sizeof *b);
    fill(seed_a, stream_a, first_a, a, N);
    fill(seed_b, stream_b, first_b, b, N);
    double linear = 0, square = 0;
    for (size_t i = 0; i < N; i++) {
        const double x = (double)a[i], y = (double)b[i];
        linear += x * y;
        square += (x * x - 1) * (y * y - 1) / 2;
    }
    mem_free(a);
    mem_free(b);
    assert_near(linear / N, 0, 4 / sqrt(N));
    assert_near(square / N, 0, 4 / sqrt(N));
}

static void assert_uncorrelated(uint64_t seed_a, uint64_t stream_a, uint64_t first_a, uint64_t seed_b,
                                uint64_t stream_b, uint64_t first_b) {
    assert_uncorrelated_fills(random_gaussian_fill, seed_a, stream_a, first_a, seed_b, stream_b, first_b);
    assert_uncorrelated_fills(fill_fast, seed_a, stream_a, first_a, seed_b, stream_b, first_b);
}

static void sequences_are_uncorrelated(void **state) {
    (void)state;
    const uint64_t stream = random_stream(RANDOM_TEST, 0);
    for (uint64_t lag = 1; lag <= 16; lag++) {
        assert_uncorrelated(5, stream, 0, 5, stream, lag);
    }
    assert_uncorrelated(5, stream, 0, 5, stream, (uint64_t)1 << 34); /* second counter word */
    assert_uncorrelated(5, stream, 0, 5, stream + 1, 0);
    assert_uncorrelated(5, stream, 0, 6, stream, 0);
    assert_uncorrelated(5, stream, 0, 5 + ((uint64_t)1 << 32), stream, 0);
    assert_uncorrelated(5, stream, 0, 5, random_stream(RANDOM_READ, 0), 0);
}

static void fills_equal_single_calls(void **state) {
    (void)state;
    const uint64_t starts[] = {0, 1, 2, 3, 29, 1000001, ((uint64_t)1 << 34) - 9, ((uint64_t)1 << 62) + 3};
    float gaussian[75], uniform[75];
    for (size_t s = 0; s < sizeof starts / sizeof starts[0]; s++) {
        for (size_t n = 0; n <= 70; n += n < 5 ? 1 : 13) {
            memset(gaussian, 0xff, sizeof gaussian);
            memset(uniform, 0xff, sizeof uniform);
            random_gaussian_fill(9, 8, starts[s], gaussian, n);
            random_uniform_fill(9, 8, starts[s], uniform, n);
            for (size_t i = 0; i < n; i++) {
                assert_true(bits_of_float(gaussian[i]) == bits_of_float(random_gaussian(9, 8, starts[s] + i)));
                assert_true(uniform[i] == (float)random_uniform(9, 8, starts[s] + i));
            }
            assert_true(bits_of_float(gaussian[n]) == UINT32_MAX && bits_of_float(uniform[n]) == UINT32_MAX);
        }
    }
}

static void uniform_follows_the_words(void **state) {
    (void)state;
    enum { N = 1 << 18 };
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double u = random_uniform(3, 4, i);
        assert_true(u > 0 && u < 1);
        sum += u;
        squares += (u - 0.5) * (u - 0.5);
    }
    assert_near(sum / N, 0.5, 4 * sqrt(1.0 / 12 / N));
    assert_near(squares / N, 1.0 / 12, 4 * sqrt(1.0 / 180 / N)); /* 1/80 - 1/144 */
    assert_true(random_uniform(0, 0, 0) == (0x6627e8d5 + 0.5) * 0x1p-32);
    assert_true(random_uniform(0, 0, 3) == (0x9b00dbd8 + 0.5) * 0x1p-32);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(philox_gives_the_published_words),
    cmocka_unit_test(streams_are_told_apart),
    cmocka_unit_test(gaussian_transform_is_accurate),
    cmocka_unit_test(gaussian_transform_holds_at_the_corners),
    cmocka_unit_test(gaussian_moments_and_distribution),
    cmocka_unit_test(fast_moments_and_distribution),
    cmocka_unit_test(fast_terms_have_their_moments),
    cmocka_unit_test(fast_transform_is_what_is_written),
    cmocka_unit_test(sequences_are_uncorrelated),
    cmocka_unit_test(fills_equal_single_calls),
    cmocka_unit_test(uniform_follows_the_words),
};

const struct test_suite suite_random = {"random", tests, sizeof tests / sizeof tests[0]};
