/* See memories.h. */
#include "sim/memories.h"

#include "sim/placement.h"

uint64_t attention_keys(const struct digital_record *d, uint32_t t) {
    uint64_t seen = (uint64_t)d->first_position + t + 1;
    return d->window && seen > d->window ? d->window : seen;
}

uint64_t kv_key_bits(const struct chip_spec *s, const struct digital_record *d) {
    return 2 * (uint64_t)d->kv_heads * d->head_dim * (uint64_t)s->kv.value_bits;
}

struct kv_traffic kv_traffic(const struct chip_spec *s, const struct digital_record *d, uint32_t t,
                             uint64_t room_bits) {
    uint64_t keys = attention_keys(d, t), key_bits = kv_key_bits(s, d), room = key_bits ? room_bits / key_bits : 0;
    if (!s->dram.given || keys <= room) {
        return (struct kv_traffic){(keys + 1) * key_bits, 0};
    }
    return (struct kv_traffic){room * key_bits, dram_bits(&s->dram, (keys - room + 1) * key_bits)};
}

enum status kv_rooms(const struct chip *c, const struct placement *p, uint64_t *rooms, struct error *e) {
    size_t layers = placement_layers(p);
    uint64_t chips = placement_total(p).chips, bits = (uint64_t)chip_spec_of(c)->kv.capacity_KiB * 1024 * 8;
    uint64_t *guests = mem_alloc((size_t)chips, sizeof *guests);
    if (!guests) {
        return error_set(e, ERR_RUN, "KV memory: out of memory");
    }
    for (size_t l = 0; l < layers; l++) {
        guests[placement_home_chip(p, (int)l)]++;
    }
    for (size_t l = 0; l < layers; l++) {
        rooms[l] = bits / guests[placement_home_chip(p, (int)l)];
    }
    rooms[layers] = bits;
    mem_free(guests);
    return OK;
}

double memory_bandwidth_Bps(const struct memory_spec *m) {
    return m->bandwidth_Bps.value * (m->refresh.given ? 1 - m->refresh.bandwidth_share.value : 1);
}

double memory_s(const struct memory_spec *m, uint64_t bits) {
    return m->latency_s.value + (double)bits / 8 / memory_bandwidth_Bps(m);
}

double dram_bandwidth_Bps(const struct dram_spec *m) {
    return m->bandwidth_Bps.value * (1 - m->refresh_bandwidth_share.value);
}

uint64_t dram_bits(const struct dram_spec *m, uint64_t bits) {
    uint64_t burst = (uint64_t)m->burst_bytes * 8;
    return (bits / burst + (bits % burst != 0)) * burst;
}

double dram_s(const struct dram_spec *m, uint64_t bits) {
    return m->latency_s.value + (double)dram_bits(m, bits) / 8 / dram_bandwidth_Bps(m);
}

uint64_t embedding_dram_bits(const struct chip_spec *s, uint64_t elements) {
    bool reads = s->dram.given && s->dram.embedding == SWITCH_ON;
    return reads ? dram_bits(&s->dram, elements * (uint64_t)s->buffer.value_bits) : 0;
}
