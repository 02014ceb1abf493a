/* ZIP files as torch.save writes them: entries that are stored, not compressed, so that they can be mapped.
 *
 *   | local header | name | extra | data | ... | central directory | [ZIP64 end, its locator] | end |
 *
 *   end (22 bytes + comment)    "PK\5\6"  ... entries u16 at 10, bytes u32 at 12 and place u32 at 16 of the directory
 *   ZIP64 end (56 bytes)        "PK\6\6"  ... entries u64 at 32, bytes u64 at 40, place u64 at 48
 *   directory entry (46 bytes)  "PK\1\2"  flags u16 at 8, method u16 at 10, stored and real size u32 at 20 and 24,
 *                               lengths of name, extra and comment u16 at 28, 30, 32, place of the local header u32
 *                               at 42
 *   local header (30 bytes)     "PK\3\4"  lengths of name and extra u16 at 26, 28
 *
 * 0xffffffff in a directory entry means that the value stands in the ZIP64 part of its extra, in the order real size,
 * stored size, place. torch writes the ZIP64 end always.
 *
 * Nothing is trusted: every place is compared with the size of the file, local headers must name what the directory
 * names, entries must not overlap (neither each other nor the directory), names must be relative, plain and different.
 * Refused: compressed and encrypted entries, files of several parts. Not checked: CRC-32 sums, which would read all
 * data.
 *
 * Source of the format: PKWARE, APPNOTE.TXT 6.3.10.
 */
#include "models/torch_parts.h"

enum { END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20, ENTRY_BYTES = 46, LOCAL_BYTES = 30, NAME_LIMIT = 512 };
enum { END_MARK = 0x06054b50, END64_MARK = 0x06064b50, LOCATOR_MARK = 0x07064b50, ENTRY_MARK = 0x02014b50,
       LOCAL_MARK = 0x04034b50, ZIP64_EXTRA = 1, ENCRYPTED = 1 };

struct directory { uint64_t place, bytes, entries; };

static enum status damaged(const struct span *s, uint64_t at, const char *what, struct error *e) {
    return error_set(e, ERR_RUN, "%s: offset %llu: ZIP: %s; cut short?", s->name, (unsigned long long)at, what);
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* Place of the end record: the last one whose comment reaches to the end of the file. */
static enum status find_end(const struct span *s, uint64_t *at, struct error *e) {
    uint64_t last = s->bytes < END_BYTES ? 0 : s->bytes - END_BYTES;
    uint64_t first = last > UINT16_MAX ? last - UINT16_MAX : 0;
    for (uint64_t i = last + 1; s->bytes >= END_BYTES && i-- > first;) {
        if (load_u32(s->data + i) == END_MARK && load_u16(s->data + i + 20) == s->bytes - END_BYTES - i) {
            *at = i;
            return OK;
        }
    }
    return damaged(s, s->bytes, "no end record", e);
}

static enum status read_end64(const struct span *s, uint64_t end, struct directory *d, bool *there, struct error *e) {
    *there = end >= LOCATOR_BYTES && load_u32(s->data + end - LOCATOR_BYTES) == LOCATOR_MARK;
    if (!*there) {
        return OK;
    }
    uint64_t at = load_u64(s->data + end - LOCATOR_BYTES + 8), room = end - LOCATOR_BYTES;
    if (room < END64_BYTES || at > room - END64_BYTES || load_u32(s->data + at) != END64_MARK) {
        return damaged(s, end - LOCATOR_BYTES, "the locator does not point to a ZIP64 end record", e);
    }
    *d = (struct directory){load_u64(s->data + at + 48), load_u64(s->data + at + 40), load_u64(s->data + at + 32)};
    return load_u32(s->data + at + 16) == 0 && load_u32(s->data + at + 20) == 0
               ? OK
               : damaged(s, at, "a file of several parts (allowed: one)", e);
}

static enum status read_end(const struct span *s, struct directory *d, struct error *e) {
    uint64_t end = 0;
    bool wide;
    TRY(find_end(s, &end, e));
    const uint8_t *p = s->data + end;
    if (load_u16(p + 4) != 0 || load_u16(p + 6) != 0) {
        return damaged(s, end, "a file of several parts (allowed: one)", e);
    }
    TRY(read_end64(s, end, d, &wide, e));
    if (!wide) {
        *d = (struct directory){load_u32(p + 16), load_u32(p + 12), load_u16(p + 10)};
    }
    if (d->place > end || d->bytes > end - d->place || d->entries > d->bytes / ENTRY_BYTES) {
        return damaged(s, end, "the directory does not fit into the file", e);
    }
    return d->entries ? OK : damaged(s, end, "no entries", e);
}

/* ---- entries ------------------------------------------------------------------------------------ */

struct entry {
    uint64_t at; /* in the directory, for messages */
    const char *name;
    size_t name_bytes;
    uint64_t stored, bytes, local;
    unsigned flags, method;
};

static enum status wrong(const struct span *s, const struct entry *n, const char *what, struct error *e) {
    return error_set(e, ERR_RUN, "%s: offset %llu: ZIP entry %.200s: %s", s->name, (unsigned long long)n->at, n->name,
                     what);
}

/* Values that did not fit into 32 bits. */
static enum status read_extra(const struct span *s, struct entry *n, const uint8_t *extra, size_t bytes,
                              struct error *e) {
    uint64_t *wide[] = {&n->bytes, &n->stored, &n->local};
    size_t at = 0;
    bool missing = n->bytes == UINT32_MAX || n->stored == UINT32_MAX || n->local == UINT32_MAX;
    while (bytes - at >= 4) {
        size_t size = load_u16(extra + at + 2), used = 0;
        if (size > bytes - at - 4) {
            return wrong(s, n, "its extra data is longer than what is there", e);
        }
        for (int i = 0; i < 3 && load_u16(extra + at) == ZIP64_EXTRA; i++) {
            if (*wide[i] == UINT32_MAX && size - used >= 8) {
                *wide[i] = load_u64(extra + at + 4 + used);
                used += 8;
                missing = false;
            }
        }
        at += 4 + size;
    }
    return missing ? wrong(s, n, "a size is said to be 64 bits wide and is not there", e) : OK;
}

/* A relative path of plain parts. */
static bool is_plain(const char *name, size_t bytes) {
    if (bytes == 0 || bytes > NAME_LIMIT || name[0] == '/' || memchr(name, 0, bytes) || memchr(name, '\\', bytes)) {
        return false;
    }
    for (size_t from = 0; from < bytes;) {
        const char *slash = memchr(name + from, '/', bytes - from);
        size_t end = slash ? (size_t)(slash - name) : bytes, part = end - from;
        if (part == 0 || (part <= 2 && memcmp(name + from, "..", part) == 0)) {
            return false;
        }
        from = end + 1;
    }
    return true;
}

static enum status check_entry(const struct span *s, const struct entry *n, struct error *e) {
    if (!is_plain(n->name, n->name_bytes)) {
        return wrong(s, n, "not a relative path of plain names", e);
    }
    if (n->flags & ENCRYPTED) {
        return wrong(s, n, "is encrypted (allowed: plain entries)", e);
    }
    if (n->method != 0) {
        return error_set(e, ERR_RUN,
                         "%s: offset %llu: ZIP entry %.200s: is compressed by method %u (allowed: 0, stored, as "
                         "torch.save writes it)",
                         s->name, (unsigned long long)n->at, n->name, n->method);
    }
    return n->stored == n->bytes ? OK : wrong(s, n, "its two sizes differ, but it is not compressed", e);
}

/* Where the data lies: behind the local header, before `limit`. */
static enum status find_data(const struct span *s, const struct entry *n, uint64_t limit, struct extent *x,
                             struct error *e) {
    const uint8_t *p = s->data + n->local;
    if (n->local > limit || limit - n->local < LOCAL_BYTES || load_u32(p) != LOCAL_MARK) {
        return wrong(s, n, "its header is not where the directory says", e);
    }
    uint64_t name_bytes = load_u16(p + 26), before = LOCAL_BYTES + name_bytes + load_u16(p + 28);
    uint64_t room = limit - n->local;
    if (before > room || n->bytes > room - before) {
        return wrong(s, n, "does not fit into the file; cut short?", e);
    }
    if (name_bytes != n->name_bytes || memcmp(p + LOCAL_BYTES, n->name, n->name_bytes) != 0) {
        return wrong(s, n, "its header has another name", e);
    }
    *x = (struct extent){n->name, 0, n->local, n->local + before + n->bytes};
    return OK;
}

/* One entry of the directory; *at moves behind it. */
static enum status read_entry(const struct span *s, const struct directory *d, uint64_t *at, struct arena *a,
                              struct entry *n, struct error *e) {
    uint64_t end = d->place + d->bytes;
    const uint8_t *p = s->data + *at;
    if (end - *at < ENTRY_BYTES || load_u32(p) != ENTRY_MARK) {
        return damaged(s, *at, "not an entry of the directory", e);
    }
    size_t name = load_u16(p + 28), extra = load_u16(p + 30), comment = load_u16(p + 32);
    if (name + extra + comment > end - *at - ENTRY_BYTES) {
        return damaged(s, *at, "an entry reaches behind the directory", e);
    }
    *n = (struct entry){.at = *at, .name_bytes = name, .flags = load_u16(p + 8), .method = load_u16(p + 10),
                        .stored = load_u32(p + 20), .bytes = load_u32(p + 24), .local = load_u32(p + 42)};
    n->name = arena_strndup(a, (const char *)p + ENTRY_BYTES, name);
    if (!n->name) {
        return error_set(e, ERR_RUN, "%s: out of memory", s->name);
    }
    TRY(read_extra(s, n, p + ENTRY_BYTES + name, extra, e));
    *at += ENTRY_BYTES + name + extra + comment;
    return check_entry(s, n, e);
}

static enum status read_entries(const struct span *s, const struct directory *d, struct arena *a, struct zip *z,
                                struct extent *extents, struct error *e) {
    uint64_t at = d->place;
    const char *root = NULL;
    size_t root_bytes = 0;
    for (size_t i = 0; i < z->count; i++) {
        struct entry n = {0};
        TRY(read_entry(s, d, &at, a, &n, e));
        TRY(find_data(s, &n, d->place, &extents[i], e));
        const char *slash = strchr(n.name, '/');
        root_bytes = root ? root_bytes : slash ? (size_t)(slash - n.name) + 1 : 0;
        root = root ? root : n.name;
        if (root_bytes == 0 || strncmp(n.name, root, root_bytes) != 0) {
            return wrong(s, &n, "not in the one folder that torch.save puts all entries into", e);
        }
        z->entries[i] = (struct zip_entry){n.name + root_bytes, s->data + extents[i].end - n.bytes, n.bytes};
        z->names[i] = (struct name){z->entries[i].name, strlen(z->entries[i].name), i};
    }
    return OK;
}

enum status zip_read(const struct span *s, struct arena *a, struct zip *out, struct error *e) {
    struct directory d = {0};
    struct tensor_list places = {0};
    TRY(read_end(s, &d, e));
    *out = (struct zip){.count = (size_t)d.entries};
    out->entries = arena_alloc(a, out->count, sizeof *out->entries);
    out->names = arena_alloc(a, out->count, sizeof *out->names);
    if (!out->entries || !out->names) {
        return error_set(e, ERR_RUN, "%s: out of memory for %zu entries", s->name, out->count);
    }
    TRY(tensor_list_reserve(&places, out->count, s->name, e));
    places.extents_count = out->count;
    enum status status = read_entries(s, &d, a, out, places.extents, e);
    if (status == OK) {
        status = tensor_list_check_overlap(&places, 0, s->name, e);
    }
    tensor_list_clear(&places);
    TRY(status);
    names_sort(out->names, out->count);
    const struct name *twice = names_duplicate(out->names, out->count);
    return twice ? error_set(e, ERR_RUN, "%s: ZIP entry %.200s: there twice", s->name, twice->text) : OK;
}

const struct zip_entry *zip_find(const struct zip *z, const char *name) {
    const struct name *n = names_find(z->names, z->count, name, strlen(name));
    return n ? &z->entries[n->index] : NULL;
}
