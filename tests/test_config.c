/* Configuration trees: what is read, what is refused and in which words, includes, overrides, round trips. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/io.h"
#include "base/memory.h"
#include "tests/suite.h"

static struct error err;
static struct arena *arena;

static int setup(void **state) {
    (void)state;
    arena = arena_create();
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    arena_destroy(arena);
    return 0;
}

static struct config_node *parse(const char *text) {
    struct config_node *n;
    if (config_parse(arena, text, strlen(text), "t.yaml", &n, &err) != OK) {
        fail_msg("%s", err.message);
    }
    return n;
}

static void assert_refused(const char *text, const char *message) {
    struct config_node *n;
    assert_int_equal(config_parse(arena, text, strlen(text), "t.yaml", &n, &err), ERR_USAGE);
    assert_string_equal(err.message, message);
}

static const char *text_at(const struct config_node *n, const char *dotted) {
    const struct config_node *found = config_find(n, dotted);
    return found ? config_text(found) : NULL;
}

static void assert_dump(const struct config_node *n, const char *expected) {
    char *text = config_dump(n);
    assert_string_equal(text, expected);
    mem_free(text);
}

static const char *write_in(const char *folder, const char *name, const char *text) {
    static char paths[8][1200];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void values_with_file_and_line(void **state) {
    (void)state;
    struct config_node *n =
        parse("chip: x\ntile:\n  rows: 256\n  adc: {part: cco,\n    bits: 8}\nlist:\n  - 1\n  - [2, 3]\n");
    char where[64];
    assert_string_equal(text_at(n, "chip"), "x");
    assert_string_equal(text_at(n, "tile.adc.bits"), "8");
    assert_string_equal(config_where(config_find(n, "tile.adc.bits"), where, sizeof where), "t.yaml:5");
    assert_int_equal(config_line(config_find(n, "tile")), 2);
    assert_int_equal(config_line(config_find(n, "tile.adc")), 4);
    struct config_node *list = config_get(n, "list");
    assert_int_equal(config_kind(list), CONFIG_LIST);
    assert_int_equal(config_count(list), 2);
    assert_int_equal(config_line(list), 6);
    assert_int_equal(config_line(config_at(list, 1)), 8);
    assert_string_equal(config_text(config_at(config_at(list, 1), 0)), "2");
    assert_string_equal(config_key_at(n, 1), "tile");
    assert_null(config_text(list));
    assert_null(config_find(n, "tile.none"));
    assert_null(config_find(n, "tile.rows.deeper"));
    assert_null(config_get(list, "x"));
    assert_null(config_get(NULL, "x"));
}

static void nulls_and_texts(void **state) {
    (void)state;
    struct config_node *n = parse("a: null\nb: ~\nc:\nd: \"null\"\ne: 'x: y'\nf: |\n  two\n  lines\ng: ''\nh: NULLs\n");
    assert_true(config_is_null(config_get(n, "a")));
    assert_true(config_is_null(config_get(n, "b")));
    assert_true(config_is_null(config_get(n, "c")));
    assert_false(config_is_null(config_get(n, "d")));
    assert_string_equal(text_at(n, "d"), "null");
    assert_string_equal(text_at(n, "e"), "x: y");
    assert_string_equal(text_at(n, "f"), "two\nlines\n");
    assert_string_equal(text_at(n, "g"), "");
    assert_false(config_is_null(config_get(n, "g")));
    assert_false(config_is_null(config_get(n, "h")));
}

static void what_is_refused(void **state) {
    (void)state;
    assert_refused("a: 1\nb: 2\na: 3\n", "t.yaml:3: a: duplicate key (allowed: once; first on line 1)");
    assert_refused("x:\n  a: 1\n  a: 2\n", "t.yaml:3: a: duplicate key (allowed: once; first on line 2)");
    assert_refused("", "t.yaml:1: empty (allowed: a map of keys and values)");
    assert_refused("# only a remark\n", "t.yaml:1: empty (allowed: a map of keys and values)");
    assert_refused("a: 1\n---\nb: 2\n", "t.yaml:2: a second document starts here (allowed: one per file)");
    assert_refused("a: &x 1\n", "t.yaml:1: &x: anchors are not supported (allowed: write the value out)");
    assert_refused("a: 1\nb: &x {c: 1}\n", "t.yaml:2: &x: anchors are not supported (allowed: write the value out)");
    assert_refused("a: 1\nb: *x\n", "t.yaml:2: *x: aliases are not supported (allowed: write the value out)");
    assert_refused("a: !!int 1\n", "t.yaml:1: tag:yaml.org,2002:int: tags are not supported (allowed: plain values)");
    assert_refused("[a, b]: 1\n", "t.yaml:1: a key is not a word (allowed: KEY: VALUE)");
    assert_refused("'': 1\n", "t.yaml:1: empty key (allowed: KEY: VALUE)");
    assert_refused("a: \"x\\0y\"\n", "t.yaml:1: text with a zero byte (allowed: text)");
    assert_refused(
        "a:\n\tb: 2\n",
        "t.yaml:2: not valid YAML: found character that cannot start any token (while scanning for the next token)");
    assert_refused("a: 1\nb: [1, 2\n",
                   "t.yaml:3: not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence)");
    assert_refused("a: 1\nb: \xff\n", "t.yaml:2: not UTF-8: byte 0xff (allowed: UTF-8)");
    assert_refused("a: 1\n# \xc3(\n", "t.yaml:2: not UTF-8: byte 0xc3 (allowed: UTF-8)");
    assert_refused("a: 1\nb: \x01\n", "t.yaml:2: not valid YAML: control characters are not allowed");
}

static void a_zero_byte_in_the_text(void **state) {
    (void)state;
    struct config_node *n;
    assert_int_equal(config_parse(arena, "a: 1\nb\0c: 2\n", 12, "t.yaml", &n, &err), ERR_USAGE);
    assert_string_equal(err.message, "t.yaml:2: not valid YAML: control characters are not allowed");
}

static void long_keys_are_refused(void **state) {
    (void)state;
    char text[400], message[400];
    memset(text, 'k', 129);
    strcpy(text + 129, ": 1\n");
    snprintf(message, sizeof message, "t.yaml:1: %.40s...: key too long (allowed: 128 bytes)", text);
    assert_refused(text, message);
    memmove(text, text + 1, strlen(text)); /* 128 are fine */
    parse(text);
}

/* A list in a list in a list ... */
static void nested(char *text, int levels) {
    memset(text, '[', (size_t)levels);
    memset(text + levels, ']', (size_t)levels);
    text[2 * levels] = 0;
}

static void depth_is_bounded(void **state) {
    (void)state;
    char *text = calloc(1, 400001);
    nested(text, 32);
    parse(text);
    nested(text, 33);
    assert_refused(text, "t.yaml:1: nested too deeply (allowed: 32 levels)");
    nested(text, 200000); /* no stack for each level, no time either */
    assert_refused(text, "t.yaml:1: nested too deeply (allowed: 32 levels)");
    free(text);
}

static void size_is_bounded(void **state) {
    (void)state;
    size_t bytes = (16 << 20) + 1;
    char *text = malloc(bytes + 1);
    memset(text, '#', bytes);
    text[bytes] = 0;
    text[bytes - 1] = '\n';
    memcpy(text, "a: 1\n", 5);
    struct config_node *n;
    assert_int_equal(config_parse(arena, text, bytes, "t.yaml", &n, &err), ERR_USAGE);
    assert_string_equal(err.message, "t.yaml:1: too large (allowed: 16 MiB with all includes)");
    free(text);
}

static void number_of_values_is_bounded(void **state) {
    (void)state;
    enum { KEYS = 8200 };
    char *text = malloc(KEYS * 12);
    size_t used = 0;
    for (int i = 0; i < KEYS; i++) {
        used += (size_t)sprintf(text + used, "k%d: 1\n", i);
    }
    assert_refused(text, "t.yaml:8192: too many values (allowed: 16384)");
    text[used - strlen("k8199: 1\n") * 9] = 0; /* 8191 keys, as many values, the map */
    struct config_node *n = parse(text);
    assert_int_equal(config_count(n), 8191);
    assert_string_equal(text_at(n, "k8190"), "1");
    free(text);
}

/* ---- includes --------------------------------------------------------------------------------------- */

static struct config_node *load(const char *path) {
    struct config_node *n;
    if (config_load(arena, path, &n, &err) != OK) {
        fail_msg("%s", err.message);
    }
    return n;
}

static void assert_not_loaded(const char *path, const char *format, const char *folder) {
    struct config_node *n;
    char expected[4096];
    snprintf(expected, sizeof expected, format, folder, folder, folder);
    assert_int_equal(config_load(arena, path, &n, &err), ERR_USAGE);
    assert_string_equal(err.message, expected);
}

static void includes_are_overridden(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    char sub[1100], expected[1300], where[1300];
    snprintf(sub, sizeof sub, "%s/parts", folder);
    assert_int_equal(make_directory(sub, &err), OK);
    write_in(sub, "one.yaml", "include: two.yaml\na: one\ntile: {rows: 1, adc: {bits: 8}}\n");
    write_in(sub, "two.yaml", "b: two\n\nd: two\n");
    write_in(folder, "three.yaml", "d: three\n");
    struct config_node *n = load(write_in(
        folder, "top.yaml", "c: top\ninclude: [parts/one.yaml, three.yaml]\ntile:\n  adc: {share: 4}\n  rows: 2\n"));
    assert_string_equal(text_at(n, "a"), "one");
    assert_string_equal(text_at(n, "b"), "two");
    assert_string_equal(text_at(n, "c"), "top");
    assert_string_equal(text_at(n, "d"), "three");
    assert_string_equal(text_at(n, "tile.rows"), "2");
    assert_string_equal(text_at(n, "tile.adc.bits"), "8");
    assert_string_equal(text_at(n, "tile.adc.share"), "4");
    assert_null(config_get(n, "include"));
    snprintf(expected, sizeof expected, "%s/parts/one.yaml:3", folder);
    assert_string_equal(config_where(config_find(n, "tile.adc.bits"), where, sizeof where), expected);
    snprintf(expected, sizeof expected, "%s/top.yaml:4", folder);
    assert_string_equal(config_where(config_find(n, "tile.adc.share"), where, sizeof where), expected);
}

static void includes_inside_a_map(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    write_in(folder, "cell.yaml", "model: pcm\ng_max_uS: 25\n");
    struct config_node *n = load(write_in(folder, "top.yaml", "tile:\n  cell: {include: cell.yaml, g_max_uS: 20}\n"));
    assert_dump(n, "tile:\n  cell: {model: pcm, g_max_uS: 20}\n");
}

static void includes_that_cannot_be(void **state) {
    (void)state;
    const char *folder = scratch_directory(), *top;
    top = write_in(folder, "top.yaml", "a: 1\ninclude: gone.yaml\n");
    assert_not_loaded(
        top, "%s/top.yaml:2: include = gone.yaml: no such file (allowed: a file, seen from the folder of this one)",
        folder);
    top = write_in(folder, "top.yaml", "a: 1\ninclude:\n  - .\n");
    assert_not_loaded(
        top, "%s/top.yaml:3: include = .: is a folder (allowed: a file, seen from the folder of this one)", folder);
    top = write_in(folder, "top.yaml", "include: {a: 1}\n");
    assert_not_loaded(top, "%s/top.yaml:1: include: not a file name (allowed: FILE or [FILE, ...])", folder);
    top = write_in(folder, "top.yaml", "include: top.yaml\n");
    assert_not_loaded(top, "%s/top.yaml:1: include: %s/top.yaml includes itself (allowed: other files)", folder);
    write_in(folder, "b.yaml", "b: 1\nx: {include: ./top.yaml}\n");
    top = write_in(folder, "top.yaml", "include: b.yaml\n");
    assert_not_loaded(top, "%s/b.yaml:2: include: %s/./top.yaml includes itself (allowed: other files)", folder);
    write_in(folder, "b.yaml", "b: 1\nb: 2\n");
    assert_not_loaded(top, "%s/b.yaml:2: b: duplicate key (allowed: once; first on line 1)", folder);
    write_in(folder, "b.yaml", "[1, 2]\n");
    assert_not_loaded(top, "%s/b.yaml:1: the file is not a map (allowed: keys and values)", folder);
    assert_not_loaded("/nowhere/x.yaml", "/nowhere/x.yaml: cannot open: No such file or directory", folder);
}

/* Each file includes the next one twice: without a common budget this would be 2^30 files. */
static void includes_cannot_explode(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    for (int i = 0; i < 30; i++) {
        char name[32], text[96];
        snprintf(name, sizeof name, "%d.yaml", i);
        snprintf(text, sizeof text, "include: [%d.yaml, %d.yaml]\n", i + 1, i + 1);
        write_in(folder, name, text);
    }
    write_in(folder, "30.yaml", "a: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n");
    char top[1200];
    snprintf(top, sizeof top, "%s/0.yaml", folder);
    struct config_node *n;
    assert_int_equal(config_load(arena, top, &n, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "too many values (allowed: 16384)"));
}

/* ---- overrides -------------------------------------------------------------------------------------- */

static void set(struct config_node *n, const char *assignment) {
    if (config_set(arena, n, assignment, 1, &err) != OK) {
        fail_msg("%s", err.message);
    }
}

static void overrides(void **state) {
    (void)state;
    struct config_node *n = parse("tile:\n  rows: 256\n  adc: {bits: 8}\neffects: {drift: on}\n");
    char where[64];
    assert_int_equal(config_set(arena, n, "tile.adc.bits=6", 3, &err), OK);
    assert_string_equal(config_where(config_find(n, "tile.adc.bits"), where, sizeof where), "--set 3");
    assert_string_equal(config_file(config_find(n, "tile.adc.bits")), CONFIG_OVERRIDE);
    assert_int_equal(config_line(config_find(n, "tile.adc.bits")), 3);
    set(n, "effects=off");
    set(n, "new.map.key=[1, {a: b}]");
    set(n, "about=a=b");
    set(n, "empty=\"\"");
    assert_dump(n, "tile:\n  rows: 256\n  adc: {bits: 6}\neffects: off\nnew:\n  map:\n    key:\n      - 1\n      - {a: "
                   "b}\nabout: a=b\nempty: \"\"\n");
}

static void overrides_that_cannot_be(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"tile.rows", "--set 2: tile.rows: not an assignment (allowed: KEY=VALUE, as in tile.adc.bits=6)"},
        {"=3", "--set 2: =3: not an assignment (allowed: KEY=VALUE, as in tile.adc.bits=6)"},
        {"tile.rows=", "--set 2: tile.rows=: the value is missing (allowed: KEY=VALUE; \"\" for empty text)"},
        {"tile..rows=3", "--set 2: tile..rows=3: not a key (allowed: words joined by dots, as in tile.adc.bits=6)"},
        {"tile.=3", "--set 2: tile.=3: not a key (allowed: words joined by dots, as in tile.adc.bits=6)"},
        {"tile.cell.g_max_uS=25",
         "--set 2: tile.cell.g_max_uS=25: tile.cell is pcm_like (t.yaml:2), not a map (allowed: keys inside maps)"},
        {"tile.list.x=25",
         "--set 2: tile.list.x=25: tile.list is a list (t.yaml:3), not a map (allowed: keys inside maps)"},
        {"tile.rows=[1",
         "--set 2: tile.rows=[1: not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence)"},
        {"tile.rows={a: 1, a: 2}",
         "--set 2: tile.rows={a: 1, a: 2}: a: duplicate key (allowed: once; first on line 2)"},
        {"tile.rows=&a 1", "--set 2: tile.rows=&a 1: &a: anchors are not supported (allowed: write the value out)"},
    };
    struct config_node *n = parse("tile:\n  cell: pcm_like\n  list: [1]\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(config_set(arena, n, cases[i][0], 2, &err), ERR_USAGE);
        assert_string_equal(err.message, cases[i][1]);
    }
    assert_dump(n, "tile: {cell: pcm_like, list: [1]}\n");
    char deep[100] = "";
    for (int i = 0; i < 33; i++) {
        strcat(deep, "a.");
    }
    strcat(deep, "a=1");
    assert_int_equal(config_set(arena, n, deep, 2, &err), ERR_USAGE);
}

/* Some editors write a byte order mark; it is no part of the first key. */
static void byte_order_mark(void **state) {
    (void)state;
    assert_dump(parse("\xef\xbb\xbf" "a: 1\n"), "a: 1\n");
}

static void merging_copies(void **state) {
    (void)state;
    struct config_node *base = parse("a: {x: 1, y: 2}\nb: 1\nc: [1, 2]\n"),
                       *over = parse("a: {y: 3, z: {q: 1}}\nb: {k: v}\nc: [9]\n");
    assert_int_equal(config_merge(arena, base, over, &err), OK);
    assert_dump(base, "a:\n  x: 1\n  y: 3\n  z: {q: 1}\nb: {k: v}\nc: [9]\n");
    set(base, "a.z.q=2");
    assert_dump(over, "a:\n  y: 3\n  z: {q: 1}\nb: {k: v}\nc: [9]\n");
    /* A constant is replaced whole: a number does not inherit the source of another. What has no value merges. */
    base = parse("k: {value: 1, source: s}\nm: {value: 1, source: s}\n");
    assert_int_equal(config_merge(arena, base, parse("k: {value: 2}\nm: {spread: w}\n"), &err), OK);
    assert_dump(base, "k: {value: 2}\nm: {value: 1, source: s, spread: w}\n");
    assert_int_equal(config_merge(arena, base, parse("[1]"), &err), ERR_USAGE);
    assert_string_equal(err.message, "t.yaml:1: only a map can override a map (allowed: a map of keys)");
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static bool same_tree(const struct config_node *a, const struct config_node *b) {
    if (config_kind(a) != config_kind(b) || config_count(a) != config_count(b)) {
        return false;
    }
    if (config_kind(a) == CONFIG_SCALAR) {
        return strcmp(config_text(a), config_text(b)) == 0 && config_is_null(a) == config_is_null(b);
    }
    for (size_t i = 0; i < config_count(a); i++) {
        if (config_kind(a) == CONFIG_MAP && strcmp(config_key_at(a, i), config_key_at(b, i)) != 0) {
            return false;
        }
        if (!same_tree(config_at(a, i), config_at(b, i))) {
            return false;
        }
    }
    return true;
}

/* dump -> parse gives an equal tree, dump -> parse -> dump the same bytes, and the hash stays. */
static void assert_round_trip(const struct config_node *n) {
    char *first = config_dump(n);
    assert_non_null(first);
    struct config_node *back;
    if (config_parse(arena, first, strlen(first), "dump", &back, &err) != OK) {
        fail_msg("%s in\n%s", err.message, first);
    }
    char *second = config_dump(back);
    assert_string_equal(first, second);
    assert_true(same_tree(n, back));
    assert_true(config_hash(n) == config_hash(back));
    mem_free(first);
    mem_free(second);
}

static void awkward_scalars_survive(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "null",
        "~",
        "Null",
        "true",
        "12",
        "1e-5",
        "-",
        "--",
        "---",
        "...",
        "..",
        ".5",
        "-5",
        "+3",
        "- a",
        "? a",
        ": a",
        "a: b",
        "a:",
        ":a",
        "a #b",
        "#a",
        "a  b",
        " a",
        "a ",
        "a\n",
        "\n",
        "a\nb",
        "\t",
        "a\tb",
        "\r\n",
        "[a]",
        "{a}",
        "a, b",
        "a]",
        "\"",
        "'",
        "\\",
        "\\n",
        "%x",
        "@x",
        "`x",
        "!x",
        "&x",
        "*x",
        "|",
        ">",
        "a|b",
        "<<",
        "=",
        "x=y",
        "\x01",
        "\x7f",
        "\xc3\xa4",
        "\xc2\x85",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf",
        "\xf0\x9f\x98\x80",
        "\xef\xbf\xbe",
        "a\xc2\xa0z",
        "/path/to/x",
        "Le Gallo et al. 2023, Fig. 5",
        "14 nm (measured)",
    };
    enum { COUNT = sizeof texts / sizeof texts[0] };
    struct config_node *map = config_new_map(arena, "made", 0), *list = config_new_list(arena, "made", 0);
    for (size_t i = 0; i < COUNT; i++) {
        struct config_node *text = config_new_scalar(arena, texts[i], "made", 0);
        assert_false(config_is_null(text)); /* a made scalar is text */
        assert_round_trip(text);
        assert_int_equal(config_append(arena, list, text, &err), OK);
        if (*texts[i]) {
            assert_int_equal(config_put(arena, map, texts[i], text, &err), OK);
        }
    }
    assert_int_equal(config_put(arena, map, "list", list, &err), OK);
    assert_round_trip(map);
    assert_round_trip(list);
}

static void long_things_survive(void **state) {
    (void)state;
    char long_text[5000], key[129];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    memset(key, '\x01', 128); /* each byte is written as six */
    key[128] = 0;
    struct config_node *map = config_new_map(arena, "made", 0), *inner = config_new_map(arena, "made", 0);
    assert_int_equal(config_put(arena, inner, key, config_new_scalar(arena, long_text, "made", 0), &err), OK);
    assert_int_equal(config_put(arena, map, key, inner, &err), OK);
    struct config_node *list = config_new_list(arena, "made", 0);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(config_append(arena, list, config_new_scalar(arena, "0.25", "made", 0), &err), OK);
    }
    assert_int_equal(config_put(arena, map, "list", list, &err), OK);
    assert_round_trip(map);
}

/* A random tree from a small generator (Knuth's MMIX constants), so that failures repeat. */
static uint64_t random_state;

static unsigned draw(unsigned below) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(random_state >> 33) % below;
}

static struct config_node *random_tree(int depth) {
    static const char pieces[] = "ab1.-: ,[]{}#\"'\\\n\t~%&*!|>?@=/_";
    unsigned kind = depth > 4 ? 0 : draw(3);
    struct config_node *n = kind == 1   ? config_new_map(arena, "made", 0)
                            : kind == 2 ? config_new_list(arena, "made", 0)
                                        : NULL;
    char text[16] = "";
    for (unsigned i = 0, count = draw(7); i < count; i++) {
        text[i] = pieces[draw(sizeof pieces - 1)];
    }
    for (unsigned i = 0, count = draw(5); n && i < count; i++) {
        struct config_node *child = random_tree(depth + 1);
        if (kind == 1) {
            char key[24];
            snprintf(key, sizeof key, "%s%u", text, draw(8));
            assert_int_equal(config_put(arena, n, key, child, &err), OK);
        } else {
            assert_int_equal(config_append(arena, n, child, &err), OK);
        }
    }
    return n ? n : config_new_scalar(arena, text, "made", 0);
}

static void random_trees_survive(void **state) {
    (void)state;
    for (random_state = 1; random_state < 3000; random_state++) {
        uint64_t seed = random_state;
        assert_round_trip(random_tree(0));
        random_state = seed;
    }
}

static void dump_looks_as_people_write(void **state) {
    (void)state;
    const char *text = "chip: pcm256\n"
                       "about: \"one, two\"\n"
                       "tile:\n"
                       "  rows: 256\n"
                       "  adc:\n"
                       "    bits: 8\n"
                       "    energy_J: {value: 1.6e-12, kind: published, source: paper2023, spread: [0.8, 2]}\n"
                       "  effects: {drift: on, dac: off}\n"
                       "nothing: null\n"
                       "word: \"null\"\n"
                       "table:\n"
                       "  - [1, 2]\n"
                       "  - {a: 1}\n"
                       "none: {}\n"
                       "empty: []\n";
    assert_dump(parse(text), text);
    assert_round_trip(parse(text));
    assert_round_trip(parse("a: ~\nb: NULL\nc: [~, Null,]\n"));
}

static void hash_ignores_the_order_of_keys(void **state) {
    (void)state;
    uint64_t h = config_hash(parse("a: 1\nb: {x: 1, y: [1, 2]}\n"));
    assert_true(h == config_hash(parse("b:\n  y:\n    - 1\n    - 2\n  x: 1\na: 1\n")));
    assert_true(h != config_hash(parse("a: 1\nb: {x: 1, y: [2, 1]}\n")));
    assert_true(h != config_hash(parse("a: 1\nb: {x: 1, z: [1, 2]}\n")));
    assert_true(h != config_hash(parse("a: \"1,\"\nb: {x: 1, y: [1, 2]}\n")));
    /* FNV-1a of "a: 1\n", by the published constants */
    uint64_t expected = 14695981039346656037ull;
    for (const char *c = "a: 1\n"; *c; c++) {
        expected = (expected ^ (unsigned char)*c) * 1099511628211ull;
    }
    assert_true(config_hash(parse("a: 1\n")) == expected);
}

/* ---- hostile ---------------------------------------------------------------------------------------- */

static const char sample[] =
    "include: other.yaml\nchip: x\ntile:\n  rows: 256\n  adc: {bits: 8, e: {value: 1, spread: [1, 2]}}\n"
    "text: \"a\\tb\"\nlist:\n  - 1\n  - b: c\nmore: |\n  lines\n";

/* Any byte of a file changed, or its end cut off: an error or a tree, nothing else. */
static void mutated_files(void **state) {
    (void)state;
    const char *whole = strchr(sample, '\n') + 1; /* without the include */
    const size_t size = strlen(whole);
    char text[sizeof sample];
    size_t read = 0;
    random_state = 7;
    for (int round = 0; round < 4000; round++) {
        struct arena *a = arena_create();
        struct config_node *n;
        memcpy(text, whole, size);
        size_t bytes = round % 2 ? size : draw((unsigned)size);
        for (unsigned i = 0, count = 1 + draw(3); i < count; i++) {
            text[draw((unsigned)size)] = (char)draw(256);
        }
        enum status status = config_parse(a, text, bytes, "t.yaml", &n, &err);
        read += status == OK;
        if (status == OK) {
            char *dump = config_dump(n);
            assert_non_null(dump);
            mem_free(dump);
        } else {
            assert_int_equal(status, ERR_USAGE);
        }
        arena_destroy(a);
    }
    assert_true(read > 400 && read < 3600); /* the file was both broken and left whole, often */
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    write_in(folder, "other.yaml", "tile: {adc: {bits: 4, share: 2}}\nq: 1\n");
    const char *path = write_in(folder, "top.yaml", sample);
    size_t n = 1;
    for (enum status status = ERR_RUN; status != OK; n++) {
        mem_fail_at(n);
        struct arena *a = arena_create();
        struct config_node *tree = NULL;
        status = a ? config_load(a, path, &tree, &err) : ERR_RUN;
        char *dump = status == OK ? config_dump(tree) : NULL;
        mem_fail_at(0);
        assert_true(status == OK || !a || strstr(err.message, "out of memory"));
        status = status == OK && !dump ? ERR_RUN : status;
        mem_free(dump);
        arena_destroy(a);
        assert_true(n < 1000);
    }
    assert_true(n > 3); /* arena, its chunk, the text of the file, the dump: some did fail */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(values_with_file_and_line),
    TEST(nulls_and_texts),
    TEST(what_is_refused),
    TEST(a_zero_byte_in_the_text),
    TEST(long_keys_are_refused),
    TEST(depth_is_bounded),
    TEST(size_is_bounded),
    TEST(number_of_values_is_bounded),
    TEST(includes_are_overridden),
    TEST(includes_inside_a_map),
    TEST(includes_that_cannot_be),
    TEST(includes_cannot_explode),
    TEST(overrides),
    TEST(overrides_that_cannot_be),
    TEST(merging_copies), TEST(byte_order_mark),
    TEST(awkward_scalars_survive),
    TEST(long_things_survive),
    TEST(random_trees_survive),
    TEST(dump_looks_as_people_write),
    TEST(hash_ignores_the_order_of_keys),
    TEST(mutated_files),
    TEST(every_allocation_may_fail),
};

const struct test_suite suite_config = {"config", tests, sizeof tests / sizeof tests[0]};
