/* Private to sim/: a validation file, read. */
#ifndef MHO_SIM_VALIDATION_H
#define MHO_SIM_VALIDATION_H

#include "sim/measure.h"

struct text_items {
    const char **items;
    size_t count;
};

struct point {
    const struct config_node *node;
    int quantity, role;    /* index into quantities; enum point_role */
    const char *component; /* "" the whole */
    const char *unit, *source, *why;
    double published, simulated;
    int divide;
    int input_bits, output_bits; /* of the converters; 0 before the run */
    uint32_t of;           /* components, as bits */
    uint64_t settings;     /* hash of the chip with the point's settings (validation_check) */
    struct text_items sets, constants;
};

struct validation {
    struct arena *arena;
    const struct config_node *root;
    const char *chip, *about;
    char boundary_text[512];
    const char *boundary_names; /* "array + adc" */
    int operations_per_mac;
    uint32_t boundary;
    struct text_items constants_from; /* validation files that other fitted constants of the chip belong to */
    struct workload workload;
    struct point *points;
    size_t count;
};

/* Reads the file alone, without the rules. */
enum status validation_read(const char *name, struct validation **out, struct error *e);
/* The rules; validation_rules.c. */
enum status validation_check(struct validation *v, struct error *e);

#endif
