/* See ranks.h. A sum of floats is cut into pieces of K parts: part r of every rank goes to rank r, which adds the K
 * parts up in the order of the ranks and hands the result to all (the traffic of a ring, 2 (K - 1) / K of the bytes,
 * with an order of its own). */
#include "base/ranks.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/mpi/module.h"
#include "base/params.h"

enum { PART = 1 << 15, DOUBLES_MOST = 1 << 16 };

static struct {
    void *library;
    const struct ranks_module *module; /* NULL: alone */
    int own, count;
    bool agreed;                       /* all know of the error */
    char *from, *to;                   /* [count][PART] floats, [count] messages, [count][DOUBLES_MOST] doubles */
} ranks = {.count = 1};

int ranks_count(void) { return ranks.count; }
int ranks_own(void) { return ranks.own; }
bool ranks_speaks(void) { return !ranks.agreed || ranks.own == 0; }

/* ---- joining ----------------------------------------------------------------------------------- */

/* As the starters of Open MPI, MPICH and SLURM say it. 1: nobody started us with others; 0: unknown, but somebody
 * did. */
static long started_with(void) {
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t size;
        const char *text = getenv(sizes[i]);
        if (text && parse_int64(text, &size)) {
            return (long)size;
        }
    }
    return getenv("PMIX_RANK") ? 0 : 1;
}

static enum status open_module(struct error *e) {
    long count = started_with();
    char *path = program_file(RANKS_MODULE_FILE, "lib/mho");
    if (!path) {
        return error_set(e, ERR_RUN, "mpirun started this as one of %ld processes, but mho was built without MPI: %s "
                         "is neither beside the program nor in lib/mho (allowed: one process; or install mpicc and "
                         "libopenmpi-dev and build again)", count, RANKS_MODULE_FILE);
    }
    /* Parts of MPI that are loaded later look for the library among the names of the program. */
    ranks.library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    ranks.module = ranks.library ? dlsym(ranks.library, RANKS_MODULE_SYMBOL) : NULL;
    enum status status = OK;
    if (!ranks.module) {
        status = error_set(e, ERR_RUN, "%s: %s", path, dlerror());
    } else if (ranks.module->version != RANKS_MODULE_VERSION) {
        status = error_set(e, ERR_RUN, "%s: version %d (allowed: %d, built with this program)", path,
                           ranks.module->version, RANKS_MODULE_VERSION);
        ranks.module = NULL;
    }
    mem_free(path);
    return status;
}

static enum status make_room(struct error *e) {
    size_t bytes = (size_t)ranks.count * DOUBLES_MOST * sizeof(double);
    ranks.from = mem_alloc(bytes, 1);
    ranks.to = mem_alloc(bytes, 1);
    return ranks.from && ranks.to ? OK : error_set(e, ERR_RUN, "%d processes: out of memory", ranks.count);
}

enum status ranks_join(struct error *e) {
    if (ranks.module || started_with() == 1) {
        return OK;
    }
    TRY(open_module(e));
    if (ranks.module->join(&ranks.own, &ranks.count) != 0) {
        ranks.module = NULL;
        return error_set(e, ERR_RUN, "mpirun started this, but MPI does not start");
    }
    return make_room(e);
}

/* ---- sums -------------------------------------------------------------------------------------- */

/* Part of this rank: out [n] = sum over the ranks of to [count][n]. */
static void add_parts(size_t n, float *out) {
    const float *parts = (const float *)(const void *)ranks.to;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int r = 0; r < ranks.count; r++) {
            sum += (double)parts[(size_t)r * n + i];
        }
        out[i] = (float)sum;
    }
}

/* At most count x PART values. */
static void sum_piece(float *values, size_t n) {
    size_t count = (size_t)ranks.count, part = (n + count - 1) / count;
    float *own = (float *)(void *)ranks.from;
    memset(ranks.from, 0, count * part * sizeof *values);
    memcpy(ranks.from, values, n * sizeof *values);
    ranks.module->exchange(ranks.from, ranks.to, part * sizeof *values);
    add_parts(part, own);
    ranks.module->gather(ranks.from, ranks.to, part * sizeof *values);
    memcpy(values, ranks.to, n * sizeof *values);
}

void ranks_sum_floats(float *values, size_t n) {
    size_t most = (size_t)ranks.count * PART;
    for (size_t at = 0; ranks.module && at < n; at += most) {
        sum_piece(values + at, n - at < most ? n - at : most);
    }
}

void ranks_sum(double *values, size_t n) {
    if (!ranks.module) {
        return;
    }
    ranks.module->gather(values, ranks.to, n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        values[i] = 0;
        for (int r = 0; r < ranks.count; r++) {
            values[i] += ((const double *)(const void *)ranks.to)[(size_t)r * n + i];
        }
    }
}

void ranks_copy(void *bytes, size_t n) {
    if (ranks.module) {
        ranks.module->copy(bytes, n);
    }
}

/* ---- errors ------------------------------------------------------------------------------------ */

enum status ranks_agree(enum status own, struct error *e) {
    if (!ranks.module) {
        return own;
    }
    double failed = own != OK;
    struct error mine = {.status = own};
    ranks_sum(&failed, 1);
    if (!(failed > 0)) {
        return OK;
    }
    if (own != OK) {
        mine = *e;
    }
    ranks.module->gather(&mine, ranks.to, sizeof mine);
    const struct error *all = (const struct error *)(const void *)ranks.to;
    int first = 0;
    while (all[first].status == OK) {
        first++;
    }
    ranks.agreed = true;
    *e = all[first];
    return failed < ranks.count ? error_prefix(e, "process %d of %d", first, ranks.count) : e->status;
}

void ranks_leave(enum status own) {
    if (ranks.module && own != OK && !ranks.agreed) {
        ranks.module->end_all((int)own);
    } else if (ranks.module) {
        ranks.module->leave();
    }
    mem_free(ranks.from);
    mem_free(ranks.to);
    ranks.from = ranks.to = NULL;
    ranks.module = NULL;
}
