/* See unpack.h. */
#include "base/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/memory.h"

extern char **environ;

enum { MAGIC_BYTES = 4 };

/* False also for a file that cannot be read: opening it says why. */
static bool starts_with(const char *path, const char *magic, size_t bytes) {
    char first[MAGIC_BYTES];
    int fd = is_directory(path) ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool same = read(fd, first, bytes) == (ssize_t)bytes && memcmp(first, magic, bytes) == 0;
    close(fd);
    return same;
}

bool is_zip_file(const char *path) { return starts_with(path, "PK\3\4", 4); }

/* Starts argv with its standard output in a pipe, of which *out is the end to read from. */
static enum status start(char *const *argv, const char *path, pid_t *child, int *out, struct error *e) {
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (pipe(ends) != 0) {
        return error_set(e, ERR_RUN, "%s: cannot unpack: %s", path, strerror(errno));
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    int why = posix_spawnp(child, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (why != 0) {
        close(ends[0]);
        return error_set(e, ERR_RUN, "%s: cannot start %s: %s (allowed: the file unpacked by hand)", path, argv[0],
                         strerror(why));
    }
    *out = ends[0];
    return OK;
}

/* All that the pipe gives, with a terminating 0. */
static enum status read_pipe(int fd, const char *path, size_t limit, char **text, size_t *bytes, struct error *e) {
    size_t capacity = 1 << 16, used = 0;
    char *buffer = mem_alloc(capacity, 1);
    while (buffer) {
        ssize_t got = read(fd, buffer + used, capacity - used - 1);
        if (got < 0 && errno == EINTR && !interrupted()) {
            continue;
        }
        if (got <= 0 || used + (size_t)got > limit) {
            buffer[used] = 0;
            *text = buffer;
            *bytes = used;
            return got == 0 ? OK
                            : error_set(e, ERR_RUN, "%s: cannot unpack: %s", path,
                                        got < 0 ? strerror(errno) : "too large");
        }
        used += (size_t)got;
        if (capacity - used < 2) {
            char *grown = mem_resize(buffer, capacity, 2 * capacity);
            if (!grown) {
                mem_free(buffer);
            }
            buffer = grown;
            capacity *= 2;
        }
    }
    return error_set(e, ERR_RUN, "%s: out of memory", path);
}

static enum status read_program(char *const *argv, const char *path, size_t limit, char **text, size_t *bytes,
                                struct error *e) {
    pid_t child;
    int out = -1, result = 0;
    *text = NULL;
    *bytes = 0;
    TRY(start(argv, path, &child, &out, e));
    enum status s = read_pipe(out, path, limit, text, bytes, e);
    close(out); /* a program that still writes ends by it */
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) {
    }
    if (s == OK && result != 0) {
        s = error_set(e, ERR_RUN, "%s: %s cannot unpack it: missing or damaged?", path, argv[0]);
    }
    if (s != OK) {
        mem_free(*text);
        *text = NULL;
    }
    return s;
}

/* A path that cannot be taken for an option. mem_free. */
static char *plain_path(const char *path) { return path[0] == '-' ? path_join(".", path) : mem_strdup(path); }

enum status read_packed_file(const char *path, size_t limit, char **text, size_t *bytes, struct error *e) {
    if (!starts_with(path, "BZh", 3)) {
        return is_zip_file(path)
                   ? error_set(e, ERR_RUN, "%s: a ZIP archive (allowed: plain text, or packed with bzip2)", path)
                   : read_file(path, limit, text, bytes, e);
    }
    char *plain = plain_path(path), program[] = "bzip2", options[] = "-dc";
    char *const argv[] = {program, options, plain, NULL};
    enum status s = plain ? read_program(argv, path, limit, text, bytes, e)
                          : error_set(e, ERR_RUN, "%s: out of memory", path);
    mem_free(plain);
    return s;
}

enum status zip_names(const char *path, size_t limit, char **text, size_t *bytes, struct error *e) {
    char *plain = plain_path(path), program[] = "unzip", options[] = "-Z1";
    char *const argv[] = {program, options, plain, NULL};
    enum status s = plain ? read_program(argv, path, limit, text, bytes, e)
                          : error_set(e, ERR_RUN, "%s: out of memory", path);
    mem_free(plain);
    return s;
}

enum status zip_entry_text(const char *path, const char *name, size_t limit, char **text, size_t *bytes,
                           struct error *e) {
    char *plain = plain_path(path), *entry = mem_strdup(name), program[] = "unzip", options[] = "-p";
    char *const argv[] = {program, options, plain, entry, NULL};
    enum status s = plain && entry ? read_program(argv, path, limit, text, bytes, e)
                                   : error_set(e, ERR_RUN, "%s: out of memory", path);
    mem_free(plain);
    mem_free(entry);
    return s;
}
