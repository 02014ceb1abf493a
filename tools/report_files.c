/* The folder of --out: see report.h. All files are written under temporary names and renamed when the last one is
 * whole, so that a full disk leaves the folder as it was. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/command.h"
#include "tools/report.h"

enum { FILES_MOST = REPORT_TABLES + 3 };

struct folder {
    const char *path;
    const struct run *run;
    struct output *files[FILES_MOST];
    size_t count;
};

void report_add(json_t *root, const struct chip *c) {
    json_put(root, "constants", constants_json(c));
    json_put(root, "acting", acting_json(c));
}

static enum status create(struct folder *f, const char *name, FILE **out, struct error *e) {
    char *path = path_join(f->path, name);
    if (!path) {
        return error_set(e, ERR_RUN, "%s/%s: out of memory", f->path, name);
    }
    enum status s = output_create(path, &f->files[f->count], e);
    mem_free(path);
    TRY(s);
    *out = output_stream(f->files[f->count++]);
    return OK;
}

static enum status finish(struct folder *f, struct error *e) { return output_finish(f->files[f->count - 1], e); }

enum status report_writable(const char *directory, struct error *e) {
    struct folder f = {.path = directory};
    FILE *out = NULL;
    TRY(make_directory(directory, e));
    enum status s = create(&f, "report.json", &out, e);
    output_abort(f.files[0]);
    return s;
}

static enum status write_json(struct folder *f, const json_t *root, struct error *e) {
    FILE *out = NULL;
    TRY(create(f, "report.json", &out, e));
    if (json_dumpf(root, out, JSON_STYLE) != 0) {
        return error_set(e, ERR_RUN, "%s/report.json: cannot be written: %s", f->path, strerror(errno ? errno : EIO));
    }
    return finish(f, e);
}

static enum status write_tables(struct folder *f, const json_t *root, struct error *e) {
    for (size_t i = 0; i < REPORT_TABLES; i++) {
        const json_t *needed = json_object_get(root, report_tables[i].needs);
        FILE *out = NULL;
        if (needed && !json_is_null(needed)) {
            TRY(create(f, report_tables[i].name, &out, e));
            report_tables[i].write(root, out);
            TRY(finish(f, e));
        }
    }
    return OK;
}

static enum status write_trace(struct folder *f, const json_t *root, struct error *e) {
    FILE *out = NULL;
    TRY(create(f, "trace.json", &out, e));
    TRY(report_write_trace(root, f->run, out, e));
    return finish(f, e);
}

static enum status write_page(struct folder *f, const json_t *root, struct error *e) {
    FILE *out = NULL;
    if (report_page_missing()) {
        notice("report.html is not written: %s", report_page_missing());
        return OK;
    }
    TRY(create(f, "report.html", &out, e));
    TRY(report_write_page(root, out, e));
    return finish(f, e);
}

static enum status write_all(struct folder *f, json_t *root, struct error *e) {
    bool timed = f->run && run_resource_count(f->run);
    if (timed) {
        uint64_t left_out = run_events_left_out(f->run);
        json_put(root, "trace",
                 json_pack("{s:I, s:I, s:i}", "events", (json_int_t)run_event_count(f->run), "events_left_out",
                           (json_int_t)left_out, "capacity", (int)TRACE_EVENTS_MOST));
        if (left_out) {
            notice("%s/trace.json: the first %zu events; %llu more found no room", f->path, run_event_count(f->run),
                   (unsigned long long)left_out);
        }
    }
    TRY(write_json(f, root, e));
    TRY(write_tables(f, root, e));
    if (timed) {
        TRY(write_trace(f, root, e));
    }
    return write_page(f, root, e);
}

enum status report_write(json_t *root, const struct run *run, const char *directory, struct error *e) {
    struct folder f = {.path = directory, .run = run};
    json_add_host(root);
    TRY(make_directory(directory, e));
    enum status s = write_all(&f, root, e);
    for (size_t i = 0; i < f.count; i++) {
        if (s == OK) {
            s = output_commit(f.files[i], e);
        } else {
            output_abort(f.files[i]);
        }
    }
    return s;
}
