/* Private to sim/: what memories carry and how long they take.
 *
 * KV memory. The layers that call a chip their home share its KV memory evenly, so that a layer has room for
 *   room = floor(capacity / layers of the chip / bits of a key with its value)   positions.
 * On a chip with `dram` the newest keys beyond that spill: of n keys that a token sees, min(n, room) are read on the
 * chip and the rest from the DRAM; the new one is written where the last of them lies. Without `dram` all stay on the
 * chip, and a report says that they do not fit.
 *
 * Time: latency + bits / (bandwidth x (1 - share that refresh takes)). A DRAM moves whole bursts.
 * dram.embedding: the row of the embedding table comes from the DRAM, buffer.value_bits per number.
 *
 * Not modelled: rows and banks of a DRAM; caches kept in part by other rules (oldest first, by head).
 */
#ifndef MHO_SIM_MEMORIES_H
#define MHO_SIM_MEMORIES_H

#include "sim/chip.h"

struct kv_traffic { uint64_t chip_bits, dram_bits; }; /* dram_bits: whole bursts */

uint64_t kv_key_bits(const struct chip_spec *s, const struct digital_record *d); /* of a key with its value */
/* Keys that token t of an attention sees. */
uint64_t attention_keys(const struct digital_record *d, uint32_t t);
/* Read and written for token t by a layer with so much room. */
struct kv_traffic kv_traffic(const struct chip_spec *s, const struct digital_record *d, uint32_t t, uint64_t room_bits);

/* rooms [layers + 1]: bits of KV memory of every layer; outside the layers: a whole chip. */
enum status kv_rooms(const struct chip *c, const struct placement *p, uint64_t *rooms, struct error *e);

double memory_bandwidth_Bps(const struct memory_spec *m); /* what refresh leaves */
double memory_s(const struct memory_spec *m, uint64_t bits);
double dram_bandwidth_Bps(const struct dram_spec *m);
double dram_s(const struct dram_spec *m, uint64_t bits);
uint64_t dram_bits(const struct dram_spec *m, uint64_t bits); /* in whole bursts */
/* Of a row of the embedding table; 0: it does not come from the DRAM. */
uint64_t embedding_dram_bits(const struct chip_spec *s, uint64_t elements);

#endif
