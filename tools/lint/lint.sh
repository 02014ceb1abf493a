#!/bin/sh
# Checks the rules of the house that a compiler does not know. usage: tools/lint/lint.sh [CHECK...]
#
#   floors    includes point down only: tools -> models -> sim -> devices -> base
#   doors     models/ and tools/ see sim/ through sim/sim.h, tools/ sees models/ through models/model.h
#   calls     allocation only in base/memory.c, exit only in tools/, results printed only by tools/, no getenv
#   sizes     files under 1000 lines, lines up to 120 columns, functions up to 100 lines or listed with a reason in
#             long_functions.txt
#   words     no left-over notes, no flags that break determinism, no blanks at line ends
#   compile   no warnings from gcc and clang (whichever is there)
#   cppcheck  no warnings from cppcheck (if it is there)
#
# One line per finding, then "lint: N findings"; exit status 1 if there are any. Tests may allocate, exit and print.
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/../.." || exit 2
checks=${*:-floors doors calls sizes words compile cppcheck}
work=$(mktemp -d "${TMPDIR:-/tmp}/mho-lint-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
: > "$work/findings"

sources() { find base devices sim models tools tests -name '*.[ch]' 2> /dev/null | sort; }
texts() {
    find . -path ./build -prune -o -path ./.git -prune -o -path ./tests/golden -prune -o -path ./.claude -prune -o \
        \( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -name '*.md' -o -name '*.yaml' -o -name 'Makefile' -o -path './.ci/*' \) \
        -type f -print | sed 's|^\./||' | sort
}

# C without comments, strings and characters, line by line as "FILE:LINE:code".
bare_code() {
    sources | xargs awk '
        FNR == 1 { inside = 0 }
        {
            out = ""; n = length($0)
            for (i = 1; i <= n; i++) {
                c = substr($0, i, 1); pair = substr($0, i, 2)
                if (inside) { if (pair == "*/") { inside = 0; i++ } continue }
                if (pair == "/*") { inside = 1; i++; continue }
                if (pair == "//") break
                if (c == "\"" || c == "\047") {
                    quote = c; out = out c
                    for (i++; i <= n && substr($0, i, 1) != quote; i++) if (substr($0, i, 1) == "\\") i++
                    out = out quote; continue
                }
                out = out c
            }
            print FILENAME ":" FNR ":" out
        }'
}

includes() { sources | xargs grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' /dev/null; }

check_floors() {
    includes | awk -F: '
        BEGIN { split("base devices sim models tools", names, " "); for (i in names) floor[names[i]] = i + 0 }
        {
            split($1, mine, "/"); split($3, part, "\""); split(part[2], theirs, "/")
            if (mine[1] == "tests") next
            if (theirs[1] == "tests") { print $1 ":" $2 ": floors: only tests/ includes tests/"; next }
            if (!(theirs[1] in floor)) { print $1 ":" $2 ": floors: include \"" part[2] "\" does not name a floor"; next }
            if ((mine[1] in floor) && floor[theirs[1]] > floor[mine[1]]) print $1 ":" $2 ": floors: " mine[1] "/ includes \"" part[2] "\" from above"
        }'
}

check_doors() {
    includes | awk -F: '
        { split($3, part, "\"") }
        $1 ~ /^(models|tools)\// && part[2] ~ /^sim\// && part[2] != "sim/sim.h" { print $1 ":" $2 ": doors: \"" part[2] "\" is private to sim/ (allowed: sim/sim.h)" }
        $1 ~ /^tools\// && part[2] ~ /^models\// && part[2] != "models/model.h" { print $1 ":" $2 ": doors: \"" part[2] "\" is private to models/ (allowed: models/model.h)" }'
}

check_calls() {
    bare_code | awk -F: '
        function calls(names) { return match(code, "(^|[^A-Za-z0-9_.>])(" names ")[ ]*\\(") }
        {
            code = substr($0, length($1) + length($2) + 3)
            if ($1 ~ /^tests\//) next
            if ($1 != "base/memory.c" && calls("malloc|calloc|realloc|free|strdup|strndup|aligned_alloc|posix_memalign")) print $1 ":" $2 ": calls: allocation outside base/memory.c:" code
            if ($1 !~ /^tools\// && calls("exit|_exit|_Exit|quick_exit|abort")) print $1 ":" $2 ": calls: only tools/ ends the program:" code
            if ($1 !~ /^tools\// && (calls("printf|vprintf|puts|putchar") || code ~ /(^|[^A-Za-z0-9_])stdout([^A-Za-z0-9_]|$)/)) print $1 ":" $2 ": calls: only tools/ prints results:" code
            # mpirun tells a process by its environment that it is one of several.
            if ($1 != "base/ranks.c" && calls("getenv|secure_getenv")) print $1 ":" $2 ": calls: the environment decides nothing:" code
        }'
}

# A function: from the line of its name, which starts in the first column, to the closing brace there.
function_lengths() {
    sources | xargs awk '
        FNR == 1 { open = 0 }
        !open && /^[A-Za-z_]/ && /\(/ { name = $0; sub(/[ ]*\(.*/, "", name); sub(/.*[ *]/, "", name); start = FNR }
        !open && /\)[^;=]*\{[ ]*$/ && (/^[A-Za-z_]/ || /^[ ]/) { open = 1 }
        open && /^\}/ { print FILENAME, name, FNR - start + 1, start; open = 0 }'
}

check_sizes() {
    sources | xargs wc -l | awk '$2 != "total" && $1 >= 1000 { print $2 ":" $1 ": sizes: " $1 " lines (allowed: under 1000)" }'
    sources | xargs awk 'length > 120 { print FILENAME ":" FNR ": sizes: a line of " length " columns (allowed: 120)" }'
    function_lengths > "$work/functions"
    allowed=tools/lint/long_functions.txt
    awk -v list="$allowed" '
        FILENAME == list { if ($0 !~ /^#/ && NF) { line[$1 " " $2] = FNR; if (NF < 3) print list ":" FNR ": sizes: " $1 " " $2 " has no reason" } next }
        $3 > 100 { key = $1 " " $2; seen[key] = 1; if (!(key in line)) print $1 ":" $4 ": sizes: function " $2 " has " $3 " lines (allowed: 100, or a reason in " list ")" }
        END { for (key in line) if (!(key in seen)) print list ":" line[key] ": sizes: " key " is no longer over 100 lines" }' \
        "$allowed" "$work/functions"
}

check_words() {
    texts > "$work/texts"
    xargs grep -nwE 'TO[D]O|FIX[M]E|X[X]X' /dev/null < "$work/texts" | sed 's/:\([0-9]*\):/:\1: words: left-over note: /'
    # A Makefile or script may say in a remark why it does without.
    xargs grep -nE -e '-ffast[-]math|-march=nati[v]e|-Ofas[t]' /dev/null < "$work/texts" | grep -vE '^[^:]*\.md:|^[^:]*:[0-9]*:[[:space:]]*#' |
        sed 's/:\([0-9]*\):/:\1: words: flag that changes results: /'
    xargs grep -nE '[[:blank:]]+$' /dev/null < "$work/texts" | sed 's/:\([0-9]*\):.*/:\1: words: blanks at the end of the line/'
}

# $1 = compiler, $2 = optimisation
compile_with() {
    if ! command -v "$1" > /dev/null; then
        echo "lint: no $1 here, its check is skipped" >&2
        return
    fi
    if ! make -k -j"$(getconf _NPROCESSORS_ONLN)" BUILD="build/lint-$1" CC="$1" OPT="$2" WERROR=-Werror objects > "$work/log" 2>&1; then
        { grep -E '(error|warning): ' "$work/log" || grep -F '***' "$work/log"; } | sed "s/^/$1: /"
    fi
}

check_compile() {
    compile_with gcc "-O2"
    compile_with clang "-O0"
}

check_cppcheck() {
    if ! command -v cppcheck > /dev/null; then
        echo "lint: no cppcheck here, its check is skipped" >&2
        return
    fi
    mkdir -p build/lint-cppcheck
    find base devices sim models tools -name '*.c' > "$work/files" 2> /dev/null
    cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 --max-configs=1 \
        --cppcheck-build-dir=build/lint-cppcheck -j"$(getconf _NPROCESSORS_ONLN)" -D__linux__ -D__GNUC__ -D__x86_64__ -I. \
        --template='{file}:{line}: cppcheck: {id}: {message}' --file-list="$work/files" 2>&1 | grep ': cppcheck: '
}

for check in $checks; do
    case $check in
    floors | doors | calls | sizes | words | compile | cppcheck) "check_$check" >> "$work/findings" ;;
    *)
        echo "lint: no check named $check (allowed: floors doors calls sizes words compile cppcheck)" >&2
        exit 2
        ;;
    esac
done
cat "$work/findings"
count=$(awk 'END { print NR }' "$work/findings")
echo "lint: $count findings"
[ "$count" -eq 0 ]
