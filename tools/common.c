/* What subcommands share: see command.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <utf8proc.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/params.h"
#include "base/threads.h"
#include "tools/command.h"

double program_start_s;
char *const *program_arguments;

enum status open_model(const struct options *o, struct model **out, struct error *e) {
    return model_open(o->model, out, e);
}

enum status open_rounded_model(const struct options *o, struct model **out, struct error *e) {
    TRY(model_open(o->model, out, e));
    enum status s = o->quantise ? model_quantise(*out, (int)o->quantise, e) : OK;
    if (s != OK) {
        model_close(*out);
        *out = NULL;
    }
    return s;
}

enum status open_chip(const struct options *o, struct chip **out, struct error *e) {
    *out = NULL;
    if (strcmp(o->chip, "none") == 0) {
        if (o->sets.count > 0) {
            return error_set(e, ERR_USAGE, "--set %s: --chip none is the digital reference, it has no keys",
                             o->sets.items[0]);
        }
        return OK;
    }
    TRY(chip_load(o->chip, o->sets.items, o->sets.count, out, e));
    for (size_t i = 0; i < o->sets.count; i++) {
        const char *effect = chip_idle_effect(*out, o->sets.items[i]);
        if (effect) {
            notice("--set %s: changes nothing, effects.%s is off", o->sets.items[i], effect);
        }
    }
    return OK;
}

enum status parse_age(const struct options *o, double *age_s, struct error *e) {
    enum status s = parse_duration_s(o->age, age_s, e);
    return s == OK ? OK : error_prefix(e, "--age");
}

enum status check_words(const struct options *o, size_t at_most, struct error *e) {
    if (o->words.count > at_most) {
        return error_set(e, ERR_USAGE, "%s: what is this? (see --help)", o->words.items[at_most]);
    }
    return OK;
}

enum status unknown_kind(const struct options *o, const char *command, const char *usage, const char *const *kinds,
                         size_t count, struct error *e) {
    const char *word = o->words.count ? o->words.items[0] : "", *near = nearest_name(word, kinds, count);
    if (!word[0]) {
        return error_set(e, ERR_USAGE, "%s: what to do? (usage: mho %s %s; mho %s --help says more)", command, command,
                         usage, command);
    }
    return error_set(e, ERR_USAGE, "%s %s: unknown (allowed: %s%s%s%s)", command, word, usage,
                     near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

enum status check_utf8(const char *text, size_t bytes, const char *where, struct error *e) {
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &point);
        if (n < 1) {
            return error_set(e, ERR_USAGE, "%s: byte %zu: not UTF-8 (0x%02x)", where, i,
                             (unsigned)(unsigned char)text[i]);
        }
        i += (size_t)n;
    }
    return OK;
}

/* Calls `take` for every comma-separated piece of `text`. */
static enum status each_piece(const char *text, const char *what, double *out, size_t *count, size_t capacity,
                              enum status (*take)(const char *piece, const char *what, double *value, struct error *e),
                              struct error *e) {
    *count = 0;
    for (const char *p = text;; p++) {
        const char *comma = strchr(p, ',');
        size_t length = comma ? (size_t)(comma - p) : strlen(p);
        char piece[64];
        if (length == 0 || length >= sizeof piece || *count == capacity) {
            return error_set(e, ERR_USAGE, "%s %s: not a list (allowed: values with commas between them)", what, text);
        }
        memcpy(piece, p, length);
        piece[length] = 0;
        TRY(take(piece, what, &out[(*count)++], e));
        if (!comma) {
            return OK;
        }
        p = comma;
    }
}

static enum status take_duration(const char *piece, const char *what, double *value, struct error *e) {
    enum status s = parse_duration_s(piece, value, e);
    return s == OK ? OK : error_prefix(e, "%s", what);
}

static enum status take_number(const char *piece, const char *what, double *value, struct error *e) {
    if (!parse_double(piece, value)) {
        return error_set(e, ERR_USAGE, "%s: %s: not a number (allowed: finite numbers, commas between them)", what,
                         piece);
    }
    return OK;
}

static enum status take_id(const char *piece, const char *what, double *value, struct error *e) {
    int64_t id;
    if (!parse_int64(piece, &id) || id < 0 || id > INT32_MAX) {
        return error_set(e, ERR_USAGE, "%s: %s: not a token id (allowed: 0 to %d)", what, piece, INT32_MAX);
    }
    *value = (double)id;
    return OK;
}

static size_t count_pieces(const char *text) {
    size_t n = 1;
    for (; *text; text++) {
        n += *text == ',';
    }
    return n;
}

enum status parse_number_list(const char *text, const char *what, bool durations, double **out, size_t *count,
                              struct error *e) {
    size_t capacity = count_pieces(text);
    *out = mem_alloc(capacity, sizeof **out);
    if (!*out) {
        return error_set(e, ERR_RUN, "%s: out of memory", what);
    }
    enum status s = each_piece(text, what, *out, count, capacity, durations ? take_duration : take_number, e);
    if (s != OK) {
        mem_free(*out);
        *out = NULL;
    }
    return s;
}

enum status parse_ids(const char *text, int32_t **ids, size_t *count, struct error *e) {
    size_t capacity = count_pieces(text);
    double *values = mem_alloc(capacity, sizeof *values);
    *ids = mem_alloc(capacity, sizeof **ids);
    enum status s = values && *ids ? each_piece(text, "--ids", values, count, capacity, take_id, e)
                                   : error_set(e, ERR_RUN, "--ids: out of memory");
    for (size_t i = 0; s == OK && i < *count; i++) {
        (*ids)[i] = (int32_t)values[i];
    }
    mem_free(values);
    if (s != OK) {
        mem_free(*ids);
        *ids = NULL;
    }
    return s;
}

void notice_static_ranges(const struct chip *c, const struct machine *m) {
    if (machine_static_without_ranges(m)) {
        notice("%s: static input ranges, and the model brings none: they come from a calibration text. Models that "
               "were not adapted to "
               "static 8-bit inputs are known to lose most of their quality (--set tile.dac.range=per_token avoids it)",
               chip_name(c));
    }
}

enum status analog_create(const struct model *m, const struct chip *c, uint64_t seed, double age_s, uint32_t max_tokens,
                          struct analog *out, struct error *e) {
    struct machine_options options = {.seed = seed, .age_s = age_s};
    TRY(model_program(m, c, &options, &out->placement, &out->machine, e));
    notice_static_ranges(c, out->machine);
    return run_create(out->machine, max_tokens, &out->run, e);
}

void analog_destroy(struct analog *a) {
    run_destroy(a->run);
    machine_destroy(a->machine);
    placement_destroy(a->placement);
    *a = (struct analog){NULL, NULL, NULL};
}

/* ---- JSON and text ----------------------------------------------------------------------------------- */

json_t *json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

void json_put(json_t *object, const char *key, json_t *value) { json_object_set_new(object, key, value); }

json_t *json_envelope(const char *command, const struct options *o, const struct chip *c) {
    json_t *root = json_object();
    json_put(root, "mho", json_string(mho_version));
    json_put(root, "command", json_string(command));
    json_put(root, "seed", json_integer((json_int_t)o->seed));
    char hash[32] = "none";
    if (c) {
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)chip_hash(c));
    }
    json_put(root, "config_hash", json_string(hash));
    json_put(root, "config", c ? chip_config_json(c) : json_null());
    return root;
}

void json_add_host(json_t *document) {
    json_t *host = json_object_get(document, "host");
    if (!host) {
        host = json_object();
        json_put(document, "host", host);
    }
    json_put(host, "wall_s", json_number(now_s() - program_start_s));
    json_put(host, "threads", json_integer(threads_count()));
    json_put(host, "peak_rss_bytes", json_integer((json_int_t)mem_peak_rss_bytes()));
    json_put(host, "kernel", json_string(kernels()->name));
    json_put(host, "commit", json_string(mho_commit));
    json_t *arguments = json_array();
    for (size_t i = 1; program_arguments && program_arguments[0] && program_arguments[i]; i++) {
        json_t *one = json_string(program_arguments[i]);
        json_array_append_new(arguments, one ? one : json_string("?")); /* not UTF-8 */
    }
    json_put(host, "arguments", arguments);
}

enum status finish_output(struct error *e) {
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return error_set(e, ERR_RUN, "standard output: %s", strerror(errno ? errno : EIO));
    }
    return OK;
}

enum status keep_apart(const char *option, const char *path, const char *other, struct error *e) {
    if (path && (strcmp(path, other) == 0 || same_file(path, other))) {
        return error_set(e, ERR_USAGE, "--%s %s: the same file as %s (allowed: another name)", option, path, other);
    }
    return OK;
}

enum status json_finish(json_t *document, struct error *e) {
    json_add_host(document);
    json_dumpf(document, stdout, JSON_STYLE);
    json_decref(document);
    putchar('\n');
    return finish_output(e);
}

void print_text(const char *bytes, size_t count) {
    static int terminal = -1;
    if (terminal < 0) {
        terminal = isatty(STDOUT_FILENO);
    }
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (!terminal || c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f)) {
            putchar(c);
        }
    }
}
