/* Private to models/adapt/: a file that a run goes on from, to the bit. Version 1, in the byte order of the machine:
 *
 *   byte  0   8 bytes   "mhotrain"
 *         8   uint32    0x01020304: the byte order
 *        12   uint32    1: the version
 *        16   uint64    N identities: what the run was made with, as hashes; another one must not go on with the file
 *        24   N x uint64
 *             blocks    the caller's arrays, one after the other
 *             uint64    hash of all bytes before
 *
 * The file is written whole under another name, synced, and renamed: the checkpoint before it is there until then. */
#ifndef MHO_MODELS_ADAPT_CHECKPOINT_H
#define MHO_MODELS_ADAPT_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct checkpoint_identity { const char *what; uint64_t hash; }; /* what: "data", for messages */
struct checkpoint_block { void *data; size_t bytes; };

struct checkpoint {
    const struct checkpoint_identity *identities;
    size_t identity_count;
    const struct checkpoint_block *blocks;
    size_t block_count;
};

enum status checkpoint_write(const char *path, const struct checkpoint *c, struct error *e);
/* Fills the blocks. On an error (not there, damaged, cut off, of another run) they are as they were. */
enum status checkpoint_read(const char *path, const struct checkpoint *c, struct error *e);
/* Hash number i of what the run of a file was made with; 0: there is no such file, or no such number in it. For choices
 * before the file is read, which checks it. */
uint64_t checkpoint_identity_at(const char *path, size_t i);

#endif
