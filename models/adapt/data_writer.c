/* Writing a data file that survives its writer: kill -9, a full disk, a power cut. See data.h.
 *
 *   PATH.partial   the file as it will be: header, then sequences from the first one on
 *   PATH.journal   17 bytes per sequence: its hash in hexadecimal and a line feed, written after the sequence
 *
 * A sequence counts when its line is there and its bytes have that hash. So nothing needs to reach the disk in order,
 * and nothing is trusted that was not written whole: whoever goes on takes the longest run of sequences that hold, and
 * writes the next over what stands behind. The writer keeps a lock on PATH.partial, which ends with its process. In the
 * end PATH.partial is cut to its length, synced and renamed, and the journal removed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/io.h"
#include "base/memory.h"
#include "models/adapt/data.h"

enum { LINE_BYTES = 17, NAME_ROOM = 16 };

struct data_writer {
    char *path, *partial, *journal;
    int file, lines;        /* descriptors */
    char *header;
    size_t header_bytes, sequence_bytes;
    uint64_t count, wanted; /* sequences */
};

static enum status cannot(const struct data_writer *w, const char *path, const char *what, struct error *e) {
    const char *why = strerror(errno);
    return error_set(e, ERR_RUN, "%s: cannot %s: %s; %llu of %llu sequences are kept, and the same command goes on "
                     "from there", path, what, why, (unsigned long long)w->count, (unsigned long long)w->wanted);
}

static enum status write_at(const struct data_writer *w, int file, const char *path, const void *bytes, size_t count,
                            uint64_t offset, struct error *e) {
    for (size_t done = 0; done < count;) {
        ssize_t n = pwrite(file, (const char *)bytes + done, count - done, (off_t)(offset + done));
        if (n <= 0 && errno != EINTR) {
            errno = n == 0 ? ENOSPC : errno;
            return cannot(w, path, "write", e);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return OK;
}

/* Bytes read, fewer where the file ends. */
static size_t read_at(int file, void *bytes, size_t count, uint64_t offset) {
    size_t done = 0;
    while (done < count) {
        ssize_t n = pread(file, (char *)bytes + done, count - done, (off_t)(offset + done));
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return done;
}

static void line_of(uint64_t number, const void *ids, size_t bytes, char line[LINE_BYTES + 1]) {
    snprintf(line, LINE_BYTES + 1, "%016llx\n", (unsigned long long)data_hash_bytes(number, ids, bytes));
}

/* ---- what is there --------------------------------------------------------------------------------------------- */

static enum status refuse_other(const char *path, const void *bytes, size_t size, const struct data_header *h,
                                const char *instead, struct error *e) {
    struct data_header was;
    char difference[160] = "what it holds";
    size_t offset;
    struct error ignored;
    /* A partial file is shorter than its header says, which is the last thing that is checked. */
    data_header_read(bytes, size, path, &was, &offset, &ignored);
    if (data_header_here(bytes, size) && was.length > 0) {
        data_header_difference(&was, h, difference, sizeof difference);
    }
    return error_set(e, ERR_USAGE, "%s: there, and made otherwise: %s (allowed: %s)", path, difference, instead);
}

/* *complete: PATH is what this run would make. Another PATH is never written over. */
static enum status look_at_result(const struct data_writer *w, const struct data_header *h, bool *complete,
                                  struct error *e) {
    struct mapped_file f;
    *complete = false;
    if (!file_exists(w->path)) {
        return is_directory(w->path) ? error_set(e, ERR_USAGE, "%s: is a folder (allowed: the name of a file)", w->path)
                                     : OK;
    }
    TRY(map_file(w->path, &f, e));
    *complete = f.bytes == w->header_bytes + w->wanted * w->sequence_bytes &&
                memcmp(f.data, w->header, w->header_bytes) == 0;
    enum status status =
        *complete ? OK : refuse_other(w->path, f.data, f.bytes, h, "another name, or remove the file", e);
    unmap_file(&f);
    return status;
}

/* Nothing but a beginning of our header may stand at the start of PATH.partial. */
static enum status look_at_header(const struct data_writer *w, const struct data_header *h, struct error *e) {
    char *there = mem_alloc(DATA_PREFIX_BYTES + DATA_HEADER_LIMIT, 1);
    if (!there) {
        return error_set(e, ERR_RUN, "%s: out of memory", w->path);
    }
    size_t bytes = read_at(w->file, there, DATA_PREFIX_BYTES + DATA_HEADER_LIMIT, 0);
    size_t common = bytes < w->header_bytes ? bytes : w->header_bytes;
    enum status status = OK;
    if (memcmp(there, w->header, common) != 0) {
        status = refuse_other(w->partial, there, bytes, h, "the settings it was begun with, or remove the file", e);
    }
    mem_free(there);
    return status;
}

/* Takes the sequences that hold. */
static enum status take_sequences(struct data_writer *w, struct error *e) {
    char *ids = mem_alloc(w->sequence_bytes, 1), line[LINE_BYTES + 1], there[LINE_BYTES + 1] = "";
    if (!ids) {
        return error_set(e, ERR_RUN, "%s: out of memory", w->path);
    }
    for (w->count = 0; w->count < w->wanted; w->count++) {
        size_t bytes = read_at(w->file, ids, w->sequence_bytes, w->header_bytes + w->count * w->sequence_bytes);
        line_of(w->count, ids, w->sequence_bytes, line);
        if (bytes < w->sequence_bytes || read_at(w->lines, there, LINE_BYTES, w->count * LINE_BYTES) < LINE_BYTES ||
            memcmp(line, there, LINE_BYTES) != 0) {
            break;
        }
    }
    mem_free(ids);
    return OK;
}

/* ---- the writer ------------------------------------------------------------------------------------------------ */

static char *name_with(const char *path, const char *end) {
    size_t room = strlen(path) + NAME_ROOM;
    char *name = mem_alloc(room, 1);
    if (name) {
        snprintf(name, room, "%s%s", path, end);
    }
    return name;
}

static enum status open_files(struct data_writer *w, struct error *e) {
    int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    w->file = open(w->partial, flags, 0666);
    if (w->file < 0) {
        return error_set(e, ERR_RUN, "%s: cannot write: %s", w->partial, strerror(errno));
    }
    /* The second look is for a run that has just ended and given the file its name. */
    if (flock(w->file, LOCK_EX | LOCK_NB) != 0 || !file_exists(w->partial)) {
        return error_set(e, ERR_RUN, "%s: another run is writing it (allowed: one at a time)", w->partial);
    }
    w->lines = open(w->journal, flags, 0666);
    return w->lines < 0 ? error_set(e, ERR_RUN, "%s: cannot write: %s", w->journal, strerror(errno)) : OK;
}

static enum status begin(struct data_writer *w, const struct data_header *h, bool *complete, struct error *e) {
    TRY(data_header_write(h, &w->header, &w->header_bytes, e));
    TRY(look_at_result(w, h, complete, e));
    if (*complete) {
        return OK;
    }
    TRY(open_files(w, e));
    TRY(look_at_header(w, h, e));
    TRY(take_sequences(w, e));
    return write_at(w, w->file, w->partial, w->header, w->header_bytes, 0, e);
}

enum status data_writer_open(const char *path, const struct data_header *h, struct data_writer **out, struct error *e) {
    *out = NULL;
    struct data_writer *w = mem_alloc(1, sizeof *w);
    if (!w) {
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    w->file = w->lines = -1;
    w->wanted = h->count;
    w->sequence_bytes = h->length * sizeof(int32_t);
    w->path = mem_strdup(path);
    w->partial = name_with(path, ".partial");
    w->journal = name_with(path, ".journal");
    bool complete = false;
    enum status status = w->path && w->partial && w->journal ? begin(w, h, &complete, e)
                                                             : error_set(e, ERR_RUN, "%s: out of memory", path);
    if (status != OK || complete) {
        data_writer_close(w);
        return status;
    }
    *out = w;
    return OK;
}

uint64_t data_writer_count(const struct data_writer *w) { return w->count; }

enum status data_writer_add(struct data_writer *w, const int32_t *ids, struct error *e) {
    char line[LINE_BYTES + 1];
    line_of(w->count, ids, w->sequence_bytes, line);
    TRY(write_at(w, w->file, w->partial, ids, w->sequence_bytes, w->header_bytes + w->count * w->sequence_bytes, e));
    TRY(write_at(w, w->lines, w->journal, line, LINE_BYTES, w->count * LINE_BYTES, e));
    w->count++;
    return OK;
}

enum status data_writer_finish(struct data_writer *w, struct error *e) {
    off_t size = (off_t)(w->header_bytes + w->wanted * w->sequence_bytes);
    if (ftruncate(w->file, size) != 0 || (fsync(w->file) != 0 && errno != EINVAL)) {
        return cannot(w, w->partial, "write", e);
    }
    if (rename(w->partial, w->path) != 0) {
        return cannot(w, w->path, "write", e);
    }
    unlink(w->journal);
    return OK;
}

void data_writer_close(struct data_writer *w) {
    if (!w) {
        return;
    }
    if (w->file >= 0) {
        close(w->file);
    }
    if (w->lines >= 0) {
        close(w->lines);
    }
    mem_free(w->path);
    mem_free(w->partial);
    mem_free(w->journal);
    mem_free(w->header);
    mem_free(w);
}
