/* The file of results of an evaluation: JSON, one object per line, written as results come.
 *
 *   line 1      {"mho": version, "evaluation": settings}
 *   the others  {"item": 3, "digital": true, ...} or {"item": 3, "seed": 0, "age_s": 86400.0, ...}; windows: "window"
 *
 * `settings` holds what the numbers depend on: model, chip, text or task. Seeds, ages and the number of items may grow
 * from one run to the next: what is not in the file yet is measured then. Every line is flushed; a program that was
 * killed leaves at most one line unfinished.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/memory.h"
#include "tools/eval.h"

enum { LOG_LIMIT = 1 << 30, VALUE_ROOM = 128 };
enum { LINE_STYLE = JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17) };

static const char header_start[] = "{\"mho\":"; /* an unfinished first line is known by it */

struct eval_log {
    FILE *file;
    const char *path, *unit;
};

/* The first key whose value differs, as "key: was, is now"; *text is the caller's. */
static void name_difference(const json_t *was, const json_t *is, char *text, size_t room) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)is, key, value) {
        json_t *old = json_object_get(was, key);
        if (!old || !json_equal(old, value)) {
            char a[VALUE_ROOM] = "", b[VALUE_ROOM] = "";
            json_dumpb(old, a, sizeof a - 1, JSON_ENCODE_ANY); /* leaves what does not fit; no 0 at the end */
            json_dumpb(value, b, sizeof b - 1, JSON_ENCODE_ANY);
            snprintf(text, room, "%s was %s, is %s", key, old ? a : "not said", b);
            return;
        }
    }
    snprintf(text, room, "settings that are not known here");
}

static enum status check_header(const char *path, const char *line, size_t bytes, const json_t *settings,
                                struct error *e) {
    json_t *header = json_loadb(line, bytes, 0, NULL), *was = json_object_get(header, "evaluation");
    enum status s = OK;
    if (!was) {
        s = error_set(e, ERR_USAGE, "%s:1: not a file of results of mho eval (allowed: a new name)", path);
    } else if (!json_equal(was, settings)) {
        char what[320];
        name_difference(was, settings, what, sizeof what);
        s = error_set(e, ERR_USAGE, "%s: results of another evaluation: %s (allowed: the same settings, or a new name)",
                      path, what);
    }
    json_decref(header);
    return s;
}

/* The machine of *r that a line belongs to; NULL: none that is asked for now. */
static struct eval_result *machine_of(const struct eval_results *r, const json_t *line) {
    bool digital = json_is_true(json_object_get(line, "digital"));
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(line, "seed"));
    double age_s = json_number_value(json_object_get(line, "age_s"));
    for (size_t i = 0; i < r->count; i++) {
        struct eval_result *m = &r->at[i];
        bool same_age = !(m->age_s < age_s) && !(m->age_s > age_s);
        if (m->digital == digital && (digital || (m->seed == seed && same_age))) {
            return m;
        }
    }
    return NULL;
}

static enum status take_line(const char *path, size_t number, const char *text, size_t bytes,
                             const struct eval_measure *m, struct eval_results *r, struct error *e) {
    json_t *line = json_loadb(text, bytes, 0, NULL);
    const json_t *unit = json_object_get(line, m->unit);
    bool good = json_is_integer(unit) && json_integer_value(unit) >= 0;
    if (good && (uint64_t)json_integer_value(unit) < m->count) {
        struct eval_result *machine = machine_of(r, line);
        struct unit_values values = {.there = true};
        good = m->values(m->context, line, &values);
        if (machine && good) {
            machine->units[json_integer_value(unit)] = values;
        }
    }
    json_decref(line);
    return good ? OK
                : error_set(e, ERR_RUN, "%s:%zu: not a result of this evaluation: damaged? (allowed: delete the line)",
                            path, number);
}

/* *whole: bytes up to the end of the last finished line. */
static enum status take_lines(const char *path, const char *text, size_t bytes, const struct eval_measure *m,
                              const json_t *settings, struct eval_results *r, size_t *whole, struct error *e) {
    size_t number = 1;
    for (const char *at = text, *end; (end = memchr(at, '\n', bytes - (size_t)(at - text))) != NULL; at = end + 1) {
        TRY(number == 1 ? check_header(path, at, (size_t)(end - at), settings, e)
                        : take_line(path, number, at, (size_t)(end - at), m, r, e));
        *whole = (size_t)(end + 1 - text);
        number++;
    }
    return OK;
}

static enum status cannot_write(const struct eval_log *l, struct error *e) {
    return error_set(e, ERR_RUN, "%s: cannot write: %s", l->path, strerror(errno));
}

static enum status write_line(struct eval_log *l, const json_t *line, struct error *e) {
    errno = 0;
    bool written = json_dumpf(line, l->file, LINE_STYLE) == 0 && fputc('\n', l->file) != EOF && fflush(l->file) == 0;
    return written ? OK : cannot_write(l, e);
}

static enum status write_header(struct eval_log *l, const json_t *settings, struct error *e) {
    json_t *header = json_object();
    json_put(header, "mho", json_string(mho_version));
    json_object_set(header, "evaluation", (json_t *)settings);
    enum status s = write_line(l, header, e);
    json_decref(header);
    return s;
}

/* Appends from byte `whole` on; 0: a new file. */
static enum status open_at(struct eval_log *l, size_t whole, const json_t *settings, struct error *e) {
    l->file = fopen(l->path, "ab");
    if (!l->file || ftruncate(fileno(l->file), (off_t)whole) != 0) {
        return cannot_write(l, e);
    }
    return whole ? OK : write_header(l, settings, e);
}

enum status eval_log_open(const char *path, const struct eval_measure *m, const json_t *settings,
                          struct eval_results *r, struct eval_log **out, struct error *e) {
    size_t whole = 0;
    if (file_exists(path) || is_directory(path)) {
        char *text;
        size_t bytes;
        TRY(read_file(path, LOG_LIMIT, &text, &bytes, e));
        enum status s = take_lines(path, text, bytes, m, settings, r, &whole, e);
        size_t known = sizeof header_start - 1;
        if (s == OK && whole == 0 && strncmp(text, header_start, bytes < known ? bytes : known) != 0) {
            s = check_header(path, text, bytes, settings, e);
        }
        mem_free(text);
        TRY(s);
    }
    struct eval_log *l = mem_alloc(1, sizeof *l);
    if (!l) {
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    *l = (struct eval_log){.path = path, .unit = m->unit};
    enum status s = open_at(l, whole, settings, e);
    if (s != OK) {
        eval_log_close(l, NULL);
        return s;
    }
    *out = l;
    return OK;
}

enum status eval_log_add(struct eval_log *l, const struct eval_result *machine, size_t unit, json_t *record,
                         struct error *e) {
    json_t *line = json_object();
    json_put(line, l->unit, json_integer((json_int_t)unit));
    if (machine->digital) {
        json_put(line, "digital", json_true());
    } else {
        json_put(line, "seed", json_integer((json_int_t)machine->seed));
        json_put(line, "age_s", json_real(machine->age_s));
    }
    json_object_update(line, record);
    enum status s = write_line(l, line, e);
    json_decref(line);
    return s;
}

enum status eval_log_close(struct eval_log *l, struct error *e) {
    enum status s = OK;
    if (l && l->file && fclose(l->file) != 0) {
        s = cannot_write(l, e);
    }
    mem_free(l);
    return s;
}
