/* Errors, memory, files, outputs, interrupts, progress: what base/ promises of the operating system. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/quantity.h"
#include "tests/files.h"

static struct error err;

static void assert_content(const char *path, const char *expected) {
    char *text;
    size_t bytes;
    assert_int_equal(read_file(path, 1 << 20, &text, &bytes, &err), OK);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
    mem_free(text);
}

static const char *in(const char *folder, const char *name) {
    static char paths[4][1200];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static size_t entries_of(const char *folder) {
    char command[1300];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *p = popen(command, "r");
    unsigned long count = 999;
    assert_int_equal(fscanf(p, "%lu", &count), 1);
    pclose(p);
    return count;
}

/* ---- errors ----------------------------------------------------------------------------------------- */

static void error_messages(void **state) {
    (void)state;
    struct error e;
    assert_int_equal(error_set(&e, ERR_USAGE, "a%d", 1), ERR_USAGE);
    assert_int_equal(e.status, ERR_USAGE);
    assert_string_equal(e.message, "a1");
    assert_int_equal(error_prefix(&e, "b%d", 2), ERR_USAGE);
    assert_string_equal(e.message, "b2: a1");
    error_set(&e, ERR_RUN, "%s", "tab\tescape\x1b[31m bad\xff good\xc3\xa4");
    assert_string_equal(e.message, "tab\\x09escape\\x1b[31m bad\\xff good\xc3\xa4");
    assert_int_equal(error_set(NULL, ERR_RUN, "nobody listens"), ERR_RUN);
}

static void long_errors_are_cut(void **state) {
    (void)state;
    struct error e;
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    error_set(&e, ERR_RUN, "%s", text);
    assert_true(strlen(e.message) < sizeof e.message);
    assert_true(strlen(e.message) > 900);
    for (int i = 0; i < 2000; i++) {
        error_prefix(&e, "prefix");
    }
    assert_true(strlen(e.message) < sizeof e.message);
    memset(text, 1, sizeof text - 1); /* every byte grows fourfold */
    error_set(&e, ERR_RUN, "%s", text);
    assert_string_equal(e.message + strlen(e.message) - 3, "...");
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static void blocks_are_zeroed_and_aligned(void **state) {
    (void)state;
    unsigned char *block = mem_alloc(7, 13);
    assert_int_equal((uintptr_t)block % MEM_ALIGNMENT, 0);
    for (int i = 0; i < 91; i++) {
        assert_int_equal(block[i], 0);
    }
    memset(block, 5, 91);
    block = mem_resize(block, 91, 5000);
    assert_int_equal((uintptr_t)block % MEM_ALIGNMENT, 0);
    assert_int_equal(block[90], 5);
    mem_free(block);
    block = mem_alloc(0, 8);
    assert_non_null(block);
    mem_free(block);
    mem_free(NULL);
}

static void impossible_sizes_give_null(void **state) {
    (void)state;
    assert_null(mem_alloc(SIZE_MAX, 2));
    assert_null(mem_alloc(SIZE_MAX / 2 + 1, 2));
    assert_null(mem_alloc(1, SIZE_MAX - 3));
    struct arena *a = arena_create();
    assert_null(arena_alloc(a, SIZE_MAX / 4, 8));
    assert_null(arena_alloc(a, SIZE_MAX, 1));
    assert_non_null(arena_alloc(a, 3, 5));
    arena_destroy(a);
}

static void the_nth_allocation_fails_once(void **state) {
    (void)state;
    mem_fail_at(2);
    void *first = mem_alloc(1, 1), *second = mem_alloc(1, 1), *third = mem_alloc(1, 1);
    mem_fail_at(0);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    mem_free(first);
    mem_free(third);
}

static void guard_counts_allocations(void **state) {
    (void)state;
    mem_guard_arm();
    assert_int_equal(mem_guard_disarm(), 0);
    mem_guard_arm();
    void *block = mem_alloc(1, 1);
    block = mem_resize(block, 1, 2);
    assert_int_equal(mem_guard_disarm(), 2);
    mem_free(block);
}

static void arenas_hold_many_blocks(void **state) {
    (void)state;
    struct arena *a = arena_create();
    char *kept[300];
    for (int i = 0; i < 300; i++) {
        kept[i] = arena_alloc(a, 1, 1 + (size_t)i * 17);
        assert_int_equal((uintptr_t)kept[i] % 16, 0);
        for (int j = 0; j < 1 + i * 17; j++) {
            assert_int_equal(kept[i][j], 0);
        }
        memset(kept[i], i, 1 + (size_t)i * 17);
    }
    for (int i = 0; i < 300; i++) {
        assert_int_equal((unsigned char)kept[i][i * 17], (unsigned char)i);
    }
    assert_string_equal(arena_printf(a, "%d %s", 42, "words"), "42 words");
    assert_string_equal(arena_strndup(a, "cut here", 3), "cut");
    arena_destroy(a);
    arena_destroy(NULL);
}

/* ---- files ------------------------------------------------------------------------------------------ */

static void mapping_a_file(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in(folder, "f");
    write_text(path, "hello");
    struct mapped_file f;
    assert_int_equal(map_file(path, &f, &err), OK);
    assert_int_equal(f.bytes, 5);
    assert_memory_equal(f.data, "hello", 5);
    unmap_file(&f);
    assert_null(f.data);
    unmap_file(&f);
}

static void assert_unmappable(const char *path, const char *why) {
    struct mapped_file f;
    char expected[2048];
    snprintf(expected, sizeof expected, "%s: %s", path, why);
    assert_int_equal(map_file(path, &f, &err), ERR_RUN);
    assert_string_equal(err.message, expected);
    assert_null(f.data);
}

static void what_cannot_be_mapped(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    assert_unmappable(in(folder, "absent"), "cannot open: No such file or directory");
    assert_unmappable(folder, "cannot read: is a folder (allowed: a regular file)");
    assert_unmappable("/dev/null", "cannot read: is a pipe or a device (allowed: a regular file)");
    const char *empty = in(folder, "empty"), *fifo = in(folder, "fifo");
    write_text(empty, "");
    assert_unmappable(empty, "cannot read: the file is empty");
    assert_int_equal(mkfifo(fifo, 0600), 0); /* must not wait for a writer */
    assert_unmappable(fifo, "cannot read: is a pipe or a device (allowed: a regular file)");
}

static void reading_whole_files(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in(folder, "f");
    char *text, expected[2048];
    size_t bytes;
    write_text(path, "12345");
    assert_content(path, "12345");
    assert_int_equal(read_file(path, 5, &text, &bytes, &err), OK);
    mem_free(text);
    assert_int_equal(read_file(path, 4, &text, &bytes, &err), ERR_RUN);
    assert_null(text);
    snprintf(expected, sizeof expected, "%s: file too large (allowed: up to 4 bytes)", path);
    assert_string_equal(err.message, expected);
    assert_int_equal(read_file(folder, 4, &text, &bytes, &err), ERR_RUN);
    assert_int_equal(read_file("/dev/zero", 1 << 20, &text, &bytes, &err), ERR_RUN); /* endless */
    assert_null(text);
}

static void reading_large_files(void **state) {
    (void)state;
    const char *path = in(scratch_directory(), "large");
    FILE *f = fopen(path, "wb");
    for (int i = 0; i < 300000; i++) {
        fputc(i % 251, f);
    }
    fclose(f);
    char *text;
    size_t bytes;
    assert_int_equal(read_file(path, 300000, &text, &bytes, &err), OK);
    assert_int_equal(bytes, 300000);
    for (int i = 0; i < 300000; i += 997) {
        assert_int_equal((unsigned char)text[i], i % 251);
    }
    assert_int_equal(text[bytes], 0);
    mem_free(text);
    for (size_t n = 1; n <= 4; n++) { /* first block and each growth */
        mem_fail_at(n);
        enum status status = read_file(path, 300000, &text, &bytes, &err);
        mem_fail_at(0);
        if (status == OK) {
            assert_int_equal(n, 4); /* 64 -> 128 -> 256 -> 512 kB: three growths and the first block */
        }
        mem_free(text);
    }
}

static void joining_paths(void **state) {
    (void)state;
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < 4; i++) {
        char *joined = path_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        mem_free(joined);
    }
}

static void making_folders(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *deep = in(folder, "a/b//c/");
    char expected[2048];
    assert_int_equal(make_directory(deep, &err), OK);
    assert_true(is_directory(in(folder, "a/b/c")));
    assert_int_equal(make_directory(deep, &err), OK);
    write_text(in(folder, "file"), "x");
    const char *through = in(folder, "file/sub"), *onto = in(folder, "file");
    assert_int_equal(make_directory(onto, &err), ERR_RUN);
    snprintf(expected, sizeof expected, "%s: cannot make the folder: a file of that name exists", onto);
    assert_string_equal(err.message, expected);
    assert_int_equal(make_directory(through, &err), ERR_RUN);
    assert_int_equal(make_directory("", &err), ERR_RUN);
    assert_true(file_exists(onto));
    assert_false(file_exists(folder));
    assert_false(is_directory(onto));
}

static void folder_of_the_data(void **state) {
    (void)state;
    const char *tree = scratch_directory();
    assert_int_equal(make_directory(in(tree, "configs/chips"), &err), OK);
    assert_int_equal(make_directory(in(tree, "build/asan"), &err), OK);
    static const char *const programs[] = {"build/mho", "build/asan/mho"};
    for (int i = 0; i < 2; i++) {
        const char *program = in(tree, programs[i]);
        write_text(program, "");
        set_program_path(program);
        char *real = realpath(tree, NULL);
        assert_string_equal(data_directory(), real);
        free(real);
    }
    const char *prefix = scratch_directory(), *program = in(prefix, "bin/mho"); /* installed */
    char expected[2048];
    assert_int_equal(make_directory(in(prefix, "share/mho/configs/chips"), &err), OK);
    assert_int_equal(make_directory(in(prefix, "bin"), &err), OK);
    write_text(program, "");
    set_program_path(program);
    char *real = realpath(prefix, NULL);
    snprintf(expected, sizeof expected, "%s/share/mho", real);
    assert_string_equal(data_directory(), expected);
    free(real);
    /* A bare name, found through PATH, says nothing: the running program counts, which lies in this tree. */
    set_program_path("mho");
    const char *found = data_directory();
    assert_true(!found || is_directory(in(found, "configs/chips")));
    set_program_path(mho_path());
}

/* ---- outputs ---------------------------------------------------------------------------------------- */

static void outputs_appear_at_commit(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in(folder, "report.json");
    struct output *o;
    assert_int_equal(output_create(path, &o, &err), OK);
    fputs("new", output_stream(o));
    assert_false(file_exists(path));
    assert_int_equal(entries_of(folder), 1);
    assert_int_equal(output_commit(o, &err), OK);
    assert_content(path, "new");
    assert_int_equal(entries_of(folder), 1);
}

/* A temporary of a process that is gone, a minute old, is removed by the next run that writes the name; nothing else
 * is. */
static void temporaries_of_killed_runs_are_removed(void **state) {
    (void)state;
    char folder[900], names[7][32];
    struct output *o;
    struct stat info;
    int status;
    snprintf(folder, sizeof folder, "%s", scratch_directory());
    pid_t gone = fork();
    if (gone == 0) {
        _exit(0);
    }
    waitpid(gone, &status, 0);
    snprintf(names[0], sizeof names[0], "a.tmp-%ld", (long)gone);
    snprintf(names[1], sizeof names[1], "a.tmp-%ld", (long)getppid());
    snprintf(names[2], sizeof names[2], "a.tmp-%ldx", (long)gone);
    snprintf(names[3], sizeof names[3], "aa.tmp-%ld", (long)gone);
    snprintf(names[4], sizeof names[4], "a.tmp-");
    snprintf(names[5], sizeof names[5], "a.tmp-0%ld", (long)gone); /* young */
    snprintf(names[6], sizeof names[6], "a.tmp-00%ld", (long)gone); /* a folder */
    for (size_t i = 0; i < 7; i++) {
        const char *path = in(folder, names[i]);
        i == 6 ? mkdir(path, 0777) : (write_bytes(path, "x", 1), 0);
        const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = time(NULL) - (i == 5 ? 30 : 90)}};
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    }
    assert_int_equal(output_create(in(folder, "a"), &o, &err), OK);
    assert_int_equal(output_commit(o, &err), OK);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(stat(in(folder, names[i]), &info) == 0, i > 0);
    }
}

static void aborted_outputs_leave_the_old_file(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in(folder, "report.json");
    write_text(path, "old");
    struct output *o;
    assert_int_equal(output_create(path, &o, &err), OK);
    fputs("new", output_stream(o));
    output_abort(o);
    output_abort(NULL);
    assert_content(path, "old");
    assert_int_equal(entries_of(folder), 1);
}

static void assert_not_writable(const char *path, const char *why) {
    struct output *o;
    char expected[2048];
    snprintf(expected, sizeof expected, "%s: %s", path, why);
    assert_int_equal(output_create(path, &o, &err), ERR_RUN);
    assert_string_equal(err.message, expected);
    assert_null(o);
}

static void where_nothing_can_be_written(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *file = in(folder, "file");
    write_text(file, "x");
    assert_not_writable(in(folder, "absent/out"), "cannot write: No such file or directory");
    assert_not_writable(in(folder, "file/out"), "cannot write: Not a directory");
    assert_not_writable(folder, "cannot write: is a folder (allowed: the name of a file)");
    /* Renaming onto a device would replace it, given the rights. */
    assert_not_writable("/dev/null", "cannot write: is a pipe or a device (allowed: the name of a file)");
    struct output *o;
    assert_int_equal(output_create("", &o, &err), ERR_RUN);
    assert_string_equal(err.message, "cannot write: the file name is empty");
    assert_int_equal(entries_of(folder), 1);
}

static void one_file_is_written_once_at_a_time(void **state) {
    (void)state;
    const char *path = in(scratch_directory(), "out");
    struct output *o, *again;
    char expected[2048];
    assert_int_equal(output_create(path, &o, &err), OK);
    assert_int_equal(output_create(path, &again, &err), ERR_RUN);
    snprintf(expected, sizeof expected, "%s: cannot write: this run is already writing it", path);
    assert_string_equal(err.message, expected);
    assert_int_equal(output_commit(o, &err), OK);
    assert_int_equal(output_create(path, &o, &err), OK);
    output_abort(o);
}

/* A limit on the size of files stands for the full disk: the write fails in the same place. */
static void write_beyond_limit(size_t bytes, bool room_again, const char *why) {
    const char *folder = scratch_directory(), *path = in(folder, "out");
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    write_text(path, "old");
    struct output *o;
    assert_int_equal(output_create(path, &o, &err), OK);
    small = old;
    small.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &small);
    for (size_t i = 0; i < bytes; i++) {
        fputc('x', output_stream(o));
    }
    if (room_again) { /* someone made room before the commit, but bytes in the middle are lost */
        setrlimit(RLIMIT_FSIZE, &old);
        fflush(output_stream(o));
    }
    enum status status = output_commit(o, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, ERR_RUN);
    char expected[2048];
    snprintf(expected, sizeof expected, "%s: cannot write: %s", path, why);
    assert_string_equal(err.message, expected);
    assert_content(path, "old");
    assert_int_equal(entries_of(folder), 1);
}

static void a_full_disk_shows_at_commit(void **state) {
    (void)state;
    write_beyond_limit(100000, false, "File too large"); /* seen while writing */
    write_beyond_limit(4097, false,
                       "File too large"); /* seen when the last bytes are flushed, if the buffer is larger */
    write_beyond_limit(100000, true, "Input/output error");
}

static void outputs_without_memory(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in(folder, "out");
    for (size_t n = 1; n <= 3; n++) {
        struct output *o;
        mem_fail_at(n);
        enum status status = output_create(path, &o, &err);
        mem_fail_at(0);
        assert_int_equal(status, ERR_RUN);
        assert_null(o);
    }
    assert_int_equal(entries_of(folder), 0);
}

/* ---- interrupts ------------------------------------------------------------------------------------- */

/* Runs in a child: one signal lets the run end by itself, a second kills it and takes the temporary along. */
static int interrupted_child(const char *path, int signals) {
    struct output *o;
    catch_interrupts();
    if (check_interrupted(&err) != OK || output_create(path, &o, &err) != OK) {
        return 10;
    }
    for (int i = 0; i < signals; i++) {
        raise(SIGINT);
    }
    if (check_interrupted(&err) != ERR_RUN || strcmp(err.message, "interrupted") != 0) {
        return 11;
    }
    output_abort(o);
    return 12;
}

static int wait_for_child(const char *path, int signals) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        _exit(interrupted_child(path, signals));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void interrupts_remove_temporaries(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *path = in(folder, "out");
    assert_int_equal(wait_for_child(path, 1), 12);
    assert_int_equal(entries_of(folder), 0);
    assert_int_equal(wait_for_child(path, 2), 128 + SIGINT);
    assert_int_equal(entries_of(folder), 0);
    assert_false(interrupted());
}

/* ---- progress --------------------------------------------------------------------------------------- */

static void show_progress(void) {
    struct progress *p = progress_create("reading \xc3\xa4\xc3\xb6\xc3\xbc", 100);
    for (uint64_t i = 0; i < 3; i++) {
        progress_update(p, 25);
    }
    notice("a remark\x1b");
    notice("a remark%s", "\x1b"); /* said already */
    progress_update(p, 50);
    progress_destroy(p);
}

/* What show_progress writes to stderr when that is `fd`. */
static void with_stderr(int fd) {
    fflush(stderr);
    int saved = dup(2);
    dup2(fd, 2);
    show_progress();
    fflush(stderr);
    progress_set_quiet(false); /* forgets the remark */
    dup2(saved, 2);
    close(saved);
}

static void no_progress_on_a_pipe(void **state) {
    (void)state;
    int ends[2];
    char seen[256];
    assert_int_equal(pipe(ends), 0);
    with_stderr(ends[1]);
    close(ends[1]);
    ssize_t n = read(ends[0], seen, sizeof seen - 1);
    close(ends[0]);
    seen[n > 0 ? n : 0] = 0;
    assert_string_equal(seen, "mho: a remark\\x1b\n");
}

/* Everything that show_progress writes to a terminal of that many columns, in a static buffer. */
static const char *on_terminal(unsigned short columns) {
    static char seen[4096];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        skip_because("no pseudo terminals here");
    }
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    assert_int_equal(ioctl(terminal, TIOCSWINSZ, &size), 0);
    with_stderr(terminal);
    assert_true(write(terminal, "$", 1) == 1); /* so that there is something to read, always */
    size_t used = 0;
    do {
        ssize_t n = read(master, seen + used, sizeof seen - used - 1);
        assert_true(n > 0);
        used += (size_t)n;
        seen[used] = 0;
    } while (seen[used - 1] != '$');
    close(terminal);
    close(master);
    return seen;
}

static void progress_on_a_terminal(void **state) {
    (void)state;
    const char *seen = on_terminal(80);
    assert_string_equal(seen, "\rreading \xc3\xa4\xc3\xb6\xc3\xbc [#####...............]  25 %  ETA 0:00\033[K"
                              "\r\033[Kmho: a remark\\x1b\r\n"
                              "$");
}

static void progress_fits_small_terminals(void **state) {
    (void)state;
    assert_non_null(strstr(on_terminal(30), "\rreading \xc3\xa4\xc3\xb6\xc3\xbc  25 %  ETA 0:00\033[K"));
    assert_non_null(strstr(on_terminal(20), "\r 25 % reading \xc3\xa4\xc3\xb6\xc3\xbc\033[K")); /* 18 columns */
    assert_non_null(strstr(on_terminal(16), "\r 25 % reading \xc3\xa4\033[K"));
    assert_non_null(strstr(on_terminal(3), "\r 2\033[K"));
}

static void quiet_is_silent(void **state) {
    (void)state;
    progress_set_quiet(true);
    const char *seen = on_terminal(80);
    progress_set_quiet(false);
    assert_string_equal(seen, "$");
}

/* ---- clock ------------------------------------------------------------------------------------------ */

static void clock_runs_forward(void **state) {
    (void)state;
    double before = now_s();
    usleep(2000);
    double passed = now_s() - before;
    assert_true(passed >= 0.002);
    assert_true(passed < 60); /* seconds, not milliseconds */
}

/* At most eight characters, and three digits that are right: nothing is ever cut off. */
static void quantities_are_short(void **state) {
    (void)state;
    static const struct {
        double mm2;
        const char *text;
    } areas[] = {{0.768, "0.77 mm2"}, {94.9, "94.9 mm2"}, {999.4, "999 mm2"}, {1000, "10.0 cm2"}, {10300, "103 cm2"},
                 {999000, "9990 cm2"}, {1.4e6, "1.40 m2"}, {0.0099, "9900 um2"}, {3e-6, "3.00 um2"}, {0, "0 mm2"}};
    static const struct {
        double value;
        const char *text;
    } digits[] = {{1.206, "1.21"}, {33.54, "33.5"}, {99.96, "100"}, {10300.4, "10300"}, {0.0012, "0.00120"},
                  {0, "0"}, {2.5e7, "2.50e+07"}, {3e-7, "3.00e-07"}};
    char text[QUANTITY_BYTES];
    for (size_t i = 0; i < sizeof areas / sizeof areas[0]; i++) {
        assert_string_equal(quantity_area(areas[i].mm2, text), areas[i].text);
        assert_true(strlen(text) <= 8);
    }
    for (size_t i = 0; i < sizeof digits / sizeof digits[0]; i++) {
        assert_string_equal(three_digits(digits[i].value, text), digits[i].text);
    }
    assert_string_equal(quantity(0.0000123, "J", text), "12.3 uJ");
    assert_string_equal(quantity((double)NAN, "J", text), "-");
    assert_string_equal(quantity_area((double)NAN, text), "-");
    assert_string_equal(quantity_scale(2.5e-9, "s").unit, "ns");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(quantities_are_short),
    cmocka_unit_test(error_messages),
    cmocka_unit_test(long_errors_are_cut),
    cmocka_unit_test(blocks_are_zeroed_and_aligned),
    cmocka_unit_test(impossible_sizes_give_null),
    cmocka_unit_test(the_nth_allocation_fails_once),
    cmocka_unit_test(guard_counts_allocations),
    cmocka_unit_test(arenas_hold_many_blocks),
    cmocka_unit_test(mapping_a_file),
    cmocka_unit_test(what_cannot_be_mapped),
    cmocka_unit_test(reading_whole_files),
    cmocka_unit_test(reading_large_files),
    cmocka_unit_test(joining_paths),
    cmocka_unit_test(making_folders),
    cmocka_unit_test(folder_of_the_data),
    cmocka_unit_test(outputs_appear_at_commit),
    cmocka_unit_test(temporaries_of_killed_runs_are_removed),
    cmocka_unit_test(aborted_outputs_leave_the_old_file),
    cmocka_unit_test(where_nothing_can_be_written),
    cmocka_unit_test(one_file_is_written_once_at_a_time),
    cmocka_unit_test(a_full_disk_shows_at_commit),
    cmocka_unit_test(outputs_without_memory),
    cmocka_unit_test(interrupts_remove_temporaries),
    cmocka_unit_test(no_progress_on_a_pipe),
    cmocka_unit_test(progress_on_a_terminal),
    cmocka_unit_test(progress_fits_small_terminals),
    cmocka_unit_test(quiet_is_silent),
    cmocka_unit_test(clock_runs_forward),
};

const struct test_suite suite_base = {"base", tests, sizeof tests / sizeof tests[0]};
