/* The optional groups that any cell may have, in the order of enum cell_group_index. A new group is one file and one
 * row here. */
#include "devices/groups.h"

const struct cell_group *const cell_groups[] = {
    [GROUP_TEMPERATURE] = &cell_group_temperature, [GROUP_RETENTION] = &cell_group_retention,
    [GROUP_DISTURB] = &cell_group_disturb,         [GROUP_TELEGRAPH] = &cell_group_telegraph,
    [GROUP_WHITE_NOISE] = &cell_group_white_noise, [GROUP_CURRENT] = &cell_group_current,
    [GROUP_PROGRAMMING] = &cell_group_programming, [CELL_GROUPS] = NULL,
};

_Static_assert((int)CELL_GROUPS <= (int)CELL_GROUPS_MOST, "device.h promises room for so many groups");
