#!/bin/sh
# Shows that every check of lint.sh can fail: builds small trees with one fault each and looks for the finding.
# usage: tools/lint/selftest.sh
set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d "${TMPDIR:-/tmp}/mho-selftest-XXXXXX") || exit 2
trap 'rm -rf "$tree"' EXIT
failed=0
ran=0

fresh() {
    rm -rf "$tree/t"
    mkdir -p "$tree/t/base" "$tree/t/devices" "$tree/t/sim" "$tree/t/models" "$tree/t/tests" "$tree/t/tools/lint"
    cp "$here/lint.sh" "$tree/t/tools/lint/"
    echo '# none' > "$tree/t/tools/lint/long_functions.txt"
    printf '/* A file. */\n#include "base/a.h"\nint a(void) { return 1; } /* free(x) in a remark, "malloc(1)" */\n' > "$tree/t/base/a.c"
    printf '/* A header. */\nint a(void);\n' > "$tree/t/base/a.h"
}

# expect CHECK TEXT: the check must report a line with TEXT, or nothing at all if TEXT is empty
expect() {
    ran=$((ran + 1))
    out=$("$tree/t/tools/lint/lint.sh" "$1" 2>&1)
    status=$?
    if [ -z "$2" ]; then
        [ "$status" -eq 0 ] && return
    elif [ "$status" -eq 1 ] && echo "$out" | grep -qF -e "$2"; then
        return
    fi
    failed=$((failed + 1))
    echo "selftest: $1: expected '${2:-no finding}', got:"
    echo "$out"
}

for check in floors doors calls sizes words cppcheck; do
    fresh
    expect $check ""
done

# file, line of code, check, expected finding
while IFS='|' read -r file code check finding; do
    fresh
    printf '/* A file. */\n%b\n' "$code" > "$tree/t/$file"
    expect "$check" "$finding"
done << 'CASES'
base/b.c|#include "devices/device.h"|floors|base/b.c:2: floors: base/ includes "devices/device.h" from above
devices/b.h|#  include "tools/x.h"|floors|devices/b.h:2: floors: devices/ includes "tools/x.h" from above
sim/b.c|#include "chip.h"|floors|sim/b.c:2: floors: include "chip.h" does not name a floor
models/b.c|#include "tests/suite.h"|floors|models/b.c:2: floors: only tests/ includes tests/
tools/b.c|#include "sim/sim.h"\n#include "base/a.h"|floors|
tools/b.c|#include "sim/chip.h"|doors|tools/b.c:2: doors: "sim/chip.h" is private to sim/
models/b.c|#include "sim/chip.h"|doors|models/b.c:2: doors: "sim/chip.h" is private to sim/
tools/b.c|#include "models/weights.h"|doors|tools/b.c:2: doors: "models/weights.h" is private to models/
tests/b.c|#include "models/weights.h"|doors|
sim/b.c|void *f(void) { return malloc(3); }|calls|sim/b.c:2: calls: allocation outside base/memory.c
tools/b.c|void f(void *p) { free (p); }|calls|tools/b.c:2: calls: allocation outside base/memory.c
tools/b.c|/* x */ void f(void *p) { g("/*"); free(p); }|calls|tools/b.c:2: calls: allocation outside base/memory.c
base/b.c|void f(void *p) { mem_free(p); o->free(p); g("free(p)"); }|calls|
base/b.c|/* several\n lines free(p) */ // free(p)|calls|
base/b.c|void f(void) { exit(1); }|calls|base/b.c:2: calls: only tools/ ends the program
sim/b.c|void f(void) { abort(); }|calls|sim/b.c:2: calls: only tools/ ends the program
tools/b.c|void f(void) { exit(1); }|calls|
sim/b.c|void f(void) { printf("x"); }|calls|sim/b.c:2: calls: only tools/ prints results
sim/b.c|void f(void) { fputs("x", stdout); }|calls|sim/b.c:2: calls: only tools/ prints results
sim/b.c|void f(void) { fprintf(stderr, "x"); snprintf(b, 2, "x"); }|calls|
tools/b.c|void f(void) { getenv("HOME"); }|calls|tools/b.c:2: calls: the environment decides nothing
tests/b.c|void f(void) { getenv("HOME"); free(p); exit(1); printf("x"); }|calls|
sim/b.c|/* TO\0104O later */|words|sim/b.c:2: words: left-over note
sim/b.c|/* FI\0130ME */|words|sim/b.c:2: words: left-over note
sim/b.c|char t[] = "x-XX\0130XXX";|words|
sim/b.c|int x;  |words|sim/b.c:2: words: blanks at the end
sim/b.c|int x;\t|words|sim/b.c:2: words: blanks at the end
Makefile|OPT = -ffast\0055math|words|Makefile:2: words: flag that changes results
sim/b.c|int f(int *p) { int a[2]; a[2] = *p; return a[0]; }|cppcheck|sim/b.c:2: cppcheck: arrayIndexOutOfBounds
tools/b.c|/* xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx */|sizes|tools/b.c:2: sizes: a line of 121 columns (allowed: 120)
tools/b.c|/* xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx */|sizes|
CASES

long_function() { # lines of the whole function
    echo 'static int keep;'
    echo 'int long_one(int a,'
    echo '             int b) {'
    i=4
    while [ "$i" -le "$1" ]; do
        echo '    keep++;'
        i=$((i + 1))
    done
    echo '}'
}
fresh
long_function 100 > "$tree/t/sim/b.c"
expect sizes ""
long_function 101 > "$tree/t/sim/b.c"
expect sizes "sim/b.c:2: sizes: function long_one has 101 lines"
echo 'sim/b.c long_one a table in order of the file' > "$tree/t/tools/lint/long_functions.txt"
expect sizes ""
echo 'sim/b.c long_one' > "$tree/t/tools/lint/long_functions.txt"
expect sizes "sim/b.c long_one has no reason"
echo 'sim/b.c gone was long once' > "$tree/t/tools/lint/long_functions.txt"
expect sizes "sim/b.c gone is no longer over 100 lines"
fresh
awk 'BEGIN { for (i = 0; i < 999; i++) print "int x" i ";" }' > "$tree/t/sim/b.c"
expect sizes ""
echo 'int y;' >> "$tree/t/sim/b.c"
expect sizes "sim/b.c:1000: sizes: 1000 lines"

fresh
cp "$here/../../Makefile" "$tree/t/"
cp -R "$here/../report" "$here/../report_assets.h" "$tree/t/tools/" # the Makefile makes a source of them
echo 'struct test_suite { int count; };' > "$tree/t/tests/suite.h"
expect compile ""
printf 'int a(void);\nint a(void) { int unused; return 1; }\n' > "$tree/t/base/a.c"
expect compile "unused"

fresh
"$tree/t/tools/lint/lint.sh" nonsense > /dev/null 2>&1
[ $? -eq 2 ] || { failed=$((failed + 1)); echo "selftest: an unknown check was accepted"; }

echo "selftest: $ran trees, $failed failed"
[ "$failed" -eq 0 ]
