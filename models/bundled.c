/* Names of bundled models: a folder models/NAME under the data directory that holds a config.json. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/params.h"
#include "models/model.h"

enum { NAMES_MAX = 16 };

static char *bundled_path(const char *name) {
    const char *data = data_directory();
    char *models = data ? path_join(data, "models") : NULL;
    char *path = models ? path_join(models, name) : NULL;
    mem_free(models);
    return path;
}

static bool is_bundled(const char *name) {
    char *folder = bundled_path(name);
    char *config = folder ? path_join(folder, "config.json") : NULL;
    bool found = config && file_exists(config);
    mem_free(config);
    mem_free(folder);
    return found;
}

/* Bundled names into `names` (mem_alloc'd texts); returns how many. */
static size_t list_bundled(char *names[NAMES_MAX]) {
    char *folder = bundled_path("");
    DIR *d = folder ? opendir(folder) : NULL;
    size_t count = 0;
    for (struct dirent *entry; d && count < NAMES_MAX && (entry = readdir(d));) {
        if (entry->d_name[0] != '.' && is_bundled(entry->d_name)) {
            names[count] = mem_strdup(entry->d_name);
            count += names[count] != NULL;
        }
    }
    if (d) {
        closedir(d);
    }
    mem_free(folder);
    return count;
}

static enum status unknown_name(const char *name, struct error *e) {
    char *names[NAMES_MAX];
    size_t count = list_bundled(names);
    char list[256] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = nearest_name(name, (const char *const *)names, count);
    enum status s =
        error_set(e, ERR_USAGE, "%s: no such model file, folder or bundled model (bundled: %s%s%s%s)", name,
                  count ? list : "none found", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    for (size_t i = 0; i < count; i++) {
        mem_free(names[i]);
    }
    return s;
}

enum status model_resolve(const char *name, char **path, struct error *e) {
    if (file_exists(name) || is_directory(name)) {
        *path = mem_strdup(name);
    } else if (!strchr(name, '/') && is_bundled(name)) {
        *path = bundled_path(name);
    } else {
        return unknown_name(name, e);
    }
    return *path ? OK : error_set(e, ERR_RUN, "%s: out of memory", name);
}
