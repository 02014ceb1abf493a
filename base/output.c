/* Output files that appear whole or not at all, and Ctrl-C (see io.h).
 *
 * An output is written to NAME.tmp-PID beside its final name and renamed at commit, which POSIX does
 * atomically. An existing file keeps its content until then. A name that is a device, a pipe or a
 * folder is refused: renaming onto it would replace it.
 *
 * kill -9 leaves the temporary behind. Whoever writes NAME next removes those of processes that are gone, once they are
 * a minute old: processes of other machines that share the folder are not seen here.
 *
 * The first SIGINT or SIGTERM only sets a flag: the run ends through its ordinary error returns, which
 * abort the open outputs. A second one kills at once; the handler first unlinks the temporaries, whose
 * names are kept in a table of pointers that it may read at any time.
 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

struct output {
    FILE *stream;
    char *path;      /* final name */
    char *temporary; /* the name it has until the commit */
};

enum { OUTPUTS_AT_ONCE = 64, STALE_S = 60 };
static const char infix[] = ".tmp-"; /* of a temporary's name; a process number follows */

static _Atomic(char *) temporaries[OUTPUTS_AT_ONCE];
static volatile sig_atomic_t interrupt_seen;

static bool temporary_is_open(const char *name) {
    for (int i = 0; i < OUTPUTS_AT_ONCE; i++) {
        const char *open_name = atomic_load(&temporaries[i]);
        if (open_name && strcmp(open_name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool temporary_remember(char *name) {
    for (int i = 0; i < OUTPUTS_AT_ONCE; i++) {
        char *expected = NULL;
        if (atomic_compare_exchange_strong(&temporaries[i], &expected, name)) {
            return true;
        }
    }
    return false;
}

static void temporary_forget(char *name) {
    for (int i = 0; i < OUTPUTS_AT_ONCE; i++) {
        char *expected = name;
        if (atomic_compare_exchange_strong(&temporaries[i], &expected, NULL)) {
            return;
        }
    }
}

static enum status check_target(const char *path, struct error *e) {
    struct stat info;
    if (!*path) {
        return error_set(e, ERR_RUN, "cannot write: the file name is empty");
    }
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return error_set(e, ERR_RUN, "%s: cannot write: is a folder (allowed: the name of a file)", path);
    }
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return error_set(e, ERR_RUN, "%s: cannot write: is a pipe or a device (allowed: the name of a file)", path);
    }
    return OK;
}

static void output_free(struct output *o) {
    if (o->temporary) {
        temporary_forget(o->temporary);
    }
    mem_free(o->temporary);
    mem_free(o->path);
    mem_free(o);
}

static char *temporary_name(const char *path) {
    size_t room = strlen(path) + 32;
    char *name = mem_alloc(room, 1);
    if (name) {
        snprintf(name, room, "%s%s%ld", path, infix, (long)getpid());
    }
    return name;
}

/* The process of the temporary `file` of `name`; 0: another name. */
static pid_t owner_of(const char *file, const char *name) {
    size_t length = strlen(name), more = strlen(infix);
    if (strncmp(file, name, length) != 0 || strncmp(file + length, infix, more) != 0) {
        return 0;
    }
    const char *digits = file + length + more;
    size_t count = strspn(digits, "0123456789");
    long number = count > 0 && count < 10 && !digits[count] ? strtol(digits, NULL, 10) : 0;
    return number <= INT_MAX ? (pid_t)number : 0;
}

static void remove_if_stale(int folder, const char *file, pid_t owner) {
    struct stat info;
    bool gone = kill(owner, 0) != 0 && errno == ESRCH;
    if (gone && fstatat(folder, file, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
        difftime(time(NULL), info.st_mtime) > STALE_S) {
        unlinkat(folder, file, 0);
    }
}

/* What cannot be listed or removed stays. */
static void remove_stale(const char *path) {
    char *folder = mem_strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    const char *name = slash ? path + (slash + 1 - folder) : path;
    if (slash) {
        slash[1] = '\0';
    }
    DIR *d = folder ? opendir(slash ? folder : ".") : NULL;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        pid_t owner = owner_of(entry->d_name, name);
        if (owner > 0) {
            remove_if_stale(dirfd(d), entry->d_name, owner);
        }
    }
    if (d) {
        closedir(d);
    }
    mem_free(folder);
}

static enum status open_temporary(struct output *o, struct error *e) {
    if (temporary_is_open(o->temporary)) {
        return error_set(e, ERR_RUN, "%s: cannot write: this run is already writing it", o->path);
    }
    if (!temporary_remember(o->temporary)) {
        return error_set(e, ERR_RUN, "%s: cannot write: too many files open (allowed: %d)", o->path, OUTPUTS_AT_ONCE);
    }
    remove_stale(o->path);
    int fd = open(o->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    o->stream = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!o->stream) {
        error_set(e, ERR_RUN, "%s: cannot write: %s", o->path, strerror(errno));
        if (fd >= 0) {
            close(fd);
            unlink(o->temporary);
        }
        return ERR_RUN;
    }
    return OK;
}

enum status output_create(const char *path, struct output **out, struct error *e) {
    *out = NULL;
    TRY(check_target(path, e));
    struct output *o = mem_alloc(1, sizeof *o);
    if (!o) {
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    o->path = mem_strdup(path);
    o->temporary = temporary_name(path);
    enum status status =
        o->path && o->temporary ? open_temporary(o, e) : error_set(e, ERR_RUN, "%s: out of memory", path);
    if (status != OK) {
        output_free(o);
        return status;
    }
    *out = o;
    return OK;
}

FILE *output_stream(struct output *o) { return o->stream; }

/* 0, or the errno of the first step that failed. An earlier write that failed left its mark in ferror but
 * its errno is gone: one more byte (the file is lost anyway) asks for it again. */
static int close_checked(FILE *stream) {
    int why = 0;
    if (ferror(stream)) {
        why = write(fileno(stream), "", 1) < 0 ? errno : EIO;
    }
    if (fflush(stream) != 0 && !why) {
        why = errno;
    }
    if (!why && fsync(fileno(stream)) != 0 && errno != EINVAL) { /* EINVAL: a file system without sync */
        why = errno;
    }
    if (fclose(stream) != 0 && !why) {
        why = errno;
    }
    return why;
}

enum status output_finish(struct output *o, struct error *e) {
    int why = close_checked(o->stream);
    o->stream = NULL;
    return why ? error_set(e, ERR_RUN, "%s: cannot write: %s", o->path, strerror(why)) : OK;
}

enum status output_commit(struct output *o, struct error *e) {
    int why = o->stream ? close_checked(o->stream) : 0;
    if (!why && rename(o->temporary, o->path) != 0) {
        why = errno;
    }
    enum status status = OK;
    if (why) {
        unlink(o->temporary);
        status = error_set(e, ERR_RUN, "%s: cannot write: %s", o->path, strerror(why));
    }
    output_free(o);
    return status;
}

void output_abort(struct output *o) {
    if (o) {
        if (o->stream) {
            fclose(o->stream);
        }
        unlink(o->temporary);
        output_free(o);
    }
}

/* ---- interrupts ------------------------------------------------------------------------------------- */

/* Only async-signal-safe calls: unlink, signal, raise. */
static void on_interrupt(int number) {
    if (!interrupt_seen) {
        interrupt_seen = 1;
        return;
    }
    for (int i = 0; i < OUTPUTS_AT_ONCE; i++) {
        const char *name = atomic_load(&temporaries[i]);
        if (name) {
            unlink(name);
        }
    }
    signal(number, SIG_DFL);
    raise(number);
}

/* The handler has a stack of its own: generated code of oneDNN 2.6 keeps data further below the end of the stack than
 * the 128 bytes that a handler leaves alone. Signals reach this thread only (base/threads.c). */
void catch_interrupts(void) {
    static char stack[1 << 16];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = sigaltstack(&other, NULL) == 0 ? SA_ONSTACK : 0; /* no SA_RESTART: a blocked read must return */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupted(void) { return interrupt_seen != 0; }

enum status check_interrupted(struct error *e) {
    return interrupted() ? error_set(e, ERR_RUN, "interrupted") : OK;
}
