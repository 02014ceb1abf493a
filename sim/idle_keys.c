/* Keys that say how an effect acts: with the effect off they change nothing, and whoever sets one is told.
 *
 * Only keys that nothing else reads: number of bits, kinds of circuits and spare lines have costs without their effect,
 * and the range of an ADC is the unit of its errors.
 */
#include <string.h>

#include "sim/sim.h"

static const struct {
    const char *prefix, *effect; /* a prefix that ends in '.' is a group, else one key */
} idle[] = {
    {"tile.wires.", "wires"},
    {"tile.ladder.", "wires"},
    {"tile.phenomena.ir_drop", "wires"},
    {"tile.phenomena.ir_drop_g_ratio", "wires"},
    {"tile.faults.stuck_g_min", "faults"},
    {"tile.faults.stuck_g_max", "faults"},
    {"tile.faults.stuck_random", "faults"},
    {"tile.faults.dead_rows", "faults"},
    {"tile.faults.dead_columns", "faults"},
    {"tile.faults.map", "faults"},
    {"tile.faults.repair", "faults"},
    {"tile.temperature_K", "temperature"},
    {"tile.cell.temperature.", "temperature"},
    {"tile.cell.current.", "cell_nonlinearity"},
    {"tile.cell.white_noise.", "read_noise"},
    {"tile.cell.telegraph.", "read_noise"},
    {"tile.white_noise_rows", "read_noise"},
    {"tile.phenomena.weight_noise", "read_noise"},
    {"tile.phenomena.weight_noise_type", "read_noise"},
    {"tile.reads", "drift"},
    {"tile.cell.retention.", "drift"},
    {"tile.cell.disturb.", "drift"},
    {"tile.phenomena.input_noise", "dac_errors"},
    {"tile.phenomena.input_asymmetry", "dac_errors"},
    {"tile.phenomena.output_noise", "adc_errors"},
    {"tile.phenomena.output_noise_spread", "adc_errors"},
    {"tile.phenomena.output_asymmetry", "adc_errors"},
};

static bool effect_is_off(const struct chip *c, const char *name) {
    for (size_t i = 0; i < chip_effect_count(); i++) {
        if (strcmp(chip_effect_name(i), name) == 0) {
            return !chip_effect_on(c, i);
        }
    }
    return false;
}

const char *chip_idle_effect(const struct chip *c, const char *set) {
    size_t key = strcspn(set, "=");
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++) {
        size_t n = strlen(idle[i].prefix);
        bool group = idle[i].prefix[n - 1] == '.', same = group ? key > n : key == n;
        if (same && strncmp(set, idle[i].prefix, n) == 0 && effect_is_off(c, idle[i].effect)) {
            return idle[i].effect;
        }
    }
    return NULL;
}
