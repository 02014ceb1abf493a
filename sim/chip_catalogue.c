/* The catalogue: which files lie in configs/chips, configs/parts and configs/validation. Read once per folder, kept for
 * the life of the process. */
#include "sim/chip_load.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { FOLDERS = 3 };

static struct listing {
    const char *folder;
    const char **names;
    size_t count;
    struct arena *arena;
} listings[FOLDERS] = {{"chips", NULL, 0, NULL}, {"parts", NULL, 0, NULL}, {"validation", NULL, 0, NULL}};

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void forget_one(struct listing *l) {
    arena_destroy(l->arena);
    mem_free(l->names);
    l->arena = NULL;
    l->names = NULL;
}

static void forget(void) {
    for (size_t i = 0; i < FOLDERS; i++) {
        forget_one(&listings[i]);
    }
}

/* "pcm256.yaml" -> 6; 0 for everything else. */
static size_t stem_bytes(const char *file) {
    size_t n = strlen(file);
    return n > 5 && file[0] != '.' && strcmp(file + n - 5, ".yaml") == 0 ? n - 5 : 0;
}

static enum status add_name(struct listing *l, const char *file, size_t bytes, struct error *e) {
    const char **grown = mem_resize(l->names, (l->count + 1) * sizeof *l->names, (l->count + 2) * sizeof *l->names);
    char *name = arena_strndup(l->arena, file, bytes);
    if (grown) {
        l->names = grown;
    }
    if (!grown || !name) {
        return error_set(e, ERR_RUN, "configs/%s: out of memory", l->folder);
    }
    l->names[l->count++] = name;
    l->names[l->count] = NULL;
    return OK;
}

static enum status read_folder(struct listing *l, struct error *e) {
    char *path = NULL;
    l->count = 0;
    l->arena = arena_create();
    l->names = mem_alloc(1, sizeof *l->names);
    if (!l->arena || !l->names) {
        return error_set(e, ERR_RUN, "configs/%s: out of memory", l->folder);
    }
    TRY(config_catalogue_path(l->arena, l->folder, NULL, &path, e));
    DIR *d = opendir(path);
    if (!d) {
        return error_set(e, ERR_RUN, "%s: cannot be read", path);
    }
    enum status status = OK;
    for (struct dirent *entry = readdir(d); entry && status == OK; entry = readdir(d)) {
        size_t bytes = stem_bytes(entry->d_name);
        status = bytes ? add_name(l, entry->d_name, bytes, e) : OK;
    }
    closedir(d);
    qsort(l->names, l->count, sizeof *l->names, by_name);
    return status;
}

enum status config_catalogue(const char *folder, const char *const **names, size_t *count, struct error *e) {
    static bool registered;
    struct listing *l = listings;
    while (strcmp(folder, l->folder) != 0) {
        l++; /* every caller names one of the three */
    }
    if (!l->names) {
        enum status status = read_folder(l, e);
        if (status != OK) {
            forget_one(l);
            return status;
        }
    }
    if (!registered) {
        registered = atexit(forget) == 0;
    }
    *names = l->names;
    *count = l->count;
    return OK;
}

enum status chip_catalogue(const char *const **names, struct error *e) {
    size_t count;
    return config_catalogue("chips", names, &count, e);
}
