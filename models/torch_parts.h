/* Private to the reader of PyTorch checkpoints (torch_*.c): a ZIP file, in it a pickle that says which tensors there
 * are, and one entry per storage.
 *
 *   torch_zip.c      where the entries lie
 *   torch_pickle.c   the pickle, as data: nothing is executed
 *   torch_file.c     tensors: views of storages
 */
#ifndef MHO_MODELS_TORCH_PARTS_H
#define MHO_MODELS_TORCH_PARTS_H

#include "models/files.h"

/* ---- ZIP ---------------------------------------------------------------------------------------- */

struct zip_entry {
    const char *name; /* without the folder that all entries share */
    const uint8_t *data;
    uint64_t bytes;
};

struct zip {
    struct zip_entry *entries;
    struct name *names; /* sorted; index into entries */
    size_t count;
};
/* Lists the entries; they lie inside of the file, do not overlap and have names of their own. In the arena. */
enum status zip_read(const struct span *s, struct arena *a, struct zip *out, struct error *e);
const struct zip_entry *zip_find(const struct zip *z, const char *name); /* NULL if absent */

/* ---- pickle ------------------------------------------------------------------------------------- */

enum torch_type {
    TORCH_F32, TORCH_F16, TORCH_BF16, TORCH_I32, /* loaded */
    TORCH_I64, TORCH_U8, TORCH_BOOL,             /* checked, then left out */
    TORCH_TYPES
};

struct torch_tensor {
    const char *name;
    const char *storage; /* key: its entry is data/KEY */
    enum torch_type type;
    uint64_t elements; /* of the storage */
    uint64_t offset;   /* of the first element of the view */
    int rank;
    uint64_t shape[4], stride[4]; /* outermost first, in elements */
};

struct torch_list {
    struct torch_tensor *at;
    size_t count;
};
/* What the pickle of a state dictionary says, in its order. `where` opens messages; everything in the arena. */
enum status torch_pickle_read(const uint8_t *data, size_t bytes, const char *where, struct arena *a,
                              struct torch_list *out, struct error *e);

#endif
