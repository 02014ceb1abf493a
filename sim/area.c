/* Area: counts x constants. Whole chips are counted: a tile that holds no weights is still there.
 *
 *   per tile  tiers x (rows + spare rows) x (columns x slices + shared columns + spare columns / legs) x cell area;
 *             (rows + spare rows) x DAC; columns / share x lines (those that take turns once) + shared columns ADCs;
 *             columns x lines integrators; columns x post-processing. A unit cell holds the legs and parallel devices
 *             of one slice; a spare column (tile.faults) is one physical column, a leg of a slice.
 *   per chip  tiles_per_chip tiles; the pools of vector, attention and matrix units; KV memory and buffer: bits of
 *             capacity x area per bit
 *   matrices with more devices per weight than tile.devices (placement.c): their share more of the cells of one tier
 *   side paths  the same kind of memory, as many bits as are stored (side_path.h)
 * A spare row has a DAC of its own; a spare column is switched to the ADC of the column that it replaces. Spares are
 * there whether they are in use or not. In the energy, a line in use is driven wherever it lies: a spare in use counts
 * with its own devices instead of the line that it replaces, the others draw nothing.
 * Not modelled: wiring between blocks, pads, power supply, control processor, the switches to spare lines.
 */
#include <math.h>

#include "sim/chip_costs.h"
#include "sim/encoding.h"
#include "sim/passes.h"
#include "sim/side_path.h"

static double memory_mm2(const struct memory_spec *m) {
    return (double)m->capacity_KiB * 1024 * 8 * m->area_m2_per_bit.value * 1e6;
}

struct area_view chip_area(const struct chip_spec *s, double chips, double more_arrays) {
    const struct tile_spec *t = &s->tile;
    double tiles = chips * s->tiles_per_chip, mm2 = 1e6; /* square millimetres per square metre */
    struct area_view v = {0};
    struct tile_work work = tile_work_of(s);
    struct encoding_plan encoding = {.legs = 1};
    encoding_plan(s, &encoding, NULL); /* chip_load has checked that it can be made */
    double rows = t->rows + t->faults.spare_rows,
           cells = rows * (t->columns * (double)work.unit_cells + work.shared_cells +
                           (double)t->faults.spare_columns / encoding.legs),
           converters = (double)(t->columns / t->adc.share) * work.converters + work.shared;
    v.part_mm2[PART_DAC] = tiles * rows * t->dac.area_m2.value * mm2;
    v.part_mm2[PART_ARRAY] = (tiles * t->tiers + more_arrays) * cells * t->cell_area_m2.value * mm2;
    v.part_mm2[PART_SAMPLING] = tiles * t->columns * work.converters * t->integrator.area_m2.value * mm2;
    v.part_mm2[PART_ADC] = tiles * converters * t->adc.area_m2.value * mm2;
    v.part_mm2[PART_DIGITAL_POST] = tiles * t->columns * t->post.area_m2.value * mm2;
    v.part_mm2[PART_VECTOR] = chips * s->vector.count * s->vector.area_m2.value * mm2;
    v.part_mm2[PART_ATTENTION] = chips * s->attention.count * s->attention.area_m2.value * mm2;
    v.part_mm2[PART_DIGITAL_MATMUL] = chips * s->matmul.count * s->matmul.area_m2.value * mm2;
    v.part_mm2[PART_KV_MEMORY] = chips * memory_mm2(&s->kv);
    v.part_mm2[PART_BUFFER] = chips * memory_mm2(&s->buffer);
    v.part_mm2[PART_NETWORK] = chips * network_routers(s) * s->network.router_area_m2.value * mm2;
    v.part_mm2[PART_CHIP_LINK] = chips * s->chip_link.area_m2.value * mm2;
    v.part_mm2[PART_PACKAGE_LINK] = chips * s->package_link.area_m2.value * mm2;
    for (int part = 0; part < PART_COUNT; part++) {
        v.part_mm2[part] = s->costs == COSTS_FULL ? v.part_mm2[part] : (double)NAN;
        v.total_mm2 += v.part_mm2[part];
    }
    return v;
}

struct area_view placement_area(const struct chip *c, const struct placement *p) {
    struct placement_total t = placement_total(p);
    struct area_view v = chip_area(chip_spec_of(c), (double)t.chips, t.more_arrays);
    double side_mm2 = side_path_mm2(chip_spec_of(c), t.side_bits);
    v.part_mm2[PART_BUFFER] += side_mm2;
    v.total_mm2 += side_mm2;
    return v;
}
