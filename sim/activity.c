/* See activity.h. */
#include "sim/activity.h"

#include <math.h>

#include "sim/passes.h"

/* Mean over the roles that were measured: what a role without a measurement gets. */
static double mean_S(const struct activity *a) {
    double sum = 0;
    int measured = 0;
    for (int role = 0; role < MATRIX_ROLES; role++) {
        if (isfinite(a->array_S_per_weight[role])) {
            sum += a->array_S_per_weight[role];
            measured++;
        }
    }
    return measured ? sum / measured : (double)NAN;
}

struct multiply_record shape_record(const struct chip *c, const struct placement *p, const struct activity *a,
                                    size_t matrix, uint32_t tokens) {
    struct placement_matrix m = placement_matrix_at(p, matrix);
    struct tile_work work = *chip_work(c);
    double S = a->array_S_per_weight[m.role];
    uint64_t driven = m.inputs - m.digital_channels, reads = (uint64_t)tokens * m.row_blocks,
             repeated = (uint64_t)llround(a->repeated_blocks * (double)reads),
             row_reads = (uint64_t)tokens * driven + (m.row_blocks ? repeated * driven / m.row_blocks : 0);
    return (struct multiply_record){
        .matrix = matrix,
        .tokens = tokens,
        .array_S_sum = (isfinite(S) ? S : mean_S(a)) * (double)m.inputs * m.outputs * tokens,
        .repeated_blocks = repeated,
        .repeated_rounds = (uint64_t)llround(a->repeated_rounds * tokens),
        .dac_conversions = row_reads * work.passes * m.column_blocks,
        .adc_conversions = (reads + repeated) * work.groups *
                           ((uint64_t)m.outputs * work.lines + (uint64_t)work.shared * m.column_blocks),
    };
}
