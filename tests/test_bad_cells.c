/* Parts of cells that cannot be: every message names the key and what is wrong with it. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "devices/device.h"
#include "tests/cell_fixture.h"
#include "tests/suite.h"

static void assert_bad(const char *name, const char *override, const char *expected) {
    struct arena *a = arena_create();
    struct error e = {0};
    struct config_node *map = NULL;
    const struct cell *c = NULL;
    char path[1024];
    snprintf(path, sizeof path, "%s/configs/parts/%s.yaml", data_directory(), name);
    assert_int_equal(config_load(a, path, &map, &e), OK);
    assert_int_equal(config_set(a, map, override, 1, &e), OK);
    if (cell_create(map, "tile.cell.", a, &c, &e) != ERR_USAGE) {
        fail_msg("%s with %s is taken", name, override);
    }
    if (!strstr(e.message, expected) || !strstr(e.message, "(allowed: ")) {
        fail_msg("%s with %s: '%s' does not say '%s' and what is allowed", name, override, e.message, expected);
    }
    arena_destroy(a);
}

static void bad_values_are_refused(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"pcm_hermes_1dev", "g_min_uS.value=11", "g_min_uS = 11 is not below g_max_uS = 10.35"},
        {"pcm_hermes_1dev", "drift_mean_log.value=[1, 2]", "drift_mean_log has 2 numbers"},
        {"pcm_hermes_1dev", "read_noise_polynomial.value=[]", "read_noise_polynomial has 0 numbers"},
        {"pcm_joshi", "g_max_uS.value=26", "tile.cell.g_max_uS"},
        {"pcm_joshi", "g_min_uS.value=25", "g_min_uS = 25 is not below g_max_uS = 25"},
        {"pcm_joshi", "programming_sd_uS.value=[0.1, -0.1]", "programming_sd_uS: the polynomial is negative at"},
        {"pcm_joshi", "programming_sd_uS.value=[]", "programming_sd_uS has 0 numbers"},
        {"reram_milo", "g_min_uS.value=49", "tile.cell.g_min_uS"},
        {"reram_milo", "g_max_uS.value=226", "tile.cell.g_max_uS"},
        {"reram_milo", "programming_sd_uS.value=[1, 1, 1, 1, 1, 1]", "programming_sd_uS has 6 numbers"},
        {"reram_wan", "sd_1d_uS.value=[-1]", "sd_1d_uS: the polynomial is negative at"},
        {"reram_wan", "sd_2d_uS.value=[]", "sd_2d_uS has 0 numbers"},
        {"reram_wan", "g_min_uS.value=40", "g_min_uS = 40 is not below"},
        {"reram_cmo", "acceptance_percent=0.02", "tile.cell.acceptance_percent = 0.02: not a choice"},
        {"reram_cmo", "drift_sd_uS.value=[0.4]", "drift_sd_uS has 1 numbers"},
        {"reram_cmo", "drift_sd_uS.value=[-0.4, 0]", "tile.cell.drift_sd_uS"},
        {"reram_cmo", "programming_sd_accept02_uS.value=[-1, 0]",
         "programming_sd_accept02_uS: the polynomial is negative"},
        {"reram_cmo", "g_max_uS.value=8", "g_min_uS = 9 is not below g_max_uS = 8"},
        {"reram_cmo", "t_read_s.value=0", "tile.cell.t_read_s"},
        {"sonos", "g_max_uS.value=17", "g_max_uS x read_V = 1700 nA is beyond largest_nA = 1600"},
        {"sonos", "drift_3d_nA.value=[1, 2]", "drift_3d_nA has 2 numbers"},
        {"sonos", "spread_nA.value=[1, 2, 3, 4, 5]", "spread_nA has 5 numbers"},
        {"sonos", "spread_scale_nA.value=[1, 2, 3, 4, 5, 0]", "tile.cell.spread_scale_nA"},
        {"sonos", "read_noise_nA.value=[1]", "read_noise_nA has 1 numbers"},
        {"sram_capacitor", "capacitor_um2.value=0", "tile.cell.capacitor_um2"},
        {"sram_capacitor", "matching_percent.value=-1", "tile.cell.matching_percent"},
        {"ecram", "states.value=10.5", "states = 10.5 is not a whole number"},
        {"ecram", "states.value=0", "tile.cell.states"},
        {"ecram", "g_min_uS.value=2", "g_min_uS = 2 is not below g_max_uS = 1"},
        {"generic", "on_off_ratio.value=1", "on_off_ratio = 1 leaves no window"},
        {"generic", "on_off_ratio.value=0.5", "on_off_ratio = 0.5 leaves no window"},
        {"generic", "programming_error=inverse", "programming_error = inverse has no bound at on_off_ratio = 0"},
        {"generic", "read_error=inverse", "read_error = inverse has no bound"},
        {"generic", "programming_distribution=gauss", "tile.cell.programming_distribution = gauss: not a choice"},
        {"generic", "levels=1", "levels = 1"},
        {"generic", "t_read_s.value=20", "t_read_s = 20 is not below t0_s = 20"},
        {"generic", "drift_sd.value=-0.1", "tile.cell.drift_sd"},
        {"measured", "target_uS.value=[0, 0.5, 1.25, 2.5, 3.75, 5, 5, 7.5, 10, 12.5, 18.75, 25]",
         "target_uS[6] = 5 uS is not above target_uS[5] = 5 uS"},
        {"measured", "target_uS.value=[0, 25]", "programmed_mean_uS has 12 numbers, target_uS has 2"},
        {"measured", "target_uS.value=[25]", "target_uS has 1 numbers"},
        {"measured", "target_uS.value=[]", "target_uS has 0 numbers"},
        {"measured", "target_uS.value=[1, 2, 25]",
         "target_uS goes from 1 to 25 uS, but g_min_uS to g_max_uS is 0 to 25"},
        {"measured", "g_max_uS.value=26", "target_uS goes from 0 to 25 uS, but g_min_uS to g_max_uS is 0 to 26"},
        {"measured", "programmed_sd_uS.value=[1, 1]", "programmed_sd_uS has 2 numbers, target_uS has 12"},
        {"measured", "drift_mean.value=[]", "drift_mean has 0 numbers, target_uS has 12"},
        {"measured", "drift_sd.value=[0,0,0,0,0,0,0,0,0,0,0,-1]", "tile.cell.drift_sd"},
        {"measured", "read_noise.value=[0.1]", "read_noise has 1 numbers, target_uS has 12"},
        {"measured", "interpolation=spline", "tile.cell.interpolation = spline: not a choice"},
        {"measured", "levels=1", "levels = 1"},
        {"measured", "levels=-2", "tile.cell.levels"},
        {"measured", "t_read_s.value=30", "t_read_s = 30 is not below t0_s = 20"},
        {"reram_wan", "white_noise.relative.value=2", "tile.cell.white_noise.relative"},
        {"reram_milo", "current.strength.value=-1", "tile.cell.current.strength"},
        {"sonos", "programming.tolerance.value=0", "tile.cell.programming.tolerance"},
        {"reram_cmo", "programming.published_pulses.value=1.5", "published_pulses = 1.5 is not a whole number"},
        {"measured", "read_noise.value=[.nan,0,0,0,0,0,0,0,0,0,0,0]", "tile.cell.read_noise"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_bad(cases[i][0], cases[i][1], cases[i][2]);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bad_values_are_refused),
};
const struct test_suite suite_bad_cells = {"bad_cells", tests, sizeof tests / sizeof tests[0]};
