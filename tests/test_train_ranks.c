/* Training by several processes (mpirun): the same run as that of one process but for the rounding of the gradients'
 * sum, the same bits for the same number of processes, errors of any of them. Skipped where there is no mpirun. */
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/io.h"
#include "base/memory.h"
#include "tests/files.h"
#include "tests/golden.h"

enum { PATH_ROOM = 1200, WORDS_MOST = 120 };

/* ---- running ----------------------------------------------------------------------------------- */

struct words { const char *items[WORDS_MOST]; size_t count; };

static void say(struct words *w, const char *const *items) {
    for (size_t i = 0; items[i]; i++) {
        assert_in_range(w->count, 0, WORDS_MOST - 2);
        w->items[w->count++] = items[i];
    }
}

static const char *text_path(void) {
    static char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/configs/calibration/text.txt", data_directory());
    return path;
}

/* mho adapt train into `out`; batches of 4, shared by up to 3 processes: 1, 1 and 2 sequences of one. Without
 * converters: they turn a rounding error into a code that flips, and that into another run (as another kernel does). */
static void say_train(struct words *w, const char *data, const char *out, const char *more, const char *value) {
    const char *const items[] = {"adapt", "train", "--chip", "afm", "--set", "effects.dac=off", "--set",
                                 "effects.adc=off", "--steps", "6", "--batch", "4", "--length", "16", "--lr", "1e-3",
                                 "--checkpoint-every", "1", "--validate-every", "3", "--split", "0.01", "--threads",
                                 "1", "--data", data, "--out", out, more, value, NULL};
    say(w, items);
}

/* The same with converters, whose input ranges are taken from all of a batch: its first step shows it. */
static void say_converting(struct words *w, const char *out) {
    const char *const items[] = {"adapt", "train", "--chip", "afm", "--steps", "1", "--batch", "4", "--length", "16",
                                 "--lr", "1e-3", "--split", "0.01", "--threads", "1", "--data", text_path(), "--out",
                                 out, NULL};
    say(w, items);
}

static int run(const struct words *w, char **out, char **err) {
    return run_program(w->items[0], w->items + 1, 60, out, err);
}

/* As root and on few processors Open MPI starts nothing unless it is told to; its own leaks are not ours. */
static void need_mpi(void) {
    static const char *const version[] = {"--version", NULL};
    char module[PATH_ROOM];
    snprintf(module, sizeof module, "%s", mho_path());
    char *slash = strrchr(module, '/');
    snprintf(slash ? slash + 1 : module, 32, "mho_mpi.so");
    if (run_program("mpirun", version, 20, NULL, NULL) != 0) {
        skip_because("no mpirun");
    }
    if (!file_exists(module)) {
        skip_because("mho was built without mpicc");
    }
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
    setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 1);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

static void start(struct words *w, const char *processes) {
    const char *const items[] = {"mpirun", "-n", processes, mho_path(), NULL};
    *w = (struct words){.count = 0};
    say(w, items + (processes ? 0 : 3));
}

static void must_run(const struct words *w, char **printed, char **said) {
    char *out, *err;
    int status = run(w, &out, &err);
    if (status != 0) {
        fail_msg("%s: status %d: %s", w->items[0], status, err);
    }
    if (printed) {
        *printed = out;
        *said = err;
        return;
    }
    mem_free(out);
    mem_free(err);
}

/* processes NULL: one, without mpirun. */
static void train_with(const char *processes, const char *out, const char *more, const char *value, char **printed,
                       char **said) {
    struct words w;
    start(&w, processes);
    say_train(&w, text_path(), out, more, value);
    must_run(&w, printed, said);
}

static void train_by(const char *processes, const char *out, const char *more, char **printed, char **said) {
    train_with(processes, out, more, NULL, printed, said);
}

static const char *folder(char path[PATH_ROOM]) {
    snprintf(path, PATH_ROOM, "%s", scratch_directory());
    return path;
}

static const char *inside(const char *folder, const char *name) {
    static char paths[2][PATH_ROOM + 32];
    static int next;
    next = 1 - next;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

/* ---- the same run ------------------------------------------------------------------------------ */

static void assert_same_file(const char *a, const char *b, const char *name) {
    struct error e;
    struct mapped_file fa, fb;
    must(map_file(inside(a, name), &fa, &e), &e);
    must(map_file(inside(b, name), &fb, &e), &e);
    assert_int_equal(fa.bytes, fb.bytes);
    assert_int_equal(memcmp(fa.data, fb.data, fa.bytes), 0);
    unmap_file(&fa);
    unmap_file(&fb);
}

static double cell(const char *folder, size_t row, const char *name) {
    struct error e;
    struct csv *csv;
    size_t column;
    double value;
    must(csv_read(inside(folder, "train.csv"), CSV_HEADER, &csv, &e), &e);
    must(csv_require(csv, name, &column, &e), &e);
    must(csv_number(csv, row, column, &value, &e), &e);
    csv_destroy(csv);
    return value;
}

/* The gradients' sum is rounded otherwise, and AdamW turns a part of 1e-7 of a small gradient into a small step: losses
 * of 0.4 to 0.8 part by 2e-7, norms of 2 to 6 by 1e-6. The first loss has seen no gradient: double rounding alone. */
static void assert_near_run(const char *a, const char *b) {
    assert_near(cell(a, 0, "loss"), cell(b, 0, "loss"), 1e-12);
    for (size_t row = 1; row < 6; row++) {
        assert_near(cell(a, row, "loss"), cell(b, row, "loss"), 1e-5);
        assert_near(cell(a, row, "gradient_norm"), cell(b, row, "gradient_norm"), 1e-4);
    }
    assert_near(cell(a, 5, "chip_nats_per_token"), cell(b, 5, "chip_nats_per_token"), 1e-5);
    assert_near(cell(a, 5, "digital_nats_per_token"), cell(b, 5, "digital_nats_per_token"), 1e-5);
}

static size_t times(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++) {
        n++;
    }
    return n;
}

static void processes_share_a_run(void **state) {
    char alone[PATH_ROOM], two[PATH_ROOM], again[PATH_ROOM], *printed, *said;
    (void)state;
    need_mpi();
    train_by(NULL, folder(alone), NULL, NULL, NULL);
    train_by("2", folder(two), NULL, &printed, &said);
    assert_int_equal(times(printed, "6 steps"), 1); /* one process talks */
    assert_int_equal(times(said, "step 3 of 6"), 1);
    mem_free(printed);
    mem_free(said);
    assert_near_run(alone, two);
    train_by("2", folder(again), NULL, NULL, NULL);
    assert_same_file(two, again, "checkpoint.bin");
    assert_same_file(two, again, "model.safetensors");
}

/* The noise of both passes is that of the whole batch, too. */
static void mirrored_batches_are_shared(void **state) {
    char alone[PATH_ROOM], two[PATH_ROOM], recipe[PATH_ROOM];
    (void)state;
    need_mpi();
    snprintf(recipe, sizeof recipe, "%s", inside(scratch_directory(), "recipe.yaml"));
    write_text(recipe, "mirror: on\n");
    train_with(NULL, folder(alone), "--recipe", recipe, NULL, NULL);
    train_with("2", folder(two), "--recipe", recipe, NULL, NULL);
    assert_near_run(alone, two);
}

static void ranges_are_those_of_all_inputs(void **state) {
    char alone[PATH_ROOM], three[PATH_ROOM];
    struct words w;
    (void)state;
    need_mpi();
    start(&w, NULL);
    say_converting(&w, folder(alone));
    must_run(&w, NULL, NULL);
    start(&w, "3");
    say_converting(&w, folder(three));
    must_run(&w, NULL, NULL);
    assert_near(cell(alone, 0, "loss"), cell(three, 0, "loss"), 1e-12);
    assert_near(cell(alone, 0, "gradient_norm"), cell(three, 0, "gradient_norm"), 1e-6); /* of 3.3 */
}

/* One process, killed after its first checkpoints; three go on. */
static void another_number_goes_on(void **state) {
    char alone[PATH_ROOM], shared[PATH_ROOM];
    struct words w;
    int status;
    (void)state;
    need_mpi();
    train_by(NULL, folder(alone), NULL, NULL, NULL);
    start(&w, NULL);
    say_train(&w, text_path(), folder(shared), "--quiet", NULL);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stdout);
        execv(w.items[0], (char *const *)(uintptr_t)w.items);
        _exit(127);
    }
    for (int i = 0; i < 60000 && !file_exists(inside(shared, "checkpoint.bin")); i++) {
        usleep(500);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    train_by("3", shared, "--resume", NULL, NULL);
    assert_near_run(alone, shared);
}

/* ---- what must not be -------------------------------------------------------------------------- */

/* Two processes, the second with other data or another option; none must be left waiting. */
static void expect_refusal(const char *data, const char *more, const char *value, const char *part) {
    const char *const second[] = {":", "-n", "1", mho_path(), NULL};
    char out[PATH_ROOM], *err;
    struct words w;
    start(&w, "1");
    say_train(&w, text_path(), folder(out), NULL, NULL);
    say(&w, second);
    say_train(&w, data, out, more, value);
    int status = run(&w, NULL, &err);
    if (status <= 0 || status >= 128 || times(err, part) != 1) {
        fail_msg("status %d: %s (expected once: \"%s\")", status, err, part);
    }
    mem_free(err);
}

static void a_failing_process_ends_all(void **state) {
    (void)state;
    need_mpi();
    expect_refusal("nothing.txt", NULL, NULL, "mho: process 1 of 2: nothing.txt: ");
    expect_refusal(text_path(), "--seed", "9", "mho: process 1 of 2: train: another seed");
}

static void batches_are_large_enough(void **state) {
    char out[PATH_ROOM], *err;
    struct words w;
    (void)state;
    need_mpi();
    start(&w, "5");
    say_train(&w, text_path(), folder(out), NULL, NULL);
    assert_int_equal(run(&w, NULL, &err), 2);
    assert_int_equal(times(err, "batch = 4: 5 processes"), 1);
    mem_free(err);
}

/* A copy of the program has no module beside it. Needs no mpirun: only what it says to the programs that it starts. */
static void a_program_without_mpi_says_so(void **state) {
    struct error e;
    struct mapped_file f;
    char copy[PATH_ROOM], out[PATH_ROOM], *err;
    struct words w = {.count = 0};
    (void)state;
    snprintf(copy, sizeof copy, "%s/mho", scratch_directory());
    must(map_file(mho_path(), &f, &e), &e);
    write_bytes(copy, f.data, f.bytes);
    unmap_file(&f);
    chmod(copy, 0755);
    w.items[w.count++] = copy;
    say_train(&w, text_path(), folder(out), NULL, NULL);
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    int status = run(&w, NULL, &err);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    if (status != 1 || !strstr(err, "one of 2 processes, but mho was built without MPI")) {
        fail_msg("status %d: %s", status, err);
    }
    mem_free(err);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(processes_share_a_run),
    cmocka_unit_test(mirrored_batches_are_shared),
    cmocka_unit_test(ranges_are_those_of_all_inputs),
    cmocka_unit_test(another_number_goes_on),
    cmocka_unit_test(a_failing_process_ends_all),
    cmocka_unit_test(batches_are_large_enough),
    cmocka_unit_test(a_program_without_mpi_says_so),
};
const struct test_suite suite_train_ranks = {"train_ranks", tests, sizeof tests / sizeof tests[0]};
