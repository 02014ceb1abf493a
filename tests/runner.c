/* Runs all suites, or those named on the command line; closes with "N passed, N failed, N skipped".
 * usage: test [--list] [--mho PATH] [--shared DIR] [suite | suite.test]...
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "tests/suite.h"

static const char *mho_program = "build/mho";
static const char *shared_folder = "../shared";
static char scratch_root[256];
static bool test_was_skipped;

const char *mho_path(void) { return mho_program; }

void skip_because(const char *reason) {
    printf("skip: %s\n", reason);
    test_was_skipped = true;
    skip();
}

static char *next_buffer(void) {
    static char buffers[4][1024];
    static unsigned turn;
    return buffers[turn++ % 4];
}

const char *shared_path(const char *relative) {
    char *path = next_buffer();
    snprintf(path, 1024, "%s/%s", shared_folder, relative);
    if (access(path, R_OK) != 0) {
        char reason[1200];
        snprintf(reason, sizeof reason, "%s is not there (set SHARED=)", path);
        skip_because(reason);
    }
    return path;
}

const char *golden_path(const char *relative) {
    char *path = next_buffer();
    snprintf(path, 1024, "tests/golden/%s", relative);
    if (access(path, R_OK) == 0) {
        return path;
    }
    snprintf(path, 1024, "golden/%s", relative);
    return shared_path(path);
}

static void remove_tree(const char *path) {
    DIR *d = opendir(path);
    if (d) {
        struct dirent *entry;
        while ((entry = readdir(d))) {
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                char child[2048];
                snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
                remove_tree(child);
            }
        }
        closedir(d);
        rmdir(path);
    } else {
        unlink(path);
    }
}

const char *scratch_directory(void) {
    static unsigned serial;
    char *path = next_buffer();
    if (!scratch_root[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(scratch_root, sizeof scratch_root, "%s/mho-test-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(scratch_root)) {
            fail_msg("cannot make %s: %s", scratch_root, strerror(errno));
        }
    }
    snprintf(path, 1024, "%s/%u", scratch_root, serial++);
    mkdir(path, 0755);
    return path;
}

/* ---- running the program --------------------------------------------------------------------- */

struct capture { int fd; char *text; size_t used, capacity; };

static void capture_read(struct capture *c) {
    if (c->used + 4096 + 1 > c->capacity) {
        size_t grown = c->capacity ? 2 * c->capacity : 1 << 16;
        c->text = mem_resize(c->text, c->capacity, grown);
        c->capacity = grown;
    }
    ssize_t n = read(c->fd, c->text + c->used, 4096);
    if (n <= 0) {
        close(c->fd);
        c->fd = -1;
    } else {
        c->used += (size_t)n;
    }
    c->text[c->used] = 0;
}

static void collect(struct capture c[2], pid_t child, double deadline_s, bool *timed_out) {
    while (c[0].fd >= 0 || c[1].fd >= 0) {
        struct pollfd p[2] = {{c[0].fd, POLLIN, 0}, {c[1].fd, POLLIN, 0}};
        if (now_s() > deadline_s) {
            *timed_out = true;
            kill(child, SIGKILL);
        }
        poll(p, 2, 200);
        for (int i = 0; i < 2; i++) {
            if (c[i].fd >= 0 && p[i].revents) {
                capture_read(&c[i]);
            }
        }
    }
}

int run_mho(const char *const *args, double timeout_s, char **out, char **err) {
    return run_program(mho_program, args, timeout_s, out, err);
}

int run_program(const char *program, const char *const *args, double timeout_s, char **out, char **err) {
    const char *argv[128] = {program};
    for (size_t i = 0; args[i] && i < 126; i++) {
        argv[i + 1] = args[i];
    }
    int po[2], pe[2];
    if (pipe(po) != 0 || pipe(pe) != 0) {
        fail_msg("pipe: %s", strerror(errno));
    }
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDONLY);
        dup2(null, 0);
        dup2(po[1], 1);
        dup2(pe[1], 2);
        close(po[0]);
        close(pe[0]);
        execvp(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(po[1]);
    close(pe[1]);
    struct capture c[2] = {{po[0], NULL, 0, 0}, {pe[0], NULL, 0, 0}};
    bool timed_out = false;
    collect(c, child, now_s() + timeout_s, &timed_out);
    int status = 0;
    waitpid(child, &status, 0);
    if (out) { *out = c[0].text; } else { mem_free(c[0].text); }
    if (err) { *err = c[1].text; } else { mem_free(c[1].text); }
    if (timed_out) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct json_t *mho_json(const char *const *args) {
    char *out, *err;
    json_error_t where;
    int status = run_mho(args, 120, &out, &err);
    if (status != 0) {
        fail_msg("mho %s: status %d: %s", args[0], status, err);
    }
    json_t *root = json_loads(out, JSON_REJECT_DUPLICATES, &where);
    if (!root) {
        fail_msg("mho %s: not JSON: %s", args[0], where.text);
    }
    mem_free(out);
    mem_free(err);
    return root;
}

/* ---- the runner ------------------------------------------------------------------------------- */

static bool wanted(const char *suite, const char *test, char **names, int count) {
    char full[512];
    snprintf(full, sizeof full, "%s.%s", suite, test);
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], suite) == 0 || strcmp(names[i], full) == 0) {
            return true;
        }
    }
    return count == 0;
}

struct totals { int passed, failed, skipped; };

static void run_one(const char *suite, const struct CMUnitTest *test, struct totals *t) {
    test_was_skipped = false;
    double start_s = now_s();
    int failed = _cmocka_run_group_tests(suite, test, 1, NULL, NULL);
    const char *word = failed ? "FAILED" : test_was_skipped ? "skipped" : "ok";
    printf("%-8s %s.%s (%.1f s)\n", word, suite, test->name, now_s() - start_s);
    fflush(stdout);
    t->failed += failed != 0;
    t->skipped += !failed && test_was_skipped;
    t->passed += !failed && !test_was_skipped;
}

int main(int argc, char **argv) {
    bool list = false;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        if (strcmp(argv[first], "--list") == 0) {
            list = true;
        } else if (first + 1 < argc && strcmp(argv[first], "--mho") == 0) {
            mho_program = argv[++first];
        } else if (first + 1 < argc && strcmp(argv[first], "--shared") == 0) {
            shared_folder = argv[++first];
        } else {
            fprintf(stderr, "usage: test [--list] [--mho PATH] [--shared DIR] [suite | suite.test]...\n");
            return 2;
        }
    }
    set_program_path(mho_program);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    struct totals t = {0, 0, 0};
    for (size_t s = 0; all_suites[s]; s++) {
        for (size_t i = 0; i < all_suites[s]->count; i++) {
            const struct CMUnitTest *test = &all_suites[s]->tests[i];
            if (!wanted(all_suites[s]->name, test->name, argv + first, argc - first)) {
                continue;
            }
            if (list) {
                printf("%s.%s\n", all_suites[s]->name, test->name);
            } else {
                run_one(all_suites[s]->name, test, &t);
            }
        }
    }
    if (scratch_root[0]) {
        remove_tree(scratch_root);
    }
    if (!list) {
        printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped);
    }
    return t.failed ? 1 : 0;
}
