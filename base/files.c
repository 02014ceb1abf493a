/* Reading files, making folders, finding the folder of the data (see io.h).
 *
 * Only regular files are mapped: an empty file, a folder, a pipe or a device gives an error before any
 * of its bytes is touched. read_file() also takes pipes and terminals, up to its limit.
 */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

#include "base/memory.h"

static enum status cannot(struct error *e, const char *path, const char *what) {
    if (!*path) {
        return error_set(e, ERR_RUN, "cannot %s a file: its name is empty", what);
    }
    return error_set(e, ERR_RUN, "%s: cannot %s: %s", path, what, strerror(errno));
}

static enum status check_mappable(const struct stat *info, const char *path, struct error *e) {
    if (S_ISDIR(info->st_mode)) {
        return error_set(e, ERR_RUN, "%s: cannot read: is a folder (allowed: a regular file)", path);
    }
    if (!S_ISREG(info->st_mode)) {
        return error_set(e, ERR_RUN, "%s: cannot read: is a pipe or a device (allowed: a regular file)", path);
    }
    if (info->st_size == 0) {
        return error_set(e, ERR_RUN, "%s: cannot read: the file is empty", path);
    }
    if ((uintmax_t)info->st_size > SIZE_MAX) {
        return error_set(e, ERR_RUN, "%s: cannot read: larger than the address space", path);
    }
    return OK;
}

static enum status map_descriptor(int fd, const char *path, struct mapped_file *out, struct error *e) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return cannot(e, path, "read");
    }
    TRY(check_mappable(&info, path, e));
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        return cannot(e, path, "map");
    }
    *out = (struct mapped_file){data, (size_t)info.st_size};
    return OK;
}

enum status map_file(const char *path, struct mapped_file *out, struct error *e) {
    *out = (struct mapped_file){NULL, 0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* not blocking: a pipe must not hang us */
    if (fd < 0) {
        return cannot(e, path, "open");
    }
    enum status status = map_descriptor(fd, path, out, e);
    close(fd);
    return status;
}

void unmap_file(struct mapped_file *f) {
    if (f->data) {
        munmap((void *)(uintptr_t)f->data, f->bytes);
    }
    *f = (struct mapped_file){NULL, 0};
}

/* Reads until the end or one byte past the limit; doubles the buffer as it goes. */
static enum status read_all(int fd, const char *path, size_t limit, char **text, size_t *bytes, struct error *e) {
    size_t capacity = 1 << 16, used = 0;
    char *buffer = mem_alloc(capacity, 1);
    while (buffer) {
        ssize_t got = read(fd, buffer + used, capacity - used - 1);
        if (got <= 0) {
            if (got == 0) {
                buffer[used] = 0;
                *text = buffer;
                *bytes = used;
                return OK;
            }
            cannot(e, path, "read");
            mem_free(buffer);
            return ERR_RUN;
        }
        used += (size_t)got;
        if (used > limit) {
            mem_free(buffer);
            return error_set(e, ERR_RUN, "%s: file too large (allowed: up to %zu bytes)", path, limit);
        }
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

enum status read_file(const char *path, size_t limit, char **text, size_t *bytes, struct error *e) {
    *text = NULL;
    *bytes = 0;
    if (is_directory(path)) {
        return error_set(e, ERR_RUN, "%s: cannot read: is a folder (allowed: a regular file)", path);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cannot(e, path, "open");
    }
    enum status status = read_all(fd, path, limit, text, bytes, e);
    close(fd);
    return status;
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool same_file(const char *a, const char *b) {
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

char *path_join(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    bool slash = na > 0 && a[na - 1] != '/';
    char *joined = mem_alloc(na + nb + 2, 1);
    if (joined) {
        memcpy(joined, a, na);
        joined[na] = '/';
        memcpy(joined + na + (slash ? 1 : 0), b, nb);
    }
    return joined;
}

static enum status make_one_directory(const char *path, struct error *e) {
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && is_directory(path))) {
        return OK;
    }
    if (errno == EEXIST) {
        return error_set(e, ERR_RUN, "%s: cannot make the folder: a file of that name exists", path);
    }
    return cannot(e, path, "make the folder");
}

enum status make_directory(const char *path, struct error *e) {
    if (!*path) {
        return error_set(e, ERR_RUN, "cannot make a folder: its name is empty");
    }
    char *partial = mem_strdup(path);
    if (!partial) {
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    enum status status = OK;
    for (char *at = partial + 1; status == OK && *at; at++) {
        if (*at == '/') {
            *at = 0;
            status = make_one_directory(partial, e);
            *at = '/';
        }
    }
    if (status == OK) {
        status = make_one_directory(partial, e);
    }
    mem_free(partial);
    return status;
}

/* ---- the folder of the data ------------------------------------------------------------------------ */

static char program_path[PATH_MAX];   /* from argv[0], absolute; empty when it was a bare name */
static char data_path[2 * PATH_MAX];

void set_program_path(const char *argv0) {
    char absolute[PATH_MAX];
    program_path[0] = 0;
    /* A bare name was found through PATH: only the operating system knows where. */
    if (argv0 && strchr(argv0, '/') && realpath(argv0, absolute)) {
        memcpy(program_path, absolute, sizeof program_path);
    }
}

static bool running_program(char *out, size_t room) {
#ifdef __APPLE__
    char raw[PATH_MAX], absolute[PATH_MAX];
    uint32_t bytes = sizeof raw;
    if (_NSGetExecutablePath(raw, &bytes) != 0 || !realpath(raw, absolute) || strlen(absolute) >= room) {
        return false;
    }
    memcpy(out, absolute, strlen(absolute) + 1);
    return true;
#else
    ssize_t length = readlink("/proc/self/exe", out, room - 1);
    if (length <= 0) {
        return false;
    }
    out[length] = 0;
    return true;
#endif
}

/* Cuts the last component: "/a/b" -> "/a". False at the root. */
static bool go_up(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) {
        return false;
    }
    *slash = 0;
    return true;
}

static bool holds_data(const char *folder) {
    char probe[PATH_MAX + 32];
    return snprintf(probe, sizeof probe, "%s/configs/chips", folder) < (int)sizeof probe && is_directory(probe);
}

/* Takes `folder`, or `below` it, as the folder of the data if it is. */
static bool take_data(const char *folder, const char *below) {
    int length = snprintf(data_path, sizeof data_path, "%s%s", folder, below);
    return length < (int)sizeof data_path && holds_data(data_path);
}

/* The program lies in build/ or build/VARIANT/ of its tree, or in bin/ beside share/mho/ where it is installed. */
static bool data_above(const char *program) {
    char folder[PATH_MAX];
    if (strlen(program) >= sizeof folder) {
        return false;
    }
    memcpy(folder, program, strlen(program) + 1);
    if (!go_up(folder)) {
        return false;
    }
    for (int level = 0; level < 2 && go_up(folder); level++) {
        if (take_data(folder, "") || (level == 0 && take_data(folder, "/share/mho"))) {
            return true;
        }
    }
    return false;
}

const char *data_directory(void) {
    char running[PATH_MAX];
    bool found = data_above(program_path) || (running_program(running, sizeof running) && data_above(running));
    return found ? data_path : NULL;
}

/* ---- files beside the program ----------------------------------------------------------------------- */

static char *file_near(const char *program, const char *name, const char *installed) {
    char path[3 * PATH_MAX], folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", program);
    if (!go_up(folder)) {
        return NULL;
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!file_exists(path)) {
        snprintf(path, sizeof path, "%s/../%s/%s", folder, installed, name);
    }
    return file_exists(path) ? mem_strdup(path) : NULL;
}

char *program_file(const char *name, const char *installed) {
    char running[PATH_MAX], *path = file_near(program_path, name, installed);
    return path || !running_program(running, sizeof running) ? path : file_near(running, name, installed);
}
