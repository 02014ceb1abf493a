/* base/gemm.h: every library that this machine has against sums in double; operands as they lie and turned; shapes
 * around registers and caches; what may not be touched; bits that do not depend on threads; the choice. */
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "base/gemm.h"
#include "base/half.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "tests/suite.h"

enum { LIBRARIES_MOST = 8, BEYOND = 5 };
static const double EPS = 0x1p-24;

struct shape { size_t m, n, k; };
static const struct shape shapes[] = {{1, 1, 1},   {1, 7, 3},    {3, 1, 17},    {16, 16, 16},  {17, 33, 65},
                                      {48, 64, 7}, {64, 48, 96}, {5, 130, 513}, {96, 1, 1025}, {129, 97, 255}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* rows of `ld`; the rest of a row and what is behind the last one are NaN, which must not be read or written */
static float *matrix(size_t rows, size_t columns, size_t ld, uint64_t seed) {
    float *x = mem_alloc(rows * ld + BEYOND, sizeof *x);
    memset(x, 0xff, (rows * ld + BEYOND) * sizeof *x);
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            x[r * ld + c] = (float)random_gaussian(seed, 1, r * columns + c);
        }
    }
    return x;
}

static struct gemm_operand operand(size_t rows, size_t columns, bool turned, uint64_t seed) {
    size_t down = turned ? columns : rows, across = turned ? rows : columns;
    return (struct gemm_operand){matrix(down, across, across + 3, seed), across + 3, turned};
}

static double element(struct gemm_operand x, size_t r, size_t c) {
    return x.turned ? x.at[c * x.ld + r] : x.at[r * x.ld + c];
}

static void check_product(const struct gemm *g, struct shape s, bool turn_a, bool turn_b, float beta) {
    struct gemm_operand a = operand(s.m, s.k, turn_a, 1), b = operand(s.k, s.n, turn_b, 2);
    size_t ldc = s.n + 2;
    float *before = matrix(s.m, beta != 0 ? s.n : 0, ldc, 3), *c = matrix(s.m, beta != 0 ? s.n : 0, ldc, 3);
    g->multiply(s.m, s.n, s.k, a, b, beta, c, ldc);
    for (size_t r = 0; r < s.m; r++) {
        for (size_t o = 0; o < ldc; o++) {
            if (o >= s.n) {
                assert_true(bits_of_float(c[r * ldc + o]) == UINT32_MAX); /* untouched */
                continue;
            }
            double sum = beta != 0 ? (double)beta * (double)before[r * ldc + o] : 0, size = fabs(sum);
            for (size_t i = 0; i < s.k; i++) {
                sum += element(a, r, i) * element(b, i, o);
                size += fabs(element(a, r, i) * element(b, i, o));
            }
            assert_near(c[r * ldc + o], sum, (double)(s.k + 2) * EPS * size);
        }
    }
    assert_true(bits_of_float(c[s.m * ldc]) == UINT32_MAX);
    mem_free((void *)(uintptr_t)a.at);
    mem_free((void *)(uintptr_t)b.at);
    mem_free(before);
    mem_free(c);
}

static void every_library_keeps_the_bound(void **state) {
    const struct gemm *all[LIBRARIES_MOST];
    size_t count = gemm_available(all, LIBRARIES_MOST);
    (void)state;
    assert_true(count >= 2); /* OpenBLAS is part of every build */
    assert_string_equal(all[count - 1]->name, "plain");
    for (size_t i = 0; i < count; i++) {
        for (size_t s = 0; s < SHAPES; s++) {
            for (int turned = 0; turned < 4; turned++) {
                check_product(all[i], shapes[s], turned & 1, turned >> 1, s % 3 == 0 ? 0 : s % 3 == 1 ? 1 : -0.5f);
            }
        }
    }
}

/* Products of every size, spread over threads in another way each time: the bits of one thread. */
struct spread { const struct gemm *library; struct gemm_operand a, b; float *c; size_t each; };
enum { ROWS = 160, COLUMNS = 96, DEPTH = 300, PIECE = 32 };

static void multiply_pieces(void *context, size_t begin, size_t end, int worker) {
    const struct spread *s = context;
    (void)worker;
    for (size_t p = begin; p < end; p++) {
        struct gemm_operand a = {s->a.at + p * PIECE * s->a.ld, s->a.ld, false};
        s->library->multiply(PIECE, COLUMNS, DEPTH, a, s->b, 0, s->c + p * PIECE * COLUMNS, COLUMNS);
    }
}

static void bits_do_not_depend_on_threads(void **state) {
    static float alone[ROWS * COLUMNS], shared[ROWS * COLUMNS];
    const struct gemm *all[LIBRARIES_MOST];
    size_t count = gemm_available(all, LIBRARIES_MOST);
    int threads = threads_count();
    struct spread s = {.a = operand(ROWS, DEPTH, false, 4), .b = operand(DEPTH, COLUMNS, true, 5)};
    (void)state;
    for (size_t i = 0; i < count; i++) {
        s.library = all[i];
        s.c = alone;
        threads_set(1);
        parallel_for(ROWS / PIECE, 1, 0, multiply_pieces, &s);
        for (int n = 2; n <= 5; n++) {
            memset(shared, 0, sizeof shared);
            s.c = shared;
            threads_set(n);
            parallel_for(ROWS / PIECE, 1, 0, multiply_pieces, &s);
            assert_memory_equal(shared, alone, sizeof alone);
        }
    }
    threads_set(threads);
    mem_free((void *)(uintptr_t)s.a.at);
    mem_free((void *)(uintptr_t)s.b.at);
}

static void a_library_can_be_named(void **state) {
    const struct gemm *all[LIBRARIES_MOST], *before = gemm();
    size_t count = gemm_available(all, LIBRARIES_MOST);
    double flops[LIBRARIES_MOST];
    (void)state;
    gemm_measure(all, count, flops);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(gemm_select(all[i]->name), 0);
        assert_ptr_equal(gemm(), all[i]);
        assert_true(flops[i] > 0 && flops[i] < 1e14);
    }
    assert_int_equal(gemm_select("mkl"), -1);
    assert_ptr_equal(gemm(), all[count - 1]); /* as it was */
    assert_int_equal(gemm_select(NULL), 0);
    assert_string_not_equal(gemm()->name, "plain");
    assert_int_equal(gemm_select(before->name), 0);
}

/* Generated code of oneDNN 2.6 keeps data where a handler on the same stack would write. */
static void handlers_have_a_stack_of_their_own(void **state) {
    struct sigaction before[2], now;
    stack_t stack_before, stack;
    static const int numbers[] = {SIGINT, SIGTERM};
    (void)state;
    sigaltstack(NULL, &stack_before);
    for (size_t i = 0; i < 2; i++) {
        sigaction(numbers[i], NULL, &before[i]);
    }
    catch_interrupts();
    sigaltstack(NULL, &stack);
    for (size_t i = 0; i < 2; i++) {
        sigaction(numbers[i], NULL, &now);
        sigaction(numbers[i], &before[i], NULL);
        assert_true(now.sa_flags & SA_ONSTACK);
    }
    assert_false(stack.ss_flags & SS_DISABLE);
    assert_true(stack.ss_size >= 1 << 16);
    sigaltstack(&stack_before, NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_library_keeps_the_bound),
    cmocka_unit_test(bits_do_not_depend_on_threads),
    cmocka_unit_test(a_library_can_be_named),
    cmocka_unit_test(handlers_have_a_stack_of_their_own),
};
const struct test_suite suite_gemm = {"gemm", tests, sizeof tests / sizeof tests[0]};
