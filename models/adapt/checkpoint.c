/* See checkpoint.h. */
#include "models/adapt/checkpoint.h"

#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "models/adapt/data.h"

enum { PREFIX_BYTES = 24, HASH_BYTES = 8 };

static const char magic[8] = {'m', 'h', 'o', 't', 'r', 'a', 'i', 'n'};
static const uint32_t byte_order = 0x01020304, version = 1;

/* ---- writing ----------------------------------------------------------------------------------- */

struct writer { FILE *file; uint64_t hash; };

/* Errors of writing show at the commit. */
static void put(struct writer *w, const void *bytes, size_t count) {
    w->hash = data_hash_bytes(w->hash, bytes, count);
    fwrite(bytes, 1, count, w->file);
}

static void put_all(struct writer *w, const struct checkpoint *c) {
    uint64_t count = c->identity_count;
    put(w, magic, sizeof magic);
    put(w, &byte_order, sizeof byte_order);
    put(w, &version, sizeof version);
    put(w, &count, sizeof count);
    for (size_t i = 0; i < c->identity_count; i++) {
        put(w, &c->identities[i].hash, sizeof c->identities[i].hash);
    }
    for (size_t i = 0; i < c->block_count; i++) {
        put(w, c->blocks[i].data, c->blocks[i].bytes);
    }
    fwrite(&w->hash, 1, sizeof w->hash, w->file);
}

enum status checkpoint_write(const char *path, const struct checkpoint *c, struct error *e) {
    struct output *o;
    TRY(output_create(path, &o, e));
    struct writer w = {output_stream(o), 0};
    put_all(&w, c);
    return output_commit(o, e);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Takes the file apart in the order in which it was written. */
struct reader { const char *path; const uint8_t *bytes; size_t size, at; uint64_t hash; };

static const uint8_t *take(struct reader *r, size_t count) {
    const uint8_t *bytes = r->bytes + r->at;
    r->hash = data_hash_bytes(r->hash, bytes, count);
    r->at += count;
    return bytes;
}

static uint64_t load(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    uint32_t half;
    if (count == sizeof half) {
        memcpy(&half, bytes, sizeof half);
        return half;
    }
    memcpy(&value, bytes, sizeof value);
    return value;
}

static enum status check_prefix(struct reader *r, size_t identities, struct error *e) {
    if (r->size < PREFIX_BYTES || memcmp(take(r, sizeof magic), magic, sizeof magic) != 0) {
        return error_set(e, ERR_RUN, "%s: no checkpoint: it does not begin with \"mhotrain\"", r->path);
    }
    if (load(take(r, 4), 4) != byte_order) {
        return error_set(e, ERR_RUN, "%s: byte 8: written on a machine of another byte order", r->path);
    }
    uint64_t number = load(take(r, 4), 4), count = load(take(r, 8), 8);
    if (number != version || count != identities) {
        return error_set(e, ERR_RUN, "%s: byte 12: version %llu with %llu identities (allowed: %u with %zu)", r->path,
                         (unsigned long long)number, (unsigned long long)count, version, identities);
    }
    return OK;
}

static enum status check_identities(struct reader *r, const struct checkpoint *c, struct error *e) {
    if (r->size < PREFIX_BYTES + c->identity_count * sizeof(uint64_t)) {
        return error_set(e, ERR_RUN, "%s: cut off at byte %zu", r->path, r->size);
    }
    for (size_t i = 0; i < c->identity_count; i++) {
        if (load(take(r, 8), 8) != c->identities[i].hash) {
            return error_set(e, ERR_USAGE, "%s: of a run with another %s (allowed: the one that it was made with, or "
                             "another folder)", r->path, c->identities[i].what);
        }
    }
    return OK;
}

/* The pieces are hashed as they were when they were written, so the whole file is known to hold before it is used. */
static enum status check_blocks(struct reader *r, const struct checkpoint *c, struct error *e) {
    size_t wanted = r->at + HASH_BYTES;
    for (size_t i = 0; i < c->block_count; i++) {
        wanted += c->blocks[i].bytes;
    }
    if (r->size != wanted) {
        return error_set(e, ERR_RUN, "%s: %zu bytes, %s (allowed: %zu)", r->path, r->size,
                         r->size < wanted ? "cut off" : "too long", wanted);
    }
    for (size_t i = 0; i < c->block_count; i++) {
        take(r, c->blocks[i].bytes);
    }
    uint64_t found = r->hash, stored = load(r->bytes + r->at, HASH_BYTES);
    if (found != stored) {
        return error_set(e, ERR_RUN, "%s: damaged: its checksum is %016llx, of its bytes %016llx", r->path,
                         (unsigned long long)stored, (unsigned long long)found);
    }
    return OK;
}

static enum status read_mapped(struct reader *r, const struct checkpoint *c, struct error *e) {
    TRY(check_prefix(r, c->identity_count, e));
    TRY(check_identities(r, c, e));
    size_t at = r->at;
    TRY(check_blocks(r, c, e));
    for (size_t i = 0; i < c->block_count; i++) {
        memcpy(c->blocks[i].data, r->bytes + at, c->blocks[i].bytes);
        at += c->blocks[i].bytes;
    }
    return OK;
}

enum status checkpoint_read(const char *path, const struct checkpoint *c, struct error *e) {
    struct mapped_file f;
    TRY(map_file(path, &f, e));
    struct reader r = {path, f.data, f.bytes, 0, 0};
    enum status status = read_mapped(&r, c, e);
    unmap_file(&f);
    return status;
}

uint64_t checkpoint_identity_at(const char *path, size_t i) {
    struct mapped_file f;
    struct error ignored;
    if (map_file(path, &f, &ignored) != OK) {
        return 0;
    }
    size_t at = PREFIX_BYTES + i * sizeof(uint64_t);
    uint64_t hash = at + sizeof hash <= f.bytes ? load((const uint8_t *)f.data + at, sizeof hash) : 0;
    unmap_file(&f);
    return hash;
}
