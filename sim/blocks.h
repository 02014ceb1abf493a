/* Private to sim/: how one side of a matrix is cut into blocks that fit a tile.
 *
 * A side of n lines (inputs or outputs) and a tile side of `size` lines give ceil(n / size) blocks.
 *   SPLIT_BALANCED: nearly equal parts, the first n mod blocks one line longer (600 on 256: 200 + 200 + 200;
 *                   513 on 512: 257 + 256). Same rule as aihwkit and aihwkit-lightning.
 *   SPLIT_FILL:     every block full but the last (600 on 256: 256 + 256 + 88).
 * Rows of a tile = inputs of the matrix, columns = outputs; both sides use the same rule.
 */
#ifndef MHO_SIM_BLOCKS_H
#define MHO_SIM_BLOCKS_H

#include <stdint.h>

#include "sim/chip.h"

static inline uint32_t block_count(uint32_t n, uint32_t size) { return n / size + (n % size != 0); }

/* First line of block i; i = block_count gives n, so that block i has block_begin(i + 1) - block_begin(i) lines. */
static inline uint32_t block_begin(uint32_t n, uint32_t size, enum split_mode mode, uint32_t i) {
    uint32_t count = block_count(n, size);
    if (mode == SPLIT_FILL) {
        return i < count ? i * size : n;
    }
    uint32_t longer = n % count;
    return i * (n / count) + (i < longer ? i : longer);
}

#endif
