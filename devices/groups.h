/* Private to devices/: the optional groups of a part file, one file each, and what cell.c calls of them.
 *
 * A group's struct is filled from its table; a cell without the group has NULL and does not model that physics. All
 * functions work in place on n devices and are the identity, bit for bit, where the physics does nothing (age 0, no
 * reads, the reference temperature).
 */
#ifndef MHO_DEVICES_GROUPS_H
#define MHO_DEVICES_GROUPS_H

#include "devices/device.h"

/* Order of cell_groups, of the dump and of cell_visit_groups. */
enum cell_group_index {
    GROUP_TEMPERATURE,
    GROUP_RETENTION,
    GROUP_DISTURB,
    GROUP_TELEGRAPH,
    GROUP_WHITE_NOISE,
    GROUP_CURRENT,
    GROUP_PROGRAMMING,
    CELL_GROUPS,
};

extern const struct cell_group cell_group_temperature; /* temperature.c */
extern const struct cell_group cell_group_retention;   /* retention.c */
extern const struct cell_group cell_group_disturb;     /* disturb.c */
extern const struct cell_group cell_group_telegraph;   /* telegraph.c */
extern const struct cell_group cell_group_white_noise; /* white_noise.c */
extern const struct cell_group cell_group_current;     /* current.c */
extern const struct cell_group cell_group_programming; /* programming.c */

/* ---- temperature.c */
struct temperature {
    struct constant reference_K, activation_J, low_per_K, high_per_K, valid_from_K, valid_to_K;
};
/* exp(E / k (1 / T0 - 1 / T)): how much faster a process of activation energy E runs at T than at T0 */
double temperature_acceleration(double energy_J, double reference_K, double kelvin);
void temperature_conductance(const struct temperature *t, double kelvin, double g_max_S, float *g_S, size_t n);

/* ---- retention.c */
struct retention {
    struct constant time_s, stretch, time_log_sd, activation_J;
};
/* age_s: since the end of programming, at the temperature that time_s is for */
void retention_loss(const struct retention *r, const struct cell_draws *d, double g_min_S, double age_s, float *g_S,
                    size_t n);

/* ---- disturb.c */
struct disturb {
    struct constant per_read;
    int towards; /* enum disturb_end */
};
enum disturb_end { DISTURB_G_MIN, DISTURB_G_MAX };
void disturb_shift(const struct disturb *x, const struct cell_common *k, double reads, float *g_S, size_t n);

/* ---- telegraph.c */
struct telegraph {
    struct constant share, amplitude, time_s;
};
/* time_s: since the end of programming */
void telegraph_switch(const struct telegraph *t, const struct cell_draws *d, double time_s, float *g_S, size_t n);

/* ---- white_noise.c */
struct white_noise {
    struct constant relative, absolute_S;
};
void white_noise_sd(const struct white_noise *w, const float *g_S, float *sd_S, size_t n);

/* ---- current.c */
enum current_form { CURRENT_CUBIC, CURRENT_SINH };
struct current {
    int form;
    struct constant reference_V, strength;
};
bool current_is_linear(const struct current *c);
double current_factor(const struct current *c, double volts);

/* ---- programming.c */
enum programming_mode { PROGRAMMING_PUBLISHED, PROGRAMMING_SINGLE_PULSE, PROGRAMMING_WRITE_VERIFY };
struct programming {
    int mode, max_pulses;
    struct constant published_pulses, single_pulse_factor, tolerance, verify_noise;
    struct programming_costs costs;
};
/* The cell's way of writing, from the group or, without one (p NULL), one pulse of the model's own program. n <=
 * any. */
void programming_write(const struct programming *p, const struct cell_model *model, const void *params,
                       const struct cell_draws *d, const float *target_S, float *programmed_S,
                       struct programming_count *count, size_t n);

#endif
